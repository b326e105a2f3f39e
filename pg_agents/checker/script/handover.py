"""Hands in gradients of a script that does not use torch.

A script in NumPy, JAX or Keras calls `hand_in` at each update; outside a check the call
does nothing.

    from pg_agents.checker.script import hand_in

    gradients = ...                        # of the loss that is descended
    if not hand_in(logits, parameters, gradients):
        parameters = [p - lr * g for p, g in zip(parameters, gradients)]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OutputsOf = Callable[[Sequence[NDArray[Any]], NDArray[Any]], Any]
Receiver = Callable[
    [OutputsOf, OutputsOf | None, list[NDArray[Any]], list[NDArray[Any]]], None
]

_receiver: Receiver | None = None


def receive(receiver: Receiver) -> None:
    """Sends what is handed in to a function, from now on."""
    global _receiver
    _receiver = receiver


def hand_in(
    logits: OutputsOf,
    parameters: Sequence[Any],
    gradients: Sequence[Any],
    values: OutputsOf | None = None,
) -> bool:
    """Hands in the gradient of one update.

    Args:
        logits: function `(parameters, observations)` that returns the logits
            `[N, A]` of the policy, or logarithms of its probabilities, for arrays like
            `parameters` and observations `[N, ...]`. It is differentiated numerically.
        parameters: the arrays that the gradient is for.
        gradients: arrays of the same shapes, the gradient of the loss.
        values: function with the same arguments that returns the critic's values
            `[N]`; None without a critic.

    Returns:
        Whether a check is running. Then the parameters must be left as they are.

    Raises:
        ValueError: if gradients and parameters have different shapes.
    """
    arrays = [np.asarray(parameter) for parameter in parameters]
    parts = [np.asarray(gradient) for gradient in gradients]
    shapes, expected = [p.shape for p in parts], [a.shape for a in arrays]
    if shapes != expected:
        raise ValueError(
            f"gradients must have the shapes of the parameters, {expected}, got "
            f"{shapes}"
        )
    if _receiver is None:
        return False
    _receiver(logits, values, arrays, parts)
    return True
