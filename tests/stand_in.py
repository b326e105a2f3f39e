"""A stand-in for a GPU, with which tests find tensors on the wrong device.

torch has a device without hardware, `"meta"`, whose tensors have no data. Within
`StandIn()` they have: each wraps a tensor on the CPU. Operators run on the CPU, with
its random numbers, and refuse operands on different devices, as a GPU does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any
from unittest import mock

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")
# Of tests that run on the stand-in and on a GPU, if there is one.
DEVICES = ["meta", pytest.param("cuda", marks=pytest.mark.gpu)]

# The host waits for the result of these operators, whose size or type depends on data.
WAITING = {
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::bincount",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::repeat_interleave",
    "aten::unique_consecutive",
    "aten::unique_dim",
}
# Given "meta" as the device, these would make a tensor without data.
FROM_HOST = (torch.tensor, torch.as_tensor, torch.asarray)


class WrongDevice(AssertionError):  # noqa: N818
    """An operator got tensors on different devices."""


class DeviceTensor(torch.Tensor):
    """A tensor on the stand-in.

    Args:
        data: the same tensor on the CPU.
    """

    data_on_cpu: torch.Tensor
    # torch warns of weights that are copied to parameters without data.
    is_meta = False
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: Any, data: torch.Tensor) -> DeviceTensor:
        tensor: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            data.shape,
            strides=data.stride(),
            storage_offset=data.storage_offset(),
            dtype=data.dtype,
            device=DEVICE,
        )
        tensor.data_on_cpu = data
        return tensor

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        raise RuntimeError("a tensor of the stand-in is used outside of StandIn()")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("a tensor on a GPU can't be converted to NumPy: copy it first")

    # Files get what torch saves of a tensor on a GPU, without the device.
    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.detach().cpu().__reduce_ex__(protocol)


class StandIn(TorchDispatchMode):
    """Context in which `"meta"` is a device with data.

    Attributes:
        waits: operations so far for which the host would have waited for a GPU, each
            with the line of our packages that asked: numbers read by the host, copies
            from or to it, indexing with a mask, and other results whose size depends on
            data.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[str] = []

    def __enter__(self) -> StandIn:
        self._stack = ExitStack()
        for name, replacement in (("Generator", _Generator), ("load", _load)):
            self._stack.enter_context(mock.patch.object(torch, name, replacement))
        future = torch.__future__
        swaps = future.get_swap_module_params_on_conversion()
        # A module that moves keeps its parameters, as optimisers expect.
        future.set_swap_module_params_on_conversion(True)
        self._stack.callback(future.set_swap_module_params_on_conversion, swaps)
        self._stack.enter_context(_FromHost())
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._stack.close()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        tensors = _tensors(args, kwargs)
        devices = [x.device.type for x in tensors]
        moves = name in ("aten::_to_copy", "aten::copy_")
        wanted = args[0].device if name == "aten::copy_" else kwargs.get("device")
        on_device = "meta" in devices if wanted is None else wanted.type == "meta"
        if moves:
            if ("meta" in devices) != on_device or len(set(devices)) > 1:
                self._wait(name)
        elif "meta" in devices:
            # A number may come from the CPU, if it is no index.
            is_index = name.startswith("aten::index")
            for x, device in zip(tensors, devices, strict=True):
                if device != "meta" and (x.dim() > 0 or is_index):
                    raise WrongDevice(f"{name} got tensors on {devices}")
            if name in WAITING or _indexes_with_a_mask(name, args):
                self._wait(name)
        results = func(*_mapped(_to_cpu, args), **_mapped(_to_cpu, dict(kwargs)))
        if not on_device:
            return results
        # An operator that writes to its operand returns it.
        operands = {
            id(x.data_on_cpu): x for x in tensors if isinstance(x, DeviceTensor)
        }

        def wrapped(x: Any) -> Any:
            if not isinstance(x, torch.Tensor):
                return x
            return operands[id(x)] if id(x) in operands else DeviceTensor(x)

        return _mapped(wrapped, results)

    def _wait(self, name: str) -> None:
        frame = sys._getframe()
        while frame.f_back is not None:
            frame = frame.f_back
            module = frame.f_globals.get("__name__", "")
            if module.startswith(("pg_agents.", "pg_envs.")):
                name = f"{name} in {module}, line {frame.f_lineno}"
                break
        self.waits.append(name)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """As torch's `tree_map`, which would take half of the time of these tests."""
    if isinstance(value, list | tuple):
        return type(value)([_mapped(function, each) for each in value])
    if isinstance(value, dict):
        return {key: _mapped(function, each) for key, each in value.items()}
    return function(value)


def _tensors(*values: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.append(value)

    _mapped(add, values)
    return found


def _indexes_with_a_mask(name: str, args: tuple[Any, ...]) -> bool:
    if name not in ("aten::index", "aten::index_put", "aten::index_put_"):
        return False
    masks = (torch.bool, torch.uint8)
    return any(index is not None and index.dtype in masks for index in args[1])


def _to_cpu(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.data_on_cpu
    if isinstance(value, torch.device) and value.type == "meta":
        return torch.device("cpu")
    return value


class _FromHost(TorchFunctionMode):
    """Makes tensors of the host's values on the CPU, and copies them."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        settings = dict(kwargs or {})
        if func in FROM_HOST and not isinstance(args[0], torch.Tensor):
            device = settings.pop("device", None)
            made = func(*args, **settings)
            return made if device is None else made.to(device)
        return func(*args, **settings)


_TORCH_GENERATOR, _TORCH_LOAD = torch.Generator, torch.load


class _GeneratorType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _TORCH_GENERATOR)


class _Generator(metaclass=_GeneratorType):
    """Makes generators; the stand-in's are on the CPU."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return _TORCH_GENERATOR(_to_cpu(torch.device(device)))


def _load(file: Any, map_location: Any = None, **settings: Any) -> Any:
    """Reads a file to the CPU and copies what it reads to the stand-in."""
    if map_location is None or torch.device(map_location) != DEVICE:
        return _TORCH_LOAD(file, map_location, **settings)
    return _mapped(
        lambda x: x.to(DEVICE) if isinstance(x, torch.Tensor) else x,
        _TORCH_LOAD(file, "cpu", **settings),
    )


class SameRandomNumbers(TorchDispatchMode):
    """Context in which operators on any device draw the CPU's random numbers.

    Runs on a GPU can then be compared with runs on the CPU.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # By generator on a device, which is stored to keep its id.
        self._twins: dict[tuple[int, int], tuple[Any, torch.Generator]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        tensors = _tensors(args, kwargs)
        device = kwargs.get("device") or (tensors[0].device if tensors else "cpu")
        on_cpu = func(*_mapped(self._to_cpu, args), **_mapped(self._to_cpu, kwargs))
        if func._schema.is_mutable:
            return args[0].copy_(on_cpu)
        return _mapped(lambda x: x.to(device), on_cpu)

    def _to_cpu(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.cpu()
        if isinstance(value, torch.device):
            return torch.device("cpu")
        if isinstance(value, torch.Generator) and value.device.type != "cpu":
            seed = value.initial_seed()
            new = (value, torch.Generator().manual_seed(seed))
            return self._twins.setdefault((id(value), seed), new)[1]
        return value


def context_of(device: str) -> AbstractContextManager[Any]:
    """Returns a context in which `"cpu"`, `"meta"` or `"cuda"` can be used."""
    return StandIn() if device == "meta" else nullcontext()
