"""The journal after a kill, in somebody else's hands, and when it is no journal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import optuna
import pytest

from pg_agents.sweeps.journal import open_journal


def begin(path: Path) -> bytes:
    with open_journal(path) as storage:
        study = optuna.create_study(study_name="s", storage=storage)
        study.tell(study.ask(), 1.0)
    return path.read_bytes()


def values(path: Path) -> list[float | None]:
    with open_journal(path) as storage:
        study = optuna.load_study(study_name="s", storage=storage)
        return [trial.value for trial in study.trials]


def test_a_line_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    whole = begin(path)
    path.write_bytes(whole + b'{"op_code": 4, "worker')
    assert values(path) == [1.0]
    assert path.read_bytes() == whole


def test_a_file_that_was_cut_off_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    first = begin(path).split(b"\n")[0]
    path.write_bytes(first[:20])
    begin(path)
    assert values(path) == [1.0]


def test_the_lock_of_the_dead_holds_up_nobody(tmp_path: Path) -> None:
    """Optuna alone would wait for half a minute: the test's time shows it."""
    path = tmp_path / "journal.log"
    begin(path)
    os.symlink(path, tmp_path / "journal.log.lock")
    assert values(path) == [1.0]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    with (
        open_journal(path),
        pytest.raises(ValueError, match="another process works on"),
        open_journal(path),
    ):
        pass
    begin(path)


@pytest.mark.parametrize(
    "content", [b"hello\n", b"3\n", b'{"a": 1}\n', b"a note without an end"]
)
def test_a_file_that_is_no_journal_stays_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no journal of Optuna"), open_journal(path):
        pass
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    lines = begin(path).splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:9] + b"\n", *lines[2:]]))
    with pytest.raises(ValueError, match="damaged: line 2 reads"), open_journal(path):
        pass


def test_places_that_are_none(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="there is no folder"),
        open_journal(tmp_path / "nowhere" / "journal.log"),
    ):
        pass
    with pytest.raises(ValueError, match="must be a file"), open_journal(tmp_path):
        pass


def test_without_the_extra_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna.storages", None)
    with (
        pytest.raises(ImportError, match=r'pip install "pgtoy\[sweeps\]"'),
        open_journal(tmp_path / "journal.log"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
