"""Perturbs a policy, to detect subjects that learn from earlier policies' episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pg_agents.checker.statistics import MeanEstimate, difference_p_value
from pg_agents.checker.task import Array

# Largest change of an action's probability: large enough to be detected, small enough
# that the episodes stay similar.
_MAX_PROBABILITY_CHANGE = 0.5
# Significance level of a difference after a policy perturbation.
_SIGNIFICANCE = 1e-5


def is_stateful(mean: MeanEstimate, after: MeanEstimate, scale: float) -> bool:
    """Whether the mean gradient differs in rounds that follow a perturbed policy.

    Args:
        mean: the mean gradient in rounds with the same policy.
        after: the mean gradient in rounds that each follow one with another policy.
        scale: norm of the exact gradient.
    """
    difference = mean.minus(after)
    zero = np.zeros(len(difference.value))
    return difference_p_value(difference, zero, scale) < _SIGNIFICANCE


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
