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
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.protocol import ROOT, Worker
from pg_agents.experiments import find_recipe

Settings = dict[str, Any]
Start = Callable[[Settings, int], Any]
RESULTS = ROOT / "docs" / "speed.json"
REQUIREMENTS = Path(__file__).parent / "purejax-requirements.txt"
PACKAGES = ("torch", "numpy", "stable-baselines3", "gymnasium")
ALL_CORES = len(os.sched_getaffinity(0))
N_SEEDS = 20


@dataclass(frozen=True)
class Comparison:
    """Sides that are measured in turns.

    Attributes:
        name: key in the results, and for `--only`.
        section: heading of the page.
        setting: environments and the like.
        threads: of every side.
        sides: settings of each side by name, in the order of their turns.
        rows: `(side, counterpart, target)`: the ratio of the rates, or the rate alone
            where there is no counterpart, and what it should reach, if anything.
        n_steps: steps of a turn; None for as many as the time limits allow.
    """

    name: str
    section: str
    setting: str
    threads: int
    sides: dict[str, Settings]
    rows: tuple[tuple[str, str | None, float | None], ...]
    n_steps: int | None = None


def learn(
    algorithm: str, env: str, n_envs: int, env_id: str = "CartPole-v1", **more: Any
) -> Settings:
    """Returns the settings of a side that calls `learn()`; see `bench.worker`.

    `policy` and `env_arguments` are settings of the side; all others are arguments of
    the algorithm.
    """
    named: Settings = {}
    for name in {"policy", "env_arguments"} & more.keys():
        named[name] = more.pop(name)
    return {
        "work": "learn",
        "algorithm": algorithm,
        "env": env,
        "env_id": env_id,
        "n_envs": n_envs,
        "arguments": more,
        **named,
    }


NETWORKS = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}}
# PPO with PureJaxRL's settings.
PURE_JAX: Settings = {
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


def a2c(n_envs: int, target: float) -> Comparison:
    """Compares default settings, as users of SB3 run them."""
    return Comparison(
        f"a2c-{n_envs}",
        "Against SB3's A2C in `DummyVecEnv`",
        f"{n_envs} environment{'s' if n_envs > 1 else ''}",
        1,
        {name: learn(name, "dummy", n_envs) for name in ("ActorCritic", "A2C")},
        (("ActorCritic", "A2C", target),),
    )


def wide(n_envs: int) -> Comparison:
    """Compares native vector environments."""
    ours = {
        f"ActorCritic, {env}": learn("ActorCritic", env, n_envs, policy_kwargs=NETWORKS)
        for env in ("torch", "gymnasium")
    }
    # 8,192 environments in a DummyVecEnv are slow to make, and no faster to step.
    others: dict[str, Settings] = {
        "A2C, 1,024": learn("A2C", "dummy", 1_024),
        "torch alone": {"work": "torch_alone", "n_envs": n_envs, "n_steps": 5},
    }
    return Comparison(
        f"wide-{n_envs}",
        "Native vector environments, `n_steps=5`",
        f"{n_envs:,} environments",
        ALL_CORES,
        {**ours, **others},
        (
            *((side, "A2C, 1,024", 10.0) for side in ours),
            *((side, "torch alone", 0.7) for side in ours),
        ),
    )


def pure_jax(
    n_envs: int, n_epochs: int, n_minibatches: int, target: float
) -> Comparison:
    """Compares with PPO in one jitted function, as PureJaxRL does it."""
    n_steps = n_envs * PURE_JAX["n_steps"]
    ours = learn(
        "ActorCritic",
        "torch",
        n_envs,
        **PURE_JAX,
        n_epochs=n_epochs,
        batch_size=n_steps // n_minibatches if n_minibatches > 1 else None,
        normalize_advantage=True,
        use_rms_prop=False,
        policy_kwargs=NETWORKS,
    )
    theirs: Settings = {
        "work": "pure_jax",
        "n_envs": n_envs,
        "n_epochs": n_epochs,
        "n_minibatches": n_minibatches,
        **PURE_JAX,
    }
    return Comparison(
        f"purejax-{n_envs}-{n_epochs}x{n_minibatches}",
        "Against PureJaxRL's PPO on gymnax",
        f"{n_envs:,} environments x 128 steps, {n_epochs} x {n_minibatches}",
        ALL_CORES,
        {"ActorCritic": ours, "PureJaxRL": theirs},
        (("ActorCritic", "PureJaxRL", target),),
    )


def table(
    name: str, env_id: str, policy: str, targets: tuple[float | None, float | None]
) -> Comparison:
    """Measures environments that are read from transition tables."""
    env_arguments: Settings = {"check_actions": False}
    if name == "sequence-tabular":
        env_arguments["observation"] = "index"
    shared: Settings = {"env_id": env_id, "env_arguments": env_arguments}
    network: Settings = (
        {"policy": "TabularPolicy"}
        if policy == "tabular"
        else {"policy_kwargs": {"net_arch": []}}
    )
    learner = learn("REINFORCE", "torch", 65_536, n_steps=16, **shared, **network)
    return Comparison(
        name,
        "Environments of tables, 65,536 of them",
        f"{env_id}, {policy} policy, `n_steps=16`",
        ALL_CORES,
        {
            "REINFORCE": learner,
            "stepping alone": {"work": "stepping", "n_envs": 65_536, **shared},
        },
        (("REINFORCE", None, targets[0]), ("stepping alone", None, targets[1])),
    )


def adapter(algorithm: str, n_envs: int, **more: Any) -> Comparison:
    """Compares vector environments under SB3's own algorithms."""
    kinds = {
        "torch": "torch",
        "gymnasium's vector env": "gymnasium",
        "DummyVecEnv": "dummy",
    }
    setting = "".join(f", `{name}={value}`" for name, value in more.items())
    return Comparison(
        f"adapter-{algorithm.lower()}-{n_envs}",
        "SB3's own algorithms through `as_vec_env`",
        f"{algorithm}, {n_envs:,} environments{setting}",
        1,
        {side: learn(algorithm, kind, n_envs, **more) for side, kind in kinds.items()},
        tuple((side, "DummyVecEnv", None) for side in list(kinds)[:2]),
    )


COMPARISONS = (
    *(a2c(n_envs, target) for n_envs, target in ((1, 2.0), (8, 2.0), (64, 1.5))),
    Comparison(
        "notebook",
        "REINFORCE with one environment",
        "4-16-2, Adam (0.01), one update an episode, 10,000 steps from fresh weights",
        1,
        {
            "REINFORCE": learn(
                "REINFORCE",
                "dummy",
                1,
                learning_rate=1e-2,
                gamma=1.0,
                standardize_returns=True,
                policy_kwargs={"net_arch": [16], "activation_fn": "ReLU"},
            ),
            "notebook's loop": {"work": "notebook"},
        },
        (("REINFORCE", "notebook's loop", 2.5),),
        # Episodes get longer as the policy learns: equal steps from equal weights.
        n_steps=10_000,
    ),
    wide(1_024),
    wide(8_192),
    *(
        pure_jax(n_envs, n, n, target)
        for n, target in ((1, 1.5), (4, 1.3))
        for n_envs in (64, 1_024, 4_096)
    ),
    table("sequence-tabular", "PGToy-Sequence-v0", "tabular", (60e6, 200e6)),
    table("sequence-linear", "PGToy-Sequence-v0", "linear", (60e6, 200e6)),
    table("frozen-lake", "FrozenLake-v1", "tabular", (None, None)),
    table("taxi", "Taxi-v4", "tabular", (None, None)),
    adapter("A2C", 64),
    adapter("A2C", 1_024),
    # PPO's default rollout of 2,048 steps is too long for this many environments.
    adapter("PPO", 64, n_steps=128, batch_size=1_024),
    adapter("PPO", 1_024, n_steps=32, batch_size=4_096),
)


def recipe_side(name: str) -> Settings:
    """Returns what `pgtoy run NAME --variant best` trains."""
    recipe = find_recipe(name).config("best").settings
    side = learn(recipe.algorithm, "gymnasium", recipe.n_envs, **recipe.arguments)
    return {**side, "work": "solve", "n_timesteps": recipe.timesteps}


def solve_sides() -> dict[str, Settings]:
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
    a2c_side = learn("A2C", "dummy", 8, ent_coef=0.0)
    return {
        "ActorCritic": recipe_side("one-step-actor-critic"),
        "REINFORCE": recipe_side("cartpole-policy-network"),
        "PPO": {**ppo, "work": "solve", "n_timesteps": 100_000},
        "A2C": {**a2c_side, "work": "solve", "n_timesteps": 500_000},
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
    longest: float = 15.0
    calibration: float = 0.7


QUICK = Durations(repeats=2, seconds=0.05, longest=0.5, calibration=0.01)


def start_worker(settings: Settings, threads: int) -> Worker:
    """Starts the process of a side."""
    if settings["work"] == "pure_jax":
        return Worker(settings, threads, pure_jax_python(), "bench.pure_jax_ppo")
    return Worker(settings, threads)


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
    """
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(closing(start(side, comparison.threads)))
            for name, side in comparison.sides.items()
        }
        warm = [
            worker.ask(do="calibrate", seconds=durations.calibration)
            for worker in workers.values()
        ]
        rates = [facts["steps"] / facts["seconds"] for facts in warm]
        n_steps = comparison.n_steps or max(
            int(min(max(rates) * durations.seconds, min(rates) * durations.longest)), 1
        )
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
        for seed in range(1, durations.repeats + 1):
            for name, worker in workers.items():
                turns[name].append(worker.ask(do="run", steps=n_steps, seed=seed))
        ready = {name: worker.ready for name, worker in workers.items()}
    return {"threads": comparison.threads, "ready": ready, "turns": turns}


def solve(
    results: dict[str, Any],
    save: Callable[[], None],
    n_seeds: int,
    n_timesteps: int | None = None,
    start: Start = start_worker,
) -> None:
    """Adds the seeds of solving CartPole that `results` lacks, one by one."""
    sides = solve_sides()
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
            results.update({f"{name} {seed}": answer, **provenance()})
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
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return {
        "setup": f"{processor} ({features}), {ALL_CORES} cores, Python "
        f"{platform.python_version()}, {versions}",
        "commit": commit or "unknown",
    }


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Replaces the file of results, so that an interrupted run loses nothing."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(path)


def main() -> None:
    """Measures what is missing or asked for."""
    names = [*(comparison.name for comparison in COMPARISONS), "solve"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", help="measure these anew"
    )
    parser.add_argument(
        "--quick", action="store_true", help="try everything briefly and save nothing"
    )
    parser.add_argument("--list", action="store_true", help="print the names")
    options = parser.parse_args()
    if options.list:
        print("\n".join(names))
        return
    results: dict[str, Any] = {"runs": {}, "solve": {}}
    if RESULTS.exists() and not options.quick:
        results = json.loads(RESULTS.read_text())
    for name in options.only or ():
        results["runs"].pop(name, None)
    if "solve" in (options.only or ()):
        results["solve"] = {}

    def save() -> None:
        if not options.quick:
            write(RESULTS, results)

    failed = []
    for comparison in COMPARISONS:
        name = comparison.name
        if name in results["runs"] or (options.only and name not in options.only):
            continue
        if options.quick:
            # On a busy machine two threads mostly wait for each other.
            comparison = replace(comparison, threads=1)
        try:
            found = measure(comparison, QUICK if options.quick else Durations())
        except RuntimeError as error:
            # The other comparisons are still worth having.
            print(f"{name}: {error}", flush=True)
            failed.append(name)
            continue
        results["runs"][name] = {**provenance(), **found}
        save()
        rates = {
            side: [f"{turn['steps'] / turn['seconds']:,.0f}" for turn in turns]
            for side, turns in found["turns"].items()
        }
        print(f"{name}: {rates}", flush=True)
    if options.only is None or "solve" in options.only:
        n_seeds, n_timesteps = (1, 6_000) if options.quick else (N_SEEDS, None)
        solve(results["solve"], save, n_seeds, n_timesteps)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
