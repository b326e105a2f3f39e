"""What single environments that can be drawn share: the canvas, and when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from pg_envs.mdp import check_choice
from pg_envs.rendering.scene import Scene

if TYPE_CHECKING:
    from pg_envs.rendering.canvas import Canvas

Observation = TypeVar("Observation")
Action = TypeVar("Action")


class DrawnEnv(gymnasium.Env[Observation, Action], Generic[Observation, Action]):
    """A single environment with a canvas that is made when something is drawn.

    A subclass says what is to be seen now, `_present_scene`, and lists its render modes
    in `metadata`.

    Args:
        render_mode: one of `metadata["render_modes"]`, or None.

    Attributes:
        render_mode: as given.

    Raises:
        ValueError: if `render_mode` is unknown.
    """

    def __init__(self, render_mode: str | None) -> None:
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        self.render_mode = render_mode
        self._canvas: Canvas | None = None

    def render(self) -> NDArray[np.uint8] | None:
        """Draws the current situation.

        Returns:
            With `render_mode="rgb_array"` the frame, `[H, W, 3]` uint8; with `"human"`
            None, the frame being shown in a window.

        Raises:
            ResetNeeded: before the first `reset`.
            WindowClosed: if the user has closed the window.
        """
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() does nothing without a render_mode: pass render_mode='human' "
                "or render_mode='rgb_array' when you make the environment"
            )
            return None
        scene = self._present_scene()
        if scene is None:
            raise ResetNeeded("render() was called before reset(): nothing to draw yet")
        if self.render_mode == "rgb_array":
            return self.canvas.rgb_array(scene)
        self.canvas.show(scene)
        return None

    @property
    def canvas(self) -> Canvas:
        """What is drawn on; its window, if there is one, knows which keys are held."""
        if self._canvas is None:
            # Here and not above: to train, nobody needs pygame.
            from pg_envs.rendering.canvas import Canvas

            name = self.spec.id if self.spec is not None else type(self).__name__
            self._canvas = Canvas(caption=name, fps=self.metadata["render_fps"])
        return self._canvas

    def close(self) -> None:
        """Closes the window, if there is one; may be called more than once."""
        if self._canvas is not None:
            self._canvas.close()
            self._canvas = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the canvas: copies and pickles draw on one of their own."""
        return {**self.__dict__, "_canvas": None}

    def _present_scene(self) -> Scene | None:
        """Returns the picture of the current situation; None before `reset`."""
        raise NotImplementedError
