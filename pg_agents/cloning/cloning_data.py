"""Demonstrations as a model's policy takes them: checked, normalised, scaled."""

from __future__ import annotations

import warnings
from typing import Any

from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from pg_agents.cloning.space_arrays import (
    Observations,
    check_actions,
    check_observations,
)
from pg_agents.space_actions import scaled


def as_the_policy_sees(
    model: BaseAlgorithm,
    observations: Any,  # noqa: ANN401
) -> Observations:
    """Returns observations, checked and normalised as the model's environment does."""
    seen = check_observations(model.policy.observation_space, observations)
    vec_normalize = model.get_vec_normalize_env()
    if vec_normalize is None or not vec_normalize.norm_obs:
        return seen
    _check_statistics(vec_normalize, seen)
    normalized: Observations = vec_normalize.normalize_obs(seen)
    return normalized


def _check_statistics(vec_normalize: VecNormalize, seen: Observations) -> None:
    """Raises if the statistics are of other shapes, warns if they are of no data."""
    statistics = vec_normalize.obs_rms
    pairs: list[tuple[RunningMeanStd, NDArray[Any]]] = (
        [(of_key, seen[key]) for key, of_key in statistics.items()]
        if isinstance(statistics, dict) and isinstance(seen, dict)
        else [(statistics, seen)]  # type: ignore[list-item]
    )
    for rms, array in pairs:
        if rms.mean.shape != array.shape[1:]:
            raise ValueError(
                "observations must have the shape that VecNormalize sees, [B, "
                f"{', '.join(map(str, rms.mean.shape))}], got {list(array.shape)}"
            )
        # SB3 begins with a count of 0.0001 instead of 0.
        if rms.count < 1:
            warnings.warn(
                "the model's VecNormalize has seen no observations yet: its statistics "
                "will change as the model learns, and the cloned policy will then see "
                "other numbers. Give it data first: "
                "vec_normalize.obs_rms.update(observations)",
                stacklevel=4,
            )


def as_the_policy_acts(
    policy: ActorCriticPolicy,
    actions: Any,  # noqa: ANN401
    n_observations: int,
) -> NDArray[Any]:
    """Returns actions as `evaluate_actions` takes them, checked."""
    if actions is None:
        raise ValueError(
            "actions must be given, unless the observations are Demonstrations"
        )
    done = check_actions(policy.action_space, actions)
    if len(done) != n_observations:
        raise ValueError(
            f"actions must be as many as observations, got {len(done)} actions and "
            f"{n_observations} observations"
        )
    if not isinstance(policy.action_space, spaces.Box):
        return done
    if policy.squash_output:
        done = scaled(done, policy.action_space)
    # SB3's Gaussian is over a vector, whatever the shape of the action space.
    return done.reshape(len(done), -1)
