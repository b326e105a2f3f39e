"""The bandit as a picture: a row of slot machines, each with its lever."""

from collections.abc import Sequence
from typing import NamedTuple

from pg_envs.rendering.scene import (
    Circle,
    Colour,
    Line,
    Rectangle,
    Scene,
    Shape,
    Snapshot,
    Text,
)
from pg_envs.rendering.widgets import (
    ACCENT,
    CARD,
    FAINT,
    GAIN,
    GAIN_SOFT,
    HEIGHT,
    INK,
    LOSS,
    MARGIN,
    MUTED,
    TRACK,
    WIDTH,
    board,
    check_probabilities,
    compose,
    header,
    label_stride,
    labelled_indices,
    percentages,
    short,
    signed,
    vertical_bar,
)

_RULES = {
    "none": "An arm pays the same each time.",
    "gaussian": "An arm pays its mean plus Gaussian noise.",
    "bernoulli": "Each arm pays 1 with a probability of its own, else 0.",
}
_BOARD_TOP = 116.0
# Machines closer together than this have no room for the arm's name.
_NARROW = 48.0
_BOARD_HEIGHT = HEIGHT - _BOARD_TOP - 28
_IDLE: Colour = (151, 161, 187)
_SCREEN: Colour = (46, 53, 76)
_DOT: Colour = (104, 114, 145)


def bandit_scene(
    snapshot: Snapshot,
    action_names: Sequence[str],
    arm_rewards: Sequence[float],
    reward_noise: str,
    shows_means: bool = True,
) -> Scene:
    """Returns the picture of the bandit, a slot machine for each arm.

    Args:
        snapshot: The current situation.
        action_names: Names of the arms, at least one.
        arm_rewards: Mean reward of each arm.
        reward_noise: "none", "gaussian" or "bernoulli".
        shows_means: Whether the mean rewards are shown, or are to be found out.

    Raises:
        ValueError: If an argument is invalid or the lengths differ.
    """
    n_arms = len(action_names)
    if n_arms == 0:
        raise ValueError("A bandit has at least 1 arm.")
    if len(arm_rewards) != n_arms:
        raise ValueError(f"{len(arm_rewards)} arm rewards for {n_arms} arms.")
    if reward_noise not in _RULES:
        raise ValueError(f"reward_noise {reward_noise!r} is not in {list(_RULES)}.")
    if snapshot.action is not None and not 0 <= snapshot.action < n_arms:
        raise ValueError(f"action {snapshot.action} is not in 0..{n_arms - 1}.")
    check_probabilities(snapshot, n_arms)
    task = "The best one is in green." if shows_means else "Find the best one."
    column = _column(0, n_arms, snapshot.action_probabilities is not None)
    best = [arm for arm in range(n_arms) if arm_rewards[arm] == max(arm_rewards)]
    # A pulled arm is named where it can be, the best one always.
    pulled = [] if snapshot.action is None else [snapshot.action]
    important = [*(best if shows_means else []), *pulled]
    labelled = labelled_indices(n_arms, label_stride(column.pitch, 42.0), important)
    rules = (f"Pull one arm a step. {task}", _RULES[reward_noise])
    shapes: list[Shape] = []
    for arm in range(n_arms):
        shapes += _machine_of(snapshot, arm, arm_rewards)
        if arm in labelled:
            shapes += _labels(
                snapshot, arm, action_names[arm], arm_rewards, reward_noise, shows_means
            )
    return compose(
        header("Bandit", rules, snapshot),
        board(_BOARD_TOP, _BOARD_HEIGHT, snapshot),
        _policy_title(snapshot),
        shapes,
    )


def _policy_title(snapshot: Snapshot) -> list[Shape]:
    """Returns the title of the probability bars, if there are any."""
    if snapshot.action_probabilities is None:
        return []
    left, right, y = MARGIN + 24, WIDTH - MARGIN - 24, 336.0
    text = "Policy for the next pull: probability of each arm"
    title = Text(text, left, y + 19, 14, MUTED, "left")
    return [Line((left, y), (right, y), TRACK, 1.5), title]


class _Column(NamedTuple):
    """Where an arm stands.

    Attributes:
        x: Middle of its machine.
        top: Top of its machine.
        width: Of its machine.
        height: Of its machine.
        pitch: Distance to the next one.
    """

    x: float
    top: float
    width: float
    height: float
    pitch: float


def _column(arm: int, n_arms: int, with_bars: bool) -> _Column:
    """Returns where an arm stands; without bars, the machines are larger."""
    widest, tallest = (150.0, 130.0) if with_bars else (196.0, 220.0)
    pitch = min(widest, (WIDTH - 2 * MARGIN - 24) / n_arms)
    width = 0.64 * pitch
    height = min(tallest, max(2.4 * width, 60.0))
    # The lever sticks out on the right: machine and lever together are centred.
    x = WIDTH / 2 + (arm - (n_arms - 1) / 2) * pitch - 0.1 * width
    middle = 227.0 if with_bars else _BOARD_TOP + _BOARD_HEIGHT / 2
    return _Column(x, middle - height / 2, width, height, pitch)


def _machine_of(
    snapshot: Snapshot, arm: int, arm_rewards: Sequence[float]
) -> list[Shape]:
    """Returns the machine of an arm and the bar of its probability."""
    probabilities = snapshot.action_probabilities
    column = _column(arm, len(arm_rewards), probabilities is not None)
    pulled = snapshot.action == arm
    shown = "" if snapshot.reward is None else signed(snapshot.reward)
    shapes = _machine(column.x, column.top, column.width, column.height, pulled, shown)
    if probabilities is not None:
        thickness = min(40.0, 0.5 * column.pitch)
        shapes += vertical_bar(column.x, 446, 70, thickness, probabilities[arm])
    return shapes


def _labels(
    snapshot: Snapshot,
    arm: int,
    name: str,
    arm_rewards: Sequence[float],
    reward_noise: str,
    shows_means: bool,
) -> list[Shape]:
    """Returns the name of an arm, its mean reward and its probability.

    Machines close together are labelled with the arm's number.
    """
    n_arms = len(arm_rewards)
    probabilities = snapshot.action_probabilities
    x, top, _, height, pitch = _column(arm, n_arms, probabilities is not None)
    if pitch < _NARROW:
        name = str(arm)
    pay = arm_rewards[arm]
    is_wide = pitch >= 100
    label = short(pay) if is_wide else short(round(pay, 2) or pay, 3)
    label = label if shows_means else "?"
    if reward_noise != "none" and is_wide:
        label = f"mean {label}"
    size = 15 if is_wide else 13
    room = label_stride(pitch, 42.0) * pitch - 6
    is_best = shows_means and pay == max(arm_rewards)
    shapes: list[Shape] = [
        Text(
            name,
            x,
            top - 18,
            size,
            ACCENT if snapshot.action == arm else INK,
            max_width=room,
        ),
    ]
    y = top + height + 20
    if is_best:
        # The frame tells it to those who see no green.
        width = min(max(8.5 * len(label) + 14, 34.0), room)
        shapes.append(
            Rectangle(x - width / 2, y - 12, width, 23, GAIN_SOFT, 8, GAIN, 1.5)
        )
    colour = GAIN if is_best else MUTED
    shapes.append(Text(label, x, y, size, colour, max_width=room))
    if probabilities is not None:
        share = percentages(probabilities)[arm]
        shapes.append(Text(share, x, 464, 13, INK, max_width=room))
    return shapes


def _machine(
    x: float, top: float, width: float, height: float, pulled: bool, shown: str
) -> list[Shape]:
    """Returns a slot machine at x; a pulled one shows the reward."""
    left = x - width / 2
    inset = 0.1 * width
    screen_height = 0.42 * height
    middle = top + inset + screen_height / 2
    tray_y = top + 0.8 * height
    shapes: list[Shape] = [
        *_lever(left + width, top + 0.5 * height, width, pulled),
        Rectangle(left, top, width, height, ACCENT if pulled else _IDLE, 0.16 * width),
        Rectangle(
            left + inset,
            top + inset,
            width - 2 * inset,
            screen_height,
            _SCREEN,
            0.09 * width,
        ),
        Rectangle(left + 0.22 * width, tray_y - 4, 0.56 * width, 8, _SCREEN, 4),
    ]
    if not pulled:
        radius = 0.055 * width
        dots = (Circle(x + i * 0.2 * width, middle, radius, _DOT) for i in (-1, 0, 1))
        return [*shapes, *dots]
    if width < 24:
        # The reward stands above; here it could not be read.
        return shapes
    size = max(13.0, 0.24 * width)
    # On a narrow machine it extends beyond the screen, to be read at all.
    room = width - 4 if width < 60 else width - 2 * inset - 6
    return [*shapes, Text(shown, x, middle, size, CARD, max_width=room)]


def _lever(x: float, y: float, width: float, pulled: bool) -> list[Shape]:
    """Returns the lever on the right edge of a machine."""
    reach, length = 0.12 * width, 0.42 * width
    thickness = max(3.0, 0.055 * width)
    joint = (x + reach, y)
    knob = (x + 1.25 * reach, y + (length if pulled else -length))
    return [
        Line((x - 2, y), joint, FAINT, 1.6 * thickness),
        Line(joint, knob, FAINT, thickness),
        Circle(*knob, 0.1 * width, LOSS if not pulled else ACCENT),
    ]
