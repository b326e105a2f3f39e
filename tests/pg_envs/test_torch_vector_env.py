from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray

from pg_envs.bandit import bandit_mdp
from pg_envs.env import TabularEnv
from pg_envs.make_torch import make_torch_vec
from pg_envs.mdp import TabularMDP
from pg_envs.sequence import SequenceEnv, sequence_mdp
from pg_envs.torch_vector_env import TorchTabularVectorEnv
from pg_envs.vector_env import TabularVectorEnv
from tests.pg_envs.tabular_examples import (
    ALL_FORMS,
    BANDIT,
    SEQUENCE,
    Floats,
    assert_bernoulli,
    assert_frequencies,
    assert_gaussian,
    feed_single,
    feed_vector,
    random_mdp,
    two_step_mdp,
)

SAME, NEXT = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
MODES = [SAME, NEXT]
T, F = True, False


def _torch_env(
    mdp: TabularMDP,
    num_envs: int,
    limit: int | None = None,
    mode: AutoresetMode = SAME,
    device: str = "cpu",
) -> TorchTabularVectorEnv:
    return TorchTabularVectorEnv(TabularEnv(mdp), num_envs, device, limit, mode)


def _unpickled(env: TorchTabularVectorEnv) -> TorchTabularVectorEnv:
    copied = pickle.loads(pickle.dumps(env))
    assert isinstance(copied, TorchTabularVectorEnv)
    return copied


# The same draws give the same states.


@dataclass
class Played:
    """What N environments gave in T steps; every array is `[T, N]`, starts `[N]`."""

    starts: NDArray[np.int64]
    seen: NDArray[np.int64]
    last_seen: NDArray[np.int64]
    rewards: Floats
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    @classmethod
    def empty(cls, n_steps: int, n_envs: int) -> Played:
        shape = (n_steps, n_envs)
        return cls(
            starts=np.zeros(n_envs, dtype=np.int64),
            seen=np.zeros(shape, dtype=np.int64),
            last_seen=np.zeros(shape, dtype=np.int64),
            rewards=np.zeros(shape),
            terminated=np.zeros(shape, dtype=np.bool_),
            truncated=np.zeros(shape, dtype=np.bool_),
        )


@dataclass
class Script:
    """The actions `[T, N]` and the draws: `[1, N]` to start, `[T, rows, N]` after."""

    actions: NDArray[np.int64]
    starts: Floats
    draws: Floats

    @classmethod
    def random(cls, seed: int, mdp: TabularMDP, n_steps: int, n_envs: int) -> Script:
        rng = np.random.default_rng(seed)
        rows = 2 if mdp.reward_noise == "none" else 4
        actions = rng.integers(mdp.n_actions, size=(n_steps, n_envs))
        return cls(
            actions, rng.random((1, n_envs)), rng.random((n_steps, rows, n_envs))
        )


def _play_singles(
    mdp: TabularMDP, script: Script, limit: int, mode: AutoresetMode
) -> Played:
    """Plays every environment alone, restarted by hand as the mode says."""
    n_steps, n_envs = script.actions.shape
    played = Played.empty(n_steps, n_envs)
    for i in range(n_envs):
        bare = TabularEnv(mdp)
        env = TimeLimit(bare, limit)
        feed_single(bare, script.starts[0, i])
        played.starts[i] = env.reset()[0]
        ended = False
        for t, action in enumerate(script.actions[:, i]):
            transition, restart, *noise = script.draws[t, :, i]
            if ended and mode is NEXT:
                feed_single(bare, restart)
                played.seen[t, i] = env.reset()[0]
                ended = False
                continue
            feed_single(bare, [transition, *noise])
            seen, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            played.seen[t, i] = played.last_seen[t, i] = seen
            played.rewards[t, i] = reward
            played.terminated[t, i], played.truncated[t, i] = terminated, truncated
            if ended and mode is SAME:
                feed_single(bare, restart)
                played.seen[t, i] = env.reset()[0]
    return played


def _play_vector(env: TabularVectorEnv, script: Script) -> Played:
    """Plays all environments at once."""
    n_steps, n_envs = script.actions.shape
    played = Played.empty(n_steps, n_envs)
    on_torch = isinstance(env, TorchTabularVectorEnv)
    convert: Callable[[Any], Any] = torch.as_tensor if on_torch else np.asarray
    feed_vector(env, [script.starts, *script.draws], convert)
    played.starts[:] = env.reset()[0]
    actions = convert(script.actions)
    for t in range(n_steps):
        seen, rewards, terminated, truncated, infos = env.step(actions[t])
        played.seen[t] = seen
        played.rewards[t] = rewards
        played.terminated[t], played.truncated[t] = terminated, truncated
        if env.autoreset_mode is SAME:
            final = infos["final_obs"] if "final_obs" in infos else seen
            played.last_seen[t] = final
            mask = infos.get("_final_obs", np.zeros(n_envs, dtype=np.bool_))
            np.testing.assert_array_equal(mask, terminated | truncated)
    return played


SAME_DRAWS: list[tuple[str, TabularMDP, int, int]] = [
    ("dense", random_mdp(1), 10_000, 25),
    ("gaussian", random_mdp(2, reward_noise="gaussian"), 2_000, 25),
    ("bernoulli", random_mdp(3, reward_noise="bernoulli"), 2_000, 25),
    ("sequence", sequence_mdp(observation="index"), 10_000, 9),
    ("bandit", bandit_mdp(observation="index"), 1_000, 100),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("mdp", "n_steps", "limit"),
    [case[1:] for case in SAME_DRAWS],
    ids=[case[0] for case in SAME_DRAWS],
)
def test_same_draws_same_states_in_all_three(
    mdp: TabularMDP, n_steps: int, limit: int, mode: AutoresetMode
) -> None:
    script = Script.random(0, mdp, n_steps, 2)
    alone = _play_singles(mdp, script, limit, mode)
    numpy_env = TabularVectorEnv(TabularEnv(mdp), 2, limit, mode)
    on_numpy = _play_vector(numpy_env, script)
    on_torch = _play_vector(_torch_env(mdp, 2, limit, mode), script)
    names = ["starts", "seen", "terminated", "truncated"]
    for name in [*names, "last_seen"] if mode is SAME else names:
        wanted = getattr(alone, name)
        np.testing.assert_array_equal(getattr(on_numpy, name), wanted)
        np.testing.assert_array_equal(getattr(on_torch, name), wanted)
    if mdp.reward_noise == "gaussian":
        # Logarithm and cosine differ in the last digit between scalar and batch.
        np.testing.assert_allclose(on_numpy.rewards, alone.rewards, rtol=1e-12)
        np.testing.assert_allclose(on_torch.rewards, alone.rewards, 1e-6, 1e-6)
    else:
        np.testing.assert_array_equal(on_numpy.rewards, alone.rewards)
        single_precision = alone.rewards.astype(np.float32)
        np.testing.assert_array_equal(on_torch.rewards, single_precision)
    # The comparison is worth something: episodes end both ways, and in both at once.
    assert alone.truncated.any()
    if mdp.terminal.any():
        assert (alone.terminated & ~alone.truncated).any()
    if n_steps == 10_000:
        assert (alone.terminated & alone.truncated).any()


# By hand: staggered ends, with the numbers of `test_vector_env`.

LOW, HIGH = 0.25, 0.75
ACTIONS = [[0, 1, 0], [0, 1, 0], [1, 1, 0]]
BLOCKS = [
    np.array([[HIGH, LOW, LOW]]),
    np.array([[0.5] * 3, [LOW, LOW, LOW]]),
    np.array([[0.5] * 3, [LOW, HIGH, HIGH]]),
    np.array([[0.5] * 3, [HIGH, HIGH, LOW]]),
]


def _played(mode: AutoresetMode) -> list[tuple[Any, ...]]:
    env = _torch_env(two_step_mdp(), 3, 3, mode)
    feed_vector(env, BLOCKS, torch.as_tensor)
    observations, infos = env.reset()
    assert observations.tolist() == [[1.0], [0.0], [0.0]]
    assert infos == {}
    return [env.step(torch.tensor(actions)) for actions in ACTIONS]


def test_same_step_by_hand() -> None:
    results = _played(SAME)
    assert [r[0].ravel().tolist() for r in results] == [
        [2.0, 0.0, 1.0],
        [0.0, 0.0, 2.0],
        [0.0, 1.0, 0.0],
    ]
    assert [r[1].tolist() for r in results] == [
        [1.0, -1.0, 1.0],
        [10.0, -1.0, 1.0],
        [-1.0, -1.0, 10.0],
    ]
    assert [r[2].tolist() for r in results] == [[F, F, F], [T, F, F], [F, F, T]]
    assert [r[3].tolist() for r in results] == [[F, F, F], [F, F, F], [F, T, T]]
    # In every step: nobody asks the device whether an episode has ended.
    assert [r[4]["_final_obs"].tolist() for r in results] == [
        [F, F, F],
        [T, F, F],
        [F, T, T],
    ]
    assert [r[4]["final_obs"].ravel().tolist() for r in results] == [
        [2.0, 0.0, 1.0],
        [2.0, 0.0, 2.0],
        [0.0, 0.0, 2.0],
    ]


def test_next_step_by_hand() -> None:
    results = _played(NEXT)
    assert [r[0].ravel().tolist() for r in results] == [
        [2.0, 0.0, 1.0],
        [2.0, 0.0, 2.0],
        [1.0, 0.0, 2.0],
    ]
    assert [r[1].tolist() for r in results] == [
        [1.0, -1.0, 1.0],
        [10.0, -1.0, 1.0],
        [0.0, -1.0, 10.0],
    ]
    assert [r[2].tolist() for r in results] == [[F, F, F], [T, F, F], [F, F, T]]
    assert [r[3].tolist() for r in results] == [[F, F, F], [F, F, F], [F, T, T]]
    assert [r[4] for r in results] == [{}] * 3


@pytest.mark.parametrize("convert", [torch.as_tensor, np.asarray])
def test_reset_mask_by_hand(convert: Callable[[Any], Any]) -> None:
    env = _torch_env(two_step_mdp(), 3, 3, NEXT)
    blocks = [*BLOCKS[:3], np.array([[HIGH] * 3]), BLOCKS[3]]
    feed_vector(env, blocks, torch.as_tensor)
    env.reset()
    for actions in ACTIONS[:2]:
        env.step(torch.tensor(actions))
    seen, _ = env.reset(options={"reset_mask": convert([True, False, False])})
    assert seen.ravel().tolist() == [1.0, 0.0, 2.0]
    seen, rewards, terminated, truncated, _ = env.step(torch.tensor([0, 1, 1]))
    assert seen.ravel().tolist() == [2.0, 0.0, 2.0]
    assert rewards.tolist() == [1.0, -1.0, -1.0]
    assert terminated.tolist() == [F, F, F]
    assert truncated.tolist() == [F, T, T]


DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("form", "shape", "dtype"),
    [
        ("scalar", (4, 1), torch.float32),
        ("one_hot", (4, 3), torch.float32),
        ("index", (4,), torch.int64),
    ],
)
def test_everything_is_a_tensor_on_the_device(
    form: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    mode: AutoresetMode,
    device: str,
) -> None:
    env = make_torch_vec(SEQUENCE, 4, device, autoreset_mode=mode, observation=form)
    assert env.metadata["torch"] is True
    assert env.metadata["autoreset_mode"] is mode
    seen, _ = env.reset(seed=0)
    actions = torch.tensor([0, 1, 2, 2], device=device)
    *results, infos = env.step(actions)
    observations = [seen, results[0], *([infos["final_obs"]] if infos else [])]
    flags = [*results[2:], *([infos["_final_obs"]] if infos else [])]
    for tensors, wanted_shape, wanted in (
        (observations, shape, dtype),
        (results[1:2], (4,), torch.float32),
        (flags, (4,), torch.bool),
    ):
        for tensor in tensors:
            assert isinstance(tensor, torch.Tensor)
            assert tuple(tensor.shape) == wanted_shape
            assert tensor.dtype == wanted
            assert tensor.device.type == device
            assert not tensor.requires_grad
    assert seen.cpu().numpy() in env.observation_space


@pytest.mark.parametrize("mode", MODES)
def test_results_are_fresh(mode: AutoresetMode) -> None:
    mdp = random_mdp(5, terminal_share=0.3)
    env, twin = (
        TorchTabularVectorEnv(TabularEnv(mdp), 4, "cpu", 5, mode, render)
        for render in ("rgb_array", None)
    )
    kept = [env.reset(seed=0)[0]]
    twin.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        actions = torch.randint(4, (4,), generator=generator)
        *results, infos = env.step(actions)
        *expected, expected_infos = twin.step(actions.clone())
        fresh = [*results, *infos.values()]
        assert env._last is not None
        places = {x.data_ptr() for x in (*kept, *env._last, env._state)}
        wanted = [*expected, *expected_infos.values()]
        for got, right in zip(fresh, wanted, strict=True):
            assert torch.equal(got, right)
            assert got.data_ptr() not in places
            places.add(got.data_ptr())
        kept += fresh
        for tensor in [*fresh, actions]:
            tensor.fill_(1)
    assert (env.mdp.reward == random_mdp(5, terminal_share=0.3).reward).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs no GPU")
def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="got 'cuda': 'cpu' is one, 'cuda' is not"):
        make_torch_vec(SEQUENCE, 2, "cuda")


def test_the_tables_of_the_mdp_are_not_shared() -> None:
    env = _torch_env(two_step_mdp(), 2)
    env._tables.reward.fill_(99.0)
    assert env.mdp.reward.max() == 10.0


def _results(env: TorchTabularVectorEnv, n_steps: int = 100) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(4, (n_steps, env.num_envs), generator=generator)
    return [[x.tolist() for x in env.step(row)[:4]] for row in actions]


@pytest.mark.parametrize("copied", [copy.deepcopy, _unpickled])
def test_same_seed_same_trajectory_and_a_copy_goes_on_identically(
    copied: Callable[[TorchTabularVectorEnv], TorchTabularVectorEnv],
) -> None:
    mdp = random_mdp(7, reward_noise="gaussian")
    runs = []
    for seed in (1, 1, 2):
        env, other = _torch_env(mdp, 3, 9), _torch_env(mdp, 3, 9)
        other.reset(seed=5)
        env.reset(seed=seed)
        _results(other, 10)
        runs.append(_results(env))
    assert runs[0] == runs[1] != runs[2]
    twin = copied(env)
    assert _results(env) == _results(twin)
    # The global generator of torch has no part in it.
    torch.manual_seed(0)
    env.reset(seed=1)
    assert _results(env) == runs[0]


def test_transitions_occur_as_often_as_the_tables_say() -> None:
    n = 100_000
    mdp = random_mdp(1, terminal_share=0.0)
    env = _torch_env(mdp, n)
    states, _ = env.reset(seed=3)
    actions = torch.randint(4, (n,), generator=torch.Generator().manual_seed(2))
    assert_frequencies(mdp, states, actions, env.step(actions)[0])


def test_reward_noise_has_its_distribution() -> None:
    arms = torch.arange(200_000) % 2
    arguments: dict[str, Any] = {"arm_rewards": [0.2, 0.7]}
    env = make_torch_vec(
        BANDIT, len(arms), reward_noise="gaussian", noise_scale=2.0, **arguments
    )
    env.reset(seed=1)
    rewards = env.step(arms)[1]
    assert_gaussian(rewards[arms == 0], 0.2, 2.0)
    assert_gaussian(rewards[arms == 1], 0.7, 2.0)
    env = make_torch_vec(BANDIT, len(arms), reward_noise="bernoulli", **arguments)
    env.reset(seed=1)
    rewards = env.step(arms)[1]
    assert_bernoulli(rewards[arms == 0], 0.2)
    assert_bernoulli(rewards[arms == 1], 0.7)


def test_every_kind_of_integer_is_an_action() -> None:
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        env = make_torch_vec(SEQUENCE, 3)
        env.reset(seed=0)
        seen, *_ = env.step(torch.tensor([2, 1, 0], dtype=dtype))
        assert seen.ravel().tolist() == [0.0, -1.0, -1.0]
    assert env.step([2, 2, 1])[0].ravel().tolist() == [1.0, 0.0, -1.0]


def test_frames_are_those_of_the_numpy_environment() -> None:
    env = make_torch_vec(SEQUENCE, 2, render_mode="rgb_array")
    other = TabularVectorEnv(SequenceEnv(), 2, 100, SAME, "rgb_array")
    env.reset(seed=0)
    other.reset(seed=0)
    for actions in ([2, 2], [2, 0]):
        env.step(torch.tensor(actions))
        other.step(np.array(actions))
    frames, expected = env.render(), other.render()
    assert frames is not None
    assert expected is not None
    assert len(frames) == 2
    for frame, wanted in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame, wanted)
    env.close()


def test_make_torch_vec_takes_the_limit_of_the_id_or_another() -> None:
    for limit, given in ((100, {}), (7, {"max_episode_steps": 7})):
        env = make_torch_vec(BANDIT, 2, **given)  # type: ignore[arg-type]
        env.reset(seed=0)
        ends = [env.step(torch.tensor([0, 1]))[3].tolist() for _ in range(limit)]
        assert ends == [[F, F]] * (limit - 1) + [[T, T]]
    assert make_torch_vec(BANDIT, 2, max_episode_steps=-1).max_episode_steps is None
    env = make_torch_vec(f"pg_envs:{BANDIT}", 2, arm_rewards=[3.0, 4.0])
    env.reset(seed=0)
    assert env.step(torch.tensor([0, 1]))[1].tolist() == [3.0, 4.0]


# Bad input is refused by name.


def test_step_and_render_before_reset_are_refused() -> None:
    env = make_torch_vec(SEQUENCE, 2, render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match=r"step\(\) was called before reset\(\)"):
        env.step(torch.tensor([0, 0]))
    with pytest.raises(ResetNeeded, match=r"render\(\) was called before reset\(\)"):
        env.render()
    with pytest.raises(ResetNeeded, match=r"before the first whole reset\(\)"):
        env.reset(options={"reset_mask": torch.tensor([True, False])})


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 3], "integers from 0 to 2, got 0 to 3"),
        ([-1, 0], "integers from 0 to 2, got -1 to 0"),
        ([0.0, 1.0], r"2 integers, .* got shape \[2\] of torch.float32"),
        ([0], r"2 integers, one per environment, got shape \[1\]"),
        ([[0, 1]], r"2 integers, .* got shape \[1, 2\]"),
        (1, r"2 integers, .* got shape \[\]"),
        ([True, False], "2 integers, .* of torch.bool"),
        ([1j, 0j], "2 integers, .* of torch.complex64"),
    ],
)
def test_actions_outside_the_space_are_refused(actions: Any, message: str) -> None:
    env, twin = make_torch_vec(SEQUENCE, 2), make_torch_vec(SEQUENCE, 2)
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidAction, match=message):
        env.step(torch.tensor(actions))
    # Nothing has happened.
    good = torch.tensor([2, 0])
    for got, wanted in zip(env.step(good)[:4], twin.step(good)[:4], strict=True):
        assert torch.equal(got, wanted)


def test_actions_go_unchecked_where_that_is_asked_for() -> None:
    env = make_torch_vec(SEQUENCE, 2, check_actions=False)
    env.reset(seed=0)
    env.step(torch.tensor([3, 0]))  # Undefined, and not refused.
    with pytest.raises(InvalidAction, match="2 integers"):
        env.step(torch.tensor([0.0, 0.0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer >= 1, got 0"),
        ({"autoreset_mode": AutoresetMode.DISABLED}, "NextStep, SameStep, got"),
        ({"autoreset_mode": "none"}, "NextStep, SameStep, got 'none'"),
        ({"render_mode": "human"}, "None, 'rgb_array', got 'human'"),
        ({"observation": "pixels"}, "'one_hot', 'index', got 'pixels'"),
        ({"n_states": 1}, "n_states must be an integer >= 2, got 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_torch_vec(SEQUENCE, **{"num_envs": 2, **arguments})


@pytest.mark.parametrize("seed", [-1, 1.5])
def test_a_wrong_seed_is_refused_as_gymnasium_does(seed: Any) -> None:
    with pytest.raises(gymnasium.error.Error, match=f"Seed must .*{seed}|float"):
        make_torch_vec(SEQUENCE, 2).reset(seed=seed)


@pytest.mark.parametrize("mask", [[True], [1, 0]])
def test_a_wrong_reset_mask_is_refused(mask: list[Any]) -> None:
    env = make_torch_vec(SEQUENCE, 2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"reset_mask must be \[2\] bool, got"):
        env.reset(options={"reset_mask": torch.tensor(mask)})


def test_an_environment_without_tables_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"CartPole or Pixelcopter; 'Acrobot-v1' is a Acro"
    ):
        make_torch_vec("Acrobot-v1", 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("env_id", "form"), ALL_FORMS)
def test_resets_and_steps_without_a_limit_are_fresh(
    env_id: str, form: dict[str, Any], mode: AutoresetMode
) -> None:
    """Fresh arrays, for every form of observation and for what never changes."""
    arguments: dict[str, Any] = {"autoreset_mode": mode, "max_episode_steps": -1}
    env = make_torch_vec(env_id, 3, **arguments, **form)
    mask = {"reset_mask": torch.tensor([True, False, True])}
    kept = [env.reset(seed=0)[0], env.reset()[0], env.reset(options=mask)[0]]
    for _ in range(3):
        kept += env.step(torch.zeros(3, dtype=torch.int64))[:4]
    kept.append(env.reset()[0])
    assert len({tensor.data_ptr() for tensor in kept}) == len(kept)
