"""A finite Markov decision process as tables.

Single environments, vector environments and exact solutions are all computed from the
same `TabularMDP`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import index
from typing import Any, Literal, get_args

import numpy as np
from gymnasium.error import InvalidAction
from numpy.typing import ArrayLike, NDArray

RewardNoise = Literal["none", "gaussian", "bernoulli"]
ObservationForm = Literal["scalar", "one_hot", "index"]


@dataclass(frozen=True, eq=False)
class TabularMDP:
    """The tables of a finite Markov decision process, validated, copied and read-only.

    S is the number of states, A the number of actions. Whether the episode ends is a
    property of the transition (s, a, s'), so there is no absorbing end state. Time
    limits are not part of the MDP.

    Attributes:
        transition: `[S, A, S]` float64, probability of s' after action a in state s.
        reward: `[S, A, S]` float64, expected reward of the transition.
        terminal: `[S, A, S]` bool, whether the transition ends the episode.
        initial_distribution: `[S]` float64, probability of starting in each state.
        observations: `[S]` int64 (the index of the state, a `Discrete` space) or
            `[S, *shape]` float32 (a `Box` space), the observation of each state.
        observation_bounds: lowest and highest value of a float observation.
        reward_noise: `"none"`: the reward is its expectation. `"gaussian"`: normal
            around it. `"bernoulli"`: 1 with the expectation as probability, else 0.
        noise_scale: standard deviation of `"gaussian"` noise, in units of reward.
        action_names: A names, for display.

    Raises:
        ValueError: if shapes disagree, probabilities are negative or do not sum to 1,
            or a number is not finite; the message names the table.
    """

    transition: NDArray[np.float64]
    reward: NDArray[np.float64]
    terminal: NDArray[np.bool_]
    initial_distribution: NDArray[np.float64]
    observations: NDArray[np.int64] | NDArray[np.float32]
    observation_bounds: tuple[float, float] = (-1.0, 1.0)
    reward_noise: RewardNoise = "none"
    noise_scale: float = 0.0
    action_names: tuple[str, ...] = ()

    @property
    def n_states(self) -> int:
        """Number of states, S."""
        return int(self.transition.shape[0])

    @property
    def n_actions(self) -> int:
        """Number of actions, A."""
        return int(self.transition.shape[1])

    def __post_init__(self) -> None:
        """Copies, freezes and validates the tables."""
        for name, dtype in _TABLE_DTYPES.items():
            self._freeze(name, np.array(getattr(self, name), dtype=dtype))
        kind = np.asarray(self.observations).dtype.kind
        dtype = np.int64 if kind in "iu" else np.float32
        self._freeze("observations", np.array(self.observations, dtype=dtype))
        self._check_shapes()
        _check_distribution("transition", self.transition)
        _check_distribution("initial_distribution", self.initial_distribution)
        self._check_observations()
        self._check_noise()
        names = self.action_names or tuple(str(a) for a in range(self.n_actions))
        if len(names) != self.n_actions:
            raise ValueError(
                f"action_names must hold {self.n_actions} names, one per action, got "
                f"{len(names)}: {names!r}"
            )
        object.__setattr__(self, "action_names", tuple(names))

    def __reduce__(self) -> tuple[type[TabularMDP], tuple[Any, ...]]:
        """Copies and unpickles through the constructor: copies are read-only too."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def _freeze(self, name: str, table: NDArray[np.generic]) -> None:
        table.flags.writeable = False
        object.__setattr__(self, name, table)

    def _check_shapes(self) -> None:
        shape = self.transition.shape
        if len(shape) != 3 or shape[0] != shape[2] or 0 in shape:
            raise ValueError(
                "transition must have shape [S, A, S] with S, A >= 1, got "
                f"{list(shape)}"
            )
        expected = {
            "reward": shape,
            "terminal": shape,
            "initial_distribution": shape[:1],
        }
        for name, required in expected.items():
            found = getattr(self, name).shape
            if found != required:
                raise ValueError(
                    f"{name} must have shape {list(required)}, to match transition, "
                    f"got {list(found)}"
                )
        if not np.isfinite(self.reward).all():
            raise ValueError("reward must be finite, got nan or infinity")

    def _check_observations(self) -> None:
        obs = self.observations
        if obs.shape[:1] != (self.n_states,):
            raise ValueError(
                f"observations must have {self.n_states} rows, one per state, got "
                f"shape {list(obs.shape)}"
            )
        if obs.dtype == np.int64:
            if not np.array_equal(obs, np.arange(self.n_states)):
                raise ValueError(
                    "integer observations must be the indices 0 to "
                    f"{self.n_states - 1} in order, got {obs!r}"
                )
            return
        low, high = self.observation_bounds
        if not (low < high and (obs >= low).all() and (obs <= high).all()):
            raise ValueError(
                f"observations must lie within observation_bounds ({low}, {high}), got "
                f"values from {obs.min()} to {obs.max()}"
            )

    def _check_noise(self) -> None:
        check_choice("reward_noise", self.reward_noise, get_args(RewardNoise))
        possible = self.transition > 0.0
        mean = self.reward[possible]
        if self.reward_noise == "bernoulli" and not ((mean >= 0) & (mean <= 1)).all():
            raise ValueError(
                "with reward_noise='bernoulli' a reward is a probability and must lie "
                f"in [0, 1], got rewards from {mean.min()} to {mean.max()}"
            )
        if not (np.isfinite(self.noise_scale) and self.noise_scale >= 0.0):
            raise ValueError(
                f"noise_scale must be a finite number >= 0, got {self.noise_scale}"
            )


_TABLE_DTYPES: dict[str, type[np.generic]] = {
    "transition": np.float64,
    "reward": np.float64,
    "terminal": np.bool_,
    "initial_distribution": np.float64,
}


def observation_table(
    form: ObservationForm, n_states: int
) -> tuple[NDArray[np.int64] | NDArray[np.float32], tuple[float, float]]:
    """Returns the observations of `n_states` states in a row.

    Args:
        form: `"scalar"`: one number, evenly spaced from -1 to 1 (0 for a single state).
            `"one_hot"`: a vector of S numbers, 1 at the state. `"index"`: the index.
        n_states: S, at least 1.

    Returns:
        The observations, `[S, 1]` float32, `[S, S]` float32 or `[S]` int64, and their
        bounds.

    Raises:
        ValueError: if `form` is unknown.
    """
    check_choice("observation", form, get_args(ObservationForm))
    if form == "index":
        return np.arange(n_states), (0.0, float(n_states - 1))
    if form == "one_hot":
        return np.eye(n_states, dtype=np.float32), (0.0, 1.0)
    scalars = np.linspace(-1.0, 1.0, n_states) if n_states > 1 else np.zeros(1)
    return scalars.astype(np.float32)[:, None], (-1.0, 1.0)


def check_mdp(mdp: object) -> None:
    """Raises a TypeError unless it is a TabularMDP."""
    if not isinstance(mdp, TabularMDP):
        raise TypeError(
            "mdp must be a TabularMDP, such as sequence_mdp() or mdp_from_env(env) "
            f"returns, got {mdp!r}"
        )


def check_choice(name: str, value: object, accepted: tuple[object, ...]) -> None:
    """Raises a ValueError unless the value is an accepted one."""
    if value not in accepted:
        choices = ", ".join(repr(choice) for choice in accepted)
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")


def checked_action(action: Any, names: tuple[str, ...]) -> int:  # noqa: ANN401
    """Returns an action as its index; several times as fast as asking its space.

    Args:
        action: an integer of Python or NumPy, or an array of one without dimensions, as
            a policy's `predict` returns.
        names: of the actions.

    Raises:
        InvalidAction: if it is none of them.
    """
    try:
        found = index(action)
    except TypeError:
        found = -1
    if 0 <= found < len(names):
        return found
    raise InvalidAction(
        f"action must be an integer from 0 to {len(names) - 1} ({', '.join(names)}), "
        f"got {action!r}"
    )


def check_number(name: str, value: ArrayLike) -> None:
    """Raises a ValueError unless all numbers are finite."""
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite, got {value!r}")


def _check_distribution(name: str, table: NDArray[np.float64]) -> None:
    sums = table.sum(axis=-1)
    # NaN fails these comparisons too.
    if not ((table >= 0.0).all() and (np.abs(sums - 1.0) <= 1e-9).all()):
        raise ValueError(
            f"{name} must hold probabilities >= 0 that sum to 1 over the last axis, "
            f"got a lowest of {table.min()} and sums from {sums.min()} to {sums.max()}"
        )
