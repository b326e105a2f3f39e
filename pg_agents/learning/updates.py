"""The one update: from a rollout, or a memory of them, to steps of the optimiser."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from pg_agents.algorithms.agent_arguments import settings_among
from pg_agents.algorithms.update_settings import UpdateSettings
from pg_agents.common.checks import check_not_negative
from pg_agents.common.devices import to_device
from pg_agents.common.nonfinite import (
    FiniteCheck,
    NonFiniteError,
    all_finite,
    first_bad_input,
    first_nonfinite,
    total_norm,
)
from pg_agents.common.tree import flatten_time
from pg_agents.learning import losses
from pg_agents.learning.advantages import AdvantageSettings, Facts
from pg_agents.learning.baselines import standardize
from pg_agents.learning.batch import Batch
from pg_agents.learning.critics import split_critic, target_of, update_target
from pg_agents.learning.evaluation import EvaluatingAlgorithm
from pg_agents.learning.logs import explained_variance, mean_terms, numbers_of
from pg_agents.learning.losses import CriticLoss
from pg_agents.learning.optimizers import clip_gradients
from pg_agents.learning.replay import (
    Memory,
    MemorySettings,
    ReplayName,
    corrected_batch,
    random_rollout,
    random_steps,
)


class UpdateAlgorithm(EvaluatingAlgorithm):
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
    _finite: FiniteCheck

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
        self._set_mode(training=True)
        parameters = self._parameters()
        for batch in batches:
            for parameter in parameters:
                parameter.grad = None
            loss, terms = self._gradient(batch)
            logs.append(terms)
            norm = clip_gradients(parameters, self.max_grad_norm)
            self._stop_if(self._finite.first_bad(loss=loss, gradient=norm))
            if self.target_kl is not None:
                if terms["approx_kl"] > 1.5 * self.target_kl:
                    return False
            self.policy.optimizer.step()
        return True

    def _gradient(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds the gradient of the loss up; returns the loss and its terms by key."""
        total: dict[str, Tensor] = {}
        whole_loss: Tensor | float = 0.0
        whole = self._standardized(batch)
        # What has been evaluated as a whole is not evaluated again in parts. A user's
        # own loss need not be a sum over steps, nor a user's own policy treat each step
        # by itself.
        parts = [whole] if self._evaluation is not None else whole.parts()
        ours = getattr(self.loss, "__func__", None) is UpdateAlgorithm.loss
        if len(parts) > 1 and not (ours and self._treats_steps_alone):
            parts = [whole]
        for part in parts:
            loss, terms = self.loss(part)
            share = len(part) / len(batch)
            if share != 1.0:
                loss = loss * share
            loss.backward()
            whole_loss = whole_loss + loss.detach()
            for name, term in terms.items():
                own = term.detach() * share
                total[name] = total[name] + own if name in total else own
        return torch.as_tensor(whole_loss), total

    def _stop_if(self, bad: str | None) -> None:
        """Raises an error if something is not finite; says where that comes from.

        Args:
            bad: `"loss"`, `"gradient"` or `"weights"`; None if all is finite.
        """
        if bad is None:
            return
        what = {"gradient": "norm of the gradient"}.get(bad, bad)
        raise NonFiniteError(
            f"training stopped after {self.num_timesteps} timesteps, since the {what} "
            f"{'are' if bad == 'weights' else 'is'} not finite: {self._cause(bad)}"
        )

    def _cause(self, bad: str) -> str:
        """Returns a sentence on the first number that was not finite."""
        buffer = self.rollout_buffer
        if buffer.full:
            found = first_bad_input(buffer.facts, buffer.column("episode_steps"))
            if found is not None:
                return found
            for name, values in zip(
                ("returns", "advantages"), buffer.estimates, strict=True
            ):
                if not torch.isfinite(values).all():
                    return (
                        f"the {name} of the rollout are not, though its rewards and "
                        "values are: look at what callbacks write to the rollout "
                        "buffer, and at the size of the rewards"
                    )
        if bad == "weights":
            named = self.policy.named_parameters()
            found = first_nonfinite({f"weight {name!r}": each for name, each in named})
            if found is not None:
                return f"{found}; {self._advice()}"
        where = ", and loss()" if bad == "loss" else ""
        return (
            "observations, rewards, values and log-probabilities of the rollout are: "
            f"{self._advice()}{where}"
        )

    def _advice(self) -> str:
        rates = {group["lr"] for group in self.policy.optimizer.param_groups}
        return (
            "look at the step size (learning_rate is now "
            f"{', '.join(f'{float(rate):g}' for rate in rates)}), the size of the "
            f"rewards, and max_grad_norm={self.max_grad_norm}"
        )

    def _check_weights(self) -> None:
        """Raises an error if an update has left weights that are not finite."""
        parameters = self._parameters()
        if not parameters:
            return
        bad = self._finite.first_bad(weights=total_norm(parameters))
        bad = bad or self._finite.conclude()
        # The squares of finite weights can overflow.
        if bad != "weights" or not all_finite(parameters):
            self._stop_if(bad)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss and its terms by logger key."""
        batch = self._standardized(batch)
        values, log_prob, entropy = self._evaluate_batch(batch)
        policy_loss, terms = self._policy_loss(batch, log_prob)
        entropy_loss = losses.entropy_loss(entropy, log_prob, batch.n_samples)
        terms |= {"policy_loss": policy_loss, "entropy_loss": entropy_loss}
        loss, ent_coef = policy_loss, self._now("ent_coef")
        if ent_coef != 0.0:
            loss = loss + ent_coef * entropy_loss
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

    def _standardized(self, batch: Batch) -> Batch:
        """Returns a mini-batch with standardised advantages, if that is asked for."""
        asked_for = self.normalize_advantage and self._standardizes_mini_batches
        if batch.standardized or not asked_for:
            return batch
        advantages = standardize(batch.advantages)
        return replace(batch, advantages=advantages, standardized=True)

    def _policy_loss(
        self, batch: Batch, log_prob: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        advantages = batch.advantages
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
        if not callable(given):
            return float(given)
        progress = self._current_progress_remaining
        value = given(progress)
        check_not_negative(f"{name}({progress:g})", value)
        return float(value)

    def _set_learning_rates(self) -> None:
        progress = self._current_progress_remaining
        # As the user gave it: SB3's makes a float of a string, too.
        schedule = getattr(self.lr_schedule, "value_schedule", self.lr_schedule)
        rate = schedule(progress)
        check_not_negative(f"learning_rate({progress:g})", rate)
        scheduled = callable(self.learning_rate) and progress == 0.0
        if scheduled and rate == 0.0 and self._n_updates == 0:
            warnings.warn(
                "the first update has the step size learning_rate(0) = 0 and changes "
                f"nothing: its rollout ended at {self.num_timesteps} timesteps, beyond "
                f"total_timesteps={self._total_timesteps}; schedules are asked after "
                "the rollout, as in SB3",
                stacklevel=2,
            )
        self._update_learning_rate(self.policy.optimizer)
        if self.critic_learning_rate is not None:
            rate = self._now("critic_learning_rate")
            # The last group, see split_critic().
            self.policy.optimizer.param_groups[-1]["lr"] = rate
            self.logger.record("train/critic_learning_rate", rate)

    def _setup_update(self) -> None:
        """Makes what the settings ask for beside the policy."""
        self._finite = FiniteCheck(at_once=self.device.type == "cpu")
        if self.critic_learning_rate is not None:
            split_critic(self.policy)
        self.target_policy = None
        if self.target_update_interval is not None:
            self.target_policy = target_of(self.policy)
        self.memory = None
        if self.memory_size is not None:
            self.memory = Memory(self.memory_size)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_finite"]

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
        numbers = facts.rewards, facts.values, facts.log_probs, facts.next_values
        # Later it could not be said where they come from.
        if not all(each.isfinite().all() for each in numbers):
            self._stop_if("rollout")
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
        self._set_mode(training=False)
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
        means = mean_terms(logs, last_pass)
        if self.baseline == "value":
            buffer = self.rollout_buffer
            values = buffer.facts.flat(buffer.facts.values)
            means["explained_variance"] = explained_variance(values, buffer.targets)
        for name, number in numbers_of(means).items():
            record(f"train/{name}", number)
        for name in ("clip_range", "clip_range_vf", "ent_coef"):
            given = getattr(self, name)
            if callable(given) or (given is not None and name != "ent_coef"):
                record(f"train/{name}", self._now(name))
        if self.memory is not None:
            record("train/memory_steps", len(self.memory))
        if hasattr(self.policy, "log_std"):
            record("train/std", torch.exp(self.policy.log_std).mean().item())
