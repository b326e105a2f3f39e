"""Ctrl-C that ends training cleanly and keeps the model."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

_Handler = Callable[[int, FrameType | None], Any] | int


class StopOnInterrupt(BaseCallback):
    """Makes the first Ctrl-C end ``learn`` after the current step.

    ``learn`` then returns as usual, with the model as its last update left it; the
    steps of an unfinished rollout are not learnt from. A second Ctrl-C raises
    KeyboardInterrupt at once. When training ends, the handler that was there before
    is put back. Outside the main thread, where Python allows no signal handlers, the
    callback does nothing.

    When ``learn`` raises, SB3 calls no hook that could put the old handler back. The
    next Ctrl-C then finds no ``learn`` running, puts it back and obeys it.

    On a terminal, Ctrl-C reaches the worker processes of a SubprocVecEnv too, which
    end themselves: use a DummyVecEnv where training shall end cleanly.

    Attributes:
        interrupted: Whether the last training was interrupted.
    """

    def __init__(self, verbose: int = 1) -> None:
        """Prepare; the handler is set when training starts.

        Args:
            verbose: At 1 or more, says that training was interrupted.
        """
        super().__init__(verbose)
        self.interrupted = False
        self._previous: _Handler | None = None

    def _on_training_start(self) -> None:
        self._restore()
        self.interrupted = False
        if threading.current_thread() is threading.main_thread():
            # None stands for a handler that was not set from Python, which cannot be
            # put back; Python's own comes closest.
            previous = signal.getsignal(signal.SIGINT)
            self._previous = previous or signal.default_int_handler
            signal.signal(signal.SIGINT, self._handle)

    def _on_step(self) -> bool:
        if self.interrupted and self.verbose >= 1:
            # Here and not in the handler, which may run in the middle of a print.
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
        """Whether the model's ``learn`` is among the calls that lead to ``frame``."""
        while frame is not None:
            if frame.f_code.co_name == "learn":
                if frame.f_locals.get("self") is self.model:
                    return True
            frame = frame.f_back
        return False

    def _restore(self) -> None:
        """Put the previous handler back, unless somebody has replaced ours since."""
        if self._previous is None:
            return
        if signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, self._previous)
        self._previous = None
