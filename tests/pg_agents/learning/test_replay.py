"""Replay memory: its contents, its draws, and the correction of old rollouts."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents import REINFORCE, ActorCritic
from pg_agents.learning.replay import ReplayMemory, random_steps
from pg_agents.rollout.data import Batch
from pg_envs import make_torch_vec, oracle
from pg_envs.sequence import sequence_mdp

SEQUENCE = "pg_envs:PGToy-Sequence-v0"


def numbered(start: int, n: int, n_samples: float) -> Batch:
    numbers = torch.arange(start, start + n, dtype=torch.float32)
    return Batch(
        observations={"n": numbers},
        actions=numbers.long(),
        advantages=numbers,
        returns=numbers,
        old_values=numbers,
        old_log_prob=numbers,
        n_samples=n_samples,
    )


def test_random_steps_are_distinct_and_among_the_newest() -> None:
    memory: ReplayMemory[Batch] = ReplayMemory(10)
    for start in (0, 4, 8, 12):
        memory.add(numbered(start, 4, n_samples=2), 4)
    batch = random_steps(memory, None)
    # Steps 6 to 15 of 16. Two episodes in four steps are five in ten.
    assert sorted(batch.actions.tolist()) == list(range(6, 16))
    assert batch.n_samples == pytest.approx(5.0)
    batch = random_steps(memory, 4)
    assert len(set(batch.actions.tolist())) == len(batch) == 4
    assert batch.n_samples == pytest.approx(2.0)
    torch.testing.assert_close(batch.observations["n"].long(), batch.actions)


def test_of_a_rollout_larger_than_the_memory_the_newest_steps_are_drawn() -> None:
    memory: ReplayMemory[Batch] = ReplayMemory(3)
    memory.add(numbered(0, 8, n_samples=1), 8)
    assert len(memory) == 8
    assert sorted(random_steps(memory, None).actions.tolist()) == [5, 6, 7]


def test_a_memory_can_be_pickled() -> None:
    memory: ReplayMemory[Batch] = ReplayMemory(10)
    memory.add(numbered(0, 4, 1), 4)
    copy = pickle.loads(pickle.dumps(memory))
    assert len(copy) == 4
    torch.testing.assert_close(
        copy.rollouts[0].observations, memory.rollouts[0].observations
    )


class RecordUpdates(BaseCallback):
    """Stores the number of updates at the start of each rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.updates: list[int] = []

    def _on_rollout_start(self) -> None:
        self.updates.append(self.model._n_updates)

    def _on_step(self) -> bool:
        return True


def test_updates_begin_with_learning_starts() -> None:
    """After each episode, once there are 256 steps, two updates on 256 of 512."""
    callback = RecordUpdates()
    model = REINFORCE(
        "MlpPolicy",
        "CartPole-v1",
        memory_size=512,
        learning_starts=256,
        gradient_steps=2,
        batch_size=256,
        replay="returns",
        seed=0,
    )
    sizes = []
    loss = model.loss

    def counted(batch: Batch) -> Any:
        sizes.append(len(batch))
        return loss(batch)

    model.loss = counted  # type: ignore[method-assign]
    model.learn(1500, callback=callback)
    assert set(sizes) == {256}
    assert isinstance(model.replay_memory, ReplayMemory)
    assert 512 <= len(model.replay_memory) < 512 + 500
    steps = np.diff([*callback.updates, model._n_updates])
    assert sorted(set(steps)) == [0, 2]
    assert list(steps) == sorted(steps)


N_EPISODES = 4_000


@pytest.mark.parametrize("replay", ["importance", "returns"])
def test_importance_corrected_episodes_give_the_exact_gradient(replay: Any) -> None:
    """The oracle's gradient of the current policy, from episodes of another policy.

    4,000 environments, one episode each, 5 standard errors for each of 9 entries: a
    false alarm in 200,000 runs. `"returns"` is biased by more than 20 of them.
    """
    mdp = sequence_mdp(observation="index")
    env = make_torch_vec(
        "PGToy-Sequence-v0", N_EPISODES, observation="index", max_episode_steps=6
    )
    gamma, horizon = 0.9, 6
    model = REINFORCE(
        "TabularPolicy",
        env,
        gamma=gamma,
        weight_by_gamma_t=True,
        memory_size=1,
        replay=replay,
        learning_rate=0.0,
        seed=1,
    )
    model.learn(1)
    generator = np.random.default_rng(2)
    logits = generator.normal(size=(3, 3), scale=0.7)
    model.policy.action_net.weight.data = torch.as_tensor(logits.T, dtype=torch.float32)
    batch = (
        model.learner.replayed_batch()
        if replay == "importance"
        else model.rollout_buffer.batch()
    )
    pi = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    # Gradient of each step by logits: w (1[a] - pi(. | s)).
    states, actions = batch.observations.numpy(), batch.actions.numpy()
    score = np.eye(3)[actions] - pi[states]
    shares = np.zeros((len(states), 3, 3))
    shares[np.arange(len(states)), states] = batch.advantages.numpy()[:, None] * score
    exact = pi * oracle.return_gradient(mdp, pi, gamma, horizon)
    exact -= pi * exact.sum(1, keepdims=True)
    estimate = shares.sum(0) / batch.n_samples
    assert batch.n_samples == N_EPISODES
    # The episode of each step, in time order.
    recorded = model.rollout_buffer.recorded
    episode = np.broadcast_to(np.arange(N_EPISODES), recorded.shape)[recorded]
    by_episode = np.zeros((N_EPISODES, 3, 3))
    np.add.at(by_episode, episode, shares)
    error = by_episode.std(0, ddof=1) / np.sqrt(N_EPISODES)
    off = np.abs(estimate - exact) / np.maximum(error, 1e-12)
    if replay == "importance":
        assert off.max() < 5.0
    else:
        assert off.max() > 20.0


@pytest.mark.parametrize("estimator", ["gae", "td"])
def test_v_trace_on_policy_is_the_estimate_without_a_memory(
    estimator: Any,
) -> None:
    settings: dict[str, Any] = {
        "estimator": estimator,
        "gae_lambda": 0.9 if estimator == "gae" else 1.0,
        "n_steps": 16,
        "learning_rate": 0.0,
        "seed": 0,
    }
    model = ActorCritic("MlpPolicy", SEQUENCE, memory_size=1, **settings)
    model.learn(16)
    fresh, replayed = model.rollout_buffer.batch(), model.learner.replayed_batch()
    torch.testing.assert_close(replayed.advantages, fresh.advantages)
    torch.testing.assert_close(replayed.returns, fresh.returns)


def test_replay_with_each_kind_of_space() -> None:
    cases: list[dict[str, Any]] = [
        {"env": SEQUENCE, "policy": "MlpPolicy"},
        {"env": "Pendulum-v1", "policy": "MlpPolicy"},
        {"env": "FrozenLake-v1", "policy": "TabularPolicy"},
    ]
    for arguments in cases:
        model = ActorCritic(
            **arguments, memory_size=64, gradient_steps=3, learning_starts=20, seed=0
        )
        model.learn(100)
        # None before 20 steps, then three updates every 5.
        assert model._n_updates == 3 * (100 - 20) // 5 + 3
