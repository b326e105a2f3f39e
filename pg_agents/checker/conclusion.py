"""The steps of a check: record, identify, judge, and report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from pg_agents.checker.description import described
from pg_agents.checker.geometry import Geometry, undiscounted_outputs
from pg_agents.checker.identify import (
    OF_VALUES,
    Identification,
    identify,
    with_found_values,
)
from pg_agents.checker.mistakes import MISTAKES
from pg_agents.checker.record import Record
from pg_agents.checker.report import (
    Compared,
    Finding,
    GradientReport,
    Progress,
    Target,
)
from pg_agents.checker.simulation import simulate
from pg_agents.checker.statistics import pooled
from pg_agents.checker.task import Task
from pg_agents.checker.verdict import Measurement, TaskResult, Verdict, judge, worst

# Gradients with a larger share that does not pass through the policy's outputs are not
# fitted.
_MAX_UNEXPLAINED = 1e-3
# Transitions by which the expectation of a formula is estimated, and four times as many
# unless its error is below a bound.
_N_SIMULATED, _PRECISE = 300_000, 0.02
# Transitions if the formula is right by itself, so that its expectation is known.
_N_KNOWN = 100_000
# Samples that are added to one that is too small to tell.
_MAX_POOLED = 2
# A rejection with a larger p-value than the first is repeated with another sample, at
# the second level.
_CERTAIN, _CONFIRMING_SIGNIFICANCE = 1e-8, 1e-3
# p-value of a rejection by a small part of the sample that ends the check.
_OBVIOUS = 1e-12


class TaskSubject(Protocol):
    """A subject on one task.

    Attributes:
        task: MDP and objective.
        geometry: the policy and the exact gradient.
        is_random: whether its gradients depend on random numbers beyond the episodes.
        notes: remarks for the report.
        n_recorded: number of episodes that `record` samples.
        n_measured: number of episodes that `measure` samples.
    """

    task: Task
    geometry: Geometry
    is_random: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the report."""

    @property
    def n_recorded(self) -> int:
        """Number of episodes that `record` samples."""

    @property
    def n_measured(self) -> int:
        """Number of episodes that `measure` samples."""

    def record(self, progress: Progress) -> Record:
        """Returns a few decoded gradients, for the search of a formula."""

    def measure(self, progress: Progress, repeat: int = 0) -> Iterator[Measurement]:
        """Yields many gradients, for the estimate of their mean, and then more of them.

        Args:
            progress: progress bar.
            repeat: number of the sample; each is independent.
        """


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
    found = _identified(records)
    results, measured, compared = _results(
        subjects, records, found, target, seed, progress
    )
    findings = _findings(found)
    ties: tuple[str, ...] = ()
    if found is not None:
        ties = tuple(" + ".join(p.title for p in tie) for tie in found.ties)
    elif any(m.stateful for m in measured):
        findings = (catalogue_finding("replay"),)
    elif compared == "undiscounted":
        findings = (catalogue_finding("gamma_dropped"),)
    elif worst(results) == "no gradient" and all(s.is_random for s in subjects):
        findings = (catalogue_finding("action_resampled"),)
    notes = [note for subject in subjects for note in subject.notes]
    notes += [note for record in records for note in record.notes]
    notes += [note for m in measured for note in m.notes]
    return GradientReport(
        subject=name,
        target=target,
        verdict=_verdict(results, found, target),
        formula=described(found.formula, same_mean=found.same_mean)
        if found and found.formula
        else None,
        residual=None if found is None else found.residual,
        findings=findings,
        ties=ties,
        tasks=results,
        notes=tuple(dict.fromkeys(notes)),
        seed=seed,
        seconds=0.0,
        compared=compared,
    )


def _results(
    subjects: Sequence[TaskSubject],
    records: Sequence[Record],
    found: Identification | None,
    target: Target,
    seed: int,
    progress: Progress,
) -> tuple[tuple[TaskResult, ...], list[Measurement], Compared]:
    """Returns the results by the formula on each task or, without one, by the mean.

    If the mean has another direction than the exact gradient, and the target is the
    algorithm, it is compared with the gradient without gamma^t, too.
    """
    if found is not None:
        simulated = _simulated(subjects, records, found, seed)
        if simulated is not None:
            return simulated, [], "exact"
    sampled = _Sampled(subjects, progress)
    results = sampled.results()
    if found is None and target == "algorithm" and worst(results) != "right":
        undiscounted = sampled.results(_undiscounted)
        if worst(undiscounted) == "right":
            return undiscounted, sampled.measured, "undiscounted"
        return results, sampled.measured, "both"
    return results, sampled.measured, "exact"


def _undiscounted(subject: TaskSubject, measured: Measurement) -> Measurement:
    """Returns a measurement that is compared with the gradient without gamma^t."""
    geometry = subject.geometry
    outputs = undiscounted_outputs(subject.task, geometry.policy)
    coordinates = geometry.coordinates(outputs)
    # As far as the policy's gradient can be attributed to its outputs.
    projected = (geometry.directions @ coordinates).reshape(outputs.shape)
    return replace(measured, exact=coordinates, exact_outputs=projected)


def _as_it_is(subject: TaskSubject, measured: Measurement) -> Measurement:
    return measured


class _Sampled:
    """Samples of the gradients of subjects, which grow as results need them.

    Args:
        subjects: the subject on each task.
        progress: progress bar.

    Attributes:
        measured: the sample on each task.
    """

    def __init__(self, subjects: Sequence[TaskSubject], progress: Progress) -> None:
        progress.start(sum(subject.n_measured for subject in subjects))
        self._subjects, self._progress = subjects, progress
        self._samples = [subject.measure(progress) for subject in subjects]
        self.measured = [next(sample) for sample in self._samples]

    def results(
        self, against: Callable[[TaskSubject, Measurement], Measurement] = _as_it_is
    ) -> tuple[TaskResult, ...]:
        """Returns the result on each task.

        Args:
            against: returns a measurement with the gradient that it is compared with.
        """
        pairs = list(zip(self._subjects, self.measured, strict=True))
        seen = tuple(judge(against(*pair)) for pair in pairs)
        if any(r.verdict == "wrong" and r.p_value < _OBVIOUS for r in seen):
            # A larger sample does not change the verdict.
            return seen
        self.measured = [
            _last(sample, measured)
            for sample, measured in zip(self._samples, self.measured, strict=True)
        ]
        pairs = list(zip(self._subjects, self.measured, strict=True))
        return tuple(self._result(subject, first, against) for subject, first in pairs)

    def _result(
        self,
        subject: TaskSubject,
        sample: Measurement,
        against: Callable[[TaskSubject, Measurement], Measurement],
    ) -> TaskResult:
        """Returns the result by a whole sample, or by larger ones."""

        def again() -> Measurement:
            repeated = _last(subject.measure(self._progress, repeat=1))
            return against(subject, repeated)

        result = _confirmed(judge(against(subject, sample)), again)
        for repeat in range(2, 2 + _MAX_POOLED):
            if result.verdict != "undecided" or not sample.sample_is_sufficient:
                break
            more = _last(subject.measure(self._progress, repeat))
            sample = replace(
                sample,
                series=pooled([sample.series, more.series]),
                sample_is_sufficient=more.sample_is_sufficient,
            )
            result = _confirmed(judge(against(subject, sample)), again)
        return result


def _last(
    sample: Iterator[Measurement], measured: Measurement | None = None
) -> Measurement:
    """Returns the measurement of a whole sample; the given one if there is no other."""
    for measured in sample:  # noqa: B007
        pass
    assert measured is not None
    return measured


def _simulated(
    subjects: Sequence[TaskSubject],
    records: Sequence[Record],
    found: Identification,
    seed: int,
) -> tuple[TaskResult, ...] | None:
    """Returns the results by a formula; None if its windows cannot be sampled.

    The samples are larger where a small error would not have been found on any task.
    """
    records = [with_found_values(r, i, found) for i, r in enumerate(records)]
    pairs = list(zip(subjects, records, strict=True))

    def measured(i: int, n_steps: int, repeat: int = 0) -> Measurement | None:
        subject, record = pairs[i]
        geometry = subject.geometry
        sampled = simulate(found, record, geometry, n_steps, (seed, repeat))
        if sampled is None:
            return None
        return Measurement(
            subject.task,
            sampled[0],
            geometry.exact,
            geometry.directions,
            geometry.exact_outputs,
            sampled[1],
        )

    results: list[TaskResult] = []
    known = _has_exact_direction(found)
    sizes = (_N_KNOWN,) if known else (_N_SIMULATED, 4 * _N_SIMULATED)
    for n_steps in sizes:
        for i in range(len(pairs)):
            if len(results) == len(pairs) and _is_precise(results[i]):
                continue
            found_here = measured(i, n_steps)
            if found_here is None:
                return None

            def again(i: int = i, n_steps: int = n_steps) -> Measurement:
                repeated = measured(i, n_steps, repeat=1)
                assert repeated is not None
                return repeated

            results[i : i + 1] = [_confirmed(judge(found_here), again)]
        if any(r.verdict == "wrong" for r in results):
            break
    return tuple(results)


def _confirmed(first: TaskResult, again: Callable[[], Measurement]) -> TaskResult:
    """Returns a result, or that of a second sample unless it confirms a rejection.

    A right subject is called wrong if both samples are unlikely.
    """
    if first.verdict != "wrong" or first.p_value < _CERTAIN or first.length < 0.0:
        return first
    second = judge(again(), _CONFIRMING_SIGNIFICANCE)
    return first if second.verdict == "wrong" else second


def _is_precise(result: TaskResult) -> bool:
    """Whether a mistake would have been found."""
    if result.error_interval is None:
        return result.verdict == "no gradient"
    return result.error_interval[1] < _PRECISE


def _identified(records: Sequence[Record]) -> Identification | None:
    """Returns the formula that reproduces all gradients; None if there is none."""
    unexplained = [u.residual for record in records for u in record.updates]
    if max(unexplained) > _MAX_UNEXPLAINED:
        return None
    found = identify(records)
    return None if found.formula is None else found


def _has_exact_direction(found: Identification) -> bool:
    """Whether the parts of a formula waste data or add noise, and nothing else."""
    return all(part.kind == "warning" for part in found.parts)


def _verdict(
    results: tuple[TaskResult, ...], found: Identification | None, target: Target
) -> Verdict:
    exact = worst(results)
    if found is None:
        return exact
    if not found.parts or (
        _has_exact_direction(found) and exact in ("right", "undecided")
    ):
        # Its expectation is known to have the direction of the exact gradient.
        return "right"
    if any(part.key in OF_VALUES for part in found.mistakes):
        # What reaches the policy through the value is no part of the formula.
        return "wrong"
    if target == "algorithm" and found.is_ambiguous:
        return "undecided"
    if target == "algorithm" and exact != "no gradient":
        return "wrong" if found.mistakes else "right"
    if exact == "right" and not all(map(_is_precise, results)):
        return "undecided"
    return exact


def _findings(found: Identification | None) -> tuple[Finding, ...]:
    if found is None:
        return ()
    findings = []
    for part in found.parts:
        mistake = MISTAKES.get(part.key)
        if part.kind != "right":
            lines = ("", "") if mistake is None else (mistake.wrong, mistake.right)
            findings.append(
                Finding(part.key, part.title, part.kind, part.explanation, *lines)
            )
    if found.explanation:
        findings.append(Finding("factor", "length", "factor", found.explanation))
    return tuple(findings)


def catalogue_finding(key: str) -> Finding:
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
