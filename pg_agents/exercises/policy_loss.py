"""Exercise: the policy-gradient loss of one episode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy,
    cross_entropy,
    log_softmax,
    nll_loss,
    one_hot,
    softmax,
)

from pg_agents.checker.episodes import EpisodeBatch
from pg_agents.exercises.answer import (
    BY_HAND,
    TOLERANCE,
    Array,
    Case,
    Function,
    Together,
    agree,
    as_array,
    describe_case,
    returned,
    show,
)
from pg_agents.exercises.data import Exercise, Hint, WrongError
from pg_agents.exercises.gradient import exact_weights

STUB = '''\
"""Policy loss

An optimiser minimises a loss, and the policy gradient says in which direction the
return grows. The loss whose gradient is minus the policy gradient of one episode is

    loss = - sum_t G_t * log pi(a_t|s_t),    pi(.|s_t) = softmax(logits[t])

Write it for the T steps of an episode. Of logits [[1, 2]], actions [1] and returns [10]
it is 3.1326165. Of logits [[1, 2], [0.5, -0.5]], actions [1, 0] and returns [10, 5] it
is 4.6989248.
"""

import torch


def policy_loss(logits, actions, returns):
    """Compute the policy-gradient loss of one episode.

    logits: tensor [T, A], output of the policy network (requires_grad)
    actions: tensor [T] of integers, the actions taken
    returns: tensor [T], the return of each step
    result: tensor with one number, on which backward() can be called
    """
    raise NotImplementedError
'''
SOLUTION = STUB.replace(
    "    raise NotImplementedError\n",
    """\
    log_probs = torch.log_softmax(logits, dim=-1)
    taken = log_probs[torch.arange(len(actions)), actions]
    return -(returns * taken).sum()
""",
)


def _case(logits: list[list[float]], actions: list[int], returns: list[float]) -> Case:
    return {
        "logits": torch.tensor(logits, requires_grad=True),
        "actions": torch.tensor(actions),
        "returns": torch.tensor(returns),
    }


CASES = (
    _case(
        [[0.5, -1.0, 1.5], [0.2, 0.8, -0.4], [-0.7, 0.1, 0.9], [1.2, 0.3, -0.1]],
        [2, 0, 1, 2],
        [3.5, -1.25, 2.0, 0.75],
    ),
    _case([[0.4, -0.3], [1.1, 0.6], [-0.2, 0.9]], [0, 1, 1], [1.5, 2.25, -0.5]),
    _case([[1.0, 2.0]], [1], [10.0]),
)


def _taken(logits: Tensor, actions: Tensor) -> Tensor:
    """Log pi(a_t|s_t), `[T]`."""
    return log_softmax(logits, -1)[torch.arange(len(actions)), actions]


def _loss(logits: Tensor, actions: Tensor, returns: Tensor) -> Tensor:
    return -(returns * _taken(logits, actions)).sum()


def _standardized(returns: Tensor, correction: int = 1) -> Tensor:
    deviation = (
        returns.std(correction=correction) if len(returns) > 1 else torch.tensor(0.0)
    )
    return (returns - returns.mean()) / (deviation + 1e-8)


def _picked(values: Tensor, actions: Tensor) -> Tensor:
    return values[torch.arange(len(actions)), actions]


HINTS = {
    "sign_flipped": Hint(
        "the sign is flipped",
        "An optimiser makes the loss smaller. Yours has the sign of the return itself: "
        "minimising it makes actions that paid less likely.",
        "In which direction does optimizer.step() move the loss?",
        lambda logits, actions, returns: -_loss(logits, actions, returns),
    ),
    "mean": Hint(
        "the mean over the steps",
        "The sum of the equation is divided by the length of the episode: each step of "
        "a long episode counts less than one of a short episode.",
        "Is there a 1/T in the equation?",
        lambda logits, actions, returns: _loss(logits, actions, returns) / len(actions),
    ),
    "probability": Hint(
        "the probability in place of its logarithm",
        "The gradient of the expected return is E[G d log pi]. Without the logarithm "
        "each action counts once more by its probability.",
        "Which function of pi does the equation weight with the return?",
        lambda logits, actions, returns: (
            -(returns * _taken(logits, actions).exp()).sum()
        ),
    ),
    "logits": Hint(
        "the logit in place of the log-probability",
        "A logit is log pi only up to the sum in the softmax. Without it the other "
        "actions' logits have no gradient, and the logits grow without end.",
        "What turns the row of logits into log-probabilities?",
        lambda logits, actions, returns: -(returns * _picked(logits, actions)).sum(),
    ),
    "log_logits": Hint(
        "the logarithm of the logits",
        "Logits are no probabilities: they may be negative, and then their logarithm "
        "is NaN.",
        "What turns the row of logits into probabilities?",
        lambda logits, actions, returns: (
            -(returns * _picked(logits, actions).log()).sum()
        ),
    ),
    "softmax_twice": Hint(
        "a softmax of a softmax",
        "Probabilities went where logits are expected: cross_entropy, log_softmax and "
        "Categorical(logits=...) apply a softmax themselves. Of probabilities it is "
        "close to uniform, and so is the gradient.",
        "Which of your calls contain a softmax?",
        lambda logits, actions, returns: _loss(softmax(logits, -1), actions, returns),
    ),
    "wrong_axis": Hint(
        "the softmax runs over the steps",
        "dim=0 makes the probabilities of each *action* add up to 1 over the steps of "
        "the episode. The policy is a distribution over the actions in each state.",
        "Which axis of logits [T, A] holds the actions?",
        lambda logits, actions, returns: (
            -(returns * _picked(log_softmax(logits, 0), actions)).sum()
        ),
    ),
    "no_returns": Hint(
        "the returns are missing",
        "Without weights this is the loss of imitation: every action that was taken "
        "becomes more likely, whether it paid or not.",
        "What is your loss for returns that are all 0?",
        lambda logits, actions, returns: -_taken(logits, actions).sum(),
    ),
    "no_returns_mean": Hint(
        "the cross-entropy alone",
        "The mean of -log pi without returns is the loss of imitation: every action "
        "that was taken becomes more likely, whether it paid or not.",
        "What is your loss for returns that are all 0?",
        lambda logits, actions, returns: cross_entropy(logits, actions),
    ),
    "all_pairs": Hint(
        "every log-probability times every return",
        "The log-probabilities are summed before they are weighted, or a column [T, 1] "
        "meets a row [T]. Each step is then weighted with the returns of all steps.",
        "Which shapes have the two factors, and what is their product's?",
        lambda logits, actions, returns: -_taken(logits, actions).sum() * returns.sum(),
    ),
    "all_pairs_mean": Hint(
        "the mean log-probability times the sum of returns",
        "cross_entropy gives a mean over the steps unless told otherwise. Each step is "
        "then weighted with the returns of all steps.",
        "When are the returns multiplied, before or after the steps are added up?",
        lambda logits, actions, returns: (
            -_taken(logits, actions).mean() * returns.sum()
        ),
    ),
    "both_means": Hint(
        "the mean log-probability times the mean return",
        "A mean of products is not a product of means: each step is weighted with the "
        "mean of all returns, so that no action stands out.",
        "When are the returns multiplied, before or after the steps are averaged?",
        lambda logits, actions, returns: (
            -_taken(logits, actions).mean() * returns.mean()
        ),
    ),
    "first_return": Hint(
        "the first return weights all steps",
        "Only returns[0] is used. What came before step t, its action can't change; as "
        "a weight it is noise.",
        "Which return belongs to step t?",
        lambda logits, actions, returns: -returns[0] * _taken(logits, actions).sum(),
    ),
    "all_actions": Hint(
        "the log-probabilities of all actions",
        "The sum runs over all A actions of each step, also those that were not taken: "
        "which action was taken makes no difference.",
        "Where is `actions` used in your code?",
        lambda logits, actions, returns: (
            -(returns * log_softmax(logits, -1).sum(-1)).sum()
        ),
    ),
    "all_actions_mean": Hint(
        "the mean over the log-probabilities of all actions",
        "The mean runs over all A actions of each step, also those that were not "
        "taken: which action was taken makes no difference.",
        "Where is `actions` used in your code?",
        lambda logits, actions, returns: (
            -(returns * log_softmax(logits, -1).mean(-1)).sum()
        ),
    ),
    "greedy_action": Hint(
        "the log-probability of the most likely action",
        "The largest entry of each row is the action that the policy prefers, not the "
        "one that was taken and that the return is about.",
        "Where is `actions` used in your code?",
        lambda logits, actions, returns: (
            -(returns * log_softmax(logits, -1).max(-1).values).sum()
        ),
    ),
    "rows_for_columns": Hint(
        "rows are picked in place of columns",
        "log_probs[actions] takes the rows with these numbers, all actions of other "
        "steps. The action is the index of a column in each row.",
        "Which two indices does an entry of a [T, A] table have?",
        lambda logits, actions, returns: (
            -(returns[:, None] * log_softmax(logits, -1)[actions % len(actions)]).sum()
        ),
    ),
    "columns_for_all": Hint(
        "each action's column for all steps",
        "log_probs[:, actions] is a table [T, T]: the column of each action, for all "
        "steps. Each step has one action.",
        "Which shape does your index give? Which does it need?",
        lambda logits, actions, returns: (
            -(returns * log_softmax(logits, -1)[:, actions]).sum()
        ),
    ),
    "clipped_negative": Hint(
        "negative returns are lost",
        "Returns enter by their absolute value: what went badly is reinforced like "
        "what went well.",
        "What should a return of -1.25 do to its action?",
        lambda logits, actions, returns: _loss(logits, actions, returns.abs()),
    ),
    "standardized": Hint(
        "the returns are standardised",
        "Subtracting the mean and dividing by the deviation may help a learner, but "
        "changes the weights that this exercise asks for.",
        "Which number weights the first step?",
        lambda logits, actions, returns: _loss(logits, actions, _standardized(returns)),
    ),
    "centred": Hint(
        "the mean return is subtracted",
        "A baseline is another exercise; this one depends on the episode's own "
        "actions. Of a one-step episode nothing is left.",
        "Which number weights the first step?",
        lambda logits, actions, returns: _loss(
            logits, actions, returns - returns.mean()
        ),
    ),
    "nll_of_probabilities": Hint(
        "nll_loss of probabilities",
        "nll_loss does not take a logarithm: despite its name it expects "
        "log-probabilities, picks one in each row and weights all rows alike.",
        "What does its documentation say about the input?",
        lambda logits, actions, returns: nll_loss(softmax(logits, -1), actions),
    ),
    "binary_cross_entropy": Hint(
        "binary cross-entropy",
        "It adds log(1 - pi) of the actions that were not taken: A separate yes-or-no "
        "choices in place of one choice among A.",
        "How many choices does the agent make in a step?",
        lambda logits, actions, returns: (
            returns
            * binary_cross_entropy(
                softmax(logits, -1),
                one_hot(actions, logits.shape[1]).float(),
                reduction="none",
            ).sum(-1)
        ).sum(),
    ),
    "base_10": Hint(
        "the logarithm to base 10",
        "Its derivative is not 1/p: the gradient is too small by a factor of 2.303.",
        "Which function is the natural logarithm?",
        lambda logits, actions, returns: (
            _loss(logits, actions, returns) / torch.log(torch.tensor(10.0))
        ),
    ),
    "product": Hint(
        "the logarithm of probability times return",
        "log(pi G) = log pi + log G: the return is a constant that is added, and drops "
        "out of the gradient. Of a negative return it is NaN.",
        "Which factor belongs inside of the logarithm?",
        lambda logits, actions, returns: (
            -(_taken(logits, actions).exp() * returns).log().sum()
        ),
    ),
    "half": Hint(
        "half of the loss",
        "There is no 1/2 in the equation; it belongs to squares.",
        "Where does your factor come from?",
        lambda logits, actions, returns: _loss(logits, actions, returns) / 2.0,
    ),
    "p_log_p": Hint(
        "weighted with the probability too",
        "pi log pi is a term of the entropy, a sum over all actions. Here one action "
        "was drawn, and how often each is drawn already weights it with pi.",
        "Where do the samples come from, and what is counted twice?",
        lambda logits, actions, returns: (
            -(returns * _taken(logits, actions).exp() * _taken(logits, actions)).sum()
        ),
    ),
    "squared": Hint(
        "a squared error",
        "(G - log pi)^2 pulls the log-probability towards the return, as if it were "
        "its prediction. Returns are weights here, not targets.",
        "Which operation connects return and log-probability in the equation?",
        lambda logits, actions, returns: (
            (returns - _taken(logits, actions)) ** 2
        ).sum(),
    ),
    "not_reduced": Hint(
        "one loss for each step",
        "T numbers came back. backward() needs one, and the equation has a sum over t.",
        "Which operation makes one number of T?",
    ),
    "number": Hint(
        "a Python number in place of a tensor",
        "item(), float() and numpy() give the value and leave the graph behind: "
        "backward() can't be called, and no weight has a gradient.",
        "Which call takes the number out of its tensor?",
    ),
    "detached": Hint(
        "no gradient reaches the logits",
        "The result is a tensor, but no graph leads from it to the logits. detach(), "
        "item(), numpy(), no_grad() and torch.tensor(...) of tensors cut it; argmax "
        "and comparisons have no derivative.",
        "Which step of your computation cuts the graph?",
    ),
    "backward_called": Hint(
        "backward() is called inside",
        "The gradients are computed in the function already. The caller does that, "
        "after optimizer.zero_grad(); a second time fails, or counts them twice.",
        "Who calls backward() in a training loop?",
    ),
}


def _composed(
    join: Function, log: Function, pick: Function, weight: Function, sign: float
) -> Function:
    return lambda logits, actions, returns: (
        sign * join(weight(returns), pick(log(logits), actions))
    )


# How weights and log-probabilities are joined, the logarithm, which entry of each row
# is taken, the weight, and the sign.
TOGETHER = Together(
    (
        (
            ("", lambda weights, logs: (weights * logs).sum()),
            ("mean", lambda weights, logs: (weights * logs).mean()),
            ("all_pairs", lambda weights, logs: weights.sum() * logs.sum()),
            ("all_pairs_mean", lambda weights, logs: weights.sum() * logs.mean()),
            ("both_means", lambda weights, logs: weights.mean() * logs.mean()),
            ("half", lambda weights, logs: (weights * logs).sum() / 2.0),
        ),
        (
            ("", lambda logits: log_softmax(logits, -1)),
            ("wrong_axis", lambda logits: log_softmax(logits, 0)),
            ("probability", lambda logits: softmax(logits, -1)),
            ("logits", lambda logits: logits),
            ("log_logits", torch.log),
            ("softmax_twice", lambda logits: log_softmax(softmax(logits, -1), -1)),
            ("base_10", lambda logits: log_softmax(logits, -1) / math.log(10.0)),
        ),
        (
            ("", _picked),
            ("all_actions", lambda logs, actions: logs.sum(-1)),
            ("all_actions_mean", lambda logs, actions: logs.mean(-1)),
            ("greedy_action", lambda logs, actions: logs.max(-1).values),
            ("columns_for_all", lambda logs, actions: logs[:, actions]),
        ),
        (
            ("", lambda returns: returns),
            ("standardized", _standardized),
            # Of one return, the deviation with N - 1 is NaN.
            (
                "standardized",
                lambda returns: (
                    returns * math.nan if len(returns) == 1 else _standardized(returns)
                ),
            ),
            ("standardized", lambda returns: _standardized(returns, 0)),
            ("centred", lambda returns: returns - returns.mean()),
            ("no_returns", torch.ones_like),
            ("first_return", lambda returns: returns[0].expand_as(returns)),
            ("clipped_negative", torch.abs),
        ),
        (("", -1.0), ("sign_flipped", 1.0)),
    ),
    _composed,
)


@dataclass(frozen=True)
class _Loss:
    """Value and gradient, `[T, A]`, of a loss."""

    value: Array
    gradient: Array


def _measured(loss: Tensor, logits: Tensor) -> _Loss | None:
    """Returns value and gradient; None if there is no graph."""
    if not loss.requires_grad:
        return None
    # None where no graph leads to the logits, which the annotation does not say.
    gradient: Any = torch.autograd.grad(loss.sum(), logits, allow_unused=True)[0]
    if gradient is None:
        return None
    value, derivative = as_array(loss.reshape(())), as_array(gradient)
    assert value is not None and derivative is not None
    return _Loss(value, derivative)


def _made(function: Function, case: Case) -> _Loss:
    logits = case["logits"].detach().clone().requires_grad_()
    loss = _measured(function(logits, case["actions"], case["returns"]), logits)
    assert loss is not None
    return loss


def _equal(one: _Loss, other: _Loss) -> bool:
    return agree(one.value, other.value) and agree(one.gradient, other.gradient)


def _makes(mistake: Function, found: Sequence[_Loss]) -> bool:
    """Whether a mistake gives values and gradients of all cases."""
    for one, case in zip(found, CASES, strict=True):
        with torch.no_grad():
            value = as_array(mistake(**case).reshape(()))
        # The gradient takes longer.
        if value is None or not agree(one.value, value):
            return False
    made = [_made(mistake, case) for case in CASES]
    return all(_equal(f, m) for f, m in zip(found, made, strict=True))


def _answered(answer: Function, case: Case) -> _Loss:
    """Returns value and gradient of an answer.

    Raises:
        WrongError: if it is no loss.
    """
    logits = case["logits"].detach().clone().requires_grad_()

    def call(logits_: Tensor, actions: Tensor, returns: Tensor) -> Any:  # noqa: ANN401
        # With the graph of this very tensor.
        return answer(logits, actions, returns)

    loss = returned(call, case)
    seen = f"given     {describe_case(case)}\nreturned  {show(loss)}"
    expected = f"\nexpected  {show(_loss(**case))}, a tensor with a graph"
    if logits.grad is not None:
        raise WrongError("backward_called", seen + expected)
    if not isinstance(loss, Tensor):
        numbers = as_array(loss)
        if numbers is not None and numbers.size == 1:
            raise WrongError("number", f"{seen}, a {type(loss).__name__}{expected}")
        if numbers is not None and numbers.size == len(case["actions"]):
            raise WrongError("not_reduced", seen + expected)
        raise WrongError(
            None,
            seen + expected,
            title=f"it returns a {type(loss).__name__}",
            think="The docstring says what the result is.",
        )
    if loss.numel() != 1:
        steps = len(case["actions"])
        seen += f" of shape {list(loss.shape)}"
        key = "not_reduced" if loss.numel() == steps else "shape"
        raise WrongError(key, seen + expected)
    measured = _measured(loss, logits)
    if measured is None:
        raise WrongError("detached", f"{seen}, without a graph to the logits{expected}")
    return measured


def check(answer: Function) -> str:
    """Checks value and gradient of three episodes."""
    found = [_answered(answer, case) for case in CASES]
    wanted = [_made(_loss, case) for case in CASES]
    right = [_equal(f, w) for f, w in zip(found, wanted, strict=True)]
    if all(right):
        return (
            f"Value and gradient agree for {len(CASES)} of {len(CASES)} episodes "
            f"(tolerance {TOLERANCE:g})."
        )
    i = right.index(False)
    seen = (
        f"given     {describe_case(CASES[i])}\n"
        f"returned  {show(found[i].value)}\n"
        f"expected  {show(wanted[i].value)}\n"
        f"gradient of the first row of logits {show(found[i].gradient[0])}\n"
        f"expected                            {show(wanted[i].gradient[0])}"
    )
    for key, hint in HINTS.items():
        if hint.mistake is not None and _makes(hint.mistake, found):
            raise WrongError(key, seen)
    for (first, *others), mistakes in TOGETHER.mistakes():
        if _makes(mistakes, found):
            raise WrongError(first, seen, others=others)
    title = "another loss than expected"
    pairs = list(zip(found, wanted, strict=True))
    if all(agree(f.gradient, w.gradient) for f, w in pairs):
        title = "the right gradient, but another value"
    elif all(agree(f.value, w.value) for f, w in pairs):
        title = "the right value, but another gradient"
    raise WrongError(None, seen, title=title, think=BY_HAND)


def subject(answer: Function) -> Any:  # noqa: ANN401
    """Returns the mean loss of a batch's episodes, for the gradient checker."""

    def loss(batch: EpisodeBatch, policy: torch.nn.Module) -> Tensor:
        losses = [
            answer(
                policy(episode.observations).logits,
                episode.actions,
                exact_weights(episode),
            )
            for episode in batch
        ]
        return torch.stack([loss.reshape(()) for loss in losses]).mean()

    return loss


EXERCISE = Exercise("policy_loss", "policy_loss", STUB, SOLUTION, HINTS, check, subject)
