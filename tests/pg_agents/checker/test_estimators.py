"""The reference estimator by enumeration, in plain Python, and as a loss."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pitfalls
import pytest
import torch
from numpy.typing import NDArray

from pg_agents.checker.episodes import Steps, batches, sample_episodes
from pg_agents.checker.estimators import (
    Sample,
    control_variates,
    reward_to_go,
)
from pg_agents.checker.function_subject import TablePolicy
from pg_agents.checker.task import Task
from pg_envs import sequence_mdp
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
    policy: Floats = POLICY,
) -> Sample:
    columns = list(zip(*itertools.chain(*episodes), strict=True))
    state, action, reward, later, end = (np.array(column) for column in columns)
    lengths = [len(rows) for rows in episodes]
    time = np.concatenate([np.arange(n) for n in lengths])
    episode = np.repeat(np.arange(len(lengths)), lengths)
    cut = ~end & (time == task.horizon - 1)
    steps = Steps(state, action, reward, later, end, cut, time, episode)
    return Sample(steps, task, policy, size)


def pairs(task: Task) -> tuple[Floats, Sample, list[tuple[Rows, ...]]]:
    """All batches of two episodes: probabilities, sample and the batches themselves."""
    every = list(all_episodes(task))
    assert sum(p for p, _ in every) == pytest.approx(1.0)
    two = list(itertools.product(every, repeat=2))
    weights = np.array([first[0] * second[0] for first, second in two])
    made: list[tuple[Rows, ...]] = [(one[1], other[1]) for one, other in two]
    return weights, as_sample(task, list(itertools.chain(*made)), 2), made


def to_go(rows: Rows, values: Floats) -> list[float]:
    """Discounted rewards from each step on, in plain Python."""
    _, _, _, after, end = rows[-1]
    rewards = [row[2] for row in rows] + [0.0 if end else values[len(rows), after]]
    return [
        sum(GAMMA ** (k - t) * rewards[k] for k in range(t, len(rewards)))
        for t in range(len(rows))
    ]


@BOTH_LIMITS
def test_estimates_equal_those_of_plain_python(bootstrap: bool) -> None:
    task = tiny(bootstrap)
    _, sample, made = pairs(task)
    values = task.values(POLICY)
    for row, batch in zip(reward_to_go(sample, SCORES), made, strict=True):
        expected = np.zeros(4)
        for rows in batch:
            for t, (g, step) in enumerate(zip(to_go(rows, values), rows, strict=True)):
                expected += GAMMA**t * g * SCORES[step[0], step[1]] / len(batch)
        np.testing.assert_allclose(row, expected, atol=1e-6)


@BOTH_LIMITS
def test_reward_to_go_is_unbiased_and_control_variates_have_mean_zero(
    bootstrap: bool,
) -> None:
    task = tiny(bootstrap)
    weights, sample, _ = pairs(task)
    gradient = np.einsum("sa,sa,sad->d", POLICY, task.return_gradient(POLICY), SCORES)
    found = weights @ reward_to_go(sample, SCORES)
    np.testing.assert_allclose(found, gradient, atol=1e-12)
    noise = control_variates(sample, SCORES, gradient)
    assert noise.shape == (len(weights), 8)
    np.testing.assert_allclose(weights @ noise, 0.0, atol=1e-12)
    assert (noise.std(axis=0) > 0.0).all()


def test_estimates_equal_gradients_of_the_loss() -> None:
    """On the same 25 batches; the loss is float32, the estimate is not."""
    task = Task(sequence_mdp(goal_reward=5.0), "", 0.9, 6, bootstrap=False)
    table = TablePolicy(task.mdp.observations, 3)
    policy = table.logits.detach().double().softmax(-1).numpy()
    steps = sample_episodes(task, policy, 200, np.random.default_rng(2))
    found = reward_to_go(Sample(steps, task, policy, 8), softmax_scores(policy))
    made = batches(steps, task, policy, 8, 4)
    for row, batch in zip(found, made, strict=True):
        loss = pitfalls.right(batch, table)
        (gradient,) = torch.autograd.grad(loss, table.logits)
        np.testing.assert_allclose(row, -gradient.flatten(), atol=2e-5, rtol=1e-4)
