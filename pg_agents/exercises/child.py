"""The process in which an answer runs."""

from __future__ import annotations

import difflib
import faulthandler
import importlib.util
import json
import linecache
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pg_agents.exercises.answer import failure, not_checked
from pg_agents.exercises.catalogue import EXERCISES, exercise
from pg_agents.exercises.data import Exercise, NotCheckedError, Result
from pg_agents.exercises.grading import grade, with_gradient

# For the gradient checker: without it, the result is complete.
_GRADIENT_S = 30.0
# How much more wall-clock time than computing time there is, as others use the machine.
_WALL_FACTOR = 6.0


@dataclass(frozen=True)
class Job:
    """What the process does.

    Attributes:
        path: the module search path of the process that asks.
        timeout_s: time limit of each check, in seconds of computing time.
        results: file that a line of JSON is written to for each result.
        traceback: file that the traceback is written to at the end of the time.
        name: the exercise; None for all that the file answers.
        function: the pickled answer; None for a file.
        file: the file with answers.
        sources: lines of source code by file name, for the answer of a notebook.
    """

    path: tuple[str, ...]
    timeout_s: float
    results: Path
    traceback: Path
    name: str | None = None
    function: bytes | None = None
    file: Path | None = None
    sources: tuple[tuple[str, tuple[str, ...]], ...] = ()


def main() -> None:
    """Runs the job whose file is the argument."""
    job: Job = pickle.loads(Path(sys.argv[1]).read_bytes())
    for name, lines in job.sources:
        linecache.cache[name] = (sum(map(len, lines)), None, list(lines), name)
    with job.results.open("w") as results, job.traceback.open("w") as traceback:

        def limit(seconds: float) -> None:
            """Ends the process after a computing time, or much more time in all."""
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_PROF, seconds)
            faulthandler.dump_traceback_later(
                _WALL_FACTOR * seconds, exit=True, file=traceback
            )

        if hasattr(signal, "setitimer"):
            # The default action of the signal follows, which ends the process.
            faulthandler.register(signal.SIGPROF, file=traceback, chain=True)
        limit(job.timeout_s)
        try:
            answers = _answers(job)
        except NotCheckedError as error:
            result = Result(
                job.name or "",
                "not checked",
                error.title,
                error.seen,
                think=error.think,
            )
            _write(results, result)
            return
        for one, answer in answers:
            # Known before it runs, in case that it never ends.
            print(json.dumps({"exercise": one.name}), file=results, flush=True)
            limit(job.timeout_s)
            result = grade(one, answer)
            _write(results, result)
            limit(_GRADIENT_S)
            _write(results, with_gradient(one, answer, result))
        faulthandler.cancel_dump_traceback_later()


def _write(results: IO[str], result: Result) -> None:
    print(json.dumps(result.to_dict()), file=results, flush=True)


def _answers(job: Job) -> list[tuple[Exercise, Callable[..., Any]]]:
    """Returns the answers of a job.

    Raises:
        NotCheckedError: if there are none.
    """
    sys.path[:] = list(dict.fromkeys([*sys.path, *job.path]))
    if job.function is not None:
        assert job.name is not None
        try:
            return [(exercise(job.name), pickle.loads(job.function))]
        except Exception as error:
            raise NotCheckedError(
                "the function can't be passed to another process",
                f"{type(error).__name__}: {error}",
                "Put it in a file, and check that: pgtoy exercise check FILE.",
            ) from error
    assert job.file is not None
    names = _executed(job.file)
    wanted = EXERCISES if job.name is None else (exercise(job.name),)
    found = [(one, names[one.function]) for one in wanted if one.function in names]
    if not found:
        raise NotCheckedError("no answer found", _missing(job.file, names, wanted))
    for one, answer in found:
        if not callable(answer):
            raise NotCheckedError(
                f"{one.function} is not a function",
                f"In {job.file.name} it is a {type(answer).__name__}.",
            )
    return found


def _executed(file: Path) -> dict[str, Any]:
    """Returns the names of a file.

    Raises:
        NotCheckedError: if it can't be executed.
    """
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        code = (error.text or "").strip()
        raise NotCheckedError(
            f"SyntaxError in line {error.lineno}",
            f"{error.msg}\n  line {error.lineno}: {code}",
            "Python can't read the file: run it yourself.",
        ) from error
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        raise not_checked(failure(error), "") from error
    return vars(module)


def _missing(file: Path, names: dict[str, Any], wanted: tuple[Exercise, ...]) -> str:
    functions = [one.function for one in wanted]
    defined = [
        name
        for name, value in names.items()
        if callable(value) and getattr(value, "__module__", None) == file.stem
    ]
    text = f"{file.name} has to define " + (
        functions[0] if len(functions) == 1 else f"one of {', '.join(functions)}"
    )
    for name in defined:
        if close := difflib.get_close_matches(name, functions, 1):
            return f"{text}; it has {name}: did you mean {close[0]}?"
    return f"{text}; it defines {', '.join(defined) or 'no function'}."


if __name__ == "__main__":
    main()
