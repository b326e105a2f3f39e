"""Widgets, colours and number formats that the scenes share.

A widget is a pure function that returns shapes. Positions and sizes are in pixels.
"""

import itertools
import math
from collections.abc import Sequence

from pg_envs.rendering.scene import (
    Circle,
    Colour,
    Line,
    Point,
    Polygon,
    Rectangle,
    Scene,
    Shape,
    Snapshot,
    Text,
)

# Multiples of 16: video encoders pad or refuse other sizes.
WIDTH, HEIGHT = 800, 512
MARGIN = 36.0

STAT_WIDTH, STAT_GAP = 92.0, 10.0

BACKGROUND: Colour = (243, 244, 248)
CARD: Colour = (255, 255, 255)
BORDER: Colour = (222, 226, 235)
SHADOW: Colour = (231, 234, 241)
TRACK: Colour = (234, 237, 244)
TILE: Colour = (240, 243, 250)
INK: Colour = (36, 42, 61)
MUTED: Colour = (98, 107, 130)
FAINT: Colour = (190, 197, 212)
ACCENT: Colour = (79, 94, 232)
ACCENT_SOFT: Colour = (227, 230, 253)
BAR: Colour = (98, 136, 232)
GAIN: Colour = (14, 122, 82)
GAIN_SOFT: Colour = (222, 244, 233)
LOSS: Colour = (208, 64, 76)
LOSS_SOFT: Colour = (252, 231, 232)


def compose(*groups: Sequence[Shape]) -> Scene:
    """Stacks groups of shapes, the backmost first, into one picture."""
    shapes = tuple(shape for group in groups for shape in group)
    return Scene(WIDTH, HEIGHT, BACKGROUND, shapes)


def card(
    x: float, y: float, width: float, height: float, outline: Colour = BORDER
) -> list[Shape]:
    """Returns a white panel with a soft edge; x and y are its top left corner."""
    thickness = 1.5 if outline == BORDER else 2.5
    return [
        Rectangle(x, y + 3, width, height, SHADOW, 14),
        Rectangle(x, y, width, height, CARD, 14, outline, thickness),
    ]


def pill(
    text: str, x: float, y: float, width: float, fill: Colour, colour: Colour = CARD
) -> list[Shape]:
    """Returns a small label with round ends, centred at x and y."""
    return [
        Rectangle(x - width / 2, y - 12, width, 24, fill, 12),
        Text(text, x, y, 14, colour, max_width=width - 18),
    ]


def board(y: float, height: float, snapshot: Snapshot) -> list[Shape]:
    """Returns the panel of the task, with its caption and the end of an episode."""
    width = WIDTH - 2 * MARGIN
    outline = INK if snapshot.terminated else BORDER
    shapes = card(MARGIN, y, width, height, outline=outline)
    if snapshot.terminated:
        shapes += pill("episode over", WIDTH / 2, y + 1, 132, INK)
    if snapshot.caption:
        room = min(8.0 * len(snapshot.caption) + 26, 280.0)
        shapes += pill(snapshot.caption, MARGIN + 14 + room / 2, y + 1, room, MUTED)
    return shapes


def header(title: str, rules: tuple[str, str], snapshot: Snapshot) -> list[Shape]:
    """Returns the header: title and rules on the left, statistics on the right.

    Args:
        title: Name of the task.
        rules: Two lines that describe the task.
        snapshot: Provides step, reward and return.
    """
    stats_width = 3 * STAT_WIDTH + 2 * STAT_GAP
    room = WIDTH - 2 * MARGIN - stats_width - 20
    shapes: list[Shape] = [
        Text(title, MARGIN, 38, 26, INK, "left", room),
        Text(rules[0], MARGIN, 67, 14, MUTED, "left", room),
        Text(rules[1], MARGIN, 86, 14, MUTED, "left", room),
    ]
    reward = "–" if snapshot.reward is None else signed(snapshot.reward)  # noqa: RUF001
    stats = (
        ("step", str(snapshot.step), INK, CARD),
        ("reward", reward, *reward_colours(snapshot.reward)),
        ("return", signed(snapshot.episode_return), INK, CARD),
    )
    for i, (name, value, colour, fill) in enumerate(stats):
        x = WIDTH - MARGIN - stats_width + i * (STAT_WIDTH + STAT_GAP)
        middle = x + STAT_WIDTH / 2
        shapes += [
            Rectangle(x, 27, STAT_WIDTH, 66, SHADOW, 12),
            Rectangle(x, 24, STAT_WIDTH, 66, fill, 12, BORDER, 1.5),
            Text(name, middle, 42, 13, MUTED),
            Text(value, middle, 67, 22, colour, max_width=STAT_WIDTH - 16),
        ]
    return shapes


def check_probabilities(snapshot: Snapshot, n_actions: int) -> None:
    """Checks the action probabilities of a snapshot, if there are any.

    Raises:
        ValueError: If there are not `n_actions` of them, or one lies outside 0..1.
    """
    probabilities = snapshot.action_probabilities
    if probabilities is None:
        return
    if len(probabilities) != n_actions:
        raise ValueError(
            f"action_probabilities has {len(probabilities)} entries for {n_actions} "
            "actions."
        )
    # Written so that NaN is refused too; float32 softmax may pass 1 by a rounding.
    if not all(0 <= p <= 1 + 1e-6 for p in probabilities):
        raise ValueError(f"action_probabilities must lie in 0..1: {probabilities}.")


def horizontal_bar(
    x: float, y: float, length: float, thickness: float, share: float
) -> list[Shape]:
    """Returns a bar that fills its track from the left.

    Args:
        x: Left end of the track.
        y: Middle of the track.
        length: Of the track.
        thickness: Of the track.
        share: Filled part of the track, in 0..1; no bar is drawn for 0.
    """
    top, radius = y - thickness / 2, thickness / 2
    shapes: list[Shape] = [Rectangle(x, top, length, thickness, TRACK, radius)]
    if share > 0:
        filled = length * min(share, 1.0)
        shapes.append(Rectangle(x, top, filled, thickness, BAR, radius))
    return shapes


def vertical_bar(
    x: float, bottom: float, length: float, thickness: float, share: float
) -> list[Shape]:
    """Returns a bar that fills its track from the bottom.

    Args:
        x: Middle of the track.
        bottom: Lower end of the track.
        length: Of the track.
        thickness: Of the track.
        share: Filled part of the track, in 0..1; no bar is drawn for 0.
    """
    left, radius = x - thickness / 2, 6.0
    top = bottom - length
    shapes: list[Shape] = [Rectangle(left, top, thickness, length, TRACK, radius)]
    if share > 0:
        filled = length * min(share, 1.0)
        shapes.append(Rectangle(left, bottom - filled, thickness, filled, BAR, radius))
    return shapes


def arrow(start: Point, end: Point, colour: Colour, width: float = 3.0) -> list[Shape]:
    """Returns the shaft and the head of an arrow; `width` is that of the shaft."""
    length = math.dist(start, end)
    dx, dy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    head = min(3.2 * width, length)
    neck = (end[0] - head * dx, end[1] - head * dy)
    side = 0.62 * head
    points = (
        end,
        (neck[0] - side * dy, neck[1] + side * dx),
        (neck[0] + side * dy, neck[1] - side * dx),
    )
    return [Line(start, neck, colour, width), Polygon(points, colour)]


def token(
    x: float, y: float, radius: float, gaze: float = 0.0, happy: bool = False
) -> list[Shape]:
    """Returns the agent: a round face that looks where it goes.

    Args:
        x: Its centre.
        y: Its centre.
        radius: Its size.
        gaze: Direction of the eyes: -1 left, 0 ahead, +1 right.
        happy: Whether it smiles.
    """
    colour = GAIN if happy else ACCENT
    shapes: list[Shape] = [Circle(x, y, radius, colour, CARD, max(2.0, 0.1 * radius))]
    for side in (-1, 1):
        eye = x + (0.32 * side + 0.12 * gaze) * radius
        level = y - 0.1 * radius
        shapes.append(Circle(eye, level, 0.2 * radius, CARD))
        pupil = eye + 0.07 * gaze * radius
        shapes.append(Circle(pupil, level, 0.1 * radius, INK))
    if happy:
        smile = [
            (x + 0.42 * radius * math.sin(t), y + (0.1 + 0.32 * math.cos(t)) * radius)
            for t in (-1.2, -0.8, -0.4, 0.0, 0.4, 0.8, 1.2)
        ]
        thickness = max(1.5, 0.1 * radius)
        shapes += [Line(a, b, CARD, thickness) for a, b in itertools.pairwise(smile)]
    return shapes


def reward_colours(reward: float | None) -> tuple[Colour, Colour]:
    """Returns the text colour of a reward, and a pale background colour."""
    if not reward:
        return (FAINT if reward is None else INK), CARD
    return (GAIN, GAIN_SOFT) if reward > 0 else (LOSS, LOSS_SOFT)


def signed(value: float, digits: int = 2) -> str:
    """Formats a number with its sign: "+1.00", "−0.05", "0.00" without one."""  # noqa: RUF002
    rounded = round(float(value), digits)
    if rounded == 0:
        return f"{0:.{digits}f}"
    return f"{rounded:+.{digits}f}".replace("-", "−")  # noqa: RUF001


def short(value: float, digits: int = 4) -> str:
    """Formats a number with its sign and some significant digits: "+1", "0"."""
    if value == 0:
        return "0"
    return f"{value:+.{digits}g}".replace("-", "−")  # noqa: RUF001


def percentages(probabilities: Sequence[float]) -> list[str]:
    """Formats a distribution as percentages that sum to 100, such as "62%".

    Whole ones; of more than 20 actions with one decimal, as "3.3%". All are rounded
    down, and those with the largest remainders up again until the sum is 100 (the
    method of Hamilton). Where that would show a difference between probabilities that
    are almost equal, such as three of 1/3, all have one decimal and are rounded to the
    nearest, as "33.3%". A rare but possible action is "<1%", counted as 0; a likely but
    not certain one ">99%", counted as 100.
    """
    digits = 0 if len(probabilities) <= 20 else 1
    whole = _hamilton(probabilities, 100 * 10**digits)
    unit = 10**digits
    pairs = itertools.pairwise(sorted(zip(probabilities, whole, strict=True)))
    if any(m != n and 100 * unit * (q - p) < 0.25 for (p, m), (q, n) in pairs):
        digits, unit, whole = 1, 10, [round(1000 * p) for p in probabilities]
    texts = []
    for p, n in zip(probabilities, whole, strict=True):
        rare, likely = n == 0 and p > 0, n == 100 * unit and p < 1 - 1e-6
        if rare:
            texts.append(f"<{1 / unit:g}%")
        elif likely:
            texts.append(f">{100 - 1 / unit:g}%")
        else:
            texts.append(f"{n / unit:.{digits}f}%")
    return texts


def _hamilton(shares: Sequence[float], total: int) -> list[int]:
    """Divides a total into whole parts, by largest remainders."""
    # Without it 29 % of 100 would be 28.999999999999996.
    exact = [round(total * share, 6) for share in shares]
    parts = [math.floor(x) for x in exact]
    n_missing = round(sum(exact)) - sum(parts)
    by_remainder = sorted(range(len(exact)), key=lambda i: parts[i] - exact[i])
    for i in by_remainder[:n_missing]:
        parts[i] += 1
    return parts


def label_stride(pitch: float, room: float = 26.0) -> int:
    """Returns that every so many labels, `pitch` pixels apart, leave room for each."""
    return next(n for n in (1, 2, 5, 10, 20, 50, 100, 1000) if n * pitch >= room)


def labelled_indices(n: int, stride: int, important: Sequence[int]) -> set[int]:
    """Returns which of n labels to draw: no two of them closer than `stride`.

    Args:
        n: Number of labels.
        stride: Least distance of two of them, as `label_stride` returns it.
        important: Labels to draw before all others, the most important ones first.
    """
    chosen: set[int] = set()
    for i in (*important, *range(0, n, stride)):
        if all(abs(i - other) >= stride for other in chosen):
            chosen.add(i)
    return chosen
