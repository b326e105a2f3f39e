"""A single environment that reads its dynamics from the tables of an MDP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import InvalidAction, ResetNeeded
from numpy.typing import ArrayLike, NDArray

from pg_envs.drawn_env import DrawnEnv
from pg_envs.dynamics import add_noise, advance, initial_state, make_tables
from pg_envs.mdp import TabularMDP, check_mdp
from pg_envs.rendering.scene import Scene, Snapshot
from pg_envs.state import (
    check_index,
    check_state,
    digest,
    generator_from,
    snapshot_data,
    snapshot_from,
)

Observation = NDArray[np.float32] | np.int64


def observation_space(mdp: TabularMDP) -> spaces.Space[Any]:
    """Returns `Discrete(S)` for observed indices, a float32 `Box` otherwise."""
    if mdp.observations.dtype == np.int64:
        return spaces.Discrete(mdp.n_states)
    low, high = mdp.observation_bounds
    return spaces.Box(low, high, mdp.observations.shape[1:], np.float32)


class TabularEnv(DrawnEnv[Observation, np.int64]):
    """An environment whose every transition is drawn from a `TabularMDP`.

    It has no time limit of its own: `gymnasium.make` adds one. A subclass that can be
    drawn overrides `scene` and lists its render modes in `metadata`.

    Args:
        mdp: the tables.
        render_mode: one of `metadata["render_modes"]`, or None.

    Attributes:
        mdp: the tables, for whoever wants the exact answer.

    Raises:
        ValueError: if `render_mode` is unknown.
        TypeError: if `mdp` is no `TabularMDP`.
    """

    metadata: dict[str, Any] = {"render_modes": [], "render_fps": 4}  # noqa: RUF012

    def __init__(self, mdp: TabularMDP, render_mode: str | None = None) -> None:
        check_mdp(mdp)
        super().__init__(render_mode)
        self.mdp = mdp
        self.observation_space = observation_space(mdp)
        self.action_space = spaces.Discrete(mdp.n_actions)
        self._tables = make_tables(mdp)
        # None: reset() has to come first. It is so again once an episode has ended.
        self._state: np.int64 | None = None
        self._snapshot: Snapshot | None = None
        self._action_probabilities: NDArray[np.float64] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode in a state drawn from the initial distribution.

        Args:
            seed: seeds the random numbers of the environment; None goes on with them.
            options: not used.

        Returns:
            The observation, float32 `[*shape]` or an int64, and an empty info.
        """
        super().reset(seed=seed)
        self._state = initial_state(self._tables, np.float64(self.np_random.random()))
        self._show(Snapshot(int(self._state), None, None, 0, 0.0))
        return self._observe(self._state), {}

    def step(
        self, action: np.int64
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Takes one action.

        Args:
            action: index of the action, an integer from 0 to A - 1.

        Returns:
            Observation, reward, whether the episode ended, False (the time limit is a
            wrapper's business) and an empty info.

        Raises:
            ResetNeeded: before the first `reset`, and after an episode has ended.
            InvalidAction: if the action is not in the action space.
        """
        if self._state is None:
            raise ResetNeeded(
                "step() was called while no episode is going on: call reset() first, "
                "and again whenever step() has returned terminated=True"
            )
        if not self.action_space.contains(action):
            raise InvalidAction(
                f"action must be an integer from 0 to {self.mdp.n_actions - 1} "
                f"({', '.join(self.mdp.action_names)}), got {action!r}"
            )
        # A policy's `predict` gives an array of no dimensions: it is a number here.
        choice = int(action)
        outcome = advance(
            self._tables, self._state, choice, np.float64(self.np_random.random())
        )
        reward = float(outcome.reward)
        if self._tables.reward_noise != "none":
            reward = float(
                add_noise(self._tables, outcome.reward, *self.np_random.random(2))
            )
        terminated = bool(outcome.terminated)
        # Before the picture: a closed window leaves no half-taken step behind.
        self._state = None if terminated else outcome.state
        self._show(self._next_snapshot(int(outcome.state), choice, reward, terminated))
        return self._observe(outcome.state), reward, terminated, False, {}

    def get_state(self) -> dict[str, Any]:
        """Returns all that the next steps depend on, as plain data for `set_state`.

        Of a wrapped environment: `env.unwrapped.get_state()`. What wrappers remember,
        such as the steps that a time limit has counted, is not in it.

        Returns:
            A dict: `mdp`, SHA-256 of the tables; `state`, index of the present state,
            None while no episode is going on; `snapshot`, fields of the picture; and
            `generator`, the state of the random number generator.
        """
        return {
            "mdp": digest(self.mdp),
            "state": None if self._state is None else int(self._state),
            "snapshot": snapshot_data(self._snapshot),
            "generator": self.np_random.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on as the environment did of which `get_state` returned `state`.

        Args:
            state: what `get_state` returned, of an environment with the same tables.

        Raises:
            TypeError: if it is no dict.
            ValueError: if it is incomplete, damaged or of another environment; nothing
                has changed then.
        """
        names = {"state", "snapshot", "generator"}
        check_state(state, {"mdp": digest(self.mdp)}, names)
        n_states, n_actions = self.mdp.n_states, self.mdp.n_actions
        check_index("state", state["state"], n_states)
        snapshot = snapshot_from(state["snapshot"], n_states, n_actions)
        generator = generator_from(state["generator"])
        if state["state"] is not None and snapshot is None:
            raise ValueError("state['snapshot'] must be there while an episode goes on")
        self._state = None if state["state"] is None else np.int64(state["state"])
        self._snapshot = snapshot
        self.np_random = generator

    def set_action_probabilities(self, probabilities: ArrayLike | None) -> None:
        """Hands in the policy's action probabilities, to be drawn as bars.

        They stay until others are handed in. Through wrappers:
        `env.unwrapped.set_action_probabilities(p)`; through an SB3 vector env:
        `vec_env.env_method("set_action_probabilities", p)`.

        Args:
            probabilities: `[S, A]`, the whole policy, of which the present state's row
                is drawn; or `[A]`, drawn in every state. At least 0 and summing to 1.
                None takes them away.

        Raises:
            ValueError: if they are no distributions over the A actions.
        """
        if probabilities is None:
            self._action_probabilities = None
            return
        given = np.array(probabilities, dtype=np.float64)
        n_states, n_actions = self.mdp.n_states, self.mdp.n_actions
        # The sum is that of single-precision probabilities.
        if not (
            given.shape in ((n_actions,), (n_states, n_actions))
            and (given >= 0.0).all()
            and (np.abs(given.sum(axis=-1) - 1.0) < 1e-4).all()
        ):
            raise ValueError(
                f"probabilities must be {n_actions} numbers >= 0 that sum to 1, or "
                f"{n_states} rows of them, one per state, got {given.tolist()}"
            )
        self._action_probabilities = np.broadcast_to(given, (n_states, n_actions))

    def frame(self, snapshot: Snapshot) -> NDArray[np.uint8]:
        """Returns the picture of any snapshot, `[H, W, 3]` uint8; needs no screen."""
        return self.canvas.rgb_array(self.scene(snapshot))

    def scene(self, snapshot: Snapshot) -> Scene:
        """Returns the picture of a snapshot; a class with render modes overrides it."""
        raise NotImplementedError(f"{type(self).__name__} has no picture")

    def _present_scene(self) -> Scene | None:
        snapshot = self._snapshot
        if snapshot is None:
            return None
        if self._action_probabilities is not None:
            row = self._action_probabilities[snapshot.state]
            snapshot = replace(snapshot, action_probabilities=tuple(row.tolist()))
        return self.scene(snapshot)

    def _observe(self, state: np.int64) -> Observation:
        # A row of the table is a view of it; users keep and change what they are given.
        seen = self.mdp.observations[state]
        return np.int64(seen) if np.ndim(seen) == 0 else np.array(seen)

    def _next_snapshot(
        self, state: int, action: int, reward: float, terminated: bool
    ) -> Snapshot:
        before = self._snapshot
        assert before is not None, "reset() leaves a snapshot"
        episode_return = before.episode_return + reward
        return Snapshot(
            state,
            action,
            reward,
            before.step + 1,
            episode_return,
            terminated,
            previous_state=before.state,
        )

    def _show(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        if self.render_mode == "human":
            self.render()
