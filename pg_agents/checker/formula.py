"""Formulas of policy gradients, composed from parts, and their weights on transitions.

A formula predicts the decoded gradient of an update,

`dLoss/doutput[s] = -c sum over k in the window of w_k score_k[s] - beta H'[s]`,

where w_k is what the formula makes of rewards and values (its *weight*), score_k is the
derivative of the log-probability of action k by the outputs of its state, c is a
factor and H' the derivative of the entropy. The weight is

`w = discount * reduction * scale(transform(credit) - baseline)`.

Each part has several options: right ones, documented departures and mistakes (`parts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pg_agents.checker.record import BoolArray, IntArray, Record, Transitions
from pg_agents.checker.task import Array

# Below this, deviations are 0 up to rounding.
_TINY = 1e-12


@dataclass(frozen=True)
class Formula:
    """A policy gradient as a choice of one option for each part.

    Attributes:
        rewards: what is done to rewards before they are summed.
        credit: the return: `"to_go"`, `"episode"`, `"immediate"`, `"forward"`,
            `"from_start"` (discounted from the start of the episode), `"cumulative"`,
            `"window"`, `"window_so_far"` (the rewards from the start of the window to
            the end of the episode), `"td"`, `"n_step"`, `"lambda"`, `"bootstrapped"`
            (all rewards of the window and the critic after it), `"value"`, `"one"`.
        ends: which ends of episodes stop the sum.
        bootstrap: at which ends the next value is left out, for credits with a critic.
        successor: of which state the next value is taken.
        order: how credits are assigned to steps.
        transform: what is done to the credits.
        baseline: what is subtracted.
        scale: what credit minus baseline is standardised over.
        ddof: delta degrees of freedom of the deviation.
        discount: factor by time step.
        reduction: factor by window, or by episode.
        steps: which steps of the window take part.
        score: the vector that the weight multiplies.
        data: which transitions form the window.
        entropy: `"none"`, or how an entropy term is computed.
        gamma: discount factor of the credit.
        lam: lambda, for the credit `"lambda"`.
        n: number of steps, for the credit `"n_step"`.
    """

    rewards: str = "raw"
    credit: str = "to_go"
    ends: str = "both"
    bootstrap: str = "both"
    successor: str = "true"
    order: str = "kept"
    transform: str = "none"
    baseline: str = "none"
    scale: str = "none"
    ddof: int = 1
    discount: str = "none"
    reduction: str = "sum"
    steps: str = "all"
    score: str = "log_prob"
    data: str = "window"
    entropy: str = "none"
    gamma: float = 1.0
    lam: float = 1.0
    n: int = 1

    @property
    def standardises(self) -> bool:
        """Whether something is divided by a standard deviation."""
        if self.scale not in ("none", "square", "absolute", "largest"):
            return True
        options = self.transform, self.rewards
        return any(option.startswith("standardized") for option in options)


# Scores that depend on a state and an action alone.
TABLE_SCORES = frozenset(
    {
        "log_prob",
        "next_state",
        "probability",
        "p_log_p",
        "logit",
        "all_actions",
        "first_action",
        "inverse_probability",
        "softmax_twice",
        "binary_cross_entropy",
        "binary_cross_entropy_logits",
        "squared_error",
        "most_likely_action",
    }
)
USES_CRITIC = frozenset({"td", "n_step", "lambda", "bootstrapped", "value"})


class Groups:
    """Disjoint groups of rows; sums and means over them.

    Args:
        ids: `[K]`, group of each row, 0 to n - 1.
        weight: `[K]`, multiplicity of each row; None for 1.
    """

    def __init__(self, ids: IntArray, weight: Array | None = None) -> None:
        self.ids = ids
        self.n = int(ids.max()) + 1 if len(ids) else 0
        self._weight = np.ones(len(ids)) if weight is None else weight
        self.counts = np.bincount(ids, self._weight, self.n)
        self._matrix = sparse.csr_matrix(
            (self._weight, (ids, np.arange(len(ids)))), shape=(self.n, len(ids))
        )

    def sums(self, x: Array) -> Array:
        """Returns the sums of `[G, K]` over each group, `[G, n]`."""
        sums: Array = (self._matrix @ x.T).T
        return sums

    def mean(self, x: Array) -> Array:
        """Returns the mean over the group of each row, `[G, K]`."""
        means: Array = (self.sums(x) / np.maximum(self.counts, 1))[:, self.ids]
        return means

    def deviation(self, x: Array, ddof: int) -> Array:
        """Returns the standard deviation over the group of each row, `[G, K]`."""
        squares = self.sums((x - self.mean(x)) ** 2)
        variance = squares / np.maximum(self.counts - ddof, 1)
        deviation: Array = np.sqrt(variance)[:, self.ids]
        return deviation

    def largest(self, x: Array) -> Array:
        """Returns the maximum over the group of each row, `[G, K]`."""
        maxima = np.full((len(x), self.n), -np.inf)
        for i, row in enumerate(x):
            np.maximum.at(maxima[i], self.ids, row)
        return maxima[:, self.ids]


@dataclass(frozen=True)
class Window:
    """The transitions of one update: indices and how often the update used each.

    Attributes:
        record: index of the record.
        update: index of the update in it.
        index: `[n]`, transitions in the order of the window.
        times: `[n]`, how often each is used.
        scored: `[n]`, transitions whose scores the weights of `index` multiply; the
            same ones, unless some lists were cleared and others were not.
        moved: whether the state of each transition is the one after it.
    """

    record: int
    update: int
    index: IntArray
    times: Array
    scored: IntArray
    moved: bool = False


def windows(record: Record, number: int, data: str = "window") -> list[Window]:
    """Returns the window of each update of a record.

    Args:
        record: the record.
        number: its index.
        data: which transitions form the window: `"window"`; `"memory"`: all since the
            start; `"memory_3"`: those of the last 3 windows;
            `"memory_rows"`: those that the update is known to have used; `"late"`: one
            transition earlier; `"chunks"`: the updates of the same window use
            consecutive parts of it; `"resets"`: also the steps that only reset;
            `"through_resets"`: sums also run through these, but do not learn from them;
            `"stale_rewards"`: rewards since the start, of which the first ones are
            paired with the window's actions; `"stale_actions"`: actions since the
            start, of which the first ones are paired with the window's returns;
            `"mixed_up"`: the rows of a mini-batch are paired with the first steps of
            the window; `"next_states"`: with next states in the place of states.
    """
    result = []
    reset = record.transitions.reset
    keep = (
        np.ones(len(record.transitions), dtype=bool)
        if reset is None or data in ("resets", "through_resets")
        else ~reset
    )
    bounds = [(u.first, u.last) for u in record.updates]
    distinct = sorted(set(bounds))
    number_of = {bound: i for i, bound in enumerate(distinct)}
    seen: dict[tuple[int, int], int] = {}
    all_rows, ones = np.arange(len(keep)), np.ones(len(keep))
    for i, update in enumerate(record.updates):
        bound = bounds[i]
        first, last = bound
        if data == "memory":
            first = 0
        elif data.startswith("memory_") and data != "memory_rows":
            n_windows = int(data.removeprefix("memory_"))
            first = distinct[max(0, number_of[bound] - n_windows + 1)][0]
        elif data == "late":
            first, last = max(0, first - 1), max(1, last - 1)
        elif data == "stale_rewards":
            first = 0
        index = all_rows[first:last]
        if data == "memory_rows" and update.rows is not None:
            index = np.unique(update.rows)
        if reset is not None:
            index = index[keep[index]]
        times, scored = ones[: len(index)], index
        if data in ("stale_rewards", "stale_actions"):
            own = np.arange(*bound)[keep[slice(*bound)]]
            all_ = np.arange(bound[1])[keep[: bound[1]]]
            rows = own if data == "stale_rewards" else all_
            n_pairs = min(len(own), len(rows))
            times = (np.arange(len(index)) < n_pairs).astype(np.float64)
            scored = index.copy()
            scored[:n_pairs] = rows[:n_pairs]
        elif data == "chunks":
            j, total = seen.get(bound, 0), bounds.count(bound)
            seen[bound] = j + 1
            edges = np.linspace(0, len(index), total + 1).astype(int)
            times = np.zeros(len(index))
            times[edges[j] : edges[j + 1]] = 1.0
        elif data == "mixed_up" and update.rows is not None:
            n_pairs = min(len(index), len(update.rows))
            times = (np.arange(len(index)) < n_pairs).astype(np.float64)
            scored = index.copy()
            scored[:n_pairs] = update.rows[:n_pairs]
        elif update.rows is not None:
            times = _counts(update.rows, index)
        if data == "through_resets" and reset is not None:
            times = np.where(reset[index], 0.0, times)
        moved = data == "next_states"
        result.append(Window(number, i, index, times, scored, moved))
    return result


def _counts(rows: IntArray, index: IntArray) -> Array:
    """Returns how often rows have each element of a sorted index."""
    if not len(index):
        return np.zeros(0)
    low, high = index[0], index[-1]
    inside = rows[(rows >= low) & (rows <= high)] - low
    counts = np.bincount(inside, minlength=high - low + 1)
    times: Array = counts[index - low].astype(np.float64)
    return times


class Frame:
    """The transitions of several updates, perhaps of several records, side by side.

    Rows are ordered by update, environment and time. States are numbered through all
    records. All functions of weights take and return `[G, K]` arrays, one row for each
    gamma and lambda.

    Args:
        records: the records.
        picks: windows of the updates.
        accumulated: whether gradients add up over updates (they are never zeroed), so
            that differences of successive gradients are compared.
    """

    def __init__(
        self,
        records: Sequence[Record],
        picks: Sequence[Window],
        accumulated: bool = False,
    ) -> None:
        self.records = records
        self.picks = picks
        self.accumulated = accumulated
        self.entropy_terms: dict[str, Array] = {}
        sizes = [len(w.index) for w in picks]
        update = np.repeat(np.arange(len(picks)), sizes)
        record = np.repeat([w.record for w in picks], sizes)
        index = _joined([w.index for w in picks])
        scored = _joined([w.scored for w in picks])
        n_states = [len(r.policy) for r in records]
        self.offset = np.concatenate([[0], np.cumsum(n_states)])
        self.n_states = int(self.offset[-1])

        def column(name: str, score: bool = False) -> NDArray[Any]:
            """Returns a column of the rows, or of the rows whose scores they weight."""
            columns = [getattr(r.transitions, name) for r in records]
            return _gathered(columns, record, scored if score else index)

        order = np.lexsort((column("env"), update))
        starts = np.cumsum([0, *sizes])[:-1]
        self.update = update
        self.position = (np.arange(len(update)) - starts[update])[order]
        index, scored = index[order], scored[order]
        self.record = record
        self.times = _joined([w.times for w in picks])[order].astype(np.float64)
        shift = self.offset[record]
        own = "next_state" if any(w.moved for w in picks) else "state"
        self.scored_state = column(own, score=True).astype(np.int64)
        self.scored_next = column("next_state", score=True).astype(np.int64)
        self.action: NDArray[Any] = column("action", score=True)
        self.local_state = column(own).astype(np.int64)
        self.state = self.local_state + shift
        self.local_next = column("next_state").astype(np.int64)
        self.clipped = (
            self.action
            if any(r.transitions.clipped is None for r in records)
            else column("clipped", score=True)
        )
        self.reward = column("reward").astype(np.float64)
        self.terminated = column("terminated").astype(bool)
        self.truncated = column("truncated").astype(bool)
        self.time = column("time").astype(np.int64)
        env, episode = column("env").astype(np.int64), column("episode")
        self.env = env
        self.task_gamma = np.array([r.task.gamma for r in records])[record]
        self.done = self.terminated | self.truncated
        n = len(self.update)
        new_update = _changes(self.update)
        new_chain = new_update | _changes(env)
        new_episode = new_chain | _changes(episode)
        self.chain = np.cumsum(new_chain) - 1
        self.episode = np.cumsum(new_episode) - 1
        self.first_in_chain = new_chain
        self.last_in_chain = np.append(new_chain[1:], True)
        self.first_in_episode = new_episode
        self.last_in_episode = np.append(new_episode[1:], True)
        # Whether the end of the episode was seen, for each row.
        ended = np.zeros(int(self.episode[-1]) + 1 if n else 0, dtype=bool)
        ended[self.episode[self.last_in_episode]] = self.done[self.last_in_episode]
        self.finished = ended[self.episode]
        near = [_neighbours(r.transitions) for r in records]

        # State that the environment was in at the next step (after a reset), and
        # whether an episode ended with the step before.
        after = _gathered([states for states, _ in near], record, index)
        before = _gathered([ended for _, ended in near], record, index)
        self.local_after = after.astype(np.int64)
        self.done_before = before.astype(np.float64)
        self.use_values([r.values for r in records])
        self.width = max(records[w.record].policy.size for w in picks)
        self.target, self.scale = self._target(accumulated)

    def __len__(self) -> int:
        """Number of rows, K."""
        return len(self.update)

    @property
    def has_critic(self) -> bool:
        """Whether all records have values."""
        return all(record.values is not None for record in self.records)

    def use_values(self, tables: Sequence[Array | None]) -> None:
        """Sets the critic of each record, `[S]`, `[H + 1, S]` or None."""
        after = np.where(self.done, 0, self.time + 1)
        self.value = self._values(tables, self.local_state, self.time)
        self.next_value = self._values(tables, self.local_next, self.time + 1)
        self.seen_value = self._values(tables, self.local_after, after)

    def _values(
        self, tables: Sequence[Array | None], state: IntArray, time: IntArray
    ) -> Array:
        values = np.zeros(len(state))
        for i, table in enumerate(tables):
            rows = self.record == i
            if table is None:
                continue
            if table.ndim == 1:
                values[rows] = table[state[rows]]
            else:
                values[rows] = table[
                    np.minimum(time[rows], len(table) - 1), state[rows]
                ]
        return values

    def _target(self, accumulated: bool) -> tuple[Array, Array]:
        """Returns what is to be predicted, `[U, M]`, and the scale of each update.

        Records are scaled to the same norm.
        """
        target = np.zeros((len(self.picks), self.width))
        for row, window in zip(target, self.picks, strict=True):
            record = self.records[window.record]
            outputs = record.updates[window.update].outputs.ravel()
            if accumulated and window.update > 0:
                outputs = outputs - record.updates[window.update - 1].outputs.ravel()
            # On a trunk that it shares, the critic's part leaks into the rest.
            row[: len(outputs)] = projected(outputs[None], record)[0]
        number = np.array([w.record for w in self.picks])
        scale = np.zeros(len(self.picks))
        for i in range(len(self.records)):
            norm = np.linalg.norm(target[number == i])
            scale[number == i] = 1.0 / norm if norm > 0 else 0.0
        return target * scale[:, None], scale

    # Groups of rows.

    @cached_property
    def by_update(self) -> Groups:
        """Rows of the same update."""
        return Groups(self.update)

    @cached_property
    def by_used(self) -> Groups:
        """Rows of the same update, as often as it used them."""
        return Groups(self.update, self.times)

    @cached_property
    def by_episode(self) -> Groups:
        """Rows of the same episode and update."""
        return Groups(self.episode)

    @cached_property
    def by_chain(self) -> Groups:
        """Rows of the same environment and update."""
        return Groups(self.chain)

    @cached_property
    def by_time(self) -> Groups:
        """Rows of the same update and time step."""
        key = self.update * (int(self.time.max()) + 1) + self.time
        return Groups(np.unique(key, return_inverse=True)[1])

    @cached_property
    def n_episodes(self) -> Array:
        """Number of episodes that ended in the window of each row, `[K]`."""
        ends = (self.done & self.last_in_episode).astype(np.float64)
        counts = self.by_update.sums(ends[None])[0][self.update]
        started = self.by_update.sums(self.first_in_episode[None].astype(np.float64))
        number: Array = np.where(counts > 0, counts, started[0][self.update])
        return number

    @cached_property
    def n_parts(self) -> Array:
        """Number of episodes of which a step lies in the window, `[K]`."""
        first = self.first_in_episode[None].astype(np.float64)
        counts: Array = self.by_update.sums(first)[0][self.update]
        return counts

    @cached_property
    def flat(self) -> IntArray:
        """Indices of the rows in the order of the window, `[K]`."""
        return np.lexsort((self.position, self.update))

    # Recursions along chains of rows.

    def follow(self, along: str, reverse: bool = False) -> Sequences:
        """Returns the sequences of rows along which sums run.

        Args:
            along: `"chain"`, `"workers"` (one environment after the other) or `"flat"`
                (the order of the window).
            reverse: whether sums run from the first to the last row.
        """
        key = (along, reverse)
        if key not in self._sequences:
            order = self.flat if along == "flat" else np.arange(len(self))
            group = self.chain if along == "chain" else self.update
            self._sequences[key] = Sequences(order, group[order], reverse)
        return self._sequences[key]

    @cached_property
    def _sequences(self) -> dict[tuple[str, bool], Sequences]:
        return {}


class Sequences:
    """Rows in sequences, for linear recursions `x_k = a_k + b_k x_next(k)`.

    Args:
        order: `[K]`, rows in order; those of a sequence are consecutive.
        group: `[K]`, sequence of each of them.
        reverse: whether the next row is the one before.
    """

    def __init__(self, order: IntArray, group: IntArray, reverse: bool) -> None:
        if reverse:
            order, group = order[::-1], group[::-1]
        n = len(order)
        starts = np.flatnonzero(_changes(group))
        lengths = np.diff(np.append(starts, n))
        longest = int(lengths.max()) if n else 0
        # Aligned at the end; row n stands for "none".
        column = np.arange(longest)[None] - (longest - lengths[:, None])
        rows = np.where(column >= 0, starts[:, None] + column, n)
        padded = np.append(order, n)
        self.rows: IntArray = padded[rows].T  # [longest, sequences]
        following = np.full(n + 1, n)
        following[order[:-1]] = np.where(_changes(group)[1:], n, order[1:])
        # `[K]`, K where there is none.
        self.next: IntArray = following[:n]
        ends = np.append(starts[1:], n) - 1
        # `[K]`, the last row of the sequence.
        self.last: IntArray = np.empty(n, dtype=np.int64)
        self.last[order] = order[np.repeat(ends, lengths)]

    def solve(self, a: Array, b: Array) -> Array:
        """Returns x, `[G, K]`, for a and b `[G, K]`."""
        n = a.shape[1]
        wide_a = np.concatenate([a, np.zeros((len(a), 1))], axis=1).T
        wide_b = np.concatenate([b, np.zeros((len(b), 1))], axis=1).T
        x = np.zeros((n + 1, len(a)))
        a_rows, b_rows = wide_a[self.rows], wide_b[self.rows]
        following = np.zeros(a_rows.shape[1:])
        for i in range(len(self.rows) - 1, -1, -1):
            following = a_rows[i] + b_rows[i] * following
            x[self.rows[i]] = following
        return x[:n].T

    def shift(self, x: Array, fill: float = 0.0) -> Array:
        """Returns the value of the next row, `[G, K]`, `fill` where there is none."""
        wide = np.concatenate([x, np.full((len(x), 1), fill)], axis=1)
        return wide[:, self.next]


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *arrays])


def _gathered(
    columns: Sequence[NDArray[Any]], record: IntArray, index: IntArray
) -> NDArray[Any]:
    """Returns elements of columns, one column for each record."""
    if len(columns) == 1:
        return columns[0][index]
    offsets = np.cumsum([0, *(len(c) for c in columns)])
    return np.concatenate(columns)[offsets[record] + index]


def _changes(x: NDArray[np.generic]) -> BoolArray:
    """Returns whether each element differs from the one before; True at first."""
    changes = np.ones(len(x), dtype=bool)
    changes[1:] = x[1:] != x[:-1]
    return changes


def _neighbours(transitions: Transitions) -> tuple[IntArray, BoolArray]:
    """Returns the state of each environment's next step, and whether one ended before.

    Returns:
        `[K]`, the state in which the environment took its next step; `[K]`, whether an
        episode of the environment ended with the step before, False at the first.
    """
    order = np.lexsort((np.arange(len(transitions)), transitions.env))
    same = transitions.env[order[1:]] == transitions.env[order[:-1]]
    before, after = order[:-1][same], order[1:][same]
    state = transitions.next_state.copy()
    state[before] = transitions.state[after]
    ended = np.zeros(len(transitions), dtype=bool)
    ended[after] = (transitions.terminated | transitions.truncated)[before]
    return state, ended


# Weights


def advantages(frame: Frame, formula: Formula, gammas: Array, lams: Array) -> Array:
    """Returns credit minus baseline, scaled, `[G, K]`.

    Args:
        frame: the rows.
        formula: the formula; its gamma and lambda are not used.
        gammas: `[G]`.
        lams: `[G]`.
    """
    return centred(frame, credits(frame, formula, gammas, lams), formula, gammas)


def centred(frame: Frame, credit: Array, formula: Formula, gammas: Array) -> Array:
    """Returns credits `[G, K]` minus the baseline, scaled, `[G, K]`."""
    x = transformed(frame, credit, formula)
    return scaled(frame, subtracted(frame, x, formula, gammas), formula)


def credits(frame: Frame, formula: Formula, gammas: Array, lams: Array) -> Array:
    """Returns the credit of each row, in the formula's order, `[G, K]`."""
    reward = _rewards(frame, formula.rewards)
    if formula.order == "last_lost":
        reward = np.where(frame.last_in_episode, 0.0, reward)
    elif formula.order == "last_skipped":
        reward = np.where(frame.last_in_chain, 0.0, reward)
    gamma = gammas[:, None]
    kind = formula.credit
    if kind in USES_CRITIC:
        x = _bootstrapped(frame, formula, reward, gamma, lams[:, None])
    elif kind == "one":
        x = np.ones((len(gammas), len(frame)))
    elif kind == "immediate":
        x = np.broadcast_to(reward, (len(gammas), len(frame))).copy()
    elif kind in ("forward", "cumulative"):
        x = _forward(frame, formula, reward, gamma)
    elif kind == "window_so_far":
        x = _so_far(frame, reward, gamma)
    else:
        x = _to_go(frame, formula, reward, gamma)
        if kind == "from_start":
            x = x * gamma**frame.time
        elif kind == "episode":
            x = x[:, np.flatnonzero(frame.first_in_episode)[frame.episode]]
        elif kind == "window":
            x = x[:, np.flatnonzero(frame.first_in_chain)[frame.chain]]
    return _ordered(frame, x, formula.order, gamma)


def _rewards(frame: Frame, kind: str) -> Array:
    reward = frame.reward[None]
    if kind == "raw":
        result = reward
    elif kind == "clipped":
        result = np.clip(reward, -1.0, 1.0)
    elif kind.startswith("clipped_"):
        low, high = (float(bound) for bound in kind.split("_")[1:])
        result = np.clip(reward, low, high)
    elif kind == "sign":
        result = np.sign(reward)
    else:
        over, ddof = kind.rsplit("_", 1)
        groups = frame.by_update if over == "standardized_window" else frame.by_episode
        deviation = groups.deviation(reward, int(ddof))
        result = (reward - groups.mean(reward)) / np.maximum(deviation, _TINY)
    row: Array = result[0]
    return row


def continues(frame: Frame, kind: str) -> Array:
    """Returns 1 where the sum goes on to the next row, 0 where it stops, `[K]`."""
    kind, _, along = kind.partition("@")
    if kind == "ignored":
        return np.ones(len(frame))
    if kind == "terminated":
        return 1.0 - frame.terminated
    going: Array = 1.0 - frame.done.astype(np.float64)
    if kind == "both":
        return going
    # Off by one: the flag of the next step, or of the one before. Where there is none,
    # it is that of the step before the window, 0, or that of the window's last step.
    sequences = frame.follow(along or "chain", reverse=kind != "next")
    there = sequences.next < len(frame)
    missing = {
        "next": going,
        "previous": 1.0 - frame.done_before,
        "previous_zero": np.ones(len(frame)),
        "rolled": going[frame.follow(along or "chain").last],
    }[kind]
    mask: Array = np.where(there, sequences.shift(going[None])[0], missing)
    return mask


def _along(kind: str) -> str:
    return kind.partition("@")[2] or "chain"


def _to_go(frame: Frame, formula: Formula, reward: Array, gamma: Array) -> Array:
    going = "ignored" if formula.credit == "window" else formula.ends
    a = np.broadcast_to(reward, (len(gamma), len(frame)))
    if going == "carried":
        a = a + np.where(frame.last_in_chain, gamma * carried(frame, gamma), 0.0)
        going = "ignored"
    keep = continues(frame, going)
    return frame.follow(_along(going)).solve(a, gamma * keep)


def carried(frame: Frame, gamma: Array) -> Array:
    """Returns the sum that the update before left behind, `[G, K]`.

    The variable of the backward sum is not reset between updates: it starts with the
    return of the first step of the window before.
    """
    result = np.zeros((len(gamma), len(frame.picks)))
    for i, record in enumerate(frame.records):
        total = np.zeros((len(gamma), 1))
        wanted = {w.update: u for u, w in enumerate(frame.picks) if w.record == i}
        before: tuple[int, int] | None = None
        for number, update in enumerate(record.updates):
            if number in wanted:
                result[:, wanted[number]] = total[:, 0]
            window = update.first, update.last
            if window != before:
                rewards = record.transitions.reward[slice(*window)]
                powers = gamma ** np.arange(len(rewards) + 1)
                total = (powers[:, :-1] @ rewards + powers[:, -1] * total[:, 0])[
                    :, None
                ]
            before = window
    return result[:, frame.update]


def _forward(frame: Frame, formula: Formula, reward: Array, gamma: Array) -> Array:
    """Returns `R_t = r_t + gamma R_{t-1}`, or `sum_{k <= t} gamma^k r_k`."""
    sequences = frame.follow(_along(formula.ends), reverse=True)
    keep = continues(frame, formula.ends)[None]
    # Whether the row before continues into this one.
    before = sequences.shift(keep)
    a = np.broadcast_to(reward, (len(gamma), len(frame)))
    if formula.credit == "forward":
        return sequences.solve(a, gamma * before)
    return sequences.solve(a * gamma**frame.time, np.ones_like(gamma) * before)


def _so_far(frame: Frame, reward: Array, gamma: Array) -> Array:
    """Returns the rewards from the start of the window to the end of the episode."""
    starts = np.flatnonzero(frame.first_in_chain)
    step = np.arange(len(frame)) - starts[frame.chain]
    total = np.cumsum(reward * gamma**step, axis=1)
    before = np.concatenate([np.zeros((len(gamma), 1)), total], axis=1)[:, starts]
    so_far = total[:, np.flatnonzero(frame.last_in_episode)[frame.episode]]
    rewards: Array = so_far - before[:, frame.chain]
    return rewards


def _bootstrapped(
    frame: Frame, formula: Formula, reward: Array, gamma: Array, lam: Array
) -> Array:
    """Returns targets with the critic's values: TD, n-step and lambda returns."""
    value = frame.value
    if formula.credit == "value":
        return np.broadcast_to(value, (len(gamma), len(frame))).copy()
    following = frame.seen_value if formula.successor == "seen" else frame.next_value
    if formula.successor == "same":
        following = np.where(frame.last_in_chain, value, following)
    elif formula.successor == "same_always":
        following = value
    elif formula.successor == "none":
        following = np.where(frame.last_in_chain, 0.0, following)
    bootstrap = following * continues(frame, formula.bootstrap)
    one_step = reward + gamma * bootstrap
    if formula.order == "last_skipped":
        # The loop starts at the last step but one: the last one has no advantage.
        one_step = np.where(frame.last_in_chain, value, one_step)
    if formula.credit == "td":
        return one_step
    sequences = frame.follow(_along(formula.ends))
    keep = continues(frame, formula.ends) * (sequences.next < len(frame))
    if formula.credit == "n_step":
        target = one_step
        for _ in range(formula.n - 1):
            shifted = sequences.shift(target)
            target = reward + gamma * np.where(keep > 0, shifted, bootstrap)
        return target
    if formula.credit == "bootstrapped":
        # Values only where the sum ends.
        rest = np.where(keep > 0, reward, one_step)
        return sequences.solve(rest, gamma * keep)
    # A = delta + gamma lambda A_next, and the target is A + V.
    advantage = sequences.solve(one_step - value, gamma * lam * keep)
    return advantage + value


def _ordered(frame: Frame, x: Array, order: str, gamma: Array) -> Array:
    if order in ("kept", "last_lost", "last_skipped"):
        return x
    if order == "reversed_episode":
        return x[:, _reversed(frame.episode)]
    if order == "reversed_environment":
        return x[:, _reversed(frame.chain)]
    if order == "reversed_window":
        index = np.empty(len(frame), dtype=np.int64)
        index[frame.flat] = frame.flat[_reversed(frame.update[frame.flat])]
        return x[:, index]
    # Off by one: the credit of the next step or of the one before, in the episode.
    backwards = order == "previous"
    end = frame.first_in_episode if backwards else frame.last_in_episode
    shifted = np.where(end, 0.0, frame.follow("chain", reverse=backwards).shift(x))
    return gamma * shifted if order == "next_discounted" else shifted


def _reversed(group: IntArray) -> IntArray:
    """Returns indices that reverse the order of the rows in each group."""
    starts = np.flatnonzero(_changes(group))
    ends = np.append(starts[1:], len(group)) - 1
    index = np.cumsum(_changes(group)) - 1
    reverse: IntArray = starts[index] + ends[index] - np.arange(len(group))
    return reverse


def transformed(frame: Frame, x: Array, formula: Formula) -> Array:
    """Returns credits after the formula's transform, `[G, K]`."""
    kind = formula.transform
    if kind == "none":
        return x
    if kind == "int":
        return np.trunc(x)
    if kind == "round":
        return np.rint(x)
    # Standardised before a baseline is subtracted.
    groups = frame.by_episode if kind == "standardized_episode" else frame.by_update
    return _standardized(groups, x, formula.ddof)


def _standardized(groups: Groups, x: Array, ddof: int) -> Array:
    centred = x - groups.mean(x)
    deviation = groups.deviation(x, ddof)
    return np.where(deviation > _TINY, centred / np.maximum(deviation, _TINY), 0.0)


def subtracted(frame: Frame, x: Array, formula: Formula, gammas: Array) -> Array:
    """Returns credits minus the formula's baseline, `[G, K]`."""
    kind = formula.baseline
    if kind in ("none", "update_constant", "action_value_fitted"):
        # The constant of each update is fitted, or the value of each action.
        return x
    if kind == "value":
        return x - frame.value
    if kind == "next_value":
        rest: Array = x - frame.next_value * ~frame.done
        return rest
    if kind == "next_value_always":
        return x - frame.next_value
    if kind == "value_mean":
        return x - frame.by_update.mean(frame.value[None])
    if kind == "value_sum":
        # The same, summed over pairs of steps instead of their mean.
        n_rows = frame.by_update.counts[frame.update]
        summed: Array = n_rows * (x - frame.by_update.mean(frame.value[None]))
        return summed
    if kind == "credit_mean":
        # [B] - [B, 1]: each step gets the mean credit minus its own value.
        return frame.by_update.mean(x) - frame.value
    if kind == "action_value":
        # One reward and the value of the next state.
        following = frame.next_value * ~frame.terminated
        beyond: Array = x - (frame.reward + gammas[:, None] * following)
        return beyond
    if kind == "product_of_sums":
        return frame.by_update.sums(x)[:, frame.update]
    if kind == "product_of_advantages":
        return frame.by_update.sums(x - frame.value)[:, frame.update]
    if kind == "product_of_discounted_sums":
        discounted = x * gammas[:, None] ** frame.time
        return frame.by_update.sums(discounted)[:, frame.update]
    if kind == "episode_product":
        return frame.by_episode.sums(x)[:, frame.episode]
    if kind == "window_mean":
        return x - frame.by_update.mean(x)
    if kind == "own_episode":
        return x - frame.by_episode.mean(x)
    if kind == "time_mean_alive":
        return x - frame.by_time.mean(x)
    if kind in ("time_mean", "leave_one_out_time"):
        sums = frame.by_time.sums(x)[:, frame.by_time.ids]
        if kind == "time_mean":
            return x - sums / frame.n_parts
        others = np.maximum(frame.n_parts - 1.0, 1.0)
        return x - (sums - x) / others
    # Baselines from the returns of whole episodes.
    first = np.where(frame.first_in_episode, x, 0.0)
    total = frame.by_update.sums(first)[:, frame.update]
    if kind == "episodes_mean":
        return x - total / frame.n_parts
    own = x[:, np.flatnonzero(frame.first_in_episode)[frame.episode]]
    return x - (total - own) / np.maximum(frame.n_parts - 1.0, 1.0)


def scaled(frame: Frame, x: Array, formula: Formula) -> Array:
    """Returns credits minus baseline after the formula's scaling, `[G, K]`."""
    kind = formula.scale
    if kind == "none":
        return x
    if kind == "square":
        return x**2
    if kind == "absolute":
        return np.abs(x)
    if kind == "largest":
        largest = frame.by_update.largest(np.abs(x))
        return x / np.maximum(largest, _TINY)
    groups = _scale_groups(frame, kind)
    if kind == "deviation":
        spread: Array = np.maximum(groups.deviation(x, formula.ddof), _TINY)
        divided: Array = x / spread
        return divided
    return _standardized(groups, x, formula.ddof)


def _scale_groups(frame: Frame, scale: str) -> Groups:
    """Returns the rows whose deviation a scale divides by."""
    if scale == "mini_batch":
        return frame.by_used
    if scale == "episode":
        return frame.by_episode
    if scale == "environment":
        return frame.by_chain
    return frame.by_time if scale == "time_step" else frame.by_update


def deviation_groups(frame: Frame, formula: Formula) -> Groups | None:
    """Returns the rows by whose deviation the formula divides; None if by none."""
    if not formula.standardises:
        return None
    for option in (formula.transform, formula.rewards):
        if option.startswith("standardized"):
            return frame.by_episode if "episode" in option else frame.by_update
    return _scale_groups(frame, formula.scale)


def multiplier(frame: Frame, formula: Formula, gamma: float) -> Array:
    """Returns the factors of each row that do not depend on rewards, `[K]`."""
    factor: Array = (
        discounts(frame, formula.discount, gamma)
        * reductions(frame, formula.reduction)
        * included(frame, formula.steps)
        * frame.times
    )
    return factor


def discounts(frame: Frame, kind: str, gamma: float) -> Array:
    """Returns the discount of each row, `[K]`."""
    if kind == "none":
        return np.ones(len(frame))
    if kind == "window":
        # Counted from the start of the window, through all its episodes.
        order = frame.flat
        count = (
            np.arange(len(frame))
            - np.flatnonzero(_changes(frame.update[order]))[frame.update[order]]
        )
        time = np.empty(len(frame))
        time[order] = count
    else:
        time = frame.time.astype(np.float64)
    if kind == "not_reset":
        # T terms of the first step's return, T - 1 of the second one's, and so on.
        # Of an episode that began before the window, counted from its first row there.
        first = np.full(frame.by_episode.n, np.inf)
        last = np.zeros(frame.by_episode.n)
        np.minimum.at(first, frame.episode, time)
        np.maximum.at(last, frame.episode, time)
        lengths = (last - first + 1.0)[frame.episode]
        time = time - first[frame.episode]
        time = time * lengths - time * (time - 1.0) / 2.0
    if kind == "task_gamma_t":
        of_task: Array = np.power(frame.task_gamma, time)
        return of_task
    discount: Array = np.power(gamma, 2 * time if kind == "gamma_2t" else time)
    return discount


def reductions(frame: Frame, kind: str) -> Array:
    """Returns the factor by which sums over steps are reduced, `[K]`."""
    if kind == "sum":
        return np.ones(len(frame))
    if kind == "episodes":
        return 1.0 / frame.n_episodes
    if kind == "steps":
        used: Array = np.maximum(frame.by_used.counts, 1.0)[frame.update]
        return 1.0 / used
    if kind == "steps_squared":
        return reductions(frame, "steps") ** 2
    lengths: Array = frame.by_episode.counts[frame.episode]
    if kind == "own_steps":
        return 1.0 / lengths
    if kind == "own_steps_squared":
        return 1.0 / lengths**2
    if kind == "own_steps_episodes":
        return 1.0 / (lengths * frame.n_episodes)
    if kind == "clipped":
        # The factor of each update is fitted.
        return np.ones(len(frame))
    assert kind == "steps_episodes", kind
    return reductions(frame, "steps") * reductions(frame, "episodes")


def included(frame: Frame, kind: str) -> Array:
    """Returns 1 for the rows that the formula uses, 0 for others, `[K]`."""
    chosen = {
        "all": np.ones(len(frame), dtype=bool),
        "window_last_lost": ~frame.last_in_chain,
        "episode_last_lost": ~(frame.last_in_episode & frame.done),
        "episode_first_lost": ~(frame.first_in_episode & (frame.time == 0)),
        "episode_last_only": frame.last_in_episode & frame.done,
        "episode_first_only": frame.first_in_episode & (frame.time == 0),
        "finished": frame.finished,
        "first_environment": frame.chain
        == frame.chain[np.flatnonzero(_changes(frame.update))][frame.update],
    }.get(kind)
    if chosen is not None:
        return _numbers(chosen)
    if kind in ("last_episode", "first_episode"):
        edge = np.maximum if kind == "last_episode" else np.minimum
        start = -1 if kind == "last_episode" else len(frame)
        extreme = np.full(len(frame.picks), start)
        edge.at(extreme, frame.update, frame.episode)
        return _numbers(frame.episode == extreme[frame.update])
    # The first n episodes to finish, in parallel environments.
    n = int(kind.removeprefix("first_finished_"))
    last = np.flatnonzero(frame.last_in_episode)
    step = np.arange(len(frame)) - np.flatnonzero(frame.first_in_chain)[frame.chain]
    order = np.lexsort((last, step[last], frame.update[last]))
    rank = (
        np.arange(len(last))
        - np.flatnonzero(_changes(frame.update[last][order]))[frame.update[last][order]]
    )
    used = np.zeros(len(last), dtype=bool)
    used[frame.episode[last][order]] = rank < n
    return _numbers(used[frame.episode])


def _numbers(mask: BoolArray) -> Array:
    numbers: Array = mask.astype(np.float64)
    return numbers


# Scores


def directions(frame: Frame, score: str) -> Array:
    """Returns what a weight of 1 adds to the decoded gradient, `[K, M]`.

    This is minus the score, at the outputs of its state; the derivative of the loss.
    """
    blocks = np.zeros((len(frame), frame.width))
    for i, record in enumerate(frame.records):
        rows = np.flatnonzero(frame.record == i)
        if len(rows):
            block = -_scores(frame, record, rows, score)
            blocks[rows, : block.shape[1]] = block
    return blocks * frame.scale[frame.update][:, None]


def _by_table(score: str) -> bool:
    return score in TABLE_SCORES or score.startswith(("clamped_", "smoothed_"))


def predicted(frame: Frame, weights: Array, score: str) -> Array:
    """Returns the decoded gradients that weights `[K]` predict, `[U, M]`."""
    record = frame.records[0]
    if record.family == "gaussian" or not _by_table(score):
        vectors = directions(frame, score)
        sums: Array = frame.by_update.sums((weights[:, None] * vectors).T).T
        return sums
    result = np.zeros((len(frame.picks), frame.width))
    for i, record in enumerate(frame.records):
        rows = np.flatnonzero(frame.record == i)
        if not len(rows):
            continue
        n_states, n_actions = record.policy.shape
        state = (frame.scored_next if score == "next_state" else frame.scored_state)[
            rows
        ]
        cell = (frame.update[rows] * n_states + state) * n_actions
        cell = cell + frame.action[rows].astype(np.int64)
        size = len(frame.picks) * n_states * n_actions
        cells = np.bincount(cell, weights[rows], size)
        name = "log_prob" if score == "next_state" else score
        outputs = -np.einsum(
            "usa,sao->uso",
            cells.reshape(-1, n_states, n_actions),
            score_table(record, name),
        ).reshape(len(frame.picks), -1)
        result[:, : outputs.shape[1]] += projected(outputs, record)
    return result * frame.scale[:, None]


def entropy_gradient(record: Record) -> Array:
    """Returns the derivative of the entropy of each state, `[S, S * O]`."""
    n_states, n_outputs = record.policy.shape
    if record.family == "gaussian":
        own = np.zeros((n_states, n_outputs))
        own[:, n_outputs // 2 :] = 1.0
    else:
        log_p = np.log(np.maximum(record.policy, 1e-300))
        entropy = -(record.policy * log_p).sum(axis=1, keepdims=True)
        own = -record.policy * (log_p + entropy)
    return _at_state(own, np.arange(n_states), record)


def entropy_columns(frame: Frame) -> dict[str, Array]:
    """Returns the gradients of entropy terms with coefficient 1, `[U, M]` each.

    They are derivatives of minus the entropy, which is part of the loss.
    """
    if frame.entropy_terms:
        return frame.entropy_terms
    state_gradient = np.zeros((len(frame), frame.width))
    for i, record in enumerate(frame.records):
        rows = np.flatnonzero(frame.record == i)
        if len(rows):
            gradient = entropy_gradient(record)[frame.scored_state[rows]]
            state_gradient[rows, : gradient.shape[1]] = -gradient
    state_gradient *= (frame.times * frame.scale[frame.update])[:, None]
    columns = {
        f"bonus_{kind}": _by_update(frame, reductions(frame, kind), state_gradient)
        for kind in ("sum", "steps", "episodes")
    }
    if frame.records[0].family == "categorical":
        p_log_p = -directions(frame, "p_log_p") * frame.times[:, None]
        log_prob = -directions(frame, "log_prob") * frame.times[:, None]
        for kind in ("sum", "steps", "episodes"):
            factor = reductions(frame, kind)
            columns[f"taken_{kind}"] = _by_update(frame, factor, p_log_p)
            columns[f"log_prob_{kind}"] = _by_update(frame, factor, log_prob)
    frame.entropy_terms = columns
    return columns


def _by_update(frame: Frame, weight: Array, vectors: Array) -> Array:
    sums: Array = frame.by_update.sums((weight[:, None] * vectors).T).T
    return sums


def _at_state(own: Array, state: IntArray, record: Record) -> Array:
    """Places vectors `[n, O]` at states `[n]`, and projects them: `[n, M]`."""
    n_states, n_outputs = record.policy.shape
    placed = np.zeros((len(own), n_states, n_outputs))
    placed[np.arange(len(own)), state] = own
    return projected(placed.reshape(len(own), -1), record)


def projected(x: Array, record: Record) -> Array:
    """Returns the part of `[n, S * O]` that can be decoded."""
    return x if record.basis is None else (x @ record.basis) @ record.basis.T


def _scores(frame: Frame, record: Record, rows: IntArray, score: str) -> Array:
    state, action = frame.scored_state[rows], frame.action[rows]
    if record.family == "gaussian":
        return _gaussian_scores(frame, record, rows, score)
    action = action.astype(np.int64)
    if score in ("next_state", "previous_action", "next_action"):
        if score == "next_state":
            state = frame.scored_next[rows]
        else:
            sequences = frame.follow("chain", reverse=score == "previous_action")
            near = np.minimum(sequences.next[rows], len(frame) - 1)
            known = sequences.next[rows] < len(frame)
            action = np.where(known, frame.action[near].astype(np.int64), action)
        score = "log_prob"
    if score in ("all_pairs", "all_pairs_columns"):
        return _pair_scores(frame, record, rows, score)
    if score == "gather_rows":
        # gather(0, actions): the row is the action, the column is 0.
        flat = frame.flat
        start = np.flatnonzero(_changes(frame.update[flat]))[frame.update[rows]]
        end = np.append(np.flatnonzero(_changes(frame.update[flat])), len(flat))
        row = flat[np.minimum(start + action, end[frame.update[rows] + 1] - 1)]
        own = score_table(record, "log_prob")[frame.scored_state[row], 0]
        return _at_state(own, frame.scored_state[row], record)
    if score.startswith("softmax_over_batch"):
        return _batch_softmax_scores(frame, record, rows, score)
    own = score_table(record, score)[state, action]
    return _at_state(own, state, record)


def score_table(record: Record, score: str) -> Array:
    """Returns the derivative of the "log-probability" by a state's logits, `[S, A, A]`.

    Args:
        record: the record.
        score: `"log_prob"`, or a mistake in its place.
    """
    policy = record.policy
    n_states, n_actions = policy.shape
    taken = np.broadcast_to(np.eye(n_actions), (n_states, n_actions, n_actions))
    log_prob = taken - policy[:, None]
    prob = policy[:, :, None]
    if score == "log_prob":
        return log_prob
    if score.startswith("clamped_"):
        low, high = (float(x) for x in score.split("_")[1:])
        return np.where((prob >= low) & (prob <= high), log_prob, 0.0)
    if score.startswith("smoothed_"):
        return log_prob * prob / (prob + float(score.removeprefix("smoothed_")))
    if score == "probability":
        return prob * log_prob
    if score == "p_log_p":
        return prob * (1.0 + np.log(np.maximum(prob, 1e-300))) * log_prob
    if score == "logit":
        return taken.copy()
    if score == "all_actions":
        return np.broadcast_to(
            log_prob.mean(axis=1, keepdims=True), log_prob.shape
        ).copy()
    if score == "first_action":
        return np.broadcast_to(log_prob[:, :1], log_prob.shape).copy()
    if score == "most_likely_action":
        best = policy.argmax(axis=1)
        chosen = log_prob[np.arange(n_states), best][:, None]
        return np.broadcast_to(chosen, log_prob.shape).copy()
    if score == "inverse_probability":
        return log_prob / np.maximum(prob, 1e-300)
    # Losses of probabilities: the derivative by them, times that of the softmax.
    if score == "softmax_twice":
        again = np.exp(policy) / np.exp(policy).sum(axis=1, keepdims=True)
        by_prob = taken - again[:, None]
    elif score == "binary_cross_entropy":
        by_prob = np.where(
            taken > 0, 1.0, -1.0 / np.maximum(1.0 - policy[:, None], 1e-12)
        )
        by_prob = np.where(taken > 0, 1.0 / np.maximum(policy[:, None], 1e-12), by_prob)
    elif score == "squared_error":
        by_prob = 2.0 * (taken - policy[:, None])
    else:
        assert score == "binary_cross_entropy_logits", score
        logits = record.logits
        if logits is None:
            logits = np.log(np.maximum(policy, 1e-300))
        return taken - 1.0 / (1.0 + np.exp(-logits[:, None]))
    mean = (by_prob * policy[:, None]).sum(axis=-1, keepdims=True)
    table: Array = policy[:, None] * (by_prob - mean)
    return table


def _pair_scores(frame: Frame, record: Record, rows: IntArray, score: str) -> Array:
    """Scores of `log_probs[:, actions]`, `[B, B]`: each state with each action."""
    table = score_table(record, "log_prob")
    n_states, n_actions = record.policy.shape
    update = frame.update[rows]
    result = np.zeros((len(rows), n_states * n_actions))
    for u in np.unique(update):
        mine = update == u
        state = frame.scored_state[rows[mine]]
        action = frame.action[rows[mine]].astype(np.int64)
        if score == "all_pairs":
            share = np.bincount(action, minlength=n_actions)
            own = np.einsum("a,sao->so", share, table)[state]
            result[mine] = _at_state(own, state, record)
        else:
            share = np.bincount(state, minlength=n_states)
            spread = (share[:, None, None] * table).transpose(1, 0, 2)
            result[mine] = projected(spread.reshape(n_actions, -1)[action], record)
    return result


def _batch_softmax_scores(
    frame: Frame, record: Record, rows: IntArray, score: str
) -> Array:
    """Scores of a softmax over the rows of the batch instead of the actions."""
    n_states, n_actions = record.policy.shape
    logits = record.logits
    if logits is None or score == "softmax_over_batch_normalized":
        logits = np.log(np.maximum(record.policy, 1e-300))
    powers = np.exp(logits - logits.max(axis=0))
    update = frame.update[rows]
    result = np.zeros((len(rows), n_states, n_actions))
    for u in np.unique(update):
        mine = np.flatnonzero(update == u)
        state = frame.scored_state[rows[mine]]
        action = frame.action[rows[mine]].astype(np.int64)
        total = powers * np.bincount(state, minlength=n_states)[:, None]
        share = total / total.sum(axis=0)
        result[mine, :, action] -= share.T[action]
        result[mine, state, action] += 1.0
    if score == "softmax_over_batch_normalized":
        # Through the log-softmax over actions, which came first.
        result -= record.policy * result.sum(axis=-1, keepdims=True)
    return projected(result.reshape(len(rows), -1), record)


def _gaussian_scores(frame: Frame, record: Record, rows: IntArray, score: str) -> Array:
    """Scores of a Gaussian by its means and log standard deviations."""
    state = (
        frame.scored_next[rows] if score == "next_state" else frame.scored_state[rows]
    )
    n_dims = record.policy.shape[1] // 2
    mean, log_std = record.policy[:, :n_dims], record.policy[:, n_dims:]
    action = frame.action[rows].reshape(len(rows), n_dims)
    if score == "clipped_action":
        action = frame.clipped[rows].reshape(len(rows), n_dims)
    # Exponent of the deviation that the log-probability is computed with.
    power = {"variance": 2.0, "root": 0.5}.get(score, 1.0)
    std = np.exp(power * log_std[state])
    z = (action - mean[state]) / std
    if score == "reparameterized":
        # The gradient through the action cancels that of the mean.
        own = np.concatenate([np.zeros_like(z), -np.ones_like(z)], axis=1)
    else:
        own = np.concatenate([z / std, power * (z**2 - 1.0)], axis=1)
    if score == "probability":
        log_density = -0.5 * z**2 - log_std[state] - 0.5 * np.log(2.0 * np.pi)
        own = own * np.exp(log_density.sum(axis=1, keepdims=True))
    return _at_state(own, state, record)
