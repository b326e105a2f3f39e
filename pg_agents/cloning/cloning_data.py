"""Demonstrations as a model's policy takes them: checked, normalised, scaled."""

from __future__ import annotations

import warnings
from typing import Any

from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd

from pg_agents.cloning.normalization import Normalization, normalization_of
from pg_agents.cloning.space_arrays import (
    Observations,
    Place,
    check_actions,
    check_observations,
    check_same_space,
)
from pg_agents.common.spaces import scaled


def as_the_policy_sees(
    model: BaseAlgorithm,
    observations: Any,  # noqa: ANN401
    recorded_in: spaces.Space[Any] | None = None,
) -> Observations:
    """Returns observations, checked and normalised as the model's environment does.

    Args:
        model: whose statistics stay as they are.
        observations: raw ones, `[B, *obs_shape]`.
        recorded_in: the space that they are from, if it is known.
    """
    env = model.get_env()
    normalization = None if env is None else normalization_of(env)
    space = model.policy.observation_space
    if normalization is not None:
        space = normalization.space
    if recorded_in is not None:
        check_same_space("observations", recorded_in, space)
    seen = check_observations(space, observations)
    if normalization is None:
        return seen
    _check_statistics(normalization, seen)
    return normalization(seen)


def _check_statistics(normalization: Normalization, seen: Observations) -> None:
    """Raises if the statistics are of other shapes, warns if they are of no data."""
    statistics, name = normalization.statistics, normalization.name
    pairs: list[tuple[RunningMeanStd, NDArray[Any]]] = (
        [(of_key, seen[key]) for key, of_key in statistics.items()]
        if isinstance(statistics, dict) and isinstance(seen, dict)
        else [(statistics, seen)]  # type: ignore[list-item]
    )
    for rms, array in pairs:
        if rms.mean.shape != array.shape[1:]:
            raise ValueError(
                f"observations must have the shape that {name} sees, [B, "
                f"{', '.join(map(str, rms.mean.shape))}], got {list(array.shape)}"
            )
        # SB3 and Gymnasium begin with a count of 0.0001 instead of 0.
        if rms.count < 1:
            warnings.warn(
                f"the model's {name} has seen no observations yet: its statistics "
                "will change as the model learns, and the cloned policy will then see "
                "other numbers. Give it data first: its obs_rms.update(observations)",
                stacklevel=4,
            )


def as_the_policy_acts(
    policy: ActorCriticPolicy,
    actions: Any,  # noqa: ANN401
    n_observations: int,
    place: Place,
    recorded_in: spaces.Space[Any] | None = None,
) -> NDArray[Any]:
    """Returns actions as `evaluate_actions` takes them, checked.

    Args:
        policy: of the model.
        actions: as its environment takes them, `[B, *action_shape]`.
        n_observations: B.
        place: what messages call a row.
        recorded_in: the space that they are from, if it is known.
    """
    if actions is None:
        raise ValueError(
            "actions must be given, unless the observations are Demonstrations"
        )
    if recorded_in is not None:
        check_same_space("actions", recorded_in, policy.action_space)
    done = check_actions(policy.action_space, actions, place=place)
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
