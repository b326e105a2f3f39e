"""Counts the files and functions that ten updates of an agent enter.

`make call-trace` prints, for REINFORCE on PGToy-Sequence-v0, ActorCritic on CartPole
and SB3's A2C on CartPole, how many files and functions of the agent's own code run, the
longest of these functions, and Python calls per environment step: a measure of what one
has to read to follow an update. Own code is pg_agents and pg_envs, or for A2C
stable_baselines3.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import stable_baselines3
from stable_baselines3 import A2C

import pg_agents
import pg_envs
from pg_agents import REINFORCE, ActorCritic

N_UPDATES = 10


class Trace(NamedTuple):
    """What a call has entered.

    Attributes:
        files: number of files of own code.
        functions: number of distinct functions of own code; comprehensions and the like
            belong to the function around them.
        longest: name of the longest function and its number of lines of code, without
            docstring, comments and blank lines.
        calls: number of calls of own functions.
    """

    files: int
    functions: int
    longest: tuple[str, int]
    calls: int


def trace(function: Callable[[], object], *packages: Any) -> Trace:
    """Runs a function and counts what it enters of the given packages."""
    folders = tuple(f"{Path(package.__file__).parent}/" for package in packages)
    entered: set[CodeType] = set()
    n_calls = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal n_calls
        code = frame.f_code
        # Lambdas, comprehensions and generator expressions are named in brackets.
        is_function = event == "call" and not code.co_name.startswith("<")
        if is_function and code.co_filename.startswith(folders):
            entered.add(code)
            n_calls += 1

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    lengths = {
        code: len({line for _, _, line in code.co_lines() if line}) for code in entered
    }
    longest = max(lengths, key=lengths.__getitem__)
    return Trace(
        files=len({code.co_filename for code in entered}),
        functions=len(entered),
        longest=(longest.co_qualname, lengths[longest]),
        calls=n_calls,
    )


def continues(local: dict[str, Any], _: object) -> bool:
    """Stops training after ten updates, as a callback."""
    return bool(local["self"]._n_updates < N_UPDATES)


def main() -> None:
    """Prints a row per agent."""
    ours = pg_agents, pg_envs
    cases = (
        ("REINFORCE", REINFORCE, "PGToy-Sequence-v0", ours),
        ("ActorCritic", ActorCritic, "CartPole-v1", ours),
        ("SB3's A2C", A2C, "CartPole-v1", (stable_baselines3,)),
    )
    print(f"{N_UPDATES} updates of learn(), own code:")
    for name, algorithm, env_id, packages in cases:
        make: Any = algorithm
        model = make("MlpPolicy", env_id, seed=0, device="cpu")

        found = trace(partial(model.learn, 10**6, callback=continues), *packages)
        per_step = found.calls / model.num_timesteps
        print(
            f"  {name} on {env_id}: {found.files} files, {found.functions} functions, "
            f"longest {found.longest[0]} ({found.longest[1]} lines), "
            f"{per_step:.1f} calls per step"
        )


if __name__ == "__main__":
    main()
