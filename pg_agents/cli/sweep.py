"""The command `pgtoy sweep`: tunes settings and tests them on other seeds."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg_agents.cli.run import add_recipe_options, add_settings_options, config_of
from pg_agents.experiments.recipes import find_recipe
from pg_agents.experiments.settings import DEFAULT_ROOT, RunConfig, require_extra

if TYPE_CHECKING:
    from pg_agents.sweeps import SweepResult

_EPILOG = """\
examples:
  pgtoy sweep cartpole-mc --try learning_rate=log:1e-4:1e-1 --trials 20
  pgtoy sweep cartpole-mc --try gamma=choice:[0.98,0.99,1.0] \\
      n_episodes=int:1:8 --tuning-seeds 100 101 102 \\
      --test-seeds 0 1 2 3 4 --episodes 300

--try takes KEY=float:LOW:HIGH, log:LOW:HIGH, int:LOW:HIGH, log_int:LOW:HIGH or
choice:[JSON list]; KEY is anything that --set takes. The same command continues
an interrupted sweep. The reported returns are those of the test seeds, which
are not used to choose the settings.
"""


def add_command(commands: Any) -> None:  # noqa: ANN401
    """Adds the command to the subparsers of `pgtoy`."""
    parser = commands.add_parser(
        "sweep",
        help="tune a recipe's settings, and test them on other seeds",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_recipe_options(parser)
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
    for name, seeds in (("tuning", [100, 101, 102]), ("test", [0, 1, 2, 3, 4])):
        add(
            f"--{name}-seeds",
            type=int,
            nargs="+",
            metavar="SEED",
            default=seeds,
            help=" ".join(map(str, seeds)),
        )
    add_settings_options(parser)
    parser.set_defaults(run=_sweep)


def sweep(
    config: RunConfig,
    space: Mapping[str, Sequence[Any]],
    *,
    n_trials: int,
    tuning_seeds: Sequence[int],
    test_seeds: Sequence[int],
    root: str | Path = DEFAULT_ROOT,
    report: Callable[[str], None] = lambda line: None,
) -> SweepResult:
    """Looks for better settings of a recipe, see `pg_agents.sweeps.tune`.

    Each run is made by `run_one`, in a folder in `ROOT/sweeps/NAME/trials`, and its
    score is the mean return of its evaluation; finished runs are not repeated. A trial
    with a run that raises a `NonFiniteError` has failed.

    Args:
        config: config that the trials change.
        space: search space, by the names that `Settings.changed` takes.
        n_trials: number of trials to reach.
        tuning_seeds: seeds of every trial.
        test_seeds: seeds of the best trial, different from the tuning seeds.
        root: the folder of all runs.
        report: called with a line about each run that has ended.

    Returns:
        The best settings and their scores.

    Raises:
        ValueError: if an argument is wrong, or a setting is refused.
        ModuleNotFoundError: if an extra is not installed.
    """
    require_extra("sweeps", "a sweep")
    require_extra(config.settings.extra, f"recipe {config.recipe}")
    from pg_agents.common.nonfinite import NonFiniteError
    from pg_agents.experiments.run import run_one
    from pg_agents.sweeps import parse_space, tune

    parse_space(space)
    folder = Path(root) / "sweeps" / config.name
    folder.mkdir(parents=True, exist_ok=True)

    def score(settings: dict[str, Any], seed: int) -> float:
        changed = config.changed(settings)
        try:
            run = run_one(changed, seed, folder / "trials" / _digest(changed))
        except NonFiniteError as error:
            report(f"{settings}, seed {seed} failed: {error}")
            return math.nan
        mean_return = run.result().mean_return
        report(f"{settings}, seed {seed}: {mean_return:.4g}")
        return mean_return

    return tune(
        score,
        space,
        # Other settings, such as the length of the runs, are another study.
        name=f"{config.name}-{_digest(config)}",
        storage=folder / "studies.db",
        n_trials=n_trials,
        tuning_seeds=tuning_seeds,
        test_seeds=test_seeds,
    )


def parse_try(text: str) -> tuple[str, list[Any]]:
    """Returns name and entry of a search space from ``KEY=KIND:...``.

    Raises:
        ValueError: if it does not read so; `parse_space` checks the kind.
    """
    name, equals, entry = text.partition("=")
    kind, colon, rest = entry.partition(":")
    if not (name and equals and colon):
        raise ValueError(f"--try must read KEY=KIND:..., got {text!r}")
    parts = [rest] if kind == "choice" else rest.split(":")
    try:
        return name, [kind, *map(json.loads, parts)]
    except ValueError:
        raise ValueError(
            f"--try {name} must have numbers, or a JSON list of choices, after "
            f"{kind}:, got {rest!r}"
        ) from None


def _digest(config: RunConfig) -> str:
    """Returns a short name of the settings, equal for equal ones."""
    text = json.dumps(config.settings.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _sweep(options: argparse.Namespace) -> int:
    recipe = find_recipe(options.recipe)
    config = config_of(recipe, options.variant, options)
    result = sweep(
        config,
        dict(map(parse_try, options.tried)),
        n_trials=options.trials,
        tuning_seeds=options.tuning_seeds,
        test_seeds=options.test_seeds,
        root=options.out,
        report=lambda line: print(line, flush=True),
    )
    print(
        f"\nbest of {result.n_completed} trials ({result.n_pruned} pruned, "
        f"{result.n_failed} failed): trial {result.trial}"
    )
    low, high = result.test_interval
    print(
        f"{config.name}: {result.test_iqm:.4g} ({low:.4g} to {high:.4g}), "
        "interquartile mean and 95 % interval over "
        f"{len(result.test_scores)} test seeds"
    )
    changes = [f"{name}={json.dumps(value)}" for name, value in result.settings.items()]
    print("--set " + " ".join(f"'{change}'" for change in changes))
    return 0
