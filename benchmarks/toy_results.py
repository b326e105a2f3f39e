"""Writes docs/results.md: what the demos measure, beside what the notebooks report.

Run it with `make results`. It takes some minutes; every figure in the page comes from
the runs that it makes.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.evaluation import evaluate_policy

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "demos"))

import bandit
import sequence

from pg_agents import RandomAgent
from pg_agents.losses import policy_gradient_loss
from pg_agents.returns import reward_to_go

PACKAGES = ("pgtoy", "gymnasium", "stable-baselines3", "torch", "numpy")
Row = tuple[str, str, str, str]


def known_values() -> Row:
    """Row known-values, by the library's own functions."""
    weighted = -policy_gradient_loss(
        torch.tensor([0.8]).log(), torch.tensor([100.0]), 1
    )
    returns = reward_to_go(torch.tensor([1.0, 2.0, 3.0, 4.0]), 0.99)
    log_prob = torch.log_softmax(torch.tensor([1.0, 2.0]), 0)[1:]
    loss = policy_gradient_loss(log_prob, torch.tensor([10.0]), 1)
    ours = (
        f"{weighted.item():.6f}; {[round(g, 6) for g in returns.tolist()]}; "
        f"{loss.item():.7f}"
    )
    theirs = "-22.314354; [9.801496, 8.8904, 6.96, 4.0]; 3.1326165"
    return "known-values", theirs, ours, "`.venv/bin/pytest -k known_value`"


def random_baseline() -> Row:
    """Row random-baseline: uniform random actions on CartPole-v1, 10 episodes."""
    model = RandomAgent("MlpPolicy", "CartPole-v1", seed=0)
    assert model.env is not None
    mean, deviation = evaluate_policy(model, model.env, n_eval_episodes=10)
    ours = f"return {mean:.1f} +/- {deviation:.1f} over 10 episodes, seed 0"
    return "random-baseline", "watched, no figure", ours, "`make results`"


def bandit_row(name: str, make: object, n_runs: int, n_pulls: int) -> Row:
    """Rows bandit-table and bandit-network."""
    assert callable(make)
    records, _ = bandit.make_runs(make, n_runs, n_pulls, seed=0)
    final = bandit.final_probabilities(records)
    totals = np.array([record.rewards.sum() for record in records])
    ours = (
        f"P(paying arm) after {n_pulls} pulls: mean {final.mean():.3f}, lowest "
        f"{final.min():.3f}, >= 0.95 in {(final >= 0.95).sum()} of {n_runs} runs "
        f"(seeds 0 to {n_runs - 1}); total reward {totals.mean():.1f} +/- "
        f"{totals.std():.1f}"
    )
    return name, "plots, no figure", ours, "`.venv/bin/python demos/bandit.py`"


def sequence_row() -> Row:
    """Row sequence-reinforce: 10 runs of 500 episodes."""
    runs = sequence.make_runs(n_runs=10, n_episodes=500, seed=0)
    last = np.array([run.record.episode_returns[-100:].mean() for run in runs])
    n_right = sum(run.is_right for run in runs)
    ours = (
        f"the most probable actions of the three states are right, right, centre in "
        f"{n_right} of 10 runs (seeds 0 to 9); mean return of "
        f"the last 100 episodes {last.mean():.3f}, from {last.min():.3f} to "
        f"{last.max():.3f} (best possible 0.900)"
    )
    return (
        "sequence-reinforce",
        "9 of 10 runs (with the probability in place of its logarithm)",
        ours,
        "`make demo`",
    )


def main() -> None:
    """Makes the runs and writes the page."""
    torch.set_num_threads(1)
    rows = [
        random_baseline(),
        known_values(),
        bandit_row("bandit-table", bandit.make_table, 100, 500),
        bandit_row("bandit-network", bandit.make_network, 50, 100),
        sequence_row(),
    ]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    lines = [
        "# Results",
        "",
        "Written by `make results`, which makes the runs and prints this page. A row",
        "is an experiment of the notebooks that this project replaces; the last column",
        "says how to watch it.",
        "",
        "| row | the notebook reports | here | watch it |",
        "|---|---|---|---|",
        *(f"| **{name}** | {a} | {b} | {command} |" for name, a, b, command in rows),
        "",
        f"Python {platform.python_version()}, {versions}; CPU, one torch thread.",
        "A spread is one standard deviation over runs or episodes.",
        "",
    ]
    (ROOT / "docs" / "results.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
