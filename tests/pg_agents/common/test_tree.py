"""Functions of arrays and of dicts of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from pg_agents.common import tree

ARRAY = torch.arange(12.0).reshape(2, 3, 2)
OBSERVATIONS: list[Any] = [ARRAY, {"a": ARRAY, "b": 2 * ARRAY}]


@dataclass(frozen=True)
class Nested:
    obs: Any
    name: str


@pytest.mark.parametrize("obs", OBSERVATIONS, ids=["array", "dict"])
def test_functions_apply_to_each_array(obs: Any) -> None:
    doubled = tree.tree_map(lambda x, y: x + y, obs, obs)
    flat, first = tree.flatten_time(obs), tree.select(obs, 0)
    arrays = tree.leaves(obs)
    assert tree.count(obs) == 2
    for array, twice, rows, row in zip(
        arrays, *map(tree.leaves, (doubled, flat, first)), strict=True
    ):
        assert torch.equal(twice, 2 * array)
        assert torch.equal(rows, array.reshape(6, 2))
        assert torch.equal(row, array[0])


def test_a_copied_observation_shares_no_memory() -> None:
    obs = {"a": np.zeros(2)}
    copy = tree.copy_observation(obs)
    obs["a"][0] = 1.0
    assert copy["a"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("move", [tree.to_cpu, lambda v: tree.to_device(v, "cpu")])
def test_moving_to_a_device_keeps_containers(move: Any) -> None:
    value = [Nested({"a": ARRAY}, "x"), (ARRAY, None), 3]
    moved = move(value)
    assert isinstance(moved[0], Nested) and moved[0].name == "x"
    assert torch.equal(moved[0].obs["a"], ARRAY)
    assert isinstance(moved[1], tuple) and moved[2] == 3
    assert not tree.is_on_accelerator(moved)


def test_tensors_on_an_accelerator_are_found_in_containers() -> None:
    tensor = torch.zeros(1, device="meta")
    for value in (tensor, [1, tensor], {"a": (tensor,)}):
        assert tree.is_on_accelerator(value)
