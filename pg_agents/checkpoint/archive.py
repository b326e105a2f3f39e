"""Checkpoint files: integrity, origin, and the attributes that can be read here.

`pg_agents.checkpoint.state` lists what a checkpoint contains. To the zip file of
Stable-Baselines3's `save` this module adds an entry, the manifest: the class that wrote
it, library versions, and the SHA-256 of every attribute of the model and of every other
entry. A file that is cut off, damaged or has edited weights is refused before anything
in it is unpickled. Edited attributes are used with a warning. The manifest is not a
signature: an editor of the file can write a matching one, so load only files from a
source you trust.

SB3 stores a model's attributes in the entry `data` as JSON, and pickles those that JSON
cannot express. An attribute from another Python or library version may not unpickle
here. SB3 warns of it, and `custom_objects` replaces it; so does `read_attributes`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import platform
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from importlib import metadata
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped]
from stable_baselines3.common.save_util import open_path

MANIFEST = "pgtoy_manifest.json"
FORMAT = 2
# SB3's entry for attributes, and the key of a pickled one.
_DATA = "data"
_SERIALIZED = ":serialized:"
_LIBRARIES = ("pgtoy", "stable-baselines3", "gymnasium", "torch", "numpy")
# SB3's load() can't build a model without these.
_REQUIRED = ("policy_class", "observation_space", "action_space")
# Attributes that load() computes from others.
_COMPUTED_FROM = {"lr_schedule": "learning_rate"}
_CUT_OFF = "is cut off: the zip file does not end where the file does"


class DamagedCheckpointError(ValueError):
    """A checkpoint is cut off or damaged, or its weights were edited."""


class Checkpoint(NamedTuple):
    """An undamaged checkpoint.

    Attributes:
        name: of the file, for messages.
        content: the zip file.
        data: the model's attributes in JSON.
        edited: names of attributes that were changed, removed or added later.
        manifest: None if the file has none.
    """

    name: str
    content: bytes
    data: dict[str, Any]
    edited: list[str]
    manifest: dict[str, Any] | None


class ReadableAttributes(NamedTuple):
    """Arguments for SB3's `load`.

    Attributes:
        content: the zip file without unreadable attributes.
        objects: all other attributes, unpickled, for `custom_objects`.
        unreadable: names of attributes that can't be read and were not replaced.
    """

    content: bytes
    objects: dict[str, Any]
    unreadable: set[str]


def with_manifest(
    content: bytes, algorithm: type, extra: Mapping[str, bytes] | None = None
) -> bytes:
    """Adds a manifest to a checkpoint.

    Args:
        content: zip file as SB3's `save` writes it; an old manifest is replaced.
        algorithm: the class that saved it.
        extra: further entries to add, by name.

    Returns:
        The zip file.
    """
    entries = _entries(content) | dict(extra or {})
    entries.pop(MANIFEST, None)
    manifest = {
        "format": FORMAT,
        "algorithm": f"{algorithm.__module__}.{algorithm.__qualname__}",
        "versions": versions(),
        "sha256": {name: _sha256(entries[name]) for name in entries if name != _DATA},
        "attributes": _attribute_sums(json.loads(entries.get(_DATA, "{}"))),
    }
    return _zipped({MANIFEST: json.dumps(manifest, indent=1).encode()} | entries)


# Looking them up takes as long as the rest of a save.
@functools.cache
def versions(*more: str) -> dict[str, str]:
    """Returns the versions of Python and the libraries that a checkpoint depends on.

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
    """Reads a file that is found by SB3's rules.

    Args:
        path: a name, with or without `.zip`, or an open file, which is read from its
            start and left open.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    file: Any = open_path(path, "r", verbose=0, suffix="zip")
    try:
        file.seek(0)
        content: bytes = file.read()
    finally:
        if isinstance(path, str | Path):
            file.close()
    return content


def open_checkpoint(content: bytes, name: str) -> Checkpoint:
    """Checks that a checkpoint is undamaged. Nothing in it is executed.

    Without a manifest, only the checksums of the zip file are compared.

    Args:
        content: the file.
        name: of the file, for messages.

    Raises:
        DamagedCheckpointError: if it is cut off, damaged or no zip file, or if
            weights or other entries were edited.
        ValueError: if it is another zip file, or written by a later pgtoy.
    """
    entries = _checked_entries(content, name)
    manifest = None
    if MANIFEST in entries:
        manifest = _read_manifest(entries.pop(MANIFEST), name)
        _check_sums(manifest["sha256"], entries, name)
    elif _DATA not in entries:
        raise ValueError(
            f"{name} is no checkpoint: expected an entry 'data' in the zip file, as "
            "written by the save() of an algorithm"
        )
    try:
        data = json.loads(entries[_DATA])
    except ValueError:
        data = None
    if not isinstance(data, dict):
        error = ValueError if manifest is None else DamagedCheckpointError
        raise error(
            f"{name} is no checkpoint: its entry 'data' is not the JSON that the "
            "save() of an algorithm writes"
        )
    edited: list[str] = []
    if manifest is not None:
        saved, sums = manifest["attributes"], _attribute_sums(data)
        names = dict.fromkeys((*sums, *saved))
        edited = [n for n in names if sums.get(n) != saved.get(n)]
    return Checkpoint(name, content, data, edited, manifest)


def check_unedited(content: bytes, name: str) -> None:
    """Raises unless a checkpoint, with its attributes, is unchanged since it was saved.

    Raises:
        DamagedCheckpointError: if it has changed.
        ValueError: if it is another zip file, or written by a later pgtoy.
    """
    edited = open_checkpoint(content, name).edited
    if edited:
        raise DamagedCheckpointError(
            f"{name} was edited: the attributes {', '.join(edited)} changed"
        )


def read_checkpoint(path: str | Path | BufferedIOBase, algorithm: type) -> Checkpoint:
    """Reads a checkpoint for a class, as `open_checkpoint` does.

    Args:
        path: as in SB3's `load`.
        algorithm: the class to load it; one that it extends may have saved it.

    Raises:
        DamagedCheckpointError: see `open_checkpoint`.
        ValueError: if another class saved it; see `open_checkpoint`.
        FileNotFoundError: if there is no such file.
    """
    name = str(path) if isinstance(path, str | Path) else "the file"
    checkpoint = open_checkpoint(read_content(path), name)
    saved_by = checkpoint.data.get("algorithm")
    if saved_by not in [base.__name__ for base in algorithm.__mro__]:
        if not isinstance(saved_by, str):
            saved_by = "a class that is not one of pg_agents"
        raise ValueError(
            f"{name} was saved by {saved_by}, and {algorithm.__name__}.load accepts "
            f"files of {algorithm.__name__}.save"
        )
    if checkpoint.manifest is None:
        warnings.warn(
            f"{name} was saved by an older pgtoy without checksums: edits can't be "
            "detected. Re-save it to add them",
            stacklevel=3,
        )
    return checkpoint


def read_attributes(
    checkpoint: Checkpoint,
    custom_objects: Mapping[str, Any] | None = None,
    keywords: Mapping[str, Any] | None = None,
    also_required: Iterable[str] = (),
    consequences: Mapping[str, str] | None = None,
) -> ReadableAttributes:
    """Unpickles the attributes of a checkpoint one by one.

    An unreadable attribute is left out with SB3's warning, so that the model keeps its
    constructor's value. An edited one is used with a warning. Those in
    `custom_objects` are not read.

    Args:
        checkpoint: the file.
        custom_objects: as in SB3's `load`.
        keywords: arguments of `load`; they replace unreadable attributes.
        also_required: attributes that a model can't be built without, besides SB3's.
        consequences: additional sentences for the warning, by attribute.

    Raises:
        ValueError: if a required attribute can't be read.
    """
    custom, keywords = custom_objects or {}, keywords or {}
    python: str | None = None
    if checkpoint.manifest is not None:
        python = checkpoint.manifest["versions"].get("python")
    objects: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    removed = [name for name in checkpoint.edited if name not in checkpoint.data]
    for name in (*checkpoint.data, *removed):
        if name in custom:
            objects[name] = custom[name]
        elif name in checkpoint.data:
            # An editor may have pickled an attribute with this Python as a repair.
            written_by = None if name in checkpoint.edited else python
            try:
                objects[name] = _unpickled(checkpoint.data[name], written_by)
            # Unpickling can raise any error.
            except Exception as error:
                if name in keywords:
                    objects[name] = keywords[name]
                else:
                    unreadable[name] = f"{type(error).__name__}: {error}"
    missing = [n for n in (*_REQUIRED, *also_required) if n not in objects]
    if missing:
        reasons = [f"{n} ({unreadable.get(n, 'is missing')})" for n in missing]
        arguments = ", ".join(f"{n!r}: ..." for n in missing)
        raise ValueError(
            f"{checkpoint.name}: no model can be built without {', '.join(reasons)}, "
            f"which can't be read here; load(..., custom_objects={{{arguments}}}) "
            "replaces attributes"
        )
    for name, why in unreadable.items():
        if _COMPUTED_FROM.get(name) not in custom:
            warn_unreadable(name, why, (consequences or {}).get(name), 4)
    replaced = {*custom, *keywords, *unreadable}
    used = [name for name in checkpoint.edited if name not in replaced]
    if used:
        warnings.warn(
            f"{checkpoint.name}: {', '.join(used)} changed after the file was "
            "written; the present values are used",
            stacklevel=3,
        )
    content = checkpoint.content
    if objects.keys() != checkpoint.data.keys():
        data = json.dumps(dict.fromkeys(objects)).encode()
        content = _zipped(_entries(content) | {_DATA: data})
    return ReadableAttributes(content, objects, set(unreadable))


def warn_unreadable(
    name: str, why: str, consequence: str | None, stacklevel: int
) -> None:
    """Warns as SB3's `load` does, with an additional sentence."""
    lost = "" if consequence is None else f"{consequence}\n"
    warnings.warn(
        f"Could not deserialize object {name}. Consider using `custom_objects` "
        f"argument to replace this object.\n{lost}Exception: {why}",
        stacklevel=stacklevel,
    )


def _unpickled(value: Any, python: str | None) -> Any:  # noqa: ANN401
    """Returns an attribute; `python` is the version that pickled it, if known."""
    if not isinstance(value, dict) or _SERIALIZED not in value:
        return value
    pickled = base64.b64decode(value[_SERIALIZED].encode())
    here = platform.python_version()
    # Bytecode of another Python can unpickle, and then compute other numbers or crash.
    if b"CodeType" in pickled and python and _minor(python) != _minor(here):
        raise TypeError(f"it holds bytecode of Python {python}, and this is {here}")
    return cloudpickle.loads(pickled)


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _checked_entries(content: bytes, name: str) -> dict[str, bytes]:
    """Returns the entries of a complete zip file by name."""
    is_zip = content[:2] == b"PK"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            first = min((e.header_offset for e in archive.infolist()), default=0)
            entries = {entry: archive.read(entry) for entry in names}
    # zipfile raises any of these for a damaged header.
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
            problem = "is no checkpoint: expected a zip file"
        elif not _ends_with_zip(content):
            problem = _CUT_OFF
        else:
            problem = f"is damaged: {error}"
        raise DamagedCheckpointError(f"{name} {problem}") from error
    # The entries with torch's files are zip files, so the beginning of a checkpoint can
    # end with a valid one, which does not start at 0.
    if is_zip and (first > 0 or not _ends_with_zip(content)):
        raise DamagedCheckpointError(f"{name} {_CUT_OFF}")
    if MANIFEST in entries and len(names) != len(entries):
        raise DamagedCheckpointError(f"{name} was edited: it has an entry twice")
    return entries


def _ends_with_zip(content: bytes) -> bool:
    """Whether the zip file's last record is at the end."""
    at = content.rfind(b"PK\x05\x06")
    comment = int.from_bytes(content[at + 20 : at + 22], "little")
    return at >= 0 and at + 22 + comment == len(content)


def _read_manifest(entry: bytes, name: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(entry)
        version, written_by = manifest["format"], manifest["versions"].get("pgtoy")
        later = version > FORMAT
        if not later and not all(
            isinstance(manifest[key], dict) for key in ("sha256", "attributes")
        ):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(
            f"{name} was edited or damaged: its manifest ({MANIFEST}) can't be read"
        ) from error
    if later:
        raise ValueError(
            f"{name} has format {version}, from pgtoy {written_by}; this one reads "
            f"format {FORMAT}: install a later pgtoy"
        )
    return manifest


def _check_sums(expected: dict[str, str], entries: dict[str, bytes], name: str) -> None:
    # Attributes have sums of their own.
    expected = {**expected, _DATA: ""}
    changed = {
        entry
        for entry in entries.keys() & expected
        if entry != _DATA and expected[entry] != _sha256(entries[entry])
    }
    for problem, found in (
        ("lacks", expected.keys() - entries),
        ("has the additional entries", entries.keys() - expected),
        ("has changed entries", changed),
    ):
        if found:
            raise DamagedCheckpointError(
                f"{name} was edited or damaged: compared with its manifest "
                f"({MANIFEST}), it {problem} {', '.join(sorted(found))}"
            )


def _attribute_sums(data: Mapping[str, Any]) -> dict[str, str]:
    """Returns the SHA-256 of each attribute, independent of the layout of the JSON."""
    return {
        name: _sha256(json.dumps(value, sort_keys=True).encode())
        for name, value in data.items()
    }


def _entries(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(entries: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, entry in entries.items():
            archive.writestr(name, entry)
    return file.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
