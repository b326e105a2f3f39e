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

    def __len__(self) -> int:
        """Number of rows, T."""
        return self._n_rows

    def append(self, row: Rows) -> None:
        """Adds a row; all are arrays, or all are tensors on one device."""
        memory = self._memory
        if memory is None:
            memory = self._memory = _empty(self._capacity, row)
        elif self._n_rows == len(memory):
            more = _empty(len(memory), row)
            joined: Any = torch.cat if isinstance(row, Tensor) else np.concatenate
            memory = self._memory = joined([memory, more])
        memory[self._n_rows] = row
        self._n_rows += 1

    @property
    def rows(self) -> Rows:
        """The rows so far, `[T, N, ...]`, where they are stored."""
        rows: Rows = self._memory[: self._n_rows]
        return rows

    def tensor(self, device: torch.device) -> Tensor:
        """Returns `[T, N, ...]` on a device, where they are already if they can be."""
        return torch.as_tensor(self.rows, device=device)


def _empty(n_rows: int, row: Rows) -> Rows:
    if isinstance(row, Tensor):
        return row.new_empty((n_rows, *row.shape))
    array = np.asarray(row)
    return np.empty((n_rows, *array.shape), array.dtype)
