"""What a script did: its records on each task, and faults that only a script has."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pg_agents.checker.lines.locate import Places
from pg_agents.checker.record import Record
from pg_agents.checker.script.decode import Actions, NotDecodableError, decode
from pg_agents.checker.script.stage import Stage
from pg_agents.checker.script.taps import Faults, Taps
from pg_agents.checker.script.trainings import leave_learn_early

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
# CPU time that a script goes on after the last task, to see whether it trains another
# policy.
LOOK_AHEAD_S = 3.0
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
        exits: whether the script has ended itself with an exit status.
        notes: remarks for the report.
        caveats: what of the script was not seen.
        seconds: time that the script ran.
        output: the end of what the script printed.
        places: where the loss stands in the script, with absolute paths.
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
    exits: bool = False
    notes: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    seconds: float = 0.0
    output: str = ""
    places: Places = field(default_factory=Places)


class Recorder:
    """Goes through the tasks while the script runs.

    Args:
        stage: whose phases it goes through.
        seconds: CPU time for all tasks; `PATIENCE` times as many seconds may pass.
        keep: is called with the recording after the last task. The script then goes on
            for `LOOK_AHEAD_S`, and the process may be ended.
        finish: is called with the final recording, and ends the process.
        uncalled: `module:function` of a function that could train, and that the script
            never calls; None for none.
    """

    def __init__(
        self,
        stage: Stage,
        seconds: float,
        keep: Callable[[Recording], None],
        finish: Callable[[Recording], None],
        uncalled: str | None = None,
    ) -> None:
        self._stage = stage
        self._uncalled = uncalled
        self._keep, self._finish = keep, finish
        self._kept: Recording | None = None
        self._n_kinds = 1
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
        self._caveats: list[str] = []
        self._places = Places()
        self.taps = Taps(stage, self._stepped, self._leaves_stage)
        stage.audience = self.taps

    @property
    def _has_updates(self) -> bool:
        """Whether there are updates since the task began.

        Updates before the first environment are those of other models.
        """
        return bool(self._stage.available and self.taps.steps)

    def _stepped(self) -> None:
        elapsed = self._elapsed()
        if not self._stage.available:
            if elapsed > self._seconds:
                self.stop()
            return
        n_kinds = len(self.taps.trainings.kinds())
        if self._kept is not None:
            # Not the time that passed: a busy machine must not hide a training.
            if time.process_time() > self._seconds:
                self.stop()
            if n_kinds > self._n_kinds:
                self._n_kinds = n_kinds
                self._keep(self._with_trainings(self._kept, stopped=True))
            return
        if n_kinds > 1:
            self._look_ahead(self._recording())
            return
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
        if self._kept is not None or not self._has_updates:
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
            self._look_ahead(self._recording())
        else:
            self._stage.start_phase(self._stage.available[self._task])

    def _decode(self) -> None:
        stage, taps = self._stage, self.taps
        if not self._has_updates:
            return
        taps.fill()
        if self._places.backward is None:
            # While the policy's parameters are known, before the next task.
            self._places = taps.places()
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

    def _leaves_stage(self, reason: str) -> bool:
        """Ends the recording at an environment that the stage cannot stand in for.

        Returns:
            Whether enough was recorded before.
        """
        if self._kept is None:
            recording = self._recording(reason)
            if recording.error is not None:
                return False
            self._look_ahead(recording)
        return True

    def _look_ahead(self, recording: Recording) -> None:
        """Lets the script go on, unrecorded, to see whether it trains another policy.

        Training loops of Stable-Baselines3 are left as soon as they have updated their
        policy.
        """
        # What the script does from here on is no fault of what was recorded.
        self._kept = replace(recording, faults=copy.deepcopy(recording.faults))
        self.taps.passes_over = True
        self.taps.tracer.stop()
        self._seconds = time.process_time() + LOOK_AHEAD_S
        leave_learn_early(self.taps.trainings)
        self._keep(self._with_trainings(self._kept, stopped=True))

    def stop(self) -> None:
        """Reports what was recorded, before the end of the script."""
        self._finish(
            self._with_trainings(self._kept or self._recording(), stopped=True)
        )

    def finish(self, error: str | None = None, traceback: str | None = None) -> None:
        """Reports what was recorded, after the end of the script.

        Args:
            error: one sentence that says why the script has ended early.
            traceback: of the script's own exception.
        """
        found = self._kept
        if found is None:
            found = self._recording(error, traceback)
        elif error is not None:
            caveat = _left_caveat(error, found.n_updates)
            found = replace(found, caveats=(*found.caveats, caveat))
        self._finish(self._with_trainings(found, stopped=False))

    def _with_trainings(self, recording: Recording, *, stopped: bool) -> Recording:
        """Returns the recording with what was seen of other policies."""
        trainings = self.taps.trainings
        refusal = trainings.refusal()
        if refusal is not None:
            return replace(recording, error=refusal, traceback=None)
        notes, caveats = list(recording.notes), list(recording.caveats)
        remark = trainings.remark()
        if remark is not None:
            notes.insert(0, remark)
        if stopped:
            made = "".join(f" of {origin}" for origin, _ in trainings.kinds())
            caveats.append(
                f"the script was stopped after {trainings.n_steps()} updates{made}: "
                "what it does later, such as training another policy, was not seen"
            )
        return replace(recording, notes=tuple(notes), caveats=tuple(caveats))

    def _recording(
        self, error: str | None = None, traceback: str | None = None
    ) -> Recording:
        stage, taps = self._stage, self.taps
        if not self._records:
            self._decode()
        n_updates = sum(len(record.updates) for record in self._records)
        if n_updates >= _FEWEST_UPDATES and error is not None:
            self._caveats.append(_left_caveat(error, n_updates))
            error = None
        # Without a record there are mistakes that are seen.
        faults = taps.faults
        seen = faults.not_finite or faults.over_rows
        if error is None and not self._records and not seen:
            error = self._reason()
        return Recording(
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
            caveats=tuple(self._caveats),
            places=self._places,
            seconds=time.monotonic() - self._start,
        )

    def _reason(self) -> str:
        if not self._stage.available:
            call = ""
            if self._uncalled is not None:
                _, _, function = self._uncalled.partition(":")
                call = (
                    f"; it defines {function}() and never calls it, which --entry "
                    f"{self._uncalled} does"
                )
            return (
                "the script has made no environment with gymnasium.make, make_vec or "
                f"a vector environment of gymnasium{call}; its loss alone can be "
                "checked by pgtoy check FILE.py:FUNCTION"
            )
        if not len(self._stage.log):
            return "the script has taken no step in its environment"
        if self._errors:
            return self._errors[0]
        if not self.taps.faults.n_steps:
            return (
                "the script has called no step() of an optimiser of torch, and no "
                "backward(). Put gradients of torch.autograd.grad into parameters' "
                "grad; a script in NumPy, JAX or Keras calls "
                "pg_agents.checker.script.hand_in (docs/check-your-script.md)"
            )
        return "no update of the policy was recorded"


def _left_caveat(error: str, n_updates: int) -> str:
    return (
        f"{error}: {n_updates} updates before it were checked, what comes later was not"
    )
