"""Compare networks: recipe variants with a grid of layers and units."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pg_agents.analysis.monitor import Unit
from pg_agents.analysis.run_data import RunGroup
from pg_agents.analysis.statistics import Floats
from pg_agents.analysis.summary import SOLVED_WINDOW, speed
from pg_agents.common.checks import check_count

_NAME = re.compile(r"(\d+)x(\d+)")


class NetworkGrid(NamedTuple):
    """Learning speed and stability of L numbers of layers times U numbers of units.

    Attributes:
        layers: numbers of hidden layers, increasing.
        units: numbers of units in each layer, increasing.
        to_threshold: float64 [L, U], median over the runs of when they reached the
            threshold; infinite if half of them never did, nan if there are no runs.
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
    """Returns SB3's `net_arch` for each network of a grid, by the variant's name.

    Such as `{"1x16": [16], "2x16": [16, 16]}`: LAYERSxUNITS.

    Args:
        layers: numbers of hidden layers.
        units: numbers of units in each layer.

    Raises:
        ValueError: if one is not an integer >= 1.
    """
    for number in layers:
        check_count("layers", number)
    for number in units:
        check_count("units", number)
    return {f"{n}x{width}": [width] * n for n in layers for width in units}


def parse_variant(name: str) -> tuple[int, int]:
    """Returns the layers and units that a name such as `"2x64"` stands for.

    Raises:
        ValueError: if the name is not of this form.
    """
    match = _NAME.fullmatch(name)
    layers, units = map(int, match.groups()) if match else (0, 0)
    if not (layers and units):
        raise ValueError(
            f"a variant of the grid reads LAYERSxUNITS, such as 2x64, got {name!r}"
        )
    return layers, units


def network_grid(
    groups: Sequence[RunGroup],
    threshold: float,
    window: int = SOLVED_WINDOW,
    unit: Unit = "steps",
) -> NetworkGrid:
    """Arranges groups of runs by their networks.

    Args:
        groups: variants of one recipe, named as by `network_variants`.
        threshold: the return to be reached.
        window: number of episodes in the running mean that has to reach it.
        unit: of the time until then.

    Returns:
        The grid; nan for networks without runs.

    Raises:
        ValueError: if the groups are of several recipes, a variant is not a network, or
            a network is given twice.
    """
    recipes = sorted({group.runs[0].recipe for group in groups})
    if len(recipes) != 1:
        raise ValueError(f"a grid compares the networks of one recipe, got {recipes}")
    networks = [parse_variant(group.runs[0].variant) for group in groups]
    if len(set(networks)) < len(networks):
        raise ValueError(f"a network can't be in the grid twice, got {networks}")
    layers = tuple(sorted({n for n, _ in networks}))
    units = tuple(sorted({width for _, width in networks}))
    to_threshold, reached, stability = np.full((3, len(layers), len(units)), math.nan)
    for (n, width), group in zip(networks, groups, strict=True):
        cell = layers.index(n), units.index(width)
        found = speed(group, threshold, window, unit)
        to_threshold[cell] = found.median
        reached[cell] = found.n_reached / len(group.runs)
        stability[cell] = found.stability
    return NetworkGrid(layers, units, to_threshold, reached, stability)
