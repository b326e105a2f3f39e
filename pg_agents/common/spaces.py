"""Conversion of a policy's outputs to actions of a space: bounds, integers, dtype."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor


def nearest_actions(numbers: Any, space: spaces.Space[Any]) -> Any:  # noqa: ANN401
    """Returns the actions of a space that are nearest to a policy's outputs.

    Outputs for a Box are clipped to its bounds, and rounded to the nearest integer,
    halves to even, if its dtype is an integer or bool. Integer tensors that have this
    dtype already are returned unchanged.

    Args:
        numbers: `[*action_shape]` or `[N, *action_shape]`, array or tensor.
        space: Box, Discrete, MultiDiscrete or MultiBinary.

    Returns:
        An array or tensor of the same shape and the space's dtype, on the same device.
    """
    if isinstance(numbers, Tensor):
        return _nearest(numbers, space)
    if not isinstance(space, spaces.Box):
        return numbers.astype(space.dtype, copy=False)
    if space.dtype.kind == "f":
        return np.asarray(np.clip(numbers, space.low, space.high), dtype=space.dtype)
    return _nearest(torch.as_tensor(numbers), space).numpy()


def _nearest(numbers: Tensor, space: spaces.Space[Any]) -> Tensor:
    assert space.dtype is not None
    dtype = _torch_dtype(space.dtype)
    if not isinstance(space, spaces.Box):
        return numbers if numbers.dtype is dtype else numbers.to(dtype)
    if numbers.dtype is dtype and not dtype.is_floating_point:
        return numbers
    low = constant(space.low, numbers.device)
    high = constant(space.high, numbers.device)
    if dtype.is_floating_point:
        return numbers.to(dtype).clamp(low, high)
    # float32 can't represent large integers. float64 can't represent the largest int64,
    # so numbers at the upper bound are replaced by the bound itself.
    rounded = numbers.double().clamp(low.double(), high.double()).round()
    at_high = rounded >= high.double()
    below_high = torch.where(at_high, low.double(), rounded).to(dtype)
    return torch.where(at_high, high, below_high)


def constant(array: NDArray[Any], device: torch.device) -> Tensor:
    """Returns an array as a tensor on a device, which callers must not write to.

    Copied once: copying an array to a GPU waits for it.
    """
    return _constant(array.tobytes(), array.dtype, array.shape, device)


@lru_cache
def _constant(
    data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], device: torch.device
) -> Tensor:
    array = np.frombuffer(data, dtype).reshape(shape)
    return torch.tensor(array, device=device)


@lru_cache
def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype


def scaled(actions: NDArray[Any], space: spaces.Box) -> NDArray[Any]:
    """Maps actions of a Box from its bounds to [-1, 1], as SB3's `scale_action`.

    The width of a Box of integers is computed in floats: 127 - (-128) overflows int8.
    """
    low, high = _float_bounds(space)
    result: NDArray[Any] = 2.0 * ((actions - low) / (high - low)) - 1.0
    return result


def unscaled(numbers: NDArray[Any], space: spaces.Box) -> NDArray[Any]:
    """Maps numbers from [-1, 1] to the bounds of a Box, without rounding."""
    low, high = _float_bounds(space)
    result: NDArray[Any] = low + (0.5 * (numbers + 1.0) * (high - low))
    return result


def sample_dtype(space: spaces.Space[Any]) -> np.dtype[Any]:
    """Returns the dtype of a policy's samples: a float for a Box of integers."""
    if isinstance(space, spaces.Box):
        return np.result_type(space.dtype, np.float32)
    assert space.dtype is not None
    return np.dtype(space.dtype)


def _float_bounds(space: spaces.Box) -> tuple[NDArray[Any], NDArray[Any]]:
    dtype = sample_dtype(space)
    return space.low.astype(dtype), space.high.astype(dtype)
