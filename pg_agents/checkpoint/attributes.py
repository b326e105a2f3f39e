"""The attributes in a checkpoint: which can be read here, and which were edited.

SB3's `save` writes a model's attributes to the entry `data`, as JSON; what JSON cannot
express is pickled. An attribute from another Python or another library may not unpickle
here. That is no damage: SB3 warns, and `custom_objects` replaces it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import platform
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import cloudpickle  # type: ignore[import-untyped]

DATA = "data"
_SERIALIZED = ":serialized:"
# Without these SB3's load() can't build a model.
_REQUIRED = ("policy_class", "observation_space", "action_space")
# Attributes that load() computes from others.
_COMPUTED_FROM = {"lr_schedule": "learning_rate"}


class Checkpoint(NamedTuple):
    """A file that is whole.

    Attributes:
        name: how to call it in messages.
        content: the zip file.
        data: the model's attributes as they stand in it, in JSON.
        edited: names of attributes that were changed, removed or added after it was
            written.
        python: version of the Python that wrote it; None if it is not known.
    """

    name: str
    content: bytes
    data: dict[str, Any]
    edited: list[str]
    python: str | None


class Readable(NamedTuple):
    """What SB3's `load` is given to read what can be read here.

    Attributes:
        content: the zip file, without attributes that can't be read.
        objects: all others, as `custom_objects`: they are unpickled once.
        unreadable: names of attributes that can't be read and were not replaced.
    """

    content: bytes
    objects: dict[str, Any]
    unreadable: set[str]


def attribute_sums(data: Mapping[str, Any]) -> dict[str, str]:
    """Returns the SHA-256 of each attribute, however the JSON around it is laid out."""
    return {name: _sha256(value) for name, value in data.items()}


def edited_attributes(data: Mapping[str, Any], sums: Mapping[str, str]) -> list[str]:
    """Returns the names of attributes that are not as their sums say."""
    now = attribute_sums(data)
    names = dict.fromkeys((*now, *sums))
    return [name for name in names if now.get(name) != sums.get(name)]


def read_attributes(
    checkpoint: Checkpoint,
    custom_objects: Mapping[str, Any] | None = None,
    keywords: Mapping[str, Any] | None = None,
    also_required: Iterable[str] = (),
    consequences: Mapping[str, str] | None = None,
) -> Readable:
    """Unpickles the attributes of a checkpoint, one by one.

    An attribute that can't be read is left out with SB3's warning, so that the model
    has its constructor's value; one that was edited is read as it stands, with a
    warning. Those that `custom_objects` replaces are not looked at.

    Args:
        checkpoint: the file.
        custom_objects: as SB3's `load`.
        keywords: values that `load` was given by name; they stand in for what can't be
            read.
        also_required: attributes without which no model can be built, beyond SB3's.
        consequences: by name, what is lost with an attribute, for the warning.

    Returns:
        What to give to SB3's `load`.

    Raises:
        ValueError: if an attribute can't be read without which no model can be built.
    """
    given, stand_ins = custom_objects or {}, keywords or {}
    objects: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    gone = [name for name in checkpoint.edited if name not in checkpoint.data]
    for name in (*checkpoint.data, *gone):
        if name in given:
            objects[name] = given[name]
        elif name in checkpoint.data:
            # Who edited it may have pickled it with another Python, as a repair.
            python = None if name in checkpoint.edited else checkpoint.python
            try:
                objects[name] = _unpickled(checkpoint.data[name], python)
            # Whatever it is that another version does not know.
            except Exception as error:
                if name in stand_ins:
                    objects[name] = stand_ins[name]
                else:
                    unreadable[name] = f"{type(error).__name__}: {error}"
    missing = [n for n in (*_REQUIRED, *also_required) if n not in objects]
    if missing:
        reasons = [f"{n} ({unreadable.get(n, 'is missing')})" for n in missing]
        given_all = ", ".join(f"{n!r}: ..." for n in missing)
        raise ValueError(
            f"{checkpoint.name}: no model can be built without {', '.join(reasons)}, "
            f"which can't be read here; load(..., custom_objects={{{given_all}}}) "
            "replaces what can't be read"
        )
    for name, why in unreadable.items():
        if _COMPUTED_FROM.get(name) not in given:
            warn_unreadable(name, why, (consequences or {}).get(name), 4)
    edited = [
        name
        for name in checkpoint.edited
        if not (name in given or name in stand_ins or name in unreadable)
    ]
    if edited:
        warnings.warn(
            f"{checkpoint.name}: {', '.join(edited)} changed after the file was "
            "written; what stands there now is used",
            stacklevel=3,
        )
    content = checkpoint.content
    if objects.keys() != checkpoint.data.keys():
        content = _with_data(content, dict.fromkeys(objects))
    return Readable(content, objects, set(unreadable))


def warn_unreadable(
    name: str, why: str, consequence: str | None, stacklevel: int
) -> None:
    """Warns as SB3's `load` does, and says what is lost."""
    lost = "" if consequence is None else f"{consequence}\n"
    warnings.warn(
        f"Could not deserialize object {name}. Consider using `custom_objects` "
        f"argument to replace this object.\n{lost}Exception: {why}",
        stacklevel=stacklevel,
    )


def _unpickled(value: Any, python: str | None) -> Any:  # noqa: ANN401
    if not isinstance(value, dict) or _SERIALIZED not in value:
        return value
    pickled = base64.b64decode(value[_SERIALIZED].encode())
    here = platform.python_version()
    # Bytecode of another Python can unpickle, and then do anything: other numbers, or
    # a crash of the interpreter.
    if b"CodeType" in pickled and python is not None and _minor(python) != _minor(here):
        raise TypeError(f"it holds bytecode of Python {python}, and this is {here}")
    return cloudpickle.loads(pickled)


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _with_data(content: bytes, data: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(file, "w") as changed,
    ):
        for name in archive.namelist():
            entry = json.dumps(data) if name == DATA else archive.read(name)
            changed.writestr(name, entry)
    return file.getvalue()


def _sha256(value: Any) -> str:  # noqa: ANN401
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
