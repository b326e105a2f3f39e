"""Target network, and a learning rate of the critic."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.nn.utils import parameters_to_vector

from pg_agents import REINFORCE, ActorCritic
from tests.pg_agents.algorithms.argument_examples import BOX, SmallEnv
from tests.pg_agents.envs import ScriptedEnv
from tests.pg_agents.kinds import CARTPOLE

AGENTS: list[Any] = [REINFORCE, ActorCritic]
# Settings with which returns bootstrap.
BOOTSTRAP: dict[Any, dict[str, Any]] = {
    REINFORCE: {"baseline": "value", "bootstrap": True, "n_steps": 4},
    ActorCritic: {"n_steps": 4},
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "gSDE": spaces.Box(-1.0, 2.0, (2,)),
    "Gaussian": spaces.Box(-1.0, 2.0, (2,)),
    "categorical": spaces.Discrete(3),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "Bernoulli": spaces.MultiBinary(2),
}
EACH_DISTRIBUTION = pytest.mark.parametrize("distribution", ACTIONS)
EACH_AGENT = pytest.mark.parametrize("agent", AGENTS)


def make_env(distribution: str) -> SmallEnv:
    env = SmallEnv(BOX, ACTIONS[distribution])
    env.observation_space.seed(0)
    return env


def make_model(
    agent: Any, distribution: str, policy: Any = "MlpPolicy", **settings: Any
) -> Any:
    return agent(
        policy,
        make_env(distribution),
        seed=3,
        device="cpu",
        use_sde=distribution == "gSDE",
        policy_kwargs={"net_arch": [4]},
        **{**BOOTSTRAP[agent], "learning_rate": 0.1, **settings},
    )


def weights(policy: Any) -> torch.Tensor:
    return parameters_to_vector(policy.parameters()).detach().clone()


class RecordWeights(BaseCallback):
    """Stores the weights of policy and target after each update."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[tuple[torch.Tensor, torch.Tensor]] = []

    def _record(self) -> None:
        model: Any = self.model
        self.weights.append((weights(model.policy), weights(model.target_policy)))

    def _on_rollout_start(self) -> None:
        self._record()

    def _on_training_end(self) -> None:
        self._record()

    def _on_step(self) -> bool:
        return True


@EACH_AGENT
@EACH_DISTRIBUTION
@pytest.mark.parametrize("policy", ["MlpPolicy", ActorCriticPolicy])
@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_the_target_network_follows_its_formula_and_is_saved(
    agent: Any, distribution: str, policy: Any, interval: int, tau: float
) -> None:
    settings = {"target_update_interval": interval, "tau": tau}
    model = make_model(agent, distribution, policy, **settings)
    torch.testing.assert_close(weights(model.target_policy), weights(model.policy))
    callback = RecordWeights()
    model.learn(4 * 5, callback)
    _, expected = callback.weights[0]
    for update, (current, target) in enumerate(callback.weights[1:], start=1):
        assert not torch.equal(current, callback.weights[update - 1][0])
        if update % interval == 0:
            expected = (1 - tau) * expected + tau * current
        torch.testing.assert_close(target, expected)
    assert not model.target_policy.training
    assert all(p.grad is None for p in model.target_policy.parameters())

    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = agent.load(file, env=make_env(distribution), device="cpu")
    assert torch.equal(weights(loaded.target_policy), weights(model.target_policy))
    assert not any(p.requires_grad for p in loaded.target_policy.parameters())
    # Both train on in the same way.
    for each in (model, loaded):
        each.set_env(make_env(distribution))
        each.set_random_seed(5)
        each.learn(4 * 3)
    assert torch.equal(weights(loaded.policy), weights(model.policy))
    assert torch.equal(weights(loaded.target_policy), weights(model.target_policy))


@EACH_AGENT
@EACH_DISTRIBUTION
@pytest.mark.parametrize("sde_sample_freq", [-1, 2])
def test_a_target_copied_at_every_update_changes_nothing(
    agent: Any, distribution: str, sde_sample_freq: int
) -> None:
    """Neither weights nor random numbers."""
    settings = {"sde_sample_freq": sde_sample_freq}
    without = make_model(agent, distribution, **settings).learn(4 * 4)
    settings["target_update_interval"] = 1
    with_target = make_model(agent, distribution, **settings).learn(4 * 4)
    assert torch.equal(weights(with_target.policy), weights(without.policy))


@EACH_AGENT
@EACH_DISTRIBUTION
def test_policy_and_target_share_no_distribution(agent: Any, distribution: str) -> None:
    """Neither gSDE's noise nor means."""
    model = make_model(agent, distribution, target_update_interval=1)
    obs = torch.zeros(1, 2)
    torch.manual_seed(7)
    expected = model.policy.get_distribution(obs).sample()
    action_distribution = model.policy.get_distribution(obs)
    if distribution == "gSDE":
        model.target_policy.reset_noise(1)
    model.target_policy.get_distribution(torch.ones(1, 2))
    torch.manual_seed(7)
    assert torch.equal(action_distribution.sample(), expected)


@pytest.mark.parametrize("estimator", ["td", "gae"])
def test_successors_are_valued_by_the_target_network(estimator: Any) -> None:
    """V(s_t) is the critic's, gamma V(s_{t+1}) the target's."""
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
    obs = torch.as_tensor(np.append(buffer.observations[:, 0], model._last_obs, axis=0))
    with torch.no_grad():
        next_values = model.target_policy.predict_values(obs).flatten().numpy()[1:]
    next_values[buffer.terminated[:, 0]] = 0.0
    np.testing.assert_allclose(
        buffer.returns[:, 0], buffer.rewards[:, 0] + 0.5 * next_values, rtol=1e-5
    )
    np.testing.assert_allclose(
        buffer.advantages[:, 0], buffer.returns[:, 0] - buffer.values[:, 0], rtol=1e-4
    )


@pytest.mark.parametrize(
    ("rates", "trained"), [((0.1, 0.0), "actor"), ((0.0, 0.1), "critic")]
)
def test_actor_and_critic_have_their_own_learning_rates(
    rates: tuple[float, float], trained: str
) -> None:
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
    for name, parameter in model.policy.state_dict().items():
        part = "critic" if "value" in name else "actor"
        assert torch.equal(parameter, before[name]) == (part != trained), name


def test_a_shared_body_has_the_learning_rate_of_the_policy() -> None:
    model = ActorCritic(
        "MlpPolicy",
        CARTPOLE,
        critic_learning_rate=0.5,
        policy_kwargs={"critic": "shared", "net_arch": [8]},
    )
    policy_group, critic_group = model.policy.optimizer.param_groups
    # Weight and bias of the value head, and of body and action head.
    assert (len(critic_group["params"]), len(policy_group["params"])) == (2, 4)
    model.learn(5)
    assert (policy_group["lr"], critic_group["lr"]) == (7e-4, 0.5)
