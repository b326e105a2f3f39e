"""Measures the gradient of a function `(batch, policy) -> loss`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Categorical

from pg_agents.checker.episodes import EpisodeBatch, Steps, batches, sample_episodes
from pg_agents.checker.estimators import (
    Sample,
    control_variates,
    sample_is_sufficient,
)
from pg_agents.checker.geometry import CannotCheckError, Geometry, make_geometry
from pg_agents.checker.measurement import Measurement, PolicyPerturbation
from pg_agents.checker.report import Progress
from pg_agents.checker.statistics import GradientSeries
from pg_agents.checker.task import Task

Subject = Callable[[EpisodeBatch, Any], Any]

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
        logits = self.logits[rows].reshape(*observations.shape[:n_leading], -1)
        return Categorical(logits=logits, validate_args=False)


@dataclass(frozen=True)
class SamplePlan:
    """How much is sampled.

    Attributes:
        n_episodes: number of episodes, a multiple of `batch_size`.
        batch_size: episodes per call of the function, a multiple of `n_envs`.
        n_envs: environments that the episodes of a batch are distributed over.
        seed: seed of all random numbers.
    """

    n_episodes: int
    batch_size: int
    n_envs: int
    seed: int


def measure_function(
    function: Subject,
    policy: nn.Module,
    task: Task,
    plan: SamplePlan,
    progress: Progress,
) -> Measurement:
    """Measures the gradients of a function, with and without policy perturbations.

    The policy is a module from observations `[B, *obs_shape]` to a `Categorical` or to
    logits `[B, A]`; its parameters are restored.

    Raises:
        CannotCheckError: if the function does not return a gradient, see `as_gradient`.
    """
    parameters = [p for p in policy.parameters() if p.requires_grad]
    if not parameters:
        raise CannotCheckError("the policy has no parameters that require a gradient")
    observations = torch.tensor(task.mdp.observations)

    def log_probs() -> Tensor:
        return _log_probs(policy(observations))

    geometry = make_geometry(task, log_probs, parameters)
    rng = np.random.default_rng(plan.seed)
    n_batches = plan.n_episodes // plan.batch_size
    n_perturbed = max(1, n_batches // 4) * plan.batch_size
    progress.start(plan.n_episodes + n_perturbed)
    evaluator = _FunctionEvaluator(function, policy, parameters, task, geometry)
    steps = sample_episodes(task, geometry.policy, plan.n_episodes, rng)
    series = evaluator.series(steps, plan, progress)
    perturbation = PolicyPerturbation(parameters, log_probs, plan.seed)
    perturbed = sample_episodes(task, perturbation.policy, n_perturbed, rng)
    after = sample_episodes(task, geometry.policy, n_perturbed, rng)
    perturbed_batches = batches(
        perturbed, task, perturbation.policy, plan.batch_size, plan.n_envs
    )

    def call_with_perturbed_policy() -> None:
        with perturbation:
            evaluator.gradient(next(perturbed_batches))

    perturbed_series = evaluator.series(
        after, plan, progress, call_with_perturbed_policy
    )
    # The perturbed series is shorter and may be insufficient by itself.
    detects_state = sample_is_sufficient(perturbed_series.controls, geometry.norm)
    return Measurement(
        task,
        geometry,
        series,
        perturbed_series if detects_state else None,
        episodes_per_round=plan.batch_size,
        n_envs=plan.n_envs,
        out_of_span_norm=evaluator.out_of_span_norm(),
        notes=_notes(steps, task),
        sample_is_sufficient=sample_is_sufficient(series.controls, geometry.norm),
    )


def _notes(steps: Steps, task: Task) -> tuple[str, ...]:
    share = float(steps.truncated.sum()) / steps.n_episodes
    if share < 0.01 or task.bootstrap:
        return ()
    return (
        f"the time limit truncated {share:.0%} of the episodes. It is treated as part "
        "of the task; pass bootstrap=True (--bootstrap) if it is not",
    )


class _FunctionEvaluator:
    """Calls a function on batches and validates its results."""

    def __init__(
        self,
        function: Subject,
        policy: nn.Module,
        parameters: Sequence[nn.Parameter],
        task: Task,
        geometry: Geometry,
    ) -> None:
        self.function, self.policy, self.task = function, policy, task
        self.parameters, self.geometry = list(parameters), geometry
        size = sum(p.numel() for p in self.parameters)
        self._total, self._n = torch.zeros(size, dtype=torch.float64), 0

    def series(
        self,
        steps: Steps,
        plan: SamplePlan,
        progress: Progress,
        before_batch: Callable[[], None] | None = None,
    ) -> GradientSeries:
        """Returns the gradients of all batches, with their control variates."""
        policy = self.geometry.policy
        gradients = []
        for batch in batches(steps, self.task, policy, plan.batch_size, plan.n_envs):
            if before_batch is not None:
                before_batch()
            gradient = self.gradient(batch)
            self._total += gradient.double()
            self._n += 1
            gradients.append(self.geometry.coordinates(gradient))
            progress.advance(len(batch))
        sample = Sample(steps, self.task, policy, plan.batch_size, plan.n_envs)
        return GradientSeries(
            np.array(gradients),
            control_variates(sample, self.geometry.scores, self.geometry.exact),
        )

    def gradient(self, batch: EpisodeBatch) -> Tensor:
        """Returns the ascent direction of a batch, `[P]`."""
        before = [p.detach().clone() for p in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        result = self.function(batch, self.policy)
        if not all(map(torch.equal, self.parameters, before)):
            with torch.no_grad():
                for parameter, value in zip(self.parameters, before, strict=True):
                    parameter.copy_(value)
            raise CannotCheckError(
                "the function changed the policy's parameters: it must return a loss "
                "or a gradient without an optimiser step"
            )
        return as_gradient(result, self.parameters)

    def out_of_span_norm(self) -> float:
        """Returns the norm of the mean gradient outside the span of the scores."""
        return self.geometry.out_of_span_norm(self._total / max(1, self._n))


def as_gradient(result: Any, parameters: Sequence[nn.Parameter]) -> Tensor:  # noqa: ANN401
    """Converts the result of a function to an ascent direction, `[P]`.

    Raises:
        CannotCheckError: if it is neither a scalar loss nor a gradient, if a loss is
            detached or does not depend on the parameters, or if it is not finite.
    """
    size = sum(p.numel() for p in parameters)
    accepted = (
        "accepted are a scalar loss (to be minimised), or the gradient of the return: "
        f"one tensor with all {size} parameters, or one tensor for each parameter"
    )
    if isinstance(result, np.ndarray | float | int):
        result = torch.as_tensor(result)
    if isinstance(result, Tensor) and result.numel() == 1 and size > 1:
        return _gradient_of_loss(result, parameters)
    if isinstance(result, Tensor):
        if result.shape != (size,):
            raise CannotCheckError(
                f"the function returned a tensor of shape {list(result.shape)}; "
                f"{accepted}. A loss per step has to be summed or averaged first"
            )
        gradient = result.detach()
    elif isinstance(result, list | tuple):
        first = result[0] if result else None
        if isinstance(first, Tensor) and first.numel() == 1 and first.requires_grad:
            raise CannotCheckError(
                f"the function returned {len(result)} values, the first of them a "
                "loss: return only the loss"
            )
        gradient = _concatenate(result, parameters, accepted)
    else:
        raise CannotCheckError(
            f"the function returned {type(result).__name__}; {accepted}"
        )
    return _check_finite(gradient, "gradient")


def _gradient_of_loss(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    _check_finite(loss.detach(), "loss")
    if not loss.requires_grad:
        hint = (
            " (the function called backward() itself: return the loss instead)"
            if any(p.grad is not None for p in parameters)
            else ""
        )
        raise CannotCheckError(
            "the loss is detached: it has no graph that leads to the policy's "
            "parameters. detach(), item(), numpy(), torch.tensor(...) of a tensor and "
            f"no_grad() detach it{hint}"
        )
    try:
        parts = torch.autograd.grad(loss.reshape(()), parameters, allow_unused=True)
    except RuntimeError as error:
        raise CannotCheckError(
            f"the loss cannot be differentiated: {error}. If the function calls "
            "backward() itself: return the loss instead"
        ) from error
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


def _log_probs(output: Any) -> Tensor:  # noqa: ANN401
    if isinstance(output, Categorical):
        return output.logits
    if isinstance(output, Tensor) and output.dim() == 2:
        return torch.log_softmax(output, dim=-1)
    raise CannotCheckError(
        "the policy must return a torch Categorical or logits [B, A] for observations "
        f"[B, ...], got {type(output).__name__}"
    )
