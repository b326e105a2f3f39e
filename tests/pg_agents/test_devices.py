"""Agents on a device: on the stand-in always, on a GPU where there is one."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from pg_agents import REINFORCE, ActorCritic, as_vec_env
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_envs import make_torch_vec
from pg_envs.vector.backend import TorchBackend
from tests.pg_agents.policies.typed_envs import TypedEnv
from tests.stand_in import DEVICES, SameRandomNumbers, StandIn, context_of

# Episodes of CartPole are longer than these tests.
pytestmark = pytest.mark.filterwarnings("ignore:an episode was still running")
N_ENVS = 4


class Points(VectorEnv[Any, Any, Any]):
    """Points that actions move, on a device; episodes are truncated after 5 steps.

    Actions are `[N, 2]` in [-1, 1]; the reward is minus the squared distance from 0.
    """

    def __init__(self, device: str, num_envs: int = N_ENVS) -> None:
        self.device, self.num_envs = torch.device(device), num_envs
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {
            "autoreset_mode": AutoresetMode.SAME_STEP,
            "reset_mask": True,
            "torch": True,
        }

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.points = torch.ones((self.num_envs, 2), device=self.device)
        self.steps = torch.arange(self.num_envs, device=self.device) % 3
        return self.points.clone(), {}

    def step(self, actions: Any) -> Any:
        moved = self.points + actions
        self.steps = self.steps + 1
        truncated = self.steps == 5
        self.points = torch.where(truncated[:, None], 1.0, moved)
        self.steps = torch.where(truncated, 0, self.steps)
        infos = {"final_obs": moved, "_final_obs": truncated}
        rewards = -moved.square().sum(dim=1)
        never = torch.zeros_like(truncated)
        return self.points.clone(), rewards, never, truncated, infos


def native(env_id: str, **arguments: Any) -> Callable[[str], Any]:
    return lambda device: make_torch_vec(env_id, N_ENVS, device, **arguments)


def typed(observation_space: Any, action_space: Any) -> Callable[[str], Any]:
    env = lambda: TypedEnv(observation_space, action_space)  # noqa: E731
    return lambda device: make_vec_env(env, N_ENVS)


# By name: the environment on a device, and its policy. The first ones stay there.
ENVS: dict[str, tuple[Callable[[str], Any], str]] = {
    "CartPole": (native("CartPole-v1", max_episode_steps=9), "MlpPolicy"),
    "unchecked": (
        native("CartPole-v1", max_episode_steps=5, check_actions=False),
        "MlpPolicy",
    ),
    "Sequence": (native("PGToy-Sequence-v0"), "MlpPolicy"),
    "unchecked Sequence": (
        native("PGToy-Sequence-v0", check_actions=False),
        "MlpPolicy",
    ),
    "table": (native("FrozenLake-v1", max_episode_steps=9), "TabularPolicy"),
    "next step": (
        native("CartPole-v1", autoreset_mode=AutoresetMode.NEXT_STEP),
        "MlpPolicy",
    ),
    "Pixelcopter": (native("PGToy-Pixelcopter-v0"), "MlpPolicy"),
    "Box actions": (Points, "MlpPolicy"),
    "DummyVecEnv": (lambda device: make_vec_env("CartPole-v1", N_ENVS), "MlpPolicy"),
    "arrays": (lambda device: gymnasium.make_vec("CartPole-v1", N_ENVS), "MlpPolicy"),
    "single": (lambda device: gymnasium.make("PGToy-Sequence-v0"), "MlpPolicy"),
    "Pendulum": (lambda device: make_vec_env("Pendulum-v1", N_ENVS), "MlpPolicy"),
    "dicts": (
        typed(
            spaces.Dict(
                a=spaces.Box(-1.0, 1.0, (2,), np.float32), b=spaces.Discrete(3, start=1)
            ),
            spaces.MultiDiscrete([2, 3]),
        ),
        "MultiInputPolicy",
    ),
    "images": (
        typed(spaces.Box(0, 255, (3, 36, 36), np.uint8), spaces.MultiBinary(2)),
        "CnnPolicy",
    ),
}

SETTINGS: dict[str, tuple[type[PolicyGradientAlgorithm], dict[str, Any]]] = {
    "A2C's": (ActorCritic, {}),
    "PPO's": (
        ActorCritic,
        {
            "n_steps": 16,
            "n_epochs": 2,
            "batch_size": 24,
            "clip_range": 0.2,
            "clip_range_vf": 0.2,
            "gae_lambda": 0.95,
            "ent_coef": 0.01,
            "normalize_advantage": True,
            "use_rms_prop": False,
        },
    ),
    "target KL": (ActorCritic, {"n_epochs": 3, "target_kl": 0.01}),
    "TD": (ActorCritic, {"estimator": "td", "weight_by_gamma_t": True}),
    "n-step": (
        ActorCritic,
        {
            "n_steps": 8,
            "estimator": "n_step",
            "td_steps": 3,
            "bootstrap_truncated": False,
            "standardize_returns": True,
        },
    ),
    "target network": (
        ActorCritic,
        {
            "target_update_interval": 2,
            "tau": 0.5,
            "critic_loss": "huber",
            "critic_learning_rate": 1e-3,
        },
    ),
    "V-trace": (ActorCritic, {"memory_size": 100, "gradient_steps": 2}),
    "replay": (
        ActorCritic,
        {"memory_size": 100, "replay": "returns", "batch_size": 16},
    ),
    "critic of episodes": (ActorCritic, {"n_episodes": 2, "max_episode_steps": 7}),
    "episodes": (REINFORCE, {"max_episode_steps": 7}),
    "baselines": (
        REINFORCE,
        {
            "n_episodes": 2,
            "max_episode_steps": 7,
            "baseline": "leave_one_out",
            "returns": "reward_to_go",
            "max_grad_norm": 0.5,
        },
    ),
    "steps": (
        REINFORCE,
        {"n_steps": 8, "baseline": "value", "bootstrap": True, "ent_coef": 0.01},
    ),
    "importance": (
        REINFORCE,
        {"n_episodes": 1, "max_episode_steps": 7, "memory_size": 100},
    ),
}
CASES = [
    *(("CartPole", settings) for settings in SETTINGS),
    *((env, settings) for env in list(ENVS)[1:] for settings in ("A2C's", "episodes")),
    *((env, "PPO's") for env in ("table", "Box actions", "DummyVecEnv", "dicts")),
    *((env, "V-trace") for env in ("table", "Box actions", "dicts")),
]


def make(env: str, settings: str, device: str, **more: Any) -> Any:
    make_env, policy = ENVS[env]
    algorithm: Any
    algorithm, arguments = SETTINGS[settings]
    networks = {} if policy == "TabularPolicy" else {"net_arch": [8]}
    return algorithm(
        policy,
        make_env(device),
        device=device,
        seed=0,
        policy_kwargs=networks,
        **{**arguments, **more},
    )


def learnt(model: Any, n_steps: int = 120) -> dict[str, Any]:
    """Returns the numbers that learning leads to."""
    model.learn(n_steps)
    weights = {name: w.cpu() for name, w in model.policy.state_dict().items()}
    episodes = [(info["r"], info["l"]) for info in model.ep_info_buffer]
    logged = {
        name: torch.as_tensor(value)
        for name, value in model.logger.name_to_value.items()
        if name.startswith(("train/", "rollout/"))
    }
    return {**weights, **logged, "episodes": torch.tensor(episodes)}


def assert_equal(first: dict[str, Any], second: dict[str, Any], device: str) -> None:
    """Checks numbers of two runs: bit for bit on the stand-in, else to rounding.

    Sums on a GPU have another order, and RMSprop's first steps magnify differences.
    """
    rtol, atol = (0.0, 0.0) if device == "meta" else (1e-3, 1e-4)
    torch.testing.assert_close(first, second, rtol=rtol, atol=atol, equal_nan=True)


def tensors_on_device(model: Any) -> set[str]:
    """Returns the devices of weights, optimiser states and stored observations."""
    found = [*model.policy.parameters(), *model.policy.buffers()]
    for state in model.policy.optimizer.state.values():
        # Adam's step counts are numbers on the CPU, with a GPU too.
        found += [value for name, value in state.items() if name != "step"]
    found.append(model.rollout_buffer.batch().advantages)
    return {tensor.device.type for tensor in found}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("env", "settings"), CASES)
def test_learning_on_a_device_equals_learning_on_the_cpu(
    env: str, settings: str, device: str
) -> None:
    """With the same random numbers; to rounding on a GPU."""
    # Environments on a GPU draw for all copies, whether they restart or not.
    with mock.patch.object(TorchBackend, "may_synchronise", False):
        # The closed form, on the CPU alone, equals autograd to rounding.
        on_cpu = learnt(make(env, settings, "cpu", gradients="autograd"))
    with context_of(device), SameRandomNumbers():
        model = make(env, settings, device)
        found = learnt(model)
        assert tensors_on_device(model) == {device}
    assert_equal(found, on_cpu, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "env", ["CartPole", "table", "Box actions", "DummyVecEnv", "dicts"]
)
def test_a_saved_model_acts_and_learns_alike_on_both_devices(
    env: str, device: str
) -> None:
    with context_of(device), SameRandomNumbers():
        model: Any = make(env, "PPO's", device).learn(150)
        file = io.BytesIO()
        model.save(file)
        obs = make(env, "A2C's", "cpu").get_env().reset()
        actions, _ = model.predict(obs, deterministic=True)
        assert isinstance(actions, np.ndarray)
        for other in ("cpu", device):
            file.seek(0)
            loaded = type(model).load(file, env=ENVS[env][0](other), device=other)
            found, _ = loaded.predict(obs, deterministic=True)
            np.testing.assert_allclose(found, actions, rtol=1e-5, atol=1e-6)
            loaded.learn(50)
            assert tensors_on_device(loaded) == {other}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("env", "settings"),
    [
        ("CartPole", "PPO's"),
        ("CartPole", "V-trace"),
        ("CartPole", "target network"),
        ("CartPole", "episodes"),
        ("table", "A2C's"),
        ("next step", "A2C's"),
        ("Box actions", "replay"),
        ("Sequence", "importance"),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    env: str, settings: str, device: str
) -> None:
    def weights(stops: bool) -> dict[str, torch.Tensor]:
        model: Any = make(env, settings, device).learn(110)
        if stops:
            file = io.BytesIO()
            model.save(file)
            torch.manual_seed(99)
            np.random.seed(99)
            file.seek(0)
            model = type(model).load(file, env=ENVS[env][0](device), device=device)
        return learnt(model, 90)

    with context_of(device):
        assert_equal(weights(True), weights(False), device)


def waits_of(
    env: str, settings: str, n_steps: int, callback: Any = None
) -> Counter[str]:
    """Returns how often the host waits for the device in two updates, and where."""
    with StandIn() as device:
        model = make(env, settings, "meta", n_steps=n_steps)
        # The first rollout copies constants to the device.
        model.learn(N_ENVS * n_steps)
        before = len(device.waits)
        model.learn(2 * N_ENVS * n_steps, callback, reset_num_timesteps=False)
        return Counter(device.waits[before:])


@pytest.mark.parametrize(
    ("env", "settings"),
    [
        *(("unchecked", name) for name in ("A2C's", "PPO's", "TD", "V-trace", "steps")),
        ("unchecked Sequence", "PPO's"),
        ("Box actions", "PPO's"),
    ],
)
def test_the_host_waits_once_in_a_rollout_and_not_in_each_step(
    env: str, settings: str
) -> None:
    few, many = (waits_of(env, settings, n_steps) for n_steps in (6, 18))
    assert many == few


class ReadRewards(BaseCallback):
    def _on_step(self) -> bool:
        return bool(self.locals["rewards"].sum() < 1e9)


def test_a_callback_that_reads_a_number_waits_in_each_step() -> None:
    few, many = (waits_of("unchecked", "A2C's", n, ReadRewards()) for n in (6, 18))
    assert many.total() - few.total() == 2 * (18 - 6)


class CountCalls(BaseCallback):
    """Counts calls of and from our functions, in a whole rollout but its first step.

    It is the second one: the first sets things up.
    """

    N_STEPS = 12
    n_calls = n_steps_done = 0

    def _count(self, frame: FrameType, event: str, arg: object) -> None:
        name = frame.f_globals.get("__name__", "")
        if event in ("call", "c_call") and name.startswith(("pg_agents.", "pg_envs.")):
            self.n_calls += 1

    def _on_step(self) -> bool:
        self.n_steps_done += 1
        if self.n_steps_done == self.N_STEPS + 1:
            sys.setprofile(self._count)
        if self.n_steps_done == 2 * self.N_STEPS:
            sys.setprofile(None)
        return True


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "PGToy-Sequence-v0", "FrozenLake-v1"]
)
def test_the_number_of_calls_is_independent_of_the_number_of_environments(
    env_id: str,
) -> None:
    counts, before = [], sys.getprofile()
    for n_envs in (512, 4096):
        callback = CountCalls()
        with StandIn():
            env = make_torch_vec(
                env_id, n_envs, "meta", max_episode_steps=10, check_actions=False
            )
            model = ActorCritic(
                "MlpPolicy", env, n_steps=callback.N_STEPS, seed=0, device="meta"
            )
            try:
                model.learn(2 * n_envs * callback.N_STEPS, callback)
            finally:
                sys.setprofile(before)
        counts.append(callback.n_calls)
    few, many = counts
    assert few == many
    assert callback.N_STEPS * 10 < few < callback.N_STEPS * 500


@pytest.mark.filterwarnings("ignore:You are trying to run .* on the GPU")
@pytest.mark.parametrize("device", DEVICES)
def test_sb3s_algorithms_and_ours_take_the_same_script(device: str) -> None:
    def trained(algorithm: Any, **arguments: Any) -> BaseAlgorithm:
        env = as_vec_env(make_torch_vec("CartPole-v1", N_ENVS, device))
        model: BaseAlgorithm = algorithm(
            "MlpPolicy", env, n_steps=8, seed=0, device=device, **arguments
        )
        model.learn(64)
        actions, _ = model.predict(env.reset(), deterministic=True)  # type: ignore[arg-type]
        assert actions.shape == (N_ENVS,)
        return model

    with context_of(device):
        models = [trained(A2C), trained(PPO, n_epochs=2, batch_size=16)]
        models += [trained(ActorCritic), trained(REINFORCE)]
        ppos = {"n_epochs": 2, "batch_size": 16, "clip_range": 0.2}
        models.append(trained(ActorCritic, **ppos))
        for model in models:
            assert {p.device.type for p in model.policy.parameters()} == {device}
            assert model.num_timesteps == 64
