"""Refusals of settings: what was given, and what is accepted."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def near(name: str, known: Iterable[str]) -> str:
    """Says which known name is meant, or which there are."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def check_count(name: str, given: Any) -> None:  # noqa: ANN401
    """Raises unless a setting is an integer of at least 1."""
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{name} must be an integer, got {given!r}")
    if given < 1:
        raise ValueError(f"{name} must be at least 1, got {given!r}")


def check_type(name: str, given: Any, accepted: type) -> None:  # noqa: ANN401
    """Raises a TypeError unless a setting is of a type."""
    if not isinstance(given, accepted):
        raise TypeError(f"{name} must be a {accepted.__name__}, got {given!r}")


def check_data(name: str, given: Any) -> None:  # noqa: ANN401
    """Raises unless a setting is a dict that comes whole out of JSON."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} must be a dict, got {given!r}")
    try:
        same = json.loads(json.dumps(given, allow_nan=False)) == given
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ValueError(
            f"{name} must be plain data that JSON can hold (numbers, strings, lists, "
            f"dicts with strings as keys), got {given!r}"
        )


def check_hook(name: str, given: Any) -> None:  # noqa: ANN401
    """Raises unless a setting reads ``module:function`` or is None."""
    parts = given.split(":") if isinstance(given, str) else []
    if given is not None and (len(parts) != 2 or not all(parts)):
        raise ValueError(f"{name} must read module:function or be None, got {given!r}")
