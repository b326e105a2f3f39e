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


class Categorical:
    """A softmax over A actions.

    Args:
        logits: `[B, A]`, in nats, up to a constant per row.
    """

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits

    @cached_property
    def log_probs(self) -> Tensor:
        """`[B, A]`, normalised, in nats."""
        return torch.log_softmax(self._logits, dim=-1)

    def sample(self) -> Tensor:
        """Returns `[B]` int64: the first to arrive of A exponential clocks.

        The clock of action a runs at the rate p_a and shows t_a / p_a, with t_a drawn
        from an exponential distribution: it is the first with probability p_a. (The
        same logits plus Gumbel noise, log p_a - log t_a.) `torch.multinomial` does so
        too, and checks, for which it waits for the device.
        """
        times = torch.empty_like(self._logits).exponential_(1.0)
        return (self._logits - times.log_()).argmax(dim=-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns `[B]`, `log p(a)` of actions `[B]`, integers of any kind."""
        return self.log_probs.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)

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
        """Returns `[B]`, the log-density of actions `[B, D]`."""
        distance = (actions - self.mean) * torch.exp(-self.log_std)
        each = -0.5 * distance.square() - self.log_std - 0.5 * math.log(2.0 * math.pi)
        return each.sum(dim=-1)

    def entropy(self) -> Tensor:
        """Returns `[B]`, `sum_d log std_d + log(2 pi e) / 2`."""
        each = self.log_std + 0.5 + 0.5 * math.log(2.0 * math.pi)
        return each.expand_as(self.mean).sum(dim=-1)
