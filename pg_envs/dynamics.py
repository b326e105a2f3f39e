"""The transition function: the only place that draws a next state.

Random numbers are arguments, uniform on [0, 1): the same draws give the same states on
every backend. The functions run unchanged on NumPy scalars, NumPy batches and batches
of tensors on any device.

Most next states are impossible after an action. The tables hold the possible ones, the
*outcomes*; an action with a single outcome needs no draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import getitem
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pg_envs.mdp import RewardNoise, TabularMDP

# A NumPy scalar, a NumPy array or a tensor. The three share no type, only operators.
Array = Any


@dataclass(frozen=True, eq=False)
class DynamicsTables:
    """Lookup tables of `initial_state` and `advance`.

    There are S states, A actions and at most K outcomes of an action. The pair of a
    state and an action has the row `s * A + a`, and its outcome k the flat index
    `(s * A + a) * K + k`. Pairs with fewer outcomes are padded with impossible ones.

    Attributes:
        n_actions: A.
        initial_cdf: `[S]` float64, cumulative initial distribution.
        start: `[]` int64, the state in which every episode starts; None if it is drawn.
        cdf: `[S * A, K]` float64, cumulative probabilities of the outcomes.
        successor: `[S * A * K]` int64, the state that an outcome leads to.
        reward: `[S * A * K]` float64, expected reward.
        terminal: `[S * A * K]` bool, whether the outcome ends the episode.
        observations: `[S]` int64 or `[S, *shape]` float32.
        reward_noise: kind of noise on the reward, see `TabularMDP`.
        noise_scale: standard deviation of Gaussian noise.
        is_deterministic: whether state and action determine the next state.
        is_random: whether starts, next states or rewards are drawn at all.
        look_up: `look_up(table, index)` returns rows of a table, a fresh array.
    """

    n_actions: int
    initial_cdf: Array
    start: Array | None
    cdf: Array
    successor: Array
    reward: Array
    terminal: Array
    observations: Array
    reward_noise: RewardNoise
    noise_scale: float
    is_deterministic: bool = field(init=False)
    is_random: bool = field(init=False)
    look_up: Callable[[Array, Array], Array] = field(init=False)

    def __post_init__(self) -> None:
        """Decides once what every step would ask."""
        is_numpy = isinstance(self.cdf, np.ndarray)
        look_up = getitem if is_numpy else index_select
        object.__setattr__(self, "look_up", look_up)
        is_deterministic = self.cdf.shape[-1] == 1
        is_certain = is_deterministic and self.start is not None
        is_random = not is_certain or self.reward_noise != "none"
        object.__setattr__(self, "is_deterministic", is_deterministic)
        object.__setattr__(self, "is_random", is_random)

    @property
    def xp(self) -> ModuleType:
        """The library of the arrays: NumPy or torch."""
        if self.look_up is getitem:
            return np
        import torch

        return torch


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
    """Returns the lookup tables of an MDP, as NumPy arrays."""
    n_pairs = mdp.n_states * mdp.n_actions
    transition = mdp.transition.reshape(n_pairs, mdp.n_states)
    possible = transition > 0.0
    n_outcomes = int(possible.sum(axis=-1).max())
    # The possible next states first, in their order.
    outcome = np.argsort(~possible, axis=-1, kind="stable")[:, :n_outcomes]

    def outcomes(table: NDArray[Any]) -> NDArray[Any]:
        return np.take_along_axis(table.reshape(n_pairs, -1), outcome, axis=-1)

    cdf = np.where(outcomes(possible), outcomes(_cumulative(transition)), 1.0)
    starts = np.flatnonzero(mdp.initial_distribution)
    return DynamicsTables(
        n_actions=mdp.n_actions,
        initial_cdf=_cumulative(mdp.initial_distribution),
        start=np.array(starts[0]) if len(starts) == 1 else None,
        cdf=cdf,
        successor=outcome.ravel(),
        reward=outcomes(mdp.reward).ravel(),
        terminal=outcomes(mdp.terminal).ravel(),
        observations=mdp.observations,
        reward_noise=mdp.reward_noise,
        noise_scale=mdp.noise_scale,
    )


def initial_state(tables: DynamicsTables, u: Array) -> Array:
    """Returns the state in which an episode starts, by inverting the distribution.

    `s = #{k : u >= cdf[k]}`.

    Args:
        tables: lookup tables of the MDP.
        u: `[]` or `[N]` float64, uniform draws on [0, 1); may be None if `tables.start`
            is known.

    Returns:
        Index of the state, int64, of the shape of `u`; `[]` without draws.
    """
    if u is None:
        return tables.start
    return tables.xp.searchsorted(tables.initial_cdf, u, side="right")


def advance(tables: DynamicsTables, state: Array, action: Array, u: Array) -> Step:
    """Takes one step: draws the next state, looks up reward and end.

    s' is the first state whose cumulative probability exceeds the draw: the one of
    outcome `k = #{j : u >= cdf[s, a, j]}`.

    Args:
        tables: lookup tables of the MDP.
        state: `[]` or `[N]` int64, index of the state.
        action: `[]` or `[N]` int64, index of the action.
        u: `[]` or `[N]` float64, uniform draws on [0, 1); may be None if
            `tables.is_deterministic`.

    Returns:
        Next state, expected reward and whether the episode ended.
    """
    look_up = tables.look_up
    index = state * tables.n_actions + action
    if not tables.is_deterministic:
        outcome = (u[..., None] >= look_up(tables.cdf, index)).sum(-1)
        index = index * tables.cdf.shape[-1] + outcome
    return Step(
        look_up(tables.successor, index),
        look_up(tables.reward, index),
        look_up(tables.terminal, index),
    )


def index_select(table: Array, index: Array) -> Array:
    """Returns `table[index]` of tensors, several times as fast as brackets."""
    return table.index_select(0, index)


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
        xp = tables.xp
        radius = (-2.0 * xp.log1p(-u)) ** 0.5
        return reward + tables.noise_scale * radius * xp.cos(2.0 * math.pi * v)
    return reward


def _cumulative(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the cumulative sum over the last axis.

    From the last possible state on it is exactly 1, so that rounding cannot select an
    impossible state.
    """
    cdf = np.cumsum(probabilities, axis=-1)
    from_here_on = np.cumsum(probabilities[..., ::-1], axis=-1)[..., ::-1]
    later = np.zeros_like(cdf)
    later[..., :-1] = from_here_on[..., 1:]
    return np.where(later == 0.0, 1.0, cdf)
