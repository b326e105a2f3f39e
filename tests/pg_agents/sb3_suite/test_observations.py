"""Images and dicts: what SB3's test_cnn and test_dict_env ask of A2C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.envs import BitFlippingEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
    is_vecenv_wrapped,
)

from pg_agents import ActorCritic
from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    IMAGE,
    IMAGE_LAST,
    THREE,
    TWO,
    VECTOR,
    same,
    sample_env,
    weights,
)

TINY_CNN: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 8}}
TINY_DICT: dict[str, Any] = {
    "net_arch": [8],
    "features_extractor_kwargs": {"cnn_output_dim": 8},
}


# test_cnn::test_cnn, test_cnn::test_channel_first_env
@pytest.mark.parametrize("space", [IMAGE, IMAGE_LAST], ids=["first", "last"])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("agent", AGENTS)
def test_images_are_transposed_if_they_must_be_and_come_back_from_a_file(
    agent: Any, share: bool, space: spaces.Box, tmp_path: Path
) -> None:
    env = sample_env(space)
    kwargs = {**TINY_CNN, "share_features_extractor": share}
    model = agent("CnnPolicy", env, n_steps=16, policy_kwargs=kwargs).learn(32)
    transposes = is_vecenv_wrapped(model.get_env(), VecTransposeImage)
    assert transposes == (space is IMAGE_LAST)
    seen, _ = env.reset()
    assert model.action_space.contains(model.predict(seen, deterministic=False)[0])
    model.save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model")
    assert same(weights(model), weights(loaded))
    expected = model.predict(seen, deterministic=True)[0]
    assert loaded.predict(seen, deterministic=True)[0] == expected


def test_without_a_critic_there_is_no_extractor_of_its_own() -> None:
    kwargs = {**TINY_CNN, "share_features_extractor": False, "critic": "none"}
    model = AGENTS[0]("CnnPolicy", sample_env(IMAGE), policy_kwargs=kwargs)
    assert model.policy.vf_features_extractor is model.policy.pi_features_extractor
    kwargs["critic"] = "shared"
    with pytest.raises(ValueError, match="share_features_extractor=False gives"):
        ActorCritic("CnnPolicy", sample_env(IMAGE), policy_kwargs=kwargs)


# test_cnn::test_vec_transpose_skip
@pytest.mark.parametrize("agent", AGENTS)
def test_stacked_images_that_look_transposed_are_left_alone(agent: Any) -> None:
    """16 frames of 3 channels are 48 x 40 x 36: the least is not the first."""
    env = DummyVecEnv([lambda: sample_env(spaces.Box(0, 255, (3, 40, 36), np.uint8))])
    stacked: Any = VecFrameStack(env, 16, channels_order="first")
    skipping: Any = VecTransposeImage(stacked, skip=True)
    assert skipping.reset().shape == (1, 48, 40, 36)
    transposing: Any = VecTransposeImage(stacked)
    assert transposing.reset().shape == (1, 36, 48, 40)
    model = agent("CnnPolicy", skipping, n_steps=8, policy_kwargs=TINY_CNN).learn(8)
    assert model.observation_space.shape == (48, 40, 36)


# test_cnn::test_image_like_input
@pytest.mark.parametrize("agent", AGENTS)
def test_normalised_images_need_normalize_images_off(agent: Any) -> None:
    env = VecNormalize(DummyVecEnv([lambda: sample_env(IMAGE)]))
    with pytest.raises(AssertionError, match="NatureCNN"):
        agent("CnnPolicy", env, policy_kwargs=TINY_CNN)
    kwargs = {**TINY_CNN, "normalize_images": False}
    model = agent("CnnPolicy", env, n_steps=8, policy_kwargs=kwargs).learn(16)
    assert model.rollout_buffer.observations.dtype == np.float32


# test_dict_env::test_goal_env
@pytest.mark.parametrize("agent", AGENTS)
def test_goals_are_learnt_and_evaluated(agent: Any) -> None:
    env = BitFlippingEnv(n_bits=4, max_steps=4)
    model = agent("MultiInputPolicy", env, n_steps=16).learn(32)
    rewards, lengths = evaluate_policy(
        model, model.get_env(), 3, return_episode_rewards=True
    )
    # -1 for every step but one that reaches the goal.
    assert isinstance(rewards, list) and isinstance(lengths, list)
    for reward, length in zip(rewards, lengths, strict=True):
        assert reward in (-length, -length + 1) and length <= 4


# test_dict_env::test_consistency
@pytest.mark.parametrize("agent", AGENTS)
def test_a_dict_of_one_vector_is_that_vector(agent: Any) -> None:
    learnt = []
    for policy, key in (("MultiInputPolicy", "vec"), ("MlpPolicy", None)):
        env: Any = sample_env(spaces.Dict({"vec": VECTOR}), THREE)
        if key is None:
            env = gymnasium.wrappers.FlattenObservation(env)
        kwargs = {"net_arch": [8, 8]}
        model = agent(policy, env, n_steps=32, seed=1, policy_kwargs=kwargs)
        learnt.append(list(weights(model.learn(64)).values()))
    for one, other in zip(*learnt, strict=True):
        np.testing.assert_array_equal(one, other)


# test_dict_env::test_dict_spaces
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


# test_dict_env::test_dict_vec_framestack
@pytest.mark.parametrize("channel_last", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_dicts_are_stacked_entry_by_entry(agent: Any, channel_last: bool) -> None:
    env = DummyVecEnv([lambda: SimpleMultiObsEnv(channel_last=channel_last)])
    order: Any = {"vec": None, "img": "last" if channel_last else "first"}
    stacked = VecFrameStack(env, 3, channels_order=order)
    model = agent("MultiInputPolicy", stacked, n_steps=16, policy_kwargs=TINY_DICT)
    model.learn(32)
    stored = model.rollout_buffer.observations
    assert stored["img"].shape[2:] == (3, 64, 64)
    assert stored["vec"].shape[2:] == (15,)


# test_dict_env::test_policy_hint, test_dict_env::test_dict_nested
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
