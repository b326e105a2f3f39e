"""Weights alone, in the safetensors format: nothing is unpickled to read them."""

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
from pg_agents.common.nonfinite import check_policy
from pg_agents.learning.critic import critic_names

# In the metadata: names of a tensor that has several, to the one it is stored under.
_ALIASES = "aliases"


def save_weights(
    model_or_policy: BaseAlgorithm | BasePolicy,
    path: str | Path,
    *,
    critic: bool = True,
) -> None:
    """Writes the weights of a policy, and nothing else, to a safetensors file.

    That is what `policy.state_dict()` holds: all networks of the policy, SB3's target
    networks among them, but no optimiser and no attribute of the algorithm. A tensor
    that the policy has under several names, as SB3's shared features extractor, is
    stored once. The metadata says which class, spaces and versions the file is from.

    Args:
        model_or_policy: an algorithm of SB3's or ours, or its policy.
        path: name of the file; `.safetensors` is added to a name without suffix. It
            appears whole or not at all.
        critic: whether to store what only the critic uses, too; acting needs none.

    Raises:
        TypeError: if it is neither algorithm nor policy; if the policy is none with an
            actor and a critic, and critic is False.
        ValueError: if the policy holds anything but tensors.
        NonFiniteError: (a ValueError) if a parameter that is stored is NaN or infinite;
            an old file of that name is as it was.
        OSError: if the file can't be written.
    """
    policy = _policy(model_or_policy)
    names: dict[tuple[Any, ...], str] = {}
    stored: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    tensors = _tensors(policy, critic)
    check_policy(policy, tensors)
    for name, tensor in tensors.items():
        first = names.setdefault(_place(tensor, name), name)
        if first == name:
            # A copy of its own: the format knows no views.
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
    """Puts the weights of a safetensors file into a policy, in place.

    Names, shapes and types are compared first: if they do not fit, nothing changes.

    Args:
        model_or_policy: an algorithm of SB3's or ours, or its policy.
        path: name of the file, with or without `.safetensors`.
        critic: as it was stored; with False the critic stays as it is.

    Raises:
        TypeError: if it is neither algorithm nor policy; if the policy is none with an
            actor and a critic, and critic is False.
        ValueError: if the file is damaged or no safetensors file, or does not fit.
        FileNotFoundError: if there is no such file.
    """
    policy = _policy(model_or_policy)
    own = _tensors(policy, critic)
    given = _read(path)
    _check_fit(own, given, path)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(given[name])


def _read(path: str | Path) -> dict[str, Tensor]:
    file = Path(path)
    if not file.exists():
        file = Path(f"{file}.safetensors")
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {path}, nor {file}")
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            # safetensors' objects offer no iteration, but keys().
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
            aliases = json.loads((opened.metadata() or {}).get(_ALIASES, "{}"))
        return tensors | {alias: tensors[name] for alias, name in aliases.items()}
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{file} is damaged, or no safetensors file: {error}"
        ) from error


def _check_fit(
    own: dict[str, Tensor], given: dict[str, Tensor], path: str | Path
) -> None:
    missing, unknown = sorted(own.keys() - given), sorted(given.keys() - own)
    if missing or unknown:
        raise ValueError(
            f"{path} is from another architecture: it lacks {missing or 'nothing'} and "
            f"has {unknown or 'nothing'} in addition"
        )
    places: dict[tuple[Any, ...], str] = {}
    for name, tensor in own.items():
        found = given[name]
        if (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"{path} is from another architecture: {name} is {list(found.shape)} "
                f"{found.dtype} there, and {list(tensor.shape)} {tensor.dtype} here"
            )
        first = places.setdefault(_place(tensor, name), name)
        if not torch.equal(given[first], found):
            raise ValueError(
                f"{path} does not fit: {first} and {name} are one tensor here, and "
                "differ there"
            )


def _place(tensor: Tensor, name: str) -> tuple[Any, ...]:
    """Returns what two names of one tensor have in common."""
    if tensor.numel() == 0:
        return (name,)
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _tensors(policy: BasePolicy, critic: bool) -> dict[str, Tensor]:
    # The tensors themselves, not copies; state_dict() says which are part of it.
    entries = policy.state_dict(keep_vars=True)
    others = [n for n, entry in entries.items() if not isinstance(entry, Tensor)]
    if others:
        raise ValueError(
            f"{type(policy).__name__} holds what is no tensor, which safetensors can't "
            f"store: {', '.join(others)}"
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


def _class_name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
