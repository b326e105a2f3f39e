"""Decodes recorded gradients: what the outputs of the policy received in each state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pg_agents.checker.record import Record, Transitions, Update
from pg_agents.checker.script.stage import Log, Row
from pg_agents.checker.script.taps import Outputs, Step
from pg_agents.checker.task import Array, Task

# Directions with smaller singular values, relative to the largest, are rounding in
# float32, or would magnify it.
_ROUNDING = 1e-6
_RELIABLE = 2e-3


class NotDecodableError(ValueError):
    """There is nothing to decode; the message says why."""


@dataclass(frozen=True)
class _Basis:
    """The outputs that determine a gradient, and how.

    Attributes:
        inverse: `[R, P]`, from gradients to outputs.
        outputs: `[R, D]`, orthonormal columns that span the outputs that can be told.
        span: `[P, D']`, orthonormal columns that span the gradients.
        complete: whether all outputs can be told.
    """

    inverse: Array
    outputs: Array
    span: Array
    complete: bool

    def residual(self, gradient: Array) -> float:
        """Returns the share of a gradient's norm outside the span."""
        norm = float(np.linalg.norm(gradient))
        rest = gradient - self.span @ (self.span.T @ gradient)
        return float(np.linalg.norm(rest)) / norm if norm > 0.0 else 0.0


def _basis(jacobian: Array, rank: int) -> _Basis:
    left, sizes, right = np.linalg.svd(jacobian, full_matrices=False)
    largest = max(float(sizes.max(initial=0.0)), 1e-30)
    kept = sizes > _RELIABLE * largest
    inverse = (left[:, kept] / sizes[kept]) @ right[kept]
    return _Basis(
        inverse,
        left[:, kept],
        right[sizes > _ROUNDING * largest].T,
        int(kept.sum()) >= rank,
    )


def decode(
    task: Task,
    phase: int,
    log: Log,
    policy: Outputs,
    critics: Sequence[Outputs],
    steps: Sequence[Step],
) -> Record:
    """Returns the record of a phase.

    Args:
        task: the task of the phase.
        phase: its index.
        log: all transitions.
        policy: probabilities in each state, and derivatives of their logarithms.
        critics: values in each state, and their derivatives, one for each network.
        steps: steps of optimisers; their `end` counts the transitions of the log.

    Raises:
        NotDecodableError: if no update of the policy was seen.
    """
    rows, position = _rows(log, phase)
    if not policy.jacobian:
        raise NotDecodableError(
            "no gradient of the policy was found: neither the distribution that acts "
            "nor one with the same probabilities depends on a parameter of an optimiser"
        )
    n_states, n_actions = task.mdp.n_states, task.mdp.n_actions
    table = np.full((n_states, n_actions), 1.0 / n_actions)
    for state, probabilities in policy.table.items():
        table[state] = probabilities / probabilities.sum()
    critic = _critic(critics, policy)
    decoder = _Decoder(policy, critic, n_states, n_actions)
    updates = []
    first = None
    for step in steps:
        if not decoder.concerns(step):
            continue
        end = position[step.end]
        # The window of the first update may have begun before the phase.
        if first is not None and end > first:
            updates.append(decoder.update(step, first, end))
        elif first is None and (phase == 0 or log.rows[0].phase == phase):
            updates.append(decoder.update(step, 0, end))
        first = end
    values = None
    if critic is not None:
        values = np.zeros(n_states)
        for state, value in critic.table.items():
            values[state] = value[0]
    return Record(
        task,
        table,
        values,
        _transitions(rows, log),
        tuple(updates),
        basis=decoder.basis,
        value_basis=decoder.value_basis,
    )


def _critic(critics: Sequence[Outputs], policy: Outputs) -> Outputs | None:
    """Returns the critic that is trained, the one seen in most states first."""
    del policy
    trained = [c for c in critics if c.jacobian] or list(critics)
    return max(trained, key=lambda c: len(c.table), default=None)


class _Decoder:
    def __init__(
        self, policy: Outputs, critic: Outputs | None, n_states: int, n_actions: int
    ) -> None:
        self._n_states, self._n_actions = n_states, n_actions
        self._keys = policy.parameters()
        self._critic_keys = set() if critic is None else critic.parameters()
        self._states = sorted(policy.jacobian)
        self._value_states = [] if critic is None else sorted(critic.jacobian)
        logits = {
            state: {key: d - d.mean(axis=0) for key, d in parts.items()}
            for state, parts in policy.jacobian.items()
        }
        shared = self._keys & self._critic_keys
        rank = len(self._states) * (n_actions - 1)
        values = {} if critic is None else critic.jacobian
        self._joint = bool(shared)
        if self._joint:
            self._order = _sizes(logits, values)
            both = _stack(logits, self._states, self._order, n_actions)
            below = _stack(values, self._value_states, self._order, 1)
            whole = _basis(np.concatenate([both, below]), rank + len(below))
            if whole.complete:
                self._policy = self._value = whole
                return
            self._joint = False
        alone = {k: n for k, n in _sizes(logits).items() if k not in self._critic_keys}
        self._order = alone or _sizes(logits)
        self._policy = _basis(
            _stack(logits, self._states, self._order, n_actions), rank
        )
        self._value_order = {
            k: n for k, n in _sizes(values).items() if k not in self._keys
        }
        self._value = _basis(
            _stack(values, self._value_states, self._value_order, 1),
            len(self._value_states),
        )

    @property
    def basis(self) -> Array | None:
        """Orthonormal columns `[S * A, D]` of what can be told; None if all can be."""
        if self._policy.complete:
            return None
        columns = self._policy.outputs
        full = np.zeros((self._n_states, self._n_actions, columns.shape[1]))
        full[self._states] = columns.reshape(len(self._states), self._n_actions, -1)
        basis: Array = full.reshape(self._n_states * self._n_actions, -1)
        return basis

    @property
    def value_basis(self) -> Array | None:
        """Orthonormal columns `[S, D]`; None if all values can be told."""
        if self._value.complete:
            return None
        columns = self._value.outputs
        full = np.zeros((self._n_states, columns.shape[1]))
        full[self._value_states] = columns
        return full

    def concerns(self, step: Step) -> bool:
        """Whether a step changes the policy."""
        return not self._keys.isdisjoint(step.gradients)

    def update(self, step: Step, first: int, end: int) -> Update:
        """Decodes a step."""
        gradient = _gradient(step, self._order)
        outputs = np.zeros((self._n_states, self._n_actions))
        n = len(self._states) * self._n_actions
        found = self._policy.inverse @ gradient
        outputs[self._states] = found[:n].reshape(-1, self._n_actions)
        value = None
        if self._value_states:
            value = np.zeros(self._n_states)
            if self._joint:
                value[self._value_states] = found[n:]
            else:
                value[self._value_states] = self._value.inverse @ _gradient(
                    step, self._value_order
                )
        return Update(first, end, outputs, value, self._policy.residual(gradient))


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


def _rows(log: Log, phase: int) -> tuple[list[int], Array]:
    """Returns the transitions of a phase, and each count of the log as one of theirs.

    Episodes that were played without a graph, where others have one, are tests of the
    policy, and left out.
    """
    in_phase = [i for i, row in enumerate(log.rows) if row.phase == phase]
    with_graph = {log.rows[i].episode for i in in_phase if log.rows[i].graph}
    kept = [
        i
        for i in in_phase
        if not with_graph or log.rows[i].reset or log.rows[i].episode in with_graph
    ]
    counts = np.zeros(len(log) + 1, dtype=np.int64)
    counts[1:][kept] = 1
    return kept, np.cumsum(counts)


def _transitions(kept: Sequence[int], log: Log) -> Transitions:
    rows: list[Row] = [log.rows[i] for i in kept]

    def column(name: str, dtype: type) -> Array:
        found: Array = np.array([getattr(row, name) for row in rows], dtype=dtype)
        return found

    left = np.array([i in log.abandoned for i in kept], dtype=np.bool_)
    resets = column("reset", np.bool_)
    return Transitions(
        state=column("state", np.int64),
        action=column("sent", np.int64),
        reward=column("reward", np.float64),
        next_state=column("next_state", np.int64),
        terminated=column("terminated", np.bool_),
        truncated=column("truncated", np.bool_) | left,
        env=column("env", np.int64),
        episode=column("episode", np.int64),
        time=column("time", np.int64),
        reset=resets if resets.any() else None,
    )
