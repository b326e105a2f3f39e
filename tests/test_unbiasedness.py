"""The expected gradient of every estimator is what theory predicts.

Every row of `docs/estimators.md` is a test here.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from pg_agents import REINFORCE
from pg_agents.algorithms.config import PolicyGradientConfig
from pg_envs import oracle
from proofs.enumeration import BRANCHING, LIMITED, Step, Task, rollouts
from proofs.estimator_cases import CASES, Case, relative_bias
from proofs.estimator_theory import expected_gradient
from proofs.estimator_variance import (
    FROZEN_LAKE,
    LEAVE_ONE_OUT,
    NONE,
    SEQUENCE,
    VALUE,
    sample_gradients,
)
from proofs.scripted import ScriptedPolicy, ScriptedVectorEnv, play, set_up

WITH_CLOSED_FORM = [case for case in CASES if not case.standardised]
TASKS = pytest.mark.parametrize("task", [BRANCHING, LIMITED], ids=lambda t: str(t.name))


def names(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_agents_expected_gradient_is_what_theory_predicts(case: Case) -> None:
    """Over all rollouts, to 1e-6 of the gradient's largest component."""
    mean = case.measured().mean
    scale = float(np.abs(case.exact()).max())
    np.testing.assert_allclose(mean, case.theory(), rtol=0, atol=1e-6 * scale)
    # Unbiased if and only if theory knows of no bias.
    is_exact = not case.biases and case.settings.baseline != "mean"
    assert (relative_bias(case, mean) < 1e-6) == is_exact


def test_cases_have_different_names() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", WITH_CLOSED_FORM, ids=names)
def test_closed_form_and_enumerated_formula_agree(case: Case) -> None:
    """Neither uses the agents' code."""
    np.testing.assert_allclose(case.by_formula().mean, case.theory(), atol=1e-13)


@TASKS
def test_closed_form_without_bias_is_the_oracles_gradient(task: Task) -> None:
    settings = PolicyGradientConfig(gamma=task.gamma, weight_by_gamma_t=True)
    got = expected_gradient(task, settings, np.zeros(task.mdp.n_states))
    np.testing.assert_allclose(got, task.exact_gradient(), atol=1e-13)


def test_dropping_gamma_t_weights_q_by_undiscounted_visits() -> None:
    """Undiscounted state visits of the oracle times its discounted Q."""
    task = BRANCHING
    visits = oracle.occupancy(task.mdp, task.pi, 1.0)
    by_pi = visits[:, None] * oracle.action_values(task.mdp, task.pi, task.gamma)
    settings = PolicyGradientConfig(gamma=task.gamma)
    got = expected_gradient(task, settings, np.zeros(task.mdp.n_states))
    np.testing.assert_allclose(got, task.through_softmax(by_pi), atol=1e-13)


def test_bootstrapping_at_a_limit_with_exact_values_ignores_the_limit() -> None:
    """Visits within the limit times the oracle's Q of the task without a limit."""
    task = LIMITED
    visits = oracle.occupancy(task.mdp, task.pi, task.gamma, task.time_limit)
    by_pi = visits[:, None] * oracle.action_values(task.mdp, task.pi, task.gamma)
    settings = PolicyGradientConfig(
        gamma=task.gamma, estimator="td", baseline="value", weight_by_gamma_t=True
    )
    critic = oracle.state_values(task.mdp, task.pi, task.gamma)
    got = expected_gradient(task, settings, critic)
    np.testing.assert_allclose(got, task.through_softmax(by_pi), atol=1e-13)


@TASKS
@pytest.mark.parametrize("data", [(1, 2, None), (2, 1, None), (1, None, 3)])
def test_the_probabilities_of_all_rollouts_sum_to_one(
    task: Task, data: tuple[int, int | None, int | None]
) -> None:
    probabilities = [probability for probability, _ in rollouts(task, *data)]
    assert min(probabilities) > 0
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-12)


N_ENVS, N_EPISODES, LONG = 4, 2, 7


def episode_of(length: int) -> tuple[Step, ...]:
    return tuple(
        Step(age, 0, 0, 0.0, 0, age == length - 1, False) for age in range(length)
    )


def test_episodes_per_environment_do_not_favour_short_ones() -> None:
    """Episodes have one step or seven, with probability 0.5 each.

    All 256 combinations of two episodes in each of four environments are played to the
    agent: the share of short episodes is exactly 0.5. Over all ways in which the first
    eight episodes to finish can be chosen, their share is 0.62.
    """
    env = ScriptedVectorEnv(BRANCHING, N_ENVS)
    model = REINFORCE(ScriptedPolicy, env, n_episodes=N_EPISODES)
    assert isinstance(model.policy, ScriptedPolicy)
    model.policy.script = env
    callback = set_up(model)
    shares = []
    for lengths in itertools.product((1, LONG), repeat=N_ENVS * N_EPISODES):
        pairs = zip(lengths[::2], lengths[1::2], strict=True)
        play(model, env, [episode_of(a) + episode_of(b) for a, b in pairs], callback)
        buffer = model.rollout_buffer
        ends = buffer.recorded & buffer.terminated
        shares.append((buffer.episode_steps[ends] == 0).mean())
    assert np.mean(shares) == 0.5
    n = N_ENVS * N_EPISODES
    first = np.mean([expected_short(start, n) for start in restarts(N_ENVS)])
    assert first / n == pytest.approx(0.6201, abs=1e-4)


# Remaining steps of each environment's episode, and whether it is a short one.
Clocks = tuple[tuple[int, bool], ...]


def restarts(n: int) -> list[Clocks]:
    return list(itertools.product(((1, True), (LONG, False)), repeat=n))


@functools.cache
def expected_short(clocks: Clocks, n_wanted: int) -> float:
    """Returns the expected number of short ones among the next `n_wanted` to finish."""
    soonest = min(left for left, _ in clocks)
    ends = [i for i, (left, _) in enumerate(clocks) if left == soonest]
    n_short = sum(clocks[i][1] for i in ends[:n_wanted])
    if len(ends) >= n_wanted:
        return float(n_short)
    rest = []
    for new_episodes in restarts(len(ends)):
        following = [(left - soonest, short) for left, short in clocks]
        for i, clock in zip(ends, new_episodes, strict=True):
            following[i] = clock
        rest.append(expected_short(tuple(following), n_wanted - len(ends)))
    return n_short + float(np.mean(rest))


@pytest.mark.parametrize(
    "task",
    # FrozenLake has longer episodes than Sequence.
    [SEQUENCE, pytest.param(FROZEN_LAKE, marks=pytest.mark.slow)],
    ids=lambda t: str(t.name),
)
def test_leave_one_out_and_learned_value_beat_no_baseline(task: Task) -> None:
    """Both are unbiased and have less variance.

    80 updates of 16 episodes, the same for all three. Bounds are 4 standard errors: the
    mean along the exact gradient fails falsely in 6 of 100,000 samples, and a useless
    baseline passes in 3 of 100,000.
    """
    deviations = {}
    for estimator in (NONE, LEAVE_ONE_OUT, VALUE):
        sample = sample_gradients(task, estimator, 80, seed=0, critic_updates=150)
        np.testing.assert_allclose(sample.mean, sample.exact, atol=1e-12)
        exact = sample.exact / np.linalg.norm(sample.exact)
        along = ((sample.gradients - sample.exact) * exact).sum(axis=(1, 2))
        assert abs(along.mean()) < 4 * along.std() / np.sqrt(len(along))
        deviations[estimator.label] = sample.squared_deviations()
    for better in (LEAVE_ONE_OUT, VALUE):
        gain = deviations[NONE.label] - deviations[better.label]
        assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))
