"""Policies and actions that the tests of fitting share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from pg_agents import TabularPolicy
from pg_agents.cloning.likelihood_fit import CloningResult, FitSettings, LikelihoodFit

THREE = spaces.Discrete(3)
BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
NONE = np.zeros(0, dtype=np.int64)
# How often each action was taken in each of three states.
COUNTS = np.array([[6, 3, 1], [1, 1, 8], [4, 4, 2]])


def fit(
    policy: ActorCriticPolicy,
    observations: NDArray[Any],
    actions: NDArray[Any],
    held_out: NDArray[np.int64] = NONE,
    **settings: Any,
) -> LikelihoodFit:
    """A fit to all rows that are not held out, all of them at once by default."""
    arguments: dict[str, Any] = {
        "n_epochs": 200,
        "batch_size": 1000,
        "learning_rate": 0.1,
        "ent_coef": 0.0,
        "l2": 0.0,
        "fit_std": True,
        "patience": None,
        "max_grad_norm": None,
    }
    training = np.setdiff1d(np.arange(len(actions)), held_out)
    return LikelihoodFit(
        policy,
        FitSettings(**arguments | settings),
        observations,
        actions,
        training,
        held_out,
        np.random.default_rng(0),
    )


def run(*args: Any, **settings: Any) -> CloningResult:
    return fit(*args, **settings).run(progress_bar=False)


def table(**kwargs: Any) -> TabularPolicy:
    return TabularPolicy(THREE, THREE, lambda _: 1e-3, **kwargs)


def counted() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """States and actions of which COUNTS is the table."""
    states, actions = (index.flatten() for index in np.indices((3, 3)))
    return np.repeat(states, COUNTS.flatten()), np.repeat(actions, COUNTS.flatten())


def linear(action_space: spaces.Space[Any], **kwargs: Any) -> ActorCriticPolicy:
    """A policy whose parameters are linear in the observation."""
    torch.manual_seed(0)
    return ActorCriticPolicy(BOX, action_space, lambda _: 1e-3, net_arch=[], **kwargs)


def theta(policy: ActorCriticPolicy) -> NDArray[Any]:
    """Returns the weights and, below them, the biases of a linear policy, `[3, A]`."""
    net: Any = policy.action_net
    both = torch.cat([net.weight, net.bias[:, None]], dim=1)
    return both.detach().double().numpy().T


def noisy_line(n: int = 60) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Observations `[n, 2]` and two actions each, `[n, 2]`, nearly linear in them."""
    rng = np.random.default_rng(5)
    seen = rng.uniform(-1, 1, (n, 2))
    noise = rng.normal(0, [0.1, 0.3], (n, 2))
    return seen, seen @ [[0.5, -1.0], [0.2, 0.4]] + [0.3, -0.1] + noise


def guesses(n: int = 40) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Actions that have nothing to do with what was seen: there is only noise."""
    rng = np.random.default_rng(2)
    return rng.uniform(-1, 1, (n, 2)), rng.integers(0, 3, n)


class Noisy(BaseFeaturesExtractor):
    """Batch norm and dropout, which are others while learning than afterwards."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space, 2)
        self.body = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))

    def forward(self, observations: Tensor) -> Tensor:
        out: Tensor = self.body(observations)
        return out
