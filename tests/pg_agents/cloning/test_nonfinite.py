"""Numbers that are not finite, in demonstrations and in the fit of a policy."""

from __future__ import annotations

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
    MlpPolicy,
    clone_behaviour,
    record_demonstrations,
)
from pg_agents.common.nonfinite import NonFiniteError
from tests.pg_agents.cloning.any_spaces import AnySpacesEnv
from tests.pg_agents.cloning.clones import ARM, BOX, PAIR, TWO, same, sampled, weights
from tests.pg_agents.envs import ScriptedEnv, StaggeredVectorEnv

ALGORITHMS = [REINFORCE, ActorCritic, A2C, PPO]
ACTIONS = [TWO, ARM, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)]
BAD = [np.nan, np.inf, -np.inf]
# Sampled demonstrations are of episodes of five steps.
ROW, PLACE = 17, "step 2 of episode 3 (row 17)"


def model_of(algorithm: Any, *kinds: spaces.Space[Any], **arguments: Any) -> Any:
    dictionary = isinstance(kinds[0], spaces.Dict)
    arguments.setdefault("policy", "MultiInputPolicy" if dictionary else "MlpPolicy")
    if algorithm is PPO:
        arguments |= {"n_steps": 64, "batch_size": 64}
    env = AnySpacesEnv(*kinds)
    return algorithm(env=env, seed=0, device="cpu", **arguments)


def refused(
    model: Any, shown: Demonstrations, *parts: str, **settings: Any
) -> NonFiniteError:
    """Returns the error, which has parts in its message; the model is as it was."""
    before = weights(model)
    with pytest.raises(NonFiniteError) as caught:
        clone_behaviour(model, shown, **settings)
    for part in parts:
        assert part in str(caught.value)
    assert same(weights(model), before)
    assert all(parameter.grad is None for parameter in model.policy.parameters())
    return caught.value


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("action_space", ACTIONS, ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_observation_is_named(
    algorithm: Any, action_space: spaces.Space[Any], bad: float
) -> None:
    shown = sampled(BOX, action_space)
    assert isinstance(shown.observations, np.ndarray)
    shown.observations[[ROW, ROW + 20], 1] = bad
    model = model_of(algorithm, BOX, action_space)
    # Be it among those fitted to or those held out.
    for seed in range(3):
        refused(
            model,
            shown,
            "an observation that is not finite",
            PLACE,
            str(bad),
            "features extractor",
            seed=seed,
            held_out_fraction=0.5,
        )


def test_one_of_a_dict_is_named() -> None:
    shown = sampled(PAIR, TWO)
    assert isinstance(shown.observations, dict)
    shown.observations["place"][ROW, 0] = np.inf
    refused(model_of(ActorCritic, PAIR, TWO), shown, PLACE, "'place'")


def test_without_episodes_it_is_the_row() -> None:
    seen, done = np.zeros((20, 2)), np.zeros(20)
    seen[ROW] = np.nan
    refused(model_of(A2C, BOX, TWO), Demonstrations(seen, done), "the first is row 17:")
    starts = np.arange(20) == ROW + 1
    shown = Demonstrations(seen, done, episode_starts=starts)
    refused(model_of(A2C, BOX, TWO), shown, "the first is row 17:")


@pytest.mark.parametrize("algorithm", [ActorCritic, A2C])
def test_a_number_too_large_for_the_policy_is_named(algorithm: Any) -> None:
    """It is finite in double precision, or as long as nothing is multiplied by it."""
    for large in (1e300, 3e38):
        shown = sampled(BOX, ARM)
        observations = np.asarray(shown.observations, dtype=np.float64)
        observations[ROW] = large
        model = model_of(
            algorithm, BOX, ARM, policy_kwargs={"activation_fn": torch.nn.ReLU}
        )
        given = Demonstrations(observations, shown.actions, episode_starts=None)
        refused(model, given, "row 17:")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("action_space", ACTIONS, ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_action_is_named(
    algorithm: Any, action_space: spaces.Space[Any], bad: float
) -> None:
    shown = sampled(BOX, action_space)
    actions = shown.actions.astype(np.float64)
    actions.reshape(len(actions), -1)[ROW, -1] = bad
    starts = shown.episode_starts
    given = Demonstrations(shown.observations, actions, episode_starts=starts)
    model = model_of(algorithm, BOX, action_space)
    refused(model, given, "actions must be finite", f"the first is {PLACE}", str(bad))


@pytest.mark.parametrize(
    "settings", [{}, {"held_out_fraction": 0.0}, {"max_grad_norm": 0.5}], ids=str
)
@pytest.mark.parametrize("action_space", ACTIONS, ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_step_size_that_diverges_is_named(
    algorithm: Any,
    action_space: spaces.Space[Any],
    settings: dict[str, Any],
) -> None:
    # Actions that differ: where all are alike, certainty is the solution.
    shown = sampled(BOX, action_space)
    action_space.seed(0)
    actions = np.stack([action_space.sample() for _ in range(len(shown))])
    given = Demonstrations(shown.observations, actions)
    kwargs = {"activation_fn": torch.nn.ReLU}
    model = model_of(algorithm, BOX, action_space, policy_kwargs=kwargs)
    error = refused(
        model,
        given,
        "learning_rate=1e+30 may be too large",
        learning_rate=1e30,
        patience=None,
        **settings,
    )
    assert "became" in str(error) or "gives no probabilities" in str(error)


def test_a_weight_that_is_spoilt_after_the_last_update_is_named() -> None:
    """Nothing is evaluated any more that would show it."""

    class Rots(ActorCriticPolicy):
        def evaluate_actions(self, obs: Any, actions: Tensor) -> Any:
            found = super().evaluate_actions(obs, actions)
            with torch.no_grad():
                self.value_net.bias.fill_(torch.inf)
            return found

    model = model_of(A2C, BOX, TWO, policy=Rots)
    sentence = "the weight value_net.bias is not finite any more in epoch 1"
    refused(model, sampled(), sentence, n_epochs=1, held_out_fraction=0.0)


def test_a_gradient_that_is_not_finite_stops_the_fit() -> None:
    """The loss is finite, of which the gradient at 0 is not."""

    class Rooted(ActorCriticPolicy):
        def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Any:
            logits = self.action_net(latent_pi)
            root = (logits * 0.0).abs().sqrt()
            return self.action_dist.proba_distribution(action_logits=logits + root)

    model = model_of(A2C, BOX, TWO, policy=Rooted)
    refused(model, sampled(), "in epoch 1", "its gradient is not finite", "row 0")
    sentence = "the norm of the gradient became nan in epoch 1"
    refused(model, sampled(), sentence, "row 0", max_grad_norm=1.0)


def test_a_model_that_is_spoilt_already_is_named() -> None:
    model = model_of(ActorCritic, BOX, TWO)
    with torch.no_grad():
        model.policy.value_net.bias.fill_(np.nan)
    with pytest.raises(NonFiniteError, match=r"the weight value_net\.bias .* is NaN"):
        clone_behaviour(model, sampled())


class Bounded(BaseFeaturesExtractor):
    """Knows what to do with numbers that are not finite."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space, 2)

    def forward(self, observations: Tensor) -> Tensor:
        return observations.nan_to_num(0.0, 1.0, -1.0)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_extractor_that_takes_them_is_cloned_as_with_what_it_makes_of_them(
    algorithm: Any, bad: float
) -> None:
    found = []
    for value in (bad, np.nan_to_num(bad, posinf=1.0, neginf=-1.0)):
        shown = sampled()
        assert isinstance(shown.observations, np.ndarray)
        shown.observations[::3, 1] = value
        kwargs = {"features_extractor_class": Bounded}
        model = model_of(algorithm, BOX, TWO, policy_kwargs=kwargs)
        result = clone_behaviour(model, shown, n_epochs=3, seed=0)
        assert np.isfinite(result.training_losses + result.held_out_losses).all()
        found.append(weights(model))
    assert same(*found)


def test_an_infinite_observation_that_vec_normalize_clips_is_cloned() -> None:
    env = VecNormalize(DummyVecEnv([lambda: AnySpacesEnv(BOX, TWO)]))
    env.obs_rms.update(np.eye(2))
    shown = sampled()
    assert isinstance(shown.observations, np.ndarray)
    shown.observations[ROW] = np.inf
    model = A2C("MlpPolicy", env, device="cpu")
    clone_behaviour(model, shown, n_epochs=1)
    assert all(bool(w.isfinite().all()) for w in model.policy.parameters())


MASK = torch.tensor([0.0, -torch.inf, 0.0])
THREE = spaces.Discrete(3)


class Masked(torch.nn.Module):
    """Never takes action 1."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits + MASK


class MaskedSB3(ActorCriticPolicy):
    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = torch.nn.Sequential(self.action_net, Masked())


class MaskedOurs(MlpPolicy):
    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = torch.nn.Sequential(self.action_net, Masked())


@pytest.mark.parametrize("ent_coef", [0.0, 0.1])
@pytest.mark.parametrize(
    ("algorithm", "policy"),
    [(A2C, MaskedSB3), (PPO, MaskedSB3), (ActorCritic, MaskedOurs)],
)
def test_masked_actions_are_legal_unless_they_are_demonstrated(
    algorithm: Any, policy: Any, ent_coef: float
) -> None:
    model = model_of(algorithm, BOX, THREE, policy=policy)
    shown = sampled(BOX, TWO)
    done = 2 * (np.arange(len(shown)) % 2)
    given = Demonstrations(
        shown.observations, done, episode_starts=shown.episode_starts
    )
    result = clone_behaviour(model, given, n_epochs=3, ent_coef=ent_coef, seed=0)
    assert np.isfinite(result.training_losses + result.held_out_losses).all()
    given.actions[ROW] = 1
    for seed in range(4):
        # Fitted to or held out.
        sentence = "log pi(a|s)", PLACE, "can take the action"
        refused(model, given, *sentence, seed=seed, held_out_fraction=0.5)


def test_a_weight_that_was_infinite_may_stay_so() -> None:
    model = model_of(A2C, BOX, THREE)
    with torch.no_grad():
        model.policy.action_net.bias[1] = -torch.inf
    shown = sampled(BOX, TWO)
    clone_behaviour(model, shown.observations, 2 * (np.arange(60) % 2), n_epochs=3)
    assert model.policy.action_net.bias[1] == -torch.inf


# Recording.


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("action_space", ACTIONS, ids=str)
def test_a_controller_whose_action_is_not_finite_is_named(
    action_space: spaces.Space[Any], bad: float
) -> None:
    calls: list[int] = []

    def controller(seen: Any) -> Any:
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


class Spoils(ScriptedEnv):
    """Episodes of four steps, the third of which spoils something."""

    def __init__(self, observation: float = 0.0, reward: float = 0.0) -> None:
        super().__init__([4])
        self.spoilt = observation, reward

    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        if self.steps == 3:
            seen[1] += self.spoilt[0]
            reward += self.spoilt[1]
        return (seen, reward, *rest)


def one(seen: NDArray[np.float32]) -> int:
    return 1


def both(second: Spoils) -> Any:
    """Two environments, of which the second spoils something."""
    return DummyVecEnv([lambda: ScriptedEnv([4]), lambda: second])


@pytest.mark.parametrize("amount", [{"n_steps": 9}, {"n_episodes": 2}], ids=str)
def test_an_environment_whose_observation_is_nan_is_named(amount: Any) -> None:
    sentence = "environment's observations must be finite .* environment 1 in step 3"
    with pytest.raises(NonFiniteError, match=sentence):
        record_demonstrations(both(Spoils(observation=np.nan)), one, **amount)
    # What is never recorded does not matter.
    record_demonstrations(both(Spoils(observation=np.nan)), one, n_steps=3)


def test_an_infinite_observation_is_recorded() -> None:
    found = record_demonstrations(Spoils(observation=np.inf), one, n_episodes=1)
    assert isinstance(found.observations, np.ndarray)
    assert found.observations[:, 1].tolist() == [0.0, 1.0, 2.0, np.inf]


@pytest.mark.parametrize("bad", BAD)
def test_a_reward_that_is_not_finite_is_named(bad: float) -> None:
    sentence = "environment's rewards must be finite .* environment 1 in step 2"
    with pytest.raises(NonFiniteError, match=sentence):
        record_demonstrations(both(Spoils(reward=bad)), one, n_episodes=1)


def test_an_entry_of_a_dict_is_named() -> None:
    class InDict(AnySpacesEnv):
        def step(self, action: Any) -> Any:
            seen, *rest = super().step(action)
            seen["place"][0] = np.nan
            return (seen, *rest)

    with pytest.raises(NonFiniteError, match=r"\['place'\] must be finite"):
        record_demonstrations(InDict(PAIR, TWO), lambda _: 1, n_steps=9)


def test_rows_of_recordings_are_called_by_episode_and_step() -> None:
    """With dummy steps, environments that idle and unfinished episodes."""
    env = StaggeredVectorEnv([2, 3])
    found = record_demonstrations(env, one, n_episodes=2)
    assert found.episode_starts is not None
    assert np.flatnonzero(found.episode_starts).tolist() == [0, 2, 4, 7]
    assert found.place(5) == "step 1 of episode 2 (row 5)"
    envs = DummyVecEnv([lambda: ScriptedEnv([3]), lambda: ScriptedEnv([2])])
    found = record_demonstrations(envs, one, n_steps=4)
    assert found.episode_starts is not None
    assert np.flatnonzero(found.episode_starts).tolist() == [0, 3, 4, 6]
    with pytest.raises(ValueError, match="episode_starts must be as many as actions"):
        Demonstrations(np.zeros((2, 1)), np.zeros(2), episode_starts=np.ones(3, bool))
