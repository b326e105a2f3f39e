"""One side of a comparison: `python -m bench.worker SETTINGS`.

`work` of the settings names an entry of `TASKS`, or is `"solve"`. Most kinds of work
train, with `settings`: those of `pg_agents.experiments`, as for a recipe.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn

import pg_agents
import pg_envs
from bench.cells import CELLS
from bench.protocol import ROOT, Facts, Handler, Run, Task, serve, task_handler
from pg_agents.experiments import Settings
from pg_agents.experiments.building import (
    algorithm_class,
    constructor_arguments,
    make_model,
    make_training_env,
)

PACKAGES = ("torch", "numpy", "stable-baselines3", "gymnasium")


class NoCallback(BaseCallback):
    """A callback that does nothing, called at every step."""

    def _on_step(self) -> bool:
        return True


def learning(side: Mapping[str, Any]) -> Task:
    """Returns `learn()` of fresh models in an environment that is made once."""
    settings = Settings.from_json(side["settings"])
    env = make_training_env(settings)

    def task(seed: int) -> Run:
        model: Any = make_model(settings, env, seed)
        callback = NoCallback() if side.get("callback") else None

        def run(n_steps: int) -> Facts:
            model.learn(n_steps, callback)
            updates = float(model._n_updates)
            return {"steps": float(model.num_timesteps), "updates": updates}

        return run

    return task


# The experiments of a row: several runs from consecutive seeds. Making environments and
# models is part of them, so it is timed.


def learn_with_cells(side: Mapping[str, Any], seeds: Sequence[int], each: int) -> float:
    """Runs a cell with one seed after another; returns the number of steps."""
    return sum(CELLS[side["cell"]](seed)(each)["steps"] for seed in seeds)


def learn_one_by_one(side: Mapping[str, Any], seeds: Sequence[int], each: int) -> float:
    """Trains one model after another; returns the number of steps."""
    settings = Settings.from_json(side["settings"])
    steps = 0
    for seed in seeds:
        model = make_model(settings, make_training_env(settings), seed)
        steps += model.learn(each).num_timesteps
    return steps


def learn_as_batch(side: Mapping[str, Any], seeds: Sequence[int], each: int) -> float:
    """Trains all seeds as one batch of learners; returns the number of steps.

    This is the only use of `LearnerBatch` here.
    """
    settings = Settings.from_json(side["settings"])
    make_batch: Any = pg_agents.LearnerBatch
    batch = make_batch(
        algorithm_class(settings),
        settings.policy,
        settings.env_id,
        seeds=seeds,
        n_envs=settings.n_envs,
        env_kwargs=dict(settings.env_kwargs),
        **constructor_arguments(settings),
    )
    batch.learn(each)
    return float(batch.num_timesteps.sum())


LEARN_ALL = {
    "cells": learn_with_cells,
    "one by one": learn_one_by_one,
    "batch": learn_as_batch,
}


def experiment(side: Mapping[str, Any]) -> Task:
    """Returns whole experiments of `n_learners` runs with equal numbers of steps."""
    n_learners, learn_all = side["n_learners"], LEARN_ALL[side["how"]]

    def task(seed: int) -> Run:
        seeds = range(seed * n_learners, (seed + 1) * n_learners)

        def run(n_steps: int) -> Facts:
            return {"steps": learn_all(side, seeds, math.ceil(n_steps / n_learners))}

        return run

    return task


def demo(side: Mapping[str, Any]) -> Task:
    """Returns a demo in a process of its own, pictures included; a step is a run.

    `commit` is the version of the code, None for this one. The values of `options` are
    multiplied by the number of runs.
    """
    root = ROOT
    if side["commit"] is not None:
        folder = tempfile.TemporaryDirectory()
        atexit.register(folder.cleanup)
        root = type(ROOT)(folder.name)
        archive = subprocess.run(
            ["git", "archive", side["commit"]],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
        )
        subprocess.run(["tar", "-x"], cwd=root, check=True, input=archive.stdout)
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "SDL_VIDEODRIVER": "dummy",
        "MPLBACKEND": "agg",
    }

    def task(seed: int) -> Run:
        def run(n_steps: int) -> Facts:
            options = [
                f"{name}={math.ceil(value * n_steps)}"
                for name, value in side["options"].items()
            ]
            with tempfile.TemporaryDirectory() as out:
                command = [sys.executable, side["script"], f"--seed={seed}", *options]
                subprocess.run(
                    [*command, "--render=gif", f"--out={out}"],
                    cwd=root,
                    env=environment,
                    check=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            return {"steps": n_steps}

        return run

    return task


def network(n_outputs: int) -> nn.Sequential:
    """Returns CartPole's usual network: two hidden layers of 64 with tanh."""
    return nn.Sequential(
        nn.Linear(4, 64),
        nn.Tanh(),
        nn.Linear(64, 64),
        nn.Tanh(),
        nn.Linear(64, n_outputs),
    )


def act(policy: nn.Module, observations: Tensor) -> Tensor:
    """Samples an action for each observation."""
    with torch.no_grad():
        return torch.multinomial(policy(observations).softmax(dim=-1), 1).squeeze(-1)


def differentiate(
    policy: nn.Module, critic: nn.Module, observations: Tensor, actions: Tensor
) -> None:
    """Runs forward and backward of A2C's loss with constant returns."""
    log_probs = policy(observations).log_softmax(dim=-1)
    log_prob = log_probs.gather(-1, actions[:, None]).squeeze(-1)
    error = 1.0 - critic(observations).squeeze(-1)
    loss = -(error.detach() * log_prob).mean() + 0.5 * error.square().mean()
    policy.zero_grad()
    critic.zero_grad()
    loss.backward()


def torch_alone(side: Mapping[str, Any]) -> Task:
    """Returns the forward and backward passes of a rollout and its update alone.

    There is no environment, no optimiser step and no bookkeeping: a lower bound on what
    autograd costs for these networks and batch sizes.
    """
    n_envs, n_steps = side["n_envs"], side["n_steps"]
    observations = torch.randn(n_steps, n_envs, 4)

    def task(seed: int) -> Run:
        torch.manual_seed(seed)
        policy, critic = network(2), network(1)

        def run(wanted: int) -> Facts:
            steps = 0
            while steps < wanted:
                actions = torch.cat([act(policy, obs) for obs in observations])
                differentiate(policy, critic, observations.flatten(0, 1), actions)
                steps += n_steps * n_envs
            return {"steps": steps}

        return run

    return task


def stepping(side: Mapping[str, Any]) -> Task:
    """Returns steps of a torch environment with random actions drawn in advance."""
    settings = Settings.from_json(side["settings"])
    env: Any = pg_envs.make_torch_vec(
        settings.env_id, settings.n_envs, **settings.env_kwargs
    )
    n_actions = int(env.single_action_space.n)
    rows = torch.randint(n_actions, (16, settings.n_envs), device=env.device)

    def task(seed: int) -> Run:
        env.reset(seed=seed)

        def run(wanted: int) -> Facts:
            steps = 0
            while steps < wanted:
                for actions in rows:
                    env.step_unchecked(actions)
                steps += rows.numel()
            return {"steps": steps}

        return run

    return task


# CartPole counts as solved after three evaluations in a row that reach its threshold.
EVAL_FREQ, N_EVAL_EPISODES, THRESHOLD, N_IN_A_ROW = 5_000, 20, 475.0, 3
WARM_UP_STEPS = 3_000


class Evaluation:
    """Greedy episodes of Gymnasium's CartPole, all at once, other ones every call."""

    def __init__(self, seed: int) -> None:
        self._env = gymnasium.make_vec("CartPole-v1", num_envs=N_EVAL_EPISODES)
        self._seed: int | None = seed

    def __call__(self, model: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Returns the return of each episode."""
        obs, _ = self._env.reset(seed=self._seed)
        # Later resets continue the generator.
        self._seed = None
        returns = np.zeros(N_EVAL_EPISODES)
        finished = np.zeros(N_EVAL_EPISODES, dtype=np.bool_)
        while not finished.all():
            actions, _ = model.predict(obs, deterministic=True)
            obs, rewards, terminated, truncated, _ = self._env.step(actions)
            returns += np.where(finished, 0.0, rewards)
            finished |= terminated | truncated
        return returns


class StopWhenSolvedClock(BaseCallback):
    """Times training without its evaluations and stops once CartPole is solved.

    Attributes:
        seconds: of training, up to the last evaluation.
        solved: whether training was stopped because CartPole is solved.
        means: mean return of each evaluation.
    """

    def __init__(self, evaluation: Callable[[Any], NDArray[np.float64]]) -> None:
        super().__init__()
        self._evaluation = evaluation
        self.seconds, self.solved = 0.0, False
        self.means: list[float] = []
        self._next, self._start = EVAL_FREQ, 0.0

    def _on_training_start(self) -> None:
        self._start = time.perf_counter()

    def _on_step(self) -> bool:
        if self.num_timesteps < self._next:
            return True
        self.seconds += time.perf_counter() - self._start
        self._next += EVAL_FREQ
        self.means.append(float(self._evaluation(self.model).mean()))
        last = self.means[-N_IN_A_ROW:]
        self.solved = len(last) == N_IN_A_ROW and min(last) >= THRESHOLD
        self._start = time.perf_counter()
        return not self.solved


def solving(side: Mapping[str, Any]) -> Handler:
    """Returns the handler of `{"do": "solve", "seed": ..., "n_timesteps": ...}`."""
    settings = Settings.from_json(side["settings"])
    make_model(settings, make_training_env(settings), 0).learn(WARM_UP_STEPS)

    def handle(command: Mapping[str, Any]) -> dict[str, Any]:
        seed = command["seed"]
        model = make_model(settings, make_training_env(settings), seed)
        # Seeds of the evaluation far from those of the training environments.
        clock = StopWhenSolvedClock(Evaluation(seed=10_000 + seed))
        model.learn(command["n_timesteps"] or side["n_timesteps"], callback=clock)
        return {
            "seconds": clock.seconds,
            "solved": clock.solved,
            "steps": model.num_timesteps,
            "means": clock.means,
        }

    return handle


TASKS: dict[str, Callable[[Mapping[str, Any]], Task]] = {
    "learn": learning,
    "cell": lambda side: CELLS[side["cell"]],
    "experiment": experiment,
    "torch_alone": torch_alone,
    "stepping": stepping,
    "demo": demo,
}


def make(side: Mapping[str, Any]) -> tuple[Handler, dict[str, Any]]:
    """Returns the handler of a side, and what it reports once it is ready.

    This is `missing`, the name that pgtoy lacks for this side, or `versions`.
    """
    torch.set_num_threads(side["threads"])
    # SB3 warns of batch sizes that do not divide the rollout.
    warnings.simplefilter("ignore")
    if side.get("how") == "batch" and not hasattr(pg_agents, "LearnerBatch"):
        return lambda command: {}, {"missing": "LearnerBatch"}
    work = side["work"]
    handler = solving(side) if work == "solve" else task_handler(TASKS[work](side))
    return handler, {"versions": {name: version(name) for name in PACKAGES}}


if __name__ == "__main__":
    serve(partial(make, json.loads(sys.argv[1])))
