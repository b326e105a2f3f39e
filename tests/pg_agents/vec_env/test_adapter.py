"""Gymnasium vector environments through SB3's interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import NormalizeReward
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import pg_envs
from pg_agents import REINFORCE, ActorCritic, as_vec_env
from pg_agents.vec_env.adapter import VectorEnvAdapter
from tests.pg_agents.envs import SampleEnv, ScriptedEnv, StaggeredVectorEnv

SEQUENCE = "PGToy-Sequence-v0"


def steps_of(env: Any, n_steps: int) -> list[Any]:
    """Returns what SB3 gets to see, with everything that can differ."""
    seen: list[Any] = [env.reset().tolist()]
    for _ in range(n_steps):
        observations, rewards, dones, infos = env.step(np.zeros(env.num_envs, int))
        ends = {
            i: (
                infos[i]["terminal_observation"].tolist(),
                infos[i]["TimeLimit.truncated"],
                infos[i]["episode"]["r"],
                infos[i]["episode"]["l"],
            )
            for i in np.flatnonzero(dones)
        }
        seen.append((observations.tolist(), rewards.tolist(), dones.tolist(), ends))
    return seen


@pytest.mark.parametrize("truncates", [False, True])
def test_same_step_is_what_stable_baselines3_makes_of_the_single_environments(
    truncates: bool,
) -> None:
    ours = as_vec_env(StaggeredVectorEnv([2, 3], AutoresetMode.SAME_STEP, truncates))
    theirs = VecMonitor(
        DummyVecEnv(
            [lambda: ScriptedEnv([2], truncates), lambda: ScriptedEnv([3], truncates)]
        )
    )
    assert steps_of(ours, 13) == steps_of(theirs, 13)


def test_a_step_that_terminates_at_its_limit_terminates() -> None:
    """Gymnasium reports both flags; SB3 speaks of a time limit only without the end."""

    def make() -> Any:
        return gymnasium.wrappers.TimeLimit(ScriptedEnv([2]), 2)

    ours = as_vec_env(gymnasium.vector.SyncVectorEnv([make]))
    assert steps_of(ours, 5) == steps_of(VecMonitor(DummyVecEnv([make])), 5)
    ours.reset()
    ours.step(np.zeros(1, int))
    assert ours.step(np.zeros(1, int))[3][0]["TimeLimit.truncated"] is False


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_gymnasiums_own_vector_environment_in_every_mode(mode: AutoresetMode) -> None:
    """NEXT_STEP and DISABLED become SB3's way by restarting what has ended."""

    def makers(truncates: bool) -> list[Any]:
        return [
            lambda: ScriptedEnv([2], truncates),
            lambda: ScriptedEnv([3], truncates),
        ]

    for truncates in (False, True):
        env = gymnasium.vector.SyncVectorEnv(makers(truncates), autoreset_mode=mode)
        theirs = VecMonitor(DummyVecEnv(makers(truncates)))
        assert steps_of(as_vec_env(env), 13) == steps_of(theirs, 13)


def test_dummy_steps_that_cannot_be_removed_are_refused_for_other_learners() -> None:
    """SB3's algorithms would learn from dummy steps."""
    with pytest.raises(ValueError, match=r"dummy step.*vectorization_mode='sync'"):
        as_vec_env(StaggeredVectorEnv([2, 3]))


def test_dummy_steps_are_marked_for_a_learner_that_skips_them() -> None:
    env = StaggeredVectorEnv([2, 3])
    adapter = VectorEnvAdapter(env, learner_skips_dummy_steps=True)
    adapter.reset()
    marks = []
    for _ in range(8):
        adapter.step(np.zeros(2, int))
        marks.append(adapter.dummy_steps.tolist())
    no, first, second = [False, False], [True, False], [False, True]
    assert marks == [no, no, first, second, no, first, no, second]


def test_a_dummy_step_is_no_step_of_an_episode() -> None:
    adapter = VectorEnvAdapter(StaggeredVectorEnv([2, 3]), True)
    adapter.reset()
    lengths: list[set[int]] = [set(), set()]
    for _ in range(12):
        _, _, dones, infos = adapter.step(np.zeros(2, int))
        for i in np.flatnonzero(dones):
            lengths[i].add(infos[i]["episode"]["l"])
    assert lengths == [{2}, {3}]


def test_infos_of_a_dummy_step_are_those_of_a_restart() -> None:
    single = SampleEnv(gymnasium.spaces.Discrete(3), gymnasium.spaces.Discrete(2), [2])
    # A wrapper that can't be told of a restart: the dummy steps remain.
    env = NormalizeReward(gymnasium.vector.SyncVectorEnv([lambda: single]))
    adapter = VectorEnvAdapter(env, learner_skips_dummy_steps=True)
    adapter.reset()
    told = []
    for _ in range(5):
        _, _, _, infos = adapter.step(np.zeros(1, int))
        told.append((infos[0].get("steps"), adapter.reset_infos[0]["episode_number"]))
    assert told == [(1, 0), (2, 0), (None, 1), (1, 1), (2, 1)]
    assert infos[0]["episode"]["l"] == 2


def test_after_a_reset_there_is_no_dummy_step() -> None:
    adapter = VectorEnvAdapter(StaggeredVectorEnv([1, 1]), True)
    adapter.reset()
    adapter.step(np.zeros(2, int))
    adapter.reset()
    _, rewards, dones, _ = adapter.step(np.zeros(2, int))
    assert adapter.dummy_steps.tolist() == [False, False]
    assert dones.all()
    assert rewards.tolist() == [10.0, 10.0]


def test_what_is_no_vector_environment_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"takes a gymnasium.vector.VectorEnv.*got Scri"
    ):
        as_vec_env(ScriptedEnv([3]))  # type: ignore[arg-type]


def test_tensors_become_arrays() -> None:
    env = as_vec_env(pg_envs.make_torch_vec(SEQUENCE, 3, "cpu"))
    observations = env.reset()
    assert isinstance(observations, np.ndarray)
    observations, rewards, dones, _ = env.step(np.array([2, 2, 2]))
    assert isinstance(observations, np.ndarray)
    assert observations.tolist() == [[0.0]] * 3
    assert rewards.tolist() == [pytest.approx(-0.05)] * 3
    assert dones.dtype == np.bool_


@pytest.mark.parametrize("algorithm", [A2C, PPO, REINFORCE])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_algorithms_learn_on_it(algorithm: Any, kind: str) -> None:
    env: Any = (
        gymnasium.make_vec(SEQUENCE, num_envs=4)
        if kind == "numpy"
        else pg_envs.make_torch_vec(SEQUENCE, 4, "cpu")
    )
    given = env if algorithm is REINFORCE else as_vec_env(env)
    more = {"n_steps": 16, "batch_size": 64} if algorithm is PPO else {}
    model = algorithm("MlpPolicy", given, seed=0, **more).learn(300)
    assert model.ep_info_buffer
    assert all(-5.0 <= info["r"] <= 0.9 for info in model.ep_info_buffer)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("mode", ["native", "SameStep", "NextStep"])
def test_our_agents_take_it_as_it_is(algorithm: Any, mode: str, tmp_path: Path) -> None:
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
    # A dummy step would have brought nothing.
    assert (model.rollout_buffer.rewards == 1.0).all()
    results = list(model.ep_info_buffer)
    assert len(results) > 5
    assert all(info["r"] == info["l"] for info in results)
    model.save(tmp_path / "model")
    again = algorithm.load(tmp_path / "model", env=make()).learn(480)
    assert (again.rollout_buffer.rewards == 1.0).all()
    again.set_env(make())
    again.learn(480)


def test_seeds_are_handed_on() -> None:
    env = as_vec_env(gymnasium.make_vec("PGToy-Bandit-v0", 3, reward_noise="gaussian"))
    drawn = []
    for seed in (1, 1, 2):
        env.seed(seed)
        env.reset()
        drawn.append(env.step(np.zeros(3, int))[1].tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_evaluation_finds_the_results_of_a_monitor() -> None:
    env = as_vec_env(gymnasium.make_vec(SEQUENCE, num_envs=2))
    model = REINFORCE("MlpPolicy", env, seed=0)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=4)
    assert isinstance(mean, float)


def test_a_wrapped_vector_environment_keeps_its_wrappers() -> None:
    env = gymnasium.make_vec(SEQUENCE, num_envs=2)
    wrapped = gymnasium.wrappers.vector.TransformReward(
        env, lambda rewards: 10 * rewards
    )
    adapter = as_vec_env(wrapped)
    adapter.reset()
    _, rewards, _, _ = adapter.step(np.array([2, 2]))
    assert rewards.tolist() == [pytest.approx(-0.5)] * 2
    assert torch.is_tensor(torch.as_tensor(rewards))


def test_an_environment_that_names_no_autoreset_mode_has_gymnasiums_default() -> None:
    """That is NEXT_STEP, with its dummy steps."""
    env = StaggeredVectorEnv([2, 3])
    env.metadata = {}
    with pytest.raises(ValueError, match="dummy step"):
        as_vec_env(env)
