"""`EpisodeLog`: the same episodes, whichever way it reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import make_vec
from gymnasium.wrappers import TransformReward
from numpy.typing import NDArray
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from pg_agents import REINFORCE, ActorCritic, as_vec_env
from pg_agents.callbacks.episodes import finished_episodes
from pg_agents.live.episodes import EpisodeLog, finished_returns
from pg_envs import make_torch_vec


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (30, 1), (50, 3)])
def test_returns_of_consecutive_steps(shape: tuple[int, int], seed: int) -> None:
    """Equal to adding up the rewards of one environment after the other."""
    rng = np.random.default_rng(seed)
    rewards, ended = rng.integers(-5, 5, shape) / 4.0, rng.random(shape) < 0.3
    before = rng.integers(-5, 5, shape[1]) / 4.0
    sums = before.copy()
    expected = []
    for row in range(shape[0]):
        sums += rewards[row]
        for env in range(shape[1]):
            if ended[row, env]:
                expected.append((row, sums[env]))
                sums[env] = 0.0
    rows, returns, after = finished_returns(rewards, ended, before)
    assert list(zip(rows, returns, strict=True)) == expected
    assert np.array_equal(after, sums)


class Followed(BaseCallback):
    """Follows a training by an `EpisodeLog`, and by the infos and rewards of each step.

    Args:
        every: steps between two readings of the log.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.log, self.every = EpisodeLog(), every
        self.found: list[tuple[int, float]] = []
        self.expected: list[tuple[int, float]] = []
        # Of the first environment: of each episode, and of the present one.
        self.first: list[list[float]] = []
        self.rewards: list[float] = []
        self.last: NDArray[np.float64] | None = None
        self.running: NDArray[np.float64] | None = None

    def _on_training_start(self) -> None:
        self.log.start(self.model)

    def _on_rollout_start(self) -> None:
        self.log.start_rollout(self.num_timesteps)
        if getattr(self.model, "n_episodes", None) is not None:
            self.rewards = []

    def _on_step(self) -> bool:
        values = self.locals
        if not self.log.reads_rows:
            self.log.add_step(values, self.num_timesteps)
        for episode in finished_episodes(values):
            self.expected.append((self.num_timesteps, episode.episode_return))
        self.rewards.append(float(values["rewards"][0]))
        if values["dones"][0]:
            self.first.append(self.rewards)
            self.rewards = []
        if self.n_calls % self.every == 0:
            self.read()
        return True

    def read(self) -> None:
        """Reads the log."""
        self.log.add_rows()
        news = self.log.news()
        pairs = zip(news.timesteps.tolist(), news.returns.tolist(), strict=True)
        self.found += pairs
        self.last = self.last if news.rewards is None else news.rewards
        self.running = news.running_rewards

    def _on_rollout_end(self) -> None:
        self.log.add_rows()

    def _on_training_end(self) -> None:
        self.read()


def assert_equal_lists(followed: Followed) -> None:
    steps, returns = zip(*followed.found, strict=True)
    expected_steps, expected_returns = zip(*followed.expected, strict=True)
    assert steps == expected_steps
    assert returns == pytest.approx(expected_returns)


ENVS: dict[str, Callable[[], Any]] = {
    "Pixelcopter": lambda: make_vec("PGToy-Pixelcopter-v0", 4),
    "Sequence": lambda: make_vec("PGToy-Sequence-v0", 5),
    "Sequence, torch": lambda: make_torch_vec("PGToy-Sequence-v0", 3),
    "dummy steps": lambda: make_vec("PGToy-Sequence-v0", 3, autoreset_mode="NextStep"),
    "a time limit": lambda: make_vec("PGToy-Pixelcopter-v0", 3, max_episode_steps=12),
    "CartPole": lambda: make_vec("CartPole-v1", 4),
    "DummyVecEnv": lambda: make_vec_env("PGToy-Sequence-v0", 3),
    "DummyVecEnv, a time limit": lambda: make_vec_env(
        "PGToy-PixelcopterTimeLimit-v0", 2, env_kwargs={"max_episode_steps": 12}
    ),
}
ROLLOUTS = {
    "one episode each": (REINFORCE, {}),
    "three episodes each": (REINFORCE, {"n_episodes": 3}),
    "five steps": (ActorCritic, {}),
    "17 steps": (ActorCritic, {"n_steps": 17}),
}


@pytest.mark.parametrize("every", [7, 10**9])
@pytest.mark.parametrize("rollout", ROLLOUTS)
@pytest.mark.parametrize("name", ENVS)
def test_the_buffer_tells_of_the_same_episodes_as_the_infos(
    name: str, rollout: str, every: int
) -> None:
    """Also over three calls of `learn`, the second of which continues the first."""
    make, settings = ROLLOUTS[rollout]
    model = make("MlpPolicy", ENVS[name](), seed=0, **settings)
    followed = Followed(every)
    for n_steps, is_new in (300, True), (200, False), (200, True):
        if is_new:
            # The environments are reset.
            followed.rewards = []
        model.learn(n_steps, callback=followed, reset_num_timesteps=is_new)
    assert followed.log.reads_rows
    assert len(followed.found) > 3
    assert_equal_lists(followed)
    assert followed.last == pytest.approx(followed.first[-1])
    assert followed.running is None


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("make", [REINFORCE, A2C])
def test_other_environments_are_read_by_their_infos(make: Any, n_envs: int) -> None:
    venv = as_vec_env(make_vec("PGToy-Sequence-v0", n_envs))
    # A learner of another package, and one of ours whose rewards are not reported.
    wrapper: Any = TransformReward
    doubled = make_vec_env(
        "PGToy-Sequence-v0",
        n_envs,
        wrapper_class=wrapper,
        wrapper_kwargs={"func": lambda reward: 2.0 * reward},
    )
    env = venv if make is A2C else doubled
    followed = Followed(3)
    make("MlpPolicy", env, seed=0, device="cpu").learn(200, callback=followed)
    assert not followed.log.reads_rows
    assert followed.found == followed.expected
    assert followed.last == pytest.approx(followed.first[-1])


def test_an_episode_without_end_is_followed_by_its_rewards() -> None:
    env = make_vec("PGToy-Sequence-v0", 2, max_episode_steps=-1)
    model = ActorCritic("MlpPolicy", env, n_steps=2, seed=0)
    followed = Followed(10**9)
    model.learn(4, callback=followed)
    assert followed.running == pytest.approx(followed.rewards)


def test_steps_without_rewards_leave_the_log_empty() -> None:
    log = EpisodeLog()
    log.start(A2C("MlpPolicy", "CartPole-v1", device="cpu"))
    log.add_step({"model": None}, 1)
    news = log.news()
    assert len(news.returns) == 0 and news.rewards is None
