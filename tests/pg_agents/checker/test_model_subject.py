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
    """Checks on one task, unless told otherwise."""
    few: dict[str, Any] = {
        "env": "PGToy-Sequence-v0",
        "target": "exact",
        "progress_bar": False,
    }
    return check_policy_gradient(model, **{**few, **arguments})


# For tests in which the verdict does not matter.
QUICK: dict[str, Any] = {"n_episodes": 64, "horizon": 3}


def keys(report: GradientReport) -> set[str]:
    """The keys that are asserted."""
    assert not report.ties
    return {f.key for f in report.findings if f.kind != "factor"}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"returns": "full_return", "weight_by_gamma_t": False},
        {"baseline": "value"},
    ],
)
def test_reinforce_with_unbiased_settings_is_right(arguments: dict[str, Any]) -> None:
    report = checked(reinforce(**arguments))
    assert report.right and report.formula is not None
    assert report.tasks[0].gamma == 0.9
    assert keys(report) == set()


def test_leave_one_out_is_right() -> None:
    """It is the batch mean's baseline but for a factor."""
    report = checked(reinforce(baseline="leave_one_out"))
    assert report.right and keys(report) <= {"batch_mean_baseline"}


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "verdict"), [(1.0, "undecided"), (-1.0, "wrong")])
def test_the_mean_alone_calls_a_wrong_gradient_wrong(sign: float, verdict: str) -> None:
    """The gradient is random beyond the episodes: no formula reproduces it.

    So few episodes cannot exclude a bias of 5 %.
    """

    class Noisy(REINFORCE):
        def loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            loss, terms = super().loss(batch)
            noise = (torch.rand(()) - 0.5) * terms["entropy_loss"]
            return sign * loss + noise, terms

    report = checked(reinforce(Noisy), horizon=6, n_episodes=1024)
    assert report.verdict == verdict and report.formula is None
    if verdict == "undecided":
        assert report.tasks[0].more_episodes is not None


def test_actor_critic_with_monte_carlo_returns_is_right() -> None:
    model = ActorCritic(
        "MlpPolicy",
        envs(),
        gamma=0.9,
        n_episodes=1,
        weight_by_gamma_t=True,
        max_grad_norm=None,
        seed=0,
    )
    assert checked(model).right


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"weight_by_gamma_t": False}, {"gamma_dropped"}),
    ],
)
def test_biased_settings_are_named(
    arguments: dict[str, Any], expected: set[str]
) -> None:
    model = reinforce(**arguments)
    report = checked(model)
    assert keys(report) == expected and report.verdict == "wrong"
    assert checked(model, target="algorithm").right


class WrongEntropySign(REINFORCE):
    """Subtracts the entropy bonus from the objective."""

    def loss(self, batch: Any) -> Any:
        loss, terms = super().loss(batch)
        return loss - 0.4 * terms["entropy_loss"], terms


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [(REINFORCE, "entropy_bonus"), (WrongEntropySign, "entropy_sign")],
)
def test_the_sign_of_the_entropy_bonus_is_named(
    algorithm: type[REINFORCE], expected: str
) -> None:
    model = reinforce(algorithm, ent_coef=0.2)
    with torch.no_grad():
        # The entropy has no gradient at the initial, uniform policy.
        for weight in model.policy.action_net.parameters():
            weight.mul_(100.0)
    assert keys(checked(model)) == {expected}


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


def test_a_mistake_in_a_subclass_is_named() -> None:
    model = Flipped("MlpPolicy", envs(), gamma=0.9, weight_by_gamma_t=True, seed=0)
    assert keys(checked(model)) == {"sign_flipped"}
    assert checked(model, target="algorithm").verdict == "wrong"


@pytest.mark.slow
def test_replay_in_a_subclass_is_named() -> None:
    model = WithReplay("MlpPolicy", envs(), gamma=0.9, weight_by_gamma_t=True, seed=0)
    report = checked(model, horizon=6, n_episodes=1024)
    assert report.verdict == "wrong" and keys(report) == {"replay"}


SB3: dict[str, Any] = {
    "A2C": lambda: A2C("MlpPolicy", envs(2), seed=0),
    "PPO": lambda: PPO("MlpPolicy", envs(2), n_steps=64, batch_size=32, seed=0),
    "TRPO": lambda: TRPO("MlpPolicy", envs(2), n_steps=64, batch_size=64, seed=0),
}


@pytest.mark.parametrize("name", SB3)
def test_the_algorithms_of_sb3_are_right_for_the_algorithm(name: str) -> None:
    """gamma^t, the critic's error, and for PPO and TRPO standardised advantages."""
    report = checked(SB3[name](), target="algorithm", bootstrap=True)
    assert report.right and report.formula is not None
    expected = {"gamma_dropped", "learned_critic"}
    assert keys(report) == expected | (
        set() if name == "A2C" else {"advantages_standardized"}
    )
    assert report.tasks[0].verdict == "wrong"


def test_an_exact_critic_leaves_gamma_t() -> None:
    model = A2C("MlpPolicy", envs(4), gamma=0.9, seed=0)
    report = checked(model, bootstrap=True, critic="exact")
    assert keys(report) == {"gamma_dropped"}


def test_a2c_is_right_with_exact_values_and_without_a_discount() -> None:
    model = A2C("MlpPolicy", envs(8), gamma=1.0, seed=0)
    assert checked(model, bootstrap=True, critic="exact").right


def test_gradients_are_compared_before_clipping() -> None:
    report = checked(
        A2C("MlpPolicy", envs(4), max_grad_norm=0.01, seed=0), target="algorithm"
    )
    assert report.right
    assert any("max_grad_norm=0.01 clips" in note for note in report.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("observation_space", "n_actions"),
    [
        (spaces.Box(-np.inf, np.inf, (4,), np.float32), 2),
        (spaces.Discrete(7), 4),
    ],
)
def test_the_battery_has_the_spaces_of_the_model(
    observation_space: spaces.Space[Any], n_actions: int
) -> None:
    class Elsewhere(gymnasium.Env[Any, Any]):
        action_space = spaces.Discrete(n_actions)

        def __init__(self) -> None:
            self.observation_space = observation_space

        def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
            return self.observation_space.sample(), {}

    model = REINFORCE("MlpPolicy", Elsewhere(), weight_by_gamma_t=True, seed=0)
    report = check_policy_gradient(model, target="exact", progress_bar=False)
    assert report.right and len(report.tasks) == 3
    assert report.tasks[0].table is not None
    assert report.tasks[0].table.exact.shape[1] == n_actions


def test_a_tabular_policy_is_measured() -> None:
    arguments: dict[str, Any] = {"observation": "index"}
    model = REINFORCE(
        "TabularPolicy",
        make_vec_env(ID, 16, env_kwargs=arguments),
        gamma=0.9,
        weight_by_gamma_t=True,
        seed=0,
    )
    assert checked(model, env=INDEXED).right


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


@pytest.mark.slow
def test_the_same_seed_gives_the_same_report() -> None:
    one, two = (checked(reinforce(), seed=5).to_dict() for _ in range(2))
    assert one["tasks"] == two["tasks"] and one["residual"] == two["residual"]


@pytest.mark.slow
def test_a_value_loss_on_shared_parameters_is_told_apart() -> None:
    model = ActorCritic(
        "MlpPolicy",
        envs(),
        n_episodes=1,
        gamma=0.9,
        weight_by_gamma_t=True,
        policy_kwargs={"critic": "shared", "net_arch": [32]},
        max_grad_norm=None,
        vf_coef=5.0,
        seed=0,
    )
    assert checked(model).right


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

    model = A2C("MlpPolicy", Steering())
    with pytest.raises(CannotCheckError, match="action space Box"):
        checked(model)
    with pytest.raises(CannotCheckError, match="actions are Box"):
        check_policy_gradient(model)


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
