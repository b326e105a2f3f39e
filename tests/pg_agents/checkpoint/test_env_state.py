"""Environments through all their wrappers: kept where that is possible."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from pg_agents import ActorCritic
from pg_agents.checkpoint.env_layers import CannotKeepError
from pg_agents.checkpoint.env_state import put_env_state, take_env_state
from tests.pg_agents.checkpoint.resuming_examples import (
    FRESH,
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
    """A user's own environment with actions in a box, which can be kept."""

    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=1).astype(np.float32)
        return self.place.copy(), {}

    def step(self, action: Any) -> Any:
        noise = self.np_random.normal(size=1)
        self.place = np.clip(self.place + action + noise, -9, 9).astype(np.float32)
        far = bool(abs(self.place[0]) > 4)
        return self.place.copy(), -abs(float(self.place[0])), far, False, {}

    def get_state(self) -> dict[str, Any]:
        generator = self.np_random.bit_generator.state
        return {"place": self.place, "generator": generator}

    def set_state(self, state: dict[str, Any]) -> None:
        self.place = state["place"]
        self.np_random.bit_generator.state = state["generator"]


@pytest.mark.parametrize("sde", [{}, {"use_sde": True, "sde_sample_freq": 4}])
def test_it_does_with_a_users_environment_and_exploration(sde: dict[str, Any]) -> None:
    check_exact(ActorCritic, Drift, **sde)


def test_a_state_without_its_random_numbers_is_not_taken() -> None:
    class Silent(Drift):
        def get_state(self) -> dict[str, Any]:
            return {"place": self.place}

    loaded = continued(new(ActorCritic, Silent()).learn(20), Silent())
    with pytest.warns(UserWarning, match="says nothing of its random numbers"):
        loaded.learn(20, reset_num_timesteps=False)


def test_an_environment_seeded_after_loading_starts_by_that_seed() -> None:
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
    """A wrapper that nobody knows."""


UNKEPT: dict[str, tuple[Callable[[], Any], str]] = {
    "env": (lambda: gymnasium.make("CartPole-v1"), "CartPoleEnv has no state"),
    "wrapper": (lambda: Odd(single()), "Odd has no state"),
}


class Elsewhere(DummyVecEnv):
    """Stands for a vector environment of another kind, as SubprocVecEnv."""


def test_a_vector_environment_that_is_not_known_is_not_kept() -> None:
    # Built without its processes.
    workers = SubprocVecEnv.__new__(SubprocVecEnv)
    for env in (workers, Elsewhere([single])):
        with pytest.raises(CannotKeepError, match=f"{type(env).__name__} has no state"):
            take_env_state(env)


@pytest.mark.parametrize("kind", UNKEPT)
def test_what_cannot_be_kept_starts_anew_and_says_so(kind: str) -> None:
    make, says = UNKEPT[kind]
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
    # The model has a seed, so the new start is not left to chance ...
    assert equal(*firsts)
    # Nor does it need a word where the environment is reset in any case.
    ActorCritic.load(file, env=make()).learn(20)
    if kind == "env":
        # ... and it is none of the episodes that were there already.
        again, _ = gymnasium.make("CartPole-v1").reset(seed=3)
        assert not equal(firsts[0][0], again)


def test_the_statistics_survive_an_environment_that_does_not() -> None:
    def make() -> VecNormalize:
        return VecNormalize(DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]))

    model = new(ActorCritic, make()).learn(50)
    kept = model.get_vec_normalize_env()
    loaded = continued(model, make())
    with pytest.warns(UserWarning, match=FRESH):
        loaded.learn(0, reset_num_timesteps=False)
    found = loaded.get_vec_normalize_env()
    # The reset is one more observation.
    assert found.obs_rms.count == kept.obs_rms.count + 1
    assert found.ret_rms.count == kept.ret_rms.count


def cart_poles(kind: str) -> Any:
    """CartPoles, whose state can't be kept, in Gymnasium's NormalizeObservation."""
    if kind == "vector":
        env = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
        return wrappers.vector.NormalizeObservation(env)

    def make() -> Any:
        clip = wrappers.TransformObservation(
            wrappers.NormalizeObservation(gymnasium.make("CartPole-v1")), np.tanh, None
        )
        return Monitor(clip)

    return make() if kind == "single" else DummyVecEnv([make] * 2)


@pytest.mark.parametrize("kind", ["single", "dummy", "vector"])
def test_so_do_those_of_gymnasium(kind: str) -> None:
    model = new(ActorCritic, cart_poles(kind)).learn(50)
    kept = model.get_env().get_attr("obs_rms")
    loaded = continued(model, cart_poles(kind))
    with pytest.warns(UserWarning, match=FRESH):
        loaded.learn(0, reset_num_timesteps=False)
    for one, other in zip(kept, loaded.get_env().get_attr("obs_rms"), strict=True):
        # The reset is one more observation, of each environment.
        assert one.count > 10
        assert other.count == one.count + (2 if kind == "vector" else 1)


@pytest.mark.filterwarnings("ignore:the environment is reset")
@pytest.mark.parametrize(
    "other",
    [
        lambda: wrappers.NormalizeObservation(gymnasium.make("CartPole-v1"), 0.1),
        lambda: cart_poles("single"),
        lambda: cart_poles("vector"),
    ],
)
def test_statistics_that_have_no_place_are_warned_of(other: Any) -> None:
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
def test_another_environment_starts_anew(other: Callable[[], Any], says: str) -> None:
    file = io.BytesIO()
    new(ActorCritic, single()).learn(33).save(file)
    model = ActorCritic.load(file, env=other())
    with pytest.warns(UserWarning, match=FRESH + ".*" + says):
        model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps >= 53


def test_if_one_of_two_environments_is_another_none_is_changed() -> None:
    kept = DummyVecEnv([single] * 2)
    kept.seed(3)
    kept.reset()
    env = DummyVecEnv([single, lambda: single(seed=1)])
    env.seed(5)
    env.reset()
    before = take_env_state(env)
    with pytest.raises(CannotKeepError, match="another environment: its mdp"):
        put_env_state(env, take_env_state(kept))
    after = take_env_state(env)
    for old, now in zip(before, after, strict=True):
        assert str(old) == str(now)
    assert str(before) != str(take_env_state(kept))


def test_set_env_starts_anew_without_a_word() -> None:
    file = io.BytesIO()
    new(ActorCritic, single()).learn(33).save(file)
    model = ActorCritic.load(file)
    model.set_env(single())
    model.learn(20, reset_num_timesteps=False)
    assert model.num_timesteps >= 53


def test_the_same_environment_can_be_handed_on_as_it_is() -> None:
    """force_reset=False: it is where the model left it, whatever it is."""
    model = new(ActorCritic, gymnasium.make("CartPole-v1")).learn(30)
    env: Any = model.get_env()
    loaded = continued(model, env, force_reset=False)
    inner = env.envs[0].unwrapped.state
    loaded.learn(0, reset_num_timesteps=False)
    assert equal(np.float32(inner), loaded._last_obs[0])
    assert env.envs[0].unwrapped.state is inner
