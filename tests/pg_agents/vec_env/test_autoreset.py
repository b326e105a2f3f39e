"""Partial resets of vector environments, wrapped or not."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorWrapper
from gymnasium.wrappers import vector as wrappers
from scipy.stats import kstest

from pg_agents import as_vec_env
from pg_agents.vec_env.autoreset import Restart, partial_reset_obstacle, restart_method
from tests.pg_agents.envs import ScriptedEnv, StaggeredVectorEnv

# Python 3.12 and later warn of it; a fork is Gymnasium's default.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

BOUND = 0.05  # of CartPole's initial states


def cart_poles(n: int, **arguments: Any) -> Any:
    return gymnasium.make_vec("CartPole-v1", num_envs=n, **arguments)


def coins(n_steps: int, n_envs: int) -> Any:
    return np.random.default_rng(0).integers(0, 2, (n_steps, n_envs))


def test_no_step_of_many_cart_poles_is_a_dummy() -> None:
    n_envs, n_steps = 16, 500
    env = cart_poles(n_envs)
    adapter: Any = as_vec_env(env)
    adapter.seed(0)
    adapter.reset()
    starts, total_reward, in_episodes = [], 0.0, 0
    running = np.zeros(n_envs, dtype=int)
    for actions in coins(n_steps, n_envs):
        # Gymnasium's step from the same state, without a reset.
        copy: Any = CartPoleVectorEnv(n_envs)
        copy.reset()
        copy.state = env.unwrapped.state.copy()
        expected = copy.step(actions)[0]
        obs, rewards, dones, infos = adapter.step(actions)
        running += 1
        total_reward += rewards.sum()
        final_obs = np.array(obs)
        for i in np.flatnonzero(dones):
            final_obs[i] = infos[i]["terminal_observation"]
            starts.append(obs[i])
            assert infos[i]["episode"]["l"] == infos[i]["episode"]["r"] == running[i]
            in_episodes += running[i]
            running[i] = 0
        np.testing.assert_array_equal(final_obs, expected)
        assert not adapter.dummy_steps.any()
    assert total_reward == n_envs * n_steps == in_episodes + running.sum()
    assert len(starts) > 200
    # False alarm rate 1e-4, once: the seed is fixed.
    assert kstest(np.ravel(starts), "uniform", (-BOUND, 2 * BOUND)).pvalue > 1e-4


def test_a_cart_pole_is_truncated_at_its_time_limit_and_reset() -> None:
    adapter: Any = as_vec_env(cart_poles(2, max_episode_steps=5))
    adapter.seed(0)
    adapter.reset()
    for step in range(1, 13):
        obs, _, dones, infos = adapter.step(np.array([step % 2] * 2))
        assert dones.tolist() == [step % 5 == 0] * 2
        if dones[0]:
            assert [info["TimeLimit.truncated"] for info in infos] == [True] * 2
            assert (np.abs(obs) <= BOUND).all()


def test_a_partial_reset_uses_the_bounds_of_the_last_reset() -> None:
    adapter = as_vec_env(cart_poles(8))
    adapter.set_options({"low": 0.01, "high": 0.02})
    adapter.reset()
    n_starts = 0
    for actions in coins(60, 8):
        obs, _, dones, _ = adapter.step(actions)
        starts = np.asarray(obs)[dones]
        n_starts += len(starts)
        assert ((starts >= 0.01) & (starts <= 0.02)).all()
    assert n_starts > 5


class OtherCartPole(CartPoleVectorEnv):
    def step(self, action: Any) -> Any:
        return super().step(action)


def test_a_subclass_of_cart_pole_is_unknown() -> None:
    assert "one by one" in str(partial_reset_obstacle(OtherCartPole(2)))
    assert partial_reset_obstacle(CartPoleVectorEnv(2)) is None


def test_a_mode_may_be_given_by_its_value() -> None:
    env = StaggeredVectorEnv([2], AutoresetMode.SAME_STEP)
    env.metadata = {"autoreset_mode": "SameStep"}
    assert restart_method(env, False) is Restart.BY_ENV


def test_async_environments_that_reset_twice_are_refused() -> None:
    """Without shared memory a worker resets again in the step after a reset."""
    env = AsyncVectorEnv([lambda: ScriptedEnv([2])], shared_memory=False)
    try:
        env.reset()
        for _ in range(2):
            _, _, terminated, _, _ = env.step(np.zeros(1, int))
        assert terminated.tolist() == [True]
        env.reset(options={"reset_mask": terminated})
        obs, rewards, *_ = env.step(np.zeros(1, int))
        # Correct would be step 1 of episode 1, with the reward 10.
        assert (obs.tolist(), rewards.tolist()) == ([[2.0, 0.0]], [0.0])
        for learner_skips in (False, True):
            with pytest.raises(ValueError, match=r"loses restarts.*shared_memory"):
                restart_method(env, learner_skips)
    finally:
        env.close()


def sync(mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> Any:
    lengths = ([2, 4], [3])
    makers = [partial(ScriptedEnv, length) for length in lengths]
    return SyncVectorEnv(makers, autoreset_mode=mode)


def test_record_episode_statistics_survives_partial_resets() -> None:
    recorder = wrappers.RecordEpisodeStatistics(sync())
    adapter = as_vec_env(recorder)
    adapter.reset()
    results: list[list[tuple[float, int]]] = [[], []]
    for _ in range(12):
        _, _, dones, infos = adapter.step(np.zeros(2, int))
        for i in np.flatnonzero(dones):
            results[i].append((infos[i]["episode"]["r"], infos[i]["episode"]["l"]))
    # A step's reward: 10 times the episode's number, plus the step's.
    assert results[0] == [(1.0, 2), (46.0, 4), (41.0, 2), (126.0, 4)]
    assert results[1] == [(3.0, 3), (33.0, 3), (63.0, 3), (93.0, 3)]
    assert list(recorder.length_queue) == [2, 3, 4, 3, 2, 3, 4, 3]


@pytest.mark.parametrize("make", [sync, lambda: cart_poles(2)])
def test_normalize_observation_counts_every_observation_once(make: Any) -> None:
    """Including first and final observations of episodes."""
    normalizer = wrappers.NormalizeObservation(make())
    adapter: Any = as_vec_env(normalizer)
    raw: Any = as_vec_env(make())
    for env in (adapter, raw):
        env.seed(0)
    counted = [*raw.reset()]
    adapter.reset()
    for actions in coins(60, 2):
        obs, _, dones, infos = raw.step(actions)
        normalized, *_ = adapter.step(actions)
        for i in range(2):
            counted.append(obs[i])
            if dones[i]:
                counted.append(infos[i]["terminal_observation"])
    statistics = normalizer.obs_rms
    assert statistics.count == pytest.approx(len(counted), abs=1e-3)
    np.testing.assert_allclose(statistics.mean, np.mean(counted, 0), rtol=1e-3)
    np.testing.assert_allclose(statistics.var, np.var(counted, 0), rtol=1e-2)
    expected = (obs - statistics.mean) / np.sqrt(statistics.var + 1e-8)
    np.testing.assert_allclose(normalized, expected, rtol=0.2, atol=0.05)
    assert normalizer.update_running_mean


def test_a_frozen_normalization_stays_frozen() -> None:
    normalizer = wrappers.NormalizeObservation(sync())
    adapter = as_vec_env(normalizer)
    adapter.reset()
    normalizer.update_running_mean = False
    before = normalizer.obs_rms.mean.copy()
    for _ in range(4):
        adapter.step(np.zeros(2, int))
    np.testing.assert_array_equal(normalizer.obs_rms.mean, before)
    assert not normalizer.update_running_mean


def test_transformations_apply_after_a_partial_reset() -> None:
    env = wrappers.FlattenObservation(
        wrappers.TransformObservation(sync(), lambda obs: obs + 100.0)
    )
    adapter = as_vec_env(wrappers.TransformReward(env, lambda rewards: 2.0 * rewards))
    adapter.reset()
    adapter.step(np.zeros(2, int))
    obs, rewards, _, infos = adapter.step(np.zeros(2, int))
    assert np.asarray(obs).tolist() == [[101.0, 100.0], [100.0, 102.0]]
    assert infos[0]["terminal_observation"].tolist() == [100.0, 102.0]
    assert rewards.tolist() == [2.0, 2.0]


class Stateful(VectorWrapper[Any, Any, Any, Any, Any]):
    """May have state."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (wrappers.NormalizeReward, r"NormalizeReward does not support.*VecNormalize"),
        (Stateful, r"Stateful has a reset\(\) or step\(\) of its own"),
    ],
)
def test_wrappers_without_partial_resets(wrap: Any, says: str) -> None:
    with pytest.raises(ValueError, match=rf"dummy step.*{says}"):
        restart_method(wrap(sync()), learner_skips_dummy_steps=False)
    with pytest.raises(ValueError, match=says):
        restart_method(wrappers.RecordEpisodeStatistics(wrap(sync())), False)
    assert (
        restart_method(wrap(sync()), learner_skips_dummy_steps=True)
        is Restart.IN_DUMMY_STEP
    )
    for learner_skips in (False, True):
        with pytest.raises(ValueError, match=rf"autoreset disabled.*{says}"):
            restart_method(wrap(sync(AutoresetMode.DISABLED)), learner_skips)
