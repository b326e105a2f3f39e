"""The reference estimator, and the control variates that it gives.

It is `(1/E) sum over steps of gamma^t G_t grad log pi(a|s)` for batches of E episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pg_agents.checker.episodes import IntArray, Steps
from pg_agents.checker.statistics import (
    MAX_TESTED_DIRECTIONS,
    control_variate_mean,
    controls_are_inconsistent,
    difference_p_value,
)
from pg_agents.checker.task import Array, Task

# Significance level at which the reference estimator is rejected for a sample.
_SIGNIFICANCE = 1e-3
# Fewest effective degrees of freedom for which tests are trusted.
_MIN_DEGREES_OF_FREEDOM = 25


@dataclass(frozen=True)
class Sample:
    """Steps of complete episodes in batches, with their returns.

    Attributes:
        steps: the steps.
        task: MDP and objective.
        policy: `[S, A]`, pi(a|s), the policy that sampled the episodes.
        batch_size: E, episodes per batch.
    """

    steps: Steps
    task: Task
    policy: Array
    batch_size: int

    @cached_property
    def batch(self) -> IntArray:
        """Index of each step's batch, `[B]`."""
        return self.steps.episode // self.batch_size

    @cached_property
    def gamma_t(self) -> Array:
        """`gamma^t`, `[B]`."""
        return np.power(self.task.gamma, self.steps.time.astype(np.float64))

    @cached_property
    def last_step(self) -> NDArray[np.bool_]:
        """Whether the episode ended with the step, `[B]`."""
        return self.steps.terminated | self.steps.truncated

    @cached_property
    def next_values(self) -> Array:
        """Exact value of the next state, `[B]`, computed even where episodes ended."""
        table = self.task.values(self.policy)
        values: Array = table[self.steps.time + 1, self.steps.next_state]
        return values

    @cached_property
    def returns(self) -> Array:
        """Correct reward-to-go `G_t`, `[B]`; truncated episodes are bootstrapped."""
        steps, gamma = self.steps, self.task.gamma
        beyond = np.where(steps.truncated, self.next_values, 0.0)
        returns = steps.reward + gamma * np.where(self.last_step, beyond, 0.0)
        # Backwards in time, over all episodes at once.
        for t in range(int(steps.time.max()) - 1, -1, -1):
            rows = np.flatnonzero((steps.time == t) & ~self.last_step)
            returns[rows] += gamma * returns[rows + 1]
        return returns


def reward_to_go(sample: Sample, scores: Array) -> Array:
    """Returns the reference estimate of each batch, `[R, D]`; it is unbiased.

    Args:
        sample: the steps.
        scores: `[S, A, D]`, grad log pi(a|s) in coordinates.
    """
    weight = sample.gamma_t * sample.returns
    return score_sums(sample, weight, scores) / sample.batch_size


def score_sums(sample: Sample, weight: Array, scores: Array) -> Array:
    """Returns `sum of weight * score` over the steps of each batch, `[R, D]`.

    Args:
        sample: the steps.
        weight: `[B]`.
        scores: `[S, A, D]`.
    """
    n_states, n_actions, n_directions = scores.shape
    n_pairs, n_batches = n_states * n_actions, int(sample.batch[-1]) + 1
    pair = sample.steps.state * n_actions + sample.steps.action
    cell = sample.batch * n_pairs + pair
    table = np.bincount(cell, weight, minlength=n_batches * n_pairs)
    sums: Array = table.reshape(-1, n_pairs) @ scores.reshape(-1, n_directions)
    return sums


def control_variates(sample: Sample, scores: Array, exact_gradient: Array) -> Array:
    """Returns control variates of each batch, with mean 0, `[R, 2 min(D, 8)]`.

    They are the error of the reference estimator, and the sum of the scores.
    """
    scores = scores[..., :MAX_TESTED_DIRECTIONS]
    exact_gradient = exact_gradient[:MAX_TESTED_DIRECTIONS]
    reference = reward_to_go(sample, scores)
    ones = np.ones(len(sample.batch))
    score_mean = score_sums(sample, ones, scores)
    return np.column_stack([reference - exact_gradient, score_mean / sample.batch_size])


def sample_is_sufficient(controls: Array, scale: float) -> bool:
    """Whether the reference estimator can be verified with a sample.

    It cannot if the policy is nearly deterministic, since the actions that determine
    the gradient are then missing from the sample; nor if rewards are so rare that a few
    episodes carry all the noise.

    Args:
        controls: the `control_variates` of the sample.
        scale: norm of the exact gradient.
    """
    if controls_are_inconsistent(controls):
        return False
    reference_error = controls[:, : controls.shape[1] // 2]
    mean = control_variate_mean(reference_error, reference_error[:, :0])
    zero = np.zeros(reference_error.shape[1])
    return (
        mean.degrees_of_freedom >= _MIN_DEGREES_OF_FREEDOM
        and difference_p_value(mean, zero, scale) > _SIGNIFICANCE
    )
