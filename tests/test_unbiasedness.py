"""The expected gradient of every estimator, its bias as theory has it, its variance.

Every row of `docs/estimators.md` is a test here, and every estimator that the agents
offer has a row.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from stable_baselines3.common.logger import Logger

from benchmarks.enumeration import BRANCHING, LIMITED, Step, Task, rollouts
from benchmarks.estimator_cases import CASES, Case
from benchmarks.estimator_theory import expected_gradient
from benchmarks.estimator_variance import (
    FROZEN_LAKE,
    LEAVE_ONE_OUT,
    NONE,
    SEQUENCE,
    VALUE,
    sample_gradients,
)
from benchmarks.estimators import PAGE, UNBIASED, case_row, cases_of_page
from benchmarks.scripted import ScriptedPolicy, ScriptedVectorEnv
from pg_agents import REINFORCE
from pg_agents.algorithms.config import PolicyGradientConfig
from pg_envs import oracle

WITH_CLOSED_FORM = [case for case in CASES if not case.standardised]
TASKS = pytest.mark.parametrize("task", [BRANCHING, LIMITED], ids=lambda t: str(t.name))


def names(case: Case) -> str:
    return case.name


@functools.cache
def page() -> dict[str, list[str]]:
    return cases_of_page(PAGE.read_text())


@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_agents_expected_gradient_is_what_theory_says(case: Case) -> None:
    """By all rollouts; 1e-6 of the gradient's largest component.

    And the row of the page says the same, to its last digit.
    """
    moments = case.measured()
    scale = np.abs(case.exact()).max()
    np.testing.assert_allclose(
        moments.mean, case.theory(), rtol=0, atol=1e-6 * float(scale)
    )
    (now,) = cases_of_page(case_row(case, moments)).values()
    claim, bias, *_ = now
    # Exact where nothing is known against it, and nowhere else.
    is_exact = not case.flaws and case.settings.baseline != "mean"
    assert (bias == UNBIASED) == is_exact
    written = page()[case.name]
    assert written[0] == claim
    for text, figure in zip(written[1:], now[1:], strict=True):
        assert same_figure(text, figure), f"the page says {text}, it is {figure}"


def same_figure(written: str, now: str) -> bool:
    """Whether two cells agree but for one unit of the last digit, by rounding."""
    if UNBIASED in (written, now):
        return written == now
    unit = 0.1 ** len(now.partition(".")[2])
    return abs(float(written) - float(now)) < 1.5 * unit


def test_every_case_has_one_row_in_the_page() -> None:
    assert list(page()) == [
        *(case.name for case in CASES if not case.standardised),
        *(case.name for case in CASES if case.standardised),
    ]


@pytest.mark.parametrize("case", WITH_CLOSED_FORM, ids=names)
def test_closed_form_and_enumerated_formula_agree(case: Case) -> None:
    """Two ways without the agents' code, so that neither hides an error of both."""
    np.testing.assert_allclose(case.by_formula().mean, case.theory(), atol=1e-13)


@TASKS
def test_closed_form_is_the_oracles_gradient_where_nothing_is_wrong(task: Task) -> None:
    exact = PolicyGradientConfig(gamma=task.gamma, weight_by_gamma_t=True)
    nothing = np.zeros(task.mdp.n_states)
    got = expected_gradient(task, exact, nothing)
    np.testing.assert_allclose(got, task.exact_gradient(), atol=1e-13)


def test_dropping_gamma_t_is_the_oracles_undiscounted_visits_times_its_q() -> None:
    """Rule 2, in closed form."""
    task = BRANCHING
    visits = oracle.occupancy(task.mdp, task.pi, 1.0)
    by_pi = visits[:, None] * oracle.action_values(task.mdp, task.pi, task.gamma)
    dropped = PolicyGradientConfig(gamma=task.gamma)
    got = expected_gradient(task, dropped, np.zeros(task.mdp.n_states))
    np.testing.assert_allclose(got, task.through_softmax(by_pi), atol=1e-13)


def test_beyond_a_limit_exact_values_are_worth_those_without_it() -> None:
    """Visits within the limit, each with the oracle's Q as if there were none."""
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
def test_the_rollouts_are_all_there_are(
    task: Task, data: tuple[int, int | None, int | None]
) -> None:
    probabilities = [probability for probability, _ in rollouts(task, *data)]
    assert min(probabilities) > 0
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-12)


N_ENVS, EACH, LONG = 4, 2, 7


def episode_of(length: int) -> tuple[Step, ...]:
    return tuple(
        Step(age, 0, 0, 0.0, 0, age == length - 1, False) for age in range(length)
    )


def test_the_quota_of_episodes_gives_the_exact_share_of_short_ones() -> None:
    """Rule 4: every episode has one step or seven, with probability 0.5.

    All 256 ways in which four environments can play two episodes each are played to the
    agent: the share of short episodes is 0.5. Taking the first eight to finish, all
    their ways being followed too, gives 0.62. (With five steps in place of seven it is
    0.61, with any more 0.62 again.)
    """
    env = ScriptedVectorEnv(BRANCHING, N_ENVS)
    model = REINFORCE(ScriptedPolicy, env, n_episodes=EACH)
    assert isinstance(model.policy, ScriptedPolicy)
    model.policy.script = env
    model.set_logger(Logger(None, []))
    _, callback = model._setup_learn(1)
    assert model.env is not None
    shares = []
    for lengths in itertools.product((1, LONG), repeat=N_ENVS * EACH):
        pairs = zip(lengths[::2], lengths[1::2], strict=True)
        env.play([episode_of(a) + episode_of(b) for a, b in pairs])
        model.collector.reset(model.env)
        model.collect_rollouts(model.env, callback, model.rollout_buffer, None)
        facts = model.rollout_buffer
        ended = facts.recorded & facts.terminated
        shares.append((facts.episode_steps[ended] == 0).mean())
    assert np.mean(shares) == 0.5
    of_first = np.mean(
        [expected_short(start, N_ENVS * EACH) for start in restarts(N_ENVS)]
    )
    assert of_first / (N_ENVS * EACH) == pytest.approx(0.6201, abs=1e-4)


# Steps left of each environment's episode, and whether that is a short one.
Clocks = tuple[tuple[int, bool], ...]


def restarts(n: int) -> list[Clocks]:
    return list(itertools.product(((1, True), (LONG, False)), repeat=n))


@functools.cache
def expected_short(clocks: Clocks, n_wanted: int) -> float:
    """Expected number of short ones among the next `n_wanted` to finish."""
    soonest = min(left for left, _ in clocks)
    ended = [i for i, (left, _) in enumerate(clocks) if left == soonest]
    n_short = sum(clocks[i][1] for i in ended[:n_wanted])
    if len(ended) >= n_wanted:
        return float(n_short)
    rest = []
    for begun in restarts(len(ended)):
        later = [(left - soonest, short) for left, short in clocks]
        for i, clock in zip(ended, begun, strict=True):
            later[i] = clock
        rest.append(expected_short(tuple(later), n_wanted - len(ended)))
    return n_short + float(np.mean(rest))


@pytest.mark.parametrize(
    "task",
    # Sequence asks the same of the same estimators, with shorter episodes.
    [SEQUENCE, pytest.param(FROZEN_LAKE, marks=pytest.mark.slow)],
    ids=lambda t: str(t.name),
)
def test_leave_one_out_and_learned_value_beat_no_baseline(task: Task) -> None:
    """Both are exact and scatter less.

    80 updates of 16 episodes, the same for all three. A mean that misses the exact
    one along it by 4 standard errors would be a false alarm in 6 of 100,000 samples. A
    mean difference of squared deviations above 4 standard errors arises in 3 of 100,000
    if the baseline does not help.
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
