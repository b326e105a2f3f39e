"""Replay: what is kept, what is drawn, and that old rollouts are corrected exactly."""

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


def test_the_newest_steps_are_kept_and_each_is_drawn_once() -> None:
    memory: ReplayMemory[Batch] = ReplayMemory(10)
    for start in (0, 4, 8, 12):
        memory.add(numbered(start, 4, n_samples=2), 4)
    everything = random_steps(memory, None)
    # Steps 6 to 15 of 16: two episodes in four steps make five in ten.
    assert sorted(everything.actions.tolist()) == list(range(6, 16))
    assert everything.n_samples == pytest.approx(5.0)
    some = random_steps(memory, 4)
    assert len(set(some.actions.tolist())) == len(some) == 4
    assert some.n_samples == pytest.approx(2.0)
    torch.testing.assert_close(some.observations["n"].long(), some.actions)


def test_a_rollout_larger_than_the_memory_is_kept_whole_but_not_drawn_whole() -> None:
    memory: ReplayMemory[Batch] = ReplayMemory(3)
    memory.add(numbered(0, 8, n_samples=1), 8)
    assert len(memory) == 8
    assert sorted(random_steps(memory, None).actions.tolist()) == [5, 6, 7]


def test_a_memory_survives_pickling() -> None:
    memory: ReplayMemory[Batch] = ReplayMemory(10)
    memory.add(numbered(0, 4, 1), 4)
    again = pickle.loads(pickle.dumps(memory))
    assert len(again) == 4
    torch.testing.assert_close(
        again.rollouts[0].observations, memory.rollouts[0].observations
    )


class Counter(BaseCallback):
    """Keeps the number of updates at the start of each rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.updates: list[int] = []

    def _on_rollout_start(self) -> None:
        self.updates.append(self.model._n_updates)

    def _on_step(self) -> bool:
        return True


def test_row_reinforce_memory() -> None:
    """512 steps kept; after each episode, once there are 256, two steps on 256."""
    counter = Counter()
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
    drawn = []
    loss = model.loss

    def watched(batch: Batch) -> Any:
        drawn.append(len(batch))
        return loss(batch)

    model.loss = watched  # type: ignore[method-assign]
    model.learn(1500, callback=counter)
    assert set(drawn) == {256}
    assert isinstance(model.replay_memory, ReplayMemory)
    assert 512 <= len(model.replay_memory) < 512 + 500
    steps = np.diff([*counter.updates, model._n_updates])
    assert sorted(set(steps)) == [0, 2]
    # Nothing first, and two steps after every episode from then on.
    assert list(steps) == sorted(steps)


N_EPISODES = 4_000


@pytest.mark.parametrize("replay", ["importance", "returns"])
def test_replayed_episodes_of_an_older_policy_give_the_exact_gradient_if_corrected(
    replay: Any,
) -> None:
    """The oracle's gradient at the policy of now, from episodes of another policy.

    4,000 environments, one episode each. Every entry of the estimate is a mean over
    episodes; the test allows 5 of its standard errors. 9 entries and a normal tail of
    6e-7: a false alarm in 200,000 runs. What `"returns"` does is 20 of them away.
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
    now = generator.normal(size=(3, 3), scale=0.7)
    model.policy.action_net.weight.data = torch.as_tensor(now.T, dtype=torch.float32)
    batch = (
        model.learner.replayed_batch()
        if replay == "importance"
        else model.rollout_buffer.batch()
    )
    pi = np.exp(now) / np.exp(now).sum(1, keepdims=True)
    # Each step's share of the gradient by logits: w (1[a] - pi(. | s)).
    states, actions = batch.observations.numpy(), batch.actions.numpy()
    score = np.eye(3)[actions] - pi[states]
    shares = np.zeros((len(states), 3, 3))
    shares[np.arange(len(states)), states] = batch.advantages.numpy()[:, None] * score
    exact = pi * oracle.return_gradient(mdp, pi, gamma, horizon)
    exact -= pi * exact.sum(1, keepdims=True)
    estimate = shares.sum(0) / batch.n_samples
    assert batch.n_samples == N_EPISODES
    # Which episode is a step of? Rows are in order of time, environment by environment.
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
def test_v_trace_on_the_last_rollout_is_the_update_without_a_memory(
    estimator: Any,
) -> None:
    """Where the policy has not changed all ratios are 1."""
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


def test_old_rollouts_of_every_kind_of_space_are_learnt_from() -> None:
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
        # Nothing before 20 steps, and then three updates every 5.
        assert model._n_updates == 3 * (100 - 20) // 5 + 3


@pytest.mark.parametrize(
    ("algorithm", "arguments", "says"),
    [
        (REINFORCE, {"learning_starts": 5}, "belongs to a replay memory"),
        (REINFORCE, {"gradient_steps": 2}, "belongs to a replay memory"),
        (REINFORCE, {"memory_size": 0}, "memory_size must be an integer >= 1, got 0"),
        (
            REINFORCE,
            {"memory_size": 5, "learning_starts": 6},
            "learning_starts must be at most memory_size=5, got 6",
        ),
        (REINFORCE, {"memory_size": 5, "clip_range": 0.2}, "on-policy data"),
        (REINFORCE, {"memory_size": 5, "n_epochs": 2}, "use gradient_steps"),
        (REINFORCE, {"memory_size": 5, "batch_size": 2}, "no mini-batches"),
        (
            REINFORCE,
            {"memory_size": 5, "returns": "full_return"},
            "returns='reward_to_go'",
        ),
        (
            REINFORCE,
            {"memory_size": 5, "standardize_returns": True},
            "standardize_returns=True",
        ),
        (REINFORCE, {"replay": "v_trace"}, "replay must be one of 'importance', 'ret"),
        (
            ActorCritic,
            {"memory_size": 5, "estimator": "n_step"},
            "estimator='gae' or 'td'",
        ),
        (ActorCritic, {"rho_clip": 0.0}, "rho_clip must be a number > 0, got 0.0"),
    ],
)
def test_what_does_not_go_together_is_refused(
    algorithm: Any, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        algorithm("MlpPolicy", SEQUENCE, **arguments)
