"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from io import BufferedIOBase
from pathlib import Path

_TEMPORARY = ".pgtoy-tmp"


def write_whole(
    path: str | Path | BufferedIOBase, content: bytes, suffix: str
) -> Path | None:
    """Writes a file so that whoever reads it finds the old one or the new one whole.

    The content goes to a temporary file in the same folder, which takes the place of
    the old file once it is on the disk: renaming is one step for the file system. After
    a power cut, too, one of the two is there.

    Args:
        path: a name, which SB3's rules complete: `suffix` is added where the name has
            none, missing folders are made, a folder of that name gets a file
            `<name>_2` beside it. Or an open binary file, which is written to.
        content: what to write.
        suffix: such as `"zip"`, without the dot.

    Returns:
        The file that was written; None for an open file.

    Raises:
        OSError: if it can't be written; the old file is as it was, and no temporary is
            left behind.
        TypeError: if `path` is no name and no binary file.
    """
    if not isinstance(path, str | Path):
        if not hasattr(path, "write"):
            raise TypeError(f"path must be a name or an open binary file, got {path!r}")
        path.write(content)
        return None
    target = _target(Path(path), suffix)
    if target.exists() and not target.is_file():
        # A device or a pipe can't be replaced.
        target.write_bytes(content)
        return target
    _replace(target, content)
    return target


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
        if path.name.startswith(f".{prefix}") and path.name.endswith(_TEMPORARY)
    ]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def _target(path: Path, suffix: str) -> Path:
    if path.suffix == "":
        path = path.with_name(f"{path.name}.{suffix}")
    while path.is_dir():
        warnings.warn(
            f"{path} is a folder: the file is saved as {path}_2 instead", stacklevel=4
        )
        path = path.with_name(f"{path.name}_2")
    if not path.parent.exists():
        warnings.warn(f"{path.parent} does not exist and is made", stacklevel=4)
        path.parent.mkdir(parents=True, exist_ok=True)
    # The file that a link points to is replaced, not the link.
    return Path(os.path.realpath(path))


def _replace(target: Path, content: bytes) -> None:
    # No module `random`: saving draws from nobody's generator.
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_TEMPORARY}")
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
