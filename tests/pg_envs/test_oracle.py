"""The oracle against enumeration, finite differences, other methods and sampling."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pg_envs import TabularMDP, bandit_mdp, oracle, sequence_mdp
from tests.pg_envs.tabular_examples import random_mdp, random_policy

Table = NDArray[np.float64]
CASES = [
    (0.6, None),
    (0.9, None),
    (0.6, 100),
    (0.9, 7),
    (1.0, 5),
    (0.0, None),
    (1.0, 1),
]


def small_mdp(seed: int = 0, n_states: int = 3, n_actions: int = 2) -> TabularMDP:
    """Every transition may happen, and may end the episode."""
    return random_mdp(seed, n_states, n_actions, terminal_share=0.3)


def episodes(
    mdp: TabularMDP, policy: Table, horizon: int
) -> Iterator[tuple[float, list[int], list[float]]]:
    """Yields probability, states and rewards of every possible episode."""

    def extend(
        weight: float, states: list[int], rewards: list[float], state: int
    ) -> Iterator[tuple[float, list[int], list[float]]]:
        if len(rewards) == horizon:
            yield weight, states, rewards
            return
        choices = itertools.product(range(mdp.n_actions), range(mdp.n_states))
        for action, next_state in choices:
            share = policy[state, action] * mdp.transition[state, action, next_state]
            if share == 0.0:
                continue
            reward = [*rewards, float(mdp.reward[state, action, next_state])]
            visited = [*states, state]
            if mdp.terminal[state, action, next_state]:
                yield weight * share, visited, reward
            else:
                yield from extend(weight * share, visited, reward, next_state)

    for start in range(mdp.n_states):
        weight = float(mdp.initial_distribution[start])
        if weight > 0.0:
            yield from extend(weight, [], [], start)


def discounted(rewards: list[float], gamma: float) -> float:
    return sum(gamma**t * reward for t, reward in enumerate(rewards))


@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("horizon", [1, 2, 4])
@pytest.mark.parametrize("make", [small_mdp, sequence_mdp, bandit_mdp])
def test_expected_return_and_occupancy_by_enumeration(
    make: Callable[[], TabularMDP], horizon: int, gamma: float
) -> None:
    """Over all possible episodes, each with its probability."""
    mdp = make()
    policy = random_policy(mdp)
    total, mean, visits = 0.0, 0.0, np.zeros(mdp.n_states)
    for weight, states, rewards in episodes(mdp, policy, horizon):
        total += weight
        mean += weight * discounted(rewards, gamma)
        for t, state in enumerate(states):
            visits[state] += weight * gamma**t
    assert total == pytest.approx(1.0, abs=1e-12)
    got = oracle.expected_return(mdp, policy, gamma, horizon)
    assert got == pytest.approx(mean, abs=1e-12)
    got_visits = oracle.occupancy(mdp, policy, gamma, horizon)
    np.testing.assert_allclose(got_visits, visits, atol=1e-12)


def mdps() -> list[TabularMDP]:
    return [small_mdp(2), small_mdp(3, n_states=6, n_actions=4), sequence_mdp(5)]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(("gamma", "horizon"), CASES)
def test_gradient_by_finite_differences(
    number: int, gamma: float, horizon: int | None
) -> None:
    """Central differences in float64, entry by entry."""
    mdp = mdps()[number]
    policy = random_policy(mdp)
    gradient = oracle.return_gradient(mdp, policy, gamma, horizon)
    step = 1e-5
    for index in np.ndindex(policy.shape):
        change = np.zeros_like(policy)
        change[index] = step
        above = oracle.expected_return(mdp, policy + change, gamma, horizon)
        below = oracle.expected_return(mdp, policy - change, gamma, horizon)
        slope = (above - below) / (2 * step)
        assert gradient[index] == pytest.approx(slope, abs=1e-7, rel=1e-6)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.95])
def test_linear_solve_and_iteration_agree(number: int, gamma: float) -> None:
    """To 1e-10, with a horizon so long that it makes no difference."""
    mdp = mdps()[number]
    policy = random_policy(mdp)
    horizon = 1 if gamma == 0.0 else int(np.log(1e-14) / np.log(gamma))
    for function in (
        oracle.state_values,
        oracle.action_values,
        oracle.occupancy,
        oracle.expected_return,
        oracle.return_gradient,
    ):
        call: Callable[..., Any] = function
        np.testing.assert_allclose(
            call(mdp, policy, gamma),
            call(mdp, policy, gamma, horizon),
            atol=1e-10,
            err_msg=function.__name__,
        )


def all_policies(mdp: TabularMDP) -> Iterator[Table]:
    for actions in itertools.product(range(mdp.n_actions), repeat=mdp.n_states):
        yield np.eye(mdp.n_actions)[list(actions)]


@pytest.mark.parametrize("gamma", [0.0, 0.6, 0.95])
@pytest.mark.parametrize("make", [small_mdp, sequence_mdp])
def test_optimum_is_the_best_of_all_deterministic_policies(
    make: Callable[[], TabularMDP], gamma: float
) -> None:
    mdp = make()
    best = np.max(
        [oracle.state_values(mdp, policy, gamma) for policy in all_policies(mdp)],
        axis=0,
    )
    optimum = oracle.optimal_values(mdp, gamma)
    np.testing.assert_allclose(optimum.values, best, atol=1e-10)
    reached = oracle.state_values(mdp, optimum.policy, gamma)
    np.testing.assert_allclose(reached, best, atol=1e-10)


def test_optimum_with_a_horizon_is_backward_induction_by_hand() -> None:
    """Three states in a row, one to three steps to go, nothing discounted."""
    mdp = sequence_mdp()
    for horizon, expected in (
        (1, [-0.05, -0.05, 1.0]),
        (2, [-0.1, 0.95, 1.0]),
        (3, [0.9, 0.95, 1.0]),
    ):
        got = oracle.optimal_values(mdp, 1.0, horizon).values
        np.testing.assert_allclose(got, expected, atol=1e-12)
    assert oracle.optimal_values(mdp, 1.0).policy.argmax(axis=1).tolist() == [2, 2, 1]


def test_known_values_of_the_sequence() -> None:
    """The best return is 0.90, and 100 pulls of the best arm pay 100."""
    mdp = sequence_mdp()
    best = oracle.optimal_values(mdp, 1.0)
    assert oracle.expected_return(mdp, best.policy, 1.0) == pytest.approx(0.9)
    visits = oracle.occupancy(mdp, best.policy, 1.0)
    np.testing.assert_allclose(visits, [1.0, 1.0, 1.0], atol=1e-12)
    arms = bandit_mdp()
    optimum = oracle.optimal_values(arms, 1.0, horizon=100)
    assert oracle.expected_return(arms, optimum.policy, 1.0, 100) == pytest.approx(100)


def test_a_divergent_return_is_refused() -> None:
    mdp = bandit_mdp()
    pi = oracle.uniform_policy(mdp)
    for call in (oracle.state_values, oracle.occupancy, oracle.return_gradient):
        function: Callable[..., Any] = call
        with pytest.raises(
            ValueError, match=r"gamma=1.0 and no horizon .* return diverges"
        ):
            function(mdp, pi, 1.0)
        function(mdp, pi, 1.0, 10)
        function(mdp, pi, 0.9)
    with pytest.raises(ValueError, match="no horizon the values diverge"):
        oracle.optimal_values(mdp, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 1.5}, r"gamma must lie in \[0, 1\], got 1.5"),
        ({"gamma": float("nan")}, r"gamma must lie in \[0, 1\], got nan"),
        ({"horizon": -1}, "horizon must be None or an integer >= 0, got -1"),
        ({"horizon": 2.5}, "horizon must be None or an integer >= 0, got 2.5"),
        ({"policy": np.ones((2, 3))}, r"policy must be \[3, 3\] finite .* got shape"),
        ({"policy": np.full((3, 3), np.nan)}, "finite probabilities"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    mdp = sequence_mdp()
    defaults = {"policy": oracle.uniform_policy(mdp), "gamma": 0.9, **arguments}
    for call in (oracle.state_values, oracle.occupancy, oracle.return_gradient):
        function: Callable[..., Any] = call
        with pytest.raises(ValueError, match=message):
            function(mdp, **defaults)


def test_an_action_needs_a_step_to_go() -> None:
    mdp = sequence_mdp()
    with pytest.raises(ValueError, match="horizon must be at least 1"):
        oracle.action_values(mdp, oracle.uniform_policy(mdp), 0.9, 0)


def test_a_horizon_of_zero() -> None:
    mdp = sequence_mdp()
    pi = oracle.uniform_policy(mdp)
    assert oracle.expected_return(mdp, pi, 0.9, 0) == 0.0
    assert oracle.occupancy(mdp, pi, 0.9, 0).tolist() == [0.0, 0.0, 0.0]
    assert not oracle.return_gradient(mdp, pi, 0.9, 0).any()


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_values_to_go_are_the_values_at_every_horizon(gamma: float) -> None:
    mdp = small_mdp()
    policy = random_policy(mdp)
    table = oracle.values_to_go(mdp, policy, gamma, 6)
    assert table.shape == (7, mdp.n_states)
    # By hand: nothing to go is worth nothing, one step its expected reward.
    assert not table[0].any()
    rewards = (mdp.transition * mdp.reward).sum(axis=-1)
    np.testing.assert_allclose(table[1], (policy * rewards).sum(axis=1), atol=1e-12)
    for k in range(2, 7):
        worth = oracle.action_values(mdp, policy, gamma, k)
        np.testing.assert_allclose(table[k], (policy * worth).sum(axis=1), atol=1e-12)
    with pytest.raises(ValueError, match="horizon"):
        oracle.values_to_go(mdp, policy, gamma, -1)
