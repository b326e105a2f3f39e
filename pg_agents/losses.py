"""Losses whose gradients are the estimators: pure functions of flat tensors `[B]`.

Each is a sum over recorded steps divided by `n_samples`. For whole episodes that is the
number of episodes: the gradient of an expected return is an expectation over episodes,
of sums over their steps, and dividing by the steps instead weights an episode by the
inverse of the batch's length, which is random. For a fixed number of steps it is that
number.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["entropy_loss", "policy_gradient_loss", "value_loss"]


def policy_gradient_loss(
    log_prob: Tensor, advantages: Tensor, n_samples: int
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
    return -(advantages.detach() * log_prob).sum() / n_samples


def value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """Mean squared error of the critic, a regression over all recorded steps.

    `L = (1/B) sum_b (G_b - V(s_b))^2`

    Reference: Sutton and Barto (2018), equation 9.1.

    Args:
        values: `[B]`, V(s_b).
        returns: `[B]`, the targets; constants.

    Returns:
        A scalar, in units of reward squared.

    Raises:
        ValueError: if the shapes differ.
    """
    _check_same_shape("returns", returns, "values", values)
    return (returns.detach() - values).square().mean()


def entropy_loss(entropy: Tensor | None, log_prob: Tensor, n_samples: int) -> Tensor:
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
