"""Attributes in checkpoints that can't be unpickled here, or were edited."""

from __future__ import annotations

import functools
import io
import json
import pickle
import platform
import warnings
from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
from stable_baselines3 import A2C

from pg_agents import REINFORCE, ActorCritic, RandomAgent
from pg_agents.rollout.buffer import TrajectoryBuffer
from tests.pg_agents.checkpoint.foreign import (
    CUT_OFF,
    UNKNOWN_CLASS,
    UNKNOWN_MODULE,
    edited,
    foreign,
    rewritten,
    serialized,
    written_by_python,
)
from tests.pg_agents.checkpoint.resuming_examples import FRESH, equal, single

AGENTS: list[Any] = [REINFORCE, ActorCritic, RandomAgent]
LEARNERS: list[Any] = [REINFORCE, ActorCritic]
# No model can be built without these.
REQUIRED = ["policy_class", "observation_space", "action_space"]
# Attributes of every kind: numbers, functions, classes, dicts, arrays, bytes.
ATTRIBUTES = [
    *REQUIRED,
    "learning_rate",
    "lr_schedule",
    "clip_range",
    "ent_coef",
    "gamma",
    "n_steps",
    "seed",
    "policy_kwargs",
    "rollout_buffer_class",
    "rollout_buffer_kwargs",
    "ep_info_buffer",
    "_last_obs",
    "_last_episode_starts",
    "_episode_steps",
    "training_state",
    "remark",
]


def schedule(_: float) -> float:
    return 0.125


@functools.cache
def saved(agent: Any) -> bytes:
    """Returns the checkpoint of a model without default values."""
    arguments: dict[str, Any] = {"seed": 3}
    if agent is not RandomAgent:
        arguments |= {
            "policy_kwargs": {"net_arch": [2]},
            "learning_rate": lambda progress: 0.01 * progress,
            "gamma": 0.5,
        }
    if agent in LEARNERS:
        arguments |= {"clip_range": schedule, "ent_coef": schedule}
    if agent in (ActorCritic, A2C):
        arguments |= {"n_steps": 3}
    model = agent("MlpPolicy", single(), **arguments).learn(12)
    model.remark = {1: "JSON has string keys only"}
    file = io.BytesIO()
    model.save(file)
    return file.getvalue()


def edited_badly(content: bytes, name: str) -> bytes:
    return edited(content, lambda d: d.update({name: serialized(UNKNOWN_CLASS)}))


def load(agent: Any, content: bytes, **arguments: Any) -> tuple[Any, list[str]]:
    """Returns the model and the warnings of loading it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = agent.load(io.BytesIO(content), **arguments)
    return model, [str(warning.message) for warning in caught]


def silently(agent: Any, content: bytes, **arguments: Any) -> Any:
    model, messages = load(agent, content, **arguments)
    assert messages == []
    return model


def outcome(agent: Any, content: bytes, **arguments: Any) -> tuple[str, list[str]]:
    try:
        model, messages = load(agent, content, **arguments)
    except (KeyError, ValueError) as error:
        return f"refused: {error}", []
    model.set_env(single())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.learn(6, reset_num_timesteps=False)
        model.predict(np.zeros(model.observation_space.shape, np.float32))
    return "learns", messages


def is_the_default(agent: Any, model: Any, name: str) -> bool:
    new = agent("MlpPolicy", single(), _init_setup_model=False)
    return equal(getattr(model, name, None), getattr(new, name, None))


@pytest.mark.parametrize("agent", [A2C, *AGENTS])
@pytest.mark.parametrize("name", [n for n in ATTRIBUTES if n not in REQUIRED])
def test_an_unreadable_attribute_gets_its_default_with_a_warning(
    name: str, agent: Any
) -> None:
    content = saved(agent)
    for file in (foreign(content, name), edited_badly(content, name)):
        if name == "policy_kwargs" and agent is not RandomAgent:
            # The weights don't fit the default architecture.
            with (
                pytest.warns(UserWarning, match="object policy_kwargs"),
                pytest.raises(RuntimeError, match="state_dict"),
            ):
                agent.load(io.BytesIO(file))
            continue
        result, (said,) = outcome(agent, file)
        assert result == "learns"
        assert said.startswith(f"Could not deserialize object {name}. Consider using")
        assert "`custom_objects`" in said and "NoSuchClass" in said
        model, _ = load(agent, file)
        if name not in ("lr_schedule", "rollout_buffer_class", "n_steps"):
            assert is_the_default(agent, model, name)


@pytest.mark.parametrize("agent", [A2C, *AGENTS])
@pytest.mark.parametrize("name", REQUIRED)
def test_an_error_names_unreadable_attributes_that_are_required(
    name: str, agent: Any
) -> None:
    result, _ = outcome(agent, foreign(saved(agent), name))
    assert result.startswith("refused") and name in result
    if agent is not A2C:
        assert "custom_objects={'" in result and "NoSuchClass" in result


@pytest.mark.parametrize("agent", [A2C, *AGENTS])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_custom_objects_replace_any_attribute_silently(name: str, agent: Any) -> None:
    content = saved(agent)
    value = getattr(silently(agent, content), name, None)
    custom = {name: b"" if name == "training_state" else value}
    for file in (
        foreign(content, name),
        edited_badly(content, name),
        edited(content, lambda d: d.update({name: 7})),
    ):
        assert outcome(agent, file, custom_objects=custom) == ("learns", [])
    model = silently(agent, foreign(content, name), custom_objects=custom)
    if name not in ("lr_schedule", "training_state"):
        assert equal(getattr(model, name, None), value)


NEW_VALUES: dict[str, Any] = {
    "learning_rate": lambda _: 0.5,
    "lr_schedule": None,
    "clip_range": lambda _: 0.25,
    "ent_coef": lambda _: 0.5,
    "gamma": 0.25,
    "n_steps": 5,
    "seed": 9,
    "rollout_buffer_class": type("Buffer", (TrajectoryBuffer,), {}),
    "remark": "another",
}


@pytest.mark.parametrize("agent", LEARNERS)
@pytest.mark.parametrize("name", NEW_VALUES)
def test_custom_objects_take_effect(name: str, agent: Any) -> None:
    custom: dict[str, Any] = {name: NEW_VALUES[name]}
    if name == "n_steps":
        custom["n_episodes"] = None
        content = edited(saved(agent), lambda d: d.update({"n_steps": 4}))
    else:
        content = saved(agent)
    model = silently(agent, content, env=single(), custom_objects=custom)
    if name not in ("lr_schedule", "seed"):
        assert getattr(model, name) is custom[name]
    if name == "learning_rate":
        assert model.lr_schedule(1.0) == 0.5
    model.learn(12)


KINDS: dict[str, tuple[bytes, str]] = {
    "class": (UNKNOWN_CLASS, "AttributeError: Can't get attribute 'NoSuchClass'"),
    "module": (UNKNOWN_MODULE, "ModuleNotFoundError: No module named 'no_such_mod"),
    "cut off": (CUT_OFF, "UnpicklingError"),
    "no pickle": (b"what?", "UnpicklingError"),
    "empty": (b"", "EOFError"),
    "code": (
        cloudpickle.dumps(schedule.__code__).replace(b"CodeType", b"CodeTyps"),
        "CodeTyps",
    ),
    "protocol": (b"\x80\x63.", "ValueError: unsupported pickle protocol"),
    "arguments": (pickle.dumps(schedule).replace(b"schedule", b"schedula"), "schedula"),
}


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_reason_for_being_unreadable(kind: str, agent: Any) -> None:
    """SB3 raises errors for some, which don't name the attribute."""
    pickled, says = KINDS[kind]
    content = foreign(saved(agent), "learning_rate", pickled)
    model, (said,) = load(agent, content)
    assert "object learning_rate." in said and says in said
    assert is_the_default(agent, model, "learning_rate")
    silently(agent, content, custom_objects={"learning_rate": 0.5})
    with pytest.raises(ValueError, match="without action_space ") as caught:
        load(agent, foreign(saved(agent), "action_space", pickled))
    assert says in str(caught.value)


@pytest.mark.parametrize("agent", LEARNERS)
def test_bytecode_of_another_python_is_not_run(agent: Any) -> None:
    """It may compute something else, or crash the interpreter."""
    major, minor, *_ = platform.python_version_tuple()
    other = f"{major}.{int(minor) + 1}.0"
    content = written_by_python(saved(agent), other)
    model, messages = load(agent, content)
    assert sorted(said.split()[4] for said in messages) == [
        "learning_rate.",
        "lr_schedule.",
    ]
    assert all(
        f"it holds bytecode of Python {other}, and this is" in s for s in messages
    )
    assert is_the_default(agent, model, "learning_rate")
    # Functions pickled by name are read.
    assert model.ent_coef is schedule
    model = silently(agent, content, custom_objects={"learning_rate": schedule})
    assert model.lr_schedule(1.0) == 0.125
    # Edited attributes are taken to be of this Python.
    repaired = edited(
        content,
        lambda d: d.update(
            learning_rate=serialized(cloudpickle.dumps(lambda _: 0.25)),
            lr_schedule=None,
        ),
    )
    model, (said,) = load(agent, repaired)
    assert "learning_rate" in said and "lr_schedule" in said and "changed" in said
    assert model.lr_schedule(1.0) == 0.25
    same = written_by_python(saved(agent), f"{major}.{minor}.99")
    assert silently(agent, same).learning_rate(1.0) == 0.01


@pytest.mark.parametrize("agent", AGENTS)
def test_all_unreadable_attributes_are_named(agent: Any) -> None:
    content = saved(agent)
    for name in ("remark", "learning_rate", "ep_info_buffer"):
        content = foreign(content, name)
    _, messages = load(agent, content)
    assert len(messages) == 3
    for name in REQUIRED:
        content = foreign(content, name)
    with pytest.raises(ValueError, match="no model can be built") as caught:
        load(agent, content)
    assert all(f"{name} (AttributeError" in str(caught.value) for name in REQUIRED)


@pytest.mark.parametrize("agent", AGENTS)
def test_attributes_required_with_or_without_an_environment(agent: Any) -> None:
    content = foreign(saved(agent), "n_envs")
    with pytest.raises(ValueError, match="without n_envs "):
        load(agent, content)
    assert load(agent, content, env=single())[0].n_envs == 1
    content = foreign(saved(agent), "verbose")
    assert load(agent, content)[0].verbose == 0
    with pytest.raises(ValueError, match="without verbose "):
        load(agent, content, env=single())


@pytest.mark.parametrize("agent", LEARNERS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", 0.25),
        ("learning_rate", 0.5),
        ("policy_kwargs", {"net_arch": [2]}),
        ("clip_range", schedule),
    ],
)
def test_arguments_of_load_replace_unreadable_attributes(
    name: str, value: Any, agent: Any
) -> None:
    content = saved(agent)
    for file in (foreign(content, name), edited_badly(content, name)):
        model = silently(agent, file, **{name: value})
        assert getattr(model, name) == value


LOST = "of the environment are lost: training does not continue bit for bit"


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    "packed", [UNKNOWN_CLASS, cloudpickle.dumps(UNKNOWN_CLASS), pickle.dumps(b"N.")]
)
def test_an_unreadable_training_state_is_lost_with_a_warning(
    packed: bytes, agent: Any
) -> None:
    content = foreign(saved(agent), "training_state", packed)
    model, (said,) = load(agent, content, env=single())
    assert (
        "object training_state." in said and "`custom_objects`" in said and LOST in said
    )
    assert model.learn(12, reset_num_timesteps=False).num_timesteps > 12
    silently(agent, content, custom_objects={"training_state": b""}).set_env(single())


@pytest.mark.parametrize("replay", ["returns", "v_trace"])
def test_an_unreadable_memory_is_lost_with_a_warning(replay: Any) -> None:
    model: Any = ActorCritic("MlpPolicy", single(), memory_size=40, replay=replay)
    file = io.BytesIO()
    model.learn(20).save(file)
    content = file.getvalue()
    assert (
        len(silently(ActorCritic, content).replay_memory)
        == len(model.replay_memory)
        == 20
    )
    unreadable = foreign(content, "replay_memory")
    model, (said,) = load(ActorCritic, unreadable, env=single())
    assert "The replay memory is empty" in said and len(model.replay_memory) == 0
    assert len(model.learn(20, reset_num_timesteps=False).replay_memory) == 20


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    "name",
    ["_last_obs", "_last_episode_starts", "_last_original_obs", "_episode_steps"],
)
def test_without_the_state_of_the_episode_the_environment_is_reset(
    name: str, agent: Any
) -> None:
    content = foreign(saved(agent), name)
    model, _ = load(agent, content, env=single())
    with pytest.warns(UserWarning, match=rf"{FRESH}{name} of the file can't be read"):
        model.learn(12, reset_num_timesteps=False)
    kept, _ = load(agent, content, env=single(), force_reset=False)
    with pytest.warns(UserWarning, match=FRESH):
        kept.learn(12, reset_num_timesteps=False)


EDITS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "one": (lambda d: d.update(gamma=0.75), "gamma changed"),
    "several": (lambda d: d.update(gamma=0.75, seed=4), "seed, gamma changed"),
    "removed": (lambda d: d.pop("gamma"), "gamma changed"),
    "added": (lambda d: d.update(extra=1), "extra changed"),
    "pickled": (
        lambda d: d.update(gamma=serialized(pickle.dumps(0.75))),
        "gamma changed",
    ),
    "removed and added": (
        lambda d: d.update(extra=d.pop("gamma")),
        "extra, gamma chan",
    ),
}


@pytest.mark.parametrize("agent", LEARNERS)
@pytest.mark.parametrize("kind", EDITS)
def test_edited_attributes_are_used_with_one_warning(kind: str, agent: Any) -> None:
    change, says = EDITS[kind]
    content = edited(saved(agent), change)
    model, (said,) = load(agent, content)
    assert said.startswith(f"the file: {says}")
    if "removed" in kind:
        assert is_the_default(agent, model, "gamma")
    elif kind != "added":
        assert model.gamma == 0.75
    assert hasattr(model, "extra") == ("added" in kind)
    custom = {"gamma": 0.25, "seed": 5, "extra": 2}
    assert silently(agent, content, custom_objects=custom).gamma == 0.25
    # The next file has a new manifest.
    file = io.BytesIO()
    model.save(file)
    silently(agent, file.getvalue())


@pytest.mark.parametrize("agent", AGENTS)
def test_the_layout_of_the_json_does_not_matter(agent: Any) -> None:
    def lay_out(entries: dict[str, bytes]) -> dict[str, bytes]:
        data = dict(reversed(json.loads(entries["data"]).items()))
        return {**entries, "data": json.dumps(data, indent=7).encode()}

    silently(agent, rewritten(saved(agent), lay_out))


def test_custom_objects_must_be_a_dict() -> None:
    not_dicts: list[Any] = [[], "learning_rate"]
    for given in not_dicts:
        for agent in (A2C, *AGENTS):
            with pytest.raises(ValueError, match=r"custom_objects .*must be a dict"):
                load(agent, saved(agent), custom_objects=given)
