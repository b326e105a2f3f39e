"""The same environment in every form that a model accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_util import make_vec_env

from pg_envs import make_torch_vec

N_ENVS = 3
SEQUENCE, CARTPOLE = "PGToy-Sequence-v0", "CartPole-v1"
PIXELCOPTER = "PGToy-PixelcopterTimeLimit-v0"


def single(env_id: str, n_envs: int = 1, **arguments: Any) -> Any:
    """Returns one environment, for any `n_envs`."""
    return gymnasium.make(env_id, **arguments)


def dummy(env_id: str, n_envs: int = N_ENVS, **arguments: Any) -> Any:
    """Returns SB3's DummyVecEnv with monitors."""
    return make_vec_env(env_id, n_envs, env_kwargs=arguments)


def same_step(env_id: str, n_envs: int = N_ENVS, **arguments: Any) -> Any:
    """Returns a Gymnasium vector environment with SAME_STEP autoreset."""
    return native(env_id, n_envs, AutoresetMode.SAME_STEP, **arguments)


def next_step(env_id: str, n_envs: int = N_ENVS, **arguments: Any) -> Any:
    """Returns a Gymnasium vector environment with NEXT_STEP autoreset."""
    return native(env_id, n_envs, AutoresetMode.NEXT_STEP, **arguments)


def native(env_id: str, n_envs: int, mode: AutoresetMode, **arguments: Any) -> Any:
    """Returns a native vector environment; Gymnasium's CartPole has NEXT_STEP only."""
    if not env_id.startswith("PGToy") and mode is AutoresetMode.SAME_STEP:
        return gymnasium.vector.SyncVectorEnv(
            [lambda: gymnasium.make(env_id, **arguments)] * n_envs, autoreset_mode=mode
        )
    if env_id.startswith("PGToy"):
        arguments["autoreset_mode"] = mode
    return gymnasium.make_vec(
        env_id, n_envs, vectorization_mode="vector_entry_point", **arguments
    )


def torch_vector(env_id: str, n_envs: int = N_ENVS, **arguments: Any) -> Any:
    """Returns a torch vector environment."""
    return make_torch_vec(env_id, n_envs, "cpu", **arguments)


Make = Callable[..., Any]
KINDS: dict[str, Make] = {
    "single": single,
    "dummy": dummy,
    "same_step": same_step,
    "next_step": next_step,
    "torch": torch_vector,
}
