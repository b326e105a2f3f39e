import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pg_agents.checker.script import check_script, hand_in
from pg_agents.checker.script.taps import differentiate


def test_outside_a_check_nothing_happens() -> None:
    parameters = [np.ones((2, 3))]
    assert hand_in(lambda p, o: o @ p[0], parameters, [np.zeros((2, 3))]) is False


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\[\(2,\)\], got \[\(3,\)\]"):
        hand_in(lambda p, o: o, [np.ones(2)], [np.ones(3)])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)]
)
def test_numerical_derivatives_are_those_of_calculus(
    dtype: type, tolerance: float
) -> None:
    rng = np.random.default_rng(0)
    shapes = (4, 6), (6, 2), (5, 4)
    arrays: list[Any] = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    w, v, observations = arrays

    def outputs(parameters: Any, observations: Any) -> Any:
        return np.tanh(observations @ parameters[0]) @ parameters[1]

    kept = [np.array([0, 7, 23]), np.array([1, 11])]
    table, (by_w, by_v) = differentiate(outputs, [w, v], observations, kept)
    hidden = np.tanh(observations @ w)
    np.testing.assert_allclose(table, hidden @ v, rtol=1e-6)
    for column, index in enumerate(kept[0]):
        i, j = divmod(int(index), 6)
        exact = (observations[:, i] * (1 - hidden[:, j] ** 2))[:, None] * v[j]
        np.testing.assert_allclose(by_w[..., column], exact, atol=tolerance)
    for column, index in enumerate(kept[1]):
        i, j = divmod(int(index), 2)
        exact = np.zeros((5, 2))
        exact[:, j] = hidden[:, i]
        np.testing.assert_allclose(by_v[..., column], exact, atol=tolerance)


@pytest.mark.parametrize(
    ("score", "mistakes"),
    [
        ("np.eye(2)[action] - pi", []),
        # That of the logit, which also moves their mean.
        pytest.param("np.eye(2)[action]", ["logit"], marks=pytest.mark.slow),
        pytest.param(
            "pi - np.eye(2)[action]", ["sign_flipped"], marks=pytest.mark.slow
        ),
    ],
)
def test_the_script_of_the_guide_is_checked(
    score: str, mistakes: list[str], tmp_path: Path
) -> None:
    page = Path(__file__).parents[4] / "docs" / "check-your-script.md"
    found = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    (block,) = [text for text in found if "hand_in(" in text]
    script = tmp_path / "train.py"
    script.write_text(block.replace("np.eye(2)[action] - pi", score))
    report = check_script(script)
    assert [f.key for f in report.findings if f.kind == "mistake"] == mistakes
    assert report.right == (not mistakes)
