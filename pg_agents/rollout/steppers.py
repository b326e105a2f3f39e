"""Steppers: one step of N environments, through SB3's interface or in native arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeGuard

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

from pg_agents.common.tree import Observation, Rows, copy_observation, tree_map
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_agents.vec_env.arrays import copied, is_any, to_numpy, with_rows
from pg_agents.vec_env.infos import LazyInfos, newest_results

# SB3's wrappers that return new arrays from each step.
_FRESH_WRAPPERS = (
    VecCheckNan,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)


class StepResult(NamedTuple):
    """The transitions of N environments, as arrays or as tensors.

    Attributes:
        obs: `[N, *obs_shape]`, next observations, after any restart.
        rewards: `[N]` float32.
        dones: `[N]` bool, environments that have restarted.
        terminated: `[N]` bool.
        truncated: `[N]` bool, by a time limit, and not terminated.
        final_obs: `[N, *obs_shape]`, last observation of the episode where `truncated`;
            None if nothing was truncated.
        dummy: `[N]` bool, dummy steps of NEXT_STEP autoreset; None if there are none.
        episode_steps: `[N]` integers, earlier actions in the same episode.
        infos: SB3's infos, a dict per environment.
        capped: `[N]` bool, truncated by the learner, in an environment that continues;
            None if there are none.
    """

    obs: Observation
    rewards: Rows
    dones: Rows
    terminated: Rows
    truncated: Rows
    final_obs: Observation | None
    dummy: Rows | None
    episode_steps: Rows
    infos: Sequence[dict[str, Any]]
    capped: Rows | None = None


class VecEnvStepper:
    """Steps an SB3 vector environment, with any wrappers.

    Args:
        env: the environment.
        episode_steps: `[N]` int64, actions taken in each environment's episode so far.
    """

    # Whether `infos` contain the statistics of finished episodes.
    has_episode_infos = True

    def __init__(self, env: VecEnv, episode_steps: Rows) -> None:
        self.env = env
        self.episode_steps = episode_steps
        inner = env.unwrapped
        self._adapter = inner if isinstance(inner, VectorEnvAdapter) else None
        self._copies = not _returns_fresh_arrays(env)

    def begin(self, obs: Observation) -> Observation:
        """Returns the first observations of a rollout, `[N, *obs_shape]`."""
        return copied(obs) if self._copies else obs

    def reset(self) -> None:
        """Sets step counts to 0 after a reset of all environments."""
        self.episode_steps = np.zeros_like(self.episode_steps)

    def to_env(self, actions: Rows) -> Rows:
        """Returns the policy's actions, `[N, *action_shape]`, as `step` takes them."""
        array: Rows = to_numpy(actions)
        return array

    def step(self, actions: Rows) -> StepResult:
        """Takes one action in every environment, within the action space."""
        obs, rewards, dones, infos = self.env.step(actions)  # type: ignore[arg-type]
        if self._copies:
            obs, rewards, dones = copied((obs, rewards, dones))
            # The last observation of an episode is stored.
            infos = [
                copied(info) if done else info
                for info, done in zip(infos, dones, strict=True)
            ]
        terminated: Rows = dones
        truncated, final_obs = terminated, None
        # Most steps end no episode: all three masks are False. (`any` is slower.)
        n_dones = np.count_nonzero(dones)
        if n_dones:
            truncated, final_obs = self._truncated(obs, dones, infos)
            terminated = dones & ~truncated
        episode_steps, dummy = self.episode_steps, None
        self.episode_steps = episode_steps + 1
        if n_dones:
            self.episode_steps[dones] = 0
        if self._adapter is not None and np.count_nonzero(self._adapter.dummy_steps):
            dummy = self._adapter.dummy_steps
            self.episode_steps[dummy] = 0
        return StepResult(
            obs,
            rewards,
            dones,
            terminated,
            truncated,
            final_obs,
            dummy,
            episode_steps,
            infos,
        )

    def _truncated(
        self,
        obs: Observation,
        dones: NDArray[np.bool_],
        infos: Sequence[dict[str, Any]],
    ) -> tuple[Rows, Observation | None]:
        """Returns the truncated episodes, and their last observations."""
        truncated, final_obs = np.zeros(len(dones), dtype=np.bool_), None
        for i in map(int, np.flatnonzero(dones)):
            last_obs = infos[i].get("terminal_observation")
            # Without the last observation there is no value to bootstrap from.
            if infos[i].get("TimeLimit.truncated", False) and last_obs is not None:
                truncated[i] = True
                if final_obs is None:
                    final_obs = copy_observation(obs)
                # By key: the dicts need not have the same order.
                tree_map(partial(_set_row, i), final_obs, last_obs)
        return truncated, final_obs


class NativeStepper:
    """Steps a native vector environment in arrays or tensors, without infos.

    Args:
        adapter: an adapter with `steps_arrays`.
        device: device of the model.
        as_tensors: whether tensors of a torch environment stay tensors. The rollout
            then never synchronises with the device.
    """

    # Reading `infos` would synchronise with the device; see `episode_results`.
    has_episode_infos = False

    def __init__(
        self, adapter: VectorEnvAdapter, device: torch.device, as_tensors: bool
    ) -> None:
        self._adapter, self._device = adapter, device
        self._tensors = as_tensors and adapter.is_torch
        self._statistics_at_start: tuple[Rows, Rows] = (np.zeros(0), np.zeros(0))
        self._env: Any = adapter.env

    @property
    def episode_steps(self) -> Rows:
        """Actions taken in each environment's episode so far, `[N]` integers."""
        _, lengths = self._adapter.statistics
        steps: Rows = self._rows(lengths)
        return steps

    def begin(self, obs: Observation) -> Observation:
        """Returns the first observations of a rollout, `[N, *obs_shape]`."""
        self._statistics_at_start = self._adapter.statistics
        return tree_map(self._rows, obs)

    def reset(self) -> None:
        """Does nothing: the adapter has reset its statistics."""

    def to_env(self, actions: Rows) -> Rows:
        """Returns the policy's actions, `[N, *action_shape]`, as `step` takes them."""
        return actions if self._tensors else to_numpy(actions)

    def step(self, actions: Rows) -> StepResult:
        """Takes one action in every environment, within the action space."""
        adapter = self._adapter
        if adapter.is_torch:
            actions = torch.as_tensor(actions, device=self._env.device)
        episode_steps = self.episode_steps
        step = adapter.step_arrays(actions)
        rewards, dones, terminated, truncated = (
            self._rows(rows)
            for rows in (step.rewards, step.dones, step.terminated, step.truncated)
        )
        truncated = truncated & ~terminated
        final_obs = None
        # On a GPU, asking would synchronise.
        if self._on_gpu or is_any(truncated):
            final_obs = tree_map(self._rows, step.final_obs)
        return StepResult(
            tree_map(self._rows, step.obs),
            rewards if self._tensors else rewards.astype(np.float32, copy=False),
            dones,
            terminated,
            truncated,
            final_obs,
            None if step.dummy is None else self._rows(step.dummy),
            episode_steps,
            LazyInfos(adapter.num_envs, lambda: adapter.infos_of(step)),
        )

    def episode_results(self, buffer: TrajectoryBuffer, n: int) -> list[dict[str, Any]]:
        """Returns what SB3's Monitor records of the last n finished episodes.

        Args:
            buffer: the rollout.
            n: maximum number of episodes.
        """
        if len(buffer) == 0:
            return []
        ended = buffer.column("terminated") | buffer.column("truncated")
        if buffer.has_masks:
            ended = ended & buffer.column("recorded")
        like: Callable[[Any], Any] = to_numpy
        if isinstance(ended, Tensor):
            like = partial(torch.as_tensor, device=ended.device)
        returns, lengths = map(like, self._statistics_at_start)
        newest = newest_results(buffer.column("rewards"), ended, (returns, lengths), n)
        seconds = round(self._adapter.seconds, 6)
        return [
            {"r": round(episode_return, 6), "l": length, "t": seconds}
            for episode_return, length in newest
        ]

    @property
    def _on_gpu(self) -> bool:
        return self._tensors and self._device.type != "cpu"

    def _rows(self, values: Any) -> Any:  # noqa: ANN401
        if self._tensors:
            return torch.as_tensor(values, device=self._device)
        return to_numpy(values) if self._adapter.is_torch else values


Stepper = VecEnvStepper | NativeStepper


def make_stepper(
    env: VecEnv, device: torch.device, episode_steps: Rows, as_tensors: bool
) -> Stepper:
    """Returns a native stepper if the environment supports it.

    Args:
        env: an SB3 vector environment.
        device: device of the model.
        episode_steps: `[N]` int64, actions taken in each environment's episode so far.
        as_tensors: see `NativeStepper`.
    """
    if steps_natively(env):
        return NativeStepper(env, device, as_tensors)
    return VecEnvStepper(env, episode_steps)


def steps_natively(env: VecEnv) -> TypeGuard[VectorEnvAdapter]:
    """Returns whether a collector steps an environment in native arrays."""
    # A subclass of the adapter may override `step`.
    return type(env) is VectorEnvAdapter and env.steps_arrays


def truncate(
    result: StepResult,
    is_too_long: Rows,
    recorded: Rows | None,
    max_steps: int,
) -> StepResult:
    """Returns the result with recorded episodes truncated by the learner.

    Args:
        result: a step.
        is_too_long: `[N]` bool, episodes of `max_steps` steps.
        recorded: `[N]` bool, steps that are recorded; None for all.
        max_steps: for the warning.
    """
    capped: Any = is_too_long & ~result.dones
    if recorded is not None:
        capped = capped & recorded
    if not capped.any():
        return result
    warnings.warn(
        f"an episode was still running after {max_steps} steps and was truncated, as "
        "by a time limit: raise max_episode_steps if it should continue, or pass "
        "n_steps (and no n_episodes) if it never ends",
        stacklevel=3,
    )
    final_obs = result.obs if result.final_obs is None else result.final_obs
    return result._replace(
        truncated=result.truncated | capped,
        # The environment continues: its next observation is the final one here.
        final_obs=with_rows(final_obs, result.obs, capped),
        capped=capped,
    )


def _set_row(index: int, rows: NDArray[Any], row: Any) -> None:  # noqa: ANN401
    rows[index] = row


def _returns_fresh_arrays(env: VecEnv) -> bool:
    """Returns whether an SB3 vector environment never writes to returned arrays."""
    layer = env
    while type(layer) in _FRESH_WRAPPERS:
        layer = layer.venv  # type: ignore[attr-defined]
    return type(layer) in (DummyVecEnv, SubprocVecEnv, VectorEnvAdapter)
