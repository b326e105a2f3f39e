"""How cost grows: steps a second by number of environments, and memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from benchmarks.speed.lines import ALL_CORES
from benchmarks.speed.machine import setup
from benchmarks.speed.measuring import Patience, Start, start_worker
from benchmarks.speed.results import Results
from benchmarks.speed.settings import Settings, learning
from benchmarks.speed.verdicts import number, rates

SECTION = "scaling"
SIZES = tuple(4**k for k in range(9))
THEIR_SIZES = tuple(4**k for k in range(6))
GROWTH_STEPS, GROWTH_ENVS = 10_000_000, 1_024
ROLLOUTS = 6
# From so many environments on, ours is given all cores.
WIDE = 1_024
# Sizes and rollout lengths that the memory is measured at.
SMALL, LARGE, SHORT, LONG = 16_384, 65_536, 5, 15
MEMORY_POINTS = {
    "small": (SMALL, SHORT),
    "large": (LARGE, SHORT),
    "long": (LARGE, LONG),
}


def ours(n_envs: int, **more: Any) -> Settings:
    """Returns ActorCritic on the torch CartPole."""
    return learning("ActorCritic", "torch", n_envs, **more)


def threads(settings: Settings) -> int:
    """Returns the better number of threads: SB3 and small batches want one."""
    wide = settings["env"] == "torch" and settings["n_envs"] >= WIDE
    return ALL_CORES if wide else 1


def run_missing(
    results: Results,
    patience: Patience,
    sizes: tuple[int, ...] = SIZES,
    growth_steps: int = GROWTH_STEPS,
    start: Start = start_worker,
    say: Callable[[str], None] = print,
) -> None:
    """Measures what the results do not have yet."""
    sides = {f"ActorCritic {n}": ours(n) for n in sizes}
    sides |= {
        f"A2C {n}": learning("A2C", "dummy", n) for n in THEIR_SIZES if n <= sizes[-1]
    }
    found = results.section(SECTION)
    for name, settings in sides.items():
        if name not in found:
            with closing(start(settings, threads(settings))) as worker:
                entry = rates(curve_turns(worker.ask, patience))
            results.add(SECTION, name, entry)
            say(f"scaling: {name} environments: {number(median(entry))} steps/s")
    if "memory" not in found:
        points = {name: min_size(point, sizes) for name, point in MEMORY_POINTS.items()}
        results.add(SECTION, "memory", memory_points(points, start))
    if "growth" not in found:
        settings = {**ours(GROWTH_ENVS), "work": "memory"}
        with closing(start(settings, ALL_CORES)) as worker:
            answer = worker.ask(do="growth", steps=growth_steps)
        results.add(SECTION, "growth", answer["resident"])
        say(f"scaling: resident memory {answer['resident']}")
    results.add(SECTION, "setup", setup())


def min_size(point: tuple[int, int], sizes: tuple[int, ...]) -> tuple[int, int]:
    """Returns the point, scaled down where a smoke test wants no large sizes."""
    return point[0] * sizes[-1] // SIZES[-1], point[1]


def curve_turns(
    ask: Callable[..., dict[str, Any]], patience: Patience
) -> list[dict[str, float]]:
    """Returns the turns of a size that is measured by itself."""
    warm = ask(do="calibrate", seconds=patience.calibration)
    n_steps = int(warm["steps"] / warm["seconds"] * patience.seconds) + 1
    return [
        ask(do="run", steps=n_steps, seed=seed)
        for seed in range(1, patience.repeats + 1)
    ]


def memory_points(
    points: Mapping[str, tuple[int, int]], start: Start
) -> dict[str, dict[str, float]]:
    """Returns what a fresh process of each size takes."""
    found = {}
    for name, (n_envs, n_steps) in points.items():
        settings = {**ours(n_envs, n_steps=n_steps), "work": "memory"}
        with closing(start(settings, ALL_CORES)) as worker:
            answer = worker.ask(do="held", steps=ROLLOUTS * n_envs * n_steps)
        found[name] = {**answer, "n_envs": n_envs, "n_steps": n_steps}
    return found


def memory_lines(points: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns the table of bytes, from differences between processes.

    With memory a + N (e + T s) of N environments and T steps: s from two T, e from two
    N.
    """
    small, large, long = (points[name] for name in MEMORY_POINTS)
    n_more = large["n_envs"] - small["n_envs"]
    t_more = long["n_steps"] - large["n_steps"]

    def slopes(key: str) -> tuple[float, float]:
        per_step = (long[key] - large[key]) / (large["n_envs"] * t_more)
        per_env = (large[key] - small[key]) / n_more - large["n_steps"] * per_step
        return per_env, per_step

    env = slopes("env")[0]
    stored = slopes("buffer")[1]
    peak = slopes("peak")
    return [
        "| | bytes |",
        "|---|---|",
        f"| an environment: tensors that it holds | {env:,.0f} |",
        f"| a stored step: tensors that the buffer holds | {stored:,.0f} |",
        f"| an environment, peak of the process while learning | {peak[0]:,.0f} |",
        f"| a stored step, likewise, with the update's activations | {peak[1]:,.0f} |",
        "",
        "Differences between processes of their own, "
        + ", ".join(
            f"{p['n_envs']:,.0f} x {p['n_steps']:.0f}" for p in (small, large, long)
        )
        + " environments x steps. Held: all tensors and arrays reachable from the "
        "environment, or the buffer, when a rollout is full, each counted once. Peak: "
        "the most resident memory the system has seen (`VmHWM`).",
    ]


def growth_line(resident: list[int]) -> str:
    """Returns how memory grew from the first tenth of a long training to its end."""
    first, last = resident[0] / 2**20, resident[-1] / 2**20
    return (
        f"Resident memory over {GROWTH_STEPS / 1e6:.0f} M steps of `learn()` at "
        f"{GROWTH_ENVS:,} environments: {first:.1f} MiB after the first tenth, "
        f"{last:.1f} MiB at the end, a growth of {last - first:+.1f} MiB."
    )


def table(found: Mapping[str, Any], picture: str) -> list[str]:
    """Returns the lines of the page."""
    lines = [f"![steps a second by number of environments]({picture})", ""]
    lines += [
        f"{found['setup']}. One thread; from {WIDE:,} environments on, {ALL_CORES} for "
        "ActorCritic.",
        "",
    ]
    lines += ["| environments | ActorCritic, torch CartPole | A2C, `DummyVecEnv` |"]
    lines += ["|---|---|---|"]
    for size in SIZES:
        cells = [found.get(f"{name} {size}") for name in ("ActorCritic", "A2C")]
        if any(cells):
            shown = " | ".join(number(median(cell)) if cell else "" for cell in cells)
            lines.append(f"| {size:,} | {shown} |")
    lines.append("")
    lines += memory_lines(found["memory"])
    return [*lines, "", growth_line(found["growth"])]


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draws steps a second against the number of environments."""
    # Without pyplot, which has a backend and keeps figures for the whole process.
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.subplots()
    curves = (
        ("ActorCritic", "ActorCritic, torch CartPole", "o-"),
        ("A2C", "SB3 A2C, DummyVecEnv", "s--"),
    )
    for name, label, form in curves:
        points = [(n, found[f"{name} {n}"]) for n in SIZES if f"{name} {n}" in found]
        sizes = [n for n, _ in points]
        middle = [median(each) for _, each in points]
        axes.loglog(sizes, middle, form, label=label)
        axes.fill_between(
            sizes, [min(x) for _, x in points], [max(x) for _, x in points], alpha=0.2
        )
    axes.set_xscale("log", base=4)
    axes.set_xticks(SIZES, [f"{n:,}" for n in SIZES], rotation=30)
    axes.set_xlabel("environments")
    axes.set_ylabel("steps a second of learn()")
    axes.set_title("CartPole-v1, n_steps=5, 64-64 tanh")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
