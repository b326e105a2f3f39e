"""Inside a rollout nothing waits for a GPU, and nothing is done environment by one.

No GPU is needed: the branches that are for one run on the CPU, watched.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents import ActorCritic
from pg_agents.rollout import collector
from pg_agents.rollout.steppers import NativeStepper
from pg_envs import make_torch_vec
from pg_envs.vector.backend import TorchBackend
from tests.no_sync import NoSynchronisation, Waits

N_STEPS = 12
CARTPOLE = ("CartPole-v1", {"max_episode_steps": 10})
SEQUENCE: tuple[str, dict[str, Any]] = ("PGToy-Sequence-v0", {})
LAKE = ("FrozenLake-v1", {"max_episode_steps": 4})
MANY = 512


@pytest.fixture
def as_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The branches for a GPU, on the CPU."""
    monkeypatch.setattr(NativeStepper, "_on_gpu", True)
    # Callbacks get tensors.
    monkeypatch.setattr(collector, "_for_callbacks", lambda variables: variables)
    monkeypatch.setattr(TorchBackend, "may_synchronise", False)


def new(env: tuple[str, dict[str, Any]], n_envs: int, **settings: Any) -> ActorCritic:
    name, arguments = env
    vector = make_torch_vec(name, n_envs, "cpu", check_actions=False, **arguments)
    return ActorCritic(
        "MlpPolicy", vector, n_steps=N_STEPS, seed=0, device="cpu", **settings
    )


class Watched(BaseCallback):
    """Watches from the start of a rollout to the callback of its last step.

    Args:
        monkeypatch: watches from the stepper's start.
        watch: ends the watch at the latest when it is closed itself.
        asks: whether this callback reads a number from the device.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, watch: ExitStack, asks: bool = False
    ) -> None:
        super().__init__()
        self.watch, self.asks = watch, asks
        self.n_watched = self.n_rollouts = 0
        begin = NativeStepper.begin

        def watched(stepper: NativeStepper, obs: Any) -> Any:
            # The first observations come from the CPU.
            begun = begin(stepper, obs)
            watch.enter_context(NoSynchronisation())
            return begun

        monkeypatch.setattr(NativeStepper, "begin", watched)

    def _on_step(self) -> bool:
        self.n_watched += 1
        if self.asks:
            self.locals["rewards"].sum().item()
        if self.n_watched % N_STEPS == 0:
            self.watch.close()
            self.n_rollouts += 1
        return True


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        (CARTPOLE, {}),
        (CARTPOLE, {"batch_size": 64}),
        (CARTPOLE, {"n_epochs": 2, "estimator": "td"}),
        (SEQUENCE, {}),
        (SEQUENCE, {"batch_size": 64}),
    ],
)
def test_a_rollout_waits_for_nothing(
    env: Any,
    settings: dict[str, Any],
    as_on_gpu: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as watch:
        watched = Watched(monkeypatch, watch)
        new(env, 16, **settings).learn(3 * 16 * N_STEPS, callback=watched)
    assert watched.n_rollouts == 3
    assert watched.n_watched == 3 * N_STEPS


def test_a_callback_that_asks_is_caught(
    as_on_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as watch, pytest.raises(Waits):
        watched = Watched(monkeypatch, watch, asks=True)
        new(CARTPOLE, 16).learn(16 * N_STEPS, callback=watched)


@pytest.mark.parametrize("env", [CARTPOLE, SEQUENCE], ids=lambda env: env[0])
def test_branches_for_the_cpu_would_be_caught(
    env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above is not blind: on the CPU they do ask."""
    with ExitStack() as watch, pytest.raises(Waits):
        watched = Watched(monkeypatch, watch)
        new(env, 16).learn(16 * N_STEPS, callback=watched)


class Calls(BaseCallback):
    """Counts the calls, of Python and of C, from step to step of the second rollout.

    The first one sets things up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_calls = self.n_steps_done = 0

    def _count(self, frame: FrameType, event: str, arg: object) -> None:
        self.n_calls += event in ("call", "c_call")

    def _on_step(self) -> bool:
        self.n_steps_done += 1
        if self.n_steps_done == N_STEPS + 1:
            sys.setprofile(self._count)
        if self.n_steps_done == 2 * N_STEPS:
            sys.setprofile(None)
        return True


def n_calls(env: tuple[str, dict[str, Any]], n_envs: int) -> int:
    calls, before = Calls(), sys.getprofile()
    try:
        new(env, n_envs).learn(2 * n_envs * N_STEPS, callback=calls)
    finally:
        sys.setprofile(before)
    return calls.n_calls


def check_equal_calls(env: tuple[str, dict[str, Any]]) -> None:
    few, many = n_calls(env, MANY), n_calls(env, 8 * MANY)
    assert few == many
    assert N_STEPS * 10 < few < N_STEPS * 500


@pytest.mark.parametrize("env", [("CartPole-v1", {}), SEQUENCE], ids=lambda env: env[0])
def test_thousands_of_environments_take_as_many_calls_as_dozens(env: Any) -> None:
    """No Python for each environment, nor for each episode that ends.

    In all steps of a second rollout but its first.
    """
    check_equal_calls(env)


@pytest.mark.parametrize("env", [CARTPOLE, SEQUENCE, LAKE], ids=lambda env: env[0])
def test_time_limits_take_no_more_calls_on_a_gpu(env: Any, as_on_gpu: None) -> None:
    """There it is not asked whether there are any; on the CPU it is, once a step."""
    check_equal_calls(env)
