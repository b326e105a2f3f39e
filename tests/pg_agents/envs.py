"""Environments with scripted episodes, single and vectorised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

Observation = NDArray[np.float32]


class ScriptedEnv(gymnasium.Env[Observation, np.int64]):
    """Episodes of given lengths, repeated.

    Observations are [number of the episode, steps taken in it]; the reward is 10 times
    the number of the episode plus the number of the step, both from 0.

    Args:
        lengths: steps of each episode; 0 for one that never ends.
        truncates: whether episodes end by truncation instead of termination.
    """

    def __init__(self, lengths: Sequence[int], truncates: bool = False) -> None:
        self.observation_space = spaces.Box(-1.0, 1e6, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.lengths = lengths
        self.truncates = truncates
        self.episode = -1
        self.steps = 0
        self.n_resets = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.n_resets += 1
        self.steps = 0
        return self._observation(), {}

    def step(
        self, action: np.int64
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        reward = 10.0 * self.episode + self.steps
        self.steps += 1
        ended = self.steps == self.lengths[self.episode % len(self.lengths)]
        return (
            self._observation(),
            reward,
            ended and not self.truncates,
            ended and self.truncates,
            {},
        )

    def _observation(self) -> Observation:
        return np.array([self.episode, self.steps], dtype=np.float32)


class NativeVectorEnv(VectorEnv[Any, Any, Any]):
    """Steps single environments by hand, on NumPy or torch.

    Args:
        envs: with equal spaces.
        mode: autoreset mode.
        reset_mask: whether partial resets are supported.
        as_tensors: whether it takes and returns tensors.
    """

    def __init__(
        self,
        envs: Sequence[gymnasium.Env[Any, Any]],
        mode: AutoresetMode = AutoresetMode.SAME_STEP,
        reset_mask: bool = True,
        as_tensors: bool = False,
    ) -> None:
        self.envs, self.num_envs = list(envs), len(envs)
        self.mode, self.as_tensors = mode, as_tensors
        self.metadata = {"autoreset_mode": mode, "reset_mask": reset_mask}
        if as_tensors:
            self.metadata["torch"], self.device = True, torch.device("cpu")
        self.single_observation_space = envs[0].observation_space
        self.single_action_space = envs[0].action_space
        self.observation_space = batch_space(envs[0].observation_space, len(envs))
        self.action_space = batch_space(envs[0].action_space, len(envs))
        self.obs: list[Any] = [None] * len(envs)
        self.ended = np.zeros(len(envs), np.bool_)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        self._reset(np.asarray(mask))
        return self._batch(self.obs), {}

    def step(self, actions: Any) -> Any:
        assert isinstance(actions, torch.Tensor) == self.as_tensors, type(actions)
        rewards = np.zeros(self.num_envs, np.float32)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        dummy = self.ended & (self.mode is AutoresetMode.NEXT_STEP)
        self._reset(dummy)
        for i in np.flatnonzero(~dummy):
            results = self.envs[i].step(np.asarray(actions)[i])
            self.obs[i], rewards[i], terminated[i], truncated[i], _ = results
        self.ended = terminated | truncated
        infos: dict[str, Any] = {}
        if self.mode is AutoresetMode.SAME_STEP and self.ended.any():
            infos["final_obs"] = self._batch(self.obs)
            infos["_final_obs"] = self.ended
            self._reset(self.ended)
        obs = self._batch(self.obs)
        return tuple(map(self._values, (obs, rewards, terminated, truncated, infos)))

    def _reset(self, mask: Any) -> None:
        for i in np.flatnonzero(mask):
            self.obs[i], _ = self.envs[i].reset()
        self.ended = self.ended & ~mask

    def _batch(self, rows: list[Any]) -> Any:
        if isinstance(rows[0], dict):
            return {key: self._batch([row[key] for row in rows]) for key in rows[0]}
        return self._values(np.stack(rows))

    def _values(self, values: Any) -> Any:
        if isinstance(values, dict):
            return {key: self._values(value) for key, value in values.items()}
        return torch.as_tensor(values) if self.as_tensors else values


class StaggeredVectorEnv(NativeVectorEnv):
    """ScriptedEnvs, the i-th with episodes of `lengths[i]` steps.

    Like Gymnasium's CartPole vector environment, it has no `reset_mask`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        truncates: bool = False,
    ) -> None:
        envs = [ScriptedEnv([length], truncates) for length in lengths]
        super().__init__(envs, mode, reset_mask=False)


class SampleEnv(gymnasium.Env[Any, Any]):
    """Samples of any observation space, seeded by episode and step.

    Infos contain "steps"; the last of an episode "is_success", True in odd episodes,
    and a dict; that of a reset "episode_number".

    Args:
        observation_space: sampled at each step.
        action_space: asserted to contain the actions.
        lengths: steps of each episode, repeated.
        truncates: whether episodes end by truncation instead of termination.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lengths: Sequence[int],
        truncates: bool = False,
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.lengths = lengths
        self.truncates = truncates
        self.episode = -1
        self.steps = 0
        self.seeds: list[int | None] = []
        self.options: dict[str, Any] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.options = options
        self.episode += 1
        self.steps = 0
        return self._observation(), {"episode_number": self.episode}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), (action, type(action))
        assert np.asarray(action).dtype == self.action_space.dtype
        self.steps += 1
        ended = self.steps == self.lengths[self.episode % len(self.lengths)]
        info: dict[str, Any] = {"steps": self.steps}
        if ended:
            info |= {"is_success": self.episode % 2 == 1, "end": {"at": self.steps}}
        return (
            self._observation(),
            float(self.steps),
            ended and not self.truncates,
            ended and self.truncates,
            info,
        )

    def _observation(self) -> Any:
        self.observation_space.seed(100 * self.episode + self.steps)
        return self.observation_space.sample()
