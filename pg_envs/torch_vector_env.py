"""Many copies of a tabular environment as tensors, on the CPU or a GPU."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.error import InvalidAction
from gymnasium.vector import AutoresetMode

from pg_envs.dynamics import Array, DynamicsTables, make_tables
from pg_envs.env import TabularEnv
from pg_envs.mdp import TabularMDP
from pg_envs.state import check_state
from pg_envs.vector_env import TabularVectorEnv

_DTYPES = {np.int64: torch.int64, np.float64: torch.float64, np.bool_: torch.bool}


class TorchTabularVectorEnv(TabularVectorEnv):
    """`TabularVectorEnv` whose states, draws and results are tensors on one device.

    Observations are float32 `[N, *shape]` or int64 `[N]`, rewards float32 `[N]`,
    `terminated` and `truncated` bool `[N]`. With SAME_STEP, `infos["final_obs"]` and
    its mask `"_final_obs"` are there in every step, so that no step has to ask the
    device whether an episode has ended.

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
        try:
            self._generator = torch.Generator(self.device)
        except RuntimeError as error:
            cuda = "'cuda' is too" if torch.cuda.is_available() else "'cuda' is not"
            raise ValueError(
                f"device must be one that torch can use here, got {str(device)!r}: "
                f"'cpu' is one, {cuda}"
            ) from error
        self._generator.seed()
        super().__init__(env, num_envs, max_episode_steps, autoreset_mode, render_mode)
        # For gymnasium's wrappers: this environment speaks in tensors.
        self.metadata = {**self.metadata, "torch": True}

    def _make_tables(self, mdp: TabularMDP) -> DynamicsTables:
        tables = make_tables(mdp)
        arrays: dict[str, Any] = {
            # Copied: torch has no read-only tensors, and the tables are shared.
            field.name: torch.tensor(value, device=self.device)
            for field in fields(tables)
            if isinstance(value := getattr(tables, field.name), np.ndarray)
        }
        return replace(tables, **arrays)

    def _seed(self, seed: int) -> None:
        super()._seed(seed)
        self._generator.manual_seed(seed)

    def _device_type(self) -> str:
        return self.device.type

    def _generator_state(self) -> dict[str, Any]:
        return {
            # Torch's own draws, and NumPy's, which nothing here draws from but which
            # reset() seeds too.
            "torch": self._generator.get_state().numpy().copy(),
            "numpy": super()._generator_state(),
        }

    def _set_generator_state(self, given: Any) -> None:  # noqa: ANN401
        check_state(given, {}, {"torch", "numpy"})
        trial = torch.Generator(self.device)
        try:
            trial.set_state(torch.from_numpy(given["torch"].copy()))
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(
                "state['generator']['torch'] must be the state of a generator of torch "
                f"on {self.device.type}, as get_state() returns, got {given['torch']!r}"
            ) from error
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

    def _zeros(self, dtype: type[np.generic]) -> Array:
        return torch.zeros(self.num_envs, dtype=_DTYPES[dtype], device=self.device)

    def _where(self, condition: Array, chosen: Array, otherwise: Array) -> Array:
        return torch.where(condition, chosen, otherwise)

    def _any_ended(self, done: Array) -> bool:
        return True

    def _rewards(self, reward: Array) -> Array:
        return reward.float()

    def _checked_mask(self, mask: Array) -> Array:
        given = mask.cpu() if isinstance(mask, torch.Tensor) else mask
        return torch.as_tensor(super()._checked_mask(given), device=self.device)

    def _checked_actions(self, actions: Array) -> Array:
        given = torch.as_tensor(actions, device=self.device)
        not_integer = given.is_floating_point() or given.is_complex()
        if given.shape != (self.num_envs,) or not_integer or given.dtype == torch.bool:
            raise InvalidAction(
                f"actions must be {self.num_envs} integers, one per environment, got "
                f"shape {list(given.shape)} of {given.dtype}"
            )
        if self.check_actions:
            super()._checked_actions(given.cpu().numpy())
        # Torch takes uint8 for a mask and knows no int16 index.
        return given.long()


def make_torch_vec(
    id: str,
    num_envs: int,
    device: torch.device | str = "cpu",
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    render_mode: str | None = None,
    check_actions: bool = True,
    **arguments: Any,
) -> TorchTabularVectorEnv:
    """Makes N copies of a registered tabular environment on a torch device.

    Args:
        id: a registered id, such as `"PGToy-Sequence-v0"`.
        num_envs: N, at least 1.
        device: where the tensors live, such as `"cpu"` or `"cuda"`.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `TabularVectorEnv`.
        render_mode: None or `"rgb_array"`.
        check_actions: whether to refuse actions outside the space, which on a GPU costs
            a wait in every step.
        **arguments: `max_episode_steps` (-1 for no limit) and the environment's own.

    Returns:
        The vector environment; every episode has the time limit of the registered id.

    Raises:
        TypeError: if the environment is not one of tables.
        ValueError: if an argument is out of range; the message names it.
    """
    env = gymnasium.make(id, render_mode=render_mode, **arguments)
    spec, single = env.spec, env.unwrapped
    if not isinstance(single, TabularEnv):
        env.close()
        raise TypeError(
            f"make_torch_vec needs an environment of tables, a pg_envs.TabularEnv; "
            f"{id!r} is a {type(single).__name__}"
        )
    limit = spec.max_episode_steps if spec is not None else None
    return TorchTabularVectorEnv(
        single, num_envs, device, limit, autoreset_mode, render_mode, check_actions
    )
