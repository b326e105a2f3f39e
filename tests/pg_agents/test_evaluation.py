"""The rollout is evaluated once, and learnt from as it was evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from torch import Tensor, nn

from pg_agents import REINFORCE, ActorCritic
from pg_agents.policies import MlpPolicy
from pg_agents.policy_gradient import PolicyGradientAlgorithm
from pg_envs import make_torch_vec
from tests.pg_agents.envs import StaggeredVectorEnv

N_ENVS, N_STEPS = 4, 8


class Dropped(MlpPolicy):
    """A policy with dropout."""

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        self.mlp_extractor.policy_net.append(nn.Dropout(0.5))


class Forwards(BaseCallback):
    """Notes the rows of every forward of the networks, from a rollout's last step on.

    Args:
        change: what to do with the model when the rollout is over.
    """

    def __init__(self, change: Callable[[Any], None] | None = None) -> None:
        super().__init__()
        self.change = change
        self.batches: list[tuple[str, int, bool]] = []
        self.n_done = 0

    def _on_training_start(self) -> None:
        policy: Any = self.model.policy
        for name in ("policy_net", "value_net"):
            net = getattr(policy.mlp_extractor, name)
            net.register_forward_hook(self._noting(name))

    def _noting(self, name: str) -> Callable[[Any, Any, Tensor], None]:
        def note(module: Any, inputs: Any, output: Tensor) -> None:
            self.batches.append((name, len(output), torch.is_grad_enabled()))

        return note

    def _on_step(self) -> bool:
        self.n_done += 1
        if self.n_done % N_STEPS == 0:
            self.batches.clear()
        return True

    def _on_rollout_end(self) -> None:
        if self.change is not None:
            self.change(self.model)


def forwards(
    kind: type[PolicyGradientAlgorithm] = ActorCritic,
    change: Callable[[Any], None] | None = None,
    policy: Any = "MlpPolicy",
    **settings: Any,
) -> list[tuple[str, int, bool]]:
    env = make_torch_vec("CartPole-v1", N_ENVS, "cpu")
    given: dict[str, Any] = {"n_steps": N_STEPS, "seed": 0, "device": "cpu", **settings}
    model = kind(policy, env, **given)
    noted = Forwards(change)
    model.learn(N_ENVS * N_STEPS, callback=noted)
    return noted.batches


BATCH = N_ENVS * N_STEPS
# With a way back to the parameters, both networks; without one, what lies beyond.
ON_BATCH = [("policy_net", BATCH, True), ("value_net", BATCH, True)]
BEYOND = [("value_net", N_ENVS, False)]


def test_actor_critic_evaluates_its_rollout_once() -> None:
    assert forwards() == ON_BATCH + BEYOND


def test_reinforce_with_a_critic_that_is_not_asked_beyond() -> None:
    assert forwards(REINFORCE, baseline="value") == ON_BATCH


def test_every_epoch_but_the_first_has_a_forward_of_its_own() -> None:
    got = forwards(n_epochs=3, clip_range=0.2)
    assert got == ON_BATCH + BEYOND + ON_BATCH + ON_BATCH


def _add(model: Any) -> None:
    with torch.no_grad():
        next(model.policy.parameters()).add_(0.01)


def _load(model: Any) -> None:
    state = model.policy.state_dict()
    model.policy.load_state_dict({name: 0.9 * each for name, each in state.items()})


def _replace(model: Any) -> None:
    """Other tensors in the same place, changed as often as those were."""

    def another(old: Tensor) -> nn.Parameter:
        fresh = nn.Parameter(old.detach() * 0.9)
        with torch.no_grad():
            while fresh._version < old._version:
                fresh.add_(0.0)
        return fresh

    policy = model.policy
    for group in policy.optimizer.param_groups:
        group["params"] = [another(p) for p in group["params"]]
    names = [name for name, _ in policy.named_parameters()]
    fresh = iter(policy.optimizer.param_groups[0]["params"])
    for name in names:
        owner, _, last = name.rpartition(".")
        setattr(policy.get_submodule(owner), last, next(fresh))


@pytest.mark.parametrize("change", [_add, _load, _replace])
def test_weights_changed_by_a_callback_are_evaluated_again(
    change: Callable[[Any], None],
) -> None:
    assert forwards(change=change) == ON_BATCH + BEYOND + ON_BATCH


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pg_agents.evaluation.MANY", N_ENVS)


@pytest.mark.usefixtures("few_are_many")
def test_what_many_environments_do_is_learnt_from_as_it_was_acted() -> None:
    """No forward of the rollout: `forwards` notes what follows the last step's own."""
    assert forwards() == BEYOND
    assert forwards(REINFORCE, baseline="value") == []
    assert forwards(n_epochs=2, clip_range=0.2) == BEYOND + ON_BATCH


@pytest.mark.usefixtures("few_are_many")
@pytest.mark.parametrize("change", [_add, _load, _replace])
def test_weights_changed_since_they_acted_are_evaluated_again(
    change: Callable[[Any], None],
) -> None:
    assert forwards(change=change) == BEYOND + ON_BATCH


@pytest.mark.usefixtures("few_are_many")
def test_weights_changed_in_mid_rollout_are_evaluated_again() -> None:
    class InTheMiddle(Forwards):
        def _on_step(self) -> bool:
            if self.n_done == 2:
                _add(self.model)
            return super()._on_step()

    env = make_torch_vec("CartPole-v1", N_ENVS, "cpu")
    model = ActorCritic("MlpPolicy", env, n_steps=N_STEPS, seed=0, device="cpu")
    noted = InTheMiddle()
    model.learn(N_ENVS * N_STEPS, callback=noted)
    assert noted.batches == BEYOND + ON_BATCH


WAYS: dict[str, tuple[Callable[[], Any], int]] = {
    "Discrete": (lambda: make_vec_env("CartPole-v1", N_ENVS, seed=0), N_ENVS),
    "Gaussian": (lambda: make_vec_env("Pendulum-v1", N_ENVS, seed=0), N_ENVS),
    # Of two environments, whose dummy steps are left out of the batch.
    "gaps": (lambda: StaggeredVectorEnv([2, 5]), 2),
}


@pytest.mark.parametrize("way", WAYS)
def test_both_ways_of_acting_learn_the_same(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The sums of the gradient differ in order only."""
    make, n_envs = WAYS[way]
    weights, forwards = [], []
    for many in (n_envs + 1, n_envs):
        monkeypatch.setattr("pg_agents.evaluation.MANY", many)
        settings: dict[str, Any] = {"ent_coef": 0.1, "seed": 0, "device": "cpu"}
        model = ActorCritic("MlpPolicy", make(), n_steps=N_STEPS, **settings)
        noted = Forwards()
        model.learn(5 * n_envs * N_STEPS, callback=noted)
        weights.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
        forwards.append(len(noted.batches))
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)
    # That of the batch, by either network, is spared.
    assert forwards[0] == forwards[1] + 2


def test_another_batch_is_evaluated_by_itself() -> None:
    """Mini-batches are; values and probabilities come from a forward without a way."""
    got = forwards(batch_size=16)
    grads = [(name, n) for name, n, way in got if way]
    assert grads == [("policy_net", 16), ("value_net", 16)] * (BATCH // 16)
    without = [(name, n) for name, n, way in got if not way]
    assert without == [("value_net", BATCH), ("value_net", N_ENVS)]


def test_dropout_is_drawn_anew_for_the_update() -> None:
    """Acting and training are two modes: what was said in one is not learnt from."""
    got = forwards(policy=Dropped)
    assert [each for each in got if each[2]] == ON_BATCH
    assert [each[:2] for each in got if not each[2]] == [
        ("value_net", BATCH),
        ("value_net", N_ENVS),
    ]


def test_kept_forward_is_forgotten_after_the_update() -> None:
    env = make_torch_vec("CartPole-v1", N_ENVS, "cpu")
    model = ActorCritic("MlpPolicy", env, n_steps=N_STEPS, seed=0, device="cpu")
    model.learn(BATCH)
    assert model._evaluation is None
    batch = model.rollout_buffer.batch()
    values, _, _ = model._evaluate_batch(batch)
    with torch.no_grad():
        expected = model.policy.predict_values(batch.observations)
    torch.testing.assert_close(values.detach(), expected)


def test_learning_from_the_kept_forward_is_learning_from_a_fresh_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the bit, over 5 updates, on an ordinary environment."""

    def weights(fresh: bool) -> dict[str, Tensor]:
        with monkeypatch.context() as patch:
            if fresh:
                patch.setattr(
                    ActorCritic,
                    "_evaluate_batch",
                    lambda self, batch: self._evaluate(
                        batch.observations, batch.actions
                    ),
                )
            env = gymnasium.make("CartPole-v1")
            model = ActorCritic("MlpPolicy", env, n_steps=8, seed=0, device="cpu")
            return model.learn(40).policy.state_dict()

    kept, anew = weights(False), weights(True)
    for name, weight in kept.items():
        assert torch.equal(weight, anew[name])
