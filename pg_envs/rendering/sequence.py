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
    label_stride,
    percentages,
    pill,
    short,
    token,
)

LEFT, CENTRE, RIGHT = range(3)
_BOARD_TOP, _BOARD_HEIGHT = 116.0, 216.0
_PANEL_TOP, _PANEL_HEIGHT = 350.0, 134.0
_ROW_Y = 233.0  # Middle of the row of tiles.
# On smaller tiles the agent stands above its tile, and numbers below.
_SMALL = 40.0


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
    return compose(
        sequence_task(snapshot, n_states, action_names, step_cost, goal_reward),
        card(MARGIN, _PANEL_TOP, WIDTH - 2 * MARGIN, _PANEL_HEIGHT),
        _panel(snapshot, action_names, step_cost, goal_reward),
    )


def sequence_task(
    snapshot: Snapshot,
    n_states: int,
    action_names: Sequence[str],
    step_cost: float,
    goal_reward: float,
) -> list[Shape]:
    """Returns the upper part of `sequence_scene`: all but the panel of the policy."""
    _check(snapshot, n_states, action_names)
    rules = (
        f"Walk to the last tile and choose {action_names[CENTRE]}: "
        f"{short(goal_reward)},",
        f"and the episode ends. Any other step: {short(-step_cost)}.",
    )
    return [
        *header("Sequence", rules, snapshot),
        *board(_BOARD_TOP, _BOARD_HEIGHT, snapshot),
        *_tiles(n_states, action_names[CENTRE], goal_reward),
        *_action_mark(snapshot, n_states, action_names),
    ]


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
    shapes: list[Shape] = []
    for state in range(n_states):
        goal = state == n_states - 1
        x = _middle(state, n_states)
        fill, edge = (GAIN_SOFT, GAIN) if goal else (TILE, BORDER)
        shapes += [
            Rectangle(x - side / 2, top, side, side, fill, radius, edge, 2),
            *_number(state, n_states),
        ]
    first, last = _middle(0, n_states), _middle(n_states - 1, n_states)
    if side >= _SMALL:
        shapes += _flag(last + 0.29 * side, top + 0.09 * side, 0.22 * side)
    goal_text = f"{centre_name} here: {short(goal_reward)}"
    below = _ROW_Y + side / 2 + (18 if side >= _SMALL else 38)
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


def _number(state: int, n_states: int) -> list[Shape]:
    """Returns the number of a tile; below small tiles, where there is room for it."""
    side, pitch = _tile_size(n_states)
    x = _middle(state, n_states)
    if side >= _SMALL:
        left, y = x - 0.4 * side, _ROW_Y - 0.33 * side
        size = max(11, 0.13 * side)
        return [Text(str(state), left, y, size, MUTED, "left", 0.36 * side)]
    stride = label_stride(pitch, 18.0)
    last = n_states - 1
    crowded = state != last and last - state < stride
    if state != last and (state % stride or crowded):
        return []
    return [Text(str(state), x, _ROW_Y + side / 2 + 15, 12, MUTED)]


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
    x = _middle(snapshot.state, n_states)
    action = snapshot.action
    previous = _previous_state(snapshot, n_states)
    if action is None:
        text = snapshot.player
    elif previous is None:
        text = f"chose {action_names[action]}"
    else:
        text = f"chose {action_names[action]} in state {previous}"
    fill = GAIN if snapshot.terminated else ACCENT
    colours = (ACCENT_SOFT, ACCENT) if action is None else (fill, CARD)
    if side < _SMALL:
        y = _ROW_Y - side / 2 - 19
        bubble = _label(text, x, y - 18, *colours)
        return [*_above_tile(x, y, side, snapshot), *bubble]
    bubble = _label(text, x, _ROW_Y - side / 2 - 6, *colours)
    return [*_on_tile(x, side, snapshot, previous, n_states), *bubble]


def _above_tile(x: float, y: float, side: float, snapshot: Snapshot) -> list[Shape]:
    """Returns the agent above its small tile, and the way it came."""
    radius = 14.0
    colour = GAIN if snapshot.terminated else ACCENT
    tile = Rectangle(x - side / 2, _ROW_Y - side / 2, side, side, colour, 0.14 * side)
    gaze = 0 if snapshot.action is None else snapshot.action - CENTRE
    shapes: list[Shape] = [tile, *token(x, y, radius, gaze, snapshot.terminated)]
    if gaze:
        near, far = x - gaze * (radius + 3), x - gaze * (radius + 27)
        moved = snapshot.previous_state != snapshot.state
        # Into the wall, it points to where the action pushed.
        start, end = (far, near) if moved else (x + gaze * 14, x + gaze * 26)
        shapes += arrow((start, y), (end, y), colour, 3.0)
    return shapes


def _on_tile(
    x: float,
    side: float,
    snapshot: Snapshot,
    previous: int | None,
    n_states: int,
) -> list[Shape]:
    """Returns the agent on its tile, and the way it came."""
    y = _ROW_Y + 0.08 * side
    radius = 0.27 * side
    action = snapshot.action
    if action is None:
        return token(x, y, radius)
    colour = GAIN if snapshot.terminated else ACCENT
    gaze = action - CENTRE
    face = token(x, y, radius, gaze, snapshot.terminated)
    if action == CENTRE:
        ring = Circle(x, y, 1.3 * radius, None, colour, max(2.0, 0.1 * radius))
        return [ring, *face]
    thickness = max(2.5, 0.045 * side)
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
    text: str, x: float, tip: float, fill: Colour, colour: Colour
) -> list[Shape]:
    """Returns a speech bubble that ends at x and `tip`."""
    width = min(7.4 * len(text) + 28, 260.0)
    # Moved inwards at either end, to stay on the board.
    reach = WIDTH / 2 - MARGIN - 12 - width / 2
    label_x = min(max(x, WIDTH / 2 - reach), WIDTH / 2 + reach)
    return [
        Polygon(((x - 6, tip - 7), (x + 6, tip - 7), (x, tip)), fill),
        *pill(text, label_x, tip - 18, width, fill, colour),
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
        what = "the episode is over" if snapshot.terminated else "for the next action"
        title = f"Policy in state {snapshot.state}, {what}"
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
            share, text = probabilities[action], percentages(probabilities)[action]
            shapes += horizontal_bar(left + 110, y, right - left - 178, 14, share)
            shapes.append(Text(text, right, y, 15, INK, "right", 60))
    return shapes
