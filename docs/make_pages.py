"""Writes the generated parts of the pages in docs/.

    python docs/make_pages.py results [--runs DIR]    results.md
    python docs/make_pages.py ablation                ablation.md
    python docs/make_pages.py speed                   speed.md
    python docs/make_pages.py estimators              estimators.md
    python docs/make_pages.py checker                 checker.md, pitfalls.md
    python docs/make_pages.py check-your-script       check-your-script.md
    python docs/make_pages.py exercises               exercises.md

The text of a page is written by hand; a generated part stands between the lines
`<!-- generated: NAME -->` and `<!-- end -->`. The first three commands and `checker`
only read what was measured before; the others run what they report.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import stats

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demos")]
DOCS = ROOT / "docs"
RUN_SECONDS = ROOT / "pg_agents/experiments/recipes/run_seconds.json"


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


def provenance(*packages: str, commit: str = "") -> str:
    """Returns versions and commit of a measurement, by default of one made now."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    commit = (
        commit
        or subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
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


def write_run_seconds(summaries: Path, to: Path) -> None:
    """Writes how long the runs of each recipe and variant took, for `pgtoy recipes`."""
    seconds = {}
    for path in sorted(summaries.glob("*.json")):
        taken = json.loads(path.read_text(encoding="utf-8"))["wall_seconds"]
        seconds[path.stem] = round(float(np.median(taken)), 1)
    to.write_text(json.dumps(seconds, indent=1) + "\n", encoding="utf-8")


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


def reached(value: float, target: float | None, show: str, at_most: bool) -> list[str]:
    """Returns the cells of a target: what it is, and met or missed by how much."""
    if target is None:
        return ["", ""]
    met = value <= target if at_most else value >= target
    missed = f"**missed by {100 * abs(1 - value / target):.0f} %**"
    return [f"{'<=' if at_most else '>='} {show}", "met" if met else missed]


def speed_row(row: Any, turns: Mapping[str, Any]) -> list[str]:  # noqa: ANN401
    """Returns the cells of a row: rates, median ratio with its range, and the target.

    A ratio is that of neighbouring turns, so that what slows the machine for a while
    slows both sides.

    Args:
        row: of `bench.speed`.
        turns: of its comparison, as `bench.speed.measure` returns them.
    """
    from bench.speed import best_rates

    if not {row.side, row.counterpart} - {None} <= turns.keys():
        missing = row.side if row.side not in turns else row.counterpart
        return [row.label, f"{missing}: not there yet", *[""] * 4]

    def rate_cell(side: str, threads: str, rates: Sequence[float]) -> str:
        if row.seconds:
            seconds = (turn["seconds"] for turn in turns[side][threads])
            return f"{statistics.median(seconds):.1f} s"
        return f"{figure(statistics.median(rates))} ({threads})"

    threads, values = best_rates(turns[row.side], row.threads)
    cells = [row.label, rate_cell(row.side, threads, values), ""]
    show, unit = figure, ""
    goal = figure(row.target or 0.0)
    if row.counterpart is not None:
        threads, theirs = best_rates(turns[row.counterpart], row.threads)
        values = [a / b for a, b in zip(values, theirs, strict=True)]
        cells[2] = rate_cell(row.counterpart, threads, theirs)
        show, unit, goal = "{:.2f}".format, " x", f"{row.target or 0.0:g} x"
    value = statistics.median(values)
    spread = f"{show(min(values))} to {show(max(values))}"
    cells.append(f"**{show(value)}{unit}** ({spread})")
    return [*cells, *reached(value, row.target, goal, at_most=False)]


def solved_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """Returns the rows of the seconds until CartPole is solved, against PPO's median.

    The range is that of our fastest and slowest seed.
    """
    from bench.speed import SOLVE_TARGETS

    seconds: dict[str, list[float]] = {}
    for key, run in found.items():
        if isinstance(run, dict):
            value = run["seconds"] if run["solved"] else float("inf")
            seconds.setdefault(key.partition(" ")[0], []).append(value)
    if not SOLVE_TARGETS.keys() | {"PPO"} <= seconds.keys():
        return [["not measured yet", *[""] * 5]]
    reference = statistics.median(seconds["PPO"])
    if reference == float("inf"):
        return [["PPO has not solved it", *[""] * 5]]

    def show(value: float, unit: str) -> str:
        return "never" if value == float("inf") else f"{value:.2f} {unit}"

    rows = []
    for name, values in seconds.items():
        if name == "PPO":
            continue
        solved = sum(value < float("inf") for value in values)
        targets = SOLVE_TARGETS.get(name, (None, None))
        for what, middle, target in (
            ("median", statistics.median(values), targets[0]),
            ("slowest", max(values), targets[1]),
        ):
            if what == "slowest" and target is None:
                continue
            label = f"{name}, {what} of {len(values)} seeds, {solved} solved"
            ratio = show(middle / reference, "x")
            if what == "median":
                low, high = min(values) / reference, max(values) / reference
                ratio = f"**{ratio}** ({show(low, 'x')} to {show(high, 'x')})"
            cells = [label, show(middle, "s"), show(reference, "s"), ratio]
            goal = f"{target or 0.0:g} x"
            rows.append([*cells, *reached(middle / reference, target, goal, True)])
    return rows


def speed_parts(stored: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the parts of docs/speed.md from docs/speed.json; see `bench.speed`."""
    from bench.speed import COMPARISONS, cell_rates

    runs = stored["runs"]
    groups: dict[str, list[list[str]]] = {}
    setups: dict[str, list[str]] = {}
    for comparison in COMPARISONS:
        entry = runs.get(comparison.name)
        if entry is not None:
            setup = f"Commit {entry['commit']}; {entry['setup']}"
            setups.setdefault(setup, []).append(comparison.name)
        for row in comparison.rows:
            cells = [row.label, "not measured yet", *[""] * 4]
            if entry is not None:
                cells = speed_row(row, entry["turns"])
            groups.setdefault(row.group, []).append(cells)
    solve = stored["solve"]
    if "setup" in solve:
        setup = f"Commit {solve['commit']}; {solve['setup']}"
        setups.setdefault(setup, []).append("solve")
    groups["Seconds until CartPole-v1 is solved, against PPO"] = solved_rows(solve)
    rows = [
        row
        for group, of_group in groups.items()
        for row in ([f"**{group}**", *[""] * 5], *of_group)
    ]
    of_cells = [
        [
            name,
            figure(here),
            figure(there),
            f"{ratio:.2f}" if 0.8 <= ratio <= 1.2 else f"**{ratio:.2f}**",
        ]
        for name, here, there, ratio in cell_rates(runs)
    ]
    columns = "cell | steps/s here | reference | relative to the others"
    one = len(setups) == 1
    curve = ["![Steps per second against the number of environments](speed.png)"]
    return {
        "curve": curve if speed_curve(runs) else ["Not measured yet."],
        "advice": speed_advice(runs),
        "table": table(
            "| pgtoy (threads) | other (threads) | median ratio (range) | target | ",
            rows,
            "lrrrrl",
        ),
        "cells": table(columns, of_cells, "lrrr")
        if of_cells
        else ["Not measured yet."],
        "setup": [
            f"- {setup}{'' if one else ': ' + ', '.join(names)}."
            for setup, names in setups.items()
        ],
    }


def speed_curve(runs: Mapping[str, Any]) -> dict[str, list[tuple[int, list[float]]]]:
    """Returns numbers of environments and rates of each line of docs/speed.png.

    The rates are those with the better number of threads.
    """
    from bench.speed import CURVE, N_ENVS, best_rates

    lines: dict[str, list[tuple[int, list[float]]]] = {}
    for name in CURVE:
        for n_envs in N_ENVS:
            turns = runs.get(f"envs-{n_envs}", {"turns": {}})["turns"]
            if name in turns:
                rates = best_rates(turns[name])[1]
                lines.setdefault(name, []).append((n_envs, rates))
    return lines


def draw_speed(runs: Mapping[str, Any], path: Path) -> None:
    """Draws median rates, with their range, against the number of environments."""
    from bench.speed import N_ENVS
    from pg_agents.analysis.plots.style import colour, new_figure, save_figure

    figure_, (axes,) = new_figure(7.0, 4.2)
    for i, (name, points) in enumerate(speed_curve(runs).items()):
        x = [n_envs for n_envs, _ in points]
        middle = [statistics.median(rates) for _, rates in points]
        low, high = ([f(rates) for _, rates in points] for f in (min, max))
        axes.fill_between(x, low, high, color=colour(i), alpha=0.2, lw=0)
        style = "-" if "vector" in name else "--"
        marker = "os^D"[i]
        axes.plot(x, middle, style, marker=marker, color=colour(i), lw=1.8, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(N_ENVS, [f"{n:,}" for n in N_ENVS])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: figure(value))
    axes.set_xlabel("number of environments (CartPole-v1)")
    axes.set_ylabel("steps per second of learn()")
    axes.legend(frameon=False, fontsize=9)
    save_figure(figure_, path)


def speed_advice(runs: Mapping[str, Any]) -> list[str]:
    """Returns advice with the measured figures that it rests on."""
    from bench.speed import A2C, A2C_DUMMY, OURS, OURS_DUMMY, best_rates

    def middle(name: str, side: str, threads: int | None = None) -> float:
        turns = runs.get(name, {"turns": {}})["turns"]
        if side not in turns:
            return float("nan")
        return statistics.median(best_rates(turns[side], threads)[1])

    def ratio(name: str, side: str, counterpart: str) -> str:
        return f"{middle(name, side) / middle(name, counterpart):.1f} times"

    lines = []
    curve = speed_curve(runs).get(OURS, [])
    if curve:
        lines.append(
            "**More environments**, in one of Gymnasium's vector environments "
            '(`gymnasium.make_vec("CartPole-v1", 1024)`), not in SB3\'s `DummyVecEnv`: '
            f"64 of them make {ratio('envs-64', OURS, OURS_DUMMY)} as many steps per "
            f"second there, and {curve[-1][0]:,} make "
            f"{figure(statistics.median(curve[-1][1]))} steps per second. SB3's own "
            "A2C gains from it too, through `as_vec_env`: with 1,024 it makes "
            f"{ratio('envs-1024', A2C, A2C_DUMMY)} as many."
        )
        both = {
            n: middle(f"envs-{n}", OURS, 2) / middle(f"envs-{n}", OURS, 1)
            for n, _ in curve
            if "2" in runs[f"envs-{n}"]["turns"][OURS]
        }
        faster = [f"{n:,}" for n, quotient in both.items() if quotient > 1.05]
        noun = "environment" if faster == ["1"] else "environments"
        where = f"with {', '.join(faster)} {noun} only"
        if not faster:
            where = "with no number of environments"
        if both:
            lines.append(
                "**One thread**, `torch.set_num_threads(1)` and "
                "`OPENBLAS_NUM_THREADS=1` in the environment (NumPy's products), for "
                f"networks of this size: two are more than 5 % faster {where}."
            )
    one_by_one = "models one by one"
    if "batch" in runs.get("batch-cartpole-mc", {"turns": {}})["turns"]:
        lines.append(
            "**Several seeds** in one `LearnerBatch`: ten learners make "
            f"{ratio('batch-cartpole-mc', 'batch', one_by_one)} as many steps per "
            "second as ten models one after another on CartPole, and "
            f"{ratio('batch-sequence-reinforce', 'batch', one_by_one)} on the sequence."
        )
    if "envs-1" in runs:
        without = middle("envs-1", "with a callback") / middle("envs-1", OURS_DUMMY)
        lines.append(
            "**Callbacks** as needed: one that does nothing leaves "
            f"{100 * without:.0f} % of the speed with one environment."
        )
    # Advice that rests on a figure that is missing is left out.
    known = [f"- {line}" for line in lines if "nan" not in line]
    return known or ["Not measured yet."]


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


def report_of(row: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Returns a row of docs/checker_runs.json as a report, or as its error."""
    if "error" in row:
        return ValueError(row["error"])
    tasks = [SimpleNamespace(**task) for task in row["tasks"]]
    findings = [SimpleNamespace(**finding) for finding in row["findings"]]
    changed = {"tasks": tasks, "findings": findings, "worst": tasks[row["worst"]]}
    return SimpleNamespace(**{**row, **changed})


def verdict_cells(report: Any) -> list[str]:  # noqa: ANN401
    """Returns verdict, and the smallest cosine of the tasks."""
    if isinstance(report, Exception):
        return ["could not be checked", "-"]
    cosine = report.worst.cosine
    return [report.verdict, "-" if cosine is None else f"{cosine:.3f}"]


def name_cell(report: Any) -> str:  # noqa: ANN401
    """Returns the name that the report gives."""
    if isinstance(report, Exception) or not report.name:
        return "-"
    return " or ".join([report.name, *report.ties])


def seconds_cell(report: Any) -> str:  # noqa: ANN401
    """Returns the seconds that a check took."""
    return "-" if isinstance(report, Exception) else f"{report.seconds:.1f}"


def finding_keys(report: Any) -> frozenset[str]:  # noqa: ANN401
    """Returns the keys of what the report asserts; none if there are ties."""
    if isinstance(report, Exception) or report.ties:
        return frozenset()
    from pg_agents.checker.mistakes import MISTAKES

    warnings = {key for key, mistake in MISTAKES.items() if mistake.kind == "warning"}
    return frozenset(
        f.key
        for f in report.findings
        if f.kind not in ("factor", "warning") or f.key in warnings
    )


def slowest(reports: Mapping[str, Any]) -> str:
    """Returns the median and the longest time of some checks."""
    seconds = [r.seconds for r in reports.values() if not isinstance(r, Exception)]
    return (
        f"{statistics.median(seconds):.1f} s of CPU time at the median, "
        f"{max(seconds):.1f} s at most"
    )


def has_exact_direction(key: str) -> bool:
    """Whether what the catalogue has leaves the expected gradient's direction.

    The mean of N returns at the same time step scales it by 1 - 1/N.
    """
    from pg_agents.checker.mistakes import MISTAKES

    return MISTAKES[key].kind == "warning" or key == "batch_mean_baseline"


def planted_lines(reports: Mapping[str, Any]) -> list[str]:
    """Returns the table of planted mistakes."""
    keys = {key: finding_keys(report) for key, report in reports.items()}
    named = sum(found == {key} for key, found in keys.items())
    misnamed = sum(bool(found) and found != {key} for key, found in keys.items())
    right = [
        key
        for key, report in reports.items()
        if key != "right" and verdict_cells(report)[0] == "right"
    ]
    exact = [key for key in right if has_exact_direction(key)]
    rows = [
        [f"`{key}`", *verdict_cells(r), name_cell(r), seconds_cell(r)]
        for key, r in reports.items()
    ]
    return [
        f"{named} of {len(reports) - 1} are named, {misnamed} get another name, "
        f"{len(right) - len(exact)} with a bias are called right. Right are also "
        f"{len(exact)} that leave the expected direction as it is: "
        f"{', '.join(f'`{key}`' for key in exact) or '-'}. A check takes "
        f"{slowest(reports)}.",
        "",
        *table("planted | verdict | worst cosine | name | CPU s", rows, "llrlr"),
    ]


def held_out_lines(reports: Mapping[str, Any]) -> list[str]:
    """Returns counts and table of the losses without a candidate of their own."""
    from tests.pg_agents.checker.heldout import HELD_OUT

    rows, verdicts, names = [], Counter[str](), Counter[str]()
    losses = [loss for loss in HELD_OUT if loss.name in reports]
    for loss in losses:
        report = reports[loss.name]
        verdict = loss.judge_verdict(verdict_cells(report)[0])
        name = loss.judge_name(finding_keys(report))
        verdicts[verdict] += 1
        names[name] += 1
        marks = "" if verdict == "agrees" else f" ({verdict})"
        rows.append(
            [
                f"`{loss.name}`",
                loss.exact,
                verdict_cells(report)[0] + marks,
                name_cell(report) + (" (wrong name)" if name == "wrong" else ""),
                seconds_cell(report),
            ]
        )
    sources = Counter(loss.source.split()[0] for loss in losses)
    n_right = sum(loss.exact == "right" for loss in losses)
    left = len(HELD_OUT) - len(losses)
    asserted = names["right"] + names["wrong"]
    return [
        f"{len(losses)} losses, {n_right} of them right: "
        + ", ".join(f"{count} {source}" for source, count in sources.items())
        + (f". {left} more were not checked yet." if left else "."),
        "",
        f"- Right losses called wrong: {verdicts['accused']}. Others called right: "
        f"{verdicts['acquitted']}, and {verdicts['missed']} with a bias below 5 %. "
        f"Undecided: {verdicts['undecided']}. Refused: {verdicts['refused']}.",
        f"- Names: {asserted} asserted, {names['right']} of them right.",
        f"- A check takes {slowest(reports)}.",
        "",
        *table("loss | truth | verdict | name | CPU s", rows, "llllr"),
    ]


def pitfall_lines(reports: Mapping[str, Any]) -> list[str]:
    """Returns a section for each mistake of the catalogue."""
    from pg_agents.checker import CATALOGUE

    kinds = {
        "mistake": "",
        "departure": " Documented algorithms do it: `--target algorithm` accepts it.",
        "no gradient": " The expected gradient is zero.",
        "warning": " The check warns of it: the direction is right.",
    }
    lines: list[str] = []
    for mistake in CATALOGUE:
        lines += [
            f"## {mistake.title[0].upper()}{mistake.title[1:]}",
            "",
            mistake.explanation + kinds[mistake.kind],
            "",
            "```text",
            *code_lines("wrong", mistake.wrong),
            *code_lines("right", mistake.right),
            "```",
            "",
            measured_line(mistake, reports.get(mistake.key)),
            "",
        ]
    return lines


def code_lines(label: str, code: str) -> list[str]:
    """Returns lines of code, the first of them with a label."""
    first, *others = code.splitlines()
    return [f"{label}:  {first}", *(f"{'':{len(label)}}   {line}" for line in others)]


def measured_line(mistake: Any, report: Any) -> str:  # noqa: ANN401
    """Returns what the check of a planted mistake says."""
    if report is None:
        return "A training loop makes it: `pgtoy check script.py` finds it."
    options = " with `--horizon 6 --bootstrap`" if mistake.at_truncation else ""
    command = f"`pgtoy check pitfalls.py:{mistake.key}`{options}"
    if isinstance(report, Exception):
        return f"Measured: could not be checked, {report}. {command}."
    cosines = ", ".join(
        f"{'none' if task.cosine is None else f'{task.cosine:.3f}'} ({task.task})"
        for task in report.tasks
    )
    name = name_cell(report)
    named = f"named {name}" if name != "-" else "without a name"
    return f"Measured: {report.verdict}, cosine {cosines}; {named}. {command}."


def false_alarm_lines(counted: Mapping[str, Any]) -> list[str]:
    """Returns the counts of docs/false_alarms.json; see `proofs.false_alarms`."""
    lines, total = [], Counter[str]()
    for kind, what in (
        ("formulas", "of losses whose formula is identified"),
        ("means", "of losses with noise, decided by the mean of many gradients"),
        ("models", "of REINFORCE, and of A2C with an exact critic and no discount"),
    ):
        counts = Counter[str]()
        for verdicts in counted.get(kind, {}).get("verdicts", {}).values():
            counts.update(verdicts)
        if not counts:
            continue
        total += counts
        called = counts["wrong"] + counts["no gradient"]
        lines.append(
            f'- {counts.total():,} runs {what}: {called} "wrong", '
            f'{counts["undecided"]} "undecided".'
        )
    called = total["wrong"] + total["no gradient"]
    summary = f'Together {called} of {total.total():,} runs say "wrong"'
    if not called:
        # Rule of three: with no event in n runs the rate is below 3/n.
        summary += f"; fewer than {3000 / total.total():.2g} in 1,000, with 95 %"
        summary += " confidence"
    return [*lines, "", f"{summary}."]


def checker_parts(
    measured: Mapping[str, Mapping[str, Any]], alarms: Mapping[str, Any]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Returns the parts of docs/checker.md and docs/pitfalls.md.

    Args:
        measured: docs/checker_runs.json; see `proofs.checker_runs`.
        alarms: docs/false_alarms.json; see `proofs.false_alarms`.
    """
    planted, held_out, agents = (
        {name: report_of(row) for name, row in measured.get(part, {}).items()}
        for part in ("planted", "held_out", "agents")
    )
    packages = ("pgtoy", "stable-baselines3", "sb3-contrib", "torch", "numpy", "scipy")
    commits = {row["commit"] for part in measured.values() for row in part.values()}
    versions = [provenance(*packages, commit=", ".join(sorted(commits)))]
    rows = [
        [
            name,
            f"{r.tasks[0].gamma:g}",
            *verdict_cells(r),
            name_cell(r),
            seconds_cell(r),
        ]
        for name, r in agents.items()
    ]
    checker = {
        "planted": planted_lines(planted),
        "held out": held_out_lines(held_out),
        "false alarms": false_alarm_lines(alarms),
        "agents": [
            *table(
                "agent | gamma | verdict | worst cosine | name | CPU s",
                rows,
                "lrlrlr",
            ),
            "",
            *(f"- {name}: {n}." for name, r in agents.items() for n in r.notes),
        ],
        "versions": versions,
    }
    return checker, {"mistakes": pitfall_lines(planted), "versions": versions}


def named_right(row: Mapping[str, Any]) -> bool | None:
    """Whether only planted mistakes are asserted; None if no mistake is."""
    if not row.get("mistakes"):
        return None
    return set(row["mistakes"]) <= set(row["keys"])


def script_check_parts(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Returns the tables of docs/script_checks.json; see `proofs.script_checks`."""
    right = {name: r for name, r in rows.items() if r["expected"] == "right"}
    wrong = {name: r for name, r in rows.items() if r["expected"] == "wrong"}
    found = [r for r in wrong.values() if r["verdict"] in ("wrong", "no gradient")]
    names = [named_right(r) for r in wrong.values()]
    times = sorted(r["seconds"] for r in rows.values())
    verdicts = Counter(r["verdict"] for r in right.values())
    summary = [
        f"- {len(right)} right scripts: "
        f"{', '.join(f'{n} {verdict}' for verdict, n in verdicts.most_common())}.",
        f"- {len(wrong)} scripts with a planted mistake: {len(found)} are found; a "
        f"name is asserted for {len(wrong) - names.count(None)}, and it is right for "
        f"{names.count(True)}.",
        f"- A check takes {times[len(times) // 2]:.0f} s at the median and "
        f"{times[-1]:.0f} s at most.",
    ]
    mistakes = []
    for key in sorted({key for r in wrong.values() for key in r["keys"][:1]}):
        group = [r for r in wrong.values() if r["keys"][:1] == [key]]
        mistakes.append(
            [
                f"`{key}`",
                str(len(group)),
                str(sum(r in found for r in group)),
                str(sum(named_right(r) is True for r in group)),
                str(sum(named_right(r) is False for r in group)),
                f"{max(r['seconds'] for r in group):.0f}",
            ]
        )
    return {
        "scripts summary": summary,
        "right scripts": table(
            "script | verdict | departures from the exact gradient | seconds",
            [
                [
                    f"`{name}`",
                    r["verdict"],
                    keys(r, "departures"),
                    f"{r['seconds']:.0f}",
                ]
                for name, r in right.items()
            ],
            "lllr",
        ),
        "wrong scripts": table(
            "mistake | scripts | found | named | misnamed | seconds at most",
            mistakes,
            "lrrrrr",
        ),
        "not as expected": [
            f"- `{name}`: {r['verdict']}"
            + (f", named {keys(r, 'mistakes')}" if r.get("mistakes") else "")
            + (f" ({r['error']})" if r.get("error") else "")
            + "."
            for name, r in rows.items()
            if r["verdict"] not in _ACCEPTED[r["expected"]] or named_right(r) is False
        ],
    }


_ACCEPTED = {
    "right": ("right",),
    "wrong": ("wrong", "no gradient"),
    "cannot check": ("cannot check",),
}


def keys(row: Mapping[str, Any], kind: str) -> str:
    """Returns keys of the catalogue that a check asserts, for a cell of a table."""
    return ", ".join(f"`{key}`" for key in row.get(kind, ())) or "none"


def script_alarm_lines(
    counted: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> list[str]:
    """Returns the counts of docs/script_alarms.json; see `proofs.script_alarms`."""
    lines = []
    for kind, what in (
        ("runs", "runs of right scripts with other seeds"),
        ("halves", "times a random half of a run's updates"),
    ):
        counts = Counter[str]()
        for row in counted.values():
            counts.update(row[kind])
        total, accused = counts.total(), counts["wrong"] + counts["no gradient"]
        line = f"- {total:,} {what}: {accused} called wrong"
        if total and not accused:
            # Rule of three: with no event in n runs the rate is below 3/n.
            line += f" (fewer than {3000 / total:.2g} in 1,000, with 95 % confidence)"
        others = {k: n for k, n in counts.items() if k not in ("right", "wrong")}
        lines.append(", ".join([line, *(f"{n} {k}" for k, n in others.items())]) + ".")
    return lines


def public_script_lines(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the table of docs/public_scripts.json; see `proofs.script_checks`."""
    agreed = sum(r["verdict"] in _ACCEPTED[r["expected"]] for r in rows.values())
    return [
        f"The verdict agrees with the reading for {agreed} of {len(rows)}.",
        "",
        *table(
            "repository | script | what it is | reading | verdict | named | seconds",
            [
                [
                    f"{r['repository']} {r['commit']}",
                    f"`{r['file']}`",
                    r["what"],
                    r["reading"],
                    r["verdict"],
                    keys(r, "mistakes"),
                    f"{r['seconds']:.0f}",
                ]
                for r in rows.values()
            ],
            "llllllr",
        ),
    ]


# The mistakes of demos/train_cartpole.py, in the order in which the page fixes them.
SCRIPT_FIXES = (
    (
        "advantages = torch.tensor(returns) - torch.stack(values)",
        "advantages = torch.tensor(returns) - torch.cat(values)",
    ),
    (
        "policy_loss = -(torch.stack(log_probs) * advantages).mean()",
        "policy_loss = -(torch.stack(log_probs) * advantages.detach()).mean()",
    ),
)

# Number of episodes -> number of runs that the page shows the scores of.
SCRIPT_RUNS = {300: 5, 1000: 3}


def check_your_script_parts(
    n_seeds: Mapping[int, int] = SCRIPT_RUNS,
) -> dict[str, list[str]]:
    """Runs demos/train_cartpole.py and checks it, with and without its mistakes.

    Args:
        n_seeds: number of episodes of a run -> number of such runs of each version, of
            which the scores are shown.

    Raises:
        ValueError: if the checks do not find both mistakes, or a fixed script is not
            right: the text of the page would not hold.
    """
    texts = [(ROOT / "demos" / "train_cartpole.py").read_text()]
    for old, new in SCRIPT_FIXES:
        if texts[-1].count(old) != 1:
            raise ValueError(f"demos/train_cartpole.py must have the line {old!r} once")
        texts.append(texts[-1].replace(old, new))
    checks, statuses = [], []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "demos", "train_cartpole.py")
        script.parent.mkdir()
        rows: list[list[str]] = []
        for text in texts:
            script.write_text(text)
            check = ("-m", "pg_agents.cli.main", "check", "demos/train_cartpole.py")
            status, output = run_python(folder, *check)
            checks.append(output)
            statuses.append(status)
            if text == texts[1]:
                continue
            row = ["with both mistakes fixed" if rows else "as it is"]
            for episodes, n in n_seeds.items():
                length = ("--episodes", str(episodes))
                runs = [
                    run_python(folder, str(script), *length, "--seed", str(seed))
                    for seed in range(n)
                ]
                scores = sorted(int(out.rpartition(" ")[2]) for _, out in runs)
                row.append(", ".join(map(str, scores)))
            rows.append(row)
    if statuses != [1, 1, 0]:
        raise ValueError(f"the exit statuses must be 1, 1, 0, got {statuses}")
    lengths = [f"{e:,} episodes, seeds 0 to {n - 1}" for e, n in n_seeds.items()]
    return {
        "scores": table(" | ".join(["demos/train_cartpole.py", *lengths]), rows),
        **{
            f"{name} check": ["```text", *output.splitlines(), "```"]
            for name, output in zip(("first", "second", "third"), checks, strict=True)
        },
        **{
            f"{name} fix": ["```diff", f"- {old}", f"+ {new}", "```"]
            for name, (old, new) in zip(("first", "second"), SCRIPT_FIXES, strict=True)
        },
    }


def run_python(folder: str, *arguments: str) -> tuple[int, str]:
    """Runs Python in a folder; returns exit status and standard output.

    Raises:
        ValueError: if it ends with another status than 0 or 1.
    """
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "MPLBACKEND": "Agg", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode not in (0, 1):
        raise ValueError(f"{arguments} ends with {result.returncode}: {result.stderr}")
    return result.returncode, result.stdout.rstrip()


# docs/exercises.md ------------------------------------------------------------------

# Own mistakes that the page shows for each exercise, besides those of the other author.
OWN_MISTAKES = 7


def exercises_parts() -> dict[str, list[str]]:
    """Checks all answers of the tests; returns the parts of docs/exercises.md."""
    from pg_agents.exercises import EXERCISES

    summary, mistakes = [], []
    for one in EXERCISES:
        rows, n_hints = exercise_rows(one.name)
        n_right, n_wrong = len(rows["right"]), len(rows["wrong"])
        passed = sum(status == "right" for _, status, _ in rows["right"])
        hinted = sum(status == "own hint" for _, status, _ in rows["wrong"])
        unseen = sum(author == "unseen" for author, _, _ in rows["wrong"])
        summary.append(
            (
                f"`{one.name}`",
                one.title,
                f"{passed} of {n_right}",
                f"{hinted} of {n_wrong}",
                str(unseen),
                str(n_hints),
            )
        )
        mistakes += [f"### {one.title}: `{one.name}`", ""]
        shown = [row[2] for row in rows["wrong"] if row[0] == "unseen"]
        shown += [row[2] for row in rows["wrong"] if row[0] == "own"][:OWN_MISTAKES]
        mistakes += table("mistake | by | the hint says", shown)
        mistakes.append("")
    columns = (
        "exercise | title | right answers that pass | mistakes that get their hint | "
        "of these, unseen | hints in all"
    )
    return {
        "summary": table(columns, summary, "llrrrr"),
        "mistakes": mistakes,
        "example": exercise_example(),
    }


Row = tuple[str, str, tuple[str, ...]]


def exercise_rows(name: str) -> tuple[dict[str, list[Row]], int]:
    """Checks the answers of an exercise that the tests hold.

    Returns:
        Author, outcome and table cells of right and of wrong answers; the number of
        hints.

    Raises:
        ValueError: if two wrong answers get the same hint, or a wrong one passes.
    """
    import contextlib
    import io
    import warnings
    from importlib import import_module

    from pg_agents.exercises import exercise
    from pg_agents.exercises.answer import COMMON_HINTS
    from pg_agents.exercises.grading import grade
    from tests.pg_agents.exercises import unseen_answers as unseen

    one = exercise(name)
    own = import_module(f"tests.pg_agents.exercises.answers.{name}")
    folder = unseen.FOLDER
    right = [("own", answer) for answer in own.RIGHT]
    right += [
        ("unseen", unseen.read_answer(name, file))
        for file in sorted((folder / "right" / name).glob("*.py"))
    ]
    files = sorted((folder / "wrong" / name).glob("*.py"))
    wrong = [
        (
            "unseen",
            unseen.mistake_of(file),
            unseen.HINTS[name][file.stem],
            unseen.read_answer(name, file),
        )
        for file in files
    ]
    theirs = {hint for _, _, hint, _ in wrong}
    hints = {**COMMON_HINTS, **one.hints}
    wrong += [
        ("own", hints[hint].title, hint, answer)
        for hint, answer in own.WRONG.items()
        if hint not in theirs
    ]
    rows: dict[str, list[Row]] = {"right": [], "wrong": []}
    # Answers print, and warn of logarithms of 0.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for author, answer in right:
            rows["right"].append((author, grade(one, answer).status, ()))
        for author, mistake, hint, answer in wrong:
            result = grade(one, answer)
            if result.right:
                raise ValueError(f"{name}: a wrong answer passes: {mistake}")
            outcome = "own hint" if result.hint == hint else "another hint"
            # The author of the checker calls a mistake what the hint calls it.
            title = "" if mistake == result.title else f"**{result.title}.** "
            cells = tuple(
                cell.replace("|", "\\|")
                for cell in (mistake, author, f"{title}{result.why}")
            )
            rows["wrong"].append((author, outcome, cells))
    return rows, len(one.hints)


def exercise_example() -> list[str]:
    """Checks the first wrong answer to `returns` by the command."""
    answers = ROOT / "tests/pg_agents/exercises/unseen/wrong/returns"
    file = min(answers.glob("*.py"))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "returns.py").write_text(file.read_text())
        _, output = run_python(
            folder, "-m", "pg_agents.cli.main", "exercise", "check", "returns.py"
        )
    return ["```text", *output.splitlines(), "```"]


def main() -> None:
    """Writes the pages that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pages = (
        "results",
        "ablation",
        "speed",
        "estimators",
        "checker",
        "check-your-script",
        "exercises",
    )
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
            write_run_seconds(DOCS / "results", RUN_SECONDS)
        elif options.page == "ablation":
            stored = json.loads((DOCS / "ablation.json").read_text())
            update("ablation", ablation_parts(stored))
        elif options.page == "speed":
            stored = json.loads((DOCS / "speed.json").read_text())
            update("speed", speed_parts(stored))
            if speed_curve(stored["runs"]):
                draw_speed(stored["runs"], DOCS / "speed.png")
        elif options.page == "estimators":
            update("estimators", estimators_parts())
        elif options.page == "exercises":
            update("exercises", exercises_parts())
        elif options.page == "check-your-script":
            update("check-your-script", check_your_script_parts())
        else:
            measured = json.loads((DOCS / "checker_runs.json").read_text())
            alarms = json.loads((DOCS / "false_alarms.json").read_text())
            checker, pitfalls = checker_parts(measured, alarms)
            checked = json.loads((DOCS / "script_checks.json").read_text())
            checker |= script_check_parts(checked)
            repeated = json.loads((DOCS / "script_alarms.json").read_text())
            checker["script alarms"] = script_alarm_lines(repeated)
            public = json.loads((DOCS / "public_scripts.json").read_text())
            checker["public scripts"] = public_script_lines(public)
            update("checker", checker)
            update("pitfalls", pitfalls)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
