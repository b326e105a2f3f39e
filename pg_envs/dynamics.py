"""How a state follows a state: the only place where a transition is drawn.

Randomness comes in as numbers, uniform on [0, 1), so the same draws give the same
states wherever they are made. The functions use nothing but indexing, comparison,
`sum` and a few elementary functions: they run unchanged on NumPy scalars, NumPy
batches and batches of tensors on any device.

After an action most states are impossible: the tables hold the possible ones alone, the
*outcomes*. Where there is a single one, nothing is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pg_envs.mdp import RewardNoise, TabularMDP

# A NumPy scalar, a NumPy array or a tensor. The three share no type, only operators.
Array = Any


def _search(cdf: NDArray[np.float64], u: Array) -> Array:
    return np.searchsorted(cdf, u, side="right")


@dataclass(frozen=True, eq=False)
class DynamicsTables:
    """What `initial_state` and `advance` look up.

    S states, A actions, and K outcomes at most of an action. Tables of pairs of state
    and action have the row `s * A + a`; tables of outcomes are flat, with the place
    `(s * A + a) * K + k`. Pairs of fewer outcomes are filled up with impossible ones.

    Attributes:
        n_actions: A.
        initial_cdf: `[S]` float64, cumulated initial distribution.
        start: `[]` int64, the state in which every episode starts; None if it is drawn.
        cdf: `[S * A, K]` float64, probabilities of the outcomes, cumulated.
        successor: `[S * A * K]` int64, the state that an outcome leads to.
        reward: `[S * A * K]` float64, expected reward.
        terminal: `[S * A * K]` bool, whether the outcome ends the episode.
        observations: `[S]` int64 or `[S, *shape]` float32.
        reward_noise: kind of noise on the reward, see `TabularMDP`.
        noise_scale: standard deviation of Gaussian noise.
        search: how many entries of a sorted table `[S]` are not above each draw.
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
    search: Callable[[Array, Array], Array] = _search

    @property
    def is_deterministic(self) -> bool:
        """Whether state and action decide on the next state."""
        return int(self.cdf.shape[-1]) == 1


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
    n_pairs = mdp.n_states * mdp.n_actions
    transition = mdp.transition.reshape(n_pairs, mdp.n_states)
    possible = transition > 0.0
    n_outcomes = int(possible.sum(axis=-1).max())
    # The possible states first, in their order.
    kept = np.argsort(~possible, axis=-1, kind="stable")[:, :n_outcomes]

    def outcomes(table: NDArray[Any]) -> NDArray[Any]:
        return np.take_along_axis(table.reshape(n_pairs, -1), kept, axis=-1)

    cdf = np.where(outcomes(possible), outcomes(_cumulated(transition)), 1.0)
    starts = np.flatnonzero(mdp.initial_distribution)
    return DynamicsTables(
        n_actions=mdp.n_actions,
        initial_cdf=_cumulated(mdp.initial_distribution),
        start=np.array(starts[0]) if len(starts) == 1 else None,
        cdf=cdf,
        successor=kept.ravel(),
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
    return tables.start if u is None else tables.search(tables.initial_cdf, u)


def advance(tables: DynamicsTables, state: Array, action: Array, u: Array) -> Step:
    """Takes one step: draws the next state, looks up reward and end.

    s' is the first state whose cumulated probability exceeds the draw: the one of the
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
    place = state * tables.n_actions + action
    if not tables.is_deterministic:
        chosen = (u[..., None] >= _look_up(tables.cdf, place)).sum(-1)
        place = place * tables.cdf.shape[-1] + chosen
    return Step(
        _look_up(tables.successor, place),
        _look_up(tables.reward, place),
        _look_up(tables.terminal, place),
    )


def _look_up(table: Array, place: Array) -> Array:
    # Of the ways that torch has, several times as fast as brackets.
    return table[place] if _is_numpy(table) else table.index_select(0, place)


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
