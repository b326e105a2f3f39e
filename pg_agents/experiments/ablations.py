"""Mistakes of the notebooks, made on purpose to measure what correcting them changes.

Each is a `train` function for `Settings` and a callback that changes the advantages of
a complete rollout before the update. The update is then exactly the notebook's, as
long as each rollout gets one gradient step.
"""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.experiments.run import Training


def probability(training: Training) -> BaseAlgorithm:
    """Trains with the probability in place of its logarithm in the score function.

    The gradient of -sum_t R_t pi(a_t|s_t) is that of -sum_t R_t pi(a_t|s_t) log
    pi(a_t|s_t) with the first pi held fixed, so it weights each return by the
    probability of its action.

    Args:
        training: training of an algorithm of pg_agents that takes one gradient step on
            each rollout.
    """
    return training.learn(WeightByProbability())


def rounded_returns(training: Training) -> BaseAlgorithm:
    """Trains with returns that are cast to integers, which rounds them towards 0.

    Args:
        training: training of an algorithm of pg_agents, without a baseline and without
            standardised returns.
    """
    return training.learn(RoundReturns())


class _RolloutCallback(BaseCallback):
    def _on_step(self) -> bool:
        return True

    @property
    def _algorithm(self) -> PolicyGradientAlgorithm:
        assert isinstance(self.model, PolicyGradientAlgorithm)
        return self.model


class WeightByProbability(_RolloutCallback):
    """Multiplies each advantage of a rollout by the probability of its action."""

    def _on_rollout_end(self) -> None:
        buffer = self._algorithm.rollout_buffer
        obs, actions = buffer.steps()
        with torch.no_grad():
            _, log_prob, _ = self._algorithm.policy.evaluate_actions(obs, actions)
        buffer.advantages[buffer.recorded] *= log_prob.exp().cpu().numpy()


class RoundReturns(_RolloutCallback):
    """Casts the returns of a rollout to integers, as if they were its advantages."""

    def _on_rollout_end(self) -> None:
        buffer = self._algorithm.rollout_buffer
        assert np.array_equal(buffer.advantages, buffer.returns), "no baseline"
        for values in (buffer.returns, buffer.advantages):
            np.trunc(values, out=values)
