"""The expected gradient of an identified formula, by the checker's own episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from pg_agents.checker.episodes import Steps, sample_episodes
from pg_agents.checker.formula import (
    TABLE_SCORES,
    Formula,
    Frame,
    Window,
    advantages,
    directions,
    entropy_columns,
    multiplier,
    scaled,
    windows,
)
from pg_agents.checker.geometry import Geometry
from pg_agents.checker.identify import Identification
from pg_agents.checker.record import BoolArray, IntArray, Record, Transitions, Update
from pg_agents.checker.statistics import GradientSeries
from pg_agents.checker.task import Array, Task
from pg_envs import oracle
from pg_envs.dynamics import add_noise, advance, initial_state, make_tables

# Rows that are predicted at once.
_CHUNK_ROWS = 60_000
# Directions with control variates: there are enough windows for many.
_MAX_CONTROLLED = 32
# Independent groups of windows that continue each other's episodes.
_N_CHAINS = 128


@dataclass(frozen=True)
class _Layout:
    """How a subject's windows are made of episodes.

    Attributes:
        episodes: for windows of complete episodes: how many of each environment, `[N]`
            for each window. Empty for others.
        by_step: whether the transitions of a window are ordered by time step, else by
            episode.
        n_steps: for other windows: steps of each environment; 0 for complete episodes.
        n_envs: N.
        ends_with_episode: whether a window also ends with the episode.
        batch_size: steps of the mini-batches that each window is shuffled into; None if
            it is used as a whole.
    """

    episodes: tuple[IntArray, ...]
    by_step: bool
    n_steps: int
    n_envs: int
    ends_with_episode: bool = False
    batch_size: int | None = None


def simulate(
    found: Identification,
    record: Record,
    geometry: Geometry,
    n_steps: int,
    seed: int | Sequence[int],
) -> tuple[GradientSeries, float] | None:
    """Samples gradients of a formula in windows like those of a record.

    Args:
        found: the formula with its factors.
        record: the windows, the policy and the critic.
        geometry: coordinates of the gradients.
        n_steps: approximate number of transitions.
        seed: seed of the sampling.

    Returns:
        The gradients of the return, one a window, with control variates, and the mean
        number of episodes per window; None if the windows have a layout that cannot be
        sampled.
    """
    formula = found.formula
    layout = _layout(record)
    if formula is None or layout is None or formula.data not in ("window", "late"):
        return None
    if formula.baseline == "action_value_fitted":
        # The values are not known where no action was taken.
        return None
    rng = np.random.default_rng([*np.atleast_1d(seed), 5])
    per_chunk = min(n_steps, _CHUNK_ROWS)
    rows, controls, n_episodes = [], [], 0.0
    for _ in range(max(1, round(n_steps / per_chunk))):
        sampled = _resampled(record, layout, per_chunk, rng)
        rows.append(-_prediction(found, formula, sampled))
        controls.append(_controls(sampled, layout, geometry))
        transitions = sampled.transitions
        n_episodes += float((transitions.terminated | transitions.truncated).sum())
    outputs = np.concatenate(rows)
    gradients = outputs @ geometry.directions
    n_groups = None if layout.episodes else _N_CHAINS * len(rows)
    series = GradientSeries(gradients, np.concatenate(controls), n_groups)
    return series, n_episodes / len(gradients)


def _prediction(found: Identification, formula: Formula, record: Record) -> Array:
    """Returns the derivative of the loss by the outputs, `[U, S * O]`."""
    if _is_by_window(record, formula):
        frame, weight = _of_mini_batches(formula, record)
    else:
        frame = Frame([record], windows(record, 0, formula.data))
        weight = _advantages(frame, formula)
    weight = weight * multiplier(frame, formula, formula.gamma)
    vectors = directions(frame, formula.score)
    x = found.factor * frame.by_update.sums((weight[:, None] * vectors).T).T
    if found.entropy:
        x = x + found.entropy * entropy_columns(frame)[formula.entropy]
    prediction: Array = x / frame.scale[:, None]
    return prediction


def _advantages(frame: Frame, formula: Formula) -> Array:
    gamma, lam = np.array([formula.gamma]), np.array([formula.lam])
    row: Array = advantages(frame, formula, gamma, lam)[0]
    return row


def _is_by_window(record: Record, formula: Formula) -> bool:
    """Whether mini-batches only select from the advantages of their window."""
    return (
        all(update.rows is not None for update in record.updates)
        and formula.data == "window"
        and formula.steps == "all"
        and formula.reduction in ("sum", "steps", "clipped")
        and formula.discount != "window"
        and formula.score in TABLE_SCORES
        and not formula.entropy.endswith("episodes")
    )


def _of_mini_batches(formula: Formula, record: Record) -> tuple[Frame, Array]:
    """Returns the rows of the mini-batches, and the advantage of each.

    The advantages are computed once for each window, not once for each mini-batch.
    """
    bounds = sorted({(u.first, u.last) for u in record.updates})
    ones = np.ones(record.policy.shape)
    whole = replace(record, updates=tuple(Update(a, b, ones) for a, b in bounds))
    frame = Frame([whole], windows(whole, 0))
    in_mini_batch = formula.scale == "mini_batch"
    plain = replace(formula, scale="none") if in_mini_batch else formula
    starts = np.array([first for first, _ in bounds])
    by_transition = np.zeros(len(record.transitions))
    by_transition[starts[frame.update] + frame.position] = _advantages(frame, plain)
    picks = []
    for number, update in enumerate(record.updates):
        assert update.rows is not None
        rows = np.sort(update.rows)
        picks.append(Window(0, number, rows, np.ones(len(rows)), rows))
    frame = Frame([record], picks)
    index = np.concatenate([window.index for window in picks])
    starts = np.cumsum([0, *(len(window.index) for window in picks[:-1])])
    weight = by_transition[index[starts[frame.update] + frame.position]]
    if in_mini_batch:
        weight = scaled(frame, weight[None], formula)[0]
    return frame, weight


def _layout(record: Record) -> _Layout | None:
    """Returns how windows are made; None if they cannot be sampled."""
    layout = _layout_of_windows(record)
    sizes = [len(u.rows) for u in record.updates if u.rows is not None]
    if layout is None or not sizes:
        return layout
    if len(sizes) < len(record.updates):
        return None
    return replace(layout, batch_size=max(sizes))


def _layout_of_windows(record: Record) -> _Layout | None:
    t = record.transitions
    if t.reset is not None and t.reset.any():
        return None
    bounds = sorted({(u.first, u.last) for u in record.updates if u.last > u.first})
    done = t.terminated | t.truncated
    n_envs = int(t.env.max()) + 1
    counts, by_step = [], False
    for first, last in bounds:
        episode, env = t.episode[first:last], t.env[first:last]
        if not _is_complete(t.time[first:last], done[first:last], env):
            break
        ends = env[done[first:last]]
        counts.append(np.bincount(ends, minlength=n_envs))
        n_changes = int((episode[1:] != episode[:-1]).sum())
        by_step |= n_changes >= len(ends) > 1
    else:
        return _Layout(tuple(counts), by_step, 0, n_envs)
    lengths = np.array([last - first for first, last in bounds])
    longest = int(lengths.max())
    if (lengths == longest).all() and longest % n_envs == 0:
        if all((t.env[a:b] == np.arange(b - a) % n_envs).all() for a, b in bounds):
            return _Layout((), True, longest // n_envs, n_envs)
        return None
    short = [last for first, last in bounds if last - first < longest]
    within = all(not done[first : last - 1].any() for first, last in bounds)
    if n_envs == 1 and within and all(done[last - 1] for last in short):
        return _Layout((), True, longest, 1, ends_with_episode=True)
    return None


def _is_complete(time: IntArray, done: BoolArray, env: IntArray) -> bool:
    """Whether the rows of each environment are complete episodes."""
    order = np.argsort(env, kind="stable")
    time, done, env = time[order], done[order], env[order]
    new = np.append(True, env[1:] != env[:-1])
    last = np.append(new[1:], True)
    return bool((time[new] == 0).all() and done[last].all())


def _resampled(
    record: Record, layout: _Layout, n_steps: int, rng: np.random.Generator
) -> Record:
    """Returns a record with new transitions in windows of the same layout."""
    task, policy = record.task, record.policy
    if layout.episodes:
        transitions, bounds = _episode_windows(task, policy, layout, n_steps, rng)
    elif layout.ends_with_episode:
        transitions, bounds = _cut_episodes(task, policy, layout, n_steps, rng)
    else:
        transitions, bounds = _chains(task, policy, layout, n_steps, rng)
    # Outputs that are not zero: frames scale by their norm.
    ones = np.ones(policy.shape)
    updates = []
    for first, last in bounds.astype(int).tolist():
        if layout.batch_size is None:
            updates.append(Update(first, last, ones))
            continue
        shuffled = first + rng.permutation(last - first)
        updates += [
            Update(first, last, ones, rows=shuffled[i : i + layout.batch_size])
            for i in range(0, last - first, layout.batch_size)
        ]
    return replace(record, transitions=transitions, updates=tuple(updates))


def _mean_length(task: Task, policy: Array) -> float:
    return max(1.0, task.mean_length(policy))


def _episode_windows(
    task: Task,
    policy: Array,
    layout: _Layout,
    n_steps: int,
    rng: np.random.Generator,
) -> tuple[Transitions, Array]:
    """Returns windows of complete episodes, and their bounds `[U, 2]`."""
    counts = np.array(layout.episodes)
    per_window = float(counts.sum(axis=1).mean())
    n_windows = max(2, round(n_steps / (per_window * _mean_length(task, policy))))
    chosen = counts[rng.integers(len(counts), size=n_windows)]
    steps = sample_episodes(task, policy, int(chosen.sum()), rng)
    window_of = np.repeat(np.arange(n_windows), chosen.sum(axis=1))
    env_of = np.repeat(np.tile(np.arange(layout.n_envs), n_windows), chosen.ravel())
    window, env = window_of[steps.episode], env_of[steps.episode]
    transitions = transitions_of(steps, env)
    if layout.by_step:
        # Number of the step of its environment within the window.
        chain = window * layout.n_envs + env
        starts = np.flatnonzero(np.append(True, chain[1:] != chain[:-1]))
        lengths = np.diff(np.append(starts, len(chain)))
        step = np.arange(len(chain)) - np.repeat(starts, lengths)
        transitions = _taken(transitions, np.lexsort((env, step, window)))
    ends = np.cumsum(np.bincount(window, minlength=n_windows))
    return transitions, np.column_stack([np.append(0, ends[:-1]), ends])


def transitions_of(steps: Steps, env: IntArray) -> Transitions:
    """Returns sampled steps as transitions of the environments `[K]`."""
    return Transitions(
        steps.state,
        steps.action,
        steps.reward,
        steps.next_state,
        steps.terminated,
        steps.truncated,
        env,
        steps.episode,
        steps.time,
    )


def _cut_episodes(
    task: Task,
    policy: Array,
    layout: _Layout,
    n_steps: int,
    rng: np.random.Generator,
) -> tuple[Transitions, Array]:
    """Returns windows that end after some steps or with the episode."""
    n_episodes = max(2, round(n_steps / _mean_length(task, policy)))
    steps = sample_episodes(task, policy, n_episodes, rng)
    transitions = transitions_of(steps, np.zeros_like(steps.state))
    starts = np.flatnonzero(steps.time % layout.n_steps == 0)
    return transitions, np.column_stack(
        [starts, np.append(starts[1:], len(steps.time))]
    )


def _chains(
    task: Task,
    policy: Array,
    layout: _Layout,
    n_steps: int,
    rng: np.random.Generator,
) -> tuple[Transitions, Array]:
    """Returns windows of a number of steps, in many independent chains.

    The first steps of each chain are left out: training is longer than they are.
    """
    n_envs, length = layout.n_envs, layout.n_steps
    per_chain = max(1, round(n_steps / (_N_CHAINS * n_envs * length)))
    burn_in = -(-round(4 * _mean_length(task, policy)) // length)
    n = _N_CHAINS * n_envs
    tables = make_tables(task.mdp)
    cumulative = np.cumsum(policy, axis=1)[:, :-1]
    state, time = initial_state(tables, rng.random(n)), np.zeros(n, np.int64)
    episode, n_episodes = np.arange(n), n
    rows = []
    for t in range((burn_in + per_chain) * length):
        draws = rng.random((5, n))
        action = (draws[0][:, None] >= cumulative[state]).sum(axis=-1)
        step = advance(tables, state, action, draws[1])
        reward = add_noise(tables, step.reward, draws[2], draws[3])
        truncated = ~step.terminated & (time == task.horizon - 1)
        if t >= burn_in * length:
            rows.append(
                (
                    state,
                    action,
                    reward,
                    step.state,
                    step.terminated,
                    truncated,
                    episode.copy(),
                    time,
                )
            )
        done = step.terminated | truncated
        state = np.where(done, initial_state(tables, draws[4]), step.state)
        time = np.where(done, 0, time + 1)
        episode[done] = n_episodes + np.arange(done.sum())
        n_episodes += int(done.sum())

    def ordered(columns: Sequence[Any]) -> Any:  # noqa: ANN401
        """From `[T][C * N]` to chain by chain, step by step, env by env."""
        table = np.array(columns).reshape(len(columns), _N_CHAINS, n_envs)
        return table.transpose(1, 0, 2).reshape(-1)

    s, a, r, s2, terminated, truncated, episodes, times = map(
        ordered, zip(*rows, strict=True)
    )
    env = np.tile(np.arange(n_envs), len(s) // n_envs)
    transitions = Transitions(s, a, r, s2, terminated, truncated, env, episodes, times)
    size = n_envs * length
    starts = np.arange(0, len(s), size)
    return transitions, np.column_stack([starts, starts + size])


def _taken(transitions: Transitions, order: IntArray) -> Transitions:
    columns: dict[str, Any] = {
        field.name: getattr(transitions, field.name)[order]
        for field in fields(Transitions)
        if getattr(transitions, field.name) is not None
    }
    return Transitions(**columns)


def _controls(record: Record, layout: _Layout, geometry: Geometry) -> Array:
    """Returns control variates of each window, with mean 0, `[U, K]`.

    They are sums of scores, and of scores times centred action values, which have mean
    0 in every state; and, for complete episodes, the error of reward-to-go.
    """
    t, task = record.transitions, record.task
    n = min(_MAX_CONTROLLED, geometry.scores.shape[-1])
    table = geometry.scores[..., :n]
    horizon = None if task.bootstrap else task.horizon
    q = oracle.action_values(task.mdp, geometry.policy, task.gamma, horizon)
    weighted = q[..., None] * table
    weighted = weighted - np.einsum("sa,sad->sd", geometry.policy, weighted)[:, None]
    scores = table[t.state, t.action]
    columns = [scores, weighted[t.state, t.action]]
    by_episode = bool(layout.episodes) and layout.batch_size is None
    if by_episode:
        discount = np.power(task.gamma, t.time.astype(np.float64))
        columns.append((discount * _returns(record, geometry.policy))[:, None] * scores)
    rows = [
        np.arange(u.first, u.last) if u.rows is None else u.rows for u in record.updates
    ]
    starts = np.cumsum([0, *(len(row) for row in rows[:-1])])
    used = np.concatenate(rows)
    sums: Array = np.add.reduceat(np.column_stack(columns)[used], starts)
    if by_episode:
        done = (t.terminated | t.truncated).astype(np.float64)
        sums /= np.add.reduceat(done[used], starts)[:, None]
        sums[:, -n:] -= geometry.exact[:n]
    else:
        sums /= np.array([len(row) for row in rows])[:, None]
    return sums


def _returns(record: Record, policy: Array) -> Array:
    """Returns the reward-to-go of each step, bootstrapped where it is correct."""
    t, task = record.transitions, record.task
    order = np.lexsort((t.time, t.episode))
    values = task.values(policy)
    after = np.where(t.truncated, values[t.time + 1, t.next_state], 0.0)
    done = t.terminated | t.truncated
    returns = t.reward + task.gamma * np.where(done, after, 0.0)
    time = t.time[order]
    for step in range(int(time.max()) - 1, -1, -1):
        here = np.flatnonzero((time == step) & ~done[order])
        returns[order[here]] += task.gamma * returns[order[here + 1]]
    return returns
