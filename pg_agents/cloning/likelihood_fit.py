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

from pg_agents.cloning.space_arrays import Place, row_number
from pg_agents.common.checks import (
    check_bool,
    check_count,
    check_not_negative,
    check_positive,
)
from pg_agents.common.nonfinite import NonFiniteError
from pg_agents.common.tree import Observation, count, select
from pg_agents.policies.tabular import TabularPolicy

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
            check_positive("max_grad_norm", self.max_grad_norm, or_infinite=True)


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
        place: what messages call a row.

    Raises:
        NonFiniteError: (a ValueError) if the weights hold NaN, or the policy can't do
            with an observation that is not finite.
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
        place: Place = row_number,
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
        self._place = place
        self._parameters, self._optimizer = self._build_optimizer()
        self._initial = copy_weights(policy)
        self._check_before()
        some = self._batch(training[:1])[0]
        self._critic_only = _modules_of_the_critic(policy, some)
        self._training_losses: list[float] = []
        self._held_out_losses: list[float] = []
        # After how many epochs, and the weights then.
        self._best = 0, self._initial

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
            NonFiniteError: (a ValueError) if the loss, the gradient or a weight becomes
                NaN or infinite; the policy then has weights of no use.
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
            self._held_out_losses.append(self._held_out_loss(0))
        for epoch in range(1, self._settings.n_epochs + 1):
            training_loss = self._epoch(epoch)
            described = f"loss {training_loss:.4g}"
            is_best = True
            if len(self._held_out) > 0:
                held_out_loss = self._held_out_loss(epoch)
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
        total = 0.0
        # Nearly equal batches: batch norm can't take a remainder of one row.
        n_batches = math.ceil(n / self._settings.batch_size)
        for rows in np.array_split(self._rng.permutation(self._training), n_batches):
            total += self._update(rows, epoch) * len(rows)
        self._check_weights(epoch)
        return total / n

    def _update(self, rows: Index, epoch: int) -> float:
        """Takes one step of the optimiser; returns the loss before it."""
        log_prob, entropy = self._evaluate(rows, epoch)
        loss = objective = -log_prob.mean()
        numbers = {"loss": loss}
        if self._settings.ent_coef > 0:
            assert entropy is not None, "clone_behaviour refuses squashed policies"
            objective = loss - self._settings.ent_coef * entropy.mean()
            numbers["loss with its entropy"] = objective
        self._optimizer.zero_grad()
        objective.backward()
        if self._settings.max_grad_norm is not None:
            # Otherwise it shows in the weights, and in the next loss.
            numbers["norm of the gradient"] = nn.utils.clip_grad_norm_(
                self._parameters, self._settings.max_grad_norm
            )
        self._optimizer.step()
        # All at once: a GPU is waited for.
        found = torch.stack([*numbers.values()]).detach().double().tolist()
        for name, number in zip(numbers, found, strict=True):
            if not math.isfinite(number):
                raise self._error(f"the {name} became {number}", epoch)
        return float(found[0])

    @torch.no_grad()
    def _held_out_loss(self, epoch: int) -> float:
        self._policy.set_training_mode(False)
        n = len(self._held_out)
        total = 0.0
        for start in range(0, n, self._settings.batch_size):
            rows = self._held_out[start : start + self._settings.batch_size]
            total -= self._evaluate(rows, epoch)[0].double().sum().item()
        if not math.isfinite(total):
            raise self._error(f"the held-out loss became {total}", epoch)
        return total / n

    def _evaluate(self, rows: Index, epoch: int) -> tuple[Tensor, Tensor | None]:
        """Returns `log pi(a | s)` and the entropy, `[b]` each, of some rows."""
        try:
            _, log_prob, entropy = self._policy.evaluate_actions(*self._batch(rows))
        except ValueError as error:
            if not _is_of_a_distribution(error):
                raise
            raise self._error(
                f"the policy gives no probabilities any more, {_first_line(error)},",
                epoch,
            ) from error
        return log_prob, entropy

    def _check_before(self) -> None:
        """Raises where nothing can come of it, before anything is fitted.

        An observation that is not finite is no error by itself: a features extractor
        may know what to do with it. It shows in log-probability and gradient.
        """
        for name, weight in self._policy.named_parameters():
            if bool(weight.isnan().any()):
                raise NonFiniteError(
                    f"the weight {name} of the model is NaN before it is cloned: load "
                    "or make a sound one"
                )
        unusual = np.flatnonzero(~_finite_rows(self._observations))
        if len(unusual) > 0 and not self._are_good(unusual):
            row = next((i for i in unusual if not self._are_good([i])), unusual[0])
            raise NonFiniteError(
                "the policy can't do with an observation that is not finite: the first "
                f"is {self._shown(int(row))}. Look at what the environment returned, "
                "or give the policy a features extractor that takes such numbers"
            )

    @torch.enable_grad()
    def _are_good(self, rows: Any) -> bool:  # noqa: ANN401
        """Whether log-probabilities and gradient of rows are finite."""
        self._policy.set_training_mode(False)
        for start in range(0, len(rows), self._settings.batch_size):
            batch = np.asarray(rows[start : start + self._settings.batch_size])
            self._optimizer.zero_grad()
            try:
                _, log_prob, _ = self._policy.evaluate_actions(*self._batch(batch))
            except ValueError as error:
                if not _is_of_a_distribution(error):
                    raise
                return False
            log_prob.mean().backward()
            gradients = [p.grad for p in self._parameters if p.grad is not None]
            if not all(bool(x.isfinite().all()) for x in (log_prob, *gradients)):
                return False
        self._optimizer.zero_grad()
        return True

    def _check_weights(self, epoch: int) -> None:
        """Raises if a weight is not finite that was; -inf may stand for "never"."""
        for name, weight in self._policy.named_parameters():
            good = weight.isfinite() | ~self._initial[name].isfinite()
            if not bool(good.all()):
                raise self._error(f"the weight {name} is not finite any more", epoch)

    def _error(self, what: str, epoch: int) -> NonFiniteError:
        """Returns the error that says what is not finite, and what may be the cause."""
        self._policy.load_state_dict(self._initial)
        rows = np.sort(np.concatenate([self._training, self._held_out]))
        if not self._are_good(rows):
            row = next((i for i in rows if not self._are_good([i])), rows[0])
            return NonFiniteError(
                f"{what} in epoch {epoch}: log pi(a|s) or its gradient is not finite "
                "before anything is fitted. The first such action is "
                f"{self._shown(int(row))}. Look at the size of the observation, and "
                "whether the policy can take the action at all"
            )
        return NonFiniteError(
            f"{what} in epoch {epoch}: "
            f"learning_rate={self._settings.learning_rate} may be too large"
        )

    def _shown(self, row: int) -> str:
        seen = select(self._observations, row)
        action = self._actions[row].tolist()
        return f"{self._place(row)}: the policy sees {seen} and action {action}"

    def _batch(self, rows: Index) -> tuple[Any, Tensor]:
        """Returns observations and actions of some rows, on the policy's device."""
        seen, _ = self._policy.obs_to_tensor(select(self._observations, rows))
        return seen, self._actions[torch.as_tensor(rows)].to(self._policy.device)


def _finite_rows(observations: Observation) -> NDArray[np.bool_]:
    """Returns which of B observations are finite in single precision, `[B]` bool."""
    finite = np.ones(count(observations), dtype=np.bool_)
    parts = observations.values() if isinstance(observations, dict) else [observations]
    for part in parts:
        if part.dtype.kind == "f":
            with np.errstate(over="ignore"):
                single = part.astype(np.float32, copy=False)
            finite &= np.isfinite(single).reshape(len(part), -1).all(1)
    return finite


def _first_line(error: ValueError) -> str:
    return str(error).partition("\n")[0]


def _is_of_a_distribution(error: ValueError) -> bool:
    """Whether torch has refused to make a distribution of NaN or the like."""
    return "Expected parameter" in str(error)


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
