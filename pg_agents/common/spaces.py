"""Numbers of a policy as actions of their space: bounds, whole numbers, dtype."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor


def nearest_actions(numbers: Any, space: spaces.Space[Any]) -> Any:  # noqa: ANN401
    """Returns the actions of a space that are nearest to a policy's numbers.

    The numbers of a Gaussian are clipped to the bounds of a Box, and rounded to the
    nearest whole number, halves to the even one, where its actions are integers or
    bool. Integers of that very dtype are taken for actions.

    Args:
        numbers: `[*action_shape]` or `[N, *action_shape]`, array or tensor.
        space: Box, Discrete, MultiDiscrete or MultiBinary.

    Returns:
        The same shape, of the dtype of the space; a tensor stays on its device.
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
    low, high = (
        torch.as_tensor(bound, device=numbers.device)
        for bound in (space.low, space.high)
    )
    if dtype.is_floating_point:
        return numbers.to(dtype).clamp(low, high)
    # In single precision large integers are not exact, and neither are the largest
    # int64 in double: these are taken from the bound itself.
    near = numbers.double().clamp(low.double(), high.double()).round()
    at_the_top = near >= high.double()
    below = torch.where(at_the_top, low.double(), near).to(dtype)
    return torch.where(at_the_top, high, below)


@lru_cache
def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype


def scaled(actions: NDArray[Any], space: spaces.Box) -> NDArray[Any]:
    """Returns actions within the bounds of a Box as numbers in [-1, 1].

    As SB3's `scale_action`, but the width of a Box of integers is computed in floats:
    that of int8 from -128 to 127 is no int8.
    """
    low, high = _float_bounds(space)
    result: NDArray[Any] = 2.0 * ((actions - low) / (high - low)) - 1.0
    return result


def unscaled(numbers: NDArray[Any], space: spaces.Box) -> NDArray[Any]:
    """Returns numbers in [-1, 1] as numbers within the bounds of a Box: see `scaled`.

    They are not rounded.
    """
    low, high = _float_bounds(space)
    result: NDArray[Any] = low + (0.5 * (numbers + 1.0) * (high - low))
    return result


def sample_dtype(space: spaces.Space[Any]) -> np.dtype[Any]:
    """Returns the dtype that holds what a policy draws for a space, as it was drawn.

    That is the space's own, or floats for a Box of integers.
    """
    if isinstance(space, spaces.Box):
        return np.result_type(space.dtype, np.float32)
    assert space.dtype is not None
    return np.dtype(space.dtype)


def _float_bounds(space: spaces.Box) -> tuple[NDArray[Any], NDArray[Any]]:
    dtype = sample_dtype(space)
    return space.low.astype(dtype), space.high.astype(dtype)
