"""The table of what stands for what says what the tests say."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.pg_agents.sb3_suite.covered import COVERED, NOT_COVERED

FOLDER = Path(__file__).parent


def claims() -> dict[str, set[str]]:
    """Returns our tests, and the tests of SB3 that the comment above each names."""
    found = {}
    for path in FOLDER.glob("test_*.py"):
        lines = path.read_text().splitlines()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                named = set()
                for line in reversed(lines[: first - 1]):
                    if not line.startswith("# test_"):
                        break
                    named |= {name for name in line[2:].split(", ") if name}
                found[f"{path.stem}::{node.name}"] = {n.rstrip(",") for n in named}
    return found


def test_the_table_and_the_comments_name_the_same_tests() -> None:
    named: dict[str, set[str]] = {name: set() for name in claims()}
    for theirs, ours in COVERED.items():
        for name in ours:
            # A test that does not exist is a KeyError here.
            named[name].add(theirs)
    assert named == claims()


def test_no_test_is_both_covered_and_not() -> None:
    others = [name for names in NOT_COVERED.values() for name in names]
    assert len(others) == len(set(others))
    assert not set(others) & set(COVERED)
    assert set(NOT_COVERED) <= {
        "asserts a critic",
        "asserts an exact step count",
        "off-policy only",
        "not about A2C",
    }
