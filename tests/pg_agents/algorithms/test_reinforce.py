"""REINFORCE: its gradient by enumeration, its arguments, its results."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import REINFORCE, TabularPolicy
from pg_envs import mdp_from_transitions, oracle
from tests.pg_agents.envs import ScriptedEnv
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
def test_expected_gradient_is_exact(n_episodes: int, settings: dict[str, Any]) -> None:
    """The sum over steps is divided by the number of episodes."""
    model = two_step_model(n_episodes, **settings)
    got = expected_gradient(model, n_episodes)
    torch.testing.assert_close(got, exact_gradient(model.gamma), atol=2e-6, rtol=0)


@pytest.mark.parametrize("returns", ["full_return", "reward_to_go"])
def test_batch_mean_baseline_scales_the_gradient_by_1_minus_1_in_n(
    returns: Any,
) -> None:
    """Batch-mean baseline: by 1 - 1/N, with episodes of different lengths."""
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
def test_the_oracle_knows_the_same_gradient(gamma: float) -> None:
    """Two ways to the exact gradient: by all episodes, and by the linear solve."""
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


def test_dropping_gamma_t_weights_later_steps_too_much() -> None:
    """By 1 / gamma^t, as the theorem with undiscounted states says."""
    got = expected_gradient(two_step_model(1), 1)
    biased = exact_gradient(GAMMA, drop_gamma_t=True)
    torch.testing.assert_close(got, biased, atol=2e-6, rtol=0)
    exact = exact_gradient(GAMMA)
    torch.testing.assert_close(got[0], exact[0], atol=2e-6, rtol=0)
    torch.testing.assert_close(got[1], exact[1] / GAMMA, atol=2e-6, rtol=0)


def test_a_mean_over_steps_would_be_biased() -> None:
    """On this task dividing by the number of steps gives another direction."""
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
    """d(E[sum_t H]) with fixed states, by the entropy of each state visited."""
    with_entropy = expected_gradient(two_step_model(2, ent_coef=0.5), 2)
    without = expected_gradient(two_step_model(2), 2)
    logits = LOGITS.clone().requires_grad_()
    pi = torch.softmax(logits, 1)
    entropy = -(pi * pi.log()).sum(1)
    visits = torch.tensor([1.0, pi[0, 1].item()], dtype=torch.float64)
    expected = torch.autograd.grad(0.5 * (visits * entropy).sum(), logits)[0]
    torch.testing.assert_close(with_entropy - without, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("which", ["standardize_returns", "normalize_advantage"])
def test_a_batch_of_one_step_learns_though_standardised(which: str) -> None:
    """The standard deviation of one number is NaN."""
    env = gymnasium.make("pg_envs:PGToy-Bandit-v0", observation="index")
    arguments: dict[str, Any] = {which: True, "n_steps": 1, "gamma": 0.0, "seed": 0}
    model = REINFORCE("TabularPolicy", env, learning_rate=0.5, **arguments)
    model.learn(50)
    assert isinstance(model.policy, TabularPolicy)
    logits = model.policy.logits
    assert torch.isfinite(logits).all()
    assert logits.argmax() == 0
    assert logits[0, 0] > 0.5


def test_same_seed_same_weights_to_the_bit() -> None:
    weights = []
    for _ in range(2):
        model = REINFORCE("MlpPolicy", SEQUENCE, seed=7, baseline="value").learn(400)
        weights.append([p.detach().clone() for p in model.policy.parameters()])
    for first, second in zip(*weights, strict=True):
        assert torch.equal(first, second)


def test_the_line_that_users_type_first_works_with_nothing_else_imported() -> None:
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


def test_gradient_clipping_bounds_the_step() -> None:
    steps = {}
    for bound in (None, 1e-3):
        model = REINFORCE(
            "MlpPolicy",
            ScriptedEnv([3]),
            learning_rate=1.0,
            max_grad_norm=bound,
            seed=0,
            policy_kwargs={"optimizer_class": torch.optim.SGD},
        )
        before = torch.nn.utils.parameters_to_vector(model.policy.parameters()).clone()
        model.learn(3)
        after = torch.nn.utils.parameters_to_vector(model.policy.parameters())
        steps[bound] = (after - before).norm().item()
    assert steps[None] > 0.1
    assert steps[1e-3] == pytest.approx(1e-3, rel=1e-3)


def test_learns_continuous_actions() -> None:
    """A one-step task whose reward is -(action - 0.5)^2: the mean moves to 0.5."""

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
    assert "train/std" in model.logger.name_to_value or model.policy.log_std is not None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"gamma": 1.1}, r"gamma must lie in \[0, 1\], got 1.1"),
        ({"gamma": "0.9"}, r"gamma must lie in \[0, 1\], got '0.9'"),
        ({"ent_coef": "x"}, "ent_coef must be a finite number >= 0, got 'x'"),
        ({"policy": None}, "policy must be a name or a class, got None"),
        ({"env": None}, "env must be an environment or the id of one, got None"),
        ({"gamma": -0.1}, r"gamma must lie in \[0, 1\], got -0.1"),
        ({"n_episodes": 0}, "n_episodes must be an integer >= 1, got 0"),
        ({"n_episodes": 1.5}, "n_episodes must be an integer >= 1, got 1.5"),
        ({"n_steps": 0}, "n_steps must be an integer >= 1, got 0"),
        (
            {"n_steps": 5, "n_episodes": 1},
            "either n_steps or n_episodes.* got n_steps=5 and n_episodes=1",
        ),
        (
            {"baseline": "median"},
            "baseline must be one of 'none', 'mean', 'leave_one_out', 'value', got "
            "'median'",
        ),
        ({"returns": "td"}, "returns must be one of 'reward_to_go', 'full_return'"),
        ({"baseline": "mean"}, "needs at least 2 per update, got n_envs=1"),
        ({"baseline": "leave_one_out"}, "needs at least 2 per update, got n_envs=1"),
        ({"bootstrap": True}, "bootstrap=True bootstraps.* got baseline='none'"),
        (
            {"weight_by_gamma_t": True, "returns": "full_return"},
            "would discount twice",
        ),
        ({"max_episode_steps": 0}, "max_episode_steps must be an integer >= 1, got 0"),
        ({"ent_coef": -1.0}, "ent_coef must be a finite number >= 0, got -1.0"),
        ({"vf_coef": float("nan")}, "vf_coef must be a finite number >= 0, got nan"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be a number > 0, got 0.0"),
        ({"rollout_buffer_class": dict}, "rollout_buffer_class must be a subclass of"),
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
def test_bad_arguments_are_refused_by_name_and_leave_nothing_behind(
    arguments: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment made from the id is closed again."""
    open_envs: list[Any] = []
    make: Callable[..., Any] = gymnasium.make

    def watched_make(*args: Any, **kwargs: Any) -> Any:
        env = make(*args, **kwargs)
        open_envs.append(env)
        close = env.close

        def watched_close() -> None:
            open_envs.remove(env)
            close()

        monkeypatch.setattr(env, "close", watched_close)
        return env

    monkeypatch.setattr(gymnasium, "make", watched_make)
    given = {"policy": "MlpPolicy", "env": SEQUENCE, **arguments}
    with pytest.raises(ValueError, match=says):
        REINFORCE(**given)
    assert open_envs == []


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (spaces.Tuple((spaces.Discrete(2),)), "an array or a Dict of arrays, got Tup"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "must use `MultiInputPolicy`"),
    ],
)
def test_spaces_that_would_go_wrong_are_refused(space: Any, says: str) -> None:
    env = ScriptedEnv([3])
    env.observation_space = space
    with pytest.raises(ValueError, match=says):
        REINFORCE("MlpPolicy", env)


def test_what_load_writes_over_is_checked_too(tmp_path: Path) -> None:
    REINFORCE("MlpPolicy", SEQUENCE).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, 1\], got 2"):
        REINFORCE.load(tmp_path / "model", gamma=2)


def test_policy_kwargs_of_the_caller_stay_as_they_were() -> None:
    """SB3's A2C writes its optimiser into them."""
    policy_kwargs = {"net_arch": [4], "optimizer_kwargs": {"eps": 1e-7}}
    copy = {"net_arch": [4], "optimizer_kwargs": {"eps": 1e-7}}
    REINFORCE("MlpPolicy", SEQUENCE, policy_kwargs=policy_kwargs).learn(20)
    assert policy_kwargs == copy
