"""Files that are cut off, damaged, edited, foreign or old."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C

from pg_agents import REINFORCE, ActorCritic
from pg_agents.checkpoint.archive import (
    MANIFEST,
    DamagedCheckpointError,
    check_entries,
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


def test_the_manifest_says_what_is_in_the_file(content: bytes) -> None:
    manifest = check_entries(content, "it")
    assert manifest is not None
    assert manifest["algorithm"] == "pg_agents.algorithms.reinforce.REINFORCE"
    assert manifest["format"] == 2
    assert {"python", "pgtoy", "torch"} < manifest["versions"].keys()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert set(archive.namelist()) == {MANIFEST, "data", *manifest["sha256"]}
        assert manifest["attributes"].keys() == json.loads(archive.read("data")).keys()
    assert isinstance(load(content), REINFORCE)


def test_a_file_that_is_cut_off_anywhere_is_refused(content: bytes) -> None:
    """Behind an entry that is a zip file itself, too, where it passes for that one."""
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


def test_a_byte_that_was_changed_changes_nothing_or_is_found(content: bytes) -> None:
    """Names and dates in the zip file's own headers may go by; no entry may."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    found = 0
    for place in rng.integers(len(content), size=150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        try:
            check_entries(bytes(damaged), "it")
        except (DamagedCheckpointError, ValueError) as error:
            assert (
                "damaged" in str(error) or "edited" in str(error) or "cut" in str(error)
            )
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
            "edited or damaged: it has in another form policy.pth,",
        ),
        (
            lambda e: {n: v for n, v in e.items() if n != "data"},
            "edited or damaged: it lacks data,",
        ),
        (lambda e: {**e, "data": b"[1]"}, "its entry 'data' is not the JSON"),
        (lambda e: {**e, "data": b'{"gamma'}, "its entry 'data' is not the JSON"),
        (
            lambda e: {n: v for n, v in e.items() if n != "policy.pth"},
            "edited or damaged: it lacks policy.pth,",
        ),
        (
            lambda e: {**e, "more.pth": b""},
            "edited or damaged: it has in addition more.pth,",
        ),
        (lambda e: {**e, MANIFEST: b"{"}, "its manifest .* can't be read"),
        (lambda e: {**e, MANIFEST: b"[]"}, "its manifest .* can't be read"),
        (lambda e: {**e, MANIFEST: b'{"format": 2}'}, "its manifest .* can't be read"),
    ],
)
def test_a_file_whose_other_entries_were_edited_is_refused(
    content: bytes, change: Callable[[dict[str, bytes]], dict[str, bytes]], says: str
) -> None:
    with pytest.raises(DamagedCheckpointError, match=says):
        load(rewritten(content, change))


def test_a_file_that_is_refused_is_not_unpickled(content: bytes) -> None:
    def plant(entries: dict[str, bytes]) -> dict[str, bytes]:
        data = json.loads(entries["data"])
        # builtins.exit(), which unpickling would call.
        pickled = b"cbuiltins\nexit\n(tR."
        planted = {":serialized:": base64.b64encode(pickled).decode()}
        edited = json.dumps({**data, "policy_class": planted}).encode()
        return {**entries, "data": edited, "policy.pth": b""}

    with pytest.raises(DamagedCheckpointError, match=r"in another form policy\.pth"):
        load(rewritten(content, plant))


def test_a_file_with_one_sum_for_all_attributes_is_read_and_compared(
    content: bytes,
) -> None:
    """As the first format had it."""

    def first(entries: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(entries[MANIFEST])
        del manifest["attributes"]
        manifest["sha256"]["data"] = hashlib.sha256(entries["data"]).hexdigest()
        manifest["format"] = 1
        return {**entries, MANIFEST: json.dumps(manifest).encode()}

    old = rewritten(content, first)
    assert isinstance(load(old), REINFORCE)
    with pytest.raises(DamagedCheckpointError, match="has in another form data"):
        load(rewritten(old, lambda e: {**e, "data": e["data"] + b" "}))


def test_an_entry_that_is_there_twice_is_found(content: bytes) -> None:
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


def test_a_file_without_a_manifest_is_loaded_with_a_word(content: bytes) -> None:
    def older(entries: dict[str, bytes]) -> dict[str, bytes]:
        return {n: v for n, v in entries.items() if n != MANIFEST}

    old = rewritten(content, older)
    with pytest.warns(UserWarning, match="has no manifest .* save it again"):
        model = load(old)
    file = io.BytesIO()
    model.save(file)
    assert check_entries(file.getvalue(), "it") is not None


def test_files_of_others_are_refused(content: bytes) -> None:
    file = io.BytesIO()
    A2C("MlpPolicy", single(), policy_kwargs={"net_arch": [2]}).save(file)
    with pytest.raises(ValueError, match="a class that is not one of pg_agents, and R"):
        load(file.getvalue())
    with pytest.raises(ValueError, match="saved by REINFORCE, and ActorCritic"):
        ActorCritic.load(io.BytesIO(content))
    for other in (b"", b"some text"):
        with pytest.raises(ValueError, match="the file is no checkpoint: expected a z"):
            load(other)
    plain: Any = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as archive:
        archive.writestr("data", "[1]")
    with pytest.raises(ValueError, match="its entry 'data' is not the JSON"):
        load(plain.getvalue())


def test_further_entries_are_in_the_manifest_too(content: bytes) -> None:
    more = with_manifest(content, REINFORCE, {"note": b"here"})
    manifest = check_entries(more, "it")
    assert manifest is not None and "note" in manifest["sha256"]
    with pytest.raises(DamagedCheckpointError, match="has in another form note"):
        check_entries(rewritten(more, lambda e: {**e, "note": b"gone"}), "it")
    # And the files that SB3 reads are still the same.
    assert isinstance(load(more), REINFORCE)
