"""Recipes that show or check something: functions of a `DemoRequest`."""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import RecordVideo
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents.analysis import learning_curves, read_group
from pg_agents.analysis.plots import plot_curve_bands, save_figure
from pg_agents.callbacks import ProgressCallback, StopOnInterrupt, StopWhenSolved
from pg_agents.callbacks.checkpoint import checkpoint_content
from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.checkpoint.archive import versions
from pg_agents.common.files import write_file
from pg_agents.experiments.building import (
    algorithm_class,
    derived_seed,
    load_function,
    make_model,
    make_training_env,
)
from pg_agents.experiments.folder import RunFolder, write_json
from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.recipes import find_recipe
from pg_agents.experiments.run import (
    NO_LIMIT,
    EpisodeLog,
    evaluate,
    learn,
    progress_of,
    run_one,
)
from pg_agents.experiments.settings import RunConfig, Settings, require_extra
from pg_agents.experiments.viewer import find_run, record, watch
from pg_agents.learning.losses import policy_gradient_loss
from pg_agents.learning.returns import reward_to_go
from pg_agents.live.film import Film
from pg_agents.live.screen import shows_windows
from pg_agents.live.view import LiveView

# Values that the source of the recipe prints, in single precision.
KNOWN_VALUES: dict[str, tuple[float, ...]] = {
    "weighted log-probability": (-22.314354,),
    "returns": (9.801496, 8.8904, 6.96, 4.0),
    "policy-gradient loss": (3.1326165,),
}
# Single precision has 24 bits, and each value is the sum of a few numbers.
_TOLERANCE = 1e-6
_EVALUATOR_SEED = 3
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>{image}</body>
</html>
"""


@dataclass(frozen=True)
class DemoRequest:
    """Argument of a recipe's `demo` function.

    Attributes:
        recipe: name of the recipe.
        out: the folder of all runs.
        seed: seed of everything random.
        view: shows the training; None for none.
    """

    recipe: str
    out: Path
    seed: int = 0
    view: LiveView | None = None

    @property
    def views(self) -> list[BaseCallback]:
        """The view as callbacks of `learn`, none or one."""
        return [] if self.view is None else [self.view]

    @property
    def folder(self) -> Path:
        """Folder for the demo's files, which it creates."""
        path = self.out / self.recipe
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class DemoResult:
    """Outcome of a demo.

    Attributes:
        lines: what it found, to be printed and to be shown in the results page.
        passed: whether that is as it should be; None if it could not be checked here.
    """

    lines: tuple[str, ...]
    passed: bool | None = True


@dataclass(frozen=True)
class DemoRecord:
    """A `DemoResult` as stored in ``demo.json``, for the results page.

    Attributes:
        recipe: name of the recipe.
        seed: seed of the demo.
        lines: see `DemoResult`.
        passed: see `DemoResult`.
        wall_seconds: duration in seconds.
        versions: versions of Python and the libraries.
    """

    recipe: str
    seed: int
    lines: list[str]
    passed: bool | None
    wall_seconds: float
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """Writes the record atomically."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Returns the record that `write` has written.

        Raises:
            ValueError: if the file is damaged, or is no record of a demo.
        """
        try:
            data: Any = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} is truncated or damaged: {error}") from error
        if not isinstance(data, dict) or set(data) != {f.name for f in fields(cls)}:
            raise ValueError(f"{path} is no record of a demo")
        return cls(**data)


def run_demo(
    recipe: Recipe, out: Path, seed: int, view: LiveView | None = None
) -> DemoRecord:
    """Runs a recipe's demo, and stores its record as ``OUT/RECIPE/demo.json``.

    Args:
        recipe: the recipe.
        out: the folder of all runs.
        seed: seed of everything random.
        view: shows the training of a demo that trains.

    Raises:
        ValueError: if the recipe has no demo.
    """
    if recipe.demo is None:
        raise ValueError(f"recipe {recipe.name} has no demo: it is trained")
    request = DemoRequest(recipe.name, out, seed, view)
    began = time.monotonic()
    result: DemoResult = load_function(recipe.demo)(request)
    seconds = round(time.monotonic() - began, 1)
    record = DemoRecord(
        recipe.name, seed, list(result.lines), result.passed, seconds, versions()
    )
    record.write(request.folder / "demo.json")
    return record


def trained_config() -> RunConfig:
    """Returns the config of the demos' run: the fastest that solves CartPole."""
    return find_recipe("one-step-actor-critic").config("best")


def trained_run(request: DemoRequest) -> RunFolder:
    """Returns a finished run, and trains one if there is none."""
    config = trained_config()
    try:
        return find_run(config, request.out)
    except ValueError:
        print(f"There is no run of {config.name} in {request.out}: training one.")
        return run_one(config, request.seed, request.out, view=request.view)


def computed_values() -> dict[str, tuple[float, ...]]:
    """Returns the values of `KNOWN_VALUES` as the library computes them."""
    log_prob, reward = torch.tensor([0.8]).log(), torch.tensor([100.0])
    weighted = -policy_gradient_loss(log_prob, reward, 1)
    returns = reward_to_go(torch.tensor([1.0, 2.0, 3.0, 4.0]), 0.99)
    chosen = torch.log_softmax(torch.tensor([1.0, 2.0]), 0)[1:]
    loss = policy_gradient_loss(chosen, torch.tensor([10.0]), 1)
    values = ((weighted.item(),), tuple(returns.tolist()), (loss.item(),))
    return dict(zip(KNOWN_VALUES, values, strict=True))


def known_values(request: DemoRequest) -> DemoResult:
    """Prints each value beside the known one; passes if all are equal."""

    def text(values: tuple[float, ...]) -> str:
        texts = [f"{value:.8g}" for value in values]
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"

    lines, passed = [], True
    for name, ours in computed_values().items():
        reported = KNOWN_VALUES[name]
        equal = np.allclose(ours, reported, rtol=_TOLERANCE, atol=0.0)
        passed = passed and equal
        verdict = "equal" if equal else "**different**"
        lines.append(f"{name}: {text(ours)}; known {text(reported)}: {verdict}")
    return DemoResult(tuple(lines), passed)


def evaluate_again(request: DemoRequest) -> DemoResult:
    """Evaluates a run again; passes if the episodes are those after its training."""
    folder = trained_run(request)
    record = evaluate(folder)
    returns = np.array(record.returns)
    same = record == folder.evaluation()
    verdict = "the same episodes as" if same else "**other episodes than**"
    line = (
        f"{folder.config.name}, seed {folder.seed}: return {returns.mean():.4g} ± "
        f"{returns.std():.3g} over {len(returns)} episodes, {verdict} after training"
    )
    return DemoResult((line,), same)


def checkpoint(
    request: DemoRequest, settings: Settings | None = None, every: int = 1000
) -> DemoResult:
    """Trains CartPole, saves, loads and compares; passes if all is bit-identical.

    Args:
        request: the request.
        settings: of the training; None for 1,000 episodes of cartpole-policy-network.
        every: episodes between two files.
    """
    settings, n_last = _settings(settings, "cartpole-policy-network", 1000)
    lines, passed = [], True
    with closing(make_training_env(settings)) as env:
        model = make_model(settings, env, request.seed)
        for n_episodes in [*range(every, n_last, every), n_last]:
            log_path = request.folder / "monitor.csv"
            log = EpisodeLog(log_path, replace(settings, episodes=n_episodes))
            with closing(log):
                learn(model, NO_LIMIT, [log, *request.views])
            path = request.folder / f"model_{n_episodes}_episodes.zip"
            write_file(path, checkpoint_content(model))
            loaded = snapshot(algorithm_class(settings).load(path))
            differing = differences(snapshot(model), loaded)
            passed = passed and not differing
            verdict = (
                f"differ: **{', '.join(differing)}**" if differing else "are equal"
            )
            lines.append(
                f"{path.name}: weights, optimiser, number of episodes "
                f"({loaded['n_episodes']}) and running reward "
                f"({loaded['running_reward']:.4g}) {verdict}"
            )
    return DemoResult(tuple(lines), passed)


def snapshot(model: BaseAlgorithm) -> dict[str, Any]:
    """Returns what a checkpoint has to restore."""
    progress = progress_of(model)
    return {
        "weights": dict(model.policy.state_dict()),
        "optimizer": model.policy.optimizer.state_dict(),
        "n_episodes": progress.n_episodes,
        "running_reward": progress.running_reward.value,
    }


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """Returns the names of what is not bit-identical in two snapshots."""
    differing = []
    for name in left:
        try:
            torch.testing.assert_close(left[name], right[name], rtol=0, atol=0)
        except AssertionError:
            differing.append(name)
    return differing


def watch_trained(request: DemoRequest) -> DemoResult:
    """Shows an episode in a window, or records it where there is no screen."""
    folder = trained_run(request)
    returns: list[float] = []
    if shows_windows():
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
    folder = trained_run(request)
    returns: list[float] = []
    film = request.folder / "episode.gif"
    record(folder, film, 1, returns.append)
    title = f"{folder.config.name}, seed {folder.seed}"
    image = Film(film.read_bytes(), title)._repr_html_()
    page = request.folder / "episode.html"
    write_file(page, _PAGE.format(title=title, image=image).encode())
    # A notebook has imported it.
    ipython: Any = sys.modules.get("IPython")
    if ipython is not None and hasattr(ipython.get_ipython(), "kernel"):
        display = importlib.import_module("IPython.display")
        display.display(display.HTML(image))
        where = "shown in the notebook"
    else:
        where = f"{page.relative_to(request.out)} is to be opened in a browser"
    return DemoResult((f"an episode with a return of {returns[0]:.4g}: {where}",))


def gpu(request: DemoRequest) -> DemoResult:
    """Trains on cuda, environments included, if there is a device."""
    if not torch.cuda.is_available():
        line = "there is no CUDA device here, so nothing was trained"
        return DemoResult((line,), passed=None)
    return train_on("cuda", request, trained_config())


def train_on(device: str, request: DemoRequest, config: RunConfig) -> DemoResult:
    """Trains on a device, with torch environments on it."""
    changed = config.changed({"device": device, "vectorization": "torch"})
    folder = run_one(changed, request.seed, request.folder, view=request.view)
    result = folder.result()
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
    settings, _ = _settings(settings, "reinforce-128", 150)
    config = RunConfig("reinforce-128", "notebook", settings)
    for seed in range(request.seed, request.seed + n_seeds):
        run_one(config, seed, request.folder, view=request.view)
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
    settings, n_episodes = _settings(settings, "cartpole-policy-network")
    stop, interrupt = StopWhenSolved(), StopOnInterrupt()
    progress = ProgressCallback(episodes=n_episodes)
    last = StopTrainingOnMaxEpisodes(n_episodes)
    with closing(make_training_env(settings)) as env:
        model = make_model(settings, env, request.seed)
        callbacks = [progress, stop, interrupt, last, *request.views]
        learn(model, NO_LIMIT, callbacks)
    write_file(request.folder / "model.zip", checkpoint_content(model))
    outcome = "solved" if stop.solved else "not solved"
    was_stopped = interrupt.interrupted or (
        request.view is not None and request.view.quit_requested
    )
    outcome = "stopped by the user" if was_stopped else outcome
    line = (
        f"{outcome} after {stop.n_episodes} episodes ({model.num_timesteps} steps) at "
        f"a running reward of {stop.running_reward:.4g}; the model is kept"
    )
    return DemoResult((line,), None if was_stopped else stop.solved)


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
    settings, n_last = _settings(settings, "reinforce-memory", 300)
    try:
        require_extra("video", "a film")
        films: Path | None = request.folder / f"films-seed-{request.seed}"
        filmed = ""
    except ModuleNotFoundError as error:
        films, filmed = None, f"no films: {error}"
    means: dict[int, float] = {}

    def evaluate_after(n_trained: int, model: BaseAlgorithm) -> None:
        # SB3 starts another episode after the last one.
        eval_env = film_env(
            settings, films, f"after-{n_trained}", lambda n: n < n_episodes
        )
        with closing(DummyVecEnv([lambda: Monitor(eval_env)])) as env:
            env.seed(derived_seed(request.seed, _EVALUATOR_SEED))
            mean, _ = evaluate_policy(model, env, n_episodes)
        assert isinstance(mean, float)
        means[n_trained] = float(mean)

    training_env = film_env(settings, films, "training", lambda n: n % every == 0)
    with closing(DummyVecEnv([lambda: Monitor(training_env)])) as env:
        model = make_model(settings, env, request.seed)
        evaluator = EveryEpisodes(every, n_last, evaluate_after)
        learn(model, NO_LIMIT, [evaluator, *request.views])
    texts = [f"{mean:.4g} at {n_trained}" for n_trained, mean in means.items()]
    if films is not None:
        n_films = len(list(films.glob("*.mp4")))
        filmed = f"{n_films} films in {films.relative_to(request.out)}"
    return DemoResult(
        (f"mean of {n_episodes} episodes: {', '.join(texts)} episodes", filmed)
    )


class EveryEpisodes(BaseCallback):
    """Calls a function after every so many episodes, and ends after the last one.

    SB3's callbacks count steps. The function is called between two rollouts, so it does
    not change the training unless it changes the model or its environment.

    Args:
        every: episodes of training between two calls.
        last: episodes after which the training ends, with a call.
        function: gets the number of episodes trained so far and the model.
    """

    def __init__(
        self, every: int, last: int, function: Callable[[int, BaseAlgorithm], None]
    ) -> None:
        super().__init__()
        self.every, self.last, self.function = every, last, function
        self._n_trained = 0

    def _on_rollout_start(self) -> None:
        if self._n_trained and self._n_trained % self.every == 0:
            self.function(self._n_trained, self.model)

    def _on_step(self) -> bool:
        self._n_trained += len(finished_episodes(self.locals))
        return self._n_trained < self.last

    def _on_training_end(self) -> None:
        self.function(self._n_trained, self.model)


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


def _settings(
    settings: Settings | None, recipe: str, episodes: int | None = None
) -> tuple[Settings, int]:
    """Returns the settings, by default those of a notebook, and their episodes."""
    if settings is None:
        settings = find_recipe(recipe).config("notebook").settings
        if episodes is not None:
            settings = replace(settings, episodes=episodes)
    assert settings.episodes is not None
    return settings, settings.episodes
