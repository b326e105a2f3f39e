"""The single environment of Pixelcopter."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3

import pg_envs
from pg_envs.pixelcopter import ID, TIME_LIMIT_ID, PixelcopterEnv, game


@pytest.mark.parametrize("env_id", [ID, TIME_LIMIT_ID])
def test_the_checkers_find_nothing(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(env_id).unwrapped, skip_render_check=True)
        check_sb3(gymnasium.make(env_id))


def test_the_first_observation_and_a_step_by_hand() -> None:
    """By hand: the player climbs once, everything else moves by 0.64."""
    env = PixelcopterEnv()
    first, _ = env.reset(seed=0)
    y, momentum, above, below, distance, block, bottom = first.tolist()
    assert (y, momentum, above + below, bottom - block) == (24.0, 0.0, 24.0, 9.0)
    assert distance == int(distance)
    assert 48 - 16 <= distance <= 71 - 16
    obs, reward, terminated, truncated, info = env.step(game.UP)
    assert obs[0] == np.float32(24.0 - 0.56 * 0.99)
    assert obs[1] == np.float32(-0.56 * 0.99)
    assert obs[4] == np.float32(distance - 0.64)
    assert (reward, terminated, truncated, info) == (0.0, False, False, {})
    obs = env.step(game.NOOP)[0]
    assert obs[1] == np.float32((-0.56 * 0.99 + 0.0576) * 0.99)


@pytest.mark.parametrize(("scheme", "loss"), [("original", -5.0), ("course", -1.0)])
def test_reward_schemes(scheme: str, loss: float) -> None:
    env = PixelcopterEnv(scheme)
    env.reset(seed=0)
    rewards, terminated = [], False
    while not terminated:
        _, reward, terminated, _, _ = env.step(game.NOOP)
        rewards.append(reward)
    # The first column leaves in step 10, the second in step 16: 2 - 0.64 n <= -4.
    gained = [1.0 if n in (10, 16, 22) else 0.0 for n in range(1, len(rewards) + 1)]
    assert rewards[:-1] == gained[:-1]
    assert rewards[-1] == gained[-1] + loss


def test_blocks_and_waves_have_their_distributions() -> None:
    """Of 4,000 first blocks x and y are uniform on 24 values: chi-squared.

    With 23 degrees of freedom 60 is passed once in 28,000 times. The centre of the
    column at the player is 24 in the mean within 6 pixels.
    """
    env = PixelcopterEnv()
    env.reset(seed=0)
    starts = np.array([env.reset()[0] for _ in range(4_000)])
    for values, first in ((starts[:, 4] + 16, 48), (starts[:, 5], 12)):
        counts = np.bincount((values - first).astype(int), minlength=24)
        assert counts.shape == (24,)
        assert ((counts - 4_000 / 24) ** 2 / (4_000 / 24)).sum() < 60
    # f x + u at x = 14: between 0.0838 * 14 and 0.1038 * 14 + 0.5.
    angles = np.linspace(0.0838 * 14, 0.1038 * 14 + 0.5, 1_001)
    centres = 24 - starts[:, 2] + 12
    possible = np.floor(24 + 6 * np.sin(angles))
    assert set(centres) <= set(possible)


def test_observations_keep_their_bounds() -> None:
    """Random thrusts in runs, so that all speeds come up; over hundreds of ends."""
    env = pg_envs.PixelcopterVectorEnv(256, autoreset_mode="SameStep")
    obs, _ = env.reset(seed=0)
    rng, actions, n_ended = np.random.default_rng(0), np.zeros(256, np.int64), 0
    low, high = game.observation_bounds()
    for _ in range(1_000):
        changes = rng.random(256) < 0.15
        actions = np.where(changes, rng.integers(2, size=256), actions)
        obs, _, terminated, _, infos = env.step(actions)
        for batch in (obs, *(infos[name] for name in infos if name == "final_obs")):
            assert batch.dtype == np.float32
            assert ((batch >= low) & (batch <= high)).all()
        n_ended += int(terminated.sum())
    assert n_ended > 5_000


def test_wrong_arguments_and_actions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reward_scheme must be .*'original'.*'none'"):
        PixelcopterEnv("none")
    with pytest.raises(ValueError, match=r"render_mode must be .*'ansi'"):
        PixelcopterEnv(render_mode="ansi")
    env = PixelcopterEnv()
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    for action in (2, -1, 0.5, None):
        with pytest.raises(InvalidAction, match=r"action must be .* 0 to 1"):
            env.step(action)  # type: ignore[arg-type]


def test_random_play_scores_minus_4_8() -> None:
    """The figure of the original game, over 4,096 episodes, one of each environment.

    The standard error is 0.02 by the sample; the figure is known to 0.05. Within 4
    standard errors and that: a false alarm in 16,000.
    """
    n, rng = 4_096, np.random.default_rng(0)
    env = pg_envs.PixelcopterVectorEnv(n)
    env.reset(seed=0)
    scores, going = np.zeros(n), np.ones(n, np.bool_)
    while going.any():
        _, rewards, terminated, _, _ = env.step(rng.integers(2, size=n))
        scores += rewards * going
        going &= ~terminated
    error = scores.std(ddof=1) / n**0.5
    assert error < 0.03
    assert abs(scores.mean() + 4.8) < 0.05 + 4 * error
