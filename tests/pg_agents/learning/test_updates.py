"""The update beside SB3's, and each improvement beside its own mathematics."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from pg_agents import REINFORCE, ActorCritic
from pg_agents.learning.critic import update_target
from pg_agents.policies.policies import MlpPolicy
from tests.pg_agents.envs import ScriptedEnv

CARTPOLE = "CartPole-v1"
PENDULUM = "Pendulum-v1"
PPO_SETTINGS: dict[str, Any] = {
    "learning_rate": 3e-4,
    "gae_lambda": 0.95,
    "n_epochs": 3,
    "batch_size": 16,
    "clip_range": 0.2,
    "normalize_advantage": True,
}
# PPO has what A2C's arguments would add.
ONLY_OURS: dict[str, Any] = {"use_rms_prop": False}


def one_update(
    algorithm: Any, env: str, n_steps: int, n_envs: int = 2, **settings: Any
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Returns the weights before and after an update, and what was logged of it."""
    venv = make_vec_env(env, n_envs=n_envs, seed=5)
    model = algorithm(
        "MlpPolicy", venv, n_steps=n_steps, seed=3, device="cpu", **settings
    )
    before = parameters_to_vector(model.policy.parameters()).detach().clone()
    # The same minibatches: both shuffle by NumPy's global generator.
    np.random.seed(11)
    model.learn(n_steps * n_envs, log_interval=None)
    after = parameters_to_vector(model.policy.parameters()).detach()
    return before, after, dict(model.logger.name_to_value)


PPO_CASES: list[dict[str, Any]] = [
    {},
    {"clip_range": 0.05, "clip_range_vf": 0.1, "ent_coef": 0.02, "n_epochs": 6},
    {"normalize_advantage": False, "batch_size": 64, "learning_rate": 1e-2},
    {"target_kl": 1e-4, "learning_rate": 1e-2, "n_epochs": 10},
    # 33 steps of 2 environments in mini-batches of 13: a last one of 1.
    {"batch_size": 13, "n_steps": 33},
    {"clip_range": lambda progress: 0.3 * progress},
]
GSDE_CASES = [{"use_sde": True, "sde_sample_freq": every} for every in (-1, 1, 4)]


# PPO doesn't like the last mini-batch of 1; it is the point of that case.
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 13")
@pytest.mark.parametrize(
    ("env", "settings"),
    [
        *((env, settings) for env in (CARTPOLE, PENDULUM) for settings in PPO_CASES),
        *((PENDULUM, settings) for settings in GSDE_CASES),
    ],
)
def test_one_update_with_ppos_settings_is_ppos(
    env: str, settings: dict[str, Any]
) -> None:
    """From the same weights, on the same rollout, to float32 rounding."""
    given: dict[str, Any] = {"n_steps": 32} | PPO_SETTINGS | settings
    before, theirs, their_log = one_update(PPO, env, **given)
    start, ours, our_log = one_update(ActorCritic, env, **given, **ONLY_OURS)
    assert torch.equal(before, start)
    moved = (theirs - before).abs().max()
    assert moved > 1e-4
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3 * float(moved))
    names = {"train/policy_gradient_loss": "train/policy_loss"}
    for key in (
        "train/approx_kl",
        "train/clip_fraction",
        "train/entropy_loss",
        "train/explained_variance",
        "train/loss",
        "train/n_updates",
        "train/policy_gradient_loss",
        "train/value_loss",
    ):
        assert our_log[names.get(key, key)] == pytest.approx(
            float(their_log[key]), rel=1e-3, abs=1e-5
        ), key


@pytest.mark.parametrize("env", [CARTPOLE, PENDULUM])
@pytest.mark.parametrize(
    "settings", [{}, {"normalize_advantage": True}, {"gae_lambda": 0.9, "vf_coef": 0.2}]
)
def test_one_update_with_a2cs_settings_is_a2cs(
    env: str, settings: dict[str, Any]
) -> None:
    """A2C's settings are the defaults."""
    before, theirs, their_log = one_update(A2C, env, n_steps=8, **settings)
    start, ours, our_log = one_update(ActorCritic, env, n_steps=8, **settings)
    assert torch.equal(before, start)
    moved = (theirs - before).abs().max()
    assert moved > 1e-4
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3 * float(moved))
    assert their_log.keys() - our_log.keys() == set()
    for key in their_log:
        if key.startswith("train/"):
            assert our_log[key] == pytest.approx(their_log[key], rel=1e-3, abs=1e-5)


class EachUpdate(BaseCallback):
    """Keeps something of the model at the start of every rollout."""

    def __init__(self, look: Any) -> None:
        super().__init__()
        self.look, self.seen = look, list[Any]()

    def _on_rollout_start(self) -> None:
        self.seen.append(self.look(self.model))

    def _on_step(self) -> bool:
        return True


def test_ent_coef_clip_range_and_critic_learning_rate_can_be_schedules() -> None:
    def halfway(at_start: float) -> Any:
        return lambda progress: at_start * progress

    model = ActorCritic(
        "MlpPolicy",
        CARTPOLE,
        n_steps=10,
        seed=0,
        ent_coef=halfway(0.1),
        clip_range=halfway(0.4),
        critic_learning_rate=halfway(0.02),
        learning_rate=0.004,
    )
    model.learn(20, log_interval=None)
    # The last update was made with nothing of the progress left, as in SB3.
    logged = model.logger.name_to_value
    assert logged["train/ent_coef"] == logged["train/clip_range"] == 0.0
    assert logged["train/critic_learning_rate"] == 0.0


def test_actor_and_critic_have_step_sizes_of_their_own() -> None:
    """With plain gradient descent and a step size of 0, that part stays where it is."""
    for rates, moved in (((0.1, 0.0), "actor"), ((0.0, 0.1), "critic")):
        model = ActorCritic(
            "MlpPolicy",
            CARTPOLE,
            learning_rate=rates[0],
            critic_learning_rate=rates[1],
            n_steps=20,
            seed=0,
            policy_kwargs={"optimizer_class": torch.optim.SGD},
        )
        before = {k: v.clone() for k, v in model.policy.state_dict().items()}
        model.learn(20)
        for name, weights in model.policy.state_dict().items():
            part = "critic" if "value" in name else "actor"
            changed = not torch.equal(weights, before[name])
            assert changed == (part == moved), name


def test_a_shared_body_learns_with_the_step_size_of_the_policy() -> None:
    model = ActorCritic(
        "MlpPolicy",
        CARTPOLE,
        critic_learning_rate=0.5,
        policy_kwargs={"critic": "shared", "net_arch": [8]},
    )
    policy_group, critic_group = model.policy.optimizer.param_groups
    assert len(critic_group["params"]) == 2  # Weight and bias of the value head.
    assert len(policy_group["params"]) == 4
    model.learn(5)
    assert (policy_group["lr"], critic_group["lr"]) == (7e-4, 0.5)


def test_the_target_network_follows_every_n_updates() -> None:
    def difference(model: Any) -> float:
        pairs = zip(
            model.policy.parameters(), model.target_policy.parameters(), strict=True
        )
        return max(float((p - q).detach().abs().max()) for p, q in pairs)

    look = EachUpdate(difference)
    model = ActorCritic("MlpPolicy", CARTPOLE, target_update_interval=3, seed=0)
    model.learn(5 * 7, callback=look)
    assert [d == 0.0 for d in look.seen] == [True, False, False] * 2 + [True]


@pytest.mark.parametrize("tau", [0.25, 1.0])
def test_polyak_averaging_by_hand(tau: float) -> None:
    observation, action = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)
    policy, target = (MlpPolicy(observation, action, lambda _: 0.1) for _ in range(2))
    wanted = [
        (1 - tau) * slow.detach() + tau * fast.detach()
        for fast, slow in zip(policy.parameters(), target.parameters(), strict=True)
    ]
    update_target(target, policy, tau)
    for got, value in zip(target.parameters(), wanted, strict=True):
        torch.testing.assert_close(got.detach(), value)


@pytest.mark.parametrize("estimator", ["td", "gae"])
def test_successors_are_valued_by_the_target_network(estimator: Any) -> None:
    """The baseline V(s_t) is the critic's; gamma V(s_{t+1}) is the target's."""
    model = ActorCritic(
        "MlpPolicy",
        ScriptedEnv([3, 4]),
        estimator=estimator,
        gae_lambda=1.0 if estimator == "td" else 0.0,
        gamma=0.5,
        n_steps=6,
        target_update_interval=1000,
        seed=0,
    )
    assert model.target_policy is not None
    with torch.no_grad():
        model.target_policy.value_net.bias.fill_(7.0)
    model.learn(6)
    buffer = model.rollout_buffer
    seen = torch.as_tensor(buffer.observations)[:, 0]
    with torch.no_grad():
        slow = model.target_policy.predict_values(seen).flatten().numpy()
        final = model.target_policy.predict_values(torch.as_tensor(model._last_obs))
    following = np.append(slow[1:], final.item())
    following[buffer.terminated[:, 0]] = 0.0
    np.testing.assert_allclose(
        buffer.returns[:, 0], buffer.rewards[:, 0] + 0.5 * following, rtol=1e-5
    )
    np.testing.assert_allclose(
        buffer.advantages[:, 0], buffer.returns[:, 0] - buffer.values[:, 0], rtol=1e-4
    )


@pytest.mark.parametrize("n_envs", [1, 3])
def test_mini_batches_of_an_epoch_are_the_rollout(n_envs: int) -> None:
    """Every step once, and shares of the loss that add up to the whole."""
    model = REINFORCE("MlpPolicy", gymnasium.make_vec(CARTPOLE, n_envs), n_episodes=2)
    model.learn(1)
    whole, parts = model.rollout_buffer.batch(), list(model.rollout_buffer.get(16))
    assert sum(len(part) for part in parts) == len(whole)
    assert sum(part.n_samples for part in parts) == pytest.approx(2 * n_envs)
    together = torch.cat([part.observations for part in parts])
    assert sorted(together.tolist()) == sorted(whole.observations.tolist())
    policy_loss = model.loss(whole)[1]["policy_loss"].item()
    shares = [
        model.loss(part)[1]["policy_loss"].item() * len(part) / len(whole)
        for part in parts
    ]
    assert sum(shares) == pytest.approx(policy_loss, rel=1e-4)


def test_epochs_stop_at_the_target_kl() -> None:
    """The first step is always taken: there the policies are one and the same."""
    settings: dict[str, Any] = PPO_SETTINGS | {"n_epochs": 50, "learning_rate": 0.05}
    model = ActorCritic(
        "MlpPolicy", CARTPOLE, n_steps=32, target_kl=1e-3, seed=0, **settings
    )
    model.learn(32, log_interval=None)
    assert 1 <= model._n_updates < 50


def test_batch_norm_and_dropout_see_the_right_mode() -> None:
    modes: dict[str, set[bool]] = {"forward": set(), "update": set()}

    class Spy(torch.nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            learning = torch.is_grad_enabled()
            modes["update" if learning else "forward"].add(self.training)
            return features

    model = ActorCritic(
        "MlpPolicy",
        CARTPOLE,
        target_update_interval=2,
        policy_kwargs={"net_arch": [4], "activation_fn": Spy},
    )
    model.learn(20)
    assert modes == {"forward": {False}, "update": {True}}
    model.predict(np.zeros(4, dtype=np.float32))
    assert modes["forward"] == {False}


def refused(algorithm: Any, **arguments: Any) -> str:
    with pytest.raises(ValueError) as caught:
        algorithm("MlpPolicy", CARTPOLE, **arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n_epochs": 0}, "n_epochs must be an integer >= 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer >= 1, got 2.5"),
        ({"clip_range": 0.0}, "clip_range must be a finite number > 0, got 0.0"),
        (
            {"clip_range": lambda _: -1.0},
            "clip_range(1.0) must be a finite number >= 0",
        ),
        ({"ent_coef": lambda p: p - 0.5}, "ent_coef(0.0) must be a finite number >= 0"),
        ({"target_kl": -1}, "target_kl must be a finite number > 0, got -1"),
        ({"critic_loss": "l1"}, "critic_loss must be one of 'squared', 'huber'"),
        ({"tau": 0.5}, "tau=0.5 belongs to a target network"),
        ({"tau": 0.0, "target_update_interval": 1}, "tau must be a finite number > 0"),
        ({"learning_rate": -0.1}, "learning_rate must be a finite number >= 0"),
        (
            {"batch_size": 4, "normalize_advantage": True, "weight_by_gamma_t": True},
            "choose two of the three",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(
    arguments: dict[str, Any], says: str
) -> None:
    assert says in refused(ActorCritic, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"critic_learning_rate": 0.1},
        {"clip_range_vf": 0.2},
        {"target_update_interval": 5},
        {"critic_loss": "huber"},
    ],
)
def test_what_is_about_a_critic_needs_one(arguments: dict[str, Any]) -> None:
    (name,) = arguments
    assert f"{name}=" in refused(REINFORCE, **arguments)
    assert "needs a critic, baseline='value'" in refused(REINFORCE, **arguments)


def test_a_target_network_that_nobody_asks_is_refused() -> None:
    said = refused(REINFORCE, baseline="value", target_update_interval=2)
    assert "needs bootstrap=True" in said


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
def test_an_infinite_bound_on_the_gradient_is_none(algorithm: Any) -> None:
    """As in A2C, which asks torch to clip at infinity."""
    after = []
    for bound in (None, float("inf")):
        model = algorithm(
            "MlpPolicy", CARTPOLE, max_grad_norm=bound, seed=0, device="cpu"
        )
        after.append(parameters_to_vector(model.learn(50).policy.parameters()))
    assert torch.equal(*after)
