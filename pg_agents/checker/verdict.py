"""Computes the report from a measurement."""

from __future__ import annotations

import numpy as np

from pg_agents.checker.diagnosis import Diagnosis, diagnose, is_stateful
from pg_agents.checker.measurement import Measurement
from pg_agents.checker.mistakes import MISTAKES
from pg_agents.checker.report import GradientReport, Spread, Verdict
from pg_agents.checker.statistics import (
    GradientSeries,
    Interval,
    MeanEstimate,
    cosine,
    difference_p_value,
    relative_bias,
)
from pg_agents.checker.task import Array

# Probability of calling an unbiased subject biased.
SIGNIFICANCE = 1e-4
# Cosine of 26 degrees; biased gradients below it are wrong.
ALIGNED = 0.9
# The interval of the cosine may extend this far below ALIGNED.
_ALIGNED_TOLERANCE = 0.1
# Upper bounds of the relative bias above which the report has a note, and above which
# the sample does not justify a verdict.
_NOTE_BIAS, _UNDECIDED_BIAS = 0.2, 0.5
# Significance level at which a mean of 0 is rejected.
_ZERO_SIGNIFICANCE = 1e-3


def make_report(
    measured: Measurement, subject: str, seed: int, seconds: float
) -> GradientReport:
    """Returns the report on the measurement of a subject."""
    exact, scale = measured.exact, measured.scale
    series, mean, stateful = _series_to_judge(measured)
    p_value = difference_p_value(mean, exact, scale)
    cos, cos_interval = cosine(mean, exact)
    bias, bias_interval = relative_bias(mean, exact)
    biased = p_value < SIGNIFICANCE or stateful
    zero_p_value = difference_p_value(mean, np.zeros(len(exact)), scale)
    verdict = _verdict(
        measured.sample_is_sufficient,
        biased=biased,
        may_be_zero=zero_p_value > _ZERO_SIGNIFICANCE,
        cosine=cos,
        cosine_interval=cos_interval,
        max_bias=bias_interval[1],
    )
    task = measured.task
    return GradientReport(
        subject=subject,
        env=task.name,
        gamma=task.gamma,
        horizon=task.horizon,
        bootstrap=task.bootstrap,
        per="episode" if measured.steps_per_unit is None else "step",
        n_episodes=round(len(series.gradients) * measured.episodes_per_round),
        n_rounds=len(series.gradients),
        seed=seed,
        verdict=verdict,
        cosine=cos,
        cosine_interval=cos_interval,
        relative_bias=bias,
        relative_bias_interval=bias_interval,
        factor=float(mean.value @ exact) / scale**2,
        variance_per_episode=_variance_per_episode(measured) / scale**2,
        p_value=p_value,
        diagnosis=_diagnosis(measured, mean, verdict, biased, stateful, seed),
        notes=_notes(measured, verdict, bias_interval[1]),
        seconds=seconds,
        spread=_spread(series.gradients, mean, scale),
    )


def _series_to_judge(
    measured: Measurement,
) -> tuple[GradientSeries, MeanEstimate, bool]:
    """Returns the series to judge, its mean, and whether the subject is stateful."""
    mean, perturbed = measured.series.mean(), measured.perturbed_series
    if perturbed is not None:
        perturbed_mean = perturbed.mean()
        if is_stateful(mean, perturbed_mean, measured.scale):
            # During training the policy has always just changed.
            return perturbed, perturbed_mean, True
    return measured.series, mean, False


def _verdict(
    sample_is_sufficient: bool,
    *,
    biased: bool,
    may_be_zero: bool,
    cosine: float,
    cosine_interval: Interval,
    max_bias: float,
) -> Verdict:
    low, high = cosine_interval
    if not sample_is_sufficient:
        return "undecided"
    if not biased:
        return "undecided" if max_bias > _UNDECIDED_BIAS else "unbiased"
    if may_be_zero:
        return "wrong"
    if cosine >= ALIGNED:
        aligned = low >= ALIGNED - _ALIGNED_TOLERANCE
        return "biased but aligned" if aligned else "undecided"
    return "wrong" if high < ALIGNED + _ALIGNED_TOLERANCE / 2 else "undecided"


def _diagnosis(
    measured: Measurement,
    mean: MeanEstimate,
    verdict: Verdict,
    biased: bool,
    stateful: bool,
    seed: int,
) -> Diagnosis | None:
    if not measured.sample_is_sufficient or verdict == "unbiased":
        return None
    if stateful:
        mistake = MISTAKES["replay"]
        return Diagnosis(mistake.key, mistake.title, mistake.explanation, "equal", 1.0)
    return diagnose(measured, mean, seed) if biased else None


def _variance_per_episode(measured: Measurement) -> float:
    gradients = measured.series.gradients
    return float(gradients.var(axis=0, ddof=1).sum() * measured.episodes_per_round)


def _notes(measured: Measurement, verdict: Verdict, max_bias: float) -> tuple[str, ...]:
    notes = list(measured.notes)
    if not measured.sample_is_sufficient:
        notes.append(
            "the sample is too small: even the reference estimator cannot be verified "
            "with it. Raise n_episodes or, if the policy is nearly deterministic, "
            "check one that explores"
        )
    elif verdict in ("unbiased", "undecided") and max_bias > _NOTE_BIAS:
        notes.append(
            f"a bias of up to {max_bias:.0%} cannot be excluded with this sample: "
            "raise n_episodes for a smaller interval"
        )
    if not measured.geometry.complete:
        notes.append(
            f"the policy has more directions than are compared: {len(measured.exact)}, "
            "that of the exact gradient and random ones"
        )
    elif measured.out_of_span_norm > 0.1:
        notes.append(
            "a part of the mean gradient is not a weighted sum of scores, with a norm "
            f"of {measured.out_of_span_norm:.2g} relative to the exact gradient; it is "
            "not compared. A value loss on parameters that the policy shares causes "
            "this"
        )
    return tuple(notes)


def _spread(gradients: Array, mean: MeanEstimate, scale: float) -> Spread:
    return Spread(
        along=gradients[:, 0] / scale,
        mean=mean.value / scale,
        deviation=np.sqrt(np.diag(mean.covariance)) / scale,
    )
