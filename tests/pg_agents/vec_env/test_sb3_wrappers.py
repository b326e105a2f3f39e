"""SB3's wrappers around the adapter, compared with the same around DummyVecEnv."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import A2C
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecExtractDictObs,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)

from pg_agents import REINFORCE, as_vec_env
from tests.pg_agents.envs import SampleEnv

MODES = list(AutoresetMode)
BOX = spaces.Box(-1.0, 1.0, (2,))
IMAGE = spaces.Box(0, 255, (36, 37, 3), np.uint8)
DICT = spaces.Dict({"at": BOX, "image": IMAGE})
WRAPPED: dict[str, tuple[spaces.Space[Any], Callable[[Any], Any]]] = {
    "normalize": (BOX, lambda env: VecNormalize(env, gamma=0.9)),
    "normalize-dict": (DICT, lambda env: VecNormalize(env, norm_obs_keys=["at"])),
    "stack": (BOX, lambda env: VecFrameStack(env, 3)),
    "stack-dict": (DICT, lambda env: VecFrameStack(env, 3)),
    "transpose": (IMAGE, VecTransposeImage),
    "transpose-dict": (DICT, VecTransposeImage),
    "check-nan": (BOX, lambda env: VecCheckNan(env, raise_exception=True)),
    "extract": (DICT, lambda env: VecExtractDictObs(env, "at")),
    "two": (IMAGE, lambda env: VecNormalize(VecFrameStack(env, 2), norm_reward=False)),
}


def makers(space: spaces.Space[Any]) -> list[Callable[[], Any]]:
    return [
        partial(SampleEnv, space, spaces.Discrete(2), [length, 1], True)
        for length in (2, 3)
    ]


def assert_same(ours: Any, theirs: Any) -> None:
    """Arrays, or dicts of them, are equal in shape, dtype and value."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same(ours[key], theirs[key])
        return
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_returns_the_same_as_around_dummy_vec_env(
    name: str, mode: AutoresetMode
) -> None:
    space, wrap = WRAPPED[name]
    ours = wrap(as_vec_env(SyncVectorEnv(makers(space), autoreset_mode=mode)))
    theirs = wrap(DummyVecEnv(makers(space)))
    assert_same(ours.reset(), theirs.reset())
    for _ in range(9):
        results, expected = (env.step(np.zeros(2, int)) for env in (ours, theirs))
        for result, wanted in zip(results[:3], expected[:3], strict=True):
            assert_same(result, wanted)
        for i in np.flatnonzero(expected[2]):
            assert_same(
                results[3][i]["terminal_observation"],
                expected[3][i]["terminal_observation"],
            )
    if isinstance(ours, VecNormalize):
        assert ours.ret_rms.mean == theirs.ret_rms.mean
        assert ours.ret_rms.count == theirs.ret_rms.count


@pytest.mark.parametrize("algorithm", [A2C, REINFORCE])
def test_no_dummy_step_reaches_vec_normalize(algorithm: Any) -> None:
    """Its reward of 0 would be in the statistics."""
    env = VecNormalize(
        as_vec_env(gymnasium.make_vec("CartPole-v1", num_envs=4)), gamma=0.0
    )
    algorithm("MlpPolicy", env, seed=0, n_steps=50).learn(400)
    # With gamma = 0 these are statistics of the rewards, which are all 1.
    assert env.ret_rms.mean == pytest.approx(1.0, abs=1e-3)
    assert env.ret_rms.var == pytest.approx(0.0, abs=1e-3)


def test_videos_are_recorded(tmp_path: Any) -> None:
    pytest.importorskip("moviepy")
    env = gymnasium.make_vec("PGToy-Sequence-v0", num_envs=2, render_mode="rgb_array")
    env.metadata["render_fps"] = 7
    recorder = VecVideoRecorder(
        as_vec_env(env), str(tmp_path), lambda step: step == 0, video_length=20
    )
    recorder.reset()
    frames: list[Any] = []
    for step in range(1, 4):
        recorder.step(np.array([2, 2]))
        frames = recorder.recorded_frames
        assert len(frames) == step + 1
    single: Any = env.render()
    height, width, channels = single[0].shape
    assert frames[-1].shape == (2 * height, width, channels)
    assert recorder.frames_per_sec == 7
    # Discarded: writing the file takes a second.
    recorder.recorded_frames = []
    recorder.recording = False
    recorder.close()
