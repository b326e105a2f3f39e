"""The array libraries that vector environments compute with: NumPy and torch.

What both libraries name alike is called through `Backend.xp`, such as `xp.where`. A
backend adds what they do differently: random numbers, copies, and updates of some rows.
Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import getitem
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pg_envs.dynamics import index_select
from pg_envs.vector.generators import Generators

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Any
"""A NumPy array or a torch tensor. They share no type, only operators."""


class NumpyBackend:
    """NumPy arrays; random numbers are those of `numpy.random.Generator`s."""

    is_torch = False
    device_type = "numpy"
    xp: ModuleType = np
    look_up = staticmethod(getitem)

    def __init__(self) -> None:
        self.generators = Generators.from_seeds([None])

    def seed(self, seeds: Sequence[int]) -> None:
        """Seeds one generator, or one of each group, as Gymnasium does."""
        self.generators = Generators.from_seeds(seeds)

    def generator_state(self) -> Any:  # noqa: ANN401
        """Returns the state of the generator as plain data; a list of several."""
        return self.generators.state()

    def set_generator_state(self, state: Any, num_envs: int) -> None:  # noqa: ANN401
        """Restores the generators; raises a ValueError if it is no such state."""
        self.generators = Generators.from_state(state, num_envs)

    def uniform(self, n_rows: int, num_envs: int, rows: Array = None) -> Array:
        """Draws `[n_rows, n]` float64 numbers, uniform on [0, 1).

        Args:
            n_rows: numbers per environment.
            num_envs: number of all environments, N.
            rows: the n environments that draw, as `rows` returns them; None for all.
        """
        return self.generators.uniform(n_rows, num_envs, rows)

    def array(self, values: Array) -> Array:
        """Copies a NumPy array to an array of this backend."""
        return np.array(values)

    def to_numpy(self, values: Array) -> Array:
        """Copies any array or sequence to a NumPy array."""
        return np.array(values)

    def stack(self, columns: list[Array]) -> Array:
        """Stacks k columns `[N]` to an array `[N, k]`."""
        # Several times as fast as np.stack.
        return np.array(columns).T

    def float32(self, values: Array) -> Array:
        """Copies to single precision."""
        return values.astype(np.float32, order="C")

    def rewards(self, rewards: Array) -> Array:
        """Converts rewards to the precision that `step` returns: float64."""
        return rewards

    def actions(self, actions: Any) -> tuple[Array, bool]:  # noqa: ANN401
        """Returns actions, as int64 if they are integers, and whether they are."""
        array = np.asarray(actions)
        if array.dtype.kind not in "iu":
            return array, False
        return array.astype(np.int64, copy=False), True

    def rows(self, mask: Array) -> Array:
        """Returns the rows of a mask `[N]` bool, in the form `take` and `put` read.

        These are the indices `[n]`. On a GPU, counting the rows would synchronise with
        the device: the mask itself stands for them, and n is N.
        """
        return np.flatnonzero(mask)

    def take(self, array: Array, rows: Array) -> Array:
        """Returns the rows of an array, `[n, ...]`."""
        return array[rows]

    def put(self, array: Array, rows: Array, values: Array) -> None:
        """Writes values `[n, ...]` to the rows of an array, in place."""
        array[rows] = values


class TorchBackend:
    """Tensors on one device, drawn from a `torch.Generator`; see `NumpyBackend`.

    Args:
        device: where the tensors live.

    Raises:
        ValueError: if torch cannot use the device.
    """

    is_torch = True
    look_up = staticmethod(index_select)

    def __init__(self, device: torch.device | str) -> None:
        self.device: torch.device = self.xp.device(device)
        try:
            self.generator: torch.Generator = self.xp.Generator(self.device)
        except RuntimeError as error:
            cuda = "'cuda' too" if self.xp.cuda.is_available() else "'cuda' is not"
            raise ValueError(
                f"device must be one that torch can use here, got {str(device)!r}: "
                f"'cpu' is available, {cuda}"
            ) from error
        self.generator.seed()

    @property
    def xp(self) -> ModuleType:
        """The module torch, imported on first use."""
        import torch

        return torch

    @property
    def device_type(self) -> str:
        """`"cpu"`, `"cuda"` or the like."""
        return self.device.type

    @property
    def may_synchronise(self) -> bool:
        """Whether reading numbers back costs no wait, as on the CPU."""
        return self.device.type == "cpu"

    def seed(self, seeds: Sequence[int]) -> None:
        """Seeds the generator; raises a ValueError if there are seeds of groups."""
        if len(seeds) > 1:
            raise ValueError(
                "seed must be one integer on torch, where all environments share one "
                f"generator, got {len(seeds)} seeds; NumPy accepts one for each group"
            )
        self.generator.manual_seed(seeds[0])

    def generator_state(self) -> Any:  # noqa: ANN401
        """Returns the state of the generator as an array of uint8."""
        return self.generator.get_state().numpy().copy()

    def set_generator_state(self, state: Any, num_envs: int) -> None:  # noqa: ANN401
        """Restores the generator; raises a ValueError if it is no such state."""
        trial = self.xp.Generator(self.device)
        try:
            trial.set_state(self.xp.from_numpy(state.copy()))
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(
                "state['generator'] must be the state of a torch generator on "
                f"{self.device.type}, as get_state() returns, got {state!r}"
            ) from error
        self.generator = trial

    def uniform(self, n_rows: int, num_envs: int, rows: Array = None) -> Array:
        """Draws float64 numbers, see `NumpyBackend.uniform`."""
        return self.xp.rand(
            (n_rows, num_envs if rows is None else len(rows)),
            dtype=self.xp.float64,
            device=self.device,
            generator=self.generator,
        )

    def array(self, values: Array) -> Array:
        """Copies a NumPy array to a tensor."""
        return self.xp.tensor(values, device=self.device)

    def to_numpy(self, values: Array) -> Array:
        """Copies any tensor, array or sequence to a NumPy array."""
        return self.xp.as_tensor(values).cpu().numpy().copy()

    def stack(self, columns: list[Array]) -> Array:
        """Stacks k columns `[N]` to a tensor `[N, k]`."""
        return self.xp.stack(columns, 1)

    def float32(self, values: Array) -> Array:
        """Copies to single precision."""
        return values.to(self.xp.float32, copy=True)

    def rewards(self, rewards: Array) -> Array:
        """Converts rewards to the precision that `step` returns: float32."""
        return rewards.float()

    def actions(self, actions: Any) -> tuple[Array, bool]:  # noqa: ANN401
        """Returns actions, as int64 if they are integers, and whether they are."""
        tensor = self.xp.as_tensor(actions, device=self.device)
        is_number = not (tensor.is_floating_point() or tensor.is_complex())
        if not is_number or tensor.dtype == self.xp.bool:
            return tensor, False
        # torch reads uint8 as a mask and does not index with int16.
        return tensor.long(), True

    def rows(self, mask: Array) -> Array:
        """Returns the rows of a mask `[N]` bool, see `NumpyBackend.rows`."""
        return mask.nonzero().view(-1) if self.may_synchronise else mask

    def take(self, array: Array, rows: Array) -> Array:
        """Returns the rows of a tensor; all of them on a GPU."""
        return array.index_select(0, rows) if self.may_synchronise else array

    def put(self, array: Array, rows: Array, values: Array) -> None:
        """Writes values to the rows of a tensor, in place."""
        if self.may_synchronise:
            array.index_copy_(0, rows, values)
        else:
            mask = rows.view(-1, *[1] * (array.dim() - 1))
            array.copy_(self.xp.where(mask, values, array))


Backend: TypeAlias = NumpyBackend | TorchBackend
