"""The tasks of the battery: tables, observations, and how they tell mistakes apart."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from pg_agents.checker.battery import MAX_STATES, battery
from pg_agents.checker.function_subject import TablePolicy
from pg_agents.checker.task import Array, Task
from pg_envs import oracle
from pg_envs.sequence import sequence_mdp


def table_policy(task: Task, seed: int = 0) -> Array:
    policy = TablePolicy(task.mdp.observations, task.mdp.n_actions, seed)
    probabilities: Array = (
        policy(torch.tensor(task.mdp.observations)).probs.detach().double().numpy()
    )
    return probabilities


@pytest.mark.parametrize("n_actions", [2, 3, 4, 7])
@pytest.mark.parametrize(
    "space",
    [
        None,
        spaces.Box(-1.0, 1.0, (1,)),
        spaces.Box(-np.inf, np.inf, (4,)),
        spaces.Box(0.0, 5.0, (2, 3)),
        spaces.Discrete(6),
        spaces.Discrete(16),
    ],
    ids=str,
)
def test_observations_lie_in_the_space_and_tell_states_apart(
    n_actions: int, space: spaces.Space[Any] | None
) -> None:
    for task in battery(n_actions, observation_space=space):
        observations = task.mdp.observations
        assert task.mdp.n_actions == n_actions
        assert len(np.unique(observations, axis=0)) == task.mdp.n_states
        if space is not None:
            assert all(observation in space for observation in observations)


@pytest.mark.parametrize("n_actions", [2, 3, 5])
def test_tables_are_deterministic_and_small(n_actions: int) -> None:
    for one, two in zip(battery(n_actions), battery(n_actions), strict=True):
        assert one.mdp.n_states <= MAX_STATES
        for name in ("transition", "reward", "terminal", "observations"):
            assert np.array_equal(getattr(one.mdp, name), getattr(two.mdp, name))


@pytest.mark.parametrize("n_actions", [2, 3, 5])
def test_hardly_any_episode_is_truncated_and_half_of_the_random_mdps_are_short(
    n_actions: int,
) -> None:
    for task in battery(n_actions):
        policy = table_policy(task)
        alive = oracle.occupancy(task.mdp, policy, 1.0, None).sum()
        within = oracle.occupancy(task.mdp, policy, 1.0, task.horizon).sum()
        assert alive - within < 0.01 * within
        if task.name == "random MDP":
            # P(T > 2) = E[steps in the first 3] - E[steps in the first 2].
            first = [oracle.occupancy(task.mdp, policy, 1.0, h).sum() for h in (2, 3)]
            assert first[1] - first[0] < 0.5


def test_three_actions_give_the_sequence_itself() -> None:
    task = battery(3)[2]
    mdp = sequence_mdp()
    for name in ("transition", "reward", "terminal"):
        assert np.array_equal(getattr(task.mdp, name), getattr(mdp, name))


def test_two_actions_reach_the_goal_of_the_sequence() -> None:
    task = battery(2)[2]
    right = np.array([[0.0, 1.0]] * 3)
    assert oracle.values_to_go(task.mdp, right, 1.0, 3)[-1][0] == pytest.approx(0.9)


def test_the_end_of_an_episode_has_a_value() -> None:
    for task in battery():
        values = oracle.state_values(task.mdp, table_policy(task), task.gamma)
        _, _, successors = np.nonzero(task.mdp.terminal)
        assert (np.abs(values[successors]) > 0.05).any()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_actions": 1}, ValueError, "at least 2"),
        ({"gamma": 1.5}, ValueError, "gamma"),
        ({"observation_space": spaces.Discrete(3)}, ValueError, "6 different"),
        ({"observation_space": spaces.MultiBinary(3)}, TypeError, "Box and Discrete"),
    ],
)
def test_bad_settings_are_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        battery(**settings)
