"""A deterministic environment with its time limit, as tables of everything at once.

Where neither the start of an episode nor a transition is drawn, an environment can only
be in so many *places*: a state, and how much time has passed. From place and action
follows all that a step gives, the time limit and the restart included: a vector
environment looks it up and computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pg_envs.dynamics import DynamicsTables, advance, initial_state

# So many pairs of place and action fit into the cache of a core.
MAX_SIZE = 65_536

TERMINATED, TRUNCATED = 1, 2


@dataclass(frozen=True, eq=False)
class Timetable:
    """What follows from a place and an action; tables of pairs are `[P * A]`.

    The place of state s after t steps of the episode is `t * S + s`; without a time
    limit t stands still. With dummy steps (NEXT_STEP), the last S places are those of
    environments that have ended in each state and wait for the restart. The row of a
    pair of place and action is `place * A + action`.

    Attributes:
        n_states: S.
        n_times: number of different t.
        start: the place in which episodes start.
        next_place: int64, the place after the step, after any restart.
        last_state: int64, the state that the action led to, before any restart.
        reward: float32.
        ending: uint8, the sum of `TERMINATED` and `TRUNCATED`, as far as they are true.
    """

    n_states: int
    n_times: int
    start: int
    next_place: NDArray[np.int64]
    last_state: NDArray[np.int64]
    reward: NDArray[np.float32]
    ending: NDArray[np.uint8]


def make_timetable(
    tables: DynamicsTables, max_episode_steps: int | None, has_dummy_steps: bool
) -> Timetable | None:
    """Returns the timetable of an environment, None if it has none.

    Args:
        tables: lookup tables of the MDP.
        max_episode_steps: steps after which an episode is truncated; None for never.
        has_dummy_steps: whether an ended environment restarts in a step of its own.

    Returns:
        The timetable; None where something is drawn, or where it would be too long.
    """
    n_states, n_actions = len(tables.observations), tables.n_actions
    n_times = max_episode_steps or 1
    drawn = not tables.is_deterministic or tables.reward_noise != "none"
    too_long = (n_times + has_dummy_steps) * n_states * n_actions > MAX_SIZE
    if drawn or tables.start is None or too_long:
        return None
    shape = n_times, n_states, n_actions
    time, state, action = (axis.ravel() for axis in np.indices(shape))
    step = advance(tables, state, action, None)
    truncated = np.full(len(time), max_episode_steps is not None)
    truncated &= time + 1 == n_times
    start = int(initial_state(tables, None))
    after_end = n_times * n_states + step.state if has_dummy_steps else start
    going_on = (time + 1) % n_times * n_states + step.state
    next_place = np.where(step.terminated | truncated, after_end, going_on)
    n_dummies = n_states * n_actions * has_dummy_steps

    def with_dummies(values: NDArray[Any], dummy: int) -> NDArray[Any]:
        return np.concatenate([values, np.full(n_dummies, dummy, values.dtype)])

    return Timetable(
        n_states=n_states,
        n_times=n_times,
        start=start,
        next_place=with_dummies(next_place, start),
        last_state=with_dummies(step.state, start),
        reward=with_dummies(step.reward.astype(np.float32), 0),
        ending=with_dummies(
            (TERMINATED * step.terminated + TRUNCATED * truncated).astype(np.uint8), 0
        ),
    )
