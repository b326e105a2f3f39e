"""Measures the gradient that a model's `train()` computes, on a copy of the model."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor, nn

from pg_agents.checker.diagnosis import critic_candidates
from pg_agents.checker.episodes import sample_episodes
from pg_agents.checker.estimators import (
    Sample,
    control_variates,
    sample_is_sufficient,
)
from pg_agents.checker.geometry import CannotCheckError, Geometry, make_geometry
from pg_agents.checker.measurement import Measurement, PolicyPerturbation
from pg_agents.checker.recorder import GradientRecorder, record_gradients
from pg_agents.checker.report import Progress
from pg_agents.checker.statistics import MAX_TESTED_DIRECTIONS, GradientSeries
from pg_agents.checker.task import Array, Task
from pg_agents.checkpoint.finite_check import nonfinite_in
from pg_agents.common.nonfinite import NonFiniteError
from pg_agents.vec_env.adapter import as_vec_env
from pg_envs import TabularEnv, TabularVectorEnv, oracle

# Rollouts of a fixed number of steps form a chain. It is cut into groups of this many
# mean episode lengths, which are treated as independent.
_EPISODES_PER_GROUP = 5
_MIN_SAMPLES = 64
# Default sample size; at about a thousand steps a second.
_N_EPISODES = 2_048
_N_STEPS = 50_000


def measure_model(
    model: OnPolicyAlgorithm,
    task: Task,
    n_episodes: int | None,
    seed: int,
    exact_critic: bool,
    progress: Progress,
) -> Measurement:
    """Runs rollouts and updates of a copy of a model, and records the gradients.

    Args:
        model: the subject; it is not changed.
        task: MDP and objective.
        n_episodes: approximate number of episodes; None for 2,048, or fewer if they are
            long.
        seed: seed of all random numbers.
        exact_critic: whether the exact values replace the model's critic.
        progress: progress bar.

    Raises:
        CannotCheckError: if the model does not fit the task, or has no gradient.
    """
    with preserve_random_state():
        env = _RecordingVectorEnv(task, model.n_envs)
        copy = _copy_model(model, env, seed)
        log_probs = _log_probs_function(copy, task)
        parameters = _actor_parameters(copy, log_probs)
        geometry = make_geometry(task, log_probs, parameters)
        if exact_critic:
            _install_exact_critic(copy, task, geometry.policy)
        plan = _plan(copy, task, geometry, n_episodes)
        perturbation = PolicyPerturbation(parameters, log_probs, seed)
        progress.start(plan.n_episodes)
        centred_q = _centred_q_scores(task, geometry)
        with record_gradients(parameters) as recorder:
            _record_trust_region(copy, recorder)
            rounds = _GradientCallback(
                env, geometry, centred_q, recorder, perturbation, plan, progress
            )
            # More steps than needed: the callback stops the training.
            try:
                copy.learn(10**12, callback=rounds, log_interval=None)  # type: ignore[arg-type]
            except NonFiniteError as error:
                raise CannotCheckError(
                    f"the model's loss or gradient is NaN or infinite: {error}"
                ) from error
        gradients, controls = np.array(rounds.gradients), np.array(rounds.controls)
        n, unit = plan.n_rounds, plan.steps_per_unit
        after = slice(n + 1, None, 2)
        return Measurement(
            task,
            geometry,
            GradientSeries(gradients[:n], controls[:n], plan.n_groups),
            GradientSeries(gradients[after], controls[after])
            if plan.n_perturbed
            else None,
            plan.episodes_per_round,
            model.n_envs,
            unit,
            geometry.out_of_span_norm(rounds.total / n) * (unit or 1.0),
            tuple(
                critic_candidates(copy, task, geometry, centred_q, exact_critic, seed)
            ),
            _notes(copy, recorder),
            _sample_is_sufficient(task, geometry, plan.n_episodes, seed),
        )


@dataclass(frozen=True)
class _RolloutPlan:
    """How many rollouts are sampled.

    Attributes:
        n_rounds: rollouts with the unperturbed policy.
        n_perturbed: pairs of rollouts, the first of each with a perturbed policy.
        episodes_per_round: mean number of episodes per rollout.
        n_groups: number of groups of rollouts that are treated as independent; None if
            rollouts are independent.
        steps_per_unit: mean episode length if the model averages over steps.
    """

    n_rounds: int
    n_perturbed: int
    episodes_per_round: float
    n_groups: int | None
    steps_per_unit: float | None

    @property
    def n_rollouts(self) -> int:
        """Total number of rollouts."""
        return self.n_rounds + 2 * self.n_perturbed

    @property
    def n_episodes(self) -> int:
        """Approximate total number of episodes."""
        return int(self.n_rollouts * self.episodes_per_round)


def _plan(
    copy: OnPolicyAlgorithm, task: Task, geometry: Geometry, n_episodes: int | None
) -> _RolloutPlan:
    length = task.mean_length(geometry.policy)
    if n_episodes is None:
        n_episodes = min(_N_EPISODES, math.ceil(_N_STEPS / length))
    episodes_per_env = getattr(copy, "n_episodes", None)
    if episodes_per_env is not None:
        per_round = float(copy.n_envs * episodes_per_env)
        n_rounds = max(_MIN_SAMPLES, math.ceil(n_episodes / per_round))
        n_perturbed = max(_MIN_SAMPLES, n_rounds // 4)
        return _RolloutPlan(n_rounds, n_perturbed, per_round, None, None)
    per_round = copy.n_envs * copy.n_steps / length
    group_size = max(1, math.ceil(_EPISODES_PER_GROUP * length / copy.n_steps))
    n_rounds = max(_MIN_SAMPLES * group_size, math.ceil(n_episodes / per_round))
    # No perturbation: episodes continue across rollouts, so a perturbed policy also
    # changes the states in which the next rollout starts.
    return _RolloutPlan(n_rounds, 0, per_round, n_rounds // group_size, length)


def _sample_is_sufficient(task: Task, geometry: Geometry, n: int, seed: int) -> bool:
    rng = np.random.default_rng([seed, 3])
    steps = sample_episodes(task, geometry.policy, max(n, _MIN_SAMPLES), rng)
    sample = Sample(steps, task, geometry.policy, batch_size=1, n_envs=1)
    controls = control_variates(sample, geometry.scores, geometry.exact)
    return sample_is_sufficient(controls, geometry.norm)


class _RecordingVectorEnv(gymnasium.vector.VectorWrapper[Any, Any, Any]):
    """Vector environment of a task that records states and actions.

    Attributes:
        transitions: states and actions `[N]` of each step since the list was cleared.
    """

    def __init__(self, task: Task, n_envs: int) -> None:
        self.tabular = TabularVectorEnv(
            TabularEnv(task.mdp), n_envs, task.horizon, autoreset_mode="SameStep"
        )
        super().__init__(self.tabular)
        self.transitions: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def step(self, actions: Any) -> Any:  # noqa: ANN401
        """Records states and actions, and steps the environments."""
        self.transitions.append((self.tabular.state, np.array(actions)))
        return super().step(actions)


class _GradientCallback(BaseCallback):
    """Collects the gradient of every rollout, and stops after the last one.

    Attributes:
        gradients: coordinates `[D]` of the gradient of each rollout.
        controls: control variates of each rollout.
        total: `[P]`, sum of the gradients of the unperturbed rollouts.
    """

    total: Tensor

    def __init__(
        self,
        env: _RecordingVectorEnv,
        geometry: Geometry,
        centred_q: Array,
        recorder: GradientRecorder,
        perturbation: PolicyPerturbation,
        plan: _RolloutPlan,
        progress: Progress,
    ) -> None:
        super().__init__()
        self._env, self._geometry, self._recorder = env, geometry, recorder
        self._perturbation, self._plan, self._progress = perturbation, plan, progress
        self._centred_q = centred_q
        self.gradients: list[Array] = []
        self.controls: list[Array] = []
        self._n_started = 0

    def _on_rollout_start(self) -> None:
        if self._n_started:
            self._end_round()
        self._n_started += 1
        # After the unperturbed rollouts every other one is perturbed.
        n_after = self._n_started - self._plan.n_rounds
        if n_after > 0 and n_after % 2 == 1:
            self._perturbation.__enter__()
        self._env.transitions.clear()

    def _on_step(self) -> bool:
        return self._n_started <= self._plan.n_rollouts

    def _end_round(self) -> None:
        self._perturbation.__exit__()
        gradient = self._recorder.pop_mean()
        if gradient is None:
            raise CannotCheckError(
                "train() gave no optimiser a gradient for the policy's parameters. "
                "Is the loss detached, or is optimizer.step() never called?"
            )
        if not torch.isfinite(gradient).all():
            raise CannotCheckError(
                f"the gradient of rollout {self._n_started} is NaN or infinite"
            )
        ascent = -gradient.double()
        if self._n_started == 1:
            self.total = ascent
        elif self._n_started <= self._plan.n_rounds:
            self.total = self.total + ascent
        self.gradients.append(self._geometry.coordinates(ascent))
        self.controls.append(self._control_variates())
        per_round, n = self._plan.episodes_per_round, self._n_started
        self._progress.advance(int(n * per_round) - int((n - 1) * per_round))

    def _control_variates(self) -> Array:
        """Returns control variates of the rollout, with mean 0, `[2 min(D, 8)]`.

        They are the mean of the scores, and of the scores times the centred action
        values: both have conditional mean 0 in every state.
        """
        state = np.concatenate([s for s, _ in self._env.transitions])
        action = np.concatenate([a.ravel() for _, a in self._env.transitions])
        scores, centred_q = (
            table[state, action, :MAX_TESTED_DIRECTIONS].mean(axis=0)
            for table in (self._geometry.scores, self._centred_q)
        )
        return np.concatenate([scores, centred_q])


def _centred_q_scores(task: Task, geometry: Geometry) -> Array:
    """Returns `Q(s, a) score(s, a)` minus its mean over actions, `[S, A, D]`."""
    horizon = None if task.bootstrap else task.horizon
    q_values = oracle.action_values(task.mdp, geometry.policy, task.gamma, horizon)
    weighted = q_values[..., None] * geometry.scores
    mean = np.einsum("sa,sad->sd", geometry.policy, weighted)
    centred: Array = weighted - mean[:, None]
    return centred


def _notes(copy: OnPolicyAlgorithm, recorder: GradientRecorder) -> tuple[str, ...]:
    # TRPO does not clip; its max_grad_norm is 0.
    if not copy.max_grad_norm or not recorder.norms:
        return ()
    # A clipped gradient has the maximum norm, up to rounding.
    n_clipped = sum(norm > 0.999 * copy.max_grad_norm for norm in recorder.norms)
    if n_clipped == 0:
        return ()
    return (
        f"in {n_clipped / len(recorder.norms):.0%} of the updates the gradient was "
        f"clipped to max_grad_norm={copy.max_grad_norm:g} (the norm over all "
        "parameters of the optimiser); clipping is part of the measured gradient",
    )


def _copy_model(
    model: OnPolicyAlgorithm, env: _RecordingVectorEnv, seed: int
) -> OnPolicyAlgorithm:
    """Returns a copy on the CPU that acts in `env` and does not log.

    Raises:
        CannotCheckError: if the spaces differ, or a weight is NaN or infinite.
    """
    for name, space, env_space in (
        ("observation", model.observation_space, env.single_observation_space),
        ("action", model.action_space, env.single_action_space),
    ):
        if space != env_space:
            raise CannotCheckError(
                f"the model's {name} space {space} is not that of the environment, "
                f"{env_space}: check it in an environment with its spaces"
            )
    nonfinite = nonfinite_in(model)
    if nonfinite is not None:
        raise CannotCheckError(f"the model has no gradient to check: {nonfinite}")
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    copy = type(model).load(file, env=as_vec_env(env), device="cpu")
    copy.verbose, copy.tensorboard_log = 0, None
    copy.set_logger(Logger(folder=None, output_formats=[]))
    copy.set_random_seed(seed)
    if hasattr(copy, "n_epochs"):
        # The parameters do not change, so all epochs are equal.
        copy.n_epochs = 1
    return copy


def _log_probs_function(copy: OnPolicyAlgorithm, task: Task) -> Callable[[], Tensor]:
    """Returns the function that computes log pi(a|s), `[S, A]`, differentiably.

    Raises:
        CannotCheckError: if the policy has no `get_distribution`.
    """
    if not hasattr(copy.policy, "get_distribution"):
        raise CannotCheckError(
            f"{type(copy).__name__}'s policy has no get_distribution(), from which the "
            "action probabilities are read: it must be an ActorCriticPolicy"
        )
    observations, _ = copy.policy.obs_to_tensor(np.array(task.mdp.observations))

    def log_probs() -> Tensor:
        copy.policy.set_training_mode(False)
        distribution: Any = copy.policy.get_distribution(observations)
        logits: Tensor = distribution.distribution.logits
        return logits

    return log_probs


def _actor_parameters(
    copy: OnPolicyAlgorithm, log_probs: Callable[[], Tensor]
) -> list[nn.Parameter]:
    """Returns the parameters that the action probabilities depend on.

    Raises:
        CannotCheckError: if there are none.
    """
    parameters = [p for p in copy.policy.parameters() if p.requires_grad]
    table = log_probs()
    if not table.requires_grad:
        raise CannotCheckError(
            f"{type(copy).__name__} has no parameters that its policy depends on"
        )
    gradients = torch.autograd.grad(table.sum(), parameters, allow_unused=True)
    return [p for p, g in zip(parameters, gradients, strict=True) if g is not None]


def _record_trust_region(copy: Any, recorder: GradientRecorder) -> None:  # noqa: ANN401
    """Records the policy gradient of TRPO, which does not pass through an optimiser.

    TRPO computes the gradient of the surrogate objective and converts it to the natural
    gradient; the former is compared.
    """
    compute = getattr(copy, "_compute_actor_grad", None)
    if compute is None:
        return

    def compute_and_record(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        parameters, gradient, *rest = compute(*args, **kwargs)
        parts = gradient.detach().split([p.numel() for p in parameters])
        recorder.add(parameters, [-part for part in parts])
        return parameters, gradient, *rest

    copy._compute_actor_grad = compute_and_record


def _install_exact_critic(copy: Any, task: Task, policy: Array) -> None:  # noqa: ANN401
    """Makes the copy's policy return the exact values."""
    observations = torch.tensor(task.mdp.observations)
    if len(torch.unique(observations, dim=0)) < len(observations):
        raise CannotCheckError(
            "critic='exact' needs a different observation in every state, since values "
            "depend on the state"
        )
    values = torch.as_tensor(task.values(policy)[0]).float()
    table = observations.reshape(len(observations), -1)

    def exact_values(obs: Tensor) -> Tensor:
        matches = (obs.reshape(len(obs), 1, -1).to(table.dtype) == table).all(-1)
        return values[matches.float().argmax(-1)][:, None]

    forward, predict_values = copy.policy.forward, copy.policy.predict_values

    def exact_unless_training(obs: Tensor) -> Tensor:
        # TRPO's critic loss calls it with gradients enabled, and needs one.
        return predict_values(obs) if torch.is_grad_enabled() else exact_values(obs)

    def forward_with_exact_values(
        obs: Tensor, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        actions, _, log_probs = forward(obs, deterministic)
        return actions, exact_values(obs), log_probs

    copy.policy.forward = forward_with_exact_values
    copy.policy.predict_values = exact_unless_training


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restores the global random states of Python, NumPy and torch at the end."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
