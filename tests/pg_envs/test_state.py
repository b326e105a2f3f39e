"""get_state() and set_state(): the steps that follow are the same."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from pg_envs.env import TabularEnv
from pg_envs.state import digest
from pg_envs.torch_vector_env import TorchTabularVectorEnv
from pg_envs.vector_env import TabularVectorEnv
from tests.pg_envs.tabular_examples import random_mdp

MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]


def noisy(seed: int = 0) -> TabularEnv:
    return TabularEnv(random_mdp(seed, reward_noise="gaussian"))


def on_numpy(mode: AutoresetMode, n: int = 4, seed: int = 0) -> TabularVectorEnv:
    return TabularVectorEnv(noisy(seed), n, 5, mode)


def on_torch(mode: AutoresetMode, n: int = 4, seed: int = 0) -> TorchTabularVectorEnv:
    return TorchTabularVectorEnv(noisy(seed), n, "cpu", 5, mode)


def steps(env: Any, n: int = 40) -> list[Any]:
    """What is seen, by steps of a fixed choice of actions."""
    rng = np.random.default_rng(1)
    seen: list[Any] = []
    result: Any
    for _ in range(n):
        if isinstance(env, TabularEnv):
            result = env.step(rng.integers(4))
            seen.append(result[:4])
            if result[2]:
                seen.append(env.reset())
        else:
            result = env.step(rng.integers(4, size=env.num_envs))
            seen.append([np.asarray(part).tolist() for part in result[:4]])
    return seen


VECTOR: list[Callable[..., Any]] = [on_numpy, on_torch]


@pytest.mark.parametrize("made", [0, 13])
def test_a_single_environment_goes_on(made: int) -> None:
    env = noisy()
    env.reset(seed=3)
    steps(env, made)
    state = env.get_state()
    kept = copy.deepcopy(state)
    expected = steps(env)
    assert state == kept
    for other in (env, noisy()):
        other.set_state(pickle.loads(pickle.dumps(state)))
        assert steps(other) == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", VECTOR)
def test_vector_environments_go_on(
    make: Callable[..., Any], mode: AutoresetMode
) -> None:
    env = make(mode)
    env.reset(seed=3)
    # So many that one has just ended, which in NEXT_STEP decides on the next step.
    while not (np.asarray(env._done).any() and not np.asarray(env._done).all()):
        steps(env, 1)
    state = env.get_state()
    expected = steps(env)
    for other in (env, make(mode)):
        other.set_state(pickle.loads(pickle.dumps(state)))
        assert steps(other) == expected
    # And a whole reset goes on with the same random numbers.
    resets = []
    for other in (env, make(mode)):
        other.set_state(state)
        resets.append([np.asarray(other.reset()[0]).tolist() for _ in range(3)])
    assert resets[0] == resets[1]


@pytest.mark.parametrize("make", [noisy, *(lambda m=m: m(MODES[0]) for m in VECTOR)])
def test_the_state_before_a_reset_is_one_too(make: Callable[[], Any]) -> None:
    env, other = make(), make()
    other.set_state(env.get_state())
    with pytest.raises(gymnasium.error.ResetNeeded):
        other.step(0 if isinstance(env, TabularEnv) else np.zeros(4, np.int64))
    assert np.array_equal(env.reset()[0], other.reset()[0])


def test_the_picture_is_kept() -> None:
    env, other = (
        gymnasium.make_vec("PGToy-Sequence-v0", 2, render_mode="rgb_array")
        for _ in range(2)
    )
    env.reset(seed=0)
    env.step(np.array([1, 1]))
    other.unwrapped.set_state(env.unwrapped.get_state())  # type: ignore[attr-defined]
    pictures: Any = env.render(), other.render()
    assert np.array_equal(*pictures)
    env.close()
    other.close()


def changed(state: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**copy.deepcopy(state), name: value}


SINGLE_DAMAGE: list[tuple[Callable[[dict[str, Any]], Any], type[Exception], str]] = [
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


@pytest.mark.parametrize(("damage", "error", "says"), SINGLE_DAMAGE)
def test_a_single_environment_refuses_what_is_no_state_of_its_own(
    damage: Callable[[dict[str, Any]], Any], error: type[Exception], says: str
) -> None:
    env = noisy()
    env.reset(seed=3)
    env.step(np.int64(1))
    before = env.get_state()
    other = noisy()
    other.reset(seed=4)
    other.step(np.int64(1))
    with pytest.raises(error, match=says):
        env.set_state(damage(other.get_state()))
    assert env.get_state() == before


def with_column(s: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return changed(s, "columns", {**s["columns"], name: value})


VECTOR_DAMAGE: list[tuple[Callable[[dict[str, Any]], Any], type[Exception], str]] = [
    (lambda s: [], TypeError, "state must be a dict"),
    (lambda s: {}, ValueError, "state must have the parts"),
    (lambda s: changed(s, "num_envs", 5), ValueError, "its num_envs is 5"),
    (lambda s: changed(s, "max_episode_steps", None), ValueError, "max_episode_steps"),
    (lambda s: changed(s, "autoreset_mode", "x"), ValueError, "its autoreset_mode"),
    (lambda s: changed(s, "device", "cuda"), ValueError, "its device is 'cuda'"),
    (lambda s: changed(s, "columns", {}), ValueError, "must have the parts done, el"),
    (
        lambda s: with_column(s, "state", np.full(4, 6)),
        ValueError,
        r"\['columns'\]\['state'\] must be integers from 0 to 5",
    ),
    (
        lambda s: with_column(s, "elapsed", np.zeros(4)),
        ValueError,
        r"state\['elapsed'\] must be an array \[4\] of int64, got \[4\] float64",
    ),
    (
        lambda s: with_column(s, "done", np.zeros(3, np.bool_)),
        ValueError,
        r"state\['done'\] must be an array \[4\] of bool, got \[3\] bool",
    ),
    (lambda s: with_column(s, "returns", [0.0] * 4), ValueError, "got \\[0.0, 0.0"),
    (lambda s: changed(s, "generator", {"a": 1}), ValueError, "PCG64|parts numpy"),
]


@pytest.mark.parametrize(("damage", "error", "says"), VECTOR_DAMAGE)
@pytest.mark.parametrize("make", VECTOR)
def test_vector_environments_refuse_what_is_no_state_of_their_own(
    make: Callable[..., Any],
    damage: Callable[[dict[str, Any]], Any],
    error: type[Exception],
    says: str,
) -> None:
    env, other = make(MODES[0]), make(MODES[0])
    env.reset(seed=3)
    other.reset(seed=4)
    before = env.get_state()
    with pytest.raises(error, match=says):
        env.set_state(damage(other.get_state()))
    assert str(env.get_state()) == str(before)
    # The state as it was is taken.
    env.set_state(other.get_state())
    assert steps(env) == steps(other)


def test_torch_refuses_random_numbers_that_are_none() -> None:
    env = on_torch(MODES[0])
    env.reset(seed=3)
    state = env.get_state()
    for wrong in (None, np.zeros(3, np.uint8), np.zeros(3)):
        generator = {**state["generator"], "torch": wrong}
        with pytest.raises(ValueError, match=r"must be the state of a generator of to"):
            env.set_state({**state, "generator": generator})
    assert str(env.get_state()) == str(state)


def test_what_decides_what_happens_is_in_the_digest() -> None:
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
