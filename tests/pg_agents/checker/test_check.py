"""Correct gradients pass; planted mistakes are detected and identified."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pitfalls
import pytest
import torch
from torch import Tensor, nn

from pg_agents import check_policy_gradient
from pg_agents.checker import (
    CATALOGUE,
    CannotCheckError,
    EpisodeBatch,
    GradientReport,
    assert_policy_gradient,
)
from pg_envs import TabularEnv, TabularMDP, bandit_mdp, mdp_from_env, sequence_mdp
from proofs.unbiased_losses import LOSSES, discounted_to_go, loss_of

SEQUENCE, LAKE = "PGToy-Sequence-v0", "FrozenLake-v1"
KEYS = [m.key for m in CATALOGUE if m.key not in pitfalls.IN_SCRIPTS]
DEPARTURES = {m.key for m in CATALOGUE if m.kind == "departure"}
# No formula reproduces them.
BY_OTHER_MEANS = ("replay", "nan_deviation", "action_resampled")
QUICK_KEYS = ("probability", "off_by_one", "mean_over_steps", "state_value_weight")
AT_TRUNCATION: dict[str, Any] = {"horizon": 6, "bootstrap": True}


def settings(key: str) -> dict[str, Any]:
    return AT_TRUNCATION if key == "no_bootstrap_at_truncation" else {}


def planted(key: str) -> Callable[..., Tensor]:
    found: Callable[..., Tensor] = (
        # With a memory of its own: the tests' order doesn't matter.
        pitfalls.Replay() if key == "replay" else getattr(pitfalls, key)
    )
    return found


def named(report: GradientReport) -> set[str]:
    """The keys that are asserted."""
    if report.ties:
        return set()
    return {f.key for f in report.findings if f.kind != "factor"}


def quick(subject: Any, **arguments: Any) -> GradientReport:
    """Checks on a single task with a small sample, unless told otherwise."""
    few: dict[str, Any] = {"env": SEQUENCE, "n_episodes": 2048, "progress_bar": False}
    return check_policy_gradient(subject, **{**few, **arguments})


def test_every_mistake_of_the_catalogue_is_planted() -> None:
    keys = {mistake.key for mistake in CATALOGUE}
    assert len(keys) == len(CATALOGUE)
    in_scripts = set(pitfalls.IN_SCRIPTS)
    assert in_scripts <= keys
    assert {key for key in keys if hasattr(pitfalls, key)} == keys - in_scripts


@pytest.mark.parametrize(
    "key",
    [
        # The slow tests are those of the whole catalogue.
        pytest.param(key, marks=[] if key in QUICK_KEYS else pytest.mark.slow)
        for key in KEYS
        if key not in BY_OTHER_MEANS
    ],
)
def test_planted_mistakes_are_identified_on_the_battery(key: str) -> None:
    report = check_policy_gradient(planted(key), **settings(key))
    assert report.formula is not None and report.residual < 1e-4  # type: ignore[operator]
    assert named(report) == {key}


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("broadcast_advantage", "all_returns(batch) - batch.values[:, None]"),
        ("probability", "probs = log_probs(batch, policy).exp()"),
        ("double_softmax", "functional.cross_entropy(probs, batch.actions"),
        ("sign_flipped", ""),
    ],
)
def test_a_functions_report_says_where_in_its_file(key: str, text: str) -> None:
    subject = planted(key)
    lines, first = inspect.getsourcelines(subject)
    report = quick(subject)
    (mistake,) = (f for f in report.findings if f.key == key)
    assert report.backward is None and report.loss is not None
    for place in (report.loss, mistake.place or report.loss):
        assert Path(place.file).name == "pitfalls.py"
        assert first <= place.line <= place.end_line < first + len(lines)
    assert (mistake.place is not None) == bool(text)
    assert mistake.place is None or text in mistake.place.code


@pytest.mark.slow
def test_no_action_of_the_batch_is_no_gradient() -> None:
    report = quick(pitfalls.action_resampled, n_episodes=8192)
    assert report.verdict == "no gradient" and report.exit_status == 1
    assert report.tasks[0].cosine is None


@pytest.mark.slow
def test_learning_from_earlier_policies_is_named() -> None:
    report = quick(planted("replay"), n_episodes=4096)
    assert report.verdict == "wrong" and named(report) == {"replay"}


@pytest.mark.filterwarnings("ignore:std")
def test_nan_cannot_be_checked_and_says_why() -> None:
    """The battery has episodes of one step."""
    with pytest.raises(CannotCheckError, match="divided by its standard deviation"):
        check_policy_gradient(pitfalls.nan_deviation)


def test_a_correct_gradient_is_right_without_findings() -> None:
    report = check_policy_gradient(pitfalls.right)
    assert report.right and report.findings == () and report.exit_status == 0
    assert [task.task for task in report.tasks] == ["fork", "random MDP", "Sequence"]
    for task in report.tasks:
        assert task.error_interval is not None and task.error_interval[1] < 0.02
        assert task.cosine == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(key, marks=[] if key == "gamma_dropped" else pytest.mark.slow)
        for key in sorted(DEPARTURES.intersection(KEYS))
    ],
)
def test_departures_are_right_for_the_algorithm_and_listed(key: str) -> None:
    report = quick(planted(key), target="algorithm", env=None)
    assert report.right
    assert {f.key: f.kind for f in report.findings}[key] == "departure"


@pytest.mark.slow
@pytest.mark.parametrize("key", ["sign_flipped", "off_by_one", "all_pairs"])
def test_mistakes_are_wrong_for_the_algorithm_too(key: str) -> None:
    assert quick(planted(key), target="algorithm").verdict == "wrong"


@pytest.mark.parametrize("factor", [8.0, 0.01])
def test_a_positive_factor_is_right_and_said(factor: float) -> None:
    report = quick(lambda b, p: factor * pitfalls.right(b, p))
    assert report.right
    assert report.tasks[0].length == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "env", [SEQUENCE, *(pytest.param(e, marks=pytest.mark.slow) for e in (None, LAKE))]
)
def test_unbiased_estimators_pass(name: str, env: str | None) -> None:
    """The false-alarm rate is 1 in 10,000 a task; docs/checker.md counts alarms."""
    report = check_policy_gradient(LOSSES[name], env)
    if env == LAKE and name == "leave-one-out":
        # Rewards are so rare there that the default sample is too small.
        assert report.verdict == "undecided"
        interval = report.tasks[0].error_interval
        assert interval is not None and interval[1] < 0.1
        return
    assert report.right


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_other_discounts(gamma: float) -> None:
    assert quick(pitfalls.right, gamma=gamma).right
    assert quick(pitfalls.gamma_dropped, gamma=gamma).right == (gamma == 1.0)


def test_bootstrapping_at_the_time_limit_is_right() -> None:
    def bootstrapped(batch: EpisodeBatch, policy: Any) -> Tensor:
        later = batch.gamma * batch.next_values * ~batch.terminated
        weight = batch.gamma**batch.time * (batch.rewards + later - batch.values)
        return loss_of(weight, batch, policy)

    assert quick(bootstrapped, **AT_TRUNCATION).right
    # If the limit is part of the task, next_values is 0 there.
    assert quick(bootstrapped, horizon=6).right


def only_first_steps(batch: EpisodeBatch, policy: Any) -> Tensor:
    """A mistake that no formula has: late steps count by the square of their time."""
    weight = discounted_to_go(batch) / (1.0 + batch.time) ** 2 + 0.3 * batch.actions
    return loss_of(weight, batch, policy)


@pytest.mark.slow
def test_an_unknown_mistake_is_located_and_not_named() -> None:
    report = check_policy_gradient(only_first_steps)
    assert report.verdict == "wrong" and report.formula is None
    assert report.findings == () and report.name == ""
    page = str(report)
    assert "none of the mistakes that are known" in page and "Where it is most" in page
    table = report.worst.table
    assert table is not None
    assert np.abs(table.exact - table.estimated).max() > 5.0 * table.deviation.max()


@pytest.mark.slow
def test_gradients_may_come_in_several_forms() -> None:
    def flat(batch: EpisodeBatch, policy: nn.Module) -> Tensor:
        gradient: Tensor = torch.autograd.grad(
            -pitfalls.right(batch, policy), list(policy.parameters())
        )[0]
        return gradient.flatten()

    def in_parts(batch: EpisodeBatch, policy: nn.Module) -> list[Tensor]:
        return [flat(batch, policy).reshape(3, 3)]

    def numpy(batch: EpisodeBatch, policy: nn.Module) -> np.ndarray[Any, Any]:
        return flat(batch, policy).numpy()

    def table(batch: EpisodeBatch, policy: nn.Module) -> np.ndarray[Any, Any]:
        return numpy(batch, policy).reshape(3, 3)

    def in_grad(batch: EpisodeBatch, policy: nn.Module) -> float:
        loss = pitfalls.right(batch, policy)
        loss.backward()
        return loss.item()

    def first_of_a_tuple(batch: EpisodeBatch, policy: nn.Module) -> Any:
        return pitfalls.right(batch, policy), {"what": "is logged"}

    for form in (flat, in_parts, numpy, table, in_grad, first_of_a_tuple):
        assert quick(form).right


def test_env_may_be_an_mdp_an_environment_or_an_id() -> None:
    tables = sequence_mdp()
    for env in (tables, TabularEnv(tables), gymnasium.make("PGToy-Sequence-v0")):
        report = quick(pitfalls.right, env=env)
        assert report.right and len(report.tasks) == 1
    lake = mdp_from_env(gymnasium.make("FrozenLake-v1", is_slippery=False))
    assert quick(pitfalls.right, env=lake).right
    assert isinstance(lake, TabularMDP)


# Policies and critics.


def gather_loss(batch: EpisodeBatch, log_probs: Tensor) -> Tensor:
    chosen = log_probs.gather(1, batch.actions[:, None])[:, 0]
    loss: Tensor = -(discounted_to_go(batch) * chosen).sum() / len(batch)
    return loss


def network(*head: nn.Module, n_inputs: int = 4, n_actions: int = 2) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(n_inputs, 32), nn.Tanh(), nn.Linear(32, n_actions)
    return nn.Sequential(*layers, *head)


@pytest.mark.slow
@pytest.mark.parametrize(("centres", "length"), [(False, 1.0), (True, 7 / 8)])
def test_a_batch_mean_scales_by_one_less_than_the_number_of_returns(
    centres: bool, length: float
) -> None:
    """One pull an episode and 8 episodes in a batch; standard error below 0.001."""

    def loss(batch: Any, policy: Any) -> Tensor:
        rewards = batch.rewards - (batch.rewards.mean() if centres else 0.0)
        log_probs = policy(batch.observations).log_prob(batch.actions)
        total: Tensor = (rewards * log_probs).sum()
        return -total / len(batch)

    report = check_policy_gradient(loss, bandit_mdp(), gamma=1.0, horizon=1)
    assert report.right
    assert report.worst.length == pytest.approx(length, abs=0.005)


def test_a_custom_policy_is_used_and_not_changed() -> None:
    policy = network(n_inputs=5, n_actions=4)
    before = [p.detach().clone() for p in policy.parameters()]

    def loss(batch: EpisodeBatch, given: nn.Module) -> Tensor:
        assert given is policy and batch.observations.shape[1:] == (5,)
        return gather_loss(batch, torch.log_softmax(given(batch.observations), 1))

    report = check_policy_gradient(loss, policy=policy)
    assert report.right and report.formula is not None
    after = list(policy.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)


def test_a_policy_that_ends_in_a_softmax_is_recognised() -> None:
    def loss(batch: EpisodeBatch, policy: nn.Module) -> Tensor:
        return gather_loss(batch, policy(batch.observations).log())

    report = check_policy_gradient(loss, policy=network(nn.Softmax(-1)))
    assert report.right
    assert any("ends in a softmax" in note for note in report.notes)


@pytest.mark.slow
def test_log_probabilities_are_logits() -> None:
    def loss(batch: EpisodeBatch, policy: nn.Module) -> Tensor:
        return gather_loss(batch, policy(batch.observations))

    assert check_policy_gradient(loss, policy=network(nn.LogSoftmax(-1))).right


class TwoHeads(nn.Module):
    """Logits and a value on a shared trunk."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 32)
        self.actor, self.critic = nn.Linear(32, 2), nn.Linear(32, 1)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.trunk(observations))
        return self.actor(hidden), self.critic(hidden)


def test_a_gradient_that_is_always_zero_is_no_gradient() -> None:
    report = check_policy_gradient(lambda b, p: 0.0 * pitfalls.right(b, p))
    assert report.verdict == "no gradient" and report.formula is None


@pytest.mark.parametrize("detached", [True, False])
def test_tuples_of_policy_and_value_are_taken(detached: bool) -> None:
    """The critic's loss on the shared trunk is no part of the policy's gradient.

    What reaches the trunk through a value that is not detached is a mistake.
    """

    def loss(batch: EpisodeBatch, policy: nn.Module) -> Tensor:
        logits, values = policy(batch.observations)
        torch.testing.assert_close(batch.values, values.detach()[:, 0])
        returns = discounted_to_go(batch) / batch.gamma**batch.time
        baseline = values[:, 0].detach() if detached else values[:, 0]
        advantages = batch.gamma**batch.time * (returns - baseline)
        chosen = torch.log_softmax(logits, 1).gather(1, batch.actions[:, None])[:, 0]
        value_loss = (values[:, 0] - returns).square().mean()
        loss: Tensor = -(advantages * chosen).sum() / len(batch) + value_loss
        return loss

    report = check_policy_gradient(loss, policy=TwoHeads())
    assert report.right == detached and report.formula is not None
    mistakes = [f.key for f in report.findings if f.kind == "mistake"]
    assert mistakes == ([] if detached else ["value_not_detached"])


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "name"), [(nn.Dropout(0.3), "Dropout")])
def test_a_policy_that_draws_noise_is_named(layer: nn.Module, name: str) -> None:
    def loss(batch: EpisodeBatch, policy: nn.Module) -> Tensor:
        return gather_loss(batch, torch.log_softmax(policy(batch.observations), 1))

    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), layer, nn.Linear(32, 2))
    report = check_policy_gradient(loss, policy=policy)
    assert report.right
    assert any(f"differ ({name})" in note for note in report.notes)
    assert policy.training


class Noisy(nn.Module):
    """Draws its logits, also when evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, observations: Tensor) -> Tensor:
        logits: Tensor = self.layer(observations)
        return logits + torch.randn_like(logits)


@pytest.mark.slow
def test_a_critic_fills_the_values() -> None:
    seen = []

    def critic(observations: Tensor) -> Tensor:
        return observations[:, :1] + 5.0

    def loss(batch: EpisodeBatch, policy: Any) -> Tensor:
        seen.append(
            torch.equal(batch.values, batch.observations[:, 0] + 5.0)
            and torch.equal(batch.next_values, batch.next_observations[:, 0] + 5.0)
        )
        done = batch.terminated | batch.truncated
        targets = batch.rewards + batch.gamma * batch.next_values * ~done
        weight = batch.gamma**batch.time * (targets - batch.values)
        return loss_of(weight, batch, policy)

    report = check_policy_gradient(loss, critic=critic)
    assert all(seen)
    assert report.verdict == "wrong" and named(report) == {"learned_critic"}
    # With the exact values it is right.
    assert check_policy_gradient(loss, critic="exact").right


def test_assert_policy_gradient_raises_with_the_report() -> None:
    report = assert_policy_gradient(pitfalls.right, env=SEQUENCE)
    assert report.right
    assert assert_policy_gradient(
        pitfalls.gamma_dropped, SEQUENCE, target="algorithm"
    ).right
    with pytest.raises(AssertionError, match="sign flipped") as raised:
        assert_policy_gradient(pitfalls.sign_flipped, env=SEQUENCE)
    assert "WRONG" in str(raised.value) and "95 % interval" in str(raised.value)


def test_the_same_seed_gives_the_same_report() -> None:
    def strip(report: GradientReport) -> dict[str, Any]:
        return {k: v for k, v in report.to_dict().items() if k != "seconds"}

    loss = LOSSES["leave-one-out"]
    one = quick(loss, seed=3)
    assert strip(one) == strip(quick(loss, seed=3))
    assert one.tasks[0].length != quick(loss, seed=4).tasks[0].length


@pytest.mark.slow
def test_global_random_states_are_preserved() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist()
    torch.manual_seed(1)
    np.random.seed(1)
    quick(pitfalls.action_resampled)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist()) == expected


@pytest.mark.slow
def test_a_small_sample_is_undecided_and_says_how_many_more_episodes_would_do() -> None:
    report = quick(only_first_steps, env=LAKE)
    assert report.verdict == "undecided" and report.exit_status == 3
    assert "more episodes per task would do" in str(report)


@pytest.mark.slow
def test_a_sample_that_is_too_small_is_enlarged() -> None:
    """Three times the gradient of every third episode, which no formula describes."""

    def loss(batch: EpisodeBatch, policy: Any) -> Tensor:
        kept = 3.0 * (batch.episode % 3 == 0)
        return loss_of(kept * discounted_to_go(batch), batch, policy)

    report = check_policy_gradient(loss)
    assert report.formula is None and report.right
    sizes = [task.n_episodes for task in report.tasks]
    assert max(sizes) > min(sizes)
    for task in report.tasks:
        assert task.error_interval is not None and task.error_interval[1] < 0.05


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
        (lambda b, p: pitfalls.right(b, p) * float("nan"), "loss is NaN"),
        (lambda b, p: torch.full((9,), torch.inf), "gradient is NaN or infinite in 9"),
        (lambda b, p: pitfalls.right(b, p).detach(), "detached"),
        (lambda b, p: pitfalls.right(b, p).item(), "detached"),
        (other_parameters, "no gradient: it depends on other parameters"),
        (optimizer_inside, "changed the policy's parameters"),
    ],
)
def test_invalid_results_of_functions_are_rejected(
    subject: Callable[..., Any], message: str
) -> None:
    with pytest.raises(CannotCheckError, match=message):
        quick(subject)


def test_exceptions_of_the_function_propagate() -> None:
    def broken(batch: EpisodeBatch, policy: Any) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        quick(broken)


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
        ({"policy": Noisy(), "env": None}, CannotCheckError, "also after policy.eval"),
        ({"policy": nn.Flatten(), "env": None}, CannotCheckError, "pass an env"),
        ({"critic": lambda o: o.sum()}, CannotCheckError, "one value for each"),
        ({"target": "mine"}, ValueError, "target must be one of 'exact', 'algorithm'"),
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
        quick(**{"subject": pitfalls.right, **arguments})


def test_a_task_with_zero_gradient_is_rejected() -> None:
    nothing = sequence_mdp(step_cost=0.0, goal_reward=0.0)
    with pytest.raises(CannotCheckError, match="exact gradient is zero"):
        check_policy_gradient(pitfalls.right, nothing)


def ranks(batch: EpisodeBatch, policy: Any) -> Any:
    """Weights each step by the rank of its return: no formula gives it."""
    rank = discounted_to_go(batch).argsort().argsort() / len(batch.rewards)
    return -(rank * policy(batch.observations).log_prob(batch.actions)).sum()


def test_a_large_bias_is_found_by_a_part_of_the_sample() -> None:
    calls = 0

    def counted(batch: EpisodeBatch, policy: Any) -> Any:
        nonlocal calls
        calls += 1
        return ranks(batch, policy)

    report = check_policy_gradient(counted, progress_bar=False)
    assert report.verdict == "wrong"
    assert report.formula is None
    assert [task.n_episodes for task in report.tasks] == [2_048] * 3
    # A quarter of the sample, and what is recorded for a formula.
    assert calls < 3 * (256 + 110)


@pytest.mark.slow
def test_a_function_that_draws_noise_gets_the_whole_sample() -> None:
    """Its expectation is right; the probability of another verdict is 1e-4 a task."""

    def noisy(batch: EpisodeBatch, policy: Any) -> Any:
        loss: Tensor = pitfalls.right(batch, policy)
        return (
            loss + (torch.rand(()) - 0.5) * policy(batch.observations).entropy().mean()
        )

    report = check_policy_gradient(noisy, progress_bar=False)
    assert report.verdict == "right"
    assert report.formula is None
    assert min(task.n_episodes for task in report.tasks) >= 8_192
    assert not any("replay" in finding.key for finding in report.findings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "verdict", "compared", "said"),
    [
        ("right", "right", "exact", "the direction of the exact one."),
        ("gamma_dropped", "right", "undiscounted", "exact one without gamma^t, which"),
        ("off_by_one", "wrong", "both", "with gamma^t and without"),
    ],
)
def test_without_a_formula_the_report_says_what_was_compared(
    name: str, verdict: str, compared: str, said: str
) -> None:
    """Noise of mean 0 hides the formula; a right verdict has an error rate of 1e-4."""
    loss = getattr(pitfalls, name)

    def noisy(batch: EpisodeBatch, policy: Any) -> Any:
        entropy = policy(batch.observations).entropy().mean()
        noise: Tensor = (torch.rand(()) - 0.5) * entropy
        return loss(batch, policy) + noise

    report = check_policy_gradient(
        noisy, target="algorithm", n_episodes=16_384, progress_bar=False
    )
    assert report.formula is None
    assert (report.verdict, report.compared) == (verdict, compared)
    assert said in " ".join(str(report).split())
    assert {f.key for f in report.findings} == (
        {"gamma_dropped"} if compared == "undiscounted" else set()
    )


@pytest.mark.slow
@pytest.mark.parametrize("key", ["one_episode_only", "discount_across_episodes"])
def test_what_only_wastes_data_is_right_and_warned_of(key: str) -> None:
    """Its noise is too large to exclude a bias of 5 %, but there is none."""
    report = check_policy_gradient(getattr(pitfalls, key))
    assert report.right
    assert {f.key: f.kind for f in report.findings} == {key: "warning"}
