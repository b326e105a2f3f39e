from itertools import pairwise

import pytest

from pg_envs.rendering import (
    Circle,
    Polygon,
    Rectangle,
    Scene,
    Snapshot,
    Text,
    sequence_scene,
)
from pg_envs.rendering.widgets import (
    ACCENT,
    ACCENT_SOFT,
    CARD,
    GAIN,
    GAIN_SOFT,
    INK,
    LOSS,
    MARGIN,
    TILE,
)
from tests.pg_envs.rendering.geometry import (
    assert_tidy,
    bars,
    box,
    inside,
    smallest_text,
    texts,
    tracks,
)

NAMES = ("left", "centre", "right")
RESET = Snapshot(state=0, action=None, reward=None, step=0, episode_return=0.0)
MOVED = Snapshot(state=1, action=2, reward=-0.05, step=4, episode_return=-0.2)
ENDED = Snapshot(2, 1, 1.0, 7, 0.7, terminated=True)


def draw(snapshot: Snapshot, n_states: int = 3) -> Scene:
    return sequence_scene(snapshot, n_states, NAMES, 0.05, 1.0)


def tiles(scene: Scene) -> list[Rectangle]:
    squares = [
        s for s in scene.shapes if isinstance(s, Rectangle) and s.width == s.height
    ]
    return [s for s in squares if s.fill in (TILE, GAIN_SOFT)]


def agent(scene: Scene) -> Circle:
    (found,) = (
        s
        for s in scene.shapes
        if isinstance(s, Circle) and s.fill in (ACCENT, GAIN) and s.outline == CARD
    )
    return found


def ghosts(scene: Scene) -> list[Circle]:
    circles = [s for s in scene.shapes if isinstance(s, Circle)]
    return [s for s in circles if s.fill == ACCENT_SOFT]


def arrow_tips(scene: Scene) -> list[tuple[float, float]]:
    heads = [s for s in scene.shapes if isinstance(s, Polygon) and s.fill == ACCENT]
    # The tail of the speech bubble points down: its first two corners are level.
    return [s.points[0] for s in heads if s.points[0][1] != s.points[1][1]]


def colour_of(scene: Scene, text: str) -> tuple[int, int, int]:
    (found,) = (
        s
        for s in scene.shapes
        if isinstance(s, Text) and s.text == text and s.size > 20
    )
    return found.colour


@pytest.mark.parametrize("n_states", range(2, 13))
@pytest.mark.parametrize("action", [None, 0, 1, 2])
@pytest.mark.parametrize("probabilities", [None, (0.003, 0.997, 0.0)])
def test_everything_fits_for_every_size_and_state(
    n_states: int, action: int | None, probabilities: tuple[float, ...] | None
) -> None:
    reward = None if action is None else -0.05
    for state in range(n_states):
        snapshot = Snapshot(state, action, reward, 1234, -123.45, False, probabilities)
        scene = draw(snapshot, n_states)
        assert_tidy(scene)
        assert_tidy(draw(snapshot._replace(terminated=True), n_states))
        assert_tidy(draw(snapshot._replace(previous_state=state), n_states))
        assert len(tiles(scene)) == n_states
        assert inside(box(agent(scene)), box(tiles(scene)[state]))


@pytest.mark.parametrize("n_states", [13, 20, 30, 60])
@pytest.mark.parametrize("action", [None, 0, 1, 2])
def test_many_states_stay_legible(n_states: int, action: int | None) -> None:
    """Every text is at least 11 pixels high, and the agent larger than its tile."""
    for state in range(n_states):
        for previous in (max(state - 1, 0), state, min(state + 1, n_states - 1)):
            snapshot = Snapshot(
                state, action, None, 9, -1.0, False, (0.2, 0.3, 0.5), previous
            )
            scene = draw(snapshot, n_states)
            assert_tidy(scene)
            assert smallest_text(scene) >= 11
            assert agent(scene).radius >= 0.27 * tiles(scene)[0].width
    shown = [int(text) for text in texts(draw(RESET, n_states)) if text.isdecimal()]
    assert {0, n_states - 1} <= set(shown)


def test_the_caption_is_shown_until_it_is_changed() -> None:
    scene = draw(MOVED._replace(caption="episode 2 of 4"))
    assert "episode 2 of 4" in texts(scene)
    assert_tidy(scene)
    assert_tidy(draw(ENDED._replace(caption="after 1,234 episodes of training")))


@pytest.mark.parametrize("n_states", [2, 3, 7, 12])
def test_tiles_lie_side_by_side_and_only_the_last_is_the_goal(n_states: int) -> None:
    row = tiles(draw(RESET, n_states))
    assert [tile.fill for tile in row] == [TILE] * (n_states - 1) + [GAIN_SOFT]
    for before, after in pairwise(row):
        assert before.x + before.width < after.x
        assert before.y == after.y


@pytest.mark.parametrize("name", ["go left", "W" * 40])
def test_long_action_names_stay_in_their_bubble(name: str) -> None:
    snapshot = MOVED._replace(state=0, action=0, previous_state=1)
    scene = sequence_scene(snapshot, 12, (name, "centre", "right"), 0.05, 1.0)
    (bubble,) = (
        s
        for s in scene.shapes
        if isinstance(s, Rectangle) and s.fill == ACCENT and s.height == 24
    )
    said = f"chose {name} in state 1"
    label = next(s for s in scene.shapes if isinstance(s, Text) and s.text == said)
    left, _, right, _ = box(label)
    assert bubble.x < left and right < bubble.x + bubble.width
    assert bubble.x > MARGIN  # Above the first tile, yet still on the board.


def test_reset_shows_no_action_and_no_reward() -> None:
    scene = draw(RESET)
    assert arrow_tips(scene) == [] and ghosts(scene) == []
    assert "agent" in texts(scene)
    assert texts(scene).count("0.00") == 1  # The return; there is no reward yet.


def test_step_reward_and_return_are_read_from_the_snapshot() -> None:
    scene = draw(MOVED)
    assert {"4", "−0.05", "−0.20"} <= set(texts(scene))  # noqa: RUF001
    assert colour_of(scene, "−0.05") == LOSS  # noqa: RUF001
    assert colour_of(draw(ENDED), "+1.00") == GAIN
    assert colour_of(draw(MOVED._replace(reward=0.0)), "0.00") == INK


@pytest.mark.parametrize(("action", "state"), [(2, 2), (0, 2)])
def test_a_move_leaves_a_ghost_behind_and_an_arrow_to_the_agent(
    action: int, state: int
) -> None:
    scene = draw(MOVED._replace(action=action, state=state), 7)
    previous = state - 1 if action == 2 else state + 1
    (ghost,) = ghosts(scene)
    assert inside(box(ghost), box(tiles(scene)[previous]))
    ((tip, _),) = arrow_tips(scene)
    assert min(ghost.x, agent(scene).x) < tip < max(ghost.x, agent(scene).x)
    assert abs(tip - agent(scene).x) < abs(tip - ghost.x)
    assert f"chose {NAMES[action]} in state {previous}" in texts(scene)


def test_at_a_wall_a_move_and_a_bump_differ_once_the_previous_state_is_known() -> None:
    unknown = MOVED._replace(state=2)
    moved, bumped = (
        unknown._replace(previous_state=1),
        unknown._replace(previous_state=2),
    )
    assert len(ghosts(draw(moved))) == 1
    assert ghosts(draw(bumped)) == ghosts(draw(unknown)) == []
    assert draw(bumped) != draw(unknown)
    # The arrow of a bump points to the wall, away from where a move comes from.
    ((tip, _),) = arrow_tips(draw(bumped))
    assert tip > agent(draw(bumped)).x


def test_centre_draws_a_ring_and_no_arrow() -> None:
    scene = draw(MOVED._replace(action=1))
    rings = [s for s in scene.shapes if isinstance(s, Circle) and s.fill is None]
    assert [(ring.x, ring.y) for ring in rings] == [(agent(scene).x, agent(scene).y)]
    assert arrow_tips(scene) == []


def test_the_end_of_an_episode_is_marked() -> None:
    assert "episode over" in texts(draw(ENDED))
    assert agent(draw(ENDED)).fill == GAIN
    running = draw(ENDED._replace(terminated=False))
    assert "episode over" not in texts(running)
    assert agent(running).fill == ACCENT


@pytest.mark.parametrize("probabilities", [(0.08, 0.3, 0.62), (0.999, 0.0005, 0.0005)])
def test_bars_are_as_long_as_the_probabilities(
    probabilities: tuple[float, ...],
) -> None:
    scene = draw(MOVED._replace(action_probabilities=probabilities))
    lengths = [bar.width for bar in bars(scene)]
    (full,) = {track.width for track in tracks(scene)}
    assert lengths == pytest.approx([p * full for p in probabilities])
    assert [bar.x for bar in bars(scene)] == [track.x for track in tracks(scene)]


def test_percentages_stand_beside_the_bars() -> None:
    scene = draw(MOVED._replace(action_probabilities=(0.08, 0.0, 0.92)))
    assert {"8%", "0%", "92%"} <= set(texts(scene))
    assert "Policy in state 1, for the next action" in texts(scene)
    # A probability of 0 has a track and no bar.
    assert len(tracks(scene)) == 3 and len(bars(scene)) == 2


def test_without_probabilities_the_panel_explains_the_actions() -> None:
    scene = draw(MOVED)
    assert bars(scene) == tracks(scene) == []
    assert {"What the actions do", "one tile to the left"} <= set(texts(scene))


@pytest.mark.parametrize(
    ("snapshot", "n_states", "names", "message"),
    [
        (RESET, 3, ("left", "right"), "3 actions"),
        (RESET, 1, NAMES, "at least 2 states"),
        (RESET._replace(state=3), 3, NAMES, "state 3"),
        (RESET._replace(state=-1), 3, NAMES, "state -1"),
        (MOVED._replace(action=3), 3, NAMES, "action 3"),
        (MOVED._replace(previous_state=7), 3, NAMES, "previous_state 7"),
        (RESET._replace(action_probabilities=(1.0,)), 3, NAMES, "1 entries for 3"),
        (RESET._replace(action_probabilities=(1.5, 0, 0)), 3, NAMES, "0..1"),
        (RESET._replace(action_probabilities=(float("nan"), 0, 0)), 3, NAMES, "0..1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    snapshot: Snapshot, n_states: int, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sequence_scene(snapshot, n_states, names, 0.05, 1.0)
