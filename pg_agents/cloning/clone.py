"""Behavioural cloning: fits a model's policy to demonstrations before it learns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from pg_agents.cloning.data import (
    Array,
    Observations,
    RowName,
    check_actions,
    check_observations,
    check_same_space,
    row_name,
)
from pg_agents.cloning.demonstrations import Demonstrations
from pg_agents.cloning.normalization import observation_normalizer
from pg_agents.common.checks import (
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
    check_seed,
    check_unit_interval,
    kind_of,
)
from pg_agents.common.nonfinite import NonFiniteError
from pg_agents.common.progress import tqdm
from pg_agents.common.spaces import scaled
from pg_agents.common.tree import count, select
from pg_agents.policies.base import PolicyGradientPolicy
from pg_agents.policies.tabular import TabularPolicy


@dataclass(frozen=True, repr=False)
class CloningResult:
    """The result of fitting a policy in E completed epochs.

    Losses are means of `-log pi(a | s)` over actions, in nats.

    Attributes:
        training_losses: E numbers, mean over the training actions in each epoch, each
            computed before the update with it.
        held_out_losses: E + 1 numbers, mean over the held-out actions before the first
            epoch and after each. Empty if no actions are held out.
        best_epoch: number of epochs after which the policy had its final weights: the
            index of the smallest held-out loss, or E if no actions are held out.
        stop_reason: `"n_epochs"`: all epochs completed; `"patience"`: the held-out loss
            did not improve; `"interrupted"`: by Ctrl-C.
    """

    training_losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    best_epoch: int
    stop_reason: Literal["n_epochs", "patience", "interrupted"]

    def __repr__(self) -> str:
        """Returns one line in place of all losses."""
        n_epochs = len(self.training_losses)
        parts = [f"best_epoch={self.best_epoch} of {n_epochs}"]
        losses = {"training": self.training_losses, "held-out": self.held_out_losses}
        for name, values in losses.items():
            if values:
                at_best = values[min(self.best_epoch, len(values) - 1)]
                parts.append(f"{name} loss {values[0]:.3g} -> {at_best:.3g}")
        return f"CloningResult({', '.join(parts)}, ended by {self.stop_reason})"


def clone_behaviour(
    model: BaseAlgorithm,
    observations: Demonstrations | Observations,
    actions: Any = None,  # noqa: ANN401
    *,
    n_epochs: int = 50,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    ent_coef: float = 0.0,
    l2: float = 0.0,
    fit_std: bool = True,
    held_out_fraction: float = 0.1,
    patience: int | None = 5,
    max_grad_norm: float | None = None,
    progress_bar: bool = False,
    seed: int | None = None,
) -> CloningResult:
    """Fits a model's policy to demonstrated actions, before `learn`.

    Minimises, over the training actions, with Adam and a constant learning rate:

    `mean of -log pi(a | s)  -  ent_coef * H(pi(. | s))  +  l2 / 2 * |theta|^2`

    Without the last two terms this is maximum likelihood: the action frequencies for a
    table; for a Gaussian least squares, with the root mean square of the residuals as
    standard deviation. The model's own optimiser does not change.

    Parameters and buffers that only the critic uses do not change. If policy and critic
    share layers (SB3's default for images), the critic's output changes with them.

    If the model's environment normalises observations (SB3's `VecNormalize`,
    Gymnasium's `NormalizeObservation`), raw observations are passed here and normalised
    with its current statistics. Since these change during `learn`, they should first be
    updated with the demonstrations (`normalizer.obs_rms.update(observations)`). A model
    without an environment takes observations as its policy does.

    Args:
        model: REINFORCE, ActorCritic, SB3's A2C, PPO, or another model whose `policy`
            is an `ActorCriticPolicy` without recurrence.
        observations: `Demonstrations`, or `[B, *obs_shape]` before normalisation;
            images with channels first or last; a dict of arrays for Dict spaces.
            Infinite values are valid if the policy accepts them.
        actions: `[B, *action_shape]`, as the environment takes them; None with
            `Demonstrations`. A squashed policy (`squash_output=True`) reaches the
            bounds only in the limit; SB3 replaces them by tanh(8.3).
        n_epochs: maximum number of epochs.
        batch_size: maximum size of a minibatch.
        learning_rate: learning rate of Adam.
        ent_coef: coefficient of the entropy bonus.
        l2: coefficient of the squared parameters, without log standard deviations.
        fit_std: whether to fit the standard deviation of a Gaussian. It decreases
            towards 0 if demonstrations are predictable, so that `learn` does not
            explore; False keeps it.
        held_out_fraction: fraction of actions, chosen at random, that are held out, in
            [0, 1). With 0 the final weights are kept. Consecutive steps are similar,
            so the held-out loss underestimates the loss on new episodes.
        patience: epochs without improvement of the held-out loss after which to stop;
            None never stops early.
        max_grad_norm: maximum norm of the gradient; None does not clip.
        progress_bar: whether to show epochs and losses.
        seed: seed of the split, the minibatches and dropout. The global generators are
            not used.

    Returns:
        Losses, and the epoch of the final weights. Ctrl-C does not raise: the best
        weights so far are kept.

    Raises:
        NonFiniteError: (a ValueError) if an action, a log-probability, the loss, the
            gradient or a weight is NaN or infinite. It names the first invalid row, or
            the learning rate. The model is not changed.
        ValueError: if an argument is out of range, if data are not in the model's
            spaces, or if the normalisation of its environment is not known.
        TypeError: if `model` has no such policy, or a Dict space gets no dict.
    """
    check_count("n_epochs", n_epochs)
    check_count("batch_size", batch_size)
    check_positive("learning_rate", learning_rate)
    check_not_negative("ent_coef", ent_coef)
    check_not_negative("l2", l2)
    check_choice("fit_std", fit_std, (True, False))
    check_unit_interval("held_out_fraction", held_out_fraction)
    if patience is not None:
        check_count("patience", patience)
    if max_grad_norm is not None:
        check_positive("max_grad_norm", max_grad_norm, or_infinite=True)
    check_choice("progress_bar", progress_bar, (True, False))
    if seed is not None:
        check_seed("seed", seed)
    policy = _checked_policy(model, ent_coef)
    data = _policy_data(model, policy, observations, actions)
    n = len(data.actions)
    n_held_out = round(n * held_out_fraction)
    if held_out_fraction > 0:
        n_held_out = max(n_held_out, 1)
    if n_held_out >= n:
        raise ValueError(
            f"held_out_fraction={held_out_fraction} of {n} actions leaves none to "
            "train on"
        )
    log_std = getattr(policy, "log_std", None)
    # Adam skips the critic's own parameters, which have no gradient.
    parameters = [p for p in policy.parameters() if p is not log_std]
    groups: list[dict[str, Any]] = [{"params": parameters, "weight_decay": l2}]
    if fit_std and log_std is not None:
        parameters = [*parameters, log_std]
        groups.append({"params": [log_std]})
    optimizer = torch.optim.Adam(groups, lr=learning_rate)
    if isinstance(policy, TabularPolicy):
        optimizer.register_step_post_hook(policy.clamp_logits)

    def train() -> float:
        """Trains once on every training row; returns the mean loss before updates."""
        policy.set_training_mode(True)
        totals = torch.zeros(2, dtype=torch.float64, device="cpu")
        # Batches of nearly equal size: batch norm cannot take a single row.
        n_batches = math.ceil(len(training) / batch_size)
        order = training[torch.randperm(len(training), device="cpu")]
        for rows in order.tensor_split(n_batches):
            distribution, log_prob = data.log_prob(rows)
            loss = objective = -log_prob.mean()
            if ent_coef > 0:
                entropy = distribution.entropy()
                assert entropy is not None, "squashed policies are rejected"
                objective = loss - ent_coef * entropy.mean()
            optimizer.zero_grad()
            objective.backward()
            norm = torch.zeros(())
            # Unclipped gradients may be so large that their norm overflows.
            if max_grad_norm is not None:
                norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
            optimizer.step()
            totals += len(rows) * torch.stack([loss.detach().cpu(), norm.cpu()])
        mean_loss, mean_norm = (totals / len(training)).tolist()
        _check_finite("loss", mean_loss)
        _check_finite("norm of the gradient", mean_norm)
        for name, weight in policy.named_parameters():
            # Infinite weights are accepted if they were infinite before.
            if not (weight.isfinite() | ~initial[name].isfinite()).all():
                raise NonFiniteError(f"the weight {name} became NaN or infinite")
        return float(mean_loss)

    @torch.no_grad()
    def held_out_loss() -> float:
        policy.set_training_mode(False)
        total = 0.0
        for rows in held_out.split(int(batch_size)):
            total -= data.log_prob(rows)[1].double().sum().item()
        _check_finite("held-out loss", total)
        return total / len(held_out)

    training_losses: list[float] = []
    held_out_losses: list[float] = []
    stop_reason: Literal["n_epochs", "patience", "interrupted"] = "n_epochs"
    with _guarded(policy, seed) as initial:
        held_out, training = torch.randperm(n, device="cpu").split(
            [n_held_out, n - n_held_out]
        )
        epoch = best_epoch = 0
        best_weights = initial
        bar = tqdm(
            range(1, n_epochs + 1),
            desc="cloning",
            unit=" epochs",
            dynamic_ncols=True,
            disable=not progress_bar,
        )
        try:
            data.check(batch_size)
            if n_held_out > 0:
                held_out_losses.append(held_out_loss())
            for epoch in bar:
                training_loss = train()
                description = f"loss {training_loss:.4g}"
                improved = True
                if n_held_out > 0:
                    loss = held_out_loss()
                    description += f", held out {loss:.4g}"
                    improved = loss < min(held_out_losses)
                    held_out_losses.append(loss)
                training_losses.append(training_loss)
                bar.set_postfix_str(description, refresh=False)
                if improved:
                    best_epoch, best_weights = epoch, _copy_weights(policy)
                elif patience is not None and epoch - best_epoch >= patience:
                    stop_reason = "patience"
                    break
        except NonFiniteError as error:
            if epoch == 0:
                raise
            raise NonFiniteError(
                f"{error} in epoch {epoch}: learning_rate={learning_rate} may be too "
                "large"
            ) from error
        except KeyboardInterrupt:
            stop_reason = "interrupted"
        finally:
            bar.close()
        policy.load_state_dict(best_weights)
        if policy.use_sde:
            # The noise was drawn with the old standard deviation.
            policy.reset_noise(model.n_envs)
    return CloningResult(
        tuple(training_losses), tuple(held_out_losses), best_epoch, stop_reason
    )


@dataclass(frozen=True)
class _PolicyData:
    """Observations `[B, ...]` and actions `[B, ...]`, as a policy takes them."""

    policy: ActorCriticPolicy
    observations: Observations
    actions: Tensor
    row_name: RowName

    def log_prob(self, rows: Tensor) -> tuple[Distribution, Tensor]:
        """Returns pi(. | s) and `log pi(a | s)` of rows, `[b]`.

        Raises:
            NonFiniteError: if the parameters of the distribution are NaN, for example.
        """
        obs, _ = self.policy.obs_to_tensor(select(self.observations, rows.numpy()))
        actions = self.actions[rows].to(self.policy.device)
        try:
            # Not evaluate_actions, which also runs the critic and would change the
            # running statistics of its batch norm.
            distribution = self.policy.get_distribution(obs)
            return distribution, distribution.log_prob(actions)
        except ValueError as error:
            # torch.distributions rejects invalid parameters.
            if "Expected parameter" not in str(error):
                raise
            reason = str(error).partition("\n")[0]
            raise NonFiniteError(
                f"the policy has no valid distribution ({reason})"
            ) from error

    def check(self, batch_size: int) -> None:
        """Raises a NonFiniteError that names a weight or row that cannot be learnt.

        Observations that are not finite are valid if the features extractor handles
        them: log-probabilities and gradients are then finite.
        """
        for name, weight in self.policy.named_parameters():
            if weight.isnan().any():
                raise NonFiniteError(f"the weight {name} of the model is NaN")
        self.policy.set_training_mode(False)
        for rows in torch.arange(len(self.actions), device="cpu").split(
            int(batch_size)
        ):
            if not self._is_finite(rows):
                bad = next((r for r in rows if not self._is_finite(r[None])), rows[0])
                i = int(bad)
                raise NonFiniteError(
                    "log pi(a|s) or its gradient is not finite with the initial "
                    f"weights. The first such action is {self.row_name(i)}: the "
                    f"policy's input is {select(self.observations, i)}, action "
                    f"{self.actions[i].tolist()}. Check the observation (a features "
                    "extractor may accept any), and whether the policy can take the "
                    "action"
                )

    def _is_finite(self, rows: Tensor) -> bool:
        self.policy.zero_grad()
        try:
            _, log_prob = self.log_prob(rows)
        except NonFiniteError:
            return False
        log_prob.mean().backward()
        gradients = [p.grad for p in self.policy.parameters() if p.grad is not None]
        return all(bool(x.isfinite().all()) for x in (log_prob, *gradients))


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise NonFiniteError(f"the {name} became {value}")


def _checked_policy(model: BaseAlgorithm, ent_coef: float) -> ActorCriticPolicy:
    policy = getattr(model, "policy", None)
    if not isinstance(policy, ActorCriticPolicy):
        suffix = "" if policy is None else f" with {type(policy).__name__}"
        raise TypeError(
            "model must have an ActorCriticPolicy, as REINFORCE, ActorCritic, A2C and "
            f"PPO have, got {kind_of(model)}{suffix}"
        )
    if hasattr(policy, "lstm_actor"):
        raise TypeError(
            f"model must not have a recurrent policy, got {type(policy).__name__}"
        )
    if ent_coef > 0 and policy.squash_output:
        raise ValueError(
            "ent_coef must be 0 for a policy with squash_output=True, whose entropy "
            f"has no closed form, got {ent_coef}"
        )
    if not isinstance(policy, PolicyGradientPolicy):
        # SB3's policies ignore the start of discrete spaces.
        for space in (policy.observation_space, policy.action_space):
            for part in space.values() if isinstance(space, spaces.Dict) else (space,):
                if np.any(getattr(part, "start", 0)):
                    raise ValueError(
                        "model must have discrete spaces with start=0, as "
                        f"{type(policy).__name__} ignores it, got {part}"
                    )
    return policy


def _policy_data(
    model: BaseAlgorithm,
    policy: ActorCriticPolicy,
    observations: Any,  # noqa: ANN401
    actions: Any,  # noqa: ANN401
) -> _PolicyData:
    """Returns demonstrations as the policy takes them: checked and normalised."""
    normalizer = observation_normalizer(model.get_env())
    space = policy.observation_space if normalizer is None else normalizer.space
    name_of_row: RowName = row_name
    if isinstance(observations, Demonstrations):
        if actions is not None:
            raise ValueError("actions must be None: Demonstrations contain them")
        demonstrations, name_of_row = observations, observations.row_name
        observations, actions = demonstrations.observations, demonstrations.actions
        for name, recorded, expected in (
            ("observations", demonstrations.observation_space, space),
            ("actions", demonstrations.action_space, policy.action_space),
        ):
            if recorded is not None:
                check_same_space(name, recorded, expected)
    elif actions is None:
        raise ValueError(
            "actions must be given, unless the observations are Demonstrations"
        )
    obs = check_observations(space, observations)
    acts: Array = check_actions(policy.action_space, actions, row_name=name_of_row)
    if len(acts) != count(obs):
        raise ValueError(
            "there must be one action for each observation, got "
            f"{len(acts)} actions and {count(obs)} observations"
        )
    if normalizer is not None:
        _check_statistics(normalizer.name, normalizer.statistics, obs)
        obs = normalizer(obs)
    dtype = torch.float32
    if isinstance(policy.action_space, spaces.Discrete | spaces.MultiDiscrete):
        dtype = torch.int64
    elif isinstance(policy.action_space, spaces.Box):
        if policy.squash_output:
            acts = scaled(acts, policy.action_space)
        # SB3's Gaussian has vectors for any shape of the action space.
        acts = acts.reshape(len(acts), -1)
    return _PolicyData(policy, obs, torch.as_tensor(acts, dtype=dtype), name_of_row)


def _check_statistics(name: str, statistics: Any, observations: Any) -> None:  # noqa: ANN401
    """Checks the shapes of running statistics, and warns if they are of no data."""
    pairs = [(statistics, observations)]
    if isinstance(statistics, dict):
        pairs = [(rms, observations[key]) for key, rms in statistics.items()]
    for rms, obs in pairs:
        if rms.mean.shape != obs.shape[1:]:
            raise ValueError(
                f"observations must have the shape of {name}'s statistics, [B, "
                f"{', '.join(map(str, rms.mean.shape))}], got {list(obs.shape)}"
            )
        # SB3 and Gymnasium start with a count of 0.0001.
        if rms.count < 1:
            warnings.warn(
                f"the model's {name} has not seen any observations: its statistics, "
                "and so the inputs of the cloned policy, will change as the model "
                "learns. Update them first: obs_rms.update(observations)",
                stacklevel=4,
            )


def _copy_weights(policy: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in policy.state_dict().items()}


@contextmanager
def _guarded(
    policy: ActorCriticPolicy, seed: int | None
) -> Generator[dict[str, Tensor]]:
    """Seeds torch in the block, and yields the weights, which an error restores.

    At the end gradients, mode and the global generators are as before.
    """
    weights, mode = _copy_weights(policy), policy.training
    is_cuda = policy.device.type == "cuda"
    with torch.random.fork_rng([policy.device] if is_cuda else []):
        seed = torch.Generator().seed() if seed is None else int(seed)
        # torch.manual_seed would seed all devices.
        torch.default_generator.manual_seed(seed)
        if is_cuda:
            with torch.cuda.device(policy.device):
                torch.cuda.manual_seed(seed)
        try:
            yield weights
        except BaseException:
            policy.load_state_dict(weights)
            raise
        finally:
            policy.zero_grad()
            policy.set_training_mode(mode)
