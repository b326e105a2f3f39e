"""What the checker says: numbers, a verdict, and its words."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pg_agents.checker.diagnosis import Diagnosis

Verdict = Literal["unbiased", "biased but aligned", "wrong", "undecided"]
Interval = tuple[float, float]

_MEANING = {
    "unbiased": "the expected gradient is the exact one, within the interval",
    "biased but aligned": "not the exact gradient, but within 26 degrees of it",
    "wrong": "more than 26 degrees away from the exact gradient, or no gradient at all",
    "undecided": "the sample says too little; see the notes",
}
_WIDTH = 78


@dataclass(frozen=True)
class Spread:
    """What a picture of the estimate needs, in units of the exact gradient's length.

    Attributes:
        along: `[R]`, each round's share of the exact gradient; 1 is exact on average.
        mean: `[D]`, the mean's coordinates; exact are 1, 0, 0, ...
        deviation: `[D]`, their standard errors.
    """

    along: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


@dataclass(frozen=True)
class GradientReport:
    """The result of `check_policy_gradient`; printed, it reads as a page.

    Attributes:
        subject: name of what was checked.
        env: name of the environment.
        gamma: discount factor.
        horizon: time limit, in steps.
        bootstrap: whether the time limit is no part of the task.
        per: what the subject averages over, `"episode"` or `"step"`; the exact gradient
            is in the same unit.
        n_episodes: episodes played with the policy that was checked.
        n_rounds: gradients that they gave.
        seed: of the sampling.
        verdict: `"unbiased"`, `"biased but aligned"` (a cosine of 0.9 or more),
            `"wrong"`, or `"undecided"` where the sample says too little for any of
            them.
        cosine: of the angle between expected and exact gradient.
        cosine_interval: 95 % interval.
        relative_bias: length of their difference, relative to the exact gradient.
        relative_bias_interval: 95 % interval.
        factor: the expected gradient's share along the exact one; 1 is exact.
        variance_per_episode: trace of the covariance of the estimate from one episode,
            relative to the exact gradient's squared length.
        p_value: how probable so large a difference is if the subject is unbiased.
        diagnosis: what a biased gradient looks like; None if it is unbiased.
        notes: what else the reader should know.
        seconds: time it took.
        spread: for the picture.
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
        """Returns everything but the spread, as JSON can hold it."""
        report = {k: v for k, v in asdict(self).items() if k != "spread"}
        # Through JSON and back: tuples become lists.
        plain: dict[str, Any] = json.loads(json.dumps(report))
        return plain

    def to_json(self) -> str:
        """Returns `to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """Returns the report as a page of text."""
        limit = "no part of the task" if self.bootstrap else "part of the task"
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
            ("cosine", _between(self.cosine, self.cosine_interval)),
            (
                "relative bias",
                _between(self.relative_bias, self.relative_bias_interval),
            ),
            ("length", f"{self.factor:.3f} of the exact one, along it"),
            ("variance", f"{self.variance_per_episode:.3g} per episode (relative)"),
            ("p-value", f"{self.p_value:.2g} if it were unbiased"),
        ]
        lines = [f"  {name:14} {text}".rstrip() for name, text in rows]
        lines += ["", f"  {self.verdict.upper()}: {_MEANING[self.verdict]}"]
        if self.diagnosis is not None:
            lines += ["", *_paragraph(_diagnosed(self.diagnosis))]
            if self.diagnosis.match != "closest":
                lines += _paragraph(self.diagnosis.explanation)
        for note in self.notes:
            lines += ["", *_paragraph(f"Note: {note}")]
        return "\n".join(lines)


def _between(value: float, interval: Interval) -> str:
    return f"{value:.4f}   95 % interval {interval[0]:.4f} to {interval[1]:.4f}"


def _diagnosed(diagnosis: Diagnosis) -> str:
    said = {
        "equal": "It looks like: {title}.",
        "equal up to a factor": "It looks like: {title}.",
        "one of several": "It looks like one of: {title}.",
        "closest": "No mistake of the catalogue fits. Closest (cosine {cosine:.3f}): "
        "{title}.",
    }[diagnosis.match].format(title=diagnosis.title, cosine=diagnosis.cosine)
    if diagnosis.also:
        said += f" The same here would be: {'; '.join(diagnosis.also)}."
    return said


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")
