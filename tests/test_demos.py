"""The demos learn what they claim to, and run as a user runs them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import common
import numpy as np
import pygame
import pytest
import sequence
import torch
from PIL import Image, ImageSequence

from pg_agents import REINFORCE
from pg_agents.experiments.demos import bandit
from pg_envs.rendering import Text

ROOT = Path(__file__).parent.parent


def run_demo(
    name: str, *arguments: str, out: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a demo as a user does, without a screen."""
    screenless = {
        key: value
        for key, value in os.environ.items()
        if key not in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    }
    return subprocess.run(
        [sys.executable, f"demos/{name}.py", "--out", str(out), *arguments],
        cwd=ROOT,
        env=screenless | (environment or {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def is_picture(path: Path) -> bool:
    """Whether a file is an image of more than a few shades."""
    with Image.open(path) as image:
        return len(set(image.convert("L").resize((64, 64)).tobytes())) > 4


@pytest.mark.parametrize("n_runs", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_every_run_learns_the_sequence(n_runs: int) -> None:
    """As sequence-reinforce. Fixed seeds: no false alarms on the pinned versions."""
    runs = sequence.make_runs(n_runs, n_episodes=500, seed=0)
    assert [len(run.record.episode_returns) for run in runs] == [500] * n_runs
    greedy = [run.probabilities.argmax(axis=1).tolist() for run in runs]
    assert greedy == [[2, 2, 1]] * n_runs


def test_bandit_table_finds_the_paying_arm() -> None:
    """As bandit-table: at least 0.95 after 500 pulls in at least 99 of 100 runs."""
    records, _ = bandit.make_runs(bandit.make_tables, 100, n_pulls=500, seed=0)
    final = bandit.final_probabilities(records)
    assert final.shape == (100,)
    assert (final >= 0.95).sum() >= 99


def test_bandit_table_follows_the_gradient_by_hand() -> None:
    """Logits grow by 0.2 * r * (onehot(a) - pi), pull by pull."""
    (record,), _ = bandit.make_runs(bandit.make_tables, 1, n_pulls=60, seed=5)
    logits = np.zeros(3)
    for pull, reward in enumerate(record.rewards):
        probabilities = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(
            record.action_probabilities[pull, 0], probabilities, atol=1e-5
        )
        # Only the paying arm gives a reward, so a reward names the action.
        logits += 0.2 * reward * (np.eye(3)[bandit.PAYING_ARM] - probabilities)


def test_bandit_network_finds_the_paying_arm() -> None:
    """As bandit-network."""
    records, _ = bandit.make_runs(bandit.make_networks, n_runs=50, n_pulls=100, seed=0)
    assert (bandit.final_probabilities(records) > 0.99).all()


def test_sequence_saves_its_pictures_without_a_screen(tmp_path: Path) -> None:
    """A window that is asked for becomes a GIF."""
    few = ["--runs", "2", "--episodes", "30", "--render", "human"]
    done = run_demo("sequence", *few, out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "There is no screen" in done.stdout
    assert "Solved after" in done.stdout
    assert "best" in done.stdout
    assert "of 2 runs" in done.stdout
    names = {
        "losses.png",
        "returns.png",
        "action_probabilities.png",
        "action_probabilities.gif",
        "agent.gif",
    }
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert f"saved {tmp_path / name}" in done.stdout
        assert is_picture(tmp_path / name), name
    assert "running" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sequence", "bandit", "interchange"])
def test_live_films_a_training_without_a_screen(name: str, tmp_path: Path) -> None:
    small = {
        "sequence": ["--runs", "1", "--episodes", "5"],
        "bandit": ["--table-runs", "1", "--table-pulls", "20", "--network-runs", "1"],
        "interchange": ["--steps", "300"],
    }[name]
    done = run_demo(name, *small, "--live", "--render", "none", out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"live view: saved {tmp_path / 'live.gif'}" in done.stdout
    assert is_picture(tmp_path / "live.gif")


def test_bandit_saves_its_pictures_without_a_screen(tmp_path: Path) -> None:
    small = ["--table-runs", "2", "--table-pulls", "20"]
    small += ["--network-runs", "2", "--network-pulls", "10", "--render", "none"]
    done = run_demo("bandit", *small, out=tmp_path)
    assert done.returncode == 0, done.stderr
    kinds = [f"action_probabilities.{ending}" for ending in ("png", "gif")]
    kinds += ["rewards.png", "total_rewards.png"]
    expected = {f"{name}_{kind}" for name in ("table", "network") for kind in kinds}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert all(is_picture(path) for path in tmp_path.iterdir())


def test_interchange_trains_all_four(tmp_path: Path) -> None:
    done = run_demo("interchange", "--steps", "600", "--runs", "1", out=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("return over 10 episodes") == 4
    for name in ("REINFORCE", "ActorCritic", "A2C", "PPO"):
        assert name in done.stderr
    assert is_picture(tmp_path / "learning_curves.png")
    for name in ("REINFORCE", "ActorCritic", "A2C", "PPO"):
        with Image.open(tmp_path / f"agent_{name}.gif") as film:
            # CartPole's own 50 frames a second; equal ones are merged.
            frames = ImageSequence.Iterator(film)
            assert min(frame.info["duration"] for frame in frames) == 20


@pytest.mark.parametrize("env_id", ["CartPole-v1", sequence.ENV_ID])
@pytest.mark.parametrize("how", ["close button", "escape"])
def test_closing_the_window_ends_only_the_show(
    env_id: str,
    how: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On SDL's dummy screen; CartPole's own window ignores the close button."""
    model = REINFORCE("MlpPolicy", env_id, seed=0)
    options = argparse.Namespace(render="human", seed=0, out=tmp_path)
    monkeypatch.setattr(common, "HOLD_SECONDS", 0.0)
    pygame.display.init()
    event = (
        pygame.event.Event(pygame.QUIT)
        if how == "close button"
        else pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE)
    )
    pygame.event.post(event)
    common.show_agent(model, env_id, options, n_episodes=1, max_steps=3)
    assert "Escape or the close button ends it" in (said := capsys.readouterr().out)
    assert "The window was closed" in said
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Captions of the frames that the window shows, which are not waited for."""
    seen: list[str] = []

    def show(self: Any, scene: Any) -> None:
        captions = ("training", "trained")
        shown = [s.text for s in scene.shapes if isinstance(s, Text)]
        seen.extend(text for text in shown if text.endswith(captions))

    monkeypatch.setattr("pg_envs.rendering.canvas.Canvas.show", show)
    return seen


def test_the_window_shows_the_policy_before_and_during_training(
    frames: list[str], tmp_path: Path
) -> None:
    """The first picture comes before the first update, and training is unchanged."""
    options = argparse.Namespace(render="human", seed=0, out=tmp_path)
    shown = sequence.make_model(0)
    learning = common.ShowLearning(sequence.ENV_ID, options, (0, 5), max_steps=3)
    shown.learn(200, callback=learning)
    # Made now: a model seeds torch's generator, which all of them share.
    unseen = sequence.make_model(0).learn(200)
    held = 2  # A second, at two frames a second.
    before = 1 + 3 + held
    assert frames[:before] == ["before training"] * before
    assert set(frames[before:]) == {"after 5 episodes of training"}
    for a, b in zip(shown.policy.parameters(), unseen.policy.parameters(), strict=True):
        assert a.equal(b)


def test_the_trained_agent_takes_its_best_actions_under_a_caption(
    frames: list[str], tmp_path: Path
) -> None:
    model = sequence.make_model(0)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.zero_()
        # Centre always, by a bias: from state 0 it never ends.
        head: Any = model.policy.action_net
        head.bias[1] = 0.1
    options = argparse.Namespace(render="human", seed=0, out=tmp_path)
    common.show_agent(model, sequence.ENV_ID, options, n_episodes=1, max_steps=4)
    assert frames == ["trained"] * (1 + 4 + 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seed", "-1"], "--seed must be from 0"),
        (["--runs", "0"], "must be at least 1, got 0"),
        (["--render", "ascii"], "invalid choice: 'ascii'"),
    ],
)
def test_bad_options_are_refused_by_name(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ["--out", str(tmp_path / "new")]
    assert refusal([*arguments, *out], monkeypatch) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def refusal(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns the exit status of a demo that refuses its options."""
    monkeypatch.setattr(sys, "argv", ["sequence.py", *arguments])
    with pytest.raises(SystemExit) as left:
        sequence.main()
    return left.value.code


def test_a_folder_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in ("file", "file/out"):
        assert refusal(["--out", str(tmp_path / out)], monkeypatch) == 2
        said = capsys.readouterr().err
        assert f"--out {tmp_path / out} can't be written to: " in said
    if sys.platform == "linux":
        # It exists, but files cannot be created in it.
        assert refusal(["--out", "/proc"], monkeypatch) == 2
        assert "--out /proc can't be written to: " in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_stops_training_and_draws_the_runs_so_far(tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--render", "none", "--episodes", "100000"]
    # Ctrl-C at a step in the middle of the first of the runs of 100,000 episodes.
    code = (
        "import runpy, signal, sys\n"
        "from pg_envs import SequenceEnv\n"
        "steps, step = [], SequenceEnv.step\n"
        "def counted(self, action):\n"
        "    steps.append(action)\n"
        "    if len(steps) == 2_000:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    return step(self, action)\n"
        "SequenceEnv.step = counted\n"
        # Background jobs of a shell ignore SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "demos/sequence.py", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["demos", *sys.path])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    _, rest = done.stdout.split("runs of", 1)
    assert "Interrupted" in rest
    assert "of 1 runs" in rest
    assert is_picture(tmp_path / "returns.png")
