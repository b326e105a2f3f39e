"""The geometry of the controllers, on constructed observations."""

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


def observation(
    gripper: list[float],
    target: list[float],
    goal: list[float],
    velocity: tuple[float, float] = (0.0, 0.0),
    gripper_velocity: tuple[float, float] = (0.0, 0.0),
) -> dict[str, NDArray[Any]]:
    """Returns an observation; velocities in m/s."""
    numbers = np.zeros(25)
    numbers[:3], numbers[3:6] = gripper, target
    numbers[14:16] = (np.array(velocity) - gripper_velocity) * STEP_SECONDS
    numbers[20:22] = np.array(gripper_velocity) * STEP_SECONDS
    return {
        "observation": numbers,
        "achieved_goal": np.array(target),
        "desired_goal": np.array(goal),
    }


def coast(velocity: NDArray[Any], step: float = 1e-4) -> NDArray[Any]:
    """Integrates friction on a pyramid, which decelerates the faster component."""
    position, v = np.zeros(2), np.array(velocity, dtype=float)
    while np.max(np.abs(v)) > 1e-4:
        i = int(np.argmax(np.abs(v)))
        v[i] -= math.copysign(min(PUCK_DECELERATION * step, abs(v[i])), v[i])
        position += v * step
    return position


@pytest.mark.parametrize(
    "displacement", [(0.5, 0.0), (0.4, -0.25), (-0.1, 0.3), (0.2, 0.2), (-0.3, -0.05)]
)
def test_a_puck_with_the_launch_velocity_stops_after_the_displacement(
    displacement: tuple[float, float],
) -> None:
    stop = coast(launch_velocity(np.array(displacement)))
    assert stop == pytest.approx(np.array(displacement), abs=5e-4)


def test_the_launch_velocity_along_an_axis_is_that_of_uniform_deceleration() -> None:
    speed = math.sqrt(2 * PUCK_DECELERATION * 0.6)
    assert launch_velocity(np.array([0.6, 0.0])) == pytest.approx([speed, 0.0])


def test_the_velocity_of_the_puck_is_absolute() -> None:
    scene = observation(
        [1, 0.7, TABLE], [1.1, 0.7, TABLE], [1.5, 0.7, TABLE], (0.5, -0.2), (0.3, 0.1)
    )
    assert puck_velocity(scene) == pytest.approx([0.5, -0.2, 0.0])


def test_the_fingers_touch_with_a_side_or_a_corner() -> None:
    assert contact_offset(np.array([1.0, 0.0])) == pytest.approx([0.039, 0.0])
    half = math.sqrt(0.5)
    corner = 0.014 + 0.025 * half
    assert contact_offset(np.array([half, -half])) == pytest.approx([corner, -corner])


def test_reach_moves_straight_to_the_goal_and_stays_there() -> None:
    scene = {
        "observation": np.array([1.3, 0.7, 0.5, *[0.0] * 7]),
        "desired_goal": np.array([1.4, 0.7, 0.49]),
    }
    action = reach(scene)
    assert action.dtype == np.float32 and action.shape == (4,)
    # More than a step, nothing, and a part of a step.
    assert action == pytest.approx([1.0, 0.0, -0.01 / 0.033, 0.0])
    scene["observation"][:3] = scene["desired_goal"]
    assert reach(scene) == pytest.approx(np.zeros(4))


@pytest.mark.parametrize("controller", [push, slide])
def test_in_front_of_the_object_the_gripper_rises_first(
    controller: Any,
) -> None:
    scene = observation([1.06, 0.7, TABLE], [1.0, 0.7, TABLE], [1.4, 0.7, TABLE])
    x, y, z, _ = controller(scene)
    assert (x, y) == (0.0, 0.0) and z == 1.0
    # Above the object it moves back over it.
    scene["observation"][2] = 0.5
    assert controller(scene)[0] == -1.0


@pytest.mark.parametrize("controller", [push, slide])
@pytest.mark.parametrize("turn", [0.0, 0.5, 2.0, -1.2])
def test_behind_the_object_it_moves_towards_the_goal(
    controller: Any, turn: float
) -> None:
    ahead = np.array([math.cos(turn), math.sin(turn)])
    target = np.array([1.2, 0.75])
    direction = launch_velocity(ahead) / np.linalg.norm(launch_velocity(ahead))
    behind = target - (
        contact_offset(direction) if controller is slide else 0.05 * ahead
    )
    goal = target + 0.3 * ahead
    scene = observation([*behind, TABLE], [*target, TABLE], [*goal, TABLE])
    action = controller(scene)[:2].astype(float)
    expected = direction if controller is slide else ahead
    assert action @ expected > 0.05
    assert abs(action @ [-expected[1], expected[0]]) < 0.02


def test_an_object_at_the_goal_is_not_moved() -> None:
    scene = observation([1.15, 0.75, TABLE], [1.2, 0.75, TABLE], [1.2, 0.75, TABLE])
    assert push(scene) == pytest.approx(np.zeros(4))
    assert slide(scene) == pytest.approx(np.zeros(4))


@pytest.mark.parametrize("form", ["-v4", "Dense-v4"])
def test_each_environment_has_its_controller(form: str) -> None:
    assert controller_of(f"FetchReach{form}") is reach
    assert controller_of(f"gymnasium_robotics:FetchPush{form}") is push
    assert controller_of(f"FetchSlide{form}") is slide


def test_an_environment_without_a_controller_raises() -> None:
    with pytest.raises(ValueError, match=r"FetchSlide-v4.*got env_id='CartPole-v1'"):
        controller_of("CartPole-v1")
