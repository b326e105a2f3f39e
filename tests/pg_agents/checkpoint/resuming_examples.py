"""Environments with random numbers in every place, and all that a run leaves behind."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import wrappers
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker, TimeLimit
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from pg_agents import as_vec_env
from pg_agents.checkpoint.state import random_states
from pg_envs.mdp import TabularMDP
from pg_envs.tabular import TabularEnv
from pg_envs.vector.tabular import TabularVectorEnv, TorchTabularVectorEnv
from tests.pg_envs.tabular_examples import random_mdp

FRESH = r"is reset \("


def noisy_mdp(seed: int = 0) -> TabularMDP:
    """Random starts, transitions, ends and rewards; states seen as one-hot vectors."""
    mdp = random_mdp(seed, reward_noise="gaussian")
    return replace(mdp, observations=np.eye(mdp.n_states, dtype=np.float32))


def single(seed: int = 0, limit: int = 9) -> gymnasium.Env[Any, Any]:
    """What gymnasium.make builds around an environment."""
    env = OrderEnforcing(PassiveEnvChecker(TabularEnv(noisy_mdp(seed))))
    return TimeLimit(env, limit)


def vector(mode: AutoresetMode, n: int = 3) -> TabularVectorEnv:
    return TabularVectorEnv(TabularEnv(noisy_mdp()), n, 9, mode)


class Dummies(TabularVectorEnv):
    """NEXT_STEP, and no way to restart only some: a dummy step after every end."""

    def __init__(self) -> None:
        super().__init__(TabularEnv(noisy_mdp()), 3, 9, AutoresetMode.NEXT_STEP)
        self.metadata = {**self.metadata, "reset_mask": False}


def torch_vector(mode: AutoresetMode, device: str = "cpu") -> TorchTabularVectorEnv:
    return TorchTabularVectorEnv(TabularEnv(noisy_mdp()), 3, device, 9, mode)


def normalized() -> VecNormalize:
    stacked = VecFrameStack(VecMonitor(DummyVecEnv([single] * 2)), 2)
    return VecNormalize(stacked, gamma=0.9)


def gymnasiums(env: Any, kind: Any = wrappers) -> Any:
    """Returns an environment that Gymnasium's wrappers normalise."""
    return kind.NormalizeReward(kind.NormalizeObservation(env), gamma=0.9)


SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
MAKERS: dict[str, Callable[[], Any]] = {
    "single": single,
    "DummyVecEnv": lambda: DummyVecEnv([single] * 3),
    "vector, same step": lambda: vector(SAME),
    "vector, next step": lambda: vector(NEXT),
    "vector, dummy steps": Dummies,
    "torch, same step": lambda: torch_vector(SAME),
    "torch, next step": lambda: torch_vector(NEXT),
    "sync": lambda: SyncVectorEnv([single] * 3),
    "normalized": normalized,
    "normalized by Gymnasium": lambda: DummyVecEnv([lambda: gymnasiums(single())] * 2),
    "vector normalized by Gymnasium": lambda: gymnasiums(vector(NEXT), wrappers.vector),
    "normalized vector": lambda: VecNormalize(as_vec_env(vector(SAME))),
}


def scramble() -> None:
    """Leaves every shared generator in another state."""
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)


def remains(model: Any) -> dict[str, Any]:
    """Returns all that later learning depends on, or that people look at."""
    optimizer: Any = model.policy.optimizer.state_dict()
    episodes = [(e["r"], e["l"]) for e in model.ep_info_buffer]
    found = {f"weight {n}": v for n, v in model.policy.state_dict().items()}
    state: dict[int, dict[str, Any]] = optimizer["state"]
    found |= {
        f"optimizer {i} {name}": value
        for i, entries in state.items()
        for name, value in entries.items()
    }
    normalize = model.get_vec_normalize_env()
    if normalize is not None:
        assert isinstance(normalize.obs_rms, RunningMeanStd)
        found["obs_rms"] = (normalize.obs_rms.mean, normalize.obs_rms.var)
        found["ret_rms"] = (normalize.ret_rms.mean, normalize.ret_rms.count)
    with contextlib.suppress(AttributeError):
        for i, rms in enumerate(model.get_env().get_attr("obs_rms")):
            found[f"obs_rms {i}"] = (rms.mean, rms.var, rms.count)
    return found | {
        "learning rate": optimizer["param_groups"][0]["lr"],
        "episodes": episodes,
        "steps": (model.num_timesteps, model._n_updates, model._episode_num),
        "progress": (model._current_progress_remaining, model._total_timesteps),
        "observations": np.array(model._last_obs),
        "starts": np.array(model._last_episode_starts),
        "episode steps": model._episode_steps,
        "python": random.getstate(),
        "numpy": random_states()["numpy"][1],
        "torch": torch.get_rng_state(),
        "next draws": [model.action_space.sample() for _ in range(5)],
    }


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return bool(np.array_equal(first, second))


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    assert [n for n in first if not equal(first[n], second[n])] == []


def new(agent: Any, env: Any, **arguments: Any) -> Any:
    kwargs = {"net_arch": [8]}
    return agent("MlpPolicy", env, seed=3, policy_kwargs=kwargs, **arguments)


def continued(model: Any, env: Any, **arguments: Any) -> Any:
    """Saves a model, disturbs every shared generator, and loads the model."""
    file = io.BytesIO()
    model.save(file)
    scramble()
    return type(model).load(file, env=env, **arguments)


def check_exact(
    agent: Any, make: Callable[[], Any], reset: bool = False, **arguments: Any
) -> None:
    """Learning in two halves, with and without a stop between them."""
    runs = []
    for stops in (False, True):
        model = new(agent, make(), **arguments).learn(31)
        model.action_space.sample()
        before = remains(model)
        if stops:
            model = continued(model, make())
        runs.append(remains(model.learn(35, reset_num_timesteps=reset)))
    assert_same(*runs)
    # What is compared does move.
    weights = [name for name in before if name.startswith("weight")]
    assert not all(equal(before[name], runs[0][name]) for name in weights)
