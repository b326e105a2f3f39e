"""What a trained model sees of an environment that is stepped by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from pg_agents.common.tree import Observation, select


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

    def first(self, observation: Observation) -> Observation:
        """Returns what is seen of an episode's first observation."""
        seen = self._normalized(observation)
        if self._stack is None:
            return seen
        return select(self._stack.reset(select(seen, None)), 0)

    def next(self, observation: Observation) -> Observation:
        """Returns what is seen of each later one, in their order."""
        seen = self._normalized(observation)
        if self._stack is None:
            return seen
        batch = select(seen, None)
        stacked, _ = self._stack.update(batch, np.array([False]), [{}])
        return select(stacked, 0)

    def _normalized(self, observation: Observation) -> Observation:
        if self._normalizer is None:
            return observation
        return self._normalizer.normalize_obs(observation)
