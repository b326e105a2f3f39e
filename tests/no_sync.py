"""Finds operations that would wait for a GPU, without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# The host waits for the result of these operators, whose size or type depends on data.
WAITING = {
    "aten::_local_scalar_dense",
    "aten::equal",
    "aten::is_nonzero",
    "aten::item",
    "aten::masked_select",
    "aten::nonzero",
    "aten::nonzero_numpy",
    "aten::repeat_interleave",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
}
# Python calls that move data to or from the host. On the CPU most of them are no
# operator; copies from pageable memory wait too.
MOVING = {
    "tolist",
    "numpy",
    "cpu",
    "item",
    "__array__",
    "__bool__",
    "__float__",
    "__index__",
    "__int__",
    "as_tensor",
    "tensor",
}


class Waits(AssertionError):  # noqa: N818
    """An operation would wait for the device."""


class NoSynchronisation(TorchDispatchMode):
    """Context in which operations that would wait for a GPU fail, on any device.

    It replaces `torch.cuda.set_sync_debug_mode("error")` on the CPU. It fails on values
    read by the host, results of data-dependent size, indexing with a mask, and tensors
    made from lists, numbers or arrays.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls = _NoMoves()

    def __enter__(self) -> NoSynchronisation:
        """Starts watching."""
        self._calls.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops watching."""
        super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        self._calls.__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operator, or fails if it would wait."""
        name = func._schema.name
        if name in WAITING or _indexes_with_a_mask(name, args):
            raise Waits(f"{name} would wait for the device")
        results = func(*args, **(kwargs or {}))
        tensors = [x for x in args if isinstance(x, torch.Tensor)]
        copies = name in ("aten::_to_copy", "aten::copy_") and tensors
        if copies and len({x.device.type for x in (*tensors, results)}) > 1:
            raise Waits(f"{name} copies between devices, which waits for the copy")
        return results


class _NoMoves(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        on_device = name == "as_tensor" and isinstance(args[0], torch.Tensor)
        if name in MOVING and not on_device:
            raise Waits(f"{name}() would wait for the device")
        return func(*args, **(kwargs or {}))


def _indexes_with_a_mask(name: str, args: tuple[Any, ...]) -> bool:
    if name not in ("aten::index", "aten::index_put", "aten::index_put_"):
        return False
    masks = (torch.bool, torch.uint8)
    return any(index is not None and index.dtype in masks for index in args[1])
