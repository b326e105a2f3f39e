"""The steps of a check: record, identify, judge, and report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pg_agents.checker.mistakes import MISTAKES
from pg_agents.checker.record import Record
from pg_agents.checker.report import Finding, GradientReport, Progress, Target
from pg_agents.checker.task import Task
from pg_agents.checker.verdict import Measurement, TaskResult, Verdict, judge, worst

# Gradients with a larger share that does not pass through the policy's outputs are not
# fitted.
_MAX_UNEXPLAINED = 1e-3


class TaskSubject(Protocol):
    """A subject on one task.

    Attributes:
        task: MDP and objective.
        notes: remarks for the report.
        n_recorded: number of episodes that `record` samples.
        n_measured: number of episodes that `measure` samples.
    """

    task: Task

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def n_recorded(self) -> int: ...

    @property
    def n_measured(self) -> int: ...

    def record(self, progress: Progress) -> Record:
        """Returns a few decoded gradients, for the search of a formula."""

    def measure(self, progress: Progress) -> Measurement:
        """Returns many gradients, for the estimate of their mean."""


def conclude(
    subjects: Sequence[TaskSubject],
    name: str,
    target: Target,
    seed: int,
    progress: Progress,
) -> GradientReport:
    """Returns the report on a subject, without the time that it took.

    Args:
        subjects: the subject on each task.
        name: of the subject.
        target: what it is compared with.
        seed: of the sampling.
        progress: progress bar.
    """
    progress.start(sum(subject.n_recorded for subject in subjects))
    records = [subject.record(progress) for subject in subjects]
    progress.start(sum(subject.n_measured for subject in subjects))
    measured = [subject.measure(progress) for subject in subjects]
    results = tuple(map(judge, measured))
    findings: tuple[Finding, ...] = ()
    if any(m.stateful for m in measured):
        findings = (finding("replay"),)
    notes = [note for subject in subjects for note in subject.notes]
    notes += [note for record in records for note in record.notes]
    notes += [note for m in measured for note in m.notes]
    return GradientReport(
        subject=name,
        target=target,
        verdict=worst(results),
        formula=None,
        residual=None,
        findings=findings,
        ties=(),
        tasks=results,
        notes=tuple(dict.fromkeys(notes)),
        seed=seed,
        seconds=0.0,
    )


def finding(key: str) -> Finding:
    """Returns a mistake of the catalogue as a finding."""
    mistake = MISTAKES[key]
    return Finding(
        key,
        mistake.title,
        mistake.kind,
        mistake.explanation,
        mistake.wrong,
        mistake.right,
    )
