"""Orthonormal directions in which gradient estimates are compared with the exact one.

Every estimator that is a weighted sum of scores `grad log pi(a|s)` lies in the span of
the scores, which has at most `S (A - 1)` dimensions, however many parameters the policy
has. Estimates are compared by their coordinates in that span.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pg_agents.checker.task import Array, Task

# log pi(a|o) of every state's observation, [S, A], differentiable.
LogProbs = Callable[[], Tensor]

# More directions would take too many samples.
MAX_DIRECTIONS = 64
# A direction shorter than this share of the longest is rounding in float32.
_ROUNDING = 1e-4


class CannotCheckError(ValueError):
    """The subject cannot be checked; the message says why."""


@dataclass(frozen=True)
class Geometry:
    """The policy as a table, and its scores in coordinates of the directions.

    Attributes:
        policy: `[S, A]` float64, pi(a|s).
        directions: `[P, D]` float64, orthonormal; the first is that of the exact
            gradient.
        scores: `[S, A, D]` float64, grad log pi(a|s).
        exact: `[D]` float64, the exact gradient: its norm, followed by zeros.
    """

    policy: Array
    directions: Tensor
    scores: Array
    exact: Array

    @property
    def complete(self) -> bool:
        """Whether the directions span all scores."""
        n_states, n_actions = self.policy.shape
        return bool(n_states * (n_actions - 1) <= MAX_DIRECTIONS)

    @property
    def norm(self) -> float:
        """Norm of the exact gradient."""
        return float(self.exact[0])

    def coordinates(self, gradient: Tensor) -> Array:
        """Returns the coordinates `[D]` of a gradient `[P]`."""
        coordinates: Array = (gradient.double() @ self.directions).numpy()
        return coordinates

    def out_of_span_norm(self, gradient: Tensor) -> float:
        """Returns the norm of the part outside the span, relative to the exact one."""
        projection = self.directions @ (self.directions.T @ gradient)
        return float((gradient - projection).norm()) / self.norm


def make_geometry(
    task: Task, log_probs: LogProbs, parameters: Sequence[nn.Parameter]
) -> Geometry:
    """Returns the geometry of a policy on a task.

    Raises:
        CannotCheckError: if the policy ignores its observations, or the exact gradient
            is zero.
    """
    table = log_probs()
    shape = task.mdp.n_states, task.mdp.n_actions
    if table.shape != shape:
        raise CannotCheckError(
            f"the environment has {shape[1]} actions, but the policy gives "
            f"{table.shape[-1]} probabilities per observation"
        )
    policy = _normalized(table)
    n_observations = len(np.unique(task.mdp.observations, axis=0))
    if n_observations > 1 and _ignores_observations(table, parameters):
        raise CannotCheckError(
            "the policy ignores its observations: it gives the probabilities "
            f"{np.round(policy[0], 3).tolist()} in all {len(policy)} states, and no "
            "parameter makes them differ. Does the network use its input?"
        )
    weights = torch.as_tensor(task.return_gradient(policy) * policy)
    exact = _pull_back(table, weights.to(table.dtype), parameters)
    norm = float(exact.norm())
    # The same terms with random signs do not cancel: the scale of a nonzero gradient.
    signs = torch.randn(weights.shape, generator=torch.Generator().manual_seed(2))
    mixed = (weights * signs).to(table.dtype)
    scale = float(_pull_back(table, mixed, parameters).norm())
    if norm <= 1e-6 * max(scale, 1e-30):
        raise CannotCheckError(
            "the exact gradient is zero at this policy, so estimates cannot be "
            "compared with it: choose another policy, seed or environment"
        )
    directions = _directions(table, exact, parameters)
    scores = _scores(table, directions, parameters)
    coordinates = np.zeros(scores.shape[-1])
    coordinates[0] = norm
    return Geometry(policy, directions, scores, coordinates)


def _normalized(log_probs: Tensor) -> Array:
    policy: NDArray[np.float64] = log_probs.detach().double().exp().numpy()
    if not np.isfinite(policy).all() or np.abs(policy.sum(axis=1) - 1.0).max() > 1e-4:
        raise CannotCheckError(
            "the policy's probabilities are not finite or do not sum to 1: "
            f"{np.round(policy, 4).tolist()}"
        )
    normalized: Array = policy / policy.sum(axis=1, keepdims=True)
    return normalized


def _ignores_observations(table: Tensor, parameters: Sequence[nn.Parameter]) -> bool:
    """Whether all rows are equal and have equal gradients."""
    if (table - table[0]).detach().abs().max() > 1e-6:
        return False
    # A random mix of differences between rows: its gradient is 0 if all rows have the
    # same one.
    mix = torch.randn(table.shape, generator=torch.Generator().manual_seed(0))
    weights = (mix - mix.mean(dim=0)).to(table.dtype)
    norm = _pull_back(table, weights, parameters).norm()
    return bool(norm <= 1e-6 * _pull_back(table, mix, parameters).norm())


def _pull_back(
    table: Tensor, weights: Tensor, parameters: Sequence[nn.Parameter]
) -> Tensor:
    """Returns `sum_{s, a} weights[s, a] grad log pi(a|s)`, `[P]` float64."""
    gradients = torch.autograd.grad(
        table, parameters, weights, retain_graph=True, allow_unused=True
    )
    return torch.cat(
        [
            torch.zeros(p.numel(), dtype=torch.float64)
            if g is None
            else g.detach().double().flatten()
            for p, g in zip(parameters, gradients, strict=True)
        ]
    )


def _directions(
    table: Tensor, exact: Tensor, parameters: Sequence[nn.Parameter]
) -> Tensor:
    """Returns an orthonormal basis `[P, D]` of the scores, the exact gradient first."""
    n_states, n_actions = table.shape
    n_others = min(MAX_DIRECTIONS, n_states * (n_actions - 1))
    generator = torch.Generator().manual_seed(1)
    basis = [exact / exact.norm()]
    for _ in range(n_others):
        mix = torch.randn(table.shape, generator=generator).to(table.dtype)
        vector = _pull_back(table, mix, parameters)
        length = vector.norm()
        # Gram-Schmidt, twice for numerical stability.
        for _ in range(2):
            for direction in basis:
                vector = vector - (direction @ vector) * direction
        if vector.norm() > _ROUNDING * length:
            basis.append(vector / vector.norm())
    return torch.stack(basis[:MAX_DIRECTIONS], dim=1)


def _scores(
    table: Tensor, directions: Tensor, parameters: Sequence[nn.Parameter]
) -> Array:
    """Returns the derivatives of log pi(a|s) along each direction, `[S, A, D]`."""
    # The gradient is linear in `dual`, so its derivative by `dual` along a direction is
    # a Jacobian-vector product.
    dual = torch.zeros_like(table, requires_grad=True)
    gradients = torch.autograd.grad(
        table, parameters, dual, create_graph=True, allow_unused=True
    )
    sizes = [p.numel() for p in parameters]
    columns = []
    for direction in directions.T:
        parts = direction.to(table.dtype).split(sizes)
        along = sum(
            (g.flatten() @ part).sum()
            for g, part in zip(gradients, parts, strict=True)
            if g is not None
        )
        assert isinstance(along, Tensor)
        (column,) = torch.autograd.grad(along, dual, retain_graph=True)
        columns.append(column.detach().double())
    return torch.stack(columns, dim=-1).numpy()
