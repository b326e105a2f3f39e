"""REINFORCE with an Agent that acts, remembers and learns."""

import gymnasium as gym
import numpy as np
import torch as T
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim


class PolicyNetwork(nn.Module):
    def __init__(self, lr, input_dims, n_actions):
        super().__init__()
        self.fc1 = nn.Linear(input_dims, 64)
        self.fc2 = nn.Linear(64, 64)
        self.fc3 = nn.Linear(64, n_actions)
        self.optimizer = optim.Adam(self.parameters(), lr=lr)
        self.device = T.device("cuda:0" if T.cuda.is_available() else "cpu")
        self.to(self.device)

    def forward(self, state):
        x = F.relu(self.fc1(state))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class Agent:
    def __init__(self, lr, input_dims, n_actions, gamma=0.99):
        self.gamma = gamma
        self.policy = PolicyNetwork(lr, input_dims, n_actions)
        self.action_memory = []
        self.reward_memory = []

    def choose_action(self, observation):
        state = T.tensor(observation, dtype=T.float).to(self.policy.device)
        probabilities = F.softmax(self.policy(state), dim=-1)
        action_probs = T.distributions.Categorical(probabilities)
        action = action_probs.sample()
        self.action_memory.append(action_probs.log_prob(action))
        return action.item()

    def store_reward(self, reward):
        self.reward_memory.append(reward)

    def learn(self):
        self.policy.optimizer.zero_grad()
        G = np.zeros(len(self.reward_memory), dtype=np.float64)
        for t in range(len(self.reward_memory)):
            G_sum = 0.0
            discount = 1.0
            for k in range(t, len(self.reward_memory)):
                G_sum += self.reward_memory[k] * discount
                discount *= self.gamma
            G[t] = G_sum
        G = T.tensor(G, dtype=T.float).to(self.policy.device)

        loss = 0
        for g, log_prob in zip(G, self.action_memory):
            loss += -g * log_prob
        loss.backward()
        self.policy.optimizer.step()

        self.action_memory = []
        self.reward_memory = []


if __name__ == "__main__":
    env = gym.make("CartPole-v1")
    agent = Agent(lr=0.0005, input_dims=4, n_actions=2)
    scores = []
    for i in range(150):
        done = False
        score = 0
        observation, info = env.reset()
        while not done:
            action = agent.choose_action(observation)
            observation, reward, terminated, truncated, info = env.step(action)
            agent.store_reward(reward)
            score += reward
            done = terminated or truncated
        agent.learn()
        scores.append(score)
        if i % 10 == 0:
            print(
                "episode", i, "score %.1f" % score, "avg %.1f" % np.mean(scores[-100:])
            )
