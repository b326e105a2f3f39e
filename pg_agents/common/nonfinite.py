"""Numbers that are not finite (NaN or infinite) stop the training with an error."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pg_agents.common.tree import Observation, tree_map

if TYPE_CHECKING:
    from pg_agents.rollout.data import Rollout


class NonFiniteError(ValueError):
    """A number that must be finite is NaN or infinite."""


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the Euclidean norm of all tensors as one vector, a scalar.

    It is finite if they all are and their squares do not overflow. For many small
    tensors it takes about as long as for one.

    Args:
        tensors: at least one, of floating point.
    """
    flat = torch.cat([each.detach().flatten() for each in tensors])
    norm: Tensor = torch.linalg.vector_norm(flat)
    return norm


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Returns whether no number of any tensor is NaN or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def first_nonfinite(named: Mapping[str, Tensor]) -> str | None:
    """Returns a sentence on the first tensor with a number that is not finite.

    Args:
        named: tensors of any shapes, dtypes and devices, by what to call them.

    Returns:
        Such as "policy weight 'action_net.weight' has 3 of 128 entries NaN"; None if
        all numbers are finite.
    """
    if all_finite(named.values()):
        return None
    name, tensor = next(
        (name, each) for name, each in named.items() if not each.isfinite().all()
    )
    of = f" of {tensor.numel()} entries"
    counts = []
    for what, found in (("NaN", tensor.isnan()), ("infinite", tensor.isinf())):
        if found.any():
            counts.append(f"{int(found.sum())}{of} {what}")
            of = ""
    return f"{name} has {' and '.join(counts)}"


def check_policy(policy: nn.Module, stored: Container[str] | None = None) -> None:
    """Raises unless the parameters of a policy are finite.

    Args:
        policy: the policy.
        stored: names of the parameters to check; None for all.

    Raises:
        NonFiniteError: (a ValueError) naming the first parameter that is not finite.
    """
    refuse_to_save("policy", first_nonfinite(named_weights(policy, "policy", stored)))


def refuse_to_save(what: str, reason: str | None) -> None:
    """Raises a NonFiniteError if there is a reason not to save a model or policy."""
    if reason is not None:
        raise NonFiniteError(
            f"{reason}: the {what} is not saved, and existing files are unchanged"
        )


def named_weights(
    module: nn.Module, name: str, stored: Container[str] | None = None
) -> dict[str, Tensor]:
    """Returns the parameters of a module by description.

    Args:
        module: the module.
        name: its name in descriptions.
        stored: names of the parameters to return; None for all.
    """
    return {
        f"{name} weight {key!r}": parameter
        for key, parameter in module.named_parameters(remove_duplicate=False)
        if stored is None or key in stored
    }


def first_bad_input(rollout: Rollout) -> str | None:
    """Returns a sentence on the first non-finite step of a rollout, or None.

    An observation counts as bad if the policy computes a non-finite number from it: a
    features extractor may handle infinite observations.

    Args:
        rollout: a complete rollout.
    """
    # In time order: the observation after a step is usually that of the next row.
    kinds = (
        ("observation", 0, rollout.values + rollout.log_probs),
        ("reward", 1, rollout.rewards),
        ("next observation", 3, rollout.next_values),
    )
    found = []
    for kind, half_steps, numbers in kinds:
        places = (_bad(numbers) & rollout.recorded).nonzero()
        if len(places) > 0:
            row, env = places[0].tolist()
            found.append((2 * row + half_steps, row, env, kind))
    if not found:
        return None
    _, row, env, kind = min(found)
    step = int(rollout.episode_steps[row, env])
    where = (
        f"in environment {env} at step {row} of the rollout (step {step} of its "
        "episode)"
    )
    if kind == "reward":
        return (
            f"the reward is {rollout.rewards[row, env].item()} {where}: look at the "
            "environment's reward"
        )
    value, log_prob = (
        numbers[row, env].item() for numbers in (rollout.values, rollout.log_probs)
    )
    if kind == "observation":
        obs = tree_map(lambda column: column[row, env], rollout.observations)
        return (
            f"the observation {where} is {_described(obs)}, and the policy makes value "
            f"{value} and log-probability {log_prob} of it: {_advice(obs)}"
        )
    return (
        f"the value of the observation that followed {where} is "
        f"{rollout.next_values[row, env].item()}: look at what the environment returns "
        "there (where an episode is truncated, its last observation)"
    )


def bad_observation(observations: Observation) -> str | None:
    """Returns a sentence on the first observation that is not finite, or None.

    Args:
        observations: `[N, *obs_shape]`, or a dict of such tensors.
    """
    parts = observations.values() if isinstance(observations, dict) else [observations]
    bad = torch.stack([_bad(part).flatten(1).any(1) for part in parts]).any(0)
    envs = bad.nonzero().flatten().tolist()
    if not envs:
        return None
    seen = tree_map(lambda each: each[envs[0]], observations)
    return (
        f"the observation of environment {envs[0]} is {_described(seen)}: "
        f"{_advice(seen)}"
    )


def acting_error(error: Exception, observations: Observation) -> Exception:
    """Returns an error that names the observation which a policy could not act on.

    Args:
        error: what the policy raised; it is returned if observations are finite.
        observations: `[N, *obs_shape]`, or a dict of such tensors.
    """
    bad = bad_observation(observations)
    return error if bad is None else NonFiniteError(f"the policy can't act: {bad}")


def check_actions(actions: Any, observations: Observation) -> None:  # noqa: ANN401
    """Raises an error if an action is not finite, before an environment gets it.

    Args:
        actions: `[N, *action_shape]`, an array or a tensor on the CPU.
        observations: `[N, *obs_shape]`, what the policy saw, as tensors.

    Raises:
        NonFiniteError: if one is NaN or infinite; it says in which environment.
    """
    finite = np.isfinite(np.asarray(actions))
    if finite.all():
        return
    env = int(np.argmin(finite.reshape(len(finite), -1).all(1)))
    cause = bad_observation(observations) or "look at the policy's weights"
    raise NonFiniteError(
        f"the action for environment {env} is {np.asarray(actions)[env]}: {cause}"
    )


def _bad(numbers: Tensor) -> Tensor:
    return ~torch.isfinite(numbers)


def _described(seen: Observation) -> str:
    """Returns the numbers of an observation that are not finite, in words."""
    if isinstance(seen, dict):
        bad = [
            f"{key!r} {_described(part)}" for key, part in seen.items() if _any(part)
        ]
        return "a dict with " + ", ".join(bad) if bad else "finite"
    if not _any(seen):
        return "finite"
    entries = seen.flatten()
    index = int(_bad(entries).nonzero()[0])
    return f"{entries[index].item()} at index {index}"


def _advice(seen: Observation) -> str:
    parts = seen.values() if isinstance(seen, dict) else [seen]
    if any(_any(part) for part in parts):
        return "look at what the environment returns"
    return "look at the policy's weights and the size of the observation"


def _any(numbers: Any) -> bool:  # noqa: ANN401
    return bool(_bad(numbers).any())
