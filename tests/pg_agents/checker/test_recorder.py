"""Gradients of optimisers are recorded; their steps have no effect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from pg_agents.checker.recorder import GradientRecorder, record_gradients

Maker = Callable[[list[nn.Parameter]], Optimizer]

OPTIMIZERS: dict[str, Maker] = {
    "SGD with momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam with weight decay": lambda p: Adam(p, lr=0.1, weight_decay=0.1),
    "RMSprop": lambda p: RMSprop(p, lr=0.1, momentum=0.5),
}
ANY_OPTIMIZER = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def two_parameters() -> list[nn.Parameter]:
    return [
        nn.Parameter(torch.tensor([1.0, -2.0])),
        nn.Parameter(torch.tensor([[3.0], [0.5], [-1.0]])),
    ]


def step(parameters: list[nn.Parameter], scale: float, optimizer: Optimizer) -> None:
    """Steps with the gradient `scale * p` of every parameter."""
    optimizer.zero_grad()
    loss = sum(0.5 * scale * p.square().sum() for p in parameters)
    assert isinstance(loss, Tensor)
    loss.backward()
    optimizer.step()


def flatten(parameters: list[nn.Parameter]) -> Tensor:
    return torch.cat([p.detach().flatten() for p in parameters])


@ANY_OPTIMIZER
def test_steps_in_the_block_change_neither_parameters_nor_optimizer_state(
    make: Maker,
) -> None:
    parameters, twins = two_parameters(), two_parameters()
    optimizer, twin_optimizer = make(parameters), make(twins)
    step(parameters, 1.0, optimizer)
    step(twins, 1.0, twin_optimizer)
    with record_gradients(parameters):
        step(parameters, 5.0, optimizer)
        assert torch.equal(flatten(parameters), flatten(twins))
    for scale in (0.5, 2.0):
        step(parameters, scale, optimizer)
        step(twins, scale, twin_optimizer)
    assert torch.equal(flatten(parameters), flatten(twins))


def test_optimizers_made_inside_the_block_are_recorded() -> None:
    parameters = two_parameters()
    before = flatten(parameters)
    with record_gradients(parameters) as recorder:
        step(parameters, 1.0, Adam(parameters))
        assert len(recorder.pop()) == 1
    assert torch.equal(flatten(parameters), before)


def test_pop_returns_the_gradient_of_each_step_since_the_last_call() -> None:
    parameters = two_parameters()
    optimizer = SGD(parameters, lr=1.0)
    values = flatten(parameters)
    with record_gradients(parameters) as recorder:
        for scales in ((1.0, 2.0, 6.0), (4.0,), (-1.0, 1.0)):
            for scale in scales:
                step(parameters, scale, optimizer)
            found = recorder.pop()
            assert len(found) == len(scales)
            for each, scale in zip(found, scales, strict=True):
                torch.testing.assert_close(each.gradient, scale * values)
        assert recorder.pop() == []
        optimizer.zero_grad()
        # A step without gradients.
        optimizer.step()
        assert recorder.pop() == []


def test_parameters_without_a_gradient_have_zeros() -> None:
    first, second = two_parameters()
    optimizer = SGD([first, second], lr=1.0)
    with record_gradients([first, second]) as recorder:
        for first_grad, second_grad in ((1.0, 10.0), (3.0, None)):
            first.grad = torch.full_like(first, first_grad)
            second.grad = (
                None if second_grad is None else torch.full_like(second, second_grad)
            )
            optimizer.step()
        assert [found.gradient.tolist() for found in recorder.pop()] == [
            [1.0, 1.0, 10.0, 10.0, 10.0],
            [3.0, 3.0, 0.0, 0.0, 0.0],
        ]


def test_steps_have_the_rows_of_their_mini_batch() -> None:
    parameters = two_parameters()
    optimizer = SGD(parameters, lr=1.0)
    with record_gradients(parameters) as recorder:
        step(parameters, 1.0, optimizer)
        for rows in ([2, 0], [1]):
            recorder.rows = np.array(rows)
            step(parameters, 1.0, optimizer)
        first, second, third = (found.rows for found in recorder.pop())
    assert first is None and second is not None and third is not None
    assert (second.tolist(), third.tolist()) == ([2, 0], [1])


def test_a_recorder_continues_in_another_block() -> None:
    parameters = two_parameters()
    optimizer = SGD(parameters, lr=1.0)
    recorder = GradientRecorder(parameters)
    for _ in range(2):
        with record_gradients(parameters, recorder) as same:
            assert same is recorder
            step(parameters, 1.0, optimizer)
    assert len(recorder.pop()) == len(recorder.norms) == 2


def test_other_parameters_count_for_the_norm_alone() -> None:
    """Their gradients are not recorded, and they are not changed."""
    recorded, other = two_parameters()
    optimizer = SGD([recorded, other], lr=1.0)
    before, length = other.detach().clone(), float(flatten([recorded, other]).norm())
    with record_gradients([recorded]) as recorder:
        for scale in (1.0, -2.0, 0.5):
            step([recorded, other], scale, optimizer)
            (found,) = recorder.pop()
            assert torch.equal(found.gradient, scale * recorded.detach())
    assert torch.equal(other, before)
    assert recorder.norms == pytest.approx([length, 2.0 * length, 0.5 * length])


def test_gradients_of_two_optimizers_are_concatenated() -> None:
    actor, critic = two_parameters()
    optimizers = SGD([actor], lr=1.0, momentum=0.9), Adam([critic])
    with record_gradients([actor, critic]) as recorder:
        for scale, optimizer, parameter in (
            (1.0, optimizers[0], actor),
            (2.0, optimizers[1], critic),
            (4.0, optimizers[1], critic),
        ):
            step([parameter], scale, optimizer)
        found = recorder.pop()
    expected = [
        torch.cat([x * actor.detach(), y * critic.detach().flatten()])
        for x, y in ((1.0, 0.0), (0.0, 2.0), (0.0, 4.0))
    ]
    for each, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(each.gradient, wanted)
    assert len(recorder.norms) == 3


def test_add_records_gradients_without_an_optimizer() -> None:
    first, second = two_parameters()
    recorder = GradientRecorder([first, second])
    flat = torch.arange(3.0)
    recorder.add([second, nn.Parameter(torch.ones(1))], [flat, torch.ones(1)])
    flat += 2.0
    recorder.add([first, second], [None, flat])
    # Gradients are copied.
    assert [found.gradient.tolist() for found in recorder.pop()] == [
        [0.0, 0.0, 0.0, 1.0, 2.0],
        [0.0, 0.0, 2.0, 3.0, 4.0],
    ]
    assert recorder.norms == []


@pytest.mark.parametrize("fails", [False, True])
def test_the_hook_is_removed_after_the_block_and_after_an_exception(
    fails: bool,
) -> None:
    parameters = two_parameters()
    optimizer = SGD(parameters, lr=0.5)
    try:
        with record_gradients(parameters) as recorder:
            if fails:
                raise RuntimeError("the subject failed")
    except RuntimeError:
        assert fails
    before = flatten(parameters)
    step(parameters, 1.0, optimizer)
    torch.testing.assert_close(flatten(parameters), 0.5 * before)
    assert recorder.pop() == []
    assert recorder.norms == []


def test_steps_with_a_closure_have_no_effect() -> None:
    (parameter, _) = two_parameters()
    before = parameter.detach().clone()
    optimizer = SGD([parameter], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = 0.5 * parameter.square().sum()
        loss.backward()
        return float(loss.detach())

    with record_gradients([parameter]) as recorder:
        optimizer.step(closure)
        (found,) = recorder.pop()
    assert torch.equal(parameter, before)
    assert torch.equal(found.gradient, before)
