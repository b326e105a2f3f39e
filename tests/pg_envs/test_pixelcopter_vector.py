"""The vector environments of Pixelcopter, on NumPy, on torch, and as on a GPU."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode

from pg_envs.make_torch import make_torch_vec
from pg_envs.pixelcopter import ID, LIMITED_ID
from pg_envs.pixelcopter_vector import PixelcopterVectorEnv
from pg_envs.torch_pixelcopter import TorchArrays, TorchPixelcopterVectorEnv
from tests.no_sync import NoSynchronisation
from tests.pg_envs.pixelcopter_players import careful

SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
MODES = [SAME, NEXT]


class LikeAGpu(TorchPixelcopterVectorEnv):
    """It may not look which episodes have ended."""

    def _make_arrays(self) -> Any:
        return TorchArrays(self.device)


def pickled(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))


KINDS = [PixelcopterVectorEnv, TorchPixelcopterVectorEnv, LikeAGpu]


def given(env: Any, values: Any) -> Any:
    """Actions or masks in the environment's own kind of array."""
    return torch.as_tensor(values) if "torch" in env.metadata else np.asarray(values)


def results(env: Any, n_steps: int = 60, seed: int = 0) -> list[Any]:
    rng, found = np.random.default_rng(seed), []
    for _ in range(n_steps):
        *parts, infos = env.step(given(env, rng.integers(2, size=env.num_envs)))
        found.append([p.tolist() for p in (*parts, *infos.values())])
    return found


@pytest.mark.parametrize("prefix", ["", "pg_envs:"])
@pytest.mark.parametrize(("env_id", "limit"), [(ID, None), (LIMITED_ID, 4000)])
def test_make_vec_is_native(env_id: str, limit: int | None, prefix: str) -> None:
    for mode in MODES:
        arguments: dict[str, Any] = {"autoreset_mode": mode, "reward_scheme": "course"}
        env = gymnasium.make_vec(prefix + env_id, num_envs=3, **arguments)
        assert isinstance(env, PixelcopterVectorEnv)
        assert env.metadata["autoreset_mode"] is mode
        assert env.max_episode_steps == limit
        assert env.reward_scheme == "course"
        seen, infos = env.reset(seed=0)
        assert seen in env.observation_space
        assert infos == {}
        env.close()


@pytest.mark.parametrize(("env_id", "limit"), [(ID, None), (LIMITED_ID, 4000)])
def test_make_torch_vec(env_id: str, limit: int | None) -> None:
    env: Any = make_torch_vec(env_id, 3, reward_scheme="course", check_actions=False)
    assert isinstance(env, TorchPixelcopterVectorEnv)
    assert env.metadata["torch"] is True
    assert env.metadata["reset_mask"] is True
    assert env.metadata["autoreset_mode"] is SAME
    assert (env.max_episode_steps, env.reward_scheme) == (limit, "course")
    assert not env.check_actions
    seen, _ = env.reset(seed=0)
    assert seen.dtype == torch.float32
    assert seen.numpy() in env.observation_space
    other: Any = make_torch_vec(env_id, 2, max_episode_steps=7)
    assert other.max_episode_steps == 7


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_the_results(kind: Any) -> None:
    env = kind(4, autoreset_mode=SAME)
    env.reset(seed=0)
    seen, rewards, terminated, truncated, _ = env.step(given(env, [0, 1, 1, 0]))
    library: Any = torch if "torch" in env.metadata else np
    assert (tuple(seen.shape), seen.dtype) == ((4, 7), library.float32)
    wanted = torch.float32 if library is torch else np.float64
    assert (tuple(rewards.shape), rewards.dtype) == ((4,), wanted)
    for flags in (terminated, truncated):
        assert (tuple(flags.shape), flags.dtype) == ((4,), library.bool)


@pytest.mark.parametrize("kind", KINDS)
def test_next_step_has_a_dummy_step_after_an_end(kind: Any) -> None:
    env = kind(5, max_episode_steps=20, autoreset_mode=NEXT)
    env.reset(seed=0)
    was_done, age = np.zeros(5, np.bool_), np.zeros(5, np.int64)
    n_dummies = 0
    for seen, rewards, terminated, truncated in results(env, 200):
        seen, rewards = np.array(seen), np.array(rewards)
        age = np.where(was_done, 0, age + 1)
        assert (seen[was_done, 0] == 24.0).all()
        assert (seen[was_done, 1] == 0.0).all()
        assert (rewards[was_done] == 0.0).all()
        assert (seen[~was_done, 1] != 0.0).all()
        assert not np.array(terminated)[was_done].any()
        assert np.array(truncated).tolist() == (age >= 20).tolist()
        n_dummies += int(was_done.sum())
        was_done = np.array(terminated) | np.array(truncated)
    assert n_dummies > 30


@pytest.mark.parametrize("kind", KINDS)
def test_same_step_restarts_and_says_what_was_seen_last(kind: Any) -> None:
    env = kind(5, max_episode_steps=20, autoreset_mode=SAME)
    env.reset(seed=0)
    age, n_ended, rng = np.zeros(5, np.int64), 0, np.random.default_rng(0)
    for _ in range(200):
        actions = given(env, rng.integers(2, size=5))
        seen, _, terminated, truncated, infos = env.step(actions)
        age += 1
        done = np.array((terminated | truncated).tolist())
        assert truncated.tolist() == (age >= 20).tolist()
        always = kind is not PixelcopterVectorEnv
        assert bool(infos) == (done.any() or always)
        if infos:
            assert set(infos) == {"final_obs", "_final_obs"}
            last, now = np.array(infos["final_obs"].tolist()), np.array(seen.tolist())
            assert infos["_final_obs"].tolist() == done.tolist()
            assert (last[~done] == now[~done]).all()
            assert (last[:, 1] != 0.0).all()
            assert (now[done][:, :2] == [24.0, 0.0]).all()
        age[done] = 0
        n_ended += int(done.sum())
    assert n_ended > 30


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_without_a_limit_nothing_is_truncated(kind: Any, mode: AutoresetMode) -> None:
    for limit in (None, -1):
        env = kind(3, max_episode_steps=limit, autoreset_mode=mode)
        assert env.max_episode_steps is None
        env.reset(seed=0)
        assert not any(any(step[3]) for step in results(env, 100))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_restarts_these_and_no_others(kind: Any) -> None:
    env = kind(4, max_episode_steps=12)
    before, _ = env.reset(seed=0)
    for _ in range(5):
        before = env.step(given(env, careful(before.tolist())))[0]
    mask = np.array([True, False, False, True])
    seen, _ = env.reset(options={"reset_mask": given(env, mask)})
    assert (seen[~mask] == before[~mask]).all()
    assert (seen[mask][:, 0] == 24.0).all()
    # Their time starts anew as well: two are truncated after 12 steps, two after 17.
    late = []
    for _ in range(7):
        seen, _, _, truncated, _ = env.step(given(env, careful(seen.tolist())))
        late.append(truncated.tolist())
    assert not any(map(any, late[:6]))
    assert late[6] == [False, True, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_lays_no_terrain_elsewhere(kind: Any) -> None:
    """Not even where a batch was laid in this very step, 222."""
    env = kind(2)
    env.reset(seed=0)
    env._copters.clock[:] = 221
    env.step(given(env, [1, 1]))
    assert env._copters.clock.tolist() == [222, 222]
    before = env._copters.corridors[1].tolist()
    env.reset(options={"reset_mask": given(env, [True, False])})
    assert env._copters.corridors[1].tolist() == before
    assert env._copters.clock.tolist() == [0, 222]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_same_seed_same_trajectory_and_a_copy_goes_on(kind: Any, copied: Any) -> None:
    runs = []
    for seed in (1, 1, 2):
        env, other = kind(3), kind(3)
        other.reset(seed=5)
        env.reset(seed=seed)
        results(other, 10)
        runs.append(results(env))
    assert runs[0] == runs[1] != runs[2]
    twin = copied(env)
    assert results(env) == results(twin)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_results_are_fresh(kind: Any, mode: AutoresetMode) -> None:
    env, twin = (kind(3, autoreset_mode=mode) for _ in range(2))
    env.reset(seed=0)[0][:] = 0
    twin.reset(seed=0)
    rng, kept = np.random.default_rng(0), []
    for _ in range(60):
        actions = rng.integers(2, size=3)
        *parts, infos = env.step(given(env, actions.copy()))
        *wanted, wanted_infos = twin.step(given(env, actions))
        mine = [*parts, *infos.values()]
        right = [*wanted, *wanted_infos.values()]
        assert [m.tolist() for m in mine] == [r.tolist() for r in right]
        for values in mine:
            values[:] = 1
        kept += mine
    assert len({id(values) for values in kept}) == len(kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_a_state_goes_on_bit_for_bit(kind: Any, mode: Any, render_mode: Any) -> None:
    made = {"max_episode_steps": 40, "autoreset_mode": mode, "render_mode": render_mode}
    env, other = kind(4, **made), kind(4, **made)
    env.reset(seed=3)
    results(env, 67)
    state = pickle.loads(pickle.dumps(env.get_state()))
    expected, later = results(env), str(env.get_state())
    for goes_on in (env, other):
        goes_on.set_state(state)
        assert results(goes_on) == expected
        assert str(goes_on.get_state()) == later


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_within_a_long_flight(kind: Any) -> None:
    """Where columns of two batches are at the player, and after a block was passed."""
    for clock in (221, 222, 260, 519, 815):
        env, other = kind(4), kind(4)
        env.reset(seed=3)
        env._copters.clock[:] = clock
        env._lay_terrain(env._done == 0) if clock in (222, 519) else None
        results(env, 3)
        other.set_state(env.get_state())
        assert results(env, 150) == results(other, 150)


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_before_a_reset_is_one_too(kind: Any) -> None:
    env, other = kind(2), kind(2)
    other.reset()
    other.set_state(env.get_state())
    with pytest.raises(ResetNeeded):
        other.step(given(env, [0, 0]))
    assert env.reset()[0].tolist() == other.reset()[0].tolist()


def changed(state: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**state, "columns": {**state["columns"], name: value}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda s: None, TypeError, "state must be a dict"),
        (lambda s: {**s, "num_envs": 3}, ValueError, "its num_envs is 3"),
        (lambda s: {**s, "reward_scheme": "?"}, ValueError, "its reward_scheme is"),
        (lambda s: {**s, "columns": {}}, ValueError, "state must have the parts"),
        (lambda s: changed(s, "done", np.zeros(2)), ValueError, r"array \[2\] of bool"),
        (lambda s: changed(s, "clock", np.array([-1, 0])), ValueError, "0 to 815"),
        (lambda s: {**s, "generator": 1}, ValueError, r"state\['generator'\]"),
    ],
)
def test_what_is_no_state_of_its_own_is_refused(
    kind: Any, damage: Any, error: type[Exception], says: str
) -> None:
    env, other = kind(2), kind(2)
    env.reset(seed=3)
    other.reset(seed=4)
    before = str(env.get_state())
    with pytest.raises(error, match=says):
        env.set_state(damage(other.get_state()))
    assert str(env.get_state()) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer >= 1, got 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be an integer >= 1, got 0"),
        ({"autoreset_mode": "Disabled"}, "NextStep, SameStep, got 'Disabled'"),
        ({"render_mode": "human"}, "render_mode must be .*got 'human'"),
        ({"reward_scheme": "mine"}, "reward_scheme must be .*got 'mine'"),
    ],
)
def test_wrong_arguments_are_refused(kind: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_actions_and_masks_are_refused(kind: Any) -> None:
    env, twin = kind(2), kind(2)
    for step in (env.step, env.step_unchecked):
        with pytest.raises(ResetNeeded, match=r"step\(\) was called before reset\(\)"):
            step(given(env, [0, 0]))
    with pytest.raises(ResetNeeded, match="before the first whole reset"):
        env.reset(options={"reset_mask": given(env, [True, False])})
    env.reset(seed=0)
    twin.reset(seed=0)
    for actions in ([0, 2], [0.0, 1.0], [0], [-1, 0]):
        with pytest.raises(InvalidAction):
            env.step(given(env, actions))
    with pytest.raises(ValueError, match=r"reset_mask must be \[2\] bool"):
        env.reset(options={"reset_mask": given(env, [1, 0])})
    assert results(env, 1) == results(twin, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [None, 9])
def test_a_step_as_on_a_gpu_waits_for_nothing(mode: Any, limit: int | None) -> None:
    env = LikeAGpu(4, max_episode_steps=limit, autoreset_mode=mode)
    env.reset(seed=0)
    actions = torch.tensor([0, 1, 1, 0])
    with NoSynchronisation():
        for _ in range(20):
            env.step_unchecked(actions)


def test_a_step_as_on_a_gpu_changes_no_tensor_for_another() -> None:
    """A CUDA graph computes in the same memory each time."""
    env = LikeAGpu(4)
    env.reset(seed=0)
    copters = env._copters
    parts = (copters.numbers, copters.clock, copters.corridors, env._elapsed)
    before = [part.data_ptr() for part in parts]
    results(env, 400)
    assert [part.data_ptr() for part in parts] == before


def test_frames_are_those_of_the_games() -> None:
    for kind in KINDS:
        env = kind(2, autoreset_mode=SAME, render_mode="rgb_array")
        assert kind(2).render() is None
        with pytest.raises(ResetNeeded, match=r"render\(\) was called before reset"):
            env.render()
        env.reset(seed=0)
        for _ in range(3):
            env.step(given(env, [0, 1]))
        first, second = env.render()
        assert (first.shape, first.dtype) == ((528, 480, 3), np.uint8)
        # One has climbed and one has fallen: white where the player is.
        high, low = (
            np.argwhere((frame[49:] == 255).all(2))[:, 0].min()
            for frame in (first, second)
        )
        assert high < low
        env.close()
