"""Observations brought to the size that networks learn well from, by fixed numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor


class ScaledExtractor(BaseFeaturesExtractor):
    """The features are `(observation - centre) / scale`.

    Where what an environment shows is known beforehand, in pixels say, this takes the
    place of SB3's VecNormalize: the numbers belong to the policy, are saved with its
    weights, and a native vector environment is stepped without a wrapper. Pass it as
    `policy_kwargs={"features_extractor_class": ScaledExtractor,
    "features_extractor_kwargs": {"centre": [...], "scale": [...]}}`.

    Args:
        observation_space: a `Box` of shape `[D]`.
        centre: D numbers, in the units of the observation: what becomes 0.
        scale: D numbers above 0, likewise: how far from there is 1.

    Raises:
        ValueError: if the space is another, or the numbers do not fit it.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        observation_space: spaces.Box,
        centre: Sequence[float],
        scale: Sequence[float],
    ) -> None:
        shape = observation_space.shape
        if not isinstance(observation_space, spaces.Box) or len(shape) != 1:
            raise ValueError(
                "ScaledExtractor needs a Box of one dimension, got an observation "
                f"space {observation_space}"
            )
        super().__init__(observation_space, shape[0])
        self.register_buffer("centre", _numbers("centre", centre, shape[0]))
        self.register_buffer("scale", _numbers("scale", scale, shape[0]))
        if not (self.scale > 0).all():
            raise ValueError(f"scale must be above 0, got {list(scale)}")

    def forward(self, observations: Tensor) -> Tensor:
        """Returns the features `[B, D]` of observations `[B, D]`, float32."""
        return (observations - self.centre) / self.scale


def _numbers(name: str, given: Sequence[float], n_numbers: int) -> Tensor:
    try:
        found = torch.tensor(given, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        found = torch.tensor(0.0)
    if found.shape != (n_numbers,) or not found.isfinite().all():
        raise ValueError(f"{name} must be {n_numbers} finite numbers, got {given!r}")
    return found
