"""SB3's distributions, over actions as the environment counts and types them.

SB3's own count from 0 where a space starts at another number, take binary actions as
floats alone, and actions of a Box as rows of numbers, whatever its shape. These take
and give actions of the space. `distribution`, torch's, is as in SB3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
    StateDependentNoiseDistribution,
)
from torch import Tensor

from pg_agents.policies.distributions import Start, as_rows, counted, from_zero


class CountedCategorical(CategoricalDistribution):
    """A softmax over the actions of a `Discrete` space."""

    start: int | None = None

    def sample(self) -> Tensor:
        """Returns `[B]` int64."""
        return counted(super().sample(), self.start)

    def mode(self) -> Tensor:
        """Returns `[B]` int64, the most likely actions."""
        return counted(super().mode(), self.start)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B]` or `[B, 1]`, whole numbers of any dtype."""
        numbers = from_zero(actions, self.start)
        return super().log_prob(numbers.flatten() if numbers.dim() > 1 else numbers)


class CountedMultiCategorical(MultiCategoricalDistribution):
    """A softmax for each of the K numbers of a `MultiDiscrete` action."""

    start: Tensor | None = None

    def sample(self) -> Tensor:
        """Returns `[B, K]` int64."""
        return counted(super().sample(), self.start)

    def mode(self) -> Tensor:
        """Returns `[B, K]` int64, the most likely actions."""
        return counted(super().mode(), self.start)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, K]`, whole numbers of any dtype."""
        return super().log_prob(torch.atleast_2d(from_zero(actions, self.start)))


class BinaryBernoulli(BernoulliDistribution):
    """A coin for each of the n numbers of a `MultiBinary` action."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, n]`, 0 and 1 of any dtype."""
        return super().log_prob(as_rows(actions, self.distribution.logits))


class BoxGaussian(DiagGaussianDistribution):
    """Independent normal distributions over the numbers of a `Box` action."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, *action_shape]` or `[B, D]`, of any dtype."""
        return super().log_prob(as_rows(actions, self.distribution.mean))


class BoxStateDependentNoise(StateDependentNoiseDistribution):
    """The same with gSDE's noise; squashed actions are in [-1, 1], as in SB3."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, *action_shape]` or `[B, D]`, of any dtype."""
        return super().log_prob(as_rows(actions, self.distribution.mean))


_KINDS: dict[type[Distribution], type[Distribution]] = {
    CategoricalDistribution: CountedCategorical,
    MultiCategoricalDistribution: CountedMultiCategorical,
    BernoulliDistribution: BinaryBernoulli,
    DiagGaussianDistribution: BoxGaussian,
    StateDependentNoiseDistribution: BoxStateDependentNoise,
}


def of_space(distribution: Distribution, space: spaces.Space[Any]) -> Distribution:
    """Returns SB3's distribution as one over the actions of a space.

    Args:
        distribution: as SB3 makes it for the space, with what it knows by now, such as
            gSDE's noise. One of any other class is returned as it is.
        space: the action space.
    """
    kind = _KINDS.get(type(distribution))
    if kind is None:
        return distribution
    ours = kind.__new__(kind)
    vars(ours).update(vars(distribution), start=_start(space))
    return ours


def _start(space: spaces.Space[Any]) -> Start:
    """Returns the first number of a discrete space, or `[K]` of them; None for 0."""
    start = getattr(space, "start", 0)
    if not np.any(start):
        return None
    whole = np.asarray(start).astype(np.int64)
    return torch.as_tensor(whole) if whole.ndim else int(whole)
