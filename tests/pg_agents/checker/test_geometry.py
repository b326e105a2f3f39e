"""The exact gradient and the scores, compared with autograd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from pg_agents.checker.function_subject import TablePolicy
from pg_agents.checker.geometry import (
    MAX_DIRECTIONS,
    CannotCheckError,
    Geometry,
    make_geometry,
)
from pg_agents.checker.task import Task, resolve_task
from pg_envs import TabularMDP, sequence_mdp
from tests.pg_envs.tabular_examples import random_mdp

MakePolicy = Callable[[TabularMDP], nn.Module]
TOLERANCE = 1e-5  # relative, for float32


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


def geometry_of(task: Task, policy: nn.Module) -> Geometry:
    observations = torch.tensor(task.mdp.observations)
    return make_geometry(
        task, lambda: policy(observations).logits, list(policy.parameters())
    )


def gradient(of: Tensor, policy: nn.Module) -> Tensor:
    parts = torch.autograd.grad(of, list(policy.parameters()), retain_graph=True)
    return torch.cat([part.flatten() for part in parts]).double()


@EVERY_TASK
@BOTH_POLICIES
def test_the_exact_gradient_equals_autograd_of_the_return(
    task: Task, make: MakePolicy
) -> None:
    policy = make(task.mdp)
    geometry = geometry_of(task, policy)
    probs = policy(torch.tensor(task.mdp.observations)).probs
    pi = probs.detach().double().numpy()
    np.testing.assert_allclose(geometry.policy, pi, atol=1e-6)
    slope = torch.as_tensor(task.return_gradient(pi)).float()
    expected = gradient((probs * slope).sum(), policy)
    found = geometry.directions @ torch.as_tensor(geometry.exact)
    assert float((found - expected).norm()) < TOLERANCE * float(expected.norm())
    assert geometry.norm == pytest.approx(float(expected.norm()), rel=TOLERANCE)


@EVERY_TASK
@BOTH_POLICIES
def test_directions_are_orthonormal_with_the_exact_gradient_first(
    task: Task, make: MakePolicy
) -> None:
    geometry = geometry_of(task, make(task.mdp))
    n = geometry.directions.shape[1]
    product = geometry.directions.T @ geometry.directions
    torch.testing.assert_close(product, torch.eye(n).double(), atol=1e-9, rtol=0)
    assert geometry.norm > 0.0
    np.testing.assert_array_equal(geometry.exact[1:], 0.0)
    assert geometry.exact.shape == (n,)


@EVERY_TASK
@BOTH_POLICIES
def test_scores_are_the_gradient_of_each_log_probability(
    task: Task, make: MakePolicy
) -> None:
    """By one backward per state and action; the directions span them."""
    policy = make(task.mdp)
    geometry = geometry_of(task, policy)
    logs = policy(torch.tensor(task.mdp.observations)).logits
    for s, a in np.ndindex(task.mdp.n_states, task.mdp.n_actions):
        expected = gradient(logs[s, a], policy)
        scale = float(expected.norm())
        np.testing.assert_allclose(
            geometry.scores[s, a],
            geometry.coordinates(expected),
            atol=TOLERANCE * scale,
        )
        rebuilt = geometry.directions @ torch.as_tensor(geometry.scores[s, a])
        assert float((rebuilt - expected).norm()) < 1e-3 * scale


def test_a_table_has_as_many_directions_as_free_logits() -> None:
    for task in TASKS:
        geometry = geometry_of(task, table(task.mdp))
        free = task.mdp.n_states * (task.mdp.n_actions - 1)
        assert geometry.directions.shape == (
            task.mdp.n_states * task.mdp.n_actions,
            free,
        )


def test_the_number_of_directions_is_bounded() -> None:
    task = resolve_task("FrozenLake8x8-v1", 0.9, 20, False)
    geometry = geometry_of(task, table(task.mdp))
    assert geometry.directions.shape == (64 * 4, MAX_DIRECTIONS)
    assert geometry.scores.shape == (64, 4, MAX_DIRECTIONS)


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
    np.testing.assert_allclose(geometry.policy, 1.0 / task.mdp.n_actions, atol=1e-7)
    assert geometry.norm > 0.0


def test_a_policy_with_equal_gradients_but_different_rows_is_accepted() -> None:
    shared = nn.Parameter(torch.zeros(3))
    offset = torch.eye(3)
    geometry = make_geometry(
        TASKS[0], lambda: torch.log_softmax(shared + offset, -1), [shared]
    )
    assert geometry.directions.shape == (3, 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e4, 0.0])
def test_invalid_probabilities_are_rejected(bad: float) -> None:
    task = TASKS[0]
    logits = nn.Parameter(torch.zeros(3, 3))
    with torch.no_grad():
        logits[1, 1] = bad
    # Log-probabilities that are not normalised.
    with pytest.raises(CannotCheckError, match="not finite or do not sum to 1"):
        make_geometry(task, lambda: 1.0 * logits, [logits])
    assert issubclass(CannotCheckError, ValueError)


def test_unused_parameters_have_zero_directions() -> None:
    policy = table(TASKS[0].mdp)
    idle = nn.Parameter(torch.ones(4))
    seen = torch.tensor(TASKS[0].mdp.observations)
    geometry = make_geometry(
        TASKS[0], lambda: policy(seen).logits, [idle, policy.logits]
    )
    alone = geometry_of(TASKS[0], policy)
    assert torch.equal(
        geometry.directions[:4], torch.zeros_like(geometry.directions[:4])
    )
    np.testing.assert_allclose(geometry.scores, alone.scores, atol=1e-6)


@pytest.mark.parametrize("make", [table, Network, Constant])
def test_with_a_single_state_any_policy_is_accepted(make: MakePolicy) -> None:
    """The bandit's gradient: `(1 + g + ... + g^(H-1)) pi(a) (r(a) - mean r)`."""
    task = resolve_task("PGToy-Bandit-v0", 0.9, 5, False)
    policy = make(task.mdp)
    geometry = geometry_of(task, policy)
    assert geometry.norm > 0.0
    if make is not Network:
        pi = geometry.policy[0]
        slope = sum(0.9**t for t in range(5)) * pi * (np.eye(3)[0] - pi[0])
        found = geometry.directions @ torch.as_tensor(geometry.exact)
        np.testing.assert_allclose(found, slope, atol=1e-6)
