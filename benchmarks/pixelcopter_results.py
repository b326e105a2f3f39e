"""Summarises runs of pixelcopter-mc; writes docs/results/pixelcopter-mc-best.json.

pgtoy run pixelcopter-mc --variant best --seeds 5 --out out
python benchmarks/pixelcopter_results.py out/pixelcopter-mc-best
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from pg_agents.experiments import RunFolder
from pg_agents.statistics import interquartile_mean, stratified_bootstrap_interval

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
# In the course's environment a crash costs 1, in the original game 5.
COURSE_GAIN = 4.0


def summary_of(run: RunFolder) -> dict[str, Any]:
    """Returns what is kept of a finished run.

    Raises:
        DamagedRunError: (a ValueError) if it has not finished, or is damaged.
    """
    result, record = run.check(), run.evaluation()
    limit = run.config.settings.evaluation.env_kwargs["max_episode_steps"]
    returns, lengths = np.array(record.returns), np.array(record.lengths)
    crashed = lengths < limit
    in_course = returns + COURSE_GAIN * crashed
    p10, p50, p90 = np.percentile(returns, (10, 50, 90))
    return {
        "seed": run.seed,
        "mean_return": float(returns.mean()),
        "sd_return": float(returns.std()),
        "p10": float(p10),
        "p50": float(p50),
        "p90": float(p90),
        "mean_return_course": float(in_course.mean()),
        "p10_course": float(np.percentile(in_course, 10)),
        "n_episodes": len(returns),
        "cut_off": int((~crashed).sum()),
        "steps": result.steps,
        "episodes": result.episodes,
        "wall_seconds": result.wall_seconds,
        "versions": json.loads((run.path / "versions.json").read_bytes()),
    }


def summarise(runs: list[RunFolder]) -> dict[str, Any]:
    """Returns what is kept of finished runs of one config, at least one."""
    config = runs[0].config
    each = [summary_of(run) for run in runs]
    versions = each[0]["versions"]
    if any(one.pop("versions") != versions for one in each):
        raise ValueError("the runs are of different versions of the libraries")
    means = [one["mean_return"] for one in each]
    interval = stratified_bootstrap_interval(means)
    seeds = " ".join(str(run.seed) for run in runs)
    chosen = f"--seeds {seeds}" if len(runs) > 1 else f"--seed {seeds}"
    return {
        "recipe": config.recipe,
        "variant": config.variant,
        "seeds": [run.seed for run in runs],
        "interquartile_mean": float(interquartile_mean(means)),
        "interval": [interval.low, interval.high],
        "max_episode_steps": config.settings.evaluation.env_kwargs["max_episode_steps"],
        "runs": each,
        "versions": versions,
        "command": f"pgtoy run {config.recipe} --variant {config.variant} {chosen}",
    }


def main() -> None:
    """Writes the summary of the runs in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="such as out/pixelcopter-mc-best")
    parser.add_argument("--to", type=Path, default=RESULTS, help="folder (%(default)s)")
    options = parser.parse_args()
    paths = sorted(path.parent for path in options.folder.glob("seed-*/result.json"))
    if not paths:
        parser.error(f"there is no finished run in {options.folder}")
    runs = [RunFolder(path) for path in paths]
    for run in runs[1:]:
        run.check_is(runs[0].config, run.seed)
    options.to.mkdir(parents=True, exist_ok=True)
    path = options.to / f"{options.folder.resolve().name}.json"
    path.write_text(json.dumps(summarise(runs), indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()
