"""The commands `pgtoy recipes`, `run`, `watch` and `record`.

Functions import what they need: `pgtoy --help` loads neither torch nor matplotlib.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pg_agents.cli.live import add_live_options, make_live_view
from pg_agents.experiments.recipe import Recipe
from pg_agents.experiments.recipes import find_recipe, recipes
from pg_agents.experiments.settings import DEFAULT_ROOT, RunConfig, require_extra

if TYPE_CHECKING:
    from pg_agents.experiments.folder import RunFolder
    from pg_agents.experiments.seeds import AnyExecutor
    from pg_agents.live.view import LiveView

INTERRUPTED = 130
_MAX_WIDTH = 100
# A training that takes less time, in seconds, begins at this speed in a window.
_SHORT_SECONDS = 10.0
_SHORT_SPEED = 20.0
_RECIPES_NOTE = """
time: of one run on one core, the median of those in docs/results.md
weights: `pgtoy watch NAME` shows a trained agent at once
`pgtoy run NAME [--variant ...]` trains"""
GAMES = ("bandit", "sequence", "pixelcopter")
_RUN_EPILOG = """\
examples:
  pgtoy run cartpole-policy-network --seeds 10
  pgtoy run sequence-reinforce --seeds 3 5 9 --set gamma=0.9 --out runs/gamma
  pgtoy run cartpole-policy-network --seed 0 --episodes 50 --out runs/short
  pgtoy run compare-networks --variant all --seeds 5
  pgtoy run known-values
  pgtoy run sequence-reinforce --live --live-speed 20

An interrupted run is resumed, a finished one is left as it is. With the live
view, one seed is trained after the other. --set takes any setting (n_envs=8,
evaluation.n_episodes=10, policy_kwargs.net_arch=[64]) or argument of the
algorithm (learning_rate=0.01). The exit status is 0 if all runs have finished
and 1 if some have failed, or a recipe that checks something finds it wrong.
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
    add_recipe_options(run)
    seeds = run.add_mutually_exclusive_group()
    seeds.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="how many (0, 1, 2, ...), or which ones (the recipe's own number)",
    )
    seeds.add_argument("--seed", type=int, help="a single one")
    where = run.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, help="processes (one a core)")
    where.add_argument("--dask", metavar="ADDRESS", help="of a Dask scheduler")
    add_settings_options(run)
    add_live_options(run)
    run.set_defaults(run=_run)
    play = commands.add_parser("play", help="play against an agent by keyboard")
    play.add_argument("game", choices=GAMES)
    play.add_argument("--seed", type=int, default=0, help="of the games (%(default)s)")
    play.add_argument("--theme", choices=("light", "dark"), default="light")
    play.set_defaults(run=_play)
    for name, description, n_episodes, handler in (
        ("watch", "watch a trained run in a window", 5, _watch),
        ("record", "record a trained run as a film", 1, _record),
    ):
        parser = commands.add_parser(name, help=description)
        add_recipe_options(parser)
        add = parser.add_argument
        add("--seed", type=int, help="of the run (the best there is)")
        add("--episodes", type=int, default=n_episodes, help="to show (%(default)s)")
        add("--steps", type=int, help="of each episode to show (all)")
        if name == "record":
            add("--to", type=Path, required=True, metavar="FILE.gif|mp4")
        parser.set_defaults(run=handler)


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Adds the recipe, its variant and the folder of all runs."""
    add = parser.add_argument
    add("recipe", metavar="NAME", help="as `pgtoy recipes` lists it")
    add("--variant", help="which of its settings (the first); run takes `all`")
    add(
        "--out",
        type=Path,
        default=DEFAULT_ROOT,
        help="folder of all runs (%(default)s)",
    )


@contextmanager
def live_view(
    options: argparse.Namespace, updates_per_second: float | None = None
) -> Iterator[LiveView | None]:
    """Yields the view that the options ask for; None for none.

    At the end it waits until the user has closed the window, or writes the film.

    Args:
        options: those of `make_live_view`.
        updates_per_second: speed at first without `--live-speed`; None for no limit.
    """
    view = make_live_view(options, updates_per_second)
    if view is None:
        yield None
        return
    with view:
        yield view
        # A window that was closed a moment ago may still count as open.
        if view.is_open and view.film is None and not view.quit_requested:
            print("the training has ended: close the window to go on")
        view.wait()


def add_settings_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that change settings."""
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


def config_of(
    recipe: Recipe, variant: str | None, options: argparse.Namespace
) -> RunConfig:
    """Returns a recipe's config with the settings that the options change."""
    changes = dict(map(_parse_change, options.set))
    for name, value in (("timesteps", options.steps), ("episodes", options.episodes)):
        if value is not None:
            changes[name] = value
    return recipe.config(variant).changed(changes)


def _parse_change(text: str) -> tuple[str, Any]:
    """Returns name and value of ``name=value``: JSON, or else a string."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"--set must read KEY=VALUE, got {text!r}")
    # Python's spelling is accepted, too.
    value = {"None": "null", "True": "true", "False": "false"}.get(value, value)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _recipes(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from pg_agents.experiments.recipes import has_weights, run_seconds

    seconds = run_seconds()
    width = min(_MAX_WIDTH, Console().width) if sys.stdout.isatty() else _MAX_WIDTH
    console = Console(width=width, highlight=False, markup=False)
    name_width = 2 + max(map(len, recipes()))

    def rows() -> Table:
        """Returns an empty table; all have the same columns."""
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=name_width)
        table.add_column(no_wrap=True, min_width=6, justify="right")
        table.add_column(no_wrap=True, min_width=7)
        table.add_column(overflow="fold")
        return table

    table = rows()
    table.add_row("recipe", "time", "weights", "what it is")
    heading = ""
    for recipe in sorted(recipes().values(), key=_group):
        if heading != (heading := _heading(recipe)):
            console.print(table)
            # Apart from the table, whose first column it would widen.
            console.print(f"\n{heading}")
            table = rows()
        name = recipe.config().name if recipe.variants else recipe.name
        table.add_row(
            f"  {recipe.name}",
            _duration(seconds[name]) if name in seconds else "",
            "yes" if has_weights(recipe.name) else "",
            recipe.title + _variants(recipe),
        )
    console.print(table)
    console.print(_RECIPES_NOTE)
    return 0


def _variants(recipe: Recipe) -> str:
    others = [name for name in recipe.variants if name != "notebook"]
    if not others:
        return ""
    return f"; variant{'s' if len(others) > 1 else ''} {', '.join(others)}"


def _heading(recipe: Recipe) -> str:
    """Returns what a recipe is listed under: its environment, or that it has none."""
    first = next(iter(recipe.variants.values()), None)
    if first is None:
        return "shows or checks something"
    extra = f" (extra {recipe.extra})" if recipe.extra else ""
    return first.env_id.removeprefix("gymnasium_robotics:") + extra


def _group(recipe: Recipe) -> int:
    """Returns the place of a recipe's heading: that of the first recipe under it."""
    headings = list(dict.fromkeys(map(_heading, recipes().values())))
    return headings.index(_heading(recipe))


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "< 1 s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def _run(options: argparse.Namespace) -> int:
    recipe = find_recipe(options.recipe)
    if recipe.demo is not None:
        return _run_demo(recipe, options)
    all_variants = options.variant == "all"
    status = 0
    variants = list(recipe.variants) if all_variants else [options.variant]
    configs = [config_of(recipe, variant, options) for variant in variants]
    with live_view(options, _first_speed(recipe, configs, options)) as view:
        for config in configs:
            status = max(status, _train(recipe, config, options, view))
            if status == INTERRUPTED:
                break
    return status


def _run_demo(recipe: Recipe, options: argparse.Namespace) -> int:
    from pg_agents.experiments.demos import run_demo

    for name in ("variant", "seeds", "jobs", "dask", "steps", "episodes", "set"):
        if getattr(options, name):
            raise ValueError(
                f"recipe {recipe.name} is a demo: it takes --seed and --out, got "
                f"--{name}"
            )
    with live_view(options) as view:
        record = run_demo(recipe, options.out, options.seed or 0, view)
        if view is not None and not view.is_open:
            print(f"{recipe.name} has trained nothing: there was nothing to show live")
    print("\n".join(record.lines))
    return 1 if record.passed is False else 0


def _train(
    recipe: Recipe,
    config: RunConfig,
    options: argparse.Namespace,
    view: LiveView | None,
) -> int:
    from pg_agents.common.files import check_folder
    from pg_agents.experiments.building import check_buildable
    from pg_agents.experiments.results import summary_text
    from pg_agents.experiments.seeds import RunsBar, run_seeds

    require_extra(config.settings.extra, f"recipe {recipe.name}")
    # Once, instead of once per seed.
    check_buildable(config.settings)
    folder = options.out / config.name
    check_folder(folder)
    seeds = _seeds(options, recipe.seeds)
    finished = _finished(config, seeds, options)
    try:
        with _dask(options.dask) as executor, RunsBar(config.name, len(seeds)) as bar:
            reports = run_seeds(
                config,
                seeds,
                options.out,
                executor,
                jobs=options.jobs,
                on_progress=bar.show,
                view=view,
            )
    except KeyboardInterrupt:
        print("pgtoy: interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    failed = [report for report in reports if report.error is not None]
    # A folder may hold a run with other settings, whose report is an error.
    left = [seed for seed in finished if seed not in {r.seed for r in failed}]
    if left:
        print(_left_line(left, len(seeds)), file=sys.stderr)
    print(summary_text(recipe, config, reports))
    print(f"folder: {folder}")
    for report in failed:
        print(
            f"pgtoy: seed {report.seed} failed: {report.error} [{report.folder}]",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _finished(
    config: RunConfig, seeds: list[int], options: argparse.Namespace
) -> list[int]:
    """Returns the seeds whose folders hold a result, which is written last."""
    from pg_agents.experiments.folder import RunFolder

    paths = {seed: RunFolder.path_of(options.out, config, seed) for seed in seeds}
    return [seed for seed, path in paths.items() if (path / "result.json").exists()]


def _left_line(seeds: list[int], n_seeds: int) -> str:
    which = "all runs" if len(seeds) == n_seeds > 1 else f"seed {seeds[0]}"
    if 1 < len(seeds) < n_seeds:
        which = f"seeds {', '.join(map(str, seeds))}"
    verb = "is" if which.startswith("seed ") else "are"
    return (
        f"pgtoy: {which} had finished before and {verb} left as before; to train anew, "
        "name another folder with --out FOLDER"
    )


def _first_speed(
    recipe: Recipe, configs: list[RunConfig], options: argparse.Namespace
) -> float | None:
    """Returns the updates per second with which a window begins; None for no limit.

    A short training would end before the eye can follow. A film is left alone: keys
    cannot change its speed.
    """
    from pg_agents.experiments.recipes import run_seconds
    from pg_agents.live.screen import shows_windows

    opens_window = options.live or options.live_theme is not None
    if not opens_window or options.live_film is not None or not shows_windows():
        return None
    expected = [run_seconds().get(config.name, math.inf) for config in configs]
    if options.live_speed is not None or max(expected) >= _SHORT_SECONDS:
        return None
    seeds = _seeds(options, recipe.seeds)
    if all(len(_finished(config, seeds, options)) == len(seeds) for config in configs):
        return None
    print(
        f"live view: {_SHORT_SPEED:g} updates per second; the up arrow makes it faster",
        file=sys.stderr,
    )
    return _SHORT_SPEED


def _seeds(options: argparse.Namespace, default: int) -> list[int]:
    if options.seed is not None:
        return [options.seed]
    seeds: list[int] = options.seeds or [default]
    if len(seeds) > 1:
        return seeds
    if seeds[0] < 1:
        raise ValueError(f"--seeds must be at least 1, got {seeds[0]}")
    return list(range(seeds[0]))


@contextmanager
def _dask(address: str | None) -> Iterator[AnyExecutor | None]:
    if address is None:
        yield None
        return
    require_extra("distributed", "--dask")
    from distributed import Client

    try:
        client = Client(address, timeout=10)
    except OSError as error:
        raise OSError(f"there is no Dask scheduler at {address}: {error}") from error
    with client:
        yield client.get_executor()


def _play(options: argparse.Namespace) -> int:
    from pg_agents.experiments.play import AGENTS, play
    from pg_agents.live.screen import shows_windows

    if options.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {options.seed}")
    if not shows_windows():
        command = "run bandit-table --live"
        if options.game in AGENTS:
            command = f"record {AGENTS[options.game]} --to film.gif"
        raise ValueError(
            f"there is no screen to play on: `pgtoy {command}` makes a film of an agent"
        )
    scores = play(options.game, options.seed, options.theme)
    for number, (you, agent) in enumerate(scores, 1):
        print(f"game {number}: you {you:.4g}, the agent {agent:.4g}")
    # A game holds no open files. Python's last search for unused cycles among torch's
    # objects would keep the process alive for most of a second after the window.
    atexit.register(gc.freeze)
    return 0


def _watch(options: argparse.Namespace) -> int:
    from pg_agents.experiments.viewer import watch

    folder = _find_run(options)
    print(f"{folder.path}: a return of {folder.result().mean_return:.4g} on average")
    try:
        if not watch(folder, options.episodes, _print_return, options.steps):
            print("the window was closed")
    except KeyboardInterrupt:
        print("interrupted")
    return 0


def _record(options: argparse.Namespace) -> int:
    from pg_agents.experiments.viewer import record
    from pg_agents.live.screen import has_screen

    if not has_screen():
        # SDL would look for one, and say that there is none.
        os.environ["SDL_VIDEODRIVER"] = "dummy"
    folder = _find_run(options)
    record(folder, options.to, options.episodes, _print_return, options.steps)
    print(f"film: {options.to}")
    return 0


def _find_run(options: argparse.Namespace) -> RunFolder:
    """Returns the run to show, or else the pretrained model of the recipe."""
    from pg_agents.experiments.pretrained import find_pretrained
    from pg_agents.experiments.viewer import find_run

    for name, value in (("--episodes", options.episodes), ("--steps", options.steps)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    name = options.recipe
    if name not in recipes() and (name.endswith(".zip") or Path(name).exists()):
        raise ValueError(
            f"{options.command} shows runs of recipes, as `pgtoy recipes` lists them, "
            f"got {name}. For an agent of your own: "
            "pg_agents.live.film_episode(model, env_id) makes a film, and "
            'model.predict plays in gymnasium.make(env_id, render_mode="human")'
        )
    config = find_recipe(options.recipe).config(options.variant)
    pretrained = None
    if options.seed is None:
        pretrained = find_pretrained(options.recipe, options.variant)
    folder = find_run(config, options.out, options.seed, pretrained)
    if folder is pretrained:
        variant = folder.config.variant
        which = "" if variant == "notebook" else f", of the variant {variant}"
        print(
            f"no finished run of {config.name} in {options.out}: these are the weights "
            f"that come with pgtoy{which}"
        )
    return folder


def _print_return(episode_return: float) -> None:
    print(f"return {episode_return:.4g}")
