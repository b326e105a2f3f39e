"""What all vector environments have in common, on every backend."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode

from pg_envs import TorchCartPoleVectorEnv, make_torch_vec
from tests.pg_envs.vector.kinds import (
    COPIES,
    KINDS,
    MODES,
    NEXT,
    RENDERED_KINDS,
    SAME,
    TORCH_KINDS,
    as_array,
    make,
    pickled,
    results,
)
from tests.stand_in import DEVICES, StandIn, context_of

every_kind = pytest.mark.parametrize("kind", KINDS)
every_mode = pytest.mark.parametrize("mode", MODES)


@every_kind
@every_mode
def test_metadata_and_spaces(kind: str, mode: AutoresetMode) -> None:
    env = make(kind, 3, autoreset_mode=mode.value)
    other = make(kind, 3)
    assert env.autoreset_mode is env.metadata["autoreset_mode"] is mode
    assert env.metadata["reset_mask"] is True
    assert env.metadata is not other.metadata
    assert ("torch" in env.metadata) == (kind in TORCH_KINDS)
    assert (env.single_action_space.n,) * 3 == tuple(env.action_space.nvec)
    obs, infos = env.reset(seed=0)
    assert infos == {}
    assert np.asarray(obs) in env.observation_space


@every_kind
@every_mode
def test_shapes_and_dtypes(kind: str, mode: AutoresetMode) -> None:
    env = make(kind, 4, autoreset_mode=mode)
    library: Any = torch if kind in TORCH_KINDS else np
    obs, _ = env.reset(seed=0)
    is_index = obs.dtype == library.int64
    assert is_index or obs.dtype == library.float32
    for _ in range(30):
        next_obs, rewards, *flags, infos = env.step(as_array(env, [0, 1, 1, 0]))
        observations = [next_obs, *(infos[k] for k in infos if k == "final_obs")]
        flags += [infos[k] for k in infos if k == "_final_obs"]
        assert {(o.shape, o.dtype) for o in observations} == {(obs.shape, obs.dtype)}
        reward_dtype = torch.float32 if library is torch else np.float64
        assert (tuple(rewards.shape), rewards.dtype) == ((4,), reward_dtype)
        bool_dtype = torch.bool if library is torch else np.bool_
        for array in flags:
            assert (tuple(array.shape), array.dtype) == ((4,), bool_dtype)
        if library is torch:
            tensors = [*observations, rewards, *flags]
            assert not any(t.requires_grad for t in tensors)
            assert {t.device.type for t in tensors} == {"cpu"}


DEVICE_IDS = [
    "CartPole-v1",
    "FrozenLake-v1",
    "PGToy-Bandit-v0",
    "PGToy-Sequence-v0",
    "PGToy-Pixelcopter-v0",
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("env_id", DEVICE_IDS)
@every_mode
def test_on_a_device_everything_stays_there(
    env_id: str, mode: AutoresetMode, device: str
) -> None:
    with context_of(device):
        env = make_torch_vec(env_id, 4, device, autoreset_mode=mode)
        obs, _ = env.reset(seed=0)
        actions = torch.zeros(4, dtype=torch.int64, device=device)
        *parts, infos = env.step(actions)
        found = (obs, *parts, *infos.values())
        assert {tensor.device.type for tensor in found} == {device}


@every_kind
def test_same_step_restarts_and_returns_the_final_observation(kind: str) -> None:
    """Also that a time limit truncates after exactly its steps."""
    env = make(kind, 5, max_episode_steps=12, autoreset_mode=SAME)
    env.reset(seed=0)
    twin = make(kind, 5, max_episode_steps=12, autoreset_mode=SAME)
    starts = {str(row) for row in twin.reset(seed=0)[0].tolist()}
    age, n_ended = np.zeros(5, np.int64), 0
    for obs, _, terminated, truncated, *infos in results(env, 100):
        age += 1
        done = np.array(terminated) | np.array(truncated)
        assert truncated == (age >= 12).tolist()
        assert bool(infos) == (kind in TORCH_KINDS or done.any())
        if infos:
            final_obs, mask = infos
            assert mask == done.tolist()
            running = np.flatnonzero(~done)
            assert [final_obs[i] for i in running] == [obs[i] for i in running]
        if "sequence" in kind:
            assert all(str(obs[i]) in starts for i in np.flatnonzero(done))
        age[done] = 0
        n_ended += int(done.sum())
    assert n_ended > 30


@every_kind
def test_next_step_has_a_dummy_step_after_an_end(kind: str) -> None:
    env = make(kind, 5, max_episode_steps=12, autoreset_mode=NEXT)
    env.reset(seed=0)
    was_done, age, n_dummies = np.zeros(5, np.bool_), np.zeros(5, np.int64), 0
    for _, rewards, terminated, truncated in results(env, 150):
        age = np.where(was_done, 0, age + 1)
        assert (np.array(rewards)[was_done] == 0.0).all()
        assert not np.array(terminated)[was_done].any()
        assert truncated == (age >= 12).tolist()
        n_dummies += int(was_done.sum())
        was_done = np.array(terminated) | np.array(truncated)
    assert n_dummies > 30


@every_kind
@every_mode
@pytest.mark.parametrize("limit", [None, -1])
def test_without_a_limit_nothing_is_truncated(
    kind: str, mode: AutoresetMode, limit: int | None
) -> None:
    env = make(kind, max_episode_steps=limit, autoreset_mode=mode)
    assert env.max_episode_steps is None
    env.reset(seed=0)
    assert not any(any(step[3]) for step in results(env, 100))


@every_kind
@every_mode
def test_a_mask_restarts_these_environments_only(
    kind: str, mode: AutoresetMode
) -> None:
    env = make(kind, 4, max_episode_steps=7, autoreset_mode=mode)
    env.reset(seed=0)
    mask = np.array([True, False, False, True])
    for n_steps in range(1, 20):
        obs = results(env, 1, seed=n_steps)[0][0]
        before = env.get_state()["columns"]
        masked, infos = env.reset(options={"reset_mask": as_array(env, mask)})
        after = env.get_state()["columns"]
        assert infos == {}
        assert [masked.tolist()[i] for i in (1, 2)] == [obs[i] for i in (1, 2)]
        for name in before:
            assert np.array_equal(before[name][~mask], after[name][~mask]), name
        assert after["elapsed"][mask].tolist() == [0, 0]
        assert after["done"][mask].tolist() == [False, False]


@every_kind
@every_mode
def test_results_are_fresh_arrays(kind: str, mode: AutoresetMode) -> None:
    """A caller that changes results or actions afterwards changes nothing else."""
    modes: Any = {"render_mode": "rgb_array"} if kind in RENDERED_KINDS else {}
    env = make(kind, autoreset_mode=mode, max_episode_steps=9, **modes)
    twin = make(kind, autoreset_mode=mode, max_episode_steps=9)
    env.reset(seed=0)[0][:] = 0
    twin.reset(seed=0)
    rng, arrays = np.random.default_rng(0), []
    for t in range(60):
        actions = as_array(env, rng.integers(2, size=3))
        expected = twin.step(actions + 0)
        *parts, infos = env.step(actions)
        fresh = [*parts, *infos.values()]
        for array, wanted in zip(
            fresh, [*expected[:4], *expected[4].values()], strict=True
        ):
            assert array.tolist() == wanted.tolist()
        if t % 10 == 9:
            mask = {"reset_mask": as_array(env, [True, False, True])}
            fresh.append(env.reset(options=mask)[0])
            twin.reset(options=mask)
        for array in [*fresh, actions]:
            array[:] = 1
        arrays += fresh
    address = (lambda a: a.data_ptr()) if kind in TORCH_KINDS else (lambda a: id(a))
    assert len({address(array) for array in arrays}) == len(arrays)


@every_kind
@pytest.mark.parametrize("make_copy", COPIES)
def test_seeds_and_copies(kind: str, make_copy: Any) -> None:
    """One seed is one trajectory, whatever else is drawn; a copy continues alike."""
    runs = []
    for seed in (1, 1, 2):
        env, other = make(kind), make(kind)
        other.reset(seed=5)
        first = env.reset(seed=seed)[0].tolist()
        results(other, 10)
        torch.manual_seed(seed)
        runs.append([first, results(env)])
    assert runs[0] == runs[1]
    assert (runs[0] != runs[2]) == ("sequence" not in kind)
    twin = make_copy(env)
    assert results(env) == results(twin)
    assert env.reset(seed=1)[0].tolist() == runs[0][0]
    assert results(env) == runs[0][1]


@pytest.mark.parametrize("seed", [-1, 1.5])
@every_kind
def test_a_wrong_seed_is_refused_as_gymnasium_does(kind: str, seed: Any) -> None:
    with pytest.raises(gymnasium.error.Error, match=f"Seed must .*{seed}|float"):
        make(kind).reset(seed=seed)


@every_kind
@every_mode
def test_a_state_continues_bit_for_bit(kind: str, mode: AutoresetMode) -> None:
    for render_mode in (None, "rgb_array") if kind in RENDERED_KINDS else (None,):
        arguments = {
            "max_episode_steps": 15,
            "autoreset_mode": mode,
            "render_mode": render_mode,
        }
        env, other = make(kind, 4, **arguments), make(kind, 4, **arguments)
        env.reset(seed=3)
        results(env, 10)
        for t in range(20):
            *_, terminated, truncated = results(env, 1, seed=t)[0][:4]
            # An episode has just ended, which NEXT_STEP has to remember.
            if any(terminated) or any(truncated):
                break
        state = pickled(env.get_state())
        expected, later = results(env), str(env.get_state())
        assert str(state) != later
        for restored in (env, other):
            restored.set_state(state)
            assert results(restored) == expected
            assert str(restored.get_state()) == later
        starts = []
        for restored in (env, other):
            restored.set_state(state)
            starts.append([restored.reset()[0].tolist() for _ in range(3)])
        assert starts[0] == starts[1]


@every_kind
def test_the_state_before_a_reset_is_a_state_too(kind: str) -> None:
    env, other = make(kind), make(kind)
    other.reset()
    other.set_state(env.get_state())
    with pytest.raises(ResetNeeded):
        other.step(as_array(env, [0, 0, 0]))
    assert env.reset()[0].tolist() == other.reset()[0].tolist()


def changed(state: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**state, "columns": {**state["columns"], name: value}}


@every_kind
@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda s: None, TypeError, "state must be a dict"),
        (lambda s: {}, ValueError, "state must have the parts"),
        (lambda s: {**s, "more": 1}, ValueError, "state must have the parts"),
        (lambda s: {**s, "num_envs": 5}, ValueError, "its num_envs is 5"),
        (lambda s: {**s, "environment": "?"}, ValueError, "its environment is"),
        (lambda s: {**s, "device": "cuda"}, ValueError, "its device is 'cuda'"),
        (lambda s: {**s, "max_episode_steps": 5}, ValueError, "its max_episode_steps"),
        (lambda s: {**s, "autoreset_mode": "x"}, ValueError, "its autoreset_mode is"),
        (lambda s: {**s, "columns": {}}, ValueError, "state must have the parts"),
        (lambda s: {**s, "columns": [1]}, TypeError, "state must be a dict"),
        (lambda s: {**s, "generator": 1}, ValueError, r"state\['generator'\] must be"),
        (lambda s: {**s, "generator": None}, ValueError, r"state\['generator'\]"),
        (
            lambda s: {**s, "generator": np.zeros(3, np.uint8)},
            ValueError,
            r"state\['generator'\] must be the state of a",
        ),
        (
            lambda s: changed(s, "elapsed", np.zeros(3)),
            ValueError,
            r"\['elapsed'\] must be an array \[3\] of int64, got \[3\] of float64",
        ),
        (
            lambda s: changed(s, "done", np.zeros(2, np.bool_)),
            ValueError,
            r"\['done'\] must be an array \[3\] of bool, got \[2\] of bool",
        ),
        (
            lambda s: changed(s, "returns", [0.0] * 3),
            ValueError,
            r"\['returns'\] must be an array \[3\] of float64, got \[0.0",
        ),
        (
            lambda s: changed(s, "returns", np.full(3, np.nan)),
            ValueError,
            r"\['returns'\] must be finite, got \[nan",
        ),
        (
            lambda s: changed(s, "last_actions", np.full(3, 4)),
            ValueError,
            r"\['last_actions'\] must be integers from 0 to [123], got \[4",
        ),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(
    kind: str, damage: Any, error: type[Exception], message: str
) -> None:
    env, other = make(kind), make(kind)
    env.reset(seed=3)
    other.reset(seed=4)
    before = str(env.get_state())
    with pytest.raises(error, match=message):
        env.set_state(damage(other.get_state()))
    assert str(env.get_state()) == before
    env.set_state(other.get_state())
    assert results(env, 10) == results(other, 10)


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("tabular", "state", np.full(3, 6), "integers from 0 to 5, got"),
        ("torch tabular", "state", np.full(3, -1), "integers from 0 to 5, got"),
        ("torch CartPole", "state", np.full((3, 4), np.nan, np.float32), "finite"),
        ("Pixelcopter", "clock", np.array([0, -1, 0]), "from 0 to 815, got"),
        ("torch Pixelcopter", "clock", np.array([816, 0, 0]), "from 0 to 815, got"),
        ("Pixelcopter", "centres", np.full((3, 61), 31.0), "from 18 to 30, got"),
        ("Pixelcopter", "centres", np.full((3, 61), 20.5), "integers from 18 to 30"),
        ("Pixelcopter", "y", np.full(3, np.inf), "must be finite"),
    ],
)
def test_impossible_columns_are_refused(
    kind: str, name: str, value: Any, message: str
) -> None:
    env = make(kind)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.set_state(changed(env.get_state(), name, value))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *[
            ({"num_envs": n}, f"num_envs must be an integer >= 1, got {n!r}")
            for n in (0, -1, 1.0, True, None)
        ],
        *[
            (
                {"max_episode_steps": n},
                f"max_episode_steps must be an integer >= 1, got {n!r}",
            )
            for n in (0, -2, 2.5)
        ],
        *[
            (
                {"autoreset_mode": mode},
                "autoreset_mode must be .*NextStep, SameStep, go",
            )
            for mode in (AutoresetMode.DISABLED, "Disabled", "same", None)
        ],
        ({"render_mode": "human"}, "render_mode must be one of None.* got 'human'"),
    ],
)
@every_kind
def test_wrong_arguments_are_refused(kind: str, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(kind, **arguments)


def test_wrong_devices_and_missing_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="device must be one that torch can use here"):
        TorchCartPoleVectorEnv(device="cuda:99")
    with pytest.raises(ValueError, match="render_mode must be one of None, got 'rgb"):
        TorchCartPoleVectorEnv(render_mode="rgb_array")


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 9], "integers from 0 to [123], got 0 to 9"),
        ([-1, 0], "integers from 0 to [123], got -1 to 0"),
        ([0.0, 1.0], r"2 integers, .* got shape \[2\] of (torch.)?float64"),
        ([0], r"2 integers, one per environment, got shape \[1\]"),
        ([[0, 1]], r"2 integers, .* got shape \[1, 2\]"),
        (1, r"2 integers, .* got shape \[\]"),
        ([True, False], "2 integers, .* of (torch.)?bool"),
        ([1j, 0j], "2 integers, .* of (torch.)?complex128"),
    ],
)
@every_kind
def test_wrong_actions_are_refused_and_change_nothing(
    kind: str, actions: Any, message: str
) -> None:
    env, twin = make(kind, 2), make(kind, 2)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidAction, match=message):
        env.step(as_array(env, actions))
    assert results(env, 5) == results(twin, 5)


@every_kind
def test_every_kind_of_integer_is_an_action(kind: str) -> None:
    modes: Any = {"render_mode": "rgb_array"} if kind in RENDERED_KINDS else {}
    expected = None
    for dtype in (np.int64, np.int32, np.int16, np.int8, np.uint8, list):
        env = make(kind, **modes)
        env.reset(seed=0)
        actions: Any = [1, 1, 0]
        if dtype is not list:
            actions = as_array(env, np.array(actions, dtype))
        result = [part.tolist() for part in env.step(actions)[:4]]
        result.append(str(env.get_state()))
        expected = expected or result
        assert result == expected


@pytest.mark.parametrize("kind", ["torch tabular", "torch CartPole"])
def test_actions_are_not_checked_on_request(kind: str) -> None:
    env = make(kind, 2, check_actions=False)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="2 integers"):
        env.step(torch.tensor([0.0, 0.0]))
    if kind == "torch CartPole":
        env.step(torch.tensor([3, 0]))


@every_kind
def test_calls_before_a_reset_are_refused(kind: str) -> None:
    modes: Any = {"render_mode": "rgb_array"} if kind in RENDERED_KINDS else {}
    env = make(kind, 2, **modes)
    mask = {"reset_mask": as_array(env, [True, False])}
    for step in (env.step, env.step_unchecked):
        with pytest.raises(ResetNeeded, match=r"step\(\) was called before reset\(\)"):
            step(as_array(env, [0, 0]))
    with pytest.raises(ResetNeeded, match=r"before the first full reset\(\)"):
        env.reset(options=mask)
    if modes:
        with pytest.raises(ResetNeeded, match=r"render\(\) was called before reset"):
            env.render()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([True], r"\[2\] bool, got \[1\] bool"),
        ([1, 0], r"\[2\] bool, got \[2\] int64"),
        ([[True, False]], r"\[2\] bool, got \[1, 2\] bool"),
    ],
)
@every_kind
def test_a_wrong_mask_is_refused_and_changes_nothing(
    kind: str, mask: Any, message: str
) -> None:
    env, twin = make(kind, 2), make(kind, 2)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(ValueError, match=f"reset_mask must be {message}"):
        env.reset(seed=5, options={"reset_mask": as_array(env, mask)})
    assert results(env, 10) == results(twin, 10)


@pytest.mark.parametrize("env_id", DEVICE_IDS)
@every_mode
@pytest.mark.parametrize("limit", [None, 9])
def test_the_host_never_waits_for_a_step_on_a_device(
    env_id: str, mode: AutoresetMode, limit: int | None
) -> None:
    with StandIn() as device:
        env = make_torch_vec(
            env_id, 4, "meta", max_episode_steps=limit, autoreset_mode=mode
        )
        env.reset(seed=0)
        actions = torch.tensor([0, 1, 1, 0], device="meta")
        n_waits = len(device.waits)
        for _ in range(20):
            env.step_unchecked(actions)
        assert device.waits[n_waits:] == []


@every_kind
def test_rendering_needs_a_mode(kind: str) -> None:
    env = make(kind)
    env.reset(seed=0)
    assert env.render() is None
    env.close()
