"""The progress bar."""

import io
import re

import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.callbacks import ProgressCallback, StopWhenSolved
from tests.pg_agents.callbacks.tiny_envs import ScriptedEnv, a2c

EPISODES = [[1.0, 1.0], [4.0, 4.0]]  # returns 2, 8, 2, 8, ...


class Crash(BaseCallback):
    def _on_step(self) -> bool:
        raise RuntimeError("crash")


def last_line(file: io.StringIO) -> str:
    return re.split(r"[\r\n]+", file.getvalue().rstrip())[-1].rstrip()


def test_the_bar_shows_steps_return_and_running_reward() -> None:
    file = io.StringIO()
    callback = ProgressCallback(0.5, "toy", file=file)
    a2c(ScriptedEnv(EPISODES)).learn(10, callback=callback)
    # Returns 2, 8, 2, 8, 2 with weights 1, 2, 4, 8, 16 of 31.
    running = (2 * (1 + 4 + 16) + 8 * (2 + 8)) / 31
    assert callback.running_reward.value == pytest.approx(running)
    line = last_line(file)
    assert line.startswith("toy: 100%|")
    assert f" 10/10 steps, episode 2, running {running:.4g} [" in line
    assert file.getvalue().endswith("\n")


def test_more_steps_than_the_total_still_show_a_bar() -> None:
    file = io.StringIO()
    model = PPO("MlpPolicy", ScriptedEnv(EPISODES), n_steps=8, batch_size=8)
    model.learn(10, callback=ProgressCallback(file=file))
    assert model.num_timesteps == 16
    assert "| 16/16 steps" in last_line(file)


def test_continued_training_continues_the_count() -> None:
    model = a2c(ScriptedEnv(EPISODES))
    callback = ProgressCallback(file=io.StringIO())
    model.learn(10, callback=callback)
    callback.file = io.StringIO()
    model.learn(20, callback=callback, reset_num_timesteps=False)
    assert "| 10/30 steps" in callback.file.getvalue()
    assert "100%" in last_line(callback.file)
    assert "| 30/30 steps" in last_line(callback.file)
    assert callback.running_reward.n_episodes == 15
    model.learn(10, callback=callback)
    assert callback.running_reward.n_episodes == 5


def test_the_bar_may_count_episodes() -> None:
    """Five episodes of two steps, of 20; then five more."""
    file = io.StringIO()
    callback = ProgressCallback(0.5, episodes=20, file=file)
    model = a2c(ScriptedEnv(EPISODES))
    model.learn(10, callback=callback)
    assert "| 5/20 episodes, 10 steps, episode 2, running " in last_line(file)
    assert last_line(file).startswith(" 25%|")
    model.learn(10, callback=callback, reset_num_timesteps=False)
    assert "| 10/20 episodes, 20 steps, episode 8, running " in last_line(file)
    # More than expected.
    callback.episodes = 3
    model.learn(10, callback=callback)
    assert "100%" in last_line(file) and "| 5/5 episodes, 10" in last_line(file)


def test_stopping_early_closes_the_bar() -> None:
    file = io.StringIO()
    callback = ProgressCallback(file=file)
    stop = StopWhenSolved(2.0, min_episodes=1, verbose=0)
    a2c(ScriptedEnv(EPISODES)).learn(10, callback=[callback, stop])
    assert "| 2/10 steps, episode 2, running 2 [" in last_line(file)


def test_after_an_exception_close_or_the_next_learn_closes_the_bar() -> None:
    model, file = a2c(ScriptedEnv(EPISODES)), io.StringIO()
    callback = ProgressCallback(file=file)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="crash"):
            model.learn(10, callback=[callback, Crash()])
    assert not file.getvalue().endswith("\n")
    callback.close()
    assert file.getvalue().endswith("\n") and "| 1/10 steps" in last_line(file)


def test_a_disabled_bar_writes_nothing() -> None:
    file = io.StringIO()
    callback = ProgressCallback(disable=True, file=file)
    a2c(ScriptedEnv(EPISODES)).learn(10, callback=callback)
    assert file.getvalue() == ""
    assert callback.running_reward.n_episodes == 5


def test_the_bar_is_written_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = A2C("MlpPolicy", "CartPole-v1", seed=0)
    model.learn(50, callback=ProgressCallback())
    captured = capsys.readouterr()
    assert "| 50/50 steps, episode " in captured.err
    assert captured.out == ""
