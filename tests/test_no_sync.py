"""NoSynchronisation fails on operations that wait for a GPU, and on no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.no_sync import NoSynchronisation, Waits

X = torch.arange(4.0)
MASK = X > 1
INDEX = torch.tensor([1, 2])

WAITING: list[Callable[[], Any]] = [
    lambda: X.sum().item(),
    lambda: float(X[0]),
    lambda: int(X[0]),
    lambda: bool(MASK.any()),
    lambda: 1 if MASK.all() else 2,
    lambda: X.tolist(),
    lambda: X.numpy(),
    lambda: np.asarray(X),
    lambda: X.cpu(),
    lambda: X.to("meta"),
    lambda: MASK.nonzero(),
    lambda: torch.where(MASK),
    lambda: X[MASK],
    lambda: X.masked_select(MASK),
    lambda: X.clone().__setitem__(MASK, X[:2]),
    lambda: X.unique(),
    lambda: torch.equal(X, X),
    lambda: torch.tensor([1.0, 2.0]),
    lambda: torch.as_tensor(np.zeros(2)),
    lambda: range(4)[INDEX[0]],
]
RUNNING: list[Callable[[], Any]] = [
    lambda: torch.where(MASK, X, 0.0),
    lambda: X.masked_fill(MASK, 1.0),
    lambda: X[INDEX],
    lambda: X.index_select(0, INDEX),
    lambda: torch.rand(3) + torch.zeros(3),
    lambda: X.to(torch.float64),
    lambda: torch.as_tensor(X),
    lambda: X.clone().copy_(X),
    lambda: (X.shape, len(X), X.dtype),
]


@pytest.mark.parametrize("waits", WAITING)
def test_waiting_operations_fail(waits: Callable[[], Any]) -> None:
    with pytest.raises(Waits), NoSynchronisation():
        waits()
    # Outside of the context it runs.
    waits()


@pytest.mark.parametrize("runs", RUNNING)
def test_other_operations_run(runs: Callable[[], Any]) -> None:
    with NoSynchronisation():
        runs()
