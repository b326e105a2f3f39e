"""Off-policy estimates by enumeration of all episodes, against the exact oracle."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pg_agents.learning.off_policy import (
    importance_sampled_return,
    trajectory_weights,
    v_trace,
)
from pg_agents.learning.returns import (
    generalized_advantage,
    lambda_return,
    reward_to_go,
)
from pg_envs import oracle
from pg_envs.sequence import sequence_mdp

MDP = sequence_mdp()
GAMMA, HORIZON = 0.8, 4
Array = NDArray[np.float64]


def random_policy(seed: int) -> Array:
    logits = np.random.default_rng(seed).normal(size=(3, 3))
    table: Array = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return table


MU, PI = random_policy(1), random_policy(2)


@dataclass
class Episode:
    """A whole episode: columns `[T, 1]`, and its probability under MU."""

    states: NDArray[np.int64]
    actions: NDArray[np.int64]
    rewards: Tensor
    log_ratios: Tensor
    ends: Tensor
    probability: float


def column(values: Any) -> Tensor:
    return torch.as_tensor(np.asarray(values))[:, None]


def episodes() -> Iterator[Episode]:
    """Yields every episode of at most HORIZON steps; the moves are deterministic."""
    for actions in itertools.product(range(3), repeat=HORIZON):
        state, states, rewards, done = 0, [], [], False
        for action in actions:
            states.append(state)
            following = int(MDP.transition[state, action].argmax())
            rewards.append(MDP.reward[state, action, following])
            done = bool(MDP.terminal[state, action, following])
            state = following
            if done:
                break
        # An episode that ends early is enumerated once, followed by zeros.
        if done and any(actions[len(states) :]):
            continue
        obs, chosen = np.array(states), np.array(actions[: len(states)])
        yield Episode(
            states=obs,
            actions=chosen,
            rewards=column(rewards),
            log_ratios=column(np.log(PI[obs, chosen] / MU[obs, chosen])),
            ends=column([False] * (len(states) - 1) + [True]),
            probability=float(MU[obs, chosen].prod()),
        )


def test_probabilities_of_all_episodes_add_up_to_1() -> None:
    assert sum(e.probability for e in episodes()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("baseline", [0.0, 0.37])
def test_importance_weighted_episodes_give_the_exact_gradient(
    baseline: float,
) -> None:
    """Over all episodes of MU the estimate is the oracle's gradient at PI."""
    by_entry = np.zeros((3, 3))
    for e in episodes():
        returns = importance_sampled_return(e.rewards, GAMMA, e.log_ratios, e.ends)
        weights = trajectory_weights(e.log_ratios, e.ends) * (returns - baseline)
        discount = GAMMA ** np.arange(len(e.states))
        np.add.at(
            by_entry,
            (e.states, e.actions),
            e.probability * discount * weights.numpy()[:, 0],
        )
    # sum of w * grad log pi for logits: w minus pi times the sum of w over actions.
    estimate = by_entry - PI * by_entry.sum(1, keepdims=True)
    exact = PI * oracle.return_gradient(MDP, PI, GAMMA, HORIZON)
    exact -= PI * exact.sum(1, keepdims=True)
    np.testing.assert_allclose(estimate, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_unclipped_v_trace_targets_are_the_value_on_average(seed: int) -> None:
    """For any critic: its errors cancel over a whole episode."""
    critic = np.random.default_rng(seed).normal(size=3)
    mean = 0.0
    for e in episodes():
        values = column(critic[e.states])
        targets, _ = v_trace(
            e.rewards,
            values,
            GAMMA,
            e.log_ratios,
            # The horizon is part of the task: it terminates.
            terminated=e.ends,
            next_values=torch.cat([values[1:], values[:1]]),
            rho_clip=math.inf,
            c_clip=math.inf,
        )
        mean += e.probability * float(targets[0, 0])
    exact = oracle.expected_return(MDP, PI, GAMMA, HORIZON)
    assert mean == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("rho_clip", "unbiased"), [(math.inf, True), (1.0, False)])
def test_one_step_of_v_trace_has_the_true_advantage(
    rho_clip: float, unbiased: bool
) -> None:
    """With V^PI as critic: E_MU[A | s, a] mu(a|s) = pi(a|s) (Q - V), if not clipped."""
    values = oracle.state_values(MDP, PI, GAMMA)
    advantage = oracle.action_values(MDP, PI, GAMMA) - values[:, None]
    for state, action in itertools.product(range(3), range(3)):
        following = int(MDP.transition[state, action].argmax())
        _, weight = v_trace(
            column([MDP.reward[state, action, following]]),
            column([values[state]]),
            GAMMA,
            column([np.log(PI[state, action] / MU[state, action])]),
            terminated=column([MDP.terminal[state, action, following]]),
            next_values=column([values[following]]),
            rho_clip=rho_clip,
        )
        got = MU[state, action] * float(weight)
        wanted = PI[state, action] * advantage[state, action]
        clipped = not unbiased and PI[state, action] > MU[state, action]
        assert (abs(got - wanted) < 1e-12) is not clipped


@pytest.mark.parametrize("lambda_", [0.0, 0.6, 1.0])
def test_on_policy_v_trace_is_the_lambda_return_and_gae(lambda_: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (12, 5)
    rewards, values, following = torch.randn((3, *shape), generator=generator)
    terminated = torch.rand(shape, generator=generator) < 0.15
    truncated = torch.rand(shape, generator=generator) < 0.15
    goes_on = ~(terminated | truncated)
    following[:-1] = torch.where(goes_on[:-1], values[1:], following[:-1])
    end = terminated, truncated, following
    targets, advantages = v_trace(
        rewards, values, 0.9, torch.zeros(shape), *end, lambda_=lambda_
    )
    torch.testing.assert_close(targets, lambda_return(rewards, 0.9, lambda_, *end))
    torch.testing.assert_close(
        advantages, generalized_advantage(rewards, values, 0.9, lambda_, *end)
    )
    plain = importance_sampled_return(rewards, 0.9, torch.zeros(shape), *end)
    torch.testing.assert_close(plain, reward_to_go(rewards, 0.9, *end))


def test_v_trace_by_hand() -> None:
    """Two steps, then a termination: ratios 2 and 1/2, clipped at 1 (equation 1)."""
    targets, advantages = v_trace(
        torch.tensor([1.0, 3.0]),
        torch.tensor([0.5, 0.25]),
        0.5,
        torch.tensor([2.0, 0.5]).log(),
        terminated=torch.tensor([False, True]),
        next_values=torch.tensor([0.25, 99.0]),
    )
    second = 0.5 * (3.0 - 0.25)
    first = 1.0 * (1.0 + 0.5 * 0.25 - 0.5) + 0.5 * 1.0 * second
    torch.testing.assert_close(targets, torch.tensor([0.5 + first, 0.25 + second]))
    wanted = [1.0 * (1.0 + 0.5 * (0.25 + second) - 0.5), second]
    torch.testing.assert_close(advantages, torch.tensor(wanted))


def test_weights_restart_with_every_episode() -> None:
    ratios = torch.tensor([2.0, 3.0, 5.0, 7.0]).log()
    ends = torch.tensor([False, True, False, False])
    weights = trajectory_weights(ratios, truncated=ends)
    torch.testing.assert_close(weights, torch.tensor([2.0, 6.0, 5.0, 35.0]))


def test_bad_numbers_and_shapes_are_refused() -> None:
    row = torch.zeros(3)
    with pytest.raises(ValueError, match="log_ratios must have the shape of rewards"):
        importance_sampled_return(row, 0.9, torch.zeros(2))
    with pytest.raises(ValueError, match=r"gamma must lie in \[0, 1\], got 2"):
        importance_sampled_return(row, 2.0, row)
    with pytest.raises(ValueError, match="values must have the shape of rewards"):
        v_trace(row, torch.zeros(4), 0.9, row)
    with pytest.raises(ValueError, match="rho_clip must be a number > 0, got nan"):
        v_trace(row, row, 0.9, row, rho_clip=math.nan)
    with pytest.raises(ValueError, match=r"lambda_ must lie in \[0, 1\]"):
        v_trace(row, row, 0.9, row, lambda_=-0.1)
