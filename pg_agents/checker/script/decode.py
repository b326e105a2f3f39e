"""Decodes recorded gradients: what the outputs of the policy received in each state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pg_agents.checker.record import Record, Transitions, Update
from pg_agents.checker.script.box_task import BoxTask
from pg_agents.checker.script.stage import Log, Row
from pg_agents.checker.script.taps import Outputs, Step
from pg_agents.checker.task import Array, Task

# Directions with smaller singular values, relative to the largest, are rounding in
# float32, or would magnify it.
_ROUNDING = 1e-6
_RELIABLE = 2e-3
_CANCELLED = 1e-2
# Share of a gradient that may bypass the logarithms of probabilities before the mean of
# the logits is taken for an output, too.
_MAX_BYPASSING = 1e-3


class NotDecodableError(ValueError):
    """There is nothing to decode; the message says why."""


@dataclass(frozen=True)
class Actions:
    """Where the actions of a record come from.

    Attributes:
        drawn: steps whose action was drawn from the policy's distribution.
        replaced: steps whose action differs from the drawn one.
        other: steps without such a draw.
    """

    drawn: int
    replaced: int
    other: int


def _actions(rows: Sequence[Row]) -> Actions:
    drawn = replaced = other = 0
    renamed: dict[int, set[int]] = {}
    for row in rows:
        if row.reset:
            continue
        if row.drawn is None:
            other += 1
        elif isinstance(row.sent, int):
            renamed.setdefault(int(row.drawn[0]), set()).add(row.sent)
            drawn += int(row.drawn[0]) == row.sent
            replaced += int(row.drawn[0]) != row.sent
        else:
            drawn += 1
    one_to_one = all(len(sent) == 1 for sent in renamed.values())
    if one_to_one and len({min(sent) for sent in renamed.values()}) == len(renamed):
        # The script has its own names of the actions.
        drawn, replaced = drawn + replaced, 0
    return Actions(drawn, replaced, other)


def decode(
    task: Task,
    phase: int,
    log: Log,
    policy: Outputs,
    critics: Mapping[int, Outputs],
    steps: Sequence[Step],
    *,
    log_start: int = 0,
    begins_clean: bool,
) -> tuple[Record, Actions]:
    """Returns the record of a phase, and where its actions come from.

    Args:
        task: the task of the phase.
        phase: its index.
        log: all transitions.
        policy: probabilities in each state, and derivatives of their logarithms.
        critics: values in each state, and their derivatives, by the weight of the
            layer that gives them.
        steps: steps of optimisers; their `end` counts the transitions of the log.
        log_start: number of transitions before the phase.
        begins_clean: whether the script started in this phase. Otherwise the window of
            the first update may have begun before, and it is left out.

    Raises:
        NotDecodableError: if no gradient of the policy was found.
    """
    if not policy.jacobian:
        raise NotDecodableError(
            "no gradient of the policy was found: neither the distribution that acts "
            "nor one with the same probabilities depends on a parameter of an optimiser"
        )
    n_states = task.mdp.n_states
    gaussian = isinstance(task, BoxTask)
    n_outputs = task.mdp.n_actions
    if isinstance(task, BoxTask):
        n_outputs = 2 * task.n_dimensions
    table = np.full((n_states, n_outputs), 0.0 if gaussian else 1.0 / n_outputs)
    for state, outputs in policy.table.items():
        table[state] = outputs if gaussian else outputs / outputs.sum()
    critic = _critic(critics, policy)
    decoder = _Decoder(policy, critic, table.shape, centred=not gaussian)
    steps = [step for step in steps if decoder.concerns(step)]
    logits = None
    if not gaussian and decoder.bypassing(steps) > _MAX_BYPASSING:
        with_mean = _with_mean_logit(policy)
        other = None
        if with_mean is not None:
            other = _Decoder(with_mean, critic, table.shape, centred=False)
        if other is not None and other.bypassing(steps) <= _MAX_BYPASSING:
            decoder, logits = other, np.log(table)
            for state, outputs in policy.logits.items():
                logits[state] = outputs
    # Of the first update the window may have begun before the phase.
    starts = _starts(steps, log_start if begins_clean else None)
    # A vector environment takes up the task at its next reset only.
    whole = [
        start is not None
        and all(row.phase == phase for row in log.rows[start : step.end])
        for start, step in zip(starts, steps, strict=True)
    ]
    rows, position = _rows(log, phase, steps, whole)
    updates = []
    for step, start, is_whole in zip(steps, starts, whole, strict=True):
        if not is_whole or not decoder.is_finite(step):
            continue
        assert start is not None
        first, last = int(position[start]), int(position[step.end])
        if first < last:
            used = _used(step, position, first, last)
            updates.append(decoder.update(step, first, last, used))
    values = None
    if critic is not None:
        values = np.zeros(n_states)
        for state, value in critic.table.items():
            values[state] = value[0]
    record = Record(
        task,
        table,
        values,
        _transitions(rows, log, task),
        tuple(updates),
        family="gaussian" if gaussian else "categorical",
        logits=logits,
        basis=decoder.basis,
        value_basis=decoder.value_basis,
        shares_critic=critic is not None
        and not policy.parameters().isdisjoint(critic.parameters()),
    )
    learnt = np.zeros(len(rows), dtype=np.bool_)
    for update in updates:
        learnt[update.first : update.last] = True
    return record, _actions([log.rows[rows[i]] for i in np.flatnonzero(learnt)])


def _with_mean_logit(policy: Outputs) -> Outputs | None:
    """Returns the outputs with derivatives of logits in place of their logarithms.

    A loss of the logits themselves also moves their mean, on which no probability
    depends. None if the logits are not known in all states.
    """
    if policy.jacobian.keys() != policy.mean_logit.keys():
        return None
    jacobian = {}
    for state, parts in policy.jacobian.items():
        mean = policy.mean_logit[state]
        jacobian[state] = {
            key: d - d.mean(axis=0) + mean.get(key, 0.0) for key, d in parts.items()
        }
    return Outputs(policy.table, jacobian)


def _critic(critics: Mapping[int, Outputs], policy: Outputs) -> Outputs | None:
    """Returns the critic that is trained; of several the one seen in most states."""
    of_policy = policy.parameters()
    others = [c for weight, c in critics.items() if weight not in of_policy]
    trained = [c for c in others if c.jacobian] or others
    return max(trained, key=lambda c: len(c.table), default=None)


class _Decoder:
    """Solves for what the outputs in each state received.

    The gradient of the parameters is `J^T x + K^T v`, with the Jacobians J `[S O, P]`
    of the policy's outputs and K `[S, P]` of the values. Where the network cannot
    represent all outputs, x is sought among those that J tells apart.
    """

    def __init__(
        self,
        policy: Outputs,
        critic: Outputs | None,
        shape: tuple[int, ...],
        *,
        centred: bool,
    ) -> None:
        self._shape = shape
        self._keys = policy.parameters()
        self._states = sorted(policy.jacobian)
        n_outputs = shape[1]
        jacobian = policy.jacobian
        if centred:
            # The logarithms of the probabilities, less their mean, are logits.
            jacobian = {
                state: {key: d - d.mean(axis=0) for key, d in parts.items()}
                for state, parts in jacobian.items()
            }
        values = {} if critic is None else critic.jacobian
        self._value_states = sorted(values)
        self._order = _sizes(jacobian, values)
        of_outputs = _stack(jacobian, self._states, self._order, n_outputs)
        of_values = _stack(values, self._value_states, self._order, 1)
        left, sizes, right = np.linalg.svd(of_outputs, full_matrices=False)
        kept = sizes > _RELIABLE * sizes.max(initial=0.0)
        self._columns = left[:, kept]
        n_free = n_outputs - 1 if centred else n_outputs
        self._complete = int(kept.sum()) == len(self._states) * n_free
        value_left, value_sizes, value_right = np.linalg.svd(
            of_values, full_matrices=False
        )
        value_kept = value_sizes > _RELIABLE * value_sizes.max(initial=0.0)
        self._value_columns = value_left[:, value_kept]
        self._values_complete = bool(value_kept.all())
        both = np.concatenate(
            [
                sizes[kept, None] * right[kept],
                value_sizes[value_kept, None] * value_right[value_kept],
            ]
        )
        self._inverse = np.linalg.pinv(both.T, rcond=_ROUNDING)
        # The residual is that of the parameters that the policy depends on.
        self._of_policy = np.concatenate(
            [np.full(n, key in self._keys) for key, n in self._order.items()]
        )
        self._span = _span(of_outputs, of_values)
        self._scale = 0.0

    @property
    def basis(self) -> Array | None:
        """Orthonormal columns `[S * O, D]` of what can be told; None if all can be."""
        if self._complete:
            return None
        n_states, n_outputs = self._shape
        full = np.zeros((n_states, n_outputs, self._columns.shape[1]))
        full[self._states] = self._columns.reshape(len(self._states), n_outputs, -1)
        basis: Array = full.reshape(n_states * n_outputs, -1)
        return basis

    @property
    def value_basis(self) -> Array | None:
        """Orthonormal columns `[S, D]`; None if all values can be told."""
        if self._values_complete:
            return None
        full = np.zeros((self._shape[0], self._value_columns.shape[1]))
        full[self._value_states] = self._value_columns
        return full

    def concerns(self, step: Step) -> bool:
        """Whether a step changes the policy."""
        return not self._keys.isdisjoint(step.gradients)

    def bypassing(self, steps: Sequence[Step]) -> float:
        """Returns the largest share of a gradient that the outputs do not explain."""
        shares = [0.0]
        for step in steps:
            if self.is_finite(step):
                shares.append(self.update(step, 0, 0, None).residual)
        self._scale = 0.0
        return max(shares)

    def is_finite(self, step: Step) -> bool:
        """Whether the gradient of the policy's parameters is finite."""
        gradient = _gradient(step, self._order)
        return bool(np.isfinite(gradient).all())

    def update(
        self, step: Step, first: int, end: int, rows: NDArray[np.int64] | None
    ) -> Update:
        """Decodes a step."""
        gradient = _gradient(step, self._order)
        found = self._inverse @ gradient
        n = self._columns.shape[1]
        outputs = np.zeros(self._shape)
        outputs[self._states] = (self._columns @ found[:n]).reshape(-1, self._shape[1])
        value = None
        if self._value_states:
            value = np.zeros(self._shape[0])
            value[self._value_states] = self._value_columns @ found[n:]
        rest = gradient - self._span @ (self._span.T @ gradient)
        residual = float(np.linalg.norm(rest[self._of_policy]))
        # A gradient whose terms cancel is rounding alone.
        norm = float(np.linalg.norm(gradient[self._of_policy]))
        self._scale = max(norm, self._scale)
        norm = max(norm, _CANCELLED * self._scale)
        share = residual / norm if norm else 0.0
        return Update(first, end, outputs, value, share, rows)


def _used(
    step: Step, position: NDArray[np.int64], first: int, last: int
) -> NDArray[np.int64] | None:
    """Returns the transitions of a mini-batch; None if it is the whole window."""
    if step.rows is None:
        return None
    # Row i of the log is transition position[i] if it is kept.
    kept = position[step.rows + 1] > position[step.rows]
    if not kept.all():
        return None
    rows = position[step.rows]
    if np.array_equal(np.sort(rows), np.arange(first, last)):
        return None
    return rows


def _span(*jacobians: Array) -> Array:
    """Returns orthonormal columns that span the rows of matrices, `[P, D]`."""
    _, sizes, right = np.linalg.svd(np.concatenate(jacobians), full_matrices=False)
    span: Array = right[sizes > _ROUNDING * sizes.max(initial=0.0)].T
    return span


def _sizes(*jacobians: dict[int, dict[int, Array]]) -> dict[int, int]:
    """Returns the number of coordinates of each parameter."""
    return {
        key: part.shape[1]
        for jacobian in jacobians
        for parts in jacobian.values()
        for key, part in parts.items()
    }


def _stack(
    jacobian: dict[int, dict[int, Array]],
    states: Sequence[int],
    order: dict[int, int],
    n_outputs: int,
) -> Array:
    """Returns the derivatives as one matrix, `[len(states) * n_outputs, P]`."""
    rows = [
        np.concatenate(
            [
                jacobian[state].get(key, np.zeros((n_outputs, size)))
                for key, size in order.items()
            ]
            or [np.zeros((n_outputs, 0))],
            axis=1,
        )
        for state in states
    ]
    stacked: Array = np.concatenate(rows or [np.zeros((0, sum(order.values())))])
    return stacked


def _gradient(step: Step, order: dict[int, int]) -> Array:
    gradient: Array = np.concatenate(
        [step.gradients.get(key, np.zeros(size)) for key, size in order.items()]
        or [np.zeros(0)]
    )
    return gradient


def _starts(steps: Sequence[Step], first: int | None) -> list[int | None]:
    """Returns where the window of each step begins in the log, None if unknown."""
    starts: list[int | None] = []
    start, end = None, first
    for step in steps:
        if step.end != end:
            start, end = end, step.end
        starts.append(start)
    return starts


def _rows(
    log: Log, phase: int, steps: Sequence[Step], whole: Sequence[bool]
) -> tuple[list[int], NDArray[np.int64]]:
    """Returns the transitions of a phase, and each count of the log as one of theirs.

    Left out are episodes that test the policy, and that it does not learn from: those
    whose actions were computed without a graph, where others have one, and those of
    which no update has used a step, where it is known which steps it has used.
    """
    in_phase = [i for i, row in enumerate(log.rows) if row.phase == phase]
    learnt = {log.rows[i].episode for i in in_phase if log.rows[i].graph}
    used = [s.rows for s, is_whole in zip(steps, whole, strict=True) if is_whole]
    if not learnt and used and all(rows is not None for rows in used):
        learnt = {
            log.rows[i].episode for rows in used if rows is not None for i in rows
        }
        # What came before the first of them, and what follows the last one, may be
        # learnt from.
        index = [i for i, is_whole in enumerate(whole) if is_whole]
        before = steps[index[0] - 1].end if index[0] else 0
        for part in (log.rows[:before], log.rows[steps[index[-1]].end :]):
            learnt |= {row.episode for row in part}
    kept = [
        i
        for i in in_phase
        if not learnt or log.rows[i].reset or log.rows[i].episode in learnt
    ]
    counts = np.zeros(len(log) + 1, dtype=np.int64)
    counts[1:][kept] = 1
    return kept, np.cumsum(counts)


def _transitions(kept: Sequence[int], log: Log, task: Task) -> Transitions:
    rows: list[Row] = [log.rows[i] for i in kept]

    def column(name: str, dtype: type) -> Any:
        return np.array([getattr(row, name) for row in rows], dtype=dtype)

    left = np.array([i in log.abandoned for i in kept], dtype=np.bool_)
    resets = column("reset", np.bool_)
    clipped = None
    if isinstance(task, BoxTask):
        sent = column("sent", np.float64)
        action = np.array([r.sent if r.drawn is None else r.drawn for r in rows])
        if not np.allclose(action, sent, rtol=1e-6, atol=1e-6):
            clipped = sent
    else:
        action = column("sent", np.int64)
    return Transitions(
        state=column("state", np.int64),
        action=action,
        reward=column("reward", np.float64),
        next_state=column("next_state", np.int64),
        terminated=column("terminated", np.bool_),
        truncated=column("truncated", np.bool_) | left,
        env=np.unique(column("env", np.int64), return_inverse=True)[1],
        episode=column("episode", np.int64),
        time=column("time", np.int64),
        clipped=clipped,
        reset=resets if resets.any() else None,
    )
