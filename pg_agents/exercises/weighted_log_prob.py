"""Exercise: the log-probability of each action, weighted with its return."""

from __future__ import annotations

import numpy as np

from pg_agents.exercises.answer import Array, Function, Together, check_numbers
from pg_agents.exercises.data import Exercise, Hint

STUB = '''\
"""Weighted log-probability

The policy gradient is a sum of log-probabilities, each weighted with a return. An agent
took T actions; step t had the probability p_t under the policy and the return G_t:

    weighted_t = G_t * log(p_t)

Write a function that gives weighted_t of every step. log is the natural logarithm; of
p = 0.8 and G = 100 it is -22.314.
"""

import numpy as np  # or torch, or plain Python

# [T] is an array, a tensor or a list: your function has to be right for one of them. It
# may return any of them, and leaves its arguments as they are.


def weighted_log_prob(probabilities, returns):
    """Weight each log-probability with its return.

    probabilities: [T], the probability of the action that was taken at each step
    returns: [T], the return of each step; integers or floats
    result: [T], in order of the steps
    """
    raise NotImplementedError
'''
SOLUTION = STUB.replace(
    "    raise NotImplementedError\n",
    "    return np.asarray(returns) * np.log(probabilities)\n",
)

CASES = (
    {"probabilities": np.array([0.8]), "returns": np.array([100.0])},
    {
        "probabilities": np.array([0.5, 0.25, 0.9, 0.1]),
        "returns": np.array([2.75, -1.5, 3.25, 0.4]),
    },
    {"probabilities": np.array([1.0, 0.3]), "returns": np.array([7.0, 0.0])},
)


def _weighted(probabilities: Array, returns: Array) -> Array:
    weighted: Array = returns * np.log(probabilities)
    return weighted


def _softmax(x: Array) -> Array:
    e: Array = np.exp(x - x.max())
    policy: Array = e / e.sum()
    return policy


HINTS = {
    "probability": Hint(
        "the probability in place of its logarithm",
        "The gradient of the expected return is E[G d log pi]. Without the logarithm "
        "it is E[G d pi], which counts each action once more by its probability: what "
        "the policy prefers already is reinforced most, whatever it pays.",
        "d log p = dp / p. What does dividing by p make up for, when likely actions "
        "are also drawn more often?",
        lambda probabilities, returns: returns * probabilities,
    ),
    "sign_flipped": Hint(
        "the sign is flipped",
        "A log-probability is never above 0, so with a positive return the product is "
        "not either. The minus belongs to the loss, which an optimiser minimises, and "
        "not to this term.",
        "Which sign has log(0.8), and what should a return of 100 do to it?",
        lambda probabilities, returns: -_weighted(probabilities, returns),
    ),
    "log_of_product": Hint(
        "the logarithm of the product",
        "log(p G) = log p + log G: the return becomes a constant that is added, whose "
        "gradient is zero, and for a negative return it is not defined.",
        "Which of the two factors belongs inside of the logarithm?",
        lambda probabilities, returns: np.log(probabilities * returns),
    ),
    "summed": Hint(
        "the sum over all steps",
        "One number came back for all T steps. Sums and means belong to the loss, one "
        "exercise on: there each step has to be there to be summed.",
        "How many numbers does the docstring ask for?",
        lambda probabilities, returns: _weighted(probabilities, returns).sum(),
    ),
    "averaged": Hint(
        "the mean over all steps",
        "One number came back for all T steps, and it is divided by their number: a "
        "long episode would count as little as a short one.",
        "How many numbers does the docstring ask for?",
        lambda probabilities, returns: _weighted(probabilities, returns).mean(),
    ),
    "base_10": Hint(
        "the logarithm to base 10",
        "All results are smaller by a factor of ln 10 = 2.303. Its derivative is not "
        "1/p, so the identity d log p = dp / p behind the policy gradient fails by "
        "this factor.",
        "Which function of your library is the natural logarithm?",
        lambda probabilities, returns: returns * np.log10(probabilities),
    ),
    "base_2": Hint(
        "the logarithm to base 2",
        "All results are larger by a factor of 1 / ln 2 = 1.443. Its derivative is not "
        "1/p, so the identity d log p = dp / p behind the policy gradient fails by "
        "this factor.",
        "Which function of your library is the natural logarithm?",
        lambda probabilities, returns: returns * np.log2(probabilities),
    ),
    "other_action": Hint(
        "the probability of not taking the action",
        "log(1 - p) is about all that the agent did not do. Its gradient makes the "
        "action that was taken less likely when it paid.",
        "Whose probability is p_t: the taken action's, or the rest's?",
        lambda probabilities, returns: returns * np.log(1.0 - probabilities),
    ),
    "added": Hint(
        "return and log-probability are added",
        "What is added to a log-probability does not change its gradient: good and bad "
        "actions would be reinforced alike.",
        "A weight makes a term count more or less. Which operation does that?",
        lambda probabilities, returns: returns + np.log(probabilities),
    ),
    "p_log_p": Hint(
        "weighted with the probability too",
        "p log p is a term of the entropy, a sum over all actions. Here one action was "
        "drawn, and how often each is drawn already weights it with p.",
        "Where do the samples come from, and what is counted twice?",
        lambda probabilities, returns: (
            probabilities * _weighted(probabilities, returns)
        ),
    ),
    "no_return": Hint(
        "the return is missing",
        "Without a weight every action counts the same, whether it paid or not: the "
        "expectation of d log pi alone is zero, and nothing is learnt.",
        "Which of the two arguments does your result depend on?",
        lambda probabilities, returns: np.log(probabilities),
    ),
    "inverse_probability": Hint(
        "the return divided by the probability",
        "G / p is how the derivative of the logarithm weights dp, not the logarithm "
        "itself.",
        "The derivative is taken later, by autograd. What is it taken of?",
        lambda probabilities, returns: returns / probabilities,
    ),
    "rounded": Hint(
        "the returns are rounded to integers",
        "A return of 0.4 becomes 0, and this step counts for nothing.",
        "Which call or dtype drops the digits after the point?",
        lambda probabilities, returns: np.trunc(returns) * np.log(probabilities),
    ),
    "log1p": Hint(
        "log(1 + p)",
        "log1p(p) is log(1 + p), which is positive for every probability. It is meant "
        "for numbers near 0 and adds the 1 itself.",
        "What is the log of a probability of 1, and what does yours give?",
        lambda probabilities, returns: returns * np.log1p(probabilities),
    ),
    "softmax": Hint(
        "a softmax of the probabilities",
        "The probabilities of T different steps are not logits of one choice: a "
        "softmax over them makes each step depend on the others.",
        "What is p_t already, and what does a softmax turn into what?",
        lambda probabilities, returns: returns * np.log(_softmax(probabilities)),
    ),
    "all_pairs": Hint(
        "every return times every log-probability",
        "A table [T, T] came back: a column times a row is broadcast. In it step t is "
        "also weighted with the returns of all other steps.",
        "Which shapes have the two factors before they are multiplied?",
        lambda probabilities, returns: np.outer(np.log(probabilities), returns),
    ),
    "cumulative": Hint(
        "the log-probability of all steps so far",
        "log p_0 + ... + log p_t is the log-probability of the whole beginning of the "
        "episode. The return G_t weights the action of step t alone.",
        "Which probabilities stand in weighted_t?",
        lambda probabilities, returns: returns * np.cumsum(np.log(probabilities)),
    ),
    "divided_by_return": Hint(
        "divided by the return",
        "The more an action paid, the less it would count; a return of 0 has no "
        "result.",
        "What should a return of 100 do to a step, compared with a return of 1?",
        lambda probabilities, returns: np.log(probabilities) / returns,
    ),
    "exponential": Hint(
        "the exponential in place of the logarithm",
        "exp turns a log-probability into a probability. What is passed in is already "
        "a probability.",
        "Which of the two functions undoes the other?",
        lambda probabilities, returns: returns * np.exp(probabilities),
    ),
    "standardized": Hint(
        "the returns are standardised",
        "Subtracting the mean and dividing by the deviation may help a learner, but "
        "changes the weights that this exercise asks for; of one return it is 0.",
        "Which number should weight the step with the return 2.75?",
        lambda probabilities, returns: (
            (returns - returns.mean()) / (returns.std() + 1e-8) * np.log(probabilities)
        ),
    ),
}


def _composed(
    log: Function, weight: Function, join: Function, change: Function
) -> Function:
    return lambda probabilities, returns: change(
        join(weight(returns), log(probabilities))
    )


# The logarithm, the weight, how both are joined, and what is done with the terms.
TOGETHER = Together(
    (
        (
            ("", np.log),
            ("probability", lambda p: p),
            ("base_10", np.log10),
            ("base_2", np.log2),
            ("other_action", lambda p: np.log(1.0 - p)),
            ("p_log_p", lambda p: p * np.log(p)),
            ("log1p", np.log1p),
            ("softmax", lambda p: np.log(_softmax(p))),
            ("cumulative", lambda p: np.cumsum(np.log(p))),
            ("exponential", np.exp),
        ),
        (
            ("", lambda returns: returns),
            ("rounded", np.trunc),
            (
                "standardized",
                lambda returns: (returns - returns.mean()) / (returns.std() + 1e-8),
            ),
        ),
        (
            ("", lambda returns, logs: returns * logs),
            ("no_return", lambda returns, logs: logs),
            ("added", lambda returns, logs: returns + logs),
            ("all_pairs", lambda returns, logs: np.outer(logs, returns)),
            ("divided_by_return", lambda returns, logs: logs / returns),
        ),
        (
            ("", lambda terms: terms),
            ("sign_flipped", np.negative),
            ("summed", np.sum),
            ("averaged", np.mean),
        ),
    ),
    _composed,
)


def check(answer: Function) -> str:
    """Checks the numbers of three cases."""
    integers = {"probabilities": np.array([0.5, 0.2]), "returns": np.array([3, -2])}
    return check_numbers(answer, CASES, _weighted, HINTS, TOGETHER, integers=integers)


EXERCISE = Exercise(
    "weighted_log_prob", "weighted_log_prob", STUB, SOLUTION, HINTS, check
)
