"""A features extractor that scales observations by fixed numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor


class ScaledExtractor(BaseFeaturesExtractor):
    """The features are `(observation - centre) / scale`.

    For environments whose range of observations is known, such as pixels, this
    replaces SB3's VecNormalize: the numbers are part of the policy and saved with its
    weights, and a native vector environment needs no wrapper. Pass it as
    `policy_kwargs={"features_extractor_class": ScaledExtractor,
    "features_extractor_kwargs": {"centre": [...], "scale": [...]}}`.

    Args:
        observation_space: a `Box` of shape `[D]`.
        centre: D numbers, in units of the observation, which become 0.
        scale: D numbers above 0, in units of the observation: the distances from the
            centre that become 1.

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
        self.register_buffer("centre", _vector("centre", centre, shape[0]))
        self.register_buffer("scale", _vector("scale", scale, shape[0]))
        if not (self.scale > 0).all():
            raise ValueError(f"scale must be above 0, got {list(scale)}")

    def forward(self, observations: Tensor) -> Tensor:
        """Returns the features `[B, D]` of observations `[B, D]`, float32."""
        return (observations - self.centre) / self.scale


def _vector(name: str, numbers: Sequence[float], size: int) -> Tensor:
    try:
        vector = torch.tensor(numbers, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        vector = torch.tensor(0.0)
    if vector.shape != (size,) or not vector.isfinite().all():
        raise ValueError(f"{name} must be {size} finite numbers, got {numbers!r}")
    return vector
