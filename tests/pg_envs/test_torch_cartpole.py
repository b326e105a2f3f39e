"""CartPole on torch beside Gymnasium's own, step by step."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode
from torch import Tensor

from pg_envs.cartpole_physics import ANGLE_LIMIT, X_LIMIT, CartPolePhysics
from pg_envs.make_torch import make_torch_vec
from pg_envs.torch_cartpole import TorchCartPoleVectorEnv
from tests.no_sync import NoSynchronisation

SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
MODES = [SAME, NEXT]


def balance(seen: Tensor) -> Tensor:
    """Pushes to where the pole falls: it stays up for good from a small start."""
    x, x_speed, theta, speed = seen.unbind(1)
    return (theta + 0.4 * speed + 0.02 * x + 0.06 * x_speed > 0).long()


def like_a_gpu(env: TorchCartPoleVectorEnv) -> TorchCartPoleVectorEnv:
    env._may_wait = False
    return env


def as_it_is(env: TorchCartPoleVectorEnv) -> TorchCartPoleVectorEnv:
    return env


def results(env: TorchCartPoleVectorEnv, n_steps: int = 60) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(2, (n_steps, env.num_envs), generator=generator)
    return [[part.tolist() for part in env.step(row)[:4]] for row in actions]


def singles(n: int, **arguments: Any) -> list[Any]:
    made = [gymnasium.make("CartPole-v1", **arguments) for _ in range(n)]
    for env in made:
        env.reset()
    return made


def align(single: Any, seen: Tensor) -> None:
    """Starts an episode of Gymnasium's where one of ours begins."""
    single.reset()
    single.unwrapped.state = seen.double().numpy()


@pytest.mark.parametrize("kind", [as_it_is, like_a_gpu])
@pytest.mark.parametrize("sutton_barto", [False, True])
def test_a_thousand_steps_are_those_of_gymnasium(
    kind: Callable[[TorchCartPoleVectorEnv], TorchCartPoleVectorEnv],
    sutton_barto: bool,
) -> None:
    """Across restarts, which are aligned.

    The pole is unstable: what float32 rounds away (1e-7) grows by e^4 a second, 50
    steps, hence the tolerance. A position closer to a limit than its error may end an
    episode a step apart: there is none with this seed.
    """
    env = kind(TorchCartPoleVectorEnv(4, sutton_barto_reward=sutton_barto))
    theirs = singles(4, sutton_barto_reward=sutton_barto)
    seen, _ = env.reset(seed=0)
    for single, start in zip(theirs, seen, strict=True):
        align(single, start)
    generator = torch.Generator().manual_seed(1)
    n_ended, worst = 0, 0.0
    limits = np.array([X_LIMIT, ANGLE_LIMIT])
    for _ in range(1000):
        actions = torch.randint(2, (4,), generator=generator)
        seen, rewards, terminated, truncated, infos = env.step(actions)
        for i, single in enumerate(theirs):
            wanted, pay, over, late, _ = single.step(int(actions[i]))
            error = np.abs(infos["final_obs"][i].numpy() - wanted).max()
            margin = np.abs(np.abs(single.unwrapped.state[[0, 2]]) - limits).min()
            assert error < margin
            worst = max(worst, float(error))
            flags = bool(terminated[i]), bool(truncated[i])
            assert (float(rewards[i]), *flags) == (pay, over, late)
            assert bool(infos["_final_obs"][i]) == (over or late)
            if over or late:
                n_ended += 1
                align(single, seen[i])
            else:
                assert torch.equal(seen[i], infos["final_obs"][i])
    assert n_ended > 100
    assert worst < 1e-4


def test_every_step_of_balanced_episodes_and_their_time_limit() -> None:
    """Aligned in every step: an error is that of one step, a few roundings."""
    env = TorchCartPoleVectorEnv(2)
    theirs = singles(2)
    seen, _ = env.reset(seed=0)
    for t in range(1, 1001):
        for single, before in zip(theirs, seen, strict=True):
            single.unwrapped.state = before.double().numpy()
        actions = balance(seen)
        seen, _, terminated, truncated, infos = env.step(actions)
        for i, single in enumerate(theirs):
            wanted, _, _, late, _ = single.step(int(actions[i]))
            np.testing.assert_allclose(infos["final_obs"][i], wanted, 1e-6, 1e-6)
            assert late == bool(truncated[i]) == (t % 500 == 0)
            if late:
                single.reset()
        assert not terminated.any()


@pytest.mark.parametrize("row", [0, 2])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_an_episode_ends_beyond_either_limit_on_either_side(
    row: int, side: float
) -> None:
    physics = CartPolePhysics(2, torch.device("cpu"))
    limit = X_LIMIT if row == 0 else ANGLE_LIMIT
    physics.rows[row] = side * limit * torch.tensor([0.999, 1.001])
    assert physics.advance(torch.tensor([0, 1])).tolist() == [False, True]


def test_spaces_and_metadata_are_those_of_gymnasium() -> None:
    env: Any = make_torch_vec("CartPole-v1", 3)
    theirs = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    assert isinstance(env, TorchCartPoleVectorEnv)
    assert env.single_observation_space == theirs.single_observation_space
    assert env.single_action_space == theirs.single_action_space
    assert env.observation_space == theirs.observation_space
    assert env.action_space == theirs.action_space
    assert env.metadata["torch"] is True
    assert env.metadata["reset_mask"] is True
    assert env.metadata["autoreset_mode"] is SAME
    assert env.max_episode_steps == 500
    seen, infos = env.reset(seed=0)
    assert seen.numpy() in env.observation_space
    assert infos == {}
    theirs.close()


def test_arguments_of_make_reach_the_environment() -> None:
    env: Any = make_torch_vec(
        "CartPole-v1",
        2,
        autoreset_mode="NextStep",
        max_episode_steps=-1,
        sutton_barto_reward=True,
        check_actions=False,
    )
    assert env.autoreset_mode is NEXT
    assert env.max_episode_steps is None
    assert env.sutton_barto_reward
    assert not env.check_actions


@pytest.mark.parametrize("kind", [as_it_is, like_a_gpu])
@pytest.mark.parametrize("mode", MODES)
def test_without_a_limit_nothing_is_truncated(mode: Any, kind: Any) -> None:
    env = kind(TorchCartPoleVectorEnv(1, max_episode_steps=-1, autoreset_mode=mode))
    seen, _ = env.reset(seed=0)
    for _ in range(600):
        seen, _, terminated, truncated, _ = env.step(balance(seen))
        assert not terminated.any()
        assert not truncated.any()


@pytest.mark.parametrize("kind", [as_it_is, like_a_gpu])
def test_next_step_has_a_dummy_step_after_an_end(kind: Any) -> None:
    env = kind(TorchCartPoleVectorEnv(3, max_episode_steps=20, autoreset_mode=NEXT))
    seen, _ = env.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    was_done, age = torch.zeros(3, dtype=torch.bool), torch.zeros(3)
    n_dummies = 0
    for _ in range(200):
        actions = torch.randint(2, (3,), generator=generator)
        seen, rewards, terminated, truncated, infos = env.step(actions)
        age = torch.where(was_done, 0, age + 1)
        assert infos == {}
        assert torch.equal(rewards, (~was_done).float())
        assert (seen[was_done].abs() < 0.05).all()
        assert not (terminated | truncated)[was_done].any()
        assert torch.equal(truncated, age >= 20)
        n_dummies += int(was_done.sum())
        was_done = terminated | truncated
    assert n_dummies > 20


@pytest.mark.parametrize("kind", [as_it_is, like_a_gpu])
def test_a_mask_restarts_these_and_no_others(kind: Any) -> None:
    env = kind(TorchCartPoleVectorEnv(4, max_episode_steps=12))
    env.reset(seed=0)
    for _ in range(5):
        before = env.step(torch.ones(4, dtype=torch.int64))[0]
    mask = torch.tensor([True, False, False, True])
    seen, _ = env.reset(options={"reset_mask": mask})
    assert torch.equal(seen[~mask], before[~mask])
    assert (seen[mask].abs() < 0.05).all()
    assert (seen[mask] != before[mask]).all()
    # Their time starts anew as well: two are truncated after 12 steps, two after 17.
    late = [env.step(balance(seen))[3].tolist() for _ in range(7)]
    assert not any(map(any, late[:6]))
    assert late[6] == [False, True, True, False]


@pytest.mark.parametrize("kind", [as_it_is, like_a_gpu])
def test_starts_are_uniform_within_their_bounds(kind: Any) -> None:
    """Of resets and of restarts; means within 4.5 standard errors, 16 of them.

    False alarms: one in 9,000 over the choice of the seed.
    """
    n = 50_000
    env = kind(TorchCartPoleVectorEnv(n, max_episode_steps=1))
    starts = [env.reset(seed=0)[0], env.step(torch.zeros(n, dtype=torch.int64))[0]]
    for seen in starts:
        assert seen.dtype == torch.float32
        assert float(seen.abs().max()) <= 0.05
        assert float(seen.abs().max()) > 0.0499
        # Variances of a uniform number u on [-1, 1] and of its square.
        u = seen.double() / 0.05
        assert (u.mean(0).abs() < 4.5 * (1 / 3 / n) ** 0.5).all()
        assert ((u**2).mean(0) - 1 / 3).abs().max() < 4.5 * (4 / 45 / n) ** 0.5
    correlations = torch.corrcoef(torch.cat(starts, dim=1).T).fill_diagonal_(0.0)
    assert float(correlations.abs().max()) < 4.5 / n**0.5


def unpickled(env: TorchCartPoleVectorEnv) -> TorchCartPoleVectorEnv:
    copied = pickle.loads(pickle.dumps(env))
    assert isinstance(copied, TorchCartPoleVectorEnv)
    return copied


@pytest.mark.parametrize("copied", [copy.deepcopy, unpickled])
def test_same_seed_same_trajectory_and_a_copy_goes_on_identically(copied: Any) -> None:
    runs = []
    for seed in (1, 1, 2):
        env, other = TorchCartPoleVectorEnv(3), TorchCartPoleVectorEnv(3)
        other.reset(seed=5)
        env.reset(seed=seed)
        results(other, 10)
        runs.append(results(env))
    assert runs[0] == runs[1] != runs[2]
    twin = copied(env)
    assert results(env) == results(twin)
    torch.manual_seed(0)
    env.reset(seed=1)
    assert results(env) == runs[0]


@pytest.mark.parametrize("mode", MODES)
def test_results_are_fresh(mode: AutoresetMode) -> None:
    env, twin = (TorchCartPoleVectorEnv(3, autoreset_mode=mode) for _ in range(2))
    kept = [env.reset(seed=0)[0]]
    twin.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        actions = torch.randint(2, (3,), generator=generator)
        *given, infos = env.step(actions)
        *expected, expected_infos = twin.step(actions.clone())
        fresh = [*given, *infos.values()]
        wanted = [*expected, *expected_infos.values()]
        for got, right in zip(fresh, wanted, strict=True):
            assert torch.equal(got, right)
        kept += fresh
        for tensor in [*fresh, actions]:
            tensor.fill_(1)
    assert len({tensor.data_ptr() for tensor in kept}) == len(kept)


@pytest.mark.parametrize("mode", MODES)
def test_a_state_goes_on_bit_for_bit(mode: AutoresetMode) -> None:
    env = TorchCartPoleVectorEnv(4, max_episode_steps=15, autoreset_mode=mode)
    env.reset(seed=3)
    while not (bool((env._elapsed == 0).any()) or bool(env._done.any())):
        results(env, 1)
    state = env.get_state()
    expected = results(env)
    other = TorchCartPoleVectorEnv(4, max_episode_steps=15, autoreset_mode=mode)
    for goes_on in (env, other):
        goes_on.set_state(pickle.loads(pickle.dumps(state)))
        assert results(goes_on) == expected


def test_the_state_before_a_reset_is_one_too() -> None:
    env, other = TorchCartPoleVectorEnv(2), TorchCartPoleVectorEnv(2)
    other.reset()
    other.set_state(env.get_state())
    with pytest.raises(ResetNeeded):
        other.step(torch.zeros(2, dtype=torch.int64))
    assert torch.equal(env.reset()[0], other.reset()[0])


def changed(state: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return {**state, "columns": {**state["columns"], name: value}}


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda s: None, TypeError, "state must be a dict"),
        (lambda s: {}, ValueError, "state must have the parts"),
        (lambda s: {**s, "num_envs": 3}, ValueError, "its num_envs is 3"),
        (lambda s: {**s, "environment": "?"}, ValueError, "its environment is"),
        (lambda s: {**s, "columns": {}}, ValueError, "must have the parts done, el"),
        (
            lambda s: changed(s, "x", np.zeros(2)),
            ValueError,
            r"state\['x'\] must be an array \[2\] of float32, got \[2\] float64",
        ),
        (
            lambda s: changed(s, "theta", np.full(2, np.nan, np.float32)),
            ValueError,
            r"\['theta'\] must be finite, got \[nan, nan\]",
        ),
        (lambda s: {**s, "generator": 1}, ValueError, "the state of a generator of to"),
    ],
)
def test_what_is_no_state_of_its_own_is_refused(
    damage: Any, error: type[Exception], says: str
) -> None:
    env, other = TorchCartPoleVectorEnv(2), TorchCartPoleVectorEnv(2)
    env.reset(seed=3)
    other.reset(seed=4)
    before = env.get_state()
    with pytest.raises(error, match=says):
        env.set_state(damage(other.get_state()))
    assert str(env.get_state()) == str(before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer >= 1, got 0"),
        ({"max_episode_steps": 0}, "max_episode_steps must be an integer >= 1, got 0"),
        ({"autoreset_mode": "Disabled"}, "NextStep, SameStep, got 'Disabled'"),
        ({"render_mode": "rgb_array"}, "must be None, .* no pictures, got 'rgb_array'"),
        ({"device": "cuda:99"}, "device must be one that torch can use here"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TorchCartPoleVectorEnv(**arguments)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 2], "integers from 0 to 1, got 0 to 2"),
        ([0.0, 1.0], r"2 integers, .* got shape \[2\] of torch.float32"),
        ([0], r"2 integers, one per environment, got shape \[1\]"),
    ],
)
def test_actions_outside_the_space_are_refused(actions: Any, message: str) -> None:
    env, twin = TorchCartPoleVectorEnv(2), TorchCartPoleVectorEnv(2)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidAction, match=message):
        env.step(torch.tensor(actions))
    assert results(env, 1) == results(twin, 1)


def test_what_comes_before_a_reset_is_refused() -> None:
    env = TorchCartPoleVectorEnv(2)
    for step in (env.step, env.step_unchecked):
        with pytest.raises(ResetNeeded, match=r"step\(\) was called before reset\(\)"):
            step(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ResetNeeded, match="before the first whole reset"):
        env.reset(options={"reset_mask": torch.tensor([True, False])})
    env.reset()
    with pytest.raises(ValueError, match=r"reset_mask must be \[2\] bool"):
        env.reset(options={"reset_mask": torch.tensor([1, 0])})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [-1, 9])
@pytest.mark.parametrize("sutton_barto", [False, True])
def test_a_step_as_on_a_gpu_waits_for_nothing(
    mode: AutoresetMode, limit: int, sutton_barto: bool
) -> None:
    env = like_a_gpu(
        TorchCartPoleVectorEnv(
            4,
            max_episode_steps=limit,
            autoreset_mode=mode,
            sutton_barto_reward=sutton_barto,
        )
    )
    env.reset(seed=0)
    actions = torch.tensor([0, 1, 1, 0])
    with NoSynchronisation():
        for _ in range(20):
            env.step_unchecked(actions)
