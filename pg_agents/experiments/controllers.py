"""Hand-written controllers of the Fetch robot: functions of one observation.

They keep nothing in mind between steps, so that a policy can be cloned from what they
did. The observations and actions are those of gymnasium-robotics' FetchReach-v4,
FetchPush-v4 and FetchSlide-v4: lengths in metres, velocities in metres a control step
(0.04 s), and an action of four numbers in [-1, 1]: where the gripper is to move, 1 for
5 cm, and the fingers, which stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Observation = Mapping[str, NDArray[Any]]
FetchController = Callable[[Observation], NDArray[np.float32]]

STEP_SECONDS = 0.04
# How far an action of 1 moves the gripper, in metres: less than what is commanded.
_STEP_METRES = 0.033
# From the gripper's centre to that of what it touches.
_PUSHING_GAP = 0.045
# Centres of the gripper: over the object, and beside it.
_ABOVE = 0.50
_BESIDE = 0.425
# Where a push ends: the object is at its goal.
_THERE = 0.01
# Of the puck on the table, in m/s^2.
PUCK_DECELERATION = 0.98
# In m/s: what is slower is left alone.
_AT_REST = 0.1
PUCK_RADIUS = 0.025
# Half the width of the closed fingers; and the sine up to which their side counts.
_FINGER = 0.014
_ROUNDING = 0.2
# Where the puck's controller begins, before contact; found by trying, as are the next.
_SLIDING_GAP = 0.01
# What the puck's speed may grow by in a step, in m/s: with more it jumps ahead.
_GATHER = 0.1
# Of the gripper's mean speed in a step, what is left at its end.
_LAG = 0.77
# Steps from an observation to when the speed that answers it is reached.
_LEAD = 1.5
# Share of a sideways error that is made good in a step.
_SIDEWAYS = 0.3


def controller_of(env_id: str) -> FetchController:
    """Returns the controller of an environment, dense or sparse.

    Args:
        env_id: with or without ``module:``.

    Raises:
        ValueError: if there is none.
    """
    name = env_id.split(":")[-1]
    for task, controller in (
        ("FetchReach", reach),
        ("FetchPush", push),
        ("FetchSlide", slide),
    ):
        if name in (f"{task}-v4", f"{task}Dense-v4"):
            return controller
    raise ValueError(
        "a controller is there for FetchReach-v4, FetchPush-v4, FetchSlide-v4 and "
        f"their dense forms (FetchSlideDense-v4), got env_id={env_id!r}"
    )


def reach(observation: Observation) -> NDArray[np.float32]:
    """Moves the gripper straight to the goal."""
    gripper = observation["observation"][:3]
    return _towards(observation["desired_goal"] - gripper)


def push(observation: Observation) -> NDArray[np.float32]:
    """Gets behind the box, as seen from the goal, and pushes it there."""
    gripper, box, goal = _scene(observation)
    left = goal[:2] - box[:2]
    distance = float(np.linalg.norm(left))
    if distance < _THERE:
        return _towards(np.zeros(3))
    direction = left / distance
    along, across = _seen_from(box, gripper, direction)
    if not _is_behind(along, across, gripper[2]):
        return _approach(gripper, box, direction, _PUSHING_GAP + 0.02)
    # As far as the goal, and back onto the line through box and goal.
    forward = min(0.015, 0.5 * distance) * direction
    sideways = -across * _normal(direction)
    return _towards(np.append(forward + sideways, _BESIDE - gripper[2]))


def slide(observation: Observation) -> NDArray[np.float32]:
    """Gets behind the puck and speeds it up until it will come to rest at the goal.

    The gripper goes as fast as the puck should, see `launch_velocity`, but gathers
    speed so slowly that the puck stays with it. Once friction alone is enough both slow
    down alike, and the gripper pushes no more. A puck that falls short is caught up
    with, where the arm reaches it.
    """
    gripper, puck, goal = _scene(observation)
    own = observation["observation"][20:22] / STEP_SECONDS
    # Where the puck is when the gripper has got the new speed.
    left = goal[:2] - puck[:2] - _LEAD * STEP_SECONDS * puck_velocity(observation)[:2]
    wanted = launch_velocity(left)
    speed = float(np.linalg.norm(wanted))
    if speed < _AT_REST:
        return _towards(np.zeros(3))
    direction = wanted / speed
    contact = contact_offset(direction)
    along, _ = _seen_from(puck, gripper, direction)
    _, across = _seen_from(puck - np.append(contact, 0), gripper, direction)
    if not _is_behind(along, across, gripper[2]):
        return _approach(gripper, puck - np.append(contact, 0), direction, _SLIDING_GAP)
    speed = min(speed, max(0.0, float(own @ direction)) / _LAG + _GATHER)
    forward = speed * STEP_SECONDS * direction
    sideways = -_SIDEWAYS * across * _normal(direction)
    return _towards(np.append(forward + sideways, _BESIDE - gripper[2]))


def contact_offset(direction: Vector) -> Vector:
    """Returns where the puck is, seen from the fingers, when they push it that way.

    The closed fingers are a square of 2.8 cm; a force goes through the puck's centre
    from the nearest point of it: of a side where it is straight ahead, or a corner.

    Args:
        direction: `[2]`, of length 1.

    Returns:
        `[2]`, in metres.
    """
    corner = _FINGER * np.clip(direction / _ROUNDING, -1, 1)
    offset: Vector = corner + PUCK_RADIUS * direction
    return offset


def launch_velocity(displacement: Vector) -> Vector:
    """Returns the velocity with which a puck comes to rest after a displacement.

    MuJoCo's friction cone is a pyramid with its edges on the axes: friction a slows
    down the faster of the two components alone, until they are equal, and then each by
    a / 2. So, with v the faster one and w the other,

    `(v + w)^2 = 2 a (d + e)`, `(v - w)^2 = 2 a (d - e)`

    for the displacements d along the faster axis and e along the other.

    Args:
        displacement: `[2]`, in metres.

    Returns:
        `[2]`, in m/s.
    """
    far, near = np.sort(np.abs(displacement))[::-1]
    total = math.sqrt(2 * PUCK_DECELERATION * (far + near))
    difference = math.sqrt(2 * PUCK_DECELERATION * (far - near))
    fast, slow = (total + difference) / 2, (total - difference) / 2
    x_is_far = abs(displacement[0]) >= abs(displacement[1])
    speeds = np.array([fast, slow] if x_is_far else [slow, fast])
    velocity: Vector = np.copysign(speeds, displacement)
    return velocity


def puck_velocity(observation: Observation) -> Vector:
    """Returns the object's velocity, `[3]` in m/s.

    The observation has it relative to the gripper, and in metres a step.
    """
    numbers = observation["observation"]
    velocity: Vector = (numbers[14:17] + numbers[20:23]) / STEP_SECONDS
    return velocity


def _scene(observation: Observation) -> tuple[Vector, Vector, Vector]:
    """Returns the centres of gripper, object and goal, `[3]` each."""
    numbers = observation["observation"]
    return numbers[:3], numbers[3:6], observation["desired_goal"]


def _normal(direction: Vector) -> Vector:
    """Returns the direction turned to the left by a right angle, `[2]`."""
    return np.array([-direction[1], direction[0]])


def _seen_from(
    thing: Vector, gripper: Vector, direction: Vector
) -> tuple[float, float]:
    """Returns how far the gripper is ahead and to the left of something."""
    offset = gripper[:2] - thing[:2]
    return float(offset @ direction), float(offset @ _normal(direction))


def _is_behind(along: float, across: float, height: float) -> bool:
    """Whether the gripper is beside the table's object, where it can push."""
    return along < -0.02 and abs(across) < 0.03 and height < _BESIDE + 0.02


def _approach(
    gripper: Vector, thing: Vector, direction: Vector, gap: float
) -> NDArray[np.float32]:
    """Moves to behind an object: over it first, so as not to touch it, then down."""
    behind = thing[:2] - gap * direction
    off = behind - gripper[:2]
    near = float(np.linalg.norm(off)) < 0.13
    low = gripper[2] < _ABOVE - 0.03
    if float(np.linalg.norm(off)) < (0.03 if low else 0.015):
        height = _BESIDE
    else:
        height = _ABOVE
        if low and near:
            off = np.zeros(2)
    return _towards(np.append(off, height - gripper[2]))


def _towards(offset: Vector) -> NDArray[np.float32]:
    """Returns the action that moves the gripper by an offset, `[3]` in metres."""
    moved = np.clip(offset / _STEP_METRES, -1, 1)
    return np.append(moved, 0).astype(np.float32)
