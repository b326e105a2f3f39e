"""A number that is not finite stops the training at the update that meets it."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from pg_agents import REINFORCE, ActorCritic, MlpPolicy
from pg_agents.common.nonfinite import NonFiniteError
from tests.pg_agents.kinds import CARTPOLE, KINDS, SEQUENCE

AGENTS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "reinforce": (REINFORCE, {}),
    "reinforce, steps": (REINFORCE, {"n_steps": 8}),
    "reinforce, critic": (REINFORCE, {"baseline": "value"}),
    "reinforce, memory": (
        REINFORCE,
        {"memory_size": 256, "learning_starts": 200},
    ),
    "reinforce, old returns": (
        REINFORCE,
        {"memory_size": 256, "learning_starts": 200, "replay": "returns"},
    ),
    "actor-critic": (ActorCritic, {"n_steps": 8}),
    "actor-critic, mini-batches": (
        ActorCritic,
        {"n_steps": 8, "batch_size": 4, "n_epochs": 2, "clip_range": 0.2},
    ),
    "actor-critic, no bound on the gradient": (
        ActorCritic,
        {"n_steps": 8, "max_grad_norm": None},
    ),
    "actor-critic, memory": (
        ActorCritic,
        {
            "n_steps": 8,
            "memory_size": 256,
            "learning_starts": 200,
            "replay": "v_trace",
            "estimator": "gae",
        },
    ),
}
BAD_STEP = 11


def poisoned(env: Any, what: str, number: float) -> Any:
    """Makes the reward or the observation of step `BAD_STEP` bad, in the last copy."""

    def spoil(step: Any, counted: list[int]) -> Any:
        def bad_step(actions: Any) -> Any:
            seen, reward, *rest = step(actions)
            counted[0] += 1
            if counted[0] == BAD_STEP:
                many = np.ndim(reward) == 1
                if what == "observation":
                    seen = seen.clone() if isinstance(seen, Tensor) else np.array(seen)
                    seen[(-1, 0) if many else 0] = number
                elif many:
                    reward = reward + 0.0
                    reward[-1] = number
                else:
                    reward = number
            return seen, reward, *rest

        return bad_step

    inner = env.envs[-1] if isinstance(env, DummyVecEnv) else env
    counted = [0]
    for name in ("step", "step_unchecked"):
        if hasattr(inner, name):
            setattr(inner, name, spoil(getattr(inner, name), counted))
    return env


def weights(model: Any) -> Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


class LastWeights(BaseCallback):
    """Remembers the weights that the last rollout was taken with."""

    def _on_rollout_start(self) -> None:
        self.last = weights(self.model)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("reward", math.nan),
        ("reward", math.inf),
        ("reward", -math.inf),
        # Of an infinite one, tanh makes a finite feature.
        ("observation", math.nan),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("agent", AGENTS)
def test_a_bad_number_stops_the_training_and_is_named(
    agent: str, kind: str, what: str, number: float
) -> None:
    algorithm, settings = AGENTS[agent]
    env = poisoned(KINDS[kind](CARTPOLE, max_episode_steps=30), what, number)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **settings)
    last = LastWeights()
    with pytest.raises(NonFiniteError) as caught:
        model.learn(10_000, callback=last)
    said = str(caught.value)
    # The rollout in which it came, or the next.
    assert model.num_timesteps <= (BAD_STEP + 60) * model.n_envs
    assert what in said
    assert f"environment {model.n_envs - 1}" in said
    assert str(number) in said
    assert weights(model).isfinite().all()
    if "batch_size" not in settings:
        assert torch.equal(weights(model), last.last)


@pytest.mark.parametrize("what", ["reward", "observation"])
@pytest.mark.parametrize("policy", ["MlpPolicy", "TabularPolicy"])
@pytest.mark.parametrize("kind", KINDS)
def test_tables_and_networks_on_few_observations_stop_as_well(
    kind: str, policy: str, what: str
) -> None:
    if policy == "TabularPolicy" and what == "observation":
        pytest.skip("a table knows no other observation than its own")
    form = {"observation": "index"} if policy == "TabularPolicy" else {}
    env = poisoned(KINDS[kind](SEQUENCE, **form), what, math.nan)
    model = REINFORCE(policy, env, n_steps=16, seed=0, device="cpu")
    with pytest.raises(NonFiniteError, match=f"the {what}"):
        model.learn(10_000)


class Steps(gymnasium.Env[Any, Any]):
    """Episodes of 10 steps; one number of the 9th observation is given.

    Args:
        observation_space: a Box, or a Dict of Boxes.
        action_space: any.
        number: what is seen in the 9th step.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        number: float,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.number = number
        self.n_steps = 0

    def seen(self) -> Any:
        def ones(space: Any) -> Any:
            return np.full(space.shape, 0.1, space.dtype)

        space = self.observation_space
        if isinstance(space, spaces.Dict):
            seen: Any = {key: ones(part) for key, part in space.spaces.items()}
        else:
            seen = ones(space)
        if self.n_steps == 9:
            part = seen["b"] if isinstance(seen, dict) else seen
            part[1] = self.number
        return seen

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(np.asarray(action)), action
        self.n_steps += 1
        return self.seen(), 1.0, False, self.n_steps % 10 == 0, {}


BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)
DICT = spaces.Dict({"a": BOX, "b": BOX})
ACTIONS: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=2),
    "box": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "multi discrete": spaces.MultiDiscrete([2, 3]),
    "multi binary": spaces.MultiBinary(2),
}


class Overridden(MlpPolicy):
    """Acts by its whole forward, as a user's own policy does."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("policy", ["MlpPolicy", "MultiInputPolicy", Overridden])
@pytest.mark.parametrize("actions", ACTIONS)
def test_all_action_spaces_and_policies_stop(
    algorithm: Any,
    policy: Any,
    actions: str,
    validated: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No action that is not finite reaches the environment, either.

    torch.compile turns the validation of torch's distributions off for good.
    """
    distribution = torch.distributions.Distribution
    monkeypatch.setattr(distribution, "_validate_args", validated)
    space = DICT if policy == "MultiInputPolicy" else BOX
    env = Steps(space, ACTIONS[actions], math.nan)
    model = algorithm(policy, env, seed=0, device="cpu")
    with pytest.raises(NonFiniteError, match=r"observation.* nan at index 1"):
        model.learn(400)


class Bounded(BaseFeaturesExtractor):
    """Makes finite features of infinite observations."""

    def __init__(self, observation_space: Any) -> None:
        super().__init__(observation_space, 2)

    def forward(self, observations: Tensor) -> Tensor:
        return torch.nan_to_num(observations, nan=0.0).clamp(-1.0, 1.0)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic, A2C])
def test_an_observation_that_the_extractor_makes_finite_is_learnt_from(
    algorithm: Any, number: float
) -> None:
    env = Steps(BOX, spaces.Discrete(2), number)
    kwargs = {"features_extractor_class": Bounded}
    model = algorithm("MlpPolicy", env, policy_kwargs=kwargs, seed=0, device="cpu")
    before = weights(model)
    after = weights(model.learn(60))
    assert after.isfinite().all()
    assert not torch.equal(before, after)


class Masked(torch.nn.Module):
    """Logits of which the last is -inf: that action is never taken."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, latent: Tensor) -> Tensor:
        logits: Tensor = self.inner(latent)
        mask = torch.zeros_like(logits)
        mask[:, -1] = -math.inf
        return logits + mask


@pytest.mark.parametrize("n_envs", [1, 512])
@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
def test_masked_logits_are_legal(algorithm: Any, n_envs: int) -> None:
    env = KINDS["torch"](SEQUENCE, n_envs)
    model = algorithm("MlpPolicy", env, n_steps=8, ent_coef=0.1, seed=0, device="cpu")
    model.policy.action_net = Masked(model.policy.action_net)
    before = weights(model)
    model.learn(8 * n_envs)
    assert (model.rollout_buffer.actions < 2).all()
    assert weights(model).isfinite().all()
    assert not torch.equal(before, weights(model))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"learning_rate": 1e30, "max_grad_norm": None}, "learning_rate is now 1e"),
        ({"ent_coef": 1e38, "n_epochs": 2, "clip_range": 0.2}, "gradient|loss"),
        (
            {"policy_kwargs": {"optimizer_class": torch.optim.SGD}}
            | {"learning_rate": 3e38, "max_grad_norm": None},
            "weights are not finite",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["single", "dummy", "same_step", "torch"])
def test_a_step_size_that_diverges_stops_the_training(
    kind: str, settings: dict[str, Any], says: str
) -> None:
    env = KINDS[kind](CARTPOLE, max_episode_steps=30)
    model = ActorCritic("MlpPolicy", env, seed=0, device="cpu", **settings)
    with pytest.raises(NonFiniteError, match=says):
        model.learn(20_000)


@pytest.mark.parametrize("name", ["advantages", "returns"])
def test_what_a_callback_writes_is_named(name: str) -> None:
    class Spoils(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            getattr(self.locals["rollout_buffer"], name)[0] = math.nan

    model = ActorCritic("MlpPolicy", CARTPOLE, seed=0, device="cpu")
    with pytest.raises(NonFiniteError, match=f"the {name} of the rollout"):
        model.learn(100, Spoils())


def test_a_loss_of_ones_own_is_checked() -> None:
    class Mine(ActorCritic):
        def loss(self, batch: Any) -> Any:
            loss, terms = super().loss(batch)
            return loss * math.nan, terms

    with pytest.raises(NonFiniteError, match=r"the loss is not finite.*loss\(\)"):
        Mine("MlpPolicy", CARTPOLE, seed=0, device="cpu").learn(100)


def test_an_update_of_ones_own_is_checked() -> None:
    class Mine(ActorCritic):
        def train(self) -> None:
            with torch.no_grad():
                next(self.policy.parameters())[0] = math.nan

    with pytest.raises(NonFiniteError, match="the weights are not finite"):
        Mine("MlpPolicy", CARTPOLE, seed=0, device="cpu").learn(100)


def test_what_no_step_records_may_be_anything() -> None:
    """An environment that has done its episodes may return NaN: it is idle."""

    def short_then_bad() -> Any:
        env = gymnasium.make(CARTPOLE, max_episode_steps=3)
        step, counted = env.step, [0]

        def bad_step(action: Any) -> Any:
            counted[0] += 1
            seen, reward, *rest = step(action)
            return seen, math.nan if counted[0] % 12 >= 4 else reward, *rest

        env.step = bad_step  # type: ignore[method-assign]
        return env

    env = DummyVecEnv(
        [short_then_bad, lambda: gymnasium.make(CARTPOLE, max_episode_steps=10)]
    )
    model = REINFORCE("MlpPolicy", env, n_episodes=1, seed=0, device="cpu")
    model.learn(1)
    assert weights(model).isfinite().all()
