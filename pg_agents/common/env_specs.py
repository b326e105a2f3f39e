"""What Gymnasium's registry says of an environment, by its id."""

from __future__ import annotations

import importlib

import gymnasium


def registered_threshold(env_id: str) -> float | None:
    """Returns the return from which Gymnasium calls an environment solved.

    Args:
        env_id: as `gymnasium.make` takes it: with ``"package:"`` before the name the
            package is imported first, since it registers its environments then.

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
