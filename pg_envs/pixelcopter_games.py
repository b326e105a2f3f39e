"""Many games of Pixelcopter as arrays of NumPy or of torch."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

import numpy as np

from pg_envs import pixelcopter_rules as rules

Array = Any
"""A NumPy array or a torch tensor."""

# Rows of `Copters.numbers`; the first seven are what is seen.
Y, MOMENTUM, CEILING, FLOOR, DISTANCE, BLOCK_Y, BLOCK_BOTTOM = range(7)
BLOCK_X, PASSED_X, PASSED_Y = range(7, 10)
N_SEEN, N_NUMBERS = 7, 10


class Arrays(Protocol):
    """What NumPy and torch do differently.

    `which` names environments: by index, or by a mask `[N]` bool where asking how many
    there are would wait for a GPU. What is computed for a mask has all N.
    """

    xp: ModuleType
    """`numpy` or `torch`: functions of one name and meaning in both."""

    def table(self, values: Any) -> Array:  # noqa: ANN401
        """Returns an array of this kind, and its own, of a NumPy array."""

    def number(self, value: float) -> Array:
        """Returns a number in the form that is fastest to compute with."""

    def take(self, table: Array, index: Array) -> Array:
        """Returns `table[index]`."""

    def pick(self, column: Array, which: Array) -> Array:
        """Returns `column[which]`; all of it for a mask."""

    def put(self, rows: Array, which: Array, values: Array, axis: int) -> None:
        """Writes values where `which` is along an axis, in place."""

    def fill(self, column: Array, which: Array, value: float) -> None:
        """Writes one value to `column[which]`, in place."""


class NumPyArrays:
    """`Arrays` of NumPy; `which` is an index."""

    xp: ModuleType = np

    def table(self, values: Any) -> Array:  # noqa: ANN401
        """Returns a copy."""
        return np.array(values)

    def number(self, value: float) -> Array:
        """Returns the number itself."""
        return value

    def take(self, table: Array, index: Array) -> Array:
        """Returns `table[index]`."""
        return table.take(index, axis=0)

    def pick(self, column: Array, which: Array) -> Array:
        """Returns `column[which]`."""
        return column[which]

    def put(self, rows: Array, which: Array, values: Array, axis: int) -> None:
        """Writes values where `which` is along an axis."""
        if axis == 0:
            rows[which] = values
        else:
            rows[:, which] = values

    def fill(self, column: Array, which: Array, value: float) -> None:
        """Writes one value to `column[which]`."""
        column[which] = value


class Copters:
    """N games as rows of numbers, to be changed in place only.

    Args:
        arrays: which kind of arrays.
        num_envs: N.

    Attributes:
        numbers: `[10, N]` float64, in rows: the player's y and momentum; how far it is
            from the ceiling and from the floor of the column that it is at; how far
            away the next block is, its y, and its y plus its height; x of the next
            block and of the one passed last, beyond the left edge if there is none; the
            y of the one passed last.
        clock: `[N]` int64, see `Schedule`.
        corridors: `[N, 2 * SLOTS]` int32: rows of `rules.corridors()`, by
            `Schedule.touched`.
    """

    def __init__(self, arrays: Arrays, num_envs: int) -> None:
        self.arrays, self.num_envs = arrays, num_envs
        self.numbers = arrays.table(np.zeros((N_NUMBERS, num_envs)))
        self.clock = arrays.table(np.zeros(num_envs, np.int64))
        # What a first batch leaves unused is a corridor too, so that all states are.
        middle = int(rules.START_Y) * (rules.PAIR + 1)
        corridors = np.full((num_envs, 2 * rules.SLOTS), middle, np.int32)
        self.corridors = arrays.table(corridors)
        self._make_tables()

    def _make_tables(self) -> None:
        """Makes what never changes, and views of the rows: making one takes time."""
        table, number = self.arrays.table, self.arrays.number
        plan = rules.schedule()
        self.touched, self.leaving = table(plan.touched), table(plan.leaving)
        self.fresh, self.start = table(plan.fresh), table(plan.start)
        self.canonical = table(plan.canonical)
        self.kinds = table(rules.corridors())
        self.offsets = table(np.arange(self.num_envs) * 2 * rules.SLOTS)
        self.thrusts = table(np.array([rules.CLIMB, rules.FALL]))
        self.column_x = table(np.array(rules.batch(0))[:, None])
        self.block_start = table(np.array([[rules.BLOCK_X], [rules.BLOCK_Y]], float))
        self.block_offsets = table(
            np.array([[-float(rules.PLAYER_X)], [float(rules.BLOCK_HEIGHT)]])
        )
        self.wave, self.middle = number(rules.WAVE), number(rules.SIDE / 2)
        self.phase_spread = number(rules.PHASE_SPREAD)
        spread = rules.FREQUENCY_SPREAD
        self.lowest_frequency = number(rules.FREQUENCY - spread)
        self.frequency_spread = number(2.0 * spread)
        self.block_count = number(rules.BLOCK_COUNT)
        self.shift, self.damping = number(rules.SHIFT), number(rules.DAMPING)
        self.player_x = number(rules.PLAYER_X)
        numbers = self.numbers
        self.y, self.momentum, self.ceiling, self.floor, self.distance = numbers[:5]
        self.block_x, self.block_y = numbers[BLOCK_X], numbers[BLOCK_Y]
        self.seen, self.of_blocks = numbers[:N_SEEN], numbers[DISTANCE:]
        self.blocks_x = numbers[BLOCK_X : PASSED_X + 1]
        self.blocks_y = numbers[BLOCK_Y :: PASSED_Y - BLOCK_Y]
        self.flat_corridors = self.corridors.reshape(-1)
        self.kept_corridors = self.corridors[:, 2 * rules.BATCH :]
        first = int(plan.touched[0])
        self.first_corridor = self.corridors[:, first]

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the views, which a copy would take for arrays of their own."""
        names = ("arrays", "num_envs", "numbers", "clock", "corridors")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes the views of the copy."""
        self.__dict__.update(state)
        self._make_tables()


def centres_of(corridors: Array) -> Array:
    """Returns the centres of columns, `[n, SLOTS]` int32, of corridors of `Copters`."""
    # Every second one is that of a column alone.
    return corridors[:, ::2] // (rules.PAIR + 1)


def put_centres(copters: Copters, which: Array, centres: Array) -> None:
    """Writes the corridors that columns with these centres leave, in place.

    Args:
        copters: the games.
        which: the environments, n of them.
        centres: `[n, SLOTS]` int32.
    """
    xp = copters.arrays.xp
    following = xp.concatenate([centres[:, 1:], centres[:, -1:]], 1)
    alone, together = centres * (rules.PAIR + 1), centres * rules.PAIR + following
    both = xp.stack([alone, together], 2).reshape(len(centres), -1)
    copters.arrays.put(copters.corridors, which, both, 0)
