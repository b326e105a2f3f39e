"""The gradient that a train step computes, taken before an optimiser can use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook


class GradientTap:
    """Collects what optimisers would have descended along.

    Args:
        parameters: the ones to watch.

    Attributes:
        norms: for every step of an optimiser, the length of the gradient of all its
            parameters, watched or not.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._index = {id(p): i for i, p in enumerate(self._parameters)}
        self._sums: list[Tensor | None] = [None] * len(self._parameters)
        self._counts = [0] * len(self._parameters)
        self.norms: list[float] = []

    def drain(self) -> Tensor | None:
        """Returns the mean gradient over the steps since the last call, and forgets.

        Each parameter's mean is over the steps that had a gradient for it: a rollout
        that is learnt from in several mini-batches counts as their average.

        Returns:
            `[P]`, all watched parameters in a row, 0 where one had no gradient; None if
            none of them ever had one.
        """
        if not any(self._counts):
            return None
        means = [
            torch.zeros_like(p).flatten() if total is None else total / count
            for p, total, count in zip(
                self._parameters, self._sums, self._counts, strict=True
            )
        ]
        self._sums = [None] * len(self._parameters)
        self._counts = [0] * len(self._parameters)
        return torch.cat(means)

    def before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Takes the gradients away, those too that a closure computes in the step."""

        def wrapped(closure: Any) -> Any:  # noqa: ANN401
            def computed() -> Any:  # noqa: ANN401
                loss = closure()
                self.take(optimizer)
                return loss

            return computed if callable(closure) else closure

        self.take(optimizer)
        return (
            (args[0], *(wrapped(a) for a in args[1:])),
            {name: wrapped(value) for name, value in kwargs.items()},
        )

    def take(self, optimizer: Optimizer) -> None:
        """Takes the gradients of all the optimiser's parameters away from it.

        An optimiser leaves a parameter without a gradient alone, and its own state too.
        """
        watched = [p for group in optimizer.param_groups for p in group["params"]]
        parts = [p.grad for p in watched if p.grad is not None]
        if parts:
            lengths = torch.stack([part.detach().norm() for part in parts])
            self.norms.append(float(lengths.norm()))
        for group in optimizer.param_groups:
            self.record(group["params"], [p.grad for p in group["params"]])
            for parameter in group["params"]:
                parameter.grad = None

    def record(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]
    ) -> None:
        """Notes gradients that some parameters would have been moved against.

        Args:
            parameters: any; those that are not watched are skipped.
            gradients: one for each, of as many numbers, or None.
        """
        for parameter, gradient in zip(parameters, gradients, strict=True):
            i = self._index.get(id(parameter))
            if i is not None and gradient is not None:
                taken, kept = gradient.detach().flatten(), self._sums[i]
                self._sums[i] = taken.clone() if kept is None else kept + taken
                self._counts[i] += 1


@contextmanager
def tap_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[GradientTap]:
    """Keeps every optimiser from changing anything, and collects its gradients.

    Inside the `with` block `optimizer.step()` has no effect, whichever the optimiser.

    Args:
        parameters: the ones whose gradients are collected.

    Yields:
        The tap; `drain()` returns what came since it was last asked.
    """
    tap = GradientTap(parameters)
    hook = register_optimizer_step_pre_hook(tap.before_step)
    try:
        yield tap
    finally:
        hook.remove()
