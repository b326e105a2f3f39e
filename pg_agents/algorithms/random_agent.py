"""RandomAgent: uniform random actions, to compare trained agents with."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.algorithms.arguments import (
    check_can_learn,
    check_has_spaces,
    check_learn,
    check_policy,
    check_sb3_arguments,
    closed_on_error,
    describe_model,
    make_env,
    plain_integers,
)
from pg_agents.algorithms.base import Delegated, with_progress_bar, wrap_env
from pg_agents.checkpoint.state import (
    POSITION,
    TrainingState,
    drop_training_state,
    is_loading,
    load_checkpoint,
    restore_training_state,
    save_checkpoint,
)
from pg_agents.common.checks import check_choice, checked_timesteps
from pg_agents.common.tree import Observation
from pg_agents.policies.random import RandomPolicy
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.rollout.collector import Collector

_POLICIES = ("RandomPolicy", "MlpPolicy", "TabularPolicy", "CnnPolicy")


class RandomAgent(OnPolicyAlgorithm):
    """Uniform random actions with the interface of the other algorithms.

    `learn` steps the environments with callbacks, statistics and logger, and changes no
    parameters. `predict(..., deterministic=True)` is random as well: there is no best
    action.

    Args:
        policy: name of any of SB3's policies; not used.
        env: environment, id, SB3 vector environment or Gymnasium vector environment.
        stats_window_size: number of episodes in the logged means.
        tensorboard_log: folder of TensorBoard logs; None for none.
        policy_kwargs: not used.
        verbose: 0 for no output, 1 for information, 2 for debugging.
        seed: seeds the action space and the environments, among others.
        device: device of the policy.
        _init_setup_model: whether to build the policy now.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = dict.fromkeys(
        (*_POLICIES, "MultiInputPolicy"), RandomPolicy
    )
    training_state: TrainingState | None = None
    seeds_at_load: tuple[int | None, ...] = ()

    _last_obs = Delegated("collector", "obs")
    _last_episode_starts = Delegated("collector", "episode_starts")
    _episode_steps = Delegated("collector", "episode_steps")
    _wrap_env = staticmethod(wrap_env)

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
        arguments: dict[str, Any] = {
            "stats_window_size": stats_window_size,
            "tensorboard_log": tensorboard_log,
            "policy_kwargs": policy_kwargs,
            "verbose": verbose,
            "seed": seed,
            "device": device,
            "use_sde": False,
            "sde_sample_freq": -1,
        }
        check_policy(policy)
        check_sb3_arguments(**arguments)
        check_choice("_init_setup_model", _init_setup_model, (True, False))
        made = make_env(env, verbose, self._wrap_env)
        with closed_on_error(made if isinstance(env, str) else None):
            self.collector = Collector(torch.device("cpu"))
            super().__init__(
                policy,  # type: ignore[arg-type]
                made,  # type: ignore[arg-type]
                learning_rate=0.0,
                n_steps=1,
                gamma=1.0,
                gae_lambda=1.0,
                ent_coef=0.0,
                vf_coef=0.0,
                max_grad_norm=0.0,
                _init_setup_model=False,
                **plain_integers(arguments),
            )
            # Stored in the checkpoint, for load() to check.
            self.algorithm = type(self).__name__
            if _init_setup_model:
                self._setup_model()

    def __repr__(self) -> str:
        """Returns one line: policy, environment and steps so far."""
        return describe_model(self)

    def _setup_model(self) -> None:
        for name in POSITION:
            if name in vars(self):
                setattr(self, name, vars(self).pop(name))
        vars(self).update(plain_integers(vars(self)))
        check_has_spaces(self)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.collector.device = self.device
        self.rollout_buffer = TrajectoryBuffer(self.device)  # type: ignore[assignment]
        self.policy = self.policy_class(  # type: ignore[assignment]
            self.observation_space, self.action_space, self.lr_schedule
        ).to(self.device)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Takes at least `total_timesteps` random steps.

        Args:
            total_timesteps: steps, summed over environments.
            callback: an SB3 callback, a function, or a list of these.
            log_interval: steps between two logs; None for no logs.
            tb_log_name: name of the run in TensorBoard; the class by default.
            reset_num_timesteps: whether to restart the step count and reset the
                environment.
            progress_bar: whether to show steps, episode return and running reward.

        Returns:
            The agent itself.

        Raises:
            ValueError: if an argument is out of range; the message names it.
            TypeError: if `callback` or `tb_log_name` is none of these.
        """
        total_timesteps = checked_timesteps("total_timesteps", total_timesteps)
        check_learn(
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )
        return super().learn(
            total_timesteps,
            with_progress_bar(callback, progress_bar),
            log_interval,  # type: ignore[arg-type]
            tb_log_name or type(self).__name__,
            reset_num_timesteps,
        )

    def collect_rollouts(  # type: ignore[override]
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: TrajectoryBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """Takes random steps; see `PolicyGradientAlgorithm.collect_rollouts`."""
        rollout_buffer.reset()
        self.collector.begin(env, n_rollout_steps, None)
        callback.on_rollout_start()

        def act(obs: Observation) -> tuple[torch.Tensor, None, None]:
            return self.policy(obs)[0], None, None

        def on_step(variables: dict[str, Any]) -> bool:
            self.num_timesteps += env.num_envs
            callback.update_locals({"self": self, "env": env} | variables)
            return callback.on_step()

        continues = self.collector.collect(
            env,
            self.policy,
            act,
            rollout_buffer,
            on_step,
            self._update_info_buffer,
            self._stats_window_size,
        )
        self.collector.in_rollout = False
        if continues:
            callback.on_rollout_end()
        return continues

    def train(self) -> None:
        """Does nothing."""

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        check_can_learn(self)
        restore_training_state(self, reset_num_timesteps)
        if reset_num_timesteps or self._last_obs is None:
            self.collector.restart(self.n_envs)
        return super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )

    def save(
        self,
        path: str | Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Saves the agent; see `PolicyGradientAlgorithm.save`."""
        save_checkpoint(self, path, exclude, include)

    @classmethod
    def load(
        cls,
        path: str | Path | io.BufferedIOBase,
        env: GymEnv | VectorEnv[Any, Any, Any] | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Loads an agent; see `PolicyGradientAlgorithm.load`."""
        return load_checkpoint(
            cls,
            super().load,
            path,
            env,
            device,
            custom_objects,
            print_system_info,
            force_reset,
            **kwargs,
        )

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seeds as SB3 does; a training state from a checkpoint is dropped."""
        if seed is not None and not is_loading():
            drop_training_state(self)
            super().set_random_seed(seed)

    def set_env(
        self, env: GymEnv | VectorEnv[Any, Any, Any], force_reset: bool = True
    ) -> None:
        """Sets another environment, as SB3 does; it is reset."""
        super().set_env(env, force_reset)  # type: ignore[arg-type]
        if self.training_state is not None:
            self.training_state.replace_env()

    def delegated_attributes(self) -> dict[str, Any]:
        """Returns the position in the environment, saved as attributes."""
        return {name: getattr(self, name) for name in POSITION}

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "collector", "seeds_at_load"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        # There is no optimiser to save.
        return ["policy"], []
