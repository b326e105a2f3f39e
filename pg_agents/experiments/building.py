"""Makes environments and models from settings."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from gymnasium.vector import VectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecFrameStack,
    VecNormalize,
)

import pg_agents

# Importing it registers the environments with Gymnasium.
import pg_envs
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.experiments.settings import Settings, is_schedule, suggestion
from pg_agents.policies import features
from pg_agents.vec_env.adapter import as_vec_env

# Arguments of `make_vec` that `make` does not take.
_MAKE_VEC_ONLY = ("autoreset_mode", "vectorization_mode", "vector_kwargs")
# Modules of the classes that are named in policy_kwargs.
_CLASS_MODULES = {
    "activation_fn": torch.nn,
    "features_extractor_class": features,
    "optimizer_class": torch.optim,
}


def algorithm_class(settings: Settings) -> type[BaseAlgorithm]:
    """Returns the class of the algorithm."""
    ours = getattr(pg_agents, settings.algorithm, None)
    cls: type[BaseAlgorithm] = ours or getattr(stable_baselines3, settings.algorithm)
    return cls


def make_training_env(settings: Settings) -> VecEnv | VectorEnv[Any, Any, Any]:
    """Returns the environment of the training; `make_model` seeds it."""
    kwargs = dict(settings.env_kwargs)
    if settings.vectorization == "dummy":
        return _wrap(_single_envs(settings.env_id, settings.n_envs, kwargs), settings)
    if settings.vectorization == "torch":
        env: Any = pg_envs.make_torch_vec(
            settings.env_id, settings.n_envs, settings.device, **kwargs
        )
    else:
        env = gymnasium.make_vec(settings.env_id, settings.n_envs, **kwargs)
    # SB3's algorithms and wrappers need a VecEnv; ours are faster without.
    ours = issubclass(algorithm_class(settings), PolicyGradientAlgorithm)
    if ours and settings.normalize is None and settings.frame_stack is None:
        return env  # type: ignore[no-any-return]
    return _wrap(as_vec_env(env), settings)


def make_evaluation_env(
    settings: Settings,
    seed: int,
    render_mode: str | None = None,
    max_steps: int | None = None,
) -> VecEnv:
    """Returns seeded environments for evaluation: single ones, each in a Monitor.

    With `vectorization_mode` in the evaluation's `env_kwargs` it is one vector
    environment. A VecNormalize around them passes rewards through unchanged and does
    not update its statistics.

    Args:
        settings: settings of the run.
        seed: seed of the first environment; the next one has the next seed.
        render_mode: render mode of a single environment; None for no rendering.
        max_steps: steps after which an episode of a single environment is cut off,
            besides its own time limit; None for no limit.
    """
    evaluation = settings.evaluation
    kwargs = {**settings.env_kwargs, **evaluation.env_kwargs}
    if render_mode is None and "vectorization_mode" in evaluation.env_kwargs:
        vector_env = gymnasium.make_vec(settings.env_id, evaluation.n_envs, **kwargs)
        env = as_vec_env(vector_env)
    else:
        kwargs = {k: v for k, v in kwargs.items() if k not in _MAKE_VEC_ONLY}
        n_envs = evaluation.n_envs if render_mode is None else 1
        kwargs["render_mode"] = render_mode
        env = _single_envs(settings.env_id, n_envs, kwargs, max_steps)
    env = _wrap(env, settings, training=False)
    env.seed(seed)
    return env


def make_model(
    settings: Settings, env: VecEnv | VectorEnv[Any, Any, Any], seed: int
) -> BaseAlgorithm:
    """Returns a new model; its constructor seeds all random generators.

    Raises:
        ValueError: if an argument is unknown or out of range.
    """
    algorithm = algorithm_class(settings)
    arguments = constructor_arguments(settings)
    accepted = list(inspect.signature(algorithm).parameters)
    for name in arguments:
        if name not in accepted:
            raise ValueError(
                f"{settings.algorithm} takes no argument {name!r}: "
                f"{suggestion(name, accepted)}"
            )
    return algorithm(settings.policy, env, seed=seed, **arguments)  # type: ignore[arg-type]


def check_buildable(settings: Settings) -> None:
    """Raises what `make_training_env` and `make_model` raise for bad settings."""
    with closing(make_training_env(settings)) as env:
        make_model(settings, env, 0)


def constructor_arguments(settings: Settings) -> dict[str, Any]:
    """Returns arguments of the algorithm, with names replaced by what they name."""
    arguments = dict(settings.arguments)
    for name, value in arguments.items():
        if is_schedule(value):
            try:
                start = float(value.removeprefix("lin_"))
            except ValueError:
                raise ValueError(
                    f"{name} must be a number or read like 'lin_3e-4', got {value!r}"
                ) from None
            arguments[name] = LinearSchedule(start, 0.0, 1.0)
    kwargs = dict(settings.policy_kwargs)
    for name, module in _CLASS_MODULES.items():
        if isinstance(kwargs.get(name), str):
            cls = getattr(module, kwargs[name], None)
            if not isinstance(cls, type):
                raise ValueError(
                    f"policy_kwargs: {name} must be a class of {module.__name__}, got "
                    f"{kwargs[name]!r}"
                )
            kwargs[name] = cls
    if kwargs:
        arguments["policy_kwargs"] = kwargs
    return {**arguments, "device": settings.device}


def load_function(name: str) -> Any:  # noqa: ANN401
    """Returns the function that ``module:function`` names.

    Raises:
        ValueError: if it does not exist.
    """
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"there is no function {name}: {error}") from error


def derived_seed(seed: int, purpose: int) -> int:
    """Returns the seed of another purpose than training, in [0, 2^31)."""
    words = np.random.SeedSequence([seed, purpose]).generate_state(1)
    return int(words[0] >> 1)


def _single_envs(
    env_id: str, n_envs: int, kwargs: Mapping[str, Any], max_steps: int | None = None
) -> VecEnv:
    def make() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make(env_id, **kwargs)
        return Monitor(env if max_steps is None else TimeLimit(env, max_steps))

    return DummyVecEnv([make] * n_envs)


def _wrap(env: VecEnv, settings: Settings, training: bool = True) -> VecEnv:
    """Normalizes observations, then stacks them."""
    if settings.normalize is not None:
        env = VecNormalize(env, **settings.normalize)
        if not training:
            env.training = env.norm_reward = False
    if settings.frame_stack is not None:
        env = VecFrameStack(env, settings.frame_stack)
    return env
