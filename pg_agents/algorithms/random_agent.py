"""RandomAgent: what not learning achieves."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.algorithms.sb3_arguments import check_has_spaces
from pg_agents.algorithms.update_settings import UpdateSettings
from pg_agents.learning.advantages import AdvantageSettings
from pg_agents.learning.replay import MemorySettings
from pg_agents.policies.random import RandomPolicy
from pg_agents.rollout.buffer import TrajectoryBuffer


class RandomAgent(PolicyGradientAlgorithm):
    """Uniform random actions through the API of the agents that learn.

    `learn` runs callbacks, statistics and logger as theirs does, and changes nothing.
    `predict(..., deterministic=True)` is random as well: there is no best guess.

    Args:
        policy: any of SB3's names of policies; it is not looked at.
        env: environment, id, SB3 vector environment or Gymnasium vector environment.
        stats_window_size: episodes that the logged means are taken over.
        tensorboard_log: folder of TensorBoard logs; None for none.
        policy_kwargs: not used.
        verbose: 0 for silence, 1 for information, 2 for debugging.
        seed: seeds the action space and the environments, among others.
        device: for uniformity.
        _init_setup_model: whether to build the policy now.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict.fromkeys(
        (
            "RandomPolicy",
            "MlpPolicy",
            "TabularPolicy",
            "CnnPolicy",
            "MultiInputPolicy",
        ),
        RandomPolicy,
    )

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,  # type: ignore[arg-type]
            env,
            settings=AdvantageSettings(gamma=1.0),
            update=UpdateSettings(vf_coef=0.0),
            memory=MemorySettings(),
            learning_rate=0.0,
            n_steps=1,
            n_episodes=None,
            max_episode_steps=1,
            use_sde=False,
            sde_sample_freq=-1,
            rollout_buffer_class=None,
            rollout_buffer_kwargs=None,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    def _check_spaces(self) -> None:
        # Any will do.
        check_has_spaces(self)

    def _evaluate_rollout(self, buffer: TrajectoryBuffer) -> tuple[None, None]:
        return None, None

    def train(self) -> None:
        """Learns nothing."""

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        # There is no optimiser to save.
        return ["policy"], []
