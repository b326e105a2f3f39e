"""REINFORCE with baseline as in the textbook: an update for every step of the episode."""

import gymnasium as gym
import torch
import torch.nn as nn


class PolicyNet(nn.Module):
    def __init__(self, n_obs, n_actions):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_obs, 32), nn.ReLU(), nn.Linear(32, n_actions)
        )

    def forward(self, s):
        return torch.log_softmax(self.layers(s), dim=-1)


class ValueNet(nn.Module):
    def __init__(self, n_obs):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_obs, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, s):
        return self.layers(s)[0]


def generate_episode(env, pi):
    episode = []
    s, _ = env.reset()
    s = torch.tensor(s, dtype=torch.float32)
    done = False
    while not done:
        with torch.no_grad():
            p = pi(s).exp()
        a = torch.multinomial(p, 1).item()
        s_next, r, terminated, truncated, _ = env.step(a)
        episode.append((s, a, r))
        s = torch.tensor(s_next, dtype=torch.float32)
        done = terminated or truncated
    return episode


def reinforce(env, episodes, gamma=0.99, alpha_w=1e-3, alpha_theta=5e-4):
    pi = PolicyNet(env.observation_space.shape[0], env.action_space.n)
    v = ValueNet(env.observation_space.shape[0])
    optim_theta = torch.optim.SGD(pi.parameters(), lr=alpha_theta)
    optim_w = torch.optim.SGD(v.parameters(), lr=alpha_w)

    for k in range(episodes):
        episode = generate_episode(env, pi)
        for t, (s, a, _) in enumerate(episode):
            g = 0.0
            for i in range(t, len(episode)):
                g += gamma ** (i - t) * episode[i][2]

            delta = g - v(s)
            loss_w = 0.5 * delta**2
            optim_w.zero_grad()
            loss_w.backward()
            optim_w.step()

            loss_theta = -(gamma**t) * delta.detach() * pi(s)[a]
            optim_theta.zero_grad()
            loss_theta.backward()
            optim_theta.step()
        if k % 10 == 0:
            print(f"episode {k}: length {len(episode)}")


torch.manual_seed(5)
reinforce(gym.make("CartPole-v1"), episodes=60)
