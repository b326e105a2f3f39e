"""rl_zoo3, if it is there, without what importing it changes for other tests."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs import registration
from gymnasium.wrappers import common

REASON = 'these tests need the extra: pip install "pgtoy[zoo]"'


@pytest.fixture(scope="module")
def zoo() -> Iterator[Any]:
    """The package rl_zoo3 with ours registered.

    Importing it puts a TimeLimit of its own in the place of Gymnasium's, gives NumPy a
    name, and registers environments: all taken back, for the other tests' sake. (No
    test imports it while it is collected, for the same reason.)
    """
    limit, ids = gymnasium.wrappers.TimeLimit, dict(registration.registry)
    rl_zoo3 = pytest.importorskip("rl_zoo3", reason=REASON)
    from pg_agents.zoo import register

    register()
    yield rl_zoo3
    for place in (gymnasium.wrappers, common, registration):
        place.TimeLimit = limit  # type: ignore[attr-defined]
    if hasattr(np, "bool8"):
        del np.bool8
    registration.registry.clear()
    registration.registry.update(ids)


@pytest.fixture
def experiment(zoo: Any, tmp_path: Path) -> Callable[..., Any]:
    """Makes the ExperimentManager that `train` would make, without evaluations."""

    def make(algo: str, env: str = "PGToy-Sequence-v0", **named: Any) -> Any:
        named = {"eval_freq": -1, "verbose": 0, "device": "cpu", **named}
        return zoo.train.ExperimentManager(
            Namespace(), algo, env, str(tmp_path / "logs"), **named
        )

    return make
