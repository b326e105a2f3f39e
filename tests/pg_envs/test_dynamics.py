from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pg_envs.dynamics import (
    DynamicsTables,
    add_noise,
    advance,
    initial_state,
    make_tables,
)
from pg_envs.mdp import TabularMDP
from tests.pg_envs.tabular_examples import Floats, random_mdp

LARGEST = float(np.nextafter(1.0, 0.0))
"""The largest possible draw: uniform draws are below 1."""


def _chain(probabilities: list[float]) -> TabularMDP:
    """One action, the same distribution of the next state from everywhere."""
    n_states = len(probabilities)
    row = np.array(probabilities)
    return TabularMDP(
        transition=np.tile(row, (n_states, 1, 1)),
        reward=np.zeros((n_states, 1, n_states)),
        terminal=np.zeros((n_states, 1, n_states), dtype=np.bool_),
        initial_distribution=row,
        observations=np.arange(n_states),
    )


def _searched(probabilities: Floats, u: float) -> int:
    """An independent inversion of the distribution, state by state."""
    total = 0.0
    for state, probability in enumerate(probabilities):
        total += probability
        if u < total:
            return state
    return int(np.flatnonzero(probabilities)[-1])


def _torch_tables(tables: DynamicsTables) -> DynamicsTables:
    names = ("initial_cdf", "cdf", "successor", "reward", "terminal", "observations")
    arrays: dict[str, Any] = {n: torch.tensor(getattr(tables, n)) for n in names}
    return replace(tables, **arrays)


IMPOSSIBLE = [
    [0.1] * 10,  # Adds up to 0.9999999999999999.
    [0.1] * 10 + [0.0, 0.0],
    [0.0, 0.1, 0.2, 0.0, 0.7, 0.0],
    [0.0, 1.0, 0.0],
    [1 / 3, 1 / 3, 1 / 3 - 1e-10, 0.0],  # The sum may be off by 1e-9.
    [0.0] * 3 + [1 / 49] * 49 + [0.0] * 3,
    [0.7, 0.2, 0.1, 0.0],  # Adds up to 0.9999999999999999.
    [0.3, 0.3, 0.4 + 1e-10, 0.0],
]


@pytest.mark.parametrize("probabilities", IMPOSSIBLE)
def test_no_draw_selects_an_impossible_state(probabilities: list[float]) -> None:
    tables = make_tables(_chain(probabilities))
    cdf = np.cumsum(probabilities)
    # The ends, and every step of the staircase with its neighbours on both sides.
    edges = np.concatenate([cdf, np.nextafter(cdf, 0.0), np.nextafter(cdf, 1.0)])
    draws = np.concatenate([[0.0, LARGEST], edges[edges < 1.0]])
    zeros = np.zeros(len(draws), dtype=np.int64)
    for states in (
        initial_state(tables, draws),
        advance(tables, zeros, zeros, draws).state,
    ):
        assert (states < len(probabilities)).all()
        assert (np.array(probabilities)[states] > 0.0).all()
        assert states.tolist() == [_searched(np.array(probabilities), u) for u in draws]


def test_scalars_batches_and_tensors_agree_with_a_search() -> None:
    mdp = random_mdp(3, n_states=9, n_actions=5)
    tables = make_tables(mdp)
    on_torch = _torch_tables(tables)
    rng = np.random.default_rng(4)
    states, actions = rng.integers(9, size=500), rng.integers(5, size=500)
    u = rng.random(500)
    batch = advance(tables, states, actions, u)
    tensors = advance(on_torch, *(torch.tensor(x) for x in (states, actions, u)))
    for i in range(500):
        single = advance(tables, states[i], actions[i], u[i])
        s2 = _searched(mdp.transition[states[i], actions[i]], u[i])
        assert single.state == batch.state[i] == tensors.state[i] == s2
        assert single.reward == batch.reward[i] == tensors.reward[i]
        assert single.reward == mdp.reward[states[i], actions[i], s2]
        assert single.terminated == batch.terminated[i] == tensors.terminated[i]
        assert single.terminated == mdp.terminal[states[i], actions[i], s2]
    starts = initial_state(tables, u)
    assert starts.tolist() == initial_state(on_torch, torch.tensor(u)).tolist()
    assert starts.tolist() == [_searched(mdp.initial_distribution, x) for x in u]


def test_pairs_with_different_numbers_of_outcomes() -> None:
    """The tables are padded to the widest pair; no draw selects the padding."""
    mdp = random_mdp(3, n_states=5, n_actions=4)
    # Action a leads to state a or higher: 5, 4, 3 or 2 outcomes; from state 0 to one.
    transition = np.triu(np.ones((5, 5)))[:4] * mdp.transition
    transition[0] = np.eye(5)[2]
    transition /= transition.sum(axis=-1, keepdims=True)
    mdp = replace(mdp, transition=transition)
    tables = make_tables(mdp)
    on_torch = _torch_tables(tables)
    draws = np.append(np.arange(100) / 100, LARGEST)
    for s, a in np.ndindex(5, 4):
        states, actions = np.full(len(draws), s), np.full(len(draws), a)
        step = advance(tables, states, actions, draws)
        expected = [_searched(transition[s, a], u) for u in draws]
        assert step.state.tolist() == expected
        assert step.reward.tolist() == mdp.reward[s, a, expected].tolist()
        assert step.terminated.tolist() == mdp.terminal[s, a, expected].tolist()
        arrays = (torch.tensor(x) for x in (states, actions, draws))
        assert advance(on_torch, *arrays).state.tolist() == expected


def test_certain_outcomes_need_no_draw() -> None:
    tables = make_tables(_chain([0.0, 1.0, 0.0]))
    assert tables.is_deterministic
    assert tables.start == initial_state(tables, None) == 1
    assert advance(tables, np.array([0, 2]), np.array([0, 0]), None).state.tolist() == [
        1,
        1,
    ]
    dense = make_tables(random_mdp(0))
    assert not dense.is_deterministic
    assert dense.start is None


def test_bernoulli_noise_pays_one_below_the_expected_reward() -> None:
    tables = make_tables(random_mdp(0, reward_noise="bernoulli"))
    reward = np.array([0.0, 0.3, 0.3, 1.0])
    u = np.array([0.0, np.nextafter(0.3, 0.0), 0.3, LARGEST])
    assert add_noise(tables, reward, u, u).tolist() == [0.0, 1.0, 0.0, 1.0]


def test_gaussian_noise_known_values() -> None:
    # 1 - u = exp(-r^2 / 2) makes the radius r; v is the angle in turns.
    tables = make_tables(random_mdp(0, reward_noise="gaussian"))
    assert tables.noise_scale == 0.3
    u = 1.0 - np.exp([0.0, -0.5, -0.5, -2.0, -2.0])
    v = np.array([0.3, 0.0, 0.5, 1 / 6, 0.25])
    noisy = add_noise(tables, np.full(5, 7.0), u, v)
    expected = 7.0 + 0.3 * np.array([0.0, 1.0, -1.0, 1.0, 0.0])
    np.testing.assert_allclose(noisy, expected, rtol=1e-12)
    # The largest draw gives a large number, not infinity.
    extreme = add_noise(tables, np.zeros(1), np.array([LARGEST]), np.zeros(1))
    assert 0.3 * 8 < extreme[0] < 0.3 * 9


@pytest.mark.parametrize("noise", ["none", "gaussian", "bernoulli"])
def test_noise_is_the_same_on_numpy_and_torch(noise: Any) -> None:
    tables = make_tables(random_mdp(0, reward_noise=noise))
    rng = np.random.default_rng(1)
    reward, u, v = rng.random((3, 1000))
    tensors = (torch.tensor(x) for x in (reward, u, v))
    tensor = add_noise(_torch_tables(tables), *tensors)
    array = add_noise(tables, reward, u, v)
    np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-12, atol=1e-14)
    if noise == "none":
        assert (array == reward).all()
