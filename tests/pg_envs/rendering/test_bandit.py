import pytest

from pg_envs.rendering import Rectangle, Scene, Snapshot, Text, bandit_scene
from pg_envs.rendering.widgets import ACCENT, GAIN_SOFT
from tests.pg_envs.rendering.geometry import (
    assert_tidy,
    bars,
    smallest_text,
    texts,
    tracks,
)

RESET = Snapshot(state=0, action=None, reward=None, step=0, episode_return=0.0)
PULLED = Snapshot(state=0, action=1, reward=-0.31, step=3, episode_return=1.5)
REWARDS = (0.1, -0.2, 0.5)


def names(n_arms: int) -> tuple[str, ...]:
    return tuple(f"arm {i}" for i in range(n_arms))


def draw(snapshot: Snapshot, noise: str = "gaussian") -> Scene:
    return bandit_scene(snapshot, names(3), REWARDS, noise)


def machines(scene: Scene, fill: tuple[int, int, int]) -> list[Rectangle]:
    return [s for s in scene.shapes if isinstance(s, Rectangle) and s.fill == fill]


def find(scene: Scene, text: str) -> Text:
    (found,) = (s for s in scene.shapes if isinstance(s, Text) and s.text == text)
    return found


@pytest.mark.parametrize("n_arms", range(1, 11))
@pytest.mark.parametrize("with_probabilities", [False, True])
@pytest.mark.parametrize("noise", ["none", "gaussian", "bernoulli"])
def test_everything_fits_for_every_number_of_arms(
    n_arms: int, with_probabilities: bool, noise: str
) -> None:
    probabilities = (1 / n_arms,) * n_arms if with_probabilities else None
    rewards = [-1.2345 * i for i in range(n_arms)]
    for action in (None, *range(n_arms)):
        reward = None if action is None else -12.34
        snapshot = Snapshot(0, action, reward, 1234, -123.45, True, probabilities)
        assert_tidy(bandit_scene(snapshot, names(n_arms), rewards, noise))


@pytest.mark.parametrize("n_arms", [11, 12, 20, 30, 50])
@pytest.mark.parametrize("noise", ["none", "gaussian"])
def test_many_arms_stay_legible(n_arms: int, noise: str) -> None:
    """Every text is at least 11 pixels high; some arms go without."""
    rewards = [round(i / 7 - 1, 3) for i in range(n_arms)]
    snapshot = Snapshot(0, 4, 0.5, 9, -1.0, False, (1 / n_arms,) * n_arms)
    scene = bandit_scene(snapshot, names(n_arms), rewards, noise)
    assert_tidy(scene)
    assert smallest_text(scene, {"+0.50"}) >= 11
    assert len(bars(scene)) == n_arms


@pytest.mark.parametrize("best", [0, 13, 29])
def test_the_best_of_many_arms_is_named_and_framed(best: int) -> None:
    """Green alone would say nothing to those who do not see it."""
    rewards = [0.5] * 30
    rewards[best] = 0.75
    snapshot = Snapshot(0, 4, -0.5, 9, -1.0, False, (1 / 30,) * 30)
    scene = bandit_scene(snapshot, names(30), rewards, "none")
    label, (frame,) = find(scene, "+0.75"), machines(scene, GAIN_SOFT)
    assert find(scene, str(best)).x == label.x
    assert frame.x < label.x < frame.x + frame.width


def test_only_the_pulled_arm_is_highlighted() -> None:
    assert machines(draw(RESET), ACCENT) == []
    for arm in range(3):
        scene = draw(PULLED._replace(action=arm))
        (machine,) = machines(scene, ACCENT)
        name = find(scene, f"arm {arm}")
        assert name.colour == ACCENT
        assert machine.x + machine.width / 2 == pytest.approx(name.x)


@pytest.mark.parametrize(
    ("noise", "rule", "label"),
    [
        ("none", "An arm pays the same each time.", "+0.5"),
        ("gaussian", "An arm pays its mean plus Gaussian noise.", "mean +0.5"),
        (
            "bernoulli",
            "Each arm pays 1 with a probability of its own, else 0.",
            "mean +0.5",
        ),
    ],
)
def test_the_picture_says_how_the_arms_pay(noise: str, rule: str, label: str) -> None:
    assert {rule, label} <= set(texts(draw(RESET, noise)))


@pytest.mark.parametrize("probabilities", [(0.1, 0.25, 0.65), (0.001, 0.001, 0.998)])
def test_bars_are_as_tall_as_the_probabilities(
    probabilities: tuple[float, ...],
) -> None:
    scene = draw(PULLED._replace(action_probabilities=probabilities))
    heights = [bar.height for bar in bars(scene)]
    (full,) = {track.height for track in tracks(scene)}
    assert heights == pytest.approx([p * full for p in probabilities])
    (floor,) = {track.y + track.height for track in tracks(scene)}
    assert [bar.y + bar.height for bar in bars(scene)] == pytest.approx([floor] * 3)


def test_each_bar_stands_below_its_own_arm() -> None:
    scene = draw(PULLED._replace(action_probabilities=(0.1, 0.25, 0.65)))
    middles = [bar.x + bar.width / 2 for bar in bars(scene)]
    assert middles == pytest.approx([find(scene, name).x for name in names(3)])
    shares = [find(scene, share) for share in ("10%", "25%", "65%")]
    assert middles == pytest.approx([share.x for share in shares])


def test_without_probabilities_there_is_no_trace_of_a_policy() -> None:
    scene = draw(PULLED)
    assert bars(scene) == tracks(scene) == []
    assert not any("Policy" in text for text in texts(scene))


@pytest.mark.parametrize(
    ("snapshot", "n_arms", "noise", "message"),
    [
        (RESET, 0, "none", "at least 1 arm"),
        (RESET, 2, "none", "3 arm rewards for 2 arms"),
        (RESET, 3, "cauchy", "cauchy"),
        (PULLED._replace(action=3), 3, "none", "action 3"),
        (RESET._replace(action_probabilities=(0.5, 0.5)), 3, "none", "2 entries for 3"),
        (RESET._replace(action_probabilities=(-0.1, 0.5, 0.6)), 3, "none", "0..1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    snapshot: Snapshot, n_arms: int, noise: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bandit_scene(snapshot, names(n_arms), REWARDS, noise)
