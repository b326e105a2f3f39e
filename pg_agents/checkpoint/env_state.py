"""State of an environment through all wrappers, for resuming bit for bit.

It can be saved if every wrapper is listed here and the innermost environment has
`get_state()`, which returns a dict of plain data with the state of its random generator
under `"generator"`, and `set_state()`, which restores it or raises a ValueError. All
environments of pg_envs do.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers import (
    NormalizeObservation,
    NormalizeReward,
    OrderEnforcing,
    PassiveEnvChecker,
    TimeLimit,
    vector,
)
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from pg_agents.common.tree import to_cpu, to_device
from pg_agents.vec_env.adapter import VectorEnvAdapter


class UnsupportedEnvError(Exception):
    """The state of an environment can't be saved, or does not fit another one."""


class _Attributes(NamedTuple):
    """Attributes of a class of wrappers.

    Attributes:
        state: those that change from step to step.
        settings: those that must be equal to restore a state.
    """

    state: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


# Seeds and options of the next reset.
_NEXT_RESET = ("_seeds", "_options")
# Running statistics, which apply to any environment.
_STATISTICS = ("obs_rms", "ret_rms", "return_rms")
# By exact class: a subclass may have more state. The results of all past episodes in a
# Monitor are left out, as they grow without bound and do not affect learning.
_KNOWN: dict[type, _Attributes] = {
    TimeLimit: _Attributes(("_elapsed_steps",), ("_max_episode_steps",)),
    OrderEnforcing: _Attributes(("_has_reset",)),
    PassiveEnvChecker: _Attributes(
        ("checked_reset", "checked_step", "checked_data_reuse", "_previous_data")
    ),
    Monitor: _Attributes(
        ("rewards", "needs_reset", "total_steps", "current_reset_info")
    ),
    DummyVecEnv: _Attributes((*_NEXT_RESET, "reset_infos"), ("num_envs",)),
    VectorEnvAdapter: _Attributes(
        (*_NEXT_RESET, "_last_dones", "_returns", "_lengths"),
        ("num_envs",),
    ),
    SyncVectorEnv: _Attributes(("_autoreset_envs",), ("num_envs", "autoreset_mode")),
    VecMonitor: _Attributes(("episode_count", "episode_returns", "episode_lengths")),
    VecNormalize: _Attributes(
        ("obs_rms", "ret_rms", "returns", "old_obs", "old_reward"),
        (
            "training",
            "norm_obs",
            "norm_reward",
            "norm_obs_keys",
            "clip_obs",
            "clip_reward",
            "gamma",
            "epsilon",
        ),
    ),
    NormalizeObservation: _Attributes(("obs_rms", "update_running_mean"), ("epsilon",)),
    NormalizeReward: _Attributes(
        ("return_rms", "discounted_reward", "update_running_mean"),
        ("gamma", "epsilon"),
    ),
    vector.NormalizeObservation: _Attributes(
        ("obs_rms", "update_running_mean"), ("epsilon",)
    ),
    vector.NormalizeReward: _Attributes(
        ("return_rms", "accumulated_reward", "_prev_dones", "update_running_mean"),
        ("gamma", "epsilon"),
    ),
    VecFrameStack: _Attributes(),
    VecTransposeImage: _Attributes(settings=("skip",)),
}


def get_env_state(env: VecEnv) -> list[dict[str, Any]]:
    """Returns the state of an environment and all its wrappers.

    Returns:
        Plain data for `set_env_state`: a dict per wrapper, outermost first.

    Raises:
        UnsupportedEnvError: if a wrapper is unknown, or the environment has no state.
    """
    return [get_wrapper_state(layer) for layer in _layers(env)]


def set_env_state(env: VecEnv, states: list[dict[str, Any]]) -> None:
    """Restores what `get_env_state` returned for an environment built the same way.

    Raises:
        UnsupportedEnvError: if the environment is another one; it is then unchanged.
    """
    layers = _layers(env)
    now = [_class_name(layer) for layer in layers]
    saved = [state["class"] for state in states]
    if now != saved:
        raise UnsupportedEnvError(
            f"it is another environment: now it is built of {_short(now)}, then of "
            f"{_short(saved)}"
        )
    for layer, state in zip(layers, states, strict=True):
        settings = _settings(layer)
        if not _equal(settings, state["settings"]):
            raise UnsupportedEnvError(
                f"{type(layer).__name__} has other settings: now {settings}, then "
                f"{state['settings']}"
            )
    before = [_state_or_none(layer) for layer in layers]
    try:
        for layer, state in zip(layers, states, strict=True):
            set_wrapper_state(layer, state)
    except (TypeError, ValueError, KeyError) as error:
        for layer, old in zip(layers, before, strict=True):
            if old is not None:
                set_wrapper_state(layer, old)
        raise UnsupportedEnvError(str(error)) from error


def get_normalization(env: VecEnv) -> list[dict[str, Any]]:
    """Returns the state of wrappers that normalise, outermost first.

    These are SB3's VecNormalize, and Gymnasium's NormalizeObservation and
    NormalizeReward around single or vector environments, except in other processes.
    """
    return [get_wrapper_state(layer) for layer in _layers(env) if _normalizes(layer)]


def set_normalization(env: VecEnv, states: list[dict[str, Any]]) -> None:
    """Restores running statistics, if the environment is built the same way.

    The episodes in progress are not restored. Warns if statistics of observations
    can't be restored.
    """
    layers = [layer for layer in _layers(env) if _normalizes(layer)]
    fits = len(layers) == len(states) and all(
        _class_name(layer) == state["class"]
        and _equal(_settings(layer), state["settings"])
        for layer, state in zip(layers, states, strict=True)
    )
    if not fits:
        names = [state["class"] for state in states if "obs_rms" in state["state"]]
        if names:
            warnings.warn(
                f"the model learnt with statistics of {_short(names)}, and this "
                "environment is built differently or has other settings: they are not "
                "restored, and the policy sees other numbers than it has learnt from",
                stacklevel=2,
            )
        return
    for layer, state in zip(layers, states, strict=True):
        for name in _STATISTICS:
            if name in state["state"]:
                setattr(layer, name, deepcopy(state["state"][name]))


def get_wrapper_state(layer: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns class, settings and state of a wrapper or the innermost environment.

    Raises:
        UnsupportedEnvError: if it is unknown and has no `get_state`.
    """
    known = _KNOWN.get(type(layer))
    if known is None:
        state = deepcopy(_own_state(layer))
    else:
        found = {n: getattr(layer, n) for n in known.state if _has(layer, n)}
        if isinstance(layer, VecFrameStack):
            stacks = _stacks(layer).items()
            found["stacks"] = {key: stack.stacked_obs for key, stack in stacks}
        state = to_cpu(found)
    return {"class": _class_name(layer), "settings": _settings(layer), "state": state}


def set_wrapper_state(layer: Any, saved: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Restores what `get_wrapper_state` returned.

    Raises:
        ValueError: from the `set_state` of an environment.
    """
    # A copy: it may be restored again.
    state = deepcopy(saved["state"])
    if type(layer) not in _KNOWN:
        layer.set_state(state)
        return
    if isinstance(layer, VecFrameStack):
        for key, stack in _stacks(layer).items():
            stack.stacked_obs = state["stacks"][key]
        return
    for name, value in state.items():
        current = vars(layer).get(name)
        device = current.device if isinstance(current, torch.Tensor) else "cpu"
        setattr(layer, name, to_device(value, device))


def _layers(env: VecEnv) -> list[Any]:
    """Returns wrappers and environments, outermost first."""
    layers: list[Any] = []
    layer: Any = env
    while isinstance(layer, VecEnvWrapper):
        layers.append(layer)
        layer = layer.venv
    layers.append(layer)
    if isinstance(layer, VectorEnvAdapter):
        layer = layer.env
        while isinstance(layer, VectorWrapper):
            layers.append(layer)
            layer = layer.env
        layers.append(layer)
    has_singles = isinstance(layer, DummyVecEnv | SyncVectorEnv)
    for single in layer.envs if has_singles else []:
        inner: Any = single
        while isinstance(inner, gymnasium.Wrapper):
            layers.append(inner)
            inner = inner.env
        layers.append(inner)
    return layers


def _own_state(env: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Returns the `get_state()` of an innermost environment."""
    name = type(env).__name__
    innermost = isinstance(env, gymnasium.Env | VectorEnv) and env.unwrapped is env
    if not (innermost and hasattr(env, "get_state") and hasattr(env, "set_state")):
        raise UnsupportedEnvError(f"{name} has no get_state() and set_state()")
    try:
        state = env.get_state()
    # User code may raise any error, which must not prevent saving the model.
    except Exception as error:
        raise UnsupportedEnvError(f"get_state() of {name} fails: {error}") from error
    if not isinstance(state, Mapping) or "generator" not in state:
        raise UnsupportedEnvError(
            f"get_state() of {name} must return a dict with the state of its random "
            "generator under 'generator'"
        )
    return state


def _state_or_none(layer: Any) -> dict[str, Any] | None:  # noqa: ANN401
    # An environment that was never reset may have no state yet.
    try:
        return get_wrapper_state(layer)
    except UnsupportedEnvError:
        return None


def _normalizes(layer: Any) -> bool:  # noqa: ANN401
    known = _KNOWN.get(type(layer), _Attributes())
    return any(name in _STATISTICS for name in known.state)


def _settings(layer: Any) -> dict[str, Any]:  # noqa: ANN401
    known = _KNOWN.get(type(layer), _Attributes())
    return {name: deepcopy(getattr(layer, name)) for name in known.settings}


def _has(layer: Any, name: str) -> bool:  # noqa: ANN401
    """Whether a layer itself has an attribute: SB3's wrappers forward to inner ones."""
    return name in vars(layer) or isinstance(getattr(type(layer), name, None), property)


def _stacks(layer: VecFrameStack) -> dict[str, Any]:
    stacked: Any = layer.stacked_obs
    return dict(getattr(stacked, "sub_stacked_observations", {"": stacked}))


def _class_name(layer: Any) -> str:  # noqa: ANN401
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def _short(names: list[str]) -> str:
    return " > ".join(name.rpartition(".")[2] for name in names)


def _equal(first: Any, second: Any) -> bool:  # noqa: ANN401
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(
            _equal(first[key], second[key]) for key in first
        )
    return bool(np.all(first == second))
