"""Taps: what a script's distributions, networks, losses and optimisers do.

The script's parameters are held still: `step()` of an optimiser records the gradient
and changes nothing. The distribution that acts gives the probabilities in each state,
and its graph the derivatives by the parameters, so that no module has to be guessed.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pg_agents.checker.script.stage import Acted, Stage, StageEnv
from pg_agents.checker.task import Array

Float32 = NDArray[np.float32]

# Coordinates kept of a parameter's gradient. A gradient has as many unknowns as the
# states have outputs, so that a random part of a large network determines them.
_MAX_COORDINATES = 2048
# Probabilities in float32 differ by rounding between batches; states whose
# probabilities differ by less than ten times as much are not told apart by them.
_SAME = 2e-6
_MAX_RECENT = 64


@dataclass
class Outputs:
    """The outputs of a network in the states, and their derivatives.

    Attributes:
        table: state -> `[O]`, the outputs.
        jacobian: state -> parameter -> `[O, C]`, derivatives by its coordinates.
        changed: largest difference of an output between two visits of a state.
    """

    table: dict[int, Array] = field(default_factory=dict)
    jacobian: dict[int, dict[int, Array]] = field(default_factory=dict)
    changed: float = 0.0

    def see(self, state: int, values: Array) -> None:
        """Takes the outputs in a state."""
        known = self.table.setdefault(state, values)
        if known is not values:
            self.changed = max(self.changed, float(np.abs(known - values).max()))

    def parameters(self) -> set[int]:
        """Returns the parameters that the outputs depend on."""
        return {key for parts in self.jacobian.values() for key in parts}


@dataclass
class Step:
    """The gradients of the optimisers' steps between two transitions.

    Attributes:
        end: number of transitions before them.
        gradients: parameter -> `[C]`, the sum of its gradients.
        n_steps: number of steps.
    """

    end: int
    gradients: dict[int, Array] = field(default_factory=dict)
    n_steps: int = 0


@dataclass
class Faults:
    """Counts of what goes wrong between `zero_grad`, `backward` and `step`.

    Attributes:
        n_steps: steps of optimisers.
        stale: backward passes that added to gradients of the step before.
        zeroed: steps whose gradients were zeroed after the backward pass.
        empty: steps without any backward pass before them.
        rescaled: steps whose gradients were changed after the backward pass.
        clipped: calls of `clip_grad_norm_` or `clip_grad_value_` that would have
            changed the gradient.
        moved: changes of parameters without an optimiser.
    """

    n_steps: int = 0
    stale: int = 0
    zeroed: int = 0
    empty: int = 0
    rescaled: int = 0
    clipped: int = 0
    moved: int = 0


class Distribution:
    """A tapped distribution over actions.

    Args:
        probabilities: `[N, A]` or `[A]`, with or without a graph.
        log_probs: the same, logarithms.
        draw: the drawn actions, if the distribution was sampled from.
    """

    def __init__(self, probabilities: Tensor | None, log_probs: Tensor | None) -> None:
        given = log_probs if probabilities is None else probabilities
        assert given is not None
        self.graph = given.requires_grad
        # Whether the graph can still be differentiated.
        self.alive = self.graph
        self._given = given
        self._is_log = probabilities is None
        detached = given.detach().reshape(-1, given.shape[-1]).double()
        self.table: Array = (detached.exp() if self._is_log else detached).cpu().numpy()
        self.draw: NDArray[Any] | None = None

    def log_probs(self, row: int) -> Tensor:
        """Returns the logarithms of a row's probabilities, `[A]`, with a graph."""
        given = self._given.reshape(-1, self._given.shape[-1])[row]
        return given if self._is_log else given.log()


class Taps:
    """Records distributions, values, gradients and steps.

    Args:
        stage: whose environments the script acts in.
        stepped: is called after each transition, and may end the process.
    """

    def __init__(self, stage: Stage, stepped: Callable[[], None]) -> None:
        self._stage = stage
        self._stepped = stepped
        self.notes: list[str] = []
        self.faults = Faults()
        self.parameters: dict[int, Tensor] = {}
        self._coordinates: dict[int, Tensor | None] = {}
        self._optimizers: list[torch.optim.Optimizer] = []
        self._before: dict[int, Tensor | None] = {}
        self._pending: dict[int, Array] = {}
        self._current_draw: Distribution | None = None
        self._recent: list[Distribution] = []
        self._used_rows: set[int] = set()
        self._over = True
        self._quiet = 0
        self._depth = 0
        self._input_states: NDArray[np.int64] | None = None
        self.start_phase()

    def start_phase(self) -> None:
        """Forgets what belongs to the task before."""
        self.policy = Outputs()
        self.critics: dict[int, Outputs] = {}
        self.steps: list[Step] = []
        self._complete: set[int] = set()

    def forget_script(self) -> None:
        """Forgets parameters and optimisers, before the script runs again."""
        self.parameters.clear()
        self._coordinates.clear()
        self._optimizers.clear()
        self._pending.clear()
        self._recent.clear()
        self._current_draw = None

    # What the script acts with.

    def distribution(
        self, probabilities: Tensor | None, log_probs: Tensor | None
    ) -> Distribution | None:
        """Takes a distribution that the script has computed."""
        given = log_probs if probabilities is None else probabilities
        n_actions = self._n_actions()
        if self._quiet or given is None or n_actions is None or given.dim() == 0:
            return None
        if given.shape[-1] != n_actions or not given.is_floating_point():
            return None
        with torch.no_grad():
            found = Distribution(probabilities, log_probs)
        self._recent.append(found)
        del self._recent[:-_MAX_RECENT]
        if found.graph:
            self._differentiate(found)
        return found

    def drawn(self, distribution: Distribution | None, actions: Tensor) -> None:
        """Takes the actions that a distribution has drawn."""
        if distribution is not None:
            distribution.draw = actions.detach().cpu().numpy().reshape(-1)
            self._current_draw = distribution
            self._used_rows = set()

    def acted(self, env: StageEnv) -> Acted:
        """Finds the distribution that the script's action comes from."""
        chosen, row = self._current_draw, env.row
        n_rows = 1 if chosen is None else len(chosen.table)
        if env.width == 1 < n_rows == self._stage.n_envs:
            # A list of environments that the script steps one by one.
            row = env.index
        self._over = row == max(env.width, n_rows) - 1
        if chosen is not None and (row in self._used_rows or n_rows <= row):
            chosen = None
        if chosen is None:
            # No draw: the last distribution of as many rows, which an `argmax` or a
            # draw by NumPy may have used.
            matching = [d for d in self._recent if len(d.table) == env.width]
            chosen = matching[-1] if matching else None
        if chosen is None:
            return Acted(None, False)
        self._used_rows.add(row)
        if env.phase == self._stage.phase:
            self.policy.see(env.state, chosen.table[row])
            if chosen.alive and env.state not in self.policy.jacobian:
                self._add_jacobian(chosen, row, env.state)
            elif not chosen.graph:
                for other in self._recent:
                    if other.alive:
                        self._differentiate(other)
        drawn = None
        if chosen.draw is not None and len(chosen.draw) > row:
            drawn = int(chosen.draw[row])
        return Acted(drawn, chosen.graph)

    def stepped(self) -> None:
        """Forgets distributions that were computed before the last transition."""
        if self._over:
            self._recent.clear()
            self._current_draw = None
            self._used_rows = set()
        self._stepped()

    def _n_actions(self) -> int | None:
        if not self._stage.tasks:
            return None
        return self._stage.tasks[0].mdp.n_actions

    def _differentiate(self, distribution: Distribution) -> None:
        """Takes the derivatives in states that are recognised by their probabilities."""
        missing = [s for s in self.policy.table if s not in self.policy.jacobian]
        for state in missing:
            distances = np.abs(distribution.table - self.policy.table[state]).max(axis=1)
            row = int(distances.argmin())
            if distances[row] > _SAME:
                continue
            others = [s for s in self.policy.table if s != state]
            clear = all(
                np.abs(self.policy.table[s] - self.policy.table[state]).max()
                > 10 * _SAME
                for s in others
            )
            if clear:
                self._add_jacobian(distribution, row, state)

    def _add_jacobian(self, distribution: Distribution, row: int, state: int) -> None:
        with torch.enable_grad():
            log_probs = distribution.log_probs(row)
        parts = self._derivatives(log_probs)
        if parts:
            self.policy.jacobian[state] = parts

    def _derivatives(self, outputs: Tensor) -> dict[int, Array]:
        """Returns the derivatives `[O, C]` of outputs `[O]` by each parameter."""
        leaves = _leaves(outputs)
        held = {id(p) for o in self._optimizers for g in o.param_groups for p in g["params"]}
        if held and not any(id(leaf) in held for leaf in leaves):
            return {}
        rows: dict[int, list[Array]] = {}
        for i in range(len(outputs)):
            gradients = torch.autograd.grad(
                outputs[i], leaves, retain_graph=True, allow_unused=True
            )
            for leaf, gradient in zip(leaves, gradients, strict=True):
                rows.setdefault(self._key(leaf), []).append(self._cut(leaf, gradient))
        return {
            key: np.stack(parts)
            for key, parts in rows.items()
            if any(part.any() for part in parts)
        }

    def _key(self, parameter: Tensor) -> int:
        key = id(parameter)
        if key not in self.parameters:
            self.parameters[key] = parameter
            n = parameter.numel()
            self._coordinates[key] = (
                None
                if n <= _MAX_COORDINATES
                else torch.randperm(n, generator=torch.Generator().manual_seed(n))[
                    :_MAX_COORDINATES
                ]
            )
        return key

    def _cut(self, parameter: Tensor, gradient: Tensor | None) -> Array:
        """Returns the kept coordinates of a gradient, `[C]` float64."""
        index = self._coordinates[self._key(parameter)]
        if gradient is None:
            n = parameter.numel() if index is None else len(index)
            return np.zeros(n)
        flat = gradient.detach().reshape(-1)
        kept = flat if index is None else flat[index]
        cut: Array = kept.double().cpu().numpy().copy()
        return cut

    # Values.

    def before_module(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Recognises the states in the input of an outermost module."""
        del module
        if self._depth == 0:
            self._input_states = self._states_of(inputs[0] if inputs else None)
        self._depth += 1

    def after_module(self, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ANN401
        """Takes the values that a network gives."""
        del inputs
        self._depth = max(0, self._depth - 1)
        states = self._input_states
        if (
            states is None
            or not isinstance(module, nn.Linear)
            or module.out_features != 1
            or output.numel() != len(states)
        ):
            return
        critic = self.critics.setdefault(id(module), Outputs())
        flat = output.reshape(-1)
        values = flat.detach().double().cpu().numpy()
        for row, state in enumerate(states):
            if state < 0:
                continue
            critic.see(int(state), values[row : row + 1])
            if flat.requires_grad and state not in critic.jacobian:
                with torch.enable_grad():
                    parts = self._derivatives(flat[row : row + 1])
                if parts:
                    critic.jacobian[int(state)] = parts

    def _states_of(self, given: Any) -> NDArray[np.int64] | None:  # noqa: ANN401
        """Returns the states of observations, -1 where there is none; None if none."""
        if not isinstance(given, Tensor) or not self._stage.tasks:
            return None
        observations = self._stage.tasks[self._stage.phase].mdp.observations
        n_states = len(observations)
        rows = given.detach().cpu().numpy()
        flat = observations.reshape(n_states, -1).astype(np.float64)
        if observations.dtype == np.int64:
            if rows.dtype.kind in "iu":
                return rows.reshape(-1).astype(np.int64)
            if rows.shape[-1:] == (n_states,):
                return rows.reshape(-1, n_states).argmax(axis=1)
            if rows.shape[-1:] != (1,):
                return None
        if rows.size % flat.shape[1] or rows.dtype.kind not in "fiu":
            return None
        rows = rows.reshape(-1, flat.shape[1])
        if len(rows) > 4096:
            return None
        distances = np.abs(rows[:, None] - flat).max(axis=-1)
        states = distances.argmin(axis=1)
        scale = max(1.0, float(np.abs(flat).max()))
        states[distances.min(axis=1) > 1e-5 * scale] = -1
        return states if (states >= 0).any() else None

    # Gradients.

    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes a new optimiser."""
        self._optimizers.append(optimizer)

    def _tracked(self) -> Iterable[Tensor]:
        seen = set()
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) not in seen:
                        seen.add(id(parameter))
                        yield parameter
        for key, parameter in list(self.parameters.items()):
            if key not in seen:
                yield parameter

    def before_backward(self) -> None:
        """Keeps the gradients before a backward pass."""
        self._before = {}
        for p in self._tracked():
            gradient = p.grad
            self._before[self._key(p)] = None if gradient is None else gradient.clone()

    def after_backward(self) -> None:
        """Adds what a backward pass has contributed."""
        for distribution in self._recent:
            distribution.alive = False
        stale = False
        for key, before in self._before.items():
            parameter = self.parameters[key]
            gradient = parameter.grad
            if gradient is None:
                continue
            if before is None or not bool(before.any()):
                # Zeroed in the meantime, or never set.
                self._pending[key] = self._cut(parameter, gradient)
                continue
            change = self._cut(parameter, gradient - before)
            if not change.any():
                continue
            if key in self._pending:
                self._pending[key] = self._pending[key] + change
            else:
                stale = True
                self._pending[key] = change
        self.faults.stale += stale
        self._before = {}

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Records the step of an optimiser."""
        self.faults.n_steps += 1
        end = len(self._stage.log)
        if not self.steps or self.steps[-1].end != end:
            self.steps.append(Step(end))
        record = self.steps[-1]
        record.n_steps += 1
        seen = zeroed = changed = False
        for group in optimizer.param_groups:
            for p in group["params"]:
                key = self._key(p)
                pending = self._pending.pop(key, None)
                actual = self._cut(p, p.grad)
                if pending is None:
                    continue
                seen = True
                size = float(np.abs(pending).max(initial=0.0))
                zeroed |= size > 0.0 and not actual.any()
                changed |= bool(np.abs(actual - pending).max(initial=0.0) > 1e-4 * size)
                total = record.gradients.get(key)
                record.gradients[key] = pending if total is None else total + pending
        self.faults.empty += not seen
        self.faults.zeroed += zeroed
        self.faults.rescaled += changed and not zeroed


def _leaves(outputs: Tensor) -> list[Tensor]:
    """Returns the parameters that a tensor depends on."""
    found: dict[int, Tensor] = {}
    stack, seen = [outputs.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None:
            found[id(variable)] = variable
        stack.extend(parent for parent, _ in node.next_functions)
    return list(found.values())


def install(taps: Taps) -> None:
    """Taps torch's distributions, softmax functions, modules, losses and optimisers."""
    _tap_distributions(taps)
    _tap_softmax(taps)
    nn.modules.module.register_module_forward_pre_hook(taps.before_module)
    nn.modules.module.register_module_forward_hook(taps.after_module, always_call=True)
    _tap_backward(taps)
    _hold_optimizers(taps)
    _hold_clipping(taps)
    _switch_dropout_off(taps)


def _tap_distributions(taps: Taps) -> None:
    categorical = torch.distributions.Categorical
    original_init, original_sample = categorical.__init__, categorical.sample

    def init(self: Any, probs: Any = None, logits: Any = None, **kwargs: Any) -> None:  # noqa: ANN401
        taps._quiet += 1
        try:
            original_init(self, probs, logits, **kwargs)
        finally:
            taps._quiet -= 1
        self._pgtoy = taps.distribution(
            None if probs is None else self.probs, None if logits is None else self.logits
        )

    def sample(self: Any, sample_shape: Any = torch.Size()) -> Any:  # noqa: ANN401, B008
        taps._quiet += 1
        try:
            actions = original_sample(self, sample_shape)
        finally:
            taps._quiet -= 1
        taps.drawn(self._pgtoy, actions)
        return actions

    categorical.__init__ = init  # type: ignore[method-assign]
    categorical.sample = sample  # type: ignore[method-assign]
    original_multinomial = torch.multinomial

    def multinomial(probabilities: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        actions = original_multinomial(probabilities, *args, **kwargs)
        if not taps._quiet:
            taps.drawn(taps.distribution(probabilities, None), actions)
        return actions

    torch.multinomial = multinomial
    torch.Tensor.multinomial = multinomial  # type: ignore[method-assign, assignment]


def _tap_softmax(taps: Taps) -> None:
    functional = nn.functional
    for owner, name, is_log in (
        (functional, "softmax", False),
        (functional, "log_softmax", True),
        (torch, "softmax", False),
        (torch, "log_softmax", True),
        (torch.Tensor, "softmax", False),
        (torch.Tensor, "log_softmax", True),
    ):
        setattr(owner, name, _tapped(taps, getattr(owner, name), is_log))


def _tapped(taps: Taps, original: Callable[..., Any], is_log: bool) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        taps._quiet += 1
        try:
            result = original(*args, **kwargs)
        finally:
            taps._quiet -= 1
        if not taps._quiet:
            taps.distribution(None if is_log else result, result if is_log else None)
        return result

    return run


def _tap_backward(taps: Taps) -> None:
    original = torch.autograd.backward

    def backward(*args: Any, **kwargs: Any) -> None:
        taps.before_backward()
        original(*args, **kwargs)
        taps.after_backward()

    torch.autograd.backward = backward


def _hold_optimizers(taps: Taps) -> None:
    base = torch.optim.Optimizer
    original_init = base.__init__

    def step(self: Any, closure: Any = None, **_: Any) -> Any:  # noqa: ANN401
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        taps.step(self)
        return loss

    def init(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        original_init(self, *args, **kwargs)
        self.step = types.MethodType(step, self)
        taps.optimizer(self)

    base.__init__ = init  # type: ignore[method-assign]


def _hold_clipping(taps: Taps) -> None:
    utilities = nn.utils

    def clip_norm(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        if isinstance(parameters, Tensor):
            parameters = [parameters]
        gradients = [p.grad for p in parameters if p.grad is not None]
        kind = kwargs.get("norm_type", args[0] if args else 2.0)
        norm = torch.stack(
            [torch.linalg.vector_norm(g, float(kind)) for g in gradients]
            or [torch.zeros(())]
        )
        total = torch.linalg.vector_norm(norm, float(kind))
        taps.faults.clipped += bool(total > max_norm)
        return total

    def clip_value(parameters: Any, clip: float, **_: Any) -> None:  # noqa: ANN401
        if isinstance(parameters, Tensor):
            parameters = [parameters]
        largest = [p.grad.abs().max() for p in parameters if p.grad is not None]
        taps.faults.clipped += any(bool(value > clip) for value in largest)

    for module in (utilities, utilities.clip_grad):
        module.clip_grad_norm_ = clip_norm  # type: ignore[attr-defined]
        module.clip_grad_value_ = clip_value  # type: ignore[attr-defined]
    utilities.clip_grad_norm = clip_norm  # type: ignore[assignment]


def _switch_dropout_off(taps: Taps) -> None:
    note = "dropout is switched off: with it the same policy acts and learns differently"

    def identity(given: Tensor, *_: Any, **__: Any) -> Tensor:
        if note not in taps.notes:
            taps.notes.append(note)
        return given

    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"):
        setattr(nn.functional, name, identity)
