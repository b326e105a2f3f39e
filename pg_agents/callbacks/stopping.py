"""Callbacks that end training: on Ctrl-C, or when the environment is solved."""

import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.callbacks.episodes import (
    RunningReward,
    finished_episodes,
    step_variable,
)
from pg_agents.common.checks import check_count, check_number
from pg_agents.common.progress import tqdm

_Handler = Callable[[int, FrameType | None], Any] | int

# StopWhenSolved raises an error after this many episodes per environment without a
# reported return. More than one: wrappers may end an episode early (a lost life).
_MAX_EPISODES_WITHOUT_RETURN = 20
# Monitor sums float32 rewards and rounds to six digits.
_TOLERANCE = 1e-6


class StopOnInterrupt(BaseCallback):
    """Ends ``learn`` after the current step on the first Ctrl-C.

    ``learn`` returns the model of the last update; the steps of an unfinished rollout
    are discarded. A second Ctrl-C raises KeyboardInterrupt. The previous signal handler
    is restored when training ends. Outside the main thread, where Python does not allow
    signal handlers, the callback has no effect.

    If ``learn`` raises, SB3 does not call callbacks at the end of training. The next
    Ctrl-C then restores the previous handler and calls it.

    On a terminal, Ctrl-C also reaches the worker processes of a SubprocVecEnv, which
    terminate: use a DummyVecEnv to end training cleanly.

    Attributes:
        interrupted: whether the last training was interrupted.
    """

    only_watches = True

    def __init__(self, verbose: int = 1) -> None:
        """Initialises the callback.

        Args:
            verbose: 1 or more prints a message on Ctrl-C.
        """
        super().__init__(verbose)
        self.interrupted = False
        self._previous: _Handler | None = None

    def _on_training_start(self) -> None:
        self._restore()
        self.interrupted = False
        if threading.current_thread() is threading.main_thread():
            # None: a handler that was not set from Python cannot be restored.
            previous = signal.getsignal(signal.SIGINT)
            self._previous = previous or signal.default_int_handler
            signal.signal(signal.SIGINT, self._handle)

    def _on_step(self) -> bool:
        if self.interrupted and self.verbose >= 1:
            # Not in the handler, which may run in the middle of another print.
            tqdm.write(f"Interrupted: training ends after {self.num_timesteps} steps.")
        return not self.interrupted

    def _on_training_end(self) -> None:
        self._restore()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._is_learning(frame):
            self._restore()
            signal.raise_signal(signum)
        elif self.interrupted:
            self._restore()
            raise KeyboardInterrupt
        else:
            self.interrupted = True

    def _is_learning(self, frame: FrameType | None) -> bool:
        """Whether the model's ``learn`` is on the call stack of ``frame``."""
        while frame is not None:
            if frame.f_code.co_name == "learn":
                if frame.f_locals.get("self") is self.model:
                    return True
            frame = frame.f_back
        return False

    def _restore(self) -> None:
        """Restores the previous handler, unless this one has been replaced."""
        if self._previous is None:
            return
        if signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._previous)
        self._previous = None


class StopWhenSolved(BaseCallback):
    """Ends training when the running reward reaches ``reward_threshold``.

    The running reward is the `RunningReward` of the episode returns reported by Monitor
    or VecMonitor. ``learn(..., reset_num_timesteps=False)`` continues it; another
    ``learn`` resets it.

    Attributes:
        solved: whether the threshold was reached.
    """

    only_watches = True

    def __init__(
        self,
        reward_threshold: float | None = None,
        min_episodes: int = 20,
        factor: float = 0.05,
        verbose: int = 1,
    ) -> None:
        """Initialises the callback.

        Args:
            reward_threshold: running reward to reach; None for
                ``spec.reward_threshold`` of the training environment.
            min_episodes: minimum number of episodes before stopping, at least 1.
            factor: weight of the newest return in the running reward, in (0, 1].
            verbose: 1 or more prints a message when the environment is solved.

        Raises:
            ValueError: if ``factor`` or ``min_episodes`` is out of range, or
                ``reward_threshold`` is not a number. At the start of training, if there
                is no threshold. During training, if no returns are reported because the
                environment has no Monitor.
        """
        super().__init__(verbose)
        check_count("min_episodes", min_episodes)
        if reward_threshold is not None:
            check_number("reward_threshold", reward_threshold)
        self.reward_threshold = reward_threshold
        self.min_episodes = min_episodes
        self.solved = False
        self._average = RunningReward(factor)
        self._threshold = float("nan")
        self._n_episodes_without_return = 0

    @property
    def running_reward(self) -> float:
        """The running reward; NaN before the first episode."""
        return self._average.value

    @property
    def n_episodes(self) -> int:
        """Number of episodes in the running reward."""
        return self._average.n_episodes

    def add_returns(self, returns: Iterable[float]) -> None:
        """Adds the episodes of an earlier process, to resume its run.

        Args:
            returns: undiscounted returns, in the order in which the episodes ended.
        """
        for episode_return in returns:
            self._average.update(episode_return)

    def _on_training_start(self) -> None:
        if self.model.num_timesteps == 0:
            self._average = RunningReward(self._average.factor)
            self._n_episodes_without_return = 0
        self.solved = False
        self._threshold = self._find_threshold()

    def _find_threshold(self) -> float:
        if self.reward_threshold is not None:
            return self.reward_threshold
        try:
            spec = self.training_env.get_attr("spec")[0]
        except AttributeError:  # vector environments need not have a spec
            spec = None
        threshold = getattr(spec, "reward_threshold", None)
        if threshold is None:
            name = getattr(spec, "id", None) or "the training environment"
            raise ValueError(
                f"{name} has no reward_threshold in its spec; pass one as "
                "StopWhenSolved(reward_threshold=...) or "
                "gymnasium.register(..., reward_threshold=...)"
            )
        return float(threshold)

    def _on_step(self) -> bool:
        episodes = finished_episodes(self.locals)
        if self.n_episodes == 0 and not episodes:
            self._check_that_returns_are_reported()
        for episode in episodes:
            self._average.update(episode.episode_return)
            if self._is_solved():
                self.solved = True
                if self.verbose >= 1:
                    # tqdm.write does not break a progress bar.
                    tqdm.write(
                        f"Solved after {self.n_episodes} episodes "
                        f"({self.num_timesteps} steps): running reward "
                        f"{self.running_reward:.4g} >= {self._threshold:.4g}."
                    )
                return False
        return True

    def _is_solved(self) -> bool:
        tolerance = _TOLERANCE * max(1.0, abs(self._threshold))
        reached = self.running_reward >= self._threshold - tolerance
        return reached and self.n_episodes >= self.min_episodes

    def _check_that_returns_are_reported(self) -> None:
        self._n_episodes_without_return += int(sum(step_variable(self, "dones")))
        allowed = _MAX_EPISODES_WITHOUT_RETURN * self.training_env.num_envs
        if self._n_episodes_without_return >= allowed:
            raise ValueError(
                f"{self._n_episodes_without_return} episodes ended without a return in "
                "info['episode']; wrap the environment in SB3's Monitor, or the vector "
                "environment in VecMonitor"
            )
