import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pg_agents.analysis.plots import animate_action_probabilities
from pg_agents.analysis.plots.animation import ProbabilityBars, frame_indices
from pg_agents.analysis.plots.style import PALETTE
from tests.pg_agents.analysis.plots.records import (
    ACTIONS,
    Floats,
    make_record,
    random_probabilities,
)


def bar_fractions(image: Image.Image) -> Floats:
    """Heights of the bars of one panel, relative to each other, from the pixels."""
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
        for frame, index in enumerate(frame_indices(40, 15)):
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


def test_frames_are_spread_evenly_and_end_with_the_last() -> None:
    assert frame_indices(101, 5).tolist() == [0, 25, 50, 75, 100]
    assert frame_indices(3, 60).tolist() == [0, 1, 2]
    assert frame_indices(10, 1).tolist() == [9]


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "actions.gif"
    path.write_bytes(b"old")

    def fail(source: str, target: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        animate_action_probabilities(
            make_record(np.full((2, 1, 2), 0.5)), ["a", "b"], path
        )
    assert os.listdir(tmp_path) == ["actions.gif"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(("n_frames", "fps"), [(0, 10.0), (5, 0.0), (5, 51.0)])
def test_refuses_frames_and_rates_out_of_range(
    n_frames: int, fps: float, tmp_path: Path
) -> None:
    record = make_record(random_probabilities(0))
    with pytest.raises(ValueError, match=r"n_frames|fps"):
        animate_action_probabilities(
            record, ACTIONS, tmp_path / "x.gif", n_frames=n_frames, fps=fps
        )
