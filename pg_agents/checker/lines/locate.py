"""Finds the lines of a loss, and those of mistakes that a graph shows for certain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from pg_agents.checker.lines.place import Frame, Place, place_between, place_of
from pg_agents.checker.lines.tracer import LossGraph

# Bits of what a node depends on: parameters of the policy alone, of the critic alone.
_POLICY, _CRITIC = 1, 2
# Operations that only arrange elements.
_ARRANGING = frozenset(
    "View UnsafeView Reshape Squeeze Unsqueeze Stack Cat Clone T Transpose Permute "
    "Select Slice Index Gather IndexSelect Expand ToCopy Alias".split()
)
_CHOOSING = frozenset({"Index", "Gather", "Select", "IndexSelect"})
_ERRORS = frozenset({"Pow", "MseLoss", "SmoothL1Loss", "HuberLoss", "Abs", "L1Loss"})
# A probability that a clamp may cut off.
_HARMLESS = 0.01
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax", "Logsumexp"})


@dataclass(frozen=True)
class Places:
    """Where a policy's loss stands in the user's source.

    Attributes:
        backward: the call that differentiates it, or hands in its gradient; None if it
            is not known.
        loss: the lines that build it; None if they are not known.
        mistakes: key in the catalogue -> the line where the mistake stands, if it has
            it. There is none where it is not certain.
    """

    backward: Place | None = None
    loss: Place | None = None
    mistakes: dict[str, Place] = field(default_factory=dict)

    def renamed(self, name: Callable[[str], str]) -> Places:
        """Returns the places with other names of the files."""

        def new(place: Place) -> Place:
            return replace(place, file=name(place.file))

        return Places(
            self.backward and new(self.backward),
            self.loss and new(self.loss),
            {key: new(place) for key, place in self.mistakes.items()},
        )


def locate(
    graphs: Sequence[LossGraph],
    policy: Collection[int],
    critics: Collection[int],
    function: str | None = None,
) -> Places:
    """Returns the places of a policy's loss.

    Args:
        graphs: of losses, in the order in which they were differentiated.
        policy: identities of the parameters that the policy depends on; none if they
            are not known. Then a loss has a place if it is the only one.
        critics: the same of the critic.
        function: name of the function whose lines build the loss; None for the one that
            makes its last node.
    """
    graphs = [graph for graph in graphs if graph.nodes]
    if not policy and len({graph.call[:1] for graph in graphs}) == 1:
        policy = {n.leaf for graph in graphs for n in graph.nodes if n.leaf is not None}
    seen = [_View(graph, set(policy), set(critics)) for graph in graphs]
    of_policy = [view for view in seen if view.depends[-1] & _POLICY]
    if not of_policy:
        return Places()
    first = of_policy[0]
    call = first.graph.call[:1]
    mistakes = {}
    for key, rule in _RULES.items():
        places = {place_of(frame) for view in seen for frame in rule(view)}
        # A line that is one of several is not certain.
        if len(places) == 1:
            (mistakes[key],) = places
    same = [view.graph for view in of_policy if view.graph.call[:1] == call]
    return Places(
        place_of(call[0]) if call else None, _loss_lines(same, function), mistakes
    )


def _loss_lines(graphs: Sequence[LossGraph], function: str | None) -> Place | None:
    """Returns the lines of a function that make the loss, without its steps.

    These are lines with nodes after the last step of an environment and none before.
    """
    last = next((node for node in reversed(graphs[0].nodes) if node.stack), None)
    if last is None:
        return None
    named = [frame for frame in last.stack if frame.function == function]
    of_loss = named[0] if named else last.stack[0]
    lines: dict[bool, set[int]] = {False: set(), True: set()}
    for node in graphs[0].nodes + graphs[-1].nodes:
        for frame in node.stack:
            if (frame.file, frame.function) == (of_loss.file, of_loss.function):
                lines[node.is_recent].add(frame.line)
    own = (lines[True] - lines[False]) | {of_loss.line}
    return place_between(of_loss.file, min(own), max(own))


class _View:
    """A graph, and what each node depends on."""

    def __init__(self, graph: LossGraph, policy: set[int], critics: set[int]) -> None:
        self.graph, self.nodes = graph, graph.nodes
        self.depends: list[int] = []
        # Whether an error is among what a node is made of.
        self.has_error: list[bool] = []
        for node in graph.nodes:
            inputs = [i for i in node.inputs if i >= 0]
            depends = 0
            if node.leaf is not None:
                depends |= _POLICY * (node.leaf in policy - critics)
                depends |= _CRITIC * (node.leaf in critics - policy)
            for i in inputs:
                depends |= self.depends[i]
            self.depends.append(depends)
            squared = node.name == "Mul" and len(set(inputs)) < len(inputs)
            self.has_error.append(
                node.name in _ERRORS
                or squared
                or any(self.has_error[i] for i in inputs)
            )

    def named(self, *names: str) -> Iterator[int]:
        """Yields the numbers of nodes of some operations."""
        return (i for i, node in enumerate(self.nodes) if node.name in names)

    def on(self, i: int, what: int) -> bool:
        """Whether an operand depends on policy or critic, and on nothing else."""
        return i >= 0 and self.depends[i] == what

    def lines(self, numbers: Iterable[int]) -> Iterator[Frame]:
        """Yields the user's lines that made nodes."""
        for i in numbers:
            if self.nodes[i].stack:
                yield self.nodes[i].stack[0]

    def arranged(self, i: int) -> Iterator[int]:
        """Yields a node and what its elements come from, through arrangements."""
        seen, waiting = set(), [i]
        while waiting:
            i = waiting.pop()
            if i < 0 or i in seen:
                continue
            seen.add(i)
            yield i
            if self.nodes[i].name in _ARRANGING:
                waiting += self.nodes[i].inputs

    def below(self, i: int) -> set[int]:
        """Returns all nodes that a node is made of, with itself."""
        found, waiting = set(), [i]
        while waiting:
            i = waiting.pop()
            if i >= 0 and i not in found:
                found.add(i)
                waiting += self.nodes[i].inputs
        return found

    @cached_property
    def weighted(self) -> list[tuple[int, int, int]]:
        """Products of what depends on the policy alone with a weight.

        The numbers of the product, of the operand that depends on the policy, and of
        the other one, -1 if it has no gradient.
        """
        found = []
        for i in self.named("Mul"):
            inputs = self.nodes[i].inputs
            for one, other in (inputs, inputs[::-1]):
                if self.on(one, _POLICY) and not (
                    other >= 0 and self.depends[other] & _POLICY
                ):
                    found.append((i, one, other))
        return found


# What a mistake looks like in a graph. A rule yields lines that have it if the loss has
# the mistake; they are told only if all are the same, and the check has found it.


def _table_of_advantages(view: _View) -> Iterator[Frame]:
    """Lines where `[T]` and `[T, 1]` make a table that weights log-probabilities."""
    for crossing in view.graph.crossings:
        if any(i >= 0 and view.depends[i] & _POLICY for i in crossing.inputs):
            continue
        for i, _, other in view.weighted:
            if i in crossing.users or (
                0 <= crossing.node and crossing.node in view.below(other)
            ):
                yield crossing.frame
                break


def _table_of_log_probs(view: _View) -> Iterator[Frame]:
    """Lines that multiply each log-probability with each weight."""
    for crossing in view.graph.crossings:
        if crossing.kind == "product" and crossing.node >= 0:
            if any(view.on(i, _POLICY) for i in crossing.inputs):
                yield crossing.frame


def _value_in_weight(view: _View) -> Iterator[Frame]:
    return view.lines(i for i, _, other in view.weighted if view.on(other, _CRITIC))


def _two_values(view: _View) -> Iterator[Frame]:
    """Lines where two values meet before they are squared."""
    for i in view.named("Add", "Sub", "Rsub", "MseLoss", "SmoothL1Loss", "HuberLoss"):
        inputs = view.nodes[i].inputs
        of_critic = [k for k in inputs if view.on(k, _CRITIC)]
        if len(of_critic) == 2 and not any(view.has_error[k] for k in of_critic):
            yield from view.lines([i])


def _negated_error(view: _View) -> Iterator[Frame]:
    """The only line that negates a squared error of the critic."""
    paths: dict[int, set[tuple[int, ...]]] = {len(view.nodes) - 1: {()}}
    for i in range(len(view.nodes) - 1, -1, -1):
        reached = paths.pop(i, set())
        node = view.nodes[i]
        if not reached:
            continue
        is_error = node.name in _ERRORS or len(set(node.inputs)) < len(node.inputs)
        if is_error and view.on(i, _CRITIC):
            for negated in reached:
                if len(negated) == 1 and negated[0] >= 0:
                    yield from view.lines(negated)
            continue
        for k, sign in zip(node.inputs, node.signs, strict=False):
            if k >= 0 and view.depends[k] & _CRITIC:
                # A factor of unknown sign makes the path unknown.
                added = () if sign > 0 else ((i,) if sign < 0 else (-1, -1))
                paths.setdefault(k, set()).update(p + added for p in reached)


def _softmax_of_rows(view: _View) -> Iterator[Frame]:
    for i in view.named("Softmax", "LogSoftmax"):
        node = view.nodes[i]
        in_rows = node.dim == 0 and len(node.shape) == 2
        if in_rows and node.is_direct and view.depends[i] & _POLICY:
            yield from view.lines([i])


def _softmax_twice(view: _View) -> Iterator[Frame]:
    for i in view.named(*_SOFTMAXES):
        for k in view.nodes[i].inputs:
            if any(view.nodes[n].name == "Softmax" for n in view.arranged(k)):
                yield from view.lines([i])


def _clamp(view: _View) -> Iterator[Frame]:
    """Lines that keep probabilities well away from 0 or from 1."""
    for i in view.named("Clamp", "ClampMin", "ClampMax"):
        node = view.nodes[i]
        low, high = node.bounds or (0.0, 1.0)
        of_softmax = any(
            view.nodes[n].name == "Softmax" for n in view.arranged(node.inputs[0])
        )
        matters = low > _HARMLESS or high < 1.0 - _HARMLESS
        if node.is_direct and of_softmax and matters:
            yield from view.lines([i])


def _cross_entropy_of_one(view: _View) -> Iterator[Frame]:
    return view.lines(view.named("BinaryCrossEntropy", "BinaryCrossEntropyWithLogits"))


def _chosen(view: _View) -> Iterator[Frame]:
    """Lines that choose along the rows, or all chosen columns in each row."""
    for i in view.named("Index", "Gather"):
        node = view.nodes[i]
        if not (node.is_direct and view.depends[i] & _POLICY and node.inputs[0] >= 0):
            continue
        table = view.nodes[node.inputs[0]].shape
        n = table[0] if len(table) == 2 else 0
        all_columns = n > 1 and node.shape == (n, n) and n != table[1]
        if node.dim == 0 if node.name == "Gather" else all_columns:
            yield from view.lines([i])


def _chosen_logits(view: _View) -> Iterator[Frame]:
    for i in view.named("Index", "Gather"):
        node = view.nodes[i]
        below = {view.nodes[n].name for n in view.below(i)}
        table = view.nodes[node.inputs[0]].shape if node.inputs[0] >= 0 else ()
        chooses = len(table) == 2 and node.shape[-1:] != table[-1:]
        if chooses and node.is_direct and not below & (_SOFTMAXES | {"Exp", "Sigmoid"}):
            yield from view.lines(k for k in [i] if view.depends[k] & _POLICY)


def _sum_over_actions(view: _View) -> Iterator[Frame]:
    for i in view.named("Sum", "Mean"):
        node = view.nodes[i]
        below = node.inputs[0]
        of_log = view.nodes[below].name in ("LogSoftmax", "Log")
        shape = view.nodes[below].shape
        if node.is_direct and of_log and len(shape) == 2 and node.shape == shape[:1]:
            yield from view.lines([i])


def _probability_weighted(view: _View) -> Iterator[Frame]:
    """Lines that take the probability which is multiplied with a weight."""
    for _, one, _ in view.weighted:
        path = list(view.arranged(one))
        for n in path:
            node = view.nodes[n]
            if node.name == "Exp" and node.is_direct:
                below = view.nodes[node.inputs[0]].name
                if below not in ("Sub", "Rsub"):
                    yield from view.lines([n])
            elif node.name in _CHOOSING and node.is_direct:
                if view.nodes[node.inputs[0]].name == "Softmax":
                    yield from view.lines([n])


def _entropy_added(view: _View) -> Iterator[Frame]:
    """Lines that add an entropy of torch.distributions to the loss."""
    nodes = view.nodes
    inner = {
        i
        for i, node in enumerate(nodes)
        if node.caller == "entropy" and not node.is_direct
    }
    if not inner:
        return
    paths: dict[int, set[tuple[int, ...]]] = {len(nodes) - 1: {()}}
    for i in range(len(nodes) - 1, -1, -1):
        reached = paths.pop(i, set())
        if i in inner:
            for added in reached:
                # Nothing negates it, and it is added once.
                if -1 not in added and len(added) == 1:
                    yield from view.lines(added)
            continue
        node = nodes[i]
        if not reached:
            continue
        of_policy = [k for k in node.inputs if k >= 0 and view.depends[k] & _POLICY]
        joins = node.name in ("Add", "Sub", "Rsub") and len(of_policy) == 2
        for k, sign in zip(node.inputs, node.signs, strict=False):
            if k < 0:
                continue
            # What negates it, and the sum that it enters.
            marks = [-1] * (sign <= 0) + [i] * joins
            paths.setdefault(k, set()).update((*p, *marks)[-2:] for p in reached)


_RULES: dict[str, Callable[[_View], Iterator[Frame]]] = {
    "broadcast_advantage": _table_of_advantages,
    "all_pairs": _table_of_log_probs,
    "value_not_detached": _value_in_weight,
    "next_value_not_detached": _two_values,
    "critic_sign_flipped": _negated_error,
    "softmax_over_batch": _softmax_of_rows,
    "double_softmax": _softmax_twice,
    "clamped_probability": _clamp,
    "binary_cross_entropy": _cross_entropy_of_one,
    "wrong_gather": _chosen,
    "logit": _chosen_logits,
    "all_actions": _sum_over_actions,
    "probability": _probability_weighted,
    "entropy_sign": _entropy_added,
}
