"""Environments and models made from settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from pg_agents.experiments.building import (
    constructor_arguments,
    derived_seed,
    load_function,
    make_evaluation_env,
    make_model,
    make_training_env,
)
from pg_agents.policies.features import ScaledExtractor
from pg_agents.vec_env.adapter import VectorEnvAdapter
from pg_envs import TabularVectorEnv, TorchTabularVectorEnv
from tests.pg_agents.experiments.tiny import tiny


def test_names_become_classes_and_schedules() -> None:
    config = tiny(
        timesteps=100,
        learning_rate="lin_4e-2",
        policy_kwargs__activation_fn="ELU",
        policy_kwargs__optimizer_class="SGD",
        policy_kwargs__features_extractor_class="ScaledExtractor",
    )
    arguments = constructor_arguments(config.settings)
    assert arguments["policy_kwargs"] == {
        "net_arch": [],
        "activation_fn": torch.nn.ELU,
        "optimizer_class": torch.optim.SGD,
        "features_extractor_class": ScaledExtractor,
    }
    rates = [arguments["learning_rate"](left) for left in (1.0, 0.5, 0.25, 0.0)]
    assert rates == pytest.approx([0.04, 0.02, 0.01, 0.0], abs=1e-15)
    assert config.settings.policy_kwargs["activation_fn"] == "ELU"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy_kwargs__activation_fn": "Relu"}, "must be a class of torch.nn, got"),
        ({"learning_rate": "lin_x", "timesteps": 9}, "learning_rate must be a number"),
        ({"n_env": 3}, "REINFORCE takes no argument 'n_env'"),
        ({"gama": 0.9}, "no argument 'gama': did you mean gamma"),
        ({"gamma": 2.0}, "gamma must lie in"),
    ],
)
def test_settings_that_no_model_takes_raise(
    changes: dict[str, object], message: str
) -> None:
    settings = tiny(**changes).settings
    with pytest.raises(ValueError, match=message):
        make_model(settings, make_training_env(settings), 0)


def test_each_vectorization() -> None:
    dummy = make_training_env(tiny(n_envs=3).settings)
    assert isinstance(dummy, DummyVecEnv)
    assert [type(env) for env in dummy.envs] == [Monitor] * 3
    for kind, expected in (
        ("vector", TabularVectorEnv),
        ("torch", TorchTabularVectorEnv),
    ):
        settings = tiny(vectorization=kind, n_envs=3).settings
        env = make_training_env(settings)
        assert isinstance(env, VectorEnv) and isinstance(env.unwrapped, expected)
        assert env.num_envs == 3
        # SB3's algorithms and wrappers get a VecEnv.
        needs_vec_env: list[dict[str, object]] = [
            {"algorithm": "A2C"},
            {"normalize": {}},
        ]
        for changes in needs_vec_env:
            adapter = make_training_env(settings.changed(changes))
            assert isinstance(adapter.unwrapped, VectorEnvAdapter)
        assert isinstance(adapter, VecNormalize)


def test_an_evaluation_has_its_own_arguments_and_seed() -> None:
    config = tiny(
        vectorization="vector",
        env_kwargs={"n_states": 4, "vectorization_mode": "vector_entry_point"},
        evaluation__env_kwargs={"max_episode_steps": 3},
        evaluation__n_envs=2,
        normalize={},
    )
    make_training_env(config.settings).close()
    env = make_evaluation_env(config.settings, 5)
    assert isinstance(env, VecNormalize) and env.num_envs == 2
    assert not env.training and not env.norm_reward
    assert env.unwrapped._seeds == [5, 6]
    env.reset()
    dones = [env.step(np.zeros(2, int))[2].tolist() for _ in range(3)]
    assert dones == [[False] * 2, [False] * 2, [True] * 2]


@pytest.mark.parametrize("kind", ["dummy", "vector", "torch"])
def test_observations_are_stacked_outermost(kind: str) -> None:
    config = tiny(vectorization=kind, n_envs=2, frame_stack=3, normalize={})
    training = make_training_env(config.settings)
    evaluation = make_evaluation_env(config.settings, 5)
    for env, learns in ((training, True), (evaluation, False)):
        assert isinstance(env, VecFrameStack) and env.observation_space.shape == (3,)
        assert isinstance(env.venv, VecNormalize) and env.venv.training == learns


def test_an_evaluation_may_be_one_vector_environment() -> None:
    config = tiny(
        env_kwargs={"n_states": 4, "max_episode_steps": 7},
        evaluation__env_kwargs={
            "max_episode_steps": 3,
            "vectorization_mode": "vector_entry_point",
            "autoreset_mode": "SameStep",
        },
        evaluation__n_envs=5,
    )
    env = make_evaluation_env(config.settings, 5)
    assert isinstance(env, VectorEnvAdapter) and env.num_envs == 5
    first = np.asarray(env.reset())
    assert env.observation_space.shape == first.shape[1:]
    dones = [env.step(np.zeros(5, int))[2].tolist() for _ in range(3)]
    assert dones == [[False] * 5, [False] * 5, [True] * 5]
    # A rendered one is single, without the arguments of make_vec.
    rendered = make_evaluation_env(config.settings, 5, "rgb_array")
    assert isinstance(rendered, DummyVecEnv) and rendered.num_envs == 1
    rendered.close()


def test_both_kinds_of_evaluation_have_episodes_of_the_same_length() -> None:
    """Random flights last 7.1 steps on average, with a standard deviation of 2.6.

    The difference of two means of 400 has a standard error of 0.18; five of them are
    exceeded once in two million draws.
    """
    native = {"vectorization_mode": "vector_entry_point"}
    lengths_of_both = []
    for n_envs, kwargs in ((400, native), (4, {})):
        settings = tiny(
            algorithm="RandomAgent",
            arguments={},
            policy_kwargs={},
            env_id="PGToy-Pixelcopter-v0",
            env_kwargs={},
            evaluation__n_envs=n_envs,
            evaluation__env_kwargs=kwargs,
        ).settings
        env = make_evaluation_env(settings, 3)
        model = make_model(settings, env, 3)
        _, lengths = evaluate_policy(model, env, 400, return_episode_rewards=True)
        assert isinstance(lengths, list) and len(lengths) == 400
        lengths_of_both.append(lengths)
    means = np.mean(lengths_of_both, 1)
    errors = np.std(lengths_of_both, 1) / 20
    assert abs(means[0] - means[1]) < 5 * np.hypot(*errors)


def test_derived_seeds_differ() -> None:
    seeds = {derived_seed(seed, purpose) for seed in range(50) for purpose in range(3)}
    assert len(seeds) == 150 and not seeds & set(range(50))
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_function_is_found_by_name_or_raises() -> None:
    assert load_function("json:dumps")({}) == "{}"
    for name in ("json:no_such", "no_such_module:x"):
        with pytest.raises(ValueError, match=f"there is no function {name}"):
            load_function(name)
