"""Prints where the CPU time of `learn()` goes: `python -m bench.profile`.

The first table has microseconds of a vector step: of `learn()`, and of the parts that
no step does without, each alone. These are the environment's step, drawing actions, and
forward pass, gradient and optimizer step of an update. What is left is the cost of
SB3's interface: buffer, callbacks, logs, checks, returns.

The second has shares of `learn()`. A signal interrupts training every millisecond of
CPU time. A sample belongs to the innermost function of pgtoy that is running, and with
it what that function calls in other packages: a step of SB3's vector environment, say,
belongs to the stepper.
"""

from __future__ import annotations

import collections
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.env_util import make_vec_env

import pg_agents
import pg_envs
from bench.worker import NoCallback
from pg_agents import REINFORCE, ActorCritic

SECONDS_PER_SAMPLE = 0.001
PACKAGES = tuple(f"{Path(str(p.__file__)).parent}/" for p in (pg_agents, pg_envs))
# Files of each part; the others belong to the last one.
PARTS = {
    "environments": ("steppers", "adapter", "autoreset", "infos", "arrays"),
    "networks, distributions, gradients": ("closed_form", "gradients"),
    "optimizer": ("optimizers",),
    "returns and advantages": ("returns", "advantages", "baselines"),
    "buffer": ("buffer", "data"),
    "loop, callbacks, logs": (),
}


def bandit() -> Any:  # noqa: ANN401
    """Returns a learner that updates after every step."""
    kwargs = {"net_arch": [], "optimizer_class": torch.optim.SGD}
    env = "pg_envs:PGToy-Bandit-v0"
    return REINFORCE("MlpPolicy", env, n_steps=1, seed=0, policy_kwargs=kwargs)


def cartpole(n_envs: int, native: bool) -> Any:  # noqa: ANN401
    """Returns ActorCritic with default settings."""
    make: Any = gymnasium.make_vec if native else make_vec_env
    return ActorCritic("MlpPolicy", make("CartPole-v1", n_envs), seed=0, device="cpu")


CASES: dict[str, tuple[Callable[[], Any], int]] = {
    "bandit, an update a step": (bandit, 15_000),
    "CartPole, DummyVecEnv, 1": (lambda: cartpole(1, native=False), 30_000),
    "8": (lambda: cartpole(8, native=False), 150_000),
    "64": (lambda: cartpole(64, native=False), 400_000),
    "vector env, 64": (lambda: cartpole(64, native=True), 1_000_000),
    "1,024": (lambda: cartpole(1024, native=True), 3_000_000),
}
# Of these the parts are measured alone, too.
ALONE = ("bandit, an update a step", "CartPole, DummyVecEnv, 1", "8")


def part_of(frame: FrameType | None) -> str:
    """Returns the part that the innermost function of pgtoy belongs to."""
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGES):
        frame = frame.f_back
    if frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGES[1]):
            return "environments"
        for part, files in PARTS.items():
            if path.stem in files:
                return part
    return list(PARTS)[-1]


def shares(make: Callable[[], Any], n_steps: int) -> dict[str, float]:
    """Returns the share of each part in the time of a warm `learn()`."""
    model = make()
    model.learn(n_steps // 20)
    counts: collections.Counter[str] = collections.Counter()
    signal.signal(signal.SIGPROF, lambda _, frame: counts.update([part_of(frame)]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_SAMPLE, SECONDS_PER_SAMPLE)
    try:
        model.learn(n_steps)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
    return {part: counts[part] / counts.total() for part in PARTS}


# Turns of each part, and vector steps in a turn.
N_TURNS, N_STEPS = 15, 500


def microseconds_alone(make: Callable[[], Any]) -> dict[str, float]:
    """Returns the CPU time of a vector step of `learn()`, and of its parts alone.

    The parts take turns, of which the median counts. The update of a rollout is divided
    by its steps.
    """
    model = make()
    env, config, n_envs = model.env, model.config, model.n_envs
    model.learn(N_STEPS * n_envs)
    gradients, obs = model.learner.gradients, model.collector.obs
    batch = next(model.rollout_buffer.batches())
    actions = np.array([env.action_space.sample() for _ in range(n_envs)])

    def update() -> None:
        gradients.gradient(batch, model.loss, config, {"ent_coef": config.ent_coef})
        gradients.clip(config.max_grad_norm or np.inf)
        gradients.step()

    def learn(callback: NoCallback | None) -> None:
        model.learn(N_STEPS * n_envs, callback, reset_num_timesteps=False)

    calls: dict[str, tuple[Callable[[], object], int]] = {
        "environment": (lambda: env.step(actions), N_STEPS),
        "actions": (lambda: gradients.act(obs), N_STEPS),
        "update": (update, N_STEPS // config.n_steps),
        "learn()": (lambda: learn(None), 1),
        "with a callback": (lambda: learn(NoCallback()), 1),
    }
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(N_TURNS):
        for name, (call, n_calls) in calls.items():
            start = time.process_time()
            for _ in range(n_calls):
                call()
            turns[name].append((time.process_time() - start) / N_STEPS * 1e6)
    return {name: statistics.median(found) for name, found in turns.items()}


def main() -> None:
    """Prints two tables in Markdown."""
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    for name in ALONE:
        make, _ = CASES[name]
        first = not found
        found = microseconds_alone(make)
        if first:
            print(f"| | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
        cells = " | ".join(f"{number:.0f} us" for number in found.values())
        print(f"| {name} | {cells} |", flush=True)
    print()
    print(f"| | {' | '.join(PARTS)} |\n|---|{'---:|' * len(PARTS)}")
    for name, (make, n_steps) in CASES.items():
        found = shares(make, n_steps)
        cells = " | ".join(f"{100 * share:.0f} %" for share in found.values())
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
