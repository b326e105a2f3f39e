"""Gymnasium vector environments, NumPy or torch, as SB3 vector environments."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import Wrapper
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnvIndices,
    VecEnvStepReturn,
)


def as_vec_env(env: VectorEnv[Any, Any, Any]) -> VecEnv:
    """Returns an SB3 vector environment for any algorithm that takes one.

    Args:
        env: a Gymnasium vector environment in any autoreset mode.

    Returns:
        The same environments, with SB3's `step` and `reset`, and with the results of
        finished episodes in `infos` as from a `Monitor`.

    Raises:
        ValueError: if the environment inserts dummy steps (NEXT_STEP) and can't restart
            environments one by one, which would remove them.
        TypeError: if `env` is no vector environment.
    """
    return VectorEnvAdapter(env)


class VectorEnvAdapter(VecEnv):
    """What `as_vec_env` returns.

    Gymnasium has three ways of going on after an episode. SAME_STEP is SB3's own. With
    DISABLED, and with NEXT_STEP where the environment can restart some of its copies
    (`options={"reset_mask": ...}`), the adapter restarts them at once. With NEXT_STEP
    elsewhere, Gymnasium's CartPole for one, the step after an end is a dummy, whose
    action is ignored: `dummy_steps` marks it, for a learner that skips it.

    Args:
        env: a Gymnasium vector environment.
        learner_skips_dummy_steps: whether the learner looks at `dummy_steps`; the
            algorithms of pg_agents do, and tell so.

    Attributes:
        env: the vector environment.
        dummy_steps: `[N]` bool, which results of the last step are to be skipped.

    Raises:
        ValueError: if there would be dummy steps that the learner does not skip.
        TypeError: if `env` is no vector environment.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        learner_skips_dummy_steps: bool = False,
    ) -> None:
        if not isinstance(env, VectorEnv):
            raise TypeError(
                "as_vec_env takes a gymnasium.vector.VectorEnv, such as gym.make_vec "
                f"returns, got {type(env).__name__}"
            )
        self.env = env
        mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._restarts = mode is not AutoresetMode.SAME_STEP and _can_restart_some(env)
        self._has_dummies = mode is not AutoresetMode.SAME_STEP and not self._restarts
        if self._has_dummies and not learner_skips_dummy_steps:
            raise ValueError(
                f"{env} inserts a dummy step after every episode "
                f"(autoreset_mode={mode.value}), which this learner would take for a "
                "real one. Make it with vectorization_mode='sync', or with "
                "AutoresetMode.SAME_STEP if it has it"
            )
        super().__init__(
            env.num_envs, env.single_observation_space, env.single_action_space
        )
        self.dummy_steps = np.zeros(env.num_envs, dtype=np.bool_)
        self._actions: NDArray[Any] = np.zeros(0)
        self._begin_statistics()

    def reset(self) -> NDArray[Any]:
        """Restarts all environments; returns observations `[N, *obs_shape]`."""
        # One generator, seeded by the first of SB3's consecutive seeds.
        options = self._options[0] if self._options else None
        observations, _ = self.env.reset(seed=self._seeds[0], options=options or None)
        self._reset_seeds()
        self._reset_options()
        self.dummy_steps = np.zeros(self.num_envs, dtype=np.bool_)
        self._last_dones = np.zeros(self.num_envs, dtype=np.bool_)
        self._begin_statistics()
        return _numpy(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Remembers the actions `[N, *action_shape]` for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all environments.

        Returns:
            Observations `[N, *obs_shape]`, rewards `[N]` float32, dones `[N]` bool and
            a list of N infos, with SB3's keys for those that are done.
        """
        results = self.env.step(self._actions)
        observations, rewards, terminated, truncated = map(_numpy, results[:4])
        final_observations = _numpy(results[4].get("final_obs", observations))
        dones = terminated | truncated
        self.dummy_steps = self._last_dones & self._has_dummies
        self._returns += rewards
        self._lengths += ~self.dummy_steps
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(dones):
            infos[i] = {
                "terminal_observation": final_observations[i],
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                "episode": self._result(int(i)),
            }
        if self._restarts and dones.any():
            restarted, _ = self.env.reset(options={"reset_mask": dones})
            observations = _numpy(restarted)
        self._returns[dones] = 0.0
        self._lengths[dones] = 0
        self._last_dones = dones
        return observations, rewards.astype(np.float32), dones, infos

    def _begin_statistics(self) -> None:
        self._started = time.time()
        self._last_dones = np.zeros(self.num_envs, dtype=np.bool_)
        self._returns = np.zeros(self.num_envs, dtype=np.float64)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)

    def _result(self, i: int) -> dict[str, float]:
        """Returns what SB3's Monitor says of a finished episode, rounded likewise."""
        return {
            "r": round(float(self._returns[i]), 6),
            "l": int(self._lengths[i]),
            "t": round(time.time() - self._started, 6),
        }

    def close(self) -> None:
        """Closes the environments."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Returns a frame per environment."""
        frames: Any = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of the vector environment, once per environment."""
        return [self._find(attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(
        self,
        attr_name: str,
        value: Any,  # noqa: ANN401
        indices: VecEnvIndices = None,
    ) -> None:
        """Sets an attribute of the vector environment, which has it for all."""
        setattr(self.env.unwrapped, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Calls a method of the vector environment, once for all."""
        method: Callable[..., Any] = self._find(method_name)
        result = method(*method_args, **method_kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(
        self,
        wrapper_class: type[Wrapper[Any, Any, Any, Any]],
        indices: VecEnvIndices = None,
    ) -> list[bool]:
        """Says yes to Monitor, whose results the infos carry, and to nothing else."""
        is_monitor = wrapper_class is Monitor
        return [is_monitor] * len(list(self._get_indices(indices)))

    def _find(self, name: str) -> Any:  # noqa: ANN401
        if hasattr(self.env, name):
            return getattr(self.env, name)
        return getattr(self.env.unwrapped, name)


def _can_restart_some(env: VectorEnv[Any, Any, Any]) -> bool:
    return isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv) or bool(
        env.metadata.get("reset_mask", False)
    )


def _numpy(values: Any) -> NDArray[Any]:  # noqa: ANN401
    if isinstance(values, torch.Tensor):
        return values.cpu().numpy()
    return np.asarray(values)
