"""PGToy-Bandit-v0: a stateless bandit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pg_envs.mdp import (
    ObservationForm,
    RewardNoise,
    TabularMDP,
    check_number,
    observation_table,
)
from pg_envs.rendering.bandit import bandit_scene
from pg_envs.rendering.scene import Scene, Snapshot
from pg_envs.tabular import TabularEnv
from pg_envs.vector.tabular import vector_entry_point

ID = "PGToy-Bandit-v0"
MAX_EPISODE_STEPS = 100


def bandit_mdp(
    arm_rewards: Sequence[float] = (1.0, 0.0, 0.0),
    reward_noise: RewardNoise = "none",
    noise_scale: float = 1.0,
    observation: ObservationForm = "scalar",
) -> TabularMDP:
    """Returns the tables of a bandit: one state, one action per arm, no end."""
    check_number("arm_rewards", arm_rewards)
    rewards = np.asarray(arm_rewards, dtype=np.float64)
    if rewards.ndim != 1 or rewards.size < 1:
        raise ValueError(
            "arm_rewards must be a sequence of at least one number, one per arm, got "
            f"{arm_rewards!r}"
        )
    n_arms = rewards.size
    observations, bounds = observation_table(observation, 1)
    names = ("left", "centre", "right") if n_arms == 3 else ()
    return TabularMDP(
        transition=np.ones((1, n_arms, 1)),
        reward=rewards[None, :, None],
        terminal=np.zeros((1, n_arms, 1), dtype=np.bool_),
        initial_distribution=np.ones(1),
        observations=observations,
        observation_bounds=bounds,
        reward_noise=reward_noise,
        noise_scale=noise_scale,
        action_names=names or tuple(f"arm {arm}" for arm in range(n_arms)),
    )


class BanditEnv(TabularEnv):
    """A stateless bandit: which arm pays most?

    The best policy always pulls the arm with the highest expected reward. The gradient
    of the expected reward with respect to softmax logits is
    `pi(a) * (r(a) - sum_b pi(b) r(b))`, so every step of a learner can be checked. The
    best return of an episode is 100.

    Action Space:
        `Discrete(3)`: 0 is the left arm, 1 the centre one, 2 the right one. With
        `arm_rewards` of A numbers, `Discrete(A)`.

    Observation Space:
        `Box(-1.0, 1.0, (1,), float32)`: always 0.0, since there is one state.

    Rewards:
        That of the pulled arm: by default 1, 0 and 0, without noise.

    Starting State:
        The only state.

    Episode End:
        Never terminated. `gymnasium.make` truncates it after 100 steps.

    Arguments:
        arm_rewards: expected reward of each arm; any number of arms.
        reward_noise: `"none"`, `"gaussian"` or `"bernoulli"` (an arm then pays 1 with
            its expected reward as probability, else 0).
        noise_scale: standard deviation of Gaussian noise, in units of reward.
        observation: `"scalar"`: the constant 0.0. `"one_hot"`: the constant 1.0.
            `"index"`: the constant index 0 of a `Discrete(1)` space.
        render_mode: `"human"`, `"rgb_array"` or None.

    Version History:
        v0: first version.

    Attributes:
        shows_means: whether pictures show the mean reward of each arm.

    Raises:
        ValueError: if an argument is out of range; the message names it.

    Reference: Sutton and Barto (2018), Reinforcement Learning, section 2.8.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["human", "rgb_array"],
        "render_fps": 4,
    }

    def __init__(
        self,
        arm_rewards: Sequence[float] = (1.0, 0.0, 0.0),
        reward_noise: RewardNoise = "none",
        noise_scale: float = 1.0,
        observation: ObservationForm = "scalar",
        render_mode: str | None = None,
    ) -> None:
        mdp = bandit_mdp(arm_rewards, reward_noise, noise_scale, observation)
        super().__init__(mdp, render_mode)
        self.shows_means = True

    def scene(self, snapshot: Snapshot) -> Scene:
        """Returns the picture of a snapshot."""
        rewards = self.mdp.reward[0, :, 0].tolist()
        noise = self.mdp.reward_noise
        names = self.mdp.action_names
        return bandit_scene(snapshot, names, rewards, noise, self.shows_means)


make_vector_env = vector_entry_point(BanditEnv)
