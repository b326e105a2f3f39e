"""Complete episodes, sampled from the tables, and split into batches."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pg_agents.checker.episodes import EpisodeBatch, Steps, batches, sample_episodes
from pg_agents.checker.task import Task
from pg_envs import bandit_mdp, oracle
from tests.pg_envs.tabular_examples import (
    assert_frequencies,
    assert_gaussian,
    random_mdp,
    random_policy,
    two_step_mdp,
)

Floats = NDArray[np.float64]
COLUMNS = (
    "observations actions rewards next_observations terminated truncated values "
    "next_values time"
).split()


def play(task: Task, n_episodes: int, seed: int = 0) -> tuple[Steps, Floats]:
    policy = random_policy(task.mdp)
    rng = np.random.default_rng(seed)
    return sample_episodes(task, policy, n_episodes, rng), policy


def dense(horizon: int = 6, bootstrap: bool = False) -> Task:
    return Task(random_mdp(5), "dense", 0.9, horizon, bootstrap)


def test_steps_are_whole_episodes_of_the_tables() -> None:
    task = dense()
    steps, _ = play(task, 500)
    lengths = steps.lengths()
    assert (steps.n_episodes, lengths.sum()) == (500, len(steps.state))
    assert (lengths.min() >= 1) and (lengths.max() == 6)
    time = np.concatenate([np.arange(n) for n in lengths])
    np.testing.assert_array_equal(steps.episode, np.repeat(np.arange(500), lengths))
    np.testing.assert_array_equal(steps.time, time)
    # The last step of an episode, and no other, is terminated or truncated.
    last = np.append(np.diff(steps.episode) == 1, True)
    np.testing.assert_array_equal(steps.terminated ^ steps.truncated, last)
    assert not (steps.terminated & steps.truncated).any()
    # At the time limit both ends occur.
    at_limit = steps.time == 5
    np.testing.assert_array_equal(steps.truncated, at_limit & ~steps.terminated)
    assert steps.truncated.any() and (at_limit & steps.terminated).any()
    # Each state is the next state of the step before.
    inside = ~last[:-1]
    np.testing.assert_array_equal(
        steps.next_state[:-1][inside], steps.state[1:][inside]
    )
    where = steps.state, steps.action, steps.next_state
    np.testing.assert_allclose(steps.reward, task.mdp.reward[where])
    np.testing.assert_array_equal(steps.terminated, task.mdp.terminal[where])


def test_state_frequencies_agree_with_the_oracle_at_every_time() -> None:
    """Shares of 20,000 episodes, for every time and state.

    The standard error of a share is sqrt(p (1 - p) / E), at most 0.0035. One of the 36
    is more than 4.5 of them off in one run of 4,000, over the choice of the seed.
    """
    task, n = dense(), 20_000
    steps, policy = play(task, n)
    before = np.zeros(task.mdp.n_states)
    for t in range(task.horizon):
        until = oracle.occupancy(task.mdp, policy, 1.0, t + 1)
        p, before = until - before, until
        here = steps.state[steps.time == t]
        share = np.bincount(here, minlength=len(p)) / n
        assert (np.abs(share - p) <= 4.5 * np.sqrt(p * (1.0 - p) / n)).all()


def test_actions_and_transitions_have_their_probabilities() -> None:
    """A chi-square test of transitions; 4.5 s.e. of the actions' shares.

    The standard error of an action's share in n visits is sqrt(p (1 - p) / n); of the
    24 shares one is too far off in one run of 6,000, over the choice of the seed.
    """
    task = dense()
    steps, policy = play(task, 20_000)
    assert_frequencies(task.mdp, steps.state, steps.action, steps.next_state)
    counts = np.zeros(policy.shape)
    np.add.at(counts, (steps.state, steps.action), 1)
    visits = counts.sum(axis=1, keepdims=True)
    error = np.sqrt(policy * (1.0 - policy) / visits)
    assert (np.abs(counts / visits - policy) <= 4.5 * error).all()


def test_reward_noise_is_independent_at_every_step() -> None:
    """Mean and deviation of 10,000 rewards; see `assert_gaussian` for false alarms."""
    mdp = bandit_mdp((0.5, 0.5), reward_noise="gaussian", noise_scale=2.0)
    steps, _ = play(Task(mdp, "", 0.9, 10), 1_000)
    assert_gaussian(steps.reward, 0.5, 2.0)
    assert abs(np.corrcoef(steps.reward[:-1], steps.reward[1:])[0, 1]) < 0.04


def make_batches(
    task: Task, n_batches: int = 3, size: int = 6, n_envs: int = 2
) -> tuple[list[EpisodeBatch], Steps, Floats]:
    steps, policy = play(task, n_batches * size)
    return list(batches(steps, task, policy, size, n_envs)), steps, policy


def test_batches_hold_all_steps_in_order() -> None:
    task = Task(two_step_mdp(), "", 0.9, 5)
    made, steps, _ = make_batches(task)
    seen = task.mdp.observations
    expected = {
        "observations": seen[steps.state],
        "next_observations": seen[steps.next_state],
        "actions": steps.action,
        "rewards": steps.reward,
        "terminated": steps.terminated,
        "truncated": steps.truncated,
        "time": steps.time,
        "episode": steps.episode % 6,
    }
    for name, column in expected.items():
        found = torch.cat([getattr(batch, name) for batch in made]).numpy()
        np.testing.assert_allclose(found, column, rtol=1e-6)
    assert [len(batch) for batch in made] == [6, 6, 6]
    assert made[0].rewards.dtype == made[0].values.dtype == torch.float32
    assert made[0].actions.dtype == torch.int64


def test_an_episode_is_a_slice_of_its_batch() -> None:
    made, _, _ = make_batches(dense())
    for batch in made:
        episodes = list(batch)
        assert tuple(len(e) for e in episodes) == batch.lengths
        for name in COLUMNS:
            whole = torch.cat([getattr(e, name) for e in episodes])
            assert torch.equal(whole, getattr(batch, name))
        for i, episode in enumerate(episodes):
            mine = batch.episode == i
            assert torch.equal(episode.rewards, batch.rewards[mine])
            assert episode.time.tolist() == list(range(len(episode)))
            assert episode.gamma == batch.gamma == 0.9
            assert torch.equal(batch[i - 6].rewards, episode.rewards)
            assert batch[i - 6].started == batch[i].started == batch.started[i]
        for index in (6, -7):
            with pytest.raises(IndexError, match=f"has 6 episodes, got index {index}"):
                batch[index]


def test_each_environment_has_consecutive_episodes() -> None:
    """Six episodes over two environments: 0 1 2 in the first, 3 4 5 in the second."""
    made, _, _ = make_batches(dense())
    for batch in made:
        a = batch.lengths
        assert [e.env for e in batch] == [0, 0, 0, 1, 1, 1]
        assert batch.started == (0, a[0], a[0] + a[1], 0, a[3], a[3] + a[4])
        assert tuple(e.started for e in batch) == batch.started
    for n_envs, envs in ((1, [0] * 6), (3, [0, 0, 1, 1, 2, 2]), (6, list(range(6)))):
        (batch, *_), _, _ = make_batches(dense(), n_envs=n_envs)
        assert [e.env for e in batch] == envs


@pytest.mark.parametrize("bootstrap", [False, True])
def test_values_are_exact_and_zero_beyond_a_limit_of_the_task(bootstrap: bool) -> None:
    """Compared with values for the number of steps left."""
    task = dense(4, bootstrap)
    made, steps, policy = make_batches(task)
    with_left = [
        oracle.state_values(task.mdp, policy, 0.9, None if bootstrap else k)
        for k in range(5)
    ]
    pairs = list(zip(steps.time, steps.state, steps.next_state, strict=True))
    values = [with_left[4 - t][s] for t, s, _ in pairs]
    later = [with_left[3 - t][x] for t, _, x in pairs]
    found = (
        torch.cat([b.values for b in made]),
        torch.cat([b.next_values for b in made]),
    )
    np.testing.assert_allclose(found[0], values, rtol=1e-5)
    np.testing.assert_allclose(found[1], later, rtol=1e-5)
    assert steps.truncated.any()
    behind = found[1][torch.as_tensor(steps.truncated)]
    assert bool((behind != 0).all()) is bootstrap


def test_writing_into_a_batch_does_not_change_others() -> None:
    task = dense()
    steps, policy = play(task, 12)
    kept = {f.name: np.array(getattr(steps, f.name)) for f in fields(Steps)}
    seen = task.mdp.observations.copy()
    clean = list(batches(steps, task, policy, 6, 2))
    stream = batches(steps, task, policy, 6, 2)
    first = next(stream)
    for name in (*COLUMNS, "episode"):
        getattr(first, name).fill_(1)
    second = next(stream)
    for name in (*COLUMNS, "episode"):
        assert torch.equal(getattr(second, name), getattr(clean[1], name))
    for name, column in kept.items():
        np.testing.assert_array_equal(getattr(steps, name), column)
    np.testing.assert_array_equal(task.mdp.observations, seen)
