"""Places in the user's source: frames of the stack and lines of a file."""

from __future__ import annotations

import ast
import linecache
import sysconfig
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

# Frames of these folders are no lines of the user's.
_PACKAGE = str(Path(__file__).resolve().parents[2])
_LIBRARIES = (
    "<",
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    sysconfig.get_path("platlib"),
    _PACKAGE,
)

# Lines of a statement that is a place as a whole.
_MOST_LINES = 4


class Frame(NamedTuple):
    """A line that is being executed.

    Attributes:
        file: its file.
        line: its number.
        function: name of its function, `<module>` outside of functions.
    """

    file: str
    line: int
    function: str


@dataclass(frozen=True)
class Place:
    """A line of the user's source, or several that follow each other.

    Attributes:
        file: the file, as the user named it.
        line: number of the first line, from 1.
        text: its source text, without the common indentation.
        end_line: number of the last line.
    """

    file: str
    line: int
    text: str
    end_line: int

    @property
    def lines(self) -> str:
        """`line N`, or `lines N-M`."""
        if self.end_line == self.line:
            return f"line {self.line}"
        return f"lines {self.line}-{self.end_line}"

    @property
    def code(self) -> str:
        """The source text in one line."""
        return " ".join(line.strip() for line in self.text.splitlines())

    def __str__(self) -> str:
        """Returns `file:N`, or `file:N-M`."""
        return f"{self.file}:{self.lines.rpartition(' ')[2]}"


def is_library(file: str) -> bool:
    """Whether a file is none of the user's: of Python, of a package or of the check."""
    return file.startswith(_LIBRARIES)


def is_of_check(file: str) -> bool:
    """Whether a file is one of this package."""
    return file.startswith(_PACKAGE)


def users_traceback(error: BaseException) -> types.TracebackType | None:
    """Returns a traceback from the user's first frame on; None without such a frame."""
    trace = error.__traceback__
    own = (_PACKAGE, "<frozen runpy>")
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(own):
        trace = trace.tb_next
    return trace


def frames(frame: types.FrameType | None) -> Iterator[Frame]:
    """Yields the calls that lead to a frame, innermost first."""
    while frame is not None:
        code = frame.f_code
        yield Frame(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back


def place_of(frame: Frame) -> Place:
    """Returns the statement of a line, or the line itself if the statement is long."""
    first, last = _statements(frame.file).get(frame.line, (frame.line, frame.line))
    if last - first >= _MOST_LINES:
        first = last = frame.line
    return Place(frame.file, first, _text(frame.file, first, last), last)


def place_between(file: str, first: int, last: int) -> Place:
    """Returns the lines of the statements from one line to another one."""
    statements = _statements(file)
    first = statements.get(first, (first, first))[0]
    last = statements.get(last, (last, last))[1]
    return Place(file, first, _text(file, first, last), last)


def _text(file: str, first: int, last: int) -> str:
    lines = (linecache.getline(file, number) for number in range(first, last + 1))
    return textwrap.dedent("".join(lines)).strip()


@cache
def _statements(file: str) -> dict[int, tuple[int, int]]:
    """Returns, for each line of a simple statement, the first and last one."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        # The file was changed since it was run.
        return {}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not hasattr(node, "body"):
            lines = node.lineno, node.end_lineno or node.lineno
            found.update(dict.fromkeys(range(lines[0], lines[1] + 1), lines))
    return found
