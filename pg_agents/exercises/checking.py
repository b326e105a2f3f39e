"""Checks answers in a process of their own, with a time limit."""

from __future__ import annotations

import inspect
import json
import linecache
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from pg_agents.common.checks import check_positive
from pg_agents.common.child import ChildEnd, run_child
from pg_agents.exercises.catalogue import exercise
from pg_agents.exercises.child import Job
from pg_agents.exercises.data import Result

TIMEOUT_S = 10.0
_PACKAGE = str(Path(__file__).parent)


def check(
    name: str, answer: Callable[..., Any], *, timeout_s: float = TIMEOUT_S
) -> Result:
    """Checks an answer, such as a function of a notebook.

    It is sent to another process, which ends when the time is over, and called there
    with copies of the inputs.

    Args:
        name: name of the exercise, such as `"returns"`.
        answer: the function, or the class, to check.
        timeout_s: time limit, in seconds of computing time.

    Returns:
        The result; as the last line of a cell, or with `print`, it is shown as text.

    Raises:
        ValueError: if there is no such exercise, or the time limit is not positive.
        TypeError: if the answer is not a function or class.

    Example:
        >>> from pg_agents.exercises import check
        >>> def returns(rewards, gamma):
        ...     return [sum(rewards[t:]) for t in range(len(rewards))]
        >>> check("returns", returns).title
        'not discounted'
    """
    one = exercise(name)
    check_positive("timeout_s", timeout_s)
    if not callable(answer) or _is_instance_of_module(answer):
        raise TypeError(
            f"the answer of {name} must be a function or a class ({one.function}), got "
            f"{answer!r}"
        )
    try:
        pickled = cloudpickle.dumps(answer)
    except Exception as error:
        return Result(
            name,
            "not checked",
            "the function can't be passed to another process",
            f"{type(error).__name__}: {error}",
            think="Which global variable does it use? Make it an argument.",
        )
    return _run(
        lambda folder: Job(
            tuple(sys.path),
            timeout_s,
            folder / "results",
            folder / "traceback",
            name,
            pickled,
            sources=_sources(answer),
        )
    )[0]


def check_file(
    file: str | Path, name: str | None = None, *, timeout_s: float = TIMEOUT_S
) -> tuple[Result, ...]:
    """Checks the answers in a file.

    Args:
        file: a Python file that defines the function of one or more exercises.
        name: the exercise to check; None for all that the file defines.
        timeout_s: time limit of each, in seconds of computing time.

    Returns:
        A result for each answer; one that says why if there is none.

    Raises:
        ValueError: if there is no such exercise, or the file is no Python file.
        FileNotFoundError: if there is no such file.
    """
    path = Path(file).resolve()
    if name is not None:
        exercise(name)
    check_positive("timeout_s", timeout_s)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if path.suffix != ".py":
        raise ValueError(
            f"an answer is a Python file, NAME.py, got {file}. In a notebook: from "
            "pg_agents.exercises import check; check(NAME, function)"
        )
    return _run(
        lambda folder: Job(
            tuple(sys.path),
            timeout_s,
            folder / "results",
            folder / "traceback",
            name,
            file=path,
        )
    )


def _is_instance_of_module(answer: object) -> bool:
    return not inspect.isclass(answer) and hasattr(answer, "parameters")


def _sources(answer: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Returns the source of an answer that has no file, such as a notebook's cell."""
    try:
        name = inspect.getfile(answer)  # type: ignore[arg-type]
    except (TypeError, OSError):
        code = getattr(getattr(answer, "forward", answer), "__code__", None)
        if code is None:
            return ()
        name = code.co_filename
    lines = linecache.getlines(name)
    return ((name, tuple(lines)),) if lines else ()


def _run(make_job: Callable[[Path], Job]) -> tuple[Result, ...]:
    with tempfile.TemporaryDirectory(prefix="pgtoy-exercise-") as path:
        folder = Path(path)
        job = make_job(folder)
        # It ends itself when the time is over.
        end = run_child("pg_agents.exercises.child", job, folder)
        results, unfinished = _results(job.results)
        if unfinished is not None or not results:
            name = unfinished or job.name or ""
            results[name] = _stopped(name, job, end)
    *others, last = results.values()
    return (*others, replace(last, printed=end.printed))


def _results(file: Path) -> tuple[dict[str, Result], str | None]:
    """Returns results by exercise, and the exercise that was begun and not finished."""
    results: dict[str, Result] = {}
    begun = None
    if not file.exists():
        # The process ended before it came to the first exercise.
        return results, begun
    names = {field.name for field in fields(Result)}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        begun = row["exercise"]
        if "status" in row:
            row["others"] = tuple(row["others"])
            results[begun] = Result(**{k: v for k, v in row.items() if k in names})
            begun = None
    return results, begun


def _stopped(name: str, job: Job, end: ChildEnd) -> Result:
    """Returns the result of an answer whose process ended."""
    traceback = job.traceback.read_text() if job.traceback.exists() else ""
    if not traceback:
        last = end.printed.strip().rpartition("\n")[2]
        return Result(
            name,
            "not checked",
            "its process ended",
            f"status {end.status}" + (f": {last}" if last else ""),
            think="Does the code call exit(), or use much memory?",
        )
    seen = f"No result after {job.timeout_s:g} s of computing time."
    # The innermost call is first.
    frames = re.findall(r'File "(.+)", line (\d+) in (.+)', traceback)
    frames = [frame for frame in frames if not frame[0].startswith(("<frozen",))]
    ours = [i for i, frame in enumerate(frames) if frame[0].startswith(_PACKAGE)]
    theirs = frames[: ours[0]] if ours else frames
    if theirs:
        own_file = theirs[-1][0]
        file, line, function = next(f for f in theirs if f[0] == own_file)
        sources = dict(job.sources)
        lines = sources.get(file) or tuple(linecache.getlines(file))
        code = lines[int(line) - 1].strip() if int(line) <= len(lines) else ""
        seen += f" It was in {function}:\n  line {line}: {code}"
    return Result(
        name,
        "not checked",
        "it does not end",
        seen,
        think="Which condition ends the loop, and does anything change it?",
    )
