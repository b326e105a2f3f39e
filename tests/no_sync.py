"""Whether code would wait for a GPU, found out without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operators whose result depends on numbers that only the device knows: the host waits.
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
# What brings numbers to the host, or from it, seen where Python calls it: on the CPU
# most of it is no operation at all. Copies from ordinary memory wait as well.
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
    """What was run would wait for the device."""


class NoSynchronisation(TorchDispatchMode):
    """Within it, whatever would wait for a GPU fails, on whichever device it runs.

    On the CPU it stands in for `torch.cuda.set_sync_debug_mode("error")`. It fails on
    numbers read by the host, on results whose size depends on numbers, on indexing with
    a mask, and on tensors made of lists, numbers or arrays.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls = _NoMoves()

    def __enter__(self) -> NoSynchronisation:
        """Begins to watch."""
        self._calls.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Watches no more."""
        super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]
        self._calls.__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operator that does not wait."""
        name = func._schema.name
        if name in WAITING or _indexes_with_a_mask(name, args):
            raise Waits(f"{name} would wait for the device")
        results = func(*args, **(kwargs or {}))
        given = [x for x in args if isinstance(x, torch.Tensor)]
        moves = name in ("aten::_to_copy", "aten::copy_") and given
        if moves and len({x.device.type for x in (*given, results)}) > 1:
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
