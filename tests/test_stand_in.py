"""The stand-in refuses what a GPU refuses, and knows what a GPU waits for."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.stand_in import (
    DEVICE,
    DEVICES,
    SameRandomNumbers,
    StandIn,
    WrongDevice,
    context_of,
)

Operation = Callable[[torch.Tensor], Any]
WAITING: list[Operation] = [
    lambda x: x.sum().item(),
    lambda x: float(x[0]),
    lambda x: int(x[0]),
    lambda x: bool((x > 1).any()),
    lambda x: 1 if (x > 1).all() else 2,
    lambda x: x.tolist(),
    lambda x: x.cpu().numpy(),
    lambda x: x.to("cpu"),
    lambda x: torch.zeros(4).copy_(x),
    lambda x: x.copy_(torch.zeros(4)),
    lambda x: (x > 1).nonzero(),
    lambda x: torch.where(x > 1),
    lambda x: x[x > 1],
    lambda x: x.masked_select(x > 1),
    lambda x: x.clone().__setitem__(x > 1, x[:2]),
    lambda x: x.unique(),
    lambda x: torch.equal(x, x),
    lambda x: torch.tensor([1.0, 2.0], device=x.device),
    lambda x: torch.as_tensor(np.zeros(2), device=x.device),
    lambda x: torch.zeros(2).to(x.device),
    lambda x: range(4)[x[1].long()],
]
RUNNING: list[Operation] = [
    lambda x: torch.where(x > 1, x, 0.0),
    lambda x: x.masked_fill(x > 1, 1.0),
    lambda x: x[x.long()],
    lambda x: x.index_select(0, x.long()),
    lambda x: torch.rand(4, device=x.device) + torch.zeros_like(x),
    lambda x: x * torch.tensor(2.0),
    lambda x: x.to(torch.float64),
    lambda x: torch.as_tensor(x),
    lambda x: torch.as_tensor(x, device=DEVICE),
    lambda x: x.clone().copy_(x),
    lambda x: (x.shape, len(x), x.dtype),
    lambda x: torch.zeros(2).nonzero().tolist(),
]
MIXED: list[Operation] = [
    lambda x: x + torch.zeros(4),
    lambda x: torch.zeros(4).add_(x),
    lambda x: torch.cat([x, torch.zeros(1)]),
    lambda x: torch.stack([x, torch.zeros(4)]),
    lambda x: x[torch.tensor([1, 2])],
    lambda x: x.gather(0, torch.tensor([1])),
    lambda x: nn.functional.linear(x, torch.zeros(2, 4)),
    lambda x: torch.where(torch.ones(4, dtype=torch.bool), x, 0.0),
]


@pytest.mark.parametrize("waits", WAITING)
def test_operations_for_which_the_host_waits_are_listed(waits: Operation) -> None:
    with StandIn() as device:
        x = torch.arange(4.0, device=DEVICE)
        assert device.waits == []
        waits(x)
        assert len(device.waits) > 0


@pytest.mark.parametrize("runs", RUNNING)
def test_others_are_not(runs: Operation) -> None:
    with StandIn() as device:
        runs(torch.arange(4.0, device=DEVICE))
        assert device.waits == []


@pytest.mark.parametrize("mixes", MIXED)
def test_operands_on_two_devices_are_refused(mixes: Operation) -> None:
    with StandIn():
        x = torch.arange(4.0, device=DEVICE)
        with pytest.raises(WrongDevice):
            mixes(x)
        with pytest.raises(TypeError, match="to NumPy"):
            np.asarray(x)


def test_a_network_on_the_stand_in_learns_as_on_the_cpu() -> None:
    """With the same parameters before and after it is moved."""

    def weights_after_learning(device: str) -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        optimizer = torch.optim.Adam(network.parameters(), 0.1)
        network.to(device)
        for _ in range(3):
            loss = network(torch.randn(5, 3, device=device)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.step()
        assert {p.device.type for p in network.parameters()} == {device}
        copied = copy.deepcopy(network)
        return [parameter.detach().cpu() for parameter in copied.parameters()]

    on_cpu = weights_after_learning("cpu")
    with StandIn():
        torch.testing.assert_close(
            weights_after_learning("meta"), on_cpu, rtol=0, atol=0
        )


def test_a_saved_tensor_can_be_loaded_onto_both_devices() -> None:
    file = io.BytesIO()
    with StandIn():
        torch.save({"x": torch.arange(3.0, device=DEVICE)}, file)
        for device in ("cpu", "meta"):
            file.seek(0)
            loaded = torch.load(file, map_location=device)["x"]
            assert (loaded.device.type, loaded.tolist()) == (device, [0.0, 1.0, 2.0])


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_draws_the_random_numbers_of_the_cpu(device: str) -> None:
    def numbers(device: str) -> list[torch.Tensor]:
        torch.manual_seed(0)
        generator = torch.Generator(device).manual_seed(1)
        drawn = [
            torch.rand(3, device=device),
            torch.rand(3, device=device, generator=generator),
            torch.rand(3, device=device, generator=generator),
            torch.empty(3, device=device).exponential_(),
            torch.empty(3, device=device).uniform_(-1, 1, generator=generator),
            torch.normal(torch.zeros(3, device=device), 1.0),
        ]
        return [x.cpu() for x in drawn]

    on_cpu = numbers("cpu")
    with context_of(device), SameRandomNumbers():
        assert torch.equal(torch.stack(numbers(device)), torch.stack(on_cpu))
