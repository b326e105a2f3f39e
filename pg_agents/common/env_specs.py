"""Specs in Gymnasium's registry of environments."""

from __future__ import annotations

import importlib

import gymnasium


def registered_threshold(env_id: str) -> float | None:
    """Returns the return from which Gymnasium counts an environment as solved.

    Args:
        env_id: id as in `gymnasium.make`; the package of ``"package:id"`` is imported
            first, which registers its environments.

    Returns:
        The ``reward_threshold`` of its spec; None if it has none.

    Raises:
        gymnasium.error.Error: if no such environment is registered.
        ImportError: if the package can't be imported.
    """
    package, _, name = env_id.rpartition(":")
    if package:
        importlib.import_module(package)
    return gymnasium.spec(name).reward_threshold
