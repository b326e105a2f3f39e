"""Layers that differ between training and acting are learnt with as in A2C."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from pg_agents import REINFORCE, ActorCritic
from pg_agents.policies.policies import MlpPolicy
from tests.pg_agents.kinds import CARTPOLE, KINDS


class Doubles(nn.Module):
    """A layer of a user's own that does something else in training."""

    def forward(self, latent: Tensor) -> Tensor:
        return 2.0 * latent if self.training else latent


LAYERS: dict[str, Any] = {
    "dropout": lambda: nn.Dropout(0.5),
    "batch norm": lambda: nn.BatchNorm1d(64),
    "a user's own": Doubles,
}


def with_layer(policy: Any, layer: str) -> Any:
    """Returns a policy with another layer behind the actor's and the critic's."""

    class Layered(policy):  # type: ignore[misc]
        def _build_mlp_extractor(self) -> None:
            super()._build_mlp_extractor()
            for name in ("policy_net", "value_net"):
                net = getattr(self.mlp_extractor, name)
                if len(net) > 0:
                    net.append(LAYERS[layer]())

    return Layered


def weights(model: Any) -> Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


@pytest.mark.parametrize("kind", ["single", "dummy"])
@pytest.mark.parametrize("layer", ["batch norm", "a user's own"])
def test_the_weights_are_those_of_a2c(layer: str, kind: str) -> None:
    """Three updates from the same seed.

    A2C shuffles a batch that it learns from as a whole, so that dropout draws the same
    numbers for other steps.
    """
    after = []
    pairs: list[Any] = [(A2C, ActorCriticPolicy), (ActorCritic, MlpPolicy)]
    for algorithm, policy in pairs:
        env = KINDS[kind](CARTPOLE)
        model = algorithm(
            with_layer(policy, layer), env, n_steps=8, seed=3, device="cpu"
        )
        after.append(weights(model.learn(3 * 8 * model.n_envs)))
    torch.testing.assert_close(after[1], after[0], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_large_batch_is_not_taken_apart_for_such_a_layer(
    layer: str, algorithm: Any
) -> None:
    """Batch norm, for one, averages over the batch that it gets."""
    sizes: list[int] = []

    def note(_: Any, inputs: Any, __: Any) -> None:
        if model.policy.training:
            sizes.append(len(inputs[0]))

    env = KINDS["torch"](CARTPOLE, 4096)
    model = algorithm(
        with_layer(MlpPolicy, layer), env, n_steps=4, seed=0, device="cpu"
    )
    model.policy.mlp_extractor.policy_net[0].register_forward_hook(note)
    model.learn(1)
    assert sizes == [4 * 4096]
