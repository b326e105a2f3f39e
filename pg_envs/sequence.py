"""PGToy-Sequence-v0: a row of states with the goal at its end."""

from __future__ import annotations

from typing import Any

import numpy as np

from pg_envs.mdp import ObservationForm, TabularMDP, check_number, observation_table
from pg_envs.rendering.scene import Scene, Snapshot
from pg_envs.rendering.sequence import sequence_scene
from pg_envs.tabular import TabularEnv
from pg_envs.vector.tabular import vector_entry_point

ID = "PGToy-Sequence-v0"
MAX_EPISODE_STEPS = 100
REWARD_THRESHOLD = 0.85
LEFT, CENTRE, RIGHT = range(3)


def sequence_mdp(
    n_states: int = 3,
    step_cost: float = 0.05,
    goal_reward: float = 1.0,
    observation: ObservationForm = "scalar",
) -> TabularMDP:
    """Returns the tables of `SequenceEnv`."""
    if not isinstance(n_states, int | np.integer) or n_states < 2:
        raise ValueError(f"n_states must be an integer >= 2, got {n_states!r}")
    check_number("step_cost", step_cost)
    check_number("goal_reward", goal_reward)
    states = np.arange(n_states)
    goal = n_states - 1
    transition = np.zeros((n_states, 3, n_states))
    transition[states, LEFT, np.maximum(states - 1, 0)] = 1.0
    transition[states, CENTRE, states] = 1.0
    transition[states, RIGHT, np.minimum(states + 1, goal)] = 1.0
    reward = np.full(transition.shape, -float(step_cost))
    reward[goal, CENTRE, goal] = goal_reward
    terminal = np.zeros(transition.shape, dtype=np.bool_)
    terminal[goal, CENTRE, goal] = True
    observations, bounds = observation_table(observation, int(n_states))
    return TabularMDP(
        transition=transition,
        reward=reward,
        terminal=terminal,
        initial_distribution=np.eye(n_states)[0],
        observations=observations,
        observation_bounds=bounds,
        action_names=("left", "centre", "right"),
    )


class SequenceEnv(TabularEnv):
    """A row of states: walk to the right end, then choose centre.

    The smallest task with delayed rewards in which the best action depends on the
    state. The best policy is right, right, centre, with a return of 0.90; the task
    counts as solved at a mean return of 0.85, one wasted action per episode.

    Action Space:
        `Discrete(3)`: 0 moves to the left, 1 is centre and stays, 2 moves to the right.
        Moves stop at the ends of the row.

    Observation Space:
        `Box(-1.0, 1.0, (1,), float32)`: -1.0, 0.0 and 1.0 for the three states, from
        left to right.

    Rewards:
        1 for centre in the rightmost state, -0.05 for every other action.

    Starting State:
        The leftmost state.

    Episode End:
        Terminated by centre in the rightmost state. `gymnasium.make` truncates it after
        100 steps.

    Arguments:
        n_states: number of states in the row, at least 2.
        step_cost: cost of an action, in units of reward.
        goal_reward: reward for centre in the rightmost state.
        observation: `"scalar"`: evenly spaced from -1 to 1. `"one_hot"`: n_states
            numbers. `"index"`: a `Discrete(n_states)` space.
        render_mode: `"human"`, `"rgb_array"` or None.

    Version History:
        v0: first version.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array"],
        "render_fps": 4,
    }

    def __init__(
        self,
        n_states: int = 3,
        step_cost: float = 0.05,
        goal_reward: float = 1.0,
        observation: ObservationForm = "scalar",
        render_mode: str | None = None,
    ) -> None:
        mdp = sequence_mdp(n_states, step_cost, goal_reward, observation)
        super().__init__(mdp, render_mode)
        self._step_cost, self._goal_reward = float(step_cost), float(goal_reward)

    def scene(self, snapshot: Snapshot) -> Scene:
        """Returns the picture of a snapshot."""
        return sequence_scene(
            snapshot,
            self.mdp.n_states,
            self.mdp.action_names,
            self._step_cost,
            self._goal_reward,
        )


make_vector_env = vector_entry_point(SequenceEnv)
