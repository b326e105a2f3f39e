"""Training records made up for the tests."""

import numpy as np
from numpy.typing import NDArray

from pg_agents.callbacks import TrainingRecord

Floats = NDArray[np.float64]
ACTIONS = ["left", "right", "wait"]
NONE = np.empty(0)


def make_record(
    probabilities: Floats | None = None,
    probability_timesteps: list[int] | None = None,
    rewards: Floats = NONE,
    returns: Floats = NONE,
    episode_timesteps: list[int] | None = None,
    losses: Floats = NONE,
) -> TrainingRecord:
    probabilities = np.empty((0, 0, 0)) if probabilities is None else probabilities
    if probability_timesteps is None:
        probability_timesteps = list(range(0, 10 * len(probabilities), 10))
    if episode_timesteps is None:
        episode_timesteps = list(range(5, 5 + 5 * len(returns), 5))
    return TrainingRecord(
        action_probabilities=probabilities,
        probability_timesteps=np.array(probability_timesteps, np.int64),
        rewards=rewards,
        reward_timesteps=2 * np.arange(1, len(rewards) + 1),
        episode_returns=returns,
        episode_lengths=np.full(len(returns), 5),
        episode_timesteps=np.array(episode_timesteps, np.int64),
        policy_losses=losses,
        loss_timesteps=10 * np.arange(1, len(losses) + 1),
    )


def random_probabilities(seed: int, n: int = 6, n_observations: int = 2) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.dirichlet([1.0, 1.0, 1.0], size=(n, n_observations))
