"""Animated GIFs: the action distribution over training, and rendered episodes."""

import io
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from pg_agents.analysis.curves import evenly_spaced
from pg_agents.analysis.plots.records import check_names, check_probabilities
from pg_agents.analysis.plots.style import colour, new_figure
from pg_agents.callbacks.recorder import TrainingRecord
from pg_agents.common.files import write_file

# How long the last frame is shown before the animation restarts.
_LAST_FRAME_MS = 2000


def animate_action_probabilities(
    record: TrainingRecord,
    action_names: Sequence[str],
    path: str | os.PathLike[str],
    observation_names: Sequence[str] | None = None,
    n_frames: int = 60,
    fps: float = 12.0,
) -> None:
    """Writes the action probabilities over training as an animated GIF, atomically.

    Args:
        record: a run with recorded probabilities [P, K, A].
        action_names: A names, one for each bar.
        path: of the GIF, in an existing folder.
        observation_names: K names, the titles of the panels; None for numbers.
        n_frames: number of frames, spread evenly over the recordings including the
            first and the last; fewer if the record is shorter.
        fps: frames per second, in (0, 50]; GIF viewers slow down faster ones. The last
            frame is shown for two seconds.

    Raises:
        ValueError: if the record has no probabilities, the number of names is wrong, or
            `n_frames` or `fps` is out of range.
        OSError: if it can't be written; names `path` and the reason.
    """
    if n_frames < 1:
        raise ValueError(f"n_frames must be at least 1, got {n_frames!r}")
    _check_fps(fps)
    n_observations, n_actions = check_probabilities([record])
    actions = check_names(action_names, n_actions, "action")
    titles = check_names(observation_names, n_observations, "observation")
    bars = ProbabilityBars(actions, titles, int(record.probability_timesteps[-1]))
    frames = []
    for i in evenly_spaced(len(record.action_probabilities), n_frames):
        bars.show(record.action_probabilities[i], int(record.probability_timesteps[i]))
        frames.append(bars.image())
    # With every bar half-way up, the frame has all colours.
    bars.show(np.full((n_observations, n_actions), 0.5), 0)
    palette = bars.image().quantize(32)
    levels = np.array(palette.getpalette()).reshape(-1, 3)
    # The quantizer mixes the white background with the shades near it.
    levels[levels.min(axis=1) > 240] = 255
    palette.putpalette(levels.ravel().tolist())
    write_file(path, _encode(frames, palette, fps))


def save_gif(
    frames: Sequence[NDArray[np.uint8]], path: str | os.PathLike[str], fps: float = 4.0
) -> None:
    """Writes frames, such as an environment renders, as an animated GIF, atomically.

    Args:
        frames: at least one, uint8 [H, W, 3].
        path: of the GIF, in an existing folder.
        fps: frames per second, in (0, 50]; GIF viewers slow down faster ones. The last
            frame is shown for two seconds.

    Raises:
        ValueError: if there are no frames, or `fps` is out of range.
        OSError: if it can't be written; names `path` and the reason.
    """
    write_file(path, encode_gif(frames, fps))


def encode_gif(frames: Sequence[NDArray[np.uint8]], fps: float = 4.0) -> bytes:
    """Returns the content of the file that `save_gif` writes, with its arguments."""
    if len(frames) == 0:
        raise ValueError("frames must hold at least one frame, got none")
    _check_fps(fps)
    # A colour may occur in one frame alone.
    sampled = Image.fromarray(np.concatenate([frame[::4, ::4] for frame in frames]))
    images = [Image.fromarray(frame) for frame in frames]
    return _encode(images, sampled.quantize(128), fps)


def save_mp4(
    frames: Iterable[NDArray[np.uint8]], path: str | os.PathLike[str], fps: float = 30.0
) -> None:
    """Writes frames as a film in MP4, atomically; needs the extra ``video``.

    Args:
        frames: at least one, uint8 [H, W, 3], of the same size.
        path: of the film, in an existing folder.
        fps: frames per second.

    Raises:
        ValueError: if there are no frames.
        ModuleNotFoundError: if moviepy is not installed.
        OSError: if it can't be written; names `path` and the reason.
    """
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("frames must hold at least one frame, got none")
    with tempfile.TemporaryDirectory() as temporary:
        film = Path(temporary) / "film.mp4"
        with FFMPEG_VideoWriter(str(film), first.shape[1::-1], fps) as writer:
            writer.write_frame(first)
            for frame in iterator:
                writer.write_frame(frame)
        write_file(path, film.read_bytes())


@dataclass(frozen=True)
class _Panel:
    """The bars of one observation and the numbers above them, one for each action."""

    bars: BarContainer
    numbers: list[Text]


class ProbabilityBars:
    """A figure of bars, one panel for each observation, that is redrawn fast.

    Args:
        action_names: one for each bar of a panel.
        observation_names: one for each panel.
        last_timestep: environment steps at the end of training, for the caption.
    """

    def __init__(
        self,
        action_names: Sequence[str],
        observation_names: Sequence[str],
        last_timestep: int,
    ) -> None:
        width = max(2.2, 0.8 * len(action_names)) * len(observation_names) + 0.8
        self.figure, axes = new_figure(max(width, 3.6), 3.2, len(observation_names))
        self.last_timestep = last_timestep
        self._canvas = FigureCanvasAgg(self.figure)
        self.panels = [_bar_panel(panel, action_names) for panel in axes]
        for panel_axes, name in zip(axes, observation_names, strict=True):
            if len(axes) > 1:
                panel_axes.set_title(name, fontsize="medium")
        axes[0].set_ylabel("Action probability")
        self._caption = self.figure.suptitle(" ", fontsize="medium")
        self._moving: list[Artist] = [self._caption]
        for panel in self.panels:
            self._moving += [*panel.bars.patches, *panel.numbers]
        # Axes take most of the time of a frame, so they are drawn once: the layout is
        # computed with everything in place, then kept.
        self._canvas.draw()
        self.figure.set_layout_engine("none")
        for artist in self._moving:
            artist.set_animated(True)
        self._canvas.draw()
        self._background = self._canvas.copy_from_bbox(self.figure.bbox)

    def show(self, probabilities: NDArray[np.float64], timestep: int) -> None:
        """Sets the bars to probabilities [K, A], and the caption to the timestep."""
        self._caption.set_text(f"Step {timestep:,} of {self.last_timestep:,}")
        for panel, row in zip(self.panels, probabilities, strict=True):
            items = zip(panel.bars.patches, panel.numbers, row, strict=True)
            for bar, number, probability in items:
                bar.set_height(float(probability))
                number.set_y(float(probability) + 0.02)
                number.set_text(f"{probability:.2f}")

    def image(self) -> Image.Image:
        """Returns the figure as an RGB image."""
        self._canvas.restore_region(self._background)
        for artist in self._moving:
            self.figure.draw_artist(artist)
        pixels = self._canvas.buffer_rgba()
        return Image.fromarray(np.array(pixels)[..., :3])


def _bar_panel(axes: Axes, action_names: Sequence[str]) -> _Panel:
    positions = range(len(action_names))
    colours = [colour(action) for action in positions]
    bars = axes.bar(positions, np.zeros(len(positions)), 0.7, color=colours)
    axes.set_xticks(positions, action_names)
    axes.set_ylim(0, 1.1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("Action")
    numbers = [axes.text(x, 0, "", ha="center", fontsize="small") for x in positions]
    return _Panel(bars, numbers)


def _check_fps(fps: float) -> None:
    if not 0 < fps <= 50:
        raise ValueError(f"fps must be in (0, 50], got {fps!r}")


def _encode(images: Sequence[Image.Image], palette: Image.Image, fps: float) -> bytes:
    """Returns an endless GIF; one palette for all keeps colours from flickering."""
    quantized = [i.quantize(palette=palette, dither=Image.Dither.NONE) for i in images]
    content = io.BytesIO()
    quantized[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=quantized[1:],
        duration=[round(1000 / fps)] * (len(images) - 1) + [_LAST_FRAME_MS],
        loop=0,
        optimize=False,
    )
    return content.getvalue()
