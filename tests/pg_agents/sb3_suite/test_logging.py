"""Logs: what SB3's test_logger and test_tensorboard ask of A2C."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import (
    CSVOutputFormat,
    HParam,
    HumanOutputFormat,
    JSONOutputFormat,
    TensorBoardOutputFormat,
    configure,
)
from stable_baselines3.common.monitor import Monitor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pg_agents import REINFORCE
from tests.pg_agents.sb3_suite.agents import AGENTS, SMALL, rows_of, sample_env


def small(agent: Any, env: Any = None, **kwargs: Any) -> Any:
    return agent("MlpPolicy", env or sample_env(), policy_kwargs=SMALL, **kwargs)


def formats(model: Any) -> list[type]:
    return [type(each) for each in model.logger.output_formats]


# test_logger::test_set_logger
@pytest.mark.parametrize("agent", AGENTS)
def test_what_is_written_where(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = {"tensorboard_log": str(tmp_path)}
    human, tensorboard = HumanOutputFormat, TensorBoardOutputFormat
    assert formats(small(agent).learn(4)) == []
    model = small(agent, **board).learn(4)
    assert str(tmp_path) in model.logger.dir and formats(model) == [tensorboard]
    assert formats(small(agent, verbose=1).learn(4)) == [human]
    assert formats(small(agent, verbose=1, **board).learn(4)) == [human, tensorboard]
    monkeypatch.setenv("SB3_LOGDIR", str(tmp_path / "elsewhere"))
    assert small(agent).learn(4).logger.dir == str(tmp_path / "elsewhere")


# test_logger::test_set_logger
@pytest.mark.parametrize("agent", AGENTS)
def test_a_logger_that_was_set_stays(agent: Any, tmp_path: Path) -> None:
    names = ["stdout", "csv", "json", "tensorboard"]
    given = configure(str(tmp_path), names)
    model = small(agent, verbose=1)
    for _ in range(2):
        model.set_logger(given)
        model.learn(16)
        assert model.logger is given
    assert formats(model) == [
        HumanOutputFormat,
        CSVOutputFormat,
        JSONOutputFormat,
        TensorBoardOutputFormat,
    ]
    given.close()


@pytest.mark.parametrize("agent", AGENTS)
def test_every_format_has_the_last_update(
    agent: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small(agent, n_steps=8)
    model.set_logger(configure(str(tmp_path), ["stdout", "csv", "json", "tensorboard"]))
    model.learn(24, log_interval=2)
    model.logger.close()
    with (tmp_path / "progress.csv").open() as file:
        table = list(csv.DictReader(file))
    lines = (tmp_path / "progress.json").read_text().splitlines()
    # After the second of three updates SB3 logs the first, and the third never.
    assert [row["train/n_updates"] for row in table] == ["1", "3"]
    assert [json.loads(line)["train/n_updates"] for line in lines] == [1, 3]
    losses = [json.loads(line)["train/policy_loss"] for line in lines]
    events = EventAccumulator(str(tmp_path)).Reload()
    written = events.Scalars("train/policy_loss")
    assert [event.step for event in written] == [16, 24]
    np.testing.assert_allclose([event.value for event in written], losses, rtol=1e-5)
    assert "n_updates" in capsys.readouterr().out


@pytest.mark.parametrize("agent", AGENTS)
def test_no_interval_no_log(agent: Any) -> None:
    model = small(agent, n_steps=4)
    rows = rows_of(model)
    model.learn(16, log_interval=None)
    assert rows.rows == []


class Parameters(BaseCallback):
    """Logs hyperparameters, as SB3's documentation shows."""

    def _on_training_start(self) -> None:
        given = HParam({"gamma": 0.9}, {"rollout/ep_len_mean": 0})
        exclude = ("stdout", "log", "json", "csv")
        self.logger.record("hparams", given, exclude=exclude)

    def _on_step(self) -> bool:
        return True


# test_tensorboard::test_tensorboard
@pytest.mark.parametrize("agent", AGENTS)
def test_runs_are_numbered_unless_they_go_on(agent: Any, tmp_path: Path) -> None:
    model = small(agent, tensorboard_log=str(tmp_path), n_steps=8)
    model.learn(16, callback=Parameters())
    model.learn(16, reset_num_timesteps=False)
    name = agent.__name__
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}_1"]
    for _ in range(2):
        model.learn(8, tb_log_name="again")
    names = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert names == {f"{name}_1", "again_1", "again_2"}
    model.logger.close()


class Timed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Turns the clock on by 2 ms with every step."""

    nanoseconds = 0

    def step(self, action: Any) -> Any:
        self.nanoseconds += 2_000_000
        return super().step(action)


# test_logger::test_fps_logger
@pytest.mark.parametrize("agent", AGENTS)
def test_frames_per_second_are_those_of_this_call(agent: Any) -> None:
    env = Timed(sample_env())
    model = small(agent, env)
    rows = rows_of(model)
    with mock.patch("time.time_ns", lambda: env.nanoseconds):
        model.learn(32, log_interval=1)
        # Steps of earlier calls were not taken in the time of this one.
        model.num_timesteps = 20_000
        model.learn(32, log_interval=1, reset_num_timesteps=False)
    assert rows.rows
    assert all(row["time/fps"] == pytest.approx(500, abs=1) for _, row in rows.rows)


# test_logger::test_fps_no_div_zero
@pytest.mark.parametrize("agent", AGENTS)
def test_a_clock_that_stands_still_divides_nothing_by_zero(agent: Any) -> None:
    model = small(agent)
    with mock.patch("time.time_ns", return_value=42), mock.patch("time.time"):
        assert model.learn(16).num_timesteps >= 16


# test_logger::test_ep_buffers_stats_window_size
@pytest.mark.parametrize("agent", AGENTS)
def test_means_go_over_the_last_episodes(agent: Any) -> None:
    model = small(agent, sample_env(length=2), stats_window_size=3, n_steps=5)
    model.learn(20)
    assert model.ep_info_buffer.maxlen == model.ep_success_buffer.maxlen == 3
    assert len(model.ep_info_buffer) == 3


# test_logger::test_rollout_success_rate_onpolicy_algo
@pytest.mark.parametrize("agent", AGENTS)
def test_successes_are_counted(agent: Any) -> None:
    """Episodes of an odd number succeed: 1 and 3 of the last three of four."""
    env = Monitor(sample_env(length=2), info_keywords=("is_success",))
    model = small(agent, env, stats_window_size=3, n_steps=4)
    rows = rows_of(model)
    model.learn(8, log_interval=1)
    assert list(model.ep_success_buffer) == [True, False, True]
    assert rows.rows[-1][1]["rollout/success_rate"] == pytest.approx(2 / 3)


def test_idle_environments_are_logged_with_several_environments_only() -> None:
    model = small(REINFORCE)
    rows = rows_of(model)
    model.learn(16, log_interval=1)
    assert all("rollout/idle_fraction" not in row for _, row in rows.rows)
