"""When a rollout is full, and whose steps belong to it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class Quota(Protocol):
    """What `collect_rollouts` asks.

    Attributes:
        recorded: `[N]` bool, whose next step belongs to the rollout; None: everybody's.
        filled: whether the rollout is full.
        stalled: whether nobody can go on until the environments are reset.
        idle_fraction: share of the environment steps so far that were not recorded.
    """

    @property
    def recorded(self) -> Mask | None: ...  # noqa: D102

    @property
    def filled(self) -> bool: ...  # noqa: D102

    @property
    def stalled(self) -> bool: ...  # noqa: D102

    @property
    def idle_fraction(self) -> float: ...  # noqa: D102

    def update(self, ended: Any, restarted: Any) -> None:  # noqa: ANN401
        """Takes note of a step."""

    def restart(self) -> None:
        """Takes note of a reset of all environments."""


class StepQuota:
    """A fixed number of steps of every environment.

    Args:
        n_steps: steps of each environment.
    """

    recorded = None
    stalled = False
    idle_fraction = 0.0

    def __init__(self, n_steps: int) -> None:
        self._n_left = n_steps

    @property
    def filled(self) -> bool:
        """Whether the rollout is full."""
        return self._n_left == 0

    def update(self, ended: object, restarted: object) -> None:
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
        self._live: Mask = np.ones(n_envs, dtype=np.bool_)
        self._all_live = True
        self._n_left = np.full(n_envs, n_episodes)
        self._n_steps = 0
        self._n_recorded = 0

    @property
    def recorded(self) -> Mask | None:
        """Whose next step belongs to the rollout, `[N]` bool; None: everybody's."""
        return None if self._all_live else self._live

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
        return not self._all_live and not self._live.any() and not self.filled

    @property
    def idle_fraction(self) -> float:
        """Share of the environment steps so far that were not recorded."""
        return 1.0 - self._n_recorded / self._n_steps if self._n_steps else 0.0

    def update(self, ended: Mask, restarted: Mask) -> None:
        """Takes note of a step.

        Args:
            ended: `[N]` bool, recorded episodes that ended, for whatever reason.
            restarted: `[N]` bool, environments that have begun another episode. One
                that was stopped at the cap has not.
        """
        live = self._live
        self._n_steps += live.size
        self._n_recorded += live.size if self._all_live else int(live.sum())
        if ended.any():
            self._n_left -= ended
            self._set(live & ~(ended & ~restarted) & (self._n_left > 0))

    def restart(self) -> None:
        """Takes note of a reset of all environments."""
        self._set(self._n_left > 0)

    def _set(self, live: Mask) -> None:
        self._live, self._all_live = live, bool(live.all())
