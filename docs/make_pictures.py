"""Writes the pictures of README and docs into docs/pictures.

    python docs/make_pictures.py [film] [flight] [environments] [demos] [reports]
                                 [live] [play] [diagrams]

film: the animation of the front page. flight: one of Pixelcopter. environments: a frame
of each, also with many states and arms. demos: their plots. reports: what the commands
print, as pictures, and the plots of `pgtoy compare` and `pgtoy plot`. live: the live
view, light and dark, also in small windows. play: the games of `pgtoy play`. diagrams:
of the agents' data. Without a name, all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demos")]

from docs.diagrams import DIAGRAMS
from docs.live_pictures import CASES, draw
from pg_agents import REINFORCE
from pg_agents.analysis.curves import running_mean
from pg_agents.analysis.plots import save_gif
from pg_agents.callbacks import Recorder, TrainingRecord
from pg_agents.cli.main import main as pgtoy
from pg_agents.experiments.play import Match
from pg_agents.experiments.pretrained import find_pretrained
from pg_envs import SequenceEnv
from pg_envs.pixelcopter.game import UP
from pg_envs.rendering import (
    Line,
    Rectangle,
    Scene,
    Shape,
    Snapshot,
    Text,
    placed,
    recoloured,
)
from pg_envs.rendering.canvas import Canvas
from pg_envs.rendering.scene import WindowClosed
from pg_envs.rendering.sequence import sequence_task
from pg_envs.rendering.themes import LIGHT, Theme
from pg_envs.rendering.widgets import (
    ACCENT,
    BAR,
    BORDER,
    CARD,
    INK,
    MUTED,
    TRACK,
    card,
    compose,
    horizontal_bar,
    percentages,
)

PICTURES = ROOT / "docs/pictures"
Frame = NDArray[np.uint8]

# The film of the front page --------------------------------------------------------

FILM_FPS = 6
N_EPISODES = 400
ACTIONS = ("left", "centre", "right")
BEST_RETURN = 0.9


def film(path: Path | None = None, theme: Theme = LIGHT) -> None:
    """Writes a film: before, during and after the training of one agent.

    Args:
        path: of the GIF; None for learning.gif.
        theme: its colours.
    """
    torch.set_num_threads(1)
    record = _train()
    canvas = Canvas("", FILM_FPS)

    def frame(snapshot: Snapshot, episode: int) -> Frame:
        scene = _film_scene(snapshot, record, episode)
        return canvas.rgb_array(recoloured(scene, theme.colours, theme.text_colours))

    frames: list[Frame] = []
    policies = record.action_probabilities
    for snapshot in _steps(iter([policies[0]] * 6), "before training", seed=3):
        frames += [frame(snapshot, 0)] * 3
    episodes = np.geomspace(1, N_EPISODES - 1, 48).astype(int).tolist()
    steps = _steps(iter(policies[episodes]), "training", seed=4)
    for episode, snapshot in zip(episodes, steps, strict=False):
        caption = f"training: episode {episode}"
        frames.append(frame(snapshot._replace(caption=caption), episode))
    trained = np.eye(3)[policies[-1].argmax(axis=1)]
    for snapshot in _steps(iter([trained] * 3), "trained", seed=0):
        frames += [frame(snapshot, N_EPISODES)] * FILM_FPS
    save_gif(frames, path or PICTURES / "learning.gif", FILM_FPS)


def _train() -> TrainingRecord:
    model = REINFORCE(
        "TabularPolicy",
        gymnasium.make("PGToy-Sequence-v0", observation="index"),
        gamma=0.9,
        learning_rate=0.05,
        seed=1,
    )
    recorder = Recorder(np.arange(3))
    model.learn(100 * N_EPISODES, [recorder, StopTrainingOnMaxEpisodes(N_EPISODES)])
    return recorder.record


def _steps(
    policies: Iterator[NDArray[np.float64]], caption: str, seed: int
) -> Iterator[Snapshot]:
    """Yields a start, and a step by each policy; after an end, a start again."""
    env, rng = SequenceEnv(observation="index"), np.random.default_rng(seed)

    def start() -> Snapshot:
        state, _ = env.reset()
        return Snapshot(int(state), None, None, 0, 0.0, caption=caption)

    yield (now := start())
    for policy in policies:
        if now.terminated:
            yield (now := start())
            continue
        row = policy[now.state]
        # Recorded in single precision, they sum to 1 but for its rounding.
        action = np.int64(rng.choice(3, p=row / row.sum()))
        state, reward, terminated, _, _ = env.step(action)
        now = Snapshot(
            int(state),
            int(action),
            reward,
            now.step + 1,
            now.episode_return + reward,
            terminated,
            previous_state=now.state,
            caption=caption,
        )
        yield now


def _film_scene(snapshot: Snapshot, record: TrainingRecord, episode: int) -> Scene:
    """Returns the task above, and the policy in every state and the returns below."""
    # One update, and one recording, an episode; the first precedes them.
    policy = record.action_probabilities[min(episode, N_EPISODES - 1)]
    groups = [sequence_task(snapshot, 3, ACTIONS, 0.05, 1.0), card(36, 350, 728, 150)]
    for state, row in enumerate(policy.tolist()):
        groups.append(_policy_of(state, row, 56 + 178 * state, snapshot))
    groups.append(_return_curve(record, episode))
    return compose(*groups)


def _policy_of(
    state: int, row: Sequence[float], x: float, snapshot: Snapshot
) -> list[Shape]:
    is_next = state == snapshot.state and not snapshot.terminated
    shapes: list[Shape] = [
        Text(
            f"policy in state {state}", x, 376, 14, ACCENT if is_next else MUTED, "left"
        )
    ]
    for action, share in enumerate(percentages(row)):
        y = 406 + 28 * action
        shapes.append(Text(ACTIONS[action], x, y, 14, INK, "left"))
        shapes += horizontal_bar(x + 54, y, 62, 13, row[action])
        shapes.append(Text(share, x + 160, y, 14, INK, "right", 40))
    return shapes


def _return_curve(record: TrainingRecord, episode: int) -> list[Shape]:
    """Returns the running mean of the episode returns, and a line at the best one."""
    left, right, top, bottom = 604.0, 744.0, 396.0, 474.0
    low = -1.0

    def y(value: float) -> float:
        share = (max(value, low) - low) / (BEST_RETURN - low)
        return bottom - share * (bottom - top)

    returns = running_mean(record.episode_returns[: max(episode, 1)], 20, 1)[4:]
    xs = left + (right - left) * np.arange(5, len(returns) + 5) / N_EPISODES
    points = list(zip(xs.tolist(), map(y, returns.tolist()), strict=True))
    shapes: list[Shape] = [
        Text("return, mean of 20", left - 16, 376, 14, MUTED, "left"),
        Line((left, y(BEST_RETURN)), (right, y(BEST_RETURN)), TRACK, 2),
        Line((left, y(low)), (right, y(low)), BORDER, 1.5),
        Line((left, y(0.0)), (right, y(0.0)), TRACK, 1),
        Text("0.9", left - 4, y(BEST_RETURN), 12, MUTED, "right"),
        Text("0", left - 4, y(0.0), 12, MUTED, "right"),
        Text("−1", left - 4, y(low), 12, MUTED, "right"),  # noqa: RUF001
        Text(f"{N_EPISODES} episodes", right, bottom + 13, 12, MUTED, "right"),
    ]
    shapes += [Line(a, b, BAR, 2.5) for a, b in pairwise(points)]
    return shapes


# The film of a flight ---------------------------------------------------------------


def flight() -> None:
    """Writes pixelcopter.gif: the trained pilot, at the pace of the game."""
    env = gymnasium.make(
        "PGToy-Pixelcopter-v0", render_mode="rgb_array", theme="helicopter"
    )
    # A cave in which it does not crash within these steps.
    env.reset(seed=3)
    frames: list[Any] = [env.render()]
    for step, action in enumerate(_flight(300, seed=3), 1):
        env.step(action)
        if step % 2 == 0:
            frames.append(env.render())
    save_gif(frames, PICTURES / "pixelcopter.gif", env.metadata["render_fps"] / 2)


# Frames of the environments --------------------------------------------------------


def environments() -> None:
    """Writes a frame of each environment, also with many states and arms.

    The README shows bandit.png and sequence.png at a third of its width: they have the
    middle of the frame alone, so that their text can be read there.
    """
    arms = tuple(np.linspace(-1, 1, 12).round(2).tolist())
    sequence, bandit = "PGToy-Sequence-v0", "PGToy-Bandit-v0"
    learnt = [[0.06, 0.12, 0.82], [0.09, 0.2, 0.71], [0.05, 0.83, 0.12]]
    env = _frame("sequence-frame", sequence, [2, 2], learnt)
    _close_up("sequence", env, (158, 124, 484, 204), "policy in state 2", learnt[2])
    _frame("sequence-end", sequence, [2, 2, 1], learnt)
    _frame("sequence-30-states", sequence, [2] * 13, [0.1, 0.2, 0.7], n_states=30)
    pulls = [0.72, 0.11, 0.17]
    env = _frame("bandit-frame", bandit, [0], pulls)
    _close_up("bandit", env, (158, 124, 484, 206), "policy", pulls)
    policy = np.exp(3 * np.array(arms)) / np.exp(3 * np.array(arms)).sum()
    noisy = {"arm_rewards": arms, "reward_noise": "gaussian"}
    _frame("bandit-12-arms", bandit, [9], policy, **noisy)
    arms = tuple(np.linspace(-1, 1, 30).round(2).tolist())
    _frame("bandit-30-arms", bandit, [4], np.full(30, 1 / 30), arm_rewards=arms)
    flight, env_id = _flight(60, seed=0), "PGToy-Pixelcopter-v0"
    _frame("pixelcopter", env_id, flight)
    _frame("pixelcopter-helicopter", env_id, flight, theme="helicopter")


def _frame(
    name: str,
    env_id: str,
    actions: Sequence[int],
    policy: Any = None,  # noqa: ANN401
    **arguments: Any,
) -> Any:  # noqa: ANN401
    """Writes the frame after some actions; returns the environment."""
    env = gymnasium.make(env_id, render_mode="rgb_array", **arguments)
    inner: Any = env.unwrapped
    if policy is not None:
        inner.set_action_probabilities(policy)
    env.reset(seed=0)
    for action in actions:
        env.step(action)
    picture: Any = env.render()
    _save(Image.fromarray(picture), name)
    return inner


def _close_up(
    name: str,
    env: Any,  # noqa: ANN401
    part: tuple[int, int, int, int],
    title: str,
    policy: Sequence[float],
) -> None:
    """Writes a part (x, y, width, height) of a frame, and the policy below it."""
    scene: Scene = env.current_scene()
    x, y, width, height = part
    shapes = placed(scene, -x, -y, scene.width, scene.height)
    shapes.append(Rectangle(0, height, width, 150, CARD))
    shares = percentages(policy)
    shapes.append(Text(title, 20, height + 18, 18, MUTED, "left"))
    for action, action_name in enumerate(env.mdp.action_names):
        middle = height + 54 + 36 * action
        shapes.append(Text(action_name, 20, middle, 20, INK, "left"))
        shapes += horizontal_bar(108, middle, width - 186, 20, policy[action])
        shapes.append(Text(shares[action], width - 20, middle, 20, INK, "right"))
    whole = Scene(width, height + 150, CARD, tuple(shapes))
    size = round(1.5 * whole.width), round(1.5 * whole.height)
    large = Scene(*size, CARD, tuple(placed(whole, 0, 0, *size)))
    _save(Image.fromarray(Canvas("", 0).rgb_array(large)), name)


def _flight(n_steps: int, seed: int) -> list[int]:
    """Returns the actions of the trained pilot in the cave of a seed."""
    run = find_pretrained("pixelcopter-mc")
    assert run is not None, "its weights come with the package"
    model = run.load_model()
    env = gymnasium.make("PGToy-Pixelcopter-v0")
    obs, _ = env.reset(seed=seed)
    actions = []
    for _ in range(n_steps):
        action, _ = model.predict(obs, deterministic=True)
        actions.append(int(action))
        obs, *_ = env.step(action)
    return actions


# Plots of the demos ----------------------------------------------------------------

DEMOS = {"sequence": [], "bandit": [], "interchange": ["--runs", "3"]}


def demos() -> None:
    """Writes the plots of each demo."""
    for name, options in DEMOS.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, f"demos/{name}.py", "--render", "none"]
            subprocess.run([*command, "--out", folder, *options], cwd=ROOT, check=True)
            for path in sorted(Path(folder).glob("*.png")):
                _save(Image.open(path), f"demo-{name}-{path.stem}")


# What the commands print -----------------------------------------------------------

REPORTS = {
    "help": [],
    "recipes": ["recipes"],
    "check": ["check", "demos/train_reinforce.py"],
    "check-loss": ["check", "demos/pitfalls.py:next_state"],
    "check-right": ["check", "demos/pitfalls.py:right"],
}


def reports() -> None:
    """Writes what the commands print, as a terminal of 100 columns shows it."""
    for name, arguments in REPORTS.items():
        _terminal(name, arguments, ROOT)
    with tempfile.TemporaryDirectory() as folder:
        for variant in ("baseline", "gamma", "network"):
            train = ["run", "sequence-explore", "--variant", variant]
            _run([*train, "--seeds", "3"], Path(folder))
        compare = ["compare", "runs", "--window", "20"]
        _terminal("compare", compare, Path(folder))
        _run([*compare, "--to", "compare.png"], Path(folder))
        _run(["plot", "runs", "--to", "plot.png"], Path(folder))
        for name in ("compare", "plot"):
            _save(Image.open(Path(folder) / f"{name}.png"), f"runs-{name}")


def _terminal(name: str, arguments: Sequence[str], folder: Path) -> None:
    text = f"$ pgtoy {' '.join(arguments)}\n{_run(arguments, folder)}"
    lines = text.rstrip().splitlines()
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), 15)
    width = max(map(len, lines))
    picture = Image.new("RGB", (9 * width + 32, 20 * len(lines) + 28), (24, 28, 36))
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        colour = (130, 220, 140) if row == 0 else (226, 229, 236)
        draw.text((16, 14 + 20 * row), line, colour, font)
    _save(picture, f"terminal-{name}")


def _run(arguments: Sequence[str], folder: Path) -> str:
    """Returns what `pgtoy` prints in a folder."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.chdir(folder):
        pgtoy(arguments)
    return printed.getvalue()


# The live view, and the games -------------------------------------------------------


def live() -> None:
    """Writes the live view of several trainings."""
    for name in CASES:
        _save(Image.fromarray(draw(name)), f"live-{name}")


def play() -> None:
    """Writes a moment of each game."""
    # The person flies as the agent does, then lets go.
    climbs = ["space" if action == UP else "" for action in _flight(40, seed=0)]
    for game, keys, n_frames, theme in (
        ("bandit", "0012301230123", 12, "light"),
        ("sequence", ["", "right", "right"], 4, "light"),
        ("pixelcopter", ["", "space", *climbs], 48, "dark"),
    ):
        screen = _Screen(keys, n_frames)
        with contextlib.suppress(WindowClosed):
            Match(game, screen, theme).play(seed=0)
        assert screen.scene is not None, "it has shown something"
        _save(Image.fromarray(screen.rgb_array(screen.scene)), f"play-{game}")


class _Screen(Canvas):
    """A canvas without a window, with keys that are pressed one after the other.

    Args:
        keys: one for each time that the game asks; "" for none.
        n_frames: after how many frames the game ends.
    """

    def __init__(self, keys: Sequence[str], n_frames: int) -> None:
        super().__init__("", 0, oversampling=2)
        self._presses, self._n_left = iter(keys), n_frames
        self.scene: Scene | None = None

    def show(self, scene: Scene) -> None:
        """Keeps the scene."""
        if self._n_left == 0:
            raise WindowClosed("This was the last frame.")
        self.scene, self._n_left = scene, self._n_left - 1

    def pressed_keys(self) -> list[str]:
        """Returns the next key."""
        return [next(self._presses, "")]

    def keys(self) -> set[str]:
        """Returns the next key."""
        return set(self.pressed_keys())


def _few_colours(picture: Image.Image) -> Image.Image:
    """Returns a picture of 256 colours: exact ones of surfaces, near ones of edges."""
    pixels = np.asarray(picture, np.int64)
    # One number each, which sorts faster than three.
    codes, inverse, counts = np.unique(
        pixels @ [65536, 256, 1], return_inverse=True, return_counts=True
    )
    colours = codes[:, None] // [65536, 256, 1] % 256
    frequent = colours[np.argsort(-counts, kind="stable")[:128]]
    spread = picture.quantize(256 - len(frequent), Image.Quantize.MAXCOVERAGE)
    rest = np.array(spread.getpalette()).reshape(-1, 3)
    palette = np.concatenate([frequent, rest])[:256]
    nearest = [np.abs(palette - colour).sum(axis=1).argmin() for colour in colours]
    indices = np.array(nearest, np.uint8)[inverse.ravel()]
    few = Image.fromarray(indices.reshape(pixels.shape[:2]))
    few.putpalette(palette.ravel().tolist())
    return few


def _save(picture: Image.Image, name: str) -> None:
    path = PICTURES / f"{name}.png"
    _few_colours(picture.convert("RGB")).save(path, optimize=True)
    print(path.relative_to(ROOT))


# Diagrams of the agents' data ------------------------------------------------------


def diagrams() -> None:
    """Writes the diagrams of the agents' pages."""
    for name, svg in DIAGRAMS.items():
        path = PICTURES / f"diagram-{name}.svg"
        path.write_text(svg, encoding="utf-8")
        print(path.relative_to(ROOT))


PARTS = {
    "film": film,
    "flight": flight,
    "environments": environments,
    "demos": demos,
    "reports": reports,
    "live": live,
    "play": play,
    "diagrams": diagrams,
}


def main() -> None:
    """Writes the pictures that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], default=[])
    chosen = parser.parse_args().part or list(PARTS)
    PICTURES.mkdir(exist_ok=True)
    for part in chosen:
        PARTS[part]()


if __name__ == "__main__":
    main()
