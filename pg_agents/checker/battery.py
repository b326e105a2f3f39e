"""The battery: small tasks on which different mistakes give different gradients.

A single task cannot tell all mistakes apart. On PGToy-Sequence-v0, for example, the
return is an affine function of gamma^T, so that the step costs alone, the final reward
alone and the whole return have the same gradient direction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from pg_agents.checker.task import Array, Task
from pg_agents.common.checks import check_count, check_unit_interval
from pg_envs import TabularMDP
from pg_envs.sequence import RIGHT, sequence_mdp

DEFAULT_GAMMA = 0.9
HORIZON = 100
# States of the largest task.
MAX_STATES = 6


def battery(
    n_actions: int = 3,
    gamma: float = DEFAULT_GAMMA,
    *,
    observation_space: spaces.Space[Any] | None = None,
    horizon: int = HORIZON,
    bootstrap: bool = False,
) -> tuple[Task, ...]:
    """Returns the fork, the random MDP and the Sequence.

    Fork: a good and a bad door, where the good one costs more at first; behind each a
    walk of random length, at its end a decision that determines the last reward.
    Random MDP: every state can be the first, half of the episodes end after one or two
    steps, and rewards depend on state, action and successor. Sequence:
    PGToy-Sequence-v0; more than three actions repeat left, centre and right, and of two
    actions the second is right, and centre at the goal.

    Terminal transitions lead to ordinary states, whose values are not 0: bootstrapping
    through the end of an episode has an effect.

    Args:
        n_actions: number of actions A, at least 2.
        gamma: discount factor in [0, 1].
        observation_space: what the states look like. A `Box` of any shape: each state
            is a point within the bounds, or within [-1, 1] where there are none. A
            `Discrete` with at least 6 elements: the index of the state; the states that
            a task does not have are never reached. None for `Box(-1, 1, (4,))`.
        horizon: time limit; the default truncates fewer than 1 in 100,000 episodes.
        bootstrap: whether the time limit is no part of the tasks, see `Task`.

    Raises:
        ValueError: if a number is out of range, or the space has too few elements.
        TypeError: if the space is neither a `Box` nor a `Discrete`.
    """
    check_count("n_actions", n_actions)
    if n_actions < 2:
        raise ValueError(f"n_actions must be at least 2, got {n_actions}")
    check_unit_interval("gamma", gamma)
    tables = {
        "fork": _fork(n_actions),
        "random MDP": _random_mdp(n_actions),
        "Sequence": _sequence(n_actions),
    }
    return tuple(
        Task(_observed(mdp, observation_space), name, gamma, horizon, bootstrap)
        for name, mdp in tables.items()
    )


class _Tables:
    """Transition tables under construction."""

    def __init__(self, n_states: int, n_actions: int) -> None:
        shape = n_states, n_actions, n_states
        self.transition, self.reward = np.zeros(shape), np.zeros(shape)
        self.terminal = np.zeros(shape, dtype=np.bool_)

    def add(
        self,
        state: int,
        action: int,
        successors: dict[int, float],
        reward: float,
        *,
        end: int | None = None,
    ) -> None:
        """Adds the successors of an action; the transition to `end` is terminal."""
        for successor, probability in successors.items():
            self.transition[state, action, successor] = probability
        self.reward[state, action] = reward
        if end is not None:
            self.terminal[state, action, end] = True

    def mdp(self, initial_distribution: Array) -> TabularMDP:
        """Returns the MDP; observations are indices."""
        return TabularMDP(
            self.transition,
            self.reward,
            self.terminal,
            initial_distribution,
            np.arange(len(initial_distribution)),
        )


def _fork(n_actions: int) -> TabularMDP:
    start, good_walk, good_gate, good_end, bad_walk, bad_end = range(6)
    tables = _Tables(6, n_actions)
    for action in range(n_actions):
        first, last = action == 0, action == n_actions - 1
        # Actions between the first and the last interpolate.
        between = action / (n_actions - 1)
        good = 0.9 - 0.8 * between
        tables.add(
            start, action, {good_walk: good, bad_walk: 1 - good}, -0.6 if first else 0.3
        )
        on = 0.3 + 0.5 * between
        tables.add(good_walk, action, {good_gate: on, good_walk: 1 - on}, -0.1)
        on = 0.8 - 0.4 * between
        tables.add(good_gate, action, {good_end: on, good_walk: 1 - on}, 0.25)
        tables.add(
            good_end,
            action,
            {good_end: 0.8, start: 0.2},
            2.3 if last else 0.7,
            end=good_end,
        )
        on = 0.9 - 0.3 * between
        tables.add(bad_walk, action, {bad_end: on, bad_walk: 1 - on}, -0.35)
        tables.add(bad_end, action, {bad_walk: 1.0}, -1.2 if first else 0.4)
        tables.terminal[bad_end, action, bad_walk] = True
    return tables.mdp(np.eye(6)[start])


def _random_mdp(n_actions: int, n_states: int = 5) -> TabularMDP:
    rng = np.random.default_rng(5)
    tables = _Tables(n_states, n_actions)
    for state in range(n_states):
        for action in range(n_actions):
            end, *others = rng.permutation(n_states)[:3].tolist()
            ends = rng.uniform(0.15, 0.65)
            share = rng.uniform(0.2, 0.8) * (1.0 - ends)
            successors = {end: ends, others[0]: share, others[1]: 1.0 - ends - share}
            tables.add(state, action, successors, rng.normal(0.4, 1.0), end=end)
    tables.reward += rng.normal(scale=0.5, size=tables.reward.shape)
    return tables.mdp(rng.dirichlet(np.full(n_states, 3.0)))


def _sequence(n_actions: int) -> TabularMDP:
    mdp = sequence_mdp()
    # Left, centre, right, left, ...
    actions = np.tile(np.arange(n_actions) % 3, (mdp.n_states, 1))
    if n_actions == 2:
        actions[:-1, 1] = RIGHT
    states = np.arange(mdp.n_states)[:, None]
    return TabularMDP(
        mdp.transition[states, actions],
        mdp.reward[states, actions],
        mdp.terminal[states, actions],
        mdp.initial_distribution,
        np.arange(mdp.n_states),
    )


def _observed(mdp: TabularMDP, space: spaces.Space[Any] | None) -> TabularMDP:
    """Returns the MDP with observations in a space."""
    tables = mdp.transition, mdp.reward, mdp.terminal, mdp.initial_distribution
    if space is None:
        space = spaces.Box(-1.0, 1.0, (4,), np.float32)
    if isinstance(space, spaces.Box):
        points = observation_points(space, mdp.n_states)
        bounds = float(np.min(space.low)), float(np.max(space.high))
        return TabularMDP(*tables, points, observation_bounds=bounds)
    if not isinstance(space, spaces.Discrete):
        raise TypeError(f"the battery has Box and Discrete observations, got {space}")
    n_missing = int(space.n) - mdp.n_states
    if space.n < MAX_STATES:
        raise ValueError(
            f"the battery needs {MAX_STATES} different observations, got {space}"
        )
    missing = (0, n_missing)
    shape = missing, (0, 0), missing
    transition = np.pad(mdp.transition, shape)
    reward, terminal = np.pad(mdp.reward, shape), np.pad(mdp.terminal, shape)
    initial = np.pad(mdp.initial_distribution, missing)
    unreachable = np.arange(mdp.n_states, int(space.n))
    transition[unreachable, :, unreachable] = 1.0
    terminal[unreachable, :, unreachable] = True
    return TabularMDP(transition, reward, terminal, initial, np.arange(int(space.n)))


def observation_points(space: spaces.Box, n_points: int) -> NDArray[np.float32]:
    """Returns points of a space that are far from each other, `[n_points, *shape]`.

    Unbounded coordinates are within [-1, 1].
    """
    low = np.where(np.isfinite(space.low), space.low, -1.0).astype(np.float64)
    high = np.where(np.isfinite(space.high), space.high, 1.0).astype(np.float64)
    rng = np.random.default_rng(1)
    if low.size == 1:
        share = rng.permutation(np.linspace(0.0, 1.0, n_points))
        share = share.reshape(n_points, *low.shape)
    else:
        # Farthest-point sampling.
        candidates = rng.random((512, *low.shape))
        flat = candidates.reshape(512, -1)
        chosen = [0]
        while len(chosen) < n_points:
            distances = np.linalg.norm(flat[:, None] - flat[chosen], axis=-1)
            chosen.append(int(distances.min(axis=1).argmax()))
        share = candidates[chosen]
    points: NDArray[np.float32] = (low + share * (high - low)).astype(np.float32)
    return points
