"""The one rollout loop: what happened, whose business it was, and how it ended."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from pg_agents.algorithms.agent_arguments import settings_among
from pg_agents.algorithms.sb3_arguments import check_is_env
from pg_agents.checkpoint.state import ResumableAlgorithm
from pg_agents.common.nonfinite import acting_error, check_actions
from pg_agents.common.spaces import nearest_actions
from pg_agents.common.tree import Observation, count, flatten_time, map_observation
from pg_agents.learning.advantages import AdvantageSettings, BaselineName, EstimatorName
from pg_agents.policies.base import OurPolicy
from pg_agents.rollout.acting import ActAndKeep, Actor, act_alone, act_and_value
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.rollout.limits import EpisodeQuota, Quota, StepQuota
from pg_agents.rollout.outcomes import (
    readable,
    recorded_steps,
    reported,
    stopped_at_the_cap,
)
from pg_agents.rollout.steppers import Steps, steps_of
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_agents.vec_env.arrays import copied, to_numpy


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
    # Whether training and acting are two modes of the policy, as far as is known.
    _heeds_mode = True
    # Acts in this rollout, and remembers; or None.
    _kept: ActAndKeep | None = None
    # Actions taken in each environment's present episode, [N].
    _episode_steps: Any

    @staticmethod
    def _wrap_env(
        env: GymEnv | VectorEnv[Any, Any, Any],
        verbose: int = 0,
        monitor_wrapper: bool = True,
    ) -> VecEnv:
        check_is_env(env)
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

        Callbacks see in `locals` what they see in SB3's; values and log-probabilities
        that acting did not need are None, and in the buffer in the end. `dones` and
        `infos` are those of recorded episodes: an episode of an idle environment is
        nobody's result, and one that was stopped at the cap counts as done.

        Args:
            env: the training environment.
            callback: called at every step, and before and after the rollout.
            rollout_buffer: where the steps go; `full` afterwards if complete.
            n_rollout_steps: steps per environment; None for `n_episodes` episodes.

        Returns:
            False if a callback asked to stop.
        """
        self._set_mode(training=False)
        rollout_buffer.reset()
        quota = self._begin_rollout(env, n_rollout_steps)
        n_steps, going_on = 0, True
        self._mid_rollout = False
        # As in SB3: new noise for a rollout, and every few steps from its first on.
        if self.use_sde:
            self.policy.reset_noise(env.num_envs)
        callback.on_rollout_start()
        self._mid_rollout = True
        steps = self._stepped(env, n_rollout_steps)
        act = self._actor(rollout_buffer, steps)
        while going_on and not quota.filled:
            self._before_step(env, steps, quota, n_steps)
            seen: Observation = self._last_obs
            obs_tensor = map_observation(self._on_device, seen)
            try:
                with torch.no_grad():
                    actions_tensor, values, log_probs = act(obs_tensor)
            except (ValueError, RuntimeError) as error:
                # torch refuses parameters of distributions that are not finite: as a
                # ValueError, or as it draws, where torch.compile has been called.
                raise acting_error(error, obs_tensor) from error
            actions = steps.taken(actions_tensor)
            clipped_actions = self._for_environment(actions, obs_tensor)
            outcome = steps.step(clipped_actions)
            if self.n_episodes is not None:
                outcome = stopped_at_the_cap(outcome, quota, self.max_episode_steps)
            new_obs, rewards = outcome.observations, outcome.rewards
            self.num_timesteps += env.num_envs
            recorded = recorded_steps(quota, outcome)
            dones, infos = reported(outcome, recorded)
            callback.update_locals(readable(locals()))
            n_steps, going_on = n_steps + 1, callback.on_step()
            if steps.tells_infos and dones.any():
                self._update_info_buffer(infos, dones)  # type: ignore[arg-type]
            rollout_buffer.add(
                observations=seen,
                actions=actions,
                recorded=recorded,
                values=values,
                log_probs=log_probs,
                **outcome.facts(),
            )
            quota.update(dones, outcome.dones)
            self._last_obs, self._last_episode_starts = new_obs, outcome.dones  # type: ignore[assignment]
            self._episode_steps = steps.episode_steps
        self._leave(rollout_buffer, steps)
        if quota.filled:
            values = self._finish_rollout(rollout_buffer, quota, steps)
            callback.update_locals(readable(locals()))
            callback.on_rollout_end()
        return going_on

    def _stepped(self, env: VecEnv, n_rollout_steps: int | None) -> Steps:
        """Returns the way to step the environment, where it stands now."""
        as_tensors = n_rollout_steps is not None
        steps = steps_of(env, self.device, self._episode_steps, as_tensors)
        self._last_obs = steps.begin(self._last_obs)
        return steps

    def _actor(self, buffer: TrajectoryBuffer, steps: Steps) -> Actor:
        """Returns how to act in this rollout."""
        policy, self._kept = self.policy, None
        if not isinstance(policy, OurPolicy) or not policy.takes_shortcuts:
            return partial(act_and_value, policy)
        if self._keeps_acting:
            self._kept = ActAndKeep(policy)
            return self._kept
        return partial(act_alone, policy, not self._keeps_forward)

    def _before_step(
        self, env: VecEnv, steps: Steps, quota: Quota, n_steps: int
    ) -> None:
        if quota.stalled:
            self._restart(env)
            steps.restarted()
            quota.restart()
        every = self.sde_sample_freq
        if self.use_sde and every > 0 and n_steps % every == 0:
            self.policy.reset_noise(env.num_envs)

    def _leave(self, buffer: TrajectoryBuffer, steps: Steps) -> None:
        """Keeps what the next rollout, or a checkpoint, asks for; as plain arrays."""
        if self.device.type == "cpu":
            # From a GPU they are fetched when somebody wants to keep them.
            self._last_obs = to_numpy(self._last_obs)
        self._episode_steps = to_numpy(self._episode_steps)
        self._last_episode_starts = to_numpy(self._last_episode_starts)
        assert self.ep_info_buffer is not None, "_setup_learn makes it"
        self.ep_info_buffer.extend(steps.results(buffer, self._stats_window_size))

    def _on_device(self, values: Any) -> Tensor:  # noqa: ANN401
        return torch.as_tensor(values, device=self.device)

    def _set_mode(self, training: bool) -> None:
        if self._heeds_mode:
            self.policy.set_training_mode(training)

    def _begin_rollout(self, env: VecEnv, n_rollout_steps: int | None) -> Quota:
        if n_rollout_steps is not None:
            return StepQuota(n_rollout_steps)
        assert self.n_episodes is not None, "check_data wants one of the two"
        # Whole episodes begin at their beginning. Environments that idled, or were
        # stopped at the cap, are in the middle of one.
        if self._episode_steps.any():
            self._restart(env)
        return EpisodeQuota(env.num_envs, self.n_episodes)

    def _restart(self, env: VecEnv) -> None:
        # Copied: an environment may write the next step into it.
        self._last_obs = copied(env.reset())
        self._last_episode_starts = np.ones(env.num_envs, dtype=np.bool_)
        self._episode_steps = np.zeros(env.num_envs, dtype=np.int64)

    def _for_environment(self, actions: Any, observations: Observation) -> Any:  # noqa: ANN401
        """Returns actions within the bounds of the action space, of its dtype.

        Args:
            actions: `[N, *action_shape]`, as the policy drew them.
            observations: what it saw, to name one that an action which is not finite
                comes from.
        """
        if isinstance(self.action_space, spaces.Box):
            # On an accelerator it would have to be waited for.
            if self.device.type == "cpu":
                check_actions(actions, observations)
            if self.policy.squash_output:
                actions = self.policy.unscale_action(to_numpy(actions))
        return nearest_actions(actions, self.action_space)

    def advantage_settings(self) -> AdvantageSettings:
        """Returns the estimator, baseline and so on, as they stand now."""
        return settings_among(AdvantageSettings, vars(self))

    def _finish_rollout(
        self, buffer: TrajectoryBuffer, quota: Quota, steps: Steps
    ) -> Tensor:
        """Completes the rollout; returns the values `[N, 1]` of where it stopped."""
        settings = self.advantage_settings()
        values_seen, log_probs = self._evaluate_rollout(buffer)
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
        buffer.finish(
            values, beyond, settings, n_episodes, values_seen, log_probs, target_values
        )
        if self.n_episodes is not None and self.n_envs > 1:
            self.logger.record("rollout/idle_fraction", quota.idle_fraction)
        return values[: self.n_envs, None]

    @property
    def _keeps_forward(self) -> bool:
        """Whether the rollout is evaluated once: the update learns from that."""
        raise NotImplementedError

    @property
    def _keeps_acting(self) -> bool:
        """Whether it is evaluated by acting."""
        raise NotImplementedError

    def _evaluate_rollout(
        self, buffer: TrajectoryBuffer
    ) -> tuple[Tensor | None, Tensor | None]:
        """Returns values and log-probabilities `[B]` of the recorded steps.

        None where the buffer was told of them, or nobody will ask.
        """
        raise NotImplementedError

    def _successor_value(self, observations: Observation) -> Tensor:
        """Returns V of observations `[B, ...]` by the critic that values successors."""
        critic = self.policy if self.target_policy is None else self.target_policy
        with torch.no_grad():
            return critic.predict_values(observations).flatten()
