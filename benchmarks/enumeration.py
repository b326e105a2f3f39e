"""Small tasks, and all rollouts that they can give, with their probabilities."""

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
    """An environment with a policy to be judged in it.

    Attributes:
        name: for people.
        mdp: the tables.
        logits: `[S, A]`, the policy is their softmax.
        gamma: discount factor.
        time_limit: steps after which an episode is truncated, or None.
        max_length: steps of the longest episode.
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
        """Returns the derivative by the logits from the one by the probabilities."""
        mean = (self.pi * by_pi).sum(axis=1, keepdims=True)
        return np.asarray(self.pi * (by_pi - mean))

    def exact_gradient(self) -> Table:
        """The oracle's gradient of the expected discounted return, `[S, A]`."""
        limit = self.time_limit
        return self.through_softmax(
            oracle.return_gradient(self.mdp, self.pi, self.gamma, limit)
        )


def _branching(time_limit: int | None) -> Task:
    """Seven episodes of one to three steps, or five that stop after two.

    All numbers are exact in float32, and no two different returns are equal: a batch of
    equal returns standardises to 0, but to noise if rounding makes them differ.
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
# Cut after two steps: one episode in three is truncated.
LIMITED = _branching(2)
# Of the three states: not what the policy is worth, for a critic that is mistaken.
WRONG_CRITIC = np.array([1.5, -0.5, 2.25])


class Step(NamedTuple):
    """One step of a written-out rollout; `age` is the number of steps before it."""

    age: int
    state: int
    action: int
    reward: float
    next_state: int
    terminated: bool
    truncated: bool


class Trajectory(NamedTuple):
    """What one environment does in a rollout, and how probable that is."""

    probability: float
    steps: tuple[Step, ...]


def _outcomes(task: Task, state: int, age: int) -> Iterator[Trajectory]:
    mdp = task.mdp
    for action, later in itertools.product(range(mdp.n_actions), range(mdp.n_states)):
        where = state, action, later
        probability = task.pi[state, action] * mdp.transition[where]
        if probability > 0.0:
            over = bool(mdp.terminal[where])
            cut = age + 1 == task.time_limit and not over
            reward = float(mdp.reward[where])
            step = Step(age, state, action, reward, later, over, cut)
            yield Trajectory(float(probability), (step,))


def episodes(task: Task) -> list[Trajectory]:
    """Returns every episode of a task; their probabilities sum to 1."""

    def begun(state: int, age: int) -> Iterator[Trajectory]:
        for probability, (step,) in _outcomes(task, state, age):
            if step.terminated or step.truncated:
                yield Trajectory(probability, (step,))
                continue
            for of_rest, rest in begun(step.next_state, age + 1):
                yield Trajectory(probability * of_rest, (step, *rest))

    return [
        Trajectory(p * q, s) for p, state in _starts(task) for q, s in begun(state, 0)
    ]


def windows(task: Task, n_steps: int) -> list[Trajectory]:
    """Returns every stretch of `n_steps` steps, as an endless run is cut into them.

    Where the first step stands in its episode is as probable as it is in the long run;
    an episode that ends within is followed by the next.
    """

    def going_on(state: int, age: int, n_left: int) -> Iterator[Trajectory]:
        if n_left == 0:
            yield Trajectory(1.0, ())
            return
        for probability, (step,) in _outcomes(task, state, age):
            fresh = [(p, s, 0) for p, s in _starts(task)]
            ended = step.terminated or step.truncated
            for share, later, its_age in (
                fresh if ended else [(1.0, step.next_state, age + 1)]
            ):
                for of_rest, rest in going_on(later, its_age, n_left - 1):
                    yield Trajectory(probability * share * of_rest, (step, *rest))

    found: list[Trajectory] = []
    for age, visits in enumerate(visits_by_age(task)):
        for state in np.flatnonzero(visits):
            share = float(visits[state]) / task.mean_length
            run = going_on(int(state), age, n_steps)
            found += [Trajectory(share * p, steps) for p, steps in run]
    return found


def visits_by_age(task: Task) -> Table:
    """Returns the probability of acting in s after k steps of an episode, `[K, S]`."""
    visits = np.zeros((task.max_length, task.mdp.n_states))
    going_on = task.mdp.transition * ~task.mdp.terminal
    step = np.einsum("sa,sax->sx", task.pi, going_on)
    present = np.array(task.mdp.initial_distribution)
    for k in range(task.max_length):
        visits[k] = present
        present = present @ step
    return visits


def _starts(task: Task) -> list[tuple[float, int]]:
    return [(float(p), s) for s, p in enumerate(task.mdp.initial_distribution) if p]


def rollouts(
    task: Task, n_envs: int, n_episodes: int | None, n_steps: int | None
) -> Iterator[tuple[float, list[tuple[Step, ...]]]]:
    """Yields every rollout: its probability, and the steps of each environment."""
    each = n_episodes or 1
    single = windows(task, n_steps) if n_steps else episodes(task)
    for chosen in itertools.product(single, repeat=n_envs * each):
        probability = math.prod(trajectory.probability for trajectory in chosen)
        yield (
            probability,
            [
                tuple(
                    itertools.chain(
                        *(c.steps for c in chosen[i * each : (i + 1) * each])
                    )
                )
                for i in range(n_envs)
            ],
        )
