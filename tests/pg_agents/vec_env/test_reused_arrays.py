"""What is learnt from an environment that returns the same arrays from every step.

All is compared with what a twin leads to that returns copies: rollouts, weights, and
what a callback has kept of `locals`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecMonitor

from pg_agents import REINFORCE, ActorCritic, as_vec_env, record_demonstrations
from tests.pg_agents.vec_env.reused_arrays import (
    WalkEnv,
    WalksVecEnv,
    WalksVectorEnv,
)

SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
Make = Callable[[bool], Any]


def sync(mode: AutoresetMode) -> Make:
    def make(reuses: bool) -> VectorEnv[Any, Any, Any]:
        return SyncVectorEnv(
            [lambda: WalkEnv(reuses)] * 2, copy=not reuses, autoreset_mode=mode
        )

    return make


NATIVE: dict[str, Make] = {
    "same": lambda reuses: WalksVectorEnv(reuses, SAME),
    "same in arrays": lambda reuses: WalksVectorEnv(reuses, SAME, True),
    "next": lambda reuses: WalksVectorEnv(reuses, NEXT),
    "next in arrays": lambda reuses: WalksVectorEnv(reuses, NEXT, True),
    "disabled": lambda reuses: WalksVectorEnv(reuses, AutoresetMode.DISABLED, True),
    "torch same": lambda reuses: WalksVectorEnv(reuses, SAME, True, True),
    "torch next": lambda reuses: WalksVectorEnv(reuses, NEXT, True, True),
    "sync next": sync(NEXT),
    "sync disabled": sync(AutoresetMode.DISABLED),
}
OURS: dict[str, Make] = {
    # Not SB3's DummyVecEnv: it stores the last observation of an episode without a
    # copy, and resets the environment, for A2C as for us.
    "SB3's": WalksVecEnv,
    "SB3's in a wrapper": lambda reuses: VecMonitor(WalksVecEnv(reuses)),
    **NATIVE,
}
# SB3's algorithms take none with dummy steps.
AMOUNTS: list[dict[str, int]] = [
    {"n_steps": 7},
    {"n_episodes": 2},
    # All wait for each other, and are restarted.
    {"n_episodes": 2, "max_episode_steps": 2},
]
ADAPTED = [name for name in NATIVE if name != "next"]


class Kept(BaseCallback):
    """Keeps rollouts as copies, and `locals` as they are handed out."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: list[Any] = []
        self.seen: list[Any] = []

    def _on_step(self) -> bool:
        names = ("obs_tensor", "new_obs", "actions", "rewards", "dones")
        infos = self.locals["infos"]
        if isinstance(self.training_env.unwrapped, WalksVecEnv):
            # Of thousands that go on no copies are made.
            infos = [infos[i] for i in np.flatnonzero(self.locals["dones"])]
        self.seen.append([*(self.locals[name] for name in names), infos])
        return True

    def _on_rollout_end(self) -> None:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        names = (
            *("observations", "actions", "rewards", "values", "advantages"),
            *("returns", "log_probs"),
        )
        self.rollouts.append([np.array(getattr(buffer, name)) for name in names])


def plain(values: Any) -> Any:
    """Returns nested values without arrays, tensors and times."""
    if isinstance(values, dict):
        return {key: plain(each) for key, each in values.items() if key != "t"}
    if isinstance(values, np.ndarray | torch.Tensor | np.generic):
        return values.tolist()
    if hasattr(values, "__iter__") and not isinstance(values, str):
        return [plain(each) for each in values]
    return values


def learnt(algorithm: Any, env: Any, **settings: Any) -> tuple[Any, ...]:
    settings = {"seed": 1, "device": "cpu", "learning_rate": 0.01, **settings}
    kept = Kept()
    model = algorithm("MlpPolicy", env, **settings)
    model.learn(60, callback=kept)
    weights = model.policy.state_dict()
    assert len(kept.rollouts) > 1
    return (
        plain(kept.rollouts),
        plain(weights),
        plain(model._last_obs),
        plain(kept.seen),
        plain([{"r": e["r"], "l": e["l"]} for e in model.ep_info_buffer]),
    )


def assert_same(algorithm: Any, make: Make, **settings: Any) -> None:
    reused = learnt(algorithm, make(True), **settings)
    fresh = learnt(algorithm, make(False), **settings)
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
def test_ours_learn_the_same(name: str, algorithm: Any, amount: Any) -> None:
    if algorithm is REINFORCE:
        assert_same(algorithm, OURS[name], baseline="value", **amount)
    else:
        assert_same(algorithm, OURS[name], bootstrap_truncated=True, **amount)


@pytest.mark.parametrize("name", ADAPTED)
def test_a2c_learns_the_same(name: str) -> None:
    assert_same(A2C, lambda reuses: as_vec_env(NATIVE[name](reuses)), n_steps=7)


@pytest.mark.parametrize("name", OURS)
def test_the_same_is_recorded(name: str) -> None:
    def recorded(reuses: bool) -> Any:
        shown = record_demonstrations(
            OURS[name](reuses), lambda seen: int(seen[1]) % 2, n_episodes=3
        )
        return plain([shown.observations, shown.actions, shown.episode_returns])

    assert recorded(True) == recorded(False)


def test_truncated_episodes_are_among_them() -> None:
    """What is compared contains both ends."""
    for name, make in OURS.items():
        *_, seen, _ = learnt(ActorCritic, make(False), n_steps=7)
        ends = [
            info for step in seen for info in step[5] if "terminal_observation" in info
        ]
        assert {info["TimeLimit.truncated"] for info in ends} == {True, False}, name


def test_a_last_observation_that_gymnasium_loses_is_warned_of() -> None:
    """Its SAME_STEP does not copy what is seen last before it restarts."""
    env = as_vec_env(sync(SAME)(True))
    env.reset()
    with pytest.warns(UserWarning, match="environment 0 of SyncVectorEnv.*is lost"):
        for _ in range(3):
            env.step(np.zeros(2, np.int64))


@pytest.mark.filterwarnings("error")
def test_no_warning_where_nothing_is_lost() -> None:
    env = as_vec_env(sync(SAME)(False))
    env.reset()
    for _ in range(9):
        env.step(np.zeros(2, np.int64))
