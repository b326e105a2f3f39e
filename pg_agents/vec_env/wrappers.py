"""A wrapper for single environments."""

from __future__ import annotations

from typing import Any

import gymnasium

from pg_agents.vec_env.fresh_arrays import copied


class CopyObservations(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Copies observations, for environments that return the same array again.

    SB3's DummyVecEnv stores the last observation of an episode and resets the
    environment, which would overwrite it.
    """

    def observation(self, observation: Any) -> Any:  # noqa: ANN401
        """Returns a copy."""
        return copied(observation)
