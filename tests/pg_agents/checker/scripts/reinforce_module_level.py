# REINFORCE without a single function: everything happens at module level.
import gymnasium as gym
import numpy as np
import torch
from torch import nn

env = gym.make("CartPole-v1")
np.random.seed(1)
torch.manual_seed(1)

n_obs = env.observation_space.shape[0]
n_act = env.action_space.n
model = nn.Sequential(nn.Linear(n_obs, 32), nn.Tanh(), nn.Linear(32, n_act))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
gamma = 0.98
n_episodes = 200

for episode in range(n_episodes):
    states, actions, rewards = [], [], []
    state, _ = env.reset()
    while True:
        with torch.no_grad():
            probs = torch.softmax(model(torch.from_numpy(state).float()), dim=0).numpy()
        action = np.random.choice(n_act, p=probs / probs.sum())
        next_state, reward, terminated, truncated, _ = env.step(action)
        states.append(state)
        actions.append(action)
        rewards.append(reward)
        state = next_state
        if terminated or truncated:
            break

    # Discounted returns, from the last step back to the first.
    returns = np.zeros(len(rewards))
    running = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        running = rewards[t] + gamma * running
        returns[t] = running
    returns = torch.tensor(returns, dtype=torch.float32)

    logits = model(torch.tensor(np.array(states), dtype=torch.float32))
    log_p = torch.log_softmax(logits, dim=1)
    log_p_taken = log_p[torch.arange(len(actions)), torch.tensor(actions)]
    loss = -(returns * log_p_taken).sum()

    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

    if episode % 25 == 0:
        print(f"{episode:4d}  length {len(rewards):3d}  loss {loss.item():9.2f}")

env.close()
