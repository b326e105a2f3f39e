"""Copies, rows and masks of arrays, and environments that return fresh ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from pg_agents.vec_env.arrays import copied, returns_fresh_arrays
from pg_envs import (
    BanditEnv,
    PixelcopterVectorEnv,
    SequenceEnv,
    TabularVectorEnv,
    make_torch_vec,
)

Env = VectorEnv[Any, Any, Any]
N_ENVS = 4
SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP


def on_torch(name: str, **arguments: Any) -> Callable[[AutoresetMode], Env]:
    return lambda mode: make_torch_vec(
        name, N_ENVS, "cpu", autoreset_mode=mode, **arguments
    )


KNOWN: dict[str, Callable[[AutoresetMode], Env]] = {
    "bandit": lambda mode: TabularVectorEnv(BanditEnv(), N_ENVS, 3, mode),
    "sequence": lambda mode: TabularVectorEnv(SequenceEnv(), N_ENVS, None, mode),
    "pixelcopter": lambda mode: PixelcopterVectorEnv(N_ENVS, 9, mode),
    "torch bandit": on_torch("PGToy-Bandit-v0"),
    "torch sequence": on_torch("PGToy-Sequence-v0"),
    "torch pixelcopter": on_torch("PGToy-Pixelcopter-v0", max_episode_steps=9),
    "torch lake": on_torch("FrozenLake-v1"),
    "torch cliff": on_torch("CliffWalking-v1", max_episode_steps=9),
    "torch cartpole": on_torch("CartPole-v1", max_episode_steps=9),
    "cartpole": lambda mode: CartPoleVectorEnv(N_ENVS, max_episode_steps=9),
    "sync": lambda mode: SyncVectorEnv(
        [lambda: gymnasium.make("CartPole-v1")] * N_ENVS, autoreset_mode=mode
    ),
}


def plain(values: Any) -> Any:
    """Converts arrays and tensors to lists with their dtype."""
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    if isinstance(values, torch.Tensor | np.ndarray) and values.ndim > 0:
        return [str(values.dtype), *map(plain, values)]
    if isinstance(values, torch.Tensor | np.ndarray):
        return values.item()
    if isinstance(values, tuple | list):
        return [plain(value) for value in values]
    return values


@pytest.mark.parametrize("mode", [SAME, NEXT], ids=["same", "next"])
@pytest.mark.parametrize("name", KNOWN)
def test_known_environments_do_not_write_into_returned_arrays(
    name: str, mode: AutoresetMode
) -> None:
    env = KNOWN[name](mode)
    assert returns_fresh_arrays(env)
    returned: list[Any] = [env.reset(seed=0)]
    before = copied(returned)
    rng = np.random.default_rng(0)
    tensors = bool(env.metadata.get("torch", False))
    restarts = bool(env.metadata.get("reset_mask", False))
    n_actions = env.single_action_space.n  # type: ignore[attr-defined]
    for step in range(40):
        actions: Any = rng.integers(n_actions, size=N_ENVS)
        returned.append(env.step(torch.as_tensor(actions) if tensors else actions))
        before.append(copied(returned[-1]))
        if restarts and step % 10 == 9:
            mask = np.arange(N_ENVS) == step % N_ENVS
            returned.append(env.reset(options={"reset_mask": mask}))
            before.append(copied(returned[-1]))
    assert plain(returned) == plain(before)


def test_other_environments_are_unknown() -> None:
    class Own(CartPoleVectorEnv):
        pass

    singles = [lambda: gymnasium.make("CartPole-v1")]
    assert not returns_fresh_arrays(Own(2))
    assert not returns_fresh_arrays(SyncVectorEnv(singles, copy=False))
    assert not returns_fresh_arrays(RecordEpisodeStatistics(CartPoleVectorEnv(2)))
