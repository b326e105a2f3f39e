"""The constants, the terrain, and collisions of Pixelcopter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pg_envs.pixelcopter import game
from pg_envs.vector.backend import NumpyBackend
from tests.pg_envs.pixelcopter.reference import Thing


def test_flying_scores_0176_a_step() -> None:
    """The score measured of a planner in the original game, derived from the rules.

    In the 297 steps of a batch 48 columns leave. A block starts at x from 48 to 71 and
    is passed when steps of 0.64 have led it to 16.
    """
    assert game.schedule().n_leaving[520:817].sum() == 48.0
    lengths = []
    for start in range(game.BLOCK_X, game.BLOCK_X + game.BLOCK_RANGE):
        x, n = float(start), 0
        while x > game.PLAYER_X:
            x, n = x - game.SHIFT, n + 1
        lengths.append(n)
    rate = 48 / 297 + 1 / np.mean(lengths)
    assert rate == pytest.approx(0.176, abs=5e-4)
    # In 4,000 steps about 703: the first columns and the first block take longer.
    assert 4000 * rate == pytest.approx(703, abs=3)


def games(n: int) -> game.Games:
    """N games without a block near, at the middle of the screen."""
    made = game.Games(NumpyBackend(), n)
    made.block_x[:], made.passed_x[:] = 99.0, -99.0
    return made


@pytest.mark.parametrize("first", [18, 24, 29, 30])
@pytest.mark.parametrize("second", [18, 23, 25, 30])
def test_a_step_crashes_where_the_game_does(first: int, second: int) -> None:
    """At every float64 next to a limit, where the player is at two columns."""
    plan = game.schedule()
    clock = int(np.flatnonzero(plan.first_slot != plan.last_slot)[0])
    limits = (first - 9.6, second - 9.6, first + 12.0, second + 12.0, 6.0, 42.0)
    ys = [y for limit in limits for y in neighbours(limit)]
    made = games(len(ys))
    made.clock[:] = clock - 1
    made.centres[:, plan.first_slot[clock]] = first
    made.centres[:, plan.last_slot[clock]] = second
    # The momentum that leads there exactly.
    made.y[:] = ys
    made.momentum[:] = -game.FALL
    crashed = made.advance(np.ones(len(ys), np.int64)).terminated
    assert made.y.tolist() == ys
    for y, is_over in zip(ys, crashed.tolist(), strict=True):
        expected = y < 6.0 or y > 42.0
        for centre in (first, second):
            expected |= y - 48 * 0.05 <= centre - 12.0 or y >= centre + 12.0
        assert is_over == expected
    assert made.observations()[:, 2].tolist() == [y - (first - 12.0) for y in ys]
    assert made.observations()[:, 3].tolist() == [first + 12.0 - y for y in ys]


def neighbours(limit: float) -> list[float]:
    """Returns the 12 float64 around a limit."""
    y, found = limit - 5e-15, []
    for _ in range(12):
        found.append(y)
        y = math.nextafter(y, math.inf)
    return found


def test_a_block_is_hit_where_rectangles_overlap() -> None:
    """At whole pixels and at the float64 on either side of them."""
    steps = np.arange(-7.0, 8.0)
    xs, ys = (
        np.concatenate([whole, np.nextafter(whole, 0.0), np.nextafter(whole, 99.0)])
        for whole in (steps + 16.0, steps + 24.0)
    )
    for x in xs:
        made = games(len(ys))
        made.y[:] = ys
        hits = made.hits(np.full(len(ys), x), np.full(len(ys), 24.0)).tolist()
        block = Thing(float(x), 24, 4, 9)
        for y, is_hit in zip(ys, hits, strict=True):
            player = Thing(16, float(y), 2, 2)
            assert is_hit == bool(player.rect.colliderect(block.rect)), (x, y)


def test_bounds_hold_for_the_fastest_flight() -> None:
    """From the floor to the ceiling at full thrust, and back: the widest gap."""
    low, high = game.observation_bounds()
    for start, thrust, row in ((42.0, game.CLIMB, low), (6.0, game.FALL, high)):
        y, momentum = start, 0.0
        while 6.0 <= y <= 42.0:
            momentum = (momentum + thrust) * game.DAMPING
            y += momentum
        # The bounds are close, too.
        assert abs(row[1]) * 0.8 < abs(momentum) < abs(row[1])
        assert min(abs(y - 6.0), abs(y - 42.0)) < abs(row[1])
    assert low[4:].tolist() == [0.0, 12.0, 21.0]
    assert high[4:].tolist() == [55.0, 35.0, 44.0]
    assert np.isfinite([low, high]).all()
