"""Tasks with continuous actions whose exact gradient is known in closed form."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np
from gymnasium import spaces

from pg_agents.checker.task import Array, Task


def _ndtr(x: float) -> float:
    """Returns the cumulative distribution of the standard normal.

    The process that runs the script calls it, which need not import SciPy.
    """
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@dataclass(frozen=True)
class BoxTask(Task):
    """A task with two doors in each state, between which a continuous action decides.

    Action a in state s opens door 1 of the MDP with probability Phi(w_s . a + b_s),
    where Phi is the cumulative distribution of the standard normal, and door 0
    otherwise. A Gaussian policy with means m and deviations d then opens door 1 with
    probability Phi((w_s . m + b_s) / sqrt(1 + sum_i w_si^2 d_i^2)): a table, whose
    exact gradient is known.

    Attributes:
        mdp: an MDP with two actions, the doors.
        weights: `[S, D]` float64, w.
        offsets: `[S]` float64, b.
    """

    weights: Array = field(default_factory=lambda: np.zeros((0, 0)))
    offsets: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def n_dimensions(self) -> int:
        """Number of dimensions of an action, D."""
        return int(self.weights.shape[1])

    def door_probability(self, state: int, action: Array) -> float:
        """Returns the probability that an action `[D]` opens door 1."""
        return _ndtr(float(self.weights[state] @ action + self.offsets[state]))

    def doors(self, policy: Array) -> Array:
        """Returns the probabilities of the doors, `[S, 2]`.

        Args:
            policy: `[S, 2D]`, means followed by log standard deviations.
        """
        second = np.array([_ndtr(x) for x in self._argument(policy)[0]])
        return np.stack([1.0 - second, second], axis=1)

    def gaussian_gradient(self, policy: Array) -> Array:
        """Returns the derivative of the objective by the policy's outputs.

        Args:
            policy: `[S, 2D]`, means followed by log standard deviations.

        Returns:
            `[S, 2D]` float64, in units of reward.
        """
        by_door = self.return_gradient(self.doors(policy))
        argument, scale = self._argument(policy)
        density = np.exp(-0.5 * argument**2) / np.sqrt(2.0 * np.pi)
        by_argument = (by_door[:, 1] - by_door[:, 0]) * density
        variances = np.exp(2.0 * policy[:, self.n_dimensions :])
        by_mean = self.weights / scale[:, None]
        by_log_std = -(argument / scale**2)[:, None] * self.weights**2 * variances
        gradient: Array = by_argument[:, None] * np.concatenate(
            [by_mean, by_log_std], axis=1
        )
        return gradient

    def _argument(self, policy: Array) -> tuple[Array, Array]:
        """Returns the arguments of Phi and what they were divided by, both `[S]`."""
        n = self.n_dimensions
        means, log_stds = policy[:, :n], policy[:, n:]
        scale = np.sqrt(1.0 + (self.weights**2 * np.exp(2.0 * log_stds)).sum(axis=1))
        argument = ((self.weights * means).sum(axis=1) + self.offsets) / scale
        return argument, scale


def box_task(task: Task, action_space: spaces.Box) -> BoxTask:
    """Returns a task with two actions as one with continuous ones.

    Args:
        task: has two actions.
        action_space: one-dimensional Box. The weights are such that the door is nearly
            certain at the edges of the box.
    """
    rng = np.random.default_rng(3)
    (n,) = action_space.shape
    low = np.where(np.isfinite(action_space.low), action_space.low, -1.0)
    high = np.where(np.isfinite(action_space.high), action_space.high, 1.0)
    half, middle = (high - low) / 2.0, (high + low) / 2.0
    weights = rng.normal(size=(task.mdp.n_states, n))
    weights *= 1.5 / np.linalg.norm(weights, axis=1, keepdims=True)
    weights /= half
    offsets = rng.normal(scale=0.4, size=task.mdp.n_states) - weights @ middle
    fields = {f.name: getattr(task, f.name) for f in dataclasses.fields(Task)}
    return BoxTask(**fields, weights=weights, offsets=offsets)
