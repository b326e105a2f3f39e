"""Folders of runs that were never run, with whatever numbers a test needs."""

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
    **config: Any,
) -> Path:
    """Writes a finished run, an episode a second long."""
    folder = group / f"seed-{seed:04d}"
    folder.mkdir(parents=True)
    lengths = [10] * len(returns) if lengths is None else lengths
    recipe, _, variant = group.name.partition("-")
    settings = {"recipe": recipe, "variant": variant, "seed": seed} | config
    (folder / "config.json").write_text(json.dumps(settings))
    rows = [
        f"{r},{n},{t}\n" for t, (r, n) in enumerate(zip(returns, lengths, strict=True))
    ]
    head = '#{"t_start": 1.0, "env_id": "None"}\nr,l,t\n'
    (folder / "monitor.csv").write_text(head + "".join(rows))
    content: dict[str, Any] = {
        "returns": list(evaluation),
        "lengths": [1] * len(evaluation),
    }
    (folder / "evaluation.json").write_text(json.dumps(content))
    result = {"mean_return": float(np.mean(evaluation)), "timesteps": sum(lengths)}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def write_learners(
    group: Path, n_runs: int, pace: float, threshold: float | None = 475.0
) -> Path:
    """Writes runs that climb towards 500 like CartPole's, some of which fall back."""
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
            threshold=threshold,
        )
    return group
