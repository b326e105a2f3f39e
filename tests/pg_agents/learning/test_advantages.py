"""Settings of estimator, baseline and weights, applied to hand-made facts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from pg_agents.algorithms.config import PolicyGradientConfig
from pg_agents.learning.advantages import estimate_advantages
from pg_agents.rollout.data import Rollout


def rollout(n_episodes: int | None = 2) -> Rollout:
    """Two environments, an episode each of 3 and 2 steps, then an idle step."""
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


# Rewards to go at gamma 0.5: 1 + (4 + 16/2)/2, 4 + 16/2, 16 and 2 + 8/2, 8.
TO_GO = [[7.0, 6.0], [12.0, 8.0], [16.0, 0.0]]


def test_reward_to_go_without_a_baseline() -> None:
    returns, advantages = estimate()
    assert returns == advantages == TO_GO


def test_full_return_counts_the_whole_episode_for_every_action() -> None:
    _, advantages = estimate(estimator="full_return")
    assert advantages == [[7.0, 6.0], [7.0, 6.0], [7.0, 0.0]]


def test_gamma_to_the_t_discounts_from_the_start_of_the_episode() -> None:
    """Without gamma^t step t counts 1 / gamma^t times too much."""
    _, advantages = estimate(weight_by_gamma_t=True)
    assert advantages == [[7.0, 6.0], [6.0, 4.0], [4.0, 0.0]]


def test_baselines_of_other_episodes() -> None:
    _, by_mean = estimate(baseline="mean")
    assert by_mean == [[0.5, -0.5], [2.0, -2.0], [8.0, 0.0]]
    _, by_others = estimate(baseline="leave_one_out")
    assert by_others == [[1.0, -1.0], [4.0, -4.0], [16.0, 0.0]]


def test_cut_into_steps_a_trajectory_is_an_environment() -> None:
    """The last row has one recorded environment; the other counts as 0."""
    _, by_others = estimate(n_episodes=None, baseline="leave_one_out")
    assert by_others == [[1.0, -1.0], [4.0, -4.0], [16.0, 0.0]]


def test_learned_value_is_subtracted_and_not_looked_beyond() -> None:
    returns, advantages = estimate(baseline="value")
    assert returns == TO_GO
    assert advantages == [[6.0, 5.0], [10.0, 6.0], [13.0, 0.0]]


def test_one_step_and_n_step_targets() -> None:
    returns, _ = estimate(baseline="value", estimator="td")
    assert returns == [[2.0, 3.0], [5.5, 8.0], [16.0, 0.0]]
    returns, _ = estimate(baseline="value", estimator="n_step", td_steps=2)
    assert returns == [[1 + 2.75, 6.0], [12.0, 8.0], [16.0, 0.0]]


def test_gae_runs_from_the_one_step_advantage_to_the_monte_carlo_one() -> None:
    _, td = estimate(baseline="value", estimator="td")
    _, at_0 = estimate(baseline="value", estimator="gae", gae_lambda=0.0)
    assert at_0 == td
    _, monte_carlo = estimate(baseline="value")
    _, at_1 = estimate(baseline="value", estimator="gae", gae_lambda=1.0)
    assert at_1 == monte_carlo


@pytest.mark.parametrize("which", ["standardize_returns", "normalize_advantage"])
def test_standardised_over_the_recorded_steps(which: str) -> None:
    _, advantages = estimate(**{which: True})
    recorded = torch.tensor(advantages)[rollout().recorded]
    expected = torch.tensor(TO_GO)[rollout().recorded].double()
    expected = (expected - expected.mean()) / expected.std()
    torch.testing.assert_close(recorded.double(), expected, atol=1e-6, rtol=0)


def test_returns_are_standardised_before_the_value_advantages_after() -> None:
    returns, advantages = estimate(baseline="value", standardize_returns=True)
    difference = torch.tensor(returns) - rollout().values
    recorded = rollout().recorded
    torch.testing.assert_close(torch.tensor(advantages)[recorded], difference[recorded])
    returns, _ = estimate(baseline="value", normalize_advantage=True)
    assert returns == TO_GO


def two_episodes_in_a_row() -> Rollout:
    """One environment, episodes of 1 and 2 steps; another with one of 2, cut off."""
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


def estimate_row(**settings: Any) -> tuple[list[Any], list[Any]]:
    arguments = {"gamma": 0.5, **settings}
    returns, advantages = estimate_advantages(
        two_episodes_in_a_row(), PolicyGradientConfig(**arguments)
    )
    return returns.tolist(), advantages.tolist()


def test_time_is_counted_from_the_start_of_the_episode_not_of_the_rollout() -> None:
    """Returns 2; 4 + 8/2, 8; and 1 + 3/2, 3."""
    returns, advantages = estimate_row(weight_by_gamma_t=True)
    assert returns == [[2.0, 2.5], [8.0, 3.0], [8.0, 0.0]]
    assert advantages == [[2.0, 2.5], [8.0, 1.5], [4.0, 0.0]]


def test_episodes_are_compared_at_the_same_step_of_the_episode() -> None:
    """First steps: 2, 8 and 2.5; second steps: nothing, 8 and 3."""
    _, by_others = estimate_row(baseline="leave_one_out")
    assert by_others == [
        [2 - (8 + 2.5) / 2, 2.5 - (2 + 8) / 2],
        [8 - (2 + 2.5) / 2, 3 - (0 + 8) / 2],
        [8 - (0 + 3) / 2, 0.0],
    ]


def test_the_weight_of_the_step_comes_after_standardising() -> None:
    """It belongs to the state, and the critic's targets know nothing of it."""
    plain_returns, plain = estimate_row(normalize_advantage=True)
    returns, weighted = estimate_row(normalize_advantage=True, weight_by_gamma_t=True)
    weights = 0.5 ** two_episodes_in_a_row().episode_steps
    torch.testing.assert_close(torch.tensor(weighted), torch.tensor(plain) * weights)
    assert returns == plain_returns


def test_monte_carlo_returns_go_on_with_a_value_if_asked() -> None:
    """Only where the data stop before the episode does: after 3, worth 10."""
    stopped, _ = estimate_row(baseline="value")
    assert stopped == [[2.0, 2.5], [8.0, 3.0], [8.0, 0.0]]
    going_on, _ = estimate_row(baseline="value", bootstrap=True)
    assert going_on == [[2.0, 1 + (3 + 5) / 2], [8.0, 3 + 5], [8.0, 0.0]]


@pytest.mark.parametrize("estimator", ["td", "gae"])
def test_a_time_limit_can_be_taken_for_an_end(estimator: Any) -> None:
    """Truncated in row 1 with 3 to follow: its value counts, or nothing does."""
    given = rollout()
    truncated = torch.tensor([[0, 0], [1, 0], [0, 0]], dtype=torch.bool)
    given = replace(given, truncated=truncated)
    arguments: Any = {"gamma": 0.5, "estimator": estimator, "baseline": "value"}
    told_apart, _ = estimate_advantages(given, PolicyGradientConfig(**arguments))
    the_same, _ = estimate_advantages(
        given, PolicyGradientConfig(**arguments, bootstrap_truncated=False)
    )
    assert told_apart[1, 0] == 4.0 + 0.5 * 3.0
    assert the_same[1, 0] == 4.0
