"""Distributions over actions, in the numbers and dtypes of the action space.

SB3's distributions count from 0 where a discrete space starts at another number, take
binary actions as floats only, and actions of a Box as flat rows whatever its shape. The
subclasses here take and return actions of the space; `distribution`, torch's own, is as
in SB3.

Argument checks of torch are off: they cost more than a small network, and synchronise
with the device.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    Distribution,
    MultiCategoricalDistribution,
    StateDependentNoiseDistribution,
)
from torch import Tensor
from torch.distributions import Normal
from torch.types import _size

from pg_agents.common.spaces import constant

NO_SHAPE = torch.Size()


class Categorical(torch.distributions.Categorical):
    """torch's softmax over A actions, without checks of its arguments.

    Args:
        logits: `[B, A]`, in nats, up to a constant per row.
    """

    def __init__(self, logits: Tensor) -> None:
        # torch's own normalisation loses digits of large logits.
        log_probs = torch.log_softmax(logits, dim=-1)
        super().__init__(logits=log_probs, validate_args=False)

    def sample(self, sample_shape: _size = NO_SHAPE) -> Tensor:
        """Returns `[B]` int64: `argmin_a t_a / p_a` with `t_a` exponential.

        Action a wins this race with probability `p_a`; equivalently, Gumbel noise
        `-log t_a` is added to the logits. `torch.multinomial` draws the same actions,
        and synchronises with the device to check its arguments.
        """
        if len(sample_shape) > 0:
            samples: Tensor = super().sample(sample_shape)  # type: ignore[no-untyped-call]
            return samples
        times = torch.empty_like(self.logits).exponential_(1.0)
        return (self.logits.detach() - times.log_()).argmax(dim=-1)


class ShiftedCategorical(CategoricalDistribution):
    """A softmax over the actions of a `Discrete` space."""

    # The first action of the space.
    start: int = 0

    def proba_distribution(self, action_logits: Tensor) -> Self:
        """Sets the logits, `[B, A]`."""
        self.distribution = Categorical(action_logits)
        return self

    def sample(self) -> Tensor:
        """Returns `[B]` int64."""
        return super().sample() + self.start

    def mode(self) -> Tensor:
        """Returns `[B]` int64, the most likely actions."""
        return super().mode() + self.start

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B]` or `[B, 1]`, whole numbers of any dtype."""
        indices = actions if actions.dtype is torch.int64 else _as_int64(actions)
        return super().log_prob(indices.flatten() - self.start)


class ShiftedMultiCategorical(MultiCategoricalDistribution):
    """A softmax for each of the K numbers of a `MultiDiscrete` action."""

    # The first number of each, `[K]`.
    start: NDArray[np.int64]

    def sample(self) -> Tensor:
        """Returns `[B, K]` int64."""
        indices = super().sample()
        return indices + constant(self.start, indices.device)

    def mode(self) -> Tensor:
        """Returns `[B, K]` int64, the most likely actions."""
        indices = super().mode()
        return indices + constant(self.start, indices.device)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, K]`, whole numbers of any dtype."""
        start = constant(self.start, actions.device)
        return super().log_prob(torch.atleast_2d(_as_int64(actions) - start))


class MultiBinaryBernoulli(BernoulliDistribution):
    """A Bernoulli distribution for each of the n numbers of a `MultiBinary` action."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]` of actions `[B, n]`, 0 and 1 of any dtype."""
        return super().log_prob(_flat(actions, self.distribution.logits))


class BoxGaussian(DiagGaussianDistribution):
    """Independent normal distributions over the numbers of a `Box` action."""

    def proba_distribution(self, mean_actions: Tensor, log_std: Tensor) -> Self:
        """Sets means, `[B, D]`, and logarithms of standard deviations, `[D]`."""
        std = torch.ones_like(mean_actions) * log_std.exp()
        self.distribution = Normal(mean_actions, std, validate_args=False)
        return self

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
    start = np.asarray(getattr(space, "start", 0)).astype(np.int64)
    vars(converted).update(
        vars(distribution), start=start if start.ndim else int(start)
    )
    return converted


def _as_int64(actions: Tensor) -> Tensor:
    """Returns whole numbers of any dtype as int64.

    Raises:
        ValueError: if actions are not whole numbers.
    """
    integers = actions.long()
    if actions.is_floating_point() and not torch.equal(integers.to(actions), actions):
        raise ValueError(f"discrete actions must be whole numbers, got {actions}")
    return integers


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
