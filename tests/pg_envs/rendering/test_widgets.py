import pytest
from hypothesis import given
from hypothesis import strategies as st

from pg_envs.rendering.widgets import label_stride, percentages, short, signed


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
        ([1 / 3, 1 / 3, 1 / 3], ["34%", "33%", "33%"]),
        ([0.125, 0.125, 0.375, 0.375], ["13%", "13%", "37%", "37%"]),
        ([0.29, 0.71], ["29%", "71%"]),
    ],
)
def test_percentages_never_hide_a_rare_action(
    probabilities: list[float], texts: list[str]
) -> None:
    assert percentages(probabilities) == texts


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=40))
def test_percentages_sum_to_100_and_are_less_than_1_off(weights: list[float]) -> None:
    probabilities = [weight / sum(weights) for weight in weights]
    shown = {"<1%": 0, ">99%": 100}
    whole = [
        shown[t] if t in shown else int(t[:-1]) for t in percentages(probabilities)
    ]
    assert sum(whole) == 100
    for p, n in zip(probabilities, whole, strict=True):
        assert abs(100 * p - n) < 1 + 1e-5


@pytest.mark.parametrize(
    ("pitch", "stride"), [(58.0, 1), (23.0, 2), (6.0, 5), (0.5, 100)]
)
def test_labels_are_left_out_until_there_is_room(pitch: float, stride: int) -> None:
    assert label_stride(pitch) == stride
