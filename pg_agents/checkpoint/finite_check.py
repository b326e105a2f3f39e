"""Refuses to save a model with numbers that are NaN or infinite."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.save_util import recursive_getattr
from torch import Tensor, nn

from pg_agents.common.nonfinite import (
    first_nonfinite,
    named_weights,
    refuse_to_save,
)


def check_model(model: BaseAlgorithm) -> None:
    """Raises a NonFiniteError, a ValueError, as described by `nonfinite_in`."""
    refuse_to_save("model", nonfinite_in(model))


def nonfinite_in(model: BaseAlgorithm) -> str | None:
    """Describes the first tensor of a model, SB3's or ours, that is not finite.

    Checks the parameters of its policies, the state of its optimisers, its replay
    memory, and the statistics of its `VecNormalize`. Registered buffers are not
    checked: masks may be infinite.

    Returns:
        A sentence, see `pg_agents.common.nonfinite.first_nonfinite`; None if all are
        finite.
    """
    modules, variables = model._get_torch_save_params()
    tensors: dict[str, Tensor] = {}
    for name in modules:
        part: Any = recursive_getattr(model, name)
        # torch.compile wraps modules.
        part = getattr(part, "_orig_mod", part)
        if isinstance(part, nn.Module):
            tensors |= named_weights(part, name)
        elif isinstance(part, torch.optim.Optimizer):
            tensors |= _optimizer_state(part, name, model.policy)
    for name in variables:
        value: Any = recursive_getattr(model, name)
        if isinstance(value, Tensor):
            tensors[name] = value
    memory: Any = getattr(model, "replay_memory", None)
    if hasattr(memory, "numbers"):
        tensors |= memory.numbers()
    return first_nonfinite(tensors | _statistics(model))


def _optimizer_state(
    optimizer: torch.optim.Optimizer, name: str, policy: nn.Module
) -> dict[str, Tensor]:
    names = {id(parameter): repr(key) for key, parameter in policy.named_parameters()}
    return {
        f"{name} state {key!r} of {names.get(id(parameter), f'parameter {i}')}": value
        for i, (parameter, state) in enumerate(optimizer.state.items())
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def _statistics(model: BaseAlgorithm) -> dict[str, Tensor]:
    normalize = model.get_vec_normalize_env()
    tensors: dict[str, Tensor] = {}
    for name in ("obs_rms", "ret_rms"):
        # vars(): without an environment, getattr() for a missing name recurses.
        rms = {} if normalize is None else vars(normalize).get(name)
        parts = rms if isinstance(rms, dict) else {"": rms}
        for key, part in parts.items():
            if isinstance(part, RunningMeanStd):
                label = f"VecNormalize's {name}" + (f"[{key!r}]" if key else "")
                tensors[f"{label}.mean"] = torch.as_tensor(part.mean)
                tensors[f"{label}.var"] = torch.as_tensor(part.var)
    return tensors
