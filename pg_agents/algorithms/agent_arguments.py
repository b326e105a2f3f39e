"""Refusals of arguments that do not fit together, and the default amount of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
from gymnasium import spaces

from pg_agents.common.checks import check_choice, check_count, check_unit_interval
from pg_agents.learning.advantages import AdvantageSettings, BaselineName, EstimatorName

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Settings = TypeVar("Settings", bound="DataclassInstance")


class DefaultInt(int):
    """A default that gives way where another argument is passed in its place."""


def settings_among(
    kind: type[Settings], arguments: Mapping[str, Any], **others: Any
) -> Settings:
    """Returns the settings that a constructor was given by their own names.

    Args:
        kind: a dataclass of settings.
        arguments: all arguments of the constructor, by name.
        **others: settings that the constructor has by another name, or decides.
    """
    names = {field.name for field in fields(kind)}
    given = {name: value for name, value in arguments.items() if name in names}
    return kind(**(given | others))


def as_passed(estimator: EstimatorName) -> str:
    """Returns an estimator as the constructor got it, for messages.

    It is the argument `returns` of `REINFORCE`, and `estimator` of `ActorCritic`.
    """
    monte_carlo = estimator in ("reward_to_go", "full_return")
    return f"{'returns' if monte_carlo else 'estimator'}={estimator!r}"


def check_settings(settings: AdvantageSettings) -> None:
    """Raises a ValueError naming the first setting that is out of range."""
    check_unit_interval("gamma", settings.gamma)
    check_unit_interval("gae_lambda", settings.gae_lambda)
    check_choice("estimator", settings.estimator, get_args(EstimatorName))
    check_choice("baseline", settings.baseline, get_args(BaselineName))
    check_count("td_steps", settings.td_steps)
    for name in (
        "bootstrap",
        "bootstrap_truncated",
        "standardize_returns",
        "normalize_advantage",
        "weight_by_gamma_t",
    ):
        check_choice(name, getattr(settings, name), (True, False))
    if settings.looks_beyond and settings.baseline != "value":
        bootstraps = settings.bootstrap
        what = "bootstrap=True" if bootstraps else as_passed(settings.estimator)
        raise ValueError(
            f"{what} looks beyond the data with a learned value and needs "
            f"baseline='value', got baseline={settings.baseline!r}"
        )
    if settings.td_steps != 1 and settings.estimator != "n_step":
        raise ValueError(
            f"td_steps={settings.td_steps} belongs to estimator='n_step', got "
            f"{as_passed(settings.estimator)}"
        )
    if settings.gae_lambda != 1.0 and settings.estimator != "gae":
        raise ValueError(
            f"gae_lambda={settings.gae_lambda} belongs to estimator='gae', got "
            f"{as_passed(settings.estimator)}"
        )
    if settings.weight_by_gamma_t and settings.estimator == "full_return":
        raise ValueError(
            "weight_by_gamma_t=True with returns='full_return' would discount twice: "
            "the returns of full episodes are exact without it"
        )


def check_data(
    n_steps: int | None, n_episodes: int | None, max_episode_steps: int
) -> None:
    """Raises a ValueError unless the amount of data per update is given once."""
    if (n_steps is None) == (n_episodes is None):
        raise ValueError(
            "give either n_steps or n_episodes, the amount of data per environment and "
            f"update; got n_steps={n_steps!r} and n_episodes={n_episodes!r}"
        )
    if n_steps is not None:
        check_count("n_steps", n_steps)
    if n_episodes is not None:
        check_count("n_episodes", n_episodes)
    check_count("max_episode_steps", max_episode_steps)


def check_trajectories(
    baseline: BaselineName, n_envs: int, n_episodes: int | None
) -> None:
    """Raises a ValueError if a baseline of others would have no others."""
    if baseline in ("mean", "leave_one_out") and n_envs * (n_episodes or 1) < 2:
        raise ValueError(
            f"baseline={baseline!r} compares trajectories and needs at least 2 per "
            f"update, got n_envs={n_envs} and n_episodes={n_episodes}: use more "
            "environments or episodes, or baseline='none' or 'value'"
        )


def check_spaces(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    counts_from_zero: bool,
) -> None:
    """Raises a ValueError for a space that the networks would get wrong.

    Args:
        observation_space: observation space.
        action_space: action space.
        counts_from_zero: whether the policy takes every number of a discrete space as
            it is, as SB3's policies do.
    """
    parts = [observation_space]
    if isinstance(observation_space, spaces.Dict):
        parts = list(observation_space.spaces.values())
    for space in (*parts, action_space):
        if counts_from_zero and np.any(getattr(space, "start", 0)):
            raise ValueError(
                f"the policy counts from 0, got {space}: the policies of pg_agents "
                "take spaces that start elsewhere"
            )


def choose_data(n_steps: int | None, n_episodes: int | None) -> dict[str, int | None]:
    """Returns both arguments, without the default that the other one displaces."""
    if isinstance(n_steps, DefaultInt):
        n_steps = int(n_steps) if n_episodes is None else None
    if isinstance(n_episodes, DefaultInt):
        n_episodes = int(n_episodes) if n_steps is None else None
    return {"n_steps": n_steps, "n_episodes": n_episodes}
