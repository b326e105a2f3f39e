"""Exercise: the leave-one-out baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pg_agents.checker.episodes import EpisodeBatch
from pg_agents.exercises.answer import (
    Array,
    Function,
    Together,
    check_numbers,
    numbers_of,
    run,
    show,
)
from pg_agents.exercises.data import Exercise, Hint, NotCheckedError, WrongError
from pg_agents.exercises.gradient import episode_return

STUB = '''\
"""Baseline

REINFORCE weights an episode with its return R_i. Subtracting a baseline b_i from it
makes the gradient less noisy, and leaves its expectation as it is, as long as b_i does
not depend on the episode's own actions. Such a baseline is the mean return of the other
episodes of the batch (leave-one-out):

    b_i = 1/(N-1) * sum_{j != i} R_j

Write a function that gives the baseline of each of N episodes. With a single episode
there are no others: its baseline is 0.
"""

import numpy as np  # or torch, or plain Python

# [N] is an array, a tensor or a list: your function has to be right for one of them. It
# may return any of them, and leaves its arguments as they are.


def baseline(returns):
    """Compute the leave-one-out baseline of each episode.

    returns: [N], the return of each episode; integers or floats
    result: [N], the baselines; the agent weights episode i with returns[i] - result[i]
    """
    raise NotImplementedError
'''
SOLUTION = STUB.replace(
    "    raise NotImplementedError\n",
    """\
    returns = np.asarray(returns)
    if len(returns) == 1:
        return np.zeros(1)
    return (returns.sum() - returns) / (len(returns) - 1)
""",
)

CASES = (
    {"returns": np.array([1.0, 4.0, 7.0, 2.5])},
    {"returns": np.array([-3.25, 2.75, 0.5])},
    # Equal returns of different episodes.
    {"returns": np.array([2.0, 2.0, 2.0, 7.0, 0.25])},
    {"returns": np.array([1.5, -0.75])},
)


def _leave_one_out(returns: Array) -> Array:
    n = len(returns)
    others: Array = (returns.sum() - returns) / max(n - 1, 1)
    return others


def _all(returns: Array, value: float) -> Array:
    return np.full(len(returns), value)


def _others(returns: Array) -> list[Array]:
    return [np.delete(returns, i) for i in range(len(returns))]


def _so_far(returns: Array) -> Array:
    return np.cumsum(returns) / np.arange(1, len(returns) + 1)


def _standardized(returns: Array, ddof: int) -> Array:
    result: Array = (returns - returns.mean()) / (returns.std(ddof=ddof) + 1e-8)
    return result


HINTS = {
    "own_return": Hint(
        "the episode's own return is in the mean",
        "The mean over all N episodes depends on the episode's own actions. In "
        "expectation it takes away 1/N of the gradient: of two episodes half, of one "
        "everything.",
        "Which returns does sum_{j != i} leave out?",
        lambda returns: _all(returns, returns.mean()),
    ),
    "one_mean": Hint(
        "one mean for all episodes",
        "One number came back, the mean over all N returns, the episode's own "
        "included. In expectation that takes away 1/N of the gradient.",
        "How many baselines does the docstring ask for, and which returns does "
        "sum_{j != i} leave out?",
        lambda returns: returns.mean(),
    ),
    "divided_by_n": Hint(
        "the others' sum divided by N",
        "N - 1 returns are added and divided by N: the baseline is too close to 0. It "
        "is unbiased, as any factor is, but it is not the mean of the others.",
        "How many episodes are the others?",
        lambda returns: (returns.sum() - returns) / len(returns),
    ),
    "own_not_subtracted": Hint(
        "the sum of all divided by N - 1",
        "The episode's own return is still in the sum, though it is not counted in the "
        "number.",
        "What has to leave the sum of all returns to get that of the others?",
        lambda returns: _all(returns, returns.sum() / max(len(returns) - 1, 1)),
    ),
    "sum_of_others": Hint(
        "the sum of the others, not their mean",
        "A sum grows with the number of episodes, and is far from what one episode "
        "returns: the noise grows instead of shrinking.",
        "Of how many episodes should a baseline be an estimate?",
        lambda returns: returns.sum() - returns,
    ),
    "advantages": Hint(
        "the advantage, not the baseline",
        "The result is R_i - b_i. The agent subtracts the baseline itself, so that R_i "
        "would cancel: b_i alone would be left as the weight.",
        "What does the agent do with your result?",
        lambda returns: returns - _leave_one_out(returns),
    ),
    "centred": Hint(
        "returns minus their mean",
        "That is an advantage, not a baseline, and with the mean of all episodes, the "
        "own one included.",
        "What does the agent do with your result? And which returns does sum_{j != i} "
        "leave out?",
        lambda returns: returns - returns.mean(),
    ),
    "standardized": Hint(
        "standardised returns",
        "Mean and deviation of the batch contain the episode's own return, and the "
        "result is a weight in place of a baseline.",
        "What does the agent do with your result?",
        lambda returns: _standardized(returns, 0),
    ),
    "standardized_sample": Hint(
        "standardised returns (deviation with N - 1)",
        "Mean and deviation of the batch contain the episode's own return, and the "
        "result is a weight in place of a baseline. Of one return this is NaN.",
        "What does the agent do with your result?",
        lambda returns: _standardized(returns, 1),
    ),
    "negative": Hint(
        "the sign is flipped",
        "The agent subtracts the baseline: with a minus of its own it is added, and "
        "makes the weights larger.",
        "Who subtracts, the agent or your function?",
        lambda returns: -_leave_one_out(returns),
    ),
    "own_only": Hint(
        "the episode's own return",
        "R_i - R_i is 0: every weight is zero, and nothing is learnt.",
        "What remains when the agent subtracts your result?",
        lambda returns: returns,
    ),
    "nothing_subtracted": Hint(
        "zero for all episodes",
        "That is REINFORCE without a baseline: right in expectation, and as noisy as "
        "before.",
        "With how many episodes is a zero asked for?",
        lambda returns: np.zeros(len(returns)),
    ),
    "equal_left_out": Hint(
        "all equal returns are left out",
        "Episodes are told apart by their returns. Two episodes with the same return "
        "are both left out, though only one is the episode's own.",
        "How can an episode be named other than by its return?",
        lambda returns: [
            (lambda rest: rest.mean() if len(rest) else 0.0)(returns[returns != r])
            for r in returns
        ],
    ),
    "median": Hint(
        "the median in place of the mean",
        "A median of the others is a fair baseline, but the equation asks for their "
        "mean.",
        "What does 1/(N-1) times a sum compute?",
        lambda returns: [np.median(rest) for rest in _others(returns)],
    ),
    "median_of_all": Hint(
        "the median of all returns",
        "The episode's own return takes part in the median, and the equation asks for "
        "the mean of the others.",
        "What does 1/(N-1) times a sum compute?",
        lambda returns: _all(returns, float(np.median(returns))),
    ),
    "earlier_only": Hint(
        "the mean of earlier episodes only",
        "That is a valid baseline, but the first episode has none and the second only "
        "one return in it. The others are also those that came later.",
        "Over which j does the sum run?",
        lambda returns: np.append(0.0, _so_far(returns)[:-1]),
    ),
    "later_only": Hint(
        "the mean of later episodes only",
        "The last episode has none, and the one before it a single return. The others "
        "are also those that came earlier.",
        "Over which j does the sum run?",
        lambda returns: [
            returns[i + 1 :].mean() if i + 1 < len(returns) else 0.0
            for i in range(len(returns))
        ],
    ),
    "rounded": Hint(
        "rounded down to whole numbers",
        "The digits after the point are lost: `//` and integer types divide so.",
        "Which operation of your code gives whole numbers?",
        lambda returns: np.floor(_leave_one_out(returns)),
    ),
    "scaled": Hint(
        "divided by the standard deviation",
        "The baseline is subtracted from returns that are not divided: it has to be of "
        "their size.",
        "Where does the equation have a deviation?",
        lambda returns: _leave_one_out(returns) / (returns.std() + 1e-8),
    ),
    "shifted": Hint(
        "the baseline of the episode before",
        "The numbers are right, and each stands one place too far: every episode has "
        "its neighbour's baseline, which holds its own return.",
        "Which episode does your first number belong to?",
        lambda returns: np.roll(_leave_one_out(returns), 1),
    ),
    "running_mean": Hint(
        "a running mean with the episode's own return",
        "The mean of all returns so far contains R_i itself, of the first episode "
        "nothing else.",
        "Which returns does sum_{j != i} leave out, and which does it hold?",
        _so_far,
    ),
    "previous": Hint(
        "the return of the episode before",
        "One return is a noisy baseline: the mean of N - 1 is less so. (For the first "
        "episode yours takes the last, or 0.)",
        "Over which j does the sum run?",
        lambda returns: np.roll(returns, 1),
    ),
    "previous_or_zero": Hint(
        "the return of the episode before, 0 for the first",
        "One return is a noisy baseline: the mean of N - 1 is less so.",
        "Over which j does the sum run?",
        lambda returns: np.append(0.0, returns[:-1]),
    ),
    "best": Hint(
        "the best return",
        "The maximum contains the episode's own return, and with it no weight is ever "
        "positive.",
        "Which average is asked for?",
        lambda returns: _all(returns, returns.max()),
    ),
    "best_other": Hint(
        "the best of the others",
        "It does not depend on the own actions, but is far from what an episode "
        "returns on average.",
        "Which average is asked for?",
        lambda returns: [rest.max() for rest in _others(returns)],
    ),
    "worst": Hint(
        "the lowest return",
        "The minimum contains the episode's own return, and with it no weight is ever "
        "negative.",
        "Which average is asked for?",
        lambda returns: _all(returns, returns.min()),
    ),
    "first_left_out": Hint(
        "the first episode is left out for all",
        "The mean leaves out the first return, whichever episode it is for: all others "
        "still have their own return in it.",
        "Which index of the sum changes with i?",
        lambda returns: _all(returns, returns[1:].mean()),
    ),
    "last_left_out": Hint(
        "the last episode is left out for all",
        "The mean leaves out the last return, whichever episode it is for: all others "
        "still have their own return in it.",
        "Which index of the sum changes with i?",
        lambda returns: _all(returns, returns[:-1].mean()),
    ),
    "deviation": Hint(
        "the standard deviation",
        "A deviation says how much returns differ, not how large they are.",
        "Which average is asked for?",
        lambda returns: _all(returns, returns.std()),
    ),
    "single_episode": Hint(
        "no result for a single episode",
        "For N = 1 there are no others, and their mean is 0/0. An agent that updates "
        "after each episode always has N = 1: a NaN here makes all its weights NaN.",
        "What does the instruction say about a single episode?",
    ),
}


_MEANS = (
    "own_return",
    "one_mean",
    "divided_by_n",
    "own_not_subtracted",
    "sum_of_others",
    "equal_left_out",
    "median",
    "median_of_all",
    "earlier_only",
    "later_only",
    "running_mean",
    "previous",
    "previous_or_zero",
    "best",
    "best_other",
    "worst",
    "first_left_out",
    "last_left_out",
    "deviation",
)


def _composed(mean: Function, use: Function, change: Function) -> Function:
    return lambda returns: change(use(returns, np.asarray(mean(returns))), returns)


# Which mean, how it is used, and what is done with the result.
TOGETHER = Together(
    (
        (("", _leave_one_out), *((key, HINTS[key].mistake) for key in _MEANS)),
        (
            ("", lambda returns, means: means),
            ("advantages", lambda returns, means: returns - means),
        ),
        (
            ("", lambda values, returns: values),
            ("negative", lambda values, returns: -values),
            ("rounded", lambda values, returns: np.floor(values)),
            ("scaled", lambda values, returns: values / (returns.std() + 1e-8)),
        ),
    ),
    _composed,
)


def check(answer: Function) -> str:
    """Checks four batches, then a single episode."""
    integers = {"returns": np.array([1, 4, 6])}
    found = check_numbers(
        answer, CASES, _leave_one_out, HINTS, TOGETHER, integers=integers
    )
    single = np.array([5.0])
    try:
        baselines = show(numbers_of(answer, single))
    except NotCheckedError:
        failed = run(answer, {"returns": single}).failure
        baselines = failed.text if failed else "no numbers"
    if baselines != "[0]":
        raise WrongError(
            "single_episode",
            f"given     returns [5]\nreturned  {baselines}\nexpected  [0]",
        )
    return found


def subject(answer: Function) -> Any:  # noqa: ANN401
    """Returns the loss with the baseline, for the gradient checker."""

    def loss(batch: EpisodeBatch, policy: torch.nn.Module) -> Tensor:
        returns = torch.stack([episode_return(episode) for episode in batch])
        baselines = numbers_of(answer, returns.double().numpy())
        weights = returns - torch.from_numpy(baselines).float()
        log_prob = policy(batch.observations).log_prob(batch.actions)
        total: Tensor = (weights[batch.episode] * log_prob).sum()
        return -total / len(batch)

    return loss


EXERCISE = Exercise("baseline", "baseline", STUB, SOLUTION, HINTS, check, subject)
