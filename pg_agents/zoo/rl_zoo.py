"""What is taken from rl_zoo3; its import leaves Gymnasium's `TimeLimit` in place.

rl_zoo3 puts a class of its own in the place of `gymnasium.wrappers.TimeLimit`, for the
whole process. It reports an end by the task's own rules as no truncation, which
Stable-Baselines3's vector environments do anyway: nothing in rl_zoo3 needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "ALGOS",
    "HYPERPARAMS_CONVERTER",
    "HYPERPARAMS_SAMPLER",
    "ExperimentManager",
    "train",
]

# Where rl_zoo3 puts its own class.
_PLACES = (
    "gymnasium.wrappers",
    "gymnasium.wrappers.common",
    "gymnasium.envs.registration",
)


@contextmanager
def _time_limit_kept() -> Iterator[None]:
    """Puts what is called `TimeLimit` in Gymnasium's modules back at the end."""
    modules = [importlib.import_module(place) for place in _PLACES]
    before = [vars(module).get("TimeLimit") for module in modules]
    try:
        yield
    finally:
        for module, limit in zip(modules, before, strict=True):
            if limit is not None:
                vars(module)["TimeLimit"] = limit
            else:
                vars(module).pop("TimeLimit", None)


with _time_limit_kept():
    from rl_zoo3 import ALGOS, train
    from rl_zoo3.exp_manager import ExperimentManager
    from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
