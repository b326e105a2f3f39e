"""PPO on one page: rollouts of vector environments, epochs of shuffled mini-batches."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.distributions.categorical import Categorical


@dataclass
class Args:
    seed: int = 1
    env_id: str = "CartPole-v1"
    total_timesteps: int = 8192
    learning_rate: float = 2.5e-4
    num_envs: int = 4
    num_steps: int = 64
    gamma: float = 0.99
    gae_lambda: float = 0.95
    num_minibatches: int = 4
    update_epochs: int = 4
    clip_coef: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5


def make_env(env_id):
    def thunk():
        env = gym.make(env_id)
        return gym.wrappers.RecordEpisodeStatistics(env)

    return thunk


def layer_init(layer, std=np.sqrt(2)):
    nn.init.orthogonal_(layer.weight, std)
    nn.init.constant_(layer.bias, 0.0)
    return layer


class Agent(nn.Module):
    def __init__(self, envs):
        super().__init__()
        n_obs = int(np.prod(envs.single_observation_space.shape))
        self.critic = nn.Sequential(
            layer_init(nn.Linear(n_obs, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, 1), std=1.0),
        )
        self.actor = nn.Sequential(
            layer_init(nn.Linear(n_obs, 64)),
            nn.Tanh(),
            layer_init(nn.Linear(64, envs.single_action_space.n), std=0.01),
        )

    def get_value(self, x):
        return self.critic(x).flatten()

    def get_action_and_value(self, x, action=None):
        probs = Categorical(logits=self.actor(x))
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.get_value(x)


if __name__ == "__main__":
    args = Args()
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    envs = gym.vector.SyncVectorEnv(
        [make_env(args.env_id) for _ in range(args.num_envs)]
    )
    agent = Agent(envs)
    optimizer = optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    shape = (args.num_steps, args.num_envs)
    obs = torch.zeros(shape + envs.single_observation_space.shape)
    actions = torch.zeros(shape, dtype=torch.long)
    logprobs, rewards, values = (
        torch.zeros(shape),
        torch.zeros(shape),
        torch.zeros(shape),
    )
    terminations, dones = torch.zeros(shape), torch.zeros(shape)
    # After the end of an episode the next step only resets; it is not learnt from.
    is_real = torch.zeros(shape, dtype=torch.bool)

    next_obs = torch.Tensor(envs.reset(seed=args.seed)[0])
    over = np.zeros(args.num_envs, dtype=bool)
    num_iterations = args.total_timesteps // (args.num_steps * args.num_envs)
    for iteration in range(1, num_iterations + 1):
        for step in range(args.num_steps):
            obs[step] = next_obs
            is_real[step] = torch.from_numpy(~over)
            with torch.no_grad():
                action, logprob, _, value = agent.get_action_and_value(next_obs)
            actions[step], logprobs[step], values[step] = action, logprob, value
            new_obs, reward, terminated, truncated, infos = envs.step(action.numpy())
            over = np.logical_or(terminated, truncated)
            rewards[step] = torch.tensor(reward)
            terminations[step] = torch.Tensor(terminated)
            dones[step] = torch.Tensor(over)
            next_obs = torch.Tensor(new_obs)

        with torch.no_grad():
            next_value = agent.get_value(next_obs)
        advantages = torch.zeros(shape)
        lastgaelam = 0
        for t in reversed(range(args.num_steps)):
            nextvalues = next_value if t == args.num_steps - 1 else values[t + 1]
            delta = (
                rewards[t] + args.gamma * nextvalues * (1 - terminations[t]) - values[t]
            )
            lastgaelam = (
                delta + args.gamma * args.gae_lambda * (1 - dones[t]) * lastgaelam
            )
            advantages[t] = lastgaelam
        returns = advantages + values

        real = is_real.flatten()
        b_obs = obs.reshape((-1,) + envs.single_observation_space.shape)[real]
        b_actions, b_logprobs = actions.flatten()[real], logprobs.flatten()[real]
        b_advantages, b_returns = advantages.flatten()[real], returns.flatten()[real]

        for epoch in range(args.update_epochs):
            for mb in torch.randperm(len(b_obs)).chunk(args.num_minibatches):
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(
                    b_obs[mb], b_actions[mb]
                )
                ratio = (newlogprob - b_logprobs[mb]).exp()
                mb_adv = b_advantages[mb]
                mb_adv = (mb_adv - mb_adv.mean()) / (mb_adv.std() + 1e-8)

                pg_loss1 = -mb_adv * ratio
                pg_loss2 = -mb_adv * ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
                pg_loss = torch.max(pg_loss1, pg_loss2).mean()
                v_loss = 0.5 * (newvalue - b_returns[mb]).pow(2).mean()
                entropy_loss = entropy.mean()
                loss = pg_loss - args.ent_coef * entropy_loss + args.vf_coef * v_loss

                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()

        if iteration % 8 == 0:
            lengths = args.num_steps * args.num_envs / max(1.0, dones.sum().item())
            print(f"iteration {iteration}: mean length about {lengths:.0f}")
    envs.close()
