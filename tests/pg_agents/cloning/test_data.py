"""Arrays that are observations and actions of a space, and others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from pg_agents.cloning.data import (
    check_actions,
    check_observations,
    check_same_space,
)
from pg_agents.common.nonfinite import NonFiniteError

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (3, 40, 36), np.uint8)
PAIR = spaces.Dict({"place": BOX, "room": spaces.Discrete(3)})


@pytest.mark.parametrize(
    ("space", "values", "expected"),
    [
        (spaces.Discrete(3), [0.0, 2.0], [0, 2]),
        (spaces.Discrete(2, start=-1), [-1, 0], [-1, 0]),
        (spaces.MultiDiscrete([2, 4]), [[1, 3], [0, 0]], [[1, 3], [0, 0]]),
        (spaces.MultiBinary(2), [[True, False]], [[1, 0]]),
        (BOX, [[1, -1], [0, 1]], [[1.0, -1.0], [0.0, 1.0]]),
    ],
)
def test_actions_are_converted_to_the_dtype_of_the_space(
    space: spaces.Space[Any], values: Any, expected: Any
) -> None:
    got = check_actions(space, values)
    assert got.tolist() == expected
    assert got.dtype == space.dtype


def test_bounds_are_compared_in_float32() -> None:
    """0.1 is larger in float32 than in float64."""
    for low, high in ((np.float32, np.float64), (np.float64, np.float32)):
        space = spaces.Box(-0.1, 0.1, (1,), low)
        assert check_actions(space, np.array([[0.1], [-0.1]], high)).shape == (2, 1)


@pytest.mark.parametrize(
    ("space", "values", "message"),
    [
        (spaces.Discrete(3), [0, 3, 4], r"2 of 3 are not, the first is row 1: 3"),
        (spaces.Discrete(2, start=1), [0], r"must be in Discrete\(2, start=1\)"),
        (spaces.Discrete(2, start=-1), [1, -2], "2 of 2 are not"),
        (spaces.MultiDiscrete([2, 2], start=[0, 5]), [[1, 5], [1, 7]], "row 1"),
        (spaces.Discrete(3), [0.5], "must be whole numbers"),
        (spaces.Box(0, 9, (1,), np.uint8), [[0.5]], "must be whole numbers"),
        (spaces.Discrete(3), [[1], [2]], r"shape \[B\] for Discrete.*got \[2, 1\]"),
        (spaces.Discrete(3), 1, r"got \[\]"),
        (spaces.MultiDiscrete([2, 4]), [[0, 4]], "row 0"),
        (spaces.MultiBinary(2), [[0, 2]], "row 0"),
        (BOX, [[0, 1.1]], "must be in Box"),
        (BOX, [[0, np.nan]], "must be finite numbers; 1 of 1"),
        (BOX, [0, 1], r"shape \[B, 2\]"),
        (BOX, np.zeros((0, 2)), "at least one row, got none"),
        (BOX, [["a", "b"]], "must be numbers"),
        (BOX, [[1], [1, 2]], "must be one array"),
    ],
)
def test_invalid_actions_are_rejected(
    space: spaces.Space[Any], values: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^the actions.*{message}"):
        check_actions(space, values, "the actions")


def test_unsupported_spaces_are_rejected() -> None:
    with pytest.raises(TypeError, match=r"actions: .* not supported: Text"):
        check_actions(spaces.Text(3), ["abc"])
    with pytest.raises(TypeError, match=r"observations: .* not supported: Tuple"):
        check_observations(spaces.Tuple((BOX, BOX)), np.zeros((1, 2)))


def test_bounds_and_finiteness_of_box_observations_are_not_enforced() -> None:
    got = check_observations(BOX, [[3.0, -7.0]])
    assert isinstance(got, np.ndarray)
    assert got.tolist() == [[3.0, -7.0]]
    with pytest.raises(ValueError, match="observations must be in Discrete"):
        check_observations(spaces.Discrete(2), [2])
    endless = check_observations(BOX, [[np.inf, np.nan]])
    np.testing.assert_array_equal(endless, [[np.inf, np.nan]])
    with pytest.raises(
        NonFiniteError, match=r"observations must be finite.* row 1: nan"
    ):
        check_observations(spaces.Discrete(2), [1.0, np.nan])


def test_images_may_have_channels_first_or_last() -> None:
    for shape in ((2, 3, 40, 36), (2, 40, 36, 3)):
        got = check_observations(IMAGE, np.zeros(shape, np.uint8))
        assert isinstance(got, np.ndarray)
        assert got.shape == shape
    with pytest.raises(ValueError, match=r"shape \[B, 3, 40, 36\]"):
        check_observations(IMAGE, np.zeros((2, 36, 40, 3), np.uint8))


def test_dict_observations_must_have_the_keys_of_the_space() -> None:
    good = {"room": [0, 2, 1], "place": np.zeros((3, 2))}
    got = check_observations(PAIR, good)
    assert isinstance(got, dict)
    assert got["room"].tolist() == [0, 2, 1]
    with pytest.raises(TypeError, match=r"dict of arrays .*'place', 'room'.* list"):
        check_observations(PAIR, [good])
    with pytest.raises(ValueError, match=r"keys \['place', 'room'\], got \['room'\]"):
        check_observations(PAIR, {"room": [0]})
    with pytest.raises(ValueError, match=r"observations\['room'\] must be in"):
        check_observations(PAIR, good | {"room": [0, 3, 1]})
    with pytest.raises(ValueError, match=r"equal lengths, got .*'place': 3, 'room': 1"):
        check_observations(PAIR, good | {"room": [0]})


CHANNELS_LAST = spaces.Box(0, 255, (40, 36, 3), np.uint8)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (BOX, spaces.Box(-1.0, 1.0, (2,), np.float64), True),
        (BOX, spaces.Box(-1.0, 2.0, (2,), np.float32), False),
        (BOX, spaces.Box(-1.0, 1.0, (3,), np.float32), False),
        (BOX, spaces.Box(-np.inf, np.inf, (2,), np.float32), False),
        (spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(-np.inf, np.inf, (2,)), True),
        (CHANNELS_LAST, IMAGE, True),
        (spaces.Box(0, 255, (40, 36, 4), np.uint8), IMAGE, False),
        (BOX, IMAGE, False),
        (spaces.Discrete(2), spaces.Discrete(2, dtype=np.int32), True),
        (spaces.Discrete(2), spaces.Discrete(3), False),
        (spaces.Discrete(2), spaces.Discrete(2, start=1), False),
        (spaces.MultiDiscrete([2, 3]), spaces.MultiDiscrete([2, 4]), False),
        (spaces.MultiDiscrete([2, 3]), spaces.MultiDiscrete([2, 3]), True),
        (spaces.MultiBinary(3), spaces.MultiBinary(3), True),
        (spaces.MultiBinary(3), spaces.MultiBinary(4), False),
        (spaces.MultiBinary(2), spaces.Discrete(2), False),
        (PAIR, spaces.Dict({"place": BOX, "room": spaces.Discrete(3)}), True),
        (PAIR, spaces.Dict({"place": BOX, "room": spaces.Discrete(4)}), False),
        (PAIR, spaces.Dict({"place": BOX}), False),
        (PAIR, BOX, False),
    ],
    ids=str,
)
def test_spaces_are_compared_up_to_dtype_and_channel_order(
    one: spaces.Space[Any], other: spaces.Space[Any], same: bool
) -> None:
    if same:
        check_same_space("actions", one, other)
    else:
        with pytest.raises(ValueError, match=r"^actions were recorded in"):
            check_same_space("actions", one, other)
