"""How the rollout steps its environments: through SB3's interface, or past it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnv,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)
from torch import Tensor

from pg_agents.common.tree import Observation, copy_observation, map_observation
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.rollout.columns import Rows
from pg_agents.rollout.dummy_steps import is_plain, step_in_turn
from pg_agents.rollout.outcomes import Outcome
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_agents.vec_env.arrays import copied, is_any, to_numpy
from pg_agents.vec_env.infos import LazyInfos, newest_results

# Of SB3's vector environments and wrappers, each step's arrays are new ones.
_FRESH_WRAPPERS = (
    VecCheckNan,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)


class VecEnvSteps:
    """Steps an SB3 vector environment, whatever is in it or around it.

    Args:
        env: the environment.
        episode_steps: `[N]` int64, actions taken in each environment's episode so far.
    """

    def __init__(self, env: VecEnv, episode_steps: Rows) -> None:
        self.env = env
        self.episode_steps = episode_steps
        inner = env.unwrapped
        self._adapter = inner if isinstance(inner, VectorEnvAdapter) else None
        self._take: Any = partial(step_in_turn, env) if is_plain(env) else env.step
        self._copies = not _returns_fresh_arrays(env)

    # Whether `infos` tell of the episodes that ended.
    tells_infos = True

    def begin(self, observations: Observation) -> Observation:
        """Returns the observations that a rollout begins with, `[N, *obs_shape]`."""
        return copied(observations) if self._copies else observations

    def restarted(self) -> None:
        """Takes note of a reset of all environments."""
        self.episode_steps = np.zeros_like(self.episode_steps)

    def taken(self, actions: Tensor) -> Rows:
        """Returns actions `[N, *action_shape]` of the policy as `step` takes them."""
        return actions.cpu().numpy()

    def step(self, actions: Rows) -> Outcome:
        """Takes one action in every environment, within the action space."""
        observations, rewards, dones, infos = self._take(actions)
        if self._copies:
            observations, rewards, dones = copied((observations, rewards, dones))
            # What they tell of an end is kept.
            infos = [
                copied(info) if done else info
                for info, done in zip(infos, dones, strict=True)
            ]
        # Most steps end nothing: one array says so three times.
        terminated: Rows = dones
        truncated, final = terminated, None
        if dones.any():
            truncated, final = self._truncated(observations, dones, infos)
            terminated = dones & ~truncated
        before, begins, dummy = self.episode_steps, dones, None
        if self._adapter is not None and self._adapter.dummy_steps.any():
            dummy = self._adapter.dummy_steps
            begins = dones | dummy
        self.episode_steps = (before + 1) * ~begins
        return Outcome(
            observations,
            rewards,
            dones,
            terminated,
            truncated,
            final,
            dummy,
            before,
            infos,
        )

    def _truncated(
        self,
        observations: Observation,
        dones: NDArray[np.bool_],
        infos: Sequence[dict[str, Any]],
    ) -> tuple[Rows, Observation | None]:
        """Returns whose episode was truncated, and what was seen last of it."""
        truncated, final = np.zeros(len(dones), dtype=np.bool_), None
        for i in map(int, np.flatnonzero(dones)):
            seen = infos[i].get("terminal_observation")
            # Without what was seen last there is no value to go on with.
            if infos[i].get("TimeLimit.truncated", False) and seen is not None:
                truncated[i] = True
                final = copy_observation(observations) if final is None else final
                map_observation(lambda own, one: own.__setitem__(i, one), final, seen)  # noqa: B023
        return truncated, final

    def results(self, buffer: TrajectoryBuffer, n: int) -> list[dict[str, float]]:
        """Returns results of episodes that `infos` have not told."""
        return []


class ArraySteps:
    """Steps a native vector environment in arrays or tensors: no list, no dict a step.

    Args:
        adapter: with `steps_arrays`.
        device: of the model.
        as_tensors: whether a torch environment's tensors stay tensors. Nothing is then
            asked of the device until the rollout is over.
    """

    # They do, but to look would be to ask the device: `results` tells of them.
    tells_infos = False

    def __init__(
        self, adapter: VectorEnvAdapter, device: torch.device, as_tensors: bool
    ) -> None:
        self._adapter, self._device = adapter, device
        self._tensors = as_tensors and adapter.is_torch
        self._before: tuple[Rows, Rows] = (np.zeros(0), np.zeros(0))
        self._env: Any = adapter.env

    @property
    def episode_steps(self) -> Rows:
        """Actions taken in each environment's episode so far, `[N]` integers."""
        _, lengths = self._adapter.statistics
        steps: Rows = self._rows(lengths)
        return steps

    def restarted(self) -> None:
        """Takes note of a reset of all environments."""
        # The adapter has reset its statistics.

    def begin(self, observations: Observation) -> Observation:
        """Returns the observations that a rollout begins with, `[N, *obs_shape]`."""
        self._before = self._adapter.statistics
        return map_observation(self._rows, observations)

    def taken(self, actions: Tensor) -> Rows:
        """Returns actions `[N, *action_shape]` of the policy as `step` takes them."""
        return actions if self._tensors else actions.cpu().numpy()

    def step(self, actions: Rows) -> Outcome:
        """Takes one action in every environment, within the action space."""
        adapter = self._adapter
        if adapter.is_torch:
            actions = torch.as_tensor(actions, device=self._env.device)
        before = self.episode_steps
        step = adapter.step_arrays(actions)
        rewards, dones, terminated, truncated = (
            self._rows(each)
            for each in (step.rewards, step.dones, step.terminated, step.truncated)
        )
        truncated = truncated & ~terminated
        final = None
        # A question that a GPU would have to be waited for is not asked.
        if self._on_gpu or is_any(truncated):
            final = map_observation(self._rows, step.final_obs)
        return Outcome(
            map_observation(self._rows, step.obs),
            rewards if self._tensors else rewards.astype(np.float32, copy=False),
            dones,
            terminated,
            truncated,
            final,
            None if step.dummy is None else self._rows(step.dummy),
            before,
            LazyInfos(adapter.num_envs, lambda: adapter.infos_of(step)),
        )

    @property
    def _on_gpu(self) -> bool:
        return self._tensors and self._device.type != "cpu"

    def results(self, buffer: TrajectoryBuffer, n: int) -> list[dict[str, float]]:
        """Returns what SB3's Monitor says of the last n episodes that ended."""
        if len(buffer) == 0:
            return []
        ended = buffer.column("terminated") | buffer.column("truncated")
        if buffer.has_masks:
            ended = ended & buffer.column("recorded")
        before = tuple(torch.as_tensor(b, device=ended.device) for b in self._before)
        seconds = round(self._adapter.seconds, 6)
        return [
            {"r": round(total, 6), "l": length, "t": seconds}
            for total, length in newest_results(
                buffer.column("rewards"),
                ended,
                before,  # type: ignore[arg-type]
                n,
            )
        ]

    def _rows(self, values: Any) -> Any:  # noqa: ANN401
        if self._tensors:
            return torch.as_tensor(values, device=self._device)
        return to_numpy(values)


Steps = VecEnvSteps | ArraySteps


def _returns_fresh_arrays(env: VecEnv) -> bool:
    """Whether an SB3 vector environment never writes into what it has returned."""
    layer = env
    while type(layer) in _FRESH_WRAPPERS:
        layer = layer.venv  # type: ignore[attr-defined]
    return type(layer) in (DummyVecEnv, SubprocVecEnv, VectorEnvAdapter)


def steps_of(
    env: VecEnv, device: torch.device, episode_steps: Rows, as_tensors: bool
) -> Steps:
    """Returns the shortest way of stepping an environment.

    Args:
        env: an SB3 vector environment.
        device: of the model.
        episode_steps: `[N]` int64, actions taken in each environment's episode so far.
        as_tensors: whether the rollout can do with tensors, see `ArraySteps`.
    """
    # A subclass may do something of its own in a step.
    if type(env) is VectorEnvAdapter and env.steps_arrays:
        return ArraySteps(env, device, as_tensors)
    return VecEnvSteps(env, episode_steps)
