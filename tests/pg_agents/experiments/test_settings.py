"""Settings: checks, changes, JSON; extras."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pg_agents.common.extras import install_command
from pg_agents.experiments import Evaluation, Settings
from pg_agents.experiments.settings import EXTRAS, first_difference, require_extra
from tests.pg_agents.experiments.tiny import SETTINGS, tiny

REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"algorithm": "DQN"}, ValueError, "algorithm must be one of 'REINFORCE', .*DQN"),
    ({"vectorization": "sub"}, ValueError, "vectorization must be one of"),
    ({"env_id": 3}, TypeError, "env_id must be str, got 3"),
    ({"n_envs": 0}, ValueError, "n_envs must be an integer >= 1, got 0"),
    ({"n_envs": 2.0}, ValueError, "n_envs must be an integer >= 1, got 2.0"),
    ({"n_envs": np.int64(2)}, TypeError, "n_envs must be int, got"),
    ({"checkpoint_every": True}, ValueError, "checkpoint_every must be an integer"),
    ({"arguments": [1]}, TypeError, "arguments must be dict"),
    ({"arguments": {"f": max}}, ValueError, "arguments must be plain data"),
    ({"arguments": {"lr": float("nan")}}, ValueError, "arguments must be plain data"),
    ({"env_kwargs": {"size": (3, 4)}}, ValueError, "env_kwargs must be plain data"),
    ({"policy_kwargs": {1: 2}}, ValueError, "policy_kwargs must be plain data"),
    ({"normalize": True}, TypeError, "normalize must be dict or None, got True"),
    ({"arguments": {"seed": 3}}, ValueError, "must not hold 'seed'"),
    ({"timesteps": 10}, ValueError, "one of timesteps and episodes"),
    ({"episodes": None}, ValueError, "one of timesteps and episodes"),
    ({"episodes": 0}, ValueError, "episodes must be an integer >= 1"),
    ({"arguments": {"ent_coef": "lin_1"}}, ValueError, "ent_coef is a schedule"),
    ({"frame_stack": 1}, ValueError, "frame_stack must be at least 2, or None, got 1"),
    ({"frame_stack": 2.5}, TypeError, "frame_stack must be int or None, got 2.5"),
    ({"frame_stack": 2, "train": "m:f"}, ValueError, "play function, which is m:f"),
    ({"frame_stack": 2, "play": "m:g"}, ValueError, "play function, which is m:g"),
    ({"evaluation": {}}, TypeError, "evaluation must be Evaluation"),
]


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED)
def test_invalid_settings_raise(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        replace(SETTINGS, **changes)


def test_an_invalid_evaluation_raises() -> None:
    with pytest.raises(ValueError, match=r"evaluation.n_episodes must be an integer"):
        Evaluation(n_episodes=0)
    with pytest.raises(TypeError, match=r"evaluation.deterministic must be bool"):
        Evaluation(deterministic=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"evaluation.env_kwargs must be plain data"):
        Evaluation(env_kwargs={"size": (3, 4)})


def test_json_with_a_missing_or_unknown_setting_raises() -> None:
    data = SETTINGS.to_json()
    with pytest.raises(ValueError, match="there is no setting colour"):
        Settings.from_json({**data, "colour": 1})
    del data["device"]
    with pytest.raises(ValueError, match="the setting device is missing"):
        Settings.from_json(data)


def test_changes_of_settings_entries_and_arguments() -> None:
    changed = SETTINGS.changed(
        {
            "n_envs": 8,
            "evaluation.n_episodes": 3,
            "policy_kwargs.net_arch": [64],
            "learning_rate": 0.5,
            "normalize.norm_obs": True,
        }
    )
    assert changed.n_envs == 8
    assert changed.evaluation == replace(SETTINGS.evaluation, n_episodes=3)
    assert changed.policy_kwargs == {"net_arch": [64]}
    assert changed.arguments == {"learning_rate": 0.5, "gamma": 0.9}
    assert changed.normalize == {"norm_obs": True}
    assert SETTINGS.arguments["learning_rate"] == 0.05


def test_timesteps_replace_episodes_and_the_other_way_round() -> None:
    steps = SETTINGS.changed({"timesteps": 50})
    assert (steps.timesteps, steps.episodes) == (50, None)
    episodes = steps.changed({"episodes": 7})
    assert (episodes.timesteps, episodes.episodes) == (None, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("evaluaton.n_episodes", "no setting evaluaton: did you mean evaluation"),
        ("evaluation.n_episode", r"evaluation.n_episode: did you mean n_episodes"),
        ("n_envs.x", "the setting n_envs has no entries"),
    ],
)
def test_a_change_of_an_unknown_setting_raises(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SETTINGS.changed({name: 1})


def test_the_first_difference_is_named() -> None:
    settings = tiny().settings.to_json()
    assert first_difference(settings, settings) is None
    for name, value, description in (
        ("gamma", 0.8, "arguments.gamma is 0.9 there and 0.8 here"),
        ("evaluation.n_envs", 3, "evaluation.n_envs is 1 there and 3 here"),
        ("ent_coef", 0.1, "arguments.ent_coef is not there"),
    ):
        other = tiny().settings.changed({name: value}).to_json()
        assert first_difference(settings, other) == description
    assert first_difference({"a": {}}, {}) == "a is there alone"


def test_the_name_of_a_config_has_the_variant_unless_it_is_the_notebook() -> None:
    assert tiny().name == "tiny"
    assert replace(tiny(), variant="best").name == "tiny-best"


def test_extras_are_those_of_the_distribution() -> None:
    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert EXTRAS.keys() <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_a_missing_package_is_named_with_its_pip_command(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in EXTRAS[extra]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        require_extra(extra, "recipe x")
    missing = " and ".join(EXTRAS[extra])
    expected = f"recipe x needs {missing}: {install_command(extra)}"
    assert str(caught.value) == expected


def test_an_installed_extra_passes_and_an_unknown_one_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_extra(None, "recipe x")
    monkeypatch.setitem(EXTRAS, "video", ("json", "csv"))
    require_extra("video", "recipe x")
    with pytest.raises(ValueError, match=r"extra must be one of .*, got 'vidoe'"):
        require_extra("vidoe", "recipe x")
