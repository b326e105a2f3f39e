"""The viewer's process: draws the training in a window, or films it."""

from __future__ import annotations

import io
import os
import queue
import signal
import socket
import sys
import threading
import time
import zlib
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pg_agents.common.files import write_file
from pg_agents.live.dashboard import (
    MIN_HEIGHT,
    MIN_WIDTH,
    Dashboard,
    Playing,
    dashboard_scene,
)
from pg_agents.live.link import Options
from pg_agents.live.messages import (
    Close,
    Command,
    CountFrames,
    Setup,
    State,
    Update,
)
from pg_envs.rendering.canvas import Canvas
from pg_envs.rendering.scene import Scene, WindowClosed

if TYPE_CHECKING:
    from pg_agents.live.player import Player

# Share of a core that drawing may take, and the fewest frames a second.
_MAX_SHARE = 0.5
_MIN_FPS = 10
# With twice the resolution the edges are smooth enough, in half the time.
_OVERSAMPLING = 2
_NOTE_SECONDS = 3.0
# A film keeps at most so many frames: at the limit every second one is left out, and
# the next ones are taken half as often.
_MAX_FRAMES = 300
_FILM_FPS = 10.0
_NOTEBOOK_FPS = 4.0
# Weight of the newest return in the running mean, as in `RunningReward`.
_FACTOR = 0.05
# Keys and what they ask of the training.
_COMMANDS = {
    "space": "pause",
    "right": "step",
    ".": "step",
    "down": "slower",
    "-": "slower",
    "up": "faster",
    "+": "faster",
    "=": "faster",
}


class Viewer:
    """Everything that is known of the training, and how it is shown.

    Args:
        options: of the view.

    Attributes:
        has_keys: whether there is a window, whose keys the picture explains.
    """

    def __init__(self, options: Options) -> None:
        self.has_keys = options.film is None and not options.sends_pictures
        self.options, self.theme = options, options.theme
        self.setup: Setup | None = None
        self.player: Player | None = None
        self.state = State("starting")
        self._clear()
        self._note, self._note_until = "", 0.0
        self._play_due = 0.0
        self._is_stepping = False

    def _clear(self) -> None:
        self.timesteps = self.updates = 0
        self.total_timesteps: int | None = None
        self._returns = np.empty(0)
        self._return_timesteps = np.empty(0, np.int64)
        self._running_mean = np.empty(0)
        self._rewards: NDArray[np.float64] | None = None
        self._running_rewards: NDArray[np.float64] | None = None
        self._best: float | None = None
        self._threshold: float | None = None
        # Times and steps of the last second, for the speed.
        self._times: list[tuple[float, int]] = []

    def take(self, message: object) -> None:
        """Takes a message of the training."""
        match message:
            case Setup():
                if message.n_timesteps == 0:
                    self._clear()
                self.setup = message
                self.player = None
            case Update():
                self._take_update(message)
            case State():
                self._is_stepping = message.name == "paused"
                self.state = message

    def prepare(self) -> None:
        """Loads what the picture of the environment needs, which takes seconds."""
        if self.setup is not None and self.player is None:
            self.player = _make_player(self.setup)
            self._best, self._threshold = self.player.best(), self.player.threshold()

    def note(self, text: str) -> None:
        """Shows a message for three seconds."""
        self._note, self._note_until = text, time.monotonic() + _NOTE_SECONDS

    def play(self, now: float, at_once: bool = False) -> None:
        """Plays the steps that are due.

        Args:
            now: a time in seconds.
            at_once: whether a step is due whatever the time, as in a film.
        """
        player = self.player
        if player is None:
            return
        # A training that is paused at once still shows where an episode starts.
        if self.state.name == "paused" and player.n_episodes > 0:
            return
        if at_once:
            player.step()
            return
        # After a pause of the process, it does not catch up.
        self._play_due = max(self._play_due, now - 0.1)
        while self._play_due <= now:
            self._play_due += player.step()

    def step(self) -> None:
        """Plays a step while paused."""
        if self.player is not None and self.state.name == "paused":
            self.player.step()

    def scene(self, width: int, height: int) -> Scene:
        """Returns the present picture."""
        return dashboard_scene(self.dashboard(), width, height, self.theme)

    def dashboard(self) -> Dashboard:
        """Returns what is to be shown."""
        setup, player = self.setup, self.player
        playing = Playing(None, "loading torch and the environment")
        tables = None
        if player is not None:
            playing, tables = player.playing(), player.tables()
        state = self.state.name
        if state == "running" and self.state.updates_per_second is not None:
            state = f"running, {self.state.updates_per_second:g} updates/s"
        return Dashboard(
            title=setup.title if setup is not None else "",
            state=state,
            timesteps=self.timesteps,
            total_timesteps=self.total_timesteps,
            updates=self.updates,
            steps_per_second=self._speed(),
            returns=self._returns,
            return_timesteps=self._return_timesteps,
            running_mean=self._running_mean,
            best=self._best,
            threshold=self._threshold,
            rewards=self._rewards,
            running_rewards=self._running_rewards,
            playing=playing,
            tables=tables,
            note=self._note if time.monotonic() < self._note_until else "",
            has_keys=self.has_keys,
        )

    def _take_update(self, update: Update) -> None:
        self.timesteps, self.updates = update.timesteps, update.updates
        self.total_timesteps = update.total_timesteps
        if len(update.returns):
            mean = running_mean(update.returns, self._running_mean, len(self._returns))
            self._running_mean = np.concatenate([self._running_mean, mean])
            self._returns = np.concatenate([self._returns, update.returns])
            self._return_timesteps = np.concatenate(
                [self._return_timesteps, update.return_timesteps]
            )
        if update.rewards is not None:
            self._rewards = update.rewards
        self._running_rewards = update.running_rewards
        now = time.monotonic()
        self._times = [(t, n) for t, n in self._times if t > now - 1.0]
        self._times.append((now, update.timesteps))
        if self.player is not None:
            self.player.take(update)

    def _speed(self) -> float:
        if self.state.name != "running" or len(self._times) < 2:
            return float("nan")
        (t0, n0), (t1, n1) = self._times[0], self._times[-1]
        return (n1 - n0) / (t1 - t0) if t1 - t0 > 0.2 else float("nan")


def running_mean(
    returns: NDArray[np.float64], before: NDArray[np.float64], n_before: int
) -> NDArray[np.float64]:
    """Returns the running mean after each return, as `RunningReward` computes it.

    Args:
        returns: the new returns, `[E]`.
        before: running means of the earlier ones, of which the last one is read.
        n_before: number of earlier returns.
    """
    value = float(before[-1]) if len(before) else 0.0
    means = np.empty(len(returns))
    for i, episode_return in enumerate(returns.tolist()):
        weight = _FACTOR / (1.0 - (1.0 - _FACTOR) ** (n_before + i + 1))
        value += weight * (episode_return - value)
        means[i] = value
    return means


def _make_player(setup: Setup) -> Player:
    """Makes environment and policy; one that can't be made has a message instead."""
    # Loads torch.
    import pickle

    import torch

    from pg_agents.live.player import Player

    torch.set_num_threads(1)
    env: Any = None
    policy: Any = None
    message = setup.no_env
    # Errors of the code of users and other libraries, which are shown in the window.
    try:
        policy = pickle.loads(setup.policy)() if setup.policy else None
        if policy is not None and setup.env is not None:
            env = pickle.loads(setup.env)()
    except Exception as error:
        message = f"no picture: {type(error).__name__}: {error}"
    return Player(env, policy, setup, message)


class Film:
    """Frames of a training, evenly spaced in time whatever its length.

    Args:
        path: of the film, .gif or .mp4; .png keeps the last frame alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.interval = 1.0 / _FILM_FPS
        self._frames: list[tuple[bytes, tuple[int, ...]]] = []
        self._due = 0.0

    def is_due(self, now: float) -> bool:
        """Whether it is time for a frame."""
        return now >= self._due

    def add(self, frame: NDArray[np.uint8], now: float) -> None:
        """Adds a frame, `[H, W, 3]` uint8."""
        self._due = max(self._due + self.interval, now)
        if self.path.suffix == ".png":
            self._frames.clear()
        if len(self._frames) >= _MAX_FRAMES:
            del self._frames[1::2]
            self.interval *= 2
        self._frames.append((zlib.compress(frame.tobytes(), 1), frame.shape))

    def write(self) -> None:
        """Writes the film; nothing if there is no frame."""
        from pg_agents.analysis.plots import save_gif, save_mp4

        frames = [
            np.frombuffer(zlib.decompress(content), np.uint8).reshape(shape)
            for content, shape in self._frames
        ]
        if not frames:
            return
        if self.path.suffix == ".png":
            write_file(self.path, _png(frames[-1]))
            return
        save = save_gif if self.path.suffix == ".gif" else save_mp4
        save(frames, self.path, _FILM_FPS)


class _Process:
    """The loop of the viewer's process.

    Args:
        connection: to the training, which sends the options first.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        options = self._options = connection.recv()
        # It reads while a frame is drawn, so that the training need not wait.
        threading.Thread(target=self._read, daemon=True).start()
        self._viewer = Viewer(options)
        # Without a pace of its own: `_rest` waits.
        self._canvas = Canvas("pgtoy", 0, is_resizable=True, oversampling=_OVERSAMPLING)
        self._film: Film | None = None
        if options.film is not None:
            self._film = Film(options.film)
        self._is_windowless = not self._viewer.has_keys
        if self._is_windowless:
            # Of the environments: pygame's and MuJoCo's would look for a screen.
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
            if sys.platform == "linux":
                os.environ.setdefault("MUJOCO_GL", "egl")
        self._drawn: Scene | None = None
        self._pictures = self._n_frames = 0
        self._is_closing = False

    def run(self) -> None:
        """Draws until the training or the user ends it."""
        try:
            self._take_messages()
            self._show()
            while not self._is_closing:
                began = time.monotonic()
                self._take_messages()
                if self._viewer.setup is not None and self._viewer.player is None:
                    self._show()
                    self._viewer.prepare()
                    self._say(Command("ready"))
                self._show()
                self._rest(began)
        except WindowClosed:
            self._say(Command("quit"))
        if self._film is not None:
            try:
                if self._is_windowless and self._viewer.player is not None:
                    self._add_frame(self._film, time.monotonic())
                self._film.write()
                self._say(Command("saved", str(self._film.path)))
            except (OSError, ValueError, ImportError) as error:
                self._say(Command("failed", f"no film: {error}"))
        self._canvas.close()

    def _read(self) -> None:
        # At its end the training's process has gone.
        with suppress(EOFError, OSError):
            while True:
                self._messages.put(self._connection.recv())
        self._messages.put(Close())

    def _take_messages(self) -> None:
        with suppress(queue.Empty):
            while True:
                message = self._messages.get_nowait()
                if isinstance(message, Close):
                    self._is_closing = True
                    return
                if isinstance(message, CountFrames):
                    self._say(Command("frames", str(self._n_frames)))
                    continue
                self._viewer.take(message)
                if isinstance(message, Update):
                    # The training sends the next one after it.
                    self._say(Command("read"))

    def _show(self) -> None:
        now = time.monotonic()
        viewer = self._viewer
        if self._is_windowless:
            self._record(now)
            return
        viewer.play(now)
        width, height = self._canvas.window_size() or self._options.size
        scene = viewer.scene(max(width, MIN_WIDTH), max(height, MIN_HEIGHT))
        try:
            self._canvas.show(scene)
        except RuntimeError as error:
            self._film_instead(error)
            return
        self._drawn, self._n_frames = scene, self._n_frames + 1
        for key in self._canvas.pressed_keys():
            self._press(key)

    def _film_instead(self, error: RuntimeError) -> None:
        """Goes on without a window, where the screen turns out to be none."""
        path = self._options.spare_film
        self._film, self._is_windowless = Film(path), True
        self._viewer.has_keys = False
        self._say(Command("failed", f"{error} The frames go to {path}."))
        self._say(Command("filming", str(path)))

    def _record(self, now: float) -> None:
        film, viewer = self._film, self._viewer
        if film is None:
            viewer.play(now)
            png = _png(self._canvas.rgb_array(viewer.scene(*self._options.size)))
            self._say(Command("picture", picture=png))
            return
        if viewer.player is None or not film.is_due(now):
            return
        viewer.play(now, at_once=True)
        self._add_frame(film, now)

    def _add_frame(self, film: Film, now: float) -> None:
        self._n_frames += 1
        scene = self._viewer.scene(*self._options.size)
        film.add(self._canvas.rgb_array(scene), now)

    def _press(self, key: str) -> None:
        if key in _COMMANDS:
            if _COMMANDS[key] == "step":
                self._viewer.step()
            self._say(Command(_COMMANDS[key]))
        elif key == "s":
            self._save_picture()
        elif key == "t":
            self._viewer.theme = "dark" if self._viewer.theme == "light" else "light"

    def _save_picture(self) -> None:
        self._pictures += 1
        steps = self._viewer.timesteps
        name = f"live-{steps:07}-{self._pictures}.png"
        path = self._options.folder / name
        assert self._drawn is not None, "keys arrive with a frame"
        try:
            path.write_bytes(_png(self._canvas.rgb_array(self._drawn)))
        except OSError as error:
            self._viewer.note(f"not saved: {error}")
            return
        self._viewer.note(f"saved {path}")
        self._say(Command("saved", str(path)))

    def _rest(self, began: float) -> None:
        """Leaves the processor to the training for a while."""
        spent = time.monotonic() - began
        if self._film is not None:
            interval = self._film.interval
        elif self._is_windowless:
            interval = 1.0 / _NOTEBOOK_FPS
        else:
            interval = 1.0 / self._options.fps
        slower = min(spent / _MAX_SHARE, 1.0 / _MIN_FPS)
        time.sleep(max(interval, slower, spent) - spent)

    def _say(self, command: Command) -> None:
        # The training may have gone.
        with suppress(OSError):
            self._connection.send(command)


def _png(frame: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def main() -> None:
    """Runs the viewer until the training or the user ends it.

    Port and token of the training's socket come from the standard input.
    """
    # The training handles Ctrl-C, which a terminal sends to both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(AttributeError, OSError):
        # Where all cores are busy, it takes 3 % of the training's time on one of them.
        os.nice(15)
    port, token = sys.stdin.readline().split()
    found = socket.create_connection(("127.0.0.1", int(port)))
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = Connection(found.detach())
    connection.send_bytes(token.encode())
    # The end of the process closes it: the thread that reads may still wait on it.
    _Process(connection).run()
