from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import pytest

from pg_envs.mdp import observation_table
from tests.pg_envs.tabular_examples import random_mdp, two_step_mdp

TABLES = ("transition", "reward", "terminal", "initial_distribution", "observations")


def pickled(mdp: Any) -> Any:
    return pickle.loads(pickle.dumps(mdp))


def changed(name: str, index: tuple[int, ...], value: float) -> dict[str, Any]:
    table = np.array(getattr(two_step_mdp(), name))
    table[index] = value
    return {name: table}


def test_sizes_names_and_dtypes() -> None:
    mdp = replace(two_step_mdp(), action_names=())
    assert (mdp.n_states, mdp.n_actions) == (3, 2)
    assert mdp.action_names == ("0", "1")
    assert mdp.transition.dtype == mdp.reward.dtype == np.float64
    assert mdp.terminal.dtype == np.bool_
    assert mdp.observations.dtype == np.float32
    assert random_mdp(0).observations.dtype == np.int64


@pytest.mark.parametrize(
    "make_copy", [copy.copy, copy.deepcopy, pickled, lambda mdp: mdp]
)
def test_tables_are_read_only_in_every_copy(make_copy: Any) -> None:
    mdp, original = make_copy(two_step_mdp()), two_step_mdp()
    for name in TABLES:
        with pytest.raises(ValueError, match="read-only"):
            getattr(mdp, name)[0] = 0
        np.testing.assert_array_equal(getattr(mdp, name), getattr(original, name))
    for field in fields(mdp):
        with pytest.raises(FrozenInstanceError):
            setattr(mdp, field.name, None)


def test_arrays_are_copied_from_the_caller() -> None:
    reward = np.array(two_step_mdp().reward)
    mdp = replace(two_step_mdp(), reward=reward)
    reward[:] = 99.0
    assert mdp.reward.max() == 10.0
    assert reward.flags.writeable


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transition": np.ones((3, 2))}, r"transition .*\[S, A, S\].* got \[3, 2\]"),
        ({"transition": np.ones((3, 2, 4))}, r"transition .* got \[3, 2, 4\]"),
        ({"transition": np.ones((3, 0, 3))}, r"S, A >= 1, got \[3, 0, 3\]"),
        (changed("transition", (0, 0, 0), 0.5), "transition .* 1.0 to 1.5"),
        (changed("transition", (0, 0, 1), np.nan), "transition .* nan"),
        (changed("initial_distribution", (0,), 0.4), "initial_distribution .* 0.9"),
        ({"transition": np.full((3, 2, 3), [1.5, 0.0, -0.5])}, "lowest of -0.5"),
        ({"initial_distribution": np.ones(1)}, r"initial_distribution .*\[3\].*\[1\]"),
        ({"reward": np.zeros((3, 3))}, r"reward .*\[3, 2, 3\].* got \[3, 3\]"),
        ({"terminal": np.zeros(3)}, r"terminal .*\[3, 2, 3\].* got \[3\]"),
        (changed("reward", (1, 1, 1), np.inf), "reward must be finite"),
        ({"observations": np.zeros((2, 1))}, r"3 rows, .* got shape \[2, 1\]"),
        ({"observations": np.array([0, 2, 1])}, "indices 0 to 2 in order, got"),
        (changed("observations", (0, 0), 3.0), r"\(0.0, 2.0\), got .* 1.0 to 3.0"),
        (changed("observations", (0, 0), np.nan), r"observation_bounds \(0.0, 2.0\)"),
        ({"observation_bounds": (2.0, 0.0)}, r"observation_bounds \(2.0, 0.0\)"),
        (
            {"reward_noise": "uniform"},
            "reward_noise .*'none', 'gaussian', 'bernoulli', got 'uniform'",
        ),
        ({"reward_noise": "bernoulli"}, r"in \[0, 1\], got rewards from -1.0 to 10.0"),
        ({"noise_scale": -1.0}, "noise_scale .* >= 0, got -1.0"),
        ({"noise_scale": np.nan}, "noise_scale .* >= 0, got nan"),
        ({"action_names": ("go",)}, r"action_names .* 2 names, .* got 1: \('go',\)"),
    ],
)
def test_bad_tables_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(two_step_mdp(), **changes)


def test_bernoulli_rewards_of_impossible_transitions_are_free() -> None:
    mdp = two_step_mdp()
    reward = np.where(mdp.transition > 0.0, 0.5, 99.0)
    assert replace(mdp, reward=reward, reward_noise="bernoulli").n_states == 3


def test_observation_tables() -> None:
    scalar, bounds = observation_table("scalar", 5)
    np.testing.assert_array_equal(scalar, [[-1.0], [-0.5], [0.0], [0.5], [1.0]])
    assert scalar.dtype == np.float32
    assert bounds == (-1.0, 1.0)
    one_hot, bounds = observation_table("one_hot", 3)
    np.testing.assert_array_equal(one_hot, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert one_hot.dtype == np.float32
    assert bounds == (0.0, 1.0)
    index, _ = observation_table("index", 3)
    np.testing.assert_array_equal(index, [0, 1, 2])
    assert index.dtype == np.int64
    np.testing.assert_array_equal(observation_table("scalar", 1)[0], [[0.0]])


def test_unknown_observation_form_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'scalar', 'one_hot', 'index', got 'onehot'"):
        observation_table("onehot", 3)  # type: ignore[arg-type]
