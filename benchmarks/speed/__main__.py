"""Writes docs/speed.md: `make bench`, or `python -m benchmarks.speed`.

What docs/speed.json does not have yet is measured, and added line by line; with the
file as it is, the page is only written anew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.speed import scaling, solve_bench
from benchmarks.speed.lines import RUNS, Run
from benchmarks.speed.machine import setup
from benchmarks.speed.measuring import QUICK, Patience, measure
from benchmarks.speed.page import page, report
from benchmarks.speed.process import ROOT
from benchmarks.speed.profiling import profile_side
from benchmarks.speed.results import Results

NAMES = (*(run.name for run in RUNS), solve_bench.SECTION, scaling.SECTION)
QUICK_SIZES = (1, 64)


def parse() -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="measure these, even if measured before",
    )
    parser.add_argument(
        "--quick", action="store_true", help="smoke test: everything, short, not kept"
    )
    parser.add_argument(
        "--profile", nargs="+", metavar="NAME", help="show where the time of these goes"
    )
    parser.add_argument("--repeats", type=int, default=Patience.repeats)
    parser.add_argument("--seconds", type=float, default=Patience.seconds)
    parser.add_argument("--list", action="store_true", help="print the names")
    options = parser.parse_args()
    unknown = {*(options.only or ()), *(options.profile or ())} - {*NAMES}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; see --list")
    return options


def wanted_runs(only: list[str] | None, results: Results) -> list[Run]:
    """Returns the runs to be measured."""
    if only is not None:
        return [run for run in RUNS if run.name in only]
    return [run for run in RUNS if run.name not in results.section("runs")]


def measure_runs(runs: list[Run], patience: Patience, results: Results) -> list[str]:
    """Measures runs, and adds each to the results; returns those that failed."""
    failed = []
    for run in runs:
        try:
            entry = {"setup": setup(), **measure(run, patience)}
        except RuntimeError as error:
            # The others are worth having all the same.
            print(f"{run.name}: {error}", flush=True)
            failed.append(run.name)
            continue
        results.add("runs", run.name, entry)
        # A profile of other code than that of the figures would mislead.
        results.found.get("profiles", {}).pop(run.name, None)
        print(report(run, entry), flush=True)
    return failed


def add_profiles(names: list[str], seconds: float, results: Results) -> None:
    """Adds the profile of the first of our sides of each run."""
    for run in RUNS:
        if run.name in names:
            side = run.lines[0].ours
            text = profile_side(run.sides[side], run.threads, seconds)
            results.add("profiles", run.name, f"{side}.\n\n{text}")
            print(f"{run.name}, {side}\n\n{text}", flush=True)


def main() -> None:
    """Measures what is missing or asked for, and writes page and picture."""
    options = parse()
    if options.list:
        print("\n".join(NAMES))
        return
    with tempfile.TemporaryDirectory() as scratch:
        # A smoke test leaves docs/ as it is.
        folder = Path(scratch) if options.quick else ROOT / "docs"
        results = Results(folder / "speed.json")
        patience = QUICK
        if not options.quick:
            patience = Patience(repeats=options.repeats, seconds=options.seconds)
        failed: list[str] = []
        if options.profile:
            add_profiles(options.profile, patience.seconds, results)
        else:
            failed = measure_wanted(options, patience, results)
        if scaling.SECTION in results.found:
            scaling.draw(results.section(scaling.SECTION), folder / "speed.png")
        (folder / "speed.md").write_text(page(results.found))
        if options.quick:
            print(page(results.found))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def measure_wanted(
    options: argparse.Namespace, patience: Patience, results: Results
) -> list[str]:
    """Measures what is asked for, or else what is missing; returns what failed."""
    only = options.only
    if only:
        for section in (solve_bench.SECTION, scaling.SECTION):
            if section in only:
                results.found.pop(section, None)
    runs = wanted_runs(only, results)
    if options.quick:
        # Two threads on a busy machine wait for each other most of the time.
        runs = [replace(run, threads=1) for run in runs]
    failed = measure_runs(runs, patience, results)
    if only is None or solve_bench.SECTION in only:
        if options.quick:
            solve_bench.run_missing(results, 1, n_timesteps=6_000)
        else:
            solve_bench.run_missing(results, solve_bench.N_SEEDS)
    if only is None or scaling.SECTION in only:
        if options.quick:
            scaling.run_missing(results, patience, QUICK_SIZES, 20_000)
        else:
            scaling.run_missing(results, patience)
    return failed


if __name__ == "__main__":
    main()
