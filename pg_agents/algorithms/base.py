"""What REINFORCE and ActorCritic share beside the rollout and the update."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from pg_agents.algorithms.agent_arguments import (
    check_data,
    check_settings,
    check_spaces,
    check_trajectories,
)
from pg_agents.algorithms.buffer_choice import check_buffer_class, make_buffer
from pg_agents.algorithms.learn_arguments import check_learn
from pg_agents.algorithms.policy_arguments import build_policy, check_policy_kwargs
from pg_agents.algorithms.sb3_arguments import (
    check_env,
    check_has_spaces,
    check_mapping,
    check_policy,
    check_sb3_arguments,
    closed_on_error,
    make_env,
    plain_integers,
)
from pg_agents.algorithms.update_arguments import check_memory, check_update
from pg_agents.algorithms.update_settings import UpdateSettings
from pg_agents.callbacks.progress import ProgressCallback
from pg_agents.common.checks import (
    check_choice,
    check_not_negative,
    check_schedule,
    checked_timesteps,
)
from pg_agents.learning.advantages import AdvantageSettings
from pg_agents.learning.replay import MemorySettings
from pg_agents.learning.updates import UpdateAlgorithm
from pg_agents.policies.base import OurPolicy
from pg_agents.policies.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from pg_agents.policies.tabular import TabularPolicy
from pg_agents.rollout.buffer import TrajectoryBuffer


class PolicyGradientAlgorithm(UpdateAlgorithm):
    """What REINFORCE and ActorCritic share: everything but the defaults.

    A rollout is either `n_steps` steps of every environment or `n_episodes` whole
    episodes of every environment. It is stored as facts, turned into one advantage per
    action (`learning.advantages`), and learnt from (`learning.updates`).

    Args:
        policy: `"MlpPolicy"`, `"CnnPolicy"`, `"MultiInputPolicy"`, `"TabularPolicy"` or
            a class of SB3 policies.
        env: environment, id, SB3 vector env or Gymnasium vector env.
        settings: estimator, baseline and so on.
        update: what is done with a rollout.
        memory: how much of earlier rollouts is remembered, and how it is used.
        learning_rate: step size, or a function of the remaining progress, 1 to 0.
        n_steps: steps per environment and update, or None.
        n_episodes: whole episodes per environment and update, or None.
        max_episode_steps: cap on the length of an episode where `n_episodes` is given.
        rollout_buffer_class: a subclass of `TrajectoryBuffer`.
        rollout_buffer_kwargs: further arguments of that class.
        _init_setup_model: whether to build the networks now.
        **sb3_arguments: as SB3's `OnPolicyAlgorithm`.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
        "TabularPolicy": TabularPolicy,
    }

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None,
        *,
        settings: AdvantageSettings,
        update: UpdateSettings,
        memory: MemorySettings,
        learning_rate: float | Schedule,
        n_steps: int | None,
        n_episodes: int | None,
        max_episode_steps: int,
        rollout_buffer_class: type[TrajectoryBuffer] | None,
        rollout_buffer_kwargs: dict[str, Any] | None,
        _init_setup_model: bool,
        **sb3_arguments: Any,
    ) -> None:
        # Before anything is built: a refused argument leaves no environment behind.
        check_policy(policy)
        check_settings(settings)
        check_update(update, settings)
        check_memory(memory, update, settings)
        check_data(n_steps, n_episodes, max_episode_steps)
        check_schedule("learning_rate", learning_rate, check_not_negative)
        check_sb3_arguments(**sb3_arguments)
        check_mapping("rollout_buffer_kwargs", rollout_buffer_kwargs)
        check_choice("_init_setup_model", _init_setup_model, (True, False))
        check_buffer_class(rollout_buffer_class)
        made = make_env(env, sb3_arguments["verbose"], self._wrap_env)
        with closed_on_error(made if isinstance(env, str) else None):
            check_env(made, policy, sb3_arguments["use_sde"])
            super().__init__(
                policy,
                made,  # type: ignore[arg-type]
                learning_rate=learning_rate,
                n_steps=n_steps,  # type: ignore[arg-type]
                gamma=settings.gamma,
                gae_lambda=settings.gae_lambda,
                ent_coef=update.ent_coef,  # type: ignore[arg-type]
                vf_coef=update.vf_coef,
                max_grad_norm=update.max_grad_norm,  # type: ignore[arg-type]
                rollout_buffer_class=rollout_buffer_class,  # type: ignore[arg-type]
                rollout_buffer_kwargs=rollout_buffer_kwargs,
                _init_setup_model=False,
                **plain_integers(sb3_arguments),
            )
            for group in (settings, update, memory):
                for field in fields(group):
                    setattr(self, field.name, getattr(group, field.name))
            self.n_episodes = n_episodes
            self.max_episode_steps = max_episode_steps
            self._episode_steps = np.zeros(0, dtype=np.int64)
            # Kept in the checkpoint, for load() to know its own.
            self.algorithm = type(self).__name__
            if _init_setup_model:
                self._setup_model()

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            names = ", ".join(repr(name) for name in self.policy_aliases)
            raise ValueError(
                f"policy must be one of {names} or a class of SB3 policies, got "
                f"{policy_name!r}"
            )
        return self.policy_aliases[policy_name]

    def _setup_model(self) -> None:
        # NumPy's integers overflow, and torch takes none for a size.
        vars(self).update(plain_integers(vars(self)))
        # Again for load(), which writes what it is given over the attributes.
        settings, update = self.advantage_settings(), self.update_settings()
        check_settings(settings)
        # Of a model at hand the entropy's weight may be changed to anything, as in SB3.
        check_update(replace(update, ent_coef=0.0), settings)
        check_memory(self.memory_settings(), update, settings)
        check_data(self.n_steps, self.n_episodes, self.max_episode_steps)
        self._check_spaces()
        check_trajectories(self.baseline, self.n_envs, self.n_episodes)
        check_schedule("learning_rate", self.learning_rate, check_not_negative)
        if not callable(self.learning_rate):
            # SB3 takes no other numbers than Python's.
            self.learning_rate = float(self.learning_rate)
        self._setup_lr_schedule()
        # Into a dict of its own: the caller's policy_kwargs stay as they were.
        arguments = {
            "use_sde": self.use_sde,
            **self._default_policy_kwargs(),
            **self.policy_kwargs,
        }
        spaces_given = self.observation_space, self.action_space
        check_policy_kwargs(
            self.policy_class, self.policy_kwargs, arguments, self.observation_space
        )
        if self.baseline == "value" and arguments.get("critic") == "none":
            raise ValueError(
                "policy_kwargs has critic='none', but the baseline is a learned value "
                "and needs a critic: accepted are 'separate' and 'shared'"
            )
        self.set_random_seed(self.seed)
        self.rollout_buffer = make_buffer(
            self.rollout_buffer_class,
            self.rollout_buffer_kwargs,
            self.observation_space,
            self.device,
        )
        self.rollout_buffer_class = type(self.rollout_buffer)  # type: ignore[assignment]
        self.rollout_buffer.describe(
            *spaces_given, self.n_envs, self.n_steps, self.advantage_settings()
        )
        self.policy = build_policy(
            self.policy_class, *spaces_given, self.lr_schedule, arguments
        ).to(self.device)
        self._setup_update()

    def _default_policy_kwargs(self) -> dict[str, Any]:
        """Returns what the policy is built with unless the user says otherwise."""
        ours = issubclass(self.policy_class, OurPolicy)
        # No value is learnt: no parameters for it.
        return {"critic": "none"} if ours and self.baseline != "value" else {}

    def _check_spaces(self) -> None:
        check_has_spaces(self)
        ours = issubclass(self.policy_class, OurPolicy)
        if not hasattr(self.policy_class, "evaluate_actions"):
            raise ValueError(
                f"policy must be able to evaluate actions, as SB3's ActorCriticPolicy, "
                f"got {self.policy_class!r}"
            )
        check_spaces(self.observation_space, self.action_space, not ours)

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 100,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Learns until at least `total_timesteps` steps have been taken.

        The update that is under way is finished first, so there can be more: up to a
        rollout. A callback that stops the training stops it at once; the rollout is
        still learnt from if that very step completed it.

        Args:
            total_timesteps: steps, summed over environments; 0 learns nothing.
            callback: an SB3 callback, a function, or a list of these.
            log_interval: updates between two lines of the log; None for none.
            tb_log_name: name of the run in TensorBoard; the class by default.
            reset_num_timesteps: whether to start counting (and the environment) anew.
            progress_bar: whether to show steps, episode return and running reward.

        Returns:
            The model itself.

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
        tb_log_name = tb_log_name or type(self).__name__
        total_timesteps, callback = self._setup_learn(
            total_timesteps,
            callback,
            reset_num_timesteps,
            tb_log_name,
            progress_bar,
        )
        iteration, going_on = 0, True
        callback.on_training_start(locals(), globals())
        assert self.env is not None
        while going_on and self.num_timesteps < total_timesteps:
            going_on = self.collect_rollouts(
                self.env, callback, self.rollout_buffer, self.n_steps
            )
            if not self.rollout_buffer.full:
                break
            iteration += 1
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            if log_interval is not None and iteration % log_interval == 0:
                self.dump_logs(iteration)
            self.train()
            self._check_weights()
        # What learn() leaves behind can be saved, even if it stopped within a rollout.
        self._mid_rollout = False
        callback.on_training_end()
        if log_interval is not None:
            self._dump_last_logs(iteration)
        return self

    def _dump_last_logs(self, iteration: int) -> None:
        """Writes out what the last update recorded, which stays to be read."""
        values = dict(self.logger.name_to_value)
        excluded = dict(self.logger.name_to_excluded)
        self.dump_logs(iteration)
        self.logger.name_to_value.update(values)
        self.logger.name_to_excluded.update(excluded)

    def _update_current_progress_remaining(
        self, num_timesteps: int, total_timesteps: int
    ) -> None:
        """Sets the remaining progress; 0 where a rollout has gone beyond the end."""
        super()._update_current_progress_remaining(num_timesteps, total_timesteps)
        progress = self._current_progress_remaining
        self._current_progress_remaining = min(max(progress, 0.0), 1.0)

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        if self.env is None:
            raise ValueError(
                "the model has no environment to learn in: pass one to load(), or to "
                "set_env()"
            )
        self._resume(reset_num_timesteps)
        self.policy.set_training_mode(False)
        self._heeds_mode = not isinstance(self.policy, OurPolicy) or (
            self.policy.heeds_mode
        )
        if reset_num_timesteps or self._last_obs is None:
            # SB3 resets the environments in these cases.
            self._episode_steps = np.zeros(self.env.num_envs, dtype=np.int64)
        return super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )

    def _init_callback(
        self, callback: MaybeCallback, progress_bar: bool = False
    ) -> BaseCallback:
        if progress_bar or isinstance(callback, list):
            given = callback if isinstance(callback, list) else [callback]
            bars = [ProgressCallback()] if progress_bar else []
            callback = [
                c if isinstance(c, BaseCallback) else ConvertCallback(c)
                for c in (*given, *bars)
                if c is not None
            ]
        return super()._init_callback(callback)
