"""The speed benchmark measures what it says; times are not tested."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env

from bench import speed, worker
from bench.cells import CELLS, returns_to_go
from bench.protocol import Worker
from pg_agents import REINFORCE, LearnerBatch
from pg_agents.experiments import Settings
from pg_agents.experiments.building import constructor_arguments
from pg_agents.experiments.demos import bandit


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


def measured(
    rates: dict[str, float], log: list[str], threads: tuple[int, ...] = (1,), **d: float
) -> tuple[set[int], dict[str, Any]]:
    """Returns the numbers of steps of all turns, and the turns."""
    sides: dict[str, Any] = {n: {"name": n, "rate": rate} for n, rate in rates.items()}
    found = speed.measure(
        speed.Comparison("c", sides, (), threads),
        speed.Durations(repeats=5, **d),
        lambda side, threads: FakeWorker(side, log),
    )
    turns = found["turns"]
    every = [t for side in turns.values() for of_side in side.values() for t in of_side]
    return {turn["steps"] for turn in every}, turns


def test_sides_take_turns_with_equal_steps() -> None:
    """The fastest side takes 1.5 s at 200 steps per second."""
    log: list[str] = []
    assert measured({"A": 200.0, "B": 100.0}, log, seconds=1.5)[0] == {300}
    assert log == ["A", "B"] * 6 + ["B closed", "A closed"]


def test_a_slow_side_bounds_the_steps() -> None:
    found, _ = measured({"A": 1e6, "B": 1e4}, [], seconds=1.5, longest=15.0)
    assert found == {150_000}


def test_every_side_is_measured_with_every_number_of_threads() -> None:
    log: list[str] = []
    _, turns = measured({"A": 200.0, "B": 100.0}, log, (1, 2))
    assert {name: list(of_side) for name, of_side in turns.items()} == {
        "A": ["1", "2"],
        "B": ["1", "2"],
    }
    assert log[:8] == ["A", "B"] * 4


def test_a_side_that_is_missing_is_left_out() -> None:
    class Missing(FakeWorker):
        def __init__(self, side: dict[str, Any], log: list[str]) -> None:
            super().__init__(side, log)
            if side["name"] == "A":
                self.ready = {"missing": "LearnerBatch"}

    log: list[str] = []
    sides: dict[str, Any] = {name: {"name": name, "rate": 1.0} for name in "AB"}
    found = speed.measure(
        speed.Comparison("c", sides, (), n_steps=3),
        speed.Durations(repeats=2),
        lambda side, threads: Missing(side, log),
    )
    assert list(found["turns"]) == ["B"]
    assert log == ["B", "B", "B", "B closed", "A closed"]


def test_every_comparison_can_be_sent_and_names_its_sides() -> None:
    names = [comparison.name for comparison in speed.COMPARISONS]
    assert len(set(names)) == len(names)
    for comparison in speed.COMPARISONS:
        assert json.loads(json.dumps(comparison.sides)) == comparison.sides
        for row in comparison.rows:
            assert {row.side, row.counterpart} - {None} <= comparison.sides.keys()


@pytest.mark.parametrize("name", ["bandit-table", "bandit-network"])
def test_bandits_have_the_settings_of_the_demo(name: str) -> None:
    """The same seed gives the same policy after ten pulls."""
    make_demo = bandit.make_tables if name == "bandit-table" else bandit.make_networks
    settings = Settings.from_json(speed.recipe(name)["settings"])
    ours = LearnerBatch(
        REINFORCE,
        settings.policy,
        settings.env_id,
        seeds=[3],
        env_kwargs=dict(settings.env_kwargs),
        **constructor_arguments(settings),
    )
    policies = [batch.learn(10).models[0].policy for batch in (ours, make_demo([3]))]
    one, other = ([*policy.parameters()] for policy in policies)
    assert all(map(torch.equal, one, other))


def test_seeds_that_were_solved_are_not_run_again() -> None:
    class Solver(FakeWorker):
        def ask(self, **command: Any) -> dict[str, Any]:
            self.log.append(f"{self.name} {command['seed']}")
            return {"seconds": 1.0, "solved": True}

    log: list[str] = []
    saved: list[int] = []
    results: dict[str, Any] = {"PPO 0": {"seconds": 2.0, "solved": True}}

    def start(side: dict[str, Any], threads: int) -> Solver:
        return Solver({"rate": 1.0, "name": side["settings"]["algorithm"]}, log)

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
    many = gymnasium.make_vec("CartPole-v1", 20)
    single: Any = make_vec_env("CartPole-v1")
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


@pytest.mark.parametrize(
    ("name", "n_steps", "low", "high"),
    [
        # Rewards per pull; the first pulls, from equal probabilities, pay 1/3.
        ("bandit-table", 500, 0.7, 1.0),
        ("bandit-network", 100, 0.7, 1.0),
        # Steps per episode; at best 3, and 15 from equal probabilities.
        ("sequence-reinforce", 3_000, 3.0, 12.0),
        # A random policy's episodes have 22 steps.
        ("one-step-actor-critic", 1_500, 30.0, 500.0),
        ("cartpole-mc", 2_500, 30.0, 500.0),
        ("reinforce-128", 2_500, 25.0, 500.0),
    ],
)
def test_the_cells_learn(name: str, n_steps: int, low: float, high: float) -> None:
    facts = CELLS[name](0)(n_steps)
    assert facts["steps"] >= n_steps
    of_bandit = "reward" in facts
    count = facts["steps"] / facts["episodes"] if not of_bandit else facts["reward"]
    assert low < count / (n_steps if of_bandit else 1) < high


def test_returns_of_the_cells() -> None:
    """By hand: 3, 2 + 3 / 2, 1 + 3.5 / 2."""
    assert returns_to_go([1.0, 2.0, 3.0], 0.5) == [2.75, 3.5, 3.0]


@pytest.mark.parametrize("how", ["cells", "one by one"])
def test_an_experiment_runs_every_learner(how: str) -> None:
    side = {**speed.recipe("bandit-network"), "how": how, "cell": "bandit-network"}
    run = worker.experiment({**side, "n_learners": 3})(0)
    assert run(7) == {"steps": 9}


def test_torch_alone_computes_gradients_of_both_networks() -> None:
    policy, critic = worker.network(2), worker.network(1)
    obs = torch.randn(30, 4)
    actions = worker.act(policy, obs)
    assert actions.shape == (30,) and set(actions.tolist()) <= {0, 1}
    worker.differentiate(policy, critic, obs, actions)
    for parameter in (*policy.parameters(), *critic.parameters()):
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    assert worker.torch_alone({"n_envs": 8, "n_steps": 5})(0)(81) == {"steps": 120}


@pytest.mark.parametrize("env", ["dummy", "vector", "torch"])
@pytest.mark.parametrize("algorithm", ["ActorCritic", "A2C"])
def test_a_side_learns_from_scratch_each_turn(algorithm: str, env: str) -> None:
    task = worker.learning(speed.learn(algorithm, env, 4))
    assert task(1)(1) == {"steps": 20.0, "updates": 1.0}
    assert task(1)(40) == task(1)(40) == {"steps": 40.0, "updates": 2.0}


def test_a_callback_is_no_obstacle() -> None:
    side = {**speed.learn("ActorCritic", "vector", 4), "callback": True}
    assert worker.learning(side)(1)(40) == {"steps": 40.0, "updates": 2.0}


def test_stepping_counts_the_steps_of_all_environments() -> None:
    side = speed.learn("REINFORCE", "torch", 8, "PGToy-Sequence-v0")
    assert worker.stepping(side)(0)(1) == {"steps": 16 * 8}


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
    process = Worker({}, 1, "/bin/false")
    with pytest.raises(RuntimeError, match="exited with 1"):
        process.ask(do="run", steps=1, seed=1)
    process.close()


def test_processes_are_free_of_the_machines_settings_of_openblas(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They would choose other kernels than a user's machine has."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f"#!{sys.executable}\nimport json, os\nprint(json.dumps(dict(os.environ)))\n"
    )
    stand_in.chmod(0o755)
    process = Worker({}, 2, stand_in)
    environment = process.ready
    process.close()
    assert "OPENBLAS_CORETYPE" not in environment
    assert environment["OMP_NUM_THREADS"] == "2"
