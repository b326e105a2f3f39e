"""Distributions over actions, in the numbers and dtypes of the action space.

SB3's distributions count from 0 where a discrete space starts at another number, take
binary actions as floats only, and actions of a Box as flat rows whatever its shape. The
subclasses here take and return actions of the space; `distribution`, torch's own, is as
in SB3.

`Categorical` and `Gaussian` compute the two common ones without `torch.distributions`,
whose argument checks cost more than a small network and wait for the device. From the
same generator they draw what SB3's draw.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Protocol

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

# The first action of a discrete space, or `[K]` int64 of them; None for 0.
Start = int | Tensor | None


class ActionDistribution(Protocol):
    """The methods used of a distribution over actions, SB3's or ours."""

    def sample(self) -> Tensor:
        """Returns an action for each row."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns log-probabilities `[B]`."""

    def entropy(self) -> Tensor | None:
        """Returns entropies `[B]` in nats; None if there is no closed form."""


class Categorical:
    """A softmax over A actions.

    Args:
        logits: `[B, A]`, in nats, up to a constant per row.
        start: the first action; None for 0.
    """

    def __init__(self, logits: Tensor, start: int | None = None) -> None:
        self._logits, self._start = logits, start

    @cached_property
    def log_probs(self) -> Tensor:
        """`[B, A]`, normalised, in nats, from the first action to the last."""
        return torch.log_softmax(self._logits, dim=-1)

    def sample(self) -> Tensor:
        """Returns `[B]` int64: `argmin_a t_a / p_a` with `t_a` exponential.

        Action a wins this race with probability `p_a`; equivalently, Gumbel noise
        `-log t_a` is added to the logits. `torch.multinomial` does the same, and waits
        for the device to check its arguments.
        """
        times = torch.empty_like(self._logits).exponential_(1.0)
        return _shifted((self._logits - times.log_()).argmax(dim=-1), self._start)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]`, `log p(a)` of actions `[B]` or `[B, 1]`, of any dtype."""
        indices = _indices(actions, self._start).reshape(-1, 1)
        return self.log_probs.gather(-1, indices).squeeze(-1)

    def entropy(self) -> Tensor:
        """Returns `[B]`, `-sum_a p(a) log p(a)`, 0 log 0 being 0."""
        log_probs = self.log_probs
        # 0 * -inf would be NaN.
        finite = log_probs.clamp(min=torch.finfo(log_probs.dtype).min)
        return -(log_probs.exp() * finite).sum(dim=-1)


class Gaussian:
    """Independent normal distributions, one for each of D numbers.

    Args:
        mean: `[B, D]`.
        log_std: `[D]` or `[B, D]`, logarithm of the standard deviation.
    """

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        self.mean, self.log_std = mean, log_std

    def sample(self) -> Tensor:
        """Returns `[B, D]`, `mean + std * noise`."""
        return self.mean + self.log_std.exp() * torch.randn_like(self.mean)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]`, the log-density of actions `[B, *action_shape]`."""
        actions = _flat(actions, self.mean)
        z = (actions - self.mean) * torch.exp(-self.log_std)
        terms = -0.5 * z.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)
        return terms.sum(dim=-1)

    def entropy(self) -> Tensor:
        """Returns `[B]`, `sum_d log std_d + log(2 pi e) / 2`."""
        terms = self.log_std + 0.5 + 0.5 * math.log(2.0 * math.pi)
        return terms.expand_as(self.mean).sum(dim=-1)


class ShiftedCategorical(CategoricalDistribution):
    """A softmax over the actions of a `Discrete` space."""

    start: int | None = None

    def sample(self) -> Tensor:
        """Returns `[B]` int64."""
        return _shifted(super().sample(), self.start)

    def mode(self) -> Tensor:
        """Returns `[B]` int64, the most likely actions."""
        return _shifted(super().mode(), self.start)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B]` or `[B, 1]`, whole numbers of any dtype."""
        indices = _indices(actions, self.start)
        return super().log_prob(indices.flatten() if indices.dim() > 1 else indices)


class ShiftedMultiCategorical(MultiCategoricalDistribution):
    """A softmax for each of the K numbers of a `MultiDiscrete` action."""

    start: Tensor | None = None

    def sample(self) -> Tensor:
        """Returns `[B, K]` int64."""
        return _shifted(super().sample(), self.start)

    def mode(self) -> Tensor:
        """Returns `[B, K]` int64, the most likely actions."""
        return _shifted(super().mode(), self.start)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, K]`, whole numbers of any dtype."""
        return super().log_prob(torch.atleast_2d(_indices(actions, self.start)))


class MultiBinaryBernoulli(BernoulliDistribution):
    """A Bernoulli distribution for each of the n numbers of a `MultiBinary` action."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, n]`, 0 and 1 of any dtype."""
        return super().log_prob(_flat(actions, self.distribution.logits))


class BoxGaussian(DiagGaussianDistribution):
    """Independent normal distributions over the numbers of a `Box` action."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, *action_shape]` or `[B, D]`, of any dtype."""
        return super().log_prob(_flat(actions, self.distribution.mean))


class BoxStateDependentNoise(StateDependentNoiseDistribution):
    """gSDE over the numbers of a `Box` action; squashed ones are in [-1, 1]."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, *action_shape]` or `[B, D]`, of any dtype."""
        return super().log_prob(_flat(actions, self.distribution.mean))


_SUBCLASSES: dict[type[Distribution], type[Distribution]] = {
    CategoricalDistribution: ShiftedCategorical,
    MultiCategoricalDistribution: ShiftedMultiCategorical,
    BernoulliDistribution: MultiBinaryBernoulli,
    DiagGaussianDistribution: BoxGaussian,
    StateDependentNoiseDistribution: BoxStateDependentNoise,
}


def for_space(distribution: Distribution, space: spaces.Space[Any]) -> Distribution:
    """Converts one of SB3's distributions to one over the actions of a space.

    Args:
        distribution: as SB3 makes it for the space, with state such as gSDE's noise.
            One of any other class is returned unchanged.
        space: the action space.
    """
    subclass = _SUBCLASSES.get(type(distribution))
    if subclass is None:
        return distribution
    converted = subclass.__new__(subclass)
    vars(converted).update(vars(distribution), start=_start(space))
    return converted


def _start(space: spaces.Space[Any]) -> Start:
    start = getattr(space, "start", 0)
    if not np.any(start):
        return None
    numbers = np.asarray(start).astype(np.int64)
    return torch.as_tensor(numbers) if numbers.ndim else int(numbers)


def _shifted(indices: Tensor, start: Start) -> Tensor:
    """Returns the actions with indices `[B]` or `[B, K]`, int64."""
    if start is None:
        return indices
    return indices + (start.to(indices) if isinstance(start, Tensor) else start)


def _indices(actions: Tensor, start: Start) -> Tensor:
    """Returns the indices, int64, of actions `[B]` or `[B, K]` of any dtype.

    Raises:
        ValueError: if actions are not whole numbers.
    """
    indices = actions
    if actions.dtype is not torch.int64:
        indices = actions.long()
        if actions.is_floating_point() and not torch.equal(
            indices.to(actions), actions
        ):
            raise ValueError(f"discrete actions must be whole numbers, got {actions}")
    if start is None:
        return indices
    return indices - (start.to(indices) if isinstance(start, Tensor) else start)


def _flat(actions: Tensor, like: Tensor) -> Tensor:
    """Returns actions as rows `[B, D]` of the dtype of `like`.

    Args:
        actions: `[B, *action_shape]` or `[B, D]`, or a single action, of any dtype.
        like: `[B, D]`.

    Raises:
        ValueError: if actions do not have D numbers each.
    """
    size = like.shape[-1]
    if actions.shape != like.shape:
        shape = actions.shape
        if actions.numel() == size:
            actions = actions.reshape(1, size)
        else:
            actions = actions.flatten(1) if len(shape) > 1 else actions.reshape(-1, 1)
        if actions.shape[-1] != size:
            raise ValueError(
                f"actions must be [B, {size}], or of the shape of the action space, "
                f"got {list(shape)}"
            )
    return actions.to(like.dtype)
