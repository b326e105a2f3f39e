"""What a script did: its records on each task, and the faults that only a script has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


from pg_agents.checker.record import Record
from pg_agents.checker.script.decode import NotDecodableError, decode
from pg_agents.checker.script.stage import Stage
from pg_agents.checker.script.taps import Faults, Taps

# Updates after which a task has been seen enough, and transitions.
_ENOUGH_UPDATES = 100
_ENOUGH_TRANSITIONS = 400
# Updates without which the time alone does not end a task.
_FEWEST_UPDATES = 3


@dataclass(frozen=True)
class Recording:
    """What the child process reports.

    Attributes:
        records: one per task on which updates were recorded.
        faults: of the order of calls.
        n_updates: number of updates recorded.
        past_end: steps after `terminated` without a reset.
        past_limit: steps after `truncated` without a reset.
        error: one sentence that says why the script could not be checked; None if it
            could.
        traceback: of the script's own exception; None without one.
        notes: remarks for the report.
        seconds: time that the script ran.
        output: the end of what the script printed.
    """

    records: tuple[Record, ...] = ()
    faults: Faults = field(default_factory=Faults)
    n_updates: int = 0
    past_end: int = 0
    past_limit: int = 0
    error: str | None = None
    traceback: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    output: str = ""


class Recorder:
    """Goes through the tasks while the script runs.

    Args:
        stage: whose phases it goes through.
        seconds: time for all tasks.
        finish: is called with the recording after the last one, and ends the process.
    """

    def __init__(
        self, stage: Stage, seconds: float, finish: Callable[[Recording], None]
    ) -> None:
        self._stage = stage
        self._finish = finish
        self._start = time.monotonic()
        self._seconds = seconds
        self._first = 0
        self._records: list[Record] = []
        self._errors: list[str] = []
        self.taps = Taps(stage, self._stepped)
        stage.audience = self.taps

    def _stepped(self) -> None:
        stage, steps = self._stage, self.taps.steps
        n_transitions = len(stage.log) - self._first
        elapsed = time.monotonic() - self._start
        share = self._seconds * (stage.phase + 1) / max(1, len(stage.tasks))
        n_updates = len(steps)
        enough = n_updates >= _ENOUGH_UPDATES and n_transitions >= _ENOUGH_TRANSITIONS
        late = elapsed > share and n_updates >= _FEWEST_UPDATES
        if enough or late or elapsed > self._seconds:
            self._end_phase()

    def run_again(self) -> bool:
        """Goes to the next task after the script's end; False if there is none."""
        if not self._stage.tasks or not self.taps.steps:
            return False
        self._end_phase()
        self.taps.forget_script()
        return True

    def _end_phase(self) -> None:
        stage = self._stage
        self._decode()
        if stage.phase + 1 == len(stage.tasks):
            self.finish()
        stage.phase += 1
        self._first = len(stage.log)
        self.taps.start_phase()

    def _decode(self) -> None:
        stage, taps = self._stage, self.taps
        if not taps.steps:
            return
        try:
            record = decode(
                stage.tasks[stage.phase],
                stage.phase,
                stage.log,
                taps.policy,
                list(taps.critics.values()),
                taps.steps,
            )
        except NotDecodableError as error:
            self._errors.append(str(error))
        else:
            if record.updates:
                self._records.append(record)

    def finish(self, error: str | None = None, traceback: str | None = None) -> None:
        """Reports what was recorded."""
        stage, taps = self._stage, self.taps
        if error is None and not self._records:
            self._decode()
        if error is None and not self._records:
            error = self._reason()
        self._finish(
            Recording(
                records=tuple(self._records),
                faults=taps.faults,
                n_updates=sum(len(record.updates) for record in self._records),
                past_end=stage.log.past_end,
                past_limit=stage.log.past_limit,
                error=error,
                traceback=traceback,
                notes=(*stage.notes, *taps.notes),
                seconds=time.monotonic() - self._start,
            )
        )

    def _reason(self) -> str:
        if not self._stage.tasks:
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
