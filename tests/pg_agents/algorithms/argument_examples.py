"""Accepted and refused values of every argument of REINFORCE and ActorCritic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.dqn.policies import DQNPolicy
from torch import nn

import pg_envs  # noqa: F401, registers the ids
from pg_agents import MlpPolicy, RandomPolicy, TabularPolicy, TrajectoryBuffer
from pg_agents.learning.returns import reward_to_go

# Argument -> values that are accepted, alone or with the right others; values refused.
Examples = dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]]

NAN, INF = math.nan, math.inf
NO_NUMBERS: tuple[Any, ...] = ("x", None, [1.0], {}, 1j, np.array([0.5, 0.5]))
NO_FLAGS: tuple[Any, ...] = ("no", None, 2, [], np.array([True, False]))
NO_NAMES: tuple[Any, ...] = ("unknown", "", None, 1, ["none"], np.array(["a", "b"]))
NO_COUNTS: tuple[Any, ...] = (0, -1, 1.5, NAN, INF, True, "x", [1], np.array([1, 2]))
NO_WHOLE_NUMBERS: tuple[Any, ...] = (
    *(-5, -1.0, 1.5, NAN, INF, -INF, "1000", b"3", 1j, ..., [3], (3,)),
    *(True, np.True_, torch.tensor(True), np.array([1, 2])),
)
NO_BOOLS: tuple[Any, ...] = ("yes", "False", None, 2, 0.5, [True])
NO_SCHEDULES: tuple[Any, ...] = (
    lambda: 0.1,
    lambda _: "x",
    lambda _: NAN,
    lambda progress: progress - 0.5,
)


class NamedBuffer(TrajectoryBuffer):
    def __init__(self, device: torch.device | str = "cpu", name: str = "") -> None:
        super().__init__(device)
        self.name = name


class SmallEnv(gymnasium.Env[Any, Any]):
    """Episodes of 3 steps; asserts that actions are in the action space."""

    def __init__(
        self, observation: spaces.Space[Any], action: spaces.Space[Any]
    ) -> None:
        self.observation_space, self.action_space = observation, action
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        # An action of a Box without axes is a NumPy scalar.
        inside = self.action_space.contains(np.asarray(action))
        assert inside or self.action_space.contains(action), action
        self.steps += 1
        obs = self.observation_space.sample()
        return obs, float(np.sum(action)), False, self.steps == 3, {}


BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
IMAGE = spaces.Box(0, 255, (1, 36, 36), np.uint8)
SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "box actions": (BOX, spaces.Box(-1.0, 2.0, (2,), np.float32)),
    "one number as action": (BOX, spaces.Box(-1.0, 1.0, (), np.float32)),
    "multi discrete": (
        spaces.MultiDiscrete([3, 2]),
        spaces.MultiDiscrete([2, 3], start=[1, 0]),
    ),
    "multi binary": (spaces.MultiBinary(3), spaces.MultiBinary(2)),
    "dict": (spaces.Dict({"a": BOX, "b": spaces.Discrete(3)}), spaces.Discrete(2)),
    "image": (IMAGE, spaces.Discrete(2)),
}
REFUSED_SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "tuple observation": (spaces.Tuple((BOX, BOX)), spaces.Discrete(2)),
    "nested dict": (spaces.Dict({"a": spaces.Dict({"b": BOX})}), spaces.Discrete(2)),
    "text": (spaces.Text(3), spaces.Discrete(2)),
    "number": (spaces.Box(0.0, 1.0, ()), spaces.Discrete(2)),
    "table of numbers": (spaces.MultiDiscrete(np.full((2, 2), 2)), spaces.Discrete(2)),
    "dict action": (BOX, spaces.Dict({"a": BOX})),
    "unbounded action": (BOX, spaces.Box(-np.inf, np.inf, (1,))),
    "table of actions": (BOX, spaces.MultiDiscrete(np.full((2, 2), 2))),
    "table of switches": (BOX, spaces.MultiBinary([2, 2])),
}
SEQUENCES = ("scalar", "one_hot", "index")


def make_env(name: str, n_envs: int) -> Any:
    """Returns an environment, or several in a vector environment."""
    if name in SEQUENCES and n_envs == 3:
        return gymnasium.make_vec("PGToy-Sequence-v0", n_envs, observation=name)

    def make() -> gymnasium.Env[Any, Any]:
        if name in SEQUENCES:
            return gymnasium.make("PGToy-Sequence-v0", observation=name)
        return SmallEnv(*(SPACES | REFUSED_SPACES)[name])

    return make() if n_envs == 1 else DummyVecEnv([make] * n_envs)


def policy_for(env: str) -> str:
    return {"dict": "MultiInputPolicy", "image": "CnnPolicy"}.get(env, "MlpPolicy")


# Names, which print better than environments.
ENV_NAMES = (*SEQUENCES, *SPACES)
NO_ENVS: tuple[Any, ...] = (None, 5, "Unknown-v0", "no_module:E-v0", object(), [])
POLICIES: tuple[Any, ...] = (
    "MlpPolicy",
    "CnnPolicy",
    "MultiInputPolicy",
    "TabularPolicy",
    MlpPolicy,
    TabularPolicy,
    ActorCriticPolicy,
)
NO_POLICIES: tuple[Any, ...] = (
    *("mlp", "", None, 5, int, nn.Linear, [], DQNPolicy, RandomPolicy),
)

COMMON: Examples = {
    "learning_rate": (
        (1e-3, 0.0, 1, np.float32(0.01), lambda p: 0.01 * p, LinearSchedule(1, 0, 1)),
        (-1e-3, NAN, INF, *NO_NUMBERS, *NO_SCHEDULES),
    ),
    "n_steps": ((1, 2, np.int64(3)), NO_COUNTS),
    "n_episodes": ((1, np.int32(2)), NO_COUNTS),
    "gamma": ((0.0, 0.9, 1, np.float64(0.5)), (-0.1, 1.1, NAN, INF, *NO_NUMBERS)),
    "standardize_returns": ((True, False, np.True_), NO_FLAGS),
    "normalize_advantage": ((True, False), NO_FLAGS),
    "weight_by_gamma_t": ((True, False), NO_FLAGS),
    "max_episode_steps": ((1, 2, 50), NO_COUNTS),
    "ent_coef": (
        (0.0, 0.01, lambda p: 0.1 * p),
        (-0.1, NAN, INF, *NO_NUMBERS, *NO_SCHEDULES),
    ),
    "vf_coef": ((0.0, 0.5, 1), (-0.1, NAN, INF, *NO_NUMBERS)),
    "max_grad_norm": ((0.5, None, 1, INF), (0.0, -0.1, NAN, "x", [1.0], {}, 1j)),
    "use_sde": ((True, False), NO_FLAGS),
    "sde_sample_freq": ((-1, 0, 2), (-2, 1.5, NAN, None, "x", [1])),
    "rollout_buffer_class": (
        (None, TrajectoryBuffer, NamedBuffer),
        (dict, 5, "x", [], nn.Linear),
    ),
    "rollout_buffer_kwargs": (
        (None, {}, {"name": "x"}),
        (5, "x", [], {"unknown": 1}, {1: 2}),
    ),
    "stats_window_size": ((1, 100, np.int64(5)), (*NO_COUNTS, None)),
    "tensorboard_log": ((None,), (5, [], b"x", object())),
    "verbose": ((0, 1, False, np.int64(0)), (-1, 1.5, None, "x", [])),
    "seed": ((None, 0, 7, np.int64(3), 2**32 - 1), (-1, 2**32, 1.5, NAN, "x", [1])),
    "device": (("auto", "cpu", torch.device("cpu")), ("gpu", "", [], "meta", "cpu:x")),
    "_init_setup_model": ((True,), NO_FLAGS),
    "n_epochs": ((1, 2), (*NO_COUNTS, None)),
    "batch_size": ((None, 1, 2, 64), NO_COUNTS),
    "clip_range": (
        (None, 0.2, 1, lambda p: 0.2 * p),
        (0.0, -0.1, NAN, INF, "x", [1.0], {}, *NO_SCHEDULES),
    ),
    "clip_range_vf": (
        (None, 0.2, lambda p: 0.2 * p),
        (0.0, -0.1, NAN, INF, "x", [1.0], {}, *NO_SCHEDULES),
    ),
    "target_kl": ((None, 0.01), (0.0, -0.1, NAN, INF, "x", [1.0], {})),
    "critic_loss": (("squared", "huber"), NO_NAMES),
    "critic_learning_rate": (
        (None, 0.01, lambda p: 0.01 * p),
        (-0.1, NAN, INF, "x", [1.0], {}, *NO_SCHEDULES),
    ),
    "target_update_interval": ((None, 1, 2), NO_COUNTS),
    "tau": ((1.0, 0.5, 1), (0.0, -0.1, 1.1, NAN, INF, *NO_NUMBERS)),
    "memory_size": ((None, 1, 20), NO_COUNTS),
    "learning_starts": ((1, 4), (*NO_COUNTS, None)),
    "gradient_steps": ((1, 2), (*NO_COUNTS, None)),
    "gradients": (("auto", "autograd", "closed_form"), NO_NAMES),
}
REINFORCE_ONLY: Examples = {
    "returns": (("reward_to_go", "full_return"), (*NO_NAMES, "gae", "td")),
    "baseline": (("none", "mean", "leave_one_out", "value"), NO_NAMES),
    "bootstrap": ((True, False), NO_FLAGS),
    "replay": (("importance", "returns"), (*NO_NAMES, "v_trace")),
}
NO_CLIPS: tuple[Any, ...] = (0.0, -1.0, NAN, *NO_NUMBERS)
ACTOR_CRITIC_ONLY: Examples = {
    "gae_lambda": ((1.0, 0.9, 0), (-0.1, 1.1, NAN, INF, *NO_NUMBERS)),
    "rms_prop_eps": ((1e-5, 1e-8), (0.0, -1e-5, NAN, INF, *NO_NUMBERS)),
    "use_rms_prop": ((True, False), NO_FLAGS),
    "bootstrap_truncated": ((True, False), NO_FLAGS),
    "estimator": (("td", "n_step", "gae"), (*NO_NAMES, "reward_to_go")),
    "td_steps": ((1, 2), (*NO_COUNTS, None)),
    "replay": (("v_trace", "returns"), (*NO_NAMES, "importance")),
    "rho_clip": ((1.0, 2, INF), NO_CLIPS),
    "c_clip": ((1.0, 2, INF), NO_CLIPS),
}
POLICY_KWARGS: Examples = {
    "critic": (("separate", "shared", "none"), NO_NAMES),
    "layer_norm": ((True, False), NO_FLAGS),
    "glorot_init": ((True, False), NO_FLAGS),
    "net_arch": (
        (None, [], [4], [4, 3], {"pi": [4], "vf": [3]}, {"pi": [4]}, {"vf": [3]}, {}),
        (
            [0],
            [-1],
            [1.5],
            "x",
            5,
            {"qf": [3]},
            {"pi": 3},
            [["a"]],
            [None],
            {"pi": [0]},
        ),
    ),
    "activation_fn": (
        (nn.Tanh, nn.ReLU, nn.PReLU, nn.Dropout),
        (None, "relu", nn.Linear, nn.GLU, torch.relu, 5),
    ),
    "ortho_init": ((True, False), NO_FLAGS),
    "full_std": ((True, False), NO_FLAGS),
    "use_expln": ((True, False), NO_FLAGS),
    "squash_output": ((True, False), NO_FLAGS),
    "share_features_extractor": ((True, False), NO_FLAGS),
    "normalize_images": ((True, False), NO_FLAGS),
    "log_std_init": ((0.0, -1, np.float32(0.5)), (NAN, INF, 1e6, -1e6, *NO_NUMBERS)),
    "features_extractor_class": (
        (FlattenExtractor, NatureCNN),
        (None, "x", 5, nn.Linear, dict),
    ),
    "features_extractor_kwargs": (
        (None, {}, {"features_dim": 8}),
        (5, "x", [], {"unknown": 1}),
    ),
    "optimizer_class": (
        (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop),
        (None, 5, "adam", nn.Linear, torch.optim.LBFGS, torch.optim.SparseAdam),
    ),
    "optimizer_kwargs": (
        (None, {}, {"weight_decay": 0.1}, {"eps": 1e-3}),
        (5, "x", [], {"unknown": 1}, {"lr": 0.1}, {"weight_decay": -1}, {"eps": 0}),
    ),
    "max_logit": ((10.0,), ()),
    "use_sde": ((), (True, False)),
    "unknown": ((), (1,)),
}
NO_POLICY_KWARGS: tuple[Any, ...] = (5, "x", [], {1: 2})


def arguments_of(algorithm: Callable[..., Any]) -> Examples:
    """Returns the examples of an algorithm, without policy, env and policy_kwargs."""
    own = {"REINFORCE": REINFORCE_ONLY, "ActorCritic": ACTOR_CRITIC_ONLY}
    return COMMON | own[algorithm.__name__]


def reinforce_loss(batch: Any, policy: Any) -> torch.Tensor:
    """A right loss for the gradient checker, which then searches for no mistake."""
    returns = torch.cat([reward_to_go(e.rewards, e.gamma) for e in batch])
    log_prob = policy(batch.observations).log_prob(batch.actions)
    weights = batch.gamma**batch.time * returns
    loss: torch.Tensor = -(weights * log_prob).sum() / len(batch)
    return loss
