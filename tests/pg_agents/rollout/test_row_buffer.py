"""Rows that come one by one are read as one array, as they were when they came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pg_agents.rollout.buffer import RowBuffer


def rows(n: int, shape: tuple[int, ...], kind: str, dtype: str) -> list[Any]:
    numbers = [np.arange(np.prod(shape)).reshape(shape) + 10 * t for t in range(n)]
    arrays = [each.astype(dtype) for each in numbers]
    return arrays if kind == "array" else [torch.as_tensor(each) for each in arrays]


@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 3, 1)])
@pytest.mark.parametrize(
    ("n_rows", "expected"), [(1, None), (16, None), (17, None), (40, None), (5, 2)]
)
def test_rows_are_stacked(
    kind: str, dtype: str, shape: tuple[int, ...], n_rows: int, expected: int | None
) -> None:
    """Also where there are more of them than was foreseen, up to several times over."""
    given = rows(n_rows, shape, kind, dtype)
    column = RowBuffer(given[0], expected)
    for i, row in enumerate(given):
        assert len(column) == i
        column.append(row)
    read = torch.as_tensor(column.rows)
    assert len(column) == n_rows
    assert torch.equal(read, torch.stack([torch.as_tensor(row) for row in given]))
    assert str(read.dtype) == f"torch.{dtype}"


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_rows_are_copied(kind: str) -> None:
    """The next step of an environment may be written over what it returned."""
    source = rows(1, (3,), kind, "float32")[0]
    column = RowBuffer(source)
    column.append(source)
    source += 100
    column.append(source)
    assert torch.as_tensor(column.rows).tolist() == [[0, 1, 2], [100, 101, 102]]


def test_array_scalars_and_lists_are_rows() -> None:
    column = RowBuffer(np.float32(0.0))  # type: ignore[arg-type]
    for number in (1.5, 2.5):
        column.append(np.float32(number))  # type: ignore[arg-type]
    assert torch.as_tensor(column.rows).tolist() == [1.5, 2.5]
