"""Fits a policy to actions: the loop behind `clone_behaviour`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Never

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn
from tqdm import tqdm

from pg_agents.arguments.checks import (
    check_bool,
    check_count,
    check_not_negative,
    check_positive,
)
from pg_agents.observations import Observation, select
from pg_agents.tabular_policy import TabularPolicy

if TYPE_CHECKING:
    Bar = tqdm[Never]  # tqdm is generic for the type checker alone

StopReason = Literal["n_epochs", "patience", "interrupted"]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class CloningResult:
    """How the fitting of a policy went. E epochs were completed.

    Losses are means of `-log pi(a | s)` over actions, in nats.

    Attributes:
        training_losses: E numbers: mean over the actions fitted to, each as it was
            learnt from in that epoch.
        held_out_losses: E + 1 numbers: mean over the held-out actions after so many
            epochs; the first is the policy as it was given. Empty if none are held out.
        best_epoch: epochs after which the policy had the weights that it has now: the
            index of the smallest held-out loss, E if none are held out.
        stop_reason: `"n_epochs"`: all epochs done; `"patience"`: the held-out loss had
            stopped falling; `"interrupted"`: by Ctrl-C.
    """

    training_losses: tuple[float, ...]
    held_out_losses: tuple[float, ...]
    best_epoch: int
    stop_reason: StopReason

    @property
    def stopped_early(self) -> bool:
        """Whether it ended because the held-out loss had stopped falling."""
        return self.stop_reason == "patience"


@dataclass(frozen=True)
class FitSettings:
    """How to fit; each is an argument of `clone_behaviour`."""

    n_epochs: int
    batch_size: int
    learning_rate: float
    ent_coef: float
    l2: float
    fit_std: bool
    patience: int | None
    max_grad_norm: float | None

    def __post_init__(self) -> None:
        """Raises a ValueError naming the first argument that is out of range."""
        check_count("n_epochs", self.n_epochs)
        check_count("batch_size", self.batch_size)
        check_positive("learning_rate", self.learning_rate)
        check_not_negative("ent_coef", self.ent_coef)
        check_not_negative("l2", self.l2)
        check_bool("fit_std", self.fit_std)
        if self.patience is not None:
            check_count("patience", self.patience)
        if self.max_grad_norm is not None:
            check_positive("max_grad_norm", self.max_grad_norm)


class LikelihoodFit:
    """Minimises `-log pi(a | s)` over the parameters that pi depends on.

    Args:
        policy: the policy; what only its critic uses stays as it is.
        settings: how to fit.
        observations: `[B, *obs_shape]`, as the policy's `predict` takes them.
        actions: `[B, ...]`, as its `evaluate_actions` takes them.
        training: `[K]` int64, rows to fit to.
        held_out: `[H]` int64, rows to judge by; may be empty.
        rng: draws the minibatches.
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
    ) -> None:
        self._policy = policy
        self._settings = settings
        self._observations = observations
        discrete = isinstance(policy.action_space, spaces.Discrete)
        whole = discrete or isinstance(policy.action_space, spaces.MultiDiscrete)
        # A Bernoulli distribution takes floats, a categorical one whole numbers.
        self._actions = torch.as_tensor(
            actions, dtype=torch.int64 if whole else torch.float32
        )
        self._training = training
        self._held_out = held_out
        self._rng = rng
        self._parameters, self._optimizer = self._build_optimizer()
        some = self._batch(training[:1])[0]
        self._critic_only = _modules_of_the_critic(policy, some)
        self._training_losses: list[float] = []
        self._held_out_losses: list[float] = []
        # After how many epochs, and the weights then.
        self._best = 0, copy_weights(policy)

    def _build_optimizer(self) -> tuple[list[nn.Parameter], torch.optim.Adam]:
        policy, settings = self._policy, self._settings
        log_std = getattr(policy, "log_std", None)
        # Those without a gradient, the critic's, are passed over by the optimiser.
        weights = [
            p for p in policy.parameters() if p.requires_grad and p is not log_std
        ]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": settings.l2}
        ]
        if settings.fit_std and log_std is not None and log_std.requires_grad:
            groups.append({"params": [log_std], "weight_decay": 0.0})
        optimizer = torch.optim.Adam(groups, lr=settings.learning_rate)
        if isinstance(policy, TabularPolicy):
            optimizer.register_step_post_hook(policy._clamp)
        return [p for group in groups for p in group["params"]], optimizer

    def run(self, progress_bar: bool) -> CloningResult:
        """Fits, and leaves the policy with the best weights.

        Ctrl-C ends it like the last epoch, an epoch under way left out.

        Raises:
            ValueError: if the loss becomes NaN or infinite.
        """
        reason: StopReason = "interrupted"
        bar = tqdm(
            total=self._settings.n_epochs,
            desc="cloning",
            unit=" epochs",
            dynamic_ncols=True,
            disable=not progress_bar,
        )
        try:
            with bar:
                reason = self._run_epochs(bar)
        except KeyboardInterrupt:
            pass
        best_epoch, best_weights = self._best
        self._policy.load_state_dict(best_weights)
        return CloningResult(
            tuple(self._training_losses),
            tuple(self._held_out_losses),
            best_epoch,
            reason,
        )

    def _run_epochs(self, bar: Bar) -> StopReason:
        if len(self._held_out) > 0:
            self._held_out_losses.append(self._held_out_loss())
        for epoch in range(1, self._settings.n_epochs + 1):
            training_loss = self._epoch(epoch)
            described = f"loss {training_loss:.4g}"
            is_best = True
            if len(self._held_out) > 0:
                held_out_loss = self._held_out_loss()
                described += f", held out {held_out_loss:.4g}"
                is_best = held_out_loss < min(self._held_out_losses)
                self._held_out_losses.append(held_out_loss)
            self._training_losses.append(training_loss)
            if is_best:
                self._best = epoch, copy_weights(self._policy)
            bar.set_postfix_str(described, refresh=False)
            bar.update()
            patience = self._settings.patience
            if patience is not None and epoch - self._best[0] >= patience:
                return "patience"
        return "n_epochs"

    def _epoch(self, epoch: int) -> float:
        """Learns once from every row; returns the mean loss."""
        self._policy.set_training_mode(True)
        for module in self._critic_only:
            # Or else batch norm would count the batches in.
            module.training = False
        n = len(self._training)
        total = torch.zeros((), dtype=torch.float64)
        # Nearly equal batches: batch norm can't take a remainder of one row.
        n_batches = math.ceil(n / self._settings.batch_size)
        for rows in np.array_split(self._rng.permutation(self._training), n_batches):
            total += self._update(rows) * len(rows)
        loss = total.item() / n
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss became {loss} in epoch {epoch}: "
                f"learning_rate={self._settings.learning_rate} may be too large"
            )
        return loss

    def _update(self, rows: Index) -> Tensor:
        """Takes one step of the optimiser; returns the loss before it."""
        log_prob, entropy = self._evaluate(rows)
        loss = -log_prob.mean()
        objective = loss
        if self._settings.ent_coef > 0:
            assert entropy is not None, "clone_behaviour refuses squashed policies"
            objective = loss - self._settings.ent_coef * entropy.mean()
        self._optimizer.zero_grad()
        objective.backward()
        if self._settings.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._settings.max_grad_norm)
        self._optimizer.step()
        return loss.detach().double().cpu()

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        self._policy.set_training_mode(False)
        n = len(self._held_out)
        total = 0.0
        for start in range(0, n, self._settings.batch_size):
            rows = self._held_out[start : start + self._settings.batch_size]
            total -= self._evaluate(rows)[0].double().sum().item()
        return total / n

    def _evaluate(self, rows: Index) -> tuple[Tensor, Tensor | None]:
        """Returns `log pi(a | s)` and the entropy, `[b]` each, of some rows."""
        try:
            _, log_prob, entropy = self._policy.evaluate_actions(*self._batch(rows))
        except ValueError as error:
            # torch refuses distributions of NaN.
            raise ValueError(
                "the policy gives no probabilities any more; "
                f"learning_rate={self._settings.learning_rate} may be too large: "
                f"{error}"
            ) from error
        return log_prob, entropy

    def _batch(self, rows: Index) -> tuple[Any, Tensor]:
        """Returns observations and actions of some rows, on the policy's device."""
        seen, _ = self._policy.obs_to_tensor(select(self._observations, rows))
        return seen, self._actions[torch.as_tensor(rows)].to(self._policy.device)


def copy_weights(policy: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of a policy's parameters and buffers, for `load_state_dict`."""
    return {name: value.clone() for name, value in policy.state_dict().items()}


def _modules_of_the_critic(
    policy: ActorCriticPolicy, observations: PyTorchObs
) -> list[nn.Module]:
    """Returns the modules that run for the value and not for the action."""
    policy.set_training_mode(False)
    for_value = _modules_run(policy, lambda: policy.predict_values(observations))
    for_action = _modules_run(policy, lambda: policy.get_distribution(observations))
    return [module for module in for_value if module not in for_action]


def _modules_run(policy: nn.Module, ask: Callable[[], object]) -> list[nn.Module]:
    run: list[nn.Module] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _: run.append(module))
        for module in policy.modules()
    ]
    try:
        with torch.no_grad():
            ask()
    finally:
        for hook in hooks:
            hook.remove()
    return run
