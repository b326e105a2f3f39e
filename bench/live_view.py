"""How much the live view slows training down, and how many frames it draws.

One process trains the same model from the same seed in turns, with the view and without
any callback, in the order ABBA: the steps of all turns are the same. Without the view,
its process is stopped and draws nothing.

    python -m bench.live_view            # on a screen, or under xvfb-run
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

import pg_envs  # noqa: F401 - registers the environments
from pg_agents import REINFORCE, ActorCritic, LiveView
from pg_agents.live.screen import has_screen


def _sequence() -> OnPolicyAlgorithm:
    return REINFORCE("MlpPolicy", "PGToy-Sequence-v0", learning_rate=1e-3, seed=0)


def _cartpole() -> OnPolicyAlgorithm:
    return ActorCritic("MlpPolicy", gymnasium.make_vec("CartPole-v1", 8), seed=0)


def _pixelcopter() -> OnPolicyAlgorithm:
    env = gymnasium.make_vec("PGToy-Pixelcopter-v0", 16)
    return REINFORCE("MlpPolicy", env, seed=0)


def _a2c() -> OnPolicyAlgorithm:
    return A2C("MlpPolicy", "CartPole-v1", seed=0, device="cpu")


CASES: dict[str, Callable[[], OnPolicyAlgorithm]] = {
    "REINFORCE, Sequence": _sequence,
    "ActorCritic, 8 CartPoles": _cartpole,
    "REINFORCE, 16 Pixelcopters": _pixelcopter,
    "A2C of SB3, CartPole": _a2c,
}


@dataclass(frozen=True)
class Slowdown:
    """Times of a step with the view, divided by those without.

    Attributes:
        wall: ratio of wall-clock times, the median over the pairs of turns.
        wall_error: standard error of their mean.
        cpu: ratio of the processor times of the training's process.
        steps_per_second: without the view.
        fps: frames a second while the view was on.
    """

    wall: float
    wall_error: float
    cpu: float
    steps_per_second: float
    fps: float


def _turns(n_pairs: int) -> Iterator[bool]:
    """Yields whether the view is on: on, off, off, on, on, off, ..."""
    for i in range(n_pairs):
        yield from (True, False) if i % 2 == 0 else (False, True)


def measure(
    make_model: Callable[[], OnPolicyAlgorithm], n_pairs: int, seconds: float
) -> Slowdown:
    """Trains in turns.

    Args:
        make_model: of the case.
        n_pairs: turns with the view, and as many without.
        seconds: duration of each.
    """
    view, times = LiveView(verbose=0), {True: [], False: []}  # type: ignore[var-annotated]
    steps = 1000
    while (wall := _turn(make_model, view, steps)[0] * steps) < 0.3 * seconds:
        steps *= 2
    steps = round(steps * seconds / wall)
    pid = view.viewer_pid
    assert pid is not None, "the view is open"
    n_frames, shown = 0, 0.0
    for is_on in _turns(n_pairs):
        os.kill(pid, signal.SIGCONT if is_on else signal.SIGSTOP)
        if not is_on:
            times[False].append(_turn(make_model, None, steps))
            continue
        before, start = view.count_frames(), time.perf_counter()
        times[True].append(_turn(make_model, view, steps))
        shown += time.perf_counter() - start
        n_frames += view.count_frames() - before
    os.kill(pid, signal.SIGCONT)
    view.close()
    on, off = np.array(times[True]), np.array(times[False])
    ratios = on / off
    return Slowdown(
        wall=float(np.median(ratios[:, 0])),
        wall_error=float(ratios[:, 0].std(ddof=1) / np.sqrt(n_pairs)),
        cpu=float(np.median(ratios[:, 1])),
        steps_per_second=float(1 / np.median(off[:, 0])),
        fps=n_frames / shown,
    )


def _turn(
    make_model: Callable[[], OnPolicyAlgorithm], view: LiveView | None, n_steps: int
) -> tuple[float, float]:
    """Trains a new model, with the same steps in each turn.

    Returns:
        Wall-clock and processor time of a step, in seconds.
    """
    model = make_model()
    # Opens the window, and takes what is done once out of the measurement.
    model.learn(1000, callback=view)
    before = model.num_timesteps
    wall, cpu = time.perf_counter(), time.process_time()
    model.learn(n_steps, callback=view, reset_num_timesteps=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    n = model.num_timesteps - before
    return wall / n, cpu / n


def main() -> None:
    """Measures all cases, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"screen: {has_screen()}; window of 1280 x 720; cores: {os.cpu_count()}")
    print("| training | steps/s without | time with / without | CPU | frames/s |")
    print("|---|---|---|---|---|")
    for name, make_model in CASES.items():
        found = measure(make_model, options.pairs, options.seconds)
        print(
            f"| {name} | {found.steps_per_second:,.0f} | {found.wall:.3f} ± "
            f"{found.wall_error:.3f} | {found.cpu:.3f} | {found.fps:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
