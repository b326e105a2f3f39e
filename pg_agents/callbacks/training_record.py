"""What `Recorder` writes down over one training run, as plain arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """One training run.

    P recordings of K observations with A actions, S environment steps, E finished
    episodes, U updates. Every ``*_timesteps`` is SB3's ``num_timesteps``: the steps
    taken so far, summed over the parallel environments.

    Attributes:
        action_probabilities: float64 [P, K, A]. ``action_probabilities[p, k, a]`` is
            the probability of action a at observation k; ``[0]`` is before the first
            update, ``[-1]`` the final policy. [0, 0, 0] when none were asked for.
        probability_timesteps: int64 [P], strictly increasing.
        rewards: float64 [S], reward of each step, averaged over the environments.
        reward_timesteps: int64 [S].
        episode_returns: float64 [E], undiscounted, as Monitor reports them.
        episode_lengths: int64 [E], in steps.
        episode_timesteps: int64 [E], when the episode ended; equal for episodes that
            ended in the same step of parallel environments.
        policy_losses: float64 [U], as logged by ``train()``; NaN where it logged none.
        loss_timesteps: int64 [U].
    """

    action_probabilities: NDArray[np.float64]
    probability_timesteps: NDArray[np.int64]
    rewards: NDArray[np.float64]
    reward_timesteps: NDArray[np.int64]
    episode_returns: NDArray[np.float64]
    episode_lengths: NDArray[np.int64]
    episode_timesteps: NDArray[np.int64]
    policy_losses: NDArray[np.float64]
    loss_timesteps: NDArray[np.int64]
