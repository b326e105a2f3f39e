"""REINFORCE with a Gaussian policy on Pendulum: mean from a network, one deviation."""

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
from torch.distributions import Normal


class GaussianPolicy(nn.Module):
    def __init__(self, obs_dim, act_dim):
        super().__init__()
        self.mean = nn.Sequential(
            nn.Linear(obs_dim, 32), nn.Tanh(), nn.Linear(32, act_dim)
        )
        self.log_std = nn.Parameter(torch.zeros(act_dim))

    def forward(self, obs):
        return Normal(self.mean(obs), self.log_std.exp())


class REINFORCE:
    def __init__(self, env, gamma=0.9, lr=1e-3, episodes_per_update=2):
        self.env = env
        self.gamma = gamma
        self.episodes_per_update = episodes_per_update
        self.policy = GaussianPolicy(
            env.observation_space.shape[0], env.action_space.shape[0]
        )
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=lr)
        self.low = env.action_space.low
        self.high = env.action_space.high

    def play(self):
        log_probs, rewards = [], []
        obs, _ = self.env.reset()
        over = False
        while not over:
            dist = self.policy(torch.as_tensor(obs, dtype=torch.float32))
            action = dist.sample()
            log_probs.append(dist.log_prob(action).sum())
            torque = np.clip(action.numpy(), self.low, self.high)
            obs, reward, terminated, truncated, _ = self.env.step(torque)
            rewards.append(float(reward))
            over = terminated or truncated
        return log_probs, rewards

    def returns(self, rewards):
        out = np.zeros(len(rewards), dtype=np.float32)
        acc = 0.0
        for t in reversed(range(len(rewards))):
            acc = rewards[t] + self.gamma * acc
            out[t] = acc
        return torch.from_numpy(out)

    def update(self):
        losses, score = [], 0.0
        for _ in range(self.episodes_per_update):
            log_probs, rewards = self.play()
            returns = self.returns(rewards)
            losses.append(-(torch.stack(log_probs) * returns).sum())
            score += sum(rewards)
        loss = torch.stack(losses).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return score / self.episodes_per_update


if __name__ == "__main__":
    torch.manual_seed(3)
    agent = REINFORCE(gym.make("Pendulum-v1"))
    for i in range(15):
        score = agent.update()
        if i % 5 == 0:
            print(f"update {i:3d}  mean score {score:8.1f}")
