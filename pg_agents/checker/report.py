"""The report of a check: as data, text and figure, and the progress bar."""

from __future__ import annotations

import itertools
import json
import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Never

import numpy as np
from tqdm import tqdm

from pg_agents.checker.lines.place import Place
from pg_agents.checker.verdict import StateTable, TaskResult, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Target = Literal["exact", "algorithm"]
Compared = Literal["exact", "undiscounted", "both"]
Kind = Literal["mistake", "departure", "no gradient", "factor", "warning"]

EXIT_STATUS: dict[Verdict, int] = {
    "right": 0,
    "wrong": 1,
    "no gradient": 1,
    "undecided": 3,
}
_TARGETS = {
    "exact": "exact: the gradient of the return; --target algorithm allows more",
    "algorithm": "algorithm: what documented algorithms do; --target exact is stricter",
}
_MEANING = {
    ("right", "exact"): "the expected gradient has the direction of the exact one",
    ("right", "algorithm"): "the gradient is the one that the algorithm documents",
    (
        "wrong",
        "exact",
    ): "the expected gradient has another direction than the exact one",
    ("wrong", "algorithm"): "the gradient is not the one that the algorithm documents",
    ("no gradient", ""): "the expected gradient is zero: nothing is learnt from it",
    ("undecided", ""): "the sample is too small to tell",
}
# Where a formula was found.
_SEVERAL = "several formulas give these gradients, and not all of them are right"
_IN_PART = "not all that reaches the policy is explained by the formula; see the note"
# What a mean says about an algorithm, if no formula gives the gradients.
_NEITHER = (
    "no known formula gives the gradients, and their mean has another direction than "
    "the exact gradient"
)
_COMPARED = {
    ("right", "exact"): "the expected gradient has the direction of the exact one",
    ("right", "both"): "the expected gradient has the direction of the exact one",
    (
        "right",
        "undiscounted",
    ): "the expected gradient has the direction of the exact one without gamma^t, "
    "which the algorithm documents",
    ("wrong", "exact"): _NEITHER,
    ("wrong", "both"): f"{_NEITHER}, with gamma^t and without",
}
_NAN = (
    "after an episode of a single step the gradient is NaN, and from then on every "
    "weight is. Tasks without such episodes, such as CartPole, never show it"
)
# The verdict on a task in words that fit both targets.
_DIRECTION: dict[Verdict, str] = {
    "right": "exact",
    "wrong": "differs",
    "no gradient": "none",
    "undecided": "undecided",
}
# Mistakes that are not part of the formula of the policy's gradient.
_NOT_IN_FORMULA = frozenset(
    {
        "actions_not_sampled",
        "truncation_ignored",
        "end_ignored",
        "gradients_not_zeroed",
        "zeroed_before_step",
        "nan_deviation",
        "not_finite",
        "value_not_detached",
        "next_value_not_detached",
        "critic_sign_flipped",
    }
)
# Cosine below which a right report says that the departures matter.
_FAR = 0.7
_WIDTH = 78
# Rows of the table of states, findings that are explained, and ties that are listed.
_MAX_ROWS, _MAX_EXPLAINED, _MAX_TIES = 10, 2, 3
# Findings in this order.
_ORDER: tuple[Kind, ...] = ("mistake", "no gradient", "warning", "departure", "factor")
_MAX_BARS = 24
# Characters of the user's source within a sentence.
_MAX_CODE = 60


@dataclass(frozen=True)
class Finding:
    """A mistake, or another property of the gradient, that was identified.

    Attributes:
        key: key in the catalogue, such as `"sign_flipped"`.
        title: display name.
        kind: `"mistake"`; `"departure"` from the exact gradient that documented
            algorithms make; `"no gradient"`: the expectation is zero; `"factor"`: of
            the length alone; `"warning"`.
        explanation: its effect.
        wrong: code that has it; empty if there is none.
        right: code that has not.
        place: the line of the user's source that has it; None where no line is certain.
    """

    key: str
    title: str
    kind: Kind
    explanation: str
    wrong: str = ""
    right: str = ""
    place: Place | None = None


@dataclass(frozen=True)
class GradientReport:
    """The result of a check; `print(report)` shows it as text.

    Attributes:
        subject: name of the subject.
        target: what it is compared with, see `check_policy_gradient`.
        verdict: `"right"` for the target, `"wrong"`, `"no gradient"` if the expected
            gradient is zero, or `"undecided"` if the sample is too small or the
            formula does not tell.
        formula: the formula that reproduces every recorded gradient on every task; None
            if none does. Then the mean of many gradients was compared.
        residual: largest relative difference between recorded gradients and formula, or
            between them and the closest formula; None if formulas were not fitted.
        findings: what was identified; a mistake is named only if it holds on all tasks.
        ties: titles of other explanations with the same gradients on all tasks.
        tasks: the result on each task; none if all gradients are NaN.
        notes: remarks, such as limits of the check.
        caveats: what of the subject was not seen, and may change the verdict.
        seed: seed of the sampling.
        seconds: wall-clock time of the check.
        takes_episodes: whether the user chooses the number of episodes; a script has
            its own.
        compared: without a formula, what the mean was compared with: the `"exact"`
            gradient, or also the one without gamma^t, which documented algorithms
            follow (`"both"`). `"undiscounted"`: the results on the tasks are against
            the latter, as the mean has its direction.
        backward: where the user's source differentiates the loss of the policy; None if
            it is not known.
        loss: the lines that build this loss; None if they are not known.
    """

    subject: str
    target: Target
    verdict: Verdict
    formula: str | None
    residual: float | None
    findings: tuple[Finding, ...]
    ties: tuple[str, ...]
    tasks: tuple[TaskResult, ...]
    notes: tuple[str, ...]
    seed: int
    seconds: float
    takes_episodes: bool = True
    compared: Compared = "exact"
    caveats: tuple[str, ...] = ()
    backward: Place | None = None
    loss: Place | None = None

    @property
    def right(self) -> bool:
        """Whether the verdict is `"right"`."""
        return self.verdict == "right"

    @property
    def exit_status(self) -> int:
        """0 if right, 1 if wrong or without gradient, 3 if undecided."""
        return EXIT_STATUS[self.verdict]

    @property
    def name(self) -> str:
        """What the gradient is, in words; empty if it is the exact one or unknown."""
        return self.named("mistake", "no gradient", "warning", "departure")

    def named(self, *kinds: Kind) -> str:
        """Returns the titles of the findings of some kinds; empty if there are none."""
        titles = [finding.title for finding in self._sorted if finding.kind in kinds]
        return " + ".join(titles)

    @property
    def worst(self) -> TaskResult:
        """The task on which the gradient is farthest from the exact one.

        Raises:
            ValueError: if there is no task.
        """
        return max(self.tasks, key=_distance)

    @property
    def _sorted(self) -> list[Finding]:
        """The findings, mistakes first."""
        return sorted(self.findings, key=lambda f: _ORDER.index(f.kind))

    @property
    def _is_explained(self) -> bool:
        """Whether the findings say why the verdict is what it is."""
        kinds = {finding.kind for finding in self.findings}
        return self.formula is not None or bool(kinds & {"mistake", "no gradient"})

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-compatible types; infinity is None."""

        def plain(value: Any) -> Any:  # noqa: ANN401
            if isinstance(value, dict):
                return {name: plain(part) for name, part in value.items()}
            if isinstance(value, tuple | list):
                return [plain(part) for part in value]
            if isinstance(value, np.ndarray):
                return value.tolist()
            if isinstance(value, float) and not math.isfinite(value):
                return None
            return value

        report: dict[str, Any] = plain(asdict(self))
        return report | {"name": self.name, "exit_status": self.exit_status}

    def to_json(self) -> str:
        """Returns `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """Returns the report as text of at most 80 columns that fits one screen."""
        blocks = [
            self._head(),
            self._verdict_lines(),
            self._results_lines(),
            *self._finding_blocks(),
            *(_paragraph(f"Note: {note.rstrip('.')}.") for note in self.notes),
        ]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def _head(self) -> list[str]:
        episodes = sum(task.n_episodes for task in self.tasks)
        rows = [("subject", self.subject), ("target", _TARGETS[self.target])]
        if self.tasks:
            task = self.tasks[0]
            limit = ", no part of the task" if task.bootstrap else ""
            rows.append(
                ("tasks", f"gamma {task.gamma:g}, time limit {task.horizon}{limit}")
            )
        if self.formula is not None:
            way = (
                f"a formula that gives every gradient, up to {self.residual:.0e} of it"
            )
        elif self.tasks:
            gradients = sum(task.n_gradients for task in self.tasks)
            way = f"mean of {gradients:,} gradients; no known formula gives them"
        else:
            way = "none: there is no gradient of the policy that could be compared"
        rows += [
            ("method", way),
            (
                "sample",
                f"{episodes:,} episodes, seed {self.seed}, {self.seconds:.1f} s",
            ),
        ]
        return [f"  {name:9} {text}" for name, text in rows]

    def _verdict_lines(self) -> list[str]:
        meaning = _MEANING.get((self.verdict, self.target))
        meaning = meaning or _MEANING[(self.verdict, "")]
        if self.target == "algorithm" and not self._is_explained:
            meaning = _COMPARED.get((self.verdict, self.compared), meaning)
        if self.verdict == "undecided" and self.formula is not None:
            # More episodes of a script change nothing then.
            if self.ties:
                meaning = _SEVERAL
            elif not self.takes_episodes:
                meaning = _IN_PART
        lines = _paragraph(f"{self.verdict.upper()}: {meaning}.")
        for caveat in self.caveats:
            lines += _paragraph(f"Seen in part: {caveat.rstrip('.')}.")
        if self.right and any(f.key == "nan_deviation" for f in self.findings):
            lines += _paragraph(f"WARNING: {_NAN}.")
        if self.ties:
            ties = [*self.ties[:_MAX_TIES]]
            if len(self.ties) > _MAX_TIES:
                ties.append(f"and {len(self.ties) - _MAX_TIES} more")
            lines += _paragraph(
                f"It is one of these, which give the same gradients here: {self.name}; "
                f"{'; '.join(ties)}."
            )
        else:
            lines += self._named_lines()
        if self.formula is not None:
            lines += _paragraph(f"Gradient: {self.formula}")
        return lines + self._where_lines()

    def _where_lines(self) -> list[str]:
        """Returns where the loss stands in the user's source."""
        backward, loss = self.backward, self.loss
        if backward is None:
            return [] if loss is None else _paragraph(f"Where: the loss of {loss}.")
        where = f"Where: {backward}, {_shortened(backward.code)}"
        if loss is not None and loss.file != backward.file:
            where += f", of the loss in {loss}"
        elif loss is not None and loss.line != backward.line:
            where += f", of the loss in {loss.lines}"
        return _paragraph(f"{where}.")

    def _named_lines(self) -> list[str]:
        """Returns what it is: mistakes, and apart from them what is allowed."""
        mistakes = [
            f.title if f.place is None else f"{f.title}, {f.place}"
            for f in self._sorted
            if f.kind in ("mistake", "no gradient")
        ]
        departures = self.named("departure")
        lines: list[str] = []
        if mistakes:
            plural = "s" if len(mistakes) > 1 else ""
            lines += _paragraph(f"Mistake{plural}: {'; '.join(mistakes)}.")
        elif not self.right and self.verdict != "undecided" and not self._is_explained:
            lines += _paragraph("It is none of the mistakes that are known here.")
        if departures and self.right and self.target == "exact":
            lines += _paragraph(
                f"The direction is exact in spite of departures: {departures}."
            )
        elif departures:
            lines += _paragraph(f"Departures from the exact gradient: {departures}.")
        if warnings := self.named("warning"):
            lines += _paragraph(f"Warning: {warnings}.")
        return lines

    def _results_lines(self) -> list[str]:
        """Returns the table of tasks, and what it compares."""
        if not self.tasks:
            return []
        mistakes = {f.key for f in self.findings if f.kind == "mistake"}
        compared, remark = "The expected gradient", ""
        if self.compared == "undiscounted":
            remark = " Exact is here the gradient without gamma^t."
        if self.formula is not None and mistakes and mistakes <= _NOT_IN_FORMULA:
            compared = "The formula"
            remark = " What is wrong is not part of the formula."
        # Against documented algorithms it is no verdict.
        judged = self.target == "exact" or self.verdict == "no gradient"
        if self.formula is not None and not judged:
            remark += " The table is no verdict: departures count here, too."
        lines = _paragraph(
            f"{compared} against the exact one, on small tasks. Error: its part across "
            "the exact gradient, relative to its part along it; length: of the part "
            "along it, in units of the exact gradient; it acts like a factor of the "
            f"step size.{remark}"
        )
        heading = f"{'direction':11} " if judged else ""
        lines.append(
            f"  {'task':17} {heading}{'cosine':>7} {'error':>8} "
            f"{'95 % interval':>19} {'length':>8}"
        )
        for task in self.tasks:
            cosine = error = interval = "-"
            if task.cosine is not None:
                assert task.error is not None and task.error_interval is not None
                cosine, error = f"{task.cosine:.4f}", _percent(task.error)
                interval = " to ".join(map(_percent, task.error_interval))
                if not math.isfinite(task.error):
                    # 90 degrees or more from the exact gradient.
                    error = interval = "-"
            direction = f"{_DIRECTION[task.verdict]:11} " if judged else ""
            length = f"{task.length:.3g}" if abs(task.length) >= 1e-3 else "0.000"
            lines.append(
                f"  {task.task[:17]:17} {direction}{cosine:>7} "
                f"{error:>8} {interval:>19} {length:>8}"
            )
        far = [t for t in self.tasks if t.cosine is not None and t.cosine < _FAR]
        if self.right and far:
            task = min(far, key=lambda t: t.cosine or 0.0)
            lines += _paragraph(
                f"The departures turn the gradient far away from the exact one on "
                f"{task.task}: they matter in tasks like it."
            )
        return lines

    def _finding_blocks(self) -> list[list[str]]:
        """Returns explanations or, without a name, where the gradient is off."""
        blocks = []
        mistakes = [f for f in self._sorted if f.kind in ("mistake", "no gradient")]
        n_explained = max(_MAX_EXPLAINED, len(mistakes))
        for i, finding in enumerate(self._sorted[:n_explained]):
            title = f"{finding.title[0].upper()}{finding.title[1:]}"
            if finding.kind == "departure":
                title += " (as documented algorithms do)"
            text = f"{finding.explanation[0].upper()}{finding.explanation[1:]}"
            block = _paragraph(f"{title}: {text.rstrip('.')}.")
            if finding.place is not None:
                block += _code(finding.place.lines, finding.place.code)
            departs = finding.kind == "departure"
            is_named = finding in mistakes or (i == 0 and departs)
            shown = is_named and not self.right and self._is_explained
            if finding.wrong and (shown or finding.kind == "warning"):
                block += _code("found" if departs else "wrong", finding.wrong)
                block += _code("exact" if departs else "right", finding.right)
            blocks.append(block)
        others = [f for f in self._sorted[n_explained:] if f.kind != "factor"]
        if others:
            titles = ", ".join(finding.title for finding in others)
            blocks.append(
                _paragraph(f"Explained in docs/pitfalls.md and by --json: {titles}.")
            )
        table = self.worst.table if self.tasks else None
        if not self._is_explained and not self.right and table is not None:
            blocks.append(_state_lines(self.worst.task, table))
        more = [t.more_episodes for t in self.tasks if t.more_episodes is not None]
        if self.verdict == "undecided" and more:
            n = _rounded(self._sampled() + max(more))
            how = f": n_episodes={n} (--episodes {n})" if self.takes_episodes else ""
            blocks.append(
                _paragraph(
                    f"About {_rounded(max(more)):,} more episodes per task would do"
                    f"{how}."
                )
            )
        return blocks

    def _sampled(self) -> int:
        return max(task.n_episodes for task in self.tasks)


def placed(
    findings: Iterable[Finding], places: Mapping[str, Place]
) -> tuple[Finding, ...]:
    """Returns findings with their lines, as far as these are known.

    Departures, which documented algorithms make, need no line.
    """
    return tuple(
        replace(finding, place=places.get(finding.key))
        if finding.kind in ("mistake", "no gradient", "warning")
        else finding
        for finding in findings
    )


def _distance(task: TaskResult) -> float:
    """Returns a number that orders tasks by how far their gradient is off."""
    return 2.0 if task.cosine is None else 1.0 - task.cosine


def _rounded(number: int) -> int:
    """Rounds up to two digits."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // unit) * unit


def _percent(error: float) -> str:
    """Returns the tangent of an angle as a percentage."""
    if error > 10.0:
        return "> 1000 %"
    return f"{error:.2%}" if error < 0.0995 else f"{error:.0%}"


def _state_lines(task: str, table: StateTable) -> list[str]:
    scaled = "" if table.factor == 1.0 else f", divided by {table.factor:.3g}"
    lines = _paragraph(
        f"Where it is most off ({task}; derivative by each logit{scaled}):"
    )
    lines.append(f"  {'state':>7} {'action':>7} {'exact':>9} {'found':>9} {'+-':>8}")
    for state, action, exact, found, deviation in table.rows(_MAX_ROWS):
        lines.append(
            f"  {state:7} {action:7} {exact:+9.3f} {found:+9.3f} "
            f"{1.96 * deviation:8.3f}"
        )
    return lines


def _code(name: str, text: str) -> list[str]:
    """Returns lines of code, each under the one before, not broken within an index."""
    lines = []
    for i, line in enumerate(text.splitlines()):
        first = f"    {name}: " if i == 0 else " " * 11
        whole = re.sub(r"\[[^\[\]]*\]", lambda m: m[0].replace(" ", "\0"), line)
        lines += textwrap.wrap(
            whole, _WIDTH, initial_indent=first, subsequent_indent=" " * 13
        )
    return [line.replace("\0", " ") for line in lines]


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        # A path stays whole.
        break_on_hyphens=False,
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_CODE else f"{text[: _MAX_CODE - 3]}..."


def draw_report(report: GradientReport) -> Figure:
    """Draws the exact and the estimated gradient in each state, one panel a task.

    `pg_agents.analysis.plots.save_figure` writes the figure.

    Raises:
        ValueError: if the report has no task.
    """
    if not report.tasks:
        raise ValueError("no gradient is finite: there is nothing to draw")
    # matplotlib is slow to import, and checks do not need it.
    from pg_agents.analysis.plots.style import new_figure

    n_tasks = len(report.tasks)
    figure, panels = new_figure(4.2 * n_tasks + 0.6, 4.2, n_tasks, share=False)
    for axes, task in zip(panels, report.tasks, strict=True):
        _draw_task(axes, task)
    title = f"{report.subject}: {report.verdict} ({report.target})"
    figure.suptitle(
        f"{title}: {report.name}" if report.name else title,
        fontsize="medium",
        wrap=True,
    )
    return figure


def _draw_task(axes: Axes, task: TaskResult) -> None:
    from pg_agents.analysis.plots.style import PALETTE

    cosine = "" if task.cosine is None else f", cosine {task.cosine:.4f}"
    axes.set_title(f"{task.task}: {_DIRECTION[task.verdict]}{cosine}", fontsize="small")
    table = task.table
    if table is None:
        axes.text(0.5, 0.5, "not attributed to states", ha="center", va="center")
        return
    n_actions = table.exact.shape[1]
    rows = table.rows(_MAX_BARS)
    # A gap between states.
    x = np.cumsum([0.0] + [1.0 + (a[0] != b[0]) for a, b in itertools.pairwise(rows)])
    exact, found, deviation = (np.array([row[i] for row in rows]) for i in (2, 3, 4))
    axes.axhline(0.0, color="#bbbbbb", lw=0.8)
    axes.bar(x, exact, width=0.8, color=PALETTE[5], label="exact")
    axes.errorbar(
        x,
        found,
        1.96 * deviation,
        fmt="o",
        ms=4,
        capsize=2,
        color=PALETTE[1],
        label="found, 95 % interval",
    )
    axes.set_xticks(x, [str(row[1]) for row in rows], fontsize="x-small")
    for state in dict.fromkeys(row[0] for row in rows):
        middle = float(
            np.mean([p for p, row in zip(x, rows, strict=True) if row[0] == state])
        )
        axes.annotate(
            f"state {state}" if n_actions > 2 else f"s{state}",
            (middle, 0.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, -22),
            textcoords="offset points",
            ha="center",
            fontsize="x-small",
        )
    scaled = "" if table.factor == 1.0 else f" / {table.factor:.3g}"
    axes.set_ylabel(f"derivative by each logit{scaled}", fontsize="small")
    axes.set_xlabel("action in each state", labelpad=16, fontsize="small")
    axes.margins(y=0.15)
    axes.legend(frameon=False, fontsize="x-small")


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
        """Opens the bar for a total number of episodes, in place of an earlier one."""
        self.close()
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
