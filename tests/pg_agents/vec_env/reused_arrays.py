"""Environments that return the same arrays from every step, or copies of them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.vec_env.arrays import copied

N_ENVS = 3
OBS = spaces.Box(-9.0, 9.0, (2,), np.float32)
TWO = spaces.Discrete(2)


class Walks:
    """N walkers whose every step writes into the same arrays.

    The observation is [place, steps in the episode]. An episode terminates beyond 1,
    and is truncated after 3 + i steps; the next one starts further to the right.
    """

    def __init__(self, n: int = N_ENVS) -> None:
        self.n = n
        self.obs = np.zeros((n, 2), np.float32)
        self.final = np.zeros((n, 2), np.float32)
        self.rewards = np.zeros(n)
        self.terminated, self.truncated = np.zeros((2, n), np.bool_)
        self.mask = np.zeros(n, np.bool_)
        self.momentum = np.zeros(n)
        self.episodes = np.zeros(n)

    def restart(self, mask: Any) -> None:
        """Starts episodes, and overwrites the results of the last step."""
        self.obs[mask, 0] = 0.05 * self.episodes[mask] % 0.5
        self.obs[mask, 1] = 0.0
        self.episodes[mask] += 1
        self.rewards[mask] = -1.0
        self.terminated[mask] = self.truncated[mask] = False

    def move(self, actions: Any) -> None:
        index = np.arange(self.n)
        self.momentum[:] = 0.4 * np.asarray(actions) - 0.1 + 0.05 * index
        self.obs[:, 0] += self.momentum
        self.obs[:, 1] += 1
        self.rewards[:] = self.obs[:, 0] * 2 - 0.3 * self.obs[:, 1]
        self.terminated[:] = self.obs[:, 0] > 1.0
        self.truncated[:] = ~self.terminated & (self.obs[:, 1] >= 3 + index)


class WalksVectorEnv(VectorEnv[Any, Any, Any]):
    """Walkers as a native vector environment.

    Args:
        reuses: whether to return the same arrays from every step, or copies.
        mode: autoreset mode.
        reset_mask: whether partial resets are supported, as DISABLED requires.
        as_torch: whether to return tensors, which share the memory of the arrays.
    """

    def __init__(
        self,
        reuses: bool,
        mode: AutoresetMode = AutoresetMode.SAME_STEP,
        reset_mask: bool = False,
        as_torch: bool = False,
    ) -> None:
        self.reuses, self.mode, self.as_torch = reuses, mode, as_torch
        self.metadata = {
            "autoreset_mode": mode,
            "reset_mask": reset_mask,
            "torch": as_torch,
        }
        self.device = torch.device("cpu")
        self.num_envs = N_ENVS
        self.single_observation_space, self.single_action_space = OBS, TWO
        self.observation_space = batch_space(OBS, N_ENVS)
        self.action_space = batch_space(TWO, N_ENVS)
        self.walks = Walks()
        self.ended = np.zeros(N_ENVS, np.bool_)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        mask = (options or {}).get("reset_mask", np.ones(N_ENVS, np.bool_))
        self.walks.restart(np.asarray(mask))
        self.ended[np.asarray(mask)] = False
        return self._out((self.walks.obs, {}))

    def step(self, actions: Any) -> Any:
        walks, ended = self.walks, self.ended.copy()
        walks.move(actions)
        infos: dict[str, Any] = {"momentum": walks.momentum}
        if self.mode is AutoresetMode.NEXT_STEP:
            walks.restart(ended)
            walks.rewards[ended] = 0.0
        self.ended = walks.terminated | walks.truncated
        if self.mode is AutoresetMode.SAME_STEP:
            walks.final[:], walks.mask[:] = walks.obs, self.ended
            infos |= {"final_obs": walks.final, "_final_obs": walks.mask}
            results = (
                walks.rewards.copy(),
                walks.terminated.copy(),
                walks.truncated.copy(),
            )
            walks.restart(self.ended)
            walks.rewards[:], walks.terminated[:], walks.truncated[:] = results
        ends = walks.terminated, walks.truncated
        return self._out((walks.obs, walks.rewards, *ends, infos))

    def _out(self, results: Any) -> Any:
        arrays = results if self.reuses else copied(results)
        return _tensors(arrays) if self.as_torch else arrays


def _tensors(values: Any) -> Any:
    if isinstance(values, tuple):
        return tuple(map(_tensors, values))
    if isinstance(values, dict):
        return {key: _tensors(value) for key, value in values.items()}
    return torch.from_numpy(values)


class WalksVecEnv(VecEnv):
    """Walkers as an SB3 vector environment."""

    def __init__(self, reuses: bool) -> None:
        self.reuses = reuses
        self.walks = Walks()
        self.infos: list[dict[str, Any]] = [{} for _ in range(N_ENVS)]
        self.results: list[dict[str, Any]] = [{} for _ in range(N_ENVS)]
        self.dones = np.zeros(N_ENVS, np.bool_)
        self.returns, self.lengths = np.zeros(N_ENVS), np.zeros(N_ENVS)
        self.final = np.zeros((N_ENVS, 2), np.float32)
        super().__init__(N_ENVS, OBS, TWO)

    def reset(self) -> Any:
        self.walks.restart(np.ones(N_ENVS, np.bool_))
        self.returns[:] = self.lengths[:] = 0
        return self._out(self.walks.obs)

    def step_async(self, actions: Any) -> None:
        self.actions = actions

    def step_wait(self) -> Any:
        walks = self.walks
        walks.move(self.actions)
        self.returns += walks.rewards
        self.lengths += 1
        rewards, self.final[:] = walks.rewards.copy(), walks.obs
        self.dones[:] = walks.terminated | walks.truncated
        for i, info in enumerate(self.infos):
            info.clear()
            info["TimeLimit.truncated"] = bool(walks.truncated[i])
            if self.dones[i]:
                result = {"r": self.returns[i], "l": self.lengths[i], "t": 0.0}
                self.results[i].update(result)
                info["episode"] = self.results[i]
                info["terminal_observation"] = self.final[i]
        walks.restart(self.dones)
        self.returns[self.dones] = self.lengths[self.dones] = 0
        walks.rewards[:] = rewards
        return self._out((walks.obs, walks.rewards, self.dones, self.infos))

    def _out(self, results: Any) -> Any:
        return results if self.reuses else copied(results)

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name == "render_mode":
            return [None] * N_ENVS
        raise AttributeError(attr_name)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, **kwargs: Any) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * N_ENVS


class WalkEnv(gymnasium.Env[Any, Any]):
    """One walker."""

    def __init__(self, reuses: bool) -> None:
        self.observation_space, self.action_space = OBS, TWO
        self.reuses = reuses
        self.walks = Walks(1)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.walks.restart(np.ones(1, np.bool_))
        return self._out((self.walks.obs[0], {}))

    def step(self, action: Any) -> Any:
        walks = self.walks
        walks.move(np.array([action]))
        ends = bool(walks.terminated[0]), bool(walks.truncated[0])
        info = {"momentum": walks.momentum}
        return self._out((walks.obs[0], float(walks.rewards[0]), *ends, info))

    def _out(self, results: Any) -> Any:
        return results if self.reuses else copied(results)
