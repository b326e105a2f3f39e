"""Gymnasium vector environments, NumPy or torch, as SB3 vector environments."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnvObs,
    VecEnvStepReturn,
)

from pg_agents.common.checks import kind_of
from pg_agents.common.spaces import nearest_actions
from pg_agents.common.tree import Observation, select
from pg_agents.vec_env.arrays import (
    copied,
    is_any,
    returns_fresh_arrays,
    single_observation,
    to_numpy,
    warn_if_overwritten,
    with_rows,
    zero_where,
)
from pg_agents.vec_env.autoreset import Restart, partial_reset, restart_method
from pg_agents.vec_env.infos import FINAL_INFO, FINAL_OBS, Info, split_infos
from pg_agents.vec_env.sub_envs import SubEnvironmentAccess

# An array or a tensor, `[N, ...]`.
Rows = Any

_SIMPLE = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


class ArrayStep(NamedTuple):
    """Result of one step of N environments, in the environment's own arrays.

    Attributes:
        obs: `[N, *obs_shape]`, after any restart.
        final_obs: `[N, *obs_shape]`, before any restart; `[N]` objects from Gymnasium's
            SyncVectorEnv.
        rewards: `[N]`.
        terminated: `[N]` bool.
        truncated: `[N]` bool, as the environment returned it: both may be True.
        dones: `[N]` bool, `terminated | truncated`.
        dummy: `[N]` bool, environments that restarted instead of taking a step; None if
            the environment inserts no dummy steps.
        returns: `[N]`, sum of the rewards of the episode so far, this step included.
        lengths: `[N]` integers, steps of the episode so far, this step included.
        infos: as the environment returned them.
        reset_infos: infos of the restart that followed the step.
    """

    obs: Observation
    final_obs: Observation
    rewards: Rows
    terminated: Rows
    truncated: Rows
    dones: Rows
    dummy: Rows | None
    returns: Rows
    lengths: Rows
    infos: Any
    reset_infos: Info


def as_vec_env(env: VectorEnv[Any, Any, Any]) -> VecEnv:
    """Returns an SB3 vector environment for any algorithm that takes one.

    Args:
        env: a Gymnasium vector environment in any autoreset mode.

    Returns:
        The same environments with SB3's `step` and `reset`, and with the results of
        finished episodes in `infos`, as from a `Monitor`.

    Raises:
        ValueError: if the environment inserts dummy steps (NEXT_STEP) and its
            sub-environments can't be reset one by one, which would remove them; or if
            SB3 has no policy for its spaces.
        TypeError: if `env` is not a vector environment.
    """
    return VectorEnvAdapter(env)


class VectorEnvAdapter(SubEnvironmentAccess):
    """The SB3 vector environment that `as_vec_env` returns.

    Of Gymnasium's three autoreset modes SAME_STEP is SB3's own. In DISABLED mode, and
    in NEXT_STEP mode if the environment can reset some of its sub-environments (see
    `autoreset`), the adapter resets them within the step. In NEXT_STEP mode otherwise,
    the step after an end is a dummy that ignores its action; `dummy_steps` marks it for
    a learner that skips it. SB3's wrappers don't: VecMonitor would count the step and
    VecNormalize average its reward.

    The infos of a step are returned as one dict per environment, those of a restart as
    `reset_infos`. An `"episode"` entry from the environment, written by a Monitor or by
    Gymnasium's RecordEpisodeStatistics, is not replaced.

    Args:
        env: a Gymnasium vector environment.
        learner_skips_dummy_steps: whether the learner reads `dummy_steps`, as the
            algorithms of pg_agents do.

    Attributes:
        env: the vector environment.
        dummy_steps: `[N]` bool, results of the last step that a learner must skip.
        steps_arrays: whether the environment can be stepped in its own arrays by
            `step_arrays`. It must not be wrapped nor consist of single environments,
            and must reset by itself or on demand.
        is_torch: whether the environment takes and returns tensors.

    Raises:
        ValueError: if there would be dummy steps that the learner does not skip, or if
            SB3 has no policy for its spaces.
        TypeError: if `env` is not a vector environment.
    """

    # Per environment, [N]: whether its last step ended an episode; return and number of
    # steps of the current episode. Tensors for a torch environment that `steps_arrays`.
    _last_dones: Rows
    _returns: Rows
    _lengths: Rows

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        learner_skips_dummy_steps: bool = False,
    ) -> None:
        if not isinstance(env, VectorEnv):
            raise TypeError(
                "as_vec_env takes a gymnasium.vector.VectorEnv, such as gym.make_vec "
                f"returns, got {kind_of(env)}"
            )
        _check_spaces(env.single_observation_space, env.single_action_space)
        self.env = env
        self._restart = restart_method(env, learner_skips_dummy_steps)
        super().__init__(
            env.num_envs, env.single_observation_space, env.single_action_space
        )
        # VecVideoRecorder reads render_fps here, as of SB3's DummyVecEnv.
        self.metadata = dict(env.metadata)
        self.is_torch = bool(env.metadata.get("torch", False))
        self.steps_arrays = (
            env.unwrapped is env
            and not isinstance(env, SyncVectorEnv | AsyncVectorEnv)
            and (
                self._restart is Restart.BY_ADAPTER
                or bool(env.metadata.get("reset_mask", False))
            )
        )
        self._copies = not returns_fresh_arrays(env)
        self._checks_final_obs = True
        self._actions: NDArray[Any] = np.zeros(0)
        self._begin_episodes()

    def reset(self) -> VecEnvObs:
        """Resets all environments; returns observations `[N, *obs_shape]`.

        Uses the seeds and options given to `seed` and `set_options`, once.
        """
        # Gymnasium derives the seeds of the sub-environments from the first one, as
        # consecutive numbers like SB3's.
        seed = self._seeds[0]
        options = dict(self._options[0]) if self._options else None
        obs, infos = self._fresh(self.env.reset(seed=seed, options=options or None))
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = split_infos(infos, self.num_envs)
        self._begin_episodes()
        arrays: VecEnvObs = to_numpy(obs)
        return arrays

    def step_async(self, actions: NDArray[Any]) -> None:
        """Stores the actions `[N, *action_shape]` for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all environments.

        Returns:
            Observations `[N, *obs_shape]` or a dict of them, rewards `[N]` float32,
            dones `[N]` bool, and a list of N infos with SB3's keys where an episode
            ended.
        """
        actions = self._to_env_actions(np.asarray(self._actions))
        step = self._step(self.env.step, actions)
        infos, reset_infos = self._infos_of(step)
        for i, info in reset_infos.items():
            self.reset_infos[i] = info
        if step.dummy is not None:
            self.dummy_steps = to_numpy(step.dummy)
        rewards = to_numpy(step.rewards).astype(np.float32)
        return to_numpy(step.obs), rewards, to_numpy(step.dones), infos

    def step_arrays(self, actions: Rows) -> ArrayStep:
        """Steps all environments as `step` does, in their own kind of arrays.

        Does not wait for the device, unless the adapter resets the environments.

        Args:
            actions: `[N, *action_shape]`, within the action space.
        """
        env: Any = self.env
        unchecked = _has_unchecked_step(type(env))
        return self._step(env.step_unchecked if unchecked else env.step, actions)

    def infos_of(self, step: ArrayStep) -> list[Info]:
        """Returns the infos that `step` would have returned with the same results."""
        return self._infos_of(step)[0]

    @property
    def statistics(self) -> tuple[Rows, Rows]:
        """Return and length of each environment's current episode, `[N]` each."""
        return self._returns, self._lengths

    @property
    def seconds(self) -> float:
        """Seconds since the last reset of all environments."""
        return time.time() - self._started

    def _step(self, take: Callable[[Rows], Any], actions: Rows) -> ArrayStep:
        obs, rewards, terminated, truncated, infos = results = take(actions)
        if self._checks_final_obs and FINAL_OBS in infos:
            self._checks_final_obs = not warn_if_overwritten(
                self.env, infos[FINAL_OBS], truncated, stacklevel=4
            )
        # Copied before any restart, which may write into the same arrays.
        obs, rewards, terminated, truncated, infos = self._fresh(results)
        if not self.steps_arrays:
            # A wrapper may return arrays from a torch environment.
            obs, rewards, terminated, truncated = map(
                to_numpy, (obs, rewards, terminated, truncated)
            )
        dones = terminated | truncated
        dummy = self._last_dones if self._restart is Restart.IN_DUMMY_STEP else None
        returns = self._returns + rewards
        lengths = self._lengths + (1 if dummy is None else ~dummy)
        final_obs = infos.get(FINAL_OBS, obs) if isinstance(infos, dict) else obs
        reset_infos: Info = {}
        if self._restart is Restart.BY_ADAPTER and is_any(dones):
            new_obs, reset_infos = self._fresh(partial_reset(self.env, dones))
            # Known native environments return the current rows of the others.
            if self._copies or not self.steps_arrays:
                new_obs = with_rows(
                    obs, new_obs if self.steps_arrays else to_numpy(new_obs), dones
                )
            obs = new_obs
        self._returns, self._lengths = returns, lengths
        # On a GPU, asking whether any episode ended would synchronise.
        if isinstance(dones, torch.Tensor) or np.count_nonzero(dones):
            self._returns = zero_where(dones, returns)
            self._lengths = zero_where(dones, lengths)
        self._last_dones = dones
        return ArrayStep(
            obs,
            final_obs,
            rewards,
            terminated,
            truncated,
            dones,
            dummy,
            returns,
            lengths,
            infos,
            reset_infos,
        )

    def _infos_of(self, step: ArrayStep) -> tuple[list[Info], dict[int, Info]]:
        """Returns SB3's infos, and the reset infos of restarted environments."""
        infos = split_infos(step.infos, self.num_envs)
        reset_infos: dict[int, Info] = {}
        if step.dummy is not None:
            for i in map(int, np.flatnonzero(to_numpy(step.dummy))):
                reset_infos[i], infos[i] = infos[i], {}
        ended = list(map(int, np.flatnonzero(to_numpy(step.dones))))
        if not ended:
            return infos, reset_infos
        if self._restart is Restart.BY_ADAPTER:
            resets = split_infos(step.reset_infos, self.num_envs)
            reset_infos |= {i: resets[i] for i in ended}
        returns, lengths, terminated, truncated = map(
            to_numpy, (step.returns, step.lengths, step.terminated, step.truncated)
        )
        for i in ended:
            info = infos[i]
            final_obs = info.pop(FINAL_OBS, None)
            if final_obs is None:
                final_obs = select(step.final_obs, i)
            episode = info.get("episode")
            if FINAL_INFO in info:
                # The other entries are of the reset, except for a wrapper's result.
                final_info = dict(info.pop(FINAL_INFO))
                reset_infos[i] = info
                info, episode = final_info, episode or final_info.get("episode")
            if not (isinstance(episode, dict) and "r" in episode):
                # Rounded as SB3's Monitor does.
                episode = {
                    "r": round(float(returns[i]), 6),
                    "l": int(lengths[i]),
                    "t": round(self.seconds, 6),
                }
            infos[i] = {
                **info,
                "episode": episode,
                "terminal_observation": single_observation(
                    final_obs, self.observation_space
                ),
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
            }
        return infos, reset_infos

    def _to_env_actions(self, actions: NDArray[Any]) -> Rows:
        """Converts actions to the dtype of their space: SB3's policies give floats."""
        space = self.action_space
        integer_box = isinstance(space, spaces.Box) and space.dtype.kind != "f"
        if integer_box and actions.dtype.kind == "f":
            actions = nearest_actions(actions, space)
        else:
            actions = actions.astype(space.dtype, copy=False)
        if not self.is_torch:
            return actions
        return torch.as_tensor(actions, device=self.env.device)  # type: ignore[attr-defined]

    def _fresh(self, results: Any) -> Any:  # noqa: ANN401
        """Copies results that the environment may overwrite later."""
        return copied(results) if self._copies else results

    def _begin_episodes(self) -> None:
        n = self.num_envs
        self._started = time.time()
        self.dummy_steps = np.zeros(n, dtype=np.bool_)
        self._last_dones = np.zeros(n, dtype=np.bool_)
        self._returns = np.zeros(n, dtype=np.float64)
        self._lengths = np.zeros(n, dtype=np.int64)
        if self.steps_arrays and self.is_torch:
            device: torch.device = self.env.device  # type: ignore[attr-defined]
            dtype = torch.float32 if device.type == "mps" else torch.float64
            self._last_dones = torch.zeros(n, dtype=torch.bool, device=device)
            self._returns = torch.zeros(n, dtype=dtype, device=device)
            self._lengths = torch.zeros(n, dtype=torch.int64, device=device)


def _check_spaces(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> None:
    """Raises a ValueError for spaces that SB3's algorithms have no policy for."""
    parts = (
        list(observation_space.spaces.values())
        if isinstance(observation_space, spaces.Dict)
        else [observation_space]
    )
    if not all(isinstance(part, _SIMPLE) for part in parts):
        raise ValueError(
            "the observation space must be Box, Discrete, MultiDiscrete, MultiBinary "
            f"or a Dict of these, got {observation_space}: "
            "gymnasium.wrappers.FlattenObservation makes a Box of any space"
        )
    if not isinstance(action_space, _SIMPLE):
        raise ValueError(
            "the action space must be Box, Discrete, MultiDiscrete or MultiBinary, got "
            f"{action_space}"
        )


def _has_unchecked_step(kind: type) -> bool:
    """Whether a class has `step_unchecked`, its `step` without the check of actions.

    False if a subclass overrides `step`, which `step_unchecked` would bypass.
    """
    for parent in kind.__mro__:
        if "step_unchecked" in vars(parent):
            return True
        if "step" in vars(parent):
            return False
    return False
