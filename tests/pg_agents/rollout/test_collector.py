"""Rollouts of scripted environments: what is recorded, and what callbacks get."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from pg_agents import REINFORCE, ActorCritic, TrajectoryBuffer
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.rollout.data import Batch
from pg_agents.vec_env.adapter import VectorEnvAdapter
from tests.pg_agents.envs import ScriptedEnv, StaggeredVectorEnv


class RecordRollouts(BaseCallback):
    """Stores columns of recorded steps, batches and idle fractions of each rollout.

    Args:
        names: the columns.
        n_rollouts: number of rollouts after which training stops.
    """

    def __init__(self, names: tuple[str, ...] = (), n_rollouts: int = 10**6) -> None:
        super().__init__()
        self.names, self.n_rollouts = names, n_rollouts
        self.rollouts: list[dict[str, Any]] = []
        self.batches: list[Batch] = []
        self.idle_fractions: list[float] = []

    def _on_step(self) -> bool:
        return len(self.rollouts) < self.n_rollouts

    def _on_rollout_end(self) -> None:
        buffer = self.locals["rollout_buffer"]
        assert isinstance(buffer, TrajectoryBuffer)
        recorded = buffer.recorded
        columns = {
            name: getattr(buffer, name)[recorded].tolist() for name in self.names
        }
        self.rollouts.append(columns | {"recorded": recorded.tolist()})
        self.batches.append(buffer.batch())
        fraction = self.logger.name_to_value["rollout/idle_fraction"]
        self.idle_fractions.append(fraction)


def collect(
    model: PolicyGradientAlgorithm, n_rollouts: int, *names: str
) -> list[dict[str, Any]]:
    callback = RecordRollouts(names, n_rollouts)
    model.learn(10**6, callback=callback)
    return callback.rollouts


def scripted(*lengths: list[int], truncates: bool = False) -> DummyVecEnv:
    """Returns one ScriptedEnv for each list of episode lengths."""
    return DummyVecEnv([partial(ScriptedEnv, each, truncates) for each in lengths])


def values_of(model: Any, *obs: list[float]) -> Any:
    with torch.no_grad():
        return model.policy.predict_values(torch.tensor(obs)).flatten().numpy()


# Whole episodes.


def test_whole_episodes_of_a_single_environment() -> None:
    model = REINFORCE("MlpPolicy", ScriptedEnv([2, 3]), n_episodes=2)
    first, second = collect(model, 2, "rewards", "terminated", "episode_steps")
    assert first["rewards"] == [0, 1, 10, 11, 12]
    assert first["terminated"] == [False, True, False, False, True]
    assert first["episode_steps"] == [0, 1, 0, 1, 2]
    # The next rollout continues with the next episode.
    assert second["rewards"] == [20, 21, 30, 31, 32]


def test_rollout_of_episodes_gives_each_env_the_same_number() -> None:
    """The first four episodes to finish would all have one step."""
    model = REINFORCE("MlpPolicy", scripted([1], [4]), n_episodes=2)
    callback = RecordRollouts(("rewards", "terminated"))
    model.learn(1, callback=callback)
    (rollout,) = callback.rollouts
    assert sum(rollout["terminated"]) == 4
    assert [row[0] for row in rollout["recorded"]] == [True, True] + [False] * 6
    assert [row[1] for row in rollout["recorded"]] == [True] * 8
    assert sorted(rollout["rewards"]) == [0, 0, 1, 2, 3, 10, 10, 11, 12, 13]
    assert callback.idle_fractions == [6 / 16]


def test_sums_are_divided_by_the_episodes_of_all_environments() -> None:
    callback = RecordRollouts()
    model = REINFORCE("MlpPolicy", scripted([1], [4]), n_episodes=2)
    model.learn(30, callback=callback)
    assert len(callback.batches) > 1
    assert {batch.n_samples for batch in callback.batches} == {4}
    assert {len(batch.actions) for batch in callback.batches} == {10}


def test_episodes_of_all_environments_are_compared() -> None:
    """Rewards 0 and 10 in one environment, 0 + 1 and 10 + 11 in the other."""
    model = REINFORCE(
        "MlpPolicy",
        scripted([1], [2]),
        n_episodes=2,
        gamma=1.0,
        baseline="leave_one_out",
    )
    (rollout,) = collect(model, 1, "advantages")
    first = [0.0, 10.0, 1.0, 21.0]
    expected = [g - (sum(first) - g) / 3 for g in first]
    expected += [g - (12.0 - g) / 3 for g in (1.0, 11.0)]
    np.testing.assert_allclose(sorted(rollout["advantages"]), sorted(expected), 1e-5)


def test_idle_environments_begin_a_new_episode_in_the_next_rollout() -> None:
    """Environment 0 is within an episode when environment 1 ends."""
    model = REINFORCE("MlpPolicy", scripted([2], [5]), n_episodes=1)
    _, second = collect(model, 2, "episode_steps", "observations")
    assert second["episode_steps"] == [0, 0, 1, 1, 2, 3, 4]
    assert [steps for _, steps in second["observations"]] == [0, 0, 1, 1, 2, 3, 4]


# The cap on episodes, max_episode_steps.


def test_an_endless_episode_is_truncated_with_a_warning() -> None:
    model = REINFORCE("MlpPolicy", ScriptedEnv([0]), max_episode_steps=6)
    with pytest.warns(UserWarning, match="still running after 6 steps"):
        rollouts = collect(model, 2, "episode_steps", "truncated", "terminated")
    for rollout in rollouts:
        assert rollout["episode_steps"] == [0, 1, 2, 3, 4, 5]
        assert rollout["truncated"] == [False] * 5 + [True]
        assert not any(rollout["terminated"])


@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic])
def test_the_cap_is_10000_steps_by_default(agent: Any) -> None:
    assert agent("MlpPolicy", ScriptedEnv([3])).max_episode_steps == 10_000


@pytest.mark.parametrize("n_episodes", [1, 2])
def test_a_capped_episode_bootstraps_from_its_last_observation(n_episodes: int) -> None:
    """With a second episode, the next row belongs to it: all environments are reset."""
    model = ActorCritic(
        "MlpPolicy",
        scripted([0, 2]),
        n_episodes=n_episodes,
        max_episode_steps=3,
        learning_rate=0.0,
    )
    with pytest.warns(UserWarning, match="still running after 3 steps"):
        (rollout,) = collect(model, 1, "next_values")
    expected = values_of(model, [0.0, 1.0], [0.0, 2.0], [0.0, 3.0])
    np.testing.assert_allclose(rollout["next_values"][:3], expected, atol=1e-6)


def test_capped_environments_complete_their_number_of_episodes() -> None:
    """Three steps to the cap; after a reset of all, two steps to the end."""
    model = REINFORCE(
        "MlpPolicy", scripted([0, 2], [1]), n_episodes=2, max_episode_steps=3
    )
    with pytest.warns(UserWarning, match="still running after 3 steps"):
        (rollout,) = collect(model, 1, "truncated", "terminated")
    assert (sum(rollout["truncated"]), sum(rollout["terminated"])) == (1, 3)
    recorded = np.array(rollout["recorded"])
    assert recorded[:, 0].tolist() == [True] * 5
    assert recorded[:, 1].tolist() == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("env", "settings", "truncated"),
    [
        # Episodes that terminate at the cap, endless ones of idle environments, and
        # rollouts of n_steps.
        (lambda: scripted([3]), {"n_episodes": 1, "max_episode_steps": 3}, [False] * 3),
        (
            lambda: scripted([1, 1, 0], [4]),
            {"n_episodes": 2, "max_episode_steps": 4},
            [False] * 10,
        ),
        (lambda: scripted([0]), {"n_steps": 5, "max_episode_steps": 2}, [False] * 5),
    ],
)
def test_other_episodes_are_not_truncated(
    env: Any, settings: dict[str, Any], truncated: list[bool]
) -> None:
    model = REINFORCE("MlpPolicy", env(), **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (rollout,) = collect(model, 1, "truncated")
    assert rollout["truncated"] == truncated


# Ends of episodes, and steps of NEXT_STEP autoreset.


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("kind", ["single", "vector"])
def test_time_limits_and_terminations_are_distinct(kind: str, truncates: bool) -> None:
    env: Any = ScriptedEnv([2], truncates)
    if kind == "vector":
        env = StaggeredVectorEnv([2], AutoresetMode.SAME_STEP, truncates)
    model = ActorCritic("MlpPolicy", env, n_steps=4)
    (rollout,) = collect(model, 1, "terminated", "truncated")
    ends, never = [False, True, False, True], [False] * 4
    assert rollout["truncated"] == (ends if truncates else never)
    assert rollout["terminated"] == (never if truncates else ends)


def test_a_rollout_of_steps_continues_the_last_one() -> None:
    model = ActorCritic("MlpPolicy", ScriptedEnv([0]), n_steps=3)
    first, second = collect(model, 2, "episode_steps")
    assert first["episode_steps"] == [0, 1, 2]
    assert second["episode_steps"] == [3, 4, 5]


@pytest.mark.parametrize("truncates", [False, True])
def test_next_step_autoreset_gives_the_transitions_of_same_step(
    truncates: bool,
) -> None:
    names = ("observations", "rewards", "terminated", "truncated")
    transitions = []
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        env = StaggeredVectorEnv([2, 3], mode, truncates)
        (rollout,) = collect(REINFORCE("MlpPolicy", env, n_episodes=2), 1, *names)
        columns = (rollout[name] for name in names)
        transitions.append(sorted(zip(*columns, strict=True), key=str))
    assert transitions[0] == transitions[1]
    assert len(transitions[0]) == 2 * 2 + 2 * 3


@pytest.mark.parametrize("wrapped", [False, True])
def test_dummy_steps_are_not_recorded(wrapped: bool) -> None:
    env: Any = StaggeredVectorEnv([2, 5])
    if wrapped:
        env = VecNormalize(VectorEnvAdapter(env, learner_skips_dummy_steps=True))
    model = ActorCritic("MlpPolicy", env, n_steps=6)
    (rollout,) = collect(model, 1, "episode_steps")
    recorded = np.array(rollout["recorded"])
    assert recorded[:, 0].tolist() == [True, True, False, True, True, False]
    assert recorded[:, 1].tolist() == [True] * 5 + [False]
    assert rollout["episode_steps"] == [0, 0, 1, 1, 2, 0, 3, 1, 4]


@pytest.mark.parametrize("estimator", ["td", "gae"])
def test_truncated_environments_are_bootstrapped_in_one_forward(estimator: Any) -> None:
    """Three times three ends and two of the fourth, and four unfinished episodes."""
    env = scripted([2], [2], [2], [3], truncates=True)
    model = ActorCritic("MlpPolicy", env, n_steps=6, estimator=estimator)
    sizes: list[int] = []

    def count(_: Any, inputs: tuple[Any, ...]) -> None:
        sizes.append(len(inputs[0]))

    model.policy.value_net.register_forward_pre_hook(count)
    collect(model, 1)
    acting, update = 4, 4 * 6
    assert [n for n in sizes if n not in (acting, update)] == [3 * 3 + 2 + 4]


def test_a_truncated_episode_bootstraps_from_its_last_observation() -> None:
    """Not from the first of the next episode."""
    env = ScriptedEnv([2], truncates=True)
    model = ActorCritic("MlpPolicy", env, n_steps=4, learning_rate=0.0)
    (rollout,) = collect(model, 1, "next_values")
    expected = values_of(model, [0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 2.0])
    np.testing.assert_allclose(rollout["next_values"], expected, atol=1e-6)


# Callbacks and actions.


def test_callbacks_get_the_dones_and_results_of_recorded_episodes() -> None:
    model = REINFORCE("MlpPolicy", VecMonitor(scripted([1], [4])), n_episodes=1)
    dones: list[list[bool]] = []

    def on_step(variables: dict[str, Any], _: dict[str, Any]) -> bool:
        dones.append(variables["dones"].tolist())
        return True

    model.learn(1, callback=on_step)
    assert model.ep_info_buffer is not None
    assert sorted(info["l"] for info in model.ep_info_buffer) == [1, 4]
    assert dones == [[True, False], [False, False], [False, False], [False, True]]


def test_a_rollout_that_a_callback_stops_is_not_learnt_from() -> None:
    """Without a new step count, the next learn() begins with a whole episode."""
    model = REINFORCE("MlpPolicy", ScriptedEnv([4]))
    model.learn(100, callback=lambda variables, _: variables["n_steps"] < 2)
    assert (model.num_timesteps, model._n_updates) == (3, 0)
    callback = RecordRollouts(("episode_steps",))
    model.learn(1, callback=callback, reset_num_timesteps=False)
    assert callback.rollouts[0]["episode_steps"] == [0, 1, 2, 3]


def test_a_rollout_that_a_callback_stops_at_its_end_is_learnt_from() -> None:
    model = REINFORCE("MlpPolicy", ScriptedEnv([4]))
    model.learn(100, callback=lambda variables, _: not variables["dones"].any())
    assert (model.num_timesteps, model._n_updates) == (4, 1)
