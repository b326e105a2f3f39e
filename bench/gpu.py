"""Measures from how many environments a GPU pays: `python -m bench.gpu`.

Each side runs in a process of its own, warm, and the sides take turns, so that a busy
machine slows them alike. Results go to docs/gpu.json and docs/gpu.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from stable_baselines3 import A2C

import pg_envs
from bench.protocol import ROOT, Facts, Handler, Run, Task, Worker, serve, task_handler
from pg_agents import ActorCritic, as_vec_env

ENV_IDS = ("PGToy-Sequence-v0", "CartPole-v1")
SIZES = tuple(8**k for k in range(7))
# With fewer environments a second thread costs more than it computes.
MANY = 512
PACKAGES = ("torch", "numpy", "stable-baselines3", "gymnasium")
# Median steps a second of each side, by number of environments.
Rates = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Side:
    """One side of the comparison; all train with A2C's defaults and `MlpPolicy`.

    Attributes:
        algorithm: `"ActorCritic"` or `"A2C"`.
        on_device: whether the model is on the measured device, instead of the CPU.
        env_on_device: the same of the environments.
    """

    algorithm: str
    on_device: bool
    env_on_device: bool


SIDES = {
    "ours on the GPU": Side("ActorCritic", True, True),
    "ours on the CPU": Side("ActorCritic", False, False),
    # It takes arrays on the CPU from its environments.
    "SB3's A2C on the GPU": Side("A2C", True, False),
}
OURS, ON_CPU, SB3S = SIDES


@dataclass(frozen=True)
class Durations:
    """How long to measure.

    Attributes:
        repeats: turns of each side.
        seconds: length of a turn; a turn has one rollout at least.
        sizes: numbers of environments.
    """

    repeats: int
    seconds: float
    sizes: tuple[int, ...]


FULL = Durations(repeats=5, seconds=1.5, sizes=SIZES)
QUICK = Durations(repeats=2, seconds=0.05, sizes=SIZES[:3])


def learning(settings: Mapping[str, Any]) -> Task:
    """Returns `learn()` of fresh models in environments that are made once.

    Args:
        settings: `algorithm`, `env_id`, `n_envs`, `device` and `env_device`.
    """
    env: Any = pg_envs.make_torch_vec(
        settings["env_id"],
        settings["n_envs"],
        settings["env_device"],
        check_actions=False,
    )
    make: Any = {"ActorCritic": ActorCritic, "A2C": A2C}[settings["algorithm"]]
    if make is A2C:
        env = as_vec_env(env)

    def task(seed: int) -> Run:
        model = make("MlpPolicy", env, seed=seed, device=settings["device"])

        def run(n_steps: int) -> Facts:
            model.learn(n_steps)
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            return {"steps": float(model.num_timesteps)}

        return run

    return task


def make_handler(settings: Mapping[str, Any]) -> tuple[Handler, dict[str, Any]]:
    """Returns the handler of one side's process, for any environment and number."""
    # SB3 advises against a GPU for MlpPolicy.
    warnings.simplefilter("ignore")
    handlers: dict[tuple[str, int], Handler] = {}

    def handle(command: Mapping[str, Any]) -> dict[str, Any]:
        key = (command["env_id"], command["n_envs"])
        if key not in handlers:
            # Frees the memory of the last one.
            handlers.clear()
            n_envs = command["n_envs"]
            torch.set_num_threads(settings["threads"] if n_envs >= MANY else 1)
            task = learning({**settings, "env_id": key[0], "n_envs": key[1]})
            handlers[key] = task_handler(task)
        return handlers[key](command)

    return handle, {}


def start_workers(stack: ExitStack, device: str) -> dict[str, Worker]:
    """Starts a process for each side, with all cores; the stack ends them."""
    workers = {}
    for name, side in SIDES.items():
        settings = {
            "algorithm": side.algorithm,
            "device": device if side.on_device else "cpu",
            "env_device": device if side.env_on_device else "cpu",
        }
        worker = Worker(settings, len(os.sched_getaffinity(0)), module="bench.gpu")
        workers[name] = stack.enter_context(closing(worker))
    return workers


def measure(
    workers: Mapping[str, Any], env_id: str, n_envs: int, durations: Durations
) -> dict[str, list[float]]:
    """Returns the steps a second of every turn of each side."""
    size = {"env_id": env_id, "n_envs": n_envs}
    n_steps = {}
    for name, worker in workers.items():
        warm = worker.ask(do="calibrate", seconds=durations.seconds / 2, **size)
        n_steps[name] = int(durations.seconds * warm["steps"] / warm["seconds"]) + 1
    rates: dict[str, list[float]] = {name: [] for name in workers}
    for seed in range(1, durations.repeats + 1):
        for name, worker in workers.items():
            facts = worker.ask(do="run", steps=n_steps[name], seed=seed, **size)
            rates[name].append(facts["steps"] / facts["seconds"])
    return rates


def pays_from(rates: Rates) -> int | None:
    """Returns the number of environments from which on the GPU is faster than the CPU.

    It is faster there and with every larger measured number; None if with none.
    """
    smallest = None
    for n_envs in sorted(rates, reverse=True):
        if rates[n_envs][OURS] <= rates[n_envs][ON_CPU]:
            break
        smallest = n_envs
    return smallest


def table(rates: Rates) -> list[str]:
    """Returns the rows of a Markdown table of rates and of their ratios."""
    lines = [
        f"| environments | {' | '.join(f'{name}, steps/s' for name in SIDES)} | "
        "GPU : CPU | GPU : A2C |",
        "|" + "---:|" * (len(SIDES) + 3),
    ]
    for n_envs, row in sorted(rates.items()):
        cells = [f"{row[name]:,.0f}" for name in SIDES]
        ratios = [row[OURS] / row[other] for other in (ON_CPU, SB3S)]
        cells += [f"{ratio:.2f}" for ratio in ratios]
        lines.append(f"| {n_envs:,} | {' | '.join(cells)} |")
    return lines


def page(results: Mapping[str, Any]) -> str:
    """Returns docs/gpu.md.

    Args:
        results: `machine`, and `turns`: steps a second of every turn by environment,
            number of environments (a string, as in JSON) and side.
    """
    lines = [
        "# When a GPU pays",
        "",
        "`make bench-gpu` measures this and writes the page. Every side trains with",
        "A2C's default settings: `MlpPolicy`, `n_steps=5`, one update a rollout. Our",
        "environments are on the model's device; SB3's A2C gets the same ones on the",
        "CPU, through `as_vec_env`. Every side has one CPU thread with fewer than",
        f"{MANY} environments, else all cores. Rates are medians of turns in which the",
        "sides alternate.",
        "",
        f"{results['machine']}.",
    ]
    for env_id, sizes in results["turns"].items():
        rates = medians(sizes)
        smallest = pays_from(rates)
        verdict = (
            f"The GPU is faster than the CPU from {smallest:,} environments on."
            if smallest is not None
            else "The GPU is not faster than the CPU with any of these numbers."
        )
        lines += ["", f"## {env_id}", "", *table(rates), "", verdict]
    return "\n".join(lines) + "\n"


def medians(sizes: Mapping[str, Mapping[str, Sequence[float]]]) -> Rates:
    """Returns the median rate of each side by number of environments."""
    return {
        int(n_envs): {name: statistics.median(turns) for name, turns in sides.items()}
        for n_envs, sides in sizes.items()
    }


def machine(device: str) -> str:
    """Returns device, CPU and versions in words."""
    is_trial = torch.device(device).type == "cpu"
    name = "A trial without a GPU" if is_trial else torch.cuda.get_device_name(device)
    cores = f"{len(os.sched_getaffinity(0))} cores ({platform.machine()})"
    versions = (f"{package} {version(package)}" for package in PACKAGES)
    return ", ".join([name, cores, f"Python {platform.python_version()}", *versions])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints and writes; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument(
        "--quick", action="store_true", help="try it with few steps and write nothing"
    )
    options = parser.parse_args(arguments)
    kind = torch.device(options.device).type
    if kind == "cuda" and not torch.cuda.is_available():
        print(
            "torch finds no CUDA device here, so there is nothing to measure; "
            "--device cpu --quick tries the benchmark without one",
            file=sys.stderr,
        )
        return 2
    durations = QUICK if options.quick else FULL
    turns: dict[str, dict[str, Any]] = {env_id: {} for env_id in ENV_IDS}
    with ExitStack() as stack:
        workers = start_workers(stack, options.device)
        for env_id, sizes in turns.items():
            for n_envs in durations.sizes:
                sizes[str(n_envs)] = measure(workers, env_id, n_envs, durations)
                print(f"{env_id}, {n_envs:,} environments: measured", flush=True)
    results = {"machine": machine(options.device), "turns": turns}
    print(page(results))
    if kind == "cuda" and not options.quick:
        docs = ROOT / "docs"
        (docs / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
        (docs / "gpu.md").write_text(page(results))
    return 0


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):
        # One side, started by `protocol.Worker`.
        serve(partial(make_handler, json.loads(sys.argv[1])))
    else:
        sys.exit(main())
