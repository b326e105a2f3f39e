"""The models that come with the package: whole, safe to load, and good."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from stable_baselines3.common.running_mean_std import RunningMeanStd

from pg_agents.cli.main import main
from pg_agents.experiments import DamagedRunError, RunFolder, find_recipe, run_one
from pg_agents.experiments import pretrained as pretrained_module
from pg_agents.experiments.building import make_evaluation_env
from pg_agents.experiments.pretrained import (
    MAX_BYTES,
    PretrainedRun,
    find_pretrained,
    write_pretrained,
)
from pg_envs import PixelcopterVectorEnv
from tests.pg_agents.experiments.tiny import tiny

FOLDER = Path(pretrained_module.__file__).with_name("pretrained")
# The slow tests run where all extras are installed.
ALL = [
    pytest.param(name, marks=[pytest.mark.slow] if find_recipe(name).extra else [])
    for name in sorted(path.name for path in FOLDER.iterdir())
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_one(tiny(), 1, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", ALL)
def test_each_is_small_has_the_recipe_s_settings_and_unpickles_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained = find_pretrained(name)
    assert pretrained is not None and pretrained.config.recipe == name
    assert sum(path.stat().st_size for path in pretrained.path.iterdir()) <= MAX_BYTES
    assert pretrained.config == find_recipe(name).config(pretrained.config.variant)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    for module, reader in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
        monkeypatch.setattr(module, reader, refuse)
    pretrained.load_model()


def test_most_flights_of_the_pixelcopter_pass_250_steps() -> None:
    """Random flights end after 7 steps.

    Of 800 other flights 93.6 % passed them: the standard error of 200 is 1.7 %, and
    85 % is five of them below, once in three million draws.
    """
    pretrained = find_pretrained("pixelcopter-mc")
    assert pretrained is not None
    model = pretrained.load_model()
    env = PixelcopterVectorEnv(200, autoreset_mode="SameStep")
    obs, _ = env.reset(seed=7)
    flying = np.ones(200, bool)
    for _ in range(250):
        actions, _ = model.predict(obs, deterministic=True)
        obs, _, terminated, _, _ = env.step(actions)
        flying &= ~terminated
    assert flying.mean() > 0.85


def test_it_has_the_weights_of_the_run(run: RunFolder, tmp_path: Path) -> None:
    pretrained = write_pretrained(run, tmp_path)
    assert pretrained.path == tmp_path / "tiny"
    assert (pretrained.config, pretrained.seed) == (run.config, run.seed)
    assert pretrained.result() == run.result()
    assert not (pretrained.path / "model.zip").exists()
    weights = pretrained.load_model().policy.state_dict()
    expected = run.load_model().policy.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


def test_it_has_the_observation_statistics_of_the_run_and_no_critic(
    tmp_path: Path,
) -> None:
    settings = {"normalize": {"norm_reward": False}, "algorithm": "ActorCritic"}
    run = run_one(tiny(**settings), 1, tmp_path / "n")
    pretrained = write_pretrained(run, tmp_path)
    ours, theirs = (
        folder.load_model(make_evaluation_env(run.config.settings, 0))
        for folder in (pretrained, run)
    )
    envs = [model.get_vec_normalize_env() for model in (ours, theirs)]
    moments: list[Any] = []
    for env in envs:
        assert env is not None and isinstance(env.obs_rms, RunningMeanStd)
        moments.append((env.obs_rms.mean, env.obs_rms.var))
    assert moments[0] == moments[1] != (0.0, 1.0)
    for name, tensor in ours.policy.state_dict().items():
        equal = torch.equal(tensor, theirs.policy.state_dict()[name])
        assert equal == ("value" not in name) or not tensor.any(), name
    (pretrained.path / "observations.safetensors").unlink()
    message = r"observations\.safetensors can't be loaded"
    with pytest.raises(DamagedRunError, match=message):
        pretrained.load_model()


def test_one_that_cannot_be_made_leaves_nothing(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "pretrained"
    unfinished = RunFolder.create(tmp_path / "a", tiny(), 1)
    with pytest.raises(DamagedRunError, match=r"result\.json is missing"):
        write_pretrained(unfinished, root)
    with monkeypatch.context() as patch:
        patch.setattr(pretrained_module, "MAX_BYTES", 100)
        with pytest.raises(ValueError, match="may have 100 bytes, and this one has "):
            write_pretrained(run, root)
    assert not root.exists() or list(root.iterdir()) == []
    write_pretrained(run, root)
    with pytest.raises(FileExistsError):
        write_pretrained(run, root)
    assert PretrainedRun(root / "tiny").seed == 1


def test_damaged_weights_raise(run: RunFolder, tmp_path: Path) -> None:
    pretrained = write_pretrained(run, tmp_path)
    weights = pretrained.path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(DamagedRunError, match=r"weights\.safetensors can't be loaded"):
        pretrained.load_model()
    # A pickle under that name is not unpickled.
    shutil.copy(run.path / "model.zip", weights)
    with pytest.raises(DamagedRunError, match="can't be loaded"):
        pretrained.load_model()
    weights.unlink()
    with pytest.raises(DamagedRunError, match="there is no file"):
        pretrained.load_model()


def test_a_pretrained_model_is_found_by_recipe_and_variant() -> None:
    assert find_pretrained("pixelcopter-mc", "best") is not None
    assert find_pretrained("pixelcopter-mc", "notebook") is None
    assert find_pretrained("random-baseline") is None


def test_the_commands_show_it_unless_there_is_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film, options = tmp_path / "film.gif", ["--out", str(tmp_path), "--steps", "9"]
    command = ["record", "pixelcopter-mc", "--to", str(film), *options]
    assert main(command) == 0
    assert (
        f"no finished run of pixelcopter-mc in {tmp_path}: these are the weights that "
        "come with pgtoy, of the variant best" in capsys.readouterr().out
    )
    with Image.open(film) as frames:
        # After 0, 2, 4, 6, 8 and 9 steps.
        assert len(list(ImageSequence.Iterator(frames))) == 6
    # A seed, or a variant that has no pretrained model, asks for a run.
    for other in (["--seed", "0"], ["--variant", "notebook"]):
        assert main([*command, *other]) == 2
        assert "there is no finished run" in capsys.readouterr().err
