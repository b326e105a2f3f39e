from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from pg_envs.bandit import BanditEnv
from pg_envs.rendering.scene import Scene, Snapshot, WindowClosed
from pg_envs.sequence import SequenceEnv
from pg_envs.tabular import TabularEnv, observation_space
from tests.pg_envs.tabular_examples import (
    ALL_FORMS,
    assert_frequencies,
    feed_single,
    random_mdp,
    two_step_mdp,
)

GO, STAY = np.int64(0), np.int64(1)


def pickled(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))


def play(env: TabularEnv, n_steps: int, seed: int = 0) -> list[Any]:
    """Results of `n_steps` random actions, restarting after every end."""
    actions = np.random.default_rng(seed).integers(env.mdp.n_actions, size=n_steps)
    results: list[Any] = []
    for action in actions:
        obs, reward, terminated, _, _ = env.step(action)
        results.append((np.asarray(obs).tolist(), reward, terminated))
        if terminated:
            results.append(np.asarray(env.reset()[0]).tolist())
    return results


@pytest.mark.usefixtures("fast_frames")
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "human"])
@pytest.mark.parametrize(("env_id", "form"), ALL_FORMS)
def test_checkers_find_nothing(
    env_id: str, form: dict[str, Any], render_mode: str | None
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(env_id, render_mode=render_mode, **form)
        # The render check makes one environment for every mode: once is enough.
        check_env(env.unwrapped, skip_render_check=render_mode != "rgb_array")
        sb3_check_env(gymnasium.make(env_id, render_mode=render_mode, **form))
        env.close()


def test_an_episode_by_hand() -> None:
    env = TabularEnv(two_step_mdp())
    # One draw a reset, one a step.
    draws = feed_single(env, [0.5, 0.9, 0.9, 0.9, 0.49])
    obs, info = env.reset()
    assert (np.asarray(obs).tolist(), info) == ([1.0], {})
    results = [env.step(action) for action in (STAY, GO, GO)]
    assert [np.asarray(r[0]).tolist() for r in results] == [[1.0], [2.0], [2.0]]
    assert [r[1:] for r in results] == [
        (-1.0, False, False, {}),
        (1.0, False, False, {}),
        (10.0, True, False, {}),
    ]
    assert np.asarray(env.reset()[0]).tolist() == [0.0]
    assert draws.used == 5


@pytest.mark.parametrize("action", [0, np.int64(0), np.int32(0), np.array(0)])
def test_every_kind_of_integer_is_an_action(action: Any) -> None:
    env = TabularEnv(two_step_mdp())
    feed_single(env, [0.0, 0.0])
    env.reset()
    assert env.step(action)[1] == 1.0


def test_spaces() -> None:
    assert observation_space(random_mdp(0)) == spaces.Discrete(6)
    assert observation_space(two_step_mdp()) == spaces.Box(0.0, 2.0, (1,), np.float32)
    assert TabularEnv(two_step_mdp()).action_space == spaces.Discrete(2)
    pictures = np.zeros((3, 2, 4), dtype=np.float32)
    env = TabularEnv(replace(two_step_mdp(), observations=pictures))
    assert env.observation_space.shape == (2, 4)
    assert np.shape(env.reset(seed=0)[0]) == (2, 4)


def test_transitions_occur_as_often_as_the_tables_say() -> None:
    env = TabularEnv(random_mdp(1, terminal_share=0.0))
    n_steps = 15_000
    actions = np.random.default_rng(2).integers(4, size=n_steps)
    states = np.zeros(n_steps + 1, dtype=np.int64)
    states[0] = env.reset(seed=3)[0]
    for t, action in enumerate(actions):
        states[t + 1] = env.step(action)[0]
    assert_frequencies(env.mdp, states[:-1], actions, states[1:])


@pytest.mark.parametrize(("env_id", "form"), ALL_FORMS)
def test_observations_are_fresh(env_id: str, form: dict[str, Any]) -> None:
    env = gymnasium.make(env_id, **form).unwrapped
    assert isinstance(env, TabularEnv)
    results = [env.reset(seed=0)[0], env.step(GO)[0], env.step(GO)[0], env.reset()[0]]
    table = env.mdp.observations.copy()
    for i, obs in enumerate(results):
        if isinstance(obs, np.ndarray):
            assert not any(np.shares_memory(obs, x) for x in results[:i])
            assert not np.shares_memory(obs, env.mdp.observations)
            obs[:] = 99.0
        else:
            assert type(obs) is np.int64
    np.testing.assert_array_equal(env.mdp.observations, table)
    assert env.reset()[0] in env.observation_space


def test_two_environments_share_nothing() -> None:
    mdp = random_mdp(7)
    alone = TabularEnv(mdp)
    alone.reset(seed=11)
    expected = play(alone, 200)
    env, other = TabularEnv(mdp), TabularEnv(mdp)
    env.reset(seed=11)
    other.reset(seed=12)
    first = play(env, 100)
    play(other, 77)
    other.set_action_probabilities([0.25] * 4)
    other.close()
    assert first == expected[: len(first)]
    # Not even the tables are shared.
    one, two = SequenceEnv(), SequenceEnv()
    assert not np.shares_memory(one.mdp.reward, two.mdp.reward)
    assert one.action_space is not two.action_space
    assert one.observation_space is not two.observation_space


@pytest.mark.usefixtures("fast_frames")
@pytest.mark.parametrize("render_mode", ["rgb_array", "human"])
@pytest.mark.parametrize("make_copy", [copy.deepcopy, pickled])
def test_an_environment_that_was_rendered_can_be_copied(
    make_copy: Any, render_mode: str
) -> None:
    env = SequenceEnv(render_mode=render_mode)
    env.reset(seed=0)
    env.step(GO)
    env.set_action_probabilities([0.2, 0.3, 0.5])
    frame = env.render()
    twin = make_copy(env)
    copied_frame = twin.render()
    if render_mode == "rgb_array":
        assert frame is not None
        np.testing.assert_array_equal(frame, copied_frame)
    env.close()
    twin.close()


@pytest.mark.parametrize(
    "action",
    [2, -1, 0.0, 1.5, np.float64(0), np.array([0]), np.array([0, 1]), "go", None],
)
def test_an_action_outside_the_space_is_refused(action: Any) -> None:
    env = TabularEnv(two_step_mdp())
    draws = feed_single(env, [0.5, 0.5])
    env.reset()
    with pytest.raises(InvalidAction) as refused:
        env.step(action)
    assert "an integer from 0 to 1 (go, stay)" in str(refused.value)
    assert f"got {action!r}" in str(refused.value)
    # The environment is unchanged.
    assert draws.used == 1
    assert np.asarray(env.step(STAY)[0]).tolist() == [1.0]


@pytest.mark.parametrize("env_class", [BanditEnv, SequenceEnv])
def test_unknown_render_modes_are_refused(env_class: type[TabularEnv]) -> None:
    accepted = "None, 'human', 'rgb_array', got 'ansi'"
    with pytest.raises(ValueError, match=f"render_mode must be one of {accepted}"):
        env_class(render_mode="ansi")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="must be one of None, got 'human'"):
        TabularEnv(two_step_mdp(), render_mode="human")


@pytest.mark.parametrize("render_mode", ["human", "rgb_array"])
def test_rendering_needs_a_reset_and_a_mode(render_mode: str) -> None:
    with pytest.raises(ResetNeeded, match=r"render\(\) was called before reset\(\)"):
        SequenceEnv(render_mode=render_mode).render()
    with pytest.warns(UserWarning, match="render_mode='human'"):
        assert SequenceEnv().render() is None


def test_an_environment_without_a_picture_says_so() -> None:
    env = TabularEnv(two_step_mdp())
    with pytest.raises(NotImplementedError, match="TabularEnv has no picture"):
        env.frame(Snapshot(0, None, None, 0, 0.0))


class SceneRecorder(TabularEnv):
    """Records snapshots instead of drawing them."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def scene(self, snapshot: Snapshot) -> Scene:
        self.snapshots = [*getattr(self, "snapshots", []), snapshot]
        return Scene(8, 8, (0, 0, 0), ())


def test_snapshots_describe_the_last_step() -> None:
    env = SceneRecorder(two_step_mdp(), render_mode="rgb_array")
    feed_single(env, np.full(20, 0.5))
    env.reset()
    env.render()
    env.step(STAY)
    env.render()
    env.set_action_probabilities([0.25, 0.75])
    env.step(GO)
    env.step(GO)
    env.render()
    env.set_action_probabilities(None)
    env.reset()
    env.render()
    start = Snapshot(1, None, None, 0, 0.0)
    assert env.snapshots == [
        start,
        Snapshot(1, 1, -1.0, 1, -1.0, previous_state=1),
        Snapshot(2, 0, 10.0, 3, 10.0, True, (0.25, 0.75), previous_state=2),
        start,
    ]


@pytest.mark.parametrize(
    "probabilities",
    [
        [0.5, 0.25, 0.25],
        [1.0],
        [[0.5, 0.5]],
        [[0.5, 0.5], [0.5, 0.5], [0.5, 0.6]],
        [0.5, 0.6],
        [1.5, -0.5],
        [np.nan, 1.0],
    ],
)
def test_bad_action_probabilities_are_refused(probabilities: list[float]) -> None:
    env = SceneRecorder(two_step_mdp(), render_mode="rgb_array")
    env.reset(seed=0)
    env.set_action_probabilities([0.25, 0.75])
    with pytest.raises(ValueError, match="2 numbers >= 0 that sum to 1, or") as error:
        env.set_action_probabilities(probabilities)
    assert str(probabilities) in str(error.value)
    env.render()
    assert env.snapshots[-1].action_probabilities == (0.25, 0.75)


def test_single_precision_probabilities_are_accepted() -> None:
    """Though they add up to 1 less precisely."""
    n_arms = 1000
    env = BanditEnv([0.0] * n_arms)
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(n_arms)).astype(np.float32)
    env.set_action_probabilities(probabilities)


def test_the_row_of_the_current_state_is_drawn() -> None:
    env = SequenceEnv(render_mode="rgb_array")
    table = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    env.set_action_probabilities(table)
    # The table is copied.
    table[:] = 0.0
    drawn: list[tuple[float, ...] | None] = []

    def recorded(snapshot: Snapshot) -> Scene:
        drawn.append(snapshot.action_probabilities)
        return SequenceEnv.scene(env, snapshot)

    env.scene = recorded  # type: ignore[method-assign]
    env.reset()
    env.render()
    for action in (2, 2, 0):
        env.step(np.int64(action))
        env.render()
    assert drawn == [(0.2, 0.3, 0.5), (0.6, 0.3, 0.1), (0.1, 0.8, 0.1), (0.6, 0.3, 0.1)]


@pytest.mark.usefixtures("fast_frames")
def test_closing_the_window_leaves_a_complete_step() -> None:
    import pygame

    env = SequenceEnv(render_mode="human")
    env.reset(seed=0)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    with pytest.raises(WindowClosed):
        env.step(np.int64(2))
    # The next step starts from the middle state.
    obs, *_ = env.step(np.int64(2))
    assert np.asarray(obs).tolist() == [1.0]
    snapshot = env.get_state()["snapshot"]
    assert (snapshot["step"], snapshot["previous_state"]) == (2, 1)
    env.close()
    env.close()
