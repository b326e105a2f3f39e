"""What the figures were measured on, without a name of the machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import torch

PACKAGES = ("torch", "numpy", "stable-baselines3", "gymnasium")


def processor() -> str:
    """Returns the model of the processor."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [
                line.split(":")[1].strip() for line in file if "model name" in line
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def setup() -> str:
    """Returns processor, cores and versions, in a line."""
    cores = len(os.sched_getaffinity(0))
    features = torch.backends.cpu.get_cpu_capability()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{processor()} ({features}), {cores} cores, Python "
        f"{platform.python_version()}, {versions}"
    )
