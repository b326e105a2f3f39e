"""The notebook's own loop in a few lines of torch, beside row reinforce-128."""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from pg_agents.experiments.building import make_model, make_training_env
from pg_agents.experiments.catalogue import find_recipe
from pg_agents.experiments.shows.parts import learn_quietly

N_UPDATES = 15


class NotebookLoop(BaseCallback):
    """Makes the notebook's updates from the episodes that ours has seen."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.net = net
        self.optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        self.seen: list[np.ndarray] = []
        self.actions: list[int] = []
        self.n_updates = 0

    def _on_step(self) -> bool:
        self.seen.append(self.locals["seen"][0].copy())
        self.actions.append(int(self.locals["actions"][0]))
        return self.n_updates < N_UPDATES

    def _on_rollout_start(self) -> None:
        if self.seen:
            self._update()
            self.seen, self.actions, self.n_updates = [], [], self.n_updates + 1

    def _update(self) -> None:
        # A reward of 1 a step.
        returns = torch.zeros(len(self.seen))
        after = 0.0
        for t in reversed(range(len(self.seen))):
            after = 1.0 + 0.99 * after
            returns[t] = after
        returns = (returns - returns.mean()) / (returns.std() + 1e-8)
        logits = self.net(torch.from_numpy(np.array(self.seen)))
        chosen = torch.distributions.Categorical(logits=logits)
        log_probs = chosen.log_prob(torch.tensor(self.actions))
        self.optimizer.zero_grad()
        (-(log_probs * returns).sum()).backward()
        self.optimizer.step()


def test_ours_makes_the_notebook_s_updates() -> None:
    """The same weights after 15 updates, but for rounding in single precision."""
    settings = find_recipe("reinforce-128").config().settings
    env = make_training_env(settings)
    assert isinstance(env, VecEnv)
    model = make_model(settings, env, 0)
    ours = [m for m in model.policy.modules() if isinstance(m, nn.Linear)]
    net = nn.Sequential(
        *(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()),
        nn.Linear(128, 2),
    )
    theirs = [m for m in net if isinstance(m, nn.Linear)]
    for one, other in zip(theirs, ours, strict=True):
        one.load_state_dict(other.state_dict())
    start = ours[0].weight.detach().clone()
    loop = NotebookLoop(net)
    learn_quietly(model, [loop])
    assert loop.n_updates == N_UPDATES
    assert (ours[0].weight - start).abs().max() > 5e-3
    for one, other in zip(theirs, ours, strict=True):
        assert torch.allclose(one.weight, other.weight, rtol=0, atol=1e-6)
        assert torch.allclose(one.bias, other.bias, rtol=0, atol=1e-6)
