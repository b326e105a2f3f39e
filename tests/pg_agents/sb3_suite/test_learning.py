"""Learning and evaluation.

What SB3's test_identity, test_deterministic, test_gae and test_utils ask of A2C.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import (
    IdentityEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import REINFORCE, ActorCritic
from pg_agents.policies.policies import MlpPolicy
from tests.pg_agents.envs import ScriptedEnv
from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    SMALL,
    VECTOR,
    same,
    sample_env,
    weights,
)

IDENTITY: dict[str, Any] = {
    "discrete": lambda: IdentityEnv(4, ep_length=10),
    "multi_discrete": lambda: IdentityEnvMultiDiscrete(4, ep_length=10),
    "multi_binary": lambda: IdentityEnvMultiBinary(4, ep_length=10),
    # Within half of the numbers from -1 to 1: an answer of 0 is worth a half.
    "box": lambda: IdentityEnvBox(eps=0.5, ep_length=10),
}


def identity(name: str) -> DummyVecEnv:
    """Environments that pay 1 to whoever says what was seen."""

    def made(seed: int) -> Any:
        env = IDENTITY[name]()
        # What is seen is drawn from the action space, and reset() seeds it not.
        env.action_space.seed(seed)
        return env

    return DummyVecEnv([partial(made, seed) for seed in range(16)])


# test_identity::test_discrete
@pytest.mark.parametrize("name", ["discrete", "multi_binary", "multi_discrete"])
@pytest.mark.parametrize("agent", AGENTS)
def test_learns_to_say_what_it_sees(agent: Any, name: str) -> None:
    env = identity(name)
    # RMSprop's first steps are ten times as long as Adam's.
    rate = 0.004 if agent is ActorCritic else 0.01
    model = agent("MlpPolicy", env, gamma=0.0, learning_rate=rate, seed=3)
    before = evaluate_policy(model, env, 16, warn=False)[0]
    model.learn(16 * 300)
    after = evaluate_policy(model, env, 16, warn=False)[0]
    assert before < 6.0  # type: ignore[operator]
    assert after > 8.0  # type: ignore[operator]
    seen = env.envs[0].reset()[0]
    assert np.shape(model.predict(seen)[0]) == np.shape(seen)


# test_identity::test_continuous
@pytest.mark.parametrize("agent", AGENTS)
def test_learns_to_say_a_number_that_it_sees(agent: Any) -> None:
    env = identity("box")
    kwargs = {"net_arch": [16], "log_std_init": -0.5}
    model = agent(
        "MlpPolicy", env, gamma=0.0, learning_rate=0.01, seed=0, policy_kwargs=kwargs
    )
    model.learn(16 * 300)
    assert evaluate_policy(model, env, 16, warn=False)[0] > 9.0  # type: ignore[operator]


# test_deterministic::test_deterministic_training_common
@pytest.mark.parametrize("env_id", ["Pendulum-v1", "CartPole-v1"])
@pytest.mark.parametrize("agent", AGENTS)
def test_the_same_seed_learns_and_acts_the_same(agent: Any, env_id: str) -> None:
    models, actions = [], []
    for seed in (0, 0, 1):
        model = agent("MlpPolicy", env_id, seed=seed, policy_kwargs=SMALL).learn(64)
        seen = model.get_env().reset()
        drawn = []
        for _ in range(10):
            action, _ = model.predict(seen, deterministic=False)
            seen, *_ = model.get_env().step(action)
            drawn.append(action)
        models.append(weights(model))
        actions.append(np.concatenate(drawn))
    assert same(models[0], models[1]) and not same(models[0], models[2])
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


class ConstantCritic(MlpPolicy):
    """Values everything the same."""

    constant = 0.5

    def forward(self, obs: Any, deterministic: bool = False) -> Any:
        actions, values, log_prob = super().forward(obs, deterministic)
        return actions, torch.full_like(values, self.constant), log_prob

    def predict_values(self, obs: Any) -> Any:
        return torch.full_like(super().predict_values(obs), self.constant)


def returns_by_hand(
    rewards: Any, ended: Any, gamma: float, lam: float, value: float
) -> Any:
    """Lambda-returns where every state is worth `value`, by their recursion."""
    following, out = value, np.zeros(len(rewards))
    for t in reversed(range(len(rewards))):
        goes_on = (1.0 - lam) * value + lam * following
        out[t] = following = rewards[t] + gamma * (0.0 if ended[t] else goes_on)
    return out


# test_gae::test_gae_computation
@pytest.mark.parametrize("gae_lambda", [1.0, 0.9])
@pytest.mark.parametrize("gamma", [1.0, 0.99])
@pytest.mark.parametrize("n_episodes", [1, 3])
def test_advantages_are_those_of_a_constant_critic(
    gamma: float, gae_lambda: float, n_episodes: int
) -> None:
    model = ActorCritic(
        ConstantCritic,
        ScriptedEnv([4]),
        n_steps=4 * n_episodes,
        gamma=gamma,
        gae_lambda=gae_lambda,
        policy_kwargs=SMALL,
    )
    model.learn(1)
    buffer = model.rollout_buffer
    expected = returns_by_hand(
        buffer.rewards[:, 0], buffer.terminated[:, 0], gamma, gae_lambda, 0.5
    )
    np.testing.assert_allclose(buffer.returns[:, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(buffer.advantages[:, 0], expected - 0.5, rtol=1e-5)


# test_gae::test_gae_computation
@pytest.mark.parametrize("gamma", [1.0, 0.99])
@pytest.mark.parametrize("n_episodes", [1, 3])
def test_the_weights_of_reinforce_are_the_returns(
    gamma: float, n_episodes: int
) -> None:
    model = REINFORCE(
        "MlpPolicy",
        ScriptedEnv([4]),
        n_episodes=n_episodes,
        gamma=gamma,
        policy_kwargs=SMALL,
    )
    model.learn(1)
    buffer = model.rollout_buffer
    expected = returns_by_hand(
        buffer.rewards[:, 0], buffer.terminated[:, 0], gamma, 1.0, 0.0
    )
    assert buffer.size() == 4 * n_episodes
    np.testing.assert_allclose(buffer.advantages[:, 0], expected, rtol=1e-5)


class Endless(gymnasium.Env[Any, Any]):
    """A reward of 1 for every step, for ever; what is seen says nothing."""

    observation_space = spaces.Discrete(1)
    action_space = VECTOR

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: Any) -> Any:
        return 0, 1.0, False, False, {}


# test_gae::test_infinite_horizon
@pytest.mark.parametrize(
    ("agent", "settings"),
    [
        (ActorCritic, {}),
        (REINFORCE, {"n_steps": 5, "baseline": "value", "bootstrap": True}),
    ],
)
def test_a_time_limit_does_not_shorten_what_the_critic_expects(
    agent: Any, settings: Any
) -> None:
    env = DummyVecEnv([lambda: gymnasium.wrappers.TimeLimit(Endless(), 8)] * 8)
    kwargs = {"net_arch": [16]}
    model = agent(
        "MlpPolicy",
        env,
        gamma=0.9,
        learning_rate=0.01,
        seed=1,
        policy_kwargs=kwargs,
        **settings,
    ).learn(8 * 5 * 100)
    seen, _ = model.policy.obs_to_tensor(np.array([0]))
    # 1 + 0.9 + 0.81 + ... = 10; eight steps alone are worth 5.7.
    assert model.policy.predict_values(seen).item() == pytest.approx(10.0, abs=1.0)


# test_utils::test_evaluate_policy
@pytest.mark.parametrize("direct_policy", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_evaluation_plays_whole_episodes(agent: Any, direct_policy: bool) -> None:
    model = agent("MlpPolicy", Monitor(sample_env()), seed=0)
    policy = model.policy if direct_policy else model
    calls: list[bool] = []

    def note(local: dict[str, Any], _: dict[str, Any]) -> None:
        calls.append(bool(local["done"]))
        assert local["new_observations"] is not local["observations"]

    rewards, lengths = evaluate_policy(
        policy, model.get_env(), 2, callback=note, return_episode_rewards=True
    )
    assert rewards == [36.0, 36.0] and lengths == [8, 8]
    assert calls == ([False] * 7 + [True]) * 2
    with pytest.raises(AssertionError, match="below threshold"):
        evaluate_policy(policy, model.get_env(), 2, reward_threshold=37.0)


# test_utils::test_evaluate_vector_env
@pytest.mark.parametrize("n_envs", [1, 2, 5, 7])
@pytest.mark.parametrize("agent", AGENTS)
def test_evaluation_counts_episodes_over_environments(agent: Any, n_envs: int) -> None:
    model = agent("MlpPolicy", "CartPole-v1", seed=0, policy_kwargs=SMALL)
    env = make_vec_env("CartPole-v1", n_envs)
    rewards, _ = evaluate_policy(model, env, 6, return_episode_rewards=True)
    assert len(rewards) == 6  # type: ignore[arg-type]


class Nothing(gymnasium.RewardWrapper[Any, Any]):
    """Rewards of 0, whatever is inside."""

    def reward(self, reward: Any) -> float:
        return 0.0


# test_utils::test_evaluate_policy_monitors
@pytest.mark.parametrize("n_envs", [None, 2])
@pytest.mark.parametrize("agent", AGENTS)
def test_evaluation_reads_the_monitor_or_warns(agent: Any, n_envs: int | None) -> None:
    model = agent("MlpPolicy", sample_env(), policy_kwargs=SMALL)

    def made(inner: Any) -> Any:
        def one() -> Any:
            return Nothing(inner(sample_env()))

        return one() if n_envs is None else DummyVecEnv([one] * n_envs)

    assert evaluate_policy(model, made(Monitor), 3)[0] == 36.0
    with pytest.warns(UserWarning, match="not wrapped with a ``Monitor``"):
        evaluate_policy(model, made(gymnasium.Wrapper), 3)
    assert evaluate_policy(model, made(gymnasium.Wrapper), 3, warn=False)[0] == 0.0
