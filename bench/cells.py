"""Plain training loops, as teaching notebooks have them: counterparts of recipes.

Each cell is a `Task`: it makes an environment and fresh weights from a seed, and
returns a run that learns for at least a given number of steps. A cell has the settings
of the recipe of its name (docs/notebooks.md) and is written plainly: a Python loop over
single steps, torch's layers, distributions and optimisers, and a graph kept until the
update.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from bench.protocol import Facts, Run, Task

# Steps per second of the teaching notebooks' cells on a reference machine. Rates of the
# cells below have the same ratios to one another, within 20 %.
REFERENCE_RATES = {
    "bandit-table": 81_000.0,
    "bandit-network": 4_600.0,
    "sequence-reinforce": 7_800.0,
    "one-step-actor-critic": 1_110.0,
    "cartpole-mc": 5_980.0,
    "reinforce-128": 4_780.0,
}


def bandit_table(seed: int) -> Run:
    """Three logits in NumPy, updated by the policy gradient after every pull."""
    np.random.seed(seed)
    logits = np.zeros(3)

    def softmax(logits: Any) -> Any:  # noqa: ANN401
        exponentials = np.exp(logits - np.max(logits))
        return exponentials / np.sum(exponentials)

    def run(n_steps: int) -> Facts:
        nonlocal logits
        total = 0.0
        for _ in range(n_steps):
            probs = softmax(logits)
            action = np.random.choice(3, p=probs)
            reward = 1.0 if action == 0 else 0.0
            gradient = -probs
            gradient[action] += 1.0
            logits = np.clip(logits + 0.2 * reward * gradient, -100.0, 100.0)
            total += reward
        return {"steps": n_steps, "reward": total}

    return run


def bandit_network(seed: int) -> Run:
    """A linear softmax policy in torch, one Adam step after every pull."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(1, 3), nn.Softmax(dim=-1))
    optimizer = torch.optim.Adam(network.parameters(), lr=1.0)

    def run(n_steps: int) -> Facts:
        total = 0.0
        for _ in range(n_steps):
            probs = network(torch.zeros(1))
            action = int(Categorical(probs).sample().item())
            reward = 1.0 if action == 0 else 0.0
            loss = -torch.log(probs[action]) * reward
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += reward
        return {"steps": n_steps, "reward": total}

    return run


class Sequence:
    """Three states in a row; centre in the rightmost one ends the episode."""

    def reset(self) -> float:
        """Returns the observation of the leftmost state."""
        self.state = -1
        return float(self.state)

    def step(self, action: int) -> tuple[float, float, bool]:
        """Returns observation, reward, and whether the episode has ended."""
        if action == 1 and self.state == 1:
            return float(self.state), 1.0, True
        self.state = min(max(self.state + action - 1, -1), 1)
        return float(self.state), -0.05, False


def sequence_reinforce(seed: int) -> Run:
    """A linear softmax policy in torch, one AdamW step after every episode."""
    torch.manual_seed(seed)
    env = Sequence()
    network = nn.Sequential(nn.Linear(1, 3), nn.Softmax(dim=-1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)

    def run(n_steps: int) -> Facts:
        steps = episodes = 0
        while steps < n_steps:
            log_probs: list[Tensor] = []
            rewards: list[float] = []
            obs, done = env.reset(), False
            while not done:
                probs = network(torch.tensor([obs]))
                action = int(Categorical(probs).sample().item())
                obs, reward, done = env.step(action)
                log_probs.append(torch.log(probs[action]))
                rewards.append(reward)
            returns = returns_to_go(rewards, 0.6)
            loss = torch.zeros(())
            for log_prob, value in zip(log_probs, returns, strict=True):
                loss = loss - log_prob * value
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += len(rewards)
            episodes += 1
        return {"steps": steps, "episodes": episodes}

    return run


def returns_to_go(rewards: list[float], gamma: float) -> list[float]:
    """Returns the discounted sum of rewards from each step on."""
    returns: list[float] = []
    to_go = 0.0
    for reward in reversed(rewards):
        to_go = reward + gamma * to_go
        returns.insert(0, to_go)
    return returns


def one_step_actor_critic(seed: int) -> Run:
    """Actor and critic apart, both updated after every step of CartPole."""
    torch.manual_seed(seed)
    env = gymnasium.make("CartPole-v1")
    env.reset(seed=seed)
    actor = nn.Sequential(
        nn.Linear(4, 128),
        nn.Tanh(),
        nn.Linear(128, 128),
        nn.Tanh(),
        nn.Linear(128, 2),
        nn.Softmax(dim=-1),
    )
    critic = nn.Sequential(
        nn.Linear(4, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 1)
    )
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=3e-4)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)

    def run(n_steps: int) -> Facts:
        steps = episodes = 0
        while steps < n_steps:
            obs, _ = env.reset()
            done = False
            while not done:
                distribution = Categorical(actor(torch.from_numpy(obs)))
                action = distribution.sample()
                obs_next, reward, terminated, truncated, _ = env.step(action.item())
                value = critic(torch.from_numpy(obs))
                with torch.no_grad():
                    value_next = critic(torch.from_numpy(obs_next))
                target = float(reward) + 0.95 * value_next * (1 - int(terminated))
                error = target - value
                critic_loss = error.pow(2).mean()
                critic_optimizer.zero_grad()
                critic_loss.backward()
                critic_optimizer.step()
                actor_loss = -(distribution.log_prob(action) * error.detach()).mean()
                actor_optimizer.zero_grad()
                actor_loss.backward()
                actor_optimizer.step()
                obs, done = obs_next, terminated or truncated
                steps += 1
            episodes += 1
        return {"steps": steps, "episodes": episodes}

    return run


def reinforce(
    hidden: list[int], learning_rate: float, gamma: float, time_limit: int = 500
) -> Task:
    """Returns a cell of REINFORCE on CartPole with standardised returns."""

    def task(seed: int) -> Run:
        torch.manual_seed(seed)
        env = gymnasium.make("CartPole-v1", max_episode_steps=time_limit)
        env.reset(seed=seed)
        layers: list[nn.Module] = []
        for n_in, n_out in zip([4, *hidden], hidden, strict=False):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Linear(hidden[-1], 2), nn.Softmax(dim=-1))
        optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)

        def run(n_steps: int) -> Facts:
            steps = episodes = 0
            while steps < n_steps:
                log_probs: list[Tensor] = []
                rewards: list[float] = []
                obs, _ = env.reset()
                done = False
                while not done:
                    distribution = Categorical(network(torch.from_numpy(obs)[None]))
                    action = distribution.sample()
                    obs, reward, terminated, truncated, _ = env.step(action.item())
                    log_probs.append(distribution.log_prob(action))
                    rewards.append(float(reward))
                    done = terminated or truncated
                returns = torch.tensor(returns_to_go(rewards, gamma))
                returns = (returns - returns.mean()) / (returns.std() + 1e-8)
                loss = torch.cat(
                    [
                        -log_prob * value
                        for log_prob, value in zip(log_probs, returns, strict=True)
                    ]
                ).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps += len(rewards)
                episodes += 1
            return {"steps": steps, "episodes": episodes}

        return run

    return task


CELLS: dict[str, Task] = {
    "bandit-table": bandit_table,
    "bandit-network": bandit_network,
    "sequence-reinforce": sequence_reinforce,
    "one-step-actor-critic": one_step_actor_critic,
    "cartpole-mc": reinforce([16], learning_rate=1e-2, gamma=1.0, time_limit=1000),
    "reinforce-128": reinforce([128, 128], learning_rate=1e-3, gamma=0.99),
}
