"""From plain settings to environments and models."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecFrameStack,
    VecNormalize,
)
from torch import nn

import pg_agents

# Importing it registers the environments with Gymnasium.
import pg_envs
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.experiments.settings import Settings, is_schedule
from pg_agents.policies import features as scaling
from pg_agents.vec_env.adapter import as_vec_env

# Arguments of `make_vec` that `make` doesn't take.
_OF_MAKE_VEC = ("autoreset_mode", "vectorization_mode", "vector_kwargs")
# Where the names in policy_kwargs are looked up.
_CLASSES = {
    "activation_fn": nn,
    "features_extractor_class": scaling,
    "optimizer_class": torch.optim,
}


def algorithm_class(settings: Settings) -> type[BaseAlgorithm]:
    """Returns the class of the algorithm."""
    ours = getattr(pg_agents, settings.algorithm, None)
    found: type[BaseAlgorithm] = ours or getattr(stable_baselines3, settings.algorithm)
    return found


def make_training_env(settings: Settings) -> VecEnv | VectorEnv[Any, Any, Any]:
    """Returns the environment to learn in, unseeded; `make_model` seeds it."""
    given = dict(settings.env_kwargs)
    if settings.vectorization == "dummy":
        singles = _single_envs(settings.env_id, settings.n_envs, given)
        return _wrapped(singles, settings)
    if settings.vectorization == "torch":
        env: Any = pg_envs.make_torch_vec(
            settings.env_id, settings.n_envs, settings.device, **given
        )
    else:
        env = gymnasium.make_vec(settings.env_id, settings.n_envs, **given)
    # Ours step it in its own arrays; a wrapper, or SB3's algorithms, can't.
    ours = issubclass(algorithm_class(settings), PolicyGradientAlgorithm)
    if ours and settings.normalize is None and settings.frame_stack is None:
        return env  # type: ignore[no-any-return]
    return _wrapped(as_vec_env(env), settings)


def make_evaluation_env(
    settings: Settings, seed: int, render_mode: str | None = None
) -> VecEnv:
    """Returns environments for evaluation, seeded: single ones, each in a Monitor.

    With `vectorization_mode` among the evaluation's arguments, which nobody but
    `make_vec` takes, they are one vector environment, for flights of many thousand
    steps. A VecNormalize around them leaves rewards and its statistics alone.

    Args:
        settings: of the run.
        seed: of the first of them; the next has the next.
        render_mode: how to draw it, which is then but one; None for not at all.
    """
    evaluation = settings.evaluation
    inner: VecEnv
    if render_mode is None and "vectorization_mode" in evaluation.env_kwargs:
        both = {**settings.env_kwargs, **evaluation.env_kwargs}
        native = gymnasium.make_vec(settings.env_id, evaluation.n_envs, **both)
        inner = as_vec_env(native)
    else:
        n_envs = evaluation.n_envs if render_mode is None else 1
        given = {**evaluation_kwargs(settings), "render_mode": render_mode}
        inner = _single_envs(settings.env_id, n_envs, given)
    wrapped = _wrapped(inner, settings, learns=False)
    wrapped.seed(seed)
    return wrapped


def evaluation_kwargs(settings: Settings) -> dict[str, Any]:
    """Returns what `gymnasium.make` is given for an evaluation."""
    both = {**settings.env_kwargs, **settings.evaluation.env_kwargs}
    return {name: both[name] for name in both if name not in _OF_MAKE_VEC}


def make_model(
    settings: Settings, env: VecEnv | VectorEnv[Any, Any, Any], seed: int
) -> BaseAlgorithm:
    """Returns a new model, which has seeded everything that it draws from.

    Raises:
        ValueError: if an argument is unknown or out of range.
    """
    algorithm = algorithm_class(settings)
    arguments = constructor_arguments(settings)
    accepted = list(inspect.signature(algorithm).parameters)
    for name in arguments:
        if name not in accepted:
            close = difflib.get_close_matches(name, accepted, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{settings.algorithm} takes no argument {name!r}{hint}")
    return algorithm(settings.policy, env, seed=seed, **arguments)  # type: ignore[arg-type]


def try_out(settings: Settings) -> None:
    """Builds environment and model, and throws them away.

    Raises:
        ValueError: if a setting is refused; or whatever refuses it raises.
    """
    env = make_training_env(settings)
    try:
        make_model(settings, env, 0)
    finally:
        env.close()


def constructor_arguments(settings: Settings) -> dict[str, Any]:
    """Returns arguments of the algorithm: names have become classes and schedules."""
    arguments = {
        name: _schedule(name, value) if is_schedule(value) else value
        for name, value in settings.arguments.items()
    }
    if settings.policy_kwargs:
        arguments["policy_kwargs"] = _policy_kwargs(settings.policy_kwargs)
    return {**arguments, "device": settings.device}


def load_hook(name: str) -> Any:  # noqa: ANN401
    """Returns the function that ``module:function`` names.

    Raises:
        ValueError: if there is none.
    """
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"there is no function {name}: {error}") from error


def derived_seed(seed: int, purpose: int) -> int:
    """Returns a seed for another purpose than training; in [0, 2^31)."""
    words = np.random.SeedSequence([seed, purpose]).generate_state(1)
    return int(words[0] >> 1)


def _single_envs(env_id: str, n_envs: int, kwargs: Mapping[str, Any]) -> VecEnv:
    def make() -> gymnasium.Env[Any, Any]:
        return Monitor(gymnasium.make(env_id, **kwargs))

    return DummyVecEnv([make] * n_envs)


def _wrapped(env: VecEnv, settings: Settings, learns: bool = True) -> VecEnv:
    """Normalizes single observations, and stacks what has been normalized."""
    if settings.normalize is not None:
        env = VecNormalize(env, **settings.normalize)
        if not learns:
            env.training = env.norm_reward = False
    if settings.frame_stack is not None:
        env = VecFrameStack(env, settings.frame_stack)
    return env


def _schedule(name: str, text: str) -> LinearSchedule:
    try:
        start = float(text.removeprefix("lin_"))
    except ValueError:
        raise ValueError(
            f"{name} must be a number or read like 'lin_3e-4', got {text!r}"
        ) from None
    return LinearSchedule(start, 0.0, 1.0)


def _policy_kwargs(given: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(given)
    for name, module in _CLASSES.items():
        if isinstance(found.get(name), str):
            if not isinstance(getattr(module, found[name], None), type):
                raise ValueError(
                    f"policy_kwargs: {name} must be a class of {module.__name__}, got "
                    f"{found[name]!r}"
                )
            found[name] = getattr(module, found[name])
    return found
