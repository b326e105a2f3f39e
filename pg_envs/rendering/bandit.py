"""The bandit as a picture: a row of slot machines, each with its lever."""

from collections.abc import Sequence

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
    percentage,
    short,
    signed,
    vertical_bar,
)

_RULES = {
    "none": "An arm pays the same each time.",
    "gaussian": "An arm pays its mean plus Gaussian noise.",
    "bernoulli": "An arm pays 1 with its mean as the chance, else 0.",
}
_BOARD_TOP = 116.0
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
    rules = (f"Pull one arm a step. {task}", _RULES[reward_noise])
    shapes: list[Shape] = []
    for arm in range(n_arms):
        name, noise = action_names[arm], reward_noise
        shapes += _arm(snapshot, arm, name, arm_rewards, noise, shows_means)
    return compose(
        header("Bandit", rules, snapshot),
        board(_BOARD_TOP, _BOARD_HEIGHT, snapshot.terminated),
        _policy_title(snapshot),
        shapes,
    )


def _policy_title(snapshot: Snapshot) -> list[Shape]:
    """Returns the title of the probability bars, if there are any."""
    if snapshot.action_probabilities is None:
        return []
    left, right, y = MARGIN + 24, WIDTH - MARGIN - 24, 336.0
    title = Text("Policy: probability of each arm", left, y + 19, 14, MUTED, "left")
    return [Line((left, y), (right, y), TRACK, 1.5), title]


def _arm(
    snapshot: Snapshot,
    arm: int,
    name: str,
    arm_rewards: Sequence[float],
    reward_noise: str,
    shows_means: bool,
) -> list[Shape]:
    """Returns one arm: its name, machine, mean reward and probability."""
    n_arms = len(arm_rewards)
    probabilities = snapshot.action_probabilities
    # Without bars, the machines are larger.
    widest, tallest = (150.0, 130.0) if probabilities is not None else (196.0, 220.0)
    pitch = min(widest, (WIDTH - 2 * MARGIN - 24) / n_arms)
    width = 0.64 * pitch
    height = min(tallest, 2.4 * width)
    # The lever sticks out on the right: machine and lever together are centred.
    x = WIDTH / 2 + (arm - (n_arms - 1) / 2) * pitch - 0.1 * width
    middle = 227.0 if probabilities is not None else _BOARD_TOP + _BOARD_HEIGHT / 2
    top = middle - height / 2
    pulled = snapshot.action == arm
    shown = "" if snapshot.reward is None else signed(snapshot.reward)
    pay = arm_rewards[arm]
    label = short(pay) if reward_noise == "none" else f"mean {short(pay)}"
    label = label if shows_means else "?"
    colour = GAIN if shows_means and pay == max(arm_rewards) else MUTED
    size = 15 if pitch >= 100 else 13
    room = pitch - 8
    shapes: list[Shape] = [
        Text(name, x, top - 18, size, ACCENT if pulled else INK, max_width=room),
        *_machine(x, top, width, height, pulled, shown),
        Text(label, x, top + height + 20, size, colour, max_width=room),
    ]
    if probabilities is not None:
        share = probabilities[arm]
        shapes += vertical_bar(x, 446, 70, min(40.0, 0.5 * pitch), share)
        shapes.append(Text(percentage(share), x, 464, 13, INK, max_width=room))
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
    size = max(13.0, 0.24 * width)
    room = width - 2 * inset - 6
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
