"""Writes docs/results.md from the summaries in docs/results, and takes those from runs.

`make results` writes the page. `make results RUNS=runs` first takes the summaries from
the folder that `pgtoy run` has filled. Nothing is run, and no result is typed in: a row
without a summary says so.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.results_rows import NOTES, SECTIONS
from pg_agents.experiments import Recipe, RunFolder, recipes
from pg_agents.experiments.demos import DemoRecord
from pg_agents.experiments.results import RunsSummary, coverage, summarise_runs

SUMMARIES, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "results.md"
NOT_RUN = "not run yet"
_HEAD = """\
| row | the notebook reports | here | seeds | steps | wall time | command |
|---|---|---|---|---|---|---|"""
_INTRODUCTION = """\
# Results

Every row of the notebooks that this project replaces, beside what they report.
`make results` writes this page from the summaries in `docs/results/`, which
`make results RUNS=runs` takes from the folder that `pgtoy run` has filled.

A figure is the interquartile mean over seeds, with its 95 % bootstrap interval in
brackets; *evaluation* is the mean return of a trained policy that takes its likeliest
actions, *average of 10 at episode 100* that of training episodes 91 to 100. A figure of
a notebook is that of one run. Reached means that the interquartile mean is no lower.
Steps and wall time are the median over seeds: one thread of a machine that others used
too. What the notebooks get wrong is put right in every row but three, which make one
mistake each: *cartpole-policy-network, stepped-past* goes on beyond the time limit,
*cartpole-policy-network, probability* learns from the probability instead of its
logarithm, *reinforce-memory, rounded* from returns cast to integers. How far the
expected gradient is off is in [pitfalls.md](pitfalls.md).
"""


def extract(runs: Path, to: Path) -> list[str]:
    """Takes summaries from finished runs.

    Args:
        runs: the folder of all runs.
        to: where the summaries go.

    Returns:
        What was left out, and why.

    Raises:
        ValueError: if there is no such folder.
    """
    if not runs.is_dir():
        raise ValueError(f"there is no folder {runs}")
    to.mkdir(parents=True, exist_ok=True)
    left_out = []
    for group in sorted(path for path in runs.iterdir() if path.is_dir()):
        demo = group / "demo.json"
        if demo.exists():
            record = DemoRecord.read(demo)
            record.write(to / f"{record.recipe}.json")
            continue
        paths = sorted(group.glob("seed-*"))
        folders = [f for f in map(RunFolder, paths) if f.finished]
        recipe = recipes().get(folders[0].config.recipe) if folders else None
        if recipe is None:
            left_out.append(f"{group}: no finished run of a recipe")
            continue
        config = folders[0].config
        if config != recipe.config(config.variant):
            left_out.append(f"{group}: its settings are not those of the recipe")
            continue
        summarise_runs(recipe, folders).write(to)
    return left_out


def page(summaries: Path) -> str:
    """Returns the page.

    Args:
        summaries: the folder with a file for each row and variant that was run.

    Raises:
        ValueError: if a summary is damaged, or belongs to no row.
    """
    there = {path.stem for path in summaries.glob("*.json")}
    lines = [_INTRODUCTION]
    for heading, rows in SECTIONS.items():
        lines += [f"## {heading}", "", _HEAD]
        for row in rows:
            found = recipes().get(row)
            if found is None:
                lines.append(_line(row, "", NOT_RUN, f"pgtoy run {row}"))
                continue
            there -= {name for name, _ in _variants(found)}
            lines += _lines(found, summaries)
        lines.append("")
        lines += [f"**{row}**: {NOTES[row]}\n" for row in rows if row in NOTES]
    if there:
        raise ValueError(f"no row is called {sorted(there)[0]}, in {summaries}")
    return "\n".join(lines).rstrip() + "\n"


def _variants(recipe: Recipe) -> Iterator[tuple[str, str | None]]:
    """Names of a recipe's summaries, and the variants that they are of."""
    if recipe.demo is not None:
        yield recipe.name, None
    for variant in recipe.variants:
        yield recipe.config(variant).name, variant


def _lines(recipe: Recipe, summaries: Path) -> list[str]:
    lines = []
    for name, variant in _variants(recipe):
        path = summaries / f"{name}.json"
        first = variant in (None, next(iter(recipe.variants), None))
        label = recipe.name if first else f"{recipe.name}, {variant}"
        reported = recipe.reported.text if first else ""
        command = f"pgtoy run {recipe.name}"
        command += "" if first else f" --variant {variant}"
        if not path.exists():
            lines.append(_line(label, reported, NOT_RUN, command))
        elif variant is None:
            record = DemoRecord.read(path)
            lines.append(_demo_line(label, reported, record, command))
        else:
            summary = RunsSummary.read(path)
            lines.append(_run_line(label, recipe, reported, summary, command))
    return lines


def _run_line(
    label: str, recipe: Recipe, reported: str, summary: RunsSummary, command: str
) -> str:
    n_seeds = len(summary.seeds)
    if summary.settings != recipe.config(summary.variant).settings.to_json():
        raise ValueError(
            f"{summary.name} was run with other settings than its recipe has now: run "
            f"it again, or remove docs/results/{summary.name}.json"
        )
    said = [f"{m.name}: {m}" for m in summary.metrics(recipe.reported)]
    if summary.solved is not None:
        said.append(f"solved in {summary.solved} of {n_seeds} evaluations")
    seeds = f"{n_seeds}{coverage(n_seeds)}" if n_seeds < 10 else str(n_seeds)
    steps = f"{statistics.median(summary.steps):,.0f}"
    seconds = f"{statistics.median(summary.wall_seconds):,.0f} s"
    command += f" --seeds {n_seeds}"
    return _line(label, reported, "<br>".join(said), command, seeds, steps, seconds)


def _demo_line(label: str, reported: str, record: DemoRecord, command: str) -> str:
    verdict = {True: "", False: "**falls short**: ", None: "not measured here: "}
    said = verdict[record.passed] + "<br>".join(record.lines)
    return _line(label, reported, said, command, "", "", f"{record.wall_seconds:.0f} s")


def _line(label: str, reported: str, here: str, command: str, *measured: str) -> str:
    cells = measured or ("", "", "")
    row = (f"**{label}**", reported, here, *cells, f"`{command}`")
    return f"| {' | '.join(row)} |"


def main() -> None:
    """Takes summaries where that is asked for, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder of runs to summarise first")
    options = parser.parse_args()
    try:
        left_out = [] if options.runs is None else extract(options.runs, SUMMARIES)
        written = page(SUMMARIES)
    except ValueError as error:
        sys.exit(f"error: {error}")
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    PAGE.write_text(written)
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
