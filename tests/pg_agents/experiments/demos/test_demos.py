"""The demos, each on the smallest task that tells right from wrong."""

from __future__ import annotations

import base64
import copy
import importlib.util
import math
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy

from pg_agents.cli.main import main
from pg_agents.common.extras import install_command
from pg_agents.experiments import RunConfig, demos, find_recipe
from pg_agents.experiments.building import (
    make_evaluation_env,
    make_model,
    make_training_env,
)
from pg_agents.experiments.demos import DemoRecord, DemoRequest, bandit, run_demo
from pg_agents.experiments.run import NO_LIMIT, learn, progress_of
from tests.pg_agents.experiments.tiny import SETTINGS

TINY = SETTINGS.changed({"episodes": 25, "evaluation.n_episodes": 3})


@pytest.fixture
def demo_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DemoRequest:
    """A request whose trained run is a tiny one."""
    config = RunConfig("tiny", "notebook", TINY)
    monkeypatch.setattr(demos, "trained_config", lambda: config)
    return DemoRequest("the-demo", tmp_path)


def test_the_known_values_by_arithmetic() -> None:
    expected = {
        "weighted log-probability": (100 * math.log(0.8),),
        "returns": tuple(
            sum(0.99**k * r for k, r in enumerate([1, 2, 3, 4][t:])) for t in range(4)
        ),
        "policy-gradient loss": (10 * math.log(1 + math.exp(-1)),),
    }
    computed = demos.computed_values()
    for name, values in expected.items():
        assert computed[name] == pytest.approx(values, rel=1e-6)
        assert demos.KNOWN_VALUES[name] == pytest.approx(values, rel=1e-6)


def test_the_command_fails_if_a_known_value_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["run", "known-values", "--out", str(tmp_path)]
    assert main(command) == 0
    assert capsys.readouterr().out.count(": equal") == 3
    wrong = {**demos.KNOWN_VALUES, "returns": (9.802, 8.8904, 6.96, 4.0)}
    monkeypatch.setattr(demos, "KNOWN_VALUES", wrong)
    assert main(command) == 1
    output = capsys.readouterr().out
    assert output.count(": equal") == 2 and output.count("**different**") == 1


def test_a_demo_takes_no_options_of_a_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "known-values", "--out", str(tmp_path), "--episodes", "3"]
    assert main(command) == 2
    assert "takes --seed and --out, got --episodes" in capsys.readouterr().err


def test_the_record_of_a_demo(tmp_path: Path) -> None:
    record = run_demo(find_recipe("known-values"), tmp_path, 0)
    path = tmp_path / "known-values" / "demo.json"
    assert DemoRecord.read(path) == record and record.passed
    path.write_text("[]")
    with pytest.raises(ValueError, match="no record of a demo"):
        DemoRecord.read(path)
    with pytest.raises(ValueError, match="has no demo: it is trained"):
        run_demo(find_recipe("cartpole-mc"), tmp_path, 0)


def test_a_checkpoint_restores_everything(demo_request: DemoRequest) -> None:
    result = demos.checkpoint(demo_request, TINY, every=10)
    assert result.passed
    names = [line.split(":")[0] for line in result.lines]
    assert names == [f"model_{n}_episodes.zip" for n in (10, 20, 25)]
    assert all("are equal" in line for line in result.lines)
    assert "number of episodes (20)" in result.lines[1]


def test_differences_of_two_snapshots_are_found() -> None:
    model = make_model(TINY, make_training_env(TINY), 0)
    model.learn(30)
    progress_of(model).running_reward.update(0.0)
    before = copy.deepcopy(demos.snapshot(model))
    assert demos.differences(before, demos.snapshot(model)) == []
    progress_of(model).running_reward.update(1.0)
    with torch.no_grad():
        next(model.policy.parameters()).add_(1e-7)
    state = model.policy.optimizer.state_dict()
    state["param_groups"][0]["lr"] *= 1.5
    model.policy.optimizer.load_state_dict(state)
    differing = demos.differences(before, demos.snapshot(model))
    assert differing == ["weights", "optimizer", "n_episodes", "running_reward"]


def test_an_evaluation_can_be_repeated(demo_request: DemoRequest) -> None:
    result = demos.evaluate_again(demo_request)
    assert result.passed and "over 3 episodes, the same episodes as" in result.lines[0]
    # Another evaluation in the folder is noticed.
    path = next(demo_request.out.glob("tiny/seed-*/evaluation.json"))
    path.write_text(re.sub(r'"seed": \d+', '"seed": 1', path.read_text()))
    assert demos.evaluate_again(demo_request).passed is False


def test_evaluations_do_not_change_the_training() -> None:
    weights = []
    for every in (5, 1000):
        calls: list[int] = []

        def evaluate(n_trained: int, trained: BaseAlgorithm) -> None:
            calls.append(n_trained)  # noqa: B023
            evaluate_policy(trained, make_evaluation_env(TINY, 7), 2)

        model = make_model(TINY, make_training_env(TINY), 0)
        learn(model, NO_LIMIT, [demos.EveryEpisodes(every, 20, evaluate)])
        weights.append([p.detach().clone() for p in model.policy.parameters()])
        assert calls == ([5, 10, 15, 20] if every == 5 else [20])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_the_evaluator_without_the_extra_names_its_pip_command(
    demo_request: DemoRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "moviepy" else find_spec(n)
    )
    result = demos.periodic_evaluator(demo_request, TINY, every=20, n_episodes=2)
    assert result.lines[0].startswith("mean of 2 episodes: ")
    message = f"no films: a film needs moviepy: {install_command('video')}"
    assert message in result.lines[1]


@pytest.mark.slow
def test_the_evaluator_films_each_episode(demo_request: DemoRequest) -> None:
    pytest.importorskip("moviepy")
    settings = TINY.changed({"episodes": 4})
    result = demos.periodic_evaluator(demo_request, settings, every=2, n_episodes=2)
    films = sorted(path.name for path in demo_request.out.rglob("*.mp4"))
    # Two evaluations of two episodes, and every second episode of training.
    assert sum(name.startswith("after") for name in films) == 4
    assert any(name.startswith("training") for name in films)
    assert f"{len(films)} films" in result.lines[1]


def test_the_page_of_the_notebook_view_holds_the_film(
    demo_request: DemoRequest,
) -> None:
    result = demos.notebook_view(demo_request)
    assert "to be opened in a browser" in result.lines[0]
    page = (demo_request.folder / "episode.html").read_text()
    data = re.search(r'base64,([^"]+)"', page)
    film = demo_request.folder / "episode.gif"
    assert data is not None and base64.b64decode(data[1]) == film.read_bytes()
    with Image.open(film) as image:
        assert getattr(image, "n_frames", 1) >= 2


def test_a_run_is_filmed_where_there_is_no_screen(
    demo_request: DemoRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demos, "shows_windows", lambda: False)
    result = demos.watch_trained(demo_request)
    assert "no screen here, so the-demo/episode.gif was recorded" in result.lines[0]
    assert (demo_request.folder / "episode.gif").read_bytes().startswith(b"GIF8")


def test_without_a_gpu_nothing_is_trained(
    demo_request: DemoRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = demos.gpu(demo_request)
    assert result.passed is None and "there is no CUDA device" in result.lines[0]


def test_the_training_on_a_gpu_on_the_cpu(demo_request: DemoRequest) -> None:
    config = find_recipe("one-step-actor-critic").config("best")
    short = config.changed({"timesteps": 1024, "evaluation.n_episodes": 10})
    result = demos.train_on("cpu", demo_request, short)
    assert result.lines[0].endswith("after 1024 steps")


def test_the_learning_curve_is_drawn(demo_request: DemoRequest) -> None:
    demos.learning_curve(demo_request, TINY, n_seeds=2)
    with Image.open(demo_request.folder / "learning_curve.png") as image:
        assert len(set(image.convert("L").tobytes())) > 4


def test_training_stops_when_solved(
    demo_request: DemoRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sequence is solved at 0.8 of 0.9."""
    settings = find_recipe("sequence-reinforce").config().settings
    faster = settings.changed({"learning_rate": 0.1})
    result = demos.solved_stop(demo_request, faster)
    assert result.passed and result.lines[0].startswith("solved after ")
    assert (demo_request.folder / "model.zip").exists()
    assert "Solved after" in capsys.readouterr().out
    result = demos.solved_stop(demo_request, faster.changed({"episodes": 3}))
    assert result.passed is False
    assert result.lines[0].startswith("not solved after 3 episodes")
    printed = capsys.readouterr()
    assert "Solved" not in printed.out and "| 3/3 episodes, " in printed.err


def test_the_bandit_demos(demo_request: DemoRequest) -> None:
    result = bandit.table(demo_request, (2, 500))
    assert result.passed and "at least 0.95 in 2 of 2 runs" in result.lines[0]
    assert bandit.table(demo_request, (1, 1)).passed is False
    assert bandit.network(demo_request, (2, 100)).passed
    paths = bandit.plots(demo_request, (1, 20), (1, 20)).lines[0].split("; ")
    assert len(paths) == 8
    assert all((demo_request.out / path).stat().st_size > 1000 for path in paths)
