"""Pictures and animated GIFs (by Pillow alone), written whole or not at all."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from pg_agents.common.files import write_file

# The last frame stays on the screen for so long before the animation starts again.
_LAST_FRAME_MS = 2000
_N_COLOURS = 32


def save_gif(
    frames: Sequence[NDArray[np.uint8]], path: str | os.PathLike[str], fps: float = 4.0
) -> None:
    """Write frames, such as an environment renders, as an animated GIF.

    Args:
        frames: At least one frame, uint8 [H, W, 3] each.
        path: Where to write the GIF; its folder has to exist.
        fps: Frames per second, in (0, 50]; GIF viewers slow down faster ones. The
            last frame is shown for two seconds.

    Raises:
        ValueError: If there are no frames, or ``fps`` is out of range.
        OSError: If it can't be written; the message names ``path`` and the reason.
    """
    if len(frames) == 0:
        raise ValueError("frames must hold at least one frame, got none")
    images = [Image.fromarray(frame) for frame in frames]
    # All frames count: a colour may be in one of them alone.
    everything = Image.fromarray(np.concatenate([f[::4, ::4] for f in frames]))
    write_gif(images, everything, path, fps, n_colours=128, whiten=False)


def write_gif(
    images: Sequence[Image.Image],
    colours: Image.Image,
    path: str | os.PathLike[str],
    fps: float,
    n_colours: int = _N_COLOURS,
    whiten: bool = True,
) -> None:
    """Write images with one palette for all, or colours would flicker.

    Args:
        images: RGB images of one size.
        colours: An RGB image that holds every colour.
        path: Where to write the GIF.
        fps: Frames per second, in (0, 50].
        n_colours: Size of the palette, at most 256.
        whiten: Whether what is nearly white becomes white: the quantizer mixes a white
            background with the shades near it.

    Raises:
        ValueError: If ``fps`` is out of range.
        OSError: If it can't be written; the message names ``path`` and the reason.
    """
    check_fps(fps)
    palette = _palette(colours, n_colours, whiten)
    durations = [round(1000 / fps)] * (len(images) - 1) + [_LAST_FRAME_MS]
    write_file(path, _encode(images, palette, durations))


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format that the path's ending names.

    Args:
        figure: What a function of `pg_agents.analysis.plots` returns.
        path: Where to write it; its folder has to exist.

    Raises:
        OSError: If it can't be written; the message names ``path`` and the reason.
    """
    content = io.BytesIO()
    figure.savefig(content, format=Path(path).suffix.lstrip(".") or "png", dpi=150)
    write_file(path, content.getvalue())


def check_fps(fps: float) -> None:
    """Raise a ValueError unless a GIF can be shown at that rate."""
    if not 0 < fps <= 50:
        raise ValueError(f"fps must be in (0, 50], got {fps!r}")


def _palette(image: Image.Image, n_colours: int, whiten: bool) -> Image.Image:
    """An image with the few colours that all frames are drawn with."""
    palette = image.quantize(n_colours)
    levels = np.array(palette.getpalette()).reshape(-1, 3)
    if whiten:
        levels[levels.min(axis=1) > 240] = 255
    palette.putpalette(levels.ravel().tolist())
    return palette


def _encode(
    frames: Sequence[Image.Image], palette: Image.Image, durations: list[int]
) -> bytes:
    """Encode frames as a GIF that repeats for ever, durations in milliseconds."""
    quantized = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    buffer = io.BytesIO()
    quantized[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=quantized[1:],
        duration=durations,
        loop=0,
        optimize=False,
    )
    return buffer.getvalue()
