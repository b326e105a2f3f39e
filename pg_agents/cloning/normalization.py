"""Normalisation by running statistics: what a model sees of raw observations.

SB3's VecNormalize and Gymnasium's NormalizeObservation change what they return for the
same observation while they learn. Demonstrations are therefore raw: what the innermost
of them is given. What wrappers beneath it do is part of the raw observation.
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

from pg_agents.cloning.space_arrays import Observations
from pg_agents.common.tree import copy_observation, count, select, tree_map
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_agents.vec_env.arrays import with_rows

Batch = Callable[[Observations], Observations]

_NORMALIZERS = wrappers.NormalizeObservation, vector_wrappers.NormalizeObservation
_METHODS = (
    wrappers.NormalizeObservation.observation,
    vector_wrappers.NormalizeObservation.observations,
)
# What changes as it is stepped, and must not while demonstrations are recorded.
_COUNTING = (
    *_NORMALIZERS,
    wrappers.NormalizeReward,
    vector_wrappers.NormalizeReward,
)
# Where the `reset` and `step` of wrappers are written that pass observations on.
_PASSING = (
    *(
        f"gymnasium.wrappers.{name}"
        for name in (
            *("common", "rendering", "stateful_action", "stateful_reward"),
            *("transform_action", "transform_reward"),
            *("vector.common", "vector.dict_info_to_list", "vector.rendering"),
            *("vector.stateful_reward", "vector.vectorize_action"),
            "vector.vectorize_reward",
        )
    ),
    *("gymnasium.core", "gymnasium.vector.vector_env"),
    "stable_baselines3.common.monitor",
)
# And of those that make an observation of each observation, by itself.
_TRANSFORMING = (
    "gymnasium.core",
    "gymnasium.vector.vector_env",
    "gymnasium.wrappers.transform_observation",
    "gymnasium.wrappers.vector.vectorize_observation",
)
_VEC_PASSING = VecCheckNan, VecMonitor, VecTransposeImage, VecVideoRecorder


class Normalization:
    """What an environment makes of raw observations, by its statistics as they stand.

    Args:
        layers: wrappers from the outermost inwards; the last one normalises.

    Attributes:
        space: of a raw observation.
        statistics: `obs_rms` of the last one: running mean, variance and count, or a
            dict of these.

    Raises:
        ValueError: if a wrapper makes of them more than can be known from a single one.
    """

    def __init__(self, layers: list[Any]) -> None:
        innermost = layers[-1]
        self.name = type(innermost).__name__
        self.statistics: Any = innermost.obs_rms
        self.space: spaces.Space[Any] = _space_beneath(innermost)
        steps = [_applied(layer, innermost) for layer in reversed(layers)]
        self._steps = [step for step in steps if step is not None]

    def __call__(self, observations: Observations) -> Observations:
        """Returns what the model sees of observations `[B, *shape]`; counts nothing."""
        for step in self._steps:
            observations = step(observations)
        return observations


def normalization_of(env: VecEnv) -> Normalization | None:
    """Returns how an environment normalises observations; None if it does not.

    Args:
        env: of a model.

    Raises:
        ValueError: if that can't be told: it differs between environments, or happens
            in other processes or beneath a wrapper that remembers.
    """
    outer, chains = _layers(env)
    found = [_up_to_the_innermost(outer + chain) for chain in chains]
    first = found[0]
    if any(_described(other) != _described(first) for other in found[1:]):
        raise ValueError(
            "each environment of the model normalises observations by statistics of "
            "its own (gymnasium.wrappers.NormalizeObservation), so that none are those "
            "of all: leave it out, and put stable_baselines3's VecNormalize around them"
        )
    return Normalization(first) if first else None


class RawObservations:
    """What the environments return before any NormalizeObservation, as it is stepped.

    Args:
        env: what is stepped; without a VecNormalize.

    Attributes:
        space: of a raw observation.

    Raises:
        ValueError: if environments in other processes normalise.
    """

    def __init__(self, env: VecEnv) -> None:
        outer, chains = _layers(env)
        found = [_up_to_the_innermost(outer + chain) for chain in chains]
        if len({bool(layers) for layers in found}) > 1:
            raise ValueError(
                "all environments must be wrapped alike: some are in a "
                "NormalizeObservation, others are not"
            )
        # Each once: one around a vector environment is around all of it.
        self._taps = [
            *{id(layers[-1]): layers[-1] for layers in found if layers}.values()
        ]
        self._counting = {
            id(layer): layer
            for layer in outer + [layer for chain in chains for layer in chain]
            if isinstance(layer, _COUNTING)
        }
        self.space = (
            _space_beneath(self._taps[0]) if self._taps else env.observation_space
        )
        # What each was given since it was last asked for.
        self._given: list[list[Any]] = [[] for _ in self._taps]

    @contextmanager
    def watched(self) -> Generator[None]:
        """Lets `of` know what is returned, and no statistics change, meanwhile."""
        counted = {
            key: layer.update_running_mean for key, layer in self._counting.items()
        }
        try:
            for layer in self._counting.values():
                layer.update_running_mean = False
            for tap, given in zip(self._taps, self._given, strict=True):
                name = _method_name(tap)
                setattr(tap, name, partial(_noted, getattr(tap, name), given))
            yield
        finally:
            for tap in self._taps:
                # The method of the class takes its place again.
                vars(tap).pop(_method_name(tap), None)
            for key, layer in self._counting.items():
                layer.update_running_mean = counted[key]

    def of(
        self,
        observations: Any,  # noqa: ANN401
        dones: NDArray[np.bool_] | None,
    ) -> Any:  # noqa: ANN401
        """Returns the raw observations `[N, *shape]`.

        Args:
            observations: what `reset` or `step` has just returned.
            dones: `[N]` bool, which `step` has returned with it; None after `reset`.
        """
        if not self._taps:
            return observations
        if isinstance(self._taps[0], wrappers.NormalizeObservation):
            # Of each environment the newest: it may have restarted.
            raw: Any = np.stack([given[-1] for given in self._given])
        else:
            raw, *restarted = self._given[0]
            if restarted:
                raw = with_rows(raw, restarted[-1], dones)
        for given in self._given:
            given.clear()
        return np.asarray(raw, dtype=self.space.dtype)


def _method_name(normalizer: Any) -> str:  # noqa: ANN401
    single = isinstance(normalizer, wrappers.NormalizeObservation)
    return "observation" if single else "observations"


def _noted(observe: Callable[[Any], Any], given: list[Any], observation: Any) -> Any:  # noqa: ANN401
    given.append(copy_observation(observation))
    return observe(observation)


def _layers(env: VecEnv) -> tuple[list[Any], list[list[Any]]]:
    """Returns wrappers around all environments, and around each, outermost first."""
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
    if isinstance(layer, DummyVecEnv | SyncVectorEnv):
        return outer, [_wrappers_around(single) for single in layer.envs]
    if _normalizes_elsewhere(layer):
        raise ValueError(
            f"the environments in the other processes of {type(layer).__name__} "
            "normalise observations, by statistics that are not known here: leave "
            "NormalizeObservation out, and put stable_baselines3's VecNormalize around "
            "them"
        )
    return outer, [[]]


def _wrappers_around(env: gymnasium.Env[Any, Any]) -> list[Any]:
    found: list[Any] = []
    while isinstance(env, gymnasium.Wrapper):
        found.append(env)
        env = env.env
    return found


def _normalizes_elsewhere(env: Any) -> bool:  # noqa: ANN401
    if isinstance(env, SubprocVecEnv | AsyncVectorEnv) and env.closed:
        raise ValueError(
            f"{type(env).__name__} is closed, and its environments can't be asked "
            "whether they normalise observations: give the model another one "
            "(set_env), or close it later"
        )
    if isinstance(env, SubprocVecEnv):
        return any(env.env_is_wrapped(wrappers.NormalizeObservation))
    # It has no question after a wrapper; both attributes are NormalizeObservation's.
    return isinstance(env, AsyncVectorEnv) and any(
        env.call("has_wrapper_attr", "obs_rms")
    )


def _up_to_the_innermost(layers: list[Any]) -> list[Any]:
    """Returns the layers from the outermost to the last one that normalises."""
    normalizing = [
        i
        for i, layer in enumerate(layers)
        if isinstance(layer, _NORMALIZERS)
        or (isinstance(layer, VecNormalize) and layer.norm_obs)
    ]
    return layers[: normalizing[-1] + 1] if normalizing else []


def _described(layers: list[Any]) -> list[Any]:
    """Returns classes and statistics, to be compared."""
    return [
        (type(layer), rms.mean.tolist(), rms.var.tolist())
        if isinstance(layer, _NORMALIZERS) and (rms := layer.obs_rms)
        else type(layer)
        for layer in layers
    ]


def _space_beneath(layer: Any) -> spaces.Space[Any]:  # noqa: ANN401
    if isinstance(layer, VecEnvWrapper):
        return layer.venv.observation_space
    if isinstance(layer, VectorWrapper):
        return layer.env.single_observation_space
    space: spaces.Space[Any] = layer.env.observation_space
    return space


def _applied(layer: Any, innermost: Any) -> Batch | None:  # noqa: ANN401
    """Returns what a wrapper does to observations `[B, *shape]`; None if nothing.

    Raises:
        ValueError: if that is not known, or depends on more than each by itself.
    """
    if isinstance(layer, VecNormalize):
        return layer.normalize_obs if layer.norm_obs else None
    kind = type(layer)
    if isinstance(layer, _NORMALIZERS):
        if getattr(kind, _method_name(layer)) in _METHODS:
            return partial(_normalized, layer)
        raise ValueError(
            f"{kind.__name__} normalises observations in a way of its own, which is "
            "not known here: use gymnasium's NormalizeObservation or "
            "stable_baselines3's VecNormalize"
        )
    if isinstance(layer, VecEnvWrapper):
        passes = kind in _VEC_PASSING
    elif isinstance(layer, wrappers.TransformObservation):
        renders = isinstance(layer, wrappers.AddRenderObservation)
        methods = kind.reset, kind.step, kind.observation
        if not renders and _written_in(methods, _TRANSFORMING):
            return partial(_row_by_row, layer)
        passes = False
    elif isinstance(layer, VectorObservationWrapper):
        methods = kind.reset, kind.step, kind.observations
        if _written_in(methods, _TRANSFORMING):
            return partial(_batch_by_batch, layer)
        passes = False
    else:
        passes = not isinstance(layer, gymnasium.ObservationWrapper) and _written_in(
            (kind.reset, kind.step), _PASSING
        )
    if not passes:
        raise ValueError(
            f"{kind.__name__} lies around {type(innermost).__name__}, and what it "
            "makes of an observation is not known from that observation alone: put it "
            f"beneath, next to the environment, with {type(innermost).__name__} around "
            "it (or, if it is a function of each observation, write it as "
            "gymnasium.wrappers.TransformObservation)"
        )
    return None


def _written_in(methods: tuple[Any, ...], modules: tuple[str, ...]) -> bool:
    return all(method.__module__ in modules for method in methods)


def _normalized(wrapper: Any, observations: Any) -> Any:  # noqa: ANN401
    """Returns what NormalizeObservation makes of observations, without counting."""
    rms = wrapper.obs_rms
    deviation = np.sqrt(rms.var + wrapper.epsilon)
    return ((observations - rms.mean) / deviation).astype(np.float32)


def _row_by_row(wrapper: Any, observations: Any) -> Any:  # noqa: ANN401
    # Copies: it may write into what it is given, or return the same array again.
    rows = [
        copy_observation(wrapper.observation(copy_observation(select(observations, i))))
        for i in range(count(observations))
    ]
    return tree_map(lambda *each: np.stack(each), *rows)


def _batch_by_batch(wrapper: Any, observations: Any) -> Any:  # noqa: ANN401
    """Asks for as many at a time as there are environments, the last ones repeated."""
    n, size = count(observations), wrapper.num_envs
    rows = (np.arange(i, i + size).clip(max=n - 1) for i in range(0, n, size))
    batches = [
        copy_observation(
            wrapper.observations(copy_observation(select(observations, each)))
        )
        for each in rows
    ]
    joined = tree_map(lambda *each: np.concatenate(each), *batches)
    return select(joined, np.arange(n))
