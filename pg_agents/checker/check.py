"""Compares the expected gradient of policy-gradient code with the exact one."""

from __future__ import annotations

import inspect
import operator
import time
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import nn

from pg_agents.checker.function_subject import (
    SamplePlan,
    Subject,
    TablePolicy,
    measure_function,
)
from pg_agents.checker.model_subject import measure_model, preserve_random_state
from pg_agents.checker.report import GradientReport
from pg_agents.checker.report import progress_bar as show_progress
from pg_agents.checker.task import resolve_task
from pg_agents.checker.verdict import make_report
from pg_agents.common.checks import (
    check_choice,
    check_count,
    check_seed,
)
from pg_envs import TabularMDP

DEFAULT_ENV = "PGToy-Sequence-v0"
DEFAULT_GAMMA = 0.9
_N_EPISODES = 16_384
# Fewest gradients for an estimate of their covariance.
_MIN_BATCHES = 256


def check_policy_gradient(
    subject: Subject | OnPolicyAlgorithm,
    env: str | TabularMDP | gymnasium.Env[Any, Any] = DEFAULT_ENV,
    *,
    gamma: float | None = None,
    horizon: int | None = None,
    bootstrap: bool = False,
    policy: nn.Module | None = None,
    n_episodes: int | None = None,
    batch_size: int = 8,
    n_envs: int = 4,
    critic: Literal["own", "exact"] = "own",
    seed: int = 0,
    progress_bar: bool = True,
) -> GradientReport:
    r"""Compares the expected gradient of policy-gradient code with the exact one.

    The exact gradient of `J = E[sum_t gamma^t r_t]` is computed from the tables of the
    environment. The subject's gradient is sampled, with variance reduced by control
    variates, and compared: cosine, relative bias with a confidence interval, and a test
    of unbiasedness. A biased gradient is compared with those of common mistakes.

    Args:
        subject: the code to check.
            A function `(batch, policy)`, where the batch is an `EpisodeBatch` and the
            policy returns a torch `Categorical` for observations. It returns a scalar
            loss, or the gradient of the return by the policy's parameters.
            Or an on-policy model with Stable-Baselines3's interface: a copy trains in
            the environment, and the gradient that reaches its optimiser is compared
            (TRPO's before its conversion to the natural gradient). The model itself
            is not changed.
        env: id of a tabular environment, a tabular environment, or a `TabularMDP`.
        gamma: discount factor of the objective; None for the model's, or 0.9.
        horizon: time limit; None for the environment's own.
        bootstrap: False if the time limit is part of the task. True if it only
            truncates the data, and correct returns are bootstrapped there.
        policy: for functions, a module from observations to a `Categorical` or logits,
            which is passed to the function; None for a table of random logits.
        n_episodes: approximate number of episodes, at least 256 batches of a function
            or 64 rollouts of a model. None for 16,384 with a function, and the lesser
            of 2,048 episodes and 50,000 steps with a model.
        batch_size: episodes per call of a function.
        n_envs: environments that these are distributed over; divides `batch_size`.
        critic: for models. `"exact"` replaces the model's critic by the exact values,
            which distinguishes an inexact critic from a wrong gradient.
        seed: seed of the sampling.
        progress_bar: whether to show a progress bar, if on a terminal.

    Raises:
        CannotCheckError: if the subject gives no gradient: a loss that is detached, of
            the wrong shape or NaN; a policy that ignores its observations; a model that
            does not fit the environment. It is a ValueError.
        ValueError: if an argument is out of range.
        TypeError: if the subject cannot be checked, or the environment is not tabular.

    Example:
        >>> from pg_agents import check_policy_gradient
        >>> def loss(batch, policy):
        ...     log_prob = policy(batch.observations).log_prob(batch.actions)
        ...     returns = [
        ...         sum(e.gamma**k * e.rewards[k] for k in range(t, len(e)))
        ...         for e in batch
        ...         for t in range(len(e))
        ...     ]
        ...     return -(torch.stack(returns) * log_prob).sum() / len(batch)
        >>> report = check_policy_gradient(loss)
    """
    _check_subject(subject)
    check_choice("critic", critic, ("own", "exact"))
    check_choice("bootstrap", bootstrap, (True, False))
    check_choice("progress_bar", progress_bar, (True, False))
    check_seed("seed", seed)
    check_count("batch_size", batch_size)
    check_count("n_envs", n_envs)
    # NumPy integers could overflow.
    seed, batch_size, n_envs = map(operator.index, (seed, batch_size, n_envs))
    if batch_size % n_envs:
        raise ValueError(
            f"batch_size must be a multiple of n_envs, got {batch_size} and {n_envs}"
        )
    if n_episodes is not None:
        check_count("n_episodes", n_episodes)
        n_episodes = operator.index(n_episodes)
    if gamma is None:
        gamma = (
            float(subject.gamma)
            if isinstance(subject, OnPolicyAlgorithm)
            else DEFAULT_GAMMA
        )
    task = resolve_task(env, gamma, horizon, bootstrap)
    started = time.perf_counter()
    with show_progress(progress_bar) as progress:
        if isinstance(subject, OnPolicyAlgorithm):
            measured = measure_model(
                subject, task, n_episodes, seed, critic == "exact", progress
            )
        else:
            n_batches = max(-(-(n_episodes or _N_EPISODES) // batch_size), _MIN_BATCHES)
            plan = SamplePlan(n_batches * batch_size, batch_size, n_envs, seed)
            policy = policy or TablePolicy(task.mdp.observations, task.mdp.n_actions)
            with preserve_random_state():
                # Functions may draw random numbers.
                torch.manual_seed(seed)
                np.random.seed(seed)
                measured = measure_function(subject, policy, task, plan, progress)
    seconds = time.perf_counter() - started
    return make_report(measured, _name(subject), seed, seconds)


def _check_subject(subject: object) -> None:
    if isinstance(subject, OnPolicyAlgorithm):
        return
    kind = subject if isinstance(subject, type) else type(subject)
    if issubclass(kind, BaseAlgorithm) and not issubclass(kind, OnPolicyAlgorithm):
        raise TypeError(
            f"{kind.__name__} is not an on-policy algorithm, so its updates are not "
            "policy gradients of the return. Accepted are subclasses of SB3's "
            "OnPolicyAlgorithm, and functions (batch, policy)"
        )
    if issubclass(kind, OnPolicyAlgorithm):
        raise TypeError(f"the subject must be an instance, got the {subject!r}")
    if isinstance(subject, type) or not callable(subject):
        raise TypeError(
            "the subject must be a model with Stable-Baselines3's interface or a "
            f"function (batch, policy), got {subject!r}"
        )
    try:
        inspect.signature(subject).bind("batch", "policy")
    except TypeError as error:
        raise TypeError(
            f"the subject is called with two arguments, (batch, policy), which "
            f"{subject!r} does not accept: {error}"
        ) from error
    except ValueError:
        # Some callables have no signature.
        return


def _name(subject: object) -> str:
    if isinstance(subject, BaseAlgorithm):
        return type(subject).__name__
    return getattr(subject, "__qualname__", type(subject).__name__)
