"""estimate_advantages on two small rollouts, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from pg_agents.algorithms.config import PolicyGradientConfig
from pg_agents.learning.advantages import estimate_advantages
from pg_agents.rollout.data import Rollout


def rollout(n_episodes: int | None = 2) -> Rollout:
    """Two environments with an episode of 3 and of 2 steps, then an idle step."""
    recorded = torch.tensor([[1, 1], [1, 1], [1, 0]], dtype=torch.bool)
    zeros = torch.zeros((3, 2))
    return Rollout(
        observations=zeros,
        actions=zeros,
        rewards=torch.tensor([[1.0, 2.0], [4.0, 8.0], [16.0, 1000.0]]),
        terminated=torch.tensor([[0, 0], [0, 1], [1, 0]], dtype=torch.bool),
        truncated=zeros.bool(),
        recorded=recorded,
        episode_steps=torch.tensor([[0, 0], [1, 1], [2, 0]]),
        values=torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 1e6]]),
        next_values=torch.tensor([[2.0, 2.0], [3.0, 0.0], [0.0, 1e6]]),
        log_probs=zeros,
        n_episodes=n_episodes,
    )


def estimate(
    n_episodes: int | None = 2, **settings: Any
) -> tuple[list[Any], list[Any]]:
    arguments = {"gamma": 0.5, **settings}
    returns, advantages = estimate_advantages(
        rollout(n_episodes), PolicyGradientConfig(**arguments)
    )
    return returns.tolist(), advantages.tolist()


# Rewards-to-go at gamma 0.5: 1 + (4 + 16/2)/2, 4 + 16/2, 16 and 2 + 8/2, 8.
TO_GO = [[7.0, 6.0], [12.0, 8.0], [16.0, 0.0]]


def test_reward_to_go_without_a_baseline() -> None:
    returns, advantages = estimate()
    assert returns == advantages == TO_GO


def test_without_episodes_the_trajectories_are_environments() -> None:
    """In the last row, one is recorded and the other counts as 0."""
    _, by_others = estimate(n_episodes=None, baseline="leave_one_out")
    assert by_others == [[1.0, -1.0], [4.0, -4.0], [16.0, 0.0]]


def test_the_value_baseline_does_not_bootstrap() -> None:
    returns, advantages = estimate(baseline="value")
    assert returns == TO_GO
    assert advantages == [[6.0, 5.0], [10.0, 6.0], [13.0, 0.0]]


def test_one_step_and_n_step_targets() -> None:
    returns, _ = estimate(baseline="value", estimator="td")
    assert returns == [[2.0, 3.0], [5.5, 8.0], [16.0, 0.0]]
    returns, _ = estimate(baseline="value", estimator="n_step", td_steps=2)
    assert returns == [[1 + 2.75, 6.0], [12.0, 8.0], [16.0, 0.0]]


@pytest.mark.parametrize("name", ["standardize_returns", "normalize_advantage"])
def test_recorded_steps_are_standardised(name: str) -> None:
    _, advantages = estimate(**{name: True})
    recorded = torch.tensor(advantages)[rollout().recorded]
    expected = torch.tensor(TO_GO)[rollout().recorded].double()
    expected = (expected - expected.mean()) / expected.std()
    torch.testing.assert_close(recorded.double(), expected, atol=1e-6, rtol=0)


def test_returns_are_standardised_before_the_baseline_and_advantages_after() -> None:
    returns, advantages = estimate(baseline="value", standardize_returns=True)
    difference = torch.tensor(returns) - rollout().values
    recorded = rollout().recorded
    torch.testing.assert_close(torch.tensor(advantages)[recorded], difference[recorded])
    returns, _ = estimate(baseline="value", normalize_advantage=True)
    assert returns == TO_GO


def three_episodes() -> Rollout:
    """One environment has episodes of 1 and 2 steps, one a truncated one of 2."""
    return Rollout(
        observations=torch.zeros((3, 2)),
        actions=torch.zeros((3, 2)),
        rewards=torch.tensor([[2.0, 1.0], [4.0, 3.0], [8.0, 1000.0]]),
        terminated=torch.tensor([[1, 0], [0, 0], [1, 0]], dtype=torch.bool),
        truncated=torch.tensor([[0, 0], [0, 1], [0, 0]], dtype=torch.bool),
        recorded=torch.tensor([[1, 1], [1, 1], [1, 0]], dtype=torch.bool),
        episode_steps=torch.tensor([[0, 0], [0, 1], [1, 0]]),
        values=torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 1e6]]),
        next_values=torch.tensor([[0.0, 2.0], [3.0, 10.0], [0.0, 1e6]]),
        log_probs=torch.zeros((3, 2)),
        n_episodes=3,
    )


def estimate_three(**settings: Any) -> tuple[list[Any], list[Any]]:
    arguments = {"gamma": 0.5, **settings}
    returns, advantages = estimate_advantages(
        three_episodes(), PolicyGradientConfig(**arguments)
    )
    return returns.tolist(), advantages.tolist()


def test_gamma_t_counts_steps_of_the_episode() -> None:
    """Returns 2; 4 + 8/2, 8; and 1 + 3/2, 3."""
    returns, advantages = estimate_three(weight_by_gamma_t=True)
    assert returns == [[2.0, 2.5], [8.0, 3.0], [8.0, 0.0]]
    assert advantages == [[2.0, 2.5], [8.0, 1.5], [4.0, 0.0]]


def test_baselines_compare_the_same_step_of_each_episode() -> None:
    """First steps: 2, 8 and 2.5; second steps: 0, 8 and 3."""
    _, by_others = estimate_three(baseline="leave_one_out")
    assert by_others == [
        [2 - (8 + 2.5) / 2, 2.5 - (2 + 8) / 2],
        [8 - (2 + 2.5) / 2, 3 - (0 + 8) / 2],
        [8 - (0 + 3) / 2, 0.0],
    ]


def test_advantages_are_weighted_by_gamma_t_after_standardising() -> None:
    """The critic's targets are not weighted."""
    plain_returns, plain = estimate_three(normalize_advantage=True)
    returns, weighted = estimate_three(normalize_advantage=True, weight_by_gamma_t=True)
    weights = 0.5 ** three_episodes().episode_steps
    torch.testing.assert_close(torch.tensor(weighted), torch.tensor(plain) * weights)
    assert returns == plain_returns


def test_bootstrap_adds_the_value_where_an_episode_is_truncated() -> None:
    """After reward 3, the value is 10."""
    plain, _ = estimate_three(baseline="value")
    assert plain == [[2.0, 2.5], [8.0, 3.0], [8.0, 0.0]]
    bootstrapped, _ = estimate_three(baseline="value", bootstrap=True)
    assert bootstrapped == [[2.0, 1 + (3 + 5) / 2], [8.0, 3 + 5], [8.0, 0.0]]


@pytest.mark.parametrize("estimator", ["td", "gae"])
def test_without_bootstrap_truncated_a_time_limit_terminates(estimator: Any) -> None:
    """Reward 4 in the truncated step, then a value of 3."""
    truncated = torch.tensor([[0, 0], [1, 0], [0, 0]], dtype=torch.bool)
    config = PolicyGradientConfig(gamma=0.5, estimator=estimator, baseline="value")
    for bootstraps, expected in ((True, 4.0 + 0.5 * 3.0), (False, 4.0)):
        returns, _ = estimate_advantages(
            replace(rollout(), truncated=truncated),
            replace(config, bootstrap_truncated=bootstraps),
        )
        assert returns[1, 0] == expected
