"""Observation normalisation by running statistics, in and around environments.

VecNormalize and Gymnasium's NormalizeObservation return different observations for the
same state as their statistics change. Demonstrations therefore hold raw observations:
the input of the innermost normaliser. The wrappers beneath it are part of the raw
observation.
"""

from __future__ import annotations

import re
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
from gymnasium.wrappers import vector
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecNormalize,
)

from pg_agents.cloning.data import Observations
from pg_agents.common.tree import copy_observation, count, select, tree_map
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_agents.vec_env.arrays import with_rows

Transform = Callable[[Observations], Observations]

_NORMALIZERS = wrappers.NormalizeObservation, vector.NormalizeObservation
_REWARD_NORMALIZERS = wrappers.NormalizeReward, vector.NormalizeReward
# Modules whose wrappers are functions of the observation alone; most return it
# unchanged. SB3's policies transpose images themselves.
_STATELESS = re.compile(
    r"gymnasium\.(core|vector\.vector_env)"
    r"|gymnasium\.wrappers\.(vector\.)?(common|rendering|dict_info_to_list)"
    r"|gymnasium\.wrappers\.(vector\.)?(stateful|transform|vectorize)_(action|reward)"
    r"|gymnasium\.wrappers\.(transform|vector\.vectorize)_observation"
    r"|stable_baselines3\.common\.monitor"
    r"|stable_baselines3\.common\.vec_env\.vec_(check_nan|monitor|transpose)"
    r"|stable_baselines3\.common\.vec_env\.vec_video_recorder"
    r"|pg_agents\.vec_env\.adapter"
)
_NORMALIZING = re.compile(r"gymnasium\.wrappers\.(vector\.)?stateful_observation")


class ObservationNormalizer:
    """Maps raw observations to those that a model sees, without updating statistics.

    Args:
        layers: wrappers from the outermost to the innermost normaliser.

    Attributes:
        name: class name of the innermost normaliser.
        space: space of the raw observations.
        statistics: its `obs_rms`: a RunningMeanStd, or a dict of these.
    """

    def __init__(self, layers: list[Any]) -> None:
        innermost = layers[-1]
        self.name = type(innermost).__name__
        self.space = _input_space(innermost)
        self.statistics: Any = innermost.obs_rms
        self._transforms = [_transform(layer, self.name) for layer in reversed(layers)]

    def __call__(self, observations: Observations) -> Observations:
        """Returns normalised observations for raw ones `[B, *shape]`."""
        for transform in self._transforms:
            observations = transform(observations)
        return observations


def observation_normalizer(env: VecEnv | None) -> ObservationNormalizer | None:
    """Returns the normaliser of a model's environment; None if it has none.

    Raises:
        ValueError: if the statistics differ between environments, are in other
            processes, or a wrapper around the normaliser is not a known function of
            the observation.
    """
    if env is None:
        return None
    first, *others = (_down_to_normalizer(layers) for layers in _layers(env))
    if any(_signature(layers) != _signature(first) for layers in others):
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
        ValueError: if some environments normalise and others do not, or if
            environments in other processes normalise.
    """

    def __init__(self, env: VecEnv) -> None:
        layers = _layers(env)
        stacks = [_down_to_normalizer(of_env) for of_env in layers]
        if len({bool(stack) for stack in stacks}) > 1:
            raise ValueError(
                "either all environments or none must have a NormalizeObservation"
            )
        # By identity: a wrapper of a vector environment is in the stack of each.
        innermost = {id(stack[-1]): stack[-1] for stack in stacks if stack}
        self._normalizers = [*innermost.values()]
        # Inputs of each normaliser since the last call of `pop`.
        self._inputs: list[list[Any]] = [[] for _ in innermost]
        self._with_statistics = {
            id(layer): layer
            for of_env in layers
            for layer in of_env
            if isinstance(layer, _NORMALIZERS + _REWARD_NORMALIZERS)
        }.values()
        self.space: spaces.Space[Any] = (
            _input_space(self._normalizers[0])
            if self._normalizers
            else env.observation_space
        )

    @contextmanager
    def capture(self) -> Generator[None]:
        """Captures inputs of the normalisers, and freezes all running statistics."""
        was_updating = [layer.update_running_mean for layer in self._with_statistics]
        try:
            for layer in self._with_statistics:
                layer.update_running_mean = False
            for normalizer, inputs in zip(self._normalizers, self._inputs, strict=True):
                name = _method_name(normalizer)
                method = partial(_capture_input, getattr(normalizer, name), inputs)
                setattr(normalizer, name, method)
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
            observations: what it returned.
            dones: `[N]` bool, what a step returned; None after a reset.
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


def _capture_input(method: Callable[[Any], Any], inputs: list[Any], obs: Any) -> Any:  # noqa: ANN401
    inputs.append(copy_observation(obs))
    return method(obs)


def _layers(env: VecEnv) -> list[list[Any]]:
    """Returns the wrappers of each environment, outermost first.

    Wrappers of a vector environment are in the list of each of its environments.
    """
    shared: list[Any] = []
    layer: Any = env
    while isinstance(layer, VecEnvWrapper | VectorEnvAdapter | VectorWrapper):
        shared.append(layer)
        layer = layer.venv if isinstance(layer, VecEnvWrapper) else layer.env
    if isinstance(layer, DummyVecEnv | SyncVectorEnv):
        return [shared + _wrappers(single) for single in layer.envs]
    if _normalizes_in_processes(layer):
        raise ValueError(
            f"the environments in the other processes of {type(layer).__name__} "
            "normalise observations, and their statistics are not accessible: remove "
            "NormalizeObservation, and wrap the vector environment in "
            "stable_baselines3's VecNormalize"
        )
    return [shared]


def _wrappers(env: gymnasium.Env[Any, Any]) -> list[Any]:
    layers: list[Any] = []
    while isinstance(env, gymnasium.Wrapper):
        layers.append(env)
        env = env.env
    return layers


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


def _down_to_normalizer(layers: list[Any]) -> list[Any]:
    """Returns wrappers down to the innermost normaliser; none without one."""
    for n in range(len(layers), 0, -1):
        layer = layers[n - 1]
        if isinstance(layer, _NORMALIZERS) or (
            isinstance(layer, VecNormalize) and layer.norm_obs
        ):
            return layers[:n]
    return []


def _signature(layers: list[Any]) -> list[Any]:
    """Returns classes and statistics, to be compared."""
    return [
        (type(layer), layer.obs_rms.mean.tolist(), layer.obs_rms.var.tolist())
        if isinstance(layer, _NORMALIZERS)
        else type(layer)
        for layer in layers
    ]


def _method_name(layer: Any) -> str:  # noqa: ANN401
    """Returns the name of the method in which a wrapper transforms observations."""
    if isinstance(layer, VectorObservationWrapper):
        return "observations"
    if isinstance(layer, gymnasium.ObservationWrapper):
        return "observation"
    return "step_wait" if isinstance(layer, VecEnv) else "step"


def _input_space(layer: Any) -> spaces.Space[Any]:  # noqa: ANN401
    if isinstance(layer, VecEnvWrapper):
        return layer.venv.observation_space
    if isinstance(layer, VectorWrapper):
        return layer.env.single_observation_space
    space: spaces.Space[Any] = layer.env.observation_space
    return space


def _transform(layer: Any, innermost: str) -> Transform:  # noqa: ANN401
    """Returns what a wrapper does to observations `[B, *shape]`.

    Raises:
        ValueError: if it is not a known function of the observation.
    """
    kind, name = type(layer), _method_name(layer)
    if isinstance(layer, VecNormalize):
        # Returns them unchanged with norm_obs=False.
        return layer.normalize_obs
    if isinstance(layer, _NORMALIZERS):
        if _NORMALIZING.fullmatch(getattr(kind, name).__module__):
            return partial(_normalize, layer)
        raise ValueError(
            f"{kind.__name__} overrides the normalisation of NormalizeObservation: use "
            "gymnasium's NormalizeObservation or stable_baselines3's VecNormalize"
        )
    step = "step_wait" if isinstance(layer, VecEnv) else "step"
    methods = [getattr(kind, method) for method in ("reset", step, name)]
    renders = isinstance(layer, wrappers.AddRenderObservation)
    if all(_STATELESS.fullmatch(m.__module__) for m in methods) and not renders:
        if name == "observation":
            return partial(_transform_rows, layer)
        if name == "observations":
            return partial(_transform_batches, layer)
        return lambda observations: observations
    raise ValueError(
        f"{kind.__name__} is applied after {innermost}, and its output cannot be "
        f"computed from a single observation: apply it before {innermost}, next to the "
        "environment (or, if it is a function of each observation, implement it as "
        "gymnasium.wrappers.TransformObservation)"
    )


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
            wrapper.observations(copy_observation(select(observations, i)))
        )
        for i in rows
    ]
    joined = tree_map(lambda *parts: np.concatenate(parts), *batches)
    return select(joined, np.arange(n))
