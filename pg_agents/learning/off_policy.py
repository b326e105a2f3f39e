"""What old data say about the policy of now: pure functions of tensors `[T, N]`.

Shapes, masks and c_t are those of `pg_agents.learning.returns`. `log_ratios[t]` is
`log pi(a_t | s_t) - log mu(a_t | s_t)`: of the policy asked about, less that of the one
that took the action, natural logarithm, so that `rho_t = exp(log_ratios[t])`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pg_agents.learning.returns import (
    check_shape,
    check_unit_interval,
    continuation,
    double,
)

__all__ = ["importance_sampled_return", "trajectory_weights", "v_trace"]


def importance_sampled_return(
    rewards: Tensor,
    gamma: float,
    log_ratios: Tensor,
    terminated: Tensor | None = None,
    truncated: Tensor | None = None,
    next_values: Tensor | None = None,
) -> Tensor:
    r"""Reward-to-go whose expectation over old episodes is the new policy's.

    `G_t = r_t + gamma * (c_t rho_{t+1} G_{t+1} + (1 - c_t) v_{t+1})`: each reward is
    weighted by the ratios of the actions between a_t and it, a_t excluded, so that
    `E_mu[G_t | s_t, a_t] = Q^pi(s_t, a_t)`. Unbiased, with a variance that grows with
    the length of the episode and the distance of the policies.

    Reference: Precup, Sutton and Singh (2000), "Eligibility traces for off-policy
    policy evaluation", section 3, per-decision importance sampling.

    Args:
        rewards: `[T, N]`.
        gamma: discount factor in [0, 1].
        log_ratios: `[T, N]`.
        terminated: `[T, N]` bool.
        truncated: `[T, N]` bool.
        next_values: `[T, N]`.

    Returns:
        `[T, N]`, in units of reward.

    Raises:
        ValueError: if shapes differ or gamma is out of range.
    """
    check_unit_interval("gamma", gamma)
    goes_on, beyond = continuation(rewards, terminated, truncated, next_values)
    check_shape("log_ratios", log_ratios, rewards)
    ratios, now, beyond = torch.exp(double(log_ratios)), double(rewards), double(beyond)
    returns = torch.empty_like(now)
    later = beyond[-1]
    for t in reversed(range(len(rewards))):
        if t + 1 < len(rewards):
            later = ratios[t + 1] * returns[t + 1]
        returns[t] = now[t] + gamma * torch.where(goes_on[t], later, beyond[t])
    return returns.to(rewards.dtype)


def trajectory_weights(
    log_ratios: Tensor,
    terminated: Tensor | None = None,
    truncated: Tensor | None = None,
) -> Tensor:
    r"""How much likelier the episode so far is under the new policy.

    `W_t = prod_k rho_k` over the steps k of the same episode up to and including t. The
    exact gradient from old episodes is
    `E_mu[sum_t gamma^t W_t (G_t - b(s_t)) grad log pi(a_t | s_t)]` with G from
    `importance_sampled_return`. An episode that began before row 0 counts from row 0.

    Reference: Precup, Sutton and Singh (2000), section 2; Degris, White and Sutton
    (2012), "Off-policy actor-critic", on what leaving W out does.

    Args:
        log_ratios: `[T, N]`.
        terminated: `[T, N]` bool.
        truncated: `[T, N]` bool.

    Returns:
        `[T, N]`, without unit.

    Raises:
        ValueError: if shapes differ.
    """
    goes_on, _ = continuation(log_ratios, terminated, truncated, None)
    # A copy, which double() of float64 is not.
    totals = double(log_ratios).clone()
    for t in range(1, len(log_ratios)):
        totals[t] += torch.where(goes_on[t - 1], totals[t - 1], 0.0)
    return torch.exp(totals).to(log_ratios.dtype)


def v_trace(
    rewards: Tensor,
    values: Tensor,
    gamma: float,
    log_ratios: Tensor,
    terminated: Tensor | None = None,
    truncated: Tensor | None = None,
    next_values: Tensor | None = None,
    *,
    lambda_: float = 1.0,
    rho_clip: float = 1.0,
    c_clip: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""V-trace: targets for the critic, and advantages for the policy, from old data.

    With `rho_t = min(rho_clip, ratio_t)`, `k_t = lambda min(c_clip, ratio_t)`,
    `delta_t = rho_t (r_t + gamma v_{t+1} - V(s_t))`:

    `target_t = V(s_t) + delta_t + gamma c_t k_t (target_{t+1} - v_{t+1})`

    `A_t = rho_t (r_t + gamma (c_t (lambda target_{t+1} + (1 - lambda) v_{t+1})
    + (1 - c_t) v_{t+1}) - V(s_t))`

    On fresh data (all ratios 1) the target is the lambda-return and A is GAE. Without
    clipping (`math.inf`) and with lambda 1, the expectation of the target over whole
    old episodes is V^pi, whatever `values` are, and that of A the advantage
    under pi; clipping trades that for a smaller variance. States are met as often as mu
    meets them, though: A alone does not make the gradient that `trajectory_weights`
    make.

    Reference: Espeholt et al. (2018), "IMPALA", equation 1, remark 2 and section 4.2.

    Args:
        rewards: `[T, N]`.
        values: `[T, N]`, V(s_t).
        gamma: discount factor in [0, 1].
        log_ratios: `[T, N]`.
        terminated: `[T, N]` bool.
        truncated: `[T, N]` bool.
        next_values: `[T, N]`.
        lambda_: in [0, 1]; 0 for the one-step target.
        rho_clip: largest weight of a temporal difference, above 0.
        c_clip: largest weight of what lies beyond it, above 0.

    Returns:
        Targets and advantages, each `[T, N]`, in units of reward.

    Raises:
        ValueError: if shapes differ or a number is out of range.
    """
    check_unit_interval("gamma", gamma)
    check_unit_interval("lambda_", lambda_)
    for name, clip in (("rho_clip", rho_clip), ("c_clip", c_clip)):
        # Written so that nan fails too.
        if not clip > 0.0:
            raise ValueError(f"{name} must be a number > 0, got {clip}")
    goes_on, beyond = continuation(rewards, terminated, truncated, next_values)
    check_shape("values", values, rewards)
    check_shape("log_ratios", log_ratios, rewards)
    dtype = rewards.dtype
    rewards, values, beyond = double(rewards), double(values), double(beyond)
    ratios = torch.exp(double(log_ratios))
    rho, trace = ratios.clamp(max=rho_clip), lambda_ * ratios.clamp(max=c_clip)
    delta = rho * (rewards + gamma * beyond - values)
    # What the targets add to the values: target_t - V(s_t).
    surplus = torch.empty_like(rewards)
    later = torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        # Behind the last row nothing is known beyond its value.
        later = delta[t] + gamma * trace[t] * goes_on[t] * later
        surplus[t] = later
    follows = torch.cat([surplus[1:], torch.zeros_like(surplus[:1])])
    reached = beyond + lambda_ * torch.where(goes_on, follows, 0.0)
    advantages = rho * (rewards + gamma * reached - values)
    return (values + surplus).to(dtype), advantages.to(dtype)
