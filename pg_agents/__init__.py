"""REINFORCE and actor-critic agents with the Stable-Baselines3 API.

Importing this package loads neither torch nor Stable-Baselines3: its names are loaded
when they are first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pg_agents.algorithms.actor_critic import ActorCritic
    from pg_agents.algorithms.random_agent import RandomAgent
    from pg_agents.algorithms.reinforce import REINFORCE
    from pg_agents.checker.check import check_policy_gradient
    from pg_agents.checker.script.check import check_script
    from pg_agents.checkpoint.weights import load_weights, save_weights
    from pg_agents.cloning.clone import clone_behaviour
    from pg_agents.cloning.demonstrations import Demonstrations, record_demonstrations
    from pg_agents.learners import LearnerBatch
    from pg_agents.live.view import LiveView
    from pg_agents.policies.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
    from pg_agents.policies.random import RandomPolicy
    from pg_agents.policies.tabular import TabularPolicy
    from pg_agents.rollout.buffer import TrajectoryBuffer
    from pg_agents.vec_env.adapter import as_vec_env

__all__ = [
    "REINFORCE",
    "ActorCritic",
    "CnnPolicy",
    "Demonstrations",
    "LearnerBatch",
    "LiveView",
    "MlpPolicy",
    "MultiInputPolicy",
    "RandomAgent",
    "RandomPolicy",
    "TabularPolicy",
    "TrajectoryBuffer",
    "as_vec_env",
    "check_policy_gradient",
    "check_script",
    "clone_behaviour",
    "load_weights",
    "record_demonstrations",
    "save_weights",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submodules=[
        "analysis",
        "callbacks",
        "checker",
        "cloning",
        "exercises",
        "experiments",
        "learners",
        "live",
        "zoo",
    ],
    submod_attrs={
        "algorithms.actor_critic": ["ActorCritic"],
        "algorithms.random_agent": ["RandomAgent"],
        "algorithms.reinforce": ["REINFORCE"],
        "checker.check": ["check_policy_gradient"],
        "checker.script.check": ["check_script"],
        "checkpoint.weights": ["load_weights", "save_weights"],
        "cloning.clone": ["clone_behaviour"],
        "cloning.demonstrations": ["Demonstrations", "record_demonstrations"],
        "learners": ["LearnerBatch"],
        "live.view": ["LiveView"],
        "policies.policies": ["CnnPolicy", "MlpPolicy", "MultiInputPolicy"],
        "policies.random": ["RandomPolicy"],
        "policies.tabular": ["TabularPolicy"],
        "rollout.buffer": ["TrajectoryBuffer"],
        "vec_env.adapter": ["as_vec_env"],
    },
)
