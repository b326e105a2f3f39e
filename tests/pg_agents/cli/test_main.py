"""`pgtoy check`: output, files and exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pg_agents.cli.main import main

PITFALLS = str(Path(__file__).parents[3] / "demos" / "pitfalls.py")
ONE_TASK = ["--env", "PGToy-Sequence-v0", "--episodes", "2048"]


@pytest.fixture(autouse=True)
def own_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoes the command's changes of the import path and modules."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "pitfalls", raising=False)


@pytest.mark.parametrize(
    "command",
    [
        *("", "run", "watch", "record", "play", "recipes", "sweep", "check", "plot"),
        *("compare", "exercise", "exercise check", "exercise start"),
    ],
)
def test_help_fits_a_terminal_of_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert [line for line in lines if len(line) > 80] == []


def test_a_right_gradient_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "pitfalls:right"]) == 0
    printed = capsys.readouterr().out
    assert "RIGHT" in printed
    for task in ("fork", "random MDP", "Sequence"):
        assert task in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_a_wrong_gradient_exits_with_1_and_the_mistake_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", f"{PITFALLS}:sign_flipped", *ONE_TASK]) == 1
    printed = capsys.readouterr().out
    assert "WRONG" in printed and "Mistake: sign flipped." in printed


def test_a_departure_exits_with_0_for_the_algorithm() -> None:
    subject = ["check", "pitfalls:gamma_dropped", *ONE_TASK]
    assert main(subject) == 1
    assert main([*subject, "--target", "algorithm"]) == 0


@pytest.mark.slow
def test_a_small_sample_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--env", "FrozenLake-v1", "--episodes", "2048"]
    assert main(["check", "pitfalls:action_resampled", *few]) == 3
    assert "more episodes" in capsys.readouterr().out


def test_json_is_the_only_output(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--json", "--gamma", "0.8", "--seed", "3", "--env", "FrozenLake-v1"]
    main(["check", "pitfalls:gamma_dropped", *arguments])
    report = json.loads(capsys.readouterr().out)
    (task,) = report["tasks"]
    assert task["task"] == "FrozenLake-v1"
    assert (task["gamma"], task["horizon"], report["seed"]) == (0.8, 100, 3)
    assert report["verdict"] in ("wrong", "undecided")


def test_the_time_limit_can_be_taken_out_of_the_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    limit = ["--horizon", "6", "--bootstrap"]
    main(["check", "pitfalls:no_bootstrap_at_truncation", *ONE_TASK, *limit])
    assert "no bootstrap at a truncation" in capsys.readouterr().out


@pytest.mark.slow
def test_a_class_is_instantiated_and_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        main(["check", "stable_baselines3:A2C", *ONE_TASK, "--target", "algorithm"])
        == 0
    )
    assert "A2C" in capsys.readouterr().out


OWN_NETWORK = """
import torch
from torch import nn

class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, obs):
        return self.net(obs)

def critic(obs):
    return torch.zeros(len(obs))

def loss(batch, policy):
    assert isinstance(policy, Actor) and not batch.values.any()
    log_prob = torch.log_softmax(policy(batch.observations), 1)
    log_prob = log_prob.gather(1, batch.actions[:, None])[:, 0]
    returns = [
        sum(e.gamma**k * e.rewards[k] for k in range(t, len(e)))
        for e in batch
        for t in range(len(e))
    ]
    return -(torch.stack(returns) * log_prob).sum()
"""


@pytest.mark.slow
def test_policy_and_critic_may_be_in_the_same_file(tmp_path: Path) -> None:
    """The file is imported once: the policy's class is that which the loss knows."""
    file = tmp_path / "own.py"
    file.write_text(OWN_NETWORK)
    extra = ["--policy", f"{file}:Actor", "--critic", f"{file}:critic"]
    assert main(["check", f"{file}:loss", *extra]) == 0


@pytest.mark.slow
def test_a_plot_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "check.png"
    main(["check", "pitfalls:right", "--plot", str(file)])
    with Image.open(file) as picture:
        assert picture.size[0] > 800
    assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pitfalls"], "must read module:object or file.py:object, got 'pitfalls'"),
        (["no_such_module:x"], "No module named 'no_such_module'"),
        (["no_such.py:x"], "there is no file no_such.py"),
        (["pitfalls:nothing"], "pitfalls has no nothing"),
        (["pitfalls:Policy.x.y"], "pitfalls has no Policy.x.y"),
        (["pitfalls:right", "--env", "CartPole-v1"], "CartPole-v1 is not tabular"),
        (["pitfalls:right", "--env", "No-v0"], "No"),
        (["pitfalls:right", "--gamma", "2"], "gamma must lie in [0, 1], got 2.0"),
        (["pitfalls:right", "--plot", "x.gif"], "--plot must end in .png, .pdf, .svg"),
        (["pitfalls:right", "--plot", "no/x.png"], "there is no folder no"),
        (["pitfalls:right", "--episodes", "0"], "n_episodes must be an integer >= 1"),
        (["math:pi"], "the subject must be a model"),
        (["math:sqrt"], "is called with two arguments, (batch, policy)"),
        (["stable_baselines3:DQN"], "DQN is not an on-policy algorithm"),
    ],
)
def test_bad_input_exits_with_2_and_one_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("pgtoy: error: ") and message in printed.err


@pytest.mark.parametrize(
    ("subject", "option", "message"),
    [
        *(
            (
                "train.py",
                option,
                f"{option[0]} is for functions and models, got train.py; if it is an "
                f"argument of the script: pgtoy check train.py -- {' '.join(option)}",
            )
            for option in (
                ["--episodes", "5"],
                ["--batch-size", "8"],
                ["--envs", "4"],
                ["--horizon", "5"],
                ["--env", "CartPole-v1"],
                ["--policy", "nets:Actor"],
                ["--critic", "own"],
                ["--bootstrap"],
            )
        ),
        ("train.ipynb", ["--episodes", "5"], "-- --episodes 5"),
        *(
            ("pitfalls:right", option, f"{option[0]} is for scripts and notebooks")
            for option in (
                ["--entry", "train:main"],
                ["--cells", "1-4"],
                ["--input", "yes"],
                ["--timeout", "20"],
                ["--time-limit-is-terminal"],
            )
        ),
    ],
)
def test_options_that_the_subject_would_not_get_are_refused(
    subject: str,
    option: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", subject, *option]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pgtoy: error: ") and message in error


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_hears_that_a_script_runs(
    is_terminal: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    script = tmp_path / "train.py"
    script.touch()
    # So short that it does not run.
    assert main(["check", str(script), "--timeout", "5"]) == 2
    line = f"running {script} on small tasks (at most 5 s of processor time) ..."
    assert (line in capsys.readouterr().err.splitlines()) == is_terminal


def test_an_error_of_the_subject_is_shown_with_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def loss(batch, policy):\n    raise ValueError('mine')\n")
    assert main(["check", f"{file}:loss"]) == 2
    # Without the frames of pgtoy before it.
    assert capsys.readouterr().err.splitlines()[:3] == [
        "Traceback (most recent call last):",
        f'  File "{file}", line 2, in loss',
        "    raise ValueError('mine')",
    ]


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_the_output() -> None:
    program = "import sys; from pg_agents.cli.main import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", program, "exercise", "show", "returns"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    # As the shell reports SIGPIPE.
    assert process.returncode == 141


def test_blas_has_one_thread_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    """BLAS reads the variables when NumPy is imported."""
    file = tmp_path / "mine.py"
    file.write_text("import os\nraise ValueError(sorted(os.environ.items()))\n")
    environment = {"OMP_NUM_THREADS": "3"}
    environment |= {k: v for k, v in os.environ.items() if "THREADS" not in k}
    program = "import sys; from pg_agents.cli.main import main; "
    program += "assert 'numpy' not in sys.modules; sys.exit(main())"
    ran = subprocess.run(
        [sys.executable, "-c", program, "check", f"{file}:loss"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    for name, number in (("OPENBLAS", 1), ("MKL", 1), ("OMP", 3)):
        assert f"('{name}_NUM_THREADS', '{number}')" in ran.stderr


def test_without_a_command_the_help_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "usage: pgtoy" in said
    assert "pgtoy check my_reinforce.py:loss" in said


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("enjoy", "did you mean watch?"),
        ("train", "did you mean run?"),
        ("recipe", "did you mean recipes?"),
        ("chek", "did you mean check?"),
        ("xyzzy", "there are check, recipes, run, play, watch, record,"),
    ],
)
def test_an_unknown_command_hints_at_a_known_one(
    name: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "pixelcopter-mc"])
    assert ended.value.code == 2
    assert f"there is no command {name!r}: {hint}" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["pg_agents", "pg_agents.cli"])
def test_python_runs_the_package_as_the_command(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "pgtoy")
