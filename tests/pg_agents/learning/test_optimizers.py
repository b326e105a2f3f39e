"""Step rules on flat vectors, compared with torch's optimisers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from pg_agents.learning.optimizers import FlatParameters, adam, rmsprop, sgd

SHAPES = [(3, 4), (4,), (), (2, 1, 3)]
CASES: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {}),
    (SGD, {"maximize": True}),
    (SGD, {"weight_decay": 0.1}),
    (SGD, {"weight_decay": 0.1, "maximize": True}),
    (SGD, {"momentum": 0.9}),
    (SGD, {"momentum": 0.9, "dampening": 0.3}),
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "dampening": 0.3, "maximize": True, "weight_decay": 0.2}),
    (Adam, {}),
    (Adam, {"betas": (0.5, 0.7), "eps": 1e-3}),
    (Adam, {"betas": (0.0, 0.9)}),
    (Adam, {"weight_decay": 0.1, "maximize": True}),
    (Adam, {"amsgrad": True, "betas": (0.8, 0.3)}),
    (AdamW, {}),
    (AdamW, {"weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    (RMSprop, {}),
    (RMSprop, {"alpha": 0.7, "eps": 1e-2, "weight_decay": 0.1}),
    (RMSprop, {"momentum": 0.8, "maximize": True}),
    (RMSprop, {"centered": True, "weight_decay": 0.1, "maximize": True}),
    (RMSprop, {"centered": True, "momentum": 0.8}),
    (RMSpropTFLike, {}),
    (RMSpropTFLike, {"alpha": 0.7, "eps": 1e-2, "weight_decay": 0.1}),
    (RMSpropTFLike, {"centered": True, "momentum": 0.8}),
]
EACH_CASE = pytest.mark.parametrize(("cls", "options"), CASES)
# One with every kind of state: none, tensors, tensors and counts, integers.
STATES: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {}),
    (SGD, {"momentum": 0.9, "dampening": 0.3}),
    (Adam, {"amsgrad": True}),
    (AdamW, {}),
    (RMSprop, {"centered": True, "momentum": 0.8}),
    (RMSpropTFLike, {"centered": True, "momentum": 0.8}),
]
EACH_STATE = pytest.mark.parametrize(("cls", "options"), STATES)


def make(
    cls: type[Optimizer],
    options: dict[str, Any],
    dtype: torch.dtype = torch.float64,
    rates: tuple[float, ...] = (0.05,),
) -> Optimizer:
    """Returns an optimiser of equal parameters at each call, one group for each lr."""
    generator = torch.Generator().manual_seed(1)
    parameters = [
        nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype))
        for shape in SHAPES
    ]
    groups = [
        {"params": parameters[i :: len(rates)], "lr": rate}
        for i, rate in enumerate(rates)
    ]
    return cls(groups, lr=0.05, **options)  # type: ignore[call-arg]


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def gradients_at(step: int, optimizer: Optimizer) -> list[Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    scale = 10.0 ** (step % 5 - 2)
    return [
        scale * torch.randn(p.shape, generator=generator, dtype=p.dtype)
        for p in parameters_of(optimizer)
    ]


def torch_step(step: int, optimizer: Optimizer) -> None:
    for p, gradient in zip(
        parameters_of(optimizer), gradients_at(step, optimizer), strict=True
    ):
        p.grad = gradient
    optimizer.step()


def flat_step(step: int, flat: FlatParameters, optimizer: Optimizer) -> None:
    for p, gradient in zip(
        parameters_of(optimizer), gradients_at(step, optimizer), strict=True
    ):
        flat.gradient(p)[...] = gradient.numpy()
    flat.attach_gradients()
    flat.step()


def assert_same(ours: Optimizer, theirs: Optimizer, rtol: float = 1e-12) -> None:
    """Compares parameters and the whole state."""
    for p, q in zip(parameters_of(ours), parameters_of(theirs), strict=True):
        torch.testing.assert_close(p, q, rtol=rtol, atol=rtol)
    a, b = ours.state_dict(), theirs.state_dict()
    assert a["param_groups"] == b["param_groups"]
    assert a["state"].keys() == b["state"].keys()
    for key, state in a["state"].items():
        assert list(state) == list(b["state"][key])
        for name, value in state.items():
            expected = b["state"][key][name]
            assert type(value) is type(expected)
            if isinstance(value, Tensor):
                torch.testing.assert_close(value, expected, rtol=rtol, atol=rtol)
            else:
                assert value == expected


def run_both(
    cls: type[Optimizer], options: dict[str, Any], **settings: Any
) -> tuple[Optimizer, FlatParameters, Optimizer]:
    ours, theirs = make(cls, options, **settings), make(cls, options, **settings)
    return ours, FlatParameters(ours), theirs


class Counted:
    """Counts calls of torch's step, which is replaced on the class."""

    calls = 0


@pytest.fixture
def torch_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """Counts how often the groups of an optimiser are read by torch's own step."""
    counted = Counted()
    for cls in (SGD, Adam, RMSprop):
        original = cls._init_group

        def init_group(
            self: Any, *args: Any, _original: Any = original, **kwargs: Any
        ) -> Any:
            counted.calls += 1
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(cls, "_init_group", init_group)
    yield counted


@EACH_CASE
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)]
)
@pytest.mark.parametrize("rates", [(0.05,), (0.05, 0.01)])
def test_equals_torch_over_many_steps(
    cls: Any, options: Any, dtype: Any, rtol: float, rates: Any, torch_steps: Counted
) -> None:
    ours, flat, theirs = run_both(cls, options, dtype=dtype, rates=rates)
    for step in range(60):
        flat_step(step, flat, ours)
    assert torch_steps.calls == 0
    for step in range(60):
        torch_step(step, theirs)
    assert_same(ours, theirs, rtol)


@EACH_CASE
@pytest.mark.parametrize("first", [0, 1])
def test_steps_alternate_with_torch(cls: Any, options: Any, first: int) -> None:
    ours, flat, theirs = run_both(cls, options)
    for step in range(12):
        if step % 3 == first:
            torch_step(step, ours)
        else:
            flat_step(step, flat, ours)
        torch_step(step, theirs)
        assert_same(ours, theirs)
    assert flat.is_bound()


@EACH_STATE
def test_adopts_loaded_state(cls: Any, options: Any, torch_steps: Counted) -> None:
    ours, flat, theirs = run_both(cls, options)
    for step in range(5):
        torch_step(step, theirs)
    saved = io.BytesIO()
    torch.save(theirs.state_dict(), saved)
    flat_step(99, flat, ours)
    saved.seek(0)
    ours.load_state_dict(torch.load(saved))
    for p, q in zip(parameters_of(ours), parameters_of(theirs), strict=True):
        p.data.copy_(q.data)
    assert flat.is_bound()
    torch_steps.calls = 0
    for step in range(5, 9):
        flat_step(step, flat, ours)
    assert torch_steps.calls == 0
    for step in range(5, 9):
        torch_step(step, theirs)
    assert_same(ours, theirs)


@EACH_STATE
def test_loading_copies_the_state_of_another_optimizer(cls: Any, options: Any) -> None:
    first, flat_first, theirs = run_both(cls, options)
    for step in range(3):
        flat_step(step, flat_first, first)
        torch_step(step, theirs)
    second = make(cls, options)
    second.load_state_dict(first.state_dict())
    flat_step(50, FlatParameters(second), second)
    assert_same(first, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_free_leading_axes_have_their_own_steps_and_rates(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    kind = np.float32 if dtype is torch.float32 else np.float64
    rates, starts = [0.1, 0.01, 0.05], [0, 3, 7]
    lr = np.array(rates).reshape(3, 1)
    gradients = rng.normal(size=(12, 3, 5)).astype(kind)
    rules: list[tuple[Any, Any, dict[str, Any], tuple[str, ...]]] = [
        (sgd, SGD, {"momentum": 0.9, "dampening": 0.4}, ("momentum_buffer",)),
        (adam, Adam, {}, ("exp_avg", "exp_avg_sq")),
        (rmsprop, RMSprop, {}, ("square_avg",)),
    ]
    for rule, cls, options, names in rules:
        values = np.ones((3, 5), kind)
        state = {name: np.zeros((3, 5), kind) for name in names}
        steps = np.zeros((3, 1), int)
        for t in range(12):
            steps += 1
            for row, start in enumerate(starts):
                if t == start:
                    # A row starts anew.
                    values[row], steps[row] = 1.0, 1
                    for moments in state.values():
                        moments[row] = 0.0
            counted = {} if rule is rmsprop else {"steps": steps}
            rule(values, gradients[t], state, lr=lr, **counted, **options)
        assert values.dtype == kind
        for row, (rate, start) in enumerate(zip(rates, starts, strict=True)):
            parameter = nn.Parameter(torch.ones(5, dtype=dtype))
            optimizer = cls([parameter], lr=rate, **options)
            for t in range(start, 12):
                parameter.grad = torch.from_numpy(gradients[t, row])
                optimizer.step()
            np.testing.assert_allclose(
                values[row],
                parameter.detach().numpy(),
                rtol=1e-5 if kind is np.float32 else 1e-12,
            )


def test_rules_leave_gradients_unchanged() -> None:
    for cls, options in CASES:
        ours = make(cls, options)
        flat = FlatParameters(ours)
        for step in range(2):
            flat_step(step, flat, ours)
        expected = [g.flatten() for g in gradients_at(1, ours)]
        np.testing.assert_array_equal(flat.gradients, torch.cat(expected).numpy())
