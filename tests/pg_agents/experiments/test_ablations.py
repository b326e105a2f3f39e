"""The notebooks' mistakes, made on purpose: the same as made by hand."""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from pg_agents import REINFORCE
from pg_agents.experiments import find_recipe
from pg_agents.experiments.building import load_hook
from pg_agents.experiments.mistakes import RoundReturns, WeighByProbability

STEP = 0.1


class FirstRollout(BaseCallback):
    """Keeps what the first update is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []
        self.actions: list[int] = []
        self.given = np.empty(0)

    def _on_step(self) -> bool:
        self.seen.append(self.locals["seen"][0].copy())
        self.actions.append(int(self.locals["actions"][0]))
        return True

    def _on_rollout_end(self) -> None:
        self.given = self.locals["self"].rollout_buffer.advantages[:, 0].copy()


def model() -> REINFORCE:
    """Without Adam, which would hide how long the gradient is."""
    return REINFORCE(
        "MlpPolicy",
        "CartPole-v1",
        learning_rate=STEP,
        gamma=0.9,
        seed=3,
        policy_kwargs={"net_arch": [], "optimizer_class": torch.optim.SGD},
    )


def returns(n_steps: int) -> np.ndarray:
    """Discounted returns of an episode with a reward of 1 a step."""
    return np.array([sum(0.9**k for k in range(n_steps - t)) for t in range(n_steps)])


def test_probability_is_the_gradient_of_return_times_probability() -> None:
    """Beside the notebook's own loss in plain torch: -sum of return times pi(a|s)."""
    ours, first = model(), FirstRollout()
    net = nn.Linear(4, 2)
    net.load_state_dict(ours.policy.action_net.state_dict())
    ours.learn(1, [WeighByProbability(), first], log_interval=None)
    seen = torch.from_numpy(np.array(first.seen))
    chosen = net(seen).softmax(1).gather(1, torch.tensor(first.actions)[:, None])[:, 0]
    loss = -(torch.from_numpy(returns(len(seen))).float() * chosen).sum()
    loss.backward()
    for name in ("weight", "bias"):
        before, gradient = getattr(net, name), getattr(net, name).grad
        after = getattr(ours.policy.action_net, name)
        assert gradient.abs().max() > 1e-2
        torch.testing.assert_close(after, before - STEP * gradient)


def test_rounded_returns_are_cast_to_integers() -> None:
    """1, 1.9, 2.71, 3.439, 4.0951, ... from the end: 1, 1, 2, 3, 4."""
    ours, first = model(), FirstRollout()
    ours.learn(1, [RoundReturns(), first], log_interval=None)
    assert first.given[-5:].tolist() == [4.0, 3.0, 2.0, 1.0, 1.0]
    expected = returns(len(first.seen)).astype(np.float32).astype(int)
    assert first.given.tolist() == expected.tolist()


def test_each_stands_in_a_recipe_that_differs_in_nothing_else() -> None:
    for recipe, variant, field in (
        ("cartpole-policy-network", "probability", "train"),
        ("reinforce-memory", "rounded", "train"),
        ("cartpole-policy-network", "stepped-past", "env_kwargs"),
    ):
        right = find_recipe(recipe).config("notebook").settings.to_json()
        wrong = find_recipe(recipe).config(variant).settings.to_json()
        differ = {name for name in right if right[name] != wrong[name]}
        assert differ - {"evaluation"} == {field}
        if field == "train":
            assert callable(load_hook(wrong["train"]))
