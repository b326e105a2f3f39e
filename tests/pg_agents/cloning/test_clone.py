"""Cloning: any model, any spaces; what it leaves alone; and what it is good for."""

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
from torch import Tensor

from pg_agents import (
    REINFORCE,
    ActorCritic,
    RandomAgent,
    clone_behaviour,
    record_demonstrations,
)
from tests.pg_agents.cloning.any_spaces import AnySpacesEnv
from tests.pg_agents.cloning.clones import (
    ARM,
    BOX,
    IMAGE,
    PAIR,
    TWO,
    a2c,
    same,
    sampled,
    weights,
)
from tests.pg_agents.cloning.fits import Noisy

SEEN, DONE = np.zeros((6, 2)), np.zeros(6)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic, A2C, PPO])
@pytest.mark.parametrize("action_space", [TWO, ARM], ids=["discrete", "box"])
def test_every_algorithm_is_cloned_and_then_learns(
    algorithm: Any, action_space: spaces.Space[Any]
) -> None:
    env = AnySpacesEnv(BOX, action_space)
    amount = {"n_steps": 64} if algorithm is PPO else {}
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **amount)
    before = weights(model)
    moments = copy.deepcopy(model.policy.optimizer.state_dict())
    shown = sampled(BOX, action_space, 200)
    result = clone_behaviour(model, shown, n_epochs=6, learning_rate=3e-3, seed=0)
    assert result.held_out_losses[-1] < result.held_out_losses[0] - 0.05
    cloned = weights(model)
    for name, value in cloned.items():
        assert torch.equal(value, before[name]) == ("value" in name), name
    # Its optimiser knows of nothing, and the next update begins without a gradient.
    assert str(model.policy.optimizer.state_dict()) == str(moments)
    assert all(parameter.grad is None for parameter in model.policy.parameters())
    model.learn(10)
    assert not same(weights(model), cloned)


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
    shown = sampled(observation_space, action_space, 20)
    result = clone_behaviour(model, shown, n_epochs=30, learning_rate=0.01, seed=0)
    assert min(result.held_out_losses) < result.held_out_losses[0] - 0.1
    done, _ = model.predict(shown.observations, deterministic=True)
    np.testing.assert_allclose(done, shown.actions, atol=0.5)
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
def test_our_policies_take_spaces_that_start_anywhere(
    action_space: spaces.Space[Any], action: Any
) -> None:
    env = AnySpacesEnv(spaces.Discrete(2, start=4), action_space)
    model = ActorCritic("MlpPolicy", env, seed=0, device="cpu")
    seen, done = np.tile([4, 5], 10), np.array([action] * 20)
    clone_behaviour(model, seen, done, n_epochs=30, learning_rate=0.01, seed=0)
    again, _ = model.predict(np.array([4, 5]), deterministic=True)
    assert again.tolist() == [action, action]


@pytest.mark.parametrize("squash", [False, True])
def test_squashed_actions_are_those_of_the_environment(squash: bool) -> None:
    """They reach the fit as tanh has it, between -1 and 1, and come back."""
    kwargs = {"squash_output": squash, "log_std_init": -2.0}
    model = a2c(BOX, ARM, use_sde=True, policy_kwargs=kwargs)
    action = np.array([1.75, 0.2], np.float32)
    shown = record_demonstrations(AnySpacesEnv(BOX, ARM), lambda _: action, n_steps=60)
    clone_behaviour(model, shown, n_epochs=150, learning_rate=0.01, patience=None)
    done, _ = model.predict(np.zeros(2, np.float32), deterministic=True)
    np.testing.assert_allclose(done, action, atol=0.1)


def test_actions_on_the_bounds_of_a_squashed_policy_have_a_loss() -> None:
    model = a2c(BOX, ARM, use_sde=True, policy_kwargs={"squash_output": True})
    seen, done = np.zeros((8, 2)), np.tile([ARM.low, ARM.high], (4, 1))
    result = clone_behaviour(model, seen, done, n_epochs=2)
    assert np.isfinite(result.held_out_losses).all()
    with pytest.raises(ValueError, match="ent_coef must be 0 for a policy with squash"):
        clone_behaviour(model, seen, done, ent_coef=0.1)


def test_noise_that_depends_on_the_state_is_drawn_anew() -> None:
    model = a2c(BOX, ARM, use_sde=True)
    noise: Any = model.policy.action_dist
    before = noise.exploration_mat.clone()
    clone_behaviour(model, sampled(BOX, ARM), n_epochs=1, seed=0)
    assert not torch.equal(noise.exploration_mat, before)


def numpy_state() -> NDArray[Any]:
    state: Any = np.random.get_state()
    return np.append(state[1], state[2])


def test_same_seed_same_weights_and_no_other_generator_is_touched() -> None:
    def cloned(seed: int, global_seed: int) -> dict[str, Tensor]:
        # With dropout, which draws from torch's global generator.
        model = a2c(policy_kwargs={"features_extractor_class": Noisy})
        torch.manual_seed(global_seed)
        here, there = torch.get_rng_state(), numpy_state()
        clone_behaviour(model, sampled(), n_epochs=2, batch_size=16, seed=seed)
        assert torch.equal(torch.get_rng_state(), here)
        np.testing.assert_array_equal(numpy_state(), there)
        return weights(model)

    first = cloned(1, global_seed=7)
    assert same(first, cloned(1, global_seed=8))
    assert not same(first, cloned(2, global_seed=7))


@pytest.mark.parametrize("share", [-0.1, 1.1, 1.0, 0.95])
def test_there_must_be_something_to_fit_to(share: float) -> None:
    with pytest.raises(ValueError, match="held_out_fraction"):
        clone_behaviour(a2c(), SEEN, DONE, held_out_fraction=share)


def test_a_fit_that_fails_leaves_the_model_as_it_was() -> None:
    model = a2c(BOX, ARM)
    model.policy.set_training_mode(True)
    before = weights(model)
    with pytest.raises(ValueError, match="n_epochs must be an integer"):
        clone_behaviour(model, sampled(BOX, ARM), n_epochs=0)
    with pytest.raises(ValueError, match=r"learning_rate=1e\+30 may be too large"):
        clone_behaviour(model, sampled(BOX, ARM), learning_rate=1e30)
    assert same(weights(model), before)
    assert model.policy.training


def test_models_that_can_not_be_cloned_are_refused() -> None:
    env = AnySpacesEnv(BOX, TWO)
    for model in (
        DQN("MlpPolicy", env, device="cpu", buffer_size=10),
        RandomAgent("MlpPolicy", env),
        env,
    ):
        with pytest.raises(TypeError, match="model must have an ActorCriticPolicy"):
            clone_behaviour(model, SEEN, DONE)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="that is not recurrent, got Recurrent"):
        clone_behaviour(RecurrentPPO("MlpLstmPolicy", env, device="cpu"), SEEN, DONE)


@pytest.mark.parametrize(
    "kinds",
    [
        (spaces.Discrete(2, start=1), TWO),
        (BOX, spaces.Discrete(2, start=-1)),
        (BOX, spaces.MultiDiscrete([2, 2], start=[0, 1])),
        (spaces.Dict({"room": spaces.Discrete(3, start=1)}), TWO),
    ],
    ids=str,
)
def test_policies_that_count_from_zero_refuse_other_spaces(kinds: Any) -> None:
    policy = "MultiInputPolicy" if isinstance(kinds[0], spaces.Dict) else "MlpPolicy"
    with pytest.raises(ValueError, match=r"spaces that count from 0, as .* start="):
        clone_behaviour(a2c(kinds[0], kinds[1], policy), SEEN, DONE)


def test_a_cloned_model_is_saved_and_loaded(tmp_path: Path) -> None:
    model = a2c()
    clone_behaviour(model, sampled(), n_epochs=1)
    model.save(tmp_path / "model")
    loaded = A2C.load(tmp_path / "model", device="cpu")
    assert same(weights(loaded), weights(model))
    # Without an environment there is none that normalises.
    clone_behaviour(loaded, sampled(), n_epochs=1)


def balance(observation: NDArray[np.float32]) -> int:
    """Pushes CartPole towards the side that its pole falls to."""
    position, velocity, angle, rotation = observation
    return int(0.1 * position + 0.3 * velocity + 3.0 * angle + rotation > 0)


def test_a_few_episodes_of_a_controller_are_worth_many_of_learning() -> None:
    """CartPole: from about 22 steps to more than 150; the controller reaches 500."""
    shown = record_demonstrations("CartPole-v1", balance, n_episodes=2, seed=0)
    assert shown.episode_returns.tolist() == [500.0, 500.0]
    model = REINFORCE("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
    assert model.env is not None

    def mean_return() -> float:
        mean, _ = evaluate_policy(model, model.env, 5, deterministic=False)  # type: ignore[arg-type]
        assert isinstance(mean, float)
        return mean

    assert mean_return() < 40
    clone_behaviour(model, shown, n_epochs=15, learning_rate=3e-3, seed=0)
    assert mean_return() > 150


def test_a_walk_over_the_frozen_lake_is_walked_again() -> None:
    """Down, down, right, right, down, right, on the map of 4 by 4 without slipping."""
    walk = {0: 1, 4: 1, 8: 2, 9: 2, 10: 1, 14: 2}
    lake = gymnasium.make("FrozenLake-v1", is_slippery=False)
    model = ActorCritic("TabularPolicy", lake, seed=0, device="cpu")
    shown = record_demonstrations(lake, lambda square: walk[square], n_episodes=3)
    assert shown.episode_returns.tolist() == [1.0, 1.0, 1.0]
    clone_behaviour(
        model, shown, learning_rate=0.5, held_out_fraction=0.0, max_grad_norm=1.0
    )
    mean, _ = evaluate_policy(model, model.env, 20, deterministic=False)  # type: ignore[arg-type]
    assert mean == 1.0
