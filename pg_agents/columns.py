"""Rows that come one by one, and are read as one array."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[Any] | Tensor
_FIRST_ROWS = 16


class Column:
    """Rows `[N, ...]`, one after the other, as `[T, N, ...]`.

    They are copied into memory that is taken once: many small arrays cost more than
    what is in them.

    Args:
        n_rows: how many there will be, if that is known.
    """

    def __init__(self, n_rows: int | None = None) -> None:
        self._capacity = n_rows or _FIRST_ROWS
        self._memory: Any = None
        self._n_rows = 0
        # Whether the memory is known to be one for such rows.
        self._fits = False

    def __len__(self) -> int:
        """Number of rows, T."""
        return self._n_rows

    def clear(self) -> None:
        """Forgets the rows, but not the memory, which the next ones will be in."""
        self._n_rows, self._fits = 0, False

    def append(self, row: Rows) -> None:
        """Adds a row; all are arrays, or all are tensors on one device."""
        memory = self._memory
        if not self._fits:
            if memory is None or not _alike(memory[0], row):
                memory = self._memory = _empty(self._capacity, row)
            self._fits = True
        elif self._n_rows == len(memory):
            more = _empty(len(memory), row)
            joined: Any = torch.cat if isinstance(row, Tensor) else np.concatenate
            memory = self._memory = joined([memory, more])
        memory[self._n_rows] = row
        self._n_rows += 1

    def tensor(self, device: torch.device) -> Tensor:
        """Returns `[T, N, ...]` on a device, where they are already if they can be."""
        return torch.as_tensor(self._memory[: self._n_rows], device=device)


def _empty(n_rows: int, row: Rows) -> Rows:
    if isinstance(row, Tensor):
        return row.new_empty((n_rows, *row.shape))
    array = np.asarray(row)
    return np.empty((n_rows, *array.shape), array.dtype)


def _alike(memory: Rows, row: Rows) -> bool:
    """Whether a row goes where others were: of one kind, shape and dtype."""
    if isinstance(memory, Tensor) != isinstance(row, Tensor):
        return False
    alike = memory.shape == row.shape and memory.dtype == row.dtype
    if isinstance(memory, Tensor) and isinstance(row, Tensor):
        return alike and memory.device == row.device
    return alike
