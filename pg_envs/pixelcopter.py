"""PGToy-Pixelcopter-v0: a helicopter in a cave, as in PLE."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from numpy.typing import NDArray

from pg_envs import pixelcopter_rules as rules
from pg_envs.drawn_env import DrawnEnv
from pg_envs.mdp import check_choice
from pg_envs.pixelcopter_dynamics import (
    BLOCK_DRAWS,
    TERRAIN_DRAWS,
    advance,
    lay_terrain,
    place_blocks,
    restart,
)
from pg_envs.pixelcopter_games import Copters, NumPyArrays
from pg_envs.pixelcopter_state import (
    checked_columns,
    game_columns,
    put_columns,
    snapshot,
)
from pg_envs.pixelcopter_vector import pixelcopter_spaces
from pg_envs.rendering.pixelcopter_scene import pixelcopter_scene
from pg_envs.rendering.scene import Scene
from pg_envs.state import check_state, generator_from

ID = "PGToy-Pixelcopter-v0"
# A variant has its name before the version, as FrozenLake8x8-v1; what is different here
# is called TimeLimit by Gymnasium.
LIMITED_ID = "PGToy-PixelcopterTimeLimit-v0"
MAX_EPISODE_STEPS = 4000

_ONLY = np.array([0])

Observation = NDArray[Any]
"""`[7]` float32."""


class PixelcopterEnv(DrawnEnv[Observation, np.int64]):
    """A helicopter that falls, climbs, and must touch neither the cave nor a block.

    Step for step the game Pixelcopter of the PyGame Learning Environment (PLE) at its
    usual size, 48 x 48 pixels, and speed, 30 steps a second: a policy trained here
    plays there. What is random has the same distribution; the generator is another.

    | | |
    |---|---|
    | id | `PGToy-Pixelcopter-v0`; `PGToy-PixelcopterTimeLimit-v0` has a time limit |
    | actions | `Discrete(2)`: 0 climbs, 1 does nothing |
    | observation | `Box` of 7 float32, in pixels: y (downwards), momentum, distance to the ceiling and to the floor of the column at the player, distance to the next block, that block's y, its y plus its height 9 |
    | reward | 1 for each block passed, 1 for each column of terrain that leaves the screen, -5 in the step that ends the episode |
    | end | on touching a block, the ceiling or the floor; no time limit, or 4,000 steps |
    | best return | none is the best: about 0.176 a step for as long as it flies |

    The y of a block in the observation is its middle, though PLE calls it its top. As
    there, blocks may stand before the terrain or leave no way through.

    Args:
        reward_scheme: `"original"`: as above. `"course"`: -1 instead of -5.
        render_mode: `"human"`, `"rgb_array"` or None.

    Raises:
        ValueError: if an argument is unknown; the message names it.

    Reference: Tasfi (2016), PyGame Learning Environment, the game `pixelcopter`.
    """  # noqa: E501 - the rows of a table

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array"],
        "render_fps": rules.STEPS_PER_SECOND,
    }

    def __init__(
        self, reward_scheme: str = "original", render_mode: str | None = None
    ) -> None:
        check_choice("reward_scheme", reward_scheme, tuple(rules.LOSS))
        super().__init__(render_mode)
        self.reward_scheme = reward_scheme
        self.observation_space, self.action_space = pixelcopter_spaces()
        self._copters = Copters(NumPyArrays(), 1)
        # False before a reset, and again once an episode has ended.
        self._flies = False
        # Steps and undiscounted return of the episode; None before the first.
        self._episode: tuple[int, float] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode, with the player in the middle of the screen.

        Args:
            seed: seeds the random numbers of the environment; None goes on with them.
            options: not used.

        Returns:
            The observation, `[7]` float32, and an empty info.
        """
        super().reset(seed=seed)
        self._copters.clock[:] = 0
        lay_terrain(self._copters, _ONLY, self._uniform(TERRAIN_DRAWS))
        restart(self._copters, _ONLY, self._uniform(BLOCK_DRAWS))
        self._flies, self._episode = True, (0, 0.0)
        self._show()
        return self._observation(), {}

    def step(
        self, action: np.int64 | int
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Flies for a thirtieth of a second.

        Args:
            action: 0 climbs, 1 does nothing.

        Returns:
            Observation, reward, whether the player has crashed, False (the time limit
            is a wrapper's business) and an empty info.

        Raises:
            ResetNeeded: before the first `reset`, and after an episode has ended.
            InvalidAction: if the action is neither 0 nor 1.
        """
        if not self._flies or self._episode is None:
            raise ResetNeeded(
                "step() was called while no episode is going on: call reset() first, "
                "and again whenever step() has returned terminated=True"
            )
        if not self.action_space.contains(action):
            raise InvalidAction(
                f"action must be 0 (climb) or 1 (do nothing), got {action!r}"
            )
        copters = self._copters
        outcome = advance(copters, np.array([int(action)]))
        terminated = bool(outcome.terminated[0])
        if outcome.passed[0]:
            place_blocks(copters, _ONLY, self._uniform(BLOCK_DRAWS))
        if copters.fresh[copters.clock[0]]:
            lay_terrain(copters, _ONLY, self._uniform(TERRAIN_DRAWS))
        reward = float(outcome.gained[0])
        if terminated:
            reward += rules.LOSS[self.reward_scheme]
        n_steps, episode_return = self._episode
        self._episode = n_steps + 1, episode_return + reward
        # Before the picture: a closed window leaves no half-taken step behind.
        self._flies = not terminated
        self._show()
        return self._observation(), reward, terminated, False, {}

    def get_state(self) -> dict[str, Any]:
        """Returns all that the next steps depend on, as plain data for `set_state`.

        Of a wrapped environment: `env.unwrapped.get_state()`. What wrappers remember,
        such as the steps that a time limit has counted, is not in it.

        Returns:
            A dict: which environment it is of (`environment`, `reward_scheme`);
            `flies`, whether an episode is going on; `steps` and `return` of it;
            `columns`, by name an array of what there is, None before the first
            `reset`; and `generator`, the state of the random number generator.
        """
        n_steps, episode_return = self._episode or (0, 0.0)
        columns = game_columns(self._copters, np.copy)
        return {
            **self._identity(),
            "flies": self._flies,
            "steps": n_steps,
            "return": episode_return,
            "columns": None if self._episode is None else columns,
            "generator": self.np_random.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on as the environment did of which `get_state` returned `state`.

        Args:
            state: what `get_state` returned, of an environment with the same rewards.

        Raises:
            TypeError: if it is no dict.
            ValueError: if it is incomplete, damaged or of another environment; nothing
                has changed then.
        """
        names = {"flies", "steps", "return", "columns", "generator"}
        check_state(state, self._identity(), names)
        flies, columns = state["flies"], state["columns"]
        if not isinstance(flies, bool) or (flies and columns is None):
            raise ValueError(
                "state['flies'] must be a bool, and False while state['columns'] is "
                f"None, got {flies!r}"
            )
        try:
            episode = int(state["steps"]), float(state["return"])
        except (TypeError, ValueError) as error:
            raise ValueError(
                "state['steps'] and state['return'] must be numbers, got "
                f"{state['steps']!r} and {state['return']!r}"
            ) from error
        if columns is not None:
            columns = checked_columns(columns, 1, {})
        self.np_random = generator_from(state["generator"])
        self._flies = flies
        self._episode = None if columns is None else episode
        if columns is not None:
            put_columns(self._copters, columns, _ONLY)

    def scene(self, message: str = "") -> Scene:
        """Returns the picture of the current situation.

        Args:
            message: a line for who plays; "" for none.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        if self._episode is None:
            raise ResetNeeded("render() was called before reset(): nothing to draw yet")
        n_steps, episode_return = self._episode
        crashed = not self._flies
        shown = snapshot(self._copters, 0, episode_return, n_steps, crashed)
        return pixelcopter_scene(replace(shown, message=message))

    def _present_scene(self) -> Scene | None:
        return None if self._episode is None else self.scene()

    def _identity(self) -> dict[str, Any]:
        return {"environment": "Pixelcopter", "reward_scheme": self.reward_scheme}

    def _uniform(self, n_rows: int) -> NDArray[np.float64]:
        return self.np_random.random((n_rows, 1))

    def _observation(self) -> Observation:
        return np.array(self._copters.seen[:, 0], dtype=np.float32)

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()
