"""A model with a number that is not finite is not saved; existing files stay."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO, SAC
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from pg_agents import (
    REINFORCE,
    ActorCritic,
    RandomAgent,
    check_policy_gradient,
    save_weights,
)
from pg_agents.callbacks import KeepCheckpoints
from pg_agents.common.nonfinite import NonFiniteError
from tests.pg_agents.checkpoint.resuming_examples import single
from tests.pg_agents.envs import SampleEnv

NAN, INFINITY = float("nan"), float("inf")


def normalized() -> VecNormalize:
    return VecNormalize(DummyVecEnv([single]))


def normalized_dict() -> VecNormalize:
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    space = spaces.Dict({"a": box, "b": box})
    return VecNormalize(
        DummyVecEnv([lambda: SampleEnv(space, spaces.Discrete(2), [3])])
    )


def new(
    agent: Any, env: Any = None, policy: str = "MlpPolicy", **arguments: Any
) -> Any:
    kwargs = {} if policy == "TabularPolicy" else {"net_arch": [4]}
    kwargs |= arguments.pop("policy_kwargs", {})
    env = single() if env is None else env
    return agent(policy, env, policy_kwargs=kwargs, **arguments).learn(12)


# Ways to write a file with a name that begins with `path`.
def by_save(model: Any, path: Path) -> None:
    model.save(path)


def by_checkpoint_callback(model: Any, path: Path) -> None:
    callback = CheckpointCallback(1, str(path.parent), path.name)
    callback.init_callback(model)
    callback.on_step()


def by_keep_checkpoints(model: Any, path: Path) -> None:
    callback = KeepCheckpoints(1, path.parent, keep=1, name_prefix=path.name)
    callback.init_callback(model)
    callback.on_training_start({}, {})
    callback.on_training_end()


def by_save_weights(model: Any, path: Path) -> None:
    save_weights(model, path)


def by_policy_save(model: Any, path: Path) -> None:
    model.policy.save(path)


MODEL_WAYS = [by_save, by_checkpoint_callback, by_keep_checkpoints]
POLICY_WAYS = [by_save_weights, by_policy_save]


def check_refused(
    model: Any, write: Callable[[Any, Path], None], path: Path, says: str
) -> None:
    before = {p: p.read_bytes() for p in path.parent.iterdir()}
    assert before
    message = rf"^{re.escape(says)}.*: the (model|policy) is not saved, and existing"
    with pytest.raises(NonFiniteError, match=message):
        write(model, path)
    assert {p: p.read_bytes() for p in path.parent.iterdir()} == before


@pytest.mark.parametrize("write", [*MODEL_WAYS, *POLICY_WAYS])
@pytest.mark.parametrize("number", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic])
def test_nonfinite_weights_are_not_saved(
    agent: Any, number: float, write: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    model = new(agent)
    write(model, tmp_path / "model")
    with torch.no_grad():
        model.policy.action_net.weight[1, 2:] = number
    n_entries = model.policy.action_net.weight.numel()
    what = "NaN" if np.isnan(number) else "infinite"
    says = f"policy weight 'action_net.weight' has 2 of {n_entries} entries {what}"
    check_refused(model, write, tmp_path / "model", says)


@pytest.mark.parametrize("write", [*MODEL_WAYS, *POLICY_WAYS])
@pytest.mark.parametrize("kind", ["none", "shared", "separate", "table"])
def test_every_weight_of_every_policy_is_checked(
    kind: str, write: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    if kind == "table":
        model = new(REINFORCE, "FrozenLake-v1", "TabularPolicy")
    else:
        model = new(REINFORCE, policy_kwargs={"critic": kind})
    write(model, tmp_path / "model")
    for name, parameter in model.policy.named_parameters():
        good = parameter.detach().clone()
        with torch.no_grad():
            parameter.view(-1)[-1] = NAN
        check_refused(
            model, write, tmp_path / "model", f"policy weight '{name}' has 1 "
        )
        with torch.no_grad():
            parameter.copy_(good)
    write(model, tmp_path / "model")


def statistics(name: str, attribute: str) -> Callable[[Any], Any]:
    """Makes statistics of VecNormalize, which may be scalars, an array."""

    def locate(model: Any) -> Any:
        rms = getattr(model.get_vec_normalize_env(), name)
        rms = rms["b"] if isinstance(rms, dict) else rms
        array = np.array(getattr(rms, attribute))
        setattr(rms, attribute, array)
        return array

    return locate


REWARDS_IN_MEMORY = "rewards of rollout 0 in the replay memory"
# Where a number is changed, and how the error names it.
TENSORS: list[tuple[Any, dict[str, Any], Callable[[Any], Any], str]] = [
    (
        ActorCritic,
        {"target_update_interval": 1},
        lambda model: model.target_policy.value_net.bias,
        "target_policy weight 'value_net.bias'",
    ),
    (
        ActorCritic,
        {},
        lambda model: model.policy.optimizer.state[model.policy.value_net.weight][
            "square_avg"
        ],
        "policy.optimizer state 'square_avg' of 'value_net.weight'",
    ),
    (
        ActorCritic,
        {"memory_size": 40, "replay": "returns"},
        lambda model: model.replay_memory.rollouts[1].advantages,
        "advantages of rollout 1 in the replay memory",
    ),
    *(
        (
            agent,
            {"memory_size": 40, "replay": replay},
            lambda model: model.replay_memory.rollouts[0].rewards,
            REWARDS_IN_MEMORY,
        )
        for agent, replay in ((ActorCritic, "v_trace"), (REINFORCE, "importance"))
    ),
    *(
        (agent, {"env": normalized}, statistics(*names), f"VecNormalize's {label}")
        for agent, names, label in (
            (REINFORCE, ("obs_rms", "mean"), "obs_rms.mean"),
            (ActorCritic, ("ret_rms", "var"), "ret_rms.var"),
            (RandomAgent, ("ret_rms", "var"), "ret_rms.var"),
        )
    ),
    (
        ActorCritic,
        {"env": normalized_dict, "policy": "MultiInputPolicy"},
        statistics("obs_rms", "var"),
        "VecNormalize's obs_rms['b'].var",
    ),
]


@pytest.mark.parametrize("write", MODEL_WAYS)
@pytest.mark.parametrize("number", [NAN, INFINITY])
@pytest.mark.parametrize(("agent", "arguments", "locate", "label"), TENSORS)
@torch.no_grad()
def test_other_nonfinite_tensors_are_not_saved(
    agent: Any,
    arguments: dict[str, Any],
    locate: Callable[[Any], Any],
    label: str,
    number: float,
    write: Callable[[Any, Path], None],
    tmp_path: Path,
) -> None:
    kwargs = {n: v() if n == "env" else v for n, v in arguments.items()}
    with torch.enable_grad():
        if agent is RandomAgent:
            model = agent("MlpPolicy", **kwargs).learn(12)
        else:
            model = new(agent, **kwargs)
    write(model, tmp_path / "model")
    locate(model).reshape(-1)[-1] = number
    check_refused(model, write, tmp_path / "model", f"{label} has 1 of ")


@pytest.mark.parametrize("agent", [A2C, PPO])
def test_keep_checkpoints_checks_models_of_sb3(agent: Any, tmp_path: Path) -> None:
    steps: dict[str, Any] = {"n_steps": 8} | ({"batch_size": 8} if agent is PPO else {})
    model = new(agent, normalized(), **steps)
    by_keep_checkpoints(model, tmp_path / "model")
    parameter = next(model.policy.parameters())
    state = model.policy.optimizer.state[parameter]
    name = next(n for n, value in state.items() if value.shape == parameter.shape)
    state[name].view(-1)[0] = NAN
    says = f"policy.optimizer state '{name}' of '"
    check_refused(model, by_keep_checkpoints, tmp_path / "model", says)
    with torch.no_grad():
        parameter.view(-1)[0] = NAN
    check_refused(model, by_keep_checkpoints, tmp_path / "model", "policy weight '")


def test_variables_outside_networks_are_checked(tmp_path: Path) -> None:
    kwargs = {"net_arch": [4]}
    model: Any = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, buffer_size=10)
    by_keep_checkpoints(model, tmp_path / "model")
    model.log_ent_coef.data.fill_(-INFINITY)
    says = "log_ent_coef has 1 of 1 entries infinite"
    check_refused(model, by_keep_checkpoints, tmp_path / "model", says)


@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic])
def test_an_open_file_is_not_written_to(agent: Any) -> None:
    model = new(agent)
    with torch.no_grad():
        model.policy.action_net.bias[0] = NAN
    file = io.BytesIO()
    with pytest.raises(NonFiniteError, match=r"'action_net\.bias' has 1 of "):
        model.save(file)
    assert file.getvalue() == b""


def test_weights_that_are_not_stored_may_be_nonfinite(tmp_path: Path) -> None:
    model = new(ActorCritic)
    with torch.no_grad():
        model.policy.value_net.bias[0] = NAN
    save_weights(model, tmp_path / "actor", critic=False)
    with pytest.raises(NonFiniteError, match=r"value_net\.bias"):
        save_weights(model, tmp_path / "both")


class Masked(FlattenExtractor):
    """Has an infinite mask as a buffer."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space)
        self.register_buffer("mask", torch.tensor([-INFINITY, 0.0]))


@pytest.mark.parametrize("write", [*MODEL_WAYS, *POLICY_WAYS])
@pytest.mark.parametrize("agent", [REINFORCE, ActorCritic])
def test_buffers_may_be_infinite(
    agent: Any, write: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    write(
        new(agent, policy_kwargs={"features_extractor_class": Masked}),
        tmp_path / "model",
    )
    assert len(list(tmp_path.iterdir())) == 1


def test_observations_in_the_memory_may_be_infinite() -> None:
    model = new(ActorCritic, memory_size=40, replay="v_trace")
    model.replay_memory.rollouts[0].observations[0, 0, 0] = INFINITY
    model.save(io.BytesIO())


def test_the_gradient_checker_checks_weights() -> None:
    model = new(REINFORCE, "PGToy-Sequence-v0")
    with torch.no_grad():
        model.policy.action_net.bias[0] = NAN
    with pytest.raises(ValueError, match="no gradient to check: policy weight '"):
        check_policy_gradient(model, "PGToy-Sequence-v0")
