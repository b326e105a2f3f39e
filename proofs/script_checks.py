"""Checks whole training scripts, right ones and ones with a planted mistake.

The scripts are those of the tests (`tests/pg_agents/checker/planted.py`). The results
go to docs/script_checks.json, which `make checker` reads. `make script-checks` takes
about an hour and continues where it was stopped.

With `--public FOLDER` it checks scripts of others instead, which are no part of this
repository: FOLDER/list.json says of each file what it is, its repository and commit,
and what a reader found before any check. Their results go to docs/public_scripts.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pg_agents.checker import GradientReport, check_script
from pg_agents.checker.geometry import CannotCheckError
from tests.pg_agents.checker.planted import CASES

DOCS = Path(__file__).parent.parent / "docs"

Row = dict[str, Any]


def checked(path: Path, **settings: Any) -> Row:
    """Checks a script; returns verdict, names, residual and seconds.

    The mistakes are those that are asserted: with several explanations that fit as well
    as each other there are none.
    """
    started = time.perf_counter()
    try:
        report = check_script(path, **settings)
    except CannotCheckError as error:
        row: Row = {"verdict": "cannot check", "error": str(error)}
    else:
        row = {
            "verdict": report.verdict,
            "mistakes": asserted(report, "mistake", "no gradient"),
            "departures": asserted(report, "departure"),
            "ties": list(report.ties),
            "formula": report.formula,
            "residual": report.residual,
        }
    return row | {"seconds": round(time.perf_counter() - started, 1)}


def asserted(report: GradientReport, *kinds: str) -> list[str]:
    """Returns the keys of the findings of some kinds; none if they are not sure."""
    if report.ties:
        return []
    return [finding.key for finding in report.findings if finding.kind in kinds]


def planted(folder: Path) -> Iterator[tuple[str, Path, Row, dict[str, Any]]]:
    """Yields name, path, what is known and settings of the scripts of the tests."""
    for case in CASES:
        known = {"script": case.script, "expected": case.verdict, "keys": case.keys}
        yield case.name, case.write(folder), known, {}


def public(folder: Path) -> Iterator[tuple[str, Path, Row, dict[str, Any]]]:
    """Yields the same of the scripts of a folder."""
    for entry in json.loads((folder / "list.json").read_text()):
        settings = entry.pop("settings", {})
        yield entry["file"], folder / entry["file"], entry, settings


def main() -> None:
    """Checks the scripts that have no result yet, and stores each result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--public", type=Path, help="folder of other scripts")
    parser.add_argument("--again", action="store_true", help="forget former results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    name = "script_checks" if options.public is None else "public_scripts"
    out = DOCS / f"{name}.json"
    done = {} if options.again or not out.exists() else json.loads(out.read_text())
    with tempfile.TemporaryDirectory() as folder:
        cases = (
            planted(Path(folder)) if options.public is None else public(options.public)
        )
        for key, path, known, settings in tqdm(list(cases)):
            if key not in done:
                done[key] = known | checked(path, **settings)
                out.write_text(json.dumps(done, indent=1) + "\n")
                print(key, done[key]["verdict"], done[key].get("mistakes"), flush=True)


if __name__ == "__main__":
    main()
