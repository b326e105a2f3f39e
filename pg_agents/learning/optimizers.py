"""Steps of torch's optimisers on flat vectors, in NumPy.

`sgd`, `adam` and `rmsprop` are the step rules. `FlatParameters` puts the parameters of
a torch optimiser, and their gradients, in one vector each, and steps on these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import is_
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.optimizer import (
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
)

from pg_agents.common.checks import is_defined_in

Array = NDArray[Any]
# Two arrays like the values, which a step rule overwrites.
Work = tuple[Array, Array]


def sgd(
    values: Array,
    gradients: Array,
    state: Mapping[str, Array],
    work: Work | None = None,
    *,
    steps: float | Array,
    lr: float | Array,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    maximize: bool = False,
) -> None:
    """Takes a step of gradient descent in place.

    `g = grad + weight_decay * theta`; with momentum mu and dampening tau
    `b <- mu * b + (1 - tau) * g`, but `b <- g` in the first step, and `g <- b`, or
    `g <- g + mu * b` with Nesterov's; `theta <- theta - lr * g`.

    Reference: Sutskever, Martens, Dahl and Hinton (2013), "On the importance of
    initialization and momentum in deep learning", with the learning rate outside the
    momentum, as in torch.optim.SGD.

    Args:
        values: `[..., P]`, theta, float32 or float64; changed.
        gradients: `[..., P]`, of the same dtype.
        state: with momentum `"momentum_buffer"`, `[..., P]`, b, 0 before the first
            step; changed.
        work: arrays for intermediate results.
        steps: number of steps including this one, a number or `[..., 1]`.
        lr: step size, a number or `[..., 1]`.
        momentum: mu.
        dampening: tau.
        nesterov: whether to use Nesterov's momentum.
        weight_decay: factor of the L2 penalty.
        maximize: whether to ascend: the gradient's sign is changed.
    """
    first, second = work or (np.empty_like(values), np.empty_like(values))
    g = _descent(values, gradients, weight_decay, maximize, first)
    if momentum != 0:
        buffer, added = state["momentum_buffer"], g
        if dampening != 0:
            gain = np.where(np.equal(steps, 1), 1.0, 1.0 - dampening)
            added = np.multiply(g, _factor(gain, values), second)
        np.multiply(buffer, momentum, buffer)
        np.add(buffer, added, buffer)
        if nesterov:
            np.multiply(buffer, momentum, second)
            g = np.add(g, second, first)
        else:
            g = buffer
    np.multiply(g, _factor(lr, values), second)
    np.subtract(values, second, values)


def adam(
    values: Array,
    gradients: Array,
    state: Mapping[str, Array],
    work: Work | None = None,
    *,
    steps: float | Array,
    lr: float | Array,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    amsgrad: bool = False,
    maximize: bool = False,
) -> None:
    """Takes a step of Adam, or of AdamW if the weight decay is decoupled, in place.

    `m <- beta_1 * m + (1 - beta_1) * g`, `v <- beta_2 * v + (1 - beta_2) * g^2`,
    `theta <- theta - lr * m_hat / (sqrt(v_hat) + eps)` with
    `m_hat = m / (1 - beta_1^t)` and `v_hat = v / (1 - beta_2^t)`. AMSGrad has the
    largest v so far in place of v. `g = grad + weight_decay * theta`; decoupled,
    `g = grad`, and `theta <- (1 - lr * weight_decay) * theta` comes first.

    Reference: Kingma and Ba (2015), "Adam: a method for stochastic optimization",
    algorithm 1 in the order of its section 2; Loshchilov and Hutter (2019), "Decoupled
    weight decay regularization"; Reddi, Kale and Kumar (2018), "On the convergence of
    Adam and beyond".

    Args:
        values: `[..., P]`, theta, float32 or float64; changed.
        gradients: `[..., P]`, of the same dtype.
        state: `"exp_avg"`, m, `"exp_avg_sq"`, v, and with AMSGrad `"max_exp_avg_sq"`,
            each `[..., P]`, 0 before the first step; changed.
        work: arrays for intermediate results.
        steps: t, number of steps including this one, a number or `[..., 1]`.
        lr: step size, a number or `[..., 1]`.
        betas: beta_1 and beta_2.
        eps: added to the denominator.
        weight_decay: factor of the L2 penalty, or of the decay.
        decoupled_weight_decay: whether the decay stays out of the moments.
        amsgrad: whether to use AMSGrad.
        maximize: whether to ascend: the gradient's sign is changed.
    """
    first, second = work or (np.empty_like(values), np.empty_like(values))
    exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
    beta1, beta2 = betas
    if weight_decay != 0 and decoupled_weight_decay:
        np.multiply(values, _factor(1.0 - lr * weight_decay, values), values)
        weight_decay = 0.0
    g = _descent(values, gradients, weight_decay, maximize, first)
    np.multiply(exp_avg, beta1, exp_avg)
    np.multiply(g, 1.0 - beta1, second)
    np.add(exp_avg, second, exp_avg)
    np.multiply(exp_avg_sq, beta2, exp_avg_sq)
    np.multiply(g, g, second)
    np.multiply(second, 1.0 - beta2, second)
    np.add(exp_avg_sq, second, exp_avg_sq)
    if amsgrad:
        largest = state["max_exp_avg_sq"]
        exp_avg_sq = np.maximum(largest, exp_avg_sq, out=largest)
    if isinstance(steps, np.ndarray):
        # Not in float32, which counts of torch have.
        steps = steps.astype(np.float64)
    # The root of v's correction moves from the vector to two numbers.
    root = (1.0 - beta2**steps) ** 0.5
    step_size = lr * root / (1.0 - beta1**steps)
    denominator = np.sqrt(exp_avg_sq, second)
    np.add(denominator, _factor(eps * root, values), denominator)
    np.divide(exp_avg, denominator, second)
    np.multiply(second, _factor(step_size, values), second)
    np.subtract(values, second, values)


def rmsprop(
    values: Array,
    gradients: Array,
    state: Mapping[str, Array],
    work: Work | None = None,
    *,
    lr: float | Array,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    maximize: bool = False,
    eps_inside_root: bool = False,
) -> None:
    """Takes a step of RMSprop in place.

    `v <- alpha * v + (1 - alpha) * g^2` with `g = grad + weight_decay * theta`, and
    `d = g / (sqrt(v) + eps)`, or `d = g / sqrt(v + eps)` as in TensorFlow. Centered,
    `v - a^2` is under the root, with `a <- alpha * a + (1 - alpha) * g`. With momentum
    mu, `b <- mu * b + d` and `d <- b`. `theta <- theta - lr * d`.

    Reference: Tieleman and Hinton (2012), "Lecture 6.5: RMSprop"; centered: Graves
    (2013), "Generating sequences with recurrent neural networks", equations 38 to 45.
    With `eps_inside_root`, and v of 1 before the first step, it is Stable-Baselines3's
    RMSpropTFLike.

    Args:
        values: `[..., P]`, theta, float32 or float64; changed.
        gradients: `[..., P]`, of the same dtype.
        state: `"square_avg"`, v, with momentum `"momentum_buffer"`, b, and centered
            `"grad_avg"`, a, each `[..., P]`, 0 before the first step; changed.
        work: arrays for intermediate results.
        lr: step size, a number or `[..., 1]`.
        alpha: factor of the averages.
        eps: added to the denominator, or under its root.
        momentum: mu.
        centered: whether to divide by the standard deviation of the gradient.
        weight_decay: factor of the L2 penalty.
        maximize: whether to ascend: the gradient's sign is changed.
        eps_inside_root: whether eps is under the root.
    """
    first, second = work or (np.empty_like(values), np.empty_like(values))
    square_avg = state["square_avg"]
    g = _descent(values, gradients, weight_decay, maximize, first)
    np.multiply(square_avg, alpha, square_avg)
    np.multiply(g, g, second)
    np.multiply(second, 1.0 - alpha, second)
    np.add(square_avg, second, square_avg)
    variance = square_avg
    if centered:
        grad_avg = state["grad_avg"]
        np.multiply(grad_avg, alpha, grad_avg)
        np.multiply(g, 1.0 - alpha, second)
        np.add(grad_avg, second, grad_avg)
        np.multiply(grad_avg, grad_avg, second)
        variance = np.subtract(square_avg, second, second)
    if eps_inside_root:
        denominator = np.add(variance, eps, second)
        np.sqrt(denominator, denominator)
    else:
        denominator = np.sqrt(variance, second)
        np.add(denominator, eps, denominator)
    np.divide(g, denominator, second)
    if momentum > 0:
        buffer = state["momentum_buffer"]
        np.multiply(buffer, momentum, buffer)
        np.add(buffer, second, buffer)
        np.multiply(buffer, _factor(lr, values), second)
    else:
        np.multiply(second, _factor(lr, values), second)
    np.subtract(values, second, values)


def _descent(
    values: Array, gradients: Array, weight_decay: float, maximize: bool, out: Array
) -> Array:
    """Returns what to descend along, in `out` unless it is the gradient itself."""
    if weight_decay != 0:
        np.multiply(values, weight_decay, out)
        combine = np.subtract if maximize else np.add
        combined: Array = combine(out, gradients, out)
        return combined
    return np.negative(gradients, out) if maximize else gradients


def _factor(number: float | Array, values: Array) -> float | Array:
    """Returns a factor that keeps the dtype of the values."""
    return number if type(number) is float else np.asarray(number, values.dtype)


@dataclass(frozen=True)
class Rule:
    """How a class of optimisers steps, and which state torch keeps for it.

    Attributes:
        step: the step rule.
        moments: returns names and initial values of the arrays in the state, for the
            options of a parameter group.
        options: options of a parameter group that the rule takes. Releases of torch
            without one of them have its default.
        counts: how the state's `"step"` is stored; None: there is none.
        reads_steps: whether the rule takes the number of steps.
    """

    step: Callable[..., None]
    moments: Callable[[Mapping[str, Any]], dict[str, float]]
    options: tuple[str, ...]
    counts: type[Tensor] | type[int] | None
    reads_steps: bool


def _sgd_moments(options: Mapping[str, Any]) -> dict[str, float]:
    return {"momentum_buffer": 0.0} if options["momentum"] != 0 else {}


def _adam_moments(options: Mapping[str, Any]) -> dict[str, float]:
    moments = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
    return {**moments, "max_exp_avg_sq": 0.0} if options["amsgrad"] else moments


def _rmsprop_moments(
    options: Mapping[str, Any], square_avg: float = 0.0
) -> dict[str, float]:
    moments = {"square_avg": square_avg}
    if options["momentum"] > 0:
        moments["momentum_buffer"] = 0.0
    if options["centered"]:
        moments["grad_avg"] = 0.0
    return moments


_ADAM_OPTIONS = (
    "lr",
    "betas",
    "eps",
    "weight_decay",
    "decoupled_weight_decay",
    "amsgrad",
    "maximize",
)
_TF_LIKE_OPTIONS = ("lr", "alpha", "eps", "momentum", "centered", "weight_decay")

RULES: dict[type[Optimizer], Rule] = {
    SGD: Rule(
        sgd,
        _sgd_moments,
        ("lr", "momentum", "dampening", "nesterov", "weight_decay", "maximize"),
        counts=None,
        reads_steps=True,
    ),
    Adam: Rule(adam, _adam_moments, _ADAM_OPTIONS, Tensor, reads_steps=True),
    AdamW: Rule(
        partial(adam, decoupled_weight_decay=True),
        _adam_moments,
        _ADAM_OPTIONS,
        Tensor,
        reads_steps=True,
    ),
    RMSprop: Rule(
        rmsprop,
        _rmsprop_moments,
        (*_TF_LIKE_OPTIONS, "maximize"),
        Tensor,
        reads_steps=False,
    ),
    RMSpropTFLike: Rule(
        partial(rmsprop, eps_inside_root=True),
        partial(_rmsprop_moments, square_avg=1.0),
        _TF_LIKE_OPTIONS,
        int,
        reads_steps=False,
    ),
}


@dataclass
class _Group:
    """A parameter group: slices of the flat vectors, and the state that torch shows.

    Attributes:
        parameters: in the group's order.
        values: `[P_g]`, slice of all values.
        gradients: `[P_g]`, slice of all gradients.
        work: arrays of the step rule.
        moments: `[P_g]` by name.
        shown: views of the moments and counts in `optimizer.state`, by key.
        states: entries of `optimizer.state`.
        counts: number of steps of each parameter, where torch stores tensors.
        n_steps: number of steps, for SGD: with momentum it treats the first apart.
    """

    parameters: list[Tensor]
    values: Array
    gradients: Array
    work: Work
    moments: dict[str, Array] = field(default_factory=dict)
    shown: dict[str, list[Tensor]] = field(default_factory=dict)
    states: list[dict[str, Any]] = field(default_factory=list)
    counts: Array = field(default_factory=lambda: np.zeros(0))
    n_steps: int = 0


class FlatParameters:
    """The parameters of a torch optimiser, and their gradients, as one vector each.

    The torch parameters live in the vectors: what either side writes, the other reads.
    Each parameter's view has a storage of its own, so that saving one layer writes that
    layer alone. Copies, by deepcopy or pickle, of parameters are ordinary ones.

    Gradients are in the vector from `attach_gradients` on, until `zero_grad` sets them
    to None.

    Args:
        optimizer: one for which `unsupported` returns None.

    Attributes:
        optimizer: the optimiser.
        values: `[P]`, all parameters, in the order of the parameter groups.
        gradients: `[P]`, their gradients.

    Raises:
        ValueError: if the optimiser is not supported.
    """

    optimizer: Optimizer
    values: Array
    gradients: Array

    def __init__(self, optimizer: Optimizer) -> None:
        reason = self.unsupported(optimizer)
        if reason is not None:
            raise ValueError(f"FlatParameters can't step the optimizer: {reason}")
        self.optimizer = optimizer
        self._rule = RULES[type(optimizer)]
        step = type(optimizer).step
        # torch wraps it with the calls of its hooks.
        is_original = is_defined_in(step, ("torch", "stable_baselines3"))
        self._original_step = step if is_original else None
        parameters = _parameters(optimizer)
        self._parameters = parameters
        self._dtype = parameters[0].dtype
        sizes = [p.numel() for p in parameters]
        # torch's memory is aligned to 64 bytes, and results of BLAS can depend on that.
        self.values = torch.zeros(sum(sizes), dtype=self._dtype).numpy()
        self.gradients = torch.zeros(sum(sizes), dtype=self._dtype).numpy()
        values = _views(self.values, parameters)
        self._gradients = _views(self.gradients, parameters)
        for parameter, view in zip(parameters, values, strict=True):
            view.copy_(parameter.detach())
            parameter.data = view
        self._addresses = [p.data_ptr() for p in parameters]
        self._layouts = _layouts(parameters)
        ids = [id(p) for p in parameters]
        self._value = dict(zip(ids, (v.numpy() for v in values), strict=True))
        self._gradient = dict(
            zip(ids, (g.numpy() for g in self._gradients), strict=True)
        )
        self._sizes = [len(group["params"]) for group in optimizer.param_groups]
        work = np.empty_like(self.values), np.empty_like(self.values)
        self._groups: list[_Group] = []
        start = 0
        for group in optimizer.param_groups:
            size = sum(p.numel() for p in group["params"])
            part = slice(start, start + size)
            self._groups.append(
                _Group(
                    list(group["params"]),
                    self.values[part],
                    self.gradients[part],
                    (work[0][part], work[1][part]),
                )
            )
            start += size
        self._work = work[0]
        # Every entry of the optimiser's state when it was adopted.
        self._states: list[Any] | None = None

    @staticmethod
    def unsupported(optimizer: Optimizer) -> str | None:
        """Returns why an optimiser is not supported, or None."""
        if type(optimizer) not in RULES:
            names = ", ".join(cls.__name__ for cls in RULES)
            return f"its class is {type(optimizer).__name__}, none of {names}"
        for group in optimizer.param_groups:
            for name in ("capturable", "differentiable"):
                if group.get(name):
                    return f"{name}=True"
            for name, option in group.items():
                parts = option if name == "betas" else (option,)
                if name != "params" and any(isinstance(p, Tensor) for p in parts):
                    return f"its {name} is a tensor"
        parameters = _parameters(optimizer)
        if not parameters:
            return "it has no parameters"
        for parameter in parameters:
            kind = type(parameter)
            if kind not in (Tensor, nn.Parameter):
                return f"a parameter is a {kind.__name__}"
            if parameter.device.type != "cpu":
                return f"a parameter is on the device {parameter.device}"
            if parameter.dtype not in (torch.float32, torch.float64):
                return f"a parameter has the dtype {parameter.dtype}"
            if parameter.layout is not torch.strided or not parameter.is_contiguous():
                return "a parameter is not dense and contiguous"
            if not parameter.requires_grad:
                return "a parameter does not require gradients"
            if parameter.is_shared():
                return "a parameter is in shared memory"
        if len({parameter.dtype for parameter in parameters}) > 1:
            return "its parameters have several dtypes"
        memory = [p.untyped_storage().data_ptr() for p in parameters if p.numel() > 0]
        if len(set(map(id, parameters))) < len(parameters) or (
            len(set(memory)) < len(memory)
        ):
            return "two of its parameters share memory"
        return None

    def __contains__(self, parameter: Tensor) -> bool:
        """Returns whether a parameter is one of those whose memory this is."""
        return id(parameter) in self._value

    def value(self, parameter: Tensor) -> Array:
        """Returns the values of a parameter in its shape, a view of `values`.

        Raises:
            ValueError: if the parameter is not in the optimiser.
        """
        return self._view(self._value, parameter)

    def gradient(self, parameter: Tensor) -> Array:
        """Returns the gradient of a parameter in its shape, a view of `gradients`.

        Raises:
            ValueError: if the parameter is not in the optimiser.
        """
        return self._view(self._gradient, parameter)

    def _view(self, views: dict[int, Array], parameter: Tensor) -> Array:
        if parameter not in self:
            raise ValueError(
                f"the optimizer has no such parameter, of shape {list(parameter.shape)}"
            )
        return views[id(parameter)]

    def is_bound(self) -> bool:
        """Returns whether all parameters of the optimiser still live in `values`.

        They do not after `.to()`, `share_memory_()` or a change of the parameter
        groups, and a copy of this object has none. A parameter that no longer requires
        gradients counts as gone. Values that are loaded in place stay.

        The optimiser does not know of parameters that a module got in place of its
        own, as by `load_state_dict(assign=True)`: they are not `in` this object.
        """
        groups = [group["params"] for group in self.optimizer.param_groups]
        return (
            bool(self._parameters)
            and [len(group) for group in groups] == self._sizes
            and all(map(is_, chain.from_iterable(groups), self._parameters))
            and _layouts(self._parameters) == self._layouts
        )

    def attach_gradients(self) -> None:
        """Sets `.grad` of every parameter to its view of `gradients`."""
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            if parameter.grad is not gradient:
                parameter.grad = gradient

    def clip(self, max_norm: float) -> float:
        """Scales the gradients in place to a norm of at most `max_norm`.

        `g <- g * min(1, max_norm / (|g| + 1e-6))`, as
        `torch.nn.utils.clip_grad_norm_`.

        Args:
            max_norm: largest norm; infinite: only the norm is computed.

        Returns:
            |g|, the norm of all gradients before.
        """
        # NumPy adds pairwise: the error hardly grows with the number of parameters.
        squares = np.square(self.gradients, self._work)
        norm = math.sqrt(np.add.reduce(squares))
        coefficient = max_norm / (norm + 1e-6)
        # NaN too reaches the gradients, as in torch.
        if not coefficient >= 1.0:
            np.multiply(self.gradients, coefficient, self.gradients)
        return norm

    def step(self, verify: bool = True) -> None:
        """Does what `optimizer.step()` does, its hooks and state included.

        The optimiser's own `step()` runs where something else may be meant: it was
        overridden, hooks precede it, parameters or gradients are not in the vectors,
        or parameters of one group have taken different numbers of steps.

        Args:
            verify: whether any of this may have changed since the last step.
        """
        optimizer = self.optimizer
        if verify and not (
            "step" not in optimizer.__dict__
            and type(optimizer).step is self._original_step
            and not optimizer._optimizer_step_pre_hooks
            and not _global_optimizer_pre_hooks
            and [p.data_ptr() for p in self._parameters] == self._addresses
            and all(map(is_, [p.grad for p in self._parameters], self._gradients))
            and (self._has_adopted_state() or self._adopt_state())
        ):
            optimizer.step()
            return
        rule = self._rule
        for options, group in zip(optimizer.param_groups, self._groups, strict=True):
            if not group.parameters:
                continue
            arguments = {n: options[n] for n in rule.options if n in options}
            arguments["lr"] = float(arguments["lr"])
            n_steps = self._count(group)
            if rule.reads_steps:
                arguments["steps"] = n_steps
            rule.step(
                group.values, group.gradients, group.moments, group.work, **arguments
            )
        # Graphs that saved the old values must not be differentiated.
        torch.autograd.graph.increment_version(self._parameters)
        for hook in chain(
            optimizer._optimizer_step_post_hooks.values(),
            _global_optimizer_post_hooks.values(),
        ):
            hook(optimizer, (optimizer,), {})

    def _count(self, group: _Group) -> float:
        """Counts a step of a group where torch does, and returns the number of steps.

        RMSpropTFLike's rule does not read it: 0.
        """
        if self._rule.counts is None:
            group.n_steps += 1
            return float(group.n_steps)
        if self._rule.counts is int:
            for state in group.states:
                state["step"] += 1
            return 0.0
        group.counts += 1
        return float(group.counts[0])

    def _has_adopted_state(self) -> bool:
        """Returns whether the optimiser's state is the one that `_adopt_state` made."""
        rule, optimizer = self._rule, self.optimizer
        states = self._states
        if states is None or len(optimizer.state) != len(states):
            return False
        if not all(map(is_, optimizer.state.values(), states)):
            return False
        for options, group in zip(optimizer.param_groups, self._groups, strict=True):
            if rule.moments(options).keys() != group.moments.keys():
                return False
            for key, views in group.shown.items():
                if not all(map(is_, [s.get(key) for s in group.states], views)):
                    return False
            # torch's own steps count parameters with a gradient alone.
            if rule.reads_steps and len(set(group.counts.tolist())) > 1:
                return False
        return True

    def _adopt_state(self) -> bool:
        """Moves the optimiser's state, new or loaded, into flat arrays.

        Returns:
            False, with nothing changed, if the state of a group differs between its
            parameters or is not as torch makes it.
        """
        rule, state = self._rule, self.optimizer.state
        groups = list(zip(self.optimizer.param_groups, self._groups, strict=True))
        started = []
        for options, group in groups:
            states = [state.get(p, {}) for p in group.parameters]
            moments = rule.moments(options)
            # Other entries are the user's, or of momentum that is off now.
            keys = list(moments) if rule.counts is None else ["step", *moments]
            has_started = any(s.get(k) is not None for k in keys for s in states)
            if has_started and not (
                all(map(partial(_is_state, moments), states, group.parameters))
                and (rule.counts is None or self._has_counts(states))
            ):
                return False
            started.append(has_started)
        for (options, group), has_started in zip(groups, started, strict=True):
            self._move_state(options, group, has_started)
        self._states = list(state.values())
        return True

    def _has_counts(self, states: list[dict[str, Any]]) -> bool:
        """Returns whether all states of a group count steps, and alike if read."""
        counts: list[Any] = [s.get("step") for s in states]
        if not all(isinstance(count, self._rule.counts) for count in counts):  # type: ignore[arg-type]
            return False
        if self._rule.counts is int:
            return True
        kinds = {(c.dtype, c.device.type, c.shape) for c in counts}
        if len(kinds) > 1 or counts[0].device.type != "cpu" or counts[0].dim() > 0:
            return False
        return not self._rule.reads_steps or len({c.item() for c in counts}) == 1

    def _move_state(
        self, options: Mapping[str, Any], group: _Group, has_started: bool
    ) -> None:
        """Makes the flat state of a group, with the values of its present state."""
        rule, optimizer, parameters = self._rule, self.optimizer, group.parameters
        moments = rule.moments(options)
        group.moments, group.shown, group.states = {}, {}, []
        group.n_steps = int(has_started)
        if not moments:
            return
        # This makes empty entries.
        group.states = [optimizer.state[p] for p in parameters]
        if rule.counts is Tensor:
            dtype = torch.get_default_dtype()
            if has_started:
                dtype = group.states[0]["step"].dtype
            elif options.get("fused") or dtype != torch.float64:
                dtype = torch.float32
            group.counts = torch.zeros(len(parameters), dtype=dtype).numpy()
            group.shown["step"] = [
                torch.from_numpy(group.counts[i : i + 1])[0]
                for i in range(len(parameters))
            ]
        elif rule.counts is int and not has_started:
            for state in group.states:
                state["step"] = 0
        for name, initial in moments.items():
            flat = torch.full((group.values.size,), initial, dtype=self._dtype).numpy()
            group.moments[name] = flat
            group.shown[name] = _views(flat, parameters)
        for key, views in group.shown.items():
            for state, view in zip(group.states, views, strict=True):
                if has_started:
                    view.copy_(state[key])
                state[key] = view

    def __getstate__(self) -> dict[str, Any]:
        """Returns what copies get: they are not bound, as copied parameters are not."""
        return {"optimizer": self.optimizer, "_parameters": []}


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _layouts(parameters: list[Tensor]) -> list[tuple[Any, ...]]:
    """Returns what changes when a parameter moves, is reshaped or is frozen."""
    return [
        (p.data_ptr(), p.shape, p.is_contiguous(), p.requires_grad) for p in parameters
    ]


def _views(flat: Array, parameters: list[Tensor]) -> list[Tensor]:
    """Returns tensors in the memory of a vector, each with a storage of its own."""
    ends = np.cumsum([p.numel() for p in parameters])
    return [
        torch.from_numpy(flat[end - p.numel() : end]).view(p.shape)
        for end, p in zip(ends, parameters, strict=True)
    ]


def _is_state(
    moments: Mapping[str, float], state: Mapping[str, Any], parameter: Tensor
) -> bool:
    """Returns whether a parameter's state has all moments, as torch makes them."""
    tensors = [state.get(name) for name in moments]
    return all(
        isinstance(t, Tensor)
        and t.device.type == "cpu"
        and t.layout is torch.strided
        and (t.shape, t.dtype) == (parameter.shape, parameter.dtype)
        for t in tensors
    )
