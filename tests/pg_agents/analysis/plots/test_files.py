"""Pictures on disk: whole or not at all, and the colours that were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from pg_agents.analysis.plots import save_figure, save_gif


def frame(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A grey frame with a square of one colour in the middle."""
    pixels = np.full((40, 60, 3), 243, dtype=np.uint8)
    pixels[10:30, 20:40] = colour
    return pixels


def test_frames_come_back_in_order_with_their_colours(tmp_path: Path) -> None:
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
    ("frames", "fps", "says"),
    [
        ([], 5.0, "at least one frame, got none"),
        ([frame((0, 0, 0))], 0.0, r"fps must be in \(0, 50\], got 0.0"),
        ([frame((0, 0, 0))], 51.0, r"fps must be in \(0, 50\], got 51.0"),
    ],
)
def test_bad_films_are_refused_and_leave_nothing(
    frames: list[NDArray[np.uint8]], fps: float, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        save_gif(frames, tmp_path / "film.gif", fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_figure_is_written_in_the_format_of_its_name(
    ending: str, tmp_path: Path
) -> None:
    figure = Figure()
    figure.subplots().plot([0, 1], [1, 0])
    path = tmp_path / f"figure.{ending}"
    save_figure(figure, path)
    assert [path] == list(tmp_path.iterdir())
    start = path.read_bytes()[:5]
    assert start in (b"\x89PNG\r", b"<?xml")


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.gif"
    path.write_bytes(b"old")

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_gif([frame((1, 2, 3))], path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
