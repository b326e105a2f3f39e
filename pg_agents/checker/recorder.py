"""Records the gradients that reach an optimiser, without letting it step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook


class GradientRecorder:
    """Accumulates the gradients that optimisers would have descended along.

    Args:
        parameters: parameters whose gradients are recorded.

    Attributes:
        norms: norm of the gradient of all parameters of the optimiser, recorded or
            not, for each of its steps.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._index = {id(p): i for i, p in enumerate(self._parameters)}
        self._clear()
        self.norms: list[float] = []

    def _clear(self) -> None:
        self._sums: list[Tensor | None] = [None] * len(self._parameters)
        self._counts = [0] * len(self._parameters)

    def pop_mean(self) -> Tensor | None:
        """Returns the mean gradient since the last call, and clears it.

        The mean of each parameter is over the steps in which it had a gradient, so a
        rollout that is processed in several minibatches counts as their average.

        Returns:
            `[P]`, all recorded parameters flattened and concatenated, 0 for parameters
            without a gradient; None if no parameter had one.
        """
        if not any(self._counts):
            return None
        means = [
            torch.zeros_like(p).flatten() if total is None else total / count
            for p, total, count in zip(
                self._parameters, self._sums, self._counts, strict=True
            )
        ]
        self._clear()
        return torch.cat(means)

    def add(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]
    ) -> None:
        """Adds the gradients of one step.

        Args:
            parameters: any; those that are not recorded are skipped.
            gradients: one for each parameter, with the same number of elements, or
                None.
        """
        for parameter, gradient in zip(parameters, gradients, strict=True):
            i = self._index.get(id(parameter))
            if i is not None and gradient is not None:
                flat, total = gradient.detach().flatten(), self._sums[i]
                self._sums[i] = flat.clone() if total is None else total + flat
                self._counts[i] += 1

    def _pre_step_hook(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Records and removes the gradients, also those that a closure computes."""

        def wrap(closure: Any) -> Any:  # noqa: ANN401
            def run() -> Any:  # noqa: ANN401
                loss = closure()
                self._take(optimizer)
                return loss

            return run if callable(closure) else closure

        self._take(optimizer)
        return (
            (args[0], *(wrap(arg) for arg in args[1:])),
            {name: wrap(value) for name, value in kwargs.items()},
        )

    def _take(self, optimizer: Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if gradients:
            norms = torch.stack([gradient.detach().norm() for gradient in gradients])
            self.norms.append(float(norms.norm()))
        self.add(parameters, [p.grad for p in parameters])
        for parameter in parameters:
            # Optimisers skip parameters without a gradient, and their state too.
            parameter.grad = None


@contextmanager
def record_gradients(parameters: Sequence[nn.Parameter]) -> Iterator[GradientRecorder]:
    """Records gradients; `step()` of any optimiser has no effect meanwhile."""
    recorder = GradientRecorder(parameters)
    hook = register_optimizer_step_pre_hook(recorder._pre_step_hook)
    try:
        yield recorder
    finally:
        hook.remove()
