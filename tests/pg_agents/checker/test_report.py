"""The report says what was measured, in words, in JSON and as a picture."""

from __future__ import annotations

import functools
import io
import json
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from pg_agents.checker.diagnosis import Diagnosis
from pg_agents.checker.geometry import Geometry
from pg_agents.checker.measurement import Measurement
from pg_agents.checker.report import GradientReport, draw_report, progress_bar
from pg_agents.checker.statistics import GradientSeries
from pg_agents.checker.task import resolve_task
from pg_agents.checker.verdict import make_report

TASK = resolve_task("PGToy-Sequence-v0", 0.9, None, bootstrap=False)


def measurement(mean: list[float], noise: float = 0.5) -> Measurement:
    """Gaussian estimates around a mean, of an exact gradient of length 2."""
    import torch

    rng = np.random.default_rng(0)
    gradients = np.array(mean) + noise * rng.normal(size=(4000, 2))
    policy = np.full((3, 3), 1 / 3)
    scores = np.zeros((3, 3, 2))
    scores[..., 0] = rng.normal(size=(3, 3))
    scores[..., 1] = rng.normal(size=(3, 3))
    geometry = Geometry(policy, torch.eye(2).double(), scores, np.array([2.0, 0.0]))
    controls = np.zeros((4000, 0))
    series = GradientSeries(gradients, controls)
    return Measurement(TASK, geometry, series, None, 8.0, 4)


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [
        ([2.0, 0.0], "unbiased"),
        ([1.0, 0.0], "biased but aligned"),
        # cos 25.5 degrees = 0.903, cos 26.5 degrees = 0.895
        ([2.0, 0.954], "biased but aligned"),
        ([2.0, 0.997], "wrong"),
        ([-2.0, 0.0], "wrong"),
        ([0.0, 2.0], "wrong"),
    ],
)
def test_the_verdict_follows_bias_and_angle(mean: list[float], verdict: str) -> None:
    report = make_report(measurement(mean), "subject", seed=0, seconds=1.0)
    assert report.verdict == verdict
    assert report.unbiased == (verdict == "unbiased")
    assert (report.diagnosis is None) == report.unbiased


@functools.cache
def concluded() -> GradientReport:
    """What the tests below read, and none of them changes."""
    return make_report(measurement([1.0, 1.0]), "subject", seed=0, seconds=1.0)


def test_figures_are_those_of_the_estimates() -> None:
    """Standard error of each coordinate 0.5 / sqrt(4000) = 0.008, 4 of them 0.032."""
    report = concluded()
    assert report.factor == pytest.approx(0.5, abs=0.016)
    assert report.relative_bias == pytest.approx(np.sqrt(2) / 2, abs=0.02)
    assert report.cosine == pytest.approx(np.sqrt(0.5), abs=0.02)
    # Two coordinates of variance 0.25, eight episodes each, over 2 squared.
    assert report.variance_per_episode == pytest.approx(2 * 0.25 * 8 / 4, rel=0.1)
    assert (report.n_episodes, report.n_rounds) == (32_000, 4_000)


def test_json_holds_everything_but_the_picture() -> None:
    report = concluded()
    plain = json.loads(report.to_json())
    assert plain == report.to_dict()
    assert plain["verdict"] == report.verdict
    assert plain["diagnosis"]["key"] == getattr(report.diagnosis, "key", None)
    assert "spread" not in plain
    assert plain["cosine_interval"] == list(report.cosine_interval)


def some_report() -> GradientReport:
    report = concluded()
    found = Diagnosis("x", "the title", "the explanation", "equal", 1.0, ("another",))
    return replace(report, diagnosis=found, notes=("a note",))


def test_the_page_has_verdict_name_explanation_and_notes() -> None:
    page = str(some_report())
    for words in ("WRONG", "the title", "the explanation", "another", "Note: a note"):
        assert words in page
    assert max(len(line) for line in page.splitlines()) <= 88


def test_the_picture_shows_estimates_and_directions() -> None:
    report = some_report()
    estimates, directions = draw_report(report).axes
    bars = sum(patch.get_height() for patch in estimates.patches)  # type: ignore[attr-defined]
    assert bars == pytest.approx(report.n_rounds, rel=0.02)
    exact, mean = (line.get_ydata() for line in directions.lines[1:3])
    assert list(np.asarray(exact)) == [1.0, 0.0]
    assert np.allclose(np.asarray(mean), report.spread.mean)


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
