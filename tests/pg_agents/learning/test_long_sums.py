"""Sums over tens of thousands of steps keep the digits of float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from pg_agents import REINFORCE
from pg_agents.learning.baselines import leave_one_out_baseline, mean_baseline
from pg_agents.learning.off_policy import importance_sampled_return, v_trace
from pg_agents.learning.returns import (
    full_return,
    generalized_advantage,
    lambda_return,
    n_step_return,
    reward_to_go,
)
from pg_envs import make_torch_vec

N = 20_000
# The number that float32 has in the place of 0.1.
TENTH = float(np.float32(0.1))
REWARDS = torch.full((N, 1), TENTH)
ZEROS = torch.zeros(N, 1)

SUMS: dict[str, Callable[[], Tensor]] = {
    "reward_to_go": lambda: reward_to_go(REWARDS, 1.0),
    "full_return": lambda: full_return(REWARDS, 1.0),
    "lambda_return": lambda: lambda_return(REWARDS, 1.0, 1.0, next_values=ZEROS),
    "generalized_advantage": lambda: generalized_advantage(REWARDS, ZEROS, 1.0, 1.0),
    "importance_sampled_return": lambda: importance_sampled_return(REWARDS, 1.0, ZEROS),
    "v_trace": lambda: v_trace(REWARDS, ZEROS, 1.0, ZEROS)[0],
}


@pytest.mark.parametrize("name", SUMS)
def test_the_first_return_of_a_long_episode(name: str) -> None:
    """Rounded once, to the nearest float32."""
    found = SUMS[name]()
    assert found.dtype is torch.float32
    assert found[0, 0] == torch.tensor(N * TENTH, dtype=torch.float64).float()


def test_an_n_step_return_of_many_steps() -> None:
    rewards = REWARDS[:2000]
    found = n_step_return(rewards, 1.0, 2000)[0, 0]
    assert found == torch.tensor(2000 * TENTH, dtype=torch.float64).float()


@pytest.mark.parametrize("baseline", [mean_baseline, leave_one_out_baseline])
def test_a_mean_of_many_trajectories(baseline: Any) -> None:
    n = 200_000
    found = baseline(torch.full((n,), TENTH), torch.zeros(n, dtype=torch.int64), n)
    torch.testing.assert_close(found, torch.full((n,), TENTH), rtol=1e-7, atol=0)


class Long(gymnasium.Env[Any, Any]):
    """One episode of `N` steps, each of which pays 0.1."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)
    n_steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.n_steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.n_steps += 1
        return np.zeros(1, np.float32), 0.1, self.n_steps >= 5_000, False, {}


def test_a_model_learns_from_such_a_return() -> None:
    model = REINFORCE("MlpPolicy", Long(), gamma=1.0, seed=0, max_episode_steps=10**6)
    model.learn(5_000)
    first = float(model.rollout_buffer.returns[0, 0])
    assert first == float(np.float32(5_000 * TENTH))


def test_the_result_of_an_episode_that_began_rollouts_before() -> None:
    """A torch environment's episodes are summed from rollout to rollout."""
    env = make_torch_vec(
        "PGToy-Bandit-v0", 2, "cpu", arm_rewards=[0.1, 0.1], max_episode_steps=4_000
    )
    model = REINFORCE("MlpPolicy", env, n_steps=200, seed=0, device="cpu")
    model.learn(2 * 4_000)
    assert model.ep_info_buffer is not None
    results = [info["r"] for info in model.ep_info_buffer]
    assert results == [pytest.approx(4_000 * TENTH, abs=1e-5)] * 2
