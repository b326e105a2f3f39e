"""Fits of which the best solution is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from tests.pg_agents.cloning.fits import (
    COUNTS,
    counted,
    linear,
    noisy_line,
    run,
    table,
    theta,
)


def test_a_table_becomes_the_frequencies_of_the_actions() -> None:
    policy = table()
    result = run(policy, *counted())
    frequencies = COUNTS / COUNTS.sum(1, keepdims=True)
    got = torch.softmax(policy.logits, 1).numpy()
    np.testing.assert_allclose(got, frequencies, atol=1e-4)
    # What is left of the loss is the entropy of the actions in each state.
    entropy = -(COUNTS * np.log(frequencies)).sum() / COUNTS.sum()
    assert result.training_losses[0] == pytest.approx(np.log(3), rel=1e-6)
    assert result.training_losses[-1] == pytest.approx(entropy, rel=1e-5)
    assert result.held_out_losses == ()
    assert (result.best_epoch, result.stop_reason) == (200, "n_epochs")


def test_the_entropy_term_moves_the_solution_as_it_should() -> None:
    """Where the derivative is 0, f(a) / p(a) - c log p(a) is the same for all a."""
    policy = table()
    run(policy, *counted(), ent_coef=0.5)
    got = torch.softmax(policy.logits, 1).numpy()
    frequencies = COUNTS / COUNTS.sum(1, keepdims=True)
    slope = frequencies / got - 0.5 * np.log(got)
    np.testing.assert_allclose(slope, slope.mean(1, keepdims=True) + 0 * slope, 1e-3)
    assert np.all(got[1].max() < frequencies[1].max() - 0.05)


def test_a_gaussian_becomes_least_squares_and_the_size_of_its_residuals() -> None:
    policy = linear(spaces.Box(-9, 9, (2,)))
    seen, done = noisy_line()
    run(policy, seen, done, n_epochs=300)
    design = np.column_stack([seen, np.ones(len(seen))])
    best, *_ = np.linalg.lstsq(design, done)
    np.testing.assert_allclose(theta(policy), best, atol=1e-3)
    residuals = np.sqrt(((done - design @ best) ** 2).mean(0))
    np.testing.assert_allclose(policy.log_std.detach().exp(), residuals, rtol=1e-3)


def test_l2_is_ridge_regression_and_the_std_can_stay() -> None:
    """With std 1 the objective is half the mean square plus half l2 |theta|^2."""
    policy = linear(spaces.Box(-9, 9, (2,)))
    seen, done = noisy_line()
    run(policy, seen, done, fit_std=False, l2=0.3)
    design = np.column_stack([seen, np.ones(len(seen))])
    gram = design.T @ design / len(seen) + 0.3 * np.eye(3)
    best = np.linalg.solve(gram, design.T @ done / len(seen))
    np.testing.assert_allclose(theta(policy), best, atol=1e-3)
    assert policy.log_std.tolist() == [0.0, 0.0]


def test_l2_leaves_the_standard_deviation_alone() -> None:
    policy = linear(spaces.Box(-9, 9, (2,)), log_std_init=-1.0)
    seen, done = noisy_line()
    # The mean is 0 for good.
    for parameter in policy.action_net.parameters():
        parameter.requires_grad = False
        parameter.zero_()
    run(policy, seen, done, l2=10.0)
    size = np.sqrt((done**2).mean(0))
    np.testing.assert_allclose(policy.log_std.detach().exp(), size, rtol=1e-3)
