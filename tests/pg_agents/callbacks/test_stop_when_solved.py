from collections.abc import Callable

import gymnasium as gym
import pytest
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from pg_agents.callbacks import StopWhenSolved
from tests.pg_agents.callbacks.tiny_envs import ScriptedEnv, a2c, ppo

# Returns 0, 4, 4, 4, ... from episodes of two steps. With a factor of 0.5 the weights
# of the last n returns are 1, 2, 4, ... of 2^n - 1, so the running reward is
# 4 (1 - 1 / (2^n - 1)): 0, 8/3, 24/7, 56/15 = 3.73, 120/31 = 3.87, ...
RISING = [[0.0, 0.0], *[[1.0, 3.0]] * 40]


@pytest.mark.parametrize(
    ("min_episodes", "threshold", "n_episodes"),
    [
        (1, 3.7, 4),
        (1, 3.8, 5),
        (1, 0.0, 1),
        (7, 3.7, 7),  # reached at 4, but not believed before 7
    ],
)
@pytest.mark.parametrize("algorithm", [a2c, ppo])
def test_stops_at_the_step_computed_by_hand(
    algorithm: Callable[[GymEnv], A2C | PPO],
    min_episodes: int,
    threshold: float,
    n_episodes: int,
) -> None:
    env = ScriptedEnv(RISING, reward_threshold=threshold)
    model = algorithm(env)
    callback = StopWhenSolved(min_episodes=min_episodes, factor=0.5, verbose=0)
    model.learn(80, callback=callback)
    assert callback.solved
    assert callback.n_episodes == n_episodes
    assert model.num_timesteps == 2 * n_episodes
    assert callback.running_reward == pytest.approx(4 * (1 - 1 / (2**n_episodes - 1)))


def test_default_is_cartpoles_own_threshold_and_20_episodes() -> None:
    model = a2c("CartPole-v1")
    callback = StopWhenSolved(verbose=0)
    model.learn(5, callback=callback)
    assert callback._threshold == 475.0
    assert callback.min_episodes == 20
    assert not callback.solved


def test_given_threshold_goes_before_the_one_of_the_spec() -> None:
    model = a2c(ScriptedEnv(RISING, reward_threshold=100.0))
    callback = StopWhenSolved(3.7, min_episodes=1, factor=0.5, verbose=0)
    model.learn(80, callback=callback)
    assert callback.solved
    assert model.num_timesteps == 8


def test_does_not_stop_below_the_threshold() -> None:
    model = a2c(ScriptedEnv(RISING, reward_threshold=4.01))
    callback = StopWhenSolved(min_episodes=1, verbose=0)
    model.learn(60, callback=callback)
    assert not callback.solved
    assert model.num_timesteps == 60


def test_a_policy_that_always_earns_the_threshold_solves_it() -> None:
    """VecMonitor adds up float32 rewards, and the float32 nearest to 0.9 is less."""
    env = DummyVecEnv([lambda: ScriptedEnv([[0.9]], reward_threshold=0.9)])
    callback = StopWhenSolved(min_episodes=3, verbose=0)
    model = a2c(VecMonitor(env)).learn(60, callback=callback)
    assert callback.running_reward < 0.9
    assert model.num_timesteps == 3


def test_parallel_environments_count_their_episodes_together() -> None:
    makers: list[Callable[[], gym.Env]] = [
        lambda: Monitor(ScriptedEnv([[5.0, 5.0]])) for _ in range(3)
    ]
    model = a2c(DummyVecEnv(makers))
    callback = StopWhenSolved(10.0, min_episodes=5, verbose=0)
    model.learn(60, callback=callback)
    # Three episodes end every two steps; the fifth one is in the second round.
    assert (callback.n_episodes, model.num_timesteps) == (5, 12)


def test_vec_monitor_reports_returns_too() -> None:
    model = a2c(VecMonitor(DummyVecEnv([lambda: ScriptedEnv([[5.0, 5.0]])])))
    callback = StopWhenSolved(10.0, min_episodes=2, verbose=0)
    model.learn(60, callback=callback)
    assert model.num_timesteps == 4


def test_says_so_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    env = ScriptedEnv(RISING, reward_threshold=3.7)
    a2c(env).learn(80, callback=StopWhenSolved(min_episodes=1, factor=0.5))
    assert capsys.readouterr().out == (
        "Solved after 4 episodes (8 steps): running reward 3.733 >= 3.7.\n"
    )


def test_a_new_training_begins_anew_and_a_continued_one_goes_on() -> None:
    model = a2c(ScriptedEnv([[1.0, 1.0]]))
    callback = StopWhenSolved(2.0, min_episodes=6, verbose=0)
    model.learn(10, callback=callback)
    assert (callback.n_episodes, callback.solved) == (5, False)
    model.learn(10, callback=callback, reset_num_timesteps=False)
    assert (callback.n_episodes, callback.solved) == (6, True)
    model.learn(10, callback=callback)
    assert (callback.n_episodes, callback.solved) == (5, False)


def test_no_threshold_says_how_to_give_one() -> None:
    model = a2c(ScriptedEnv(RISING))
    with pytest.raises(ValueError, match=r"Scripted-v0 has no.*reward_threshold=\.\."):
        model.learn(80, callback=StopWhenSolved())


def test_no_spec_at_all_says_how_to_give_a_threshold() -> None:
    env = ScriptedEnv(RISING)
    env.spec = None
    with pytest.raises(ValueError, match="the training environment has no reward_thr"):
        a2c(env).learn(80, callback=StopWhenSolved())


def test_vector_environment_without_the_attribute_spec() -> None:
    class Bare(DummyVecEnv):
        def get_attr(self, attr_name: str, indices: object = None) -> list[object]:
            if attr_name == "spec":
                raise AttributeError(attr_name)
            return [getattr(env, attr_name) for env in self.envs]

    env: VecEnv = Bare([lambda: ScriptedEnv([[1.0]])])
    callback = StopWhenSolved()
    model = a2c(VecMonitor(env))
    with pytest.raises(ValueError, match="has no reward_threshold"):
        model.learn(80, callback=callback)


def test_environment_without_monitor_is_refused_rather_than_never_solved() -> None:
    model = a2c(DummyVecEnv([lambda: ScriptedEnv([[5.0, 5.0]])]))
    with pytest.raises(ValueError, match="wrap the environment in SB3's Monitor"):
        model.learn(100, callback=StopWhenSolved(10.0, min_episodes=2))
    assert model.num_timesteps == 40


@pytest.mark.parametrize("min_episodes", [0, -3])
def test_refuses_min_episodes_below_1(min_episodes: int) -> None:
    with pytest.raises(ValueError, match=f"integer >= 1, got {min_episodes}"):
        StopWhenSolved(min_episodes=min_episodes)
