"""The pip command that an error about a missing extra prints."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest

from pg_agents.common import extras


class _Installed:
    """A distribution with the direct_url.json that pip writes (PEP 610)."""

    def __init__(self, origin: dict[str, Any] | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, 'pip install "pgtoy[zoo,video]"'),
        (
            {"url": "file:///home/me/a%20clone", "dir_info": {"editable": True}},
            'pip install -e "/home/me/a clone[zoo,video]"',
        ),
        (
            {"url": "file:///home/me/pgtoy", "dir_info": {}},
            'pip install "/home/me/pgtoy[zoo,video]"',
        ),
        # A wheel in a folder: pip takes no extras by its path without the name.
        (
            {"url": "file:///tmp/pgtoy-1.whl", "archive_info": {}},
            'pip install "pgtoy[zoo,video]"',
        ),
    ],
)
def test_the_command_fits_how_pgtoy_was_installed(
    origin: dict[str, Any] | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "distribution", lambda _: _Installed(origin))
    assert extras.install_command("zoo", "video") == command


def test_it_is_known_without_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(extras, "distribution", missing)
    assert extras.install_command("zoo") == 'pip install "pgtoy[zoo]"'
