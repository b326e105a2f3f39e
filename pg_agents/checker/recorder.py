"""Records the gradients that reach an optimiser, without letting it step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook


class RecordedStep(NamedTuple):
    """The gradient of one step of an optimiser.

    Attributes:
        gradient: `[P]`, all recorded parameters flattened and concatenated, 0 for those
            without a gradient.
        rows: the recorder's `rows` at that time.
    """

    gradient: Tensor
    rows: NDArray[np.int64] | None


class GradientRecorder:
    """Records the gradients that optimisers would have descended along.

    Args:
        parameters: parameters whose gradients are recorded.

    Attributes:
        rows: indices of the steps of the mini-batch in use; None if unknown.
        norms: norm of the gradient of all parameters of the optimiser, recorded or
            not, for each of its steps.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._index = {id(p): i for i, p in enumerate(parameters)}
        self._sizes = [p.numel() for p in parameters]
        self._steps: list[RecordedStep] = []
        self.rows: NDArray[np.int64] | None = None
        self.norms: list[float] = []

    def pop(self) -> list[RecordedStep]:
        """Returns the steps since the last call, and forgets them.

        Steps in which no recorded parameter had a gradient are left out.
        """
        steps, self._steps = self._steps, []
        return steps

    def add(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]
    ) -> None:
        """Adds the gradients of one step.

        Args:
            parameters: any; those that are not recorded are skipped.
            gradients: one for each parameter, with the same number of elements, or
                None.
        """
        parts = [torch.zeros(size) for size in self._sizes]
        is_recorded = False
        for parameter, gradient in zip(parameters, gradients, strict=True):
            i = self._index.get(id(parameter))
            if i is not None and gradient is not None:
                parts[i] = gradient.detach().flatten()
                is_recorded = True
        if is_recorded:
            # Copies: optimisers and losses write to gradients in place.
            self._steps.append(RecordedStep(torch.cat(parts), self.rows))

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
def record_gradients(
    parameters: Sequence[nn.Parameter], recorder: GradientRecorder | None = None
) -> Iterator[GradientRecorder]:
    """Records gradients; `step()` of any optimiser has no effect meanwhile.

    Args:
        parameters: parameters whose gradients are recorded.
        recorder: one for the same parameters to continue with; None for a new one.
    """
    recorder = recorder or GradientRecorder(parameters)
    hook = register_optimizer_step_pre_hook(recorder._pre_step_hook)
    try:
        yield recorder
    finally:
        hook.remove()
