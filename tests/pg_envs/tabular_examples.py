"""Examples of MDPs and stubbed randomness that the tests of `pg_envs` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pg_envs.mdp import RewardNoise, TabularMDP
from pg_envs.tabular import TabularEnv
from pg_envs.vector.tabular import TabularVectorEnv

Floats = NDArray[np.float64]

BANDIT, SEQUENCE = "PGToy-Bandit-v0", "PGToy-Sequence-v0"

BANDIT_FORMS: list[dict[str, Any]] = [
    {},
    {"observation": "one_hot"},
    {"observation": "index"},
    {"arm_rewards": [0.5]},
    {"arm_rewards": [0.1, 0.9]},
    {"arm_rewards": [-2.0, 3.0, 0.5, 0.0, 1.0, 0.25, 7.0]},
    {"reward_noise": "gaussian", "noise_scale": 0.5, "observation": "index"},
    {"reward_noise": "bernoulli", "arm_rewards": [0.2, 0.8, 0.5, 1.0]},
]
SEQUENCE_FORMS: list[dict[str, Any]] = [
    {},
    {"observation": "one_hot"},
    {"observation": "index"},
    {"n_states": 2},
    {"n_states": 2, "observation": "one_hot"},
    {"n_states": 7, "observation": "index", "step_cost": 0.0},
    {"n_states": 11, "goal_reward": 5.0},
]
ALL_FORMS = [(BANDIT, form) for form in BANDIT_FORMS] + [
    (SEQUENCE, form) for form in SEQUENCE_FORMS
]


def random_mdp(
    seed: int,
    n_states: int = 6,
    n_actions: int = 4,
    terminal_share: float = 0.1,
    reward_noise: RewardNoise = "none",
) -> TabularMDP:
    """A dense MDP, every transition possible, states observed as their index."""
    rng = np.random.default_rng(seed)
    shape = (n_states, n_actions, n_states)
    return TabularMDP(
        transition=rng.dirichlet(np.ones(n_states), size=shape[:2]),
        reward=rng.uniform(size=shape),
        terminal=rng.uniform(size=shape) < terminal_share,
        initial_distribution=rng.dirichlet(np.ones(n_states)),
        observations=np.arange(n_states),
        reward_noise=reward_noise,
        noise_scale=0.3,
    )


def random_policy(mdp: TabularMDP, seed: int = 0) -> Floats:
    """Probabilities `[S, A]` of every action in every state, all positive."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(mdp.n_actions), size=mdp.n_states)


def two_step_mdp() -> TabularMDP:
    """Three states observed as 0, 1, 2, every number of it easy to follow by hand.

    Action 0 ("go") moves one to the right and pays 1; from state 2 it ends the episode,
    in state 2, and pays 10. Action 1 ("stay") stays and pays -1. An episode starts in
    state 0 or in state 1, with a draw below or above one half.
    """
    transition = np.zeros((3, 2, 3))
    transition[[0, 1, 2], 0, [1, 2, 2]] = 1.0
    transition[[0, 1, 2], 1, [0, 1, 2]] = 1.0
    reward = np.zeros((3, 2, 3))
    reward[[0, 1, 2], 0, [1, 2, 2]] = [1.0, 1.0, 10.0]
    reward[:, 1, :] = -1.0
    terminal = np.zeros((3, 2, 3), dtype=np.bool_)
    terminal[2, 0, 2] = True
    return TabularMDP(
        transition=transition,
        reward=reward,
        terminal=terminal,
        initial_distribution=np.array([0.5, 0.5, 0.0]),
        observations=np.array([[0.0], [1.0], [2.0]], dtype=np.float32),
        observation_bounds=(0.0, 2.0),
        action_names=("go", "stay"),
    )


class PreparedDraws:
    """Stands in for a NumPy generator and hands out given numbers, in order."""

    def __init__(self, numbers: ArrayLike) -> None:
        self._numbers: Floats = np.asarray(numbers, dtype=np.float64).ravel()
        self.used = 0

    def random(self, size: int | None = None) -> float | Floats:
        count = 1 if size is None else size
        drawn = self._numbers[self.used : self.used + count]
        assert len(drawn) == count, "more draws were asked for than were prepared"
        self.used += count
        return float(drawn[0]) if size is None else drawn


def feed_single(env: TabularEnv, numbers: ArrayLike) -> PreparedDraws:
    """Makes a single environment draw these numbers: one a reset, one a step.

    With noise on the reward, a step draws two more.
    """
    draws = PreparedDraws(numbers)
    env._np_random = cast(np.random.Generator, draws)
    return draws


def feed_vector(env: TabularVectorEnv, blocks: Sequence[Floats]) -> None:
    """Makes a vector environment draw these blocks, `[rows, N]`: one a reset or step.

    In a step, row 0 is the transition, row 1 the restart, rows 2 and 3 the noise.
    Torch draws no row that the tables determine.
    """
    waiting = iter(blocks)
    tables = env._tables

    def draw(n_rows: int) -> Any:
        block = next(waiting)
        if env.backend.is_torch and len(block) > 1:
            fixed = [0] * tables.is_deterministic + [1] * (tables.start is not None)
            block = np.delete(block, fixed, axis=0)
        assert block.shape == (n_rows, env.num_envs)
        return env.backend.array(block)

    env._uniform = draw  # type: ignore[method-assign]


def chi_square_quantile(degrees: int, z: float) -> float:
    """The quantile of chi-square that lies as high as `z` does of a standard normal.

    Reference: Wilson and Hilferty (1931), "The distribution of chi-square".
    """
    spread = 2.0 / (9.0 * degrees)
    return float(degrees * (1.0 - spread + z * spread**0.5) ** 3)


Z_ONE_IN_A_MILLION = 4.7534
"""What a standard normal exceeds once in a million."""


def assert_frequencies(
    mdp: TabularMDP, states: ArrayLike, actions: ArrayLike, next_states: ArrayLike
) -> None:
    """Asserts by a chi-square test that transitions occur as often as the tables say.

    False alarms: two in a million, over the choice of the seed.
    """
    counts = np.zeros(mdp.transition.shape)
    taken = np.broadcast_arrays(states, actions, next_states)
    np.add.at(counts, tuple(taken), 1)
    visits = counts.sum(axis=-1, keepdims=True)
    # Under five expected counts the statistic is no chi-square.
    used = visits * mdp.transition >= 5.0
    degrees = int((used.sum(axis=-1) - 1).clip(min=0).sum())
    assert degrees >= 5, "too few transitions to judge"
    expected = np.where(used, visits * mdp.transition, 1.0)
    statistic = float(((counts - expected) ** 2 / expected)[used].sum())
    assert statistic < chi_square_quantile(degrees, Z_ONE_IN_A_MILLION)
    # Far too good a fit would be no chance either.
    assert statistic > chi_square_quantile(degrees, -Z_ONE_IN_A_MILLION)


def assert_gaussian(sample: ArrayLike, mean: float, scale: float) -> None:
    """Asserts mean and standard deviation within 4 standard errors.

    False alarms: one in 5,000 over the choice of the seed.
    """
    values = np.asarray(sample, dtype=np.float64)
    root_n = len(values) ** 0.5
    assert abs(values.mean() - mean) < 4 * scale / root_n
    assert abs(values.std() - scale) < 4 * scale / (2**0.5 * root_n)
    # What a normal distribution alone has: the share within one standard deviation.
    share = 0.6826895
    within = (np.abs(values - mean) < scale).mean()
    assert abs(within - share) < 4 * (share * (1 - share)) ** 0.5 / root_n


def assert_bernoulli(sample: ArrayLike, probability: float) -> None:
    """Asserts values of 0 and 1 with a mean within 4 standard errors.

    False alarms: one in 16,000 over the choice of the seed.
    """
    values = np.asarray(sample, dtype=np.float64)
    assert set(np.unique(values)) <= {0.0, 1.0}
    error = (probability * (1 - probability) / len(values)) ** 0.5
    assert abs(values.mean() - probability) <= 4 * error
