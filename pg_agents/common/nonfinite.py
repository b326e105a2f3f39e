"""Detection of NaN and infinite numbers, which stop the training with an error."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pg_agents.common.tree import Observation, leaves, select, tree_map

if TYPE_CHECKING:
    from pg_agents.rollout.data import Rollout


class NonFiniteError(ValueError):
    """A number that must be finite is NaN or infinite."""


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Returns whether no number of any tensor is NaN or infinite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def first_nonfinite(named: Mapping[str, Tensor]) -> str | None:
    """Describes the first tensor with a number that is not finite.

    Args:
        named: tensors of any shapes, dtypes and devices, by description.

    Returns:
        Such as "policy weight 'action_net.weight' has 3 of 128 entries NaN"; None if
        all numbers are finite.
    """
    if all_finite(named.values()):
        return None
    name, tensor = next(
        (name, tensor) for name, tensor in named.items() if not tensor.isfinite().all()
    )
    of = f" of {tensor.numel()} entries"
    counts = []
    for kind, mask in (("NaN", tensor.isnan()), ("infinite", tensor.isinf())):
        if mask.any():
            counts.append(f"{int(mask.sum())}{of} {kind}")
            of = ""
    return f"{name} has {' and '.join(counts)}"


def check_finite_policy(policy: nn.Module, names: Container[str] | None = None) -> None:
    """Raises a NonFiniteError unless the parameters of a policy can be saved.

    Args:
        policy: the policy.
        names: parameters to check; None for all.
    """
    refuse_to_save("policy", first_nonfinite(named_weights(policy, "policy", names)))


def refuse_to_save(kind: str, reason: str | None) -> None:
    """Raises a NonFiniteError if there is a reason not to save a model or policy."""
    if reason is not None:
        raise NonFiniteError(
            f"{reason}: the {kind} is not saved, and existing files are unchanged"
        )


def named_weights(
    module: nn.Module, module_name: str, names: Container[str] | None = None
) -> dict[str, Tensor]:
    """Returns a module's parameters, or those with `names`, by description."""
    return {
        f"{module_name} weight {name!r}": parameter
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if names is None or name in names
    }


def first_bad_input(rollout: Rollout) -> str | None:
    """Describes the first non-finite number of a complete rollout; None without one.

    An observation counts as bad if the policy computes a non-finite number from it:
    features extractors may map infinite observations to finite features.
    """
    # In order of time: the next observation is usually that of the next row.
    kinds = (
        ("observation", 0, rollout.values + rollout.log_probs),
        ("reward", 1, rollout.rewards),
        ("next observation", 3, rollout.next_values),
    )
    found = []
    for kind, half_steps, numbers in kinds:
        indices = (~numbers.isfinite() & rollout.recorded).nonzero()
        if len(indices) > 0:
            row, env = indices[0].tolist()
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
            f"the reward is {rollout.rewards[row, env].item()} {where}: check the "
            "environment's rewards"
        )
    value, log_prob = (
        numbers[row, env].item() for numbers in (rollout.values, rollout.log_probs)
    )
    if kind == "observation":
        obs = select(rollout.observations, (row, env))
        return (
            f"the observation {where} is {_describe(obs)}, for which the policy "
            f"computes value {value} and log-probability {log_prob}: {_advice(obs)}"
        )
    return (
        f"the value of the next observation {where} is "
        f"{rollout.next_values[row, env].item()}: check the observation that the "
        "environment returns there (where an episode is truncated, the final one)"
    )


def bad_observation(observations: Observation) -> str | None:
    """Describes the first observation that is not finite; None without one.

    Args:
        observations: `[N, *obs_shape]`, an array, a tensor or a dict of these.
    """
    observations = tree_map(torch.as_tensor, observations)
    finite = [part.isfinite().flatten(1).all(1) for part in leaves(observations)]
    envs = (~torch.stack(finite).all(0)).nonzero().flatten().tolist()
    if not envs:
        return None
    obs = select(observations, envs[0])
    return (
        f"the observation of environment {envs[0]} is {_describe(obs)}: {_advice(obs)}"
    )


def acting_error(error: Exception, observations: Observation) -> Exception:
    """Returns a NonFiniteError about the first bad observation, if there is one.

    Args:
        error: the policy's exception, returned if all observations are finite.
        observations: `[N, *obs_shape]`, an array, a tensor or a dict of these.
    """
    bad = bad_observation(observations)
    return error if bad is None else NonFiniteError(f"the policy can't act: {bad}")


def check_actions(actions: Any, observations: Observation) -> None:  # noqa: ANN401
    """Raises a NonFiniteError naming the first environment with a non-finite action.

    Args:
        actions: `[N, *action_shape]`, an array or a tensor on the CPU.
        observations: `[N, *obs_shape]`, the policy's inputs.
    """
    finite = np.isfinite(np.asarray(actions))
    if finite.all():
        return
    env = int(np.argmin(finite.reshape(len(finite), -1).all(1)))
    cause = bad_observation(observations) or "check the policy's weights"
    raise NonFiniteError(
        f"the action for environment {env} is {np.asarray(actions)[env]}: {cause}"
    )


def _describe(obs: Observation) -> str:
    """Describes the first non-finite number of an observation."""
    if isinstance(obs, dict):
        bad = [
            f"{key!r} {_describe(part)}"
            for key, part in obs.items()
            if not part.isfinite().all()
        ]
        return "a dict with " + ", ".join(bad) if bad else "finite"
    indices = (~obs.flatten().isfinite()).nonzero()
    if len(indices) == 0:
        return "finite"
    index = int(indices[0])
    return f"{obs.flatten()[index].item()} at index {index}"


def _advice(obs: Observation) -> str:
    if all_finite(leaves(obs)):
        return "check the policy's weights and the scale of the observation"
    return "check the observations that the environment returns"
