"""Networks compared: numbers of layers and units as a grid of variants."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pg_agents.analysis.folders import RunGroup
from pg_agents.analysis.monitor import Unit
from pg_agents.analysis.scores import Floats
from pg_agents.analysis.summaries import speed
from pg_agents.common.checks import check_count

_NAME = re.compile(r"(\d+)x(\d+)")


class NetworkGrid(NamedTuple):
    """Learning speed and stability of L numbers of layers by U numbers of units.

    Attributes:
        layers: the numbers of hidden layers, rising.
        units: the numbers of units in each, rising.
        to_threshold: float64 [L, U], median over the runs of when they reached the
            threshold; infinite if half never did, nan where there are no runs.
        reached: float64 [L, U], share of the runs that reached it.
        stability: float64 [L, U], share of those that stayed at or above it.
    """

    layers: tuple[int, ...]
    units: tuple[int, ...]
    to_threshold: Floats
    reached: Floats
    stability: Floats


def network_variants(
    layers: Sequence[int], units: Sequence[int]
) -> dict[str, list[int]]:
    """Names of the variants of a grid, and SB3's `net_arch` of each.

    Args:
        layers: numbers of hidden layers, at least 1 each.
        units: numbers of units in each layer.

    Returns:
        Such as `{"1x16": [16], "2x16": [16, 16]}`: layers first.

    Raises:
        ValueError: if one is no integer >= 1.
    """
    for number in layers:
        check_count("layers", number)
    for number in units:
        check_count("units", number)
    return {f"{n}x{width}": [width] * n for n in layers for width in units}


def parse_variant(name: str) -> tuple[int, int]:
    """Layers and units of a variant's name.

    Args:
        name: such as `"2x64"`.

    Returns:
        The numbers of layers and of units.

    Raises:
        ValueError: if the name is none of a network.
    """
    found = _NAME.fullmatch(name)
    if found is None or 0 in (pair := (int(found[1]), int(found[2]))):
        raise ValueError(
            f"a variant of the grid reads LAYERSxUNITS, such as 2x64, got {name!r}"
        )
    return pair


def network_grid(
    groups: Sequence[RunGroup],
    threshold: float,
    window: int = 100,
    unit: Unit = "steps",
) -> NetworkGrid:
    """Arranges groups of runs by their networks.

    Args:
        groups: of variants that `network_variants` has named, of one recipe.
        threshold: the return to be reached.
        window: episodes in the running mean that has to reach it.
        unit: what is counted until then.

    Returns:
        The grid; what was not run is nan.

    Raises:
        ValueError: if a variant is none of a grid, two groups have the same, or the
            groups are of several recipes.
    """
    recipes = sorted({group.runs[0].recipe for group in groups})
    if len(recipes) != 1:
        raise ValueError(f"a grid compares the networks of one recipe, got {recipes}")
    places = [parse_variant(group.runs[0].variant) for group in groups]
    if len(set(places)) < len(places):
        raise ValueError(f"a network can't be in the grid twice, got {places}")
    layers = tuple(sorted({n for n, _ in places}))
    units = tuple(sorted({width for _, width in places}))
    to_threshold, reached, stability = np.full((3, len(layers), len(units)), math.nan)
    for (n, width), group in zip(places, groups, strict=True):
        at = layers.index(n), units.index(width)
        found = speed(group, threshold, window, unit)
        to_threshold[at] = found.median
        reached[at] = found.n_reached / len(group.runs)
        stability[at] = found.stability
    return NetworkGrid(layers, units, to_threshold, reached, stability)
