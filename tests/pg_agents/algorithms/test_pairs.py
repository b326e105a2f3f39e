"""Two arguments that do not go together: the message names one that was passed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pg_agents.algorithms import argument_examples as examples
from tests.pg_agents.algorithms.test_any_arguments import ALGORITHMS, names_one_of

# They go with anything.
ALONE = {
    *("stats_window_size", "tensorboard_log", "verbose", "seed", "device"),
    "_init_setup_model",
}


def others_than_the_default(algorithm: Any) -> dict[str, list[Any]]:
    """Returns accepted values of each argument that it does not have anyway."""
    parameters = inspect.signature(algorithm).parameters
    found = {
        name: [value for value in accepted if value is not parameters[name].default]
        for name, (accepted, _) in examples.arguments_of(algorithm).items()
        if name not in ALONE
    }
    found["policy_kwargs"] = [
        {name: value}
        for name, (accepted, _) in examples.POLICY_KWARGS.items()
        for value in accepted
    ]
    return found


def pairs_with(algorithm: Any, name: str) -> Iterator[dict[str, Any]]:
    """Yields two arguments each, `name` being the one that comes first."""
    values = others_than_the_default(algorithm)
    for other in list(values)[list(values).index(name) + 1 :]:
        for one in values[name]:
            for two in values[other]:
                yield {name: one, other: two}


def foreign_settings(message: str, algorithm: Any) -> set[str]:
    """Returns what a message says, as `name=value`, of arguments of the other agent."""
    said = set(re.findall(r"(?<!\w)(\w+)=", message))
    every = {name for each in ALGORITHMS for name in inspect.signature(each).parameters}
    return said & every - set(inspect.signature(algorithm).parameters)


def passed_names(given: dict[str, Any]) -> set[str]:
    return {*given, *(given.get("policy_kwargs") or ())}


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (algorithm, name)
        for algorithm in ALGORITHMS
        for name in others_than_the_default(algorithm)
    ],
)
def test_a_pair_makes_a_model_or_is_refused_by_a_name_that_was_passed(
    algorithm: Any, name: str
) -> None:
    env = examples.make_env("box actions", 1)
    for given in pairs_with(algorithm, name):
        try:
            algorithm("MlpPolicy", env, **given)
        except (ValueError, TypeError) as error:
            message = str(error)
            assert names_one_of(message, passed_names(given)), (given, message)
            assert not foreign_settings(message, algorithm), (given, message)
