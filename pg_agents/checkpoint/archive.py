"""Is a checkpoint whole, and whose is it?

A checkpoint is the zip file of Stable-Baselines3's `save` with one more entry, the
manifest: who wrote it, with which versions, the SHA-256 of every attribute of the model
and of every other entry. A reader finds a file that was cut off, damaged or whose
weights were edited before anything of it is unpickled; attributes that were edited are
used, with a warning, as SB3 does without one. It is no signature: an editor of the file
can write a manifest that fits, so load only files whose origin you trust.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import platform
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from importlib import metadata
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from stable_baselines3.common.save_util import open_path

from pg_agents.checkpoint.attributes import (
    DATA,
    Checkpoint,
    attribute_sums,
    edited_attributes,
)

MANIFEST = "pgtoy_manifest.json"
# 1 had one sum for all attributes.
FORMAT = 2
_CUT_OFF = "is cut off: the zip file does not end where the file does"
_LIBRARIES = ("pgtoy", "stable-baselines3", "gymnasium", "torch", "numpy")


class DamagedCheckpointError(ValueError):
    """A file is not what was written: cut off, damaged, or its weights were edited."""


def with_manifest(
    content: bytes, algorithm: type, extra: Mapping[str, bytes] | None = None
) -> bytes:
    """Returns a checkpoint with a manifest, and with further entries.

    Args:
        content: zip file as SB3's `save` writes it; an old manifest is left out.
        algorithm: the class that saved it.
        extra: further entries by name.

    Returns:
        The zip file.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries |= extra or {}
    entries.pop(MANIFEST, None)
    manifest = {
        "format": FORMAT,
        "algorithm": f"{algorithm.__module__}.{algorithm.__qualname__}",
        "versions": versions(),
        "sha256": {
            name: _sha256(entry) for name, entry in entries.items() if name != DATA
        },
        "attributes": attribute_sums(json.loads(entries.get(DATA, "{}"))),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
        for name, entry in entries.items():
            archive.writestr(name, entry)
    return file.getvalue()


# Looking them up takes as long as the rest of a save.
@functools.cache
def versions(*more: str) -> dict[str, str]:
    """Returns the versions of Python and of the libraries that a checkpoint is from.

    Args:
        *more: names of further libraries.
    """
    found = {"python": platform.python_version()}
    for name in (*_LIBRARIES, *more):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def read_content(path: str | Path | BufferedIOBase) -> bytes:
    """Returns the bytes of a file, which is found by SB3's rules.

    Args:
        path: a name, with or without `.zip`, or an open file, read from its start.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    file: Any = open_path(path, "r", verbose=0, suffix="zip")
    try:
        file.seek(0)
        content: bytes = file.read()
    finally:
        # An open file stays open.
        if isinstance(path, str | Path):
            file.close()
    return content


def check_entries(content: bytes, name: str) -> dict[str, Any] | None:
    """Raises unless a checkpoint is what was written, but for attributes of the model.

    Args:
        content: the file.
        name: how to call the file in messages.

    Returns:
        The manifest; None if there is none and nothing but the zip file's own checksums
        could be compared.

    Raises:
        DamagedCheckpointError: if it is cut off, damaged or no zip file, or if weights
            or other entries were edited.
        ValueError: if its format is of a later pgtoy.
    """
    names, entries = _read_entries(content, name)
    if MANIFEST not in entries:
        return None
    if len(names) != len(entries):
        raise DamagedCheckpointError(f"{name} was edited: it has an entry twice")
    manifest = _read_manifest(entries.pop(MANIFEST), name)
    _check_sums(manifest, entries, name)
    return manifest


def check_unedited(content: bytes, name: str) -> None:
    """Raises unless a checkpoint is what was written, attributes included.

    Args:
        content: the file.
        name: how to call the file in messages.

    Raises:
        DamagedCheckpointError: if it is not.
        ValueError: if its format is of a later pgtoy.
    """
    manifest = check_entries(content, name)
    if manifest is not None:
        edited = checkpoint_of(content, name, manifest).edited
        if edited:
            raise DamagedCheckpointError(
                f"{name} was edited: the attributes {', '.join(edited)} changed"
            )


def _read_entries(content: bytes, name: str) -> tuple[list[str], dict[str, bytes]]:
    is_zip = content[:2] == b"PK"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            # A part of a checkpoint can pass for a whole zip file: torch's files, which
            # are entries of it, are zip files themselves.
            starts = (entry.header_offset for entry in archive.infolist())
            part = is_zip and min(starts, default=0) > 0
            entries = {entry: archive.read(entry) for entry in names}
    # A damaged header makes the module zipfile raise any of these.
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:
        if not is_zip:
            what = "is no checkpoint: expected a zip file"
        elif not _ends(content):
            what = _CUT_OFF
        else:
            what = f"is damaged: {error}"
        raise DamagedCheckpointError(f"{name} {what}") from error
    if is_zip and (part or not _ends(content)):
        raise DamagedCheckpointError(f"{name} {_CUT_OFF}")
    return names, entries


def _check_sums(manifest: dict[str, Any], entries: dict[str, bytes], name: str) -> None:
    expected: dict[str, str | None] = dict(manifest["sha256"])
    if "attributes" in manifest:
        # Compared one by one, and not here.
        expected[DATA] = None
    others = {
        entry
        for entry in entries.keys() & expected
        if expected[entry] not in (None, _sha256(entries[entry]))
    }
    for what, found in (
        ("lacks", expected.keys() - entries),
        ("has in addition", entries.keys() - expected),
        ("has in another form", others),
    ):
        if found:
            listed = ", ".join(sorted(found))
            raise DamagedCheckpointError(
                f"{name} was edited or damaged: it {what} {listed}, so says its "
                f"manifest ({MANIFEST})"
            )


def _ends(content: bytes) -> bool:
    """Whether the last record of a zip file is the end of the file, too."""
    at = content.rfind(b"PK\x05\x06")
    comment = int.from_bytes(content[at + 20 : at + 22], "little")
    return at >= 0 and at + 22 + comment == len(content)


def _read_manifest(entry: bytes, name: str) -> dict[str, Any]:
    try:
        manifest = json.loads(entry)
        version, sums = manifest["format"], manifest["sha256"]
        attributes, versions = manifest.get("attributes", {}), manifest["versions"]
        dicts = all(isinstance(each, dict) for each in (sums, attributes, versions))
        if not isinstance(version, int) or not dicts:
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(
            f"{name} was edited or damaged: its manifest ({MANIFEST}) can't be read"
        ) from error
    if version > FORMAT:
        raise ValueError(
            f"{name} has format {version}, from pgtoy "
            f"{versions.get('pgtoy')}; this one reads up to {FORMAT}: install a later "
            "pgtoy"
        )
    found: dict[str, Any] = manifest
    return found


def checked_content(path: str | Path | BufferedIOBase, algorithm: type) -> Checkpoint:
    """Returns a checkpoint that is whole and was saved by a class or one it extends.

    Nothing of the file is executed: manifest and name of the class are plain text.

    Args:
        path: as given to SB3's `load`.
        algorithm: the class that is to load it.

    Raises:
        DamagedCheckpointError: if it is cut off, damaged or no zip file, or if weights
            or other entries were edited.
        ValueError: if it was saved by another class, or is another zip file.
        FileNotFoundError: if there is no such file.
    """
    content = read_content(path)
    name = str(path) if isinstance(path, str | Path) else "the file"
    manifest = check_entries(content, name)
    checkpoint = checkpoint_of(content, name, manifest)
    saved_by = checkpoint.data.get("algorithm")
    accepted = [base.__name__ for base in algorithm.__mro__]
    if saved_by not in accepted:
        if not isinstance(saved_by, str):
            saved_by = "a class that is not one of pg_agents"
        raise ValueError(
            f"{name} was saved by {saved_by}, and {algorithm.__name__}.load accepts "
            f"what {algorithm.__name__}.save wrote"
        )
    if manifest is None:
        warnings.warn(
            f"{name} has no manifest ({MANIFEST}), as files of pgtoy before it wrote "
            "one: it is loaded, but edits can't be found; save it again to add one",
            stacklevel=3,
        )
    return checkpoint


def checkpoint_of(
    content: bytes, name: str, manifest: dict[str, Any] | None
) -> Checkpoint:
    """Returns what is known of a file that is whole.

    Args:
        content: the file.
        name: how to call it in messages.
        manifest: as `check_entries` returned it.

    Raises:
        DamagedCheckpointError: if there is a manifest, and no attributes of a model.
        ValueError: if there is neither.
    """
    data = _data(content, name, manifest)
    edited: list[str] = []
    python = None
    if manifest is not None:
        python = manifest["versions"].get("python")
        if "attributes" in manifest:
            edited = edited_attributes(data, manifest["attributes"])
    return Checkpoint(name, content, data, edited, python)


def _data(content: bytes, name: str, manifest: dict[str, Any] | None) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = archive.read(DATA) if DATA in archive.namelist() else None
    if entry is None:
        raise ValueError(
            f"{name} is no checkpoint: expected an entry 'data' in the zip file, as "
            "written by the save() of an algorithm"
        )
    try:
        data = json.loads(entry)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        error = ValueError if manifest is None else DamagedCheckpointError
        raise error(
            f"{name} is no checkpoint: its entry 'data' is not the JSON that the "
            "save() of an algorithm writes"
        )
    return data


def _sha256(entry: bytes) -> str:
    return hashlib.sha256(entry).hexdigest()
