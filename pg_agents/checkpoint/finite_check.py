"""Is there a number in a model that is not finite, so that no file may hold it?"""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.save_util import recursive_getattr
from torch import Tensor, nn

from pg_agents.common.nonfinite import first_nonfinite, named_weights, refuse_to_save


def check_model(model: BaseAlgorithm) -> None:
    """Raises unless what a checkpoint of a model holds is finite.

    Args:
        model: an algorithm of SB3's or ours.

    Raises:
        NonFiniteError: (a ValueError) naming the first tensor that is not.
    """
    refuse_to_save("model", nonfinite_in(model))


def nonfinite_in(model: BaseAlgorithm) -> str | None:
    """Returns a sentence on the first tensor of a model that is not finite, if any.

    Looked at are the parameters of its policies, the state of its optimisers, its
    replay memory, and the statistics of its `VecNormalize`. Buffers that a policy has
    registered are not: they may hold infinite masks.

    Args:
        model: an algorithm of SB3's or ours.

    Returns:
        See `pg_agents.common.nonfinite.first_nonfinite`.
    """
    modules, variables = model._get_torch_save_params()
    named: dict[str, Tensor] = {}
    for name in modules:
        part: Any = recursive_getattr(model, name)
        # As torch.compile wraps it.
        part = getattr(part, "_orig_mod", part)
        if isinstance(part, nn.Module):
            named |= named_weights(part, name)
        elif isinstance(part, torch.optim.Optimizer):
            named |= _optimizer_state(part, name, model.policy)
    for name in variables:
        value: Any = recursive_getattr(model, name)
        if isinstance(value, Tensor):
            named[name] = value
    memory: Any = getattr(model, "replay_memory", None)
    if hasattr(memory, "numbers"):
        named |= memory.numbers()
    return first_nonfinite(named | _statistics(model))


def _optimizer_state(
    optimizer: torch.optim.Optimizer, name: str, policy: nn.Module
) -> dict[str, Tensor]:
    keys = {id(each): repr(key) for key, each in policy.named_parameters()}
    return {
        f"{name} state {entry!r} of {keys.get(id(parameter), f'parameter {index}')}": (
            value
        )
        for index, (parameter, state) in enumerate(optimizer.state.items())
        for entry, value in state.items()
        if isinstance(value, Tensor)
    }


def _statistics(model: BaseAlgorithm) -> dict[str, Tensor]:
    normalize = model.get_vec_normalize_env()
    found: dict[str, Tensor] = {}
    for name in ("obs_rms", "ret_rms"):
        # vars(): asked for what it has not, a wrapper without environment recurses.
        kept = {} if normalize is None else vars(normalize).get(name)
        parts = kept if isinstance(kept, dict) else {"": kept}
        for key, part in parts.items():
            if isinstance(part, RunningMeanStd):
                of = f"VecNormalize's {name}" + (f"[{key!r}]" if key else "")
                found[f"{of}.mean"] = torch.as_tensor(part.mean)
                found[f"{of}.var"] = torch.as_tensor(part.var)
    return found
