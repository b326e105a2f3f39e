"""The scripts in proofs/ count and report correctly."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from proofs import sb3_suite
from proofs.call_trace import trace

CODE = """
def outer():
    return [inner(i) for i in range(3)]


def inner(i):
    '''Has a docstring.'''

    # And a comment.
    if i:
        i += 1
    return (lambda: i)()


def unused():
    return None
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "traced.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "traced", raising=False)
    import traced  # type: ignore[import-not-found]

    monkeypatch.delitem(sys.modules, "traced")
    found: ModuleType = traced
    return found


def test_a_trace_counts_functions_and_calls_of_the_package(module: ModuleType) -> None:
    found = trace(module.outer, module)
    assert found.files == 1
    # Lambdas and comprehensions belong to the function around them.
    assert found.functions == 2
    assert found.calls == 4
    # `def` and three lines of code.
    assert found.longest == ("inner", 4)


def test_failures_are_reported_with_their_reason() -> None:
    outcomes = {
        "tests/test_a.py::test_tensorboard[a2c]": ("failed", "assert False"),
        "tests/test_a.py::test_predict[cuda]": ("skipped", ""),
        "tests/test_a.py::test_predict[cpu]": ("passed", ""),
    }
    text, explained = sb3_suite.describe("ActorCritic", outcomes)
    assert text.splitlines()[0] == "ActorCritic passes 1 of 2 (1 skipped)"
    assert "A2C_1" in text and explained
    outcomes["tests/test_a.py::test_other"] = ("failed", "no")
    text, explained = sb3_suite.describe("ActorCritic", outcomes)
    assert "test_other: UNEXPLAINED" in text and not explained


def test_tests_of_other_algorithms_are_left_out() -> None:
    """On functions as pytest collects them."""
    from types import SimpleNamespace

    from stable_baselines3 import A2C, PPO

    def uses_a2c() -> None:
        A2C("MlpPolicy", "CartPole-v1")

    def uses_nothing() -> None:
        """Mentions A2C."""

    def item(function: object, **params: object) -> SimpleNamespace:
        return SimpleNamespace(
            function=function,
            callspec=SimpleNamespace(params=params),
            _fixtureinfo=SimpleNamespace(name2fixturedefs={}),
        )

    assert sb3_suite.concerns_a2c(item(uses_a2c))
    assert sb3_suite.concerns_a2c(item(uses_nothing, model_class=A2C))
    assert sb3_suite.concerns_a2c(item(uses_nothing, model=(A2C, {})))
    assert sb3_suite.concerns_a2c(item(uses_nothing, name="a2c"))
    assert not sb3_suite.concerns_a2c(item(uses_nothing))
    # A class as parameter decides, whatever else the code uses.
    assert not sb3_suite.concerns_a2c(item(uses_a2c, model_class=PPO))
