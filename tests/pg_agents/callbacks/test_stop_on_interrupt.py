import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback

from pg_agents.callbacks import StopOnInterrupt
from tests.pg_agents.callbacks.tiny_envs import ScriptedEnv, a2c


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
    """A handler of our own that notes its calls, set as long as the test runs."""
    calls: list[int] = []

    def note(signum: int, frame: object) -> None:
        calls.append(signum)

    before = signal.signal(signal.SIGINT, note)
    yield calls
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("algorithm", [A2C, PPO])
def test_first_ctrl_c_ends_learn_and_keeps_the_model(
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


def test_model_is_as_its_last_update_left_it() -> None:
    """Thirteen steps are two rollouts of five; the last three are not learnt from."""
    interrupted = a2c("CartPole-v1")
    interrupted.learn(1000, callback=[PressCtrlC(13), StopOnInterrupt(verbose=0)])
    whole = a2c("CartPole-v1").learn(10)
    pairs = zip(interrupted.policy.parameters(), whole.policy.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_ctrl_c_between_two_steps_stops_at_the_next() -> None:
    model = a2c("CartPole-v1")
    model.learn(1000, callback=[StopOnInterrupt(verbose=0), PressCtrlC(13)])
    assert model.num_timesteps == 14


def test_second_ctrl_c_raises_at_once_and_restores() -> None:
    handler = signal.getsignal(signal.SIGINT)
    model = a2c("CartPole-v1")
    callback = StopOnInterrupt(verbose=0)
    with pytest.raises(KeyboardInterrupt):
        model.learn(1000, callback=[PressCtrlC(13, 13), callback])
    assert model.num_timesteps == 13
    assert signal.getsignal(signal.SIGINT) is handler


def test_without_ctrl_c_training_is_whole_and_the_handler_back() -> None:
    handler = signal.getsignal(signal.SIGINT)
    model = a2c("CartPole-v1")
    callback = StopOnInterrupt()
    model.learn(50, callback=callback)
    assert not callback.interrupted
    assert model.num_timesteps == 50
    assert signal.getsignal(signal.SIGINT) is handler


def test_after_learn_raised_the_next_ctrl_c_goes_to_the_previous_handler(
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


def test_after_learn_raised_the_next_learn_works_and_restores() -> None:
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


def test_handler_that_somebody_set_meanwhile_stays() -> None:
    class SetIgnore(BaseCallback):
        def _on_step(self) -> bool:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return True

    a2c("CartPole-v1").learn(5, callback=[StopOnInterrupt(), SetIgnore()])
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_ignored_ctrl_c_is_ignored_again_afterwards() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    callback = StopOnInterrupt(verbose=0)
    a2c("CartPole-v1").learn(50, callback=[PressCtrlC(3), callback])
    assert callback.interrupted
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_outside_the_main_thread_it_does_nothing() -> None:
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


def test_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    a2c("CartPole-v1").learn(50, callback=[PressCtrlC(7), StopOnInterrupt()])
    assert capsys.readouterr().out == "Interrupted: training ends after 7 steps.\n"
