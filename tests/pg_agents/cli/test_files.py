"""Files and folders that `pgtoy` can't write are named before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from pg_agents.cli.main import main
from tests.pg_agents.analysis.run_folders import write_learners

CHECK = ["check", "pitfalls:right", "--episodes", "2048", "--plot"]
RUN = ["--episodes", "1", "--out"]
SWEEP = ["--try", "gamma=float:0.1:0.9", "--trials", "1", *RUN]
# Command line up to the name of the file, and its suffix.
FILES: dict[str, tuple[list[str], str]] = {
    "check --plot": (CHECK, ".png"),
    "check --json --plot": (["check", "--json", *CHECK[1:]], ".svg"),
    "plot --to": (["plot", "RUNS", "--to"], ".png"),
    "compare --to": (["compare", "RUNS", "--to"], ".pdf"),
    "compare --grid": (["compare", "RUNS", "--grid"], ".png"),
    "record --to gif": (["record", "pixelcopter-mc", "--to"], ".gif"),
    "record --to mp4": (["record", "pixelcopter-mc", "--to"], ".mp4"),
}
FOLDERS: dict[str, list[str]] = {
    "run --out": ["run", "sequence-reinforce", "--seed", "0", "--jobs", "1", *RUN],
    "run --out, demo": ["run", "known-values", "--out"],
    "sweep --out": ["sweep", "sequence-reinforce", *SWEEP],
}
PLACES = ("in a file", "in no folder", "a folder")


def refused(
    arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> str:
    """Returns the error message of a command that writes nothing."""
    before = sorted(folder.rglob("*"))
    status = main(arguments)
    printed = capsys.readouterr()
    assert status == 2
    assert sorted(folder.rglob("*")) == before
    assert "Traceback" not in printed.err
    (line,) = printed.err.splitlines()
    assert line.startswith("pgtoy: ")
    return line


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", FILES)
def test_a_file_that_cant_be_written_is_named_before_the_work(
    command: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, ending = FILES[command]
    (tmp_path / "file").write_bytes(b"")
    target = {
        "in a file": tmp_path / "file" / f"x{ending}",
        "in no folder": tmp_path / "missing" / f"x{ending}",
        "a folder": tmp_path / f"x{ending}",
    }[place]
    if place == "a folder":
        target.mkdir()
    write_learners(tmp_path / "runs" / "cartpole-1x16", 2, 2.6)
    runs = str(tmp_path / "runs")
    arguments = [runs if word == "RUNS" else word for word in arguments]
    line = refused([*arguments, str(target)], tmp_path, capsys)
    assert str(target) in line and "folder" in line


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_that_cant_be_made_is_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    line = refused([*FOLDERS[command], str(tmp_path / "file")], tmp_path, capsys)
    assert f"'{tmp_path / 'file'}/" in line
    assert "Not a directory" in line or "is no folder" in line
