"""Messages between the training and the viewer, a process of its own.

They are pickled: the training starts the viewer itself, so both ends run the same code
with the same rights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Parameters = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Setup:
    """Start of a training.

    Attributes:
        title: algorithm and environment.
        env: a pickled function without arguments that makes the environment with
            `render_mode="rgb_array"`; None where it can't be made again.
        no_env: why there is none.
        policy: a pickled function without arguments that builds the policy.
        wrappers: what the training does to observations, from the inside out:
            "normalize", "stack:4", "transpose".
        gamma: discount factor.
        n_timesteps: steps so far; 0 for a new training.
    """

    title: str
    env: bytes | None
    no_env: str
    policy: bytes | None
    wrappers: tuple[str, ...]
    gamma: float
    n_timesteps: int


@dataclass(frozen=True)
class Update:
    """News of the training since the last message.

    Attributes:
        timesteps: steps so far.
        updates: updates so far.
        total_timesteps: number of steps of the training; None if a callback ends it.
        returns: undiscounted returns of the episodes that have ended since, [E].
        return_timesteps: number of steps at the end of each, [E].
        rewards: rewards of the last finished episode of the first environment, [T];
            None if none has ended since.
        running_rewards: those of its present episode while none has ended at all;
            None afterwards.
        parameters: of the policy by name, before the last update; None for none.
        gradients: that the last update has left in the parameters, by name, of the
            loss; None for none.
        observations: mean and variance of a `VecNormalize`, its epsilon and the bound
            it clips to; None without one.
    """

    timesteps: int
    updates: int
    total_timesteps: int | None
    returns: NDArray[np.float64]
    return_timesteps: NDArray[np.int64]
    rewards: NDArray[np.float64] | None = None
    running_rewards: NDArray[np.float64] | None = None
    parameters: Parameters | None = None
    gradients: Parameters | None = None
    observations: tuple[Any, Any, float, float] | None = None


@dataclass(frozen=True)
class State:
    """What the training is doing: "running", "paused", or "ended".

    Attributes:
        name: one of these.
        updates_per_second: limit of the speed; None for none.
    """

    name: str
    updates_per_second: float | None = None


@dataclass(frozen=True)
class Close:
    """End of the viewer; a film is written first."""


@dataclass(frozen=True)
class CountFrames:
    """Asks for the number of frames drawn so far."""


@dataclass(frozen=True)
class Command:
    """What the viewer asks of the training, or reports.

    Attributes:
        name: "ready" when training may start; "read" after each `Update`; "pause",
            "step", "slower", "faster" and "quit" for keys; "saved" for a picture or a
            film; "filming" where there is no screen after all; "picture" for a frame of
            a notebook; "frames" in answer to `CountFrames`; "failed".
        text: of "saved" and "filming" the path, of "frames" their number, of "failed"
            the reason.
        picture: a PNG.
    """

    name: str
    text: str = ""
    picture: bytes = field(default=b"", repr=False)
