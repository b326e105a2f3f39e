"""Which policies a script trains: the first alone is recorded, the others are told.

A training is a policy together with the optimisers that change it. An optimiser belongs
to a policy if the action probabilities depend on one of its parameters; critics and
target networks have optimisers, or none, but no probabilities. Two optimisers belong to
the same policy if they share a parameter, or if probabilities depend on both.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pg_agents.checker.lines.place import is_library

# The outermost frame of a script, see `child.py`.
_CHILD = str(Path(__file__).with_name("child.py"))


@dataclass(frozen=True)
class Origin:
    """The calls that have made an optimiser, or handed in a gradient.

    Attributes:
        calls: file, line and class of each call, innermost first.
        maker: what was made, as it is told.
        place: `file:line` in the script.
    """

    calls: tuple[tuple[str, int, str], ...]
    maker: str
    place: str

    def __str__(self) -> str:
        """Says what was made where."""
        return f"{self.maker} at {self.place}"


@dataclass
class Training:
    """A policy and its optimisers.

    Attributes:
        origin: of the first optimiser that has changed the policy.
        parameters: id -> parameter, of policy and optimisers. The references keep the
            ids from being used again.
        n_steps: number of steps of the optimisers.
    """

    origin: Origin
    parameters: dict[Any, Any]
    n_steps: int = 0


class Trainings:
    """Tells the policies that a script trains apart."""

    def __init__(self) -> None:
        # One list for each run of the script.
        self._runs: list[list[Training]] = [[]]
        self._origins: dict[int, tuple[torch.optim.Optimizer, Origin]] = {}
        self._held: dict[int, Tensor] = {}
        self._policies: dict[frozenset[int], dict[int, Tensor]] = {}

    def start_run(self) -> None:
        """Starts another run of the script, which makes everything anew."""
        if self._runs[-1]:
            self._runs.append([])
        self._origins.clear()
        self._held.clear()
        self._policies.clear()

    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes a new optimiser."""
        name = type(optimizer).__name__
        self._origins[id(optimizer)] = optimizer, _origin(sys._getframe(1), name)
        self._held.update(_parameters(optimizer))

    def policy(self, leaves: Iterable[Tensor]) -> None:
        """Takes the tensors that probabilities of actions depend on."""
        parts = {id(leaf): leaf for leaf in leaves if id(leaf) in self._held}
        if parts:
            self._policies.setdefault(frozenset(parts), parts)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes a step of an optimiser."""
        held = _parameters(optimizer)
        self._held.update(held)
        policies = [p for p in self._policies.values() if not held.keys().isdisjoint(p)]
        if not policies:
            return
        for policy in policies:
            held |= policy
        self._add(held, lambda: self._origins[id(optimizer)][1])

    def handed_in(self) -> None:
        """Takes a handed-in gradient; each line that hands one in has a policy."""
        origin = _origin(sys._getframe(1), "hand_in")
        self._add({origin.place: None}, lambda: origin)

    def _add(self, parameters: dict[Any, Any], origin: Callable[[], Origin]) -> None:
        run = self._runs[-1]
        joined = [t for t in run if not t.parameters.keys().isdisjoint(parameters)]
        if not joined:
            joined = [Training(origin(), {})]
            run.append(joined[0])
        first = joined[0]
        for other in joined[1:]:
            first.n_steps += other.n_steps
            first.parameters |= other.parameters
            run.remove(other)
        first.parameters |= parameters
        first.n_steps += 1

    def is_stepped(self, parameters: Iterable[Tensor]) -> bool:
        """Whether an optimiser of a policy with one of the parameters has stepped."""
        keys = {id(p) for p in parameters}
        return any(not keys.isdisjoint(t.parameters) for t in self._runs[-1])

    def kinds(self) -> list[tuple[Origin, int]]:
        """Returns the origins of policies, and how many policies each had in a run.

        The same calls make one origin: of a loop over seeds, for example.
        """
        found: dict[Any, tuple[Origin, int]] = {}
        for run in self._runs:
            counts: dict[Any, int] = {}
            for training in run:
                calls = training.origin.calls
                counts[calls] = counts.get(calls, 0) + 1
                origin, most = found.get(calls, (training.origin, 0))
                found[calls] = origin, max(most, counts[calls])
        return list(found.values())

    def n_steps(self) -> int:
        """Returns the number of steps of all policies' optimisers, in all runs."""
        return sum(training.n_steps for run in self._runs for training in run)

    def refusal(self) -> str | None:
        """Says that several policies are trained; None if it is one."""
        origins = [str(origin) for origin, _ in self.kinds()]
        if len(origins) < 2:
            return None
        return (
            f"the script trains {len(origins)} policies: {_listed(origins)}; check "
            "one at a time: put each training into a function of its own and name it "
            "with --entry module:function; of a notebook, name the cells that belong "
            "to one with --cells 1-4,7"
        )

    def remark(self) -> str | None:
        """Says that the same lines train several policies; None if they do not."""
        for origin, n in self.kinds():
            if n > 1:
                return (
                    f"the same lines train {n} or more policies, one after the other "
                    f"({origin}); they were taken as one algorithm"
                )
        return None


def leave_learn_early(trainings: Trainings) -> None:
    """Lets `learn` of Stable-Baselines3 end as soon as the policy was updated."""
    module = sys.modules.get("stable_baselines3.common.callbacks")
    if module is None:
        return
    callback = module.BaseCallback
    original = callback.on_step

    def on_step(self: Any) -> bool:
        policy = self.model.policy
        return original(self) and not trainings.is_stepped(policy.parameters())

    callback.on_step = on_step


def _parameters(optimizer: torch.optim.Optimizer) -> dict[Any, Any]:
    return {id(p): p for group in optimizer.param_groups for p in group["params"]}


def _origin(frame: types.FrameType | None, kind: str) -> Origin:
    calls: list[tuple[str, int, str]] = []
    while frame is not None and frame.f_code.co_filename != _CHILD:
        owner = frame.f_locals.get("self")
        name = "" if owner is None else type(owner).__name__
        calls.append((frame.f_code.co_filename, frame.f_lineno, name))
        frame = frame.f_back
    own = [i for i, (file, _, _) in enumerate(calls) if not is_library(file)]
    at = own[0] if own else 0
    file, line, _ = calls[at]
    # What the script has called: the optimiser itself, or a model that makes one.
    called = calls[at - 1][2] if at else ""
    owner = f" of {called}" if called and called != kind else ""
    return Origin(tuple(calls), f"{kind}{owner}", f"{Path(file).name}:{line}")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
