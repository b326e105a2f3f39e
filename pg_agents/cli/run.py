"""The commands `pgtoy recipes`, `run`, `sweep`, `watch` and `record`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg_agents.cli import sweep as sweeping
from pg_agents.experiments.catalogue import find_recipe, recipes
from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.settings import DEFAULT_ROOT, RunConfig

if TYPE_CHECKING:
    from pg_agents.experiments.executors import AnyExecutor
    from pg_agents.experiments.folder import RunFolder
    from pg_agents.experiments.seeds import RunReport

_VARIANT = "which of its settings (the first); run takes `all`"
_INTERRUPTED = 130
_RUN_EPILOG = """\
examples:
  pgtoy run cartpole-policy-network --seeds 10
  pgtoy run sequence-reinforce --seeds 3 5 9 --set gamma=0.9 --out runs/gamma-0.9
  pgtoy run cartpole-policy-network --seed 0 --episodes 50 --out runs/short
  pgtoy run compare-networks --variant all --seeds 5
  pgtoy run known-values

A run that was cut off goes on, one that has finished is left as it is. --set takes any
setting (n_envs=8, evaluation.n_episodes=10, policy_kwargs.net_arch=[64]) or argument of
the algorithm (learning_rate=0.01). The exit status is 0 if all runs have finished and 1
if some have failed, or a recipe that checks something finds it wrong.
"""


def add_commands(commands: Any) -> None:  # noqa: ANN401
    """Adds the commands to the subparsers of `pgtoy`."""
    listing = commands.add_parser("recipes", help="list what can be run")
    listing.set_defaults(run=_recipes)
    run = commands.add_parser(
        "run",
        help="train a recipe over several seeds",
        epilog=_RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_run_options(run)
    run.set_defaults(run=_run)
    tuning = commands.add_parser(
        "sweep",
        help="tune a recipe's settings, and test them on other seeds",
        epilog=sweeping.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_choice(tuning)
    sweeping.add_sweep_options(tuning)
    _add_changes(tuning)
    tuning.set_defaults(run=_sweep)
    for name, what, handler in (
        ("watch", "watch a trained run in a window", _watch),
        ("record", "record a trained run as a film", _record),
    ):
        show = commands.add_parser(name, help=what)
        _add_choice(show)
        show.add_argument("--seed", type=int, help="of the run (the best there is)")
        shown = 5 if name == "watch" else 1
        show.add_argument(
            "--episodes", type=int, default=shown, help="to show (%(default)s)"
        )
        show.add_argument("--steps", type=int, help="of each episode to show (all)")
        if name == "record":
            show.add_argument("--to", type=Path, required=True, metavar="FILE.gif|mp4")
        show.set_defaults(run=handler)


def _add_choice(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recipe", metavar="NAME", help="as `pgtoy recipes` lists it")
    add("--variant", help=_VARIANT)
    add(
        "--out",
        type=Path,
        default=DEFAULT_ROOT,
        help="folder of all runs (%(default)s)",
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    _add_choice(parser)
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="how many (0, 1, 2, ...), or which ones (the recipe's own number)",
    )
    seeds.add_argument("--seed", type=int, help="a single one")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, help="processes (one a core)")
    where.add_argument("--dask", metavar="ADDRESS", help="of a Dask scheduler")
    _add_changes(parser)


def _add_changes(parser: argparse.ArgumentParser) -> None:
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="to train for instead")
    length.add_argument("--episodes", type=int, help="to train for instead")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change settings",
    )


def _recipes(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("recipe", "what it is", "environment", "notebook's figure"):
        table.add_column(heading, overflow="fold")
    table.columns[0].no_wrap = True
    for recipe in recipes().values():
        first = next(iter(recipe.variants.values()), None)
        more = [name for name in recipe.variants if name != "notebook"]
        variants = f" (also: {', '.join(more)})" if more else ""
        needs = f" (needs pgtoy[{recipe.extra}])" if recipe.extra else ""
        table.add_row(
            recipe.name,
            recipe.title + variants,
            ("" if first is None else first.env_id) + needs,
            recipe.reported.text,
        )
    # In a file a line for each.
    width = None if sys.stdout.isatty() else 400
    Console(width=width, highlight=False, markup=False).print(table)
    return 0


def _run(options: argparse.Namespace) -> int:
    recipe = find_recipe(options.recipe)
    if recipe.show is not None:
        return _show(recipe, options)
    every = list(recipe.variants) if options.variant == "all" else [options.variant]
    status = 0
    for variant in every:
        status = max(status, _train(recipe, variant, options))
        if status == _INTERRUPTED:
            break
    return status


def _show(recipe: Recipe, options: argparse.Namespace) -> int:
    """Runs what is no training: it knows seed and folder alone."""
    from pg_agents.experiments.showing import show

    given = vars(options)
    others = ("variant", "seeds", "jobs", "dask", "steps", "episodes", "set")
    for name in others:
        if given[name]:
            raise ValueError(
                f"recipe {recipe.name} trains no seeds of its own: it takes --seed and "
                f"--out, got --{name}"
            )
    record = show(recipe, options.out, options.seed or 0)
    print("\n".join(record.lines))
    return 1 if record.passed is False else 0


def _train(recipe: Recipe, variant: str | None, options: argparse.Namespace) -> int:
    from pg_agents.common.files import check_folder
    from pg_agents.experiments.building import try_out
    from pg_agents.experiments.extras import require_extra
    from pg_agents.experiments.progress import RunsBar
    from pg_agents.experiments.seeds import run_seeds
    from pg_agents.experiments.summary import summarise

    config = _config(recipe, variant, options)
    require_extra(config.settings.extra, f"recipe {recipe.name}")
    # Once, not once a seed.
    try_out(config.settings)
    check_folder(options.out / config.name)
    seeds = _seeds(options, recipe.seeds)
    try:
        with _executor(options.dask) as executor:
            with RunsBar(config.name, len(seeds)) as bar:
                reports = run_seeds(
                    config,
                    seeds,
                    options.out,
                    executor,
                    jobs=options.jobs,
                    on_progress=bar.show,
                )
    except KeyboardInterrupt:
        print("pgtoy: interrupted; the same command goes on", file=sys.stderr)
        return _INTERRUPTED
    print(summarise(recipe, config, reports))
    print(f"folder: {options.out / config.name}")
    return _complain(reports)


def _complain(reports: list[RunReport]) -> int:
    failed = [report for report in reports if report.error is not None]
    for report in failed:
        print(
            f"pgtoy: seed {report.seed} failed: {report.error} [{report.folder}]",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _sweep(options: argparse.Namespace) -> int:
    recipe = find_recipe(options.recipe)
    return sweeping.run_sweep(options, _config(recipe, options.variant, options))


def _config(
    recipe: Recipe, variant: str | None, options: argparse.Namespace
) -> RunConfig:
    config = recipe.config(variant)
    changes = dict(_change(each) for each in options.set)
    for name, given in (("timesteps", options.steps), ("episodes", options.episodes)):
        if given is not None:
            changes[name] = given
    return config.changed(changes)


def _change(text: str) -> tuple[str, Any]:
    """Returns name and value of ``name=value``; what is no JSON is a string."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"--set must read KEY=VALUE, got {text!r}")
    # As Python writes them.
    value = {"None": "null", "True": "true", "False": "false"}.get(value, value)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _seeds(options: argparse.Namespace, default: int) -> list[int]:
    if options.seed is not None:
        return [options.seed]
    given = options.seeds or [default]
    if len(given) > 1:
        return list(given)
    if given[0] < 1:
        raise ValueError(f"--seeds must be at least 1, got {given[0]}")
    return list(range(given[0]))


@contextmanager
def _executor(address: str | None) -> Iterator[AnyExecutor | None]:
    if address is None:
        yield None
        return
    from pg_agents.experiments.extras import require_extra

    require_extra("distributed", "--dask")
    from distributed import Client

    try:
        client = Client(address, timeout=10)
    except OSError as error:
        raise OSError(f"there is no Dask scheduler at {address}: {error}") from error
    with client:
        yield client.get_executor()


def _watch(options: argparse.Namespace) -> int:
    from pg_agents.experiments.watching import watch

    folder = _to_show(options)
    print(f"{folder.path}: {folder.result().mean_return:.4g} on average")
    try:
        if not watch(folder, *_shown(options)):
            print("the window was closed")
    except KeyboardInterrupt:
        print("interrupted")
    return 0


def _record(options: argparse.Namespace) -> int:
    from pg_agents.experiments.watching import record

    folder = _to_show(options)
    record(folder, options.to, *_shown(options))
    print(f"film: {options.to}")
    return 0


def _to_show(options: argparse.Namespace) -> RunFolder:
    """Returns the run that was asked for, or else what comes with the package."""
    from pg_agents.experiments.showcases import find_showcase
    from pg_agents.experiments.watching import find_run

    config = find_recipe(options.recipe).config(options.variant)
    asked = options.seed is not None
    showcase = None if asked else find_showcase(options.recipe, options.variant)
    folder = find_run(config, options.out, options.seed, showcase)
    if folder is showcase:
        print(
            f"no finished run of {config.name} in {options.out}: this is the "
            f"{folder.config.name} that comes with pgtoy"
        )
    return folder


def _shown(
    options: argparse.Namespace,
) -> tuple[int, Callable[[float], None], int | None]:
    """Returns how many episodes, whom to tell their returns, how many steps of each."""
    for name, given in (("--episodes", options.episodes), ("--steps", options.steps)):
        if given is not None and given < 1:
            raise ValueError(f"{name} must be at least 1, got {given}")
    return options.episodes, _say, options.steps


def _say(episode_return: float) -> None:
    print(f"return {episode_return:.4g}")
