"""Rows about trained runs: evaluated, watched, on a GPU, drawn, stopped in time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from stable_baselines3.common.callbacks import StopTrainingOnMaxEpisodes

from pg_agents.analysis import read_group
from pg_agents.analysis.plots import plot_curve_bands, save_figure
from pg_agents.analysis.plots.group_curves import curves_of
from pg_agents.callbacks import ProgressCallback, StopOnInterrupt, StopWhenSolved
from pg_agents.callbacks.checkpoint import checkpoint_content
from pg_agents.common.files import write_whole
from pg_agents.experiments.building import make_model, make_training_env
from pg_agents.experiments.catalogue import find_recipe
from pg_agents.experiments.evaluating import evaluate as evaluate_again
from pg_agents.experiments.run import run_one
from pg_agents.experiments.settings import RunConfig, Settings
from pg_agents.experiments.showing import Shown, ShowRequest
from pg_agents.experiments.shows.parts import (
    learn_quietly,
    trained_config,
    trained_run,
)
from pg_agents.experiments.watching import has_screen, record, watch


def evaluate(request: ShowRequest) -> Shown:
    """Mean and standard deviation of a run's returns; passes if they come again."""
    folder = trained_run(request)
    record = evaluate_again(folder)
    returns = np.array(record.returns)
    same = record == folder.evaluation()
    again = "the same episodes as" if same else "**other episodes than**"
    return Shown(
        (
            f"{folder.config.name}, seed {folder.seed}: return {returns.mean():.4g} ± "
            f"{returns.std():.3g} over {len(returns)} episodes, {again} after training",
        ),
        same,
    )


def watch_trained(request: ShowRequest) -> Shown:
    """A window if there is a screen, a film if not."""
    folder = trained_run(request)
    returns: list[float] = []
    if has_screen():
        whole = watch(folder, 1, returns.append)
        where = "watched" if whole else "the window was closed"
    else:
        film = request.folder / "episode.gif"
        record(folder, film, 1, returns.append)
        where = f"no screen here, so {film.relative_to(request.out)} was recorded"
    said = f", return {returns[0]:.4g}" if returns else ""
    return Shown((f"{folder.config.name}, seed {folder.seed}: {where}{said}",))


def gpu(request: ShowRequest) -> Shown:
    """Trains on cuda, environments included; says so if there is none."""
    if not torch.cuda.is_available():
        return Shown(
            ("there is no CUDA device here, so nothing was trained",), passed=None
        )
    return train_on("cuda", request, trained_config())


def train_on(device: str, request: ShowRequest, config: RunConfig) -> Shown:
    """Trains on a device with environments of tensors there; passes if solved."""
    changed = config.changed({"device": device, "vectorization": "torch"})
    folder = run_one(changed, request.seed, request.folder)
    result = folder.result()
    return Shown(
        (
            f"{config.name} on {device}: return {result.mean_return:.4g} after "
            f"{result.steps} steps",
        ),
    )


def learning_curve(
    request: ShowRequest, settings: Settings | None = None, n_seeds: int = 3
) -> Shown:
    """Episode return against episode, over seeds.

    Args:
        request: of the command.
        settings: of the runs; None for 150 episodes of row reinforce-128.
        n_seeds: how many runs.
    """
    config = find_recipe("reinforce-128").config("notebook").changed({"episodes": 150})
    if settings is not None:
        config = replace(config, settings=settings)
    seeds = range(request.seed, request.seed + n_seeds)
    for seed in seeds:
        run_one(config, seed, request.folder)
    group = read_group(request.folder / config.name)
    curves = {group.name: curves_of(group, "episodes", 10)}
    figure = plot_curve_bands(curves, "Episodes", "Return (mean of 10 episodes)")
    path = request.folder / "learning_curve.png"
    save_figure(figure, path)
    return Shown((f"{path.relative_to(request.out)}: {n_seeds} seeds",))


def solved_stop(request: ShowRequest, settings: Settings | None = None) -> Shown:
    """Trains with a progress bar until solved, or its episodes are over, or Ctrl-C.

    The model is kept.

    Args:
        request: of the command.
        settings: of the training; None for row cartpole-policy-network.
    """
    if settings is None:
        settings = find_recipe("cartpole-policy-network").config("notebook").settings
    assert settings.episodes is not None, "the notebook counts episodes"
    stop, interrupt = StopWhenSolved(), StopOnInterrupt()
    progress = ProgressCallback(episodes=settings.episodes)
    last = StopTrainingOnMaxEpisodes(settings.episodes)
    env = make_training_env(settings)
    try:
        model = make_model(settings, env, request.seed)
        learn_quietly(model, [progress, stop, interrupt, last])
    finally:
        env.close()
    path = request.folder / "model.zip"
    write_whole(path, checkpoint_content(model), "zip")
    how = "solved" if stop.solved else "not solved"
    how = "stopped by Ctrl-C" if interrupt.interrupted else how
    return Shown(
        (
            f"{how} after {stop.n_episodes} episodes ({model.num_timesteps} steps) at "
            f"a running reward of {stop.running_reward:.4g}; the model is kept",
        ),
        None if interrupt.interrupted else stop.solved,
    )
