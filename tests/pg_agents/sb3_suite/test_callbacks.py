"""Callbacks: what SB3's test_callbacks asks of A2C, and what it does not ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    ConvertCallback,
    EvalCallback,
    EventCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.envs import IdentityEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import pg_envs
from pg_agents import REINFORCE
from tests.pg_agents.sb3_suite.agents import (
    AGENTS,
    SMALL,
    rows_of,
    same,
    sample_env,
    weights,
)


def small(agent: Any, env: Any = None, **kwargs: Any) -> Any:
    return agent("MlpPolicy", env or sample_env(), policy_kwargs=SMALL, **kwargs)


class Hooks(BaseCallback):
    """Notes which of its methods were called, and how often."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def _on_training_start(self) -> None:
        self.calls.append("training_start")

    def _on_rollout_start(self) -> None:
        self.calls.append("rollout_start")

    def _on_step(self) -> bool:
        self.calls.append("step")
        return True

    def _on_rollout_end(self) -> None:
        self.calls.append("rollout_end")
        assert self.model.rollout_buffer.full  # type: ignore[attr-defined]

    def _on_training_end(self) -> None:
        self.calls.append("training_end")


@pytest.mark.parametrize("agent", AGENTS)
def test_every_hook_is_called_in_its_turn(agent: Any) -> None:
    hooks = Hooks()
    small(agent, n_steps=2).learn(4, callback=hooks)
    rollout = ["rollout_start", "step", "step", "rollout_end"]
    assert hooks.calls == ["training_start", *rollout, *rollout, "training_end"]


# test_callbacks::test_callbacks,
# test_callbacks::test_eval_callback_logs_are_written_with_the_correct_timestep
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
    given = CallbackList([saves, evaluation, event, logs, episodes])
    model.learn(64, callback=given, log_interval=None)

    new_obs = given.locals["new_obs"]
    assert model.env.observation_space.contains(new_obs[0])
    for each in (saves, evaluation, event, logs, episodes, on_event):
        assert each.locals["new_obs"] is new_obs
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


# test_callbacks::test_callbacks
@pytest.mark.parametrize("agent", AGENTS)
def test_lists_functions_and_none_are_callbacks(agent: Any) -> None:
    seen: list[int] = []

    def note(local: dict[str, Any], _: dict[str, Any]) -> bool:
        seen.append(local["self"].num_timesteps)
        return len(seen) < 12

    model = small(agent, n_steps=8)
    model.learn(8, callback=None)
    assert model.learn(8, callback=[Hooks(), Hooks()]).num_timesteps == 8
    model.learn(64, callback=note)
    assert seen == list(range(1, 13)) and model.num_timesteps == 12


# test_callbacks::test_callbacks
@pytest.mark.parametrize("agent", AGENTS)
def test_training_stops_at_the_episode_that_is_the_last_one(agent: Any) -> None:
    env = DummyVecEnv([lambda: Monitor(sample_env(length=13))] * 2)
    stop = StopTrainingOnMaxEpisodes(max_episodes=2)
    model = small(agent, env, n_steps=5).learn(500, callback=stop)
    # Two episodes of each environment.
    assert stop.n_episodes == 4
    assert model.num_timesteps == 2 * 2 * 13
    # SB3 forgets those that ended in the very step that stopped it.
    assert len(model.ep_info_buffer) == 4


@pytest.mark.parametrize("make", [pg_envs.make_torch_vec, gymnasium.make_vec])
@pytest.mark.parametrize("agent", AGENTS)
def test_callbacks_read_native_vector_environments_too(agent: Any, make: Any) -> None:
    """Those that step in tensors among them: SB3's callbacks ask for arrays."""
    env = make("PGToy-Bandit-v0", num_envs=2, max_episode_steps=13)
    model = small(agent, env, n_steps=5, seed=0)
    stop, seen = StopTrainingOnMaxEpisodes(max_episodes=2), []

    def look(local: dict[str, Any], _globals: object) -> bool:
        seen.append({type(local[name]) for name in ("actions", "rewards", "new_obs")})
        assert [info.get("episode", {}).get("l") for info in local["infos"]] == [
            13 if done else None for done in local["dones"]
        ]
        return True

    model.learn(500, callback=CallbackList([ConvertCallback(look), stop]))
    assert stop.n_episodes == 4
    assert model.num_timesteps == len(seen) * 2 == 2 * 2 * 13
    assert all(types == {np.ndarray} for types in seen)


@pytest.mark.parametrize("agent", AGENTS)
def test_an_episode_that_ends_as_training_is_stopped_is_not_lost(agent: Any) -> None:
    model = small(agent, sample_env(length=3), n_steps=8)
    rows = rows_of(model)
    model.learn(100, callback=lambda local, _: not local["dones"][0])
    assert model.num_timesteps == 3
    assert [episode["l"] for episode in model.ep_info_buffer] == [3]
    # It is in the log as well: the return is 1 + 2 + 3.
    assert rows.rows[-1][1]["rollout/ep_rew_mean"] == 6.0


class StopNow(BaseCallback):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    def _on_step(self) -> bool:
        return self.answer  # type: ignore[no-any-return]


# test_callbacks::test_callbacks_can_cancel_runs
@pytest.mark.parametrize("answer", [False, np.bool_(False), torch.tensor(False)])
@pytest.mark.parametrize("agent", AGENTS)
def test_any_kind_of_false_stops_at_once(agent: Any, answer: Any) -> None:
    model = small(agent, stats_window_size=1)
    before = weights(model)
    stop = StopNow(answer)
    assert model.learn(10, callback=stop).num_timesteps == 1
    assert stop.n_calls == 1 and same(before, weights(model))


# test_callbacks::test_eval_callback_vec_env
@pytest.mark.parametrize("agent", AGENTS)
def test_evaluates_in_several_environments(agent: Any) -> None:
    evaluation = EvalCallback(
        DummyVecEnv([lambda: IdentityEnv(ep_length=10)] * 3),
        n_eval_episodes=3,
        eval_freq=20,
        warn=False,
        verbose=0,
    )
    small(agent, IdentityEnv(ep_length=10)).learn(40, callback=evaluation)
    assert evaluation.last_mean_reward == 10.0


# test_callbacks::test_eval_friendly_error
@pytest.mark.parametrize("agent", AGENTS)
def test_evaluation_shares_the_normalisation_or_says_so(agent: Any) -> None:
    train_env = VecNormalize(DummyVecEnv([sample_env]))
    seen: Any = train_env.reset()
    dummy = DummyVecEnv([sample_env])
    eval_env = VecNormalize(dummy, training=False, norm_reward=False)
    model = small(agent, train_env, n_steps=10)
    options: Any = {"eval_freq": 20, "n_eval_episodes": 1, "warn": False, "verbose": 0}
    model.learn(20, callback=EvalCallback(eval_env, **options))
    known: list[Any] = [env.normalize_obs(seen) for env in (train_env, eval_env)]
    np.testing.assert_allclose(*known)
    with pytest.warns(UserWarning, match="not of the same type"):
        with pytest.raises(AssertionError, match="synchronizing normalization"):
            model.learn(20, callback=EvalCallback(sample_env(), **options))


# test_callbacks::test_eval_callback_chaining
@pytest.mark.parametrize("agent", AGENTS)
def test_callbacks_know_the_evaluation_that_calls_them(agent: Any) -> None:
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
def test_training_stops_where_nothing_improves(agent: Any) -> None:
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


# test_callbacks::test_checkpoint_additional_info
@pytest.mark.parametrize("agent", AGENTS)
def test_checkpoints_keep_the_normalisation(agent: Any, tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([sample_env]))
    saves = CheckpointCallback(10, str(tmp_path), save_vecnormalize=True)
    small(agent, env).learn(10, callback=saves)
    path = tmp_path / "rl_model_vecnormalize_10_steps.pkl"
    statistics: Any = VecNormalize.load(str(path), DummyVecEnv([sample_env])).obs_rms
    # The count begins at a small number; one of them is the reset's.
    assert round(statistics.count) == 11


# test_callbacks::test_callbacks
@pytest.mark.filterwarnings("ignore::tqdm.TqdmExperimentalWarning")
@pytest.mark.parametrize("agent", AGENTS)
def test_both_progress_bars_count_the_steps(
    agent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small(agent, n_steps=8)
    model.learn(16, callback=Hooks(), progress_bar=True)
    model.learn(16, callback=[Hooks()], progress_bar=True)
    stock = ProgressBarCallback()
    model.learn(16, callback=stock)
    assert stock.pbar.n == 16
    assert model.num_timesteps == 16
    capsys.readouterr()


def test_events_count_the_steps_of_idle_environments_too() -> None:
    """A callback every n steps goes by the steps of the environments, as in SB3."""

    class Note(EventCallback):
        steps: tuple[int, ...] = ()

        def _on_step(self) -> bool:
            self.steps += (self.num_timesteps,)
            return True

    envs = DummyVecEnv([lambda: sample_env(length=2), lambda: sample_env(length=6)])
    note = Note()
    small(REINFORCE, envs).learn(12, callback=EveryNTimesteps(4, note))
    assert note.steps == (4, 8, 12)
