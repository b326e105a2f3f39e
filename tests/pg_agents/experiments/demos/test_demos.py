"""The shows, each on the smallest task that tells right from wrong."""

from __future__ import annotations

import base64
import importlib.util
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from pg_agents.experiments import RunConfig
from pg_agents.experiments.building import make_model, make_training_env
from pg_agents.experiments.catalogue import find_recipe
from pg_agents.experiments.showing import ShownRecord, ShowRequest, show
from pg_agents.experiments.shows import bandit, checkpoint, evaluator, notebook, parts
from pg_agents.experiments.shows import runs as rows
from pg_agents.experiments.training import progress_of
from tests.pg_agents.experiments.tiny import SETTINGS

TINY = SETTINGS.changed({"episodes": 25, "evaluation.n_episodes": 3})


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShowRequest:
    """A request whose trained run is a tiny one."""
    config = RunConfig("tiny", "notebook", TINY)
    for module in (parts, rows):
        monkeypatch.setattr(module, "trained_config", lambda: config)
    return ShowRequest("the-row", tmp_path)


def test_a_checkpoint_brings_everything_back(request_: ShowRequest) -> None:
    shown = checkpoint.show(request_, TINY, every=10)
    assert shown.passed
    names = [line.split(":")[0] for line in shown.lines]
    assert names == [f"model_{n}_episodes.zip" for n in (10, 20, 25)]
    assert all("are equal" in line for line in shown.lines)
    assert "games played (20)" in shown.lines[1]


def test_a_checkpoint_that_lost_something_is_found_out() -> None:
    env = make_training_env(TINY)
    model = make_model(TINY, env, 0)
    model.learn(30)
    progress_of(model).running_reward.update(0.0)
    before = checkpoint.memory_of(model)
    assert checkpoint.differences(before, checkpoint.memory_of(model)) == []
    progress_of(model).games_played += 1
    progress_of(model).running_reward.update(1.0)
    with torch.no_grad():
        next(model.policy.parameters()).add_(1e-7)
    state = model.policy.optimizer.state_dict()
    state["param_groups"][0]["lr"] *= 1.5
    model.policy.optimizer.load_state_dict(state)
    found = checkpoint.differences(before, checkpoint.memory_of(model))
    assert found == ["weights", "optimizer", "games_played", "running_reward"]


def test_looking_does_not_disturb_the_training(tmp_path: Path) -> None:
    """The weights after training are the same, however often it was evaluated."""
    weights = []
    for every in (5, 1000):
        env = make_training_env(TINY)
        model = make_model(TINY, env, 0)
        look = evaluator.PeriodicEvaluator(
            lambda games: evaluator._filmed(TINY, None, "", lambda n: True),
            every,
            n_episodes=2,
            last=20,
            seed=7,
        )
        parts.learn_quietly(model, [look])
        weights.append([p.detach().clone() for p in model.policy.parameters()])
        assert list(look.means) == ([5, 10, 15, 20] if every == 5 else [20])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_without_the_extra_the_evaluator_says_how_to_get_it(
    request_: ShowRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "moviepy" else found(n)
    )
    shown = evaluator.show(request_, TINY, every=20, n_episodes=2)
    assert shown.lines[0].startswith("mean of 2 episodes: ")
    assert (
        'no films: a film needs moviepy: pip install "pgtoy[video]"' in shown.lines[1]
    )


@pytest.mark.slow
def test_the_evaluator_films_each_episode(request_: ShowRequest) -> None:
    pytest.importorskip("moviepy")
    settings = TINY.changed({"episodes": 4})
    shown = evaluator.show(request_, settings, every=2, n_episodes=2)
    films = sorted(path.name for path in request_.out.rglob("*.mp4"))
    # Two evaluations of two, and of training every second episode.
    evaluated = [name for name in films if name.startswith("after")]
    assert len(evaluated) == 4 and any(n.startswith("training") for n in films)
    assert f"{len(films)} films" in shown.lines[1]


def test_the_notebook_s_page_holds_the_film(request_: ShowRequest) -> None:
    shown = notebook.show(request_)
    assert "to be opened in a browser" in shown.lines[0]
    page = (request_.folder / "episode.html").read_text()
    data = re.search(r'base64,([^"]+)"', page)
    assert data is not None
    film = request_.folder / "episode.gif"
    assert base64.b64decode(data[1]) == film.read_bytes()
    with Image.open(film) as image:
        assert getattr(image, "n_frames", 1) >= 2
    with pytest.raises(ValueError, match="must be that of a GIF"):
        notebook.gif_html(request_.folder / "episode.html")


def test_an_evaluation_comes_again(request_: ShowRequest) -> None:
    shown = rows.evaluate(request_)
    assert shown.passed and "over 3 episodes, the same episodes as" in shown.lines[0]
    # Another evaluation on file is found out.
    path = next(request_.out.glob("tiny/seed-*/evaluation.json"))
    text = path.read_text()
    path.write_text(re.sub(r'"seed": \d+', '"seed": 1', text))
    assert rows.evaluate(request_).passed is False


def test_what_cannot_be_watched_is_filmed(
    request_: ShowRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "has_screen", lambda: False)
    shown = rows.watch_trained(request_)
    assert "no screen here, so the-row/episode.gif was recorded" in shown.lines[0]
    assert (request_.folder / "episode.gif").read_bytes().startswith(b"GIF8")


def test_without_a_gpu_it_says_so(
    request_: ShowRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    shown = rows.gpu(request_)
    assert shown.passed is None and "there is no CUDA device" in shown.lines[0]


def test_the_gpu_s_training_is_one_of_tensors(request_: ShowRequest) -> None:
    """On the CPU in its place: environments of torch, and as many steps."""
    config = find_recipe("one-step-actor-critic").config("best")
    short = config.changed({"timesteps": 1024, "evaluation.n_episodes": 10})
    shown = rows.train_on("cpu", request_, short)
    assert shown.lines[0].endswith("after 1024 steps")


def test_the_learning_curve_is_drawn(request_: ShowRequest) -> None:
    rows.learning_curve(request_, TINY, n_seeds=2)
    with Image.open(request_.folder / "learning_curve.png") as image:
        assert len(set(image.convert("L").tobytes())) > 4


def test_training_stops_when_solved(
    request_: ShowRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row of three states is solved at 0.8 of 0.9."""
    settings = find_recipe("sequence-reinforce").config().settings
    faster = settings.changed({"learning_rate": 0.1})
    shown = rows.solved_stop(request_, faster)
    assert shown.passed and shown.lines[0].startswith("solved after ")
    assert (request_.folder / "model.zip").exists()
    assert "Solved after" in capsys.readouterr().out
    shown = rows.solved_stop(request_, faster.changed({"episodes": 3}))
    assert shown.passed is False
    assert shown.lines[0].startswith("not solved after 3 episodes")
    said = capsys.readouterr()
    assert "Solved" not in said.out and "| 3/3 episodes, " in said.err


def test_the_bandit_s_table_and_pictures(request_: ShowRequest) -> None:
    shown = bandit.show_table(request_, (2, 500))
    # 0.95 after 500 pulls in both; the same seeds as in tests/test_demos.py.
    assert shown.passed and "at least 0.95 in 2 of 2 runs" in shown.lines[0]
    assert bandit.show_table(request_, (1, 1)).passed is False
    assert bandit.show_network(request_, (2, 100)).passed
    drawn = bandit.show_plots(request_, (1, 20), (1, 20)).lines[0].split("; ")
    assert len(drawn) == 8
    assert all((request_.out / path).stat().st_size > 1000 for path in drawn)


def test_a_show_is_kept_on_file(tmp_path: Path) -> None:
    record = show(find_recipe("known-values"), tmp_path, 0)
    path = tmp_path / "known-values" / "shown.json"
    assert ShownRecord.read(path) == record and record.passed
    path.write_text("[]")
    with pytest.raises(ValueError, match="no record of a show"):
        ShownRecord.read(path)
    with pytest.raises(ValueError, match="has no show: it is trained"):
        show(find_recipe("cartpole-mc"), tmp_path, 0)
