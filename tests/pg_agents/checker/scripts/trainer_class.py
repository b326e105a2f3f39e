"""A Trainer that hides the loop: batches of steps, weighted by the episode's return."""

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.distributions.categorical import Categorical
from torch.optim import Adam


class Trainer:
    """Collects episodes until a batch is full, then makes one step of the optimiser."""

    def __init__(
        self, env_name="CartPole-v1", hidden=32, lr=1e-2, epochs=20, batch=500
    ):
        self.env = gym.make(env_name)
        assert isinstance(self.env.observation_space, gym.spaces.Box)
        assert isinstance(self.env.action_space, gym.spaces.Discrete)
        n_obs = self.env.observation_space.shape[0]
        n_acts = int(self.env.action_space.n)
        self.logits_net = nn.Sequential(
            nn.Linear(n_obs, hidden), nn.Tanh(), nn.Linear(hidden, n_acts)
        )
        self.optimizer = Adam(self.logits_net.parameters(), lr=lr)
        self.epochs = epochs
        self.batch = batch

    def policy(self, obs):
        return Categorical(logits=self.logits_net(obs))

    def act(self, obs):
        obs = torch.as_tensor(obs, dtype=torch.float32)
        return self.policy(obs).sample().item()

    def loss(self, obs, act, weights):
        logp = self.policy(obs).log_prob(act)
        return -(logp * weights).mean()

    def one_epoch(self):
        batch_obs, batch_acts, batch_weights = [], [], []
        batch_rets, ep_rews = [], []
        obs, _ = self.env.reset()
        while True:
            batch_obs.append(obs)
            act = self.act(obs)
            obs, rew, terminated, truncated, _ = self.env.step(act)
            batch_acts.append(act)
            ep_rews.append(rew)
            if terminated or truncated:
                batch_rets.append(sum(ep_rews))
                batch_weights += [sum(ep_rews)] * len(ep_rews)
                ep_rews = []
                obs, _ = self.env.reset()
                if len(batch_obs) > self.batch:
                    break

        self.optimizer.zero_grad()
        loss = self.loss(
            obs=torch.as_tensor(np.array(batch_obs), dtype=torch.float32),
            act=torch.as_tensor(batch_acts),
            weights=torch.as_tensor(batch_weights, dtype=torch.float32),
        )
        loss.backward()
        self.optimizer.step()
        return loss.item(), batch_rets

    def run(self):
        for i in range(self.epochs):
            loss, rets = self.one_epoch()
            print(f"epoch: {i:3d} \t loss: {loss:.3f} \t return: {np.mean(rets):.3f}")


Trainer().run()
