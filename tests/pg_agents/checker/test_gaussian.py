"""Mistakes in the log-probability of a Gaussian, identified from torch's gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from pg_agents.checker.identify import Identification, identify
from pg_agents.checker.record import Record, Transitions, Update
from tests.pg_agents.checker.synthetic import GAMMA, tasks

D = 2
Score = Callable[[Normal, Tensor], Tensor]


def records(score: Score, shared: bool, n_updates: int = 40) -> list[Record]:
    """Records reward to go times a score; the rewards depend on no action.

    Args:
        score: from the distribution and the action to "log-probabilities" `[T, D]`.
        shared: whether all states share the deviation.
        n_updates: number of updates of one or two episodes of 1 to 4 steps.
    """
    return [_record(score, shared, n_updates, seed) for seed in (1, 2)]


def _record(score: Score, shared: bool, n_updates: int, seed: int) -> Record:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    task = tasks()[0]
    n = task.mdp.n_states
    log_std = 0.4 * rng.normal(size=(1 if shared else n, D))
    policy = np.concatenate(
        [0.5 * rng.normal(size=(n, D)), np.broadcast_to(log_std, (n, D))], axis=1
    )
    outputs = torch.tensor(policy, requires_grad=True)
    rows: list[tuple[int, float, int, bool]] = []
    actions: list[np.ndarray] = []
    updates = []
    for _ in range(n_updates):
        first = len(rows)
        returns: list[float] = []
        for _ in range(int(rng.integers(1, 3))):
            length = int(rng.integers(1, 5))
            rewards = rng.normal(size=length)
            powers = GAMMA ** np.arange(length)
            returns += [
                float(powers[: length - t] @ rewards[t:]) for t in range(length)
            ]
            rows += [
                (int(rng.integers(n)), r, t, t == length - 1)
                for t, r in enumerate(rewards.tolist())
            ]
        state = [row[0] for row in rows[first:]]
        dist = Normal(outputs[state, :D], outputs[state, D:].exp())
        action = dist.rsample()
        actions += list(action.detach().numpy())
        loss = -(torch.tensor(returns)[:, None] * score(dist, action)).sum()
        (gradient,) = torch.autograd.grad(loss, outputs)
        table = gradient.numpy()
        if shared:
            # What one parameter for all states can tell.
            table[:, D:] = table[:, D:].mean(axis=0)
        updates.append(Update(first, len(rows), table))
    s, reward, time, done = map(np.array, zip(*rows, strict=True))
    return Record(
        task,
        policy,
        None,
        Transitions(
            s,
            np.array(actions),
            reward,
            s,
            done,
            np.zeros(len(s), np.bool_),
            np.zeros(len(s), np.int64),
            np.cumsum(time == 0),
            time,
            clipped=np.clip(actions, -1.0, 1.0),
        ),
        tuple(updates),
        family="gaussian",
        basis=_basis(n) if shared else None,
    )


def _basis(n: int) -> np.ndarray:
    """Returns unit vectors of all means, and of each deviation in all states."""
    columns = []
    for s in range(n):
        for d in range(D):
            column = np.zeros((n, 2 * D))
            column[s, d] = 1.0
            columns.append(column.ravel())
    for d in range(D):
        column = np.zeros((n, 2 * D))
        column[:, D + d] = 1.0 / np.sqrt(n)
        columns.append(column.ravel())
    return np.array(columns).T


SCORES: dict[str, tuple[Score, list[str]]] = {
    "right": (lambda d, a: d.log_prob(a.detach()), []),
    "clipped": (lambda d, a: d.log_prob(a.detach().clamp(-1, 1)), ["clipped_action"]),
    "not detached": (lambda d, a: d.log_prob(a), ["action_not_detached"]),
    "variance": (
        lambda d, a: Normal(d.loc, d.scale**2).log_prob(a.detach()),
        ["other_deviation"],
    ),
    "root": (
        lambda d, a: Normal(d.loc, d.scale**0.5).log_prob(a.detach()),
        ["other_deviation"],
    ),
    "drawn again": (lambda d, a: d.log_prob(d.sample()), ["action_resampled"]),
}


QUICK = ("right", "drawn again")


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
        for name in SCORES
    ],
)
def test_what_multiplies_the_return_is_named(name: str, shared: bool) -> None:
    score, expected = SCORES[name]
    found: Identification = identify(records(score, shared), known_gamma=False)
    assert found.formula is not None and not found.ties
    assert [part.key for part in found.mistakes] == expected


def test_noise_is_not_taken_for_an_action_that_was_drawn_again() -> None:
    found = identify(
        records(lambda d, a: d.log_prob(a.detach()) * torch.rand(len(a), 1), True)
    )
    assert found.formula is None
