"""Counts, seeds and flags of public functions are checked, with one error message."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pg_agents import (
    REINFORCE,
    ActorCritic,
    RandomAgent,
    check_policy_gradient,
    clone_behaviour,
    record_demonstrations,
)
from pg_agents.callbacks import (
    KeepCheckpoints,
    ProgressCallback,
    Recorder,
    RunningReward,
    StopWhenSolved,
    remaining_timesteps,
)
from pg_agents.experiments import find_recipe, run_seeds
from pg_agents.experiments.pretrained import find_pretrained
from pg_agents.experiments.viewer import record, watch
from tests.pg_agents.algorithms.argument_examples import (
    INF,
    NAN,
    NO_BOOLS,
    NO_WHOLE_NUMBERS,
    reinforce_loss,
)

ID = "pg_envs:PGToy-Sequence-v0"


def run_one_seed(**arguments: Any) -> None:
    run_seeds(find_recipe("sequence-reinforce").config(), [0], "no", **arguments)


def show(function: Callable[..., Any], **arguments: Any) -> None:
    folder = find_pretrained("pixelcopter-mc", None)
    assert folder is not None
    function(folder, on_return=lambda _: None, **{"n_episodes": 1, **arguments})


def demonstrate(**arguments: Any) -> Any:
    return record_demonstrations(ID, lambda obs: 0, **arguments)


def clone(**arguments: Any) -> Any:
    model = REINFORCE("MlpPolicy", ID, seed=0)
    few: Any = {"n_epochs": 1, **arguments}
    return clone_behaviour(model, np.zeros((8, 1)), np.zeros(8), **few)


def check(**arguments: Any) -> Any:
    few: Any = {"n_episodes": 256, "n_envs": 1, **arguments}
    return check_policy_gradient(reinforce_loss, ID, **few)


def keep_checkpoints(**arguments: Any) -> Any:
    return KeepCheckpoints(**{"save_freq": 1, "folder": "no", **arguments})


# Functions, and their arguments that are integers of at least 1.
COUNTS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "record_demonstrations": (demonstrate, ("n_episodes", "n_steps")),
    "record_demonstrations, capped": (
        partial(demonstrate, n_episodes=1),
        ("max_episode_steps",),
    ),
    "clone_behaviour": (clone, ("n_epochs", "batch_size", "patience")),
    "check_policy_gradient": (check, ("n_episodes", "batch_size", "n_envs", "horizon")),
    "KeepCheckpoints": (keep_checkpoints, ("save_freq", "keep")),
    "StopWhenSolved": (StopWhenSolved, ("min_episodes",)),
    "ProgressCallback": (ProgressCallback, ("episodes",)),
    "Recorder": (Recorder, ("every",)),
    "run_seeds": (run_one_seed, ("jobs",)),
    "watch": (partial(show, watch), ("n_episodes", "max_steps")),
    "record": (
        partial(show, record, path=Path("film.gif")),
        ("n_episodes", "max_steps"),
    ),
}
CASES = [(function, name) for function, (_, names) in COUNTS.items() for name in names]


@pytest.mark.parametrize("value", [0, *NO_WHOLE_NUMBERS], ids=repr)
@pytest.mark.parametrize(("function", "name"), CASES)
def test_bad_counts_are_refused_by_name(function: str, name: str, value: Any) -> None:
    call, _ = COUNTS[function]
    with pytest.raises(ValueError, match=f"^{name} must be an integer >= 1, got "):
        call(**{name: value})


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (function, name)
        for function, name in CASES
        # The others need a screen, are slow or need further arguments.
        if function not in ("run_seeds", "watch", "record")
        and name not in ("n_envs", "horizon", "max_episode_steps")
    ],
)
def test_numpy_integers_are_counts(function: str, name: str) -> None:
    """Of 8 bits, which overflow first."""
    call, _ = COUNTS[function]
    call(**{name: np.uint8(2)})


SEEDED: dict[str, Callable[..., Any]] = {
    "record_demonstrations": partial(demonstrate, n_steps=1),
    "clone_behaviour": clone,
    "check_policy_gradient": check,
    **{
        agent.__name__: partial(agent, "MlpPolicy", ID)
        for agent in (REINFORCE, ActorCritic, RandomAgent)
    },
}


@pytest.mark.parametrize("function", SEEDED)
def test_seeds_are_integers(function: str) -> None:
    for value in NO_WHOLE_NUMBERS:
        with pytest.raises(ValueError, match=r"^seed must be an integer >= 0, got "):
            SEEDED[function](seed=value)
    for seed in (3, np.int64(3)):
        SEEDED[function](seed=seed)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (partial(demonstrate, n_steps=1), "deterministic"),
        (clone, "fit_std"),
        (clone, "progress_bar"),
        (check, "bootstrap"),
        (check, "progress_bar"),
    ],
)
def test_bad_flags_are_refused_by_name(call: Callable[..., Any], name: str) -> None:
    for value in NO_BOOLS:
        with pytest.raises(ValueError, match=f"^{name} must be one of True, False"):
            call(**{name: value})


@pytest.mark.parametrize("value", [-1, 0, 1.5, NAN, INF, "0.1", None, [0.1]], ids=repr)
@pytest.mark.parametrize("callback", [RunningReward, StopWhenSolved, ProgressCallback])
def test_weights_of_running_means_are_in_0_to_1(
    callback: Callable[..., Any], value: Any
) -> None:
    with pytest.raises(ValueError, match=r"^factor must lie in \(0, 1\], got "):
        callback(factor=value)


@pytest.mark.parametrize("value", [NAN, "200", [200.0], np.array([1.0, 2.0])])
def test_reward_thresholds_are_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^reward_threshold must be a number, got "):
        StopWhenSolved(value)
    assert StopWhenSolved(INF).reward_threshold == INF


@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS, ids=repr)
def test_remaining_timesteps_takes_what_learn_takes(value: Any) -> None:
    model = REINFORCE("MlpPolicy", ID, seed=0, n_steps=4).learn(4)
    with pytest.raises(ValueError, match=r"^total_timesteps must be an integer >= 0"):
        remaining_timesteps(model, value)
    assert remaining_timesteps(model, 1e1) == 6  # type: ignore[arg-type]
