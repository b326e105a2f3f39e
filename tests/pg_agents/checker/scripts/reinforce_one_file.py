"""REINFORCE on CartPole, in one file: two functions and a loop."""

import gymnasium as gym
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

GAMMA = 0.99
EPISODES = 120


class Policy(nn.Module):
    def __init__(self, n_inputs, n_actions):
        super().__init__()
        self.hidden = nn.Linear(n_inputs, 64)
        self.out = nn.Linear(64, n_actions)

    def forward(self, x):
        x = F.relu(self.hidden(x))
        return self.out(x)


def compute_returns(rewards):
    """Discounted sum of the rewards from each step to the end."""
    returns = []
    g = 0.0
    for r in reversed(rewards):
        g = r + GAMMA * g
        returns.insert(0, g)
    return torch.tensor(returns)


def run_episode(env, policy):
    obs, _ = env.reset()
    log_probs, rewards = [], []
    done = False
    while not done:
        logits = policy(torch.as_tensor(obs, dtype=torch.float32))
        dist = Categorical(logits=logits)
        action = dist.sample()
        log_probs.append(dist.log_prob(action))
        obs, reward, terminated, truncated, _ = env.step(action.item())
        rewards.append(reward)
        done = terminated or truncated
    return torch.stack(log_probs), rewards


def main():
    torch.manual_seed(0)
    env = gym.make("CartPole-v1")
    policy = Policy(env.observation_space.shape[0], env.action_space.n)
    optimizer = optim.Adam(policy.parameters(), lr=1e-2)

    average = 10.0
    for episode in range(1, EPISODES + 1):
        log_probs, rewards = run_episode(env, policy)
        returns = compute_returns(rewards)
        loss = -(log_probs * returns).sum()

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        average = 0.95 * average + 0.05 * sum(rewards)
        if episode % 20 == 0:
            print(f"episode {episode}: average reward {average:.1f}")
    env.close()


main()
