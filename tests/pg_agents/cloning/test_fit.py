"""Fits with known solutions, early stopping, and which parameters change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import A2C
from torch import Tensor

from pg_agents import REINFORCE, ActorCritic, clone_behaviour
from pg_agents.cloning.clone import CloningResult
from tests.pg_agents.cloning.helpers import (
    BOX,
    AnySpacesEnv,
    Noisy,
    a2c,
    equal,
    weights,
)

THREE = spaces.Discrete(3)
WIDE = spaces.Box(-9, 9, (2,))
# How often each action was taken in each of three states.
COUNTS = np.array([[6, 3, 1], [1, 1, 8], [4, 4, 2]])
FREQUENCIES = COUNTS / COUNTS.sum(1, keepdims=True)


def run(model: Any, observations: Any, actions: Any, **settings: Any) -> CloningResult:
    """Fits to all rows in full batches by default."""
    defaults: dict[str, Any] = {
        "n_epochs": 200,
        "batch_size": 1000,
        "learning_rate": 0.1,
        "held_out_fraction": 0.0,
        "patience": None,
        "seed": 0,
    }
    return clone_behaviour(model, observations, actions, **defaults | settings)


def table(**kwargs: Any) -> ActorCritic:
    env = AnySpacesEnv(THREE, THREE)
    return ActorCritic("TabularPolicy", env, policy_kwargs=kwargs, device="cpu")


def counted() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """States and actions with the frequencies of COUNTS."""
    states, actions = (index.flatten() for index in np.indices((3, 3)))
    return np.repeat(states, COUNTS.flatten()), np.repeat(actions, COUNTS.flatten())


def linear(action_space: spaces.Space[Any], **kwargs: Any) -> A2C:
    """A model whose output is linear in the observation."""
    return a2c(BOX, action_space, policy_kwargs={"net_arch": []} | kwargs)


def theta(model: Any) -> NDArray[Any]:
    """Returns weights and, below them, biases of a linear policy, `[3, A]`."""
    net = model.policy.action_net
    both = torch.cat([net.weight, net.bias[:, None]], dim=1)
    return both.detach().double().numpy().T


def logits(model: Any) -> Tensor:
    found: Tensor = model.policy.logits
    return found


def std(model: Any) -> Tensor:
    deviation: Tensor = model.policy.log_std.detach().exp()
    return deviation


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


def numpy_loss(model: Any, obs: Any, actions: Any) -> float:
    """The mean of -log softmax(W s + b)[a], by NumPy in float64."""
    logits = np.column_stack([obs, np.ones(len(obs))]) @ theta(model)
    log_sum = np.log(np.exp(logits).sum(1))
    return float((log_sum - logits[np.arange(len(actions)), actions]).mean())


def held_out_rows(
    obs: NDArray[Any], actions: NDArray[Any], fraction: float
) -> NDArray[np.int64]:
    """Returns the rows that are held out: those evaluated without gradients."""
    model: Any = linear(THREE)
    seen: list[NDArray[Any]] = []
    get = model.policy.get_distribution

    def watched(batch: Tensor) -> Any:
        if not torch.is_grad_enabled():
            seen.append(batch.numpy())
        return get(batch)

    model.policy.get_distribution = watched
    run(model, obs, actions, n_epochs=1, held_out_fraction=fraction)
    return np.flatnonzero((obs[:, None] == seen[0]).all(2).any(1))


# Closed-form solutions.


def test_a_table_becomes_the_action_frequencies() -> None:
    model = table()
    result = run(model, *counted())
    probs = torch.softmax(logits(model), 1).numpy()
    np.testing.assert_allclose(probs, FREQUENCIES, atol=1e-4)
    # The smallest possible loss is the entropy of the actions in each state.
    entropy = -(COUNTS * np.log(FREQUENCIES)).sum() / COUNTS.sum()
    assert result.training_losses[0] == pytest.approx(np.log(3), rel=1e-6)
    assert result.training_losses[-1] == pytest.approx(entropy, rel=1e-5)
    assert result.held_out_losses == ()
    assert (result.best_epoch, result.stop_reason) == (200, "n_epochs")


def test_the_entropy_bonus_satisfies_its_first_order_condition() -> None:
    """At the optimum f(a) / p(a) - c log p(a) is equal for all actions."""
    model = table()
    run(model, *counted(), ent_coef=0.5)
    probs = torch.softmax(logits(model), 1).numpy()
    slope = FREQUENCIES / probs - 0.5 * np.log(probs)
    np.testing.assert_allclose(slope, slope.mean(1, keepdims=True) + 0 * slope, 1e-3)
    assert probs[1].max() < FREQUENCIES[1].max() - 0.05


def test_a_gaussian_becomes_least_squares_with_the_residuals_as_std() -> None:
    model = linear(WIDE)
    obs, actions = noisy_line()
    run(model, obs, actions, n_epochs=300)
    design = np.column_stack([obs, np.ones(len(obs))])
    best, *_ = np.linalg.lstsq(design, actions)
    np.testing.assert_allclose(theta(model), best, atol=1e-3)
    residuals = np.sqrt(((actions - design @ best) ** 2).mean(0))
    np.testing.assert_allclose(std(model), residuals, rtol=1e-3)


def test_l2_is_ridge_regression_with_a_fixed_std() -> None:
    """With std 1 the objective is half the mean square plus l2 / 2 |theta|^2."""
    model = linear(WIDE)
    obs, actions = noisy_line()
    run(model, obs, actions, fit_std=False, l2=0.3)
    design = np.column_stack([obs, np.ones(len(obs))])
    gram = design.T @ design / len(obs) + 0.3 * np.eye(3)
    best = np.linalg.solve(gram, design.T @ actions / len(obs))
    np.testing.assert_allclose(theta(model), best, atol=1e-3)
    assert std(model).tolist() == [1.0, 1.0]


def test_l2_does_not_apply_to_the_standard_deviation() -> None:
    model = linear(WIDE, log_std_init=-1.0)
    obs, actions = noisy_line()
    # The mean is fixed at 0.
    for parameter in model.policy.action_net.parameters():
        parameter.requires_grad = False
        parameter.zero_()
    run(model, obs, actions, l2=10.0)
    size = np.sqrt((actions**2).mean(0))
    np.testing.assert_allclose(std(model), size, rtol=1e-3)


# Held-out loss and stopping.


def test_the_held_out_loss_is_the_mean_over_held_out_rows() -> None:
    obs, actions = unrelated()
    rows = held_out_rows(obs, actions, 0.125)
    assert len(rows) == 5
    model = linear(THREE)
    before = numpy_loss(model, obs[rows], actions[rows])
    # In batches of 2, 2 and 1: the mean is over rows, not over batches.
    settings = {"n_epochs": 1, "batch_size": 2, "held_out_fraction": 0.125}
    result = run(model, obs, actions, **settings)
    assert result.held_out_losses[0] == pytest.approx(before, rel=1e-6)
    after = numpy_loss(model, obs[rows], actions[rows])
    assert result.held_out_losses[result.best_epoch] == pytest.approx(after, rel=1e-6)


def test_early_stopping_restores_the_best_epoch() -> None:
    model = linear(THREE)
    obs, actions = unrelated()
    actions = np.where(obs[:, 0] > 0.0, 1, actions)
    rows = held_out_rows(obs, actions, 0.25)
    result = run(model, obs, actions, held_out_fraction=0.25, patience=7)
    losses = result.held_out_losses
    assert result.stop_reason == "patience"
    assert 0 < result.best_epoch == int(np.argmin(losses))
    assert len(losses) == result.best_epoch + 7 + 1 == len(result.training_losses) + 1
    final = numpy_loss(model, obs[rows], actions[rows])
    assert final == pytest.approx(min(losses), rel=1e-6)
    assert final < losses[-1]


def test_without_improvement_the_initial_weights_are_restored() -> None:
    obs, actions = np.arange(4.0)[:, None] * [1.0, 0.0], np.ones(4, dtype=np.int64)
    actions[held_out_rows(obs, actions, 0.25)] = 0
    model = linear(THREE)
    before = weights(model)
    settings = {"held_out_fraction": 0.25, "patience": 3, "n_epochs": 10}
    result = run(model, 0.0 * obs, actions, **settings)
    assert (result.best_epoch, len(result.training_losses)) == (0, 3)
    assert equal(weights(model), before)


@pytest.mark.parametrize(("at_call", "n_epochs"), [(2, 0), (5, 0), (6, 0), (13, 1)])
def test_ctrl_c_restores_the_best_weights_so_far(at_call: int, n_epochs: int) -> None:
    """Calls are four checks, held-out rows, then three batches and held-out rows."""
    obs, _ = unrelated()
    actions = (obs[:, 0] > 0).astype(np.int64)
    settings = {"held_out_fraction": 0.25, "batch_size": 10}
    model: Any = linear(THREE)
    calls: list[Any] = []
    get = model.policy.get_distribution

    def get_until(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == at_call:
            raise KeyboardInterrupt
        return get(*args)

    model.policy.get_distribution = get_until
    result = run(model, obs, actions, **settings)
    assert result.stop_reason == "interrupted"
    assert len(result.training_losses) == n_epochs
    other = linear(THREE)
    if n_epochs > 0:
        expected = run(other, obs, actions, n_epochs=n_epochs, **settings)
        assert result.held_out_losses == expected.held_out_losses
        assert result.best_epoch == 1
    assert equal(weights(model), weights(other))


@pytest.mark.parametrize("log_std_init", [-3.0, 0.0])
def test_divergence_is_reported(log_std_init: float) -> None:
    """A standard deviation of exp(1e30) is infinite, one of exp(-1e30) is 0."""
    model = linear(WIDE, log_std_init=log_std_init)
    message = r"in epoch [12]: learning_rate=1e\+30 may be too large"
    with pytest.raises(ValueError, match=message):
        run(model, *noisy_line(), learning_rate=1e30)


# What changes, and what does not.


def test_the_logits_of_a_table_stay_within_their_bounds() -> None:
    model = table(max_logit=0.25)
    run(model, *counted(), n_epochs=20)
    assert logits(model).abs().max() == 0.25


def test_the_norm_of_the_gradient_is_clipped() -> None:
    """Adam's first step is g / (|g| + 1e-8): it shows the size of a tiny gradient."""
    obs, actions = unrelated()
    for bound in (1e-9, 1e-8, np.inf):
        model = linear(THREE)
        before = theta(model)
        design = np.column_stack([obs, np.ones(len(obs))])
        probs = np.exp(design @ before)
        probs /= probs.sum(1, keepdims=True)
        gradient = design.T @ (probs - np.eye(3)[actions]) / len(obs)
        gradient *= min(1.0, bound / np.linalg.norm(gradient))
        run(model, obs, actions, n_epochs=1, max_grad_norm=bound)
        expected = before - 0.1 * gradient / (np.abs(gradient) + 1e-8)
        np.testing.assert_allclose(theta(model), expected, atol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_batch_norm_and_dropout_are_in_training_mode_only_while_training(
    shared: bool,
) -> None:
    obs, actions = unrelated(41)
    rows = held_out_rows(obs, actions, 0.25)
    model = linear(
        THREE, features_extractor_class=Noisy, share_features_extractor=shared
    )
    policy = model.policy
    # 31 rows in batches of at most 10: no batch is a single row.
    settings = {"n_epochs": 8, "batch_size": 10, "held_out_fraction": 0.25}
    result = run(model, obs + 3.0, actions, **settings)
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
            torch.as_tensor(obs[rows] + 3.0), torch.as_tensor(actions[rows])
        )
    loss = result.held_out_losses[result.best_epoch]
    assert loss == pytest.approx(-log_prob.mean().item(), rel=1e-6)


@pytest.mark.parametrize("critic", ["separate", "shared", "none"])
def test_only_parameters_of_the_policy_change(critic: str) -> None:
    kwargs = {"critic": critic, "net_arch": [8]}
    env = AnySpacesEnv(BOX, THREE)
    model = REINFORCE("MlpPolicy", env, policy_kwargs=kwargs, device="cpu")
    before = weights(model)
    run(model, *unrelated(), n_epochs=2, l2=0.1)
    for name, value in weights(model).items():
        assert torch.equal(value, before[name]) == ("value" in name), name


def test_frozen_parameters_do_not_change() -> None:
    model = linear(THREE)
    net: Any = model.policy.action_net
    net.bias.requires_grad = False
    run(model, *unrelated(), n_epochs=2)
    assert net.bias.tolist() == [0.0, 0.0, 0.0]


def test_the_progress_bar_shows_epochs_and_losses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"n_epochs": 3, "held_out_fraction": 0.1}
    result = run(linear(THREE), *unrelated(), progress_bar=True, **settings)
    text = capsys.readouterr().err
    assert "3/3" in text
    assert f"loss {result.training_losses[-1]:.4g}, " in text
    assert f"held out {result.held_out_losses[-1]:.4g}" in text
    run(linear(THREE), *unrelated(), **settings)
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
        run(table(), *counted(), **{argument: value})
