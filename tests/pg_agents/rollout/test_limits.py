"""Quotas, step by step by hand."""

from __future__ import annotations

import numpy as np

from pg_agents.rollout.limits import EpisodeLimit, StepLimit


def mask(*values: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array(values, dtype=np.bool_)


def test_steps_are_counted_whatever_ends() -> None:
    quota = StepLimit(n_steps=2)
    quota.update(mask(1, 0), mask(0, 0))
    assert not quota.reached
    assert quota.recorded is None
    quota.update(mask(1, 1), mask(0, 0))
    assert quota.reached
    assert not quota.needs_reset


def recorded(quota: EpisodeLimit) -> list[bool]:
    """Whose next step belongs to the rollout; it is not everybody's."""
    assert quota.recorded is not None
    whose: list[bool] = quota.recorded.tolist()
    return whose


def test_an_environment_with_its_episodes_done_idles_until_all_have_theirs() -> None:
    quota = EpisodeLimit(n_envs=2, n_episodes=2)
    quota.update(mask(1, 0), mask(1, 0))
    assert quota.recorded is None
    quota.update(mask(1, 0), mask(1, 0))
    assert recorded(quota) == [False, True]
    assert not quota.reached
    quota.update(mask(0, 1), mask(0, 1))
    quota.update(mask(0, 1), mask(0, 1))
    assert quota.reached
    assert not quota.needs_reset
    # Eight steps were taken, of which the first environment idled in two.
    assert quota.idle_fraction == 2 / 8


def test_an_environment_stopped_at_the_cap_waits_for_a_reset_of_all() -> None:
    quota = EpisodeLimit(n_envs=2, n_episodes=2)
    quota.update(mask(1, 0), mask(0, 0))
    assert recorded(quota) == [False, True]
    assert not quota.needs_reset
    quota.update(mask(0, 1), mask(0, 0))
    assert quota.needs_reset
    quota.reset()
    assert quota.recorded is None
    assert not quota.needs_reset
    quota.update(mask(1, 1), mask(0, 0))
    assert quota.reached
    assert not quota.needs_reset


def test_nothing_idles_before_the_first_step() -> None:
    assert EpisodeLimit(n_envs=3, n_episodes=1).idle_fraction == 0.0
