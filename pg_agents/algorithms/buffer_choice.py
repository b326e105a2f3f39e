"""Which buffer is meant by `rollout_buffer_class`, and what it is made with."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from pg_agents.algorithms.sb3_arguments import check_mapping
from pg_agents.common.checks import RefusedError
from pg_agents.rollout.buffer import TrajectoryBuffer

# SB3's own buffers mean "the ordinary one" here.
_STOCK = (None, RolloutBuffer, DictRolloutBuffer)
# What SB3's algorithms tell their buffers, so that a user may not.
_TOLD_BY_THE_MODEL = (
    "buffer_size",
    "observation_space",
    "action_space",
    "device",
    "gamma",
    "gae_lambda",
    "n_envs",
)


def check_buffer_class(given: object) -> None:
    """Raises a ValueError unless `given` can be a model's `rollout_buffer_class`."""
    ours = isinstance(given, type) and issubclass(given, TrajectoryBuffer)
    if not ours and given not in _STOCK:
        raise ValueError(
            "rollout_buffer_class must be a subclass of pg_agents.TrajectoryBuffer, or "
            "None or SB3's RolloutBuffer or DictRolloutBuffer for the ordinary one, "
            f"got {given!r}: a buffer of SB3's kind adds values to the rewards"
        )


def make_buffer(
    given: type[Any] | None,
    arguments: dict[str, Any],
    observation_space: spaces.Space[Any],
    device: torch.device,
) -> TrajectoryBuffer:
    """Returns an empty buffer.

    The errors are of SB3's types, for scripts that count on them.

    Args:
        given: what the user passed as `rollout_buffer_class`.
        arguments: `rollout_buffer_kwargs`, further arguments of that class.
        observation_space: observation space of the model.
        device: device of the model.

    Raises:
        ValueError: see `check_buffer_class`.
        TypeError: if an argument is unknown, or is not the user's to give.
        RefusedError: if `DictRolloutBuffer` is asked for without a `Dict` space.
    """
    check_buffer_class(given)
    check_mapping("rollout_buffer_kwargs", arguments)
    if given not in _STOCK:
        return _made(given, device, arguments)
    for name in _TOLD_BY_THE_MODEL:
        if name in arguments:
            raise TypeError(
                f"rollout_buffer_kwargs got multiple values for keyword argument "
                f"{name!r}: the model gives it, so {arguments[name]!r} can't be given"
            )
    if given is DictRolloutBuffer and not isinstance(observation_space, spaces.Dict):
        raise RefusedError(
            "rollout_buffer_class: DictRolloutBuffer must be used with Dict obs space "
            f"only, got {observation_space}: leave it out"
        )
    return _made(TrajectoryBuffer, device, arguments)


def _made(
    buffer_class: Any,  # noqa: ANN401
    device: torch.device,
    arguments: dict[str, Any],
) -> TrajectoryBuffer:
    try:
        buffer: TrajectoryBuffer = buffer_class(device, **arguments)
    except TypeError as error:
        raise TypeError(
            f"rollout_buffer_kwargs={arguments!r} do not go with "
            f"rollout_buffer_class={buffer_class.__name__}: {error}"
        ) from error
    return buffer
