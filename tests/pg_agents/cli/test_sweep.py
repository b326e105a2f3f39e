"""`pgtoy sweep`: finds the better settings, continues, keeps the seeds apart."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pg_agents.cli.main import main
from pg_agents.cli.sweep import parse_try, sweep
from pg_agents.common.extras import install_command
from pg_agents.experiments import Recipe, Reported, RunFolder, recipes
from pg_agents.experiments.settings import EXTRAS
from tests.pg_agents.experiments.tiny import HOOKS, SETTINGS, tiny

# The first learns nothing, which shows after 50 episodes.
RATES = {"learning_rate": ["choice", [1e-9, 0.1]]}
LONG = tiny(episodes=50, evaluation__n_episodes=20, checkpoint_every=9999)
TUNING, TEST = [10, 11], [0, 1]


@pytest.fixture
def tiny_recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    recipe = Recipe(
        name="tiny",
        title="of the tests",
        reported=Reported(text="none"),
        variants={"notebook": SETTINGS},
    )
    module = importlib.import_module("pg_agents.experiments.recipes")
    monkeypatch.setattr(module, "RECIPES", (recipe,))
    recipes.cache_clear()
    yield
    recipes.cache_clear()


def folders(root: Path) -> list[Path]:
    return sorted((root / "sweeps" / "tiny" / "trials").glob("*/tiny/seed-*"))


def test_the_better_settings_are_found_and_tested_with_other_seeds(
    tmp_path: Path,
) -> None:
    lines: list[str] = []
    options = {"n_trials": 5, "tuning_seeds": TUNING, "test_seeds": TEST}
    result = sweep(LONG, RATES, root=tmp_path, report=lines.append, **options)  # type: ignore[arg-type]
    assert result.settings == {"learning_rate": 0.1}
    best = [
        folder
        for folder in map(RunFolder, folders(tmp_path))
        if folder.config.settings.arguments["learning_rate"] == 0.1
    ]
    scores = {folder.seed: folder.result().mean_return for folder in best}
    assert scores == {**result.tuning_scores, **result.test_scores}
    assert sorted(result.test_scores) == TEST
    # Equal settings are run once, and nothing is run again.
    assert len(folders(tmp_path)) == 6
    written = [path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")]
    again = sweep(LONG, RATES, root=tmp_path, report=lines.append, **options)  # type: ignore[arg-type]
    assert again == result
    assert written == [
        path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")
    ]
    assert any(line.startswith("{'learning_rate': 0.1}, seed 10: ") for line in lines)


@pytest.mark.filterwarnings("ignore:a callback changed the policy's weights")
def test_a_trial_with_nan_fails_and_the_sweep_goes_on(tmp_path: Path) -> None:
    lines: list[str] = []
    result = sweep(
        tiny(train=f"{HOOKS}:spoils_if_fast"),
        {"learning_rate": ["choice", [10.0, 0.1]]},
        root=tmp_path,
        report=lines.append,
        n_trials=4,
        tuning_seeds=[10],
        test_seeds=[0],
    )
    assert result.settings == {"learning_rate": 0.1}
    assert result.n_failed > 0 and result.n_completed + result.n_failed == 4
    failed = [line for line in lines if " seed 10 failed: " in line]
    assert len(failed) == result.n_failed
    assert all(line.startswith("{'learning_rate': 10.0}") for line in failed)


def command(tmp_path: Path, *arguments: str) -> int:
    few = ("--trials", "1", "--tuning-seeds", "10", "--episodes", "5")
    return main(["sweep", "tiny", "--out", str(tmp_path), *few, *arguments])


@pytest.mark.usefixtures("tiny_recipe")
def test_the_command_prints_the_result_of_the_test_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = ("--try", "learning_rate=log:1e-3:1e-2", "--test-seeds", "0", "1")
    assert command(tmp_path, *tried) == 0
    *_, best, test_line, settings = capsys.readouterr().out.splitlines()
    assert best == "best of 1 trials (0 pruned, 0 failed): trial 0"
    (rate,) = {
        RunFolder(path).config.settings.arguments["learning_rate"]
        for path in folders(tmp_path)
    }
    assert settings == f"--set 'learning_rate={rate}'"
    means = [RunFolder(path).result().mean_return for path in folders(tmp_path)[:2]]
    assert test_line.startswith(f"tiny: {sum(means) / 2:.4g} (")
    assert test_line.endswith("over 2 test seeds")


@pytest.mark.usefixtures("tiny_recipe")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--try", "gamma=float:0.9:1", "--test-seeds", "10"), "[10] are in both"),
        (("--try", "gamma"), "--try must read KEY=KIND:..., got 'gamma'"),
        (("--try", "gamma=float:a:b"), "must have numbers, or a JSON list"),
        (("--try", "gamma=normal:0:1"), "the search space of gamma must be one of"),
        (("--try", "gama=float:0.9:1"), "no argument 'gama': did you mean gamma?"),
    ],
)
def test_bad_input_exits_with_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert command(tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err
    assert folders(tmp_path) == []


def test_entries_of_the_search_space_are_parsed() -> None:
    assert parse_try("a=log:1e-4:0.1") == ("a", ["log", 1e-4, 0.1])
    assert parse_try("b.c=choice:[[64], [64, 64]]") == (
        "b.c",
        ["choice", [[64], [64, 64]]],
    )


def test_a_missing_extra_is_named_with_its_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "sweeps", ("no_such_package",))
    with pytest.raises(ModuleNotFoundError, match=re.escape(install_command("sweeps"))):
        sweep(LONG, RATES, n_trials=1, tuning_seeds=[1], test_seeds=[2], root=tmp_path)
    assert list(tmp_path.iterdir()) == []
