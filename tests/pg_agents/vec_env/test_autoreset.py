"""Copies of a vector environment that start anew one by one, in wrappers or not."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import (
    AsyncVectorEnv,
    AutoresetMode,
    SyncVectorEnv,
    VectorEnv,
    VectorWrapper,
)
from gymnasium.wrappers import vector as wrappers
from scipy.stats import kstest
from stable_baselines3 import A2C, PPO

from pg_agents import as_vec_env
from pg_agents.vec_env.autoreset import (
    After,
    after_an_end,
    restart_some,
    why_not_restartable,
)
from tests.pg_agents.envs import ScriptedEnv, StaggeredVectorEnv

# Python 3.12 and later warn of it; a fork is Gymnasium's default.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

BOUND = 0.05  # of CartPole's initial states


def cart_poles(n: int, **arguments: Any) -> Any:
    return gymnasium.make_vec("CartPole-v1", num_envs=n, **arguments)


def coins(n_steps: int, n_envs: int) -> Any:
    return np.random.default_rng(0).integers(0, 2, (n_steps, n_envs))


def test_a_cart_pole_lives_through_what_it_would_with_dummy_steps() -> None:
    """One copy draws the same starts in the same order: the episodes are the same."""
    actions = coins(400, 1)
    native = cart_poles(1)
    adapter: Any = as_vec_env(cart_poles(1))
    expected = [native.reset(seed=3)[0].tolist()]
    ended = False
    for action in actions:
        if ended:
            # The dummy step: what is seen is the start of the next episode.
            expected[-1] = expected[-1], native.step(action)[0].tolist()
        seen, _, terminated, truncated, _ = native.step(action)
        expected.append(seen.tolist())
        ended = bool(terminated[0] or truncated[0])
    adapter.seed(3)
    lived: list[Any] = [adapter.reset().tolist()]
    for action in actions:
        seen, rewards, dones, infos = adapter.step(action)
        assert rewards.tolist() == [1.0]
        lived.append(seen.tolist())
        if dones[0]:
            lived[-1] = [infos[0]["terminal_observation"].tolist()], lived[-1]
    # The last may have ended; its successor has not been drawn yet.
    assert lived[:-1] == expected[:-1]
    assert sum(isinstance(one, tuple) for one in lived) > 10


def test_no_step_of_many_cart_poles_is_a_dummy() -> None:
    n_envs, n_steps = 16, 500
    env = cart_poles(n_envs)
    adapter: Any = as_vec_env(env)
    adapter.seed(0)
    adapter.reset()
    starts, n_rewarded, in_episodes = [], 0.0, 0
    running = np.zeros(n_envs, dtype=int)
    for actions in coins(n_steps, n_envs):
        # A pole beside it, without a restart: what the physics make of the state.
        bare: Any = CartPoleVectorEnv(n_envs)
        bare.reset()
        bare.state = env.unwrapped.state.copy()
        physics = bare.step(actions)[0]
        seen, rewards, dones, infos = adapter.step(actions)
        running += 1
        n_rewarded += rewards.sum()
        final = np.array(seen)
        for i in np.flatnonzero(dones):
            final[i] = infos[i]["terminal_observation"]
            starts.append(seen[i])
            assert infos[i]["episode"]["l"] == infos[i]["episode"]["r"] == running[i]
            in_episodes += running[i]
            running[i] = 0
        np.testing.assert_array_equal(final, physics)
        assert not adapter.dummy_steps.any()
    assert n_rewarded == n_envs * n_steps == in_episodes + running.sum()
    assert len(starts) > 200
    # One right draw in 10,000 would fail; with this seed it is always the same.
    drawn = np.ravel(starts)
    assert kstest(drawn, "uniform", (-BOUND, 2 * BOUND)).pvalue > 1e-4


def test_a_cart_pole_at_its_time_limit_is_truncated_and_starts_anew() -> None:
    adapter: Any = as_vec_env(cart_poles(2, max_episode_steps=5))
    adapter.seed(0)
    adapter.reset()
    for step in range(1, 13):
        seen, _, dones, infos = adapter.step(np.array([step % 2] * 2))
        assert dones.tolist() == [step % 5 == 0] * 2
        if dones[0]:
            assert [info["TimeLimit.truncated"] for info in infos] == [True] * 2
            assert (np.abs(seen) <= BOUND).all()


def test_a_restart_keeps_to_the_bounds_of_the_last_reset() -> None:
    adapter = as_vec_env(cart_poles(8))
    adapter.set_options({"low": 0.01, "high": 0.02})
    adapter.reset()
    n_starts = 0
    for actions in coins(60, 8):
        seen, _, dones, _ = adapter.step(actions)
        starts = np.asarray(seen)[dones]
        n_starts += len(starts)
        assert ((starts >= 0.01) & (starts <= 0.02)).all()
    assert n_starts > 5


@pytest.mark.parametrize(
    ("algorithm", "more"),
    [
        (A2C, {"n_steps": 8, "learning_rate": 3e-3}),
        (PPO, {"n_steps": 32, "n_epochs": 5, "batch_size": 128, "learning_rate": 2e-3}),
    ],
)
def test_stable_baselines3_learns_in_gymnasiums_own_cart_pole(
    algorithm: Any, more: dict[str, Any]
) -> None:
    """A random policy keeps the pole up for 22 steps."""
    env = as_vec_env(cart_poles(16))
    model = algorithm("MlpPolicy", env, seed=0, **more).learn(8_000)
    returns = [info["r"] for info in model.ep_info_buffer]
    assert np.mean(returns[-20:]) > 60


class OtherCartPole(CartPoleVectorEnv):
    def step(self, action: Any) -> Any:
        return super().step(action)


def test_a_cart_pole_of_another_kind_is_no_known_one() -> None:
    assert "one by one" in str(why_not_restartable(OtherCartPole(2)))
    assert why_not_restartable(CartPoleVectorEnv(2)) is None


def test_what_each_mode_asks_for() -> None:
    makers = [lambda: ScriptedEnv([2])] * 2
    for mode, after in (
        (AutoresetMode.SAME_STEP, After.NOTHING),
        (AutoresetMode.NEXT_STEP, After.RESTART),
        (AutoresetMode.DISABLED, After.RESTART),
    ):
        env = SyncVectorEnv(makers, autoreset_mode=mode)
        assert after_an_end(env, learner_skips_dummy_steps=False) is after
    # DISABLED means that its user restarts some: it knows how.
    disabled = StaggeredVectorEnv([2], AutoresetMode.DISABLED)
    assert after_an_end(disabled, False) is After.RESTART
    assert after_an_end(StaggeredVectorEnv([2]), True) is After.DUMMY
    with pytest.raises(ValueError, match=r"dummy step.*NextStep.*one by one.*'sync'"):
        after_an_end(StaggeredVectorEnv([2]), False)


def test_a_mode_by_its_name_is_a_mode() -> None:
    env = StaggeredVectorEnv([2], AutoresetMode.SAME_STEP)
    env.metadata = {"autoreset_mode": "SameStep"}
    assert after_an_end(env, False) is After.NOTHING


def test_restarts_that_gymnasium_loses_are_refused_for_every_learner() -> None:
    """Without shared memory a worker restarts once more in the step after a reset."""
    env = AsyncVectorEnv([lambda: ScriptedEnv([2])], shared_memory=False)
    try:
        env.reset()
        for _ in range(2):
            _, _, terminated, _, _ = env.step(np.zeros(1, int))
        assert terminated.tolist() == [True]
        env.reset(options={"reset_mask": terminated})
        seen, rewards, *_ = env.step(np.zeros(1, int))
        # It should be step 1 of episode 1, with the reward 10.
        assert (seen.tolist(), rewards.tolist()) == ([[2.0, 0.0]], [0.0])
        for learner_skips in (False, True):
            with pytest.raises(ValueError, match=r"loses restarts.*shared_memory"):
                after_an_end(env, learner_skips)
    finally:
        env.close()


def sync(mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> Any:
    lengths = ([2, 4], [3])
    makers = [partial(ScriptedEnv, length) for length in lengths]
    return SyncVectorEnv(makers, autoreset_mode=mode)


def test_gymnasiums_statistics_count_no_restart() -> None:
    """Its own reset would forget the copies that go on: here they are told apart."""
    recorder = wrappers.RecordEpisodeStatistics(sync())
    adapter = as_vec_env(recorder)
    adapter.reset()
    results: list[list[tuple[float, int]]] = [[], []]
    for _ in range(12):
        _, _, dones, infos = adapter.step(np.zeros(2, int))
        for i in np.flatnonzero(dones):
            results[i].append((infos[i]["episode"]["r"], infos[i]["episode"]["l"]))
    # Return: the number of the episode in tens for every step, and 0 + 1 + ...
    assert results[0] == [(1.0, 2), (46.0, 4), (41.0, 2), (126.0, 4)]
    assert results[1] == [(3.0, 3), (33.0, 3), (63.0, 3), (93.0, 3)]
    assert list(recorder.length_queue) == [2, 3, 4, 3, 2, 3, 4, 3]


@pytest.mark.parametrize("make", [sync, lambda: cart_poles(2)])
def test_gymnasiums_normalization_counts_what_is_seen_once(make: Any) -> None:
    """Everything that was seen, last and first observations of episodes as well."""
    normalizer = wrappers.NormalizeObservation(make())
    adapter: Any = as_vec_env(normalizer)
    raw: Any = as_vec_env(make())
    for env in (adapter, raw):
        env.seed(0)
    counted = [*raw.reset()]
    adapter.reset()
    for actions in coins(60, 2):
        seen, _, dones, infos = raw.step(actions)
        normalized, *_ = adapter.step(actions)
        for i in range(2):
            counted.append(seen[i])
            if dones[i]:
                counted.append(infos[i]["terminal_observation"])
    statistics = normalizer.obs_rms
    assert statistics.count == pytest.approx(len(counted), abs=1e-3)
    np.testing.assert_allclose(statistics.mean, np.mean(counted, 0), rtol=1e-3)
    np.testing.assert_allclose(statistics.var, np.var(counted, 0), rtol=1e-2)
    expected = (seen - statistics.mean) / np.sqrt(statistics.var + 1e-8)
    np.testing.assert_allclose(normalized, expected, rtol=0.2, atol=0.05)
    assert normalizer.update_running_mean


def test_a_normalization_that_stands_still_stays_so() -> None:
    normalizer = wrappers.NormalizeObservation(sync())
    adapter = as_vec_env(normalizer)
    adapter.reset()
    normalizer.update_running_mean = False
    before = normalizer.obs_rms.mean.copy()
    for _ in range(4):
        adapter.step(np.zeros(2, int))
    np.testing.assert_array_equal(normalizer.obs_rms.mean, before)
    assert not normalizer.update_running_mean


def test_transformations_apply_to_what_is_seen_after_a_restart() -> None:
    env = wrappers.FlattenObservation(
        wrappers.TransformObservation(sync(), lambda seen: seen + 100.0)
    )
    adapter = as_vec_env(wrappers.TransformReward(env, lambda rewards: 2.0 * rewards))
    adapter.reset()
    adapter.step(np.zeros(2, int))
    seen, rewards, _, infos = adapter.step(np.zeros(2, int))
    assert np.asarray(seen).tolist() == [[101.0, 100.0], [100.0, 102.0]]
    assert infos[0]["terminal_observation"].tolist() == [100.0, 102.0]
    assert rewards.tolist() == [2.0, 2.0]


class Remembering(VectorWrapper[Any, Any, Any, Any, Any]):
    """It may keep anything from step to step."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (wrappers.NormalizeReward, r"NormalizeReward can't be told.*VecNormalize"),
        (Remembering, r"Remembering has a reset\(\) or step\(\) of its own"),
    ],
)
def test_wrappers_that_can_not_be_told_of_a_restart(wrap: Any, says: str) -> None:
    with pytest.raises(ValueError, match=rf"dummy step.*{says}"):
        after_an_end(wrap(sync()), learner_skips_dummy_steps=False)
    with pytest.raises(ValueError, match=says):
        after_an_end(wrappers.RecordEpisodeStatistics(wrap(sync())), False)
    assert after_an_end(wrap(sync()), learner_skips_dummy_steps=True) is After.DUMMY
    for learner_skips in (False, True):
        with pytest.raises(ValueError, match=rf"nobody restarts.*{says}"):
            after_an_end(wrap(sync(AutoresetMode.DISABLED)), learner_skips)


def test_those_of_the_mask_start_anew_and_the_others_go_on() -> None:
    env: VectorEnv[Any, Any, Any] = sync()
    env.reset()
    env.step(np.zeros(2, int))
    seen, _ = restart_some(env, np.array([True, False]))
    assert seen.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    seen, *_ = env.step(np.zeros(2, int))
    assert seen.tolist() == [[1.0, 1.0], [0.0, 2.0]]
