"""What a command says when its runs have ended."""

from __future__ import annotations

from collections.abc import Sequence

from pg_agents.experiments.folder import RunFolder
from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.results import RunsSummary, summarise_runs
from pg_agents.experiments.seeds import RunReport
from pg_agents.experiments.settings import RunConfig

# How often the 95 % interval of a few seeds holds the truth, measured: see
# `pg_agents.analysis.stratified_bootstrap_interval`.
_COVERAGE = {3: 75, 5: 90, 10: 93, 20: 94}


def summarise(recipe: Recipe, config: RunConfig, reports: Sequence[RunReport]) -> str:
    """Returns the results of the runs, beside the notebook's figures.

    Args:
        recipe: the recipe.
        config: what was run, changes included.
        reports: of the runs; those that failed are counted.

    Returns:
        A few lines.
    """
    finished = [report for report in reports if report.result is not None]
    lines = []
    if finished:
        folders = [RunFolder(report.folder) for report in finished]
        lines = [*_table(finished), "", *say(recipe, summarise_runs(recipe, folders))]
    else:
        lines = [f"{config.name}: no run has finished"]
    lines.append(f"notebook: {recipe.reported.text}")
    failed = len(reports) - len(finished)
    if failed:
        lines.append(f"{failed} of {len(reports)} runs failed")
    return "\n".join(lines)


def say(recipe: Recipe, summary: RunsSummary) -> list[str]:
    """Returns a line for each figure."""
    n_seeds = len(summary.seeds)
    seeds = "1 seed" if n_seeds == 1 else f"interquartile means over {n_seeds} seeds"
    lines = [f"{summary.name}: {seeds}{coverage(n_seeds)}"]
    figures = summary.figures(recipe.reported)
    width = max(len(figure.what) for figure in figures)
    for figure in figures:
        said = str(figure).replace("**", "")
        lines.append(f"  {figure.what.ljust(width)}  {said}")
    if summary.solved is not None:
        lines.append(f"  solved by {summary.solved} of {n_seeds} evaluations")
    return lines


def coverage(n_seeds: int) -> str:
    """Says how good an interval of so many seeds is."""
    if n_seeds == 1:
        return ", so there is no interval"
    least = max((n for n in _COVERAGE if n <= n_seeds), default=None)
    if least is None:
        return "; their 95 % interval covers less than 75 %"
    return f"; their 95 % interval covers about {_COVERAGE[least]} %"


def _table(reports: Sequence[RunReport]) -> list[str]:
    lines = [f"{'seed':>6}  {'return':>18}  {'steps':>10}  {'episodes':>8}  {'s':>8}"]
    for report in reports:
        each = report.result
        assert each is not None, "those that failed are left out"
        scored = f"{each.mean_return:.4g} ± {each.sd_return:.3g}"
        lines.append(
            f"{report.seed:>6}  {scored:>18}  {each.steps:>10}  "
            f"{each.episodes:>8}  {each.wall_seconds:>8.1f}"
        )
    return lines
