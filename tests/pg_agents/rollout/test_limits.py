"""StepLimit and EpisodeLimit, step by step."""

from __future__ import annotations

import numpy as np

from pg_agents.rollout.limits import EpisodeLimit, Mask, StepLimit


def mask(*values: int) -> Mask:
    return np.array(values, dtype=np.bool_)


def recorded(limit: EpisodeLimit) -> list[bool]:
    assert limit.recorded is not None
    environments: list[bool] = limit.recorded.tolist()
    return environments


def test_a_step_limit_counts_steps() -> None:
    limit = StepLimit(n_steps=2)
    limit.update(mask(1, 0), mask(0, 0))
    assert not limit.reached and limit.recorded is None
    limit.update(mask(1, 1), mask(0, 0))
    assert limit.reached and not limit.needs_reset


def test_an_environment_with_all_its_episodes_idles() -> None:
    limit = EpisodeLimit(n_envs=2, n_episodes=2)
    assert limit.idle_fraction == 0.0
    limit.update(mask(1, 0), mask(1, 0))
    assert limit.recorded is None
    limit.update(mask(1, 0), mask(1, 0))
    assert recorded(limit) == [False, True] and not limit.reached
    limit.update(mask(0, 1), mask(0, 1))
    limit.update(mask(0, 1), mask(0, 1))
    assert limit.reached and not limit.needs_reset
    # The first environment idled in 2 of 8 steps.
    assert limit.idle_fraction == 2 / 8


def test_a_truncated_environment_waits_until_all_are_reset() -> None:
    limit = EpisodeLimit(n_envs=2, n_episodes=2)
    limit.update(mask(1, 0), mask(0, 0))
    assert recorded(limit) == [False, True] and not limit.needs_reset
    limit.update(mask(0, 1), mask(0, 0))
    assert limit.needs_reset
    limit.reset()
    assert limit.recorded is None and not limit.needs_reset
    limit.update(mask(1, 1), mask(0, 0))
    assert limit.reached and not limit.needs_reset
