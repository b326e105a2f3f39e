"""How a state follows a state: the only place where a transition is drawn.

Randomness comes in as numbers, uniform on [0, 1), so the same draws give the same
states wherever they are made. The functions use nothing but indexing, comparison,
`sum` and a few elementary functions: they run unchanged on NumPy scalars, NumPy
batches and batches of tensors on any device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pg_envs.mdp import RewardNoise, TabularMDP

# A NumPy scalar, a NumPy array or a tensor. The three share no type, only operators.
Array = Any


@dataclass(frozen=True, eq=False)
class DynamicsTables:
    """What `initial_state` and `advance` look up.

    Attributes:
        initial_cdf: `[S]` float64, cumulated initial distribution.
        cdf: `[S, A, S]` float64, transition probabilities cumulated over s'.
        reward: `[S, A, S]` float64, expected reward.
        terminal: `[S, A, S]` bool, whether the transition ends the episode.
        observations: `[S]` int64 or `[S, *shape]` float32.
        reward_noise: kind of noise on the reward, see `TabularMDP`.
        noise_scale: standard deviation of Gaussian noise.
    """

    initial_cdf: Array
    cdf: Array
    reward: Array
    terminal: Array
    observations: Array
    reward_noise: RewardNoise
    noise_scale: float


class Step(NamedTuple):
    """The outcome of an action; every field has the shape of the state, `[]` or `[N]`.

    Attributes:
        state: index of the next state, int64.
        reward: reward of the transition, float64.
        terminated: whether the transition ended the episode, bool.
    """

    state: Array
    reward: Array
    terminated: Array


def make_tables(mdp: TabularMDP) -> DynamicsTables:
    """Returns the tables of an MDP in the form that `advance` reads, in NumPy."""
    return DynamicsTables(
        initial_cdf=_cumulated(mdp.initial_distribution),
        cdf=_cumulated(mdp.transition),
        reward=mdp.reward,
        terminal=mdp.terminal,
        observations=mdp.observations,
        reward_noise=mdp.reward_noise,
        noise_scale=mdp.noise_scale,
    )


def initial_state(tables: DynamicsTables, u: Array) -> Array:
    """Returns the state in which an episode starts, by inverting the distribution.

    Args:
        tables: lookup tables of the MDP.
        u: `[]` or `[N]` float64, uniform draws on [0, 1).

    Returns:
        Index of the state, int64, of the shape of `u`.
    """
    return (u[..., None] >= tables.initial_cdf).sum(-1)


def advance(tables: DynamicsTables, state: Array, action: Array, u: Array) -> Step:
    """Takes one step: draws the next state, looks up reward and end.

    s' is the first state whose cumulated probability exceeds the draw,
    `s' = #{k : u >= cdf[s, a, k]}`.

    Args:
        tables: lookup tables of the MDP.
        state: `[]` or `[N]` int64, index of the state.
        action: `[]` or `[N]` int64, index of the action.
        u: `[]` or `[N]` float64, uniform draws on [0, 1).

    Returns:
        Next state, expected reward and whether the episode ended.
    """
    next_state = (u[..., None] >= tables.cdf[state, action]).sum(-1)
    transition = state, action, next_state
    return Step(next_state, tables.reward[transition], tables.terminal[transition])


def add_noise(tables: DynamicsTables, reward: Array, u: Array, v: Array) -> Array:
    """Returns the reward with the noise of the MDP.

    Gaussian noise is drawn by Box and Muller (1958), "A note on the generation of
    random normal deviates": `sqrt(-2 log(1 - u)) cos(2 pi v)`.

    Args:
        tables: lookup tables of the MDP.
        reward: `[]` or `[N]` float64, expected reward.
        u: like `reward`, uniform draws on [0, 1).
        v: like `reward`, uniform draws on [0, 1), used by Gaussian noise alone.

    Returns:
        Reward of the shape of `reward`, float64.
    """
    if tables.reward_noise == "bernoulli":
        return (u < reward) * 1.0
    if tables.reward_noise == "gaussian":
        radius = (-2.0 * np.log1p(-u) if _is_numpy(u) else -2.0 * (-u).log1p()) ** 0.5
        angle = 2.0 * math.pi * v
        turn = np.cos(angle) if _is_numpy(v) else angle.cos()
        return reward + tables.noise_scale * radius * turn
    return reward


def _is_numpy(value: Array) -> bool:
    return isinstance(value, np.ndarray | np.generic)


def _cumulated(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cumulates over the last axis; rounding can select no impossible state.

    From the last possible state on the sum is exactly 1, so that a draw below 1 never
    falls beyond it.
    """
    cdf = np.cumsum(probabilities, axis=-1)
    possible_later = np.cumsum(probabilities[..., ::-1], axis=-1)[..., ::-1]
    beyond = np.concatenate(
        [possible_later[..., 1:], np.zeros_like(possible_later[..., :1])], axis=-1
    )
    return np.where(beyond == 0.0, 1.0, cdf)
