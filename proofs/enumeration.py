"""Small tasks and all their possible rollouts with their probabilities."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pg_envs import TabularMDP, mdp_from_transitions, oracle

Table = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """A tabular environment with a fixed policy.

    Attributes:
        name: label.
        mdp: the transition tables.
        logits: `[S, A]`; the policy is their softmax.
        gamma: discount factor.
        time_limit: steps after which an episode is truncated, or None.
        max_length: number of steps of the longest episode.
    """

    name: str
    mdp: TabularMDP
    logits: Table
    gamma: float
    time_limit: int | None
    max_length: int

    @cached_property
    def pi(self) -> Table:
        """The policy's probabilities, `[S, A]`."""
        exponential = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return np.asarray(exponential / exponential.sum(axis=1, keepdims=True))

    @cached_property
    def mean_length(self) -> float:
        """Expected number of steps of an episode."""
        return float(oracle.occupancy(self.mdp, self.pi, 1.0, self.time_limit).sum())

    def through_softmax(self, by_pi: Table) -> Table:
        """Returns d/dlogits from d/dpi by the chain rule of the softmax."""
        mean = (self.pi * by_pi).sum(axis=1, keepdims=True)
        return np.asarray(self.pi * (by_pi - mean))

    def exact_gradient(self) -> Table:
        """The oracle's gradient of the expected discounted return, `[S, A]`."""
        limit = self.time_limit
        return self.through_softmax(
            oracle.return_gradient(self.mdp, self.pi, self.gamma, limit)
        )


def _branching(time_limit: int | None) -> Task:
    """Returns a task with seven episodes of one to three steps.

    All numbers are exact in float32, so that equal returns are equal after rounding:
    standardising them gives 0, but would give noise if rounding made them differ.
    """
    mdp = mdp_from_transitions(
        {
            0: {
                0: [(0.625, 0, 2.0, True), (0.375, 1, 0.5, False)],
                1: [(1.0, 1, -1.0, False)],
            },
            1: {0: [(1.0, 1, 5.0, True)], 1: [(1.0, 2, 1.0, False)]},
            2: {0: [(1.0, 2, 3.0, True)], 1: [(1.0, 2, -2.0, True)]},
        },
        [1.0, 0.0, 0.0],
    )
    logits = np.array([[0.25, -0.5], [-0.375, 0.5], [0.125, 0.75]])
    name = "limited" if time_limit else "branching"
    return Task(name, mdp, logits, 0.75, time_limit, time_limit or 3)


BRANCHING = _branching(None)
# Truncated after two steps: five episodes, one in three of them truncated.
LIMITED = _branching(2)
# Values of the three states that are not the policy's: a critic with errors.
WRONG_CRITIC = np.array([1.5, -0.5, 2.25])


class Step(NamedTuple):
    """One step of a rollout; `age` is the number of steps before it in its episode."""

    age: int
    state: int
    action: int
    reward: float
    next_state: int
    terminated: bool
    truncated: bool


class Trajectory(NamedTuple):
    """The steps of one environment in a rollout and their probability."""

    probability: float
    steps: tuple[Step, ...]


def _transitions(task: Task, state: int, age: int) -> Iterator[Trajectory]:
    mdp = task.mdp
    pairs = itertools.product(range(mdp.n_actions), range(mdp.n_states))
    for action, next_state in pairs:
        index = state, action, next_state
        probability = task.pi[state, action] * mdp.transition[index]
        if probability > 0.0:
            terminated = bool(mdp.terminal[index])
            truncated = age + 1 == task.time_limit and not terminated
            reward = float(mdp.reward[index])
            step = Step(age, state, action, reward, next_state, terminated, truncated)
            yield Trajectory(float(probability), (step,))


def episodes(task: Task) -> list[Trajectory]:
    """Returns every episode of a task. Their probabilities sum to 1."""

    def continuations(state: int, age: int) -> Iterator[Trajectory]:
        for probability, (step,) in _transitions(task, state, age):
            if step.terminated or step.truncated:
                yield Trajectory(probability, (step,))
                continue
            for q, rest in continuations(step.next_state, age + 1):
                yield Trajectory(probability * q, (step, *rest))

    return [
        Trajectory(p * q, steps)
        for p, state in _starts(task)
        for q, steps in continuations(state, 0)
    ]


def windows(task: Task, n_steps: int) -> list[Trajectory]:
    """Returns every window of `n_steps` consecutive steps of an endless run.

    State and age of the first step have their stationary distribution. When an episode
    ends within the window, the next one follows.
    """

    def continuations(state: int, age: int, n_left: int) -> Iterator[Trajectory]:
        if n_left == 0:
            yield Trajectory(1.0, ())
            return
        for probability, (step,) in _transitions(task, state, age):
            following = [(1.0, step.next_state, age + 1)]
            if step.terminated or step.truncated:
                following = [(p, start, 0) for p, start in _starts(task)]
            for p, next_state, next_age in following:
                for q, rest in continuations(next_state, next_age, n_left - 1):
                    yield Trajectory(probability * p * q, (step, *rest))

    found: list[Trajectory] = []
    for age, visits in enumerate(visits_by_age(task)):
        for state in np.flatnonzero(visits):
            p = float(visits[state]) / task.mean_length
            window = continuations(int(state), age, n_steps)
            found += [Trajectory(p * q, steps) for q, steps in window]
    return found


def visits_by_age(task: Task) -> Table:
    """Returns the probability that an episode is in s after k steps, `[K, S]`."""
    visits = np.zeros((task.max_length, task.mdp.n_states))
    continuing = task.mdp.transition * ~task.mdp.terminal
    step = np.einsum("sa,sax->sx", task.pi, continuing)
    occupancy = np.array(task.mdp.initial_distribution)
    for k in range(task.max_length):
        visits[k] = occupancy
        occupancy = occupancy @ step
    return visits


def _starts(task: Task) -> list[tuple[float, int]]:
    return [(float(p), s) for s, p in enumerate(task.mdp.initial_distribution) if p]


def rollouts(
    task: Task, n_envs: int, n_episodes: int | None, n_steps: int | None
) -> Iterator[tuple[float, list[tuple[Step, ...]]]]:
    """Yields every rollout: its probability and the steps of each environment."""
    n = n_episodes or 1
    single = windows(task, n_steps) if n_steps else episodes(task)
    for combination in itertools.product(single, repeat=n_envs * n):
        probability = math.prod(trajectory.probability for trajectory in combination)
        per_env = [combination[i : i + n] for i in range(0, n_envs * n, n)]
        yield (
            probability,
            [
                tuple(step for trajectory in trajectories for step in trajectory.steps)
                for trajectories in per_env
            ],
        )
