"""The notebooks run from top to bottom, and their pages hold together."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]-*.md"))
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def cells_of(name: str) -> list[str]:
    """The code of a notebook, without options of cells and without magics."""
    return [
        re.sub(r"^(:|%).*\n", "", cell, flags=re.MULTILINE)
        for cell in CELL.findall(text_of(name))
    ]


def load_execute() -> Any:
    """The module, or a skip without the extra `notebooks`."""
    for name in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(name)
    return importlib.import_module("notebooks.execute")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_without_a_screen(name: str, tmp_path: Path) -> None:
    load_execute()
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "MPLBACKEND")
    }
    environment["PYTHONPATH"] = str(ROOT)
    found = subprocess.run(
        [sys.executable, FOLDER / "execute.py", name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_failing_cell_and_a_warning_fail_the_notebook(tmp_path: Path) -> None:
    load_execute()
    header = text_of(NAMES[0]).split("# 1.")[0]
    (tmp_path / "execute.py").write_bytes((FOLDER / "execute.py").read_bytes())
    for name, code in (
        ("01-right", "print(1)"),
        ("02-error", "1 / 0"),
        ("03-warning", "import warnings\nwarnings.warn('careful')"),
    ):
        cell = f"```{{code-cell}} python\n{code}\n```\n"
        (tmp_path / f"{name}.md").write_text(f"{header}\n{cell}")
    found = subprocess.run(
        [sys.executable, tmp_path / "execute.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    failed = [line.split()[0] for line in found.stdout.splitlines() if "failed" in line]
    assert failed == ["02-error", "03-warning"]
    assert "ZeroDivisionError" in found.stderr and "careful" in found.stderr


def test_times_are_written_beside_those_that_are_known(tmp_path: Path) -> None:
    execute = load_execute()
    page = tmp_path / "README.md"
    page.write_text("a\n<!-- generated: times -->\n<!-- end -->\nb\n")

    def done(seconds: float) -> object:
        return execute.Execution(None, 60.0, seconds, "")

    execute.write_times({"02-two": done(3.6), "01-one": done(8.2)}, page)
    execute.write_times({"01-one": done(9.0)}, page)
    assert page.read_text().splitlines() == [
        "a",
        "<!-- generated: times -->",
        "",
        "| notebook | time |",
        "|---|---:|",
        "| [01-one](01-one.md) | 9 s |",
        "| [02-two](02-two.md) | 4 s |",
        "| together | 13 s |",
        "",
        "<!-- end -->",
        "b",
    ]
    (tmp_path / "other.md").write_text("a\n")
    with pytest.raises(ValueError, match="generated: times"):
        execute.write_times({}, tmp_path / "other.md")


def test_the_table_lists_every_notebook_with_its_exercises() -> None:
    rows = re.findall(
        r"^\| \[\d\. .*?\]\((.*?)\.md\).*\| (.*?) \|$", text_of("README"), re.M
    )
    assert [name for name, _ in rows] == NAMES
    for name, exercises in rows:
        shown = re.findall(r"^pgtoy exercise show (\w+)$", text_of(name), re.MULTILINE)
        assert shown == re.findall(r"`(\w+)`", exercises), name


@pytest.mark.parametrize("name", NAMES)
def test_the_exercises_of_a_notebook_exist(name: str) -> None:
    exercises = pytest.importorskip("pg_agents.exercises")
    shown = re.findall(r"^pgtoy exercise show (\w+)$", text_of(name), re.MULTILINE)
    assert shown
    for exercise in shown:
        assert exercises.exercise(exercise)


@pytest.mark.parametrize("name", [*NAMES, "README"])
def test_links_lead_to_files(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text_of(name)):
        if not target.startswith("http"):
            assert (FOLDER / target).exists(), f"{name}: {target}"


@pytest.mark.parametrize("name", NAMES)
def test_code_is_python_of_88_columns_that_fetches_nothing(name: str) -> None:
    cells = cells_of(name)
    assert len(cells) > 5
    for cell in cells:
        ast.parse(cell)
        for line in cell.splitlines():
            assert len(line) <= 88, f"{name}: {line}"
            assert not line.lstrip().startswith("!"), f"{name}: {line}"


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_has_no_outputs_and_folds_its_answers(name: str) -> None:
    text = text_of(name)
    assert "base64" not in text
    fold = r"^<details><summary>Answer</summary>\n\n(.+?)\n\n</details>$"
    folds = re.findall(fold, text, re.MULTILINE | re.DOTALL)
    assert len(folds) == text.count("**Question.**") == text.count("<details>") > 0
    assert not any("```" in answer for answer in folds)


def test_notebooks_say_where_their_experiments_come_from() -> None:
    said = " ".join(
        paragraph
        for name in NAMES
        for paragraph in text_of(name).split("\n\n")
        if "docs/notebooks.md" in paragraph
    )
    for letter in "ABCDE":
        assert re.search(rf"\b{letter}\b", said), letter
