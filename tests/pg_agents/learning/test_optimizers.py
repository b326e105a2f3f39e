"""The optimiser's step on one long vector is torch's own, to the bit."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from pg_agents.learning.optimizers import FlatRMSprop, clip_gradients

SHAPES: list[tuple[int, ...]] = [(3, 4), (4,), (1, 1), (2, 3, 2), (), (65, 64)]


def parameters(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES
    ]


def groups(own: list[Tensor]) -> list[dict[str, Any]]:
    """Three groups, with settings of their own."""
    return [
        {"params": own[:3]},
        {"params": own[3:5], "lr": 0.1, "alpha": 0.5},
        {"params": own[5:], "eps": 1e-2},
    ]


def give_gradients(own: list[Tensor], step: int, without: int | None = None) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for i, parameter in enumerate(own):
        gradient = torch.randn(parameter.shape, generator=generator)
        # Large, small and zero.
        gradient = gradient * 10.0 ** (step % 7 - 4)
        parameter.grad = None if i == without else gradient


def run(
    optimizer: torch.optim.Optimizer,
    own: list[Tensor],
    steps: range,
    without: int | None = None,
) -> None:
    for step in steps:
        give_gradients(own, step, without if step % 2 else None)
        # As a schedule does, mid-run.
        for group in optimizer.param_groups:
            group["lr"] *= 0.9 if step % 3 else 1.1
        optimizer.step()


def check_same(one: list[Tensor], other: list[Tensor]) -> None:
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


def check_same_state(one: torch.optim.Optimizer, other: torch.optim.Optimizer) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert a["param_groups"] == b["param_groups"]
    assert a["state"].keys() == b["state"].keys()
    for key, state in a["state"].items():
        assert state.keys() == b["state"][key].keys()
        for name, value in state.items():
            assert torch.equal(value, b["state"][key][name]), (key, name)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lr": 7e-4, "alpha": 0.99, "eps": 1e-5},
        {"momentum": 0.9},
        {"weight_decay": 0.01},
        {"centered": True},
        {"maximize": True},
        {"momentum": 0.5, "weight_decay": 0.1, "centered": True},
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_steps_are_torchs(settings: dict[str, Any], grouped: bool) -> None:
    own, theirs = parameters(), parameters()
    ours = FlatRMSprop(groups(own) if grouped else own, **settings)
    torchs = torch.optim.RMSprop(groups(theirs) if grouped else theirs, **settings)
    for begin in (0, 10, 20):
        run(ours, own, range(begin, begin + 10))
        run(torchs, theirs, range(begin, begin + 10))
        check_same(own, theirs)
        check_same_state(ours, torchs)


@pytest.mark.parametrize("without", [0, 4, 5])
def test_parameter_without_gradient_stays(without: int) -> None:
    """In every other step; then its average stays as well."""
    own, theirs = parameters(), parameters()
    ours, torchs = FlatRMSprop(groups(own)), torch.optim.RMSprop(groups(theirs))
    run(ours, own, range(30), without)
    run(torchs, theirs, range(30), without)
    check_same(own, theirs)
    check_same_state(ours, torchs)


@pytest.mark.parametrize("kind", [FlatRMSprop, torch.optim.RMSprop])
@pytest.mark.parametrize("onto", [FlatRMSprop, torch.optim.RMSprop])
def test_state_goes_on_in_another(
    kind: type[torch.optim.RMSprop], onto: type[torch.optim.RMSprop]
) -> None:
    """From torch's to ours, back, and into one that has taken other steps."""
    own, theirs = parameters(), parameters()
    first = kind(groups(own))
    run(first, own, range(10))
    reference = torch.optim.RMSprop(groups(theirs))
    run(reference, theirs, range(30))
    second = onto(groups(own))
    before = copy.deepcopy(own)
    run(second, own, range(3))
    with torch.no_grad():
        for parameter, value in zip(own, before, strict=True):
            parameter.copy_(value)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    run(second, own, range(10, 30))
    check_same(own, theirs)
    check_same_state(second, reference)


def test_state_loaded_into_the_same_optimiser_is_taken() -> None:
    """A checkpoint goes back to where it was, also after further steps."""
    own, theirs = parameters(), parameters()
    ours, torchs = FlatRMSprop(groups(own)), torch.optim.RMSprop(groups(theirs))
    for optimizer, each in ((ours, own), (torchs, theirs)):
        run(optimizer, each, range(5))
        kept = copy.deepcopy(optimizer.state_dict())
        run(optimizer, each, range(5, 9))
        optimizer.load_state_dict(kept)
        run(optimizer, each, range(9, 20))
    check_same(own, theirs)
    check_same_state(ours, torchs)


def test_state_emptied_by_hand_begins_again() -> None:
    own, theirs = parameters(), parameters()
    ours, torchs = FlatRMSprop(groups(own)), torch.optim.RMSprop(groups(theirs))
    for optimizer, each in ((ours, own), (torchs, theirs)):
        run(optimizer, each, range(5))
        optimizer.state.clear()
        run(optimizer, each, range(5, 10))
    check_same(own, theirs)
    check_same_state(ours, torchs)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))]
)
def test_copies_go_on_by_themselves(copied: Any) -> None:
    own, theirs = parameters(), parameters()
    ours, torchs = FlatRMSprop(groups(own)), torch.optim.RMSprop(groups(theirs))
    run(ours, own, range(10))
    run(torchs, theirs, range(10))
    at_ten = copy.deepcopy(own)
    other, others = copied((ours, own))
    run(other, others, range(10, 20))
    # The original has not moved.
    check_same(own, at_ten)
    run(torchs, theirs, range(10, 20))
    check_same(others, theirs)
    run(ours, own, range(10, 20))
    check_same(own, theirs)
    check_same_state(ours, torchs)
    check_same_state(other, torchs)


def test_closure_is_called_and_its_loss_returned() -> None:
    own, theirs = parameters(), parameters()
    results = []
    for kind, each in ((FlatRMSprop, own), (torch.optim.RMSprop, theirs)):
        optimizer = kind(each)

        def closure(each: list[Tensor] = each) -> float:
            give_gradients(each, 3)
            return 1.5

        give_gradients(each, 0)
        optimizer.step()
        results.append(optimizer.step(closure))
    assert results == [1.5, 1.5]
    check_same(own, theirs)


@pytest.mark.parametrize("step", range(7))
@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 50.0])
@pytest.mark.parametrize("without", [None, 0, 3])
def test_gradients_are_clipped_as_torch_clips(
    step: int, max_norm: float, without: int | None
) -> None:
    """To float32 rounding: the norm is one of a vector, not of norms of tensors."""
    own, theirs = parameters(), parameters()
    give_gradients(own, step, without)
    give_gradients(theirs, step, without)
    norm = clip_gradients(own, max_norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    torch.testing.assert_close(norm, expected)
    for a, b in zip(own, theirs, strict=True):
        assert (a.grad is None) is (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad)


def test_small_gradients_are_left_as_they_are() -> None:
    own = parameters()
    give_gradients(own, 0)
    kept = [p.grad.clone() for p in own if p.grad is not None]
    clip_gradients(own, 1e6)
    check_same([p.grad for p in own if p.grad is not None], kept)


def test_no_gradient_at_all_has_the_norm_0() -> None:
    assert clip_gradients(parameters(), 1.0).item() == 0.0
