"""Fitting: which weights are kept, which are left alone, and when it stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents import MlpPolicy
from pg_agents.cloning.likelihood_fit import CloningResult
from tests.pg_agents.cloning.fits import (
    BOX,
    THREE,
    Noisy,
    counted,
    fit,
    guesses,
    linear,
    noisy_line,
    run,
    table,
    theta,
)


def numpy_loss(policy: ActorCriticPolicy, seen: Any, done: Any) -> float:
    """The mean of -log softmax(W s + b)[a], by NumPy in double precision."""
    logits = np.column_stack([seen, np.ones(len(seen))]) @ theta(policy)
    log_sum = np.log(np.exp(logits).sum(1))
    return float((log_sum - logits[np.arange(len(done)), done]).mean())


def test_the_held_out_loss_is_that_of_the_rows_held_out() -> None:
    policy = linear(THREE)
    seen, done = guesses()
    held_out = np.array([3, 30, 11, 8, 1])
    before = numpy_loss(policy, seen[held_out], done[held_out])
    # In batches of 2, 2 and 1: the mean is over rows, not over batches.
    result = run(policy, seen, done, held_out, n_epochs=1, batch_size=2)
    assert result.held_out_losses[0] == pytest.approx(before, rel=1e-6)
    after = numpy_loss(policy, seen[held_out], done[held_out])
    assert result.held_out_losses[result.best_epoch] == pytest.approx(after, rel=1e-6)


def test_an_early_stop_keeps_the_best_epoch() -> None:
    policy = linear(THREE)
    seen, done = guesses()
    held_out = np.arange(10)
    result = run(policy, seen, done, held_out, patience=7)
    losses = result.held_out_losses
    assert result.stop_reason == "patience"
    assert result.stopped_early
    assert 0 < result.best_epoch == int(np.argmin(losses))
    assert len(losses) == result.best_epoch + 7 + 1 == len(result.training_losses) + 1
    kept = numpy_loss(policy, seen[held_out], done[held_out])
    assert kept == pytest.approx(min(losses), rel=1e-6)
    assert kept < losses[-1]


def test_a_policy_that_only_gets_worse_stays_what_it_was() -> None:
    policy = linear(THREE)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    seen, done = np.zeros((4, 2)), np.array([0, 1, 1, 1])
    result = run(policy, seen, done, np.array([0]), patience=3, n_epochs=10)
    assert (result.best_epoch, len(result.training_losses)) == (0, 3)
    for name, value in policy.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("at_call", [1, 2, 9])
def test_ctrl_c_keeps_the_best_weights_so_far(at_call: int) -> None:
    """Calls are: held-out rows, then three batches and held-out rows each epoch."""
    seen, _ = guesses()
    done, held_out = (seen[:, 0] > 0).astype(np.int64), np.arange(10)

    def interrupted(policy: Any, **settings: Any) -> CloningResult:
        return run(policy, seen, done, held_out, batch_size=10, **settings)

    policy, calls = linear(THREE), []
    evaluate = policy.evaluate_actions

    def evaluate_until(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == at_call:
            raise KeyboardInterrupt
        return evaluate(*args)

    policy.evaluate_actions = evaluate_until  # type: ignore[method-assign, assignment]
    result = interrupted(policy)
    assert result.stop_reason == "interrupted"
    n_epochs = len(result.training_losses)
    assert n_epochs == {1: 0, 2: 0, 9: 1}[at_call]
    other = linear(THREE)
    if n_epochs > 0:
        expected = interrupted(other, n_epochs=n_epochs)
        assert result.held_out_losses == expected.held_out_losses
        assert result.best_epoch == 1
    for value, same in zip(policy.parameters(), other.parameters(), strict=True):
        assert torch.equal(value, same)


@pytest.mark.parametrize(
    ("log_std_init", "message"),
    [(-3.0, "the loss became nan in epoch 2"), (0.0, "gives no probabilities")],
)
def test_a_fit_that_diverges_is_reported(log_std_init: float, message: str) -> None:
    """A standard deviation of exp(1e30) is infinite, one of exp(-1e30) is 0."""
    policy = linear(spaces.Box(-9, 9, (2,)), log_std_init=log_std_init)
    with pytest.raises(ValueError, match=message) as caught:
        run(policy, *noisy_line(), learning_rate=1e30)
    assert "learning_rate=1e+30 may be too large" in str(caught.value)


def test_the_logits_of_a_table_stay_within_their_bounds() -> None:
    policy = table(max_logit=0.25)
    run(policy, *counted(), n_epochs=20)
    assert policy.logits.abs().max() == 0.25


def test_the_norm_of_the_gradient_is_bounded() -> None:
    """Adam is blind to the scale, so that a gradient is watched as it is used."""
    norms = []
    for bound in (None, 1e-3):
        policy = linear(THREE)
        run(policy, *guesses(), n_epochs=1, max_grad_norm=bound)
        gradients = [p.grad for p in policy.action_net.parameters()]
        norms.append(float(sum((g**2).sum() for g in gradients if g is not None)))
    assert norms[0] ** 0.5 > 2e-3
    assert norms[1] ** 0.5 == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("shared", [False, True])
def test_batch_norm_and_dropout_are_on_in_fitting_and_off_in_judging(
    shared: bool,
) -> None:
    policy = linear(
        THREE, features_extractor_class=Noisy, share_features_extractor=shared
    )
    seen, done = guesses(41)
    seen, held_out = seen + 3.0, np.arange(10)
    # 31 rows in batches of at most 10: no batch is a single row.
    result = run(policy, seen, done, held_out, n_epochs=8, batch_size=10)
    statistics = {
        name: getattr(policy, f"{name}_features_extractor").body[0].running_mean
        for name in ("pi", "vf")
    }
    assert torch.all(statistics["pi"] > 1.0)
    # What is the critic's alone has seen nothing of it.
    assert torch.all(statistics["vf"] > 1.0 if shared else statistics["vf"] == 0.0)
    policy.set_training_mode(False)
    with torch.no_grad():
        _, log_prob, _ = policy.evaluate_actions(
            torch.as_tensor(seen[:10]), torch.as_tensor(done[:10])
        )
    judged = result.held_out_losses[result.best_epoch]
    assert judged == pytest.approx(-log_prob.mean().item(), rel=1e-6)


@pytest.mark.parametrize("critic", ["separate", "shared", "none"])
def test_only_what_the_policy_depends_on_is_fitted(critic: Any) -> None:
    policy = MlpPolicy(BOX, THREE, lambda _: 1e-3, critic=critic, net_arch=[8])
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    run(policy, *guesses(), n_epochs=2, l2=0.1)
    for name, value in policy.state_dict().items():
        is_critics = "value" in name
        assert torch.equal(value, before[name]) == is_critics, name


def test_parameters_that_were_frozen_stay() -> None:
    policy = linear(THREE)
    net: Any = policy.action_net
    net.bias.requires_grad = False
    run(policy, *guesses(), n_epochs=2)
    assert net.bias.tolist() == [0.0, 0.0, 0.0]


def test_the_progress_bar_shows_epochs_and_both_losses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fitting = fit(linear(THREE), *guesses(), np.arange(5), n_epochs=3)
    result = fitting.run(progress_bar=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert f"loss {result.training_losses[-1]:.4g}, " in shown
    assert f"held out {result.held_out_losses[-1]:.4g}" in shown
    fit(linear(THREE), *guesses(), n_epochs=1).run(progress_bar=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("argument", "value", "accepted"),
    [
        ("n_epochs", 0, "an integer >= 1"),
        ("batch_size", 2.5, "an integer >= 1"),
        ("learning_rate", 0.0, "a finite number > 0"),
        ("ent_coef", -1.0, "a finite number >= 0"),
        ("l2", float("nan"), "a finite number >= 0"),
        ("patience", 0, "an integer >= 1"),
        ("max_grad_norm", 0.0, "a number > 0"),
    ],
)
def test_settings_out_of_range_are_refused(
    argument: str, value: Any, accepted: str
) -> None:
    with pytest.raises(ValueError, match=rf"{argument} must be {accepted}, got"):
        fit(table(), *counted(), **{argument: value})
