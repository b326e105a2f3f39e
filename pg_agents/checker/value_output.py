"""What the value output receives: the critic's loss, and what leaks into it.

The derivative of the loss by the value of each state is that of the critic's loss,
`sum_k f'(V(s_k) - target_k)` at s_k. Where the value is not detached in the actor's
loss, `-log pi_k dA_k/dV` is added to it; where the next state's value is not detached
in the critic's target, `-gamma f'(V(s_k) - target_k)` at s_{k+1}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pg_agents.checker.formula import (
    USES_CRITIC,
    Formula,
    Frame,
    advantages,
    centred,
    credits,
    discounts,
    multiplier,
    reductions,
    transformed,
)
from pg_agents.checker.record import IntArray, Record
from pg_agents.checker.task import Array

_STEP = 1e-4
_LAMBDAS = (0.95, 0.9, 0.97)


@dataclass(frozen=True)
class ValueFit:
    """What explains the gradients of the value output.

    Attributes:
        keys: keys of the mistakes; empty if there are none.
        residual: on the worst record.
        credit: the target of the critic.
    """

    keys: tuple[str, ...]
    residual: float
    credit: str


def fit_value_output(
    frame: Frame, formula: Formula, max_residual: float
) -> ValueFit | None:
    """Explains the derivatives by the values; None if there are none, or it cannot.

    Args:
        frame: updates with a gradient of the value output.
        formula: that of the policy's gradient.
        max_residual: least share of the norm that may be left.
    """
    if any(r.values is None or r.values.ndim != 1 for r in frame.records):
        return None
    target = _value_target(frame)
    if target is None or not target.any():
        return None
    leaks = _leaks(frame, formula)
    best: ValueFit | None = None
    for credit, main, semi in _losses(frame, formula):
        for keys, columns in (
            ((), [main]),
            *(((key,), [main, leak]) for key, leak in leaks),
            (("next_value_not_detached",), [main, semi]),
            *(
                ((key, "next_value_not_detached"), [main, leak, semi])
                for key, leak in leaks
            ),
        ):
            fit = _fit(frame, target, columns, keys, credit)
            if fit.residual > max_residual:
                continue
            if best is None or len(fit.keys) < len(best.keys):
                best = fit
        if best is not None and not best.keys:
            return best
    for key, leak in leaks:
        fit = _fit(frame, target, [leak], (key,), "none")
        if fit.residual < max_residual and best is None:
            best = fit
    return best


def _fit(
    frame: Frame, target: Array, columns: list[Array], keys: tuple[str, ...], name: str
) -> ValueFit:
    design = np.array([c.ravel() for c in columns]).T
    norms = np.maximum(np.linalg.norm(design, axis=0), 1e-300)
    solution = np.linalg.lstsq(design / norms, target.ravel(), rcond=1e-9)[0]
    rest = target - (design / norms @ solution).reshape(target.shape)
    record = np.array([w.record for w in frame.picks])
    residual = max(float(np.linalg.norm(rest[record == i])) for i in np.unique(record))
    # A term that explains nothing is none.
    if len(solution) > 1 and np.abs(solution[1:]).min() < 1e-3 * np.abs(solution).max():
        residual = np.inf
    if solution[0] < 0 and name != "none":
        keys = ("critic_sign_flipped", *keys)
    return ValueFit(keys, residual, name)


def _value_target(frame: Frame) -> Array | None:
    """Returns the derivatives by the values, `[U, S]`, each record with norm 1."""
    width = max(len(r.policy) for r in frame.records)
    target = np.zeros((len(frame.picks), width))
    for row, window in zip(target, frame.picks, strict=True):
        value = frame.records[window.record].updates[window.update].value
        if value is None or not np.isfinite(value).all():
            return None
        row[: len(value)] = value
    return _projected(frame, target)


def _scales(frame: Frame) -> Array:
    """Returns one over the norm of each update's record, `[U]`."""
    squares = np.zeros(len(frame.records))
    for window in frame.picks:
        value = frame.records[window.record].updates[window.update].value
        squares[window.record] += 0.0 if value is None else float(np.sum(value**2))
    scales = np.where(squares > 0, 1.0 / np.sqrt(np.maximum(squares, 1e-300)), 0.0)
    result: Array = scales[[w.record for w in frame.picks]]
    return result


def _placed(frame: Frame, weights: Array, state: IntArray) -> Array:
    """Returns the sums of weights `[K]` at states `[K]`, `[U, S]`."""
    width = max(len(r.policy) for r in frame.records)
    n_updates = len(frame.picks)
    cell = frame.update * width + state
    sums: Array = np.bincount(cell, weights, n_updates * width).astype(np.float64)
    return _projected(frame, sums.reshape(n_updates, width))


def _projected(frame: Frame, sums: Array) -> Array:
    """Scales derivatives `[U, S]`, and projects them on what can be decoded."""
    placed = sums * _scales(frame)[:, None]
    for i, record in enumerate(frame.records):
        basis = record.value_basis
        if basis is not None:
            rows = np.array([w.record for w in frame.picks]) == i
            part = placed[rows, : len(basis)]
            placed[rows, : len(basis)] = (part @ basis) @ basis.T
    return placed


def _losses(frame: Frame, formula: Formula) -> Iterator[tuple[str, Array, Array]]:
    """Yields the gradients of critic's losses by V(s), and by V(s') if not detached."""
    gamma = np.array([formula.gamma])
    plain = {"baseline": "none", "scale": "none"}
    targets = [replace(formula, **plain)]  # type: ignore[arg-type]
    usual = Formula(gamma=formula.gamma, bootstrap=formula.bootstrap)
    targets += [replace(usual, credit=c) for c in ("to_go", "td", "bootstrapped")]
    targets += [replace(usual, credit="lambda", lam=x) for x in _LAMBDAS]
    for ddof in (1, 0):
        targets.append(replace(usual, transform="standardized_window", ddof=ddof))
    for target in dict.fromkeys(targets):
        credit = credits(frame, target, gamma, np.array([target.lam]))
        slopes = _slopes(frame, target)
        error = frame.value - transformed(frame, credit, target)[0]
        for slope in (error, np.clip(error, -1.0, 1.0), np.sign(error)):
            for discount in dict.fromkeys(("none", formula.discount)):
                for reduction in ("steps", "sum", "episodes", "own_steps"):
                    weights = (
                        slope
                        * discounts(frame, discount, formula.gamma)
                        * reductions(frame, reduction)
                        * frame.times
                    )
                    yield (
                        target.credit,
                        _placed(frame, weights, frame.local_state),
                        _projected(frame, -frame.by_update.sums(slopes * weights).T),
                    )


def _slopes(frame: Frame, target: Formula) -> Array:
    """Returns the derivatives of a critic's targets by the values, `[S, K]`."""
    width = max(len(r.policy) for r in frame.records)
    if target.transform != "none":
        return np.zeros((width, len(frame)))
    gammas, lams = np.array([target.gamma]), np.array([target.lam])
    known = [r.values for r in frame.records]
    rows = []
    try:
        for s in (None, *range(width)):
            # Targets are affine in the values.
            frame.use_values(
                [
                    np.zeros(len(r.policy)) + (np.arange(len(r.policy)) == s)
                    for r in frame.records
                ]
            )
            rows.append(credits(frame, target, gammas, lams)[0])
    finally:
        frame.use_values(known)
    slopes: Array = np.array(rows[1:]) - rows[0]
    return slopes


def _leaks(frame: Frame, formula: Formula) -> list[tuple[str, Array]]:
    """Returns what reaches the values through the advantages of the actor's loss."""
    if formula.baseline != "value" and formula.credit not in USES_CRITIC:
        return []
    log_prob = _log_probs(frame) * multiplier(frame, formula, formula.gamma)
    gammas, lams = np.array([formula.gamma]), np.array([formula.lam])
    own = credits(frame, formula, gammas, lams)
    width = max(len(r.policy) for r in frame.records)
    through_baseline = np.zeros((len(frame.picks), width))
    through_all = np.zeros_like(through_baseline)
    known = [r.values for r in frame.records]
    tables = [np.array(v) for v in known if v is not None]
    value = frame.value
    for s in range(width):
        change = []
        for sign in (1.0, -1.0):
            frame.value = value + sign * _STEP * (frame.local_state == s)
            change.append(centred(frame, own, formula, gammas)[0])
        slope = (change[0] - change[1]) / (2 * _STEP)
        through_baseline[:, s] = -np.bincount(
            frame.update, slope * log_prob, len(frame.picks)
        )
        frame.value = value
        change = []
        for sign in (1.0, -1.0):
            moved = [t + sign * _STEP * (np.arange(len(t)) == s) for t in tables]
            frame.use_values(moved)
            change.append(advantages(frame, formula, gammas, lams)[0])
        slope = (change[0] - change[1]) / (2 * _STEP)
        through_all[:, s] = -np.bincount(
            frame.update, slope * log_prob, len(frame.picks)
        )
        frame.use_values(known)
    scales = _scales(frame)[:, None]
    return [
        ("value_not_detached", leak * scales)
        for leak in (through_baseline, through_all)
        if leak.any()
    ]


def _log_probs(frame: Frame) -> Array:
    """Returns the log-probability of each row's action, `[K]`."""
    result = np.zeros(len(frame))
    for i, record in enumerate(frame.records):
        rows = np.flatnonzero(frame.record == i)
        state, action = frame.scored_state[rows], frame.action[rows]
        if record.family == "categorical":
            policy = np.maximum(record.policy, 1e-300)
            result[rows] = np.log(policy[state, action.astype(np.int64)])
        else:
            result[rows] = _log_density(record, state, action)
    return result


def _log_density(record: Record, state: IntArray, action: Array) -> Array:
    n_dims = record.policy.shape[1] // 2
    mean, log_std = record.policy[state, :n_dims], record.policy[state, n_dims:]
    z = (action.reshape(len(state), n_dims) - mean) / np.exp(log_std)
    density = -0.5 * z**2 - log_std - 0.5 * np.log(2.0 * np.pi)
    total: Array = density.sum(axis=1)
    return total
