"""Scripts in their own process: what is recorded, what is refused."""

import resource
import textwrap
from pathlib import Path

import numpy as np
import pytest

from pg_agents.checker.script import sandbox
from pg_agents.checker.script.recording import Recording

# A REINFORCE whose lines the tests replace.
SCRIPT = """
import gymnasium as gym
import torch
from torch.distributions import Categorical

env = gym.make("CartPole-v1")
policy = torch.nn.Sequential(
    torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)
)
optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
for episode in range(60):
    obs, _ = env.reset()
    log_probs, rewards, done = [], [], False
    while not done:
        dist = Categorical(logits=policy(torch.as_tensor(obs)))
        action = dist.sample()
        obs, reward, terminated, truncated, _ = env.step(action.item())
        log_probs.append(dist.log_prob(action))
        rewards.append(reward)
        done = terminated or truncated
    loss = -sum(rewards) * torch.stack(log_probs).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def run(folder: Path, *replacements: tuple[str, str], **options: object) -> Recording:
    source = SCRIPT
    for old, new in replacements:
        assert source.count(old) == 1
        source = source.replace(old, new)
    path = folder / "train.py"
    path.write_text(source)
    return sandbox.run(path, **options)  # type: ignore[arg-type]


def run_source(folder: Path, source: str, **options: object) -> Recording:
    path = folder / "train.py"
    path.write_text(textwrap.dedent(source))
    return sandbox.run(path, **options)  # type: ignore[arg-type]


def test_gradients_of_an_unchanged_script_are_decoded(tmp_path: Path) -> None:
    recording = run(tmp_path)
    assert recording.error is None
    names = {record.task.name for record in recording.records}
    assert names == {"random MDP", "fork", "fork, short limit"}
    for record in recording.records:
        taken = record.transitions
        for update in record.updates:
            rows = slice(update.first, update.last)
            # One whole episode each; its return weights every score.
            assert len(np.unique(taken.episode[rows])) == 1
            expected = np.zeros_like(record.policy)
            total = taken.reward[rows].sum()
            for state, action in zip(
                taken.state[rows], taken.action[rows], strict=True
            ):
                expected[state] += total * record.policy[state]
                expected[state, action] -= total
            np.testing.assert_allclose(update.outputs, expected, atol=2e-5)
            assert update.residual < 1e-4
    # Nothing stays behind.
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]


def test_what_only_a_script_shows(tmp_path: Path) -> None:
    recording = run(
        tmp_path,
        ("    optimizer.zero_grad()\n", ""),
        ("done = terminated or truncated", "done = terminated"),
        ("action = dist.sample()", "action = dist.sample() * 0 + (episode % 2)"),
    )
    assert recording.error is None
    faults = recording.faults
    # All but the first update of each run; the return of some episodes is 0.
    assert faults.n_steps - 6 <= faults.stale + faults.empty < faults.n_steps
    assert faults.stale > 3 * faults.empty
    assert recording.past_limit > 0
    assert sum(a.replaced for a in recording.actions) > 100
    # The differences of successive gradients are those of the updates.
    assert max(u.residual for r in recording.records for u in r.updates) < 1e-3


def test_a_step_without_an_optimiser_is_recorded_and_undone(tmp_path: Path) -> None:
    own = """
    with torch.no_grad():
        for p in policy.parameters():
            p -= 0.1 * p.grad
            p.grad = None
"""
    recording = run(
        tmp_path,
        ("optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)\n", ""),
        ("    optimizer.zero_grad()\n", ""),
        ("    optimizer.step()\n", own),
    )
    assert recording.error is None
    assert recording.faults.moved >= 100
    assert max(u.residual for r in recording.records for u in r.updates) < 1e-4


def test_one_thread_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    names = "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"
    source = f"import os\nprint([os.environ[name] for name in {names}])"
    assert run_source(tmp_path, source).output.strip() == "['1', '3']"


def test_neither_windows_nor_pauses_keep_a_script_waiting(tmp_path: Path) -> None:
    source = """
    import time
    import matplotlib.pyplot as plt
    time.sleep(1e6)
    plt.ion()
    plt.plot([0, 1])
    plt.pause(1e6)
    # An argument that the real one refuses.
    plt.show(wait=True)
    print("interactive:", plt.isinteractive())
    """
    assert run_source(tmp_path, source, timeout_s=5.0).output == "interactive: False\n"


def test_the_limit_is_one_of_cpu_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long it takes on a busy machine.
    monkeypatch.setattr(sandbox, "PATIENCE", 20.0)

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    recording = run_source(tmp_path, "while True: pass", timeout_s=2.0)
    assert recording.error is not None and "in 2 s" in recording.error
    assert used() - before < 2.0 + 1.0


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("input('Train? ')", "asks for input ('Train? ')"),
        ("import os\nos.makedirs('a')\n1 / 0", "the script fails: ZeroDivisionError"),
        ("x = 1", "has made no environment with gymnasium.make"),
        (
            """
            import torch
            weight = torch.nn.Parameter(torch.ones(2))
            optimizer = torch.optim.Adam([weight])
            for _ in range(5):
                weight.square().sum().backward()
                optimizer.step()
            """,
            "has made no environment with gymnasium.make",
        ),
        pytest.param(
            "import sys\nsys.exit('no data')",
            "status 'no data'",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            """
            import multiprocessing
            if __name__ == "__main__":
                multiprocessing.Process(target=print).start()
            """,
            "starts other processes",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            """
            import gymnasium as gym
            env = gym.make("CartPole-v1")
            env.reset()
            for _ in range(50):
                if any(env.step(env.action_space.sample())[2:4]):
                    env.reset()
            """,
            "no step() of an optimiser",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_refusals_are_sentences(tmp_path: Path, source: str, sentence: str) -> None:
    recording = run_source(tmp_path, source)
    assert recording.error is not None and sentence in recording.error
    assert recording.records == ()


def test_the_last_words_of_a_script_that_exits_are_in_the_error(
    tmp_path: Path,
) -> None:
    source = """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--episodes", type=int)
        print("begins")
        parser.parse_args()
        """
    recording = run_source(tmp_path, source, args=["--epsiodes", "5"])
    assert recording.error is not None
    assert "ended itself with the status 2; the last line that" in recording.error
    assert "error: unrecognized arguments: --epsiodes 5" in recording.error


UNCALLED = "def main(lr=1, *, seed=0):\n    pass\n"


@pytest.mark.parametrize(
    ("source", "function"),
    [
        (f"def helper():\n    pass\n{UNCALLED}", "main"),
        ("def main(args):\n    pass", None),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("def train():\n    pass\nprint('done')", "train"),
                # Which of the two, with what arguments, or called already.
                ("def one():\n    pass\ndef two():\n    pass", None),
                ("def main(*, args):\n    pass", None),
                (f"{UNCALLED}main()", None),
            )
        ),
    ],
)
def test_a_function_that_is_never_called_is_named(
    tmp_path: Path, source: str, function: str | None
) -> None:
    error = run_source(tmp_path, source).error
    assert error is not None and "has made no environment" in error
    if function is None:
        assert "--entry" not in error
    else:
        assert f"defines {function}() and never calls it" in error
        assert f"--entry train:{function} does" in error


@pytest.mark.slow
def test_a_script_that_hangs_is_ended(tmp_path: Path) -> None:
    recording = run_source(
        tmp_path,
        """
        while True:
            try:
                import time
                time.sleep(1)
            except BaseException:
                pass
        """,
        timeout_s=5.0,
    )
    assert recording.error is not None and "in 5 s" in recording.error


@pytest.mark.slow
def test_input_arguments_entry_and_missing_packages(tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text(
        "import sys\nimport wandb\nfrom tqdm import tqdm\n"
        "def start():\n"
        "    run = wandb.init(project='x')\n"
        "    run.log({'a': 1})\n"
        "    open('new/folder/file.txt', 'w').write('x')\n"
        "    assert input() == 'yes', 'input'\n"
        "    assert sys.argv[1:] == ['--lr', '1'], sys.argv\n"
        + textwrap.indent(SCRIPT, "    ")
    )
    path = tmp_path / "train.py"
    path.write_text("raise AssertionError('not run')")
    recording = sandbox.run(path, ["--lr", "1"], entry="training:start", text="yes\n")
    assert recording.error is None, recording.traceback
    assert recording.n_updates >= 100
