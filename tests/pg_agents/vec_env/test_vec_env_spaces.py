"""Every space and every mode through the adapter, beside SB3's own DummyVecEnv."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import pg_envs
from pg_agents import REINFORCE, ActorCritic, as_vec_env
from tests.pg_agents.envs import SampleEnv

# Python 3.12 and later warn of it; a fork is Gymnasium's default.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

BOX, COIN = spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(2)
OBSERVATIONS = {
    "box": BOX,
    "discrete": spaces.Discrete(5),
    "multi-discrete": spaces.MultiDiscrete([3, 2]),
    "multi-binary": spaces.MultiBinary(3),
    "image": spaces.Box(0, 255, (4, 5, 3), np.uint8),
    "dict": spaces.Dict({"at": BOX, "coin": COIN, "flags": spaces.MultiBinary(2)}),
}
ACTIONS = {
    "box": spaces.Box(-1.0, 1.0, (2,)),
    "discrete": COIN,
    "multi-discrete": spaces.MultiDiscrete([3, 2]),
    "multi-binary": spaces.MultiBinary(3),
}
MODES = list(AutoresetMode)


def makers(
    observations: spaces.Space[Any] = BOX,
    actions: spaces.Space[Any] = COIN,
    truncates: bool = False,
) -> list[Callable[[], Any]]:
    return [
        partial(SampleEnv, observations, actions, [length, 1], truncates)
        for length in (2, 3)
    ]


def monitored(given: list[Callable[[], Any]]) -> DummyVecEnv:
    """Returns what a user of SB3 makes of single environments."""

    def monitor(make: Callable[[], Any]) -> Monitor:
        return Monitor(make())

    return DummyVecEnv([partial(monitor, make) for make in given])


def plain(values: Any) -> Any:
    """Returns lists instead of arrays, and no times, for an equality."""
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items() if key != "t"}
    if isinstance(values, list):
        return [plain(value) for value in values]
    return (values.dtype, values.tolist()) if isinstance(values, np.ndarray) else values


def lived(env: Any, n_steps: int = 9) -> list[Any]:
    """Returns all that SB3 gets to see of steps with actions that are drawn."""
    seen = [(plain(env.reset()), plain(env.reset_infos))]
    env.action_space.seed(0)
    for _ in range(n_steps):
        actions = np.stack([env.action_space.sample() for _ in range(env.num_envs)])
        observations, rewards, dones, infos = env.step(actions)
        infos = [dict(info) for info in infos]
        for info in infos:
            info.setdefault("TimeLimit.truncated", False)
            if "terminal_observation" in info:
                # A scalar, or an array without dimensions.
                seen_last = info["terminal_observation"]
                info["terminal_observation"] = (
                    seen_last
                    if isinstance(seen_last, dict)
                    else np.asarray(seen_last).tolist()
                )
        parts = (observations, rewards, dones, infos, env.reset_infos)
        seen.append(plain([*parts]))
    return seen


def lists(values: Any) -> Any:
    """Returns the same without dtypes, which single environments may have other."""
    if isinstance(values, tuple) and isinstance(values[0], np.dtype):
        return values[1]
    if isinstance(values, dict):
        return {key: lists(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [lists(value) for value in values]
    return values.item() if isinstance(values, np.generic) else values


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_every_observation_in_every_mode(
    name: str, truncates: bool, mode: AutoresetMode
) -> None:
    """Observations, rewards, ends, last observations, infos and those of resets."""
    given = makers(OBSERVATIONS[name], truncates=truncates)
    ours = as_vec_env(SyncVectorEnv(given, autoreset_mode=mode))
    theirs = monitored(given)
    assert lists(lived(ours)) == lists(lived(theirs))


def test_observations_have_the_dtype_of_their_space() -> None:
    env = as_vec_env(SyncVectorEnv(makers(OBSERVATIONS["dict"])))
    env.reset()
    env.step(np.zeros(2, int))
    results: Any = env.step(np.zeros(2, int))
    observations, _, _, infos = results
    last = infos[0]["terminal_observation"]
    for key, space in OBSERVATIONS["dict"].spaces.items():  # type: ignore[attr-defined]
        assert observations[key].dtype == last[key].dtype == space.dtype
        assert last[key].shape == space.shape


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_actions_of_every_policy_are_from_the_space(name: str, algorithm: Any) -> None:
    """The environment refuses others; SB3's policy for MultiBinary gives floats."""
    env = as_vec_env(SyncVectorEnv(makers(actions=ACTIONS[name])))
    more = {"n_steps": 8, "batch_size": 8} if algorithm is PPO else {}
    algorithm("MlpPolicy", env, seed=0, **more).learn(16)


@pytest.mark.parametrize("algorithm", [A2C, PPO, ActorCritic])
@pytest.mark.parametrize("mode", MODES)
def test_dicts_and_time_limits_reach_the_learner(
    algorithm: Any, mode: AutoresetMode
) -> None:
    """It asks its critic for the value of every last observation of a truncation."""
    given = makers(OBSERVATIONS["dict"], truncates=True)
    env = as_vec_env(SyncVectorEnv(given, autoreset_mode=mode))
    more = {"n_steps": 8, "batch_size": 8} if algorithm is PPO else {}
    model = algorithm("MultiInputPolicy", env, seed=0, **more).learn(32)
    assert {info["l"] for info in model.ep_info_buffer} == {1, 2, 3}


@pytest.mark.parametrize("mode", MODES)
def test_successes_are_counted(mode: AutoresetMode) -> None:
    env = as_vec_env(SyncVectorEnv(makers(), autoreset_mode=mode))
    model = A2C("MlpPolicy", env, seed=0).learn(60)
    # Every second episode is a success.
    assert model.ep_success_buffer is not None
    assert 0.4 < np.mean(model.ep_success_buffer) < 0.6


def test_a_result_that_the_environment_gives_itself_is_left() -> None:
    """As with a Monitor under a wrapper that changes rewards."""
    for mode in MODES:
        env = gymnasium.make_vec(
            "PGToy-Sequence-v0",
            num_envs=2,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": mode},
            wrappers=(
                gymnasium.wrappers.RecordEpisodeStatistics,
                lambda single: gymnasium.wrappers.TransformReward(
                    single, lambda reward: 100.0
                ),
            ),
        )
        adapter = as_vec_env(env)
        adapter.reset()
        ends = 0
        for actions in np.random.default_rng(0).integers(0, 3, (200, 2)):
            _, rewards, dones, infos = adapter.step(actions)
            assert rewards.tolist() == [100.0, 100.0]
            for i in np.flatnonzero(dones):
                ends += 1
                assert infos[i]["episode"]["r"] < 1.0
        assert ends > 0


def test_memory_that_an_environment_uses_again_is_copied() -> None:
    for mode in MODES:
        env = SyncVectorEnv(makers(), copy=False, autoreset_mode=mode)
        theirs = monitored(makers())
        assert lists(lived(as_vec_env(env))) == lists(lived(theirs))
        env = SyncVectorEnv(makers(), copy=False, autoreset_mode=mode)
        adapter = as_vec_env(env)
        first: Any = adapter.reset()
        kept = first.copy()
        adapter.step(np.zeros(2, int))
        np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_environments_in_processes(mode: AutoresetMode) -> None:
    """The id brings its module along; the processes end with the adapter."""
    env = gymnasium.make_vec(
        "pg_envs:PGToy-Sequence-v0",
        num_envs=2,
        vectorization_mode="async",
        vector_kwargs={"autoreset_mode": mode},
    )
    assert isinstance(env, AsyncVectorEnv)
    adapter = as_vec_env(env)
    try:
        beside = monitored([lambda: gymnasium.make("PGToy-Sequence-v0")] * 2)
        for one in (adapter, beside):
            one.seed(5)
        assert lists(lived(adapter, 60)) == lists(lived(beside, 60))
        # The present episode is in the midst of a step; what is left must go on.
        model = REINFORCE("MlpPolicy", env, seed=0).learn(60)
        assert model.ep_info_buffer
    finally:
        adapter.close()
    assert not any(process.is_alive() for process in env.processes)


def test_processes_hand_dicts_over_too() -> None:
    env = AsyncVectorEnv(makers(OBSERVATIONS["dict"]))
    try:
        theirs = monitored(makers(OBSERVATIONS["dict"]))
        assert lists(lived(as_vec_env(env))) == lists(lived(theirs))
    finally:
        env.close()


@pytest.mark.parametrize("algorithm", [A2C, REINFORCE])
def test_evaluations_between_rollouts(algorithm: Any, tmp_path: Any) -> None:
    """SB3's EvalCallback, with the success rate and the best model it keeps."""

    def make() -> Any:
        return as_vec_env(SyncVectorEnv(makers()))

    callback = EvalCallback(
        make(),
        n_eval_episodes=8,
        eval_freq=10,
        log_path=str(tmp_path),
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    algorithm("MlpPolicy", make(), seed=0).learn(40, callback)
    logged = np.load(tmp_path / "evaluations.npz")
    assert set(logged["ep_lengths"].ravel().tolist()) == {1, 2, 3}
    # An episode of n steps has rewarded 1 + ... + n.
    lengths = logged["ep_lengths"]
    np.testing.assert_array_equal(logged["results"], lengths * (lengths + 1) / 2)
    assert 0.4 <= np.mean(logged["successes"]) <= 0.6
    assert (tmp_path / "best_model.zip").exists()


def test_tensors_reach_a2c_and_an_evaluation() -> None:
    env = as_vec_env(pg_envs.make_torch_vec("PGToy-Sequence-v0", 4, "cpu"))
    beside = as_vec_env(pg_envs.make_torch_vec("PGToy-Sequence-v0", 4, "cpu"))
    callback = EvalCallback(beside, n_eval_episodes=4, eval_freq=5, verbose=0)
    model = A2C("MlpPolicy", env, seed=0).learn(80, callback)
    assert -5.0 <= callback.last_mean_reward <= 0.9
    assert model.num_timesteps == 80
