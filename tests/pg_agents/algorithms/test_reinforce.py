"""REINFORCE: its expected gradient by enumeration, and what it learns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import REINFORCE, TabularPolicy
from pg_envs import mdp_from_transitions, oracle
from tests.pg_agents.two_step import (
    LOGITS,
    TwoStepEnv,
    exact_gradient,
    expected_gradient,
)

GAMMA = 0.7
SEQUENCE = "pg_envs:PGToy-Sequence-v0"


def two_step_model(n_envs: int, **arguments: Any) -> REINFORCE:
    env = DummyVecEnv([TwoStepEnv] * n_envs)
    return REINFORCE("TabularPolicy", env, **{"gamma": GAMMA, **arguments})


@pytest.mark.parametrize("n_episodes", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"returns": "full_return"},
        {"weight_by_gamma_t": True},
        {"gamma": 1.0},
        {"gamma": 1.0, "returns": "full_return"},
    ],
)
def test_the_expected_gradient_is_exact(
    n_episodes: int, settings: dict[str, Any]
) -> None:
    model = two_step_model(n_episodes, **settings)
    got = expected_gradient(model, n_episodes)
    torch.testing.assert_close(got, exact_gradient(model.gamma), atol=2e-6, rtol=0)


@pytest.mark.parametrize("returns", ["full_return", "reward_to_go"])
def test_the_mean_baseline_scales_the_gradient_by_1_minus_1_over_n(
    returns: Any,
) -> None:
    """Leave-one-out does not, with episodes of different lengths."""
    exact = exact_gradient(GAMMA)
    for n, baseline, factor in (
        (2, "mean", 1 / 2),
        (3, "mean", 2 / 3),
        (2, "leave_one_out", 1.0),
        (3, "leave_one_out", 1.0),
    ):
        model = two_step_model(
            n,
            returns=returns,
            baseline=baseline,
            weight_by_gamma_t=returns == "reward_to_go",
        )
        got = expected_gradient(model, n)
        torch.testing.assert_close(got, factor * exact, atol=2e-6, rtol=0)


@pytest.mark.parametrize("gamma", [0.7, 1.0])
def test_the_oracle_has_the_same_gradient(gamma: float) -> None:
    """By a linear solve instead of enumeration."""
    mdp = mdp_from_transitions(
        {
            0: {0: [(1.0, 0, 2.0, True)], 1: [(1.0, 1, -1.0, False)]},
            1: {0: [(1.0, 1, 5.0, True)], 1: [(1.0, 1, 1.0, True)]},
        },
        [1.0, 0.0],
    )
    logits = LOGITS.clone().requires_grad_()
    pi = torch.softmax(logits, 1)
    by_table = oracle.return_gradient(mdp, pi.detach().numpy(), gamma)
    pi.backward(torch.as_tensor(by_table))
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, exact_gradient(gamma))


def test_without_gamma_t_step_t_is_weighted_by_1_over_gamma_t() -> None:
    """As the policy gradient theorem with undiscounted state weights."""
    got = expected_gradient(two_step_model(1), 1)
    biased = exact_gradient(GAMMA, drop_gamma_t=True)
    torch.testing.assert_close(got, biased, atol=2e-6, rtol=0)
    exact = exact_gradient(GAMMA)
    torch.testing.assert_close(got[0], exact[0], atol=2e-6, rtol=0)
    torch.testing.assert_close(got[1], exact[1] / GAMMA, atol=2e-6, rtol=0)


def test_a_mean_over_steps_would_be_biased() -> None:
    """It has another direction than the gradient."""
    model = two_step_model(2, gamma=1.0)
    by_episodes = model.loss

    def by_steps(batch: Any) -> Any:
        loss, terms = by_episodes(batch)
        return loss * batch.n_samples / len(batch.actions), terms

    model.loss = by_steps  # type: ignore[method-assign]
    got = expected_gradient(model, 2).flatten()
    exact = exact_gradient(1.0).flatten()
    assert torch.cosine_similarity(got, exact, dim=0) < 0.99


def test_entropy_enters_as_the_sum_over_steps_per_episode() -> None:
    """Gradient of `E[sum_t H(s_t)]` with fixed state weights."""
    with_entropy = expected_gradient(two_step_model(2, ent_coef=0.5), 2)
    without = expected_gradient(two_step_model(2), 2)
    logits = LOGITS.clone().requires_grad_()
    pi = torch.softmax(logits, 1)
    entropy = -(pi * pi.log()).sum(1)
    visits = torch.tensor([1.0, pi[0, 1].item()], dtype=torch.float64)
    expected = torch.autograd.grad(0.5 * (visits * entropy).sum(), logits)[0]
    torch.testing.assert_close(with_entropy - without, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["standardize_returns", "normalize_advantage"])
def test_a_batch_of_one_step_can_be_standardised(name: str) -> None:
    """The standard deviation of one number is NaN."""
    env = gymnasium.make("pg_envs:PGToy-Bandit-v0", observation="index")
    arguments: dict[str, Any] = {name: True, "n_steps": 1, "gamma": 0.0, "seed": 0}
    model = REINFORCE("TabularPolicy", env, learning_rate=0.5, **arguments)
    model.learn(50)
    assert isinstance(model.policy, TabularPolicy)
    logits = model.policy.logits
    assert torch.isfinite(logits).all()
    assert logits.argmax() == 0
    assert logits[0, 0] > 0.5


def test_the_same_seed_gives_the_same_weights() -> None:
    weights = []
    for _ in range(2):
        model = REINFORCE("MlpPolicy", SEQUENCE, seed=7, baseline="value").learn(400)
        weights.append([p.detach().clone() for p in model.policy.parameters()])
    for first, second in zip(*weights, strict=True):
        assert torch.equal(first, second)


def test_the_first_example_runs_without_other_imports() -> None:
    code = (
        "from pg_agents import REINFORCE; "
        'REINFORCE("MlpPolicy", "pg_envs:PGToy-Sequence-v0").learn(500)'
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_learns_continuous_actions() -> None:
    """Reward -(action - 0.5)^2 in one-step episodes: the mean moves to 0.5."""

    class Target(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            return np.ones(1, dtype=np.float32), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            reward = -float((action[0] - 0.5) ** 2)
            return np.ones(1, dtype=np.float32), reward, True, False, {}

    model = REINFORCE(
        "MlpPolicy",
        DummyVecEnv([Target] * 16),
        learning_rate=0.02,
        baseline="leave_one_out",
        policy_kwargs={"net_arch": [], "log_std_init": -1.0},
        seed=0,
    )
    model.learn(16 * 300)
    action, _ = model.predict(np.ones(1, dtype=np.float32), deterministic=True)
    assert abs(action[0] - 0.5) < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # Refused before, while and after the environment is made.
        ({"gamma": 1.1}, r"gamma must lie in \[0, 1\], got 1.1"),
        ({"baseline": "mean"}, "needs at least 2 per update, got n_envs=1"),
        (
            {"baseline": "value", "policy_kwargs": {"critic": "none"}},
            "the baseline is a learned value and needs a critic",
        ),
        ({"policy": "TabularPolicy"}, "needs a Discrete observation space"),
        (
            {"policy": "TablePolicy"},
            "policy must be one of 'MlpPolicy', .*, 'TabularPolicy' or a class .* got "
            "'TablePolicy'",
        ),
        ({"policy": "MultiInputPolicy"}, "MultiInputPolicy needs a Dict observation"),
    ],
)
def test_a_refused_constructor_closes_its_environment(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_envs: list[Any] = []
    make: Callable[..., Any] = gymnasium.make

    def tracked_make(*args: Any, **kwargs: Any) -> Any:
        env = make(*args, **kwargs)
        open_envs.append(env)
        close = env.close

        def tracked_close() -> None:
            open_envs.remove(env)
            close()

        monkeypatch.setattr(env, "close", tracked_close)
        return env

    monkeypatch.setattr(gymnasium, "make", tracked_make)
    with pytest.raises(ValueError, match=message):
        REINFORCE(**{"policy": "MlpPolicy", "env": SEQUENCE, **arguments})
    assert open_envs == []
