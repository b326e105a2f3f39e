"""Writes docs/estimators.md and its picture: the bias and variance of every estimator.

Run it with `make estimators`. It takes some five minutes; every figure in the page
comes from the runs that it makes. `tests/test_unbiasedness.py` tests every row.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.estimator_cases import CASES, Case, cosine, noise, relative_bias
from benchmarks.estimator_variance import (
    CRITIC_UPDATES,
    ESTIMATORS,
    GAMMA,
    N_ENVS,
    NONE,
    TASKS,
    TIME_LIMIT,
    Sample,
    sample_gradients,
)
from benchmarks.scripted import Moments
from pg_agents.analysis.plots.style import colour, new_figure
from pg_envs import oracle

PACKAGES = ("pgtoy", "gymnasium", "stable-baselines3", "torch", "numpy")
PAGE = ROOT / "docs" / "estimators.md"
PICTURE = ROOT / "docs" / "estimators.png"
UNBIASED = "none, to 1e-6"
N_UPDATES = 400
SEED = 0


def case_row(case: Case, moments: Moments) -> str:
    """Returns the row of a case in the table."""
    bias = relative_bias(case, moments.mean)
    cells = [
        f"`{case.name}`",
        case.claim,
        UNBIASED if bias < 1e-6 else f"{bias:.4f}",
        f"{cosine(case, moments.mean):.4f}",
        f"{noise(case, moments):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def cases_of_page(text: str) -> dict[str, list[str]]:
    """Returns the cells of each case's row, by name, as they stand in a page.

    Raises:
        ValueError: if a case has two rows.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| `"):
            continue
        name = cells[0].strip("`")
        if name in found:
            raise ValueError(f"two rows for {name}")
        found[name] = cells[1:]
    return found


def measure() -> list[list[Sample]]:
    """Returns the gradients of every estimator on every task."""
    return [
        [sample_gradients(task, e, N_UPDATES, SEED) for task in TASKS]
        for e in ESTIMATORS
    ]


def variance_rows(samples: Sequence[Sequence[Sample]]) -> list[str]:
    """Returns the table of what was measured."""
    labels = [estimator.label for estimator in ESTIMATORS]
    reference = samples[labels.index(NONE.label)]
    rows = [
        "|  | "
        + " | ".join(f"{t.name} | of no baseline | cosine" for t in TASKS)
        + " |",
        "|---|" + "---:|---:|---:|" * len(TASKS),
    ]
    for label, of_tasks in zip(labels, samples, strict=True):
        cells = [label]
        for sample, none in zip(of_tasks, reference, strict=True):
            value, error = sample.noise(), sample.standard_error()
            cells += [f"{value:.2f} ± {error:.2f}", f"{value / none.noise():.2f}"]
            cells.append(f"{sample.cosine():.4f}")
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def draw(samples: Sequence[Sequence[Sample]]) -> None:
    """Writes the picture: a point with its standard error per estimator and task."""
    figure, panels = new_figure(9.0, 4.8, len(TASKS))
    places = np.arange(len(ESTIMATORS))[::-1]
    for i, (axes, task) in enumerate(zip(panels, TASKS, strict=True)):
        values = [of_tasks[i].noise() for of_tasks in samples]
        # The usual 95 % interval.
        errors = [1.96 * of_tasks[i].standard_error() for of_tasks in samples]
        axes.errorbar(values, places, xerr=errors, fmt="none", color=colour(0))
        true = [of_tasks[i].cosine() > 1 - 1e-9 for of_tasks in samples]
        axes.scatter(
            values,
            places,
            color=[colour(0) if yes else "white" for yes in true],
            edgecolor=colour(0),
            zorder=3,
        )
        axes.axvline(
            values[ESTIMATORS.index(NONE)], color=colour(1), linestyle="--", lw=1
        )
        axes.set_xscale("log")
        axes.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
        axes.set_title(task.name, fontsize=10)
        axes.set_yticks(places, [estimator.label for estimator in ESTIMATORS])
    figure.supxlabel(
        "noise of an episode's gradient (variance over squared use), log scale; "
        "dashed: no baseline\n"
        "filled: the expectation has the direction of the exact gradient; "
        "bars: 95 % interval",
        fontsize=9,
    )
    figure.savefig(PICTURE)


def _play(number: int) -> str:
    task = TASKS[number]
    value = oracle.expected_return(task.mdp, task.pi, 1.0, task.time_limit)
    return f"{value:.2f} and {task.mean_length:.1f} steps"


def _conditions() -> list[str]:
    """Returns how the measured figures came about."""
    return [
        f"Over {N_UPDATES} updates of {N_ENVS} episodes each, one per environment,",
        f"seed {SEED}, by the agents' own rollouts and updates; ± is one standard "
        "error,",
        "by bootstrap over updates. The policy takes the best action in half of its",
        "steps and any action in the other half; the mean (undiscounted) return and",
        f"length of an episode are {_play(0)} on the sequence and",
        f"{_play(1)} on FrozenLake. gamma {GAMMA}, time limit {TIME_LIMIT}; gamma^t is",
        "kept unless it says dropped. Learned values are fitted by the agent's own "
        "value",
        f"loss for {CRITIC_UPDATES} updates of {N_ENVS} episodes, the policy being "
        "held,",
        "before anything is measured.",
    ]


def page(moments: Sequence[Moments], samples: Sequence[Sequence[Sample]]) -> list[str]:
    """Returns the lines of the page."""
    rows = [case_row(case, m) for case, m in zip(CASES, moments, strict=True)]
    plain = [r for c, r in zip(CASES, rows, strict=True) if not c.standardised]
    others = [r for c, r in zip(CASES, rows, strict=True) if c.standardised]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    return [
        *_INTRODUCTION,
        *_MEASURED,
        *_conditions(),
        "",
        *variance_rows(samples),
        "",
        "![Noise of each estimator on both tasks](estimators.png)",
        "",
        *_ENUMERATED,
        "",
        "### As they are",
        "",
        *_HEADER,
        *plain,
        "",
        "### Standardised",
        "",
        *_STANDARDISED,
        "",
        *_HEADER,
        *others,
        "",
        f"Python {platform.python_version()}, {versions}; CPU, one torch thread.",
        "",
    ]


_INTRODUCTION = """\
# Estimators: bias and variance

Written by `make estimators`, which makes the runs and prints this page;
`tests/test_unbiasedness.py` computes every row of the two long tables again.

In short: over whole episodes no baseline, leave-one-out and any value baseline leave
the gradient exact, if gamma^t is kept (`weight_by_gamma_t=True`) or the full return is
used. The batch mean shortens it by exactly 1 - 1/N. A critic that returns go on with
brings in its errors, and nothing if it has none. Returns cut at the end of `n_steps`
steps miss what came later. Standardising brings in a bias with no closed form.
""".splitlines()

_MEASURED = """\

## How much they scatter

The *noise* of an estimate is `E tr(Cov(ghat)) / (E[ghat] . g / |g|)^2`, where g is the
oracle's gradient, ghat the estimate and E the number of episodes it is made of: the
variance of a gradient from a single episode, over the squared length of what it gives
in the right direction. It does not change if ghat is multiplied by a number, and so
mean and leave-one-out are equal in it: one is 1 - 1/N times the other.

The cosine is that of the angle between E[ghat] and g: 1 where nothing is biased but the
length. E[ghat] is theory's, with the values that were learnt; of the two standardised
rows it is the sample's own mean, whose scatter makes it a little less than it is.

""".splitlines()

_ENUMERATED = """\
## What they are on average

All rollouts of a small task are played to each agent: its own `collect_rollouts`,
buffer and `train` give a gradient for each, and the table has their mean, weighted by
probability. The task has three states, episodes of one to three steps, a random
transition and gamma 0.75; "time limit 2" cuts its episodes after two steps. `n_steps`
rollouts begin where a long run of them does, and their gradient is per step: it is
compared with g divided by the mean length of an episode. `exact critic` holds the
policy's values without a time limit, `wrong critic` others. `max_grad_norm` is None
throughout: a bound on the norm, as ActorCritic has by default, is a bias of its own.
Rows with `returns` are REINFORCE's, those with `estimator` ActorCritic's; an argument
that is not named has its default.

What theory says is in the second column: g alone is the oracle's gradient; what follows
it makes it another one, in closed form but for standardising. The bias is the distance
of the mean from g in lengths of g, the cosine that of the angle between them, the noise
exact and as above. Agent and theory agree within 1e-6 of g's largest component in every
row: advantages are float32, which allows no less than about 1e-7.
""".splitlines()

_STANDARDISED = """\
Dividing by the batch's own deviation has no closed form: these rows are compared with
the same mean written in plain NumPy. The unit of the gradient is another one, which
shows in the bias: the cosine is what to look at.
""".splitlines()

_HEADER = [
    "| arguments | expectation | bias | cosine | noise |",
    "|---|---|---:|---:|---:|",
]


def write(moments: Sequence[Moments], samples: Sequence[Sequence[Sample]]) -> None:
    """Writes the page and the picture."""
    draw(samples)
    PAGE.write_text("\n".join(page(moments, samples)))


def main() -> None:
    """Makes the runs and writes page and picture."""
    torch.set_num_threads(1)
    write([case.measured() for case in CASES], measure())
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
