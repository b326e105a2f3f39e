"""The one rollout loop: what happened, whose business it was, and how it ended."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from pg_agents.advantages import AdvantageSettings, BaselineName, EstimatorName
from pg_agents.arguments import settings_among
from pg_agents.buffers import TrajectoryBuffer
from pg_agents.observations import (
    Observation,
    count,
    flatten_time,
    select,
)
from pg_agents.quotas import EpisodeQuota, Quota, StepQuota
from pg_agents.resuming import ResumableAlgorithm
from pg_agents.vec_env import VectorEnvAdapter


@dataclass(frozen=True)
class StepEnds:
    """How the episodes stand after a step of N environments.

    Attributes:
        dones: `[N]` bool, environments that restart by themselves.
        terminated: `[N]` bool, ended by the task's own rules.
        truncated: `[N]` bool, cut off by a time limit or by the cap.
        capped: `[N]` bool, cut off by the cap; the environment knows nothing of it.
        final_observations: by environment, what was seen last of a truncated episode.
    """

    dones: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    capped: NDArray[np.bool_]
    final_observations: dict[int, Observation]


class RolloutAlgorithm(ResumableAlgorithm):
    """Collects rollouts as facts, and completes them with returns and advantages.

    Attributes:
        n_steps: steps per environment and rollout, or None.
        n_episodes: whole episodes per environment and rollout, or None.
        max_episode_steps: cap on the length of an episode where `n_episodes` is given.
        gamma, gae_lambda, estimator, baseline, td_steps, bootstrap,
        bootstrap_truncated, standardize_returns, normalize_advantage,
        weight_by_gamma_t: see `AdvantageSettings`.
    """

    rollout_buffer: TrajectoryBuffer  # type: ignore[assignment]
    n_steps: int | None  # type: ignore[assignment]
    n_episodes: int | None
    max_episode_steps: int
    estimator: EstimatorName
    baseline: BaselineName
    td_steps: int
    bootstrap: bool
    bootstrap_truncated: bool
    standardize_returns: bool
    normalize_advantage: bool
    weight_by_gamma_t: bool
    # A slow copy of the policy, whose critic values what follows; or none.
    target_policy: ActorCriticPolicy | None
    # Actions taken in each environment's present episode, [N].
    _episode_steps: NDArray[np.int64]

    @staticmethod
    def _wrap_env(
        env: GymEnv | VectorEnv[Any, Any, Any],
        verbose: int = 0,
        monitor_wrapper: bool = True,
    ) -> VecEnv:
        known: GymEnv = (
            VectorEnvAdapter(env, learner_skips_dummy_steps=True)
            if isinstance(env, VectorEnv)
            else env
        )
        return OnPolicyAlgorithm._wrap_env(known, verbose, monitor_wrapper)

    def collect_rollouts(  # type: ignore[override]
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: TrajectoryBuffer,
        n_rollout_steps: int | None,
    ) -> bool:
        """Fills the buffer with one rollout by the current policy.

        Callbacks see in `locals` what they see in SB3's. `dones` and `infos` are those
        of recorded episodes: an episode of an idle environment is nobody's result, and
        one that was stopped at the cap counts as done.

        Args:
            env: the training environment.
            callback: called at every step, and before and after the rollout.
            rollout_buffer: where the steps go; `full` afterwards if complete.
            n_rollout_steps: steps per environment; None for `n_episodes` episodes.

        Returns:
            False if a callback asked to stop.
        """
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        quota = self._begin_rollout(env, n_rollout_steps)
        n_steps, going_on = 0, True
        new_obs: Any
        self._mid_rollout = False
        callback.on_rollout_start()
        self._mid_rollout = True
        while going_on and not quota.filled:
            self._before_step(env, quota, n_steps)
            with torch.no_grad():
                obs_tensor = obs_as_tensor(self._last_obs, self.device)  # type: ignore[arg-type]
                actions_tensor, values, log_probs = self.policy(obs_tensor)
            actions = actions_tensor.cpu().numpy()
            clipped_actions = self._for_environment(actions)
            new_obs, rewards, dones, infos = env.step(clipped_actions)
            self.num_timesteps += env.num_envs
            dummy = self._dummy_steps(env)
            recorded = quota.recorded & ~dummy
            ends = self._ends(recorded, new_obs, dones, infos)
            dones = recorded & (ends.terminated | ends.truncated)
            infos = _only_recorded(infos, recorded)
            callback.update_locals(locals())
            going_on = callback.on_step()
            n_steps += 1
            self._update_info_buffer(infos, dones)
            rollout_buffer.add(
                observations=self._last_obs,
                actions=actions,
                rewards=rewards,
                terminated=ends.terminated,
                truncated=ends.truncated,
                recorded=recorded,
                episode_steps=self._episode_steps,
                values=values.flatten(),
                log_probs=log_probs,
                final_observations=ends.final_observations,
            )
            quota.update(dones, ends.capped)
            self._after_step(new_obs, ends.dones, dummy)
        if quota.filled:
            values = self._finish_rollout(rollout_buffer, quota)
            callback.update_locals(locals())
            callback.on_rollout_end()
        return going_on

    def _before_step(self, env: VecEnv, quota: Quota, n_steps: int) -> None:
        if quota.stalled:
            self._restart(env)
            quota.restart()
        # As in SB3: a new noise matrix per rollout, or every few steps.
        every = self.sde_sample_freq
        if self.use_sde and (n_steps == 0 or (every > 0 and n_steps % every == 0)):
            self.policy.reset_noise(env.num_envs)

    def _after_step(
        self,
        new_obs: Any,  # noqa: ANN401
        restarted: NDArray[np.bool_],
        dummy: NDArray[np.bool_],
    ) -> None:
        self._episode_steps = np.where(restarted | dummy, 0, self._episode_steps + 1)
        self._last_obs, self._last_episode_starts = new_obs, restarted

    def _begin_rollout(self, env: VecEnv, n_rollout_steps: int | None) -> Quota:
        if n_rollout_steps is not None:
            return StepQuota(env.num_envs, n_rollout_steps)
        assert self.n_episodes is not None, "check_data wants one of the two"
        # Whole episodes begin at their beginning. Environments that idled, or were
        # stopped at the cap, are in the middle of one.
        if self._episode_steps.any():
            self._restart(env)
        return EpisodeQuota(env.num_envs, self.n_episodes)

    def _restart(self, env: VecEnv) -> None:
        self._last_obs = env.reset()  # type: ignore[assignment]
        self._last_episode_starts = np.ones(env.num_envs, dtype=np.bool_)
        self._episode_steps = np.zeros(env.num_envs, dtype=np.int64)

    def _for_environment(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Returns actions within the bounds of the action space, of its dtype."""
        if isinstance(self.action_space, spaces.MultiBinary):
            # Samples of a Bernoulli distribution are floats.
            return actions.astype(self.action_space.dtype)
        if not isinstance(self.action_space, spaces.Box):
            return actions
        if self.policy.squash_output:
            return self.policy.unscale_action(actions)
        # A Gaussian has no bounds.
        clipped: NDArray[Any] = np.clip(
            actions, self.action_space.low, self.action_space.high
        )
        return clipped

    @staticmethod
    def _dummy_steps(env: VecEnv) -> NDArray[np.bool_]:
        adapter = env.unwrapped
        if isinstance(adapter, VectorEnvAdapter):
            return adapter.dummy_steps
        return np.zeros(env.num_envs, dtype=np.bool_)

    def _ends(
        self,
        recorded: NDArray[np.bool_],
        new_obs: Observation,
        dones: NDArray[np.bool_],
        infos: list[dict[str, Any]],
    ) -> StepEnds:
        """Tells termination from truncation, and stops episodes at the cap."""
        limited = np.zeros(len(dones), dtype=np.bool_)
        final = {}
        for i in np.flatnonzero(dones):
            seen = infos[i].get("terminal_observation")
            # Without what was seen last there is no value to go on with.
            if infos[i].get("TimeLimit.truncated", False) and seen is not None:
                limited[i] = True
                if recorded[i]:
                    final[int(i)] = seen
        capped = np.zeros(len(dones), dtype=np.bool_)
        if self.n_episodes is not None:
            too_long = self._episode_steps + 1 >= self.max_episode_steps
            capped = recorded & ~dones & too_long
        if capped.any():
            warnings.warn(
                f"an episode was still going on after {self.max_episode_steps} steps "
                "and was stopped there, as if by a time limit: raise max_episode_steps "
                "if it should go on, or pass n_steps (and no n_episodes) if it never "
                "ends",
                stacklevel=2,
            )
            final |= {int(i): select(new_obs, i) for i in np.flatnonzero(capped)}
        return StepEnds(dones, dones & ~limited, limited | capped, capped, final)

    def advantage_settings(self) -> AdvantageSettings:
        """Returns the estimator, baseline and so on, as they stand now."""
        return settings_among(AdvantageSettings, vars(self))

    def _finish_rollout(self, buffer: TrajectoryBuffer, quota: Quota) -> Tensor:
        """Completes the rollout; returns the values `[N, 1]` of where it stopped."""
        settings = self.advantage_settings()
        beyond = buffer.observations_beyond(self._last_obs)
        values = torch.zeros(count(beyond.observations), device=self.device)
        target_values = None
        if self.baseline == "value" and settings.looks_beyond:
            # All truncated episodes and all unfinished ones in a single forward.
            values = self._successor_value(beyond.observations)
            if self.target_policy is not None:
                seen = flatten_time(buffer.column("observations"))
                rows = self._successor_value(seen)
                target_values = rows.reshape(len(buffer), -1)
        n_episodes = None if self.n_episodes is None else self.n_episodes * self.n_envs
        buffer.finish(values, beyond, settings, n_episodes, target_values)
        if self.n_episodes is not None and self.n_envs > 1:
            self.logger.record("rollout/idle_fraction", quota.idle_fraction)
        return values[: self.n_envs, None]

    def _successor_value(self, observations: Observation) -> Tensor:
        """Returns V of observations `[B, ...]` by the critic that values successors."""
        critic = self.policy if self.target_policy is None else self.target_policy
        with torch.no_grad():
            return critic.predict_values(observations).flatten()


def _only_recorded(
    infos: list[dict[str, Any]], recorded: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Returns infos without the episode results of steps that are not recorded."""
    if recorded.all():
        return infos
    return [
        info
        if keep
        else {name: value for name, value in info.items() if name != "episode"}
        for info, keep in zip(infos, recorded, strict=True)
    ]
