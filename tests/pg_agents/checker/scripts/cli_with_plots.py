"""Actor-critic with a command line, a progress bar, logs, checkpoints and a plot."""

import argparse
import os

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


def parse_args():
    parser = argparse.ArgumentParser(description="Train an actor-critic agent.")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--entropy", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", default="runs/actor_critic")
    parser.add_argument("--render", action="store_true")
    return parser.parse_args()


class Model(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.base = nn.Sequential(nn.Linear(n_in, 64), nn.ReLU())
        self.actor = nn.Linear(64, n_out)
        self.critic = nn.Linear(64, 1)

    def forward(self, x):
        h = self.base(x)
        return torch.log_softmax(self.actor(h), dim=-1), self.critic(h).squeeze(-1)


def play(env, model):
    states, actions, rewards = [], [], []
    state, _ = env.reset()
    over = False
    while not over:
        with torch.no_grad():
            log_pi, _ = model(torch.tensor(state, dtype=torch.float32))
        action = torch.multinomial(log_pi.exp(), num_samples=1).item()
        states.append(state)
        actions.append(action)
        state, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        over = terminated or truncated
    return np.array(states), np.array(actions), np.array(rewards, dtype=np.float32)


def discount(rewards, gamma):
    out = np.zeros_like(rewards)
    out[-1] = rewards[-1]
    for t in range(len(rewards) - 2, -1, -1):
        out[t] = rewards[t] + gamma * out[t + 1]
    return out


def losses(model, states, actions, returns, args):
    states = torch.tensor(states, dtype=torch.float32)
    actions = torch.tensor(actions)
    returns = torch.tensor(returns)
    log_pi, values = model(states)
    log_prob = log_pi.gather(1, actions.unsqueeze(1)).squeeze(1)
    advantage = (returns - values).detach()
    entropy = -(log_pi.exp() * log_pi).sum(dim=1)
    policy_loss = -(log_prob * advantage).sum()
    value_loss = 0.5 * (returns - values).pow(2).sum()
    return policy_loss, value_loss, args.entropy * entropy.sum()


def main():
    args = parse_args()
    os.makedirs(args.out, exist_ok=True)
    writer = SummaryWriter(args.out)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)
    env = gym.make(args.env, render_mode="human" if args.render else None)
    env.action_space.seed(args.seed)
    model = Model(env.observation_space.shape[0], env.action_space.n)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)

    history, best = [], -np.inf
    bar = tqdm(range(args.episodes), desc="training")
    for episode in bar:
        states, actions, rewards = play(env, model)
        returns = discount(rewards, args.gamma)
        policy_loss, value_loss, entropy = losses(model, states, actions, returns, args)
        loss = policy_loss + value_loss - entropy
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        history.append(rewards.sum())
        writer.add_scalar("return", rewards.sum(), episode)
        writer.add_scalar("loss/policy", policy_loss.item(), episode)
        bar.set_postfix(score=f"{np.mean(history[-20:]):.1f}")
        if np.mean(history[-20:]) > best:
            best = np.mean(history[-20:])
            torch.save(model.state_dict(), os.path.join(args.out, "best.pt"))
    writer.close()
    env.close()

    plt.plot(history)
    plt.xlabel("episode")
    plt.ylabel("return")
    plt.savefig(os.path.join(args.out, "returns.png"))
    plt.show()


if __name__ == "__main__":
    main()
