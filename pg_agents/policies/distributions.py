"""The two common distributions over actions, as bare arithmetic on tensors.

`torch.distributions` checks what it is given and keeps every parametrisation at hand;
for a small network that costs more than the network. The draws are those that
Stable-Baselines3 makes of them from the same generator.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor


class ActionDistribution(Protocol):
    """What is asked of a distribution over actions; SB3's have it, too."""

    def sample(self) -> Tensor:
        """Returns an action for each row."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns log-probabilities `[B]`."""

    def entropy(self) -> Tensor | None:
        """Returns entropies `[B]` in nats; None where there is no closed form."""


# The first action of a discrete space, or `[K]` int64 of them; None for 0.
Start = int | Tensor | None


def counted(numbers: Tensor, start: Start) -> Tensor:
    """Returns actions as their space counts them, of numbers that count from 0.

    Args:
        numbers: `[B]` or `[B, K]` int64.
        start: where the space begins.
    """
    if start is None:
        return numbers
    return numbers + (start.to(numbers) if isinstance(start, Tensor) else start)


def from_zero(actions: Tensor, start: Start) -> Tensor:
    """Returns int64 numbers that count from 0, of actions as their space counts them.

    Args:
        actions: `[B]` or `[B, K]`, whole numbers of any dtype.
        start: where the space begins.

    Raises:
        ValueError: if actions are no whole numbers.
    """
    numbers = actions
    if actions.dtype is not torch.int64:
        numbers = actions.long()
        if actions.is_floating_point() and not torch.equal(
            numbers.to(actions), actions
        ):
            raise ValueError(f"discrete actions must be whole numbers, got {actions}")
    if start is None:
        return numbers
    return numbers - (start.to(numbers) if isinstance(start, Tensor) else start)


def as_rows(actions: Tensor, like: Tensor) -> Tensor:
    """Returns actions as rows of numbers, `[B, D]`, of the dtype of `like`.

    Args:
        actions: `[B, *action_shape]` or `[B, D]`, or a single action, of any dtype.
        like: `[B, D]`.

    Raises:
        ValueError: if actions have not D numbers each.
    """
    size = like.shape[-1]
    if actions.shape != like.shape:
        given = actions.shape
        if actions.numel() == size:
            actions = actions.reshape(1, size)
        else:
            actions = actions.flatten(1) if len(given) > 1 else actions.reshape(-1, 1)
        if actions.shape[-1] != size:
            raise ValueError(
                f"actions must be [B, {size}], or of the shape of the action space, "
                f"got {list(given)}"
            )
    return actions.to(like.dtype)


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
        """Returns `[B]` int64: the first to arrive of A exponential clocks.

        The clock of action a runs at the rate p_a and shows t_a / p_a, with t_a drawn
        from an exponential distribution: it is the first with probability p_a. (The
        same logits plus Gumbel noise, log p_a - log t_a.) `torch.multinomial` does so
        too, and checks, for which it waits for the device.
        """
        times = torch.empty_like(self._logits).exponential_(1.0)
        return counted((self._logits - times.log_()).argmax(dim=-1), self._start)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]`, `log p(a)` of actions `[B]` or `[B, 1]`, of any dtype."""
        numbers = from_zero(actions, self._start).reshape(-1, 1)
        return self.log_probs.gather(-1, numbers).squeeze(-1)

    def entropy(self) -> Tensor:
        """Returns `[B]`, `-sum_a p(a) log p(a)`, 0 log 0 being 0."""
        log_probs = self.log_probs
        # An action that is as good as impossible has -inf, which times 0 is no number.
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
        actions = as_rows(actions, self.mean)
        distance = (actions - self.mean) * torch.exp(-self.log_std)
        each = -0.5 * distance.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)
        return each.sum(dim=-1)

    def entropy(self) -> Tensor:
        """Returns `[B]`, `sum_d log std_d + log(2 pi e) / 2`."""
        each = self.log_std + 0.5 + 0.5 * math.log(2.0 * math.pi)
        return each.expand_as(self.mean).sum(dim=-1)
