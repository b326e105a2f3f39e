"""Correct gradients pass; planted mistakes are detected and identified."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pitfalls
import pytest
import torch
from torch import Tensor, nn

from pg_agents import check_policy_gradient
from pg_agents.checker import CATALOGUE, CannotCheckError, EpisodeBatch, GradientReport
from pg_agents.checker.diagnosis import Diagnosis
from pg_agents.checker.function_subject import TablePolicy
from pg_envs import TabularEnv, TabularMDP, mdp_from_env, sequence_mdp
from proofs.unbiased_losses import LOSSES, discounted_to_go, loss_of

# Those that have an estimator, or another test of their own.
KEYS = [
    mistake.key
    for mistake in CATALOGUE
    if mistake.estimators or mistake.key in ("gamma_dropped", "replay", "entropy_sign")
]
FEW = 2048
AT_TRUNCATION: dict[str, Any] = {"horizon": 6, "bootstrap": True}


def settings(key: str) -> dict[str, Any]:
    return AT_TRUNCATION if key == "no_bootstrap_at_truncation" else {}


def planted(key: str) -> Callable[..., Tensor]:
    found: Callable[..., Tensor] = (
        # With a memory of its own: the tests' order doesn't matter.
        pitfalls.Replay() if key == "replay" else getattr(pitfalls, key)
    )
    return found


def diagnosis_of(report: GradientReport) -> Diagnosis:
    assert report.diagnosis is not None, str(report)
    return report.diagnosis


def test_every_mistake_of_the_catalogue_is_planted() -> None:
    keys = {mistake.key for mistake in CATALOGUE}
    assert len(keys) == len(CATALOGUE)
    in_scripts = set(pitfalls.IN_SCRIPTS)
    assert in_scripts <= keys
    assert {key for key in keys if hasattr(pitfalls, key)} == keys - in_scripts


@pytest.mark.parametrize(
    "n_episodes", [FEW, pytest.param(None, marks=pytest.mark.slow, id="default")]
)
@pytest.mark.parametrize("key", KEYS)
def test_planted_mistakes_are_identified(key: str, n_episodes: int | None) -> None:
    if key == "replay" and n_episodes is not None:
        n_episodes *= 2
    report = check_policy_gradient(planted(key), n_episodes=n_episodes, **settings(key))
    assert not report.unbiased
    assert diagnosis_of(report).key == key
    assert diagnosis_of(report).match == "equal"


def test_a_correct_gradient_is_unbiased_without_diagnosis() -> None:
    report = check_policy_gradient(pitfalls.right, n_episodes=FEW)
    assert report.unbiased and report.diagnosis is None
    # The control variates remove all noise of this estimator: rounding remains.
    assert report.relative_bias_interval[1] < 1e-5
    assert report.cosine == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("env", "n_episodes"),
    # FrozenLake has rare rewards and needs the default sample size.
    [("PGToy-Sequence-v0", 4096), ("FrozenLake-v1", None)],
)
def test_unbiased_estimators_pass(name: str, env: str, n_episodes: int | None) -> None:
    """The false-alarm rate is 1 in 10,000; docs/checker.md counts alarms."""
    report = check_policy_gradient(LOSSES[name], env, n_episodes=n_episodes)
    assert report.unbiased
    assert report.relative_bias_interval[0] == 0.0


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_other_discounts(gamma: float) -> None:
    assert check_policy_gradient(pitfalls.right, gamma=gamma, n_episodes=2048).unbiased
    dropped = check_policy_gradient(
        pitfalls.gamma_dropped, gamma=gamma, n_episodes=2048
    )
    assert dropped.unbiased == (gamma == 1.0)


def test_bootstrapping_at_the_time_limit_is_unbiased() -> None:
    def bootstrapped(batch: EpisodeBatch, policy: Any) -> Tensor:
        later = batch.gamma * batch.next_values * ~batch.terminated
        weight = batch.gamma**batch.time * (batch.rewards + later - batch.values)
        return loss_of(weight, batch, policy)

    few: dict[str, Any] = {"n_episodes": FEW}
    assert check_policy_gradient(bootstrapped, **few, **AT_TRUNCATION).unbiased
    # If the limit is part of the task, next_values is 0 there.
    assert check_policy_gradient(bootstrapped, **few, horizon=6).unbiased


# Variants of mistakes, and combinations with gamma^t dropped.


def sum_for_mean(batch: EpisodeBatch, policy: Any) -> Tensor:
    return pitfalls.right(batch, policy) * len(batch)


def sign_and_gamma(batch: EpisodeBatch, policy: Any) -> Tensor:
    return -pitfalls.gamma_dropped(batch, policy)


def probability_and_gamma(batch: EpisodeBatch, policy: Any) -> Tensor:
    returns = torch.cat([pitfalls.reward_to_go(e) for e in batch])
    probs = pitfalls.log_probs(batch, policy).exp()
    return -(returns * probs).sum() / len(batch)


def flipped_with_baseline(batch: EpisodeBatch, policy: Any) -> Tensor:
    weight = discounted_to_go(batch) - 0.3 * batch.gamma**batch.time
    return -loss_of(weight, batch, policy)


def mean_of_all_steps(batch: EpisodeBatch, policy: Any) -> Tensor:
    returns = torch.cat([pitfalls.reward_to_go(e) for e in batch])
    return loss_of(returns - returns.mean(), batch, policy)


def standardized_per_episode(batch: EpisodeBatch, policy: Any) -> Tensor:
    def scaled(returns: Tensor) -> Tensor:
        if len(returns) < 2:
            return returns
        return (returns - returns.mean()) / (returns.std() + 1e-8)

    weight = torch.cat([scaled(pitfalls.reward_to_go(e)) for e in batch])
    return loss_of(weight, batch, policy)


def rounded_half(batch: EpisodeBatch, policy: Any) -> Tensor:
    weight = torch.cat([pitfalls.reward_to_go(e) for e in batch]).round()
    return loss_of(weight, batch, policy)


def right_bonus(batch: EpisodeBatch, policy: Any) -> Tensor:
    entropy: Tensor = policy(batch.observations).entropy().sum() / len(batch)
    return pitfalls.right(batch, policy) - 0.05 * entropy


@pytest.mark.parametrize(
    ("loss", "key"),
    [
        (sum_for_mean, "scaled"),
        (sign_and_gamma, "sign_flipped"),
        (probability_and_gamma, "probability"),
        (flipped_with_baseline, "sign_flipped"),
        (mean_of_all_steps, "batch_mean_baseline"),
        (standardized_per_episode, "standardized"),
        (rounded_half, "rounded"),
        (right_bonus, "entropy_bonus"),
    ],
)
def test_variants_of_mistakes_are_identified(
    loss: Callable[..., Tensor], key: str
) -> None:
    assert diagnosis_of(check_policy_gradient(loss, n_episodes=4096)).key == key


def test_an_unknown_mistake_gets_the_closest_match_without_explanation() -> None:
    def only_first_step(batch: EpisodeBatch, policy: Any) -> Tensor:
        weight = discounted_to_go(batch) * (batch.time == 0)
        return loss_of(weight, batch, policy)

    report = check_policy_gradient(only_first_step, n_episodes=4096)
    assert diagnosis_of(report).match == "closest"
    assert "No mistake of the catalogue matches" in str(report)
    assert diagnosis_of(report).explanation not in str(report)


def test_gradients_may_be_flat_in_parts_or_numpy() -> None:
    def flat(batch: EpisodeBatch, policy: nn.Module) -> Tensor:
        gradient: Tensor = torch.autograd.grad(
            -pitfalls.right(batch, policy), list(policy.parameters())
        )[0]
        return gradient.flatten()

    def in_parts(batch: EpisodeBatch, policy: nn.Module) -> list[Tensor]:
        return [flat(batch, policy).reshape(3, 3)]

    def numpy(batch: EpisodeBatch, policy: nn.Module) -> np.ndarray[Any, Any]:
        return flat(batch, policy).numpy()

    for form in (flat, in_parts, numpy):
        assert check_policy_gradient(form, n_episodes=2048).unbiased


def test_env_may_be_an_mdp_an_environment_or_an_id() -> None:
    tables = sequence_mdp()
    for env in (tables, TabularEnv(tables), gymnasium.make("PGToy-Sequence-v0")):
        report = check_policy_gradient(pitfalls.right, env, n_episodes=2048)
        assert report.unbiased
    lake = mdp_from_env(gymnasium.make("FrozenLake-v1", is_slippery=False))
    assert check_policy_gradient(pitfalls.right, lake).unbiased
    assert isinstance(lake, TabularMDP)


def test_a_custom_policy_is_used_and_not_changed() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 3))
    before = [p.detach().clone() for p in network.parameters()]

    def loss(batch: EpisodeBatch, policy: nn.Module) -> Tensor:
        assert policy is network
        chosen = torch.log_softmax(policy(batch.observations), 1).gather(
            1, batch.actions[:, None]
        )
        return -(discounted_to_go(batch) * chosen[:, 0]).sum() / len(batch)

    assert check_policy_gradient(loss, policy=network, n_episodes=2048).unbiased
    after = list(network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_same_seed_gives_the_same_report() -> None:
    def strip(report: GradientReport) -> dict[str, Any]:
        return {k: v for k, v in report.to_dict().items() if k != "seconds"}

    loss = LOSSES["leave-one-out"]
    one = check_policy_gradient(loss, n_episodes=2048, seed=3)
    assert strip(one) == strip(check_policy_gradient(loss, n_episodes=2048, seed=3))
    assert one.p_value != check_policy_gradient(loss, n_episodes=2048, seed=4).p_value


def test_global_random_states_are_preserved() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist()
    torch.manual_seed(1)
    np.random.seed(1)
    check_policy_gradient(pitfalls.right, n_episodes=2048)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist()) == expected


def test_an_insufficient_sample_is_undecided() -> None:
    report = check_policy_gradient(
        LOSSES["leave-one-out"], "FrozenLake-v1", n_episodes=2048
    )
    assert report.verdict == "undecided" and report.diagnosis is None
    assert any("Raise n_episodes" in note for note in report.notes)


@pytest.mark.parametrize("certainty", [5.0, 15.0])
def test_a_nearly_deterministic_policy_is_undecided(certainty: float) -> None:
    """All sampled episodes are equal; the others determine the gradient."""
    policy = TablePolicy(sequence_mdp().observations, 3)
    with torch.no_grad():
        policy.logits.zero_()
        policy.logits[[0, 1, 2], [2, 2, 1]] = certainty
    report = check_policy_gradient(pitfalls.right, policy=policy, n_episodes=2048)
    assert report.verdict == "undecided" and report.diagnosis is None
    assert any("nearly deterministic" in note for note in report.notes)


def test_a_gradient_of_zero_is_wrong_and_repeatable() -> None:
    """Resampled actions are independent of the returns, so the mean is zero."""

    def resampled_actions(batch: EpisodeBatch, policy: Any) -> Tensor:
        distribution = policy(batch.observations)
        log_prob: Tensor = distribution.log_prob(distribution.sample())
        return -(discounted_to_go(batch) * log_prob).sum() / len(batch)

    one, two = (
        check_policy_gradient(resampled_actions, n_episodes=4096) for _ in range(2)
    )
    assert one.verdict == "wrong"
    assert abs(one.factor) < 0.1
    assert one.cosine == two.cosine


def test_ambiguous_mistakes_are_named_in_order_of_the_catalogue() -> None:
    """On the bandit several mistakes give the same gradient."""
    report = check_policy_gradient(
        pitfalls.gamma_dropped, "PGToy-Bandit-v0", horizon=10, n_episodes=4096
    )
    assert diagnosis_of(report).key == "gamma_dropped"


def backward_itself(batch: EpisodeBatch, policy: Any) -> Tensor:
    loss = pitfalls.right(batch, policy)
    loss.backward()
    return loss


def optimizer_inside(batch: EpisodeBatch, policy: nn.Module) -> Tensor:
    loss = pitfalls.right(batch, policy)
    torch.optim.SGD(policy.parameters(), lr=0.1)
    for p in policy.parameters():
        p.data += 0.1
    return loss


def other_parameters(batch: EpisodeBatch, policy: Any) -> Tensor:
    return torch.ones(2, requires_grad=True).sum()


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (lambda b, p: None, "returned NoneType; accepted are a scalar loss"),
        (lambda b, p: p(b.observations).log_prob(b.actions), "has to be summed"),
        (lambda b, p: [torch.zeros(2)], r"in parts \[\[2\]\].*\[\[3, 3\]\]"),
        (lambda b, p: ["x"], "in parts"),
        (lambda b, p: (pitfalls.right(b, p), {}), "return only the loss"),
        (lambda b, p: pitfalls.right(b, p) * float("nan"), "loss is NaN"),
        (lambda b, p: torch.full((9,), torch.inf), "gradient is NaN or infinite in 9"),
        (lambda b, p: pitfalls.right(b, p).detach(), "detached"),
        (lambda b, p: pitfalls.right(b, p).item(), "detached"),
        (other_parameters, "no gradient: it depends on other parameters"),
        (backward_itself, "return the loss instead"),
        (optimizer_inside, "changed the policy's parameters"),
    ],
)
def test_invalid_results_of_functions_are_rejected(
    subject: Callable[..., Any], message: str
) -> None:
    with pytest.raises(CannotCheckError, match=message):
        check_policy_gradient(subject, n_episodes=2048)


def test_exceptions_of_the_function_propagate() -> None:
    def broken(batch: EpisodeBatch, policy: Any) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        check_policy_gradient(broken)


class Blind(nn.Module):
    """Logits that do not depend on the observation."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.1, 0.2, 0.3]))

    def forward(self, observations: Tensor) -> Tensor:
        return self.logits.expand(len(observations), 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"env": "CartPole-v1"}, TypeError, "CartPole-v1 is not tabular"),
        ({"env": 3}, TypeError, "the id of an environment, a Gymnasium environment"),
        ({"env": "No-Such-v0"}, gymnasium.error.Error, "No-Such"),
        ({"policy": Blind()}, CannotCheckError, "ignores its observations"),
        ({"gamma": 1.5}, ValueError, r"gamma must lie in \[0, 1\], got 1.5"),
        ({"gamma": "0.9"}, ValueError, r"gamma must lie in \[0, 1\]"),
        ({"batch_size": 6}, ValueError, "multiple of n_envs, got 6 and 4"),
        ({"critic": "mine"}, ValueError, "critic must be one of 'own', 'exact'"),
        ({"subject": 3}, TypeError, r"function \(batch, policy\), got 3"),
        ({"subject": lambda b: b}, TypeError, "called with two arguments"),
        ({"subject": lambda a, b, c: a}, TypeError, "called with two arguments"),
        ({"policy": nn.Linear(1, 5)}, CannotCheckError, "3 actions.* gives 5"),
    ],
)
def test_invalid_arguments_are_rejected(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_policy_gradient(**{"subject": pitfalls.right, **arguments})


def test_a_task_with_zero_gradient_is_rejected() -> None:
    nothing = sequence_mdp(step_cost=0.0, goal_reward=0.0)
    with pytest.raises(CannotCheckError, match="exact gradient is zero"):
        check_policy_gradient(pitfalls.right, nothing)
