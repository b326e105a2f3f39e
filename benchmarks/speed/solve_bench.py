"""CartPole-v1 solved: the seeds of all sides in turn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.speed.machine import setup
from benchmarks.speed.measuring import Start, start_worker
from benchmarks.speed.results import Results
from benchmarks.speed.settings import RECIPES
from benchmarks.speed.solving import ENOUGH, EVERY, IN_A_ROW, N_EPISODES

SECTION, SETUP = "solve", "setup"
N_SEEDS = 20
NEVER = float("inf")
INTRO = f"""\
Solved: a mean of {ENOUGH:g} over {N_EPISODES} whole episodes by the most probable
actions at {IN_A_ROW} evaluations one after another, one every {EVERY:,} steps. The
clock runs during `learn()` and stands still during evaluations; seconds are those at
the third of the three. {N_SEEDS} seeds, one thread each, a process for each algorithm,
warm; the algorithms take turns within a seed. PPO and A2C have RL Zoo's tuned
settings."""


@dataclass(frozen=True)
class Aim:
    """What an algorithm is to reach, in medians of PPO."""

    name: str
    what: str
    most: float


AIMS = (
    Aim("ActorCritic", "median", 0.25),
    Aim("ActorCritic", "slowest", 0.5),
    Aim("REINFORCE", "median", 1.0),
)


def run_missing(
    results: Results,
    n_seeds: int,
    n_timesteps: int | None = None,
    say: Callable[[str], None] = print,
    start: Start = start_worker,
) -> None:
    """Runs the seeds that the results do not have yet, and adds each as it ends."""
    found = results.section(SECTION)
    tasks = [
        (seed, name)
        for seed in range(n_seeds)
        for name in RECIPES
        if f"{name} {seed}" not in found
    ]
    if not tasks:
        return
    results.add(SECTION, SETUP, setup())
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                closing(start({"work": "solve", "recipe": RECIPES[name]}, 1))
            )
            for name in dict.fromkeys(name for _, name in tasks)
        }
        for seed, name in tasks:
            answer = workers[name].ask(do="solve", seed=seed, n_timesteps=n_timesteps)
            results.add(SECTION, f"{name} {seed}", answer)
            end = f"{answer['seconds']:.2f} s" if answer["solved"] else "not solved"
            say(f"solve: seed {seed}, {name}: {end}, {answer['steps']:,} steps")


def seconds(found: dict[str, Any], name: str) -> list[float]:
    """Returns the seconds of an algorithm's seeds; infinity where it is not solved."""
    runs = [found[f"{name} {s}"] for s in range(N_SEEDS) if f"{name} {s}" in found]
    return [run["seconds"] if run["solved"] else NEVER for run in runs]


def table(found: dict[str, Any]) -> list[str]:
    """Returns the lines of the page."""
    lines = [INTRO, "", f"{found[SETUP]}.", ""]
    lines += ["| algorithm | solved | median s | fastest | slowest | / PPO's median |"]
    lines += ["|---|---|---|---|---|---|"]
    reference = median(seconds(found, "PPO"))
    for name in RECIPES:
        each = seconds(found, name)
        solved = sum(value < NEVER for value in each)
        cells = (median(each), min(each), max(each))
        shown = " | ".join("never" if x == NEVER else f"{x:.2f}" for x in cells)
        # Infinity over infinity is no number.
        share = "" if cells[0] == NEVER else f"{cells[0] / reference:.2f}"
        lines.append(f"| {name} | {solved} of {len(each)} | {shown} | {share} |")
    lines += ["", "| to reach | found | |", "|---|---|---|"]
    ours = seconds(found, "ActorCritic")
    solved = sum(value < NEVER for value in ours)
    verdict = "met" if solved == N_SEEDS else "**missed**"
    aim = f"ActorCritic solves {N_SEEDS} of {N_SEEDS} seeds"
    lines.append(f"| {aim} | {solved} of {len(ours)} | {verdict} |")
    return lines + [aim_row(aim, found, reference) for aim in AIMS]


def aim_row(aim: Aim, found: dict[str, Any], reference: float) -> str:
    """Returns the row of an aim."""
    each = seconds(found, aim.name)
    value = median(each) if aim.what == "median" else max(each)
    to_reach = f"{aim.name}'s {aim.what} <= {aim.most:g} x PPO's median"
    if value == NEVER:
        return f"| {to_reach} | never solved | **missed** |"
    share = value / reference
    missed_by = 100 * (share / aim.most - 1)
    said = "met" if share <= aim.most else f"**missed by {missed_by:.0f} %**"
    return f"| {to_reach} | {share:.2f} x | {said} |"
