"""A user's commands in processes: train, tune, reload, enjoy, record, plot."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pg_agents import ActorCritic
from pg_envs.sequence import REWARD_THRESHOLD
from tests.pg_agents.zoo.conftest import REASON

pytestmark = pytest.mark.slow

ENV = "PGToy-Sequence-v0"
BEST = 0.90
SEEDS = (0, 1, 2)


def run(command: str, folder: Path, *options: str) -> str:
    """Runs a command of the zoo in a folder, and returns its output."""
    root = str(Path(__file__).parents[3])
    variables = {
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "SDL_VIDEODRIVER": "dummy",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pg_agents.zoo", command, *options],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def actor_critic(*options: str) -> list[str]:
    return ["--algo", "actor_critic", "--env", ENV, "--device", "cpu", *options]


def run_folder(folder: Path, number: int) -> Path:
    return folder / "logs" / "actor_critic" / f"{ENV}_{number}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of three seeds, with evaluations during training."""
    for package in ("rl_zoo3", "pandas", "seaborn", "requests", "moviepy"):
        # Not imported: rl_zoo3 would replace TimeLimit for every test.
        if importlib.util.find_spec(package) is None:
            pytest.skip(REASON)
    folder = tmp_path_factory.mktemp("zoo")
    for seed in SEEDS:
        budget = ("--n-timesteps", "8000", "--eval-freq", "2000")
        run("train", folder, *actor_critic("--seed", str(seed), *budget))
    return folder


def test_three_seeds_make_three_models(trained: Path) -> None:
    weights = []
    for number in (1, 2, 3):
        saved: Any = ActorCritic.load(run_folder(trained, number) / f"{ENV}.zip")
        assert saved.num_timesteps >= 8_000 and saved.n_steps == 8
        weights.append(saved.policy.action_net.weight.detach().numpy())
        evaluations = np.load(run_folder(trained, number) / "evaluations.npz")
        assert evaluations["results"][-1].mean() == pytest.approx(BEST)
    assert not np.allclose(weights[0], weights[1])
    assert not np.allclose(weights[0], weights[2])


def test_the_agent_earns_nearly_the_best_return(trained: Path) -> None:
    returns = {}
    for mode in ("--deterministic", "--stochastic"):
        options = ("--folder", "logs", "--no-render", "--n-timesteps", "900")
        out = run("enjoy", trained, *actor_critic(mode, *options))
        found = re.search(r"Mean reward: (-?[\d.]+) \+/- ([\d.]+)", out)
        assert found is not None, out
        returns[mode] = float(found[1])
    assert returns["--deterministic"] == pytest.approx(BEST)
    assert REWARD_THRESHOLD <= returns["--stochastic"] <= BEST


def test_enjoy_opens_a_window(trained: Path) -> None:
    """With SDL's dummy driver, without a screen."""
    options = ("--folder", "logs", "--n-timesteps", "6")
    assert "2 Episodes" in run("enjoy", trained, *actor_critic(*options))


def test_a_recording_shows_something_that_moves(trained: Path) -> None:
    imageio_ffmpeg: Any = pytest.importorskip("imageio_ffmpeg", reason=REASON)
    options = ("--folder", "logs", "--n-timesteps", "9", "--output-folder", "films")
    without_device = actor_critic()[:4]
    run("record_video", trained, *without_device, *options)
    (film,) = (trained / "films").glob("*.mp4")
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(film), "frame%03d.png"]
    subprocess.run(decode, cwd=film.parent, capture_output=True, check=True)
    frames = []
    for file in sorted(film.parent.glob("frame*.png")):
        with Image.open(file) as picture:
            frames.append(np.asarray(picture.convert("RGB")))
    assert len(frames) >= 9
    for frame in frames:
        # Not of a single colour.
        assert frame.mean() > 20 and frame.std() > 5
    changes = [
        np.abs(np.subtract(a, b, dtype=np.int16)).max()
        for a, b in itertools.pairwise(frames)
    ]
    assert max(changes) > 50


def test_the_returns_of_training_are_plotted(trained: Path) -> None:
    run("plot_train", trained, *actor_critic()[:4], "--exp-folder", "logs")


def test_the_table_of_all_plots_is_of_three_runs(trained: Path) -> None:
    options = ("--algos", "actor_critic", "--env", ENV, "--exp-folders", "logs")
    more = ("--no-display", "--print-n-trials", "--output", "results")
    assert f"{ENV}-ACTOR_CRITIC-logs: 3" in run("all_plots", trained, *options, *more)
    figure = ("--input", "results", "--output", "curves.svg", "--format", "svg")
    run("plot_from_file", trained, *figure)
    assert "<svg" in (trained / "curves.svg").read_text()


@pytest.fixture(scope="module")
def tuned(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder with a study of six trials in a journal.

    A study takes the number of the next run: the latest one would have no model.
    """
    folder = tmp_path_factory.mktemp("tuned") / "zoo"
    shutil.copytree(trained, folder)
    search = ("--optimize-hyperparameters", "--no-optim-plots", "--n-trials", "6")
    budget = ("--n-timesteps", "1500", "--n-startup-trials", "2", "--seed", "0")
    run("train", folder, *actor_critic(*search, *budget, *STUDY))
    return folder


STUDY = ("--storage", "studies/sequence.log", "--study-name", "sequence")


def load_study(folder: Path) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    backend = JournalFileBackend(str(folder / STUDY[1]))
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name=STUDY[3], storage=storage)


def test_a_trial_is_trained_again_by_its_number(tuned: Path) -> None:
    study = load_study(tuned)
    assert len(study.trials) == 6
    complete = [trial for trial in study.trials if trial.value is not None]
    assert len(complete) >= 2
    # rl_zoo3 takes trial 0 for no trial.
    trial = max(complete, key=lambda trial: trial.number)
    budget = ("--n-timesteps", "2000", "--eval-freq", "-1", "--seed", "0")
    trial_id = ("--trial-id", str(trial.number), "--log-folder", "again")
    run("train", tuned, *actor_critic(*budget, *STUDY, *trial_id))
    path = tuned / "again" / "actor_critic" / f"{ENV}_1" / f"{ENV}.zip"
    model = ActorCritic.load(path)
    for name in ("ent_coef", "vf_coef", "max_grad_norm", "gae_lambda"):
        assert getattr(model, name) == trial.params[name]
    assert model.lr_schedule(1) == trial.params["learning_rate"]
    assert model.gamma == 1 - trial.params["one_minus_gamma"]
    assert model.n_steps == 2 ** trial.params["n_steps_pow"]
    assert model.policy_kwargs["critic"] == trial.params["critic"]


def test_environments_in_subprocesses(trained: Path) -> None:
    budget = ("--n-timesteps", "400", "--eval-freq", "-1", "--seed", "0")
    workers = ("--vec-env", "subproc", "--log-folder", "apart")
    run("train", trained, *actor_critic(*budget, *workers))
    folder = trained / "apart" / "actor_critic" / f"{ENV}_1"
    assert (folder / f"{ENV}.zip").is_file()
    monitors = sorted(folder.glob("*.monitor.csv"))
    assert len(monitors) == 4
    assert json.loads(monitors[0].read_text().split("\n")[0][1:])["env_id"] == ENV
