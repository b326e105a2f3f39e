"""The command `pgtoy sweep`: a recipe's settings tuned, and tested on other seeds."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg_agents.experiments.extras import require_extra
from pg_agents.experiments.settings import DEFAULT_ROOT, RunConfig

if TYPE_CHECKING:
    from pg_agents.sweeps import SweepResult

Space = Mapping[str, Sequence[Any]]
EPILOG = """\
examples:
  pgtoy sweep cartpole-mc --try learning_rate=log:1e-4:1e-1 --trials 20
  pgtoy sweep cartpole-mc --try gamma=choice:[0.98,0.99,1.0] n_episodes=int:1:8 \\
      --tuning-seeds 100 101 102 --test-seeds 0 1 2 3 4 --episodes 300

--try takes KEY=float:LOW:HIGH, log:LOW:HIGH, int:LOW:HIGH, log_int:LOW:HIGH or
choice:[JSON list]; KEY is anything that --set takes. The same command goes on where it
was cut off. What is reported are the returns with the test seeds, which had no say in
the choice.
"""


def sweep(
    config: RunConfig,
    space: Space,
    *,
    n_trials: int,
    tuning_seeds: Sequence[int],
    test_seeds: Sequence[int],
    root: str | Path = DEFAULT_ROOT,
    say: Callable[[str], None] = lambda line: None,
) -> SweepResult:
    """Looks for better settings of a recipe, see `pg_agents.sweeps.tune`.

    Every run is one of `run_one`, with a folder in `ROOT/sweeps/NAME/trials`, and its
    score is the mean return of its evaluation: what has finished is not run again. A
    trial with a run whose numbers do not stay finite has failed.

    Args:
        config: what the trials change.
        space: what to try, by the names that `Settings.changed` takes.
        n_trials: to reach.
        tuning_seeds: of every trial.
        test_seeds: of the best one; none of the tuning seeds.
        root: the folder of all runs.
        say: is told of every run that has ended.

    Returns:
        The best settings and their scores.

    Raises:
        ValueError: if an argument is wrong, or a setting is refused.
        ModuleNotFoundError: if an extra is not installed.
    """
    require_extra("sweeps", "a sweep")
    require_extra(config.settings.extra, f"recipe {config.recipe}")
    # Imported here: the command's help does without torch.
    from pg_agents.common.nonfinite import NonFiniteError
    from pg_agents.experiments.run import run_one
    from pg_agents.sweeps import parse_space, tune

    parse_space(space)
    folder = Path(root) / "sweeps" / config.name
    folder.mkdir(parents=True, exist_ok=True)

    def score(settings: dict[str, Any], seed: int) -> float:
        changed = config.changed(settings)
        try:
            run = run_one(changed, seed, folder / "trials" / _mark(changed))
        except NonFiniteError as error:
            say(f"{settings}, seed {seed} failed: {error}")
            return math.nan
        found = run.result().mean_return
        say(f"{settings}, seed {seed}: {found:.4g}")
        return found

    return tune(
        score,
        space,
        # Other settings of the recipe, such as its length, make it another study.
        name=f"{config.name}-{_mark(config)}",
        journal=folder / "journal.log",
        n_trials=n_trials,
        tuning_seeds=tuning_seeds,
        test_seeds=test_seeds,
    )


def _mark(config: RunConfig) -> str:
    """Returns a short name for settings, the same for the same ones."""
    text = json.dumps(config.settings.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parse_try(text: str) -> tuple[str, list[Any]]:
    """Returns name and entry of a search space from ``KEY=KIND:...``.

    Raises:
        ValueError: if it reads otherwise; what kinds there are says `parse_space`.
    """
    name, equals, entry = text.partition("=")
    kind, colon, rest = entry.partition(":")
    if not (name and equals and colon):
        raise ValueError(f"--try must read KEY=KIND:..., got {text!r}")
    parts = [rest] if kind == "choice" else rest.split(":")
    try:
        return name, [kind, *(json.loads(part) for part in parts)]
    except ValueError:
        raise ValueError(
            f"--try {name} must have numbers, or a JSON list of choices, after "
            f"{kind}:, got {rest!r}"
        ) from None


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `pgtoy sweep` takes beyond `pgtoy run`."""
    add = parser.add_argument
    add(
        "--try",
        nargs="+",
        action="extend",
        required=True,
        dest="tried",
        metavar="KEY=KIND:...",
        help="what to try, see below",
    )
    add("--trials", type=int, default=20, help="to reach (%(default)s)")
    for name, seeds in (("tuning", (100, 101, 102)), ("test", (0, 1, 2, 3, 4))):
        add(
            f"--{name}-seeds",
            type=int,
            nargs="+",
            metavar="SEED",
            default=list(seeds),
            help=" ".join(map(str, seeds)),
        )


def run_sweep(options: argparse.Namespace, config: RunConfig) -> int:
    """Runs `pgtoy sweep`; returns the exit status."""
    result = sweep(
        config,
        dict(parse_try(each) for each in options.tried),
        n_trials=options.trials,
        tuning_seeds=options.tuning_seeds,
        test_seeds=options.test_seeds,
        root=options.out,
        say=lambda line: print(line, flush=True),
    )
    print(
        f"\nbest of {result.n_completed} trials ({result.n_pruned} given up, "
        f"{result.n_failed} failed): trial {result.trial}"
    )
    low, high = result.test_interval
    print(
        f"{config.name}: {result.test_iqm:.4g} ({low:.4g} to {high:.4g}), "
        "interquartile mean and 95 % interval over "
        f"{len(result.test_scores)} test seeds"
    )
    changes = [f"{name}={json.dumps(value)}" for name, value in result.settings.items()]
    print("--set " + " ".join(f"'{each}'" for each in changes))
    return 0
