"""NaN and infinity stop the training with an error that names their origin."""

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
from pg_agents.common.nonfinite import NonFiniteError, all_finite, first_nonfinite
from tests.pg_agents.kinds import CARTPOLE, KINDS, SEQUENCE

AGENTS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "reinforce": (REINFORCE, {}),
    "reinforce, steps": (REINFORCE, {"n_steps": 8}),
    "reinforce, critic": (REINFORCE, {"baseline": "value"}),
    "reinforce, memory": (REINFORCE, {"memory_size": 256, "learning_starts": 200}),
    "reinforce, replayed returns": (
        REINFORCE,
        {"memory_size": 256, "learning_starts": 200, "replay": "returns"},
    ),
    "actor-critic": (ActorCritic, {"n_steps": 8}),
    "actor-critic, mini-batches": (
        ActorCritic,
        {"n_steps": 8, "batch_size": 4, "n_epochs": 2, "clip_range": 0.2},
    ),
    "actor-critic, no clipping": (ActorCritic, {"n_steps": 8, "max_grad_norm": None}),
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


def with_bad_step(env: Any, kind: str, number: float) -> Any:
    """Replaces the last environment's reward or observation of step `BAD_STEP`."""
    n_steps = 0

    def replaced(step: Any) -> Any:
        def bad_step(actions: Any) -> Any:
            nonlocal n_steps
            obs, reward, *rest = step(actions)
            n_steps += 1
            if n_steps == BAD_STEP:
                is_vector = np.ndim(reward) == 1
                if kind == "observation":
                    obs = obs.clone() if isinstance(obs, Tensor) else np.array(obs)
                    obs[(-1, 0) if is_vector else 0] = number
                elif is_vector:
                    reward = reward + 0.0
                    reward[-1] = number
                else:
                    reward = number
            return obs, reward, *rest

        return bad_step

    inner = env.envs[-1] if isinstance(env, DummyVecEnv) else env
    for name in ("step", "step_unchecked"):
        if hasattr(inner, name):
            setattr(inner, name, replaced(getattr(inner, name)))
    return env


def weights(model: Any) -> Tensor:
    return torch.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


class WeightsOfLastRollout(BaseCallback):
    def _on_rollout_start(self) -> None:
        self.weights = weights(self.model)

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("reward", math.nan),
        ("reward", math.inf),
        ("reward", -math.inf),
        # The tanh of an infinite observation is finite.
        ("observation", math.nan),
    ],
)
@pytest.mark.parametrize("env_kind", KINDS)
@pytest.mark.parametrize("agent", AGENTS)
def test_a_nonfinite_reward_or_observation_stops_the_training(
    agent: str, env_kind: str, kind: str, number: float
) -> None:
    """The error names it; the weights stay those that collected the rollout."""
    algorithm, settings = AGENTS[agent]
    env = KINDS[env_kind](CARTPOLE, max_episode_steps=30)
    env = with_bad_step(env, kind, number)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu", **settings)
    last = WeightsOfLastRollout()
    with pytest.raises(NonFiniteError) as caught:
        model.learn(10_000, callback=last)
    message = str(caught.value)
    # In the rollout with the bad step, or the next.
    assert model.num_timesteps <= (BAD_STEP + 60) * model.n_envs
    assert kind in message
    assert f"environment {model.n_envs - 1}" in message
    assert str(number) in message
    assert weights(model).isfinite().all()
    if "batch_size" not in settings:
        assert torch.equal(weights(model), last.weights)


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ("MlpPolicy", "reward"),
        ("MlpPolicy", "observation"),
        ("TabularPolicy", "reward"),
    ],
)
@pytest.mark.parametrize("env_kind", KINDS)
def test_tabular_environments_stop_as_well(
    env_kind: str, policy: str, kind: str
) -> None:
    form = {"observation": "index"} if policy == "TabularPolicy" else {}
    env = with_bad_step(KINDS[env_kind](SEQUENCE, **form), kind, math.nan)
    model = REINFORCE(policy, env, n_steps=16, seed=0, device="cpu")
    with pytest.raises(NonFiniteError, match=f"the {kind}"):
        model.learn(10_000)


class Steps(gymnasium.Env[Any, Any]):
    """Episodes of 10 steps; `number` is in the observation after the 9th."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        number: float,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.number = number
        self.n_steps = 0

    def observation(self) -> Any:
        obs, bad = np.full(2, 0.1, np.float32), np.full(2, 0.1, np.float32)
        if self.n_steps == 9:
            bad[1] = self.number
        is_dict = isinstance(self.observation_space, spaces.Dict)
        return {"a": obs, "b": bad} if is_dict else bad

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(np.asarray(action)), action
        self.n_steps += 1
        return self.observation(), 1.0, False, self.n_steps % 10 == 0, {}


BOX = spaces.Box(-np.inf, np.inf, (2,), np.float32)
DICT = spaces.Dict({"a": BOX, "b": BOX})
ACTIONS: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(3, start=2),
    "box": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "multi discrete": spaces.MultiDiscrete([2, 3]),
    "multi binary": spaces.MultiBinary(2),
}


class Overridden(MlpPolicy):
    """Overrides `forward`, which it then acts by."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("policy", ["MlpPolicy", "MultiInputPolicy", Overridden])
@pytest.mark.parametrize("actions", ACTIONS)
def test_every_action_space_and_policy_stops(
    algorithm: Any,
    policy: Any,
    actions: str,
    validated: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before a bad action reaches the environment.

    torch.compile turns the validation of torch's distributions off.
    """
    distribution = torch.distributions.Distribution
    monkeypatch.setattr(distribution, "_validate_args", validated)
    space = DICT if policy == "MultiInputPolicy" else BOX
    env = Steps(space, ACTIONS[actions], math.nan)
    model = algorithm(policy, env, seed=0, device="cpu")
    with pytest.raises(NonFiniteError, match=r"observation.* nan at index 1"):
        model.learn(400)


class Bounded(BaseFeaturesExtractor):
    """Finite features of any observation."""

    def __init__(self, observation_space: Any) -> None:
        super().__init__(observation_space, 2)

    def forward(self, observations: Tensor) -> Tensor:
        return torch.nan_to_num(observations, nan=0.0).clamp(-1.0, 1.0)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic, A2C])
def test_an_observation_that_the_extractor_makes_finite_is_accepted(
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
    """Logits with -inf for the last action, which is never drawn."""

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
def test_infinite_logits_mask_actions(algorithm: Any, n_envs: int) -> None:
    env = KINDS["torch"](SEQUENCE, n_envs)
    model = algorithm("MlpPolicy", env, n_steps=8, ent_coef=0.1, seed=0, device="cpu")
    model.policy.action_net = Masked(model.policy.action_net)
    before = weights(model)
    model.learn(8 * n_envs)
    assert (model.rollout_buffer.actions < 2).all()
    assert weights(model).isfinite().all()
    assert not torch.equal(before, weights(model))


@pytest.mark.parametrize(
    ("settings", "message"),
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
def test_a_diverging_update_stops_the_training(
    kind: str, settings: dict[str, Any], message: str
) -> None:
    env = KINDS[kind](CARTPOLE, max_episode_steps=30)
    model = ActorCritic("MlpPolicy", env, seed=0, device="cpu", **settings)
    with pytest.raises(NonFiniteError, match=message):
        model.learn(20_000)


@pytest.mark.parametrize("name", ["advantages", "returns"])
def test_the_error_names_what_a_callback_has_written(name: str) -> None:
    class Writes(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            getattr(self.locals["rollout_buffer"], name)[0] = math.nan

    model = ActorCritic("MlpPolicy", CARTPOLE, seed=0, device="cpu")
    with pytest.raises(NonFiniteError, match=f"the {name} of the rollout"):
        model.learn(100, Writes())


def test_an_overridden_loss_is_checked() -> None:
    class Overridden(ActorCritic):
        def loss(self, batch: Any) -> Any:
            loss, terms = super().loss(batch)
            return loss * math.nan, terms

    with pytest.raises(NonFiniteError, match=r"the loss is not finite.*loss\(\)"):
        Overridden("MlpPolicy", CARTPOLE, seed=0, device="cpu").learn(100)


def test_weights_of_an_overridden_train_are_checked() -> None:
    class Overridden(ActorCritic):
        def train(self) -> None:
            with torch.no_grad():
                next(self.policy.parameters())[0] = math.nan

    with pytest.raises(NonFiniteError, match="the weights are not finite"):
        Overridden("MlpPolicy", CARTPOLE, seed=0, device="cpu").learn(100)


def test_steps_that_are_not_recorded_are_not_checked() -> None:
    """An idle environment can return NaN."""

    def short_then_bad() -> Any:
        env = gymnasium.make(CARTPOLE, max_episode_steps=3)
        step, n_steps = env.step, 0

        def bad_step(action: Any) -> Any:
            nonlocal n_steps
            n_steps += 1
            obs, reward, *rest = step(action)
            return obs, math.nan if n_steps % 12 >= 4 else reward, *rest

        env.step = bad_step  # type: ignore[method-assign]
        return env

    env = DummyVecEnv(
        [short_then_bad, lambda: gymnasium.make(CARTPOLE, max_episode_steps=10)]
    )
    model = REINFORCE("MlpPolicy", env, n_episodes=1, seed=0, device="cpu")
    model.learn(1)
    assert weights(model).isfinite().all()


# first_nonfinite() and all_finite().

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((math.nan,), "w has 1 of 32 entries NaN"),
        ((math.nan, math.nan, math.nan), "w has 3 of 32 entries NaN"),
        ((math.inf, -math.inf), "w has 2 of 32 entries infinite"),
        ((math.nan, -math.inf), "w has 1 of 32 entries NaN and 1 infinite"),
        ((1.0, -2.0), None),
    ],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_first_nonfinite_tensor_is_named_with_counts(
    dtype: torch.dtype, numbers: tuple[float, ...], message: str | None, position: int
) -> None:
    tensor = torch.zeros(4, 8, dtype=dtype)
    for i, number in enumerate(numbers):
        tensor.view(-1)[5 * i + 3] = number
    items = [(f"v{i}", torch.full((3,), 2.0)) for i in range(2)]
    items.insert(position, ("w", tensor))
    assert first_nonfinite(dict(items)) == message
    assert all_finite(tensor for _, tensor in items) is (message is None)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_largest_numbers_are_finite(dtype: torch.dtype) -> None:
    """Though their norm overflows."""
    largest = torch.full((3, 3), torch.finfo(dtype).max, dtype=dtype)
    assert first_nonfinite({"a": largest, "b": -largest}) is None


def test_integers_booleans_and_empty_tensors_are_finite() -> None:
    integers, booleans = torch.tensor([2**62, -1]), torch.tensor([True])
    named = {"integers": integers, "booleans": booleans, "empty": torch.zeros(0, 3)}
    assert first_nonfinite(named) is None
    assert first_nonfinite({}) is None
