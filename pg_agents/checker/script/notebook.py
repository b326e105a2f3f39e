"""Jupyter notebooks as scripts: their code cells, run in order in one namespace."""

from __future__ import annotations

import ast
import json
import linecache
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pg_agents.checker.script.stage import RefusedError
from pg_agents.checker.script.stubs import Anything

# Cell magics after which the rest of the cell is Python; the others' is not.
_PYTHON_MAGICS = ("capture", "prun", "time", "timeit")


class Cell(NamedTuple):
    """A code cell.

    Attributes:
        name: file name for tracebacks, such as "train.ipynb, code cell 3" with its
            folder.
        source: its Python code, line by line as in the notebook.
    """

    name: str
    source: str


def read_cells(path: Path) -> list[Cell]:
    """Returns the code cells of a notebook, counted from 1.

    Magics, shell commands and questions (`%`, `!`, `?`) are left out.

    Raises:
        RefusedError: if the file is no notebook, or has no code.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sources = [
            "".join(cell["source"])
            for cell in content["cells"]
            if cell["cell_type"] == "code"
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            f"it is no Jupyter notebook of format 4 ({type(error).__name__}: {error}); "
            "Jupyter saves older ones as such"
        ) from error
    if not sources:
        raise RefusedError("the notebook has no code cells")
    return [
        Cell(f"{path}, code cell {i}", python_of(source))
        for i, source in enumerate(sources, start=1)
    ]


def python_of(source: str) -> str:
    """Returns the Python code of a cell, with as many lines."""
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        if lines[first][2:].split(maxsplit=1)[0] not in _PYTHON_MAGICS:
            return ""
        lines[first] = ""
        source = "\n".join(lines)
    try:
        ast.parse(source)
    except SyntaxError:
        return "\n".join(map(_without_magic, lines))
    return source


def _without_magic(line: str) -> str:
    text = line.strip()
    is_magic = text.startswith(("%", "!", "?")) or text.endswith("?")
    # A block may have no other line.
    return line[: len(line) - len(line.lstrip())] + "pass" if is_magic else line


def run_notebook(path: Path, numbers: Sequence[int] | None = None) -> None:
    """Runs the code cells of a notebook as the program.

    Args:
        path: the notebook.
        numbers: the cells to run, in the notebook's order; None for all.

    Raises:
        RefusedError: if it cannot be read, or there is no such cell.
    """
    cells = read_cells(path)
    if numbers is not None:
        unknown = [n for n in numbers if not 1 <= n <= len(cells)]
        if unknown:
            raise RefusedError(
                f"the notebook has code cells 1 to {len(cells)}, got {unknown[0]}"
            )
        cells = [cells[n - 1] for n in sorted(set(numbers))]
    module = types.ModuleType("__main__")
    names: dict[str, Any] = vars(module)
    # Names that Jupyter defines.
    names |= {"display": Anything("display"), "get_ipython": Anything("get_ipython")}
    before = sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        for name, source in cells:
            lines = source.splitlines(keepends=True)
            linecache.cache[name] = (len(source), None, lines, name)
            exec(compile(source, name, "exec"), names)
    finally:
        sys.modules["__main__"] = before
