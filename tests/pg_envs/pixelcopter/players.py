"""Players of Pixelcopter for tests: by a simple rule, and by looking ahead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pg_envs.pixelcopter import PixelcopterEnv, game


def careful(obs: Any) -> NDArray[np.int64]:
    """Aims at the middle of the gap, or past the next block on the wider side.

    Args:
        obs: observations `[N, 7]`, as an array or as lists.

    Returns:
        Actions `[N]`.
    """
    y, momentum, above, below, distance, block, _ = np.asarray(obs, np.float64).T
    ceiling, floor = y - above, y + below
    middle = (ceiling + floor) / 2
    over, under = (ceiling + block - 4) / 2 + 1, (floor + block + 5) / 2
    aim = np.where(distance < 26, np.where(block > middle, over, under), middle)
    # Predicted a few steps ahead, since the player falls slowly and climbs fast.
    return np.where(y + 6 * momentum > aim + 1, game.UP, game.NOOP)


class Planner:
    """Searches the flights of the next steps for one that touches nothing.

    It knows where columns and blocks will be. Of flights with nearly the same y and
    momentum at the same step, it continues one.

    Args:
        env: the game, which is not changed.
        n_ahead: steps of the search; columns are known 50 steps ahead.
        n_flown: steps flown before the next search.
    """

    def __init__(
        self, env: PixelcopterEnv, n_ahead: int = 44, n_flown: int = 6
    ) -> None:
        self.games = env._games
        self.n_ahead, self.n_flown = n_ahead, n_flown
        self.actions: list[int] = []

    def act(self) -> int:
        """Returns the next action."""
        if not self.actions:
            self.actions = self._plan()[: self.n_flown]
        return self.actions.pop(0)

    def _plan(self) -> list[int]:
        y, momentum = self.games.y.copy(), self.games.momentum.copy()
        clear, steps = np.full(1, np.inf), []
        for top, bottom, block in self._obstacles():
            parents = np.repeat(np.arange(len(y)), 2)
            actions = np.tile([game.UP, game.NOOP], len(y))
            thrusts = np.array([game.CLIMB, game.FALL])[actions]
            momentum = (momentum[parents] + thrusts) * game.DAMPING
            y = y[parents] + momentum
            room = np.minimum(y - top, bottom - y)
            if block is not None:
                room = np.minimum(room, np.maximum(block - 4 - y, y - block - 6))
            # The smallest clearance of the flight, up to 2 pixels.
            clear = np.minimum(clear[parents], np.minimum(room, 2.0))
            order = np.argsort(-clear, kind="stable")
            cell = np.round(y * 4) * 1_000 + np.round(momentum * 10)
            _, best = np.unique(cell[order], return_index=True)
            survivors = order[best]
            survivors = (
                survivors[clear[survivors] > 0]
                if (clear[survivors] > 0).any()
                else survivors[:1]
            )
            y, momentum, clear = y[survivors], momentum[survivors], clear[survivors]
            steps.append((parents[survivors], actions[survivors]))
        return _backtrace(steps, int(np.argmax(clear - 0.02 * np.abs(momentum))))

    def _obstacles(self) -> list[tuple[float, float, float | None]]:
        """Returns for each of the next steps ceiling, floor, and y of a block."""
        plan, clock = game.schedule(), int(self.games.clock[0])
        x = plan.x[clock]
        there = ~np.isnan(x)
        x, centres = x[there], self.games.centres[0][there]
        games = self.games
        block_x = np.array([games.block_x[0], games.passed_x[0]])
        block_y = np.array([games.block_y[0], games.passed_y[0]])
        found = []
        for n in range(1, self.n_ahead + 1):
            place = np.trunc(x - n * game.SHIFT)
            at = centres[(place >= 14) & (place <= 18)]
            near = np.abs(block_x - n * game.SHIFT - 16.5) < 2.6
            block = float(block_y[near][0]) if near.any() else None
            top = max(float(at.max()) - 12 + game.PLAYER_SIZE, game.LOWEST_Y)
            bottom = min(float(at.min()) + 12, game.HIGHEST_Y)
            found.append((top, bottom, block))
        return found


def _backtrace(steps: list[tuple[Any, Any]], last: int) -> list[int]:
    """Returns the actions that lead to a last candidate."""
    actions = []
    for parents, taken in reversed(steps):
        actions.append(int(taken[last]))
        last = parents[last]
    return actions[::-1]
