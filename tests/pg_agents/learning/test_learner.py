"""The update: equal to A2C's and PPO's, with schedules, target KL and logs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import explained_variance as sb3_explained_variance
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from pg_agents import REINFORCE, ActorCritic
from pg_agents.learning.learner import explained_variance
from tests.pg_agents.kinds import CARTPOLE, KINDS, SEQUENCE

PENDULUM = "Pendulum-v1"
PPO_SETTINGS: dict[str, Any] = {
    "learning_rate": 3e-4,
    "gae_lambda": 0.95,
    "n_epochs": 3,
    "batch_size": 16,
    "clip_range": 0.2,
    "normalize_advantage": True,
}
PPO_CASES: list[dict[str, Any]] = [
    {},
    {"clip_range": 0.05, "clip_range_vf": 0.1, "ent_coef": 0.02, "n_epochs": 6},
    {"normalize_advantage": False, "batch_size": 64, "learning_rate": 1e-2},
    {"target_kl": 1e-4, "learning_rate": 1e-2, "n_epochs": 10},
    # 33 steps of 2 environments in mini-batches of 13: the last one has 1 step.
    {"batch_size": 13, "n_steps": 33},
    {"clip_range": lambda progress: 0.3 * progress},
]
GSDE_CASES = [{"use_sde": True, "sde_sample_freq": every} for every in (-1, 1, 4)]


def one_update(
    algorithm: Any, env: str, n_steps: int, n_envs: int = 2, **settings: Any
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Returns the weights before and after an update, and its logs."""
    venv = make_vec_env(env, n_envs=n_envs, seed=5)
    model = algorithm(
        "MlpPolicy", venv, n_steps=n_steps, seed=3, device="cpu", **settings
    )
    before = parameters_to_vector(model.policy.parameters()).detach().clone()
    if algorithm is ActorCritic:
        source = "autograd" if settings.get("use_sde") else "closed form"
        assert model.explain_gradients().startswith(source)
    # Both shuffle by NumPy's global generator.
    np.random.seed(11)
    model.learn(n_steps * n_envs, log_interval=None)
    after = parameters_to_vector(model.policy.parameters()).detach()
    return before, after, dict(model.logger.name_to_value)


def check_equal_updates(
    reference: Any, env: str, settings: dict[str, Any], **more: Any
) -> tuple[dict[str, float], dict[str, float]]:
    """Compares weights up to float32 rounding; returns the logs of both."""
    before, expected, expected_logs = one_update(reference, env, **settings)
    start, weights, logs = one_update(ActorCritic, env, **settings, **more)
    assert torch.equal(before, start)
    change = (expected - before).abs().max()
    assert change > 1e-4
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-3 * float(change))
    return expected_logs, logs


# PPO warns of the mini-batch of 1 step.
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 13")
@pytest.mark.parametrize(
    ("env", "settings"),
    [
        *((env, settings) for env in (CARTPOLE, PENDULUM) for settings in PPO_CASES),
        *((PENDULUM, settings) for settings in GSDE_CASES),
    ],
)
def test_an_update_with_ppos_settings_equals_ppos(
    env: str, settings: dict[str, Any]
) -> None:
    settings = {"n_steps": 32} | PPO_SETTINGS | settings
    expected, logs = check_equal_updates(PPO, env, settings, use_rms_prop=False)
    for key, ours in {
        "approx_kl": "approx_kl",
        "clip_fraction": "clip_fraction",
        "entropy_loss": "entropy_loss",
        "explained_variance": "explained_variance",
        "loss": "loss",
        "n_updates": "n_updates",
        "policy_gradient_loss": "policy_loss",
        "value_loss": "value_loss",
    }.items():
        assert logs[f"train/{ours}"] == pytest.approx(
            float(expected[f"train/{key}"]), rel=1e-3, abs=1e-5
        ), key


@pytest.mark.parametrize("env", [CARTPOLE, PENDULUM])
@pytest.mark.parametrize(
    "settings", [{}, {"normalize_advantage": True}, {"gae_lambda": 0.9, "vf_coef": 0.2}]
)
def test_an_update_with_default_settings_equals_a2cs(
    env: str, settings: dict[str, Any]
) -> None:
    expected, logs = check_equal_updates(A2C, env, {"n_steps": 8} | settings)
    assert expected.keys() <= logs.keys()
    for key in expected:
        if key.startswith("train/"):
            assert logs[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-5)


def test_epochs_stop_at_the_target_kl() -> None:
    """After the first step at least, before which the policies are equal."""
    settings: dict[str, Any] = PPO_SETTINGS | {"n_epochs": 50, "learning_rate": 0.05}
    model = ActorCritic(
        "MlpPolicy", CARTPOLE, n_steps=32, target_kl=1e-3, seed=0, **settings
    )
    model.learn(32, log_interval=None)
    assert 1 <= model._n_updates < 50


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
def test_an_infinite_max_grad_norm_does_not_clip(algorithm: Any) -> None:
    weights = []
    for bound in (None, float("inf")):
        model = algorithm(
            "MlpPolicy", CARTPOLE, max_grad_norm=bound, seed=0, device="cpu"
        )
        weights.append(parameters_to_vector(model.learn(50).policy.parameters()))
    assert torch.equal(*weights)


def test_max_grad_norm_bounds_the_norm_of_a_step() -> None:
    norms = {}
    for bound in (None, 1e-3):
        model = REINFORCE(
            "MlpPolicy",
            CARTPOLE,
            learning_rate=1.0,
            max_grad_norm=bound,
            seed=0,
            policy_kwargs={"optimizer_class": torch.optim.SGD},
        )
        before = parameters_to_vector(model.policy.parameters()).clone()
        model.learn(3)
        after = parameters_to_vector(model.policy.parameters())
        norms[bound] = (after - before).norm().item()
    assert norms[None] > 0.1
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)


# Logs.


@pytest.mark.parametrize("seed", range(3))
def test_explained_variance_equals_sb3s(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values, targets = torch.randn((2, 50), generator=generator)
    expected = sb3_explained_variance(values.numpy(), targets.numpy())
    assert explained_variance(values, targets).item() == pytest.approx(expected, 1e-5)


def test_explained_variance_of_equal_returns_is_nan() -> None:
    assert math.isnan(explained_variance(torch.tensor([1.0, 2.0]), torch.ones(2)))


@pytest.mark.parametrize("algorithm", [A2C, ActorCritic, REINFORCE])
@pytest.mark.parametrize("log_interval", [1, 3, 100, None])
def test_logs_of_the_last_update_can_be_read_after_learn(
    algorithm: Any, log_interval: int | None
) -> None:
    model = algorithm("MlpPolicy", CARTPOLE, seed=0, device="cpu")
    model.learn(60, log_interval=log_interval)
    logs = model.logger.name_to_value
    assert logs["train/n_updates"] == model._n_updates
    names = {"train/n_updates", "train/entropy_loss", "train/learning_rate"}
    assert names <= logs.keys()


# Schedules: arguments that can be one, and settings that make them matter.

SCHEDULES: dict[str, dict[str, Any]] = {
    "learning_rate": {},
    "critic_learning_rate": {"baseline": "value"},
    "ent_coef": {},
    "clip_range": {"n_epochs": 2},
    "clip_range_vf": {"baseline": "value", "clip_range": 0.2},
}
AGENTS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "episodes": (REINFORCE, {"n_episodes": 2}),
    "steps": (REINFORCE, {"n_steps": 16}),
    "mini-batches": (REINFORCE, {"n_steps": 16, "batch_size": 8}),
    "actor-critic": (ActorCritic, {"n_steps": 16}),
    "actor-critic, episodes": (ActorCritic, {"n_episodes": 2}),
    "memory": (REINFORCE, {"n_episodes": 2, "memory_size": 200}),
}
CASES = [
    (agent, name)
    for agent in AGENTS
    for name in SCHEDULES
    # Clipping needs on-policy data.
    if agent != "memory" or not name.startswith("clip")
]


def model_with(
    agent: str, kind: str, name: str, schedule: Callable[[float], Any]
) -> Any:
    algorithm, settings = AGENTS[agent]
    more = dict(SCHEDULES[name])
    if algorithm is ActorCritic:
        more.pop("baseline", None)
    env = KINDS[kind](CARTPOLE if kind != "torch" else SEQUENCE, 8)
    arguments = {"seed": 0, "device": "cpu", **settings, **more, name: schedule}
    return algorithm("MlpPolicy", env, **arguments)


@pytest.mark.filterwarnings("ignore:the first update has the step size")
@pytest.mark.parametrize("total_timesteps", [1, 300])
@pytest.mark.parametrize(
    ("agent", "name", "kind"),
    [
        *((agent, name, "dummy") for agent, name in CASES),
        *((agent, "learning_rate", kind) for agent in AGENTS for kind in KINDS),
    ],
)
def test_schedules_are_evaluated_at_progress_in_0_to_1(
    agent: str, name: str, kind: str, total_timesteps: int
) -> None:
    """Though the last rollout exceeds `total_timesteps`."""
    calls: list[float] = []

    def linear(progress: float) -> float:
        calls.append(progress)
        return 0.1 * progress

    model = model_with(agent, kind, name, linear)
    calls.clear()
    model.learn(total_timesteps)
    assert model.num_timesteps >= total_timesteps
    assert 0.0 <= min(calls) <= max(calls) <= 1.0
    assert calls[-1] == 0.0
    if name != "clip_range_vf":
        assert model.logger.name_to_value[f"train/{name}"] == 0.0
    calls.clear()
    model.learn(total_timesteps, reset_num_timesteps=False)
    assert 0.0 <= min(calls) <= max(calls) <= 1.0


@pytest.mark.parametrize(
    "value", [-0.1, math.nan, math.inf, "0.1", None], ids=lambda value: repr(value)
)
@pytest.mark.parametrize(("agent", "name"), CASES)
def test_bad_values_of_schedules_are_refused_by_name(
    agent: str, name: str, value: Any
) -> None:
    """Between 0 and 1, which are checked when the model is made."""

    def schedule(progress: float) -> Any:
        return 0.1 if progress in (0.0, 1.0) else value

    model = model_with(agent, "dummy", name, schedule)
    with pytest.raises(ValueError, match=rf"^{name}\(0\.\d+\) must be a finite number"):
        model.learn(2_000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_update_with_step_size_0_is_warned_of(kind: str) -> None:
    model = model_with("episodes", kind, "learning_rate", lambda p: 0.1 * p)
    with pytest.warns(UserWarning, match=r"learning_rate\(0\) = 0 and changes nothing"):
        model.learn(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.learn(4 * model.num_timesteps)
