"""The target network beside every kind of exploration, policy and step."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.nn.utils import parameters_to_vector

from pg_agents import REINFORCE, ActorCritic
from tests.pg_agents.algorithms.argument_examples import BOX, SmallEnv

AGENTS: list[Any] = [REINFORCE, ActorCritic]
# What makes the value of successors matter to each of them.
LOOKING_BEYOND: dict[Any, dict[str, Any]] = {
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


def env_for(exploration: str) -> SmallEnv:
    env = SmallEnv(BOX, ACTIONS[exploration])
    env.observation_space.seed(0)
    return env


def make(agent: Any, exploration: str, policy: Any = "MlpPolicy", **given: Any) -> Any:
    return agent(
        policy,
        env_for(exploration),
        seed=3,
        device="cpu",
        use_sde=exploration == "gSDE",
        policy_kwargs={"net_arch": [4]},
        **{**LOOKING_BEYOND[agent], "learning_rate": 0.1, **given},
    )


def weights(policy: Any) -> torch.Tensor:
    return parameters_to_vector(policy.parameters()).detach().clone()


class Watch(BaseCallback):
    """Notes the weights of policy and target whenever a rollout begins or ends."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def _note(self) -> None:
        model: Any = self.model
        self.seen.append((weights(model.policy), weights(model.target_policy)))

    def _on_rollout_start(self) -> None:
        self._note()

    def _on_training_end(self) -> None:
        self._note()

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("exploration", ACTIONS)
@pytest.mark.parametrize("policy", ["MlpPolicy", ActorCriticPolicy])
@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_it_follows_and_is_kept(
    agent: Any, exploration: str, policy: Any, interval: int, tau: float
) -> None:
    """By its formula at every update; and a loaded model goes on like this one."""
    given = {"target_update_interval": interval, "tau": tau}
    model = make(agent, exploration, policy, **given)
    torch.testing.assert_close(weights(model.target_policy), weights(model.policy))
    watch = Watch()
    model.learn(4 * 5, watch)
    _, slow = watch.seen[0]
    for update, (fast, target) in enumerate(watch.seen[1:], start=1):
        assert not torch.equal(fast, watch.seen[update - 1][0])
        if update % interval == 0:
            slow = (1 - tau) * slow + tau * fast
        torch.testing.assert_close(target, slow)
    assert not model.target_policy.training
    assert all(p.grad is None for p in model.target_policy.parameters())

    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    again = agent.load(file, env=env_for(exploration), device="cpu")
    assert torch.equal(weights(again.target_policy), weights(model.target_policy))
    assert not any(p.requires_grad for p in again.target_policy.parameters())
    # An environment that starts anew for both, and the same random numbers.
    for each in (model, again):
        each.set_env(env_for(exploration))
        each.set_random_seed(5)
        each.learn(4 * 3)
    assert torch.equal(weights(again.policy), weights(model.policy))
    assert torch.equal(weights(again.target_policy), weights(model.target_policy))


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("exploration", ACTIONS)
@pytest.mark.parametrize("sde_sample_freq", [-1, 2])
def test_a_target_that_is_always_up_to_date_changes_nothing(
    agent: Any, exploration: str, sde_sample_freq: int
) -> None:
    """Neither in what is learnt nor in what is drawn."""
    given = {"sde_sample_freq": sde_sample_freq}
    without = make(agent, exploration, **given).learn(4 * 4)
    with_one = make(agent, exploration, target_update_interval=1, **given).learn(4 * 4)
    assert torch.equal(weights(with_one.policy), weights(without.policy))


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("exploration", ACTIONS)
def test_asking_the_target_leaves_the_policy_alone(
    agent: Any, exploration: str
) -> None:
    """They share no distribution: the noise of gSDE and its means stay as they are."""
    model = make(agent, exploration, target_update_interval=1)
    seen = torch.zeros(1, 2)
    torch.manual_seed(7)
    expected = model.policy.get_distribution(seen).sample()
    distribution = model.policy.get_distribution(seen)
    if exploration == "gSDE":
        model.target_policy.reset_noise(1)
    model.target_policy.get_distribution(torch.ones(1, 2))
    torch.manual_seed(7)
    assert torch.equal(distribution.sample(), expected)
