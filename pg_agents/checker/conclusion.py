"""From what was measured to a verdict."""

from __future__ import annotations

import numpy as np

from pg_agents.checker.catalogue import MISTAKES
from pg_agents.checker.diagnosis import Diagnosis, diagnose, remembers
from pg_agents.checker.measurement import Measurement, Series
from pg_agents.checker.report import GradientReport, Interval, Spread, Verdict
from pg_agents.checker.statistics import (
    Mean,
    cosine,
    difference_p_value,
    relative_bias,
)

# An unbiased subject is called biased with about this probability.
SIGNIFICANCE = 1e-4
# cos of 26 degrees: below, a biased gradient is called wrong.
ALIGNED = 0.9
# Above, a note says that the sample could say more; far above, it says too little.
_WIDE, _TOO_WIDE = 0.2, 0.5
# So far may the interval of the cosine reach below ALIGNED.
_SLACK = 0.1
# A mean is taken for zero unless chance is this improbable an explanation.
_ZERO = 1e-3


def conclude(
    measured: Measurement, subject: str, seed: int, seconds: float
) -> GradientReport:
    """Returns the report on a measurement.

    Args:
        measured: what was measured.
        subject: its name.
        seed: of the sampling.
        seconds: time it took.
    """
    exact = measured.exact
    scale = float(np.linalg.norm(exact))
    series, found, memory = _judged(measured, scale)
    p_value = difference_p_value(found, exact, scale)
    angle, angle_interval = cosine(found, exact)
    bias, bias_interval = relative_bias(found, exact)
    biased = p_value < SIGNIFICANCE or memory
    nothing = difference_p_value(found, np.zeros(len(exact)), scale) > _ZERO
    verdict = _verdict(
        measured.adequate,
        biased=biased,
        nothing=nothing,
        angle=(angle, angle_interval),
        largest_bias=bias_interval[1],
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
        cosine=angle,
        cosine_interval=angle_interval,
        relative_bias=bias,
        relative_bias_interval=bias_interval,
        factor=float(found.value @ exact) / scale**2,
        variance_per_episode=_variance(measured) / scale**2,
        p_value=p_value,
        diagnosis=_diagnosis(measured, found, verdict, biased, memory, seed),
        notes=_notes(measured, verdict, bias_interval[1]),
        seconds=seconds,
        spread=_spread(series.gradients, found, scale),
    )


def _judged(measured: Measurement, scale: float) -> tuple[Series, Mean, bool]:
    """Returns the rounds to judge, their mean, and whether there is a memory."""
    steady, disturbed = measured.steady.mean(), measured.disturbed
    if disturbed is not None:
        mean = disturbed.mean()
        if remembers(steady, mean, scale):
            # What it computes while it learns, when the policy has just changed.
            return disturbed, mean, True
    return measured.steady, steady, False


def _verdict(
    adequate: bool,
    *,
    biased: bool,
    nothing: bool,
    angle: tuple[float, Interval],
    largest_bias: float,
) -> Verdict:
    cosine_found, (low, high) = angle
    if not adequate:
        return "undecided"
    if not biased:
        return "undecided" if largest_bias > _TOO_WIDE else "unbiased"
    if nothing:
        # Shorter than the exact gradient for certain, and perhaps not there at all.
        return "wrong"
    if cosine_found >= ALIGNED:
        return "biased but aligned" if low >= ALIGNED - _SLACK else "undecided"
    return "wrong" if high < ALIGNED + _SLACK / 2 else "undecided"


def _diagnosis(
    measured: Measurement,
    found: Mean,
    verdict: Verdict,
    biased: bool,
    memory: bool,
    seed: int,
) -> Diagnosis | None:
    if memory and measured.adequate:
        mistake = MISTAKES["replay"]
        return Diagnosis(mistake.key, mistake.title, mistake.explanation, "equal", 1.0)
    if verdict == "unbiased" or not measured.adequate:
        return None
    if verdict == "undecided" and not biased:
        return None
    return diagnose(measured, found, seed)


def _variance(measured: Measurement) -> float:
    gradients = measured.steady.gradients
    return float(gradients.var(axis=0, ddof=1).sum() * measured.episodes_per_round)


def _notes(
    measured: Measurement, verdict: Verdict, largest_bias: float
) -> tuple[str, ...]:
    notes = list(measured.notes)
    if not measured.adequate:
        notes.append(
            "too few of the episodes matter: from a sample like this not even the "
            "textbook's estimator is seen to be right. Raise n_episodes, or, if the "
            "policy is nearly certain of its actions, check it with one that explores"
        )
    elif verdict in ("unbiased", "undecided") and largest_bias > _WIDE:
        notes.append(
            f"a bias of up to {largest_bias:.0%} can't be excluded with this sample: "
            "raise n_episodes to know more"
        )
    if not measured.geometry.complete:
        notes.append(
            f"the policy can change in more directions than are looked at: "
            f"{len(measured.exact)}, the exact gradient's and others at random"
        )
    elif measured.outside > 0.1:
        notes.append(
            f"the mean gradient has a part, {measured.outside:.2g} times as long as "
            "the exact gradient, that no weighting of log-probabilities gives; it is "
            "not judged here. A value loss on parameters that the policy shares does "
            "this"
        )
    return tuple(notes)


def _spread(
    gradients: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    found: Mean,
    scale: float,
) -> Spread:
    return Spread(
        along=gradients[:, 0] / scale,
        mean=found.value / scale,
        deviation=np.sqrt(np.diag(found.covariance)) / scale,
    )
