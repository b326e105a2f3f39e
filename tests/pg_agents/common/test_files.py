"""Atomic writing, and errors that name the file."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from pg_agents import REINFORCE, ActorCritic, RandomAgent, save_weights
from pg_agents.analysis.plots import animate_action_probabilities, save_figure, save_gif
from pg_agents.common.files import (
    TEMPORARY_SUFFIX,
    check_writable,
    remove_temporaries,
    write_file,
    write_whole,
)
from pg_agents.experiments.folder import open_monitor
from tests.pg_agents.analysis.plots.records import make_record


def test_write_whole_adds_the_suffix(tmp_path: Path) -> None:
    assert write_whole(tmp_path / "a", b"1", "zip") == tmp_path / "a.zip"
    assert write_whole(str(tmp_path / "b.bin"), b"2", "zip") == tmp_path / "b.bin"
    assert (tmp_path / "a.zip").read_bytes() == b"1"
    assert (tmp_path / "b.bin").read_bytes() == b"2"
    assert write_whole(tmp_path / "a", b"3", "zip") == tmp_path / "a.zip"
    assert (tmp_path / "a.zip").read_bytes() == b"3"
    assert len(list(tmp_path.iterdir())) == 2


def test_write_whole_writes_to_open_files() -> None:
    file = io.BytesIO(b"head")
    file.seek(4)
    assert write_whole(file, b"tail", "zip") is None
    assert file.getvalue() == b"headtail"
    with pytest.raises(TypeError, match="path must be a name or an open binary file"):
        write_whole(5, b"", "zip")  # type: ignore[arg-type]


def test_write_whole_treats_folders_as_sb3(tmp_path: Path) -> None:
    (tmp_path / "a.zip").mkdir()
    with pytest.warns(UserWarning, match=r"a.zip is a folder: .*a.zip_2 instead"):
        assert write_whole(tmp_path / "a", b"1", "zip") == tmp_path / "a.zip_2"
    with pytest.warns(UserWarning, match="created the missing folder .*x"):
        write_whole(tmp_path / "x" / "y", b"2", "zip")
    assert (tmp_path / "x" / "y.zip").read_bytes() == b"2"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "a", b"old", "zip")

    def fail(*_: Any) -> None:
        raise OSError("no space left on device")

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match=r"a.zip can't be written: no space left"):
        write_whole(tmp_path / "a", b"new", "zip")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    assert (tmp_path / "a.zip").read_bytes() == b"old"


def test_content_is_flushed_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power failure could leave the new name without content."""
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


def test_links_and_permissions_stay(tmp_path: Path) -> None:
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


def test_temporary_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in (f".model_7.zip.0a{TEMPORARY_SUFFIX}", "model_7.zip", ".model_8.zip"):
        (tmp_path / name).write_bytes(b"")
    other = tmp_path / f".other_7.zip.0a{TEMPORARY_SUFFIX}"
    other.write_bytes(b"")
    removed = remove_temporaries(tmp_path, "model_")
    assert [path.name for path in removed] == [f".model_7.zip.0a{TEMPORARY_SUFFIX}"]
    assert len(list(tmp_path.iterdir())) == 3 and other.exists()


def animate(path: Path) -> None:
    records = make_record(np.full((2, 1, 2), 0.5))
    animate_action_probabilities(records, ["a", "b"], path)


MODELS: dict[str, Any] = {
    agent.__name__: agent("MlpPolicy", "pg_envs:PGToy-Sequence-v0")
    for agent in (REINFORCE, ActorCritic, RandomAgent)
}
# Functions that write a file, each with a valid name.
WRITERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "write_file": ("a.bin", lambda path: write_file(path, b"new")),
    "write_whole": ("a.zip", lambda path: write_whole(path, b"new", "zip")),
    "save_weights": ("a.safetensors", partial(save_weights, MODELS["REINFORCE"])),
    "save_figure": ("a.png", partial(save_figure, Figure())),
    "save_gif": ("a.gif", partial(save_gif, [np.zeros((8, 8, 3), np.uint8)])),
    "animate": ("a.gif", animate),
    "open_monitor": ("monitor.csv", lambda path: open_monitor(path, "None").close()),
    **{f"{name}.save": ("a.zip", model.save) for name, model in MODELS.items()},
}


def below_a_file(folder: Path, name: str) -> Path:
    (folder / "file").write_bytes(b"old")
    return folder / "file" / name


def far_below_a_file(folder: Path, name: str) -> Path:
    (folder / "file").write_bytes(b"old")
    return folder / "file" / "further" / name


def too_long(folder: Path, name: str) -> Path:
    return folder / ("n" * 300 + name)


@pytest.mark.parametrize("target", [below_a_file, far_below_a_file, too_long])
@pytest.mark.parametrize("writer", WRITERS)
def test_errors_name_the_file(
    writer: str, target: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    name, write = WRITERS[writer]
    path = target(tmp_path, name)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(OSError) as failure:
        write(path)
    message = str(failure.value)
    assert str(path) in message
    assert re.search(r"no folder|[Nn]ot a directory|File exists|too long", message)
    assert ".pgtoy-tmp" not in message
    assert failure.value.errno is not None
    assert failure.value.__cause__ is None and failure.value.__suppress_context__
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("kind", ["is a folder", "missing folder"])
@pytest.mark.parametrize("writer", ["write_file", "save_figure", "save_gif", "animate"])
def test_only_write_whole_creates_folders(
    writer: str, kind: str, tmp_path: Path
) -> None:
    name, write = WRITERS[writer]
    path = tmp_path / "missing" / name
    if kind == "is a folder":
        path = tmp_path / name
        path.mkdir()
    before = list(tmp_path.rglob("*"))
    for function in (write, check_writable):
        with pytest.raises(OSError, match=re.escape(str(path))) as failure:
            function(path)
        assert "folder" in str(failure.value)
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("writer", WRITERS)
def test_long_names_can_be_written(writer: str, tmp_path: Path) -> None:
    name, write = WRITERS[writer]
    path = tmp_path / ("ö" * 100 + name)
    check_writable(path)
    assert list(tmp_path.iterdir()) == []
    write(path)
    assert list(tmp_path.iterdir()) == [path]


# Root can write anywhere: the process becomes another user.
PROTECTED = """
import os, sys, tempfile
from pathlib import Path
from pg_agents.common.files import check_writable, write_file, write_whole
folder = Path(tempfile.mkdtemp())
(folder / "file.zip").write_bytes(b"old")
inside = folder / "inside"
inside.mkdir()
if os.getuid() == 0:
    for path in (folder, folder / "file.zip", inside):
        os.chown(path, 65534, 65534)
    os.setuid(65534)
os.chmod(folder / "file.zip", 0o444)
os.chmod(inside, 0o555)
for path in (folder / "file.zip", inside / "new.zip"):
    for write in (
        check_writable,
        lambda path: write_file(path, b"new"),
        lambda path: write_whole(path, b"new", "zip"),
    ):
        try:
            write(path)
        except PermissionError as error:
            assert error.filename == str(path), error
        else:
            raise AssertionError(f"{path} was written")
assert (folder / "file.zip").read_bytes() == b"old"
assert sorted(path.name for path in folder.rglob("*")) == ["file.zip", "inside"]
os.chmod(inside, 0o755)
inside.rmdir()
(folder / "file.zip").unlink()
folder.rmdir()
"""


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions")
def test_protected_files_are_not_written() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROTECTED], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_check_writable_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"old")
    check_writable(path)
    check_writable("/dev/null")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
