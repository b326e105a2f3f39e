"""A rollout: what happened, what is estimated from it, and SB3's view of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import BaseBuffer
from stable_baselines3.common.preprocessing import get_action_dim, get_obs_shape
from torch import Tensor

from pg_agents.common.spaces import sample_dtype
from pg_agents.common.tree import Observation, flatten_time, map_observation, select
from pg_agents.learning.advantages import (
    AdvantageSettings,
    Beyond,
    Facts,
    complete_facts,
    estimate_advantages,
)
from pg_agents.learning.batch import Batch, flat_batch, shuffled_by_environment
from pg_agents.rollout.columns import Column, Rows
from pg_agents.rollout.final_observations import FinalObservations


class _Array:
    """A column as a NumPy array `[T, N, ...]`, with SB3's name, shape and dtype."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(
        self, buffer: TrajectoryBuffer | None, owner: type | None = None
    ) -> Any:  # noqa: ANN401
        return self if buffer is None else buffer._array(self._name)

    def __set__(self, buffer: TrajectoryBuffer, value: Any) -> None:  # noqa: ANN401
        buffer._assign(self._name, value)


# Columns that can be written to. The others say how steps follow one another.
_WRITABLE = (
    "observations",
    "actions",
    "rewards",
    "values",
    "log_probs",
    "returns",
    "advantages",
)


class TrajectoryBuffer:
    """The steps of N environments, row by row, on the model's device.

    Rewards are as the environment gave them: the value of what follows a time limit is
    stored separately (SB3's buffer adds it to the reward).

    From outside it reads as SB3's `RolloutBuffer`: `observations`, `actions`,
    `rewards`, `episode_starts` and, once the rollout is complete, `values`,
    `log_probs`, `returns` and `advantages` are NumPy arrays `[T, N, ...]`; beyond
    SB3's, there are `terminated`, `truncated`, `recorded`, `episode_steps` and
    `next_values`.

    The update learns from what the arrays hold when it begins. A callback can write to
    the first seven, in place or by assignment. After the rollout is complete (in
    `_on_rollout_end`), a change of `rewards`, `values` or `log_probs` does not change
    `returns` and `advantages`, as in SB3: these have been computed. With a replay
    memory, the memory stores observations, actions, rewards and log-probabilities as
    written; it stores the written returns and advantages with `replay="returns"`, and
    with the other two computes them anew. The other columns are read-only.

    Args:
        device: where the tensors live.

    Attributes:
        full: whether the rollout is complete and its advantages are computed.
        n_envs: number of environments, N; None before `describe`, as the next two.
        observation_space: observation space.
        action_space: action space.
        generator_ready: SB3's flag that `get` has flattened the columns; here `get`
            leaves them as they are.
    """

    observations = _Array()
    actions = _Array()
    rewards = _Array()
    values = _Array()
    log_probs = _Array()
    returns = _Array()
    advantages = _Array()
    episode_starts = _Array()
    terminated = _Array()
    truncated = _Array()
    recorded = _Array()
    episode_steps = _Array()
    next_values = _Array()

    n_envs: int | None = None
    observation_space: spaces.Space[Any] | None = None
    action_space: spaces.Space[Any] | None = None
    generator_ready = False
    _n_steps: int | None = None
    _settings: AdvantageSettings | None = None

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.reset()

    def describe(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_envs: int,
        n_steps: int | None,
        settings: AdvantageSettings,
    ) -> None:
        """Sets what rollouts are made of; only what is read depends on it.

        Args:
            observation_space: observation space.
            action_space: action space.
            n_envs: number of environments, N.
            n_steps: rows of a rollout; None if that is not known beforehand.
            settings: estimator, baseline and so on.
        """
        self.observation_space, self.action_space = observation_space, action_space
        self.n_envs, self._n_steps, self._settings = n_envs, n_steps, settings

    def reset(self) -> None:
        """Forgets the rollout; arrays and batches that were taken from it stay."""
        self._columns: dict[str, Any] = {}
        self._facts: Facts | None = None
        self._final = FinalObservations()
        # Of rows in which a step may not be recorded: most rollouts have none.
        self._masks: dict[int, Rows] = {}
        self._returns = self._advantages = torch.empty(0)
        # Arrays of a complete rollout that were read or assigned. They can be written
        # to, so from then on they say what their columns are.
        self._arrays: dict[str, Any] = {}
        self._was_read: set[str] = set()
        self._steps: tuple[Observation, Tensor] | None = None
        self.full = False

    def add(
        self,
        *,
        observations: Observation,
        actions: Rows,
        rewards: Rows,
        terminated: Rows,
        truncated: Rows,
        episode_steps: Rows,
        recorded: Rows | None = None,
        values: Tensor | None = None,
        log_probs: Tensor | None = None,
        final_observations: Observation | None = None,
    ) -> None:
        """Adds a row. It is copied, but for `recorded` and `final_observations`.

        These are kept, and must stay as they are.

        Args:
            observations: `[N, *obs_shape]`, what was seen before the actions; a dict
                for a Dict space.
            actions: `[N, *action_shape]`, as the policy drew them.
            rewards: `[N]`, what followed; kept as float32, as SB3 keeps them.
            terminated: `[N]` bool, whether the episode ended by the task's own rules.
            truncated: `[N]` bool, whether it was cut off, by a time limit or the cap.
            episode_steps: `[N]` integers, actions taken before this one in the episode.
            recorded: `[N]` bool, False for steps that are not learnt from: of idle
                environments, and the dummy step of NEXT_STEP autoreset. None: all are.
            values: `[N]` float32, V of the observations, if it is known by now.
            log_probs: `[N]` float32, log-probability of the actions, likewise.
            final_observations: `[N, *obs_shape]`, what was seen last where `truncated`
                and anything elsewhere; None if nothing was truncated.
        """
        if final_observations is not None:
            self._final.add(len(self), final_observations)
        if recorded is not None:
            self._masks[len(self)] = recorded
        row: dict[str, Any] = {
            "observations": observations,
            "actions": actions,
            "rewards": _single(rewards),
            "terminated": terminated,
            "truncated": truncated,
            "episode_steps": episode_steps,
            "values": values,
            "log_probs": log_probs,
        }
        for name, values_of_row in row.items():
            if values_of_row is not None:
                self._append(name, values_of_row)

    def _append(self, name: str, row: Observation) -> None:
        column = self._columns.get(name)
        if column is None:
            column = map_observation(lambda _: Column(self._n_steps), row)
            self._columns[name] = column
        if isinstance(row, dict):
            map_observation(Column.append, column, row)
        else:
            column.append(row)

    def final_observations(self) -> Observation | None:
        """Returns what was seen last of truncated episodes, `[K, *obs_shape]`."""
        return self._final.at(self._truncations(), self.device)

    def observations_beyond(self, last_observations: Observation) -> Beyond:
        """Returns what was seen where the data stop, on the model's device.

        Args:
            last_observations: `[N, *obs_shape]`, what was seen after the last row.
        """
        places = self._truncations()
        seen = map_observation(self._tensor, last_observations)
        final = self._final.at(places, self.device)
        if final is not None:
            seen = map_observation(lambda *each: torch.cat(each), seen, final)
        return Beyond(seen, *places.unbind(1))

    def _truncations(self) -> Tensor:
        """Returns rows and environments of the recorded truncations, `[K, 2]`."""
        if not self._final:
            return torch.empty((0, 2), dtype=torch.int64, device=self.device)
        truncated = self.column("truncated")
        if self._masks:
            truncated = truncated & self.column("recorded")
        places: Tensor = truncated.nonzero()
        return places

    def finish(
        self,
        values_beyond: Tensor,
        beyond: Beyond,
        settings: AdvantageSettings,
        n_episodes: int | None,
        values: Tensor | None = None,
        log_probs: Tensor | None = None,
        target_values: Tensor | None = None,
    ) -> None:
        """Completes the rollout and computes returns and advantages from it.

        Args:
            values_beyond: `[N + K]`, V of the observations beyond.
            beyond: what `observations_beyond` returned.
            settings: estimator, baseline and so on.
            n_episodes: number of whole episodes recorded, or None if the rollout is a
                number of steps.
            values: `[B]`, V of the recorded observations, where `add` was not told.
            log_probs: `[B]`, log-probabilities of the recorded actions, likewise.
            target_values: `[T, N]`, V of the recorded observations by the critic that
                values successors, if that is another one.
        """
        self._settings = settings
        names = {*self._columns, "recorded"}
        if not settings.asks_for_time:
            names.discard("episode_steps")
        columns = {name: self.column(name) for name in names}
        known = {"values": values, "log_probs": log_probs}
        facts = complete_facts(
            columns, known, beyond, n_episodes, all_recorded=not self._masks
        )
        if settings.looks_beyond:
            following = facts.values if target_values is None else target_values
            next_values = beyond.successor_values(following, values_beyond)
            facts = replace(facts, next_values=next_values)
        self._facts = facts
        self._returns, self._advantages = estimate_advantages(facts, settings)
        self.full = True

    @property
    def facts(self) -> Facts:
        """The complete rollout, with what callbacks have written to its arrays.

        Raises:
            RuntimeError: if it is not complete.
        """
        if self._facts is None:
            raise RuntimeError(
                "the rollout is not complete: there is nothing to learn from before "
                "finish()"
            )
        written: dict[str, Any] = {
            name: self._written(name, getattr(self._facts, name))
            for name in self._arrays
            if name not in ("returns", "advantages")
        }
        return replace(self._facts, **written) if written else self._facts

    @property
    def estimates(self) -> tuple[Tensor, Tensor]:
        """Returns, and advantages, `[T, N]`, of the complete rollout, likewise."""
        return (
            self._written("returns", self._returns),
            self._written("advantages", self._advantages),
        )

    @property
    def targets(self) -> Tensor:
        """What the critic should have predicted of the recorded steps, `[B]`."""
        return self.facts.flat(self.estimates[0])

    def steps(self) -> tuple[Observation, Tensor]:
        """Returns observations and actions of the recorded steps, `[B, ...]`.

        As long as neither was read as an array, which could be written to, it returns
        the same two objects. They are those of `batch()`, too.
        """
        if self._steps is not None:
            return self._steps
        if self._facts is not None:
            return self.facts.steps()
        seen, actions = self.column("observations"), self.column("actions")
        if self._masks:
            recorded = self.column("recorded")
            steps = select(seen, recorded), actions[recorded]
        else:
            steps = flatten_time(seen), actions.flatten(0, 1)
        if not self._was_read & {"observations", "actions"}:
            self._steps = steps
        return steps

    def batch(self) -> Batch:
        """Returns the recorded steps, flat, in order of time.

        Raises:
            RuntimeError: if the rollout is not complete.
        """
        return flat_batch(self.facts, *self.estimates, self.steps())

    def get(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Yields every recorded step once, in mini-batches.

        The steps are shuffled by NumPy's global generator, environment by environment
        as in SB3: from the same seed the mini-batches are the same. The last one has
        what is left.

        Args:
            batch_size: steps of a mini-batch; None for all of them, in order of time.

        Raises:
            RuntimeError: if the rollout is not complete.
        """
        batch = self.batch()
        if batch_size is None:
            yield batch
            return
        order = shuffled_by_environment(self.facts, len(batch))
        for index in order.split(batch_size):
            yield batch.take(index)

    def sample(self, batch_size: int, env: object = None) -> Batch:
        """Returns recorded steps, drawn with replacement by NumPy's global generator.

        Args:
            batch_size: number of steps.
            env: not used; SB3's buffers have it.
        """
        batch = self.batch()
        drawn = np.random.randint(len(batch), size=batch_size)
        return batch.take(torch.as_tensor(drawn, device=self.device))

    def column(self, name: str) -> Any:  # noqa: ANN401
        """Returns what `add` was given, `[T, N, ...]`, as tensors.

        Args:
            name: an argument of `add`; not `final_observations`. `values` and
                `log_probs` may be unknown until the rollout is complete.
        """
        if name == "recorded" and self._columns:
            return self._recorded()
        if self._facts is not None and (
            name in ("values", "log_probs") or name in self._arrays
        ):
            return getattr(self.facts, name)
        column = self._columns[name]
        return map_observation(lambda one: one.tensor(self.device), column)

    def has(self, name: str) -> bool:
        """Whether `add` was given `name`, one of its arguments."""
        return name in self._columns

    def was_read(self, name: str) -> bool:
        """Whether a column of this rollout was read or assigned as an array."""
        return name in self._was_read

    @property
    def has_masks(self) -> bool:
        """Whether there are steps that are not recorded."""
        return bool(self._masks)

    def _recorded(self) -> Tensor:
        shape = self.column("terminated").shape
        everything = torch.ones((), dtype=torch.bool, device=self.device).expand(shape)
        if not self._masks:
            return everything
        recorded = everything.clone()
        for t, mask in self._masks.items():
            recorded[t] = self._tensor(mask)
        return recorded

    def _tensor(self, values: Rows) -> Tensor:
        return torch.as_tensor(values, device=self.device)

    # SB3's view of it.

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
        """Rows of the rollout; None if it is not complete and its length is open."""
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

    def __dir__(self) -> list[str]:
        """Names the columns that can be read now."""
        columns = {
            name
            for name, kind in vars(TrajectoryBuffer).items()
            if isinstance(kind, _Array)
        }
        unknown = {name for name in columns if not self._exists(name)}
        return sorted({*super().__dir__()} - unknown)

    def _exists(self, name: str) -> bool:
        if name in ("returns", "advantages", "episode_starts", "recorded"):
            return bool(self._columns)
        computed = ("values", "log_probs", "next_values")
        return name in self._columns or (self._facts is not None and name in computed)

    def _array(self, name: str) -> Any:  # noqa: ANN401
        """Returns a column as a NumPy array, or a dict of arrays."""
        if name in self._arrays:
            return self._arrays[name]
        writable = name in _WRITABLE
        if not writable:
            arrays = np.array(self._read_only(name))
            arrays.flags.writeable = False
            return arrays
        array = self._in_form_of_sb3(name, self._current(name))
        if name in ("returns", "advantages") and not self.full:
            return array
        self._was_read.add(name)
        if self.full:
            # A copy: log-probabilities, for one, are part of what is learnt from.
            array = self._arrays[name] = map_observation(np.array, array)
            if name in ("observations", "actions"):
                self._steps = None
        return array

    def _read_only(self, name: str) -> NDArray[Any]:
        if name == "episode_starts":
            first: NDArray[Any] = _numpy(self._current("episode_steps")) == 0
            return first.astype(np.float32)
        return _numpy(self._current(name))

    def _current(self, name: str) -> Any:  # noqa: ANN401
        """Returns a column where it is stored, as tensors or arrays.

        Raises:
            AttributeError: if there is none, or none yet.
        """
        if name in ("returns", "advantages"):
            return getattr(self, f"_{name}")
        if not self._exists(name):
            raise AttributeError(
                f"{type(self).__name__!r} has no column {name!r} before a rollout has "
                "it"
            )
        if self._facts is not None and name in ("next_values", "values", "log_probs"):
            return getattr(self._facts, name)
        if name == "recorded":
            return self._recorded()
        return map_observation(lambda one: one.rows, self._columns[name])

    def _assign(self, name: str, value: Any) -> None:  # noqa: ANN401
        """Makes an array the column of that name.

        Raises:
            AttributeError: if the column is read-only, or there is none yet.
            ValueError: if the shape is another one.
        """
        if name not in _WRITABLE:
            raise AttributeError(
                f"rollout_buffer.{name} is read-only; these can be written to: "
                f"{', '.join(_WRITABLE)}"
            )
        stored = self._current(name)
        arrays = map_observation(_as_array, value)
        self._check_shapes(name, arrays, self._in_form_of_sb3(name, stored))
        self._was_read.add(name)
        if self.full:
            self._arrays[name] = arrays
            if name in ("observations", "actions"):
                self._steps = None
        else:
            map_observation(_write, stored, arrays)

    def _check_shapes(self, name: str, given: Any, expected: Any) -> None:  # noqa: ANN401
        if isinstance(expected, dict):
            alike = isinstance(given, dict) and given.keys() == expected.keys()
        else:
            alike = not isinstance(given, dict)
        shapes = tuple(map_observation(np.shape, each) for each in (given, expected))
        if not alike or shapes[0] != shapes[1]:
            raise ValueError(
                f"rollout_buffer.{name} must have the shape {shapes[1]}, got "
                f"{shapes[0]}"
            )

    def _written(self, name: str, tensors: Any) -> Any:  # noqa: ANN401
        """Returns a column's tensors, from its array if there is one."""
        if name not in self._arrays:
            return tensors
        return map_observation(_like, tensors, self._arrays[name])

    def _in_form_of_sb3(self, name: str, stored: Any) -> Any:  # noqa: ANN401
        """Returns arrays of SB3's shape and dtype.

        Before the rollout is complete, they share their memory with what is stored, or
        else are read-only.
        """
        arrays = map_observation(_numpy, stored)
        if name == "actions" and self.action_space is not None:
            size = get_action_dim(self.action_space)
            arrays = arrays.reshape(*arrays.shape[:2], size)
            arrays = arrays.astype(sample_dtype(self.action_space), copy=False)
        if name == "observations" and self.obs_shape is not None:
            arrays = map_observation(
                lambda seen, shape: seen.reshape(*seen.shape[:2], *shape),
                arrays,
                self.obs_shape,
            )
        if not self.full:
            map_observation(_protect_copies, arrays, stored)
        return arrays


def _numpy(stored: Rows) -> NDArray[Any]:
    """Returns an array, with memory of its own for every entry."""
    if isinstance(stored, Tensor):
        return stored.detach().cpu().contiguous().numpy()
    return stored


def _as_array(values: Any) -> NDArray[Any]:  # noqa: ANN401
    if isinstance(values, Tensor):
        return _numpy(values)
    return np.require(values, requirements="W")


def _like(tensor: Tensor, array: NDArray[Any]) -> Tensor:
    """Returns an array's numbers in the form of a tensor."""
    given = torch.as_tensor(array, device=tensor.device)
    return given.to(tensor.dtype).reshape(tensor.shape)


def _write(stored: Any, array: NDArray[Any]) -> None:  # noqa: ANN401
    """Writes an array's numbers to where a column is stored."""
    shaped = array.reshape(stored.shape)
    stored[...] = torch.as_tensor(shaped) if isinstance(stored, Tensor) else shaped


def _protect_copies(array: NDArray[Any], stored: Rows) -> None:
    """Makes an array read-only if a write to it would not reach what is stored."""
    if isinstance(stored, Tensor):
        if stored.device.type != "cpu":
            array.flags.writeable = False
            return
        stored = stored.detach().numpy()
    if not np.may_share_memory(array, stored):
        array.flags.writeable = False


def _single(rewards: Rows) -> Rows:
    """Returns float32: what SubprocVecEnv hands on is float64."""
    if isinstance(rewards, Tensor):
        return rewards.float()
    return np.asarray(rewards, dtype=np.float32)
