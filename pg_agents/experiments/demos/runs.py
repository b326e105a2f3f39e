"""Demos of trained runs: watched, filmed, evaluated on the way, drawn, on a GPU."""

from __future__ import annotations

import base64
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.wrappers import RecordVideo
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents.analysis import learning_curves, read_group
from pg_agents.analysis.plots import plot_curve_bands, save_figure
from pg_agents.callbacks import ProgressCallback, StopOnInterrupt, StopWhenSolved
from pg_agents.callbacks.checkpoint import checkpoint_content
from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.common.files import write_whole
from pg_agents.experiments import demos
from pg_agents.experiments.building import derived_seed, make_model, make_training_env
from pg_agents.experiments.demos import DemoRequest, DemoResult
from pg_agents.experiments.recipes import find_recipe
from pg_agents.experiments.run import run_one
from pg_agents.experiments.settings import RunConfig, Settings, require_extra
from pg_agents.experiments.viewer import has_screen, record, watch

_EVALUATOR_SEED = 3
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>{image}</body>
</html>
"""


def watch_trained(request: DemoRequest) -> DemoResult:
    """Shows an episode in a window, or records it where there is no screen."""
    folder = demos.trained_run(request)
    returns: list[float] = []
    if has_screen():
        completed = watch(folder, 1, returns.append)
        outcome = "watched" if completed else "the window was closed"
    else:
        film = request.folder / "episode.gif"
        record(folder, film, 1, returns.append)
        outcome = f"no screen here, so {film.relative_to(request.out)} was recorded"
    result = f", return {returns[0]:.4g}" if returns else ""
    return DemoResult((f"{folder.config.name}, seed {folder.seed}: {outcome}{result}",))


def notebook_view(request: DemoRequest) -> DemoResult:
    """Films an episode, and shows it in a notebook or writes an HTML page."""
    folder = demos.trained_run(request)
    returns: list[float] = []
    film = request.folder / "episode.gif"
    record(folder, film, 1, returns.append)
    data = base64.b64encode(film.read_bytes()).decode()
    image = f'<img alt="{film.stem}" src="data:image/gif;base64,{data}">'
    page = request.folder / "episode.html"
    title = f"{folder.config.name}, seed {folder.seed}"
    write_whole(page, _PAGE.format(title=title, image=image).encode(), "html")
    if in_notebook():
        display: Any = importlib.import_module("IPython.display")
        display.display(display.HTML(image))
        where = "shown in the notebook"
    else:
        where = f"{page.relative_to(request.out)} is to be opened in a browser"
    return DemoResult((f"an episode with a return of {returns[0]:.4g}: {where}",))


def in_notebook() -> bool:
    """Whether this runs in an IPython that can show pictures."""
    if importlib.util.find_spec("IPython") is None:
        return False
    ipython: Any = importlib.import_module("IPython")
    shell = ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def gpu(request: DemoRequest) -> DemoResult:
    """Trains on cuda, environments included, if there is a device."""
    if not torch.cuda.is_available():
        line = "there is no CUDA device here, so nothing was trained"
        return DemoResult((line,), passed=None)
    return train_on("cuda", request, demos.trained_config())


def train_on(device: str, request: DemoRequest, config: RunConfig) -> DemoResult:
    """Trains on a device, with torch environments on it."""
    changed = config.changed({"device": device, "vectorization": "torch"})
    result = run_one(changed, request.seed, request.folder).result()
    line = (
        f"{config.name} on {device}: return {result.mean_return:.4g} after "
        f"{result.steps} steps"
    )
    return DemoResult((line,))


def learning_curve(
    request: DemoRequest, settings: Settings | None = None, n_seeds: int = 3
) -> DemoResult:
    """Draws episode return against episode, over seeds.

    Args:
        request: the request.
        settings: of the runs; None for 150 episodes of reinforce-128.
        n_seeds: number of runs.
    """
    config = find_recipe("reinforce-128").config("notebook").changed({"episodes": 150})
    if settings is not None:
        config = replace(config, settings=settings)
    for seed in range(request.seed, request.seed + n_seeds):
        run_one(config, seed, request.folder)
    group = read_group(request.folder / config.name)
    curves = {group.name: learning_curves(group, "episodes", 10)}
    figure = plot_curve_bands(curves, "Episodes", "Return (mean of 10 episodes)")
    path = request.folder / "learning_curve.png"
    save_figure(figure, path)
    return DemoResult((f"{path.relative_to(request.out)}: {n_seeds} seeds",))


def solved_stop(request: DemoRequest, settings: Settings | None = None) -> DemoResult:
    """Trains with a progress bar until solved, or out of episodes, or Ctrl-C.

    Args:
        request: the request.
        settings: of the training; None for cartpole-policy-network.
    """
    if settings is None:
        settings = find_recipe("cartpole-policy-network").config("notebook").settings
    assert settings.episodes is not None
    stop, interrupt = StopWhenSolved(), StopOnInterrupt()
    progress = ProgressCallback(episodes=settings.episodes)
    last = StopTrainingOnMaxEpisodes(settings.episodes)
    env = make_training_env(settings)
    try:
        model = make_model(settings, env, request.seed)
        demos.learn_until_stopped(model, [progress, stop, interrupt, last])
    finally:
        env.close()
    path = request.folder / "model.zip"
    write_whole(path, checkpoint_content(model), "zip")
    outcome = "solved" if stop.solved else "not solved"
    outcome = "stopped by Ctrl-C" if interrupt.interrupted else outcome
    line = (
        f"{outcome} after {stop.n_episodes} episodes ({model.num_timesteps} steps) at "
        f"a running reward of {stop.running_reward:.4g}; the model is kept"
    )
    return DemoResult((line,), None if interrupt.interrupted else stop.solved)


def periodic_evaluator(
    request: DemoRequest,
    settings: Settings | None = None,
    every: int = 100,
    n_episodes: int = 8,
) -> DemoResult:
    """Trains, evaluates on the way, and films the evaluations.

    Args:
        request: the request.
        settings: of the training; None for 300 episodes of reinforce-memory.
        every: episodes between two evaluations, and between two films of training.
        n_episodes: number of episodes of an evaluation.
    """
    if settings is None:
        config = find_recipe("reinforce-memory").config()
        settings = config.changed({"episodes": 300}).settings
    assert settings.episodes is not None
    try:
        require_extra("video", "a film")
        films: Path | None = request.folder / f"films-seed-{request.seed}"
        filmed = ""
    except ModuleNotFoundError as error:
        films, filmed = None, f"no films: {error}"
    evaluator = PeriodicEvaluator(
        # SB3 starts another episode after the last one.
        lambda trained: film_env(
            settings, films, f"after-{trained}", lambda n: n < n_episodes
        ),
        every,
        n_episodes,
        settings.episodes,
        derived_seed(request.seed, _EVALUATOR_SEED),
    )
    training_env = film_env(settings, films, "training", lambda n: n % every == 0)
    env = DummyVecEnv([lambda: Monitor(training_env)])
    try:
        demos.learn_until_stopped(make_model(settings, env, request.seed), [evaluator])
    finally:
        env.close()
    means = [f"{mean:.4g} at {trained}" for trained, mean in evaluator.means.items()]
    if films is not None:
        n_films = len(list(films.glob("*.mp4")))
        filmed = f"{n_films} films in {films.relative_to(request.out)}"
    return DemoResult(
        (f"mean of {n_episodes} episodes: {', '.join(means)} episodes", filmed)
    )


class PeriodicEvaluator(BaseCallback):
    """Evaluates the policy after every so many episodes, with its likeliest actions.

    The training is the same as without it: no generator of the training is used.

    Args:
        make_env: function of the number of episodes trained so far that returns the
            environment of an evaluation.
        every: episodes of training between two evaluations.
        n_episodes: number of episodes of an evaluation.
        last: episodes after which the training ends.
        seed: seed of the evaluations' environments.

    Attributes:
        means: mean return of each evaluation, by the episodes trained before it.
    """

    def __init__(
        self,
        make_env: Callable[[int], gymnasium.Env[Any, Any]],
        every: int,
        n_episodes: int,
        last: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.make_env, self.every, self.n_episodes = make_env, every, n_episodes
        self.last, self.seed = last, seed
        self.means: dict[int, float] = {}
        self._n_trained = 0

    def _on_rollout_start(self) -> None:
        if self._n_trained and self._n_trained % self.every == 0:
            self._evaluate()

    def _on_step(self) -> bool:
        self._n_trained += len(finished_episodes(self.locals))
        return self._n_trained < self.last

    def _on_training_end(self) -> None:
        self._evaluate()

    def _evaluate(self) -> None:
        env = DummyVecEnv([lambda: Monitor(self.make_env(self._n_trained))])
        env.seed(self.seed)
        try:
            mean, _ = evaluate_policy(self.model, env, self.n_episodes)
        finally:
            env.close()
        assert isinstance(mean, float)
        self.means[self._n_trained] = float(mean)


def film_env(
    settings: Settings,
    films: Path | None,
    name: str,
    is_filmed: Callable[[int], bool],
) -> gymnasium.Env[Any, Any]:
    """Returns an environment that films the episodes that `is_filmed` selects."""
    kwargs = dict(settings.env_kwargs)
    if films is None:
        return gymnasium.make(settings.env_id, **kwargs)
    env = gymnasium.make(settings.env_id, render_mode="rgb_array", **kwargs)
    # RecordVideo warns if the folder exists; here all films share one.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RecordVideo(
            env, str(films), is_filmed, name_prefix=name, disable_logger=True
        )
