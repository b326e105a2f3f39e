"""Images and dicts, beyond what SB3's own tests ask of A2C."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy

from pg_agents import ActorCritic
from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    IMAGE,
    IMAGE_LAST,
    TWO,
    VECTOR,
    sample_env,
)

TINY_CNN: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 8}}
TINY_DICT: dict[str, Any] = {
    "net_arch": [8],
    "features_extractor_kwargs": {"cnn_output_dim": 8},
}


def test_without_a_critic_there_is_one_features_extractor() -> None:
    kwargs = {**TINY_CNN, "share_features_extractor": False, "critic": "none"}
    model = AGENTS[0]("CnnPolicy", sample_env(IMAGE), policy_kwargs=kwargs)
    assert model.policy.vf_features_extractor is model.policy.pi_features_extractor
    kwargs["critic"] = "shared"
    with pytest.raises(ValueError, match="share_features_extractor=False gives"):
        ActorCritic("CnnPolicy", sample_env(IMAGE), policy_kwargs=kwargs)


@pytest.mark.parametrize("image", [IMAGE, IMAGE_LAST], ids=["first", "last"])
@pytest.mark.parametrize("agent", AGENTS)
def test_dicts_of_images_vectors_and_numbers(agent: Any, image: spaces.Box) -> None:
    space = spaces.Dict({"img": image, "vec": VECTOR, "discrete": spaces.Discrete(4)})
    env = sample_env(space)
    model = agent("MultiInputPolicy", env, n_steps=16, policy_kwargs=TINY_DICT)
    model.learn(32)
    # 8 numbers of the image, 2 of the vector, 4 of the number.
    assert model.policy.features_dim == 14
    stored = model.rollout_buffer.observations
    assert stored["img"].shape[2:] == (1, 36, 36)
    assert stored["img"].dtype == np.uint8 and stored["vec"].dtype == np.float32
    assert evaluate_policy(model, env, 2, warn=False)[0] == sum(range(1, 9))


@pytest.mark.parametrize("agent", AGENTS)
def test_the_wrong_policy_for_a_dict_is_refused(agent: Any) -> None:
    for policy in ("MlpPolicy", "CnnPolicy"):
        with pytest.raises(ValueError, match="MultiInputPolicy"):
            agent(policy, sample_env(spaces.Dict({"vec": VECTOR})))
    with pytest.raises(ValueError, match="needs a Dict observation space"):
        agent("MultiInputPolicy", sample_env(VECTOR))
    nested = spaces.Dict({"inner": spaces.Dict({"number": TWO})})
    with pytest.raises(NotImplementedError, match="Nested"):
        agent("MultiInputPolicy", sample_env(nested))
