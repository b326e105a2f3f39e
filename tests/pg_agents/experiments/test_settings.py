"""Settings are plain data that says what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pg_agents.experiments import Evaluation, Settings
from pg_agents.experiments.settings import first_difference
from tests.pg_agents.experiments.tiny import EXACT, SETTINGS, tiny


@pytest.mark.parametrize("name", sorted(EXACT))
def test_they_come_whole_out_of_json(name: str) -> None:
    settings = EXACT[name].settings
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"algorithm": "DQN"}, ValueError, "algorithm must be one of 'REINFORCE', .*DQN"),
    ({"vectorization": "sub"}, ValueError, "vectorization must be one of"),
    ({"env_id": 3}, TypeError, "env_id must be a str, got 3"),
    ({"n_envs": 0}, ValueError, "n_envs must be at least 1, got 0"),
    ({"n_envs": 2.0}, TypeError, "n_envs must be an integer, got 2.0"),
    ({"checkpoint_every": True}, TypeError, "checkpoint_every must be an integer"),
    ({"arguments": [1]}, TypeError, "arguments must be a dict"),
    ({"arguments": {"f": max}}, ValueError, "arguments must be plain data"),
    ({"arguments": {"lr": float("nan")}}, ValueError, "arguments must be plain data"),
    ({"env_kwargs": {"size": (3, 4)}}, ValueError, "env_kwargs must be plain data"),
    ({"policy_kwargs": {1: 2}}, ValueError, "policy_kwargs must be plain data"),
    ({"normalize": True}, TypeError, "normalize must be a dict"),
    ({"arguments": {"seed": 3}}, ValueError, "must not hold 'seed'"),
    ({"timesteps": 10}, ValueError, "one of timesteps and episodes"),
    ({"episodes": None}, ValueError, "one of timesteps and episodes"),
    ({"episodes": 0}, ValueError, "episodes must be at least 1"),
    ({"arguments": {"ent_coef": "lin_1"}}, ValueError, "ent_coef is a schedule"),
    ({"train": "module.function"}, ValueError, "train must read module:function"),
    ({"play": "m:"}, ValueError, "play must read module:function"),
    ({"frame_stack": 1}, ValueError, "frame_stack must be at least 2, or None, got 1"),
    ({"frame_stack": 0}, ValueError, "frame_stack must be at least 1, got 0"),
    ({"frame_stack": 2.5}, TypeError, "frame_stack must be an integer, got 2.5"),
    ({"frame_stack": 2, "train": "m:f"}, ValueError, "function of its own, m:f"),
    ({"frame_stack": 2, "play": "m:g"}, ValueError, "function of its own, m:g"),
    ({"evaluation": {}}, TypeError, "evaluation must be a Evaluation"),
]


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED)
def test_what_cannot_be_is_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        replace(SETTINGS, **changes)


def test_an_evaluation_is_checked_too() -> None:
    with pytest.raises(ValueError, match=r"evaluation.n_episodes must be at least 1"):
        Evaluation(n_episodes=0)
    with pytest.raises(TypeError, match=r"evaluation.deterministic must be a bool"):
        Evaluation(deterministic=1)  # type: ignore[arg-type]


def test_a_change_reaches_settings_parts_and_arguments() -> None:
    changes = {
        "n_envs": 8,
        "evaluation.n_episodes": 3,
        "policy_kwargs.net_arch": [64],
        "learning_rate": 0.5,
        "normalize.norm_obs": True,
    }
    found = SETTINGS.changed(changes)
    assert found.n_envs == 8
    assert found.evaluation == replace(SETTINGS.evaluation, n_episodes=3)
    assert found.policy_kwargs == {"net_arch": [64]}
    assert found.arguments == {"learning_rate": 0.5, "gamma": 0.9}
    assert found.normalize == {"norm_obs": True}
    assert SETTINGS.arguments["learning_rate"] == 0.05


def test_one_budget_takes_the_place_of_the_other() -> None:
    steps = SETTINGS.changed({"timesteps": 50})
    assert (steps.timesteps, steps.episodes) == (50, None)
    back = steps.changed({"episodes": 7})
    assert (back.timesteps, back.episodes) == (None, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("evaluaton.n_episodes", "no setting evaluaton: did you mean evaluation"),
        ("evaluation.n_episode", r"evaluation.n_episode: did you mean n_episodes"),
        ("n_envs.x", "the setting n_envs has no parts"),
    ],
)
def test_a_change_of_what_is_not_there(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SETTINGS.changed({name: 1})


def test_a_file_that_lacks_a_setting_or_has_one_too_many() -> None:
    data = SETTINGS.to_json()
    with pytest.raises(ValueError, match="there is no setting colour"):
        Settings.from_json({**data, "colour": 1})
    del data["device"]
    with pytest.raises(ValueError, match="the setting device is missing"):
        Settings.from_json(data)


def test_files_from_before_observations_were_stacked_are_read() -> None:
    assert "frame_stack" not in SETTINGS.to_json()
    stacked = SETTINGS.changed({"frame_stack": 4})
    assert stacked.frame_stack == 4 and stacked.to_json()["frame_stack"] == 4
    assert Settings.from_json(stacked.to_json()) == stacked
    assert stacked.changed({"frame_stack": None}) == SETTINGS


def test_the_first_difference_is_named() -> None:
    one = tiny().settings.to_json()
    assert first_difference(one, one) is None
    for name, value, said in (
        ("gamma", 0.8, "arguments.gamma is 0.9 there and 0.8 here"),
        ("evaluation.n_envs", 3, "evaluation.n_envs is 1 there and 3 here"),
        ("ent_coef", 0.1, "arguments.ent_coef is not there"),
    ):
        other = tiny().settings.changed({name: value}).to_json()
        assert first_difference(one, other) == said
    assert first_difference({"a": {}}, {}) == "a is there alone"


def test_the_folder_names_the_variant_unless_it_is_the_notebook_s() -> None:
    assert tiny().name == "tiny"
    assert replace(tiny(), variant="best").name == "tiny-best"
