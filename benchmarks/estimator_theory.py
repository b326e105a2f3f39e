"""What theory says that the expected gradient of an estimator is.

Two ways, neither of which uses the agents' code. `expected_gradient` sums over states
instead of rollouts: how often each is acted in, times what the action's return is on
average. It needs what standardising destroys, that one return is judged alone.
`formula_moments` writes an estimate down for every rollout, in float64.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from benchmarks.enumeration import Step, Table, Task, rollouts, visits_by_age
from benchmarks.scripted import Moments
from pg_agents.algorithms.config import PolicyGradientConfig


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
        settings: of the agent.
        critic: `[S]`, the values that returns go on with.
        n_steps: rows of a rollout, in the long run; None for whole episodes.
    """
    n_rows = n_steps or task.max_length
    visits = _visits(task, n_steps)
    worth = _worth(task, settings, critic, n_rows)
    ages = np.arange(task.max_length)
    weights = np.ones((n_rows, task.max_length))
    if settings.estimator == "full_return":
        # Discounted from the first step of the episode that the rollout has seen.
        weights = settings.gamma ** np.minimum(ages, np.arange(n_rows)[:, None])
    elif settings.weight_by_gamma_t:
        weights = np.tile(settings.gamma**ages, (n_rows, 1))
    by_pi = np.einsum("tk,tks,tksa->sa", weights, visits, worth)
    return task.through_softmax(by_pi / (n_steps or 1))


def _visits(task: Task, n_steps: int | None) -> Table:
    """`P(s_row = s, k steps into its episode)`, `[T, K, S]`."""
    by_age = visits_by_age(task)
    n_ages = len(by_age)
    if n_steps is None:
        return np.asarray(np.eye(n_ages)[:, :, None] * by_age)
    # In the long run every row of a rollout is like every other.
    return np.tile(by_age / task.mean_length, (n_steps, 1, 1))


def _worth(
    task: Task, settings: PolicyGradientConfig, critic: Table, n_rows: int
) -> Table:
    """Mean return of an action, `[T, K, S, A]`, by recursion from the last row."""
    mdp, gamma = task.mdp, settings.gamma
    going_on = mdp.transition * ~mdp.terminal
    rewards = (mdp.transition * mdp.reward).sum(axis=-1)
    beyond = critic if settings.bootstraps else np.zeros_like(critic)
    n_ages = task.max_length
    n_rewards = settings.td_steps if settings.estimator == "n_step" else 1
    share = settings.gae_lambda if settings.estimator == "gae" else 1.0
    worth = np.zeros((n_rows, n_ages, mdp.n_states, mdp.n_actions))
    # Of returns over 1, 2 ... n rewards; all others refer to themselves. One age too
    # many: an episode of the full length has no next row.
    of_next_row = np.zeros((n_rewards, n_ages + 1, mdp.n_states))
    for row in reversed(range(n_rows)):
        of_row = np.zeros_like(of_next_row)
        for n in range(n_rewards):
            stops = row == n_rows - 1 or (n == 0 and settings.estimator == "td")
            if stops or (n == 0 and settings.estimator == "n_step"):
                later = np.tile(beyond, (n_ages, 1))
            else:
                shorter = n - 1 if settings.estimator == "n_step" else n
                later = (1.0 - share) * beyond + share * of_next_row[shorter, 1:]
            if task.time_limit is not None:
                later[task.time_limit - 1] = beyond
            worth[row] = rewards + gamma * np.einsum("sax,kx->ksa", going_on, later)
            of_row[n, :-1] = (task.pi * worth[row]).sum(axis=-1)
        of_next_row = of_row
    return worth


def formula_moments(
    task: Task,
    settings: PolicyGradientConfig,
    critic: Table,
    n_envs: int,
    n_episodes: int | None,
    n_steps: int | None,
) -> Moments:
    """Returns the moments of the estimate as written in the agents' docstrings."""
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


# A stretch of one episode within a rollout, and its first row.
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
    """What the score of each step is multiplied by."""
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
    """The return of each step of a piece, from the sums that define it."""
    gamma, n_left = settings.gamma, len(piece)
    last = piece[-1]
    at_end = critic[last.next_state] if settings.bootstraps else 0.0
    at_end = 0.0 if last.terminated else at_end
    returns = np.zeros(n_left)
    for t in range(n_left):
        # Of n rewards, for n = 1 ... to the end of the piece.
        sums = np.cumsum([gamma**j * s.reward for j, s in enumerate(piece[t:])])
        states = [step.state for step in piece[t + 1 :]]
        values = np.array([*critic[states], at_end])
        targets = sums + gamma ** np.arange(1, len(sums) + 1) * values
        returns[t] = _mix(targets, settings)
    return (
        np.full(n_left, returns[0]) if settings.estimator == "full_return" else returns
    )


def _mix(targets: Table, settings: PolicyGradientConfig) -> float:
    """From the n-step targets of a step, for all n, to the one that is used."""
    last = len(targets) - 1
    if settings.estimator in ("td", "n_step"):
        n = settings.td_steps if settings.estimator == "n_step" else 1
        return float(targets[min(n - 1, last)])
    if settings.estimator != "gae":
        return float(targets[last])
    share = settings.gae_lambda ** np.arange(last + 1)
    share[:last] *= 1.0 - settings.gae_lambda
    return float(share @ targets)


def _standardized(values: NDArray[np.float64]) -> Table:
    if len(values) < 2:
        return values
    centred = values - values.mean()
    # Equal numbers are at 0, not at rounding error by rounding error.
    centred[np.abs(centred) < 1e-12] = 0.0
    return np.asarray(centred / (values.std(ddof=1) + 1e-8))
