from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from pg_agents.checker.script.child import make_tasks
from pg_agents.checker.script.stage import (
    Acted,
    RefusedError,
    Stage,
    StageEnv,
    Watermark,
)
from pg_agents.checker.script.vector import (
    OldStageEnv,
    OldVectorEnv,
    StageVectorEnv,
    make_vec,
)


class Audience:
    def acted(self, env: StageEnv, sent: Any) -> Acted:
        return Acted(None, False, env.state)

    def stepped(self) -> None:
        pass

    def leaves_stage(self, reason: str) -> bool:
        return False


@pytest.fixture
def stage() -> Stage:
    stage = Stage(make_tasks, seed=0)
    stage.audience = Audience()
    return stage


def test_spaces_are_those_of_the_environment_that_is_asked_for(stage: Stage) -> None:
    env, real = stage.make("CartPole-v1"), gymnasium.make("CartPole-v1")
    assert env.observation_space == real.observation_space
    assert env.action_space == real.action_space
    obs, info = env.reset(seed=3)
    assert env.observation_space.contains(obs) and info == {}
    assert env.spec is not None and env.spec.max_episode_steps == 500
    # No script stops because the task is solved.
    assert env.spec.reward_threshold is not None
    assert env.spec.reward_threshold > 1e6


@pytest.mark.parametrize(
    ("env_id", "n_actions"), [("LunarLander-v2", 4), ("CartPole-v0", 2)]
)
def test_retired_ids_are_known(stage: Stage, env_id: str, n_actions: int) -> None:
    retired: AbstractContextManager[Any] = nullcontext()
    if env_id == "CartPole-v0":
        retired = pytest.warns(match="out of date")
    with retired:
        assert stage.make(env_id).action_space == spaces.Discrete(n_actions)
    # What gymnasium itself can't make may be a typing error.
    was_taken = "LunarLander-v2 cannot be made here" in " ".join(stage.notes)
    assert was_taken == (env_id == "LunarLander-v2")


def test_unknown_environments_are_refused_in_a_sentence(stage: Stage) -> None:
    with pytest.raises(RefusedError, match=r"Nothing-v7 cannot be made here"):
        stage.make("Nothing-v7")


def test_dict_observations_are_refused() -> None:
    space = spaces.Dict({"x": spaces.Discrete(3)})
    with pytest.raises(RefusedError, match="Box and Discrete"):
        make_tasks(space, spaces.Discrete(2))


def test_seeds_of_reset_are_not_obeyed(stage: Stage) -> None:
    env = stage.make("CartPole-v1")
    starts = {tuple(np.round(env.reset(seed=1)[0], 3)) for _ in range(50)}
    assert len(starts) > 1


def test_log_has_what_the_script_sees(stage: Stage) -> None:
    env = stage.make("CartPole-v1")
    seen = []
    for _ in range(30):
        env.reset()
        done, t = False, 0
        while not done:
            state = env.state
            _, reward, terminated, truncated, _ = env.step(t % 2)
            seen.append((state, t % 2, reward, env.state, terminated, truncated, t))
            done, t = terminated or truncated, t + 1
    rows = [
        (r.state, r.sent, r.reward, r.next_state, r.terminated, r.truncated, r.time)
        for r in stage.log.rows
    ]
    assert rows == seen
    # About half of the episodes of the first task have one or two steps.
    lengths = Counter(r.episode for r in stage.log.rows)
    assert 1 in lengths.values()


def test_steps_after_the_end_and_abandoned_episodes_are_counted(stage: Stage) -> None:
    env = stage.make("CartPole-v1")
    env.reset()
    while not env.step(0)[2]:
        pass
    env.step(0)
    assert stage.log.past_end == 1
    env.reset()
    env.step(0)
    if not stage.log.rows[-1].terminated:
        env.reset()
        assert len(stage.log.rows) - 1 in stage.log.abandoned


def test_a_limit_that_the_script_ignores_is_none(stage: Stage) -> None:
    env = stage.make("CartPole-v1")
    stage.start_phase(stage.available[2])
    limit = stage.available[2].horizon
    for _ in range(200):
        env.reset()
        truncated, terminated = False, False
        while not (truncated or terminated):
            _, _, terminated, truncated, _ = env.step(1)
        if truncated:
            break
    assert env.time == limit and stage.log.rows[-1].truncated
    env.step(1)
    assert stage.log.past_limit == 1
    assert not stage.log.rows[-2].truncated


def test_environments_without_an_end_are_truncated_at_random(stage: Stage) -> None:
    env = stage.make("Pendulum-v1")
    ends = []
    for _ in range(20):
        env.reset()
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(np.array([0.3]))
            done = terminated or truncated
        ends.append((terminated, truncated))
    assert set(ends) == {(False, True)}


def test_actions_outside_the_space_are_errors(stage: Stage) -> None:
    env = stage.make("CartPole-v1")
    env.reset()
    with pytest.raises(gymnasium.error.InvalidAction, match=r"got 2"):
        env.step(2)


def run_vector(envs: Any, n_steps: int) -> None:
    envs.reset(seed=0)
    for t in range(n_steps):
        envs.step(np.full(envs.num_envs, t % 2))


def test_next_step_autoreset_is_logged_as_a_reset(stage: Stage) -> None:
    envs = make_vec(stage)("CartPole-v1", num_envs=3)
    run_vector(envs, 40)
    rows = stage.log.rows
    # Every vector step is one row of each environment.
    assert [r.env for r in rows] == [0, 1, 2] * 40
    for env in range(3):
        own = [r for r in rows if r.env == env]
        for before, row in pairwise(own):
            assert row.reset == (before.terminated or before.truncated)
            assert row.state == before.next_state
    assert any(r.reset for r in rows)


def test_same_step_autoreset_has_no_reset_rows(stage: Stage) -> None:
    envs = StageVectorEnv(
        [lambda: stage.make("CartPole-v1")] * 2, autoreset_mode=AutoresetMode.SAME_STEP
    )
    run_vector(envs, 40)
    assert not any(r.reset for r in stage.log.rows)
    assert [r.env for r in stage.log.rows] == [0, 1] * 40


def test_old_interface_has_four_values(stage: Stage) -> None:
    env: Any = stage.make("CartPole-v1", kind=OldStageEnv)
    assert env.unwrapped is env
    obs = env.reset()
    assert env.observation_space.contains(obs)
    done = False
    while not done:
        _, _, done, info = env.step(0)
    assert stage.log.rows[-1].terminated and info == {}
    envs: Any = OldVectorEnv([lambda: stage.make("CartPole-v1", kind=OldStageEnv)] * 2)
    assert envs.reset().shape == (2, 4)
    for _ in range(30):
        _, _, dones, infos = envs.step([0, 1])
        assert all(
            ("terminal_observation" in info) == done
            for info, done in zip(infos, dones, strict=True)
        )


@pytest.mark.parametrize("shape", [(3,), (4,), (17,), (5, 5, 3)])
def test_watermark_names_observations_and_hardly_changes_them(
    shape: tuple[int, ...],
) -> None:
    rng = np.random.default_rng(0)
    watermark = Watermark(shape)
    points = rng.normal(size=(200, *shape)).astype(np.float32)
    marked = points.copy()
    for i, point in enumerate(marked):
        watermark.acted_on(watermark.mark(point), 1000 + i)
    assert np.abs(marked / points - 1.0).max() < 2.0**-19
    shuffled = rng.permutation(200)
    found = watermark.transitions(marked[shuffled].reshape(200, -1))
    assert found.tolist() == (1000 + shuffled).tolist()


def test_watermark_needs_three_coordinates() -> None:
    assert Watermark((2,)).n_bits == 0


@pytest.fixture(autouse=True)
def _no_leak() -> Iterator[None]:
    make = gymnasium.make
    yield
    assert gymnasium.make is make
