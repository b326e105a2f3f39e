"""Random numbers of vector environments whose groups have generators of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from pg_envs.state import generator_from_state

_AHEAD = 256
"""Numbers per environment drawn at once. Results do not depend on it."""


class Generators:
    """R generators, each of a group of N environments.

    Environments `r * N` to `(r + 1) * N - 1` of `R * N` draw from generator r: the same
    numbers, in the same order, as N environments that are alone with this generator.

    Args:
        generators: R generators.
    """

    def __init__(self, generators: list[np.random.Generator]) -> None:
        self._generators = generators
        # `[R, M]`: numbers drawn ahead, in order; how many of them are used, `[R]`.
        self._ahead: NDArray[np.float64] = np.empty((len(generators), 0))
        self._used = np.zeros(len(generators), np.int64)

    @classmethod
    def from_seeds(cls, seeds: Sequence[int | None]) -> Generators:
        """Seeds R generators as Gymnasium does; None seeds one at random."""
        return cls([seeding.np_random(seed)[0] for seed in seeds])

    @classmethod
    def from_state(cls, state: Any, num_envs: int) -> Generators:  # noqa: ANN401
        """Returns generators in a state that `state()` has returned.

        Raises:
            ValueError: if it is no such state, or R does not divide the number of
                environments.
        """
        states = state if isinstance(state, list) else [state]
        if not states or num_envs % len(states):
            raise ValueError(
                "state['generator'] must be the states of R generators, with R a "
                f"divisor of num_envs={num_envs}, got {len(states)}"
            )
        return cls([generator_from_state(one) for one in states])

    def state(self) -> Any:  # noqa: ANN401
        """Returns the state of the generator as plain data; a list of R, if R > 1."""
        self._put_back()
        states = [generator.bit_generator.state for generator in self._generators]
        return states if len(states) > 1 else states[0]

    def uniform(
        self, n_rows: int, num_envs: int, rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Draws `[n_rows, n]` numbers, uniform on [0, 1).

        Each group takes `random((n_rows, m))` for the m of its environments that draw.

        Args:
            n_rows: numbers per environment.
            num_envs: number of all environments, R * N.
            rows: `[n]`, the environments that draw, in ascending order; None for all.
        """
        n_groups = len(self._generators)
        if n_groups == 1:
            n = num_envs if rows is None else len(rows)
            return self._generators[0].random((n_rows, n))
        size = num_envs // n_groups
        rows = np.arange(num_envs) if rows is None else rows
        group = rows // size
        counts = np.bincount(group, minlength=n_groups)
        needed = n_rows * counts
        self._draw_ahead(needed, _AHEAD * size)
        # Of a group's numbers, row i of its m environments starts at i * m.
        first = (self._used + counts - counts.cumsum())[group] + np.arange(len(rows))
        self._used += needed
        column = first + counts[group] * np.arange(n_rows)[:, None]
        numbers: NDArray[np.float64] = self._ahead[group, column]
        return numbers

    def _draw_ahead(self, needed: NDArray[np.int64], n_ahead: int) -> None:
        """Draws for the groups that have fewer numbers left than needed, `[R]`."""
        if self._ahead.shape[1] == 0:
            self._ahead = np.array([g.random(n_ahead) for g in self._generators])
        for r in np.flatnonzero(self._used + needed > n_ahead).tolist():
            left = self._ahead[r, self._used[r] :]
            more = self._generators[r].random(self._used[r])
            self._ahead[r] = np.concatenate([left, more])
            self._used[r] = 0

    def _put_back(self) -> None:
        """Sets the generators back to where the numbers that were used end."""
        if self._ahead.size == 0:
            return
        for generator, used in zip(self._generators, self._used.tolist(), strict=True):
            bits: Any = generator.bit_generator
            bits.advance(used - self._ahead.shape[1])
        self._ahead = self._ahead[:, :0]
        self._used[:] = 0
