"""The one update: from a rollout, or a memory of them, to steps of the optimiser."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import explained_variance
from torch import Tensor, nn

from pg_agents import losses
from pg_agents.advantages import AdvantageSettings, Facts
from pg_agents.arguments import settings_among
from pg_agents.baselines import standardize
from pg_agents.buffers import Batch
from pg_agents.critics import split_critic, update_target
from pg_agents.devices import to_device
from pg_agents.losses import CriticLoss
from pg_agents.memory import (
    Memory,
    MemorySettings,
    ReplayName,
    corrected_batch,
    random_rollout,
    random_steps,
)
from pg_agents.observations import Observation, flatten_time
from pg_agents.rollout import RolloutAlgorithm
from pg_agents.update_settings import UpdateSettings


class UpdateAlgorithm(RolloutAlgorithm):
    """Learns from complete rollouts.

    Attributes:
        memory: earlier rollouts, or None.
        target_policy: slow copy of the policy, or None.
        n_epochs, batch_size, clip_range, clip_range_vf, target_kl, critic_loss,
        critic_learning_rate, target_update_interval, tau, ent_coef, vf_coef,
        max_grad_norm: see `UpdateSettings`.
        memory_size, learning_starts, gradient_steps, replay, rho_clip, c_clip: see
            `MemorySettings`.
    """

    n_epochs: int
    batch_size: int | None
    clip_range: float | Schedule | None
    clip_range_vf: float | Schedule | None
    target_kl: float | None
    critic_loss: CriticLoss
    critic_learning_rate: float | Schedule | None
    target_update_interval: int | None
    tau: float
    ent_coef: float | Schedule  # type: ignore[assignment]
    max_grad_norm: float | None  # type: ignore[assignment]
    memory_size: int | None
    learning_starts: int
    gradient_steps: int
    replay: ReplayName
    rho_clip: float
    c_clip: float
    memory: Memory[Batch] | Memory[Facts] | None
    _kept_apart = ("memory",)

    def train(self) -> None:
        """Learns from the rollout, or from the memory that it goes into."""
        self._set_learning_rates()
        if self.memory is not None:
            self._remember()
        logs: list[dict[str, Tensor]] = []
        n_updates_before, last_pass = self._n_updates, 0
        for batches in self._passes():
            self._n_updates += 1
            last_pass = len(logs)
            if not self._learn_from(batches, logs):
                break
        self._update_target(n_updates_before)
        self._log_update(logs, last_pass)

    def _passes(self) -> Iterator[Iterator[Batch]]:
        """Yields the batches of each epoch, or of each step on remembered data."""
        if self.memory is None:
            for _ in range(self.n_epochs):
                yield self.rollout_buffer.get(self.batch_size)
        elif len(self.memory) >= self.learning_starts:
            for _ in range(self.gradient_steps):
                yield iter([self._recall()])

    def _learn_from(
        self, batches: Iterator[Batch], logs: list[dict[str, Tensor]]
    ) -> bool:
        """Takes a step on each batch; returns False if the policy has moved too far."""
        self.policy.set_training_mode(True)
        for batch in batches:
            loss, terms = self.loss(batch)
            logs.append({name: term.detach() for name, term in terms.items()})
            if self.target_kl is not None:
                if terms["approx_kl"] > 1.5 * self.target_kl:
                    return False
            self.policy.optimizer.zero_grad()
            loss.backward()
            if self.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
        return True

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss and its terms by logger key."""
        values, log_prob, entropy = self._evaluate(batch.observations, batch.actions)
        policy_loss, terms = self._policy_loss(batch, log_prob)
        entropy_loss = losses.entropy_loss(entropy, log_prob, batch.n_samples)
        terms |= {"policy_loss": policy_loss, "entropy_loss": entropy_loss}
        loss = policy_loss + self._now("ent_coef") * entropy_loss
        if self.baseline == "value":
            values = values.flatten()
            if self.clip_range_vf is not None:
                values = losses.clipped_values(
                    values, batch.old_values, self._now("clip_range_vf")
                )
            terms["value_loss"] = losses.value_loss(
                values, batch.returns, self.critic_loss
            )
            loss = loss + self.vf_coef * terms["value_loss"]
        terms["loss"] = loss
        return loss, terms

    def _evaluate(
        self, observations: Observation, actions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns values, log-probabilities and entropies of B steps."""
        if isinstance(self.action_space, spaces.Box):
            # SB3's Gaussian is over a vector, whatever the shape of the action space.
            actions = actions.reshape(len(actions), -1)
        evaluated: tuple[Tensor, Tensor, Tensor | None]
        evaluated = self.policy.evaluate_actions(observations, actions)
        return evaluated

    def _policy_loss(
        self, batch: Batch, log_prob: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        advantages = batch.advantages
        if self.normalize_advantage and self._standardizes_mini_batches:
            advantages = standardize(advantages)
        terms = {}
        if self.clip_range is not None or self.target_kl is not None:
            terms["approx_kl"] = losses.approximate_kl(log_prob, batch.old_log_prob)
        if self.clip_range is None:
            loss = losses.policy_gradient_loss(log_prob, advantages, batch.n_samples)
            return loss, terms
        clip_range = self._now("clip_range")
        ratio = torch.exp(log_prob - batch.old_log_prob)
        terms["clip_fraction"] = ((ratio - 1.0).abs() > clip_range).float().mean()
        loss = losses.clipped_surrogate_loss(
            log_prob, batch.old_log_prob, advantages, clip_range, batch.n_samples
        )
        return loss, terms

    @property
    def _standardizes_mini_batches(self) -> bool:
        return self.batch_size is not None and self.memory_size is None

    def advantage_settings(self) -> AdvantageSettings:
        """Returns the estimator, baseline and so on, as they stand now.

        Mini-batches are standardised one by one, as in PPO, and not before.
        """
        settings = super().advantage_settings()
        if self._standardizes_mini_batches:
            return replace(settings, normalize_advantage=False)
        return settings

    def _now(self, name: str) -> float:
        """Returns a number that may be a schedule, at the present progress."""
        given: float | Schedule = getattr(self, name)
        if callable(given):
            return float(given(self._current_progress_remaining))
        return float(given)

    def _set_learning_rates(self) -> None:
        self._update_learning_rate(self.policy.optimizer)
        if self.critic_learning_rate is not None:
            rate = self._now("critic_learning_rate")
            # The last group, see split_critic().
            self.policy.optimizer.param_groups[-1]["lr"] = rate
            self.logger.record("train/critic_learning_rate", rate)

    def _setup_update(self) -> None:
        """Makes what the settings ask for beside the policy."""
        if self.critic_learning_rate is not None:
            split_critic(self.policy)
        self.target_policy = None
        if self.target_update_interval is not None:
            self.target_policy = deepcopy(self.policy).requires_grad_(False)
            self.target_policy.set_training_mode(False)
        self.memory = None
        if self.memory_size is not None:
            self.memory = Memory(self.memory_size)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        names, others = super()._get_torch_save_params()
        if self.target_policy is not None:
            names = [*names, "target_policy"]
        return names, others

    def _after_load(self, forget_observations: bool) -> None:
        super()._after_load(forget_observations)
        # load() may have been asked for another size, or for none.
        if self.memory_size is None:
            self.memory = None
        elif self.memory is not None:
            self.memory.size = self.memory_size
            self.memory.to(self.device)

    def _update_target(self, n_updates_before: int) -> None:
        interval = self.target_update_interval
        # A rollout can bring several updates: has a multiple been passed?
        if interval is None or n_updates_before // interval == (
            self._n_updates // interval
        ):
            return
        assert self.target_policy is not None, "_setup_update makes it"
        update_target(self.target_policy, self.policy, self.tau)

    def _remember(self) -> None:
        facts = self.rollout_buffer.facts
        n_steps = int(facts.recorded.sum())
        keeps_batches = self.replay == "returns"
        kept = self.rollout_buffer.batch() if keeps_batches else facts
        self.memory.add(kept, n_steps)  # type: ignore[union-attr, arg-type]

    def _recall(self) -> Batch:
        """Returns remembered steps with the weights that the policy of now gives."""
        if self.replay == "returns":
            batch = random_steps(self.memory, self.batch_size)  # type: ignore[arg-type]
            moved: Batch = to_device(batch, self.device)
            return moved
        drawn = random_rollout(self.memory)  # type: ignore[arg-type]
        facts: Facts = to_device(drawn, self.device)
        assert facts.beyond is not None, "collect_rollouts keeps what lies beyond"
        # Ratios of probabilities are those of the policy that acts: no dropout.
        self.policy.set_training_mode(False)
        seen = flatten_time(facts.observations)
        shape = facts.recorded.shape
        with torch.no_grad():
            values, log_prob, _ = self._evaluate(seen, facts.actions.flatten(0, 1))
            values = slow = values.reshape(shape)
            if self.target_policy is not None:
                slow = self._successor_value(seen).reshape(shape)
            beyond = self._successor_value(facts.beyond.observations)
        next_values = facts.beyond.successor_values(slow, beyond)
        settings = self.advantage_settings(), self.memory_settings()
        return corrected_batch(
            facts, log_prob.reshape(shape), values, next_values, *settings
        )

    def update_settings(self) -> UpdateSettings:
        """Returns what is done with a rollout, as of now."""
        return settings_among(UpdateSettings, vars(self))

    def memory_settings(self) -> MemorySettings:
        """Returns how much is remembered and how it is learnt from, as of now."""
        return settings_among(MemorySettings, vars(self))

    def _log_update(self, logs: list[dict[str, Tensor]], last_pass: int) -> None:
        record = self.logger.record
        record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name in logs[-1] if logs else ():
            # As in PPO: the last loss, the distance of the last pass, all of the rest.
            start = {"loss": -1, "approx_kl": last_pass}.get(name, 0)
            seen = torch.stack([each[name] for each in logs[start:]])
            record(f"train/{name}", seen.mean().item())
        if self.baseline == "value":
            facts = self.rollout_buffer.facts
            recorded = facts.recorded.cpu().numpy()
            values = facts.values.cpu().numpy()[recorded]
            returns = self.rollout_buffer.returns[recorded]
            explained = explained_variance(values, returns)
            record("train/explained_variance", float(explained))
        for name in ("clip_range", "clip_range_vf", "ent_coef"):
            given = getattr(self, name)
            if callable(given) or (given is not None and name != "ent_coef"):
                record(f"train/{name}", self._now(name))
        if self.memory is not None:
            record("train/memory_steps", len(self.memory))
        if hasattr(self.policy, "log_std"):
            record("train/std", torch.exp(self.policy.log_std).mean().item())
