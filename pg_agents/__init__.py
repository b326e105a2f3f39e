"""REINFORCE and actor-critic agents with the Stable-Baselines3 API."""

from pg_agents.actor_critic import ActorCritic
from pg_agents.buffers import TrajectoryBuffer
from pg_agents.policies import MlpPolicy, RandomPolicy, TabularPolicy
from pg_agents.random_agent import RandomAgent
from pg_agents.reinforce import REINFORCE
from pg_agents.vec_env import as_vec_env

__all__ = [
    "REINFORCE",
    "ActorCritic",
    "MlpPolicy",
    "RandomAgent",
    "RandomPolicy",
    "TabularPolicy",
    "TrajectoryBuffer",
    "as_vec_env",
]
