"""When a rollout is complete, and which steps it records."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class RolloutLimit(Protocol):
    """The amount of data of a rollout.

    Attributes:
        recorded: `[N]` bool, environments whose next step is recorded; None for all.
        reached: whether the rollout is complete.
        needs_reset: whether no environment can continue until all are reset.
    """

    recorded: Mask | None
    reached: bool
    needs_reset: bool

    @property
    def idle_fraction(self) -> float:
        """Share of the environment steps so far that were not recorded."""

    def update(self, ended: Any, restarted: Any) -> None:  # noqa: ANN401
        """Counts a step.

        Args:
            ended: `[N]` bool, recorded episodes that ended, for whatever reason.
            restarted: `[N]` bool, environments that have begun another episode. One
                that was truncated by the learner has not.
        """

    def reset(self) -> None:
        """Continues after a reset of all environments."""


class StepLimit:
    """A fixed number of steps of every environment.

    Args:
        n_steps: steps of each environment.
    """

    recorded: Mask | None = None
    needs_reset = False
    idle_fraction = 0.0

    def __init__(self, n_steps: int) -> None:
        self._n_left = n_steps
        self.reached = False

    def update(self, ended: object, restarted: object) -> None:
        """Counts a step."""
        self._n_left -= 1
        self.reached = self._n_left == 0

    def reset(self) -> None:
        """Does nothing: steps after a reset count as well."""


class EpisodeLimit:
    """The same number of whole episodes of every environment.

    Taking the first episodes to finish, from any environment, would over-sample short
    episodes. An environment with all its episodes idles until the others have theirs.

    Args:
        n_envs: number of environments, N.
        n_episodes: episodes of each.
    """

    def __init__(self, n_envs: int, n_episodes: int) -> None:
        self.recorded: Mask | None = None
        self.reached = self.needs_reset = False
        self._active: Mask = np.ones(n_envs, dtype=np.bool_)
        self._n_left = np.full(n_envs, n_episodes)
        self._n_steps = 0
        self._n_recorded = 0

    @property
    def idle_fraction(self) -> float:
        """Share of the environment steps so far that were not recorded."""
        return 1.0 - self._n_recorded / self._n_steps if self._n_steps else 0.0

    def update(self, ended: Mask, restarted: Mask) -> None:
        """Counts a step, see `RolloutLimit`."""
        active = self._active
        self._n_steps += active.size
        self._n_recorded += int(np.count_nonzero(active))
        if np.count_nonzero(ended):
            self._n_left -= ended
            active = active & ~(ended & ~restarted) & (self._n_left > 0)
            self._active = active
            self.recorded = None if active.all() else active
            self.reached = not self._n_left.any()
            # An SB3 vector environment can't restart a single environment: one that was
            # truncated by the learner waits until all others have finished.
            self.needs_reset = not active.any() and not self.reached

    def reset(self) -> None:
        """Continues after a reset of all environments."""
        self._active = self._n_left > 0
        self.recorded = None if self._active.all() else self._active
        self.needs_reset = False
