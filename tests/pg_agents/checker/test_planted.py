import os
import subprocess
import sys
from pathlib import Path

import pytest

from pg_agents.checker.mistakes import MISTAKES
from tests.pg_agents.checker.planted import CASES, SCRIPTS, Case

RIGHT = [case for case in CASES if not case.label]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_a_script_with_known_mistakes(case: Case) -> None:
    compile(case.source(), case.name, "exec")
    assert set(case.keys) <= set(MISTAKES)


def test_cases_differ_from_each_other() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({case.source() for case in CASES}) == len(CASES)


def test_a_text_to_replace_must_occur_once() -> None:
    case = Case("reinforce_one_file", "x", (), "wrong", (("import torch", "import t"),))
    with pytest.raises(ValueError, match="must occur once, but occurs 4 times"):
        case.source()


def test_every_script_is_a_case() -> None:
    assert {case.script for case in RIGHT} == {
        path.stem for path in SCRIPTS.glob("*.py")
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.name)
def test_a_script_runs_by_itself(case: Case, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", str(case.write(tmp_path))],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout or result.stderr
