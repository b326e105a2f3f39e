"""A picture of a report: the estimate's distribution around the exact value."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pg_agents.analysis.plots.style import PALETTE, new_figure
from pg_agents.checker.report import GradientReport

_MOST_DIRECTIONS = 12


def draw_report(report: GradientReport) -> Figure:
    """Draws the estimates along the exact gradient, and their mean in all directions.

    Lengths are relative to the exact gradient, so that exact is 1 along it and 0 across
    it.

    Args:
        report: what `check_policy_gradient` returned.

    Returns:
        A figure of two panels; `pg_agents.analysis.plots.save_figure` writes it.
    """
    figure, (estimates, directions) = new_figure(9.5, 3.8, 2, share=False)
    _draw_estimates(estimates, report)
    _draw_directions(directions, report)
    found = "" if report.diagnosis is None else f": {report.diagnosis.title}"
    figure.suptitle(
        f"{report.subject} on {report.env} is {report.verdict}{found}",
        fontsize="medium",
        wrap=True,
    )
    return figure


def _draw_estimates(axes: Axes, report: GradientReport) -> None:
    along = report.spread.along
    # A few far estimates would squeeze all others into one bar.
    low, high = np.quantile(along, [0.005, 0.995])
    room = 0.1 * (high - low) + 1e-3
    shown = (min(low, 0.0) - room, max(high, 1.0) + room)
    axes.hist(along, bins=60, range=shown, color=PALETTE[5], label="single estimates")
    axes.axvline(1.0, color=PALETTE[6], lw=1.5, ls="--", label="exact")
    axes.axvline(along.mean(), color=PALETTE[1], lw=1.5, label="their mean")
    axes.set_xlabel("Share of the exact gradient")
    axes.set_ylabel("Estimates")
    axes.legend(frameon=False, fontsize="small")


def _draw_directions(axes: Axes, report: GradientReport) -> None:
    mean, deviation = report.spread.mean, report.spread.deviation
    shown = min(len(mean), _MOST_DIRECTIONS)
    places = np.arange(shown)
    exact = np.zeros(shown)
    exact[0] = 1.0
    axes.axhline(0.0, color="#bbbbbb", lw=0.8)
    axes.plot(places, exact, "_", color=PALETTE[6], ms=18, mew=1.5, label="exact")
    axes.errorbar(
        places,
        mean[:shown],
        1.96 * deviation[:shown],
        fmt="o",
        ms=4,
        capsize=3,
        color=PALETTE[1],
        label="mean, 95 % interval",
    )
    names = ["along"] + [f"across {i}" for i in range(1, shown)]
    axes.set_xticks(places, names, rotation=40, ha="right", fontsize="small")
    axes.set_xlim(-0.5, shown - 0.5)
    axes.set_ylabel("Relative to the exact gradient")
    axes.set_xlabel("Direction, of the exact gradient and across it")
    axes.margins(y=0.15)
    axes.legend(frameon=False, fontsize="small")
