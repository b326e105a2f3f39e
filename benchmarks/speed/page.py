"""docs/speed.md, from the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.speed import scaling, solve_bench
from benchmarks.speed.lines import RUNS, Run
from benchmarks.speed.verdicts import number, row, verdict

HEAD = """\
# How fast it is

Written by `make bench` from the measurements in `speed.json`; do not edit.

Steps a second of `learn()`, summed over environments. A line is measured side by side:
each side in a process of its own, warm, works while the others wait, in turns
A B A B ..., at least five each. In a turn every side takes the same number of steps
with a model fresh from the same seed (an environment's cost depends on how good the
policy is by then); making the model, the environment and the warm-up are left out. The
ratio is the median over the turns, with the least and the largest in brackets."""
COLUMNS = "| setting | ours | steps/s | rival | steps/s | ratio | to reach | |"
# Measured before this project had any code, on another day: nothing to hold against.
BEFORE = {
    "Environments of tables, 65,536 of them": (
        "Measured before, not in this run: a hand-compiled loop (numba, one core) of "
        "REINFORCE on the three-state sequence, 25.5 M steps/s. The rows of REINFORCE "
        "are of commit f558712: the summary of the loss by observation and action that "
        "they were measured with is deleted, since a user's own `loss` did not see "
        "every step. They are slower now, and are to be measured again."
    ),
    "Against PureJaxRL's PPO on gymnax": (
        "Our own PPO in PureJaxRL's way (`benchmarks/speed/pure_jax_ppo.py`). Measured "
        "before, not in this run: PureJaxRL itself, at 64 / 1,024 / 4,096 "
        "environments, 533,000 / 532,000 / 584,000 steps/s for 1 x 1 and 187,000 / "
        "182,000 / 179,000 for 4 x 4 (epochs x mini-batches)."
    ),
}


def page(found: Mapping[str, Any]) -> str:
    """Returns the page; what has not been measured yet is named."""
    runs = found.get("runs", {})
    lines = [HEAD, "", *summary(runs), ""]
    for section in dict.fromkeys(run.section for run in RUNS):
        lines += section_lines(section, runs, found.get("profiles", {}))
    lines += ["## CartPole-v1 solved", ""]
    lines += or_missing(found, solve_bench.SECTION, solve_bench.table)
    lines += ["", "## Cost grows as the work", ""]
    lines += or_missing(
        found, scaling.SECTION, lambda each: scaling.table(each, "speed.png")
    )
    missing = [run.name for run in RUNS if run.name not in runs]
    if missing:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    return "\n".join([*lines, ""])


def or_missing(found: Mapping[str, Any], section: str, table: Any) -> list[str]:  # noqa: ANN401
    """Returns the table of a section, or that there is none yet."""
    # The setup is what a section gets last.
    if "setup" not in found.get(section, {}):
        return ["Not measured yet."]
    lines: list[str] = table(found[section])
    return lines


def summary(runs: Mapping[str, Any]) -> list[str]:
    """Returns how many of the targets are met, and what it was measured on."""
    lines = [
        verdict(line, runs[run.name]["turns"])
        for run in RUNS
        if run.name in runs
        for line in run.lines
        if line.target is not None
    ]
    n_met = sum(bool(each.met) for each in lines)
    setups = list(
        dict.fromkeys(runs[run.name]["setup"] for run in RUNS if run.name in runs)
    )
    return [
        f"Targets met, of those of ratios and rates that are measured: {n_met} of "
        f"{len(lines)}.",
        "",
        *(f"- {setup}" for setup in setups),
    ]


def section_lines(
    section: str, runs: Mapping[str, Any], profiles: Mapping[str, str]
) -> list[str]:
    """Returns heading, table and notes of a section."""
    here = [run for run in RUNS if run.section == section and run.name in runs]
    if not here:
        return []
    lines = [f"## {section}", ""]
    if section in BEFORE:
        lines += [BEFORE[section], ""]
    lines += [threads_line(here), "", COLUMNS, "|---" * 8 + "|"]
    for run in here:
        lines += [row(line, run.setting, runs[run.name]["turns"]) for line in run.lines]
    lines.append("")
    for run in here:
        lines += facts_lines(run, runs[run.name])
    # What was tried is the same for several lines, and said once.
    notes = dict.fromkeys(line.note for run in here for line in run.lines)
    lines += [f"{note}\n" for note in notes if note]
    for run in here:
        if run.name in profiles:
            lines += [f"Where the time goes, `{run.name}`:", "", profiles[run.name], ""]
    return lines


def threads_line(here: list[Run]) -> str:
    """Returns how many threads the sides of a section have."""
    threads = sorted({run.threads for run in here})
    plural = "" if threads == [1] else "s"
    return f"{' or '.join(map(str, threads))} thread{plural} for every side."


def facts_lines(run: Run, entry: Mapping[str, Any]) -> list[str]:
    """Returns what the processes said beside their times."""
    said = []
    for name, ready in entry["ready"].items():
        if "compile_seconds" in ready:
            versions = ", ".join(f"{k} {v}" for k, v in ready["versions"].items())
            said.append(
                f"{name}, {run.setting}: {ready['compile_seconds']:.1f} s to compile, "
                f"left out ({versions})."
            )
    if run.n_steps is not None:
        # From scratch: how long episodes were says whether the sides had equal work.
        lengths = ", ".join(
            f"{name} {episode_length(turns):.0f}"
            for name, turns in entry["turns"].items()
        )
        said.append(f"Steps an episode, mean over the turns: {lengths}.")
    return [f"{each}\n" for each in said]


def episode_length(turns: list[dict[str, float]]) -> float:
    """Returns steps an episode, where there is one update an episode."""
    return sum(turn["steps"] for turn in turns) / sum(turn["updates"] for turn in turns)


def report(run: Run, entry: Mapping[str, Any]) -> str:
    """Returns the lines of a run for the terminal."""
    said = []
    for line in run.lines:
        found = verdict(line, entry["turns"])
        unit = " steps/s" if line.rival is None else " x"
        value = number(found.value) if line.rival is None else f"{found.value:.2f}"
        aim = "" if found.met is None else " met" if found.met else " MISSED"
        against = f" ({number(found.ours)})"
        if found.theirs is not None:
            against = f" / {line.rival} ({number(found.ours)} / {number(found.theirs)})"
        said.append(f"{run.name}: {line.ours}{against}: {value}{unit}{aim}")
    return "\n".join(said)
