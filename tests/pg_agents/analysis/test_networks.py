"""Grids of networks: names of variants, and results by network."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pg_agents.analysis import network_grid, network_variants, read_groups
from pg_agents.analysis.networks import parse_variant
from tests.pg_agents.analysis.run_folders import write_run


def test_names_of_variants() -> None:
    assert network_variants([1, 3], [8, 64]) == {
        "1x8": [8],
        "1x64": [64],
        "3x8": [8, 8, 8],
        "3x64": [64, 64, 64],
    }
    for name, net in network_variants([1, 2, 10], [1, 16, 256]).items():
        assert parse_variant(name) == (len(net), net[0])


@pytest.mark.parametrize("name", ["", "best", "2x", "2x64x3", "0x64", "2x0", "-1x3"])
def test_other_names_are_rejected(name: str) -> None:
    with pytest.raises(ValueError, match="reads LAYERSxUNITS, such as 2x64"):
        parse_variant(name)


def test_layers_and_units_must_be_counts() -> None:
    with pytest.raises(ValueError, match="layers must be an integer >= 1, got 0"):
        network_variants([0], [8])
    with pytest.raises(ValueError, match=r"units must be an integer >= 1, got 8\.5"):
        network_variants([1], [8.5])  # type: ignore[list-item]


def test_results_are_in_the_cells_of_their_networks(tmp_path: Path) -> None:
    """Each network reaches the threshold after as many episodes as it has units."""
    for variant, late in (("2x4", 4), ("1x16", 16), ("1x4", 40)):
        for seed in range(3):
            fall = [0.0] if seed == 0 else []
            returns = [0.0] * (late - 1) + [9.0] * 3 + fall
            write_run(tmp_path / f"net-{variant}", seed, returns)
    grid = network_grid(read_groups([tmp_path]), 9.0, window=1, unit="episodes")
    assert (grid.layers, grid.units) == ((1, 2), (4, 16))
    np.testing.assert_array_equal(grid.to_threshold, [[40, 16], [4, math.nan]])
    np.testing.assert_array_equal(grid.reached, [[1, 1], [1, math.nan]])
    np.testing.assert_allclose(grid.stability, [[2 / 3, 2 / 3], [2 / 3, math.nan]])


def test_groups_that_make_no_grid(tmp_path: Path) -> None:
    write_run(tmp_path / "net-1x4", 0, [1.0])
    write_run(tmp_path / "net-again", 0, [1.0], variant="1x4")
    with pytest.raises(ValueError, match="in the grid twice"):
        network_grid(read_groups([tmp_path]), 1.0)
    write_run(tmp_path / "other-1x8", 0, [1.0])
    with pytest.raises(ValueError, match=r"one recipe, got \['net', 'other'\]"):
        network_grid(read_groups([tmp_path]), 1.0)
