"""Demonstrations are raw with any normaliser, in recording and in cloning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import vector
from numpy.typing import NDArray
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from pg_agents import (
    REINFORCE,
    ActorCritic,
    as_vec_env,
    clone_behaviour,
    record_demonstrations,
)
from tests.pg_agents.cloning.helpers import TWO, AnySpacesEnv, equal, weights
from tests.pg_agents.envs import StaggeredVectorEnv

Env = gymnasium.Env[Any, Any]
WIDE = spaces.Box(-90.0, 90.0, (2,), np.float32)
ARM = spaces.Box(-2.0, 2.0, (1,), np.float32)
RAW = np.random.default_rng(0).normal([7.0, -3.0], [5.0, 0.4], (30, 2))
ACTIONS = np.arange(30) % 2


class FarEnv(Env):
    """Observations (episode + 5, step - 7.5); episodes of 4 steps."""

    def __init__(
        self, action_space: spaces.Space[Any] = TWO, render_mode: str | None = None
    ) -> None:
        self.observation_space, self.action_space = WIDE, action_space
        self.render_mode = render_mode
        self.episode, self.steps = -1, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.steps += 1
        return self._obs(), float(self.steps), False, self.steps == 4, {}

    def _obs(self) -> NDArray[np.float32]:
        return np.array([self.episode + 5, self.steps - 7.5], np.float32)

    def render(self) -> Any:
        return np.zeros((4, 4, 3), np.uint8)


def with_statistics(normalizer: Any, data: NDArray[Any] = RAW) -> Any:
    normalizer.obs_rms.update(data)
    return normalizer


def single(data: NDArray[Any] = RAW) -> Env:
    return with_statistics(wrappers.NormalizeObservation(FarEnv()), data)  # type: ignore[no-any-return]


def clipped(obs: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(obs, -0.7, 0.7)


def twice() -> Env:
    outer = wrappers.NormalizeObservation(single())
    return with_statistics(outer, np.array([[0.5, 1.0], [0.1, 0.3]]))  # type: ignore[no-any-return]


def vectors(n: int = 3) -> VectorEnv[Any, Any, Any]:
    return with_statistics(vector.NormalizeObservation(SyncVectorEnv([FarEnv] * n)))  # type: ignore[no-any-return]


def vectors_twice() -> VectorEnv[Any, Any, Any]:
    outer = vector.NormalizeObservation(vectors())
    return with_statistics(outer, np.array([[0.5, 1.0], [0.1, 0.3]]))  # type: ignore[no-any-return]


def around(*kinds: Any, **arguments: Any) -> Callable[[], Env]:
    """Wrappers that do not change observations, around a normaliser."""

    def make() -> Env:
        env = single()
        for kind in kinds:
            env = kind(env, **arguments)
        return env

    return make


def with_sb3s() -> VecEnv:
    env = VecNormalize(VecMonitor(DummyVecEnv([single])), clip_obs=0.9)
    return with_statistics(env, np.array([[0.5, 1.0], [0.1, 0.3]]))  # type: ignore[no-any-return]


# Environments of the model.
NORMALIZED: dict[str, Callable[[], Any]] = {
    "single": single,
    "in a Monitor": around(Monitor),
    "in wrappers of rewards and ends": around(
        wrappers.NormalizeReward, wrappers.RecordEpisodeStatistics, Monitor
    ),
    "in a time limit": around(wrappers.TimeLimit, max_episode_steps=3),
    "twice": twice,
    "clipped": lambda: wrappers.TransformObservation(single(), clipped, None),
    "reshaped": lambda: wrappers.ReshapeObservation(single(), (2, 1)),
    "as doubles": lambda: wrappers.DtypeObservation(single(), np.float64),
    "of flat ones": lambda: with_statistics(
        wrappers.NormalizeObservation(
            wrappers.FlattenObservation(wrappers.ReshapeObservation(FarEnv(), (1, 2)))
        )
    ),
    "SB3's": lambda: with_statistics(VecNormalize(DummyVecEnv([FarEnv]))),
    "dummy": lambda: DummyVecEnv([single]),
    "several alike": lambda: DummyVecEnv([single] * 3),
    "beneath SB3's": with_sb3s,
    "vector": vectors,
    "vector twice": vectors_twice,
    "vector clipped": lambda: vector.TransformObservation(vectors(), clipped),
    "vector reshaped": lambda: vector.ReshapeObservation(vectors(), (2, 1)),
    "vector in others": lambda: vector.RecordEpisodeStatistics(
        vector.ClipReward(vectors(), -1.0, 1.0)
    ),
    "vector of single ones": lambda: SyncVectorEnv([single] * 2),
}


def by_hand(obs: NDArray[Any], data: NDArray[Any] = RAW) -> NDArray[Any]:
    # Gymnasium starts with a count of 0.0001.
    n, eps = len(data), 1e-4
    mean = data.mean(0) * n / (n + eps)
    second = ((data**2).sum(0) + eps) / (n + eps)
    normalized: NDArray[Any] = (obs - mean) / np.sqrt(second - mean**2 + 1e-8)
    return normalized


def seen_by_hand(name: str) -> NDArray[Any]:
    obs = by_hand(RAW)
    if name in ("twice", "vector twice", "beneath SB3's"):
        obs = by_hand(obs, np.array([[0.5, 1.0], [0.1, 0.3]]))
    if name == "beneath SB3's":
        obs = obs.clip(-0.9, 0.9)
    if "clipped" in name:
        obs = clipped(obs)
    return obs[..., None] if "reshaped" in name else obs


def model_in(env: Any, algorithm: Any = ActorCritic) -> Any:
    if algorithm in (A2C, PPO) and isinstance(env, VectorEnv):
        env = as_vec_env(env)
    amount = {"n_steps": 64, "batch_size": 64} if algorithm is PPO else {}
    return algorithm("MlpPolicy", env, seed=0, device="cpu", **amount)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic, A2C, PPO])
@pytest.mark.parametrize("name", NORMALIZED)
def test_raw_demonstrations_are_normalised_as_in_the_environment(
    name: str, algorithm: Any
) -> None:
    env = NORMALIZED[name]()
    model, before = model_in(env, algorithm), statistics(env)
    clone_behaviour(model, RAW, ACTIONS, n_epochs=2, seed=0)
    # Statistics do not change.
    assert before
    np.testing.assert_equal(statistics(env), before)
    # A model without normalisation, with observations normalised by hand.
    other = model_in(AnySpacesEnv(model.observation_space, TWO), algorithm)
    obs = seen_by_hand(name)
    clone_behaviour(other, obs, ACTIONS, n_epochs=2, seed=0)
    for key, value in weights(model).items():
        np.testing.assert_allclose(
            value, weights(other)[key], rtol=1e-3, atol=1e-4, err_msg=key
        )


def statistics(env: Any) -> list[Any]:
    """Returns the statistics of all layers."""
    found: list[Any] = []
    layers = [env]
    while layers:
        layer = layers.pop()
        for name in ("obs_rms", "return_rms"):
            if name in vars(layer):
                rms = vars(layer)[name]
                found.append((np.copy(rms.mean), np.copy(rms.var), rms.count))
        if hasattr(layer, "update_running_mean"):
            found.append(layer.update_running_mean)
        layers += [vars(layer)[name] for name in ("env", "venv") if name in vars(layer)]
        layers += vars(layer).get("envs", [])
    return found


def different(n: int = 3) -> list[Callable[[], Env]]:
    return [lambda i=i: single(RAW + i) for i in range(n)]  # type: ignore[misc]


def staggered(wrapped: bool) -> VectorEnv[Any, Any, Any]:
    env = StaggeredVectorEnv([2, 3])
    return vector.NormalizeObservation(env) if wrapped else env


# The same environments with and without normalisers.
TWINS: dict[str, Callable[[bool], Any]] = {
    **{
        name: lambda wrapped, make=make: make() if wrapped else FarEnv()  # type: ignore[misc]
        for name, make in NORMALIZED.items()
        if isinstance(make(), gymnasium.Env)
        and name not in ("of flat ones", "in a time limit")
    },
    "dummies": lambda wrapped: DummyVecEnv(different() if wrapped else [FarEnv] * 3),
    "beneath SB3's": lambda wrapped: with_sb3s() if wrapped else FarEnv(),
    "vector": lambda wrapped: vectors() if wrapped else SyncVectorEnv([FarEnv] * 3),
    "vector twice": lambda wrapped: (
        vectors_twice() if wrapped else SyncVectorEnv([FarEnv] * 3)
    ),
    "vector clipped": lambda wrapped: (
        vector.TransformObservation(vectors(), clipped)
        if wrapped
        else SyncVectorEnv([FarEnv] * 3)
    ),
    "vector with dummy steps": staggered,
    "vector with normalised rewards": lambda wrapped: vector.NormalizeReward(
        vectors() if wrapped else SyncVectorEnv([FarEnv] * 3)
    ),
    **{
        f"vector of single ones, {mode.value}": lambda wrapped, mode=mode: (  # type: ignore[misc]
            SyncVectorEnv(different() if wrapped else [FarEnv] * 3, autoreset_mode=mode)
        )
        for mode in AutoresetMode
    },
    "stacked": lambda wrapped: (
        wrappers.FrameStackObservation(single(), 2) if wrapped else FarEnv()
    ),
}


@pytest.mark.parametrize("amount", [{"n_episodes": 2}, {"n_steps": 11}], ids=str)
@pytest.mark.parametrize("name", TWINS)
def test_recordings_are_raw_and_do_not_update_statistics(
    name: str, amount: dict[str, Any]
) -> None:
    given: list[Any] = []

    def controller(obs: Any) -> int:
        given.append(np.copy(obs))
        return int(obs[1] > -6.0)

    env, twin = TWINS[name](True), TWINS[name](False)
    before = statistics(env)
    found = record_demonstrations(env, controller, **amount)
    obs = given.copy()
    given.clear()
    expected = record_demonstrations(twin, controller, **amount)
    for attribute in ("observations", "actions", "episode_lengths", "episode_starts"):
        one, other = getattr(found, attribute), getattr(expected, attribute)
        np.testing.assert_array_equal(one, other, attribute)
        assert one.dtype == other.dtype
    np.testing.assert_array_equal(obs, given)
    assert found.observation_space == expected.observation_space
    assert found.action_space == expected.action_space
    np.testing.assert_equal(statistics(env), before)


def test_after_recording_the_environment_normalises_and_updates_again() -> None:
    env, twin = single(), single()
    record_demonstrations(env, lambda _: 0, n_steps=1)
    twin.reset()
    assert env.unwrapped.reset()[0].tolist() == [6.0, -7.5]
    obs, _ = env.reset()
    assert abs(obs[0]) < 1.0
    assert env.obs_rms.count == pytest.approx(len(RAW) + 1, abs=0.01)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NORMALIZED)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_model_gets_observations_normalised_by_its_own_environment(
    name: str, wrapped: bool
) -> None:
    """The recorded environment has other statistics, or none."""
    model = model_in(NORMALIZED[name](), A2C)
    obs: list[Any] = []
    predict = model.policy.predict

    def spy(observation: Any, *args: Any, **kwargs: Any) -> Any:
        obs.append(observation)
        return predict(observation, *args, **kwargs)

    model.policy.predict = spy
    env = single(3.0 * RAW) if wrapped else FarEnv()
    found = record_demonstrations(env, model, n_episodes=2)
    model.policy.predict = predict
    expected, _ = model.predict(np.concatenate(obs), deterministic=True)
    np.testing.assert_array_equal(found.actions, expected)
    first = by_hand(np.array([5.0, -7.5]))
    if name in ("single", "vector"):
        np.testing.assert_allclose(obs[0][0], first, rtol=1e-3)
    assert np.concatenate(obs).shape[1:] == model.observation_space.shape


def test_actions_are_recorded_before_the_wrappers_transform_them() -> None:
    taken: list[float] = []

    class Watched(FarEnv):
        def step(self, action: Any) -> Any:
            taken.append(float(action[0]))
            return super().step(action)

    env = rescaled(wrappers.NormalizeObservation(Watched(ARM)))
    found = record_demonstrations(env, lambda _: np.full(1, 0.5, np.float32), n_steps=3)
    assert found.actions.tolist() == [[0.5]] * 3
    assert taken == [1.0] * 3


class OwnWrapper(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Might be stateful."""

    def observation(self, observation: Any) -> Any:
        return observation


class OwnStep(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Might change observations."""

    def step(self, action: Any) -> Any:
        return self.env.step(action)


class OwnNormalizer(wrappers.NormalizeObservation[Any, Any, Any]):
    """Normalises differently."""

    def observation(self, observation: Any) -> Any:
        return super().observation(observation) * 2


class OwnTransform(wrappers.TransformObservation[Any, Any, Any]):
    """Might be stateful."""

    def reset(self, **arguments: Any) -> Any:
        return super().reset(**arguments)


def drawn() -> Env:
    env = with_statistics(
        wrappers.NormalizeObservation(FarEnv(render_mode="rgb_array"))
    )
    return wrappers.FlattenObservation(wrappers.AddRenderObservation(env, False))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wrappers.FrameStackObservation(single(), 2), "FrameStackObservation"),
        (lambda: wrappers.DelayObservation(single(), 1), "DelayObservation"),
        (
            lambda: wrappers.TimeAwareObservation(
                wrappers.TimeLimit(single(), max_episode_steps=9)
            ),
            "TimeAwareObservation",
        ),
        (lambda: wrappers.MaxAndSkipObservation(single(), 2), "MaxAndSkipObservation"),
        (drawn, "AddRenderObservation"),
        (lambda: OwnWrapper(single()), "OwnWrapper"),
        (lambda: OwnStep(single()), "OwnStep"),
        (lambda: OwnTransform(single(), clipped, None), "OwnTransform"),
        (lambda: VecFrameStack(DummyVecEnv([single]), 2), "VecFrameStack"),
    ],
)
def test_wrappers_that_are_not_functions_of_the_observation_are_rejected(
    make: Any, message: str
) -> None:
    model = model_in(make())
    before = weights(model)
    sentence = f"{message} is applied after NormalizeObservation, .* apply it before"
    with pytest.raises(ValueError, match=sentence):
        clone_behaviour(model, RAW, ACTIONS)
    with pytest.raises(ValueError, match=sentence):
        record_demonstrations(FarEnv(), model, n_steps=1)
    assert equal(weights(model), before)


def test_subclasses_that_override_the_normalisation_are_rejected() -> None:
    model = model_in(with_statistics(OwnNormalizer(FarEnv())))
    with pytest.raises(ValueError, match=r"OwnNormalizer overrides the normalisation"):
        clone_behaviour(model, RAW, ACTIONS)


@pytest.mark.parametrize("kind", [DummyVecEnv, SyncVectorEnv])
def test_different_statistics_of_environments_are_rejected(kind: Any) -> None:
    model = model_in(kind(different()))
    with pytest.raises(ValueError, match=r"with statistics of its own .* VecNormalize"):
        clone_behaviour(model, RAW, ACTIONS)
    mixed = kind([single, lambda: wrappers.NormalizeObservation(single())])
    with pytest.raises(ValueError, match="with statistics of its own"):
        clone_behaviour(model_in(mixed), RAW, ACTIONS)


@pytest.mark.parametrize("kind", [SubprocVecEnv, AsyncVectorEnv])
def test_normalisers_in_other_processes_are_rejected(kind: Any) -> None:
    env = kind([single])
    try:
        with pytest.raises(ValueError, match=f"other processes of {kind.__name__}"):
            record_demonstrations(env, lambda _: 0, n_steps=1)
        with pytest.raises(ValueError, match=r"wrap the .* VecNormalize"):
            clone_behaviour(model_in(env), RAW, ACTIONS)
    finally:
        env.close()


def test_environments_in_other_processes_are_cloned_without_normalisers() -> None:
    for kind in (SubprocVecEnv, AsyncVectorEnv):
        env: Any = kind([FarEnv])
        try:
            model = model_in(env)
            clone_behaviour(model, RAW, ACTIONS, n_epochs=1)
        finally:
            env.close()
        with pytest.raises(ValueError, match=f"{kind.__name__} is closed"):
            clone_behaviour(model, RAW, ACTIONS, n_epochs=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: wrappers.NormalizeObservation(FarEnv()),
        lambda: vector.NormalizeObservation(SyncVectorEnv([FarEnv])),
        lambda: VecNormalize(DummyVecEnv([FarEnv])),
    ],
)
def test_empty_statistics_cause_a_warning(make: Any) -> None:
    model = model_in(make())
    with pytest.warns(UserWarning, match="Normalize.* has not seen any") as caught:
        clone_behaviour(model, RAW, ACTIONS, n_epochs=1)
    assert caught[0].filename == __file__


def test_statistics_that_are_not_applied_cause_no_warning() -> None:
    env = VecNormalize(DummyVecEnv([FarEnv]), norm_obs=False)
    clone_behaviour(model_in(env), RAW, ACTIONS, n_epochs=1)


def scaled(env: Env) -> Env:
    return wrappers.RescaleObservation(env, np.float32(0), np.float32(1))


def rescaled(env: Env) -> Env:
    return wrappers.RescaleAction(env, np.float32(-1), np.float32(1))


@pytest.mark.parametrize(
    ("recorded", "learnt", "name"),
    [
        (lambda env: scaled(env), lambda env: env, "obs"),
        (lambda env: env, lambda env: scaled(env), "obs"),
        (
            lambda env: scaled(env),
            lambda env: with_statistics(wrappers.NormalizeObservation(env)),
            "obs",
        ),
        (lambda env: rescaled(env), lambda env: env, "actions"),
        (lambda env: env, lambda env: rescaled(env), "actions"),
    ],
)
def test_demonstrations_recorded_with_other_wrappers_are_rejected(
    recorded: Any, learnt: Any, name: str
) -> None:
    """The shapes are equal, but not the spaces."""
    demos = record_demonstrations(
        recorded(FarEnv(ARM)), lambda _: np.zeros(1, np.float32), n_steps=20
    )
    model = model_in(learnt(FarEnv(ARM)))
    with pytest.raises(ValueError, match=f"{name}.* were recorded in Box"):
        clone_behaviour(model, demos, n_epochs=1)
    # The spaces of arrays are not known.
    clone_behaviour(model, demos.observations, demos.actions, n_epochs=1)
