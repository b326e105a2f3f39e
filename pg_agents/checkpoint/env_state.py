"""The state of an environment through all the wrappers around it.

An environment can be kept if every layer is known here and the innermost has
`get_state()`, which returns a dict of plain data with the state of its random numbers
under `"generator"`, and `set_state()`, which takes it back or raises a ValueError: all
environments of pg_envs have, and any other may.
"""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorWrapper
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

from pg_agents.checkpoint.env_layers import (
    STATISTICS,
    CannotKeepError,
    layer_name,
    layer_settings,
    normalizes,
    put_layer,
    take_layer,
)
from pg_agents.vec_env.adapter import VectorEnvAdapter


def take_env_state(env: VecEnv) -> list[dict[str, Any]]:
    """Returns the state of an environment and of all that is around it.

    Args:
        env: an SB3 vector environment.

    Returns:
        Plain data for `put_env_state`: a dict per layer, from the outermost inwards.

    Raises:
        CannotKeepError: if a layer is not known, or the environment has no state to
            give.
    """
    return [take_layer(layer) for layer in _layers(env)]


def put_env_state(env: VecEnv, state: list[dict[str, Any]]) -> None:
    """Puts back what `take_env_state` returned.

    Args:
        env: an environment of the same build.
        state: what was taken out of that one.

    Raises:
        CannotKeepError: if the environment is another one; nothing has changed then.
    """
    layers = _layers(env)
    now, then = (
        [layer_name(layer) for layer in layers],
        [kept["class"] for kept in state],
    )
    if now != then:
        raise CannotKeepError(
            "it is another environment: now it is built of "
            f"{_short(now)}, then of {_short(then)}"
        )
    for layer, kept in zip(layers, state, strict=True):
        settings = layer_settings(layer)
        if not _same(settings, kept["settings"]):
            raise CannotKeepError(
                f"{type(layer).__name__} has other settings: now {settings}, then "
                f"{kept['settings']}"
            )
    before = [_take_if_possible(layer) for layer in layers]
    try:
        for layer, kept in zip(layers, state, strict=True):
            put_layer(layer, kept)
    except (TypeError, ValueError, KeyError) as error:
        for layer, there in zip(layers, before, strict=True):
            if there is not None:
                put_layer(layer, there)
        raise CannotKeepError(str(error)) from error


def take_normalization(env: VecEnv) -> list[dict[str, Any]]:
    """Returns the statistics of all that normalises, from the outermost inwards.

    That is SB3's VecNormalize, and Gymnasium's NormalizeObservation and
    NormalizeReward, around single environments or vector ones. What lies in other
    processes is not found.
    """
    return [take_layer(layer) for layer in _layers(env) if normalizes(layer)]


def put_normalization(env: VecEnv, state: list[dict[str, Any]]) -> None:
    """Puts statistics back into what normalises, where it is built as it was then.

    The rest of the environment starts anew: sums of the episodes under way do not
    apply. It warns where there is no place for what was known of observations.
    """
    layers = [layer for layer in _layers(env) if normalizes(layer)]
    alike = len(layers) == len(state) and all(
        layer_name(layer) == kept["class"]
        and _same(layer_settings(layer), kept["settings"])
        for layer, kept in zip(layers, state, strict=True)
    )
    if not alike:
        names = [kept["class"] for kept in state if "obs_rms" in kept["state"]]
        if names:
            warnings.warn(
                f"the model learnt with statistics of {_short(names)}, and this "
                "environment has another build or other settings: they are not put "
                "back, and the policy sees other numbers than it has learnt from",
                stacklevel=2,
            )
        return
    for layer, kept in zip(layers, state, strict=True):
        for name in STATISTICS:
            if name in kept["state"]:
                setattr(layer, name, deepcopy(kept["state"][name]))


def _layers(env: VecEnv) -> list[Any]:
    """Returns wrappers and environments from the outermost inwards."""
    found: list[Any] = []
    layer: Any = env
    while isinstance(layer, VecEnvWrapper):
        found.append(layer)
        layer = layer.venv
    found.append(layer)
    if isinstance(layer, VectorEnvAdapter):
        layer = layer.env
        while isinstance(layer, VectorWrapper):
            found.append(layer)
            layer = layer.env
        found.append(layer)
    known = isinstance(layer, DummyVecEnv | SyncVectorEnv)
    for single in layer.envs if known else []:
        part: Any = single
        while isinstance(part, gymnasium.Wrapper):
            found.append(part)
            part = part.env
        found.append(part)
    return found


def _take_if_possible(layer: Any) -> dict[str, Any] | None:  # noqa: ANN401
    # An environment that was never reset may have no state yet.
    try:
        return take_layer(layer)
    except CannotKeepError:
        return None


def _short(names: list[str]) -> str:
    return " > ".join(name.rpartition(".")[2] for name in names)


def _same(first: Any, second: Any) -> bool:  # noqa: ANN401
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            _same(first[key], second[key]) for key in first
        )
    return bool(np.all(first == second))
