"""docs/ablation.md says what docs/ablation.json holds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import ablation
from benchmarks.ablation_settings import ALL, IMPROVEMENTS, MEMORIES, PLAIN, SETTINGS
from pg_agents import ActorCritic


def stored() -> dict[str, dict[str, list[float]]]:
    runs: dict[str, dict[str, list[float]]] = json.loads(ablation.RESULTS.read_text())
    return runs["runs"]  # type: ignore[return-value]


def test_every_setting_has_ten_seeds() -> None:
    runs = stored()
    assert runs.keys() == {*SETTINGS, *MEMORIES}
    for name, seeds in runs.items():
        assert seeds.keys() == {str(seed) for seed in range(10)}, name


def test_the_page_has_the_interquartile_means_of_the_runs() -> None:
    """The middle half by hand: of ten runs, the mean of the third to the eighth."""
    page = ablation.PAGE.read_text()
    for name, row in (("plain", "(neither)"), ("no memory", "no memory")):
        values = np.sort([stored()[name][str(seed)][0] for seed in range(10)])
        (line,) = (each for each in page.splitlines() if each.startswith(f"| {row} |"))
        assert f"| {values[2:8].mean():.0f} (" in line


def test_an_improvement_is_in_all_and_taken_out_without_it() -> None:
    for each in IMPROVEMENTS:
        without = SETTINGS[f"all - {each.name}"]
        assert SETTINGS[f"plain + {each.name}"] != PLAIN, each.name
        assert without != ALL, each.name
        ActorCritic("MlpPolicy", "CartPole-v1", **without)


def test_an_interval_holds_the_mean_and_a_constant_has_none() -> None:
    assert ablation.cell([500.0] * 10) == "500 (500 to 500)"
    # Equal runs but one: the middle half leaves it out.
    assert ablation.cell([10.0] * 9 + [1000.0]).startswith("10 (10 to ")


@pytest.mark.parametrize("lengths", [[3, 1], [2, 2, 2]])
def test_speed_is_the_return_averaged_over_steps(lengths: list[int]) -> None:
    by_step = [n for n in lengths for _ in range(n)]
    speed, end = ablation.summary([float(n) for n in lengths])
    assert speed == pytest.approx(np.mean(by_step))
    assert end == pytest.approx(np.mean(lengths))
