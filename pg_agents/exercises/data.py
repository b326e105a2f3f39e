"""Exercises, their hints, and the result of a check."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["right", "wrong", "not checked"]
EXIT_STATUS: Mapping[Status, int] = {"right": 0, "wrong": 1, "not checked": 2}
_WIDTH = 80
_MAX_PRINTED = 10


@dataclass(frozen=True)
class Hint:
    """What is said about a typical mistake.

    Attributes:
        title: name of the mistake.
        why: why it is wrong.
        think: what to think about, without the line that is right.
        mistake: computes what an answer with this mistake returns; None if the check
            recognises it in another way.
    """

    title: str
    why: str
    think: str
    mistake: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Exercise:
    """An exercise: a function or class to write.

    Attributes:
        name: such as `"returns"`; also that of its module.
        function: name of the function or class to write.
        stub: Python file to start from: its docstring is the instruction.
        solution: the model solution, the same file completed.
        hints: the typical mistakes by key.
        check: returns what was compared if an answer is right; raises `WrongError`
            or `NotCheckedError` if not.
        subject: makes a function `(batch, policy)` for the gradient checker from an
            answer; None if there is no gradient to check.
    """

    name: str
    function: str
    stub: str
    solution: str
    hints: Mapping[str, Hint]
    check: Callable[[Callable[..., Any]], str]
    subject: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None

    @property
    def title(self) -> str:
        """First line of the instruction."""
        return self._docstring().partition("\n")[0]

    @property
    def instruction(self) -> str:
        """What to do, with the equation."""
        return self._docstring().partition("\n")[2].strip()

    def _docstring(self) -> str:
        return self.stub.split('"""')[1]


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a check; `print(result)` shows it as text.

    Attributes:
        exercise: name of the exercise.
        status: `"right"`, `"wrong"`, or `"not checked"` if the code could not be run.
        title: what is wrong, in a few words.
        seen: what was given, returned and expected.
        why: why it is wrong.
        think: what to think about.
        hint: key of the typical mistake; None if it is none of these.
        others: keys of the typical mistakes made together with it.
        gradient: what the gradient checker says of it; empty if it was not asked.
        printed: what the code printed.
    """

    exercise: str
    status: Status
    title: str = ""
    seen: str = ""
    why: str = ""
    think: str = ""
    hint: str | None = None
    others: tuple[str, ...] = ()
    gradient: str = ""
    printed: str = ""

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.status == "right"

    @property
    def exit_status(self) -> int:
        """0 if right, 1 if wrong, 2 if not checked."""
        return EXIT_STATUS[self.status]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-compatible types."""
        return asdict(self) | {"exit_status": self.exit_status}

    def __str__(self) -> str:
        """Returns the result as text of at most 80 columns."""
        head = (self.exercise, self.status.upper(), self.title)
        blocks = [": ".join(part for part in head if part)]
        for name in ("seen", "why", "think", "gradient"):
            if text := getattr(self, name):
                blocks.append(_block(name.capitalize(), text))
        if self.printed:
            lines = self.printed.rstrip().splitlines()
            shown = lines[:_MAX_PRINTED]
            if len(lines) > len(shown):
                shown.append(f"... {len(lines) - len(shown)} more lines")
            blocks.append(_block("Printed", "\n".join(shown)))
        return "\n\n".join(blocks)

    __repr__ = __str__


def _block(name: str, text: str) -> str:
    """Returns a labelled paragraph; lines that start with a space are kept as is."""
    label, indent = f"  {name:<8}  ", " " * 12
    lines: list[str] = []
    for line in text.splitlines():
        lines += (
            [line] if line[:1] == " " else textwrap.wrap(line, _WIDTH - len(indent))
        )
    return label + f"\n{indent}".join(lines)


class WrongError(Exception):
    """An answer is wrong.

    Args:
        hint: key of the mistake in the exercise's hints; None if it is none of these.
        seen: what was given, returned and expected.
        others: keys of the mistakes made together with it.
        title: what is wrong, for mistakes without a hint of their own.
        why: why, likewise.
        think: what to think about, likewise.
    """

    def __init__(
        self,
        hint: str | None,
        seen: str,
        *,
        others: Sequence[str] = (),
        title: str = "another result than expected",
        why: str = "",
        think: str = "",
    ) -> None:
        super().__init__(seen)
        self.hint, self.seen, self.others = hint, seen, tuple(others)
        self.title, self.why, self.think = title, why, think


class NotCheckedError(Exception):
    """An answer could not be checked.

    Args:
        title: the reason in a few words.
        seen: where and with which input.
        think: what to do about it.
    """

    def __init__(self, title: str, seen: str = "", think: str = "") -> None:
        super().__init__(title)
        self.title, self.seen, self.think = title, seen, think
