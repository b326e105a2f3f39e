"""REINFORCE for CartPole in one file, with a mistake that `pgtoy check` finds.

    python demos/train_reinforce.py
    pgtoy check demos/train_reinforce.py

It learns a little all the same.
"""

import gymnasium as gym
import torch
from torch import nn
from torch.distributions import Categorical


def main(n_episodes: int = 300, gamma: float = 0.99) -> None:
    """Trains, and prints the mean score of every 50 episodes."""
    env = gym.make("CartPole-v1")
    policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.005)
    scores = []
    for episode in range(1, n_episodes + 1):
        obs, _ = env.reset()
        log_probs: list[torch.Tensor] = []
        rewards: list[float] = []
        done = False
        while not done:
            distribution = Categorical(logits=policy(torch.as_tensor(obs)))
            action = distribution.sample()
            obs, reward, terminated, truncated, _ = env.step(action.item())
            log_probs.append(distribution.log_prob(action))
            rewards.append(float(reward))
            done = terminated or truncated
        returns: list[float] = []
        total = 0.0
        for reward in reversed(rewards):
            total = float(reward) + gamma * total
            returns.append(total)
        loss = -(torch.stack(log_probs) * torch.tensor(returns)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scores.append(sum(rewards))
        if episode % 50 == 0:
            print(f"episodes to {episode}: {sum(scores[-50:]) / 50:.0f}")


if __name__ == "__main__":
    main()
