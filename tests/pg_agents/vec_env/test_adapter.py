"""Gymnasium vector environments through SB3's interface, beside SB3's DummyVecEnv."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeReward
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from pg_agents import REINFORCE, ActorCritic, as_vec_env
from pg_agents.vec_env.adapter import VectorEnvAdapter
from tests.pg_agents.envs import SampleEnv, ScriptedEnv, StaggeredVectorEnv

# Python 3.12 and later warn about forks, Gymnasium's default.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

SEQUENCE = "PGToy-Sequence-v0"
BOX, COIN = spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(2)
OBSERVATIONS: dict[str, Any] = {
    "box": BOX,
    "discrete": spaces.Discrete(5),
    "multi-discrete": spaces.MultiDiscrete([3, 2]),
    "multi-binary": spaces.MultiBinary(3),
    "image": spaces.Box(0, 255, (4, 5, 3), np.uint8),
    "dict": spaces.Dict({"at": BOX, "coin": COIN, "flags": spaces.MultiBinary(2)}),
}
ACTIONS: dict[str, Any] = {
    name: OBSERVATIONS[name] for name in ("box", "multi-discrete", "multi-binary")
} | {"discrete": COIN}
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


def monitored(makers: Sequence[Callable[[], Any]]) -> DummyVecEnv:
    """Builds what an SB3 user would build from single environments."""

    def monitor(make: Callable[[], Any]) -> Monitor:
        return Monitor(make())

    return DummyVecEnv([partial(monitor, make) for make in makers])


def plain(values: Any) -> Any:
    """Converts arrays to lists for an equality, and drops times."""
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items() if key != "t"}
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    return values.tolist() if isinstance(values, np.ndarray | np.generic) else values


def trace(env: Any, n_steps: int = 9) -> list[Any]:
    """Returns everything SB3 sees of steps with random actions."""
    results = [plain((env.reset(), env.reset_infos))]
    env.action_space.seed(0)
    for _ in range(n_steps):
        actions = np.stack([env.action_space.sample() for _ in range(env.num_envs)])
        obs, rewards, dones, infos = env.step(actions)
        infos = [{"TimeLimit.truncated": False} | info for info in infos]
        results.append(plain((obs, rewards, dones, infos, env.reset_infos)))
    return results


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_equals_dummy_vec_env_for_every_space_and_mode(
    name: str, truncates: bool, mode: AutoresetMode
) -> None:
    """Observations, rewards, dones, final observations, infos, reset infos."""
    singles = makers(OBSERVATIONS[name], truncates=truncates)
    env = as_vec_env(SyncVectorEnv(singles, autoreset_mode=mode))
    assert trace(env) == trace(monitored(singles))


@pytest.mark.parametrize("truncates", [False, True])
def test_equals_dummy_vec_env_for_a_native_environment(truncates: bool) -> None:
    env = as_vec_env(StaggeredVectorEnv([2, 3], AutoresetMode.SAME_STEP, truncates))
    singles = [partial(ScriptedEnv, [length], truncates) for length in (2, 3)]
    assert trace(env, 13) == trace(monitored(singles), 13)


def test_a_step_that_terminates_at_the_time_limit_is_no_truncation() -> None:
    """Gymnasium sets both flags; SB3's `TimeLimit.truncated` excludes termination."""

    def make() -> Any:
        return gymnasium.wrappers.TimeLimit(ScriptedEnv([2]), 2)

    env = as_vec_env(SyncVectorEnv([make]))
    assert trace(env, 5) == trace(monitored([make]), 5)
    env.reset()
    env.step(np.zeros(1, int))
    assert env.step(np.zeros(1, int))[3][0]["TimeLimit.truncated"] is False


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_environments_in_processes(mode: AutoresetMode) -> None:
    env = gymnasium.make_vec(
        f"pg_envs:{SEQUENCE}",
        num_envs=2,
        vectorization_mode="async",
        vector_kwargs={"autoreset_mode": mode},
    )
    assert isinstance(env, AsyncVectorEnv)
    adapter = as_vec_env(env)
    try:
        expected = monitored([lambda: gymnasium.make(SEQUENCE)] * 2)
        for vec_env in (adapter, expected):
            vec_env.seed(5)
        assert trace(adapter, 60) == trace(expected, 60)
        # The processes are in the middle of an episode: learning starts with a reset.
        assert REINFORCE("MlpPolicy", env, seed=0).learn(60).ep_info_buffer
    finally:
        adapter.close()
    assert not any(process.is_alive() for process in env.processes)


def test_dicts_from_processes() -> None:
    singles = makers(OBSERVATIONS["dict"])
    env = AsyncVectorEnv(singles)
    try:
        assert trace(as_vec_env(env)) == trace(monitored(singles))
    finally:
        env.close()


@pytest.mark.parametrize("mode", MODES)
def test_results_in_the_environments_infos_are_kept(mode: AutoresetMode) -> None:
    """Like those of a Monitor inside a wrapper that changes rewards."""
    env = gymnasium.make_vec(
        SEQUENCE,
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        wrappers=(
            gymnasium.wrappers.RecordEpisodeStatistics,
            lambda single: gymnasium.wrappers.TransformReward(single, lambda _: 100.0),
        ),
    )
    adapter = as_vec_env(env)
    adapter.reset()
    n_ends = 0
    for actions in np.random.default_rng(0).integers(0, 3, (200, 2)):
        _, rewards, dones, infos = adapter.step(actions)
        assert rewards.tolist() == [100.0, 100.0]
        for i in np.flatnonzero(dones):
            n_ends += 1
            assert infos[i]["episode"]["r"] < 1.0
    assert n_ends > 0


def test_unremovable_dummy_steps_are_refused_for_other_learners() -> None:
    """SB3's algorithms would take them for real. NEXT_STEP is Gymnasium's default."""
    env = StaggeredVectorEnv([2, 3])
    for metadata in (env.metadata, {}):
        env.metadata = metadata
        with pytest.raises(ValueError, match=r"dummy step.*vectorization_mode='sync'"):
            as_vec_env(env)


def test_dummy_steps_are_marked_and_not_counted() -> None:
    adapter = VectorEnvAdapter(StaggeredVectorEnv([2, 3]), True)
    adapter.reset()
    marks, lengths = [], []
    for _ in range(8):
        _, _, dones, infos = adapter.step(np.zeros(2, int))
        marks.append(adapter.dummy_steps.tolist())
        lengths += [(int(i), infos[i]["episode"]["l"]) for i in np.flatnonzero(dones)]
    no, first, second = [False, False], [True, False], [False, True]
    assert marks == [no, no, first, second, no, first, no, second]
    assert lengths == [(0, 2), (1, 3), (0, 2), (1, 3), (0, 2)]


def test_infos_of_a_dummy_step_are_reset_infos() -> None:
    single = SampleEnv(spaces.Discrete(3), COIN, [2])
    # The wrapper has no partial resets: the dummy steps remain.
    env = NormalizeReward(SyncVectorEnv([lambda: single]))
    adapter = VectorEnvAdapter(env, learner_skips_dummy_steps=True)
    adapter.reset()
    steps = []
    for _ in range(5):
        _, _, _, infos = adapter.step(np.zeros(1, int))
        steps.append((infos[0].get("steps"), adapter.reset_infos[0]["episode_number"]))
    assert steps == [(1, 0), (2, 0), (None, 1), (1, 1), (2, 1)]


def test_no_dummy_step_follows_a_reset() -> None:
    adapter = VectorEnvAdapter(StaggeredVectorEnv([1, 1]), True)
    adapter.reset()
    adapter.step(np.zeros(2, int))
    adapter.reset()
    _, rewards, dones, _ = adapter.step(np.zeros(2, int))
    assert adapter.dummy_steps.tolist() == [False, False]
    assert dones.all()
    assert rewards.tolist() == [10.0, 10.0]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple([BOX, COIN]),
        spaces.Dict({"inner": spaces.Dict({"a": BOX})}),
        spaces.Dict({"inner": spaces.Tuple([BOX])}),
        spaces.Text(3),
    ],
)
def test_spaces_without_a_policy_are_refused(space: Any) -> None:
    env = StaggeredVectorEnv([2], AutoresetMode.SAME_STEP)
    env.single_observation_space = space
    with pytest.raises(ValueError, match=r"observation space must be.*got"):
        as_vec_env(env)
    env = StaggeredVectorEnv([2], AutoresetMode.SAME_STEP)
    env.single_action_space = space
    with pytest.raises(ValueError, match=r"action space must be.*got"):
        as_vec_env(env)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("mode", ["native", "SameStep", "NextStep"])
def test_our_algorithms_wrap_vector_environments(
    algorithm: Any, mode: str, tmp_path: Path
) -> None:
    def make() -> Any:
        if mode == "native":
            return gymnasium.make_vec("CartPole-v1", num_envs=8)
        return gymnasium.make_vec(
            "CartPole-v1",
            num_envs=8,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": mode},
        )

    model = algorithm("MlpPolicy", make(), seed=0, n_steps=60).learn(480)
    # A dummy step has reward 0.
    assert (model.rollout_buffer.rewards == 1.0).all()
    assert len(model.ep_info_buffer) > 5
    assert all(info["r"] == info["l"] for info in model.ep_info_buffer)
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=make()).learn(480)
    assert (loaded.rollout_buffer.rewards == 1.0).all()
    loaded.set_env(make())
    loaded.learn(480)


@pytest.mark.parametrize("algorithm", [A2C, PPO, ActorCritic])
@pytest.mark.parametrize("mode", MODES)
def test_dicts_truncations_and_successes_reach_the_learner(
    algorithm: Any, mode: AutoresetMode
) -> None:
    singles = makers(OBSERVATIONS["dict"], truncates=True)
    env = as_vec_env(SyncVectorEnv(singles, autoreset_mode=mode))
    kwargs = {"n_steps": 8, "batch_size": 8} if algorithm is PPO else {}
    model = algorithm("MultiInputPolicy", env, seed=0, **kwargs).learn(60)
    assert {info["l"] for info in model.ep_info_buffer} == {1, 2, 3}
    # Every second episode is a success.
    assert 0.4 < np.mean(model.ep_success_buffer) < 0.6


@pytest.mark.parametrize("algorithm", [A2C, REINFORCE])
def test_eval_callback(algorithm: Any, tmp_path: Path) -> None:
    """Its results, success rate and best model."""

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
    lengths = logged["ep_lengths"]
    assert set(lengths.ravel().tolist()) == {1, 2, 3}
    # The rewards of an episode are 1, 2, ..., n.
    np.testing.assert_array_equal(logged["results"], lengths * (lengths + 1) / 2)
    assert 0.4 <= np.mean(logged["successes"]) <= 0.6
    assert (tmp_path / "best_model.zip").exists()


def test_a_monitor_around_it_reports_the_same_results() -> None:
    for mode in MODES:
        adapter = as_vec_env(SyncVectorEnv(makers(), autoreset_mode=mode))
        # The adapter adds results, too.
        with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
            env = VecMonitor(adapter, info_keywords=("is_success",))
        expected = VecMonitor(DummyVecEnv(makers()), info_keywords=("is_success",))
        assert trace(env, 12) == trace(expected, 12)
