"""The right estimator and the well-known wrong ones, as weights of scores.

Every estimator here is `(1/E) sum over steps of weight * grad log pi(a|s)`. It is given
the steps of many batches of E episodes at once and returns a weight for every step; for
one of them also the state whose score is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pg_agents.checker.episodes import Steps
from pg_agents.checker.statistics import (
    MAX_TESTED,
    contradicts_itself,
    controlled_mean,
    difference_p_value,
)
from pg_agents.checker.task import Table, Task

Array = NDArray[np.float64]
# A right estimator is this improbable to look so wrong by chance.
INADEQUATE = 1e-3
# Effective samples that a test is trusted with.
FEWEST_DEGREES = 25

# Weights [B], or weights and the states [B] whose scores they weight.
Weights = Array | tuple[Array, NDArray[np.int64]]
Estimator = Callable[["Sample", Array], Weights]


@dataclass(frozen=True)
class Sample:
    """Steps of whole episodes in batches, with what estimators are made of.

    Attributes:
        steps: the steps.
        task: MDP and objective.
        policy: `[S, A]`, pi(a|s), by which the episodes were played.
        size: E, episodes per batch.
        n_envs: environments that a batch's episodes are shared out over.
    """

    steps: Steps
    task: Task
    policy: Table
    size: int
    n_envs: int

    @cached_property
    def batch(self) -> NDArray[np.int64]:
        """The batch of each step, `[B]`."""
        return self.steps.episode // self.size

    @cached_property
    def gamma_t(self) -> Array:
        """`gamma^t`, `[B]`."""
        return np.power(self.task.gamma, self.steps.time.astype(np.float64))

    @cached_property
    def beyond(self) -> Array:
        """Exact value of the state that truly followed, `[B]`, of an ended one too."""
        steps = self.steps
        found: Array = self._values[steps.time + 1, steps.next_state]
        return found

    @cached_property
    def present(self) -> Array:
        """Exact value of the state, `[B]`."""
        found: Array = self._values[self.steps.time, self.steps.state]
        return found

    @cached_property
    def _values(self) -> Array:
        return self.task.values(self.policy)

    @cached_property
    def cut_value(self) -> Array:
        """What a return goes on with behind its last reward, `[B]`; 0 within."""
        return np.where(self.steps.truncated, self.beyond, 0.0)

    @cached_property
    def returns(self) -> Array:
        """The right return from each step on, `[B]`."""
        return self.to_go(self.cut_value)

    def to_go(self, behind_last: Array) -> Array:
        """Returns `r_t + gamma G_{t+1}`, with a value behind the last reward.

        Args:
            behind_last: `[B]`, read where an episode ends.
        """
        steps, gamma = self.steps, self.task.gamma
        last = steps.terminated | steps.truncated
        returns = steps.reward + gamma * np.where(last, behind_last, 0.0)
        # Backwards in time, over all episodes at once.
        for t in range(int(steps.time.max()) - 1, -1, -1):
            here = np.flatnonzero((steps.time == t) & ~last)
            returns[here] += gamma * returns[here + 1]
        return returns

    def batch_sum(self, values: Array) -> Array:
        """Returns the sum over each batch, for each of its steps, `[B]`."""
        sums: Array = np.bincount(self.batch, values).astype(np.float64)[self.batch]
        return sums

    def mean_over(self, group: NDArray[np.int64], values: Array) -> Array:
        """Returns the mean over steps of the same group, for each step, `[B]`."""
        means: Array = (np.bincount(group, values) / np.maximum(np.bincount(group), 1))[
            group
        ]
        return means

    def standardized(self, group: NDArray[np.int64]) -> Array:
        """Returns standardised returns, as most notebooks have them, `[B]`."""
        centred = self.returns - self.mean_over(group, self.returns)
        count = np.bincount(group)
        variance = np.bincount(group, centred**2) / np.maximum(count - 1, 1)
        deviation = np.sqrt(variance)[group]
        # A single number has no deviation: left as it is.
        scaled: Array = np.where(
            count[group] > 1, centred / (deviation + 1e-8), self.returns
        )
        return scaled


def exact(sample: Sample, discount: Array) -> Weights:
    """`gamma^t G_t`."""
    return discount * sample.returns


def probability(sample: Sample, discount: Array) -> Weights:
    """`grad pi = pi grad log pi`."""
    chosen = sample.policy[sample.steps.state, sample.steps.action]
    return discount * sample.returns * chosen


def flipped(sample: Sample, discount: Array) -> Weights:
    """The loss's sign forgotten."""
    return -discount * sample.returns


def off_by_one(sample: Sample, discount: Array) -> Weights:
    """`G_{t+1}` where G_t belongs, 0 at the end."""
    last = sample.steps.terminated | sample.steps.truncated
    later = np.append(sample.returns[1:], 0.0)
    return discount * np.where(last, 0.0, later)


def next_state(sample: Sample, discount: Array) -> Weights:
    """The action's score in the state it led to."""
    return discount * sample.returns, sample.steps.next_state


def gamma_twice(sample: Sample, discount: Array) -> Weights:
    """`gamma^{2t} G_t`."""
    return discount * sample.gamma_t * sample.returns


def mean_over_steps(sample: Sample, discount: Array) -> Weights:
    """A sum over a batch's steps divided by their number."""
    n_steps = sample.batch_sum(np.ones(len(sample.batch)))
    return discount * sample.returns * sample.size / n_steps


def mean_per_time(sample: Sample, discount: Array) -> Weights:
    """Minus the batch's mean return at the same time, ended episodes counting 0."""
    n_times = int(sample.steps.time.max()) + 1
    group = sample.batch * n_times + sample.steps.time
    means: Array = np.bincount(group, sample.returns)[group] / sample.size
    advantages: Array = discount * (sample.returns - means)
    return advantages


def mean_of_all(sample: Sample, discount: Array) -> Weights:
    """Minus the mean return of all steps of the batch."""
    return discount * (sample.returns - sample.mean_over(sample.batch, sample.returns))


def mean_of_starts(sample: Sample, discount: Array) -> Weights:
    """Minus the mean return of the batch's episodes, the same at every step."""
    starts = np.where(sample.steps.time == 0, sample.returns, 0.0)
    return discount * (sample.returns - sample.batch_sum(starts) / sample.size)


def standardized_in_batch(sample: Sample, discount: Array) -> Weights:
    """Standardised over all steps of the batch."""
    return discount * sample.standardized(sample.batch)


def standardized_in_episode(sample: Sample, discount: Array) -> Weights:
    """Standardised within each episode."""
    return discount * sample.standardized(sample.steps.episode)


def standardized_and_averaged(sample: Sample, discount: Array) -> Weights:
    """Standardised over the batch's steps, and the loss a mean over them."""
    n_steps = sample.batch_sum(np.ones(len(sample.batch)))
    return discount * sample.standardized(sample.batch) * sample.size / n_steps


def cut_to_integers(sample: Sample, discount: Array) -> Weights:
    """`int(G_t)`."""
    return discount * np.trunc(sample.returns)


def rounded(sample: Sample, discount: Array) -> Weights:
    """`round(G_t)`."""
    return discount * np.rint(sample.returns)


def td_through_the_end(sample: Sample, discount: Array) -> Weights:
    """`r + gamma V(s') - V(s)`, at the end of an episode too."""
    target = sample.steps.reward + sample.task.gamma * sample.beyond
    return discount * (target - sample.present)


def return_through_the_end(sample: Sample, discount: Array) -> Weights:
    """`r_t + ... + gamma^{T-t} V(s_T) - V(s_t)` with a value behind the end."""
    return discount * (sample.to_go(sample.beyond) - sample.present)


def td_without_truncation(sample: Sample, discount: Array) -> Weights:
    """`r + gamma V(s') - V(s)`, with the time limit taken for an end."""
    last = sample.steps.terminated | sample.steps.truncated
    target = sample.steps.reward + sample.task.gamma * np.where(
        last, 0.0, sample.beyond
    )
    return discount * (target - sample.present)


def return_without_truncation(sample: Sample, discount: Array) -> Weights:
    """Returns that stop at the time limit as if it were an end."""
    return discount * sample.to_go(np.zeros(len(sample.returns)))


def first_finished(sample: Sample, discount: Array) -> Weights:
    """The first half of the batch's episodes to finish, whichever those are."""
    lengths = sample.steps.lengths().reshape(
        -1, sample.n_envs, sample.size // sample.n_envs
    )
    ended = np.cumsum(lengths, axis=-1).reshape(-1, sample.size)
    wanted = max(1, sample.size // 2)
    order = np.argsort(ended, axis=1, kind="stable")
    kept = np.zeros(ended.shape)
    np.put_along_axis(kept, order[:, :wanted], sample.size / wanted, axis=1)
    return discount * sample.returns * kept.ravel()[sample.steps.episode]


def estimates(
    sample: Sample, estimator: Estimator, scores: Table, discount: Array
) -> Array:
    """Returns the estimate of each batch, `[R, D]`.

    Args:
        sample: the steps.
        estimator: which estimator.
        scores: `[S, A, D]`, scores in coordinates.
        discount: `[B]`, gamma^t, or ones to leave it out.
    """
    weights = estimator(sample, discount)
    weight, state = (
        weights if isinstance(weights, tuple) else (weights, sample.steps.state)
    )
    return score_sums(sample, weight, state, scores) / sample.size


def score_sums(
    sample: Sample, weight: Array, state: NDArray[np.int64], scores: Table
) -> Array:
    """Returns `sum of weight * score` over the steps of each batch, `[R, D]`.

    Args:
        sample: the steps.
        weight: `[B]`.
        state: `[B]`, whose score of the step's action is meant.
        scores: `[S, A, D]`.
    """
    n_states, n_actions, n_directions = scores.shape
    n_pairs, n_batches = n_states * n_actions, int(sample.batch[-1]) + 1
    pair = state * n_actions + sample.steps.action
    cell = sample.batch * n_pairs + pair
    table = np.bincount(cell, weight, minlength=n_batches * n_pairs)
    sums: Array = table.reshape(-1, n_pairs) @ scores.reshape(-1, n_directions)
    return sums


def is_adequate(noise: Array, scale: float) -> bool:
    """Whether a sample shows the textbook's estimator, which is right, to be right.

    Where the policy is nearly certain all episodes are the same, and the gradient sits
    in those that were not played: the sample then contradicts even a right estimator.
    Where rewards are rare, few episodes carry all the noise, and it is not known well.

    Args:
        noise: what `known_noise` returns for the sample.
        scale: length of the exact gradient.
    """
    if contradicts_itself(noise):
        return False
    textbook = noise[:, : noise.shape[1] // 2]
    mean = controlled_mean(textbook, textbook[:, :0])
    enough = mean.degrees >= FEWEST_DEGREES
    nothing = np.zeros(textbook.shape[1])
    return enough and difference_p_value(mean, nothing, scale) > INADEQUATE


def known_noise(sample: Sample, scores: Table, exact_gradient: Array) -> Array:
    """Returns noise of each batch whose mean is known to be 0, `[R, 2 min(D, 8)]`.

    The textbook's estimate less the exact gradient, and the plain sum of scores.
    """
    scores, exact_gradient = scores[..., :MAX_TESTED], exact_gradient[:MAX_TESTED]
    textbook = estimates(sample, exact, scores, sample.gamma_t) - exact_gradient
    ones = np.ones(len(sample.batch))
    plain = score_sums(sample, ones, sample.steps.state, scores) / sample.size
    return np.column_stack([textbook, plain])
