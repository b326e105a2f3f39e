"""The geometry of the controllers, on made-up observations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pg_agents.experiments.controllers import (
    PUCK_DECELERATION,
    STEP_SECONDS,
    contact_offset,
    controller_of,
    launch_velocity,
    puck_velocity,
    push,
    reach,
    slide,
)

TABLE = 0.425


def seen(
    gripper: list[float],
    thing: list[float],
    goal: list[float],
    velocity: tuple[float, float] = (0.0, 0.0),
    own: tuple[float, float] = (0.0, 0.0),
) -> dict[str, NDArray[Any]]:
    """Returns an observation; velocities in m/s."""
    numbers = np.zeros(25)
    numbers[:3], numbers[3:6] = gripper, thing
    numbers[14:16] = (np.array(velocity) - own) * STEP_SECONDS
    numbers[20:22] = np.array(own) * STEP_SECONDS
    return {
        "observation": numbers,
        "achieved_goal": np.array(thing),
        "desired_goal": np.array(goal),
    }


def coast(velocity: NDArray[Any], step: float = 1e-4) -> NDArray[Any]:
    """Integrates friction on a pyramid: it is against the faster component alone."""
    at, v = np.zeros(2), np.array(velocity, dtype=float)
    while np.max(np.abs(v)) > 1e-4:
        i = int(np.argmax(np.abs(v)))
        v[i] -= math.copysign(min(PUCK_DECELERATION * step, abs(v[i])), v[i])
        at += v * step
    return at


@pytest.mark.parametrize(
    "displacement", [(0.5, 0.0), (0.4, -0.25), (-0.1, 0.3), (0.2, 0.2), (-0.3, -0.05)]
)
def test_a_puck_so_launched_comes_to_rest_where_it_should(
    displacement: tuple[float, float],
) -> None:
    there = coast(launch_velocity(np.array(displacement)))
    assert there == pytest.approx(np.array(displacement), abs=5e-4)


def test_straight_ahead_it_is_the_speed_of_uniform_deceleration() -> None:
    speed = math.sqrt(2 * PUCK_DECELERATION * 0.6)
    assert launch_velocity(np.array([0.6, 0.0])) == pytest.approx([speed, 0.0])


def test_the_velocity_of_the_puck_is_not_that_relative_to_the_gripper() -> None:
    scene = seen(
        [1, 0.7, TABLE], [1.1, 0.7, TABLE], [1.5, 0.7, TABLE], (0.5, -0.2), (0.3, 0.1)
    )
    assert puck_velocity(scene) == pytest.approx([0.5, -0.2, 0.0])


def test_fingers_touch_with_a_side_or_a_corner() -> None:
    assert contact_offset(np.array([1.0, 0.0])) == pytest.approx([0.039, 0.0])
    half = math.sqrt(0.5)
    corner = 0.014 + 0.025 * half
    assert contact_offset(np.array([half, -half])) == pytest.approx([corner, -corner])


def test_reach_goes_straight_to_the_goal_and_stays_there() -> None:
    scene = {
        "observation": np.array([1.3, 0.7, 0.5, *[0.0] * 7]),
        "desired_goal": np.array([1.4, 0.7, 0.49]),
    }
    action = reach(scene)
    assert action.dtype == np.float32 and action.shape == (4,)
    # Farther than a step goes, not at all, and a part of a step.
    assert action == pytest.approx([1.0, 0.0, -0.01 / 0.033, 0.0])
    scene["observation"][:3] = scene["desired_goal"]
    assert reach(scene) == pytest.approx(np.zeros(4))


@pytest.mark.parametrize("controller", [push, slide])
def test_in_front_of_the_object_the_gripper_rises_before_it_goes_round(
    controller: Any,
) -> None:
    scene = seen([1.06, 0.7, TABLE], [1.0, 0.7, TABLE], [1.4, 0.7, TABLE])
    x, y, z, _ = controller(scene)
    assert (x, y) == (0.0, 0.0) and z == 1.0
    # Once above it, it goes back over the object.
    scene["observation"][2] = 0.5
    assert controller(scene)[0] == -1.0


@pytest.mark.parametrize("controller", [push, slide])
@pytest.mark.parametrize("turn", [0.0, 0.5, 2.0, -1.2])
def test_behind_the_object_it_moves_towards_the_goal(
    controller: Any, turn: float
) -> None:
    ahead = np.array([math.cos(turn), math.sin(turn)])
    thing = np.array([1.2, 0.75])
    direction = launch_velocity(ahead) / np.linalg.norm(launch_velocity(ahead))
    behind = thing - (
        contact_offset(direction) if controller is slide else 0.05 * ahead
    )
    goal = thing + 0.3 * ahead
    scene = seen([*behind, TABLE], [*thing, TABLE], [*goal, TABLE])
    action = controller(scene)[:2].astype(float)
    wanted = direction if controller is slide else ahead
    assert action @ wanted > 0.05
    assert abs(action @ [-wanted[1], wanted[0]]) < 0.02


def test_who_is_at_the_goal_is_left_alone() -> None:
    scene = seen([1.15, 0.75, TABLE], [1.2, 0.75, TABLE], [1.2, 0.75, TABLE])
    assert push(scene) == pytest.approx(np.zeros(4))
    assert slide(scene) == pytest.approx(np.zeros(4))


@pytest.mark.parametrize("form", ["-v4", "Dense-v4"])
def test_each_environment_has_its_controller(form: str) -> None:
    assert controller_of(f"FetchReach{form}") is reach
    assert controller_of(f"gymnasium_robotics:FetchPush{form}") is push
    assert controller_of(f"FetchSlide{form}") is slide


def test_without_a_controller_it_says_for_what_there_is_one() -> None:
    with pytest.raises(ValueError, match=r"FetchSlide-v4.*got env_id='CartPole-v1'"):
        controller_of("CartPole-v1")
