"""Cloning of any model in any space, and its effect on everything else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)
from torch import Tensor

from pg_agents import (
    REINFORCE,
    ActorCritic,
    Demonstrations,
    RandomAgent,
    clone_behaviour,
    record_demonstrations,
)
from tests.pg_agents.cloning.helpers import (
    ARM,
    BOX,
    IMAGE,
    PAIR,
    TWO,
    AnySpacesEnv,
    Noisy,
    a2c,
    assert_close,
    equal,
    sampled,
    weights,
)

OBS, ACTIONS = np.zeros((6, 2)), np.zeros(6)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic, A2C, PPO])
@pytest.mark.parametrize("action_space", [TWO, ARM], ids=["discrete", "box"])
def test_every_algorithm_is_cloned_and_then_learns(
    algorithm: Any, action_space: spaces.Space[Any]
) -> None:
    env = AnySpacesEnv(BOX, action_space)
    amount = {"n_steps": 64} if algorithm is PPO else {}
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **amount)
    before = weights(model)
    optimizer = copy.deepcopy(model.policy.optimizer.state_dict())
    demos = sampled(BOX, action_space, 200)
    result = clone_behaviour(model, demos, n_epochs=6, learning_rate=3e-3, seed=0)
    assert result.held_out_losses[-1] < result.held_out_losses[0] - 0.05
    cloned = weights(model)
    for name, value in cloned.items():
        assert torch.equal(value, before[name]) == ("value" in name), name
    # The model's optimiser is not involved.
    assert str(model.policy.optimizer.state_dict()) == str(optimizer)
    assert all(parameter.grad is None for parameter in model.policy.parameters())
    model.learn(10)
    assert not equal(weights(model), cloned)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "policy"),
    [
        (BOX, spaces.MultiDiscrete([2, 4]), "MlpPolicy"),
        (BOX, spaces.MultiBinary(3), "MlpPolicy"),
        (BOX, spaces.Box(-1.0, 1.0, (2, 2), np.float32), "MlpPolicy"),
        (spaces.Discrete(3), TWO, "MlpPolicy"),
        (spaces.MultiDiscrete([2, 3]), TWO, "MlpPolicy"),
        (spaces.MultiBinary(3), TWO, "MlpPolicy"),
        (PAIR, TWO, "MultiInputPolicy"),
        (IMAGE, TWO, "CnnPolicy"),
    ],
    ids=str,
)
@pytest.mark.parametrize("algorithm", [A2C, ActorCritic])
def test_every_space_is_cloned(
    algorithm: Any,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    policy: str,
) -> None:
    env = AnySpacesEnv(observation_space, action_space)
    model = algorithm(policy, env, seed=0, device="cpu")
    demos = sampled(observation_space, action_space, 20)
    result = clone_behaviour(model, demos, n_epochs=30, learning_rate=0.01, seed=0)
    assert min(result.held_out_losses) < result.held_out_losses[0] - 0.1
    actions, _ = model.predict(demos.observations, deterministic=True)
    np.testing.assert_allclose(actions, demos.actions, atol=0.5)
    model.learn(5)


@pytest.mark.parametrize(
    ("action_space", "action"),
    [
        (spaces.Discrete(3, start=-1), -1),
        (spaces.Discrete(3, start=-1), 1),
        (spaces.MultiDiscrete([2, 2], start=[0, 5]), [1, 5]),
    ],
    ids=str,
)
def test_our_policies_take_discrete_spaces_with_any_start(
    action_space: spaces.Space[Any], action: Any
) -> None:
    env = AnySpacesEnv(spaces.Discrete(2, start=4), action_space)
    model = ActorCritic("MlpPolicy", env, seed=0, device="cpu")
    obs, actions = np.tile([4, 5], 10), np.array([action] * 20)
    clone_behaviour(model, obs, actions, n_epochs=30, learning_rate=0.01, seed=0)
    predicted, _ = model.predict(np.array([4, 5]), deterministic=True)
    assert predicted.tolist() == [action, action]


@pytest.mark.parametrize(
    "spaces_of_model",
    [
        (spaces.Discrete(2, start=1), TWO),
        (BOX, spaces.Discrete(2, start=-1)),
        (BOX, spaces.MultiDiscrete([2, 2], start=[0, 1])),
        (spaces.Dict({"room": spaces.Discrete(3, start=1)}), TWO),
    ],
    ids=str,
)
def test_sb3_policies_reject_discrete_spaces_with_a_start(spaces_of_model: Any) -> None:
    observation_space, action_space = spaces_of_model
    is_dict = isinstance(observation_space, spaces.Dict)
    policy = "MultiInputPolicy" if is_dict else "MlpPolicy"
    model = a2c(observation_space, action_space, policy)
    with pytest.raises(ValueError, match=r"discrete spaces with start=0, .* start="):
        clone_behaviour(model, OBS, ACTIONS)


@pytest.mark.parametrize("squash", [False, True])
def test_actions_of_squashed_policies_are_in_units_of_the_environment(
    squash: bool,
) -> None:
    kwargs = {"squash_output": squash, "log_std_init": -2.0}
    model = a2c(BOX, ARM, use_sde=True, policy_kwargs=kwargs)
    action = np.array([1.75, 0.2], np.float32)
    demos = record_demonstrations(AnySpacesEnv(BOX, ARM), lambda _: action, n_steps=60)
    clone_behaviour(model, demos, n_epochs=150, learning_rate=0.01, patience=None)
    predicted, _ = model.predict(np.zeros(2, np.float32), deterministic=True)
    np.testing.assert_allclose(predicted, action, atol=0.1)


def test_actions_on_the_bounds_of_a_squashed_policy_have_a_finite_loss() -> None:
    model = a2c(BOX, ARM, use_sde=True, policy_kwargs={"squash_output": True})
    obs, actions = np.zeros((8, 2)), np.tile([ARM.low, ARM.high], (4, 1))
    result = clone_behaviour(model, obs, actions, n_epochs=2)
    assert np.isfinite(result.held_out_losses).all()
    with pytest.raises(ValueError, match="ent_coef must be 0 for a policy with squash"):
        clone_behaviour(model, obs, actions, ent_coef=0.1)


def test_state_dependent_noise_is_resampled() -> None:
    model = a2c(BOX, ARM, use_sde=True)
    noise: Any = model.policy.action_dist
    before = noise.exploration_mat.clone()
    clone_behaviour(model, sampled(BOX, ARM), n_epochs=1, seed=0)
    assert not torch.equal(noise.exploration_mat, before)


def test_images_may_have_channels_first_or_last() -> None:
    demos = sampled(IMAGE, TWO, 6)
    assert isinstance(demos.observations, np.ndarray)
    cloned = []
    for images in (demos.observations, demos.observations.transpose(0, 3, 1, 2)):
        model = a2c(IMAGE, TWO, "CnnPolicy")
        clone_behaviour(model, images, demos.actions, n_epochs=2, seed=0)
        cloned.append(weights(model))
    assert equal(*cloned)


def numpy_state() -> NDArray[Any]:
    state: Any = np.random.get_state()
    return np.append(state[1], state[2])


def test_seeds_are_reproducible_and_global_generators_do_not_change() -> None:
    def cloned(seed: int, global_seed: int) -> dict[str, Tensor]:
        # With dropout, which uses torch's global generator.
        model = a2c(policy_kwargs={"features_extractor_class": Noisy})
        torch.manual_seed(global_seed)
        torch_state, state = torch.get_rng_state(), numpy_state()
        clone_behaviour(model, sampled(), n_epochs=2, batch_size=16, seed=seed)
        assert torch.equal(torch.get_rng_state(), torch_state)
        np.testing.assert_array_equal(numpy_state(), state)
        return weights(model)

    first = cloned(1, global_seed=7)
    assert equal(first, cloned(1, global_seed=8))
    assert not equal(first, cloned(2, global_seed=7))


def test_a_failed_fit_does_not_change_the_model() -> None:
    model = a2c(BOX, ARM)
    model.policy.set_training_mode(True)
    before = weights(model)
    with pytest.raises(ValueError, match="n_epochs must be an integer"):
        clone_behaviour(model, sampled(BOX, ARM), n_epochs=0)
    with pytest.raises(ValueError, match=r"learning_rate=1e\+30 may be too large"):
        clone_behaviour(model, sampled(BOX, ARM), learning_rate=1e30)
    assert equal(weights(model), before)
    assert model.policy.training


def test_models_without_an_actor_critic_policy_are_rejected() -> None:
    env = AnySpacesEnv(BOX, TWO)
    for model in (
        DQN("MlpPolicy", env, device="cpu", buffer_size=10),
        RandomAgent("MlpPolicy", env),
        env,
    ):
        with pytest.raises(TypeError, match="model must have an ActorCriticPolicy"):
            clone_behaviour(model, OBS, ACTIONS)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not have a recurrent policy, got Recurrent"):
        clone_behaviour(RecurrentPPO("MlpLstmPolicy", env, device="cpu"), OBS, ACTIONS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((OBS, ACTIONS[:5]), "got 5 actions and 6 observations"),
        ((OBS, ACTIONS + 2), "actions must be in Discrete"),
        ((OBS * np.nan, ACTIONS), "first such action is row 0"),
        ((OBS[:, :1], ACTIONS), "observations must have the shape"),
        ((OBS,), "actions must be given"),
        ((Demonstrations(OBS, ACTIONS), ACTIONS), "actions must be None"),
        ((OBS[:1], ACTIONS[:1]), "0.1 of 1 actions leaves none to train on"),
    ],
)
def test_invalid_data_are_rejected(arguments: Any, message: str) -> None:
    model = a2c()
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        clone_behaviour(model, *arguments)
    assert equal(weights(model), before)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, 1.0, 0.95])
def test_held_out_fractions_without_training_rows_are_rejected(fraction: float) -> None:
    with pytest.raises(ValueError, match="held_out_fraction"):
        clone_behaviour(a2c(), OBS, ACTIONS, held_out_fraction=fraction)


# VecNormalize; test_normalization.py compares it with Gymnasium's wrappers.


def vec_env(observation_space: spaces.Space[Any]) -> DummyVecEnv:
    return DummyVecEnv([lambda: AnySpacesEnv(observation_space, TWO)])


def test_vec_normalize_normalises_only_its_keys_of_a_dict() -> None:
    obs = {"place": np.full((20, 2), 4.0), "room": np.arange(20) % 3}
    obs["place"] += np.random.default_rng(0).normal(size=(20, 2))
    env = VecNormalize(vec_env(PAIR), norm_obs_keys=["place"])
    assert isinstance(env.obs_rms, dict)
    env.obs_rms["place"].update(obs["place"])
    model = A2C("MultiInputPolicy", env, seed=0, device="cpu")
    actions = np.arange(20) % 2
    clone_behaviour(model, obs, actions, n_epochs=2, seed=0)
    other = a2c(PAIR, TWO, "MultiInputPolicy")
    place = (obs["place"] - obs["place"].mean(0)) / obs["place"].std(0)
    clone_behaviour(other, obs | {"place": place}, actions, n_epochs=2, seed=0)
    assert_close(model, other, atol=1e-3)


def test_statistics_that_cannot_be_applied_are_rejected() -> None:
    normalized = VecNormalize(vec_env(BOX))
    model = A2C("MlpPolicy", VecFrameStack(normalized, 3), seed=0, device="cpu")
    with pytest.raises(ValueError, match="VecFrameStack is applied after VecNormalize"):
        clone_behaviour(model, np.zeros((4, 6)), np.zeros(4))
    env = VecNormalize(VecTransposeImage(vec_env(IMAGE)))
    kwargs = {"normalize_images": False}
    model = A2C("MlpPolicy", env, seed=0, device="cpu", policy_kwargs=kwargs)
    with pytest.raises(ValueError, match=r"VecNormalize's statistics, \[B, 3, 36, 40"):
        clone_behaviour(model, np.zeros((4, 36, 40, 3)), np.zeros(4))


# What cloning is for.


def test_a_cloned_model_is_saved_and_loaded(tmp_path: Path) -> None:
    model = a2c()
    clone_behaviour(model, sampled(), n_epochs=1)
    model.save(tmp_path / "model")
    loaded = A2C.load(tmp_path / "model", device="cpu")
    assert equal(weights(loaded), weights(model))
    # Also without an environment.
    clone_behaviour(loaded, sampled(), n_epochs=1)


def balance(observation: NDArray[np.float32]) -> int:
    """Pushes CartPole towards the side that its pole falls to."""
    position, velocity, angle, rotation = observation
    return int(0.1 * position + 0.3 * velocity + 3.0 * angle + rotation > 0)


def test_a_clone_of_a_controller_balances_the_pole() -> None:
    """CartPole: from about 22 steps to more than 150; the controller reaches 500."""
    demos = record_demonstrations("CartPole-v1", balance, n_episodes=2, seed=0)
    assert demos.episode_returns.tolist() == [500.0, 500.0]
    model = REINFORCE("MlpPolicy", "CartPole-v1", seed=0, device="cpu")

    def mean_return() -> Any:
        assert model.env is not None
        return evaluate_policy(model, model.env, 5, deterministic=False)[0]

    assert mean_return() < 40
    clone_behaviour(model, demos, n_epochs=15, learning_rate=3e-3, seed=0)
    assert mean_return() > 150


def test_a_tabular_clone_crosses_the_frozen_lake() -> None:
    """Down, down, right, right, down, right, on the 4x4 map without slipping."""
    walk = {0: 1, 4: 1, 8: 2, 9: 2, 10: 1, 14: 2}
    lake = gymnasium.make("FrozenLake-v1", is_slippery=False)
    model = ActorCritic("TabularPolicy", lake, seed=0, device="cpu")
    demos = record_demonstrations(lake, lambda state: walk[state], n_episodes=3)
    assert demos.episode_returns.tolist() == [1.0, 1.0, 1.0]
    clone_behaviour(
        model, demos, learning_rate=0.5, held_out_fraction=0.0, max_grad_norm=1.0
    )
    assert model.env is not None
    mean, _ = evaluate_policy(model, model.env, 20, deterministic=False)
    assert mean == 1.0
