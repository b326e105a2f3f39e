"""The rules of Pixelcopter: its numbers, and when which column of terrain is where.

Everything here is a fact about the game of the PyGame Learning Environment (PLE), read
in its public source, at its usual size and speed: 48 x 48 pixels, 30 steps a second.
Positions are float64 there, rectangles whole pixels: a rectangle lies around the
position cut off to integers, and touching means to overlap by a pixel.

Lengths are pixels, times are steps; x grows to the right and y grows downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

SIDE = 48
STEPS_PER_SECOND = 30
_MILLISECONDS = 1000.0 / STEPS_PER_SECOND
_SPEED = 0.0004 * SIDE
# What everything but the player moves to the left by, in every step. It is taken off
# again and again, as in the game: the roundings decide in which step a position such as
# 16.0 is reached.
SHIFT = _SPEED * _MILLISECONDS

# The player. A step adds one of the two thrusts to the momentum, then damps it.
CLIMB, FALL = _SPEED * -0.875 * _MILLISECONDS, _SPEED * 0.09 * _MILLISECONDS
DAMPING = 0.99
PLAYER_X, START_Y = int(SIDE * 0.35), SIDE / 2
# Its size in the test against the ceiling; its rectangle is 2 x 2.
PLAYER_SIZE = SIDE * 0.05
LOWEST_Y, HIGHEST_Y = SIDE * 0.125, SIDE * 0.875

# Columns of terrain. The corridor of one reaches from its centre - 12 to + 12.
COLUMN_WIDTH = int(SIDE * 0.1)
HALF_CORRIDOR = SIDE * 0.25
WAVE = SIDE * 0.125
FREQUENCY, FREQUENCY_SPREAD = 4.5 / SIDE, 0.01
PHASE_SPREAD = 0.5
BATCH = SIDE * 4 // COLUMN_WIDTH
"""Columns laid at once, at x = 2, 6, ... in the first batch, 50, 54, ... later."""
KEPT = 13
"""Columns that are left when the next batch is laid."""
SLOTS = KEPT + BATCH
"""Places for columns: those kept of the last batch first, then those of this one."""

# Blocks: x from 48 to 71, y from 12 to 35, both whole numbers.
BLOCK_WIDTH, BLOCK_HEIGHT = int(SIDE * 0.1), int(SIDE * 0.2)
BLOCK_X, BLOCK_Y, BLOCK_COUNT = SIDE, SIDE // 4, SIDE // 2

CLIMBS, IDLES = 0, 1
"""The actions, in the order of PLE's action set."""

LOSS = {"original": -5.0, "course": -1.0}
"""What the step that ends an episode pays besides, by reward scheme."""

_PLAYER_LEFT = PLAYER_X - int(PLAYER_SIZE) // 2
_PLAYER_RIGHT = _PLAYER_LEFT + int(PLAYER_SIZE)

# A centre is int(24 + 6 sin(...)).
HIGHEST_CENTRE, LOWEST_CENTRE = int(SIDE / 2 - WAVE), int(SIDE / 2 + WAVE)
PAIR = 32
"""Two columns at the player are known by 32 times the first one's centre plus the
second one's; one column alone is its own second."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """Where the columns are, which depends on nothing but the time.

    All columns move at one speed, so their x is known in advance; chance decides their
    centres only. `clock` counts the steps of an episode. Batches are laid at 0, 222 and
    519, then every 297 steps, and between two of them everything repeats: 816 stands
    for 519 again. From the last column of a batch to the first of the next it is 2.1
    pixels instead of 4, so that these two overlap.

    Attributes:
        x: `[C, SLOTS]` float64, where the columns are; NaN where there is none.
        canonical: `[C]` int64, the clock itself, and 519 for 816.
        touched: `[C]` int64, which columns the player touches: 2 s for that of slot s
            alone, 2 s + 1 for those of s and s + 1, of which s was laid first. Where a
            batch has to be laid, these are the slots of before.
        leaving: `[C]` float64, how many columns have left in the step that leads here.
        fresh: `[C]` bool, whether a batch has to be laid here.
        start: `[C]` float64, where such a batch starts.
    """

    x: NDArray[np.float64]
    canonical: NDArray[np.int64]
    touched: NDArray[np.int64]
    leaving: NDArray[np.float64]
    fresh: NDArray[np.bool_]
    start: NDArray[np.float64]


@cache
def schedule() -> Schedule:
    """Returns where the columns are at which clock, by moving them as the game does."""
    columns = {KEPT + i: x for i, x in enumerate(batch(0))}
    places, leaving, laid = [_places(columns)], [0.0], [0]
    touched = [_touched(columns)]
    # What is kept of the first batch has taken fewer steps, and so other roundings,
    # than what is kept of a later one: the pattern repeats from the second on.
    while len(laid) < 4:
        columns = {slot: x - SHIFT for slot, x in columns.items()}
        n_before = len(columns)
        columns = {slot: x for slot, x in columns.items() if x > -COLUMN_WIDTH}
        leaving.append(float(n_before - len(columns)))
        touched.append(_touched(columns))
        if len(columns) <= KEPT:
            laid.append(len(places))
            columns = dict(enumerate([*columns.values(), *batch(SIDE)]))
        places.append(_places(columns))
    x = np.array(places)
    assert np.array_equal(x[-1], x[laid[2]], equal_nan=True)
    canonical, start = np.arange(len(x)), np.full(len(x), float(SIDE))
    canonical[-1], start[0] = laid[2], 0.0
    fresh = np.isin(np.arange(len(x)), laid)
    return Schedule(x, canonical, np.array(touched), np.array(leaving), fresh, start)


def batch(start: int) -> list[float]:
    """Returns x of the columns of a batch when it is laid."""
    first = start + COLUMN_WIDTH // 2
    return [float(first + COLUMN_WIDTH * i) for i in range(BATCH)]


def _places(columns: dict[int, float]) -> list[float]:
    return [columns.get(slot, math.nan) for slot in range(SLOTS)]


def _touched(columns: dict[int, float]) -> int:
    """Returns which columns the player touches, see `Schedule`.

    Up and down they always overlap: a column reaches from its centre - 36 to + 36.
    """
    slots = []
    for slot, x in columns.items():
        # Cut off to an integer, from where half its width is to the left.
        left = int(x) - COLUMN_WIDTH // 2
        if left < _PLAYER_RIGHT and left + COLUMN_WIDTH > _PLAYER_LEFT:
            slots.append(slot)
    assert slots in ([slots[0]], [slots[0], slots[0] + 1])
    return 2 * slots[0] + len(slots) - 1


@cache
def corridors() -> NDArray[np.float64]:
    """Returns what two columns at the player leave free, `[PAIR**2, 4]` float64.

    Rows: see `PAIR`; NaN where there is no such centre. Columns: ceiling and floor of
    the first, then the y up to which and the y from which on the player crashes. Of
    both columns the game tests

        y - height <= centre - 12,  y >= centre + 12,  y < 6,  y > 42;

    the last y for which the first of these holds is looked for among the float64.
    """
    half, infinity = HALF_CORRIDOR, math.inf
    rows = np.full((PAIR**2, 4), math.nan)
    for first in range(HIGHEST_CENTRE, LOWEST_CENTRE + 1):
        for second in range(HIGHEST_CENTRE, LOWEST_CENTRE + 1):
            ceiling = max(first, second) - half
            y = math.nextafter(ceiling + PLAYER_SIZE, infinity)
            while y - PLAYER_SIZE > ceiling:
                y = math.nextafter(y, -infinity)
            above = max(y, math.nextafter(LOWEST_Y, -infinity))
            floor = min(first, second) + half
            below = min(floor, math.nextafter(HIGHEST_Y, infinity))
            rows[PAIR * first + second] = first - half, first + half, above, below
    return rows


def observation_bounds() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns what an observation can't be below and above, `[7]` float32 each.

    An episode goes on while 6 <= y <= 42. Let the player rise with speeds v_1, ..., v_k
    since it last stood or fell. Each is at most a above the one before, with a the
    damped thrust, and v_1 <= a. Before the last of these steps it was alive, so it had
    come 36 pixels far at most: v_1 + ... + v_(k-1) <= 36. Then

        v_k^2 = sum_j (v_j - v_(j-1)) (v_j + v_(j-1)) <= a (2 * 36 + v_k),

    which bounds v_k, and so how far beyond 6 the last step can lead. Likewise for
    falling. The rest are sums of what has bounds.
    """
    room = HIGHEST_Y - LOWEST_Y
    rise, fall = (_fastest(abs(thrust) * DAMPING, room) for thrust in (CLIMB, FALL))
    top, bottom = LOWEST_Y - rise, HIGHEST_Y + fall
    highest, lowest = HIGHEST_CENTRE, LOWEST_CENTRE
    last_y = BLOCK_Y + BLOCK_COUNT - 1
    bounds = [
        (top, bottom),
        (-rise, fall),
        (top - (lowest - HALF_CORRIDOR), bottom - (highest - HALF_CORRIDOR)),
        (highest + HALF_CORRIDOR - bottom, lowest + HALF_CORRIDOR - top),
        (0, BLOCK_X + BLOCK_COUNT - 1 - PLAYER_X),
        (BLOCK_Y, last_y),
        (BLOCK_Y + BLOCK_HEIGHT, last_y + BLOCK_HEIGHT),
    ]
    low, high = np.array(bounds).T
    # Whole numbers are float32 as they are; of others, the next one outwards.
    whole_low, whole_high = low == np.floor(low), high == np.floor(high)
    near_low, near_high = low.astype(np.float32), high.astype(np.float32)
    infinity = np.float32(np.inf)
    return (
        np.where(whole_low, near_low, np.nextafter(near_low, -infinity)),
        np.where(whole_high, near_high, np.nextafter(near_high, infinity)),
    )


def _fastest(gain: float, room: float) -> float:
    """Returns the largest v with v^2 <= gain (2 room + v)."""
    return (gain + math.sqrt(gain**2 + 8.0 * gain * room)) / 2.0
