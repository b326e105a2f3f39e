"""What becomes of demonstrations before a policy is fitted to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)

from pg_agents import Demonstrations, clone_behaviour
from tests.pg_agents.cloning.any_spaces import AnySpacesEnv
from tests.pg_agents.cloning.clones import (
    BOX,
    IMAGE,
    PAIR,
    TWO,
    a2c,
    same,
    sampled,
    weights,
)

SEEN, DONE = np.zeros((6, 2)), np.zeros(6)


def test_images_are_the_same_with_channels_first_or_last() -> None:
    shown = sampled(IMAGE, TWO, 6)
    assert isinstance(shown.observations, np.ndarray)
    both = []
    for images in (shown.observations, shown.observations.transpose(0, 3, 1, 2)):
        model = a2c(IMAGE, TWO, "CnnPolicy")
        clone_behaviour(model, images, shown.actions, n_epochs=2, seed=0)
        both.append(weights(model))
    assert same(*both)


def normalized(env: DummyVecEnv, seen: Any, **kwargs: Any) -> VecNormalize:
    """Returns an environment normalised by the statistics of some observations."""
    normalizer = VecNormalize(env, **kwargs)
    statistics: Any = normalizer.obs_rms
    pairs = (
        [(statistics[key], seen[key]) for key in statistics]
        if isinstance(statistics, dict)
        else [(statistics, seen)]
    )
    for rms, array in pairs:
        rms.update(array)
    return normalizer


def vec_env(observation_space: spaces.Space[Any]) -> DummyVecEnv:
    return DummyVecEnv([lambda: AnySpacesEnv(observation_space, TWO)])


def test_a_vec_normalize_normalises_demonstrations_and_learns_nothing_of_them() -> None:
    rng = np.random.default_rng(0)
    seen, done = 5.0 + 3.0 * rng.normal(size=(30, 2)), rng.integers(0, 2, 30)
    env = normalized(vec_env(BOX), seen)
    model = A2C("MlpPolicy", env, seed=0, device="cpu")
    clone_behaviour(model, seen, done, n_epochs=2, seed=0)
    # By hand, for a model without it. SB3 begins with a count of 0.0001.
    n, eps = len(seen), 1e-4
    mean = seen.mean(0) * n / (n + eps)
    second = ((seen**2).sum(0) + eps) / (n + eps)
    by_hand = (seen - mean) / np.sqrt(second - mean**2)
    other = a2c()
    clone_behaviour(other, by_hand, done, n_epochs=2, seed=0)
    for value, expected in zip(
        weights(model).values(), weights(other).values(), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)
    assert isinstance(env.obs_rms, RunningMeanStd)
    np.testing.assert_allclose(env.obs_rms.mean, mean)


def test_of_a_dict_the_keys_that_are_normalised_are() -> None:
    seen = {"place": np.full((20, 2), 4.0), "room": np.arange(20) % 3}
    seen["place"] += np.random.default_rng(0).normal(size=(20, 2))
    env = normalized(vec_env(PAIR), seen, norm_obs_keys=["place"])
    model = A2C("MultiInputPolicy", env, seed=0, device="cpu")
    done = np.arange(20) % 2
    clone_behaviour(model, seen, done, n_epochs=2, seed=0)
    other = a2c(PAIR, TWO, "MultiInputPolicy")
    place = (seen["place"] - seen["place"].mean(0)) / seen["place"].std(0)
    clone_behaviour(other, seen | {"place": place}, done, n_epochs=2, seed=0)
    for value, expected in zip(
        weights(model).values(), weights(other).values(), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-3)


def test_statistics_of_nothing_are_warned_of() -> None:
    model = A2C("MlpPolicy", VecNormalize(vec_env(BOX)), seed=0, device="cpu")
    with pytest.warns(UserWarning, match="has seen no observations yet") as caught:
        clone_behaviour(model, sampled(), n_epochs=1)
    assert caught[0].filename == __file__
    # Where observations are not normalised there is nothing to know.
    env = VecNormalize(vec_env(BOX), norm_obs=False)
    clone_behaviour(A2C("MlpPolicy", env, device="cpu"), sampled(), n_epochs=1)


def test_what_is_stacked_after_it_was_normalised_is_refused() -> None:
    env = VecFrameStack(normalized(vec_env(BOX), np.eye(2)), 3)
    model = A2C("MlpPolicy", env, seed=0, device="cpu")
    with pytest.raises(ValueError, match="VecFrameStack lies around VecNormalize"):
        clone_behaviour(model, np.zeros((4, 6)), np.zeros(4))


def test_statistics_of_other_shapes_are_refused() -> None:
    env = VecNormalize(VecTransposeImage(vec_env(IMAGE)))
    kwargs = {"normalize_images": False}
    model = A2C("MlpPolicy", env, seed=0, device="cpu", policy_kwargs=kwargs)
    with pytest.raises(ValueError, match=r"that VecNormalize sees, \[B, 3, 36, 40\]"):
        clone_behaviour(model, np.zeros((4, 36, 40, 3)), np.zeros(4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SEEN, DONE[:5]), "got 5 actions and 6 observations"),
        ((SEEN, DONE + 2), "actions must be in Discrete"),
        ((SEEN, DONE[:, None]), "actions must have the shape"),
        (
            (SEEN * np.nan, DONE),
            "an observation that is not finite: the first is row 0",
        ),
        ((SEEN[:0], DONE[:0]), "observations must be at least one"),
        ((SEEN[:, :1], DONE), "observations must have the shape"),
        ((SEEN,), "actions must be given"),
        ((Demonstrations(SEEN, DONE), DONE), "actions must be None"),
        ((SEEN[:1], DONE[:1]), "0.1 of 1 actions leaves none to fit to"),
    ],
)
def test_data_that_do_not_fit_are_refused(arguments: Any, message: str) -> None:
    model = a2c()
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        clone_behaviour(model, *arguments)
    assert same(weights(model), before)
