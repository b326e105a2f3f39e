"""The one rollout loop and the one update behind REINFORCE and ActorCritic."""

from __future__ import annotations

from dataclasses import fields
from io import BufferedIOBase
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import explained_variance
from torch import Tensor

from pg_agents import losses
from pg_agents.advantages import AdvantageSettings
from pg_agents.arguments import (
    check_data,
    check_settings,
    check_spaces,
    check_trajectories,
)
from pg_agents.buffers import Batch, TrajectoryBuffer
from pg_agents.callbacks.progress import ProgressCallback
from pg_agents.checkpoints import refuse_foreign_checkpoint
from pg_agents.checks import check_not_negative, check_positive
from pg_agents.policies import MlpPolicy, TabularPolicy
from pg_agents.rollout import RolloutAlgorithm


class PolicyGradientAlgorithm(RolloutAlgorithm):
    """What REINFORCE and ActorCritic share: everything but the defaults.

    A rollout is either `n_steps` steps of every environment or `n_episodes` whole
    episodes of every environment. It is stored as facts, turned into one advantage per
    action (`pg_agents.advantages`), and used for one step of the optimiser.

    Args:
        policy: `"MlpPolicy"`, `"TabularPolicy"` or a class of SB3 policies.
        env: environment, id, SB3 vector env or Gymnasium vector env.
        settings: estimator, baseline and so on.
        learning_rate: step size, or a function of the remaining progress, 1 to 0.
        n_steps: steps per environment and update, or None.
        n_episodes: whole episodes per environment and update, or None.
        max_episode_steps: cap on the length of an episode where `n_episodes` is given.
        ent_coef: weight of the entropy loss.
        vf_coef: weight of the value loss.
        max_grad_norm: largest norm of the gradient; None for no bound.
        rollout_buffer_class: a subclass of `TrajectoryBuffer`.
        rollout_buffer_kwargs: further arguments of that class.
        _init_setup_model: whether to build the networks now.
        **sb3_arguments: as SB3's `OnPolicyAlgorithm`.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "TabularPolicy": TabularPolicy,
    }

    max_grad_norm: float | None  # type: ignore[assignment]

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | VectorEnv[Any, Any, Any] | str | None,
        *,
        settings: AdvantageSettings,
        learning_rate: float | Schedule,
        n_steps: int | None,
        n_episodes: int | None,
        max_episode_steps: int,
        ent_coef: float,
        vf_coef: float,
        max_grad_norm: float | None,
        rollout_buffer_class: type[TrajectoryBuffer] | None,
        rollout_buffer_kwargs: dict[str, Any] | None,
        _init_setup_model: bool,
        **sb3_arguments: Any,
    ) -> None:
        # Before anything is built: a refused argument leaves no environment behind.
        if not isinstance(policy, str | type):
            raise ValueError(f"policy must be a name or a class, got {policy!r}")
        check_settings(settings)
        check_data(n_steps, n_episodes, max_episode_steps)
        check_not_negative("ent_coef", ent_coef)
        check_not_negative("vf_coef", vf_coef)
        if max_grad_norm is not None:
            check_positive("max_grad_norm", max_grad_norm)
        buffer_class = rollout_buffer_class or TrajectoryBuffer
        if not issubclass(buffer_class, TrajectoryBuffer):
            raise ValueError(
                "rollout_buffer_class must be a subclass of pg_agents.TrajectoryBuffer,"
                f" got {buffer_class!r}"
            )
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]
            learning_rate=learning_rate,
            n_steps=n_steps,  # type: ignore[arg-type]
            gamma=settings.gamma,
            gae_lambda=settings.gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,  # type: ignore[arg-type]
            rollout_buffer_class=buffer_class,  # type: ignore[arg-type]
            rollout_buffer_kwargs=rollout_buffer_kwargs,
            _init_setup_model=False,
            supported_action_spaces=(spaces.Discrete, spaces.Box),
            **sb3_arguments,
        )
        for field in fields(settings):
            setattr(self, field.name, getattr(settings, field.name))
        self.n_episodes = n_episodes
        self.max_episode_steps = max_episode_steps
        self._episode_steps = np.zeros(0, dtype=np.int64)
        # Kept in the checkpoint, for load() to know its own.
        self.algorithm = type(self).__name__
        if _init_setup_model:
            try:
                self._setup_model()
            except Exception:
                if isinstance(env, str) and self.env is not None:
                    self.env.close()
                raise

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            names = ", ".join(repr(name) for name in self.policy_aliases)
            raise ValueError(
                f"policy must be one of {names} or a class of SB3 policies, got "
                f"{policy_name!r} (images and Dict observations are not supported yet)"
            )
        return self.policy_aliases[policy_name]

    def _setup_model(self) -> None:
        # Again for load(), which writes what it is given over the attributes.
        check_settings(self.advantage_settings())
        check_data(self.n_steps, self.n_episodes, self.max_episode_steps)
        self._check_spaces()
        check_trajectories(self.baseline, self.n_envs, self.n_episodes)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        buffer_class: Any = self.rollout_buffer_class
        self.rollout_buffer = buffer_class(self.device, **self.rollout_buffer_kwargs)
        policy_class: Any = self.policy_class
        # Into a dict of its own: the caller's policy_kwargs stay as they were.
        arguments = {
            "use_sde": self.use_sde,
            **self._default_policy_kwargs(),
            **self.policy_kwargs,
        }
        if self.baseline == "value" and arguments.get("critic") == "none":
            raise ValueError(
                "policy_kwargs has critic='none', but baseline='value' needs a critic: "
                "accepted are 'separate' and 'shared'"
            )
        self.policy = policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **arguments
        ).to(self.device)

    def _default_policy_kwargs(self) -> dict[str, Any]:
        """Returns what the policy is built with unless the user says otherwise."""
        ours = issubclass(self.policy_class, MlpPolicy | TabularPolicy)
        # No value is learnt: no parameters for it.
        return {"critic": "none"} if ours and self.baseline != "value" else {}

    def _check_spaces(self) -> None:
        if not hasattr(self, "observation_space"):
            raise ValueError(
                "env must be an environment or the id of one, got None: only load() "
                "knows the spaces without it"
            )
        check_spaces(self.observation_space, self.action_space)

    def train(self) -> None:
        """Takes one step of the optimiser on the recorded steps of the rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        batch = self.rollout_buffer.batch()
        loss, terms = self.loss(batch)
        self.policy.optimizer.zero_grad()
        loss.backward()
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()
        self._n_updates += 1
        self._log_update(batch, terms)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss and its terms by logger key."""
        continuous = isinstance(self.action_space, spaces.Box)
        values, log_prob, entropy = self.policy.evaluate_actions(
            batch.observations,
            # SB3's Gaussian is over a vector, whatever the shape of the action space.
            batch.actions.flatten(1) if continuous else batch.actions,
        )
        policy_loss = losses.policy_gradient_loss(
            log_prob, batch.advantages, batch.n_samples
        )
        entropy_loss = losses.entropy_loss(entropy, log_prob, batch.n_samples)
        terms = {"policy_loss": policy_loss, "entropy_loss": entropy_loss}
        loss = policy_loss + self.ent_coef * entropy_loss
        if self.baseline == "value":
            terms["value_loss"] = losses.value_loss(values.flatten(), batch.returns)
            loss = loss + self.vf_coef * terms["value_loss"]
        return loss, terms

    def _log_update(self, batch: Batch, terms: dict[str, Tensor]) -> None:
        record = self.logger.record
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, value in terms.items():
            record(f"train/{name}", value.item())
        if self.baseline == "value":
            explained = explained_variance(
                batch.values.cpu().numpy(), batch.returns.cpu().numpy()
            )
            record("train/explained_variance", float(explained))
        if hasattr(self.policy, "log_std"):
            record("train/std", torch.exp(self.policy.log_std).mean().item())

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
            total_timesteps: steps, summed over environments.
            callback: an SB3 callback, a list of them, or a function.
            log_interval: updates between two lines of the log; None for none.
            tb_log_name: name of the run in TensorBoard; the class by default.
            reset_num_timesteps: whether to start counting (and the environment) anew.
            progress_bar: whether to show steps, episode return and running reward.

        Returns:
            The model itself.
        """
        total_timesteps, callbacks = self._setup_learn(
            total_timesteps,
            callback,
            reset_num_timesteps,
            tb_log_name or type(self).__name__,
            progress_bar,
        )
        iteration, going_on = 0, True
        callbacks.on_training_start(locals(), globals())
        assert self.env is not None
        while going_on and self.num_timesteps < total_timesteps:
            going_on = self.collect_rollouts(
                self.env, callbacks, self.rollout_buffer, self.n_steps
            )
            if not self.rollout_buffer.full:
                break
            iteration += 1
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            if log_interval is not None and iteration % log_interval == 0:
                self.dump_logs(iteration)
            self.train()
        callbacks.on_training_end()
        if log_interval is not None:
            # The last update would be missing otherwise.
            self.dump_logs(iteration)
        return self

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
        if reset_num_timesteps or self._last_obs is None:
            # SB3 resets the environments in these cases.
            self._episode_steps = np.zeros(self.env.num_envs, dtype=np.int64)
        return super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )

    def _init_callback(
        self, callback: MaybeCallback, progress_bar: bool = False
    ) -> BaseCallback:
        if progress_bar:
            given = callback if isinstance(callback, list) else [callback]
            callback = [
                c if isinstance(c, BaseCallback) else ConvertCallback(c)
                for c in (*given, ProgressCallback())
                if c is not None
            ]
        return super()._init_callback(callback)

    @classmethod
    def load(
        cls,
        path: str | Path | BufferedIOBase,
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """Loads a model that was saved by the same class; else as SB3's `load`.

        Raises:
            ValueError: if the file was saved by another class, or is no checkpoint.
        """
        refuse_foreign_checkpoint(path, cls)
        return super().load(path, *args, **kwargs)
