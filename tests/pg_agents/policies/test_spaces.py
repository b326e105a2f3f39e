"""Every kind of action and observation space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents import REINFORCE, ActorCritic
from pg_agents.policies.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from tests.pg_agents.policies.typed_envs import TypedEnv

IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(-1.0, 1.0, (2, 3), np.float32),
    "discrete": spaces.Discrete(4, start=-2),
    "multi_discrete": spaces.MultiDiscrete([3, 2], start=[5, -1]),
    "multi_binary": spaces.MultiBinary(3),
    "image": IMAGE,
    "dict": spaces.Dict(
        {
            "image": IMAGE,
            "vector": spaces.Box(-1.0, 1.0, (2,), np.float32),
            "number": spaces.Discrete(3, start=7),
        }
    ),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=-1),
    "multi_discrete": spaces.MultiDiscrete([3, 2], start=[4, 0]),
    "multi_binary": spaces.MultiBinary(4),
    "box": spaces.Box(-2.0, np.array([1.0, 3.0], dtype=np.float32), (2,), np.float32),
    "matrix": spaces.Box(-2.0, 2.0, (2, 2), np.float32),
}


def policy_for(observation: str) -> str:
    return {"image": "CnnPolicy", "dict": "MultiInputPolicy"}.get(
        observation, "MlpPolicy"
    )


COMBINATIONS = [(obs, "discrete") for obs in OBSERVATIONS] + [
    ("box", action) for action in ACTIONS
]


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize(("observation", "action"), COMBINATIONS)
def test_learns_and_predicts_the_same_after_loading(
    algorithm: Any, observation: str, action: str, tmp_path: Path
) -> None:
    env = TypedEnv(OBSERVATIONS[observation], ACTIONS[action])
    model = algorithm(policy_for(observation), env, seed=0, device="cpu")
    model.learn(10)
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", env=env, device="cpu")
    obs = env.observation_space.sample()
    chosen, _ = model.predict(obs, deterministic=True)
    np.testing.assert_array_equal(chosen, again.predict(obs, deterministic=True)[0])
    assert env.action_space.contains(chosen.astype(env.action_space.dtype))


@pytest.mark.parametrize("share", [True, False])
def test_observations_may_start_at_any_number(share: bool) -> None:
    """In forward, evaluate_actions, get_distribution and predict_values."""
    policies = []
    for start in (0, -2):
        torch.manual_seed(0)
        policies.append(
            MlpPolicy(
                spaces.Discrete(4, start=start),
                spaces.Discrete(3),
                lambda _: 0.1,
                share_features_extractor=share,
            )
        )
    at_0, shifted = policies
    states, actions = torch.arange(4), torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(
        at_0.evaluate_actions(states, actions),
        shifted.evaluate_actions(states - 2, actions),
    )
    torch.testing.assert_close(
        at_0.predict_values(states), shifted.predict_values(states - 2)
    )
    torch.testing.assert_close(
        at_0.get_distribution(states).distribution.logits,  # type: ignore[union-attr]
        shifted.get_distribution(states - 2).distribution.logits,  # type: ignore[union-attr]
    )
    torch.testing.assert_close(at_0(states)[1], shifted(states - 2)[1])


def test_sb3s_policies_are_refused_for_actions_that_do_not_start_at_0() -> None:
    with pytest.raises(ValueError, match="the policy counts from 0, got Discrete"):
        REINFORCE(ActorCriticPolicy, TypedEnv(OBSERVATIONS["box"], ACTIONS["discrete"]))


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
    obs = {CnnPolicy: "image", MultiInputPolicy: "dict"}.get(policy_class, "box")
    policy = policy_class(OBSERVATIONS[obs], ACTIONS["box"], lambda _: 0.1, **arguments)
    policy.save(str(tmp_path / "policy"))
    loaded = policy_class.load(str(tmp_path / "policy"))
    restored = loaded._get_constructor_parameters()
    for name, value in arguments.items():
        assert restored[name] == value, name
    for name, weights in policy.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weights), name
