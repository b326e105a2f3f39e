"""Common mistakes of tutorials, made on purpose to measure what each changes.

Each is a `train` function for `Settings` and a callback that changes the advantages of
a complete rollout before the update. The update is then exactly that of a
plain loop with the mistake, as long as each rollout gets one gradient step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.experiments.run import Training


def probability(training: Training) -> BaseAlgorithm:
    """Trains with the probability in place of its logarithm in the score function.

    The gradient of -sum_t R_t pi(a_t|s_t) is that of -sum_t R_t pi(a_t|s_t) log
    pi(a_t|s_t) with the first pi held fixed, so it weights each return by the
    probability of its action.
    """
    return training.learn(WeightByProbability())


def rounded_returns(training: Training) -> BaseAlgorithm:
    """Trains with returns that are cast to integers, which rounds them towards 0."""
    return training.learn(RoundReturns())


class WeightByProbability(BaseCallback):
    """Multiplies each advantage of a rollout by the probability of its action."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        buffer = model.rollout_buffer
        with torch.no_grad():
            _, log_prob, _ = model.policy.evaluate_actions(*buffer.steps())
        buffer.advantages[buffer.recorded] *= log_prob.exp().cpu().numpy()


class RoundReturns(BaseCallback):
    """Casts the returns of a rollout to integers, as if they were its advantages."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        buffer = model.rollout_buffer
        assert np.array_equal(buffer.advantages, buffer.returns), "no baseline"
        for values in (buffer.returns, buffer.advantages):
            np.trunc(values, out=values)
