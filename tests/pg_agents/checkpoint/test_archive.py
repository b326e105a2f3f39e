"""Checkpoints that are cut off, damaged, edited, of another class or old."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pg_agents import REINFORCE
from pg_agents.checkpoint.archive import (
    MANIFEST,
    DamagedCheckpointError,
    open_checkpoint,
    with_manifest,
)
from tests.pg_agents.checkpoint.foreign import rewritten
from tests.pg_agents.checkpoint.resuming_examples import single


@pytest.fixture(scope="module")
def content() -> bytes:
    file = io.BytesIO()
    model = REINFORCE("MlpPolicy", single(), policy_kwargs={"net_arch": [2]})
    model.save(file)
    return file.getvalue()


def load(content: bytes) -> REINFORCE:
    return REINFORCE.load(io.BytesIO(content))


def test_the_manifest_lists_the_content(content: bytes) -> None:
    manifest = open_checkpoint(content, "it").manifest
    assert manifest is not None
    assert manifest["algorithm"] == "pg_agents.algorithms.reinforce.REINFORCE"
    assert manifest["format"] == 2
    assert {"python", "pgtoy", "torch"} < manifest["versions"].keys()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert set(archive.namelist()) == {MANIFEST, "data", *manifest["sha256"]}
        assert manifest["attributes"].keys() == json.loads(archive.read("data")).keys()
    assert isinstance(load(content), REINFORCE)


def test_a_file_that_is_cut_off_anywhere_is_refused(content: bytes) -> None:
    """Also behind an entry that is itself a zip file."""
    inner_ends = [
        at + 22 for at in range(len(content)) if content.startswith(b"PK\x05\x06", at)
    ][:-1]
    assert len(inner_ends) > 1
    rng = np.random.default_rng(0)
    for length in (*inner_ends, len(content) - 1, *rng.integers(4, len(content), 20)):
        with pytest.raises(DamagedCheckpointError, match="the file is cut off"):
            load(content[:length])
    with pytest.raises(DamagedCheckpointError, match="does not end where the file do"):
        load(content + b"more")


def test_a_changed_bit_is_detected_or_changes_no_entry(content: bytes) -> None:
    """The zip file's own headers have redundant names, and dates."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    found = 0
    for place in rng.integers(len(content), size=150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        try:
            open_checkpoint(bytes(damaged), "it")
        except (DamagedCheckpointError, ValueError) as error:
            assert re.search("damaged|edited|cut off", str(error))
            found += 1
        else:
            with zipfile.ZipFile(io.BytesIO(damaged)) as archive:
                read = {name: archive.read(name) for name in archive.namelist()}
            assert read == entries
    assert found > 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda e: {**e, "policy.pth": e["policy.optimizer.pth"]},
            "edited or damaged.* it has changed entries policy.pth",
        ),
        (
            lambda e: {n: v for n, v in e.items() if n != "data"},
            "edited or damaged.* it lacks data",
        ),
        (lambda e: {**e, "data": b"[1]"}, "its entry 'data' is not the JSON"),
        (lambda e: {**e, "data": b'{"gamma'}, "its entry 'data' is not the JSON"),
        (
            lambda e: {n: v for n, v in e.items() if n != "policy.pth"},
            "edited or damaged.* it lacks policy.pth",
        ),
        (
            lambda e: {**e, "more.pth": b""},
            "edited or damaged.* it has the additional entries more.pth",
        ),
        (lambda e: {**e, MANIFEST: b"{"}, "its manifest .* can't be read"),
        (lambda e: {**e, MANIFEST: b"[]"}, "its manifest .* can't be read"),
        (lambda e: {**e, MANIFEST: b'{"format": 2}'}, "its manifest .* can't be read"),
    ],
)
def test_edited_entries_are_refused(
    content: bytes, change: Callable[[dict[str, bytes]], dict[str, bytes]], says: str
) -> None:
    with pytest.raises(DamagedCheckpointError, match=says):
        load(rewritten(content, change))


def test_a_refused_file_is_not_unpickled(content: bytes) -> None:
    def plant(entries: dict[str, bytes]) -> dict[str, bytes]:
        data = json.loads(entries["data"])
        # Unpickling would call builtins.exit().
        pickled = b"cbuiltins\nexit\n(tR."
        planted = {":serialized:": base64.b64encode(pickled).decode()}
        edited = json.dumps({**data, "policy_class": planted}).encode()
        return {**entries, "data": edited, "policy.pth": b""}

    with pytest.raises(DamagedCheckpointError, match=r"changed entries policy\.pth"):
        load(rewritten(content, plant))


def test_a_duplicate_entry_is_refused(content: bytes) -> None:
    file = io.BytesIO(content)
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(file, "a") as archive,
    ):
        archive.writestr("data", archive.read("data"))
    with pytest.raises(DamagedCheckpointError, match="has an entry twice"):
        load(file.getvalue())


def test_a_later_format_is_refused(content: bytes) -> None:
    def later(entries: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(entries[MANIFEST])
        manifest |= {"format": 3, "versions": {"pgtoy": "9.0"}}
        return {**entries, MANIFEST: json.dumps(manifest).encode()}

    with pytest.raises(ValueError, match=r"has format 3, from pgtoy 9.0; this one re"):
        load(rewritten(content, later))


def test_a_file_without_a_manifest_is_loaded_with_a_warning(content: bytes) -> None:
    def older(entries: dict[str, bytes]) -> dict[str, bytes]:
        return {n: v for n, v in entries.items() if n != MANIFEST}

    old = rewritten(content, older)
    with pytest.warns(UserWarning, match=r"older pgtoy without checksums.*Re-save"):
        model = load(old)
    file = io.BytesIO()
    model.save(file)
    assert open_checkpoint(file.getvalue(), "it").manifest is not None


def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        REINFORCE.load(tmp_path / "missing")
    for other in (b"", b"some text"):
        with pytest.raises(ValueError, match="the file is no checkpoint: expected a z"):
            load(other)
    for name, says in (
        ("data", "entry 'data' is not the JSON"),
        ("x", "no checkpoint"),
    ):
        with pytest.raises(ValueError, match=says):
            load(rewritten(content, lambda _, name=name: {name: b"[1]"}))  # type: ignore[misc]


def test_additional_entries_are_in_the_manifest(content: bytes) -> None:
    more = with_manifest(content, REINFORCE, {"note": b"here"})
    manifest = open_checkpoint(more, "it").manifest
    assert manifest is not None and "note" in manifest["sha256"]
    with pytest.raises(DamagedCheckpointError, match="has changed entries note"):
        open_checkpoint(rewritten(more, lambda e: {**e, "note": b"gone"}), "it")
    assert isinstance(load(more), REINFORCE)
