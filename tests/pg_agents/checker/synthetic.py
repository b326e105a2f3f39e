"""Records of losses that are written out in torch, for tests of identification.

Nothing here uses the checker's formulas: losses are loops over the steps of a window,
as training scripts have them, and gradients are those of autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pg_agents.checker.battery import battery
from pg_agents.checker.record import Record, Transitions, Update
from pg_agents.checker.task import Task

GAMMA = 0.9


@dataclass
class Steps:
    """A window of n steps, in the order in which a script stores them.

    Attributes:
        state, action, reward, next_state, terminated, truncated, env, episode, time:
            lists of n numbers.
        logits: `[S, A]`, requires a gradient.
        values: `[S]`, requires a gradient.
        task: the task.
        carried: what the loss keeps between updates.
    """

    state: list[int]
    action: list[int]
    reward: list[float]
    next_state: list[int]
    terminated: list[bool]
    truncated: list[bool]
    env: list[int]
    episode: list[int]
    time: list[int]
    logits: Tensor
    values: Tensor
    task: Task
    carried: dict[str, object]

    def __len__(self) -> int:
        return len(self.state)

    @property
    def done(self) -> list[bool]:
        """Whether the episode ended with the step."""
        return [a or b for a, b in zip(self.terminated, self.truncated, strict=True)]

    @property
    def log_probs(self) -> Tensor:
        """Log-probabilities of the actions, `[n]`."""
        table = torch.log_softmax(self.logits, dim=-1)
        return table[self.state, self.action]

    @property
    def v(self) -> Tensor:
        """Values of the states, `[n]`."""
        return self.values[self.state]

    def parts(self) -> list[list[int]]:
        """Rows of each episode in the window."""
        rows: dict[tuple[int, int], list[int]] = {}
        for i in range(len(self)):
            rows.setdefault((self.env[i], self.episode[i]), []).append(i)
        return list(rows.values())

    def to_go(self, gamma: float = GAMMA) -> Tensor:
        """Discounted rewards from each step to the end of its episode or window."""
        returns = [0.0] * len(self)
        for rows in self.parts():
            total = 0.0
            for i in reversed(rows):
                total = self.reward[i] + gamma * total
                returns[i] = total
        return torch.tensor(returns, dtype=torch.float64)


_COLUMNS = (
    "state",
    "action",
    "reward",
    "next_state",
    "terminated",
    "truncated",
    "env",
    "episode",
    "time",
)
Loss = Callable[[Steps], Tensor]


def random_policy(task: Task, seed: int) -> np.ndarray:
    """Returns logits with a standard deviation of 0.7."""
    shape = task.mdp.n_states, task.mdp.n_actions
    return 0.7 * np.random.default_rng(seed).normal(size=shape)


def record(
    loss: Loss,
    task: Task,
    *,
    n_updates: int = 24,
    episodes: int | None = 3,
    steps: int | None = None,
    n_envs: int = 1,
    noise: float = 0.0,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    values: np.ndarray | None = None,
) -> Record:
    """Records the gradients of a loss.

    Args:
        loss: from a window of steps to a scalar.
        task: the task.
        n_updates: number of updates.
        episodes: windows of complete episodes of each environment, one environment
            after the other; None for windows of `steps` steps of all environments.
        steps: vector steps per window.
        n_envs: number of environments.
        noise: standard deviation of the noise, relative to the gradient's norm.
        dtype: precision of the loss.
        seed: seed of all random numbers.
        values: `[S]`, the critic; None for random ones.
    """
    rng = np.random.default_rng(seed)
    logits = random_policy(task, seed)
    policy = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if values is None:
        values = rng.normal(size=task.mdp.n_states)
    walkers = [_Walker(task, policy, rng, i, n_envs) for i in range(n_envs)]
    rows: list[tuple[float, ...]] = []
    updates = []
    carried: dict[str, object] = {}
    for _ in range(n_updates):
        first = len(rows)
        if episodes is not None:
            for walker in walkers:
                for _ in range(episodes):
                    rows += walker.episode()
        else:
            assert steps is not None
            for _ in range(steps):
                rows += [walker.step() for walker in walkers]
        updates.append(
            _update(loss, rows, first, logits, values, task, carried, dtype, noise, rng)
        )
    columns = list(zip(*rows, strict=True))
    return Record(
        task,
        policy,
        values,
        Transitions(
            state=np.array(columns[0], dtype=np.int64),
            action=np.array(columns[1], dtype=np.int64),
            reward=np.array(columns[2], dtype=np.float64),
            next_state=np.array(columns[3], dtype=np.int64),
            terminated=np.array(columns[4], dtype=bool),
            truncated=np.array(columns[5], dtype=bool),
            env=np.array(columns[6], dtype=np.int64),
            episode=np.array(columns[7], dtype=np.int64),
            time=np.array(columns[8], dtype=np.int64),
        ),
        tuple(updates),
        logits=logits,
    )


def _update(
    loss: Loss,
    rows: list[tuple[float, ...]],
    first: int,
    logits: np.ndarray,
    values: np.ndarray,
    task: Task,
    carried: dict[str, object],
    dtype: torch.dtype,
    noise: float,
    rng: np.random.Generator,
) -> Update:
    table = torch.tensor(logits, dtype=dtype, requires_grad=True)
    critic = torch.tensor(values, dtype=dtype, requires_grad=True)
    window: list[Any] = [list(column) for column in zip(*rows[first:], strict=True)]
    columns: dict[str, Any] = dict(zip(_COLUMNS, window, strict=True))
    steps = Steps(**columns, logits=table, values=critic, task=task, carried=carried)
    loss(steps).backward()
    zero = torch.zeros_like
    outputs = (zero(table) if table.grad is None else table.grad).double().numpy()
    value = (zero(critic) if critic.grad is None else critic.grad).double().numpy()
    if noise:
        scale = noise * np.linalg.norm(outputs) / np.sqrt(outputs.size)
        outputs = outputs + scale * rng.normal(size=outputs.shape)
    return Update(first, len(rows), outputs, value)


class _Walker:
    """One environment, stepped by the tables of its task."""

    def __init__(
        self,
        task: Task,
        policy: np.ndarray,
        rng: np.random.Generator,
        env: int,
        n_envs: int,
    ) -> None:
        self.task, self.policy, self.rng, self.env = task, policy, rng, env
        self.n_envs = n_envs
        self.number = -1
        self._reset()

    def _reset(self) -> None:
        start = self.task.mdp.initial_distribution
        self.state = int(self.rng.choice(len(start), p=start))
        self.time = 0
        self.number += 1

    def step(self) -> tuple[float, ...]:
        mdp, state, time = self.task.mdp, self.state, self.time
        action = int(self.rng.choice(mdp.n_actions, p=self.policy[state]))
        after = int(self.rng.choice(mdp.n_states, p=mdp.transition[state, action]))
        reward = float(mdp.reward[state, action, after])
        terminated = bool(mdp.terminal[state, action, after])
        truncated = not terminated and time + 1 == self.task.horizon
        episode = self.number * self.n_envs + self.env
        row = (state, action, reward, after, terminated, truncated)
        self.state, self.time = after, time + 1
        if terminated or truncated:
            self._reset()
        return (*row, self.env, episode, time)

    def episode(self) -> list[tuple[float, ...]]:
        rows = [self.step()]
        while not (rows[-1][4] or rows[-1][5]):
            rows.append(self.step())
        return rows


def tasks(horizon: int = 100, *, bootstrap: bool = False) -> Sequence[Task]:
    """Returns the fork and the random MDP."""
    return battery(3, GAMMA, horizon=horizon, bootstrap=bootstrap)[:2]
