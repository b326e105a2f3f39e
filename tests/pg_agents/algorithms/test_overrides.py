"""Overridden methods, hooks and buffers get every step and change what is learnt."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from torch.nn import functional

from pg_agents import REINFORCE, ActorCritic, TrajectoryBuffer
from pg_agents.policies.policies import MlpPolicy
from pg_agents.policies.tabular import TabularPolicy
from tests.pg_agents.kinds import CARTPOLE, KINDS, SEQUENCE

N_STEPS, N_UPDATES = 8, 3
ENVS: dict[str, tuple[type[Any], str, dict[str, Any]]] = {
    "cartpole": (MlpPolicy, CARTPOLE, {"max_episode_steps": 5}),
    "sequence": (MlpPolicy, SEQUENCE, {}),
    "table": (TabularPolicy, SEQUENCE, {"observation": "index"}),
}
SIZES = [
    ("single", 1),
    *((kind, n) for kind in ("dummy", "same_step", "next_step", "torch") for n in (3,)),
    ("next_step", 512),
    ("torch", 512),
]
CASES = [
    *(("cartpole", *size) for size in SIZES),
    *(("table", kind, n) for kind, n in SIZES if kind in ("dummy", "torch")),
    ("sequence", "same_step", 3),
    ("sequence", "torch", 512),
]
EVERYWHERE = pytest.mark.parametrize(("env", "kind", "n_envs"), CASES)


class Counter:
    """Counts calls, and rows of their first argument."""

    def __init__(self) -> None:
        self.n_calls = self.n_rows = 0

    def count(self, rows: Any = ()) -> None:
        self.n_calls += 1
        self.n_rows += len(rows)


def weights_of(model: Any) -> Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


class RolloutEnd(BaseCallback):
    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.end(self.model.rollout_buffer)  # type: ignore[attr-defined]

    def end(self, buffer: TrajectoryBuffer) -> None:
        raise NotImplementedError


class Case:
    """Trainings in one environment, with and without something overridden.

    Args:
        env: a name of `ENVS`.
        kind: kind of environment.
        n_envs: number of environments.
    """

    def __init__(self, env: str, kind: str, n_envs: int) -> None:
        self.policy, self.env_id, self.arguments = ENVS[env]
        self.name, self.kind, self.n_envs = env, kind, n_envs
        self.n_recorded = self.n_truncated = 0
        # Dummy steps are acted in, too.
        self.n_acted = N_UPDATES * N_STEPS * n_envs

    @property
    def n_bootstrapped(self) -> int:
        """Last observations of rollouts and of truncated episodes."""
        return N_UPDATES * self.n_envs + self.n_truncated

    def trained(
        self,
        algorithm: Any = ActorCritic,
        policy: Any = None,
        change: Callable[[Any], None] = lambda model: None,
        **settings: Any,
    ) -> Tensor:
        """Returns the weights after some updates, and counts steps."""
        model = algorithm(
            policy or self.policy,
            KINDS[self.kind](self.env_id, self.n_envs, **self.arguments),
            learning_rate=0.05,
            n_steps=N_STEPS,
            seed=3,
            device="cpu",
            # SGD does not amplify rounding errors.
            policy_kwargs={"optimizer_class": torch.optim.SGD},
            **settings,
        )
        change(model)
        case = self

        class CountSteps(RolloutEnd):
            def end(self, buffer: TrajectoryBuffer) -> None:
                case.n_recorded += int(buffer.recorded.sum())
                case.n_truncated += int((buffer.truncated & buffer.recorded).sum())

        self.n_recorded = self.n_truncated = 0
        model.learn(N_UPDATES * N_STEPS * model.n_envs, CountSteps())
        return weights_of(model)

    def check_weights(self, weights: Tensor) -> None:
        """Raises unless weights are those of a training with nothing overridden."""
        expected, n_recorded = plainly_trained(self.name, self.kind, self.n_envs)
        assert self.n_recorded == n_recorded > 0
        torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)

    def check_differs(self, weights: Tensor) -> None:
        expected, _ = plainly_trained(self.name, self.kind, self.n_envs)
        assert float((weights - expected).abs().max()) > 1e-4


@functools.cache
def plainly_trained(env: str, kind: str, n_envs: int) -> tuple[Tensor, int]:
    """Returns weights and recorded steps of a training with nothing overridden."""
    case = Case(env, kind, n_envs)
    return case.trained(), case.n_recorded


def overriding(owner: type[Any], name: str, before: Callable[..., None]) -> Any:
    """Returns a subclass whose method first calls another function."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        return getattr(super(kind, self), name)(*args, **kwargs)

    kind: Any = type(f"My{owner.__name__}", (owner,), {name: method})
    return kind


def assigning(name: str, before: Callable[..., None]) -> Callable[[Any], None]:
    """Returns a function that replaces a method of an object likewise."""

    def change(target: Any) -> None:
        plain = getattr(target, name)

        def method(*args: Any, **kwargs: Any) -> Any:
            before(*args, **kwargs)
            return plain(*args, **kwargs)

        setattr(target, name, method)

    return change


HOWS = ("subclass", "instance", "class")


def train_with_policy_method(
    case: Case,
    how: str,
    name: str,
    before: Callable[..., None],
    patch: pytest.MonkeyPatch,
) -> Tensor:
    if how == "subclass":
        return case.trained(policy=overriding(case.policy, name, before))
    if how == "instance":
        return case.trained(change=lambda model: assigning(name, before)(model.policy))
    plain = getattr(case.policy, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        before(*args[1:], **kwargs)
        return plain(*args, **kwargs)

    with patch.context() as patched:
        patched.setattr(case.policy, name, method)
        return case.trained()


# Methods of the policy, and the number of observations that they get in a training.
# As in A2C, training does not call get_distribution.
ROWS: dict[str, Callable[[Case], int]] = {
    "forward": lambda case: case.n_acted,
    "evaluate_actions": lambda case: case.n_recorded,
    "predict_values": lambda case: case.n_bootstrapped,
    "get_distribution": lambda case: 0,
    "extract_features": lambda case: case.n_acted + case.n_recorded,
    "_get_action_dist_from_latent": lambda case: case.n_acted + case.n_recorded,
}


@EVERYWHERE
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ROWS)
def test_overridden_methods_of_the_policy_get_every_step(
    env: str,
    kind: str,
    n_envs: int,
    how: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case, counter = Case(env, kind, n_envs), Counter()

    def count(first: Any, *others: Any, **more: Any) -> None:
        counter.count(first)

    weights = train_with_policy_method(case, how, name, count, monkeypatch)
    assert counter.n_rows == ROWS[name](case)
    expected_calls = {"forward": N_UPDATES * N_STEPS, "evaluate_actions": N_UPDATES}
    assert counter.n_calls == expected_calls.get(name, counter.n_calls)
    case.check_weights(weights)


def doubled_latents(extractor: Any) -> None:
    """Doubles the outputs of an mlp_extractor."""

    def replaced(method: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        return lambda features: 2.0 * method(features)

    actor, critic = extractor.forward_actor, extractor.forward_critic
    extractor.forward_actor, extractor.forward_critic = map(replaced, (actor, critic))
    extractor.forward = lambda features: (
        extractor.forward_actor(features),
        extractor.forward_critic(features),
    )


def doubled_evaluation(policy: Any) -> None:
    evaluate_actions = policy.evaluate_actions

    def method(obs: Any, actions: Tensor) -> Any:
        values, log_prob, entropy = evaluate_actions(obs, actions)
        return 2.0 * values, 2.0 * log_prob, entropy

    policy.evaluate_actions = method


def doubled_features(policy: Any) -> None:
    extract_features = policy.extract_features
    policy.extract_features = lambda *args: 2.0 * extract_features(*args)


def scaled_latents(policy: Any) -> None:
    distribution = policy._get_action_dist_from_latent
    policy._get_action_dist_from_latent = lambda latent: distribution(100.0 * latent)


def always_first_action(policy: Any) -> None:
    forward = policy.forward

    def method(obs: Any, deterministic: bool = False) -> Any:
        actions, values, log_prob = forward(obs, deterministic)
        return torch.zeros_like(actions), values, log_prob

    policy.forward = method


@EVERYWHERE
@pytest.mark.parametrize(
    "override",
    [
        lambda policy: doubled_latents(policy.mlp_extractor),
        doubled_evaluation,
        doubled_features,
        scaled_latents,
        always_first_action,
    ],
    ids=["mlp_extractor", "evaluate_actions", "features", "distribution", "forward"],
)
def test_an_override_changes_what_is_learnt(
    env: str, kind: str, n_envs: int, override: Callable[[Any], None]
) -> None:
    if env == "table" and override is doubled_features:
        pytest.skip("the features of a table are indices")
    case = Case(env, kind, n_envs)
    weights = case.trained(change=lambda model: override(model.policy))
    case.check_differs(weights)


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("how", ["subclass", "instance"])
def test_predict_calls_get_distribution(env: str, how: str) -> None:
    policy, env_id, arguments = ENVS[env]
    counter = Counter()
    if how == "subclass":
        policy = overriding(policy, "get_distribution", counter.count)
    model = REINFORCE(policy, KINDS["dummy"](env_id, 3, **arguments), device="cpu")
    if how == "instance":
        assigning("get_distribution", counter.count)(model.policy)
    assert model.env is not None
    model.predict(model.env.reset())  # type: ignore[arg-type]
    assert counter.n_rows == 3


# The backward pass does not go through forward() of the policy.
HOOKED = [
    ("", "forward"),
    ("", "forward_pre"),
    *(
        (module, hook)
        for module in ("action_net", "value_net", "mlp_extractor")
        for hook in ("forward", "full_backward")
    ),
]


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@EVERYWHERE
@pytest.mark.parametrize(("module", "hook"), HOOKED)
def test_hooks_get_every_step(
    env: str, kind: str, n_envs: int, module: str, hook: str
) -> None:
    case, counter = Case(env, kind, n_envs), Counter()
    if env == "table" and module == "mlp_extractor":
        pytest.skip("a table has no hidden layers")

    def register(model: Any) -> None:
        target = model.policy.get_submodule(module)

        def count(_: Any, inputs: Any, *outputs: Any) -> None:
            # The first layer has no gradient with respect to its inputs.
            counter.count((outputs[0] if hook == "full_backward" else inputs)[0])

        getattr(target, f"register_{hook}_hook")(count)

    weights = case.trained(change=register)
    acted, recorded = case.n_acted, case.n_recorded
    expected = {
        "": acted,
        "value_net": acted + recorded + case.n_bootstrapped,
        "action_net": acted + recorded,
        "mlp_extractor": acted + recorded,
    }
    if hook == "full_backward":
        assert counter.n_rows == recorded
    else:
        assert counter.n_rows == expected[module]
    case.check_weights(weights)


def textbook(model: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """A2C's loss."""
    values, log_prob, _ = model.policy.evaluate_actions(
        batch.observations, batch.actions
    )
    policy_loss = -(batch.advantages * log_prob).mean()
    value_loss = functional.mse_loss(batch.returns, values.flatten())
    loss = policy_loss + 0.5 * value_loss
    return loss, {"policy_loss": policy_loss, "value_loss": value_loss, "loss": loss}


class OverriddenLoss(ActorCritic):
    counter: Counter

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        self.counter.count(batch)
        return textbook(self, batch)


class OverriddenTrain(ActorCritic):
    """Updates as SB3's users write them."""

    def train(self) -> None:
        for batch in self.rollout_buffer.get(batch_size=None):
            loss, _ = textbook(self, batch)
            self.policy.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 0.5)
            self.policy.optimizer.step()


@EVERYWHERE
@pytest.mark.parametrize("how", ["subclass", "instance"])
def test_an_overridden_loss_gets_every_step(
    env: str, kind: str, n_envs: int, how: str
) -> None:
    case, counter = Case(env, kind, n_envs), Counter()

    def change(model: Any) -> None:
        model.counter = counter
        if how == "instance":
            model.loss = lambda batch: OverriddenLoss.loss(model, batch)

    algorithm = OverriddenLoss if how == "subclass" else ActorCritic
    weights = case.trained(algorithm, change=change)
    assert (counter.n_calls, counter.n_rows) == (N_UPDATES, case.n_recorded)
    case.check_weights(weights)


@EVERYWHERE
def test_a_loss_can_change_the_batch(env: str, kind: str, n_envs: int) -> None:
    """The forward pass of the rollout is not reused for other steps."""
    case = Case(env, kind, n_envs)

    class Reversed(ActorCritic):
        def loss(self, batch: Any) -> Any:
            return super().loss(batch.take(torch.arange(len(batch)).flip(0)))

    class Half(ActorCritic):
        def loss(self, batch: Any) -> Any:
            return super().loss(batch.take(slice(0, len(batch) // 2)))

    case.check_weights(case.trained(Reversed))
    case.check_differs(case.trained(Half))


@EVERYWHERE
def test_an_overridden_train_updates_the_policy(
    env: str, kind: str, n_envs: int
) -> None:
    case = Case(env, kind, n_envs)
    case.check_weights(case.trained(OverriddenTrain))


@EVERYWHERE
@pytest.mark.parametrize("how", ["subclass", "instance"])
@pytest.mark.parametrize("name", ["train", "collect_rollouts"])
def test_overridden_train_and_collect_rollouts_are_called(
    env: str, kind: str, n_envs: int, name: str, how: str
) -> None:
    case, counter = Case(env, kind, n_envs), Counter()

    def count(*_: Any, **__: Any) -> None:
        counter.count()

    if how == "subclass":
        weights = case.trained(overriding(ActorCritic, name, count))
    else:
        weights = case.trained(change=assigning(name, count))
    assert counter.n_calls == N_UPDATES
    case.check_weights(weights)


class CountingBuffer(TrajectoryBuffer):
    """Counts rows of calls."""

    def __init__(self, device: Any, counters: dict[str, Counter]) -> None:
        self.counters = counters
        super().__init__(device)

    def reset(self) -> None:
        self.counters["reset"].count()
        super().reset()

    def add(self, **row: Any) -> None:
        self.counters["add"].count(row["rewards"])
        super().add(**row)

    def get(self, batch_size: int | None = None) -> Any:
        for batch in super().get(batch_size):
            self.counters["get"].count(batch)
            yield batch


@EVERYWHERE
@pytest.mark.parametrize("how", ["subclass", "instance"])
def test_overridden_methods_of_the_buffer_get_every_step(
    env: str, kind: str, n_envs: int, how: str
) -> None:
    case = Case(env, kind, n_envs)
    counters = {name: Counter() for name in ("reset", "add", "get")}
    if how == "subclass":
        weights = case.trained(
            rollout_buffer_class=CountingBuffer,
            rollout_buffer_kwargs={"counters": counters},
        )
        # The constructor resets the buffer, too.
        counters["reset"].n_calls -= 1
        assert counters["get"].n_rows == case.n_recorded
    else:

        def give(model: Any) -> None:
            buffer = model.rollout_buffer
            assigning("reset", counters["reset"].count)(buffer)
            assigning("get", lambda _: counters["get"].count())(buffer)
            assigning("add", lambda **row: counters["add"].count(row["rewards"]))(
                buffer
            )

        weights = case.trained(change=give)
    assert counters["reset"].n_calls == N_UPDATES
    assert counters["get"].n_calls == N_UPDATES
    assert counters["add"].n_calls == N_UPDATES * N_STEPS
    assert counters["add"].n_rows == N_UPDATES * N_STEPS * n_envs
    case.check_weights(weights)


@EVERYWHERE
def test_a_buffer_can_yield_other_batches(env: str, kind: str, n_envs: int) -> None:
    class Backwards(TrajectoryBuffer):
        def get(self, batch_size: int | None = None) -> Any:
            for batch in super().get(batch_size):
                yield batch.take(torch.arange(len(batch)).flip(0))

    class Half(TrajectoryBuffer):
        def get(self, batch_size: int | None = None) -> Any:
            for batch in super().get(batch_size):
                yield batch.take(slice(0, len(batch) // 2))

    case = Case(env, kind, n_envs)
    case.check_weights(case.trained(rollout_buffer_class=Backwards))
    case.check_differs(case.trained(rollout_buffer_class=Half))


def add_to_weights(model: Any) -> None:
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.01)


def load_weights(model: Any) -> None:
    state = model.policy.state_dict()
    model.policy.load_state_dict({name: 0.9 * each for name, each in state.items()})


@EVERYWHERE
@pytest.mark.parametrize("change", [add_to_weights, load_weights])
def test_weights_can_be_changed_at_the_end_of_a_rollout(
    env: str, kind: str, n_envs: int, change: Callable[[Any], None]
) -> None:
    """The forward pass with the old ones is not reused.

    Compared with a policy that overrides `forward`, which reuses nothing.
    """
    case = Case(env, kind, n_envs)

    class ChangeWeights(RolloutEnd):
        def end(self, buffer: TrajectoryBuffer) -> None:
            change(self.model)

    def trained(policy: Any) -> Tensor:
        def add_callback(model: Any) -> None:
            learn = model.learn
            model.learn = lambda n, callback: learn(n, [callback, ChangeWeights()])

        return case.trained(policy=policy, change=add_callback)

    overridden = overriding(case.policy, "forward", lambda *_, **__: None)
    weights, expected = trained(case.policy), trained(overridden)
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)
    case.check_differs(weights)


@pytest.mark.parametrize("n_envs", [3, 512])
def test_changing_weights_within_a_rollout_warns(n_envs: int) -> None:
    model = ActorCritic(
        "MlpPolicy", KINDS["torch"](CARTPOLE, n_envs), n_steps=4, device="cpu"
    )

    def change(variables: dict[str, Any], _: Any) -> bool:
        if variables["n_steps"] == 2:
            add_to_weights(model)
        return True

    with pytest.warns(UserWarning, match="changed the policy's weights within a"):
        model.learn(4 * n_envs, change)
