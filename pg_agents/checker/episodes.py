"""Whole episodes: as arrays for the checker, and as a batch for the code it checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pg_agents.checker.task import Table, Task
from pg_envs.dynamics import add_noise, advance, initial_state, make_tables

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """The B steps of many episodes, one episode after the other.

    Attributes:
        state: `[B]` int64.
        action: `[B]` int64.
        reward: `[B]` float64, what followed.
        next_state: `[B]` int64, the state that truly followed, of an ended episode too.
        terminated: `[B]` bool, whether the step ended the episode by the task's rules.
        truncated: `[B]` bool, whether it was cut off after it by the time limit.
        time: `[B]` int64, steps before it in the episode.
        episode: `[B]` int64, the number of the episode, from 0.
    """

    state: Ints
    action: Ints
    reward: Table
    next_state: Ints
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    time: Ints
    episode: Ints

    @property
    def n_episodes(self) -> int:
        """Number of episodes."""
        return int(self.episode[-1]) + 1

    def lengths(self) -> Ints:
        """Returns the number of steps of each episode, `[E]`."""
        return np.bincount(self.episode)


def sample_episodes(
    task: Task, policy: Table, n_episodes: int, rng: np.random.Generator
) -> Steps:
    """Plays whole episodes, all at once.

    Args:
        task: MDP and time limit.
        policy: `[S, A]`, pi(a|s).
        n_episodes: number of episodes, E.
        rng: where the draws come from.

    Returns:
        The steps, in order of episode and time.
    """
    tables = make_tables(task.mdp)
    choice = np.cumsum(policy, axis=1)[:, :-1]
    episode = np.arange(n_episodes)
    state = initial_state(tables, rng.random(n_episodes))
    rows = []
    for t in range(task.horizon):
        draws = rng.random((4, len(state)))
        action = (draws[0][:, None] >= choice[state]).sum(axis=-1)
        step = advance(tables, state, action, draws[1])
        reward = add_noise(tables, step.reward, draws[2], draws[3])
        truncated = ~step.terminated & (t == task.horizon - 1)
        time = np.full(len(state), t)
        rows.append(
            Steps(
                state,
                action,
                reward,
                step.state,
                step.terminated,
                truncated,
                time,
                episode,
            )
        )
        episode, state = episode[~step.terminated], step.state[~step.terminated]
        if not len(state):
            break
    order = np.argsort(np.concatenate([row.episode for row in rows]), kind="stable")
    columns = {
        field.name: np.concatenate([getattr(row, field.name) for row in rows])[order]
        for field in fields(Steps)
    }
    return Steps(**columns)


@dataclass(frozen=True)
class StepColumns:
    """What happened in T steps, as tensors.

    Attributes:
        observations: `[T, *obs_shape]`, what was seen before each action.
        actions: `[T]` int64.
        rewards: `[T]` float32; `rewards[t]` follows `actions[t]`.
        next_observations: `[T, *obs_shape]`, what was truly seen after each action.
        terminated: `[T]` bool; True where the task itself ended the episode.
        truncated: `[T]` bool; True where the time limit cut it off.
        values: `[T]` float32, the exact value of each state: an ideal critic.
        next_values: `[T]` float32, that of the state that truly followed, whether or
            not the episode ended there; 0 where the time limit is part of the task and
            no step is left.
        time: `[T]` int64, steps before it in the episode.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    terminated: Tensor
    truncated: Tensor
    values: Tensor
    next_values: Tensor
    time: Tensor


@dataclass(frozen=True)
class Episode(StepColumns):
    """One whole episode of T steps, as tensors.

    Attributes:
        observations, actions, rewards, next_observations, terminated, truncated,
        values, next_values, time: its steps, `[T, ...]`, see `StepColumns`.
        env: the number of the environment it was played in.
        started: steps that environment had taken before the episode.
        gamma: discount factor.
    """

    env: int
    started: int
    gamma: float

    def __len__(self) -> int:
        """Number of steps, T."""
        return len(self.rewards)


@dataclass(frozen=True)
class EpisodeBatch(StepColumns):
    """E whole episodes: a sequence of `Episode`, or all their B steps in a row.

    The episodes were played in `n_envs` environments side by side, as many in each, one
    after the other; `started + len(episode)` says when an episode ended.

    Attributes:
        observations, actions, rewards, next_observations, terminated, truncated,
        values, next_values, time: all steps, `[B, ...]`, see `StepColumns`.
        episode: `[B]` int64, which episode each step belongs to, 0 to E - 1.
        lengths: E numbers of steps.
        started: E starting times.
        n_envs: number of environments.
        gamma: discount factor.
    """

    episode: Tensor
    lengths: tuple[int, ...]
    started: tuple[int, ...]
    n_envs: int
    gamma: float

    def __len__(self) -> int:
        """Number of episodes, E."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[Episode]:
        """Iterates over the episodes."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Episode:
        """Returns an episode; its tensors are views."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"the batch has {len(self)} episodes, got index {index}")
        index %= len(self)
        start = sum(self.lengths[:index])
        cut = slice(start, start + self.lengths[index])
        columns = {name: getattr(self, name)[cut] for name in _COLUMNS}
        return Episode(
            **columns,
            env=index // (len(self) // self.n_envs),
            started=self.started[index],
            gamma=self.gamma,
        )


_COLUMNS = tuple(field.name for field in fields(StepColumns))


def batches(
    steps: Steps, task: Task, policy: Table, size: int, n_envs: int
) -> Iterator[EpisodeBatch]:
    """Cuts episodes into batches for the code that is checked.

    Args:
        steps: whole episodes, a multiple of `size` of them.
        task: what they were played in.
        policy: `[S, A]`, the policy they were played by.
        size: episodes per batch, a multiple of `n_envs`.
        n_envs: environments the episodes of a batch are shared out over.

    Yields:
        Batches of fresh tensors, so that code that writes into one does no harm.
    """
    seen, values = task.mdp.observations, task.values(policy)
    columns = {
        "observations": torch.as_tensor(seen[steps.state]),
        "actions": torch.as_tensor(steps.action),
        "rewards": torch.as_tensor(steps.reward).float(),
        "next_observations": torch.as_tensor(seen[steps.next_state]),
        "terminated": torch.as_tensor(steps.terminated),
        "truncated": torch.as_tensor(steps.truncated),
        "values": torch.as_tensor(values[steps.time, steps.state]).float(),
        "next_values": torch.as_tensor(
            values[steps.time + 1, steps.next_state]
        ).float(),
        "time": torch.as_tensor(steps.time),
        "episode": torch.as_tensor(steps.episode % size),
    }
    lengths = steps.lengths().reshape(-1, size)
    played = lengths.reshape(-1, n_envs, size // n_envs)
    started = (np.cumsum(played, axis=-1) - played).reshape(-1, size)
    ends = np.cumsum(lengths.sum(axis=1))
    for end, length, start in zip(ends, lengths, started, strict=True):
        cut = slice(end - length.sum(), end)
        yield EpisodeBatch(
            **{name: column[cut].clone() for name, column in columns.items()},
            lengths=tuple(length.tolist()),
            started=tuple(start.tolist()),
            n_envs=n_envs,
            gamma=task.gamma,
        )
