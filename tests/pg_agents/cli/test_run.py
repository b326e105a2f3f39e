"""`pgtoy recipes`, `run`, `watch` and `record`: output, exit status, errors."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pg_agents.cli.main import main
from pg_agents.cli.run import live_view
from pg_agents.common.extras import install_command
from pg_agents.experiments import (
    Progress,
    Recipe,
    Reported,
    RunFolder,
    recipes,
    run_one,
)
from pg_envs import SequenceEnv
from tests.pg_agents.experiments.tiny import HOOKS, SETTINGS, tiny

FAILS = SETTINGS.changed({"train": f"{HOOKS}:fails"})
SPOILS = SETTINGS.changed({"train": f"{HOOKS}:spoils"})
NEEDS = SETTINGS.changed({"extra": "robotics"})


@pytest.fixture(autouse=True)
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    recipe = Recipe(
        name="tiny",
        title="a recipe of the tests",
        reported=Reported(text="0.5 ± 0.1"),
        variants={
            "notebook": SETTINGS,
            "fails": FAILS,
            "spoils": SPOILS,
            "needs": NEEDS,
        },
        seeds=2,
    )
    module = importlib.import_module("pg_agents.experiments.recipes")
    monkeypatch.setattr(module, "RECIPES", (*recipes().values(), recipe))
    recipes.cache_clear()
    yield
    recipes.cache_clear()


def run(tmp_path: Path, *arguments: str) -> int:
    return main(["run", "tiny", "--out", str(tmp_path), "--jobs", "1", *arguments])


def seeds_in(tmp_path: Path, name: str = "tiny") -> list[str]:
    return sorted(path.name for path in (tmp_path / name).glob("seed-*"))


def test_the_list_groups_recipes_by_environment_in_100_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    listed = [line.split()[0] for line in lines if re.match("  [a-z]", line)]
    assert sorted(listed) == sorted(recipes())
    headings = [line.strip() for line in lines[1:] if re.match("[A-Za-z]", line)]
    assert headings[0] == "CartPole-v1"
    assert "LunarLander-v3 (extra box2d)" in headings
    (trained,) = [line for line in lines if line.startswith("  gae ")]
    assert re.search(r"  gae +\d+ s  yes  +actor-critic", trained)
    (tiny,) = [line for line in lines if line.startswith("  tiny ")]
    # It comes with neither weights nor a measured time.
    assert re.match(r"  tiny +a recipe of the tests; variants fails", tiny)


def test_the_result_is_printed_beside_the_notebook_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    printed = capsys.readouterr()
    assert seeds_in(tmp_path) == ["seed-0000", "seed-0001"]
    means = [run_one(tiny(), seed, tmp_path).result().mean_return for seed in (0, 1)]
    lines = printed.out.splitlines()
    low, mean, high = min(means), sum(means) / 2, max(means)
    assert f"  evaluation  {mean:.4g} [{low:.4g}, {high:.4g}]" in lines
    assert "for comparison, the source of this recipe reports: 0.5 ± 0.1" in lines
    assert "100%" in printed.err and "2 of 2 runs done" in printed.err


def test_seeds_are_a_number_or_a_list(tmp_path: Path) -> None:
    assert run(tmp_path / "a", "--seeds", "3") == 0
    assert seeds_in(tmp_path / "a") == ["seed-0000", "seed-0001", "seed-0002"]
    assert run(tmp_path / "b", "--seeds", "7", "3") == 0
    assert seeds_in(tmp_path / "b") == ["seed-0003", "seed-0007"]
    assert run(tmp_path / "c", "--seed", "3") == 0
    assert seeds_in(tmp_path / "c") == ["seed-0003"]


def test_settings_can_be_changed(tmp_path: Path) -> None:
    changes = ["gamma=0.5", "evaluation.n_episodes=2", "policy_kwargs.net_arch=[3]"]
    more = ["stop_when_solved=None", "device=cpu"]
    arguments = ["--seed", "0", "--steps", "50", "--set", *changes, "--set", *more]
    assert run(tmp_path, *arguments) == 0
    settings = RunFolder(tmp_path / "tiny" / "seed-0000").config.settings
    assert settings == SETTINGS.changed(
        {
            "gamma": 0.5,
            "evaluation.n_episodes": 2,
            "policy_kwargs.net_arch": [3],
            "timesteps": 50,
        }
    )
    assert run(tmp_path / "few", "--seed", "0", "--episodes", "3") == 0
    assert len(RunFolder(tmp_path / "few" / "tiny" / "seed-0000").episodes()) == 3


def test_a_failed_run_is_named_and_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--variant", "fails") == 1
    printed = capsys.readouterr()
    folder = tmp_path / "tiny-fails" / "seed-0001"
    expected = f"pgtoy: seed 1 failed: ArithmeticError: no such luck [{folder}]"
    assert expected in printed.err.splitlines()
    assert "1 of 2 runs failed" in printed.out
    assert RunFolder(tmp_path / "tiny-fails" / "seed-0000").finished


@pytest.mark.filterwarnings("ignore:a callback changed the policy's weights")
def test_a_run_whose_weights_become_nan_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tiny-spoils" / "seed-0001"
    for _ in range(2):
        assert run(tmp_path, "--variant", "spoils") == 1
        printed = capsys.readouterr()
        # The last line; the progress bar precedes it.
        line = printed.err.splitlines()[-1]
        assert line.startswith("pgtoy: seed 1 failed: NonFiniteError: ")
        assert "nan" in line.lower() and line.endswith(f" [{folder}]")
        assert "1 of 2 runs failed" in printed.out
        assert list((folder / "checkpoint").glob("*.zip"))
    assert RunFolder(tmp_path / "tiny-spoils" / "seed-0000").finished


REFUSED: list[tuple[list[str], str]] = [
    (["run", "tinny"], "there is no recipe 'tinny': did you mean tiny?"),
    (["run", "tiny", "--variant", "beast"], "recipe tiny has no variant 'beast'"),
    (["run", "tiny", "--seeds", "0"], "--seeds must be at least 1, got 0"),
    (["run", "tiny", "--seeds", "1", "1"], "seeds must be different integers"),
    (["run", "tiny", "--live-speed", "0"], "--live-speed must be"),
    (["run", "tiny", "--jobs", "0"], "jobs must be an integer >= 1, got 0"),
    (["run", "tiny", "--set", "gamma"], "--set must read KEY=VALUE, got 'gamma'"),
    (["run", "tiny", "--set", "gama=1"], "no argument 'gama': did you mean gamma?"),
    (["run", "tiny", "--set", "n_envs=x"], "n_envs must be an integer >= 1, got 'x'"),
    (["run", "tiny", "--set", "env_id=No-v0"], "No"),
    (["run", "tiny", "--steps", "0"], "timesteps must be an integer >= 1, got 0"),
    (
        ["run", "tiny", "--variant", "needs"],
        f"needs gymnasium_robotics and mujoco: {install_command('robotics')}",
    ),
    (
        ["run", "tiny", "--dask", "tcp://127.0.0.1:1"],
        f"--dask needs distributed: {install_command('distributed')}",
    ),
    (["watch", "tiny"], "`pgtoy run tiny --seeds 1 --out OUT` makes one"),
    (["watch", "tiny", "--seed", "4"], "`pgtoy run tiny --seed 4 --out OUT` makes one"),
    (
        ["watch", "tiny", "--variant", "fails"],
        "`pgtoy run tiny --variant fails --seeds 1 --out OUT` makes one",
    ),
    (["record", "tiny", "--to", "x.gif"], "there is no finished run of tiny in OUT"),
    (["record", "tiny", "--to", "x.gif", "--steps", "0"], "--steps must be at least 1"),
    (["watch", "mine.zip"], "watch shows runs of recipes"),
    (["watch", __file__], "model.predict plays in gymnasium.make"),
    (
        ["record", "mine.zip", "--to", "x.gif"],
        "own: pg_agents.live.film_episode(model, env_id) makes a film",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_bad_input_exits_with_2_and_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("gymnasium_robotics", "mujoco", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("pgtoy: error: ")
    assert message.replace("OUT", str(tmp_path)) in errors
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_scheduler_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    distributed = pytest.importorskip("distributed")

    def no_client(address: str, timeout: float) -> None:
        raise OSError(f"Timed out trying to connect to {address}")

    monkeypatch.setattr(distributed, "Client", no_client)
    where = ["--dask", "tcp://nowhere:1", "--out", str(tmp_path)]
    assert main(["run", "tiny", *where]) == 2
    assert "there is no Dask scheduler at tcp://nowhere:1" in capsys.readouterr().err


def test_another_run_in_the_folder_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--seed", "0") == 0
    assert run(tmp_path, "--seed", "0", "--episodes", "5") == 1
    printed = capsys.readouterr()
    assert "episodes is 20 there and 5 here" in printed.err
    assert "tiny: no run has finished" in printed.out


def test_ctrl_c_exits_with_130_and_the_same_command_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any, on_progress: Any, **named: Any) -> RunFolder:
        def both(progress: Progress) -> None:
            on_progress(progress)
            if progress.episodes == 3:
                signal.raise_signal(signal.SIGINT)

        return run_one(*arguments, on_progress=both, **named)

    with monkeypatch.context() as patch:
        patch.setattr("pg_agents.experiments.seeds.run_one", interrupted)
        assert run(tmp_path) == 130
    assert capsys.readouterr().err.endswith(
        "pgtoy: interrupted; the same command goes on\n"
    )
    assert seeds_in(tmp_path) == ["seed-0000"]
    assert run(tmp_path) == 0
    data = json.loads((tmp_path / "tiny/seed-0000/result.json").read_text())
    assert len(data["resumed_at"]) == 1


def test_watch_and_record_show_the_best_run_or_that_of_a_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, "--seeds", "3")
    folders = [RunFolder(tmp_path / "tiny" / f"seed-000{seed}") for seed in range(3)]
    best = max(folders, key=lambda folder: folder.result().mean_return)
    worst = min(folders, key=lambda folder: folder.result().mean_return)
    capsys.readouterr()
    film = tmp_path / "film.gif"
    where = ["--out", str(tmp_path)]
    assert main(["record", "tiny", "--to", str(film), *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"film: {film}" and len(lines) == 2
    with Image.open(film) as picture:
        assert picture.size == (800, 512)
    monkeypatch.setitem(SequenceEnv.metadata, "render_fps", 1000)
    # SDL's dummy driver stands for a screen.
    monkeypatch.setattr("pg_agents.experiments.viewer.shows_windows", lambda: True)
    assert main(["watch", "tiny", "--episodes", "1", *where]) == 0
    assert str(best.path) in capsys.readouterr().out
    seed = ["--seed", str(worst.seed)]
    assert main(["watch", "tiny", "--episodes", "1", *where, *seed]) == 0
    assert str(worst.path) in capsys.readouterr().out
    assert main(["watch", "tiny", "--episodes", "0", *where]) == 2


@pytest.mark.slow
def test_live_films_the_runs_one_after_the_other_without_a_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    assert run(tmp_path, "--live", "--episodes", "15") == 0
    assert seeds_in(tmp_path) == ["seed-0000", "seed-0001"]
    assert f"saved {tmp_path / 'live.gif'}" in capsys.readouterr().out
    with Image.open(tmp_path / "live.gif") as film:
        assert film.size == (1280, 720)


def test_live_takes_one_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = str(tmp_path / "live.gif")
    assert run(tmp_path, "--live-film", film, "--jobs", "2") == 2
    assert "a view shows runs one after the other" in capsys.readouterr().err


def test_live_says_where_nothing_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = str(tmp_path / "live.gif")
    options = ["--out", str(tmp_path), "--live-film", film]
    assert main(["run", "known-values", *options]) == 0
    assert "there was nothing to show live" in capsys.readouterr().out


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_closed_window_is_not_asked_to_be_closed(
    is_closed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The viewer's process needs a moment to end after its window."""

    class View(nullcontext[None]):
        is_open, film, quit_requested = True, None, is_closed

        def wait(self) -> None:
            pass

    monkeypatch.setattr("pg_agents.cli.run.make_live_view", lambda *_: View())
    with live_view(argparse.Namespace(out=tmp_path)):
        pass
    assert ("close the window" in capsys.readouterr().out) == (not is_closed)


def test_finished_runs_are_named_and_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--seed", "0") == 0
    assert "finished before" not in capsys.readouterr().err
    expected = "had finished before and {} left as before; to train anew, name another"
    for options, which in (
        (("--seed", "0"), f"seed 0 {expected.format('is')}"),
        (("--seeds", "2"), f"seed 0 {expected.format('is')}"),
        (("--seeds", "3"), f"seeds 0, 1 {expected.format('are')}"),
        (("--seeds", "3"), f"all runs {expected.format('are')}"),
    ):
        assert run(tmp_path, *options) == 0
        assert f"pgtoy: {which} folder with --out FOLDER" in capsys.readouterr().err
    # Of other settings: an error.
    assert run(tmp_path, "--seed", "0", "--episodes", "5") == 1
    assert "finished before" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "options", "has_screen", "speed"),
    [
        (9.0, ["--live"], True, 20.0),
        (9.0, ["--live-theme", "dark"], True, 20.0),
        (10.0, ["--live"], True, None),
        (None, ["--live"], True, None),
        (9.0, ["--live"], False, None),
        (9.0, ["--live", "--live-speed", "5"], True, None),
        (9.0, ["--live", "--live-film", "film.gif"], True, None),
        (9.0, [], True, None),
    ],
)
def test_a_window_of_a_short_training_begins_slowly(
    seconds: float | None,
    options: list[str],
    has_screen: bool,
    speed: float | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = {} if seconds is None else {"tiny": seconds}
    speeds: list[float | None] = []

    def make_view(_: argparse.Namespace, updates_per_second: float | None) -> None:
        speeds.append(updates_per_second)

    module = importlib.import_module("pg_agents.experiments.recipes")
    monkeypatch.setattr(module, "run_seconds", lambda: known)
    monkeypatch.setattr("pg_agents.live.screen.shows_windows", lambda: has_screen)
    monkeypatch.setattr("pg_agents.cli.run.make_live_view", make_view)
    line = "live view: 20 updates per second; the up arrow makes it faster"
    for expected in (speed, None):
        # The second time there is nothing to train.
        assert run(tmp_path, "--seed", "0", *options) == 0
        assert (line in capsys.readouterr().err.splitlines()) == (expected is not None)
    assert speeds == [speed, None]
