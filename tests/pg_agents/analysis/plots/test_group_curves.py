"""The curves of a group: the band ends with the shortest run, the lines do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pg_agents.analysis import interquartile_mean, read_group
from pg_agents.analysis.plots.group_curves import curves_of
from tests.pg_agents.analysis.run_folders import write_run


def test_the_band_is_where_all_runs_are_known(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, [1.0, 2.0, 3.0, 4.0], lengths=[10] * 4)
    write_run(tmp_path / "a", 1, [5.0, 6.0, 7.0], lengths=[5] * 3)
    curves = curves_of(read_group(tmp_path / "a"), "episodes", 2, "range")
    assert (curves.band.x[0], curves.band.x[-1]) == (2, 3)
    assert (curves.band.low[0], curves.band.high[0]) == (1.5, 5.5)
    assert (curves.band.low[-1], curves.band.high[-1]) == (2.5, 6.5)
    assert curves.band.middle[-1] == interquartile_mean([2.5, 6.5])
    first, second = curves.runs
    np.testing.assert_array_equal(first, [[2, 3, 4], [1.5, 2.5, 3.5]])
    np.testing.assert_array_equal(second, [[2, 3], [5.5, 6.5]])


def test_a_long_run_keeps_its_ends_when_it_is_thinned(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, np.arange(5000.0).tolist())
    (line,) = curves_of(read_group(tmp_path / "a"), "episodes", 10).runs
    assert len(line[0]) == 300
    assert (line[0][0], line[0][-1]) == (10, 5000)
    np.testing.assert_allclose(line[1], line[0] - 5.5)


def test_runs_without_a_time_in_common(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, [1.0, 1.0], lengths=[10, 10])
    write_run(tmp_path / "a", 1, [1.0, 1.0], lengths=[100, 100])
    group = read_group(tmp_path / "a")
    with pytest.raises(ValueError, match="have no steps in common"):
        curves_of(group, "steps", 1)
    with pytest.raises(ValueError, match="has 2 episodes, too few for a mean of 3"):
        curves_of(group, "steps", 3)
