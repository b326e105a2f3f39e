"""Variance of the agents' gradients on PGToy-Sequence-v0 and FrozenLake-v1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents import REINFORCE, ActorCritic, TabularPolicy
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.checker.recorder import record_gradients
from pg_envs import (
    TabularEnv,
    TabularMDP,
    TabularVectorEnv,
    mdp_from_env,
    oracle,
    sequence_mdp,
)
from proofs.enumeration import Table, Task
from proofs.estimator_theory import expected_gradient
from proofs.scripted import set_tables, set_up

GAMMA = 0.95
TIME_LIMIT = 100
# Episodes per update, one per environment.
N_ENVS = 16
# Updates that fit a learned critic before the measurement.
CRITIC_UPDATES = 300
CRITIC_STEP_SIZE = 0.02


def _task(name: str, mdp: TabularMDP) -> Task:
    """Returns a task with an equal mixture of optimal and uniform policy."""
    best = oracle.optimal_values(mdp, GAMMA).policy
    pi = 0.5 * best + 0.5 * oracle.uniform_policy(mdp)
    return Task(name, mdp, np.log(pi), GAMMA, TIME_LIMIT, TIME_LIMIT)


SEQUENCE = _task("PGToy-Sequence-v0", sequence_mdp(observation="index"))
FROZEN_LAKE = _task(
    "FrozenLake-v1, not slippery",
    mdp_from_env(gymnasium.make("FrozenLake-v1", is_slippery=False)),
)
TASKS = (SEQUENCE, FROZEN_LAKE)


@dataclass(frozen=True)
class Estimator:
    """An estimator to measure.

    Attributes:
        label: for the table and the plot.
        agent: the class that offers it.
        arguments: constructor arguments.
    """

    label: str
    agent: type[REINFORCE] | type[ActorCritic]
    arguments: dict[str, Any]


def _reinforce(label: str, weighted: bool = True, **arguments: Any) -> Estimator:
    return Estimator(label, REINFORCE, {"weight_by_gamma_t": weighted, **arguments})


def _actor_critic(label: str, **arguments: Any) -> Estimator:
    return Estimator(label, ActorCritic, {"weight_by_gamma_t": True, **arguments})


NONE = _reinforce("reward-to-go, no baseline")
LEAVE_ONE_OUT = _reinforce("reward-to-go, leave-one-out", baseline="leave_one_out")
VALUE = _reinforce("reward-to-go, learned value", baseline="value")
ESTIMATORS = (
    _reinforce("full return, no baseline", weighted=False, returns="full_return"),
    NONE,
    _reinforce("reward-to-go, mean", baseline="mean"),
    LEAVE_ONE_OUT,
    VALUE,
    _actor_critic("GAE, lambda 0.95", estimator="gae", gae_lambda=0.95),
    _actor_critic("GAE, lambda 0.5", estimator="gae", gae_lambda=0.5),
    _actor_critic("5-step", estimator="n_step", td_steps=5),
    _actor_critic("TD", estimator="td"),
    _reinforce("reward-to-go, no baseline, gamma^t dropped", weighted=False),
    _reinforce("reward-to-go, standardised returns", standardize_returns=True),
    _reinforce(
        "leave-one-out, normalised advantage",
        baseline="leave_one_out",
        normalize_advantage=True,
    ),
)


class Sample(NamedTuple):
    """Gradients of single updates.

    Attributes:
        gradients: `[M, S, A]`, of M updates of `N_ENVS` episodes each.
        mean: `[S, A]`, their expectation: by theory, or where it has no closed form
            the average of the sample.
        exact: `[S, A]`, the oracle's gradient.
    """

    gradients: Table
    mean: Table
    exact: Table

    def squared_deviations(self) -> Table:
        """Squared distance of each gradient from the mean, `[M]`."""
        return np.asarray(((self.gradients - self.mean) ** 2).sum(axis=(1, 2)))

    def cosine(self) -> float:
        """Cosine of the angle between the expectation and the exact gradient."""
        lengths = np.linalg.norm(self.mean) * np.linalg.norm(self.exact)
        return float((self.mean * self.exact).sum() / lengths)

    def noise(self) -> float:
        """`E tr(Cov(ghat)) / (E[ghat] . g / |g|)^2` with E episodes per update."""
        along = (self.mean * self.exact).sum() / np.linalg.norm(self.exact)
        return N_ENVS * float(self.squared_deviations().mean() / along**2)

    def standard_error(self, n_resamples: int = 200) -> float:
        """Standard error of `noise`, by bootstrap over updates."""
        generator = np.random.default_rng(0)
        n = len(self.gradients)
        uses_sample_mean = np.array_equal(self.mean, self.gradients.mean(axis=0))
        estimates = []
        for _ in range(n_resamples):
            resample = self.gradients[generator.integers(n, size=n)]
            mean = resample.mean(axis=0) if uses_sample_mean else self.mean
            estimates.append(Sample(resample, mean, self.exact).noise())
        return float(np.std(estimates))


def sample_gradients(
    task: Task,
    estimator: Estimator,
    n_updates: int,
    seed: int,
    critic_updates: int = CRITIC_UPDATES,
) -> Sample:
    """Returns gradients of an agent's own updates, without changing its actor.

    With the same seed all estimators see the same episodes.

    Args:
        task: environment and policy.
        estimator: the agent.
        n_updates: number of updates, M.
        seed: seed of the episodes.
        critic_updates: number of updates that fit the critic first.
    """
    model = _model(task, estimator)
    set_tables(_policy(model), task.logits, np.zeros(task.mdp.n_states))
    if model.baseline == "value":
        _learn_critic(model, seed + 1000, critic_updates)
    gradients = []
    weight = _policy(model).action_net.weight
    with record_gradients(list(_policy(model).action_net.parameters())) as tap:
        callback = _begin(model, seed)
        for _ in range(n_updates):
            _update(model, callback)
            (drained,) = (step.gradient for step in tap.pop())
            gradients.append(-drained.double().numpy().reshape(weight.shape).T)
    sample = np.array(gradients)
    mean = _expectation(task, model)
    if mean is None:
        mean = sample.mean(axis=0)
    return Sample(sample, mean, task.exact_gradient())


def _expectation(task: Task, model: PolicyGradientAlgorithm) -> Table | None:
    """Returns the expected gradient, or None where standardising has no closed form."""
    settings = model.config
    if settings.standardize_returns or settings.normalize_advantage:
        return None
    factor = 1.0 - 1.0 / N_ENVS if settings.baseline == "mean" else 1.0
    return factor * expected_gradient(task, settings, _critic(model))


def _critic(model: PolicyGradientAlgorithm) -> Table:
    states = torch.arange(model.observation_space.n)  # type: ignore[attr-defined]
    with torch.no_grad():
        return _policy(model).predict_values(states).double().numpy().ravel()


def _model(task: Task, estimator: Estimator) -> PolicyGradientAlgorithm:
    env = TabularVectorEnv(
        TabularEnv(task.mdp), N_ENVS, TIME_LIMIT, AutoresetMode.SAME_STEP
    )
    model = estimator.agent(
        "TabularPolicy",
        env,
        learning_rate=CRITIC_STEP_SIZE,
        n_episodes=1,
        gamma=GAMMA,
        max_grad_norm=None,
        policy_kwargs={"optimizer_class": torch.optim.Adam},
        **estimator.arguments,
    )
    return model


def _learn_critic(model: PolicyGradientAlgorithm, seed: int, n_updates: int) -> None:
    """Fits the critic by the agent's own updates with a frozen actor."""
    actor = _policy(model).action_net.weight.requires_grad_(False)
    callback = _begin(model, seed)
    for _ in range(n_updates):
        _update(model, callback)
    actor.requires_grad_(True)


def _begin(model: PolicyGradientAlgorithm, seed: int) -> BaseCallback:
    model.set_random_seed(seed)
    return set_up(model)


def _update(model: PolicyGradientAlgorithm, callback: BaseCallback) -> None:
    assert model.env is not None
    model.collect_rollouts(model.env, callback, model.rollout_buffer, None)
    model.train()


def _policy(model: PolicyGradientAlgorithm) -> TabularPolicy:
    assert isinstance(model.policy, TabularPolicy)
    return model.policy
