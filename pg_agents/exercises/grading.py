"""Makes a result of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pg_agents.exercises.answer import COMMON_HINTS
from pg_agents.exercises.data import (
    Exercise,
    NotCheckedError,
    Result,
    WrongError,
)


def grade(exercise: Exercise, answer: Callable[..., Any]) -> Result:
    """Checks an answer in this process, without its gradient.

    Args:
        exercise: the exercise.
        answer: the function or class that answers it. It must return: nothing stops
            one that does not.
    """
    try:
        seen = exercise.check(answer)
    except NotCheckedError as error:
        return Result(
            exercise.name, "not checked", error.title, error.seen, think=error.think
        )
    except WrongError as error:
        if error.hint is None:
            return Result(
                exercise.name, "wrong", error.title, error.seen, error.why, error.think
            )
        hints = {**COMMON_HINTS, **exercise.hints}
        hint, seen = hints[error.hint], error.seen
        if error.others:
            also = "; ".join(hints[key].title for key in error.others)
            n = len(error.others) + 1
            seen += f"\n{n} mistakes together give these numbers. Besides: {also}."
        return Result(
            exercise.name,
            "wrong",
            hint.title,
            seen,
            hint.why,
            hint.think,
            error.hint,
            error.others,
        )
    return Result(exercise.name, "right", seen=seen)


def with_gradient(
    exercise: Exercise, answer: Callable[..., Any], result: Result
) -> Result:
    """Adds to a result what the gradient checker says of the answer."""
    # Imported here: it is slow, and most exercises have no gradient to check.
    from pg_agents.exercises.gradient import check_gradient, in_words

    if exercise.subject is None or result.status == "not checked":
        return result
    report = check_gradient(exercise.subject(answer))
    if report is None:
        return result
    result = replace(result, gradient=in_words(report))
    if result.status == "wrong" and result.hint is None and report.findings:
        # The gradient checker knows more mistakes than the exercise.
        finding = report.findings[0]
        return replace(result, title=finding.title, why=finding.explanation)
    return result
