"""Gymnasium vector environments, NumPy or torch, as SB3 vector environments."""

from __future__ import annotations

import time
from typing import Any

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
from pg_agents.common.tree import Observation, Rows, select
from pg_agents.vec_env.array_steps import (
    ArrayStep,
    has_quick_step,
    is_any,
    zero_where,
)
from pg_agents.vec_env.autoreset import After, after_an_end, restart_some
from pg_agents.vec_env.empty_info import NO_INFO
from pg_agents.vec_env.fresh_arrays import (
    copied,
    returns_fresh_arrays,
    warn_if_overwritten,
)
from pg_agents.vec_env.infos import (
    FINAL_INFO,
    FINAL_OBS,
    check_spaces,
    single_observation,
    split_infos,
    to_numpy,
    with_rows,
)
from pg_agents.vec_env.sub_envs import SubEnvironmentAccess


def as_vec_env(env: VectorEnv[Any, Any, Any]) -> VecEnv:
    """Returns an SB3 vector environment for any algorithm that takes one.

    Args:
        env: a Gymnasium vector environment in any autoreset mode.

    Returns:
        The same environments, with SB3's `step` and `reset`, and with the results of
        finished episodes in `infos` as from a `Monitor`.

    Raises:
        ValueError: if the environment inserts dummy steps (NEXT_STEP) and can't restart
            environments one by one, which would remove them; or if SB3 has no policy
            for its spaces.
        TypeError: if `env` is no vector environment.
    """
    return VectorEnvAdapter(env)


class VectorEnvAdapter(SubEnvironmentAccess):
    """What `as_vec_env` returns.

    Gymnasium has three ways of going on after an episode. SAME_STEP is SB3's own. With
    DISABLED, and with NEXT_STEP where the environment can restart some of its copies
    (see `restarts`), the adapter restarts them at once. With NEXT_STEP elsewhere, the
    step after an end is a dummy, whose action is ignored: `dummy_steps` marks it, for a
    learner that skips it. SB3's wrappers know nothing of it: VecMonitor would count it
    and VecNormalize average its reward.

    Infos of the step are handed on as one dict per environment, those of a restart as
    `reset_infos`. A result under `"episode"` that the environment gives itself, from a
    Monitor or from Gymnasium's RecordEpisodeStatistics, is left as it is.

    Args:
        env: a Gymnasium vector environment.
        learner_skips_dummy_steps: whether the learner looks at `dummy_steps`; the
            algorithms of pg_agents do, and tell so.

    Attributes:
        env: the vector environment.
        dummy_steps: `[N]` bool, which results of the last step are to be skipped.

    Raises:
        ValueError: if there would be dummy steps that the learner does not skip, or if
            SB3 has no policy for its spaces.
        TypeError: if `env` is no vector environment.
    """

    _last_dones: Any
    # Of each environment's present episode, [N]: return and number of steps. Tensors,
    # while a learner steps a torch environment in its own kind.
    _returns: Any
    _lengths: Any

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
        check_spaces(env.single_observation_space, env.single_action_space)
        self.env = env
        after = after_an_end(env, learner_skips_dummy_steps)
        self._restarts, self._has_dummies = after is After.RESTART, after is After.DUMMY
        super().__init__(
            env.num_envs, env.single_observation_space, env.single_action_space
        )
        # As in SB3's DummyVecEnv, for VecVideoRecorder, which reads render_fps.
        self.metadata = dict(env.metadata)
        # Others may write the next step into the arrays that they have returned.
        self._copies = not returns_fresh_arrays(env)
        self._has_warned = False
        self.dummy_steps = np.zeros(env.num_envs, dtype=np.bool_)
        self._actions: NDArray[Any] = np.zeros(0)
        self._begin_statistics()

    def reset(self) -> VecEnvObs:
        """Restarts all environments; returns observations `[N, *obs_shape]`.

        Seeds and options are those last given to `seed` and `set_options`, once.
        """
        # The first of SB3's consecutive seeds: where an environment has several
        # generators, Gymnasium gives them the consecutive ones as well.
        seed = self._seeds[0]
        options = dict(self._options[0]) if self._options else None
        results = self.env.reset(seed=seed, options=options or None)
        observations, infos = self._fresh(results)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = split_infos(infos, self.num_envs)
        self.dummy_steps = np.zeros(self.num_envs, dtype=np.bool_)
        self._begin_statistics()
        seen: VecEnvObs = to_numpy(observations)
        return seen

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remembers the actions `[N, *action_shape]` for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all environments.

        Returns:
            Observations `[N, *obs_shape]`, or a dict of them, rewards `[N]` float32,
            dones `[N]` bool and a list of N infos, with SB3's keys for those that are
            done.
        """
        self.begin_arrays(None)
        results = self.env.step(self._as_actions(np.asarray(self._actions)))
        if not self._has_warned and FINAL_OBS in results[4]:
            self._has_warned = warn_if_overwritten(
                self.env, results[4][FINAL_OBS], results[3]
            )
        # Before any restart, which may write into the same arrays.
        results = self._fresh(results)
        observations, rewards, terminated, truncated = map(to_numpy, results[:4])
        dones = terminated | truncated
        infos = split_infos(results[4], self.num_envs)
        if self._has_dummies:
            self.dummy_steps = self._last_dones
            for i in np.flatnonzero(self.dummy_steps):
                self.reset_infos[i], infos[i] = infos[i], NO_INFO
        self._returns += rewards
        self._lengths += ~self.dummy_steps
        for i in np.flatnonzero(dones):
            infos[i] = self._info_of_end(int(i), dict(infos[i]), observations)
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        if self._restarts and dones.any():
            observations = self._restart(dones, observations)
        self._returns[dones] = 0.0
        self._lengths[dones] = 0
        self._last_dones = dones
        return observations, rewards.astype(np.float32), dones, infos

    @property
    def steps_arrays(self) -> bool:
        """Whether `step_arrays` can be called: the environment is no list of others.

        It restarts by itself, with what was seen before in `infos["final_obs"]`, or
        restarts some of its copies on demand; nothing is wrapped around it.
        """
        env = self.env
        if env.unwrapped is not env:
            return False
        if isinstance(env, SyncVectorEnv | AsyncVectorEnv):
            return False
        return self._restarts or bool(env.metadata.get("reset_mask", False))

    @property
    def is_torch(self) -> bool:
        """Whether the environment takes and returns tensors."""
        return bool(self.env.metadata.get("torch", False))

    def step_arrays(self, actions: Rows) -> ArrayStep:
        """Steps all environments as `step` does, in their own kind of arrays.

        Nothing is asked of the device, unless the environment restarts on demand.

        Args:
            actions: `[N, *action_shape]`, within the action space.
        """
        step: Any = self.env.step
        if has_quick_step(type(self.env)):
            step = self.env.step_unchecked  # type: ignore[attr-defined]
        results = self._fresh(step(actions))
        observations, rewards, terminated, truncated, infos = results
        dones = terminated | truncated
        dummy = self._last_dones if self._has_dummies else None
        returns = self._returns + rewards
        lengths = self._lengths + (1 if dummy is None else ~dummy)
        final = infos.get(FINAL_OBS, observations)
        if self._restarts and is_any(dones):
            restarted, _ = restart_some(self.env, dones)
            # Rows of the others are the present ones where the environment is known.
            observations = (
                with_rows(observations, restarted, dones) if self._copies else restarted
            )
        self._returns = zero_where(dones, returns)
        self._lengths = zero_where(dones, lengths)
        self._last_dones = dones
        return ArrayStep(
            observations,
            final,
            rewards,
            terminated,
            truncated,
            dones,
            dummy,
            returns,
            lengths,
            infos,
        )

    @property
    def statistics(self) -> tuple[Any, Any]:
        """Return and length, `[N]` each, of each environment's present episode."""
        return self._returns, self._lengths

    def begin_arrays(self, device: torch.device | None) -> None:
        """Keeps statistics as tensors on a device from now on; None: as arrays."""
        if device is not None:
            if device.type == "mps":
                # It has no float64.
                self._returns = np.float32(to_numpy(self._returns))
            self._returns = torch.as_tensor(self._returns, device=device)
            self._lengths = torch.as_tensor(self._lengths, device=device)
        elif isinstance(self._returns, torch.Tensor):
            self._returns = to_numpy(self._returns).astype(np.float64)
            self._lengths = to_numpy(self._lengths).astype(np.int64)
            self._last_dones = to_numpy(self._last_dones)

    def infos_of(self, step: ArrayStep) -> list[dict[str, Any]]:
        """Returns the infos that `step` would have returned with the same results."""
        own = {FINAL_OBS, f"_{FINAL_OBS}"}
        infos = split_infos(
            {name: each for name, each in step.infos.items() if name not in own},
            self.num_envs,
        )
        truncated, terminated = to_numpy(step.truncated), to_numpy(step.terminated)
        for i in np.flatnonzero(to_numpy(step.dones)):
            seen = select(step.final_observations, int(i))
            infos[i] = {
                **infos[i],
                "episode": self._result(step.returns[i], step.lengths[i]),
                "terminal_observation": single_observation(
                    seen, self.observation_space
                ),
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
            }
        return infos

    @property
    def seconds(self) -> float:
        """Seconds since the last reset of all environments."""
        return time.time() - self._started

    def _info_of_end(
        self,
        i: int,
        info: dict[str, Any],
        observations: Observation,
    ) -> dict[str, Any]:
        """Returns the info of an episode's last step, with SB3's keys."""
        seen = info.pop(FINAL_OBS, None)
        if seen is None:
            seen = select(observations, i)
        episode = info.get("episode")
        if FINAL_INFO in info:
            # The rest is what the restart said, but for a wrapper's result.
            ended = dict(info.pop(FINAL_INFO))
            self.reset_infos[i] = info
            info, episode = ended, episode or ended.get("episode")
        given = isinstance(episode, dict) and "r" in episode
        if not given:
            episode = self._result(self._returns[i], self._lengths[i])
        info["episode"] = episode
        info["terminal_observation"] = single_observation(seen, self.observation_space)
        return info

    def _restart(
        self,
        dones: NDArray[np.bool_],
        observations: Observation,
    ) -> Observation:
        """Starts new episodes; returns observations with what is seen first in them."""
        restarted, infos = self._fresh(restart_some(self.env, dones))
        rows = split_infos(infos, self.num_envs)
        for i in np.flatnonzero(dones):
            self.reset_infos[i] = rows[i]
        return with_rows(observations, to_numpy(restarted), dones)

    def _as_actions(self, given: NDArray[Any]) -> Rows:
        """Returns actions of the dtype of their space: SB3's policies give floats."""
        space = self.action_space
        whole = isinstance(space, spaces.Box) and space.dtype.kind != "f"
        if whole and given.dtype.kind == "f":
            actions: NDArray[Any] = nearest_actions(given, space)
        else:
            actions = given.astype(space.dtype, copy=False)
        if not self.is_torch:
            return actions
        return torch.as_tensor(actions, device=self.env.device)  # type: ignore[attr-defined]

    def _fresh(self, results: Any) -> Any:  # noqa: ANN401
        """Returns what the environment returned, as arrays that stay as they are."""
        return copied(results) if self._copies else results

    def _begin_statistics(self) -> None:
        self._started = time.time()
        self._last_dones = np.zeros(self.num_envs, dtype=np.bool_)
        self._returns = np.zeros(self.num_envs, dtype=np.float64)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)

    def _result(self, episode_return: Any, length: Any) -> dict[str, float]:  # noqa: ANN401
        """Returns what SB3's Monitor says of a finished episode, rounded likewise."""
        return {
            "r": round(float(episode_return), 6),
            "l": int(length),
            "t": round(self.seconds, 6),
        }
