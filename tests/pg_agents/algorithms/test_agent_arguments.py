"""The amount of data: either n_steps or n_episodes, with a default."""

from __future__ import annotations

from typing import Any

import pytest

from pg_agents import REINFORCE, ActorCritic
from tests.pg_agents.algorithms.argument_examples import make_env


@pytest.mark.parametrize(
    ("algorithm", "given", "n_steps", "n_episodes"),
    [
        (ActorCritic, {}, 5, None),
        (ActorCritic, {"n_episodes": 2}, None, 2),
        (ActorCritic, {"n_steps": 7}, 7, None),
        (ActorCritic, {"n_steps": 7, "n_episodes": None}, 7, None),
        (REINFORCE, {}, None, 1),
        (REINFORCE, {"n_steps": 2}, 2, None),
        (REINFORCE, {"n_episodes": 3, "n_steps": None}, None, 3),
        # As a configuration tool writes out every default.
        (ActorCritic, {"n_steps": None, "n_episodes": None}, 5, None),
        (REINFORCE, {"n_steps": None, "n_episodes": None}, None, 1),
    ],
)
def test_the_default_gives_way_to_the_other_amount_of_data(
    algorithm: Any, given: dict[str, Any], n_steps: object, n_episodes: object
) -> None:
    model = algorithm("MlpPolicy", make_env("scalar", 1), **given)
    assert (model.n_steps, model.n_episodes) == (n_steps, n_episodes)
    # A plain number: the default of a signature is told by its type.
    assert {type(model.n_steps), type(model.n_episodes)} == {int, type(None)}


@pytest.mark.parametrize(
    ("algorithm", "given"),
    [
        (ActorCritic, {"n_steps": 5, "n_episodes": 1}),
        (REINFORCE, {"n_steps": 5, "n_episodes": 1}),
    ],
)
def test_both_amounts_are_refused(algorithm: Any, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either n_steps or n_episodes"):
        algorithm("MlpPolicy", make_env("scalar", 1), **given)
