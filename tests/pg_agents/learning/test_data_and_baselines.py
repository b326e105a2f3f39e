"""Every baseline learns from every form of data, in every kind of environment."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pg_agents import REINFORCE
from tests.pg_agents.kinds import CARTPOLE, KINDS, N_ENVS, PIXELCOPTER, SEQUENCE

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
    facts = model.rollout_buffer.rollout
    returns = torch.as_tensor(model.rollout_buffer.returns)
    if baseline in ("none", "value"):
        values = facts.values if baseline == "value" else torch.zeros_like(returns)
        return values[facts.recorded]
    # Returns by the step's place in its trajectory: an episode, or a column.
    groups: dict[int, list[float]] = {}
    steps = []
    for row, env in facts.recorded.nonzero().tolist():
        step = row
        if facts.n_episodes is not None:
            step = int(facts.episode_steps[row, env])
        groups.setdefault(step, []).append(float(returns[row, env]))
        steps.append((step, float(returns[row, env])))
    n = facts.n_episodes or facts.recorded.shape[1]
    own = baseline == "mean"
    return torch.tensor(
        [
            sum(groups[step]) / n if own else (sum(groups[step]) - mine) / (n - 1)
            for step, mine in steps
        ]
    )


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("env", ENVS)
def test_a_return_is_compared_with_its_baseline(
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
    made = KINDS[kind](env_id, n_envs, **form)
    model = REINFORCE(policy, made, seed=0, device="cpu", **settings)
    before = torch.nn.utils.parameters_to_vector(model.policy.parameters()).clone()
    model.learn(1)
    after = torch.nn.utils.parameters_to_vector(model.policy.parameters())
    assert not torch.equal(before, after)
    batch = model.rollout_buffer.batch()
    expected = batch.returns - expected_baseline(baseline, model)
    torch.testing.assert_close(batch.advantages, expected, rtol=1e-4, atol=1e-4)
    steps = model.rollout_buffer.episode_steps
    assert steps.dtype.kind == "i"
