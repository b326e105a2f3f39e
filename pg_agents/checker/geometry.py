"""Gradients by a policy's outputs, and the directions in which they are compared.

The gradient of a loss by a network's parameters is `J' d`, where d is the derivative of
the loss by the outputs in each state of the task, and J the Jacobian of the outputs. J
has as many rows as the task has states times outputs, so d follows from a single
gradient: it is *decoded*. What is compared, fitted and shown is d, which does not
depend on the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from torch import Tensor, nn

from pg_agents.checker.task import Array, Task

# More directions would take too many samples.
MAX_DIRECTIONS = 64
# More outputs would take too long to differentiate one by one.
MAX_OUTPUTS = 4096
# Singular values of the Jacobian below this share of the largest one amplify the
# rounding of float32 too much.
_RANK_TOLERANCE = 1e-2
# Singular values below this share of the largest one are rounding.
_ROUNDING = 1e-5


class CannotCheckError(ValueError):
    """The subject cannot be checked; the message says why."""


class Decoder:
    """Converts gradients by parameters to gradients by outputs.

    Args:
        outputs: `[S, O]`, what the network gives in each state, differentiable: logits,
            or log-probabilities minus their mean over actions.
        parameters: the parameters that gradients are given for.
        values: `[S]`, the values that the same network gives; None if it has none.

    Attributes:
        basis: `[S * O, D]` float64, orthonormal columns that span the gradients that
            can be decoded: those that the network can represent.
        value_basis: `[S, D']`, the same for the values; None without values.

    Raises:
        CannotCheckError: if there are too many outputs, or none depends on the
            parameters.
    """

    value_basis: Array | None

    def __init__(
        self,
        outputs: Tensor,
        parameters: Sequence[nn.Parameter],
        values: Tensor | None = None,
    ) -> None:
        self.shape = tuple(outputs.shape)
        n_outputs = outputs.numel()
        rows = [outputs.flatten()] if values is None else [outputs.flatten(), values]
        table = torch.cat(rows)
        if len(table) > MAX_OUTPUTS:
            raise CannotCheckError(
                f"the environment has {self.shape[0]} states with {self.shape[1]} "
                f"actions each; accepted are at most {MAX_OUTPUTS} outputs together"
            )
        self.jacobian = _jacobian(table, parameters)
        gram = self.jacobian @ self.jacobian.T
        values_, vectors = np.linalg.eigh(gram)
        kept = values_ > _RANK_TOLERANCE**2 * max(values_.max(), 1e-30)
        if not kept.any():
            raise CannotCheckError(
                "the policy's outputs do not depend on its parameters"
            )
        span = vectors[:, kept]
        self._inverse = (span / values_[kept]) @ span.T
        # What the network can represent at all, for the unexplained share.
        possible = values_ > _ROUNDING**2 * values_.max()
        whole = vectors[:, possible]
        self._projection = (whole / values_[possible]) @ whole.T
        self.basis, self.value_basis = _orthonormal(span[:n_outputs]), None
        if values is not None:
            # On a shared trunk, directions in which the other part would leak are out.
            of_outputs, of_values = span[:n_outputs], span[n_outputs:]
            self.basis = _orthonormal(of_outputs @ _null_space(of_values))
            self.value_basis = _orthonormal(of_values @ _null_space(of_outputs))

    def decode(self, gradient: Tensor) -> tuple[Array, Array | None, float]:
        """Returns the gradients by outputs and values, and the unexplained share.

        Args:
            gradient: `[P]`, derivative of a loss by the parameters.

        Returns:
            `[S, O]`; `[S]`, or None without values; the norm of the part of the
            gradient that does not pass through outputs and values, relative to its
            norm.
        """
        flat: Array = gradient.detach().double().numpy()
        projected = self.jacobian @ flat
        decoded = self._inverse @ projected
        norm = float(np.linalg.norm(flat))
        explained = (self._projection @ projected) @ self.jacobian
        unexplained = float(np.linalg.norm(flat - explained))
        n_outputs = self.shape[0] * self.shape[1]
        return (
            decoded[:n_outputs].reshape(self.shape),
            None if self.value_basis is None else decoded[n_outputs:],
            unexplained / norm if norm > 0.0 else 0.0,
        )


def _jacobian(table: Tensor, parameters: Sequence[nn.Parameter]) -> Array:
    """Returns the derivatives of `[K]` outputs by all parameters, `[K, P]` float64."""
    rows = []
    for i in range(len(table)):
        parts = torch.autograd.grad(
            table[i], parameters, retain_graph=True, allow_unused=True
        )
        rows.append(
            torch.cat(
                [
                    torch.zeros(p.numel()) if g is None else g.detach().flatten()
                    for p, g in zip(parameters, parts, strict=True)
                ]
            ).double()
        )
    jacobian: Array = torch.stack(rows).numpy()
    return jacobian


def _null_space(matrix: Array) -> Array:
    """Returns orthonormal columns x with `matrix @ x = 0` up to rounding."""
    columns: Array = linalg.null_space(matrix, rcond=_ROUNDING)
    return columns


def _orthonormal(columns: Array) -> Array:
    """Returns an orthonormal basis of the span of columns."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    basis: Array = left[:, singular > 1e-6]
    return basis


@dataclass(frozen=True)
class Geometry:
    """The policy as a table, and orthonormal directions of gradients by its outputs.

    Attributes:
        policy: `[S, A]` float64, pi(a|s).
        directions: `[S * A, D]` float64, orthonormal; the first is that of the exact
            gradient.
        scores: `[S, A, D]` float64, grad log pi(a|s) in the directions.
        exact: `[D]` float64, the exact gradient: its norm, followed by zeros.
        exact_outputs: `[S, A]` float64, the exact gradient by the logits.
        complete: whether the directions span all gradients that can be decoded.
    """

    policy: Array
    directions: Array
    scores: Array
    exact: Array
    exact_outputs: Array
    complete: bool

    @property
    def norm(self) -> float:
        """Norm of the exact gradient."""
        return float(self.exact[0])

    def coordinates(self, outputs: Array) -> Array:
        """Returns the coordinates `[..., D]` of gradients `[..., S, A]`."""
        flat = outputs.reshape(*outputs.shape[:-2], -1)
        coordinates: Array = flat @ self.directions
        return coordinates


def exact_outputs(task: Task, policy: Array) -> Array:
    """Returns the derivative of the objective by each logit, `[S, A]`."""
    return _by_logits(task.return_gradient(policy), policy)


def undiscounted_outputs(task: Task, policy: Array) -> Array:
    """Returns the gradient without the factors gamma^t by each logit, `[S, A]`."""
    return _by_logits(task.undiscounted_gradient(policy), policy)


def _by_logits(by_probability: Array, policy: Array) -> Array:
    """Returns derivatives by logits from those by probabilities, `[S, A]`.

    `pi(a|s) (x(s, a) - sum_b pi(b|s) x(s, b))`, where x is the derivative by the
    probabilities.
    """
    mean = (policy * by_probability).sum(axis=1, keepdims=True)
    outputs: Array = policy * (by_probability - mean)
    return outputs


def make_geometry(task: Task, policy: Array, basis: Array | None = None) -> Geometry:
    """Returns the geometry of a policy on a task.

    Args:
        task: MDP and objective.
        policy: `[S, A]`, pi(a|s).
        basis: `[S * A, D]`, see `Decoder`; None for all gradients.

    Raises:
        CannotCheckError: if the exact gradient is zero.
    """
    n_states, n_actions = policy.shape
    exact = exact_outputs(task, policy)
    # The terms of the gradient do not cancel in this scale.
    scale = float(np.abs(policy * task.return_gradient(policy)).sum())
    if basis is not None:
        exact = (basis @ (basis.T @ exact.flatten())).reshape(exact.shape)
    norm = float(np.linalg.norm(exact))
    if norm <= 1e-6 * max(scale, 1e-30):
        raise CannotCheckError(
            "the exact gradient is zero at this policy, so estimates cannot be "
            "compared with it: choose another policy, seed or environment"
        )
    if basis is None:
        basis = np.eye(n_states * n_actions)
    directions = _directions(basis, exact.flatten() / norm)
    score = np.eye(n_actions) - policy[:, None, :]
    by_state = directions.reshape(n_states, n_actions, -1)
    scores = np.einsum("sab,sbd->sad", score, by_state)
    coordinates = np.zeros(directions.shape[1])
    coordinates[0] = norm
    complete = directions.shape[1] == basis.shape[1]
    return Geometry(policy, directions, scores, coordinates, exact, complete)


def _directions(basis: Array, first: Array) -> Array:
    """Returns an orthonormal basis `[S * A, D]` of the same span, `first` in front."""
    rng = np.random.default_rng(1)
    n = min(basis.shape[1], MAX_DIRECTIONS)
    mixed = basis @ rng.normal(size=(basis.shape[1], n))
    mixed[:, 0] = first
    directions, _ = np.linalg.qr(mixed)
    # QR may flip signs.
    directions[:, 0] = first
    return directions


def normalized_policy(log_probs: Tensor) -> Array:
    """Returns probabilities `[S, A]` that sum to 1 in float64.

    Raises:
        CannotCheckError: if they are not finite or do not sum to 1.
    """
    policy: NDArray[np.float64] = log_probs.detach().double().exp().numpy()
    if not np.isfinite(policy).all() or np.abs(policy.sum(axis=1) - 1.0).max() > 1e-4:
        raise CannotCheckError(
            "the policy's probabilities are not finite or do not sum to 1: "
            f"{np.round(policy, 4).tolist()}"
        )
    normalized: Array = policy / policy.sum(axis=1, keepdims=True)
    return normalized


def check_uses_observations(policy: Array, decoder: Decoder, task: Task) -> None:
    """Raises a CannotCheckError if the policy ignores its observations.

    Args:
        policy: `[S, A]`, pi(a|s).
        decoder: that of the policy.
        task: the task, whose observations differ.
    """
    n_outputs = policy.size
    rows = decoder.jacobian[:n_outputs].reshape(*policy.shape, -1)
    if (
        len(np.unique(task.mdp.observations, axis=0)) > 1
        and np.abs(policy - policy[0]).max() < 1e-6
        and np.abs(rows - rows[0]).max() <= 1e-6 * np.abs(rows).max()
    ):
        raise CannotCheckError(
            "the policy ignores its observations: it gives the probabilities "
            f"{np.round(policy[0], 3).tolist()} in all {len(policy)} states, and no "
            "parameter makes them differ. Does the network use its input?"
        )
