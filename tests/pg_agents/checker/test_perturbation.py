"""Perturbation of a policy, and exact restoration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pg_agents.checker.function_subject import TablePolicy
from pg_agents.checker.perturbation import PolicyPerturbation

SEEN = torch.tensor([[-1.0], [0.0], [1.0]])


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 3), nn.LogSoftmax(-1)
    return nn.Sequential(*layers)


def table() -> nn.Module:
    policy = TablePolicy(SEEN.numpy(), 3)

    class AsLogs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.policy = policy

        def forward(self, observations: Tensor) -> Tensor:
            logs: Tensor = self.policy(observations).logits
            return logs

    return AsLogs()


POLICIES = pytest.mark.parametrize("make", [table, network])
SEEDS = pytest.mark.parametrize("seed", range(5))


def perturb(policy: nn.Module, seed: int) -> PolicyPerturbation:
    return PolicyPerturbation(list(policy.parameters()), lambda: policy(SEEN), seed)


def values_of(policy: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in policy.parameters()]


def assert_equal(first: list[Tensor], second: list[Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@POLICIES
def test_parameters_are_restored_exactly_even_after_an_exception(
    make: type[nn.Module],
) -> None:
    policy = make()
    before = values_of(policy)
    other = perturb(policy, 0)
    assert_equal(values_of(policy), before)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="the subject failed"), other:
            for now, old in zip(values_of(policy), before, strict=True):
                assert not torch.equal(now, old)
            for parameter in policy.parameters():
                parameter.data += 1.0
            raise RuntimeError("the subject failed")
        assert_equal(values_of(policy), before)
    assert all(p.requires_grad for p in policy.parameters())


@POLICIES
def test_the_policy_attribute_is_the_perturbed_policy(make: type[nn.Module]) -> None:
    policy = make()
    other = perturb(policy, 0)
    with other, torch.no_grad():
        inside = policy(SEEN).exp().numpy()
    np.testing.assert_allclose(other.policy, inside, atol=1e-6)
    np.testing.assert_allclose(other.policy.sum(axis=1), 1.0, atol=1e-12)
    assert other.policy.dtype == np.float64


@POLICIES
@SEEDS
def test_the_largest_change_of_a_probability_is_in_range(
    make: type[nn.Module], seed: int
) -> None:
    policy = make()
    with torch.no_grad():
        own = policy(SEEN).exp().numpy()
    change = float(np.abs(perturb(policy, seed).policy - own).max())
    assert 0.1 < change <= 0.5


def test_the_step_adapts_to_the_scale_of_the_parameters() -> None:
    """A policy a hundred times as sensitive changes by as much."""
    policy = TablePolicy(SEEN.numpy(), 3)
    own = policy(SEEN).probs.detach().numpy()
    steep = nn.Parameter(policy.logits.detach() / 100.0)
    other = PolicyPerturbation([steep], lambda: torch.log_softmax(100.0 * steep, -1), 3)
    assert 0.1 < float(np.abs(other.policy - own).max()) <= 0.5


def test_the_direction_depends_on_the_seed() -> None:
    policy = table()
    first, again, other = (perturb(policy, seed).policy for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
