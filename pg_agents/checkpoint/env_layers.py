"""What each layer of an environment remembers: wrappers, and the environment inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium
import torch
from gymnasium.vector import SyncVectorEnv, VectorEnv
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
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from pg_agents.common.tree import to_cpu, to_device
from pg_agents.vec_env.adapter import VectorEnvAdapter


class CannotKeepError(Exception):
    """The state of an environment can't be taken out, or doesn't fit; says why."""


@dataclass(frozen=True)
class _Layer:
    """What a class of wrappers remembers.

    Attributes:
        state: attributes that change from step to step.
        settings: attributes that have to be equal where the state is put back.
    """

    state: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


_NORMALIZE_SETTINGS = (
    "training",
    "norm_obs",
    "norm_reward",
    "norm_obs_keys",
    "clip_obs",
    "clip_reward",
    "gamma",
    "epsilon",
)
# Seeds and options of the next reset.
_NEXT_RESET = ("_seeds", "_options")
# Of what normalises, the statistics, which apply to any environment.
STATISTICS = "obs_rms", "ret_rms", "return_rms"
# By the exact class: a subclass may remember more. Of a Monitor not the results of all
# the episodes since the beginning, which grow without end and which nobody learns from.
_LAYERS: dict[type, _Layer] = {
    TimeLimit: _Layer(("_elapsed_steps",), ("_max_episode_steps",)),
    OrderEnforcing: _Layer(("_has_reset",)),
    PassiveEnvChecker: _Layer(
        ("checked_reset", "checked_step", "checked_data_reuse", "_previous_data")
    ),
    Monitor: _Layer(
        ("rewards", "needs_reset", "total_steps", "current_reset_info"),
        ("reset_keywords", "info_keywords"),
    ),
    DummyVecEnv: _Layer((*_NEXT_RESET, "reset_infos"), ("num_envs",)),
    VectorEnvAdapter: _Layer(
        (*_NEXT_RESET, "_last_dones", "_returns", "_lengths", "dummy_steps"),
        ("num_envs",),
    ),
    SyncVectorEnv: _Layer(
        (
            "_env_obs",
            "_observations",
            "_rewards",
            "_terminations",
            "_truncations",
            "_autoreset_envs",
        ),
        ("num_envs", "autoreset_mode"),
    ),
    VecMonitor: _Layer(
        ("episode_count", "episode_returns", "episode_lengths"), ("info_keywords",)
    ),
    VecNormalize: _Layer(
        ("obs_rms", "ret_rms", "returns", "old_obs", "old_reward"), _NORMALIZE_SETTINGS
    ),
    NormalizeObservation: _Layer(("obs_rms", "_update_running_mean"), ("epsilon",)),
    NormalizeReward: _Layer(
        ("return_rms", "discounted_reward", "_update_running_mean"),
        ("gamma", "epsilon"),
    ),
    vector.NormalizeObservation: _Layer(
        ("obs_rms", "_update_running_mean"), ("epsilon",)
    ),
    vector.NormalizeReward: _Layer(
        ("return_rms", "accumulated_reward", "_prev_dones", "_update_running_mean"),
        ("gamma", "epsilon"),
    ),
    VecFrameStack: _Layer(),
    VecTransposeImage: _Layer(settings=("skip",)),
}


def normalizes(layer: Any) -> bool:  # noqa: ANN401
    """Whether a layer normalises by running statistics, and is known here."""
    known = _LAYERS.get(type(layer), _Layer())
    return any(name in STATISTICS for name in known.state)


def take_layer(layer: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns class, settings and state of a layer, as plain data.

    Args:
        layer: a wrapper or an environment, of SB3, Gymnasium or anybody.

    Raises:
        CannotKeepError: if it is not known here and has no state to give.
    """
    known = _LAYERS.get(type(layer))
    if known is None:
        return {
            "class": layer_name(layer),
            "settings": layer_settings(layer),
            "state": deepcopy(_own_state(layer)),
        }
    # vars(): SB3's wrappers answer for the wrappers inside them.
    state = {name: vars(layer)[name] for name in known.state if name in vars(layer)}
    if isinstance(layer, VecFrameStack):
        state["stacks"] = {
            key: stack.stacked_obs for key, stack in _stacks(layer).items()
        }
    return {
        "class": layer_name(layer),
        "settings": layer_settings(layer),
        "state": to_cpu(state),
    }


def layer_settings(layer: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns what has to be equal where the state of a layer is put back."""
    known = _LAYERS.get(type(layer), _Layer())
    return {name: deepcopy(getattr(layer, name)) for name in known.settings}


def put_layer(layer: Any, kept: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Puts back what `take_layer` returned of a layer like this one.

    Raises:
        ValueError: if an environment refuses it, by what its `set_state` raises.
    """
    # Copied: what was kept can be put back once more.
    state = deepcopy(kept["state"])
    if type(layer) not in _LAYERS:
        layer.set_state(state)
        return
    if isinstance(layer, VecFrameStack):
        for key, stack in _stacks(layer).items():
            stack.stacked_obs = state["stacks"][key]
        return
    for name, value in state.items():
        there = vars(layer).get(name)
        device = there.device if isinstance(there, torch.Tensor) else "cpu"
        setattr(layer, name, to_device(value, device))


def _own_state(env: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Returns what the innermost environment says of itself."""
    name = type(env).__name__
    is_inner = isinstance(env, gymnasium.Env | VectorEnv) and env.unwrapped is env
    get: Callable[[], Any] | None = getattr(env, "get_state", None)
    if not is_inner or not callable(get) or not hasattr(env, "set_state"):
        raise CannotKeepError(f"{name} has no state that can be taken out")
    try:
        state = get()
    # It is somebody else's code, and saving must not fail for it.
    except Exception as error:
        raise CannotKeepError(f"get_state() of {name} fails: {error}") from error
    if not isinstance(state, Mapping) or "generator" not in state:
        raise CannotKeepError(
            f"get_state() of {name} says nothing of its random numbers "
            "(a dict with 'generator')"
        )
    return state


def _stacks(layer: VecFrameStack) -> dict[str, Any]:
    stacked: Any = layer.stacked_obs
    return dict(getattr(stacked, "sub_stacked_observations", {"": stacked}))


def layer_name(layer: Any) -> str:  # noqa: ANN401
    """Returns the full name of the class of a layer."""
    return f"{type(layer).__module__}.{type(layer).__qualname__}"
