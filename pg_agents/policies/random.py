"""Uniform chance as a policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor


class RandomPolicy(BasePolicy):
    """Uniform random actions, whatever is observed.

    Args:
        observation_space: any observation space.
        action_space: any action space; `action_space.seed` makes it repeatable.
        lr_schedule: not used.
        **kwargs: as SB3's `BasePolicy`; nothing here is learnt.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space)

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns actions `[N, ...]`, values of 0 `[N, 1]` and log-probs of 0 `[N]`.

        What a uniform action's density is depends on the space, and nobody asks.
        """
        actions = self._predict(obs, deterministic)
        zeros = torch.zeros(len(actions))
        return actions, zeros[:, None], zeros

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        some = (
            next(iter(observation.values()))
            if isinstance(observation, dict)
            else observation
        )
        actions = [self.action_space.sample() for _ in range(len(some))]
        return torch.as_tensor(np.stack(actions))
