"""Independent learners in one batch: each learns what a single model learns."""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
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
from gymnasium.vector import SyncVectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import get_monitor_files

import pg_envs
from pg_agents import REINFORCE, ActorCritic, LearnerBatch
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.analysis.monitor import read_monitor
from pg_agents.common.nonfinite import NonFiniteError
from pg_agents.learners import BatchRecorder

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
        # Observation, action, reward, ends, next observation; whether it is the first.
        self.log: list[tuple[Any, Any, float, bool, bool, Any, bool]] = []
        self.made.append(self)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self._obs, self._is_first = self._draw(), True
        return self._obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        before, self._obs = self._obs, self._draw()
        reward, u = float(self.np_random.normal()), self.np_random.random()
        ends = u < 0.2, 0.2 <= u < 0.3
        is_first, self._is_first = self._is_first, False
        self.log.append((before, np.array(action), reward, *ends, self._obs, is_first))
        return self._obs, reward, *ends, {}

    def _draw(self) -> Any:
        if isinstance(self.observation_space, spaces.Discrete):
            return int(self.np_random.integers(4)) + 2
        return self.np_random.normal(size=3).astype(np.float32)


@pytest.fixture(autouse=True)
def logging_env() -> Iterator[None]:
    LoggingEnv.made = []
    entry_point: Any = LoggingEnv
    gymnasium.register("Logging-v0", entry_point, disable_env_checker=True)
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
    """Removes the first rollout from the logs of N lanes, with the steps of idling."""
    lengths = [n_steps or 0] * len(lanes)
    if n_episodes is not None:
        assert all(lane.log[0][-1] for lane in lanes), "begins within an episode"
        ends = [[t for t, s in enumerate(lane.log) if s[3] or s[4]] for lane in lanes]
        lengths = [of_one[n_episodes - 1] + 1 for of_one in ends]
    rollout = [lane.log[:n] for lane, n in zip(lanes, lengths, strict=True)]
    for lane in lanes:
        lane.log = lane.log[max(lengths) :]
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
        obs, actions, rewards, terminated, truncated, next_obs, _ = map(
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


Case = tuple[type[PolicyGradientAlgorithm], str, str, str, dict[str, Any]]
NETWORK = REINFORCE, "MlpPolicy", "vector", "discrete"
CRITIC = ActorCritic, "MlpPolicy", "vector", "discrete"
CASES: dict[str, Case] = {
    "table": (REINFORCE, "TabularPolicy", "index", "discrete", {"n_episodes": 2}),
    "box": (REINFORCE, "MlpPolicy", "vector", "box", {"n_episodes": 2}),
    "linear": (*NETWORK, {"policy_kwargs": {"net_arch": []}}),
    "mean": (*NETWORK, {"n_episodes": 2, "baseline": "mean"}),
    "leave one out": (*NETWORK, {"n_episodes": 3, "baseline": "leave_one_out"}),
    "rows compared": (*NETWORK, {"n_steps": 5, "baseline": "leave_one_out"}),
    "returns standardised": (*NETWORK, {"n_episodes": 2, "standardize_returns": True}),
    "full return": (*NETWORK, {"returns": "full_return", "gamma": 0.9}),
    "gamma^t": (*NETWORK, {"weight_by_gamma_t": True, "gamma": 0.9}),
    "entropy": (*NETWORK, {"ent_coef": 0.5, "n_steps": 3}),
    "clipped gradient": (*NETWORK, {"max_grad_norm": 0.5}),
    "bootstrap": (*NETWORK, {"baseline": "value", "bootstrap": True, "n_steps": 6}),
    "epochs": (*NETWORK, {"n_epochs": 3, "clip_range": 0.02, "n_steps": 8}),
    **{
        name: (REINFORCE, "MlpPolicy", "vector", name, {"n_steps": 4, "ent_coef": 0.1})
        for name in ("multi_discrete", "multi_binary")
    },
    "gae": (*CRITIC, {"gae_lambda": 0.8}),
    "td, a table": (
        ActorCritic,
        "TabularPolicy",
        "index",
        "discrete",
        {"estimator": "td"},
    ),
    "n steps, Huber": (
        ActorCritic,
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
    "shared body": (
        *CRITIC,
        {"policy_kwargs": {"critic": "shared", "layer_norm": True}},
    ),
    "whole episodes": (
        ActorCritic,
        "MlpPolicy",
        "vector",
        "box",
        {"n_episodes": 2, "normalize_advantage": True},
    ),
    "limit counts as an end": (*CRITIC, {"bootstrap_truncated": False}),
    "PPO": (
        *CRITIC,
        {
            "n_steps": 16,
            "clip_range": 0.1,
            "clip_range_vf": 0.1,
            "n_epochs": 4,
            "target_kl": 0.001,
        },
    ),
    "entropy of whole episodes": (*NETWORK, {"ent_coef": 0.5, "n_episodes": 2}),
    "PPO on whole episodes": (
        *CRITIC,
        {
            "n_episodes": 2,
            "clip_range": 0.1,
            "clip_range_vf": 0.05,
            "n_epochs": 3,
            "ent_coef": 0.1,
        },
    ),
    "advantages standardised": (*CRITIC, {"normalize_advantage": True, "n_steps": 6}),
    "two rates": (*CRITIC, {"critic_learning_rate": 0.02}),
}


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize(
    ("algorithm", "policy", "obs", "actions", "arguments"),
    CASES.values(),
    ids=CASES,
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
    n_rollouts = 3

    def count_rollouts(batch: LearnerBatch) -> NDArray[np.bool_]:
        return batch.n_updates < n_rollouts * config.n_epochs

    if config.target_kl is None:
        batch.learn(10_000, count_rollouts)
    else:
        batch.learn(n_rollouts * (config.n_steps or 0) * n_envs)
    lanes = lanes_of(len(seeds), n_envs)
    learnt = learner_weights(batch)
    for r, seed in enumerate(seeds):
        env = SyncVectorEnv([lambda: LoggingEnv(obs, actions)] * n_envs)
        # Not the closed form, which the batch computes with.
        model = algorithm(policy, env, seed=seed, gradients="autograd", **common)
        start = weights(model)
        for _ in range(n_rollouts):
            learn_from(model, take_rollout(lanes[r], config.n_steps, config.n_episodes))
        np.testing.assert_allclose(learnt[r], weights(model), atol=2e-5)
        for name, numbers in batch.logs.items():
            logged = model.logger.name_to_value[f"train/{name}"]
            np.testing.assert_allclose(numbers[r], logged, atol=1e-4, rtol=1e-3)
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
        {"n_episodes": 2, "n_envs": 2, "batch_size": 4, "n_epochs": 2},
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
    # Without addresses of functions, which differ between pytest's processes.
    ids=lambda arguments: re.sub(r" at 0x\w+", "", str(arguments)),
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


@pytest.mark.parametrize("amount", [{"n_steps": 6}, {"n_episodes": 2}], ids=str)
def test_a_mini_batch_of_all_steps_is_the_rollout(amount: dict[str, int]) -> None:
    whole = play([1, 2], n_envs=2, **amount)
    assert_equal(whole, play([1, 2], n_envs=2, batch_size=1_000, **amount), 0, 0)


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


def test_learners_finish_at_steps_of_their_own_and_none_waits() -> None:
    ready: list[int] = []

    def note(batch: LearnerBatch) -> None:
        ready.append(int(batch.updated.sum()))

    batch = LearnerBatch(REINFORCE, "MlpPolicy", "CartPole-v1", range(6))
    batch.learn(150, note)
    # An update for every episode, when it ends: alone, or with others.
    assert 1 in ready
    for r, episodes in enumerate(batch.episodes):
        assert batch.n_updates[r] == len(episodes.lengths)
        np.testing.assert_array_equal(episodes.steps, np.cumsum(episodes.lengths))
        # The training ends with the first rollout that reaches its goal.
        assert episodes.steps[-2] < 150 <= episodes.steps[-1] == batch.num_timesteps[r]
    assert len(ready) == batch.num_timesteps.max()


def test_a_callback_stops_learners_one_by_one() -> None:
    goals = np.array([1, 4, 2])

    def has_updates_left(batch: LearnerBatch) -> NDArray[np.bool_]:
        return batch.n_updates < goals

    batch = LearnerBatch(ActorCritic, "MlpPolicy", SEQUENCE, range(3), n_steps=6)
    batch.learn(10_000, has_updates_left)
    assert batch.n_updates.tolist() == [1, 4, 2]
    assert batch.num_timesteps.tolist() == [6, 24, 12]
    # What one does next does not depend on when the others stopped.
    alone = LearnerBatch(ActorCritic, "MlpPolicy", SEQUENCE, [2], n_steps=6)
    alone.learn(10_000, lambda batch: batch.n_updates < 2)
    assert_equal(batch.learn(18), alone.learn(18), 2, 0)
    before = batch.num_timesteps.copy()
    batch.learn(10_000, [lambda batch: None, lambda batch: False])
    np.testing.assert_array_equal(batch.num_timesteps, before + 1)


def test_a_batch_learns_on_after_an_error_in_a_callback() -> None:
    def fail(batch: LearnerBatch) -> None:
        if batch.num_timesteps[0] == 7:
            raise ArithmeticError

    batch = LearnerBatch(REINFORCE, "MlpPolicy", SEQUENCE, [1, 2])
    with pytest.raises(ArithmeticError):
        batch.learn(100, fail)
    lengths = [len(episodes.lengths) for episodes in batch.episodes]
    batch.learn(50)
    for r, episodes in enumerate(batch.episodes):
        # The first episode of the second training has all its steps.
        assert episodes.steps[lengths[r]] == 7 + episodes.lengths[lengths[r]]


def test_a_second_training_begins_with_other_episodes() -> None:
    batch = LearnerBatch(REINFORCE, "MlpPolicy", "Logging-v0", [1, 2]).learn(30)
    first = batch.episodes[0].returns
    second = batch.learn(30).episodes[0].returns[len(first) :]
    assert not set(first) & set(second)


def assert_same(one: LearnerBatch, other: LearnerBatch) -> None:
    """Checks that two batches are equal bit for bit."""
    np.testing.assert_array_equal(learner_weights(one), learner_weights(other))
    np.testing.assert_array_equal(one.num_timesteps, other.num_timesteps)
    for mine, others in zip(one.episodes, other.episodes, strict=True):
        np.testing.assert_array_equal(mine.returns, others.returns)
        np.testing.assert_array_equal(mine.steps, others.steps)
    for name, values in one.logs.items():
        np.testing.assert_array_equal(values, other.logs[name])


RESUMED = [
    {"n_steps": 4, "n_envs": 2, "policy_kwargs": {"optimizer_class": torch.optim.Adam}},
    {"algorithm": REINFORCE, "env": "CartPole-v1", "n_envs": 2},
    {"n_steps": 8, "batch_size": 3, "n_epochs": 2, "env": "PGToy-Pixelcopter-v0"},
]


@pytest.mark.parametrize("arguments", RESUMED, ids=str)
def test_a_loaded_batch_continues_bit_for_bit(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    batch = play([4, 1, 2], 41, **arguments)
    batch.save(tmp_path / "batch")
    loaded = LearnerBatch.load(tmp_path / "batch")
    assert_same(loaded, batch)
    assert_same(loaded.learn(57), batch.learn(57))


@pytest.mark.parametrize("arguments", RESUMED, ids=str)
def test_a_learn_is_finished_from_a_file_that_a_callback_saved(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "batch.learners"
    given: dict[str, Any] = {"algorithm": ActorCritic, "env": SEQUENCE, **arguments}
    calls = []

    def save(batch: LearnerBatch) -> None:
        calls.append(0)
        if len(calls) == 37:
            batch.save(path)

    batch = LearnerBatch(policy="MlpPolicy", seeds=[4, 1, 2], **given).learn(120, save)
    assert_same(LearnerBatch.load(path).learn(None), batch)


def test_whole_episodes_are_resumed_where_the_environment_has_no_state(
    tmp_path: Path,
) -> None:
    batch = play([1, 2], env="Logging-v0", n_episodes=1)
    batch.save(tmp_path / "batch")
    assert_same(LearnerBatch.load(tmp_path / "batch").learn(30), batch.learn(30))
    within = play([1, 2], env="Logging-v0", n_steps=4)
    with pytest.raises(ValueError, match="has no get_state"):
        within.save(tmp_path / "other")
    assert not (tmp_path / "other.learners").exists()


def _save_for_ever(path: Path) -> None:
    batch = play([1, 2], n_steps=4)
    while True:
        batch.learn(8)
        batch.save(path)


def test_a_file_is_whole_although_the_process_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "batch.learners"
    process = multiprocessing.get_context("fork").Process(
        target=_save_for_ever, args=(path,)
    )
    process.start()
    while not path.exists():
        time.sleep(0.01)
    for _ in range(3):
        time.sleep(0.03)
        assert len(LearnerBatch.load(path).models) == 2
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    batch = LearnerBatch.load(path)
    assert batch.learn(8).num_timesteps[0] % 8 == 4


def test_numbers_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "batch.learners"
    batch = play([1, 2], learning_rate=1e38, n=0)
    batch.save(path)
    content = path.read_bytes()
    with pytest.raises(NonFiniteError, match="weights of"):
        batch.learn(100)
    with pytest.raises(NonFiniteError, match="not saved"):
        batch.save(path)
    assert path.read_bytes() == content


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch.learners"
    play([1]).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(ValueError, match="cut off or damaged"):
        LearnerBatch.load(path)
    path.write_bytes(b"PK" + content)
    with pytest.raises(ValueError, match="was not written by"):
        LearnerBatch.load(path)
    with pytest.raises(FileNotFoundError):
        LearnerBatch.load(tmp_path / "none")


@pytest.mark.parametrize("n_envs", [1, 2])
def test_a_model_predicts_is_saved_and_learns_on(n_envs: int, tmp_path: Path) -> None:
    batch = LearnerBatch(
        ActorCritic, "MlpPolicy", SEQUENCE, [5, 7], n_envs, n_steps=4, ent_coef=0.1
    ).learn(80)
    assert len(batch.models) == 2
    model = batch.models[1]
    assert batch.models[-1] is model
    assert batch.models[:1] == [batch.models[0]]
    assert isinstance(model, ActorCritic)
    assert model.seed == 7
    assert model.num_timesteps == batch.num_timesteps[1] == 80
    assert model._n_updates == batch.n_updates[1] == 80 // (4 * n_envs)
    returns = [info["r"] for info in model.ep_info_buffer or ()]
    assert returns == batch.episodes[1].returns[-100:].tolist()
    obs = np.eye(batch.models[1].observation_space.shape[0], dtype=np.float32)  # type: ignore[index]
    probabilities = batch.action_probabilities(obs, np.array([1]))[0]
    actions, _ = model.predict(obs, deterministic=True)
    np.testing.assert_array_equal(actions, probabilities.argmax(1))
    model.save(tmp_path / "model")
    loaded = ActorCritic.load(tmp_path / "model", env=model.env)
    np.testing.assert_array_equal(weights(loaded), weights(model))
    before = weights(model)
    model.learn(40, reset_num_timesteps=False)
    assert model.num_timesteps == 120
    assert (weights(model) != before).any()
    # The batch goes on from its own weights, and has new models afterwards.
    batch.learn(8)
    assert batch.models[1] is not model
    assert batch.models[1].num_timesteps == 88
    batch.close()
    batch.models[1].learn(4)


def test_monitor_files_are_those_of_sb3_and_read_by_pg_agents(tmp_path: Path) -> None:
    batch = play([0, 11], 200, monitor_dir=tmp_path / "runs", n_steps=5)
    for seed, episodes in zip(batch.seeds, batch.episodes, strict=True):
        folder = tmp_path / "runs" / f"seed-{seed:04d}"
        # What SB3's load_results reads with pandas: a comment, a header, the rows.
        (file,) = get_monitor_files(str(folder))
        comment, *lines = Path(file).read_text().splitlines()
        assert comment.startswith("#{")
        rows = list(csv.DictReader(lines))
        assert [float(row["r"]) for row in rows] == episodes.returns.tolist()
        assert [int(row["l"]) for row in rows] == episodes.lengths.tolist()
        read = read_monitor(folder / "monitor.csv")
        for one, other in zip(read, episodes, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    assert (np.diff(read.steps) >= 0).all()
    # The files of a loaded batch go on where those of the saved one end.
    batch.save(tmp_path / "batch")
    LearnerBatch.load(tmp_path / "batch").learn(100)
    longer = read_monitor(folder / "monitor.csv")
    assert len(longer.returns) > len(read.returns)
    np.testing.assert_array_equal(longer.returns[: len(read.returns)], read.returns)


@pytest.mark.parametrize("n_envs", [1, 2])
def test_records_hold_what_happened_to_each_learner(n_envs: int) -> None:
    batch = LearnerBatch(REINFORCE, "MlpPolicy", SEQUENCE, [5, 7, 8], n_envs)
    obs = np.eye(batch.models[0].observation_space.shape[0], dtype=np.float32)  # type: ignore[index]
    recorder = BatchRecorder(batch, obs, every=3)
    start = batch.action_probabilities(obs)
    batch.learn(90, recorder)
    end = batch.action_probabilities(obs)
    records = recorder.records
    for r, record in enumerate(records):
        steps = np.arange(1, len(record.rewards) + 1) * n_envs
        np.testing.assert_array_equal(record.reward_timesteps, steps)
        assert record.reward_timesteps[-1] == batch.num_timesteps[r]
        if n_envs == 1:
            total = record.episode_returns.sum()
            assert record.rewards.sum() == pytest.approx(total, abs=1e-4)
        np.testing.assert_array_equal(record.action_probabilities[0], start[r])
        np.testing.assert_array_equal(record.action_probabilities[-1], end[r])
        np.testing.assert_allclose(record.action_probabilities.sum(2), 1.0)
        assert (np.diff(record.probability_timesteps) > 0).all()
        assert len(record.policy_losses) == batch.n_updates[r]
        n_recorded = 1 + -(-batch.n_updates[r] // 3)
        assert len(record.action_probabilities) == n_recorded
        assert np.isfinite(record.policy_losses).all()
        np.testing.assert_array_equal(record.episode_timesteps, batch.episodes[r].steps)
    # One that begins later holds what comes later.
    later = BatchRecorder(batch)
    batch.learn(30, later)
    first, second = records[0], later.records[0]
    assert second.reward_timesteps[0] == first.reward_timesteps[-1] + n_envs
    assert second.action_probabilities.shape == (0, 0, 0)
    n_episodes = len(first.episode_returns) + len(second.episode_returns)
    assert n_episodes == len(batch.episodes[0].returns)


def test_an_episode_without_end_is_truncated_with_a_warning() -> None:
    batch = LearnerBatch(
        REINFORCE,
        "MlpPolicy",
        BANDIT,
        [1, 2],
        n_envs=2,
        env_kwargs={"max_episode_steps": -1},
        max_episode_steps=5,
    )
    with pytest.warns(UserWarning, match="still running after 5 steps"):
        batch.learn(40)
    assert batch.num_timesteps.tolist() == [40, 40]
    assert batch.episodes[1].lengths.tolist() == [5] * 8


def test_logits_of_a_table_stay_within_their_bound() -> None:
    batch = LearnerBatch(
        REINFORCE,
        "TabularPolicy",
        BANDIT,
        range(8),
        env_kwargs={"observation": "index"},
        n_steps=2,
        learning_rate=50.0,
        policy_kwargs={"max_logit": 3.0},
    ).learn(40)
    largest = max(np.abs(weights(model)).max() for model in batch.models)
    assert largest == 3.0


@pytest.mark.parametrize("learning_rate", [1e38, 1e30])
def test_numbers_that_are_not_finite_stop_the_training(learning_rate: float) -> None:
    batch = LearnerBatch(
        ActorCritic,
        "MlpPolicy",
        "Logging-v0",
        [6, 9],
        learning_rate=learning_rate,
        env_kwargs={"actions": "box"},
        max_grad_norm=None,
    )
    with pytest.raises(NonFiniteError, match="learner with seed 6"):
        batch.learn(100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "seeds must be a sequence"),
        ({"seeds": 3}, "seeds must be a sequence"),
        ({"seeds": [1, 1]}, "must differ"),
        ({"seeds": [-1]}, "each of seeds"),
        ({"seed": 1}, "pass seeds"),
        ({"n_envs": 0}, "n_envs must be"),
        ({"env": "NoSuchEnv-v0"}, "can't be made"),
        ({"env": LoggingEnv}, "must be the id"),
        ({"algorithm": PolicyGradientAlgorithm}, "must be REINFORCE or ActorCritic"),
        ({"device": "cuda"}, "single models"),
        ({"memory_size": 100}, "memory_size=100.*single models"),
        (
            {"target_update_interval": 2, "baseline": "value", "bootstrap": True},
            "target_update_interval=2.*single models",
        ),
        ({"use_sde": True}, "single models"),
        ({"tensorboard_log": "logs"}, "single models"),
        ({"gradients": "autograd"}, "'autograd' was passed.*single models"),
        ({"baseline": "mean"}, "compares trajectories"),
        ({"learning_rat": 1.0}, "learning_rat"),
        (
            {"policy_kwargs": {"activation_fn": torch.nn.ELU}},
            "a layer is a ELU.*single models",
        ),
    ],
    ids=str,
)
def test_what_a_batch_does_not_support_is_named(
    changes: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {
        "algorithm": REINFORCE,
        "policy": "MlpPolicy",
        "env": SEQUENCE,
        "seeds": [1, 2],
        **changes,
    }
    with pytest.raises((ValueError, TypeError), match=message):
        LearnerBatch(**arguments)


def test_wrong_arguments_of_learn_are_named() -> None:
    batch = LearnerBatch(REINFORCE, "MlpPolicy", SEQUENCE, [1])
    with pytest.raises(ValueError, match="total_timesteps"):
        batch.learn(-1)
    with pytest.raises(TypeError, match="callback"):
        batch.learn(10, "stop")  # type: ignore[arg-type]
    assert batch.learn(0).num_timesteps.tolist() == [0]
    with pytest.raises(ValueError, match="every"):
        BatchRecorder(batch, every=0)
    box = LearnerBatch(
        REINFORCE, "MlpPolicy", "Logging-v0", [1], env_kwargs={"actions": "box"}
    )
    with pytest.raises(ValueError, match=r"obs_shape = \(1,\)"):
        BatchRecorder(batch, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="Discrete"):
        BatchRecorder(box, np.zeros((1, 3)))


def test_the_bar_counts_the_steps_of_all_learners(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of a last rollout too: 100 steps of one episode, where 20 are asked for."""
    batch = LearnerBatch(REINFORCE, "MlpPolicy", BANDIT, seeds=range(3))
    batch.learn(20, progress_bar=True)
    shown = capsys.readouterr().err
    assert "0/60 steps" in shown
    assert "300/300 steps, 3 episodes, 0 of 3 learning" in shown
    batch.learn(20)
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="progress_bar"):
        batch.learn(20, progress_bar="yes")  # type: ignore[arg-type]
