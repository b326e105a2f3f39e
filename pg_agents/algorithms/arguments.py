"""Checks of the arguments that SB3 accepts and fails on later, or without a name.

SB3 asserts some of these and leaves others to torch or NumPy. Here they are refused by
name, before anything is built.
"""

from __future__ import annotations

import inspect
import math
import operator
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm, maybe_make_env
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    FlattenExtractor,
)
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from pg_agents.common.checks import (
    RefusedError,
    UnsupportedError,
    check_bool,
    check_choice,
    check_count,
    check_integer,
    check_seed,
)
from pg_agents.rollout.buffer import TrajectoryBuffer

_NAMES = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")


def check_sb3_arguments(
    *,
    use_sde: object,
    sde_sample_freq: object,
    stats_window_size: object,
    tensorboard_log: object,
    policy_kwargs: object,
    verbose: object,
    seed: object,
    device: Any,  # noqa: ANN401
) -> None:
    """Raises a ValueError or TypeError naming the first argument that won't do."""
    check_choice("use_sde", use_sde, (True, False))
    check_integer("sde_sample_freq", sde_sample_freq, -1)
    check_integer("stats_window_size", stats_window_size, 1)
    if not isinstance(tensorboard_log, str | os.PathLike | None):
        raise TypeError(
            f"tensorboard_log must be the path of a folder or None, got "
            f"{tensorboard_log!r}"
        )
    check_mapping("policy_kwargs", policy_kwargs)
    # As SB3's, it can be a truth value.
    check_integer("verbose", int(verbose) if isinstance(verbose, bool) else verbose, 0)
    if seed is not None:
        check_seed("seed", seed)
    _check_device(device)


def check_mapping(name: str, given: object) -> None:
    """Raises a TypeError unless `given` is a dict of named arguments, or None."""
    if given is None:
        return
    if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
        raise TypeError(
            f"{name} must be a dict of arguments by name, or None, got {given!r}"
        )


def check_policy(policy: object) -> None:
    """Raises a ValueError unless `policy` is a name or a class of policies."""
    is_class = isinstance(policy, type) and issubclass(policy, BasePolicy)
    if not isinstance(policy, str) and not is_class:
        raise ValueError(
            f"policy must be a name or a class, got {policy!r}: a name of the "
            "algorithm's policy_aliases, or a subclass of SB3's ActorCriticPolicy"
        )


def make_env(env: Any, verbose: int, wrap: Any) -> VecEnv | None:  # noqa: ANN401
    """Returns the environment as SB3 will use it.

    Args:
        env: environment, id, SB3 or Gymnasium vector environment, or None.
        verbose: as the constructor's.
        wrap: the algorithm's `_wrap_env`.

    Raises:
        ValueError: if there is no such environment, or its spaces are unknown here.
        TypeError: if it is no environment.
    """
    if env is None:
        return None
    try:
        made: Any = maybe_make_env(env, verbose)
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"env={env!r} can't be made: {error}") from error
    check_is_env(made, "an environment, the id of one")
    with closed_on_error(made if isinstance(env, str) else None):
        single = isinstance(made, VectorEnv)
        seen = made.single_observation_space if single else made.observation_space
        acted = made.single_action_space if single else made.action_space
        _check_observation_space(seen)
        _check_action_space(acted)
        wrapped: VecEnv = wrap(made, verbose)
    return wrapped


def check_is_env(env: object, accepted: str = "an environment") -> None:
    """Raises a TypeError unless it is an environment with spaces, single or vector.

    Args:
        env: what was given.
        accepted: what is accepted besides vector environments.
    """
    # Environments of the old gym, which have these, are SB3's business.
    is_env = hasattr(env, "reset") and hasattr(env, "step")
    if isinstance(env, type) or not is_env:
        raise TypeError(
            f"env must be {accepted}, an SB3 or a Gymnasium vector environment, each "
            f"an instance and no class, got {env!r}"
        )
    for name in ("observation_space", "action_space"):
        if not hasattr(env, name):
            raise TypeError(f"env must have an {name}, a space, and {env!r} has none")


def check_has_spaces(model: object) -> None:
    """Raises a ValueError unless a model knows its spaces."""
    if not hasattr(model, "observation_space"):
        raise ValueError(
            "env must be an environment or the id of one, got None: only load() "
            "knows the spaces without it"
        )


def check_env(made: VecEnv | None, policy: object, use_sde: bool) -> None:
    """Raises a ValueError if an environment does not go with another argument."""
    if made is None:
        return
    if use_sde and not isinstance(made.action_space, spaces.Box):
        raise ValueError(
            f"use_sde=True needs continuous actions, a Box, got {made.action_space}"
        )
    is_dict = isinstance(made.observation_space, spaces.Dict)
    if is_dict and policy in ("MlpPolicy", "CnnPolicy"):
        raise ValueError(
            f"policy: you must use `MultiInputPolicy` for Dict observations, got "
            f"{policy!r} and {made.observation_space}"
        )


@contextmanager
def closed_on_error(made: Any) -> Iterator[None]:  # noqa: ANN401
    """Closes an environment, if there is one, when what follows fails."""
    try:
        yield
    except Exception:
        if made is not None:
            made.close()
        raise


def plain_integers(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns arguments with Python's integers, which generators insist on."""
    return {
        name: operator.index(given) if isinstance(given, np.integer) else given
        for name, given in arguments.items()
    }


def _known(space: object) -> bool:
    # By name: spaces of the old gym have the same. A user's own kind extends one.
    return any(base.__name__ in _NAMES for base in type(space).__mro__)


def _check_observation_space(space: Any) -> None:  # noqa: ANN401
    parts = [space]
    if isinstance(space, spaces.Dict):
        parts = list(space.spaces.values())
    for part in parts:
        if not _known(part):
            raise UnsupportedError(
                f"env: observations can be an array or a Dict of arrays, got {part}: "
                f"accepted are {', '.join(_NAMES)}. Nested spaces are not supported"
            )
        _check_shape("observation", part)


def _check_action_space(space: Any) -> None:  # noqa: ANN401
    if not _known(space):
        raise RefusedError(f"env: actions can be {', '.join(_NAMES)}, got {space}")
    _check_shape("action", space)
    if isinstance(space, spaces.Box) and not np.isfinite([space.low, space.high]).all():
        raise ValueError(f"env: continuous actions need finite bounds, got {space}")


def _check_shape(kind: str, space: Any) -> None:  # noqa: ANN401
    flat = np.ndim(getattr(space, "nvec", [0])) == 1
    if isinstance(space, spaces.MultiBinary) and kind == "action":
        if len(space.shape) != 1:
            raise RefusedError(
                f"env: Multi-dimensional {space} action space is not supported, got "
                f"shape {space.shape}: flatten it"
            )
    if not flat:
        raise ValueError(
            f"env: discrete {kind}s of several dimensions are unknown here, got "
            f"{space}: flatten them"
        )
    if isinstance(space, spaces.Box) and kind == "observation" and not space.shape:
        raise ValueError(
            f"env: an observation needs at least one axis, got {space}: use shape (1,)"
        )


def _check_device(device: Any) -> None:  # noqa: ANN401
    try:
        # A device that exists can be written to and read from.
        torch.zeros(1, device=get_device(device)).cpu()
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or the like, and be there, got "
            f"{device!r}: {error}"
        ) from error


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


# SB3's own buffers mean "the ordinary one" here.
_STOCK = (None, RolloutBuffer, DictRolloutBuffer)
# What SB3's algorithms tell their buffers, so that a user may not.
_TOLD_BY_THE_MODEL = (
    "buffer_size",
    "observation_space",
    "action_space",
    "device",
    "gamma",
    "gae_lambda",
    "n_envs",
)


def check_buffer_class(given: object) -> None:
    """Raises a ValueError unless `given` can be a model's `rollout_buffer_class`."""
    ours = isinstance(given, type) and issubclass(given, TrajectoryBuffer)
    if not ours and given not in _STOCK:
        raise ValueError(
            "rollout_buffer_class must be a subclass of pg_agents.TrajectoryBuffer, or "
            "None or SB3's RolloutBuffer or DictRolloutBuffer for the ordinary one, "
            f"got {given!r}: a buffer of SB3's kind adds values to the rewards"
        )


def make_buffer(
    given: type[Any] | None,
    arguments: dict[str, Any],
    observation_space: spaces.Space[Any],
    device: torch.device,
) -> TrajectoryBuffer:
    """Returns an empty buffer.

    The errors are of SB3's types, for scripts that count on them.

    Args:
        given: what the user passed as `rollout_buffer_class`.
        arguments: `rollout_buffer_kwargs`, further arguments of that class.
        observation_space: observation space of the model.
        device: device of the model.

    Raises:
        ValueError: see `check_buffer_class`.
        TypeError: if an argument is unknown, or is not the user's to give.
        RefusedError: if `DictRolloutBuffer` is asked for without a `Dict` space.
    """
    check_buffer_class(given)
    check_mapping("rollout_buffer_kwargs", arguments)
    if given not in _STOCK:
        return _made(given, device, arguments)
    for name in _TOLD_BY_THE_MODEL:
        if name in arguments:
            raise TypeError(
                f"rollout_buffer_kwargs got multiple values for keyword argument "
                f"{name!r}: the model gives it, so {arguments[name]!r} can't be given"
            )
    if given is DictRolloutBuffer and not isinstance(observation_space, spaces.Dict):
        raise RefusedError(
            "rollout_buffer_class: DictRolloutBuffer must be used with Dict obs space "
            f"only, got {observation_space}: leave it out"
        )
    return _made(TrajectoryBuffer, device, arguments)


def _made(
    buffer_class: Any,  # noqa: ANN401
    device: torch.device,
    arguments: dict[str, Any],
) -> TrajectoryBuffer:
    try:
        buffer: TrajectoryBuffer = buffer_class(device, **arguments)
    except TypeError as error:
        raise TypeError(
            f"rollout_buffer_kwargs={arguments!r} do not go with "
            f"rollout_buffer_class={buffer_class.__name__}: {error}"
        ) from error
    return buffer


def check_learn(
    *,
    callback: object,
    log_interval: object,
    tb_log_name: object,
    reset_num_timesteps: object,
    progress_bar: object,
) -> None:
    """Raises a ValueError or TypeError naming the first argument that won't do."""
    for each in callback if isinstance(callback, list) else [callback]:
        # A class can be called too, and would be taken for a function.
        is_function = callable(each) and not isinstance(each, type)
        if not (isinstance(each, BaseCallback | None) or is_function):
            raise TypeError(
                "callback must be an SB3 callback (an instance), a function of locals "
                f"and globals, a list of these, or None, got {callback!r}"
            )
    if log_interval is not None:
        check_count("log_interval", log_interval)
    if not isinstance(tb_log_name, str | None):
        raise TypeError(f"tb_log_name must be a name or None, got {tb_log_name!r}")
    check_bool("reset_num_timesteps", reset_num_timesteps)
    check_bool("progress_bar", progress_bar)


def check_can_learn(model: BaseAlgorithm) -> None:
    """Raises a ValueError unless a model has an environment."""
    if model.env is None:
        raise ValueError(
            "the model has no environment to learn in: pass one to load(), or to "
            "set_env()"
        )


def check_spaces(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    counts_from_zero: bool,
) -> None:
    """Raises a ValueError for a space that the networks would get wrong.

    Args:
        observation_space: observation space.
        action_space: action space.
        counts_from_zero: whether the policy assumes that discrete spaces start at 0, as
            SB3's policies do.
    """
    parts = [observation_space]
    if isinstance(observation_space, spaces.Dict):
        parts = list(observation_space.spaces.values())
    for space in (*parts, action_space):
        if counts_from_zero and np.any(getattr(space, "start", 0)):
            raise ValueError(
                f"the policy counts from 0, got {space}: the policies of pg_agents "
                "support spaces that start elsewhere"
            )
