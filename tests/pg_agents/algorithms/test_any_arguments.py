"""Any arguments are refused by name, or make a model that works."""

from __future__ import annotations

import inspect
import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.policies import ActorCriticPolicy

from pg_agents import REINFORCE, ActorCritic
from tests.pg_agents.algorithms import argument_examples as examples

# One rollout is all that a model learns from here.
pytestmark = pytest.mark.filterwarnings("ignore:the first update has the step size")

ALGORITHMS: list[Any] = [REINFORCE, ActorCritic]
# What an argument is called once it is an attribute, where that is another name.
STORED = {
    "policy": "policy_class",
    "returns": "estimator",
    "stats_window_size": "_stats_window_size",
}
NOT_STORED = {"env", "_init_setup_model", "device"}


@st.composite
def some_of(draw: Any, table: examples.Examples, most: int, bad: bool) -> Any:
    """Draws values of at most `most` arguments; where `bad`, one may be refused."""
    names = draw(st.lists(st.sampled_from(sorted(table)), unique=True, max_size=most))
    drawn = {}
    for name in names:
        accepted, refused = table[name]
        choices = [*accepted, *(refused if bad else ())]
        if choices:
            drawn[name] = draw(st.sampled_from(choices))
            bad = bad and drawn[name] in accepted if _hashable(drawn[name]) else False
    return drawn


def _hashable(value: Any) -> bool:
    return getattr(type(value), "__hash__", None) is not None


@st.composite
def calls(draw: Any, algorithm: Any) -> dict[str, Any]:
    """Draws the arguments of a constructor; `env` as a name and a number."""
    env = draw(st.sampled_from(examples.ENV_NAMES))
    given = {
        "policy": examples.policy_for(env),
        "env": (env, draw(st.integers(1, 3))),
        **draw(some_of(examples.arguments_of(algorithm), 6, draw(st.booleans()))),
    }
    if draw(st.booleans()):
        given["policy_kwargs"] = draw(
            some_of(examples.POLICY_KWARGS, 3, draw(st.booleans()))
        )
    if draw(st.integers(0, 4)) == 0:
        given["policy"] = draw(st.sampled_from(examples.POLICIES))
    return given


def build(algorithm: Any, given: dict[str, Any]) -> Any:
    """Returns a model; env is made of its name and number."""
    name, n_envs = given["env"]
    return algorithm(**{**given, "env": examples.make_env(name, n_envs)})


def names_one_of(message: str, names: set[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) for name in names)


def check_call(algorithm: Any, given: dict[str, Any]) -> None:
    """Holds what the docstring of this module says, for one call."""
    try:
        model = build(algorithm, given)
    except (ValueError, TypeError) as error:
        policy_kwargs = given.get("policy_kwargs")
        names = {*given, *(policy_kwargs if isinstance(policy_kwargs, dict) else ())}
        assert names_one_of(str(error), names), error
        event("refused")
        return
    event("learnt")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "an episode was still running")
        model.learn(1)
    assert model._n_updates >= 1 or model.learning_starts > 1
    for parameter in model.policy.parameters():
        assert parameter.isfinite().all()
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    again = algorithm.load(file, env=examples.make_env(*given["env"]), device="cpu")
    for name in inspect.signature(algorithm).parameters:
        if name not in NOT_STORED:
            stored = STORED.get(name, name)
            assert same(getattr(again, stored), getattr(model, stored)), name
    for _ in range(3):
        seen = model.observation_space.sample()
        chosen, _ = model.predict(seen, deterministic=True)
        np.testing.assert_array_equal(
            again.predict(seen, deterministic=True)[0], chosen
        )


def same(one: Any, other: Any) -> bool:
    """Returns whether two values are equal; schedules are if their values are."""
    if callable(one) and not isinstance(one, type):
        return all(one(progress) == other(progress) for progress in (1.0, 0.5, 0.0))
    return bool(one == other)


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=QUIET,
)
@given(data=st.data())
def test_arguments_are_refused_by_name_or_make_a_model_that_works(
    algorithm: Any, data: Any
) -> None:
    check_call(algorithm, data.draw(calls(algorithm)))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(
    max_examples=2000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=QUIET,
)
@given(data=st.data())
def test_many_more_arguments_are_refused_by_name_or_make_a_model_that_works(
    algorithm: Any, data: Any
) -> None:
    check_call(algorithm, data.draw(calls(algorithm)))


OTHERS: dict[str, tuple[Any, ...]] = {
    "policy": examples.NO_POLICIES,
    "env": examples.NO_ENVS,
    "policy_kwargs": examples.NO_POLICY_KWARGS,
}


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (algorithm, name)
        for algorithm in ALGORITHMS
        for name in (*examples.arguments_of(algorithm), *OTHERS)
    ],
)
def test_a_bad_argument_alone_is_refused_by_its_own_name(
    algorithm: Any, name: str
) -> None:
    own = examples.arguments_of(algorithm).get(name, ((), ()))
    for value in (*own[1], *OTHERS.get(name, ())):
        given = {"policy": "MlpPolicy", "env": examples.make_env("scalar", 1)}
        assert_refused(lambda: algorithm(**{**given, name: value}), name, value)  # noqa: B023


@pytest.mark.parametrize("name", examples.POLICY_KWARGS)
def test_a_bad_entry_of_policy_kwargs_is_refused_by_its_own_name(name: str) -> None:
    for value in examples.POLICY_KWARGS[name][1]:
        for policy in ("MlpPolicy", ActorCriticPolicy):
            env = examples.make_env("box actions", 1)
            entry = {name: value}
            assert_refused(
                lambda: ActorCritic(policy, env, policy_kwargs=entry),  # noqa: B023
                name,
                value,
            )


def assert_refused(call: Callable[[], Any], name: str, value: Any) -> None:
    try:
        call()
    except (ValueError, TypeError) as error:
        assert names_one_of(str(error), {name}), error
    else:
        pytest.fail(f"{name}={value!r} was accepted")


@pytest.mark.parametrize("name", examples.REFUSED_SPACES)
def test_spaces_that_no_network_takes_are_refused(name: str) -> None:
    env = examples.make_env(name, 1)
    policy = "MultiInputPolicy" if "dict" in name else "MlpPolicy"
    with pytest.raises(ValueError, match=r"^env: .*got"):
        ActorCritic(policy, env)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_examples_leave_no_argument_out(algorithm: Any) -> None:
    table = {*examples.arguments_of(algorithm), "policy", "env", "policy_kwargs"}
    assert table == set(inspect.signature(algorithm).parameters)


def test_a_policy_that_asserts_is_refused_with_what_it_was_given() -> None:
    class Fussy(torch.nn.ReLU):
        def __init__(self) -> None:
            raise AssertionError("not today")

    with pytest.raises(ValueError, match=r"activation_fn must be .* not today"):
        ActorCritic(
            "MlpPolicy",
            examples.make_env("scalar", 1),
            policy_kwargs={"activation_fn": Fussy},
        )
