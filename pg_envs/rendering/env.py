"""The base class of single environments that can be rendered."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from pg_envs.mdp import check_choice
from pg_envs.rendering.scene import Scene

if TYPE_CHECKING:
    from pg_envs.rendering.canvas import Canvas

Obs = TypeVar("Obs")
Action = TypeVar("Action")


class RenderedEnv(gymnasium.Env[Obs, Action], Generic[Obs, Action]):
    """A single environment with a canvas, made when something is first drawn.

    A subclass implements `current_scene` and lists its render modes in `metadata`.

    Args:
        render_mode: one of `metadata["render_modes"]`, or None.

    Raises:
        ValueError: if `render_mode` is unknown.
    """

    def __init__(self, render_mode: str | None) -> None:
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        self.render_mode = render_mode

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
        scene = self.current_scene()
        if scene is None:
            raise ResetNeeded("render() was called before reset(): nothing to draw yet")
        if self.render_mode == "rgb_array":
            return self.canvas.rgb_array(scene)
        self.canvas.show(scene)
        return None

    @cached_property
    def canvas(self) -> Canvas:
        """Draws the scenes; it also knows which keys are held in its window."""
        # Imported here, so that training does not load pygame.
        from pg_envs.rendering.canvas import Canvas

        name = self.spec.id if self.spec is not None else type(self).__name__
        return Canvas(caption=name, fps=self.metadata["render_fps"])

    def close(self) -> None:
        """Closes the window, if there is one; may be called more than once."""
        if "canvas" in self.__dict__:
            self.canvas.close()

    def current_scene(self) -> Scene | None:
        """Returns the picture of the current situation; None before `reset`."""
        raise NotImplementedError
