from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_envs.rendering.widgets import (
    label_stride,
    labelled_indices,
    percentages,
    short,
    signed,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "+1.00"), (-0.05, "−0.05"), (0, "0.00"), (-0.001, "0.00")],  # noqa: RUF001
)
def test_signed(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "+1"), (-0.05, "−0.05"), (0.0, "0"), (-0.0, "0")],  # noqa: RUF001
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(
    ("probabilities", "texts"),
    [
        ([0.0, 1.0], ["0%", "100%"]),
        ([0.001, 0.379, 0.62], ["<1%", "38%", "62%"]),
        ([0.002, 0.998], ["<1%", ">99%"]),
        # Rounded each to the nearest, they would sum to 101, 99 and 102.
        ([0.52, 0.425, 0.055], ["52%", "43%", "5%"]),
        ([1 / 3, 1 / 3, 1 / 3], ["33.3%", "33.3%", "33.3%"]),
        # What a network gives before it has learned.
        ([0.3331, 0.3334, 0.3335], ["33.3%", "33.3%", "33.4%"]),
        ([0.32, 0.334, 0.346], ["32%", "33%", "35%"]),
        ([0.4951, 0.4949, 0.01], ["49.5%", "49.5%", "1.0%"]),
        ([0.125, 0.125, 0.375, 0.375], ["13%", "13%", "37%", "37%"]),
        ([0.29, 0.71], ["29%", "71%"]),
    ],
)
def test_percentages_never_hide_a_rare_action(
    probabilities: list[float], texts: list[str]
) -> None:
    assert percentages(probabilities) == texts


@given(
    st.lists(
        st.floats(1e-6, 1.0) | st.sampled_from([0.5, 1.0]), min_size=1, max_size=40
    )
)
def test_percentages_sum_to_100_and_equal_ones_look_equal(weights: list[float]) -> None:
    """Each is less than 1 off; with a decimal the sum may be off by rounding."""
    probabilities = [weight / sum(weights) for weight in weights]
    texts = percentages(probabilities)
    shown = {"<1%": 0, ">99%": 100, "<0.1%": 0, ">99.9%": 100}
    numbers = [shown[t] if t in shown else float(t[:-1]) for t in texts]
    has_decimal = any("." in text for text in texts)
    room = 0.05 * len(weights) if has_decimal else 1e-9
    assert sum(numbers) == pytest.approx(100, abs=room + 1e-9)
    unit = 0.1 if has_decimal or len(weights) > 20 else 1.0
    for p, number in zip(probabilities, numbers, strict=True):
        assert abs(100 * p - number) < unit + 1e-5
    assert len(set(zip(weights, texts, strict=True))) == len(set(weights))


@pytest.mark.parametrize("n", range(1, 41))
def test_equal_shares_look_equal(n: int) -> None:
    assert len(set(percentages([1 / n] * n))) == 1


@given(st.integers(1, 60), st.integers(1, 10), st.lists(st.integers(0, 59), max_size=3))
def test_important_labels_come_first_and_none_are_crowded(
    n: int, stride: int, important: list[int]
) -> None:
    important = [i % n for i in important]
    chosen = sorted(labelled_indices(n, stride, important))
    assert all(b - a >= stride for a, b in pairwise(chosen))
    assert set(important[:1]) <= set(chosen)
    assert 0 <= chosen[0] <= chosen[-1] < n


@pytest.mark.parametrize(
    ("pitch", "stride"), [(58.0, 1), (23.0, 2), (6.0, 5), (0.5, 100)]
)
def test_labels_are_left_out_until_there_is_room(pitch: float, stride: int) -> None:
    assert label_stride(pitch) == stride
