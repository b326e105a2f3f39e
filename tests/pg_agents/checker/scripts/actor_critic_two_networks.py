"""One-step actor-critic: two networks, two optimisers, an update after every step."""

import gymnasium as gym
import torch
import torch.nn as nn
from torch.distributions import Categorical


class Actor(nn.Module):
    def __init__(self, n_states, n_actions):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n_states, 64), nn.ReLU(), nn.Linear(64, n_actions)
        )

    def forward(self, x):
        return Categorical(logits=self.net(x))


class Critic(nn.Module):
    def __init__(self, n_states):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(n_states, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x):
        return self.net(x).squeeze(-1)


class A2CAgent:
    def __init__(self, n_states, n_actions, gamma=0.97, actor_lr=1e-3, critic_lr=5e-3):
        self.gamma = gamma
        self.actor = Actor(n_states, n_actions)
        self.critic = Critic(n_states)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=actor_lr)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=critic_lr)

    def take_action(self, state):
        state = torch.tensor(state, dtype=torch.float32)
        return self.actor(state).sample().item()

    def update(self, state, action, reward, next_state, terminated):
        state = torch.tensor(state, dtype=torch.float32)
        next_state = torch.tensor(next_state, dtype=torch.float32)
        action = torch.tensor(action)

        value = self.critic(state)
        with torch.no_grad():
            target = reward + self.gamma * self.critic(next_state) * (1 - terminated)
        td_error = target - value
        critic_loss = td_error.pow(2)
        dist = self.actor(state)
        actor_loss = -dist.log_prob(action) * td_error.detach()

        self.critic_optimizer.zero_grad()
        critic_loss.backward()
        self.critic_optimizer.step()

        self.actor_optimizer.zero_grad()
        actor_loss.backward()
        self.actor_optimizer.step()


def train(env, agent, n_episodes):
    returns = []
    for episode in range(n_episodes):
        state, _ = env.reset()
        episode_return, done = 0, False
        while not done:
            action = agent.take_action(state)
            next_state, reward, terminated, truncated, _ = env.step(action)
            agent.update(state, action, reward, next_state, int(terminated))
            state = next_state
            episode_return += reward
            done = terminated or truncated
        returns.append(episode_return)
        if (episode + 1) % 10 == 0:
            print(f"episode {episode + 1}: return {sum(returns[-10:]) / 10:.1f}")
    return returns


if __name__ == "__main__":
    torch.manual_seed(0)
    env = gym.make("CartPole-v1")
    agent = A2CAgent(env.observation_space.shape[0], env.action_space.n)
    train(env, agent, 60)
