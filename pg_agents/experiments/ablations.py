"""Mistakes of the notebooks, made on purpose: what does correcting them change?

Each is a function of training for `Settings.train`, and a callback that spoils the
advantages of a complete rollout before the update. That is the mistake itself, not
something like it: the update is the notebook's as long as a rollout gets one step.
"""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.experiments.run import Training


def probability(training: Training) -> BaseAlgorithm:
    """Trains with the probability where the score function has its logarithm.

    The gradient of -sum_t R_t pi(a_t|s_t) is that of -sum_t R_t pi(a_t|s_t) log
    pi(a_t|s_t) with the first pi held fixed: each return counts as much as its action
    was likely.

    Args:
        training: of the run, whose algorithm has to be one of pg_agents that takes a
            single step on each rollout.
    """
    return training.learn(WeighByProbability())


def rounded_returns(training: Training) -> BaseAlgorithm:
    """Trains with returns that are cast to integers, which rounds them towards 0.

    Args:
        training: of the run, whose algorithm has to be one of pg_agents, without a
            baseline and without standardising.
    """
    return training.learn(RoundReturns())


class _BeforeUpdate(BaseCallback):
    """Changes a complete rollout before the update sees it."""

    def _on_step(self) -> bool:
        return True

    @property
    def _learner(self) -> PolicyGradientAlgorithm:
        assert isinstance(self.model, PolicyGradientAlgorithm), "one of pg_agents"
        return self.model


class WeighByProbability(_BeforeUpdate):
    """Multiplies each advantage of a rollout by the probability of its action."""

    def _on_rollout_end(self) -> None:
        buffer = self._learner.rollout_buffer
        seen, actions = buffer.steps()
        with torch.no_grad():
            _, log_prob, _ = self._learner.policy.evaluate_actions(seen, actions)
        buffer.advantages[buffer.recorded] *= log_prob.exp().cpu().numpy()


class RoundReturns(_BeforeUpdate):
    """Casts the returns of a rollout to integers, as if they were its advantages."""

    def _on_rollout_end(self) -> None:
        buffer = self._learner.rollout_buffer
        assert np.array_equal(buffer.advantages, buffer.returns), "no baseline"
        for values in (buffer.returns, buffer.advantages):
            np.trunc(values, out=values)
