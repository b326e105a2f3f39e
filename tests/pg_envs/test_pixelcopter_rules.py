"""Where the columns are, what they leave free, and what the score of a flight is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pg_envs import pixelcopter_rules as rules


def test_the_numbers_of_the_game() -> None:
    """As in the facts, with the roundings of PLE's float64."""
    assert rules.SHIFT == 0.0004 * 48 * (1000.0 / 30)
    assert pytest.approx(0.64, rel=1e-15) == rules.SHIFT
    assert rules.CLIMB == 0.0004 * 48 * -0.875 * (1000.0 / 30)
    assert rules.FALL == 0.0004 * 48 * 0.09 * (1000.0 / 30)
    assert (rules.PLAYER_X, rules.START_Y) == (16, 24.0)
    assert (rules.COLUMN_WIDTH, rules.BLOCK_WIDTH, rules.BLOCK_HEIGHT) == (4, 4, 9)
    assert (rules.LOWEST_Y, rules.HIGHEST_Y) == (6.0, 42.0)
    assert (rules.BATCH, rules.SLOTS) == (48, 61)


def test_batches_come_when_thirteen_columns_are_left() -> None:
    plan = rules.schedule()
    assert np.flatnonzero(plan.fresh).tolist() == [0, 222, 519, 816]
    assert plan.canonical[-1] == 519
    assert plan.start[[0, 222, 519, 816]].tolist() == [0.0, 48.0, 48.0, 48.0]
    # After 222 steps of 0.64 pixels columns 142, 146, ..., 190 are left.
    kept = 142.0 + 4 * np.arange(13) - 222 * 0.64
    np.testing.assert_allclose(plan.x[222, :13], kept, atol=1e-9)
    assert plan.x[222, 13:].tolist() == (50.0 + 4 * np.arange(48)).tolist()
    # From the last column to the next batch: an overlap of about two pixels.
    assert plan.x[222, 13] - plan.x[222, 12] == pytest.approx(2.08, abs=1e-9)
    assert plan.x[519, 13] - plan.x[519, 12] == pytest.approx(2.08, abs=1e-9)


def test_the_score_of_a_flight_is_0176_a_step() -> None:
    """What a planner that knows the rules was measured to score, from the rules.

    In the 297 steps of a batch 48 columns leave. A block starts at x from 48 to 71 and
    is passed when steps of 0.64 have led it to 16.
    """
    plan = rules.schedule()
    assert plan.leaving[520:817].sum() == 48.0
    lengths = []
    for start in range(rules.BLOCK_X, rules.BLOCK_X + rules.BLOCK_COUNT):
        x, n = float(start), 0
        while x > rules.PLAYER_X:
            x, n = x - rules.SHIFT, n + 1
        lengths.append(n)
    rate = 48 / 297 + 1 / np.mean(lengths)
    assert rate == pytest.approx(0.176, abs=5e-4)
    # In 4,000 steps about 703: the first columns and the first block take longer.
    assert 4000 * rate == pytest.approx(703, abs=3)


@pytest.mark.parametrize("first", [18, 24, 29, 30])
@pytest.mark.parametrize("second", [18, 23, 25, 30])
def test_what_a_corridor_leaves_free_is_what_the_game_tests(
    first: int, second: int
) -> None:
    """At every float64 next to a limit."""
    row = rules.corridors()[rules.PAIR * first + second]
    ceiling, floor, above, below = row.tolist()
    assert (ceiling, floor) == (first - 12.0, first + 12.0)
    for limit in (above, below, 6.0, 42.0, first - 9.6, second - 9.6, second + 12.0):
        y = limit - 5e-15
        for _ in range(12):
            crashes = y < 6.0 or y > 42.0
            for centre in (first, second):
                crashes |= y - 48 * 0.05 <= centre - 12.0 or y >= centre + 12.0
            assert crashes == (y <= above or y >= below)
            y = math.nextafter(y, math.inf)


def test_bounds_hold_for_the_fastest_flight() -> None:
    """From the floor to the ceiling at full thrust, and back: the widest corridor."""
    low, high = rules.observation_bounds()
    for start, thrust, row in ((42.0, rules.CLIMB, low), (6.0, rules.FALL, high)):
        y, momentum = start, 0.0
        while 6.0 <= y <= 42.0:
            momentum = (momentum + thrust) * rules.DAMPING
            y += momentum
        # They are close, too: nothing flies faster, and damping takes a part.
        assert abs(row[1]) * 0.8 < abs(momentum) < abs(row[1])
        assert min(abs(y - 6.0), abs(y - 42.0)) < abs(row[1])
    assert low[4:].tolist() == [0.0, 12.0, 21.0]
    assert high[4:].tolist() == [55.0, 35.0, 44.0]
    assert np.isfinite([low, high]).all()
