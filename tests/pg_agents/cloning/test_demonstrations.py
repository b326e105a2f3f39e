"""Recording of a controller: every observation and action, once, in order."""

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
    VecMonitor,
    VecNormalize,
)

from pg_agents import Demonstrations, record_demonstrations
from pg_agents.cloning.clone import CloningResult
from tests.pg_agents.cloning.helpers import BOX, PAIR, TWO, AnySpacesEnv
from tests.pg_agents.envs import ScriptedEnv, StaggeredVectorEnv


def odd_step(observation: NDArray[np.float32]) -> int:
    """Returns 0, 1, 0, 1 ... in every episode of a ScriptedEnv."""
    return int(observation[1]) % 2


def scripted(*lengths: int) -> VecEnv:
    """Environments whose episodes have one length each."""
    envs = [ScriptedEnv([length]) for length in lengths]
    return DummyVecEnv([lambda env=env: env for env in envs])  # type: ignore[misc]


def test_every_step_is_recorded() -> None:
    found = record_demonstrations(ScriptedEnv([2, 3]), odd_step, n_episodes=2)
    assert isinstance(found.observations, np.ndarray)
    assert found.observations.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]]
    assert found.actions.tolist() == [0, 1, 0, 1, 0]
    assert found.episode_returns.tolist() == [0.0 + 1.0, 10.0 + 11.0 + 12.0]
    assert found.episode_lengths.tolist() == [2, 3]
    assert len(found) == 5


def test_each_environment_contributes_the_same_number_of_episodes() -> None:
    found = record_demonstrations(scripted(1, 4), odd_step, n_episodes=2)
    assert found.episode_lengths.tolist() == [1, 1, 4, 4]
    assert isinstance(found.observations, np.ndarray)
    # The idle steps of the first environment are not recorded.
    assert found.observations[:, 0].tolist() == [0, 1] + [0] * 4 + [1] * 4
    assert found.observations[:, 1].tolist() == [0, 0] + [0, 1, 2, 3] * 2


def test_a_number_of_steps_may_end_within_an_episode() -> None:
    found = record_demonstrations(scripted(3, 2), odd_step, n_steps=5)
    assert len(found) == 10
    assert found.episode_lengths.tolist() == [3, 2, 2]
    assert found.actions.tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 1, 0]


def test_dummy_steps_after_the_end_of_episodes_are_not_recorded() -> None:
    env = StaggeredVectorEnv([2, 3])
    found = record_demonstrations(env, odd_step, n_episodes=2)
    assert isinstance(found.observations, np.ndarray)
    assert found.observations[:4].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert found.episode_lengths.tolist() == [2, 2, 3, 3]
    assert found.episode_returns.tolist() == [1.0, 21.0, 3.0, 33.0]


def test_an_endless_episode_is_truncated_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="was truncated after 4 steps") as caught:
        found = record_demonstrations(
            scripted(0, 2), odd_step, n_episodes=2, max_episode_steps=4
        )
    assert caught[0].filename == __file__
    assert found.episode_lengths.tolist() == [4, 4, 2, 2]
    assert found.episode_returns.tolist()[:2] == [6.0, 46.0]


def test_a_controller_may_modify_its_observation() -> None:
    def modify(observation: NDArray[np.float32]) -> int:
        observation[:] = -9.0
        return 1

    found = record_demonstrations(ScriptedEnv([3]), modify, n_episodes=1)
    assert isinstance(found.observations, np.ndarray)
    assert found.observations.tolist() == [[0, 0], [0, 1], [0, 2]]


def test_dict_observations_are_recorded_as_a_dict_of_arrays() -> None:
    rooms = []

    def controller(observation: dict[str, Any]) -> int:
        rooms.append(int(observation["room"]))
        return rooms[-1] % 2

    env = AnySpacesEnv(PAIR, TWO)
    found = record_demonstrations(env, controller, n_episodes=2, seed=3)
    assert isinstance(found.observations, dict)
    assert found.observations["place"].shape == (10, 2)
    assert found.observations["room"].tolist() == rooms
    assert found.actions.tolist() == [room % 2 for room in rooms]


def test_recordings_are_reproducible_by_their_seed() -> None:
    def recording(seed: int) -> Demonstrations:
        return record_demonstrations("CartPole-v1", odd, n_episodes=2, seed=seed)

    def odd(observation: NDArray[np.float32]) -> int:
        return int(observation[2] > 0)

    first, again, other = recording(1), recording(1), recording(2)
    np.testing.assert_array_equal(first.observations, again.observations)
    assert not np.array_equal(first.observations[:1], other.observations[:1])  # type: ignore[index]


class Counting(AnySpacesEnv):
    """Counts calls of close()."""

    closed = 0

    def close(self) -> None:
        type(self).closed += 1


def test_only_an_environment_made_from_an_id_is_closed() -> None:
    name = "CountsHowOftenItIsClosed-v0"
    gymnasium.register(name, lambda **_: Counting(BOX, TWO))
    try:
        record_demonstrations(name, lambda _: 0, n_steps=1)
        assert Counting.closed == 1
        with pytest.raises(ValueError, match="the controller's actions must be in"):
            record_demonstrations(name, lambda _: 2, n_steps=1)
        assert Counting.closed == 2
        record_demonstrations(Counting(BOX, TWO), lambda _: 0, n_steps=1)
        assert Counting.closed == 2
    finally:
        del gymnasium.registry[name]


class StepParity:
    """Returns the parity of the steps of the episode; invalid actions if stochastic."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        steps = np.zeros(len(observation)) if state is None else state[0]
        steps = np.where(episode_start, 0, steps)
        return (steps % 2 if deterministic else steps % 2 + 1), (steps + 1,)


def test_a_recurrent_state_is_passed_until_the_episode_ends() -> None:
    found = record_demonstrations(scripted(3, 2), StepParity(), n_steps=4)
    assert found.actions.tolist() == [0, 1, 0, 0, 0, 1, 0, 1]
    with pytest.raises(ValueError, match="the controller's actions must be in"):
        record_demonstrations(scripted(3), StepParity(), n_steps=2, deterministic=False)


def test_continuous_actions_are_recorded_in_the_dtype_of_the_space() -> None:
    env = AnySpacesEnv(BOX, spaces.Box(-2.0, 2.0, (1, 2), np.float32))
    found = record_demonstrations(
        env, lambda obs: 2.0 * obs[None].astype(np.float64), n_steps=7, seed=0
    )
    assert found.actions.dtype == np.float32
    np.testing.assert_array_equal(found.actions[:, 0], 2.0 * found.observations)  # type: ignore[operator]


def test_noise_applies_to_executed_and_not_to_recorded_actions() -> None:
    """Standard deviation of 4,000 draws within 4 standard errors, 1.1 % each."""
    executed: list[NDArray[np.float32]] = []

    class Watched(AnySpacesEnv):
        def step(self, action: Any) -> Any:
            executed.append(np.array(action))
            return super().step(action)

    def half(obs: Any) -> NDArray[np.float32]:
        return np.full(2, 0.5, dtype=np.float32)

    wide, narrow = spaces.Box(-9.0, 9.0, (2,), np.float32), BOX
    found = record_demonstrations(
        Watched(BOX, wide), half, n_steps=2000, noise=0.3, seed=0
    )
    assert (found.actions == 0.5).all()
    moved = np.array(executed) - 0.5
    assert abs(moved.std() / 0.3 - 1.0) < 4.0 / np.sqrt(2 * 4000)
    assert abs(moved.mean()) < 4.0 * 0.3 / np.sqrt(4000)
    first = list(executed)
    executed.clear()
    record_demonstrations(Watched(BOX, wide), half, n_steps=20, noise=0.3, seed=0)
    np.testing.assert_array_equal(executed, first[:20])
    # Executed actions stay within the space.
    executed.clear()
    record_demonstrations(Watched(BOX, narrow), half, n_steps=50, noise=2.0, seed=0)
    assert np.abs(executed).max() == 1.0 and executed[0].dtype == np.float32
    with pytest.raises(ValueError, match=r"noise=0\.1 needs an action space of floats"):
        record_demonstrations(scripted(3), odd_step, n_steps=1, noise=0.1)
    with pytest.raises(ValueError, match="noise must be a finite number >= 0, got -1"):
        record_demonstrations(scripted(3), odd_step, n_steps=1, noise=-1)


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"either n_episodes or n_steps.*None"):
        record_demonstrations(scripted(2), odd_step)
    with pytest.raises(ValueError, match="either n_episodes or n_steps"):
        record_demonstrations(scripted(2), odd_step, n_episodes=1, n_steps=1)
    for name in ("n_episodes", "n_steps"):
        with pytest.raises(ValueError, match=f"{name} must be an integer >= 1, got 0"):
            record_demonstrations(scripted(2), odd_step, **{name: 0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_episode_steps must be an integer"):
        record_demonstrations(scripted(2), odd_step, n_steps=1, max_episode_steps=0)
    with pytest.raises(
        TypeError, match=r"the id of one or a vector environment, got <.*A2C"
    ):
        record_demonstrations(A2C, odd_step, n_steps=1)  # type: ignore[arg-type]
    for controller in (3, A2C):
        with pytest.raises(TypeError, match="controller must be a function"):
            record_demonstrations(scripted(2), controller, n_steps=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has a VecNormalize inside other"):
        record_demonstrations(
            VecMonitor(VecNormalize(scripted(3))), odd_step, n_steps=1
        )
    with pytest.raises(ValueError, match="Tuple observations are not supported"):
        env = AnySpacesEnv(spaces.Tuple((BOX, BOX)), TWO)
        record_demonstrations(env, lambda _: 0, n_steps=1)


def test_numbers_of_observations_and_actions_must_be_equal() -> None:
    with pytest.raises(ValueError, match="2 observations and 3 actions"):
        Demonstrations(np.zeros((2, 4)), np.zeros(3))


def test_results_are_printed_in_one_line() -> None:
    demos = Demonstrations(np.zeros((6, 2)), np.zeros(6), np.array([1.0, 2.0]))
    assert repr(demos) == "Demonstrations(6 steps, 2 episodes, mean return 1.5)"
    assert repr(Demonstrations(np.zeros((6, 2)), np.zeros(6))) == (
        "Demonstrations(6 steps)"
    )
    result = CloningResult((0.9, 0.5, 0.4), (0.8, 0.6, 0.7, 0.75), 1, "patience")
    assert repr(result) == (
        "CloningResult(best_epoch=1 of 3, training loss 0.9 -> 0.5, "
        "held-out loss 0.8 -> 0.6, ended by patience)"
    )
