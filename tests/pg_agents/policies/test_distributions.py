"""Distributions equal those of torch and SB3, and so do policies with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
)
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from torch import Tensor

from pg_agents.common.tree import tree_map
from pg_agents.policies.base import PolicyGradientPolicy
from pg_agents.policies.distributions import Categorical
from pg_agents.policies.policies import CnnPolicy, MlpPolicy, MultiInputPolicy

INF = float("inf")
EXTREME = [
    [0.0, -INF, 1.0],
    [-INF, -INF, 3.0],
    [1e4, 0.0, -1e4],
    [1e4, 1e4, 1e4],
    [-1e4, -1e4, -1e4],
    [0.0, 0.0, 0.0],
    [-103.0, 0.0, -104.5],
]


def logits(scale: float) -> Tensor:
    return scale * torch.randn(2000, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_categorical_draws_equal_sb3s(scale: float, seed: int) -> None:
    theirs = CategoricalDistribution(5).proba_distribution(logits(scale))
    torch.manual_seed(seed)
    expected = theirs.sample()
    after = torch.rand(1)
    torch.manual_seed(seed)
    drawn = Categorical(logits(scale)).sample()
    assert torch.equal(drawn, expected) and drawn.dtype == expected.dtype
    # The generator is in the same state.
    assert torch.equal(torch.rand(1), after)


def test_actions_of_probability_zero_are_not_drawn() -> None:
    """Nor those of e^-104, in thousands of draws."""
    given = torch.tensor(EXTREME).repeat(3000, 1)
    torch.manual_seed(0)
    drawn = Categorical(given).sample()
    possible = given.softmax(-1) > 1e-30
    assert bool(possible.gather(-1, drawn[:, None]).all())
    # Equally likely ones all are.
    assert set(drawn.view(3000, -1)[:, 3].tolist()) == {0, 1, 2}


def test_extreme_logits_give_no_nan() -> None:
    given = torch.tensor(EXTREME, requires_grad=True)
    distribution: Any = Categorical(given)
    entropy = distribution.entropy()
    expected = torch.distributions.Categorical(logits=given.double()).entropy()
    torch.testing.assert_close(entropy, expected.float())
    assert not bool(entropy.isnan().any())
    assert entropy[1].item() == 0.0
    assert entropy[3].item() == pytest.approx(np.log(3.0))
    entropy.sum().backward()
    assert given.grad is not None
    assert bool(given.grad.isfinite().all())
    log_prob = distribution.log_prob(torch.full((len(EXTREME),), 2))
    torch.testing.assert_close(log_prob, given.log_softmax(-1)[:, 2])


BOX = spaces.Box(-1.0, 1.0, (4,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 40, 3), np.uint8)
DICT = spaces.Dict({"place": BOX, "room": spaces.Discrete(3), "image": IMAGE})
SHIFTED = spaces.Dict({"place": BOX, "room": spaces.Discrete(3, start=2)})
CASES: list[tuple[spaces.Space[Any], spaces.Space[Any]]] = [
    (BOX, spaces.Discrete(3)),
    (BOX, spaces.Discrete(3, start=5)),
    (BOX, spaces.Box(-1.0, 1.0, (2,), np.float32)),
    (BOX, spaces.Box(-1.0, 1.0, (2, 3), np.float32)),
    (BOX, spaces.MultiDiscrete([2, 3, 4])),
    (BOX, spaces.MultiDiscrete([2, 3], start=[1, -4])),
    (BOX, spaces.MultiBinary(4)),
    (spaces.Box(-1.0, 1.0, (2, 3), np.float32), spaces.Discrete(2)),
    (spaces.Discrete(6), spaces.Discrete(3)),
    (spaces.Discrete(6, start=-3), spaces.Discrete(3)),
    (spaces.MultiDiscrete([3, 4]), spaces.Discrete(2)),
    (spaces.MultiBinary(5), spaces.Box(-1.0, 1.0, (1,), np.float32)),
    (DICT, spaces.Discrete(3, start=1)),
    (SHIFTED, spaces.MultiBinary(2)),
    (IMAGE, spaces.Discrete(4)),
]


def policies_of(
    obs_space: spaces.Space[Any], action_space: spaces.Space[Any], **kwargs: Any
) -> tuple[PolicyGradientPolicy, ActorCriticPolicy]:
    """Our policy and SB3's with the same weights."""
    classes: tuple[type[PolicyGradientPolicy], type[ActorCriticPolicy]] = (
        MlpPolicy,
        ActorCriticPolicy,
    )
    if isinstance(obs_space, spaces.Dict):
        classes = MultiInputPolicy, MultiInputActorCriticPolicy
    elif obs_space is IMAGE:
        classes = CnnPolicy, ActorCriticCnnPolicy
    if obs_space is IMAGE:
        obs_space = spaces.Box(0, 255, (3, 36, 40), np.uint8)
    if isinstance(obs_space, spaces.Dict) and "image" in obs_space.spaces:
        channels = spaces.Box(0, 255, (3, 36, 40), np.uint8)
        obs_space = spaces.Dict({**obs_space.spaces, "image": channels})
    torch.manual_seed(0)
    ours = classes[0](obs_space, action_space, lambda _: 1e-3, **kwargs)
    with torch.no_grad():
        for parameter in ours.parameters():
            # Unequal probabilities.
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs = classes[1](obs_space, action_space, lambda _: 1e-3, **kwargs)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def samples(space: spaces.Space[Any], n: int) -> Any:
    space.seed(1)
    rows = [space.sample() for _ in range(n)]
    return tree_map(lambda *each: torch.as_tensor(np.stack(each)), *rows)


@pytest.mark.parametrize(("obs_space", "action_space"), CASES)
@pytest.mark.parametrize("shared", [True, False])
def test_evaluation_equals_sb3s(
    obs_space: spaces.Space[Any], action_space: spaces.Space[Any], shared: bool
) -> None:
    """SB3 gets shifted actions and observations, as it counts from 0."""
    ours, theirs = policies_of(obs_space, action_space, share_features_extractor=shared)
    observations = samples(ours.observation_space, 40)
    with torch.no_grad():
        actions, _, _ = ours(observations)
    if isinstance(action_space, spaces.Box):
        actions = actions.reshape(40, -1)
    from_zero = actions - torch.as_tensor(getattr(action_space, "start", 0))
    space = ours.observation_space
    starts = getattr(space, "start", 0)
    if isinstance(space, spaces.Dict):
        starts = {key: getattr(part, "start", 0) for key, part in space.spaces.items()}
    shifted = tree_map(
        lambda part, start: part - torch.as_tensor(start) if np.any(start) else part,
        observations,
        starts,
    )
    mine = ours.evaluate_actions(observations, actions)
    reference = theirs.evaluate_actions(shifted, from_zero)
    for one, other in zip(mine, reference, strict=True):
        assert one is not None and other is not None
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    gradients = []
    for policy, (values, log_prob, entropy) in ((ours, mine), (theirs, reference)):
        assert entropy is not None
        (values.sum() + log_prob.sum() + entropy.square().sum()).backward()
        gradients.append([p.grad for p in policy.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert a is not None and b is not None
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3 * float(b.abs().max()))
