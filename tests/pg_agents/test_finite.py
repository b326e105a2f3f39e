"""The loss over (observation, action) is the loss over all steps, and so are draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from pg_agents import REINFORCE, ActorCritic
from pg_agents.batches import Batch
from pg_agents.finite import FinitePolicy
from pg_agents.policies import MlpPolicy
from pg_agents.policy_gradient import PolicyGradientAlgorithm
from pg_envs import make_torch_vec

# Environments, and steps of each: as many steps as there are pairs, and more. Episodes
# of FrozenLake and Taxi are cut short, so that some are truncated.
Setting = tuple[str, int, int, dict[str, Any]]
SEQUENCE: Setting = ("PGToy-Sequence-v0", 16, 12, {})
# A lake with more goals than usual, which are reached by chance.
GOALS = {"desc": ["SFFF", "FHFF", "FFGF", "HFFG"], "max_episode_steps": 12}
LAKE = ("FrozenLake-v1", 128, 30, GOALS)
TAXI = ("Taxi-v4", 256, 30, {"max_episode_steps": 13})
PPO = {"clip_range": 0.1, "n_epochs": 3, "learning_rate": 0.02}
MODELS: list[tuple[type[PolicyGradientAlgorithm], dict[str, Any]]] = [
    (REINFORCE, {}),
    (REINFORCE, {"baseline": "mean", "ent_coef": 0.1}),
    (REINFORCE, {"baseline": "value", "bootstrap": True, **PPO}),
    (REINFORCE, {"normalize_advantage": True, "returns": "full_return"}),
    (REINFORCE, {"weight_by_gamma_t": True, "gamma": 0.8, **PPO}),
    (ActorCritic, {}),
    (ActorCritic, {"estimator": "td", "ent_coef": 0.05, "target_kl": 0.01, **PPO}),
    (ActorCritic, {"clip_range_vf": 0.05, "standardize_returns": True, **PPO}),
    (ActorCritic, {"normalize_advantage": True, "gae_lambda": 0.9, **PPO}),
    (
        ActorCritic,
        {"bootstrap_truncated": False, "policy_kwargs": {"critic": "shared"}},
    ),
]


def new(
    kind: type[PolicyGradientAlgorithm],
    env: Setting = SEQUENCE,
    policy: Any = "MlpPolicy",
    **settings: Any,
) -> PolicyGradientAlgorithm:
    name, n_envs, n_steps, arguments = env
    vector = make_torch_vec(name, n_envs, "cpu", **arguments)
    given: dict[str, Any] = {"n_steps": n_steps, "seed": 3, "device": "cpu", **settings}
    return kind(policy, vector, **given)


def rolled_out(model: PolicyGradientAlgorithm) -> PolicyGradientAlgorithm:
    """Collects one rollout, from which nothing has been learnt yet."""
    _, callback = model._setup_learn(10**6)
    assert model.env is not None
    buffer = model.rollout_buffer
    assert model.collect_rollouts(model.env, callback, buffer, model.n_steps)
    return model


def loss_and_gradients(
    model: PolicyGradientAlgorithm, batch: Batch
) -> tuple[dict[str, Tensor], list[Tensor]]:
    model.policy.optimizer.zero_grad()
    loss, terms = model.loss(batch)
    loss.backward()
    parameters = model.policy.parameters()
    gradients = [p.grad.clone() for p in parameters if p.grad is not None]
    return {name: term.detach() for name, term in terms.items()}, gradients


def check_equal(model: PolicyGradientAlgorithm) -> dict[str, Tensor]:
    """Compares the summary with all steps; returns the terms of the loss.

    Both add float32 numbers in another order: thousands of them, of which advantages
    cancel. An error of 2e-5 of the largest number of a tensor is that rounding.
    """
    summary = model._summary()
    assert summary is not None
    every = model.rollout_buffer.batch()
    assert len(summary) < len(every)
    terms, gradients = loss_and_gradients(model, summary)
    expected, by_steps = loss_and_gradients(model, every)
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=2e-5, abs=2e-6)
    assert len(gradients) == len(by_steps) > 0
    for own, other in zip(gradients, by_steps, strict=True):
        bound = 2e-5 * float(other.abs().max()) + 1e-6
        assert float((own - other).abs().max()) <= bound
    assert max(float(each.abs().max()) for each in by_steps) > 3e-4
    return terms


@pytest.mark.parametrize("env", [SEQUENCE, LAKE, TAXI], ids=lambda env: env[0])
@pytest.mark.parametrize(("kind", "settings"), MODELS)
def test_loss_terms_and_gradients_are_those_of_all_steps(
    env: Any, kind: type[PolicyGradientAlgorithm], settings: dict[str, Any]
) -> None:
    model = rolled_out(new(kind, env, **settings))
    check_equal(model)
    if "clip_range" not in settings:
        return
    # Ratios other than 1: on both sides of the bounds, if the steps are long enough.
    for group in model.policy.optimizer.param_groups:
        group["lr"] = 0.02
    for _ in range(3):
        model.policy.optimizer.step()
    terms = check_equal(model)
    assert 0.0 < float(terms["clip_fraction"]) <= 1.0
    assert float(terms["approx_kl"]) > 1e-4


@pytest.mark.parametrize("target_kl", [None, 0.002])
@pytest.mark.parametrize("env", [SEQUENCE, LAKE], ids=lambda env: env[0])
def test_update_ends_where_that_from_all_steps_does(
    env: Any, target_kl: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {**PPO, "n_epochs": 8, "target_kl": target_kl, "ent_coef": 0.01}
    one, other = (rolled_out(new(ActorCritic, env, **given)) for _ in range(2))
    one.train()
    monkeypatch.setattr(type(other), "_summary", lambda self: None)
    other.train()
    assert one._n_updates == other._n_updates
    assert (one._n_updates < 8) is (target_kl is not None)
    for a, b in zip(one.policy.parameters(), other.policy.parameters(), strict=True):
        # RMSprop divides by the size of a gradient, whose rounding may be all of it.
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4)
    mine, theirs = one.logger.name_to_value, other.logger.name_to_value
    assert mine.keys() == theirs.keys()
    for name in ("policy_loss", "value_loss", "entropy_loss", "approx_kl"):
        key = f"train/{name}"
        assert mine[key] == pytest.approx(theirs[key], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("env", [SEQUENCE, LAKE, TAXI], ids=lambda env: env[0])
def test_what_is_read_is_what_the_policy_says_step_by_step(env: Any) -> None:
    model = rolled_out(new(ActorCritic, env))
    assert model.rollout_buffer.finite is not None
    buffer: Any = model.rollout_buffer
    shape = (env[2], env[1])
    seen = torch.as_tensor(buffer.observations).flatten(0, 1)
    if isinstance(model.observation_space, spaces.Discrete):
        seen = seen.flatten()
    actions = torch.as_tensor(buffer.actions).flatten()
    with torch.no_grad():
        values, log_probs, _ = model.policy.evaluate_actions(seen, actions)
    np.testing.assert_allclose(
        buffer.values, values.view(shape).numpy(), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        buffer.log_probs, log_probs.view(shape).numpy(), rtol=1e-5, atol=1e-6
    )
    # An episode begins with the rollout, and wherever one has ended before.
    starts = np.ones(shape, dtype=np.float32)
    starts[1:] = (buffer.terminated | buffer.truncated)[:-1]
    np.testing.assert_array_equal(buffer.episode_starts, starts)
    assert buffer.rewards.shape == shape
    assert starts[1:].any()


def test_what_is_read_is_what_the_environment_showed_and_took() -> None:
    """The same actions again, in the environment alone, bring the same rollout."""
    model = rolled_out(new(ActorCritic, SEQUENCE))
    buffer: Any = model.rollout_buffer
    env = make_torch_vec("PGToy-Sequence-v0", 16, "cpu")
    seen, _ = env.reset(seed=0)
    for t in range(12):
        np.testing.assert_array_equal(buffer.observations[t], np.asarray(seen))
        actions = torch.as_tensor(buffer.actions[t]).flatten()
        seen, rewards, terminated, truncated, _ = env.step(actions)
        np.testing.assert_array_equal(buffer.rewards[t], rewards)
        np.testing.assert_array_equal(buffer.terminated[t], terminated)
        np.testing.assert_array_equal(buffer.truncated[t], truncated & ~terminated)


class Dropped(MlpPolicy):
    """A policy with dropout."""

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        self.mlp_extractor.policy_net.append(nn.Dropout(0.1))


class AnotherForward(MlpPolicy):
    """A policy that does something of its own."""

    def forward(self, obs: Any, deterministic: bool = False) -> Any:
        return super().forward(obs, deterministic)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (ActorCritic, {"batch_size": 64}),
        (ActorCritic, {"memory_size": 1000}),
        (REINFORCE, {"memory_size": 1000}),
        (ActorCritic, {"critic_loss": "huber"}),
        (ActorCritic, {"policy": Dropped}),
        (ActorCritic, {"policy": AnotherForward}),
        (ActorCritic, {"env": ("FrozenLake-v1", 3, 21, {})}),
        (REINFORCE, {"n_steps": None, "n_episodes": 3}),
    ],
)
def test_is_not_used_where_it_would_be_another_loss(
    kind: type[PolicyGradientAlgorithm], changed: dict[str, Any]
) -> None:
    # 63 steps of the lake are one fewer than there are pairs.
    model = rolled_out(new(kind, **changed))
    assert model.rollout_buffer.finite is None
    assert model._summary() is None
    model.train()


def test_is_used_from_as_many_steps_as_there_are_pairs() -> None:
    model = rolled_out(new(ActorCritic, ("FrozenLake-v1", 4, 16, {})))
    assert model.rollout_buffer.finite is not None
    model.train()


def test_is_not_used_with_state_dependent_noise() -> None:
    """Noise of that kind is for continuous actions, of which there is no table."""
    model = new(ActorCritic)
    table = torch.zeros(2, 3)
    policy: Any = model.policy
    assert FinitePolicy.fits(policy, table, 6)
    policy.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    assert not FinitePolicy.fits(policy, table, 10**6)
    policy.action_space = spaces.Discrete(2)
    model._heeds_mode, model.use_sde = False, True
    assert model._finite_policy(table, 10**6) is None
