"""Checks a whole training script: what reaches its optimiser, and what it is."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pg_agents.checker.description import described
from pg_agents.checker.formula import USES_CRITIC
from pg_agents.checker.geometry import CannotCheckError, Geometry, make_geometry
from pg_agents.checker.identify import (
    Identification,
    OutOfTimeError,
    identify,
    with_found_values,
)
from pg_agents.checker.mistakes import MISTAKES
from pg_agents.checker.parts import Part
from pg_agents.checker.record import Record
from pg_agents.checker.report import Finding, GradientReport, Target, placed
from pg_agents.checker.script import sandbox
from pg_agents.checker.script.box_task import BoxTask
from pg_agents.checker.script.findings import findings_of
from pg_agents.checker.script.recording import SHORT_LIMIT_NAME, Recording
from pg_agents.checker.simulation import simulate
from pg_agents.checker.statistics import GradientSeries
from pg_agents.checker.task import Task
from pg_agents.checker.verdict import Measurement, TaskResult, Verdict, judge, worst
from pg_agents.common.checks import check_choice, check_seed, check_unit_interval

DEFAULT_TIMEOUT_S = 20.0
_SHORTEST_TIMEOUT_S = 10.0
# Share of a gradient that may bypass the outputs of policy and critic.
_MAX_UNEXPLAINED = 1e-3
# CPU time after which a search for a formula ends itself, that of one at time limits,
# and by how much a search may exceed it.
_SEARCH_CPU_S = 6.0
_LIMITS_CPU_S = 2.5
_EXCESS_CPU_S = 2.0
# Transitions of the checker's own episodes, per task.
_N_SIMULATED = 200_000


def check_script(
    path: str | Path,
    args: Sequence[str] = (),
    *,
    entry: str | None = None,
    cells: Sequence[int] | None = None,
    target: Target = "algorithm",
    gamma: float | None = None,
    text: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    seed: int = 0,
    time_limit_is_terminal: bool = False,
) -> GradientReport:
    """Checks a training script, without any edit.

    The script runs in a child process with the rights of the user. Its environments are
    replaced by small tasks in the same spaces, and its optimisers are held still. Each
    gradient that reaches them is decoded, and a formula that reproduces all of them is
    sought.

    Args:
        path: the script, or a Jupyter notebook (.ipynb), whose code cells are run in
            order; magics and shell commands are left out.
        args: its command-line arguments.
        entry: `module:function`, which is called instead of running the script as a
            program; the module is imported from the script's folder.
        cells: code cells of a notebook to run, counted from 1; None for all. Where a
            notebook trains several policies, those that belong to one.
        target: `"algorithm"`: right is the gradient that a documented algorithm has;
            the report lists each departure from the exact one. `"exact"`: right is the
            gradient of the expected discounted return, up to a positive factor.
        gamma: discount factor that the script should use; None for its own.
        text: what the script reads from its standard input.
        timeout_s: limit of the script's CPU time, in seconds, at least 10. On a busy
            machine four times as many seconds may pass.
        seed: seed of the tasks and of the random generators.
        time_limit_is_terminal: whether a time limit belongs to the task, and nothing
            follows it. A critic must not bootstrap there then. By default a limit only
            ends the data for scripts with a critic that bootstraps.

    Raises:
        CannotCheckError: if the script cannot be checked; the message says why. It is a
            ValueError.
        ValueError: if an argument is out of range.
        FileNotFoundError: if there is no such script.
    """
    script = Path(path)
    if not script.is_file():
        raise FileNotFoundError(f"there is no script {script}")
    check_choice("target", target, ("exact", "algorithm"))
    check_seed("seed", seed)
    if gamma is not None:
        check_unit_interval("gamma", gamma)
    if not timeout_s >= _SHORTEST_TIMEOUT_S:
        raise ValueError(
            f"timeout_s must be at least {_SHORTEST_TIMEOUT_S:g}, got {timeout_s!r}"
        )
    if entry is not None and not all(entry.partition(":")):
        raise ValueError(f"entry must have the form module:function, got {entry!r}")
    is_notebook = script.suffix == ".ipynb"
    if entry is not None and is_notebook:
        raise ValueError(f"entry is for scripts, {script} is a notebook")
    if cells is not None and not (is_notebook and cells):
        raise ValueError(
            "cells must be numbers of code cells of a notebook (.ipynb), got "
            f"{cells!r} for {script}"
        )
    started = time.perf_counter()
    recording = sandbox.run(
        script,
        args,
        entry=entry,
        cells=cells,
        text=text,
        timeout_s=timeout_s,
        seed=seed,
    )
    if recording.error is not None:
        trace = f"\n\n{recording.traceback}" if recording.traceback else ""
        raise CannotCheckError(f"{script.name}: {recording.error}{trace}")
    places = recording.places.renamed(lambda file: _shown(file, script))
    report = judge_recording(
        replace(recording, places=places),
        script.name,
        target,
        gamma,
        seed,
        time_limit_is_terminal,
    )
    return replace(report, seconds=time.perf_counter() - started)


def judge_recording(
    recording: Recording,
    name: str,
    target: Target = "algorithm",
    gamma: float | None = None,
    seed: int = 0,
    time_limit_is_terminal: bool = False,
) -> GradientReport:
    """Returns the report on what a script did, without the time that it took.

    Args:
        recording: without an error.
        name: of the script.
        target: see `check_script`.
        gamma: discount factor that the script should use; None for its own.
        seed: of the checker's own episodes.
        time_limit_is_terminal: see `check_script`.
    """
    records = [
        record if gamma is None else _with_gamma(record, gamma)
        for record in recording.records
    ]
    own = placed(findings_of(recording), recording.places.mistakes)
    if not records:
        return GradientReport(
            subject=name,
            target=target,
            verdict="wrong",
            formula=None,
            residual=None,
            findings=own,
            ties=(),
            tasks=(),
            notes=recording.notes,
            seed=seed,
            seconds=0.0,
            caveats=recording.caveats,
            backward=recording.places.backward,
            loss=recording.places.loss,
        )
    limited = [r for r in records if r.task.name == SHORT_LIMIT_NAME]
    whole = [r for r in records if r.task.name != SHORT_LIMIT_NAME] or limited
    limited = [r for r in limited if _bypassing(r) <= _MAX_UNEXPLAINED]
    found = _identified(whole, gamma)
    whole = [with_found_values(r, i, found) for i, r in enumerate(whole)]
    parts = list(found.parts)
    if not time_limit_is_terminal:
        # By default a limit only ends the data of a critic that bootstraps.
        parts = [part for part in parts if part.key != "limit_bootstrapped"]
    notes = [*recording.notes, *found.notes]
    if found.formula is not None and 0 < len(limited) < len(records):
        notes += _at_limits(found, limited, parts, gamma, time_limit_is_terminal)
    findings = _merged(own, found, [_finding(part, recording) for part in parts])
    if not found.ties:
        findings = list(placed(findings, recording.places.mistakes))
    results = tuple(_result(record, found, seed) for record in _largest(whole))
    unexplained = max(_bypassing(record) for record in whole)
    if unexplained > _MAX_UNEXPLAINED:
        notes.append(
            f"up to {unexplained:.0%} of a gradient bypasses the outputs of the policy "
            "and of the critic that were found"
        )
    return GradientReport(
        subject=name,
        target=target,
        verdict=_verdict(whole, found, findings, results, target),
        formula=described(found.formula, same_mean=found.same_mean)
        if found.formula
        else None,
        residual=found.residual,
        findings=tuple(findings),
        ties=tuple(" + ".join(part.title for part in tie) for tie in found.ties),
        tasks=results,
        notes=tuple(dict.fromkeys(notes)),
        seed=seed,
        seconds=recording.seconds,
        takes_episodes=False,
        caveats=recording.caveats,
        backward=recording.places.backward,
        loss=recording.places.loss,
    )


def _shown(file: str, script: Path) -> str:
    """Returns a file's path, from the same folder as the script's."""
    folder = script.resolve().parent
    path = Path(file)
    return str(
        script.parent / path.relative_to(folder)
        if path.is_relative_to(folder)
        else path
    )


def _bypassing(record: Record) -> float:
    """Returns the largest share of a gradient that the decoding does not explain."""
    return max((update.residual for update in record.updates), default=0.0)


def _identified(
    records: Sequence[Record], gamma: float | None, seconds: float = _SEARCH_CPU_S
) -> Identification:
    """Returns the formula of records; none if the search takes too long."""

    def stop(*_: object) -> None:
        # The search ends with what it has found.
        raise OutOfTimeError

    # Timers exist on Unix, and signals in the main thread alone.
    timed = hasattr(signal, "setitimer")
    if not timed or threading.current_thread() is not threading.main_thread():
        return identify(records, known_gamma=gamma is not None, seconds=seconds)
    limit = seconds + _EXCESS_CPU_S
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        return identify(records, known_gamma=gamma is not None, seconds=seconds)
    except OutOfTimeError:
        note = f"the search for a formula was stopped after {limit:g} s"
        return Identification(None, (), 0.0, 0.0, 1.0, notes=(note,))
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def _with_gamma(record: Record, gamma: float) -> Record:
    return replace(record, task=replace(record.task, gamma=gamma))


def _at_limits(
    found: Identification,
    limited: Sequence[Record],
    parts: list[Part],
    gamma: float | None,
    time_limit_is_terminal: bool,
) -> list[str]:
    """Adds mistakes at time limits to the parts, and returns notes.

    With a critic that bootstraps, a limit only cuts the data unless the user says that
    it is part of the task; otherwise what follows is not known, and the limit is.
    """
    assert found.formula is not None
    bootstraps = found.formula.credit in USES_CRITIC and not time_limit_is_terminal
    if bootstraps:
        limited = [
            replace(record, task=replace(record.task, bootstrap=True))
            for record in limited
        ]
    if found.reward_factor != 1.0:
        limited = [
            r if r.values is None else replace(r, values=r.values / found.reward_factor)
            for r in limited
        ]
    at_limits = _identified(limited, gamma, _LIMITS_CPU_S)
    if at_limits.formula is None:
        if found.mistakes:
            return []
        return [
            "no formula was found for what the script does at time limits: whether it "
            "bootstraps there was not checked"
        ]
    known = {part.key for part in parts}
    if not found.mistakes and not at_limits.ties:
        parts += [part for part in at_limits.mistakes if part.key not in known]
        parts += [
            part
            for part in at_limits.departures
            if part.key == "limit_bootstrapped" and part.key not in known
        ]
    if bootstraps or found.mistakes:
        return []
    return [
        "time limits were taken for ends that belong to the task, since nothing values "
        "the state after them; there is nothing to change"
    ]


def _merged(
    own: Sequence[Finding], found: Identification, parts: Sequence[Finding]
) -> list[Finding]:
    """Returns what the script's calls show and what the formula is, each key once."""
    of_formula = {part.key for part in parts}
    left_out = {f.key for f in own if f.kind == "warning"} & of_formula
    # The calls say after which episodes a gradient is NaN.
    left_out.discard("nan_deviation")
    if found.formula is not None:
        # The formula says whether such a softmax reaches the gradient.
        left_out |= {"softmax_over_batch"}
    kept = [finding for finding in own if finding.key not in left_out]
    known = {finding.key for finding in kept}
    return [*kept, *(part for part in parts if part.key not in known)]


def _finding(part: Part, recording: Recording) -> Finding:
    if part.key == "no_bootstrap_at_truncation" and recording.hides_limits:
        return Finding(
            part.key,
            part.title,
            "departure",
            "done of the old Gym API is True at a time limit, too, and the script "
            "cannot tell. Treated as an end, the limit makes the actions before it "
            "look worse than they are; Gymnasium's `truncated` tells it.",
        )
    mistake = MISTAKES.get(part.key)
    lines = ("", "") if mistake is None else (mistake.wrong, mistake.right)
    kind = "factor" if part.kind == "right" else part.kind
    return Finding(part.key, part.title, kind, part.explanation, *lines)


def _verdict(
    records: Sequence[Record],
    found: Identification,
    findings: Sequence[Finding],
    results: Sequence[TaskResult],
    target: Target,
) -> Verdict:
    kinds = {finding.kind for finding in findings}
    if "no gradient" in kinds:
        return "no gradient"
    sure = {f.kind for f in findings if f.key not in {p.key for p in found.parts}}
    if found.is_ambiguous and "mistake" not in sure:
        return "undecided"
    if "mistake" in kinds:
        return "wrong"
    if found.formula is None:
        return worst(results)
    shared = any(record.shares_critic for record in records)
    bypassing = max(_bypassing(record) for record in records)
    if (found.critic_unknown and shared) or bypassing > _MAX_UNEXPLAINED:
        # What else the policy receives, or through the parameters that it shares, is
        # not known.
        return "undecided"
    if target == "algorithm" or not found.parts:
        return "right"
    return worst(results)


def _largest(records: Sequence[Record]) -> list[Record]:
    """Returns the record with the most updates of each task."""
    largest: dict[str, Record] = {}
    for record in records:
        other = largest.get(record.task.name)
        if other is None or len(record.updates) > len(other.updates):
            largest[record.task.name] = record
    return list(largest.values())


def _result(record: Record, found: Identification, seed: int) -> TaskResult:
    """Returns how far the expected gradient is from the exact one on a task.

    It is that of the formula, on the checker's own episodes, or else the mean of the
    recorded gradients.
    """
    closest = found.formula or found.closest
    gamma = record.task.gamma if closest is None else closest.gamma
    record = _with_gamma(record, float(np.clip(gamma, 0.0, 1.0)))
    own = record
    of_actions = found.formula is not None and found.formula.score == "log_prob"
    if of_actions and isinstance(record.task, BoxTask):
        # The formula with a policy that chooses the door itself.
        record = _with_doors(record, record.task)
    geometry = _geometry(record)
    sampled = None
    # The expectation of a gradient that has none is known.
    zero = any(part.kind == "no gradient" for part in found.parts)
    if found.formula is not None and not zero and record.family == "categorical":
        sampled = simulate(found, record, geometry, _N_SIMULATED, [seed])
    if sampled is None:
        record, geometry = own, _geometry(own)
        sampled = _recorded(record, geometry)
    series, n_episodes = sampled
    n_needed = 2 * len(geometry.exact)
    result = judge(
        Measurement(
            task=record.task,
            series=series,
            exact=geometry.exact,
            to_outputs=geometry.directions,
            exact_outputs=geometry.exact_outputs,
            episodes_per_gradient=n_episodes,
            sample_is_sufficient=len(series.gradients) > n_needed,
        )
    )
    if result.more_episodes is not None and len(series.gradients) <= n_needed:
        more = max(result.more_episodes, math.ceil(n_needed * n_episodes))
        result = replace(result, more_episodes=more)
    if not zero:
        return result
    return replace(
        result,
        verdict="no gradient",
        cosine=None,
        cosine_interval=None,
        error=None,
        error_interval=None,
        more_episodes=None,
    )


def _with_doors(record: Record, task: BoxTask) -> Record:
    fields = {f.name: getattr(task, f.name) for f in dataclasses.fields(Task)}
    policy = task.doors(record.policy)
    taken = record.transitions
    return replace(
        record,
        task=Task(**fields),
        policy=policy,
        transitions=replace(
            taken, action=np.zeros(len(taken), dtype=np.int64), clipped=None
        ),
        updates=tuple(
            replace(update, outputs=np.zeros(policy.shape)) for update in record.updates
        ),
        family="categorical",
        basis=None,
    )


def _geometry(record: Record) -> Geometry:
    if not isinstance(record.task, BoxTask):
        return make_geometry(record.task, record.policy, record.basis)
    exact = record.task.gaussian_gradient(record.policy)
    flat = exact.ravel()
    columns = np.eye(len(flat)) if record.basis is None else record.basis
    along = columns.T @ flat
    first = columns @ along / np.linalg.norm(along)
    rest = columns - np.outer(first, first @ columns)
    left, sizes, _ = np.linalg.svd(rest, full_matrices=False)
    directions = np.column_stack([first, left[:, sizes > 1e-8]])
    coordinates = np.zeros(directions.shape[1])
    coordinates[0] = np.linalg.norm(along)
    # Scores by action are for categorical policies.
    scores = np.zeros((0, 0, directions.shape[1]))
    return Geometry(record.policy, directions, scores, coordinates, exact, True)


def _recorded(record: Record, geometry: Geometry) -> tuple[GradientSeries, float]:
    """Returns the recorded gradients, and the mean number of episodes of each.

    Control variates are the sums of the scores of their transitions, whose expectation
    is zero if the actions are drawn from the policy.
    """
    outputs = np.array([-update.outputs.ravel() for update in record.updates])
    taken = record.transitions
    controls = np.zeros((len(outputs), 0))
    if record.family == "categorical":
        n_states, n_actions = record.policy.shape
        scores = np.zeros((len(outputs), n_states, n_actions))
        for i, update in enumerate(record.updates):
            rows = (
                slice(update.first, update.last) if update.rows is None else update.rows
            )
            states, actions = taken.state[rows], taken.action[rows].astype(np.int64)
            np.add.at(scores[i], (states, actions), 1.0)
            np.subtract.at(scores[i], states, record.policy[states])
        controls = scores.reshape(len(outputs), -1) @ geometry.directions
    ends = taken.terminated | taken.truncated
    n_episodes = float(np.mean([ends[u.first : u.last].sum() for u in record.updates]))
    return GradientSeries(outputs @ geometry.directions, controls), n_episodes
