"""The picture of a training: what it shows, and that nothing leaves the window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pg_agents.live.dashboard import (
    Dashboard,
    Playing,
    Tables,
    axis,
    dashboard_scene,
    extremes,
    thinned,
)
from pg_envs import BanditEnv, SequenceEnv
from pg_envs.rendering import Image, Line, Rectangle, Scene, Snapshot, Text
from pg_envs.rendering.canvas import Canvas
from pg_envs.rendering.themes import THEMES
from tests.pg_envs.rendering.geometry import box, inside, text_size

ACTIONS = ("left", "centre", "right")
POLICY = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.0, 1.0, 0.0]])


def dashboard(n_episodes: int = 5, n_states: int = 3) -> Dashboard:
    scene = SequenceEnv(n_states).scene(
        Snapshot(0, None, None, 0, 0.0, action_probabilities=(0.2, 0.3, 0.5))
    )
    policy = np.resize(POLICY, (n_states, 3))
    returns = np.linspace(-1.0, 0.85, n_episodes)
    return Dashboard(
        title="REINFORCE on PGToy-Sequence-v0",
        state="running",
        timesteps=1234,
        total_timesteps=20_000,
        updates=17,
        steps_per_second=432.1,
        returns=returns,
        return_timesteps=np.arange(1, n_episodes + 1) * 3,
        running_mean=returns - 0.1,
        best=0.9,
        threshold=0.85,
        rewards=np.array([-0.05, -0.05, 1.0]),
        playing=Playing(
            scene, "", "episode 1", ACTIONS, (0.2, 0.3, 0.5), None, shows_policy=True
        ),
        tables=Tables(policy, policy - 0.3, 0.3 - policy, 0.25, 0.75, 12),
    )


def texts(scene: Scene) -> str:
    return "\n".join(shape.text for shape in scene.shapes if isinstance(shape, Text))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(480, 320), (700, 420), (1280, 720), (1920, 1080)])
@pytest.mark.parametrize("n_states", [2, 3, 30])
def test_everything_lies_within_the_window(
    theme: str, size: tuple[int, int], n_states: int
) -> None:
    scene = dashboard_scene(dashboard(400, n_states), *size, theme)
    window = (-1.0, -1.0, size[0] + 1.0, size[1] + 1.0)
    outside = [shape for shape in scene.shapes if not inside(box(shape), window)]
    assert outside == []


def test_steps_beyond_the_number_that_was_asked_for_are_counted_alone() -> None:
    """The last episode is finished: "step 1,501 of 1,500" reads like a mistake."""
    last, over = (
        replace(dashboard(), timesteps=n, total_timesteps=1500) for n in (1500, 1501)
    )
    assert "step 1,500 of 1,500   update" in texts(dashboard_scene(last, 1280, 720))
    assert "step 1,501   update" in texts(dashboard_scene(over, 1280, 720))


@pytest.mark.parametrize("width", [480, 640, 800, 1280])
def test_numbers_of_the_header_are_left_out_rather_than_tiny(width: int) -> None:
    """Steps remain; the text shrinks to four fifths at most."""
    data = replace(dashboard(), state="running, 20 updates/s")
    scene = dashboard_scene(data, width, 400)
    (numbers,) = (
        shape
        for shape in scene.shapes
        if isinstance(shape, Text) and shape.text.startswith("step 1,234 of 20,000")
    )
    natural, _ = text_size(replace(numbers, max_width=None))
    assert numbers.max_width is not None
    assert natural <= 1.25 * numbers.max_width or "update" not in numbers.text
    assert ("steps/s" in numbers.text) == (width >= 800)


def test_it_shows_the_numbers_of_the_training() -> None:
    shown = texts(dashboard_scene(dashboard(), 1280, 720))
    for text in (
        "REINFORCE on PGToy-Sequence-v0",
        "step 1,234 of 20,000   update 17   episode 5   432 steps/s",
        "running",
        "last +0.85, mean +0.75",
        "best possible: 0.9",
        "3 steps, sum +0.9",
        "cosine +0.25 (12 averaged: +0.75)",
        "space: pause",
        "80%",
    ):
        assert text in shown


def test_films_explain_no_keys() -> None:
    film = dashboard_scene(replace(dashboard(), has_keys=False), 1280, 720)
    assert "space: pause" not in texts(film)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
def test_bars_of_the_policy_fill_the_share_of_their_cells(
    theme: str, size: tuple[int, int]
) -> None:
    """A bar of probability 1 is as long as its cell; numbers stand beside the cells."""
    data = replace(dashboard(), tables=Tables(POLICY))
    scene = dashboard_scene(data, *size, theme)
    colours = THEMES[theme]
    # Rewards and curves lie in the right column, the picture above.
    found = [
        shape
        for shape in scene.shapes
        if isinstance(shape, Rectangle)
        and shape.x < size[0] / 2
        and shape.y > 0.7 * size[1]
    ]
    cells = [shape for shape in found if shape.fill == colours.grid]
    bars = {(b.x, b.y): b for b in found if b.fill == colours.main}
    assert len(cells) == POLICY.size
    # Row by row: the actions are rows, the states columns.
    for cell, probability in zip(cells, POLICY.T.ravel(), strict=True):
        bar = bars.get((cell.x, cell.y))
        width = 0.0 if bar is None else bar.width
        assert width == pytest.approx(probability * cell.width)
    numbers = [
        shape
        for shape in scene.shapes
        if isinstance(shape, Text)
        and shape.text.endswith("%")
        and shape.x < 0.56 * size[0]
        and shape.y > 0.7 * size[1]
    ]
    assert len(numbers) == POLICY.size
    for number in numbers:
        left, top, right, bottom = box(number)
        for cell in cells:
            beside = right <= cell.x or left >= cell.x + cell.width
            assert beside or bottom <= cell.y or top >= cell.y + cell.height


def test_a_window_with_room_below_the_picture_shows_the_policy() -> None:
    """The picture is as wide as its panel: without the policy there is empty space."""
    playing = replace(dashboard().playing, probabilities=(0.2, 0.3, 0.5))
    shown = {
        size: "Policy: probability of each action"
        in texts(dashboard_scene(replace(dashboard(), playing=playing), *size))
        for size in ((480, 320), (640, 400), (700, 420), (700, 480), (1280, 720))
    }
    assert shown == {
        (480, 320): False,
        (640, 400): True,
        (700, 420): True,
        (700, 480): True,
        (1280, 720): True,
    }


def test_positive_gradients_point_right_and_negative_ones_left() -> None:
    exact = np.array([[1.0, -0.5, -0.5], [0.0, 0.0, 0.0], [0.25, 0.0, -0.25]])
    data = replace(dashboard(), tables=Tables(POLICY, exact, -exact, -1.0))
    scene = dashboard_scene(data, 1280, 720)
    theme = THEMES["light"]
    area = (720.0, 500.0)
    sums = {}
    for name, colour in (("exact", theme.main), ("estimate", theme.second)):
        bars = [
            shape.width
            for shape in scene.shapes
            if isinstance(shape, Rectangle)
            and shape.fill == colour
            and shape.x > area[0]
            and shape.y > area[1]
            # The squares of the legend.
            and shape.width != shape.height
        ]
        sums[name] = sorted(bars)
    assert len(sums["exact"]) == len(sums["estimate"]) == 5
    np.testing.assert_allclose(sums["exact"], sums["estimate"])
    largest = sums["exact"][-1]
    np.testing.assert_allclose(sums["exact"], np.array([1, 1, 2, 2, 4]) / 4 * largest)
    # From the zero lines of the three columns of cells.
    zeros = {
        s.start[0]
        for s in scene.shapes
        if isinstance(s, Line) and s.start[0] == s.end[0]
    }
    exact_bars = [
        s
        for s in scene.shapes
        if isinstance(s, Rectangle)
        and s.fill == theme.main
        and s.x > area[0]
        and s.y > area[1]
        and s.width != s.height
    ]
    starts = sorted(bar.x in zeros for bar in exact_bars)
    ends = [any(abs(bar.x + bar.width - z) < 1e-6 for z in zeros) for bar in exact_bars]
    # Two numbers are positive, three negative.
    assert (sum(starts), sum(ends)) == (2, 3)


def test_the_running_mean_is_a_line_from_episode_to_episode() -> None:
    data = dashboard(5)
    scene = dashboard_scene(data, 1280, 720)
    lines = [
        s
        for s in scene.shapes
        if isinstance(s, Line) and s.colour == THEMES["light"].main
    ]
    assert len(lines) == 4
    heights = [lines[0].start[1], *(line.end[1] for line in lines)]
    # Pixels grow downwards, linearly with the mean.
    slopes = np.diff(heights) / np.diff(data.running_mean)
    np.testing.assert_allclose(slopes, slopes[0])
    assert slopes[0] < 0


def test_without_an_ended_episode_the_rewards_so_far_are_shown() -> None:
    none = np.empty(0)
    data = replace(
        dashboard(),
        returns=none,
        return_timesteps=np.empty(0, np.int64),
        running_mean=none,
        rewards=None,
    )
    assert "no episode has ended yet" in texts(dashboard_scene(data, 1280, 720))
    data = replace(data, running_rewards=np.array([0.0, 1.0, 1.0]))
    shown = texts(dashboard_scene(data, 1280, 720))
    assert "Reward of each step, in one episode" in shown
    assert "The last rewards" in shown


def test_frames_of_other_environments_are_shown_as_images() -> None:
    frame = Image(0, 0, 1, 1, bytes(range(3 * 4 * 2))[: 3 * 8], (4, 2))
    playing = Playing(frame, "", "", ("a", "b"), (0.25, 0.75))
    data = replace(dashboard(), playing=playing, tables=None)
    scene = dashboard_scene(data, 1280, 720)
    (image,) = (shape for shape in scene.shapes if isinstance(shape, Image))
    assert image.width == pytest.approx(2 * image.height)
    assert "25%" in texts(scene) and "75%" in texts(scene)


def test_numbers_as_actions_are_shown_with_their_deviation() -> None:
    limits = ((-2.0, 2.0),)
    playing = Playing(
        None, "no picture", "", ("action",), (-0.5,), (0.25,), limits=limits
    )
    data = replace(dashboard(), playing=playing, tables=None)
    scene = dashboard_scene(data, 1280, 720)
    shown = texts(scene)
    assert "−0.50 ± 0.25" in shown  # noqa: RUF001
    assert "from −2 to 2" in shown  # noqa: RUF001
    assert "no picture" in shown
    theme = THEMES["light"]
    (track,) = rectangles(scene, theme.grid)
    (spread,) = (r for r in rectangles(scene, theme.main_soft) if r.y == track.y)
    # From -0.75 to -0.25 of -2 to 2.
    assert spread.x - track.x == pytest.approx(track.width * 1.25 / 4)
    assert spread.width == pytest.approx(track.width * 0.5 / 4)


def rectangles(scene: Scene, fill: tuple[int, int, int]) -> list[Rectangle]:
    return [s for s in scene.shapes if isinstance(s, Rectangle) and s.fill == fill]


@pytest.mark.parametrize("n_actions", [3, 12, 40])
def test_names_of_many_actions_are_left_out_rather_than_small(n_actions: int) -> None:
    names = tuple(f"arm {i}" for i in range(n_actions))
    policy = np.full((1, n_actions), 1 / n_actions)
    playing = Playing(None, "no picture", "", names, tuple(policy[0].tolist()))
    tables = Tables(policy, policy - 0.1, policy - 0.2, 0.5)
    data = replace(dashboard(), playing=playing, tables=tables)
    scene = dashboard_scene(data, 1280, 720)
    named = [s for s in scene.shapes if isinstance(s, Text) and s.text in names]
    assert min(text.size for text in named) >= 9
    assert {"arm 0"} <= {text.text for text in named}


def test_a_dark_window_has_no_light_surface() -> None:
    """Of a bandit, whose scene is recoloured; text stays light."""
    env = BanditEnv()
    scene = env.scene(Snapshot(0, 1, 0.0, 1, 0.0, action_probabilities=(0.2, 0.3, 0.5)))
    data = replace(
        dashboard(), playing=Playing(scene, "", "", ACTIONS, (0.2, 0.3, 0.5))
    )
    picture = Canvas("", 0, oversampling=2).rgb_array(
        dashboard_scene(data, 1280, 720, "dark")
    )
    assert np.median(picture) < 64
    assert (picture.min(axis=2) > 200).mean() < 0.05


@pytest.mark.parametrize(
    ("size", "theme", "message"),
    [
        ((100, 720), "light", "at least 480 x 320 pixels, got 100 x 720"),
        ((1280, 720), "blue", "theme must be one of light, dark, got 'blue'"),
    ],
)
def test_bad_arguments_are_named(
    size: tuple[int, int], theme: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dashboard_scene(dashboard(), *size, theme)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]),
        (-1.0, 0.9, [-1.0, -0.5, 0.0, 0.5]),
        (0.0, 500.0, [0.0, 200.0, 400.0]),
        (3.0, 3.0, [2.5, 2.75, 3.0, 3.25, 3.5]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    bottom, top, found = axis(low, high, 4)
    assert found == ticks
    assert bottom < min(low, *ticks) and top > max(high, *ticks)


def test_thinned_curves_keep_extremes_and_the_last_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=10_000)
    steps = np.cumsum(rng.integers(1, 9, 10_000))
    means = np.arange(10_000.0)
    x, low, high, mean = thinned(steps, values, means, int(steps[-1]))
    assert len(x) == 240
    assert (min(low), max(high)) == (values.min(), values.max())
    assert mean[-1] == 9999
    assert x == sorted(x)


def test_extremes_keep_the_reward_farthest_from_zero() -> None:
    rewards = np.zeros(1000)
    rewards[123] = -5.0
    assert extremes(rewards, 100).tolist().count(-5.0) == 1
    assert len(extremes(rewards, 100)) == 100
