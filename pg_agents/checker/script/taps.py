"""Taps: what a script's distributions, networks, losses and optimisers do.

The script's parameters are held still: `step()` of an optimiser records the gradient
and changes nothing. The distribution that acts gives the probabilities in each state,
and its graph the derivatives by the parameters, so that no module has to be guessed.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pg_agents.checker.lines.locate import Places, locate
from pg_agents.checker.lines.place import place_of
from pg_agents.checker.lines.tracer import Tracer, leaves
from pg_agents.checker.script.box_task import BoxTask
from pg_agents.checker.script.stage import Acted, Stage, StageEnv
from pg_agents.checker.script.trainings import Trainings
from pg_agents.checker.task import Array

# Coordinates kept of a parameter's gradient. A gradient has as many unknowns as the
# states have outputs, so that a random part of a large network determines them.
_MAX_COORDINATES = 2048
# The outputs of a state differ by rounding, and by the numbers of the observations.
# States whose outputs differ by less than ten times as much are not told apart by them.
_SAME = 1e-5
_MAX_RECENT = 64
# Coordinates that are differentiated numerically, of each handed-in parameter.
_MAX_DIFFERENTIATED = 48
# Elements of a parameter whose changes without an optimiser are undone.
_MAX_COPIED = 1_000_000
# Keys of handed-in parameters, which have no identity.
_HANDED_IN = -2

# Logits [N, A] or values [N] of parameters and observations [N, ...].
OutputsOf = Callable[[Sequence[NDArray[Any]], NDArray[Any]], NDArray[Any]]
_MAX_ROWS = 8192


@dataclass
class Outputs:
    """The outputs of a network in the states, and their derivatives.

    Attributes:
        table: state -> `[O]`, the outputs.
        jacobian: state -> parameter -> `[O, C]`, derivatives by its coordinates.
        logits: state -> `[O]`, what is normalised to the outputs, where it is known.
        mean_logit: state -> parameter -> `[1, C]`, derivatives of the mean of these.
        changed: largest difference of an output between two visits of a state.
    """

    table: dict[int, Array] = field(default_factory=dict)
    jacobian: dict[int, dict[int, Array]] = field(default_factory=dict)
    logits: dict[int, Array] = field(default_factory=dict)
    mean_logit: dict[int, dict[int, Array]] = field(default_factory=dict)
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
        rows: the transitions that the policy was evaluated on, where they are known;
            the step is then a single one.
        gradients: parameter -> `[C]`, the sum of its gradients.
        n_steps: number of steps.
    """

    end: int
    rows: NDArray[np.int64] | None = None
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
        not_finite: steps with a gradient that is NaN or infinite.
        not_finite_at: numbers of transitions before these steps.
        short_at: the same of steps that follow an episode of a single step.
        moved: changes of parameters without an optimiser.
        over_rows: softmaxes with a gradient over the rows of a batch instead of the
            actions.
        probabilities_as_logits: distributions that were given probabilities as logits.
    """

    n_steps: int = 0
    stale: int = 0
    zeroed: int = 0
    empty: int = 0
    rescaled: int = 0
    clipped: int = 0
    not_finite: int = 0
    not_finite_at: set[int] = field(default_factory=set)
    short_at: set[int] = field(default_factory=set)
    moved: int = 0
    over_rows: int = 0
    probabilities_as_logits: int = 0


@dataclass(frozen=True)
class _Input:
    """The input of an outermost module.

    Attributes:
        module: the module.
        rows: `[N, ...]`, the input as it was.
        states: `[N]`, -1 where a row is no observation of the current task.
        transitions: `[N]`, the transitions that start from the observations, -1 where
            none does; None if the observations are not numbered.
    """

    module: nn.Module
    rows: Tensor
    states: NDArray[np.int64]
    transitions: NDArray[np.int64] | None = None


class Distribution:
    """A tapped distribution over actions.

    Args:
        outputs: `[N, O]` with or without a graph: probabilities of the actions, or
            means followed by log standard deviations.
        outputs_of: returns what is differentiated, of a row of `outputs`: logarithms of
            probabilities.
        logits: `[N, O]`, what was normalised to probabilities; None if unknown.

    Attributes:
        table: `[N, O]` float64, the outputs.
        graph: whether they have a graph of gradients.
        alive: whether it can still be differentiated.
        draws: `[N, 1]` or `[N, D]`, the actions of each draw.
        given: the input of the module that it was computed from; None if unknown.
    """

    def __init__(
        self,
        outputs: Tensor,
        outputs_of: Callable[[Tensor], Tensor] | None = None,
        logits: Tensor | None = None,
    ) -> None:
        self._outputs = outputs
        self.logits = logits
        self._outputs_of = outputs_of
        self.graph = self.alive = outputs.requires_grad
        self.table: Array = outputs.detach().double().cpu().numpy()
        self.draws: list[NDArray[Any]] = []
        self.given: _Input | None = None

    @property
    def states(self) -> NDArray[np.int64] | None:
        """`[N]`, the states that it was computed for, -1 where unknown; or None."""
        return None if self.given is None else self.given.states

    def leaves(self) -> list[Tensor]:
        """Returns the parameters that the outputs depend on."""
        return leaves(self._outputs)

    def differentiable(self, row: int) -> Tensor:
        """Returns what is differentiated in a row, `[O]`."""
        with torch.enable_grad():
            outputs = self._outputs[row]
            return outputs if self._outputs_of is None else self._outputs_of(outputs)


class Taps:
    """Records distributions, values, gradients and steps.

    Args:
        stage: whose environments the script acts in.
        stepped: is called after each transition, and may end the process.
        leaves_stage: says whether the script may act in an environment that is not of
            the stage, for a reason.

    Attributes:
        trainings: the policies that the script trains.
        tracer: records the graphs of the first losses.
        passes_over: whether enough was recorded; then only further policies are noted.
    """

    def __init__(
        self,
        stage: Stage,
        stepped: Callable[[], None],
        leaves_stage: Callable[[str], bool],
    ) -> None:
        self.leaves_stage = leaves_stage
        self.trainings = Trainings()
        self.tracer = Tracer()
        self.passes_over = False
        self._stage = stage
        self._stepped = stepped
        self.notes: list[str] = []
        self.faults = Faults()
        self.parameters: dict[int, Tensor] = {}
        self._coordinates: dict[int, Tensor | None] = {}
        self._optimizers: list[torch.optim.Optimizer] = []
        self._before: dict[int, Tensor | None] = {}
        self._pending: dict[int, Array] = {}
        self._base: dict[int, Tensor] = {}
        self._copies: dict[int, Tensor] = {}
        self._current_draw: Distribution | None = None
        self._recent: list[Distribution] = []
        self._used_rows: set[int] = set()
        self._over = True
        self._quiet = 0
        self._depth = 0
        self._input: _Input | None = None
        # Inputs that distributions with a graph were computed from: since the last
        # backward pass, and those of the backward passes since the last step.
        self._inputs: list[_Input] = []
        self._batches: list[list[_Input]] = []
        self.start_phase()

    def start_phase(self) -> None:
        """Forgets what belongs to the task before."""
        self.policy = Outputs()
        # By the weight of the layer that gives the value.
        self.critics: dict[int, Outputs] = {}
        self.steps: list[Step] = []
        # Transitions since the step before the last one.
        self._window = 0, 0
        # What the policy was computed from, by state: module and observation.
        self._asked: dict[int, tuple[nn.Module, Tensor]] = {}

    def forget_script(self) -> None:
        """Forgets parameters and optimisers, before the script runs again."""
        self.parameters.clear()
        self._coordinates.clear()
        self._optimizers.clear()
        self._pending.clear()
        self._base.clear()
        self._copies.clear()
        self._recent.clear()
        self._batches.clear()
        self._current_draw = None
        self.trainings.start_run()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Ignores the functions that a tapped function calls."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    # What the script acts with.

    def categorical(
        self, given: Tensor | None, *, is_log: bool, logits: Tensor | None = None
    ) -> Distribution | None:
        """Takes probabilities `[..., A]`, or their logarithms.

        Args:
            given: the probabilities.
            is_log: whether they are logarithms.
            logits: `[..., A]`, what was normalised to them, if known.
        """
        if self._quiet or given is None or given.dim() == 0:
            return None
        n_actions = given.shape[-1]
        known = n_actions == self._n_actions() or n_actions in self._stage.other_actions
        if not known or not given.is_floating_point():
            return None
        rows = given.reshape(-1, n_actions)
        if logits is not None and logits.shape == given.shape:
            logits = logits.reshape(-1, n_actions)
        else:
            logits = None
        found = Distribution(rows, None if is_log else torch.log, logits)
        if is_log:
            found.table = np.exp(found.table)
        return self._take(found)

    def softmax(self, given: Tensor, result: Tensor, dim: Any, *, is_log: bool) -> None:
        """Takes the result of a softmax over a dimension."""
        self.categorical(result, is_log=is_log, logits=given)
        if self.passes_over:
            return
        self.faults.over_rows += (
            isinstance(dim, int)
            and result.requires_grad
            and result.dim() > 1
            and result.shape[-1] == self._n_actions()
            and dim % result.dim() != result.dim() - 1
        )

    def logits(self, given: Any) -> None:
        """Takes the logits that a distribution is made with."""
        if self._quiet or self.passes_over:
            return
        if not isinstance(given, Tensor) or not given.dim():
            return
        rows = given.detach().reshape(-1, given.shape[-1]).double()
        sums = (rows.sum(dim=1) - 1.0).abs().max() < 1e-5 if len(rows) else False
        self.faults.probabilities_as_logits += bool(sums and (rows >= 0.0).all())

    def bernoulli(self, probabilities: Tensor) -> Distribution | None:
        """Takes probabilities of the second of two actions, `[N]` or `[N, 1]`."""
        if self._quiet or self._n_actions() != 2:
            return None
        second = probabilities.reshape(-1, 1)
        return self._take(
            Distribution(torch.cat([1.0 - second, second], dim=1), torch.log)
        )

    def gaussian(self, means: Tensor, deviations: Tensor) -> Distribution | None:
        """Takes means and standard deviations, `[..., D]`, or `[...]` if D is 1."""
        task = self._stage.tasks[0] if self._stage.tasks else None
        if self._quiet:
            return None
        if -means.shape[-1:].numel() in self._stage.other_actions:
            n = means.shape[-1:].numel()
        elif isinstance(task, BoxTask):
            n = task.n_dimensions
        else:
            return None
        means, deviations = torch.broadcast_tensors(means, deviations)
        if means.numel() % n or (n > 1 and means.shape[-1:] != (n,)):
            return None
        outputs = torch.cat([means.reshape(-1, n), deviations.reshape(-1, n).log()], 1)
        return self._take(Distribution(outputs))

    def _take(self, found: Distribution) -> Distribution:
        if found.graph:
            self.trainings.policy(found.leaves())
        if self.passes_over:
            return found
        self._recent.append(found)
        del self._recent[:-_MAX_RECENT]
        given = self._input
        if given is not None and len(given.states) == len(found.table):
            found.given = given
            if found.alive and not (self._inputs and self._inputs[-1] is given):
                self._inputs.append(given)
        if found.alive:
            self._differentiate(found)
        return found

    def drawn(self, distribution: Distribution | None, actions: Tensor) -> None:
        """Takes the actions that a distribution has drawn."""
        if distribution is not None and not self.passes_over:
            drawn = actions.detach().cpu().numpy()
            distribution.draws.append(drawn.reshape(len(distribution.table), -1))
            self._current_draw = distribution
            self._used_rows = set()

    def drawn_by_numpy(self, probabilities: Array, action: NDArray[Any]) -> None:
        """Takes an action that NumPy has drawn with given probabilities."""
        for found in reversed(self._recent):
            if (
                len(found.table) == 1
                and action.size == 1
                and probabilities.shape == found.table[0].shape
                and np.abs(probabilities - found.table[0]).max() < _SAME
            ):
                found.draws.append(action.reshape(1, 1))
                self._current_draw = found
                self._used_rows = set()
                return

    def acted(self, env: StageEnv, sent: Any) -> Acted:
        """Finds the distribution that the script's action comes from."""
        if self.passes_over:
            return Acted(None, False, env.state)
        self.undo_own_step()
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
            matching = [
                d
                for d in self._recent
                if len(d.table) == env.width
                and (d.states is None or d.states[row] in (-1, env.state))
            ]
            chosen = matching[-1] if matching else None
        if chosen is None:
            return Acted(None, False, env.state)
        self._used_rows.add(row)
        state = env.state
        if env.phase == self._stage.phase:
            if chosen.states is not None and chosen.states[row] >= 0:
                state = int(chosen.states[row])
            self.policy.see(state, chosen.table[row])
            if chosen.given is not None and state not in self._asked:
                self._asked[state] = chosen.given.module, chosen.given.rows[row]
            if chosen.alive and state not in self.policy.jacobian:
                self._add_jacobian(chosen, row, state)
            elif not chosen.graph:
                for other in self._recent:
                    if other.alive:
                        self._differentiate(other)
        # Of several draws the one that was sent, if it was.
        drawn = chosen.draws[-1][row] if chosen.draws else None
        for draw in chosen.draws:
            if np.array_equal(draw[row], np.reshape(sent, -1)):
                drawn = draw[row]
        return Acted(drawn, chosen.graph, state)

    def stepped(self) -> None:
        """Forgets distributions that were computed before the last transition."""
        self.tracer.stepped()
        if self._over:
            self._input = None
            self._inputs = []
            self._recent.clear()
            self._current_draw = None
            self._used_rows = set()
        self._stepped()

    def _n_actions(self) -> int | None:
        tasks = self._stage.tasks
        if not tasks or isinstance(tasks[0], BoxTask):
            return None
        return tasks[0].mdp.n_actions

    def _differentiate(self, distribution: Distribution) -> None:
        """Takes the derivatives in states that a distribution was computed for."""
        missing = [s for s in self.policy.table if s not in self.policy.jacobian]
        if not missing:
            return
        known = distribution.states
        if known is not None and (known < 0).any():
            known = None
        for state in missing:
            outputs = self.policy.table[state]
            distances = np.abs(distribution.table - outputs).max(axis=1)
            if known is not None:
                # The states are those of the last input, unless the outputs differ.
                distances[known != state] = np.inf
            elif any(
                np.abs(other - outputs).max() < 10 * _SAME
                for s, other in self.policy.table.items()
                if s != state
            ):
                continue
            row = int(distances.argmin())
            if distances[row] < _SAME:
                self._add_jacobian(distribution, row, state)

    def _add_jacobian(self, distribution: Distribution, row: int, state: int) -> None:
        parts = self._derivatives(distribution.differentiable(row))
        if parts:
            self.policy.jacobian[state] = parts
            if distribution.logits is not None:
                self._add_logits(distribution.logits[row], state)

    def _add_logits(self, logits: Tensor, state: int) -> None:
        """Takes the logits `[O]` of a state, and the derivatives of their mean."""
        if logits.requires_grad:
            with torch.enable_grad():
                parts = self._derivatives(logits.mean()[None])
            self.policy.logits[state] = logits.detach().double().cpu().numpy()
            self.policy.mean_logit[state] = parts

    def _derivatives(self, outputs: Tensor) -> dict[int, Array]:
        """Returns the derivatives `[O, C]` of outputs `[O]` by each parameter."""
        parameters = leaves(outputs)
        held = {
            id(p) for o in self._optimizers for g in o.param_groups for p in g["params"]
        }
        if held and not any(id(leaf) in held for leaf in parameters):
            return {}
        rows: dict[int, list[Array]] = {}
        for i in range(len(outputs)):
            gradients = torch.autograd.grad(
                outputs[i], parameters, retain_graph=True, allow_unused=True
            )
            for leaf, gradient in zip(parameters, gradients, strict=True):
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
        if self._depth == 0 and not self.passes_over:
            self.undo_own_step()
            # Otherwise it is the last one's, which `F.relu(self.fc1(x))` hands on to
            # the next layer.
            found = self._recognise(module, inputs[0] if inputs else None)
            self._input = found or self._input
        self._depth += 1

    def after_module(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Takes the values that a network gives."""
        del inputs
        self._depth = max(0, self._depth - 1)
        if (
            self.passes_over
            or self._input is None
            or not isinstance(module, nn.Linear)
            or module.out_features != 1
            or output.numel() != len(self._input.states)
        ):
            return
        critic = self.critics.setdefault(self._key(module.weight), Outputs())
        flat = output.reshape(-1)
        values = flat.detach().double().cpu().numpy()
        for row, state in enumerate(self._input.states):
            if state < 0:
                continue
            critic.see(int(state), values[row : row + 1])
            if flat.requires_grad and state not in critic.jacobian:
                with torch.enable_grad():
                    parts = self._derivatives(flat[row : row + 1])
                if parts:
                    critic.jacobian[int(state)] = parts

    def _recognise(self, module: nn.Module, given: Any) -> _Input | None:
        """Recognises the states in a batch of observations; None if there are none."""
        if not isinstance(given, Tensor) or not self._stage.tasks:
            return None
        observations = self._stage.tasks[self._stage.phase].mdp.observations
        n_states = len(observations)
        rows = given.detach().cpu().numpy()
        flat = observations.reshape(n_states, -1).astype(np.float64)
        if observations.dtype == np.int64:
            if rows.dtype.kind in "iu":
                return _Input(module, given.reshape(-1), rows.reshape(-1).astype(int))
            if rows.shape[-1:] == (n_states,):
                found = rows.reshape(-1, n_states).argmax(axis=1)
                return _Input(module, given.reshape(-1, n_states), found)
            if rows.shape[-1:] != (1,):
                return None
        if rows.dtype.kind not in "fiu" or rows.size % flat.shape[1]:
            return None
        rows = rows.reshape(-1, flat.shape[1])
        if not 0 < len(rows) <= _MAX_ROWS:
            return None
        distances = np.abs(rows[:, None] - flat).max(axis=-1)
        states = distances.argmin(axis=1)
        scale = max(1.0, float(np.abs(flat).max()))
        states[distances.min(axis=1) > 1e-5 * scale] = -1
        if (states < 0).all():
            return None
        transitions = None
        if self._stage.watermark.n_bits and (states >= 0).all():
            transitions = self._stage.watermark.transitions(rows)
        shape = observations.shape[1:]
        batch = given.detach()
        batch = batch.reshape(-1, *shape) if given.dim() > len(shape) else batch[None]
        if len(batch) != len(rows):
            batch = given.detach().reshape(len(rows), -1)
        return _Input(module, batch, states, transitions)

    def fill(self) -> None:
        """Asks the module that acts, in states whose derivatives are still missing.

        The script may compute its loss in another way than its actions.
        """
        for state, (module, row) in self._asked.items():
            if state in self.policy.jacobian:
                continue
            with self.quiet(), torch.enable_grad():
                try:
                    outputs = module(row[None])
                except Exception:
                    return
            parts = outputs if isinstance(outputs, tuple | list) else [outputs]
            known = torch.as_tensor(self.policy.table[state])
            for part in parts:
                if not isinstance(part, Tensor) or part.numel() != len(known):
                    continue
                flat = part.reshape(-1)
                for log_probs in (flat, flat.log(), flat.log_softmax(0)):
                    found = log_probs.detach().exp().double()
                    if bool((found - known).abs().max() < _SAME):
                        derivatives = self._derivatives(log_probs)
                        if derivatives:
                            self.policy.jacobian[state] = derivatives
                            self._add_logits(flat, state)
                        break

    def places(self) -> Places:
        """Returns the lines of the policy's loss, from what was recorded so far."""
        if self.tracer.handed_in:
            return Places(place_of(self.tracer.handed_in[0]))
        policy = self.policy.parameters()
        critics: set[int] = set()
        for weight, critic in self.critics.items():
            if weight not in policy:
                critics |= {weight, *critic.parameters()}
        return locate(self.tracer.graphs, policy, critics)

    # Gradients.

    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes a new optimiser."""
        self._optimizers.append(optimizer)
        self.trainings.optimizer(optimizer)

    def handed_in(
        self,
        outputs: OutputsOf,
        values: OutputsOf | None,
        parameters: Sequence[NDArray[Any]],
        gradients: Sequence[NDArray[Any]],
    ) -> None:
        """Takes an update of a script that does not use torch, see `hand_in`."""
        if not self._stage.tasks:
            return
        self.trainings.handed_in()
        self.tracer.takes()
        if self.passes_over:
            return
        end = len(self._stage.log)
        observations = self._stage.tasks[self._stage.phase].mdp.observations
        keys = [_HANDED_IN - i for i in range(len(parameters))]
        kept = [_kept_coordinates(p.size, _MAX_DIFFERENTIATED) for p in parameters]
        if len(self.policy.jacobian) < len(observations):
            table, jacobian = differentiate(
                lambda p, o: _log_softmax(outputs(p, o)), parameters, observations, kept
            )
            self._keep(self.policy, np.exp(table), jacobian, keys)
            means, jacobian = differentiate(
                lambda p, o: np.mean(outputs(p, o), axis=1, keepdims=True),
                parameters,
                observations,
                kept,
            )
            for state, mean in enumerate(means):
                self.policy.logits[state] = table[state] - table[state].mean() + mean
                self.policy.mean_logit[state] = {
                    key: part[state] for key, part in zip(keys, jacobian, strict=True)
                }
            if values is not None:
                critic = self.critics.setdefault(_HANDED_IN + 1, Outputs())
                shape = (len(observations), 1)
                found, jacobian = differentiate(
                    lambda p, o: np.reshape(values(p, o), shape),
                    parameters,
                    observations,
                    kept,
                )
                self._keep(critic, found, jacobian, keys)
        step = Step(end)
        step.n_steps = 1
        for key, gradient, index in zip(keys, gradients, kept, strict=True):
            step.gradients[key] = np.asarray(gradient, np.float64).reshape(-1)[index]
        bad = not all(np.isfinite(g).all() for g in step.gradients.values())
        self.faults.n_steps += 1
        self.steps.append(step)
        self._note_finite(bad)

    def _keep(
        self, outputs: Outputs, table: Array, jacobian: list[Array], keys: list[int]
    ) -> None:
        for state in range(len(table)):
            outputs.see(state, table[state])
            outputs.jacobian[state] = {
                key: part[state] for key, part in zip(keys, jacobian, strict=True)
            }

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
        if self.passes_over:
            return
        for p in self._tracked():
            gradient = p.grad
            self._before[self._key(p)] = None if gradient is None else gradient.clone()

    def after_backward(self) -> None:
        """Adds what a backward pass has contributed."""
        if self.passes_over:
            return
        for distribution in self._recent:
            distribution.alive = False
        self._batches.append(self._inputs)
        self._inputs = []
        stale = False
        for key, before in self._before.items():
            parameter = self.parameters[key]
            gradient = parameter.grad
            if gradient is None:
                continue
            if before is None or not bool(before.any()):
                # Zeroed in the meantime, or never set.
                self._base.pop(key, None)
                self._pending[key] = self._cut(parameter, gradient)
            elif key in self._pending:
                base = self._base.get(key)
                total = gradient if base is None else gradient - base
                self._pending[key] = self._cut(parameter, total)
            elif not _are_same(gradient, before):
                stale = True
                self._base[key] = before
                self._pending[key] = self._cut(parameter, gradient - before)
        self.faults.stale += stale
        self._before = {}
        if not self._optimizers:
            self._copies = {
                key: parameter.detach().clone()
                for key, parameter in self.parameters.items()
                if key in self._pending and parameter.numel() <= _MAX_COPIED
            }

    def undo_own_step(self) -> None:
        """Undoes and records a step that the script takes without an optimiser."""
        if self.passes_over:
            return
        moved = [
            key
            for key, copy in self._copies.items()
            if not torch.equal(copy, self.parameters[key])
        ]
        if not moved:
            return
        self.faults.moved += 1
        self.faults.n_steps += 1
        step = Step(len(self._stage.log), self._rows(), n_steps=1)
        for key in moved:
            # Through `data`: graphs that were just built can still be differentiated.
            self.parameters[key].data.copy_(self._copies[key])
            step.gradients[key] = self._pending.pop(key)
        self._copies = {}
        self.steps.append(step)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Records the step of an optimiser."""
        self.trainings.step(optimizer)
        if self.passes_over:
            # Other environments do not report their transitions.
            self._stepped()
            return
        self.faults.n_steps += 1
        end = len(self._stage.log)
        rows = self._rows()
        last = self.steps[-1] if self.steps else None
        of_policy = self.policy.parameters()
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if (
            last is None
            or last.end != end
            or (
                (rows is not None or last.rows is not None)
                and not of_policy.isdisjoint(last.gradients)
                # The policy's next step, or the critic's that comes before it.
                and not (of_policy | set(last.gradients)).isdisjoint(held)
            )
        ):
            self.steps.append(Step(end))
        record = self.steps[-1]
        record.n_steps += 1
        if rows is not None:
            record.rows = rows
        seen = zeroed = changed = bad = False
        for group in optimizer.param_groups:
            for p in group["params"]:
                key = self._key(p)
                pending = self._pending.pop(key, None)
                base = self._base.pop(key, None)
                actual = self._cut(p, p.grad)
                if pending is None:
                    continue
                seen = True
                bad |= not np.isfinite(pending).all()
                size = float(np.abs(pending).max(initial=0.0))
                zeroed |= size > 0.0 and not actual.any()
                if base is None:
                    change = np.abs(actual - pending).max(initial=0.0)
                    changed |= bool(change > 1e-4 * size)
                total = record.gradients.get(key)
                record.gradients[key] = pending if total is None else total + pending
        self.faults.empty += not seen
        self._note_finite(bad)
        self.faults.zeroed += zeroed
        self.faults.rescaled += changed and not zeroed

    def _note_finite(self, bad: bool) -> None:
        """Notes whether the last gradient is NaN, and whether an episode was short."""
        end = self.steps[-1].end
        if end != self._window[1]:
            self._window = self._window[1], end
            rows = self._stage.log.rows[slice(*self._window)]
            if any(r.time == 0 and (r.terminated or r.truncated) for r in rows):
                self.faults.short_at.add(end)
        if bad:
            self.faults.not_finite += 1
            self.faults.not_finite_at.add(end)

    def _rows(self) -> NDArray[np.int64] | None:
        """Returns the transitions that the policy was evaluated on for this step."""
        batches, self._batches = self._batches, []
        of_policy = self.policy.parameters()
        found = []
        for batch in batches:
            for given in batch:
                if given.transitions is None or (given.transitions < 0).any():
                    return None
                if any(id(p) in of_policy for p in given.module.parameters()):
                    found.append(given.transitions)
        return np.concatenate(found) if found else None


def _are_same(one: Tensor, other: Tensor) -> bool:
    """Whether all elements are equal, where NaN equals NaN."""
    return bool(torch.isclose(one, other, rtol=0.0, atol=0.0, equal_nan=True).all())


def _kept_coordinates(n: int, most: int) -> NDArray[np.int64]:
    """Returns at most a number of coordinates, at random but always the same."""
    rng = np.random.default_rng(n)
    kept: NDArray[np.int64] = np.sort(rng.permutation(n)[:most])
    return kept


def _log_softmax(logits: NDArray[Any]) -> Array:
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    log_probs: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_probs


def differentiate(
    outputs: OutputsOf,
    parameters: Sequence[NDArray[Any]],
    observations: NDArray[Any],
    kept: Sequence[NDArray[np.int64]],
) -> tuple[Array, list[Array]]:
    """Differentiates outputs by coordinates of parameters, with five-point stencils.

    Args:
        outputs: function of parameters and observations `[S, ...]`.
        parameters: arrays.
        observations: `[S, ...]`.
        kept: coordinates of each parameter, `[C]`.

    Returns:
        The outputs, `[S, O]`, and the derivatives for each parameter, `[S, O, C]`.
        They are 0 where the function has a kink nearby: a network with ReLU.
    """
    arrays = [np.array(p) for p in parameters]

    def at(i: int, c: int, offset: float) -> Array:
        moved = list(arrays)
        moved[i] = arrays[i].copy()
        moved[i].reshape(-1)[c] += offset
        return np.asarray(outputs(moved, observations), np.float64)

    def slope(i: int, c: int, h: float) -> Array:
        near = at(i, c, h) - at(i, c, -h)
        far = at(i, c, 2 * h) - at(i, c, -2 * h)
        derivative: Array = (8.0 * near - far) / (12.0 * h)
        return derivative

    table = np.asarray(outputs(arrays, observations), np.float64)
    jacobian = []
    for i, index in enumerate(kept):
        single = arrays[i].dtype != np.float64
        h = 2e-2 if single else 1e-3
        columns = np.zeros((*table.shape, len(index)))
        for column, c in enumerate(index):
            columns[..., column] = slope(i, int(c), h)
        jacobian.append(columns)
    return table, jacobian


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
    taps.tracer.start()


def _tap_distributions(taps: Taps) -> None:
    distributions = torch.distributions

    def categorical(d: Any, logits: Any) -> Distribution | None:
        is_log = "probs" not in vars(d)
        given = logits if isinstance(logits, Tensor) else None
        return taps.categorical(
            d.logits if is_log else d.probs, is_log=is_log, logits=given
        )

    def normal(d: Any, _: Any) -> Distribution | None:
        return taps.gaussian(d.loc, d.scale)

    def multivariate(d: Any, _: Any) -> Distribution | None:
        return taps.gaussian(d.loc, d.variance.sqrt())

    for kind, take in (
        (distributions.Categorical, categorical),
        (distributions.Bernoulli, lambda d, _: taps.bernoulli(d.probs)),
        (distributions.Normal, normal),
        (distributions.MultivariateNormal, multivariate),
    ):
        _tap_distribution(taps, kind, take)
    original = torch.multinomial

    def multinomial(probabilities: Tensor, *args: Any, **kwargs: Any) -> Any:
        actions = original(probabilities, *args, **kwargs)
        if not taps._quiet:
            taps.drawn(taps.categorical(probabilities, is_log=False), actions)
        return actions

    torch.multinomial = multinomial  # type: ignore[assignment]
    torch.Tensor.multinomial = multinomial  # type: ignore[method-assign, assignment]
    original_choice = np.random.choice

    def choice(*args: Any, **kwargs: Any) -> Any:
        drawn = original_choice(*args, **kwargs)
        probabilities = kwargs.get("p", args[3] if len(args) > 3 else None)
        if probabilities is not None:
            taps.drawn_by_numpy(np.asarray(probabilities), np.asarray(drawn))
        return drawn

    np.random.choice = choice
    original_normal = torch.normal

    def draw_normal(*args: Any, **kwargs: Any) -> Any:
        actions = original_normal(*args, **kwargs)
        if not taps._quiet and len(args) > 1 and isinstance(args[0], Tensor):
            deviation = torch.as_tensor(args[1], dtype=args[0].dtype)
            taps.drawn(taps.gaussian(args[0], deviation), actions)
        return actions

    torch.normal = draw_normal


def _tap_distribution(
    taps: Taps,
    kind: Any,
    take: Callable[[Any, Any], Distribution | None],
) -> None:
    """Taps a class; `take` is given the distribution and the logits it is made of."""
    original_init = kind.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        with taps.quiet():
            original_init(self, *args, **kwargs)
        logits = kwargs.get("logits", args[1] if len(args) > 1 else None)
        if kind is torch.distributions.Categorical:
            taps.logits(logits)
        self._pgtoy = take(self, logits)

    kind.__init__ = init
    for name in ("sample", "rsample"):
        if name in vars(kind) or (name == "sample" and kind.has_rsample):
            setattr(kind, name, _drawing(taps, getattr(kind, name)))


def _drawing(taps: Taps, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def sample(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        with taps.quiet():
            actions = original(self, *args, **kwargs)
        if not taps._quiet:
            taps.drawn(getattr(self, "_pgtoy", None), actions)
        return actions

    return sample


def _tap_softmax(taps: Taps) -> None:
    for owner in (nn.functional, torch, torch.Tensor):
        for name, is_log in (("softmax", False), ("log_softmax", True)):
            setattr(owner, name, _tapped_softmax(taps, getattr(owner, name), is_log))

    def take_sigmoid(result: Tensor) -> None:
        if result.dim() == 0 or result.shape[-1] == 1:
            taps.bernoulli(result)

    owners: tuple[Any, ...] = (nn.functional, torch, torch.Tensor)
    for owner in owners:
        owner.sigmoid = _tapped(taps, owner.sigmoid, take_sigmoid)


def _tapped_softmax(
    taps: Taps, original: Callable[..., Tensor], is_log: bool
) -> Callable[..., Tensor]:
    def run(*args: Any, **kwargs: Any) -> Tensor:
        with taps.quiet():
            result = original(*args, **kwargs)
        if not taps._quiet:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            given = kwargs.get("input", args[0] if args else result)
            taps.softmax(given, result, dim, is_log=is_log)
        return result

    return run


def _tapped(
    taps: Taps, original: Callable[..., Any], take: Callable[[Tensor], Any]
) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with taps.quiet():
            result = original(*args, **kwargs)
        if not taps._quiet:
            take(result)
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
    _without_compiler(base)
    original_init = base.__init__

    def step(self: Any, closure: Any = None, **_: Any) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        taps.step(self)
        return loss

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original_init(self, *args, **kwargs)
        self.step = types.MethodType(step, self)
        taps.optimizer(self)

    base.__init__ = init  # type: ignore[method-assign]


def _without_compiler(optimizer: type[torch.optim.Optimizer]) -> None:
    """Keeps methods from importing torch's compiler, to tell it to ignore them.

    The import takes longer than most recordings.
    """
    for method in vars(optimizer).values():
        ignored = getattr(method, "__wrapped__", None)
        if ignored is not None:
            vars(ignored)["__dynamo_disable"] = ignored


def _hold_clipping(taps: Taps) -> None:
    utilities = nn.utils

    def clip_norm(
        parameters: Any, max_norm: float, *args: Any, **kwargs: Any
    ) -> Tensor:
        if isinstance(parameters, Tensor):
            parameters = [parameters]
        gradients = [p.grad for p in parameters if p.grad is not None]
        kind = kwargs.get("norm_type", args[0] if args else 2.0)
        norm = torch.stack(
            [torch.linalg.vector_norm(g, float(kind)) for g in gradients]
            or [torch.zeros(())]
        )
        total: Tensor = torch.linalg.vector_norm(norm, float(kind))
        taps.faults.clipped += bool(total > max_norm)
        return total

    def clip_value(parameters: Any, clip: float, **_: Any) -> None:
        if isinstance(parameters, Tensor):
            parameters = [parameters]
        largest = [p.grad.abs().max() for p in parameters if p.grad is not None]
        taps.faults.clipped += any(bool(value > clip) for value in largest)

    for module in (utilities, utilities.clip_grad):
        module.clip_grad_norm_ = clip_norm  # type: ignore[attr-defined]
        module.clip_grad_value_ = clip_value  # type: ignore[attr-defined]
    utilities.clip_grad_norm = clip_norm


def _switch_dropout_off(taps: Taps) -> None:
    note = (
        "dropout is switched off: with it the same policy acts and learns differently"
    )

    def identity(given: Tensor, *_: Any, **__: Any) -> Tensor:
        if note not in taps.notes:
            taps.notes.append(note)
        return given

    for name in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"):
        setattr(nn.functional, name, identity)
