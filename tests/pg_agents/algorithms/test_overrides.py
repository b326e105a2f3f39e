"""What a user overrides is called with every step, in every kind of environment."""

from __future__ import annotations

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
# Many environments act and are evaluated in another way than few.
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
    """Counts calls, and the rows of what they are called with."""

    def __init__(self) -> None:
        self.n_calls = self.n_rows = 0

    def count(self, rows: Any = ()) -> None:
        self.n_calls += 1
        self.n_rows += len(rows)


def weights(model: Any) -> Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


class _EndOfRollout(BaseCallback):
    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.end(self.model.rollout_buffer)  # type: ignore[attr-defined]

    def end(self, buffer: TrajectoryBuffer) -> None:
        raise NotImplementedError


class Case:
    """A training, with or without something overridden.

    Args:
        env: a name of `ENVS`.
        kind: of environment.
        n_envs: number of environments.
    """

    def __init__(self, env: str, kind: str, n_envs: int) -> None:
        self.policy, self.env_id, self.arguments = ENVS[env]
        self.kind, self.n_envs = kind, n_envs
        self.recorded = self.truncated = 0

    def learnt(
        self,
        algorithm: Any = ActorCritic,
        policy: Any = None,
        change: Callable[[Any], None] = lambda model: None,
        **settings: Any,
    ) -> Tensor:
        """Returns the weights after some updates; counts steps.

        The optimiser is one that does not magnify the last digit of a gradient.
        """
        env = KINDS[self.kind](self.env_id, self.n_envs, **self.arguments)
        kwargs = {"optimizer_class": torch.optim.SGD}
        model = algorithm(
            policy or self.policy,
            env,
            learning_rate=0.05,
            n_steps=N_STEPS,
            seed=3,
            device="cpu",
            policy_kwargs=kwargs,
            **settings,
        )
        change(model)

        class Counts(_EndOfRollout):
            def end(self, buffer: TrajectoryBuffer) -> None:
                case.recorded += int(buffer.recorded.sum())
                case.truncated += int((buffer.truncated & buffer.recorded).sum())

        case = self
        self.recorded = self.truncated = 0
        model.learn(N_UPDATES * N_STEPS * model.n_envs, Counts())
        return weights(model)

    def same(self, found: Tensor, **settings: Any) -> None:
        """Raises unless weights are those of a training with nothing overridden."""
        recorded = self.recorded
        expected = self.learnt(**settings)
        assert recorded == self.recorded > 0
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def overriding(owner: type[Any], name: str, before: Callable[..., None]) -> Any:
    """Returns a subclass whose method calls another function first."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        before(*args, **kwargs)
        return getattr(super(kind, self), name)(*args, **kwargs)

    kind: Any = type(f"My{owner.__name__}", (owner,), {name: method})
    return kind


def assigning(name: str, before: Callable[..., None]) -> Callable[[Any], None]:
    """Returns a function that replaces a method of an object in the same way."""

    def change(target: Any) -> None:
        plain = getattr(target, name)

        def method(*args: Any, **kwargs: Any) -> Any:
            before(*args, **kwargs)
            return plain(*args, **kwargs)

        setattr(target, name, method)

    return change


HOWS = ("subclass", "instance", "class")


def learnt_with_policy(
    case: Case,
    how: str,
    name: str,
    before: Callable[..., None],
    patch: pytest.MonkeyPatch,
) -> Tensor:
    if how == "subclass":
        return case.learnt(policy=overriding(case.policy, name, before))
    if how == "instance":
        return case.learnt(change=lambda model: assigning(name, before)(model.policy))
    plain = getattr(case.policy, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        before(*args[1:], **kwargs)
        return plain(*args, **kwargs)

    with patch.context() as patched:
        patched.setattr(case.policy, name, method)
        return case.learnt()


@EVERYWHERE
@pytest.mark.parametrize("how", HOWS)
def test_forward_acts(
    env: str, kind: str, n_envs: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, counter = Case(env, kind, n_envs), Counter()

    def count(obs: Any, deterministic: bool = False) -> None:
        counter.count(obs)

    found = learnt_with_policy(case, how, "forward", count, monkeypatch)
    # Dummy steps are acted in, too.
    assert counter.n_calls == N_UPDATES * N_STEPS
    assert counter.n_rows == N_UPDATES * N_STEPS * n_envs
    case.same(found)


@EVERYWHERE
@pytest.mark.parametrize("how", HOWS)
def test_evaluate_actions_evaluates_every_step_of_the_update(
    env: str, kind: str, n_envs: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, counter = Case(env, kind, n_envs), Counter()

    def count(obs: Any, actions: Any) -> None:
        assert len(obs) == len(actions)
        counter.count(actions)

    found = learnt_with_policy(case, how, "evaluate_actions", count, monkeypatch)
    assert (counter.n_calls, counter.n_rows) == (N_UPDATES, case.recorded)
    case.same(found)


@EVERYWHERE
@pytest.mark.parametrize("how", HOWS)
def test_predict_values_values_what_follows(
    env: str, kind: str, n_envs: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last observations of a rollout, and those of truncated episodes."""
    case, counter = Case(env, kind, n_envs), Counter()
    found = learnt_with_policy(case, how, "predict_values", counter.count, monkeypatch)
    assert counter.n_rows == N_UPDATES * n_envs + case.truncated
    case.same(found)


@EVERYWHERE
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    "name", ["get_distribution", "extract_features", "_get_action_dist_from_latent"]
)
def test_other_methods_of_the_policy(
    env: str,
    kind: str,
    n_envs: int,
    how: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In A2C, training asks for no distribution; it calls the others twice a step."""
    case, counter = Case(env, kind, n_envs), Counter()

    def count(first: Any, *others: Any, **more: Any) -> None:
        counter.count(first)

    found = learnt_with_policy(case, how, name, count, monkeypatch)
    acted = N_UPDATES * N_STEPS * n_envs
    expected = 0 if name == "get_distribution" else acted + case.recorded
    assert counter.n_rows == expected
    case.same(found)


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("how", ["subclass", "instance"])
def test_predict_asks_the_distribution(env: str, how: str) -> None:
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


# The gradient does not come by the whole forward().
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
def test_hooks_are_called_as_in_sb3(
    env: str, kind: str, n_envs: int, module: str, hook: str
) -> None:
    case, counter = Case(env, kind, n_envs), Counter()
    if env == "table" and module == "mlp_extractor":
        pytest.skip("a table has no layers in between")

    def register(model: Any) -> None:
        target = model.policy.get_submodule(module)

        def count(_: Any, inputs: Any, *outputs: Any) -> None:
            # Of a first layer, there is no gradient with respect to the inputs.
            counter.count((outputs[0] if hook == "full_backward" else inputs)[0])

        getattr(target, f"register_{hook}_hook")(count)

    found = case.learnt(change=register)
    acted = N_UPDATES * N_STEPS * n_envs
    beyond = N_UPDATES * n_envs + case.truncated
    if hook == "full_backward":
        assert counter.n_rows == case.recorded
    elif module == "":
        assert counter.n_rows == acted
    elif module == "value_net":
        assert counter.n_rows == acted + case.recorded + beyond
    else:
        assert counter.n_rows == acted + case.recorded
    case.same(found)


def textbook(model: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """A2C's loss, written out."""
    values, log_prob, _ = model.policy.evaluate_actions(
        batch.observations, batch.actions
    )
    policy_loss = -(batch.advantages * log_prob).mean()
    value_loss = functional.mse_loss(batch.returns, values.flatten())
    loss = policy_loss + 0.5 * value_loss
    return loss, {"policy_loss": policy_loss, "value_loss": value_loss, "loss": loss}


class Textbook(ActorCritic):
    """With a loss of its own."""

    counter: Counter

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        self.counter.count(batch)
        return textbook(self, batch)


class TextbookTrain(ActorCritic):
    """With an update of its own, as SB3's users write it."""

    def train(self) -> None:
        for batch in self.rollout_buffer.get(batch_size=None):
            loss, _ = textbook(self, batch)
            self.policy.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 0.5)
            self.policy.optimizer.step()


@EVERYWHERE
def test_a_loss_of_ones_own_gets_every_step(env: str, kind: str, n_envs: int) -> None:
    case, counter = Case(env, kind, n_envs), Counter()

    def give(model: Any) -> None:
        model.counter = counter

    found = case.learnt(Textbook, change=give)
    assert (counter.n_calls, counter.n_rows) == (N_UPDATES, case.recorded)
    case.same(found)


@EVERYWHERE
def test_a_loss_assigned_to_the_model_gets_every_step(
    env: str, kind: str, n_envs: int
) -> None:
    case, counter = Case(env, kind, n_envs), Counter()

    def give(model: Any) -> None:
        def loss(batch: Any) -> Any:
            counter.count(batch)
            return textbook(model, batch)

        model.loss = loss

    found = case.learnt(change=give)
    assert (counter.n_calls, counter.n_rows) == (N_UPDATES, case.recorded)
    case.same(found)


@EVERYWHERE
def test_a_loss_that_changes_the_batch_learns_from_the_changed_one(
    env: str, kind: str, n_envs: int
) -> None:
    """What was evaluated while acting is not taken for other observations."""
    case = Case(env, kind, n_envs)

    class Shuffles(ActorCritic):
        def loss(self, batch: Any) -> Any:
            return super().loss(batch.take(torch.arange(len(batch)).flip(0)))

    class Halves(ActorCritic):
        def loss(self, batch: Any) -> Any:
            index = slice(0, len(batch) // 2)
            return super().loss(batch.take(index))

    case.same(case.learnt(Shuffles))
    half = case.learnt(Halves)
    assert float((half - case.learnt()).abs().max()) > 1e-4


@EVERYWHERE
def test_an_update_of_ones_own(env: str, kind: str, n_envs: int) -> None:
    case = Case(env, kind, n_envs)
    case.same(case.learnt(TextbookTrain))


@EVERYWHERE
@pytest.mark.parametrize("how", ["subclass", "instance"])
@pytest.mark.parametrize("name", ["train", "collect_rollouts"])
def test_methods_of_the_algorithm(
    env: str, kind: str, n_envs: int, name: str, how: str
) -> None:
    case, counter = Case(env, kind, n_envs), Counter()

    def count(*_: Any, **__: Any) -> None:
        counter.count()

    if how == "subclass":
        found = case.learnt(overriding(ActorCritic, name, count))
    else:
        found = case.learnt(change=assigning(name, count))
    assert counter.n_calls == N_UPDATES
    case.same(found)


class CountingBuffer(TrajectoryBuffer):
    """Counts what its methods are called with."""

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
def test_methods_of_the_buffer(env: str, kind: str, n_envs: int, how: str) -> None:
    case = Case(env, kind, n_envs)
    counters = {name: Counter() for name in ("reset", "add", "get")}
    if how == "subclass":
        found = case.learnt(
            rollout_buffer_class=CountingBuffer,
            rollout_buffer_kwargs={"counters": counters},
        )
        # The constructor resets the buffer, too.
        counters["reset"].n_calls -= 1
        assert counters["get"].n_rows == case.recorded
    else:

        def give(model: Any) -> None:
            buffer = model.rollout_buffer
            assigning("reset", counters["reset"].count)(buffer)
            assigning("get", lambda _: counters["get"].count())(buffer)
            assigning("add", lambda **row: counters["add"].count(row["rewards"]))(
                buffer
            )

        found = case.learnt(change=give)
    assert counters["reset"].n_calls == N_UPDATES
    assert counters["get"].n_calls == N_UPDATES
    assert counters["add"].n_calls == N_UPDATES * N_STEPS
    assert counters["add"].n_rows == N_UPDATES * N_STEPS * n_envs
    case.same(found)


@EVERYWHERE
def test_a_buffer_that_changes_what_it_yields(env: str, kind: str, n_envs: int) -> None:
    class Backwards(TrajectoryBuffer):
        def get(self, batch_size: int | None = None) -> Any:
            for batch in super().get(batch_size):
                yield batch.take(torch.arange(len(batch)).flip(0))

    class Half(TrajectoryBuffer):
        def get(self, batch_size: int | None = None) -> Any:
            for batch in super().get(batch_size):
                yield batch.take(slice(0, len(batch) // 2))

    case = Case(env, kind, n_envs)
    case.same(case.learnt(rollout_buffer_class=Backwards))
    half = case.learnt(rollout_buffer_class=Half)
    assert float((half - case.learnt()).abs().max()) > 1e-4


def add_to_weights(model: Any) -> None:
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.01)


def load_weights(model: Any) -> None:
    state = model.policy.state_dict()
    model.policy.load_state_dict({name: 0.9 * each for name, each in state.items()})


@EVERYWHERE
@pytest.mark.parametrize("change", [add_to_weights, load_weights])
def test_weights_that_a_callback_changes_are_learnt_with(
    env: str, kind: str, n_envs: int, change: Callable[[Any], None]
) -> None:
    """What was evaluated with the old ones is not learnt from.

    The same is done with a policy that acts by its whole forward.
    """
    case = Case(env, kind, n_envs)

    class Changes(_EndOfRollout):
        def end(self, buffer: TrajectoryBuffer) -> None:
            change(self.model)

    def trained(policy: Any) -> Tensor:
        def learn_so(model: Any) -> None:
            learn = model.learn
            model.learn = lambda n, callback: learn(n, [callback, Changes()])

        return case.learnt(policy=policy, change=learn_so)

    whole = overriding(case.policy, "forward", lambda *_, **__: None)
    found, expected = trained(case.policy), trained(whole)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert float((found - case.learnt()).abs().max()) > 3e-4


@pytest.mark.parametrize("n_envs", [3, 512])
def test_weights_that_change_within_a_rollout_are_warned_of(n_envs: int) -> None:
    model = ActorCritic(
        "MlpPolicy", KINDS["torch"](CARTPOLE, n_envs), n_steps=4, device="cpu"
    )

    def change(seen: dict[str, Any], _: Any) -> bool:
        if seen["n_steps"] == 2:
            add_to_weights(model)
        return True

    with pytest.warns(UserWarning, match="changed the policy's weights within a"):
        model.learn(4 * n_envs, change)


class Masked(MlpPolicy):
    """Never takes the last action, as SB3's users forbid one."""

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Any:
        logits: Tensor = self.action_net(latent_pi)
        mask = torch.zeros_like(logits)
        mask[:, -1] = -torch.inf
        return self.action_dist.proba_distribution(logits + mask)


@pytest.mark.parametrize(("kind", "n_envs"), SIZES)
def test_actions_that_a_policy_forbids_are_forbidden_in_the_update(
    kind: str, n_envs: int
) -> None:
    env = KINDS[kind](SEQUENCE, n_envs)
    model = ActorCritic(Masked, env, n_steps=4, seed=0, device="cpu")
    model.learn(4 * model.n_envs)
    assert (model.rollout_buffer.actions < 2).all()
    last_layer: Any = model.policy.action_net
    before = last_layer.weight.detach().clone()
    model.learn(8 * model.n_envs, reset_num_timesteps=False)
    # The forbidden action's logit has no part in any probability.
    after = last_layer.weight.detach()
    assert torch.equal(after[-1], before[-1])
    assert not torch.equal(after[0], before[0])
