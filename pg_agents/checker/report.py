"""The report of a check: as data, text and figure, and the progress bar."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Never

import numpy as np
from tqdm import tqdm

from pg_agents.checker.diagnosis import Diagnosis
from pg_agents.checker.statistics import Interval
from pg_agents.checker.task import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Verdict = Literal["unbiased", "biased but aligned", "wrong", "undecided"]

_MEANING = {
    "unbiased": "the expected gradient equals the exact one, within the interval",
    "biased but aligned": "not the exact gradient, but within 26 degrees of it",
    "wrong": "more than 26 degrees from the exact gradient, or zero",
    "undecided": "the sample is too small for a verdict; see the notes",
}
_TEXT_WIDTH = 78
# Directions that the figure shows at most.
_MAX_DIRECTIONS = 12


@dataclass(frozen=True)
class Spread:
    """Distribution of the estimates, relative to the norm of the exact gradient.

    Attributes:
        along: `[R]`, component of each round's estimate along the exact gradient.
        mean: `[D]`, coordinates of the mean; those of the exact gradient are 1, 0, ...
        deviation: `[D]`, their standard errors.
    """

    along: Array
    mean: Array
    deviation: Array


@dataclass(frozen=True)
class GradientReport:
    """The result of `check_policy_gradient`; `print(report)` shows it as text.

    Attributes:
        subject: name of the subject.
        env: name of the environment.
        gamma: discount factor.
        horizon: time limit, in steps.
        bootstrap: whether returns continue beyond the time limit.
        per: unit that the subject averages over, `"episode"` or `"step"`, and of the
            exact gradient.
        n_episodes: number of episodes sampled with the checked policy.
        n_rounds: number of gradients computed from them.
        seed: seed of the sampling.
        verdict: `"unbiased"`, `"biased but aligned"` (a cosine of at least 0.9),
            `"wrong"`, or `"undecided"` if the sample is too small.
        cosine: cosine between expected and exact gradient.
        cosine_interval: 95 % confidence interval.
        relative_bias: norm of their difference, relative to the exact gradient.
        relative_bias_interval: 95 % confidence interval.
        factor: component of the expected gradient along the exact one; 1 if unbiased.
        variance_per_episode: trace of the covariance of the estimate from one episode,
            relative to the squared norm of the exact gradient.
        p_value: p-value of the hypothesis that the subject is unbiased.
        diagnosis: the mistake that a biased gradient matches; None if unbiased.
        notes: remarks, such as limits of the check.
        seconds: wall-clock time of the check.
        spread: distribution of the estimates, for the figure.
    """

    subject: str
    env: str
    gamma: float
    horizon: int
    bootstrap: bool
    per: Literal["episode", "step"]
    n_episodes: int
    n_rounds: int
    seed: int
    verdict: Verdict
    cosine: float
    cosine_interval: Interval
    relative_bias: float
    relative_bias_interval: Interval
    factor: float
    variance_per_episode: float
    p_value: float
    diagnosis: Diagnosis | None
    notes: tuple[str, ...]
    seconds: float
    spread: Spread = field(repr=False, compare=False)

    @property
    def unbiased(self) -> bool:
        """Whether the verdict is `"unbiased"`."""
        return self.verdict == "unbiased"

    def to_dict(self) -> dict[str, Any]:
        """Returns everything but the spread, as JSON-compatible types."""
        report = {k: v for k, v in asdict(self).items() if k != "spread"}
        # The round trip turns tuples into lists.
        json_types: dict[str, Any] = json.loads(json.dumps(report))
        return json_types

    def to_json(self) -> str:
        """Returns `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """Returns the report as text."""
        limit = "not part of the task" if self.bootstrap else "part of the task"
        rows = [
            ("subject", self.subject),
            (
                "task",
                f"{self.env}, gamma {self.gamma:g}, "
                f"time limit {self.horizon} ({limit})",
            ),
            (
                "sample",
                f"{self.n_episodes:,} episodes in {self.n_rounds:,} gradients, "
                f"seed {self.seed}, {self.seconds:.1f} s",
            ),
            ("compared", f"with the exact gradient per {self.per}"),
            ("", ""),
            ("cosine", _estimate(self.cosine, self.cosine_interval)),
            (
                "relative bias",
                _estimate(self.relative_bias, self.relative_bias_interval),
            ),
            ("length", f"{self.factor:.3f} of the exact one, along it"),
            ("variance", f"{self.variance_per_episode:.3g} per episode (relative)"),
            ("p-value", f"{self.p_value:.2g} (hypothesis: unbiased)"),
        ]
        lines = [f"  {name:14} {text}".rstrip() for name, text in rows]
        lines += ["", f"  {self.verdict.upper()}: {_MEANING[self.verdict]}"]
        if self.diagnosis is not None:
            lines += ["", *_paragraph(_diagnosis_text(self.diagnosis))]
            if self.diagnosis.match != "closest":
                lines += _paragraph(self.diagnosis.explanation)
        for note in self.notes:
            lines += ["", *_paragraph(f"Note: {note}")]
        return "\n".join(lines)


def _estimate(value: float, interval: Interval) -> str:
    return f"{value:.4f}   95 % interval {interval[0]:.4f} to {interval[1]:.4f}"


def _diagnosis_text(diagnosis: Diagnosis) -> str:
    text = {
        "equal": "It looks like: {title}.",
        "equal up to a factor": "It looks like: {title}.",
        "one of several": "It looks like one of: {title}.",
        "closest": "No mistake of the catalogue matches. Closest (cosine "
        "{cosine:.3f}): {title}.",
    }[diagnosis.match].format(title=diagnosis.title, cosine=diagnosis.cosine)
    if diagnosis.also:
        text += f" Not distinguishable here: {'; '.join(diagnosis.also)}."
    return text


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, _TEXT_WIDTH, initial_indent="  ", subsequent_indent="  ")


def draw_report(report: GradientReport) -> Figure:
    """Draws the estimates along the exact gradient, and their mean in all directions.

    Lengths are relative to the exact gradient.
    `pg_agents.analysis.plots.save_figure` writes the figure.
    """
    # matplotlib is slow to import, and checks do not need it.
    from pg_agents.analysis.plots.style import new_figure

    figure, (estimates, directions) = new_figure(9.5, 3.8, 2, share=False)
    _draw_estimates(estimates, report)
    _draw_directions(directions, report)
    diagnosis = "" if report.diagnosis is None else f": {report.diagnosis.title}"
    figure.suptitle(
        f"{report.subject} on {report.env} is {report.verdict}{diagnosis}",
        fontsize="medium",
        wrap=True,
    )
    return figure


def _draw_estimates(axes: Axes, report: GradientReport) -> None:
    from pg_agents.analysis.plots.style import PALETTE

    along = report.spread.along
    # Without outliers, which would squeeze all other estimates into one bar.
    low, high = np.quantile(along, [0.005, 0.995])
    margin = 0.1 * (high - low) + 1e-3
    limits = (min(low, 0.0) - margin, max(high, 1.0) + margin)
    axes.hist(along, bins=60, range=limits, color=PALETTE[5], label="single estimates")
    axes.axvline(1.0, color=PALETTE[6], lw=1.5, ls="--", label="exact")
    axes.axvline(along.mean(), color=PALETTE[1], lw=1.5, label="their mean")
    axes.set_xlabel("Component along the exact gradient")
    axes.set_ylabel("Estimates")
    axes.legend(frameon=False, fontsize="small")


def _draw_directions(axes: Axes, report: GradientReport) -> None:
    from pg_agents.analysis.plots.style import PALETTE

    mean, deviation = report.spread.mean, report.spread.deviation
    n_directions = min(len(mean), _MAX_DIRECTIONS)
    x = np.arange(n_directions)
    exact = np.zeros(n_directions)
    exact[0] = 1.0
    axes.axhline(0.0, color="#bbbbbb", lw=0.8)
    axes.plot(x, exact, "_", color=PALETTE[6], ms=18, mew=1.5, label="exact")
    axes.errorbar(
        x,
        mean[:n_directions],
        1.96 * deviation[:n_directions],
        fmt="o",
        ms=4,
        capsize=3,
        color=PALETTE[1],
        label="mean, 95 % interval",
    )
    labels = ["along"] + [f"across {i}" for i in range(1, n_directions)]
    axes.set_xticks(x, labels, rotation=40, ha="right", fontsize="small")
    axes.set_xlim(-0.5, n_directions - 0.5)
    axes.set_ylabel("Relative to the exact gradient")
    axes.set_xlabel("Direction relative to the exact gradient")
    axes.margins(y=0.15)
    axes.legend(frameon=False, fontsize="small")


class Progress:
    """A progress bar of episodes.

    Args:
        show: whether to show it, if the output is a terminal.
    """

    def __init__(self, show: bool) -> None:
        # tqdm: None disables the bar unless the output is a terminal.
        self._disable = None if show else True
        self._bar: tqdm[Never] | None = None

    def start(self, n_episodes: int) -> None:
        """Opens the bar for a total number of episodes."""
        self._bar = tqdm(
            total=n_episodes, unit=" episodes", disable=self._disable, leave=False
        )

    def advance(self, n_episodes: int) -> None:
        """Advances the bar, at most to its end."""
        if self._bar is not None:
            remaining = (self._bar.total or 0) - self._bar.n
            self._bar.update(min(n_episodes, remaining))

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress_bar(show: bool) -> Iterator[Progress]:
    """Shows a progress bar while the block runs, if the output is a terminal."""
    bar = Progress(show)
    try:
        yield bar
    finally:
        bar.close()
