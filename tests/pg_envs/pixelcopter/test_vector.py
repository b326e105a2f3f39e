"""The vector environments of Pixelcopter beside what all vector environments share."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from pg_envs.make import make_numpy_vec, make_torch_vec
from pg_envs.pixelcopter import (
    ID,
    TIME_LIMIT_ID,
    PixelcopterVectorEnv,
    TorchPixelcopterVectorEnv,
)
from tests.pg_envs.vector.kinds import KINDS, MODES, NEXT, SAME, as_array, make, results

every_kind = pytest.mark.parametrize("kind", [k for k in KINDS if "Pixelcopter" in k])


@pytest.mark.parametrize("prefix", ["", "pg_envs:"])
@pytest.mark.parametrize(("env_id", "limit"), [(ID, None), (TIME_LIMIT_ID, 4000)])
def test_ids(env_id: str, limit: int | None, prefix: str) -> None:
    for mode in MODES:
        arguments: dict[str, Any] = {"autoreset_mode": mode, "reward_scheme": "course"}
        numpy: Any = gymnasium.make_vec(prefix + env_id, num_envs=3, **arguments)
        on_torch: Any = make_torch_vec(
            prefix + env_id, 3, check_actions=False, **arguments
        )
        also = make_numpy_vec(prefix + env_id, 3, check_actions=False, **arguments)
        assert type(numpy) is type(also) is PixelcopterVectorEnv
        assert isinstance(on_torch, TorchPixelcopterVectorEnv)
        assert not on_torch.check_actions
        assert not also.check_actions
        for env in (numpy, also, on_torch):
            assert env.metadata["autoreset_mode"] is mode
            assert env.max_episode_steps == limit
            assert env.reward_scheme == "course"
    other: Any = make_torch_vec(env_id, 2, max_episode_steps=7)
    assert other.max_episode_steps == 7


@every_kind
@pytest.mark.parametrize("mode", MODES)
def test_an_episode_starts_in_the_middle(kind: str, mode: Any) -> None:
    env = make(kind, 5, autoreset_mode=mode, max_episode_steps=20)
    env.reset(seed=0)
    starts = np.zeros(5, np.bool_)
    for obs, _, terminated, truncated, *_ in results(env, 200):
        done = np.array(terminated) | np.array(truncated)
        starts = done if mode is SAME else starts
        assert (np.array(obs)[starts][:, :2] == [24.0, 0.0]).all()
        assert (np.array(obs)[~starts][:, 1] != 0.0).all()
        starts = done


@every_kind
def test_a_mask_lays_no_terrain_elsewhere(kind: str) -> None:
    """Not even where a batch was laid in the last step, at clock 222."""
    env = make(kind, 2)
    env.reset(seed=0)
    env._games.clock[:] = 221
    env.step(as_array(env, [1, 1]))
    assert env._games.clock.tolist() == [222, 222]
    before = env._games.centres[1].tolist()
    env.reset(options={"reset_mask": as_array(env, [True, False])})
    assert env._games.centres[1].tolist() == before
    assert env._games.clock.tolist() == [0, 222]


@every_kind
def test_a_state_within_a_long_flight(kind: str) -> None:
    """Where columns of two batches are at the player, and after a block was passed."""
    for clock in (221, 222, 260, 518, 815):
        env, other = make(kind, 4), make(kind, 4)
        env.reset(seed=3)
        env._games.clock[:] = clock
        results(env, 3)
        other.set_state(env.get_state())
        assert results(env, 150) == results(other, 150)


@every_kind
def test_the_reward_scheme(kind: str) -> None:
    for scheme, loss in (("original", -5.0), ("course", -1.0)):
        env = make(kind, 3, reward_scheme=scheme, autoreset_mode=NEXT)
        env.reset(seed=0)
        steps = results(env, 100)
        crashes = [
            reward
            for _, rewards, terminated, _ in steps
            for reward, crashed in zip(rewards, terminated, strict=True)
            if crashed
        ]
        assert set(crashes) <= {loss, loss + 1.0}
        assert len(crashes) > 5
    with pytest.raises(ValueError, match=r"reward_scheme must be .*got 'mine'"):
        make(kind, reward_scheme="mine")
    state = make(kind, 3, autoreset_mode=NEXT).get_state()
    with pytest.raises(ValueError, match="its reward_scheme is 'original'"):
        env.set_state(state)


@every_kind
def test_frames(kind: str) -> None:
    env = make(kind, 2, autoreset_mode=SAME, render_mode="rgb_array")
    env.reset(seed=0)
    for _ in range(3):
        env.step(as_array(env, [0, 1]))
    first, second = env.render()
    assert (first.shape, first.dtype) == ((528, 480, 3), np.uint8)
    # One has climbed and one has fallen; the player is white.
    high, low = (
        np.argwhere((frame[49:] == 255).all(2))[:, 0].min() for frame in (first, second)
    )
    assert high < low
    env.close()
