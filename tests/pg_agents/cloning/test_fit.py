"""Fits with known solutions, early stopping, and which parameters change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents import MlpPolicy, TabularPolicy
from pg_agents.cloning.fit import CloningResult, FitSettings, LikelihoodFit
from tests.pg_agents.cloning.helpers import BOX, Noisy

THREE = spaces.Discrete(3)
WIDE = spaces.Box(-9, 9, (2,))
NONE = np.zeros(0, dtype=np.int64)
# How often each action was taken in each of three states.
COUNTS = np.array([[6, 3, 1], [1, 1, 8], [4, 4, 2]])
FREQUENCIES = COUNTS / COUNTS.sum(1, keepdims=True)


def fit(
    policy: ActorCriticPolicy,
    observations: NDArray[Any],
    actions: NDArray[Any],
    held_out: NDArray[np.int64] = NONE,
    **settings: Any,
) -> LikelihoodFit:
    """A fit to all rows that are not held out, in full batches by default."""
    arguments: dict[str, Any] = {
        "n_epochs": 200,
        "batch_size": 1000,
        "learning_rate": 0.1,
        "ent_coef": 0.0,
        "l2": 0.0,
        "fit_std": True,
        "patience": None,
        "max_grad_norm": None,
    }
    training = np.setdiff1d(np.arange(len(actions)), held_out)
    return LikelihoodFit(
        policy,
        FitSettings(**arguments | settings),
        observations,
        actions,
        training,
        held_out,
        np.random.default_rng(0),
    )


def run(*args: Any, **settings: Any) -> CloningResult:
    return fit(*args, **settings).run(progress_bar=False)


def table(**kwargs: Any) -> TabularPolicy:
    return TabularPolicy(THREE, THREE, lambda _: 1e-3, **kwargs)


def counted() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """States and actions with the frequencies of COUNTS."""
    states, actions = (index.flatten() for index in np.indices((3, 3)))
    return np.repeat(states, COUNTS.flatten()), np.repeat(actions, COUNTS.flatten())


def linear(action_space: spaces.Space[Any], **kwargs: Any) -> ActorCriticPolicy:
    """A policy whose output is linear in the observation."""
    torch.manual_seed(0)
    return ActorCriticPolicy(BOX, action_space, lambda _: 1e-3, net_arch=[], **kwargs)


def theta(policy: ActorCriticPolicy) -> NDArray[Any]:
    """Returns weights and, below them, biases of a linear policy, `[3, A]`."""
    net: Any = policy.action_net
    both = torch.cat([net.weight, net.bias[:, None]], dim=1)
    return both.detach().double().numpy().T


def noisy_line(n: int = 60) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Observations `[n, 2]` and nearly linear actions `[n, 2]`."""
    rng = np.random.default_rng(5)
    obs = rng.uniform(-1, 1, (n, 2))
    noise = rng.normal(0, [0.1, 0.3], (n, 2))
    return obs, obs @ [[0.5, -1.0], [0.2, 0.4]] + [0.3, -0.1] + noise


def unrelated(n: int = 40) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Actions that are independent of the observations."""
    rng = np.random.default_rng(2)
    return rng.uniform(-1, 1, (n, 2)), rng.integers(0, 3, n)


def numpy_loss(policy: ActorCriticPolicy, obs: Any, actions: Any) -> float:
    """The mean of -log softmax(W s + b)[a], by NumPy in float64."""
    logits = np.column_stack([obs, np.ones(len(obs))]) @ theta(policy)
    log_sum = np.log(np.exp(logits).sum(1))
    return float((log_sum - logits[np.arange(len(actions)), actions]).mean())


# Closed-form solutions.


def test_a_table_becomes_the_action_frequencies() -> None:
    policy = table()
    result = run(policy, *counted())
    probs = torch.softmax(policy.logits, 1).numpy()
    np.testing.assert_allclose(probs, FREQUENCIES, atol=1e-4)
    # The smallest possible loss is the entropy of the actions in each state.
    entropy = -(COUNTS * np.log(FREQUENCIES)).sum() / COUNTS.sum()
    assert result.training_losses[0] == pytest.approx(np.log(3), rel=1e-6)
    assert result.training_losses[-1] == pytest.approx(entropy, rel=1e-5)
    assert result.held_out_losses == ()
    assert (result.best_epoch, result.stop_reason) == (200, "n_epochs")


def test_the_entropy_bonus_satisfies_its_first_order_condition() -> None:
    """At the optimum f(a) / p(a) - c log p(a) is equal for all actions."""
    policy = table()
    run(policy, *counted(), ent_coef=0.5)
    probs = torch.softmax(policy.logits, 1).numpy()
    slope = FREQUENCIES / probs - 0.5 * np.log(probs)
    np.testing.assert_allclose(slope, slope.mean(1, keepdims=True) + 0 * slope, 1e-3)
    assert probs[1].max() < FREQUENCIES[1].max() - 0.05


def test_a_gaussian_becomes_least_squares_with_the_residuals_as_std() -> None:
    policy = linear(WIDE)
    obs, actions = noisy_line()
    run(policy, obs, actions, n_epochs=300)
    design = np.column_stack([obs, np.ones(len(obs))])
    best, *_ = np.linalg.lstsq(design, actions)
    np.testing.assert_allclose(theta(policy), best, atol=1e-3)
    residuals = np.sqrt(((actions - design @ best) ** 2).mean(0))
    np.testing.assert_allclose(policy.log_std.detach().exp(), residuals, rtol=1e-3)


def test_l2_is_ridge_regression_with_a_fixed_std() -> None:
    """With std 1 the objective is half the mean square plus l2 / 2 |theta|^2."""
    policy = linear(WIDE)
    obs, actions = noisy_line()
    run(policy, obs, actions, fit_std=False, l2=0.3)
    design = np.column_stack([obs, np.ones(len(obs))])
    gram = design.T @ design / len(obs) + 0.3 * np.eye(3)
    best = np.linalg.solve(gram, design.T @ actions / len(obs))
    np.testing.assert_allclose(theta(policy), best, atol=1e-3)
    assert policy.log_std.tolist() == [0.0, 0.0]


def test_l2_does_not_apply_to_the_standard_deviation() -> None:
    policy = linear(WIDE, log_std_init=-1.0)
    obs, actions = noisy_line()
    # The mean is fixed at 0.
    for parameter in policy.action_net.parameters():
        parameter.requires_grad = False
        parameter.zero_()
    run(policy, obs, actions, l2=10.0)
    size = np.sqrt((actions**2).mean(0))
    np.testing.assert_allclose(policy.log_std.detach().exp(), size, rtol=1e-3)


# Held-out loss and stopping.


def test_the_held_out_loss_is_the_mean_over_held_out_rows() -> None:
    policy = linear(THREE)
    obs, actions = unrelated()
    held_out = np.array([3, 30, 11, 8, 1])
    before = numpy_loss(policy, obs[held_out], actions[held_out])
    # In batches of 2, 2 and 1: the mean is over rows, not over batches.
    result = run(policy, obs, actions, held_out, n_epochs=1, batch_size=2)
    assert result.held_out_losses[0] == pytest.approx(before, rel=1e-6)
    after = numpy_loss(policy, obs[held_out], actions[held_out])
    assert result.held_out_losses[result.best_epoch] == pytest.approx(after, rel=1e-6)


def test_early_stopping_restores_the_best_epoch() -> None:
    policy = linear(THREE)
    obs, actions = unrelated()
    held_out = np.arange(10)
    result = run(policy, obs, actions, held_out, patience=7)
    losses = result.held_out_losses
    assert result.stop_reason == "patience" and result.stopped_early
    assert 0 < result.best_epoch == int(np.argmin(losses))
    assert len(losses) == result.best_epoch + 7 + 1 == len(result.training_losses) + 1
    final = numpy_loss(policy, obs[held_out], actions[held_out])
    assert final == pytest.approx(min(losses), rel=1e-6)
    assert final < losses[-1]


def test_without_improvement_the_initial_weights_are_restored() -> None:
    policy = linear(THREE)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    obs, actions = np.zeros((4, 2)), np.array([0, 1, 1, 1])
    result = run(policy, obs, actions, np.array([0]), patience=3, n_epochs=10)
    assert (result.best_epoch, len(result.training_losses)) == (0, 3)
    for name, value in policy.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(("at_call", "n_epochs"), [(1, 0), (2, 0), (9, 1)])
def test_ctrl_c_restores_the_best_weights_so_far(at_call: int, n_epochs: int) -> None:
    """Calls are: held-out rows, then three batches and held-out rows each epoch."""
    obs, _ = unrelated()
    actions, held_out = (obs[:, 0] > 0).astype(np.int64), np.arange(10)
    policy, calls = linear(THREE), []
    evaluate = policy.evaluate_actions

    def evaluate_until(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == at_call:
            raise KeyboardInterrupt
        return evaluate(*args)

    policy.evaluate_actions = evaluate_until  # type: ignore[method-assign, assignment]
    result = run(policy, obs, actions, held_out, batch_size=10)
    assert result.stop_reason == "interrupted"
    assert len(result.training_losses) == n_epochs
    other = linear(THREE)
    if n_epochs > 0:
        expected = run(other, obs, actions, held_out, batch_size=10, n_epochs=n_epochs)
        assert result.held_out_losses == expected.held_out_losses
        assert result.best_epoch == 1
    for value, same in zip(policy.parameters(), other.parameters(), strict=True):
        assert torch.equal(value, same)


@pytest.mark.parametrize(
    ("log_std_init", "message"),
    [(-3.0, "the loss became nan in epoch 2"), (0.0, "has no valid distribution")],
)
def test_divergence_is_reported(log_std_init: float, message: str) -> None:
    """A standard deviation of exp(1e30) is infinite, one of exp(-1e30) is 0."""
    policy = linear(WIDE, log_std_init=log_std_init)
    with pytest.raises(ValueError, match=message) as caught:
        run(policy, *noisy_line(), learning_rate=1e30)
    assert "learning_rate=1e+30 may be too large" in str(caught.value)


# What changes, and what does not.


def test_the_logits_of_a_table_stay_within_their_bounds() -> None:
    policy = table(max_logit=0.25)
    run(policy, *counted(), n_epochs=20)
    assert policy.logits.abs().max() == 0.25


def test_the_norm_of_the_gradient_is_clipped() -> None:
    """Adam is invariant to its scale, so the gradient itself is compared."""
    norms = []
    for bound in (None, 1e-3):
        policy = linear(THREE)
        run(policy, *unrelated(), n_epochs=1, max_grad_norm=bound)
        gradients = [p.grad for p in policy.action_net.parameters()]
        norms.append(float(sum((g**2).sum() for g in gradients if g is not None)))
    assert norms[0] ** 0.5 > 2e-3
    assert norms[1] ** 0.5 == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("shared", [False, True])
def test_batch_norm_and_dropout_are_in_training_mode_only_while_training(
    shared: bool,
) -> None:
    policy = linear(
        THREE, features_extractor_class=Noisy, share_features_extractor=shared
    )
    obs, actions = unrelated(41)
    obs, held_out = obs + 3.0, np.arange(10)
    # 31 rows in batches of at most 10: no batch is a single row.
    result = run(policy, obs, actions, held_out, n_epochs=8, batch_size=10)
    statistics = {
        name: getattr(policy, f"{name}_features_extractor").body[0].running_mean
        for name in ("pi", "vf")
    }
    assert torch.all(statistics["pi"] > 1.0)
    # The critic's own statistics do not change.
    assert torch.all(statistics["vf"] > 1.0 if shared else statistics["vf"] == 0.0)
    policy.set_training_mode(False)
    with torch.no_grad():
        _, log_prob, _ = policy.evaluate_actions(
            torch.as_tensor(obs[:10]), torch.as_tensor(actions[:10])
        )
    loss = result.held_out_losses[result.best_epoch]
    assert loss == pytest.approx(-log_prob.mean().item(), rel=1e-6)


@pytest.mark.parametrize("critic", ["separate", "shared", "none"])
def test_only_parameters_of_the_policy_change(critic: Any) -> None:
    policy = MlpPolicy(BOX, THREE, lambda _: 1e-3, critic=critic, net_arch=[8])
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    run(policy, *unrelated(), n_epochs=2, l2=0.1)
    for name, value in policy.state_dict().items():
        assert torch.equal(value, before[name]) == ("value" in name), name


def test_frozen_parameters_do_not_change() -> None:
    policy = linear(THREE)
    net: Any = policy.action_net
    net.bias.requires_grad = False
    run(policy, *unrelated(), n_epochs=2)
    assert net.bias.tolist() == [0.0, 0.0, 0.0]


def test_the_progress_bar_shows_epochs_and_losses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fitting = fit(linear(THREE), *unrelated(), np.arange(5), n_epochs=3)
    result = fitting.run(progress_bar=True)
    text = capsys.readouterr().err
    assert "3/3" in text
    assert f"loss {result.training_losses[-1]:.4g}, " in text
    assert f"held out {result.held_out_losses[-1]:.4g}" in text
    fit(linear(THREE), *unrelated(), n_epochs=1).run(progress_bar=False)
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
def test_invalid_settings_are_rejected(
    argument: str, value: Any, accepted: str
) -> None:
    with pytest.raises(ValueError, match=rf"{argument} must be {accepted}, got"):
        fit(table(), *counted(), **{argument: value})
