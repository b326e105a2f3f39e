"""Exercise: an action drawn from a softmax policy, with its log-probability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from pg_agents.exercises.answer import (
    BY_HAND,
    Array,
    Function,
    agree,
    as_array,
    returned,
    show,
)
from pg_agents.exercises.data import Exercise, Hint, WrongError

STUB = '''\
"""Action sampling

A network gives one logit for each of A actions. The policy is their softmax,

    pi(a) = exp(logits[a]) / sum_b exp(logits[b])

and the agent draws its action from it. The update needs log pi(a) of the action drawn,
as a tensor through which the gradient flows back to the logits.

Write a function that draws one action and returns it with its log-probability.
"""

import torch


def sample_action(logits):
    """Draw an action from the softmax of the logits.

    logits: tensor [A], part of a graph (requires_grad)
    result: (action, log_prob); action is an integer from 0 to A - 1, as an int or a
        tensor, and log_prob a tensor with one number, log pi(action)
    """
    raise NotImplementedError
'''
SOLUTION = STUB.replace(
    "    raise NotImplementedError\n",
    """\
    log_probs = torch.log_softmax(logits, dim=-1)
    action = torch.multinomial(log_probs.exp(), 1).item()
    return action, log_probs[action]
""",
)

# The last action of the second is rare: 1.1 %.
LOGITS = ([1.2, -0.4, 0.3], [-0.5, 1.0, 0.2, -3.0])
N_DRAWS = 2_000
# Probability that a right answer is found wrong, for each of the two policies: that of
# a chi-squared test.
FALSE_ALARM = 1e-7


def _softmax(x: Array) -> Array:
    e: Array = np.exp(x - x.max())
    policy: Array = e / e.sum()
    return policy


def _greedy(logits: Array) -> Array:
    best: Array = (np.arange(len(logits)) == logits.argmax()).astype(np.float64)
    return best


# Mistakes in which the actions are drawn: from which probabilities they come then.
_DISTRIBUTIONS: dict[str, Callable[[Array], Array]] = {
    "greedy": _greedy,
    "uniform": lambda logits: np.full(len(logits), 1.0 / len(logits)),
    "softmax_twice": lambda logits: _softmax(_softmax(logits)),
    "softmax_of_minus": lambda logits: _softmax(-logits),
    "epsilon_greedy": lambda logits: 0.9 * _greedy(logits) + 0.1 / len(logits),
    "logits_as_weights": lambda logits: np.abs(logits) / np.abs(logits).sum(),
    "clipped_logits": lambda logits: (
        np.clip(logits, 0.0, None) / np.clip(logits, 0.0, None).sum()
    ),
    "squared": lambda logits: _softmax(2.0 * logits),
    "flattened": lambda logits: _softmax(0.5 * logits),
    "log_probs_as_weights": lambda logits: (
        np.log(_softmax(logits)) / np.log(_softmax(logits)).sum()
    ),
}
# Mistakes in the log-probability: what stands in its place.
_LOG_PROBS: dict[str, Callable[[Array, int], float]] = {
    "probability": lambda logits, a: _softmax(logits)[a],
    "log_sign": lambda logits, a: -np.log(_softmax(logits)[a]),
    "logit": lambda logits, a: logits[a],
    "log_of_best": lambda logits, a: np.log(_softmax(logits).max()),
    "log_softmax_twice": lambda logits, a: np.log(_softmax(_softmax(logits))[a]),
    "log_base_2": lambda logits, a: np.log2(_softmax(logits)[a]),
    "log_base_10": lambda logits, a: np.log10(_softmax(logits)[a]),
    "p_log_p": lambda logits, a: _softmax(logits)[a] * np.log(_softmax(logits)[a]),
    "entropy": lambda logits, a: -(_softmax(logits) * np.log(_softmax(logits))).sum(),
    "log_prob_of_rest": lambda logits, a: np.log(1.0 - _softmax(logits)[a]),
    "mean_log_prob": lambda logits, a: np.log(_softmax(logits)).mean(),
    "sum_log_prob": lambda logits, a: np.log(_softmax(logits)).sum(),
}

HINTS = {
    "greedy": Hint(
        "the most likely action, not a draw",
        "argmax gives the same action each time. The agent never tries another one, "
        "and the policy gradient assumes actions drawn from the policy.",
        "How often should an action with the probability 0.2 be taken?",
    ),
    "uniform": Hint(
        "drawn uniformly",
        "All actions are equally frequent, whatever the logits say: the policy has no "
        "influence on what the agent does.",
        "Where do the logits enter your draw?",
    ),
    "softmax_twice": Hint(
        "drawn from a softmax of a softmax",
        "Probabilities went where logits are expected: Categorical(logits=...) applies "
        "a softmax itself. Of probabilities it is close to uniform.",
        "Which of your calls contain a softmax?",
    ),
    "softmax_of_minus": Hint(
        "drawn from the softmax of the negative logits",
        "The action with the largest logit is the rarest.",
        "Where does a minus come in?",
    ),
    "epsilon_greedy": Hint(
        "epsilon-greedy",
        "Nine of ten actions are the most likely one, and the rest uniform. That is "
        "how Q-learning explores; a policy gradient needs draws from the policy "
        "itself.",
        "How often should an action with the probability 0.2 be taken?",
    ),
    "logits_as_weights": Hint(
        "drawn with the logits' absolute values as weights",
        "A logit of -3 would make an action likely. Logits become probabilities by the "
        "exponential, then a division by the sum.",
        "Which function makes positive numbers of all logits, and keeps their order?",
    ),
    "clipped_logits": Hint(
        "drawn with the positive logits as weights",
        "Actions with a negative logit are never taken. Logits become probabilities by "
        "the exponential, then a division by the sum.",
        "Which function makes positive numbers of all logits, and keeps their order?",
    ),
    "squared": Hint(
        "the policy is sharper than its softmax",
        "The frequencies are those of a softmax of twice the logits: likely actions "
        "are too frequent.",
        "By what are the logits multiplied or divided, and how often?",
    ),
    "flattened": Hint(
        "the policy is flatter than its softmax",
        "The frequencies are those of a softmax of half the logits, a temperature of "
        "2: unlikely actions are too frequent.",
        "By what are the logits multiplied or divided before the softmax?",
    ),
    "float_action": Hint(
        "the action is a float",
        "The number is a whole one, its type is not. Environments take integers, and a "
        "float is no index into a tensor.",
        "Which dtype has the tensor that you return, and which call changed it?",
    ),
    "log_probs_as_weights": Hint(
        "drawn with log-probabilities as weights",
        "multinomial and choice take probabilities. Of log-probabilities, the rarest "
        "action has the largest weight.",
        "What does the function that draws expect?",
    ),
    "never_drawn": Hint(
        "an action is never drawn",
        "An action with a probability above 0 did not occur at all: the agent never "
        "finds out what it is worth.",
        "Which actions can your loop or index end with?",
    ),
    "seeded": Hint(
        "the random generator is seeded at each call",
        "Every call draws the same number: the agent takes the same action in a state "
        "for ever. A seed is set once, at the start of a program.",
        "What makes two calls of your function differ?",
    ),
    "one_based": Hint(
        "actions are counted from 1",
        "The action A does not exist, and 0 is never taken. An environment takes the "
        "actions 0 to A - 1.",
        "Which number has the first action?",
    ),
    "one_hot": Hint(
        "a one-hot vector in place of the action's index",
        "An environment takes an integer.",
        "At which position does the 1 stand?",
    ),
    "probabilities": Hint(
        "probabilities in place of an action",
        "The result holds a number for each action. The agent can do one of them.",
        "Which step turns a distribution into a choice?",
    ),
    "no_log_prob": Hint(
        "the log-probability is missing",
        "The update needs log pi(a) of the very action that was drawn, with its graph.",
        "Which two things does the docstring ask for?",
    ),
    "no_action": Hint(
        "the action is missing",
        "The agent needs the action itself: its number goes to the environment.",
        "Which two things does the docstring ask for?",
    ),
    "swapped": Hint(
        "the two results are swapped",
        "The log-probability stands first, and the action second.",
        "In which order does the docstring name them?",
    ),
    "all_log_probs": Hint(
        "the log-probabilities of all actions",
        "A numbers came back. The update weights that of the action that was drawn.",
        "Which entry belongs to your action?",
    ),
    "detached": Hint(
        "no gradient reaches the logits",
        "The log-probability is right, but has no graph: item(), detach(), numpy() and "
        "no_grad() cut it. Without one the update changes nothing.",
        "Which step of your computation cuts the graph?",
    ),
    "another_action": Hint(
        "the log-probability of another action than the one returned",
        "The number is that of an action that the policy could have drawn, but of "
        "another one: two draws were made, and each result comes from one of them.",
        "How often does one call of your function draw?",
    ),
    "probability": Hint(
        "the probability in place of its logarithm",
        "The second result is pi(a).",
        "Which range do log-probabilities have?",
    ),
    "log_sign": Hint(
        "the log-probability with a minus",
        "The minus belongs to the loss. A log-probability is never above 0.",
        "Which sign has log(0.2)?",
    ),
    "logit": Hint(
        "the logit in place of the log-probability",
        "A logit is log pi only up to the sum in the softmax.",
        "What turns logits into log-probabilities?",
    ),
    "log_of_best": Hint(
        "the log-probability of the most likely action",
        "The number is the same for each draw: that of the largest logit, whichever "
        "action was drawn.",
        "Where does your log-probability depend on the action?",
    ),
    "log_softmax_twice": Hint(
        "the log-probability under a softmax of a softmax",
        "The action comes from the policy, but its log-probability was taken after a "
        "second softmax.",
        "Which of your calls contain a softmax?",
    ),
    "log_base_2": Hint(
        "the logarithm to base 2",
        "The log-probability is too large by 1 / ln 2 = 1.443.",
        "Which function is the natural logarithm?",
    ),
    "log_base_10": Hint(
        "the logarithm to base 10",
        "The log-probability is too small by ln 10 = 2.303.",
        "Which function is the natural logarithm?",
    ),
    "p_log_p": Hint(
        "the log-probability times the probability",
        "pi log pi is a term of the entropy.",
        "Which function of pi(a) does the docstring ask for?",
    ),
    "entropy": Hint(
        "the entropy in place of the log-probability",
        "The entropy is a property of the whole policy, the same for each action.",
        "Where does your second result depend on the action?",
    ),
    "log_prob_of_rest": Hint(
        "the log-probability of the other actions",
        "log(1 - pi(a)) is about all actions but the one that was drawn.",
        "Whose probability is it?",
    ),
    "mean_log_prob": Hint(
        "the mean of all log-probabilities",
        "The number is the same for each draw.",
        "Where does your log-probability depend on the action?",
    ),
    "sum_log_prob": Hint(
        "the sum of all log-probabilities",
        "The number is the same for each draw.",
        "Where does your log-probability depend on the action?",
    ),
    "log_prob_of_first": Hint(
        "the log-probability of one action, whichever was drawn",
        "The number is the same for each draw.",
        "Where does your log-probability depend on the action?",
    ),
    "gradient": Hint(
        "the right log-probability with another gradient",
        "The value agrees, but its derivative by the logits is not 1(a = b) - pi(b): "
        "part of the computation was cut from the graph.",
        "Is the sum in the softmax part of the graph?",
    ),
}


def _call(answer: Function, logits: Tensor) -> tuple[Any, Any]:
    """Calls an answer once.

    Raises:
        WrongError: if it does not return an action and a log-probability.
    """

    def call(_: Tensor) -> Any:  # noqa: ANN401
        # With the graph of this very tensor.
        return answer(logits)

    result = returned(call, {"logits": logits})
    if isinstance(result, tuple | list) and len(result) == 2:
        return result[0], result[1]
    seen = f"given     logits {show(logits)}\nreturned  {show(result)}"
    numbers = as_array(result)
    if numbers is not None and numbers.size == len(logits):
        raise WrongError("probabilities", seen)
    if numbers is not None and numbers.size == 1:
        number = float(numbers.reshape(()))
        key = "no_log_prob" if number >= 0 and number.is_integer() else "no_action"
        raise WrongError(key, seen)
    raise WrongError(
        None,
        seen,
        title="it does not return two results",
        think="Which two things does the docstring ask for?",
    )


def _seen(logits: Tensor, action: Any, log_prob: Any) -> str:  # noqa: ANN401
    return (
        f"given     logits {show(logits)}\n"
        f"returned  action {show(action)}, log_prob {show(log_prob)}"
    )


def _action(action: Any, log_prob: Any, logits: Tensor) -> int:  # noqa: ANN401
    """Returns an action as an integer.

    Raises:
        WrongError: if it is none.
    """
    number = _number(action)
    if number is not None and number.is_integer():
        kind = str(getattr(action, "dtype", type(action)))
        if "float" in kind:
            seen = f"{_seen(logits, action, log_prob)}\nThe action's type is {kind}."
            raise WrongError("float_action", seen)
        return int(number)
    seen, numbers = _seen(logits, action, log_prob), as_array(action)
    if numbers is None:
        raise WrongError(None, seen, title=f"the action is a {type(action).__name__}")
    if numbers.size == len(logits):
        one_hot = sorted(numbers.ravel()) == [0.0] * (numbers.size - 1) + [1.0]
        raise WrongError("one_hot" if one_hot else "probabilities", seen)
    if numbers.size != 1:
        raise WrongError("shape", seen)
    other = _number(log_prob)
    if other is not None and other.is_integer():
        raise WrongError("swapped", seen)
    raise WrongError(None, seen, title="the action is not an integer")


def _log_prob(value: Any, logits: Tensor, action: int) -> Tensor:  # noqa: ANN401
    """Returns a log-probability as a tensor `[]`, without a graph if it has none.

    Raises:
        WrongError: if it is not one number.
    """
    number = _number(value)
    if number is not None:
        return value.reshape(()) if isinstance(value, Tensor) else torch.tensor(number)
    seen, numbers = _seen(logits, action, value), as_array(value)
    if numbers is None:
        raise WrongError(None, seen, title=f"log_prob is a {type(value).__name__}")
    raise WrongError("all_log_probs" if numbers.size == len(logits) else "shape", seen)


def _number(value: Any) -> float | None:  # noqa: ANN401
    """Returns the only number of a value; None if it is not one number."""
    numbers = as_array(value)
    if numbers is None or numbers.size != 1:
        return None
    return float(numbers.reshape(()))


def _values(draws: list[tuple[int, Tensor]]) -> Array:
    return np.array([float(log_prob.detach()) for _, log_prob in draws])


def _check_log_probs(draws: list[tuple[int, Tensor]], logits: Tensor) -> None:
    x = logits.detach().double().numpy()
    right = np.log(_softmax(x))
    actions = np.array([action for action, _ in draws])
    found = _values(draws)
    if not agree(found, right[actions]):
        i = int(np.flatnonzero(~np.isclose(found, right[actions], atol=1e-5))[0])
        seen = (
            f"given     logits {show(x)}\n"
            f"returned  action {actions[i]}, log_prob {found[i]:.6g}\n"
            f"expected  log_prob {right[actions[i]]:.6g}"
        )
        for key, mistake in _LOG_PROBS.items():
            if agree(found, np.array([mistake(x, a) for a in actions])):
                raise WrongError(key, seen)
        others = [np.isclose(f, right, atol=1e-5).any() for f in found]
        if all(others):
            same = len(set(np.round(found, 5))) == 1
            raise WrongError("log_prob_of_first" if same else "another_action", seen)
        raise WrongError(
            None, seen, title="another log-probability than expected", think=BY_HAND
        )
    for action, log_prob in draws[:20]:
        seen = (
            f"given     logits {show(x)}\n"
            f"returned  action {action}, log_prob {float(log_prob.detach()):.6g}"
        )
        gradient = None
        if log_prob.requires_grad:
            (gradient,) = torch.autograd.grad(
                log_prob, logits, allow_unused=True, retain_graph=True
            )
        if gradient is None:
            raise WrongError("detached", f"{seen}, without a graph to the logits")
        want = (np.arange(len(x)) == action) - _softmax(x)
        derivative = as_array(gradient)
        if derivative is None or not agree(derivative, want):
            raise WrongError(
                "gradient",
                f"{seen}\ngradient  {show(gradient)}\nexpected  {show(want)}",
            )


def _fits(counts: Array, probabilities: Array) -> bool:
    """Whether frequencies are those of a distribution."""
    possible = probabilities > 0.0
    if counts[~possible].any():
        return False
    if possible.sum() == 1:
        return True
    expected = counts.sum() * probabilities[possible]
    p_value = stats.chisquare(counts[possible], expected).pvalue
    return bool(p_value > FALSE_ALARM)


def _check_frequencies(counted: list[tuple[Array, Array]], answer: Function) -> None:
    if all(_fits(counts, _softmax(x)) for x, counts in counted):
        return
    seen = "\n".join(
        f"logits {show(x)}, {N_DRAWS} draws:\n"
        f"  frequencies  {show(np.round(counts / N_DRAWS, 3))}\n"
        f"  expected     {show(np.round(_softmax(x), 3))}"
        for x, counts in counted
    )
    if all((counts > 0).sum() == 1 for _, counts in counted):
        raise WrongError("greedy" if _is_greedy(answer) else "seeded", seen)
    for key, distribution in _DISTRIBUTIONS.items():
        if all(_fits(counts, distribution(x)) for x, counts in counted):
            raise WrongError(key, seen)
    if any((counts == 0).any() for _, counts in counted):
        raise WrongError("never_drawn", seen)
    raise WrongError(
        None,
        seen,
        title="other frequencies than expected",
        think="From which probabilities does your code draw? Print them for the first "
        "logits, and compare.",
    )


def _is_greedy(answer: Function) -> bool:
    """Whether the action is the most likely one, in whichever place it stands.

    A generator that is seeded at each call gives the same action for one policy, but
    not the most likely one for all orders of the logits.
    """
    for values in LOGITS:
        for shift in range(len(values)):
            logits = torch.tensor(np.roll(values, shift)).float().requires_grad_()
            action, log_prob = _call(answer, logits)
            if _action(action, log_prob, logits) != int(logits.argmax()):
                return False
    return True


def check(answer: Function) -> str:
    """Checks results, log-probabilities, gradients and frequencies of many draws."""
    torch.manual_seed(0)
    np.random.seed(0)
    counted: list[tuple[Array, Array]] = []
    drawn: list[tuple[list[tuple[int, Tensor]], Tensor]] = []
    for values in LOGITS:
        logits = torch.tensor(values, requires_grad=True)
        n_actions, draws = len(values), []
        counts = np.zeros(n_actions + 1)
        for _ in range(N_DRAWS):
            first, second = _call(answer, logits)
            action = _action(first, second, logits)
            if not 0 <= action <= n_actions:
                raise WrongError(
                    None,
                    f"given     logits {show(logits)}\nreturned  action {action}",
                    title="an action that does not exist",
                    think="Which numbers have the actions?",
                )
            counts[action] += 1
            draws.append((action, _log_prob(second, logits, action)))
        if counts[-1]:
            raise WrongError(
                "one_based",
                f"given     logits {show(logits)}: actions 0 to {n_actions - 1}\n"
                f"returned  action {n_actions} in {counts[-1]:.0f} of {N_DRAWS} draws",
            )
        counted.append((np.array(values), counts[:-1]))
        drawn.append((draws, logits))
    mistakes = []
    try:
        _check_frequencies(counted, answer)
    except WrongError as error:
        mistakes.append(error)
    try:
        for draws, logits in drawn:
            _check_log_probs(draws, logits)
    except WrongError as error:
        mistakes.append(error)
    if mistakes:
        # First one with a hint.
        first, *others = sorted(mistakes, key=lambda error: error.hint is None)
        first.seen = "\n".join(error.seen for error in mistakes)
        first.others = tuple(error.hint for error in others if error.hint)
        raise first
    return (
        f"Log-probabilities and gradients agree, and the frequencies of {N_DRAWS} "
        "draws from each of two policies are theirs."
    )


EXERCISE = Exercise("action_sampling", "sample_action", STUB, SOLUTION, HINTS, check)
