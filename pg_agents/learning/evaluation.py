"""What the policy makes of a rollout, computed once for all that need it."""

from __future__ import annotations

import operator
import warnings
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from pg_agents.common.tree import Observation, select
from pg_agents.learning.batch import Batch, parts_of
from pg_agents.policies.base import OurPolicy
from pg_agents.rollout.acting import Actor, Evaluated, joined
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.rollout.collector import RolloutAlgorithm
from pg_agents.rollout.steppers import Steps

# Environments from which on a vector step is worth a way back of its own.
MANY = 512
# Steps that have one at the same time, about a kilobyte each with SB3's networks. A
# longer rollout is learnt from part by part, each evaluated once more.
MOST_KEPT = 1_048_576
# Which tensors they are, and how often each has been changed in place.
Versions = list[tuple[int, int]]


def versions_of(tensors: list[Tensor]) -> Versions:
    """Returns the versions of tensors, which they have as long as they are kept."""
    return [(id(tensor), tensor._version) for tensor in tensors]


def _tensors(observations: Observation, actions: Tensor) -> list[Tensor]:
    parts = observations.values() if isinstance(observations, dict) else [observations]
    return [*parts, actions]


@dataclass(frozen=True)
class Evaluation:
    """What the policy makes of a rollout, with the way back to its parameters.

    Attributes:
        observations: `[B, *obs_shape]`, of the recorded steps.
        actions: `[B, *action_shape]`, likewise.
        versions: of the parameters that were used, and of these tensors.
        evaluated: values `[B, 1]`, log-probabilities `[B]` and entropies `[B]`.
    """

    observations: Observation
    actions: Tensor
    versions: Versions
    evaluated: Evaluated

    def holds_for(self, batch: Batch, parameters: Versions) -> bool:
        """Whether a batch is of these very steps, and neither has been changed since.

        Args:
            batch: what is to be evaluated.
            parameters: versions of the policy's parameters.
        """
        own = _tensors(self.observations, self.actions)
        given = _tensors(batch.observations, batch.actions)
        same = len(own) == len(given) and all(map(operator.is_, own, given))
        return same and self.versions == parameters + versions_of(own)


class EvaluatingAlgorithm(RolloutAlgorithm):
    """Evaluates rollouts, and batches of them.

    Attributes:
        batch_size: see `UpdateSettings`.
        memory_size: see `MemorySettings`.
    """

    batch_size: int | None
    memory_size: int | None
    # Versions of the parameters that acted in the rollout.
    _acted_by: Versions
    # What the policy made of the rollout, until it is learnt from.
    _evaluation: Evaluation | None = None

    @property
    def _learns_at_once(self) -> bool:
        """Whether a step of the update is on the whole rollout as it is."""
        return self.batch_size is None and self.memory_size is None

    @property
    def _treats_steps_alone(self) -> bool:
        """Whether the policy is known to evaluate each step by itself."""
        policy = self.policy
        known = isinstance(policy, OurPolicy) and policy.takes_shortcuts
        return known and not self._heeds_mode

    @property
    def _keeps_forward(self) -> bool:
        n_steps = (self.n_steps or 0) * self.n_envs
        at_once = self._learns_at_once and n_steps <= MOST_KEPT
        return at_once and not self._heeds_mode

    @property
    def _keeps_acting(self) -> bool:
        many = self.n_steps is not None and self.n_envs >= MANY
        policy = self.policy
        bare = isinstance(policy, OurPolicy) and policy.distribution_follows_outputs
        return many and bare and self._keeps_forward

    def _actor(self, buffer: TrajectoryBuffer, steps: Steps) -> Actor:
        self._acted_by = versions_of(self._parameters())
        return super()._actor(buffer, steps)

    def _evaluate_rollout(
        self, buffer: TrajectoryBuffer
    ) -> tuple[Tensor | None, Tensor | None]:
        kept, self._evaluation, self._kept = self._kept, None, None
        if buffer.has("values"):
            # The whole forward() of the policy was asked.
            return None, None
        seen, actions = buffer.steps()
        now = versions_of(self._parameters())
        if now != self._acted_by:
            warnings.warn(
                "a callback changed the policy's weights within a rollout: values and "
                "log-probabilities of the steps before are those of the new weights",
                stacklevel=2,
            )
        # What a callback may have written to was evaluated before it was written.
        written = now != self._acted_by or buffer.was_read("observations")
        if kept is not None and not written:
            recorded = buffer.column("recorded") if buffer.has_masks else None
            evaluated = kept.evaluated(actions, recorded)
            return self._to_be_learnt_from(seen, actions, now, evaluated)
        if self._keeps_forward:
            evaluated = joined(
                [
                    self._evaluate(select(seen, part), actions[part])
                    for part in parts_of(len(actions))
                ]
            )
            return self._to_be_learnt_from(seen, actions, now, evaluated)
        # Acting has told the log-probabilities.
        if self.baseline != "value":
            return None, None
        with torch.no_grad():
            parts = [
                self.policy.predict_values(select(seen, part)).flatten()
                for part in parts_of(len(actions))
            ]
        return torch.cat(parts), None

    def _to_be_learnt_from(
        self,
        observations: Observation,
        actions: Tensor,
        parameters: Versions,
        evaluated: Evaluated,
    ) -> tuple[Tensor, Tensor]:
        """Keeps the forward for the update, which then needs none of its own."""
        versions = parameters + versions_of(_tensors(observations, actions))
        self._evaluation = Evaluation(observations, actions, versions, evaluated)
        values, log_prob, _ = evaluated
        return values.detach().flatten(), log_prob.detach()

    def _evaluate_batch(self, batch: Batch) -> Evaluated:
        done, self._evaluation = self._evaluation, None
        # A callback may have changed the policy or the steps since.
        if done is not None and done.holds_for(batch, versions_of(self._parameters())):
            return done.evaluated
        return self._evaluate(batch.observations, batch.actions)

    def _parameters(self) -> list[Tensor]:
        """Returns what is learnt; quicker than going through all modules."""
        optimizer = getattr(self.policy, "optimizer", None)
        groups = [] if optimizer is None else optimizer.param_groups
        return [parameter for group in groups for parameter in group["params"]]

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_evaluation", "_kept", "_acted_by"]

    def _evaluate(self, observations: Observation, actions: Tensor) -> Evaluated:
        """Returns values, log-probabilities and entropies of B steps."""
        if isinstance(self.action_space, spaces.Box):
            # SB3's Gaussian is over a vector, whatever the shape of the action space.
            actions = actions.reshape(len(actions), -1)
        evaluated: Evaluated = self.policy.evaluate_actions(observations, actions)
        return evaluated
