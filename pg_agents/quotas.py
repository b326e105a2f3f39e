"""When a rollout is full, and whose steps belong to it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class Quota(Protocol):
    """What `collect_rollouts` asks.

    Attributes:
        recorded: `[N]` bool, whose next step belongs to the rollout.
        filled: whether the rollout is full.
        stalled: whether nobody can go on until the environments are reset.
        idle_fraction: share of the environment steps so far that were not recorded.
    """

    recorded: Mask

    @property
    def filled(self) -> bool: ...  # noqa: D102

    @property
    def stalled(self) -> bool: ...  # noqa: D102

    @property
    def idle_fraction(self) -> float: ...  # noqa: D102

    def update(self, ended: Mask, capped: Mask) -> None:
        """Takes note of a step."""

    def restart(self) -> None:
        """Takes note of a reset of all environments."""


class StepQuota:
    """A fixed number of steps of every environment.

    Args:
        n_envs: number of environments, N.
        n_steps: steps of each.
    """

    stalled = False
    idle_fraction = 0.0

    def __init__(self, n_envs: int, n_steps: int) -> None:
        self.recorded: Mask = np.ones(n_envs, dtype=np.bool_)
        self._n_left = n_steps

    @property
    def filled(self) -> bool:
        """Whether the rollout is full."""
        return self._n_left == 0

    def update(self, ended: Mask, capped: Mask) -> None:
        """Takes note of a step."""
        self._n_left -= 1

    def restart(self) -> None:
        """Takes note of a reset of all environments."""


class EpisodeQuota:
    """The same number of whole episodes of every environment.

    Taking the first episodes that finish, from whichever environment, would prefer
    short ones. An environment that has its number idles until the others have theirs.

    Args:
        n_envs: number of environments, N.
        n_episodes: episodes of each.
    """

    def __init__(self, n_envs: int, n_episodes: int) -> None:
        self.recorded: Mask = np.ones(n_envs, dtype=np.bool_)
        self._n_left = np.full(n_envs, n_episodes)
        self._n_steps = 0
        self._n_recorded = 0

    @property
    def filled(self) -> bool:
        """Whether every environment has its number of episodes."""
        return not self._n_left.any()

    @property
    def stalled(self) -> bool:
        """Whether all that still have episodes to do were stopped at the cap.

        An SB3 vector environment can't restart one environment alone: one that was
        stopped in mid-episode waits until nobody else is under way.
        """
        return not self.filled and not self.recorded.any()

    @property
    def idle_fraction(self) -> float:
        """Share of the environment steps so far that were not recorded."""
        return 1.0 - self._n_recorded / self._n_steps if self._n_steps else 0.0

    def update(self, ended: Mask, capped: Mask) -> None:
        """Takes note of a step.

        Args:
            ended: `[N]` bool, recorded episodes that ended, for whatever reason.
            capped: `[N]` bool, those among them that the environment goes on with.
        """
        self._n_steps += self.recorded.size
        self._n_recorded += int(self.recorded.sum())
        self._n_left -= ended
        self.recorded = self.recorded & ~capped & (self._n_left > 0)

    def restart(self) -> None:
        """Takes note of a reset of all environments."""
        self.recorded = self._n_left > 0
