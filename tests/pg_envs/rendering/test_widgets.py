import pytest

from pg_envs.rendering.widgets import percentage, short, signed


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
    ("probability", "text"),
    [
        (0.0, "0%"),
        (0.001, "<1%"),
        (0.62, "62%"),
        (0.994, "99%"),
        (0.998, ">99%"),
        (1.0, "100%"),
    ],
)
def test_percentage_never_hides_a_rare_action(probability: float, text: str) -> None:
    assert percentage(probability) == text
