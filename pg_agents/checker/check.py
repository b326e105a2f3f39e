"""Compares the expected gradient of policy-gradient code with the exact one."""

from __future__ import annotations

import inspect
import operator
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import nn

from pg_agents.checker.battery import DEFAULT_GAMMA, HORIZON, battery
from pg_agents.checker.conclusion import conclude
from pg_agents.checker.function_subject import (
    Critic,
    FunctionSubject,
    PolicyReader,
    SamplePlan,
    Subject,
    TablePolicy,
    preserved_policy,
)
from pg_agents.checker.geometry import CannotCheckError
from pg_agents.checker.model_subject import ModelSubject, preserve_random_state
from pg_agents.checker.report import GradientReport, Target, placed
from pg_agents.checker.report import progress_bar as show_progress
from pg_agents.checker.task import Task, resolve_task
from pg_agents.common.checks import (
    check_choice,
    check_count,
    check_seed,
)
from pg_envs import TabularMDP

# Calls whose gradients a formula is fitted to.
_N_RECORDED = 96
_N_EPISODES = 8_192
# A policy with short episodes, and all actions in all states.
_POLICY_SEED = 5
# Fewest gradients for an estimate of their covariance.
_MIN_BATCHES = 256


def check_policy_gradient(
    subject: Subject | OnPolicyAlgorithm,
    env: str | TabularMDP | gymnasium.Env[Any, Any] | None = None,
    *,
    target: Target | None = None,
    gamma: float | None = None,
    horizon: int | None = None,
    bootstrap: bool = False,
    policy: nn.Module | None = None,
    critic: Literal["own", "exact"] | Critic = "own",
    n_episodes: int | None = None,
    batch_size: int = 8,
    n_envs: int = 4,
    seed: int = 0,
    progress_bar: bool = True,
) -> GradientReport:
    r"""Compares the expected gradient of policy-gradient code with the exact one.

    The exact gradient of `J = E[sum_t gamma^t r_t]` is computed from the tables of
    three small tasks, see `battery`. The subject's gradients on each are recorded, and
    a formula that reproduces all of them is sought; its expectation is then compared
    with the exact gradient. If there is none, the mean of many gradients is, with
    variance reduced by control variates. The verdict is that on the worst task.

    Args:
        subject: the code to check.
            A function `(batch, policy)`, where the batch is an `EpisodeBatch` and the
            policy, by default, returns a torch `Categorical` for observations. It
            returns a scalar loss, or the gradient of the return by the policy's
            parameters, or has called `backward()`.
            Or an on-policy model with Stable-Baselines3's interface: a copy trains in
            the tasks, and the gradient that reaches its optimiser is compared (TRPO's
            before its conversion to the natural gradient). The model itself is not
            changed.
        env: id of a tabular environment, a tabular environment, or a `TabularMDP`, to
            check on it alone; None for the battery.
        target: `"exact"`: right is the gradient of J, up to a positive factor.
            `"algorithm"`: right is also what documented algorithms have: gamma^t
            dropped, means over steps, a learned critic, standardised advantages,
            entropy bonuses; the report lists each. None for `"exact"` with a function
            and `"algorithm"` with a model.
        gamma: discount factor of the objective; None for the model's, or 0.9.
        horizon: time limit; None for the environment's own, or 100.
        bootstrap: False if the time limit is part of the task. True if it only
            truncates the data, and correct returns are bootstrapped there.
        policy: for functions, a module from observations to a `Categorical`, logits or
            probabilities, or a tuple of one of these and values, which is passed to the
            function; None for a table of random logits.
        critic: `"own"`: the critic of a model; for functions the values that the
            policy gives with a tuple, or the exact ones. `"exact"`: the exact values
            replace them, which distinguishes an inexact critic from a wrong gradient.
            For functions also a function of observations `[B, ...]` that returns the
            values `[B]`. A function finds them in `batch.values` and
            `batch.next_values`.
        n_episodes: approximate number of episodes per task of a mean, at least 256
            batches of a function or 64 rollouts of a model. None for 8,192 with a
            function, and the lesser of 2,048 episodes and 50,000 steps with a model.
        batch_size: episodes per call of a function.
        n_envs: environments that these are distributed over; divides `batch_size`.
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
    model = subject if isinstance(subject, OnPolicyAlgorithm) else None
    if target is None:
        target = "exact" if model is None else "algorithm"
    check_choice("target", target, ("exact", "algorithm"))
    if not callable(critic):
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
        gamma = DEFAULT_GAMMA if model is None else float(model.gamma)
    tasks = _tasks(subject, env, policy, gamma, horizon, bootstrap)
    started = time.perf_counter()
    # Functions and policies may draw random numbers.
    with (
        show_progress(progress_bar) as progress,
        preserve_random_state(),
        preserved_policy(policy or nn.Module()),
    ):
        torch.manual_seed(seed)
        np.random.seed(seed)
        subjects: Sequence[FunctionSubject | ModelSubject]
        if model is not None:
            subjects = [
                ModelSubject(model, task, n_episodes, seed, critic == "exact")
                for task in tasks
            ]
        else:
            n_batches = -(-(n_episodes or _N_EPISODES) // batch_size)
            n_batches = max(n_batches, _MIN_BATCHES)
            plan = SamplePlan(
                _N_RECORDED, n_batches * batch_size, batch_size, n_envs, seed
            )
            # States of all tasks share observations: a memory of another task's
            # episodes is no error, but found as such.
            observations = np.concatenate([task.mdp.observations for task in tasks])
            policy = policy or TablePolicy(
                observations, tasks[0].mdp.n_actions, _POLICY_SEED
            )
            assert not isinstance(subject, OnPolicyAlgorithm)
            subjects = [
                FunctionSubject(
                    subject,
                    policy,
                    critic,
                    task,
                    plan,
                )
                for task in tasks
            ]
        report = conclude(subjects, _name(subject), target, seed, progress)
    report = replace(report, seconds=time.perf_counter() - started)
    first = subjects[0]
    if isinstance(first, ModelSubject):
        return report
    places = first.places.renamed(_shown)
    known = {} if report.ties else places.mistakes
    return replace(report, findings=placed(report.findings, known), loss=places.loss)


def assert_policy_gradient(
    subject: Subject | OnPolicyAlgorithm,
    *arguments: Any,
    **settings: Any,
) -> GradientReport:
    """Checks a policy gradient in a test.

    Args:
        subject: the code to check.
        *arguments: see `check_policy_gradient`.
        **settings: see `check_policy_gradient`.

    Returns:
        The report.

    Raises:
        AssertionError: unless the gradient is right for the target; the message is the
            report.

    Example:
        >>> def test_loss():
        ...     assert_policy_gradient(my_loss, target="algorithm")
    """
    settings.setdefault("progress_bar", False)
    report = check_policy_gradient(subject, *arguments, **settings)
    if not report.right:
        raise AssertionError(f"\n{report}")
    return report


def _tasks(
    subject: object,
    env: str | TabularMDP | gymnasium.Env[Any, Any] | None,
    policy: nn.Module | None,
    gamma: float,
    horizon: int | None,
    bootstrap: bool,
) -> tuple[Task, ...]:
    if env is not None:
        return (resolve_task(env, gamma, horizon, bootstrap),)
    n_actions, space = 3, None
    if isinstance(subject, OnPolicyAlgorithm):
        action_space, space = subject.action_space, subject.observation_space
        if not isinstance(action_space, spaces.Discrete):
            raise CannotCheckError(
                f"the model's actions are {action_space}; accepted is a Discrete space"
            )
        n_actions = int(action_space.n)
        if not isinstance(space, spaces.Box | spaces.Discrete):
            raise CannotCheckError(
                f"the model's observations are {space}; accepted are Box and Discrete"
            )
    elif policy is not None:
        n_actions, space = _spaces_of(policy)
    if horizon is not None:
        check_count("horizon", horizon)
        horizon = operator.index(horizon)
    return battery(
        n_actions,
        gamma,
        observation_space=space,
        horizon=horizon or HORIZON,
        bootstrap=bootstrap,
    )


def _spaces_of(policy: nn.Module) -> tuple[int, spaces.Space[Any]]:
    """Returns the number of actions and an observation space that fit a policy.

    Raises:
        CannotCheckError: if its first layer is neither linear nor an embedding.
    """
    if isinstance(policy, TablePolicy):
        shape = tuple(policy.observations.shape[1:])
        return policy.logits.shape[1], spaces.Box(-1.0, 1.0, shape)
    for layer in policy.modules():
        if isinstance(layer, nn.Linear):
            space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (layer.in_features,))
            observations = torch.zeros(2, layer.in_features)
            break
        if isinstance(layer, nn.Embedding):
            space = spaces.Discrete(layer.num_embeddings)
            observations = torch.zeros(2, dtype=torch.long)
            break
    else:
        raise CannotCheckError(
            f"{type(policy).__name__} has neither a linear layer nor an embedding that "
            "says which observations it takes: pass an env with its observations"
        )
    with preserve_random_state(), preserved_policy(policy):
        return PolicyReader(policy, observations).log_probs().shape[-1], space


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


def _shown(file: str) -> str:
    """Returns a file's path from the working folder, if it lies there."""
    path, folder = Path(file), Path.cwd()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _name(subject: object) -> str:
    if isinstance(subject, BaseAlgorithm):
        return type(subject).__name__
    return getattr(subject, "__qualname__", type(subject).__name__)
