"""From turns to a row: rates, ratio, spread, and whether the target is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.speed.lines import Line

Turns = Mapping[str, list[dict[str, float]]]


@dataclass(frozen=True)
class Verdict:
    """What a line came to.

    Attributes:
        ours: median steps a second of our side.
        theirs: that of the rival, or None.
        value: median over the turns of what is held against the target: ours / rival,
            rival / ours for a cost, or steps a second.
        low: the least of them.
        high: the most.
        target: what was to be reached, or None.
        met: whether it was; None without a target.
        missed_by: how far `value` lies on the wrong side, as a share of the target.
    """

    ours: float
    theirs: float | None
    value: float
    low: float
    high: float
    target: float | None
    met: bool | None
    missed_by: float


def rates(turns: list[dict[str, float]]) -> list[float]:
    """Returns the steps a second of every turn."""
    return [turn["steps"] / turn["seconds"] for turn in turns]


def verdict(line: Line, turns: Turns) -> Verdict:
    """Returns what a line came to.

    A ratio is taken turn by turn, of neighbours in time: what slows the machine for a
    while slows both.
    """
    ours = rates(turns[line.ours])
    theirs = rates(turns[line.rival]) if line.rival is not None else None
    values = ours
    if theirs is not None:
        values = [a / b for a, b in zip(ours, theirs, strict=True)]
    if line.bound == "cost at most":
        # So many times the time: the ratio of the rates the other way round.
        values = [1.0 / value for value in values]
    value = median(values)
    met, missed_by = None, 0.0
    if line.target is not None:
        sign = 1.0 if line.bound == "at least" else -1.0
        missed_by = max(sign * (line.target - value) / line.target, 0.0)
        met = missed_by == 0.0
    return Verdict(
        ours=median(ours),
        theirs=None if theirs is None else median(theirs),
        value=value,
        low=min(values),
        high=max(values),
        target=line.target,
        met=met,
        missed_by=missed_by,
    )


def number(value: float) -> str:
    """Returns steps a second to three figures: `61.2 M`, `73,800`."""
    scaled, unit = (value / 1e6, " M") if value >= 1e6 else (value, "")
    scaled = float(f"{scaled:.3g}")
    decimals = 0 if scaled >= 100.0 else 1 if scaled >= 10.0 else 2
    return f"{scaled:,.{decimals}f}{unit}"


def row(line: Line, setting: str, turns: Turns) -> str:
    """Returns the row of a line, in Markdown."""
    found = verdict(line, turns)
    if line.rival is None:
        value, spread = number(found.value), (number(found.low), number(found.high))
        aim = "" if found.target is None else f">= {number(found.target)}"
    else:
        value = f"{found.value:.2f} x"
        spread = (f"{found.low:.2f}", f"{found.high:.2f}")
        sign = ">=" if line.bound == "at least" else "<="
        aim = "" if found.target is None else f"{sign} {found.target:g} x"
    cells: list[Any] = [
        setting,
        line.ours,
        number(found.ours),
        line.rival or "",
        "" if found.theirs is None else number(found.theirs),
        f"**{value}** ({spread[0]} to {spread[1]})",
        aim,
        said(found),
    ]
    return f"| {' | '.join(cells)} |"


def said(found: Verdict) -> str:
    """Returns `met`, `missed by 12 %`, or nothing without a target."""
    if found.met is None:
        return ""
    return "met" if found.met else f"**missed by {100 * found.missed_by:.0f} %**"
