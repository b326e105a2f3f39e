"""Complete episodes: arrays for the checker, batches for the code it checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pg_agents.checker.task import Array, Task
from pg_envs.dynamics import add_noise, advance, initial_state, make_tables

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """The B steps of complete episodes, concatenated.

    Attributes:
        state: `[B]` int64.
        action: `[B]` int64.
        reward: `[B]` float64.
        next_state: `[B]` int64, also at the end of an episode (no autoreset).
        terminated: `[B]` bool.
        truncated: `[B]` bool, whether the time limit ended the episode.
        time: `[B]` int64, time step within the episode.
        episode: `[B]` int64, index of the episode.
    """

    state: IntArray
    action: IntArray
    reward: Array
    next_state: IntArray
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    time: IntArray
    episode: IntArray

    @property
    def n_episodes(self) -> int:
        """Number of episodes."""
        return int(self.episode[-1]) + 1

    def lengths(self) -> IntArray:
        """Returns the number of steps of each episode, `[E]`."""
        return np.bincount(self.episode)


def joined(parts: Sequence[Steps]) -> Steps:
    """Returns the episodes of several samples, one after the other."""
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Steps)
    }
    starts = np.cumsum([0, *(part.n_episodes for part in parts[:-1])])
    columns["episode"] += np.repeat(starts, [len(part.episode) for part in parts])
    return Steps(**columns)


def sample_episodes(
    task: Task, policy: Array, n_episodes: int, rng: np.random.Generator
) -> Steps:
    """Samples complete episodes, all in parallel.

    Args:
        task: MDP and time limit.
        policy: `[S, A]`, pi(a|s).
        n_episodes: number of episodes, E.
        rng: random generator.

    Returns:
        The steps, ordered by episode and time.
    """
    tables = make_tables(task.mdp)
    cumulative = np.cumsum(policy, axis=1)[:, :-1]
    episode = np.arange(n_episodes)
    state = initial_state(tables, rng.random(n_episodes))
    rows = []
    for t in range(task.horizon):
        draws = rng.random((4, len(state)))
        action = (draws[0][:, None] >= cumulative[state]).sum(axis=-1)
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
    """T transitions as tensors.

    Attributes:
        observations: `[T, *obs_shape]`, observations before each action.
        actions: `[T]` int64.
        rewards: `[T]` float32; `rewards[t]` follows `actions[t]`.
        next_observations: `[T, *obs_shape]`, observations after each action, final ones
            included.
        terminated: `[T]` bool; True where a terminal state ended the episode.
        truncated: `[T]` bool; True where the time limit ended it.
        values: `[T]` float32, value of each state: that of the critic or, without one,
            the exact value.
        next_values: `[T]` float32, value of the next state, computed even where the
            episode ended. The exact value is 0 if the time limit is part of the task
            and no step is left.
        time: `[T]` int64, time step within the episode.
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
    """One complete episode of T steps.

    Attributes:
        observations, actions, rewards, next_observations, terminated, truncated,
        values, next_values, time: `[T, ...]`, see `StepColumns`.
        env: index of the environment that it was sampled in.
        started: steps that this environment had taken before the episode.
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
    """E complete episodes: a sequence of `Episode`, and all their B steps concatenated.

    The episodes come from `n_envs` parallel environments, E / n_envs consecutive ones
    from each; an episode ended at step `started + len(episode)` of its environment.

    Attributes:
        observations, actions, rewards, next_observations, terminated, truncated,
        values, next_values, time: all steps, `[B, ...]`, see `StepColumns`.
        episode: `[B]` int64, index of each step's episode, 0 to E - 1.
        lengths: number of steps of each episode.
        started: start step of each episode, see `Episode`.
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
        parts = (getattr(self, name).split(self.lengths) for name in _COLUMNS)
        for i, columns in enumerate(zip(*parts, strict=True)):
            yield self._episode(i, columns)

    def __getitem__(self, index: int) -> Episode:
        """Returns one episode; its tensors are views."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"the batch has {len(self)} episodes, got index {index}")
        index %= len(self)
        start = sum(self.lengths[:index])
        cut = slice(start, start + self.lengths[index])
        return self._episode(index, [getattr(self, name)[cut] for name in _COLUMNS])

    def _episode(self, index: int, columns: Sequence[Tensor]) -> Episode:
        return Episode(
            **dict(zip(_COLUMNS, columns, strict=True)),
            env=index // (len(self) // self.n_envs),
            started=self.started[index],
            gamma=self.gamma,
        )


_COLUMNS = tuple(field.name for field in fields(StepColumns))


def batches(
    steps: Steps,
    task: Task,
    policy: Array,
    size: int,
    n_envs: int,
    critic: Array | None = None,
) -> Iterator[EpisodeBatch]:
    """Splits episodes into batches for the code under test.

    Args:
        steps: complete episodes, a multiple of `size` of them.
        task: the task that they were sampled from.
        policy: `[S, A]`, the policy that sampled them.
        size: episodes per batch, a multiple of `n_envs`.
        n_envs: environments that the episodes of a batch are distributed over.
        critic: `[S]`, the values in the batches; None for the exact ones.

    Yields:
        Batches of fresh tensors, which the code under test may write into.
    """
    observations = task.mdp.observations
    values = (
        task.values(policy)
        if critic is None
        else np.broadcast_to(critic, (task.horizon + 1, len(critic)))
    )
    columns = {
        "observations": torch.as_tensor(observations[steps.state]),
        "actions": torch.as_tensor(steps.action),
        "rewards": torch.as_tensor(steps.reward).float(),
        "next_observations": torch.as_tensor(observations[steps.next_state]),
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
    per_env = lengths.reshape(-1, n_envs, size // n_envs)
    started = (np.cumsum(per_env, axis=-1) - per_env).reshape(-1, size)
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
