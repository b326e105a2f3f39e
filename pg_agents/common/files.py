"""Files that are there whole or not at all."""

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

_TEMPORARY = ".pgtoy-tmp"
# Characters of a name that its temporary file repeats: a file system has room for 255
# bytes, which a long name may fill.
_LONGEST = 50


def write_whole(
    path: str | Path | BufferedIOBase, content: bytes, suffix: str
) -> Path | None:
    """Writes a file whose name SB3's rules complete, as `write_file` does.

    Args:
        path: a name, to which `suffix` is added where it has none; missing folders are
            made, a folder of that name gets a file `<name>_2` beside it. Or an open
            binary file, which is written to.
        content: what to write.
        suffix: such as `"zip"`, without the dot.

    Returns:
        The file that was written; None for an open file.

    Raises:
        OSError: if it can't be written, see `write_file`.
        TypeError: if `path` is no name and no binary file.
    """
    if not isinstance(path, str | Path):
        if not hasattr(path, "write"):
            raise TypeError(f"path must be a name or an open binary file, got {path!r}")
        path.write(content)
        return None
    with _naming(path):
        target = _completed(Path(path), suffix)
    return write_file(target, content)


def write_file(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes a file so that a reader finds the old one or the new one whole.

    The content goes to a temporary file in the same folder, which takes the place of
    the old file once it is on the disk: renaming is one step for the file system. After
    a power cut, too, one of the two is there.

    Args:
        path: its name; the file that a link points to is replaced, not the link.
        content: what to write.

    Returns:
        The file that was written.

    Raises:
        OSError: if it can't be written; the message names `path` and the reason. The
            old file is as it was, and no temporary is left behind.
    """
    with _naming(path):
        target = _writable(path)
        if _is_special(target):
            # A device or a pipe can't be replaced.
            target.write_bytes(content)
        else:
            _replace(target, content)
    return target


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raises the OSError of `write_file` before the work, if it would fail now."""
    with _naming(path):
        target = _writable(path)
        if not _is_special(target):
            _try_out(_temporary(target))


def check_folder(path: Path) -> None:
    """Raises an OSError naming a folder that can't be made or written to."""
    with _naming(path):
        there = next(each for each in (path, *path.parents) if each.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is no folder")
        _try_out(_temporary(there / "folder"))


def remove_temporaries(folder: Path, prefix: str) -> list[Path]:
    """Removes what a killed `write_whole` left of files whose names begin alike.

    Args:
        folder: where to look.
        prefix: beginning of the names of the files that were to be written.

    Returns:
        What was removed.
    """
    left = [
        path
        for path in folder.iterdir()
        if path.name.startswith(f".{prefix[:_LONGEST]}")
        and path.name.endswith(_TEMPORARY)
    ]
    for path in left:
        path.unlink(missing_ok=True)
    return left


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Has errors name the file that is to be written, and no temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise OSError(f"{path} can't be written: {error}") from None
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def _completed(path: Path, suffix: str) -> Path:
    if path.suffix == "":
        path = path.with_name(f"{path.name}.{suffix}")
    while path.is_dir():
        warnings.warn(
            f"{path} is a folder: the file is saved as {path}_2 instead", stacklevel=4
        )
        path = path.with_name(f"{path.name}_2")
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        warnings.warn(f"{path.parent} does not exist and is made", stacklevel=4)
    return path


def _writable(path: str | os.PathLike[str]) -> Path:
    """Returns the file behind links, unless it can be seen that it can't be written."""
    target, parent = Path(os.path.realpath(path)), Path(path).parent
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not target.parent.exists():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {parent}")
    if not target.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{parent} is no folder")
    # Renaming would not ask: a file that is protected stays.
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only")
    return target


def _is_special(target: Path) -> bool:
    return target.exists() and not target.is_file()


def _temporary(target: Path) -> Path:
    # No module `random`: saving draws from nobody's generator.
    own = target.name[:_LONGEST]
    return target.with_name(f".{own}.{uuid.uuid4().hex}{_TEMPORARY}")


def _try_out(temporary: Path) -> None:
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
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Waits until the new name is on the disk, where folders can be opened for that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
