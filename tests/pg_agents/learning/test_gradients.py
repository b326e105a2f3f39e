"""Autograd with layers that differ between training and evaluation mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from pg_agents import REINFORCE, ActorCritic
from pg_agents.policies.policies import MlpPolicy
from tests.pg_agents.kinds import CARTPOLE, KINDS


class DoubleInTraining(nn.Module):
    """A user's layer with two modes."""

    def forward(self, latent: Tensor) -> Tensor:
        return 2.0 * latent if self.training else latent


LAYERS: dict[str, Any] = {
    "dropout": lambda: nn.Dropout(0.5),
    "batch norm": lambda: nn.BatchNorm1d(64),
    "user's layer": DoubleInTraining,
}


def with_layer(policy: Any, layer: str) -> Any:
    """Returns a policy class with a layer after the networks of actor and critic."""

    class Layered(policy):  # type: ignore[misc]
        def _build_mlp_extractor(self) -> None:
            super()._build_mlp_extractor()
            for name in ("policy_net", "value_net"):
                net = getattr(self.mlp_extractor, name)
                if len(net) > 0:
                    net.append(LAYERS[layer]())

    return Layered


@pytest.mark.parametrize("kind", ["single", "dummy"])
@pytest.mark.parametrize("layer", ["batch norm", "user's layer"])
def test_layers_with_modes_train_as_in_a2c(layer: str, kind: str) -> None:
    """Not dropout: A2C shuffles the batch, which pairs its noise with other steps."""
    weights = []
    cases: list[Any] = [(A2C, ActorCriticPolicy), (ActorCritic, MlpPolicy)]
    for algorithm, policy in cases:
        env, layered = KINDS[kind](CARTPOLE), with_layer(policy, layer)
        model = algorithm(layered, env, n_steps=8, seed=3, device="cpu")
        model.learn(3 * 8 * model.n_envs)
        parameters = model.policy.parameters()
        weights.append(nn.utils.parameters_to_vector(parameters).detach())
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_with_modes_get_the_whole_batch(layer: str, algorithm: Any) -> None:
    """Batch norm averages over its batch, which is therefore not split."""
    sizes: list[int] = []

    def count(_: Any, inputs: Any, __: Any) -> None:
        if model.policy.training:
            sizes.append(len(inputs[0]))

    env = KINDS["torch"](CARTPOLE, 4096)
    policy = with_layer(MlpPolicy, layer)
    model = algorithm(policy, env, n_steps=4, seed=0, device="cpu")
    model.policy.mlp_extractor.policy_net[0].register_forward_hook(count)
    model.learn(1)
    assert sizes == [4 * 4096]


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
def test_rollouts_are_in_evaluation_mode_and_updates_in_training_mode(
    algorithm: Any,
) -> None:
    modes: dict[str, set[bool]] = {"rollout": set(), "update": set()}

    class RecordMode(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            phase = "update" if torch.is_grad_enabled() else "rollout"
            modes[phase].add(self.training)
            return features

    kwargs = {"net_arch": [4], "activation_fn": RecordMode}
    model = algorithm("MlpPolicy", CARTPOLE, policy_kwargs=kwargs)
    model.learn(20)
    model.predict(np.zeros(4, dtype=np.float32))
    assert modes == {"rollout": {False}, "update": {True}}
