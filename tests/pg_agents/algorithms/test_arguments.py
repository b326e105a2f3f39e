"""Arguments are refused by name, or make a model that works."""

from __future__ import annotations

import inspect
import io
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents import (
    REINFORCE,
    ActorCritic,
    MlpPolicy,
    RandomAgent,
    as_vec_env,
    check_policy_gradient,
    clone_behaviour,
    load_weights,
    record_demonstrations,
    save_weights,
)
from pg_agents.callbacks import KeepCheckpoints, StopOnInterrupt, resume
from pg_envs import SequenceEnv, TabularVectorEnv, mdp_from_env
from tests.pg_agents.algorithms import argument_examples as examples

# Most models here learn from one rollout.
pytestmark = pytest.mark.filterwarnings("ignore:the first update has the step size")

LEARNERS: list[Any] = [REINFORCE, ActorCritic]
AGENTS: list[Any] = [*LEARNERS, RandomAgent]
ID = "pg_envs:PGToy-Sequence-v0"
# Arguments whose attribute has another name, or that have none.
ATTRIBUTES = {"policy": "policy_class", "stats_window_size": "_stats_window_size"}
NO_ATTRIBUTE = {"env", "_init_setup_model", "device"}


def contains_a_name(message: str, names: set[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) for name in names)


# Constructors.


@st.composite
def some_arguments(draw: Any, table: examples.Examples, most: int, bad: bool) -> Any:
    """Draws values of at most `most` arguments; if `bad`, they include refused ones."""
    names = draw(st.lists(st.sampled_from(sorted(table)), unique=True, max_size=most))
    drawn = {}
    for name in names:
        accepted, refused = table[name]
        if choices := [*accepted, *(refused if bad else ())]:
            drawn[name] = draw(st.sampled_from(choices))
    return drawn


@st.composite
def constructor_calls(draw: Any, algorithm: Any) -> dict[str, Any]:
    """Draws arguments of a constructor; `env` as a name and a number."""
    env = draw(st.sampled_from(examples.ENV_NAMES))
    arguments = {
        "policy": examples.policy_for(env),
        "env": (env, draw(st.integers(1, 3))),
        **draw(
            some_arguments(examples.arguments_of(algorithm), 6, draw(st.booleans()))
        ),
    }
    if draw(st.booleans()):
        arguments["policy_kwargs"] = draw(
            some_arguments(examples.POLICY_KWARGS, 3, draw(st.booleans()))
        )
    if draw(st.integers(0, 4)) == 0:
        arguments["policy"] = draw(st.sampled_from(examples.POLICIES))
    return arguments


def check_constructor(algorithm: Any, arguments: dict[str, Any]) -> None:
    """Checks that a call is refused by name, or makes a model that learns and loads."""
    env = arguments["env"]
    try:
        model = algorithm(**{**arguments, "env": examples.make_env(*env)})
    except (ValueError, TypeError) as error:
        policy_kwargs = arguments.get("policy_kwargs")
        names = {
            *arguments,
            *(policy_kwargs if isinstance(policy_kwargs, dict) else ()),
        }
        assert contains_a_name(str(error), names), error
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "an episode was still running")
        model.learn(1)
    assert model._n_updates >= 1 or model.learning_starts > 1
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = algorithm.load(file, env=examples.make_env(*env), device="cpu")
    for name in inspect.signature(algorithm).parameters:
        if name not in NO_ATTRIBUTE:
            attribute = ATTRIBUTES.get(name, name)
            assert equal(getattr(loaded, attribute), getattr(model, attribute)), name
    for _ in range(3):
        obs = model.observation_space.sample()
        np.testing.assert_array_equal(
            loaded.predict(obs, deterministic=True)[0],
            model.predict(obs, deterministic=True)[0],
        )


def equal(one: Any, other: Any) -> bool:
    """Returns whether two values are equal; schedules are if their values are."""
    if callable(one) and not isinstance(one, type):
        return all(one(progress) == other(progress) for progress in (1.0, 0.5, 0.0))
    return bool(one == other)


def many(max_examples: int) -> settings:
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=max_examples, suppress_health_check=quiet)


@pytest.mark.parametrize("algorithm", LEARNERS)
@many(60)
@given(data=st.data())
def test_arguments_are_refused_by_name_or_make_a_model_that_works(
    algorithm: Any, data: Any
) -> None:
    check_constructor(algorithm, data.draw(constructor_calls(algorithm)))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", LEARNERS)
@many(2000)
@given(data=st.data())
def test_many_arguments_are_refused_by_name_or_make_a_model_that_works(
    algorithm: Any, data: Any
) -> None:
    check_constructor(algorithm, data.draw(constructor_calls(algorithm)))


BAD_VALUES: dict[str, tuple[Any, ...]] = {
    "policy": examples.NO_POLICIES,
    "env": examples.NO_ENVS,
    "policy_kwargs": examples.NO_POLICY_KWARGS,
}


def assert_refused_by_name(call: Callable[[], Any], name: str, value: Any) -> None:
    try:
        call()
    except (ValueError, TypeError) as error:
        assert contains_a_name(str(error), {name}), error
    else:
        pytest.fail(f"{name}={value!r} was accepted")


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (algorithm, name)
        for algorithm in LEARNERS
        for name in (*examples.arguments_of(algorithm), *BAD_VALUES)
    ],
)
def test_a_bad_argument_is_refused_by_its_name(algorithm: Any, name: str) -> None:
    _, refused = examples.arguments_of(algorithm).get(name, ((), ()))
    for value in (*refused, *BAD_VALUES.get(name, ())):
        arguments = {"policy": "MlpPolicy", "env": examples.make_env("scalar", 1)}
        call = partial(algorithm, **{**arguments, name: value})
        assert_refused_by_name(call, name, value)


@pytest.mark.parametrize("name", examples.POLICY_KWARGS)
def test_a_bad_entry_of_policy_kwargs_is_refused_by_its_name(name: str) -> None:
    for value in examples.POLICY_KWARGS[name][1]:
        for policy in ("MlpPolicy", ActorCriticPolicy):
            env = examples.make_env("box actions", 1)
            call = partial(ActorCritic, policy, env, policy_kwargs={name: value})
            assert_refused_by_name(call, name, value)


def test_an_assertion_of_a_policy_is_a_value_error_with_its_arguments() -> None:
    class Fails(torch.nn.ReLU):
        def __init__(self) -> None:
            raise AssertionError("not today")

    env = examples.make_env("scalar", 1)
    with pytest.raises(ValueError, match=r"activation_fn must be .* not today"):
        ActorCritic("MlpPolicy", env, policy_kwargs={"activation_fn": Fails})


@pytest.mark.parametrize("name", examples.REFUSED_SPACES)
def test_unsupported_spaces_are_refused(name: str) -> None:
    policy = "MultiInputPolicy" if "dict" in name else "MlpPolicy"
    with pytest.raises(ValueError, match=r"^env: .*got"):
        ActorCritic(policy, examples.make_env(name, 1))


@pytest.mark.parametrize("algorithm", LEARNERS)
def test_there_are_examples_of_every_argument(algorithm: Any) -> None:
    table = {*examples.arguments_of(algorithm), *BAD_VALUES}
    assert table == set(inspect.signature(algorithm).parameters)


# Pairs of arguments. Those left out go with anything.
INDEPENDENT = {
    *("stats_window_size", "tensorboard_log", "verbose", "seed", "device"),
    "_init_setup_model",
}


def accepted_values(algorithm: Any) -> dict[str, list[Any]]:
    """Returns accepted values of each argument, without its default."""
    values = without_defaults(examples.arguments_of(algorithm), algorithm)
    of_policy = without_defaults(examples.POLICY_KWARGS, ActorCriticPolicy, MlpPolicy)
    return {
        **{name: found for name, found in values.items() if name not in INDEPENDENT},
        "policy_kwargs": [
            {name: value} for name, found in of_policy.items() for value in found
        ],
    }


def without_defaults(table: examples.Examples, *calls: Any) -> dict[str, list[Any]]:
    defaults = {
        name: repr(parameter.default)
        for call in calls
        for name, parameter in inspect.signature(call).parameters.items()
    }
    return {
        name: [value for value in accepted if repr(value) != defaults.get(name)]
        for name, (accepted, _) in table.items()
    }


def kind_of(value: Any) -> Any:
    """Returns the same for numbers between the same bounds, and for all schedules."""
    if isinstance(value, type):
        return value
    if isinstance(value, bool | np.bool_ | int | float | np.number):
        return bool(value < 0), bool(value > 0), bool(value >= 1), bool(value > 1)
    return "schedule" if callable(value) else repr(value)


def one_of_each_kind(values: list[Any]) -> list[Any]:
    return list({kind_of(value): value for value in values}.values())


def pairs_with(
    algorithm: Any, name: str, choose: Callable[[list[Any]], list[Any]]
) -> Iterator[dict[str, Any]]:
    """Yields two arguments each, the first of which is `name`."""
    values = {k: choose(v) for k, v in accepted_values(algorithm).items()}
    for other in list(values)[list(values).index(name) + 1 :]:
        for one in values[name]:
            for two in values[other]:
                yield {name: one, other: two}


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (algorithm, name)
        for algorithm in LEARNERS
        for name in accepted_values(algorithm)
    ],
)
@pytest.mark.parametrize(
    "choose",
    [
        one_of_each_kind,
        # Numbers of other types and sizes.
        pytest.param(list, marks=pytest.mark.slow),
    ],
)
def test_a_pair_of_arguments_makes_a_model_or_is_refused_by_name(
    algorithm: Any, name: str, choose: Callable[[list[Any]], list[Any]]
) -> None:
    """The message names an argument that was passed, and none of the other class."""
    env = examples.make_env("box actions", 1)
    own = set(inspect.signature(algorithm).parameters)
    foreign = {n for each in LEARNERS for n in inspect.signature(each).parameters} - own
    for arguments in pairs_with(algorithm, name, choose):
        try:
            algorithm("MlpPolicy", env, **arguments)
        except (ValueError, TypeError) as error:
            message = str(error)
            names = {*arguments, *(arguments.get("policy_kwargs") or ())}
            assert contains_a_name(message, names), (arguments, message)
            mentioned = set(re.findall(r"(?<!\w)(\w+)=", message))
            assert not mentioned & foreign, (arguments, message)


# Environments.

NO_ENVIRONMENTS: dict[str, Any] = {
    "class": SequenceEnv,
    "wrapper class": gymnasium.wrappers.TimeLimit,
    "vector class": TabularVectorEnv,
    "SB3 vector class": DummyVecEnv,
    "function": lambda: SequenceEnv(),
    "list": [SequenceEnv()],
    "number": 3,
    "space": spaces.Discrete(3),
}


def make_model(agent: Any, **arguments: Any) -> Any:
    return agent("MlpPolicy", ID, seed=0, **arguments)


def construct(agent: Any, env: Any, _: object = None) -> Any:
    return agent("MlpPolicy", env)


def set_env(agent: Any, env: Any, _: object = None) -> None:
    make_model(agent).set_env(env)


def load(agent: Any, env: Any, _: object = None) -> Any:
    file = io.BytesIO()
    make_model(agent).save(file)
    file.seek(0)
    return agent.load(file, env=env)


def resumed(env: Any, folder: Path) -> Any:
    if not list(folder.glob("*.zip")):
        make_model(REINFORCE).learn(1, KeepCheckpoints(1, folder))
    return resume(REINFORCE, folder, env)


# Functions that take an environment, called with one and an empty folder.
TAKE_AN_ENV: dict[str, Callable[[Any, Path], Any]] = {
    "resume": resumed,
    "as_vec_env": lambda env, _: as_vec_env(env),
    "record_demonstrations": lambda env, _: record_demonstrations(
        env, lambda obs: 0, n_steps=1
    ),
    "check_policy_gradient": lambda env, _: check_policy_gradient(
        examples.reinforce_loss, env, n_episodes=256
    ),
    "mdp_from_env": lambda env, _: mdp_from_env(env),
    **{a.__name__: partial(construct, a) for a in AGENTS},
    **{f"{a.__name__}.load": partial(load, a) for a in AGENTS},
    **{f"{a.__name__}.set_env": partial(set_env, a) for a in AGENTS},
}


@pytest.mark.parametrize("kind", NO_ENVIRONMENTS)
@pytest.mark.parametrize("function", TAKE_AN_ENV)
def test_other_objects_are_refused_as_env(
    function: str, kind: str, tmp_path: Path
) -> None:
    env = NO_ENVIRONMENTS[kind]
    name = env.__name__ if isinstance(env, type) else type(env).__name__
    with pytest.raises(TypeError) as refusal:
        TAKE_AN_ENV[function](env, tmp_path)
    message = str(refusal.value)
    assert message.startswith(("env must be ", "as_vec_env takes "))
    accepted, _, got = message.partition(" got ")
    assert "environment" in accepted or "gymnasium.vector.VectorEnv" in accepted
    assert name in got or repr(env) in got


@pytest.mark.parametrize("function", TAKE_AN_ENV)
def test_environments_are_accepted_as_env(function: str, tmp_path: Path) -> None:
    vector = function == "as_vec_env"
    TAKE_AN_ENV[function](
        gymnasium.make_vec(ID, num_envs=2) if vector else gymnasium.make(ID), tmp_path
    )


def test_an_id_of_ours_that_is_not_registered_yet_says_what_to_import(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = {
        name: spec
        for name, spec in gymnasium.registry.items()
        if not name.startswith("PGToy-")
    }
    monkeypatch.setattr(gymnasium.envs.registration, "registry", others)
    monkeypatch.setattr(gymnasium, "registry", others)
    with pytest.raises(ValueError, match='or write "pg_envs:PGToy-Sequence-v0"'):
        REINFORCE("MlpPolicy", "PGToy-Sequence-v0")
    with pytest.raises(ValueError, match="can't be made") as refused:
        REINFORCE("MlpPolicy", "Nowhere-v0")
    assert "pg_envs" not in str(refused.value)


@pytest.mark.parametrize("agent", AGENTS)
def test_only_the_constructor_accepts_an_id(agent: Any) -> None:
    """As in SB3."""
    for call in (load, set_env):
        with pytest.raises(TypeError, match=f"env must be an environment, .*'{ID}'"):
            call(agent, ID)


@pytest.mark.parametrize("agent", AGENTS)
def test_only_load_accepts_none_as_env(agent: Any) -> None:
    with pytest.raises(ValueError, match=r"env must be .* got None: only load"):
        agent("MlpPolicy", None)
    model = load(agent, None)
    assert model.env is None
    with pytest.raises(ValueError, match="no environment to learn in"):
        model.learn(1)
    with pytest.raises(TypeError, match=r"env must be an environment.*got None"):
        set_env(agent, None)


@pytest.mark.parametrize("missing", ["observation_space", "action_space"])
@pytest.mark.parametrize("agent", AGENTS)
def test_an_environment_needs_spaces(agent: Any, missing: str) -> None:
    class Unfinished(gymnasium.Env[Any, Any]):
        def __init__(self) -> None:
            both = {
                "observation_space": spaces.Box(-1, 1, (1,)),
                "action_space": spaces.Discrete(2),
            }
            vars(self).update({k: v for k, v in both.items() if k != missing})

    for function in ("", ".load", ".set_env"):
        with pytest.raises(TypeError, match=f"env must have an {missing}.*Unfinished"):
            TAKE_AN_ENV[agent.__name__ + function](Unfinished(), Path())


@pytest.mark.parametrize("other", [*NO_ENVIRONMENTS.values(), *AGENTS, None])
def test_other_objects_are_refused_as_model(other: Any, tmp_path: Path) -> None:
    name = other.__name__ if isinstance(other, type) else type(other).__name__
    path = tmp_path / "weights.safetensors"
    save_weights(make_model(REINFORCE), path)
    with pytest.raises(TypeError, match=f"model must have .*got .*{name}"):
        clone_behaviour(other, np.zeros((4, 1)), np.zeros(4))
    for call in (save_weights, load_weights):
        with pytest.raises(TypeError, match=f"take an algorithm .* got .*{name}"):
            call(other, path)


# learn().


def small_model(agent: Any) -> Any:
    return make_model(agent, **({} if agent is RandomAgent else {"n_steps": 4}))


def parameters(model: Any) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.policy.parameters()]


@pytest.mark.parametrize("value", examples.NO_WHOLE_NUMBERS, ids=repr)
@pytest.mark.parametrize("agent", AGENTS)
def test_bad_numbers_of_timesteps_are_refused(agent: Any, value: Any) -> None:
    model = small_model(agent)
    with pytest.raises(ValueError, match=r"^total_timesteps must be an integer >= 0"):
        model.learn(value)
    assert model.num_timesteps == 0


@pytest.mark.parametrize(
    "value", [np.int64(8), np.uint8(8), 8.0, np.float32(8), np.array(8)]
)
@pytest.mark.parametrize("agent", AGENTS)
def test_timesteps_can_be_a_whole_float(agent: Any, value: Any) -> None:
    model, other = small_model(agent).learn(value), small_model(agent).learn(8)
    assert model.num_timesteps == other.num_timesteps == 8
    assert all(map(torch.equal, parameters(model), parameters(other)))


@pytest.mark.parametrize("zero", [0, 0.0, np.int64(0)])
@pytest.mark.parametrize("progress_bar", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_learning_for_0_timesteps_changes_nothing(
    agent: Any, progress_bar: bool, zero: Any
) -> None:
    """As with A2C."""
    model = small_model(agent)
    before = parameters(model)
    assert model.learn(zero, progress_bar=progress_bar) is model
    assert model.num_timesteps == 0
    assert all(map(torch.equal, before, parameters(model)))
    assert model.learn(4).num_timesteps == 4


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(("log_interval", v, ValueError) for v in (0, *examples.NO_WHOLE_NUMBERS)),
        *(("tb_log_name", v, TypeError) for v in (3, b"run", ["run"], True)),
        *(("reset_num_timesteps", v, ValueError) for v in examples.NO_BOOLS),
        *(("progress_bar", v, ValueError) for v in examples.NO_BOOLS),
        *(
            ("callback", v, TypeError)
            for v in (
                3,
                "StopWhenSolved",
                StopOnInterrupt,
                BaseCallback,
                (StopOnInterrupt(),),
                [StopOnInterrupt],
                [StopOnInterrupt(), 3],
                [[StopOnInterrupt()]],
                {"callback": StopOnInterrupt()},
            )
        ),
    ],
)
def test_bad_arguments_of_learn_are_refused_by_name(
    agent: Any, name: str, value: Any, error: type[Exception]
) -> None:
    model = small_model(agent)
    with pytest.raises(error, match=f"^{name} must be ") as refusal:
        model.learn(8, **{name: value})
    assert repr(value) in str(refusal.value)
    assert model.num_timesteps == 0


@pytest.mark.parametrize("progress_bar", [False, True])
@pytest.mark.parametrize("agent", AGENTS)
def test_learn_accepts_callbacks_functions_and_lists(
    agent: Any, progress_bar: bool
) -> None:
    class Callback(BaseCallback):
        def _on_step(self) -> bool:
            calls.append("callback")
            return True

    def function(variables: dict[str, Any], _: dict[str, Any]) -> bool:
        calls.append("function")
        return True

    cases: list[tuple[Any, list[str]]] = [
        (None, []),
        ([], []),
        (Callback(), ["callback"]),
        (function, ["function"]),
        ([Callback(), function], ["callback", "function"]),
        ([Callback(), None], ["callback"]),
        (CallbackList([Callback()]), ["callback"]),
    ]
    for callback, expected in cases:
        calls: list[str] = []
        small_model(agent).learn(4, callback, progress_bar=progress_bar)
        assert calls == expected * 4


# NumPy's integers.

SIZES: list[tuple[str, int, dict[str, Any]]] = [
    ("n_steps", 200, {}),
    ("n_episodes", 3, {}),
    ("max_episode_steps", 200, {"n_episodes": 2}),
    ("n_epochs", 3, {"n_steps": 50, "batch_size": 70}),
    ("batch_size", 150, {"n_steps": 100, "n_epochs": 2}),
    ("memory_size", 250, {"n_steps": 50, "learning_starts": 10}),
    ("learning_starts", 200, {"n_steps": 50, "memory_size": 300}),
    ("gradient_steps", 3, {"n_steps": 50, "memory_size": 300}),
    ("stats_window_size", 3, {}),
    ("sde_sample_freq", 3, {}),
]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
@pytest.mark.parametrize(("name", "size", "others"), SIZES)
@pytest.mark.parametrize("agent", LEARNERS)
def test_numpy_integers_train_as_python_integers(
    agent: Any, name: str, size: int, others: dict[str, Any], dtype: Any
) -> None:
    """With more steps than 8 bits can count."""

    def trained(value: Any) -> Any:
        env = gymnasium.make_vec(ID, num_envs=4)
        arguments = {"seed": 0, **others, name: value}
        return agent("MlpPolicy", env, **arguments).learn(900)

    expected, model = trained(size), trained(dtype(size))
    assert all(map(torch.equal, parameters(expected), parameters(model)))
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = agent.load(file, **{name: dtype(size)})
    assert type(getattr(loaded, ATTRIBUTES.get(name, name))) is int
