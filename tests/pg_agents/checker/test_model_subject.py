"""Models are measured on a copy, and are not changed."""

from __future__ import annotations

import copy
from collections import deque
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from pg_agents import REINFORCE, ActorCritic, RandomAgent, check_policy_gradient
from pg_agents.checker import CannotCheckError, GradientReport
from pg_agents.rollout.data import Batch
from pg_envs import sequence_mdp

ID = "pg_envs:PGToy-Sequence-v0"
INDEXED = sequence_mdp(observation="index")


def envs(n: int = 16) -> Any:
    return make_vec_env(ID, n)


def reinforce(algorithm: type[REINFORCE] = REINFORCE, **arguments: Any) -> REINFORCE:
    defaults: dict[str, Any] = {"gamma": 0.9, "weight_by_gamma_t": True, "seed": 0}
    return algorithm("MlpPolicy", envs(), **{**defaults, **arguments})


def checked(model: OnPolicyAlgorithm, **arguments: Any) -> GradientReport:
    """Checks with short episodes: the cost is rollouts (at least 64) times steps."""
    few: dict[str, Any] = {"n_episodes": 1024, "horizon": 6, "progress_bar": False}
    return check_policy_gradient(model, **{**few, **arguments})


# For tests in which the verdict does not matter.
QUICK: dict[str, Any] = {"n_episodes": 64, "horizon": 3}
# For slow tests.
LONG: dict[str, Any] = {"n_episodes": 768, "horizon": 12}


def key(report: GradientReport) -> str | None:
    return None if report.diagnosis is None else report.diagnosis.key


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        pytest.param(
            {"returns": "full_return", "weight_by_gamma_t": False},
            marks=pytest.mark.slow,
        ),
        pytest.param({"baseline": "leave_one_out"}, marks=pytest.mark.slow),
        {"baseline": "value"},
    ],
)
def test_reinforce_with_unbiased_settings_passes(arguments: dict[str, Any]) -> None:
    report = checked(reinforce(**arguments))
    assert report.unbiased and report.per == "episode"
    assert report.gamma == 0.9


def test_actor_critic_with_monte_carlo_returns_passes() -> None:
    model = ActorCritic(
        "MlpPolicy",
        envs(),
        gamma=0.9,
        n_episodes=1,
        weight_by_gamma_t=True,
        max_grad_norm=None,
        seed=0,
    )
    assert checked(model).unbiased


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"weight_by_gamma_t": False}, "gamma_dropped"),
        ({"standardize_returns": True}, "standardized"),
    ],
)
def test_biased_settings_are_identified(
    arguments: dict[str, Any], expected: str
) -> None:
    assert key(checked(reinforce(**arguments))) == expected


class WrongEntropySign(REINFORCE):
    """Subtracts the entropy bonus from the objective."""

    def loss(self, batch: Any) -> Any:
        loss, terms = super().loss(batch)
        return loss - 0.4 * terms["entropy_loss"], terms


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [(REINFORCE, "entropy_bonus"), (WrongEntropySign, "entropy_sign")],
)
def test_the_sign_of_the_entropy_bonus_is_identified(
    algorithm: type[REINFORCE], expected: str
) -> None:
    model = reinforce(algorithm, ent_coef=0.2)
    with torch.no_grad():
        # The entropy has no gradient at the initial, uniform policy.
        for weight in model.policy.action_net.parameters():
            weight.mul_(100.0)
    assert key(checked(model)) == expected


@pytest.mark.slow
def test_the_batch_mean_baseline_scales_the_gradient_by_1_minus_1_in_n() -> None:
    """Two episodes per update: half the gradient. Standard error of the factor 0.03."""
    model = REINFORCE(
        "MlpPolicy", envs(2), gamma=0.9, weight_by_gamma_t=True, baseline="mean", seed=0
    )
    report = checked(model, **LONG)
    assert report.verdict == "biased but aligned"
    assert report.factor == pytest.approx(0.5, abs=0.12)
    assert key(report) == "batch_mean_baseline"


class Flipped(REINFORCE):
    """A subclass with the wrong sign."""

    def loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, terms = super().loss(batch)
        return -loss, terms


class WithReplay(REINFORCE):
    """A subclass that replays the last eight rollouts without correction."""

    batches: deque[Batch]

    def loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if not hasattr(self, "batches"):
            self.batches = deque(maxlen=8)
        self.batches.append(batch)
        losses = [super(WithReplay, self).loss(old) for old in self.batches]
        return torch.stack([loss for loss, _ in losses]).mean(), losses[-1][1]


@pytest.mark.parametrize(
    ("subclass", "expected"), [(Flipped, "sign_flipped"), (WithReplay, "replay")]
)
def test_mistakes_in_subclasses_are_identified(
    subclass: type[REINFORCE], expected: str
) -> None:
    model = subclass("MlpPolicy", envs(), gamma=0.9, weight_by_gamma_t=True, seed=0)
    assert key(checked(model)) == expected


def test_a2c_is_biased_by_its_critic_and_by_gamma_t() -> None:
    def a2c(gamma: float) -> A2C:
        return A2C("MlpPolicy", envs(), gamma=gamma, max_grad_norm=1e9, seed=0)

    # A2C bootstraps at the time limit.
    learned = checked(a2c(0.9), bootstrap=True)
    assert not learned.unbiased and learned.per == "step"
    assert key(learned) == "critic"
    ideal = checked(a2c(0.9), bootstrap=True, critic="exact")
    assert not ideal.unbiased and key(ideal) == "gamma_dropped"


def test_trpo_trains_its_critic_with_an_exact_one_installed() -> None:
    """Its critic loss needs values with a gradient."""
    model = TRPO("MlpPolicy", envs(2), n_steps=16, batch_size=32, n_critic_updates=1)
    report = checked(model, **QUICK, bootstrap=True, critic="exact")
    assert report.per == "step"


@pytest.mark.slow
def test_a2c_is_unbiased_with_exact_values_and_without_a_discount() -> None:
    model = A2C("MlpPolicy", envs(8), gamma=1.0, max_grad_norm=1e9, seed=0)
    assert checked(model, **LONG, bootstrap=True, critic="exact").unbiased


def test_gradient_clipping_is_noted() -> None:
    report = checked(A2C("MlpPolicy", envs(), max_grad_norm=0.01, seed=0), **QUICK)
    assert any("100% of the updates" in note for note in report.notes)
    assert any("max_grad_norm=0.01" in note for note in report.notes)


@pytest.mark.slow
def test_ppo_and_trpo_are_measured() -> None:
    settings: dict[str, Any] = {"n_steps": 16, "gamma": 0.9, "seed": 0}
    for model in (
        PPO("MlpPolicy", envs(8), batch_size=128, max_grad_norm=1e9, **settings),
        TRPO("MlpPolicy", envs(8), batch_size=128, n_critic_updates=1, **settings),
    ):
        report = checked(model, **LONG, bootstrap=True)
        # Standardised advantages change the norm of the gradient.
        assert report.verdict == "biased but aligned"
        assert report.factor > 1.2


def test_a_tabular_policy_is_measured() -> None:
    arguments: dict[str, Any] = {"observation": "index"}
    model = REINFORCE(
        "TabularPolicy",
        make_vec_env(ID, 16, env_kwargs=arguments),
        gamma=0.9,
        weight_by_gamma_t=True,
        seed=0,
    )
    assert checked(model, env=INDEXED).unbiased


def state_of(model: OnPolicyAlgorithm) -> dict[str, Any]:
    return {
        "parameters": [p.detach().clone() for p in model.policy.parameters()],
        "optimizer": copy.deepcopy(model.policy.optimizer.state_dict()),
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "observations": np.array(model._last_obs),
        "infos": list(model.ep_info_buffer or ()),
    }


@pytest.mark.parametrize("algorithm", [REINFORCE, A2C])
def test_the_model_is_not_changed(algorithm: type[OnPolicyAlgorithm]) -> None:
    model = algorithm("MlpPolicy", envs(4), seed=0).learn(500)  # type: ignore[call-arg]
    before, random = state_of(model), torch.get_rng_state()
    checked(model, **QUICK)
    after = state_of(model)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(
        torch.equal(a, b)
        for a, b in zip(before["parameters"], after["parameters"], strict=True)
    )
    for name in ("steps", "updates", "infos"):
        assert before[name] == after[name]
    assert np.array_equal(before["observations"], after["observations"])
    assert str(before["optimizer"]) == str(after["optimizer"])
    model.learn(100)


def test_the_same_seed_gives_the_same_report() -> None:
    one, two = (checked(reinforce(), **QUICK, seed=5) for _ in range(2))
    assert one.cosine == two.cosine and one.p_value == two.p_value


def test_a_value_loss_on_shared_parameters_is_noted() -> None:
    model = ActorCritic(
        "MlpPolicy",
        envs(),
        n_episodes=1,
        policy_kwargs={"critic": "shared", "net_arch": [16]},
        max_grad_norm=None,
        vf_coef=5.0,
        seed=0,
    )
    report = checked(model, **QUICK)
    assert any("A value loss on parameters" in note for note in report.notes)


class NoStep(REINFORCE):
    """Never calls optimizer.step()."""

    def train(self) -> None:
        self._n_updates += 1


class Nan(REINFORCE):
    """Has a NaN loss."""

    def loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, terms = super().loss(batch)
        return loss * float("nan"), terms


@pytest.mark.parametrize(
    ("subclass", "message"),
    [(NoStep, "gave no optimiser a gradient"), (Nan, "NaN or infinite")],
)
def test_models_without_a_gradient_are_rejected(
    subclass: type[REINFORCE], message: str
) -> None:
    with pytest.raises(CannotCheckError, match=message):
        checked(subclass("MlpPolicy", envs(2), seed=0))


def test_models_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(CannotCheckError, match="observation space Box"):
        checked(reinforce(), env="FrozenLake-v1")
    with pytest.raises(CannotCheckError, match="no get_distribution"):
        checked(RandomAgent("MlpPolicy", ID))
    with pytest.raises(TypeError, match="DQN is not an on-policy algorithm"):
        check_policy_gradient(DQN("MlpPolicy", ID, buffer_size=10))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be an instance, got the <class"):
        check_policy_gradient(A2C)  # type: ignore[arg-type]


def test_continuous_actions_are_rejected() -> None:
    class Steering(gymnasium.Env[Any, Any]):
        observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

        def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
            return np.zeros(1, np.float32), {}

    with pytest.raises(CannotCheckError, match="action space Box"):
        checked(A2C("MlpPolicy", Steering()))


def test_exact_values_need_an_observation_per_state() -> None:
    tables = sequence_mdp()
    alike = type(tables)(
        tables.transition,
        tables.reward,
        tables.terminal,
        tables.initial_distribution,
        np.array([[-1.0], [-1.0], [1.0]], np.float32),
    )
    with pytest.raises(CannotCheckError, match="different observation in every state"):
        checked(A2C("MlpPolicy", envs(2), seed=0), env=alike, critic="exact")
