"""Step rules on flat vectors, compared with torch's optimisers."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file, save_file
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import StepLR
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from pg_agents.learning.critic import join_critic, split_critic
from pg_agents.learning.optimizers import FlatParameters, adam, rmsprop, sgd
from pg_agents.policies.policies import MlpPolicy
from pg_agents.policies.tabular import TabularPolicy

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
    """How often torch's own step has run on a group."""

    calls = 0


@pytest.fixture
def torch_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """Counts runs of torch's own steps, but RMSpropTFLike's."""
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
        # The dtype of counts in torch.
        steps = np.zeros((3, 1), np.float32)
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


def make_policy(policy: Any = MlpPolicy, **options: Any) -> Any:
    torch.manual_seed(3)
    box: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (3,))
    return policy(
        spaces.Discrete(3) if policy is TabularPolicy else box,
        spaces.Discrete(2),
        lambda _: 0.05,
        **({} if policy is TabularPolicy else {"net_arch": [4, 4]}),
        **options,
    )


def weights(policy: Any) -> Tensor:
    return nn.utils.parameters_to_vector(policy.parameters()).detach().clone()


def test_vectors_are_the_memory_of_torch() -> None:
    ours, theirs = make(Adam, {}), make(Adam, {})
    flat = FlatParameters(ours)
    expected = torch.cat([p.detach().flatten() for p in parameters_of(theirs)])
    np.testing.assert_array_equal(flat.values, expected.numpy())
    # An optimiser without gradients skips its parameters.
    assert all(p.grad is None for p in parameters_of(ours))
    flat.attach_gradients()
    for p in parameters_of(ours):
        with torch.no_grad():
            p.fill_(2.0)
        flat.value(p)[...] += 1.0
        assert flat.value(p).shape == p.shape
        torch.testing.assert_close(p, torch.full_like(p, 3.0))
        flat.gradient(p)[...] = 4.0
        torch.testing.assert_close(p.grad, torch.full_like(p, 4.0))
    np.testing.assert_array_equal(flat.values, 3.0)
    np.testing.assert_array_equal(flat.gradients, 4.0)
    ours.zero_grad(set_to_none=False)
    np.testing.assert_array_equal(flat.gradients, 0.0)
    sum(p.sum() for p in parameters_of(ours)).backward()  # type: ignore[union-attr]
    np.testing.assert_array_equal(flat.gradients, 1.0)
    with pytest.raises(ValueError, match=r"no such parameter, of shape \[7\]"):
        flat.value(torch.zeros(7))
    with pytest.raises(ValueError, match=r"no such parameter, of shape \[7\]"):
        flat.gradient(torch.zeros(7))


class OwnAdam(Adam):
    pass


def shared() -> list[nn.Parameter]:
    first, second = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
    second.data = first.data
    return [first, second]


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda p: Adagrad([p]), "its class is Adagrad, none of SGD, Adam"),
        (lambda p: OwnAdam([p]), "its class is OwnAdam"),
        (lambda p: Adam([p], capturable=True), "capturable=True"),
        (lambda p: Adam([p], differentiable=True), "differentiable=True"),
        (lambda p: Adam([p], lr=torch.tensor(0.1)), "its lr is a tensor"),
        (
            lambda p: Adam([p], betas=(torch.tensor(0.1), torch.tensor(0.1))),
            "its betas is a tensor",
        ),
        (lambda p: SGD([{"params": []}]), "it has no parameters"),
        (lambda p: SGD([nn.UninitializedParameter()]), "is a UninitializedParameter"),
        (lambda p: SGD([p.to("meta").detach().requires_grad_()]), "the device meta"),
        (lambda p: SGD([p.detach().half().requires_grad_()]), "torch.float16"),
        (lambda p: SGD([torch.zeros(2, 3).T.requires_grad_()]), "and contiguous"),
        (lambda p: SGD([p.detach()]), "does not require gradients"),
        (
            lambda p: SGD([p, p.detach().double().requires_grad_()]),
            "several dtypes",
        ),
        (lambda p: SGD(shared()), "share memory"),
    ],
)
def test_says_what_is_not_supported(optimizer: Any, message: str) -> None:
    made = optimizer(nn.Parameter(torch.zeros(3)))
    reason = FlatParameters.unsupported(made)
    assert reason is not None and message in reason
    with pytest.raises(ValueError, match="can't step the optimizer"):
        FlatParameters(made)


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with dup")
def test_a_parameter_given_twice_is_not_supported() -> None:
    parameter = nn.Parameter(torch.zeros(0))
    reason = FlatParameters.unsupported(SGD([parameter, parameter]))
    assert reason == "two of its parameters share memory"


def replace_parameter(policy: Any) -> None:
    params = policy.optimizer.param_groups[0]["params"]
    params[0] = nn.Parameter(params[0].detach().clone())


def transpose(policy: Any) -> None:
    layer = policy.mlp_extractor.policy_net[2]
    layer.weight.data = layer.weight.data.T


def reshape(policy: Any) -> None:
    policy.action_net.weight.data = policy.action_net.weight.data.view(4, 2)


UNBIND: dict[str, Any] = {
    "to": lambda policy: policy.to(torch.float64),
    "share_memory": lambda policy: policy.share_memory(),
    "data": lambda policy: setattr(
        policy.action_net.bias, "data", policy.action_net.bias.data.clone()
    ),
    "transpose": transpose,
    "reshape": reshape,
    "split": split_critic,
    "replace": replace_parameter,
    "freeze": lambda policy: policy.action_net.requires_grad_(False),
    "add": lambda policy: policy.optimizer.add_param_group(
        {"params": [nn.Parameter(torch.zeros(2))]}
    ),
    "remove": lambda policy: policy.optimizer.param_groups[0]["params"].pop(),
}
STAY: dict[str, Any] = {
    "nothing": lambda policy: None,
    "same device and dtype": lambda policy: policy.to("cpu").float(),
    "load": lambda policy: policy.load_state_dict(make_policy().state_dict()),
    "zero_grad": lambda policy: policy.optimizer.zero_grad(),
    "optimizer": lambda policy: policy.optimizer.load_state_dict(
        deepcopy(policy.optimizer.state_dict())
    ),
    "copy": deepcopy,
}


@pytest.mark.parametrize("change", UNBIND)
def test_knows_that_parameters_have_left(change: str) -> None:
    policy = make_policy()
    flat = FlatParameters(policy.optimizer)
    flat.attach_gradients()
    assert flat.is_bound()
    UNBIND[change](policy)
    assert not flat.is_bound()
    if FlatParameters.unsupported(policy.optimizer) is None:
        again = FlatParameters(policy.optimizer)
        assert again.is_bound() and not flat.is_bound()


@pytest.mark.parametrize("change", STAY)
def test_knows_that_parameters_have_stayed(change: str) -> None:
    policy = make_policy()
    flat = FlatParameters(policy.optimizer)
    flat.attach_gradients()
    STAY[change](policy)
    assert flat.is_bound()
    np.testing.assert_array_equal(flat.values, weights(policy).numpy())


def test_does_not_contain_parameters_that_a_module_got_later() -> None:
    policy = make_policy()
    flat = FlatParameters(policy.optimizer)
    old = list(policy.parameters())
    assert all(p in flat for p in old)
    policy.load_state_dict(deepcopy(policy.state_dict()), assign=True)
    assert not any(p in flat for p in policy.parameters())
    # As in torch, the optimiser still has those that the policy had.
    assert flat.is_bound() and all(p in flat for p in old)


def test_steps_parameters_that_have_left_as_torch_does() -> None:
    ours, flat, theirs = run_both(Adam, {})
    flat_step(0, flat, ours)
    torch_step(0, theirs)
    for p in parameters_of(ours):
        p.data = p.data.clone()
    flat_step(1, flat, ours)
    torch_step(1, theirs)
    assert_same(ours, theirs)


@EACH_STATE
def test_groups_that_are_split_and_joined_keep_their_state(
    cls: Any, options: Any
) -> None:
    ours, theirs = (
        make_policy(optimizer_class=cls, optimizer_kwargs=options) for _ in range(2)
    )
    for step, change in enumerate([None, split_critic, join_critic]):
        for policy in (ours, theirs):
            if change is not None:
                change(policy)
        flat = FlatParameters(ours.optimizer)
        for i in range(3):
            flat_step(3 * step + i, flat, ours.optimizer)
            torch_step(3 * step + i, theirs.optimizer)
    assert_same(ours.optimizer, theirs.optimizer, 1e-5)


COPIES: dict[str, Any] = {
    "deepcopy": deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "cloudpickle": lambda x: pickle.loads(cloudpickle.dumps(x)),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_ordinary_and_independent(copy: str) -> None:
    modules = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = Adam(modules.parameters(), lr=0.1)
    flat = FlatParameters(optimizer)
    flat_step(0, flat, optimizer)
    copied, stepped, handle = COPIES[copy]((modules, optimizer, flat))
    assert not handle.is_bound()
    before = flat.values.copy()
    exp_avg = [s["exp_avg"].clone() for s in optimizer.state.values()]
    torch_step(1, stepped)
    np.testing.assert_array_equal(flat.values, before)
    assert all(
        torch.equal(s["exp_avg"], e)
        for s, e in zip(optimizer.state.values(), exp_avg, strict=True)
    )
    # The copied optimiser steps the copied modules.
    flat_step(1, flat, optimizer)
    for p, q in zip(modules.parameters(), copied.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert FlatParameters(stepped).is_bound()


def test_one_layer_is_saved_without_the_others(tmp_path: Path) -> None:
    policy = make_policy()
    small, large = nn.Linear(2, 2), nn.Linear(200, 200)
    FlatParameters(SGD([*large.parameters(), *small.parameters()], lr=0.1))
    saved = io.BytesIO()
    torch.save(small.state_dict(), saved)
    assert len(saved.getvalue()) < 10_000
    FlatParameters(policy.optimizer)
    save_file(policy.state_dict(), tmp_path / "policy.safetensors")
    loaded = load_file(tmp_path / "policy.safetensors")
    for name, tensor in policy.state_dict().items():
        assert torch.equal(loaded[name], tensor)


@EACH_STATE
def test_state_appears_at_the_first_step(cls: Any, options: Any) -> None:
    ours = make(cls, options)
    flat = FlatParameters(ours)
    flat.attach_gradients()
    flat.clip(1.0)
    assert len(ours.state) == 0
    flat.step()
    assert len(ours.state) == (len(SHAPES) if (cls, options) != (SGD, {}) else 0)


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"fused": True}, {"foreach": True}])
def test_counts_have_the_dtype_of_torch(default: torch.dtype, options: Any) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        ours, flat, theirs = run_both(Adam, options)
        for step in range(3):
            flat_step(step, flat, ours)
            torch_step(step, theirs)
        assert_same(ours, theirs)
    finally:
        torch.set_default_dtype(before)


@EACH_STATE
def test_parameters_without_gradient_are_skipped(cls: Any, options: Any) -> None:
    ours, flat, theirs = run_both(cls, options)
    for step in range(6):
        if step in (2, 4):
            # Counts of steps differ from here on.
            for optimizer in (ours, theirs):
                torch_step(step, optimizer)
                for p, g in zip(
                    parameters_of(optimizer),
                    gradients_at(10 + step, optimizer),
                    strict=True,
                ):
                    p.grad = g
                parameters_of(optimizer)[1].grad = None
            flat.step()
            theirs.step()
        else:
            flat_step(step, flat, ours)
            torch_step(step, theirs)
    assert_same(ours, theirs)


def clear(optimizer: Optimizer) -> None:
    optimizer.state.clear()


def clear_one(optimizer: Optimizer) -> None:
    optimizer.state.pop(parameters_of(optimizer)[1], None)


def halve(optimizer: Optimizer) -> None:
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor) and name != "step":
                state[name] = value / 2


def set_count(optimizer: Optimizer) -> None:
    for state in optimizer.state.values():
        if isinstance(state.get("step"), Tensor):
            state["step"] = torch.tensor(7.0)
        elif "step" in state:
            state["step"] = 7


def set_one_count(optimizer: Optimizer) -> None:
    state = optimizer.state.get(parameters_of(optimizer)[0], {})
    if isinstance(state.get("step"), Tensor):
        state["step"].fill_(50.0)


def change_options(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        changed = {"lr": 0.3, "weight_decay": 0.2, "eps": 1e-3, "betas": (0.5, 0.6)}
        group.update({k: v for k, v in changed.items() if k in group})


def stop_momentum(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        if "momentum" in group:
            group["momentum"] = 0.0


def resume_momentum(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        if optimizer.defaults.get("momentum"):
            group["momentum"] = 0.7


@EACH_STATE
@pytest.mark.parametrize("rates", [(0.05,), (0.05, 0.01)])
def test_changes_of_state_and_options_count(cls: Any, options: Any, rates: Any) -> None:
    ours, flat, theirs = run_both(cls, options, rates=rates)
    changes = [halve, set_count, change_options, stop_momentum, resume_momentum]
    for change in [*changes, set_one_count, clear, clear_one, clear]:
        for optimizer in (ours, theirs):
            change(optimizer)
        for step in range(3):
            flat_step(step, flat, ours)
            torch_step(step, theirs)
        assert_same(ours, theirs)


def test_momentum_can_begin_later() -> None:
    ours, flat, theirs = run_both(SGD, {"dampening": 0.5})
    for step in range(6):
        for optimizer in (ours, theirs):
            optimizer.param_groups[0]["momentum"] = 0.9 if step > 2 else 0.0
        flat_step(step, flat, ours)
        torch_step(step, theirs)
    assert_same(ours, theirs)


def test_a_state_that_torch_refuses_is_refused() -> None:
    ours = make(RMSprop, {})
    flat = FlatParameters(ours)
    flat_step(0, flat, ours)
    ours.param_groups[0]["momentum"] = 0.9
    with pytest.raises(KeyError, match="momentum_buffer"):
        flat_step(1, flat, ours)


def test_schedulers_and_wrappers_of_step_run() -> None:
    ours, flat, theirs = run_both(Adam, {})
    schedulers = [StepLR(optimizer, 2, 0.5) for optimizer in (ours, theirs)]
    for step in range(7):
        flat_step(step, flat, ours)
        torch_step(step, theirs)
        for scheduler in schedulers:
            # It warns if it has not seen the optimiser's step.
            scheduler.step()
    assert_same(ours, theirs)

    ours, flat, _ = run_both(Adam, {})
    calls = []
    original = ours.step

    def step_twice(*args: Any) -> None:
        calls.append(args)
        original()
        original()

    ours.step = step_twice  # type: ignore[method-assign, assignment]
    flat_step(0, flat, ours)
    assert calls == [()]
    assert int(next(iter(ours.state.values()))["step"]) == 2


def test_a_step_replaced_on_the_class_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(SGD, "step", lambda self: calls.append(self))
    ours = make(SGD, {})
    flat = FlatParameters(ours)
    flat_step(0, flat, ours)
    assert calls == [ours]


@pytest.mark.parametrize("pre", ["none", "own", "global"])
def test_hooks_run_as_in_torch(pre: str) -> None:
    records: list[list[Any]] = []
    for is_flat in (True, False):
        optimizer = make(SGD, {})
        record: list[Any] = []

        def note(
            name: str, optimizer: Optimizer = optimizer, record: list[Any] = record
        ) -> Any:
            def hook(given: Optimizer, args: Any, kwargs: Any) -> None:
                assert given is optimizer and args == (optimizer,) and kwargs == {}
                total = sum(p.sum().item() for p in parameters_of(given))
                record.append((name, pytest.approx(total)))

            return hook

        optimizer.register_step_post_hook(note("post 1"))
        handles = [register_optimizer_step_post_hook(note("global post"))]
        optimizer.register_step_post_hook(note("post 2"))
        if pre == "own":
            optimizer.register_step_pre_hook(note("pre"))
        if pre == "global":
            handles.append(register_optimizer_step_pre_hook(note("pre")))
        try:
            if is_flat:
                flat_step(0, FlatParameters(optimizer), optimizer)
            else:
                torch_step(0, optimizer)
        finally:
            for handle in handles:
                handle.remove()
        records.append(record)
    assert records[0] == records[1]
    first = [] if pre == "none" else ["pre"]
    names = [*first, "post 1", "post 2", "global post"]
    assert [name for name, _ in records[0]] == names


def test_pre_hooks_change_gradients() -> None:
    ours, flat, theirs = run_both(Adam, {})

    def double(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        first, second, *_ = parameters_of(optimizer)
        first.grad = None
        assert second.grad is not None
        second.grad *= 2

    for optimizer in (ours, theirs):
        optimizer.register_step_pre_hook(double)
    flat_step(0, flat, ours)
    torch_step(0, theirs)
    assert_same(ours, theirs)


def test_a_table_is_clamped() -> None:
    policy = make_policy(TabularPolicy, max_logit=0.25)
    flat = FlatParameters(policy.optimizer)
    flat.attach_gradients()
    flat.gradients[:] = -100.0
    flat.step()
    assert torch.equal(policy.logits, torch.full((3, 2), 0.25))
    np.testing.assert_array_equal(flat.value(policy.value_net.weight), 5.0)


def test_old_graphs_are_not_differentiated() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = SGD([weight], lr=0.1)
    flat = FlatParameters(optimizer)
    loss = (weight**2).sum()
    flat.attach_gradients()
    flat.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 10, 9_000, 1_000_000])
@pytest.mark.parametrize("max_norm", [0.5, 1e6, float("inf"), 0.0])
def test_clips_as_torch(dtype: torch.dtype, size: int, max_norm: float) -> None:
    generator = torch.Generator().manual_seed(size)
    gradient = torch.randn(size, generator=generator, dtype=dtype)
    parts = [nn.Parameter(torch.zeros_like(g)) for g in gradient.split(3000)]
    for p, g in zip(parts, gradient.split(3000), strict=True):
        p.grad = g.clone()
    expected = nn.utils.clip_grad_norm_(parts, max_norm).item()
    clipped = torch.cat([p.grad for p in parts if p.grad is not None])
    flat = FlatParameters(SGD(parts, lr=0.1))
    flat.gradients[:] = gradient.numpy()
    norm = flat.clip(max_norm)
    rtol = 1e-6 if dtype is torch.float32 else 1e-12
    assert type(norm) is float
    assert norm == pytest.approx(expected, rel=rtol)
    exact = np.linalg.norm(gradient.double().numpy())
    assert norm == pytest.approx(exact, rel=2e-7 if dtype is torch.float32 else 1e-12)
    np.testing.assert_allclose(flat.gradients, clipped.numpy(), rtol=rtol)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("max_norm", [0.5, float("inf")])
@np.errstate(all="ignore")
def test_nonfinite_numbers_pass_as_in_torch(bad: float, max_norm: float) -> None:
    for cls, options in STATES:
        ours, flat, theirs = run_both(cls, options, dtype=torch.float32)
        for optimizer in (ours, theirs):
            flat.gradients[:] = 1.0
            for p in parameters_of(optimizer):
                p.grad = torch.ones_like(p)
            parameters_of(optimizer)[0].grad[0, 0] = bad  # type: ignore[index]
        flat.gradient(parameters_of(ours)[0])[0, 0] = bad
        flat.attach_gradients()
        norm = flat.clip(max_norm)
        expected = nn.utils.clip_grad_norm_(parameters_of(theirs), max_norm)
        np.testing.assert_allclose(norm, expected.item(), rtol=1e-6)
        for p, q in zip(parameters_of(ours), parameters_of(theirs), strict=True):
            torch.testing.assert_close(p.grad, q.grad, equal_nan=True)
        flat.step()
        theirs.step()
        for p, q in zip(parameters_of(ours), parameters_of(theirs), strict=True):
            torch.testing.assert_close(p, q, equal_nan=True)


def test_parameters_without_elements_are_kept() -> None:
    parameters = [nn.Parameter(torch.zeros(s)) for s in [(0,), (2,), (0, 3)]]
    groups: list[dict[str, Any]] = [{"params": []}, {"params": parameters}]
    flat = FlatParameters(Adam(groups, lr=0.1))
    flat.gradients[:] = 1.0
    flat.attach_gradients()
    flat.step()
    assert flat.is_bound() and flat.value(parameters[2]).shape == (0, 3)
    np.testing.assert_allclose(flat.values, -0.1, rtol=1e-6)
