"""Baselines by hand, their identities, and every combination with data and envs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pg_agents import REINFORCE
from pg_agents.learning.baselines import (
    leave_one_out_baseline,
    mean_baseline,
    standardize,
)
from tests.pg_agents.kinds import CARTPOLE, KINDS, N_ENVS, PIXELCOPTER, SEQUENCE

# Three episodes of 3, 1 and 2 steps.
RETURNS = torch.tensor([6.0, 5.0, 3.0, 9.0, 4.0, 2.0], dtype=torch.float64)
TIME = torch.tensor([0, 1, 2, 0, 0, 1])


def test_mean_is_over_all_episodes_with_0_after_their_end() -> None:
    got = mean_baseline(RETURNS, TIME, 3)
    first, second, third = (6 + 9 + 4) / 3, (5 + 0 + 2) / 3, 3 / 3
    expected = torch.tensor([first, second, third, first, first, second])
    torch.testing.assert_close(got, expected.double())


def test_leave_one_out_is_over_the_other_episodes() -> None:
    got = leave_one_out_baseline(RETURNS, TIME, 3)
    expected = [(9 + 4) / 2, (0 + 2) / 2, 0 / 2, (6 + 4) / 2, (6 + 9) / 2, 5 / 2]
    torch.testing.assert_close(got, torch.tensor(expected).double())


def test_mean_scales_advantages_by_1_minus_1_over_n() -> None:
    """`G - mean = (1 - 1/N) (G - leave_one_out)`, term by term."""
    by_mean = RETURNS - mean_baseline(RETURNS, TIME, 3)
    by_others = RETURNS - leave_one_out_baseline(RETURNS, TIME, 3)
    torch.testing.assert_close(by_mean, (1 - 1 / 3) * by_others)


@pytest.mark.parametrize("average", [mean_baseline, leave_one_out_baseline])
def test_a_single_trajectory_is_refused(average: object) -> None:
    assert callable(average)
    with pytest.raises(ValueError, match="needs at least 2 per update, got 1"):
        average(RETURNS[:3], TIME[:3], 1)


def test_standardize_has_mean_0_and_deviation_1() -> None:
    got = standardize(RETURNS)
    expected = (RETURNS.numpy() - RETURNS.numpy().mean()) / RETURNS.numpy().std(ddof=1)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("value", [3.5, 0.0, -1e6])
def test_standardize_returns_a_single_number(value: float) -> None:
    """Its standard deviation is NaN."""
    assert standardize(torch.tensor([value])).tolist() == [value]


def test_standardize_makes_equal_numbers_exactly_0() -> None:
    """In float32 the mean of ten times 0.1 is not 0.1."""
    for value in (0.1, 1 / 3, 1234.567):
        assert standardize(torch.full((10,), value)).tolist() == [0.0] * 10


def test_standardize_keeps_the_dtype() -> None:
    assert standardize(torch.tensor([1.0, 2.0])).dtype == torch.float32


BASELINES = ("none", "mean", "leave_one_out", "value")
DATA: dict[str, dict[str, Any]] = {
    "n_steps": {"n_steps": 12},
    "n_episodes": {"n_episodes": 2},
}
ENVS: dict[str, tuple[str, str]] = {
    "table": ("TabularPolicy", SEQUENCE),
    "sequence": ("MlpPolicy", SEQUENCE),
    "cartpole": ("MlpPolicy", CARTPOLE),
    "pixelcopter": ("MlpPolicy", PIXELCOPTER),
}


def expected_baseline(baseline: str, model: Any) -> Tensor:
    """Returns the baseline `[B]` of each recorded step, by loops over trajectories."""
    rollout = model.rollout_buffer.rollout
    returns = torch.as_tensor(model.rollout_buffer.returns)
    if baseline in ("none", "value"):
        values = rollout.values if baseline == "value" else torch.zeros_like(returns)
        return values[rollout.recorded]
    # Returns by time index in the trajectory: an episode, or an environment.
    groups: dict[int, list[float]] = {}
    steps = []
    for row, env in rollout.recorded.nonzero().tolist():
        step = row
        if rollout.n_episodes is not None:
            step = int(rollout.episode_steps[row, env])
        groups.setdefault(step, []).append(float(returns[row, env]))
        steps.append((step, float(returns[row, env])))
    n = rollout.n_episodes or rollout.recorded.shape[1]
    is_mean = baseline == "mean"
    return torch.tensor(
        [
            sum(groups[step]) / n if is_mean else (sum(groups[step]) - g) / (n - 1)
            for step, g in steps
        ]
    )


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("env", ENVS)
def test_every_baseline_with_all_data_and_environments(
    env: str, kind: str, data: str, baseline: str
) -> None:
    policy, env_id = ENVS[env]
    form = {"observation": "index"} if env == "table" else {}
    n_envs = 1 if kind == "single" else N_ENVS
    settings: dict[str, Any] = {"baseline": baseline, **DATA[data]}
    if n_envs == 1 and data == "n_steps" and baseline in ("mean", "leave_one_out"):
        with pytest.raises(ValueError, match="needs at least 2"):
            REINFORCE(policy, KINDS[kind](env_id), **settings)
        return
    vec_env = KINDS[kind](env_id, n_envs, **form)
    model = REINFORCE(policy, vec_env, seed=0, device="cpu", **settings)
    before = torch.nn.utils.parameters_to_vector(model.policy.parameters()).clone()
    model.learn(1)
    after = torch.nn.utils.parameters_to_vector(model.policy.parameters())
    assert not torch.equal(before, after)
    batch = model.rollout_buffer.batch()
    expected = batch.returns - expected_baseline(baseline, model)
    torch.testing.assert_close(batch.advantages, expected, rtol=1e-4, atol=1e-4)
    assert model.rollout_buffer.episode_steps.dtype.kind == "i"
