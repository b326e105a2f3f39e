"""SB3's access to sub-environments, single or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.monitor import Monitor

from pg_agents import as_vec_env
from tests.pg_agents.envs import SampleEnv

# Python 3.12 and later warn about forks, Gymnasium's default.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

SEQUENCE = "PGToy-Sequence-v0"


class Named(SampleEnv):
    """Has an attribute and a method."""

    def __init__(self, name: str) -> None:
        super().__init__(spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(2), [3])
        self.name = name

    def greet(self, greeting: str, mark: str = ".") -> str:
        self.name += "!"
        return f"{greeting} {self.name}{mark}"


def makers() -> list[Any]:
    return [lambda name=name: TimeLimit(Named(name), 9) for name in ("Ann", "Bob")]


@pytest.fixture(params=[SyncVectorEnv, AsyncVectorEnv])
def singles(request: pytest.FixtureRequest) -> Iterator[Any]:
    adapter = as_vec_env(request.param(makers()))
    yield adapter
    adapter.close()


def test_attributes_of_single_environments(singles: Any) -> None:
    assert singles.get_attr("name") == ["Ann", "Bob"]
    assert singles.get_attr("name", 1) == ["Bob"]
    assert singles.get_attr("name", [1, 0]) == ["Bob", "Ann"]
    singles.set_attr("name", ["a", "list"])
    assert singles.get_attr("name") == [["a", "list"]] * 2


def test_methods_of_single_environments(singles: Any) -> None:
    greetings = singles.env_method("greet", "Hi", mark="?")
    assert greetings == ["Hi Ann!?", "Hi Bob!?"]
    assert singles.get_attr("name") == ["Ann!", "Bob!"]


def test_missing_attributes_raise(singles: Any) -> None:
    """Asking a worker process for one would end it."""
    with pytest.raises(AttributeError, match="price"):
        singles.get_attr("price")
    with pytest.raises(AttributeError, match="pay"):
        singles.env_method("pay")
    assert not singles.has_attr("price")
    assert singles.has_attr("name")
    # An attribute of the vector environment.
    assert singles.get_attr("num_envs") == [2, 2]


def test_seeds_are_consecutive_as_in_sb3(singles: Any) -> None:
    assert singles.seed(7) == [7, 8]
    singles.reset()
    assert singles.get_attr("seeds") == [[7], [8]]
    singles.reset()
    assert singles.get_attr("seeds") == [[7, None], [8, None]]


def test_options_apply_to_the_next_reset(singles: Any) -> None:
    singles.set_options({"low": 1})
    singles.reset()
    assert singles.get_attr("options") == [{"low": 1}] * 2
    singles.set_options([{"low": np.ones(2)}, {"low": np.ones(2)}])
    singles.reset()
    assert singles.get_attr("options")[1]["low"].tolist() == [1.0, 1.0]
    singles.reset()
    assert singles.get_attr("options") == [None, None]
    with pytest.raises(ValueError, match=r"options must be one dict or a list of eq"):
        singles.set_options([{"low": 1}, {"low": 2}])


def test_indices_in_this_process() -> None:
    env = as_vec_env(SyncVectorEnv(makers()))
    assert env.env_method("greet", "Hi", indices=1) == ["Hi Bob!."]
    assert env.get_attr("name") == ["Ann", "Bob!"]
    env.set_attr("name", "Cid", indices=[0])
    assert env.get_attr("name") == ["Cid", "Bob!"]
    assert env.env_is_wrapped(TimeLimit) == [True, True]
    assert env.env_is_wrapped(gymnasium.wrappers.ClipAction, 0) == [False]
    assert env.env_is_wrapped(Monitor) == [True, True]


def test_indices_need_single_environments_in_this_process() -> None:
    env = as_vec_env(AsyncVectorEnv(makers()))
    try:
        for adapter in (env, as_vec_env(gymnasium.make_vec(SEQUENCE, num_envs=2))):
            with pytest.raises(ValueError, match=r"indices must be None.*got \[1\]"):
                adapter.set_attr("name", "Cid", indices=1)
            with pytest.raises(ValueError, match=r"indices must be None.*got \[1\]"):
                adapter.env_method("greet", "Hi", indices=[1])
        assert env.get_attr("name") == ["Ann", "Bob"]
        assert env.env_is_wrapped(Monitor) == [True, True]
        with pytest.raises(NotImplementedError, match="which wrappers"):
            env.env_is_wrapped(TimeLimit)
    finally:
        env.close()


def test_a_vector_environment_without_single_ones_answers_for_all() -> None:
    env = gymnasium.make_vec(SEQUENCE, num_envs=2, render_mode="rgb_array")
    adapter = as_vec_env(env)
    specs = adapter.get_attr("spec")
    assert [spec.reward_threshold for spec in specs] == [0.85, 0.85]
    assert adapter.get_attr("spec", 0) == specs[:1]
    adapter.set_attr("colour", "blue")
    assert adapter.get_attr("colour") == ["blue", "blue"]
    assert adapter.env_is_wrapped(Monitor) == [True, True]
    assert adapter.env_is_wrapped(TimeLimit) == [False, False]
    assert adapter.env_method("__repr__") == [repr(env)] * 2
    with pytest.raises(AttributeError, match="price"):
        adapter.get_attr("price")
    assert adapter.unwrapped is adapter


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_render_tiles_the_frames(mode: Any) -> None:
    env = gymnasium.make_vec(
        SEQUENCE, num_envs=3, vectorization_mode=mode, render_mode="rgb_array"
    )
    adapter = as_vec_env(env)
    assert adapter.render_mode == "rgb_array"
    adapter.reset()
    frames: Any = adapter.get_images()
    assert len(frames) == 3
    assert frames[0].dtype == np.uint8
    tiled: Any = adapter.render()
    # Two rows of two.
    height, width, _ = frames[0].shape
    assert tiled.shape == (2 * height, 2 * width, 3)
    np.testing.assert_array_equal(tiled[:height, :width], frames[0])
    adapter.close()


def test_no_frames_without_render_mode() -> None:
    adapter = as_vec_env(gymnasium.make_vec(SEQUENCE, num_envs=2))
    adapter.reset()
    assert adapter.render_mode is None
    with pytest.warns(UserWarning, match=r"render_mode='rgb_array', got None"):
        assert adapter.get_images() == [None, None]
    with pytest.warns(UserWarning, match="no `render_mode`"):
        assert adapter.render() is None
