"""Functions of arrays and of dicts of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from pg_agents.common import tree

ARRAY = torch.arange(12.0).reshape(2, 3, 2)


@dataclass(frozen=True)
class Nested:
    obs: Any
    name: str


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
