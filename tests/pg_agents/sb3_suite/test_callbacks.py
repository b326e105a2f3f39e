"""SB3's callbacks, beyond what its own tests ask of A2C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    ConvertCallback,
    EvalCallback,
    EventCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import pg_envs
from pg_agents import REINFORCE
from tests.pg_agents.sb3_suite.agents import AGENTS, rows_of, sample_env, small


@pytest.mark.parametrize("agent", AGENTS)
def test_all_stock_callbacks_work_together(agent: Any, tmp_path: Path) -> None:
    model = small(agent, "Pendulum-v1", n_steps=8)
    rows = rows_of(model)
    saves = CheckpointCallback(save_freq=16, save_path=str(tmp_path))
    threshold = StopTrainingOnRewardThreshold(reward_threshold=0.0)
    improvement = StopTrainingOnNoModelImprovement(max_no_improvement_evals=9)
    evaluation = EvalCallback(
        gymnasium.wrappers.TimeLimit(gymnasium.make("Pendulum-v1"), 10),
        callback_on_new_best=threshold,
        callback_after_eval=improvement,
        best_model_save_path=str(tmp_path / "best"),
        log_path=str(tmp_path),
        eval_freq=16,
        n_eval_episodes=2,
        warn=False,
        verbose=0,
    )
    on_event = CheckpointCallback(1, str(tmp_path), name_prefix="event")
    event = EveryNTimesteps(n_steps=24, callback=on_event)
    logs = LogEveryNTimesteps(n_steps=20)
    episodes = StopTrainingOnMaxEpisodes(max_episodes=100)
    callbacks = CallbackList([saves, evaluation, event, logs, episodes])
    model.learn(64, callback=callbacks, log_interval=None)

    new_obs = callbacks.locals["new_obs"]
    assert model.env.observation_space.contains(new_obs[0])
    for callback in (saves, evaluation, event, logs, episodes, on_event):
        assert callback.locals["new_obs"] is new_obs
    assert event.n_calls == event.num_timesteps == model.num_timesteps == 64
    names = {path.name for path in tmp_path.iterdir()}
    expected = {f"rl_model_{steps}_steps.zip" for steps in (16, 32, 48, 64)}
    assert expected | {"event_24_steps.zip", "event_48_steps.zip"} <= names
    assert agent.load(tmp_path / "rl_model_32_steps").num_timesteps == 32
    results = np.load(tmp_path / "evaluations.npz")
    assert results["timesteps"].tolist() == [16, 32, 48, 64]
    assert agent.load(tmp_path / "best" / "best_model").num_timesteps in (
        16,
        32,
        48,
        64,
    )
    assert [step for step, _ in rows.rows if step % 20 == 0] == [20, 40, 60]
    evaluated = [step for step, row in rows.rows if "eval/mean_reward" in row]
    assert evaluated == [16, 32, 48, 64]


@pytest.mark.parametrize("agent", AGENTS)
def test_training_stops_at_the_last_of_max_episodes(agent: Any) -> None:
    env = DummyVecEnv([lambda: Monitor(sample_env(length=13))] * 2)
    stop = StopTrainingOnMaxEpisodes(max_episodes=2)
    model = small(agent, env, n_steps=5).learn(500, callback=stop)
    # Two episodes of each environment.
    assert stop.n_episodes == 4
    assert model.num_timesteps == 2 * 2 * 13
    # SB3 drops the episodes that end in the step that stops training.
    assert len(model.ep_info_buffer) == 4


@pytest.mark.parametrize("make", [pg_envs.make_torch_vec, gymnasium.make_vec])
@pytest.mark.parametrize("agent", AGENTS)
def test_callbacks_work_with_native_vector_environments(agent: Any, make: Any) -> None:
    """Including those that step in tensors: SB3's callbacks expect arrays."""
    env = make("PGToy-Bandit-v0", num_envs=2, max_episode_steps=13)
    model = small(agent, env, n_steps=5, seed=0)
    stop, types = StopTrainingOnMaxEpisodes(max_episodes=2), []

    def look(local: dict[str, Any], _globals: object) -> bool:
        types.append({type(local[name]) for name in ("actions", "rewards", "new_obs")})
        assert [info.get("episode", {}).get("l") for info in local["infos"]] == [
            13 if done else None for done in local["dones"]
        ]
        return True

    model.learn(500, callback=CallbackList([ConvertCallback(look), stop]))
    assert stop.n_episodes == 4
    assert model.num_timesteps == len(types) * 2 == 2 * 2 * 13
    assert all(found == {np.ndarray} for found in types)


@pytest.mark.parametrize("agent", AGENTS)
def test_the_episode_that_ends_in_the_last_step_is_counted(agent: Any) -> None:
    model = small(agent, sample_env(length=3), n_steps=8)
    rows = rows_of(model)
    model.learn(100, callback=lambda local, _: not local["dones"][0])
    assert model.num_timesteps == 3
    assert [episode["l"] for episode in model.ep_info_buffer] == [3]
    # It is logged too: the return is 1 + 2 + 3.
    assert rows.rows[-1][1]["rollout/ep_rew_mean"] == 6.0


@pytest.mark.parametrize("agent", AGENTS)
def test_child_callbacks_know_their_evaluation(agent: Any) -> None:
    parents: list[Any] = []

    class Child(BaseCallback):
        def _on_step(self) -> bool:
            parents.append(self.parent)
            return True

    def stops_at(threshold: float) -> EvalCallback:
        stop = StopTrainingOnRewardThreshold(threshold)
        return EvalCallback(
            sample_env(),
            callback_on_new_best=CallbackList([Child(), stop]),
            callback_after_eval=CallbackList([Child()]),
            eval_freq=4,
            n_eval_episodes=1,
            warn=False,
            verbose=0,
        )

    # Every episode is worth 1 + ... + 8 = 36.
    model = small(agent, n_steps=8)
    model.learn(8, callback=(unreachable := stops_at(37.0)))
    # The first evaluation is the best so far, the second is not.
    assert parents == [unreachable] * 3
    assert model.learn(64, callback=stops_at(36.0)).num_timesteps == 4


@pytest.mark.parametrize("agent", AGENTS)
def test_training_stops_without_improvement(agent: Any) -> None:
    evaluation = EvalCallback(
        sample_env(),
        callback_after_eval=StopTrainingOnNoModelImprovement(2, min_evals=1),
        eval_freq=4,
        n_eval_episodes=1,
        warn=False,
        verbose=0,
    )
    model = small(agent, n_steps=8).learn(64, callback=evaluation)
    # The first is the best, two do not improve, the third one of these stops.
    assert model.num_timesteps == 16


def test_events_count_the_steps_of_idle_environments_too() -> None:
    """EveryNTimesteps counts the steps of all environments, as in SB3."""

    class RecordSteps(EventCallback):
        steps: tuple[int, ...] = ()

        def _on_step(self) -> bool:
            self.steps += (self.num_timesteps,)
            return True

    envs = DummyVecEnv([lambda: sample_env(length=2), lambda: sample_env(length=6)])
    record = RecordSteps()
    small(REINFORCE, envs).learn(12, callback=EveryNTimesteps(4, record))
    assert record.steps == (4, 8, 12)
