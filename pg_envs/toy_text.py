"""Tables of tabular environments, including Gymnasium's toy text environments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import ArrayLike

from pg_envs.mdp import TabularMDP

# (probability, next state, reward, terminated), Gymnasium's own layout.
Outcome = tuple[float, int, float, bool]
Transitions = Mapping[int, Mapping[int, Sequence[Outcome]]]

_ACTION_NAMES = {
    "FrozenLakeEnv": ("left", "down", "right", "up"),
    "CliffWalkingEnv": ("up", "right", "down", "left"),
    "TaxiEnv": ("south", "north", "east", "west", "pickup", "dropoff"),
}


def mdp_from_transitions(
    transitions: Transitions,
    initial_distribution: ArrayLike,
    action_names: tuple[str, ...] = (),
) -> TabularMDP:
    """Returns the tables of `P[s][a] = [(probability, s', reward, done), ...]`.

    If several outcomes lead to the same state, their probabilities add up and the
    reward is their mean. Expectations are exact; a single step pays the mean. States
    are observed as their index.

    Args:
        transitions: for every state 0 to S - 1 and every action 0 to A - 1 the
            outcomes, whose probabilities sum to 1.
        initial_distribution: `[S]`, probability of starting in each state.
        action_names: A names, for display.

    Raises:
        ValueError: if a state or action is missing, an outcome is not four numbers, a
            next state is no state, probabilities do not sum to 1, or the same
            transition sometimes ends the episode and sometimes does not.
    """
    n_states, n_actions = _sizes(transitions)
    shape = (n_states, n_actions, n_states)
    transition, reward, ending = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for state in range(n_states):
        for action in range(n_actions):
            outcomes = transitions[state][action]
            _check_outcomes(f"action {action} in state {state}", outcomes, n_states)
            for probability, next_state, pay, done in outcomes:
                index = state, action, next_state
                transition[index] += probability
                reward[index] += probability * pay
                ending[index] += probability * done
    possible = transition > 0.0
    mixed = possible & (ending > 0.0) & (ending < transition)
    if mixed.any():
        state, action, next_state = (int(i) for i in np.argwhere(mixed)[0])
        raise ValueError(
            f"action {action} in state {state} leads to state {next_state} both with "
            "and without ending the episode, which tables of transitions cannot express"
        )
    reward = np.divide(reward, transition, out=np.zeros(shape), where=possible)
    return TabularMDP(
        # Normalised, because sums of many probabilities miss 1 by rounding.
        transition=transition / transition.sum(axis=-1, keepdims=True),
        reward=reward,
        terminal=ending > 0.0,
        initial_distribution=np.asarray(initial_distribution, dtype=np.float64),
        observations=np.arange(n_states),
        action_names=action_names,
    )


def _sizes(transitions: Transitions) -> tuple[int, int]:
    """Returns the numbers of states and actions of complete tables."""
    n_states = len(transitions)
    if n_states == 0 or set(transitions) != set(range(n_states)):
        raise ValueError(
            f"the states must be 0 to S - 1, got {_listed(transitions)} as keys"
        )
    n_actions = max(len(actions) for actions in transitions.values())
    for state, actions in transitions.items():
        if n_actions == 0 or set(actions) != set(range(n_actions)):
            raise ValueError(
                f"every state must have the actions 0 to {max(n_actions - 1, 0)}, got "
                f"{_listed(actions)} in state {state}"
            )
    return n_states, n_actions


def _listed(keys: Iterable[Any]) -> str:
    return ", ".join(repr(key) for key in keys) or "nothing"


def _check_outcomes(where: str, outcomes: Any, n_states: int) -> None:  # noqa: ANN401
    total = 0.0
    for outcome in outcomes:
        if not isinstance(outcome, Sequence) or len(outcome) != 4:
            raise ValueError(
                f"an outcome must be (probability, next state, reward, done), got "
                f"{outcome!r} for {where}"
            )
        probability, next_state = outcome[:2]
        if next_state not in range(n_states):
            raise ValueError(
                f"a next state must be one of 0 to {n_states - 1}, got {next_state!r} "
                f"for {where}"
            )
        if not 0.0 <= probability <= 1.0:
            raise ValueError(
                f"a probability must be from 0 to 1, got {probability!r} for {where}"
            )
        total += probability
    if abs(total - 1.0) > 1e-6:
        raise ValueError(
            f"the probabilities of outcomes must sum to 1, got {total:g} for {where}"
        )


def mdp_from_env(
    env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any],
) -> TabularMDP:
    """Returns the tables of an environment.

    It looks through wrappers: their changes, such as a time limit or a scaled reward,
    are not in the tables.

    Args:
        env: an environment of `pg_envs` with tables (a `TabularEnv` or a
            `TabularVectorEnv`, whose `mdp` is returned), or Gymnasium's FrozenLake,
            CliffWalking or Taxi, which expose them as `P`; wrapped or not.

    Raises:
        TypeError: if it is not an environment, or has neither `mdp` nor `P` and
            `initial_state_distrib`.
        ValueError: if its transitions depend on more than state and action, as those of
            Taxi's fickle passenger do.
    """
    if not isinstance(env, gymnasium.Env | VectorEnv):
        raise TypeError(
            "env must be an environment (an instance, such as gymnasium.make returns), "
            f"got {env!r}"
        )
    toy: Any = env.unwrapped
    mdp = getattr(toy, "mdp", None)
    if isinstance(mdp, TabularMDP):
        return mdp
    if not (hasattr(toy, "P") and hasattr(toy, "initial_state_distrib")):
        raise TypeError(
            "env must be an environment with tables: a TabularEnv or TabularVectorEnv "
            "such as PGToy-Sequence-v0, or one with P and initial_state_distrib such "
            f"as FrozenLake-v1; {type(toy).__name__} has none"
        )
    if getattr(toy, "fickle_passenger", False):
        raise ValueError(
            "fickle_passenger=True changes the transitions during an episode, which P "
            "does not include: make the environment with fickle_passenger=False"
        )
    names = _ACTION_NAMES.get(type(toy).__name__, ())
    return mdp_from_transitions(toy.P, toy.initial_state_distrib, names)
