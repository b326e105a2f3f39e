"""Refusals of entries of `policy_kwargs`, before a policy is built of them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    FlattenExtractor,
)
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from pg_agents.common.checks import RefusedError, check_choice, check_count

_FLAGS = (
    "ortho_init",
    "use_sde",
    "full_std",
    "use_expln",
    "squash_output",
    "share_features_extractor",
    "normalize_images",
    "layer_norm",
    "glorot_init",
)
# Beyond these the standard deviation, their exponential, is no useful float32.
_LOG_STD_RANGE = (-20.0, 20.0)


def check_policy_kwargs(
    policy_class: type,
    given: dict[str, Any],
    chosen: dict[str, Any],
    observation_space: spaces.Space[Any],
) -> None:
    """Raises a ValueError or TypeError naming the first entry that won't do.

    Args:
        policy_class: the policy. A class of the user's own has arguments that nobody
            here knows: nothing is checked.
        given: what the user passed.
        chosen: the same with the algorithm's own choices: what is passed on.
        observation_space: observation space.
    """
    if not policy_class.__module__.startswith(("pg_agents.", "stable_baselines3.")):
        return
    if "use_sde" in given:
        raise ValueError(
            "policy_kwargs must not hold 'use_sde': pass use_sde to the algorithm, "
            "which draws the noise"
        )
    accepted = _defaults(policy_class)
    for name in given:
        if name not in accepted:
            raise ValueError(
                f"policy_kwargs holds {name!r}, and {policy_class.__name__} accepts "
                f"{', '.join(sorted(accepted))}"
            )
    for name in _FLAGS:
        if name in chosen:
            check_choice(name, chosen[name], (True, False))
    if chosen.get("squash_output") and not chosen.get("use_sde"):
        raise RefusedError("policy_kwargs: squash_output=True needs use_sde=True")
    for name, check in _CHECKS.items():
        if name in given:
            check(given[name])
    for name in ("features_extractor_kwargs", "optimizer_kwargs"):
        if not isinstance(given.get(name), dict | None):
            raise TypeError(f"{name} must be a dict or None, got {given[name]!r}")
    extractor = chosen.get(
        "features_extractor_class", accepted["features_extractor_class"]
    )
    if extractor is FlattenExtractor and isinstance(observation_space, spaces.Dict):
        raise ValueError(
            f"policy {policy_class.__name__} can't read the Dict observations of env: "
            "use 'MultiInputPolicy', or a features_extractor_class that can"
        )
    if {"optimizer_class", "optimizer_kwargs"} & set(chosen):
        optimizer_class = chosen.get("optimizer_class", accepted["optimizer_class"])
        _check_optimizer(optimizer_class, chosen.get("optimizer_kwargs") or {})


def build_policy(
    policy_class: Any,  # noqa: ANN401
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    lr_schedule: Schedule,
    arguments: dict[str, Any],
) -> ActorCriticPolicy:
    """Returns a policy.

    Args:
        policy_class: its class.
        observation_space: observation space.
        action_space: action space.
        lr_schedule: step size as a function of the remaining progress, 1 to 0.
        arguments: everything else.

    Raises:
        ValueError: if the networks and the spaces do not go together.
        TypeError: if an argument is unknown or of a wrong type.
    """
    what = (
        f"policy {policy_class.__name__} with policy_kwargs={arguments!r} can't be "
        f"built for observations {observation_space} and actions {action_space}"
    )
    # SB3 writes to some of the dicts within, which are the caller's.
    own = {
        name: given.copy() if isinstance(given, dict) else given
        for name, given in arguments.items()
    }
    try:
        policy: ActorCriticPolicy = policy_class(
            observation_space, action_space, lr_schedule, **own
        )
    except torch.OutOfMemoryError:
        raise
    except AssertionError as error:
        raise RefusedError(f"{what}: {error}") from error
    except RuntimeError as error:
        raise ValueError(f"{what}: {error}") from error
    except TypeError as error:
        raise TypeError(f"{what}: {error}") from error
    return policy


def _defaults(policy_class: type) -> dict[str, Any]:
    """Returns a policy's arguments; `**kwargs` stand for those of its parents."""
    found: dict[str, Any] = {}
    for base in policy_class.__mro__:
        if "__init__" not in vars(base):
            continue
        own = inspect.signature(vars(base)["__init__"]).parameters.values()
        for each in own:
            if each.kind is not each.VAR_KEYWORD:
                found.setdefault(each.name, each.default)
        if all(each.kind is not each.VAR_KEYWORD for each in own):
            break
    for name in ("self", "observation_space", "action_space", "lr_schedule"):
        found.pop(name, None)
    return found


def _check_net_arch(given: Any) -> None:  # noqa: ANN401
    if given is None:
        return
    # SB3 still takes the form of its earlier versions, a list of one dict.
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], dict):
        given = given[0]
    parts = given if isinstance(given, dict) else {"pi": given}
    if not set(parts) <= {"pi", "vf"} or not all(
        isinstance(widths, list | tuple) for widths in parts.values()
    ):
        raise ValueError(
            "net_arch must be a list of layer widths, or a dict of two of them, 'pi' "
            f"and 'vf', got {given!r}"
        )
    for widths in parts.values():
        for width in widths:
            check_count(f"each width in net_arch={given!r}", width)


def _check_activation(given: Any) -> None:  # noqa: ANN401
    seen = torch.zeros(2, 4)
    try:
        with torch.no_grad():
            shape = given().eval()(seen).shape
    except Exception as error:
        raise ValueError(
            "activation_fn must be a class of activations, such as torch.nn.Tanh, that "
            f"is made without arguments, got {given!r}: {error}"
        ) from error
    if shape != seen.shape:
        raise ValueError(
            f"activation_fn must keep the shape of what it is given, got {given!r}, "
            f"which turns {tuple(seen.shape)} into {tuple(shape)}"
        )


def _check_log_std(given: Any) -> None:  # noqa: ANN401
    low, high = _LOG_STD_RANGE
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        raise ValueError(
            f"log_std_init must be a number in [{low:g}, {high:g}], got {given!r}"
        )


def _check_extractor(given: Any) -> None:  # noqa: ANN401
    if not isinstance(given, type) or not issubclass(given, BaseFeaturesExtractor):
        raise ValueError(
            "features_extractor_class must be a subclass of SB3's "
            f"BaseFeaturesExtractor, got {given!r}"
        )


def _check_critic(given: Any) -> None:  # noqa: ANN401
    check_choice("critic", given, ("separate", "shared", "none"))


_CHECKS: dict[str, Callable[[Any], None]] = {
    "critic": _check_critic,
    "net_arch": _check_net_arch,
    "activation_fn": _check_activation,
    "log_std_init": _check_log_std,
    "features_extractor_class": _check_extractor,
}


def _check_optimizer(given: Any, arguments: dict[str, Any]) -> None:  # noqa: ANN401
    """Raises a ValueError unless an optimiser can take a step on a small network."""
    weights = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
    for weight in weights:
        # A gradient can be 0, too.
        weight.grad = torch.arange(float(weight.numel())).reshape(weight.shape)
    what = f"optimizer_class={given!r} with optimizer_kwargs={arguments!r}"
    try:
        given(weights, lr=1e-3, **arguments).step()
    except Exception as error:
        raise ValueError(
            f"{what} can't take a step: {error}; optimizer_class must be a subclass of "
            "torch.optim.Optimizer"
        ) from error
    if not all(weight.isfinite().all() for weight in weights):
        raise ValueError(f"{what} makes weights infinite or nan where a gradient is 0")
