"""What a trained model sees of an environment that is stepped by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

# An observation, or a dict of them: NumPy arrays.
_Observation = Any


class Sight:
    """Does to single observations what the wrappers of a VecEnv do to batches.

    SB3 starts the next episode within the step that ends one, so who wants to see the
    last frame steps the environment inside by itself, past all wrappers.

    Args:
        env: a VecNormalize, a VecFrameStack around it, or neither.
        model: which has been loaded with this environment.
    """

    def __init__(self, env: VecEnv, model: BaseAlgorithm) -> None:
        self._normalizer = model.get_vec_normalize_env()
        self._stack: StackedObservations[Any] | None = None
        if isinstance(env, VecFrameStack):
            space: Any = env.venv.observation_space
            self._stack = StackedObservations(1, env.stacked_obs.n_stack, space)

    def first(self, observation: _Observation) -> _Observation:
        """Returns what is seen of an episode's first observation."""
        seen = self._normalized(observation)
        if self._stack is None:
            return seen
        return _single(self._stack.reset(_batch(seen)))

    def next(self, observation: _Observation) -> _Observation:
        """Returns what is seen of each later one, in their order."""
        seen = self._normalized(observation)
        if self._stack is None:
            return seen
        stacked, _ = self._stack.update(_batch(seen), np.array([False]), [{}])
        return _single(stacked)

    def _normalized(self, observation: _Observation) -> _Observation:
        if self._normalizer is None:
            return observation
        return self._normalizer.normalize_obs(observation)


def _batch(observation: _Observation) -> _Observation:
    if isinstance(observation, dict):
        return {name: value[None] for name, value in observation.items()}
    return observation[None]


def _single(batch: _Observation) -> _Observation:
    if isinstance(batch, dict):
        return {name: value[0] for name, value in batch.items()}
    return batch[0]
