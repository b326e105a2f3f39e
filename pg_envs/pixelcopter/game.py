"""The game of Pixelcopter: its constants, its terrain, and N games as arrays.

All facts are read in the public source of the PyGame Learning Environment (PLE), at its
default size and speed: 48 x 48 pixels, 30 steps a second. Positions are float64;
rectangles are whole pixels around positions truncated to integers, and collide if they
share a pixel. tests/pg_envs/pixelcopter/reference.py is the game written out plainly.

Lengths are pixels and times are steps; x grows to the right, y grows downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pg_envs.pixelcopter.scene import PixelcopterSnapshot
from pg_envs.vector.backend import Array, Backend

SIDE = 48
STEPS_PER_SECOND = 30
_MILLISECONDS = 1000.0 / STEPS_PER_SECOND
_SPEED = 0.0004 * SIDE
# By this much terrain and blocks move to the left in every step. It is subtracted step
# by step, as in the game: roundings decide in which step x reaches a value like 16.0.
SHIFT = _SPEED * _MILLISECONDS

# The player: a step adds one of two thrusts to the momentum, then damps it.
CLIMB, FALL = _SPEED * -0.875 * _MILLISECONDS, _SPEED * 0.09 * _MILLISECONDS
DAMPING = 0.99
PLAYER_X, START_Y = int(SIDE * 0.35), SIDE / 2
# The size used against the ceiling; the rectangle is 2 x 2.
PLAYER_SIZE = SIDE * 0.05
LOWEST_Y, HIGHEST_Y = SIDE * 0.125, SIDE * 0.875
_PLAYER_LEFT = PLAYER_X - int(PLAYER_SIZE) // 2
_PLAYER_RIGHT = _PLAYER_LEFT + int(PLAYER_SIZE)

# Terrain: columns, each with a gap from its centre - 12 to its centre + 12.
COLUMN_WIDTH = int(SIDE * 0.1)
HALF_GAP = SIDE * 0.25
WAVE = SIDE * 0.125
FREQUENCY, FREQUENCY_SPREAD = 4.5 / SIDE, 0.01
PHASE_SPREAD = 0.5
MIN_CENTRE, MAX_CENTRE = int(SIDE / 2 - WAVE), int(SIDE / 2 + WAVE)
BATCH = SIDE * 4 // COLUMN_WIDTH
"""Columns laid at once, at x = 2, 6, ... in the first batch, 50, 54, ... later."""
REMAINING = 13
"""Columns left on the screen when the next batch is laid."""
SLOTS = REMAINING + BATCH
"""Slots for columns: those remaining of the last batch, then those of this one."""

# Blocks: x from 48 to 71 and y from 12 to 35, both whole numbers.
BLOCK_WIDTH, BLOCK_HEIGHT = int(SIDE * 0.1), int(SIDE * 0.2)
BLOCK_X, BLOCK_Y, BLOCK_RANGE = SIDE, SIDE // 4, SIDE // 2

UP, NOOP = 0, 1
"""The actions, in the order of PLE's action set."""
ACTION_NAMES = ("climb", "do nothing")
CRASH_REWARD = {"original": -5.0, "course": -1.0}
"""Reward of the step that ends an episode, by reward scheme."""

BLOCK_DRAWS = 2
"""Uniform draws for a block: its x and its y."""
TERRAIN_DRAWS = 1 + BATCH
"""Uniform draws for a batch of columns: its frequency, then a phase for each."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """Where the columns are at each clock; only their centres are random.

    `clock` counts the steps of an episode. Batches are laid at 0, 222 and 519, then
    every 297 steps, and from 519 on everything repeats: 816 is 519 again. The first
    column of a batch is 2.1 pixels behind the last one of the batch before, instead of
    4, so these two overlap.

    Attributes:
        x: `[C, SLOTS]` float64, positions of the columns; NaN for an empty slot.
        canonical: `[C]` int64, the clock itself, and 519 for 816.
        first_slot: `[C]` int64, the slot of the column that the player overlaps. At a
            clock at which a batch is laid, it is the slot before the batch.
        last_slot: `[C]` int64, the next slot where the player overlaps two columns,
            `first_slot` otherwise.
        n_leaving: `[C]` float64, columns that leave the screen in the step to here.
        is_due: `[C]` bool, whether a batch is laid here.
        batch_start: `[C]` float64, the x at which such a batch starts.
    """

    x: NDArray[np.float64]
    canonical: NDArray[np.int64]
    first_slot: NDArray[np.int64]
    last_slot: NDArray[np.int64]
    n_leaving: NDArray[np.float64]
    is_due: NDArray[np.bool_]
    batch_start: NDArray[np.float64]


@cache
def schedule() -> Schedule:
    """Returns the schedule, computed by moving the columns as the game does."""
    columns = {REMAINING + i: x for i, x in enumerate(batch_x(0))}
    x, n_leaving, batch_clocks = [_slots_of(columns)], [0.0], [0]
    overlaps = [_overlapping_slots(columns)]
    # Columns that remain of the first batch have taken fewer steps, hence different
    # roundings, than those of later batches: the period starts with the third batch.
    while len(batch_clocks) < 4:
        columns = {slot: x - SHIFT for slot, x in columns.items()}
        n_before = len(columns)
        columns = {slot: x for slot, x in columns.items() if x > -COLUMN_WIDTH}
        n_leaving.append(float(n_before - len(columns)))
        overlaps.append(_overlapping_slots(columns))
        if len(columns) <= REMAINING:
            batch_clocks.append(len(x))
            columns = dict(enumerate([*columns.values(), *batch_x(SIDE)]))
        x.append(_slots_of(columns))
    assert np.array_equal(x[-1], x[batch_clocks[2]], equal_nan=True)
    canonical, start = np.arange(len(x)), np.full(len(x), float(SIDE))
    canonical[-1], start[0] = batch_clocks[2], 0.0
    first, last = np.array(overlaps).T
    is_due = np.isin(np.arange(len(x)), batch_clocks)
    return Schedule(
        np.array(x), canonical, first, last, np.array(n_leaving), is_due, start
    )


def batch_x(start: int) -> list[float]:
    """Returns the x of the columns of a batch when it is laid."""
    return [float(start + COLUMN_WIDTH // 2 + COLUMN_WIDTH * i) for i in range(BATCH)]


def _slots_of(columns: dict[int, float]) -> list[float]:
    return [columns.get(slot, math.nan) for slot in range(SLOTS)]


def _overlapping_slots(columns: dict[int, float]) -> tuple[int, int]:
    """Returns the first and the last slot of the columns that overlap the player in x.

    In y they always do: the rectangle of a column is its centre +- 36.
    """
    slots = []
    for slot, x in columns.items():
        left = int(x) - COLUMN_WIDTH // 2
        if left < _PLAYER_RIGHT and left + COLUMN_WIDTH > _PLAYER_LEFT:
            slots.append(slot)
    assert slots in ([slots[0]], [slots[0], slots[0] + 1])
    return slots[0], slots[-1]


class Step(NamedTuple):
    """The result of `Games.advance`.

    Attributes:
        rewards: `[N]` float64, 1 for a block passed and 1 for each column that left.
        terminated: `[N]` bool, whether the player has crashed.
        passed: `[N]` bool, whether the player has passed the block.
    """

    rewards: Array
    terminated: Array
    passed: Array


_COLUMNS = (
    "y",
    "momentum",
    "column_centre",
    "block_x",
    "block_y",
    "passed_x",
    "passed_y",
    "clock",
    "centres",
)


class Games:
    """N games as arrays of one backend. Random numbers are arguments.

    A step is `advance`, then `place_blocks` where a block was passed, then
    `lay_terrain` where a batch `is_due`. A new episode is a clock of 0, `lay_terrain`
    and `restart`. Those three take `rows`, n of the N games, as `Backend.rows` returns.

    Args:
        backend: NumPy or torch.
        num_envs: N.

    Attributes:
        y: `[N]` float64, of the player.
        momentum: `[N]` float64.
        column_centre: `[N]` float64, centre of the first column at the player.
        block_x: `[N]` float64, x of the next block.
        block_y: `[N]` float64.
        passed_x: `[N]` float64, x of the block passed last, off the screen if none was.
        passed_y: `[N]` float64.
        clock: `[N]` int64, see `Schedule`.
        centres: `[N, SLOTS]` float64, centres of the columns.
    """

    y: Array
    momentum: Array
    column_centre: Array
    block_x: Array
    block_y: Array
    passed_x: Array
    passed_y: Array
    clock: Array
    centres: Array

    def __init__(self, backend: Backend, num_envs: int) -> None:
        self.backend = backend
        # Valid centres, also in the slots that a first batch leaves unused.
        shapes = {"centres": (num_envs, SLOTS)}
        fill = {"centres": START_Y, "column_centre": START_Y}
        for name in _COLUMNS:
            values = np.full(shapes.get(name, num_envs), fill.get(name, 0.0))
            setattr(self, name, backend.array(values))
        self.clock = backend.array(np.zeros(num_envs, np.int64))
        self._games = backend.array(np.arange(num_envs))
        self._thrusts = backend.array(np.array([CLIMB, FALL]))
        self._column_x = backend.array(np.array(batch_x(0))[:, None])
        self._block_start = backend.array(np.array([[BLOCK_X], [BLOCK_Y]], float))
        plan = schedule()
        self._canonical = backend.array(plan.canonical)
        self._first_slot = backend.array(plan.first_slot)
        self._last_slot = backend.array(plan.last_slot)
        self._n_leaving = backend.array(plan.n_leaving)
        self._is_due = backend.array(plan.is_due)
        self._batch_start = backend.array(plan.batch_start)

    def advance(self, actions: Array) -> Step:
        """Moves everything by one step, in the order of the game.

        The block that was passed is still the next one afterwards, until `place_blocks`
        replaces it.

        Args:
            actions: `[N]` integers, `UP` or `NOOP`.
        """
        xp, look_up = self.backend.xp, self.backend.look_up
        self.momentum = (self.momentum + look_up(self._thrusts, actions)) * DAMPING
        self.y = self.y + self.momentum
        self.block_x = self.block_x - SHIFT
        self.passed_x = self.passed_x - SHIFT
        self.clock = self.clock + 1
        # Where the player is at two columns, the observation is of the one laid first.
        first = self.centres[self._games, look_up(self._first_slot, self.clock)]
        last = self.centres[self._games, look_up(self._last_slot, self.clock)]
        self.column_centre = first
        terminated = (
            (self.y < LOWEST_Y)
            | (self.y > HIGHEST_Y)
            | (self.y - PLAYER_SIZE <= xp.maximum(first, last) - HALF_GAP)
            | (self.y >= xp.minimum(first, last) + HALF_GAP)
            | self.hits(self.block_x, self.block_y)
            | self.hits(self.passed_x, self.passed_y)
        )
        passed = self.block_x <= PLAYER_X
        return Step(look_up(self._n_leaving, self.clock) + passed, terminated, passed)

    def hits(self, block_x: Array, block_y: Array) -> Array:
        """Whether the player overlaps a block, `[N]` bool.

        The rectangle of a block is `[int(x) - 2, int(x) + 2) x [y - 4, y + 5)`, that of
        the player `[15, 17) x [int(y) - 1, int(y) + 1)`. They overlap where `int(x)` is
        from 14 to 18 and the player's `int(y)` from the block's y - 4 to its y + 5. For
        positive numbers that is `14 <= x < 19`, and a difference of y from -4 to below
        6, which float64 holds exactly here.
        """
        below = self.y - block_y
        return (block_x >= 14.0) & (block_x < 19.0) & (below >= -4.0) & (below < 6.0)

    def place_blocks(self, rows: Array, draws: Array) -> None:
        """Places a new block in games in which one was passed.

        Args:
            rows: n games.
            draws: `[2, n]` float64, uniform on [0, 1).
        """
        put, take = self.backend.put, self.backend.take
        put(self.passed_x, rows, take(self.block_x, rows))
        put(self.passed_y, rows, take(self.block_y, rows))
        self._put_block(rows, draws)

    def _put_block(self, rows: Array, draws: Array) -> None:
        x, y = self.backend.xp.floor(draws * BLOCK_RANGE) + self._block_start
        self.backend.put(self.block_x, rows, x)
        self.backend.put(self.block_y, rows, y)

    def is_due(self) -> Array:
        """Whether a batch of terrain has to be laid, `[N]` bool."""
        return self.backend.look_up(self._is_due, self.clock)

    def lay_terrain(self, rows: Array, draws: Array) -> None:
        """Lays a batch of columns behind the last ones of the batch before.

        Column i has its centre at `int(24 + 6 sin(f x_i + u_i))`; all columns of a
        batch have the same frequency f.

        Args:
            rows: n games.
            draws: `[49, n]` float64, uniform on [0, 1).
        """
        xp, take, look_up = self.backend.xp, self.backend.take, self.backend.look_up
        clock = take(self.clock, rows)
        frequency = FREQUENCY - FREQUENCY_SPREAD + 2.0 * FREQUENCY_SPREAD * draws[0]
        x = self._column_x + look_up(self._batch_start, clock)
        angle = frequency * x + PHASE_SPREAD * draws[1:]
        laid = xp.trunc(SIDE / 2 + WAVE * xp.sin(angle)).T
        remaining = take(self.centres, rows)[:, BATCH:]
        self.backend.put(self.centres, rows, xp.concatenate([remaining, laid], 1))
        self.backend.put(self.clock, rows, look_up(self._canonical, clock))

    def restart(self, rows: Array, draws: Array) -> None:
        """Puts the player and a block where an episode starts.

        The clocks must be 0, and the terrain laid.

        Args:
            rows: n games.
            draws: `[2, n]` float64, uniform on [0, 1).
        """
        put = self.backend.put
        centre = self.backend.take(self.centres, rows)[:, schedule().first_slot[0]]
        put(self.column_centre, rows, centre)
        put(self.y, rows, self.backend.xp.full_like(centre, START_Y))
        put(self.momentum, rows, self.backend.xp.zeros_like(centre))
        off_screen = self.backend.xp.full_like(centre, -SIDE)
        put(self.passed_x, rows, off_screen)
        put(self.passed_y, rows, off_screen)
        self._put_block(rows, draws)

    def observations(self) -> Array:
        """Returns what `PixelcopterEnv` describes, `[N, 7]` float64, a fresh array."""
        columns = [
            self.y,
            self.momentum,
            self.y - (self.column_centre - HALF_GAP),
            (self.column_centre + HALF_GAP) - self.y,
            self.block_x - PLAYER_X,
            self.block_y,
            self.block_y + BLOCK_HEIGHT,
        ]
        return self.backend.stack(columns)

    def columns(self) -> dict[str, Array]:
        """Returns the arrays that determine how the games continue, by name."""
        return {name: getattr(self, name) for name in _COLUMNS}

    def set_columns(self, columns: dict[str, Array]) -> None:
        """Takes arrays as `columns` returns."""
        for name in _COLUMNS:
            setattr(self, name, columns[name])

    def snapshot(
        self, i: int, score: float, step: int, terminated: bool
    ) -> PixelcopterSnapshot:
        """Returns what the picture of game i shows.

        Args:
            i: the game.
            score: sum of the rewards of its episode.
            step: steps of its episode.
            terminated: whether it has crashed.
        """
        columns = [
            (int(x), int(centre))
            for x, centre in zip(
                schedule().x[int(self.clock[i])], self.centres[i], strict=True
            )
            if -COLUMN_WIDTH < x < SIDE + COLUMN_WIDTH
        ]
        blocks = (
            (int(self.block_x[i]), int(self.block_y[i])),
            (int(self.passed_x[i]), int(self.passed_y[i])),
        )
        y = int(self.y[i])
        return PixelcopterSnapshot(y, tuple(columns), blocks, score, step, terminated)


def column_bounds() -> dict[str, tuple[int, int]]:
    """Returns for columns of whole numbers the lowest and the highest one."""
    # The last clock of the schedule is replaced by its canonical one.
    last_clock = len(schedule().canonical) - 2
    centres = MIN_CENTRE, MAX_CENTRE
    return {"clock": (0, last_clock), "centres": centres, "column_centre": centres}


def pixelcopter_spaces() -> tuple[spaces.Box, spaces.Discrete]:
    """Returns the observation space and the action space of one game."""
    low, high = observation_bounds()
    return spaces.Box(low, high, dtype=np.float32), spaces.Discrete(2)


def observation_bounds() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns lower and upper bounds of an observation, `[7]` float32 each.

    An episode continues while 6 <= y <= 42. Let the player rise with speeds v_1, ...,
    v_k since it last stood or fell. Each is at most a above the one before, with a the
    damped thrust, and v_1 <= a. Before the last of these steps the player was alive, so
    it had risen 36 pixels at most: v_1 + ... + v_(k-1) <= 36. Then

        v_k^2 = sum_j (v_j - v_(j-1)) (v_j + v_(j-1)) <= a (2 * 36 + v_k),

    which bounds v_k, and so how far past 6 the last step can lead. The same holds for
    falling. All other quantities are sums of bounded ones.
    """
    room = HIGHEST_Y - LOWEST_Y
    rise, fall = (_top_speed(abs(thrust) * DAMPING, room) for thrust in (CLIMB, FALL))
    top, bottom = LOWEST_Y - rise, HIGHEST_Y + fall
    last_y = BLOCK_Y + BLOCK_RANGE - 1
    bounds = [
        (top, bottom),
        (-rise, fall),
        (top - (MAX_CENTRE - HALF_GAP), bottom - (MIN_CENTRE - HALF_GAP)),
        (MIN_CENTRE + HALF_GAP - bottom, MAX_CENTRE + HALF_GAP - top),
        (0, BLOCK_X + BLOCK_RANGE - 1 - PLAYER_X),
        (BLOCK_Y, last_y),
        (BLOCK_Y + BLOCK_HEIGHT, last_y + BLOCK_HEIGHT),
    ]
    low, high = np.array(bounds).T
    # Whole numbers are exact in float32; other bounds are rounded outwards.
    infinity = np.float32(np.inf)
    low32, high32 = low.astype(np.float32), high.astype(np.float32)
    return (
        np.where(low == np.floor(low), low32, np.nextafter(low32, -infinity)),
        np.where(high == np.floor(high), high32, np.nextafter(high32, infinity)),
    )


def _top_speed(gain: float, room: float) -> float:
    """Returns the largest v with v^2 <= gain (2 room + v)."""
    return (gain + math.sqrt(gain**2 + 8.0 * gain * room)) / 2.0
