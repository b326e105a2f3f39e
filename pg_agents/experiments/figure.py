"""One figure of several runs, beside what is to be reached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pg_agents.analysis import (
    Interval,
    interquartile_mean,
    stratified_bootstrap_interval,
)

# Monitor files round returns to six digits.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Figure:
    """One figure of several seeds, beside the notebook's.

    Attributes:
        what: which figure, in words.
        values: of each seed.
        reported: the notebook's, or another to be reached; None where there is none.
        by: who says so.
    """

    what: str
    values: tuple[float, ...]
    reported: float | None = None
    by: str = "notebook"

    @property
    def iqm(self) -> float:
        """Interquartile mean over the seeds."""
        return float(interquartile_mean(np.array(self.values)))

    @property
    def interval(self) -> Interval:
        """The 95 % bootstrap interval of the interquartile mean."""
        return stratified_bootstrap_interval(np.array(self.values))

    @property
    def reached(self) -> bool | None:
        """Whether the interquartile mean is at least the notebook's figure."""
        if self.reported is None:
            return None
        return self.iqm >= self.reported - _ROUNDING * max(1.0, abs(self.reported))

    def __str__(self) -> str:
        """Returns such as ``18.9 [17.2, 21.4]; notebook 18.5: reached``."""
        said = f"{self.iqm:.4g}"
        if len(self.values) > 1:
            said += f" [{self.interval.low:.4g}, {self.interval.high:.4g}]"
        if self.reported is None:
            return said
        verdict = "reached" if self.reached else "**falls short**"
        if not self.reached and self.reported <= self.interval.high:
            verdict += " (within the interval)"
        return f"{said}; {self.by} {self.reported:g}: {verdict}"
