"""The learner: completes a rollout with values and advantages, then updates from it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from pg_agents.common.checks import check_not_negative
from pg_agents.common.nonfinite import (
    NonFiniteError,
    all_finite,
    first_bad_input,
    first_nonfinite,
)
from pg_agents.common.tree import (
    Observation,
    Rows,
    flatten_time,
    namespace,
    to_device,
)
from pg_agents.learning import losses
from pg_agents.learning.advantages import estimate_advantages
from pg_agents.learning.baselines import standardize
from pg_agents.learning.critic import (
    make_target,
    set_critic_group,
    update_target,
)
from pg_agents.learning.gradients import (
    GradientSource,
    Loss,
    Terms,
    evaluate_actions,
    parameters_of,
)
from pg_agents.learning.replay import (
    ReplayMemory,
    off_policy_batch,
    random_rollout,
    random_steps,
)
from pg_agents.rollout.buffer import TrajectoryBuffer
from pg_agents.rollout.data import Batch, Rollout

if TYPE_CHECKING:
    from pg_agents.algorithms.config import PolicyGradientConfig


class Learner:
    """Computes advantages and learns from rollouts; the only loop over batches.

    It owns the target network and the replay memory; the optimiser is the policy's.

    Args:
        policy: the policy that learns.
        config: all settings.
        gradients: where evaluations and gradients come from.
        device: device of the model.

    Attributes:
        target_policy: delayed copy of the policy, whose critic values successor states;
            None without a target network.
        replay: earlier rollouts; None without a replay memory.
    """

    target_policy: ActorCriticPolicy | None = None
    replay: ReplayMemory[Batch] | ReplayMemory[Rollout] | None = None

    def __init__(
        self,
        policy: ActorCriticPolicy,
        config: PolicyGradientConfig,
        gradients: GradientSource,
        device: torch.device,
    ) -> None:
        self.policy, self.gradients, self.device = policy, gradients, device
        self._scalars: list[tuple[str, Any]] = []
        self._num_timesteps = 0
        self.configure(config)

    def configure(self, config: PolicyGradientConfig) -> None:
        """Sets the config, and makes or drops target network and replay memory."""
        self.config = config
        set_critic_group(self.policy, config.critic_learning_rate is not None)
        if config.target_update_interval is None:
            self.target_policy = None
        elif self.target_policy is None:
            self.target_policy = make_target(self.policy)
        if config.memory_size is None:
            self.replay = None
            return
        if self.replay is not None and len(self.replay) > 0:
            has_batches = isinstance(self.replay.rollouts[0], Batch)
            if has_batches != (config.replay == "returns"):
                warnings.warn(
                    f"replay={config.replay!r} can't use the rollouts in the replay "
                    "memory, which is emptied",
                    stacklevel=4,
                )
                self.replay = None
        if self.replay is None:
            self.replay = ReplayMemory(config.memory_size)
        self.replay.size = config.memory_size

    # Numbers that are not finite are reported below, not by NumPy's warnings.
    @np.errstate(all="ignore")
    def complete(
        self, buffer: TrajectoryBuffer, last_obs: Observation, n_episodes: int | None
    ) -> Rows:
        """Computes values, returns and advantages of a rollout into its buffer.

        Args:
            buffer: all steps of the rollout.
            last_obs: `[N, *obs_shape]`, the observations after the last step.
            n_episodes: number of whole episodes; None for a rollout of `n_steps`.

        Returns:
            Values of `last_obs`, `[N, 1]`; 0 if returns do not bootstrap.
        """
        values, log_probs = self.gradients.evaluate_rollout(buffer)
        states = buffer.bootstrap_states(last_obs)
        rollout = buffer.collected(states, n_episodes, values, log_probs)
        n_envs = rollout.recorded.shape[1]
        if not self.config.bootstraps:
            last_values: Rows = torch.zeros((n_envs, 1), device=self.device)
        else:
            # One forward pass for all truncated and all unfinished episodes.
            bootstrap_values = self._successor_values(states.observations)
            values = rollout.values
            if self.target_policy is not None:
                obs = flatten_time(rollout.observations)
                values = self._successor_values(obs).reshape(values.shape)
            next_values = states.successor_values(values, bootstrap_values)
            rollout.next_values = next_values
            last_values = bootstrap_values[:n_envs, None]
        buffer.complete(rollout, *estimate_advantages(rollout, self.config))
        return last_values

    @np.errstate(all="ignore")
    def update(
        self,
        buffer: TrajectoryBuffer,
        loss: Callable[[Batch], Loss],
        n_updates: int,
        num_timesteps: int,
        progress: float,
    ) -> tuple[int, dict[str, float]]:
        """Learns from a rollout, or from the replay memory that it is added to.

        Args:
            buffer: the complete rollout.
            loss: returns the loss of a batch, and its terms by logger key.
            n_updates: number of passes over data before this update.
            num_timesteps: steps so far, for messages.
            progress: remaining progress, 1 to 0, that schedules are evaluated at.

        Returns:
            Number of passes over data, this update's included, and means of the loss
            terms by logger key.

        Raises:
            NonFiniteError: if loss, gradient or weights are NaN or infinite.
        """
        config, policy, gradients = self.config, self.policy, self.gradients
        self._num_timesteps = num_timesteps
        if self.replay is not None:
            self._remember(buffer)
        coefficients = {
            name: current_value(name, getattr(config, name), progress)
            for name in ("ent_coef", "clip_range", "clip_range_vf")
            if getattr(config, name) is not None
        }
        max_norm = math.inf if config.max_grad_norm is None else config.max_grad_norm
        terms: list[Terms] = []
        n_updates_before, start_of_last_pass = n_updates, 0
        exceeds_target_kl = False
        for batches in self._passes(buffer):
            n_updates += 1
            start_of_last_pass = len(terms)
            for batch in batches:
                terms.append(gradients.gradient(batch, loss, config, coefficients))
                norm = gradients.clip(max_norm)
                self._scalars += [("loss", terms[-1]["loss"]), ("gradient", norm)]
                if self.device.type == "cpu":
                    # Before the step, so that it never spoils the weights.
                    self._raise_if_nonfinite(buffer)
                if config.target_kl is not None:
                    approx_kl = terms[-1]["approx_kl"]
                    exceeds_target_kl = bool(approx_kl > 1.5 * config.target_kl)
                if exceeds_target_kl:
                    break
                gradients.step()
            if exceeds_target_kl:
                break
        interval = config.target_update_interval
        # One rollout can add several updates: check whether a multiple was passed.
        if interval and n_updates_before // interval != n_updates // interval:
            assert self.target_policy is not None, "configure() creates it"
            update_target(self.target_policy, policy, config.tau)
        logs = _mean_terms(terms, start_of_last_pass)
        if config.baseline == "value":
            rollout, (returns, _) = buffer.stored_rollout, buffer.stored_estimates
            logs["explained_variance"] = explained_variance(
                rollout.flat(rollout.values), rollout.flat(returns)
            )
        return n_updates, _to_floats(logs)

    def _passes(self, buffer: TrajectoryBuffer) -> Iterator[Iterator[Batch]]:
        """Yields the batches of each epoch, or one batch per step on replayed data."""
        if self.replay is None:
            for _ in range(self.config.n_epochs):
                # A user's `get` gets tensors, and is not overridden where arrays are.
                stored = self.gradients.uses_arrays
                get = buffer.batches if stored else buffer.get
                yield get(self.config.batch_size)
        elif len(self.replay) >= self.config.learning_starts:
            for _ in range(self.config.gradient_steps):
                yield iter([self.replayed_batch()])

    def loss(self, batch: Batch, progress: float) -> Loss:
        """Returns the loss of a batch, and its terms by logger key.

        `policy_loss + ent_coef * entropy_loss + vf_coef * value_loss`

        Args:
            batch: the data.
            progress: remaining progress, 1 to 0, that schedules are evaluated at.
        """
        config = self.config
        if config.standardizes_mini_batches and not batch.standardized:
            advantages = standardize(batch.advantages)
            batch = replace(batch, advantages=advantages, standardized=True)
        values, log_prob, entropy = self.gradients.evaluate(batch)
        advantages, n_samples = batch.advantages, batch.n_samples
        terms: dict[str, Tensor] = {}
        if config.clip_range is not None or config.target_kl is not None:
            terms["approx_kl"] = losses.approximate_kl(log_prob, batch.old_log_prob)
        if config.clip_range is None:
            loss = losses.policy_gradient_loss(log_prob, advantages, n_samples)
        else:
            clip = current_value("clip_range", config.clip_range, progress)
            ratio = torch.exp(log_prob - batch.old_log_prob)
            terms["clip_fraction"] = ((ratio - 1.0).abs() > clip).float().mean()
            loss = losses.clipped_surrogate_loss(
                log_prob, batch.old_log_prob, advantages, clip, n_samples
            )
        terms["policy_loss"] = loss
        terms["entropy_loss"] = losses.entropy_loss(entropy, log_prob, n_samples)
        ent_coef = current_value("ent_coef", config.ent_coef, progress)
        if ent_coef != 0.0:
            loss = loss + ent_coef * terms["entropy_loss"]
        if config.baseline == "value":
            values = values.flatten()
            if config.clip_range_vf is not None:
                clip = current_value("clip_range_vf", config.clip_range_vf, progress)
                values = losses.clipped_values(values, batch.old_values, clip)
            terms["value_loss"] = losses.value_loss(
                values, batch.returns, config.critic_loss
            )
            loss = loss + config.vf_coef * terms["value_loss"]
        terms["loss"] = loss
        return loss, terms

    @np.errstate(all="ignore")
    def check_weights(self, buffer: TrajectoryBuffer) -> None:
        """Raises a NonFiniteError if a weight or scalar of an update is not finite.

        Args:
            buffer: the rollout of the update, searched for the cause.
        """
        self._scalars.append(("weights", self.gradients.weight_norm()))
        self._raise_if_nonfinite(buffer)

    def _raise_if_nonfinite(self, buffer: TrajectoryBuffer) -> None:
        """Checks the scalars of the update so far, with one synchronisation."""
        scalars, self._scalars = self._scalars, []
        if math.isfinite(sum(scalar for _, scalar in scalars)):
            return
        for name, scalar in scalars:
            # The squares of finite weights can overflow.
            overflows = name == "weights" and all_finite(parameters_of(self.policy))
            if not (math.isfinite(scalar) or overflows):
                raise self._error(name, buffer)

    def _successor_values(self, obs: Observation) -> Rows:
        """Returns V of observations `[B, ...]` by the target network, if any."""
        critic = self.policy if self.target_policy is None else self.target_policy
        return self.gradients.values(critic, obs)

    def _remember(self, buffer: TrajectoryBuffer) -> None:
        rollout = buffer.rollout
        numbers = (
            rollout.rewards,
            rollout.values,
            rollout.log_probs,
            rollout.next_values,
        )
        # Checked here, because the memory does not store what caused them.
        if not all_finite(numbers):
            raise self._error("rollout", buffer)
        n_steps = int(rollout.recorded.sum())
        data = buffer.batch() if self.config.replay == "returns" else rollout
        self.replay.add(data, n_steps)  # type: ignore[union-attr, arg-type]

    def replayed_batch(self) -> Batch:
        """Draws steps from the replay memory, weighted for the current policy."""
        if self.config.replay == "returns":
            drawn = random_steps(self.replay, self.config.batch_size)  # type: ignore[arg-type]
            batch: Batch = to_device(drawn, self.device)
            return batch
        old = random_rollout(self.replay)  # type: ignore[arg-type]
        rollout: Rollout = to_device(old, self.device)
        states = rollout.bootstrap_states
        assert states is not None, "collected() stores them"
        # Probability ratios are those of the acting policy: no dropout.
        self.policy.set_training_mode(False)
        obs = flatten_time(rollout.observations)
        shape = rollout.recorded.shape
        with torch.no_grad():
            values, log_prob, _ = evaluate_actions(
                self.policy, obs, rollout.actions.flatten(0, 1)
            )
        values = successors = values.reshape(shape)
        if self.target_policy is not None:
            successors = torch.as_tensor(self._successor_values(obs)).reshape(shape)
        # Of arrays or tensors, as the gradient source computes them.
        bootstrap_values = torch.as_tensor(self._successor_values(states.observations))
        rollout = replace(
            rollout,
            values=values,
            next_values=states.successor_values(successors, bootstrap_values),
        )
        return off_policy_batch(rollout, log_prob.reshape(shape), self.config)

    def _error(self, bad: str, buffer: TrajectoryBuffer) -> NonFiniteError:
        """Returns an error that names the cause of a number that is not finite.

        Args:
            bad: `"loss"`, `"gradient"`, `"weights"` or `"rollout"`.
            buffer: the rollout, searched for the cause.
        """
        what = {"gradient": "norm of the gradient"}.get(bad, bad)
        verb = "are" if bad == "weights" else "is"
        return NonFiniteError(
            f"training stopped after {self._num_timesteps} timesteps, since the {what} "
            f"{verb} not finite: {self._cause(bad, buffer)}"
        )

    def _cause(self, bad: str, buffer: TrajectoryBuffer) -> str:
        """Returns a sentence on the first number that was not finite."""
        if buffer.full:
            found = first_bad_input(buffer.rollout)
            if found is not None:
                return found
            estimates = zip(("returns", "advantages"), buffer.estimates, strict=True)
            for name, values in estimates:
                if not torch.isfinite(values).all():
                    return (
                        f"the {name} of the rollout are not, though its rewards and "
                        "values are: look at what callbacks write to the rollout "
                        "buffer, and at the size of the rewards"
                    )
        rates = {group["lr"] for group in self.policy.optimizer.param_groups}
        advice = (
            "look at the step size (learning_rate is now "
            f"{', '.join(f'{float(rate):g}' for rate in rates)}), the size of the "
            f"rewards, and max_grad_norm={self.config.max_grad_norm}"
        )
        if bad == "weights":
            named = self.policy.named_parameters()
            found = first_nonfinite({f"weight {name!r}": w for name, w in named})
            if found is not None:
                return f"{found}; {advice}"
        where = ", and loss()" if bad == "loss" else ""
        return (
            "observations, rewards, values and log-probabilities of the rollout are: "
            f"{advice}{where}"
        )


def current_value(name: str, given: float | Schedule, progress: float) -> float:
    """Returns a number, or a schedule's value at the remaining progress.

    Args:
        name: for messages.
        given: a number or a schedule.
        progress: remaining progress in [0, 1].

    Raises:
        ValueError: if the schedule returns a negative or non-finite number.
    """
    if not callable(given):
        return float(given)
    value = given(progress)
    check_not_negative(f"{name}({progress:g})", value)
    return float(value)


def explained_variance(values: Rows, returns: Rows) -> Rows:
    """Returns the share of the returns' variance that the critic explains, a scalar.

    `1 - Var(G - V) / Var(G)`; NaN where all returns are equal, as in SB3.

    Args:
        values: `[B]`, V(s_b), an array or a tensor.
        returns: `[B]`, G_b, likewise.
    """
    variance, unexplained = _variance(returns), _variance(returns - values)
    # Without a division by zero, of which NumPy warns, or a wait for the device.
    if isinstance(variance, Tensor):
        return 1.0 - unexplained / torch.where(variance == 0.0, math.nan, variance)
    share: Rows = 1.0 - unexplained / (variance or np.float32(math.nan))
    return share


def _variance(values: Rows) -> Any:  # noqa: ANN401
    # np.var takes three times as long for a few numbers.
    xp, n = namespace(values), len(values)
    total = xp.add.reduce(values) if xp is np else values.sum()
    deviations = values - total / n
    return deviations @ deviations / n


def _mean_terms(terms: list[Terms], start_of_last_pass: int) -> Terms:
    """Returns what PPO logs: the last loss, the last pass's KL, means of the rest."""
    if len(terms) < 2:
        return terms[0] if terms else {}
    starts = {"loss": len(terms) - 1, "approx_kl": start_of_last_pass}
    means = {}
    for name in terms[-1]:
        numbers = [each[name] for each in terms[starts.get(name, 0) :]]
        means[name] = sum(numbers) / len(numbers)
    return means


def _to_floats(numbers: dict[Any, Any]) -> dict[Any, float]:
    """Converts numbers and scalar tensors, with one synchronisation with the device."""
    if any(isinstance(number, Tensor) for number in numbers.values()):
        scalars = [torch.as_tensor(number).float() for number in numbers.values()]
        return dict(zip(numbers, torch.stack(scalars).tolist(), strict=True))
    return {name: float(number) for name, number in numbers.items()}
