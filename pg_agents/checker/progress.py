"""How far the sampling has come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Never, Protocol

from tqdm import tqdm


class Progress(Protocol):
    """What a measurement tells of itself."""

    def begin(self, n_episodes: int) -> None:
        """Says how many episodes there will be."""

    def advance(self, n_episodes: int) -> None:
        """Says that so many more are done."""


class _Bar:
    def __init__(self, shown: bool) -> None:
        # None: on a terminal alone.
        self._disable = None if shown else True
        self._bar: tqdm[Never] | None = None

    def begin(self, n_episodes: int) -> None:
        self._bar = tqdm(
            total=n_episodes, unit=" episodes", disable=self._disable, leave=False
        )

    def advance(self, n_episodes: int) -> None:
        if self._bar is not None:
            left = (self._bar.total or 0) - self._bar.n
            self._bar.update(min(n_episodes, left))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress_bar(shown: bool) -> Iterator[Progress]:
    """Shows a bar while the block runs, and takes it away at its end.

    Args:
        shown: whether to show it; even then on a terminal alone.
    """
    bar = _Bar(shown)
    try:
        yield bar
    finally:
        bar.close()
