"""What an algorithm shows to who uses it, found by looking and by running it.

Every function returns rows: the name of something, and what it is, in words that are
equal for two algorithms exactly if a user sees no difference.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

Rows = dict[str, str]
Algorithm = type[BaseAlgorithm]

# Sizes that occur nowhere else in the probe, so that a shape can be read.
N_ENVS, N_STEPS = 3, 5
SIZES = {N_ENVS: "N", N_STEPS: "T", N_ENVS * N_STEPS: "B"}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "Discrete": spaces.Discrete(4),
    "Box": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "MultiDiscrete": spaces.MultiDiscrete([4, 4]),
    "MultiBinary": spaces.MultiBinary(6),
}
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "Box": spaces.Box(-1.0, 1.0, (4,), np.float32),
    "Discrete": spaces.Discrete(7),
    "image": spaces.Box(0, 255, (1, 36, 36), np.uint8),
    "Dict": spaces.Dict({"x": spaces.Box(-1.0, 1.0, (4,)), "i": spaces.Discrete(7)}),
}
# What differs from run to run: its type is told, not its value.
VOLATILE = {"start_time"}


class ProbeEnv(gymnasium.Env[Any, Any]):
    """Episodes of N_STEPS steps with a success flag.

    Args:
        truncates: whether a time limit ends them, and not the task.
        observation: kind of observation.
        action: kind of action.
    """

    def __init__(self, truncates: bool, observation: str, action: str) -> None:
        self.observation_space = OBSERVATIONS[observation]
        self.action_space = ACTIONS[action]
        self.truncates = truncates
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Returns an observation that depends on nothing but the step."""
        super().reset(seed=seed)
        self.steps = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: ANN401
        """Pays for the sum of the action."""
        self.steps += 1
        over = self.steps == N_STEPS
        ends = over and not self.truncates, over and self.truncates
        info = {"is_success": self.truncates} if over else {}
        return self._seen(), float(np.sum(action)), *ends, info

    def _seen(self) -> Any:  # noqa: ANN401
        self.observation_space.seed(self.steps)
        return self.observation_space.sample()


def probe_env(observation: str = "Box", action: str = "Discrete") -> DummyVecEnv:
    """Returns N_ENVS monitored environments; time limits end all but the last."""
    return DummyVecEnv(
        [
            lambda limited=i < N_ENVS - 1: Monitor(  # type: ignore[misc]
                ProbeEnv(limited, observation, action)
            )
            for i in range(N_ENVS)
        ]
    )


def probe_model(
    algorithm: Algorithm,
    observation: str = "Box",
    action: str = "Discrete",
    **arguments: Any,
) -> Any:  # noqa: ANN401
    """Returns a model with the algorithm's own defaults, but for `arguments`."""
    names = {"image": "CnnPolicy", "Dict": "MultiInputPolicy"}
    make: Any = algorithm
    policy = names.get(observation, "MlpPolicy")
    env = probe_env(observation, action)
    return make(policy, env, seed=0, device="cpu", **arguments)


def describe(value: Any) -> str:  # noqa: ANN401
    """Returns what a user can rely on: a plain value, or type, dtype and shape."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {_shape(value.shape)}"
    if isinstance(value, torch.Tensor):
        return (
            f"tensor, {str(value.dtype).removeprefix('torch.')} {_shape(value.shape)}"
        )
    if isinstance(value, tuple):
        return repr(value)
    if isinstance(value, dict):
        return _describe_dict(value)
    if isinstance(value, deque):
        return f"deque, at most {value.maxlen}"
    if isinstance(value, list):
        kinds = sorted({type(each).__name__ for each in value})
        return f"list of {'/'.join(kinds)} [{SIZES.get(len(value), len(value))}]"
    if isinstance(value, type):
        return f"class {known_class(value)}"
    return known_class(type(value))


def _describe_dict(value: dict[str, Any]) -> str:
    if all(isinstance(each, np.ndarray | torch.Tensor) for each in value.values()):
        inside = ", ".join(f"{key}: {describe(each)}" for key, each in value.items())
        return f"{{{inside}}}"
    return f"dict of {', '.join(value)}" if len(value) < 4 else "dict"


def known_class(given: type) -> str:
    """Returns the class itself, or the one of SB3's common classes that it extends."""
    for base in given.__mro__:
        if base.__module__.startswith("stable_baselines3.common"):
            return base.__name__
    return given.__name__


def _shape(shape: Iterable[int]) -> str:
    return "[" + ", ".join(str(SIZES.get(n, n)) for n in shape) + "]"


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a function, those that `**kwargs` hand on included."""
    found = dict(inspect.signature(function).parameters)
    found.pop("self", None)
    return found


def method_parameters(owner: type, name: str) -> dict[str, inspect.Parameter]:
    """Returns a method's parameters, in order; `**kwargs` stand for its parent's."""
    found: dict[str, inspect.Parameter] = {}
    for base in owner.__mro__:
        if name not in vars(base):
            continue
        open_ended = False
        for each in parameters(getattr(base, name)).values():
            if each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
                open_ended = True
            else:
                found.setdefault(each.name, each)
        if not open_ended:
            break
    return found


def default(parameter: inspect.Parameter) -> str:
    """Returns the default of an argument as it is written."""
    if parameter.default is parameter.empty:
        return "required"
    return describe(parameter.default)


def constructor(algorithm: Algorithm) -> Rows:
    """Rows of the constructor's arguments: defaults, and how many go by position."""
    found = method_parameters(algorithm, "__init__")
    by_position = [p.name for p in found.values() if p.kind is not p.KEYWORD_ONLY]
    rows = {name: default(p) for name, p in found.items()}
    return rows | {"(order)": ", ".join(by_position)}


def methods(algorithm: Algorithm) -> Rows:
    """Rows of public methods and of each of their arguments."""
    rows = {}
    for name, _ in inspect.getmembers(algorithm, callable):
        if name.startswith("_"):
            continue
        found = method_parameters(algorithm, name)
        rows[f"{name}()"] = f"({', '.join(found)})"
        rows |= {f"{name}({each})": default(p) for each, p in found.items()}
    return rows


def attributes(algorithm: Algorithm) -> Rows:
    """Rows of public attributes and properties of a model that has learnt."""
    model = probe_model(algorithm)
    model.learn(2 * N_ENVS * N_STEPS)
    names = {name for name in {*vars(model), *dir(model)} if not name.startswith("_")}
    values = {name: getattr(model, name) for name in sorted(names)}
    return {
        name: type(value).__name__ if name in VOLATILE else describe(value)
        for name, value in values.items()
        if not inspect.isroutine(value)
    }


def policies(algorithm: Algorithm) -> Rows:
    """Rows of the names of policies, with the networks that they stand for."""
    seen = {"MlpPolicy": "Box", "CnnPolicy": "image", "MultiInputPolicy": "Dict"}
    rows = {}
    for name in algorithm.policy_aliases:
        if name not in seen:
            rows[name] = algorithm.policy_aliases[name].__name__
            continue
        weights = probe_model(algorithm, seen[name]).policy.state_dict()
        n_weights = sum(each.numel() for each in weights.values())
        rows[name] = f"{len(weights)} tensors, {n_weights} weights"
    return rows


def policy_arguments(algorithm: Algorithm) -> Rows:
    """Rows of what `policy_kwargs` may hold, by policy."""
    rows = {}
    for alias in ("MlpPolicy", "CnnPolicy", "MultiInputPolicy"):
        found = method_parameters(algorithm.policy_aliases[alias], "__init__")
        for name in ("observation_space", "action_space", "lr_schedule"):
            found.pop(name)
        for name, parameter in found.items():
            rows[f"{alias}({name})"] = default(parameter)
    return rows
