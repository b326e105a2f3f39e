"""Observation normalisation by running statistics, in and around environments.

VecNormalize and Gymnasium's NormalizeObservation return different observations for the
same state as their statistics change. Demonstrations therefore hold raw observations:
the input of the innermost normaliser. The wrappers beneath it are part of the raw
observation.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces, wrappers
from gymnasium.vector import (
    AsyncVectorEnv,
    SyncVectorEnv,
    VectorObservationWrapper,
    VectorWrapper,
)
from gymnasium.wrappers import vector as vector_wrappers
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)

from pg_agents.cloning.data import Observations
from pg_agents.common.tree import copy_observation, count, select, tree_map
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_agents.vec_env.arrays import with_rows

Transform = Callable[[Observations], Observations]

_NORMALIZERS = wrappers.NormalizeObservation, vector_wrappers.NormalizeObservation
_NORMALIZER_METHODS = (
    wrappers.NormalizeObservation.observation,
    vector_wrappers.NormalizeObservation.observations,
)
_WITH_STATISTICS = (
    *_NORMALIZERS,
    wrappers.NormalizeReward,
    vector_wrappers.NormalizeReward,
)
# Modules whose `reset` and `step` return observations unchanged.
_PASS_THROUGH_MODULES = (
    "gymnasium.core",
    "gymnasium.vector.vector_env",
    "gymnasium.wrappers.common",
    "gymnasium.wrappers.rendering",
    "gymnasium.wrappers.stateful_action",
    "gymnasium.wrappers.stateful_reward",
    "gymnasium.wrappers.transform_action",
    "gymnasium.wrappers.transform_reward",
    "gymnasium.wrappers.vector.common",
    "gymnasium.wrappers.vector.dict_info_to_list",
    "gymnasium.wrappers.vector.rendering",
    "gymnasium.wrappers.vector.stateful_reward",
    "gymnasium.wrappers.vector.vectorize_action",
    "gymnasium.wrappers.vector.vectorize_reward",
    "stable_baselines3.common.monitor",
)
# Modules whose observation wrappers are functions of the observation alone.
_STATELESS_MODULES = (
    "gymnasium.core",
    "gymnasium.vector.vector_env",
    "gymnasium.wrappers.transform_observation",
    "gymnasium.wrappers.vector.vectorize_observation",
)
_PASS_THROUGH_VEC_WRAPPERS = (
    VecCheckNan,
    VecMonitor,
    VecTransposeImage,
    VecVideoRecorder,
)


class ObservationNormalizer:
    """Maps raw observations to those that a model sees, without updating statistics.

    Args:
        layers: wrappers from the outermost to the innermost normaliser.

    Attributes:
        name: class name of the innermost normaliser.
        space: space of the raw observations.
        statistics: its `obs_rms`: a RunningMeanStd, or a dict of these.

    Raises:
        ValueError: if a wrapper is not a known function of the observation.
    """

    def __init__(self, layers: list[Any]) -> None:
        innermost = layers[-1]
        self.name = type(innermost).__name__
        self.statistics: Any = innermost.obs_rms
        self.space = _input_space(innermost)
        transforms = [_transform(layer, self.name) for layer in reversed(layers)]
        self._transforms = [t for t in transforms if t is not None]

    def __call__(self, observations: Observations) -> Observations:
        """Returns normalised observations for raw ones `[B, *shape]`."""
        for transform in self._transforms:
            observations = transform(observations)
        return observations


def observation_normalizer(env: VecEnv | None) -> ObservationNormalizer | None:
    """Returns the normaliser of an environment; None if it has none.

    Args:
        env: environment of a model.

    Raises:
        ValueError: if the statistics differ between environments, are in other
            processes, or a wrapper around the normaliser is not a known function of
            the observation.
    """
    if env is None:
        return None
    stacks, _ = _normalizer_stacks(env)
    first = stacks[0]
    if any(_signature(stack) != _signature(first) for stack in stacks[1:]):
        raise ValueError(
            "each environment of the model normalises observations with statistics of "
            "its own (gymnasium.wrappers.NormalizeObservation): remove it, and wrap "
            "the vector environment in stable_baselines3's VecNormalize"
        )
    return ObservationNormalizer(first) if first else None


class RawObservations:
    """Captures the raw observations of an environment while it is stepped.

    Args:
        env: the environment, without a VecNormalize.

    Attributes:
        space: space of the raw observations.

    Raises:
        ValueError: if environments in other processes normalise.
    """

    def __init__(self, env: VecEnv) -> None:
        stacks, layers = _normalizer_stacks(env)
        if len({bool(stack) for stack in stacks}) > 1:
            raise ValueError(
                "either all environments or none must have a NormalizeObservation"
            )
        # Unique: a wrapper of a vector environment is in the stack of each.
        innermost = {id(stack[-1]): stack[-1] for stack in stacks if stack}
        self._normalizers = [*innermost.values()]
        self._with_statistics = [
            layer for layer in layers if isinstance(layer, _WITH_STATISTICS)
        ]
        self.space: spaces.Space[Any] = (
            _input_space(self._normalizers[0])
            if self._normalizers
            else env.observation_space
        )
        # Inputs of each normaliser since the last call of `pop`.
        self._inputs: list[list[Any]] = [[] for _ in self._normalizers]

    @contextmanager
    def capture(self) -> Generator[None]:
        """Captures inputs of the normalisers, and freezes all running statistics."""
        was_updating = [layer.update_running_mean for layer in self._with_statistics]
        try:
            for layer in self._with_statistics:
                layer.update_running_mean = False
            for normalizer, inputs in zip(self._normalizers, self._inputs, strict=True):
                name = _method_name(normalizer)
                setattr(
                    normalizer,
                    name,
                    partial(_capture_input, getattr(normalizer, name), inputs),
                )
            yield
        finally:
            for normalizer in self._normalizers:
                # Uncovers the method of the class.
                vars(normalizer).pop(_method_name(normalizer), None)
            for layer, update in zip(self._with_statistics, was_updating, strict=True):
                layer.update_running_mean = update

    def pop(
        self,
        observations: Any,  # noqa: ANN401
        dones: NDArray[np.bool_] | None,
    ) -> Any:  # noqa: ANN401
        """Returns the raw observations `[N, *shape]` of the last reset or step.

        Args:
            observations: returned by `reset` or `step`.
            dones: `[N]` bool, returned by `step`; None after `reset`.
        """
        if not self._normalizers:
            return observations
        if isinstance(self._normalizers[0], wrappers.NormalizeObservation):
            # The latest of each environment: the last one may be of a reset.
            raw: Any = np.stack([inputs[-1] for inputs in self._inputs])
        else:
            raw, *after_reset = self._inputs[0]
            if after_reset:
                raw = with_rows(raw, after_reset[-1], dones)
        for inputs in self._inputs:
            inputs.clear()
        return np.asarray(raw, dtype=self.space.dtype)


def _method_name(normalizer: Any) -> str:  # noqa: ANN401
    single = isinstance(normalizer, wrappers.NormalizeObservation)
    return "observation" if single else "observations"


def _capture_input(method: Callable[[Any], Any], inputs: list[Any], obs: Any) -> Any:  # noqa: ANN401
    inputs.append(copy_observation(obs))
    return method(obs)


def _normalizer_stacks(env: VecEnv) -> tuple[list[list[Any]], list[Any]]:
    """Returns the wrappers down to the innermost normaliser, and all wrappers.

    Returns:
        A list of wrappers for each environment, outermost first, empty without a
        normaliser; and all wrappers of all environments.
    """
    outer: list[Any] = []
    layer: Any = env
    while isinstance(layer, VecEnvWrapper):
        outer.append(layer)
        layer = layer.venv
    if isinstance(layer, VectorEnvAdapter):
        layer = layer.env
        while isinstance(layer, VectorWrapper):
            outer.append(layer)
            layer = layer.env
    inner: list[list[Any]] = [[]]
    if isinstance(layer, DummyVecEnv | SyncVectorEnv):
        inner = [_wrappers(single) for single in layer.envs]
    elif _normalizes_in_processes(layer):
        raise ValueError(
            f"the environments in the other processes of {type(layer).__name__} "
            "normalise observations, and their statistics are not accessible: remove "
            "NormalizeObservation, and wrap the vector environment in "
            "stable_baselines3's VecNormalize"
        )
    stacks = []
    for layers in inner:
        stack = outer + layers
        while stack and not _is_normalizer(stack[-1]):
            stack.pop()
        stacks.append(stack)
    return stacks, outer + [wrapper for layers in inner for wrapper in layers]


def _wrappers(env: gymnasium.Env[Any, Any]) -> list[Any]:
    layers: list[Any] = []
    while isinstance(env, gymnasium.Wrapper):
        layers.append(env)
        env = env.env
    return layers


def _is_normalizer(layer: Any) -> bool:  # noqa: ANN401
    return isinstance(layer, _NORMALIZERS) or (
        isinstance(layer, VecNormalize) and layer.norm_obs
    )


def _normalizes_in_processes(env: Any) -> bool:  # noqa: ANN401
    if not isinstance(env, SubprocVecEnv | AsyncVectorEnv):
        return False
    if env.closed:
        raise ValueError(
            f"{type(env).__name__} is closed, so its environments cannot be asked "
            "whether they normalise observations: set another one (set_env), or close "
            "it later"
        )
    if isinstance(env, SubprocVecEnv):
        return any(env.env_is_wrapped(wrappers.NormalizeObservation))
    # AsyncVectorEnv cannot be asked for wrappers; only NormalizeObservation has it.
    return any(env.call("has_wrapper_attr", "obs_rms"))


def _signature(stack: list[Any]) -> list[Any]:
    """Returns classes and statistics, to be compared."""
    return [
        (type(layer), layer.obs_rms.mean.tolist(), layer.obs_rms.var.tolist())
        if isinstance(layer, _NORMALIZERS)
        else type(layer)
        for layer in stack
    ]


def _input_space(layer: Any) -> spaces.Space[Any]:  # noqa: ANN401
    if isinstance(layer, VecEnvWrapper):
        return layer.venv.observation_space
    if isinstance(layer, VectorWrapper):
        return layer.env.single_observation_space
    space: spaces.Space[Any] = layer.env.observation_space
    return space


def _transform(layer: Any, innermost: str) -> Transform | None:  # noqa: ANN401
    """Returns what a wrapper does to observations `[B, *shape]`; None if nothing.

    Raises:
        ValueError: if it is not a known function of the observation.
    """
    if isinstance(layer, VecNormalize):
        return layer.normalize_obs if layer.norm_obs else None
    kind = type(layer)
    if isinstance(layer, _NORMALIZERS):
        if getattr(kind, _method_name(layer)) in _NORMALIZER_METHODS:
            return partial(_normalize, layer)
        raise ValueError(
            f"{kind.__name__} overrides the normalisation of NormalizeObservation: use "
            "gymnasium's NormalizeObservation or stable_baselines3's VecNormalize"
        )
    if isinstance(layer, wrappers.TransformObservation):
        renders = isinstance(layer, wrappers.AddRenderObservation)
        methods = kind.reset, kind.step, kind.observation
        if not renders and _defined_in(methods, _STATELESS_MODULES):
            return partial(_transform_rows, layer)
    elif isinstance(layer, VectorObservationWrapper):
        methods = kind.reset, kind.step, kind.observations
        if _defined_in(methods, _STATELESS_MODULES):
            return partial(_transform_batches, layer)
    elif isinstance(layer, VecEnvWrapper):
        if kind in _PASS_THROUGH_VEC_WRAPPERS:
            return None
    elif not isinstance(layer, gymnasium.ObservationWrapper):
        if _defined_in((kind.reset, kind.step), _PASS_THROUGH_MODULES):
            return None
    raise ValueError(
        f"{kind.__name__} is applied after {innermost}, and its output cannot be "
        f"computed from a single observation: apply it before {innermost}, next to the "
        "environment (or, if it is a function of each observation, implement it as "
        "gymnasium.wrappers.TransformObservation)"
    )


def _defined_in(methods: tuple[Any, ...], modules: tuple[str, ...]) -> bool:
    return all(method.__module__ in modules for method in methods)


def _normalize(wrapper: Any, observations: Any) -> Any:  # noqa: ANN401
    rms = wrapper.obs_rms
    std = np.sqrt(rms.var + wrapper.epsilon)
    return ((observations - rms.mean) / std).astype(np.float32)


def _transform_rows(wrapper: Any, observations: Any) -> Any:  # noqa: ANN401
    # Copies: a wrapper may modify its input, or return the same array each time.
    rows = [
        copy_observation(wrapper.observation(copy_observation(select(observations, i))))
        for i in range(count(observations))
    ]
    return tree_map(lambda *parts: np.stack(parts), *rows)


def _transform_batches(wrapper: Any, observations: Any) -> Any:  # noqa: ANN401
    """Transforms in batches of `num_envs`; the last row fills up the last batch."""
    n, size = count(observations), wrapper.num_envs
    rows = (np.arange(i, i + size).clip(max=n - 1) for i in range(0, n, size))
    batches = [
        copy_observation(
            wrapper.observations(copy_observation(select(observations, index)))
        )
        for index in rows
    ]
    joined = tree_map(lambda *parts: np.concatenate(parts), *batches)
    return select(joined, np.arange(n))
