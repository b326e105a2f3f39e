import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pygame
import pytest

from pg_envs.rendering import (
    Circle,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Shape,
    Snapshot,
    Text,
    WindowClosed,
    bandit_scene,
    sequence_scene,
)
from pg_envs.rendering.canvas import Canvas

FAST = 10_000  # Frames a second: no test waits for the clock.
NAMES = ("left", "centre", "right")
MOVED = Snapshot(1, 2, -0.05, 4, -0.2, action_probabilities=(0.1, 0.3, 0.6))


def picture(*shapes: Shape) -> Scene:
    return Scene(60, 40, (255, 255, 255), shapes)


def sequence(snapshot: Snapshot) -> Scene:
    return sequence_scene(snapshot, 3, NAMES, 0.05, 1.0)


def bandit(snapshot: Snapshot) -> Scene:
    return bandit_scene(snapshot, NAMES, (0.1, 0.2, 0.3), "gaussian")


def test_rgb_array_is_fresh() -> None:
    canvas = Canvas("test", FAST)
    first, second = canvas.rgb_array(picture()), canvas.rgb_array(picture())
    assert first.shape == (40, 60, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous and first.flags.owndata
    first[:] = 0
    assert (second == 255).all()
    assert (canvas.rgb_array(picture()) == 255).all()


def test_rgb_array_opens_no_display() -> None:
    Canvas("test", FAST).rgb_array(sequence(MOVED))
    assert not pygame.display.get_init()


def test_same_scene_gives_the_same_pixels_on_any_canvas() -> None:
    scene = sequence(MOVED)
    first = Canvas("one", FAST).rgb_array(scene)
    np.testing.assert_array_equal(first, Canvas("two", FAST).rgb_array(scene))


@pytest.mark.parametrize(
    "change",
    [
        {"state": 0, "previous_state": 1},
        {"action": 1},
        {"reward": -0.5},
        {"step": 5},
        {"episode_return": -0.3},
        {"terminated": True},
        {"action_probabilities": (0.1, 0.35, 0.55)},
        {"action_probabilities": None},
    ],
)
def test_every_field_of_the_snapshot_is_drawn(change: dict[str, object]) -> None:
    canvas = Canvas("test", FAST)
    changed = MOVED._replace(**change)  # type: ignore[arg-type]
    before, after = (canvas.rgb_array(sequence(s)) for s in (MOVED, changed))
    assert (before != after).any()
    if "state" not in change:  # A bandit has one state.
        before, after = (canvas.rgb_array(bandit(s)) for s in (MOVED, changed))
        assert (before != after).any()


def test_shapes_cover_their_pixels() -> None:
    red, blue = (255, 0, 0), (0, 0, 255)
    pixels = Canvas("test", FAST).rgb_array(
        picture(
            Rectangle(10, 5, 20, 10, red, outline=blue, outline_width=2),
            Circle(45, 10, 8, None, red, 3),
            Line((10, 30), (20, 30), red, 4),
            Polygon(((40, 25), (50, 25), (50, 38)), blue),
        )
    )
    assert tuple(pixels[10, 20]) == red
    assert tuple(pixels[5, 20]) == tuple(pixels[10, 10]) == blue
    assert tuple(pixels[4, 20]) == tuple(pixels[15, 20]) == (255, 255, 255)
    assert tuple(pixels[10, 45]) == (255, 255, 255)  # The inside of a ring is open.
    assert tuple(pixels[10, 38]) == red
    assert tuple(pixels[30, 15]) == red and tuple(pixels[33, 15]) == (255, 255, 255)
    assert tuple(pixels[27, 48]) == blue


def test_edges_are_smooth() -> None:
    pixels = Canvas("test", FAST).rgb_array(picture(Circle(30, 20, 15, (0, 0, 0))))
    shades = np.unique(pixels)
    assert {0, 255} < set(shades.tolist()) and len(shades) > 5


@pytest.mark.parametrize(
    ("anchor", "left", "right"), [("left", 20, 60), ("centre", 0, 60), ("right", 0, 20)]
)
def test_text_is_aligned_with_its_anchor(anchor: str, left: int, right: int) -> None:
    x = {"left": 20, "centre": 30, "right": 20}[anchor]
    text = Text("HI", x, 20, 14, (0, 0, 0), anchor)  # type: ignore[arg-type]
    dark = Canvas("test", FAST).rgb_array(picture(text)).min(axis=2) < 128
    columns, rows = np.flatnonzero(dark.any(axis=0)), np.flatnonzero(dark.any(axis=1))
    assert left <= columns[0] and columns[-1] <= right
    # Capitals are centred on the line, to a pixel.
    assert abs((rows[0] + rows[-1] + 1) / 2 - 20) <= 1
    if anchor == "centre":
        assert abs((columns[0] + columns[-1] + 1) / 2 - 30) <= 1


def test_text_that_is_too_wide_is_drawn_smaller() -> None:
    def drawn_width(text: Text) -> int:
        frame = Canvas("test", FAST).rgb_array(Scene(200, 40, (255, 255, 255), (text,)))
        columns = np.flatnonzero((frame < 250).any(axis=(0, 2)))
        return int(columns[-1] - columns[0] + 1)

    wide = Text("a long name", 100, 20, 16, (0, 0, 0))
    assert drawn_width(wide) > 70
    assert 44 <= drawn_width(replace(wide, max_width=50)) <= 50
    assert drawn_width(replace(wide, max_width=150)) == drawn_width(wide)


def test_show_puts_the_scene_into_a_window() -> None:
    canvas = Canvas("a caption", FAST)
    canvas.show(picture(Rectangle(0, 0, 60, 40, (1, 2, 3))))
    window = pygame.display.get_surface()
    assert window is not None and window.get_size() == (60, 40)
    assert window.get_at((30, 20))[:3] == (1, 2, 3)
    assert pygame.display.get_caption()[0] == "a caption"


@pytest.mark.parametrize(
    "event",
    [
        pygame.event.Event(pygame.QUIT),
        pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE),
        pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q),
    ],
)
def test_closing_the_window_raises_and_closes(event: pygame.event.Event) -> None:
    canvas = Canvas("test", FAST)
    canvas.show(picture())
    pygame.event.post(event)
    with pytest.raises(WindowClosed):
        canvas.show(picture())
    assert not pygame.display.get_init()
    canvas.show(picture())  # A later show opens a new window.
    assert pygame.display.get_surface() is not None


def test_the_window_stays_until_its_last_canvas_closes() -> None:
    first, second = Canvas("one", FAST), Canvas("two", FAST)
    first.show(picture())
    second.show(picture())
    first.close()
    first.close()
    assert pygame.display.get_init()
    second.close()
    assert not pygame.display.get_init()


def test_a_display_opened_by_other_code_stays_open() -> None:
    pygame.display.init()
    canvas = Canvas("test", FAST)
    canvas.show(picture())
    canvas.close()
    assert pygame.display.get_init()


@pytest.mark.parametrize("shows_again", [True, False])
@pytest.mark.parametrize("has_window", [True, False])
def test_a_display_reopened_by_other_code_stays_open(
    shows_again: bool, has_window: bool
) -> None:
    canvas = Canvas("test", FAST)
    canvas.show(picture())
    pygame.quit()
    pygame.display.init()
    if has_window:
        pygame.display.set_mode((60, 40))
    if shows_again:
        canvas.show(picture())
    canvas.close()
    assert pygame.display.get_init()


def test_drawing_survives_another_environment_that_quits_pygame() -> None:
    canvas = Canvas("test", FAST)
    scene = picture(Text("hello", 30, 20, 14, (0, 0, 0)))
    before = canvas.rgb_array(scene)
    canvas.show(scene)
    pygame.quit()  # As CartPole does in close().
    np.testing.assert_array_equal(canvas.rgb_array(scene), before)
    canvas.show(scene)
    canvas.close()
    assert not pygame.display.get_init()


def test_a_canvas_without_its_window_keeps_no_other_open() -> None:
    lost, later = Canvas("lost", FAST), Canvas("later", FAST)
    lost.show(picture())
    pygame.quit()
    later.show(picture())
    later.close()
    assert not pygame.display.get_init()
    lost.close()


@pytest.mark.parametrize("driver", ["", "no-such-driver"])
def test_without_a_display_the_error_says_what_works(
    monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    # Without a driver named, SDL would pick an invisible one and show nothing.
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    if driver:
        monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    canvas = Canvas("test", FAST)
    with pytest.raises(RuntimeError, match=r"No display .* render_mode=\"rgb_array\""):
        canvas.show(picture())
    assert not pygame.display.get_init()
    assert canvas.rgb_array(picture()).shape == (40, 60, 3)
    canvas.close()


def test_only_the_canvas_imports_pygame() -> None:
    code = (
        "import sys, pg_envs.rendering as r;"
        "names = [n for n in ('pygame', 'torch', 'matplotlib') if n in sys.modules];"
        "assert not names, names; assert r.WindowClosed and r.sequence_scene;"
        "import pg_envs.rendering.canvas"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("left_over", ["an empty folder", "a folder without fonts"])
def test_a_broken_pygame_folder_is_an_error_that_says_the_fix(
    tmp_path: Path, left_over: str
) -> None:
    """As `pip uninstall pygame` leaves it where pygame-ce was installed beside it."""
    # A folder without __init__.py would not hide the pygame that is installed here.
    folder = tmp_path / "pygame"
    folder.mkdir()
    (folder / "__init__.py").touch()
    if left_over == "a folder without fonts":
        (folder / "surfarray.py").touch()
    code = (
        "import gymnasium, pg_envs\n"
        "env = gymnasium.make('PGToy-Sequence-v0', render_mode='rgb_array')\n"
        "env.reset(seed=0)\n"
        "env.render()\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    *_, last = found.stderr.rpartition("ImportError: ")
    assert found.returncode == 1
    assert "pip uninstall -y pygame pygame-ce\n    pip install pygame-ce" in last
    assert "No module named 'pygame." in last
