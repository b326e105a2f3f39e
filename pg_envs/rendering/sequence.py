"""The sequence task as a picture: a row of tiles, and the policy below it."""

from collections.abc import Sequence

from pg_envs.rendering.scene import (
    Circle,
    Colour,
    Line,
    Polygon,
    Rectangle,
    Scene,
    Shape,
    Snapshot,
    Text,
)
from pg_envs.rendering.widgets import (
    ACCENT,
    ACCENT_SOFT,
    BORDER,
    CARD,
    FAINT,
    GAIN,
    GAIN_SOFT,
    INK,
    MARGIN,
    MUTED,
    TILE,
    WIDTH,
    arrow,
    board,
    card,
    check_probabilities,
    compose,
    header,
    horizontal_bar,
    percentage,
    pill,
    short,
    token,
)

LEFT, CENTRE, RIGHT = range(3)
_BOARD_TOP, _BOARD_HEIGHT = 116.0, 216.0
_PANEL_TOP, _PANEL_HEIGHT = 350.0, 134.0
_ROW_Y = 230.0  # Middle of the row of tiles.
_NUMBERED_INSIDE = 40.0  # Least side of a tile with its number inside.


def sequence_scene(
    snapshot: Snapshot,
    n_states: int,
    action_names: Sequence[str],
    step_cost: float,
    goal_reward: float,
) -> Scene:
    """Returns the picture of the sequence task: a row of tiles, the goal at the right.

    Args:
        snapshot: The current situation.
        n_states: Number of states, at least 2.
        action_names: Names of the actions left, centre and right, in this order.
        step_cost: Cost of each action, as a positive number.
        goal_reward: Reward for centre in the rightmost state.

    Raises:
        ValueError: If an argument is invalid.
    """
    _check(snapshot, n_states, action_names)
    rules = (
        f"Walk to the last tile and choose {action_names[CENTRE]}: "
        f"{short(goal_reward)},",
        f"and the episode ends. Any other step: {short(-step_cost)}.",
    )
    return compose(
        header("Sequence", rules, snapshot),
        board(_BOARD_TOP, _BOARD_HEIGHT, snapshot.terminated),
        _tiles(n_states, action_names[CENTRE], goal_reward),
        _action_mark(snapshot, n_states, action_names),
        card(MARGIN, _PANEL_TOP, WIDTH - 2 * MARGIN, _PANEL_HEIGHT),
        _panel(snapshot, action_names, step_cost, goal_reward),
    )


def _check(snapshot: Snapshot, n_states: int, action_names: Sequence[str]) -> None:
    """Raises a ValueError for arguments that cannot be drawn."""
    if len(action_names) != 3:
        raise ValueError(f"The sequence task has 3 actions, not {len(action_names)}.")
    if n_states < 2:
        raise ValueError(f"The sequence task has at least 2 states, not {n_states}.")
    for name in ("state", "previous_state"):
        state: int | None = getattr(snapshot, name)
        if state is not None and not 0 <= state < n_states:
            raise ValueError(f"{name} {state} is not in 0..{n_states - 1}.")
    if snapshot.action is not None and not 0 <= snapshot.action < 3:
        raise ValueError(f"action {snapshot.action} is not in 0..2.")
    check_probabilities(snapshot, len(action_names))


def _tile_size(n_states: int) -> tuple[float, float]:
    """Returns the side of a tile and the distance between two tiles' middles."""
    room = WIDTH - 2 * MARGIN - 48
    gap = 18.0 if n_states <= 7 else min(8.0, 0.15 * room / n_states)
    side = min(124.0, (room - gap * (n_states - 1)) / n_states)
    return side, side + gap


def _middle(state: int, n_states: int) -> float:
    """Returns the x of the middle of a tile."""
    _, pitch = _tile_size(n_states)
    return WIDTH / 2 + (state - (n_states - 1) / 2) * pitch


def _tiles(n_states: int, centre_name: str, goal_reward: float) -> list[Shape]:
    """Returns the row of tiles, with start and goal marked."""
    side, _ = _tile_size(n_states)
    top = _ROW_Y - side / 2
    radius = 0.14 * side
    # The numbers of small tiles stand below them, as many as have room.
    _, pitch = _tile_size(n_states)
    every = next(n for n in (1, 2, 5, 10, 20, 50, n_states) if n * pitch >= 17)
    shapes: list[Shape] = []
    for state in range(n_states):
        goal = state == n_states - 1
        x = _middle(state, n_states)
        fill, edge = (GAIN_SOFT, GAIN) if goal else (TILE, BORDER)
        shapes.append(Rectangle(x - side / 2, top, side, side, fill, radius, edge, 2))
        if side >= _NUMBERED_INSIDE:
            size = max(11, 0.13 * side)
            left, y, room = x - 0.4 * side, top + 0.17 * side, 0.36 * side
            shapes.append(Text(str(state), left, y, size, MUTED, "left", room))
        elif state % every == 0 or goal:
            shapes.append(Text(str(state), x, top + side + 13, 12, MUTED))
    first, last = _middle(0, n_states), _middle(n_states - 1, n_states)
    shapes += _flag(last + 0.29 * side, top + 0.09 * side, 0.22 * side)
    goal_text = f"{centre_name} here: {short(goal_reward)}"
    below = _ROW_Y + side / 2 + (18 if side >= _NUMBERED_INSIDE else 36)
    # A small tile is narrower than its label, which then ends at the tile's edge.
    if side >= 100:
        shapes += [
            Text("start", first, below, 14, MUTED),
            Text(goal_text, last, below, 14, GAIN, max_width=side + 16),
        ]
    else:
        right = last + side / 2
        shapes += [
            Text("start", first - side / 2, below, 14, MUTED, "left"),
            Text(goal_text, right, below, 14, GAIN, "right", max_width=240),
        ]
    return shapes


def _flag(x: float, y: float, height: float) -> list[Shape]:
    """Returns a small flag; x and y are the top of its pole."""
    cloth = ((x, y), (x + 0.75 * height, y + 0.28 * height), (x, y + 0.56 * height))
    return [
        Line((x, y), (x, y + height), GAIN, max(1.5, 0.09 * height)),
        Polygon(cloth, GAIN),
    ]


def _previous_state(snapshot: Snapshot, n_states: int) -> int | None:
    """Returns the state of the action: the given one, or the only one possible."""
    if snapshot.previous_state is not None or snapshot.action is None:
        return snapshot.previous_state
    if snapshot.action == CENTRE:
        return snapshot.state
    wall = 0 if snapshot.action == LEFT else n_states - 1
    previous = snapshot.state + (1 if snapshot.action == LEFT else -1)
    if snapshot.state == wall or not 0 <= previous < n_states:
        return None
    return previous


def _action_mark(
    snapshot: Snapshot, n_states: int, action_names: Sequence[str]
) -> list[Shape]:
    """Returns the agent, its last action, and the name of that action above it."""
    side, _ = _tile_size(n_states)
    x, y = _middle(snapshot.state, n_states), _ROW_Y + 0.08 * side
    radius = 0.27 * side
    action = snapshot.action
    if action is None:
        label = _label("agent", x, side, ACCENT_SOFT, ACCENT)
        return [*token(x, y, radius), *label]
    colour = GAIN if snapshot.terminated else ACCENT
    gaze = action - CENTRE
    face = token(x, y, radius, gaze, snapshot.terminated)
    face += _label(action_names[action], x, side, colour, CARD)
    if action == CENTRE:
        ring = Circle(x, y, 1.3 * radius, None, colour, max(2.0, 0.1 * radius))
        return [ring, *face]
    thickness = max(2.5, 0.045 * side)
    previous = _previous_state(snapshot, n_states)
    if previous is None or previous == snapshot.state:
        # It did not move, or that is unknown: the arrow points where the action pushed.
        start, end = x + 1.1 * gaze * radius, x + 0.46 * gaze * side
        push = arrow((start, y), (end, y), colour, thickness)
        if previous is None:
            return [*push, *face]
        wall_x = x + gaze * (side / 2 - 1)
        wall = Line((wall_x, y - radius), (wall_x, y + radius), INK, 1.2 * thickness)
        return [wall, *push, *face]
    ghost_x = _middle(previous, n_states)
    ghost = Circle(ghost_x, y, radius, ACCENT_SOFT, FAINT, 2)
    offset = (radius + 5) * (1 if previous < snapshot.state else -1)
    start, end = ghost_x + offset, x - offset
    return [ghost, *arrow((start, y), (end, y), colour, thickness), *face]


def _label(
    text: str, x: float, side: float, fill: Colour, colour: Colour
) -> list[Shape]:
    """Returns a speech bubble over the tile at x."""
    width = min(8.2 * len(text) + 26, 200.0)
    y = _ROW_Y - side / 2 - 24
    tip = y + 18
    # Moved inwards at either end, to stay on the board.
    reach = WIDTH / 2 - MARGIN - 12 - width / 2
    label_x = min(max(x, WIDTH / 2 - reach), WIDTH / 2 + reach)
    return [
        Polygon(((x - 6, tip - 7), (x + 6, tip - 7), (x, tip)), fill),
        *pill(text, label_x, y, width, fill, colour),
    ]


def _panel(
    snapshot: Snapshot,
    action_names: Sequence[str],
    step_cost: float,
    goal_reward: float,
) -> list[Shape]:
    """Returns the policy's probabilities; without any, what the actions do."""
    left, right = MARGIN + 24, WIDTH - MARGIN - 24
    probabilities = snapshot.action_probabilities
    if probabilities is None:
        title = "What the actions do"
    else:
        title = f"Policy: probability of each action in state {snapshot.state}"
    shapes: list[Shape] = [Text(title, left, _PANEL_TOP + 24, 14, MUTED, "left")]
    cost = short(-step_cost)
    effects = (
        ("one tile to the left", cost),
        (
            "stay; on the last tile: end the episode",
            f"{cost}; on the last tile: {short(goal_reward)}",
        ),
        ("one tile to the right", cost),
    )
    for action, name in enumerate(action_names):
        y = _PANEL_TOP + 54 + 28 * action
        shapes.append(Text(name, left, y, 15, INK, "left", 96))
        if probabilities is None:
            effect, pay = effects[action]
            shapes.append(Text(effect, left + 110, y, 14, MUTED, "left", 280))
            shapes.append(Text(pay, right, y, 14, INK, "right", 270))
        else:
            share = probabilities[action]
            shapes += horizontal_bar(left + 110, y, right - left - 178, 14, share)
            shapes.append(Text(percentage(share), right, y, 15, INK, "right", 60))
    return shapes
