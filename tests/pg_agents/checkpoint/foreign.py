"""Files with entries from elsewhere: another Python, another library, an editor."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

from pg_agents.checkpoint.archive import MANIFEST, with_manifest

# What has no JSON form is pickled. None of these can be unpickled here.
UNKNOWN_CLASS = b"cbuiltins\nNoSuchClass\n."
UNKNOWN_MODULE = b"cno_such_module\nNoSuchClass\n."
CUT_OFF = b"\x80\x05\x95"


def rewritten(
    content: bytes, change: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> bytes:
    """Returns a zip file with other entries, as an edit leaves it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, entry in change(entries).items():
            archive.writestr(name, entry)
    return file.getvalue()


def edited(content: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Returns a checkpoint whose attributes were changed, as its manifest can tell."""

    def change_entries(entries: dict[str, bytes]) -> dict[str, bytes]:
        data = json.loads(entries["data"])
        change(data)
        return {**entries, "data": json.dumps(data).encode()}

    return rewritten(content, change_entries)


def foreign(content: bytes, name: str, pickled: bytes = UNKNOWN_CLASS) -> bytes:
    """Returns a checkpoint of a process where an attribute is pickled like that."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        has_manifest = MANIFEST in archive.namelist()
    found = edited(content, lambda data: data.update({name: serialized(pickled)}))
    return with_manifest(found, dict) if has_manifest else found


def serialized(pickled: bytes) -> dict[str, str]:
    """Returns the form that a pickled attribute has in JSON."""
    return {":type:": "?", ":serialized:": base64.b64encode(pickled).decode()}


def written_by_python(content: bytes, version: str) -> bytes:
    """Returns a checkpoint as another Python wrote it."""

    def change(entries: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(entries[MANIFEST])
        manifest["versions"]["python"] = version
        return {**entries, MANIFEST: json.dumps(manifest).encode()}

    return rewritten(content, change)
