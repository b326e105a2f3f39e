"""Actor-critic with generalised advantage estimation, from rollouts of fixed length."""

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
from torch.distributions import Categorical


def mlp(sizes):
    layers = []
    for i in range(len(sizes) - 1):
        layers.append(nn.Linear(sizes[i], sizes[i + 1]))
        if i < len(sizes) - 2:
            layers.append(nn.Tanh())
    return nn.Sequential(*layers)


class Buffer:
    """Transitions of one rollout, as lists of numbers."""

    def __init__(self):
        self.obs, self.actions, self.rewards, self.next_obs = [], [], [], []
        self.terminated, self.done = [], []

    def add(self, obs, action, reward, next_obs, terminated, done):
        self.obs.append(obs)
        self.actions.append(action)
        self.rewards.append(reward)
        self.next_obs.append(next_obs)
        self.terminated.append(terminated)
        self.done.append(done)

    def tensors(self):
        obs = torch.tensor(np.array(self.obs), dtype=torch.float32)
        next_obs = torch.tensor(np.array(self.next_obs), dtype=torch.float32)
        return obs, torch.tensor(self.actions), next_obs


def gae(rewards, values, next_values, terminated, done, gamma, lam):
    advantages = np.zeros(len(rewards), dtype=np.float32)
    running = 0.0
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + gamma * next_values[t] * (not terminated[t]) - values[t]
        running = delta + gamma * lam * (not done[t]) * running
        advantages[t] = running
    return advantages


def train(total_steps=8000, rollout=128, gamma=0.99, lam=0.95, lr=3e-3):
    env = gym.make("CartPole-v1")
    actor = mlp([env.observation_space.shape[0], 64, env.action_space.n])
    critic = mlp([env.observation_space.shape[0], 64, 1])
    actor_opt = torch.optim.Adam(actor.parameters(), lr=lr)
    critic_opt = torch.optim.Adam(critic.parameters(), lr=lr)

    obs, _ = env.reset(seed=0)
    score, scores, steps = 0.0, [], 0
    while steps < total_steps:
        buffer = Buffer()
        for _ in range(rollout):
            with torch.no_grad():
                logits = actor(torch.tensor(obs, dtype=torch.float32))
                action = Categorical(logits=logits).sample().item()
            next_obs, reward, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
            buffer.add(obs, action, reward, next_obs, terminated, done)
            score += reward
            obs = next_obs
            steps += 1
            if done:
                scores.append(score)
                score = 0.0
                obs, _ = env.reset()

        b_obs, b_actions, b_next_obs = buffer.tensors()
        values = critic(b_obs).squeeze(1)
        with torch.no_grad():
            next_values = critic(b_next_obs).squeeze(1)
        advantages = gae(
            buffer.rewards,
            values.detach().numpy(),
            next_values.numpy(),
            buffer.terminated,
            buffer.done,
            gamma,
            lam,
        )
        advantages = torch.from_numpy(advantages)
        targets = advantages + values.detach()

        log_probs = Categorical(logits=actor(b_obs)).log_prob(b_actions)
        actor_loss = -(log_probs * advantages).mean()
        critic_loss = nn.functional.mse_loss(values, targets)

        actor_opt.zero_grad()
        actor_loss.backward()
        actor_opt.step()
        critic_opt.zero_grad()
        critic_loss.backward()
        critic_opt.step()
        if scores:
            print(f"{steps:6d} steps, mean score {np.mean(scores[-10:]):6.1f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    train()
