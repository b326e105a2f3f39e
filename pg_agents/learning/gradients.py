"""Where actions, evaluations and gradients come from.

A gradient source draws the actions of a rollout, evaluates the policy on its steps, and
fills the gradients of a batch. `Autograd` works for every policy, loss and device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from pg_agents.common.tree import Observation, leaves
from pg_agents.policies.base import PolicyGradientPolicy
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.rollout.data import Batch

# Actions `[N, *action_shape]`, and values and log-probabilities `[N]` if computed.
Actions = tuple[Tensor, Tensor | None, Tensor | None]
# Values `[B, 1]`, log-probabilities `[B]`, and entropies `[B]` or None.
Evaluation = tuple[Tensor, Tensor, Tensor | None]
# The loss, a scalar, and its terms by logger key.
Loss = tuple[Tensor, dict[str, Tensor]]


class GradientSource(Protocol):
    """Draws actions, evaluates steps and computes gradients."""

    def begin_rollout(self, updates_whole_rollouts: bool) -> None:
        """Prepares a rollout by the current policy.

        Args:
            updates_whole_rollouts: whether the update will be on the whole rollout.
        """

    def act(self, obs: Observation) -> Actions:
        """Draws actions for observations `[N, *obs_shape]`, without gradient."""

    def evaluate_rollout(
        self, buffer: TrajectoryBuffer
    ) -> tuple[Tensor | None, Tensor | None]:
        """Returns values and log-probabilities `[B]` of the recorded steps.

        None where `act` has returned them.
        """

    def evaluate(self, batch: Batch) -> Evaluation:
        """Returns values, log-probabilities and entropies of a batch, with gradient."""

    def gradient(self, loss: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """Sets `.grad` of the policy's parameters to the gradient of a loss."""


@dataclass(frozen=True)
class _Forward:
    """A forward pass on a rollout, with its graph.

    Attributes:
        inputs: parameters, observations and actions, referenced so that their ids stay
            theirs.
        versions: versions of the inputs.
        evaluation: values, log-probabilities and entropies.
    """

    inputs: list[Tensor]
    versions: list[tuple[int, int]]
    evaluation: Evaluation


class Autograd:
    """Gradients by automatic differentiation.

    Policies of pg_agents without overridden methods, hooks or layers such as dropout
    draw their actions without the critic. One forward pass at the end of the rollout
    then gives its values and log-probabilities, and its graph serves the update if that
    is on the same tensors and neither they nor the parameters have changed. Every other
    policy runs its full `forward` at each step, as in SB3.

    Args:
        policy: the policy that acts and learns.
    """

    def __init__(self, policy: ActorCriticPolicy) -> None:
        self._policy = policy
        self._has_modes = (
            not isinstance(policy, PolicyGradientPolicy) or policy.has_train_eval_modes
        )
        self._acts_without_critic = False
        self._forward: _Forward | None = None
        self._versions_at_start: list[tuple[int, int]] = []

    def begin_rollout(self, updates_whole_rollouts: bool) -> None:
        """See `GradientSource`."""
        policy = self._policy
        self._acts_without_critic = (
            updates_whole_rollouts
            and not self._has_modes
            and isinstance(policy, PolicyGradientPolicy)
            and policy.uses_default_forward
        )
        self._forward = None
        self._versions_at_start = _versions(parameters_of(policy))

    def act(self, obs: Observation) -> Actions:
        """See `GradientSource`."""
        with torch.no_grad():
            if self._acts_without_critic:
                return self._policy.act(obs), None, None  # type: ignore[operator]
            actions, values, log_probs = self._policy(obs)
        return actions, values.flatten(), log_probs

    def evaluate_rollout(
        self, buffer: TrajectoryBuffer
    ) -> tuple[Tensor | None, Tensor | None]:
        """See `GradientSource`."""
        if not self._acts_without_critic:
            return None, None
        parameters = parameters_of(self._policy)
        if _versions(parameters) != self._versions_at_start:
            warnings.warn(
                "a callback changed the policy's weights within a rollout: values and "
                "log-probabilities of the steps before are those of the new weights",
                stacklevel=2,
            )
        obs, actions = buffer.steps()
        evaluation = evaluate_actions(self._policy, obs, actions)
        inputs = [*parameters, *leaves(obs), actions]
        self._forward = _Forward(inputs, _versions(inputs), evaluation)
        values, log_probs, _ = evaluation
        return values.detach().flatten(), log_probs.detach()

    def evaluate(self, batch: Batch) -> Evaluation:
        """See `GradientSource`."""
        policy, obs, actions = self._policy, batch.observations, batch.actions
        forward, self._forward = self._forward, None
        if forward is not None:
            # Callbacks may have changed the policy or the rollout.
            inputs = [*parameters_of(policy), *leaves(obs), actions]
            if forward.versions == _versions(inputs):
                return forward.evaluation
        return evaluate_actions(policy, obs, actions)

    def gradient(self, loss: Callable[[Batch], Loss], batch: Batch) -> Loss:
        """See `GradientSource`."""
        self._policy.optimizer.zero_grad()
        value, terms = loss(batch)
        value.backward()
        return value.detach(), {name: term.detach() for name, term in terms.items()}


def evaluate_actions(
    policy: ActorCriticPolicy, obs: Observation, actions: Tensor
) -> Evaluation:
    """Returns values, log-probabilities and entropies of B steps."""
    if isinstance(policy.action_space, spaces.Box):
        # SB3's Gaussian is over a vector, whatever the shape of the action space.
        actions = actions.reshape(len(actions), -1)
    return policy.evaluate_actions(obs, actions)


def parameters_of(policy: ActorCriticPolicy) -> list[Tensor]:
    """Returns the parameters in the optimiser, without a walk through all modules."""
    optimizer = getattr(policy, "optimizer", None)
    groups = [] if optimizer is None else optimizer.param_groups
    return [parameter for group in groups for parameter in group["params"]]


def _versions(tensors: list[Tensor]) -> list[tuple[int, int]]:
    """Returns identity and number of in-place changes of each tensor."""
    return [(id(tensor), tensor._version) for tensor in tensors]
