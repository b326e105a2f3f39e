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

from pg_agents.checker import estimators as e
from pg_agents.checker.episodes import Steps, batches, sample_episodes
from pg_agents.checker.estimators import Estimator, Sample, estimates, known_noise
from pg_agents.checker.table_policy import TablePolicy
from pg_agents.checker.task import Task
from pg_envs import oracle, sequence_mdp
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
    "exact": lambda p, all_g: p.g,
    "probability": lambda p, all_g: [
        g * POLICY[row[0], row[1]] for g, row in zip(p.g, p.rows, strict=True)
    ],
    "flipped": lambda p, all_g: [-g for g in p.g],
    "off_by_one": lambda p, all_g: [*p.g[1:], 0.0],
    "next_state": lambda p, all_g: p.g,
    "gamma_twice": lambda p, all_g: [GAMMA**t * g for t, g in enumerate(p.g)],
    "mean_over_steps": lambda p, all_g: [
        g * len(all_g) / sum(map(len, all_g)) for g in p.g
    ],
    "mean_per_time": lambda p, all_g: [
        g - sum(other[t] for other in all_g if t < len(other)) / len(all_g)
        for t, g in enumerate(p.g)
    ],
    "mean_of_all": lambda p, all_g: [g - statistics.fmean(flat(all_g)) for g in p.g],
    "mean_of_starts": lambda p, all_g: [
        g - statistics.fmean(other[0] for other in all_g) for g in p.g
    ],
    "standardized_in_batch": lambda p, all_g: standard(p.g, flat(all_g)),
    "standardized_in_episode": lambda p, all_g: standard(p.g, p.g),
    "standardized_and_averaged": lambda p, all_g: [
        g * len(all_g) / sum(map(len, all_g)) for g in standard(p.g, flat(all_g))
    ],
    "cut_to_integers": lambda p, all_g: [float(int(g)) for g in p.g],
    "rounded": lambda p, all_g: [float(round(g)) for g in p.g],
    "td_through_the_end": lambda p, all_g: p.td(stop=False),
    "return_through_the_end": lambda p, all_g: [
        g - v for g, v in zip(p.returns(p.beyond[-1]), p.present, strict=True)
    ],
    "td_without_truncation": lambda p, all_g: p.td(stop=True),
    "return_without_truncation": lambda p, all_g: p.returns(0.0),
    # Side by side, the shorter of two; of equal ones the first.
    "first_finished": lambda p, all_g: [
        2.0 * g * (p.g is min(all_g, key=len)) for g in p.g
    ],
}


def test_every_estimator_has_a_formula_here() -> None:
    defined = {
        name
        for name, thing in vars(e).items()
        if getattr(thing, "__annotations__", {}).get("return") == "Weights"
    }
    assert defined == set(FORMULAS)


@BOTH_LIMITS
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("drop_gamma_t", [False, True])
def test_the_estimate_of_every_batch_is_that_of_plain_python(
    name: str, bootstrap: bool, drop_gamma_t: bool
) -> None:
    task = tiny(bootstrap)
    _, sample, made = pairs(task, n_envs=2)
    discount = np.ones_like(sample.gamma_t) if drop_gamma_t else sample.gamma_t
    found = estimates(sample, getattr(e, name), SCORES, discount)
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


def expectation(task: Task, weight: Floats, place: int = 0) -> Floats:
    """`sum gamma^t P(s, a, s' at t) weight[t, s, a, s'] score`, by the tables."""
    mdp, total = task.mdp, np.zeros(4)
    present: Floats = mdp.initial_distribution
    for t in range(task.horizon):
        later = np.zeros(2)
        for s, a, x in itertools.product(range(2), repeat=3):
            p = present[s] * POLICY[s, a] * mdp.transition[s, a, x]
            score = (SCORES[s, a], SCORES[x, a])[place]
            total += GAMMA**t * p * weight[t, s, a, x] * score
            later[x] += 0.0 if mdp.terminal[s, a, x] else p
        present = later
    return total


def closed_forms(task: Task) -> dict[str, Floats]:
    """The mean weight of (t, s, a, s') by the theory of what each estimator forgets."""
    mdp, v = task.mdp, task.values(POLICY)
    r, on = mdp.reward, ~mdp.terminal
    # Values with the critic's behind an end that has none.
    through = v.copy()
    for t in reversed(range(task.horizon)):
        worth = r + GAMMA * np.where(on, through[t + 1], v[t + 1])
        through[t] = np.einsum("sa,sax,sax->s", POLICY, mdp.transition, worth)
    limited = replace(task, bootstrap=False).values(POLICY)
    later, through, limited = (
        table[1:, None, None, :] for table in (v, through, limited)
    )
    time = np.arange(task.horizon)[:, None, None, None]
    inside = on & (time < task.horizon - 1)
    q = r + GAMMA * on * later
    return {
        "exact": q,
        "probability": q * POLICY[:, :, None],
        "flipped": -q,
        "off_by_one": inside * later,
        "next_state": q,
        "gamma_twice": GAMMA**time * q,
        "mean_per_time": (1.0 - 1.0 / 2.0) * q,
        "td_through_the_end": r + GAMMA * later,
        "return_through_the_end": r + GAMMA * np.where(on, through, later),
        "td_without_truncation": r + GAMMA * inside * later,
        "return_without_truncation": r + GAMMA * on * limited,
    }


@BOTH_LIMITS
@pytest.mark.parametrize("name", closed_forms(tiny(False)))
def test_the_expectation_over_all_batches_is_what_theory_says(
    name: str, bootstrap: bool
) -> None:
    task = tiny(bootstrap)
    weights, sample, _ = pairs(task)
    found = weights @ estimates(sample, getattr(e, name), SCORES, sample.gamma_t)
    place = 1 if name == "next_state" else 0
    expected = expectation(task, closed_forms(task)[name], place)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@BOTH_LIMITS
def test_exact_expects_the_oracles_gradient_and_the_known_noise_nothing(
    bootstrap: bool,
) -> None:
    task = tiny(bootstrap)
    weights, sample, _ = pairs(task)
    gradient = np.einsum("sa,sa,sad->d", POLICY, task.return_gradient(POLICY), SCORES)
    found = weights @ estimates(sample, e.exact, SCORES, sample.gamma_t)
    np.testing.assert_allclose(found, gradient, atol=1e-12)
    noise = known_noise(sample, SCORES, gradient)
    assert noise.shape == (len(weights), 8)
    np.testing.assert_allclose(weights @ noise, 0.0, atol=1e-12)
    assert (noise.std(axis=0) > 0.0).all()


def test_exact_agrees_with_the_oracle_on_sampled_episodes() -> None:
    """2,000 batches; each of 9 numbers within 4 standard errors of its mean.

    One of them is further off in one run of 1,700, over the choice of the seed.
    """
    task = Task(sequence_mdp(), "", 0.9, 8)
    policy = np.random.default_rng(0).dirichlet(np.ones(3), size=3)
    scores = softmax_scores(policy)
    steps = sample_episodes(task, policy, 8_000, np.random.default_rng(1))
    sample = Sample(steps, task, policy, 4, 2)
    found = estimates(sample, e.exact, scores, sample.gamma_t)
    slope = oracle.return_gradient(task.mdp, policy, 0.9, 8)
    gradient = np.einsum("sa,sa,sad->d", policy, slope, scores)
    error = found.std(axis=0) / len(found) ** 0.5
    assert (np.abs(found.mean(axis=0) - gradient) < 4.0 * error).all()


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
def test_first_finished_keeps_the_half_that_ends_first(
    n_envs: int, lengths: list[int], kept: list[int]
) -> None:
    task = replace(tiny(False), horizon=6)
    rows = [tuple((0, 0, 1.0, 0, t == n - 1) for t in range(n)) for n in lengths]
    sample = as_sample(task, rows, 4, n_envs)
    weights = e.first_finished(sample, np.ones(sum(lengths)))
    assert isinstance(weights, np.ndarray)
    factor = np.where(np.isin(sample.steps.episode, kept), 2.0, 0.0)
    np.testing.assert_allclose(weights, factor * sample.returns)


def test_first_finished_of_a_single_episode_is_that_one() -> None:
    sample = as_sample(tiny(False), [((0, 0, 3.0, 0, True),)], 1)
    assert isinstance(weights := e.first_finished(sample, np.ones(1)), np.ndarray)
    assert weights.tolist() == [3.0]


OF_PITFALLS: dict[str, tuple[Estimator, bool]] = {
    "right": (e.exact, False),
    "probability": (e.probability, False),
    "sign_flipped": (e.flipped, False),
    "off_by_one": (e.off_by_one, False),
    "next_state": (e.next_state, False),
    "gamma_dropped": (lambda s, _: e.exact(s, np.ones_like(s.gamma_t)), False),
    "gamma_twice": (e.gamma_twice, False),
    "mean_over_steps": (e.mean_over_steps, False),
    "batch_mean_baseline": (e.mean_per_time, False),
    "standardized": (e.standardized_in_batch, False),
    "rounded": (e.cut_to_integers, False),
    "through_terminal": (e.td_through_the_end, True),
    "no_bootstrap_at_truncation": (e.td_without_truncation, True),
    "first_finished": (e.first_finished, False),
}
PAIRS = [
    *((getattr(pitfalls, name), *how) for name, how in OF_PITFALLS.items()),
    *((LOSSES[name], ESTIMATORS[name], False) for name in LOSSES),
    (LOSSES["exact critic"], ESTIMATORS["exact critic"], True),
    (pitfalls.through_terminal, e.td_through_the_end, False),
]


@pytest.mark.parametrize(
    ("loss", "estimator", "bootstrap"), PAIRS, ids=lambda x: getattr(x, "__name__", x)
)
def test_the_estimate_is_the_gradient_of_the_loss_that_makes_it(
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
