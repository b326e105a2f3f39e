"""The tabular policy is a softmax of the logits of an observation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pg_agents.checker.function_subject import TablePolicy

LINE = np.array([[-1.0], [0.0], [1.0]], np.float32)
SQUARES = np.arange(8, dtype=np.float32).reshape(2, 2, 2)


def plain_softmax(logits: Tensor) -> list[float]:
    powers = [math.exp(x) for x in logits.tolist()]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize(
    ("table", "rows"),
    [(LINE, [2, 0, 2, 1]), (SQUARES, [1, 0, 1]), (np.arange(5), [4, 0, 0, 3])],
    ids=["vectors", "matrices", "integers"],
)
def test_probabilities_are_the_softmax_of_a_row(table: Any, rows: list[int]) -> None:
    policy = TablePolicy(table, 3)
    found = policy(torch.tensor(table[rows])).probs
    assert found.shape == (len(rows), 3)
    for probabilities, row in zip(found, rows, strict=True):
        expected = plain_softmax(policy.logits[row].detach())
        assert probabilities.tolist() == pytest.approx(expected, abs=1e-6)


def test_equal_observations_share_logits() -> None:
    aliased = np.array([[1.0], [0.0], [1.0], [0.0]], np.float32)
    policy = TablePolicy(aliased, 2)
    assert policy.logits.shape == (2, 2)
    probs = policy(torch.tensor(aliased)).probs
    assert torch.equal(probs[0], probs[2])
    assert torch.equal(probs[1], probs[3])
    assert not torch.allclose(probs[0], probs[1])
    # The gradients of both add up.
    policy(torch.tensor(aliased)).log_prob(torch.zeros(4)).sum().backward()
    assert policy.logits.grad is not None
    for row in range(2):
        pi = policy.logits[row].detach().softmax(0)
        expected = 2.0 * (torch.tensor([1.0, 0.0]) - pi)
        torch.testing.assert_close(policy.logits.grad[row], expected)


@pytest.mark.parametrize(
    ("seen", "single"),
    [(LINE, torch.tensor([0.0])), (np.arange(3), torch.tensor(1))],
    ids=["vector", "index"],
)
def test_a_single_observation_gives_a_single_distribution(
    seen: np.ndarray[tuple[int, ...], np.dtype[np.float32]], single: Tensor
) -> None:
    policy = TablePolicy(seen, 3)
    found = policy(single)
    assert found.batch_shape == ()
    expected = plain_softmax(policy.logits[1].detach())
    assert found.probs.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.log_prob(torch.tensor(2)).shape == ()


def test_leading_dimensions_are_preserved() -> None:
    policy = TablePolicy(LINE, 3)
    grid = torch.tensor(LINE)[torch.tensor([[0, 1], [2, 0], [1, 1]])]
    probs = policy(grid).probs
    assert probs.shape == (3, 2, 3)
    torch.testing.assert_close(probs[1], policy(grid[1]).probs)


@pytest.mark.parametrize(
    ("table", "stranger"),
    [
        *((LINE, each) for each in ([[0.5]], [[0.0], [2.0]], [[float("nan")]])),
        # Half right.
        (SQUARES, [[[0.0, 1.0], [2.0, 7.0]]]),
    ],
)
def test_unknown_observations_are_rejected(table: Any, stranger: Any) -> None:
    with pytest.raises(ValueError, match="unknown observation"):
        TablePolicy(table, 3)(torch.tensor(stranger))


def test_logits_depend_on_the_seed_and_are_neither_uniform_nor_extreme() -> None:
    first, again, other = (TablePolicy(LINE, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(first.logits, again.logits)
    assert not torch.allclose(first.logits, other.logits)
    probs = first(torch.tensor(LINE)).probs.detach()
    assert 0.01 < float(probs.min()) < float(probs.max()) < 0.99
    assert float(probs.std()) > 0.05
