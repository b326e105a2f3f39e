"""N copies of a tabular environment, stepped together on NumPy or torch."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode

from pg_envs.dynamics import (
    DynamicsTables,
    add_noise,
    advance,
    initial_state,
    make_tables,
)
from pg_envs.mdp import TabularMDP
from pg_envs.rendering.scene import Scene, Snapshot
from pg_envs.state import digest
from pg_envs.tabular import TabularEnv
from pg_envs.vector.backend import Array, Backend, NumpyBackend, TorchBackend
from pg_envs.vector.base import BatchedEnv

if TYPE_CHECKING:
    import torch


class TabularVectorEnv(BatchedEnv):
    """N independent copies of a `TabularEnv` on NumPy, as one batch of states.

    Action Space:
        `MultiDiscrete` of N times A actions.

    Observation Space:
        Observations of the N copies, stacked: `[N, *shape]` float32 or `[N]` int64.

    Rewards:
        `[N]` float64, those of the tables.

    Episode End:
        Terminated as the tables say; truncated after `max_episode_steps`.

    Arguments:
        env: an environment of the kind to be copied; it draws the frames.
        num_envs: N, at least 1.
        max_episode_steps: time limit; None or -1 for none.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `BatchedEnv`.
        render_mode: None or `"rgb_array"`.
        backend: the array library; NumPy by default.
        check_actions: whether `step` refuses actions outside the space.

    Attributes:
        mdp: the tables.

    Raises:
        ValueError: if an argument is out of range; the message names it.
        TypeError: if `env` is no `TabularEnv`, or wrapped.
    """

    def __init__(
        self,
        env: TabularEnv,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        *,
        backend: Backend | None = None,
        check_actions: bool = True,
    ) -> None:
        if not isinstance(env, TabularEnv):
            raise TypeError(
                "env must be a TabularEnv without wrappers, such as SequenceEnv() or "
                f"gymnasium.make(id).unwrapped, got {env!r}"
            )
        super().__init__(
            backend or NumpyBackend(),
            env.observation_space,
            env.action_space,
            num_envs,
            max_episode_steps,
            autoreset_mode,
            render_mode,
            check_actions,
        )
        self.mdp: TabularMDP = env.mdp
        self._single = env
        self._tables = _tables_on(self.backend, make_tables(env.mdp))
        self._state: Array = self._zeros(np.int64)
        # Where the episodes start that begin in this step.
        self._start_state: Array = self._state
        self._previous_state: Array = self._zeros(np.int64)

    @property
    def state(self) -> Array:
        """Current state of every environment, `[N]` int64; None before `reset`."""
        return deepcopy(self._state) if self._was_reset else None

    def _uniform(self, n_rows: int) -> Array:
        return self.backend.uniform(n_rows, self.num_envs)

    def _draw(self) -> tuple[Array, ...]:
        """Draws the numbers of a step, `[N]` each: transition, restart, then noise.

        If the tables leave nothing open, nothing is drawn. Otherwise NumPy draws two or
        four rows. On a device, double precision takes time: torch draws only what the
        tables leave open, None stands for the rest.
        """
        tables = self._tables
        if not tables.is_random:
            return None, None
        n_noise = 0 if tables.reward_noise == "none" else 2
        if not self.backend.is_torch:
            return tuple(self._uniform(2 + n_noise))
        is_drawn = (not tables.is_deterministic, tables.start is None)
        rows = iter(self._uniform(sum(is_drawn) + n_noise))
        return *(next(rows) if drawn else None for drawn in is_drawn), *rows

    def _start(self, mask: Array) -> None:
        draws = None
        if self._tables.is_random and (self.backend.is_torch or mask.all()):
            draws = self._uniform(1)[0]
        elif self._tables.is_random:
            # Only they draw: the generators of other groups stay where they are.
            rows, draws = self.backend.rows(mask), self._zeros(np.float64)
            self.backend.put(
                draws, rows, self.backend.uniform(1, self.num_envs, rows)[0]
            )
        self._start_state = initial_state(self._tables, draws)
        self._end_step(mask)

    def _transition(self, actions: Array) -> tuple[Array, Array]:
        transition, start, *noise = self._draw()
        self._start_state = initial_state(self._tables, start)
        state, rewards, terminated = advance(
            self._tables, self._state, actions, transition
        )
        if noise:
            rewards = add_noise(self._tables, rewards, *noise)
        self._previous_state, self._state = self._state, state
        return rewards, terminated

    def _end_step(self, ended: Array) -> None:
        self._state = self.backend.xp.where(ended, self._start_state, self._state)

    def _observe(self) -> Array:
        return self._tables.look_up(self._tables.observations, self._state)

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "mdp": digest(self.mdp)}

    def _columns(self) -> dict[str, Array]:
        return {"state": self._state, "previous_state": self._previous_state}

    def _set_columns(self, columns: dict[str, Array]) -> None:
        self._state = columns["state"]
        self._previous_state = columns["previous_state"]

    def _column_bounds(self) -> dict[str, tuple[int, int]]:
        states = dict.fromkeys(self._columns(), (0, self.mdp.n_states - 1))
        return {**super()._column_bounds(), **states}

    def _scene(self, i: int) -> Scene:
        state, step = int(self._state[i]), int(self._elapsed[i])
        if step == 0:
            return self._single.scene(Snapshot(state, None, None, 0, 0.0))
        snapshot = Snapshot(
            state=state,
            action=int(self._last_actions[i]),
            reward=float(self._last_rewards[i]),
            step=step,
            episode_return=float(self._returns[i]),
            terminated=bool(self._last_terminated[i]),
            previous_state=int(self._previous_state[i]),
        )
        return self._single.scene(snapshot)


class TorchTabularVectorEnv(TabularVectorEnv):
    """N independent copies of a `TabularEnv` as tensors on one device.

    Action Space:
        `[N]` int64, from 0 to A - 1.

    Observation Space:
        `[N, *shape]` float32 or `[N]` int64.

    Rewards:
        `[N]` float32, those of the tables.

    Episode End:
        Terminated as the tables say; truncated after `max_episode_steps`.

    Arguments:
        env: an environment of the kind to be copied; it draws the frames.
        num_envs: N, at least 1.
        device: where the tensors live, such as `"cpu"` or `"cuda"`.
        max_episode_steps: time limit; None or -1 for none.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `BatchedEnv`.
        render_mode: None or `"rgb_array"`.
        check_actions: whether `step` refuses actions outside the space, for which it
            synchronises with a GPU in every step.
    """

    def __init__(
        self,
        env: TabularEnv,
        num_envs: int,
        device: torch.device | str,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        check_actions: bool = True,
    ) -> None:
        super().__init__(
            env,
            num_envs,
            max_episode_steps,
            autoreset_mode,
            render_mode,
            backend=TorchBackend(device),
            check_actions=check_actions,
        )


def _tables_on(backend: Backend, tables: DynamicsTables) -> DynamicsTables:
    """Copies tables to a backend; NumPy reads those of the MDP, which never change."""
    if not isinstance(backend, TorchBackend):
        return tables
    arrays: dict[str, Any] = {
        field.name: backend.array(value)
        for field in fields(tables)
        if isinstance(value := getattr(tables, field.name), np.ndarray)
    }
    return replace(tables, **arrays)


def vector_entry_point(env_class: Callable[..., TabularEnv]) -> Any:  # noqa: ANN401
    """Returns the function that `gymnasium.make_vec` calls for a class of environments.

    It hands arguments that are not those of `TabularVectorEnv` to the environment.
    """

    def make(
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> TabularVectorEnv:
        env = env_class(render_mode=render_mode, **arguments)
        return TabularVectorEnv(
            env, num_envs, max_episode_steps, autoreset_mode, render_mode
        )

    return make
