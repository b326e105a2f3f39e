"""Bare arithmetic draws, and says of actions, what torch and SB3 do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
)
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    MultiInputActorCriticPolicy,
)
from torch import Tensor

from pg_agents.common.tree import tree_map
from pg_agents.policies.base import PolicyGradientPolicy
from pg_agents.policies.distributions import Categorical, Gaussian
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
def test_categorical_draws_are_sb3s(scale: float, seed: int) -> None:
    theirs = CategoricalDistribution(5).proba_distribution(logits(scale))
    torch.manual_seed(seed)
    expected = theirs.sample()
    after = torch.rand(1)
    torch.manual_seed(seed)
    drawn = Categorical(logits(scale)).sample()
    assert torch.equal(drawn, expected) and drawn.dtype == expected.dtype
    # And the generator has gone as far.
    assert torch.equal(torch.rand(1), after)


def test_impossible_actions_are_not_drawn() -> None:
    """Of probability e^-104 and less there is none in thousands of draws, nor of 0."""
    given = torch.tensor(EXTREME).repeat(3000, 1)
    torch.manual_seed(0)
    drawn = Categorical(given).sample()
    possible = given.softmax(-1) > 1e-30
    assert bool(possible.gather(-1, drawn[:, None]).all())
    # The likely ones are: each of three equal actions in a third of the draws.
    assert set(drawn.view(3000, -1)[:, 3].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32])
def test_categorical_is_torchs(scale: float, dtype: torch.dtype) -> None:
    # In double precision: torch's own normalisation loses digits of large logits.
    mine = logits(scale).requires_grad_()
    theirs = logits(scale).double().requires_grad_()
    ours, torchs = Categorical(mine), torch.distributions.Categorical(logits=theirs)
    actions = torch.randint(0, 5, (2000,), generator=torch.Generator().manual_seed(1))
    for one, other in (
        (ours.log_prob(actions.to(dtype)), torchs.log_prob(actions)),
        (ours.entropy(), torchs.entropy()),
    ):
        assert one.shape == (2000,)
        torch.testing.assert_close(one, other.float(), rtol=1e-5, atol=2e-6)
        gradients = [
            torch.autograd.grad(each.square().sum(), given, retain_graph=True)[
                0
            ].float()
            for each, given in ((one, mine), (other, theirs))
        ]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.log_probs, mine.log_softmax(-1))


def test_extreme_logits_have_numbers() -> None:
    given = torch.tensor(EXTREME, requires_grad=True)
    entropy = Categorical(given).entropy()
    expected = torch.distributions.Categorical(logits=given.double()).entropy()
    torch.testing.assert_close(entropy, expected.float())
    assert not bool(entropy.isnan().any())
    assert entropy[1].item() == 0.0
    assert entropy[3].item() == pytest.approx(np.log(3.0))
    entropy.sum().backward()
    assert given.grad is not None
    assert bool(given.grad.isfinite().all())
    log_prob = Categorical(given).log_prob(torch.full((len(EXTREME),), 2))
    torch.testing.assert_close(log_prob, given.log_softmax(-1)[:, 2])


@pytest.mark.parametrize("per_row", [False, True])
def test_gaussian_is_sb3s_and_torchs(per_row: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (500, 3) if per_row else (3,)
    given = [
        torch.randn(500, 3, generator=generator) * 5,
        torch.randn(*shape, generator=generator),
    ]
    (mean, log_std), (mean2, log_std2) = (
        [each.clone().requires_grad_() for each in given] for _ in range(2)
    )
    ours = Gaussian(mean, log_std)
    torchs = torch.distributions.Normal(mean2, log_std2.exp().expand_as(mean2))
    theirs = DiagGaussianDistribution(3).proba_distribution(*given)
    torch.manual_seed(4)
    expected = theirs.sample()
    torch.manual_seed(4)
    actions = ours.sample().detach()
    assert torch.equal(actions, expected)
    for one, other in (
        (ours.log_prob(actions), torchs.log_prob(actions).sum(-1)),
        (ours.entropy(), torchs.entropy().sum(-1)),
    ):
        assert one.shape == (500,)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        own = torch.autograd.grad(
            one.sum(), (mean, log_std), None, True, allow_unused=True
        )
        ref = torch.autograd.grad(
            other.sum(), (mean2, log_std2), None, True, allow_unused=True
        )
        for a, b in zip(own, ref, strict=True):
            # The entropy knows nothing of the mean.
            zeros = torch.zeros(()) if b is None else torch.zeros_like(b)
            torch.testing.assert_close(
                zeros if a is None else a,
                zeros if b is None else b,
                rtol=1e-4,
                atol=1e-4,
            )


BOX = spaces.Box(-1.0, 1.0, (4,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 40, 3), np.uint8)
DICT = spaces.Dict({"place": BOX, "room": spaces.Discrete(3), "seen": IMAGE})
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
    seen: spaces.Space[Any], acts: spaces.Space[Any], **kwargs: Any
) -> tuple[PolicyGradientPolicy, ActorCriticPolicy]:
    """Ours and SB3's, with the same weights."""
    pair: tuple[type[PolicyGradientPolicy], type[ActorCriticPolicy]] = (
        MlpPolicy,
        ActorCriticPolicy,
    )
    if isinstance(seen, spaces.Dict):
        pair = MultiInputPolicy, MultiInputActorCriticPolicy
    elif seen is IMAGE:
        pair = CnnPolicy, ActorCriticCnnPolicy
    if seen is IMAGE:
        seen = spaces.Box(0, 255, (3, 36, 40), np.uint8)
    if isinstance(seen, spaces.Dict) and "seen" in seen.spaces:
        channels = spaces.Box(0, 255, (3, 36, 40), np.uint8)
        seen = spaces.Dict({**seen.spaces, "seen": channels})
    torch.manual_seed(0)
    ours = pair[0](seen, acts, lambda _: 1e-3, **kwargs)
    with torch.no_grad():
        for parameter in ours.parameters():
            # So that actions differ in probability.
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs = pair[1](seen, acts, lambda _: 1e-3, **kwargs)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def samples(space: spaces.Space[Any], n: int) -> Any:
    space.seed(1)
    rows = [space.sample() for _ in range(n)]
    return tree_map(lambda *each: torch.as_tensor(np.stack(each)), *rows)


@pytest.mark.parametrize(("seen", "acts"), CASES)
def test_act_is_forward_without_the_critic(
    seen: spaces.Space[Any], acts: spaces.Space[Any]
) -> None:
    ours, _ = policies_of(seen, acts)
    observations = samples(ours.observation_space, 40)
    with torch.no_grad():
        torch.manual_seed(7)
        expected, _, _ = ours(observations)
        torch.manual_seed(7)
        actions = ours.act(observations)
    assert torch.equal(actions, expected) and actions.dtype == expected.dtype
    assert actions.shape == (40, *acts.shape)  # type: ignore[misc]
    if not isinstance(acts, spaces.Box):
        for action in actions.numpy().astype(acts.dtype):
            assert acts.contains(action)


@pytest.mark.parametrize(("seen", "acts"), CASES)
@pytest.mark.parametrize("shared", [True, False])
def test_evaluation_is_sb3s(
    seen: spaces.Space[Any], acts: spaces.Space[Any], shared: bool
) -> None:
    """SB3 counts from 0: it is given actions and observations that do."""
    ours, theirs = policies_of(seen, acts, share_features_extractor=shared)
    observations = samples(ours.observation_space, 40)
    with torch.no_grad():
        actions = ours.act(observations)
    given = actions
    if isinstance(acts, spaces.Box):
        given = actions.reshape(40, -1)
    from_zero = given - torch.as_tensor(getattr(acts, "start", 0))
    space = ours.observation_space
    starts = getattr(space, "start", 0)
    if isinstance(space, spaces.Dict):
        starts = {key: getattr(one, "start", 0) for key, one in space.spaces.items()}
    shifted = tree_map(
        lambda own, start: own - torch.as_tensor(start) if np.any(start) else own,
        observations,
        starts,
    )
    mine = ours.evaluate_actions(observations, given)
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
