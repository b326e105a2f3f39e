"""What optimisers would have used is collected, and nothing is changed by them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

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


def give_gradients(
    parameters: list[nn.Parameter], scale: float, optimizer: Optimizer
) -> None:
    """Leaves `scale * p` in every parameter, by a real backward, and steps."""
    optimizer.zero_grad()
    loss = sum(0.5 * scale * p.square().sum() for p in parameters)
    assert isinstance(loss, Tensor)
    loss.backward()
    optimizer.step()


def in_a_row(parameters: list[nn.Parameter]) -> Tensor:
    return torch.cat([p.detach().flatten() for p in parameters])


def assert_same(first: Any, second: Any) -> None:
    """Equal to the last bit, through nested dictionaries and lists."""
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    elif isinstance(first, Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


@ANY_OPTIMIZER
def test_neither_parameters_nor_the_optimizers_state_change(make: Maker) -> None:
    parameters = two_parameters()
    optimizer = make(parameters)
    for _ in range(3):
        give_gradients(parameters, 1.0, optimizer)
    before = copy.deepcopy((optimizer.state_dict(), [p.data for p in parameters]))
    with record_gradients(parameters):
        for _ in range(4):
            give_gradients(parameters, 2.0, optimizer)
    assert_same((optimizer.state_dict(), [p.data for p in parameters])[0], before[0])
    assert_same([p.data for p in parameters], before[1])


@ANY_OPTIMIZER
def test_after_the_block_the_optimizer_goes_on_as_if_there_had_been_none(
    make: Maker,
) -> None:
    parameters, twins = two_parameters(), two_parameters()
    optimizer, twin_optimizer = make(parameters), make(twins)
    give_gradients(parameters, 1.0, optimizer)
    give_gradients(twins, 1.0, twin_optimizer)
    with record_gradients(parameters):
        give_gradients(parameters, 5.0, optimizer)
    for scale in (0.5, 2.0):
        give_gradients(parameters, scale, optimizer)
        give_gradients(twins, scale, twin_optimizer)
    assert torch.equal(in_a_row(parameters), in_a_row(twins))


def test_an_optimizer_made_inside_the_block_is_tapped_too() -> None:
    parameters = two_parameters()
    before = in_a_row(parameters)
    with record_gradients(parameters) as recorder:
        give_gradients(parameters, 1.0, Adam(parameters))
        assert recorder.pop_mean() is not None
    assert torch.equal(in_a_row(parameters), before)


def test_drain_returns_the_gradient_itself_of_one_step() -> None:
    """With the sign of `p.grad`: the direction that an optimiser descends against."""
    parameters = two_parameters()
    with record_gradients(parameters) as recorder:
        give_gradients(parameters, 3.0, SGD(parameters, lr=1.0))
        found = recorder.pop_mean()
    assert found is not None
    assert torch.equal(found, 3.0 * in_a_row(parameters))


def test_drain_returns_the_mean_over_the_steps_since_it_was_last_called() -> None:
    parameters = two_parameters()
    optimizer = SGD(parameters, lr=1.0)
    values = in_a_row(parameters)
    with record_gradients(parameters) as recorder:
        for scales in ((1.0, 2.0, 6.0), (4.0,), (-1.0, 1.0)):
            for scale in scales:
                give_gradients(parameters, scale, optimizer)
            found = recorder.pop_mean()
            assert found is not None
            mean = sum(scales) / len(scales)
            torch.testing.assert_close(found, mean * values)


def test_drain_returns_none_when_nothing_came() -> None:
    parameters = two_parameters()
    optimizer = SGD(parameters, lr=1.0)
    with record_gradients(parameters) as recorder:
        assert recorder.pop_mean() is None
        optimizer.step()
        assert recorder.pop_mean() is None
        give_gradients(parameters, 1.0, optimizer)
        assert recorder.pop_mean() is not None
        assert recorder.pop_mean() is None


def test_each_parameters_mean_is_over_the_steps_that_had_a_gradient_for_it() -> None:
    first, second = two_parameters()
    optimizer = SGD([first, second], lr=1.0)
    with record_gradients([first, second]) as recorder:
        for first_grad, second_grad in ((1.0, 10.0), (3.0, None)):
            first.grad = torch.full_like(first, first_grad)
            second.grad = (
                None if second_grad is None else torch.full_like(second, second_grad)
            )
            optimizer.step()
        found = recorder.pop_mean()
    assert found is not None
    assert found.tolist() == [2.0, 2.0, 10.0, 10.0, 10.0]


def test_a_parameter_that_never_had_a_gradient_counts_as_zero() -> None:
    first, second = two_parameters()
    optimizer = SGD([first, second], lr=1.0)
    with record_gradients([second, first]) as recorder:
        first.grad = torch.ones_like(first)
        optimizer.step()
        found = recorder.pop_mean()
    assert found is not None
    # In the order in which they are watched.
    assert found.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]


def test_parameters_not_watched_stay_out_of_the_mean_and_are_not_changed() -> None:
    watched, other = two_parameters()
    before = other.detach().clone()
    with record_gradients([watched]) as recorder:
        give_gradients([watched, other], 2.0, SGD([watched, other], lr=1.0))
        found = recorder.pop_mean()
    assert found is not None
    assert torch.equal(found, 2.0 * watched.detach())
    assert torch.equal(other, before)


def test_norms_are_the_lengths_of_all_gradients_of_each_step() -> None:
    watched, other = two_parameters()
    optimizer = SGD([watched, other], lr=1.0)
    length = float(in_a_row([watched, other]).norm())
    with record_gradients([watched]) as recorder:
        for scale in (1.0, -2.0, 0.5):
            give_gradients([watched, other], scale, optimizer)
        recorder.pop_mean()
    assert recorder.norms == pytest.approx([length, 2.0 * length, 0.5 * length])


def test_two_optimizers_over_disjoint_parameters_make_one_gradient() -> None:
    actor, critic = two_parameters()
    optimizers = SGD([actor], lr=1.0, momentum=0.9), Adam([critic])
    with record_gradients([actor, critic]) as recorder:
        for scale, optimizer, parameter in (
            (1.0, optimizers[0], actor),
            (2.0, optimizers[1], critic),
            (4.0, optimizers[1], critic),
        ):
            give_gradients([parameter], scale, optimizer)
        found = recorder.pop_mean()
    assert found is not None
    torch.testing.assert_close(
        found, torch.cat([actor.detach(), 3.0 * critic.detach().flatten()])
    )
    assert len(recorder.norms) == 3


def test_parameter_groups_are_all_taken() -> None:
    first, second = two_parameters()
    optimizer = SGD([{"params": [first], "lr": 1.0}, {"params": [second], "lr": 0.1}])
    before = in_a_row([first, second])
    with record_gradients([first, second]) as recorder:
        give_gradients([first, second], 1.0, optimizer)
        found = recorder.pop_mean()
    assert found is not None
    assert torch.equal(found, before)
    assert torch.equal(in_a_row([first, second]), before)


def test_record_notes_a_gradient_that_no_optimizer_was_given() -> None:
    first, second = two_parameters()
    recorder = GradientRecorder([first, second])
    flat = torch.arange(3.0)
    recorder.add([second, nn.Parameter(torch.ones(1))], [flat, torch.ones(1)])
    flat += 2.0
    recorder.add([first, second], [None, flat])
    found = recorder.pop_mean()
    assert found is not None
    # The mean of 0 1 2 and 2 3 4: what was written over the first is not seen.
    assert found.tolist() == [0.0, 0.0, 1.0, 2.0, 3.0]
    assert recorder.norms == []


def test_record_demands_a_gradient_for_each_parameter() -> None:
    first, second = two_parameters()
    with pytest.raises(ValueError):
        GradientRecorder([first]).add([first, second], [torch.ones(2)])


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
    before = in_a_row(parameters)
    give_gradients(parameters, 1.0, optimizer)
    torch.testing.assert_close(in_a_row(parameters), 0.5 * before)
    assert recorder.pop_mean() is None
    assert recorder.norms == []


def test_a_step_with_a_closure_has_no_effect_either() -> None:
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
        found = recorder.pop_mean()
    assert torch.equal(parameter, before)
    assert found is not None
    assert torch.equal(found, before)
