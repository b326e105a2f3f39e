"""What a subject did: the transitions that it saw, and the gradient of each update.

The gradient of an update is *decoded*: it is the derivative of the loss by the outputs
of the policy in each state (and by the value of each state), which no longer depends on
the network. A record is what `identify` fits formulas to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pg_agents.checker.task import Array, Task

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
# Distribution of the policy: logits per action, or mean and log standard deviation per
# dimension of the action.
Family = Literal["categorical", "gaussian"]


@dataclass(frozen=True)
class Transitions:
    """K transitions in the order in which they were produced.

    Vector steps follow one another, and within a vector step the environments.

    Attributes:
        state: `[K]` int64.
        action: `[K]` int64, or `[K, D]` float64 for a Gaussian policy: the action
            whose log-probability belongs to the step, before any clipping.
        reward: `[K]` float64.
        next_state: `[K]` int64, the true successor, also at the end of an episode.
        terminated: `[K]` bool.
        truncated: `[K]` bool.
        env: `[K]` int64, index of the environment.
        episode: `[K]` int64, unique among all environments.
        time: `[K]` int64, time step within the episode.
        clipped: `[K, D]` float64, the action as the environment received it, for a
            Gaussian policy; None if it is the same.
        reset: `[K]` bool, whether the step only resets the environment after the end of
            an episode (next-step autoreset): `state` is the final state, `next_state`
            the initial one, and the step belongs to no episode. None if there is none.
    """

    state: IntArray
    action: IntArray | Array
    reward: Array
    next_state: IntArray
    terminated: BoolArray
    truncated: BoolArray
    env: IntArray
    episode: IntArray
    time: IntArray
    clipped: Array | None = None
    reset: BoolArray | None = None

    def __post_init__(self) -> None:
        """Checks that all columns have the same length.

        Raises:
            ValueError: if they do not.
        """
        lengths = {
            name: len(column)
            for name, column in vars(self).items()
            if column is not None
        }
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"all columns of transitions must have the same length, got {lengths}"
            )

    def __len__(self) -> int:
        """Number of transitions, K."""
        return len(self.state)


@dataclass(frozen=True)
class Update:
    """The decoded gradient of one update: one step of the policy's optimiser.

    Attributes:
        first: index of the first transition of the window that the update could use.
        last: index after the last one. The window holds the transitions since the
            previous rollout's updates: several updates without a transition in between
            (epochs, mini-batches) have the same window.
        outputs: `[S, O]` float64, derivative of the loss (which is descended) by the
            policy's outputs in each state: the logits, O = A, or the Gaussian's means
            followed by its log standard deviations, O = 2D. Derivatives by logits
            need not sum to 0 in a state if the network has logits; they do if they were
            decoded from log-probabilities.
        value: `[S]` float64, derivative of the loss by the value of each state, in
            the same update; None without a critic.
        residual: norm of the part of the gradient that the decoding does not explain,
            relative to its norm.
        rows: indices of the transitions (counted like `first`) that the update used,
            with repetitions, where they are known to be fewer than the window; None if
            unknown.
    """

    first: int
    last: int
    outputs: Array
    value: Array | None = None
    residual: float = 0.0
    rows: IntArray | None = None


@dataclass(frozen=True)
class Record:
    """What a subject did on one task while its policy and critic were held still.

    Attributes:
        task: MDP, gamma of the objective, and time limit.
        policy: `[S, A]` float64, pi(a|s); for a Gaussian `[S, 2D]`, the means and the
            log standard deviations.
        values: the subject's critic: `[S]`, or `[H + 1, S]` if it depends on the time
            step; None without a critic. Values of terminal states are those that the
            critic gives, not 0.
        transitions: all transitions, also those before the first update.
        updates: the updates, in order.
        family: distribution of the policy.
        logits: `[S, A]`, the outputs that are normalised to `policy`, if known.
        basis: `[S * O, D]` orthonormal columns that span what can be decoded, if the
            network cannot represent all outputs (a shared deviation, few features):
            `outputs` are then a projection on it. None if all can be.
        value_basis: `[S, D]`, the same for the values.
        notes: remarks for the report.
        shares_critic: whether policy and critic have parameters in common.
    """

    task: Task
    policy: Array
    values: Array | None
    transitions: Transitions
    updates: tuple[Update, ...]
    family: Family = "categorical"
    logits: Array | None = None
    basis: Array | None = None
    value_basis: Array | None = None
    notes: tuple[str, ...] = ()
    shares_critic: bool = False

    def __post_init__(self) -> None:
        """Checks shapes and windows.

        Raises:
            ValueError: if an update does not fit.
        """
        for i, update in enumerate(self.updates):
            if not 0 <= update.first <= update.last <= len(self.transitions):
                raise ValueError(
                    f"update {i} has the window [{update.first}, {update.last}), which "
                    f"is not within the {len(self.transitions)} transitions"
                )
            if update.outputs.shape != self.policy.shape:
                raise ValueError(
                    f"the outputs of update {i} have shape {update.outputs.shape}, the "
                    f"policy has {self.policy.shape}"
                )
