"""Every estimator that the agents offer, and what theory says of its expectation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from benchmarks.enumeration import BRANCHING, LIMITED, WRONG_CRITIC, Table, Task
from benchmarks.estimator_theory import expected_gradient, formula_moments
from benchmarks.scripted import (
    Moments,
    ScriptedPolicy,
    ScriptedVectorEnv,
    enumerated_moments,
)
from pg_agents import REINFORCE, ActorCritic
from pg_agents.algorithms.config import PolicyGradientConfig
from pg_envs import oracle

Critic = Literal["none", "exact", "wrong"]


@dataclass(frozen=True)
class Case:
    """An agent's estimator on a task.

    Attributes:
        settings: estimator, baseline and so on.
        critic: what its value table holds: the exact values of the policy, others, or
            there is none.
        n_envs: number of environments.
        n_episodes: whole episodes of each, or None.
        n_steps: steps of each, or None.
        task: what it is enumerated on.
    """

    settings: PolicyGradientConfig
    critic: Critic
    n_envs: int
    n_episodes: int | None
    n_steps: int | None
    task: Task = BRANCHING

    @property
    def n_samples(self) -> int:
        """Number of trajectories in a rollout: episodes, or rows of an environment."""
        return self.n_envs * (self.n_episodes or 1)

    @property
    def n_episodes_worth(self) -> float:
        """How many episodes a rollout costs, on average."""
        if self.n_steps is None:
            return float(self.n_samples)
        return self.n_envs * self.n_steps / self.task.mean_length

    @property
    def standardised(self) -> bool:
        """Whether the weights of a rollout are divided by their own deviation."""
        return self.settings.standardize_returns or self.settings.normalize_advantage

    @property
    def name(self) -> str:
        """Says everything that tells one case from another."""
        given = [f"{name}={value}" for name, value in self.arguments().items()]
        given.append(f"n_envs={self.n_envs}")
        if self.critic != "none":
            given.append(f"{self.critic} critic")
        if self.task.time_limit is not None:
            given.append(f"time limit {self.task.time_limit}")
        return ", ".join(given)

    def arguments(self) -> dict[str, Any]:
        """Returns the constructor arguments that are not the default."""
        plain = PolicyGradientConfig(gamma=self.settings.gamma)
        chosen = {
            field.name: getattr(self.settings, field.name)
            for field in fields(plain)
            if getattr(self.settings, field.name) != getattr(plain, field.name)
            or field.name == "estimator"
        }
        if self.agent is REINFORCE:
            chosen = {"returns": chosen.pop("estimator")} | chosen
        else:
            del chosen["baseline"]
        data = {"n_episodes": self.n_episodes, "n_steps": self.n_steps}
        return chosen | {name: n for name, n in data.items() if n is not None}

    @property
    def agent(self) -> type[REINFORCE] | type[ActorCritic]:
        """The class that has this estimator."""
        monte_carlo = self.settings.estimator in ("reward_to_go", "full_return")
        return REINFORCE if monte_carlo else ActorCritic

    def values(self) -> Table:
        """Returns what the critic's table holds, `[S]`."""
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
            # The default of ActorCritic bounds the gradient: a bias of its own.
            max_grad_norm=None,
            **self.arguments(),
        )
        return enumerated_moments(model, env, self.task, self.values())

    def by_formula(self) -> Moments:
        """Returns the same in float64 and without the library."""
        return formula_moments(
            self.task,
            self.settings,
            self.values(),
            self.n_envs,
            self.n_episodes,
            self.n_steps,
        )

    def exact(self) -> Table:
        """Returns the oracle's gradient, per episode or per step as the case has it."""
        per = 1.0 if self.n_steps is None else self.task.mean_length
        return self.task.exact_gradient() / per

    def theory(self) -> Table:
        """Returns the expectation that theory states."""
        if self.standardised:
            return self.by_formula().mean
        factor = 1.0
        if self.settings.baseline == "mean":
            factor -= 1.0 / self.n_samples
        if not self.flaws:
            return factor * self.exact()
        return factor * expected_gradient(
            self.task, self.settings, self.values(), self.n_steps
        )

    @property
    def flaws(self) -> list[str]:
        """What makes the direction another, by name."""
        has = self.settings
        uses_critic = has.bootstraps and (
            has.estimator in ("td", "n_step")
            or (has.estimator == "gae" and has.gae_lambda < 1.0)
            or self.task.time_limit is not None
            or self.n_steps is not None
        )
        whole = has.estimator == "full_return"
        found = {
            "gamma^t dropped": not has.weight_by_gamma_t and not whole,
            "wrong critic": uses_critic and self.critic == "wrong",
            "returns cut": self.n_steps is not None and (whole or not has.bootstraps),
            "value beyond the limit": has.bootstraps
            and self.task.time_limit is not None,
            "standardised": self.standardised,
        }
        return [name for name, there in found.items() if there]

    @property
    def claim(self) -> str:
        """What `theory` is, in words; g is the oracle's gradient."""
        mean = self.settings.baseline == "mean" and not self.standardised
        factor = f"(1 - 1/{self.n_samples}) " if mean else ""
        flaws = self.flaws
        return f"{factor}g" + (f"; {', '.join(flaws)}" if flaws else "")


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
    """Rows are compared with those of another environment, where they are compared."""
    compares = settings.baseline in ("mean", "leave_one_out")
    return (2, None, 2) if compares else (1, None, 3)


def _settings() -> Iterator[tuple[PolicyGradientConfig, Critic]]:
    """Every estimator with every baseline it accepts, not standardised."""
    gamma = BRANCHING.gamma
    for chosen, baseline in itertools.product(
        _MONTE_CARLO, ("none", "mean", "leave_one_out", "value")
    ):
        settings: dict[str, Any] = {**chosen, "baseline": baseline}
        critic: Critic = "wrong" if baseline == "value" else "none"
        yield PolicyGradientConfig(gamma=gamma, **settings), critic
        if baseline == "value":
            yield PolicyGradientConfig(gamma=gamma, bootstrap=True, **settings), critic
    for chosen, weighted in itertools.product(_BOOTSTRAPPED, (True, False)):
        settings = {**chosen, "baseline": "value", "weight_by_gamma_t": weighted}
        yield PolicyGradientConfig(gamma=gamma, **settings), "wrong"


def _cases() -> Iterator[Case]:
    for (plain, critic), normalisation in itertools.product(
        _settings(), _NORMALISATIONS
    ):
        settings = replace(plain, **normalisation)
        # Whole episodes of a task without a time limit leave nothing to bootstrap.
        episodes = () if plain.bootstrap else _EPISODES
        for data in (*episodes, _steps(plain)):
            yield Case(settings, critic, *data)
    # With exact values nothing is lost by looking at them instead of waiting; with a
    # time limit it makes a difference whether one looks beyond it.
    for plain, critic in _settings():
        # One episode after the other: a return must not go on in the next.
        yield Case(plain, critic, 1, 2, None, LIMITED)
        if critic == "wrong":
            yield Case(plain, "exact", 2, 1, None, LIMITED)
            for data in ((2, 1, None), _steps(plain)):
                yield Case(plain, "exact", *data)
    # The mean's factor, and the one left out, with more than two.
    for baseline, data in itertools.product(("mean", "leave_one_out"), _MORE_EPISODES):
        chosen: dict[str, Any] = {"baseline": baseline, "weight_by_gamma_t": True}
        settings = PolicyGradientConfig(gamma=LIMITED.gamma, **chosen)
        yield Case(settings, "none", *data, LIMITED)


CASES = tuple(_cases())


def relative_bias(case: Case, mean: Table) -> float:
    """Distance of an expectation from the exact gradient, in lengths of that."""
    exact = case.exact()
    return float(np.linalg.norm(mean - exact) / np.linalg.norm(exact))


def cosine(case: Case, mean: Table) -> float:
    """Cosine of the angle between an expectation and the exact gradient."""
    exact = case.exact()
    lengths = np.linalg.norm(mean) * np.linalg.norm(exact)
    return float((mean * exact).sum() / lengths)


def noise(case: Case, moments: Moments) -> float:
    """Variance of an estimate from an episode's data, over its squared use.

    `E tr(Cov(ghat)) / (E[ghat] . g / |g|)^2` with E episodes' worth of steps.
    """
    exact = case.exact()
    along = float((moments.mean * exact).sum() / np.linalg.norm(exact))
    return case.n_episodes_worth * moments.variance / along**2
