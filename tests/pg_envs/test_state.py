"""Seeds, copies and states of single environments; digests of tables."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from pg_envs.pixelcopter import PixelcopterEnv
from pg_envs.state import digest
from pg_envs.tabular import TabularEnv
from tests.pg_envs.pixelcopter.players import careful
from tests.pg_envs.tabular_examples import random_mdp

KINDS: dict[str, Callable[[], Any]] = {
    "tabular": lambda: TabularEnv(random_mdp(0, reward_noise="gaussian")),
    "Pixelcopter": PixelcopterEnv,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def play(env: Any, n_steps: int = 300) -> list[Any]:
    """Results of random actions, restarting after every end.

    A careful player with errors flies Pixelcopter, in games of hundreds of steps.
    """
    rng, results = np.random.default_rng(0), []
    flies = isinstance(env, PixelcopterEnv)
    obs: Any = env._observe() if flies else None
    for _ in range(n_steps):
        action = rng.integers(env.action_space.n)
        if flies and rng.random() < 0.98:
            action = careful(obs[None])[0]
        obs, *others, _ = env.step(action)
        results.append([np.asarray(obs).tolist(), *others])
        if others[1]:
            obs, _ = env.reset()
            results.append(np.asarray(obs).tolist())
    return results


@every_kind
def test_one_seed_is_one_trajectory(kind: str) -> None:
    runs = []
    for seed in (1, 1, 2):
        env = KINDS[kind]()
        first, _ = env.reset(seed=seed)
        runs.append([np.asarray(first).tolist(), play(env)])
    assert runs[0] == runs[1] != runs[2]
    # Another seed starts over; a reset without one continues.
    env.reset(seed=1)
    assert play(env) == runs[0][1]
    env.reset()
    assert play(env) != runs[0][1]


@every_kind
@pytest.mark.parametrize("make_copy", [copy.deepcopy, pickled])
def test_a_copy_continues_identically(kind: str, make_copy: Any) -> None:
    env = KINDS[kind]()
    env.reset(seed=3)
    play(env, 50)
    twin = make_copy(env)
    assert play(env) == play(twin)


@every_kind
@pytest.mark.parametrize("n_before", [0, 50, 222, 600])
def test_a_state_continues_bit_for_bit(kind: str, n_before: int) -> None:
    """Columns of Pixelcopter are laid at step 222 of a flight."""
    env = KINDS[kind]()
    env.reset(seed=5)
    play(env, n_before)
    state = env.get_state()
    unchanged = str(state)
    expected = play(env)
    assert str(state) == unchanged
    for restored in (env, KINDS[kind]()):
        restored.set_state(pickled(state))
        assert str(restored.get_state()) == unchanged
        assert play(restored) == expected


@every_kind
def test_states_before_a_reset_and_after_an_end(kind: str) -> None:
    env, other = KINDS[kind](), KINDS[kind]()
    other.reset(seed=0)
    other.set_state(env.get_state())
    with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
        other.step(0)
    assert np.array_equal(env.reset()[0], other.reset()[0])
    while not env.step(0)[2]:
        pass
    other.set_state(env.get_state())
    for each in (env, other):
        with pytest.raises(ResetNeeded, match="terminated=True"):
            each.step(0)
    assert np.array_equal(env.reset()[0], other.reset()[0])


def changed(s: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**copy.deepcopy(s), name: value}


def column(s: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**s, "columns": {**s["columns"], name: value}}


DAMAGE: list[tuple[str, Callable[[dict[str, Any]], Any], type[Exception], str]] = [
    *(
        (kind, damage, error, message)
        for kind in KINDS
        for damage, error, message in (
            (lambda s: None, TypeError, "state must be a dict"),
            (lambda s: {**s, "more": 1}, ValueError, "state must have the parts"),
            (lambda s: {}, ValueError, "state must have the parts"),
            (lambda s: changed(s, "generator", None), ValueError, "state of a PCG64"),
            (
                lambda s: changed(s, "generator", np.random.MT19937(0).state),
                ValueError,
                "state of a PCG64",
            ),
        )
    ),
    *(
        ("tabular", lambda s, n=name, v=value: changed(s, n, v), ValueError, message)
        for name, value, message in (
            ("mdp", "0", "of another environment: its mdp"),
            ("state", 6, r"state\['state'\] .* 0 to 5"),
            ("state", -1, r"state\['state'\]"),
            ("state", True, r"state\['state'\]"),
            ("state", 1.0, r"state\['state'\]"),
            ("snapshot", None, r"state\['snapshot'\]"),
            ("snapshot", {"state": 1}, "fields of a Snap"),
            ("snapshot", 5, "fields of a Snap"),
        )
    ),
    (
        "tabular",
        lambda s: changed(s, "snapshot", {**s["snapshot"], "action": 4}),
        ValueError,
        r"state\['snapshot'\] .* 0 to 3",
    ),
    *(
        ("Pixelcopter", lambda s, n=name, v=value: {**s, n: v}, ValueError, message)
        for name, value, message in (
            ("reward_scheme", "course", "its reward_scheme"),
            ("is_flying", 1, r"\['is_flying'\] must be a bool"),
            ("columns", None, "False while .* is None"),
            ("steps", "x", "must be numbers, got 'x'"),
        )
    ),
    (
        "Pixelcopter",
        lambda s: column(s, "clock", np.array([816])),
        ValueError,
        "0 to 815, got",
    ),
]


@pytest.mark.parametrize(("kind", "damage", "error", "message"), DAMAGE)
def test_a_damaged_state_is_refused_and_changes_nothing(
    kind: str, damage: Any, error: type[Exception], message: str
) -> None:
    env, other = KINDS[kind](), KINDS[kind]()
    env.reset(seed=3)
    env.step(1)
    other.reset(seed=4)
    other.step(1)
    before = str(env.get_state())
    with pytest.raises(error, match=message):
        env.set_state(damage(other.get_state()))
    assert str(env.get_state()) == before


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
