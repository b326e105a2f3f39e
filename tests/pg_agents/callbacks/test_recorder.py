"""Records of training runs."""

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import DummyVecEnv

from pg_agents.callbacks import Recorder, StopWhenSolved
from tests.pg_agents.callbacks.tiny_envs import ScriptedEnv, a2c, ppo

OBSERVATIONS = np.array([[0.0, 1.0], [-1.0, 0.5]], np.float32)
EPISODES = [[1.0, -2.0, 0.5], [4.0]]


def softmax_of_logits(model: A2C | PPO) -> NDArray[np.float64]:
    """Action probabilities from the policy's layers, with NumPy's softmax."""
    policy = model.policy
    with torch.no_grad():
        latent = policy.mlp_extractor.forward_actor(torch.as_tensor(OBSERVATIONS))
        logits = policy.action_net(latent).double().numpy()
    odds = np.exp(logits)
    probabilities: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
    return probabilities


class RolloutStarts(BaseCallback):
    """Records probabilities and the logged loss at every start of a rollout."""

    def __init__(self, loss_key: str) -> None:
        super().__init__()
        self.loss_key = loss_key
        self.probabilities: list[NDArray[np.float64]] = []
        self.losses: list[float] = []

    def _note(self) -> None:
        assert isinstance(self.model, A2C | PPO)
        self.probabilities.append(softmax_of_logits(self.model))
        self.losses.append(self.logger.name_to_value.get(self.loss_key, 0.0))

    def _on_rollout_start(self) -> None:
        self._note()

    def _on_training_end(self) -> None:
        self._note()

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("log_interval", [1, 3])
@pytest.mark.parametrize(
    ("algorithm", "loss_key"),
    [(a2c, "train/policy_loss"), (ppo, "train/policy_gradient_loss")],
)
def test_probabilities_and_losses_of_every_update(
    algorithm: Callable[[GymEnv], A2C | PPO], loss_key: str, log_interval: int
) -> None:
    model = algorithm(ScriptedEnv(EPISODES))
    recorder, starts = Recorder(OBSERVATIONS), RolloutStarts(loss_key)
    model.learn(20, callback=[recorder, starts], log_interval=log_interval)
    record = recorder.record
    assert record.action_probabilities.shape == (5, 2, 3)
    np.testing.assert_allclose(
        record.action_probabilities, np.stack(starts.probabilities), rtol=1e-5
    )
    assert len(np.unique(record.action_probabilities[:, 0, 0])) == 5
    assert record.probability_timesteps.tolist() == [0, 5, 10, 15, 20]
    assert record.policy_losses.tolist() == starts.losses[1:]
    assert len(set(starts.losses)) == 5
    assert record.loss_timesteps.tolist() == [5, 10, 15, 20]


def test_rewards_and_episodes_of_one_environment() -> None:
    recorder = Recorder()
    a2c(ScriptedEnv(EPISODES)).learn(10, callback=recorder)
    record = recorder.record
    assert record.rewards.tolist() == [1, -2, 0.5, 4, 1, -2, 0.5, 4, 1, -2]
    assert record.reward_timesteps.tolist() == list(range(1, 11))
    assert record.episode_returns.tolist() == [-0.5, 4, -0.5, 4]
    assert record.episode_lengths.tolist() == [3, 1, 3, 1]
    assert record.episode_timesteps.tolist() == [3, 4, 7, 8]
    assert record.action_probabilities.shape == (0, 0, 0)
    assert record.probability_timesteps.shape == (0,)


def test_rewards_are_averaged_over_parallel_environments() -> None:
    makers: list[Callable[[], gym.Env]] = [
        lambda: Monitor(ScriptedEnv([[1.0, 3.0]])),
        lambda: Monitor(ScriptedEnv([[2.0, 7.0]])),
    ]
    recorder = Recorder()
    a2c(DummyVecEnv(makers)).learn(20, callback=recorder)
    record = recorder.record
    assert record.rewards.tolist() == [1.5, 5.0] * 5
    assert record.reward_timesteps.tolist() == list(range(2, 22, 2))
    assert record.episode_returns.tolist() == [4.0, 9.0] * 5
    assert record.episode_timesteps.tolist() == [
        t for t in range(4, 24, 4) for _ in "ab"
    ]


def test_every_third_update_and_the_last_are_recorded() -> None:
    recorder = Recorder(OBSERVATIONS, every=3)
    model = a2c(ScriptedEnv(EPISODES))
    model.learn(40, callback=recorder)
    record = recorder.record
    assert record.probability_timesteps.tolist() == [0, 15, 30, 40]
    assert len(record.policy_losses) == 8
    np.testing.assert_allclose(
        record.action_probabilities[-1], softmax_of_logits(model), rtol=1e-5
    )


def test_stopping_within_a_rollout_adds_no_update() -> None:
    """The losses of the last update are still in the logger."""
    recorder = Recorder(OBSERVATIONS)
    stop = StopWhenSolved(-100.0, min_episodes=6, verbose=0)
    model = a2c(ScriptedEnv(EPISODES))
    model.learn(100, callback=[recorder, stop])
    record = recorder.record
    assert model.num_timesteps == 12
    assert record.loss_timesteps.tolist() == [5, 10]
    assert record.probability_timesteps.tolist() == [0, 5, 10]
    assert len(record.rewards) == 12


def test_continued_training_continues_the_record() -> None:
    recorder = Recorder(OBSERVATIONS)
    model = a2c(ScriptedEnv(EPISODES))
    model.learn(10, callback=recorder)
    first = recorder.record
    model.learn(10, callback=recorder, reset_num_timesteps=False)
    assert recorder.record.probability_timesteps.tolist() == [0, 5, 10, 15, 20]
    assert recorder.record.loss_timesteps.tolist() == [5, 10, 15, 20]
    assert first.probability_timesteps.tolist() == [0, 5, 10]  # a copy
    model.learn(10, callback=recorder)
    assert recorder.record.probability_timesteps.tolist() == [0, 5, 10]


def test_the_record_of_a_trained_model_starts_at_its_timesteps() -> None:
    model = a2c(ScriptedEnv(EPISODES)).learn(10)
    recorder = Recorder(OBSERVATIONS)
    model.learn(10, callback=recorder, reset_num_timesteps=False)
    assert recorder.record.probability_timesteps.tolist() == [10, 15, 20]


def test_losses_that_are_not_logged_are_nan() -> None:
    class Forget(BaseCallback):
        def _on_rollout_start(self) -> None:
            self.logger.name_to_value.clear()

        def _on_training_end(self) -> None:
            self.logger.name_to_value.clear()

        def _on_step(self) -> bool:
            return True

    recorder = Recorder()
    a2c(ScriptedEnv(EPISODES)).learn(10, callback=[Forget(), recorder])
    assert np.isnan(recorder.record.policy_losses).tolist() == [True, True]


def test_recording_does_not_change_training() -> None:
    plain = a2c("CartPole-v1").learn(50)
    recorded = a2c("CartPole-v1")
    recorded.learn(50, callback=Recorder(np.zeros((1, 4), np.float32)))
    pairs = zip(plain.policy.parameters(), recorded.policy.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_probabilities_are_in_evaluation_mode() -> None:
    """The last ones are recorded after train(), which enables dropout."""
    kwargs = {"net_arch": [8], "activation_fn": torch.nn.Dropout}
    model = A2C("MlpPolicy", ScriptedEnv(EPISODES), policy_kwargs=kwargs, seed=0)
    recorder = Recorder(OBSERVATIONS)
    model.learn(10, callback=recorder)
    assert model.policy.training
    model.policy.set_training_mode(False)
    np.testing.assert_allclose(
        recorder.record.action_probabilities[-1], softmax_of_logits(model), rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(), (2,), (0, 2), (3, 4), (1, 1, 2)])
def test_observations_of_another_shape_are_an_error(shape: tuple[int, ...]) -> None:
    recorder = Recorder(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"obs_shape = \(2,\), got \("):
        a2c(ScriptedEnv(EPISODES)).learn(5, callback=recorder)


def test_a_gaussian_policy_is_an_error() -> None:
    recorder = Recorder(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match=r"categorical policy.*got Normal"):
        a2c("Pendulum-v1").learn(5, callback=recorder)


def test_a_policy_without_a_distribution_is_an_error() -> None:
    model = DQN("MlpPolicy", "CartPole-v1", buffer_size=10)
    recorder = Recorder(np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match=r"categorical policy.*got DQNPolicy"):
        model.learn(5, callback=recorder)
