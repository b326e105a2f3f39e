"""Results of episodes from the columns of a rollout; infos that nobody looks at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pg_agents.vec_env.array_steps import (
    LazyInfos,
    is_any,
    newest_results,
    zero_where,
)


def results(
    rewards: list[list[float]],
    ended: list[list[int]],
    n: int = 100,
    before: tuple[list[float], list[int]] | None = None,
) -> list[tuple[float, int]]:
    n_envs = len(rewards[0])
    totals, lengths = before or ([0.0] * n_envs, [0] * n_envs)
    return newest_results(
        torch.tensor(rewards),
        torch.tensor(ended).bool(),
        (torch.tensor(totals), torch.tensor(lengths)),
        n,
    )


def test_an_episode_within_the_rollout() -> None:
    assert results([[1.0], [2.0], [4.0]], [[0], [1], [0]]) == [(3.0, 2)]


def test_nothing_ended() -> None:
    assert results([[1.0], [2.0]], [[0], [0]]) == []
    assert results([[1.0], [2.0]], [[1], [1]], n=0) == []


def test_episode_that_began_before_counts_from_there() -> None:
    """The second one began within: of the first there is nothing in it."""
    ended = [[0], [1], [0], [1]]
    got = results([[1.0], [2.0], [4.0], [8.0]], ended, before=([100.0], [7]))
    assert got == [(103.0, 9), (12.0, 2)]


def test_episodes_of_one_step_one_after_the_other() -> None:
    got = results([[1.0], [2.0], [4.0]], [[1], [1], [1]], before=([0.5], [1]))
    assert got == [(1.5, 2), (2.0, 1), (4.0, 1)]


def test_order_is_that_of_time_and_then_of_environments() -> None:
    rewards = [[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]]
    ended = [[0, 1, 0], [1, 0, 1]]
    every = [(10.0, 1), (3.0, 2), (300.0, 2)]
    assert results(rewards, ended) == every
    for n in (1, 2, 3):
        assert results(rewards, ended, n) == every[-n:]


@pytest.mark.parametrize("seed", range(12))
def test_random_rollouts_by_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_steps, n_envs = rng.integers(1, 30), rng.integers(1, 7)
    rewards = rng.normal(size=(n_steps, n_envs)).astype(np.float32)
    ended = rng.random((n_steps, n_envs)) < rng.choice([0.02, 0.2, 0.8])
    totals, lengths = rng.normal(size=n_envs), rng.integers(0, 50, n_envs)
    own_totals, own_lengths = totals.copy(), lengths.copy()
    expected: list[tuple[float, int]] = []
    for t in range(n_steps):
        own_totals += rewards[t]
        own_lengths += 1
        for i in np.flatnonzero(ended[t]):
            expected.append((float(own_totals[i]), int(own_lengths[i])))
            own_totals[i], own_lengths[i] = 0.0, 0
    before = torch.as_tensor(totals), torch.as_tensor(lengths)
    for n in (1, 3, 1000):
        got = newest_results(
            torch.as_tensor(rewards), torch.as_tensor(ended), before, n
        )
        newest = expected[-n:]
        assert [length for _, length in got] == [length for _, length in newest]
        assert [r for r, _ in got] == pytest.approx([r for r, _ in newest])


class Maker:
    """Counts how often infos are made."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self) -> list[dict[str, Any]]:
        self.n_calls += 1
        return [{"i": i} for i in range(3)]


def test_infos_are_made_once_and_when_looked_at() -> None:
    maker = Maker()
    infos = LazyInfos(3, maker)
    assert len(infos) == 3
    assert maker.n_calls == 0
    assert infos[1] == {"i": 1}
    assert infos[-1] == {"i": 2}
    assert infos[:2] == [{"i": 0}, {"i": 1}]
    assert list(infos) == [{"i": 0}, {"i": 1}, {"i": 2}]
    assert {"i": 2} in infos
    assert maker.n_calls == 1
    # Whoever writes to one finds it again.
    infos[0]["seen"] = True
    assert next(iter(infos)) == {"i": 0, "seen": True}


@pytest.mark.parametrize("mask", [[0, 0, 0], [0, 1, 0], [1, 1, 1]])
def test_masks_of_both_kinds(mask: list[int]) -> None:
    array, tensor = np.array(mask, dtype=np.bool_), torch.tensor(mask).bool()
    assert is_any(array) is is_any(tensor) is any(mask)
    numbers = np.array([1.5, math.inf, math.nan])
    expected = [0.0 if m else n for m, n in zip(mask, numbers, strict=True)]
    for found in (
        zero_where(array, numbers),
        zero_where(tensor, torch.as_tensor(numbers)),
    ):
        np.testing.assert_array_equal(np.asarray(found), expected)
