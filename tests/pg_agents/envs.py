"""Environments whose every step is known beforehand."""

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
    """Episodes of given lengths, one after the other, over and over.

    What is seen is [number of the episode, steps taken in it]; the reward of a step is
    10 times the number of the episode plus the number of the step, from 0.

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
        return self._seen(), {}

    def step(
        self, action: np.int64
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        reward = 10.0 * self.episode + self.steps
        self.steps += 1
        ended = self.steps == self.lengths[self.episode % len(self.lengths)]
        return (
            self._seen(),
            reward,
            ended and not self.truncates,
            ended and self.truncates,
            {},
        )

    def _seen(self) -> Observation:
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
    """ScriptedEnv, environment i with episodes of `lengths[i]` steps, all by hand.

    It knows no `reset_mask`, as Gymnasium's own CartPole vector environment.
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
        seen = np.zeros((n, 2), dtype=np.float32)
        final = np.zeros((n, 2), dtype=np.float32)
        rewards = np.zeros(n)
        terminated, truncated = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        for i, env in enumerate(self.envs):
            if self.mode is AutoresetMode.NEXT_STEP and self.ended[i]:
                seen[i] = env.reset()[0]
                continue
            seen[i], rewards[i], terminated[i], truncated[i], _ = env.step(actions[i])
            final[i] = seen[i]
            ended = terminated[i] or truncated[i]
            if self.mode is AutoresetMode.SAME_STEP and ended:
                seen[i] = env.reset()[0]
        self.ended = terminated | truncated
        infos = {}
        if self.mode is AutoresetMode.SAME_STEP and self.ended.any():
            infos = {"final_obs": final, "_final_obs": self.ended.copy()}
        return seen, rewards, terminated, truncated, infos


class SampleEnv(gymnasium.Env[Any, Any]):
    """Observations of any space, the same whenever it is at the same step.

    Info of every step has "steps"; that of the last has "is_success", true in episodes
    of an odd number, and a dict; that of a reset has "episode_number".

    Args:
        observation_space: what is seen is a sample of it, by episode and step.
        action_space: what actions must be from.
        lengths: steps of each episode, over and over.
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
        return self._seen(), {"episode_number": self.episode}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), (action, type(action))
        assert np.asarray(action).dtype == self.action_space.dtype
        self.steps += 1
        ended = self.steps == self.lengths[self.episode % len(self.lengths)]
        info: dict[str, Any] = {"steps": self.steps}
        if ended:
            info |= {"is_success": self.episode % 2 == 1, "end": {"at": self.steps}}
        return (
            self._seen(),
            float(self.steps),
            ended and not self.truncates,
            ended and self.truncates,
            info,
        )

    def _seen(self) -> Any:
        self.observation_space.seed(100 * self.episode + self.steps)
        return self.observation_space.sample()
