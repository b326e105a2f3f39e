"""Demonstrations are raw, whatever normalises: recording and cloning agree on it."""

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
from tests.pg_agents.cloning.any_spaces import AnySpacesEnv
from tests.pg_agents.cloning.clones import TWO, same, weights
from tests.pg_agents.envs import StaggeredVectorEnv

Env = gymnasium.Env[Any, Any]
WIDE = spaces.Box(-90.0, 90.0, (2,), np.float32)
ARM = spaces.Box(-2.0, 2.0, (1,), np.float32)
RAW = np.random.default_rng(0).normal([7.0, -3.0], [5.0, 0.4], (30, 2))
DONE = np.arange(30) % 2


class FarEnv(Env):
    """Observations far from zero, which episode and step tell; episodes of 4 steps."""

    def __init__(
        self, action_space: spaces.Space[Any] = TWO, render_mode: str | None = None
    ) -> None:
        self.observation_space, self.action_space = WIDE, action_space
        self.render_mode = render_mode
        self.episode, self.steps = -1, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.steps += 1
        return self._seen(), float(self.steps), False, self.steps == 4, {}

    def _seen(self) -> NDArray[np.float32]:
        return np.array([self.episode + 5, self.steps - 7.5], np.float32)

    def render(self) -> Any:
        return np.zeros((4, 4, 3), np.uint8)


def given_data(normalizer: Any, data: NDArray[Any] = RAW) -> Any:
    normalizer.obs_rms.update(data)
    return normalizer


def single(data: NDArray[Any] = RAW) -> Env:
    return given_data(wrappers.NormalizeObservation(FarEnv()), data)  # type: ignore[no-any-return]


def clipped(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(seen, -0.7, 0.7)


def twice() -> Env:
    outer = wrappers.NormalizeObservation(single())
    return given_data(outer, np.array([[0.5, 1.0], [0.1, 0.3]]))  # type: ignore[no-any-return]


def vectors(n: int = 3) -> VectorEnv[Any, Any, Any]:
    return given_data(vector.NormalizeObservation(SyncVectorEnv([FarEnv] * n)))  # type: ignore[no-any-return]


def vectors_twice() -> VectorEnv[Any, Any, Any]:
    outer = vector.NormalizeObservation(vectors())
    return given_data(outer, np.array([[0.5, 1.0], [0.1, 0.3]]))  # type: ignore[no-any-return]


def around(*kinds: Any, **arguments: Any) -> Callable[[], Env]:
    """Wrappers that leave observations alone, around one that normalises."""

    def make() -> Env:
        env = single()
        for kind in kinds:
            env = kind(env, **arguments)
        return env

    return make


def with_sb3s() -> VecEnv:
    env = VecNormalize(VecMonitor(DummyVecEnv([single])), clip_obs=0.9)
    return given_data(env, np.array([[0.5, 1.0], [0.1, 0.3]]))  # type: ignore[no-any-return]


# What the model learns in, and what it sees of a raw observation.
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
    "of flat ones": lambda: given_data(
        wrappers.NormalizeObservation(
            wrappers.FlattenObservation(wrappers.ReshapeObservation(FarEnv(), (1, 2)))
        )
    ),
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


def by_hand(seen: NDArray[Any], data: NDArray[Any] = RAW) -> NDArray[Any]:
    # Gymnasium begins with a count of 0.0001.
    n, eps = len(data), 1e-4
    mean = data.mean(0) * n / (n + eps)
    second = ((data**2).sum(0) + eps) / (n + eps)
    normalized: NDArray[Any] = (seen - mean) / np.sqrt(second - mean**2 + 1e-8)
    return normalized


def seen_by_hand(name: str) -> NDArray[Any]:
    seen = by_hand(RAW)
    if name in ("twice", "vector twice", "beneath SB3's"):
        seen = by_hand(seen, np.array([[0.5, 1.0], [0.1, 0.3]]))
    if name == "beneath SB3's":
        seen = seen.clip(-0.9, 0.9)
    if "clipped" in name:
        seen = clipped(seen)
    return seen[..., None] if "reshaped" in name else seen


def model_in(env: Any, algorithm: Any = ActorCritic) -> Any:
    if algorithm in (A2C, PPO) and isinstance(env, VectorEnv):
        env = as_vec_env(env)
    amount = {"n_steps": 64, "batch_size": 64} if algorithm is PPO else {}
    return algorithm("MlpPolicy", env, seed=0, device="cpu", **amount)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic, A2C, PPO])
@pytest.mark.parametrize("name", NORMALIZED)
def test_raw_demonstrations_are_cloned_as_the_model_will_see_them(
    name: str, algorithm: Any
) -> None:
    model = model_in(NORMALIZED[name](), algorithm)
    clone_behaviour(model, RAW, DONE, n_epochs=2, seed=0)
    # Another model without all that, which is given what is seen.
    other = model_in(AnySpacesEnv(model.observation_space, TWO), algorithm)
    seen = seen_by_hand(name)
    clone_behaviour(other, seen, DONE, n_epochs=2, seed=0)
    for key, value in weights(model).items():
        np.testing.assert_allclose(
            value, weights(other)[key], rtol=1e-3, atol=1e-4, err_msg=key
        )


def statistics(env: Any) -> list[Any]:
    """Returns what all layers have counted."""
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


@pytest.mark.parametrize("name", NORMALIZED)
def test_cloning_counts_nothing(name: str) -> None:
    env = NORMALIZED[name]()
    model = model_in(env)
    before = statistics(env)
    assert before
    clone_behaviour(model, RAW, DONE, n_epochs=1)
    np.testing.assert_equal(statistics(env), before)


def different(n: int = 3) -> list[Callable[[], Env]]:
    return [lambda i=i: single(RAW + i) for i in range(n)]  # type: ignore[misc]


def staggered(wrapped: bool) -> VectorEnv[Any, Any, Any]:
    env = StaggeredVectorEnv([2, 3])
    return vector.NormalizeObservation(env) if wrapped else env


# The same environments with and without what normalises.
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
def test_what_is_recorded_is_raw_and_counts_nothing(
    name: str, amount: dict[str, Any]
) -> None:
    given: list[Any] = []

    def controller(seen: Any) -> int:
        given.append(np.copy(seen))
        return int(seen[1] > -6.0)

    env, twin = TWINS[name](True), TWINS[name](False)
    before = statistics(env)
    found = record_demonstrations(env, controller, **amount)
    seen = given.copy()
    given.clear()
    expected = record_demonstrations(twin, controller, **amount)
    for attribute in ("observations", "actions", "episode_lengths", "episode_starts"):
        one, other = getattr(found, attribute), getattr(expected, attribute)
        np.testing.assert_array_equal(one, other, attribute)
        assert one.dtype == other.dtype
    np.testing.assert_array_equal(seen, given)
    assert found.observation_space == expected.observation_space
    assert found.action_space == expected.action_space
    np.testing.assert_equal(statistics(env), before)


def test_afterwards_the_environment_normalises_and_counts_again() -> None:
    env, twin = single(), single()
    record_demonstrations(env, lambda _: 0, n_steps=1)
    twin.reset()
    assert env.unwrapped.reset()[0].tolist() == [6.0, -7.5]
    seen, _ = env.reset()
    assert abs(seen[0]) < 1.0
    assert env.obs_rms.count == pytest.approx(len(RAW) + 1, abs=0.01)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NORMALIZED)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_model_acts_on_what_its_own_environment_makes_of_them(
    name: str, wrapped: bool
) -> None:
    """Be the environment that is recorded normalised by other statistics, or not."""
    model = model_in(NORMALIZED[name](), A2C)
    seen: list[Any] = []
    predict = model.policy.predict

    def spy(observation: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(observation)
        return predict(observation, *args, **kwargs)

    model.policy.predict = spy
    env = single(3.0 * RAW) if wrapped else FarEnv()
    found = record_demonstrations(env, model, n_episodes=2)
    model.policy.predict = predict
    expected, _ = model.predict(np.concatenate(seen), deterministic=True)
    np.testing.assert_array_equal(found.actions, expected)
    first = by_hand(np.array([5.0, -7.5]))
    if name in ("single", "vector"):
        np.testing.assert_allclose(seen[0][0], first, rtol=1e-3)
    assert np.concatenate(seen).shape[1:] == model.observation_space.shape


def test_actions_go_through_the_wrappers_around() -> None:
    """They are recorded as the outermost takes them."""
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
    """Might remember."""

    def observation(self, observation: Any) -> Any:
        return observation


class OwnStep(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Might change what is seen."""

    def step(self, action: Any) -> Any:
        return self.env.step(action)


class OwnNormalizer(wrappers.NormalizeObservation[Any, Any, Any]):
    """Does otherwise."""

    def observation(self, observation: Any) -> Any:
        return super().observation(observation) * 2


class OwnTransform(wrappers.TransformObservation[Any, Any, Any]):
    """Might remember."""

    def reset(self, **arguments: Any) -> Any:
        return super().reset(**arguments)


def drawn() -> Env:
    env = given_data(wrappers.NormalizeObservation(FarEnv(render_mode="rgb_array")))
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
def test_what_can_not_be_known_is_refused(make: Any, message: str) -> None:
    model = model_in(make())
    before = weights(model)
    sentence = f"{message} lies around NormalizeObservation, .* put it beneath"
    with pytest.raises(ValueError, match=sentence):
        clone_behaviour(model, RAW, DONE)
    with pytest.raises(ValueError, match=sentence):
        record_demonstrations(FarEnv(), model, n_steps=1)
    assert same(weights(model), before)


def test_a_normaliser_of_ones_own_is_refused() -> None:
    model = model_in(given_data(OwnNormalizer(FarEnv())))
    with pytest.raises(ValueError, match=r"OwnNormalizer normalises .* of its own"):
        clone_behaviour(model, RAW, DONE)


@pytest.mark.parametrize("kind", [DummyVecEnv, SyncVectorEnv])
def test_statistics_that_differ_are_those_of_nobody(kind: Any) -> None:
    model = model_in(kind(different()))
    with pytest.raises(ValueError, match=r"by statistics of its own .* VecNormalize"):
        clone_behaviour(model, RAW, DONE)
    mixed = kind([single, lambda: wrappers.NormalizeObservation(single())])
    with pytest.raises(ValueError, match="by statistics of its own"):
        clone_behaviour(model_in(mixed), RAW, DONE)


@pytest.mark.parametrize("kind", [SubprocVecEnv, AsyncVectorEnv])
def test_other_processes_keep_their_statistics_to_themselves(kind: Any) -> None:
    env = kind([single])
    try:
        with pytest.raises(ValueError, match=f"other processes of {kind.__name__}"):
            record_demonstrations(env, lambda _: 0, n_steps=1)
        with pytest.raises(ValueError, match=r"put .* VecNormalize around"):
            clone_behaviour(model_in(env), RAW, DONE)
    finally:
        env.close()


def test_environments_in_other_processes_are_cloned_where_nothing_normalises() -> None:
    for kind in (SubprocVecEnv, AsyncVectorEnv):
        env: Any = kind([FarEnv])
        try:
            model = model_in(env)
            clone_behaviour(model, RAW, DONE, n_epochs=1)
        finally:
            env.close()
        with pytest.raises(ValueError, match=f"{kind.__name__} is closed"):
            clone_behaviour(model, RAW, DONE, n_epochs=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: wrappers.NormalizeObservation(FarEnv()),
        lambda: vector.NormalizeObservation(SyncVectorEnv([FarEnv])),
    ],
)
def test_statistics_of_nothing_are_warned_of(make: Any) -> None:
    model = model_in(make())
    with pytest.warns(UserWarning, match="NormalizeObservation has seen no") as caught:
        clone_behaviour(model, RAW, DONE, n_epochs=1)
    assert caught[0].filename == __file__


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
            lambda env: given_data(wrappers.NormalizeObservation(env)),
            "obs",
        ),
        (lambda env: rescaled(env), lambda env: env, "actions"),
        (lambda env: env, lambda env: rescaled(env), "actions"),
    ],
)
def test_demonstrations_of_other_wrappers_are_refused(
    recorded: Any, learnt: Any, name: str
) -> None:
    """All are of the same shape, and would be cloned wrongly."""
    shown = record_demonstrations(
        recorded(FarEnv(ARM)), lambda _: np.zeros(1, np.float32), n_steps=20
    )
    model = model_in(learnt(FarEnv(ARM)))
    with pytest.raises(ValueError, match=f"{name}.* were recorded in Box"):
        clone_behaviour(model, shown, n_epochs=1)
    # Arrays are what the user says they are.
    clone_behaviour(model, shown.observations, shown.actions, n_epochs=1)
