"""What the policy makes of a rollout, computed once for all that need it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from pg_agents.acting import Actor, Evaluated, joined
from pg_agents.batches import Batch, parts_of
from pg_agents.buffers import TrajectoryBuffer
from pg_agents.finite import FinitePolicy
from pg_agents.losses import CriticLoss
from pg_agents.observations import Observation, select
from pg_agents.our_policy import OurPolicy
from pg_agents.rollout import RolloutAlgorithm
from pg_agents.stepping.steps import Steps

# Environments from which on a vector step is worth a way back of its own.
MANY = 512
# Steps that have one at the same time, about a kilobyte each with SB3's networks. A
# longer rollout is learnt from part by part, each evaluated once more.
MOST_KEPT = 1_048_576


@dataclass(frozen=True)
class Evaluation:
    """What the policy makes of a rollout, with the way back to its parameters.

    Attributes:
        rollout: mark of the rollout.
        versions: of the parameters, at that time.
        evaluated: values `[B, 1]`, log-probabilities `[B]` and entropies `[B]`.
    """

    rollout: object
    versions: list[tuple[int, int]]
    evaluated: Evaluated


class EvaluatingAlgorithm(RolloutAlgorithm):
    """Evaluates rollouts, and batches of them.

    Attributes:
        batch_size, critic_loss: see `UpdateSettings`.
        memory_size: see `MemorySettings`.
    """

    batch_size: int | None
    memory_size: int | None
    critic_loss: CriticLoss
    # Versions of the parameters that acted in the rollout, where `_kept` did.
    _acted_by: list[tuple[int, int]]
    # What the policy made of the rollout, until it is learnt from.
    _evaluation: Evaluation | None = None

    @property
    def _learns_at_once(self) -> bool:
        """Whether a step of the update is on the whole rollout as it is."""
        return self.batch_size is None and self.memory_size is None

    @property
    def _reuses_memory(self) -> bool:  # type: ignore[override]
        return self.memory_size is None

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
        act = super()._actor(buffer, steps)
        if self._kept is not None:
            self._acted_by = self._versions()
        return act

    def _finite_policy(self, table: Tensor, n_steps: int) -> FinitePolicy | None:
        # The loss of a step has to be one of a few, or linear in what differs.
        few = self._learns_at_once and self.critic_loss == "squared"
        return (
            FinitePolicy(self.policy, table)
            if few
            and not self._heeds_mode
            and not self.use_sde
            and isinstance(self.policy, OurPolicy)
            and FinitePolicy.fits(self.policy, table, n_steps)
            else None
        )

    def _evaluate_rollout(
        self, buffer: TrajectoryBuffer
    ) -> tuple[Tensor | None, Tensor | None]:
        kept, self._evaluation, self._kept = self._kept, None, None
        if buffer.tells("values"):
            # By a policy that was asked for everything, or by a table.
            return None, None
        seen, actions = buffer.taken()
        if kept is not None:
            recorded = buffer.column("recorded") if buffer.has_masks else None
            evaluated = kept.evaluated(actions, recorded)
            return self._to_be_learnt_from(buffer, self._acted_by, evaluated)
        if self._keeps_forward:
            evaluated = joined(
                [
                    self._evaluate(select(seen, part), actions[part])
                    for part in parts_of(len(actions))
                ]
            )
            return self._to_be_learnt_from(buffer, self._versions(), evaluated)
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
        buffer: TrajectoryBuffer,
        versions: list[tuple[int, int]],
        evaluated: Evaluated,
    ) -> tuple[Tensor, Tensor]:
        """Keeps the forward for the update, which then needs none of its own."""
        self._evaluation = Evaluation(buffer.mark, versions, evaluated)
        values, log_prob, _ = evaluated
        return values.detach().flatten(), log_prob.detach()

    def _evaluate_batch(self, batch: Batch) -> Evaluated:
        done, self._evaluation = self._evaluation, None
        if done is not None and done.rollout is batch.rollout:
            # A callback may have put other weights into the policy since.
            if done.versions == self._versions():
                return done.evaluated
        return self._evaluate(batch.observations, batch.actions)

    def _versions(self) -> list[tuple[int, int]]:
        """Returns which tensors the parameters are, and how often each has changed."""
        return [(id(p), p._version) for p in self._parameters()]

    def _parameters(self) -> list[Tensor]:
        """Returns what is learnt; quicker than going through all modules."""
        groups = self.policy.optimizer.param_groups
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
