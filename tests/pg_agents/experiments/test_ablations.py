"""Mistakes made on purpose, and the notebooks' own loop, beside plain torch."""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from pg_agents import REINFORCE
from pg_agents.experiments import find_recipe
from pg_agents.experiments.ablations import RoundReturns, WeightByProbability
from pg_agents.experiments.building import (
    load_function,
    make_model,
    make_training_env,
)
from pg_agents.experiments.run import NO_LIMIT, learn

STEP_SIZE = 0.1
N_UPDATES = 15


class Recording(BaseCallback):
    """Records observations, actions and advantages of a rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.obs: list[np.ndarray] = []
        self.actions: list[int] = []
        self.advantages = np.empty(0)

    def _on_step(self) -> bool:
        self.obs.append(self.locals["obs_tensor"][0].numpy().copy())
        self.actions.append(int(self.locals["actions"][0]))
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.locals["self"].rollout_buffer
        self.advantages = buffer.advantages[:, 0].copy()


def model() -> REINFORCE:
    """A linear policy under SGD, whose step is proportional to the gradient."""
    return REINFORCE(
        "MlpPolicy",
        "CartPole-v1",
        learning_rate=STEP_SIZE,
        gamma=0.9,
        seed=3,
        policy_kwargs={"net_arch": [], "optimizer_class": torch.optim.SGD},
    )


def discounted_returns(n_steps: int, gamma: float) -> np.ndarray:
    """Returns of an episode with a reward of 1 per step."""
    return np.array([sum(gamma**k for k in range(n_steps - t)) for t in range(n_steps)])


def test_probability_takes_the_gradient_of_return_times_probability() -> None:
    """The notebook's loss in plain torch: the sum of -return times pi(a|s)."""
    ours, recording = model(), Recording()
    net = nn.Linear(4, 2)
    net.load_state_dict(ours.policy.action_net.state_dict())
    ours.learn(1, [WeightByProbability(), recording], log_interval=None)
    obs = torch.from_numpy(np.array(recording.obs))
    actions = torch.tensor(recording.actions)[:, None]
    probability = net(obs).softmax(1).gather(1, actions)[:, 0]
    returns = torch.from_numpy(discounted_returns(len(obs), 0.9)).float()
    (-(returns * probability).sum()).backward()
    for name in ("weight", "bias"):
        before, gradient = getattr(net, name), getattr(net, name).grad
        assert gradient.abs().max() > 1e-2
        after = getattr(ours.policy.action_net, name)
        torch.testing.assert_close(after, before - STEP_SIZE * gradient)


def test_rounded_returns_are_cast_to_integers() -> None:
    """1, 1.9, 2.71, 3.439, 4.0951, ... from the end: 1, 1, 2, 3, 4."""
    recording = Recording()
    model().learn(1, [RoundReturns(), recording], log_interval=None)
    assert recording.advantages[-5:].tolist() == [4.0, 3.0, 2.0, 1.0, 1.0]
    returns = discounted_returns(len(recording.obs), 0.9)
    expected = returns.astype(np.float32).astype(int)
    assert recording.advantages.tolist() == expected.tolist()


def test_the_variant_of_a_mistake_differs_from_the_notebook_in_nothing_else() -> None:
    for recipe, variant, field in (
        ("cartpole-policy-network", "probability", "train"),
        ("reinforce-memory", "rounded", "train"),
        ("cartpole-policy-network", "stepped-past", "env_kwargs"),
    ):
        notebook = find_recipe(recipe).config("notebook").settings.to_json()
        mistake = find_recipe(recipe).config(variant).settings.to_json()
        differing = {name for name in notebook if notebook[name] != mistake[name]}
        assert differing - {"evaluation"} == {field}
        if field == "train":
            assert callable(load_function(mistake["train"]))


class NotebookLoop(BaseCallback):
    """Makes the notebook's updates of a network from the episodes of the model."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.net = net
        self.optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        self.obs: list[np.ndarray] = []
        self.actions: list[int] = []
        self.n_updates = 0

    def _on_step(self) -> bool:
        self.obs.append(self.locals["obs_tensor"][0].numpy().copy())
        self.actions.append(int(self.locals["actions"][0]))
        return self.n_updates < N_UPDATES

    def _on_rollout_start(self) -> None:
        if not self.obs:
            return
        returns = torch.from_numpy(discounted_returns(len(self.obs), 0.99)).float()
        returns = (returns - returns.mean()) / (returns.std() + 1e-8)
        logits = self.net(torch.from_numpy(np.array(self.obs)))
        distribution = torch.distributions.Categorical(logits=logits)
        log_prob = distribution.log_prob(torch.tensor(self.actions))
        self.optimizer.zero_grad()
        (-(log_prob * returns).sum()).backward()
        self.optimizer.step()
        self.obs, self.actions, self.n_updates = [], [], self.n_updates + 1


def test_reinforce_128_makes_the_updates_of_the_notebook() -> None:
    """The same weights after 15 updates, up to rounding in single precision."""
    settings = find_recipe("reinforce-128").config().settings
    env = make_training_env(settings)
    assert isinstance(env, VecEnv)
    ours = make_model(settings, env, 0)
    layers = [m for m in ours.policy.modules() if isinstance(m, nn.Linear)]
    net = nn.Sequential(
        *(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()),
        nn.Linear(128, 2),
    )
    copies = [m for m in net if isinstance(m, nn.Linear)]
    for copy, layer in zip(copies, layers, strict=True):
        copy.load_state_dict(layer.state_dict())
    start = layers[0].weight.detach().clone()
    loop = NotebookLoop(net)
    learn(ours, NO_LIMIT, [loop])
    assert loop.n_updates == N_UPDATES
    assert (layers[0].weight - start).abs().max() > 5e-3
    for copy, layer in zip(copies, layers, strict=True):
        assert torch.allclose(copy.weight, layer.weight, rtol=0, atol=1e-6)
        assert torch.allclose(copy.bias, layer.bias, rtol=0, atol=1e-6)
