"""The heat maps of networks: figures, and brighter where it is better."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pg_agents.analysis import NetworkGrid
from pg_agents.analysis.plots import plot_network_grid

NAN = math.nan
GRID = NetworkGrid(
    (1, 2),
    (8, 64),
    np.array([[900.0, 300.0], [math.inf, NAN]]),
    np.array([[0.8, 1.0], [0.2, NAN]]),
    np.array([[0.5, 1.0], [NAN, NAN]]),
)


def shown(axes: Axes) -> NDArray[np.float64]:
    array = axes.images[0].get_array()
    assert array is not None
    return np.ma.filled(array.astype(float), NAN)


def test_figures_stand_in_the_cells() -> None:
    speed, stability = plot_network_grid(GRID, 475.0, "steps").axes
    assert [text.get_text() for text in speed.texts] == [
        "900\n80% get there",
        "300\n100% get there",
        "never\n20% get there",
        "not run",
    ]
    assert [text.get_text() for text in stability.texts] == [
        "50%",
        "100%",
        "none\ngets there",
        "not run",
    ]
    assert [label.get_text() for label in speed.get_xticklabels()] == ["8", "64"]
    assert [label.get_text() for label in speed.get_yticklabels()] == ["1", "2"]
    assert speed.get_title() == "Median steps to 475"


def test_faster_is_brighter_and_never_is_darkest() -> None:
    speed, stability = plot_network_grid(GRID, 475.0, "steps").axes
    (slow, fast), (never, not_run) = shown(speed)
    assert fast > slow > never and math.isnan(not_run)
    assert stability.images[0].get_clim() == (0.0, 1.0)


def test_a_grid_of_one_and_one_that_nobody_reached_are_drawn() -> None:
    for time in (5.0, math.inf):
        one = np.array([[time]])
        grid = NetworkGrid((1,), (8,), one, np.array([[1.0]]), np.array([[1.0]]))
        assert len(plot_network_grid(grid, 1.0, "episodes").axes) == 2
