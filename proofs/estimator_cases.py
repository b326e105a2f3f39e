"""Every estimator that the agents offer, with the expectation that theory predicts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from pg_agents import REINFORCE, ActorCritic
from pg_agents.algorithms.config import PolicyGradientConfig
from pg_envs import oracle
from proofs.enumeration import BRANCHING, LIMITED, WRONG_CRITIC, Table, Task
from proofs.estimator_theory import expected_gradient, formula_moments
from proofs.scripted import (
    Moments,
    ScriptedPolicy,
    ScriptedVectorEnv,
    enumerated_moments,
)

Critic = Literal["none", "exact", "wrong"]


@dataclass(frozen=True)
class Case:
    """An estimator of an agent on a task.

    Attributes:
        settings: estimator, baseline and so on.
        critic: whether the values are the policy's own, have errors, or do not exist.
        n_envs: number of environments.
        n_episodes: whole episodes per environment, or None.
        n_steps: steps per environment, or None.
        task: the task whose rollouts are enumerated.
    """

    settings: PolicyGradientConfig
    critic: Critic
    n_envs: int
    n_episodes: int | None
    n_steps: int | None
    task: Task = BRANCHING

    @property
    def n_samples(self) -> int:
        """Number of trajectories in a rollout: episodes, or environments."""
        return self.n_envs * (self.n_episodes or 1)

    @property
    def episodes_per_rollout(self) -> float:
        """Expected number of episodes whose steps make up a rollout."""
        if self.n_steps is None:
            return float(self.n_samples)
        return self.n_envs * self.n_steps / self.task.mean_length

    @property
    def standardised(self) -> bool:
        """Whether returns or advantages are divided by their standard deviation."""
        return self.settings.standardize_returns or self.settings.normalize_advantage

    @property
    def name(self) -> str:
        """Label that differs between any two cases."""
        parts = [f"{name}={value}" for name, value in self.arguments().items()]
        parts.append(f"n_envs={self.n_envs}")
        if self.critic != "none":
            parts.append(f"{self.critic} critic")
        if self.task.time_limit is not None:
            parts.append(f"time limit {self.task.time_limit}")
        return ", ".join(parts)

    def arguments(self) -> dict[str, Any]:
        """Returns the constructor arguments that differ from the defaults."""
        defaults = PolicyGradientConfig(gamma=self.settings.gamma)
        changed = {
            field.name: getattr(self.settings, field.name)
            for field in fields(defaults)
            if getattr(self.settings, field.name) != getattr(defaults, field.name)
            or field.name == "estimator"
        }
        if self.agent is REINFORCE:
            changed = {"returns": changed.pop("estimator")} | changed
        else:
            del changed["baseline"]
        data = {"n_episodes": self.n_episodes, "n_steps": self.n_steps}
        return changed | {name: n for name, n in data.items() if n is not None}

    @property
    def agent(self) -> type[REINFORCE] | type[ActorCritic]:
        """The class that offers this estimator."""
        monte_carlo = self.settings.estimator in ("reward_to_go", "full_return")
        return REINFORCE if monte_carlo else ActorCritic

    def values(self) -> Table:
        """Returns the values of the critic, `[S]`."""
        if self.critic == "exact":
            mdp, pi = self.task.mdp, self.task.pi
            return oracle.state_values(mdp, pi, self.settings.gamma)
        return WRONG_CRITIC

    def measured(self) -> Moments:
        """Returns the moments of the agent's own gradient over all its rollouts."""
        env = ScriptedVectorEnv(self.task, self.n_envs)
        model: Any = self.agent(
            ScriptedPolicy,
            env,
            gamma=self.settings.gamma,
            # Clipping the gradient norm, ActorCritic's default, adds a bias.
            max_grad_norm=None,
            **self.arguments(),
        )
        return enumerated_moments(model, env, self.task, self.values())

    def by_formula(self) -> Moments:
        """Returns the moments in float64 from the formula, without the agents' code."""
        return formula_moments(
            self.task,
            self.settings,
            self.values(),
            self.n_envs,
            self.n_episodes,
            self.n_steps,
        )

    def exact(self) -> Table:
        """Returns the oracle's gradient, per episode or, with `n_steps`, per step."""
        per = 1.0 if self.n_steps is None else self.task.mean_length
        return self.task.exact_gradient() / per

    def theory(self) -> Table:
        """Returns the expectation that theory predicts."""
        if self.standardised:
            return self.by_formula().mean
        factor = 1.0
        if self.settings.baseline == "mean":
            factor -= 1.0 / self.n_samples
        if not self.biases:
            return factor * self.exact()
        return factor * expected_gradient(
            self.task, self.settings, self.values(), self.n_steps
        )

    @property
    def biases(self) -> list[str]:
        """Names of the biases that change the direction of the gradient."""
        settings = self.settings
        uses_critic = settings.bootstraps and (
            settings.estimator in ("td", "n_step")
            or (settings.estimator == "gae" and settings.gae_lambda < 1.0)
            or self.task.time_limit is not None
            or self.n_steps is not None
        )
        full = settings.estimator == "full_return"
        biases = {
            "gamma^t dropped": not settings.weight_by_gamma_t and not full,
            "wrong critic": uses_critic and self.critic == "wrong",
            "returns cut": self.n_steps is not None
            and (full or not settings.bootstraps),
            "value beyond the limit": settings.bootstraps
            and self.task.time_limit is not None,
            "standardised": self.standardised,
        }
        return [name for name, applies in biases.items() if applies]

    @property
    def claim(self) -> str:
        """`theory` in words; g is the oracle's gradient."""
        mean = self.settings.baseline == "mean" and not self.standardised
        factor = f"(1 - 1/{self.n_samples}) " if mean else ""
        biases = ", ".join(self.biases)
        return f"{factor}g" + (f"; {biases}" if biases else "")


_MONTE_CARLO: tuple[dict[str, Any], ...] = (
    {"estimator": "reward_to_go", "weight_by_gamma_t": True},
    {"estimator": "reward_to_go"},
    {"estimator": "full_return"},
)
_BOOTSTRAPPED: tuple[dict[str, Any], ...] = (
    {"estimator": "td"},
    {"estimator": "n_step", "td_steps": 2},
    {"estimator": "gae", "gae_lambda": 1.0},
    {"estimator": "gae", "gae_lambda": 0.5},
    {"estimator": "gae", "gae_lambda": 0.0},
)
_NORMALISATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"standardize_returns": True},
    {"normalize_advantage": True},
)
# n_envs, n_episodes and n_steps.
Data = tuple[int, int | None, int | None]
_EPISODES: tuple[Data, ...] = ((1, 2, None), (2, 1, None))
_MORE_EPISODES: tuple[Data, ...] = ((1, 3, None), (3, 1, None), (2, 2, None))


def _steps(settings: PolicyGradientConfig) -> Data:
    """Returns data by steps; baselines over the batch need two environments."""
    over_batch = settings.baseline in ("mean", "leave_one_out")
    return (2, None, 2) if over_batch else (1, None, 3)


def _settings() -> Iterator[tuple[PolicyGradientConfig, Critic]]:
    """Yields every estimator with every baseline that it accepts."""
    gamma = BRANCHING.gamma
    for estimator, baseline in itertools.product(
        _MONTE_CARLO, ("none", "mean", "leave_one_out", "value")
    ):
        settings: dict[str, Any] = {**estimator, "baseline": baseline}
        critic: Critic = "wrong" if baseline == "value" else "none"
        yield PolicyGradientConfig(gamma=gamma, **settings), critic
        if baseline == "value":
            yield PolicyGradientConfig(gamma=gamma, bootstrap=True, **settings), critic
    for estimator, weighted in itertools.product(_BOOTSTRAPPED, (True, False)):
        settings = {**estimator, "baseline": "value", "weight_by_gamma_t": weighted}
        yield PolicyGradientConfig(gamma=gamma, **settings), "wrong"


def _cases() -> Iterator[Case]:
    for (plain, critic), normalisation in itertools.product(
        _settings(), _NORMALISATIONS
    ):
        settings = replace(plain, **normalisation)
        # Without a time limit whole episodes leave nothing to bootstrap.
        episodes = () if plain.bootstrap else _EPISODES
        for data in (*episodes, _steps(plain)):
            yield Case(settings, critic, *data)
    # Exact values add no bias; under a time limit it matters whether the estimator
    # bootstraps.
    for plain, critic in _settings():
        # Two episodes in sequence: returns must not cross from one into the other.
        yield Case(plain, critic, 1, 2, None, LIMITED)
        if critic == "wrong":
            yield Case(plain, "exact", 2, 1, None, LIMITED)
            for data in ((2, 1, None), _steps(plain)):
                yield Case(plain, "exact", *data)
    # The factor 1 - 1/N for N > 2.
    for baseline, data in itertools.product(("mean", "leave_one_out"), _MORE_EPISODES):
        arguments: dict[str, Any] = {"baseline": baseline, "weight_by_gamma_t": True}
        settings = PolicyGradientConfig(gamma=LIMITED.gamma, **arguments)
        yield Case(settings, "none", *data, LIMITED)


CASES = tuple(_cases())


def relative_bias(case: Case, mean: Table) -> float:
    """Returns the norm of the error relative to the norm of the exact gradient."""
    exact = case.exact()
    return float(np.linalg.norm(mean - exact) / np.linalg.norm(exact))


def cosine(case: Case, mean: Table) -> float:
    """Returns the cosine of the angle between expectation and exact gradient."""
    exact = case.exact()
    lengths = np.linalg.norm(mean) * np.linalg.norm(exact)
    return float((mean * exact).sum() / lengths)


def noise(case: Case, moments: Moments) -> float:
    """Returns variance per episode over the squared length along the exact gradient.

    `E tr(Cov(ghat)) / (E[ghat] . g / |g|)^2` with E episodes per rollout.
    """
    exact = case.exact()
    along = float((moments.mean * exact).sum() / np.linalg.norm(exact))
    return case.episodes_per_rollout * moments.variance / along**2
