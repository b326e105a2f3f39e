"""Measured gradients of a subject, and the perturbed policy that detects its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pg_agents.checker.geometry import Geometry
from pg_agents.checker.statistics import GradientSeries, MeanEstimate
from pg_agents.checker.task import Array, Task

# Largest change of an action's probability: large enough to be detected, small enough
# that the episodes stay similar.
_MAX_PROBABILITY_CHANGE = 0.5


@dataclass(frozen=True)
class Candidate:
    """The known gradient of a mistake, with which a biased gradient is compared.

    Attributes:
        key: identifier of the mistake.
        title: display name.
        explanation: what it means for a subject to have this gradient.
        mean: its expectation, in the unit of the subject.
    """

    key: str
    title: str
    explanation: str
    mean: MeanEstimate


@dataclass(frozen=True)
class Measurement:
    """All measurements of a subject.

    Attributes:
        task: MDP and objective.
        geometry: the policy and the exact gradient per episode.
        series: gradients of rounds with the unperturbed policy.
        perturbed_series: gradients of rounds that each follow a round with a perturbed
            policy; they differ if the subject is stateful. None if not measured.
        episodes_per_round: mean number of episodes per gradient.
        n_envs: number of parallel environments.
        steps_per_unit: None if the subject averages over episodes; otherwise it
            averages over steps, and this is the mean episode length, by which the exact
            gradient is divided.
        out_of_span_norm: norm of the mean gradient outside the span of the scores,
            relative to the exact gradient.
        candidates: expected gradients that are specific to this subject.
        notes: remarks for the report.
        sample_is_sufficient: whether the reference estimator can be verified with a
            sample of this size.
    """

    task: Task
    geometry: Geometry
    series: GradientSeries
    perturbed_series: GradientSeries | None
    episodes_per_round: float
    n_envs: int
    steps_per_unit: float | None = None
    out_of_span_norm: float = 0.0
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()
    sample_is_sufficient: bool = True

    @property
    def exact(self) -> Array:
        """The exact gradient `[D]` in the unit of the subject, per episode or step."""
        return self.geometry.exact / (self.steps_per_unit or 1.0)

    @property
    def scale(self) -> float:
        """Norm of the exact gradient in the unit of the subject."""
        return float(np.linalg.norm(self.exact))


class PolicyPerturbation:
    """Context manager that perturbs the parameters of a policy.

    Args:
        parameters: parameters of the policy.
        log_probs: returns log pi(a|s), `[S, A]`.
        seed: seed of the direction.

    Attributes:
        policy: `[S, A]`, action probabilities of the perturbed policy.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        log_probs: Callable[[], Tensor],
        seed: int,
    ) -> None:
        self._parameters = list(parameters)
        self._original = [p.detach().clone() for p in parameters]
        generator = torch.Generator().manual_seed(seed)
        noise = [torch.randn(p.shape, generator=generator) for p in parameters]
        with torch.no_grad():
            probs = log_probs().exp()
            scale = 2.0
            while True:
                self._perturbed = [
                    value + scale * step.to(value)
                    for value, step in zip(self._original, noise, strict=True)
                ]
                with self:
                    perturbed_probs = log_probs().double().exp()
                if (perturbed_probs - probs).abs().max() <= _MAX_PROBABILITY_CHANGE:
                    break
                scale /= 2.0
        total = perturbed_probs.sum(dim=1, keepdim=True)
        self.policy: Array = (perturbed_probs / total).numpy()

    def __enter__(self) -> PolicyPerturbation:
        """Applies the perturbation."""
        self._write(self._perturbed)
        return self

    def __exit__(self, *_: object) -> None:
        """Restores the parameters."""
        self._write(self._original)

    def _write(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._parameters, values, strict=True):
                parameter.copy_(value)
