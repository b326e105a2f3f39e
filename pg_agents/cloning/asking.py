"""Whoever acts, a function or a model, asked for the actions of many environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import PolicyPredictor

from pg_agents.cloning.normalization import normalization_of
from pg_agents.cloning.space_arrays import Observations
from pg_agents.common.tree import count, select

Controller = Callable[[Any], Any] | PolicyPredictor
# From observations [N, ...] and whose episodes begin, [N], to actions [N, ...].
Ask = Callable[[Observations, NDArray[np.bool_]], Any]


def asker(controller: Controller, deterministic: bool) -> Ask:
    """Returns a function that asks a controller for the actions of N environments.

    Args:
        controller: a function from one observation to one action; or anything with
            SB3's `predict`. A model whose own environment normalises observations sees
            them normalised by that, see `normalization`.
        deterministic: passed on to `predict`.

    Returns:
        A function of observations `[N, *obs_shape]` (a dict of arrays for Dict spaces)
        and bool `[N]`, whose episodes begin, that returns N actions.

    Raises:
        TypeError: if `controller` is none of the above.
        ValueError: if it can't be told how its own environment normalises.
    """
    predict = getattr(controller, "predict", None)
    if isinstance(controller, type) or not (predict or callable(controller)):
        raise TypeError(
            "controller must be a function from an observation to an action, or have "
            f"SB3's predict, got {controller!r}"
        )
    if predict is None:
        function: Any = controller
        return lambda observations, _: [
            function(select(observations, i)) for i in range(count(observations))
        ]
    env = controller.get_env() if isinstance(controller, BaseAlgorithm) else None
    normalization = None if env is None else normalization_of(env)
    state: Any = None

    def ask(observations: Observations, episode_starts: NDArray[np.bool_]) -> Any:  # noqa: ANN401
        nonlocal state
        seen = normalization(observations) if normalization else observations
        actions, state = predict(
            seen,
            state=state,
            episode_start=episode_starts,
            deterministic=deterministic,
        )
        return actions

    return ask
