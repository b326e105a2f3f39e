"""Checks of arguments. An error names the argument, its value and what is accepted."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, SupportsFloat

import numpy as np

# The largest seed that NumPy's generators accept.
LARGEST_SEED = 2**32 - 1


class InvalidArgumentError(ValueError, AssertionError):
    """An invalid argument for which SB3 raises an AssertionError."""


class UnsupportedSpaceError(ValueError, NotImplementedError):
    """A space for which SB3 raises a NotImplementedError."""


def kind_of(value: object) -> str:
    """Describes the type of a value: its class name, or "the class X" for a class."""
    if isinstance(value, type):
        return f"the class {value.__name__}, not an instance of it"
    return type(value).__name__


def check_choice(name: str, value: object, accepted: tuple[object, ...]) -> None:
    """Raises a ValueError unless `value` is one of `accepted`."""
    # Unhashable values are refused first: comparing an array gives no single answer.
    if not isinstance(value, Hashable) or value not in accepted:
        choices = ", ".join(repr(choice) for choice in accepted)
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")


def check_integer(name: str, value: object, lowest: int) -> int:
    """Returns `value` as an int.

    Raises:
        ValueError: if it is not an integer of at least `lowest`. Integers of NumPy and
            torch are accepted, booleans are not.
    """
    # NumPy and torch have boolean types of their own.
    is_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith(
        "bool"
    )
    number = None
    if not is_bool:
        # A TypeError of what is no integer, such as an array of several.
        with suppress(TypeError):
            number = operator.index(value)  # type: ignore[arg-type]
    if number is None or number < lowest:
        raise ValueError(f"{name} must be an integer >= {lowest}, got {value!r}")
    return number


def check_seed(name: str, value: object) -> None:
    """Raises a ValueError unless `value` is an integer from 0 to 2**32 - 1."""
    if check_integer(name, value, 0) > LARGEST_SEED:
        raise ValueError(f"{name} must be at most {LARGEST_SEED}, got {value!r}")


def checked_timesteps(name: str, value: object) -> int:
    """Returns a number of steps as an int.

    Raises:
        ValueError: if it is not an integer of at least 0, or a float such as 1e6.
    """
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return check_integer(name, value, 0)


def check_count(name: str, value: object) -> None:
    """Raises a ValueError unless `value` is an integer of at least 1."""
    check_integer(name, value, 1)


def check_unit_interval(name: str, value: object) -> None:
    """Raises a ValueError unless `value` is a number in [0, 1]."""
    if not 0.0 <= _number(value) <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {value!r}")


def check_weight(name: str, value: object) -> None:
    """Raises a ValueError unless `value` is a number in (0, 1]."""
    if not 0.0 < _number(value) <= 1.0:
        raise ValueError(f"{name} must lie in (0, 1], got {value!r}")


def check_positive(name: str, value: object, or_infinite: bool = False) -> None:
    """Raises a ValueError unless `value` is a number above 0, finite by default."""
    if or_infinite and _number(value) == math.inf:
        return
    if not 0.0 < _number(value) < math.inf:
        accepted = "a number" if or_infinite else "a finite number"
        raise ValueError(f"{name} must be {accepted} > 0, got {value!r}")


def check_not_negative(name: str, value: object) -> None:
    """Raises a ValueError unless `value` is a finite number of at least 0."""
    if not 0.0 <= _number(value) < math.inf:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")


def check_number(name: str, value: object) -> None:
    """Raises a ValueError unless `value` is a number other than NaN."""
    if math.isnan(_number(value)):
        raise ValueError(f"{name} must be a number, got {value!r}")


def check_schedule(name: str, value: object, check: Callable[..., None]) -> None:
    """Checks a number with `check`, or the first and last value of a schedule."""
    if not callable(value):
        check(name, value)
        return
    for progress in (1.0, 0.0):
        try:
            scheduled = value(progress)
        except TypeError as error:
            raise TypeError(
                f"{name} must be a number or a function of the remaining progress, got "
                f"{value!r}, which does not take a number: {error}"
            ) from error
        # A schedule may end at 0. It may also be 0 throughout: SB3's users pass such
        # schedules in custom_objects to load a model without training it.
        check_not_negative(f"{name}({progress})", scheduled)


def _number(value: object) -> float:
    """Returns a number as a float, and NaN, which fails every check, for others."""
    # Checked first: isinstance() of a protocol is a hundred times slower.
    if isinstance(value, float | int):
        return float(value)
    if not isinstance(value, SupportsFloat):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        # Arrays and tensors with more than one element, for example.
        return math.nan


def is_defined_in(function: Any, packages: tuple[str, ...]) -> bool:  # noqa: ANN401
    """Returns whether a function, and each that it wraps, is defined in packages.

    `functools.wraps` copies `__module__`, and not the function's globals.
    """
    while function is not None:
        module = str(getattr(function, "__globals__", {}).get("__name__"))
        if module.split(".")[0] not in packages:
            return False
        function = getattr(function, "__wrapped__", None)
    return True
