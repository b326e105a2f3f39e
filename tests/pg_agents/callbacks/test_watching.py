"""Callbacks of pg_agents leave a training as it is; those of users are honoured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from pg_agents import REINFORCE, ActorCritic, LiveView
from pg_agents.callbacks import (
    KeepCheckpoints,
    ProgressCallback,
    Recorder,
    StopOnInterrupt,
    StopWhenSolved,
)
from pg_agents.callbacks.watching import only_watches
from tests.pg_agents.kinds import CARTPOLE, KINDS

Make = Callable[[Path], Any]
STOCK: dict[str, Make] = {
    "ProgressCallback": lambda folder: ProgressCallback(),
    "StopOnInterrupt": lambda folder: StopOnInterrupt(),
    "StopWhenSolved": lambda folder: StopWhenSolved(1e6),
    "KeepCheckpoints": lambda folder: KeepCheckpoints(50, folder),
    "Recorder": lambda folder: Recorder(np.eye(4, dtype=np.float32)),
}


def trained(algorithm: Any, env: Any, callback: Any) -> tuple[Tensor, list[Any]]:
    model = algorithm("MlpPolicy", env, seed=1, device="cpu")
    model.learn(200, callback)
    weights = torch.nn.utils.parameters_to_vector(model.policy.parameters())
    return weights.detach().clone(), [episode["r"] for episode in model.ep_info_buffer]


@pytest.mark.parametrize("kind", ["dummy", "next_step"])
@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("name", STOCK)
def test_stock_callbacks_leave_the_training_as_it_is(
    name: str, algorithm: Any, kind: str, tmp_path: Path
) -> None:
    expected, returns = trained(algorithm, KINDS[kind](CARTPOLE), None)
    callback = STOCK[name](tmp_path)
    assert only_watches(callback)
    both = [STOCK[name](tmp_path / "both"), STOCK["Recorder"](tmp_path)]
    for given in (callback, both):
        weights, found = trained(algorithm, KINDS[kind](CARTPOLE), given)
        assert torch.equal(weights, expected)
        assert found == returns


@pytest.mark.parametrize("kind", ["dummy", "next_step"])
def test_a_live_view_leaves_the_training_as_it_is(kind: str, tmp_path: Path) -> None:
    expected, returns = trained(ActorCritic, KINDS[kind](CARTPOLE), None)
    view = LiveView(film=tmp_path / "film.gif", verbose=0)
    assert only_watches(view)
    weights, found = trained(ActorCritic, KINDS[kind](CARTPOLE), view)
    assert torch.equal(weights, expected)
    assert found == returns


def shrink(callback: BaseCallback) -> None:
    """Changes the weights in place, in a way that has no version."""
    for parameter in callback.model.policy.parameters():
        parameter.data = parameter.data * 0.99


class Shrinking(BaseCallback):
    """Changes the weights before each rollout."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        shrink(self)


class ShrinkingRecorder(Recorder):
    """The same as a subclass of a stock callback."""

    def _on_rollout_start(self) -> None:
        shrink(self)


def with_method() -> Any:
    """Returns the same as an instance with a method of its own."""
    recorder: Any = Recorder()
    recorder._on_rollout_start = lambda: shrink(recorder)
    return recorder


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize(
    "make",
    [
        ShrinkingRecorder,
        with_method,
        lambda: [Recorder(), Shrinking()],
    ],
    ids=["subclass", "instance", "list"],
)
def test_changes_by_users_callbacks_are_honoured(make: Any, algorithm: Any) -> None:
    env = KINDS["dummy"]
    expected, _ = trained(algorithm, env(CARTPOLE), Shrinking())
    plain, _ = trained(algorithm, env(CARTPOLE), None)
    assert not torch.allclose(expected, plain)
    weights, _ = trained(algorithm, env(CARTPOLE), make())
    assert torch.equal(weights, expected)


def test_variables_of_a_step_are_complete_beside_a_stock_callback() -> None:
    names: set[str] = set()

    def read(variables: dict[str, Any], _: dict[str, Any]) -> bool:
        names.update(variables)
        return True

    callbacks: Any = [Recorder(), read]

    model = ActorCritic("MlpPolicy", KINDS["dummy"](CARTPOLE), device="cpu")
    model.learn(30, callbacks)
    assert {"obs_tensor", "actions", "new_obs", "rewards", "infos"} <= names
