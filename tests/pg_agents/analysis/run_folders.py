"""Run folders with chosen numbers, written without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_run(
    group: Path,
    seed: int,
    returns: Sequence[float],
    evaluation: Sequence[float] = (1.0,),
    lengths: Sequence[int] | None = None,
    env_id: str = "Nowhere-v0",
    **config: Any,
) -> Path:
    """Writes a finished run, each episode of which takes a second.

    Recipe and variant are those of the group's name, RECIPE-VARIANT, unless given.
    """
    folder = group / f"seed-{seed:04d}"
    folder.mkdir(parents=True)
    lengths = [10] * len(returns) if lengths is None else lengths
    recipe, _, variant = group.name.partition("-")
    rows = [
        f"{r},{n},{t}\n" for t, (r, n) in enumerate(zip(returns, lengths, strict=True))
    ]
    header = '#{"t_start": 1.0, "env_id": "None"}\nr,l,t\n'
    (folder / "monitor.csv").write_text(header + "".join(rows))
    files: dict[str, dict[str, Any]] = {
        "config": {
            "format": 1,
            "recipe": recipe,
            "variant": variant,
            "seed": seed,
            "settings": {"env_id": env_id},
        }
        | config,
        "evaluation": {
            "seed": 0,
            "returns": list(evaluation),
            "lengths": [1] * len(evaluation),
        },
        "result": {
            "mean_return": float(np.mean(evaluation)),
            "sd_return": float(np.std(evaluation)),
            "n_episodes": len(evaluation),
            "steps": sum(lengths),
            "episodes": len(returns),
            "wall_seconds": float(len(returns)),
            "finished_at": "2026-01-01T00:00:00+00:00",
            "resumed_at": [],
        },
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def write_learners(group: Path, n_runs: int, pace: float) -> Path:
    """Writes runs of CartPole that climb towards 500, some of which fall back."""
    rng = np.random.default_rng([n_runs, int(100 * pace)])
    for seed in range(n_runs):
        progress = pace * np.arange(400) / 400 * rng.uniform(0.7, 1.4)
        level = 20 + 480 * np.clip(progress, 0, 1)
        if seed % 3 == 0:
            level[300:360] *= 0.6
        noisy = np.clip(level * rng.uniform(0.8, 1.2, 400), 8, 500).round()
        evaluation = np.clip(level[-1] + rng.normal(0, 20, 20), 8, 500).round()
        write_run(
            group,
            seed,
            noisy.tolist(),
            evaluation.tolist(),
            noisy.astype(int).tolist(),
            env_id="CartPole-v1",
        )
    return group
