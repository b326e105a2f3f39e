"""Gradient estimators as weights of scores, and the reference estimator.

An estimator here is `(1/E) sum over steps of weight * grad log pi(a|s)` for batches of
E episodes. It is a function of the steps of many batches at once and returns the
weights; some also return the states whose scores are weighted.
"""

from __future__ import annotations

from collections.abc import Callable
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

# Weights [B], or weights and the states [B] whose scores they multiply.
Weights = Array | tuple[Array, IntArray]
# Takes the sample and the discounts [B]: gamma^t, or ones to leave it out.
Estimator = Callable[["Sample", Array], Weights]


@dataclass(frozen=True)
class Sample:
    """Steps of complete episodes in batches, with the quantities estimators need.

    Attributes:
        steps: the steps.
        task: MDP and objective.
        policy: `[S, A]`, pi(a|s), the policy that sampled the episodes.
        batch_size: E, episodes per batch.
        n_envs: environments that the episodes of a batch are distributed over.
    """

    steps: Steps
    task: Task
    policy: Array
    batch_size: int
    n_envs: int

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
    def values(self) -> Array:
        """Exact value of the state, `[B]`."""
        values: Array = self._value_table[self.steps.time, self.steps.state]
        return values

    @cached_property
    def next_values(self) -> Array:
        """Exact value of the next state, `[B]`, computed even where episodes ended."""
        values: Array = self._value_table[self.steps.time + 1, self.steps.next_state]
        return values

    @cached_property
    def _value_table(self) -> Array:
        return self.task.values(self.policy)

    @cached_property
    def returns(self) -> Array:
        """Correct reward-to-go `G_t`, `[B]`; truncated episodes are bootstrapped."""
        return self.returns_to_go(np.where(self.steps.truncated, self.next_values, 0.0))

    def returns_to_go(self, bootstrap: Array) -> Array:
        """Returns `G_t = r_t + gamma G_{t+1}`.

        Args:
            bootstrap: `[B]`, `G_{t+1}` at the last step of each episode; ignored
                elsewhere.
        """
        steps, gamma = self.steps, self.task.gamma
        returns = steps.reward + gamma * np.where(self.last_step, bootstrap, 0.0)
        # Backwards in time, over all episodes at once.
        for t in range(int(steps.time.max()) - 1, -1, -1):
            rows = np.flatnonzero((steps.time == t) & ~self.last_step)
            returns[rows] += gamma * returns[rows + 1]
        return returns

    @cached_property
    def steps_per_batch(self) -> Array:
        """Number of steps in each step's batch, `[B]`."""
        return self.batch_sum(np.ones(len(self.batch)))

    def batch_sum(self, values: Array) -> Array:
        """Returns the sum over the batch of each step, `[B]`."""
        sums: Array = np.bincount(self.batch, values).astype(np.float64)[self.batch]
        return sums

    def group_mean(self, group: IntArray, values: Array) -> Array:
        """Returns the mean over the steps in the same group, for each step, `[B]`."""
        counts = np.maximum(np.bincount(group), 1)
        means: Array = (np.bincount(group, values) / counts)[group]
        return means


def reward_to_go(sample: Sample, discount: Array) -> Weights:
    """`gamma^t G_t`, the reference estimator; unbiased."""
    return discount * sample.returns


def estimates(
    sample: Sample, estimator: Estimator, scores: Array, discount: Array
) -> Array:
    """Returns the estimate of each batch, `[R, D]`.

    Args:
        sample: the steps.
        estimator: the estimator.
        scores: `[S, A, D]`, grad log pi(a|s) in coordinates.
        discount: `[B]`, gamma^t, or ones to leave it out.
    """
    weights = estimator(sample, discount)
    weight, state = (
        weights if isinstance(weights, tuple) else (weights, sample.steps.state)
    )
    return score_sums(sample, weight, state, scores) / sample.batch_size


def score_sums(sample: Sample, weight: Array, state: IntArray, scores: Array) -> Array:
    """Returns `sum of weight * score` over the steps of each batch, `[R, D]`.

    Args:
        sample: the steps.
        weight: `[B]`.
        state: `[B]`, the state in which the score of the step's action is taken.
        scores: `[S, A, D]`.
    """
    n_states, n_actions, n_directions = scores.shape
    n_pairs, n_batches = n_states * n_actions, int(sample.batch[-1]) + 1
    pair = state * n_actions + sample.steps.action
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
    reference = estimates(sample, reward_to_go, scores, sample.gamma_t)
    ones = np.ones(len(sample.batch))
    score_mean = score_sums(sample, ones, sample.steps.state, scores)
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
