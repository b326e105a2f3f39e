from __future__ import annotations

import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pg_envs.sequence import (
    CENTRE,
    LEFT,
    REWARD_THRESHOLD,
    RIGHT,
    SequenceEnv,
    sequence_mdp,
)
from tests.pg_envs.tabular_examples import SEQUENCE


def _return(env: SequenceEnv, actions: tuple[int, ...]) -> tuple[float, bool]:
    """Return of a sequence of actions and whether the last of them ended it."""
    env.reset(seed=0)
    total = 0.0
    for i, action in enumerate(actions):
        _, reward, terminated, _, _ = env.step(np.int64(action))
        total += reward
        if terminated:
            return total, i == len(actions) - 1
    return total, False


def test_the_best_episode() -> None:
    env = gymnasium.make(SEQUENCE)
    assert env.spec is not None
    assert env.spec.reward_threshold == REWARD_THRESHOLD
    assert env.action_space == spaces.Discrete(3)
    assert env.observation_space == spaces.Box(-1.0, 1.0, (1,), np.float32)
    assert env.reset(seed=0)[0].tolist() == [-1.0]
    results = [env.step(np.int64(action)) for action in (RIGHT, RIGHT, CENTRE)]
    assert [r[0].tolist() for r in results] == [[0.0], [1.0], [1.0]]
    assert [r[1] for r in results] == [-0.05, -0.05, 1.0]
    assert [r[2] for r in results] == [False, False, True]


def test_no_sequence_of_actions_is_better_and_none_of_three_as_good() -> None:
    env = SequenceEnv()
    for length in range(1, 6):
        for actions in itertools.product(range(3), repeat=length):
            total, ended = _return(env, actions)
            best = actions[:3] == (RIGHT, RIGHT, CENTRE)
            assert total == pytest.approx(0.9) if best else total < 0.9 - 0.04
            if ended:
                # Of a whole episode, every action but the last has cost 0.05.
                assert total == pytest.approx(1.0 - 0.05 * (length - 1))


def test_one_wasted_action_is_at_the_threshold() -> None:
    total, ended = _return(SequenceEnv(), (LEFT, RIGHT, RIGHT, CENTRE))
    assert ended
    assert total == pytest.approx(REWARD_THRESHOLD)


@pytest.mark.parametrize("n_states", [2, 3, 8])
def test_tables_by_enumeration(n_states: int) -> None:
    mdp = sequence_mdp(n_states, step_cost=0.25, goal_reward=3.0)
    goal = n_states - 1
    assert mdp.action_names == ("left", "centre", "right")
    assert mdp.initial_distribution.tolist() == [1.0] + [0.0] * goal
    for s, a, s2 in itertools.product(range(n_states), range(3), range(n_states)):
        reached = min(max(s + a - 1, 0), goal)
        assert mdp.transition[s, a, s2] == (s2 == reached)
        if s2 == reached:
            at_goal = s == goal and a == CENTRE
            assert mdp.reward[s, a, s2] == (3.0 if at_goal else -0.25)
            assert mdp.terminal[s, a, s2] == at_goal


@pytest.mark.parametrize(
    ("form", "obs", "space"),
    [
        ("scalar", [[-1.0], [0.0], [1.0]], spaces.Box(-1.0, 1.0, (1,), np.float32)),
        (
            "one_hot",
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            spaces.Box(0.0, 1.0, (3,), np.float32),
        ),
        ("index", [0, 1, 2], spaces.Discrete(3)),
    ],
)
def test_observation_forms(form: Any, obs: Any, space: spaces.Space[Any]) -> None:
    env = SequenceEnv(observation=form)
    assert env.observation_space == space
    observations = [env.reset(seed=0)[0]]
    observations += [env.step(np.int64(RIGHT))[0] for _ in range(2)]
    assert [np.asarray(o).tolist() for o in observations] == obs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ({"n_states": bad}, f"n_states must be an integer >= 2, got {bad!r}")
            for bad in (1, 0, -3, 2.0, True, "3", None)
        ),
        ({"step_cost": np.nan}, "step_cost must be finite, got nan"),
        ({"goal_reward": np.inf}, "goal_reward must be finite, got inf"),
        ({"goal_reward": None}, "goal_reward must be finite, got None"),
        ({"step_cost": "x"}, "step_cost must be finite, got 'x'"),
        ({"observation": "pixels"}, r"observation must be .* got 'pixels'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gymnasium.make(SEQUENCE, **arguments)
