"""Runs an answer and compares what it returns with what is expected."""

from __future__ import annotations

import itertools
import linecache
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pg_agents.exercises.data import Hint, NotCheckedError, WrongError

Array = NDArray[np.float64]
Function = Callable[..., Any]
Case = Mapping[str, Any]

# Relative to the largest number that is expected, or to 1.
TOLERANCE = 1e-5
_MAX_SHOWN = 8
_MOST_TOGETHER = 4
_PACKAGE = str(Path(__file__).parent)

# For mistakes that are none of the typical ones.
BY_HAND = (
    "Take the smallest input, and work the result out by hand from the equation: which "
    "term does your code compute differently?"
)
COMMON_HINTS: Mapping[str, Hint] = {
    "nothing": Hint(
        "it returns nothing",
        "The function ends without a return statement, or returns None on the way that "
        "was taken.",
        "What should the line after the last computation hand back?",
    ),
    "shape": Hint(
        "another shape than expected",
        "Numbers of another shape do not fail where they are used: they are broadcast. "
        "[T, 1] minus [T] is a table [T, T] of all differences.",
        "Print the shape of the result, and compare it with the docstring.",
    ),
    "input_changed": Hint(
        "it changes its input",
        "The result is right, but what was passed in has other numbers afterwards. The "
        "caller still needs them: the next use reads the changed ones.",
        "Which line assigns to a part of an argument? Where else could the result be "
        "collected?",
    ),
    "second_call": Hint(
        "another result at the second call",
        "The same input gives another result when the function is called again: "
        "something is kept from one call to the next.",
        "Look for a global variable, or a default argument such as `out=[]`, which is "
        "made once and shared by all calls.",
    ),
    "integer_type": Hint(
        "whole numbers in, whole numbers out",
        "With integers as input, such as rewards of 1, the result is cut to whole "
        "numbers: the array or tensor that it is written to took over the integer "
        "type of the input. With floats the result is right.",
        "Which dtype has an array made with zeros_like, copy or array from integers?",
    ),
    "not_finite": Hint(
        "a number that is not finite",
        "The result holds NaN or infinity. One such number in a loss makes all weights "
        "of a network NaN in the next update.",
        "Which division, logarithm or exponential has no finite value for this input?",
    ),
}


@dataclass(frozen=True)
class Failure:
    """An exception that an answer has raised.

    Attributes:
        text: type and message.
        line: line in the file of the answer; 0 if unknown.
        code: this line.
        unwritten: whether the stub's NotImplementedError was raised.
    """

    text: str
    line: int
    code: str
    unwritten: bool


def failure(error: BaseException) -> Failure:
    """Describes an exception by the line of the answer that it comes from."""
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    line, code = 0, ""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_PACKAGE, "<frozen"))
    ]
    # Libraries that call the answer, and those that it calls.
    theirs = [frame for frame in frames if "site-packages" not in frame.filename]
    if theirs:
        frame = [f for f in theirs if f.filename == theirs[0].filename][-1]
        line = frame.lineno or 0
        code = linecache.getline(frame.filename, line).strip()
    return Failure(text, line, code, isinstance(error, NotImplementedError))


def not_checked(failed: Failure, given: str) -> NotCheckedError:
    """Returns the error that says that an answer raised an exception."""
    if failed.unwritten:
        return NotCheckedError(
            "not written yet",
            "The function raises NotImplementedError, as the stub does.",
            "Replace this line by your code.",
        )
    where = f"in line {failed.line}" if failed.line else "when called"
    seen = failed.text
    if failed.code:
        seen += f"\n  line {failed.line}: {failed.code}"
    if given:
        seen += f"\nfor {given}"
    return NotCheckedError(
        f"{failed.text.partition(':')[0]} {where}",
        seen,
        "The answer could not be compared: first it has to run. Call it yourself with "
        "this input.",
    )


@dataclass(frozen=True)
class Outcome:
    """What an answer did with one case.

    Attributes:
        case: the input.
        value: what it returned.
        failure: the exception, if there was one.
        changed: whether the input was changed.
    """

    case: Case
    value: Any = None
    failure: Failure | None = None
    changed: bool = False

    @property
    def given(self) -> str:
        """The input in words."""
        return describe_case(self.case)


def run(function: Function, case: Case) -> Outcome:
    """Calls an answer with copies of the arguments, in their order."""
    arguments = {name: _copied(value) for name, value in case.items()}
    try:
        value = function(*arguments.values())
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        return Outcome(case, failure=failure(error))
    changed = any(
        not _same(arguments[name], before)
        for name, before in case.items()
        if isinstance(before, np.ndarray | Tensor | list)
    )
    return Outcome(case, value, changed=changed)


def returned(function: Function, case: Case) -> Any:  # noqa: ANN401
    """Returns what an answer returns.

    Raises:
        NotCheckedError: if it raises an exception.
        WrongError: if it returns None.
    """
    outcome = run(function, case)
    if outcome.failure is not None:
        raise not_checked(outcome.failure, outcome.given)
    if outcome.value is None:
        raise WrongError("nothing", f"given     {outcome.given}\nreturned  None")
    return outcome.value


def as_array(value: Any) -> Array | None:  # noqa: ANN401
    """Returns numbers of any form as an array; None if they are no numbers.

    Args:
        value: a number, array, tensor, or nested sequences of these.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu().resolve_neg().numpy()
    if isinstance(value, list | tuple | deque):
        parts = [as_array(part) for part in value]
        shapes = {part.shape for part in parts if part is not None}
        if any(part is None for part in parts) or len(shapes) > 1:
            return None
        return np.array(parts, dtype=np.float64)
    if isinstance(value, str | bytes) or value is None:
        return None
    try:
        array: Array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array


def numbers_of(function: Function, *arguments: Any) -> Array:
    """Returns the numbers that an answer gives, for the first form of array that works.

    Raises:
        NotCheckedError: if it raises an exception with all of them, or gives no
            numbers.
    """
    case = {str(i): argument for i, argument in enumerate(arguments)}
    for convert in _FORMS:
        outcome = run(function, _converted(case, convert))
        numbers = None if outcome.failure else as_array(outcome.value)
        if numbers is not None:
            return numbers
    raise NotCheckedError("it gives no numbers")


def agree(found: Array, expected: Array) -> bool:
    """Whether two arrays have one shape, and numbers within the tolerance."""
    if found.shape != expected.shape:
        return False
    finite = expected[np.isfinite(expected)]
    scale = max(1.0, float(np.abs(finite).max(initial=0.0)))
    return bool(
        np.allclose(found, expected, rtol=0.0, atol=TOLERANCE * scale, equal_nan=True)
    )


@dataclass(frozen=True)
class Together:
    """Mistakes that can be made together, each in another stage of the computation.

    Attributes:
        stages: for each stage its variants, as pairs of the key of a mistake and what
            `compose` needs of it; the right one has the key `""`.
        compose: makes a function like the answer from a variant of each stage.
    """

    stages: Sequence[Sequence[tuple[str, Any]]]
    compose: Callable[..., Function]

    def mistakes(self) -> Iterator[tuple[tuple[str, ...], Function]]:
        """Yields the keys of up to four mistakes, and a function that makes them.

        The fewest mistakes come first.
        """
        chosen: dict[int, list[tuple[tuple[str, Any], ...]]] = {}
        for variants in itertools.product(*self.stages):
            n_mistakes = sum(key != "" for key, _ in variants)
            chosen.setdefault(n_mistakes, []).append(variants)
        for n_mistakes in range(1, _MOST_TOGETHER + 1):
            for variants in chosen.get(n_mistakes, ()):
                keys = tuple(key for key, _ in variants if key)
                yield keys, self.compose(*(variant for _, variant in variants))


def check_numbers(
    function: Function,
    cases: Sequence[Case],
    expected: Function,
    hints: Mapping[str, Hint],
    together: Together,
    *,
    integers: Case,
    may_change: bool = False,
) -> str:
    """Compares the numbers that an answer returns with those that are expected.

    The arrays of a case are passed as NumPy arrays, as tensors and as lists; an answer
    is right if it is right with one of them.

    Args:
        function: the answer.
        cases: arguments by name, arrays as NumPy arrays.
        expected: the right function, of NumPy arrays.
        hints: typical mistakes, whose results are compared with the answer's.
        together: several of them at once, likewise.
        integers: another case, whose arrays hold integers.
        may_change: whether an answer may write to its input.

    Returns:
        What was compared.

    Raises:
        WrongError: if a result differs.
        NotCheckedError: if no case ran.
    """
    attempts = []
    for convert in _FORMS:
        converted = [_converted(case, convert) for case in cases]
        outcomes = [run(function, case) for case in converted]
        right = [
            _is_right(o, c, expected) for o, c in zip(outcomes, cases, strict=True)
        ]
        if all(right):
            if not may_change and (bad := [o for o in outcomes if o.changed]):
                raise WrongError("input_changed", f"given {bad[0].given}")
            again = run(function, converted[0])
            if not _is_right(again, cases[0], expected):
                raise WrongError("second_call", _difference(again, cases[0], expected))
            _check_integers(function, integers, expected)
            return (
                f"{len(cases)} of {len(cases)} results agree (tolerance {TOLERANCE:g})."
            )
        attempts.append((outcomes, right))
    ran = [a for a in attempts if any(o.failure is None for o in a[0])]
    if not ran:
        # The exception of the input with which the answer got farthest.
        furthest = max((o[0] for o, _ in attempts), key=_progress)
        assert furthest.failure is not None
        raise not_checked(furthest.failure, furthest.given)
    for outcomes, right in ran:
        for key, hint in hints.items():
            if hint.mistake and _makes(outcomes, cases, hint.mistake):
                i = right.index(False)
                seen = _difference(outcomes[i], cases[i], expected)
                raise WrongError(key, seen)
    for outcomes, right in ran:
        for (first, *others), mistakes in together.mistakes():
            if _makes(outcomes, cases, mistakes):
                i = right.index(False)
                seen = _difference(outcomes[i], cases[i], expected)
                raise WrongError(first, seen, others=others)
    # No typical mistake: that with the fewest exceptions is described.
    outcomes, right = min(ran, key=lambda a: sum(o.failure is not None for o in a[0]))
    wrong = [i for i, r in enumerate(right) if not r]
    # What was returned says more than an exception.
    i = min(wrong, key=lambda i: (outcomes[i].failure is not None, i))
    outcome = outcomes[i]
    if outcome.failure is not None:
        failed = not_checked(outcome.failure, outcome.given)
        raise WrongError(
            None,
            f"{len(cases) - len(wrong)} of {len(cases)} results agree. {failed.seen}",
            title=failed.title,
            think="What is special about this input?",
        )
    seen = _difference(outcome, cases[i], expected)
    values, want = as_array(outcome.value), expected(**cases[i])
    if outcome.value is None:
        raise WrongError("nothing", seen)
    if values is None:
        raise WrongError(
            None,
            seen,
            title=f"it returns {_kind(outcome.value)}",
            think="The docstring says what the result is.",
        )
    if values.shape != np.shape(want):
        raise WrongError("shape", seen)
    if not np.isfinite(values).all():
        raise WrongError("not_finite", seen)
    found = [as_array(o.value) for o in outcomes]
    pattern = _pattern(found, cases, expected)
    raise WrongError(None, f"{seen}\n{pattern}".strip(), think=BY_HAND)


def _check_integers(function: Function, case: Case, expected: Function) -> None:
    """Checks that the result of integers is not cut to integers.

    An answer may refuse integers: an exception is seen, and cut digits are not.

    Raises:
        WrongError: if it is, in all forms of arrays that the answer can take.
    """
    outcomes = [run(function, _converted(case, convert)) for convert in _FORMS]
    ran = [outcome for outcome in outcomes if outcome.failure is None]
    if ran and not any(_is_right(outcome, case, expected) for outcome in ran):
        raise WrongError("integer_type", _difference(ran[0], case, expected))


def describe_case(case: Case) -> str:
    """Returns arguments as text."""
    return ", ".join(f"{name} {show(value)}" for name, value in case.items())


def show(value: Any) -> str:  # noqa: ANN401
    """Returns a value as short text."""
    array = None if isinstance(value, bool) else as_array(value)
    if array is None:
        return _kind(value) if not isinstance(value, bool | str) else repr(value)
    if array.ndim == 0:
        return f"{float(array):.6g}"
    if array.ndim == 1:
        parts = [f"{x:.6g}" for x in array[:_MAX_SHOWN]]
    else:
        parts = [show(row) for row in array[:_MAX_SHOWN]]
    return f"[{', '.join(parts)}{', ...' if len(array) > _MAX_SHOWN else ''}]"


def _kind(value: Any) -> str:  # noqa: ANN401
    """Returns what something is that holds no numbers."""
    if value is None:
        return "None"
    if isinstance(value, list | tuple):
        parts = [as_array(part) for part in value]
        shapes = {None if part is None else part.shape for part in parts}
        if len(shapes) > 1:
            return f"a {type(value).__name__} of parts of different shapes"
    return f"a {type(value).__name__}"


def _copied(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Tensor):
        copy = value.detach().clone()
        return copy.requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray | list):
        return value.copy()
    return value


def _same(found: Any, before: Any) -> bool:  # noqa: ANN401
    values, old = as_array(found), as_array(before)
    return values is not None and old is not None and agree(values, old)


def _as_tensor(array: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(array.copy())
    return tensor.float() if tensor.is_floating_point() else tensor


# Arrays as an answer may expect them.
_FORMS: tuple[Callable[[NDArray[Any]], Any], ...] = (
    np.array,
    _as_tensor,
    np.ndarray.tolist,
)


def _converted(case: Case, convert: Callable[[NDArray[Any]], Any]) -> Case:
    return {
        name: convert(value) if isinstance(value, np.ndarray) else value
        for name, value in case.items()
    }


def _is_right(outcome: Outcome, case: Case, expected: Function) -> bool:
    values = None if outcome.failure else as_array(outcome.value)
    return values is not None and agree(values, np.asarray(expected(**case)))


def _makes(
    outcomes: Sequence[Outcome], cases: Sequence[Case], mistake: Function
) -> bool:
    """Whether a mistake gives the results of all cases."""
    for outcome, case in zip(outcomes, cases, strict=True):
        try:
            with np.errstate(all="ignore"):
                made = as_array(mistake(**_converted(case, np.array)))
        except ArithmeticError:
            made = None
        if outcome.failure or made is None:
            # Not defined for this case, such as a division by zero.
            if outcome.failure is None or made is not None:
                return False
            continue
        values = as_array(outcome.value)
        if values is None or not agree(values, made):
            return False
    return True


def _progress(outcome: Outcome) -> int:
    return outcome.failure.line if outcome.failure else 0


def _difference(outcome: Outcome, case: Case, expected: Function) -> str:
    want = expected(**case)
    if outcome.failure is not None:
        found = outcome.failure.text
    else:
        values = as_array(outcome.value)
        found = show(outcome.value)
        if values is not None and values.shape != np.shape(want):
            found += f" of shape {list(values.shape)}"
    return f"given     {describe_case(case)}\nreturned  {found}\nexpected  {show(want)}"


def _pattern(
    found: Sequence[Array | None], cases: Sequence[Case], expected: Function
) -> str:
    """Returns how numbers without a hint of their own differ from the expected ones."""
    pairs = [
        (values, np.asarray(expected(**case)))
        for values, case in zip(found, cases, strict=True)
        if values is not None and values.shape == np.shape(expected(**case))
    ]
    flat = np.concatenate([values.ravel() for values, _ in pairs])
    want = np.concatenate([right.ravel() for _, right in pairs])
    factor = float(flat @ want / (want @ want))
    if len(pairs) == len(cases) and agree(flat, factor * want) and factor:
        return f"All results are {factor:.4g} times the expected ones."
    values, right = next(pair for pair in pairs if not agree(*pair))
    equal = np.isclose(values, right, rtol=0.0, atol=TOLERANCE * np.abs(right).max())
    if values.ndim == 1 and equal.any():
        agreeing = ", ".join(map(str, np.flatnonzero(equal)[:_MAX_SHOWN]))
        return f"Entries that agree: {agreeing} of 0 to {len(values) - 1}."
    return ""
