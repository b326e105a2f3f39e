"""One environment, stepped by itself, is seen as the wrappers of a batch show it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecFrameStack,
    VecNormalize,
)

from pg_agents.experiments.sight import Sight

BOX = spaces.Box(-9, 9, (2,), np.float32)


class Counting(gymnasium.Env[Any, Any]):
    """Observes the number of steps and its square; ends after four."""

    action_space = spaces.Discrete(2)

    def __init__(self, as_dict: bool) -> None:
        self.observation_space = spaces.Dict({"a": BOX}) if as_dict else BOX
        self.as_dict, self.count = as_dict, 0

    def _seen(self) -> Any:
        numbers = np.array([self.count, self.count**2], np.float32)
        return {"a": numbers} if self.as_dict else numbers

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        super().reset(**kwargs)
        self.count = 1
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self._seen(), 0.0, self.count == 5, False, {}


def numbers(seen: Any) -> NDArray[np.float32]:
    inside: NDArray[np.float32] = seen["a"] if isinstance(seen, dict) else seen
    return inside


def make(as_dict: bool, normalize: bool, n_stack: int | None) -> VecEnv:
    env: VecEnv = DummyVecEnv([lambda: Counting(as_dict)])
    if normalize:
        env = VecNormalize(env)
        for seen in np.arange(8.0).reshape(4, 2):
            env.reset()
            rms = env.obs_rms["a"] if isinstance(env.obs_rms, dict) else env.obs_rms
            rms.update(seen[None])
        env.training = False
    return env if n_stack is None else VecFrameStack(env, n_stack)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n_stack", [None, 3])
def test_it_is_what_the_wrappers_make_of_it(
    as_dict: bool, normalize: bool, n_stack: int | None
) -> None:
    env = make(as_dict, normalize, n_stack)
    policy = "MultiInputPolicy" if as_dict else "MlpPolicy"
    sight = Sight(env, A2C(policy, env))
    alone = Counting(as_dict)
    # The second episode sees nothing of the first.
    for _ in range(2):
        seen = sight.first(alone.reset()[0])
        shown = [np.array(numbers(env.reset()))[0]]
        assert numbers(seen) == pytest.approx(shown[0])
        for _ in range(3):
            seen = sight.next(alone.step(0)[0])
            shown.append(np.array(numbers(env.step(np.zeros(1, int))[0]))[0])
            assert numbers(seen) == pytest.approx(shown[-1])
        assert not np.array_equal(shown[0], shown[-1])


def test_the_newest_is_the_last_of_a_stack() -> None:
    env = make(False, False, 3)
    sight, alone = Sight(env, A2C("MlpPolicy", env)), Counting(False)
    assert sight.first(alone.reset()[0]).tolist() == [0, 0, 0, 0, 1, 1]
    assert sight.next(alone.step(0)[0]).tolist() == [0, 0, 1, 1, 2, 4]
    assert sight.next(alone.step(0)[0]).tolist() == [1, 1, 2, 4, 3, 9]
    assert sight.next(alone.step(0)[0]).tolist() == [2, 4, 3, 9, 4, 16]
    assert sight.first(alone.reset()[0]).tolist() == [0, 0, 0, 0, 1, 1]
