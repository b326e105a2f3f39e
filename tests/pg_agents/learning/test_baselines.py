"""Baselines against averages taken by hand, and the identities between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pg_agents.learning.baselines import (
    leave_one_out_baseline,
    mean_baseline,
    standardize,
)

# Three episodes of 3, 1 and 2 steps.
RETURNS = torch.tensor([6.0, 5.0, 3.0, 9.0, 4.0, 2.0], dtype=torch.float64)
TIME = torch.tensor([0, 1, 2, 0, 0, 1])


def test_mean_is_over_all_episodes_counting_ended_ones_as_nothing() -> None:
    got = mean_baseline(RETURNS, TIME, 3)
    first, second, third = (6 + 9 + 4) / 3, (5 + 0 + 2) / 3, 3 / 3
    expected = torch.tensor([first, second, third, first, first, second])
    torch.testing.assert_close(got, expected.double())


def test_leave_one_out_is_over_the_other_episodes() -> None:
    got = leave_one_out_baseline(RETURNS, TIME, 3)
    expected = [(9 + 4) / 2, (0 + 2) / 2, 0 / 2, (6 + 4) / 2, (6 + 9) / 2, 5 / 2]
    torch.testing.assert_close(got, torch.tensor(expected).double())


def test_mean_shrinks_what_leave_one_out_leaves_by_one_in_n() -> None:
    """Batch-mean baseline: G - mean = (1 - 1/N)(G - leave-one-out), term by term."""
    by_mean = RETURNS - mean_baseline(RETURNS, TIME, 3)
    by_others = RETURNS - leave_one_out_baseline(RETURNS, TIME, 3)
    torch.testing.assert_close(by_mean, (1 - 1 / 3) * by_others)


@pytest.mark.parametrize("average", [mean_baseline, leave_one_out_baseline])
def test_a_single_trajectory_is_refused(average: object) -> None:
    assert callable(average)
    with pytest.raises(ValueError, match="needs at least 2 per update, got 1"):
        average(RETURNS[:3], TIME[:3], 1)


def test_standardize_has_mean_0_and_deviation_1() -> None:
    got = standardize(RETURNS)
    expected = (RETURNS.numpy() - RETURNS.numpy().mean()) / RETURNS.numpy().std(ddof=1)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("value", [3.5, 0.0, -1e6])
def test_standardize_leaves_a_single_number_alone(value: float) -> None:
    """The standard deviation of one number is NaN."""
    assert standardize(torch.tensor([value])).tolist() == [value]


def test_standardize_makes_equal_numbers_exactly_0() -> None:
    """In float32 the mean of ten times 0.1 is not 0.1, and 1e-9 / 1e-8 is not small."""
    for value in (0.1, 1 / 3, 1234.567):
        assert standardize(torch.full((10,), value)).tolist() == [0.0] * 10


def test_standardize_keeps_the_dtype() -> None:
    assert standardize(torch.tensor([1.0, 2.0])).dtype == torch.float32
