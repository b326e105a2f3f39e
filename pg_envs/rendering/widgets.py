"""What both scenes share: the header, cards, labels and bars.

Each widget is a pure function that returns shapes.
"""

from collections.abc import Sequence

from pg_envs.rendering.number_text import signed
from pg_envs.rendering.palette import (
    BACKGROUND,
    BAR,
    BORDER,
    CARD,
    INK,
    MUTED,
    SHADOW,
    TRACK,
    reward_colours,
)
from pg_envs.rendering.scene import Colour, Rectangle, Scene, Shape, Snapshot, Text

# Multiples of 16: video encoders pad or refuse other sizes.
WIDTH, HEIGHT = 800, 512
MARGIN = 36.0

STAT_WIDTH, STAT_GAP = 92.0, 10.0


def compose(*groups: Sequence[Shape]) -> Scene:
    """Stack groups of shapes into one picture of the common size.

    Args:
        *groups: Shapes, the backmost group first.

    Returns:
        The scene.
    """
    shapes = tuple(shape for group in groups for shape in group)
    return Scene(WIDTH, HEIGHT, BACKGROUND, shapes)


def card(
    x: float, y: float, width: float, height: float, outline: Colour = BORDER
) -> list[Shape]:
    """A white panel with a soft edge.

    Args:
        x: Left edge, in pixels.
        y: Top edge, in pixels.
        width: In pixels.
        height: In pixels.
        outline: Colour of its border.

    Returns:
        Its shapes.
    """
    thickness = 1.5 if outline == BORDER else 2.5
    return [
        Rectangle(x, y + 3, width, height, SHADOW, 14),
        Rectangle(x, y, width, height, CARD, 14, outline, thickness),
    ]


def pill(
    text: str, x: float, y: float, width: float, fill: Colour, colour: Colour = CARD
) -> list[Shape]:
    """A small label with round ends.

    Args:
        text: What it says.
        x: Its centre, in pixels.
        y: Its centre, in pixels.
        width: In pixels.
        fill: Colour behind the text.
        colour: Colour of the text.

    Returns:
        Its shapes.
    """
    return [
        Rectangle(x - width / 2, y - 12, width, 24, fill, 12),
        Text(text, x, y, 14, colour, max_width=width - 18),
    ]


def board(y: float, height: float, terminated: bool) -> list[Shape]:
    """The panel that holds the task; it says so when the episode is over.

    Args:
        y: Top edge, in pixels.
        height: In pixels.
        terminated: Whether the episode is over.

    Returns:
        Its shapes.
    """
    width = WIDTH - 2 * MARGIN
    if not terminated:
        return card(MARGIN, y, width, height)
    return [
        *card(MARGIN, y, width, height, outline=INK),
        *pill("episode over", WIDTH / 2, y + 1, 132, INK),
    ]


def header(title: str, rules: tuple[str, str], snapshot: Snapshot) -> list[Shape]:
    """Name and rules of the task on the left; step, reward and return on the right.

    Args:
        title: Name of the task.
        rules: Two lines that say what to do.
        snapshot: Where the step, the reward and the return are read.

    Returns:
        Its shapes.
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
    """Refuse probabilities that no bar could show.

    Args:
        snapshot: Where they are read; None is fine.
        n_actions: How many there must be.

    Raises:
        ValueError: If there are more or fewer, or one lies outside 0..1.
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
    """A bar that fills its track from the left.

    Args:
        x: Left end of the track, in pixels.
        y: Middle of the track, in pixels.
        length: Of the track, in pixels.
        thickness: In pixels.
        share: How much of the track is filled, in 0..1.

    Returns:
        The track, then the bar; no bar for a share of 0.
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
    """A bar that fills its track from the bottom.

    Args:
        x: Middle of the track, in pixels.
        bottom: Lower end of the track, in pixels.
        length: Of the track, in pixels.
        thickness: In pixels.
        share: How much of the track is filled, in 0..1.

    Returns:
        The track, then the bar; no bar for a share of 0.
    """
    left, radius = x - thickness / 2, 6.0
    top = bottom - length
    shapes: list[Shape] = [Rectangle(left, top, thickness, length, TRACK, radius)]
    if share > 0:
        filled = length * min(share, 1.0)
        shapes.append(Rectangle(left, bottom - filled, thickness, filled, BAR, radius))
    return shapes
