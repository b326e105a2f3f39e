"""REINFORCE and actor-critic agents with the Stable-Baselines3 API.

Importing this package loads nothing else: neither torch nor Stable-Baselines3. Its
names and modules are loaded when they are first asked for.
"""

from typing import TYPE_CHECKING

from pg_agents.lazy import load_lazily

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pg_agents import callbacks as callbacks
    from pg_agents import checker as checker
    from pg_agents import cloning as cloning
    from pg_agents import experiments as experiments
    from pg_agents import off_policy as off_policy
    from pg_agents import plots as plots
    from pg_agents import statistics as statistics
    from pg_agents import sweeps as sweeps
    from pg_agents import zoo as zoo
    from pg_agents.actor_critic import ActorCritic
    from pg_agents.buffers import TrajectoryBuffer
    from pg_agents.checker.check import check_policy_gradient
    from pg_agents.cloning.clone import clone_behaviour
    from pg_agents.cloning.demonstrations import Demonstrations, record_demonstrations
    from pg_agents.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
    from pg_agents.random_agent import RandomAgent
    from pg_agents.random_policy import RandomPolicy
    from pg_agents.reinforce import REINFORCE
    from pg_agents.saving.weights import load_weights, save_weights
    from pg_agents.tabular_policy import TabularPolicy
    from pg_agents.vec_env import as_vec_env

__all__ = [
    "REINFORCE",
    "ActorCritic",
    "CnnPolicy",
    "Demonstrations",
    "MlpPolicy",
    "MultiInputPolicy",
    "RandomAgent",
    "RandomPolicy",
    "TabularPolicy",
    "TrajectoryBuffer",
    "as_vec_env",
    "check_policy_gradient",
    "clone_behaviour",
    "load_weights",
    "record_demonstrations",
    "save_weights",
]

load_lazily(
    __name__,
    {
        "actor_critic": ("ActorCritic",),
        "buffers": ("TrajectoryBuffer",),
        "checker.check": ("check_policy_gradient",),
        "cloning.clone": ("clone_behaviour",),
        "cloning.demonstrations": ("Demonstrations", "record_demonstrations"),
        "policies": ("CnnPolicy", "MlpPolicy", "MultiInputPolicy"),
        "random_agent": ("RandomAgent",),
        "random_policy": ("RandomPolicy",),
        "reinforce": ("REINFORCE",),
        "saving.weights": ("load_weights", "save_weights"),
        "tabular_policy": ("TabularPolicy",),
        "vec_env": ("as_vec_env",),
    },
)
