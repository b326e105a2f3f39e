"""Infos as one dict per environment, and episode results from a rollout's columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pg_agents.vec_env.infos import LazyInfos, newest_results, split_infos


def test_split_infos_follows_the_masks() -> None:
    infos = {
        "price": np.array([1.5, 0.0, 2.5]),
        "_price": np.array([True, False, True]),
        "is_success": np.array([False, True, False]),
        "_is_success": np.array([False, True, False]),
        "place": {
            "x": np.array([0, 7, 8]),
            "_x": np.array([False, True, True]),
            "name": np.array([None, "here", None], dtype=object),
            "_name": np.array([False, True, False]),
        },
        "_place": np.array([False, True, True]),
        "speed": np.arange(6.0).reshape(3, 2),
        "clock": 12,
        "_private": np.array([4, 5, 6]),
        "final_obs": torch.tensor([[1.0], [2.0], [3.0]]),
        "_final_obs": torch.tensor([False, False, True]),
    }
    rows = split_infos(infos, 3)
    for i, row in enumerate(rows):
        assert row.pop("speed").tolist() == [2.0 * i, 2.0 * i + 1]
    assert rows[2].pop("final_obs").tolist() == [3.0]
    first = {"price": 1.5, "clock": 12, "_private": 4}
    place = {"x": 7, "name": "here"}
    second = {"is_success": True, "place": place, "clock": 12, "_private": 5}
    third = {"price": 2.5, "place": {"x": 8}, "clock": 12, "_private": 6}
    assert rows == [first, second, third]
    # Python numbers, as from a single environment.
    assert type(rows[1]["is_success"]) is bool
    assert type(rows[0]["price"]) is float


@pytest.mark.parametrize("infos", [{}, [{}, {}]])
def test_every_environment_gets_a_dict_of_its_own(infos: Any) -> None:
    rows = split_infos(infos, 2)
    rows[0]["a"] = 2
    assert rows == [{"a": 2}, {}]
    assert not any(infos)


def test_lazy_infos_are_made_once_and_on_access() -> None:
    n_calls = 0

    def make() -> list[dict[str, Any]]:
        nonlocal n_calls
        n_calls += 1
        return [{"i": i} for i in range(3)]

    infos = LazyInfos(3, make)
    assert (len(infos), n_calls) == (3, 0)
    assert (infos[1], infos[-1], infos[:2]) == (
        {"i": 1},
        {"i": 2},
        [{"i": 0}, {"i": 1}],
    )
    assert list(infos) == [{"i": 0}, {"i": 1}, {"i": 2}]
    assert {"i": 2} in infos
    infos[0]["new"] = True
    assert next(iter(infos)) == {"i": 0, "new": True}
    assert n_calls == 1


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("seed", range(12))
def test_newest_results_equal_a_loop(seed: int, kind: Callable[[Any], Any]) -> None:
    """In the order of time, then of environments."""
    rng = np.random.default_rng(seed)
    n_steps, n_envs = rng.integers(1, 30), rng.integers(1, 7)
    rewards = rng.normal(size=(n_steps, n_envs)).astype(np.float32)
    dones = rng.random((n_steps, n_envs)) < rng.choice([0.02, 0.2, 0.8])
    returns, lengths = rng.normal(size=n_envs), rng.integers(0, 50, n_envs)
    before = kind(returns.copy()), kind(lengths.copy())
    expected: list[tuple[float, int]] = []
    for t in range(n_steps):
        returns += rewards[t]
        lengths += 1
        for i in np.flatnonzero(dones[t]):
            expected.append((float(returns[i]), int(lengths[i])))
            returns[i], lengths[i] = 0.0, 0
    for n in (1, 3, 1000):
        results = newest_results(kind(rewards), kind(dones), before, n)
        newest = expected[-n:]
        assert [length for _, length in results] == [length for _, length in newest]
        assert [r for r, _ in results] == pytest.approx([r for r, _ in newest])
