"""Judges an estimated mean gradient: does it have the direction of the exact one?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pg_agents.checker.statistics import (
    GradientSeries,
    Interval,
    MeanEstimate,
    cosine,
    difference_p_value,
    direction_error,
    fit_component,
)
from pg_agents.checker.task import Array, Task

Verdict = Literal["right", "wrong", "no gradient", "undecided"]

# Probability of calling a right subject wrong on a task.
SIGNIFICANCE = 1e-4
# Significance level at which a mean of 0 is rejected.
_ZERO_SIGNIFICANCE = 1e-3
# A mean that may be 0 is called 0 if it is at most this long, relative to the exact
# gradient.
_ZERO_LENGTH = 0.1
# Error that the interval must exclude for the verdict "right", and the upper bound that
# more episodes are to reach.
_EXCLUDED_ERROR, _WANTED_ERROR = 0.05, 0.025


@dataclass(frozen=True)
class StateTable:
    """Exact and estimated gradient by the policy's outputs in each state.

    Attributes:
        exact: `[S, O]`, derivative of the objective by each output, for a categorical
            policy the logits.
        estimated: `[S, O]`, that of the subject, divided by its `factor`.
        deviation: `[S, O]`, standard errors of `estimated`.
        factor: the positive factor that fits the exact gradient best; 1 where there
            is none.
    """

    exact: Array
    estimated: Array
    deviation: Array
    factor: float

    def rows(self, n: int) -> list[tuple[int, int, float, float, float]]:
        """Returns the n entries that are most off, in order of state and output.

        Each is state, output, exact, estimated and standard error.
        """
        difference = np.abs(self.estimated - self.exact)
        worst = np.argsort(-difference, axis=None, kind="stable")[:n]
        entries = [divmod(int(i), difference.shape[1]) for i in sorted(worst)]
        return [
            (
                state,
                output,
                float(self.exact[state, output]),
                float(self.estimated[state, output]),
                float(self.deviation[state, output]),
            )
            for state, output in entries
        ]


@dataclass(frozen=True)
class TaskResult:
    """The result on one task.

    Attributes:
        task: name of the task.
        gamma: discount factor.
        horizon: time limit, in steps.
        bootstrap: whether returns continue beyond the time limit.
        verdict: `"right"`: the expected gradient has the direction of the exact one.
            `"wrong"`: it has not. `"no gradient"`: it is zero. `"undecided"`: the
            sample is too small to tell.
        cosine: cosine between expected and exact gradient; None if the expected
            gradient may be zero.
        cosine_interval: 95 % confidence interval; None with the cosine.
        error: length of the difference to the nearest positive multiple of the exact
            gradient, relative to that multiple: the tangent of the angle between them;
            infinite if the angle is 90 degrees or more, None without a cosine.
        error_interval: 95 % confidence interval.
        length: component along the exact gradient, relative to it.
        p_value: p-value of the hypothesis that the direction is exact.
        n_episodes: number of episodes that the mean was estimated from.
        n_gradients: number of gradients.
        more_episodes: how many more episodes would decide; None if decided.
        table: exact and estimated gradient in each state; None if the policy's
            gradient cannot be attributed to states.
    """

    task: str
    gamma: float
    horizon: int
    bootstrap: bool
    verdict: Verdict
    cosine: float | None
    cosine_interval: Interval | None
    error: float | None
    error_interval: Interval | None
    length: float
    p_value: float
    n_episodes: int
    n_gradients: int
    more_episodes: int | None
    table: StateTable | None = field(repr=False, compare=False)


@dataclass(frozen=True)
class Measurement:
    """Gradients on one task, in coordinates whose first axis is the exact gradient.

    Attributes:
        task: MDP and objective.
        series: gradients of the return, one a call, rollout or update.
        exact: `[D]`, the exact gradient: its norm, followed by zeros.
        to_outputs: `[S * O, D]`, from coordinates to the gradient by the policy's
            outputs; None if it is not known.
        exact_outputs: `[S, O]`, the exact gradient by the policy's outputs.
        episodes_per_gradient: mean number of episodes per gradient.
        steps_per_unit: the mean episode length if the subject averages over steps, so
            that its length is to be compared per step; 1 if it averages over episodes.
        sample_is_sufficient: whether the reference estimator can be verified with a
            sample of this size.
        stateful: whether the gradients depend on earlier calls.
        notes: remarks for the report.
    """

    task: Task
    series: GradientSeries
    exact: Array
    to_outputs: Array | None
    exact_outputs: Array
    episodes_per_gradient: float
    steps_per_unit: float = 1.0
    sample_is_sufficient: bool = True
    stateful: bool = False
    notes: tuple[str, ...] = ()


def judge(measured: Measurement, significance: float = SIGNIFICANCE) -> TaskResult:
    """Returns the result on a task.

    Args:
        measured: the gradients.
        significance: probability of calling a right subject wrong.
    """
    mean, exact = measured.series.mean(), measured.exact
    scale = float(np.linalg.norm(exact))
    # Rounding of gradients that are much longer than the exact one is longer, too.
    rounding = max(scale, float(np.linalg.norm(mean.value)))
    zero = np.zeros(len(exact))
    _, residual = fit_component(mean, zero, exact, rounding)
    factor = float(mean.value @ exact) / scale**2
    p_value = difference_p_value(residual, zero, rounding, n_fitted=1)
    may_be_zero = difference_p_value(mean, zero, scale) > _ZERO_SIGNIFICANCE
    cos, cos_interval = cosine(mean, exact)
    error, error_interval = direction_error(mean, exact)
    verdict = _verdict(
        measured.sample_is_sufficient,
        may_be_zero=may_be_zero,
        longest=_longest(mean) / scale,
        rejected=p_value < significance,
        factor=factor,
        max_error=error_interval[1],
    )
    n_gradients = len(measured.series.gradients)
    n_episodes = round(n_gradients * measured.episodes_per_gradient)
    task = measured.task
    return TaskResult(
        task=task.name,
        gamma=task.gamma,
        horizon=task.horizon,
        bootstrap=task.bootstrap,
        verdict=verdict,
        cosine=None if may_be_zero else cos,
        cosine_interval=None if may_be_zero else cos_interval,
        error=None if may_be_zero else error,
        error_interval=None if may_be_zero else error_interval,
        length=factor * measured.steps_per_unit,
        p_value=p_value,
        n_episodes=n_episodes,
        n_gradients=n_gradients,
        more_episodes=_more_episodes(
            verdict, n_episodes, mean, measured, error_interval
        ),
        table=_table(measured, mean, 1.0 if may_be_zero or factor <= 0.0 else factor),
    )


def _verdict(
    sample_is_sufficient: bool,
    *,
    may_be_zero: bool,
    longest: float,
    rejected: bool,
    factor: float,
    max_error: float,
) -> Verdict:
    if not sample_is_sufficient:
        return "undecided"
    if may_be_zero:
        return "no gradient" if longest < _ZERO_LENGTH else "undecided"
    if rejected or factor < 0.0:
        return "wrong"
    return "undecided" if max_error > _EXCLUDED_ERROR else "right"


def _longest(mean: MeanEstimate) -> float:
    """Returns an upper bound of the length of the true mean."""
    noise = float(np.trace(mean.covariance))
    return float(np.linalg.norm(mean.value)) + 2.0 * math.sqrt(noise)


def _more_episodes(
    verdict: Verdict,
    n_episodes: int,
    mean: MeanEstimate,
    measured: Measurement,
    error_interval: Interval,
) -> int | None:
    """Returns how many more episodes make the interval short enough.

    Its length decreases with the square root of the number of episodes.
    """
    if verdict != "undecided":
        return None
    if not measured.sample_is_sufficient:
        return 3 * n_episodes
    ratio = error_interval[1] / _WANTED_ERROR
    if not math.isfinite(ratio):
        scale = float(np.linalg.norm(measured.exact))
        # Then a mean of zero is shorter than the bound.
        ratio = 3.5 * math.sqrt(float(np.trace(mean.covariance)))
        ratio /= _ZERO_LENGTH * scale
    return math.ceil(n_episodes * max(1.0, min(ratio, 100.0) ** 2 - 1.0))


def _table(
    measured: Measurement, mean: MeanEstimate, factor: float
) -> StateTable | None:
    to_outputs = measured.to_outputs
    if to_outputs is None:
        return None
    shape = measured.exact_outputs.shape
    variance = np.einsum("id,de,ie->i", to_outputs, mean.covariance, to_outputs)
    return StateTable(
        measured.exact_outputs,
        (to_outputs @ mean.value).reshape(shape) / factor,
        np.sqrt(np.maximum(variance, 0.0)).reshape(shape) / factor,
        factor,
    )


def worst(results: Sequence[TaskResult]) -> Verdict:
    """Returns the verdict on all tasks: the worst of them.

    It is `"no gradient"` only if the gradient may be zero on all tasks and is on some;
    a gradient of zero on some tasks alone is wrong.
    """
    verdicts = {result.verdict for result in results}
    if "no gradient" in verdicts and all(result.cosine is None for result in results):
        return "no gradient"
    if verdicts & {"wrong", "no gradient"}:
        return "wrong"
    return "undecided" if "undecided" in verdicts else "right"
