"""Actions of every space in every method of a policy, in any dtype."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import (
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from torch import Tensor

from pg_agents import REINFORCE, ActorCritic
from pg_agents.common.tree import tree_map
from pg_agents.policies.base import PolicyGradientPolicy
from pg_agents.policies.policies import MlpPolicy, MultiInputPolicy
from pg_agents.policies.tabular import TabularPolicy
from tests.pg_agents.policies.typed_envs import TypedEnv

Space = spaces.Space[Any]
FINITE: dict[str, Space] = {
    "discrete": spaces.Discrete(3),
    "discrete from 5": spaces.Discrete(3, start=5),
    "discrete from -2": spaces.Discrete(4, start=-2),
    "discrete int32": spaces.Discrete(3, start=1, dtype=np.int32),
    "discrete uint8": spaces.Discrete(2, start=200, dtype=np.uint8),
    "multi discrete": spaces.MultiDiscrete([2, 3]),
    "multi discrete from": spaces.MultiDiscrete([2, 3], start=[4, -1]),
    "multi discrete int8": spaces.MultiDiscrete([3, 2], np.int8, start=[-100, 100]),
    "multi binary": spaces.MultiBinary(3),
    "multi binary of 1": spaces.MultiBinary(1),
}
BOXES: dict[str, Space] = {
    "row": spaces.Box(-0.5, 0.8, (2,), np.float32),
    "one": spaces.Box(-0.5, 0.8, (1,), np.float32),
    "matrix": spaces.Box(-0.5, 0.8, (2, 2), np.float32),
    "column": spaces.Box(-0.5, 0.8, (3, 1), np.float64),
    "number": spaces.Box(-0.5, 0.8, (), np.float32),
    "float16": spaces.Box(-0.5, 0.8, (2,), np.float16),
    "int8": spaces.Box(-128, 127, (2, 2), np.int8),
    "int64": spaces.Box(-1, 1, (2,), np.int64),
    "bool": spaces.Box(0, 1, (2,), np.bool_),
}
SPACES = FINITE | BOXES
PLACE = spaces.Box(-1.0, 1.0, (3,), np.float32)
OBSERVATIONS: dict[str, Space] = {
    "mlp": PLACE,
    "multi input": spaces.Dict({"place": PLACE, "room": spaces.Discrete(3, start=2)}),
    "table": spaces.Discrete(6, start=-1),
}
POLICIES: dict[str, type[PolicyGradientPolicy]] = {
    "mlp": MlpPolicy,
    "multi input": MultiInputPolicy,
    "table": TabularPolicy,
}
CASES = [
    (kind, name, sde)
    for kind, name, sde in itertools.product(
        POLICIES, SPACES, ("plain", "gsde", "squashed")
    )
    if (kind != "table" or name.startswith("discrete"))
    and (sde == "plain" or name in BOXES)
]
N = 20


def built(kind: str, name: str, noise: str = "plain") -> PolicyGradientPolicy:
    """Returns a policy with unequal probabilities of actions."""
    kwargs: dict[str, Any] = {}
    if noise != "plain":
        kwargs = {"use_sde": True, "squash_output": noise == "squashed"}
    torch.manual_seed(0)
    policy = POLICIES[kind](OBSERVATIONS[kind], SPACES[name], lambda _: 1e-3, **kwargs)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    if noise != "plain":
        policy.reset_noise(N)
    return policy


def observed(kind: str, n: int = N) -> tuple[Any, Any]:
    """Returns observations as arrays and as tensors."""
    space = OBSERVATIONS[kind]
    space.seed(3)
    rows = [space.sample() for _ in range(n)]
    arrays = tree_map(lambda *parts: np.stack(parts), *rows)
    return arrays, tree_map(torch.as_tensor, arrays)


def every_action(space: Any) -> NDArray[Any]:
    """Returns all actions of a finite space, `[A, *action_shape]`, of its dtype."""
    if isinstance(space, spaces.Discrete):
        found: Any = [space.start + i for i in range(space.n)]
    elif isinstance(space, spaces.MultiBinary):
        found = list(itertools.product([0, 1], repeat=space.shape[0]))
    else:
        ranges = [
            range(int(s), int(s + n))
            for s, n in zip(space.start, space.nvec, strict=True)
        ]
        found = list(itertools.product(*ranges))
    actions = np.array(found).astype(space.dtype)
    assert all(space.contains(np.asarray(one)) for one in actions)
    return actions


def from_zero(actions: Any, space: Space) -> Tensor:
    """Returns indices, which SB3 takes for actions."""
    start = np.asarray(getattr(space, "start", 0)).astype(np.int64)
    return torch.as_tensor(actions).long() - torch.as_tensor(start)


def by_torch(distribution: Any, numbers: Tensor) -> Tensor:
    """Returns log-probabilities `[B]` of indices by torch's distribution."""
    if isinstance(distribution, list):
        parts = [
            d.log_prob(column)
            for d, column in zip(distribution, numbers.T, strict=True)
        ]
        return torch.stack(parts).sum(0)
    if isinstance(distribution, torch.distributions.Bernoulli):
        numbers = numbers.float()
    found: Tensor = distribution.log_prob(numbers)
    return found.sum(-1) if found.dim() > 1 else found


def dtypes_for(actions: NDArray[Any]) -> list[torch.dtype]:
    """Returns every dtype that can represent the actions."""
    known = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
    known += [torch.float32, torch.float64, torch.float16, torch.bool]
    given = torch.as_tensor(actions)
    return [d for d in known if torch.equal(given.to(d).long(), given.long())]


def fresh(policy: PolicyGradientPolicy, _: Path) -> PolicyGradientPolicy:
    return policy


def saved(policy: PolicyGradientPolicy, folder: Path) -> PolicyGradientPolicy:
    policy.save(str(folder / "policy"))
    again: PolicyGradientPolicy = type(policy).load(
        str(folder / "policy"), device="cpu"
    )
    return again


def copied(policy: PolicyGradientPolicy, _: Path) -> PolicyGradientPolicy:
    return copy.deepcopy(policy)


@pytest.mark.parametrize("way", [fresh, saved, copied])
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name, _ in CASES if name in FINITE]
)
@torch.no_grad()
def test_probabilities_of_every_action(
    kind: str, name: str, way: Any, tmp_path: Path
) -> None:
    """For every dtype; they sum to 1, and the mode has the greatest."""
    space = FINITE[name]
    policy = way(built(kind, name), tmp_path)
    arrays, obs = observed(kind)
    actions = every_action(space)
    torchs: Any = policy.get_distribution(obs).distribution
    table = []
    for action in actions:
        same = np.broadcast_to(action, (N, *action.shape)).copy()
        expected = by_torch(torchs, from_zero(same, space))
        for dtype in dtypes_for(actions):
            given = torch.as_tensor(same).to(dtype)
            _, log_prob, _ = policy.evaluate_actions(obs, given)
            again = policy.get_distribution(obs).log_prob(given)
            torch.testing.assert_close(log_prob, expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(again, expected)
        table.append(log_prob)
    log_probs = torch.stack(table, -1)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(N))
    best = actions[log_probs.argmax(-1).numpy()]
    chosen, _ = policy.predict(arrays, deterministic=True)
    assert chosen.dtype == space.dtype
    np.testing.assert_array_equal(chosen, best)
    distribution = policy.get_distribution(obs)
    for mode in (
        distribution.mode(),
        distribution.get_actions(deterministic=True),
        policy(obs, deterministic=True)[0],
        policy._predict(obs, deterministic=True),
    ):
        np.testing.assert_array_equal(mode.numpy().astype(space.dtype), best)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    torch.testing.assert_close(distribution.entropy(), entropy)
    torch.testing.assert_close(policy.evaluate_actions(obs, given)[2], entropy)


def drawn(policy: PolicyGradientPolicy, kind: str) -> dict[str, NDArray[Any]]:
    """Returns actions drawn from the same seed by every method."""
    arrays, obs = observed(kind)
    distribution: Any = policy.get_distribution
    ways: dict[str, Any] = {
        "forward": lambda: policy(obs)[0],
        "sample": lambda: distribution(obs).sample(),
        "get_actions": lambda: distribution(obs).get_actions(),
        "predict": lambda: policy.predict(arrays)[0],
        "act": lambda: policy.act(obs),
    }
    found = {}
    for way, draw in ways.items():
        torch.manual_seed(11)
        with torch.no_grad():
            found[way] = np.asarray(draw())
    return found


@pytest.mark.parametrize(("kind", "name", "noise"), CASES)
def test_all_methods_draw_the_same_as_sb3(kind: str, name: str, noise: str) -> None:
    """From the same seed and weights."""
    policy = built(kind, name, noise)
    space = SPACES[name]
    found = drawn(policy, kind)
    first = found["forward"]
    assert first.shape == (N, *space.shape)  # type: ignore[misc]
    for way, actions in found.items():
        if way == "predict":
            assert actions.dtype == space.dtype
            if name in FINITE:
                np.testing.assert_array_equal(actions, first.astype(space.dtype))
            assert all(space.contains(np.asarray(one)) for one in actions)
            continue
        np.testing.assert_array_equal(actions.reshape(first.shape), first)
    if kind == "table":
        return
    pair: dict[str, Any] = {
        "mlp": ActorCriticPolicy,
        "multi input": MultiInputActorCriticPolicy,
    }
    kwargs = {"use_sde": noise != "plain", "squash_output": noise == "squashed"}
    obs_space = OBSERVATIONS[kind]
    if isinstance(obs_space, spaces.Dict):
        # SB3 expects indices.
        obs_space = spaces.Dict({**obs_space.spaces, "room": spaces.Discrete(3)})
    theirs = pair[kind](obs_space, space, lambda _: 1e-3, **kwargs)
    theirs.load_state_dict(policy.state_dict())
    if noise != "plain":
        torch.manual_seed(4)
        policy.reset_noise(N)
        torch.manual_seed(4)
        theirs.reset_noise(N)
        first = drawn(policy, kind)["forward"]
    _, obs = observed(kind)
    if isinstance(obs, dict):
        obs = {**obs, "room": obs["room"] - 2}
    torch.manual_seed(11)
    with torch.no_grad():
        numbers, _, log_prob = theirs(obs)
    start = np.asarray(getattr(space, "start", 0)).astype(np.int64)
    np.testing.assert_array_equal(first, numbers.numpy() + start)
    torch.manual_seed(11)
    _, obs = observed(kind)
    torch.testing.assert_close(policy(obs)[2].detach(), log_prob)


@pytest.mark.parametrize(("kind", "name", "noise"), CASES)
@torch.no_grad()
def test_log_probabilities_of_drawn_actions(kind: str, name: str, noise: str) -> None:
    policy = built(kind, name, noise)
    _, obs = observed(kind)
    actions, values, log_prob = policy(obs)
    # As drawn, and as rows, as in SB3's buffer.
    for shaped in (actions, actions.reshape(N, -1)):
        again, found, entropy = policy.evaluate_actions(obs, shaped)
        distribution = policy.get_distribution(obs)
        torch.testing.assert_close(again, values)
        torch.testing.assert_close(found, log_prob, rtol=1e-4, atol=1e-4)
        assert found.dtype is torch.float32
        torch.testing.assert_close(
            distribution.log_prob(shaped), log_prob, rtol=1e-4, atol=1e-4
        )
        alone = distribution.entropy()
        assert (entropy is None) == (alone is None) == (noise == "squashed")
        if entropy is not None:
            torch.testing.assert_close(entropy, alone)


@pytest.mark.parametrize("way", [fresh, saved])
@pytest.mark.parametrize(
    ("kind", "name", "noise"), [case for case in CASES if case[1] in BOXES]
)
@torch.no_grad()
def test_densities_of_predicted_actions(
    kind: str, name: str, noise: str, way: Any, tmp_path: Path
) -> None:
    """Equal torch's, for the action that `predict` clipped and rounded."""
    space: Any = BOXES[name]
    policy = way(built(kind, name, noise), tmp_path)
    if noise != "plain":
        policy.reset_noise(N)
    arrays, obs = observed(kind)
    chosen, _ = policy.predict(arrays)
    assert chosen.shape == (N, *space.shape)
    distribution = policy.get_distribution(obs)
    mode = distribution.mode().reshape(chosen.shape)
    deterministic, _ = policy.predict(arrays, deterministic=True)
    if noise == "squashed":
        mode = torch.as_tensor(policy.unscale_action(mode.numpy()))
        given = torch.as_tensor(policy.scale_action(chosen))
    else:
        given = torch.as_tensor(chosen)
    bounded = np.clip(mode.double().numpy(), space.low, space.high)
    rounded = bounded if space.dtype.kind == "f" else np.rint(bounded)
    np.testing.assert_allclose(deterministic, rounded.astype(space.dtype), rtol=1e-6)
    rows = given.reshape(N, -1).double()
    normal: Any = distribution.distribution
    if noise == "squashed":
        limit = 1.0 - torch.finfo(torch.float32).eps
        rows = rows.float().clamp(-limit, limit).atanh().double()
    expected = (
        torch.distributions.Normal(normal.mean.double(), normal.stddev.double())
        .log_prob(rows)
        .sum(-1)
    )
    if noise == "squashed":
        expected -= torch.log(1.0 - rows.tanh() ** 2 + 1e-6).sum(-1)
    for found in (
        distribution.log_prob(given),
        policy.evaluate_actions(obs, given)[1],
        policy.evaluate_actions(obs, given.reshape(N, -1))[1],
    ):
        assert found.shape == (N,)
        torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("agent", [ActorCritic, REINFORCE])
def test_single_predictions_after_learning_and_loading(
    agent: Any, name: str, tmp_path: Path
) -> None:
    space = SPACES[name]
    model = agent("MlpPolicy", TypedEnv(PLACE, space), seed=0, device="cpu").learn(10)
    model.save(tmp_path / "model")
    again = agent.load(tmp_path / "model", device="cpu")
    obs = np.array([0.1, -0.2, 0.3], np.float32)
    tensor, _ = model.policy.obs_to_tensor(obs)
    found = []
    for agent_ in (model, again):
        torch.manual_seed(0)
        action, _ = agent_.predict(obs)
        assert action.dtype == space.dtype and space.contains(np.asarray(action))
        given = torch.as_tensor(action)
        _, log_prob, _ = agent_.policy.evaluate_actions(tensor, given)
        asked = agent_.policy.get_distribution(tensor).log_prob(given)
        assert log_prob.shape == (1,)
        torch.testing.assert_close(asked, log_prob)
        found.append((action.tolist(), log_prob.item()))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", FINITE)
def test_invalid_actions_are_refused(name: str) -> None:
    """Fractions, and numbers next to the first and the last action."""
    policy = built("mlp", name)
    _, obs = observed("mlp")
    actions = every_action(FINITE[name]).astype(np.float64)
    for wrong in (actions[0] + 0.5, actions.min(0) - 1, actions.max(0) + 1):
        given = torch.as_tensor(np.broadcast_to(wrong, (N, *wrong.shape)).copy())
        with pytest.raises((ValueError, RuntimeError)):
            policy.evaluate_actions(obs, given)
        with pytest.raises((ValueError, RuntimeError)):
            policy.get_distribution(obs).log_prob(given)


@pytest.mark.parametrize("name", [n for n in SPACES if not n.startswith("discrete")])
def test_actions_of_another_shape_are_refused(name: str) -> None:
    """They are not broadcast."""
    policy = built("mlp", name)
    _, obs = observed("mlp")
    size = policy(obs)[0][0].numel()
    for shape in ((N, size + 1), (N + 1, size), (N, size, 2), (size + 1, N)):
        if shape == (N, size):
            continue
        given = torch.zeros(shape)
        given += torch.as_tensor(getattr(SPACES[name], "start", 0)).flatten()[0]
        with pytest.raises((ValueError, RuntimeError)):
            policy.evaluate_actions(obs, given)
        with pytest.raises((ValueError, RuntimeError)):
            policy.get_distribution(obs).log_prob(given)
