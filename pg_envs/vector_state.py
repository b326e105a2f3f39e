"""get_state() and set_state() of the vector environments."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from pg_envs.dynamics import Array
from pg_envs.mdp import TabularMDP
from pg_envs.state import check_state, column, digest, generator_from

# What an environment remembers from step to step, and of what it did last.
COLUMNS: dict[str, type[np.generic]] = {
    "state": np.int64,
    "elapsed": np.int64,
    "returns": np.float64,
    "done": np.bool_,
}
LAST: dict[str, type[np.generic]] = {
    "before": np.int64,
    "action": np.int64,
    "reward": np.float64,
    "terminated": np.bool_,
}


class KeptVectorEnv(VectorEnv[Array, Array, Array]):
    """A vector environment whose state can be taken out and put back.

    What one on another kind of array does otherwise is in the underscore methods at the
    end.

    Attributes:
        mdp: the tables.
        num_envs: N.
        max_episode_steps: steps after which an episode is truncated; None for never.
        autoreset_mode: how it goes on after an episode.
    """

    mdp: TabularMDP
    max_episode_steps: int | None
    autoreset_mode: AutoresetMode
    _state: Array
    _elapsed: Array
    _returns: Array
    _done: Array
    _last: tuple[Array, Array, Array, Array] | None

    def get_state(self) -> dict[str, Any]:
        """Returns all that the next steps depend on, as plain data for `set_state`.

        Returns:
            A dict: which environment it is of (`mdp`, SHA-256 of the tables,
            `num_envs`, `max_episode_steps`, `autoreset_mode`, `device`); `columns`, by
            name an array `[N]`, None before `reset`; `last`, likewise for the pictures;
            and `generator`, the state of the random number generator. Without a render
            mode nobody counts what pictures alone show: it is zero then.
        """
        columns = self._columns()
        return {
            **self._identity(),
            "columns": None if columns is None else self._plain(COLUMNS, columns),
            "last": None if self._last is None else self._plain(LAST, self._last),
            "generator": self._generator_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on as the environments did of which `get_state` returned `state`.

        Args:
            state: what `get_state` returned, of as many environments with the same
                tables, time limit, autoreset mode and kind of device.

        Raises:
            TypeError: if it is no dict.
            ValueError: if it is incomplete, damaged or of another environment; nothing
                has changed then.
        """
        check_state(state, self._identity(), {"columns", "last", "generator"})
        columns = self._restored("columns", COLUMNS, state["columns"])
        last = self._restored("last", LAST, state["last"])
        # It is the last that can refuse.
        self._set_generator_state(state["generator"])
        self._set_columns(columns)
        self._last = last

    def _identity(self) -> dict[str, Any]:
        return {
            "mdp": digest(self.mdp),
            "num_envs": self.num_envs,
            "max_episode_steps": self.max_episode_steps,
            "autoreset_mode": self.autoreset_mode.value,
            "device": self._device_type(),
        }

    def _plain(
        self, dtypes: dict[str, type[np.generic]], values: tuple[Array, ...]
    ) -> dict[str, Array]:
        return {
            # A copy, so that what was handed out stays as it is.
            name: np.array(self._to_numpy(value), dtype=dtype)
            for (name, dtype), value in zip(dtypes.items(), values, strict=True)
        }

    def _restored(
        self,
        part: str,
        dtypes: dict[str, type[np.generic]],
        given: Any,  # noqa: ANN401
    ) -> tuple[Array, Array, Array, Array] | None:
        if given is None:
            return None
        check_state(given, {}, set(dtypes))
        n_states, n_actions = self.mdp.n_states, self.mdp.n_actions
        sizes = {"state": n_states, "before": n_states, "action": n_actions}
        arrays = []
        for name, dtype in dtypes.items():
            values: Array = column(name, given[name], self.num_envs, dtype)
            size = sizes.get(name)
            if size is not None and ((values < 0) | (values >= size)).any():
                raise ValueError(
                    f"state[{part!r}][{name!r}] must be integers from 0 to "
                    f"{size - 1}, got {values.tolist()}"
                )
            arrays.append(self._from_numpy(values))
        first, second, third, fourth = arrays
        return first, second, third, fourth

    def _columns(self) -> tuple[Array, Array, Array, Array] | None:
        """Returns what `COLUMNS` names, each `[N]`; None before the first reset."""
        if self._state is None:
            return None
        return self._state, self._elapsed, self._returns, self._done

    def _set_columns(self, columns: tuple[Array, Array, Array, Array] | None) -> None:
        self._state, self._elapsed, self._returns, self._done = columns or (None,) * 4

    def _device_type(self) -> str:
        return "numpy"

    def _generator_state(self) -> Any:  # noqa: ANN401
        return self.np_random.bit_generator.state

    def _set_generator_state(self, given: Any) -> None:  # noqa: ANN401
        self.np_random = generator_from(given)

    def _to_numpy(self, values: Array) -> Array:
        return values

    def _from_numpy(self, values: Array) -> Array:
        return values
