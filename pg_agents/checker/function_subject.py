"""Records and measures the gradients of a function `(batch, policy) -> loss`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Categorical

from pg_agents.checker.episodes import (
    EpisodeBatch,
    Steps,
    batches,
    joined,
    sample_episodes,
)
from pg_agents.checker.estimators import (
    Sample,
    control_variates,
    sample_is_sufficient,
)
from pg_agents.checker.geometry import (
    CannotCheckError,
    Decoder,
    check_uses_observations,
    make_geometry,
    normalized_policy,
)
from pg_agents.checker.lines.locate import Places, locate
from pg_agents.checker.lines.tracer import Tracer, leaves
from pg_agents.checker.model_subject import preserve_random_state
from pg_agents.checker.perturbation import PolicyPerturbation, is_stateful
from pg_agents.checker.record import Record, Update
from pg_agents.checker.report import Progress
from pg_agents.checker.simulation import transitions_of
from pg_agents.checker.statistics import GradientSeries, pooled
from pg_agents.checker.task import Array, Task
from pg_agents.checker.verdict import Measurement

Subject = Callable[[EpisodeBatch, Any], Any]
Critic = Callable[[Tensor], Tensor]

# Batches of the first look at a mean: a large bias shows in them.
_FIRST_LOOK = 256
# Where rewards are rare, as in FrozenLake, most gradients are zero: the sample whose
# gradients are recorded is repeated until so many are not, and at most so often.
_FEWEST_INFORMATIVE = 24
_MOST_PARTS = 8
# Standard deviation of the logits: neither uniform, where some mistakes are a mere
# factor, nor nearly deterministic.
LOGIT_STD = 0.7


class TablePolicy(nn.Module):
    """A softmax policy with one row of logits for each observation.

    `pi(a | o) = exp(theta[o, a]) / sum_b exp(theta[o, b])`

    Args:
        observations: `[S, *obs_shape]`, all observations; equal ones share logits.
        n_actions: number of actions, A.
        seed: seed of the logits, which are normal with a standard deviation of 0.7.

    Attributes:
        observations: `[K, *obs_shape]`, the distinct ones.
        logits: `[K, A]`, the only parameter.
    """

    observations: Tensor

    def __init__(
        self,
        observations: NDArray[np.float32] | NDArray[np.int64],
        n_actions: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        distinct = np.unique(observations, axis=0)
        self.register_buffer("observations", torch.as_tensor(distinct))
        normal = np.random.default_rng(seed).normal(size=(len(distinct), n_actions))
        self.logits = nn.Parameter(torch.as_tensor(LOGIT_STD * normal).float())

    def forward(self, observations: Tensor) -> Categorical:
        """Returns the distribution over actions.

        Args:
            observations: `[..., *obs_shape]`.

        Raises:
            ValueError: if an observation is not in the table.
        """
        logits = self.logits[self.rows(observations)]
        return Categorical(logits=logits, validate_args=False)

    def rows(self, observations: Tensor) -> Tensor:
        """Returns the row of logits of each observation, `[...]` int64.

        Args:
            observations: `[..., *obs_shape]`.

        Raises:
            ValueError: if an observation is not in the table.
        """
        obs_shape = self.observations.shape[1:]
        n_leading = observations.dim() - len(obs_shape)
        if n_leading < 0 or observations.shape[n_leading:] != obs_shape:
            raise ValueError(
                f"observations must have shape [..., {list(obs_shape)}], got "
                f"{list(observations.shape)}"
            )
        equal = observations.reshape(-1, 1, *obs_shape) == self.observations
        matches = equal.flatten(2).all(-1) if obs_shape else equal
        if not matches.any(-1).all():
            raise ValueError(
                "unknown observation: the policy has a row for each of the "
                f"{len(self.observations)} observations of the environment, of shape "
                f"{list(obs_shape)}"
            )
        # argmax of bool is not defined on all devices.
        rows = matches.float().argmax(-1)
        return rows.reshape(observations.shape[:n_leading])


@dataclass(frozen=True)
class SamplePlan:
    """How much is sampled on each task.

    Attributes:
        n_recorded: number of calls whose gradients are recorded to identify a formula.
        n_episodes: number of episodes of the mean, a multiple of `batch_size`.
        batch_size: episodes per call of the function, a multiple of `n_envs`.
        n_envs: environments that the episodes of a batch are distributed over.
        seed: seed of all random numbers.
    """

    n_recorded: int
    n_episodes: int
    batch_size: int
    n_envs: int
    seed: int


class PolicyReader:
    """Reads what a policy gives: a `Categorical`, logits or probabilities.

    Args:
        policy: module from observations `[B, *obs_shape]` to a `Categorical`, logits or
            probabilities `[B, A]`, or to a tuple of one of these and values.
        observations: `[S, *obs_shape]`.

    Attributes:
        notes: what was found, for the report.

    Raises:
        CannotCheckError: if the policy gives something else, or two calls differ.
    """

    def __init__(self, policy: nn.Module, observations: Tensor) -> None:
        self._policy, self._observations = policy, observations
        self.notes: tuple[str, ...] = ()
        self._switch_off_noise()
        with torch.no_grad():
            found = _distribution(self._call())
        self._kind = "distribution" if isinstance(found, Categorical) else "logits"
        if isinstance(found, Tensor) and _is_probabilities(found):
            self._kind = "probabilities"
            self.notes += (
                "the policy returns probabilities (it ends in a softmax): they are "
                "read as such, not as logits",
            )

    def log_probs(self) -> Tensor:
        """Returns log pi(a|s) of all states, `[S, A]`."""
        found = _distribution(self._call())
        if isinstance(found, Categorical):
            return found.logits
        if self._kind == "probabilities":
            return found.log()
        return torch.log_softmax(found, dim=-1)

    def outputs(self) -> Tensor:
        """Returns logits of all states, `[S, A]`: the policy's own if it has some."""
        found = _distribution(self._call())
        if self._kind == "logits":
            assert isinstance(found, Tensor)
            return found
        log_probs = self.log_probs()
        return log_probs - log_probs.mean(dim=-1, keepdim=True)

    def values(self) -> Tensor | None:
        """Returns the values of all states, `[S]`; None if the policy gives none."""
        found = self._call()
        if not isinstance(found, tuple) or len(found) < 2:
            return None
        values = found[1]
        if not isinstance(values, Tensor) or values.numel() != len(self._observations):
            return None
        return values.flatten()

    def _call(self) -> Any:  # noqa: ANN401
        return self._policy(self._observations)

    def _switch_off_noise(self) -> None:
        """Switches to evaluation if the output depends on noise or other rows."""
        if self._is_noisy():
            was_training = self._policy.training
            self._policy.eval()
            if self._is_noisy():
                raise CannotCheckError(
                    "two calls of the policy with the same observations differ, also "
                    "after policy.eval(): it must give the same probabilities each time"
                )
            if was_training:
                layers = sorted(
                    {
                        type(layer).__name__
                        for layer in self._policy.modules()
                        if "Dropout" in type(layer).__name__
                        or "Norm" in type(layer).__name__
                    }
                )
                names = ", ".join(layers) or "noise"
                self.notes += (
                    f"two calls of the policy with the same observations differ "
                    f"({names}): it is checked after policy.eval()",
                )

    def _is_noisy(self) -> bool:
        first = self._observations
        # Batch normalisation depends on the other rows.
        more = torch.cat([first, first[:1]])
        with torch.no_grad():
            one, two, other = (
                _as_tensor(self._policy(rows)) for rows in (first, first, more)
            )
        close = torch.allclose(one, two, atol=1e-6)
        return not (close and torch.allclose(one, other[: len(one)], atol=1e-5))


def _distribution(output: Any) -> Categorical | Tensor:  # noqa: ANN401
    """Returns the part of a policy's output that holds the distribution."""
    first = output[0] if isinstance(output, tuple) and output else output
    if isinstance(first, Categorical):
        return first
    if isinstance(first, Tensor) and first.dim() == 2 and first.is_floating_point():
        return first
    raise CannotCheckError(
        "the policy must return a torch Categorical, logits or probabilities [B, A] "
        "for observations [B, ...], or a tuple of one of these and values [B]; got "
        f"{_described(output)}"
    )


def _as_tensor(output: Any) -> Tensor:  # noqa: ANN401
    found = _distribution(output)
    return found.logits if isinstance(found, Categorical) else found


def _described(output: Any) -> str:  # noqa: ANN401
    if isinstance(output, Tensor):
        return f"a tensor of shape {list(output.shape)}"
    if isinstance(output, tuple):
        return f"a tuple of {', '.join(_described(part) for part in output)}"
    return type(output).__name__


def _is_probabilities(output: Tensor) -> bool:
    sums = output.sum(dim=-1)
    return bool((output >= 0.0).all() and (sums - 1.0).abs().max() < 1e-4)


class FunctionSubject:
    """A function and its policy on one task.

    Args:
        function: `(batch, policy)` to a loss or a gradient, see `as_gradient`.
        policy: see `PolicyReader`.
        critic: where the values in the batches come from. `"own"`: the policy, if it
            gives a tuple. `"exact"`, or the policy gives none: exact values. A function
            of observations `[B, ...]`: its values `[B]`.
        task: MDP and objective.
        plan: how much is sampled.

    Attributes:
        is_random: whether calls with the same batch differ by the random state alone.

    Raises:
        CannotCheckError: if the policy cannot be checked.
    """

    is_random = False

    def __init__(
        self,
        function: Subject,
        policy: nn.Module,
        critic: Literal["own", "exact"] | Critic,
        task: Task,
        plan: SamplePlan,
    ) -> None:
        self._function, self._policy, self._plan = function, policy, plan
        self.task = task
        self._parameters = [p for p in policy.parameters() if p.requires_grad]
        if not self._parameters:
            raise CannotCheckError(
                "the policy has no parameters that require a gradient"
            )
        observations = torch.tensor(task.mdp.observations)
        self._reader = PolicyReader(policy, observations)
        log_probs = self._reader.log_probs()
        if log_probs.shape != (task.mdp.n_states, task.mdp.n_actions):
            raise CannotCheckError(
                f"the environment has {task.mdp.n_actions} actions, but the policy "
                f"gives {log_probs.shape[-1]} probabilities per observation"
            )
        table = normalized_policy(log_probs)
        self.logits = self._reader.outputs()
        values = self._reader.values()
        self._decoder = Decoder(self.logits, self._parameters, values)
        check_uses_observations(table, self._decoder, task)
        self.geometry = make_geometry(task, table, self._decoder.basis)
        self._values = _value_table(critic, values, observations)
        self._tracer = Tracer()
        self._of_values = [] if values is None else leaves(values)

    @property
    def places(self) -> Places:
        """The lines of the loss, after `record`."""
        policy, critic = leaves(self.logits), self._of_values
        code = getattr(self._function, "__code__", None)
        return locate(
            self._tracer.graphs,
            set(map(id, policy)),
            set(map(id, critic)),
            None if code is None else code.co_name,
        )

    def record(self, progress: Progress) -> Record:
        """Calls the function on a few batches and decodes the gradients."""
        plan, task = self._plan, self.task
        rng = np.random.default_rng([plan.seed, 4])
        parts: list[Steps] = []
        updates: list[Update] = []
        first = n_informative = 0
        while n_informative < _FEWEST_INFORMATIVE and len(parts) < _MOST_PARTS:
            part = sample_episodes(task, self.geometry.policy, self.n_recorded, rng)
            if not parts:
                with self._tracer.tracing():
                    self._find_randomness(part)
            for batch in self._batches(part, self.geometry.policy):
                gradient = self._gradient(batch)
                outputs, value, unexplained = self._decoder.decode(-gradient)
                last = first + len(batch.rewards)
                updates.append(Update(first, last, outputs, value, unexplained))
                first = last
                n_informative += bool(outputs.any())
                progress.advance(len(batch))
            parts.append(part)
        steps = joined(parts)
        per_env = plan.batch_size // plan.n_envs
        env = steps.episode % plan.batch_size // per_env
        # Rewards as the function sees them.
        reward = steps.reward.astype(np.float32).astype(np.float64)
        transitions = replace(transitions_of(steps, env), reward=reward)
        basis = self._decoder.basis
        n_states, n_actions = self.logits.shape
        full = basis.shape[1] >= n_states * (n_actions - 1)
        return Record(
            task,
            self.geometry.policy,
            task.values(self.geometry.policy) if self._values is None else self._values,
            transitions,
            tuple(updates),
            logits=self.logits.detach().double().numpy(),
            basis=None if full else basis,
            value_basis=self._decoder.value_basis,
        )

    def measure(self, progress: Progress, repeat: int = 0) -> Iterator[Measurement]:
        """Estimates the mean gradient.

        If the gradient of a batch is another one after calls with other batches and
        another policy, the function keeps a state. Then the mean in calls that each
        follow one with a perturbed policy is estimated, too.

        Args:
            progress: progress bar.
            repeat: number of the sample; each is independent.

        Yields:
            Measurements of growing parts of the sample; the last one is of all.

        Raises:
            CannotCheckError: if the function does not return a gradient.
        """
        plan, task, geometry = self._plan, self.task, self.geometry
        rng = np.random.default_rng([plan.seed, repeat])
        perturbation = PolicyPerturbation(
            self._parameters, self._reader.log_probs, plan.seed
        )
        first = min(_FIRST_LOOK * plan.batch_size, plan.n_episodes)
        parts: list[GradientSeries] = []
        keeps_state = False
        for n_episodes in (first, plan.n_episodes - first):
            if not n_episodes:
                continue
            steps = sample_episodes(task, geometry.policy, n_episodes, rng)
            other = sample_episodes(task, perturbation.policy, plan.batch_size, rng)
            before = self._probed(steps)
            parts.append(self._series(steps, progress))
            with perturbation:
                self._gradient(next(self._batches(other, perturbation.policy)))
            keeps_state = keeps_state or not torch.equal(before, self._probed(steps))
            if not keeps_state:
                notes = _truncation_notes(steps, task)
                yield self._measurement(pooled(parts), notes=notes)
        if not keeps_state:
            return
        series = pooled(parts)
        later = self._series_after(perturbation, rng, progress)
        # The second series is shorter and may be insufficient by itself.
        stateful = sample_is_sufficient(later.controls, geometry.norm) and is_stateful(
            series.mean(), later.mean(), geometry.norm
        )
        yield self._measurement(
            # During training the policy has always just changed.
            later if stateful else series,
            stateful=stateful,
            notes=_truncation_notes(steps, task),
        )

    def _measurement(
        self,
        series: GradientSeries,
        *,
        stateful: bool = False,
        notes: tuple[str, ...] = (),
    ) -> Measurement:
        geometry = self.geometry
        return Measurement(
            self.task,
            series,
            geometry.exact,
            geometry.directions,
            geometry.exact_outputs,
            episodes_per_gradient=self._plan.batch_size,
            sample_is_sufficient=sample_is_sufficient(series.controls, geometry.norm),
            stateful=stateful,
            notes=notes,
        )

    def _probed(self, steps: Steps) -> Tensor:
        """Returns the gradient of the first batch, with the same random numbers."""
        with preserve_random_state():
            random.seed(0)
            np.random.seed(0)
            torch.manual_seed(0)
            return self._gradient(next(self._batches(steps, self.geometry.policy)))

    def _series_after(
        self,
        perturbation: PolicyPerturbation,
        rng: np.random.Generator,
        progress: Progress,
    ) -> GradientSeries:
        """Returns gradients in calls that each follow one with a perturbed policy."""
        plan, task = self._plan, self.task
        n_episodes = max(1, plan.n_episodes // plan.batch_size // 4) * plan.batch_size
        perturbed = sample_episodes(task, perturbation.policy, n_episodes, rng)
        after = sample_episodes(task, self.geometry.policy, n_episodes, rng)
        perturbed_batches = self._batches(perturbed, perturbation.policy)

        def call_with_perturbed_policy() -> None:
            with perturbation:
                self._gradient(next(perturbed_batches))

        return self._series(after, progress, call_with_perturbed_policy)

    @property
    def n_recorded(self) -> int:
        """Number of episodes that `record` samples."""
        return self._plan.n_recorded * self._plan.batch_size

    @property
    def n_measured(self) -> int:
        """Number of episodes that `measure` samples with the policy itself."""
        return self._plan.n_episodes

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the report."""
        if not self.is_random:
            return self._reader.notes
        return (
            *self._reader.notes,
            "the function draws random numbers: two calls with the same batch give "
            "different gradients",
        )

    def _find_randomness(self, steps: Steps) -> None:
        """Compares calls with one batch, with and without the same random state."""
        gradients = []
        state = torch.get_rng_state(), np.random.get_state()
        for same in (True, True, False):
            if same:
                torch.set_rng_state(state[0])
                np.random.set_state(state[1])
            batch = next(self._batches(steps, self.geometry.policy))
            gradients.append(self._gradient(batch))
        one, two, other = gradients
        self.is_random = torch.equal(one, two) and not torch.allclose(one, other)

    def _series(
        self,
        steps: Steps,
        progress: Progress,
        before_batch: Callable[[], None] | None = None,
    ) -> GradientSeries:
        """Returns the gradients of all batches, with their control variates."""
        geometry, plan = self.geometry, self._plan
        rows = []
        for batch in self._batches(steps, geometry.policy):
            if before_batch is not None:
                before_batch()
            outputs, _, _ = self._decoder.decode(self._gradient(batch))
            rows.append(outputs)
            progress.advance(len(batch))
        sample = Sample(steps, self.task, geometry.policy, plan.batch_size)
        return GradientSeries(
            geometry.coordinates(np.array(rows)),
            control_variates(sample, geometry.scores, geometry.exact),
        )

    def _batches(self, steps: Steps, policy: Array) -> Iterator[EpisodeBatch]:
        plan = self._plan
        return batches(
            steps, self.task, policy, plan.batch_size, plan.n_envs, self._values
        )

    def _gradient(self, batch: EpisodeBatch) -> Tensor:
        """Returns the ascent direction of a batch, `[P]`."""
        before = [p.detach().clone() for p in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        result = self._function(batch, self._policy)
        self._tracer.differentiates(loss_in(result))
        if not all(map(torch.equal, self._parameters, before)):
            with torch.no_grad():
                for parameter, value in zip(self._parameters, before, strict=True):
                    parameter.copy_(value)
            raise CannotCheckError(
                "the function changed the policy's parameters: it must return a loss "
                "or a gradient without an optimiser step"
            )
        return as_gradient(result, self._parameters)


@contextmanager
def preserved_policy(policy: nn.Module) -> Iterator[None]:
    """Restores gradients and training mode of a policy at the end."""
    gradients = [(p, p.grad) for p in policy.parameters()]
    modes = [(module, module.training) for module in policy.modules()]
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, training in modes:
            module.training = training


def _value_table(
    critic: Literal["own", "exact"] | Critic,
    values: Tensor | None,
    observations: Tensor,
) -> Array | None:
    """Returns the value of each state, `[S]` float64; None for the exact ones."""
    if critic == "exact":
        return None
    if callable(critic):
        with torch.no_grad():
            values = critic(observations)
        if not isinstance(values, Tensor) or values.numel() != len(observations):
            raise CannotCheckError(
                "the critic must return one value for each observation, got "
                f"{_described(values)} for {len(observations)}"
            )
    if values is None:
        return None
    table: Array = values.detach().flatten().double().numpy()
    return table


def _truncation_notes(steps: Steps, task: Task) -> tuple[str, ...]:
    share = float(steps.truncated.sum()) / steps.n_episodes
    if share < 0.01 or task.bootstrap:
        return ()
    return (
        f"the time limit truncated {share:.0%} of the episodes of {task.name}. It is "
        "treated as part of the task; pass bootstrap=True (--bootstrap) if it is not",
    )


def loss_in(result: Any) -> Tensor | None:  # noqa: ANN401
    """Returns the loss in the result of a function; None if it returns none."""
    if isinstance(result, list | tuple) and result:
        result = result[0]
    is_loss = isinstance(result, Tensor) and result.numel() == 1
    return result if is_loss and result.requires_grad else None


def as_gradient(result: Any, parameters: Sequence[nn.Parameter]) -> Tensor:  # noqa: ANN401
    """Converts the result of a function to an ascent direction, `[P]`.

    If the function has called `backward()`, the gradient is in the parameters' `grad`,
    whatever it returned.

    Raises:
        CannotCheckError: if it is neither a scalar loss nor a gradient, if a loss is
            detached or does not depend on the parameters, or if it is not finite.
    """
    if any(p.grad is not None for p in parameters):
        # The function called backward() itself.
        gradient = torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
                for p in parameters
            ]
        )
        return _check_finite(-gradient, "gradient")
    size = sum(p.numel() for p in parameters)
    accepted = (
        "accepted are a scalar loss (to be minimised), alone or first in a tuple, or "
        "the gradient of the return: "
        f"one tensor with all {size} parameters, or one tensor for each parameter"
    )
    if isinstance(result, np.ndarray | float | int):
        result = torch.as_tensor(result)
    if isinstance(result, Tensor) and result.numel() == 1 and size > 1:
        return _gradient_of_loss(result, parameters)
    if isinstance(result, Tensor):
        if [result.shape] == [p.shape for p in parameters]:
            # Of the only parameter, such as a table of logits.
            result = result.flatten()
        if result.shape != (size,):
            raise CannotCheckError(
                f"the function returned a tensor of shape {list(result.shape)}; "
                f"{accepted}. A loss per step has to be summed or averaged first"
            )
        gradient = result.detach()
    elif isinstance(result, list | tuple):
        first = result[0] if result else None
        if isinstance(first, Tensor) and first.numel() == 1 and first.requires_grad:
            # A loss, followed by what is logged.
            return _gradient_of_loss(first, parameters)
        gradient = _concatenate(result, parameters, accepted)
    else:
        raise CannotCheckError(
            f"the function returned {type(result).__name__}; {accepted}"
        )
    return _check_finite(gradient, "gradient")


def _gradient_of_loss(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    _check_finite(loss.detach(), "loss")
    if not loss.requires_grad:
        raise CannotCheckError(
            "the loss is detached: it has no graph that leads to the policy's "
            "parameters. detach(), item(), numpy(), torch.tensor(...) of a tensor and "
            "no_grad() detach it"
        )
    try:
        parts = torch.autograd.grad(loss.reshape(()), parameters, allow_unused=True)
    except RuntimeError as error:
        raise CannotCheckError(f"the loss cannot be differentiated: {error}") from error
    if all(part is None for part in parts):
        raise CannotCheckError(
            "the loss has no gradient: it depends on other parameters than the "
            "policy's. Is log_prob computed with the policy that was passed in?"
        )
    gradient = torch.cat(
        [
            torch.zeros(p.numel()) if part is None else part.flatten()
            for p, part in zip(parameters, parts, strict=True)
        ]
    )
    return _check_finite(-gradient, "gradient")


def _concatenate(
    parts: Sequence[Any], parameters: Sequence[nn.Parameter], accepted: str
) -> Tensor:
    tensors = [
        torch.as_tensor(part) if isinstance(part, np.ndarray) else part
        for part in parts
    ]
    shapes = [
        list(part.shape) if isinstance(part, Tensor) else type(part).__name__
        for part in tensors
    ]
    expected = [list(p.shape) for p in parameters]
    if shapes != expected:
        raise CannotCheckError(
            f"the function returned a gradient in parts {shapes}; the parameters are "
            f"{expected}; {accepted}"
        )
    return torch.cat([part.detach().flatten() for part in tensors])


def _check_finite(values: Tensor, name: str) -> Tensor:
    if not torch.isfinite(values).all():
        n_bad = int((~torch.isfinite(values)).sum())
        raise CannotCheckError(
            f"the {name} is NaN or infinite in {n_bad} of {values.numel()} elements. "
            "Common causes: the logarithm of a probability of 0, or a single value "
            "divided by its standard deviation"
        )
    return values
