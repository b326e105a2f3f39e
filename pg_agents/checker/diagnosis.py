"""Identifies the mistake that a biased gradient matches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pg_agents.checker.episodes import Steps, sample_episodes
from pg_agents.checker.estimators import (
    Estimator,
    Sample,
    control_variates,
    estimates,
    reward_to_go,
)
from pg_agents.checker.geometry import Geometry
from pg_agents.checker.measurement import Candidate, Measurement
from pg_agents.checker.mistakes import CATALOGUE, MISTAKES
from pg_agents.checker.statistics import (
    MAX_TESTED_DIRECTIONS,
    MeanEstimate,
    control_variate_mean,
    difference_p_value,
    fit_component,
    group_means,
)
from pg_agents.checker.task import Array, Task
from pg_agents.learning.baselines import standardize
from pg_agents.learning.returns import generalized_advantage

Match = Literal["equal", "equal up to a factor", "one of several", "closest"]

# Significance level at which a candidate is rejected.
_SIGNIFICANCE = 1e-3
# Candidates with at least this p-value are considered equally good.
_GOOD_FIT = 0.05
# Significance level of a difference after a policy perturbation.
_STATEFUL_SIGNIFICANCE = 1e-5
# Candidates whose cosines differ by less are considered equally close.
_COSINE_TOLERANCE = 0.01
# With at least this many other matching mistakes, the mistake is ambiguous.
_AMBIGUOUS = 3
# Episodes from which the candidates' gradients are computed.
_N_EPISODES = 32_768

# Mistakes that only apply to batches of complete episodes.
_EPISODE_BATCH_MISTAKES = (
    "mean_over_steps",
    "batch_mean_baseline",
    "standardized",
    "first_finished",
)

SCALED = "scaled"
_SCALED_TITLE = "correct up to a constant factor"
_SCALED_EXPLANATION = (
    "The direction is exact within noise, but the length is not; the step size can "
    "compensate for it. Causes are a sum in place of a mean or vice versa, gradient "
    "clipping, and a product of shapes [B, 1] and [B], which broadcasts to [B, B]."
)
ENTROPY = "entropy_bonus"
_ENTROPY_EXPLANATION = (
    "The gradient is that of the return plus an entropy bonus: a deliberate bias "
    "towards exploration, with the correct sign."
)
CRITIC = "critic"
_CRITIC_TITLE = "an inexact critic"
_CRITIC_EXPLANATION = (
    "Returns are bootstrapped with the critic's values. As long as the critic is not "
    "exact, the gradient is biased; critic='exact' shows any other bias."
)
STANDARDIZED = "standardized_advantages"
_STANDARDIZED_TITLE = "advantages standardised over a batch of {size} steps"
_STANDARDIZED_EXPLANATION = (
    "Advantages are divided by their standard deviation, so that the step size does "
    "not depend on the scale of the rewards. The gradient also contains the error of "
    "the critic, and gamma^t is dropped. critic='exact' removes the critic's error."
)


@dataclass(frozen=True)
class Diagnosis:
    """The mistake that a biased gradient matches.

    Attributes:
        key: key of the mistake in the catalogue; `"scaled"` for a constant factor,
            `"entropy_bonus"` for a bonus with the correct sign, `"critic"` and
            `"standardized_advantages"` for the effect of a model's critic.
        title: display name, including additional mistakes.
        explanation: what it means.
        match: `"equal"`: the mistake's gradient, within noise. `"equal up to a
            factor"`: its direction. `"one of several"`: too many mistakes match.
            `"closest"`: none matches; this is the most similar one.
        cosine: cosine between the subject's and the mistake's gradient.
        also: titles of other mistakes with the same gradient, within noise.
    """

    key: str
    title: str
    explanation: str
    match: Match
    cosine: float
    also: tuple[str, ...] = ()


def is_stateful(mean: MeanEstimate, perturbed_mean: MeanEstimate, scale: float) -> bool:
    """Whether the mean gradient differs in rounds that follow a perturbed policy."""
    p_value = _equality_p_value(mean, perturbed_mean, scale)
    return p_value < _STATEFUL_SIGNIFICANCE


def diagnose(measurement: Measurement, mean: MeanEstimate, seed: int) -> Diagnosis:
    """Returns the mistake that a biased mean gradient matches best."""
    scale = measurement.scale
    sample = _sample(measurement, seed)
    # Some mistakes have a mean gradient of 0, with which nothing can be compared.
    candidates = [
        candidate
        for candidate in _candidates(measurement, sample)
        if _is_significant(candidate.mean)
    ]
    return (
        _equal(mean, candidates, scale)
        or _entropy(measurement, sample, mean, candidates)
        or _equal_up_to_factor(mean, candidates, scale)
        or _closest(mean, candidates)
    )


def _sample(measurement: Measurement, seed: int) -> Sample:
    """Samples episodes in batches like those of the subject."""
    task, policy = measurement.task, measurement.geometry.policy
    size = max(1, round(measurement.episodes_per_round))
    n_envs = measurement.n_envs if size % measurement.n_envs == 0 else 1
    n = max(64, _N_EPISODES // size) * size
    rng = np.random.default_rng([seed, 1])
    return Sample(sample_episodes(task, policy, n, rng), task, policy, size, n_envs)


def _candidates(measurement: Measurement, sample: Sample) -> Iterator[Candidate]:
    task, geometry = measurement.task, measurement.geometry
    ones = np.ones(len(sample.gamma_t))
    controls = control_variates(sample, geometry.scores, geometry.exact)

    def mean(estimator: Estimator, discount: Array) -> MeanEstimate:
        rows = estimates(sample, estimator, geometry.scores, discount)
        unit = measurement.steps_per_unit or 1.0
        return control_variate_mean(rows / unit, controls)

    yield Candidate(
        SCALED, _SCALED_TITLE, _SCALED_EXPLANATION, mean(reward_to_go, sample.gamma_t)
    )
    dropped = MISTAKES["gamma_dropped"]
    if task.gamma < 1.0:
        yield Candidate(
            dropped.key, dropped.title, dropped.explanation, mean(reward_to_go, ones)
        )
    yield from measurement.candidates
    for mistake in CATALOGUE:
        if mistake.at_truncation and not task.bootstrap:
            continue
        if mistake.key == "first_finished" and sample.n_envs == 1:
            continue
        averages_over_steps = measurement.steps_per_unit is not None
        if averages_over_steps and mistake.key in _EPISODE_BATCH_MISTAKES:
            continue
        key, title, text = mistake.key, mistake.title, mistake.explanation
        for estimator in mistake.estimators:
            yield Candidate(key, title, text, mean(estimator, sample.gamma_t))
            # gamma_twice with gamma^t dropped is correct.
            if task.gamma < 1.0 and key != "gamma_twice":
                both = f"{title} (and {dropped.title})"
                yield Candidate(key, both, text, mean(estimator, ones))


def _equal(
    mean: MeanEstimate, candidates: list[Candidate], scale: float
) -> Diagnosis | None:
    """Returns the first candidate, in order of the catalogue, that is equal."""
    p_values = {id(c): _equality_p_value(mean, c.mean, scale) for c in candidates}
    equal = [
        c for c in candidates if p_values[id(c)] > _SIGNIFICANCE and c.key != SCALED
    ]
    if not equal:
        return None
    good = [c for c in equal if p_values[id(c)] > _GOOD_FIT]
    best = (
        min(good, key=_n_mistakes)
        if good
        else max(equal, key=lambda candidate: p_values[id(candidate)])
    )
    others = [c for c in equal if c.key != best.key]
    also = tuple(dict.fromkeys(c.title for c in others))
    if len({c.key for c in others}) < _AMBIGUOUS:
        return _diagnosis(best, mean, "equal", also)
    several = replace(best, title="; ".join((best.title, *also)), explanation="")
    return _diagnosis(several, mean, "one of several")


def _n_mistakes(candidate: Candidate) -> int:
    """Returns 2 for a mistake combined with gamma^t dropped, else 1."""
    return 1 + ("(and " in candidate.title)


def _equal_up_to_factor(
    mean: MeanEstimate, candidates: list[Candidate], scale: float
) -> Diagnosis | None:
    zero = np.zeros(len(mean.value))
    fits = []
    for candidate in candidates:
        estimate = candidate.mean
        norm_ratio = _cosine(mean, candidate) * np.linalg.norm(mean.value)
        norm_ratio /= np.linalg.norm(estimate.value) + 1e-30
        # The noise of the candidate, scaled by the approximate factor.
        noise = norm_ratio**2 * estimate.covariance
        noisy_mean = replace(mean, covariance=mean.covariance + noise)
        factor, residual = fit_component(noisy_mean, zero, estimate.value, scale)
        p_value = difference_p_value(residual, zero, scale, n_fitted=1)
        if factor > 0.0 and p_value > _SIGNIFICANCE:
            # A constant factor alone is the simplest explanation.
            fits.append((candidate.key == SCALED, p_value, factor, candidate))
    if not fits:
        return None
    _, _, factor, best = max(fits, key=lambda fit: fit[:2])
    titled = replace(best, title=f"{best.title} (times {factor:.3g})")
    return _diagnosis(titled, mean, "equal up to a factor")


def _entropy(
    measurement: Measurement,
    sample: Sample,
    mean: MeanEstimate,
    candidates: list[Candidate],
) -> Diagnosis | None:
    """Fits the entropy's gradient on top of the correct one, also without gamma^t."""
    geometry, steps, scale = measurement.geometry, sample.steps, measurement.scale
    log_pi = np.log(np.maximum(geometry.policy, 1e-30))
    state_gradient = -np.einsum(
        "sa,sa,sad->sd", geometry.policy, log_pi, geometry.scores
    )
    direction = state_gradient[steps.state].sum(axis=0) / steps.n_episodes
    if np.linalg.norm(direction) <= 1e-9 * scale:
        return None
    zero = np.zeros(len(mean.value))
    fits = []
    for candidate in candidates:
        if candidate.key in (SCALED, "gamma_dropped"):
            base = candidate.mean
            both = replace(mean, covariance=mean.covariance + base.covariance)
            amount, residual = fit_component(both, base.value, direction, scale)
            p_value = difference_p_value(residual, zero, scale, n_fitted=1)
            if p_value > _SIGNIFICANCE:
                fits.append((p_value, amount, candidate))
    if not fits:
        return None
    _, amount, base_candidate = max(fits, key=lambda fit: fit[0])
    dropped = base_candidate.key == "gamma_dropped"
    suffix = f" (and {base_candidate.title})" if dropped else ""
    if amount < 0.0:
        mistake = MISTAKES["entropy_sign"]
        key, title, text = mistake.key, mistake.title, mistake.explanation
    else:
        key, title, text = ENTROPY, "entropy bonus", _ENTROPY_EXPLANATION
    cosine = _cosine(mean, base_candidate)
    return Diagnosis(key, f"{title}{suffix}", text, "equal", cosine)


def _closest(mean: MeanEstimate, candidates: list[Candidate]) -> Diagnosis:
    highest = max(_cosine(mean, candidate) for candidate in candidates)
    close = [c for c in candidates if _cosine(mean, c) >= highest - _COSINE_TOLERANCE]
    return _diagnosis(min(close, key=_n_mistakes), mean, "closest")


def _diagnosis(
    candidate: Candidate, mean: MeanEstimate, match: Match, also: tuple[str, ...] = ()
) -> Diagnosis:
    return Diagnosis(
        candidate.key,
        candidate.title,
        candidate.explanation,
        match,
        _cosine(mean, candidate),
        also,
    )


def _is_significant(mean: MeanEstimate) -> bool:
    """Whether a mean is clearly longer than its noise."""
    return float(mean.value @ mean.value) > 20.0 * float(np.trace(mean.covariance))


def _cosine(mean: MeanEstimate, candidate: Candidate) -> float:
    one, other = mean.value, candidate.mean.value
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / max(norms, 1e-30)


def _equality_p_value(one: MeanEstimate, other: MeanEstimate, scale: float) -> float:
    return difference_p_value(one.minus(other), np.zeros(len(one.value)), scale)


# The gradient of models that bootstrap with their own critic.

_N_CRITIC_EPISODES = 16_384
_N_CRITIC_GROUPS = 1_000
# Window for models that learn from complete episodes: long enough to truncate few.
_EPISODE_WINDOW = 2_000


def critic_candidates(
    model: Any,  # noqa: ANN401
    task: Task,
    geometry: Geometry,
    centred_q: Array,
    exact_critic: bool,
    seed: int,
) -> Iterator[Candidate]:
    """Yields the gradient that a model's critic leads to, with gamma^t dropped.

    It uses generalised advantage estimation in windows of the model's `n_steps`, with
    the critic's values, and standardises advantages as the model does. Nothing is
    yielded for models without generalised advantages.

    Args:
        model: the model.
        task: MDP and objective.
        geometry: the policy.
        centred_q: `[S, A, D]`, scores times centred action values, a control variate.
        exact_critic: whether the model's critic has been replaced by the exact values.
        seed: seed of the episodes.
    """
    gae_lambda = _gae_lambda(model)
    standardized = bool(getattr(model, "normalize_advantage", False))
    if gae_lambda is None or (exact_critic and not standardized):
        return
    rng = np.random.default_rng([seed, 2])
    steps = sample_episodes(task, geometry.policy, _N_CRITIC_EPISODES, rng)
    window = _EPISODE_WINDOW if getattr(model, "n_episodes", None) else model.n_steps
    values = _critic_values(model, task)
    advantages = _advantages(steps, task, values, window, gae_lambda)
    n = len(advantages)
    state, action = steps.state[:n], steps.action[:n]
    scores = geometry.scores[state, action]
    controls = np.column_stack(
        [
            scores[:, :MAX_TESTED_DIRECTIONS],
            centred_q[state, action, :MAX_TESTED_DIRECTIONS],
        ]
    )
    key, title, text = CRITIC, _CRITIC_TITLE, _CRITIC_EXPLANATION
    if standardized:
        # Minibatches are random subsets of the rollout.
        has_minibatches = hasattr(model, "batch_size")
        size = getattr(model, "batch_size", model.n_envs * (model.n_steps or 1))
        order = rng.permutation(n) if has_minibatches else np.arange(n)
        for chunk in np.array_split(order, max(1, n // size)):
            advantages[chunk] = standardize(torch.as_tensor(advantages[chunk])).numpy()
        key, title = STANDARDIZED, _STANDARDIZED_TITLE.format(size=size)
        text = _STANDARDIZED_EXPLANATION
    mean = control_variate_mean(
        group_means(advantages[:, None] * scores, _N_CRITIC_GROUPS),
        group_means(controls, _N_CRITIC_GROUPS),
    )
    yield Candidate(key, title, text, mean)


def _gae_lambda(model: Any) -> float | None:  # noqa: ANN401
    """Returns the lambda of the model's advantages; None for other estimators."""
    if getattr(model, "baseline", "value") != "value":
        return None
    estimator = getattr(model, "estimator", "gae")
    return {"td": 0.0, "gae": model.gae_lambda}.get(estimator)


def _critic_values(model: Any, task: Task) -> Array:  # noqa: ANN401
    observations, _ = model.policy.obs_to_tensor(np.array(task.mdp.observations))
    with torch.no_grad():
        values: Array = model.policy.predict_values(observations).double().numpy()
    return values.flatten()


def _advantages(
    steps: Steps, task: Task, values: Array, window: int, gae_lambda: float
) -> Array:
    """Returns advantages in consecutive windows, without the incomplete last one."""
    n = len(steps.state) // window * window

    def windows(column: np.ndarray[Any, Any]) -> Tensor:
        return torch.as_tensor(column[:n].reshape(-1, window).T.copy())

    advantages = generalized_advantage(
        windows(steps.reward),
        windows(values[steps.state]),
        task.gamma,
        gae_lambda,
        windows(steps.terminated),
        windows(steps.truncated),
        windows(values[steps.next_state]),
    )
    flat: Array = advantages.T.reshape(-1).numpy()
    return flat
