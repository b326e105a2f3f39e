"""What torch does on a batch without a learner around it, and stepping alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import pg_envs
from benchmarks.speed.protocol import Attempt, Facts, Task

N_OBSERVED, N_ACTIONS = 4, 2


def network(n_outputs: int) -> nn.Sequential:
    """Returns a network with two hidden layers of 64 and tanh."""
    return nn.Sequential(
        nn.Linear(N_OBSERVED, 64),
        nn.Tanh(),
        nn.Linear(64, 64),
        nn.Tanh(),
        nn.Linear(64, n_outputs),
    )


def act(policy: nn.Module, observations: Tensor) -> Tensor:
    """Returns an action for each observation."""
    with torch.no_grad():
        probabilities = policy(observations).softmax(dim=-1)
        return torch.multinomial(probabilities, 1).squeeze(-1)


def differentiate(
    policy: nn.Module, critic: nn.Module, observations: Tensor, actions: Tensor
) -> None:
    """Does A2C's loss and backward, with made-up returns."""
    values = critic(observations).squeeze(-1)
    log_probs = policy(observations).log_softmax(dim=-1)
    log_prob = log_probs.gather(-1, actions[:, None]).squeeze(-1)
    error = 1.0 - values
    loss = -(error.detach() * log_prob).mean() + 0.5 * error.square().mean()
    policy.zero_grad()
    critic.zero_grad()
    loss.backward()


def torch_alone(settings: Mapping[str, Any]) -> Task:
    """Returns the acting forwards, then loss and backward, and nothing else.

    No environment, no step of the optimiser, no bookkeeping: the least that a rollout
    and an update of these networks cost here.
    """
    n_envs, n_steps = settings["n_envs"], settings["n_steps"]
    seen = torch.randn(n_steps, n_envs, N_OBSERVED)

    def task(seed: int) -> Attempt:
        torch.manual_seed(seed)
        policy, critic = network(N_ACTIONS), network(1)

        def attempt(wanted: int) -> Facts:
            steps = 0
            while steps < wanted:
                actions = torch.cat([act(policy, row) for row in seen])
                differentiate(policy, critic, seen.flatten(0, 1), actions)
                steps += n_steps * n_envs
            return {"steps": steps}

        return attempt

    return task


def stepping(settings: Mapping[str, Any]) -> Task:
    """Returns steps of a torch environment with random actions drawn beforehand."""
    n_envs = settings["n_envs"]
    env: Any = pg_envs.make_torch_vec(
        settings["env_id"],
        n_envs,
        device=settings.get("device", "cpu"),
        **settings.get("env_arguments", {}),
    )
    n_actions = int(env.single_action_space.n)
    rows = torch.randint(n_actions, (16, n_envs), device=env.device)

    def task(seed: int) -> Attempt:
        env.reset(seed=seed)

        def attempt(wanted: int) -> Facts:
            steps = 0
            while steps < wanted:
                for actions in rows:
                    env.step_unchecked(actions)
                steps += rows.numel()
            return {"steps": steps}

        return attempt

    return task
