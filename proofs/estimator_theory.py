"""Expected gradient of an estimator, computed without the agents' code, in float64.

`expected_gradient` is a closed form: a sum over states of visits times mean returns. It
does not exist for standardised estimators, whose weights depend on the whole batch.
`formula_moments` enumerates all rollouts and evaluates the formula of the estimate.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from pg_agents.algorithms.config import PolicyGradientConfig
from proofs.enumeration import Step, Table, Task, rollouts, visits_by_age
from proofs.scripted import Moments


def expected_gradient(
    task: Task,
    settings: PolicyGradientConfig,
    critic: Table,
    n_steps: int | None = None,
) -> Table:
    """Returns the expected gradient without baseline or standardisation, `[S, A]`.

    `(1/n) sum_{row, k, s} P(s_row = s, k steps into its episode) w Q[row, k, s, a]`,
    with n = 1 for whole episodes and the number of rows otherwise, w = gamma^k or 1,
    and Q the mean of the return that the estimator uses.

    Args:
        task: environment and policy.
        settings: estimator, baseline and so on of the agent.
        critic: `[S]`, values to bootstrap with.
        n_steps: rows of a rollout in the stationary state; None for whole episodes.
    """
    n_rows = n_steps or task.max_length
    visits = _visits(task, n_steps)
    returns = _expected_returns(task, settings, critic, n_rows)
    ages = np.arange(task.max_length)
    weights = np.ones((n_rows, task.max_length))
    if settings.estimator == "full_return":
        # Discounted from the first step of the episode within the rollout.
        weights = settings.gamma ** np.minimum(ages, np.arange(n_rows)[:, None])
    elif settings.weight_by_gamma_t:
        weights = np.tile(settings.gamma**ages, (n_rows, 1))
    by_pi = np.einsum("tk,tks,tksa->sa", weights, visits, returns)
    return task.through_softmax(by_pi / (n_steps or 1))


def _visits(task: Task, n_steps: int | None) -> Table:
    """`P(s_row = s, k steps into its episode)`, `[T, K, S]`."""
    by_age = visits_by_age(task)
    n_ages = len(by_age)
    if n_steps is None:
        return np.asarray(np.eye(n_ages)[:, :, None] * by_age)
    # In the stationary state all rows have the same distribution.
    return np.tile(by_age / task.mean_length, (n_steps, 1, 1))


def _expected_returns(
    task: Task, settings: PolicyGradientConfig, critic: Table, n_rows: int
) -> Table:
    """Expected return of an action, `[T, K, S, A]`, by recursion from the last row."""
    mdp, gamma = task.mdp, settings.gamma
    continuing = mdp.transition * ~mdp.terminal
    rewards = (mdp.transition * mdp.reward).sum(axis=-1)
    bootstrap_values = critic if settings.bootstraps else np.zeros_like(critic)
    n_ages = task.max_length
    n_rewards = settings.td_steps if settings.estimator == "n_step" else 1
    gae_lambda = settings.gae_lambda if settings.estimator == "gae" else 1.0
    returns = np.zeros((n_rows, n_ages, mdp.n_states, mdp.n_actions))
    # For returns over 1, 2 ... n rewards; other estimators refer to themselves. One
    # age too many, because an episode of full length has no next row.
    next_row = np.zeros((n_rewards, n_ages + 1, mdp.n_states))
    for row in reversed(range(n_rows)):
        this_row = np.zeros_like(next_row)
        for n in range(n_rewards):
            bootstraps = row == n_rows - 1 or (
                n == 0 and settings.estimator in ("td", "n_step")
            )
            if bootstraps:
                next_values = np.tile(bootstrap_values, (n_ages, 1))
            else:
                shorter = n - 1 if settings.estimator == "n_step" else n
                next_values = (1.0 - gae_lambda) * bootstrap_values
                next_values = next_values + gae_lambda * next_row[shorter, 1:]
            if task.time_limit is not None:
                next_values[task.time_limit - 1] = bootstrap_values
            following = np.einsum("sax,kx->ksa", continuing, next_values)
            returns[row] = rewards + gamma * following
            this_row[n, :-1] = (task.pi * returns[row]).sum(axis=-1)
        next_row = this_row
    return returns


def formula_moments(
    task: Task,
    settings: PolicyGradientConfig,
    critic: Table,
    n_envs: int,
    n_episodes: int | None,
    n_steps: int | None,
) -> Moments:
    """Returns the moments of the estimate by the formula in the agents' docstrings."""
    mean, square = np.zeros_like(task.logits), 0.0
    for probability, scripts in rollouts(task, n_envs, n_episodes, n_steps):
        pieces = [piece for script in scripts for piece in _pieces(script)]
        steps = [step for _, piece in pieces for step in piece]
        weights = _weights(pieces, settings, critic, n_envs, n_episodes)
        gradient = np.zeros_like(mean)
        for step, weight in zip(steps, weights, strict=True):
            score = np.eye(len(task.pi[0]))[step.action] - task.pi[step.state]
            gradient[step.state] += weight * score
        gradient /= n_envs * n_episodes if n_episodes else len(steps)
        mean += probability * gradient
        square += probability * float((gradient**2).sum())
    return Moments(mean, square - float((mean**2).sum()))


# First row and steps of the part of an episode that lies in a rollout.
Piece = tuple[int, tuple[Step, ...]]


def _pieces(script: tuple[Step, ...]) -> list[Piece]:
    ends = [i + 1 for i, s in enumerate(script) if s.terminated or s.truncated]
    cuts = sorted({0, *ends, len(script)})
    return [(a, script[a:b]) for a, b in itertools.pairwise(cuts)]


def _weights(
    pieces: list[Piece],
    settings: PolicyGradientConfig,
    critic: Table,
    n_envs: int,
    n_episodes: int | None,
) -> Table:
    """Returns the advantage of each step, with gamma^t if the settings ask for it."""
    steps = [step for _, piece in pieces for step in piece]
    ages = np.array([step.age for step in steps])
    rows = [first + i for first, piece in pieces for i in range(len(piece))]
    returns = np.concatenate([_returns(piece, settings, critic) for _, piece in pieces])
    if settings.standardize_returns:
        returns = _standardized(returns)
    index = ages if n_episodes else np.array(rows)
    n = n_envs * (n_episodes or 1)
    baseline = np.zeros_like(returns)
    if settings.baseline == "value":
        baseline = critic[[step.state for step in steps]]
    elif settings.baseline != "none":
        total = np.array([returns[index == i].sum() for i in index])
        alone = settings.baseline == "leave_one_out"
        baseline = (total - returns) / (n - 1) if alone else total / n
    weights = returns - baseline
    if settings.normalize_advantage:
        weights = _standardized(weights)
    return np.asarray(
        weights * settings.gamma**ages if settings.weight_by_gamma_t else weights
    )


def _returns(
    piece: tuple[Step, ...], settings: PolicyGradientConfig, critic: Table
) -> Table:
    """Returns the return of each step of a piece from its definition."""
    gamma, n_left = settings.gamma, len(piece)
    last = piece[-1]
    bootstraps = settings.bootstraps and not last.terminated
    final_value = critic[last.next_state] if bootstraps else 0.0
    returns = np.zeros(n_left)
    for t in range(n_left):
        # Sums of n rewards for n = 1 ... end of the piece.
        sums = np.cumsum([gamma**j * s.reward for j, s in enumerate(piece[t:])])
        states = [step.state for step in piece[t + 1 :]]
        values = np.array([*critic[states], final_value])
        targets = sums + gamma ** np.arange(1, len(sums) + 1) * values
        returns[t] = _mix(targets, settings)
    return (
        np.full(n_left, returns[0]) if settings.estimator == "full_return" else returns
    )


def _mix(targets: Table, settings: PolicyGradientConfig) -> float:
    """Returns the estimator's return from the n-step returns for all n."""
    last = len(targets) - 1
    if settings.estimator in ("td", "n_step"):
        n = settings.td_steps if settings.estimator == "n_step" else 1
        return float(targets[min(n - 1, last)])
    if settings.estimator != "gae":
        return float(targets[last])
    weights = settings.gae_lambda ** np.arange(last + 1)
    weights[:last] *= 1.0 - settings.gae_lambda
    return float(weights @ targets)


def _standardized(values: NDArray[np.float64]) -> Table:
    if len(values) < 2:
        return values
    centred = values - values.mean()
    # Equal numbers standardise to 0, not to rounding error over rounding error.
    centred[np.abs(centred) < 1e-12] = 0.0
    return np.asarray(centred / (values.std(ddof=1) + 1e-8))
