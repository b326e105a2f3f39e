"""Logger output, beyond what SB3's own tests ask of A2C."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import HParam, configure
from stable_baselines3.common.monitor import Monitor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pg_agents import REINFORCE
from tests.pg_agents.sb3_suite.agents import AGENTS, rows_of, sample_env, small


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
    # SB3 logs the first update after the second and never the third.
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
    """Logs hyperparameters as in SB3's documentation."""

    def _on_training_start(self) -> None:
        params = HParam({"gamma": 0.9}, {"rollout/ep_len_mean": 0})
        exclude = ("stdout", "log", "json", "csv")
        self.logger.record("hparams", params, exclude=exclude)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("agent", AGENTS)
def test_runs_are_numbered_unless_they_continue(agent: Any, tmp_path: Path) -> None:
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


@pytest.mark.parametrize("agent", AGENTS)
def test_successes_are_counted(agent: Any) -> None:
    """Every other episode succeeds: the first and third of the last three."""
    env = Monitor(sample_env(length=2), info_keywords=("is_success",))
    model = small(agent, env, stats_window_size=3, n_steps=4)
    rows = rows_of(model)
    model.learn(8, log_interval=1)
    assert list(model.ep_success_buffer) == [True, False, True]
    assert rows.rows[-1][1]["rollout/success_rate"] == pytest.approx(2 / 3)


def test_one_environment_logs_no_idle_fraction() -> None:
    model = small(REINFORCE)
    rows = rows_of(model)
    model.learn(16, log_interval=1)
    assert all("rollout/idle_fraction" not in row for _, row in rows.rows)
