"""What a script did: its records on each task, and faults that only a script has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pg_agents.checker.record import Record
from pg_agents.checker.script.decode import Actions, NotDecodableError, decode
from pg_agents.checker.script.stage import Stage
from pg_agents.checker.script.taps import Faults, Taps

# The task on which a time limit ends most episodes.
SHORT_LIMIT_NAME = "fork, short limit"
# Updates after which a task has been seen enough, and transitions.
_ENOUGH_UPDATES = 100
_ENOUGH_TRANSITIONS = 400
# Or as many updates with as many transitions, of long rollouts.
_ENOUGH_LONG_UPDATES = 25
_ENOUGH_LONG_TRANSITIONS = 3000
# Different windows of transitions.
_ENOUGH_WINDOWS = 6
# Runs of a script that ends early, on one task.
_MOST_RUNS = 3
# Updates without which the time alone does not end a task.
_FEWEST_UPDATES = 3
# How many seconds may pass for each second of CPU time: the machine may be busy.
PATIENCE = 4.0


@dataclass(frozen=True)
class Recording:
    """What the child process reports.

    Attributes:
        records: one per task on which updates were recorded; none if all gradients are
            NaN, or the actions do not depend on the parameters.
        actions: where the actions come from, one entry per record.
        faults: of the order of calls.
        n_updates: number of updates recorded.
        past_end: steps after `terminated` without a reset.
        past_limit: steps after `truncated` without a reset.
        old_observations: steps whose action was computed from another observation than
            the environment's last one.
        n_transitions: number of all transitions.
        hides_limits: whether the script was not told which ends are time limits.
        error: one sentence that says why the script could not be checked; None if it
            could.
        traceback: of the script's own exception; None without one.
        notes: remarks for the report.
        seconds: time that the script ran.
        output: the end of what the script printed.
    """

    records: tuple[Record, ...] = ()
    actions: tuple[Actions, ...] = ()
    faults: Faults = field(default_factory=Faults)
    n_updates: int = 0
    past_end: int = 0
    past_limit: int = 0
    old_observations: int = 0
    n_transitions: int = 0
    hides_limits: bool = False
    error: str | None = None
    traceback: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    output: str = ""


class Recorder:
    """Goes through the tasks while the script runs.

    Args:
        stage: whose phases it goes through.
        seconds: CPU time for all tasks; `PATIENCE` times as many seconds may pass.
        finish: is called with the recording after the last one, and ends the process.
    """

    def __init__(
        self, stage: Stage, seconds: float, finish: Callable[[Recording], None]
    ) -> None:
        self._stage = stage
        self._finish = finish
        self._start = time.monotonic()
        self._cpu_start = time.process_time()
        # When the script took its first step, after its imports.
        self._first_step: float | None = None
        self._seconds = seconds
        self._task = self._first = 0
        self._n_runs = self._n_updates = self._n_transitions = 0
        self._begins_clean = True
        self._records: list[Record] = []
        self._actions: list[Actions] = []
        self._errors: list[str] = []
        self.taps = Taps(stage, self._stepped)
        stage.audience = self.taps

    def _stepped(self) -> None:
        elapsed = self._elapsed()
        late = elapsed > self._share() and len(self.taps.steps) >= _FEWEST_UPDATES
        if self._is_enough() or late or elapsed > self._seconds:
            self._end_phase()
            self._next_task()

    def _elapsed(self) -> float:
        """Returns the CPU time that was used, in seconds; more if the script waits."""
        waited = (time.monotonic() - self._start) / PATIENCE
        return max(time.process_time() - self._cpu_start, waited)

    def _share(self) -> float:
        """Returns the time at which the current task should be over."""
        if self._first_step is None:
            self._first_step = self._elapsed()
        part = (self._task + 1) / max(1, len(self._stage.available))
        return self._first_step + part * (self._seconds - self._first_step)

    def _is_enough(self) -> bool:
        steps = self.taps.steps
        n_updates = self._n_updates + len(steps)
        n_transitions = self._n_transitions + len(self._stage.log) - self._first
        enough = n_updates >= _ENOUGH_UPDATES and n_transitions >= _ENOUGH_TRANSITIONS
        enough_long = (
            n_updates >= _ENOUGH_LONG_UPDATES
            and n_transitions >= _ENOUGH_LONG_TRANSITIONS
        )
        n_windows = len({step.end for step in steps})
        return (enough or enough_long) and n_windows >= _ENOUGH_WINDOWS

    def run_again(self) -> bool:
        """Decides, after the script's end, whether it runs again.

        It runs again on the same task until that was seen enough, and then on the next.
        """
        self.taps.undo_own_step()
        if not self.taps.steps:
            return False
        enough = self._is_enough()
        self._end_phase()
        self._n_runs += 1
        late = self._elapsed() > self._share()
        if enough or late or self._n_runs == _MOST_RUNS:
            self._next_task()
        else:
            self._stage.start_phase(self._stage.available[self._task])
        self.taps.forget_script()
        self._begins_clean = True
        return True

    def _end_phase(self) -> None:
        self._decode()
        self._n_updates += len(self.taps.steps)
        self._n_transitions += len(self._stage.log) - self._first
        self._first = len(self._stage.log)
        self._begins_clean = False
        self.taps.start_phase()

    def _next_task(self) -> None:
        self._task += 1
        self._n_runs = self._n_updates = self._n_transitions = 0
        if self._task == len(self._stage.available):
            self.finish()
        self._stage.start_phase(self._stage.available[self._task])

    def _decode(self) -> None:
        stage, taps = self._stage, self.taps
        if not taps.steps:
            return
        taps.fill()
        try:
            record, actions = decode(
                stage.tasks[stage.phase],
                stage.phase,
                stage.log,
                taps.policy,
                taps.critics,
                taps.steps,
                log_start=self._first,
                begins_clean=self._begins_clean,
            )
        except NotDecodableError as error:
            self._errors.append(str(error))
        else:
            if record.updates:
                self._records.append(record)
                self._actions.append(actions)

    def finish(self, error: str | None = None, traceback: str | None = None) -> None:
        """Reports what was recorded."""
        stage, taps = self._stage, self.taps
        if not self._records:
            self._decode()
        n_updates = sum(len(record.updates) for record in self._records)
        if n_updates >= _FEWEST_UPDATES and error is not None:
            taps.notes.append(
                f"{error} (after {n_updates} updates, which were checked)"
            )
            error = None
        # Without a record there are mistakes that are seen.
        faults = taps.faults
        seen = faults.not_finite or faults.over_rows
        if error is None and not self._records and not seen:
            error = self._reason()
        self._finish(
            Recording(
                records=tuple(self._records),
                actions=tuple(self._actions),
                faults=taps.faults,
                n_updates=n_updates,
                past_end=stage.log.past_end,
                past_limit=stage.log.past_limit,
                old_observations=stage.log.old_observations,
                n_transitions=len(stage.log),
                hides_limits=stage.hides_limits,
                error=error,
                traceback=traceback,
                notes=(*stage.notes, *taps.notes),
                seconds=time.monotonic() - self._start,
            )
        )

    def _reason(self) -> str:
        if not self._stage.available:
            return (
                "the script has made no environment with gymnasium.make, make_vec or "
                "a vector environment of gymnasium"
            )
        if not len(self._stage.log):
            return "the script has taken no step in its environment"
        if self._errors:
            return self._errors[0]
        if not self.taps.faults.n_steps:
            return "the script has called no step() of an optimiser of torch"
        return "no update of the policy was recorded"
