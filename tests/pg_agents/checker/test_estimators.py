"""Every estimator by enumeration, in plain Python, and as the loss that makes it."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pitfalls
import pytest
import torch
from numpy.typing import NDArray

from pg_agents.checker import CATALOGUE, mistakes
from pg_agents.checker.episodes import Steps, batches, sample_episodes
from pg_agents.checker.estimators import (
    Estimator,
    Sample,
    control_variates,
    estimates,
    reward_to_go,
)
from pg_agents.checker.function_subject import TablePolicy
from pg_agents.checker.task import Task
from pg_envs import sequence_mdp
from proofs.unbiased_losses import ESTIMATORS, LOSSES
from tests.pg_envs.tabular_examples import random_mdp

Floats = NDArray[np.float64]
Rows = tuple[tuple[int, int, float, int, bool], ...]  # state, action, reward, next, end
GAMMA = 0.8
BOTH_LIMITS = pytest.mark.parametrize("bootstrap", [False, True])


def tiny(bootstrap: bool) -> Task:
    """Two states, two actions, two steps, all possible, rewards of both signs."""
    mdp = random_mdp(2, n_states=2, n_actions=2, terminal_share=0.4)
    assert 0 < mdp.terminal.sum() < 6
    return Task(replace(mdp, reward=6.0 * mdp.reward - 2.5), "", GAMMA, 2, bootstrap)


POLICY = np.array([[0.3, 0.7], [0.6, 0.4]])


def softmax_scores(policy: Floats) -> Floats:
    """`grad log pi(a|s)` by a table of logits, `[S, A, S A]`: one-hot minus pi."""
    n, k = policy.shape
    scores = np.zeros((n, k, n, k))
    for s, a in np.ndindex(n, k):
        scores[s, a, s] = np.eye(k)[a] - policy[s]
    return scores.reshape(n, k, n * k)


SCORES = softmax_scores(POLICY)


def all_episodes(task: Task) -> Iterator[tuple[float, Rows]]:
    """Every episode with its probability."""
    mdp = task.mdp

    def go_on(p: float, s: int, rows: Rows) -> Iterator[tuple[float, Rows]]:
        for a, x in itertools.product(range(mdp.n_actions), range(mdp.n_states)):
            q = p * POLICY[s, a] * mdp.transition[s, a, x]
            end = bool(mdp.terminal[s, a, x])
            now = (*rows, (s, a, float(mdp.reward[s, a, x]), x, end))
            if end or len(now) == task.horizon:
                yield q, now
            else:
                yield from go_on(q, x, now)

    for s, p in enumerate(mdp.initial_distribution):
        yield from go_on(float(p), s, ())


def as_sample(
    task: Task,
    episodes: list[Rows],
    size: int,
    n_envs: int = 1,
    policy: Floats = POLICY,
) -> Sample:
    columns = list(zip(*itertools.chain(*episodes), strict=True))
    state, action, reward, later, end = (np.array(column) for column in columns)
    lengths = [len(rows) for rows in episodes]
    time = np.concatenate([np.arange(n) for n in lengths])
    episode = np.repeat(np.arange(len(lengths)), lengths)
    cut = ~end & (time == task.horizon - 1)
    steps = Steps(state, action, reward, later, end, cut, time, episode)
    return Sample(steps, task, policy, size, n_envs)


def pairs(task: Task, n_envs: int = 1) -> tuple[Floats, Sample, list[tuple[Rows, ...]]]:
    """All batches of two episodes: probabilities, sample and the batches themselves."""
    every = list(all_episodes(task))
    assert sum(p for p, _ in every) == pytest.approx(1.0)
    two = list(itertools.product(every, repeat=2))
    weights = np.array([first[0] * second[0] for first, second in two])
    made: list[tuple[Rows, ...]] = [(one[1], other[1]) for one, other in two]
    return weights, as_sample(task, list(itertools.chain(*made)), 2, n_envs), made


@dataclass
class Played:
    """An episode and the numbers that weights are made of, in plain Python."""

    rows: Rows
    values: Floats

    def __post_init__(self) -> None:
        self.last = len(self.rows) - 1
        self.present = [self.values[t, row[0]] for t, row in enumerate(self.rows)]
        self.beyond = [self.values[t + 1, row[3]] for t, row in enumerate(self.rows)]
        self.g = self.returns(0.0 if self.rows[-1][4] else self.beyond[-1])

    def returns(self, behind: float) -> list[float]:
        rewards = [row[2] for row in self.rows] + [behind]
        return [
            sum(GAMMA ** (k - t) * rewards[k] for k in range(t, len(rewards)))
            for t in range(len(self.rows))
        ]

    def td(self, stop: bool) -> list[float]:
        return [
            row[2] + GAMMA * (0.0 if stop and t == self.last else b) - v
            for t, (row, b, v) in enumerate(
                zip(self.rows, self.beyond, self.present, strict=True)
            )
        ]


def flat(all_g: list[list[float]]) -> list[float]:
    return list(itertools.chain(*all_g))


def standard(numbers: list[float], of: list[float]) -> list[float]:
    if len(of) == 1:
        return numbers
    spread = statistics.stdev(of) + 1e-8
    return [(x - statistics.fmean(of)) / spread for x in numbers]


# Weights of an episode's steps, given the returns of the batch's episodes.
Formula = Callable[[Played, list[list[float]]], list[float]]
FORMULAS: dict[str, Formula] = {
    "reward_to_go": lambda p, all_g: p.g,
    "probability": lambda p, all_g: [
        g * POLICY[row[0], row[1]] for g, row in zip(p.g, p.rows, strict=True)
    ],
    "sign_flipped": lambda p, all_g: [-g for g in p.g],
    "off_by_one": lambda p, all_g: [*p.g[1:], 0.0],
    "next_state": lambda p, all_g: p.g,
    "gamma_twice": lambda p, all_g: [GAMMA**t * g for t, g in enumerate(p.g)],
    "mean_over_steps": lambda p, all_g: [
        g * len(all_g) / sum(map(len, all_g)) for g in p.g
    ],
    "baseline_per_time_step": lambda p, all_g: [
        g - sum(other[t] for other in all_g if t < len(other)) / len(all_g)
        for t, g in enumerate(p.g)
    ],
    "baseline_over_steps": lambda p, all_g: [
        g - statistics.fmean(flat(all_g)) for g in p.g
    ],
    "baseline_over_episodes": lambda p, all_g: [
        g - statistics.fmean(other[0] for other in all_g) for g in p.g
    ],
    "standardized_in_batch": lambda p, all_g: standard(p.g, flat(all_g)),
    "standardized_in_episode": lambda p, all_g: standard(p.g, p.g),
    "standardized_mean_over_steps": lambda p, all_g: [
        g * len(all_g) / sum(map(len, all_g)) for g in standard(p.g, flat(all_g))
    ],
    "cast_to_int": lambda p, all_g: [float(int(g)) for g in p.g],
    "rounded": lambda p, all_g: [float(round(g)) for g in p.g],
    "td_through_terminal": lambda p, all_g: p.td(stop=False),
    "return_through_terminal": lambda p, all_g: [
        g - v for g, v in zip(p.returns(p.beyond[-1]), p.present, strict=True)
    ],
    "td_without_bootstrap": lambda p, all_g: p.td(stop=True),
    "return_without_bootstrap": lambda p, all_g: p.returns(0.0),
    # Side by side, the shorter of two; of equal ones the first.
    "first_finished": lambda p, all_g: [
        2.0 * g * (p.g is min(all_g, key=len)) for g in p.g
    ],
}


ALL_ESTIMATORS: dict[str, Estimator] = {
    "reward_to_go": reward_to_go,
    **{e.__name__: e for mistake in CATALOGUE for e in mistake.estimators},
}


def test_every_estimator_of_the_catalogue_has_a_formula() -> None:
    assert set(ALL_ESTIMATORS) == set(FORMULAS)


@BOTH_LIMITS
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("drop_gamma_t", [False, True])
def test_estimates_equal_those_of_plain_python(
    name: str, bootstrap: bool, drop_gamma_t: bool
) -> None:
    task = tiny(bootstrap)
    _, sample, made = pairs(task, n_envs=2)
    discount = np.ones_like(sample.gamma_t) if drop_gamma_t else sample.gamma_t
    found = estimates(sample, ALL_ESTIMATORS[name], SCORES, discount)
    values = task.values(POLICY)
    for row, batch in zip(found, made, strict=True):
        played = [Played(rows, values) for rows in batch]
        expected = np.zeros(4)
        for p in played:
            weights = FORMULAS[name](p, [other.g for other in played])
            for t, (w, step) in enumerate(zip(weights, p.rows, strict=True)):
                power = 1.0 if drop_gamma_t else GAMMA**t
                state = step[3] if name == "next_state" else step[0]
                expected += power * w * SCORES[state, step[1]] / len(batch)
        np.testing.assert_allclose(row, expected, atol=1e-6)


@BOTH_LIMITS
def test_reward_to_go_is_unbiased_and_control_variates_have_mean_zero(
    bootstrap: bool,
) -> None:
    task = tiny(bootstrap)
    weights, sample, _ = pairs(task)
    gradient = np.einsum("sa,sa,sad->d", POLICY, task.return_gradient(POLICY), SCORES)
    found = weights @ estimates(sample, reward_to_go, SCORES, sample.gamma_t)
    np.testing.assert_allclose(found, gradient, atol=1e-12)
    noise = control_variates(sample, SCORES, gradient)
    assert noise.shape == (len(weights), 8)
    np.testing.assert_allclose(weights @ noise, 0.0, atol=1e-12)
    assert (noise.std(axis=0) > 0.0).all()


@pytest.mark.parametrize(
    ("n_envs", "lengths", "kept"),
    [
        # One after the other: the first half, however long they are.
        (1, [5, 1, 2, 2], [0, 1]),
        # 5, 6 in one environment and 2, 4 in the other.
        (2, [5, 1, 2, 2], [2, 3]),
        # 3, 4 and 3, 6: of two that end together, the first is first.
        (2, [3, 1, 3, 3], [0, 2]),
        (4, [5, 1, 2, 2], [1, 2]),
        (4, [4, 4, 4, 4], [0, 1]),
    ],
)
def test_first_finished_uses_the_half_that_ends_first(
    n_envs: int, lengths: list[int], kept: list[int]
) -> None:
    task = replace(tiny(False), horizon=6)
    rows = [tuple((0, 0, 1.0, 0, t == n - 1) for t in range(n)) for n in lengths]
    sample = as_sample(task, rows, 4, n_envs)
    weights = mistakes.first_finished(sample, np.ones(sum(lengths)))
    assert isinstance(weights, np.ndarray)
    factor = np.where(np.isin(sample.steps.episode, kept), 2.0, 0.0)
    np.testing.assert_allclose(weights, factor * sample.returns)


OF_PITFALLS: dict[str, tuple[Estimator, bool]] = {
    "right": (reward_to_go, False),
    "probability": (mistakes.probability, False),
    "sign_flipped": (mistakes.sign_flipped, False),
    "off_by_one": (mistakes.off_by_one, False),
    "next_state": (mistakes.next_state, False),
    "gamma_dropped": (lambda s, _: reward_to_go(s, np.ones_like(s.gamma_t)), False),
    "gamma_twice": (mistakes.gamma_twice, False),
    "mean_over_steps": (mistakes.mean_over_steps, False),
    "batch_mean_baseline": (mistakes.baseline_per_time_step, False),
    "standardized": (mistakes.standardized_in_batch, False),
    "rounded": (mistakes.cast_to_int, False),
    "through_terminal": (mistakes.td_through_terminal, True),
    "no_bootstrap_at_truncation": (mistakes.td_without_bootstrap, True),
    "first_finished": (mistakes.first_finished, False),
}
PAIRS = [
    *((getattr(pitfalls, name), *how) for name, how in OF_PITFALLS.items()),
    *((LOSSES[name], ESTIMATORS[name], False) for name in LOSSES),
    (LOSSES["exact critic"], ESTIMATORS["exact critic"], True),
    (pitfalls.through_terminal, mistakes.td_through_terminal, False),
]


@pytest.mark.parametrize(
    ("loss", "estimator", "bootstrap"), PAIRS, ids=lambda x: getattr(x, "__name__", x)
)
def test_estimates_equal_gradients_of_the_corresponding_losses(
    loss: Callable[..., torch.Tensor], estimator: Estimator, bootstrap: bool
) -> None:
    """On the same 25 batches; the loss is float32, the estimate is not."""
    task = Task(sequence_mdp(goal_reward=5.0), "", 0.9, 6, bootstrap)
    table = TablePolicy(task.mdp.observations, 3)
    policy = table.logits.detach().double().softmax(-1).numpy()
    steps = sample_episodes(task, policy, 200, np.random.default_rng(2))
    sample = Sample(steps, task, policy, 8, 4)
    found = estimates(sample, estimator, softmax_scores(policy), sample.gamma_t)
    made = batches(steps, task, policy, 8, 4)
    for row, batch in zip(found, made, strict=True):
        (gradient,) = torch.autograd.grad(loss(batch, table), table.logits)
        np.testing.assert_allclose(row, -gradient.flatten(), atol=2e-5, rtol=1e-4)
