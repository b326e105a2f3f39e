"""`LiveView` in a training: windows under a virtual screen, films without one."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback

import pg_envs  # noqa: F401 - registers the environments
from pg_agents import REINFORCE, LiveView

SEQUENCE = "PGToy-Sequence-v0"


def make_model(seed: int = 0) -> REINFORCE:
    return REINFORCE(
        "MlpPolicy",
        SEQUENCE,
        learning_rate=0.01,
        gamma=0.6,
        policy_kwargs={"net_arch": []},
        seed=seed,
    )


class After(BaseCallback):
    """Calls a function once, some seconds after the training has begun."""

    def __init__(self, action: Callable[[], None], seconds: float = 0.5) -> None:
        super().__init__()
        self.action, self.seconds = action, seconds
        self.began: float | None = None
        self.n_steps_after = 0

    def _on_step(self) -> bool:
        now = time.monotonic()
        if self.began is None:
            self.began = now
        if self.seconds != np.inf and now - self.began > self.seconds:
            self.seconds = np.inf
            self.action()
        # A window that does not react fails the test, and does not hang it.
        return now - self.began < 60


def xdotool(*arguments: str) -> None:
    program = shutil.which("xdotool")
    if program is None:
        pytest.skip("xdotool is not installed")
    subprocess.run([program, *arguments], check=True, timeout=30)


def press(*keys: str) -> None:
    xdotool("key", "--delay", "150", *keys)


def wait_for(folder: Path, pattern: str) -> None:
    end = time.monotonic() + 30
    while not list(folder.glob(pattern)) and time.monotonic() < end:
        time.sleep(0.05)


def window() -> str:
    found = subprocess.run(
        ["xdotool", "search", "--class", ".*"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    # Without a window manager there is no other one.
    return found.stdout.split()[-1]


@pytest.mark.slow
def test_a_training_is_the_same_with_a_view(no_screen: None, tmp_path: Path) -> None:
    """Weights after 300 steps agree to the last bit."""
    plain = make_model().learn(300)
    seen = make_model()
    with LiveView(film=tmp_path / "live.gif", size=(480, 320), verbose=0) as view:
        seen.learn(300, callback=view)
    for name, tensor in plain.policy.state_dict().items():
        assert torch.equal(tensor, seen.policy.state_dict()[name]), name


@pytest.mark.slow
def test_without_a_screen_the_frames_become_a_film(
    no_screen: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = LiveView(pictures=tmp_path, size=(640, 360), updates_per_second=40)
    assert view.film == tmp_path / "live.gif"
    model = make_model().learn(400, callback=view)
    view.close()
    assert model.num_timesteps >= 400
    with Image.open(tmp_path / "live.gif") as film:
        assert film.size == (640, 360)
        assert film.n_frames >= 2  # type: ignore[attr-defined]
    assert f"live view: saved {tmp_path / 'live.gif'}" in capsys.readouterr().out


@pytest.mark.slow
def test_the_film_is_an_mp4(no_screen: None, tmp_path: Path) -> None:
    pytest.importorskip("moviepy")
    path = tmp_path / "live.mp4"
    with LiveView(film=path, size=(480, 320), updates_per_second=40, verbose=0) as view:
        make_model().learn(200, callback=view)
    assert path.read_bytes()[4:8] == b"ftyp"


@pytest.mark.slow
def test_keys_pause_step_save_and_quit(screen: str, tmp_path: Path) -> None:
    """Paused, the training makes one update for each press of the right arrow."""
    view = LiveView(
        size=(640, 400), updates_per_second=20, pictures=tmp_path, verbose=0
    )
    model = make_model()
    counts: list[int] = []

    def settled() -> int:
        """Waits until the training stands still; returns the number of updates."""
        before = -1
        while before != model._n_updates:
            before = model._n_updates
            time.sleep(1.5)
        return before

    def drive() -> None:
        for keys in (["space"], ["Right", "Right", "Right"], ["Down", "Up", "t", "s"]):
            press(*keys)
            counts.append(settled())
        wait_for(tmp_path, "live-*.png")
        press("q")

    keyboard = threading.Thread(target=drive)
    model.learn(10**6, callback=[After(keyboard.start), view])
    keyboard.join()
    assert view.quit_requested
    assert counts[0] > 0
    assert [count - counts[0] for count in counts] == [0, 3, 3]
    pictures = list(tmp_path.glob("live-*.png"))
    assert len(pictures) == 1
    with Image.open(pictures[0]) as picture:
        assert picture.size == (640, 400)
    # The model goes on learning, and a new window opens.
    n_steps = model.num_timesteps
    model.learn(50, reset_num_timesteps=False)
    assert model.num_timesteps >= n_steps + 50
    view.close()


class ClientMessage(ctypes.Structure):
    """Xlib's XClientMessageEvent, padded to the size of an XEvent."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 12),
    )


def press_close_button() -> None:
    """Sends the message by which a window manager asks a window to close."""
    path = ctypes.util.find_library("X11")
    if path is None:
        pytest.skip("libX11 is not installed")
    x11 = ctypes.CDLL(path)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    protocols, delete = (
        x11.XInternAtom(display, name, 0)
        for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
    )
    found, client_message = int(window()), 33
    event = ClientMessage(client_message, 0, 1, display, found, protocols, 32)
    event.data[0] = delete
    x11.XSendEvent(display, ctypes.c_ulong(found), 0, 0, ctypes.byref(event))
    x11.XCloseDisplay(display)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["escape", "close button"])
def test_closing_the_window_stops_the_training_and_keeps_the_model(
    way: str, screen: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In mid-training: no traceback, and the model predicts."""
    close = press_close_button if way == "close button" else lambda: press("Escape")
    view = LiveView(size=(640, 400), verbose=0, pictures=tmp_path)
    model = make_model()
    model.learn(10**7, callback=[After(close), view])
    assert view.quit_requested
    assert 0 < model.num_timesteps < 10**7
    assert model.predict(np.zeros(1, np.float32))[0] in (0, 1, 2)
    view.close()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_window_is_resized_in_mid_training(
    screen: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    view = LiveView(size=(640, 400), verbose=0, pictures=tmp_path)

    def resize() -> None:
        found = window()
        for size in ("1280", "720"), ("200", "100"), ("900", "560"):
            xdotool("windowsize", "--sync", found, *size)
            time.sleep(0.5)
        press("s")
        wait_for(tmp_path, "live-*.png")
        press("q")

    make_model().learn(10**7, callback=[After(resize), view])
    view.close()
    (path,) = tmp_path.glob("live-*.png")
    with Image.open(path) as picture:
        assert picture.size == (900, 560)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_viewer_that_is_killed_leaves_the_training_alone(
    no_screen: None, tmp_path: Path
) -> None:
    view = LiveView(film=tmp_path / "live.gif", size=(480, 320), verbose=0)

    def kill() -> None:
        pid = view.viewer_pid
        assert pid is not None
        os.kill(pid, 9)
        tracemalloc.start()

    after = After(kill, 0.2)
    model = make_model().learn(20_000, callback=[after, view])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The episodes that can't be shown any more, some 6,000, are not kept.
    assert most < 2_000_000
    assert after.seconds == np.inf
    assert model.num_timesteps >= 20_000
    assert not view.quit_requested
    view.close()


@pytest.mark.slow
def test_sb3_and_vector_environments_are_shown(
    no_screen: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small = {"size": (480, 320), "verbose": 0}
    models = [
        A2C("MlpPolicy", "CartPole-v1", seed=0, device="cpu"),
        REINFORCE("MlpPolicy", gymnasium.make_vec("PGToy-Pixelcopter-v0", 2), seed=0),
    ]
    for i, model in enumerate(models):
        path = tmp_path / f"{i}.gif"
        with LiveView(film=path, **small) as view:  # type: ignore[arg-type]
            model.learn(200, callback=view)
        assert path.exists()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"theme": "blue"}, "theme must be one of 'light', 'dark', got 'blue'"),
        ({"fps": 31}, "fps must be at most 30, got 31"),
        ({"fps": 0}, "fps must be"),
        ({"size": (100, 100)}, "size must be"),
        ({"size": 5}, "size must be"),
        ({"film": "live.avi"}, "film must end in .gif, .mp4, .png, got live.avi"),
        ({"updates_per_second": 0}, "updates_per_second must be"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        LiveView(**arguments)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no folder"):
        LiveView(film=tmp_path / "none" / "live.gif")


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["dummy", "offscreen"])
def test_wait_closes_a_window_that_is_drawn_into_memory(
    no_screen: None, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    view = LiveView(verbose=0)
    make_model().learn(20, callback=view)
    viewer = view.viewer_pid
    assert view.is_open and view.film is None and viewer is not None
    waiting = threading.Thread(target=view.wait)
    waiting.start()
    waiting.join(120)
    has_ended = not waiting.is_alive()
    if not has_ended:
        # A wait without end fails the test, and does not hang it.
        os.kill(viewer, 9)
        waiting.join()
    assert has_ended and not view.is_open
