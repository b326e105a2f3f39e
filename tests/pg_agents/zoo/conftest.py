"""rl_zoo3, if it is installed, with ours registered."""

from __future__ import annotations

import importlib
import importlib.util
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pg_agents.zoo import register

REASON = 'these tests need the extra: pip install "pgtoy[zoo]"'


@pytest.fixture(scope="module")
def zoo() -> Any:
    """The package rl_zoo3 with ours registered.

    Tests do not import it themselves, which would replace Gymnasium's TimeLimit.
    """
    if importlib.util.find_spec("rl_zoo3") is None:
        pytest.skip(REASON)
    register()
    return importlib.import_module("rl_zoo3")


@pytest.fixture
def experiment(zoo: Any, tmp_path: Path) -> Callable[..., Any]:
    """Makes the ExperimentManager that `train` would make, without evaluations."""

    def make(algo: str, env: str = "PGToy-Sequence-v0", **named: Any) -> Any:
        named = {"eval_freq": -1, "verbose": 0, "device": "cpu", **named}
        return zoo.train.ExperimentManager(
            Namespace(), algo, env, str(tmp_path / "logs"), **named
        )

    return make
