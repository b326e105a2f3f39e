"""The collector: steps the environments and records transitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from pg_agents.common.nonfinite import acting_error, check_actions
from pg_agents.common.spaces import nearest_actions
from pg_agents.common.tree import Observation, Rows, tree_map
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.rollout.limits import EpisodeLimit, RolloutLimit, StepLimit
from pg_agents.rollout.steppers import (
    NativeStepper,
    StepResult,
    make_stepper,
    truncate,
)
from pg_agents.vec_env.arrays import copied, to_numpy

# Locals that callbacks expect to be arrays.
_ARRAYS_FOR_CALLBACKS = ("actions", "clipped_actions", "rewards", "dones", "new_obs")
# Returns actions, and values and log-probabilities if it has computed them.
Act = Callable[[Observation], tuple[Rows, Tensor | None, Tensor | None]]


class Collector:
    """Collects rollouts; the only loop over environment steps.

    It stores the last observations and step counts, which the next rollout continues
    from.

    Args:
        device: device of the model.

    Attributes:
        obs: `[N, *obs_shape]`, last observations; None before the first reset.
        episode_starts: `[N]` bool, whether `obs` are the first of an episode.
        episode_steps: `[N]` integers, actions taken in each environment's episode.
        in_rollout: whether the buffer has steps that the learner has not used.
        limit: when the rollout is complete.
    """

    limit: RolloutLimit

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.obs: Observation | None = None
        self.episode_starts: Any = None
        self.episode_steps: Rows = np.zeros(0, dtype=np.int64)
        self.in_rollout = False

    def restart(self, n_envs: int) -> None:
        """Sets the step counts to 0, because SB3 resets the environments."""
        self.episode_steps = np.zeros(n_envs, dtype=np.int64)

    def begin(self, env: VecEnv, n_steps: int | None, n_episodes: int | None) -> None:
        """Prepares a rollout; one of whole episodes resets unfinished episodes.

        Args:
            env: the environment.
            n_steps: steps of each environment; None for `n_episodes`.
            n_episodes: whole episodes of each environment.
        """
        self.in_rollout = False
        self._as_tensors = n_steps is not None
        if n_steps is not None:
            self.limit = StepLimit(n_steps)
            return
        assert n_episodes is not None, "PolicyGradientConfig has checked"
        # Environments that idled, or were truncated by the learner, are within one.
        if self.episode_steps.any():
            self.reset(env)
        self.limit = EpisodeLimit(env.num_envs, n_episodes)

    def collect(
        self,
        env: VecEnv,
        policy: BasePolicy,
        act: Act,
        buffer: TrajectoryBuffer,
        on_step: Callable[[dict[str, Any]], bool],
        record_episodes: Callable[..., None],
        n_episode_results: int,
        max_episode_steps: int | None = None,
        sde_sample_freq: int = -1,
        uses_arrays: bool = False,
        reads: Literal["all", "results", "nothing"] = "all",
    ) -> bool:
        """Steps the environments until the limit is reached or a callback stops.

        Args:
            env: the environment.
            policy: its action space and noise are used; actions come from `act`.
            act: draws actions for observations `[N, *obs_shape]`.
            buffer: an empty buffer that the transitions are added to.
            on_step: called after each step with SB3's local variables; returns False to
                stop.
            record_episodes: SB3's `_update_info_buffer`, called with infos and dones
                after a step that ends episodes; for native environments once, with the
                statistics of the last episodes.
            n_episode_results: maximum number of these.
            max_episode_steps: number of steps after which an episode is truncated.
            sde_sample_freq: steps between new gSDE noise; -1 for none here.
            uses_arrays: whether `act` takes and returns arrays, not tensors.
            reads: which local variables `on_step` gets; `"results"` are rewards, dones
                and infos.

        Returns:
            False if `on_step` stopped the rollout.
        """
        self.in_rollout = True
        as_tensors = self._as_tensors and not uses_arrays
        stepper = make_stepper(env, self.device, self.episode_steps, as_tensors)
        self.obs = stepper.begin(self.obs)
        to_tensor = partial(torch.as_tensor, device=self.device)
        limit = self.limit
        n_steps, continues = 0, True
        variables: dict[str, Any] = {}
        while continues and not limit.reached:
            if limit.needs_reset:
                self.reset(env)
                stepper.reset()
                limit.reset()
            if sde_sample_freq > 0 and n_steps % sde_sample_freq == 0:
                policy.reset_noise(env.num_envs)  # type: ignore[operator]
            obs = policy_obs = self.obs
            if not uses_arrays:
                policy_obs = tree_map(to_tensor, obs)
            try:
                drawn, values, log_probs = act(policy_obs)
            except (ValueError, RuntimeError) as error:
                # torch refuses distribution parameters that are not finite.
                raise acting_error(error, policy_obs) from error
            actions = drawn if uses_arrays else stepper.to_env(drawn)
            clipped_actions = self._within_space(policy, actions, policy_obs)
            result = stepper.step(clipped_actions)
            recorded: Any = limit.recorded
            if result.dummy is not None:
                is_real = ~result.dummy
                recorded = is_real if recorded is None else recorded & is_real
            # No episode is longer than a rollout of whole episodes.
            if max_episode_steps is not None and n_steps + 1 >= max_episode_steps:
                is_too_long = result.episode_steps + 1 >= max_episode_steps
                if is_too_long.any():
                    result = truncate(result, is_too_long, recorded, max_episode_steps)
            dones, infos = result.dones, result.infos
            if recorded is not None or result.capped is not None:
                dones, infos = _recorded_ends(result, recorded)
            if reads == "results":
                variables = {"rewards": result.rewards, "dones": dones, "infos": infos}
            elif reads == "all":
                variables = {
                    "n_steps": n_steps,
                    "obs_tensor": tree_map(to_tensor, policy_obs),
                    "actions": actions,
                    "values": values,
                    "log_probs": log_probs,
                    "clipped_actions": clipped_actions,
                    "new_obs": result.obs,
                    "rewards": result.rewards,
                    "dones": dones,
                    "infos": infos,
                }
            if variables and isinstance(result.rewards, Tensor):
                variables = _for_callbacks(variables)
            continues = on_step(variables)
            n_steps += 1
            if stepper.has_episode_infos and np.count_nonzero(dones):
                record_episodes(infos, dones)
            buffer.add(
                observations=obs,
                actions=actions,
                rewards=result.rewards,
                terminated=result.terminated,
                truncated=result.truncated,
                episode_steps=result.episode_steps,
                recorded=recorded,
                values=values,
                log_probs=log_probs,
                final_obs=result.final_obs,
            )
            limit.update(dones, result.dones)
            self.obs, self.episode_starts = result.obs, result.dones
            self.episode_steps = stepper.episode_steps
        if isinstance(stepper, NativeStepper):
            results = stepper.episode_results(buffer, n_episode_results)
            record_episodes([{"episode": result} for result in results])
        if isinstance(self.episode_steps, Tensor):
            self.episode_steps = to_numpy(self.episode_steps)
            self.episode_starts = to_numpy(self.episode_starts)
            if self.device.type == "cpu":
                # From a GPU they are copied when a checkpoint is saved.
                self.obs = to_numpy(self.obs)
        return continues

    def reset(self, env: VecEnv) -> None:
        """Resets all environments."""
        # Copied: an environment may write its next observation to the same array.
        self.obs = copied(env.reset())
        self.episode_starts = np.ones(env.num_envs, dtype=np.bool_)
        self.restart(env.num_envs)

    def _within_space(self, policy: BasePolicy, actions: Any, obs: Observation) -> Any:  # noqa: ANN401
        """Returns actions within the bounds of the action space, of its dtype.

        Args:
            policy: the acting policy.
            actions: `[N, *action_shape]`, as drawn.
            obs: observations, to name the cause of an action that is not finite.
        """
        is_box = isinstance(policy.action_space, spaces.Box)
        if is_box:
            # On an accelerator this would synchronise.
            if self.device.type == "cpu":
                check_actions(actions, obs)
            if policy.squash_output:
                actions = policy.unscale_action(to_numpy(actions))
        if actions.dtype == policy.action_space.dtype and not is_box:
            return actions
        return nearest_actions(actions, policy.action_space)


def _recorded_ends(
    result: StepResult,
    recorded: Any,  # noqa: ANN401
) -> tuple[Any, Sequence[dict[str, Any]]]:
    """Returns dones and infos, leaving out episodes that are not recorded.

    Args:
        result: a step.
        recorded: `[N]` bool; None for all.
    """
    dones = result.dones if result.capped is None else result.dones | result.capped
    if recorded is None or not (result.dones & ~recorded).any():
        return dones, result.infos
    infos = [
        info if keep else {k: value for k, value in info.items() if k != "episode"}
        for info, keep in zip(result.infos, recorded, strict=True)
    ]
    return dones & recorded, infos


def _for_callbacks(variables: dict[str, Any]) -> dict[str, Any]:
    """Returns variables with NumPy arrays in place of tensors on the CPU, as in SB3.

    Tensors on a GPU stay: copying them would synchronise.
    """
    if variables["rewards"].device.type != "cpu":
        return variables
    arrays = {
        name: tree_map(
            lambda rows: rows.numpy() if isinstance(rows, Tensor) else rows,
            variables[name],
        )
        for name in _ARRAYS_FOR_CALLBACKS
        if name in variables
    }
    return variables | arrays
