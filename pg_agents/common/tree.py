"""Functions of nested values: observations, which may be dicts, and containers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# A NumPy array or torch tensor, or a dict of them (a Dict observation space).
Observation = Any
# An array or a tensor, `[N, ...]` or `[T, N, ...]`.
Rows = NDArray[Any] | Tensor


def tree_map(function: Callable[..., Any], *observations: Observation) -> Observation:
    """Applies a function to arrays, or entry by entry to dicts with the same keys.

    Args:
        function: takes as many arrays as there are observations.
        *observations: all arrays, or all dicts.

    Returns:
        The function's result, or a dict of its results.
    """
    first = observations[0]
    if isinstance(first, dict):
        return {key: function(*(obs[key] for obs in observations)) for key in first}
    return function(*observations)


def leaves(observation: Observation) -> list[Any]:
    """Returns the arrays of an observation."""
    return (
        list(observation.values()) if isinstance(observation, dict) else [observation]
    )


def copy_observation(observation: Observation) -> Observation:
    """Copies to NumPy arrays."""
    return tree_map(np.array, observation)


def flatten_time(observations: Observation) -> Observation:
    """Reshapes tensors from `[T, N, ...]` to `[T * N, ...]`."""
    return tree_map(lambda obs: obs.flatten(0, 1), observations)


def select(observations: Observation, index: Any) -> Observation:  # noqa: ANN401
    """Returns `obs[index]` of each array; an index may be a mask."""
    return tree_map(lambda obs: obs[index], observations)


def count(observations: Observation) -> int:
    """Returns the length of the first axis."""
    return len(leaves(observations)[0])


def to_cpu(value: Any) -> Any:  # noqa: ANN401
    """Returns a deep copy with every tensor on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    return _map_containers(value, to_cpu)


def to_device(value: Any, device: torch.device | str) -> Any:  # noqa: ANN401
    """Returns a copy with every tensor on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    return _map_containers(value, lambda part: to_device(part, device))


def is_on_accelerator(value: Any) -> bool:  # noqa: ANN401
    """Returns whether any tensor in a value is not on the CPU."""
    if isinstance(value, Tensor):
        return value.device.type != "cpu"
    if isinstance(value, dict):
        return any(is_on_accelerator(part) for part in value.values())
    return isinstance(value, list | tuple) and any(map(is_on_accelerator, value))


def _map_containers(value: Any, function: Callable[[Any], Any]) -> Any:  # noqa: ANN401
    if type(value) is dict:
        return {name: function(part) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(function(part) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{name: function(part) for name, part in parts.items()})
    return deepcopy(value)
