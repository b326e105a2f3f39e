"""The action distribution over training as an animated GIF."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from pg_agents.analysis.plots.checks import check_probabilities, resolve_names
from pg_agents.analysis.plots.files import check_fps, write_gif
from pg_agents.analysis.plots.style import colour, new_figure
from pg_agents.callbacks.recorder import TrainingRecord


def animate_action_probabilities(
    record: TrainingRecord,
    action_names: Sequence[str],
    path: str | os.PathLike[str],
    observation_names: Sequence[str] | None = None,
    n_frames: int = 60,
    fps: float = 12.0,
) -> None:
    """Write an animated GIF of the action probabilities over training.

    The file is written whole or not at all: a reader never sees half of one.

    Args:
        record: A run with recorded probabilities [P, K, A].
        action_names: A names, one for each bar.
        path: Where to write the GIF; its folder has to exist.
        observation_names: K names, the titles of the panels; None numbers them.
        n_frames: Frames, spread evenly over the recordings, the first and the last
            among them; a record with fewer recordings has a frame for each.
        fps: Frames per second, in (0, 50]; GIF viewers slow down faster ones. The
            last frame is shown for two seconds.

    Raises:
        ValueError: If the record has no probabilities, the names are too few or too
            many, or ``n_frames`` or ``fps`` is out of range.
    """
    if n_frames < 1:
        raise ValueError(f"n_frames must be at least 1, got {n_frames!r}")
    check_fps(fps)
    n_observations, n_actions = check_probabilities([record])
    actions = resolve_names(action_names, n_actions, "action")
    titles = resolve_names(observation_names, n_observations, "observation")
    bars = ProbabilityBars(actions, titles, int(record.probability_timesteps[-1]))
    frames = []
    for index in frame_indices(len(record.action_probabilities), n_frames):
        timestep = int(record.probability_timesteps[index])
        bars.show(record.action_probabilities[index], timestep)
        frames.append(bars.image())
    # Every colour is in a frame with every bar half-way up; it becomes the palette.
    bars.show(np.full((n_observations, n_actions), 0.5), 0)
    write_gif(frames, bars.image(), path, fps)


def frame_indices(n_recordings: int, n_frames: int) -> NDArray[np.int64]:
    """Which recordings become frames.

    Args:
        n_recordings: Number of recordings, at least 1.
        n_frames: Number of frames wanted, at least 1.

    Returns:
        int64 [min(n_recordings, n_frames)], increasing evenly and ending with the
        last recording.
    """
    if n_frames == 1:
        return np.array([n_recordings - 1])
    n_frames = min(n_recordings, n_frames)
    return np.linspace(0, n_recordings - 1, n_frames).round().astype(np.int64)


@dataclass(frozen=True)
class _Panel:
    """Bars of one observation and the numbers above them, one for each action."""

    bars: BarContainer
    numbers: list[Text]


class ProbabilityBars:
    """A figure of bars, one panel for each observation, that can be set anew."""

    def __init__(
        self,
        action_names: Sequence[str],
        observation_names: Sequence[str],
        last_timestep: int,
    ) -> None:
        """Draw the axes and bars of height zero.

        Args:
            action_names: One for each bar of a panel.
            observation_names: One for each panel.
            last_timestep: Environment steps at the end of training, for the caption.
        """
        width = max(2.2, 0.8 * len(action_names)) * len(observation_names) + 0.8
        self.figure, axes = new_figure(max(width, 3.6), 3.2, len(observation_names))
        self.last_timestep = last_timestep
        self._canvas = FigureCanvasAgg(self.figure)
        self.panels = [_bar_panel(a, action_names) for a in axes]
        for panel_axes, name in zip(axes, observation_names, strict=True):
            if len(axes) > 1:
                panel_axes.set_title(name, fontsize="medium")
        axes[0].set_ylabel("Action probability")
        self._caption = self.figure.suptitle(" ", fontsize="medium")
        self._moving: list[Artist] = [self._caption]
        for panel in self.panels:
            self._moving += [*panel.bars.patches, *panel.numbers]
        self._background = self._draw_background()

    def _draw_background(self) -> object:
        """Draw all that stands still, once: axes take most of the time of a frame."""
        # The layout is found with everything in place, then kept.
        self._canvas.draw()
        self.figure.set_layout_engine("none")
        for artist in self._moving:
            artist.set_animated(True)
        self._canvas.draw()
        return self._canvas.copy_from_bbox(self.figure.bbox)

    def show(self, probabilities: NDArray[np.float64], timestep: int) -> None:
        """Set the bars.

        Args:
            probabilities: float64 [K, A].
            timestep: Environment steps so far, for the caption.
        """
        self._caption.set_text(f"Step {timestep:,} of {self.last_timestep:,}")
        for panel, row in zip(self.panels, probabilities, strict=True):
            items = zip(panel.bars.patches, panel.numbers, row, strict=True)
            for bar, number, probability in items:
                bar.set_height(float(probability))
                number.set_y(float(probability) + 0.02)
                number.set_text(f"{probability:.2f}")

    def image(self) -> Image.Image:
        """Draw the figure as an RGB image."""
        self._canvas.restore_region(self._background)
        for artist in self._moving:
            self.figure.draw_artist(artist)
        pixels = self._canvas.buffer_rgba()
        return Image.fromarray(np.array(pixels)[..., :3])


def _bar_panel(axes: Axes, action_names: Sequence[str]) -> _Panel:
    n_actions = len(action_names)
    colours = [colour(action) for action in range(n_actions)]
    bars = axes.bar(range(n_actions), np.zeros(n_actions), 0.7, color=colours)
    axes.set_xticks(range(n_actions), action_names)
    axes.set_ylim(0, 1.1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("Action")
    numbers = [
        axes.text(action, 0, "", ha="center", fontsize="small")
        for action in range(n_actions)
    ]
    return _Panel(bars, numbers)
