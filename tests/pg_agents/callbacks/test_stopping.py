"""Stopping by Ctrl-C, and when the environment is solved."""

import signal
import threading
from collections.abc import Callable, Iterator

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from pg_agents.callbacks import StopOnInterrupt, StopWhenSolved
from tests.pg_agents.callbacks.tiny_envs import ScriptedEnv, a2c, ppo


class PressCtrlC(BaseCallback):
    """Sends a real SIGINT to this thread at the given steps, some twice."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_step(self) -> bool:
        for step in self.steps:
            if step == self.n_calls:
                signal.raise_signal(signal.SIGINT)
        return True


class Crash(BaseCallback):
    def _on_step(self) -> bool:
        raise RuntimeError("crash")


@pytest.fixture(autouse=True)
def previous() -> Iterator[list[int]]:
    """Sets a signal handler during the test, and yields its calls."""
    calls: list[int] = []

    before = signal.signal(signal.SIGINT, lambda signum, _: calls.append(signum))
    yield calls
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_the_first_ctrl_c_ends_learn_and_restores_the_handler(
    algorithm: type[A2C] | type[PPO], previous: list[int]
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    model = algorithm("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
    callback = StopOnInterrupt(verbose=0)
    returned = model.learn(5000, callback=[PressCtrlC(13), callback])
    assert returned is model
    assert callback.interrupted
    assert model.num_timesteps == 13
    assert signal.getsignal(signal.SIGINT) is handler
    assert previous == []
    action, _ = model.predict(np.zeros(4, np.float32))
    assert action in (0, 1)


def test_the_interrupted_model_is_that_of_the_last_update() -> None:
    """Thirteen steps are two rollouts of five; the last three are discarded."""
    interrupted = a2c("CartPole-v1")
    interrupted.learn(1000, callback=[PressCtrlC(13), StopOnInterrupt(verbose=0)])
    whole = a2c("CartPole-v1").learn(10)
    pairs = zip(interrupted.policy.parameters(), whole.policy.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_ctrl_c_between_two_steps_ends_after_the_next() -> None:
    model = a2c("CartPole-v1")
    model.learn(1000, callback=[StopOnInterrupt(verbose=0), PressCtrlC(13)])
    assert model.num_timesteps == 14


def test_a_second_ctrl_c_raises_and_restores_the_handler() -> None:
    handler = signal.getsignal(signal.SIGINT)
    model = a2c("CartPole-v1")
    callback = StopOnInterrupt(verbose=0)
    with pytest.raises(KeyboardInterrupt):
        model.learn(1000, callback=[PressCtrlC(13, 13), callback])
    assert model.num_timesteps == 13
    assert signal.getsignal(signal.SIGINT) is handler


def test_after_an_exception_ctrl_c_calls_the_previous_handler(
    previous: list[int],
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    callback = StopOnInterrupt(verbose=0)
    with pytest.raises(RuntimeError, match="crash"):
        a2c("CartPole-v1").learn(50, callback=[callback, Crash()])
    signal.raise_signal(signal.SIGINT)
    assert previous == [signal.SIGINT]
    assert not callback.interrupted
    assert signal.getsignal(signal.SIGINT) is handler


def test_after_an_exception_the_next_learn_restores_the_handler() -> None:
    handler = signal.getsignal(signal.SIGINT)
    callback = StopOnInterrupt(verbose=0)
    model = a2c("CartPole-v1")
    with pytest.raises(RuntimeError, match="crash"):
        model.learn(50, callback=[callback, Crash()])
    model.learn(50, callback=[PressCtrlC(3), callback])
    assert callback.interrupted
    assert signal.getsignal(signal.SIGINT) is handler
    model.learn(50, callback=callback)
    assert not callback.interrupted


def test_a_handler_set_during_training_is_not_replaced() -> None:
    class SetIgnore(BaseCallback):
        def _on_step(self) -> bool:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return True

    a2c("CartPole-v1").learn(5, callback=[StopOnInterrupt(), SetIgnore()])
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_an_ignored_signal_is_ignored_again_after_training() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    callback = StopOnInterrupt(verbose=0)
    a2c("CartPole-v1").learn(50, callback=[PressCtrlC(3), callback])
    assert callback.interrupted
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_it_has_no_effect_outside_the_main_thread() -> None:
    handler = signal.getsignal(signal.SIGINT)
    model = a2c(ScriptedEnv([[1.0]]))
    errors: list[BaseException] = []

    def train() -> None:
        try:
            model.learn(20, callback=StopOnInterrupt())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert errors == []
    assert model.num_timesteps == 20
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_prints_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    a2c("CartPole-v1").learn(50, callback=[PressCtrlC(7), StopOnInterrupt()])
    assert capsys.readouterr().out == "Interrupted: training ends after 7 steps.\n"


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
        (7, 3.7, 7),  # reached at 4
    ],
)
@pytest.mark.parametrize("algorithm", [a2c, ppo])
def test_training_ends_at_the_step_computed_by_hand(
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


def test_the_threshold_argument_overrides_the_spec() -> None:
    model = a2c(ScriptedEnv(RISING, reward_threshold=100.0))
    callback = StopWhenSolved(3.7, min_episodes=1, factor=0.5, verbose=0)
    model.learn(80, callback=callback)
    assert callback.solved
    assert model.num_timesteps == 8


def test_training_continues_below_the_threshold() -> None:
    model = a2c(ScriptedEnv(RISING, reward_threshold=4.01))
    callback = StopWhenSolved(min_episodes=1, verbose=0)
    model.learn(60, callback=callback)
    assert not callback.solved
    assert model.num_timesteps == 60


def test_the_threshold_has_a_tolerance_for_rounding() -> None:
    """VecMonitor sums float32 rewards, and float32(0.9) < 0.9."""
    env = DummyVecEnv([lambda: ScriptedEnv([[0.9]], reward_threshold=0.9)])
    callback = StopWhenSolved(min_episodes=3, verbose=0)
    model = a2c(VecMonitor(env)).learn(60, callback=callback)
    assert callback.running_reward < 0.9
    assert model.num_timesteps == 3


def test_episodes_of_parallel_environments_are_counted_together() -> None:
    makers: list[Callable[[], gym.Env]] = [
        lambda: Monitor(ScriptedEnv([[5.0, 5.0]])) for _ in range(3)
    ]
    model = a2c(DummyVecEnv(makers))
    callback = StopWhenSolved(10.0, min_episodes=5, verbose=0)
    model.learn(60, callback=callback)
    # Three episodes end every two steps; the fifth one is in the second round.
    assert (callback.n_episodes, model.num_timesteps) == (5, 12)


def test_solving_prints_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    env = ScriptedEnv(RISING, reward_threshold=3.7)
    a2c(env).learn(80, callback=StopWhenSolved(min_episodes=1, factor=0.5))
    assert capsys.readouterr().out == (
        "Solved after 4 episodes (8 steps): running reward 3.733 >= 3.7.\n"
    )


def test_a_new_training_resets_the_running_reward() -> None:
    model = a2c(ScriptedEnv([[1.0, 1.0]]))
    callback = StopWhenSolved(2.0, min_episodes=6, verbose=0)
    model.learn(10, callback=callback)
    assert (callback.n_episodes, callback.solved) == (5, False)
    model.learn(10, callback=callback, reset_num_timesteps=False)
    assert (callback.n_episodes, callback.solved) == (6, True)
    model.learn(10, callback=callback)
    assert (callback.n_episodes, callback.solved) == (5, False)


def test_an_environment_without_monitor_is_an_error() -> None:
    model = a2c(DummyVecEnv([lambda: ScriptedEnv([[5.0, 5.0]])]))
    with pytest.raises(ValueError, match="wrap the environment in SB3's Monitor"):
        model.learn(100, callback=StopWhenSolved(10.0, min_episodes=2))
    assert model.num_timesteps == 40


@pytest.mark.parametrize("has_spec", [True, False])
def test_a_missing_threshold_is_an_error(has_spec: bool) -> None:
    env = ScriptedEnv(RISING)
    name = "Scripted-v0"
    if not has_spec:
        env.spec, name = None, "the training environment"
    message = rf"{name} has no reward_threshold.*StopWhenSolved\(reward_threshold="
    with pytest.raises(ValueError, match=message):
        a2c(env).learn(80, callback=StopWhenSolved())
