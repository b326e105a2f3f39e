"""get_state() and set_state() of single tabular environments; digests of tables."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest

from pg_envs.state import digest
from pg_envs.tabular import TabularEnv
from tests.pg_envs.tabular_examples import random_mdp


def noisy(seed: int = 0) -> TabularEnv:
    return TabularEnv(random_mdp(seed, reward_noise="gaussian"))


def play(env: TabularEnv, n_steps: int = 40) -> list[Any]:
    rng = np.random.default_rng(1)
    results: list[Any] = []
    for _ in range(n_steps):
        step = env.step(rng.integers(4))
        results.append(step[:4])
        if step[2]:
            results.append(env.reset())
    return results


@pytest.mark.parametrize("n_before", [0, 13])
def test_a_state_continues_bit_for_bit(n_before: int) -> None:
    env = noisy()
    env.reset(seed=3)
    play(env, n_before)
    state = env.get_state()
    unchanged = copy.deepcopy(state)
    expected = play(env)
    assert state == unchanged
    for restored in (env, noisy()):
        restored.set_state(pickle.loads(pickle.dumps(state)))
        assert play(restored) == expected


def test_the_state_before_a_reset_is_a_state_too() -> None:
    env, other = noisy(), noisy()
    other.set_state(env.get_state())
    with pytest.raises(gymnasium.error.ResetNeeded):
        other.step(np.int64(0))
    assert env.reset()[0] == other.reset()[0]


def changed(s: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**copy.deepcopy(s), name: value}


DAMAGE: list[tuple[Callable[[dict[str, Any]], Any], type[Exception], str]] = [
    (lambda s: None, TypeError, "state must be a dict"),
    (lambda s: {**s, "more": 1}, ValueError, "state must have the parts"),
    (lambda s: {"mdp": s["mdp"]}, ValueError, "state must have the parts"),
    (lambda s: changed(s, "mdp", "0"), ValueError, "of another environment: its mdp"),
    (lambda s: changed(s, "state", 6), ValueError, r"state\['state'\] .* 0 to 5"),
    (lambda s: changed(s, "state", -1), ValueError, r"state\['state'\]"),
    (lambda s: changed(s, "state", True), ValueError, r"state\['state'\]"),
    (lambda s: changed(s, "state", 1.0), ValueError, r"state\['state'\]"),
    (lambda s: changed(s, "snapshot", None), ValueError, r"state\['snapshot'\]"),
    (lambda s: changed(s, "snapshot", {"state": 1}), ValueError, "fields of a Snap"),
    (lambda s: changed(s, "snapshot", 5), ValueError, "fields of a Snap"),
    (
        lambda s: changed(s, "snapshot", {**s["snapshot"], "action": 4}),
        ValueError,
        r"state\['snapshot'\] .* 0 to 3",
    ),
    (lambda s: changed(s, "generator", None), ValueError, "state of a PCG64"),
    (lambda s: changed(s, "generator", {}), ValueError, "state of a PCG64"),
    (
        lambda s: changed(s, "generator", np.random.MT19937(0).state),
        ValueError,
        "state of a PCG64",
    ),
]


@pytest.mark.parametrize(("damage", "error", "message"), DAMAGE)
def test_a_damaged_state_is_refused_and_changes_nothing(
    damage: Callable[[dict[str, Any]], Any], error: type[Exception], message: str
) -> None:
    env = noisy()
    env.reset(seed=3)
    env.step(np.int64(1))
    before = env.get_state()
    other = noisy()
    other.reset(seed=4)
    other.step(np.int64(1))
    with pytest.raises(error, match=message):
        env.set_state(damage(other.get_state()))
    assert env.get_state() == before


def test_the_digest_covers_everything_that_affects_episodes() -> None:
    mdp = random_mdp(0, reward_noise="gaussian")
    assert digest(mdp) == digest(random_mdp(0, reward_noise="gaussian"))
    flat = np.full_like(mdp.transition, 1 / 6)
    others = [
        random_mdp(1, reward_noise="gaussian"),
        replace(mdp, transition=flat),
        replace(mdp, reward=mdp.reward + 1),
        replace(mdp, terminal=~mdp.terminal),
        replace(mdp, initial_distribution=np.eye(6)[0]),
        replace(mdp, observations=np.eye(6, dtype=np.float32)),
        replace(mdp, reward_noise="none"),
        replace(mdp, noise_scale=0.31),
    ]
    digests = {digest(other) for other in (mdp, *others)}
    assert len(digests) == len(others) + 1
