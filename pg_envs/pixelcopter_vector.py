"""Many Pixelcopters stepped at once, on NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from pg_envs import pixelcopter_rules as rules
from pg_envs.mdp import check_choice
from pg_envs.pixelcopter_dynamics import (
    BLOCK_DRAWS,
    TERRAIN_DRAWS,
    advance,
    lay_terrain,
    place_blocks,
    restart,
)
from pg_envs.pixelcopter_games import Array, Arrays, Copters, NumPyArrays
from pg_envs.pixelcopter_kept import KeptPixelcopters
from pg_envs.vector_arguments import (
    check_count,
    checked_actions,
    checked_autoreset_mode,
    checked_mask,
)

Results = tuple[Array, Array, Array, Array, dict[str, Any]]


def pixelcopter_spaces() -> tuple[spaces.Box, spaces.Discrete]:
    """Returns the spaces of what one copter observes and does."""
    low, high = rules.observation_bounds()
    return spaces.Box(low, high, dtype=np.float32), spaces.Discrete(2)


class PixelcopterVectorEnv(KeptPixelcopters):
    """N independent games of Pixelcopter, see `PixelcopterEnv`.

    What `TorchPixelcopterVectorEnv` does otherwise is in the underscore methods at the
    end.

    Args:
        num_envs: N, at least 1.
        max_episode_steps: steps after which an episode is truncated; None or -1 for
            never.
        autoreset_mode: `NEXT_STEP` (Gymnasium's default) or `SAME_STEP`, see
            `TabularVectorEnv`.
        render_mode: None or `"rgb_array"`.
        reward_scheme: `"original"` or `"course"`, see `PixelcopterEnv`.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        reward_scheme: str = "original",
    ) -> None:
        check_count("num_envs", num_envs)
        if max_episode_steps not in (None, -1):
            check_count("max_episode_steps", max_episode_steps)
        check_choice("render_mode", render_mode, (None, "rgb_array"))
        check_choice("reward_scheme", reward_scheme, tuple(rules.LOSS))
        self.num_envs = num_envs
        self.max_episode_steps = None if max_episode_steps == -1 else max_episode_steps
        self.autoreset_mode = checked_autoreset_mode(autoreset_mode)
        self.render_mode = render_mode
        self.reward_scheme = reward_scheme
        self.metadata = {
            **type(self).metadata,
            "autoreset_mode": self.autoreset_mode,
            "reset_mask": True,
        }
        self.single_observation_space, self.single_action_space = pixelcopter_spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._arrays = self._make_arrays()
        self._copters = Copters(self._arrays, num_envs)
        self._loss = self._arrays.number(rules.LOSS[reward_scheme])
        table = self._arrays.table
        self._elapsed: Array = table(np.zeros(num_envs, np.int64))
        self._done: Array = table(np.zeros(num_envs, np.bool_))
        self._returns: Array = table(np.zeros(num_envs))
        self._crashed: Array = table(np.zeros(num_envs, np.bool_))
        self._was_reset = False
        self._canvas: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts an episode in every environment, or in those of a mask.

        Args:
            seed: seeds the one generator of all environments; None goes on with it.
            options: `{"reset_mask": mask}`, `[N]` bool, restarts these environments.

        Returns:
            Observations `[N, 7]` and an empty info.

        Raises:
            ValueError: if the mask is not `[N]` bool.
            ResetNeeded: if there is a mask before the first whole reset.
        """
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            mask = self._checked_mask(mask)
        if seed is not None:
            self._seed(seed)
        if mask is None:
            mask = self._arrays.xp.ones_like(self._done)
        which = self._which(mask)
        self._back_to_zero(which)
        self._lay_terrain(mask)
        restart(self._copters, which, self._uniform(BLOCK_DRAWS, which))
        self._done &= ~mask
        self._was_reset = True
        return self._handed_out(self._observations()), {}

    def step(self, actions: Array) -> Results:
        """Takes one action in every environment.

        Args:
            actions: `[N]` integers, 0 climbs and 1 does nothing.

        Returns:
            Observations `[N, 7]`, rewards `[N]`, terminated `[N]` bool, truncated `[N]`
            bool and infos. With SAME_STEP, in a step in which an episode ends, infos
            has `"final_obs"` `[N, 7]`, what each environment saw before any restart,
            and the mask of those that ended, `"_final_obs"` `[N]`.

        Raises:
            ResetNeeded: before the first `reset`.
            InvalidAction: if the actions are not N integers, 0 or 1.
        """
        self._check_was_reset()
        return self.step_unchecked(self._checked_actions(actions))

    def step_unchecked(self, actions: Array) -> Results:
        """Takes a step as `step` does, with actions that are known to be right.

        Args:
            actions: `[N]` int64, 0 or 1, where the environment is.

        Returns:
            What `step` returns.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._check_was_reset()
        gained, terminated, passed = advance(self._copters, self._taken(actions))
        self._elapsed += 1
        truncated = self._is_late()
        rewards = gained + self._loss * terminated
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        if not same_step:
            # The environments that ended in the last step do nothing but restart.
            live = ~self._done
            terminated, truncated = terminated & live, truncated & live
            rewards, passed = rewards * live, passed & live
        self._place_blocks(passed)
        if self.render_mode is not None:
            self._returns += rewards
            self._crashed[:] = terminated
        done, infos = terminated | truncated, {}
        if same_step:
            seen = self._observations()
            if self._renew(done):
                infos = {"final_obs": seen, "_final_obs": done}
                seen = self._seen_again(seen, done)
        else:
            self._renew(self._done)
            seen = self._observations()
            self._done = done
        out = self._handed_out
        infos = {name: out(values) for name, values in infos.items()}
        return out(seen), out(rewards), out(terminated), out(truncated), infos

    def _check_was_reset(self) -> None:
        if not self._was_reset:
            raise ResetNeeded("step() was called before reset(): call reset() first")

    def _place_blocks(self, mask: Array) -> None:
        which = self._which(mask)
        if self._any(which):
            place_blocks(self._copters, which, self._uniform(BLOCK_DRAWS, which))

    def _lay_terrain(self, mask: Array) -> None:
        which = self._which(mask)
        if self._any(which):
            lay_terrain(self._copters, which, self._uniform(TERRAIN_DRAWS, which))

    def _renew(self, ended: Array) -> bool:
        """Starts episodes where some have ended, lays terrain wherever it is due.

        Terrain comes last in a step of the game, far from the player.

        Args:
            ended: `[N]` bool.

        Returns:
            Whether to look again: something may have restarted.
        """
        arrays, copters = self._arrays, self._copters
        which = self._which(ended)
        if self._any(which):
            self._back_to_zero(which)
        self._lay_terrain(arrays.take(copters.fresh, copters.clock))
        if self._any(which):
            restart(copters, which, self._uniform(BLOCK_DRAWS, which))
        return self._any(which) or self._always_looks_again

    def _back_to_zero(self, which: Array) -> None:
        self._arrays.fill(self._copters.clock, which, 0)
        self._arrays.fill(self._elapsed, which, 0)
        if self.render_mode is not None:
            self._arrays.fill(self._returns, which, 0.0)

    def _is_late(self) -> Array:
        """Whether the time is over, `[N]` bool."""
        if self.max_episode_steps is None:
            return self._arrays.xp.zeros_like(self._done)
        return self._elapsed >= self.max_episode_steps

    # What a vector env on another kind of array does in its own way.

    _always_looks_again = False
    """Whether `final_obs` is there in every step."""

    def _make_arrays(self) -> Arrays:
        return NumPyArrays()

    def _seed(self, seed: int) -> None:
        super().reset(seed=seed)

    def _uniform(self, n_rows: int, which: Array) -> Array:
        """Returns draws `[n_rows, n]` float64, uniform on [0, 1), for n games."""
        return self.np_random.random((n_rows, len(which)))

    def _any(self, which: Array) -> bool:
        """Whether there is anything to be done for these."""
        return len(which) > 0

    def _observations(self) -> Array:
        """Returns what is seen, `[N, 7]` float32, a fresh array."""
        return self._copters.seen.T.astype(np.float32, order="C")

    def _seen_again(self, seen: Array, restarted: Array) -> Array:
        """Returns a fresh array of what is seen once some have restarted."""
        again, which = seen.copy(), self._which(restarted)
        again[which] = self._copters.seen[:, which].T
        return again

    def _taken(self, actions: Array) -> Array:
        """Returns actions in the kind of array that computes."""
        return actions

    def _handed_out(self, values: Array) -> Array:
        """Returns fresh values in the kind of array that the user meets."""
        return values

    def _checked_mask(self, mask: Array) -> Array:
        return checked_mask(mask, self.num_envs, self._was_reset)

    def _checked_actions(self, actions: Array) -> Array:
        return checked_actions(actions, self.num_envs, 2)
