"""Exact solutions: values, occupancy, expected return and its gradient.

Everything is NumPy float64 and follows from the tables of a `TabularMDP` and a policy
table pi, `[S, A]`, by a linear solve or, with a horizon, by as many matrix products.
The tables of an environment are `mdp_from_env(env)`.

Notation: `R[s, a]` is the expected reward of an action, `P[s, a, s']` the probability
that the episode continues in s' (0 for a transition that ends it), gamma the discount.
A horizon H is a time limit: the episode is cut after H steps, and later rewards do not
count. Values then depend on the number of steps to go, which the policy does not see.

    from pg_envs import oracle, sequence_mdp
    mdp = sequence_mdp()
    pi = oracle.uniform_policy(mdp)
    J = oracle.expected_return(mdp, pi, gamma=0.6, horizon=100)
    dJ = oracle.return_gradient(mdp, pi, gamma=0.6, horizon=100)

For a neural policy, `probabilities.backward(torch.as_tensor(dJ))` on the policy's table
of probabilities leaves the exact dJ/dtheta in the parameters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pg_envs.mdp import TabularMDP, check_mdp

Table = NDArray[np.float64]


class Optimum(NamedTuple):
    """The optimal values and a policy that attains them.

    Attributes:
        values: `[S]` float64, V*; with a horizon H, with H steps to go.
        policy: `[S, A]` float64, an optimal policy, deterministic, the first of equally
            good actions; with a horizon, the one for the first step.
    """

    values: Table
    policy: Table


def uniform_policy(mdp: TabularMDP) -> Table:
    """Returns the policy that takes every action with equal probability, `[S, A]`."""
    check_mdp(mdp)
    return np.full((mdp.n_states, mdp.n_actions), 1.0 / mdp.n_actions)


def state_values(
    mdp: TabularMDP, policy: ArrayLike, gamma: float, horizon: int | None = None
) -> Table:
    """Returns the expected discounted return from each state.

    `V = sum_a pi(a|s) (R[s, a] + gamma sum_s' P[s, a, s'] V[s'])`

    Reference: Sutton and Barto (2018), equation 4.4.

    Args:
        mdp: the tables.
        policy: `[S, A]`, pi(a|s). Rows need not sum to 1: the gradient is taken with
            respect to every entry on its own.
        gamma: discount factor in [0, 1].
        horizon: number of steps to go, or None for no time limit.

    Returns:
        `[S]` float64, in units of reward.

    Raises:
        ValueError: if an argument is out of range, or if, with gamma 1 and no horizon,
            an episode under the policy may never end.
    """
    if horizon is not None:
        values: Table = values_to_go(mdp, policy, gamma, horizon)[horizon]
        return values
    rewards, step = _under(mdp, _checked(mdp, policy, gamma, horizon))
    return _solve(step, gamma, rewards)


def values_to_go(
    mdp: TabularMDP, policy: ArrayLike, gamma: float, horizon: int
) -> Table:
    """Returns the expected discounted return with 0 to H steps to go.

    Args:
        mdp: the tables.
        policy: `[S, A]`, pi(a|s).
        gamma: discount factor in [0, 1].
        horizon: H, the largest number of steps to go.

    Returns:
        `[H + 1, S]` float64, in units of reward; row k has k steps to go, row 0 is 0.

    Raises:
        ValueError: if an argument is out of range.
    """
    rewards, step = _under(mdp, _checked(mdp, policy, gamma, horizon))
    values = np.zeros((horizon + 1, mdp.n_states))
    for k in range(horizon):
        values[k + 1] = rewards + gamma * step @ values[k]
    return values


def action_values(
    mdp: TabularMDP, policy: ArrayLike, gamma: float, horizon: int | None = None
) -> Table:
    """Returns the expected discounted return of each action, followed by the policy.

    `Q[s, a] = R[s, a] + gamma sum_s' P[s, a, s'] V[s']`

    Reference: Sutton and Barto (2018), equation 4.6.

    Returns:
        `[S, A]` float64, in units of reward.

    Arguments and errors are those of `state_values`, with a horizon of at least 1.
    """
    if horizon == 0:
        raise ValueError("horizon must be at least 1 to take an action, got 0")
    later = None if horizon is None else horizon - 1
    values = state_values(mdp, policy, gamma, later)
    returns: Table = _rewards(mdp) + gamma * _continuing(mdp) @ values
    return returns


def occupancy(
    mdp: TabularMDP, policy: ArrayLike, gamma: float, horizon: int | None = None
) -> Table:
    """Returns the expected (discounted) number of actions taken in each state.

    `d[s] = sum_t gamma^t P(s_t = s)`, for t from 0; with gamma 1 the expected number of
    actions taken in s.

    Reference: Sutton et al. (2000), "Policy gradient methods for reinforcement learning
    with function approximation", section 1.

    Returns:
        `[S]` float64, in expected (discounted) steps.

    Arguments and errors are those of `state_values`.
    """
    _, step = _under(mdp, _checked(mdp, policy, gamma, horizon))
    if horizon is not None:
        visits: Table = _visits(mdp, gamma * step, horizon).sum(axis=0)
        return visits
    return _solve(step.T, gamma, mdp.initial_distribution)


def expected_return(
    mdp: TabularMDP, policy: ArrayLike, gamma: float, horizon: int | None = None
) -> float:
    """Returns `J = sum_s mu(s) V(s)`, where mu is the initial distribution.

    Returns:
        Expected discounted return of an episode, in units of reward.

    Arguments and errors are those of `state_values`.
    """
    values = state_values(mdp, policy, gamma, horizon)
    return float(mdp.initial_distribution @ values)


def return_gradient(
    mdp: TabularMDP, policy: ArrayLike, gamma: float, horizon: int | None = None
) -> Table:
    """Returns the derivative of the expected return by each entry of the policy.

    `dJ/dpi(a|s) = sum_t gamma^t P(s_t = s) Q_t(s, a)`, Q_t having H - t steps to go.
    Without a horizon that is occupancy times action value.

    Reference: Sutton et al. (2000), theorem 1.

    Returns:
        `[S, A]` float64, in units of reward.

    Arguments and errors are those of `state_values`.
    """
    pi = _checked(mdp, policy, gamma, horizon)
    if horizon is None:
        visits = occupancy(mdp, pi, gamma)
        return visits[:, None] * action_values(mdp, pi, gamma)
    _, step = _under(mdp, pi)
    visits = _visits(mdp, gamma * step, horizon)
    # After the step at time t, there are H - 1 - t steps to go.
    later = values_to_go(mdp, pi, gamma, horizon)[horizon - 1 :: -1][:horizon]
    # sum_t d_t(s) Q_t(s, a), the sum over t taken before the one over s'.
    pairs = np.einsum("ts,tx->sx", visits, later)
    continuing = gamma * np.einsum("sax,sx->sa", _continuing(mdp), pairs)
    gradient: Table = visits.sum(axis=0)[:, None] * _rewards(mdp) + continuing
    return gradient


def optimal_values(
    mdp: TabularMDP, gamma: float, horizon: int | None = None, tolerance: float = 1e-12
) -> Optimum:
    """Returns the optimal values, and a policy that attains them.

    `V*[s] = max_a (R[s, a] + gamma sum_s' P[s, a, s'] V*[s'])`, by value iteration.

    Reference: Sutton and Barto (2018), equation 4.10.

    Args:
        mdp: the tables.
        gamma: discount factor in [0, 1].
        horizon: number of steps to go, or None for no time limit.
        tolerance: largest change of a value, in units of reward, that ends the
            iteration where there is no horizon.

    Returns:
        V* and an optimal policy.

    Raises:
        ValueError: if an argument is out of range, or if the values diverge, as they
            can with gamma 1 and no horizon.
    """
    check_mdp(mdp)
    _check_numbers(gamma, horizon)
    rewards, continuing = _rewards(mdp), gamma * _continuing(mdp)
    values = np.zeros(mdp.n_states)
    returns = rewards
    # With a discount below 1, so many sweeps converge to rounding.
    max_sweeps = 100_000 if gamma == 1.0 else int(50 / (1.0 - gamma)) + 10
    for _ in range(max_sweeps if horizon is None else horizon):
        returns = rewards + continuing @ values
        change = np.abs(returns.max(axis=1) - values).max()
        values = returns.max(axis=1)
        if horizon is None and change <= tolerance * max(1.0, np.abs(values).max()):
            break
    else:
        if horizon is None:
            raise ValueError(
                f"with gamma={gamma} and no horizon the values diverge, because an "
                "episode may never end: pass a horizon or a gamma below 1"
            )
    # Actions that differ by rounding are equally good.
    best = returns >= returns.max(axis=1, keepdims=True) - 1e-9
    return Optimum(values, np.eye(mdp.n_actions)[best.argmax(axis=1)])


def _rewards(mdp: TabularMDP) -> Table:
    """R, `[S, A]`."""
    expected: Table = (mdp.transition * mdp.reward).sum(axis=-1)
    return expected


def _continuing(mdp: TabularMDP) -> Table:
    """P, `[S, A, S]`, the transitions that do not end the episode."""
    return mdp.transition * ~mdp.terminal


def _under(mdp: TabularMDP, pi: Table) -> tuple[Table, Table]:
    """Returns expected rewards `[S]` and transitions `[S, S]` under a policy."""
    rewards = np.einsum("sa,sa->s", pi, _rewards(mdp))
    return rewards, np.einsum("sa,sax->sx", pi, _continuing(mdp))


def _visits(mdp: TabularMDP, discounted_step: Table, horizon: int) -> Table:
    """`gamma^t P(s_t = s)` for t below H, `[H, S]`."""
    visits = np.zeros((horizon, mdp.n_states))
    present = np.array(mdp.initial_distribution)
    for t in range(horizon):
        visits[t] = present
        present = present @ discounted_step
    return visits


def _solve(step: Table, gamma: float, right: Table) -> Table:
    """Solves `x = right + gamma * step @ x`, if its Neumann series converges."""
    # It does if all rows sum to less than 1, which is cheaper than eigenvalues.
    if gamma * np.abs(step).sum(axis=1).max() >= 1.0 and (
        gamma * np.abs(np.linalg.eigvals(step)).max() >= 1.0 - 1e-12
    ):
        raise ValueError(
            f"with gamma={gamma} and no horizon the return diverges, because an "
            "episode under this policy may never end: pass a horizon or a gamma below 1"
        )
    solution = np.linalg.solve(np.eye(len(step)) - gamma * step, right)
    return solution.astype(np.float64)


def _checked(
    mdp: TabularMDP, policy: ArrayLike, gamma: float, horizon: int | None
) -> Table:
    check_mdp(mdp)
    _check_numbers(gamma, horizon)
    pi = np.asarray(policy, dtype=np.float64)
    if pi.shape != (mdp.n_states, mdp.n_actions) or not np.isfinite(pi).all():
        raise ValueError(
            f"policy must be [{mdp.n_states}, {mdp.n_actions}] finite probabilities, "
            f"got shape {list(pi.shape)}"
        )
    return pi


def _check_numbers(gamma: float, horizon: int | None) -> None:
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma!r}")
    if horizon is not None and (
        not isinstance(horizon, int | np.integer) or horizon < 0
    ):
        raise ValueError(f"horizon must be None or an integer >= 0, got {horizon!r}")
