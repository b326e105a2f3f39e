"""PGToy-Pixelcopter-v0: a helicopter in a cave, as in PLE."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from pg_envs.mdp import check_choice, checked_action
from pg_envs.pixelcopter.game import (
    ACTION_NAMES,
    BLOCK_DRAWS,
    CRASH_REWARD,
    STEPS_PER_SECOND,
    TERRAIN_DRAWS,
    Games,
    column_bounds,
    pixelcopter_spaces,
)
from pg_envs.pixelcopter.scene import Theme, pixelcopter_scene
from pg_envs.rendering.env import RenderedEnv
from pg_envs.rendering.scene import Scene
from pg_envs.state import check_columns, check_state, generator_from_state
from pg_envs.vector.backend import NumpyBackend

_ROW = np.array([0])


class PixelcopterEnv(RenderedEnv[NDArray[Any], np.int64]):
    """A helicopter that climbs or falls and must not touch the cave or a block.

    Step for step the game Pixelcopter of the PyGame Learning Environment (PLE) at its
    default size, 48 x 48 pixels, and speed, 30 steps a second: a policy trained here
    plays there. Random quantities have the same distribution, from another generator.
    There is no best return: flying pays about 0.176 a step.

    Action Space:
        `Discrete(2)`: 0 climbs, 1 does nothing.

    Observation Space:
        `Box` of 7 float32, lengths in pixels, y downwards:

        - 0: y of the player;
        - 1: its momentum;
        - 2: distance to the ceiling of the column at the player;
        - 3: distance to the floor of that column;
        - 4: distance to the next block;
        - 5: y of the middle of that block, which PLE calls its top;
        - 6: number 5 plus the height of a block, 9.

    Rewards:
        1 for each block passed, 1 for each column of terrain that leaves the screen, -5
        in the step that ends the episode.

    Starting State:
        The player is in the middle, at y = 24, without momentum. The terrain and the
        first block, which is beyond the right edge, are drawn at random.

    Episode End:
        Terminated when the player touches a block, the ceiling or the floor. As in PLE,
        blocks may overlap the terrain or leave no way through. `PGToy-Pixelcopter-v0`
        has no time limit; `PGToy-PixelcopterTimeLimit-v0` is truncated after 4,000
        steps.

    Arguments:
        reward_scheme: `"original"`: as above. `"course"`: -1 instead of -5, as in the
            Hugging Face course.
        render_mode: `"human"`, `"rgb_array"` or None.
        theme: how it is drawn. `"original"`: as in PLE, where the player is a white
            square. `"helicopter"`: a helicopter among rocks; the game is the same, and
            what counts is the square in its middle.

    Version History:
        v0: first version.

    Raises:
        ValueError: if an argument is unknown; the message names it.

    Reference: Tasfi (2016), PyGame Learning Environment, the game `pixelcopter`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array"],
        "render_fps": STEPS_PER_SECOND,
    }

    def __init__(
        self,
        reward_scheme: str = "original",
        render_mode: str | None = None,
        theme: Theme = "original",
    ) -> None:
        check_choice("reward_scheme", reward_scheme, tuple(CRASH_REWARD))
        check_choice("theme", theme, get_args(Theme))
        super().__init__(render_mode)
        self.reward_scheme, self.theme = reward_scheme, theme
        self.observation_space, self.action_space = pixelcopter_spaces()
        self._games = Games(NumpyBackend(), 1)
        # Within an episode: between a reset and a crash.
        self._is_flying = False
        # Steps and undiscounted return of the episode; None before the first reset.
        self._episode: tuple[int, float] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Starts an episode, with the player in the middle of the screen.

        Args:
            seed: seeds the environment's random numbers; None leaves them as they are.
            options: not used.

        Returns:
            The observation, `[7]` float32, and an empty info.
        """
        super().reset(seed=seed)
        self._games.clock[:] = 0
        self._games.lay_terrain(_ROW, self._uniform(TERRAIN_DRAWS))
        self._games.restart(_ROW, self._uniform(BLOCK_DRAWS))
        self._is_flying, self._episode = True, (0, 0.0)
        self._show()
        return self._observe(), {}

    def step(
        self, action: np.int64 | int
    ) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        """Moves the game by a thirtieth of a second.

        Args:
            action: 0 climbs, 1 does nothing.

        Returns:
            Observation, reward, whether the player has crashed, False (a wrapper sets
            the time limit) and an empty info.

        Raises:
            ResetNeeded: before the first `reset`, and after an episode has ended.
            InvalidAction: if the action is neither 0 nor 1.
        """
        if not self._is_flying or self._episode is None:
            raise ResetNeeded(
                "step() was called outside an episode: call reset() first, and again "
                "whenever step() has returned terminated=True"
            )
        actions = np.array([checked_action(action, ACTION_NAMES)])
        games = self._games
        rewards, terminated, passed = games.advance(actions)
        if passed[0]:
            games.place_blocks(_ROW, self._uniform(BLOCK_DRAWS))
        if games.is_due()[0]:
            games.lay_terrain(_ROW, self._uniform(TERRAIN_DRAWS))
        reward, crashed = float(rewards[0]), bool(terminated[0])
        if crashed:
            reward += CRASH_REWARD[self.reward_scheme]
        n_steps, episode_return = self._episode
        self._episode = n_steps + 1, episode_return + reward
        # Before rendering, so that closing the window does not leave half a step.
        self._is_flying = not crashed
        self._show()
        return self._observe(), reward, crashed, False, {}

    def get_state(self) -> dict[str, Any]:
        """Returns everything that the next steps depend on, as plain data.

        The state of wrappers, such as the step count of a time limit, is not part of
        it. Of a wrapped environment, call `env.unwrapped.get_state()`.

        Returns:
            A dict: `environment` and `reward_scheme`, which `set_state` compares;
            `is_flying`, whether an episode is running; its `steps` and `return`;
            `columns`, arrays by name, None before the first `reset`; and `generator`,
            the state of the random number generator.
        """
        n_steps, episode_return = self._episode or (0, 0.0)
        columns = {name: a.copy() for name, a in self._games.columns().items()}
        return {
            **self._identity(),
            "is_flying": self._is_flying,
            "steps": n_steps,
            "return": episode_return,
            "columns": None if self._episode is None else columns,
            "generator": self.np_random.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned; the steps that follow are the same.

        Args:
            state: from an environment with the same reward scheme.

        Raises:
            TypeError: if it is no dict.
            ValueError: if it is incomplete, damaged or of another environment; nothing
                has changed then.
        """
        names = {"is_flying", "steps", "return", "columns", "generator"}
        check_state(state, self._identity(), names)
        is_flying, columns = state["is_flying"], state["columns"]
        if not isinstance(is_flying, bool) or (is_flying and columns is None):
            raise ValueError(
                "state['is_flying'] must be a bool, and False while state['columns'] "
                f"is None, got {is_flying!r}"
            )
        try:
            episode = int(state["steps"]), float(state["return"])
        except (TypeError, ValueError) as error:
            raise ValueError(
                "state['steps'] and state['return'] must be numbers, got "
                f"{state['steps']!r} and {state['return']!r}"
            ) from error
        if columns is not None:
            columns = check_columns(columns, self._games.columns(), column_bounds())
        self.np_random = generator_from_state(state["generator"])
        self._is_flying = is_flying
        self._episode = None if columns is None else episode
        if columns is not None:
            self._games.set_columns(columns)

    def scene(self, message: str = "") -> Scene:
        """Returns the picture of the current situation.

        Args:
            message: a line for the player; "" for none.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        if self._episode is None:
            raise ResetNeeded("render() was called before reset(): nothing to draw yet")
        n_steps, episode_return = self._episode
        crashed = not self._is_flying
        snapshot = self._games.snapshot(0, episode_return, n_steps, crashed)
        return pixelcopter_scene(replace(snapshot, message=message), self.theme)

    def current_scene(self) -> Scene | None:
        """Returns the picture of the current situation; None before `reset`."""
        return None if self._episode is None else self.scene()

    def _identity(self) -> dict[str, Any]:
        return {"environment": "Pixelcopter", "reward_scheme": self.reward_scheme}

    def _uniform(self, n_rows: int) -> NDArray[np.float64]:
        return self.np_random.random((n_rows, 1))

    def _observe(self) -> NDArray[Any]:
        obs: NDArray[Any] = self._games.observations()[0].astype(np.float32)
        return obs

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()
