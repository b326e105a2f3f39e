"""Observations that are one array, or a dict of them: the same call for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

# A NumPy array or torch tensor, or a dict of them (a Dict observation space).
Observation = Any


def map_observation(
    function: Callable[..., Any], *observations: Observation
) -> Observation:
    """Calls a function on arrays, or entry by entry on dicts of arrays.

    Args:
        function: takes as many arrays as there are observations.
        *observations: all arrays, or all dicts with the same keys.

    Returns:
        What the function returned, in a dict if the observations are dicts.
    """
    first = observations[0]
    if isinstance(first, dict):
        return {key: function(*(each[key] for each in observations)) for key in first}
    return function(*observations)


def copy_observation(observation: Observation) -> Observation:
    """Returns a copy as NumPy arrays."""
    return map_observation(np.array, observation)


def flatten_time(observations: Observation) -> Observation:
    """Returns tensors `[T * N, ...]` of tensors `[T, N, ...]`."""
    return map_observation(lambda each: each.flatten(0, 1), observations)


def select(observations: Observation, index: Any) -> Observation:  # noqa: ANN401
    """Returns the entries that an index or a mask picks."""
    return map_observation(lambda each: each[index], observations)


def count(observations: Observation) -> int:
    """Returns the length of the first axis."""
    some: Tensor = (
        next(iter(observations.values()))
        if isinstance(observations, dict)
        else observations
    )
    return len(some)
