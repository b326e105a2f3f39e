"""Refusals of bad arguments: each says what was given and what is accepted."""

from __future__ import annotations

import math
import operator
from typing import SupportsFloat, SupportsIndex


def check_choice(name: str, given: object, accepted: tuple[object, ...]) -> None:
    """Raises a ValueError unless `given` is one of `accepted`."""
    if given not in accepted:
        choices = ", ".join(repr(choice) for choice in accepted)
        raise ValueError(f"{name} must be one of {choices}, got {given!r}")


def check_count(name: str, given: object) -> None:
    """Raises a ValueError unless `given` is an integer of at least 1."""
    # NumPy's integers are integers too; True is not.
    if (
        not isinstance(given, SupportsIndex)
        or isinstance(given, bool)
        or operator.index(given) < 1
    ):
        raise ValueError(f"{name} must be an integer >= 1, got {given!r}")


def check_unit_interval(name: str, given: object) -> None:
    """Raises a ValueError unless `given` is a number in [0, 1]."""
    if not 0.0 <= _number(given) <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {given!r}")


def check_positive(name: str, given: object, or_infinite: bool = False) -> None:
    """Raises a ValueError unless `given` is a number above 0, finite by default."""
    if or_infinite and _number(given) == math.inf:
        return
    if not 0.0 < _number(given) < math.inf:
        what = "a number" if or_infinite else "a finite number"
        raise ValueError(f"{name} must be {what} > 0, got {given!r}")


def check_not_negative(name: str, given: object) -> None:
    """Raises a ValueError unless `given` is a finite number of at least 0."""
    if not 0.0 <= _number(given) < math.inf:
        raise ValueError(f"{name} must be a finite number >= 0, got {given!r}")


def _number(given: object) -> float:
    """Returns it as a float; nan, which fails every check, if it is no number."""
    return float(given) if isinstance(given, SupportsFloat) else math.nan
