"""Where gradients come from: closed form and autograd train alike, and users see both.

Overridden methods, hooks and other layers lead to autograd.
"""

from __future__ import annotations

import functools
import math
import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium
import numpy as np
import pytest
import safetensors.torch
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from stable_baselines3 import A2C
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import register_parametrization
from torch.optim import SGD, Adam, AdamW, RMSprop

from pg_agents import REINFORCE, ActorCritic, TrajectoryBuffer
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.common.nonfinite import NonFiniteError
from pg_agents.learning import gradients as gradients_module
from pg_agents.learning.gradients import TorchDraws
from pg_agents.policies.distributions import ShiftedCategorical, for_space
from pg_agents.policies.features import ScaledExtractor
from pg_agents.policies.policies import MlpPolicy
from tests.pg_agents.checkpoint.resuming_examples import MAKERS, check_exact
from tests.pg_agents.envs import NativeVectorEnv, SampleEnv
from tests.pg_agents.kinds import CARTPOLE, KINDS, SEQUENCE, dummy
from tests.pg_agents.vec_env.native_envs import Walk, reusing
from tests.stand_in import context_of

COLUMNS = (
    "observations",
    "actions",
    "rewards",
    "values",
    "log_probs",
    "returns",
    "advantages",
)


def sgd(**policy_kwargs: Any) -> dict[str, Any]:
    """SGD does not amplify rounding errors."""
    return {"policy_kwargs": {"optimizer_class": SGD, **policy_kwargs}}


class Logs(KVWriter):
    """Stores all that is logged, except times."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def write(self, key_values: Any, key_excluded: Any, step: int = 0) -> None:
        self.rows.append(
            {k: float(v) for k, v in key_values.items() if not k.startswith("time/")}
        )

    def close(self) -> None: ...


class Columns(BaseCallback):
    """Stores the buffer's columns of every rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.rollouts: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
        names = (*COLUMNS, "episode_starts", "terminated", "truncated", "recorded")
        self.rollouts.append({name: np.array(getattr(buffer, name)) for name in names})


@dataclass
class Run:
    """What is left of a training."""

    model: Any
    before: Tensor
    weights: Tensor
    logs: list[dict[str, float]]


def weights_of(model: Any) -> Tensor:
    parameters = model.policy.parameters()
    return nn.utils.parameters_to_vector(parameters).detach().clone()


def run(
    gradients: str,
    algorithm: Any,
    env: Any,
    n: int = 100,
    callback: Any = None,
    policy: Any = "MlpPolicy",
    **settings: Any,
) -> Run:
    settings = {"seed": 3, "learning_rate": 0.02, "device": "cpu"} | settings
    model = algorithm(policy, env, gradients=gradients, **settings)
    kind = "autograd" if gradients == "autograd" else "closed form"
    assert model.explain_gradients().startswith(kind)
    before, logs = weights_of(model), Logs()
    model.set_logger(Logger(None, [logs]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "an episode was still running")
        model.learn(n, callback, log_interval=1)
    return Run(model, before, weights_of(model), logs.rows)


def assert_same_runs(found: Run, expected: Run) -> None:
    """Compares weights, what a training changed of them, and logs, up to rounding."""
    assert torch.equal(found.before, expected.before)
    change = float((expected.weights - expected.before).abs().max())
    assert change > 1e-4
    torch.testing.assert_close(
        found.weights, expected.weights, rtol=0.0, atol=1e-3 * change
    )
    assert len(found.logs) == len(expected.logs) > 0
    for ours, theirs in zip(found.logs, expected.logs, strict=True):
        assert list(ours) == list(theirs)
        for name, number in theirs.items():
            assert ours[name] == pytest.approx(
                number, rel=2e-3, abs=1e-4, nan_ok=True
            ), name


def check_equal_trainings(
    algorithm: Any, make_env: Any, n: int = 100, **settings: Any
) -> None:
    """Trains on both paths, with and without a callback that reads all columns."""
    runs, columns = {}, {}
    for gradients in ("autograd", "closed_form"):
        env, columns[gradients] = make_env(), Columns()
        runs[gradients] = run(gradients, algorithm, env, n, **settings)
        read = run(gradients, algorithm, make_env(), n, columns[gradients], **settings)
        change = float((read.weights - read.before).abs().max())
        torch.testing.assert_close(
            read.weights, runs[gradients].weights, rtol=0.0, atol=1e-4 * change
        )
    assert_same_runs(runs["closed_form"], runs["autograd"])
    pairs = zip(
        *(columns[g].rollouts for g in ("closed_form", "autograd")), strict=True
    )
    for ours, theirs in pairs:
        for name in ("values", "log_probs"):
            # Known or not where they are not needed.
            for columns_of in (ours, theirs):
                columns_of[name] *= columns_of["recorded"]
        for name, column in theirs.items():
            assert (ours[name].shape, ours[name].dtype) == (column.shape, column.dtype)
            tolerance = 2e-3 if column.dtype.kind == "f" else 0.0
            scale = float(np.abs(column).max()) if column.dtype.kind == "f" else 0.0
            np.testing.assert_allclose(
                ours[name], column, tolerance, tolerance * scale, err_msg=name
            )


PPO_SETTINGS: dict[str, Any] = {
    "n_steps": 16,
    "n_epochs": 3,
    "batch_size": 16,
    "clip_range": 0.2,
    "normalize_advantage": True,
    "max_grad_norm": 0.5,
}
REINFORCE_SETTINGS: list[dict[str, Any]] = [
    {},
    {"n_episodes": 3},
    {"n_steps": 9},
    {"baseline": "mean"},
    {"baseline": "leave_one_out", "n_episodes": 2},
    {"baseline": "value", "bootstrap": True, "n_steps": 9},
    {"baseline": "value", "bootstrap": True, "standardize_returns": True},
    {"baseline": "value", "critic_loss": "huber", "vf_coef": 0.1},
    {"baseline": "value", "critic_learning_rate": lambda p: 0.1 * p},
    {"standardize_returns": True, "returns": "full_return"},
    {"normalize_advantage": True, "weight_by_gamma_t": True, "gamma": 0.9},
    {"max_grad_norm": 0.1, "ent_coef": lambda progress: 0.1 * progress},
    {"max_episode_steps": 5},
    {**PPO_SETTINGS, "baseline": "value", "clip_range_vf": 0.2, "target_kl": 1e-3},
    {"memory_size": 60, "gradient_steps": 2},
    {"memory_size": 60, "replay": "returns", "batch_size": 8},
    {"memory_size": 60, "baseline": "value", "bootstrap": True},
]
ACTOR_CRITIC_SETTINGS: list[dict[str, Any]] = [
    {},
    {"n_steps": 1, "estimator": "td"},
    {"n_steps": 7, "estimator": "n_step", "td_steps": 3},
    {"n_steps": 7, "gae_lambda": 0.8, "ent_coef": 0.05},
    {"n_steps": 7, "bootstrap_truncated": False, "critic_loss": "huber"},
    {"n_episodes": 2, "standardize_returns": True, "weight_by_gamma_t": True},
    {**PPO_SETTINGS, "gae_lambda": 0.9},
    {**PPO_SETTINGS, "clip_range_vf": 0.1, "ent_coef": 0.01, "target_kl": 1e-3},
    {**PPO_SETTINGS, "batch_size": 13, "critic_loss": "huber"},
    {"target_update_interval": 2, "tau": 0.5, "critic_learning_rate": 0.01},
    {"memory_size": 60, "gae_lambda": 0.8},
    {"memory_size": 60, "replay": "returns", "batch_size": 8},
    {"memory_size": 60, "target_update_interval": 2, "learning_starts": 50},
    {"max_grad_norm": None, "normalize_advantage": True},
]
GRID = [
    *((REINFORCE, settings) for settings in REINFORCE_SETTINGS),
    *((ActorCritic, settings) for settings in ACTOR_CRITIC_SETTINGS),
]


def short_cartpole(kind: str = "dummy") -> Any:
    return KINDS[kind](CARTPOLE, max_episode_steps=15)


@pytest.mark.parametrize(("algorithm", "settings"), GRID)
def test_trainings_are_equal_with_each_setting(algorithm: Any, settings: Any) -> None:
    check_equal_trainings(algorithm, short_cartpole, **sgd(net_arch=[8]), **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (REINFORCE, {"n_episodes": 2}),
        (REINFORCE, {"baseline": "value", "bootstrap": True, "n_steps": 9}),
        (REINFORCE, {"memory_size": 60}),
        (ActorCritic, {"n_steps": 9}),
        (ActorCritic, {"n_episodes": 2, "max_episode_steps": 5}),
        (ActorCritic, PPO_SETTINGS),
    ],
)
def test_trainings_are_equal_in_each_kind_of_env(
    kind: str, algorithm: Any, settings: Any
) -> None:
    """Those of Gymnasium take dummy steps, and all but single ones idle."""

    def make_env() -> Any:
        return KINDS[kind](CARTPOLE) if kind == "torch" else short_cartpole(kind)

    check_equal_trainings(algorithm, make_env, **sgd(net_arch=[8]), **settings)


SPACES: list[tuple[Any, Any]] = [
    (spaces.Box(-1.0, 1.0, (3,)), spaces.Discrete(3, start=-1)),
    (spaces.Discrete(5, start=2), spaces.MultiDiscrete([2, 3], start=[1, -1])),
    (spaces.MultiDiscrete([3, 2], start=[4, 0]), spaces.MultiBinary(3)),
    (spaces.MultiBinary([2, 2]), spaces.Box(-1.0, 1.0, (2, 2))),
    (spaces.Box(-1.0, 1.0, (2, 2), np.float64), spaces.Box(-1.0, 1.0, (1,))),
    (spaces.Box(-9, 9, (3,), np.int64), spaces.Box(-2.0, 1.0, (2,), np.float64)),
]


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize(("observation", "action"), SPACES)
def test_trainings_are_equal_with_each_space(
    observation: Any, action: Any, algorithm: Any
) -> None:
    def make_env() -> Any:
        def make() -> Any:
            return Monitor(SampleEnv(observation, action, [4, 6], truncates=True))

        return DummyVecEnv([make] * 2)

    settings = {"n_steps": 9, "ent_coef": 0.01, "max_grad_norm": 0.5}
    more = {"baseline": "value"} if algorithm is REINFORCE else {}
    each: list[dict[str, Any]] = [
        {"layer_norm": True, "activation_fn": nn.ReLU},
        {"critic": "shared", "net_arch": [6]},
        {"net_arch": []},
    ]
    for options in each:
        check_equal_trainings(
            algorithm, make_env, 60, **sgd(**options), **settings, **more
        )


LOSSES = st.fixed_dictionaries(
    {
        "clip_range": st.sampled_from([None, 0.1]),
        "n_epochs": st.sampled_from([1, 2]),
        "batch_size": st.sampled_from([None, 7]),
        "normalize_advantage": st.booleans(),
        "ent_coef": st.sampled_from([0.0, 0.05]),
        "max_grad_norm": st.sampled_from([None, 0.3]),
        "critic_loss": st.sampled_from(["squared", "huber"]),
        "vf_coef": st.sampled_from([0.1, 1.0]),
        "weight_by_gamma_t": st.booleans(),
    }
)
NETWORKS = st.fixed_dictionaries(
    {
        "net_arch": st.sampled_from([[], [5], [6, 4]]),
        "activation_fn": st.sampled_from([nn.Tanh, nn.ReLU]),
        "critic": st.sampled_from(["separate", "shared"]),
        "layer_norm": st.booleans(),
    }
)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    algorithm=st.sampled_from([REINFORCE, ActorCritic]),
    space=st.sampled_from(SPACES),
    loss=LOSSES,
    network=NETWORKS,
)
def test_two_updates_are_equal_with_any_combination(
    algorithm: Any, space: Any, loss: dict[str, Any], network: dict[str, Any]
) -> None:
    if loss["clip_range"] is None:
        # Without clipping an update uses a rollout once, whole.
        loss = loss | {"n_epochs": 1, "batch_size": None}
    if loss["batch_size"] is not None and loss["normalize_advantage"]:
        loss = loss | {"weight_by_gamma_t": False}
    if algorithm is REINFORCE:
        loss = loss | {"baseline": "value"}
    observation, action = space
    if network["net_arch"] == []:
        network = network | {"critic": "separate", "layer_norm": False}

    def make_env() -> Any:
        def make() -> Any:
            return Monitor(SampleEnv(observation, action, [4, 6], truncates=True))

        return DummyVecEnv([make] * 2)

    runs = {
        gradients: run(
            gradients, algorithm, make_env(), 36, n_steps=9, **sgd(**network), **loss
        )
        for gradients in ("closed_form", "autograd")
    }
    assert_same_runs(runs["closed_form"], runs["autograd"])


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
def test_trainings_of_tables_are_equal(algorithm: Any) -> None:
    """The clamp of logits is a hook of the optimizer's step."""
    options = {"max_logit": 0.02}
    check_equal_trainings(
        algorithm,
        lambda: dummy(SEQUENCE, observation="index"),
        policy="TabularPolicy",
        policy_kwargs=options,
        learning_rate=0.1,
    )
    env = dummy(SEQUENCE, observation="index")
    model = algorithm("TabularPolicy", env, policy_kwargs=options, learning_rate=0.1)
    model.learn(100)
    assert "closed form" in model.explain_gradients()
    assert float(model.policy.logits.abs().max()) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("observation", "options"),
    [
        (spaces.Box(0, 255, (1, 36, 36), np.uint8), {"normalize_images": False}),
        (
            spaces.Box(-100.0, 100.0, (3,)),
            {
                "features_extractor_class": ScaledExtractor,
                "features_extractor_kwargs": {
                    "centre": [1.0, -5.0, 20.0],
                    "scale": [50.0, 60.0, 70.0],
                },
            },
        ),
        (spaces.Box(-1.0, 1.0, (3,)), {"share_features_extractor": False}),
    ],
    ids=["images as numbers", "ScaledExtractor", "two extractors"],
)
def test_trainings_with_each_extractor_are_equal(
    observation: Any, options: Any
) -> None:
    check_equal_trainings(
        ActorCritic,
        lambda: SampleEnv(observation, spaces.Discrete(2), [4, 6]),
        30,
        **sgd(net_arch=[8], **options),
    )


@pytest.mark.parametrize("net_arch", [[], [8]])
@pytest.mark.parametrize("n_envs", [3, 300])
def test_trainings_in_an_env_that_reuses_its_arrays_are_equal(
    n_envs: int, net_arch: list[int]
) -> None:
    found = []
    for gradients in ("closed_form", "autograd"):
        for reuses in (True, False):
            env: Any = NativeVectorEnv([Walk(3 + i % 4) for i in range(n_envs)])
            env = reusing(env) if reuses else env
            settings = {"n_steps": 6, **sgd(net_arch=net_arch)}
            found.append(run(gradients, ActorCritic, env, 18 * n_envs, **settings))
    for each in found[1:]:
        assert_same_runs(found[0], each)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (SGD, {"momentum": 0.9, "weight_decay": 0.1}),
        (Adam, {"amsgrad": True}),
        (AdamW, {}),
        (RMSprop, {"centered": True}),
        (RMSpropTFLike, {}),
    ],
)
def test_trainings_with_each_optimizer_are_equal(optimizer: Any, options: Any) -> None:
    kwargs = {"optimizer_class": optimizer, "optimizer_kwargs": options}
    check_equal_trainings(
        ActorCritic,
        short_cartpole,
        policy_kwargs={**kwargs, "net_arch": [8]},
        learning_rate=1e-3,
        n_steps=16,
    )


@pytest.mark.parametrize("n_envs", [256, 1100])
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (REINFORCE, {"n_episodes": 1, "max_episode_steps": 12}),
        (ActorCritic, {"n_steps": 6, "ent_coef": 0.1, "n_epochs": 2}),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"net_arch": [8, 8], "layer_norm": True},
        {"net_arch": [8], "critic": "shared"},
        {"net_arch": []},
    ],
)
def test_trainings_in_many_environments_are_equal(
    options: Any, algorithm: Any, settings: Any, n_envs: int
) -> None:
    """Activations of acting can serve the update."""
    more = {"baseline": "value"} if algorithm is REINFORCE else {}
    found = [
        run(
            gradients,
            algorithm,
            KINDS["torch"](CARTPOLE, n_envs),
            18 * n_envs,
            **sgd(**options),
            **settings,
            **more,
        )
        for gradients in ("closed_form", "autograd")
    ]
    assert_same_runs(*found)


@pytest.mark.parametrize("max_activations", [10**6, 10**4])
def test_trainings_on_tens_of_thousands_of_steps_are_equal(
    max_activations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the lower limit, activations are computed again for the update."""
    monkeypatch.setattr(gradients_module, "MAX_ACTIVATIONS", max_activations)
    n_envs = 4000
    found = [
        run(
            gradients,
            ActorCritic,
            KINDS["torch"](CARTPOLE, n_envs),
            16 * n_envs,
            n_steps=16,
            n_epochs=2,
            **sgd(net_arch=[]),
        )
        for gradients in ("closed_form", "autograd")
    ]
    assert_same_runs(*found)


@pytest.mark.parametrize("policy", ["MlpPolicy", "TabularPolicy"])
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (REINFORCE, {"n_episodes": 1, "baseline": "leave_one_out"}),
        (ActorCritic, {"n_steps": 6, "ent_coef": 0.1, "critic_loss": "huber"}),
        (ActorCritic, {"n_steps": 6, "clip_range": 0.1, "n_epochs": 2}),
        (ActorCritic, {"n_steps": 6, "target_update_interval": 2}),
    ],
)
def test_trainings_whose_steps_share_few_states_are_equal(
    algorithm: Any, settings: Any, policy: str
) -> None:
    """The pairs of state and action are evaluated in place of the steps."""
    observations, actions = spaces.Discrete(3, start=2), spaces.Discrete(3, start=-1)

    def make_env() -> Any:
        def make(i: int) -> Any:
            lengths = [1 + i % 5, 4, 6]
            return Monitor(SampleEnv(observations, actions, lengths, truncates=i > 50))

        return DummyVecEnv([functools.partial(make, i) for i in range(100)])

    options = sgd() if policy == "TabularPolicy" else sgd(net_arch=[6])
    check_equal_trainings(
        algorithm, make_env, 1800, policy=policy, **options, **settings
    )


@pytest.mark.parametrize("shape", [(1, 2), (40, 3), (5000, 3), (3, 700, 2)])
@pytest.mark.parametrize("kind", ["exponential", "uniform", "normal"])
def test_draws_are_those_of_torch(kind: str, shape: tuple[int, ...]) -> None:
    """The same numbers, bit for bit, from the same state of the generator."""
    draw = TorchDraws()
    torch.manual_seed(7)
    found = [draw(kind, shape).copy() for _ in range(3)]
    last = torch.rand(3)
    torch.manual_seed(7)
    for each in found:
        expected = torch.empty(shape)
        getattr(expected, f"{kind}_")()
        np.testing.assert_array_equal(each, expected.numpy())
    assert torch.equal(last, torch.rand(3))


# What leads to autograd.


def scale(factor: float) -> Any:
    """Returns a hook that scales what a layer returns."""
    return lambda module, inputs, outputs: factor * outputs


def scale_inputs(module: Any, inputs: Any) -> Any:
    return (1.5 * inputs[0],)


def scale_gradients(module: Any, inputs: Any, outputs: Any) -> Any:
    return tuple(None if g is None else 3.0 * g for g in inputs)


def scale_grad(parameter: Any) -> None:
    parameter.grad *= 3.0


class Doubled(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2.0 * weight


class OwnLinear(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2.0 * super().forward(inputs)


class OwnExtractor(FlattenExtractor):
    def forward(self, observations: Tensor) -> Tensor:
        return 2.0 * super().forward(observations)


class OwnAdam(Adam):
    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class OwnCategorical(ShiftedCategorical):
    def log_prob(self, actions: Tensor) -> Tensor:
        return 2.0 * super().log_prob(actions)


class OwnPolicy(MlpPolicy):
    def evaluate_actions(self, obs: Any, actions: Tensor) -> Any:
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        return 2.0 * values, 2.0 * log_prob, entropy


class OwnBuffer(TrajectoryBuffer):
    def get(self, batch_size: int | None = None) -> Any:
        for batch in TrajectoryBuffer.get(self, batch_size):
            yield replace(batch, advantages=2.0 * batch.advantages)


def doubling(method: Any) -> Any:
    """Returns a method that doubles a tensor, or all in a tuple, of another one."""

    def doubled(*args: Any, **kwargs: Any) -> Any:
        found = method(*args, **kwargs)
        return tuple(2.0 * x for x in found) if type(found) is tuple else 2.0 * found

    return doubled


def double(owner: Any, name: str) -> None:
    setattr(owner, name, doubling(getattr(owner, name)))


def new_linear(policy: Any, kind: Any = nn.Linear) -> nn.Module:
    torch.manual_seed(7)
    made: nn.Module = kind(policy.mlp_extractor.latent_dim_pi, 2)
    return made


def own_distribution(policy: Any) -> None:
    policy.action_dist = for_space(policy.action_dist, policy.action_space)
    own = OwnCategorical.__new__(OwnCategorical)
    vars(own).update(vars(policy.action_dist))
    policy.action_dist = own


def own_buffer(model: Any) -> None:
    buffer = OwnBuffer(model.device)
    vars(buffer).update(vars(model.rollout_buffer))
    model.rollout_buffer = buffer


def no_entropy(model: Any) -> None:
    """It is then estimated from log-probabilities, as in SB3."""
    model.policy.action_dist.entropy = lambda: None


def own_loss(model: Any) -> None:
    loss = type(model).loss

    def doubled(batch: Any) -> Any:
        value, terms = loss(model, batch)
        return 2.0 * value, terms

    model.loss = doubled


def own_get(model: Any) -> None:
    buffer = model.rollout_buffer
    buffer.get = lambda batch_size=None: OwnBuffer.get(buffer, batch_size)


def freeze(model: Any) -> None:
    model.policy.mlp_extractor.policy_net[0].requires_grad_(False)


def assign_weights(model: Any) -> None:
    state = {name: 0.5 * w for name, w in model.policy.state_dict().items()}
    model.policy.load_state_dict(state, assign=True)


def append_to_actor(layer: Any) -> Any:
    return lambda model: model.policy.mlp_extractor.policy_net.append(layer())


def halve(policy: Any) -> None:
    with torch.no_grad():
        policy.action_net.weight.mul_(0.5)


def accumulate(model: Any) -> None:
    """Gradients of several updates add up."""
    model.policy.optimizer.zero_grad = lambda set_to_none=True: None


# Changes of a model, and what `explain_gradients()` says of it.
CHANGES: dict[str, tuple[Any, str]] = {
    "hook of a layer": (
        lambda m: m.policy.action_net.register_forward_hook(scale(3.0)),
        "hook",
    ),
    "hook before a layer": (
        lambda m: m.policy.value_net.register_forward_pre_hook(scale_inputs),
        "hook",
    ),
    "hook of the extractor": (
        lambda m: m.policy.features_extractor.register_forward_hook(scale(3.0)),
        "hook",
    ),
    "hook of an activation": (
        lambda m: m.policy.mlp_extractor.policy_net[1].register_forward_hook(scale(0)),
        "hook",
    ),
    "backward hook": (
        lambda m: m.policy.mlp_extractor.policy_net[2].register_full_backward_hook(
            scale_gradients
        ),
        "hook",
    ),
    "hook of a parameter": (
        lambda m: m.policy.action_net.weight.register_hook(lambda g: 3.0 * g),
        "hook",
    ),
    "hook after a parameter's gradient": (
        lambda m: m.policy.action_net.bias.register_post_accumulate_grad_hook(
            scale_grad
        ),
        "hook",
    ),
    "forward of a layer": (lambda m: double(m.policy.action_net, "forward"), ""),
    "forward of an activation": (
        lambda m: double(m.policy.mlp_extractor.policy_net[1], "forward"),
        "",
    ),
    "forward of the extractor": (
        lambda m: double(m.policy.features_extractor, "forward"),
        "",
    ),
    "forward_actor": (
        lambda m: double(m.policy.mlp_extractor, "forward_actor"),
        "MlpExtractor.forward_actor",
    ),
    "evaluate_actions": (
        lambda m: double(m.policy, "evaluate_actions"),
        "MlpPolicy.evaluate_actions",
    ),
    "predict_values": (
        lambda m: double(m.policy, "predict_values"),
        "MlpPolicy.predict_values",
    ),
    "extract_features": (
        lambda m: double(m.policy, "extract_features"),
        "MlpPolicy.extract_features",
    ),
    "class of the policy": (
        lambda m: setattr(m.policy, "__class__", OwnPolicy),
        "OwnPolicy.evaluate_actions",
    ),
    "distribution": (lambda m: own_distribution(m.policy), "OwnCategorical"),
    "entropy of the distribution": (no_entropy, "entropy"),
    "layer of a subclass": (
        lambda m: setattr(m.policy, "action_net", new_linear(m.policy, OwnLinear)),
        "OwnLinear",
    ),
    "class of a layer": (
        lambda m: setattr(m.policy.action_net, "__class__", OwnLinear),
        "OwnLinear",
    ),
    "layer with another derivative": (
        lambda m: m.policy.mlp_extractor.policy_net.__setitem__(1, nn.ELU()),
        "ELU",
    ),
    "appended layer": (append_to_actor(nn.Sigmoid), "Sigmoid"),
    "appended activation": (append_to_actor(nn.ReLU), "ReLU does not follow"),
    "activation before the layers": (
        lambda m: m.policy.mlp_extractor.policy_net.insert(0, nn.Tanh()),
        "Tanh does not follow",
    ),
    "shared memory": (lambda m: halve(m.policy.share_memory()), "shared memory"),
    "layer without an optimizer": (
        lambda m: setattr(m.policy, "action_net", new_linear(m.policy)),
        "other parameters",
    ),
    "weights that are assigned": (assign_weights, "other parameters"),
    "extractor": (
        lambda m: setattr(
            m.policy, "features_extractor", OwnExtractor(m.observation_space)
        ),
        "OwnExtractor",
    ),
    "extractor of the actor": (
        lambda m: double(m.policy.pi_features_extractor, "forward"),
        "",
    ),
    "parametrization": (
        lambda m: register_parametrization(m.policy.action_net, "weight", Doubled()),
        "ParametrizedLinear",
    ),
    "weight norm": (lambda m: weight_norm(m.policy.action_net), "ParametrizedLinear"),
    "frozen layer": (freeze, "does not require gradients"),
    "other optimizer": (
        lambda m: setattr(
            m.policy, "optimizer", torch.optim.Adagrad(m.policy.parameters(), lr=0.1)
        ),
        "Adagrad",
    ),
    "optimizer of a subclass": (
        lambda m: setattr(
            m.policy, "optimizer", OwnAdam(m.policy.parameters(), lr=0.1)
        ),
        "OwnAdam",
    ),
    "optimizer of some layers": (
        lambda m: setattr(
            m.policy, "optimizer", SGD(m.policy.action_net.parameters(), lr=0.1)
        ),
        "other parameters",
    ),
    "zero_grad": (accumulate, "zero_grad"),
    "loss": (own_loss, "ActorCritic.loss"),
    "train": (lambda m: setattr(m, "train", lambda: None), "ActorCritic.train"),
    "get of the buffer": (own_get, "TrajectoryBuffer.get"),
    "buffer": (own_buffer, "OwnBuffer.get"),
}


def changeable(gradients: Any = "auto", **options: Any) -> Any:
    return ActorCritic(
        "MlpPolicy",
        short_cartpole(),
        gradients=gradients,
        learning_rate=0.01,
        n_steps=8,
        ent_coef=0.1,
        # It would undo a change of the gradient's scale.
        max_grad_norm=None,
        seed=3,
        device="cpu",
        **sgd(**{"net_arch": [8, 8], **options}),
    )


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_model_uses_autograd_and_says_why(name: str) -> None:
    change, reason = CHANGES[name]
    model = changeable()
    assert model.explain_gradients().startswith("closed form")
    change(model)
    assert model.explain_gradients().startswith("autograd: ")
    assert reason in model.explain_gradients()
    model.learn(24)
    model.gradients = "closed_form"
    with pytest.raises(ValueError, match="gradients='closed_form' does not apply") as e:
        model.learn(24)
    assert reason in str(e.value)


def nothing(model: Any) -> None: ...


class Change(BaseCallback):
    """Changes the model at the end of the second rollout.

    Args:
        change: takes the model.
        skips: whether the next update has the step size 0. A hook or an override may
            take effect in it, or in the next rollout.
    """

    def __init__(self, change: Any, skips: bool) -> None:
        super().__init__()
        self.change, self.skips, self.n_rollouts = change, skips, 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.n_rollouts += 1
        if self.n_rollouts == 2:
            self.change(self.model)
        if self.skips:
            rate = 0.0 if self.n_rollouts == 2 else 0.01
            self.model.learning_rate = rate


def check_change(change: Any, skips: bool, **settings: Any) -> None:
    """A change in the midst of a training has the effect that it has with autograd."""
    runs = (("auto", change), ("autograd", change), ("auto", nothing))
    found = []
    for gradients, change_model in runs:
        model = changeable(gradients, **settings)
        model.learn(4 * 8 * 3, Change(change_model, skips))
        found.append(weights_of(model))
    changed, expected, unchanged = found
    torch.testing.assert_close(changed, expected, rtol=1e-4, atol=2e-6)
    if len(unchanged) == len(changed):
        assert float((changed - unchanged).abs().max()) > 2e-5


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_by_a_callback_has_the_effect_it_has_with_autograd(name: str) -> None:
    check_change(CHANGES[name][0], skips=True)


# Changes after which gradients still have a closed form.
def new_layer_and_optimizer(model: Any) -> None:
    model.policy.action_net = new_linear(model.policy)
    model.policy.optimizer = Adam(model.policy.parameters(), lr=0.01)


def new_weights(model: Any) -> None:
    state = {name: 0.5 * w for name, w in model.policy.state_dict().items()}
    model.policy.load_state_dict(state)


def set_data(model: Any) -> None:
    model.policy.action_net.weight.data = torch.full((2, 8), 0.1)


def and_back(model: Any) -> None:
    model.policy.to(torch.float64)
    with torch.no_grad():
        model.policy.action_net.weight.add_(0.3)
    model.policy.to(torch.float32)


def copy_and_learn(model: Any) -> None:
    """The copy has parameters of its own."""
    copied = deepcopy(model.policy)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.fill_(7.0)
    halve(model.policy)


def new_policy_weights(model: Any) -> None:
    other = changeable()
    new_weights(other)
    model.set_parameters(other.get_parameters())


STILL_CLOSED: dict[str, Any] = {
    "layer and optimizer": new_layer_and_optimizer,
    "optimizer": lambda m: setattr(
        m.policy, "optimizer", Adam(m.policy.parameters(), lr=0.01)
    ),
    "activation": lambda m: m.policy.mlp_extractor.policy_net.__setitem__(1, nn.ReLU()),
    "load_state_dict": new_weights,
    "set_parameters": new_policy_weights,
    "data of a parameter": set_data,
    "to float64 and back": and_back,
    "a copy": copy_and_learn,
    "step of the optimizer": lambda m: setattr(m.policy.optimizer, "step", lambda: 0),
    "hook of the optimizer": lambda m: m.policy.optimizer.register_step_pre_hook(
        lambda *_: m.policy.action_net.bias.grad.mul_(9.0)[:0].tolist() or None
    ),
    "hook after a step": lambda m: m.policy.optimizer.register_step_post_hook(
        lambda *_: m.policy.action_net.bias.data.clamp_(-1e-4, 1e-4)
    ),
    "options of the optimizer": lambda m: m.policy.optimizer.param_groups[0].update(
        momentum=0.9
    ),
    "settings": lambda m: m.change_settings(ent_coef=5.0, n_epochs=3),
    "several epochs in new memory": lambda m: (
        m.change_settings(n_epochs=4),
        m.policy.double().float(),
    ),
}


@pytest.mark.parametrize("name", STILL_CLOSED)
def test_so_has_one_after_which_gradients_stay_in_closed_form(name: str) -> None:
    model = changeable()
    STILL_CLOSED[name](model)
    assert model.explain_gradients().startswith("closed form")
    # The forward pass of autograd knows new weights, not new layers.
    check_change(STILL_CLOSED[name], skips="activation" in name)


# Changes of policies that other tests do not have.
OTHERS: dict[str, tuple[dict[str, Any], Any]] = {
    "appended to no layers": (
        {"net_arch": []},
        lambda m: m.policy.mlp_extractor.policy_net.append(nn.Sigmoid()),
    ),
    "appended activation to no layers": (
        {"net_arch": []},
        lambda m: m.policy.mlp_extractor.policy_net.append(nn.Tanh()),
    ),
    "epsilon of a layer norm": (
        {"layer_norm": True},
        lambda m: setattr(m.policy.mlp_extractor.policy_net[1], "eps", 1.0),
    ),
    "scale of the observations": (
        {
            "features_extractor_class": ScaledExtractor,
            "features_extractor_kwargs": {"centre": [0.0] * 4, "scale": [1.0] * 4},
        },
        lambda m: setattr(m.policy.features_extractor, "scale", torch.full((4,), 0.1)),
    ),
    "bias": (
        {"net_arch": []},
        lambda m: setattr(m.policy.action_net, "bias", None),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_so_have_changes_of_other_policies(name: str) -> None:
    options, change = OTHERS[name]
    model = changeable(**options)
    assert model.explain_gradients().startswith("closed form")
    check_change(change, skips=True, **options)


@pytest.mark.parametrize("gradients", ["auto", "autograd"])
def test_a_table_can_be_parametrized_by_a_callback(gradients: Any) -> None:
    def parametrize(model: Any) -> None:
        register_parametrization(model.policy.action_net, "weight", Doubled())

    env = dummy(SEQUENCE, observation="index")
    model = ActorCritic(
        "TabularPolicy", env, learning_rate=0.1, seed=3, gradients=gradients
    )
    model.learn(60, Change(parametrize, skips=False))
    assert model.explain_gradients().startswith("autograd")
    # The table is that of torch's parametrization, with its effect.
    table: Any = model.policy.action_net
    original = table.parametrizations.weight.original
    torch.testing.assert_close(table.weight, 2.0 * original)
    assert original.grad is not None and original.grad.any()


# Classes of policies, networks and algorithms that a user patches.
PATCHED: list[tuple[Any, str]] = [
    (MlpPolicy, "evaluate_actions"),
    (ActorCriticPolicy, "evaluate_actions"),
    (ActorCriticPolicy, "extract_features"),
    (ActorCriticPolicy, "predict_values"),
    (MlpExtractor, "forward_actor"),
    (FlattenExtractor, "forward"),
    (nn.Linear, "forward"),
    (nn.Tanh, "forward"),
    (ShiftedCategorical, "log_prob"),
    (PolicyGradientAlgorithm, "loss"),
    (ActorCritic, "loss"),
    (TrajectoryBuffer, "get"),
]
WRAPPED = " with functools.wraps"
PATCHES = {
    f"{owner.__name__}.{name}{how}": (owner, name, how == WRAPPED)
    for owner, name in PATCHED
    for how in ("", WRAPPED)
}


def patched_method(owner: Any, name: str, keeps_name: bool) -> Any:
    method = getattr(owner, name)

    def other_batches(self: Any, batch_size: int | None = None) -> Any:
        for batch in method(self, batch_size):
            yield replace(batch, advantages=2.0 * batch.advantages)

    def other_loss(self: Any, batch: Any) -> Any:
        value, terms = method(self, batch)
        return 2.0 * value, terms

    changed = {"get": other_batches, "loss": other_loss}.get(name, doubling(method))
    return functools.wraps(method)(changed) if keeps_name else changed


@pytest.mark.parametrize("which", PATCHES)
def test_a_patched_class_has_the_effect_it_has_with_autograd(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, keeps_name = PATCHES[which]
    unpatched = changeable().learn(96)
    found = []
    method = patched_method(owner, name, keeps_name)
    for gradients in ("auto", "autograd"):
        model = changeable(gradients)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, method)
            assert model.explain_gradients().startswith("autograd: ")
            found.append(weights_of(model.learn(96)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=2e-6)
    assert float((found[0] - weights_of(unpatched)).abs().max()) > 2e-5
    assert changeable().explain_gradients().startswith("closed form")


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward"])
def test_hooks_of_all_modules_see_every_layer(kind: str) -> None:
    calls: list[str] = []
    model = changeable()
    model.learn(24)
    register = getattr(nn.modules.module, f"register_module_{kind}_hook")
    hook = register(lambda module, *_: calls.append(type(module).__name__))
    try:
        assert "hook" in model.explain_gradients()
        model.learn(24)
    finally:
        hook.remove()
    assert calls.count("Tanh") == (4 if kind == "full_backward" else 38)
    assert model.explain_gradients().startswith("closed form")


class OwnLoss(ActorCritic):
    def loss(self, batch: Any) -> Any:
        return super().loss(batch)


IMAGES = spaces.Box(0, 255, (1, 36, 36), np.uint8)
VECTOR = spaces.Box(-1.0, 1.0, (3,))
MIXED = spaces.Dict({"x": VECTOR, "i": spaces.Discrete(2)})
TWO, CONTINUOUS = spaces.Discrete(2), spaces.Box(-1.0, 1.0, (2,))
# Arguments of models, and why they use autograd.
ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "ELU": ({"policy_kwargs": {"activation_fn": nn.ELU}}, "ELU"),
    "optimizer": (
        {"policy_kwargs": {"optimizer_class": torch.optim.Adagrad}},
        "Adagrad",
    ),
    "own optimizer": ({"policy_kwargs": {"optimizer_class": OwnAdam}}, "OwnAdam"),
    "own extractor": (
        {"policy_kwargs": {"features_extractor_class": OwnExtractor}},
        "OwnExtractor",
    ),
    "own policy": ({"policy": OwnPolicy}, "OwnPolicy.evaluate_actions"),
    "own loss": ({"algorithm": OwnLoss}, "OwnLoss.loss"),
    "own buffer": ({"rollout_buffer_class": OwnBuffer}, "OwnBuffer.get"),
    "gSDE": ({"use_sde": True, "action": CONTINUOUS}, "StateDependentNoise"),
    "images": ({"policy": "CnnPolicy", "observation": IMAGES}, "images"),
    "images as vectors": ({"observation": IMAGES}, "images"),
    "Dict": ({"policy": "MultiInputPolicy", "observation": MIXED}, "Dict"),
}


def sample_model(
    algorithm: Any = ActorCritic,
    policy: Any = "MlpPolicy",
    observation: Any = VECTOR,
    action: Any = TWO,
    **settings: Any,
) -> Any:
    env = SampleEnv(observation, action, [4, 6])
    return algorithm(policy, env, seed=0, device="cpu", **settings)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_models_without_a_closed_form_use_autograd_and_say_why(name: str) -> None:
    arguments, reason = ARGUMENTS[name]
    model = sample_model(**arguments)
    assert model.explain_gradients().startswith("autograd: ")
    assert reason in model.explain_gradients()
    model.learn(10)
    with pytest.raises(ValueError, match="gradients='closed_form' does not") as error:
        sample_model(**arguments, gradients="closed_form")
    assert reason in str(error.value)


def test_models_on_another_device_use_autograd_and_say_why() -> None:
    with context_of("meta"):
        env = SampleEnv(VECTOR, TWO, [4, 6])
        model = ActorCritic("MlpPolicy", env, device="meta")
        assert model.explain_gradients() == "autograd: the model is on meta"
        model.learn(10)
        with pytest.raises(ValueError, match="the model is on meta"):
            ActorCritic("MlpPolicy", env, device="meta", gradients="closed_form")


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
def test_autograd_can_be_asked_for(algorithm: Any) -> None:
    model = algorithm("MlpPolicy", CARTPOLE, gradients="autograd")
    assert model.explain_gradients() == "autograd: gradients='autograd' was passed"
    assert algorithm("MlpPolicy", CARTPOLE).gradients == "auto"


def test_a_policy_of_float64_is_left_to_autograd() -> None:
    model = changeable()
    model.policy.to(torch.float64)
    assert "float32" in model.explain_gradients()


# What users see.


@pytest.mark.parametrize("max_grad_norm", [None, 0.1, 1e9])
def test_the_gradient_can_be_read_after_an_update(max_grad_norm: Any) -> None:
    found = []
    for gradients in ("closed_form", "autograd"):
        made = run(
            gradients,
            ActorCritic,
            short_cartpole(),
            24,
            n_steps=8,
            max_grad_norm=max_grad_norm,
        )
        named = made.model.policy.named_parameters()
        found.append({name: p.grad.clone() for name, p in named})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[1].items():
        torch.testing.assert_close(found[0][name], gradient, rtol=1e-4, atol=1e-5)
    norm = nn.utils.parameters_to_vector(list(found[0].values())).norm()
    if max_grad_norm == 0.1:
        assert float(norm) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_loss_can_be_differentiated_by_the_user(shuffled: bool) -> None:
    """Of the same batch it has the gradient that the update used."""
    more = {"batch_size": 24} if shuffled else {}
    model = run(
        "closed_form",
        ActorCritic,
        short_cartpole(),
        24,
        n_steps=8,
        learning_rate=0.0,
        max_grad_norm=None,
        ent_coef=0.1,
        **more,
    ).model
    used = [p.grad.clone() for p in model.policy.parameters()]
    loss, terms = model.loss(next(model.rollout_buffer.get()))
    model.policy.optimizer.zero_grad()
    loss.backward()
    for parameter, gradient in zip(model.policy.parameters(), used, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)
    logged = model.logger.name_to_value
    for name, term in terms.items():
        assert logged[f"train/{name}"] == pytest.approx(term.item(), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_rollouts_are_of_tensors(kind: str) -> None:
    model = run("closed_form", ActorCritic, KINDS[kind](CARTPOLE), 30).model
    buffer = model.rollout_buffer
    batches = [buffer.batch(), buffer.sample(3), *buffer.get(), *buffer.get(2)]
    for part in [*batches, buffer.rollout]:
        for name in ("observations", "actions"):
            assert isinstance(getattr(part, name), Tensor)
    for name in (*COLUMNS[2:5], "next_values", "terminated", "recorded"):
        assert isinstance(getattr(buffer.rollout, name), Tensor)
    for batch in batches:
        for name in ("advantages", "returns", "old_values", "old_log_prob"):
            assert getattr(batch, name).dtype is torch.float32
    assert all(isinstance(each, Tensor) for each in buffer.estimates)


class Locals(BaseCallback):
    """Stores the types in `locals`, and the numbers of arrays."""

    def __init__(self) -> None:
        super().__init__()
        self.types: dict[str, Any] = {}
        self.arrays: list[tuple[str, Any]] = []

    def _on_step(self) -> bool:
        for name, value in self.locals.items():
            self.types[name] = type(value)
            if isinstance(value, Tensor):
                self.arrays.append((name, value.numpy().copy()))
            elif isinstance(value, np.ndarray):
                self.arrays.append((name, value.copy()))
        return True

    _on_rollout_end = _on_step  # type: ignore[assignment]


@pytest.mark.parametrize("kind", KINDS)
def test_callbacks_see_the_same_locals(kind: str) -> None:
    """But values and log-probabilities, that acting may not need."""
    seen = []
    for gradients in ("closed_form", "autograd"):
        seen.append(Locals())
        run(gradients, ActorCritic, KINDS[kind](CARTPOLE), 30, seen[-1])
    ours, theirs = seen
    assert ours.types == theirs.types
    assert [name for name, _ in ours.arrays] == [name for name, _ in theirs.arrays]
    for (name, our), (_, their) in zip(ours.arrays, theirs.arrays, strict=True):
        assert (our.dtype, our.shape) == (their.dtype, their.shape), name
        np.testing.assert_allclose(our, their, 1e-3, 1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (SGD, {}),
        (SGD, {"momentum": 0.9}),
        (Adam, {}),
        (RMSprop, {}),
        (RMSpropTFLike, {}),
    ],
)
def test_the_state_of_the_optimizer_is_torchs(optimizer: Any, options: Any) -> None:
    kwargs = {"optimizer_class": optimizer, "optimizer_kwargs": options}
    settings = {"policy_kwargs": kwargs, "n_steps": 8, "learning_rate": 1e-3}
    states = []
    for gradients in ("closed_form", "autograd"):
        made = run(gradients, ActorCritic, short_cartpole(), 72, **settings)
        states.append(made.model.policy.optimizer.state_dict())
    ours, theirs = states
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for index, entries in theirs["state"].items():
        assert ours["state"][index].keys() == entries.keys()
        for name, value in entries.items():
            our = torch.as_tensor(ours["state"][index][name])
            scale = float(torch.as_tensor(value).abs().max())
            torch.testing.assert_close(
                our, torch.as_tensor(value), rtol=1e-3, atol=1e-3 * scale
            )


def test_parameters_stay_the_same_objects_in_the_same_memory() -> None:
    """Views that were made before training see what it learns."""
    model = changeable()
    parameters = list(model.policy.parameters())
    views = [p.detach() for p in parameters]
    arrays = [p.detach().numpy() for p in parameters]
    before = weights_of(model)
    model.learn(96)
    assert list(map(id, model.policy.parameters())) == list(map(id, parameters))
    assert not torch.equal(weights_of(model), before)
    for parameter, view, array in zip(parameters, views, arrays, strict=True):
        assert torch.equal(parameter, view)
        np.testing.assert_array_equal(parameter.detach().numpy(), array)


def test_shared_memory_stays_shared() -> None:
    """Other processes see what is learnt."""
    model = changeable()
    model.policy.share_memory()
    views = [p.detach() for p in model.policy.parameters()]
    model.learn(96)
    for parameter, view in zip(model.policy.parameters(), views, strict=True):
        assert parameter.is_shared()
        assert torch.equal(parameter, view)


COPIES: dict[str, Any] = {
    "deepcopy": deepcopy,
    "pickle": lambda x: cloudpickle.loads(cloudpickle.dumps(x)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_model_learns_as_it_does_and_alone(how: str) -> None:
    model = changeable()
    model.learn(48)
    torch.manual_seed(5)
    other = COPIES[how](model)
    assert torch.equal(weights_of(other), weights_of(model))
    copied = weights_of(other)
    for each in (model, other):
        each.set_random_seed(7)
        each.learn(48)
        if each is model:
            assert torch.equal(weights_of(other), copied)
    assert other.explain_gradients().startswith("closed form")
    torch.testing.assert_close(weights_of(other), weights_of(model))
    assert not torch.equal(weights_of(model), copied)


def test_a_copy_that_is_made_before_an_update_can_update() -> None:
    """As a check of gradients does: the rollout is in the copy, too."""
    copies = []

    def copy(model: Any) -> None:
        copies.append(deepcopy(model))

    model = changeable()
    model.learn(48, Change(copy, skips=False))
    (other,) = copies
    before = weights_of(other)
    other.train()
    assert not torch.equal(weights_of(other), before)
    torch.testing.assert_close(weights_of(other), weights_of(model))


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_policy_is_independent(how: str) -> None:
    model = changeable()
    model.learn(48)
    other = COPIES[how](model.policy)
    before = weights_of(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(weights_of(model), before)
    model.learn(48)
    assert not any(p.any() for p in other.parameters())
    assert not torch.equal(weights_of(model), before)


def test_layers_are_saved_by_safetensors_and_torch(tmp_path: Path) -> None:
    model = changeable()
    model.learn(48)
    weights = model.policy.state_dict()
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")
    torch.save(weights, tmp_path / "weights.pt")
    layer = model.policy.action_net.state_dict()
    torch.save(layer, tmp_path / "layer.pt")
    whole = (tmp_path / "weights.pt").stat().st_size
    assert (tmp_path / "layer.pt").stat().st_size < whole
    for loaded in (
        safetensors.torch.load_file(tmp_path / "weights.safetensors"),
        torch.load(tmp_path / "weights.pt"),
    ):
        assert loaded.keys() == weights.keys()
        for name, value in weights.items():
            assert torch.equal(loaded[name], value)
        other = changeable()
        other.policy.load_state_dict(loaded)
        assert torch.equal(weights_of(other), weights_of(model))


@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic])
def test_a_file_saved_on_one_path_is_learnt_from_on_the_other(
    agent: Any, tmp_path: Path
) -> None:
    names = ("closed_form", "autograd")
    for gradients in names:
        made = run(gradients, agent, MAKERS["DummyVecEnv"](), 60)
        made.model.save(tmp_path / gradients)
    weights = {}
    for saved in names:
        for gradients in names:
            model: Any = agent.load(
                tmp_path / saved, env=MAKERS["DummyVecEnv"](), gradients=gradients
            )
            kind = "autograd" if gradients == "autograd" else "closed form"
            assert model.explain_gradients().startswith(kind)
            before = weights_of(model)
            model.learn(60, reset_num_timesteps=False)
            weights[saved, gradients] = weights_of(model)
            assert not torch.equal(before, weights_of(model))
    for each in weights.values():
        torch.testing.assert_close(
            each, weights["autograd", "autograd"], rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic])
def test_resuming_is_exact_on_this_path(agent: Any) -> None:
    check_exact(agent, MAKERS["DummyVecEnv"], gradients="closed_form")


# What callbacks write.


def add_noise(array: Any) -> Any:
    noise = np.random.default_rng(0).normal(size=array.shape)
    return (array + noise).astype(array.dtype)


def other_actions(buffer: Any) -> None:
    buffer.actions[:] = 1.0 - buffer.actions


WRITES: dict[str, Any] = {
    "advantages in place": lambda b: b.advantages.__imul__(-2.0),
    "advantages": lambda b: setattr(b, "advantages", add_noise(b.advantages)),
    "returns": lambda b: setattr(b, "returns", add_noise(b.returns)),
    "observations": lambda b: setattr(b, "observations", add_noise(b.observations)),
    "one observation": lambda b: b.observations.__setitem__((2, 1), 3.0),
    "actions": other_actions,
    "log_probs": lambda b: setattr(b, "log_probs", add_noise(b.log_probs)),
    "values": lambda b: setattr(b, "values", add_noise(b.values)),
    "tensor": lambda b: setattr(b, "advantages", torch.ones(b.advantages.shape)),
}
CLIPPED = {"clip_range": 0.2, "clip_range_vf": 0.2, "n_epochs": 2}


@pytest.mark.parametrize("settings", [{}, CLIPPED, {**CLIPPED, "batch_size": 8}])
@pytest.mark.parametrize("name", WRITES)
def test_what_callbacks_write_is_learnt_from(name: str, settings: Any) -> None:
    class Write(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            WRITES[name](self.model.rollout_buffer)  # type: ignore[attr-defined]

    settings = {"n_steps": 8, **sgd(), **settings}
    ours, theirs, plain = (
        run(gradients, ActorCritic, short_cartpole(), 96, callback, **settings)
        for gradients, callback in (
            ("closed_form", Write()),
            ("autograd", Write()),
            ("closed_form", None),
        )
    )
    assert_same_runs(ours, theirs)
    reads_old = bool(settings.keys() & {"clip_range"})
    if reads_old or name not in ("log_probs", "values"):
        assert float((ours.weights - plain.weights).abs().max()) > 1e-4


def write_zeros(callback: BaseCallback, what: str) -> None:
    """Writes to a column of the incomplete rollout, or to local variables."""
    model: Any = callback.model
    buffer = model.rollout_buffer
    if what == "_last_obs":
        model._last_obs[::2] = 0.0
    elif what.startswith("locals "):
        callback.locals[what.removeprefix("locals ")][::2] = 0
    elif len(buffer) > 2:
        getattr(buffer, what)[1, ::2] = 0


WRITTEN = (
    "rewards",
    "observations",
    "actions",
    "_last_obs",
    "locals obs_tensor",
    "locals actions",
    "locals rewards",
)


# With many environments, activations of acting can serve the update.
@pytest.mark.parametrize(
    ("kind", "n_envs"), [("dummy", 3), ("same_step", 3), ("torch", 3), ("torch", 300)]
)
@pytest.mark.parametrize("what", WRITTEN)
def test_what_callbacks_write_within_a_rollout_is_learnt_from(
    kind: str, n_envs: int, what: str
) -> None:
    class Write(BaseCallback):
        def _on_step(self) -> bool:
            write_zeros(self, what)
            return True

    ours, theirs = (
        run(
            gradients,
            ActorCritic,
            KINDS[kind](CARTPOLE, n_envs),
            32 * n_envs,
            Write(),
            n_steps=8,
            **sgd(),
        )
        for gradients in ("closed_form", "autograd")
    )
    assert_same_runs(ours, theirs)


class Noise(BaseCallback):
    """Acts with other weights in some steps of a rollout."""

    def _on_step(self) -> bool:
        sign = {2: 1.0, 5: -1.0}.get(self.locals["n_steps"], 0.0)
        with torch.no_grad():
            for parameter in self.model.policy.parameters():
                # Exact, so that the weights are as before.
                parameter.mul_(2.0**sign)
        return True


@pytest.mark.filterwarnings("ignore:a callback changed the policy's weights")
@pytest.mark.parametrize("n_envs", [3, 300])
def test_weights_that_come_back_within_a_rollout_are_learnt_from(n_envs: int) -> None:
    ours, theirs = (
        run(
            gradients,
            ActorCritic,
            KINDS["torch"](CARTPOLE, n_envs),
            32 * n_envs,
            Noise(),
            n_steps=8,
            **sgd(),
        )
        for gradients in ("closed_form", "autograd")
    )
    assert_same_runs(ours, theirs)


def shift_weights(model: Any) -> None:
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.05)


@pytest.mark.filterwarnings("ignore:a callback changed the policy's weights")
@pytest.mark.parametrize("settings", [{}, CLIPPED, {**CLIPPED, "batch_size": 8}])
@pytest.mark.parametrize("step", [0, 3, 7])
def test_weights_that_change_within_a_rollout_are_learnt_from(
    step: int, settings: Any
) -> None:
    class Shift(BaseCallback):
        def _on_step(self) -> bool:
            if self.locals["n_steps"] == step:
                shift_weights(self.model)
            return True

    settings = {"n_steps": 8, **sgd(), **settings}
    ours, theirs = (
        run(gradients, ActorCritic, short_cartpole(), 96, Shift(), **settings)
        for gradients in ("closed_form", "autograd")
    )
    assert_same_runs(ours, theirs)


# Numbers that are not finite.


class Spike(gymnasium.Env[Any, Any]):
    """Episodes of 9 steps, with a number in the third.

    Args:
        action_space: the action space.
        where: `"reward"` or `"observation"`.
        number: the number.
    """

    def __init__(self, action_space: Any, where: str, number: float) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space, self.where, self.number = action_space, where, number

    def reset(self, **_: Any) -> Any:
        self.steps = 0
        return np.zeros(2), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        reads = {"reward": 1.0, "observation": float(self.steps)}
        if self.steps == 3:
            reads[self.where] = self.number
        obs = np.array([reads["observation"], 0.0])
        return obs, reads["reward"], self.steps >= 9, False, {}


SPIKES = [
    ("reward", math.nan),
    ("reward", math.inf),
    ("reward", 1e20),
    ("reward", 1e30),
    ("observation", math.nan),
    ("observation", math.inf),
    ("observation", 1e30),
]
SPIKY_SETTINGS: list[tuple[Any, dict[str, Any]]] = [
    (REINFORCE, {}),
    (REINFORCE, {"baseline": "value", "standardize_returns": True}),
    (REINFORCE, {"memory_size": 100}),
    (ActorCritic, {"ent_coef": 0.01, "critic_loss": "huber"}),
    (ActorCritic, {"n_steps": 9, "estimator": "n_step", "td_steps": 3}),
    (ActorCritic, {**PPO_SETTINGS, "clip_range_vf": 0.2, "target_kl": 1.0}),
    (ActorCritic, {"n_steps": 9, "policy_kwargs": {"activation_fn": nn.ReLU}}),
]


def outcome(model: Any, n: int = 60) -> str:
    try:
        model.learn(n)
    except NonFiniteError as error:
        return str(error)
    return "finite"


@pytest.mark.parametrize(("algorithm", "settings"), SPIKY_SETTINGS)
@pytest.mark.parametrize(("where", "number"), SPIKES)
@pytest.mark.parametrize("action", [TWO, CONTINUOUS], ids=["Discrete", "Box"])
def test_numbers_that_are_not_finite_stop_both_with_the_same_message(
    action: Any, where: str, number: float, algorithm: Any, settings: Any
) -> None:
    """A warning would be an error here."""
    found = [
        outcome(
            algorithm(
                "MlpPolicy",
                Spike(action, where, number),
                gradients=gradients,
                seed=0,
                device="cpu",
                **settings,
            )
        )
        for gradients in ("closed_form", "autograd")
    ]
    assert found[0] == found[1]
    if not math.isfinite(number):
        assert found[0] != "finite"


@pytest.mark.parametrize("rate", [1e3, 1e10, 1e30])
@pytest.mark.parametrize(("algorithm", "settings"), SPIKY_SETTINGS)
@pytest.mark.parametrize("action", [TWO, CONTINUOUS], ids=["Discrete", "Box"])
def test_exploding_weights_warn_of_nothing(
    action: Any, algorithm: Any, settings: Any, rate: float
) -> None:
    """They end in an error or in finite weights; rounding decides which."""
    for gradients in ("closed_form", "autograd"):
        model = algorithm(
            "MlpPolicy",
            Spike(action, "reward", 1.0),
            gradients=gradients,
            learning_rate=rate,
            seed=0,
            device="cpu",
            **settings,
        )
        if outcome(model) == "finite":
            assert weights_of(model).isfinite().all()


# Layers that differ between training and evaluation mode.


class DoubleInTraining(nn.Module):
    """A user's layer with two modes."""

    def forward(self, latent: Tensor) -> Tensor:
        return 2.0 * latent if self.training else latent


LAYERS: dict[str, Any] = {
    "dropout": lambda: nn.Dropout(0.5),
    "batch norm": lambda: nn.BatchNorm1d(64),
    "user's layer": DoubleInTraining,
}


def with_layer(policy: Any, layer: str) -> Any:
    """Returns a policy class with a layer after the networks of actor and critic."""

    class Layered(policy):  # type: ignore[misc]
        def _build_mlp_extractor(self) -> None:
            super()._build_mlp_extractor()
            for name in ("policy_net", "value_net"):
                net = getattr(self.mlp_extractor, name)
                if len(net) > 0:
                    net.append(LAYERS[layer]())

    return Layered


@pytest.mark.parametrize("kind", ["single", "dummy"])
@pytest.mark.parametrize("layer", ["batch norm", "user's layer"])
def test_layers_with_modes_train_as_in_a2c(layer: str, kind: str) -> None:
    """Not dropout: A2C shuffles the batch, which pairs its noise with other steps."""
    weights = []
    cases: list[Any] = [(A2C, ActorCriticPolicy), (ActorCritic, MlpPolicy)]
    for algorithm, policy in cases:
        env, layered = KINDS[kind](CARTPOLE), with_layer(policy, layer)
        model = algorithm(layered, env, n_steps=8, seed=3, device="cpu")
        model.learn(3 * 8 * model.n_envs)
        parameters = model.policy.parameters()
        weights.append(nn.utils.parameters_to_vector(parameters).detach())
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_with_modes_get_the_whole_batch(layer: str, algorithm: Any) -> None:
    """Batch norm averages over its batch, which is therefore not split."""
    sizes: list[int] = []

    def count(_: Any, inputs: Any, __: Any) -> None:
        if model.policy.training:
            sizes.append(len(inputs[0]))

    env = KINDS["torch"](CARTPOLE, 4096)
    policy = with_layer(MlpPolicy, layer)
    model = algorithm(policy, env, n_steps=4, seed=0, device="cpu")
    model.policy.mlp_extractor.policy_net[0].register_forward_hook(count)
    model.learn(1)
    assert sizes == [4 * 4096]


@pytest.mark.parametrize("algorithm", [REINFORCE, ActorCritic])
def test_rollouts_are_in_evaluation_mode_and_updates_in_training_mode(
    algorithm: Any,
) -> None:
    modes: dict[str, set[bool]] = {"rollout": set(), "update": set()}

    class RecordMode(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            phase = "update" if torch.is_grad_enabled() else "rollout"
            modes[phase].add(self.training)
            return features

    kwargs = {"net_arch": [4], "activation_fn": RecordMode}
    model = algorithm("MlpPolicy", CARTPOLE, policy_kwargs=kwargs)
    model.learn(20)
    model.predict(np.zeros(4, dtype=np.float32))
    assert modes == {"rollout": {False}, "update": {True}}
