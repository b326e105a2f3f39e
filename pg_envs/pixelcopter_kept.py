"""get_state(), set_state() and the pictures of the vector Pixelcopters."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv

from pg_envs import pixelcopter_rules as rules
from pg_envs.pixelcopter_games import Array, Arrays, Copters
from pg_envs.pixelcopter_state import (
    checked_columns,
    game_columns,
    put_columns,
    snapshot,
)
from pg_envs.rendering.pixelcopter_scene import pixelcopter_scene
from pg_envs.rendering.scene import Scene
from pg_envs.state import check_state, generator_from

_COLUMNS: dict[str, type[np.generic]] = {
    "elapsed": np.int64,
    "done": np.bool_,
    "returns": np.float64,
    "crashed": np.bool_,
}


class KeptPixelcopters(VectorEnv[Array, Array, Array]):
    """Pixelcopters whose state can be taken out, put back, and drawn.

    What those on another kind of array do otherwise is in the underscore methods at the
    end.

    Attributes:
        num_envs: N.
        max_episode_steps: steps after which an episode is truncated; None for never.
        autoreset_mode: how it goes on after an episode.
        reward_scheme: what an end costs.
    """

    max_episode_steps: int | None
    autoreset_mode: AutoresetMode
    reward_scheme: str
    _arrays: Arrays
    _copters: Copters
    # Per environment: steps of the episode, whether it ended in the last step; and for
    # the pictures its return, and whether that end was a crash.
    _elapsed: Array
    _done: Array
    _returns: Array
    _crashed: Array
    _was_reset: bool
    _canvas: Any

    def get_state(self) -> dict[str, Any]:
        """Returns all that the next steps depend on, as plain data for `set_state`.

        Returns:
            A dict: which environment it is of (`environment`, `num_envs`,
            `max_episode_steps`, `autoreset_mode`, `reward_scheme`, `device`);
            `columns`, by name an array, None before `reset`; and `generator`, the state
            of the random number generator. Without a render mode nobody counts what
            pictures alone show: it is zero then.
        """
        columns = game_columns(self._copters, self._to_numpy)
        columns |= {
            name: self._to_numpy(getattr(self, f"_{name}")) for name in _COLUMNS
        }
        return {
            **self._identity(),
            "columns": columns if self._was_reset else None,
            "generator": self._generator_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on as the environments did of which `get_state` returned `state`.

        Args:
            state: what `get_state` returned, of as many environments of the same kind.

        Raises:
            TypeError: if it is no dict.
            ValueError: if it is incomplete, damaged or of another environment; nothing
                has changed then.
        """
        check_state(state, self._identity(), {"columns", "generator"})
        columns = state["columns"]
        if columns is not None:
            columns = checked_columns(columns, self.num_envs, _COLUMNS)
        # It is the last that can refuse.
        self._set_generator_state(state["generator"])
        self._was_reset = columns is not None
        if columns is not None:
            put_columns(self._copters, columns, self._everyone())
            for name in _COLUMNS:
                getattr(self, f"_{name}")[:] = self._arrays.table(columns[name])

    def _identity(self) -> dict[str, Any]:
        return {
            "environment": "Pixelcopter",
            "num_envs": self.num_envs,
            "max_episode_steps": self.max_episode_steps,
            "autoreset_mode": self.autoreset_mode.value,
            "reward_scheme": self.reward_scheme,
            "device": self._device_type(),
        }

    def render(self) -> tuple[Any, ...] | None:
        """Returns N frames, `[528, 480, 3]` uint8 each; None without a render mode."""
        if self.render_mode is None:
            return None
        if not self._was_reset:
            raise ResetNeeded("render() was called before reset(): nothing to draw yet")
        if self._canvas is None:
            # Here and not above: to train, nobody needs pygame.
            from pg_envs.rendering.canvas import Canvas

            self._canvas = Canvas(caption="Pixelcopter", fps=rules.STEPS_PER_SECOND)
        return tuple(self._canvas.rgb_array(scene) for scene in self._scenes())

    def close_extras(self, **kwargs: object) -> None:
        """Frees the surface that frames were drawn on."""
        if self._canvas is not None:
            self._canvas.close()
            self._canvas = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the canvas: copies and pickles draw on one of their own."""
        return {**self.__dict__, "_canvas": None}

    def _scenes(self) -> list[Scene]:
        columns = zip(self._returns, self._elapsed, self._crashed, strict=True)
        return [
            pixelcopter_scene(
                snapshot(self._copters, i, float(score), int(step), bool(crashed))
            )
            for i, (score, step, crashed) in enumerate(columns)
        ]

    def _everyone(self) -> Array:
        return self._which(self._arrays.xp.ones_like(self._done))

    def _device_type(self) -> str:
        return "numpy"

    def _generator_state(self) -> Any:  # noqa: ANN401
        return self.np_random.bit_generator.state

    def _set_generator_state(self, given: Any) -> None:  # noqa: ANN401
        self.np_random = generator_from(given)

    def _to_numpy(self, values: Array) -> Array:
        return values.copy()

    def _which(self, mask: Array) -> Array:
        """Returns which environments a mask `[N]` bool is true for, see `Arrays`."""
        return np.flatnonzero(mask)
