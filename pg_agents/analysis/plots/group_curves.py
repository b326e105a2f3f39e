"""The learning curves of a group of runs, ready to be drawn."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pg_agents.analysis.curves import band_of_curves, returns_at, running_mean
from pg_agents.analysis.folders import RunGroup
from pg_agents.analysis.monitor import Unit
from pg_agents.analysis.plots.panels import Curves
from pg_agents.analysis.scores import Floats

# As many as a picture shows.
_POINTS = 300


def curves_of(
    group: RunGroup,
    unit: Unit,
    window: int,
    spread: Literal["bootstrap", "range"] = "bootstrap",
) -> Curves:
    """The learning curves of a group, with the band where all its runs are known.

    Args:
        group: the runs.
        unit: what the horizontal axis counts.
        window: episodes in the running mean.
        spread: `"bootstrap"` or `"range"`.

    Returns:
        Curves that go as far as each run does; the band ends with the shortest, as
        those left would be a choice of runs.

    Raises:
        ValueError: if a run has fewer than `window` episodes, or no time is known of
            all runs.
    """
    runs = []
    for run in group.runs:
        ends, returns = run.episodes.ends(unit), run.episodes.returns
        if len(ends) < window:
            raise ValueError(
                f"{run.path} has {len(ends)} episodes, too few for a mean of {window}; "
                "choose a smaller --window"
            )
        runs.append((ends, running_mean(returns, window)))
    start = max(float(ends[window - 1]) for ends, _ in runs)
    stop = min(float(ends[-1]) for ends, _ in runs)
    if start > stop:
        raise ValueError(
            f"the runs of {group.name} have no {unit} in common: none overlaps all "
            "others; try another --x"
        )
    x = np.unique(np.linspace(start, stop, _POINTS))
    held = [
        returns_at(run.episodes.ends(unit), run.episodes.returns, x, window)
        for run in group.runs
    ]
    band = band_of_curves(x, np.array(held), spread)
    return Curves(band, [_thin(*run) for run in runs])


def _thin(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """At most so many points as a picture shows."""
    known = np.flatnonzero(~np.isnan(y))
    kept = known[np.unique(np.linspace(0, len(known) - 1, _POINTS).round().astype(int))]
    return x[kept], y[kept]
