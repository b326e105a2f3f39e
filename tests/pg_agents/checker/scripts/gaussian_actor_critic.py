"""Actor-critic for continuous actions: mean and deviation depend on the state."""

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import Normal


class ActorCriticNet(nn.Module):
    def __init__(self, n_inputs, n_outputs, n_hidden=64):
        super().__init__()
        self.fc = nn.Linear(n_inputs, n_hidden)
        self.mu = nn.Linear(n_hidden, n_outputs)
        self.sigma = nn.Linear(n_hidden, n_outputs)
        self.value = nn.Linear(n_hidden, 1)

    def forward(self, x):
        x = torch.tanh(self.fc(x))
        mu = self.mu(x)
        sigma = F.softplus(self.sigma(x)) + 1e-3
        return mu, sigma, self.value(x).squeeze(-1)


class Agent:
    def __init__(self, env, gamma=0.9, lr=1e-3, horizon=20):
        self.net = ActorCriticNet(
            env.observation_space.shape[0], env.action_space.shape[0]
        )
        self.opt = torch.optim.Adam(self.net.parameters(), lr=lr)
        self.env, self.gamma, self.horizon = env, gamma, horizon
        self.bound = float(env.action_space.high[0])

    def act(self, obs):
        mu, sigma, _ = self.net(torch.tensor(obs, dtype=torch.float32))
        action = Normal(mu, sigma).sample()
        return action.numpy()

    def learn(self, path):
        obs, actions, rewards, next_obs, terminated, done = map(np.array, zip(*path))
        obs = torch.tensor(obs, dtype=torch.float32)
        next_obs = torch.tensor(next_obs, dtype=torch.float32)
        actions = torch.tensor(actions, dtype=torch.float32)

        mu, sigma, value = self.net(obs)
        with torch.no_grad():
            next_value = self.net(next_obs)[2].numpy() * (1 - terminated)
        # n-step returns: sum until the end of the episode or of the path.
        target = np.zeros(len(rewards), dtype=np.float32)
        for t in reversed(range(len(rewards))):
            last = done[t] or t == len(rewards) - 1
            following = next_value[t] if last else target[t + 1]
            target[t] = rewards[t] + self.gamma * following
        target = torch.tensor(target)

        log_prob = Normal(mu, sigma).log_prob(actions).sum(dim=-1)
        advantage = target - value
        actor_loss = -(log_prob * advantage.detach()).mean()
        critic_loss = advantage.pow(2).mean()
        self.opt.zero_grad()
        (actor_loss + critic_loss).backward()
        self.opt.step()

    def train(self, n_episodes):
        for episode in range(n_episodes):
            obs, _ = self.env.reset()
            score, done, path = 0.0, False, []
            while not done:
                action = self.act(obs)
                clipped = np.clip(action, -self.bound, self.bound)
                next_obs, reward, terminated, truncated, _ = self.env.step(clipped)
                done = terminated or truncated
                path.append((obs, action, reward / 10, next_obs, terminated, done))
                obs = next_obs
                score += reward
                if done or len(path) == self.horizon:
                    self.learn(path)
                    path = []
            if episode % 5 == 0:
                print(f"episode {episode}: score {score:.0f}")


if __name__ == "__main__":
    torch.manual_seed(6)
    Agent(gym.make("Pendulum-v1")).train(25)
