"""Atomic writing of files: a reader, or a crash, finds the old file or the new one."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

TEMPORARY_SUFFIX = ".pgtoy-tmp"
# Characters of the name that a temporary file repeats: file systems allow 255 bytes,
# which the name itself may use up.
_MAX_REPEATED = 50


def write_whole(
    path: str | Path | BufferedIOBase, content: bytes, suffix: str
) -> Path | None:
    """Writes a file as `write_file` does, under a name completed by SB3's rules.

    Args:
        path: a name, to which `suffix` is added if it has none. Missing folders are
            created; if the name is that of a folder, `_2` is appended. Or an open
            binary file, which is written to.
        content: the bytes.
        suffix: such as `"zip"`, without the dot.

    Returns:
        The file; None for an open file.

    Raises:
        OSError: if it can't be written, see `write_file`.
        TypeError: if `path` is neither a name nor a binary file.
    """
    if not isinstance(path, str | Path):
        if not hasattr(path, "write"):
            raise TypeError(f"path must be a name or an open binary file, got {path!r}")
        path.write(content)
        return None
    with _errors_naming(path):
        target = Path(path)
        if target.suffix == "":
            target = target.with_name(f"{target.name}.{suffix}")
        while target.is_dir():
            warnings.warn(
                f"{target} is a folder: the file is saved as {target}_2 instead",
                stacklevel=3,
            )
            target = target.with_name(f"{target.name}_2")
        if not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            warnings.warn(f"created the missing folder {target.parent}", stacklevel=3)
    return write_file(target, content)


def write_file(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes a file atomically.

    The content is written to a temporary file in the same folder, flushed to the disk,
    and renamed: after a kill or a power failure, either the old or the new file exists.

    Args:
        path: its name. If it is a link, the file it points to is replaced.
        content: the bytes.

    Returns:
        The file that was written.

    Raises:
        OSError: if it can't be written; the message contains `path` and the reason. The
            old file is unchanged, and no temporary file remains.
    """
    with _errors_naming(path):
        target = _writable(path)
        if _is_special(target):
            target.write_bytes(content)
        else:
            _replace(target, content)
    return target


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raises the OSError that `write_file` would raise, without writing."""
    with _errors_naming(path):
        target = _writable(path)
        if not _is_special(target):
            _create_and_remove(_temporary(target))


def check_folder(path: Path) -> None:
    """Raises an OSError if a folder can't be created or written to."""
    with _errors_naming(path):
        existing = next(p for p in (path, *path.parents) if p.exists())
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{existing} is no folder")
        _create_and_remove(_temporary(existing / "folder"))


def remove_temporaries(folder: Path, prefix: str) -> list[Path]:
    """Removes temporary files that a killed process has left.

    Args:
        folder: where to look.
        prefix: beginning of the names of the files that were to be written.

    Returns:
        The removed files.
    """
    left = [
        path
        for path in folder.iterdir()
        if path.name.startswith(f".{prefix[:_MAX_REPEATED]}")
        and path.name.endswith(TEMPORARY_SUFFIX)
    ]
    for path in left:
        path.unlink(missing_ok=True)
    return left


@contextmanager
def _errors_naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Makes OSErrors name `path` instead of a temporary file."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise OSError(f"{path} can't be written: {error}") from None
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _writable(path: str | os.PathLike[str]) -> Path:
    """Returns the file behind links, if nothing obvious prevents writing it."""
    target, parent = Path(os.path.realpath(path)), Path(path).parent
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not target.parent.exists():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {parent}")
    if not target.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{parent} is no folder")
    # Renaming would replace a read-only file.
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only")
    return target


def _is_special(target: Path) -> bool:
    """Whether it is a device or a pipe, which can't be replaced."""
    return target.exists() and not target.is_file()


def _temporary(target: Path) -> Path:
    # uuid4 reads the system's entropy; `tempfile` and `random` have generators.
    name = target.name[:_MAX_REPEATED]
    return target.with_name(f".{name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")


def _create_and_remove(temporary: Path) -> None:
    temporary.touch(exist_ok=False)
    temporary.unlink()


def _replace(target: Path, content: bytes) -> None:
    temporary = _temporary(target)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        # The rename is on the disk once the folder is.
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
