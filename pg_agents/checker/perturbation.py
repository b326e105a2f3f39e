"""Another policy for a moment, to find out what a subject remembers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pg_agents.checker.task import Table

# Largest change of a probability: far enough to be noticed, near enough that episodes
# stay much as they are.
_LARGEST_CHANGE = 0.5


class Disturbance:
    """Parameters of another policy; in a `with` block they are in force.

    Args:
        parameters: of the policy.
        log_probs: returns log pi(a|s), `[S, A]`.
        seed: seeds the direction of the change.

    Attributes:
        policy: `[S, A]`, probabilities of the other policy.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        log_probs: Callable[[], Tensor],
        seed: int,
    ) -> None:
        self._parameters = list(parameters)
        self._own = [p.detach().clone() for p in parameters]
        generator = torch.Generator().manual_seed(seed)
        noise = [torch.randn(p.shape, generator=generator) for p in parameters]
        with torch.no_grad():
            before = log_probs().exp()
            scale = 2.0
            while True:
                self._other = [
                    own + scale * step.to(own)
                    for own, step in zip(self._own, noise, strict=True)
                ]
                with self:
                    after = log_probs().double().exp()
                if (after - before).abs().max() <= _LARGEST_CHANGE:
                    break
                scale /= 2.0
        self.policy: Table = (after / after.sum(dim=1, keepdim=True)).numpy()

    def __enter__(self) -> Disturbance:
        """Puts the other policy in force."""
        self._write(self._other)
        return self

    def __exit__(self, *_: object) -> None:
        """Puts the policy back."""
        self._write(self._own)

    def _write(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._parameters, values, strict=True):
                parameter.copy_(value)
