"""Must hold 1: docs/sb3.md says all that A2C shows, and what we show in its place."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks import sb3_probe as probe
from benchmarks import sb3_runs as runs
from benchmarks.sb3_reasons import EXTRAS, REASONS
from benchmarks.sb3_table import (
    ALGORITHMS,
    MISSING,
    PAGE,
    SECTIONS,
    Section,
    extras,
    page,
    rows,
)
from pg_agents import ActorCritic

POLICIES = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")


def test_the_page_is_what_the_generator_prints() -> None:
    assert PAGE.read_text() == page(), "run `make sb3-table`"


def test_every_difference_has_a_reason_and_every_reason_a_difference() -> None:
    differing = {
        (section.group, row.name): row.reason
        for section in SECTIONS
        for row in rows(section)
        if row.differs
    }
    assert [name for name, reason in differing.items() if not reason] == []
    assert set(REASONS) == set(differing)


def test_all_that_a2c_does_not_have_is_explained() -> None:
    explained = extras()
    assert [name for name, text in explained.items() if not text] == []
    assert set(EXTRAS) <= set(explained)


def names_on_the_page() -> dict[str, set[str]]:
    """Returns the names in the first column of each section."""
    names: dict[str, set[str]] = {}
    for part in PAGE.read_text().split("\n## ")[1:]:
        title = part.splitlines()[0]
        names[title] = set(re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE))
    return names


def test_nothing_of_sb3s_is_left_out() -> None:
    """By other means than the generator's."""
    names = names_on_the_page()
    arguments = set(inspect.signature(A2C).parameters)
    assert arguments <= names["Arguments of the constructor"]
    model = A2C("MlpPolicy", "CartPole-v1", device="cpu")
    model.learn(5)
    public = {name for name in dir(model) if not name.startswith("_")}
    methods = {name for name in public if callable(getattr(A2C, name, None))}
    assert {f"{name}()" for name in methods} <= names["Methods and their arguments"]
    assert public - methods <= names["Attributes of a model"]
    for method in methods:
        for name, each in inspect.signature(getattr(A2C, method)).parameters.items():
            if name != "self" and each.kind is not each.VAR_KEYWORD:
                assert f"{method}({name})" in names["Methods and their arguments"]
    for policy in POLICIES:
        for name in inspect.signature(A2C.policy_aliases[policy]).parameters:
            known = name in ("observation_space", "action_space", "lr_schedule")
            assert known or f"{policy}({name})" in names["`policy_kwargs`"]
    hooks = {name for name in vars(BaseCallback) if name.startswith("_on")}
    assert {"_init_callback", *hooks} <= names["Callbacks: hooks and attributes"]
    buffer = {name for name in dir(model.rollout_buffer) if not name.startswith("_")}
    shown = names["The rollout buffer when it is full"]
    shown |= {name.removesuffix("()") for name in shown} | {"observations", "actions"}
    assert buffer <= shown


class NewerA2C(A2C):
    """What another release of SB3 could bring."""

    def __init__(self, *args: Any, new_argument: int = 3, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.new_attribute = new_argument

    def new_method(self, new_argument: int = 4) -> None: ...

    def train(self) -> None:
        super().train()
        self.logger.record("train/new_key", 1.0)


@pytest.mark.parametrize(
    ("look", "name", "cell"),
    [
        (probe.constructor, "new_argument", "3"),
        (probe.methods, "new_method()", "(new_argument)"),
        (probe.methods, "new_method(new_argument)", "4"),
        (probe.attributes, "new_attribute", "3"),
        (runs.logged, "train/new_key", "float"),
    ],
)
def test_what_a_new_release_brings_is_a_difference_without_a_reason(
    look: Any, name: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the tests above fail until somebody says what to do about it."""
    newer = (NewerA2C, *ALGORITHMS[1:])
    monkeypatch.setattr("benchmarks.sb3_table.ALGORITHMS", newer)
    (row,) = (row for row in rows(Section("new", "new", look)) if row.name == name)
    assert row.cells == (cell, MISSING, MISSING)
    assert row.differs
    assert row.reason == ""


def test_a2cs_arguments_come_first_in_its_order_and_mean_the_same() -> None:
    theirs = list(inspect.signature(A2C).parameters.values())
    ours = list(inspect.signature(ActorCritic).parameters.values())
    for their, our in zip(theirs, ours, strict=False):
        assert (our.name, our.kind) == (their.name, their.kind)
        assert our.default == their.default, our.name
    assert all(each.kind is each.KEYWORD_ONLY for each in ours[len(theirs) :])


# A2C writes the value beyond a time limit into the rewards, and gives the actions an
# axis, before the rollout ends; the terminal ones are left over: see the page.
NOT_COMPARED = {
    "_on_step": ("terminal_obs", "terminal_value"),
    "_on_rollout_end": ("terminal_obs", "terminal_value", "rewards", "actions"),
}


def seen_in(hook: str, name: str, action: str) -> Any:
    """Returns what ActorCritic's callback sees, in that step or once it is known.

    The buffer has values and log-probabilities of the rollout, which are None before.
    """
    ours = runs.witness(ActorCritic, action).seen[hook]
    if name == "log_probs" or (name, hook) == ("values", "_on_step"):
        assert ours[name] is None, "it is there: compare that"
        return getattr(ours["rollout_buffer"], name)[-1]
    return ours[name]


@pytest.mark.parametrize("hook", NOT_COMPARED)
@pytest.mark.parametrize("action", probe.ACTIONS)
def test_callbacks_of_both_see_the_same_numbers(hook: str, action: str) -> None:
    """Not types alone: from the same seed, every array in `locals` is equal."""
    compared = []
    for name, value in runs.witness(A2C, action).seen[hook].items():
        array = isinstance(value, np.ndarray | torch.Tensor)
        if array and name not in NOT_COMPARED[hook]:
            ours = np.asarray(seen_in(hook, name, action))
            if name == "values":
                # A2C's have an axis for the one number, the buffers of both have not.
                ours = ours.reshape(-1, 1)
            assert ours.shape == value.shape, name
            np.testing.assert_allclose(
                ours, np.asarray(value), 1e-4, 1e-6, err_msg=name
            )
            compared.append(name)
    assert {"values", "log_probs", "new_obs", "dones"} <= set(compared)


class Columns(BaseCallback):
    """Keeps copies of the buffer's columns when it is full."""

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        full = self.model.rollout_buffer  # type: ignore[attr-defined]
        names = ("observations", "actions", "rewards", "values", "log_probs")
        made = ("returns", "advantages", "episode_starts")
        self.columns = {name: np.array(getattr(full, name)) for name in (*names, *made)}


def test_the_buffers_of_both_read_the_same() -> None:
    read = []
    for algorithm in (A2C, ActorCritic):
        callback = Columns()
        probe.probe_model(algorithm).learn(2 * probe.N_ENVS * probe.N_STEPS, callback)
        read.append(callback.columns)
    theirs, ours = read
    # Time limits end all episodes but the last environment's, in the last row.
    limited = np.zeros((probe.N_STEPS, probe.N_ENVS), dtype=np.bool_)
    limited[-1, :-1] = True
    for name, column in theirs.items():
        assert ours[name].dtype == column.dtype, name
        if name == "rewards":
            assert (ours[name] != column)[limited].all()
            column[limited] = ours[name][limited]
        np.testing.assert_allclose(ours[name], column, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "seen"),
    [("MlpPolicy", "Box"), ("CnnPolicy", "image"), ("MultiInputPolicy", "Dict")],
)
def test_networks_by_name_are_sb3s(policy: str, seen: str) -> None:
    """The same weights, and the same values from them."""
    theirs, ours = (probe.probe_model(each, seen) for each in (A2C, ActorCritic))
    ours.policy.load_state_dict(theirs.policy.state_dict(), strict=True)
    observation = theirs.env.reset()
    values = [
        model.policy.predict_values(model.policy.obs_to_tensor(observation)[0])
        for model in (theirs, ours)
    ]
    torch.testing.assert_close(*values)


def test_sb3s_defaults_of_policy_kwargs_passed_by_hand_change_nothing() -> None:
    found = probe.method_parameters(A2C.policy_aliases["MlpPolicy"], "__init__")
    own = ("observation_space", "action_space", "lr_schedule", "use_sde")
    arguments = {name: p.default for name, p in found.items() if name not in own}
    after = []
    for given in (None, arguments):
        make: Any = ActorCritic
        model = make(
            "MlpPolicy",
            probe.probe_env(),
            use_rms_prop=False,
            policy_kwargs=given,
            seed=0,
        )
        model.learn(probe.N_ENVS * probe.N_STEPS)
        after.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert torch.equal(*after)
