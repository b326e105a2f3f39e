"""Optional packages: what they come with, and the line that installs them."""

from __future__ import annotations

import importlib.util

# The modules of each extra of pyproject.toml that something here imports.
EXTRAS = {
    "box2d": ("Box2D",),
    "distributed": ("distributed",),
    "mujoco": ("mujoco",),
    "robotics": ("gymnasium_robotics", "mujoco"),
    "slurm": ("submitit",),
    "sweeps": ("optuna", "filelock"),
    "video": ("moviepy",),
    "zoo": ("rl_zoo3",),
}


def require_extra(extra: str | None, what: str) -> None:
    """Refuses to go on without the packages of an extra.

    Args:
        extra: its name in pyproject.toml; None asks for nothing.
        what: what needs it, for the message.

    Raises:
        ModuleNotFoundError: if a package is not installed; the message has the line
            that installs it.
        ValueError: if there is no such extra.
    """
    if extra is None:
        return
    if extra not in EXTRAS:
        raise ValueError(f"extra must be one of {', '.join(EXTRAS)}, got {extra!r}")
    absent = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if absent:
        raise ModuleNotFoundError(
            f'{what} needs {" and ".join(absent)}: pip install "pgtoy[{extra}]"',
            name=absent[0],
        )
