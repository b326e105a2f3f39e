"""The running average of returns, and finished episodes."""

import pickle
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import A2C

from pg_agents.callbacks import Recorder, RunningReward, StopWhenSolved
from pg_agents.callbacks.episodes import finished_episodes


@pytest.mark.parametrize("factor", [0.05, 0.3, 0.999, 1.0])
def test_the_value_is_a_weighted_mean_of_returns(factor: float) -> None:
    returns = np.random.default_rng(0).normal(-50.0, 20.0, size=200)
    average = RunningReward(factor)
    for n in range(1, len(returns) + 1):
        updated = average.update(returns[n - 1])
        weights = (1.0 - factor) ** np.arange(n - 1, -1, -1.0)
        expected = np.average(returns[:n], weights=weights)
        assert updated == average.value == pytest.approx(expected, rel=1e-12)
        assert average.n_episodes == n


def test_equal_returns_keep_their_value_exactly() -> None:
    average = RunningReward()
    assert {average.update(0.1) for _ in range(100)} == {0.1}


def test_it_can_be_pickled() -> None:
    average = RunningReward(0.2)
    for episode_return in (1.0, 5.0):
        average.update(episode_return)
    copy: RunningReward = pickle.loads(pickle.dumps(average))
    assert copy.update(3.0) == average.update(3.0)


def test_finished_episodes_are_read_from_infos() -> None:
    infos = [{}, {"episode": {"r": 2.5, "l": 7}}, {"episode": {"r": -1, "l": 1}}]
    assert finished_episodes({"infos": infos}) == [(2.5, 7), (-1.0, 1)]
    assert finished_episodes({}) == []


@pytest.mark.parametrize(
    ("make", "variable"),
    [
        (Recorder, "rewards"),
        (lambda: StopWhenSolved(reward_threshold=400), "dones"),
    ],
)
def test_algorithms_that_report_no_steps_are_named(make: Any, variable: str) -> None:
    callback = make()
    callback.model = A2C("MlpPolicy", "CartPole-v1", device="cpu")
    name = type(callback).__name__
    message = f"{name} needs the {variable} of each step, which A2C does not pass"
    with pytest.raises(TypeError, match=message):
        callback._on_step()
