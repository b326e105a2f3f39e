"""Writes docs/checker.md and docs/pitfalls.md: what the gradient checker says.

`make checker` checks every planted mistake of demos/pitfalls.py, our agents, and
Stable-Baselines3's with their defaults, and takes about ten minutes. How often a right
gradient is called wrong is counted by `make false-alarms`, which takes longer.
"""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "demos")]

import pitfalls

from pg_agents import REINFORCE, ActorCritic, check_policy_gradient
from pg_agents.checker import CATALOGUE, GradientReport, Mistake

DOCS = ROOT / "docs"
ID = "pg_envs:PGToy-Sequence-v0"
PACKAGES = ("pgtoy", "stable-baselines3", "sb3-contrib", "torch", "numpy", "scipy")
AT_TRUNCATION: dict[str, Any] = {"horizon": 6, "bootstrap": True}


def planted() -> dict[str, GradientReport]:
    """Checks the right one and every planted mistake, at the default sample size."""
    reports = {"right": check_policy_gradient(pitfalls.right)}
    for mistake in CATALOGUE:
        settings = AT_TRUNCATION if mistake.at_truncation else {}
        subject = getattr(pitfalls, mistake.key)
        reports[mistake.key] = check_policy_gradient(subject, **settings)
        print(mistake.key, reports[mistake.key].verdict, flush=True)
    return reports


def subjects() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yields agents with their names and with what they are checked under."""
    right: dict[str, Any] = {"weight_by_gamma_t": True, "gamma": 0.9, "seed": 0}
    whole: dict[str, Any] = {"n_episodes": 8, **right}
    yield "REINFORCE *", REINFORCE("MlpPolicy", ID, **whole), {}
    yield (
        "REINFORCE *, leave-one-out",
        REINFORCE("MlpPolicy", ID, baseline="leave_one_out", **whole),
        {},
    )
    yield (
        "ActorCritic *, Monte-Carlo returns",
        ActorCritic("MlpPolicy", ID, max_grad_norm=None, **whole),
        {},
    )
    yield "REINFORCE, defaults", REINFORCE("MlpPolicy", ID, seed=0), {}
    limit: dict[str, Any] = {"bootstrap": True}
    for algorithm in (A2C, PPO, TRPO):
        name = f"SB3's {algorithm.__name__}, defaults"
        model = algorithm("MlpPolicy", ID, seed=0)
        yield name, model, limit
        yield f"{name}, exact critic", model, {"critic": "exact", **limit}


def agents() -> list[tuple[str, GradientReport]]:
    """Checks agents on the sequence."""
    rows = []
    for name, model, settings in subjects():
        rows.append((name, check_policy_gradient(model, **settings)))
        print(name, rows[-1][1].verdict, flush=True)
    return rows


def measured(report: GradientReport) -> str:
    """Returns verdict, cosine and bias as cells of a table."""
    low, high = report.relative_bias_interval
    return (
        f"{report.verdict} | {report.cosine:.3f} | {report.relative_bias:.3f} "
        f"({low:.3f} to {high:.3f})"
    )


def name_given(report: GradientReport) -> str:
    """Returns the name as a cell."""
    found = report.diagnosis
    if found is None:
        return "none"
    return found.title if found.match != "closest" else f"closest: {found.title}"


def false_alarms() -> list[str]:
    """Returns what `make false-alarms` has counted."""
    counted = json.loads((DOCS / "false_alarms.json").read_text())
    lines = []
    total: Counter[str] = Counter()
    for kind, words in (
        ("end_to_end", "of losses through `check_policy_gradient`"),
        ("models", "of REINFORCE, and of A2C with an exact critic and no discount"),
        ("at_once", "with all batches computed at once"),
    ):
        here: Counter[str] = Counter()
        for verdicts in counted[kind]["verdicts"].values():
            here.update(verdicts)
        total += here
        lines.append(
            f'- {here.total():,} runs {words}: {here["wrong"]} "wrong", '
            f'{here["biased but aligned"]} "biased but aligned".'
        )
    together = f'Together {total["wrong"]} of {total.total():,} runs say "wrong"'
    if not total["wrong"]:
        # With none in n runs the rate is below 3/n with 95 % confidence.
        together += f"; fewer than {3000 / total.total():.2g} in 1,000, with 95 %"
        together += " confidence"
    return [*lines, "", f"{together}."]


def versions() -> str:
    """Returns the line that says what the figures were measured with."""
    found = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return (
        f"Python {platform.python_version()}, {found}; CPU, one torch thread, seed 0."
    )


def planted_section(reports: dict[str, GradientReport]) -> list[str]:
    """Returns the table of planted mistakes."""
    named = sum(
        report.diagnosis is not None and report.diagnosis.key == key
        for key, report in reports.items()
        if key != "right"
    )
    slowest = max(report.seconds for report in reports.values())
    return [
        "## Planted mistakes",
        "",
        "The functions of `demos/pitfalls.py`, on PGToy-Sequence-v0 with gamma 0.9 and",
        "the default sample of 16,384 episodes. Truncation is checked with a time",
        "limit of 6 steps that is no part of the task (`--horizon 6 --bootstrap`).",
        "",
        f"{named} of {len(CATALOGUE)} are named as what they are; the slowest check",
        f"took {slowest:.1f} s.",
        "",
        "| planted | verdict | cosine | relative bias | named | seconds |",
        "|---|---|---:|---|---|---:|",
        *(
            f"| `{key}` | {measured(report)} | {name_given(report)} | "
            f"{report.seconds:.1f} |"
            for key, report in reports.items()
        ),
        "",
    ]


def agents_section(rows: list[tuple[str, GradientReport]]) -> list[str]:
    """Returns the table of agents."""
    return [
        "## Agents",
        "",
        "On PGToy-Sequence-v0 as they come, before any learning; * is with",
        "`weight_by_gamma_t=True`, gamma 0.9, 8 episodes per update and no bound on",
        "the gradient's norm. What learns from a fixed number of steps is compared",
        "with the gradient per step. SB3's agents take a time limit for no part of the",
        "task, and so does the exact gradient beside them. With an *exact critic* the",
        "true values stand in for the model's own. *length* is that of the expected",
        "gradient along the exact one, relative to it.",
        "",
        "| agent | gamma | verdict | cosine | relative bias | length | looks like | "
        "episodes |",
        "|---|---:|---|---:|---|---:|---|---:|",
        *(
            f"| {name} | {report.gamma:g} | {measured(report)} | {report.factor:.2f} | "
            f"{name_given(report)} | {report.n_episodes:,} |"
            for name, report in rows
        ),
        "",
        *(f"- {name}: {note}." for name, report in rows for note in report.notes),
        "",
    ]


def checker_page(
    reports: dict[str, GradientReport], rows: list[tuple[str, GradientReport]]
) -> str:
    """Returns docs/checker.md."""
    lines = [
        "# What the gradient checker says",
        "",
        "Written by `make checker`, which runs every check on this page; the counts of",
        "false alarms are from `make false-alarms`. Bias is relative to the exact",
        "gradient, with a 95 % interval.",
        "",
        *planted_section(reports),
        "## False alarms",
        "",
        "Full return, leave-one-out and the one-step advantage of an ideal critic are",
        "right. Each was checked on PGToy-Sequence-v0 and on FrozenLake-v1, where one",
        "episode in a hundred pays, with another policy and other episodes every time,",
        "and two agents (768 episodes each) on the former:",
        "",
        *false_alarms(),
        "",
        *agents_section(rows),
        versions(),
        "",
    ]
    return "\n".join(lines)


def pitfall(mistake: Mistake, report: GradientReport) -> list[str]:
    """Returns a mistake's section of docs/pitfalls.md."""
    low, high = report.relative_bias_interval
    return [
        f"## {mistake.title[0].upper()}{mistake.title[1:]}",
        "",
        mistake.explanation,
        "",
        "```text",
        f"makes it:  {mistake.wrong}",
        f"mends it:  {mistake.right}",
        "```",
        "",
        f"Measured: {report.verdict}, cosine {report.cosine:.3f}, relative bias "
        f"{report.relative_bias:.3f} (95 % interval {low:.3f} to {high:.3f}), length "
        f"{report.factor:.3f}. `pgtoy check pitfalls.py:{mistake.key}`"
        + (" with `--horizon 6 --bootstrap`." if mistake.at_truncation else "."),
        "",
    ]


NOTEBOOKS = (
    ("the loss uses the probability where its logarithm belongs", "probability"),
    ("the state stored is the next one", "next_state"),
    ("returns are cast to integers before learning", "rounded"),
    ("samples of the memory are off-policy, and nothing corrects for it", "replay"),
)
# Faults of theirs that are no gradient's, and what stands against them here.
OTHERS = (
    (
        "only `terminated` ends an episode, so that CartPole's limit is stepped past",
        "`terminated` and `truncated` reach the learner as facts of their own",
    ),
    (
        "the episode has no time limit, so that a bad policy never returns",
        "`max_episode_steps` of the agents cuts it off, with a warning",
    ),
    (
        "learning restarts every episode in the bandit, where a run is meant",
        "`demos/bandit.py` makes one run of all pulls",
    ),
)


def pitfalls_page(reports: dict[str, GradientReport]) -> str:
    """Returns docs/pitfalls.md."""
    titles = {mistake.key: mistake.title for mistake in CATALOGUE}
    lines = [
        "# Pitfalls of the policy gradient",
        "",
        "Fifteen ways of getting it wrong, or not quite right. Each is planted in",
        "`demos/pitfalls.py`; what the checker measures there stands below it: the",
        "cosine of the angle between expected and exact gradient, and the length of",
        "their difference relative to the exact gradient, on PGToy-Sequence-v0 with",
        "gamma 0.9. Written by `make checker`; how the checker itself does is in",
        "[checker.md](checker.md).",
        "",
        "The figures are of this task and this policy. At the uniform policy, for one,",
        "probability instead of log-probability is a mere factor; in a long task",
        "gamma^t dropped matters more.",
        "",
    ]
    for mistake in CATALOGUE:
        lines += pitfall(mistake, reports[mistake.key])
    lines += [
        "## In the notebooks that this project replaces",
        "",
        "| fault | here |",
        "|---|---|",
        *(f"| {fault} | above: {titles[key]} |" for fault, key in NOTEBOOKS),
        *(f"| {fault} | {answer} |" for fault, answer in OTHERS),
        "",
        versions(),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Runs all checks and writes both pages."""
    torch.set_num_threads(1)
    reports = planted()
    rows = agents()
    (DOCS / "pitfalls.md").write_text(pitfalls_page(reports))
    (DOCS / "checker.md").write_text(checker_page(reports, rows))


if __name__ == "__main__":
    main()
