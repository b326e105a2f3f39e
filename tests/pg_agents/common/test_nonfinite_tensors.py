"""Which tensor is the first with a number that is not finite, and how it is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pg_agents.common.nonfinite import all_finite, first_nonfinite

NAN, INFINITY = float("nan"), float("inf")
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]


def with_numbers(dtype: torch.dtype, *numbers: float) -> Tensor:
    tensor = torch.zeros(4, 8, dtype=dtype)
    for place, number in enumerate(numbers):
        tensor.view(-1)[5 * place + 3] = number
    return tensor


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((NAN,), "w has 1 of 32 entries NaN"),
        ((NAN, NAN, NAN), "w has 3 of 32 entries NaN"),
        ((INFINITY, -INFINITY), "w has 2 of 32 entries infinite"),
        ((NAN, -INFINITY), "w has 1 of 32 entries NaN and 1 infinite"),
        ((1.0, -2.0), None),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_each_kind_of_number_is_found_wherever_it_is(
    dtype: torch.dtype, numbers: tuple[float, ...], says: str | None, at: int
) -> None:
    named = {f"v{i}": torch.full((3,), 2.0) for i in range(2)}
    items = list(named.items())
    items.insert(at, ("w", with_numbers(dtype, *numbers)))
    assert first_nonfinite(dict(items)) == says
    assert all_finite(tensor for _, tensor in items) is (says is None)


@pytest.mark.parametrize("dtype", FLOATS)
def test_large_numbers_are_finite_though_their_norm_overflows(
    dtype: torch.dtype,
) -> None:
    largest = torch.full((3, 3), torch.finfo(dtype).max, dtype=dtype)
    assert first_nonfinite({"a": largest, "b": -largest}) is None


def test_tensors_that_cannot_hold_such_numbers_are_finite() -> None:
    named = {
        "integers": torch.tensor([2**62, -1]),
        "booleans": torch.tensor([True]),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(1.0),
    }
    assert first_nonfinite(named) is None
    assert first_nonfinite({}) is None


def test_the_first_of_several_is_named_and_nothing_changes() -> None:
    parameter = torch.nn.Parameter(with_numbers(torch.float32, NAN))
    before = parameter.detach().clone()
    named = {"first": parameter, "second": torch.tensor(INFINITY)}
    assert first_nonfinite(named) == "first has 1 of 32 entries NaN"
    assert torch.equal(before.isnan(), parameter.isnan()) and parameter.grad is None
