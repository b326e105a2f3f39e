from __future__ import annotations

import itertools
import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pg_envs.bandit import bandit_mdp
from tests.pg_envs.tabular_examples import BANDIT


def test_the_three_arms_pay_one_zero_zero_and_never_end() -> None:
    env = gymnasium.make(BANDIT)
    assert env.action_space == spaces.Discrete(3)
    assert env.observation_space == spaces.Box(-1.0, 1.0, (1,), np.float32)
    assert env.reset(seed=0)[0].tolist() == [0.0]
    total = 0.0
    for t, action in zip(range(1, 101), itertools.cycle([0, 1, 2]), strict=False):
        obs, reward, terminated, truncated, _ = env.step(np.int64(action))
        assert obs.tolist() == [0.0]
        assert reward == [1.0, 0.0, 0.0][action]
        assert (terminated, truncated) == (False, t == 100)
        total += float(reward)
    assert total == 34.0


def test_tables() -> None:
    mdp = bandit_mdp()
    assert mdp.action_names == ("left", "centre", "right")
    assert (mdp.n_states, mdp.n_actions) == (1, 3)
    assert mdp.reward.tolist() == [[[1.0], [0.0], [0.0]]]
    assert mdp.transition.tolist() == [[[1.0], [1.0], [1.0]]]
    assert not mdp.terminal.any()
    many = bandit_mdp(np.linspace(-3.0, 7.0, 11).tolist())
    assert many.reward[0, :, 0].tolist() == list(range(-3, 8))
    assert many.action_names == tuple(f"arm {arm}" for arm in range(11))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ({"arm_rewards": bad}, re.escape(f"one number, one per arm, got {bad!r}"))
            for bad in ([], 1.0, [[1.0, 0.0]], np.zeros((2, 2)), np.zeros(0))
        ),
        ({"arm_rewards": [1.0, np.nan]}, r"arm_rewards must be finite, got .*nan"),
        ({"arm_rewards": [np.inf]}, r"arm_rewards must be finite, got .*inf"),
        ({"observation": "pixels"}, r"observation must be .* got 'pixels'"),
        ({"noise_scale": -1.0}, "noise_scale must be a finite number >= 0, got -1.0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gymnasium.make(BANDIT, **arguments)
