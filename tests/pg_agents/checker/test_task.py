"""Tasks: values and gradients compared with loops and finite differences."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from pg_agents.checker.task import DEFAULT_HORIZON, Task, resolve_task
from pg_envs import SequenceEnv, TabularMDP, sequence_mdp
from tests.pg_envs.tabular_examples import random_mdp, random_policy, two_step_mdp

Floats = NDArray[np.float64]


def tasks(bootstrap: bool) -> list[Task]:
    return [
        Task(random_mdp(3), "random", 0.9, 5, bootstrap),
        Task(random_mdp(4, n_states=3, n_actions=2), "small", 0.7, 1, bootstrap),
        Task(sequence_mdp(), "sequence", 0.95, 7, bootstrap),
    ]


def under(mdp: TabularMDP, policy: Floats) -> tuple[Floats, Floats]:
    """Expected rewards `[S]` and non-terminal transitions `[S, S]`, by loops."""
    rewards = np.zeros(mdp.n_states)
    step = np.zeros((mdp.n_states, mdp.n_states))
    for s, a, later in np.ndindex(mdp.transition.shape):
        p = policy[s, a] * mdp.transition[s, a, later]
        rewards[s] += p * mdp.reward[s, a, later]
        step[s, later] += 0.0 if mdp.terminal[s, a, later] else p
    return rewards, step


def endless_values(task: Task, policy: Floats) -> Floats:
    """V without a time limit, by value iteration."""
    rewards, step = under(task.mdp, policy)
    values = np.zeros(task.mdp.n_states)
    for _ in range(3_000):
        values = rewards + task.gamma * step @ values
    return values


def limited_return(task: Task, policy: Floats, behind: Floats) -> float:
    """J of H steps, with `behind` as the value of the last state."""
    rewards, step = under(task.mdp, policy)
    values = behind
    for _ in range(task.horizon):
        values = rewards + task.gamma * step @ values
    return float(task.mdp.initial_distribution @ values)


def differences(task: Task, policy: Floats, behind: Floats) -> Floats:
    """Central differences of `limited_return` by each entry of the policy."""
    slope = np.zeros_like(policy)
    for s, a in np.ndindex(*policy.shape):
        nudge = np.zeros_like(policy)
        nudge[s, a] = 1e-5
        up = limited_return(task, policy + nudge, behind)
        down = limited_return(task, policy - nudge, behind)
        slope[s, a] = (up - down) / 2e-5
    return slope


@pytest.mark.parametrize(
    ("env", "n_states", "horizon"),
    [
        ("PGToy-Sequence-v0", 3, 100),
        ("FrozenLake8x8-v1", 64, 200),
        (gymnasium.make("PGToy-Sequence-v0", max_episode_steps=17, n_states=5), 5, 17),
        (gymnasium.wrappers.TimeLimit(SequenceEnv(), 10), 3, 10),
        (SequenceEnv(), 3, DEFAULT_HORIZON),
        (two_step_mdp(), 3, DEFAULT_HORIZON),
    ],
)
@pytest.mark.parametrize("bootstrap", [False, True])
def test_a_task_has_the_tables_and_the_time_limit_of_an_environment(
    env: Any, n_states: int, horizon: int, bootstrap: bool
) -> None:
    task = resolve_task(env, 0.9, None, bootstrap)
    assert (task.mdp.n_states, task.horizon) == (n_states, horizon)
    assert (task.gamma, task.bootstrap) == (0.9, bootstrap)
    assert resolve_task(env, 0.9, 3, bootstrap).horizon == 3
    if isinstance(env, str):
        assert task.name == env


def test_an_environment_is_not_closed() -> None:
    closed = []

    class Noted(SequenceEnv):
        def close(self) -> None:
            closed.append(self)

    resolve_task(Noted(), 0.5, None, False)
    assert not closed


@pytest.mark.parametrize("task", tasks(True), ids=lambda t: str(t.name))
def test_with_bootstrap_the_final_value_is_constant(task: Task) -> None:
    """The gradient is the derivative of `E[sum_{t < H} gamma^t r_t + gamma^H V(s_H)]`.

    V is held constant: states beyond the time limit are never visited.
    """
    policy = random_policy(task.mdp)
    expected = differences(task, policy, endless_values(task, policy))
    np.testing.assert_allclose(task.return_gradient(policy), expected, atol=1e-7)


def test_the_mean_length_is_undiscounted() -> None:
    """Every step ends the episode with probability q: (1 - (1-q)^H) / q steps."""
    q, horizon = 0.25, 6
    stay = np.array([[[1.0 - q, q]], [[1.0 - q, q]]])
    ends = np.zeros((2, 1, 2), dtype=np.bool_)
    ends[:, :, 1] = True
    mdp = TabularMDP(stay, np.ones((2, 1, 2)), ends, np.array([1.0, 0.0]), np.arange(2))
    policy = np.ones((2, 1))
    for bootstrap in (False, True):
        length = Task(mdp, "", 0.3, horizon, bootstrap).mean_length(policy)
        assert length == pytest.approx((1.0 - (1.0 - q) ** horizon) / q)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_the_undiscounted_gradient_weights_every_step_alike(bootstrap: bool) -> None:
    """`sum_t P(s_t = s) Q_t(s, a)`, by loops over time, states and actions."""
    for task in tasks(bootstrap):
        policy = random_policy(task.mdp)
        mdp, horizon = task.mdp, task.horizon
        rewards, step = under(mdp, policy)
        endless = endless_values(task, policy)
        behind = endless if bootstrap else np.zeros_like(endless)
        values = [behind]
        for _ in range(horizon):
            later = endless if bootstrap else rewards + task.gamma * step @ values[0]
            values.insert(0, later)
        expected, visits = np.zeros_like(policy), mdp.initial_distribution
        for t in range(horizon):
            for s, a, later in np.ndindex(mdp.transition.shape):
                going = 0.0 if mdp.terminal[s, a, later] else task.gamma
                target = mdp.reward[s, a, later] + going * values[t + 1][later]
                expected[s, a] += visits[s] * mdp.transition[s, a, later] * target
            visits = visits @ step
        found = task.undiscounted_gradient(policy)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        whole = Task(mdp, "", 1.0, horizon, False)
        if not bootstrap:
            np.testing.assert_allclose(
                whole.undiscounted_gradient(policy), whole.return_gradient(policy)
            )
