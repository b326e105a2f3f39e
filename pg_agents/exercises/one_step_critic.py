"""Exercise: advantages and critic loss of one-step actor-critic."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

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

STUB = '''\
"""One-step critic

A critic V estimates the return of a state. After one step it can be compared with what
came of it: the reward and the value of the next state. The difference is the TD error,

    target_t = r_t + gamma * V(s_{t+1})      V(s_{t+1}) counts as 0 if the episode has
    delta_t  = target_t - V(s_t)             terminated: nothing follows

A time limit (truncated) cuts the data, not the task: the value of the next state
counts. The actor weights its log-probability with delta_t, as a number without
gradient. The critic minimises

    critic_loss = mean_t delta_t^2

in which the target is a fixed number: the gradient flows through V(s_t) alone.
Write a function that gives both for a batch of B steps.
"""

import torch


def one_step_critic(rewards, values, next_values, terminated, truncated, gamma):
    """Compute the advantages of the actor and the loss of the critic.

    rewards: tensor [B]
    values: tensor [B], V(s_t) of the critic (part of a graph)
    next_values: tensor [B], V(s_{t+1}) of the critic (part of a graph)
    terminated: tensor [B] of bool, whether the episode ended in this step
    truncated: tensor [B] of bool, whether a time limit cut it off in this step
    gamma: discount factor, a number from 0 to 1 (both included)
    result: (advantages [B], critic_loss), tensors; advantages are the delta_t, without
        a graph
    """
    raise NotImplementedError
'''
SOLUTION = STUB.replace(
    "    raise NotImplementedError\n",
    """\
    target = (rewards + gamma * next_values * ~terminated).detach()
    delta = target - values
    return delta.detach(), (delta**2).mean()
""",
)


def _case(
    rewards: list[float],
    values: list[float],
    next_values: list[float],
    terminated: list[int],
    truncated: list[int],
    gamma: float,
) -> Case:
    return {
        "rewards": torch.tensor(rewards),
        "values": torch.tensor(values, requires_grad=True),
        "next_values": torch.tensor(next_values, requires_grad=True),
        "terminated": torch.tensor(terminated).bool(),
        "truncated": torch.tensor(truncated).bool(),
        "gamma": gamma,
    }


CASES = (
    _case(
        [1.0, -0.5, 2.0, 0.25],
        [0.8, 1.6, 0.5, -1.1],
        [1.6, 0.7, 3.0, 1.9],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        0.9,
    ),
    _case(
        [0.3, 1.2, -2.0], [0.4, -0.9, 1.5], [2.1, -1.4, 0.6], [1, 0, 0], [0, 0, 1], 0.5
    ),
    _case([1.5, 0.7], [0.2, -0.6], [-0.8, 1.3], [0, 0], [0, 0], 1.0),
)


@dataclass(frozen=True)
class _Critic:
    """What a function gives: advantages, loss, and its gradients by both values."""

    advantages: Array
    loss: Array
    by_values: Array
    by_next_values: Array


def _target(r: Tensor, n: Tensor, terminated: Tensor, gamma: float) -> Tensor:
    return r + gamma * n * ~terminated


def _both(delta: Tensor) -> tuple[Tensor, Tensor]:
    return delta.detach(), (delta**2).mean()


def _right(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
) -> tuple[Tensor, Tensor]:
    return _both(_target(rewards, next_values, terminated, gamma).detach() - values)


def _with_loss(
    both: tuple[Tensor, Tensor], change: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    return both[0], change(both[1])


def _standardized(advantages: Tensor) -> Tensor:
    return (advantages - advantages.mean()) / (advantages.std() + 1e-8)


# Below, r, v, n are rewards, values and next values, e and c where an episode ended or
# was cut off, and g is gamma.
HINTS = {
    "through_terminal": Hint(
        "bootstrapping through a terminal state",
        "Where the episode has terminated nothing follows, but the value of the next "
        "state is added all the same. With automatic resets it is that of another "
        "episode's first state.",
        "What is the target of a step in which the episode ended?",
        lambda r, v, n, e, c, g: _both((r + g * n).detach() - v),
    ),
    "truncated_as_terminated": Hint(
        "a time limit counts as an end",
        "The next value is dropped where the episode was truncated, too. The limit "
        "cuts the data: the task goes on, and the next state is worth as much as "
        "ever. Otherwise the critic learns that good states near the limit are worth "
        "little.",
        "Which of the two flags says that nothing follows?",
        lambda r, v, n, e, c, g: _both(_target(r, n, e | c, g).detach() - v),
    ),
    "only_truncated": Hint(
        "the wrong flag",
        "The next value is dropped where the episode was truncated, and kept where it "
        "has terminated.",
        "Which of the two flags says that nothing follows?",
        lambda r, v, n, e, c, g: _both(_target(r, n, c, g).detach() - v),
    ),
    "mask_inverted": Hint(
        "the flag is used the wrong way round",
        "The next value counts only where the episode has terminated, which is where "
        "it should not.",
        "Is the factor on the next value 0 or 1 in an ordinary step?",
        lambda r, v, n, e, c, g: _both(_target(r, n, ~e, g).detach() - v),
    ),
    "no_gamma": Hint(
        "the next value is not discounted",
        "gamma is missing in the target: with gamma below 1 the next value counts too "
        "much, and the critic's values grow beyond the returns.",
        "Does your result change when gamma does?",
        lambda r, v, n, e, c, g: _both(_target(r, n, e, 1.0).detach() - v),
    ),
    "gamma_squared": Hint(
        "gamma is applied twice",
        "The next value is one step away: it counts gamma once.",
        "Where in your code is gamma multiplied?",
        lambda r, v, n, e, c, g: _both(_target(r, n, e, g * g).detach() - v),
    ),
    "gamma_on_all": Hint(
        "the reward is discounted too",
        "gamma multiplies reward and next value. The reward comes in this step and "
        "counts in full.",
        "What stands in front of r_t in the equation?",
        lambda r, v, n, e, c, g: _both((g * (r + n * ~e)).detach() - v),
    ),
    "reward_masked": Hint(
        "the last reward is lost",
        "Where the episode has terminated, the whole target is 0. The reward of that "
        "step was paid, and is often the one that matters.",
        "What exactly counts as 0 after the end?",
        lambda r, v, n, e, c, g: _both(((r + g * n) * ~e).detach() - v),
    ),
    "no_reward": Hint(
        "the reward is missing",
        "The difference is between two values alone: nothing from outside enters, and "
        "the critic learns nothing about the task.",
        "Which of the arguments does your result not depend on?",
        lambda r, v, n, e, c, g: _both(_target(0.0 * r, n, e, g).detach() - v),
    ),
    "no_bootstrap": Hint(
        "the next value is missing",
        "Reward minus value takes the return to be one reward long.",
        "What stands for all that comes after this step?",
        lambda r, v, n, e, c, g: _both(r - v),
    ),
    "target_as_advantage": Hint(
        "the target in place of the TD error",
        "The value of the state is not subtracted from the advantage. Where all "
        "rewards are positive, every action is then reinforced.",
        "Compared with what was the action good?",
        lambda r, v, n, e, c, g: (
            _target(r, n, e, g).detach(),
            _right(r, v, n, e, c, g)[1],
        ),
    ),
    "sign_flipped": Hint(
        "value minus target",
        "The square hides it in the critic's loss, but the advantage has the wrong "
        "sign: an action that went better than expected becomes less likely.",
        "Which sign has delta_t after a large reward?",
        lambda r, v, n, e, c, g: _both(v - _target(r, n, e, g).detach()),
    ),
    "swapped_values": Hint(
        "the two values are swapped",
        "V(s_t) stands in the target and V(s_{t+1}) is subtracted.",
        "Which value belongs to the state that the step leads to?",
        lambda r, v, n, e, c, g: _both(_target(r, v, e, g).detach() - n),
    ),
    "target_not_detached": Hint(
        "the gradient flows through the target",
        "The loss has a gradient by the next values, too: the critic also moves the "
        "value of the next state towards that of this one, so that what comes later is "
        "pulled to what came before.",
        "Which part of delta_t is a fixed number for the critic?",
        lambda r, v, n, e, c, g: (lambda delta: (delta.detach(), (delta**2).mean()))(
            _target(r, n, e, g) - v
        ),
    ),
    "value_detached": Hint(
        "the gradient flows through the target alone",
        "V(s_t) is detached and the target is not: the critic moves the next state's "
        "value, and never that of the state it is asked about.",
        "Which of the two is the prediction, and which the target?",
        lambda r, v, n, e, c, g: _both(_target(r, n, e, g) - v.detach()),
    ),
    "summed": Hint(
        "the sum of squares",
        "The equation has a mean: a sum grows with the batch, and so does the critic's "
        "step size.",
        "Is your loss the same for a batch that holds every step twice?",
        lambda r, v, n, e, c, g: _with_loss(
            _right(r, v, n, e, c, g), lambda loss: len(r) * loss
        ),
    ),
    "half": Hint(
        "half of the squared error",
        "There is no 1/2 in this equation: the gradient is half as long.",
        "Where does your factor come from?",
        lambda r, v, n, e, c, g: _with_loss(
            _right(r, v, n, e, c, g), lambda loss: loss / 2.0
        ),
    ),
    "not_squared": Hint(
        "the error itself, not its square",
        "The mean of delta_t can be lowered without end by raising all values: "
        "positive and negative errors cancel.",
        "For which values is your loss smallest?",
        lambda r, v, n, e, c, g: (lambda delta: (delta.detach(), delta.mean()))(
            _target(r, n, e, g).detach() - v
        ),
    ),
    "absolute": Hint(
        "the absolute error",
        "Its minimum is the median of the targets, and a value is their mean.",
        "Which power of delta_t stands in the equation?",
        lambda r, v, n, e, c, g: (lambda delta: (delta.detach(), delta.abs().mean()))(
            _target(r, n, e, g).detach() - v
        ),
    ),
    "smooth_l1": Hint(
        "the smooth L1 loss",
        "It is half a square for small errors and linear for large ones. Many programs "
        "use it, but it is not the mean of squares asked for.",
        "What does the documentation of your loss function compute?",
        lambda r, v, n, e, c, g: (
            _right(r, v, n, e, c, g)[0],
            smooth_l1_loss(v, _target(r, n, e, g).detach()),
        ),
    ),
    "square_of_mean": Hint(
        "the square of the mean error",
        "Positive and negative errors cancel before they are squared.",
        "In which order do square and mean stand in the equation?",
        lambda r, v, n, e, c, g: (lambda delta: (delta.detach(), delta.mean() ** 2))(
            _target(r, n, e, g).detach() - v
        ),
    ),
    "loss_negative": Hint(
        "the loss has a minus",
        "The loss is negative: minimising it makes the error larger.",
        "For which values is your loss smallest?",
        lambda r, v, n, e, c, g: _with_loss(
            _right(r, v, n, e, c, g), lambda loss: -loss
        ),
    ),
    "standardized": Hint(
        "the advantages are standardised",
        "Mean and deviation of the batch are another step, which the equation does not "
        "have.",
        "What should the first advantage be?",
        lambda r, v, n, e, c, g: (
            _standardized(_right(r, v, n, e, c, g)[0]),
            _right(r, v, n, e, c, g)[1],
        ),
    ),
    "advantage_not_detached": Hint(
        "the advantages carry a gradient",
        "In the actor's loss they are weights. With a graph, the actor's loss also "
        "moves the critic: it can be lowered by changing the values in place of the "
        "probabilities. The critic's loss is another matter: it needs the graph.",
        "Both results are made of delta_t. For which of them has the graph to be cut, "
        "and where, so that the other one keeps it?",
    ),
    "loss_detached": Hint(
        "no gradient reaches the values",
        "The loss has no graph to V(s_t): the critic can't learn. detach(), item(), "
        "numpy() and no_grad() cut it.",
        "Which part of delta_t is the critic's prediction, and is it still there when "
        "the loss is computed?",
    ),
    "loss_per_step": Hint(
        "one loss for each step",
        "B numbers came back as the loss. backward() needs one, and the equation has a "
        "mean.",
        "Which operation makes one number of B?",
    ),
    "swapped": Hint(
        "the two results are swapped",
        "The loss stands first, and the advantages second.",
        "In which order does the docstring name them?",
    ),
    "one_result": Hint(
        "one result in place of two",
        "The actor needs the advantages and the critic its loss.",
        "Which two things does the docstring ask for?",
    ),
}


def _composed(
    target: Function,
    reward: Function,
    discount: Function,
    cut: Function,
    sign: float,
    advantage: Function,
    loss: Function,
) -> Function:
    def critic(
        r: Tensor, v: Tensor, n: Tensor, e: Tensor, c: Tensor, g: float
    ) -> tuple[Tensor, Tensor]:
        goal, value = cut(target(reward(r, g), discount(g) * n, e, c), v)
        delta = sign * (goal - value)
        return advantage(delta, goal).detach(), loss(delta)

    return critic


# The target of a reward x and a discounted next value y, reward, discount, what is
# detached, the sign, the advantages and the loss.
TOGETHER = Together(
    (
        (
            ("", lambda x, y, e, c: x + y * ~e),
            ("through_terminal", lambda x, y, e, c: x + y),
            ("truncated_as_terminated", lambda x, y, e, c: x + y * ~(e | c)),
            ("only_truncated", lambda x, y, e, c: x + y * ~c),
            ("mask_inverted", lambda x, y, e, c: x + y * e),
            ("reward_masked", lambda x, y, e, c: (x + y) * ~e),
            ("no_bootstrap", lambda x, y, e, c: x + 0.0 * y),
        ),
        (
            ("", lambda r, g: r),
            ("gamma_on_all", lambda r, g: g * r),
            ("no_reward", lambda r, g: 0.0 * r),
        ),
        (
            ("", lambda g: g),
            ("no_gamma", lambda g: 1.0),
            ("gamma_squared", lambda g: g * g),
        ),
        (
            ("", lambda goal, value: (goal.detach(), value)),
            ("target_not_detached", lambda goal, value: (goal, value)),
            ("value_detached", lambda goal, value: (goal, value.detach())),
        ),
        (("", 1.0), ("sign_flipped", -1.0)),
        (
            ("", lambda delta, goal: delta),
            ("target_as_advantage", lambda delta, goal: goal),
            ("standardized", lambda delta, goal: _standardized(delta)),
        ),
        (
            ("", lambda delta: (delta**2).mean()),
            ("summed", lambda delta: (delta**2).sum()),
            ("half", lambda delta: (delta**2).mean() / 2.0),
            ("not_squared", torch.mean),
            ("absolute", lambda delta: delta.abs().mean()),
            ("smooth_l1", lambda delta: smooth_l1_loss(delta, torch.zeros_like(delta))),
            ("square_of_mean", lambda delta: delta.mean() ** 2),
            ("loss_negative", lambda delta: -(delta**2).mean()),
        ),
    ),
    _composed,
)


def _measured(result: tuple[Tensor, Tensor], v: Tensor, n: Tensor) -> _Critic:
    """Returns what is compared; gradients are zero where there is no graph."""
    advantages, loss = result
    numbers = [as_array(advantages), as_array(loss.reshape(()))]
    gradients = (
        torch.autograd.grad(loss.sum(), (v, n), allow_unused=True)
        if loss.requires_grad
        else (None, None)
    )
    for gradient, by in zip(gradients, (v, n), strict=True):
        numbers.append(as_array(torch.zeros_like(by) if gradient is None else gradient))
    return _Critic(*(number for number in numbers if number is not None))


def _equal(one: _Critic, other: _Critic, gradients: bool = True) -> bool:
    """Whether two results agree, with or without the loss's gradients."""
    pairs = [(one.advantages, other.advantages), (one.loss, other.loss)]
    if gradients:
        pairs.append((one.by_values, other.by_values))
        pairs.append((one.by_next_values, other.by_next_values))
    return all(agree(x, y) for x, y in pairs)


def _called(function: Function, case: Case) -> tuple[Any, Tensor, Tensor]:
    """Calls a function with values that are part of a graph."""
    v, n = (
        case[x].detach().clone().requires_grad_() for x in ("values", "next_values")
    )

    def call(
        rewards: Tensor, _v: Tensor, _n: Tensor, e: Tensor, c: Tensor, gamma: float
    ) -> Any:  # noqa: ANN401
        return function(rewards, v, n, e, c, gamma)

    return returned(call, case), v, n


def _answered(answer: Function, case: Case) -> tuple[_Critic, tuple[str, ...]]:
    """Returns what an answer gives, and the keys of its mistakes with the graph.

    Raises:
        WrongError: if it is not two results, a vector and a loss.
    """
    result, v, n = _called(answer, case)
    given = f"given     {describe_case(case)}\n"
    if not isinstance(result, tuple | list) or len(result) != 2:
        what = show(result)
        if isinstance(result, tuple | list):
            what += f", {len(result)} results"
        raise WrongError("one_result", f"{given}returned  {what}")
    advantages, loss = result
    n_steps = len(case["rewards"])
    shapes = [getattr(as_array(part), "shape", None) for part in result]
    seen = (
        f"{given}returned  advantages {show(advantages)}\n"
        f"          critic_loss {show(loss)}"
    )
    if shapes[0] == () and shapes[1] == (n_steps,):
        raise WrongError("swapped", seen)
    if shapes[0] != (n_steps,):
        raise WrongError("shape", f"{seen}\nadvantages of shape {shapes[0]}")
    if shapes[1] == (n_steps,):
        raise WrongError("loss_per_step", seen)
    if shapes[1] not in ((), (1,)):
        raise WrongError("shape", f"{seen}\ncritic_loss of shape {shapes[1]}")
    graphs: tuple[Tensor | None, ...] = ()
    if isinstance(loss, Tensor) and loss.requires_grad:
        graphs = torch.autograd.grad(
            loss.sum(), (v, n), allow_unused=True, retain_graph=True
        )
    else:
        loss = torch.tensor(float(loss))
    mistakes = []
    if isinstance(advantages, Tensor) and advantages.requires_grad:
        mistakes.append("advantage_not_detached")
    if all(graph is None for graph in graphs):
        mistakes.append("loss_detached")
    return _measured((advantages, loss), v, n), tuple(mistakes)


def _mistakes(found: list[_Critic], gradients: bool) -> tuple[str, ...]:
    """Returns the keys of the mistakes that give these results; empty if unknown."""
    single = (((key,), hint.mistake) for key, hint in HINTS.items())
    for keys, mistake in itertools.chain(single, TOGETHER.mistakes()):
        if mistake is not None and all(
            _equal(f, _measured(*_called(mistake, case)), gradients)
            for f, case in zip(found, CASES, strict=True)
        ):
            return keys
    return ()


def check(answer: Function) -> str:
    """Checks advantages, loss and the loss's gradients of three batches."""
    answers = [_answered(answer, case) for case in CASES]
    found, of_graph = [one for one, _ in answers], answers[0][1]
    gradients = "loss_detached" not in of_graph
    wanted = [_measured(*_called(_right, case)) for case in CASES]
    right = [_equal(f, w, gradients) for f, w in zip(found, wanted, strict=True)]
    if all(right) and not of_graph:
        return (
            f"Advantages, loss and gradients agree for {len(CASES)} of {len(CASES)} "
            f"batches (tolerance {TOLERANCE:g})."
        )
    i = 0 if all(right) else right.index(False)
    f, w = found[i], wanted[i]
    lines = [f"given  {describe_case(CASES[i])}"]
    for name, got, want in (
        ("advantages", f.advantages, w.advantages),
        ("critic_loss", f.loss, w.loss),
        ("d loss / d values", f.by_values, w.by_values),
        ("d loss / d next_values", f.by_next_values, w.by_next_values),
    ):
        if not name.startswith("d loss"):
            difference = "" if agree(got, want) else f", expected {show(want)}"
            lines.append(f"{name}: {show(got)}{difference}")
        elif gradients and not agree(got, want):
            lines.append(f"{name}: {show(got)}, expected {show(want)}")
    if "advantage_not_detached" in of_graph:
        lines.append("advantages have a graph to the values, expected none")
    if not gradients:
        lines.append("critic_loss has no graph to the values, expected one")
    keys = of_graph if all(right) else of_graph + _mistakes(found, gradients)
    first, others = (keys[0], keys[1:]) if keys else (None, ())
    raise WrongError(first, "\n".join(lines), others=others, think=BY_HAND)


EXERCISE = Exercise("one_step_critic", "one_step_critic", STUB, SOLUTION, HINTS, check)
