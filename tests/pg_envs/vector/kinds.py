"""Every vector environment and backend, for tests of what they have in common."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from pg_envs import (
    CartPoleVectorEnv,
    PixelcopterVectorEnv,
    SequenceEnv,
    TabularEnv,
    TabularVectorEnv,
    TorchCartPoleVectorEnv,
    TorchPixelcopterVectorEnv,
    TorchTabularVectorEnv,
)
from pg_envs.vector.backend import TorchBackend
from tests.pg_envs.tabular_examples import random_mdp

SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
MODES = [SAME, NEXT]


class GpuLikeBackend(TorchBackend):
    """Runs on the CPU what runs on a GPU, which must not be synchronised with."""

    may_synchronise = False


def noisy() -> TabularEnv:
    """Starts, transitions and rewards are random; episodes are short."""
    return TabularEnv(random_mdp(5, terminal_share=0.2, reward_noise="gaussian"))


def gpu_like_cartpole(**arguments: Any) -> TorchCartPoleVectorEnv:
    env = TorchCartPoleVectorEnv(**arguments)
    env.backend = GpuLikeBackend("cpu")
    return env


KINDS: dict[str, Callable[..., Any]] = {
    "tabular": lambda **k: TabularVectorEnv(noisy(), **k),
    "sequence": lambda **k: TabularVectorEnv(SequenceEnv(), **k),
    "torch tabular": lambda **k: TorchTabularVectorEnv(noisy(), device="cpu", **k),
    "torch sequence": lambda **k: TorchTabularVectorEnv(
        SequenceEnv(), device="cpu", **k
    ),
    "GPU-like tabular": lambda **k: TabularVectorEnv(
        noisy(), backend=GpuLikeBackend("cpu"), **k
    ),
    "CartPole": CartPoleVectorEnv,
    "torch CartPole": TorchCartPoleVectorEnv,
    "GPU-like CartPole": gpu_like_cartpole,
    "Pixelcopter": PixelcopterVectorEnv,
    "torch Pixelcopter": TorchPixelcopterVectorEnv,
    "GPU-like Pixelcopter": lambda **k: PixelcopterVectorEnv(
        backend=GpuLikeBackend("cpu"), **k
    ),
}
TORCH_KINDS = [kind for kind in KINDS if "torch" in kind or "GPU" in kind]
RENDERED_KINDS = [kind for kind in KINDS if "CartPole" not in kind]


def make(kind: str, num_envs: int = 3, **arguments: Any) -> Any:
    return KINDS[kind](num_envs=num_envs, **arguments)


def as_array(env: Any, values: Any) -> Any:
    """Actions or a mask in the environment's own kind of array."""
    is_torch = "torch" in env.metadata
    return torch.as_tensor(np.array(values)) if is_torch else np.array(values)


def results(env: Any, n_steps: int = 60, seed: int = 0) -> list[Any]:
    """Results of `n_steps` of random actions, as lists."""
    rng, n = np.random.default_rng(seed), int(env.single_action_space.n)
    found = []
    for _ in range(n_steps):
        actions = as_array(env, rng.integers(n, size=env.num_envs))
        *parts, infos = env.step(actions)
        found.append([p.tolist() for p in (*parts, *infos.values())])
    return found


def pickled(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))


COPIES = [copy.deepcopy, pickled]
