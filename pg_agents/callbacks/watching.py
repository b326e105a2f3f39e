"""Callbacks that only watch: no code of users runs in them."""

from __future__ import annotations

from typing import Literal

from stable_baselines3.common.callbacks import BaseCallback, CallbackList

# Local variables of a step: all of SB3's, rewards, dones and infos, or none.
Variables = Literal["all", "results", "nothing"]


def only_watches(callback: BaseCallback) -> bool:
    """Returns whether a callback, or each of a list, leaves the training as it is.

    Such a class of pg_agents has `only_watches = True`: it changes neither model,
    environment nor rollout, and of the variables of a step it reads `rewards`, `dones`
    and `infos` alone, or none if its `reads_steps` is False. Subclasses do not inherit
    this, and an instance with methods of its own counts as one.

    Args:
        callback: as SB3 makes it of the argument of `learn`.
    """
    if type(callback) is CallbackList:
        return all(map(only_watches, callback.callbacks))
    own = vars(callback)
    has_methods = any(name in own for name in dir(BaseCallback) if "on_" in name)
    return vars(type(callback)).get("only_watches") is True and not has_methods


def variables_read(callback: BaseCallback) -> Variables:
    """Returns which variables of a step a callback that only watches reads."""
    if type(callback) is CallbackList:
        each = map(variables_read, callback.callbacks)
        return "nothing" if all(v == "nothing" for v in each) else "results"
    return "results" if getattr(callback, "reads_steps", True) else "nothing"
