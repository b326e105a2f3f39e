"""Weights alone, in the safetensors format: reading them unpickles nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import Tensor

from pg_agents.checkpoint.archive import versions
from pg_agents.common.checks import kind_of
from pg_agents.common.files import write_whole
from pg_agents.common.nonfinite import check_finite_policy
from pg_agents.learning.critic import critic_names

# Key of the metadata that maps further names of a tensor to the stored one.
_ALIASES = "aliases"


def save_weights(
    model_or_policy: BaseAlgorithm | BasePolicy,
    path: str | Path,
    *,
    critic: bool = True,
) -> None:
    """Writes the weights of a policy to a safetensors file, and nothing else.

    These are `policy.state_dict()`: all networks of the policy, target networks
    included, but no optimiser and no attribute of the algorithm. A tensor with several
    names, as in SB3's shared features extractor, is stored once. The metadata contains
    class, spaces and versions.

    Args:
        model_or_policy: an algorithm of SB3 or pg_agents, or its policy.
        path: name of the file; `.safetensors` is added to a name without suffix. The
            file is written atomically.
        critic: whether to store tensors that only the critic uses.

    Raises:
        TypeError: if it is neither an algorithm nor a policy; with `critic=False`, if
            the policy is no ActorCriticPolicy.
        ValueError: if the policy's state contains anything but tensors.
        NonFiniteError: (a ValueError) if a stored parameter is NaN or infinite; an
            existing file is unchanged.
        OSError: if the file can't be written.
    """
    policy = _policy(model_or_policy)
    tensors = _tensors(policy, critic)
    check_finite_policy(policy, tensors)
    names: dict[tuple[Any, ...], str] = {}
    stored: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        first = names.setdefault(_storage(tensor, name), name)
        if first == name:
            # The format has no views.
            stored[name] = tensor.detach().cpu().clone().contiguous()
        else:
            aliases[name] = first
    metadata = {
        "class": _class_name(model_or_policy),
        "policy_class": _class_name(policy),
        "observation_space": str(policy.observation_space),
        "action_space": str(policy.action_space),
        "versions": json.dumps(versions()),
        _ALIASES: json.dumps(aliases),
    }
    write_whole(path, to_safetensors(stored, metadata), "safetensors")


def load_weights(
    model_or_policy: BaseAlgorithm | BasePolicy,
    path: str | Path,
    *,
    critic: bool = True,
) -> None:
    """Copies the weights of a safetensors file into a policy.

    If names, shapes or dtypes do not fit, nothing changes.

    Args:
        model_or_policy: an algorithm of SB3 or pg_agents, or its policy.
        path: name of the file, with or without `.safetensors`.
        critic: as in `save_weights`; with False the critic is unchanged.

    Raises:
        TypeError: as `save_weights`.
        ValueError: if the file is damaged or no safetensors file, or does not fit.
        FileNotFoundError: if there is no such file.
    """
    tensors = _tensors(_policy(model_or_policy), critic)
    saved = _read(path)
    _check_fit(tensors, saved, path)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(saved[name])


def _read(path: str | Path) -> dict[str, Tensor]:
    file = Path(path)
    if not file.exists():
        file = Path(f"{file}.safetensors")
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {path}, nor {file}")
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            # The object is not iterable.
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
            aliases = json.loads((opened.metadata() or {}).get(_ALIASES, "{}"))
        return tensors | {alias: tensors[name] for alias, name in aliases.items()}
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{file} is damaged, or no safetensors file: {error}"
        ) from error


def _check_fit(
    tensors: dict[str, Tensor], saved: dict[str, Tensor], path: str | Path
) -> None:
    missing, unknown = sorted(tensors.keys() - saved), sorted(saved.keys() - tensors)
    if missing or unknown:
        raise ValueError(
            f"{path} is from another architecture: it lacks {missing or 'nothing'} and "
            f"has {unknown or 'nothing'} in addition"
        )
    names: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        found = saved[name]
        if (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"{path} is from another architecture: {name} is {list(found.shape)} "
                f"{found.dtype} there, and {list(tensor.shape)} {tensor.dtype} here"
            )
        first = names.setdefault(_storage(tensor, name), name)
        if not torch.equal(saved[first], found):
            raise ValueError(
                f"{path} does not fit: {first} and {name} share one tensor here, and "
                "differ there"
            )


def _storage(tensor: Tensor, name: str) -> tuple[Any, ...]:
    """Returns a key that is equal for two names of one tensor."""
    if tensor.numel() == 0:
        return (name,)
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _tensors(policy: BasePolicy, critic: bool) -> dict[str, Tensor]:
    """Returns the tensors of `state_dict()` without copying them."""
    entries = policy.state_dict(keep_vars=True)
    others = [n for n, entry in entries.items() if not isinstance(entry, Tensor)]
    if others:
        raise ValueError(
            f"safetensors stores tensors only, and {type(policy).__name__} has other "
            f"state: {', '.join(others)}"
        )
    if critic:
        return dict(entries)
    if not isinstance(policy, ActorCriticPolicy):
        raise TypeError(
            "critic=False needs an ActorCriticPolicy, as REINFORCE, ActorCritic, A2C "
            f"and PPO have, got {type(policy).__name__}"
        )
    left_out = critic_names(policy)
    return {name: entry for name, entry in entries.items() if name not in left_out}


def _policy(model_or_policy: object) -> BasePolicy:
    policy = getattr(model_or_policy, "policy", model_or_policy)
    if not isinstance(policy, BasePolicy):
        raise TypeError(
            "save_weights and load_weights take an algorithm or a policy of "
            f"Stable-Baselines3, got {kind_of(model_or_policy)}"
        )
    return policy


def _class_name(instance: object) -> str:
    return f"{type(instance).__module__}.{type(instance).__qualname__}"
