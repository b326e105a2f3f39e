"""Losses whose gradients are the estimators: pure functions of flat tensors `[B]`.

Each loss of the policy is a sum over recorded steps divided by `n_samples`. For whole
episodes that is the number of episodes: the gradient of an expected return is an
expectation over episodes, of sums over their steps, and dividing by the steps instead
weights an episode by the inverse of the batch's length, which is random. For a fixed
number of steps it is that number.
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
        log_prob: `[B]`, log-probability of each action taken, natural logarithm.
        advantages: `[B]`, weight of each action, in units of reward; a constant.
        n_samples: number of episodes, or of steps, see above.

    Returns:
        A scalar, in units of reward.

    Raises:
        ValueError: if the shapes differ: `[B, 1]` beside `[B]` would broadcast to
            `[B, B]`.
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
    r"""PPO's loss: no reward for moving an action's probability too far.

    `L = -(1/n) sum_b min(rho_b A_b, clip(rho_b, 1 - epsilon, 1 + epsilon) A_b)` with
    `rho_b = pi(a_b | s_b) / pi_old(a_b | s_b)`. Where all rho are 1, as in the first
    step on fresh data, its gradient is that of `policy_gradient_loss`.

    Reference: Schulman et al. (2017), "Proximal policy optimization algorithms",
    equation 7.

    Args:
        log_prob: `[B]`, log-probability of each action now.
        old_log_prob: `[B]`, that of the policy which took it; a constant.
        advantages: `[B]`, weight of each action, in units of reward; a constant.
        clip_range: epsilon, above 0.
        n_samples: number of episodes, or of steps, see above.

    Returns:
        A scalar, in units of reward.

    Raises:
        ValueError: if the shapes differ.
    """
    _check_same_shape("advantages", advantages, "log_prob", log_prob)
    _check_same_shape("old_log_prob", old_log_prob, "log_prob", log_prob)
    ratio = torch.exp(log_prob - old_log_prob.detach())
    clipped = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    weights = advantages.detach()
    return -torch.minimum(weights * ratio, weights * clipped).sum() / n_samples


def approximate_kl(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """Estimate of KL(pi_old, pi) from actions that pi_old took; never negative.

    `(1/B) sum_b (rho_b - 1 - log rho_b)`

    Reference: Schulman (2020), "Approximating KL divergence", estimator k3.

    Args:
        log_prob: `[B]`, log-probability of each action now.
        old_log_prob: `[B]`, that of the policy which took it.

    Returns:
        A scalar without a gradient, in nats.

    Raises:
        ValueError: if the shapes differ.
    """
    _check_same_shape("old_log_prob", old_log_prob, "log_prob", log_prob)
    log_ratio = (log_prob - old_log_prob).detach()
    return (torch.exp(log_ratio) - 1.0 - log_ratio).mean()


def value_loss(
    values: Tensor, returns: Tensor, critic_loss: CriticLoss = "squared"
) -> Tensor:
    """Mean error of the critic, a regression over all recorded steps.

    `L = (1/B) sum_b l(G_b - V(s_b))` with `l(x) = x^2` for `"squared"`, and for
    `"huber"` `l(x) = x^2 / 2` where `|x| < 1`, `|x| - 1/2` elsewhere.

    Reference: Sutton and Barto (2018), equation 9.1; Huber (1964), with the bound 1.

    Args:
        values: `[B]`, V(s_b).
        returns: `[B]`, the targets; constants.
        critic_loss: `"squared"` or `"huber"` (also called smooth L1).

    Returns:
        A scalar, in units of reward squared (of reward, far from 0, for `"huber"`).

    Raises:
        ValueError: if the shapes differ.
    """
    _check_same_shape("returns", returns, "values", values)
    if critic_loss == "huber":
        return functional.smooth_l1_loss(values, returns.detach())
    return functional.mse_loss(values, returns.detach())


def clipped_values(values: Tensor, old_values: Tensor, clip_range_vf: float) -> Tensor:
    """Values that may move no further than `clip_range_vf` from what they were.

    `V_old(s_b) + clip(V(s_b) - V_old(s_b), -epsilon, epsilon)`

    Reference: OpenAI's baselines (2017), ppo2; it depends on the scale of rewards.

    Args:
        values: `[B]`, V(s_b) now.
        old_values: `[B]`, V(s_b) when the action was taken; constants.
        clip_range_vf: epsilon, above 0, in units of reward.

    Returns:
        `[B]`, in units of reward.

    Raises:
        ValueError: if the shapes differ.
    """
    _check_same_shape("old_values", old_values, "values", values)
    old = old_values.detach()
    return old + (values - old).clamp(-clip_range_vf, clip_range_vf)


def entropy_loss(entropy: Tensor | None, log_prob: Tensor, n_samples: float) -> Tensor:
    """Minus the entropy of the policy: minimising it keeps the policy exploring.

    `L = -(1/n) sum_b H(pi(. | s_b))`

    Reference: Williams and Peng (1991); Mnih et al. (2016), section 4.

    Args:
        entropy: `[B]` in nats; None where it has no closed form, which uses the
            estimate `-log pi(a_b | s_b)`, as Stable-Baselines3 does.
        log_prob: `[B]`, log-probability of each action taken.
        n_samples: number of episodes, or of steps, see above.

    Returns:
        A scalar, in nats.
    """
    nats = -log_prob if entropy is None else entropy
    return -nats.sum() / n_samples


def _check_same_shape(name: str, given: Tensor, like: str, other: Tensor) -> None:
    if given.shape != other.shape:
        raise ValueError(
            f"{name} must have the shape of {like}, {list(other.shape)}, got "
            f"{list(given.shape)}"
        )
