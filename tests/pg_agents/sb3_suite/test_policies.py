"""Arguments of policies, beyond what SB3's own tests ask of A2C."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from pg_agents import ActorCritic
from tests.pg_agents.sb3_suite.agents import AGENTS, SMALL, VECTOR, sample_env


def build(agent: Any, action_space: Any = VECTOR, **kwargs: Any) -> Any:
    env = sample_env(action_space=action_space)
    return agent("MlpPolicy", env, seed=0, **{"n_steps": 16, **kwargs})


@pytest.mark.parametrize(
    ("net_arch", "policy_widths", "value_widths"),
    [
        ([], [], []),
        ([4], [4], [4]),
        ([4, 3], [4, 3], [4, 3]),
        ({"vf": [16], "pi": [8]}, [8], [16]),
        ({"vf": [8], "pi": [8, 4]}, [8, 4], [8]),
        ({"pi": [8]}, [8], []),
        ({"vf": [8]}, [], [8]),
        # The format before SB3 1.8, which it warns of.
        ([{"vf": [8]}], [], [8]),
        ([{"vf": [8], "pi": [4]}], [4], [8]),
    ],
)
@pytest.mark.parametrize("agent", AGENTS)
def test_net_arch_gives_the_widths_of_the_layers(
    agent: Any, net_arch: Any, policy_widths: list[int], value_widths: list[int]
) -> None:
    kwargs = {"policy_kwargs": {"net_arch": net_arch}}
    if isinstance(net_arch, list) and net_arch and isinstance(net_arch[0], dict):
        with pytest.warns(UserWarning, match="shared layers"):
            model = build(agent, **kwargs)
    else:
        model = build(agent, **kwargs)
    model.learn(16)
    extractor = model.policy.mlp_extractor
    widths = [
        [layer.out_features for layer in net if isinstance(layer, nn.Linear)]
        for net in (extractor.policy_net, extractor.value_net)
    ]
    # REINFORCE without a baseline has no critic.
    assert widths == [policy_widths, value_widths if agent is ActorCritic else []]


def test_a_shared_critic_takes_a_list_of_widths() -> None:
    for two in ({"pi": [4]}, [{"pi": [4]}]):
        kwargs = {"critic": "shared", "net_arch": two}
        with pytest.raises(ValueError, match="net_arch must be a list of layer widths"):
            build(ActorCritic, policy_kwargs=kwargs)


class Extractor(BaseFeaturesExtractor):
    """Flat observations through batch norm and dropout."""

    def __init__(self, observation_space: Any, dropout: float = 0.5) -> None:
        size = get_flattened_obs_dim(observation_space)
        super().__init__(observation_space, size)
        self.batch_norm = nn.BatchNorm1d(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, observations: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.batch_norm(observations.flatten(1)))
        return out


@pytest.mark.parametrize(
    "policy_kwargs",
    [
        {"features_extractor_kwargs": {"dropout": 0.25}},
        {"optimizer_kwargs": {"eps": 1e-3}},
        {"net_arch": {"pi": [4], "vf": [4]}, "activation_fn": nn.ReLU},
        {"net_arch": [4], "ortho_init": False, "log_std_init": -1.0},
        {"normalize_images": False, "share_features_extractor": True},
    ],
    ids=lambda given: next(iter(given)),
)
@pytest.mark.parametrize("agent", AGENTS)
def test_policy_kwargs_are_never_changed(agent: Any, policy_kwargs: Any) -> None:
    given = {"features_extractor_class": Extractor, **policy_kwargs}
    before = copy.deepcopy(given)
    for use_sde in (False, True):
        model = build(agent, policy_kwargs=given, use_sde=use_sde)
        model.learn(16)
        assert given == before
        assert model.policy_kwargs == before


def test_dicts_within_policy_kwargs_are_not_written_to() -> None:
    """SB3 writes `normalized_image` into the extractor's arguments."""
    image = gymnasium.spaces.Box(-1.0, 1.0, (1, 36, 36), np.float32)
    sizes = {"features_dim": 4}
    kwargs = {"features_extractor_kwargs": sizes, "normalize_images": False}
    for agent in AGENTS:
        agent("CnnPolicy", sample_env(image), policy_kwargs=kwargs)
        assert sizes == {"features_dim": 4}


class RecordActions(gymnasium.ActionWrapper[Any, Any, Any]):
    """Records the actions that the environment receives."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.actions: list[Any] = []

    def action(self, action: Any) -> Any:
        self.actions.append(action)
        return action


@pytest.mark.parametrize("squash_output", [False, True])
@pytest.mark.parametrize("use_expln", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_gsde_explores_within_the_bounds(
    agent: Any, use_expln: bool, squash_output: bool
) -> None:
    low, high = np.array([[-3.0, 0.0], [3.0, 5.0]], dtype=np.float32)
    env = RecordActions(sample_env(action_space=gymnasium.spaces.Box(low, high)))
    kwargs = {**SMALL, "use_expln": use_expln, "squash_output": squash_output}
    kwargs["log_std_init"] = -0.5
    model = agent(
        "MlpPolicy",
        env,
        n_steps=32,
        use_sde=True,
        sde_sample_freq=4,
        seed=1,
        policy_kwargs=kwargs,
    ).learn(64)
    arrived = np.array(env.actions[-32:])
    drawn = model.rollout_buffer.actions[:, 0]
    if squash_output:
        assert np.abs(drawn).max() <= 1.0
        expected = low + 0.5 * (drawn + 1.0) * (high - low)
    else:
        expected = np.clip(drawn, low, high)
    np.testing.assert_allclose(arrived, expected, rtol=1e-5, atol=1e-5)
    assert len(np.unique(arrived[:, 0])) > 4
    model.policy.reset_noise()


@pytest.mark.parametrize("agent", AGENTS)
def test_gsde_needs_continuous_actions_and_squashing_needs_gsde(agent: Any) -> None:
    with pytest.raises(ValueError, match="continuous actions"):
        build(agent, gymnasium.spaces.Discrete(2), use_sde=True)
    with pytest.raises(AssertionError, match="use_sde=True"):
        build(agent, policy_kwargs={"squash_output": True})


@pytest.mark.parametrize("agent", AGENTS)
def test_a_squashed_gaussian_learns_without_an_entropy(agent: Any) -> None:
    """Without a closed form the entropy is estimated by -log_prob."""
    kwargs = {**SMALL, "squash_output": True}
    model = build(agent, use_sde=True, policy_kwargs=kwargs, ent_coef=0.1)
    _, callback = model._setup_learn(16)
    model.collect_rollouts(model.get_env(), callback, model.rollout_buffer, 16)
    batch = model.rollout_buffer.batch()
    _, log_prob, entropy = model.policy.evaluate_actions(
        batch.observations, batch.actions
    )
    _, terms = model.loss(batch)
    assert entropy is None
    torch.testing.assert_close(terms["entropy_loss"], log_prob.mean())
