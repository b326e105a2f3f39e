"""N games of Pixelcopter, stepped together on NumPy or torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.vector import AutoresetMode

from pg_envs.mdp import check_choice
from pg_envs.pixelcopter.game import (
    BLOCK_DRAWS,
    CRASH_REWARD,
    TERRAIN_DRAWS,
    Games,
    column_bounds,
    pixelcopter_spaces,
)
from pg_envs.pixelcopter.scene import pixelcopter_scene
from pg_envs.rendering.scene import Scene
from pg_envs.vector.backend import Array, Backend, NumpyBackend, TorchBackend
from pg_envs.vector.base import BatchedEnv

if TYPE_CHECKING:
    import torch


class PixelcopterVectorEnv(BatchedEnv):
    """N independent games of Pixelcopter on NumPy; see `PixelcopterEnv`.

    Action Space:
        `MultiDiscrete` of N times 2 actions: 0 climbs, 1 does nothing.

    Observation Space:
        `[N, 7]` float32.

    Rewards:
        `[N]` float64.

    Episode End:
        Terminated by a crash; truncated after `max_episode_steps`.

    Arguments:
        num_envs: N, at least 1.
        max_episode_steps: time limit; None or -1 for none.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `BatchedEnv`.
        render_mode: None or `"rgb_array"`.
        reward_scheme: `"original"` or `"course"`, see `PixelcopterEnv`.
        backend: the array library; NumPy by default.
        check_actions: whether `step` refuses actions other than 0 and 1.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        reward_scheme: str = "original",
        *,
        backend: Backend | None = None,
        check_actions: bool = True,
    ) -> None:
        check_choice("reward_scheme", reward_scheme, tuple(CRASH_REWARD))
        super().__init__(
            backend or NumpyBackend(),
            *pixelcopter_spaces(),
            num_envs,
            max_episode_steps,
            autoreset_mode,
            render_mode,
            check_actions,
        )
        self.reward_scheme = reward_scheme
        self._games = Games(self.backend, num_envs)

    def _uniform(self, n_rows: int, rows: Array) -> Array:
        """Returns draws `[n_rows, n]`, uniform on [0, 1), for n games."""
        return self.backend.uniform(n_rows, self.num_envs, rows)

    def _start(self, mask: Array) -> None:
        # No terrain elsewhere: what was due there was laid at the end of the last step.
        self._begin(mask, mask)

    def _transition(self, actions: Array) -> tuple[Array, Array]:
        rewards, terminated, passed = self._games.advance(actions)
        rows = self.backend.rows(passed & ~self._done)
        if len(rows) > 0:
            self._games.place_blocks(rows, self._uniform(BLOCK_DRAWS, rows))
        return rewards + CRASH_REWARD[self.reward_scheme] * terminated, terminated

    def _end_step(self, ended: Array) -> None:
        # With ended episodes back at clock 0, they are due as well.
        self._begin(ended, ended | self._games.is_due())

    def _begin(self, ended: Array, is_due: Array) -> None:
        """Starts the episodes of a mask, and lays terrain in the games of another.

        In the game, too, terrain comes last in a step; it appears far from the player.
        """
        games = self._games
        games.clock = games.clock * ~ended
        rows = self.backend.rows(is_due)
        if len(rows) > 0:
            games.lay_terrain(rows, self._uniform(TERRAIN_DRAWS, rows))
        rows = self.backend.rows(ended)
        if len(rows) > 0:
            games.restart(rows, self._uniform(BLOCK_DRAWS, rows))

    def _observe(self) -> Array:
        return self.backend.float32(self._games.observations())

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "reward_scheme": self.reward_scheme}

    def _columns(self) -> dict[str, Array]:
        return self._games.columns()

    def _set_columns(self, columns: dict[str, Array]) -> None:
        self._games.set_columns(columns)

    def _column_bounds(self) -> dict[str, tuple[int, int]]:
        return {**super()._column_bounds(), **column_bounds()}

    def _scene(self, i: int) -> Scene:
        step = int(self._elapsed[i])
        crashed = step > 0 and bool(self._last_terminated[i])
        score = float(self._returns[i])
        return pixelcopter_scene(self._games.snapshot(i, score, step, crashed))


class TorchPixelcopterVectorEnv(PixelcopterVectorEnv):
    """N independent games of Pixelcopter as tensors on one device.

    Action Space:
        `[N]` int64: 0 climbs, 1 does nothing.

    Observation Space:
        `[N, 7]` float32.

    Rewards:
        `[N]` float32.

    Episode End:
        Terminated by a crash; truncated after `max_episode_steps`.

    Arguments:
        num_envs: N, at least 1.
        device: where the tensors live, such as `"cpu"` or `"cuda"`.
        max_episode_steps: time limit; None or -1 for none.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `BatchedEnv`.
        render_mode: None or `"rgb_array"`.
        reward_scheme: `"original"` or `"course"`, see `PixelcopterEnv`.
        check_actions: whether `step` refuses actions other than 0 and 1, for which it
            synchronises with a GPU in every step.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    def __init__(
        self,
        num_envs: int = 1,
        device: torch.device | str = "cpu",
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        reward_scheme: str = "original",
        check_actions: bool = True,
    ) -> None:
        super().__init__(
            num_envs,
            max_episode_steps,
            autoreset_mode,
            render_mode,
            reward_scheme,
            backend=TorchBackend(device),
            check_actions=check_actions,
        )
