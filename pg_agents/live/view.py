"""`LiveView`, the callback that shows a training while it runs."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import cloudpickle  # type: ignore[import-untyped]
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)
from tqdm import tqdm

from pg_agents.common.checks import check_choice, check_integer, check_positive
from pg_agents.common.files import check_folder, check_writable
from pg_agents.live.episodes import EpisodeLog
from pg_agents.live.link import Link, Options
from pg_agents.live.messages import CountFrames, Parameters, Setup, State, Update
from pg_agents.live.player import make_env, make_policy
from pg_agents.live.screen import has_screen, notebook_display, shows_windows

FORMATS = (".gif", ".mp4", ".png")
SIZES = (480, 320), (3840, 2160)
MAX_FPS = 30
# By default on one or two cores: each frame takes time from the training.
_FPS_ON_FEW_CORES = 12
# Speeds that the keys step through, in updates per second; None for no limit.
SPEEDS: tuple[float | None, ...] = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, None)
# Share of the training's time for messages, and the same for copies of weights and
# gradients. What the viewer's own process takes comes on top where all cores are busy.
_MAX_SHARE = 0.003
_READY_SECONDS = 60.0
# The callback looks at clock and keys about so often, and at most so many steps apart.
_LOOK_SECONDS = 0.005
_MAX_STEPS_APART = 100
# Weights are sent at most so often.
_POLICY_SECONDS = 0.1


class LiveView(BaseCallback):
    """Shows a training in a window while it runs, or films it where there is no screen.

    The window shows an episode that the present policy plays, the probabilities of its
    actions, the returns with their running mean, and the rewards of the last episode;
    for a tabular environment also the policy in every state, and the exact gradient of
    the expected return beside that of the last update.

    A process of its own draws it, and plays the episode there: the training sends it
    returns and weights, and skips a message while the last one has not been read. Its
    results are the same with and without the view.

    Keys: space pauses the training and goes on; the right arrow makes one update; the
    down and up arrows limit the speed and lift the limit; S saves a picture; T changes
    between light and dark; Q, Escape or the close button stop the training, and
    `learn` returns the model.

    Works with the agents of this package and Stable-Baselines3's algorithms; policies
    without probabilities, such as DQN's, are shown by the episodes that they play.

    Example:
        >>> from pg_agents import REINFORCE, LiveView
        >>> model = REINFORCE("MlpPolicy", "pg_envs:PGToy-Sequence-v0", gamma=0.6)
        >>> model.learn(20_000, callback=LiveView())  # doctest: +SKIP

    Attributes:
        quit_requested: whether the user has asked to stop.
        stops_training: whether that ends `learn`; False leaves it to code that reads
            `quit_requested`.
        stop_asked: asked while the training is paused; it goes on once this is true.
        film: file of the film; None with a window.
    """

    only_watches = True
    reads_steps = True

    def __init__(
        self,
        *,
        film: str | Path | None = None,
        theme: str = "light",
        size: tuple[int, int] = (1280, 720),
        fps: int | None = None,
        updates_per_second: float | None = None,
        pictures: str | Path = ".",
        verbose: int = 1,
    ) -> None:
        """Initialises the callback; the window opens when training starts.

        Args:
            film: file to write the frames to instead of a window: .gif, .mp4 (needs the
                extra ``video``), or .png for the last frame alone. None for a window,
                or ``live.gif`` in the folder `pictures` where there is no screen.
            theme: "light" or "dark".
            size: width and height in pixels, from 480 x 320 to 3840 x 2160.
            fps: largest number of frames per second, from 1 to 30. None for 30, or 12
                on one or two cores, which the viewer shares with the training.
            updates_per_second: speed limit of the training at its start; None for none.
            pictures: existing folder for saved pictures.
            verbose: 1 or more prints where pictures and films are.

        Raises:
            ValueError: if an argument is out of range.
            OSError: if film or folder can't be written to.
        """
        super().__init__(verbose)
        check_choice("theme", theme, ("light", "dark"))
        if fps is None:
            fps = MAX_FPS if (os.cpu_count() or 1) > 2 else _FPS_ON_FEW_CORES
        fps = check_integer("fps", fps, 1)
        if fps > MAX_FPS:
            raise ValueError(f"fps must be at most {MAX_FPS}, got {fps}")
        _check_size(size)
        if updates_per_second is not None:
            check_positive("updates_per_second", updates_per_second)
        folder = Path(pictures)
        check_folder(folder)
        self.film = None if film is None else Path(film)
        if self.film is not None:
            if self.film.suffix not in FORMATS:
                raise ValueError(
                    f"film must end in {', '.join(FORMATS)}, got {self.film}"
                )
            check_writable(self.film)
        self._display: Any = None
        if self.film is None and not has_screen():
            self._display = notebook_display()
            if self._display is None:
                self.film = folder / "live.gif"
        self._options = Options(
            size=size,
            theme=theme,
            fps=fps,
            film=self.film,
            spare_film=folder / "live.gif",
            folder=folder,
            sends_pictures=self._display is not None,
        )
        self.quit_requested = False
        self.stops_training = True
        # The viewer's last answer to `count_frames`, and the number of answers.
        self._n_frames = self._n_answers = 0
        self.stop_asked: Callable[[], bool] | None = None
        self._link: Link | None = None
        self._shown: BaseAlgorithm | None = None
        self._is_ready = False
        self._speed = updates_per_second
        self._is_paused, self._n_steps_asked, self._is_stepping = False, 0, False
        self._begin()

    @property
    def is_open(self) -> bool:
        """Whether there is a window, or a film that has not been written."""
        return self._link is not None and self._link.is_alive

    @property
    def viewer_pid(self) -> int | None:
        """Id of the viewer's process; None while there is none."""
        return None if self._link is None else self._link.pid

    def __enter__(self) -> Self:
        """Returns the view."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the window, or writes the film."""
        self.close()

    def count_frames(self) -> int:
        """Asks the viewer how many frames it has drawn, for measurements.

        Raises:
            RuntimeError: if there is no viewer.
        """
        link = self._link
        if link is None or not link.is_alive:
            raise RuntimeError("there is no viewer to ask: learn with the view first")
        answers = self._n_answers
        link.send(CountFrames())
        while link.is_alive and self._n_answers == answers:
            self._obey(0.1)
        return self._n_frames

    def close(self) -> None:
        """Closes the window, or writes the film; `learn` opens a new one.

        It is called at the end of Python at the latest.
        """
        if self._link is None:
            return
        if self.film is not None and self.verbose >= 1:
            tqdm.write(f"live view: writing {self.film}")
        self._link.close()
        self._obey()
        self._link, self._is_ready = None, False

    def wait(self) -> None:
        """Waits until the user closes the window; without one it closes the view.

        A window that SDL draws into memory is none: no user can close it.
        """
        is_window = self.film is None and self._display is None and shows_windows()
        if self._link is not None and is_window:
            while self._link.is_alive:
                # Short waits, so that Ctrl-C is noticed on Windows, too.
                self._obey(0.2)
        self.close()

    def _begin(self) -> None:
        self._log = EpisodeLog()
        self._total_timesteps: int | None = None
        self._updates = 0
        self._is_learning = False
        # Weights before an update, which wait for its gradient; and both of them.
        self._weights: Parameters | None = None
        self._policy: tuple[Parameters | None, Parameters | None] = (None, None)
        self._due = self._policy_due = self._update_due = 0.0
        # Steps until the next look at clock and keys, and at the last one its time and
        # the steps until it.
        self._n_until_look = self._n_apart = 0
        self._looked = time.perf_counter()

    def _on_training_start(self) -> None:
        if self.model.num_timesteps == 0 or self._shown is not self.model:
            self._begin()
        self.quit_requested = False
        if self._link is not None and not self._link.is_alive:
            self._link.close()
            self._link, self._is_ready = None, False
        if self._link is None:
            self._link, self._shown = Link(self._options), None
        self._normalize = self.model.get_vec_normalize_env()
        self._log.start(self.model)
        self.reads_steps = not self._log.reads_rows
        # Recipes that end with an episode pass a number without meaning.
        total = self.model._total_timesteps
        self._total_timesteps = total if total < 10**12 else None
        if self._shown is not self.model or self.model.num_timesteps == 0:
            self._link.send(self._setup())
            self._shown = self.model
        self._say_state("running")
        self._policy = self._copied_weights(), None
        self._report()
        self._wait_for_viewer()

    def _on_rollout_start(self) -> None:
        # train() precedes, and has no hook of its own.
        if self._is_learning:
            self._updates += 1
            if self._weights is not None:
                self._after_update()
        self._is_learning, self._is_stepping = True, False
        self._log.start_rollout(self.num_timesteps)
        if self._speed is not None or self._is_paused:
            self._hold()
        now = time.perf_counter()
        # The last ones have been sent.
        is_wanted = self._weights is None and self._policy[0] is None
        if now >= self._policy_due and is_wanted:
            self._weights = self._copied_weights()
            cost = time.perf_counter() - now
            self._policy_due = now + max(_POLICY_SECONDS, cost / _MAX_SHARE)

    def _on_step(self) -> bool:
        # Steps can be short: most of them cost no more than this.
        if self.reads_steps:
            self._log.add_step(self.locals, self.num_timesteps)
        self._n_until_look -= 1
        if self._n_until_look <= 0:
            self._look()
        return not (self.quit_requested and self.stops_training)

    def _on_rollout_end(self) -> None:
        self._log.add_rows()

    def _on_training_end(self) -> None:
        if self._is_learning:
            self._updates += 1
            self._after_update()
        self._is_learning = False
        # Of a rollout that was stopped.
        self._log.add_rows()
        assert self._link is not None, "opened when training starts"
        if self._policy[1] is not None:
            # A gradient that waits for the viewer, and the weights before its update.
            self._link.send(self._update())
        self._policy = self._copied_weights(), None
        self._link.send(self._update())
        self._say_state("stopped" if self.quit_requested else "ended")

    def _look(self) -> None:
        """Looks at clock and keys, and sets after how many steps to look again."""
        now = time.perf_counter()
        wanted = _LOOK_SECONDS / max(now - self._looked, 1e-6) * self._n_apart
        # Steps that get slower are noticed late: the number grows slowly.
        steps = min(int(wanted), 2 * self._n_apart + 1, _MAX_STEPS_APART)
        self._n_until_look = self._n_apart = max(steps, 1)
        self._looked = now
        if now >= self._due:
            self._report()
        if self._is_paused and not self._is_stepping:
            self._hold()

    def _after_update(self) -> None:
        """Takes the gradient that the update has left, with the weights before it."""
        if self._weights is None:
            return
        began = time.perf_counter()
        gradients = {
            name: parameter.grad.detach().cpu().numpy().copy()
            for name, parameter in self.model.policy.named_parameters()
            if parameter.grad is not None
        }
        self._policy, self._weights = (self._weights, gradients), None
        self._policy_due += (time.perf_counter() - began) / _MAX_SHARE

    def _copied_weights(self) -> Parameters:
        return {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in self.model.policy.state_dict().items()
        }

    def _report(self) -> None:
        """Sends the news, unless the viewer has not read the last ones."""
        link, began = self._link, time.perf_counter()
        assert link is not None, "opened when training starts"
        self._obey()
        self._log.add_rows()
        if not link.is_alive:
            # Nothing will show them: they would be kept until the training ends.
            self._log.news()
        if not link.is_alive or link.is_busy:
            self._due = began + 0.5 / self._options.fps
            return
        link.send(self._update())
        cost = time.perf_counter() - began
        self._due = began + max(1 / self._options.fps, cost / _MAX_SHARE)

    def _update(self) -> Update:
        weights, gradients = self._policy
        observations = None
        normalize = self._normalize
        if normalize is not None and normalize.norm_obs:
            rms: Any = normalize.obs_rms
            if not isinstance(rms, dict):
                numbers = rms.mean.copy(), rms.var.copy()
                observations = *numbers, normalize.epsilon, normalize.clip_obs
        episodes = self._log.news()
        update = Update(
            timesteps=self.model.num_timesteps,
            updates=self._updates,
            total_timesteps=self._total_timesteps,
            returns=episodes.returns,
            return_timesteps=episodes.timesteps,
            rewards=episodes.rewards,
            running_rewards=episodes.running_rewards,
            parameters=weights,
            gradients=gradients,
            observations=observations,
        )
        self._policy = None, None
        return update

    def _hold(self) -> None:
        """Waits while the training is paused, or ahead of its speed limit."""
        link = self._link
        assert link is not None, "opened when training starts"
        if self._speed is None and not self._is_paused:
            return
        self._report_now()
        seconds = 0.0
        while link.is_alive:
            self._obey(min(seconds, 0.1))
            if self.quit_requested or (self.stop_asked and self.stop_asked()):
                break
            now = time.perf_counter()
            if self._is_paused:
                if self._n_steps_asked > 0:
                    # Until the next rollout begins.
                    self._n_steps_asked, self._is_stepping = (
                        self._n_steps_asked - 1,
                        True,
                    )
                    break
                seconds = 0.1
            else:
                seconds = self._update_due - now
                if self._speed is None or seconds <= 0:
                    break
        if self._speed is not None:
            start = max(self._update_due, time.perf_counter() - 0.1)
            self._update_due = start + 1 / self._speed

    def _report_now(self) -> None:
        """Sends the news before a wait, in which nothing else would."""
        if self._is_paused or (self._speed is not None and self._speed <= MAX_FPS):
            self._report()

    def _obey(self, seconds: float = 0.0) -> None:
        """Does what the keys in the window ask for; waits so long for one."""
        assert self._link is not None, "opened when training starts"
        before = self._is_paused, self._speed
        for command in self._link.commands(seconds):
            match command.name:
                case "ready":
                    self._is_ready = True
                case "pause":
                    self._is_paused, self._n_steps_asked = not self._is_paused, 0
                case "step":
                    self._is_paused = True
                    self._n_steps_asked += 1
                case "slower" | "faster":
                    self._speed = _next_speed(self._speed, command.name == "faster")
                case "quit":
                    self.quit_requested = True
                case "saved" if self.verbose >= 1:
                    tqdm.write(f"live view: saved {command.text}")
                case "failed":
                    warnings.warn(f"live view: {command.text}", stacklevel=2)
                case "filming":
                    self.film = Path(command.text)
                case "frames":
                    self._n_frames = int(command.text)
                    self._n_answers += 1
                case "picture" if self._display is not None:
                    self._display(command.picture)
        if before != (self._is_paused, self._speed):
            self._say_state("paused" if self._is_paused else "running")

    def _say_state(self, name: str) -> None:
        assert self._link is not None, "opened when training starts"
        self._link.send(State(name, self._speed))

    def _wait_for_viewer(self) -> None:
        """Waits until the window is open, which shows the training from its start."""
        link, end = self._link, time.monotonic() + _READY_SECONDS
        assert link is not None, "opened above"
        while not self._is_ready and link.is_alive and time.monotonic() < end:
            self._obey(0.1)
        if not link.is_alive:
            warnings.warn(
                "the live view could not be started: the training goes on without it",
                stacklevel=2,
            )

    def _setup(self) -> Setup:
        env = self.model.get_env()
        assert env is not None, "a model that learns has an environment"
        wrappers, problem = _wrappers(env)
        factory, name = None, ""
        if not problem:
            factory, name, problem = _env_factory(env)
        parameters = self.model.policy._get_constructor_parameters()
        policy = _pickled(partial(make_policy, type(self.model.policy), parameters))
        if policy is None:
            factory = None
            name_of_policy = type(self.model.policy).__name__
            problem = problem or f"no picture: a {name_of_policy} can't be copied"
        algorithm = type(self.model).__name__
        return Setup(
            title=f"{algorithm} on {name}" if name else algorithm,
            env=factory,
            no_env=problem,
            policy=policy,
            wrappers=wrappers,
            gamma=float(getattr(self.model, "gamma", 1.0)),
            n_timesteps=self.model.num_timesteps,
        )


def _next_speed(speed: float | None, is_faster: bool) -> float | None:
    """Returns the next entry of `SPEEDS`."""
    numbers = [s for s in SPEEDS if s is not None]
    if is_faster:
        larger = [s for s in numbers if speed is not None and s > speed]
        return larger[0] if larger else None
    smaller = [s for s in numbers if speed is None or s < speed]
    return smaller[-1] if smaller else numbers[0]


def _check_size(size: tuple[int, int]) -> None:
    (low_x, low_y), (high_x, high_y) = SIZES
    try:
        width, height = size
        is_right = low_x <= width <= high_x and low_y <= height <= high_y
    except (TypeError, ValueError):
        is_right = False
    if not is_right:
        raise ValueError(
            f"size must be (width, height) from {SIZES[0]} to {SIZES[1]}, got {size!r}"
        )


def _wrappers(env: VecEnv) -> tuple[tuple[str, ...], str]:
    """Returns what wrappers do to observations, and why they can't be repeated."""
    names: list[str] = []
    while isinstance(env, VecEnvWrapper):
        match env:
            case VecNormalize():
                rms: Any = env.obs_rms if env.norm_obs else None
                if isinstance(rms, dict):
                    return (), "observations that are dicts are not normalized here"
                if env.norm_obs:
                    names.insert(0, "normalize")
            case VecFrameStack():
                names.insert(0, f"stack:{env.stacked_obs.n_stack}")
            case VecTransposeImage():
                names.insert(0, "transpose")
            case VecMonitor() | VecCheckNan():
                pass
            case _:
                name = type(env).__name__
                return (), f"observations behind a {name} are not made again here"
        env = env.venv
    return tuple(names), ""


def _env_factory(env: VecEnv) -> tuple[bytes | None, str, str]:
    """Returns a pickled maker of the environment, its name, and what is wrong."""
    spec: Any = None
    try:
        spec = env.get_attr("spec")[0]
    except AttributeError:
        pass  # Vector environments need not have one.
    if spec is not None:
        return _pickled(partial(make_env, spec)), spec.id, ""
    if isinstance(env.unwrapped, DummyVecEnv):
        single = env.unwrapped.envs[0].unwrapped
        content = _pickled(partial(make_env, single))
        name = type(single).__name__
        problem = "" if content else f"no picture: {name} can't be copied"
        return content, name, problem
    return None, "", "no picture: the environment has no spec to make it again from"


def _pickled(function: Callable[[], Any]) -> bytes | None:
    try:
        content: bytes = cloudpickle.dumps(function)
    # Objects raise errors of their own when they are pickled.
    except Exception:
        return None
    return content
