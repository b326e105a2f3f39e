"""The states of the shared generators, taken and put back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from pg_agents.checkpoint.state import (
    preserved_random_states,
    random_states,
    set_random_states,
    set_space_state,
    space_state,
)
from tests.pg_agents.checkpoint.resuming_examples import scramble


def draws() -> list[float]:
    # A normal of NumPy's old generator and of Python's come in pairs: half is left.
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.normal()),
        float(torch.rand(())),
        float(torch.randn(())),
    ]


def test_they_draw_again_what_they_drew() -> None:
    draws()
    states = random_states()
    first = [draws(), draws()]
    for _ in range(2):
        scramble()
        set_random_states(states)
        assert [draws(), draws()] == first


def test_nothing_is_left_of_what_was_drawn_inside_even_by_an_error() -> None:
    states = random_states()
    first = draws()
    set_random_states(states)
    with pytest.raises(KeyError), preserved_random_states():
        scramble()
        raise KeyError
    assert draws() == first


def test_the_choice_of_deterministic_algorithms_is_kept() -> None:
    cudnn: Any = torch.backends.cudnn
    was = cudnn.deterministic
    with preserved_random_states():
        cudnn.deterministic = not was
        states = random_states()
    assert cudnn.deterministic is was
    with preserved_random_states():
        set_random_states(states)
        assert cudnn.deterministic is not was


def test_spaces_draw_again_what_they_drew() -> None:
    space = spaces.Box(0.0, 1.0, (2,))
    assert space_state(space) is None
    # Looking has not made a generator.
    assert vars(space)["_np_random"] is None
    space.seed(3)
    state = space_state(space)
    first = [space.sample().tolist() for _ in range(3)]
    other = spaces.Box(0.0, 1.0, (2,))
    set_space_state(other, state)
    assert [other.sample().tolist() for _ in range(3)] == first
    set_space_state(other, None)
