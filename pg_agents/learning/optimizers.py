"""Steps of an optimiser that cost as little as a small network is worth.

A network of a dozen small tensors takes longer to hand to an optimiser, one tensor
after the other, than to compute. What can be done to all of them at once is done here
on one long vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_PLAIN = {"momentum": 0, "weight_decay": 0, "centered": False, "maximize": False}


def clip_gradients(parameters: Sequence[Tensor], max_norm: float | None) -> Tensor:
    """Scales all gradients alike so that their norm is at most `max_norm`.

    `torch.nn.utils.clip_grad_norm_` by another way: `g *= min(1, max_norm / (|g| +
    1e-6))`, |g| being the Euclidean norm of all of them as one vector.

    Args:
        parameters: those without a gradient count for nothing.
        max_norm: bound, above 0; None or infinite for none.

    Returns:
        The norm before, a scalar.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(_flat(gradients))
    if max_norm is None or max_norm == math.inf:
        return norm
    scale = (max_norm / (norm + 1e-6)).clamp_(max=1.0)
    torch._foreach_mul_(gradients, scale)
    return norm


class FlatRMSprop(torch.optim.RMSprop):
    """`torch.optim.RMSprop`, to the bit, with one vector for all parameters.

    The averages of the squared gradients are parts of one vector; as state they look
    as in torch's own. With momentum, weight decay, centring or `maximize` the step is
    torch's.

    Reference: Tieleman and Hinton (2012), "Lecture 6.5: RMSprop"; Graves (2013),
    "Generating sequences with recurrent neural networks", equations 38 to 45.

    Args: as `torch.optim.RMSprop`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._joint: dict[int, tuple[Tensor, Tensor]] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Goes on from a copy or a checkpoint, which know nothing of long vectors."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._joint = {}

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Takes a step.

        Args:
            closure: computes the loss and its gradients; None if they are there.

        Returns:
            What `closure` returned.
        """
        plain = all(
            group[name] == value and all(p.grad is not None for p in group["params"])
            for group in self.param_groups
            for name, value in _PLAIN.items()
        )
        if closure is not None or not plain:
            result: float | None = super().step(closure)
            return result
        for index, group in enumerate(self.param_groups):
            self._step(index, group)
        return None

    def _step(self, index: int, group: dict[str, Any]) -> None:
        parameters: list[Tensor] = group["params"]
        gradients: list[Tensor] = [p.grad for p in parameters]  # type: ignore[misc]
        average, steps = self._joined(index, parameters)
        gradient = _flat(gradients)
        average.mul_(group["alpha"]).addcmul_(
            gradient, gradient, value=1.0 - group["alpha"]
        )
        parts = average.sqrt().add_(group["eps"]).split([p.numel() for p in parameters])
        roots = [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]
        torch._foreach_addcdiv_(parameters, gradients, roots, value=-group["lr"])
        steps += 1

    def _joined(self, index: int, parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns a group's averages and numbers of steps, of which its state is made.

        Whoever writes to the state, as torch's own step does, writes to these.
        """
        joint, first = self._joint.get(index), self.state[parameters[0]]
        if joint is None or (
            # Somebody has put tensors of their own into the state.
            "square_avg" not in first
            or first["square_avg"].data_ptr() != joint[0].data_ptr()
        ):
            joint = self._joint[index] = self._join(parameters)
        return joint

    def _join(self, parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
        kept = [self.state[p] for p in parameters]
        average = _flat(
            [
                state.get("square_avg", torch.zeros_like(p))
                for state, p in zip(kept, parameters, strict=True)
            ]
        )
        steps = torch.stack([state.get("step", torch.zeros(())) for state in kept])
        parts = average.split([p.numel() for p in parameters])
        for parameter, part, step in zip(parameters, parts, steps, strict=True):
            own = {"step": step, "square_avg": part.view_as(parameter)}
            self.state[parameter].update(own)
        return average, steps


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in tensors])
