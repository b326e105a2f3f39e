"""Heat maps of a grid of networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pg_agents.analysis.networks import NetworkGrid
from pg_agents.analysis.plots.style import new_figure
from pg_agents.analysis.scores import Floats


def plot_network_grid(grid: NetworkGrid, threshold: float, unit: str) -> Figure:
    """Learning speed and stability of networks, by layers and units.

    Args:
        grid: what `pg_agents.analysis.network_grid` returns.
        threshold: the return that was to be reached.
        unit: what was counted until then.

    Returns:
        A figure of two heat maps with the figures written in; brighter is better.
    """
    n_layers, n_units = len(grid.layers), len(grid.units)
    width, height = 2.6 + 1.9 * max(n_units, 2), 1.7 + 0.8 * n_layers
    figure, (speed, stability) = new_figure(width, height, 2)
    # Of times fewer is better; what never arrives is worse than all.
    quickness = -_without_infinity(grid.to_threshold)
    _draw_cells(speed, grid, quickness, _limits(quickness), _speed_text)
    speed.set_title(f"Median {unit} to {threshold:g}", fontsize="medium")
    _draw_cells(stability, grid, grid.stability, (0.0, 1.0), _stability_text)
    stability.set_title("Stay at or above it, of those there", fontsize="medium")
    speed.set_ylabel("Hidden layers")
    return figure


def _draw_cells(
    axes: Axes,
    grid: NetworkGrid,
    brightness: Floats,
    limits: tuple[float, float],
    text: Callable[[NetworkGrid, tuple[int, int]], str],
) -> None:
    low, high = limits
    axes.imshow(
        np.ma.masked_invalid(brightness),
        cmap="cividis",
        aspect="auto",
        vmin=low,
        vmax=high,
    )
    for at in np.ndindex(brightness.shape):
        light = (brightness[at] - low) / (high - low) > 0.55
        # A cell without a value is left white.
        dark_text = light or np.isnan(brightness[at])
        axes.text(
            at[1],
            at[0],
            text(grid, (at[0], at[1])),
            ha="center",
            va="center",
            fontsize="small",
            color="black" if dark_text else "white",
        )
    axes.set_xticks(range(len(grid.units)), [f"{n:,}" for n in grid.units])
    axes.set_yticks(range(len(grid.layers)), [str(n) for n in grid.layers])
    axes.set_xlabel("Units in each layer")
    axes.grid(visible=False)


def _speed_text(grid: NetworkGrid, at: tuple[int, int]) -> str:
    time = grid.to_threshold[at]
    if np.isnan(time):
        return "not run"
    said = "never" if np.isinf(time) else f"{time:,.0f}"
    return f"{said}\n{grid.reached[at]:.0%} get there"


def _stability_text(grid: NetworkGrid, at: tuple[int, int]) -> str:
    if np.isnan(grid.to_threshold[at]):
        return "not run"
    share = grid.stability[at]
    return "none\ngets there" if np.isnan(share) else f"{share:.0%}"


def _without_infinity(times: Floats) -> Floats:
    known = times[np.isfinite(times)]
    worst = 1.2 * known.max() if known.size else 1.0
    shown: Floats = np.where(np.isinf(times), worst, times)
    return shown


def _limits(values: Floats) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if known.size == 0 or known.min() == known.max():
        middle = float(known[0]) if known.size else 0.0
        return middle - 1.0, middle + 1.0
    return float(known.min()), float(known.max())
