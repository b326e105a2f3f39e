"""`make pictures`: it writes what README and docs show, and nothing else is there."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from docs import live_pictures, make_pictures

ROOT = Path(__file__).parent.parent


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which writes into a folder of the test."""
    monkeypatch.setattr(make_pictures, "PICTURES", tmp_path)
    monkeypatch.setattr(make_pictures, "ROOT", tmp_path.parent)
    return make_pictures


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


@pytest.mark.slow
def test_frames_and_film_are_those_of_the_pages(
    pictures: ModuleType, tmp_path: Path
) -> None:
    pictures.environments()
    pictures.film()
    pictures.flight()
    pictures.play()
    pictures.diagrams()
    kept = names(ROOT / "docs/pictures")
    # Those take minutes: plots, what each command prints, and the live view.
    slow = ("demo-", "terminal-", "runs-", "live-")
    other = {name for name in kept if name.startswith(slow)}
    assert names(tmp_path) == kept - other
    demos = {name.split("-")[1] for name in other if name.startswith("demo-")}
    assert demos == set(pictures.DEMOS)
    reports = {name for name in other if name.startswith("terminal-")}
    assert reports == {f"terminal-{name}" for name in [*pictures.REPORTS, "compare"]}
    shown = {name for name in other if name.startswith("live-")}
    assert shown == {f"live-{name}" for name in pictures.CASES}


def test_the_live_view_is_the_same_picture_every_time() -> None:
    """Whatever the speed of the machine, and after other random numbers."""
    first = live_pictures.draw("sequence-small")
    torch.rand(3)
    time.sleep(0.3)
    np.testing.assert_array_equal(first, live_pictures.draw("sequence-small"))


def test_pictures_keep_the_colours_of_their_surfaces(pictures: ModuleType) -> None:
    """Also of small ones, beside the many shades of edges."""
    shades = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    shades[:32] = 243, 244, 248
    shades[40:44, 40:44] = 14, 122, 82
    kept = np.asarray(pictures._few_colours(Image.fromarray(shades)).convert("RGB"))
    np.testing.assert_array_equal(kept[:32], shades[:32])
    np.testing.assert_array_equal(kept[40:44, 40:44], shades[40:44, 40:44])
    assert len(np.unique(kept.reshape(-1, 3), axis=0)) <= 256


def test_the_film_ends_with_right_right_centre(pictures: ModuleType) -> None:
    """The policy that it shows in the end, and the walk of its best actions."""
    record = pictures._train()
    trained = record.action_probabilities[-1].argmax(axis=1)
    assert trained.tolist() == [2, 2, 1]
    walk = list(pictures._steps(iter([np.eye(3)[trained]] * 3), "trained", seed=0))
    assert [snapshot.action for snapshot in walk] == [None, 2, 2, 1]
    assert walk[-1].terminated


def test_what_a_command_prints_becomes_a_picture(
    pictures: ModuleType, tmp_path: Path
) -> None:
    pictures._terminal("version-like", ["recipes"], tmp_path)
    with Image.open(tmp_path / "terminal-version-like.png") as picture:
        # At most a hundred columns of 9 pixels, a line for each recipe at least.
        assert picture.width <= 932
        assert picture.height > 30 * 20
