"""Actor-critic for CartPole, with two mistakes that docs/check-your-script.md finds.

    python demos/train_cartpole.py --episodes 300
    pgtoy check demos/train_cartpole.py

It learns all the same: its score does not tell that its gradient is wrong.
"""

import argparse

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
from torch.distributions import Categorical
from tqdm import tqdm


class ActorCritic(nn.Module):
    """A shared body with a policy head and a value head."""

    def __init__(self, n_obs: int, n_actions: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_obs, 128), nn.ReLU())
        self.policy_head = nn.Linear(128, n_actions)
        self.value_head = nn.Linear(128, 1)

    def forward(self, obs: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
        """Returns the policy in a state, and the state's value."""
        features = self.body(obs)
        return Categorical(logits=self.policy_head(features)), self.value_head(features)


def main() -> None:
    """Trains, shows the score and plots it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)

    env = gym.make("CartPole-v1")
    env.reset(seed=args.seed)
    model = ActorCritic(n_obs=4, n_actions=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

    scores: list[float] = []
    progress = tqdm(range(args.episodes))
    for _ in progress:
        log_probs, values, rewards = [], [], []
        obs, _ = env.reset()
        done = False
        while not done:
            dist, value = model(torch.as_tensor(obs))
            action = dist.sample()
            obs, reward, terminated, truncated, _ = env.step(action.item())
            log_probs.append(dist.log_prob(action))
            values.append(value)
            rewards.append(float(reward))
            done = terminated or truncated

        returns: list[float] = []
        ret = 0.0
        for reward in reversed(rewards):
            ret = reward + args.gamma * ret
            returns.insert(0, ret)

        advantages = torch.tensor(returns) - torch.stack(values)
        policy_loss = -(torch.stack(log_probs) * advantages).mean()
        value_loss = advantages.pow(2).mean()
        loss = policy_loss + 0.5 * value_loss

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scores.append(sum(rewards))
        progress.set_postfix(score=f"{np.mean(scores[-20:]):.0f}")

    print(f"mean score of the last 50 episodes: {np.mean(scores[-50:]):.0f}")
    plt.plot(scores)
    plt.xlabel("episode")
    plt.ylabel("score")
    plt.savefig("scores.png")


if __name__ == "__main__":
    main()
