"""Returns by their definitions, in loops, and by identities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

from pg_agents import REINFORCE
from pg_agents.learning import returns
from pg_agents.learning.baselines import leave_one_out_baseline, mean_baseline
from pg_agents.learning.off_policy import importance_sampled_return, v_trace
from pg_envs import make_torch_vec

GAMMA = 0.9


@pytest.fixture
def rollout() -> dict[str, Tensor]:
    """Twelve steps of six environments with ends of both kinds, in float64."""
    generator = torch.Generator().manual_seed(0)

    def draw() -> Tensor:
        return torch.randn((12, 6), dtype=torch.float64, generator=generator)

    end = torch.rand((12, 6), generator=generator)
    return {
        "rewards": draw(),
        "terminated": end < 0.15,
        "truncated": (end > 0.85) | (end < 0.05),
        "next_values": draw(),
    }


def n_step_by_loop(
    rollout: dict[str, Tensor], gamma: float, n: int, t: int, i: int
) -> float:
    """Sums at most n rewards from row t, then adds the successor's value."""
    total, weight = 0.0, 1.0
    for k in range(t, min(t + n, len(rollout["rewards"]))):
        total += weight * rollout["rewards"][k, i].item()
        weight *= gamma
        if rollout["terminated"][k, i]:
            return total
        if rollout["truncated"][k, i]:
            break
    return total + weight * rollout["next_values"][k, i].item()


def by_loop(rollout: dict[str, Tensor], gamma: float, n: int) -> Tensor:
    n_rows, n_envs = rollout["rewards"].shape
    return torch.tensor(
        [
            [n_step_by_loop(rollout, gamma, n, t, i) for i in range(n_envs)]
            for t in range(n_rows)
        ],
        dtype=torch.float64,
    )


def test_known_values_of_reward_to_go() -> None:
    got = returns.reward_to_go(torch.tensor([1.0, 2.0, 3.0, 4.0]), 0.99)
    expected = torch.tensor([9.801496, 8.8904, 6.96, 4.0])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_reward_to_go_is_the_sum_by_definition(rollout: dict[str, Tensor]) -> None:
    got = returns.reward_to_go(gamma=GAMMA, **rollout)
    torch.testing.assert_close(got, by_loop(rollout, GAMMA, n=12))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12, 50])
def test_n_step_return_is_the_sum_by_definition(
    rollout: dict[str, Tensor], n: int
) -> None:
    got = returns.n_step_return(gamma=GAMMA, n=n, **rollout)
    torch.testing.assert_close(got, by_loop(rollout, GAMMA, n))


def test_td_target_is_the_one_step_return(rollout: dict[str, Tensor]) -> None:
    got = returns.td_target(gamma=GAMMA, **rollout)
    next_values = rollout["next_values"] * ~rollout["terminated"]
    torch.testing.assert_close(got, rollout["rewards"] + GAMMA * next_values)


def test_lambda_return_averages_n_step_returns() -> None:
    """Sutton and Barto, equation 12.3, for one episode that terminates."""
    generator = torch.Generator().manual_seed(1)
    n_rows, lambda_ = 8, 0.7
    rewards = torch.randn((n_rows, 1), dtype=torch.float64, generator=generator)
    values = torch.randn((n_rows, 1), dtype=torch.float64, generator=generator)
    terminated = torch.zeros((n_rows, 1), dtype=torch.bool)
    terminated[-1] = True
    rollout = {
        "rewards": rewards,
        "terminated": terminated,
        "truncated": torch.zeros_like(terminated),
        "next_values": torch.cat([values[1:], torch.zeros_like(values[:1])]),
    }
    expected = [
        (1 - lambda_)
        * sum(
            lambda_ ** (n - 1) * n_step_by_loop(rollout, GAMMA, n, t, 0)
            for n in range(1, n_rows - t)
        )
        + lambda_ ** (n_rows - t - 1) * n_step_by_loop(rollout, GAMMA, n_rows, t, 0)
        for t in range(n_rows)
    ]
    got = returns.lambda_return(gamma=GAMMA, lambda_=lambda_, **rollout)
    torch.testing.assert_close(got[:, 0], torch.tensor(expected, dtype=torch.float64))


def test_lambda_return_is_the_one_step_return_at_0_and_reward_to_go_at_1(
    rollout: dict[str, Tensor],
) -> None:
    at_0 = returns.lambda_return(gamma=GAMMA, lambda_=0.0, **rollout)
    at_1 = returns.lambda_return(gamma=GAMMA, lambda_=1.0, **rollout)
    torch.testing.assert_close(at_0, returns.td_target(gamma=GAMMA, **rollout))
    torch.testing.assert_close(at_1, by_loop(rollout, GAMMA, n=12))


def consistent_values(rollout: dict[str, Tensor]) -> Tensor:
    """V(s_t) such that next_values[t] is V(s_{t+1}) wherever an episode goes on."""
    goes_on = ~(rollout["terminated"] | rollout["truncated"])
    values = torch.linspace(-1, 1, 72, dtype=torch.float64).reshape(12, 6)
    rollout["next_values"][:-1] = torch.where(
        goes_on[:-1], values[1:], rollout["next_values"][:-1]
    )
    return values


@pytest.mark.parametrize("lambda_", [0.0, 0.4, 1.0])
def test_generalized_advantage_is_lambda_return_minus_value(
    rollout: dict[str, Tensor], lambda_: float
) -> None:
    values = consistent_values(rollout)
    got = returns.generalized_advantage(
        values=values, gamma=GAMMA, gae_lambda=lambda_, **rollout
    )
    expected = returns.lambda_return(gamma=GAMMA, lambda_=lambda_, **rollout) - values
    torch.testing.assert_close(got, expected)


def test_generalized_advantage_equals_that_of_stable_baselines3(
    rollout: dict[str, Tensor],
) -> None:
    """Without truncation, which SB3's buffer does not store."""
    rollout["truncated"] = torch.zeros_like(rollout["terminated"])
    values = consistent_values(rollout)
    last_values = rollout["next_values"][-1]
    box = spaces.Box(-1, 1, (1,))
    buffer = RolloutBuffer(12, box, box, "cpu", gae_lambda=0.95, gamma=GAMMA, n_envs=6)
    dones = rollout["terminated"].numpy()
    buffer.rewards = rollout["rewards"].numpy()
    buffer.values = values.numpy()
    buffer.episode_starts[1:] = dones[:-1]
    buffer.compute_returns_and_advantage(last_values, dones[-1])
    got = returns.generalized_advantage(
        values=values, gamma=GAMMA, gae_lambda=0.95, **rollout
    )
    np.testing.assert_allclose(got.numpy(), buffer.advantages, atol=1e-6)


def test_full_return_is_the_first_reward_to_go_of_each_episode(
    rollout: dict[str, Tensor],
) -> None:
    to_go = by_loop(rollout, GAMMA, n=12)
    end = rollout["terminated"] | rollout["truncated"]
    expected = to_go.clone()
    for i in range(6):
        start = 0
        for t in range(12):
            expected[t, i] = to_go[start, i]
            if end[t, i]:
                start = t + 1
    torch.testing.assert_close(returns.full_return(gamma=GAMMA, **rollout), expected)


def test_the_next_value_of_a_termination_is_ignored_even_if_nan() -> None:
    got = returns.reward_to_go(
        torch.tensor([1.0, 2.0]),
        1.0,
        terminated=torch.tensor([False, True]),
        next_values=torch.tensor([0.0, torch.nan]),
    )
    assert got.tolist() == [3.0, 2.0]


def test_a_terminated_and_truncated_step_does_not_bootstrap() -> None:
    both = torch.tensor([True])
    got = returns.td_target(torch.tensor([1.0]), 0.5, both, both, torch.tensor([8.0]))
    assert got.tolist() == [1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda r: returns.reward_to_go(r, 1.5),
            r"gamma must lie in \[0, 1\], got 1.5",
        ),
        (lambda r: returns.reward_to_go(r, float("nan")), "gamma must lie in"),
        (lambda r: returns.lambda_return(r, 1.0, -0.1), "lambda_ must lie in"),
        (
            lambda r: returns.generalized_advantage(r, r, 1.0, 2.0),
            r"gae_lambda must lie in \[0, 1\], got 2.0",
        ),
        (
            lambda r: returns.n_step_return(r, 1.0, 0),
            "n must be an integer >= 1, got 0",
        ),
        (
            lambda r: returns.reward_to_go(r, 1.0, terminated=torch.tensor([True])),
            r"terminated must have the shape of rewards, \[3\], got \[1\]",
        ),
        (
            lambda r: returns.generalized_advantage(r, r[:, None], 1.0, 1.0),
            r"values must have the shape of rewards, \[3\], got \[3, 1\]",
        ),
        (lambda r: returns.reward_to_go(r[:0], 1.0), r"T >= 1, got \[0\]"),
        (lambda r: returns.n_step_return(r, 2.0, 1), "gamma must lie in"),
    ],
)
def test_bad_input_is_refused_by_name(
    call: Callable[[Tensor], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.ones(3))


# Sums in float64.

N = 20_000
# 0.1 in float32.
TENTH = float(np.float32(0.1))
REWARDS = torch.full((N, 1), TENTH)
ZEROS = torch.zeros(N, 1)

SUMS: dict[str, Callable[[], Tensor]] = {
    "reward_to_go": lambda: returns.reward_to_go(REWARDS, 1.0),
    "full_return": lambda: returns.full_return(REWARDS, 1.0),
    "lambda_return": lambda: returns.lambda_return(
        REWARDS, 1.0, 1.0, next_values=ZEROS
    ),
    "generalized_advantage": lambda: returns.generalized_advantage(
        REWARDS, ZEROS, 1.0, 1.0
    ),
    "importance_sampled_return": lambda: importance_sampled_return(REWARDS, 1.0, ZEROS),
    "v_trace": lambda: v_trace(REWARDS, ZEROS, 1.0, ZEROS)[0],
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_over_long_episodes_are_rounded_once(name: str) -> None:
    found = SUMS[name]()
    assert found.dtype is torch.float32
    assert found[0, 0] == torch.tensor(N * TENTH, dtype=torch.float64).float()


def test_n_step_returns_of_many_steps_are_rounded_once() -> None:
    rewards = REWARDS[:2000]
    found = returns.n_step_return(rewards, 1.0, 2000)[0, 0]
    assert found == torch.tensor(2000 * TENTH, dtype=torch.float64).float()


@pytest.mark.parametrize("baseline", [mean_baseline, leave_one_out_baseline])
def test_baselines_of_many_trajectories_are_precise(baseline: Any) -> None:
    n = 200_000
    found = baseline(torch.full((n,), TENTH), torch.zeros(n, dtype=torch.int64), n)
    torch.testing.assert_close(found, torch.full((n,), TENTH), rtol=1e-7, atol=0)


def test_results_of_episodes_over_many_rollouts_are_precise() -> None:
    """Native steps sum rewards across rollouts."""
    env = make_torch_vec(
        "PGToy-Bandit-v0", 2, "cpu", arm_rewards=[0.1, 0.1], max_episode_steps=4_000
    )
    model = REINFORCE("MlpPolicy", env, n_steps=200, seed=0, device="cpu")
    model.learn(2 * 4_000)
    assert model.ep_info_buffer is not None
    results = [info["r"] for info in model.ep_info_buffer]
    assert results == [pytest.approx(4_000 * TENTH, abs=1e-5)] * 2
