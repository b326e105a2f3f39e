"""Records the graph of a loss, with the line of the user's source of each node.

PyTorch's anomaly mode stores the stack of the forward call in each node of the graph.
It is on while a loss is built, never while it is differentiated, so that it checks no
gradient and prints nothing. The shapes of operands without a gradient are no part of a
graph: operators of tensors are wrapped, too, to see where two vectors become a table.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pg_agents.checker.lines.place import Frame, frames, is_library, is_of_check

# Losses whose graphs are recorded, and nodes of all after which no more are.
_MAX_GRAPHS, _MAX_NODES = 8, 1_500
# Results of operators that are kept, to find them in the graph.
_MAX_KEPT = 64
_FRAME = re.compile(r'  File "(.+)", line (\d+), in (.+)\n')
_OPERATORS = (
    *("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__"),
    *("__truediv__", "__rtruediv__", "add", "sub", "mul", "div", "multiply"),
)
_NUMBERS = (Tensor, np.generic)
_ANOMALY = (
    "set_anomaly_enabled",
    "is_anomaly_enabled",
    "is_anomaly_check_nan_enabled",
)


@dataclass
class Node:
    """A node of the graph of a loss.

    Attributes:
        name: of the operation, such as `"Mul"`.
        inputs: numbers of the nodes of its operands, -1 for operands without gradient.
        shape: of its result.
        signs: of its derivative by each operand, 1 or -1; 0 if it is not known.
        stack: calls of the user's that made it, innermost first.
        caller: name of the function that made it, the user's or a library's.
        is_direct: whether the user's line calls the operation itself, and no module or
            distribution does.
        is_recent: whether it was made after the last step of an environment.
        leaf: identity of the parameter that it stands for; None for operations.
        dim: dimension of a softmax or of a choice by index; None for others.
        bounds: of a clamp; None for others.
    """

    name: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    signs: tuple[int, ...] = ()
    stack: tuple[Frame, ...] = ()
    caller: str = ""
    is_direct: bool = False
    is_recent: bool = False
    leaf: int | None = None
    dim: int | None = None
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Crossing:
    """An operation in which each element of one tensor meets all of another.

    Attributes:
        kind: `"table"`: `[T]` and `[T, 1]` make `[T, T]`. `"product"`: the same, and
            they are multiplied; or a sum or mean is multiplied with a number.
        frame: the user's line.
        inputs: numbers of the nodes of both operands, -1 without one in the graph.
        node: number of its own node, -1 if it has none in the graph.
        users: numbers of the products in the graph that have its result as an operand.
    """

    kind: str
    frame: Frame
    inputs: tuple[int, int]
    node: int
    users: tuple[int, ...]


@dataclass
class LossGraph:
    """The graph of a loss.

    Attributes:
        call: calls of the user's that differentiate it, innermost first.
        nodes: operands before results: the loss is the last one.
        crossings: see `Crossing`.
    """

    call: tuple[Frame, ...]
    nodes: list[Node] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)


@dataclass(frozen=True)
class _Kept:
    kind: str
    frame: Frame
    operands: tuple[Any, Any]
    result: Tensor


class Tracer:
    """Records the graphs of the first losses that are differentiated.

    Attributes:
        graphs: the graphs.
        handed_in: calls of the user's that handed in a gradient, innermost first.
    """

    def __init__(self) -> None:
        self.graphs: list[LossGraph] = []
        self.handed_in: tuple[Frame, ...] = ()
        self._kept: list[_Kept] = []
        self._n_nodes = 0
        # Number of the first node after the last step of an environment.
        self._recent = 0
        self._undo: list[Callable[[], None]] = []
        self._is_user: dict[str, bool] = {}

    # Switching.

    def start(self) -> None:
        """Switches the trace on, unless anomaly mode is on already."""
        if torch.is_anomaly_enabled():
            return
        for name in _ANOMALY:
            self._replace(torch, name, self._giving_way(getattr(torch, name)))
        autograd = torch.autograd
        self._replace(autograd, "backward", self._seen(autograd.backward))
        self._replace(autograd, "grad", self._unseen(autograd.grad))
        for name in _OPERATORS:
            self._replace(Tensor, name, self._watched(name))
        self._switch(True)

    def stop(self) -> None:
        """Switches the trace off for good."""
        if self._undo:
            for undo in reversed(self._undo):
                undo()
            self._undo.clear()
            self._switch(False)
        self._kept.clear()

    @contextmanager
    def tracing(self) -> Iterator[None]:
        """Traces while the block runs."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def _switch(self, on: bool) -> None:
        torch._C.set_anomaly_enabled(on, check_nan=False)

    def _replace(self, owner: Any, name: str, new: Any) -> None:
        inherited = name not in vars(owner)
        old = getattr(owner, name)
        setattr(owner, name, new)

        def undo() -> None:
            if inherited:
                delattr(owner, name)
            else:
                setattr(owner, name, old)

        self._undo.append(undo)

    def _giving_way(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a function of anomaly mode: where a script uses it, the trace ends."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.stop()
            return original(*args, **kwargs)

        return run

    def _seen(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps `backward`."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.differentiates(args[0] if args else kwargs.get("tensors"))
            if not self._undo:
                return original(*args, **kwargs)
            with self._paused():
                return original(*args, **kwargs)

        return run

    def _unseen(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps `grad`."""

        def run(*args: Any, **kwargs: Any) -> Any:
            if not self._undo:
                return original(*args, **kwargs)
            with self._paused():
                return original(*args, **kwargs)

        return run

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Switches anomaly mode off while a loss is differentiated."""
        self._switch(False)
        try:
            yield
        finally:
            if self._undo:
                self._switch(True)

    # While a loss is built.

    def _is_users(self, file: str) -> bool:
        known = self._is_user.get(file)
        if known is None:
            known = self._is_user[file] = not is_library(file)
        return known

    def _watched(self, name: str) -> Callable[..., Any]:
        """Wraps an operator of two tensors."""
        original = getattr(Tensor, name)
        multiplies = "mul" in name

        def run(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            if len(args) == 2 and isinstance(result, Tensor):
                self._look_at(args[0], args[1], result, multiplies)
            return result

        return run

    def _look_at(self, one: Any, other: Any, result: Tensor, multiplies: bool) -> None:
        kind = None
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            n = result.numel()
            if n > one.numel() > 1 and n > other.numel() > 1:
                kind = "product" if multiplies else "table"
        are_numbers = isinstance(one, _NUMBERS) and isinstance(other, _NUMBERS)
        if multiplies and not result.dim() and are_numbers:
            if _is_reduced(one) or _is_reduced(other):
                kind = "product"
        if kind is None:
            return
        frame = self._user_stack(sys._getframe(2))[:1]
        if frame:
            made_of = getattr(one, "grad_fn", None), getattr(other, "grad_fn", None)
            self._kept.append(_Kept(kind, frame[0], made_of, result))
            del self._kept[:-_MAX_KEPT]

    def _user_stack(self, frame: Any) -> tuple[Frame, ...]:
        return tuple(f for f in frames(frame) if self._is_users(f.file))

    # Events.

    def stepped(self) -> None:
        """Takes a step of an environment."""
        self._recent = torch._C._autograd._get_sequence_nr()

    def takes(self) -> None:
        """Takes a gradient that the script hands in."""
        self.handed_in = self.handed_in or self._user_stack(sys._getframe(1))

    def differentiates(self, losses: Any) -> None:
        """Records the graph of a loss, or of several, that is differentiated now."""
        is_on = bool(self._undo)
        if not is_on or not isinstance(losses, Tensor | list | tuple):
            return
        roots = [losses] if isinstance(losses, Tensor) else losses
        graph = LossGraph(self._user_stack(sys._getframe(1)))
        numbers = self._add_nodes(graph, [r.grad_fn for r in roots])
        self._add_crossings(graph, numbers)
        self.graphs.append(graph)
        self._n_nodes += len(graph.nodes)
        if len(self.graphs) >= _MAX_GRAPHS or self._n_nodes >= _MAX_NODES:
            self.stop()

    def _add_nodes(self, graph: LossGraph, roots: Sequence[Any]) -> dict[Any, int]:
        """Adds all nodes, operands first; returns their numbers."""
        numbers: dict[Any, int] = {}
        stack = [(root, False) for root in roots if root is not None]
        while stack:
            node, is_open = stack.pop()
            if node in numbers:
                continue
            inputs = node.next_functions
            if is_open:
                numbers[node] = len(graph.nodes)
                operands = tuple(-1 if i is None else numbers[i] for i, _ in inputs)
                graph.nodes.append(self._node(node, operands))
            else:
                stack.append((node, True))
                stack += [
                    (i, False) for i, _ in inputs if i is not None and i not in numbers
                ]
        return numbers

    def _node(self, node: Any, inputs: tuple[int, ...]) -> Node:
        name = re.sub(r"Backward\d*$", "", node.name())
        variable = getattr(node, "variable", None)
        if variable is not None:
            return Node(name, inputs, tuple(variable.shape), leaf=id(variable))
        shapes = [tuple(given.shape) for given in node._input_metadata]
        shape = shapes[0] if shapes else ()
        stored = "".join(node.metadata.get("traceback_", ()))
        found = [
            Frame(file, int(line), function)
            for file, line, function in _FRAME.findall(stored)
            if not is_of_check(file)
        ][::-1]
        within = list(itertools.takewhile(lambda f: not self._is_users(f.file), found))
        return Node(
            name,
            inputs,
            shape,
            _signs(name, node, len(inputs)),
            tuple(f for f in found if self._is_users(f.file)),
            found[0].function if found else "",
            all(f.file == torch.nn.functional.__file__ for f in within),
            node._sequence_nr() >= self._recent,
            dim=_dim(name, node, len(shape)),
            bounds=_bounds(name, node),
        )

    def _add_crossings(self, graph: LossGraph, numbers: dict[Any, int]) -> None:
        saved: dict[int, list[int]] = {}
        if self._kept:
            for node, number in numbers.items():
                if graph.nodes[number].name == "Mul":
                    for operand in (_saved(node, "self"), _saved(node, "other")):
                        if operand is not None and operand.numel():
                            saved.setdefault(operand.data_ptr(), []).append(number)
        for kept in self._kept:
            node = numbers.get(kept.result.grad_fn, -1)
            users = saved.get(kept.result.data_ptr(), [])
            users = [n for n in users if n != node]
            one, other = (numbers.get(made_of, -1) for made_of in kept.operands)
            if node >= 0 or users:
                graph.crossings.append(
                    Crossing(kept.kind, kept.frame, (one, other), node, tuple(users))
                )


def leaves(outputs: Tensor) -> list[Tensor]:
    """Returns the parameters that a tensor depends on."""
    found: dict[int, Tensor] = {}
    stack, seen = [outputs.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found[id(variable)] = variable
        stack.extend(parent for parent, _ in node.next_functions)
    return list(found.values())


def _is_reduced(value: Any) -> bool:
    """Whether a value is the sum or mean of a tensor with a gradient, or minus it."""
    node = getattr(value, "grad_fn", None)
    while node is not None and node.name() == "NegBackward0":
        node = node.next_functions[0][0]
    return node is not None and node.name() in ("SumBackward0", "MeanBackward0")


def _saved(node: Any, name: str) -> Tensor | None:
    """Returns an operand that a node keeps; None if it keeps none or was changed."""
    try:
        value = getattr(node, f"_saved_{name}", None)
    except RuntimeError:
        return None
    return value if isinstance(value, Tensor) else None


def _signs(name: str, node: Any, n_inputs: int) -> tuple[int, ...]:
    if name == "Neg":
        return (-1,)
    if name in ("Sub", "Rsub"):
        # Rsub(a, b) is b - a, and has a single input if b is a number.
        return ((1, -1) if name == "Sub" else (-1, 1))[:n_inputs]
    if name in ("Mul", "Div") and n_inputs == 2:
        signs = []
        for is_other in (False, True):
            factor = _saved(node, "self" if is_other else "other")
            if factor is None or factor.numel() != 1:
                signs.append(0)
            else:
                signs.append(int(bool(factor > 0)) - int(bool(factor < 0)))
        return tuple(signs)
    return (1,) * n_inputs


def _dim(name: str, node: Any, n_dims: int) -> int | None:
    if name not in ("Softmax", "LogSoftmax", "Gather") or not n_dims:
        return None
    # Negative dimensions are stored as unsigned numbers.
    dim = int(node._saved_dim)
    return (dim - 2**64 if dim >= 2**63 else dim) % n_dims


def _bounds(name: str, node: Any) -> tuple[float, float] | None:
    if not name.startswith("Clamp"):
        return None
    found = []
    for which, default in (("min", -math.inf), ("max", math.inf)):
        bound = getattr(node, f"_saved_{which}", None)
        found.append(float(bound) if isinstance(bound, int | float) else default)
    return found[0], found[1]
