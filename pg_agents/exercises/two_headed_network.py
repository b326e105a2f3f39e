"""Exercise: a network with a policy head and a value head on one hidden layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pg_agents.exercises.answer import (
    Function,
    failure,
    not_checked,
    show,
)
from pg_agents.exercises.data import Exercise, Hint, WrongError

STUB = '''\
"""Two-headed network

An actor-critic needs a policy and a value of each state. Both can share what they know
of the state: one hidden layer, and two heads on top of it.

    h      = relu(W x + b)              shared, n_hidden units
    logits = W_pi h + b_pi              policy head, one for each action
    value  = w_v . h + b_v              value head, one number

Write it as a PyTorch module. The softmax of the logits is applied outside of it.
"""

import torch
from torch import nn


class TwoHeadedNetwork(nn.Module):
    """Policy and value on a shared hidden layer."""

    def __init__(self, n_observations, n_actions, n_hidden=128):
        super().__init__()
        ...

    def forward(self, observations):
        """Compute logits and values.

        observations: tensor [B, n_observations]
        result: (logits [B, n_actions], values [B])
        """
        raise NotImplementedError
'''
SOLUTION = STUB.replace(
    "        ...\n",
    """\
        self.body = nn.Sequential(nn.Linear(n_observations, n_hidden), nn.ReLU())
        self.policy_head = nn.Linear(n_hidden, n_actions)
        self.value_head = nn.Linear(n_hidden, 1)
""",
).replace(
    "        raise NotImplementedError\n",
    """\
        h = self.body(observations)
        return self.policy_head(h), self.value_head(h).squeeze(-1)
""",
)

# All different, so that a shape says what it is of.
N_OBSERVATIONS, N_ACTIONS, N_HIDDEN, N_ROWS = 3, 4, 7, 6
_SIZES = f"n_observations {N_OBSERVATIONS}, n_actions {N_ACTIONS}, n_hidden {N_HIDDEN}"
_N_PARAMETERS = N_HIDDEN * (N_OBSERVATIONS + 1 + N_ACTIONS + 1) + N_ACTIONS + 1

HINTS = {
    "no_super": Hint(
        "the module is not initialised",
        "Layers are assigned before nn.Module's own constructor has run, so that it "
        "can't register them.",
        "Which call does the stub have in the first line of __init__?",
    ),
    "no_parameters": Hint(
        "layers that PyTorch does not know of",
        "parameters() does not give the weights that the output depends on: an "
        "optimiser would never change them. Layers in a plain list or dict are not "
        "registered.",
        "Which containers of layers does torch.nn have?",
    ),
    "layers_in_forward": Hint(
        "the layers are made in forward()",
        "Each call makes new ones with new random weights: nothing that is learnt is "
        "kept.",
        "What belongs into __init__, and what into forward?",
    ),
    "random": Hint(
        "two calls with the same observations differ",
        "Something in the network is random, such as dropout. The probability of an "
        "action at the update is then not the one it was drawn with.",
        "Which layer draws random numbers?",
    ),
    "one_output": Hint(
        "one output in place of two",
        "forward() gives one tensor. The caller needs logits and values apart.",
        "Which two things does the docstring ask for?",
    ),
    "swapped": Hint(
        "values first, then logits",
        "The two results are swapped: the softmax would be taken over the values.",
        "In which order does the docstring name them?",
    ),
    "value_column": Hint(
        "values [B, 1] in place of [B]",
        "A column minus returns [B] is a table [B, B] of all differences, without any "
        "error: every advantage would be wrong.",
        "What does a linear layer with one output return for B rows, and which call "
        "drops an axis?",
    ),
    "squeezed": Hint(
        "the batch is lost when it has one row",
        "squeeze() without an axis drops every axis of length 1. For a single "
        "observation, as in each step of an episode, that is also the batch's.",
        "Which axis has to go, whatever the number of rows?",
    ),
    "value_per_action": Hint(
        "a value for each action",
        "The value of a state is one number. A value for each action is Q(s, a).",
        "How many outputs has the value head?",
    ),
    "values_reduced": Hint(
        "one value for the whole batch",
        "The values of all rows became one number.",
        "Over which axis does your last operation run?",
    ),
    "n_actions_ignored": Hint(
        "n_actions is not used",
        "The policy head has another number of outputs than there are actions.",
        "Which argument says how many actions there are?",
    ),
    "n_hidden_ignored": Hint(
        "n_hidden is not used",
        "No layer has the number of units that was asked for.",
        "Which argument says how wide the hidden layer is?",
    ),
    "softmax": Hint(
        "probabilities in place of logits",
        "The rows add up to 1: the policy head ends in a softmax. Code outside "
        "takes the softmax of the logits, here one of a softmax, which is close to "
        "uniform.",
        "Where does the instruction apply the softmax?",
    ),
    "softmax_over_batch": Hint(
        "a softmax over the batch",
        "The columns add up to 1, one for each action over all rows: states of a batch "
        "would compete with each other. And the softmax is applied outside.",
        "Which axis of logits [B, A] holds the actions?",
    ),
    "sigmoid_logits": Hint(
        "the logits are squashed",
        "All logits stay between -1 and 1, however large the weights: the policy could "
        "never become sure of an action.",
        "Which function stands after the policy head?",
    ),
    "relu_logits": Hint(
        "a ReLU after the policy head",
        "No logit is negative. Where it is cut off its gradient is zero, and the "
        "action can't be learnt any more.",
        "Which function stands after the policy head?",
    ),
    "relu_values": Hint(
        "a ReLU after the value head",
        "No value is negative, but returns may be. Where it is cut off its gradient is "
        "zero: the critic is stuck at 0.",
        "Which function stands after the value head?",
    ),
    "squashed_values": Hint(
        "the values are squashed",
        "All values stay between -1 and 1, however large the weights. Returns of "
        "CartPole reach 500.",
        "Which function stands after the value head?",
    ),
    "softmax_values": Hint(
        "a softmax on the values",
        "A softmax of one number is always 1, and over the batch the values add up to "
        "1: the value of a state can't be learnt.",
        "Which of the two heads is about probabilities?",
    ),
    "no_activation": Hint(
        "no activation between the layers",
        "Both outputs are linear in the observations: two linear layers in a row are "
        "one. The hidden layer has no effect.",
        "Which function of the equation is not in your forward()?",
    ),
    "other_activation": Hint(
        "another activation than ReLU",
        "A ReLU makes the outputs piecewise linear in the observations. Yours bend.",
        "Which function does the equation name?",
    ),
    "activation_on_input": Hint(
        "the activation is applied to the observations",
        "Negative observations are cut off before the first layer, and the two linear "
        "layers after it are one. Half of what the agent sees is lost.",
        "Where in the equation does relu stand?",
    ),
    "not_shared": Hint(
        "nothing is shared",
        "No weight has an effect on both outputs: these are two networks. What the "
        "critic learns of a state then does not help the policy.",
        "How often does the hidden layer exist in your network?",
    ),
    "value_from_observations": Hint(
        "the value head reads the observations",
        "The value is linear in the observations: it has no part in the hidden layer.",
        "What is the input of the value head in the equation?",
    ),
    "policy_from_observations": Hint(
        "the policy head reads the observations",
        "The logits are linear in the observations: they have no part in the hidden "
        "layer.",
        "What is the input of the policy head in the equation?",
    ),
    "value_from_logits": Hint(
        "the value head stands on the policy head",
        "The value is computed from the logits: the weights of the policy head have an "
        "effect on it. The critic's loss then moves the policy directly.",
        "What is the input of the value head in the equation?",
    ),
    "policy_from_value": Hint(
        "the policy head stands on the value head",
        "The logits are computed from the value, one number for each state.",
        "What is the input of the policy head in the equation?",
    ),
    "value_detached": Hint(
        "the value's gradient does not reach the hidden layer",
        "The hidden layer has an effect on the value, but no gradient from it: it is "
        "detached, and learns from the policy's loss alone.",
        "Where is the graph cut in your forward()?",
    ),
    "policy_detached": Hint(
        "the policy's gradient does not reach the hidden layer",
        "The hidden layer has an effect on the logits, but no gradient from them: it "
        "is detached, and learns from the critic's loss alone.",
        "Where is the graph cut in your forward()?",
    ),
    "no_gradient": Hint(
        "no gradient reaches the weights",
        "The outputs have no graph: no_grad(), detach() or numpy() cut it. The network "
        "can't learn.",
        "Where is the graph cut in your forward()?",
    ),
    "row_by_row": Hint(
        "a row's result depends on the other rows",
        "The same observation gives another result in a batch than alone: something "
        "runs over the batch, such as a normalisation.",
        "Over which axis does it run?",
    ),
    "not_instance": Hint(
        "a class is returned, or no module at all",
        "Calling the answer with (n_observations, n_actions, n_hidden) has to give a "
        "torch.nn.Module.",
        "What does your class inherit from?",
    ),
    "extra_layers": Hint(
        "more layers than asked for",
        "The outputs have the right form, but there are more weights than those of one "
        "hidden layer and two heads.",
        "How many weight matrices are in the equation?",
    ),
    "no_bias": Hint(
        "a bias is missing",
        "The outputs have the right form, but there are fewer weights than in the "
        "equation, which has b, b_pi and b_v.",
        "Which argument of nn.Linear switches it off?",
    ),
}


def _constructed(answer: Function) -> nn.Module:
    try:
        network = answer(N_OBSERVATIONS, N_ACTIONS, N_HIDDEN)
    except Exception as error:
        failed = failure(error)
        if "before Module.__init__" in str(error):
            raise WrongError("no_super", failed.text) from error
        raise not_checked(failed, _SIZES) from error
    if not isinstance(network, nn.Module):
        raise WrongError(
            "not_instance", f"given     {_SIZES}\nreturned  {show(network)}"
        )
    return network


def _forward(network: nn.Module, observations: Tensor) -> tuple[Tensor, Tensor]:
    """Returns logits and values of a network.

    Raises:
        NotCheckedError: if it raises an exception.
        WrongError: if they are not two tensors of the right shapes.
    """
    shape = list(observations.shape)
    try:
        result = network(observations)
    except Exception as error:
        if "before Module.__init__" in str(error):
            raise WrongError("no_super", failure(error).text) from error
        raise not_checked(failure(error), f"observations {shape}") from error
    given = f"given     observations {shape}, {_SIZES}\n"
    if result is None:
        raise WrongError("nothing", f"{given}returned  None")
    if not isinstance(result, tuple | list) or len(result) != 2:
        what = f"a {type(result).__name__}"
        if isinstance(result, Tensor):
            what = f"a tensor of shape {list(result.shape)}"
        elif isinstance(result, tuple | list):
            what = f"{len(result)} results"
        raise WrongError("one_output", f"{given}returned  {what}")
    logits, values = result
    for name, part in (("logits", logits), ("values", values)):
        if not isinstance(part, Tensor):
            raise WrongError(
                None, f"{given}returned  {name}: {show(part)}", title="no tensor"
            )
    n_rows = len(observations)
    found = list(logits.shape), list(values.shape)
    right = [n_rows, N_ACTIONS], [n_rows]
    seen = (
        f"{given}returned  logits {found[0]}, values {found[1]}\n"
        f"expected  logits {right[0]}, values {right[1]}"
    )
    if found == right:
        return logits, values
    if n_rows == 1 and (found[1] == [] or found[0] == [N_ACTIONS]):
        raise WrongError("squeezed", seen)
    if found[1] == right[0] and found[0] in (right[1], [n_rows, 1]):
        raise WrongError("swapped", seen)
    if found[0] == [n_rows, found[0][-1]] and found[0] != right[0]:
        raise WrongError("n_actions_ignored", seen)
    if found[0] == right[0]:
        if found[1] == [n_rows, 1]:
            raise WrongError("value_column", seen)
        if found[1] == right[0]:
            raise WrongError("value_per_action", seen)
        if found[1] in ([], [1]):
            raise WrongError("values_reduced", seen)
    raise WrongError("shape", seen)


def _check_repeats(network: nn.Module, x: Tensor, outputs: tuple[Tensor, ...]) -> None:
    again = _forward(network, x)
    if not all(map(torch.allclose, outputs, again)):
        seen = (
            f"first call   logits of row 0: {show(outputs[0][0])}\n"
            f"second call  logits of row 0: {show(again[0][0])}"
        )
        raise WrongError(
            "random" if _n_parameters(network) else "layers_in_forward", seen
        )
    alone = _forward(network, x[:1])
    if not all(
        torch.allclose(whole[:1], part, atol=1e-5)
        for whole, part in zip(outputs, alone, strict=True)
    ):
        logits = outputs[0]
        ones = torch.ones(N_ACTIONS)
        if torch.allclose(logits.sum(0), ones, atol=1e-4) and (logits >= 0).all():
            raise WrongError(
                "softmax_over_batch", f"sums of columns {show(logits.sum(0))}"
            )
        if torch.allclose(outputs[1].sum(), torch.ones(())):
            raise WrongError("softmax_values", f"values {show(outputs[1])}")
        raise WrongError(
            "row_by_row",
            f"row 0 in a batch  logits {show(logits[0])}, value {show(outputs[1][0])}\n"
            f"row 0 alone       logits {show(alone[0][0])}, value {show(alone[1][0])}",
        )


def _unregistered(network: nn.Module) -> list[str]:
    """Returns attributes that hold modules whose weights parameters() does not give."""
    known = {id(p) for p in network.parameters()}
    found = []
    for name, value in vars(network).items():
        parts = value.values() if isinstance(value, dict) else value
        if name.startswith("_") or not isinstance(value, list | tuple | dict):
            continue
        weights = [p for m in parts if isinstance(m, nn.Module) for p in m.parameters()]
        if any(id(p) not in known for p in weights):
            found.append(name)
    return found


def _n_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _check_range(answer: Function) -> None:
    """Checks that no function limits the outputs, on many networks and inputs."""
    logits, values = [], []
    for seed in range(8):
        torch.manual_seed(seed)
        network = _constructed(answer)
        # Large outputs: what squashes them is at its limits.
        x = 30.0 * torch.randn(N_ROWS, N_OBSERVATIONS)
        with torch.no_grad():
            parts = _forward(network, x)
        logits.append(parts[0])
        values.append(parts[1])
    policy, value = torch.stack(logits), torch.stack(values)
    ones = torch.ones(policy.shape[:-1])
    seen = f"logits of row 0: {show(policy[0, 0])}, sum {float(policy[0, 0].sum()):.4g}"
    if torch.allclose(policy.sum(-1), ones, atol=1e-4) and (policy >= 0).all():
        raise WrongError("softmax", seen)
    if (policy >= 0).all():
        raise WrongError(
            "sigmoid_logits" if (policy <= 1).all() else "relu_logits", seen
        )
    if (policy.abs() <= 1).all():
        raise WrongError("sigmoid_logits", seen)
    seen = f"values of 8 networks: {show(value[:, 0])}"
    if torch.allclose(value, torch.ones(()), atol=1e-5):
        raise WrongError("softmax_values", seen)
    if (value.abs() <= 1).all():
        raise WrongError("squashed_values", seen)
    if (value >= 0).all():
        raise WrongError("relu_values", seen)


def _linear(network: nn.Module) -> tuple[bool, bool]:
    """Whether logits and values are linear (affine) in the observations."""
    x, y = torch.randn(2, 20, N_OBSERVATIONS)
    with torch.no_grad():
        f = [_forward(network, z) for z in (x, y, (x + y) / 2.0)]
    return tuple(  # type: ignore[return-value]
        torch.allclose((f[0][i] + f[1][i]) / 2.0, f[2][i], atol=1e-5) for i in (0, 1)
    )


def _bends(network: nn.Module) -> bool:
    """Whether outputs have second derivatives by the observations."""
    x = torch.randn(1, N_OBSERVATIONS, requires_grad=True)
    logits, values = _forward(network, x)
    (first,) = torch.autograd.grad(
        logits[0, 0] + values[0], x, create_graph=True, allow_unused=True
    )
    if first is None or not first.requires_grad:
        return False
    (second,) = torch.autograd.grad(first.pow(2).sum(), x, allow_unused=True)
    return second is not None and bool(second.abs().max() > 1e-7)


def _effects(network: nn.Module, x: Tensor) -> dict[str, tuple[bool, bool]]:
    """Returns which parameters have an effect on logits and values."""
    effects = {}
    with torch.no_grad():
        before = _forward(network, x)
        for name, parameter in network.named_parameters():
            old = parameter.clone()
            parameter.add_(torch.randn_like(parameter))
            after = _forward(network, x)
            parameter.copy_(old)
            effects[name] = tuple(
                not torch.allclose(b, a, atol=1e-6)
                for b, a in zip(before, after, strict=True)
            )
    return effects  # type: ignore[return-value]


def _gradients(network: nn.Module, x: Tensor) -> dict[str, tuple[bool, bool]]:
    """Returns which parameters get a gradient from logits and values."""
    parts = _forward(network, x)
    named = dict(network.named_parameters())
    reached: list[list[bool]] = []
    for part in parts:
        grads: Any = [None] * len(named)
        if part.requires_grad:
            weighted = (part * torch.randn_like(part)).sum()
            grads = torch.autograd.grad(
                weighted, list(named.values()), retain_graph=True, allow_unused=True
            )
        reached.append([g is not None and bool(g.abs().sum() > 0) for g in grads])
    return dict(zip(named, zip(*reached, strict=True), strict=True))


def _check_structure(network: nn.Module, x: Tensor) -> None:
    """Checks activation, sharing and gradients."""
    linear = _linear(network)
    effects = _effects(network, x)
    weights = {name: list(p.shape) for name, p in network.named_parameters()}
    on_both = [name for name, effect in effects.items() if all(effect)]
    table = "\n".join(
        f"  {name} {weights[name]}: "
        + (
            " and ".join(
                n for n, e in zip(("logits", "values"), effect, strict=True) if e
            )
            or "none"
        )
        for name, effect in effects.items()
    )
    seen = f"which outputs each weight has an effect on:\n{table}"
    if all(linear):
        raise WrongError(
            "no_activation", "f((x + y) / 2) = (f(x) + f(y)) / 2 for all x, y"
        )
    if linear[1]:
        raise WrongError("value_from_observations", seen)
    if linear[0]:
        raise WrongError("policy_from_observations", seen)
    if not any(N_OBSERVATIONS in shape for shape in weights.values()):
        raise WrongError("no_parameters", f"no weight takes the observations:\n{table}")
    if not on_both:
        raise WrongError("not_shared", seen)
    with torch.no_grad():
        cut = [
            a.equal(b)
            for a, b in zip(
                _forward(network, x), _forward(network, x.clamp(min=0)), strict=True
            )
        ]
    if all(cut):
        raise WrongError("activation_on_input", "negative observations have no effect")
    if _bends(network):
        raise WrongError("other_activation", "second derivatives are not 0")
    only_values = [n for n, e in effects.items() if e == (False, True)]
    only_logits = [n for n, e in effects.items() if e == (True, False)]
    if not only_logits and only_values:
        raise WrongError("value_from_logits", seen)
    if not only_values and only_logits:
        raise WrongError("policy_from_value", seen)
    gradients = _gradients(network, x)
    shared = [gradients[name] for name in on_both]
    if not any(g[1] for g in shared):
        raise WrongError("value_detached", seen)
    if not any(g[0] for g in shared):
        raise WrongError("policy_detached", seen)
    shapes = ", ".join(f"{name} {shape}" for name, shape in weights.items())
    n = _n_parameters(network)
    seen = f"{n} numbers in {shapes}; expected are {_N_PARAMETERS}, with {_SIZES}"
    if not any(N_HIDDEN in shape for shape in weights.values()):
        raise WrongError("n_hidden_ignored", seen)
    if n != _N_PARAMETERS:
        raise WrongError("extra_layers" if n > _N_PARAMETERS else "no_bias", seen)


def check(answer: Function) -> str:
    """Checks shapes, range, activation, sharing and gradients of a network."""
    torch.manual_seed(0)
    network = _constructed(answer)
    x = torch.randn(N_ROWS, N_OBSERVATIONS)
    outputs = _forward(network, x)
    _check_repeats(network, x, outputs)
    if not all(part.requires_grad for part in outputs) and _n_parameters(network):
        if not any(part.requires_grad for part in outputs):
            raise WrongError("no_gradient", "logits and values have no graph")
    if lists := _unregistered(network):
        raise WrongError(
            "no_parameters", f"parameters() lacks the weights in {', '.join(lists)}"
        )
    if not _n_parameters(network) or not any(
        any(e) for e in _effects(network, x).values()
    ):
        raise WrongError(
            "no_parameters",
            f"parameters() gives {_n_parameters(network)} numbers, expected are "
            f"{_N_PARAMETERS}",
        )
    _check_range(answer)
    torch.manual_seed(1)
    _check_structure(_constructed(answer), torch.randn(N_ROWS, N_OBSERVATIONS))
    return (
        "Shapes, activation, shared weights and gradients are right, and so is the "
        f"number of parameters ({_N_PARAMETERS}, with {_SIZES})."
    )


EXERCISE = Exercise(
    "two_headed_network", "TwoHeadedNetwork", STUB, SOLUTION, HINTS, check
)
