"""What a command says when its runs have ended."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.seeds import RunReport
from pg_agents.experiments.settings import RunConfig


def summarise(recipe: Recipe, config: RunConfig, reports: Sequence[RunReport]) -> str:
    """Returns the results of the runs, beside the notebook's figure.

    Args:
        recipe: the recipe.
        config: what was run, changes included.
        reports: of the runs; those that failed are counted.

    Returns:
        A few lines.
    """
    means = [r.result.mean_return for r in reports if r.result is not None]
    lines = [*_table(reports), ""] if means else []
    found = overall(means) if means else "no run has finished"
    lines.append(f"{config.name}: {found}")
    lines.append(f"notebook: {recipe.reported.text}")
    failed = len(reports) - len(means)
    if failed:
        lines.append(f"{failed} of {len(reports)} runs failed")
    return "\n".join(lines)


def _table(reports: Sequence[RunReport]) -> list[str]:
    lines = [f"{'seed':>6}  {'return':>18}  {'steps':>10}  {'episodes':>8}  {'s':>8}"]
    for report in reports:
        if report.result is not None:
            each = report.result
            scored = f"{each.mean_return:.4g} ± {each.sd_return:.3g}"
            lines.append(
                f"{report.seed:>6}  {scored:>18}  {each.steps:>10}  "
                f"{each.episodes:>8}  {each.wall_seconds:>8.1f}"
            )
    return lines


def overall(means: Sequence[float]) -> str:
    """Returns one figure for the mean returns of several runs, at least one."""
    if len(means) == 1:
        return f"{means[0]:.4g}, of 1 seed"
    spread = statistics.stdev(means)
    return f"{statistics.fmean(means):.4g} ± {spread:.3g} over {len(means)} seeds"
