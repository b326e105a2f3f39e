"""The benchmark of speed concludes rightly from what it measures; times are not tested.

Made-up turns and processes stand in for the real ones.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C

from benchmarks.speed import gpu, lines, measuring, scaling, solve_bench, torch_alone
from benchmarks.speed.lines import Line, Run
from benchmarks.speed.memory import held_bytes
from benchmarks.speed.models import LearningTask, make_env, resolved
from benchmarks.speed.notebook_loop import notebook, returns_to_go
from benchmarks.speed.page import page
from benchmarks.speed.process import Worker
from benchmarks.speed.profiling import short_name
from benchmarks.speed.protocol import calibrated
from benchmarks.speed.results import Results
from benchmarks.speed.settings import CARTPOLE, RECIPES, learning
from benchmarks.speed.solving import Clock, Evaluation, SolvedRule
from benchmarks.speed.verdicts import number, row, verdict


def turns(*rates: float) -> list[dict[str, float]]:
    return [{"steps": 10.0 * rate, "seconds": 10.0} for rate in rates]


def test_a_ratio_is_the_median_of_the_turns_ratios() -> None:
    """By hand: 3, 2 and 4 times; the ratio of the medians would be 30 / 10."""
    found = verdict(
        Line("ours", "theirs", 2.5),
        {"ours": turns(30, 40, 20), "theirs": turns(10, 20, 5)},
    )
    assert (found.value, found.low, found.high) == (3.0, 2.0, 4.0)
    assert (found.ours, found.theirs) == (30.0, 10.0)
    assert found.met is True and found.missed_by == 0.0


def test_a_missed_target_says_by_how_much() -> None:
    each = {"ours": turns(150, 150), "theirs": turns(100, 100)}
    line = Line("ours", "theirs", 2.0)
    assert verdict(line, each).missed_by == pytest.approx(0.25)
    assert "| 8 envs | ours | 150 | theirs | 100 |" in row(line, "8 envs", each)
    assert "**missed by 25 %**" in row(line, "8 envs", each)


@pytest.mark.parametrize(("rate", "met"), [(95.0, True), (80.0, False)])
def test_a_cost_is_how_many_times_the_time(rate: float, met: bool) -> None:
    line = Line("with", "without", 1.1, "cost at most")
    found = verdict(line, {"with": turns(rate), "without": turns(100.0)})
    assert found.value == pytest.approx(100.0 / rate)
    assert found.met is met


def test_a_rate_without_a_rival_is_held_against_its_target() -> None:
    line = Line("ours", None, 60e6)
    found = verdict(line, {"ours": turns(50e6, 66e6, 63e6)})
    assert found.met and found.value == 63e6
    assert ">= 60.0 M | met |" in row(line, "", {"ours": turns(63e6)})
    assert verdict(Line("ours", None, None), {"ours": turns(1.0)}).met is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(61_234_567, "61.2 M"), (73_849, "73,800"), (999.6, "1,000"), (590, "590")],
)
def test_figures_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


class MadeUpWorker:
    """Answers as a process would that always goes at the same rate."""

    log: list[str]

    def __init__(self, settings: dict[str, Any], threads: int) -> None:
        self.rate, self.name = settings["rate"], settings["name"]
        self.ready: dict[str, Any] = {"versions": {}}

    def ask(self, **command: Any) -> dict[str, Any]:
        self.log.append(self.name)
        steps = command.get("steps", 100)
        return {"steps": steps, "seconds": steps / self.rate}

    def close(self) -> None:
        self.log.append(f"{self.name} closed")


def test_sides_take_turns_with_equal_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for the fastest: 1.5 s at 200 a second."""
    log: list[str] = []
    monkeypatch.setattr(MadeUpWorker, "log", log, raising=False)
    sides = {"A": {"name": "A", "rate": 200.0}, "B": {"name": "B", "rate": 100.0}}
    run = Run("r", "s", "e", 1, sides, (Line("A", "B", 2.0),))
    patience = measuring.Patience(repeats=5)
    start: Any = MadeUpWorker
    found = measuring.measure(run, patience, start)
    assert log == ["A", "B"] * 6 + ["B closed", "A closed"]
    assert {t["steps"] for side in found["turns"].values() for t in side} == {300}
    assert verdict(run.lines[0], found["turns"]).value == pytest.approx(2.0)


def test_a_slow_rival_bounds_the_steps() -> None:
    patience = measuring.Patience(seconds=1.5, longest=15.0)
    assert measuring.common_steps([1e6, 1e4], patience) == 150_000
    assert measuring.common_steps([1e6, 5e5], patience) == 1_500_000


def test_every_line_names_sides_that_are_measured() -> None:
    names = [run.name for run in lines.RUNS]
    assert len(set(names)) == len(names)
    for run in lines.RUNS:
        json.dumps(run.sides)
        for line in run.lines:
            assert {line.ours, line.rival} - {None} <= run.sides.keys(), run.name


def test_results_are_kept_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "speed.json"
    Results(path).add("runs", "a", 1)
    Results(path).add("runs", "b", [2])
    assert Results(path).section("runs") == {"a": 1, "b": [2]}
    assert Results(path).section("solve") == {}


def made_up_results() -> dict[str, Any]:
    runs = {}
    for run in lines.RUNS:
        each = {"steps": 1e6, "seconds": 1.0, "updates": 1e4}
        ready: dict[str, Any] = {name: {"versions": {}} for name in run.sides}
        sides = {name: [each] * 5 for name in run.sides}
        runs[run.name] = {"setup": "a processor", "ready": ready, "turns": sides}
    return {"runs": runs}


def test_the_page_has_a_row_for_every_line() -> None:
    text = page(made_up_results())
    n_lines = sum(len(run.lines) for run in lines.RUNS)
    assert sum("steps/s" not in r and r.count("|") == 9 for r in text.splitlines()) == (
        n_lines + text.count("|---|---|---|---|---|---|---|---|")
    )
    assert "Not measured yet: " not in text
    assert "**1.00 x** (1.00 to 1.00) | >= 2 x | **missed by 50 %** |" in text


def test_the_page_names_what_is_missing() -> None:
    found = made_up_results()
    del found["runs"]["a2c-8"]
    assert "Not measured yet: a2c-8." in page(found)


def solve_results(ours: list[float], ppo: float) -> dict[str, Any]:
    found: dict[str, Any] = {"setup": "a processor"}
    for name, seed in itertools.product(RECIPES, range(len(ours))):
        seconds = ours[seed] if name == "ActorCritic" else ppo
        solved = seconds < solve_bench.NEVER
        found[f"{name} {seed}"] = {"solved": solved, "seconds": seconds}
    return found


def test_solving_is_held_against_ppos_median() -> None:
    table = "\n".join(solve_bench.table(solve_results([1.0] * 19 + [3.0], ppo=5.0)))
    assert "| ActorCritic | 20 of 20 | 1.00 | 1.00 | 3.00 | 0.20 |" in table
    assert "ActorCritic's median <= 0.25 x PPO's median | 0.20 x | met |" in table
    assert "slowest <= 0.5 x PPO's median | 0.60 x | **missed by 20 %** |" in table


def test_a_seed_that_is_never_solved_is_the_slowest() -> None:
    results = solve_results([1.0] * 19 + [solve_bench.NEVER], ppo=5.0)
    table = "\n".join(solve_bench.table(results))
    assert "| ActorCritic | 19 of 20 | 1.00 | 1.00 | never | 0.20 |" in table
    assert "solves 20 of 20 seeds | 19 of 20 | **missed** |" in table
    assert "ActorCritic's slowest <= 0.5 x PPO's median | never solved" in table


def test_solved_is_three_evaluations_in_a_row() -> None:
    rule = SolvedRule()
    means = [475.0, 500.0, 474.9, 475.0, 480.0, 475.0]
    assert [rule(mean) for mean in means] == [False] * 5 + [True]


class AlwaysLeft:
    """A model whose episodes in CartPole are short, and of known length."""

    def predict(
        self, observations: np.ndarray, deterministic: bool
    ) -> tuple[np.ndarray, None]:
        assert deterministic
        return np.zeros(len(observations), dtype=np.int64), None


def test_an_evaluation_plays_whole_episodes_of_gymnasiums_cartpole() -> None:
    """The same starts one by one: the returns are those of single episodes."""
    evaluation = Evaluation(seed=3)
    returns = evaluation(AlwaysLeft())
    env: Any = make_env("gymnasium", CARTPOLE, 20)
    starts, _ = env.reset(seed=3)
    single: Any = make_env("bare", CARTPOLE, 1)
    for start, found in zip(starts, returns, strict=True):
        single.reset()
        single.envs[0].unwrapped.state = start
        n_steps, over = 0, False
        while not over:
            _, _, (over,), _ = single.step(np.zeros(1, dtype=np.int64))
            n_steps += 1
        assert found == n_steps
    # Other episodes the next time.
    assert list(evaluation(AlwaysLeft())) != list(returns)


def test_the_clock_stops_the_training_when_it_is_solved() -> None:
    evaluations = iter([500.0, 100.0, 480.0, 480.0, 480.0, 480.0])
    clock = Clock(lambda model: np.array([next(evaluations)]))  # type: ignore[arg-type]
    clock.init_callback(A2C("MlpPolicy", CARTPOLE, device="cpu"))
    going_on = []
    for clock.num_timesteps in range(2_500, 40_000, 2_500):
        going_on.append(clock._on_step())
        if not going_on[-1]:
            break
    assert clock.solved and clock.num_timesteps == 25_000
    assert clock.means == [500.0, 100.0, 480.0, 480.0, 480.0]


def test_the_notebooks_loop_learns() -> None:
    """Over 2,500 steps its episodes are longer than a beginner's 22 steps."""
    facts = notebook(seed=0)(2_500)
    assert facts["steps"] >= 2_500
    assert facts["steps"] / facts["updates"] > 30.0


def test_the_notebooks_returns_add_up_what_follows() -> None:
    assert returns_to_go([1.0, 2.0, 3.0]) == [6.0, 5.0, 3.0]


def test_torch_alone_does_the_work_of_a_rollout() -> None:
    policy, critic = torch_alone.network(2), torch_alone.network(1)
    observations = torch.randn(30, 4)
    actions = torch_alone.act(policy, observations)
    assert actions.shape == (30,) and set(actions.tolist()) <= {0, 1}
    torch_alone.differentiate(policy, critic, observations, actions)
    for each in (*policy.parameters(), *critic.parameters()):
        assert each.grad is not None and each.grad.abs().sum() > 0
    task = torch_alone.torch_alone({"n_envs": 8, "n_steps": 5})
    assert task(0)(81) == {"steps": 120}


@pytest.mark.parametrize("env", ["dummy", "gymnasium"])
@pytest.mark.parametrize("algorithm", ["ActorCritic", "A2C"])
def test_a_side_learns_from_scratch_each_turn(algorithm: str, env: str) -> None:
    task = LearningTask(learning(algorithm, env, 4))
    assert calibrated(task, 1e-9)["steps"] == 20
    first, again = task(1)(40), task(1)(40)
    assert first == again == {"steps": 40.0, "updates": 2.0}


def test_extras_are_there_and_change_nothing_that_is_learnt() -> None:
    extras = ["callbacks", "logger", "adapter", "vec_monitor"]
    with pytest.warns(UserWarning, match="already wrapped"):
        task = LearningTask(learning("ActorCritic", "gymnasium", 4, extras=extras))
    assert type(task.env).__name__ == "VecMonitor"
    assert task(0)(40)["updates"] == 2.0
    assert os.listdir(task.folder) == ["progress.csv"]


def test_schedules_and_classes_are_made_from_words() -> None:
    kwargs = {"activation_fn": "ReLU"}
    found = resolved({"learning_rate": "lin_0.5", "policy_kwargs": kwargs, "gamma": 1})
    assert found["learning_rate"](0.5) == 0.25
    assert found["policy_kwargs"] == {"activation_fn": torch.nn.ReLU}
    assert found["gamma"] == 1


def test_memory_that_is_shared_counts_once() -> None:
    tensor, array = torch.zeros(10), np.zeros(6)
    root = {"all": [tensor, tensor[:5], (array, array[2:])], "self": {}}
    root["self"] = root
    assert held_bytes(root) == 10 * 4 + 6 * 8


def test_bytes_come_from_differences() -> None:
    """Made up with 7 for the process, 100 an environment, 30 a step."""
    points = {}
    for name, (n, t) in scaling.MEMORY_POINTS.items():
        each = 7.0 + n * (100.0 + 30.0 * t)
        points[name] = dict(n_envs=n, n_steps=t, env=each, buffer=each, peak=each)
    text = "\n".join(scaling.memory_lines(points))
    assert text.count("| 100 |") == 2 and text.count("| 30 |") == 2


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    found = {f"ActorCritic {n}": [n * 10.0] for n in scaling.SIZES}
    scaling.draw({**found, "A2C 1": [5.0]}, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 1_000


def test_the_gpu_is_advised_from_the_size_at_which_it_stays_ahead() -> None:
    found = {}
    for size in gpu.SIZES:
        cuda = 1.0 if size == 16 else float(size)
        cpu = 100.0 if size > 1 else 0.5
        rates = {gpu.OURS_CUDA: [cuda], gpu.OURS_CPU: [cpu]}
        found[f"{CARTPOLE} {size}"] = {"rates": rates}
    assert gpu.crossing(found, CARTPOLE) == 256
    assert "below 256 environments the CPU" in gpu.advice(found, CARTPOLE)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/src/pg_agents/rollout/collector.py", "pg_agents.rollout.collector.f"),
        ("/src/pg_agents/rollout/steppers.py", "pg_agents.rollout.steppers.f"),
        ("/v/lib/python3.11/site-packages/pg_envs/tabular.py", "pg_envs.tabular.f"),
        ("/v/lib/python3.11/site-packages/torch/nn/modules.py", "torch.nn.modules.f"),
        ("/usr/lib/python3.11/copy.py", "copy.f"),
        ("/src/benchmarks/speed.py", "benchmarks.speed.f"),
    ],
)
def test_a_profile_names_modules_in_full(path: str, name: str) -> None:
    assert short_name(path, 1, "f") == f"`{name}`"


def test_a_process_answers_line_by_line(tmp_path: Path) -> None:
    """A stand-in for the interpreter; what a side prints is no answer."""
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f"#!{sys.executable}\n"
        "from benchmarks.speed.protocol import serve, task_handler\n"
        "def attempt(n_steps):\n"
        "    print('noise')\n"
        "    return {'steps': 2 * n_steps}\n"
        "serve(lambda: (task_handler(lambda seed: attempt), {'versions': {}}))\n"
    )
    stand_in.chmod(0o755)
    worker = Worker({"work": "none"}, 1, stand_in)
    try:
        assert worker.ready["versions"] == {}
        assert worker.ask(do="calibrate", seconds=0.0)["steps"] == 2
        answer = worker.ask(do="run", steps=21, seed=1)
        assert answer["steps"] == 42 and answer["seconds"] > 0.0
    finally:
        worker.close()


def test_a_process_that_dies_is_not_waited_for() -> None:
    with pytest.raises(RuntimeError, match="ended with 1"):
        Worker({}, 1, "/bin/false")
