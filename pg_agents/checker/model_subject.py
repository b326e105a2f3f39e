"""Measuring the train step of a Stable-Baselines3 style model, on a copy of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from pg_agents.checker.capture import GradientTap, tap_gradients
from pg_agents.checker.critic_gradient import critic_candidates
from pg_agents.checker.episodes import sample_episodes
from pg_agents.checker.estimators import Sample, is_adequate, known_noise
from pg_agents.checker.geometry import CannotCheckError, Geometry, make_geometry
from pg_agents.checker.measurement import Array, Candidate, Measurement, Series
from pg_agents.checker.model_copy import (
    RecordingEnv,
    actor_parameters,
    copy_of,
    install_exact_critic,
    log_probs_of,
    random_state_kept,
    tap_trust_region,
)
from pg_agents.checker.perturbation import Disturbance
from pg_agents.checker.progress import Progress
from pg_agents.checker.statistics import MAX_TESTED
from pg_agents.checker.task import Task
from pg_agents.common.nonfinite import NonFiniteError
from pg_envs import oracle

# A chain of rollouts is cut into stretches of so many mean episode lengths, which are
# treated as independent.
_EPISODES_PER_STRETCH = 5
_FEWEST_SAMPLES = 64
# By default, and no more steps than these: a thousand a second is what to expect.
N_EPISODES = 2_048
_N_STEPS = 50_000


def measure_model(
    model: OnPolicyAlgorithm,
    task: Task,
    n_episodes: int | None,
    seed: int,
    exact_critic: bool,
    progress: Progress,
) -> Measurement:
    """Lets a copy of the model roll out and train, and takes the gradients away.

    Args:
        model: the subject; nothing of it changes.
        task: MDP and objective.
        n_episodes: about as many episodes are played; None for 2,048, or fewer where
            they are long.
        seed: of everything random.
        exact_critic: whether the exact values stand in for the model's critic.
        progress: told how far it has come.

    Raises:
        CannotCheckError: if the model doesn't fit the task, or shows no gradient.
    """
    with random_state_kept():
        env = RecordingEnv(task, model.n_envs)
        copy = copy_of(model, env, seed)
        log_probs = log_probs_of(copy, task)
        parameters = actor_parameters(copy, log_probs)
        geometry = make_geometry(task, log_probs, parameters)
        if exact_critic:
            install_exact_critic(copy, task, geometry.policy)
        plan = _plan(copy, task, geometry, n_episodes)
        other = Disturbance(parameters, log_probs, seed)
        progress.begin(plan.n_episodes)
        with tap_gradients(parameters) as tap:
            tap_trust_region(copy, tap)
            worth = _worth_of_actions(task, geometry)
            rounds = _Rounds(env, geometry, worth, tap, other, plan, progress)
            # More than the rounds will take: the callback stops it.
            try:
                copy.learn(10**12, callback=rounds, log_interval=None)  # type: ignore[arg-type]
            except NonFiniteError as error:
                raise CannotCheckError(
                    f"the model's loss or gradient is NaN or infinite: {error}"
                ) from error
        known = critic_candidates(copy, task, geometry, worth, exact_critic, seed)
        measured = rounds.measurement(task, model.n_envs, tuple(known))
        return replace(
            measured,
            notes=_notes(copy, tap),
            adequate=_is_adequate(task, geometry, plan.n_episodes, seed),
        )


@dataclass(frozen=True)
class ModelPlan:
    """How many rollouts, and what they are.

    Attributes:
        n_rounds: rollouts with the policy as it is.
        n_probes: pairs of rollouts, the first with another policy.
        episodes_per_round: on average.
        n_groups: independent stretches; None where rollouts are independent.
        steps_per_unit: mean length of an episode where the model averages over steps.
    """

    n_rounds: int
    n_probes: int
    episodes_per_round: float
    n_groups: int | None
    steps_per_unit: float | None

    @property
    def n_rollouts(self) -> int:
        """Number of rollouts of either kind."""
        return self.n_rounds + 2 * self.n_probes

    @property
    def n_episodes(self) -> int:
        """Number of episodes they take, about."""
        return int(self.n_rollouts * self.episodes_per_round)


def _plan(
    copy: OnPolicyAlgorithm, task: Task, geometry: Geometry, n_episodes: int | None
) -> ModelPlan:
    length = task.mean_length(geometry.policy)
    if n_episodes is None:
        n_episodes = min(N_EPISODES, math.ceil(_N_STEPS / length))
    whole = getattr(copy, "n_episodes", None)
    if whole is not None:
        per_round = float(copy.n_envs * whole)
        n_rounds = max(_FEWEST_SAMPLES, math.ceil(n_episodes / per_round))
        return ModelPlan(
            n_rounds, max(_FEWEST_SAMPLES, n_rounds // 4), per_round, None, None
        )
    per_round = copy.n_envs * copy.n_steps / length
    # Every group takes so many steps of each environment.
    stretch = max(1, math.ceil(_EPISODES_PER_STRETCH * length / copy.n_steps))
    n_rounds = max(_FEWEST_SAMPLES * stretch, math.ceil(n_episodes / per_round))
    # What another policy did stays behind in the states of the environments: where
    # rollouts don't begin at the beginning, it can't be told from a memory.
    return ModelPlan(n_rounds, 0, per_round, n_rounds // stretch, length)


def _is_adequate(task: Task, geometry: Geometry, n: int, seed: int) -> bool:
    """Whether as many episodes would show a right estimator to be right."""
    rng = np.random.default_rng([seed, 3])
    steps = sample_episodes(task, geometry.policy, max(n, _FEWEST_SAMPLES), rng)
    sample = Sample(steps, task, geometry.policy, size=1, n_envs=1)
    noise = known_noise(sample, geometry.scores, geometry.exact)
    return is_adequate(noise, geometry.norm)


class _Rounds(BaseCallback):
    """Takes the gradient of every rollout, and stops after the last."""

    def __init__(
        self,
        env: RecordingEnv,
        geometry: Geometry,
        worth: Array,
        tap: GradientTap,
        other: Disturbance,
        plan: ModelPlan,
        progress: Progress,
    ) -> None:
        super().__init__()
        self._env, self._geometry, self._tap = env, geometry, tap
        self._other, self._plan, self._progress = other, plan, progress
        self._worth = worth
        self._gradients: list[Array] = []
        self._controls: list[Array] = []
        self._total: Tensor | None = None
        self._started = 0

    def _on_rollout_start(self) -> None:
        if self._started:
            self._end_round()
        self._started += 1
        # The first of each pair after the steady rounds is played by another policy.
        away = self._started - self._plan.n_rounds
        if away > 0 and away % 2 == 1:
            self._other.__enter__()
        self._env.taken.clear()

    def _on_step(self) -> bool:
        return self._started <= self._plan.n_rollouts

    def _end_round(self) -> None:
        self._other.__exit__()
        gradient = self._tap.drain()
        if gradient is None:
            raise CannotCheckError(
                "train() gave no optimiser a gradient for the policy's parameters. "
                "Is the loss detached, or is there no optimizer.step()?"
            )
        if not torch.isfinite(gradient).all():
            raise CannotCheckError(
                f"the gradient of rollout {self._started} is NaN or infinite"
            )
        ascent = -gradient.double()
        if self._started <= self._plan.n_rounds:
            self._total = ascent if self._total is None else self._total + ascent
        self._gradients.append(self._geometry.coordinates(ascent))
        self._controls.append(self._control())
        self._advance()

    def _advance(self) -> None:
        per_round, n = self._plan.episodes_per_round, self._started
        self._progress.advance(int(n * per_round) - int((n - 1) * per_round))

    def _control(self) -> Array:
        """Returns noise of the rollout whose mean is known to be 0, `[2 min(D, 8)]`.

        The sum of the scores, and of the scores times the action's worth less what that
        is on average in the state: each has mean 0 whatever happened before.
        """
        state = np.concatenate([s for s, _ in self._env.taken])
        action = np.concatenate([a.ravel() for _, a in self._env.taken])
        plain = self._geometry.scores[state, action, :MAX_TESTED].mean(axis=0)
        weighted = self._worth[state, action, :MAX_TESTED].mean(axis=0)
        return np.concatenate([plain, weighted])

    def measurement(
        self, task: Task, n_envs: int, candidates: tuple[Candidate, ...]
    ) -> Measurement:
        """Returns what was measured."""
        gradients, controls = np.array(self._gradients), np.array(self._controls)
        n, plan = self._plan.n_rounds, self._plan
        probes = slice(n + 1, None, 2)
        assert self._total is not None
        unit = plan.steps_per_unit
        return Measurement(
            task,
            self._geometry,
            Series(gradients[:n], controls[:n], plan.n_groups),
            Series(gradients[probes], controls[probes]) if plan.n_probes else None,
            plan.episodes_per_round,
            n_envs,
            unit,
            self._geometry.outside(self._total / n) * (unit or 1.0),
            candidates,
        )


def _worth_of_actions(task: Task, geometry: Geometry) -> Array:
    """Returns `Q(s, a) score(s, a)`, less its mean over the state's actions."""
    limit = None if task.bootstrap else task.horizon
    worth = oracle.action_values(task.mdp, geometry.policy, task.gamma, limit)
    weighted = worth[..., None] * geometry.scores
    mean = np.einsum("sa,sad->sd", geometry.policy, weighted)
    centred: Array = weighted - mean[:, None]
    return centred


def _notes(copy: OnPolicyAlgorithm, tap: GradientTap) -> tuple[str, ...]:
    # TRPO, which clips nothing, says 0.
    if not copy.max_grad_norm or not tap.norms:
        return ()
    # Clipping leaves the bound itself behind, within rounding.
    n_clipped = sum(norm > 0.999 * copy.max_grad_norm for norm in tap.norms)
    if n_clipped == 0:
        return ()
    return (
        f"in {n_clipped / len(tap.norms):.0%} of the updates the gradient was clipped "
        f"to max_grad_norm={copy.max_grad_norm:g}, all the optimiser's parameters "
        "taken together: that is part of what was measured",
    )
