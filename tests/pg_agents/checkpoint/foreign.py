"""Checkpoints changed as by another Python, another library or an editor."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

from pg_agents.checkpoint.archive import MANIFEST, with_manifest

# Pickled attributes that can't be unpickled here.
UNKNOWN_CLASS = b"cbuiltins\nNoSuchClass\n."
UNKNOWN_MODULE = b"cno_such_module\nNoSuchClass\n."
CUT_OFF = b"\x80\x05\x95"


def rewritten(
    content: bytes, change: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> bytes:
    """Returns a zip file with changed entries."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, entry in change(entries).items():
            archive.writestr(name, entry)
    return file.getvalue()


def edited(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Returns a checkpoint with changed attributes and the old manifest."""

    def change_entries(entries: dict[str, bytes]) -> dict[str, bytes]:
        data = json.loads(entries["data"])
        change(data)
        return {**entries, "data": json.dumps(data).encode()}

    return rewritten(content, change_entries)


def foreign(content: bytes, name: str, pickled: bytes = UNKNOWN_CLASS) -> bytes:
    """Returns a checkpoint, with its manifest, as saved with another attribute."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        has_manifest = MANIFEST in archive.namelist()
    changed = edited(content, lambda data: data.update({name: serialized(pickled)}))
    return with_manifest(changed, dict) if has_manifest else changed


def serialized(pickled: bytes) -> dict[str, str]:
    """Returns the JSON of a pickled attribute."""
    return {":type:": "?", ":serialized:": base64.b64encode(pickled).decode()}


def written_by_python(content: bytes, version: str) -> bytes:
    """Returns a checkpoint whose manifest names another Python."""

    def change(entries: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(entries[MANIFEST])
        manifest["versions"]["python"] = version
        return {**entries, MANIFEST: json.dumps(manifest).encode()}

    return rewritten(content, change)
