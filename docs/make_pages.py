"""Writes the generated parts of the pages in docs/.

    python docs/make_pages.py results [--runs DIR]    results.md
    python docs/make_pages.py ablation                ablation.md
    python docs/make_pages.py speed                   speed.md
    python docs/make_pages.py estimators              estimators.md
    python docs/make_pages.py checker                 checker.md, pitfalls.md

The text of a page is written by hand; a generated part stands between the lines
`<!-- generated: NAME -->` and `<!-- end -->`. The first three commands only read what
was measured before; the last two run the proofs that they report.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demos")]
DOCS = ROOT / "docs"


def fill(text: str, parts: Mapping[str, Sequence[str]]) -> str:
    """Returns a page with its generated parts replaced.

    Args:
        text: the page.
        parts: lines of each generated part by name.

    Raises:
        ValueError: if the parts are not exactly those of the page.
    """
    names = re.findall(r"^<!-- generated: (.+?) -->$", text, re.MULTILINE)
    if sorted(names) != sorted(parts):
        raise ValueError(f"the page has the parts {names}, got {list(parts)}")
    for name, lines in parts.items():
        marker = f"<!-- generated: {name} -->"
        before, rest = text.split(f"{marker}\n")
        after = rest.partition("<!-- end -->")[2]
        body = "\n".join(lines).strip("\n")
        text = f"{before}{marker}\n\n{body}\n\n<!-- end -->{after}"
    return text


def update(name: str, parts: Mapping[str, Sequence[str]]) -> None:
    """Replaces the generated parts of docs/NAME.md."""
    path = DOCS / f"{name}.md"
    path.write_text(fill(path.read_text(), parts))
    print(f"wrote {path.relative_to(ROOT)}")


def table(columns: str, rows: Iterable[Sequence[str]], align: str = "") -> list[str]:
    """Returns a Markdown table.

    Args:
        columns: headings, separated by "|".
        rows: cells of each row.
        align: a letter a column, `"r"` for right; left by default.
    """
    headings = [heading.strip() for heading in columns.split("|")]
    rules = ["---:" if a == "r" else "---" for a in align.ljust(len(headings), "l")]
    return [f"| {' | '.join(cells)} |" for cells in (headings, rules, *rows)]


def provenance(*packages: str) -> str:
    """Returns versions and commit of a measurement made now."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return (
        f"Python {platform.python_version()}, {versions}; CPU, one torch thread, seed "
        f"0; commit {commit or 'unknown'}."
    )


# docs/results.md ------------------------------------------------------------------

RESULT_COLUMNS = (
    "row | the notebook reports | here | seeds | steps | wall time | command"
)


def notebook_rows() -> dict[str, list[str]]:
    """Returns the rows of each notebook, A to E, as docs/notebooks.md lists them."""
    rows: dict[str, list[str]] = {}
    for line in (DOCS / "notebooks.md").read_text().splitlines():
        if heading := re.match(r"## ([A-Z])\. ", line):
            rows[heading[1]] = []
        elif row := re.match(r"\| \*\*(.+?)\*\* \|", line):
            list(rows.values())[-1].append(row[1])
    return rows


def take_results(runs: Path, to: Path) -> list[str]:
    """Writes a summary of every finished group of runs.

    Args:
        runs: the folder that `pgtoy run` has filled.
        to: the folder of the summaries.

    Returns:
        Which groups were left out, and why.

    Raises:
        ValueError: if there is no such folder.
    """
    from pg_agents.experiments import RunFolder, recipes
    from pg_agents.experiments.demos import DemoRecord
    from pg_agents.experiments.results import summarise_runs

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
        folders = [
            f for f in map(RunFolder, sorted(group.glob("seed-*"))) if f.finished
        ]
        recipe = recipes().get(folders[0].config.recipe) if folders else None
        if recipe is None:
            left_out.append(f"{group}: no finished run of a recipe")
        elif folders[0].config != recipe.config(folders[0].config.variant):
            left_out.append(f"{group}: its settings are not those of the recipe")
        else:
            summarise_runs(recipe, folders).write(to)
    return left_out


def results_parts(summaries: Path) -> dict[str, list[str]]:
    """Returns the table of each notebook.

    Args:
        summaries: the folder with a file for each row and variant that was run.

    Raises:
        ValueError: if a summary is damaged, has other settings than its recipe, or
            belongs to no row.
    """
    unused = {path.stem for path in summaries.glob("*.json")}
    parts = {}
    for notebook, names in notebook_rows().items():
        rows = []
        for name in names:
            for summary, row in _result_rows(name, summaries):
                unused.discard(summary)
                rows.append(row)
        parts[f"notebook {notebook}"] = table(RESULT_COLUMNS, rows)
    if unused:
        raise ValueError(f"no row is called {sorted(unused)[0]}, in {summaries}")
    return parts


def _result_rows(name: str, summaries: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields the name of the summary and the cells of every variant of a row."""
    from pg_agents.experiments import find_recipe
    from pg_agents.experiments.demos import DemoRecord
    from pg_agents.experiments.results import RunsSummary, coverage

    recipe = find_recipe(name)
    if recipe.demo is not None:
        path = summaries / f"{name}.json"
        cells = ["not run yet", "", "", ""]
        if path.exists():
            record = DemoRecord.read(path)
            prefix = {True: "", False: "**falls short**: ", None: "not measured here: "}
            said = prefix[record.passed] + "<br>".join(record.lines)
            cells = [said, "", "", f"{record.wall_seconds:.0f} s"]
        yield name, [f"**{name}**", recipe.reported.text, *cells, f"`pgtoy run {name}`"]
    for i, variant in enumerate(recipe.variants):
        label = f"**{name}**" if i == 0 else f"**{name}, {variant}**"
        command = f"pgtoy run {name}" + (f" --variant {variant}" if i else "")
        path = summaries / f"{recipe.config(variant).name}.json"
        cells = ["not run yet", "", "", ""]
        if path.exists():
            summary = RunsSummary.read(path)
            if summary.settings != recipe.config(variant).settings.to_json():
                raise ValueError(
                    f"{path.stem} was run with other settings than its recipe has now: "
                    f"run it again, or remove {path}"
                )
            n = len(summary.seeds)
            figures = [f"{m.name}: {m}" for m in summary.metrics(recipe.reported)]
            if summary.solved is not None:
                figures.append(f"solved in {summary.solved} of {n} evaluations")
            cells = [
                "<br>".join(figures),
                f"{n}{coverage(n)}" if n < 10 else str(n),
                f"{statistics.median(summary.steps):,.0f}",
                f"{statistics.median(summary.wall_seconds):,.0f} s",
            ]
            command += f" --seeds {n}"
        reported = recipe.reported.text if i == 0 else ""
        yield path.stem, [label, reported, *cells, f"`{command}`"]


# docs/ablation.md -----------------------------------------------------------------

Runs = Mapping[str, Mapping[str, Sequence[float]]]


def iqm_cell(values: Sequence[float]) -> str:
    """Returns the interquartile mean and its 95 % bootstrap interval."""
    mean = stats.trim_mean(values, 0.25)
    if len(set(values)) == 1:
        # All resamples are equal: scipy would return NaN.
        return f"{mean:.0f} ({mean:.0f} to {mean:.0f})"
    interval = stats.bootstrap(
        (np.array(values),),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        n_resamples=9_999,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return f"{mean:.0f} ({interval.low:.0f} to {interval.high:.0f})"


def ablation_parts(stored: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the tables of docs/ablation.json; see `bench.ablation`."""
    from bench.ablation import IMPROVEMENTS, MEMORIES

    runs: Runs = stored["runs"]

    def cells(setting: str) -> list[str]:
        of_seeds = list(runs[setting].values())
        return [iqm_cell([run[k] for run in of_seeds]) for k in range(2)]

    rows = [["(neither)", "", *cells("plain"), *cells("all")]]
    rows += [
        [i.name, i.argument, *cells(f"plain + {i.name}"), *cells(f"all - {i.name}")]
        for i in IMPROVEMENTS
    ]
    rows += [
        [name, argument, *cells(f"plain + {name}"), "", ""]
        for name, argument in (
            ("memory, V-trace", "`memory_size=2048, gradient_steps=4`"),
            ("memory, uncorrected", '`replay="returns", batch_size=256`'),
        )
    ]
    columns = "improvement | argument | plain with it: speed | plain with it: end | "
    columns += "all without it: speed | all without it: end"
    return {
        "setup": [f"{stored['setup']}, commit {stored['commit']}."],
        "actor-critic": table(columns, rows),
        "memory": table(
            "setting | speed | end", ([name, *cells(name)] for name in MEMORIES)
        ),
    }


# docs/speed.md --------------------------------------------------------------------


def figure(value: float) -> str:
    """Returns steps per second to three digits: `61.2 M`, `73,800`."""
    scaled, unit = (value / 1e6, " M") if value >= 1e6 else (value, "")
    scaled = float(f"{scaled:.3g}")
    decimals = 0 if scaled >= 100.0 else 1 if scaled >= 10.0 else 2
    return f"{scaled:,.{decimals}f}{unit}"


def speed_row(
    setting: str,
    side: str,
    counterpart: str | None,
    target: float | None,
    turns: Mapping[str, Sequence[Mapping[str, float]]],
) -> list[str]:
    """Returns the cells of a row: rates, median ratio with its range, and the target.

    A ratio is that of neighbouring turns, so that what slows the machine for a while
    slows both sides.
    """
    rates = {
        name: [turn["steps"] / turn["seconds"] for turn in of_side]
        for name, of_side in turns.items()
    }
    values, show, unit = rates[side], figure, ""
    cells = [setting, side, figure(statistics.median(values)), "", ""]
    if counterpart is not None:
        theirs = rates[counterpart]
        values = [a / b for a, b in zip(values, theirs, strict=True)]
        show, unit = "{:.2f}".format, " x"
        cells[3:] = [counterpart, figure(statistics.median(theirs))]
    value = statistics.median(values)
    cells.append(
        f"**{show(value)}{unit}** ({show(min(values))} to {show(max(values))})"
    )
    if target is None:
        return [*cells, "", ""]
    goal = figure(target) if counterpart is None else f"{target:g} x"
    missed = f"**missed by {100 * (1 - value / target):.0f} %**"
    return [*cells, f">= {goal}", "met" if value >= target else missed]


def speed_parts(stored: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the tables of docs/speed.json; see `bench.speed`."""
    from bench.speed import COMPARISONS

    parts: dict[str, list[str]] = {}
    columns = "setting | side | steps/s | counterpart | steps/s | ratio | target | "
    for section in dict.fromkeys(c.section for c in COMPARISONS):
        rows: list[list[str]] = []
        measured: dict[str, bool] = {}
        for c in (c for c in COMPARISONS if c.section == section):
            entry = stored["runs"].get(c.name)
            if entry is None:
                rows.append([c.setting, "not measured yet", *[""] * 6])
                continue
            threads = f"{c.threads} thread{'s' if c.threads > 1 else ''}"
            measured[f"{threads}; commit {entry['commit']}; {entry['setup']}"] = True
            rows += [speed_row(c.setting, *row, entry["turns"]) for row in c.rows]
        parts[section] = [*(f"{line}\n" for line in measured), *table(columns, rows)]
    return {**parts, "solved": solved_part(stored["solve"])}


def solved_part(found: Mapping[str, Any]) -> list[str]:
    """Returns the table of the seconds until CartPole is solved."""
    if "setup" not in found:
        return ["Not measured yet."]
    seconds: dict[str, list[float]] = {}
    for key, run in found.items():
        if isinstance(run, dict):
            name = key.partition(" ")[0]
            value = run["seconds"] if run["solved"] else float("inf")
            seconds.setdefault(name, []).append(value)
    reference = statistics.median(seconds["PPO"])
    rows = []
    for name, values in seconds.items():
        median = statistics.median(values)
        solved = sum(value < float("inf") for value in values)
        shown = [
            "never" if value == float("inf") else f"{value:.2f}"
            for value in (median, min(values), max(values))
        ]
        ratio = "" if shown[0] == "never" else f"{median / reference:.2f}"
        rows.append([name, f"{solved} of {len(values)}", *shown, ratio])
    columns = "algorithm | solved | median s | fastest | slowest | / PPO's median"
    setup = f"1 thread; commit {found['commit']}; {found['setup']}"
    return [f"{setup}\n", *table(columns, rows)]


# docs/estimators.md ---------------------------------------------------------------


def estimators_parts() -> dict[str, list[str]]:
    """Enumerates and measures every estimator; draws docs/estimators.png."""
    from pg_envs import oracle
    from proofs import estimator_cases as cases
    from proofs import estimator_variance as variance

    exact: list[list[str]] = []
    standardised: list[list[str]] = []
    for case in cases.CASES:
        moments = case.measured()
        bias = cases.relative_bias(case, moments.mean)
        row = [
            f"`{case.name}`",
            case.claim,
            "none, to 1e-6" if bias < 1e-6 else f"{bias:.4f}",
            f"{cases.cosine(case, moments.mean):.4f}",
            f"{cases.noise(case, moments):.2f}",
        ]
        (standardised if case.standardised else exact).append(row)
    samples = [
        [
            variance.sample_gradients(task, e, n_updates=400, seed=0)
            for task in variance.TASKS
        ]
        for e in variance.ESTIMATORS
    ]
    labels = [e.label for e in variance.ESTIMATORS]
    reference = samples[labels.index(variance.NONE.label)]
    rows = []
    for label, of_tasks in zip(labels, samples, strict=True):
        cells = [label]
        for sample, none in zip(of_tasks, reference, strict=True):
            noise, error = sample.noise(), sample.standard_error()
            cells += [f"{noise:.2f} ± {error:.2f}", f"{noise / none.noise():.2f}"]
            cells.append(f"{sample.cosine():.4f}")
        rows.append(cells)
    draw_estimators(samples)
    columns = " | of no baseline | cosine | ".join(t.name for t in variance.TASKS)
    episodes = []
    for task in variance.TASKS:
        value = oracle.expected_return(task.mdp, task.pi, 1.0, task.time_limit)
        length = f"{task.mean_length:.1f} steps"
        episodes.append([task.name, f"{value:.2f}", length])
    header = "arguments | expectation | bias | cosine | noise"
    packages = ("pgtoy", "gymnasium", "stable-baselines3", "torch", "numpy")
    return {
        "episodes": table("task | mean return | mean length", episodes, "lrr"),
        "variance": table(
            f" | {columns} | of no baseline | cosine", rows, "l" + "r" * 6
        ),
        "exact": table(header, exact, "llrrr"),
        "standardised": table(header, standardised, "llrrr"),
        "versions": [provenance(*packages)],
    }


def draw_estimators(samples: Sequence[Sequence[Any]]) -> None:
    """Draws the noise of every estimator on both tasks with 95 % intervals."""
    from pg_agents.analysis.plots.style import colour, new_figure
    from proofs.estimator_variance import ESTIMATORS, NONE, TASKS

    fig, panels = new_figure(9.0, 4.8, len(TASKS))
    positions = np.arange(len(ESTIMATORS))[::-1]
    for i, (axes, task) in enumerate(zip(panels, TASKS, strict=True)):
        values = [of_tasks[i].noise() for of_tasks in samples]
        errors = [1.96 * of_tasks[i].standard_error() for of_tasks in samples]
        axes.errorbar(values, positions, xerr=errors, fmt="none", color=colour(0))
        aligned = [of_tasks[i].cosine() > 1 - 1e-9 for of_tasks in samples]
        fill_colours = [colour(0) if yes else "white" for yes in aligned]
        axes.scatter(
            values, positions, color=fill_colours, edgecolor=colour(0), zorder=3
        )
        no_baseline = values[ESTIMATORS.index(NONE)]
        axes.axvline(no_baseline, color=colour(1), linestyle="--", lw=1)
        axes.set_xscale("log")
        axes.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
        axes.set_title(task.name, fontsize=10)
        axes.set_yticks(positions, [estimator.label for estimator in ESTIMATORS])
    fig.supxlabel(
        "noise of the gradient per episode, log scale; dashed: no baseline\n"
        "filled: the expectation has the direction of the exact gradient; "
        "bars: 95 % interval",
        fontsize=9,
    )
    fig.savefig(DOCS / "estimators.png")


# docs/checker.md and docs/pitfalls.md ---------------------------------------------


def verdict_cells(report: Any) -> list[str]:  # noqa: ANN401
    """Returns verdict, cosine and relative bias with its interval."""
    low, high = report.relative_bias_interval
    bias = f"{report.relative_bias:.3f} ({low:.3f} to {high:.3f})"
    return [report.verdict, f"{report.cosine:.3f}", bias]


def diagnosis_cell(report: Any) -> str:  # noqa: ANN401
    """Returns the name of the diagnosed mistake."""
    found = report.diagnosis
    if found is None:
        return "none"
    return str(found.title) if found.match != "closest" else f"closest: {found.title}"


def false_alarm_lines(counted: Mapping[str, Any]) -> list[str]:
    """Returns the counts of docs/false_alarms.json; see `proofs.false_alarms`."""
    lines, total = [], Counter[str]()
    for kind, what in (
        ("end_to_end", "of losses through `check_policy_gradient`"),
        ("models", "of REINFORCE, and of A2C with an exact critic and no discount"),
        ("at_once", "with all batches computed at once"),
    ):
        counts = Counter[str]()
        for verdicts in counted[kind]["verdicts"].values():
            counts.update(verdicts)
        total += counts
        lines.append(
            f'- {counts.total():,} runs {what}: {counts["wrong"]} "wrong", '
            f'{counts["biased but aligned"]} "biased but aligned".'
        )
    summary = f'Together {total["wrong"]} of {total.total():,} runs say "wrong"'
    if not total["wrong"]:
        # Rule of three: with no event in n runs the rate is below 3/n.
        summary += f"; fewer than {3000 / total.total():.2g} in 1,000, with 95 %"
        summary += " confidence"
    return [*lines, "", f"{summary}."]


def checker_parts() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Runs all checks; returns the parts of docs/checker.md and docs/pitfalls.md."""
    from pg_agents.checker import CATALOGUE
    from proofs.checker_runs import agent_reports, mistake_reports

    reports, agents = mistake_reports(), agent_reports()
    named = sum(
        report.diagnosis is not None and report.diagnosis.key == key
        for key, report in reports.items()
    )
    slowest = max(report.seconds for report in reports.values())
    packages = ("pgtoy", "stable-baselines3", "sb3-contrib", "torch", "numpy", "scipy")
    versions = [provenance(*packages)]
    planted = [
        [f"`{key}`", *verdict_cells(r), diagnosis_cell(r), f"{r.seconds:.1f}"]
        for key, r in reports.items()
    ]
    rows = [
        [
            name,
            f"{r.gamma:g}",
            *verdict_cells(r),
            f"{r.factor:.2f}",
            diagnosis_cell(r),
            f"{r.n_episodes:,}",
        ]
        for name, r in agents
    ]
    agent_columns = "agent | gamma | verdict | cosine | relative bias | length | "
    checker = {
        "planted": [
            f"{named} of {len(CATALOGUE)} are diagnosed correctly; the slowest check "
            f"took {slowest:.1f} s.",
            "",
            *table(
                "planted | verdict | cosine | relative bias | diagnosis | seconds",
                planted,
                "llrllr",
            ),
        ],
        "false alarms": false_alarm_lines(
            json.loads((DOCS / "false_alarms.json").read_text())
        ),
        "agents": [
            *table(f"{agent_columns}looks like | episodes", rows, "lrlrlrlr"),
            "",
            *(f"- {name}: {note}." for name, r in agents for note in r.notes),
        ],
        "versions": versions,
    }
    mistakes: list[str] = []
    for mistake in CATALOGUE:
        report = reports[mistake.key]
        low, high = report.relative_bias_interval
        options = " with `--horizon 6 --bootstrap`" if mistake.at_truncation else ""
        mistakes += [
            f"## {mistake.title[0].upper()}{mistake.title[1:]}",
            "",
            mistake.explanation,
            "",
            "```text",
            f"wrong:  {mistake.wrong}",
            f"right:  {mistake.right}",
            "```",
            "",
            f"Measured: {report.verdict}, cosine {report.cosine:.3f}, relative bias "
            f"{report.relative_bias:.3f} (95 % interval {low:.3f} to {high:.3f}), "
            f"length {report.factor:.3f}. `pgtoy check pitfalls.py:{mistake.key}`"
            f"{options}.",
            "",
        ]
    return checker, {"mistakes": mistakes, "versions": versions}


def main() -> None:
    """Writes the pages that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pages = ("results", "ablation", "speed", "estimators", "checker")
    parser.add_argument("page", choices=pages)
    parser.add_argument(
        "--runs", type=Path, help="results: folder of runs to summarise first"
    )
    options = parser.parse_args()
    try:
        if options.page == "results":
            if options.runs is not None:
                for reason in take_results(options.runs, DOCS / "results"):
                    print(f"left out: {reason}", file=sys.stderr)
            update("results", results_parts(DOCS / "results"))
        elif options.page == "ablation":
            stored = json.loads((DOCS / "ablation.json").read_text())
            update("ablation", ablation_parts(stored))
        elif options.page == "speed":
            update("speed", speed_parts(json.loads((DOCS / "speed.json").read_text())))
        elif options.page == "estimators":
            update("estimators", estimators_parts())
        else:
            checker, pitfalls = checker_parts()
            update("checker", checker)
            update("pitfalls", pitfalls)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
