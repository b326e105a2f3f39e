"""What a checkpoint knows beyond the attributes of the model."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from stable_baselines3.common.vec_env import VecEnv


class ResumePoint(TypedDict):
    """What a checkpoint knows beyond the attributes of the model, as plain data.

    Attributes:
        random: states of the generators of the process.
        action_space: state of the generator of the action space.
        generators: states of the model's own torch generators by attribute.
        env: state of the environment; None if it starts anew.
        why_not: why there is no such state; None if that needs no explanation.
        normalization: statistics of what normalises, which apply to any environment.
        observations: `_last_obs` and the like.
        seed_env: whether an environment that starts anew is seeded.
    """

    random: dict[str, Any]
    action_space: dict[str, Any] | None
    generators: dict[str, Any]
    env: list[dict[str, Any]] | None
    why_not: str | None
    normalization: list[dict[str, Any]]
    observations: dict[str, Any]
    seed_env: bool


def pending_seeds(env: VecEnv) -> tuple[int | None, ...]:
    """Returns the seeds that the next reset uses."""
    return tuple(getattr(env.unwrapped, "_seeds", ()))


def next_seed(seed: int, num_timesteps: int) -> int:
    """Returns a seed for an environment that starts anew in the middle of training.

    The model's own would have it live through its first episodes again.
    """
    if num_timesteps == 0:
        return seed
    words = np.random.SeedSequence([seed, num_timesteps]).generate_state(1)
    return int(words[0] >> 1)
