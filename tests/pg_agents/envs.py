"""Environments with scripted episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
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


class CoinLengthEnv(ScriptedEnv):
    """Episodes of one step or of `long` steps, with probability 0.5 each."""

    def __init__(self, long: int = 5) -> None:
        super().__init__([1])
        self.long = long

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        result = super().reset(seed=seed)
        self.lengths = [1 if self.np_random.random() < 0.5 else self.long]
        return result


class StaggeredVectorEnv(VectorEnv[Any, Any, Any]):
    """ScriptedEnvs, the i-th with episodes of `lengths[i]` steps.

    Like Gymnasium's CartPole vector environment, it has no `reset_mask`.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        truncates: bool = False,
    ) -> None:
        self.num_envs = len(lengths)
        self.metadata = {"autoreset_mode": mode}
        self.mode = mode
        self.envs = [ScriptedEnv([length], truncates) for length in lengths]
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(
            self.single_observation_space, self.num_envs
        )
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.ended = np.zeros(self.num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        self.ended[:] = False
        return np.stack([env.reset()[0] for env in self.envs]), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        n = self.num_envs
        obs = np.zeros((n, 2), dtype=np.float32)
        final = np.zeros((n, 2), dtype=np.float32)
        rewards = np.zeros(n)
        terminated, truncated = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        for i, env in enumerate(self.envs):
            if self.mode is AutoresetMode.NEXT_STEP and self.ended[i]:
                obs[i] = env.reset()[0]
                continue
            obs[i], rewards[i], terminated[i], truncated[i], _ = env.step(actions[i])
            final[i] = obs[i]
            ended = terminated[i] or truncated[i]
            if self.mode is AutoresetMode.SAME_STEP and ended:
                obs[i] = env.reset()[0]
        self.ended = terminated | truncated
        infos = {}
        if self.mode is AutoresetMode.SAME_STEP and self.ended.any():
            infos = {"final_obs": final, "_final_obs": self.ended.copy()}
        return obs, rewards, terminated, truncated, infos


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
