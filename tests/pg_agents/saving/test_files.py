"""A file is there whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from pg_agents.saving import files
from pg_agents.saving.files import remove_temporaries, write_whole


def test_the_name_is_completed_and_the_content_is_there(tmp_path: Path) -> None:
    assert write_whole(tmp_path / "a", b"1", "zip") == tmp_path / "a.zip"
    assert write_whole(str(tmp_path / "b.bin"), b"2", "zip") == tmp_path / "b.bin"
    assert (tmp_path / "a.zip").read_bytes() == b"1"
    assert (tmp_path / "b.bin").read_bytes() == b"2"
    assert write_whole(tmp_path / "a", b"3", "zip") == tmp_path / "a.zip"
    assert (tmp_path / "a.zip").read_bytes() == b"3"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_open_file_is_written_to_where_it_stands() -> None:
    file = io.BytesIO(b"head")
    file.seek(4)
    assert write_whole(file, b"tail", "zip") is None
    assert file.getvalue() == b"headtail"
    with pytest.raises(TypeError, match="path must be a name or an open binary file"):
        write_whole(5, b"", "zip")  # type: ignore[arg-type]


def test_folders_are_dealt_with_as_in_sb3(tmp_path: Path) -> None:
    (tmp_path / "a.zip").mkdir()
    with pytest.warns(UserWarning, match=r"a.zip is a folder: .*a.zip_2 instead"):
        assert write_whole(tmp_path / "a", b"1", "zip") == tmp_path / "a.zip_2"
    with pytest.warns(UserWarning, match="x does not exist and is made"):
        write_whole(tmp_path / "x" / "y", b"2", "zip")
    assert (tmp_path / "x" / "y.zip").read_bytes() == b"2"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "a", b"old", "zip")

    def fail(*_: Any) -> None:
        raise OSError("no space left on device")

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(tmp_path / "a", b"new", "zip")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    assert (tmp_path / "a.zip").read_bytes() == b"old"


def test_content_is_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could leave a new name with no content, or an old name."""
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        folder = os.path.isdir(os.readlink(f"/proc/self/fd/{descriptor}"))
        events.append("sync folder" if folder else "sync file")
        fsync(descriptor)

    def note_replace(self: Path, target: Any) -> Path:
        assert self.parent == Path(target).parent
        assert self.read_bytes() == b"new"
        events.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_whole(tmp_path / "a", b"new", "zip")
    assert events == ["sync file", "replace", "sync folder"]


def test_links_and_rights_stay(tmp_path: Path) -> None:
    target, link = tmp_path / "there" / "model.zip", tmp_path / "link.zip"
    target.parent.mkdir()
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    assert write_whole(link, b"new", "zip") == target
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640
    write_whole("/dev/null", b"gone", "")
    assert not Path("/dev/null").is_file()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    for name in (f".model_7.zip.0a{files._TEMPORARY}", "model_7.zip", ".model_8.zip"):
        (tmp_path / name).write_bytes(b"")
    other = tmp_path / f".other_7.zip.0a{files._TEMPORARY}"
    other.write_bytes(b"")
    removed = remove_temporaries(tmp_path, "model_")
    assert [path.name for path in removed] == [f".model_7.zip.0a{files._TEMPORARY}"]
    assert len(list(tmp_path.iterdir())) == 3 and other.exists()
