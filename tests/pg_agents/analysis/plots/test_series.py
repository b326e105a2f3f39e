import numpy as np

from pg_agents.analysis.plots.series import (
    band_over_runs,
    common_grid,
    hold,
    mean_per_time,
    moving_average,
)


def test_moving_average_by_hand() -> None:
    values = np.array([1.0, 3.0, 8.0, 0.0])
    assert moving_average(values, 2).tolist() == [1.0, 2.0, 5.5, 4.0]
    assert moving_average(values, 1).tolist() == values.tolist()
    assert moving_average(values, 10).tolist() == [1.0, 2.0, 4.0, 3.0]


def test_band_leaves_missing_values_out() -> None:
    runs = [np.array([1.0, np.nan, np.nan]), np.array([3.0, 5.0])]
    _, mean, sd = band_over_runs(runs, np.arange(3))
    np.testing.assert_array_equal(mean, [2.0, 5.0, np.nan])
    np.testing.assert_array_equal(sd, [1.0, 0.0, np.nan])


def test_hold_keeps_the_last_value() -> None:
    held = hold(np.array([0, 5]), np.array([[1.0], [2.0]]), np.array([0, 4, 5, 9]))
    assert held[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0]


def test_common_grid_covers_what_all_runs_cover() -> None:
    times = [np.array([0, 4, 9, 20]), np.array([2, 4, 15])]
    assert common_grid(times).tolist() == [2, 4, 9, 15]
    assert common_grid([np.arange(1000)], max_points=3).tolist() == [0, 500, 999]
    assert len(common_grid([np.array([0, 1]), np.array([5, 6])])) == 0


def test_mean_per_time() -> None:
    times, means = mean_per_time(np.array([1, 1, 4]), np.array([2.0, 4.0, 9.0]))
    assert (times.tolist(), means.tolist()) == ([1, 4], [3.0, 9.0])
