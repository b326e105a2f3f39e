"""Learning from environments that return the same arrays from every step.

Rollouts, weights and `locals` of callbacks equal those of environments that return
copies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack

from pg_agents import REINFORCE, ActorCritic, as_vec_env, record_demonstrations
from tests.pg_agents.envs import NativeVectorEnv
from tests.pg_agents.vec_env.native_envs import (
    OtherVecEnv,
    Walk,
    reusing,
)

SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
N_ENVS = 3
Make = Callable[[bool], Any]


def single(reuses: bool, limit: int = 3) -> Any:
    return reusing(Walk(limit)) if reuses else Walk(limit)


def makers(reuses: bool) -> list[Callable[[], Any]]:
    return [partial(single, reuses, 3 + i) for i in range(N_ENVS)]


def sync(mode: AutoresetMode) -> Make:
    return lambda reuses: SyncVectorEnv(
        makers(reuses), copy=not reuses, autoreset_mode=mode
    )


def native(*args: Any) -> Make:
    def make(reuses: bool) -> Any:
        env = NativeVectorEnv([Walk(3 + i) for i in range(N_ENVS)], *args)
        return reusing(env) if reuses else env

    return make


def unknown(reuses: bool) -> Any:
    env = OtherVecEnv([partial(Monitor, Walk(3 + i)) for i in range(N_ENVS)])
    return reusing(env) if reuses else env


NATIVE: dict[str, Make] = {
    "same": native(SAME, False),
    "same in arrays": native(SAME),
    "next": native(NEXT, False),
    "next in arrays": native(NEXT),
    "disabled": native(AutoresetMode.DISABLED),
    "torch same": native(SAME, True, True),
    "torch next": native(NEXT, True, True),
    "sync next": sync(NEXT),
    "sync disabled": sync(AutoresetMode.DISABLED),
}
OURS: dict[str, Make] = {
    # Not DummyVecEnv, which resets over the final observation it stores, as for A2C.
    "SB3's": unknown,
    "SB3's in a wrapper": lambda reuses: VecFrameStack(unknown(reuses), 1),
    **NATIVE,
}
AMOUNTS: list[dict[str, int]] = [
    {"n_steps": 7},
    {"n_episodes": 2},
    # All environments wait for each other, and are reset.
    {"n_episodes": 2, "max_episode_steps": 2},
]
# SB3's algorithms take none with dummy steps.
ADAPTED = [name for name in NATIVE if name != "next"]


class Recorder(BaseCallback):
    """Stores copies of rollouts, and `locals` without copying."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: list[Any] = []
        self.locals_: list[Any] = []

    def _on_step(self) -> bool:
        names = ("obs_tensor", "new_obs", "actions", "rewards", "dones")
        infos = self.locals["infos"]
        if isinstance(self.training_env.unwrapped, OtherVecEnv):
            # Infos are copied for ended episodes only.
            infos = [info for info in infos if "terminal_observation" in info]
        self.locals_.append([*(self.locals[name] for name in names), infos])
        return True

    def _on_rollout_end(self) -> None:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        names = (
            *("observations", "actions", "rewards", "values", "advantages"),
            *("returns", "log_probs"),
        )
        self.rollouts.append([np.array(getattr(buffer, name)) for name in names])


def plain(values: Any) -> Any:
    """Converts arrays and tensors to lists, and drops times."""
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items() if key != "t"}
    if isinstance(values, np.ndarray | torch.Tensor | np.generic):
        return values.tolist()
    if hasattr(values, "__iter__") and not isinstance(values, str):
        return [plain(value) for value in values]
    return values


def run(algorithm: Any, env: Any, **settings: Any) -> tuple[Any, ...]:
    settings = {"seed": 1, "device": "cpu", "learning_rate": 0.01, **settings}
    recorder = Recorder()
    model = algorithm("MlpPolicy", env, **settings)
    model.learn(60, callback=recorder)
    weights = model.policy.state_dict()
    assert len(recorder.rollouts) > 1
    return (
        plain(recorder.rollouts),
        plain(weights),
        plain(model._last_obs),
        plain(recorder.locals_),
        plain([{"r": e["r"], "l": e["l"]} for e in model.ep_info_buffer]),
    )


def assert_same(algorithm: Any, make: Make, **settings: Any) -> None:
    reused = run(algorithm, make(True), **settings)
    fresh = run(algorithm, make(False), **settings)
    for name, one, other in zip(
        ("rollouts", "weights", "last observation", "locals", "episodes"),
        reused,
        fresh,
        strict=True,
    ):
        assert one == other, name


@pytest.mark.filterwarnings("ignore:an episode was still running")
@pytest.mark.parametrize("amount", AMOUNTS, ids=str)
@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("name", OURS)
def test_our_algorithms_learn_the_same(name: str, algorithm: Any, amount: Any) -> None:
    if algorithm is REINFORCE:
        assert_same(algorithm, OURS[name], baseline="value", **amount)
    else:
        assert_same(algorithm, OURS[name], bootstrap_truncated=True, **amount)


@pytest.mark.parametrize("name", ADAPTED)
def test_a2c_learns_the_same(name: str) -> None:
    assert_same(A2C, lambda reuses: as_vec_env(NATIVE[name](reuses)), n_steps=7)


@pytest.mark.parametrize("name", OURS)
def test_the_same_demonstrations_are_recorded(name: str) -> None:
    def recorded(reuses: bool) -> Any:
        recording = record_demonstrations(
            OURS[name](reuses), lambda obs: int(obs[1]) % 2, n_episodes=3
        )
        return plain(
            [recording.observations, recording.actions, recording.episode_returns]
        )

    assert recorded(True) == recorded(False)


def test_the_compared_runs_contain_both_ends() -> None:
    for name, make in OURS.items():
        *_, locals_, _ = run(ActorCritic, make(False), n_steps=7)
        ends = [
            info
            for step in locals_
            for info in step[5]
            if "terminal_observation" in info
        ]
        assert {info["TimeLimit.truncated"] for info in ends} == {True, False}, name


def test_a_final_observation_that_gymnasium_loses_is_warned_of() -> None:
    """In SAME_STEP mode it does not copy the final observation."""
    env = as_vec_env(sync(SAME)(True))
    env.reset()
    with pytest.warns(UserWarning, match="environment 0 of SyncVectorEnv.*is lost"):
        for _ in range(3):
            env.step(np.zeros(N_ENVS, np.int64))


@pytest.mark.filterwarnings("error")
def test_no_warning_where_nothing_is_lost() -> None:
    env = as_vec_env(sync(SAME)(False))
    env.reset()
    for _ in range(9):
        env.step(np.zeros(N_ENVS, np.int64))
