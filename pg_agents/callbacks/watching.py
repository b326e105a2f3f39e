"""Callbacks that only watch: no code of users runs in them."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback, CallbackList


def only_watches(callback: BaseCallback | None) -> bool:
    """Returns whether a callback, or each of a list, leaves the training as it is.

    Such a class of pg_agents has `only_watches = True`: it changes neither model,
    environment nor rollout, and of the variables of a step it reads `rewards`, `dones`
    and `infos` alone. Subclasses do not inherit it, and an instance with methods of its
    own counts as one.

    Args:
        callback: as SB3 makes it of the argument of `learn`; None watches nothing.
    """
    if type(callback) is CallbackList:
        return all(map(only_watches, callback.callbacks))
    if callback is None:
        return True
    own = vars(callback)
    has_methods = any(name in own for name in dir(BaseCallback) if "on_" in name)
    return vars(type(callback)).get("only_watches") is True and not has_methods
