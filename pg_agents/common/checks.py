"""Refusals of bad arguments: each says what was given and what is accepted."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable
from typing import SupportsFloat, SupportsIndex

# NumPy's generators take no larger one.
LARGEST_SEED = 2**32 - 1


class RefusedError(ValueError, AssertionError):
    """A bad argument where SB3 has an assertion, for scripts that count on it."""


class UnsupportedError(ValueError, NotImplementedError):
    """A space that nothing is implemented for, in SB3 neither."""


def kind_of(given: object) -> str:
    """Returns what is given, for a message: the name of its class, or "the class X"."""
    if isinstance(given, type):
        return f"the class {given.__name__}, not an instance of it"
    return type(given).__name__


def check_choice(name: str, given: object, accepted: tuple[object, ...]) -> None:
    """Raises a ValueError unless `given` is one of `accepted`."""
    # An array has no answer to whether it is one of them; it has no hash either.
    if not isinstance(given, Hashable) or given not in accepted:
        choices = ", ".join(repr(choice) for choice in accepted)
        raise ValueError(f"{name} must be one of {choices}, got {given!r}")


def check_bool(name: str, given: object) -> None:
    """Raises a ValueError unless `given` is True or False, or equal to one of them."""
    check_choice(name, given, (True, False))


def check_integer(name: str, given: object, lowest: int) -> None:
    """Raises a ValueError unless `given` is an integer of at least `lowest`."""
    number = _integer(given)
    if number is None or number < lowest:
        raise ValueError(f"{name} must be an integer >= {lowest}, got {given!r}")


def check_seed(name: str, given: object) -> None:
    """Raises a ValueError unless `given` is an integer from 0 to 2**32 - 1."""
    check_integer(name, given, 0)
    if operator.index(given) > LARGEST_SEED:  # type: ignore[arg-type]
        raise ValueError(f"{name} must be at most {LARGEST_SEED}, got {given!r}")


def checked_timesteps(name: str, given: object) -> int:
    """Returns a number of steps >= 0, which may be written as a float such as 1e6.

    Raises:
        ValueError: if it is negative, no whole number or no number.
    """
    number = _integer(given)
    if number is None and not _is_bool(given):
        as_float = _number(given)
        number = int(as_float) if as_float.is_integer() else None
    if number is None or number < 0:
        raise ValueError(
            f"{name} must be an integer >= 0 (a float such as 1e6 will do), got "
            f"{given!r}"
        )
    return number


def check_count(name: str, given: object) -> None:
    """Raises a ValueError unless `given` is an integer of at least 1."""
    check_integer(name, given, 1)


def check_unit_interval(name: str, given: object) -> None:
    """Raises a ValueError unless `given` is a number in [0, 1]."""
    if not 0.0 <= _number(given) <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {given!r}")


def check_weight(name: str, given: object) -> None:
    """Raises a ValueError unless `given` is a number in (0, 1]."""
    if not 0.0 < _number(given) <= 1.0:
        raise ValueError(f"{name} must lie in (0, 1], got {given!r}")


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


def check_number(name: str, given: object) -> None:
    """Raises a ValueError unless `given` is a number, which NaN is not."""
    if math.isnan(_number(given)):
        raise ValueError(f"{name} must be a number, got {given!r}")


def check_schedule(name: str, given: object, check: Callable[..., None]) -> None:
    """Checks a number, or the two ends of a schedule."""
    if callable(given):
        for progress in (1.0, 0.0):
            try:
                value = given(progress)
            except TypeError as error:
                raise TypeError(
                    f"{name} must be a number or a function of the remaining progress, "
                    f"got {given!r}, which does not take a number: {error}"
                ) from error
            # A schedule may be 0, where a number may not: at its end, and all along in
            # a model loaded to be watched, with custom_objects of SB3's users.
            check_not_negative(f"{name}({progress})", value)
    else:
        check(name, given)


def _is_bool(given: object) -> bool:
    # NumPy and torch have truth values of their own.
    return isinstance(given, bool) or str(getattr(given, "dtype", "")).endswith("bool")


def _integer(given: object) -> int | None:
    """Returns it as an integer; None if it is none. NumPy's are, True is not."""
    if not isinstance(given, SupportsIndex) or _is_bool(given):
        return None
    try:
        return operator.index(given)
    except TypeError:
        # An array, say: it can be an index only if it has one element.
        return None


def _number(given: object) -> float:
    """Returns it as a float; nan, which fails every check, if it is no number."""
    # To ask a protocol takes a hundred times as long.
    if isinstance(given, float | int):
        return float(given)
    if not isinstance(given, SupportsFloat):
        return math.nan
    try:
        return float(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        # More than one number.
        return math.nan
