"""Many copies of a tabular environment stepped at once, on NumPy."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from pg_envs.dynamics import (
    Array,
    DynamicsTables,
    add_noise,
    advance,
    initial_state,
    make_tables,
)
from pg_envs.env import TabularEnv, observation_space
from pg_envs.mdp import TabularMDP, check_choice
from pg_envs.rendering.scene import Snapshot
from pg_envs.vector_arguments import (
    check_count,
    checked_actions,
    checked_autoreset_mode,
    checked_mask,
)
from pg_envs.vector_state import KeptVectorEnv


class TabularVectorEnv(KeptVectorEnv):
    """N independent copies of a tabular environment, as one batch of states.

    Every step draws the same number of uniforms for every environment, in rows: one for
    the transition, one for the state it may restart in, and two for the noise on the
    reward where there is some. What `TorchTabularVectorEnv` does otherwise is in the
    underscore methods at the end.

    Args:
        env: an environment of the kind to be copied; it draws the frames.
        num_envs: N, at least 1.
        max_episode_steps: steps after which an episode is truncated; None for never.
        autoreset_mode: `SAME_STEP`: an ended episode restarts within the step, and what
            was seen last is in `infos["final_obs"]`. `NEXT_STEP` (Gymnasium's default):
            it restarts in the step after, whose action is ignored and reward 0.
        render_mode: None or `"rgb_array"`.

    Raises:
        ValueError: if an argument is out of range; the message names it.
        TypeError: if `env` is no `TabularEnv`, or wrapped.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        env: TabularEnv,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        if not isinstance(env, TabularEnv):
            raise TypeError(
                "env must be a TabularEnv without wrappers, such as SequenceEnv() or "
                f"gymnasium.make(id).unwrapped, got {env!r}"
            )
        check_count("num_envs", num_envs)
        if max_episode_steps is not None:
            check_count("max_episode_steps", max_episode_steps)
        check_choice("render_mode", render_mode, (None, "rgb_array"))
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.autoreset_mode = checked_autoreset_mode(autoreset_mode)
        # `reset_mask`: reset(options={"reset_mask": mask}) restarts some and not all,
        # which lets an adapter turn NEXT_STEP into SAME_STEP.
        self.metadata = {
            **type(self).metadata,
            "autoreset_mode": self.autoreset_mode,
            "reset_mask": True,
        }
        self.render_mode = render_mode
        self.mdp: TabularMDP = env.mdp
        self.single_observation_space = observation_space(env.mdp)
        self.single_action_space = env.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._painter = env
        self._tables = self._make_tables(env.mdp)
        # Per environment: state, steps and undiscounted return of the episode so far,
        # and whether it ended in the last step. No state: reset() has to come first.
        self._state: Array = None
        self._elapsed: Array = None
        self._returns: Array = None
        self._done: Array = None
        # The state before any restart.
        self._last_state: Array = None
        # What was done last, for the pictures: state before, action, reward, end.
        self._last: tuple[Array, Array, Array, Array] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts an episode in every environment, or in those of a mask.

        Args:
            seed: seeds the one generator of all environments; None goes on with it.
            options: `{"reset_mask": mask}`, `[N]` bool, restarts these environments.

        Returns:
            Observations `[N, ...]` and an empty info.

        Raises:
            ValueError: if the mask is not `[N]` bool.
            ResetNeeded: if there is a mask before the first whole reset.
        """
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            mask = self._checked_mask(mask)
        if seed is not None:
            self._seed(seed)
        self._start(mask)
        return self._seen(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Takes one action in every environment.

        Args:
            actions: `[N]` integers from 0 to A - 1.

        Returns:
            Observations `[N, ...]`, rewards `[N]`, terminated `[N]` bool, truncated
            `[N]` bool and infos. With SAME_STEP, in a step in which an episode ends,
            infos has `"final_obs"` `[N, ...]`, what each environment saw before any
            restart, and the mask of those that ended, `"_final_obs"` `[N]`.

        Raises:
            ResetNeeded: before the first `reset`.
            InvalidAction: if the actions are not N integers within the action space.
        """
        self._check_was_reset()
        return self.step_unchecked(self._checked_actions(actions))

    def step_unchecked(
        self, actions: Array
    ) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Takes a step as `step` does, with actions that are known to be right.

        For a learner that draws them itself: on a GPU, looking at them would wait for
        the device. What other actions do is undefined.

        Args:
            actions: `[N]` int64 from 0 to A - 1, where the environment is.

        Returns:
            What `step` returns.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._check_was_reset()
        transition, again, *noise = self._draws()
        state, reward, terminated = advance(
            self._tables, self._state, actions, transition
        )
        if noise:
            reward = add_noise(self._tables, reward, *noise)
        restart = initial_state(self._tables, again)
        elapsed = self._elapsed + 1
        truncated = elapsed >= (self.max_episode_steps or np.inf)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            # The environments that ended in the last step do nothing but restart.
            live = ~self._done
            state = self._where(live, state, restart)
            reward, terminated, truncated, elapsed, self._returns = (
                column * live
                for column in (reward, terminated, truncated, elapsed, self._returns)
            )
        if self.render_mode is not None:
            self._returns = self._returns + reward
            # Copied: the caller owns the actions and is handed the rest.
            self._last = deepcopy((self._state, actions, reward, terminated))
        self._state = self._last_state = state
        self._elapsed, self._done = elapsed, terminated | truncated
        infos = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            infos = self._restart_ended(restart)
        rewards = self._rewards(reward)
        return self._observe(self._state), rewards, terminated, truncated, infos

    def _check_was_reset(self) -> None:
        if not self._was_reset:
            raise ResetNeeded("step() was called before reset(): call reset() first")

    @property
    def _was_reset(self) -> bool:
        return self._state is not None

    def _start(self, mask: Array | None) -> None:
        """Starts an episode in the environments of a mask, None for all."""
        start = initial_state(self._tables, self._uniform(1)[0])
        if mask is None:
            self._state = start
            self._elapsed = self._zeros(np.int64)
            self._returns = self._zeros(np.float64)
            self._done = self._zeros(np.bool_)
        else:
            self._state = self._where(mask, start, self._state)
            self._elapsed = self._elapsed * ~mask
            self._returns = self._returns * ~mask
            self._done = self._done & ~mask

    def _restart_ended(self, restart: Array) -> dict[str, Any]:
        """Restarts what has just ended; returns what was seen before, as infos."""
        if not self._any_ended(self._done):
            return {}
        infos = {"final_obs": self._observe(self._state), "_final_obs": self._done}
        self._state = self._where(self._done, restart, self._state)
        self._elapsed = self._elapsed * ~self._done
        self._returns = self._returns * ~self._done
        return infos

    @property
    def state(self) -> Array:
        """Present state of every environment, `[N]` int64; None before `reset`."""
        columns = self._columns()
        return None if columns is None else deepcopy(columns[0])

    def render(self) -> tuple[Any, ...] | None:
        """Returns N frames, `[H, W, 3]` uint8 each; None without a render mode."""
        if self.render_mode is None:
            return None
        if not self._was_reset:
            raise ResetNeeded("render() was called before reset(): nothing to draw yet")
        snapshots = (self._snapshot(i) for i in range(self.num_envs))
        return tuple(self._painter.frame(snapshot) for snapshot in snapshots)

    def close_extras(self, **kwargs: object) -> None:
        """Frees the surface that frames were drawn on."""
        self._painter.close()

    def _snapshot(self, i: int) -> Snapshot:
        state, elapsed = int(self._state[i]), int(self._elapsed[i])
        # A restarted environment has taken no action yet.
        if self._last is None or elapsed == 0:
            return Snapshot(state, None, None, 0, 0.0)
        before, action, reward, terminated = (column[i].item() for column in self._last)
        return Snapshot(
            state,
            action,
            reward,
            elapsed,
            float(self._returns[i]),
            terminated,
            previous_state=before,
        )

    # What a vector env on another kind of array does in its own way.

    def _make_tables(self, mdp: TabularMDP) -> DynamicsTables:
        return make_tables(mdp)

    def _seed(self, seed: int) -> None:
        super().reset(seed=seed)

    def _uniform(self, n_rows: int) -> Array:
        """Returns `[n_rows, N]` float64 draws, uniform on [0, 1)."""
        return self.np_random.random((n_rows, self.num_envs))

    def _draws(self) -> tuple[Array, ...]:
        """Returns the draws of a step, `[N]` each: transition, restart, then noise."""
        return tuple(self._uniform(2 if self._tables.reward_noise == "none" else 4))

    def _zeros(self, dtype: type[np.generic]) -> Array:
        return np.zeros(self.num_envs, dtype=dtype)

    def _where(self, condition: Array, chosen: Array, otherwise: Array) -> Array:
        return np.where(condition, chosen, otherwise)

    def _any_ended(self, done: Array) -> bool:
        """Whether to look for ended episodes at all."""
        return bool(done.any())

    def _observe(self, state: Array) -> Array:
        # Indexing with an array copies: what is handed out is nobody else's.
        return self._tables.observations[state]

    def _seen(self) -> Array:
        return self._observe(self._state)

    def _rewards(self, reward: Array) -> Array:
        return reward

    def _checked_mask(self, mask: Array) -> Array:
        return checked_mask(mask, self.num_envs, self._was_reset)

    def _checked_actions(self, actions: Array) -> Array:
        return checked_actions(actions, self.num_envs, self.mdp.n_actions)


def vector_entry_point(env_class: Callable[..., TabularEnv]) -> Any:  # noqa: ANN401
    """Returns the function that `gymnasium.make_vec` calls for a class of environments.

    What is not an argument of `TabularVectorEnv` goes to the environment.
    """

    def make(
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> TabularVectorEnv:
        env = env_class(render_mode=render_mode, **arguments)
        # As in gymnasium.make, -1 is no limit.
        limit = None if max_episode_steps == -1 else max_episode_steps
        return TabularVectorEnv(env, num_envs, limit, autoreset_mode, render_mode)

    return make
