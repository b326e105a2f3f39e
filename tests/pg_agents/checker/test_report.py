"""The report says what was found, in words, in JSON and as a picture."""

from __future__ import annotations

import io
import json
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pg_agents.checker.lines.place import Place
from pg_agents.checker.report import (
    Finding,
    GradientReport,
    draw_report,
    placed,
    progress_bar,
)
from pg_agents.checker.verdict import StateTable, TaskResult

RNG = np.random.default_rng(0)


def table(n_states: int = 6, n_actions: int = 3) -> StateTable:
    exact, noise = RNG.normal(size=(2, n_states, n_actions))
    return StateTable(exact, exact + noise, np.full(exact.shape, 0.01), 2.0)


def result(name: str, **changes: Any) -> TaskResult:
    found = TaskResult(
        task=name,
        gamma=0.9,
        horizon=100,
        bootstrap=False,
        verdict="wrong",
        cosine=0.5,
        cosine_interval=(0.49, 0.51),
        error=1.732,
        error_interval=(1.7, 1.8),
        length=1.5,
        p_value=0.0,
        n_episodes=8_192,
        n_gradients=1_024,
        more_episodes=None,
        table=table(),
    )
    return replace(found, **changes)


RIGHT = {"verdict": "right", "cosine": 1.0, "error": 0.0, "error_interval": (0.0, 0.01)}
LONG = "One sentence of an explanation that is about as long as others are. " * 4
MISTAKE = Finding("a", "the mistake", "mistake", LONG, "wrong = code()", "right = 1")
DEPARTURE = Finding("b", "the departure", "departure", LONG, "some", "other")


def report(**changes: Any) -> GradientReport:
    names = ("fork", "random MDP", "Sequence")
    found = GradientReport(
        subject="module.subject",
        target="exact",
        verdict="wrong",
        formula=None,
        residual=None,
        findings=(),
        ties=(),
        tasks=tuple(result(name) for name in names),
        notes=(),
        seed=0,
        seconds=1.25,
    )
    return replace(found, **changes)


REPORTS = {
    "without a name": report(notes=("a note", LONG)),
    "one mistake": report(findings=(MISTAKE,), formula="sum of G", residual=1e-7),
    "many findings": report(
        findings=(DEPARTURE, MISTAKE, replace(DEPARTURE, key="c"), MISTAKE),
        formula="sum of G",
        residual=1e-7,
    ),
    "ties": report(findings=(MISTAKE,), ties=("another", "a third"), residual=1e-7),
    "right": report(verdict="right", tasks=(result("fork", **RIGHT),)),
    "departures": report(
        verdict="right",
        target="algorithm",
        findings=(DEPARTURE,),
        formula="x",
        residual=1e-7,
    ),
    "no gradient": report(
        verdict="no gradient",
        tasks=(result("fork", cosine=None, error=None, error_interval=None),),
    ),
    "undecided": report(
        verdict="undecided",
        tasks=(result("fork", verdict="undecided", more_episodes=123_456),),
    ),
}
EVERY_REPORT = pytest.mark.parametrize("found", REPORTS.values(), ids=REPORTS)


@EVERY_REPORT
def test_the_text_fits_one_screen(found: GradientReport) -> None:
    lines = str(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 40
    assert lines[-1].strip()
    for words in (found.verdict.upper(), "module.subject", "seed 0", "1.2 s"):
        assert words in str(found)


@EVERY_REPORT
def test_json_holds_everything(found: GradientReport) -> None:
    plain = json.loads(found.to_json())
    assert plain == found.to_dict()
    assert plain["verdict"] == found.verdict
    assert plain["exit_status"] == found.exit_status
    assert [f["key"] for f in plain["findings"]] == [f.key for f in found.findings]
    assert len(plain["tasks"]) == len(found.tasks)
    assert plain["tasks"][0]["table"]["exact"][0][0] == found.tasks[0].table.exact[0, 0]  # type: ignore[union-attr]


def test_infinite_numbers_are_null_in_json() -> None:
    """JSON has no infinity."""
    opposite = report(
        tasks=(result("fork", error=np.inf, error_interval=(0.0, np.inf)),)
    )
    found = json.loads(opposite.to_json(), parse_constant=pytest.fail)
    assert found["tasks"][0]["error"] is None
    assert "inf" not in str(opposite)


@pytest.mark.parametrize(
    ("verdict", "status"),
    [("right", 0), ("wrong", 1), ("no gradient", 1), ("undecided", 3)],
)
def test_the_exit_status_follows_the_verdict(verdict: Any, status: int) -> None:
    assert report(verdict=verdict).exit_status == status
    assert report(verdict=verdict).right == (status == 0)


def test_a_mistake_is_named_and_explained_with_its_lines() -> None:
    page = str(REPORTS["one mistake"])
    for words in ("Mistake: the mistake.", "One sentence", "wrong: wrong = code()"):
        assert words in page
    assert "state" not in page


LINE = Place("demos/train.py", 71, "advantage = returns - value", 71)
LOSS = Place("demos/train.py", 70, "a = 1\nloss = a", 74)
CALL = Place("demos/train.py", 77, "loss.backward()", 77)


def test_a_mistake_has_its_line_where_that_is_certain() -> None:
    found = replace(
        REPORTS["one mistake"], findings=placed([MISTAKE, DEPARTURE], {"a": LINE})
    )
    page = str(found)
    assert "  Mistake: the mistake, demos/train.py:71.\n" in page
    assert "    line 71: advantage = returns - value\n    wrong: wrong = code()" in page
    plain = json.loads(found.to_json())
    assert [f["place"] for f in plain["findings"]] == [
        {"file": "demos/train.py", "line": 71, "text": LINE.text, "end_line": 71},
        None,
    ]
    long = replace(LINE, text=f"{'x = [1] ; ' * 20}\n{'y' * 30}", end_line=72)
    page = str(replace(found, findings=placed([MISTAKE], {"a": long})))
    assert "demos/train.py:71-72." in page and "    lines 71-72: x = [1]" in page
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize(
    ("backward", "loss", "where"),
    [
        (None, None, ""),
        (None, LOSS, "Where: the loss of demos/train.py:70-74."),
        (CALL, None, "Where: demos/train.py:77, loss.backward()."),
        (CALL, LOSS, "demos/train.py:77, loss.backward(), of the loss in lines 70-74."),
        (CALL, LINE, "demos/train.py:77, loss.backward(), of the loss in line 71."),
        (LINE, LINE, "Where: demos/train.py:71, advantage = returns - value."),
        (CALL, replace(LOSS, file="demos/a.py"), "of the loss in demos/a.py:70-74."),
        (replace(CALL, text="x" * 90), None, f"demos/train.py:77, {'x' * 57}...."),
    ],
)
@pytest.mark.parametrize("verdict", ["wrong", "right"])
def test_it_says_where_the_loss_is(
    backward: Place | None, loss: Place | None, where: str, verdict: Any
) -> None:
    found = report(verdict=verdict, backward=backward, loss=loss)
    page = " ".join(str(found).split())
    assert ("Where: " in page) == bool(where) and where in page
    plain = json.loads(found.to_json())
    assert (plain["backward"] or {}).get("line") == (backward and backward.line)
    assert (plain["loss"] or {}).get("end_line") == (loss and loss.end_line)


def test_without_a_name_it_shows_where_the_gradient_is_off() -> None:
    found = REPORTS["without a name"]
    page = str(found)
    assert "none of the mistakes that are known" in page and "closest" not in page
    state, action, exact, estimated, deviation = found.worst.table.rows(1)[0]  # type: ignore[union-attr]
    row = next(
        line.split()
        for line in page.splitlines()
        if line.split()[:2] == [str(state), str(action)]
    )
    assert [float(x) for x in row[2:]] == pytest.approx(
        [exact, estimated, 1.96 * deviation], abs=6e-4
    )


def test_ties_are_reported_and_not_asserted() -> None:
    page = " ".join(str(REPORTS["ties"]).split())
    assert "It is one of these" in page and "another; a third" in page
    assert "Mistake" not in page


def test_no_cosine_is_printed_where_the_gradient_may_be_zero() -> None:
    row = next(
        line for line in str(REPORTS["no gradient"]).splitlines() if "fork" in line
    )
    assert row.split()[2:5] == ["-", "-", "-"]


def test_undecided_between_formulas_does_not_ask_for_a_larger_sample() -> None:
    between = replace(
        REPORTS["undecided"], formula="G_t", residual=1e-7, ties=("sign flipped",)
    )
    page = " ".join(str(between).split())
    assert "UNDECIDED: several formulas give these gradients" in page
    assert "too small" not in page


def test_undecided_says_how_many_more_episodes_would_do() -> None:
    page = " ".join(str(REPORTS["undecided"]).split())
    assert "About 130,000 more episodes per task would do" in page
    assert "n_episodes=140000" in page
    # A script cannot be told how many.
    script = str(replace(REPORTS["undecided"], takes_episodes=False))
    assert "130,000 more episodes" in script and "--episodes" not in script


def test_what_was_not_seen_stands_below_the_verdict() -> None:
    caveat = "the script was stopped after 12 updates"
    lines = str(report(caveats=(caveat,), notes=("a remark",))).splitlines()
    (verdict,) = (i for i, line in enumerate(lines) if "WRONG" in line)
    assert lines[verdict + 1] == f"  Seen in part: {caveat}."
    assert json.loads(report(caveats=(caveat,)).to_json())["caveats"] == [caveat]


def test_right_says_that_short_episodes_give_nan() -> None:
    warning = Finding("nan_deviation", "deviation of a single return", "warning", LONG)
    text = str(
        report(
            verdict="right",
            target="algorithm",
            formula="G_t",
            residual=1e-7,
            findings=(warning,),
        )
    )
    lines = [line.strip() for line in text.splitlines()]
    verdict = lines.index(
        "RIGHT: the gradient is the one that the algorithm documents."
    )
    assert lines[verdict + 1].startswith("WARNING: after an episode of a single step")
    page = " ".join(text.split())
    assert "the gradient is NaN, and from then on every weight is." in page
    assert "Deviation of a single return: One sentence" in page
    # It is none of the departures.
    assert "Departures" not in page and "is wrong" not in page


def test_mistakes_and_departures_are_told_apart() -> None:
    found = REPORTS["many findings"]
    second = replace(MISTAKE, key="d", title="the second", right="right = 2")
    found = replace(found, findings=(*found.findings, second), target="algorithm")
    page = " ".join(str(found).split())
    assert "Mistakes: the mistake; the mistake; the second." in page
    assert "Departures from the exact gradient: the departure + the departure." in page
    # Each mistake has its lines; what is left out is said.
    assert page.count("right: right =") == 3 and "right: right = 2" in page
    assert "Explained in docs/pitfalls.md and by --json: the departure," in page
    assert "The table is no verdict: departures count here, too." in page


def test_departures_are_lines_of_a_right_report() -> None:
    page = " ".join(str(REPORTS["departures"]).split())
    assert "RIGHT" in page and "The departure (as documented algorithms do)" in page


@EVERY_REPORT
def test_the_picture_shows_exact_and_estimated_gradient(found: GradientReport) -> None:
    panels = draw_report(found).axes
    assert len(panels) == len(found.tasks)
    for axes, task in zip(panels, found.tasks, strict=True):
        assert task.table is not None
        heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
        assert sorted(heights) == pytest.approx(sorted(task.table.exact.flatten()))
        (points,) = (line for line in axes.lines if line.get_marker() == "o")
        drawn = np.sort(np.asarray(points.get_ydata(), dtype=float))
        np.testing.assert_allclose(drawn, np.sort(task.table.estimated.flatten()))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "show", "visible"),
    [
        (Terminal(), True, True),
        (Terminal(), False, False),
        (io.StringIO(), True, False),
    ],
)
def test_the_progress_bar_shows_on_a_terminal_only(
    stream: io.StringIO, show: bool, visible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(show) as bar:
        bar.start(200)
        # More than the total: the bar stops at its end.
        for _ in range(3):
            # The bar is redrawn ten times a second at most.
            time.sleep(0.15)
            bar.advance(80)
    text = stream.getvalue()
    if visible:
        assert " 80/200 " in text and " 160/200 " in text and "240" not in text
        # It is removed at the end.
        assert text.endswith("\r")
    else:
        assert text == ""
