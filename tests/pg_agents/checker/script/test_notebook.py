"""Notebooks run as scripts: which cells, and where an error was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pg_agents.checker import CannotCheckError, check_script
from pg_agents.checker.script import sandbox
from pg_agents.checker.script.notebook import python_of, read_cells
from pg_agents.checker.script.stage import RefusedError

IMPORTS = """%matplotlib inline
!pip install gymnasium
import gymnasium as gym, torch
from torch.distributions import Categorical
from huggingface_hub import notebook_login
from IPython.display import clear_output
notebook_login()
"""
NETWORK = """policy = torch.nn.Linear(4, 2)
optimizer = torch.optim.Adam(policy.parameters())
policy?
"""
TRAINING = """%%time
env = gym.make("CartPole-v1")
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
display(episode)
"""


def write(folder: Path, *sources: str) -> Path:
    """Writes a notebook whose code cells stand between texts."""
    cells: list[dict[str, Any]] = []
    for source in sources:
        cells.append({"cell_type": "markdown", "source": "# Not Python"})
        lines = source.splitlines(keepends=True)
        cells.append({"cell_type": "code", "source": lines, "outputs": []})
    path = folder / "train.ipynb"
    path.write_text(json.dumps({"cells": cells, "nbformat": 4, "metadata": {}}))
    return path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\ny = 2", "x = 1\ny = 2"),
        ("%matplotlib inline\nx = 1", "pass\nx = 1"),
        ("!pip install torch", "pass"),
        ("for i in range(3):\n    !ls", "for i in range(3):\n    pass"),
        ("env?\n?env\nx = 1", "pass\npass\nx = 1"),
        ("%%time\nx = 1", "\nx = 1"),
        ("\n%%capture out\n%load_ext x\ny = 1", "\n\npass\ny = 1"),
        ("%%bash\nls -l", ""),
        ("%%writefile train.py\nx = 1", ""),
        # Python, whose lines begin and end like magics.
        ("x = (7\n% 2)\n# why?", "x = (7\n% 2)\n# why?"),
        ("", ""),
    ],
)
def test_magics_are_left_out(source: str, expected: str) -> None:
    assert python_of(source) == expected


def test_code_cells_are_counted_from_1(tmp_path: Path) -> None:
    path = write(tmp_path, "x = 1\n", "y = 2")
    assert read_cells(path) == [
        (f"{path}, code cell 1", "x = 1\n"),
        (f"{path}, code cell 2", "y = 2"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "it is no Jupyter notebook of format 4"),
        ('{"worksheets": []}', "it is no Jupyter notebook of format 4"),
        ("[]", "it is no Jupyter notebook of format 4"),
        ('{"cells": []}', "the notebook has no code cells"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "train.ipynb"
    path.write_text(content)
    with pytest.raises(RefusedError, match=message):
        read_cells(path)


def test_a_notebook_is_recorded_as_the_script_of_its_cells(tmp_path: Path) -> None:
    notebook = sandbox.run(write(tmp_path, IMPORTS, NETWORK, TRAINING))
    script = tmp_path / "train.py"
    cells = map(python_of, (IMPORTS, NETWORK, TRAINING.replace("display", "print")))
    script.write_text("\n".join(cells))
    same = sandbox.run(script)
    assert notebook.error is None and same.error is None
    assert len(notebook.records) == len(same.records) >= 3
    for record, other in zip(notebook.records, same.records, strict=True):
        n = min(len(record.updates), len(other.updates))
        assert n >= 3
        for update, twin in zip(record.updates[:n], other.updates[:n], strict=True):
            np.testing.assert_array_equal(update.outputs, twin.outputs)


def test_an_error_names_cell_and_line(tmp_path: Path) -> None:
    path = write(tmp_path, "x = 1\n", "%time\ny = x / 0\n")
    recording = sandbox.run(path)
    assert recording.error == "the script fails: ZeroDivisionError: division by zero"
    assert recording.traceback is not None
    trace = recording.traceback.splitlines()
    assert trace[1:3] == [
        f'  File "{path}, code cell 2", line 2, in <module>',
        "    y = x / 0",
    ]


@pytest.mark.slow
def test_named_cells_alone_run(tmp_path: Path) -> None:
    path = write(tmp_path, "print('a')", "print('b')\n1 / 0", "print('c')", "x = y")
    recording = sandbox.run(path, cells=[3, 1, 4])
    assert recording.error is not None and "NameError: name 'y'" in recording.error
    assert recording.output.split() == ["a", "c"]
    missing = sandbox.run(path, cells=[2, 5])
    assert missing.error == "the notebook has code cells 1 to 4, got 5"


def test_cells_are_those_of_notebooks(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("x = 1")
    for path, cells in ((script, [1]), (write(tmp_path, "x = 1"), [])):
        with pytest.raises(ValueError, match="cells must be numbers of code cells"):
            check_script(path, cells=cells)


@pytest.mark.slow
def test_a_notebook_with_two_trainings_is_checked_by_its_cells(tmp_path: Path) -> None:
    path = write(tmp_path, IMPORTS, NETWORK, TRAINING, NETWORK, f"{TRAINING} ")
    with pytest.raises(CannotCheckError) as refused:
        check_script(path)
    message = str(refused.value)
    assert "trains 2 policies" in message and "--cells 1-4,7" in message
    # Where each of them is made.
    assert "code cell 2:2" in message and "code cell 4:2" in message
    assert (
        check_script(path, cells=[1, 4, 5]).formula
        == check_script(path, cells=[1, 2, 3]).formula
    )


def test_a_notebook_has_no_entry(tmp_path: Path) -> None:
    path = write(tmp_path, "x = 1")
    with pytest.raises(ValueError, match=r"entry is for scripts, .* is a notebook"):
        check_script(path, entry="train:main")
