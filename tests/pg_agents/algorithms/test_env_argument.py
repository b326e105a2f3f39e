"""What is no environment is refused wherever one is taken, with what is accepted."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import (
    REINFORCE,
    ActorCritic,
    RandomAgent,
    as_vec_env,
    check_policy_gradient,
    clone_behaviour,
    load_weights,
    record_demonstrations,
    save_weights,
)
from pg_agents.callbacks import KeepCheckpoints, resume
from pg_envs import SequenceEnv, TabularVectorEnv, make_torch_vec, mdp_from_env

ID = "PGToy-Sequence-v0"
AGENTS: tuple[Any, ...] = (REINFORCE, ActorCritic, RandomAgent)
# None of these is an environment, nor anything else that the functions below take.
NO_ENVIRONMENTS: dict[str, Any] = {
    "class": SequenceEnv,
    "class of a wrapper": gymnasium.wrappers.TimeLimit,
    "class of a vector": TabularVectorEnv,
    "class of an SB3 vector": DummyVecEnv,
    "function that makes one": lambda: SequenceEnv(),
    "list of one": [SequenceEnv()],
    "number": 3,
    "space": spaces.Discrete(3),
}


def model(agent: Any) -> Any:
    return agent("MlpPolicy", ID, seed=0)


def constructed(agent: Any, env: Any, _: object = None) -> Any:
    return agent("MlpPolicy", env)


def with_env_set(agent: Any, env: Any, _: object = None) -> None:
    model(agent).set_env(env)


def loaded(agent: Any, env: Any, _: object = None) -> Any:
    file = io.BytesIO()
    model(agent).save(file)
    file.seek(0)
    return agent.load(file, env=env)


def resumed(agent: Any, env: Any, folder: Path) -> Any:
    if not list(folder.glob("*.zip")):
        model(agent).learn(1, KeepCheckpoints(1, folder))
    return resume(agent, folder, env)


def loss(batch: Any, policy: Any) -> Any:
    return -policy(batch.observations).log_prob(batch.actions).mean()


# Each with an environment and an empty folder.
TAKES_ONE: dict[str, Callable[[Any, Path], Any]] = {
    "resume": lambda env, folder: resumed(REINFORCE, env, folder),
    "as_vec_env": lambda env, _: as_vec_env(env),
    "record_demonstrations": lambda env, _: record_demonstrations(
        env, lambda seen: 0, n_steps=1
    ),
    "check_policy_gradient": lambda env, _: check_policy_gradient(
        loss, env, n_episodes=256
    ),
    "mdp_from_env": lambda env, _: mdp_from_env(env),
    **{a.__name__: partial(constructed, a) for a in AGENTS},
    **{f"{a.__name__}.load": partial(loaded, a) for a in AGENTS},
    **{f"{a.__name__}.set_env": partial(with_env_set, a) for a in AGENTS},
}


@pytest.mark.parametrize("given", NO_ENVIRONMENTS)
@pytest.mark.parametrize("function", TAKES_ONE)
def test_what_is_no_environment_is_refused(
    function: str, given: str, tmp_path: Path
) -> None:
    env = NO_ENVIRONMENTS[given]
    what = env.__name__ if isinstance(env, type) else type(env).__name__
    with pytest.raises(TypeError) as refusal:
        TAKES_ONE[function](env, tmp_path)
    message = str(refusal.value)
    assert message.startswith(("env must be ", "as_vec_env takes "))
    said, _, got = message.partition(" got ")
    assert "environment" in said or "gymnasium.vector.VectorEnv" in said
    assert what in got or repr(env) in got


@pytest.mark.parametrize("function", TAKES_ONE)
def test_an_environment_is_not(function: str, tmp_path: Path) -> None:
    env: Any = gymnasium.make(ID)
    if function == "as_vec_env":
        env = gymnasium.make_vec(ID, num_envs=2)
    TAKES_ONE[function](env, tmp_path)


@pytest.mark.parametrize("agent", AGENTS)
def test_an_id_is_for_the_constructor_alone(agent: Any) -> None:
    """As with Stable-Baselines3; what is said is that an environment is needed."""
    with pytest.raises(TypeError, match=f"env must be an environment, .*'{ID}'"):
        loaded(agent, ID)
    with pytest.raises(TypeError, match=f"env must be an environment, .*'{ID}'"):
        with_env_set(agent, ID)


@pytest.mark.parametrize("agent", AGENTS)
def test_a_model_without_an_environment_must_be_loaded(agent: Any) -> None:
    with pytest.raises(ValueError, match=r"env must be .* got None: only load"):
        constructed(agent, None)
    assert loaded(agent, None).env is None
    with pytest.raises(TypeError, match=r"env must be an environment.*got None"):
        with_env_set(agent, None)


@pytest.mark.parametrize("missing", ["observation_space", "action_space"])
@pytest.mark.parametrize("agent", AGENTS)
def test_an_environment_has_spaces(agent: Any, missing: str) -> None:
    class Unfinished(gymnasium.Env[Any, Any]):
        def __init__(self) -> None:
            both = {
                "observation_space": spaces.Box(-1, 1, (1,)),
                "action_space": spaces.Discrete(2),
            }
            vars(self).update({k: v for k, v in both.items() if k != missing})

    for function in ("", ".load", ".set_env"):
        with pytest.raises(TypeError, match=f"env must have an {missing}.*Unfinished"):
            TAKES_ONE[agent.__name__ + function](Unfinished(), Path())


@pytest.mark.parametrize("given", [*NO_ENVIRONMENTS.values(), *AGENTS, None])
def test_what_is_no_model_is_refused_where_one_is_taken(
    given: Any, tmp_path: Path
) -> None:
    what = given.__name__ if isinstance(given, type) else type(given).__name__
    path = tmp_path / "weights.safetensors"
    save_weights(model(REINFORCE), path)
    with pytest.raises(TypeError, match=f"model must have .*got .*{what}"):
        clone_behaviour(given, np.zeros((4, 1)), np.zeros(4))
    for call in (save_weights, load_weights):
        with pytest.raises(TypeError, match=f"take an algorithm .* got .*{what}"):
            call(given, path)


@pytest.mark.parametrize("given", [*NO_ENVIRONMENTS.values(), SequenceEnv(), None])
def test_make_torch_vec_takes_an_id(given: Any) -> None:
    with pytest.raises(TypeError, match="id must be the id of an environment"):
        make_torch_vec(given, 2)
