"""Synchronous n-step A2C on several copies of CartPole."""

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
from gymnasium.vector import AutoresetMode
from torch.distributions import Categorical

N_ENVS = 8
N_STEPS = 5
N_UPDATES = 400
GAMMA = 0.99
ENT_COEF = 0.01
VF_COEF = 0.5


class ActorCritic(nn.Module):
    def __init__(self, n_obs, n_actions):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(n_obs, 64), nn.Tanh())
        self.pi = nn.Linear(64, n_actions)
        self.v = nn.Linear(64, 1)

    def forward(self, x):
        h = self.trunk(x)
        return Categorical(logits=self.pi(h)), self.v(h).squeeze(-1)


def tensor(x):
    return torch.as_tensor(np.asarray(x), dtype=torch.float32)


def main():
    torch.manual_seed(2)
    envs = gym.make_vec(
        "CartPole-v1",
        num_envs=N_ENVS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    model = ActorCritic(
        envs.single_observation_space.shape[0], envs.single_action_space.n
    )
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, eps=1e-5)

    obs, _ = envs.reset(seed=2)
    scores = np.zeros(N_ENVS)
    finished = []
    for update in range(N_UPDATES):
        log_probs, values, entropies, rewards, dones = [], [], [], [], []
        for _ in range(N_STEPS):
            dist, value = model(tensor(obs))
            action = dist.sample()
            obs, reward, terminated, truncated, infos = envs.step(action.numpy())
            done = terminated | truncated
            scores += reward
            finished += list(scores[done])
            scores[done] = 0
            reward = tensor(reward)
            timeout = truncated & ~terminated
            if timeout.any():
                # The time limit is not part of the task: add what would have come.
                with torch.no_grad():
                    final_obs = np.stack(infos["final_obs"][timeout])
                    reward[timeout] += GAMMA * model(tensor(final_obs))[1]
            log_probs.append(dist.log_prob(action))
            entropies.append(dist.entropy())
            values.append(value)
            rewards.append(reward)
            dones.append(tensor(done))

        with torch.no_grad():
            _, ret = model(tensor(obs))
        returns = []
        for reward, done in zip(reversed(rewards), reversed(dones)):
            ret = reward + GAMMA * ret * (1.0 - done)
            returns.insert(0, ret)

        returns = torch.stack(returns)
        values = torch.stack(values)
        advantages = returns - values.detach()
        policy_loss = -(advantages * torch.stack(log_probs)).mean()
        value_loss = (returns - values).pow(2).mean()
        entropy = torch.stack(entropies).mean()
        loss = policy_loss + VF_COEF * value_loss - ENT_COEF * entropy

        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

        if update % 50 == 49:
            print(
                f"update {update + 1}: mean of last episodes {np.mean(finished[-20:]):.1f}"
            )
    envs.close()


if __name__ == "__main__":
    main()
