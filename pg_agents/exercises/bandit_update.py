"""Exercise: one step of the policy gradient on a bandit's table of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pg_agents.checker.episodes import EpisodeBatch
from pg_agents.checker.function_subject import TablePolicy
from pg_agents.exercises.answer import (
    Array,
    Function,
    Together,
    check_numbers,
    numbers_of,
)
from pg_agents.exercises.data import Exercise, Hint
from pg_agents.exercises.gradient import exact_weights

STUB = '''\
"""The bandit's update

A bandit has no states: the policy is a table of one logit for each action, and
pi = softmax(logits). After each pull, the policy gradient of that pull moves the
logits, with a step size alpha:

    logits <- logits + alpha * reward * d log pi(action) / d logits

Work out the derivative of log pi(action) by each logit, and write the update.
"""

import numpy as np  # or torch, or plain Python

# [A] is an array, a tensor or a list: your function has to be right for one of them. It
# may return any of them.


def bandit_update(logits, action, reward, step_size):
    """Take one step of the policy gradient.

    logits: [A], the table; integers or floats
    action: integer, the arm that was pulled
    reward: number, what it paid
    step_size: number, alpha
    result: [A], the new table
    """
    raise NotImplementedError
'''
SOLUTION = STUB.replace(
    "    raise NotImplementedError\n",
    """\
    logits = np.asarray(logits)
    policy = np.exp(logits - logits.max())
    policy /= policy.sum()
    taken = np.arange(len(logits)) == action
    return logits + step_size * reward * (taken - policy)
""",
)


def _case(logits: list[float], action: int, reward: float, step_size: float) -> Any:  # noqa: ANN401
    return {
        "logits": np.array(logits),
        "action": action,
        "reward": reward,
        "step_size": step_size,
    }


CASES = (
    _case([0.5, -1.0, 1.5], 0, 2.0, 0.2),
    _case([0.5, -1.0, 1.5], 2, -1.5, 0.5),
    _case([0.3, 0.7, -0.4, 1.2], 1, 0.6, 0.1),
    _case([0.5, -1.0, 1.5], 1, 0.0, 0.2),
    _case([1.25, -0.5], 1, 1.0, 1.0),
)


def _policy(logits: Array) -> Array:
    e: Array = np.exp(logits - logits.max())
    policy: Array = e / e.sum()
    return policy


def _taken(logits: Array, action: int) -> Array:
    taken: Array = (np.arange(len(logits)) == action).astype(np.float64)
    return taken


def _score(logits: Array, action: int) -> Array:
    """D log pi(action) / d logits."""
    return _taken(logits, action) - _policy(logits)


def _updated(logits: Array, action: int, reward: float, step_size: float) -> Array:
    return logits + step_size * reward * _score(logits, action)


def _half_updated(logits: Array, action: int, reward: float, step_size: float) -> Array:
    new = logits.copy()
    for b in range(len(new)):
        new[b] = _updated(new, action, reward, step_size)[b]
    return new


HINTS = {
    "descent": Hint(
        "a step down instead of up",
        "The logit of an action that paid goes down. The gradient of the return points "
        "to where it grows; a minus belongs to a loss, which is minimised.",
        "The pulled arm paid 2. Should it be more or less likely afterwards?",
        lambda logits, action, reward, step_size: _updated(
            logits, action, -reward, step_size
        ),
    ),
    "only_taken": Hint(
        "only the logit of the pulled arm changes, without its probability",
        "Its derivative is not 1: when its logit grows, so does the sum in the "
        "softmax. And all other logits stand in that sum too.",
        "log pi(a) = logits[a] - log sum_b exp(logits[b]). What is the derivative of "
        "the second term?",
        lambda logits, action, reward, step_size: (
            logits + step_size * reward * _taken(logits, action)
        ),
    ),
    "others_kept": Hint(
        "the other logits do not change",
        "The pulled arm's logit is right. But log pi(action) depends on all logits: "
        "they stand in the sum of the softmax.",
        "What happens to pi(action) when the logit of another arm grows?",
        lambda logits, action, reward, step_size: (
            logits
            + step_size * reward * _taken(logits, action) * _score(logits, action)
        ),
    ),
    "taken_kept": Hint(
        "the pulled arm's logit gets the derivative of the others",
        "Every logit moves by -pi. The 1 for the pulled arm is missing, so the update "
        "does not depend on which arm was pulled.",
        "log pi(a) = logits[a] - log sum_b exp(logits[b]). What is the derivative of "
        "the first term?",
        lambda logits, action, reward, step_size: (
            logits - step_size * reward * _policy(logits)
        ),
    ),
    "all_up": Hint(
        "1 - pi for every logit",
        "That is the derivative of the pulled arm alone. All logits go up when it "
        "pays, also those of arms that were not pulled.",
        "For which of the logits is there a 1 in the derivative?",
        lambda logits, action, reward, step_size: (
            logits + step_size * reward * (1.0 - _policy(logits))
        ),
    ),
    "others_up": Hint(
        "the other logits go up",
        "The pulled arm's logit is right. Those of the other arms move by +pi: they "
        "would become more likely because another arm paid.",
        "Probabilities add up to 1. If one grows, what do the others do?",
        lambda logits, action, reward, step_size: (
            logits + step_size * reward * np.abs(_score(logits, action))
        ),
    ),
    "pulled_probability": Hint(
        "the pulled arm's probability for all logits",
        "The other logits move by -pi(action). Each logit has a derivative of its own: "
        "the more likely an arm is, the more it stands in the way of the pulled one.",
        "By which logit is the derivative taken, and whose probability follows?",
        lambda logits, action, reward, step_size: (
            logits
            + step_size * reward * (_taken(logits, action) - _policy(logits)[action])
        ),
    ),
    "probability": Hint(
        "the gradient of the probability, not of its logarithm",
        "d pi(a) = pi(a) d log pi(a): the step is smaller by the factor pi(action). "
        "Arms that are pulled often are then also moved more at each pull, and an arm "
        "that is rarely tried hardly learns.",
        "Which function of pi does the equation differentiate?",
        lambda logits, action, reward, step_size: _updated(
            logits, action, reward * _policy(logits)[action], step_size
        ),
    ),
    "no_reward": Hint(
        "the reward is missing",
        "Every pull moves the logits alike, whatever it paid; a pull that pays 0 or "
        "less too. The policy runs to whichever arm it pulled first.",
        "What should a pull that pays 0 do to the table?",
        lambda logits, action, reward, step_size: _updated(
            logits, action, 1.0, step_size
        ),
    ),
    "no_step_size": Hint(
        "the step size is missing",
        "The step is reward times derivative, whatever alpha is.",
        "Which argument does your result not depend on?",
        lambda logits, action, reward, step_size: _updated(logits, action, reward, 1.0),
    ),
    "step_only": Hint(
        "the step, not the new table",
        "The result is what has to be added to the logits. Put in place of the table, "
        "it forgets everything learnt before.",
        "What does a pull that pays 0 leave in the table?",
        lambda logits, action, reward, step_size: (
            step_size * reward * _score(logits, action)
        ),
    ),
    "probabilities_returned": Hint(
        "probabilities instead of logits",
        "The result is the softmax of the new table. The next update would take it for "
        "logits, and a softmax of probabilities is almost uniform.",
        "What does the table hold before the update?",
        lambda logits, action, reward, step_size: _policy(
            _updated(logits, action, reward, step_size)
        ),
    ),
    "probabilities_moved": Hint(
        "the step is added to the probabilities",
        "The table holds logits, and the step is that of the logits. Added to the "
        "probabilities, they need not stay between 0 and 1.",
        "To what does the equation add the step?",
        lambda logits, action, reward, step_size: (
            _policy(logits) + step_size * reward * _score(logits, action)
        ),
    ),
    "logits_as_policy": Hint(
        "logits in place of probabilities",
        "1 - logits[a] is not a derivative of the softmax: logits may be negative or "
        "large, and the step grows with them.",
        "What is missing between the table and pi?",
        lambda logits, action, reward, step_size: (
            logits + step_size * reward * (_taken(logits, action) - logits)
        ),
    ),
    "uniform": Hint(
        "1/A in place of the probabilities",
        "The derivative by a logit has that action's probability in it, which is 1/A "
        "only before anything is learnt.",
        "Does your step depend on the logits?",
        lambda logits, action, reward, step_size: (
            logits + step_size * reward * (_taken(logits, action) - 1.0 / len(logits))
        ),
    ),
    "softmax_unnormalized": Hint(
        "exponentials that are not divided by their sum",
        "exp(logits) are no probabilities: they do not add up to 1.",
        "What is the sum of your pi?",
        lambda logits, action, reward, step_size: (
            logits + step_size * reward * (_taken(logits, action) - np.exp(logits))
        ),
    ),
    "toward_log_policy": Hint(
        "log pi itself instead of its derivative",
        "The step is the value of log pi(action), which is negative for every arm: an "
        "arm that pays goes down.",
        "Which function is it, and what is its derivative by logits[b]?",
        lambda logits, action, reward, step_size: (
            logits
            + step_size
            * reward
            * _taken(logits, action)
            * np.log(_policy(logits)[action])
        ),
    ),
    "log_policy_everywhere": Hint(
        "log pi itself is added to all logits",
        "The value of log pi(action) is one number for the whole table: all logits "
        "move alike, and the policy does not change at all.",
        "How many derivatives does log pi(action) have?",
        lambda logits, action, reward, step_size: (
            logits + step_size * reward * np.log(_policy(logits)[action])
        ),
    ),
    "half_updated": Hint(
        "the policy changes during the update",
        "The probabilities are computed anew after each logit was changed, so that "
        "later logits move by those of a table that is half updated.",
        "Of which table is the derivative taken, and when?",
        _half_updated,
    ),
    "centred": Hint(
        "the table is shifted by a constant",
        "The policy is the right one, as adding one number to all logits leaves the "
        "softmax as it is. But the table is not: the equation adds the step and "
        "nothing else.",
        "What is subtracted from the logits, and is it still there at the end?",
        lambda logits, action, reward, step_size: (lambda new: new - new.max())(
            _updated(logits, action, reward, step_size)
        ),
    ),
}


def _composed(
    derivative: Function, weight: Function, scale: Function, add: Function
) -> Function:
    return lambda logits, action, reward, step_size: add(
        logits, scale(step_size) * weight(reward) * derivative(logits, action)
    )


# The derivative, its weight, the step size, and where the step goes.
TOGETHER = Together(
    (
        (
            ("", _score),
            ("only_taken", _taken),
            ("others_kept", lambda logits, a: _taken(logits, a) * _score(logits, a)),
            ("taken_kept", lambda logits, a: -_policy(logits)),
            ("all_up", lambda logits, a: 1.0 - _policy(logits)),
            ("others_up", lambda logits, a: np.abs(_score(logits, a))),
            (
                "pulled_probability",
                lambda logits, a: _taken(logits, a) - _policy(logits)[a],
            ),
            ("probability", lambda logits, a: _policy(logits)[a] * _score(logits, a)),
            ("logits_as_policy", lambda logits, a: _taken(logits, a) - logits),
            ("uniform", lambda logits, a: _taken(logits, a) - 1.0 / len(logits)),
            (
                "softmax_unnormalized",
                lambda logits, a: _taken(logits, a) - np.exp(logits),
            ),
            (
                "toward_log_policy",
                lambda logits, a: _taken(logits, a) * np.log(_policy(logits)[a]),
            ),
            ("log_policy_everywhere", lambda logits, a: np.log(_policy(logits)[a])),
        ),
        (
            ("", lambda reward: reward),
            ("descent", lambda reward: -reward),
            ("no_reward", lambda reward: 1.0),
        ),
        (
            ("", lambda step_size: step_size),
            ("no_step_size", lambda step_size: 1.0),
        ),
        (
            ("", lambda logits, step: logits + step),
            ("step_only", lambda logits, step: step + 0.0 * logits),
            ("probabilities_returned", lambda logits, step: _policy(logits + step)),
            ("probabilities_moved", lambda logits, step: _policy(logits) + step),
        ),
    ),
    _composed,
)


def check(answer: Function) -> str:
    """Checks the new tables of five pulls."""
    integers = {**CASES[0], "logits": np.array([1, 0, 2])}
    return check_numbers(
        answer, CASES, _updated, HINTS, TOGETHER, integers=integers, may_change=True
    )


def subject(answer: Function) -> Any:  # noqa: ANN401
    """Returns the update of every step of an episode, for the gradient checker.

    Each state is a bandit of its own, whose reward is the exact weight of the step.
    """

    def gradient(batch: EpisodeBatch, policy: TablePolicy) -> list[Tensor]:
        total = torch.zeros_like(policy.logits)
        rows = policy.observations
        for episode in batch:
            weights = exact_weights(episode)
            for t, observation in enumerate(episode.observations):
                row = int((rows == observation).all(-1).float().argmax())
                old = policy.logits[row].detach().double().numpy()
                action, weight = int(episode.actions[t]), float(weights[t])
                new = numbers_of(answer, old, action, weight, 1.0)
                total[row] += torch.from_numpy(new - old).float()
        return [total / len(batch)]

    return gradient


EXERCISE = Exercise(
    "bandit_update", "bandit_update", STUB, SOLUTION, HINTS, check, subject
)
