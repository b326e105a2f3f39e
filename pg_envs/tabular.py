"""A single environment whose dynamics are the tables of an MDP."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import ArrayLike, NDArray

from pg_envs.dynamics import add_noise, advance, initial_state, make_tables
from pg_envs.mdp import TabularMDP, check_mdp, checked_action
from pg_envs.rendering.env import RenderedEnv
from pg_envs.rendering.scene import Scene, Snapshot
from pg_envs.state import check_index, check_state, digest, generator_from_state

Observation = NDArray[np.float32] | np.int64


def observation_space(mdp: TabularMDP) -> spaces.Space[Any]:
    """Returns `Discrete(S)` for observed indices, a float32 `Box` otherwise."""
    if mdp.observations.dtype == np.int64:
        return spaces.Discrete(mdp.n_states)
    low, high = mdp.observation_bounds
    return spaces.Box(low, high, mdp.observations.shape[1:], np.float32)


class TabularEnv(RenderedEnv[Observation, np.int64]):
    """An environment that draws its transitions from a `TabularMDP`.

    A subclass that can be rendered overrides `scene` and lists its render modes in
    `metadata`.

    Action Space:
        `Discrete(A)`.

    Observation Space:
        `Discrete(S)` for observed indices, a float32 `Box` otherwise.

    Rewards:
        Those of the tables.

    Episode End:
        Terminated as the tables say. It has no time limit of its own; `gymnasium.make`
        adds one.

    Arguments:
        mdp: the tables.
        render_mode: one of `metadata["render_modes"]`, or None.

    Attributes:
        mdp: the tables.
        player: who acts, as pictures name it: "agent".

    Raises:
        ValueError: if `render_mode` is unknown.
        TypeError: if `mdp` is not a `TabularMDP`.
    """

    metadata: dict[str, Any] = {"render_modes": [], "render_fps": 4}  # noqa: RUF012

    def __init__(self, mdp: TabularMDP, render_mode: str | None = None) -> None:
        check_mdp(mdp)
        super().__init__(render_mode)
        self.mdp = mdp
        self.observation_space = observation_space(mdp)
        self.action_space = spaces.Discrete(mdp.n_actions)
        self._tables = make_tables(mdp)
        # None before a reset, and again once an episode has ended.
        self._state: np.int64 | None = None
        self._snapshot: Snapshot | None = None
        self._action_probabilities: NDArray[np.float64] | None = None
        self._caption = ""
        self.player = "agent"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode in a state drawn from the initial distribution.

        Args:
            seed: seeds the environment's random numbers; None leaves them as they are.
            options: not used.

        Returns:
            The observation, float32 `[*shape]` or an int64, and an empty info.
        """
        super().reset(seed=seed)
        tables = self._tables
        u = np.float64(self.np_random.random()) if tables.is_random else None
        state = initial_state(tables, u)
        self._state = state
        self._snapshot = Snapshot(int(state), None, None, 0, 0.0)
        if self.render_mode == "human":
            self.render()
        # A copy: a row of the table is a view of it.
        return tables.observations[state].copy(), {}

    def step(
        self, action: np.int64
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Takes one action.

        Args:
            action: index of the action, an integer from 0 to A - 1.

        Returns:
            Observation, reward, whether the episode ended, False (a wrapper sets the
            time limit) and an empty info.

        Raises:
            ResetNeeded: before the first `reset`, and after an episode has ended.
            InvalidAction: if the action is not in the action space.
        """
        if self._state is None:
            raise ResetNeeded(
                "step() was called outside an episode: call reset() first, and again "
                "whenever step() has returned terminated=True"
            )
        action_index = checked_action(action, self.mdp.action_names)
        tables = self._tables
        u = np.float64(self.np_random.random()) if tables.is_random else None
        next_state, reward, terminated = advance(tables, self._state, action_index, u)
        if tables.reward_noise != "none":
            reward = add_noise(tables, reward, *self.np_random.random(2))
        reward, terminated = float(reward), bool(terminated)
        # Before rendering, so that closing the window does not leave half a step.
        self._state = None if terminated else next_state
        previous = self._snapshot
        assert previous is not None, "reset() leaves a snapshot"
        self._snapshot = Snapshot(
            int(next_state),
            action_index,
            reward,
            previous.step + 1,
            previous.episode_return + reward,
            terminated,
            previous_state=previous.state,
        )
        if self.render_mode == "human":
            self.render()
        obs = tables.observations[next_state].copy()
        return obs, reward, terminated, False, {}

    def get_state(self) -> dict[str, Any]:
        """Returns everything that the next steps depend on, as plain data.

        The state of wrappers, such as the step count of a time limit, is not part of
        it. Of a wrapped environment, call `env.unwrapped.get_state()`.

        Returns:
            A dict: `mdp`, SHA-256 of the tables; `state`, index of the current state,
            None outside an episode; `snapshot`, the fields of the picture; and
            `generator`, the state of the random number generator.
        """
        return {
            "mdp": digest(self.mdp),
            "state": None if self._state is None else int(self._state),
            "snapshot": None if self._snapshot is None else self._snapshot._asdict(),
            "generator": self.np_random.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned; the steps that follow are the same.

        Args:
            state: from an environment with the same tables.

        Raises:
            TypeError: if it is no dict.
            ValueError: if it is incomplete, damaged or of another environment; nothing
                has changed then.
        """
        names = {"state", "snapshot", "generator"}
        check_state(state, {"mdp": digest(self.mdp)}, names)
        n_states, n_actions = self.mdp.n_states, self.mdp.n_actions
        check_index("state", state["state"], n_states)
        snapshot = _snapshot_from(state["snapshot"], n_states, n_actions)
        generator = generator_from_state(state["generator"])
        if state["state"] is not None and snapshot is None:
            raise ValueError("state['snapshot'] must not be None within an episode")
        self._state = None if state["state"] is None else np.int64(state["state"])
        self._snapshot = snapshot
        self.np_random = generator

    def set_action_probabilities(self, probabilities: ArrayLike | None) -> None:
        """Sets the policy's action probabilities, which are drawn as bars.

        They stay until the next call. Through wrappers:
        `env.unwrapped.set_action_probabilities(p)`; through an SB3 vector env:
        `vec_env.env_method("set_action_probabilities", p)`.

        Args:
            probabilities: `[S, A]`, the whole policy, of which the row of the current
                state is drawn; or `[A]`, drawn in every state. None removes the bars.

        Raises:
            ValueError: if they are not distributions over the A actions.
        """
        if probabilities is None:
            self._action_probabilities = None
            return
        table = np.array(probabilities, dtype=np.float64)
        n_states, n_actions = self.mdp.n_states, self.mdp.n_actions
        # The tolerance is that of probabilities in single precision.
        if not (
            table.shape in ((n_actions,), (n_states, n_actions))
            and (table >= 0.0).all()
            and (np.abs(table.sum(axis=-1) - 1.0) < 1e-4).all()
        ):
            raise ValueError(
                f"probabilities must be {n_actions} numbers >= 0 that sum to 1, or "
                f"{n_states} rows of them, one per state, got {table.tolist()}"
            )
        self._action_probabilities = np.broadcast_to(table, (n_states, n_actions))

    def set_caption(self, text: str) -> None:
        """Sets a few words that are drawn into the picture, "" for none.

        They stay until the next call, as the action probabilities do.
        """
        self._caption = text

    def frame(self, snapshot: Snapshot) -> NDArray[np.uint8]:
        """Returns the frame of any snapshot, `[H, W, 3]` uint8; needs no display."""
        return self.canvas.rgb_array(self.scene(snapshot))

    def scene(self, snapshot: Snapshot) -> Scene:
        """Returns the picture of a snapshot; a class with render modes overrides it."""
        raise NotImplementedError(f"{type(self).__name__} has no picture")

    def current_scene(self) -> Scene | None:
        """Returns the picture of the current situation; None before `reset`."""
        snapshot = self._snapshot
        if snapshot is None:
            return None
        snapshot = snapshot._replace(caption=self._caption, player=self.player)
        if self._action_probabilities is not None:
            row = self._action_probabilities[snapshot.state]
            snapshot = snapshot._replace(action_probabilities=tuple(row.tolist()))
        return self.scene(snapshot)


def _snapshot_from(fields: Any, n_states: int, n_actions: int) -> Snapshot | None:  # noqa: ANN401
    """Returns the snapshot of a state; raises a ValueError if it is not valid."""
    if fields is None:
        return None
    try:
        snapshot = Snapshot(**fields)
    except TypeError as error:
        raise ValueError(
            "state['snapshot'] must be None or the fields of a Snapshot, as "
            f"get_state() returns, got {fields!r}"
        ) from error
    check_index("snapshot", snapshot.state, n_states)
    check_index("snapshot", snapshot.previous_state, n_states)
    check_index("snapshot", snapshot.action, n_actions)
    return snapshot
