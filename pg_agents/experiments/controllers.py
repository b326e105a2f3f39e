"""Scripted controllers of the Fetch robot: functions of one observation.

They have no memory, so a policy can be cloned from their actions. Observations and
actions are those of gymnasium-robotics' FetchReach-v4, FetchPush-v4 and FetchSlide-v4:
lengths in metres, velocities in metres per control step (0.04 s), and an action of four
numbers in [-1, 1]: the displacement of the gripper, 1 for 5 cm, and the fingers, which
the controllers do not move.
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
# Displacement of the gripper by an action of 1, in metres; less than is commanded.
_STEP_METRES = 0.033
# Distance of the centres of gripper and box in contact, in metres.
_PUSHING_GAP = 0.045
# Heights of the gripper's centre above the object and beside it, in metres.
_ABOVE = 0.50
_BESIDE = 0.425
# Distance from the goal at which a push ends, in metres.
_AT_GOAL = 0.01
# Deceleration of the puck by friction on the table, in m/s^2.
PUCK_DECELERATION = 0.98
# Speed in m/s below which the puck needs no push.
_AT_REST = 0.1
PUCK_RADIUS = 0.025
# Half the width of the closed fingers, in metres.
_FINGER = 0.014
# Sine of the direction up to which the contact point moves from side to corner.
_ROUNDING = 0.2
# The constants below were tuned by trial.
# Distance between fingers and puck at which sliding begins, in metres.
_SLIDING_GAP = 0.01
# Largest increase of the speed per step, in m/s; with more the puck jumps ahead.
_ACCELERATION = 0.1
# Ratio of the gripper's speed at the end of a step to its mean speed in the step.
_LAG = 0.77
# Steps between an observation and the time at which the commanded speed is reached.
_LEAD = 1.5
# Share of a sideways error that is corrected per step.
_SIDEWAYS = 0.3


def controller_of(env_id: str) -> FetchController:
    """Returns the controller of an environment, dense or sparse.

    Args:
        env_id: id of the environment, with or without ``module:``.

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
    """Moves behind the box, opposite the goal, and pushes it to the goal."""
    gripper, box, goal = _scene(observation)
    displacement = goal[:2] - box[:2]
    distance = float(np.linalg.norm(displacement))
    if distance < _AT_GOAL:
        return _towards(np.zeros(3))
    direction = displacement / distance
    along, across = _relative_to(box, gripper, direction)
    if not _is_behind(along, across, gripper[2]):
        return _approach(gripper, box, direction, _PUSHING_GAP + 0.02)
    # Towards the goal, and onto the line through box and goal.
    forward = min(0.015, 0.5 * distance) * direction
    sideways = -across * _normal(direction)
    return _towards(np.append(forward + sideways, _BESIDE - gripper[2]))


def slide(observation: Observation) -> NDArray[np.float32]:
    """Moves behind the puck and accelerates it so that it stops at the goal.

    The gripper moves at the speed that the puck needs, see `launch_velocity`, but
    accelerates so slowly that the puck stays in contact. Once the puck is fast enough
    both decelerate alike. A puck that stops short is pushed again within reach.
    """
    gripper, puck, goal = _scene(observation)
    gripper_velocity = observation["observation"][20:22] / STEP_SECONDS
    # Displacement that is left when the gripper has reached the new speed.
    moved = _LEAD * STEP_SECONDS * puck_velocity(observation)[:2]
    target = launch_velocity(goal[:2] - puck[:2] - moved)
    speed = float(np.linalg.norm(target))
    if speed < _AT_REST:
        return _towards(np.zeros(3))
    direction = target / speed
    contact = contact_offset(direction)
    along, _ = _relative_to(puck, gripper, direction)
    _, across = _relative_to(puck - np.append(contact, 0), gripper, direction)
    if not _is_behind(along, across, gripper[2]):
        return _approach(gripper, puck - np.append(contact, 0), direction, _SLIDING_GAP)
    forward_speed = max(0.0, float(gripper_velocity @ direction))
    speed = min(speed, forward_speed / _LAG + _ACCELERATION)
    forward = speed * STEP_SECONDS * direction
    sideways = -_SIDEWAYS * across * _normal(direction)
    return _towards(np.append(forward + sideways, _BESIDE - gripper[2]))


def contact_offset(direction: Vector) -> Vector:
    """Returns the puck's position relative to the fingers that push it.

    The closed fingers are a square of 2.8 cm. The force acts along the line from the
    nearest point of the square, on a side or at a corner, to the puck's centre.

    Args:
        direction: direction of the push, `[2]`, of length 1.

    Returns:
        Offset `[2]` in metres.
    """
    corner = _FINGER * np.clip(direction / _ROUNDING, -1, 1)
    offset: Vector = corner + PUCK_RADIUS * direction
    return offset


def launch_velocity(displacement: Vector) -> Vector:
    """Returns the velocity with which a puck comes to rest after a displacement.

    MuJoCo's friction cone is a pyramid with its edges on the axes: friction a
    decelerates the faster component alone until both are equal, and then each by a / 2.
    So, with v the faster component and w the other,

    `(v + w)^2 = 2 a (d + e)`, `(v - w)^2 = 2 a (d - e)`

    for the displacements d along the faster axis and e along the other.

    Args:
        displacement: `[2]`, in metres.

    Returns:
        Velocity `[2]` in m/s.
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

    In the observation it is relative to the gripper and in metres per step.
    """
    numbers = observation["observation"]
    velocity: Vector = (numbers[14:17] + numbers[20:23]) / STEP_SECONDS
    return velocity


def _scene(observation: Observation) -> tuple[Vector, Vector, Vector]:
    """Returns the positions of gripper, object and goal, `[3]` each."""
    numbers = observation["observation"]
    return numbers[:3], numbers[3:6], observation["desired_goal"]


def _normal(direction: Vector) -> Vector:
    """Returns the direction rotated by 90 degrees to the left, `[2]`."""
    return np.array([-direction[1], direction[0]])


def _relative_to(
    target: Vector, gripper: Vector, direction: Vector
) -> tuple[float, float]:
    """Returns how far the gripper is ahead and to the left of an object."""
    offset = gripper[:2] - target[:2]
    return float(offset @ direction), float(offset @ _normal(direction))


def _is_behind(along: float, across: float, height: float) -> bool:
    """Whether the gripper is low enough and close enough to the line to push."""
    return along < -0.02 and abs(across) < 0.03 and height < _BESIDE + 0.02


def _approach(
    gripper: Vector, target: Vector, direction: Vector, gap: float
) -> NDArray[np.float32]:
    """Moves behind an object: above it first, to avoid contact, then down."""
    behind = target[:2] - gap * direction
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
