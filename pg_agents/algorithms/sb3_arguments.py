"""Refusals of what Stable-Baselines3 would take, and trip over later or without a name.

SB3 asserts some of these, lets torch or NumPy complain of others, and finds the rest
out while it learns. Here they are refused where they are given.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecEnv

from pg_agents.common.checks import (
    RefusedError,
    UnsupportedError,
    check_choice,
    check_integer,
    check_seed,
)

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
