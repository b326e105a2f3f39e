"""The stages of a warm start: recorded, skipped when finished, resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from pg_agents import ActorCritic
from pg_agents.experiments import (
    DamagedRunError,
    Evaluation,
    Progress,
    RunConfig,
    RunFolder,
    Training,
    find_recipe,
    run_one,
    warm_start,
)
from pg_agents.experiments.building import derived_seed, make_evaluation_env
from pg_agents.experiments.controllers import controller_of
from pg_agents.experiments.warm_start import STAGES, measure, read_stages

LINE = "tests.pg_agents.experiments.test_warm_start:Line-v0"


class Line(gymnasium.Env[Any, Any]):
    """A point on a line; it succeeds where it ends within 0.2 of its goal."""

    def __init__(self, **kwargs: Any) -> None:
        box = spaces.Box(-10, 10, (1,), dtype=np.float64)
        self.observation_space = spaces.Dict(
            {"observation": box, "achieved_goal": box, "desired_goal": box}
        )
        self.action_space = spaces.Box(-1, 1, (1,), dtype=np.float32)

    def _obs(self) -> dict[str, NDArray[Any]]:
        position = np.array([self.position])
        return {
            "observation": position,
            "achieved_goal": position.copy(),
            "desired_goal": np.array([self.goal]),
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.goal = 0.0, float(self.np_random.uniform(-2, 2))
        return self._obs(), {}

    def step(
        self, action: NDArray[Any]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        self.position += float(action[0])
        distance = abs(self.position - self.goal)
        return self._obs(), -distance, False, False, {"is_success": distance < 0.2}


gymnasium.register("Line-v0", Line, max_episode_steps=5)


def walk(obs: Any) -> NDArray[np.float32]:
    """Moves to the goal."""
    offset: NDArray[Any] = obs["desired_goal"] - obs["observation"]
    action: NDArray[np.float32] = np.clip(offset, -1, 1).astype(np.float32)
    return action


def stay(obs: Any) -> NDArray[np.float32]:
    return np.zeros(1, dtype=np.float32)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setattr(warm_start, "controller_of", lambda env_id: walk)
    monkeypatch.setattr(warm_start, "N_DEMONSTRATIONS", 100)
    monkeypatch.setattr(warm_start, "CLONING_EPOCHS", 40)
    sparse = find_recipe("fetch-slide").config("sparse")
    return replace(
        sparse,
        settings=replace(
            sparse.settings,
            env_id=LINE,
            extra=None,
            n_envs=2,
            timesteps=200,
            checkpoint_every=50,
            policy_kwargs={"net_arch": [16], "log_std_init": -1.5},
            arguments={**sparse.settings.arguments, "n_steps": 25, "batch_size": 25},
            evaluation=Evaluation(n_episodes=50, n_envs=2),
        ),
    )


def test_the_success_rate_is_that_of_the_last_steps(config: RunConfig) -> None:
    """Walking reaches every goal in five steps; a tenth of them need no step."""
    assert measure(walk, config.settings, 3).success_rate == 1.0
    many = replace(config.settings, evaluation=Evaluation(n_episodes=400, n_envs=2))
    staying = measure(stay, many, 3)
    # The standard error is 0.015; four of them are exceeded once in 15,000 draws.
    assert staying.success_rate == pytest.approx(0.1, abs=0.06)
    # The mean of |goal| is 1, for five steps; the standard error is 5 * 0.58 / 20.
    assert staying.mean_return == pytest.approx(-5.0, abs=0.6)
    assert staying.n_episodes == 400


def test_the_stages_are_recorded_in_their_order(
    config: RunConfig, tmp_path: Path
) -> None:
    folder = run_one(config, 0, tmp_path)
    stages = read_stages(folder.path)
    assert tuple(stages) == STAGES
    assert stages["controller"].success_rate == 1.0
    # The clone walks like the controller; 200 steps from scratch are too few.
    assert stages["clone"].success_rate > 0.8 > stages["scratch"].success_rate
    assert [stages[name].steps for name in STAGES] == [0, 0, 200, 200]
    assert folder.result().steps == 200
    # The model of the run is the one that learnt from the clone.
    model = folder.load_model(make_evaluation_env(config.settings, 0))
    again = measure(model, config.settings, goals(folder))
    assert again.success_rate == stages["from_clone"].success_rate


def test_the_model_from_scratch_has_larger_steps_and_more_noise(
    config: RunConfig, tmp_path: Path
) -> None:
    folder = run_one(config, 0, tmp_path)
    env = make_evaluation_env(config.settings, 0)
    scratch_run = folder.path / "fetch-slide-scratch" / "seed-0000"
    scratch = ActorCritic.load(scratch_run / "model.zip", env)
    cloned = folder.load_model(env)
    assert isinstance(cloned, ActorCritic)
    rates = [model.learning_rate for model in (scratch, cloned)]
    assert rates == [3e-4, config.settings.arguments["learning_rate"]]
    ranges = [model.clip_range for model in (scratch, cloned)]
    assert ranges == [0.2, config.settings.arguments["clip_range"]]
    # 200 steps at these step sizes move them little.
    assert scratch.policy.log_std.item() == pytest.approx(-0.5, abs=0.1)
    assert cloned.policy.log_std.item() == pytest.approx(-1.5, abs=0.1)


def goals(folder: RunFolder) -> int:
    return derived_seed(folder.seed, warm_start.GOAL_SEED)


class PowerCut(BaseException):
    pass


# The state of Line can't be saved: it is reset when a run is resumed.
@pytest.mark.filterwarnings("ignore:the environment is reset")
@pytest.mark.parametrize("stage", ["clone", "scratch", "from_clone"])
def test_a_resumed_run_skips_finished_stages(
    config: RunConfig, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_one(config, 1, tmp_path / "whole")
    record_stage = warm_start.record_stage
    recorded: list[str] = []

    def cut(training: Training, name: str, *rest: Any) -> None:
        recorded.append(name)
        if name == stage and recorded.count(name) == 1:
            raise PowerCut
        record_stage(training, name, *rest)

    monkeypatch.setattr(warm_start, "record_stage", cut)
    with pytest.raises(PowerCut):
        run_one(config, 1, tmp_path)
    before = STAGES[: STAGES.index(stage)]
    assert tuple(read_stages(RunFolder.path_of(tmp_path, config, 1))) == before
    folder = run_one(config, 1, tmp_path)
    assert recorded == [*before, stage, *STAGES[STAGES.index(stage) :]]
    stages, expected = read_stages(folder.path), read_stages(whole.path)
    if stage == "from_clone":
        del stages[stage], expected[stage]
    assert stages == expected


def test_damaged_stages_raise(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text('{"clone": {"success')
    with pytest.raises(DamagedRunError, match=r"stages\.json.*damaged"):
        read_stages(tmp_path)
    (tmp_path / "stages.json").write_text(json.dumps({"nap": {}}))
    with pytest.raises(DamagedRunError, match="unknown stage"):
        read_stages(tmp_path)


def test_progress_is_that_of_the_model_from_the_clone(
    config: RunConfig, tmp_path: Path
) -> None:
    calls: list[Progress] = []
    run_one(config, 2, tmp_path, on_progress=calls.append)
    assert calls[-1].share == 1.0 and calls[-1].episodes == 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "least"), [("Reach", 0.99), ("Push", 0.9), ("Slide", 0.2)]
)
def test_the_controllers_reach_their_goals(env_id: str, least: float) -> None:
    pytest.importorskip("gymnasium_robotics", reason="needs the extra robotics")
    settings = find_recipe("fetch-slide").config("sparse").settings
    full = f"gymnasium_robotics:Fetch{env_id}-v4"
    settings = replace(settings, env_id=full, evaluation=Evaluation(n_episodes=30))
    assert measure(controller_of(full), settings, 5).success_rate >= least
