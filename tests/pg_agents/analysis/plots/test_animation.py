"""Animated GIFs: frames, bars and colours as drawn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pg_agents.analysis.curves import evenly_spaced
from pg_agents.analysis.plots import animate_action_probabilities, save_gif
from pg_agents.analysis.plots.animation import ProbabilityBars
from pg_agents.analysis.plots.style import PALETTE
from tests.pg_agents.analysis.plots.records import (
    ACTIONS,
    Floats,
    make_record,
    random_probabilities,
)


def bar_fractions(image: Image.Image) -> Floats:
    """Returns the relative heights of the bars of one panel, from the pixels."""
    pixels = np.asarray(image.convert("RGB")).astype(int)
    heights = []
    for hexadecimal in PALETTE[:3]:
        rgb = [int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)]
        close = np.abs(pixels - rgb).sum(axis=2) < 30
        heights.append(close.sum(axis=0).max())
    fractions: Floats = np.array(heights, float) / sum(heights)
    return fractions


def test_gif_has_the_frames_and_the_bars(tmp_path: Path) -> None:
    path = tmp_path / "actions.gif"
    probabilities = random_probabilities(3, n=40, n_observations=1)
    probabilities[-1, 0] = [0.7, 0.3, 0.0]  # its colour is not in the last frame
    animate_action_probabilities(make_record(probabilities), ACTIONS, path, n_frames=15)
    assert path.stat().st_size < 1_000_000
    assert os.listdir(tmp_path) == ["actions.gif"]
    with Image.open(path) as gif:
        assert (gif.format, getattr(gif, "n_frames", 1)) == ("GIF", 15)
        assert gif.info["loop"] == 0
        for frame, index in enumerate(evenly_spaced(40, 15)):
            gif.seek(frame)
            expected = probabilities[index, 0]
            np.testing.assert_allclose(bar_fractions(gif), expected, atol=0.02)
            assert gif.info["duration"] == (2000 if frame == 14 else 80)
        assert gif.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def test_equal_frames_are_all_kept(tmp_path: Path) -> None:
    """Pillow merges equal frames; the caption with the step keeps them apart."""
    path = tmp_path / "actions.gif"
    record = make_record(np.full((8, 1, 2), 0.5))
    animate_action_probabilities(record, ["a", "b"], path, ["only"])
    with Image.open(path) as gif:
        assert getattr(gif, "n_frames", 1) == 8


def test_bars_as_data() -> None:
    bars = ProbabilityBars(ACTIONS, ["here", "there"], 1000)
    bars.show(np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]), 250)
    heights = [
        [bar.get_height() for bar in panel.bars.patches] for panel in bars.panels
    ]
    assert heights == [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]
    assert [n.get_text() for n in bars.panels[0].numbers] == ["0.20", "0.30", "0.50"]
    assert bars.figure.get_suptitle() == "Step 250 of 1,000"


def frame(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Returns a grey frame with a square of one colour in the middle."""
    pixels = np.full((40, 60, 3), 243, dtype=np.uint8)
    pixels[10:30, 20:40] = colour
    return pixels


def test_saved_frames_keep_their_order_and_colours(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 160, 0), (0, 0, 255)]
    save_gif([frame(colour) for colour in colours], tmp_path / "film.gif", fps=5)
    with Image.open(tmp_path / "film.gif") as film:
        assert getattr(film, "n_frames", 0) == 3
        for number, colour in enumerate(colours):
            film.seek(number)
            pixels = np.asarray(film.convert("RGB")).astype(int)
            assert np.abs(pixels[20, 30] - colour).max() <= 8
            # The background keeps its grey.
            assert np.abs(pixels[2, 2] - 243).max() <= 3
            assert film.info["duration"] == (2000 if number == 2 else 200)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_frames": 0}, "n_frames must be at least 1, got 0"),
        ({"fps": 0.0}, r"fps must be in \(0, 50\], got 0.0"),
        ({"fps": 51.0}, r"fps must be in \(0, 50\], got 51.0"),
        ({"frames": []}, "at least one frame, got none"),
    ],
)
def test_bad_arguments_are_rejected_and_write_nothing(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    record = make_record(random_probabilities(0))
    path = tmp_path / "film.gif"
    if "frames" not in arguments:
        with pytest.raises(ValueError, match=message):
            animate_action_probabilities(record, ACTIONS, path, **arguments)
    if "n_frames" not in arguments:
        with pytest.raises(ValueError, match=message):
            save_gif(**{"frames": [frame((0, 0, 0))], "path": path, **arguments})
    assert list(tmp_path.iterdir()) == []
