"""The child process: `python -m pg_agents.checker.script.child JOB`."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import io
import os
import pickle
import random
import runpy
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from gymnasium import spaces

from pg_agents.checker.battery import battery
from pg_agents.checker.lines.place import users_traceback
from pg_agents.checker.script import handover, stubs, vector
from pg_agents.checker.script import taps as taps_module
from pg_agents.checker.script.box_task import box_task
from pg_agents.checker.script.notebook import run_notebook
from pg_agents.checker.script.recording import (
    LOOK_AHEAD_S,
    SHORT_LIMIT_NAME,
    Recorder,
    Recording,
)
from pg_agents.checker.script.sandbox import Job
from pg_agents.checker.script.stage import RefusedError, Stage
from pg_agents.checker.task import Task

# Most episodes of the fork are longer.
_SHORT_LIMIT = 6


def make_tasks(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> tuple[Task, ...]:
    """Returns the tasks in the spaces of the script's environment.

    Raises:
        RefusedError: if there is none.
    """
    if isinstance(action_space, spaces.Discrete):
        n_doors = int(action_space.n)
    elif isinstance(action_space, spaces.Box) and len(action_space.shape) == 1:
        n_doors = 2
    else:
        raise RefusedError(
            f"the script's environment has the action space {action_space}; Discrete "
            "and one-dimensional Box spaces can be checked"
        )
    try:
        tasks = battery(n_doors, observation_space=observation_space)
    except (TypeError, ValueError) as error:
        raise RefusedError(str(error)) from error
    fork, random_mdp, _ = tasks
    if isinstance(action_space, spaces.Box):
        random_mdp = box_task(random_mdp, action_space)
        fork = box_task(fork, action_space)
    limited = dataclasses.replace(fork, name=SHORT_LIMIT_NAME, horizon=_SHORT_LIMIT)
    return random_mdp, fork, limited


def main(job_file: str) -> NoReturn:
    """Runs a job."""
    job: Job = pickle.loads(Path(job_file).read_bytes())
    _limit_cpu(job.limit)

    def write(recording: Recording) -> None:
        partial = job.result.with_suffix(".partial")
        partial.write_bytes(pickle.dumps(recording))
        partial.replace(job.result)

    def keep(recording: Recording) -> None:
        write(recording)
        # Code that takes no step in an environment ends here.
        _limit_cpu(min(job.limit, time.process_time() + LOOK_AHEAD_S + 1.0))

    def finish(recording: Recording) -> NoReturn:
        write(dataclasses.replace(recording, exits=exits))
        sys.stdout.flush()
        # An exception would pass through a bare `except:` of the script.
        os._exit(0)

    random.seed(job.seed)
    np.random.seed(job.seed)
    torch.manual_seed(job.seed)
    torch.set_num_threads(1)
    stage = Stage(make_tasks, job.seed)
    recorder = Recorder(stage, job.seconds, keep, finish, _uncalled(job))
    taps_module.install(recorder.taps)
    handover.receive(recorder.taps.handed_in)
    vector.install(stage, job.script)
    stubs.install(recorder.finish, job.input)
    error = trace = None
    exits = False
    try:
        _run(job)
        # A script that ends early runs again, on the next task.
        while recorder.run_again():
            # It must not find the files of the run before.
            os.chdir(tempfile.mkdtemp(dir=job.result.parent))
            _run(job)
    except RefusedError as refusal:
        error = str(refusal)
    except SystemExit as leaving:
        exits = True
        if leaving.code not in (None, 0):
            error = f"the script has ended itself with the status {leaving.code!r}"
    except BaseException as failure:
        error = f"the script fails: {type(failure).__name__}: {failure}"
        failure = failure.with_traceback(users_traceback(failure))
        trace = "".join(traceback.format_exception(failure))
    recorder.finish(error, trace)
    raise AssertionError("finish() ends the process")


def _uncalled(job: Job) -> str | None:
    """Returns `module:function` of a function that the script defines and never calls.

    That is `main`, or else the only such function that needs no arguments.
    """
    if job.entry is not None or job.script.suffix != ".py":
        return None
    try:
        tree = ast.parse(job.script.read_bytes())
    except (SyntaxError, ValueError):
        return None
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and node.name not in used
        and len(node.args.posonlyargs + node.args.args) == len(node.args.defaults)
        and None not in node.args.kw_defaults
    ]
    name = "main" if "main" in found else found[0] if len(found) == 1 else None
    return None if name is None else f"{job.script.stem}:{name}"


def _limit_cpu(seconds: float) -> None:
    """Ends the process once it has used a CPU time, where the platform can."""
    try:
        import resource
    except ImportError:
        return
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(np.ceil(seconds))
    if most == resource.RLIM_INFINITY or limit < most:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, most))


def _run(job: Job) -> None:
    folder = str(job.script.parent)
    # "-m" has put the working folder first.
    sys.path[0] = folder
    sys.argv = [str(job.script), *job.args]
    if job.input is not None:
        sys.stdin = io.StringIO(job.input)
    if job.script.suffix == ".ipynb":
        run_notebook(job.script, job.cells)
        return
    if job.entry is None:
        runpy.run_path(str(job.script), run_name="__main__")
        return
    module, _, function = job.entry.partition(":")
    called: Any = importlib.import_module(module)
    for part in function.split("."):
        called = getattr(called, part)
    called()


if __name__ == "__main__":
    # Under its own name, so that pickles of its classes can be read.
    main(sys.argv[1])
