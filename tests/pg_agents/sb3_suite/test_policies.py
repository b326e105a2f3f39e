"""Policies and their modes.

What SB3's test_custom_policy, test_sde, test_distributions and test_train_eval_mode
ask of A2C.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from pg_agents import ActorCritic
from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    SMALL,
    VECTOR,
    same,
    sample_env,
    weights,
)


def build(agent: Any, action_space: Any = VECTOR, **kwargs: Any) -> Any:
    env = sample_env(action_space=action_space)
    return agent("MlpPolicy", env, seed=0, **{"n_steps": 16, **kwargs})


# test_custom_policy::test_flexible_mlp
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
        # SB3's way before 1.8, which it warns of.
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
    # REINFORCE without a baseline has no critic to give layers to.
    assert widths == [policy_widths, value_widths if agent is ActorCritic else []]


def test_one_body_is_no_dict_of_two() -> None:
    for two in ({"pi": [4]}, [{"pi": [4]}]):
        kwargs = {"critic": "shared", "net_arch": two}
        with pytest.raises(ValueError, match="net_arch must be a list of layer widths"):
            build(ActorCritic, policy_kwargs=kwargs)


# test_custom_policy::test_custom_optimizer
@pytest.mark.parametrize("optimizer_kwargs", [None, {"weight_decay": 0.125}])
@pytest.mark.parametrize("agent", AGENTS)
def test_the_optimiser_is_the_users(agent: Any, optimizer_kwargs: Any) -> None:
    kwargs = {
        **SMALL,
        "optimizer_class": torch.optim.AdamW,
        "optimizer_kwargs": optimizer_kwargs,
    }
    model = build(agent, policy_kwargs=kwargs).learn(16)
    assert isinstance(model.policy.optimizer, torch.optim.AdamW)
    decay = model.policy.optimizer.param_groups[0]["weight_decay"]
    # 0.01 is AdamW's own default.
    assert decay == (0.125 if optimizer_kwargs else 0.01)


# test_custom_policy::test_tf_like_rmsprop_optimizer
@pytest.mark.parametrize("agent", AGENTS)
def test_learns_with_the_rmsprop_of_tensorflow(agent: Any) -> None:
    kwargs = {**SMALL, "optimizer_class": RMSpropTFLike}
    model = build(agent, policy_kwargs=kwargs)
    before = weights(model)
    assert not same(before, weights(model.learn(16)))
    assert isinstance(model.policy.optimizer, RMSpropTFLike)


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
    """SB3 tells an extractor of images there whether they are normalised."""
    image = gymnasium.spaces.Box(-1.0, 1.0, (1, 36, 36), np.float32)
    sizes = {"features_dim": 4}
    kwargs = {"features_extractor_kwargs": sizes, "normalize_images": False}
    for agent in AGENTS:
        agent("CnnPolicy", sample_env(image), policy_kwargs=kwargs)
        assert sizes == {"features_dim": 4}


# test_train_eval_mode::test_a2c_ppo_train_with_batch_norm,
# test_train_eval_mode::test_a2c_ppo_collect_rollouts_with_batch_norm
@pytest.mark.parametrize("agent", AGENTS)
def test_batch_norm_sees_the_update_and_not_the_rollout(agent: Any) -> None:
    kwargs = {**SMALL, "features_extractor_class": Extractor}
    model = build(agent, policy_kwargs=kwargs)
    norm = model.policy.features_extractor.batch_norm
    bias, mean = norm.bias.clone(), norm.running_mean.clone()
    _, callback = model._setup_learn(32)
    for _ in range(2):
        env, buffer = model.get_env(), model.rollout_buffer
        assert model.collect_rollouts(env, callback, buffer, model.n_steps)
    assert torch.equal(bias, norm.bias) and torch.equal(mean, norm.running_mean)
    model.learn(32)
    assert not torch.isclose(bias, norm.bias).any()
    assert not torch.isclose(mean, norm.running_mean).any()


# test_train_eval_mode::test_predict_with_dropout_batch_norm
@pytest.mark.parametrize("agent", AGENTS)
def test_predictions_drop_nothing_out(agent: Any) -> None:
    kwargs = {**SMALL, "features_extractor_class": Extractor}
    model = build(agent, policy_kwargs=kwargs)
    before = weights(model)
    seen = np.full((1, 2), 0.5, dtype=np.float32)
    predictions = [model.predict(seen, deterministic=True)[0] for _ in range(5)]
    assert len({float(value) for one in predictions for value in one[:, 0]}) == 1
    assert same(before, weights(model))


class Notes(gymnasium.ActionWrapper[Any, Any, Any]):
    """Notes the actions that arrive."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.actions: list[Any] = []

    def action(self, action: Any) -> Any:
        self.actions.append(action)
        return action


# test_sde::test_state_dependent_noise
@pytest.mark.parametrize("squash_output", [False, True])
@pytest.mark.parametrize("use_expln", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_gsde_explores_within_the_bounds(
    agent: Any, use_expln: bool, squash_output: bool
) -> None:
    low, high = np.array([[-3.0, 0.0], [3.0, 5.0]], dtype=np.float32)
    env = Notes(sample_env(action_space=gymnasium.spaces.Box(low, high)))
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


# test_sde::test_sde_check, test_sde::test_only_sde_squashed
@pytest.mark.parametrize("agent", AGENTS)
def test_gsde_wants_continuous_actions_and_squashing_wants_gsde(agent: Any) -> None:
    with pytest.raises(ValueError, match="continuous actions"):
        build(agent, gymnasium.spaces.Discrete(2), use_sde=True)
    with pytest.raises(AssertionError, match="use_sde=True"):
        build(agent, policy_kwargs={"squash_output": True})


# test_distributions::test_squashed_gaussian
@pytest.mark.parametrize("agent", AGENTS)
def test_a_squashed_gaussian_learns_without_an_entropy(agent: Any) -> None:
    """It has none in closed form: minus the mean log-probability stands for it."""
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


# test_distributions::test_get_distribution, test_distributions::test_predict_values
@pytest.mark.parametrize("agent", AGENTS)
def test_every_way_to_ask_the_policy_agrees(agent: Any) -> None:
    policy = build(agent).policy
    generator = np.random.default_rng(0)
    seen, actions = torch.as_tensor(
        generator.uniform(-1.0, 1.0, (2, 10, 2)), dtype=torch.float32
    )
    with torch.no_grad():
        values, log_prob, entropy = policy.evaluate_actions(seen, actions)
        distribution = policy.get_distribution(seen)
        torch.testing.assert_close(distribution.log_prob(actions), log_prob)
        torch.testing.assert_close(distribution.entropy(), entropy)
        torch.testing.assert_close(policy.predict_values(seen), values)
        _, again, _ = policy(seen)
        torch.testing.assert_close(again, values)
