"""The policy that a plain function is checked with: a table of logits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Categorical

# Spread of the logits: far from uniform, where mistakes show that are mere factors at
# the uniform policy, and far from certain.
LOGIT_SPREAD = 0.7


class TablePolicy(nn.Module):
    """A softmax policy with a row of logits per observation.

    `pi(a | o) = exp(theta[o, a]) / sum_b exp(theta[o, b])`

    Args:
        observations: `[S, *obs_shape]`, what can be seen; equal rows share logits.
        n_actions: A.
        seed: seeds the logits, normal with a standard deviation of 0.7.
    """

    seen: Tensor

    def __init__(
        self,
        observations: NDArray[np.float32] | NDArray[np.int64],
        n_actions: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        distinct = np.unique(observations, axis=0)
        self.register_buffer("seen", torch.as_tensor(distinct))
        drawn = np.random.default_rng(seed).normal(size=(len(distinct), n_actions))
        self.logits = nn.Parameter(torch.as_tensor(LOGIT_SPREAD * drawn).float())

    def forward(self, observations: Tensor) -> Categorical:
        """Returns the distribution over actions.

        Args:
            observations: `[B, *obs_shape]`, or a single one, `[*obs_shape]`.

        Raises:
            ValueError: if one of them is none that the environment shows.
        """
        shape = self.seen.shape[1:]
        fits = observations.shape[observations.dim() - len(shape) :] == shape
        if not fits or observations.dim() < len(shape):
            raise ValueError(
                f"observations must have shape [..., {list(shape)}], got "
                f"{list(observations.shape)}"
            )
        batch = observations.reshape(-1, 1, *shape)
        same = (batch == self.seen).flatten(2).all(-1) if shape else batch == self.seen
        if not same.any(-1).all():
            raise ValueError(
                "the policy was asked about an observation that the environment never "
                f"shows; it knows {len(self.seen)} of shape {list(shape)}, and got "
                f"{list(observations.shape)}"
            )
        # argmax of bool is not defined on all devices.
        rows = same.float().argmax(-1)
        leading = observations.shape[: observations.dim() - len(shape)]
        logits = self.logits[rows].reshape(*leading, -1)
        return Categorical(logits=logits, validate_args=False)
