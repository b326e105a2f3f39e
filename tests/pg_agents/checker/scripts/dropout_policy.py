"""REINFORCE with dropout in the policy, standardised returns and a stopping rule."""

from itertools import count

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

LOG_INTERVAL = 10
GAMMA = 0.99

env = gym.make("CartPole-v1")
env.reset(seed=11)
torch.manual_seed(11)


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(4, 128)
        self.dropout = nn.Dropout(p=0.6)
        self.layer2 = nn.Linear(128, 2)
        self.log_prob_history = []
        self.reward_history = []

    def forward(self, x):
        x = self.layer1(x)
        x = self.dropout(x)
        x = F.relu(x)
        return F.softmax(self.layer2(x), dim=1)


policy = Policy()
optimizer = optim.Adam(policy.parameters(), lr=1e-2)
eps = np.finfo(np.float32).eps.item()


def choose(state):
    state = torch.from_numpy(state).float().unsqueeze(0)
    distribution = Categorical(policy(state))
    action = distribution.sample()
    policy.log_prob_history.append(distribution.log_prob(action))
    return action.item()


def learn():
    discounted, total = [], 0.0
    for reward in reversed(policy.reward_history):
        total = reward + GAMMA * total
        discounted.append(total)
    discounted = torch.tensor(discounted[::-1])
    discounted = (discounted - discounted.mean()) / (discounted.std() + eps)

    terms = []
    for log_prob, weight in zip(policy.log_prob_history, discounted):
        terms.append(-log_prob * weight)
    optimizer.zero_grad()
    torch.cat(terms).sum().backward()
    optimizer.step()

    policy.log_prob_history.clear()
    policy.reward_history.clear()


def main():
    smoothed = 10.0
    for i in count(1):
        state, _ = env.reset()
        length = 0
        for _ in range(10000):
            state, reward, terminated, truncated, _ = env.step(choose(state))
            policy.reward_history.append(reward)
            length += 1
            if terminated or truncated:
                break
        smoothed = 0.95 * smoothed + 0.05 * length
        learn()
        if i % LOG_INTERVAL == 0:
            print(f"Episode {i}\tLength {length}\tSmoothed {smoothed:.2f}")
        if smoothed > env.spec.reward_threshold / 4:
            print("Good enough.")
            break


if __name__ == "__main__":
    main()
