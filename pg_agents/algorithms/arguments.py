"""Checks of the arguments shared with SB3: policy, environment, buffer and the rest.

SB3 asserts some conditions and leaves others to torch or NumPy. Here every invalid
argument raises an error that names it, before anything is built.
"""

from __future__ import annotations

import inspect
import math
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
    InvalidArgumentError,
    UnsupportedSpaceError,
    check_choice,
    check_count,
    check_integer,
    check_seed,
)
from pg_agents.rollout.buffer import TrajectoryBuffer

# Spaces of arrays; observations may also be a Dict of them.
_ARRAY_SPACES = ("Box", "Discrete", "MultiDiscrete", "MultiBinary")


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
    """Raises a ValueError or TypeError that names the first invalid argument."""
    check_choice("use_sde", use_sde, (True, False))
    check_integer("sde_sample_freq", sde_sample_freq, -1)
    check_integer("stats_window_size", stats_window_size, 1)
    if not isinstance(tensorboard_log, str | os.PathLike | None):
        raise TypeError(
            f"tensorboard_log must be the path of a folder or None, got "
            f"{tensorboard_log!r}"
        )
    check_mapping("policy_kwargs", policy_kwargs)
    # SB3 accepts booleans.
    check_integer("verbose", int(verbose) if isinstance(verbose, bool) else verbose, 0)
    if seed is not None:
        check_seed("seed", seed)
    _check_device(device)


def check_mapping(name: str, value: object) -> None:
    """Raises a TypeError unless `value` is a dict with string keys, or None."""
    if value is None:
        return
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise TypeError(
            f"{name} must be a dict of arguments by name, or None, got {value!r}"
        )


def check_policy(policy: object) -> None:
    """Raises a ValueError unless `policy` is a string or a class of policies."""
    is_class = isinstance(policy, type) and issubclass(policy, BasePolicy)
    if not isinstance(policy, str) and not is_class:
        raise ValueError(
            f"policy must be a name or a class, got {policy!r}: a name of the "
            "algorithm's policy_aliases, or a subclass of SB3's ActorCriticPolicy"
        )


def make_env(env: Any, verbose: int, wrap: Any) -> VecEnv | None:  # noqa: ANN401
    """Returns the environment as an SB3 vector environment.

    Args:
        env: environment, id, SB3 or Gymnasium vector environment, or None.
        verbose: as in the algorithm's constructor.
        wrap: the algorithm's `_wrap_env`.

    Raises:
        ValueError: if the environment can't be made or its spaces are unsupported.
        TypeError: if `env` is not an environment.
    """
    if env is None:
        return None
    try:
        made: Any = maybe_make_env(env, verbose)
    except (gymnasium.error.Error, ImportError) as error:
        hint = ""
        ours = [name for name in gymnasium.registry if name.startswith("PGToy-")]
        if str(env).startswith("PGToy-") and not ours:
            hint = f' `import pg_envs` first, or write "pg_envs:{env}".'
        raise ValueError(f"env={env!r} can't be made: {error}{hint}") from error
    check_is_env(made, "an environment, the id of one")
    with closed_on_error(made if isinstance(env, str) else None):
        if isinstance(made, VectorEnv):
            obs_space, action_space = (
                made.single_observation_space,
                made.single_action_space,
            )
        else:
            obs_space, action_space = made.observation_space, made.action_space
        _check_observation_space(obs_space)
        _check_action_space(action_space)
        wrapped: VecEnv = wrap(made, verbose)
    return wrapped


def check_is_env(env: object, accepted: str = "an environment") -> None:
    """Raises a TypeError unless `env` is an environment with spaces, single or vector.

    Args:
        env: the argument.
        accepted: description of what is accepted besides vector environments.
    """
    # By attribute, not by type: SB3 converts environments of the old gym.
    is_env = hasattr(env, "reset") and hasattr(env, "step")
    if isinstance(env, type) or not is_env:
        raise TypeError(
            f"env must be {accepted}, an SB3 or a Gymnasium vector environment (an "
            f"instance, not a class), got {env!r}"
        )
    for name in ("observation_space", "action_space"):
        if not hasattr(env, name):
            raise TypeError(f"env must have an {name}, a space, and {env!r} has none")


def check_has_spaces(model: object) -> None:
    """Raises a ValueError if a model was made without an environment or its spaces."""
    if not hasattr(model, "observation_space"):
        raise ValueError(
            "env must be an environment or the id of one, got None: only load() works "
            "without one"
        )


def check_env(env: VecEnv | None, policy: object, use_sde: bool) -> None:
    """Raises a ValueError if an environment is incompatible with `policy` or gSDE."""
    if env is None:
        return
    if use_sde and not isinstance(env.action_space, spaces.Box):
        raise ValueError(
            f"use_sde=True needs continuous actions, a Box, got {env.action_space}"
        )
    is_dict = isinstance(env.observation_space, spaces.Dict)
    if is_dict and policy in ("MlpPolicy", "CnnPolicy"):
        raise ValueError(
            f"policy: you must use `MultiInputPolicy` for Dict observations, got "
            f"{policy!r} and {env.observation_space}"
        )


@contextmanager
def closed_on_error(env: Any) -> Iterator[None]:  # noqa: ANN401
    """Closes `env`, unless it is None, if the block raises an exception."""
    try:
        yield
    except Exception:
        if env is not None:
            env.close()
        raise


def plain_integers(arguments: dict[str, Any]) -> dict[str, Any]:
    """Replaces NumPy's integers by Python's, which random generators insist on."""
    return {
        name: int(value) if isinstance(value, np.integer) else value
        for name, value in arguments.items()
    }


def _is_array_space(space: object) -> bool:
    # By name, to include spaces of the old gym; by base class, for custom subclasses.
    return any(base.__name__ in _ARRAY_SPACES for base in type(space).__mro__)


def _check_observation_space(space: Any) -> None:  # noqa: ANN401
    parts = [space]
    if isinstance(space, spaces.Dict):
        parts = list(space.spaces.values())
    for part in parts:
        if not _is_array_space(part):
            raise UnsupportedSpaceError(
                f"env: observations must be an array or a Dict of arrays, got {part}: "
                f"accepted are {', '.join(_ARRAY_SPACES)}. Nested spaces are not "
                "supported"
            )
        _check_shape("observation", part)


def _check_action_space(space: Any) -> None:  # noqa: ANN401
    if not _is_array_space(space):
        raise InvalidArgumentError(
            f"env: actions must be {', '.join(_ARRAY_SPACES)}, got {space}"
        )
    _check_shape("action", space)
    if isinstance(space, spaces.Box) and not np.isfinite([space.low, space.high]).all():
        raise ValueError(f"env: continuous actions need finite bounds, got {space}")


def _check_shape(kind: str, space: Any) -> None:  # noqa: ANN401
    is_multi_binary_action = isinstance(space, spaces.MultiBinary) and kind == "action"
    if is_multi_binary_action and len(space.shape) != 1:
        raise InvalidArgumentError(
            f"env: Multi-dimensional {space} action space is not supported, got "
            f"shape {space.shape}: flatten it"
        )
    if np.ndim(getattr(space, "nvec", [0])) != 1:
        raise ValueError(
            f"env: multi-dimensional discrete {kind}s are not supported, got {space}: "
            "flatten them"
        )
    if isinstance(space, spaces.Box) and kind == "observation" and not space.shape:
        raise ValueError(
            f"env: an observation needs at least one axis, got {space}: use shape (1,)"
        )


def _check_device(device: Any) -> None:  # noqa: ANN401
    try:
        # A device may have a valid name and not exist: write to it and read back.
        torch.zeros(1, device=get_device(device)).cpu()
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"device must be 'auto' or an available device of torch, such as 'cpu' or "
            f"'cuda', got {device!r}: {error}"
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
# Outside this range the standard deviation, its exponential, is useless in float32.
_LOG_STD_RANGE = (-20.0, 20.0)


def check_policy_kwargs(
    policy_class: type,
    user_kwargs: dict[str, Any],
    policy_kwargs: dict[str, Any],
    observation_space: spaces.Space[Any],
) -> None:
    """Raises a ValueError or TypeError that names the first invalid entry.

    Args:
        policy_class: the policy. Custom classes have unknown arguments and are not
            checked.
        user_kwargs: the algorithm's argument `policy_kwargs`.
        policy_kwargs: the same with the algorithm's defaults.
        observation_space: observation space.
    """
    if not policy_class.__module__.startswith(("pg_agents.", "stable_baselines3.")):
        return
    if "use_sde" in user_kwargs:
        raise ValueError(
            "policy_kwargs must not contain 'use_sde': pass use_sde to the algorithm, "
            "which draws the noise"
        )
    defaults = _default_arguments(policy_class)
    for name in user_kwargs:
        if name not in defaults:
            raise ValueError(
                f"policy_kwargs contains {name!r}, and {policy_class.__name__} accepts "
                f"{', '.join(sorted(defaults))}"
            )
    for name in _FLAGS:
        if name in policy_kwargs:
            check_choice(name, policy_kwargs[name], (True, False))
    if policy_kwargs.get("squash_output") and not policy_kwargs.get("use_sde"):
        raise InvalidArgumentError(
            "policy_kwargs: squash_output=True needs use_sde=True"
        )
    for name, check in _CHECKS.items():
        if name in user_kwargs:
            check(user_kwargs[name])
    for name in ("features_extractor_kwargs", "optimizer_kwargs"):
        if not isinstance(user_kwargs.get(name), dict | None):
            raise TypeError(f"{name} must be a dict or None, got {user_kwargs[name]!r}")
    extractor = policy_kwargs.get(
        "features_extractor_class", defaults["features_extractor_class"]
    )
    if extractor is FlattenExtractor and isinstance(observation_space, spaces.Dict):
        raise ValueError(
            f"policy {policy_class.__name__} can't read the Dict observations of env: "
            "use 'MultiInputPolicy', or a features_extractor_class that can"
        )
    if {"optimizer_class", "optimizer_kwargs"} & set(policy_kwargs):
        optimizer_class = policy_kwargs.get(
            "optimizer_class", defaults["optimizer_class"]
        )
        _check_optimizer(optimizer_class, policy_kwargs.get("optimizer_kwargs") or {})


def build_policy(
    policy_class: Any,  # noqa: ANN401
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    lr_schedule: Schedule,
    policy_kwargs: dict[str, Any],
) -> ActorCriticPolicy:
    """Builds a policy; an error names the policy, its arguments and the spaces.

    Raises:
        ValueError: if the networks and the spaces are incompatible.
        TypeError: if an argument is unknown or of a wrong type.
    """
    failure = (
        f"policy {policy_class.__name__} with policy_kwargs={policy_kwargs!r} can't be "
        f"built for observations {observation_space} and actions {action_space}"
    )
    # Copies, because SB3 writes to some of these dicts, which are the caller's.
    copied = {
        name: value.copy() if isinstance(value, dict) else value
        for name, value in policy_kwargs.items()
    }
    try:
        policy: ActorCriticPolicy = policy_class(
            observation_space, action_space, lr_schedule, **copied
        )
    except torch.OutOfMemoryError:
        raise
    except AssertionError as error:
        raise InvalidArgumentError(f"{failure}: {error}") from error
    except RuntimeError as error:
        raise ValueError(f"{failure}: {error}") from error
    except TypeError as error:
        raise TypeError(f"{failure}: {error}") from error
    return policy


def _default_arguments(policy_class: type) -> dict[str, Any]:
    """Returns a policy's arguments and their defaults.

    Where a constructor takes `**kwargs`, those of its base class are included.
    """
    defaults: dict[str, Any] = {}
    for base in policy_class.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        for parameter in parameters:
            if parameter.kind is not parameter.VAR_KEYWORD:
                defaults.setdefault(parameter.name, parameter.default)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break
    for name in ("self", "observation_space", "action_space", "lr_schedule"):
        defaults.pop(name, None)
    return defaults


def _check_net_arch(net_arch: Any) -> None:  # noqa: ANN401
    if net_arch is None:
        return
    # SB3 still accepts the format of its earlier versions, a list of one dict.
    if isinstance(net_arch, list) and [type(part) for part in net_arch] == [dict]:
        net_arch = net_arch[0]
    parts = net_arch if isinstance(net_arch, dict) else {"pi": net_arch}
    if not set(parts) <= {"pi", "vf"} or not all(
        isinstance(widths, list | tuple) for widths in parts.values()
    ):
        raise ValueError(
            "net_arch must be a list of layer widths, or a dict of such lists, 'pi' "
            f"and 'vf', got {net_arch!r}"
        )
    for widths in parts.values():
        for width in widths:
            check_count(f"each width in net_arch={net_arch!r}", width)


def _check_activation(activation_fn: Any) -> None:  # noqa: ANN401
    inputs = torch.zeros(2, 4)
    try:
        with torch.no_grad():
            shape = activation_fn().eval()(inputs).shape
    except Exception as error:
        raise ValueError(
            "activation_fn must be a class of activations that takes no arguments, "
            f"such as torch.nn.Tanh, got {activation_fn!r}: {error}"
        ) from error
    if shape != inputs.shape:
        raise ValueError(
            f"activation_fn must keep the shape of its input, got {activation_fn!r}, "
            f"which turns {tuple(inputs.shape)} into {tuple(shape)}"
        )


def _check_log_std(log_std_init: Any) -> None:  # noqa: ANN401
    low, high = _LOG_STD_RANGE
    try:
        number = float(log_std_init)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        raise ValueError(
            f"log_std_init must be a number in [{low:g}, {high:g}], got "
            f"{log_std_init!r}"
        )


def _check_extractor(extractor: Any) -> None:  # noqa: ANN401
    is_class = isinstance(extractor, type)
    if not is_class or not issubclass(extractor, BaseFeaturesExtractor):
        raise ValueError(
            "features_extractor_class must be a subclass of SB3's "
            f"BaseFeaturesExtractor, got {extractor!r}"
        )


def _check_critic(critic: Any) -> None:  # noqa: ANN401
    check_choice("critic", critic, ("separate", "shared", "none"))


_CHECKS: dict[str, Callable[[Any], None]] = {
    "critic": _check_critic,
    "net_arch": _check_net_arch,
    "activation_fn": _check_activation,
    "log_std_init": _check_log_std,
    "features_extractor_class": _check_extractor,
}


def _check_optimizer(optimizer_class: Any, optimizer_kwargs: dict[str, Any]) -> None:  # noqa: ANN401
    """Raises a ValueError unless an optimiser can take a step on a small network."""
    weights = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
    for weight in weights:
        # Includes a gradient of 0, which some settings divide by.
        weight.grad = torch.arange(float(weight.numel())).reshape(weight.shape)
    arguments = (
        f"optimizer_class={optimizer_class!r} with "
        f"optimizer_kwargs={optimizer_kwargs!r}"
    )
    try:
        optimizer_class(weights, lr=1e-3, **optimizer_kwargs).step()
    except Exception as error:
        raise ValueError(
            f"{arguments} can't take a step: {error}; optimizer_class must be a "
            "subclass of torch.optim.Optimizer"
        ) from error
    if not all(weight.isfinite().all() for weight in weights):
        raise ValueError(
            f"{arguments} makes weights infinite or NaN where a gradient is 0"
        )


# SB3's buffers stand for the default one.
_DEFAULT_BUFFERS = (None, RolloutBuffer, DictRolloutBuffer)
# Arguments that SB3's algorithms pass to their buffers, so that users may not.
_RESERVED_BUFFER_KWARGS = (
    "buffer_size",
    "observation_space",
    "action_space",
    "device",
    "gamma",
    "gae_lambda",
    "n_envs",
)


def check_buffer_class(buffer_class: object) -> None:
    """Raises a ValueError unless it can be a model's `rollout_buffer_class`."""
    if buffer_class in _DEFAULT_BUFFERS:
        return
    if not isinstance(buffer_class, type) or not issubclass(
        buffer_class, TrajectoryBuffer
    ):
        raise ValueError(
            "rollout_buffer_class must be a subclass of pg_agents.TrajectoryBuffer, or "
            "None or SB3's RolloutBuffer or DictRolloutBuffer for the default one, got "
            f"{buffer_class!r}: other SB3 buffers add values to the rewards"
        )


def make_buffer(
    buffer_class: type[Any] | None,
    buffer_kwargs: dict[str, Any],
    observation_space: spaces.Space[Any],
    device: torch.device,
) -> TrajectoryBuffer:
    """Returns an empty buffer; errors have the types that SB3 raises.

    Args:
        buffer_class: the algorithm's argument `rollout_buffer_class`.
        buffer_kwargs: `rollout_buffer_kwargs`, further arguments of that class.
        observation_space: observation space of the model.
        device: device of the model.

    Raises:
        ValueError: see `check_buffer_class`.
        TypeError: if an argument is unknown or reserved for the model.
        InvalidArgumentError: for `DictRolloutBuffer` without a `Dict` space.
    """
    check_buffer_class(buffer_class)
    check_mapping("rollout_buffer_kwargs", buffer_kwargs)
    if buffer_class in _DEFAULT_BUFFERS:
        for name in _RESERVED_BUFFER_KWARGS:
            if name in buffer_kwargs:
                raise TypeError(
                    "rollout_buffer_kwargs got multiple values for keyword argument "
                    f"{name!r}, which the model passes: got {buffer_kwargs[name]!r}"
                )
        is_dict = isinstance(observation_space, spaces.Dict)
        if buffer_class is DictRolloutBuffer and not is_dict:
            raise InvalidArgumentError(
                "rollout_buffer_class: DictRolloutBuffer must be used with Dict obs "
                f"space only, got {observation_space}: leave it out"
            )
        buffer_class = TrajectoryBuffer
    assert buffer_class is not None
    try:
        buffer: TrajectoryBuffer = buffer_class(device, **buffer_kwargs)
    except TypeError as error:
        raise TypeError(
            f"rollout_buffer_kwargs={buffer_kwargs!r} do not match "
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
    """Raises a ValueError or TypeError that names the first invalid argument."""
    for item in callback if isinstance(callback, list) else [callback]:
        # Classes are callable too: a missing () would pass for a function.
        is_function = callable(item) and not isinstance(item, type)
        if not (isinstance(item, BaseCallback | None) or is_function):
            raise TypeError(
                "callback must be an SB3 callback (an instance), a function of locals "
                f"and globals, a list of these, or None, got {callback!r}"
            )
    if log_interval is not None:
        check_integer("log_interval", log_interval, 1)
    if not isinstance(tb_log_name, str | None):
        raise TypeError(f"tb_log_name must be a name or None, got {tb_log_name!r}")
    check_choice("reset_num_timesteps", reset_num_timesteps, (True, False))
    check_choice("progress_bar", progress_bar, (True, False))


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
    """Raises a ValueError for spaces that SB3's networks would misread.

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


def describe_model(model: BaseAlgorithm) -> str:
    """Returns one line about a model: policy, environment and steps of training."""
    policy: Any = getattr(model, "policy", None)
    parts = ["no policy yet" if policy is None else type(policy).__name__]
    env = model.get_env()
    if env is not None:
        envs = "1 environment" if env.num_envs == 1 else f"{env.num_envs} environments"
        try:
            spec: Any = env.get_attr("spec", [0])[0]
        except AttributeError:
            spec = None
        parts.append(envs if spec is None else f"{envs} of {spec.id}")
    parts.append(f"{model.num_timesteps:,} steps trained")
    return f"{type(model).__name__}({', '.join(parts)})"
