"""The speed benchmark measures what it says; times are not tested."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C

from bench import speed, worker
from bench.notebook_loop import notebook, returns_to_go
from bench.protocol import Worker, calibrated


class FakeWorker:
    """Answers as a process that always runs at the same rate."""

    def __init__(self, settings: dict[str, Any], log: list[str]) -> None:
        self.rate, self.name = settings["rate"], settings["name"]
        self.log = log
        self.ready: dict[str, Any] = {"versions": {}}

    def ask(self, **command: Any) -> dict[str, Any]:
        self.log.append(self.name)
        steps = command.get("steps", 100)
        return {"steps": steps, "seconds": steps / self.rate}

    def close(self) -> None:
        self.log.append(f"{self.name} closed")


def measured(rates: dict[str, float], log: list[str], **durations: float) -> set[int]:
    """Returns the numbers of steps of all turns."""
    sides = {name: {"name": name, "rate": rate} for name, rate in rates.items()}
    comparison = speed.Comparison("c", "s", "e", 1, sides, ())
    found = speed.measure(
        comparison,
        speed.Durations(repeats=5, **durations),
        lambda settings, threads: FakeWorker(settings, log),
    )
    return {turn["steps"] for side in found["turns"].values() for turn in side}


def test_sides_take_turns_with_equal_steps() -> None:
    """The fastest side takes 1.5 s at 200 steps per second."""
    log: list[str] = []
    assert measured({"A": 200.0, "B": 100.0}, log, seconds=1.5) == {300}
    assert log == ["A", "B"] * 6 + ["B closed", "A closed"]


def test_a_slow_side_bounds_the_steps() -> None:
    assert measured({"A": 1e6, "B": 1e4}, [], seconds=1.5, longest=15.0) == {150_000}


def test_seeds_that_were_solved_are_not_run_again() -> None:
    class Solver(FakeWorker):
        def ask(self, **command: Any) -> dict[str, Any]:
            self.log.append(f"{self.name} {command['seed']}")
            return {"seconds": 1.0, "solved": True}

    log: list[str] = []
    saved: list[int] = []
    results: dict[str, Any] = {"PPO 0": {"seconds": 2.0, "solved": True}}

    def start(settings: dict[str, Any], threads: int) -> Solver:
        return Solver({"rate": 1.0, "name": settings["algorithm"]}, log)

    speed.solve(results, lambda: saved.append(len(results)), 2, start=start)
    runs = [entry for entry in log if "closed" not in entry]
    assert runs[:3] == ["ActorCritic 0", "REINFORCE 0", "A2C 0"]
    assert runs[3:] == ["ActorCritic 1", "REINFORCE 1", "PPO 1", "A2C 1"]
    assert len(saved) == 7 and results["PPO 0"]["seconds"] == 2.0
    assert {"setup", "commit"} <= results.keys()


def test_results_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    for results in ({"runs": {"a": 1}}, {"runs": {"a": 1, "b": [2]}}):
        speed.write(path, results)
        assert json.loads(path.read_text()) == results
    assert list(tmp_path.iterdir()) == [path]


class AlwaysLeft:
    """A policy whose CartPole episodes are short."""

    def predict(self, obs: np.ndarray, deterministic: bool) -> tuple[np.ndarray, None]:
        assert deterministic
        return np.zeros(len(obs), dtype=np.int64), None


def test_an_evaluation_plays_whole_episodes_of_cartpole() -> None:
    """The returns are those of single environments from the same initial states."""
    evaluation = worker.Evaluation(seed=3)
    returns = evaluation(AlwaysLeft())
    settings = {"env_id": "CartPole-v1", "algorithm": "A2C"}
    many = worker.make_env(
        {**settings, "env": "gymnasium", "n_envs": 20, "algorithm": "ActorCritic"}
    )
    single = worker.make_env({**settings, "env": "dummy", "n_envs": 1})
    for state, found in zip(many.reset(seed=3)[0], returns, strict=True):
        single.reset()
        single.envs[0].unwrapped.state = state
        n_steps, done = 0, False
        while not done:
            _, _, (done,), _ = single.step(np.zeros(1, dtype=np.int64))
            n_steps += 1
        assert found == n_steps
    # Other episodes the next time.
    assert list(evaluation(AlwaysLeft())) != list(returns)


def test_training_stops_after_three_good_evaluations_in_a_row() -> None:
    evaluations = iter([500.0, 100.0, 480.0, 475.0, 480.0, 480.0])
    clock = worker.StopWhenSolvedClock(lambda model: np.array([next(evaluations)]))
    clock.init_callback(A2C("MlpPolicy", "CartPole-v1", device="cpu"))
    for clock.num_timesteps in range(2_500, 40_000, 2_500):
        if not clock._on_step():
            break
    assert clock.solved and clock.num_timesteps == 25_000
    assert clock.means == [500.0, 100.0, 480.0, 475.0, 480.0]


def test_the_notebooks_loop_learns() -> None:
    """Over 2,500 steps its episodes are longer than a random policy's 22 steps."""
    facts = notebook(seed=0)(2_500)
    assert facts["steps"] >= 2_500
    assert facts["steps"] / facts["updates"] > 30.0
    assert returns_to_go([1.0, 2.0, 3.0]) == [6.0, 5.0, 3.0]


def test_torch_alone_computes_gradients_of_both_networks() -> None:
    policy, critic = worker.network(2), worker.network(1)
    obs = torch.randn(30, 4)
    actions = worker.act(policy, obs)
    assert actions.shape == (30,) and set(actions.tolist()) <= {0, 1}
    worker.differentiate(policy, critic, obs, actions)
    for parameter in (*policy.parameters(), *critic.parameters()):
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    assert worker.torch_alone({"n_envs": 8, "n_steps": 5})(0)(81) == {"steps": 120}


@pytest.mark.parametrize("env", ["dummy", "gymnasium", "torch"])
@pytest.mark.parametrize("algorithm", ["ActorCritic", "A2C"])
def test_a_side_learns_from_scratch_each_turn(algorithm: str, env: str) -> None:
    task = worker.learning(speed.learn(algorithm, env, 4))
    assert calibrated(task, 1e-9)["steps"] == 20
    assert task(1)(40) == task(1)(40) == {"steps": 40.0, "updates": 2.0}


def test_a_process_answers_line_by_line(tmp_path: Path) -> None:
    """With a stand-in for the interpreter; what a side prints is no answer."""
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f"#!{sys.executable}\n"
        "from bench.protocol import serve, task_handler\n"
        "def run(n_steps):\n"
        "    print('noise')\n"
        "    return {'steps': 2 * n_steps}\n"
        "serve(lambda: (task_handler(lambda seed: run), {'versions': {}}))\n"
    )
    stand_in.chmod(0o755)
    process = Worker({"work": "none"}, 1, stand_in)
    try:
        assert process.ready == {"versions": {}}
        assert process.ask(do="calibrate", seconds=0.0)["steps"] == 2
        answer = process.ask(do="run", steps=21, seed=1)
        assert answer["steps"] == 42 and answer["seconds"] > 0.0
    finally:
        process.close()


def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="exited with 1"):
        Worker({}, 1, "/bin/false")
