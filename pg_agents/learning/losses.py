"""Losses whose gradients are the estimators: pure functions of flat tensors `[B]`.

Losses are scalars. Arguments that are not differentiated, such as advantages and the
old policy's log-probabilities, are detached. Log-probabilities and entropies are in
nats, advantages and values in units of reward. A ValueError is raised if shapes differ:
`[B, 1]` and `[B]` would broadcast to `[B, B]`.

Losses of the policy are sums over recorded steps divided by `n_samples`, which is the
number of episodes if these are whole, and the number of steps otherwise. The gradient
of an expected return is an expectation over episodes of a sum over their steps;
dividing by the number of steps instead would weight each batch of episodes by the
inverse of its length, which is random.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "approximate_kl",
    "clipped_surrogate_loss",
    "clipped_values",
    "entropy_loss",
    "policy_gradient_loss",
    "value_loss",
]

CriticLoss = Literal["squared", "huber"]


def policy_gradient_loss(
    log_prob: Tensor, advantages: Tensor, n_samples: float
) -> Tensor:
    """Loss whose gradient is minus the policy gradient.

    `L = -(1/n) sum_b A_b log pi(a_b | s_b)`

    Reference: Williams (1992), theorem 1; Sutton et al. (2000), theorem 1.

    Args:
        log_prob: `[B]`, log-probability of each action.
        advantages: `[B]`, weight of each action.
        n_samples: number of episodes or steps, see above.
    """
    _check_same_shape("advantages", advantages, "log_prob", log_prob)
    return torch.dot(advantages.detach(), log_prob) * (-1.0 / n_samples)


def clipped_surrogate_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    clip_range: float,
    n_samples: float,
) -> Tensor:
    """PPO's clipped surrogate, which limits the change of each action's probability.

    `L = -(1/n) sum_b min(rho_b A_b, clip(rho_b, 1 - epsilon, 1 + epsilon) A_b)` with
    `rho_b = pi(a_b | s_b) / pi_old(a_b | s_b)`. Where all rho are 1, as in the first
    step on fresh data, its gradient is that of `policy_gradient_loss`.

    Reference: Schulman et al. (2017), "Proximal policy optimization algorithms",
    equation 7.

    Args:
        log_prob: `[B]`, log-probability of each action under the current policy.
        old_log_prob: `[B]`, the same under the policy that took the actions.
        advantages: `[B]`, weight of each action.
        clip_range: epsilon, above 0.
        n_samples: number of episodes or steps, see above.
    """
    _check_same_shape("advantages", advantages, "log_prob", log_prob)
    _check_same_shape("old_log_prob", old_log_prob, "log_prob", log_prob)
    ratio = torch.exp(log_prob - old_log_prob.detach())
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    weights = advantages.detach()
    return -torch.minimum(weights * ratio, weights * clipped).sum() / n_samples


def approximate_kl(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """Estimate of KL(pi_old, pi) from actions of pi_old, detached; never negative.

    `(1/B) sum_b (rho_b - 1 - log rho_b)`, with rho as in `clipped_surrogate_loss`.

    Reference: Schulman (2020), "Approximating KL divergence", estimator k3.
    """
    _check_same_shape("old_log_prob", old_log_prob, "log_prob", log_prob)
    log_ratio = (log_prob - old_log_prob).detach()
    return (torch.exp(log_ratio) - 1.0 - log_ratio).mean()


def value_loss(
    values: Tensor, returns: Tensor, critic_loss: CriticLoss = "squared"
) -> Tensor:
    """Mean regression loss of the critic.

    `L = (1/B) sum_b l(G_b - V(s_b))` with `l(x) = x^2` for `"squared"`, and for
    `"huber"` `l(x) = x^2 / 2` where `|x| < 1`, `|x| - 1/2` elsewhere.

    Reference: Sutton and Barto (2018), equation 9.1; Huber (1964), with threshold 1.

    Args:
        values: `[B]`, V(s_b).
        returns: `[B]`, the targets.
        critic_loss: `"squared"` or `"huber"` (smooth L1).
    """
    _check_same_shape("returns", returns, "values", values)
    if critic_loss == "huber":
        return functional.smooth_l1_loss(values, returns.detach())
    return functional.mse_loss(values, returns.detach())


def clipped_values(values: Tensor, old_values: Tensor, clip_range_vf: float) -> Tensor:
    """Values clipped to within `clip_range_vf` of the old ones, `[B]`.

    `V_old(s_b) + clip(V(s_b) - V_old(s_b), -epsilon, epsilon)`

    Reference: OpenAI's baselines (2017), ppo2; it depends on the scale of rewards.

    Args:
        values: `[B]`, V(s_b) of the current critic.
        old_values: `[B]`, V(s_b) when the action was taken.
        clip_range_vf: epsilon, above 0, in units of reward.
    """
    _check_same_shape("old_values", old_values, "values", values)
    old = old_values.detach()
    return old + (values - old).clamp(-clip_range_vf, clip_range_vf)


def entropy_loss(entropy: Tensor | None, log_prob: Tensor, n_samples: float) -> Tensor:
    """Minus the entropy of the policy; minimising it encourages exploration.

    `L = -(1/n) sum_b H(pi(. | s_b))`

    Reference: Williams and Peng (1991); Mnih et al. (2016), section 4.

    Args:
        entropy: `[B]`; None if it has no closed form, for the estimate
            `-log pi(a_b | s_b)` that Stable-Baselines3 uses.
        log_prob: `[B]`, log-probability of each action.
        n_samples: number of episodes or steps, see above.
    """
    nats = -log_prob if entropy is None else entropy
    return -nats.sum() / n_samples


def _check_same_shape(
    name: str, tensor: Tensor, other_name: str, other: Tensor
) -> None:
    if tensor.shape != other.shape:
        raise ValueError(
            f"{name} must have the shape of {other_name}, {list(other.shape)}, got "
            f"{list(tensor.shape)}"
        )
