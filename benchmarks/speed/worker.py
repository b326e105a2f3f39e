"""A process that measures one side: `python -m benchmarks.speed.worker SETTINGS`."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from benchmarks.speed import memory, solving, torch_alone
from benchmarks.speed.models import LearningTask
from benchmarks.speed.notebook_loop import notebook
from benchmarks.speed.protocol import Handler, Task, serve, task_handler

TASKS: dict[str, Callable[[Mapping[str, Any]], Task]] = {
    "learn": LearningTask,
    "notebook": lambda settings: notebook,
    "torch_alone": torch_alone.torch_alone,
    "stepping": torch_alone.stepping,
}
HANDLERS: dict[str, Callable[[Mapping[str, Any]], Handler]] = {
    "solve": solving.handler,
    "memory": memory.handler,
}
PACKAGES = ("torch", "numpy", "stable-baselines3", "gymnasium")


def make(settings: Mapping[str, Any]) -> tuple[Handler, dict[str, Any]]:
    """Returns what answers the commands, and the versions."""
    torch.set_num_threads(settings["threads"])
    # SB3 warns of a network on a GPU, and of batches that don't divide the rollout.
    warnings.simplefilter("ignore")
    work = settings["work"]
    if work in HANDLERS:
        handler = HANDLERS[work](settings)
    else:
        handler = task_handler(TASKS[work](settings))
    return handler, {"versions": {name: version(name) for name in PACKAGES}}


if __name__ == "__main__":
    serve(partial(make, json.loads(sys.argv[1])))
