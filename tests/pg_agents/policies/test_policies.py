"""Network, tabular and random policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from pg_agents import REINFORCE, MlpPolicy, RandomPolicy, TabularPolicy
from pg_agents.policies.policies import CnnPolicy, MultiInputPolicy
from tests.pg_agents.policies.typed_envs import TypedEnv

BOX = spaces.Box(-1, 1, (4,), np.float32)
TWO = spaces.Discrete(2)


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def mlp(**kwargs: Any) -> MlpPolicy:
    torch.manual_seed(0)
    return MlpPolicy(BOX, TWO, lambda _: 1e-3, **kwargs)


def batch() -> Tensor:
    return torch.linspace(-1, 1, 12).reshape(3, 4)


def test_no_critic_has_no_parameters() -> None:
    policy = mlp(critic="none", net_arch=[16], activation_fn=nn.ReLU)
    assert n_parameters(policy) == (4 * 16 + 16) + (16 * 2 + 2)
    assert len(policy.optimizer.param_groups[0]["params"]) == 4
    assert not policy.has_critic
    _, values, _ = policy(batch())
    assert values.tolist() == policy.predict_values(batch()).tolist() == [[0.0]] * 3


def test_a_shared_critic_has_one_body_and_two_heads() -> None:
    policy = mlp(critic="shared", net_arch=[128])
    assert n_parameters(policy) == (4 * 128 + 128) + (128 * 2 + 2) + (128 + 1)
    policy.predict_values(batch()).sum().backward()
    (gradient,) = (
        parameter.grad
        for name, parameter in policy.named_parameters()
        if name == "mlp_extractor.policy_net.0.weight"
    )
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_a_separate_critic_shares_nothing() -> None:
    policy = mlp(critic="separate", net_arch=[8])
    assert n_parameters(policy) == 2 * (4 * 8 + 8) + (8 * 2 + 2) + (8 + 1)
    policy.predict_values(batch()).sum().backward()
    for name, parameter in policy.named_parameters():
        assert (parameter.grad is None) == ("vf" not in name and "value" not in name)


@pytest.mark.parametrize("critic", ["separate", "shared", "none"])
def test_all_methods_agree(critic: Any) -> None:
    policy = mlp(critic=critic, net_arch=[8])
    actions, values, log_prob = policy(batch())
    values_again, log_prob_again, entropy = policy.evaluate_actions(batch(), actions)
    torch.testing.assert_close(values, values_again)
    torch.testing.assert_close(values, policy.predict_values(batch()))
    torch.testing.assert_close(log_prob, log_prob_again)
    probabilities = policy.get_distribution(batch()).distribution.probs  # type: ignore[union-attr]
    torch.testing.assert_close(log_prob, probabilities.log()[torch.arange(3), actions])
    torch.testing.assert_close(entropy, -(probabilities * probabilities.log()).sum(1))


def table(**kwargs: Any) -> TabularPolicy:
    return TabularPolicy(spaces.Discrete(3), TWO, lambda _: 0.5, **kwargs)


def test_a_table_is_the_softmax_of_its_rows() -> None:
    policy = table()
    logits = torch.tensor([[0.0, 1.0], [2.0, -1.0], [3.0, 3.0]])
    policy.action_net.weight.data = logits.T.clone()
    states = torch.tensor([2, 0, 1, 1])
    probs = policy.get_distribution(states).distribution.probs  # type: ignore[union-attr]
    torch.testing.assert_close(probs, torch.softmax(logits[states], 1))
    torch.testing.assert_close(policy.logits, logits)
    assert n_parameters(policy) == 3 * 2 + 3
    assert n_parameters(table(critic="none")) == 3 * 2


def test_a_table_starts_uniform_with_values_0() -> None:
    policy = table()
    assert policy.logits.tolist() == [[0.0, 0.0]] * 3
    assert policy.predict_values(torch.arange(3)).tolist() == [[0.0]] * 3


def test_logits_are_clamped_after_every_update() -> None:
    policy = table(max_logit=2.0)
    for _ in range(3):
        policy.optimizer.zero_grad()
        (1000 * policy.action_net.weight[0].sum()).backward()
        policy.optimizer.step()
    assert policy.logits.tolist() == [[-2.0, 0.0]] * 3
    # A clamped logit still learns.
    policy.optimizer.zero_grad()
    (-policy.action_net.weight[0].sum()).backward()
    policy.optimizer.step()
    assert policy.logits.tolist() == [[-1.5, 0.0]] * 3


@pytest.mark.parametrize(
    ("observation_space", "action_space", "kind"),
    [(BOX, TWO, "observation"), (TWO, BOX, "action")],
)
def test_a_table_needs_discrete_spaces(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], kind: str
) -> None:
    with pytest.raises(ValueError, match=rf"needs a Discrete {kind} space .* got Box"):
        TabularPolicy(observation_space, action_space, lambda _: 0.1)


def test_invalid_arguments_of_a_table_are_refused() -> None:
    with pytest.raises(ValueError, match="critic must be one of 'separate', 'none'"):
        table(critic="shared")
    with pytest.raises(ValueError, match="max_logit must be a finite number > 0"):
        table(max_logit=0.0)


def test_a_table_can_be_saved_and_loaded(tmp_path: Path) -> None:
    policy = table(critic="none", max_logit=7.0)
    policy.action_net.weight.data += 1.0
    policy.save(str(tmp_path / "table"))
    loaded = TabularPolicy.load(str(tmp_path / "table"))
    assert loaded.logits.tolist() == policy.logits.tolist()
    assert loaded.max_logit == 7.0


def test_sb3_learns_with_a_table() -> None:
    model = A2C(
        TabularPolicy, "CliffWalking-v1", seed=0, policy_kwargs={"max_logit": 0.001}
    )
    model.learn(50)
    assert isinstance(model.policy, TabularPolicy)
    assert 0 < model.policy.logits.abs().max() <= 0.001


def test_random_actions_are_uniform_and_follow_the_seed() -> None:
    """A chi-square test with a false alarm rate of 1 in 1,000: 13.8 for 2 degrees."""
    space = spaces.Discrete(3)
    policy = RandomPolicy(BOX, space)
    space.seed(1)
    observations = np.zeros((3000, 4), dtype=np.float32)
    actions, _ = policy.predict(observations, deterministic=True)
    counts = np.bincount(actions)
    assert ((counts - 1000) ** 2 / 1000).sum() < 13.8
    space.seed(1)
    again, _ = policy.predict(observations)
    np.testing.assert_array_equal(actions, again)


@pytest.mark.parametrize("critic", ["separate", "shared", "none"])
def test_layer_norm_precedes_the_activation(critic: Any) -> None:
    """Equals the network written out by hand (Ba, Kiros and Hinton, 2016)."""
    policy = mlp(critic=critic, net_arch=[8, 5], layer_norm=True)
    latent = batch()
    for layer in policy.mlp_extractor.policy_net:
        if isinstance(layer, torch.nn.Linear):
            latent = latent @ layer.weight.T + layer.bias
            mean = latent.mean(1, keepdim=True)
            variance = ((latent - mean) ** 2).mean(1, keepdim=True)
            latent = torch.tanh((latent - mean) / (variance + 1e-5).sqrt())
    logits = policy.action_net(latent)
    found = policy.get_distribution(batch()).distribution.logits  # type: ignore[union-attr]
    torch.testing.assert_close(found, torch.log_softmax(logits, 1))
    n_norms = sum(isinstance(m, torch.nn.LayerNorm) for m in policy.modules())
    assert n_norms == (4 if critic == "separate" else 2)


def weights(layer: torch.nn.Module) -> torch.Tensor:
    assert isinstance(layer, torch.nn.Linear)
    return layer.weight


@pytest.mark.parametrize("layer_norm", [True, False])
def test_orthogonal_initialisation_gives_orthogonal_weights(layer_norm: bool) -> None:
    """W W^T = 2 I in the body, 0.01^2 I in the policy head (gains sqrt 2, 0.01)."""
    policy = mlp(net_arch=[3, 3], layer_norm=layer_norm)
    first, head = (
        weights(policy.mlp_extractor.policy_net[0]),
        weights(policy.action_net),
    )
    torch.testing.assert_close(first @ first.T, 2.0 * torch.eye(3))
    torch.testing.assert_close(head @ head.T, 1e-4 * torch.eye(2))
    plain = weights(mlp(net_arch=[3, 3], ortho_init=False).mlp_extractor.policy_net[0])
    assert (plain @ plain.T - 2.0 * torch.eye(3)).abs().max() > 0.1


def test_glorot_initialisation() -> None:
    """Var[w] = 2 / (inputs + outputs), equation 12 of Glorot and Bengio (2010).

    The variance of n uniform numbers has a relative standard error of sqrt(0.8 / n).
    With four of them, 1.0 % for 300 x 400 weights, the false alarm rate is 1 in 16,000.
    """
    policy = mlp(net_arch=[300, 400], glorot_init=True)
    layers = [m for m in policy.modules() if isinstance(m, torch.nn.Linear)]
    assert len(layers) == 6
    for layer in layers:
        outputs, inputs = layer.weight.shape
        limit = (6.0 / (inputs + outputs)) ** 0.5
        assert layer.weight.abs().max() <= limit
        assert (layer.bias == 0.0).all()
    wide = weights(policy.mlp_extractor.policy_net[2]).detach()
    assert wide.shape == (400, 300)
    variance = float(wide.var() * (300 + 400) / 2.0)
    assert abs(variance - 1.0) < 4.0 * (0.8 / wide.numel()) ** 0.5


def test_initialisations_are_mutually_exclusive() -> None:
    with pytest.raises(ValueError, match="ortho_init=True are mutually exclusive"):
        mlp(glorot_init=True, ortho_init=True)


def test_sb3s_policies_are_refused_for_actions_that_do_not_start_at_0() -> None:
    with pytest.raises(ValueError, match="the policy counts from 0, got Discrete"):
        REINFORCE(ActorCriticPolicy, TypedEnv(BOX, spaces.Discrete(3, start=-1)))


CONSTRUCTOR: list[tuple[type[MlpPolicy], dict[str, Any]]] = [
    (MlpPolicy, {"share_features_extractor": False, "layer_norm": True}),
    (MlpPolicy, {"use_sde": True, "squash_output": True, "use_expln": True}),
    (MlpPolicy, {"use_sde": True, "full_std": False, "log_std_init": -1.0}),
    (MlpPolicy, {"full_std": False, "ortho_init": False, "net_arch": [3]}),
    (CnnPolicy, {"share_features_extractor": False, "normalize_images": True}),
    (CnnPolicy, {"features_extractor_kwargs": {"features_dim": 16}}),
    (MultiInputPolicy, {"critic": "shared", "activation_fn": torch.nn.ReLU}),
    (MultiInputPolicy, {"optimizer_class": torch.optim.SGD, "critic": "none"}),
    (MlpPolicy, {"optimizer_kwargs": {"eps": 0.1, "weight_decay": 0.2}}),
]


@pytest.mark.parametrize(("policy_class", "arguments"), CONSTRUCTOR)
def test_a_saved_policy_keeps_every_constructor_argument(
    policy_class: type[MlpPolicy], arguments: dict[str, Any], tmp_path: Path
) -> None:
    """SB3 loses `share_features_extractor`, and gSDE's arguments without gSDE."""
    image = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    seen: Any = {
        CnnPolicy: image,
        MultiInputPolicy: spaces.Dict({"image": image, "vector": BOX}),
    }.get(policy_class, BOX)
    policy = policy_class(seen, BOX, lambda _: 0.1, **arguments)
    policy.save(str(tmp_path / "policy"))
    loaded = policy_class.load(str(tmp_path / "policy"))
    restored = loaded._get_constructor_parameters()
    for name, value in arguments.items():
        assert restored[name] == value, name
    for name, weights in policy.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weights), name
