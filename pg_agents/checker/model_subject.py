"""Records and measures the gradient that a model's `train()` computes, on a copy."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor, nn

from pg_agents.checker.episodes import sample_episodes
from pg_agents.checker.estimators import (
    Sample,
    control_variates,
    sample_is_sufficient,
)
from pg_agents.checker.geometry import (
    CannotCheckError,
    Decoder,
    Geometry,
    check_uses_observations,
    make_geometry,
    normalized_policy,
)
from pg_agents.checker.perturbation import PolicyPerturbation, is_stateful
from pg_agents.checker.record import IntArray, Record, Transitions, Update
from pg_agents.checker.recorder import (
    GradientRecorder,
    RecordedStep,
    record_gradients,
)
from pg_agents.checker.report import Progress
from pg_agents.checker.statistics import MAX_TESTED_DIRECTIONS, GradientSeries
from pg_agents.checker.task import Array, Task
from pg_agents.checker.verdict import Measurement
from pg_agents.checkpoint.finite_check import nonfinite_in
from pg_agents.common.nonfinite import NonFiniteError
from pg_agents.vec_env.adapter import as_vec_env
from pg_envs import TabularEnv, TabularVectorEnv, oracle

# Rollouts of a fixed number of steps form a chain. It is cut into groups of this many
# mean episode lengths, which are treated as independent.
_EPISODES_PER_GROUP = 5
_MIN_SAMPLES = 64
# Default sample size of a mean; at about a thousand steps a second.
_N_EPISODES = 2_048
_N_STEPS = 50_000
# Steps, and fewest and most rollouts, that a formula is fitted to.
_N_RECORDED_STEPS, _MIN_RECORDED, _MAX_RECORDED = 1_000, 4, 200
# Updates of two rollouts that are enough: PPO has many in each.
_ENOUGH_UPDATES = 100


class ModelSubject:
    """A copy of a model that trains on one task.

    Args:
        model: the subject; it is not changed.
        task: MDP and objective.
        n_episodes: approximate number of episodes of a mean; None for 2,048, or fewer
            if they are long.
        seed: seed of all random numbers.
        exact_critic: whether the exact values replace the model's critic.

    Raises:
        CannotCheckError: if the model does not fit the task.
    """

    is_random = False

    def __init__(
        self,
        model: OnPolicyAlgorithm,
        task: Task,
        n_episodes: int | None,
        seed: int,
        exact_critic: bool,
    ) -> None:
        self.task, self._seed = task, seed
        self._env = _RecordingVectorEnv(task, model)
        self._copy = _copy_model(model, self._env, seed)
        self._observations = _checked_observations(self._copy, task)
        self._parameters = [
            p for p in self._copy.policy.parameters() if p.requires_grad
        ]
        log_probs = self._log_probs()
        if not log_probs.requires_grad:
            raise CannotCheckError(
                f"{type(model).__name__} has no parameters that its policy depends on"
            )
        policy = normalized_policy(log_probs)
        values = self._values()
        if exact_critic:
            _install_exact_critic(self._copy, task, policy)
        logits = log_probs - log_probs.mean(dim=-1, keepdim=True)
        self._decoder = Decoder(logits, self._parameters, values)
        check_uses_observations(policy, self._decoder, task)
        self.geometry = make_geometry(task, policy, self._decoder.basis)
        self._recorder = GradientRecorder(self._parameters)
        self._clipped_at = _switch_off_clipping(self._copy)
        _follow_mini_batches(self._copy, self._recorder)
        self._plan = _plan(self._copy, task, self.geometry, n_episodes)

    @property
    def n_recorded(self) -> int:
        """Approximate number of episodes that `record` samples."""
        return round(self._plan.n_recorded * self._plan.episodes_per_round)

    @property
    def n_measured(self) -> int:
        """Approximate number of episodes that `measure` samples."""
        plan = self._plan
        return round((plan.n_rounds + plan.n_perturbed) * plan.episodes_per_round)

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the report."""
        clipped_at = self._clipped_at
        if clipped_at is None or max(self._recorder.norms, default=0.0) <= clipped_at:
            return ()
        return (
            f"max_grad_norm={clipped_at:g} clips gradients (by the norm of all "
            "parameters of the optimiser); they are compared before clipping",
        )

    def record(self, progress: Progress) -> Record:
        """Trains for a few rollouts and decodes the gradient of each update."""
        rounds = self._train(self._plan.n_recorded, progress, enough=_ENOUGH_UPDATES)
        columns: list[_Rollout] = []
        updates, first = [], 0
        for rollout, steps in rounds:
            columns.append(rollout)
            last = first + len(rollout.state)
            for step in self._of_policy(steps):
                outputs, value, unexplained = self._decoder.decode(step.gradient)
                rows = None if step.rows is None else first + step.rows
                updates.append(Update(first, last, outputs, value, unexplained, rows))
            first = last
        return Record(
            self.task,
            self.geometry.policy,
            self._recorded_values(),
            _transitions(columns),
            tuple(updates),
            basis=self._decoder.basis,
            value_basis=self._decoder.value_basis,
        )

    def measure(self, progress: Progress, repeat: int = 0) -> Iterator[Measurement]:
        """Estimates the mean gradient, also after rollouts with a perturbed policy.

        Args:
            progress: progress bar.
            repeat: not used: the copy continues, so that each sample is independent.

        Yields:
            The measurement of the whole sample.
        """
        plan, geometry, task = self._plan, self.geometry, self.task
        centred_q = _centred_q_scores(task, geometry)
        gradients, controls = [], []
        for rollout, steps in self._train(plan.n_rounds, progress):
            gradients.append(self._coordinates(steps))
            controls.append(_control_variates(rollout, geometry, centred_q))
        series = GradientSeries(np.array(gradients), np.array(controls), plan.n_groups)
        stateful = False
        if plan.n_perturbed:
            after = self._series_after_perturbation(centred_q, progress)
            stateful = is_stateful(series.mean(), after.mean(), geometry.norm)
            # During training the policy has always just changed.
            series = after if stateful else series
        yield Measurement(
            task,
            series,
            geometry.exact,
            geometry.directions,
            geometry.exact_outputs,
            plan.episodes_per_round,
            plan.steps_per_unit,
            _sample_is_sufficient(task, geometry, plan, self._seed),
            stateful,
        )

    def _series_after_perturbation(
        self, centred_q: Array, progress: Progress
    ) -> GradientSeries:
        perturbation = PolicyPerturbation(self._parameters, self._log_probs, self._seed)
        gradients, controls = [], []
        rounds = self._train(2 * self._plan.n_perturbed, progress, perturbation)
        for i, (rollout, steps) in enumerate(rounds):
            if i % 2 == 1:
                gradients.append(self._coordinates(steps))
                controls.append(_control_variates(rollout, self.geometry, centred_q))
        return GradientSeries(np.array(gradients), np.array(controls))

    def _train(
        self,
        n_rounds: int,
        progress: Progress,
        perturbation: PolicyPerturbation | None = None,
        enough: float = math.inf,
    ) -> list[tuple[_Rollout, list[RecordedStep]]]:
        """Trains the copy, which does not change, for a number of rollouts.

        Args:
            n_rounds: number of rollouts.
            progress: progress bar.
            perturbation: of the policy in every other rollout.
            enough: number of updates after which two rollouts are enough.

        Returns:
            The transitions of each rollout, and the steps of its optimisers.
        """
        rounds = _Rounds(
            self._env,
            self._recorder,
            perturbation,
            self._parameters,
            n_rounds,
            self._plan,
            progress,
            enough,
        )
        with record_gradients(self._parameters, self._recorder):
            restore = _record_trust_region(self._copy, self._recorder)
            # More steps than needed: the callback stops the training.
            try:
                self._copy.learn(10**12, callback=rounds, log_interval=None)  # type: ignore[arg-type]
            except NonFiniteError as error:
                raise CannotCheckError(
                    f"the model's loss or gradient is NaN or infinite: {error}"
                ) from error
            finally:
                restore()
        return rounds.rounds

    def _of_policy(self, steps: list[RecordedStep]) -> list[RecordedStep]:
        """Returns the updates of the policy, without those of the critic alone."""
        n_outputs = self.geometry.policy.size
        used = np.abs(self._decoder.jacobian[:n_outputs]).max(axis=0) > 0.0
        mask = torch.as_tensor(used)
        return [s for s in steps if (s.gradient[mask] != 0.0).any()] or steps

    def _coordinates(self, steps: list[RecordedStep]) -> Array:
        """Returns the mean ascent direction of the updates of a rollout, `[D]`."""
        gradients = [step.gradient for step in self._of_policy(steps)]
        outputs, _, _ = self._decoder.decode(-torch.stack(gradients).mean(dim=0))
        return self.geometry.coordinates(outputs)

    def _log_probs(self) -> Tensor:
        """Returns log pi(a|s) of all states, `[S, A]`."""
        self._copy.policy.set_training_mode(False)
        distribution: Any = self._copy.policy.get_distribution(self._observations)
        logits: Tensor = distribution.distribution.logits
        return logits

    def _recorded_values(self) -> Array:
        """Returns the values that its rollouts have, `[S]` float64."""
        # Without gradients, as in a rollout, exact values take the critic's place.
        with torch.no_grad():
            values: Array = self._values().double().numpy()
        return values

    def _values(self) -> Tensor:
        """Returns the critic's values of all states, `[S]`."""
        values: Tensor = self._copy.policy.predict_values(self._observations)
        return values.flatten()


@dataclass(frozen=True)
class _RolloutPlan:
    """How many rollouts are sampled.

    Attributes:
        n_recorded: rollouts whose updates are recorded.
        n_rounds: rollouts of the mean.
        n_perturbed: pairs of rollouts, the first of each with a perturbed policy.
        episodes_per_round: mean number of episodes per rollout.
        n_groups: number of groups of rollouts that are treated as independent; None if
            rollouts are independent.
        steps_per_unit: mean episode length if the model averages over steps, else 1.
    """

    n_recorded: int
    n_rounds: int
    n_perturbed: int
    episodes_per_round: float
    n_groups: int | None
    steps_per_unit: float


def _plan(
    copy: OnPolicyAlgorithm, task: Task, geometry: Geometry, n_episodes: int | None
) -> _RolloutPlan:
    length = task.mean_length(geometry.policy)
    if n_episodes is None:
        n_episodes = min(_N_EPISODES, math.ceil(_N_STEPS / length))
    episodes_per_env = getattr(copy, "n_episodes", None)
    steps = copy.n_envs * (
        length * episodes_per_env if episodes_per_env else copy.n_steps
    )
    n_recorded = min(
        max(_MIN_RECORDED, math.ceil(_N_RECORDED_STEPS / steps)), _MAX_RECORDED
    )
    if episodes_per_env is not None:
        per_round = float(copy.n_envs * episodes_per_env)
        n_rounds = max(_MIN_SAMPLES, math.ceil(n_episodes / per_round))
        n_perturbed = max(_MIN_SAMPLES, n_rounds // 4)
        return _RolloutPlan(n_recorded, n_rounds, n_perturbed, per_round, None, 1.0)
    per_round = copy.n_envs * copy.n_steps / length
    group_size = max(1, math.ceil(_EPISODES_PER_GROUP * length / copy.n_steps))
    n_rounds = max(_MIN_SAMPLES * group_size, math.ceil(n_episodes / per_round))
    # No perturbation: episodes continue across rollouts, so a perturbed policy also
    # changes the states in which the next rollout starts.
    return _RolloutPlan(
        n_recorded, n_rounds, 0, per_round, n_rounds // group_size, length
    )


def _sample_is_sufficient(
    task: Task, geometry: Geometry, plan: _RolloutPlan, seed: int
) -> bool:
    rng = np.random.default_rng([seed, 3])
    n = max(round(plan.n_rounds * plan.episodes_per_round), _MIN_SAMPLES)
    steps = sample_episodes(task, geometry.policy, n, rng)
    sample = Sample(steps, task, geometry.policy, batch_size=1)
    controls = control_variates(sample, geometry.scores, geometry.exact)
    return sample_is_sufficient(controls, geometry.norm)


@dataclass(frozen=True)
class _Rollout:
    """Steps of the environments during a rollout, `[K]` each, see `Transitions`."""

    state: IntArray
    action: IntArray
    reward: Array
    next_state: IntArray
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    env: IntArray
    episode: IntArray
    time: IntArray


class _RecordingVectorEnv(TabularVectorEnv):
    """Vector environment of a task that records its steps.

    Its spaces are those of the model, if it has the task's observations.
    """

    def __init__(self, task: Task, model: OnPolicyAlgorithm) -> None:
        super().__init__(
            TabularEnv(task.mdp), model.n_envs, task.horizon, autoreset_mode="SameStep"
        )
        observations = task.mdp.observations
        space = model.observation_space
        if isinstance(space, spaces.Box) and all(
            np.asarray(o) in space for o in observations
        ):
            self.single_observation_space = space
            self.observation_space = batch_space(space, self.num_envs)
        self._rows: list[tuple[np.ndarray[Any, Any], ...]] = []
        self._successor = np.zeros(self.num_envs, np.int64)
        self._episode = np.arange(self.num_envs)
        self._n_episodes = self.num_envs

    def step_unchecked(self, actions: Any) -> Any:  # noqa: ANN401
        """Steps the environments and records the transitions."""
        state, time = np.array(self._state), np.array(self._elapsed)
        result = super().step_unchecked(actions)
        _, rewards, terminated, truncated, _ = result
        truncated = truncated & ~terminated
        self._rows.append(
            (
                state,
                np.array(actions),
                np.array(rewards, np.float64),
                self._successor,
                np.array(terminated),
                truncated,
                np.arange(self.num_envs),
                self._episode.copy(),
                time,
            )
        )
        self._start_episodes(terminated | truncated)
        return result

    def pop(self, recorded: NDArray[np.bool_] | None) -> _Rollout:
        """Returns the steps since the last call, and forgets them.

        Args:
            recorded: `[T, N]`, the steps that the model records; None for all.
        """
        rows, self._rows = self._rows, []
        columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
        if recorded is not None and recorded.size == len(columns[0]):
            columns = [column[recorded.flatten()] for column in columns]
        return _Rollout(*columns)

    def _transition(self, actions: Any) -> Any:  # noqa: ANN401
        result = super()._transition(actions)
        # Before any restart.
        self._successor = np.array(self._state)
        return result

    def _start(self, mask: Any) -> None:  # noqa: ANN401
        super()._start(mask)
        self._start_episodes(np.asarray(mask))

    def _start_episodes(self, mask: NDArray[np.bool_]) -> None:
        n = int(mask.sum())
        self._episode[mask] = self._n_episodes + np.arange(n)
        self._n_episodes += n


def _transitions(rollouts: list[_Rollout]) -> Transitions:
    return Transitions(
        *(
            np.concatenate([getattr(rollout, name) for rollout in rollouts])
            for name in _Rollout.__dataclass_fields__
        )
    )


class _Rounds(BaseCallback):
    """Collects transitions and gradients of every rollout, and stops after the last.

    Attributes:
        rounds: the transitions of each rollout, and the steps of its optimisers.
    """

    def __init__(
        self,
        env: _RecordingVectorEnv,
        recorder: GradientRecorder,
        perturbation: PolicyPerturbation | None,
        parameters: Sequence[nn.Parameter],
        n_rounds: int,
        plan: _RolloutPlan,
        progress: Progress,
        enough: float,
    ) -> None:
        super().__init__()
        self._enough = enough
        self._originals = [(p, p.detach().clone()) for p in parameters]
        self._env, self._recorder, self._perturbation = env, recorder, perturbation
        self._n_rounds, self._per_round = n_rounds, plan.episodes_per_round
        self._progress = progress
        self.rounds: list[tuple[_Rollout, list[RecordedStep]]] = []
        self._n_started = 0
        self._recorded: NDArray[np.bool_] | None = None

    def _on_rollout_start(self) -> None:
        if self._n_started:
            self._end_round()
        self._n_started += 1
        # Every other rollout is perturbed.
        if self._perturbation is not None and self._n_started % 2 == 1:
            self._perturbation.__enter__()

    def _on_step(self) -> bool:
        n_updates = sum(len(steps) for _, steps in self.rounds)
        is_enough = len(self.rounds) >= 2 and n_updates >= self._enough
        return self._n_started <= self._n_rounds and not is_enough

    def _on_rollout_end(self) -> None:
        # Our own buffers mark the steps of environments that wait for others.
        model: Any = self.model
        recorded = getattr(model.rollout_buffer, "recorded", None)
        self._recorded = None if recorded is None else np.array(recorded, np.bool_)

    def _end_round(self) -> None:
        # Also undoes what does not pass through an optimiser, as TRPO's line search.
        with torch.no_grad():
            for parameter, original in self._originals:
                parameter.copy_(original)
        steps = self._recorder.pop()
        if not steps:
            raise CannotCheckError(
                "train() gave no optimiser a gradient for the policy's parameters. "
                "Is the loss detached, or is optimizer.step() never called?"
            )
        if not all(torch.isfinite(step.gradient).all() for step in steps):
            raise CannotCheckError(
                f"the gradient of rollout {self._n_started} is NaN or infinite"
            )
        self.rounds.append((self._env.pop(self._recorded), steps))
        n, per_round = self._n_started, self._per_round
        self._progress.advance(int(n * per_round) - int((n - 1) * per_round))


def _control_variates(rollout: _Rollout, geometry: Geometry, centred_q: Array) -> Array:
    """Returns control variates of a rollout, with mean 0, `[2 min(D, 8)]`.

    They are the mean of the scores, and of the scores times the centred action values:
    both have conditional mean 0 in every state.
    """
    scores, weighted = (
        table[rollout.state, rollout.action, :MAX_TESTED_DIRECTIONS].mean(axis=0)
        for table in (geometry.scores, centred_q)
    )
    return np.concatenate([scores, weighted])


def _centred_q_scores(task: Task, geometry: Geometry) -> Array:
    """Returns `Q(s, a) score(s, a)` minus its mean over actions, `[S, A, D]`."""
    horizon = None if task.bootstrap else task.horizon
    q_values = oracle.action_values(task.mdp, geometry.policy, task.gamma, horizon)
    weighted = q_values[..., None] * geometry.scores
    mean = np.einsum("sa,sad->sd", geometry.policy, weighted)
    centred: Array = weighted - mean[:, None]
    return centred


def _follow_mini_batches(copy: Any, recorder: GradientRecorder) -> None:  # noqa: ANN401
    """Tells the recorder which steps of the rollout are in each of SB3's mini-batches.

    They are numbered as the environments take them: by step, then by environment.
    """
    buffer: Any = copy.rollout_buffer
    if type(copy.rollout_buffer) is not RolloutBuffer:
        return
    take = buffer._get_samples

    def take_and_tell(indices: NDArray[np.int64], *args: Any) -> Any:  # noqa: ANN401
        # SB3's are numbered by environment, then by step.
        env, step = np.divmod(np.asarray(indices), buffer.buffer_size)
        rows = step * buffer.n_envs + env
        whole = len(rows) == buffer.buffer_size * buffer.n_envs
        recorder.rows = None if whole else rows
        return take(indices, *args)

    buffer._get_samples = take_and_tell


def _switch_off_clipping(copy: Any) -> float | None:  # noqa: ANN401
    """Returns the norm to which gradients were clipped; None if they were not."""
    # TRPO does not clip; its max_grad_norm is 0.
    clipped_at = copy.max_grad_norm
    if not clipped_at:
        return None
    copy.max_grad_norm = 1e30
    return float(clipped_at)


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


def _checked_observations(copy: OnPolicyAlgorithm, task: Task) -> Tensor:
    """Returns the observations of all states as the policy takes them.

    Raises:
        CannotCheckError: if the policy has no `get_distribution`.
    """
    if not hasattr(copy.policy, "get_distribution"):
        raise CannotCheckError(
            f"{type(copy).__name__}'s policy has no get_distribution(), from which the "
            "action probabilities are read: it must be an ActorCriticPolicy"
        )
    observations, _ = copy.policy.obs_to_tensor(np.array(task.mdp.observations))
    assert isinstance(observations, Tensor)
    return observations


def _record_trust_region(
    copy: Any,  # noqa: ANN401
    recorder: GradientRecorder,
) -> Callable[[], None]:
    """Records the policy gradient of TRPO, which does not pass through an optimiser.

    TRPO computes the gradient of the surrogate objective and converts it to the natural
    gradient; the former is compared. Returns a function that ends it.
    """
    compute = getattr(copy, "_compute_actor_grad", None)
    if compute is None:
        return lambda: None

    def compute_and_record(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        parameters, gradient, *rest = compute(*args, **kwargs)
        parts = gradient.detach().split([p.numel() for p in parameters])
        recorder.add(parameters, [-part for part in parts])
        return parameters, gradient, *rest

    copy._compute_actor_grad = compute_and_record

    def restore() -> None:
        copy._compute_actor_grad = compute

    return restore


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
