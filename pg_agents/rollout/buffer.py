"""The rollout buffer: what was collected and estimated, and SB3's view of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import BaseBuffer
from stable_baselines3.common.preprocessing import get_action_dim, get_obs_shape
from torch import Tensor

from pg_agents.common.spaces import sample_dtype
from pg_agents.common.tree import (
    Observation,
    Rows,
    flatten_time,
    namespace,
    select,
    tree_map,
    zeros_like,
)
from pg_agents.rollout.data import (
    Batch,
    BootstrapStates,
    Rollout,
    make_batch,
    shuffled_indices,
    unflat,
)

# Rewards, terminated, truncated and recorded (None for all) of steps, `[T, N]` each.
Outcomes = tuple[Rows, Rows, Rows, Rows | None]

_FIRST_CAPACITY = 16
# Columns that can be written to. The others describe how steps follow one another.
_WRITABLE = (
    "observations",
    "actions",
    "rewards",
    "values",
    "log_probs",
    "returns",
    "advantages",
)


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


class TrajectoryBuffer:
    """The steps of N environments, row by row, on the model's device.

    Rewards are as the environment returned them: bootstrap values are stored separately
    (SB3's buffer adds them to the rewards).

    It can be read like SB3's `RolloutBuffer`: `observations`, `actions`, `rewards`,
    `episode_starts` and, once the rollout is complete, `values`, `log_probs`, `returns`
    and `advantages` are NumPy arrays `[T, N, ...]`. Beyond SB3's, there are
    `terminated`, `truncated`, `recorded`, `episode_steps` and `next_values`.

    The update learns from the contents of these arrays when it starts. A callback can
    write to `observations`, `actions`, `rewards`, `values`, `log_probs`, `returns` and
    `advantages`, in place or by assignment; the others are read-only. After
    the rollout is complete (in `_on_rollout_end`), a change of `rewards`, `values` or
    `log_probs` does not change `returns` and `advantages`, as in SB3. A replay memory
    stores observations, actions, rewards and log-probabilities as written; it stores
    the written returns and advantages with `replay="returns"`, and otherwise computes
    them anew.

    Args:
        device: device of the tensors.

    Attributes:
        full: whether the rollout is complete and its advantages are computed.
        uses_arrays: whether rollout and batches are stored as NumPy arrays, as the
            closed form of gradients reads them; else as tensors on the device.
        n_envs: number of environments, N; None before `set_spec`, as the next two.
        observation_space: observation space.
        action_space: action space.
        generator_ready: SB3's flag that `get` has flattened the columns; always False.
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

    uses_arrays = False
    n_envs: int | None = None
    observation_space: spaces.Space[Any] | None = None
    action_space: spaces.Space[Any] | None = None
    gamma: float | None = None
    gae_lambda: float | None = None
    generator_ready = False
    _n_steps: int | None = None

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.reset()

    def set_spec(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_envs: int,
        n_steps: int | None,
        gamma: float,
        gae_lambda: float,
    ) -> None:
        """Sets spaces, sizes and discounts, which SB3's attributes report.

        Args:
            observation_space: observation space.
            action_space: action space.
            n_envs: number of environments, N.
            n_steps: rows of a rollout; None if not known in advance.
            gamma: discount factor.
            gae_lambda: lambda of generalised advantage estimation.
        """
        self.observation_space, self.action_space = observation_space, action_space
        self.n_envs, self._n_steps = n_envs, n_steps
        self.gamma, self.gae_lambda = gamma, gae_lambda

    def reset(self) -> None:
        """Starts an empty rollout; arrays and batches of the last one stay valid."""
        # Columns [capacity, N, ...], arrays or tensors; observations may be a dict.
        self._memory: dict[str, Any] = {}
        self._capacity = self._n_rows = 0
        # Rows with final observations, and rows with steps that may not be recorded.
        self._final_obs: dict[int, Observation] = {}
        self._masks: dict[int, Rows] = {}
        self._rollout: Rollout | None = None
        self._returns: Any = torch.empty(0)
        self._advantages: Any = self._returns
        # Arrays of a complete rollout that were read or assigned. A caller can write to
        # them, so they replace their columns.
        self._arrays: dict[str, Any] = {}
        self._was_read: set[str] = set()
        self._steps: tuple[Observation, Any] | None = None
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
        final_obs: Observation | None = None,
    ) -> None:
        """Adds a row of transitions. It is copied, except `recorded` and `final_obs`.

        Args:
            observations: `[N, *obs_shape]`, before the actions; a dict for a Dict
                space.
            actions: `[N, *action_shape]`, as the policy drew them.
            rewards: `[N]`; stored as float32, as in SB3.
            terminated: `[N]` bool.
            truncated: `[N]` bool, by a time limit, and not terminated.
            episode_steps: `[N]` integers, earlier actions in the same episode.
            recorded: `[N]` bool, False for steps of idle environments and dummy steps;
                None if all are recorded. It must not change afterwards.
            values: `[N]` float32, V of the observations, if known.
            log_probs: `[N]` float32, log-probability of the actions, if known.
            final_obs: `[N, *obs_shape]`, last observation of the episode where
                `truncated`, anything elsewhere; None if nothing was truncated. It must
                not change afterwards.
        """
        if final_obs is not None:
            self._final_obs[len(self)] = final_obs
        if recorded is not None:
            self._masks[len(self)] = recorded
        row = self._n_rows
        if row == self._capacity:
            columns: dict[str, Any] = {
                "observations": observations,
                "actions": actions,
                "rewards": rewards,
                "terminated": terminated,
                "truncated": truncated,
                "episode_steps": episode_steps,
                "values": values,
                "log_probs": log_probs,
            }
            known = {k: rows for k, rows in columns.items() if rows is not None}
            self._grow(known)
        memory = self._memory
        if isinstance(observations, dict):
            for key, part in observations.items():
                memory["observations"][key][row] = part
        else:
            memory["observations"][row] = observations
        memory["actions"][row] = actions
        memory["rewards"][row] = rewards
        memory["terminated"][row] = terminated
        memory["truncated"][row] = truncated
        memory["episode_steps"][row] = episode_steps
        if values is not None:
            memory["values"][row] = values
        if log_probs is not None:
            memory["log_probs"][row] = log_probs
        self._n_rows = row + 1

    def _grow(self, columns: dict[str, Any]) -> None:
        """Allocates memory for the expected number of rows, or doubles it."""
        if self._memory:
            self._capacity *= 2
            for name, memory in self._memory.items():
                self._memory[name] = tree_map(_doubled, memory)
            return
        self._capacity = self._n_steps or _FIRST_CAPACITY
        for name, rows in columns.items():
            # SubprocVecEnv returns float64.
            dtype = "float32" if name == "rewards" else None
            self._memory[name] = tree_map(partial(_empty, self._capacity, dtype), rows)

    def rows(self, name: str) -> Any:  # noqa: ANN401
        """Returns what `add` was given, `[T, N, ...]`, sharing memory with the buffer.

        Args:
            name: an argument of `add`; not `final_obs`.
        """
        memory, n_rows = self._memory[name], self._n_rows
        if isinstance(memory, dict):
            return {key: part[:n_rows] for key, part in memory.items()}
        return memory[:n_rows]

    def outcomes(self, start: int) -> Outcomes:
        """Returns rewards and ends of the steps from row `start` on, as `add` got them.

        They share memory with the buffer.
        """
        # One call, since the live view makes it after each episode.
        memory, new = self._memory, slice(start, self._n_rows)
        recorded = self.column("recorded")[new] if self._masks else None
        return (
            memory["rewards"][new],
            memory["terminated"][new],
            memory["truncated"][new],
            recorded,
        )

    def bootstrap_states(self, last_obs: Observation) -> BootstrapStates:
        """Returns the observations that successor values are computed from.

        Args:
            last_obs: `[N, *obs_shape]`, the observations after the last row.
        """
        obs = tree_map(self._convert, last_obs)
        if not self._final_obs:
            none: Any = np.empty(0, dtype=np.int64)
            if not self.uses_arrays:
                # Made on the device: a copy to it would synchronise.
                none = torch.empty(0, dtype=torch.int64, device=self.device)
            return BootstrapStates(obs, none, none)
        truncated = self.column("truncated")
        if self._masks:
            truncated = truncated & self.column("recorded")
        xp = namespace(truncated)
        rows, envs = xp.where(truncated)
        if len(rows) > 0:
            final = tree_map(
                lambda *each: xp.stack([self._convert(one) for one in each]),
                *self._final_obs.values(),
            )
            with_final = self._convert(np.array(list(self._final_obs)))
            truncated_obs = select(final, (xp.searchsorted(with_final, rows), envs))
            obs = tree_map(lambda *each: xp.concat(each), obs, truncated_obs)
        return BootstrapStates(obs, rows, envs)

    def collected(
        self,
        bootstrap_states: BootstrapStates,
        n_episodes: int | None,
        values: Rows | None = None,
        log_probs: Rows | None = None,
    ) -> Rollout:
        """Returns the rows as a rollout, without successor values.

        Args:
            bootstrap_states: from the method of this name.
            n_episodes: number of whole episodes; None for a rollout of `n_steps`.
            values: `[B]`, V of the recorded observations, unless `add` got them.
            log_probs: `[B]`, log-probabilities of the recorded actions, likewise.
        """
        columns = {name: self._stored(name) for name in self._memory}
        recorded = self.column("recorded")
        zeros = zeros_like(columns["rewards"])
        for name, known in (("values", values), ("log_probs", log_probs)):
            if known is not None:
                columns[name] = unflat(known, recorded, all_recorded=not self._masks)
        return Rollout(
            **{"values": zeros, "log_probs": zeros, **columns},
            recorded=recorded,
            next_values=zeros,
            n_episodes=n_episodes,
            bootstrap_states=bootstrap_states,
            all_recorded=not self._masks,
        )

    def complete(self, rollout: Rollout, returns: Rows, advantages: Rows) -> None:
        """Stores the complete rollout and its estimates.

        Args:
            rollout: what `collected` returned, with successor values.
            returns: `[T, N]`, targets of the critic.
            advantages: `[T, N]`.
        """
        self._rollout, self._returns, self._advantages = rollout, returns, advantages
        self.full = True

    @property
    def rollout(self) -> Rollout:
        """The complete rollout as tensors, with what callbacks have written.

        Raises:
            RuntimeError: if it is not complete.
        """
        rollout = self.stored_rollout
        return rollout.with_tensors() if self.uses_arrays else rollout

    @property
    def stored_rollout(self) -> Rollout:
        """As `rollout`, of arrays if `uses_arrays`."""
        if self._rollout is None:
            raise RuntimeError(
                "the rollout is not complete: there is nothing to learn from before "
                "complete()"
            )
        if not self._arrays:
            return self._rollout
        written: dict[str, Any] = {
            name: self._written(name, getattr(self._rollout, name))
            for name in self._arrays
            if name not in ("returns", "advantages")
        }
        return replace(self._rollout, **written)

    @property
    def estimates(self) -> tuple[Tensor, Tensor]:
        """Returns and advantages, `[T, N]`, with what callbacks have written."""
        returns, advantages = map(torch.as_tensor, self.stored_estimates)
        return returns, advantages

    @property
    def stored_estimates(self) -> tuple[Any, Any]:
        """As `estimates`, arrays if `uses_arrays`."""
        if not self._arrays:
            return self._returns, self._advantages
        return (
            self._written("returns", self._returns),
            self._written("advantages", self._advantages),
        )

    def steps(self) -> tuple[Observation, Tensor]:
        """Returns observations and actions of the recorded steps, `[B, ...]`."""
        obs, actions = self.stored_steps()
        return tree_map(torch.as_tensor, obs), torch.as_tensor(actions)

    def stored_steps(self) -> tuple[Observation, Any]:
        """As `steps`, arrays if `uses_arrays`.

        As long as neither was read as an array of this buffer, which can be written to,
        the same two objects are returned, and `batches()` contains them.
        """
        if self._steps is not None:
            return self._steps
        if self._rollout is not None:
            return self.stored_rollout.steps()
        obs, actions = self.column("observations"), self.column("actions")
        if self._masks:
            recorded = self.column("recorded")
            steps = select(obs, recorded), actions[recorded]
        else:
            steps = flatten_time(obs), flatten_time(actions)
        if not self._was_read & {"observations", "actions"}:
            self._steps = steps
        return steps

    def batch(self) -> Batch:
        """Returns the recorded steps in time order, as tensors.

        Raises:
            RuntimeError: if the rollout is not complete.
        """
        return next(self.get())

    def get(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Yields every recorded step once, in mini-batches of tensors.

        The steps are shuffled by NumPy's global generator as in SB3: the same seed
        gives the same mini-batches. The last one has the remaining steps.

        Args:
            batch_size: steps of a mini-batch; None for all of them, in time order.

        Raises:
            RuntimeError: if the rollout is not complete.
        """
        for batch in self.batches(batch_size):
            yield batch.with_tensors() if self.uses_arrays else batch

    def batches(self, batch_size: int | None = None) -> Iterator[Batch]:
        """As `get`, of arrays if `uses_arrays`."""
        rollout = self.stored_rollout
        batch = make_batch(rollout, *self.stored_estimates, self.stored_steps())
        if batch_size is None:
            yield batch
            return
        indices = shuffled_indices(rollout, len(batch))
        for start in range(0, len(batch), batch_size):
            yield batch.take(indices[start : start + batch_size])

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
        """Returns what `add` was given, `[T, N, ...]`, in the form of the rollout.

        Args:
            name: an argument of `add`; not `final_obs`. `values` and
                `log_probs` may be unknown until the rollout is complete.
        """
        if name == "recorded" and self._memory:
            terminated = self._convert(self.rows("terminated"))
            recorded = ~zeros_like(terminated)
            for row, mask in self._masks.items():
                recorded[row] = self._convert(mask)
            return recorded
        if self._rollout is not None and (
            name in ("values", "log_probs") or name in self._arrays
        ):
            return getattr(self.stored_rollout, name)
        return self._stored(name)

    def _stored(self, name: str) -> Any:  # noqa: ANN401
        rows = self.rows(name)
        if self.uses_arrays and isinstance(rows, np.ndarray):
            return rows
        return tree_map(self._convert, rows)

    def _convert(self, values: Rows) -> Rows:
        """Returns an array, or a tensor on the device, as the rollout has them."""
        if self.uses_arrays:
            return np.asarray(values)
        return torch.as_tensor(values, device=self.device)

    @property
    def has_masks(self) -> bool:
        """Whether there are steps that are not recorded."""
        return bool(self._masks)

    # SB3's view of it.

    def __len__(self) -> int:
        """Number of rows so far, T."""
        return self._n_rows

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
            return bool(self._memory)
        computed = ("values", "log_probs", "next_values")
        return name in self._memory or (self._rollout is not None and name in computed)

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
            array = self._arrays[name] = tree_map(np.array, array)
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
        if self._rollout is not None and name in ("next_values", "values", "log_probs"):
            return getattr(self._rollout, name)
        if name == "recorded":
            return self.column("recorded")
        return self.rows(name)

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
        arrays = tree_map(_as_array, value)
        self._check_shapes(name, arrays, self._in_form_of_sb3(name, stored))
        self._was_read.add(name)
        if self.full:
            self._arrays[name] = arrays
            if name in ("observations", "actions"):
                self._steps = None
        else:
            tree_map(_write, stored, arrays)

    def _check_shapes(self, name: str, given: Any, expected: Any) -> None:  # noqa: ANN401
        if isinstance(expected, dict):
            alike = isinstance(given, dict) and given.keys() == expected.keys()
        else:
            alike = not isinstance(given, dict)
        shapes = tuple(tree_map(np.shape, each) for each in (given, expected))
        if not alike or shapes[0] != shapes[1]:
            raise ValueError(
                f"rollout_buffer.{name} must have the shape {shapes[1]}, got "
                f"{shapes[0]}"
            )

    def _written(self, name: str, tensors: Any) -> Any:  # noqa: ANN401
        """Returns a column's tensors, from its array if there is one."""
        if name not in self._arrays:
            return tensors
        return tree_map(_like, tensors, self._arrays[name])

    def _in_form_of_sb3(self, name: str, stored: Any) -> Any:  # noqa: ANN401
        """Returns arrays of SB3's shape and dtype.

        Before the rollout is complete, they share their memory with what is stored, or
        else are read-only.
        """
        arrays = tree_map(_numpy, stored)
        if name == "actions" and self.action_space is not None:
            size = get_action_dim(self.action_space)
            arrays = arrays.reshape(*arrays.shape[:2], size)
            arrays = arrays.astype(sample_dtype(self.action_space), copy=False)
        if name == "observations" and self.obs_shape is not None:
            arrays = tree_map(
                lambda obs, shape: obs.reshape(*obs.shape[:2], *shape),
                arrays,
                self.obs_shape,
            )
        if not self.full:
            tree_map(_protect_copies, arrays, stored)
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


def _empty(capacity: int, dtype: str | None, row: Rows) -> Rows:
    """Returns memory for rows like a row; dtypes have the same names in NumPy."""
    shape = (capacity, *row.shape)
    if isinstance(row, Tensor):
        return row.new_empty(shape, dtype=getattr(torch, dtype) if dtype else None)
    return np.empty(shape, dtype or row.dtype)


def _doubled(memory: Rows) -> Rows:
    doubled: Rows = namespace(memory).concat([memory, memory])
    return doubled


def _like(tensor: Rows, array: NDArray[Any]) -> Rows:
    """Returns an array's numbers in the form of another array or of a tensor."""
    if isinstance(tensor, np.ndarray):
        return array.astype(tensor.dtype).reshape(tensor.shape)
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
