"""Plots of runs compared: what is drawn is what was computed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from pg_agents.analysis import (
    CurveBand,
    Curves,
    NetworkGrid,
    Speed,
    bootstrap_interval,
    interquartile_mean,
)
from pg_agents.analysis.plots import (
    compare_runs,
    plot_curve_bands,
    plot_network_grid,
    plot_performance_profiles,
    plot_seed_strips,
)
from pg_agents.analysis.plots.style import PALETTE
from tests.pg_agents.analysis.plots.records import Floats

NAN = math.nan
NETWORKS = NetworkGrid(
    (1, 2),
    (8, 64),
    np.array([[900.0, 300.0], [math.inf, NAN]]),
    np.array([[0.8, 1.0], [0.2, NAN]]),
    np.array([[0.5, 1.0], [NAN, NAN]]),
)
X = np.arange(5.0)
BAND = CurveBand(X, X + 1, X, X + 3)


def points(axes: Axes, index: int) -> list[tuple[float, float]]:
    line = axes.get_lines()[index]
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def legend_of(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_curve_its_band_and_its_runs() -> None:
    run: tuple[Floats, Floats] = (np.arange(8.0), np.arange(8.0) ** 2)
    curves = {"one": Curves(BAND, [run]), "other": Curves(BAND)}
    figure = plot_curve_bands(curves, "Steps", "Return", threshold=3.0)
    (axes,) = figure.axes
    assert points(axes, 1) == list(zip(*run, strict=True))
    assert points(axes, 2) == [(x, x + 1) for x in X]
    colours = [line.get_color() for line in axes.get_lines()]
    assert colours[1:] == [PALETTE[0], PALETTE[0], PALETTE[1]]
    band = axes.collections[0]
    assert isinstance(band, PolyCollection)
    corners = {tuple(corner) for corner in np.asarray(band.get_paths()[0].vertices)}
    assert {(x, x) for x in X} | {(x, x + 3) for x in X} <= corners
    assert legend_of(figure) == ["threshold 3", "one", "other"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Steps", "Return")


def test_a_strip_has_every_run_and_the_interval() -> None:
    scores = {"one": np.array([1.0, 2.0, 2.0, 9.0]), "other": np.array([5.0])}
    figure = plot_seed_strips(scores, "Score", threshold=4.0)
    (axes,) = figure.axes
    dots = points(axes, 1)
    assert [x for x, _ in dots] == [1.0, 2.0, 2.0, 9.0]
    # Equal scores are kept apart, all in the row of their group.
    assert len({y for _, y in dots}) == 4 and all(abs(y) <= 0.2 for _, y in dots)
    ends = [x for x, _ in points(axes, 2)]
    assert ends == list(bootstrap_interval(scores["one"]))
    assert points(axes, 3)[0][0] == interquartile_mean(scores["one"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "other"]
    assert legend_of(figure)[-1] == "threshold 4"


def test_a_profile_steps_down_at_the_scores() -> None:
    figure = plot_performance_profiles({"a": np.array([1.0, 2.0, 2.0, 5.0])}, "Score")
    drawn = dict(points(figure.axes[0], 0))
    assert (drawn[1.0], drawn[2.0], drawn[5.0]) == (0.75, 0.25, 0.0)
    assert drawn[min(drawn)] == 1.0
    assert figure.axes[0].get_lines()[0].get_drawstyle() == "steps-post"


def test_a_comparison_has_four_panels_and_three_without_a_threshold() -> None:
    names = ["one", "other"]
    curves = {name: Curves(BAND) for name in names}
    scores = {name: np.array([1.0, 2.0, 4.0]) for name in names}
    speeds = {
        "one": Speed(3.0, 10, np.array([3.0, math.inf, 5.0]), 0.5, 0.9),
        "other": Speed(3.0, 10, np.full(3, math.inf), math.nan, math.nan),
    }
    figure = compare_runs(curves, scores, speeds, "Steps", 10)
    panel = figure.axes[3]
    # Two of three runs reached it; the median is over all three.
    assert [x for x, _ in points(panel, 0)] == [3.0, 5.0]
    assert points(panel, 1)[0][0] == 5.0
    # No median is drawn if half of the runs never reached it.
    assert len(panel.get_lines()) == 3
    assert panel.get_xlim() == (0.0, 5.25)
    assert [text.get_text() for text in panel.texts] == ["2 of 3", "0 of 3"]
    assert [label.get_text() for label in panel.get_yticklabels()] == [
        "one\n(50% stay)",
        "other\n(none reaches it)",
    ]
    without = compare_runs(curves, scores, None, "Steps", 10)
    assert [axes.axison for axes in without.axes] == [True, True, True, False]


@pytest.mark.parametrize("plot", [plot_seed_strips, plot_performance_profiles])
def test_nothing_to_draw_is_rejected(plot: Any) -> None:
    with pytest.raises(ValueError, match="at least one group of runs is needed"):
        plot({}, "Score")
    with pytest.raises(ValueError, match="scores must be finite numbers, got nan"):
        plot({"a": np.array([math.nan])}, "Score")


def test_heat_maps_have_numbers_and_brightness_in_their_cells() -> None:
    figure: Any = plot_network_grid(NETWORKS, 475.0, "steps")
    speed, stability = figure.axes
    assert [text.get_text() for text in speed.texts] == [
        "900\n80% reach it",
        "300\n100% reach it",
        "no median\n20% reach it",
        "not run",
    ]
    assert [text.get_text() for text in stability.texts] == [
        "50%",
        "100%",
        "none\nreaches it",
        "not run",
    ]
    assert [label.get_text() for label in speed.get_xticklabels()] == ["8", "64"]
    assert [label.get_text() for label in speed.get_yticklabels()] == ["1", "2"]
    assert speed.get_title() == "Median steps to 475"
    # Faster networks are brighter, those that never reach it are darkest.
    (slow, fast), (never, not_run) = speed.images[0].get_array().filled(NAN)
    assert fast > slow > never and math.isnan(not_run)
    assert stability.images[0].get_clim() == (0.0, 1.0)


def test_a_grid_of_one_network_is_drawn() -> None:
    for time in (5.0, math.inf):
        one = np.array([[time]])
        grid = NetworkGrid((1,), (8,), one, np.array([[1.0]]), np.array([[1.0]]))
        assert len(plot_network_grid(grid, 1.0, "episodes").axes) == 2
