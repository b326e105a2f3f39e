"""State of environments through all wrappers."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.vector import SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from pg_agents import ActorCritic
from pg_agents.checkpoint.env_state import (
    UnsupportedEnvError,
    get_env_state,
    set_env_state,
)
from pg_agents.vec_env.adapter import VectorEnvAdapter
from tests.pg_agents.checkpoint.resuming_examples import (
    FRESH,
    MAKERS,
    SAME,
    check_exact,
    continued,
    equal,
    new,
    scramble,
    single,
    vector,
)


class Drift(gymnasium.Env[Any, Any]):
    """A user's environment with get_state() and set_state()."""

    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.position = self.np_random.normal(size=1).astype(np.float32)
        return self.position.copy(), {}

    def step(self, action: Any) -> Any:
        noise = self.np_random.normal(size=1)
        self.position = np.clip(self.position + action + noise, -9, 9).astype(
            np.float32
        )
        far = bool(abs(self.position[0]) > 4)
        return self.position.copy(), -abs(float(self.position[0])), far, False, {}

    def get_state(self) -> dict[str, Any]:
        generator = self.np_random.bit_generator.state
        return {"position": self.position, "generator": generator}

    def set_state(self, state: dict[str, Any]) -> None:
        self.position = state["position"]
        self.np_random.bit_generator.state = state["generator"]


@pytest.mark.parametrize("sde", [{}, {"use_sde": True, "sde_sample_freq": 4}])
def test_learning_resumes_exactly_in_a_users_environment(sde: dict[str, Any]) -> None:
    check_exact(ActorCritic, Drift, **sde)


def dummy_steps() -> Any:
    """Dummy steps that can't be removed: NormalizeReward has no partial resets."""
    return wrappers.vector.NormalizeReward(SyncVectorEnv([single] * 3))


def trace(env: Any) -> Any:
    """Returns all results of a step, without times."""
    env.action_space.seed(0)
    actions = np.stack([env.action_space.sample() for _ in range(env.num_envs)])
    obs, rewards, dones, infos = env.step(actions)
    for info in infos:
        info.get("episode", {}).pop("t", None)
    marks = getattr(env.unwrapped, "dummy_steps", None)
    return str((obs, rewards, dones, infos, env.reset_infos, marks))


@pytest.mark.parametrize("make", [*MAKERS.values(), dummy_steps])
def test_a_restored_environment_continues_exactly(make: Callable[[], Any]) -> None:
    """From any step, through ends of episodes."""

    def begun(seed: int) -> Any:
        env = make()
        if isinstance(env, gymnasium.Env):
            env = DummyVecEnv([partial(Monitor, env)])
        elif isinstance(env, gymnasium.vector.VectorEnv):
            env = VectorEnvAdapter(env, learner_skips_dummy_steps=True)
        env.seed(seed)
        env.reset()
        return env

    env, other = begun(0), begun(1)
    n_ends = 0
    for _ in range(25):
        for _ in range(3):
            trace(other)
        set_env_state(other, get_env_state(env))
        results = trace(env)
        assert trace(other) == results
        n_ends += "terminal_observation" in results
    assert n_ends > 3


def test_a_state_must_contain_the_random_generator() -> None:
    class Silent(Drift):
        def get_state(self) -> dict[str, Any]:
            return {"position": self.position}

    loaded = continued(new(ActorCritic, Silent()).learn(20), Silent())
    with pytest.warns(UserWarning, match="must return a dict with the state of"):
        loaded.learn(20, reset_num_timesteps=False)


def test_a_seed_given_after_loading_is_used() -> None:
    file = io.BytesIO()
    new(ActorCritic, single()).learn(40).save(file)
    model: Any = ActorCritic.load(file, env=single())
    env = model.get_env()
    env.seed(77)
    expected = single()
    first, _ = expected.reset(seed=77)
    model.learn(0, reset_num_timesteps=False)
    assert equal(model._last_obs[0], first)
    inner = env.envs[0].unwrapped.get_state()
    assert inner == expected.unwrapped.get_state()  # type: ignore[attr-defined]


class Odd(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An unknown wrapper."""


UNSUPPORTED: dict[str, tuple[Callable[[], Any], str]] = {
    "env": (lambda: gymnasium.make("CartPole-v1"), "CartPoleEnv has no get_state"),
    "wrapper": (lambda: Odd(single()), "Odd has no get_state"),
}


class Subclass(DummyVecEnv):
    """May have more state."""


def test_unknown_vector_environments_are_unsupported() -> None:
    # Built without its processes.
    workers = SubprocVecEnv.__new__(SubprocVecEnv)
    for env in (workers, Subclass([single])):
        with pytest.raises(UnsupportedEnvError, match=rf"{type(env).__name__} has"):
            get_env_state(env)


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_unsupported_environments_are_reset_with_a_warning(kind: str) -> None:
    make, says = UNSUPPORTED[kind]
    file = io.BytesIO()
    new(ActorCritic, make()).learn(30).save(file)
    firsts: list[Any] = []
    for _ in range(2):
        scramble()
        model = ActorCritic.load(file, env=make())
        with pytest.warns(UserWarning, match=FRESH + says):
            model.learn(0, reset_num_timesteps=False)
        firsts.append(model._last_obs)
        assert model._episode_steps.tolist() == [0]
    # The model has a seed, so the reset is reproducible ...
    assert equal(*firsts)
    # No warning if the environment would be reset anyway.
    ActorCritic.load(file, env=make()).learn(20)
    if kind == "env":
        # ... and does not repeat the first episode.
        again, _ = gymnasium.make("CartPole-v1").reset(seed=3)
        assert not equal(firsts[0][0], again)


def cart_poles(kind: str) -> Any:
    """CartPoles, which have no get_state(), in Gymnasium's NormalizeObservation."""
    if kind == "vector":
        env = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
        return wrappers.vector.NormalizeObservation(env)

    def make() -> Any:
        clip = wrappers.TransformObservation(
            wrappers.NormalizeObservation(gymnasium.make("CartPole-v1")), np.tanh, None
        )
        return Monitor(clip)

    return make() if kind == "single" else DummyVecEnv([make] * 2)


@pytest.mark.filterwarnings("ignore:the environment is reset")
@pytest.mark.parametrize(
    "other",
    [
        lambda: wrappers.NormalizeObservation(gymnasium.make("CartPole-v1"), 0.1),
        lambda: cart_poles("single"),
        lambda: cart_poles("vector"),
    ],
)
def test_statistics_that_do_not_fit_are_warned_of(other: Any) -> None:
    loaded = continued(new(ActorCritic, cart_poles("dummy")).learn(50), other())
    with pytest.warns(UserWarning, match="sees other numbers than it has learnt from"):
        loaded.learn(0, reset_num_timesteps=False)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (lambda: single(limit=10), "TimeLimit has other settings"),
        (lambda: single(seed=1), "state is one of another environment: its mdp"),
        (lambda: DummyVecEnv([single] * 2), "another environment"),
        (lambda: vector(SAME, n=1), "another environment"),
        (lambda: VecNormalize(DummyVecEnv([single])), "another environment"),
    ],
)
def test_another_environment_is_reset_with_a_warning(
    other: Callable[[], Any], says: str
) -> None:
    file = io.BytesIO()
    new(ActorCritic, single()).learn(33).save(file)
    model = ActorCritic.load(file, env=other())
    with pytest.warns(UserWarning, match=FRESH + ".*" + says):
        model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps >= 53


def test_a_failed_restore_changes_nothing() -> None:
    kept = DummyVecEnv([single] * 2)
    kept.seed(3)
    kept.reset()
    env = DummyVecEnv([single, lambda: single(seed=1)])
    env.seed(5)
    env.reset()
    before = get_env_state(env)
    with pytest.raises(UnsupportedEnvError, match="another environment: its mdp"):
        set_env_state(env, get_env_state(kept))
    after = get_env_state(env)
    for old, now in zip(before, after, strict=True):
        assert str(old) == str(now)
    assert str(before) != str(get_env_state(kept))


def test_set_env_resets_without_a_warning() -> None:
    file = io.BytesIO()
    new(ActorCritic, single()).learn(33).save(file)
    model = ActorCritic.load(file)
    model.set_env(single())
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps >= 53


def test_force_reset_false_leaves_the_environment() -> None:
    model = new(ActorCritic, gymnasium.make("CartPole-v1")).learn(30)
    env: Any = model.get_env()
    loaded = continued(model, env, force_reset=False)
    inner = env.envs[0].unwrapped.state
    loaded.learn(0, reset_num_timesteps=False)
    assert equal(np.float32(inner), loaded._last_obs[0])
    assert env.envs[0].unwrapped.state is inner
