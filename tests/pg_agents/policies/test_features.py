"""The extractor that scales observations by fixed numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from pg_agents import ActorCritic, load_weights, save_weights
from pg_agents.policies.features import ScaledExtractor
from pg_envs import PixelcopterVectorEnv

BOX = spaces.Box(-9, 9, (2,))


def test_features_are_centred_and_scaled() -> None:
    extractor = ScaledExtractor(BOX, [1, -2], [4, 0.5])
    obs = torch.tensor([[1.0, -2.0], [5.0, -1.5], [-1.0, -4.0]])
    expected = [[0.0, 0.0], [1.0, 1.0], [-0.5, -4.0]]
    assert extractor(obs).tolist() == expected
    assert extractor.features_dim == 2 and not list(extractor.parameters())


@pytest.mark.parametrize(
    ("space", "centre", "scale", "message"),
    [
        (spaces.Box(0, 1, (2, 2)), [0, 0], [1, 1], "needs a Box of one dimension, got"),
        (spaces.Discrete(2), [0, 0], [1, 1], "needs a Box of one dimension, got"),
        (BOX, [0], [1, 1], r"centre must be 2 finite numbers, got \[0\]"),
        (BOX, [0, "a"], [1, 1], "centre must be 2 finite numbers"),
        (BOX, [0, 0], [1, float("inf")], "scale must be 2 finite numbers"),
        (BOX, [0, 0], None, "scale must be 2 finite numbers, got None"),
        (BOX, [0, 0], [1, 0], r"scale must be above 0, got \[1, 0\]"),
    ],
)
def test_invalid_numbers_are_refused(
    space: Any, centre: Any, scale: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ScaledExtractor(space, centre, scale)


def model(centre: list[float]) -> ActorCritic:
    scaled = {"centre": centre, "scale": [4, 1, 5, 5, 16, 7, 7]}
    return ActorCritic(
        "MlpPolicy",
        PixelcopterVectorEnv(4, autoreset_mode="SameStep"),
        seed=0,
        device="cpu",
        policy_kwargs={
            "features_extractor_class": ScaledExtractor,
            "features_extractor_kwargs": scaled,
        },
    )


def test_the_numbers_are_saved_with_the_weights(tmp_path: Path) -> None:
    first, second = model([24, 0, 12, 12, 24, 24, 33]), model([0] * 7)
    first.learn(40)
    save_weights(first, tmp_path / "w")
    load_weights(second, tmp_path / "w")
    obs = torch.from_numpy(np.array([[20, 1, 9, 15, 30, 20, 29]], np.float32))
    for policy in (first.policy, second.policy):
        latent = policy.mlp_extractor(
            (obs - obs.new_tensor([24, 0, 12, 12, 24, 24, 33]))
            / obs.new_tensor([4, 1, 5, 5, 16, 7, 7])
        )
        distribution: Any = policy.get_distribution(obs).distribution
        expected = policy.action_net(latent[0]).log_softmax(-1)
        torch.testing.assert_close(distribution.logits, expected)
        torch.testing.assert_close(
            policy.predict_values(obs), policy.value_net(latent[1])
        )
