"""Many Pixelcopters as tensors, on the CPU or a GPU."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from pg_envs.pixelcopter_games import N_SEEN, Array, Arrays, NumPyArrays
from pg_envs.pixelcopter_vector import PixelcopterVectorEnv
from pg_envs.torch_device import (
    actions_on,
    generator_data,
    generator_like,
    make_generator,
    mask_on,
)


class TorchArrays:
    """`Arrays` of torch for a GPU, which is never waited for; `which` is a mask.

    Args:
        device: where the tensors live.
    """

    xp: ModuleType = torch

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def table(self, values: Any) -> Tensor:  # noqa: ANN401
        """Returns a NumPy array as a tensor of its own on the device."""
        return torch.tensor(values, device=self.device)

    def number(self, value: float) -> Tensor:
        """Returns a tensor without dimensions: a number would be made one each time."""
        return torch.tensor(value, dtype=torch.float64, device=self.device)

    def take(self, table: Tensor, index: Tensor) -> Tensor:
        """Returns `table[index]`."""
        return table.index_select(0, index)

    def pick(self, column: Tensor, which: Tensor) -> Tensor:
        """Returns all of it."""
        return column

    def put(self, rows: Tensor, which: Tensor, values: Tensor, axis: int) -> None:
        """Writes values where `which` is along an axis."""
        lined_up = which.unsqueeze(1) if axis == 0 and rows.dim() == 2 else which
        rows.copy_(torch.where(lined_up, values, rows))

    def fill(self, column: Tensor, which: Tensor, value: float) -> None:
        """Writes one value to `column[which]`."""
        column.masked_fill_(which, value)


class TorchPixelcopterVectorEnv(PixelcopterVectorEnv):
    """N independent games of Pixelcopter as tensors; see `PixelcopterEnv`.

    Observations are float32 `[N, 7]`, rewards float32 `[N]`, `terminated` and
    `truncated` bool `[N]`, all on the device; positions are float64, as in the game. On
    the CPU it is NumPy that computes, in memory that the tensors share: it is faster.
    With SAME_STEP, `infos["final_obs"]` and its mask `"_final_obs"` are there in every
    step, so that no step has to ask the device whether an episode has ended.

    Args:
        num_envs: N, at least 1.
        device: where the tensors live, such as `"cpu"` or `"cuda"`.
        max_episode_steps: steps after which an episode is truncated; None or -1 for
            never.
        autoreset_mode: `SAME_STEP` or `NEXT_STEP`, see `TabularVectorEnv`.
        render_mode: None or `"rgb_array"`.
        reward_scheme: `"original"` or `"course"`, see `PixelcopterEnv`.
        check_actions: whether to refuse actions other than 0 and 1. On a GPU this waits
            for the device in every step; without it such an action is undefined.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["rgb_array"],
        "torch": True,
    }
    _always_looks_again = True

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
        self.device = torch.device(device)
        self._generator = make_generator(self.device)
        self.check_actions = check_actions
        super().__init__(
            num_envs, max_episode_steps, autoreset_mode, render_mode, reward_scheme
        )

    @property
    def _on_numpy(self) -> bool:
        """Whether tensors and arrays share memory, and NumPy computes: on the CPU.

        Of thousand numbers each, NumPy takes half as long for an operation as torch.
        """
        return isinstance(self._arrays, NumPyArrays)

    def _make_arrays(self) -> Arrays:
        return NumPyArrays() if self.device.type == "cpu" else TorchArrays(self.device)

    def _seed(self, seed: int) -> None:
        super()._seed(seed)
        self._generator.manual_seed(seed)

    def _uniform(self, n_rows: int, which: Array) -> Array:
        draws = torch.rand(
            n_rows,
            len(which),
            generator=self._generator,
            dtype=torch.float64,
            device=self.device,
        )
        return draws.numpy() if self._on_numpy else draws

    def _which(self, mask: Array) -> Array:
        return super()._which(mask) if self._on_numpy else mask

    def _any(self, which: Array) -> bool:
        # A GPU would be waited for: it always computes for all.
        return super()._any(which) if self._on_numpy else True

    def _observations(self) -> Array:
        if self._on_numpy:
            return super()._observations()
        seen = torch.empty(self.num_envs, N_SEEN, device=self.device)
        # Written along the rows, in half the time of a transposition.
        seen.t().copy_(self._copters.seen)
        return seen

    def _seen_again(self, seen: Array, restarted: Array) -> Array:
        if self._on_numpy:
            return super()._seen_again(seen, restarted)
        return self._observations()

    def _taken(self, actions: Tensor) -> Array:
        return actions.numpy() if self._on_numpy else actions

    def _handed_out(self, values: Array) -> Tensor:
        tensor = torch.from_numpy(values) if self._on_numpy else values
        return tensor.float() if tensor.dtype == torch.float64 else tensor

    def _checked_mask(self, mask: Any) -> Array:  # noqa: ANN401
        given = mask_on(self.device, mask, self.num_envs, self._was_reset)
        return given.numpy() if self._on_numpy else given

    def _checked_actions(self, actions: Any) -> Tensor:  # noqa: ANN401
        return actions_on(self.device, actions, self.num_envs, 2, self.check_actions)

    def _device_type(self) -> str:
        return self.device.type

    def _generator_state(self) -> Any:  # noqa: ANN401
        return generator_data(self._generator)

    def _set_generator_state(self, given: Any) -> None:  # noqa: ANN401
        # The same object, which a CUDA graph may know.
        self._generator.set_state(generator_like(self._generator, given).get_state())

    def _to_numpy(self, values: Array) -> Any:  # noqa: ANN401
        return values.copy() if self._on_numpy else values.cpu().numpy().copy()
