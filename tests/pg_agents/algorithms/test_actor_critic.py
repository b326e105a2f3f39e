"""ActorCritic: equal to SB3's A2C, and to an update by hand."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import ActorCritic

SEQUENCE = "pg_envs:PGToy-Sequence-v0"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gae_lambda": 0.9, "ent_coef": 0.01, "n_steps": 8},
        {"normalize_advantage": True, "use_rms_prop": False},
    ],
)
def test_the_same_seed_trains_as_a2c(settings: dict[str, Any]) -> None:
    """For 50 updates, up to float32 rounding."""
    algorithms: list[Any] = [A2C, ActorCritic]
    after = []
    for algorithm in algorithms:
        model = algorithm("MlpPolicy", "CartPole-v1", seed=3, device="cpu", **settings)
        model.learn(50 * settings.get("n_steps", 5))
        after.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    torch.testing.assert_close(after[1], after[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sde_sample_freq", [-1, 1, 3, 4])
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("squash_output", [False, True])
def test_gsde_draws_its_noise_when_a2c_does(
    sde_sample_freq: int, n_envs: int, squash_output: bool
) -> None:
    """At the start of a rollout and every `sde_sample_freq` steps from the first on."""
    settings: dict[str, Any] = {
        "use_sde": True,
        "sde_sample_freq": sde_sample_freq,
        "policy_kwargs": {"squash_output": squash_output},
        "seed": 5,
        "device": "cpu",
    }
    algorithms: list[Any] = [A2C, ActorCritic]
    after = []
    for algorithm in algorithms:
        env = DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")] * n_envs)
        callback = DrawAtStart()
        model = algorithm("MlpPolicy", env, **settings)
        model.learn(20 * 5 * n_envs, callback=callback)
        weights = torch.nn.utils.parameters_to_vector(model.policy.parameters())
        after.append((weights.detach(), callback.drawn, torch.rand(1)))
    (expected, *expected_draws), (found, *draws) = after
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert draws == expected_draws


class DrawAtStart(BaseCallback):
    """Draws a random number when a rollout starts."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def _on_rollout_start(self) -> None:
        self.drawn.append(torch.rand(1).item())

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_separate_and_shared_critics_learn_the_value(critic: str) -> None:
    """Reward 1, gamma 0."""

    def make_env() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make(SEQUENCE)
        return gymnasium.wrappers.TransformReward(env, lambda reward: 1.0)

    model = ActorCritic(
        "MlpPolicy",
        DummyVecEnv([make_env] * 5),
        n_steps=4,
        gamma=0.0,
        learning_rate=0.02,
        use_rms_prop=False,
        seed=0,
        policy_kwargs={"critic": critic, "net_arch": [16]},
    )
    model.learn(2000)
    obs = torch.tensor([[-1.0], [0.0], [1.0]])
    values = model.policy.predict_values(obs).flatten()
    torch.testing.assert_close(values, torch.ones(3), atol=0.1, rtol=0)


def test_optimizer_class_replaces_rmsprop() -> None:
    model = ActorCritic(
        "MlpPolicy", SEQUENCE, policy_kwargs={"optimizer_class": torch.optim.SGD}
    )
    assert type(model.policy.optimizer) is torch.optim.SGD
    ours = ActorCritic("MlpPolicy", SEQUENCE).policy.optimizer
    assert isinstance(ours, torch.optim.RMSprop)
