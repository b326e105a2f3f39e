"""The trace changes nothing of what is computed."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pg_agents.checker.lines.tracer import _OPERATORS, Tracer


class Doubled(torch.autograd.Function):
    """A function with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, given: Tensor) -> Tensor:
        return given * 2

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * 2


def updates() -> list[Tensor]:
    """Some updates with random numbers; returns weights, gradients and numbers."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2))
    bias = next(p for p in net.parameters() if p.dim() == 1)
    doubled: Callable[[Tensor], Tensor] = getattr(Doubled, "apply")  # noqa: B009
    optimizer = torch.optim.Adam(net.parameters())
    found = []
    for _ in range(12):
        obs, weights = torch.randn(5, 3), torch.rand(5)
        dist = torch.distributions.Categorical(logits=doubled(net(obs)))
        loss = -(dist.log_prob(dist.sample()) * weights[:, None]).mean()
        loss = 1.0 - loss / 2 + 0.1 * dist.entropy().sum()
        (gradient,) = torch.autograd.grad(loss, bias, create_graph=True)
        optimizer.zero_grad()
        (loss + gradient.square().sum()).backward()
        optimizer.step()
        found += [p.detach().clone() for p in net.parameters()]
        found += [p.grad.clone() for p in net.parameters() if p.grad is not None]
    found.append(torch.tensor([random.random(), np.random.rand(), torch.rand(())]))
    return found


def state() -> list[Any]:
    """What the trace replaces, and must put back."""
    functions = [torch.autograd.backward, torch.autograd.grad]
    functions += [torch.is_anomaly_enabled, torch.set_anomaly_enabled]
    operators = [getattr(Tensor, name) for name in _OPERATORS]
    own = [name in vars(Tensor) for name in _OPERATORS]
    return [*functions, *operators, *own, torch.is_anomaly_enabled()]


def test_a_traced_script_computes_the_same() -> None:
    plain, before = updates(), state()
    tracer = Tracer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tracer.tracing():
            traced = updates()
    assert state() == before
    assert len(tracer.graphs) > 1
    assert all(map(torch.equal, traced, plain))


def divided_by_zero(switch: Callable[[], Any]) -> str:
    """Returns the error of a backward pass with a NaN, with anomaly mode or without."""
    weight = torch.zeros(2, requires_grad=True)
    try:
        with switch():
            (weight / weight).sum().backward()
    except RuntimeError as error:
        return str(error)
    return "none"


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.filterwarnings("ignore:Error detected")
def test_a_script_may_use_anomaly_mode_itself() -> None:
    before = state()
    tracer = Tracer()
    with tracer.tracing():
        assert divided_by_zero(warnings.catch_warnings) == "none"
        found = divided_by_zero(torch.autograd.detect_anomaly)
        assert "returned nan values" in found
        # The script's own mode has ended the trace, and is off again.
        assert state() == before
    with torch.autograd.set_detect_anomaly(True), Tracer().tracing():
        assert torch.is_anomaly_enabled() and torch.is_anomaly_check_nan_enabled()
    assert state() == before


def test_errors_are_those_of_the_script() -> None:
    def failing() -> None:
        weight = torch.ones(2, requires_grad=True)
        loss = weight.exp().sum()
        loss.backward()
        loss.backward()

    with pytest.raises(RuntimeError, match="backward through the graph") as plain:
        failing()
    before = state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with (
            pytest.raises(RuntimeError, match="backward through the graph") as traced,
            Tracer().tracing(),
        ):
            failing()
    assert state() == before and str(traced.value) == str(plain.value)


def test_nothing_is_traced_while_a_loss_is_differentiated() -> None:
    """Anomaly mode would print a warning at each error there."""
    modes: list[bool] = []
    with Tracer().tracing():
        weight = torch.ones(2, requires_grad=True)
        weight.register_hook(lambda _: modes.append(torch._C.is_anomaly_enabled()))
        modes.append(torch._C.is_anomaly_enabled())
        weight.exp().sum().backward()
        torch.autograd.grad(weight.exp().sum(), weight)
        modes.append(torch._C.is_anomaly_enabled())
    assert modes == [True, False, False, True]


def test_a_loss_may_be_nan() -> None:
    """The check has a finding of its own about it."""
    tracer = Tracer()
    with tracer.tracing():
        weight = torch.ones((), requires_grad=True)
        (weight * torch.tensor(float("nan"))).backward()
        (weight.exp() / 0.0).backward()
    assert [graph.nodes[-1].signs[0] for graph in tracer.graphs] == [0, 0]


def test_a_few_losses_are_enough() -> None:
    """A trace costs time for each node."""
    tracer = Tracer()
    with tracer.tracing():
        for _ in range(20):
            torch.ones(2, requires_grad=True).sum().backward()
        assert not torch._C.is_anomaly_enabled()
    assert len(tracer.graphs) < 20


def test_operators_see_where_two_vectors_make_a_table() -> None:
    tracer = Tracer()
    with tracer.tracing():
        log_probs = torch.zeros(4, requires_grad=True).exp()
        table = torch.arange(4.0) - torch.ones(4, 1)
        row = torch.arange(4.0) - torch.ones(1)
        (log_probs * table * row).sum().backward()
    (graph,) = tracer.graphs
    (crossing,) = graph.crossings
    (user,) = crossing.users
    assert crossing.kind == "table" and crossing.node == -1
    assert graph.nodes[user].name == "Mul" and graph.nodes[user].shape == (4, 4)
