"""A policy of uniform random actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from pg_agents.common.tree import count


class RandomPolicy(BasePolicy):
    """Uniform random actions, independent of the observation.

    Args:
        observation_space: any observation space.
        action_space: any action space; `action_space.seed` makes it reproducible.
        lr_schedule: not used.
        **kwargs: accepted as by SB3's `BasePolicy`, and not used.
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
        """Returns actions `[N, ...]`, values `[N, 1]` and log-probabilities `[N]`.

        Values and log-probabilities are placeholders, 0: nothing is learnt from them.
        """
        actions = self._predict(obs, deterministic)
        zeros = torch.zeros(len(actions))
        return actions, zeros[:, None], zeros

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        actions = [self.action_space.sample() for _ in range(count(observation))]
        return torch.as_tensor(np.stack(actions))
