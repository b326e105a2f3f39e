"""A rollout as a reader of Stable-Baselines3's rollout buffer expects to find it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import BaseBuffer
from stable_baselines3.common.preprocessing import get_action_dim, get_obs_shape
from torch import Tensor

from pg_agents.advantages import AdvantageSettings, Facts
from pg_agents.observations import Observation, flatten_time, map_observation, select
from pg_agents.space_actions import sample_dtype


class BufferView:
    """The names, shapes and dtypes of SB3's `RolloutBuffer`, for `TrajectoryBuffer`.

    Columns are read as NumPy arrays `[T, N, ...]`: `observations`, `actions`,
    `rewards`, `episode_starts`, and once the rollout is complete `values`, `log_probs`,
    `returns` and `advantages`; beyond SB3's, `terminated`, `truncated`, `recorded`,
    `episode_steps` and `next_values`. What happened is read as a copy: nothing can be
    written to it. `returns` and `advantages` are, on the CPU, the very numbers that
    will be learnt from, as SB3's are.

    Attributes:
        device: where the tensors live.
        full: whether the rollout is complete.
        n_envs: number of environments, N; None before `describe`, as the next two.
        observation_space: observation space.
        action_space: action space.
        generator_ready: SB3's note that `get` has flattened the columns; here it leaves
            them as they are.
    """

    device: torch.device
    full: bool
    n_envs: int | None = None
    observation_space: spaces.Space[Any] | None = None
    action_space: spaces.Space[Any] | None = None
    generator_ready = False
    _n_steps: int | None = None
    _settings: AdvantageSettings | None = None
    _columns: dict[str, Any]
    _facts: Facts | None
    _masks: dict[int, Any]
    _returns: Tensor
    _advantages: Tensor

    def describe(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_envs: int,
        n_steps: int | None,
        settings: AdvantageSettings,
    ) -> None:
        """Tells what rollouts are made of; nothing but what is read depends on it.

        Args:
            observation_space: observation space.
            action_space: action space.
            n_envs: number of environments, N.
            n_steps: rows of a rollout; None if that is not known beforehand.
            settings: estimator, baseline and so on.
        """
        self.observation_space, self.action_space = observation_space, action_space
        self.n_envs, self._n_steps, self._settings = n_envs, n_steps, settings

    def __len__(self) -> int:
        """Number of rows so far, T."""
        return len(self._columns.get("rewards", ()))

    def size(self) -> int:
        """Returns the number of rows so far, T."""
        return len(self)

    @property
    def pos(self) -> int:
        """The row that comes next."""
        return len(self)

    @property
    def buffer_size(self) -> int | None:
        """Rows of the rollout; None if it is not complete and nobody can know."""
        return len(self) if self.full else self._n_steps

    @property
    def gamma(self) -> float | None:
        """Discount factor."""
        return None if self._settings is None else self._settings.gamma

    @property
    def gae_lambda(self) -> float | None:
        """Lambda of generalised advantage estimation."""
        return None if self._settings is None else self._settings.gae_lambda

    @property
    def obs_shape(self) -> Any:  # noqa: ANN401
        """Shape of an observation, or a dict of them; `(1,)` for a number."""
        if self.observation_space is None:
            return None
        return get_obs_shape(self.observation_space)

    @property
    def action_dim(self) -> int | None:
        """Numbers in an action."""
        return None if self.action_space is None else get_action_dim(self.action_space)

    swap_and_flatten = staticmethod(BaseBuffer.swap_and_flatten)

    def to_torch(self, array: NDArray[Any], copy: bool = True) -> Tensor:
        """Returns an array as a tensor on the device; on the CPU a view on demand."""
        convert = torch.tensor if copy else torch.as_tensor
        return convert(array, device=self.device)

    def column(self, name: str) -> Any:  # noqa: ANN401
        """Returns a column `[T, N, ...]` as tensors."""
        raise NotImplementedError

    @property
    def estimates(self) -> tuple[Tensor, Tensor]:
        """Returns, and advantages, `[T, N]`, of the complete rollout."""
        return self._returns, self._advantages

    @property
    def targets(self) -> Tensor:
        """What the critic should have predicted of the recorded steps, `[B]`."""
        assert self._facts is not None, "the rollout is complete"
        return self._facts.flat(self._returns)

    @property
    def has_masks(self) -> bool:
        """Whether there are steps that are not recorded."""
        return bool(self._masks)

    def tells(self, name: str) -> bool:
        """Whether `add` was told of `name`, one of its arguments."""
        return name in self._columns

    def taken(self) -> tuple[Observation, Tensor]:
        """Returns observations and actions of the recorded steps, `[B, ...]`."""
        seen, actions = self.column("observations"), self.column("actions")
        if not self.has_masks:
            return flatten_time(seen), actions.flatten(0, 1)
        recorded = self.column("recorded")
        return select(seen, recorded), actions[recorded]

    def __dir__(self) -> list[str]:
        """Names the columns, too."""
        read = ["returns", "advantages"]
        if self._columns:
            read += ["episode_starts", "recorded", *self._columns]
        if self._facts is not None:
            read += ["values", "log_probs", "next_values"]
        return sorted({*super().__dir__(), *read})

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Returns a column `[T, N, ...]`, or `returns` or `advantages`, as NumPy."""
        # Not through attributes, which a buffer that is being copied does not have yet.
        own = self.__dict__
        columns = own.get("_columns", {})
        if name in ("returns", "advantages") and f"_{name}" in own:
            return _numpy(own[f"_{name}"])
        if name == "next_values" and own.get("_facts") is not None:
            return _numpy(own["_facts"].next_values)
        if name == "episode_starts" and columns:
            return (_numpy(self.column("episode_steps")) == 0).astype(np.float32)
        known = {"recorded", *columns} if columns else set()
        if own.get("_facts") is not None:
            known |= {"values", "log_probs"}
        if name not in known:
            raise AttributeError(f"{type(self).__name__!r} has no column {name!r}")
        # Copied: on the CPU they share their memory with what happened.
        arrays = map_observation(lambda each: _numpy(each).copy(), self.column(name))
        if name == "actions":
            return self._as_actions(arrays)
        return self._as_observations(arrays) if name == "observations" else arrays

    def _as_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        if self.action_space is None:
            return actions
        size = get_action_dim(self.action_space)
        shaped = actions.reshape(*actions.shape[:2], size)
        return shaped.astype(sample_dtype(self.action_space), copy=False)

    def _as_observations(self, observations: Any) -> Any:  # noqa: ANN401
        shape = self.obs_shape
        if shape is None:
            return observations
        return map_observation(
            lambda seen, size: seen.reshape(*seen.shape[:2], *size), observations, shape
        )


def _numpy(tensor: Tensor) -> NDArray[Any]:
    return tensor.detach().cpu().numpy()
