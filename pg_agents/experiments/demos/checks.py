"""Demos that check: known values, an evaluation repeated, a checkpoint compared."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from pg_agents.callbacks.checkpoint import checkpoint_content
from pg_agents.common.files import write_whole
from pg_agents.experiments import demos
from pg_agents.experiments.building import (
    algorithm_class,
    make_model,
    make_training_env,
)
from pg_agents.experiments.demos import DemoRequest, DemoResult
from pg_agents.experiments.recipes import find_recipe
from pg_agents.experiments.run import EpisodeLog, progress_of
from pg_agents.experiments.run import evaluate as evaluate_run
from pg_agents.experiments.settings import Settings
from pg_agents.learning.losses import policy_gradient_loss
from pg_agents.learning.returns import reward_to_go

# Values that a notebook prints, in single precision.
KNOWN_VALUES: dict[str, tuple[float, ...]] = {
    "weighted log-probability": (-22.314354,),
    "returns": (9.801496, 8.8904, 6.96, 4.0),
    "policy-gradient loss": (3.1326165,),
}
# Single precision has 24 bits, and each value is the sum of a few numbers.
_TOLERANCE = 1e-6


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
    """Prints each value beside the notebook's; passes if all are equal."""
    lines, passed = [], True
    for name, ours in computed_values().items():
        reported = KNOWN_VALUES[name]
        equal = np.allclose(ours, reported, rtol=_TOLERANCE, atol=0.0)
        passed = passed and equal
        verdict = "equal" if equal else "**different**"
        lines.append(f"{name}: {_text(ours)}; notebook {_text(reported)}: {verdict}")
    return DemoResult(tuple(lines), passed)


def evaluate(request: DemoRequest) -> DemoResult:
    """Evaluates a run again; passes if the episodes are those after its training."""
    folder = demos.trained_run(request)
    record = evaluate_run(folder)
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
    if settings is None:
        notebook = find_recipe("cartpole-policy-network").config("notebook").settings
        settings = replace(notebook, episodes=1000)
    assert settings.episodes is not None
    stops = sorted({*range(every, settings.episodes, every), settings.episodes})
    env = make_training_env(settings)
    lines, passed = [], True
    try:
        model = make_model(settings, env, request.seed)
        for n_episodes in stops:
            _train_until(model, replace(settings, episodes=n_episodes))
            path = request.folder / f"model_{n_episodes}_episodes.zip"
            write_whole(path, checkpoint_content(model), "zip")
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
    finally:
        env.close()
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
    return [name for name in left if not _equal(left[name], right[name])]


def _train_until(model: BaseAlgorithm, settings: Settings) -> None:
    """Trains until the model has had the episodes of the settings."""
    with tempfile.TemporaryDirectory() as folder:
        log = EpisodeLog(Path(folder) / "monitor.csv", settings)
        try:
            demos.learn_until_stopped(model, [log])
        finally:
            log.close()


def _equal(left: Any, right: Any) -> bool:  # noqa: ANN401
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            _equal(left[name], right[name]) for name in left
        )
    return bool(left == right)


def _text(values: tuple[float, ...]) -> str:
    texts = [f"{value:.8g}" for value in values]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
