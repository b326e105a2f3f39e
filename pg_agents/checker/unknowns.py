"""Formulas with numbers that no record tells, which are fitted to the updates.

The subject's critic may be unknown, its baseline may depend on the state in an unknown
way, each update may have a constant or a factor of its own, the probabilities may be
clamped, the actions drawn again. Each of these is linear in its unknowns, or can be
decided row by row, and is tried for the usual credits only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pg_agents.checker.formula import (
    Formula,
    Frame,
    advantages,
    continues,
    directions,
    entropy_columns,
    multiplier,
    predicted,
    projected,
    score_table,
)
from pg_agents.checker.record import IntArray, Record
from pg_agents.checker.task import Array

# Equations per unknown without which a fit says nothing.
_MIN_EQUATIONS = 2.0
# Updates without which a new draw of continuous actions cannot be told.
_MIN_UPDATES = 4
# Single visits without which a new draw of the action cannot be told.
_MIN_VISITS = 12
# Largest share of actions drawn again that are those taken.
_MAX_SAME = 0.95
# Residual at which no further term is tried, and least share of the gradient that is
# explained by rewards.
_FITS = 1e-5
_MIN_SHARE = 0.02
# Independent numbers, more than unknowns, without which a fit of constants or factors
# says nothing.
_MIN_FREE = 24
# p-value below which the constants of updates depend on the updates' own steps.
_DEPENDENT = 1e-3
# Residual below which constants are looked at.
_CONSTANTS_FIT = 2e-3
_LAMBDAS = (0.95, 0.9)
# Most different rewards that are fitted, and residual above which they do not explain
# the gradients.
_MAX_LEVELS, _SCREENED = 80, 2e-3


@dataclass(frozen=True)
class UnknownFit:
    """A formula with fitted numbers.

    Attributes:
        formula: the formula.
        factor: c.
        residual: on the worst record.
        values: `[S]` for each record: the critic that was fitted, or the baseline.
        factors: c of each update, if they differ.
        entropy: coefficient of the entropy term.
        keys: keys of mistakes that are not part of the formula.
    """

    formula: Formula
    factor: float
    residual: float
    values: tuple[Array, ...] | None = None
    factors: Array | None = None
    entropy: float = 0.0
    keys: tuple[str, ...] = ()


def usual(
    frame: Frame, gammas: Sequence[float], critic: bool, truncation: bool
) -> Iterator[Formula]:
    """Yields the usual formulas with a scale of 1.

    Args:
        frame: the updates.
        gammas: their discount factors.
        critic: whether the credits use values.
        truncation: whether episodes were truncated.
    """
    several = len(frame) > len(frame.picks)
    credits_: list[Formula] = [Formula(credit="to_go")]
    if critic:
        credits_ = [Formula(credit="td")]
        if several:
            credits_.append(Formula(credit="bootstrapped"))
            credits_ += [Formula(credit="lambda", lam=x) for x in _LAMBDAS]
        if truncation:
            credits_ += [replace(f, bootstrap="terminated") for f in credits_]
    reductions_ = ["sum", "steps"]
    if (frame.n_parts > 1).any():
        reductions_.append("episodes")
    own = set(frame.task_gamma.tolist())
    for gamma in gammas:
        discounted = gamma < 1.0 and (not critic or gamma in own)
        for credit in credits_:
            for discount in ("none", "gamma_t")[: 1 + discounted]:
                for reduction in reductions_ if several else ("sum",):
                    yield replace(
                        credit, gamma=gamma, discount=discount, reduction=reduction
                    )


def _weights(frame: Frame, formula: Formula) -> Array:
    gammas, lams = np.array([formula.gamma]), np.array([formula.lam])
    advantage = advantages(frame, formula, gammas, lams)[0]
    weights: Array = advantage * multiplier(frame, formula, formula.gamma)
    return weights


def _residual(frame: Frame, rest: Array) -> float:
    """Returns the norm of the rest `[U, M]` on the worst record."""
    record = np.array([w.record for w in frame.picks])
    return max(float(np.linalg.norm(rest[record == i])) for i in np.unique(record))


def _solve(frame: Frame, columns: Array, target: Array) -> tuple[Array, float] | None:
    """Returns least-squares coefficients and the residual.

    Args:
        frame: the updates.
        columns: `[Q, U, M]`.
        target: `[U, M]`.

    Returns:
        `[Q]` and the residual; None if there are too few equations.
    """
    design = columns.reshape(len(columns), -1).T
    norms = np.linalg.norm(design, axis=0)
    used = norms > 1e-12 * norms.max(initial=1e-300)
    n_equations = int((np.abs(target).max(axis=0) > 0).sum()) * len(target)
    if n_equations < _MIN_EQUATIONS * used.sum():
        return None
    coefficients = np.zeros(len(columns))
    scaled = design[:, used] / norms[used]
    solution = np.linalg.lstsq(scaled, target.ravel(), rcond=1e-9)[0]
    coefficients[used] = solution / norms[used]
    rest = target - (design @ coefficients).reshape(target.shape)
    return coefficients, _residual(frame, rest)


def dimensions(frame: Frame) -> IntArray:
    """Returns how many independent numbers the weights of each update set, `[U]`."""
    counts = []
    for row, window in zip(frame.target, frame.picks, strict=True):
        shape = frame.records[window.record].policy.shape
        norms = np.linalg.norm(row[: shape[0] * shape[1]].reshape(shape), axis=1)
        n_states = int((norms > 1e-4 * norms.max(initial=1e-300)).sum())
        counts.append(n_states * max(shape[1] - 1, 1))
    # Weights of the same state and action act on the same numbers.
    n_pairs = np.zeros(len(frame.picks), dtype=np.int64)
    pairs = np.column_stack(
        [frame.update, frame.scored_state, frame.action.reshape(len(frame), -1)]
    )
    used = np.unique(pairs[frame.times > 0], axis=0)[:, 0].astype(np.int64)
    np.add.at(n_pairs, used, 1)
    return np.minimum(np.array(counts, dtype=np.int64), n_pairs)


def fit_values(frame: Frame, formula: Formula) -> UnknownFit | None:
    """Fits an unknown critic, or a baseline that depends on the state.

    Args:
        frame: the updates; its critic is replaced.
        formula: with a credit that uses values, or `"to_go"`; the values are the
            baseline, too.
    """
    formula = replace(formula, baseline="value")
    tables = [np.zeros(len(r.policy)) for r in frame.records]
    known = [r.values for r in frame.records]
    columns = []
    try:
        frame.use_values(tables)
        x = predicted(frame, _weights(frame, formula), formula.score)
        for table in tables:
            for s in range(len(table)):
                table[s] = 1.0
                frame.use_values(tables)
                shifted = predicted(frame, _weights(frame, formula), formula.score)
                columns.append(shifted - x)
                table[s] = 0.0
    finally:
        frame.use_values(known)
    own = np.array([x, *columns])
    solved = _solve(frame, own, frame.target)
    name, entropy = "none", 0.0
    for kind in ("bonus_steps", "bonus_sum"):
        if solved is None or solved[1] < _FITS:
            break
        column = entropy_columns(frame)[kind]
        solved = _solve(frame, np.array([*own, column]), frame.target)
        name = kind
    if solved is None:
        return None
    coefficients, residual = solved
    if name != "none":
        coefficients, entropy = coefficients[:-1], float(coefficients[-1])
    least = _MIN_SHARE * np.linalg.norm(frame.target)
    of_values = np.einsum("q,qum->um", coefficients[1:], np.array(columns))
    if min(np.linalg.norm(coefficients[0] * x), np.linalg.norm(of_values)) < least:
        # Values or rewards alone explain the gradient.
        return None
    formula = replace(formula, entropy=name)
    values = coefficients[1:] / coefficients[0]
    edges = np.cumsum([len(t) for t in tables])[:-1]
    return UnknownFit(
        formula,
        float(coefficients[0]),
        residual,
        entropy=entropy,
        values=tuple(np.split(values, edges)),
    )


def fit_value_of_policy(frame: Frame, formula: Formula) -> UnknownFit | None:
    """Fits a baseline that the policy's own outputs give, and that is not detached.

    On a shared trunk the value V(s) has a derivative by the policy's outputs. If it is
    not detached in the actor's loss, `log pi(a|s) dV(s)` is added to the score times
    the advantage. V and its derivative are unknown in each state.

    Args:
        frame: the updates.
        formula: with the credit `"to_go"`.
    """
    if frame.records[0].family != "categorical":
        return None
    rewards = predicted(frame, _weights(frame, formula), formula.score)
    factors = multiplier(frame, formula, formula.gamma)
    log_prob = np.zeros(len(frame))
    for i, record in enumerate(frame.records):
        rows = frame.record == i
        table = np.log(np.maximum(record.policy, 1e-300))
        action = frame.action[rows].astype(np.int64)
        log_prob[rows] = table[frame.scored_state[rows], action]
    baseline, leak = [], []
    number = np.array([w.record for w in frame.picks])
    for i, record in enumerate(frame.records):
        for s in range(len(record.policy)):
            here = (frame.record == i) & (frame.scored_state == s)
            baseline.append(predicted(frame, -factors * here, formula.score))
            sums = frame.by_update.sums((factors * log_prob * here)[None])[0]
            n_outputs = record.policy.shape[1]
            # The derivatives by the logits of a state sum to 0.
            for output in range(n_outputs - 1):
                own = np.zeros((1, record.policy.size))
                own[0, s * n_outputs + output] = 1.0
                own[0, s * n_outputs + n_outputs - 1] = -1.0
                column = np.zeros_like(rewards)
                column[:, : own.size] = projected(own, record)
                column *= (sums * frame.scale * (number == i))[:, None]
                leak.append(column)
    columns = np.array([rewards, *baseline, *leak])
    solved = _solve(frame, columns, frame.target)
    if solved is None:
        return None
    coefficients, residual = solved
    edges = 1, 1 + len(baseline)
    shares = [
        np.linalg.norm(np.einsum("q,qum->um", part, own))
        for part, own in zip(
            np.split(coefficients, edges), np.split(columns, edges), strict=True
        )
    ]
    if min(shares) < _MIN_SHARE * np.linalg.norm(frame.target):
        return None
    sizes = np.cumsum([len(r.policy) for r in frame.records])[:-1]
    values = coefficients[edges[0] : edges[1]] / coefficients[0]
    return UnknownFit(
        replace(formula, baseline="value"),
        float(coefficients[0]),
        residual,
        values=tuple(np.split(values, sizes)),
        keys=("value_not_detached",),
    )


def fit_rewards(frame: Frame, formula: Formula) -> UnknownFit | None:
    """Fits what each reward counts, and decides whether rewards are clipped.

    Args:
        frame: the updates.
        formula: with the credit `"to_go"`.
    """
    levels, index = np.unique(frame.reward, return_inverse=True)
    if not 3 <= len(levels) <= _MAX_LEVELS:
        return None
    counted = np.equal.outer(np.arange(len(levels)), index).astype(np.float64)
    keep = formula.gamma * continues(frame, formula.ends)
    returns = frame.follow("chain").solve(counted, np.broadcast_to(keep, counted.shape))
    factors = multiplier(frame, formula, formula.gamma)
    columns = np.array(
        [predicted(frame, factors * row, formula.score) for row in returns]
    )
    solved = _solve(frame, columns, frame.target)
    if solved is None or solved[1] > _SCREENED:
        return None
    bounds = _bounds_of(levels, solved[0])
    if bounds is None:
        return None
    # More digits than a bound has are rounding.
    low, high = (f"{bound:.4g}" for bound in bounds)
    fitted = replace(formula, rewards=f"clipped_{low}_{high}")
    x = predicted(frame, _weights(frame, fitted), formula.score)
    c = float(np.sum(x * frame.target) / max(float(np.sum(x**2)), 1e-300))
    return UnknownFit(fitted, c, _residual(frame, frame.target - c * x))


def _bounds_of(levels: Array, counted: Array) -> tuple[float, float] | None:
    """Returns the bounds between which rewards count as they are; None if none.

    Args:
        levels: `[V]`, the rewards, in increasing order.
        counted: `[V]`, what they count, up to a common factor.
    """
    tolerance = 1e-3 * float(np.abs(levels).max())
    best: tuple[int, float, float] | None = None
    for level, value in zip(levels, counted, strict=True):
        if abs(level) <= tolerance or value == 0.0:
            continue
        as_they_count = counted * level / value
        same = np.flatnonzero(np.abs(as_they_count - levels) < tolerance)
        if len(same) < 2 or len(same) == len(levels) or np.ptp(same) >= len(same):
            continue
        below, above = as_they_count[: same[0]], as_they_count[same[-1] + 1 :]
        low = float(below.mean()) if len(below) else -np.inf
        high = float(above.mean()) if len(above) else np.inf
        if not (
            np.all(np.abs(below - low) < tolerance)
            and np.all(np.abs(above - high) < tolerance)
            and levels[: same[0]].max(initial=-np.inf) <= low + tolerance
            and low < levels[same[0]] + tolerance
            and levels[same[-1]] < high + tolerance
            and high <= levels[same[-1] + 1 :].min(initial=np.inf) + tolerance
        ):
            continue
        if best is None or len(same) > best[0]:
            best = len(same), low, high
    return None if best is None else best[1:]


@contextmanager
def without_values(frame: Frame) -> Iterator[None]:
    """Sets the critic to 0."""
    known = [r.values for r in frame.records]
    frame.use_values([None for _ in known])
    try:
        yield
    finally:
        frame.use_values(known)


@contextmanager
def without_rewards(frame: Frame) -> Iterator[None]:
    """Sets the rewards to 0."""
    known = frame.reward
    frame.reward = np.zeros_like(known)
    try:
        yield
    finally:
        frame.reward = known


def fit_reward_factor(frame: Frame, formula: Formula) -> tuple[float, float]:
    """Fits a factor of the rewards, for a formula that is linear in rewards and values.

    Returns:
        The factor, and the residual on the worst record; infinite if rewards or values
        alone explain the gradient.
    """
    with without_values(frame):
        of_rewards = predicted(frame, _weights(frame, formula), formula.score)
    with without_rewards(frame):
        of_values = predicted(frame, _weights(frame, formula), formula.score)
    best, residual = 1.0, np.inf
    terms = entropy_columns(frame)
    least = _MIN_SHARE * np.linalg.norm(frame.target)
    for column in (None, terms["bonus_steps"], terms["bonus_sum"]):
        columns = [of_rewards, of_values, *([] if column is None else [column])]
        solved = _solve(frame, np.array(columns), frame.target)
        if solved is None or solved[1] >= residual:
            continue
        c, d = solved[0][:2]
        if min(np.linalg.norm(c * of_rewards), np.linalg.norm(d * of_values)) > least:
            best, residual = float(c / d), solved[1]
        if residual < _FITS:
            break
    return best, residual


def fit_constants(frame: Frame, formula: Formula) -> UnknownFit | None:
    """Fits a constant baseline of each update.

    The constants may stem from earlier updates, such as a running mean. None if they
    depend on the steps of their own update.
    """
    weights = _weights(frame, formula)
    x = predicted(frame, weights, formula.score)
    ones = predicted(frame, multiplier(frame, formula, formula.gamma), formula.score)
    # The constants are eliminated update by update.
    norms = np.maximum(np.einsum("um,um->u", ones, ones), 1e-300)[:, None]

    def without(y: Array) -> Array:
        rest: Array = y - np.einsum("um,um->u", y, ones)[:, None] / norms * ones
        return rest

    x, target = without(x), without(frame.target)
    if (dimensions(frame) - 1).clip(0).sum() < _MIN_FREE:
        return None
    norm = float(np.sum(x**2))
    if norm == 0.0:
        return None
    c = float(np.sum(x * target)) / norm
    fitted = replace(formula, baseline="update_constant")
    # Relative to what the constants do not explain.
    scale = max(_residual(frame, target), 1e-300)
    residual = _residual(frame, target - c * x) / scale
    if residual < _CONSTANTS_FIT:
        left = c * predicted(frame, weights, formula.score) - frame.target
        constants = np.einsum("um,um->u", left, ones) / norms[:, 0] / c
        if _depend_on_steps(frame, formula, constants):
            return None
    return UnknownFit(fitted, c, residual)


def _depend_on_steps(frame: Frame, formula: Formula, constants: Array) -> bool:
    """Whether numbers `[U]` depend on the returns, values or lengths of their updates.

    Each record is tested by F, the significance divided by the number of records.
    """
    gammas, lams = np.array([formula.gamma]), np.array([formula.lam])
    plain = replace(formula, baseline="none")
    means = [
        frame.by_update.sums(x)[0] / frame.by_update.counts
        for x in (advantages(frame, plain, gammas, lams), frame.value[None])
    ]
    features = np.array([*means, frame.by_update.counts]).T
    record = np.array([w.record for w in frame.picks])
    numbers = np.unique(record)
    for i in numbers:
        own, y = features[record == i], constants[record == i]
        own, y = own - own.mean(axis=0), y - y.mean()
        total = float(y @ y)
        if total <= (1e-4 * np.abs(constants).max()) ** 2 * len(y):
            # The same for all updates.
            continue
        solution, _, rank, _ = np.linalg.lstsq(own, y, rcond=1e-9)
        free = len(y) - 1 - int(rank)
        if free < 1 or not rank:
            continue
        left = float(np.sum((y - own @ solution) ** 2))
        f = (total - left) / rank / max(left / free, 1e-300)
        if stats.f.sf(f, int(rank), free) * len(numbers) < _DEPENDENT:
            return True
    return False


def fit_action_values(frame: Frame, formula: Formula) -> UnknownFit | None:
    """Fits an unknown value of each state and action, which is subtracted.

    With the credit `"td"` the value of the next state is their mean by the policy. None
    if the values do not depend on the action: then they are a baseline.
    """
    if frame.records[0].family != "categorical":
        return None
    gammas, lams = np.array([formula.gamma]), np.array([formula.lam])
    scale = multiplier(frame, formula, formula.gamma)
    going = formula.gamma * continues(frame, formula.bootstrap)
    with without_values(frame):
        credit = advantages(frame, replace(formula, baseline="none"), gammas, lams)[0]
    x = predicted(frame, credit * scale, formula.score)
    columns, pairs = [], []
    for i, record in enumerate(frame.records):
        mine = frame.record == i
        for s, a in np.argwhere(record.policy > 0.0).tolist():
            here = mine & (frame.local_state == s) & (frame.action == a)
            weight = -here.astype(np.float64)
            if formula.credit == "td":
                after = mine & (frame.local_next == s)
                weight += record.policy[s, a] * going * after
            columns.append(predicted(frame, weight * scale, formula.score))
            pairs.append((i, s, bool(here.any())))
    solved = _solve(frame, np.array([x, *columns]), frame.target)
    if solved is None or solved[1] > _CONSTANTS_FIT or solved[0][0] == 0.0:
        return None
    coefficients, residual = solved
    of_values = np.einsum("q,qum->um", coefficients[1:], np.array(columns))
    least = _MIN_SHARE * np.linalg.norm(frame.target)
    if min(np.linalg.norm(coefficients[0] * x), np.linalg.norm(of_values)) < least:
        return None
    values = coefficients[1:] / coefficients[0]
    of_state: dict[tuple[int, int], list[float]] = {}
    for value, (i, s, seen) in zip(values.tolist(), pairs, strict=True):
        if seen:
            of_state.setdefault((i, s), []).append(value)
    spread = max((max(group) - min(group) for group in of_state.values()), default=0.0)
    if spread < _CONSTANTS_FIT * np.abs(values).max():
        return None
    fitted = replace(formula, baseline="action_value_fitted")
    return UnknownFit(fitted, float(coefficients[0]), residual)


def fit_factors(frame: Frame, formula: Formula) -> UnknownFit | None:
    """Fits a factor of each update, as clipping by norm gives."""
    x = predicted(frame, _weights(frame, formula), formula.score)
    norms = np.einsum("um,um->u", x, x)
    if (dimensions(frame) - 1).clip(0).sum() < _MIN_FREE:
        return None
    c = np.einsum("um,um->u", x, frame.target) / np.maximum(norms, 1e-300)
    residual = _residual(frame, frame.target - c[:, None] * x)
    fitted = replace(formula, reduction="clipped")
    return UnknownFit(fitted, float(np.median(c)), residual, factors=c)


def fit_probabilities(frame: Frame, formula: Formula) -> UnknownFit | None:
    """Fits what a clamped or smoothed probability does to the scores.

    Each score may have a factor that depends on the probability of its action: 0 where
    it is clamped, p / (p + eps) if eps is added.
    """
    if frame.records[0].family != "categorical":
        return None
    weights = _weights(frame, formula)
    vectors = directions(frame, "log_prob") * weights[:, None]
    probability = np.zeros(len(frame))
    for i, record in enumerate(frame.records):
        rows = frame.record == i
        table = record.policy
        probability[rows] = table[
            frame.scored_state[rows], frame.action[rows].astype(np.int64)
        ]
    levels, index = np.unique(np.round(probability, 6), return_inverse=True)
    columns = np.array(
        [
            frame.by_update.sums((vectors * (index == i)[:, None]).T).T
            for i in range(len(levels))
        ]
    )
    solved = _solve(frame, columns, frame.target)
    if solved is None:
        return None
    factors, residual = solved
    score = _score_of(levels, factors)
    if residual > 1e-3 or score is None:
        return None
    fitted = replace(formula, score=score)
    x = predicted(frame, _weights(frame, fitted), score)
    c = float(np.sum(x * frame.target) / max(float(np.sum(x**2)), 1e-300))
    return UnknownFit(fitted, c, _residual(frame, frame.target - c * x))


def _score_of(levels: Array, factors: Array) -> str | None:
    """Returns the score whose factors by probability these are; None if none."""
    largest = float(np.abs(factors).max())
    c = float(factors[np.abs(factors).argmax()])
    share = factors / c
    zero = np.abs(share) < 1e-3
    if zero.any() and np.abs(share[~zero] - 1.0).max() < 1e-3:
        kept = levels[~zero]
        below, above = levels[levels < kept.min()], levels[levels > kept.max()]
        if len(below) + len(above) == zero.sum():
            low = (below.max() + kept.min()) / 2 if len(below) else 0.0
            high = (above.min() + kept.max()) / 2 if len(above) else 1.0
            return f"clamped_{low:.6g}_{high:.6g}"
    # A line passes through any two points.
    if len(levels) < 3 or largest == 0.0 or (share <= 0.0).any():
        return None
    # c p / (p + eps): 1 / factor is affine in 1 / p.
    slope, intercept = np.polyfit(1.0 / levels, 1.0 / factors, 1)
    epsilon = float(slope / intercept)
    fitted = (1.0 / intercept) * levels / (levels + epsilon)
    if epsilon > 0 and np.abs(fitted / factors - 1.0).max() < 1e-3:
        return f"smoothed_{epsilon:.6g}"
    return None


def fit_resampled(frame: Frame, formula: Formula) -> UnknownFit | None:
    """Decides whether each step has the score of an action, but of another one.

    States that an update visits once show a single score, so the action can be read.
    """
    weights = _weights(frame, formula)
    if frame.records[0].family == "gaussian":
        return _fit_resampled_gaussian(frame, formula, weights)
    cell = frame.update * frame.n_states + frame.state
    _, first, counts = np.unique(cell, return_index=True, return_counts=True)
    rows = first[counts == 1]
    rows = rows[np.abs(weights[rows]) > 1e-6 * np.abs(weights).max(initial=1e-300)]
    if len(rows) < _MIN_VISITS:
        return None
    found = [_coefficients(frame, int(row), float(weights[row])) for row in rows]
    ratios = np.array(found)  # [rows, A], c of each action, NaN if it does not fit
    candidates = ratios[:_MIN_VISITS][np.isfinite(ratios[:_MIN_VISITS])]
    best, share = 0.0, -1.0
    for c in candidates:
        fits = (np.abs(ratios - c) < 1e-3 * abs(c)).any(axis=1)
        if fits.mean() > share:
            best, share = float(c), float(fits.mean())
    if share < 0.98:
        return None
    taken = frame.action[rows].astype(np.int64)
    same = np.abs(ratios[np.arange(len(rows)), taken] - best) < 1e-3 * abs(best)
    if same.mean() > _MAX_SAME:
        return None
    return UnknownFit(replace(formula, score="resampled"), best, 0.0)


def _fit_resampled_gaussian(
    frame: Frame, formula: Formula, weights: Array
) -> UnknownFit | None:
    """Decides the same for Gaussian policies, whose actions are any numbers.

    In an update that visits each state at most once, `y_k = c w_k z_k / std_k` at the
    mean of step k, and `v = c sum_k w_k (z_k^2 - 1)` at the log deviations together,
    whether they are shared or not. Without the unknown z_k this is a quadratic equation
    for c, which must have the same solution in all updates.
    """
    roots, numbers = [], []
    for u, window in enumerate(frame.picks):
        rows = np.flatnonzero((frame.update == u) & (frame.times > 0))
        record = frame.records[window.record]
        n_states, n_outputs = record.policy.shape
        n = n_outputs // 2
        states, w = frame.local_state[rows], weights[rows, None]
        once = len(np.unique(states)) == len(rows)
        least = 1e-6 * np.abs(weights).max(initial=1e-300)
        if not len(rows) or not once or np.abs(w).min() < least:
            continue
        if not _tells_means_and_sums(record):
            return None
        y = -frame.target[u, : n_states * n_outputs].reshape(n_states, n_outputs)
        y = y / frame.scale[u]
        std = np.exp(record.policy[states, n:])
        of_mean = y[states, :n] * std
        square, total, v = (of_mean**2 / w).sum(axis=0), w.sum(), y[:, n:].sum(axis=0)
        root = np.sqrt(np.maximum(v**2 + 4.0 * total * square, 0.0))
        roots.append(np.array([-v + root, -v - root]) / (2.0 * total))
        z = (frame.action[rows].reshape(len(rows), n) - record.policy[states, :n]) / std
        numbers.append((of_mean / w, z))
    if len(roots) < _MIN_UPDATES:
        return None
    for c in roots[0].ravel():
        near = [(np.abs(r - c) < 1e-3 * abs(c)).any(axis=0).all() for r in roots]
        if np.mean(near) < 0.98:
            continue
        same = [np.abs(a / c - z) < 1e-3 for a, z in numbers]
        if np.concatenate(same).mean() > _MAX_SAME:
            return None
        return UnknownFit(replace(formula, score="resampled"), float(c), 0.0)
    return None


def _tells_means_and_sums(record: Record) -> bool:
    """Whether each mean, and the sum of each log deviation, can be decoded."""
    if record.basis is None:
        return True
    n_states, n_outputs = record.policy.shape
    n = n_outputs // 2
    wanted = np.zeros((n_states * n + n, n_states, n_outputs))
    for i in range(n_states * n):
        wanted[i, i // n, i % n] = 1.0
    for d in range(n):
        wanted[n_states * n + d, :, n + d] = 1.0
    flat = wanted.reshape(len(wanted), -1)
    kept = (flat @ record.basis) @ record.basis.T
    return bool(np.abs(kept - flat).max() < 1e-3)


def _coefficients(frame: Frame, row: int, weight: float) -> Array:
    """Returns c for which each action's score explains the row's state, `[A]`."""
    record = frame.records[frame.record[row]]
    n_actions = record.policy.shape[1]
    state = int(frame.local_state[row])
    scale = frame.scale[frame.update[row]]
    start = state * n_actions
    y = frame.target[frame.update[row], start : start + n_actions] / scale
    scores = -score_table(record, "log_prob")[state] * weight
    norms = np.einsum("ao,ao->a", scores, scores)
    c = scores @ y / norms
    rest = np.linalg.norm(y - c[:, None] * scores, axis=1)
    fits = rest < 1e-3 * max(float(np.linalg.norm(y)), 1e-300)
    ratios: Array = np.where(fits & (np.abs(c) > 0), c, np.nan)
    return ratios
