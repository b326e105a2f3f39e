"""Measures speed side by side: `python -m bench.speed`, then `make_pages.py speed`.

Every side of a comparison runs in a process of its own, warm, and the sides take turns
A B A B ... so that a busy machine slows them alike. Results go to docs/speed.json after
every comparison; what is there already is not measured again unless `--only` names it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.cells import CELLS, REFERENCE_RATES
from bench.protocol import ROOT, Worker
from pg_agents.experiments import Settings, find_recipe

# Settings of a process, plain data; see `bench.worker`.
Side = dict[str, Any]
Turns = Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]
Start = Callable[[Side, int], Any]
RESULTS = ROOT / "docs" / "speed.json"
REQUIREMENTS = Path(__file__).parent / "purejax-requirements.txt"
PACKAGES = ("torch", "numpy", "stable-baselines3", "gymnasium")
ALL_CORES = len(os.sched_getaffinity(0))
# The better of one and two threads counts, for each side on its own.
BETTER = (1, 2)
N_SEEDS = 20


@dataclass(frozen=True)
class Row:
    """A row of the page.

    Attributes:
        group: of rows.
        label: what is compared.
        side: whose rate it is.
        counterpart: side whose rate it is divided by; None for the rate alone.
        target: of the ratio, or of the rate, at least; None for none.
        threads: of both sides; None for the better of those that were measured.
        seconds: whether to show the duration of a turn instead of rates.
    """

    group: str
    label: str
    side: str
    counterpart: str | None = None
    target: float | None = None
    threads: int | None = None
    seconds: bool = False


@dataclass(frozen=True)
class Comparison:
    """Sides that are measured in turns.

    Attributes:
        name: key in the results, and for `--only`.
        sides: settings of each side by name, in the order of their turns.
        rows: of the page.
        threads: numbers of threads with which every side is measured.
        n_steps: steps of a turn; None for as many as the time limits allow.
    """

    name: str
    sides: dict[str, Side]
    rows: tuple[Row, ...]
    threads: tuple[int, ...] = (1,)
    n_steps: int | None = None


def learn(
    algorithm: str,
    vectorization: str,
    n_envs: int,
    env_id: str = "CartPole-v1",
    **more: Any,
) -> Side:
    """Returns a side that calls `learn()`.

    `policy`, `policy_kwargs` and `env_kwargs` are settings; all others are arguments of
    the algorithm.
    """
    named = {
        name: more.pop(name)
        for name in ("policy", "policy_kwargs", "env_kwargs")
        if name in more
    }
    settings = Settings(
        algorithm=algorithm,
        env_id=env_id,
        vectorization=vectorization,
        n_envs=n_envs,
        arguments=more,
        # Required; the number of steps comes with each turn.
        timesteps=1,
        **named,
    )
    return {"work": "learn", "settings": settings.to_json()}


# One environment -------------------------------------------------------------------

# Demos have no settings; these are those of `experiments.demos.bandit`.
BANDITS = {
    "bandit-table": learn(
        "REINFORCE",
        "dummy",
        1,
        "PGToy-Bandit-v0",
        env_kwargs={"observation": "index", "max_episode_steps": -1},
        policy="TabularPolicy",
        policy_kwargs={"max_logit": 100.0},
        learning_rate=0.2,
        n_steps=1,
        gamma=0.0,
    ),
    "bandit-network": learn(
        "REINFORCE",
        "dummy",
        1,
        "PGToy-Bandit-v0",
        env_kwargs={"max_episode_steps": -1},
        policy_kwargs={"net_arch": [], "optimizer_class": "Adam"},
        learning_rate=1.0,
        n_steps=1,
        gamma=0.0,
    ),
}


def recipe(name: str, variant: str | None = None) -> Side:
    """Returns the side that trains a recipe."""
    if name in BANDITS:
        return BANDITS[name]
    settings = find_recipe(name).config(variant).settings
    return {"work": "learn", "settings": settings.to_json()}


def cell(name: str, target: float, n_steps: int | None) -> Comparison:
    """Compares one training of a recipe with a plain loop of its settings."""
    return Comparison(
        f"cell-{name}",
        {"pgtoy": recipe(name), "cell": {"work": "cell", "cell": name}},
        (Row("One training, against a plain loop", name, "pgtoy", "cell", target),),
        n_steps=n_steps,
    )


def batch(
    name: str,
    n_learners: int,
    n_steps: int,
    *,
    cells: float | None = None,
    one_by_one: float | None = None,
) -> Comparison:
    """Compares all runs of a recipe as one batch with one run after another.

    Args:
        name: of the recipe.
        n_learners: number of runs.
        n_steps: steps of each.
        cells: target against the recipe's cell; None not to compare with it.
        one_by_one: target against single models; None not to compare with them.
    """
    group = "All runs of an experiment as one batch of learners"
    label = f"{name}, {n_learners} x {n_steps:,} steps"
    shared = {**recipe(name), "work": "experiment", "n_learners": n_learners}
    sides: dict[str, Side] = {"batch": {**shared, "how": "batch"}}
    rows = []
    for how, counterpart, target in (
        ("cells", "cells one by one", cells),
        ("one by one", "models one by one", one_by_one),
    ):
        if target is not None:
            sides[counterpart] = {**shared, "how": how, "cell": name}
            what = f"{label}, against {counterpart}"
            rows.append(Row(group, what, "batch", counterpart, target))
    total = n_learners * n_steps
    return Comparison(f"batch-{name}", sides, tuple(rows), n_steps=total)


# Many environments -----------------------------------------------------------------

# Points of the curve.
N_ENVS = (1, 8, 64, 256, 1_024, 8_192)
OURS, OURS_DUMMY = "ActorCritic, vector env", "ActorCritic, DummyVecEnv"
A2C, A2C_DUMMY = "A2C, vector env", "A2C, DummyVecEnv"
CURVE = (OURS, OURS_DUMMY, A2C, A2C_DUMMY)


def environments(n_envs: int) -> Comparison:
    """Compares default settings of ActorCritic and A2C on CartPole."""
    sides = {
        OURS: learn("ActorCritic", "vector", n_envs),
        OURS_DUMMY: learn("ActorCritic", "dummy", n_envs),
        A2C: learn("A2C", "vector", n_envs),
        A2C_DUMMY: learn("A2C", "dummy", n_envs),
    }
    rows: list[Row] = []
    label = "1 environment" if n_envs == 1 else f"{n_envs:,} environments"
    if n_envs > 1_024:
        # A DummyVecEnv gets no faster with more environments; A2C's shows that.
        del sides[OURS_DUMMY]
    if n_envs in (targets := {1: 9.0, 8: 5.0, 64: 2.2}):
        group = "ActorCritic against SB3's A2C, both in a DummyVecEnv"
        rows.append(Row(group, label, OURS_DUMMY, A2C_DUMMY, targets[n_envs]))
    if n_envs in (native := {64: (9.0, 6.0), 1_024: (15.0, 5.0)}):
        group = "ActorCritic on Gymnasium's vector environment"
        dummy, vector = native[n_envs]
        rows += [
            Row(group, f"{label}, against {A2C_DUMMY}", OURS, A2C_DUMMY, dummy),
            Row(group, f"{label}, against {A2C}, one thread", OURS, A2C, vector, 1),
            Row("SB3's A2C through `as_vec_env`", label, A2C, A2C_DUMMY),
        ]
    if n_envs in (1, 64, 1_024):
        plain, with_callback = OURS_DUMMY if n_envs == 1 else OURS, "with a callback"
        sides[with_callback] = {**sides[plain], "callback": True}
        group = "ActorCritic with a callback that does nothing, against without"
        what = f"{label}, {plain.partition(', ')[2]}"
        rows.append(Row(group, what, with_callback, plain, 0.95))
    if n_envs in (alone := {1_024: 1.8, 8_192: 2.2}):
        group = "ActorCritic against the forward and backward passes of torch alone"
        torch_env, torch_alone = "ActorCritic, make_torch_vec", "torch alone"
        sides[torch_env] = learn("ActorCritic", "torch", n_envs)
        sides[torch_alone] = {"work": "torch_alone", "n_envs": n_envs, "n_steps": 5}
        rows += [
            Row(group, f"{label}, vector env", OURS, torch_alone, alone[n_envs]),
            Row(group, f"{label}, `make_torch_vec`", torch_env, torch_alone),
        ]
    return Comparison(f"envs-{n_envs}", sides, tuple(rows), BETTER)


# PPO with PureJaxRL's settings.
PURE_JAX: dict[str, Any] = {
    "n_steps": 128,
    "learning_rate": 2.5e-4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "clip_range_vf": 0.2,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
}


def pure_jax(
    n_envs: int, n_epochs: int, n_minibatches: int, target: float
) -> Comparison:
    """Compares with PPO in one jitted function, as PureJaxRL does it."""
    n_steps = n_envs * PURE_JAX["n_steps"]
    ours = learn(
        "ActorCritic",
        "vector",
        n_envs,
        **PURE_JAX,
        n_epochs=n_epochs,
        batch_size=n_steps // n_minibatches if n_minibatches > 1 else None,
        normalize_advantage=True,
        use_rms_prop=False,
    )
    theirs: Side = {
        "work": "pure_jax",
        "n_envs": n_envs,
        "n_epochs": n_epochs,
        "n_minibatches": n_minibatches,
        **PURE_JAX,
    }
    group = "PPO's settings against PPO compiled by jax, as PureJaxRL does it"
    passes = f"{n_epochs} x {n_minibatches}"
    label = f"{n_envs:,} environments x 128 steps, {passes}"
    return Comparison(
        f"purejax-{n_envs}-{n_epochs}x{n_minibatches}",
        {"ActorCritic": ours, "jax": theirs},
        (Row(group, label, "ActorCritic", "jax", target),),
        BETTER,
    )


def table() -> Comparison:
    """Measures environments that are read from transition tables."""
    reinforce = learn(
        "REINFORCE",
        "torch",
        65_536,
        "PGToy-Sequence-v0",
        env_kwargs={"check_actions": False, "observation": "index"},
        policy="TabularPolicy",
        n_steps=16,
    )
    group = "REINFORCE with a table on 65,536 sequences, `n_steps=16`"
    return Comparison(
        "sequence-tabular",
        {"REINFORCE": reinforce, "stepping": {**reinforce, "work": "stepping"}},
        (
            # A fast path for tables alone, removed since, made this many.
            Row(group, "steps/s of `learn()`", "REINFORCE", target=23.6e6),
            Row(group, "against stepping alone", "REINFORCE", "stepping"),
        ),
        BETTER,
    )


# The commit before the closed form.
EARLIER = "83e1c28"


def demo(
    name: str, command: str, options: dict[str, float], n_runs: int, target: float
) -> Comparison:
    """Compares a demo with the same at an earlier commit."""
    side: Side = {"work": "demo", "script": f"demos/{name}.py", "options": options}
    sides = {"now": {**side, "commit": None}, EARLIER: {**side, "commit": EARLIER}}
    group = f"A demo, pictures included, against commit {EARLIER}"
    row = Row(group, command, "now", EARLIER, target, seconds=True)
    return Comparison(f"demo-{name}", sides, (row,), (ALL_CORES,), n_runs)


COMPARISONS = (
    # Bandits cost the same at every pull. Episodes of the others change as the policy
    # learns: equal steps from fresh weights, for the sequence those of 500 episodes.
    cell("bandit-table", 0.25, None),
    cell("bandit-network", 4.0, None),
    cell("sequence-reinforce", 3.0, 2_800),
    cell("one-step-actor-critic", 6.0, 3_000),
    cell("cartpole-mc", 6.0, 10_000),
    cell("reinforce-128", 6.0, 10_000),
    batch("bandit-table", 100, 500, cells=20.0),
    batch("bandit-network", 50, 100, cells=15.0),
    batch("sequence-reinforce", 10, 2_800, cells=10.0, one_by_one=3.0),
    batch("cartpole-mc", 10, 10_000, one_by_one=4.0),
    *(environments(n_envs) for n_envs in N_ENVS),
    *(
        pure_jax(n_envs, n, n, 1.0 if n_envs == 64 else target)
        for n, target in ((1, 2.0), (4, 1.5))
        for n_envs in (64, 1_024, 4_096)
    ),
    table(),
    demo("sequence", "`make demo`", {"--runs": 1.0}, 10, 2.0),
    demo(
        "bandit",
        "`python demos/bandit.py`",
        {"--table-runs": 1.0, "--network-runs": 0.5},
        100,
        15.0,
    ),
)
# Of PPO's median: the most that our median, and our slowest seed, should take.
SOLVE_TARGETS: dict[str, tuple[float, float | None]] = {
    "ActorCritic": (0.12, 0.3),
    "REINFORCE": (0.2, None),
}


def solve_sides() -> dict[str, Side]:
    """Returns the sides that solve CartPole-v1; schedules end at `n_timesteps`.

    Our settings were tuned on seeds 0 to 9. PPO and A2C have RL Zoo's tuned settings.
    """
    ppo = learn(
        "PPO",
        "dummy",
        8,
        n_steps=32,
        batch_size=256,
        gae_lambda=0.8,
        gamma=0.98,
        n_epochs=20,
        ent_coef=0.0,
        learning_rate="lin_0.001",
        clip_range="lin_0.2",
    )
    sides = {
        "ActorCritic": (recipe("one-step-actor-critic", "best"), None),
        "REINFORCE": (recipe("cartpole-policy-network", "best"), None),
        "PPO": (ppo, 100_000),
        "A2C": (learn("A2C", "dummy", 8, ent_coef=0.0), 500_000),
    }
    return {
        name: {
            **side,
            "work": "solve",
            "n_timesteps": n_timesteps or side["settings"]["timesteps"],
        }
        for name, (side, n_timesteps) in sides.items()
    }


@dataclass(frozen=True)
class Durations:
    """How long to measure.

    Attributes:
        repeats: turns of each side.
        seconds: minimum length of a turn of the fastest side.
        longest: maximum length of a turn of the slowest side; it wins over `seconds`.
        calibration: length of the warm-up.
    """

    repeats: int = 5
    seconds: float = 1.5
    longest: float = 6.0
    calibration: float = 0.7


QUICK = Durations(repeats=1, seconds=0.05, longest=0.2, calibration=0.01)


def start_worker(side: Side, threads: int) -> Worker:
    """Starts the process of a side."""
    if side["work"] == "pure_jax":
        return Worker(side, threads, pure_jax_python(), "bench.pure_jax_ppo")
    return Worker(side, threads)


def pure_jax_python() -> Path:
    """Returns the interpreter of PureJaxRL's environment; makes it if necessary.

    gymnax pins an older gymnasium, hence an environment of its own, in out/, under a
    name that changes with the requirements.
    """
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = ROOT / "out" / f"purejax-{digest}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = ["-m", "pip", "install", "--quiet", "--requirement"]
        subprocess.run([str(python), *install, str(REQUIREMENTS)], check=True)
        done.touch()
    return python


def measure(
    comparison: Comparison, durations: Durations, start: Start = start_worker
) -> dict[str, Any]:
    """Returns steps, seconds and counts of every turn, and what the processes report.

    All sides take the same number of steps in a turn, from fresh weights of the same
    seed, because the cost of an environment depends on how good the policy is.

    Returns:
        `turns` by side and number of threads (a string), and `versions` by side. A side
        that this version of pgtoy lacks is in neither.
    """
    with ExitStack() as stack:
        started = [
            (name, str(threads), stack.enter_context(closing(start(side, threads))))
            for threads in comparison.threads
            for name, side in comparison.sides.items()
        ]
        workers = [s for s in started if "missing" not in s[2].ready]
        warm_up = (
            {"do": "calibrate", "seconds": durations.calibration}
            if comparison.n_steps is None
            else {"do": "run", "steps": 1, "seed": 0}
        )
        warm = [worker.ask(**warm_up) for _, _, worker in workers]
        speeds = [facts["steps"] / facts["seconds"] for facts in warm]
        n_steps = comparison.n_steps or max(
            int(min(max(speeds) * durations.seconds, min(speeds) * durations.longest)),
            1,
        )
        turns: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for seed in range(1, durations.repeats + 1):
            for name, threads, worker in workers:
                of_threads = turns.setdefault(name, {}).setdefault(threads, [])
                of_threads.append(worker.ask(do="run", steps=n_steps, seed=seed))
        versions = {name: worker.ready["versions"] for name, _, worker in workers}
    return {"versions": versions, "turns": turns}


def rates(turns: Sequence[Mapping[str, float]]) -> list[float]:
    """Returns the steps per second of each turn."""
    return [turn["steps"] / turn["seconds"] for turn in turns]


def best_rates(
    of_side: Mapping[str, Sequence[Mapping[str, float]]], threads: int | None = None
) -> tuple[str, list[float]]:
    """Returns a number of threads and the rates of the turns with it.

    Args:
        of_side: turns by number of threads.
        threads: the number; None for that with the best median rate.
    """
    if threads is not None:
        return str(threads), rates(of_side[str(threads)])
    all_rates = ((number, rates(turns)) for number, turns in of_side.items())
    return max(all_rates, key=lambda pair: statistics.median(pair[1]))


def cell_rates(runs: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """Compares the cells' rates with those of their sources on a reference machine.

    Returns:
        Name, rate here, rate there, and the quotient divided by the median quotient,
        which is the machines' ratio: within 20 % of 1 for a faithful cell.
    """
    here: dict[str, float] = {}
    for name in CELLS:
        if f"cell-{name}" in runs:
            turns = runs[f"cell-{name}"]["turns"]["cell"]["1"]
            here[name] = statistics.median(rates(turns))
    quotients = {name: rate / REFERENCE_RATES[name] for name, rate in here.items()}
    middle = statistics.median(quotients.values()) if quotients else 1.0
    return [
        (name, rate, REFERENCE_RATES[name], quotients[name] / middle)
        for name, rate in here.items()
    ]


def solve(
    results: dict[str, Any],
    save: Callable[[], None],
    n_seeds: int,
    n_timesteps: int | None = None,
    start: Start = start_worker,
) -> None:
    """Adds the seeds of solving CartPole that `results` lacks, one by one."""
    sides, about = solve_sides(), provenance()
    missing = [
        (seed, name)
        for seed in range(n_seeds)
        for name in sides
        if f"{name} {seed}" not in results
    ]
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(closing(start(sides[name], 1)))
            for name in dict.fromkeys(name for _, name in missing)
        }
        for seed, name in missing:
            answer = workers[name].ask(do="solve", seed=seed, n_timesteps=n_timesteps)
            results.update({f"{name} {seed}": answer, **about})
            save()
            print(f"solve: {name}, seed {seed}: {answer['seconds']:.2f} s", flush=True)


def provenance() -> dict[str, str]:
    """Returns the machine with its versions, and the commit."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1] for line in file if "model name" in line]
        processor = names[0].strip() if names else processor
    except OSError:
        pass
    features = torch.backends.cpu.get_cpu_capability()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    git = partial(subprocess.run, cwd=ROOT, capture_output=True, text=True)
    commit = git(["git", "describe", "--always"]).stdout.strip()
    # The results, which a run before this one may have changed, do not count.
    measured = ("bench", "demos", "pg_agents", "pg_envs")
    if git(["git", "diff", "--quiet", "HEAD", "--", *measured]).returncode:
        commit += "-dirty"
    return {
        "setup": f"{processor} ({features}), {ALL_CORES} cores, Python "
        f"{platform.python_version()}, {versions}",
        "commit": commit,
    }


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Replaces the file of results, so that an interrupted run loses nothing."""
    new = path.with_suffix(".partial")
    new.write_text(json.dumps(results, indent=1) + "\n")
    new.replace(path)


def shortened(comparison: Comparison) -> Comparison:
    """Returns a comparison with short turns in one thread."""
    n_steps = comparison.n_steps and max(comparison.n_steps // 50, 1)
    return replace(comparison, threads=(1,), n_steps=n_steps)


def main() -> None:
    """Measures what is missing or asked for."""
    names = [*(comparison.name for comparison in COMPARISONS), "solve"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="measure these anew, such as 'cell-*'"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="try everything briefly; saves nothing unless --results is given",
    )
    parser.add_argument("--results", type=Path, help="file (default: docs/speed.json)")
    parser.add_argument("--list", action="store_true", help="print the names")
    options = parser.parse_args()
    if options.list:
        print("\n".join(names))
        return
    asked = {name for p in options.only or ["*"] for name in names if fnmatch(name, p)}
    if not asked:
        parser.error(f"--only {' '.join(options.only)}: there are {', '.join(names)}")
    path = options.results or (None if options.quick else RESULTS)
    results: dict[str, Any] = {"runs": {}, "solve": {}}
    if path is not None and path.exists():
        results = json.loads(path.read_text())
    if options.only:
        results["runs"] = {k: v for k, v in results["runs"].items() if k not in asked}
        if "solve" in asked:
            results["solve"] = {}

    def save() -> None:
        if path is not None:
            write(path, results)

    failed, about = [], provenance()
    for comparison in COMPARISONS:
        name = comparison.name
        measured = results["runs"].get(name, {"turns": {}})["turns"].keys()
        if name not in asked or comparison.sides.keys() <= measured:
            continue
        if options.quick:
            comparison = shortened(comparison)
        start = time.perf_counter()
        try:
            found = measure(comparison, QUICK if options.quick else Durations())
        except (RuntimeError, subprocess.CalledProcessError) as error:
            # The other comparisons are still worth having.
            print(f"{name}: {error}", flush=True)
            failed.append(name)
            continue
        results["runs"][name] = {**about, **found}
        save()
        print(f"{name} ({time.perf_counter() - start:.0f} s)", flush=True)
        for side in comparison.sides:
            if side not in found["turns"]:
                print(f"  {side}: not there yet", flush=True)
                continue
            for threads, turns in found["turns"][side].items():
                of_turns = ", ".join(f"{rate:,.4g}" for rate in rates(turns))
                print(f"  {side}, threads {threads}: {of_turns} steps/s", flush=True)
    for name, here, there, ratio in cell_rates(results["runs"]):
        print(
            f"cell {name}: {here:,.0f} steps/s, reference machine {there:,.0f}, "
            f"relative to the other cells {ratio:.2f}"
        )
    if "solve" in asked:
        n_seeds, n_timesteps = (1, 6_000) if options.quick else (N_SEEDS, None)
        solve(results["solve"], save, n_seeds, n_timesteps)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
