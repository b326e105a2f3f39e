"""Measuring a plain function from a batch of episodes and a policy to a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from pg_agents.checker.episodes import EpisodeBatch, Steps, batches, sample_episodes
from pg_agents.checker.estimators import Sample, is_adequate, known_noise
from pg_agents.checker.geometry import CannotCheckError, Geometry, make_geometry
from pg_agents.checker.measurement import Measurement, Series
from pg_agents.checker.perturbation import Disturbance
from pg_agents.checker.progress import Progress
from pg_agents.checker.task import Task

Subject = Callable[[EpisodeBatch, Any], Any]

_ACCEPTED = (
    "accepted are a scalar loss (to be minimised), or the gradient of the return: one "
    "tensor of the {size} parameters in a row, or one tensor for each of them"
)


@dataclass(frozen=True)
class Plan:
    """How much is sampled.

    Attributes:
        n_episodes: whole episodes, a multiple of `batch_size`.
        batch_size: episodes per call, a multiple of `n_envs`.
        n_envs: environments that they are shared out over.
        seed: of everything random.
    """

    n_episodes: int
    batch_size: int
    n_envs: int
    seed: int


def measure_function(
    function: Subject, policy: nn.Module, task: Task, plan: Plan, progress: Progress
) -> Measurement:
    """Calls the function on many batches, and on some that follow another policy's.

    Args:
        function: the subject.
        policy: a module from observations `[B, *obs_shape]` to a `Categorical` or to
            logits `[B, A]`; its parameters are put back as they were.
        task: MDP and objective.
        plan: how much to sample.
        progress: told how far it has come.

    Raises:
        CannotCheckError: if the function returns what is no gradient, see there.
    """
    parameters = [p for p in policy.parameters() if p.requires_grad]
    if not parameters:
        raise CannotCheckError("the policy has no parameters that require a gradient")
    observations = torch.tensor(task.mdp.observations)

    def log_probs() -> Tensor:
        return _log_probs(policy(observations))

    geometry = make_geometry(task, log_probs, parameters)
    rng = np.random.default_rng(plan.seed)
    n_probes = max(1, plan.n_episodes // plan.batch_size // 4) * plan.batch_size
    progress.begin(plan.n_episodes + n_probes)
    here = _Rounds(function, policy, parameters, task, geometry)
    played = sample_episodes(task, geometry.policy, plan.n_episodes, rng)
    steady = here.series(played, plan, progress)
    other = Disturbance(parameters, log_probs, plan.seed)
    away = sample_episodes(task, other.policy, n_probes, rng)
    back = sample_episodes(task, geometry.policy, n_probes, rng)
    interludes = iter(batches(away, task, other.policy, plan.batch_size, plan.n_envs))

    def before_each() -> None:
        with other:
            here.gradient(next(interludes))

    probe = here.series(back, plan, progress, before_each)
    return Measurement(
        task,
        geometry,
        steady,
        # Few as they are, they may show nothing.
        probe if is_adequate(probe.controls, geometry.norm) else None,
        episodes_per_round=plan.batch_size,
        n_envs=plan.n_envs,
        outside=here.outside(),
        notes=_notes(played, task),
        adequate=is_adequate(steady.controls, geometry.norm),
    )


def _notes(played: Steps, task: Task) -> tuple[str, ...]:
    share = float(played.truncated.sum()) / played.n_episodes
    if share < 0.01 or task.bootstrap:
        return ()
    return (
        f"{share:.0%} of the episodes were cut off by the time limit, which is part of "
        "the task here: with bootstrap=True (--bootstrap) it is not",
    )


class _Rounds:
    """Calls a function round after round, and checks what it returns."""

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
        plan: Plan,
        progress: Progress,
        before_each: Callable[[], None] | None = None,
    ) -> Series:
        """Returns the gradients of all batches, with their controls."""
        policy = self.geometry.policy
        rows = []
        for batch in batches(steps, self.task, policy, plan.batch_size, plan.n_envs):
            if before_each is not None:
                before_each()
            gradient = self.gradient(batch)
            self._total += gradient.double()
            self._n += 1
            rows.append(self.geometry.coordinates(gradient))
            progress.advance(len(batch))
        sample = Sample(steps, self.task, policy, plan.batch_size, plan.n_envs)
        return Series(
            np.array(rows),
            known_noise(sample, self.geometry.scores, self.geometry.exact),
        )

    def gradient(self, batch: EpisodeBatch) -> Tensor:
        """Returns the ascent direction that the function gives for a batch, `[P]`."""
        before = [p.detach().clone() for p in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        result = self.function(batch, self.policy)
        for parameter, old in zip(self.parameters, before, strict=True):
            if not torch.equal(parameter.detach(), old):
                with torch.no_grad():
                    for p, value in zip(self.parameters, before, strict=True):
                        p.copy_(value)
                raise CannotCheckError(
                    "the function changed the policy's parameters: it has to return a "
                    "loss or a gradient, and leave the optimiser's step out"
                )
        return as_gradient(result, self.parameters)

    def outside(self) -> float:
        """Returns the length outside the span of the scores, relative to the exact."""
        return self.geometry.outside(self._total / max(1, self._n))


def as_gradient(result: Any, parameters: Sequence[nn.Parameter]) -> Tensor:  # noqa: ANN401
    """Returns what a function returned as an ascent direction, `[P]`.

    Raises:
        CannotCheckError: if it is no scalar loss and no gradient, if a loss is detached
            or does not depend on the parameters, or if a number is not finite.
    """
    size = sum(p.numel() for p in parameters)
    accepted = _ACCEPTED.format(size=size)
    if isinstance(result, np.ndarray | float | int):
        result = torch.as_tensor(result)
    if isinstance(result, Tensor) and result.numel() == 1 and size > 1:
        return _from_loss(result, parameters)
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
                f"the function returned {len(result)} things, the first of them a "
                "loss: return the loss alone"
            )
        gradient = _from_parts(result, parameters, accepted)
    else:
        raise CannotCheckError(
            f"the function returned {type(result).__name__}; {accepted}"
        )
    return _finite(gradient, "gradient")


def _from_loss(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    _finite(loss.detach(), "loss")
    if not loss.requires_grad:
        hint = (
            " (it called backward() itself: return the loss instead)"
            if any(p.grad is not None for p in parameters)
            else ""
        )
        raise CannotCheckError(
            "the loss is detached: nothing leads from it back to the policy's "
            "parameters. detach(), item(), numpy(), torch.tensor(...) of a tensor and "
            f"no_grad() cut the way{hint}"
        )
    try:
        parts = torch.autograd.grad(loss.reshape(()), parameters, allow_unused=True)
    except RuntimeError as error:
        raise CannotCheckError(
            f"the loss can't be differentiated: {error}. If the function calls "
            "backward() itself: return the loss instead"
        ) from error
    if all(part is None for part in parts):
        raise CannotCheckError(
            "the loss has no gradient: it depends on other parameters than the "
            "policy's. Is log_prob computed by the policy that was handed in?"
        )
    gradient = torch.cat(
        [
            torch.zeros(p.numel()) if part is None else part.flatten()
            for p, part in zip(parameters, parts, strict=True)
        ]
    )
    return _finite(-gradient, "gradient")


def _from_parts(
    parts: Sequence[Any], parameters: Sequence[nn.Parameter], accepted: str
) -> Tensor:
    tensors = [
        torch.as_tensor(part) if isinstance(part, np.ndarray) else part
        for part in parts
    ]
    if not all(isinstance(part, Tensor) for part in tensors) or [
        part.shape for part in tensors
    ] != [p.shape for p in parameters]:
        got = [
            list(part.shape) if isinstance(part, Tensor) else type(part).__name__
            for part in tensors
        ]
        raise CannotCheckError(
            f"the function returned a gradient in parts {got}; the parameters are "
            f"{[list(p.shape) for p in parameters]}; {accepted}"
        )
    return torch.cat([part.detach().flatten() for part in tensors])


def _finite(numbers: Tensor, what: str) -> Tensor:
    if not torch.isfinite(numbers).all():
        n_bad = int((~torch.isfinite(numbers)).sum())
        raise CannotCheckError(
            f"the {what} is NaN or infinite in {n_bad} of {numbers.numel()} places. "
            "The usual reasons: the logarithm of a probability of 0, or a single "
            "number divided by its standard deviation"
        )
    return numbers


def _log_probs(output: Any) -> Tensor:  # noqa: ANN401
    if isinstance(output, Categorical):
        return output.logits
    if isinstance(output, Tensor) and output.dim() == 2:
        return torch.log_softmax(output, dim=-1)
    raise CannotCheckError(
        "the policy must return a torch Categorical or logits [B, A] for observations "
        f"[B, ...], got {type(output).__name__}"
    )
