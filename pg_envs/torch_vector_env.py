"""Many copies of a tabular environment as tensors, on the CPU or a GPU."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from torch import Tensor

from pg_envs.dynamics import Array, DynamicsTables, make_tables
from pg_envs.env import TabularEnv
from pg_envs.mdp import TabularMDP
from pg_envs.state import check_state
from pg_envs.timetable import make_timetable
from pg_envs.torch_device import (
    actions_on,
    generator_data,
    generator_like,
    make_generator,
    mask_on,
    rows,
    search,
)
from pg_envs.torch_timetable import TimetableSteps
from pg_envs.vector_env import TabularVectorEnv

_DTYPES = {np.int64: torch.int64, np.float64: torch.float64, np.bool_: torch.bool}


class TorchTabularVectorEnv(TabularVectorEnv):
    """`TabularVectorEnv` whose states, draws and results are tensors on one device.

    Observations are float32 `[N, *shape]` or int64 `[N]`, rewards float32 `[N]`,
    `terminated` and `truncated` bool `[N]`. With SAME_STEP, `infos["final_obs"]` and
    its mask `"_final_obs"` are there in every step, so that no step has to ask the
    device whether an episode has ended.

    Where nothing is drawn, neither start nor transition nor reward, and nothing is
    rendered, steps are looked up in a timetable (see `pg_envs.timetable`). Otherwise
    draws are made of what the tables leave open, and of nothing else.

    Args:
        env: an environment of the kind to be copied.
        num_envs: N, at least 1.
        device: where the tensors live, such as `"cpu"` or `"cuda"`.
        max_episode_steps: steps after which an episode is truncated; None for never.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `TabularVectorEnv`.
        render_mode: None or `"rgb_array"`.
        check_actions: whether to refuse actions outside the space. On a GPU this waits
            for the device in every step; without it such an action is undefined.
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
        self.device = torch.device(device)
        self.check_actions = check_actions
        self._generator = make_generator(self.device)
        super().__init__(env, num_envs, max_episode_steps, autoreset_mode, render_mode)
        # For gymnasium's wrappers: this environment speaks in tensors.
        self.metadata = {**self.metadata, "torch": True}
        self._has_dummy_steps = self.autoreset_mode is AutoresetMode.NEXT_STEP
        self._by_timetable = None if render_mode else self._timetable_steps()
        # What _state says where there is no timetable: reset() has to come first.
        self._started = False
        self._stepped = False

    @property
    def observation_table(self) -> Tensor:
        """All there is to see, `[S, *shape]`, as `step` returns it; a copy."""
        table: Tensor = self._tables.observations
        return table.clone()

    @property
    def observation_index(self) -> Tensor:
        """Which row of `observation_table` each environment sees now, `[N]` int64.

        After any restart: the observations that `reset` or `step` returned last are
        `observation_table[observation_index]`. Not a copy, to be left as it is; the
        environment does not change it either, the next step has a fresh one.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._check_was_reset()
        if self._by_timetable is not None:
            return self._by_timetable.state()
        state: Tensor = self._state
        return state

    @property
    def final_index(self) -> Tensor:
        """Which row of `observation_table` each environment saw last, `[N]` int64.

        Before any restart: `infos["final_obs"]` of the last step is
        `observation_table[final_index]`. To be asked for before the next step or reset.

        Raises:
            ResetNeeded: before the first step after a `reset`.
        """
        if not self._stepped:
            raise ResetNeeded("final_index was asked for before reset() and step()")
        if self._by_timetable is not None:
            return self._by_timetable.last_state()
        state: Tensor = self._last_state
        return state

    def step_unchecked(
        self, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Takes a step as `step` does, with actions that are known to be right.

        For a learner that draws them itself: on a GPU, looking at them would wait for
        the device. What other actions do is undefined.

        Args:
            actions: `[N]` int64 from 0 to A - 1, on the device.

        Returns:
            What `step` returns.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        steps = self._by_timetable
        if steps is None:
            results = super().step_unchecked(actions)
            self._stepped = True
            return results
        self._check_was_reset()
        self._stepped = True
        rewards, terminated, truncated, done = steps.step(actions)
        infos = {}
        if not self._has_dummy_steps:
            infos = {"final_obs": steps.last_seen(), "_final_obs": done}
        return steps.seen(), rewards, terminated, truncated, infos

    def _timetable_steps(self) -> TimetableSteps | None:
        timetable = make_timetable(
            make_tables(self.mdp), self.max_episode_steps, self._has_dummy_steps
        )
        if timetable is None:
            return None
        return TimetableSteps(
            timetable, self._tables.observations, self.mdp.n_actions, self.num_envs
        )

    def _start(self, mask: Tensor | None) -> None:
        self._started = True
        self._stepped = self._stepped and mask is not None
        if self._by_timetable is None:
            super()._start(mask)
        else:
            self._by_timetable.start(mask)

    @property
    def _was_reset(self) -> bool:
        return super()._was_reset if self._by_timetable is None else self._started

    def _columns(self) -> tuple[Array, Array, Array, Array] | None:
        if self._by_timetable is None or not self._started:
            return super()._columns()
        return self._by_timetable.columns()

    def _set_columns(self, columns: tuple[Array, Array, Array, Array] | None) -> None:
        self._started, self._stepped = columns is not None, False
        if self._by_timetable is None:
            super()._set_columns(columns)
        elif columns is not None:
            self._by_timetable.set_columns(columns, self._has_dummy_steps)

    def _make_tables(self, mdp: TabularMDP) -> DynamicsTables:
        tables = make_tables(mdp)
        arrays: dict[str, Any] = {
            # Copied: torch has no read-only tensors, and the tables are shared.
            field.name: torch.tensor(value, device=self.device)
            for field in fields(tables)
            if isinstance(value := getattr(tables, field.name), np.ndarray)
        }
        if mdp.reward_noise == "none":
            # As it is handed out; noise is added in double precision.
            arrays["reward"] = arrays["reward"].float()
        return replace(tables, **arrays, search=search)

    def _seed(self, seed: int) -> None:
        super()._seed(seed)
        self._generator.manual_seed(seed)

    def _device_type(self) -> str:
        return self.device.type

    def _generator_state(self) -> dict[str, Any]:
        return {
            # Torch's own draws, and NumPy's, which nothing here draws from but which
            # reset() seeds too.
            "torch": generator_data(self._generator),
            "numpy": super()._generator_state(),
        }

    def _set_generator_state(self, given: Any) -> None:  # noqa: ANN401
        check_state(given, {}, {"torch", "numpy"})
        trial = generator_like(self._generator, given["torch"])
        super()._set_generator_state(given["numpy"])
        # The same object, which a CUDA graph may know.
        self._generator.set_state(trial.get_state())

    def _to_numpy(self, values: Array) -> Array:
        return values.cpu().numpy()

    def _from_numpy(self, values: Array) -> Array:
        return torch.as_tensor(values, device=self.device)

    def _uniform(self, n_rows: int) -> Array:
        return torch.rand(
            (n_rows, self.num_envs),
            dtype=torch.float64,
            device=self.device,
            generator=self._generator,
        )

    def _draws(self) -> tuple[Array, ...]:
        tables = self._tables
        noise = 0 if tables.reward_noise == "none" else 2
        # Double precision takes time: only what the tables leave open is drawn.
        needed = (not tables.is_deterministic, tables.start is None)
        drawn = iter(self._uniform(sum(needed) + noise))
        return *(next(drawn) if draw else None for draw in needed), *drawn

    def _zeros(self, dtype: type[np.generic]) -> Array:
        return torch.zeros(self.num_envs, dtype=_DTYPES[dtype], device=self.device)

    def _where(self, condition: Array, chosen: Array, otherwise: Array) -> Array:
        return torch.where(condition, chosen, otherwise)

    def _any_ended(self, done: Array) -> bool:
        return True

    def _rewards(self, reward: Array) -> Array:
        return reward.float()

    def _observe(self, state: Array) -> Array:
        return rows(self._tables.observations, state)

    def _seen(self) -> Array:
        return (
            super()._seen()
            if self._by_timetable is None
            else (self._by_timetable.seen())
        )

    def _checked_mask(self, mask: Array) -> Array:
        return mask_on(self.device, mask, self.num_envs, self._was_reset)

    def _checked_actions(self, actions: Array) -> Array:
        return actions_on(
            self.device,
            actions,
            self.num_envs,
            self.mdp.n_actions,
            self.check_actions,
        )
