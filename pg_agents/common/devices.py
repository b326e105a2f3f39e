"""Values that may hold tensors of any device: copies on another one."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch


def to_cpu(value: Any) -> Any:  # noqa: ANN401
    """Returns a copy with every tensor in it on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    return _in_containers(value, to_cpu)


def to_device(value: Any, device: torch.device | str) -> Any:  # noqa: ANN401
    """Returns a copy with every tensor in it on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return _in_containers(value, lambda part: to_device(part, device))


def _in_containers(value: Any, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401
    if type(value) is dict:
        return {name: change(part) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(change(part) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return replace(value, **{name: change(part) for name, part in parts.items()})
    return deepcopy(value)


def on_device(value: Any) -> bool:  # noqa: ANN401
    """Whether something holds tensors that are not on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.device.type != "cpu"
    if isinstance(value, dict):
        return any(on_device(part) for part in value.values())
    return isinstance(value, list | tuple) and any(on_device(part) for part in value)
