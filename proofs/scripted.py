"""Moments of an agent's gradient by enumerating all rollouts of a small task.

The expected gradient is a finite sum. The agent's own `collect_rollouts`, buffer and
`train` compute each term; only the randomness is replaced: the environment plays the
steps of a script and the policy takes its actions.
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
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from pg_agents import TabularPolicy
from pg_agents.algorithms.base import PolicyGradientAlgorithm
from pg_agents.checker.recorder import record_gradients
from proofs.enumeration import Step, Table, Task, rollouts

# Played after the end of a script: learning from it would show.
_IDLE = Step(0, 0, 0, 1000.0, 0, True, False)


class ScriptedVectorEnv(VectorEnv[Any, Any, Any]):
    """Environments that play the steps of scripts.

    Args:
        task: defines the spaces.
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
        """Sets the script of each environment, which the next reset starts."""
        self._scripts, self._row = scripts, 0

    def steps(self) -> list[Step]:
        """Returns the next step of each environment."""
        row = self._row
        return [s[row] if row < len(s) else _IDLE for s in self._scripts]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Restarts the scripts."""
        self._row = 0
        return np.array([step.state for step in self.steps()]), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Plays one step of each script."""
        steps = self.steps()
        assert actions.tolist() == [step.action for step in steps]
        self._row += 1
        next_obs = np.array([step.next_state for step in steps])
        terminated = np.array([step.terminated for step in steps])
        truncated = np.array([step.truncated for step in steps])
        done = terminated | truncated
        obs = np.where(done, [step.state for step in self.steps()], next_obs)
        rewards = np.array([step.reward for step in steps])
        infos = {"final_obs": next_obs, "_final_obs": done} if done.any() else {}
        return obs, rewards, terminated, truncated, infos


class ScriptedPolicy(TabularPolicy):
    """A tabular policy that takes the actions of the script."""

    script: ScriptedVectorEnv

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the scripted actions, their values and log-probabilities."""
        actions = torch.tensor([step.action for step in self.script.steps()])
        # Faster than making a distribution, which would dominate the run time.
        log_pi = torch.log_softmax(self.action_net.weight.T, dim=1)
        assert isinstance(obs, Tensor)
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
        task: the task to enumerate.
        critic: `[S]`, values of its critic, if it has one.
    """
    policy = model.policy
    assert isinstance(policy, ScriptedPolicy)
    policy.script = env
    set_tables(policy, task.logits, critic)
    callback = set_up(model)
    mean, square = np.zeros_like(task.logits), 0.0
    with record_gradients(list(policy.action_net.parameters())) as tap:
        for probability, scripts in rollouts(
            task, model.n_envs, model.n_episodes, model.n_steps
        ):
            play(model, env, scripts, callback)
            model.train()
            (drained,) = (step.gradient for step in tap.pop())
            # The loss is minus the objective.
            gradient = -drained.double().numpy().reshape(task.logits.T.shape).T
            mean += probability * gradient
            square += probability * float((gradient**2).sum())
    return Moments(mean, square - float((mean**2).sum()))


def set_up(model: PolicyGradientAlgorithm) -> BaseCallback:
    """Makes a model ready for `collect_rollouts`; returns the callback to pass."""
    model.set_logger(Logger(None, []))
    return model._setup_learn(1)[1]


def play(
    model: PolicyGradientAlgorithm,
    env: ScriptedVectorEnv,
    scripts: Sequence[tuple[Step, ...]],
    callback: BaseCallback,
) -> None:
    """Collects the rollout that the scripts define."""
    env.play(scripts)
    assert model.env is not None
    model.collector.reset(model.env)
    # A rollout of `n_steps` may start in the middle of an episode.
    model._episode_steps = np.array([script[0].age for script in scripts])
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)


def set_tables(policy: TabularPolicy, logits: Table, critic: Table) -> None:
    """Sets the logits `[S, A]` and values `[S]` of a policy."""
    policy.action_net.weight.data = torch.as_tensor(logits.T).float()
    if policy.has_critic:
        values = torch.as_tensor(critic[None]).float()
        policy.value_net.weight.data = values
