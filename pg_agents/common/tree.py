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


def namespace(values: Rows) -> Any:  # noqa: ANN401
    """Returns the module, NumPy or torch, whose functions take an array or a tensor.

    Pure functions use it, so that the same code computes on arrays and on tensors.
    """
    return torch if isinstance(values, Tensor) else np


def zeros_like(values: Any) -> Any:  # noqa: ANN401
    """Returns zeros of the shape and dtype of an array or a tensor.

    For small arrays NumPy's own function takes several times as long.
    """
    if isinstance(values, Tensor):
        return torch.zeros_like(values)
    return np.zeros(values.shape, values.dtype)


def to_float64(values: Any) -> Any:  # noqa: ANN401
    """Converts to float64, except on Apple's GPUs, which do not support it."""
    if isinstance(values, Tensor):
        return values if values.device.type == "mps" else values.double()
    return values.astype(np.float64)


def cast(values: Any, dtype: Any) -> Any:  # noqa: ANN401
    """Converts an array or a tensor to a dtype of its library."""
    return values.to(dtype) if isinstance(values, Tensor) else values.astype(dtype)


def leaves(observation: Observation) -> list[Any]:
    """Returns the arrays of an observation."""
    return (
        list(observation.values()) if isinstance(observation, dict) else [observation]
    )


def copy_observation(observation: Observation) -> Observation:
    """Copies to NumPy arrays."""
    return tree_map(np.array, observation)


def flatten_time(observations: Observation) -> Observation:
    """Reshapes arrays or tensors from `[T, N, ...]` to `[T * N, ...]`."""
    return tree_map(lambda obs: obs.reshape(-1, *obs.shape[2:]), observations)


def select(observations: Observation, index: Any) -> Observation:  # noqa: ANN401
    """Returns `obs[index]` of each array; an index may be a mask."""
    return tree_map(lambda obs: take(obs, index), observations)


def take(rows: Any, index: Any) -> Any:  # noqa: ANN401
    """Returns `rows[index]` of an array or a tensor.

    For arrays of NumPy `take` is several times as fast as an index, and has the same
    result, in the same order of memory if that is C's.
    """
    if (
        isinstance(rows, np.ndarray)
        and isinstance(index, np.ndarray)
        and index.dtype.kind == "i"
        and rows.flags.c_contiguous
    ):
        return rows.take(index, axis=0)
    return rows[index]


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


def as_tensors(value: Any) -> Any:  # noqa: ANN401
    """Returns a copy with tensors in place of arrays, sharing their memory."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, Tensor):
        return value
    return _map_containers(value, as_tensors)


def as_arrays(value: Any) -> Any:  # noqa: ANN401
    """Returns a copy with arrays in place of tensors on the CPU, sharing memory."""
    if isinstance(value, Tensor):
        return value.detach().numpy()
    if isinstance(value, np.ndarray):
        return value
    return _map_containers(value, as_arrays)


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
