"""Which well-known mistake a biased gradient looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pg_agents.checker.catalogue import CATALOGUE, MISTAKES, Mistake
from pg_agents.checker.episodes import sample_episodes
from pg_agents.checker.estimators import (
    Estimator,
    Sample,
    estimates,
    exact,
    known_noise,
)
from pg_agents.checker.measurement import Candidate, Measurement
from pg_agents.checker.statistics import (
    Mean,
    controlled_mean,
    difference_p_value,
    fit_along,
)

Array = NDArray[np.float64]

# A known gradient is held to be the subject's unless so improbable.
CONSISTENT = 1e-3
# A memory is believed in only if chance is this improbable an explanation.
REMEMBERS = 1e-5
# Episodes that the known gradients are computed from.
_N_EPISODES = 32_768

Match = Literal["equal", "equal up to a factor", "one of several", "closest"]

# As good an explanation as the best of them.
_GOOD = 0.05
# No telling candidates apart by less of a cosine.
_NEAR = 0.01
# More of them than these, and it is not known which.
_MOST_EQUALS = 3

# Mistakes that are made with batches of whole episodes.
_OF_EPISODES = (
    "mean_over_steps",
    "batch_mean_baseline",
    "standardized",
    "first_finished",
)
SCALED = "scaled"
ENTROPY = "entropy_bonus"


@dataclass(frozen=True)
class Diagnosis:
    """What a biased gradient looks like.

    Attributes:
        key: of the catalogue's mistake; `"scaled"` for a mere factor,
            `"entropy_bonus"` for a bonus of the right sign, `"critic"` and
            `"standardized_advantages"` for what a model's own critic leads to.
        title: the same for people, with what comes on top of it.
        explanation: what it means.
        match: `"equal"`: the mistake's gradient, within noise. `"equal up to a
            factor"`: its direction. `"one of several"`: too many are equal.
            `"closest"`: none is; the most similar there is.
        cosine: of the subject's and the mistake's gradient.
        also: titles of further mistakes that would give the same within noise.
    """

    key: str
    title: str
    explanation: str
    match: Match
    cosine: float
    also: tuple[str, ...] = ()


def remembers(steady: Mean, probe: Mean, scale: float) -> bool:
    """Whether the gradient depends on what another policy did before.

    Args:
        steady: mean gradient without.
        probe: mean gradient, each after a round with another policy.
        scale: length of the exact gradient.
    """
    difference = _minus(steady, probe)
    nothing = np.zeros(len(steady.value))
    return difference_p_value(difference, nothing, scale) < REMEMBERS


def diagnose(measurement: Measurement, found: Mean, seed: int) -> Diagnosis:
    """Names the mistake that a biased gradient looks like most.

    Args:
        measurement: of the subject.
        found: its mean gradient.
        seed: of the episodes that the known gradients are computed from.
    """
    scale = float(np.linalg.norm(measurement.exact))
    sample = _sample(measurement, seed)
    # Some mistakes leave nothing but noise behind: no gradient to compare with.
    candidates = [c for c in _candidates(measurement, sample) if _stands_out(c.mean)]
    fits = [
        (
            difference_p_value(
                _minus(found, c.mean), np.zeros(len(found.value)), scale
            ),
            c,
        )
        for c in candidates
    ]
    equal = _equal(found, fits)
    if equal is not None:
        return equal
    entropy = _entropy(measurement, sample, found, candidates, scale)
    if entropy is not None:
        return entropy
    return _up_to_a_factor(found, candidates, scale) or _closest(found, candidates)


def _sample(measurement: Measurement, seed: int) -> Sample:
    """Plays episodes in batches like the subject's."""
    task, policy = measurement.task, measurement.geometry.policy
    size = max(1, round(measurement.episodes_per_round))
    n_envs = measurement.n_envs if size % measurement.n_envs == 0 else 1
    n = max(64, _N_EPISODES // size) * size
    rng = np.random.default_rng([seed, 1])
    return Sample(sample_episodes(task, policy, n, rng), task, policy, size, n_envs)


def _candidates(measurement: Measurement, sample: Sample) -> Iterator[Candidate]:
    task, geometry = measurement.task, measurement.geometry
    ones = np.ones(len(sample.gamma_t))
    noise = known_noise(sample, geometry.scores, geometry.exact)

    def mean(estimator: Estimator, discount: Array) -> Mean:
        rows = estimates(sample, estimator, geometry.scores, discount)
        unit = measurement.steps_per_unit or 1.0
        return controlled_mean(rows / unit, noise)

    def known(mistake: Mistake, estimator: Estimator) -> Iterator[Candidate]:
        text = mistake.explanation
        yield Candidate(
            mistake.key, mistake.title, text, mean(estimator, sample.gamma_t)
        )
        # Twice gamma^t and then once less would be right again.
        if task.gamma < 1.0 and mistake.key != "gamma_twice":
            title = f"{mistake.title} (and {dropped.title})"
            yield Candidate(mistake.key, title, text, mean(estimator, ones))

    yield Candidate(SCALED, _SCALED, _SCALED_TEXT, mean(exact, sample.gamma_t))
    dropped = MISTAKES["gamma_dropped"]
    if task.gamma < 1.0:
        yield Candidate(
            dropped.key, dropped.title, dropped.explanation, mean(exact, ones)
        )
    yield from measurement.candidates
    for mistake in CATALOGUE:
        if mistake.at_truncation and not task.bootstrap:
            continue
        if mistake.key == "first_finished" and sample.n_envs == 1:
            continue
        # What learns from a number of steps has no batches of whole episodes.
        if measurement.steps_per_unit is not None and mistake.key in _OF_EPISODES:
            continue
        for estimator in mistake.estimators:
            yield from known(mistake, estimator)


def _equal(found: Mean, fits: list[tuple[float, Candidate]]) -> Diagnosis | None:
    # In the order of the catalogue: the commonest first, one before two together.
    consistent = [fit for fit in fits if fit[0] > CONSISTENT and fit[1].key != SCALED]
    if not consistent:
        return None
    good = [c for p, c in consistent if p > _GOOD]
    best = min(good, key=_complexity) if good else max(consistent, key=_p_value)[1]
    others = [c for _, c in consistent if c.key != best.key]
    also = tuple(dict.fromkeys(c.title for c in others))
    if len({c.key for c in others}) < _MOST_EQUALS:
        return _diagnosis(best, found, "equal", also)
    titled = replace(best, title="; ".join((best.title, *also)), explanation="")
    return _diagnosis(titled, found, "one of several")


def _p_value(fit: tuple[float, Candidate]) -> float:
    return fit[0]


def _complexity(candidate: Candidate) -> int:
    """How many mistakes it takes."""
    return 1 + ("(and " in candidate.title)


def _up_to_a_factor(
    found: Mean, candidates: list[Candidate], scale: float
) -> Diagnosis | None:
    fits = []
    for candidate in candidates:
        rough = _cosine(found, candidate) * np.linalg.norm(found.value)
        rough /= np.linalg.norm(candidate.mean.value) + 1e-30
        noisy = replace(
            found,
            covariance=found.covariance + rough**2 * candidate.mean.covariance,
        )
        nothing = np.zeros(len(found.value))
        factor, rest = fit_along(noisy, nothing, candidate.mean.value, scale)
        p = difference_p_value(rest, nothing, scale, n_fitted=1)
        if factor > 0.0 and p > CONSISTENT:
            # A mere factor is the simplest explanation there is.
            fits.append((candidate.key == SCALED, p, factor, candidate))
    if not fits:
        return None
    _, _, factor, best = max(fits, key=lambda fit: (fit[0], fit[1]))
    titled = replace(best, title=f"{best.title} (times {factor:.3g})")
    return _diagnosis(titled, found, "equal up to a factor")


def _entropy(
    measurement: Measurement,
    sample: Sample,
    found: Mean,
    candidates: list[Candidate],
    scale: float,
) -> Diagnosis | None:
    """Looks for the entropy's gradient on top of a gradient that is right without."""
    geometry, steps = measurement.geometry, sample.steps
    log_pi = np.log(np.maximum(geometry.policy, 1e-30))
    of_state = -np.einsum("sa,sa,sad->sd", geometry.policy, log_pi, geometry.scores)
    direction = of_state[steps.state].sum(axis=0) / steps.n_episodes
    if np.linalg.norm(direction) <= 1e-9 * scale:
        return None
    fits = []
    for candidate in candidates:
        if candidate.key in (SCALED, "gamma_dropped"):
            base = candidate.mean
            both = replace(found, covariance=found.covariance + base.covariance)
            amount, rest = fit_along(both, base.value, direction, scale)
            nothing = np.zeros(len(found.value))
            p = difference_p_value(rest, nothing, scale, n_fitted=1)
            if p > CONSISTENT:
                fits.append((p, amount, candidate))
    if not fits:
        return None
    _, amount, base_candidate = max(fits, key=lambda fit: fit[0])
    dropped = base_candidate.key == "gamma_dropped"
    also = f" (and {base_candidate.title})" if dropped else ""
    if amount < 0.0:
        mistake = MISTAKES["entropy_sign"]
        key, title, text = mistake.key, mistake.title, mistake.explanation
    else:
        key, title, text = ENTROPY, "entropy bonus", _ENTROPY_TEXT
    return Diagnosis(
        key, f"{title}{also}", text, "equal", _cosine(found, base_candidate)
    )


_ENTROPY_TEXT = (
    "The gradient is that of the return plus a bonus for the policy's entropy: a "
    "deliberate bias towards exploring, of the right sign."
)
_SCALED = "right, but for a constant factor"
_SCALED_TEXT = (
    "The direction is exact, within noise, and the length is not: the step size makes "
    "up for it. A sum where a mean belongs does this, or the other way about; so do "
    "the clipping of gradients and a product of [B, 1] and [B], which is [B, B]."
)


def _closest(found: Mean, candidates: list[Candidate]) -> Diagnosis:
    highest = max(_cosine(found, candidate) for candidate in candidates)
    near = [c for c in candidates if _cosine(found, c) >= highest - _NEAR]
    return _diagnosis(min(near, key=_complexity), found, "closest")


def _diagnosis(
    candidate: Candidate, found: Mean, match: Match, also: tuple[str, ...] = ()
) -> Diagnosis:
    return Diagnosis(
        candidate.key,
        candidate.title,
        candidate.explanation,
        match,
        _cosine(found, candidate),
        also,
    )


def _stands_out(mean: Mean) -> bool:
    """Whether a mean is clearly longer than its noise."""
    return float(mean.value @ mean.value) > 20.0 * float(np.trace(mean.covariance))


def _cosine(found: Mean, candidate: Candidate) -> float:
    one, other = found.value, candidate.mean.value
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / max(lengths, 1e-30)


def _minus(found: Mean, known: Mean) -> Mean:
    return Mean(
        found.value - known.value,
        found.covariance + known.covariance,
        min(found.degrees, known.degrees),
    )
