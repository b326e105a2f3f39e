"""The bar shows on a terminal, and nowhere else."""

from __future__ import annotations

import io
import sys
import time

import pytest

from pg_agents.checker.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(wanted) as bar:
        bar.begin(200)
        # More than was announced: the bar stops at its end.
        for _ in range(3):
            # The bar is drawn ten times a second at most.
            time.sleep(0.15)
            bar.advance(80)
    return stream.getvalue()


def test_a_terminal_shows_how_far_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(Terminal(), True, monkeypatch)
    assert " 80/200 " in said and " 160/200 " in said
    # It is taken away at the end.
    assert said.endswith("\r")


def test_nothing_is_shown_elsewhere_or_if_not_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert shown(io.StringIO(), True, monkeypatch) == ""
    assert shown(Terminal(), False, monkeypatch) == ""
