"""How much memory environments, stored steps and long trainings take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.speed.models import make_algorithm_env, make_model
from benchmarks.speed.protocol import Handler

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Returns the memory of this process that is in RAM now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE_BYTES


def peak_bytes() -> int:
    """Returns the most that has ever been in RAM."""
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def held_bytes(root: object) -> int:
    """Returns the bytes of all tensors and arrays that are reachable from an object.

    Memory that several of them look at is counted once.
    """
    buffers: dict[int, int] = {}
    seen: set[int] = set()
    waiting: list[object] = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, torch.Tensor):
            storage = each.untyped_storage()
            buffers[storage.data_ptr()] = storage.nbytes()
        elif isinstance(each, np.ndarray):
            whole = each
            while isinstance(whole.base, np.ndarray):
                whole = whole.base
            buffers[whole.ctypes.data] = whole.nbytes
        elif isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list | tuple | set):
            waiting += each
        elif hasattr(each, "__dict__") and not isinstance(each, type):
            waiting += vars(each).values()
    return sum(buffers.values())


class Held(BaseCallback):
    """Looks at buffer and environment when a rollout is full."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer_bytes = self.env_bytes = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        self.buffer_bytes = held_bytes(buffer)
        self.env_bytes = held_bytes(self.model.env)


class Growth(BaseCallback):
    """Notes the resident memory ten times, evenly spaced."""

    def __init__(self, n_steps: int) -> None:
        super().__init__()
        self._every, self._next = n_steps // 10, n_steps // 10
        self.resident: list[int] = []

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next += self._every
            self.resident.append(resident_bytes())
        return True


def handler(settings: Mapping[str, Any]) -> Handler:
    """Returns what answers `held` and `growth`, with `steps` to learn for."""
    model = make_model(settings, make_algorithm_env(settings), seed=0)

    def handle(command: Mapping[str, Any]) -> dict[str, Any]:
        if command["do"] == "growth":
            growth = Growth(command["steps"])
            model.learn(command["steps"], callback=growth)
            return {"resident": growth.resident}
        held = Held()
        before = resident_bytes()
        model.learn(command["steps"], callback=held)
        return {
            "before": before,
            "peak": peak_bytes(),
            "buffer": held.buffer_bytes,
            "env": held.env_bytes,
        }

    return handle
