"""Actor-critic with one network: a shared body, a policy head and a value head."""

import gymnasium as gym
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

gamma = 0.99
env = gym.make("CartPole-v1")
env.reset(seed=543)
torch.manual_seed(543)


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 128)
        self.action_head = nn.Linear(128, 2)
        self.value_head = nn.Linear(128, 1)
        self.log_probs = []
        self.values = []
        self.rewards = []

    def forward(self, x):
        x = F.relu(self.body(x))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


model = ActorCritic()
optimizer = optim.Adam(model.parameters(), lr=3e-3)


def act(state):
    probs, value = model(torch.from_numpy(state).float())
    m = Categorical(probs)
    action = m.sample()
    model.log_probs.append(m.log_prob(action))
    model.values.append(value)
    return action.item()


def update():
    R = 0
    returns = []
    for r in model.rewards[::-1]:
        R = r + gamma * R
        returns.insert(0, R)
    returns = torch.tensor(returns)

    policy_losses = []
    value_losses = []
    for log_prob, value, R in zip(model.log_probs, model.values, returns):
        advantage = R - value.item()
        policy_losses.append(-log_prob * advantage)
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))

    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum()
    loss.backward()
    optimizer.step()

    del model.rewards[:]
    del model.log_probs[:]
    del model.values[:]


def main():
    running_reward = 10
    for i_episode in range(100):
        state, _ = env.reset()
        ep_reward = 0
        for t in range(1, 10000):
            action = act(state)
            state, reward, terminated, truncated, _ = env.step(action)
            model.rewards.append(reward)
            ep_reward += reward
            if terminated or truncated:
                break
        running_reward = 0.05 * ep_reward + 0.95 * running_reward
        update()
        if i_episode % 10 == 0:
            print(
                f"Episode {i_episode}\tLast: {ep_reward:.2f}\tAverage: {running_reward:.2f}"
            )
        if running_reward > env.spec.reward_threshold:
            print(f"Solved! Running reward is now {running_reward}")
            break


if __name__ == "__main__":
    main()
