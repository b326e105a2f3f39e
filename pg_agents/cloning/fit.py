"""Fits a policy to actions by maximum likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn
from tqdm import tqdm

from pg_agents.cloning.data import RowName, row_name
from pg_agents.common.checks import (
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
)
from pg_agents.common.nonfinite import NonFiniteError
from pg_agents.common.tree import Observation, count, select
from pg_agents.policies.tabular import TabularPolicy

StopReason = Literal["n_epochs", "patience", "interrupted"]
Index = NDArray[np.int64]


@dataclass(frozen=True)
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
    stop_reason: StopReason

    @property
    def stopped_early(self) -> bool:
        """Whether it stopped because the held-out loss did not improve."""
        return self.stop_reason == "patience"


@dataclass(frozen=True)
class FitSettings:
    """Settings of a fit; see `clone_behaviour`."""

    n_epochs: int
    batch_size: int
    learning_rate: float
    ent_coef: float
    l2: float
    fit_std: bool
    patience: int | None
    max_grad_norm: float | None

    def __post_init__(self) -> None:
        """Raises a ValueError that names the first invalid setting."""
        check_count("n_epochs", self.n_epochs)
        check_count("batch_size", self.batch_size)
        check_positive("learning_rate", self.learning_rate)
        check_not_negative("ent_coef", self.ent_coef)
        check_not_negative("l2", self.l2)
        check_choice("fit_std", self.fit_std, (True, False))
        if self.patience is not None:
            check_count("patience", self.patience)
        if self.max_grad_norm is not None:
            check_positive("max_grad_norm", self.max_grad_norm, or_infinite=True)


class LikelihoodFit:
    """Minimises `-log pi(a | s)` over the parameters of a policy.

    Args:
        policy: the policy; parameters and buffers of the critic alone do not change.
        settings: settings of the fit.
        observations: `[B, *obs_shape]`, as the policy's `predict` takes them.
        actions: `[B, ...]`, as its `evaluate_actions` takes them.
        training: `[K]` int64, training rows.
        held_out: `[H]` int64, held-out rows, possibly none.
        rng: generator of the minibatches.
        row_name: names a row in messages.

    Raises:
        NonFiniteError: (a ValueError) if a weight is NaN, or if the policy's output is
            not finite for an observation that is not finite.
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        settings: FitSettings,
        observations: Observation,
        actions: NDArray[Any],
        training: Index,
        held_out: Index,
        rng: np.random.Generator,
        row_name: RowName = row_name,
    ) -> None:
        self._policy, self._settings = policy, settings
        self._observations = observations
        categorical = isinstance(
            policy.action_space, spaces.Discrete | spaces.MultiDiscrete
        )
        self._actions = torch.as_tensor(
            actions, dtype=torch.int64 if categorical else torch.float32
        )
        self._training, self._held_out = training, held_out
        self._rng, self._row_name = rng, row_name
        log_std = getattr(policy, "log_std", None)
        weights = [p for p in policy.parameters() if p is not log_std]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": settings.l2}
        ]
        if settings.fit_std and log_std is not None:
            groups.append({"params": [log_std], "weight_decay": 0.0})
        # Adam skips the critic's parameters, which have no gradient.
        self._parameters = [p for group in groups for p in group["params"]]
        self._optimizer = torch.optim.Adam(groups, lr=settings.learning_rate)
        self._initial = copy_weights(policy)
        self._check_initial()
        self._critic_modules = _critic_modules(policy, self._batch(training[:1])[0])

    def run(self, progress_bar: bool) -> CloningResult:
        """Fits the policy, and leaves it with the best weights.

        Ctrl-C ends the fit; the current epoch is discarded.

        Raises:
            NonFiniteError: (a ValueError) if the loss, the gradient or a weight becomes
                NaN or infinite. The weights are then invalid.
        """
        settings = self._settings
        training_losses: list[float] = []
        held_out_losses: list[float] = []
        best_epoch, best_weights = 0, self._initial
        stop_reason: StopReason = "n_epochs"
        with tqdm(
            total=settings.n_epochs,
            desc="cloning",
            unit=" epochs",
            dynamic_ncols=True,
            disable=not progress_bar,
        ) as bar:
            try:
                if len(self._held_out) > 0:
                    held_out_losses.append(self._held_out_loss(0))
                for epoch in range(1, settings.n_epochs + 1):
                    training_loss = self._train_epoch(epoch)
                    description = f"loss {training_loss:.4g}"
                    improved = True
                    if len(self._held_out) > 0:
                        held_out_loss = self._held_out_loss(epoch)
                        description += f", held out {held_out_loss:.4g}"
                        improved = held_out_loss < min(held_out_losses)
                        held_out_losses.append(held_out_loss)
                    training_losses.append(training_loss)
                    if improved:
                        best_epoch, best_weights = epoch, copy_weights(self._policy)
                    bar.set_postfix_str(description, refresh=False)
                    bar.update()
                    patience = settings.patience
                    if patience is not None and epoch - best_epoch >= patience:
                        stop_reason = "patience"
                        break
            except KeyboardInterrupt:
                stop_reason = "interrupted"
        self._policy.load_state_dict(best_weights)
        return CloningResult(
            tuple(training_losses), tuple(held_out_losses), best_epoch, stop_reason
        )

    def _train_epoch(self, epoch: int) -> float:
        """Trains once on every row, and returns the mean loss."""
        self._policy.set_training_mode(True)
        for module in self._critic_modules:
            # Keeps the running statistics of the critic's batch norm.
            module.training = False
        n = len(self._training)
        total = 0.0
        # Batches of nearly equal size: batch norm cannot take a single row.
        n_batches = math.ceil(n / self._settings.batch_size)
        for rows in np.array_split(self._rng.permutation(self._training), n_batches):
            total += self._update(rows, epoch) * len(rows)
        for name, weight in self._policy.named_parameters():
            # Infinite weights are accepted if they were infinite before.
            if not (weight.isfinite() | ~self._initial[name].isfinite()).all():
                raise self._error(f"the weight {name} became NaN or infinite", epoch)
        return total / n

    def _update(self, rows: Index, epoch: int) -> float:
        """Takes one optimiser step, and returns the loss before it."""
        settings, policy = self._settings, self._policy
        log_prob, entropy = self._evaluate(rows, epoch)
        loss = objective = -log_prob.mean()
        scalars = {"loss": loss}
        if settings.ent_coef > 0:
            assert entropy is not None, "clone_behaviour rejects squashed policies"
            objective = loss - settings.ent_coef * entropy.mean()
            scalars["loss with entropy bonus"] = objective
        self._optimizer.zero_grad()
        objective.backward()
        if settings.max_grad_norm is not None:
            # Without clipping, an infinite gradient shows in the weights.
            scalars["norm of the gradient"] = nn.utils.clip_grad_norm_(
                self._parameters, settings.max_grad_norm
            )
        self._optimizer.step()
        if isinstance(policy, TabularPolicy):
            with torch.no_grad():
                table = policy.action_net.weight
                table.clamp_(-policy.max_logit, policy.max_logit)
        # One transfer from the GPU for all of them.
        values = torch.stack([*scalars.values()]).detach().double().tolist()
        for name, value in zip(scalars, values, strict=True):
            if not math.isfinite(value):
                raise self._error(f"the {name} became {value}", epoch)
        return float(values[0])

    @torch.no_grad()
    def _held_out_loss(self, epoch: int) -> float:
        self._policy.set_training_mode(False)
        n, size = len(self._held_out), self._settings.batch_size
        total = 0.0
        for start in range(0, n, size):
            log_prob, _ = self._evaluate(self._held_out[start : start + size], epoch)
            total -= log_prob.double().sum().item()
        if not math.isfinite(total):
            raise self._error(f"the held-out loss became {total}", epoch)
        return total / n

    def _evaluate(self, rows: Index, epoch: int) -> tuple[Tensor, Tensor | None]:
        """Returns `log pi(a | s)` and the entropy of rows, `[b]` each."""
        try:
            _, log_prob, entropy = self._policy.evaluate_actions(*self._batch(rows))
        except ValueError as error:
            if not _is_invalid_distribution(error):
                raise
            reason = str(error).partition("\n")[0]
            raise self._error(
                f"the policy has no valid distribution ({reason})", epoch
            ) from error
        return log_prob, entropy

    def _check_initial(self) -> None:
        """Raises a NonFiniteError if weights or observations cannot be used.

        Observations that are not finite are valid if the features extractor handles
        them: log-probabilities and gradients are then finite.
        """
        for name, weight in self._policy.named_parameters():
            if weight.isnan().any():
                raise NonFiniteError(f"the weight {name} of the model is NaN")
        rows = np.flatnonzero(~_finite_rows(self._observations))
        if len(rows) > 0 and not self._is_finite(rows):
            raise NonFiniteError(
                "the policy's output is not finite for an observation that is not "
                f"finite: the first is {self._describe(self._first_bad(rows))}. Check "
                "the environment, or use a features extractor that accepts such "
                "observations"
            )

    @torch.enable_grad()
    def _is_finite(self, rows: Any) -> bool:  # noqa: ANN401
        """Whether log-probabilities and gradients of rows are finite."""
        self._policy.set_training_mode(False)
        for start in range(0, len(rows), self._settings.batch_size):
            batch = np.asarray(rows[start : start + self._settings.batch_size])
            self._optimizer.zero_grad()
            try:
                _, log_prob, _ = self._policy.evaluate_actions(*self._batch(batch))
            except ValueError as error:
                if not _is_invalid_distribution(error):
                    raise
                return False
            log_prob.mean().backward()
            gradients = [p.grad for p in self._parameters if p.grad is not None]
            if not all(bool(x.isfinite().all()) for x in (log_prob, *gradients)):
                return False
        self._optimizer.zero_grad()
        return True

    def _first_bad(self, rows: Index) -> int:
        return int(next((i for i in rows if not self._is_finite([i])), rows[0]))

    def _error(self, message: str, epoch: int) -> NonFiniteError:
        """Returns an error that names the cause: a row, or the learning rate."""
        self._policy.load_state_dict(self._initial)
        rows = np.sort(np.concatenate([self._training, self._held_out]))
        if not self._is_finite(rows):
            return NonFiniteError(
                f"{message} in epoch {epoch}: log pi(a|s) or its gradient is not "
                "finite with the initial weights. The first such action is "
                f"{self._describe(self._first_bad(rows))}. Check the magnitude of the "
                "observation, and whether the policy can take the action"
            )
        return NonFiniteError(
            f"{message} in epoch {epoch}: "
            f"learning_rate={self._settings.learning_rate} may be too large"
        )

    def _describe(self, row: int) -> str:
        obs, action = select(self._observations, row), self._actions[row].tolist()
        return f"{self._row_name(row)}: the policy's input is {obs}, action {action}"

    def _batch(self, rows: Index) -> tuple[Any, Tensor]:
        """Returns observations and actions of rows, on the policy's device."""
        obs, _ = self._policy.obs_to_tensor(select(self._observations, rows))
        return obs, self._actions[torch.as_tensor(rows)].to(self._policy.device)


def copy_weights(policy: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of parameters and buffers, for `load_state_dict`."""
    return {name: value.clone() for name, value in policy.state_dict().items()}


def _finite_rows(observations: Observation) -> NDArray[np.bool_]:
    """Returns which of B observations are finite in float32, `[B]` bool."""
    finite = np.ones(count(observations), dtype=np.bool_)
    parts = observations.values() if isinstance(observations, dict) else [observations]
    for part in parts:
        if part.dtype.kind == "f":
            with np.errstate(over="ignore"):
                single = part.astype(np.float32, copy=False)
            finite &= np.isfinite(single).reshape(len(part), -1).all(1)
    return finite


def _is_invalid_distribution(error: ValueError) -> bool:
    """Whether torch.distributions rejected parameters, such as NaN."""
    return "Expected parameter" in str(error)


def _critic_modules(
    policy: ActorCriticPolicy,
    observations: Any,  # noqa: ANN401
) -> list[nn.Module]:
    """Returns the modules that are called for values, but not for actions."""
    policy.set_training_mode(False)
    for_values = _called(policy, lambda: policy.predict_values(observations))
    for_actions = _called(policy, lambda: policy.get_distribution(observations))
    return [module for module in for_values if module not in for_actions]


def _called(policy: nn.Module, function: Callable[[], object]) -> list[nn.Module]:
    called: list[nn.Module] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _: called.append(module))
        for module in policy.modules()
    ]
    try:
        with torch.no_grad():
            function()
    finally:
        for hook in hooks:
            hook.remove()
    return called
