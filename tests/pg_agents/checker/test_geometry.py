"""Gradients are decoded; exact gradient and scores are compared with autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Categorical

from pg_agents.checker.function_subject import TablePolicy
from pg_agents.checker.geometry import (
    MAX_DIRECTIONS,
    CannotCheckError,
    Decoder,
    Geometry,
    check_uses_observations,
    exact_outputs,
    make_geometry,
    normalized_policy,
)
from pg_agents.checker.task import Task, resolve_task
from pg_envs import TabularMDP, sequence_mdp
from tests.pg_envs.tabular_examples import random_mdp

MakePolicy = Callable[[TabularMDP], nn.Module]
TOLERANCE = 1e-5  # relative, for float32
Floats = NDArray[np.float64]


class Network(nn.Module):
    """A small network that returns a Categorical."""

    def __init__(self, mdp: TabularMDP) -> None:
        super().__init__()
        torch.manual_seed(0)
        width = int(np.prod(mdp.observations.shape[1:]))
        self.hidden = nn.Linear(width, 12)
        self.head = nn.Linear(12, mdp.n_actions)

    def forward(self, observations: Tensor) -> Categorical:
        flat = observations.reshape(len(observations), -1).float()
        return Categorical(logits=self.head(torch.tanh(self.hidden(flat))))


class Constant(nn.Module):
    """The same probabilities for all observations."""

    def __init__(self, mdp: TabularMDP) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.linspace(-1.0, 1.0, mdp.n_actions))

    def forward(self, observations: Tensor) -> Categorical:
        return Categorical(logits=self.logits.expand(len(observations), -1))


def table(mdp: TabularMDP) -> TablePolicy:
    return TablePolicy(mdp.observations, mdp.n_actions)


TASKS = [
    Task(sequence_mdp(), "sequence", 0.9, 8),
    Task(sequence_mdp(5, observation="one_hot"), "one hot", 0.95, 6, True),
    Task(random_mdp(1, n_states=4, n_actions=3), "random", 0.8, 5),
]
EVERY_TASK = pytest.mark.parametrize("task", TASKS, ids=lambda t: str(t.name))
BOTH_POLICIES = pytest.mark.parametrize("make", [table, Network])


def outputs_of(task: Task, policy: nn.Module) -> Tensor:
    logs: Tensor = policy(torch.tensor(task.mdp.observations)).logits
    return logs - logs.mean(dim=-1, keepdim=True)


def decoder_of(task: Task, policy: nn.Module) -> Decoder:
    return Decoder(outputs_of(task, policy), list(policy.parameters()))


def geometry_of(task: Task, policy: nn.Module) -> Geometry:
    logs = policy(torch.tensor(task.mdp.observations)).logits
    return make_geometry(task, normalized_policy(logs), decoder_of(task, policy).basis)


def gradient(of: Tensor, policy: nn.Module) -> Tensor:
    parts = torch.autograd.grad(of, list(policy.parameters()), retain_graph=True)
    return torch.cat([part.flatten() for part in parts]).double()


@EVERY_TASK
@BOTH_POLICIES
def test_decoding_inverts_the_gradient_of_a_loss(task: Task, make: MakePolicy) -> None:
    """Any loss of the logits: its gradient by the parameters gives that by logits."""
    policy = make(task.mdp)
    decoder = decoder_of(task, policy)
    logs = policy(torch.tensor(task.mdp.observations)).logits
    weight = torch.randn(logs.shape, generator=torch.Generator().manual_seed(3))
    found, value, unexplained = decoder.decode(gradient((weight * logs).sum(), policy))
    pi = logs.detach().exp().double()
    # d log_softmax: w - pi sum(w).
    expected = weight.double() - pi * weight.double().sum(dim=1, keepdim=True)
    flat = decoder.basis @ (decoder.basis.T @ expected.numpy().flatten())
    np.testing.assert_allclose(found.flatten(), flat, atol=3e-4)
    if make is table:
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert value is None
    assert unexplained < 0.05


def test_values_of_a_shared_network_are_decoded_apart() -> None:
    torch.manual_seed(0)
    trunk, actor, critic = nn.Linear(5, 32), nn.Linear(32, 3), nn.Linear(32, 1)
    hidden = torch.tanh(trunk(torch.eye(5)))
    logits, values = actor(hidden), critic(hidden)[:, 0]
    network = nn.ModuleList([trunk, actor, critic])
    decoder = Decoder(logits, list(network.parameters()), values)
    loss = (torch.arange(15.0).reshape(5, 3) * logits).sum() - 2.0 * values[1]
    outputs, value, unexplained = decoder.decode(gradient(loss, network))
    np.testing.assert_allclose(outputs, np.arange(15.0).reshape(5, 3), atol=1e-3)
    assert value == pytest.approx([0.0, -2.0, 0.0, 0.0, 0.0], abs=1e-3)
    assert unexplained < 1e-5


def test_what_does_not_pass_through_the_outputs_is_unexplained() -> None:
    policy = table(TASKS[0].mdp)
    idle = nn.Parameter(torch.ones(4))
    logits = outputs_of(TASKS[0], policy)
    decoder = Decoder(logits, [idle, policy.logits])
    first = torch.zeros(9)
    first[:2] = torch.tensor([1.0, -1.0])
    _, _, share = decoder.decode(torch.cat([torch.zeros(4), first]))
    assert share == pytest.approx(0.0, abs=1e-6)
    _, _, share = decoder.decode(torch.cat([torch.ones(4), first]))
    assert share == pytest.approx(2.0 / 6.0**0.5)


def test_aliased_observations_share_a_gradient() -> None:
    """Two states with one observation: each gets half of the decoded gradient."""
    logits = nn.Parameter(torch.zeros(1, 2))
    decoder = Decoder(logits.expand(2, 2), [logits])
    assert decoder.basis.shape == (4, 2)
    outputs, _, _ = decoder.decode(torch.tensor([3.0, -1.0]))
    np.testing.assert_allclose(outputs, [[1.5, -0.5]] * 2, atol=1e-6)


@EVERY_TASK
def test_the_exact_gradient_equals_autograd_of_the_return(task: Task) -> None:
    policy = table(task.mdp)
    probs = policy(torch.tensor(task.mdp.observations)).probs
    pi = probs.detach().double().numpy()
    slope = torch.as_tensor(task.return_gradient(pi)).float()
    expected = gradient((probs * slope).sum(), policy).numpy()
    # Rows of the table are the distinct observations, in order.
    rows = np.unique(task.mdp.observations, axis=0, return_inverse=True)[1].ravel()
    found = np.zeros((len(policy.logits), task.mdp.n_actions))
    np.add.at(found, rows, exact_outputs(task, pi))
    np.testing.assert_allclose(found.flatten(), expected, atol=TOLERANCE)


@EVERY_TASK
@BOTH_POLICIES
def test_directions_are_orthonormal_with_the_exact_gradient_first(
    task: Task, make: MakePolicy
) -> None:
    geometry = geometry_of(task, make(task.mdp))
    n = geometry.directions.shape[1]
    product = geometry.directions.T @ geometry.directions
    np.testing.assert_allclose(product, np.eye(n), atol=1e-9)
    assert geometry.norm > 0.0
    np.testing.assert_allclose(
        geometry.coordinates(geometry.exact_outputs), geometry.exact, atol=1e-9
    )
    assert geometry.exact.shape == (n,) and (geometry.exact[1:] == 0.0).all()


@EVERY_TASK
def test_scores_are_the_gradient_of_each_log_probability(task: Task) -> None:
    geometry = geometry_of(task, table(task.mdp))
    for s, a in np.ndindex(task.mdp.n_states, task.mdp.n_actions):
        score = np.zeros_like(geometry.policy)
        score[s] = np.eye(task.mdp.n_actions)[a] - geometry.policy[s]
        np.testing.assert_allclose(
            geometry.scores[s, a], geometry.coordinates(score), atol=1e-12
        )
        rebuilt = geometry.directions @ geometry.scores[s, a]
        np.testing.assert_allclose(rebuilt, score.flatten(), atol=1e-6)


def test_a_table_has_as_many_directions_as_free_logits() -> None:
    for task in TASKS:
        geometry = geometry_of(task, table(task.mdp))
        n_states, n_actions = task.mdp.n_states, task.mdp.n_actions
        shape = n_states * n_actions, n_states * (n_actions - 1)
        assert geometry.directions.shape == shape and geometry.complete


def test_the_number_of_directions_is_bounded() -> None:
    task = resolve_task("FrozenLake8x8-v1", 0.9, 20, False)
    geometry = geometry_of(task, table(task.mdp))
    assert geometry.directions.shape == (64 * 4, MAX_DIRECTIONS)
    assert geometry.scores.shape == (64, 4, MAX_DIRECTIONS) and not geometry.complete


def test_too_many_outputs_are_refused() -> None:
    logits = nn.Parameter(torch.zeros(2000, 3))
    with pytest.raises(CannotCheckError, match="2000 states with 3 actions"):
        Decoder(logits * 1.0, [logits])


@EVERY_TASK
@BOTH_POLICIES
def test_a_uniform_policy_with_different_gradients_is_accepted(
    task: Task, make: MakePolicy
) -> None:
    policy = make(task.mdp)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.shape[0] != 12:  # all but the hidden layer's
                parameter.zero_()
    geometry = geometry_of(task, policy)
    check_uses_observations(geometry.policy, decoder_of(task, policy), task)
    np.testing.assert_allclose(geometry.policy, 1.0 / task.mdp.n_actions, atol=1e-7)
    assert geometry.norm > 0.0


def test_a_policy_that_ignores_its_observations_is_refused() -> None:
    task = TASKS[0]
    policy = Constant(task.mdp)
    logs = policy(torch.tensor(task.mdp.observations)).logits
    with pytest.raises(CannotCheckError, match="ignores its observations"):
        check_uses_observations(normalized_policy(logs), decoder_of(task, policy), task)
    # There is nothing to ignore in a single state.
    bandit = resolve_task("PGToy-Bandit-v0", 0.9, 5, False)
    alone = Constant(bandit.mdp)
    logs = alone(torch.tensor(bandit.mdp.observations)).logits
    check_uses_observations(normalized_policy(logs), decoder_of(bandit, alone), bandit)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e4, 0.0])
def test_invalid_probabilities_are_rejected(bad: float) -> None:
    log_probs = torch.zeros(3, 3)
    log_probs[1, 1] = bad
    with pytest.raises(CannotCheckError, match="not finite or do not sum to 1"):
        normalized_policy(log_probs)
    assert issubclass(CannotCheckError, ValueError)


def test_a_task_without_rewards_is_refused() -> None:
    task = Task(sequence_mdp(step_cost=0.0, goal_reward=0.0), "", 0.9, 8)
    with pytest.raises(CannotCheckError, match="exact gradient is zero"):
        make_geometry(task, np.full((3, 3), 1 / 3))


@pytest.mark.parametrize("make", [table, Constant])
def test_the_gradient_of_the_bandit_is_known(make: MakePolicy) -> None:
    """`(1 + g + ... + g^(H-1)) pi(a) (r(a) - mean r)`."""
    task = resolve_task("PGToy-Bandit-v0", 0.9, 5, False)
    geometry = geometry_of(task, make(task.mdp))
    pi: Floats = geometry.policy[0]
    slope = sum(0.9**t for t in range(5)) * pi * (np.eye(3)[0] - pi[0])
    np.testing.assert_allclose(geometry.directions @ geometry.exact, slope, atol=1e-6)
