"""All exercises, in the order in which they build on each other."""

from __future__ import annotations

import difflib

from pg_agents.exercises import (
    action_sampling,
    bandit_update,
    baseline,
    one_step_critic,
    policy_loss,
    returns,
    two_headed_network,
    weighted_log_prob,
)
from pg_agents.exercises.data import Exercise

EXERCISES: tuple[Exercise, ...] = (
    bandit_update.EXERCISE,
    action_sampling.EXERCISE,
    weighted_log_prob.EXERCISE,
    returns.EXERCISE,
    policy_loss.EXERCISE,
    baseline.EXERCISE,
    two_headed_network.EXERCISE,
    one_step_critic.EXERCISE,
)


def exercise(name: str) -> Exercise:
    """Returns the exercise with a name.

    Raises:
        ValueError: if there is none.
    """
    for one in EXERCISES:
        if one.name == name:
            return one
    names = [one.name for one in EXERCISES]
    close = difflib.get_close_matches(str(name), names, 1)
    known = f"the exercises are {', '.join(names)}"
    guess = f"did you mean {close[0]}?" if close else known
    raise ValueError(f"there is no exercise {name!r}: {guess}")
