"""Steps of DummyVecEnv, against DummyVecEnv's own."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from pg_agents.rollout.dummy_steps import is_plain, step_in_turn
from tests.pg_agents.envs import ScriptedEnv


class InDict(ScriptedEnv):
    """Hands out observations in a dict, and infos with something in them."""

    def __init__(self) -> None:
        super().__init__([3], truncates=True)
        space: Any = spaces.Dict({"at": self.observation_space})
        self.observation_space = space

    def reset(self, **arguments: Any) -> Any:
        seen, _ = super().reset(**arguments)
        return {"at": seen}, {"fresh": True}

    def step(self, action: Any) -> Any:
        seen, reward, terminated, truncated, _ = super().step(action)
        return {"at": seen}, reward, terminated, truncated, {"steps": self.steps}


class Remembering(InDict):
    """Hands out one and the same info in every step.

    In the infos of SB3's own step what an episode ended with stays for ever then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.info: dict[str, Any] = {}

    def step(self, action: Any) -> Any:
        *results, info = super().step(action)
        self.info |= info
        return (*results, self.info)


def plain(values: Any) -> Any:
    """Returns nested values without arrays, which compare entry by entry."""
    if isinstance(values, dict):
        return {key: plain(each) for key, each in values.items() if key != "t"}
    if isinstance(values, list | tuple):
        return [plain(each) for each in values]
    return np.asarray(values).tolist(), str(np.asarray(values).dtype)


def lived(env: DummyVecEnv, step: Any, n_steps: int) -> list[Any]:
    env.seed(3)
    seen = [plain(env.reset())]
    rng = np.random.default_rng(0)
    for _ in range(n_steps):
        actions = rng.integers(2, size=env.num_envs)
        seen.append((plain(step(actions)), plain(env.reset_infos)))
    return seen


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_vec_env("CartPole-v1", 3),
        lambda: DummyVecEnv([lambda: ScriptedEnv([2], truncates=True)] * 2),
        lambda: DummyVecEnv([InDict, InDict]),
    ],
    ids=["CartPole", "truncated", "Dict"],
)
def test_they_return_what_its_own_do(make: Any) -> None:
    one, other = make(), make()
    assert is_plain(one)
    ours = lived(one, lambda actions: step_in_turn(one, actions), 60)
    assert ours == lived(other, other.step, 60)


def test_what_was_returned_stays_as_it_was() -> None:
    env = DummyVecEnv([Remembering])
    env.reset()
    first = step_in_turn(env, np.zeros(1, dtype=np.int64))
    before = plain(first)
    step_in_turn(env, np.zeros(1, dtype=np.int64))
    assert plain(first) == before
    assert first[3][0]["steps"] == 1


def test_an_environment_with_a_step_of_its_own_takes_that() -> None:
    class Own(DummyVecEnv):
        pass

    makers: list[Any] = [lambda: gymnasium.make("CartPole-v1")]
    assert not is_plain(Own(makers))
    assert not is_plain(VecNormalize(DummyVecEnv(makers)))
    changed = DummyVecEnv(makers)
    changed.step_wait = changed.step_wait  # type: ignore[method-assign]
    assert not is_plain(changed)
