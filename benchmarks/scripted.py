"""All rollouts of a task, played to an agent one after the other.

The expected gradient of a learner is then a finite sum. The agent's own
`collect_rollouts`, buffer and `train` do the work; only the dice are taken out of its
hands: the environment plays written-out steps, the policy takes written-out actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from benchmarks.enumeration import Step, Table, Task, rollouts
from pg_agents import TabularPolicy
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.checker.recorder import record_gradients

# What an environment does once its script is over. Learning from it would show.
_IDLE = Step(0, 0, 0, 1000.0, 0, True, False)


class ScriptedVectorEnv(VectorEnv[Any, Any, Any]):
    """Environments that play written-out steps.

    Args:
        task: gives the spaces.
        n_envs: number of environments.
    """

    def __init__(self, task: Task, n_envs: int) -> None:
        self.num_envs = n_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = spaces.Discrete(task.mdp.n_states)
        self.single_action_space = spaces.Discrete(task.mdp.n_actions)
        self.observation_space = batch_space(self.single_observation_space, n_envs)
        self.action_space = batch_space(self.single_action_space, n_envs)
        self.play([()] * n_envs)

    def play(self, scripts: Sequence[tuple[Step, ...]]) -> None:
        """Sets what each environment does from the next reset on."""
        self._scripts, self._row = scripts, 0

    def steps(self) -> list[Step]:
        """Returns the step that each environment is about to take."""
        row = self._row
        return [s[row] if row < len(s) else _IDLE for s in self._scripts]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Goes back to the first step."""
        self._row = 0
        return np.array([step.state for step in self.steps()]), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Plays a row of the scripts."""
        now = self.steps()
        assert actions.tolist() == [step.action for step in now]
        self._row += 1
        reached = np.array([step.next_state for step in now])
        terminated = np.array([step.terminated for step in now])
        truncated = np.array([step.truncated for step in now])
        ended = terminated | truncated
        seen = np.where(ended, [step.state for step in self.steps()], reached)
        rewards = np.array([step.reward for step in now])
        infos = {"final_obs": reached, "_final_obs": ended} if ended.any() else {}
        return seen, rewards, terminated, truncated, infos


class ScriptedPolicy(TabularPolicy):
    """The table of logits, taking the actions of the script instead of drawing them."""

    script: ScriptedVectorEnv

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the scripted actions, their values and log-probabilities."""
        actions = torch.tensor([step.action for step in self.script.steps()])
        # Looked up: the distribution that would draw them takes most of the time.
        log_pi = torch.log_softmax(self.action_net.weight.T, dim=1)
        assert isinstance(obs, Tensor), "the observations are numbers of states"
        return actions, self.predict_values(obs), log_pi[obs.long(), actions]


class Moments(NamedTuple):
    """Mean `[S, A]` of a gradient estimate, and the trace of its covariance."""

    mean: Table
    variance: float


def enumerated_moments(
    model: PolicyGradientAlgorithm, env: ScriptedVectorEnv, task: Task, critic: Table
) -> Moments:
    """Returns the moments of an agent's gradient over all its rollouts.

    Args:
        model: made with `ScriptedPolicy` and `env`.
        env: its environment.
        task: what it is to play.
        critic: `[S]`, values for its critic, if it has one.
    """
    policy = model.policy
    assert isinstance(policy, ScriptedPolicy)
    policy.script = env
    set_tables(policy, task.logits, critic)
    model.set_logger(Logger(None, []))
    _, callback = model._setup_learn(1)
    every = rollouts(task, model.n_envs, model.n_episodes, model.n_steps)
    assert model.env is not None
    mean, square = np.zeros_like(task.logits), 0.0
    with record_gradients(list(policy.action_net.parameters())) as tap:
        for probability, scripts in every:
            env.play(scripts)
            model.collector.reset(model.env)
            # A rollout of steps goes on in the middle of an episode.
            model._episode_steps = np.array([script[0].age for script in scripts])
            model.collect_rollouts(
                model.env, callback, model.rollout_buffer, model.n_steps
            )
            model.train()
            taken = tap.pop_mean()
            assert taken is not None
            # The loss falls where the return rises.
            gradient = -taken.double().numpy().reshape(task.logits.T.shape).T
            mean += probability * gradient
            square += probability * float((gradient**2).sum())
    return Moments(mean, square - float((mean**2).sum()))


def set_tables(policy: TabularPolicy, logits: Table, critic: Table) -> None:
    """Writes logits `[S, A]` and values `[S]` into a policy."""
    policy.action_net.weight.data = torch.as_tensor(logits.T).float()
    if policy.has_critic:
        values = torch.as_tensor(critic[None]).float()
        policy.value_net.weight.data = values
