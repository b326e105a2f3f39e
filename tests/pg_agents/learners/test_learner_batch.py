"""Independent learners in one batch: each learns what a single model learns."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import load_results

import pg_envs
from pg_agents import REINFORCE, ActorCritic, LearnerBatch
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.analysis.monitor import read_monitor
from pg_agents.common.nonfinite import NonFiniteError

SEQUENCE = "pg_envs:PGToy-Sequence-v0"
BANDIT = "pg_envs:PGToy-Bandit-v0"
SGD = {"optimizer_class": torch.optim.SGD}
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "vector": spaces.Box(-10.0, 10.0, (3,)),
    "index": spaces.Discrete(4, start=2),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=1),
    "box": spaces.Box(-1e3, 1e3, (2, 1)),
    "multi_discrete": spaces.MultiDiscrete([2, 3], start=[0, 5]),
    "multi_binary": spaces.MultiBinary(3),
}


class LoggingEnv(gymnasium.Env[Any, Any]):
    """Random observations, rewards and ends, all of which it logs."""

    made: list[LoggingEnv]

    def __init__(self, obs: str = "vector", actions: str = "discrete") -> None:
        self.observation_space, self.action_space = OBSERVATIONS[obs], ACTIONS[actions]
        self.log: list[tuple[Any, Any, float, bool, bool, Any]] = []
        self.made.append(self)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self._obs = self._draw()
        return self._obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        before, self._obs = self._obs, self._draw()
        reward, u = float(self.np_random.normal()), self.np_random.random()
        ends = u < 0.2, 0.2 <= u < 0.3
        self.log.append((before, np.array(action), reward, *ends, self._obs))
        return self._obs, reward, *ends, {}

    def _draw(self) -> Any:
        if isinstance(self.observation_space, spaces.Discrete):
            return int(self.np_random.integers(4)) + 2
        return self.np_random.normal(size=3).astype(np.float32)


@pytest.fixture(autouse=True)
def logging_env() -> Iterator[None]:
    LoggingEnv.made = []
    gymnasium.register("Logging-v0", LoggingEnv, disable_env_checker=True)
    yield
    gymnasium.registry.pop("Logging-v0")


def lanes_of(n_learners: int, n_envs: int) -> list[list[LoggingEnv]]:
    """Returns the environments that were stepped, by learner."""
    used = [env for env in LoggingEnv.made if env.log]
    assert len(used) == n_learners * n_envs
    return [used[i * n_envs : (i + 1) * n_envs] for i in range(n_learners)]


def take_rollout(
    lanes: list[LoggingEnv], n_steps: int | None, n_episodes: int | None
) -> list[list[Any]]:
    """Removes the first rollout from the logs of N lanes."""
    rollout = []
    for lane in lanes:
        if n_steps is not None:
            length = n_steps
        else:
            ends = [t for t, step in enumerate(lane.log) if step[3] or step[4]]
            length = ends[(n_episodes or 1) - 1] + 1
        rollout.append(lane.log[:length])
        lane.log = lane.log[length:]
    return rollout


def learn_from(model: PolicyGradientAlgorithm, rollout: list[list[Any]]) -> None:
    """Updates a single model from the steps of a rollout, [N] lists."""
    buffer, n_envs = model.rollout_buffer, len(rollout)
    gradients = model.learner.gradients
    buffer.uses_arrays = gradients.uses_arrays
    buffer.reset()
    gradients.begin_rollout(model.config.updates_whole_rollouts)
    episode_steps = np.zeros(n_envs, np.int64)
    for t in range(max(map(len, rollout))):
        recorded = np.array([t < len(lane) for lane in rollout])
        steps = [lane[min(t, len(lane) - 1)] for lane in rollout]
        obs, actions, rewards, terminated, truncated, next_obs = map(
            np.array, zip(*steps, strict=True)
        )
        buffer.add(
            observations=obs,
            actions=actions,
            rewards=rewards.astype(np.float32),
            terminated=terminated & recorded,
            truncated=truncated & recorded,
            episode_steps=episode_steps,
            recorded=None if recorded.all() else recorded,
            final_obs=next_obs,
        )
        episode_steps = (episode_steps + 1) * ~(terminated | truncated)
    n_episodes = model.n_episodes and model.n_episodes * n_envs
    model.learner.complete(buffer, next_obs, n_episodes)
    model.set_logger(configure(None, []))
    model.train()


def weights(model: PolicyGradientAlgorithm) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = (
        torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach().numpy()
    )
    return vector.copy()


def learner_weights(batch: LearnerBatch) -> NDArray[np.float32]:
    return np.stack([weights(model) for model in batch.models])


CASES: list[tuple[str, type[PolicyGradientAlgorithm], str, str, str, dict[str, Any]]] = [
    ("table", REINFORCE, "TabularPolicy", "index", "discrete", {"n_episodes": 2}),
    ("box", REINFORCE, "MlpPolicy", "vector", "box", {"n_episodes": 2}),
    (
        "multi-discrete",
        REINFORCE,
        "MlpPolicy",
        "vector",
        "multi_discrete",
        {"n_steps": 4, "ent_coef": 0.1},
    ),
    (
        "multi-binary",
        REINFORCE,
        "MlpPolicy",
        "vector",
        "multi_binary",
        {"n_steps": 4, "ent_coef": 0.1},
    ),
    *(
        (name, REINFORCE, "MlpPolicy", "vector", "discrete", arguments)
        for name, arguments in {
            "linear": {"policy_kwargs": {"net_arch": []}},
            "mean": {"n_episodes": 2, "baseline": "mean"},
            "leave one out": {"n_episodes": 3, "baseline": "leave_one_out"},
            "rows compared": {"n_steps": 5, "baseline": "leave_one_out"},
            "returns standardised": {"n_episodes": 2, "standardize_returns": True},
            "full return": {"returns": "full_return", "gamma": 0.9},
            "gamma^t": {"weight_by_gamma_t": True, "gamma": 0.9},
            "entropy": {"ent_coef": 0.5, "n_steps": 3},
            "clipped gradient": {"max_grad_norm": 0.5},
            "bootstrap": {"baseline": "value", "bootstrap": True, "n_steps": 6},
            "epochs": {"n_epochs": 3, "clip_range": 0.02, "n_steps": 8},
        }.items()
    ),
    *(
        (name, ActorCritic, policy, obs, actions, arguments)
        for name, policy, obs, actions, arguments in (
            ("gae", "MlpPolicy", "vector", "discrete", {"gae_lambda": 0.8}),
            ("td, a table", "TabularPolicy", "index", "discrete", {"estimator": "td"}),
            (
                "n steps, Huber",
                "MlpPolicy",
                "index",
                "box",
                {
                    "estimator": "n_step",
                    "td_steps": 3,
                    "critic_loss": "huber",
                    "ent_coef": 0.1,
                },
            ),
            (
                "shared body",
                "MlpPolicy",
                "vector",
                "discrete",
                {"policy_kwargs": {"critic": "shared", "layer_norm": True}},
            ),
            (
                "whole episodes",
                "MlpPolicy",
                "vector",
                "box",
                {"n_episodes": 2, "normalize_advantage": True},
            ),
            (
                "limit counts as an end",
                "MlpPolicy",
                "vector",
                "discrete",
                {"bootstrap_truncated": False},
            ),
            (
                "PPO",
                "MlpPolicy",
                "vector",
                "discrete",
                {
                    "n_steps": 16,
                    "clip_range": 0.1,
                    "clip_range_vf": 0.1,
                    "n_epochs": 4,
                    "target_kl": 0.001,
                },
            ),
            (
                "two rates",
                "MlpPolicy",
                "vector",
                "discrete",
                {"critic_learning_rate": 0.02},
            ),
        )
    ),
]


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize(
    ("algorithm", "policy", "obs", "actions", "arguments"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_a_learner_learns_what_a_single_model_learns_from_its_steps(
    algorithm: type[PolicyGradientAlgorithm],
    policy: str,
    obs: str,
    actions: str,
    arguments: dict[str, Any],
    n_envs: int,
) -> None:
    env_kwargs = {"obs": obs, "actions": actions}
    common: dict[str, Any] = {"learning_rate": 0.05, **arguments}
    common["policy_kwargs"] = {**SGD, **arguments.get("policy_kwargs", {})}
    if arguments.get("baseline") == "leave_one_out" and "n_steps" in arguments:
        if n_envs == 1:
            pytest.skip("one row has no others to compare with")
    seeds = [3, 0, 8]
    batch = LearnerBatch(
        algorithm, policy, "Logging-v0", seeds, n_envs, env_kwargs, **common
    )
    config = batch.config
    by_episode = config.n_episodes is not None
    # Lanes that idle are reset: of these, one rollout is easily found in the log.
    n_rollouts = 1 if by_episode and n_envs > 1 else 3
    n_done = 0

    def count_rollouts(batch: LearnerBatch) -> NDArray[np.bool_]:
        return (batch.n_updates // config.n_epochs < n_rollouts) & (
            batch.num_timesteps < 10_000
        )

    if config.target_kl is None:
        batch.learn(10_000, count_rollouts)
    else:
        n_done = n_rollouts * (config.n_steps or 0) * n_envs
        batch.learn(n_done)
    lanes = lanes_of(len(seeds), n_envs)
    learnt = learner_weights(batch)
    for r, seed in enumerate(seeds):
        env: Any = gymnasium.make_vec(
            "Logging-v0", n_envs, vectorization_mode="sync", **env_kwargs
        )
        # Not the closed form, which the batch computes with.
        model = algorithm(policy, env, seed=seed, gradients="autograd", **common)
        start = weights(model)
        for _ in range(n_rollouts):
            learn_from(model, take_rollout(lanes[r], config.n_steps, config.n_episodes))
        np.testing.assert_allclose(learnt[r], weights(model), atol=2e-5)
        assert np.abs(learnt[r] - start).max() > 1e-3


@pytest.mark.parametrize(
    "optimizer",
    [
        {"optimizer_class": torch.optim.Adam, "optimizer_kwargs": {"eps": 1e-2}},
        {
            "optimizer_class": torch.optim.SGD,
            "optimizer_kwargs": {"momentum": 0.9, "weight_decay": 0.01},
        },
        {"optimizer_class": torch.optim.RMSprop, "optimizer_kwargs": {"eps": 1e-2}},
    ],
    ids=["Adam", "momentum", "RMSprop"],
)
def test_optimizers_step_as_those_of_a_single_model(optimizer: dict[str, Any]) -> None:
    common: dict[str, Any] = {
        "learning_rate": lambda progress: 0.05 * progress,
        "n_steps": 4,
        "policy_kwargs": optimizer,
    }
    batch = LearnerBatch(ActorCritic, "MlpPolicy", "Logging-v0", [5, 6], **common)
    batch.learn(16)
    lanes = lanes_of(2, 1)
    for r, seed in enumerate([5, 6]):
        model = ActorCritic("MlpPolicy", LoggingEnv(), seed=seed, **common)
        for k in range(4):
            model._current_progress_remaining = 1.0 - (k + 1) / 4
            learn_from(model, take_rollout(lanes[r], 4, None))
        learner = batch.models[r]
        np.testing.assert_allclose(weights(learner), weights(model), atol=2e-6)
        state = learner.policy.optimizer.state_dict()["state"]
        expected = model.policy.optimizer.state_dict()["state"]
        assert state.keys() == expected.keys()
        for key, entries in expected.items():
            assert state[key].keys() == entries.keys()
            for name, value in entries.items():
                torch.testing.assert_close(
                    state[key][name], value, atol=1e-5, rtol=1e-4
                )


def play(seeds: list[int], n: int = 60, **arguments: Any) -> LearnerBatch:
    """Returns learners after n steps, of settings that the arguments change."""
    given: dict[str, Any] = {
        "algorithm": ActorCritic,
        "policy": "MlpPolicy",
        "env": SEQUENCE,
        "learning_rate": 0.01,
        "policy_kwargs": {"net_arch": [8]},
        **arguments,
    }
    return LearnerBatch(seeds=seeds, **given).learn(n)


def assert_equal(one: LearnerBatch, other: LearnerBatch, r: int, s: int) -> None:
    """Checks that learner r of a batch is learner s of another, up to rounding."""
    assert one.num_timesteps[r] == other.num_timesteps[s]
    assert one.n_updates[r] == other.n_updates[s]
    mine, others = one.episodes[r], other.episodes[s]
    np.testing.assert_array_equal(mine.lengths, others.lengths)
    np.testing.assert_array_equal(mine.returns, others.returns)
    np.testing.assert_array_equal(mine.steps, others.steps)
    np.testing.assert_allclose(
        weights(one.models[r]), weights(other.models[s]), atol=1e-5
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_steps": 5},
        {"n_steps": 6, "n_envs": 3},
        {"algorithm": REINFORCE},
        {"algorithm": REINFORCE, "n_episodes": 2, "n_envs": 2, "baseline": "mean"},
        {"n_episodes": 1, "n_envs": 3, "max_episode_steps": 4, "filters": "never ends"},
        {"n_steps": 8, "batch_size": 3, "n_epochs": 2, "normalize_advantage": True},
        {"n_steps": 16, "clip_range": 0.1, "n_epochs": 5, "target_kl": 1e-4},
        {"env": "CartPole-v1", "algorithm": REINFORCE, "standardize_returns": True},
        {"env": "PGToy-Pixelcopter-v0", "algorithm": REINFORCE, "n_envs": 2},
        {"env": "FrozenLake-v1", "algorithm": REINFORCE, "n_envs": 2},
        {"env": BANDIT, "env_kwargs": {"max_episode_steps": 7}, "n_steps": 3},
        {"env": "Logging-v0", "env_kwargs": {"actions": "box"}, "n_episodes": 2},
        {"env": "Logging-v0", "n_envs": 2, "n_episodes": 2},
        {"learning_rate": lambda progress: 0.02 * progress, "n_episodes": 1},
        {"ent_coef": lambda progress: progress, "n_episodes": 1},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:an episode was still running")
def test_a_learner_does_not_depend_on_its_companions(arguments: dict[str, Any]) -> None:
    arguments = {k: v for k, v in arguments.items() if k != "filters"}
    n = 200 if arguments.get("env") == "CartPole-v1" else 60
    alone, together = play([3], n, **arguments), play([7, 0, 3, 9, 4], n, **arguments)
    assert_equal(alone, together, 0, 2)
    # The episodes in which they began differ, and so do those of a second training.
    alone.learn(40)
    together.learn(40)
    assert_equal(alone, together, 0, 2)
    assert not np.allclose(weights(together.models[0]), weights(together.models[2]))


def test_a_mini_batch_of_all_steps_is_the_rollout() -> None:
    whole = play([1, 2], n_steps=6, n_envs=2)
    assert_equal(whole, play([1, 2], n_steps=6, n_envs=2, batch_size=12), 0, 0)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("policy_kwargs", [{}, {"net_arch": [4], "ortho_init": False}])
def test_a_learner_starts_from_the_weights_of_a_model_with_its_seed(
    algorithm: type[PolicyGradientAlgorithm], policy_kwargs: dict[str, Any]
) -> None:
    common: dict[str, Any] = {"policy_kwargs": policy_kwargs}
    batch = LearnerBatch(algorithm, "MlpPolicy", SEQUENCE, range(4), **common)
    for seed, start in enumerate(learner_weights(batch)):
        model = algorithm("MlpPolicy", SEQUENCE, seed=seed, **common)
        np.testing.assert_array_equal(start, weights(model))


def test_a_batch_leaves_the_generators_of_the_process_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    weights(play([1, 2]).models[1])
    assert (torch.rand(1), np.random.rand()) == expected


def test_mean_update_of_a_bandit_is_the_gradient_of_its_expected_reward() -> None:
    # From logits 0, softmax pi_a = 1/3, and arm a pays r_a with probability 1: the
    # expected step is learning_rate * pi_a * (r_a - mean of r).
    mdp = pg_envs.BanditEnv(observation="index").mdp
    rewards, arms = (mdp.transition * mdp.reward)[0].sum(-1), mdp.n_actions
    n = 4_000
    batch = LearnerBatch(
        REINFORCE,
        "TabularPolicy",
        BANDIT,
        range(n),
        env_kwargs={"observation": "index", "max_episode_steps": -1},
        n_steps=1,
        learning_rate=0.3,
    )
    batch.learn(1)
    logits = np.log(batch.action_probabilities(np.array([0])))[:, 0]
    steps = logits - logits.mean(1, keepdims=True)
    exact = 0.3 / arms * (rewards - rewards.mean())
    error = steps.std(0) / np.sqrt(n)
    # Five standard errors: with three arms, one false alarm in half a million.
    assert (np.abs(steps.mean(0) - exact) < 5 * error).all()
    assert (np.abs(exact) > 10 * error).any()
