"""From Gymnasium's batches to SB3's arrays and dicts."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from pg_agents.vec_env.empty_info import NO_INFO, EmptyInfo
from pg_agents.vec_env.infos import (
    check_spaces,
    single_observation,
    split_infos,
    to_numpy,
    with_rows,
)

BOX, COIN = spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(2)


@pytest.mark.parametrize(
    "observations",
    [
        spaces.Tuple([BOX, COIN]),
        spaces.Dict({"inner": spaces.Dict({"a": BOX})}),
        spaces.Dict({"inner": spaces.Tuple([BOX])}),
        spaces.Text(3),
    ],
)
def test_observations_that_no_policy_takes_are_refused(observations: Any) -> None:
    with pytest.raises(ValueError, match=r"observation space must be.*got"):
        check_spaces(observations, COIN)


@pytest.mark.parametrize("actions", [spaces.Dict({"a": COIN}), spaces.Tuple([COIN])])
def test_actions_that_no_policy_gives_are_refused(actions: Any) -> None:
    with pytest.raises(ValueError, match=r"action space must be.*got"):
        check_spaces(BOX, actions)


def test_infos_go_to_those_that_have_them() -> None:
    infos = {
        "price": np.array([1.5, 0.0, 2.5]),
        "_price": np.array([True, False, True]),
        "is_success": np.array([False, True, False]),
        "_is_success": np.array([False, True, False]),
        "place": {
            "x": np.array([0, 7, 8]),
            "_x": np.array([False, True, True]),
            "name": np.array([None, "here", None], dtype=object),
            "_name": np.array([False, True, False]),
        },
        "_place": np.array([False, True, True]),
        "speed": np.arange(6.0).reshape(3, 2),
        "clock": 12,
        "_private": np.array([4, 5, 6]),
    }
    rows = split_infos(infos, 3)
    for i, row in enumerate(rows):
        assert row.pop("speed").tolist() == [2.0 * i, 2.0 * i + 1]
    assert rows == [
        {"price": 1.5, "clock": 12, "_private": 4},
        {
            "is_success": True,
            "place": {"x": 7, "name": "here"},
            "clock": 12,
            "_private": 5,
        },
        {"price": 2.5, "place": {"x": 8}, "clock": 12, "_private": 6},
    ]
    # As from a single environment: numbers are Python's.
    assert type(rows[1]["is_success"]) is bool
    assert type(rows[0]["price"]) is float


def test_infos_of_tensors_are_read_too() -> None:
    infos = {
        "final_obs": torch.tensor([[1.0], [2.0]]),
        "_final_obs": torch.tensor([False, True]),
    }
    first, second = split_infos(infos, 2)
    assert first == {}
    assert second["final_obs"].tolist() == [2.0]


def test_infos_in_a_list_are_copied() -> None:
    given = [{"a": 1}, {}]
    rows = split_infos(given, 2)
    assert rows == given
    rows[0]["b"] = 2
    assert given[0] == {"a": 1}


def test_nothing_is_made_of_no_infos() -> None:
    rows = split_infos({}, 2)
    assert rows == [{}, {}]
    with pytest.raises(TypeError, match=r"replace it in the list, infos\[i\] = "):
        rows[0]["mine"] = 1
    rows[0] = {**rows[0], "mine": 1}
    assert rows == [{"mine": 1}, {}]


@pytest.mark.parametrize("copied", [dict, copy.copy, copy.deepcopy, EmptyInfo.copy])
def test_a_copy_of_an_empty_info_can_be_written_to(copied: Any) -> None:
    own = copied(NO_INFO)
    own["mine"] = 1
    assert own == {"mine": 1}
    assert NO_INFO == {}
    assert pickle.loads(pickle.dumps([NO_INFO])) == [{}]


def test_an_observation_is_fresh_and_of_the_dtype_of_its_space() -> None:
    space = spaces.Dict({"at": BOX, "coin": COIN})
    seen: dict[str, Any] = {"at": np.array([0.5, 1.0]), "coin": 1}
    made = single_observation(seen, space)
    assert made["at"].dtype == np.float32
    assert made["coin"].dtype == np.int64
    made["at"][0] = 9.0
    assert seen["at"].tolist() == [0.5, 1.0]
    assert single_observation(torch.tensor([0.5, 1.0]), BOX).tolist() == [0.5, 1.0]


def test_rows_are_replaced_in_a_copy() -> None:
    before = {"at": np.zeros((3, 2)), "coin": np.zeros(3, int)}
    after = {"at": np.ones((3, 2)), "coin": np.ones(3, int)}
    merged = with_rows(before, after, np.array([False, True, False]))
    assert merged["at"].tolist() == [[0, 0], [1, 1], [0, 0]]
    assert merged["coin"].tolist() == [0, 1, 0]
    assert not before["coin"].any()


def test_tensors_in_a_dict_become_arrays() -> None:
    made = to_numpy({"a": torch.ones(2), "b": [1, 2]})
    assert {key: type(value) for key, value in made.items()} == {
        "a": np.ndarray,
        "b": np.ndarray,
    }
