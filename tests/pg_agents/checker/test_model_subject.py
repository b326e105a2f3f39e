"""Models are measured as they are, on a copy, and stay as they were."""

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


def reinforce(**arguments: Any) -> REINFORCE:
    defaults: dict[str, Any] = {"gamma": 0.9, "weight_by_gamma_t": True, "seed": 0}
    return REINFORCE("MlpPolicy", envs(), **{**defaults, **arguments})


def checked(model: OnPolicyAlgorithm, **arguments: Any) -> GradientReport:
    """Checks it at a time limit of 6 steps, part of the task: short episodes.

    What a check takes is rollouts times steps, 64 rollouts at least; episodes side by
    side cost next to nothing.
    """
    few: dict[str, Any] = {"n_episodes": 1024, "horizon": 6, "progress_bar": False}
    return check_policy_gradient(model, **{**few, **arguments})


# Where the verdict does not matter: the fewest rollouts, and short ones.
QUICK: dict[str, Any] = {"n_episodes": 64, "horizon": 3}
# What the slow ones can afford.
LONG: dict[str, Any] = {"n_episodes": 768, "horizon": 12}


def key(report: GradientReport) -> str | None:
    return None if report.diagnosis is None else report.diagnosis.key


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        # tests/test_unbiasedness.py has their exact gradients, and the checker goes the
        # way of the other two to them.
        pytest.param(
            {"returns": "full_return", "weight_by_gamma_t": False},
            marks=pytest.mark.slow,
        ),
        pytest.param({"baseline": "leave_one_out"}, marks=pytest.mark.slow),
        {"baseline": "value"},
    ],
)
def test_reinforce_in_its_unbiased_settings_passes(arguments: dict[str, Any]) -> None:
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
def test_biased_settings_are_named(arguments: dict[str, Any], expected: str) -> None:
    assert key(checked(reinforce(**arguments))) == expected


@pytest.mark.parametrize(
    ("ent_coef", "expected"), [(0.2, "entropy_bonus"), (-0.2, "entropy_sign")]
)
def test_the_entropys_sign_is_seen(ent_coef: float, expected: str) -> None:
    model = reinforce()
    # The constructor refuses a negative one: planted by hand.
    model.ent_coef = ent_coef
    with torch.no_grad():
        # At the uniform policy, where it begins, entropy has no gradient.
        for weight in model.policy.action_net.parameters():
            weight.mul_(100.0)
    assert key(checked(model)) == expected


# What makes it dear is the factor's standard error. The agent's own factor is exact in
# test_reinforce.py, test_batch_mean_baseline_scales_the_gradient_by_1_minus_1_in_n; the
# name is found in test_check.py (batch_mean_baseline, mean_of_all_steps).
@pytest.mark.slow
def test_the_batch_mean_baseline_is_short_by_one_in_n() -> None:
    """Two episodes per update: half the gradient. Standard error of the factor 0.03."""
    model = REINFORCE(
        "MlpPolicy",
        envs(2),
        gamma=0.9,
        weight_by_gamma_t=True,
        baseline="mean",
        seed=0,
    )
    report = checked(model, **LONG)
    assert report.verdict == "biased but aligned"
    assert report.factor == pytest.approx(0.5, abs=0.12)
    assert key(report) == "batch_mean_baseline"


class Flipped(REINFORCE):
    """A user's subclass that forgot the minus."""

    def loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, terms = super().loss(batch)
        return -loss, terms


class WithMemory(REINFORCE):
    """A user's subclass that learns from the last eight rollouts as from new ones."""

    kept: deque[Batch]

    def loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        if not hasattr(self, "kept"):
            self.kept = deque(maxlen=8)
        self.kept.append(batch)
        losses = [super(WithMemory, self).loss(old) for old in self.kept]
        return torch.stack([loss for loss, _ in losses]).mean(), losses[-1][1]


@pytest.mark.parametrize(
    ("subclass", "expected"), [(Flipped, "sign_flipped"), (WithMemory, "replay")]
)
def test_mistakes_in_a_users_subclass_are_named(
    subclass: type[REINFORCE], expected: str
) -> None:
    model = subclass("MlpPolicy", envs(), gamma=0.9, weight_by_gamma_t=True, seed=0)
    assert key(checked(model)) == expected


def test_a2c_is_biased_by_its_critic_and_by_gamma_t_alone() -> None:
    def a2c(gamma: float) -> A2C:
        return A2C("MlpPolicy", envs(), gamma=gamma, max_grad_norm=1e9, seed=0)

    # A2C takes a time limit for no part of the task.
    own = checked(a2c(0.9), bootstrap=True)
    assert not own.unbiased and own.per == "step"
    assert key(own) == "critic"
    ideal = checked(a2c(0.9), bootstrap=True, critic="exact")
    assert not ideal.unbiased and key(ideal) == "gamma_dropped"


def test_trpo_learns_its_critic_beside_an_exact_one() -> None:
    """Its critic's loss asks for values too, and needs them to have a gradient."""
    # Rollouts of five episodes and more: the fewest of them will do.
    model = TRPO("MlpPolicy", envs(2), n_steps=16, batch_size=32, n_critic_updates=1)
    report = checked(model, **QUICK, bootstrap=True, critic="exact")
    assert report.per == "step"


@pytest.mark.slow
def test_a2c_is_unbiased_with_exact_values_and_without_a_discount() -> None:
    model = A2C("MlpPolicy", envs(8), gamma=1.0, max_grad_norm=1e9, seed=0)
    assert checked(model, **LONG, bootstrap=True, critic="exact").unbiased


def test_clipping_of_the_gradient_is_said() -> None:
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
        # Standardised advantages: the direction is about right, the length is not.
        assert report.verdict == "biased but aligned"
        assert report.factor > 1.2


def test_a_table_of_logits_is_measured_too() -> None:
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
def test_the_subject_does_not_change(algorithm: type[OnPolicyAlgorithm]) -> None:
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


def test_a_value_loss_on_shared_parameters_is_said() -> None:
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
    """Never lets an optimiser step."""

    def train(self) -> None:
        self._n_updates += 1


class Nan(REINFORCE):
    """Loses itself."""

    def loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss, terms = super().loss(batch)
        return loss * float("nan"), terms


@pytest.mark.parametrize(
    ("subclass", "message"),
    [(NoStep, "gave no optimiser a gradient"), (Nan, "NaN or infinite")],
)
def test_models_without_a_gradient_are_named(
    subclass: type[REINFORCE], message: str
) -> None:
    with pytest.raises(CannotCheckError, match=message):
        checked(subclass("MlpPolicy", envs(2), seed=0))


def test_models_that_do_not_fit_are_named() -> None:
    with pytest.raises(CannotCheckError, match="observation space Box"):
        checked(reinforce(), env="FrozenLake-v1")
    with pytest.raises(CannotCheckError, match="no get_distribution"):
        checked(RandomAgent("MlpPolicy", ID))
    with pytest.raises(TypeError, match="DQN is no on-policy algorithm"):
        check_policy_gradient(DQN("MlpPolicy", ID, buffer_size=10))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be an instance, got the <class"):
        check_policy_gradient(A2C)  # type: ignore[arg-type]


def test_continuous_actions_are_refused() -> None:
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
