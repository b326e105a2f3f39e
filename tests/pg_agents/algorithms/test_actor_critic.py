"""ActorCritic: its update by hand, and beside SB3's A2C."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import ActorCritic
from tests.pg_agents.envs import ScriptedEnv

SEQUENCE = "pg_envs:PGToy-Sequence-v0"


def test_same_seed_same_weights_to_the_bit() -> None:
    weights = []
    for _ in range(2):
        model = ActorCritic("MlpPolicy", SEQUENCE, seed=7).learn(300)
        weights.append([p.detach().clone() for p in model.policy.parameters()])
    for first, second in zip(*weights, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gae_lambda": 0.9, "ent_coef": 0.01, "n_steps": 8},
        {"normalize_advantage": True, "use_rms_prop": False},
    ],
)
def test_learns_what_a2c_learns_from_the_same_seed(settings: dict[str, Any]) -> None:
    """With A2C's settings, 50 updates later, to float32 rounding."""
    algorithms: list[Any] = [A2C, ActorCritic]
    after = []
    for algorithm in algorithms:
        # One after the other: the seed is that of global generators.
        model = algorithm("MlpPolicy", "CartPole-v1", seed=3, device="cpu", **settings)
        model.learn(50 * settings.get("n_steps", 5))
        after.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    torch.testing.assert_close(after[1], after[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sde_sample_freq", [-1, 1, 3, 4])
@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("squash_output", [False, True])
def test_gsde_draws_its_noise_where_a2c_does(
    sde_sample_freq: int, n_envs: int, squash_output: bool
) -> None:
    """At the beginning of a rollout, and again every few steps, the first included."""
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
        callback = DrawsAtTheStart()
        model = algorithm("MlpPolicy", env, **settings)
        model.learn(20 * 5 * n_envs, callback=callback)
        weights = torch.nn.utils.parameters_to_vector(model.policy.parameters())
        after.append((weights.detach(), callback.drawn, torch.rand(1)))
    (theirs, their_draws, their_next), (ours, our_draws, our_next) = after
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert (our_draws, our_next) == (their_draws, their_next)


class DrawsAtTheStart(BaseCallback):
    """Draws a number when a rollout starts, as a callback may."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def _on_rollout_start(self) -> None:
        self.drawn.append(torch.rand(1).item())

    def _on_step(self) -> bool:
        return True


class OneState(gymnasium.Env[np.int64, np.int64]):
    """One state, reward 2 for every action, terminating on the third step."""

    observation_space = spaces.Discrete(1)
    action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.int64(0), {}

    def step(
        self, action: np.int64
    ) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.int64(0), 2.0, self.steps == 3, False, {}


def one_step_model(**arguments: Any) -> ActorCritic:
    return ActorCritic(
        "TabularPolicy",
        OneState(),
        n_steps=1,
        estimator="td",
        gamma=0.5,
        learning_rate=0.1,
        max_grad_norm=None,
        use_rms_prop=False,
        seed=0,
        **arguments,
    )


def test_one_step_updates_by_hand() -> None:
    """V <- V + a * delta (vf_coef 0.5 halves the square's 2), theta by the score."""
    model = one_step_model()
    value, logits = 0.0, np.zeros(2)
    actions: list[int] = []

    def look(local: dict[str, Any], _: dict[str, Any]) -> bool:
        actions.append(int(local["actions"][0]))
        return True

    model.learn(7, callback=look)
    for t, action in enumerate(actions):
        ends = t % 3 == 2
        delta = 2.0 + (0.0 if ends else 0.5 * value) - value
        probabilities = np.exp(logits) / np.exp(logits).sum()
        logits += 0.1 * delta * (np.eye(2)[action] - probabilities)
        value += 0.1 * delta
    got = model.policy.predict_values(torch.zeros(1, dtype=torch.int64)).item()
    assert got == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(model.policy.logits[0], logits, atol=1e-6)  # type: ignore[index]


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_critic_of_either_kind_learns_the_value(critic: str) -> None:
    """Scripted rewards 0, 1, 2 at gamma 0: the values of the states seen."""

    def one() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make(SEQUENCE)
        return gymnasium.wrappers.TransformReward(env, lambda reward: 1.0)

    # Side by side: a third of the time for as many steps and updates.
    model = ActorCritic(
        "MlpPolicy",
        DummyVecEnv([one] * 5),
        n_steps=4,
        gamma=0.0,
        learning_rate=0.02,
        use_rms_prop=False,
        seed=0,
        policy_kwargs={"critic": critic, "net_arch": [16]},
    )
    model.learn(2000)
    seen = torch.tensor([[-1.0], [0.0], [1.0]])
    values = model.policy.predict_values(seen).flatten()
    torch.testing.assert_close(values, torch.ones(3), atol=0.1, rtol=0)


def test_n_steps_are_five_by_default_as_in_a2c() -> None:
    assert ActorCritic("MlpPolicy", SEQUENCE).n_steps == 5
    model = ActorCritic("MlpPolicy", SEQUENCE, n_episodes=2)
    assert (model.n_steps, model.n_episodes) == (None, 2)


def test_every_argument_of_a2c_is_accepted_with_the_same_default() -> None:
    import inspect

    theirs = inspect.signature(A2C).parameters
    ours = inspect.signature(ActorCritic).parameters
    for name, parameter in theirs.items():
        assert name in ours, name
        if name != "n_steps":
            assert ours[name].default == parameter.default, name
    # By position as well.
    assert list(theirs) == list(ours)[: len(theirs)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            {"estimator": "reward_to_go"},
            "estimator must be one of 'td', 'n_step', 'gae'",
        ),
        ({"gae_lambda": 1.5}, r"gae_lambda must lie in \[0, 1\], got 1.5"),
        ({"td_steps": 0}, "td_steps must be an integer >= 1, got 0"),
        ({"td_steps": 3}, "td_steps=3 belongs to estimator='n_step', got .*'gae'"),
        (
            {"estimator": "td", "gae_lambda": 0.5},
            "gae_lambda=0.5 belongs to estimator='gae', got estimator='td'",
        ),
        ({"gamma": 2.0}, r"gamma must lie in \[0, 1\], got 2.0"),
        ({"n_episodes": 0}, "n_episodes must be an integer >= 1, got 0"),
        ({"n_steps": 5, "n_episodes": 5}, "either n_steps or n_episodes"),
        ({"policy_kwargs": {"critic": "none"}}, "needs a critic"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ActorCritic("MlpPolicy", ScriptedEnv([3]), **arguments)


def test_policy_kwargs_of_the_caller_stay_as_they_were() -> None:
    """SB3's A2C writes its optimiser into them."""
    policy_kwargs: dict[str, Any] = {}
    ActorCritic("MlpPolicy", SEQUENCE, policy_kwargs=policy_kwargs)
    assert policy_kwargs == {}
    nested: dict[str, Any] = {"optimizer_kwargs": {"alpha": 0.9}}
    ActorCritic("MlpPolicy", SEQUENCE, policy_kwargs=nested)
    assert nested == {"optimizer_kwargs": {"alpha": 0.9}}
    A2C("MlpPolicy", SEQUENCE, policy_kwargs=policy_kwargs)
    assert policy_kwargs != {}


def test_an_optimiser_of_the_users_own_is_left_alone() -> None:
    model = ActorCritic(
        "MlpPolicy", SEQUENCE, policy_kwargs={"optimizer_class": torch.optim.SGD}
    )
    assert type(model.policy.optimizer) is torch.optim.SGD
    ours = ActorCritic("MlpPolicy", SEQUENCE).policy.optimizer
    assert isinstance(ours, torch.optim.RMSprop)
