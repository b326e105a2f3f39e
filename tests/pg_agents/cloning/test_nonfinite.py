"""NaN and infinite values in demonstrations, and in the fit of a policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import Tensor

from pg_agents import (
    REINFORCE,
    ActorCritic,
    Demonstrations,
    clone_behaviour,
    record_demonstrations,
)
from pg_agents.common.nonfinite import NonFiniteError
from tests.pg_agents.cloning.helpers import (
    ARM,
    BOX,
    PAIR,
    TWO,
    AnySpacesEnv,
    equal,
    sampled,
    weights,
)
from tests.pg_agents.envs import ScriptedEnv, StaggeredVectorEnv

ALGORITHMS = [REINFORCE, ActorCritic, A2C, PPO]
ACTION_SPACES = [TWO, ARM, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)]
BAD = [np.nan, np.inf, -np.inf]
# Sampled demonstrations have episodes of five steps.
ROW, NAME = 17, "step 2 of episode 3 (row 17)"


def model_of(algorithm: Any, *kinds: spaces.Space[Any], **arguments: Any) -> Any:
    dictionary = isinstance(kinds[0], spaces.Dict)
    arguments.setdefault("policy", "MultiInputPolicy" if dictionary else "MlpPolicy")
    if algorithm is PPO:
        arguments |= {"n_steps": 64, "batch_size": 64}
    env = AnySpacesEnv(*kinds)
    return algorithm(env=env, seed=0, device="cpu", **arguments)


def rejected(
    model: Any, demos: Demonstrations, *parts: str, **settings: Any
) -> NonFiniteError:
    """Returns the error after checking its message; the model must not change."""
    before = weights(model)
    with pytest.raises(NonFiniteError) as caught:
        clone_behaviour(model, demos, **settings)
    for part in parts:
        assert part in str(caught.value)
    assert equal(weights(model), before)
    assert all(parameter.grad is None for parameter in model.policy.parameters())
    return caught.value


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("action_space", ACTION_SPACES, ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_observation_that_is_not_finite_is_named(
    algorithm: Any, action_space: spaces.Space[Any], bad: float
) -> None:
    demos = sampled(BOX, action_space)
    assert isinstance(demos.observations, np.ndarray)
    demos.observations[[ROW, ROW + 20], 1] = bad
    model = model_of(algorithm, BOX, action_space)
    # Among the training rows or the held-out ones.
    for seed in range(3):
        rejected(
            model,
            demos,
            "not finite with the initial weights",
            NAME,
            str(bad),
            "features extractor",
            seed=seed,
            held_out_fraction=0.5,
        )


def test_the_key_of_a_dict_observation_is_named() -> None:
    demos = sampled(PAIR, TWO)
    assert isinstance(demos.observations, dict)
    demos.observations["place"][ROW, 0] = np.inf
    rejected(model_of(ActorCritic, PAIR, TWO), demos, NAME, "'place'")


def test_without_episode_starts_the_row_is_named() -> None:
    obs, actions = np.zeros((20, 2)), np.zeros(20)
    obs[ROW] = np.nan
    rejected(model_of(A2C, BOX, TWO), Demonstrations(obs, actions), "is row 17:")
    starts = np.arange(20) == ROW + 1
    demos = Demonstrations(obs, actions, episode_starts=starts)
    rejected(model_of(A2C, BOX, TWO), demos, "is row 17:")


@pytest.mark.parametrize("algorithm", [ActorCritic, A2C])
def test_an_observation_too_large_for_float32_is_named(algorithm: Any) -> None:
    for large in (1e300, 3e38):
        demos = sampled(BOX, ARM)
        observations = np.asarray(demos.observations, dtype=np.float64)
        observations[ROW] = large
        model = model_of(
            algorithm, BOX, ARM, policy_kwargs={"activation_fn": torch.nn.ReLU}
        )
        given = Demonstrations(observations, demos.actions)
        rejected(model, given, "row 17:")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("action_space", ACTION_SPACES, ids=str)
def test_an_action_that_is_not_finite_is_named(
    action_space: spaces.Space[Any], bad: float
) -> None:
    demos = sampled(BOX, action_space)
    actions = demos.actions.astype(np.float64)
    actions.reshape(len(actions), -1)[ROW, -1] = bad
    given = replace(demos, actions=actions)
    model = model_of(ActorCritic, BOX, action_space)
    rejected(model, given, "actions must be finite", f"the first is {NAME}", str(bad))


@pytest.mark.parametrize(
    "settings", [{}, {"held_out_fraction": 0.0}, {"max_grad_norm": 0.5}], ids=str
)
@pytest.mark.parametrize("action_space", ACTION_SPACES, ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_diverging_learning_rate_is_named(
    algorithm: Any,
    action_space: spaces.Space[Any],
    settings: dict[str, Any],
) -> None:
    # Different actions: with equal ones a deterministic policy is the optimum.
    demos = sampled(BOX, action_space)
    action_space.seed(0)
    actions = np.stack([action_space.sample() for _ in range(len(demos))])
    given = Demonstrations(demos.observations, actions)
    kwargs = {"activation_fn": torch.nn.ReLU}
    model = model_of(algorithm, BOX, action_space, policy_kwargs=kwargs)
    error = rejected(
        model,
        given,
        "learning_rate=1e+30 may be too large",
        learning_rate=1e30,
        patience=None,
        **settings,
    )
    assert "became" in str(error) or "has no valid distribution" in str(error)


def test_a_weight_that_becomes_infinite_in_the_last_update_is_named() -> None:
    class Rots(ActorCriticPolicy):
        def get_distribution(self, obs: Any) -> Any:
            if self.training:
                with torch.no_grad():
                    self.value_net.bias.fill_(torch.inf)
            return super().get_distribution(obs)

    model = model_of(A2C, BOX, TWO, policy=Rots)
    sentence = "the weight value_net.bias became NaN or infinite in epoch 1"
    rejected(model, sampled(), sentence, n_epochs=1, held_out_fraction=0.0)


def test_a_gradient_that_is_not_finite_is_reported() -> None:
    """The loss is finite, but not its gradient at 0."""

    class Rooted(ActorCriticPolicy):
        always = True

        def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Any:
            logits = self.action_net(latent_pi)
            if self.always or self.training:
                logits = logits + (logits * 0.0).abs().sqrt()
            return self.action_dist.proba_distribution(action_logits=logits)

    model = model_of(A2C, BOX, TWO, policy=Rooted)
    rejected(model, sampled(), "its gradient is not finite with the initial", "row 0")
    model.policy.always = False
    sentence = "the norm of the gradient became nan in epoch 1"
    rejected(model, sampled(), sentence, batch_size=100, max_grad_norm=1.0)


def test_a_weight_that_is_nan_before_the_fit_is_named() -> None:
    model = model_of(ActorCritic, BOX, TWO)
    with torch.no_grad():
        model.policy.value_net.bias.fill_(np.nan)
    with pytest.raises(NonFiniteError, match=r"the weight value_net\.bias .* is NaN"):
        clone_behaviour(model, sampled())


class Bounded(BaseFeaturesExtractor):
    """Accepts NaN and infinite observations."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space, 2)

    def forward(self, observations: Tensor) -> Tensor:
        return observations.nan_to_num(0.0, 1.0, -1.0)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_extractor_that_accepts_them_is_cloned(algorithm: Any, bad: float) -> None:
    found = []
    for value in (bad, np.nan_to_num(bad, posinf=1.0, neginf=-1.0)):
        demos = sampled()
        assert isinstance(demos.observations, np.ndarray)
        demos.observations[::3, 1] = value
        kwargs = {"features_extractor_class": Bounded}
        model = model_of(algorithm, BOX, TWO, policy_kwargs=kwargs)
        result = clone_behaviour(model, demos, n_epochs=3, seed=0)
        assert np.isfinite(result.training_losses + result.held_out_losses).all()
        found.append(weights(model))
    assert equal(*found)


def test_an_infinite_observation_that_vec_normalize_clips_is_cloned() -> None:
    env = VecNormalize(DummyVecEnv([lambda: AnySpacesEnv(BOX, TWO)]))
    env.obs_rms.update(np.eye(2))
    demos = sampled()
    assert isinstance(demos.observations, np.ndarray)
    demos.observations[ROW] = np.inf
    model = A2C("MlpPolicy", env, device="cpu")
    clone_behaviour(model, demos, n_epochs=1)
    assert all(bool(w.isfinite().all()) for w in model.policy.parameters())


MASK = torch.tensor([0.0, -torch.inf, 0.0])
THREE = spaces.Discrete(3)


class Masked(torch.nn.Linear):
    """Masks action 1."""

    def forward(self, latent: Tensor) -> Tensor:
        return super().forward(latent) + MASK


@pytest.mark.parametrize("ent_coef", [0.0, 0.1])
@pytest.mark.parametrize("algorithm", [A2C, PPO, ActorCritic])
def test_masked_actions_are_accepted_unless_demonstrated(
    algorithm: Any, ent_coef: float
) -> None:
    model = model_of(algorithm, BOX, THREE)
    model.policy.action_net = Masked(64, 3)
    demos = sampled(BOX, TWO)
    given = replace(demos, actions=2 * (np.arange(60) % 2), action_space=THREE)
    result = clone_behaviour(model, given, n_epochs=3, ent_coef=ent_coef, seed=0)
    assert np.isfinite(result.training_losses + result.held_out_losses).all()
    given.actions[ROW] = 1
    for seed in range(4):
        # In the training rows or the held-out ones.
        sentence = "log pi(a|s)", NAME, "can take the action"
        rejected(model, given, *sentence, seed=seed, held_out_fraction=0.5)


def test_weights_may_be_infinite_if_they_were_before() -> None:
    model = model_of(A2C, BOX, THREE)
    with torch.no_grad():
        model.policy.action_net.bias[1] = -torch.inf
    demos = sampled(BOX, TWO)
    clone_behaviour(model, demos.observations, 2 * (np.arange(60) % 2), n_epochs=3)
    assert model.policy.action_net.bias[1] == -torch.inf


# Recording.


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("action_space", ACTION_SPACES, ids=str)
def test_a_controllers_action_that_is_not_finite_is_named(
    action_space: spaces.Space[Any], bad: float
) -> None:
    calls: list[int] = []

    def controller(obs: Any) -> Any:
        calls.append(1)
        action = np.array(action_space.sample(), dtype=np.float64)
        if len(calls) == 6:
            action[...] = bad
        return action

    env = DummyVecEnv([lambda: AnySpacesEnv(BOX, action_space)] * 2)
    with pytest.raises(
        NonFiniteError,
        match=r"the controller's actions must be finite .* environment 1 in step 2 of",
    ):
        record_demonstrations(env, controller, n_steps=9)


class AddsToThird(ScriptedEnv):
    """Episodes of four steps; adds to observation and reward of the third."""

    def __init__(self, observation: float = 0.0, reward: float = 0.0) -> None:
        super().__init__([4])
        self.added = observation, reward

    def step(self, action: Any) -> Any:
        obs, reward, *rest = super().step(action)
        if self.steps == 3:
            obs[1] += self.added[0]
            reward += self.added[1]
        return (obs, reward, *rest)


def one(obs: NDArray[np.float32]) -> int:
    return 1


def both(second: AddsToThird) -> Any:
    """Two environments, the second with a bad step."""
    return DummyVecEnv([lambda: ScriptedEnv([4]), lambda: second])


@pytest.mark.parametrize("amount", [{"n_steps": 9}, {"n_episodes": 2}], ids=str)
def test_an_environment_with_a_nan_observation_is_named(amount: Any) -> None:
    sentence = "environment's observations must be finite .* environment 1 in step 3"
    with pytest.raises(NonFiniteError, match=sentence):
        record_demonstrations(both(AddsToThird(observation=np.nan)), one, **amount)
    # Not if it is never recorded.
    record_demonstrations(both(AddsToThird(observation=np.nan)), one, n_steps=3)


def test_an_infinite_observation_is_recorded() -> None:
    found = record_demonstrations(AddsToThird(observation=np.inf), one, n_episodes=1)
    assert isinstance(found.observations, np.ndarray)
    assert found.observations[:, 1].tolist() == [0.0, 1.0, 2.0, np.inf]


@pytest.mark.parametrize("bad", BAD)
def test_an_environment_with_a_bad_reward_is_named(bad: float) -> None:
    sentence = "environment's rewards must be finite .* environment 1 in step 2"
    with pytest.raises(NonFiniteError, match=sentence):
        record_demonstrations(both(AddsToThird(reward=bad)), one, n_episodes=1)


def test_the_key_of_a_nan_dict_observation_is_named() -> None:
    class InDict(AnySpacesEnv):
        def step(self, action: Any) -> Any:
            obs, *rest = super().step(action)
            obs["place"][0] = np.nan
            return (obs, *rest)

    with pytest.raises(NonFiniteError, match=r"\['place'\] must be finite"):
        record_demonstrations(InDict(PAIR, TWO), lambda _: 1, n_steps=9)


def test_rows_are_named_by_episode_and_step() -> None:
    """With dummy steps, idle environments and unfinished episodes."""
    env = StaggeredVectorEnv([2, 3])
    found = record_demonstrations(env, one, n_episodes=2)
    assert found.episode_starts is not None
    assert np.flatnonzero(found.episode_starts).tolist() == [0, 2, 4, 7]
    assert found.row_name(5) == "step 1 of episode 2 (row 5)"
    envs = DummyVecEnv([lambda: ScriptedEnv([3]), lambda: ScriptedEnv([2])])
    found = record_demonstrations(envs, one, n_steps=4)
    assert found.episode_starts is not None
    assert np.flatnonzero(found.episode_starts).tolist() == [0, 3, 4, 6]
    with pytest.raises(ValueError, match="one entry of episode_starts for each"):
        Demonstrations(np.zeros((2, 1)), np.zeros(2), episode_starts=np.ones(3, bool))
