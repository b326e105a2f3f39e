"""The actions that a table draws follow the policy, to the last integer."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gymnasium import spaces
from scipy import stats
from torch import Tensor

from pg_agents import finite
from pg_agents.advantages import Facts
from pg_agents.columns import Column
from pg_agents.finite import FinitePolicy

END = 2**31
# Rows whose action of probability 0 is the first, the last, in between, or all but one.
PROBABILITIES = [
    [0.5, 0.25, 0.25],
    [0.0, 0.4, 0.6],
    [0.3, 0.7, 0.0],
    [0.6, 0.4, 0.0],
    [0.1, 0.0, 0.9],
    [1.0, 0.0, 0.0],
    [0.0, 1.0, 0.0],
    [0.0, 0.0, 1.0],
    [0.98, 1e-2, 1e-2],
]


def by(probabilities: list[list[float]], start: int = 0) -> FinitePolicy:
    """A policy that knows nothing but these probabilities; V(s) is 10 s."""
    n_rows, n_actions = len(probabilities), len(probabilities[0])
    policy: Any = SimpleNamespace(
        action_space=spaces.Discrete(n_actions, start=start),
        all_log_probs=lambda table: torch.tensor(probabilities).log(),
        predict_values=lambda table: 10.0 * torch.arange(n_rows)[:, None].float(),
    )
    return FinitePolicy(policy, torch.arange(n_rows))


class Given:
    """Stands for the generator: these integers and no others."""

    def __init__(self, draws: list[int]) -> None:
        self.draws = draws

    def draw(self, n: int) -> Tensor:
        assert n == len(self.draws)
        return torch.tensor(self.draws, dtype=torch.int32)


def expected_action(log_probs: list[float], draw: int) -> int:
    """Inverts the distribution by hand: the first action whose bound lies above."""
    # What float32 has left over of 1 is nobody's: it is shared out.
    weights = [Fraction(math.exp(each)) for each in log_probs]
    total, so_far = sum(weights), Fraction(0)
    for action, weight in enumerate(weights):
        so_far += weight
        if draw < round(END * so_far / total):
            return action
    raise AssertionError("the last bound is 2^31")


@pytest.mark.parametrize("row", range(len(PROBABILITIES)))
def test_action_is_the_inverse_of_the_distribution(row: int) -> None:
    """For the integers on both sides of every bound, and for the first and the last."""
    policy = by(PROBABILITIES)
    log_probs = policy.log_probs[row].tolist()
    bounds = [END * sum(PROBABILITIES[row][: a + 1]) for a in range(3)]
    # Bounds by float32 probabilities lie a few dozen integers off.
    around = [round(bound) + d for bound in bounds for d in range(-150, 151)]
    draws = [0, 1, END - 2, END - 1, *(d for d in around if 0 <= d < END)]
    policy._integers = Given(draws)  # type: ignore[assignment]
    actions = policy.act(torch.full((len(draws),), row)).tolist()
    assert actions == [expected_action(log_probs, draw) for draw in draws]
    possible = {a for a in range(3) if PROBABILITIES[row][a] > 0}
    assert set(actions) == possible


def test_environments_look_up_their_own_row() -> None:
    policy = by([[0.25, 0.75], [0.75, 0.25]])
    policy._integers = Given([END // 2] * 4)  # type: ignore[assignment]
    assert policy.act(torch.tensor([0, 1, 1, 0])).tolist() == [1, 0, 0, 1]


def test_probabilities_too_small_for_the_integers_are_never_drawn() -> None:
    """Less than 2^-32 is 0 here, on either side of what is likely."""
    policy = by([[1e-20, 1.0, 1e-20]])
    policy._integers = Given([0, END - 1])  # type: ignore[assignment]
    assert policy.act(torch.zeros(2, dtype=torch.int64)).tolist() == [1, 1]


def test_frequencies_are_the_probabilities() -> None:
    """Chi-square per row: by chance a row fails once in 10^6 seeds, one of 9 in 10^5.

    A frequency's standard error is 0.5 / sqrt(60,000) = 0.002 at most.
    """
    torch.manual_seed(5)
    policy, n = by(PROBABILITIES), 60_000
    rows = torch.arange(len(PROBABILITIES)).repeat(n)
    drawn = policy.act(rows).view(n, -1)
    for row, probabilities in enumerate(PROBABILITIES):
        counts = torch.bincount(drawn[:, row], minlength=3).tolist()
        likely = [(c, n * p) for c, p in zip(counts, probabilities, strict=True) if p]
        assert sum(c for c, _ in likely) == n
        square = sum((c - mean) ** 2 / mean for c, mean in likely)
        if len(likely) > 1:
            assert stats.chi2.sf(square, len(likely) - 1) > 1e-6


class Elsewhere(str):
    """The CPU, under the name of another device."""

    type = "cuda"


@pytest.mark.parametrize("device", [torch.device("cpu"), Elsewhere("cpu")])
@pytest.mark.parametrize("n", [1, 2, 99_999])
def test_integers_are_uniform_and_follow_from_torch_seed(device: Any, n: int) -> None:
    """64 equal cells, chi-square: by chance one failure in 10^6 seeds."""

    def drawn() -> Tensor:
        torch.manual_seed(n)
        return finite._Integers(device).draw(n)

    integers = drawn()
    assert integers.shape == (n,) and integers.dtype == torch.int32
    assert bool((integers >= 0).all())
    assert torch.equal(integers, drawn())
    torch.manual_seed(n + 1)
    assert not torch.equal(integers, finite._Integers(device).draw(n))
    if n > 64:
        for bit in (25, 0):
            cells = torch.bincount((integers >> bit) & 63, minlength=64)
            assert stats.chisquare(cells.numpy()).pvalue > 1e-6
        # A number says nothing of the next: 16 pairs of cells.
        top = (integers >> 29)[: n - n % 2].view(-1, 2)
        pairs = torch.bincount(4 * top[:, 0] + top[:, 1], minlength=16)
        assert stats.chisquare(pairs.numpy()).pvalue > 1e-6


def test_integers_go_on_from_draw_to_draw() -> None:
    torch.manual_seed(0)
    integers = finite._Integers(torch.device("cpu"))
    assert not torch.equal(integers.draw(5), integers.draw(5))


@pytest.mark.parametrize("start", [0, 3, -2])
def test_actions_count_from_the_start_of_their_space(start: int) -> None:
    policy = by(PROBABILITIES, start)
    rows = torch.arange(len(PROBABILITIES)).repeat(50)
    actions = policy.act(rows)
    assert set((actions - start).tolist()) == {0, 1, 2}
    pairs = policy.pairs(rows, actions)
    assert pairs.tolist() == (3 * rows + actions - start).tolist()
    column = Column()
    columns = policy.columns(column)
    column.append(pairs[:10])
    column.append(pairs[10:20])
    read = {
        name: columns[name].tensor(torch.device("cpu")).detach()
        for name in ("observations", "actions", "values", "log_probs")
    }
    assert torch.equal(read["actions"], actions[:20].view(2, 10))
    assert torch.equal(read["observations"], rows[:20].view(2, 10))
    assert torch.equal(read["values"], 10.0 * rows[:20].view(2, 10))
    expected = policy.log_probs[rows, actions - start][:20].view(2, 10)
    assert torch.equal(read["log_probs"], expected)


def rollout_of(policy: FinitePolicy, pairs: Tensor) -> Facts:
    """Facts of which nothing but the pairs matters."""
    column = Column()
    columns = policy.columns(column)
    for row in pairs:
        column.append(row.int())
    read = {
        name: columns[name].tensor(torch.device("cpu"))
        for name in ("observations", "actions", "values", "log_probs")
    }
    nothing = torch.zeros(pairs.shape)
    return Facts(
        **read,
        rewards=nothing,
        terminated=nothing.bool(),
        truncated=nothing.bool(),
        recorded=~nothing.bool(),
        next_values=nothing,
        n_episodes=None,
        all_recorded=True,
    )


@pytest.mark.parametrize("by_sign", [False, True])
def test_summary_by_a_loop(by_sign: bool) -> None:
    """Sums, means and counts of a rollout, collected in plain Python."""
    torch.manual_seed(1)
    policy = by([[0.5, 0.5], [0.2, 0.8]], start=1)
    pairs = torch.randint(0, 4, (7, 5))
    returns, advantages = torch.randn(7, 5), torch.randn(7, 5)
    facts = rollout_of(policy, pairs)
    batch = policy.batch(facts, returns, advantages, by_sign=by_sign, critic=True)
    n_rows = 8 if by_sign else 4
    sums, totals, counts = [0.0] * n_rows, [0.0] * n_rows, [0] * n_rows
    keys = pairs.flatten().tolist()
    weights, targets = advantages.flatten().tolist(), returns.flatten().tolist()
    for key, weight, target in zip(keys, weights, targets, strict=True):
        row = key + 4 * (by_sign and weight > 0)
        sums[row] += weight
        totals[row] += target
        counts[row] += 1
    assert batch.counts is not None and batch.spread is not None
    assert batch.counts.tolist() == counts
    assert batch.advantages.tolist() == pytest.approx(sums)
    means = [total / max(n, 1) for total, n in zip(totals, counts, strict=True)]
    assert batch.returns.tolist() == pytest.approx(means)
    assert batch.actions.tolist() == [1, 2, 1, 2] * (n_rows // 4)
    assert batch.n_samples == 35
    rows = [key + 4 * (by_sign and w > 0) for key, w in zip(keys, weights, strict=True)]
    off = [(t - means[row]) ** 2 for t, row in zip(targets, rows, strict=True)]
    assert batch.spread.item() == pytest.approx(sum(off) / 35, rel=1e-5)
