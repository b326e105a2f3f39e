"""CartPole on torch and NumPy beside Gymnasium's own, step by step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from pg_envs.make import make_numpy_vec, make_torch_vec
from pg_envs.vector.backend import TorchBackend
from pg_envs.vector.cartpole import (
    THETA_THRESHOLD_RADIANS,
    X_THRESHOLD,
    CartPoleVectorEnv,
    TorchCartPoleVectorEnv,
    cartpole_step,
)
from tests.pg_envs.vector.kinds import NEXT, SAME, make

every_kind = pytest.mark.parametrize("kind", ["torch CartPole", "GPU-like CartPole"])


def gymnasiums(n: int, **arguments: Any) -> list[Any]:
    envs = [gymnasium.make("CartPole-v1", **arguments) for _ in range(n)]
    for env in envs:
        env.reset()
    return envs


def align(single: Any, obs: Tensor) -> None:
    """Starts an episode of Gymnasium's in the state of an observation."""
    single.reset()
    single.unwrapped.state = obs.double().numpy()


@every_kind
@pytest.mark.parametrize("sutton_barto", [False, True])
def test_a_thousand_steps_equal_gymnasiums(kind: str, sutton_barto: bool) -> None:
    """Across restarts, which are aligned.

    The pole is unstable: a rounding of float32 (1e-7) grows by e^4 a second, 50 steps,
    hence the tolerance. A position closer to a limit than its error could end an
    episode a step apart: there is none with this seed.
    """
    env = make(kind, 4, sutton_barto_reward=sutton_barto)
    singles = gymnasiums(4, sutton_barto_reward=sutton_barto)
    obs, _ = env.reset(seed=0)
    for single, start in zip(singles, obs, strict=True):
        align(single, start)
    generator = torch.Generator().manual_seed(1)
    n_ended, worst = 0, 0.0
    limits = np.array([X_THRESHOLD, THETA_THRESHOLD_RADIANS])
    for _ in range(1000):
        actions = torch.randint(2, (4,), generator=generator)
        obs, rewards, terminated, truncated, infos = env.step(actions)
        for i, single in enumerate(singles):
            expected, reward, is_over, is_late, _ = single.step(int(actions[i]))
            error = np.abs(infos["final_obs"][i].numpy() - expected).max()
            margin = np.abs(np.abs(single.unwrapped.state[[0, 2]]) - limits).min()
            assert error < margin
            worst = max(worst, float(error))
            flags = bool(terminated[i]), bool(truncated[i])
            assert (float(rewards[i]), *flags) == (reward, is_over, is_late)
            if is_over or is_late:
                n_ended += 1
                align(single, obs[i])
    assert n_ended > 100
    assert worst < 1e-4


@pytest.mark.parametrize("sutton_barto", [False, True])
def test_on_numpy_it_is_gymnasiums_vector_env_bit_for_bit(sutton_barto: bool) -> None:
    """With the same seed, across restarts after ends of both kinds."""
    arguments: Any = {"max_episode_steps": 25, "sutton_barto_reward": sutton_barto}
    mode = "vector_entry_point"
    theirs: Any = gymnasium.make_vec("CartPole-v1", 7, mode, **arguments)
    ours = CartPoleVectorEnv(7, **arguments)
    assert np.array_equal(ours.reset(seed=5)[0], theirs.reset(seed=5)[0])
    rng, ends = np.random.default_rng(0), np.zeros(2, np.int64)
    for _ in range(2000):
        actions = rng.integers(2, size=7)
        step, expected = ours.step(actions), theirs.step(actions)
        for found, wanted in zip(step[:4], expected[:4], strict=True):
            assert np.array_equal(found, wanted)
        ends += [step[2].sum(), step[3].sum()]
    state = ours.get_state()["columns"]["state"]
    assert np.array_equal(state, theirs.unwrapped.state.T)
    assert (ends > 100).all()


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_one_on_numpy_is_gymnasiums_single_environment(seed: int) -> None:
    env = CartPoleVectorEnv(autoreset_mode=SAME)
    single: Any = gymnasium.make("CartPole-v1")
    obs, _ = env.reset(seed=seed)
    assert np.array_equal(obs[0], single.reset(seed=seed)[0])
    rng = np.random.default_rng(0)
    for _ in range(2000):
        actions = rng.integers(2, size=1)
        obs, rewards, terminated, truncated, infos = env.step(actions)
        expected = single.step(actions[0])
        final_obs = infos["final_obs"] if infos else obs
        assert np.array_equal(final_obs[0], expected[0])
        assert (rewards[0], terminated[0], truncated[0]) == expected[1:4]
        if terminated[0] or truncated[0]:
            assert np.array_equal(obs[0], single.reset()[0])


@pytest.mark.parametrize("column", [0, 2])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_an_episode_ends_beyond_either_limit(column: int, side: float) -> None:
    state = torch.zeros(2, 4)
    limit = X_THRESHOLD if column == 0 else THETA_THRESHOLD_RADIANS
    state[:, column] = side * limit * torch.tensor([0.999, 1.001])
    _, terminated = cartpole_step(TorchBackend("cpu"), state, torch.tensor([0, 1]))
    assert terminated.tolist() == [False, True]


@pytest.mark.parametrize("make_vec", [make_numpy_vec, make_torch_vec])
def test_spaces_are_those_of_gymnasium(make_vec: Any) -> None:
    env: Any = make_vec("CartPole-v1", 3)
    other = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    is_torch = make_vec is make_torch_vec
    assert type(env) is (TorchCartPoleVectorEnv if is_torch else CartPoleVectorEnv)
    assert env.single_observation_space == other.single_observation_space
    assert env.single_action_space == other.single_action_space
    assert env.observation_space == other.observation_space
    assert env.action_space == other.action_space
    assert env.max_episode_steps == 500
    other.close()


@pytest.mark.parametrize("make_vec", [make_numpy_vec, make_torch_vec])
def test_arguments_of_make_reach_the_environment(make_vec: Any) -> None:
    env: Any = make_vec(
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
    kind = "torch CartPole" if make_vec is make_torch_vec else "CartPole"
    with pytest.raises(ValueError, match="its sutton_barto_reward is True"):
        make(kind, 2, autoreset_mode=NEXT, max_episode_steps=-1).set_state(
            env.get_state()
        )


@every_kind
def test_starts_are_uniform_within_their_bounds(kind: str) -> None:
    """Of resets and of restarts; means within 4.5 standard errors, 16 of them.

    False alarms: one in 9,000 over the choice of the seed.
    """
    n = 50_000
    env = make(kind, n, max_episode_steps=1)
    starts = [env.reset(seed=0)[0], env.step(torch.zeros(n, dtype=torch.int64))[0]]
    for obs in starts:
        assert float(obs.abs().max()) <= 0.05
        assert float(obs.abs().max()) > 0.0499
        # Variances of a uniform number u on [-1, 1] and of its square.
        u = obs.double() / 0.05
        assert (u.mean(0).abs() < 4.5 * (1 / 3 / n) ** 0.5).all()
        assert ((u**2).mean(0) - 1 / 3).abs().max() < 4.5 * (4 / 45 / n) ** 0.5
    correlations = torch.corrcoef(torch.cat(starts, dim=1).T).fill_diagonal_(0.0)
    assert float(correlations.abs().max()) < 4.5 / n**0.5
