"""Returns, weights and advantages of a policy from data of an older one.

Pure functions of tensors. Shapes, masks, units, errors and the symbols in equations are
those of `pg_agents.learning.returns`. `log_ratios`, `[T, N]`, is
`log pi(a_t | s_t) - log mu(a_t | s_t)`, where mu is the policy that took the actions
and pi the one that is evaluated, so that `rho_t = exp(log_ratios[t])`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pg_agents.common.tree import to_float64
from pg_agents.learning.returns import check_unit_interval, continuation

__all__ = ["importance_sampled_return", "trajectory_weights", "v_trace"]


def importance_sampled_return(
    rewards: Tensor,
    gamma: float,
    log_ratios: Tensor,
    terminated: Tensor | None = None,
    truncated: Tensor | None = None,
    next_values: Tensor | None = None,
) -> Tensor:
    """Reward-to-go with per-decision importance weights.

    `G_t = r_t + gamma * (c_t rho_{t+1} G_{t+1} + (1 - c_t) v_{t+1})`: each reward is
    weighted by the ratios of the actions after a_t that precede it. For whole episodes
    `E_mu[G_t | s_t, a_t] = Q^pi(s_t, a_t)`; the variance grows with the length of the
    episode and with the distance of the policies.

    Reference: Precup, Sutton and Singh (2000), "Eligibility traces for off-policy
    policy evaluation", section 3, per-decision importance sampling.
    """
    check_unit_interval(gamma=gamma)
    continues, bootstrap = continuation(
        rewards, terminated, truncated, next_values, log_ratios=log_ratios
    )
    ratios, bootstrap = torch.exp(to_float64(log_ratios)), to_float64(bootstrap)
    wide_rewards = to_float64(rewards)
    returns = torch.empty_like(wide_rewards)
    weighted_return = bootstrap[-1]
    for t in reversed(range(len(rewards))):
        following = torch.where(continues[t], weighted_return, bootstrap[t])
        returns[t] = wide_rewards[t] + gamma * following
        weighted_return = ratios[t] * returns[t]
    return returns.to(rewards.dtype)


def trajectory_weights(
    log_ratios: Tensor,
    terminated: Tensor | None = None,
    truncated: Tensor | None = None,
) -> Tensor:
    """Probability ratio of each episode up to and including each step.

    `W_t = prod_k rho_k` over the steps k <= t of the same episode, without unit. The
    exact gradient from whole old episodes is
    `E_mu[sum_t gamma^t W_t (G_t - b(s_t)) grad log pi(a_t | s_t)]` with G from
    `importance_sampled_return`. An episode that began before row 0 counts from row 0.

    Reference: Precup, Sutton and Singh (2000), section 2; Degris, White and Sutton
    (2012), "Off-policy actor-critic", on the effect of leaving out W.
    """
    continues, _ = continuation(log_ratios, terminated, truncated, None)
    # A copy is needed: to_float64() returns float64 tensors themselves.
    log_weights = to_float64(log_ratios).clone()
    for t in range(1, len(log_ratios)):
        log_weights[t] += torch.where(continues[t - 1], log_weights[t - 1], 0.0)
    return torch.exp(log_weights).to(log_ratios.dtype)


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
    """V-trace targets for the critic, and advantages for the policy.

    With `rho_t = min(rho_clip, ratio_t)`, `k_t = lambda min(c_clip, ratio_t)`,
    `delta_t = rho_t (r_t + gamma v_{t+1} - V(s_t))`:

    `target_t = V(s_t) + delta_t + gamma c_t k_t (target_{t+1} - v_{t+1})`

    `A_t = rho_t (r_t + gamma (c_t (lambda target_{t+1} + (1 - lambda) v_{t+1})
    + (1 - c_t) v_{t+1}) - V(s_t))`

    If all ratios are 1, the targets are lambda-returns and A is GAE. With lambda 1 and
    without clipping (`math.inf`), the expected target over whole old episodes is V^pi
    for any `values`, and the expected A is the advantage under pi; clipping adds bias
    and reduces variance. The distribution of states remains that of mu: an unbiased
    gradient also needs `trajectory_weights`.

    `rho_clip`, above 0, is the maximum weight of a temporal difference; `c_clip`, above
    0, the maximum weight of the trace. Lambda 0 gives the one-step target.

    Reference: Espeholt et al. (2018), "IMPALA", equation 1, remark 2 and section 4.2.

    Returns:
        Targets and advantages, each `[T, N]`.
    """
    check_unit_interval(gamma=gamma, lambda_=lambda_)
    for name, clip in (("rho_clip", rho_clip), ("c_clip", c_clip)):
        # Not `clip <= 0`, which is False for NaN.
        if not clip > 0.0:
            raise ValueError(f"{name} must be a number > 0, got {clip}")
    continues, bootstrap = continuation(
        rewards,
        terminated,
        truncated,
        next_values,
        values=values,
        log_ratios=log_ratios,
    )
    dtype = rewards.dtype
    rewards, values, bootstrap = (
        to_float64(rewards),
        to_float64(values),
        to_float64(bootstrap),
    )
    ratios = torch.exp(to_float64(log_ratios))
    rho, trace = ratios.clamp(max=rho_clip), lambda_ * ratios.clamp(max=c_clip)
    delta = rho * (rewards + gamma * bootstrap - values)
    # corrections[t] is target_t - V(s_t); after the last row it is 0.
    corrections = torch.empty_like(rewards)
    correction = torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        correction = delta[t] + gamma * trace[t] * continues[t] * correction
        corrections[t] = correction
    following = torch.cat([corrections[1:], torch.zeros_like(corrections[:1])])
    next_targets = bootstrap + lambda_ * torch.where(continues, following, 0.0)
    advantages = rho * (rewards + gamma * next_targets - values)
    return (values + corrections).to(dtype), advantages.to(dtype)
