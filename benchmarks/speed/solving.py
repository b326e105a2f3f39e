"""CartPole-v1 solved: how many seconds of training until it holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.speed.models import make_algorithm_env, make_model
from benchmarks.speed.protocol import Handler
from benchmarks.speed.settings import CARTPOLE

EVERY, N_EPISODES, ENOUGH, IN_A_ROW = 5_000, 20, 475.0, 3
WARM_UP_STEPS = 3_000


class SolvedRule:
    """Solved is a mean of `ENOUGH` at `IN_A_ROW` evaluations one after another."""

    def __init__(self) -> None:
        self.n_enough = 0

    def __call__(self, mean: float) -> bool:
        """Takes the mean of an evaluation; returns whether it is solved by it."""
        self.n_enough = self.n_enough + 1 if mean >= ENOUGH else 0
        return self.n_enough >= IN_A_ROW


class Evaluation:
    """Whole episodes of Gymnasium's CartPole, all at once, by the best action."""

    def __init__(self, seed: int, n_episodes: int = N_EPISODES) -> None:
        self._env = gymnasium.make_vec(CARTPOLE, num_envs=n_episodes)
        self._seed: int | None = seed

    def __call__(self, model: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Returns the return of each episode."""
        observations, _ = self._env.reset(seed=self._seed)
        # From now on the generator goes on: other episodes every time.
        self._seed = None
        returns = np.zeros(self._env.num_envs)
        over = np.zeros(self._env.num_envs, dtype=np.bool_)
        while not over.all():
            actions, _ = model.predict(observations, deterministic=True)
            observations, rewards, terminated, truncated, _ = self._env.step(actions)
            # What an environment does after its first episode is nobody's result.
            returns += np.where(over, 0.0, rewards)
            over |= terminated | truncated
        return returns


class Clock(BaseCallback):
    """Evaluates now and then, with the clock stopped; stops when it is solved.

    Attributes:
        seconds: of training, up to the last evaluation.
        solved: whether the training was stopped for it.
        means: of each evaluation.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        super().__init__()
        self._evaluation, self._rule = evaluation, SolvedRule()
        self.seconds, self.solved = 0.0, False
        self.means: list[float] = []
        self._next, self._started = EVERY, 0.0

    def _on_training_start(self) -> None:
        self._started = time.perf_counter()

    def _on_step(self) -> bool:
        if self.num_timesteps < self._next:
            return True
        self.seconds += time.perf_counter() - self._started
        self._next += EVERY
        mean = float(self._evaluation(self.model).mean())
        self.means.append(mean)
        self.solved = self._rule(mean)
        self._started = time.perf_counter()
        return not self.solved


def solve(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Trains from a seed until it is solved, or for `n_timesteps`."""
    model = make_model(settings, make_algorithm_env(settings), seed)
    # Seeds of the evaluation far from those of the training environments.
    clock = Clock(Evaluation(seed=10_000 + seed))
    model.learn(settings["n_timesteps"], callback=clock)
    return {
        "seconds": clock.seconds,
        "solved": clock.solved,
        "steps": model.num_timesteps,
        "means": clock.means,
    }


def handler(settings: Mapping[str, Any]) -> Handler:
    """Returns what answers `{"do": "solve", "seed": ...}`."""
    recipe = settings["recipe"]
    short = {**recipe, "n_timesteps": WARM_UP_STEPS}
    # The first forward of a process, and its allocations, are nobody's cost.
    model = make_model(short, make_algorithm_env(short), seed=0)
    model.learn(WARM_UP_STEPS)

    def handle(command: Mapping[str, Any]) -> dict[str, Any]:
        budget = command.get("n_timesteps") or recipe["n_timesteps"]
        return solve({**recipe, "n_timesteps": budget}, command["seed"])

    return handle
