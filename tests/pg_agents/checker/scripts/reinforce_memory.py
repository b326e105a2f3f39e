"""REINFORCE that fills a memory with a few episodes and learns from them at once."""

from collections import namedtuple

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

Transition = namedtuple("Transition", "state action reward done")


class Memory:
    """Keeps the transitions of the current policy."""

    def __init__(self):
        self.transitions = []

    def push(self, *args):
        self.transitions.append(Transition(*args))

    def __len__(self):
        return len(self.transitions)

    def clear(self):
        self.transitions = []

    def sample(self):
        batch = Transition(*zip(*self.transitions))
        return (
            torch.tensor(np.stack(batch.state), dtype=torch.float32),
            torch.tensor(batch.action).unsqueeze(1),
            batch.reward,
            batch.done,
        )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 128)
        self.fc2 = nn.Linear(128, 2)

    def forward(self, x):
        return F.softmax(self.fc2(F.relu(self.fc1(x))), dim=1)


def select_action(net, state):
    with torch.no_grad():
        probs = net(torch.tensor(state, dtype=torch.float32).unsqueeze(0))
    return torch.multinomial(probs, 1).item()


def train(net, optimizer, memory, gamma, n_episodes):
    states, actions, rewards, dones = memory.sample()

    returns = []
    R = 0.0
    for r, done in zip(reversed(rewards), reversed(dones)):
        if done:
            R = 0.0
        R = r + gamma * R
        returns.append(R)
    returns.reverse()
    returns = torch.tensor(returns)

    probs = net(states)
    log_probs = torch.log(probs.gather(1, actions)).squeeze(1)
    loss = -(log_probs * returns).sum() / n_episodes

    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


if __name__ == "__main__":
    env = gym.make("CartPole-v1")
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    memory = Memory()
    gamma, batch_episodes = 0.99, 4

    for update in range(60):
        total = 0.0
        for _ in range(batch_episodes):
            state, _ = env.reset()
            done = False
            while not done:
                action = select_action(net, state)
                next_state, reward, terminated, truncated, _ = env.step(action)
                done = terminated or truncated
                memory.push(state, action, reward, done)
                state = next_state
                total += reward
        loss = train(net, optimizer, memory, gamma, batch_episodes)
        memory.clear()
        if update % 10 == 0:
            print(
                f"update {update}, mean reward {total / batch_episodes:.1f}, loss {loss:.3f}"
            )
