"""Losses and their gradients by hand."""

from __future__ import annotations

import pytest
import torch

from pg_agents.learning.losses import (
    approximate_kl,
    clipped_surrogate_loss,
    clipped_values,
    entropy_loss,
    policy_gradient_loss,
    value_loss,
)


def test_known_value_of_the_weighted_log_probability() -> None:
    """Probability 0.8, return 100."""
    got = -policy_gradient_loss(torch.tensor([0.8]).log(), torch.tensor([100.0]), 1)
    assert got.item() == pytest.approx(-22.314354, abs=1e-5)


def test_known_value_of_the_policy_gradient_loss() -> None:
    """Action 1 of the logits [1, 2], return 10."""
    log_prob = torch.log_softmax(torch.tensor([1.0, 2.0]), 0)[1:]
    got = policy_gradient_loss(log_prob, torch.tensor([10.0]), 1)
    assert got.item() == pytest.approx(3.1326165, abs=1e-5)


def test_gradient_is_the_score_times_the_advantage() -> None:
    """For softmax logits, grad log pi(a) = onehot(a) - pi."""
    logits = torch.tensor([[0.2, -1.0, 0.5], [1.0, 0.0, 3.0]], requires_grad=True)
    actions, advantages = torch.tensor([2, 0]), torch.tensor([4.0, -3.0])
    log_prob = torch.log_softmax(logits, 1)[torch.arange(2), actions]
    policy_gradient_loss(log_prob, advantages, 2).backward()
    score = torch.eye(3)[actions] - torch.softmax(logits.detach(), 1)
    torch.testing.assert_close(logits.grad, -advantages[:, None] * score / 2)


def test_advantages_get_no_gradient() -> None:
    advantages = torch.tensor([1.0], requires_grad=True)
    loss = policy_gradient_loss(torch.zeros(1, requires_grad=True), advantages, 1)
    loss.backward()
    assert advantages.grad is None


def test_sums_over_steps_are_divided_by_the_number_of_episodes() -> None:
    """Two episodes of 1 and 3 steps."""
    log_prob = torch.tensor([-1.0, -2.0, -3.0, -4.0])
    got = policy_gradient_loss(log_prob, torch.ones(4), n_samples=2)
    assert got.item() == 10.0 / 2


def test_value_loss_is_the_mean_squared_error_without_gradient_of_returns() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    returns = torch.tensor([3.0, -1.0], requires_grad=True)
    loss = value_loss(values, returns)
    loss.backward()
    assert loss.item() == (4.0 + 9.0) / 2
    assert values.grad is not None
    assert values.grad.tolist() == [-2.0, 3.0]
    assert returns.grad is None


def test_entropy_loss_is_minus_the_entropy_summed_over_steps_per_episode() -> None:
    """Without a closed form the entropy is estimated by -log_prob."""
    entropy = torch.tensor([0.5, 1.5, 4.0])
    assert entropy_loss(entropy, torch.zeros(3), 2).item() == -3.0
    assert entropy_loss(None, -entropy, 2).item() == -3.0


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"advantages must have the shape of log_prob"):
        policy_gradient_loss(torch.zeros(3, 1), torch.zeros(3), 1)
    with pytest.raises(ValueError, match=r"returns must have the shape of values"):
        value_loss(torch.zeros(3, 1), torch.zeros(3))


def test_clipped_surrogate_by_hand() -> None:
    """Ratios 1.5, 1.5, 0.5 and 0.5, epsilon 0.2."""
    old = torch.zeros(4)
    log_prob = torch.tensor([1.5, 1.5, 0.5, 0.5]).log().requires_grad_()
    advantages = torch.tensor([2.0, -2.0, 2.0, -2.0])
    loss = clipped_surrogate_loss(log_prob, old, advantages, 0.2, n_samples=4)
    assert loss.item() == pytest.approx(-(2.4 - 3.0 + 1.0 - 1.6) / 4)
    (gradient,) = torch.autograd.grad(loss, log_prob)
    # The first and the last are clipped.
    torch.testing.assert_close(gradient, -torch.tensor([0.0, -3.0, 1.0, 0.0]) / 4)


def test_on_policy_the_clipped_surrogate_has_the_policy_gradient() -> None:
    log_prob = torch.tensor([-0.3, -1.2, -0.7], requires_grad=True)
    advantages = torch.tensor([1.0, -2.0, 0.5])
    clipped = clipped_surrogate_loss(log_prob, log_prob.detach(), advantages, 0.1, 2)
    plain = policy_gradient_loss(log_prob, advantages, 2)
    torch.testing.assert_close(
        torch.autograd.grad(clipped, log_prob), torch.autograd.grad(plain, log_prob)
    )


def test_huber_is_half_a_square_up_to_1_and_linear_from_there() -> None:
    values = torch.tensor([0.0, 0.0, 0.0])
    returns = torch.tensor([0.5, -1.0, 3.0])
    loss = value_loss(values, returns, "huber")
    assert loss.item() == pytest.approx((0.125 + 0.5 + 2.5) / 3)
    assert value_loss(values, returns).item() == pytest.approx((0.25 + 1 + 9) / 3)


def test_clipped_values_stay_within_the_range() -> None:
    values = torch.tensor([1.0, 1.0, -3.0])
    old = torch.tensor([0.9, 0.0, 0.0])
    got = clipped_values(values, old, 0.5)
    torch.testing.assert_close(got, torch.tensor([1.0, 0.5, -0.5]))


def test_the_mean_of_approximate_kl_is_the_kl() -> None:
    """Over two actions, weighted by the old policy."""
    old, new = torch.tensor([0.3, 0.7]), torch.tensor([0.6, 0.4])
    each = torch.stack(
        [approximate_kl(n.log(), o.log()) for n, o in zip(new, old, strict=True)]
    )
    exact = (old * (old / new).log()).sum()
    torch.testing.assert_close((old * each).sum(), exact)
    assert (each >= 0).all()
