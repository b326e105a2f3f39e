"""An nn.Sequential that ends in softmax, and the discounted objective as it is written."""

import gymnasium as gym
import torch
from torch import nn
from torch.distributions import Categorical

torch.manual_seed(4)
env = gym.make("CartPole-v1")
policy = nn.Sequential(
    nn.Linear(4, 36),
    nn.ReLU(),
    nn.Linear(36, 2),
    nn.Softmax(dim=-1),
)
optimizer = torch.optim.SGD(policy.parameters(), lr=2e-3)
gamma = 0.95
batch_size = 5


def rollout():
    states, actions, rewards = [], [], []
    state = torch.tensor(env.reset()[0])
    while True:
        with torch.no_grad():
            action = Categorical(policy(state)).sample()
        next_state, reward, terminated, truncated, _ = env.step(action.item())
        states.append(state)
        actions.append(action)
        rewards.append(reward)
        state = torch.tensor(next_state)
        if terminated or truncated:
            return torch.stack(states), torch.stack(actions), torch.tensor(rewards)


for step in range(60):
    optimizer.zero_grad()
    lengths = []
    for _ in range(batch_size):
        states, actions, rewards = rollout()
        T = len(rewards)
        discounts = gamma ** torch.arange(T)
        # gamma^t times the reward to go is the tail of the discounted rewards.
        tails = (discounts * rewards).flip(0).cumsum(0).flip(0)
        probs = policy(states)
        log_probs = Categorical(probs).log_prob(actions)
        loss = -(tails * log_probs).sum() / batch_size
        loss.backward()
        lengths.append(T)
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step}: mean length {sum(lengths) / batch_size:.1f}")
