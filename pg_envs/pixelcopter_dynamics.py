"""One step of many Pixelcopters at once: the same arithmetic on NumPy and on torch.

All that is random comes in as uniform draws, so that a single environment and both
vector environments go the same way on the same draws. Numbers are float64, as in the
original game, whose float64 decides which pixel something is on.

A step is `advance`, then `place_blocks` where one was passed; a batch of terrain comes
where `Schedule.fresh` says so, by `lay_terrain`, and a new episode by `restart`.
"""

from __future__ import annotations

from typing import NamedTuple

from pg_envs import pixelcopter_rules as rules
from pg_envs.pixelcopter_games import Array, Copters, centres_of, put_centres

BLOCK_DRAWS = 2
"""Uniform draws for a block: its x and its y."""
TERRAIN_DRAWS = 1 + rules.BATCH
"""Uniform draws for a batch of columns: its frequency, then a phase for each."""


class Outcome(NamedTuple):
    """What a step has led to.

    Attributes:
        gained: `[N]` float64, 1 for the block passed and 1 for each column that left.
        terminated: `[N]` bool, whether the player has crashed.
        passed: `[N]` bool, whether it has passed the block.
    """

    gained: Array
    terminated: Array
    passed: Array


def advance(copters: Copters, actions: Array) -> Outcome:
    """Moves everything, then looks what has happened, in the order of the game.

    The block that has been passed is still the next one afterwards: `place_blocks` has
    to follow.

    Args:
        copters: the games; changed in place.
        actions: `[N]` integers, 0 climbs and 1 does nothing.

    Returns:
        What the step has led to.
    """
    arrays, xp = copters.arrays, copters.arrays.xp
    y, momentum = copters.y, copters.momentum
    xp.add(momentum, arrays.take(copters.thrusts, actions), out=momentum)
    xp.multiply(momentum, copters.damping, out=momentum)
    xp.add(y, momentum, out=y)
    xp.subtract(copters.blocks_x, copters.shift, out=copters.blocks_x)
    copters.clock += 1
    above, below = _look(copters)
    terminated = (y <= above) | (y >= below) | _hits_block(copters)
    passed = copters.block_x <= copters.player_x
    gained = arrays.take(copters.leaving, copters.clock) + passed
    return Outcome(gained, terminated, passed)


def _look(copters: Copters) -> tuple[Array, Array]:
    """Brings up to date how far ceiling, floor and block are.

    With two columns at the player, the game shows those of the one laid first.

    Returns:
        The y up to which and the y from which on the player crashes, `[N]` each.
    """
    arrays, xp, y = copters.arrays, copters.arrays.xp, copters.y
    places = arrays.take(copters.touched, copters.clock)
    places += copters.offsets
    kinds = arrays.take(copters.flat_corridors, places)
    ceiling, floor, above, below = arrays.take(copters.kinds, kinds).T
    xp.subtract(y, ceiling, out=copters.ceiling)
    xp.subtract(floor, y, out=copters.floor)
    xp.subtract(copters.block_x, copters.player_x, out=copters.distance)
    return above, below


def _hits_block(copters: Copters) -> Array:
    """Whether the player overlaps the next block or the one just passed, `[N]` bool.

    The rectangle of a block is `[int(x) - 2, int(x) + 2) x [y - 4, y + 5)`, the
    player's `[15, 17) x [int(y) - 1, int(y) + 1)`. They overlap where `int(x)` is 14 to
    18, and the player's `int(y)` from the block's y - 4 to its y + 5. For positive
    numbers `14 <= int(x)` is `14 <= x`, and `int(x) <= 18` is `x < 19`. The difference
    of the y, which is exact in float64 here, lies from -4 to below 6.
    """
    x, below = copters.blocks_x, copters.y - copters.blocks_y
    first, second = (x >= 14.0) & (x < 19.0) & (below >= -4.0) & (below < 6.0)
    return first | second


def place_blocks(copters: Copters, which: Array, draws: Array) -> None:
    """Lets new blocks follow those that were passed.

    Args:
        copters: the games; changed in place.
        which: the environments, n of them.
        draws: `[2, n]` float64, uniform on [0, 1).
    """
    arrays = copters.arrays
    passed = (arrays.pick(row, which) for row in (copters.block_x, copters.block_y))
    rows = _block_rows(copters, draws, *passed)
    arrays.put(copters.of_blocks, which, arrays.xp.stack(rows), 1)


def _block_rows(
    copters: Copters, draws: Array, passed_x: Array, passed_y: Array
) -> list[Array]:
    """Returns the rows of `numbers` that tell of blocks, `[n]` each."""
    xp = copters.arrays.xp
    # As many whole numbers either way.
    place = xp.floor(draws * copters.block_count) + copters.block_start
    x, y = place
    distance, bottom = place + copters.block_offsets
    return [distance, y, bottom, x, passed_x, passed_y]


def lay_terrain(copters: Copters, which: Array, draws: Array) -> None:
    """Lays a batch of columns; the last ones of the batch before are kept.

    Column i at x_i has its centre at int(24 + 6 sin(f x_i + u_i)).

    Args:
        copters: the games; their clocks say whether it is the first batch.
        which: the environments, n of them.
        draws: `[49, n]` float64, uniform on [0, 1).
    """
    arrays, xp = copters.arrays, copters.arrays.xp
    clock = arrays.pick(copters.clock, which)
    frequency = copters.lowest_frequency + copters.frequency_spread * draws[0]
    x = copters.column_x + arrays.take(copters.start, clock)
    angle = frequency * x + copters.phase_spread * draws[1:]
    centres = copters.middle + copters.wave * xp.sin(angle)
    # A conversion to integers cuts off what is behind the point, as int() does.
    laid = xp.asarray(centres.T, dtype=xp.int32)
    kept = centres_of(arrays.pick(copters.kept_corridors, which))
    put_centres(copters, which, xp.concatenate([kept, laid], 1))
    arrays.put(copters.clock, which, arrays.take(copters.canonical, clock), 0)


def restart(copters: Copters, which: Array, draws: Array) -> None:
    """Puts the player and a block where an episode begins.

    The clocks must be 0 by then, and the terrain laid.

    Args:
        copters: the games; changed in place.
        which: the environments, n of them.
        draws: `[2, n]` float64, uniform on [0, 1).
    """
    arrays, xp = copters.arrays, copters.arrays.xp
    kinds = arrays.pick(copters.first_corridor, which)
    ceiling, floor = arrays.take(copters.kinds, kinds).T[:2]
    y = xp.full_like(ceiling, rules.START_Y)
    gone = xp.full_like(ceiling, -rules.SIDE)
    rows = [y, xp.zeros_like(y), y - ceiling, floor - y]
    rows += _block_rows(copters, draws, gone, gone)
    arrays.put(copters.numbers, which, xp.stack(rows), 1)
